//! Changes of the membership, as a leader proposes them and everybody applies them.
//!
//! A leader takes a change when everything before it that might be one is applied here: what it
//! inherited, and its own first entry, which tells it what is committed. That one rule gives "one
//! change in flight" and "nothing before an entry of the own term is committed".
//!
//! While joint, the leader leaves by itself if the change said so, once the joint membership is
//! applied. A leader that finds itself outside tells the others how far they may go, hands over to
//! the one that is furthest, and steps down.

use super::{
    Body, Change, Effects, Index, Kind, Progress, Proposed, Raft, Refusal, ReplicaId,
    election::State,
};
use crate::{limits::RAFT_ENTRY_BYTES_MAX, mark, planted};

impl Raft {
    /// Why a leader cannot take a change now.
    fn refuses_change(&self) -> Option<Refusal> {
        let State::Leader(leading) = &self.state else {
            return Some(Refusal::NotLeader(self.leader()));
        };
        if leading.transfer.is_some() {
            return Some(Refusal::Transferring);
        }
        let applied = self.applied.max(self.membership_at);
        let pending = leading.change_at > applied && !planted!("raft_two_changes_at_once");
        pending.then_some(Refusal::ChangePending)
    }

    pub(super) fn on_propose_change(&mut self, change: &Change, bytes: u32, fx: &mut Effects) {
        let fits = self.membership.after(change).map_err(Refusal::Misfit);
        let size = if bytes > RAFT_ENTRY_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(()) };
        let refused = self.refuses_change().or(fits.err()).or(size.err());
        self.propose_membership(Kind::Change, bytes, refused, fx);
    }

    pub(super) fn on_propose_leave(&mut self, fx: &mut Effects) {
        let fits = self.membership.after_leaving().map_err(Refusal::Misfit);
        let refused = self.refuses_change().or(fits.err());
        self.propose_membership(Kind::Leave, 0, refused, fx);
    }

    fn propose_membership(
        &mut self,
        kind: Kind,
        bytes: u32,
        refused: Option<Refusal>,
        fx: &mut Effects,
    ) {
        let index = self.log.last().index.next();
        let first = super::EntryId { term: self.term, index };
        let taken = usize::from(refused.is_none());
        fx.proposed = Some(Proposed { first, taken, refused });
        if refused.is_none() {
            self.append_membership(kind, bytes, index, fx);
        }
    }

    fn append_membership(&mut self, kind: Kind, bytes: u32, index: Index, fx: &mut Effects) {
        if let State::Leader(leading) = &mut self.state {
            leading.change_at = index;
        }
        self.append_sized(kind, bytes, fx);
    }

    /// The state machine has come to a change.
    pub(super) fn on_change_applied(
        &mut self,
        index: Index,
        change: Option<&Change>,
        fx: &mut Effects,
    ) {
        if index <= self.membership_at || index > self.handed {
            mark!("raft_change_applied_again");
            return;
        }
        self.membership_at = index;
        let next = match change {
            Some(change) => self.membership.after(change),
            None => self.membership.after_leaving(),
        };
        match next {
            Ok(next) => self.membership = next,
            // Void, and on every replica alike: they all have the same membership here.
            Err(_) => mark!("raft_void_change"),
        }
        match &mut self.state {
            State::Leader(_) => self.lead_new_members(fx),
            State::Candidate(_) if !self.membership.is_voter(self.id) => {
                self.follow(self.term, None);
            }
            State::Candidate(_) | State::Follower(_) => {}
        }
    }

    /// A leader acts by the new membership.
    fn lead_new_members(&mut self, fx: &mut Effects) {
        let members = self.membership.members();
        let (own, next) = (self.id, self.log.last().index.next());
        let State::Leader(leading) = &mut self.state else { return };
        leading.busy_at = self.now;
        let departing = self.commit;
        let gone = |peer: &Progress| !members.contains(&peer.id);
        // Who leaves hears once more, so that it learns that it left.
        let goodbye = leading.peers.iter().filter(|peer| gone(peer)).map(|peer| super::Message {
            from: own,
            to: peer.id,
            term: self.term,
            body: Body::Commit { commit: departing.min(peer.matched) },
        });
        fx.send.extend(goodbye);
        leading.peers.retain(|peer| !gone(peer));
        for id in members.iter().filter(|id| **id != own) {
            if let Err(at) = leading.peers.binary_search_by_key(id, Progress::id) {
                leading.peers.insert(at, Progress::new(*id, next));
            }
        }
        let target = leading.transfer.as_ref().map(|transfer| transfer.to);
        if target.is_some_and(|to| !self.membership.is_voter(to)) {
            leading.transfer = None;
        }
        if !self.membership.is_voter(own) && !planted!("raft_removed_leader_stays") {
            return self.leave_office(fx);
        }
        self.advance(fx);
        self.finish_round(fx);
        self.feed_all(fx);
        self.leave_if_due(fx);
    }

    /// A leader that no longer votes: the others go as far as they may, the best of them leads on.
    fn leave_office(&mut self, fx: &mut Effects) {
        mark!("raft_removed_leader_steps_down");
        self.heartbeat(fx);
        let last = self.log.last().index;
        let ready = self.peers().iter().filter(|peer| peer.matched == last);
        let heir = ready.map(Progress::id).find(|id| self.membership.voters().contains(id));
        if let Some(heir) = heir {
            self.hand_over(heir, fx);
        }
        self.follow(self.term, None);
    }

    /// Leaves the joint membership, when the change said so and it is time.
    pub(super) fn leave_if_due(&mut self, fx: &mut Effects) {
        if self.membership.should_leave() && self.refuses_change().is_none() {
            let index = self.log.last().index.next();
            self.append_membership(Kind::Leave, 0, index, fx);
        }
    }

    /// A node died or came back.
    pub(super) fn on_peer(&mut self, id: ReplicaId, alive: bool, fx: &mut Effects) {
        match &mut self.state {
            State::Leader(leading) => {
                if let Some(peer) = leading.peer(id) {
                    peer.alive = alive;
                }
                if alive {
                    self.feed(id, fx);
                }
            }
            State::Follower(Some(leader)) if *leader == id && !alive => {
                mark!("raft_leader_is_declared_dead");
                self.lose_leader();
            }
            State::Follower(_) | State::Candidate(_) => {}
        }
    }
}
