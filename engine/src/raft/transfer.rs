//! Handing over on purpose: for maintenance, for balance, or away from a slow disk.
//!
//! The leader takes no more proposals, brings its successor's log up to its own end, on the
//! successor's disk, and tells it to campaign at once. Voters do not object to that election though
//! they hear the leader. If it takes longer than an election timeout the leader goes on as before.
//!
//! A leader that serves no reads from a lease says so, and its successor commits at once. That is
//! true of the next term only: of a later one's leaders nobody has said anything.

use super::{Body, Effects, Moment, Raft, Refusal, ReplicaId, election::State};
use crate::{mark, planted};

/// A transfer under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) to: ReplicaId,
    /// Then the leader goes on as before.
    pub(super) ends_at: Moment,
    /// The successor was told.
    told: bool,
}

impl Raft {
    pub(super) fn on_transfer(&mut self, to: ReplicaId, fx: &mut Effects) {
        let is_fit = to != self.id && self.membership.voters().contains(&to);
        let leader = self.leader();
        let ends_at = self.now + self.config.election;
        let State::Leader(leading) = &mut self.state else {
            fx.refused = Some(Refusal::NotLeader(leader));
            return;
        };
        if !is_fit {
            fx.refused = Some(Refusal::CannotLead);
            return;
        }
        if leading.transfer.as_ref().is_some_and(|transfer| transfer.to == to) {
            return;
        }
        leading.busy_at = self.now;
        leading.transfer = Some(Transfer { to, ends_at, told: false });
        self.feed(to, fx);
        self.hand_over_if_ready(to, fx);
    }

    /// Tells the successor, when its disk has everything.
    pub(super) fn hand_over_if_ready(&mut self, to: ReplicaId, fx: &mut Effects) {
        let last = self.log.last().index;
        let State::Leader(leading) = &mut self.state else { return };
        let ready = leading.of(to, |peer| peer.matched.0) == last.0;
        let ready = ready || planted!("raft_transfer_before_caught_up");
        let Some(transfer) = &mut leading.transfer else { return };
        if transfer.to == to && !transfer.told && ready {
            transfer.told = true;
            self.hand_over(to, fx);
        }
    }

    /// Tells a replica to campaign at once.
    pub(super) fn hand_over(&mut self, to: ReplicaId, fx: &mut Effects) {
        let State::Leader(leading) = &self.state else { return };
        let is_free = leading.lease.is_nobodys(self.now) || planted!("raft_lease_denied");
        self.say(fx, to, Body::TimeoutNow { is_free });
    }

    /// The leader hands over to this replica.
    pub(super) fn on_timeout_now(&mut self, is_free: bool, fx: &mut Effects) {
        let is_flushed = self.writes.durable() == self.log.last().index;
        let is_ready = is_flushed || planted!("raft_successor_campaigns_unflushed");
        if self.can_lead() && is_ready {
            mark!("raft_leader_hands_over");
            if is_free {
                mark!("raft_no_lease_is_handed_over");
                self.free_term = self.term.next();
            }
            self.campaign(false, true, fx);
        } else {
            mark!("raft_hand_over_declined");
        }
    }
}
