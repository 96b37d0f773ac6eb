//! Snapshots, as far as Raft is concerned: who needs one, and whether to take one.
//!
//! The core never sees a byte of a snapshot. It says who needs one; a driver streams it, in chunks,
//! from whichever replica has the state; the receiving core decides whether it still wants it, the
//! driver installs it beside everything else it does, and the core goes on from there.
//!
//! A snapshot is a piece of the committed history. So it is taken from anybody, whatever the term,
//! and refused when it says nothing new: the history that is here already is the same one.
//!
//! While one is being installed the replica hears its leader, votes by the log that it still has,
//! and takes no entries.

use super::{
    Body, Effects, EntryId, Flow, Index, Log, Membership, Raft, ReplicaId, election::State,
};
use crate::{mark, planted};

impl Raft {
    pub(super) fn on_snapshot_sent(&mut self, to: ReplicaId, arrived: bool, fx: &mut Effects) {
        let base = self.log.base().index.max(self.given_up_to());
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peer(to).filter(|peer| peer.flow == Flow::Snapshot) else {
            return;
        };
        if arrived {
            // It says itself what it has; should its word be lost, it is asked.
            peer.probe(base.next());
            self.feed(to, fx);
        } else if !planted!("raft_lost_snapshot_is_waited_for") {
            // Not again at once: when it is heard next.
            mark!("raft_snapshot_did_not_arrive");
            let next = peer.matched.next();
            peer.probe(next);
            peer.flow = Flow::Probe { waiting: true };
        }
    }

    pub(super) fn on_snapshot_arrived(
        &mut self,
        at: EntryId,
        membership: &Membership,
        fx: &mut Effects,
    ) {
        let refuses = planted!("raft_candidate_takes_no_snapshot");
        if self.installing.is_some() || refuses && matches!(self.state, State::Candidate(_)) {
            return;
        }
        // It heals what is damaged and not applied, even if it is no news otherwise.
        let bad = self.first_missing().into_iter().chain(self.damage.stuck).min();
        let heals = bad.is_some_and(|bad| bad <= at.index) && at.index >= self.handed;
        if at.index <= self.commit && !heals && !planted!("raft_old_snapshot_is_installed") {
            mark!("raft_old_snapshot");
            return self.acknowledge_snapshot(fx);
        }
        if at.term > self.term {
            self.follow(at.term, None);
        }
        if self.log.has(at) && !heals && self.writes.durable() >= at.index {
            mark!("raft_snapshot_of_what_is_here");
            self.learn_commit(at.index);
            return self.acknowledge_snapshot(fx);
        }
        if matches!(self.state, State::Leader(_)) {
            // A leader has everything that is committed; it only does not know yet.
            mark!("raft_snapshot_for_a_leader");
            return;
        }
        self.installing = Some((at, membership.clone()));
        if matches!(self.state, State::Candidate(_)) {
            self.follow(self.term, None);
        }
        fx.install = Some(at);
    }

    pub(super) fn on_snapshot_installed(&mut self, at: EntryId) {
        let Some((wanted, membership)) = self.installing.take() else { return };
        if wanted != at {
            mark!("raft_another_snapshot_installed");
            self.installing = Some((wanted, membership));
            return;
        }
        let overtaken = at.index <= self.log.base().index;
        if overtaken && !planted!("raft_old_snapshot_is_installed") {
            // The own state went on meanwhile, and the log was compacted beyond it.
            mark!("raft_snapshot_overtaken");
        } else if self.log.has(at) {
            self.log.compact(at.index);
        } else {
            self.log = Log::new(at);
            self.writes.replaced(at.index);
        }
        self.commit = self.commit.max(at.index);
        self.handed = self.handed.max(at.index);
        self.applied = self.applied.max(at.index);
        self.is_unstuck_by(self.applied);
        self.applying = self.log.bytes(self.applied.next(), self.handed);
        self.writes.attest(at.index);
        self.appended_at = self.now;
        if at.index > self.membership_at && !planted!("raft_snapshot_brings_no_members") {
            self.membership = membership;
            self.membership_at = at.index;
        }
        if let State::Follower(Some(leader)) = self.state {
            self.hold_ack(leader, at);
        }
    }

    pub(super) fn on_snapshot_abandoned(&mut self, at: EntryId) {
        if self.installing() == Some(at) {
            mark!("raft_snapshot_abandoned");
            if !planted!("raft_abandoned_snapshot_is_waited_for") {
                self.installing = None;
            }
        }
    }

    /// Tells the leader that what it sent is here, so that it goes on.
    fn acknowledge_snapshot(&mut self, fx: &mut Effects) {
        let State::Follower(Some(leader)) = self.state else { return };
        let whole = self.first_missing().map_or(self.commit, |bad| Index(bad.0 - 1));
        let upto = self.commit.min(whole);
        if let Some(matched) = self.log.id_at(upto) {
            self.promise(fx, leader, Body::AppendAck { matched });
        }
    }

    fn hold_ack(&mut self, leader: ReplicaId, matched: EntryId) {
        let body = Body::AppendAck { matched };
        let message = super::Message { from: self.id, to: leader, term: self.term, body };
        self.writes.hold(self.term, super::Held::Say(message));
    }
}
