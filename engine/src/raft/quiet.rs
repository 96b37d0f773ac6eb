//! Groups that have nothing to do say nothing.
//!
//! A leader that was idle for a while, whose living followers have and have applied everything,
//! sends one last heartbeat that says so, and stops its timers; whoever takes it stops listening.
//! From then on the group costs nothing. Nodes watch over each other, one heartbeat for each pair,
//! however many groups they share; a node's death is told to the groups that it led
//! ([`Input::Peer`]), and their followers, each after a patience of its own, campaign.
//!
//! Nothing here is needed for safety, and nothing has to arrive: a follower that missed the last
//! heartbeat grows impatient and asks whether it would be elected; the others say no, and the
//! leader wakes up.
//!
//! A quiet leader resigns only when it wakes: it answers no read and commits nothing in its sleep.

use super::{Body, Effects, Flow, Index, Input, Raft, election::State, time::nanos};
use crate::{mark, planted};
use core::time::Duration;

impl Raft {
    /// Whether the group sleeps, as far as this replica is concerned.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        match &self.state {
            State::Leader(leading) => leading.quiet,
            State::Follower(_) => self.standing.quiet,
            State::Candidate(_) => false,
        }
    }

    /// Wakes up for what is about to happen, if it is a reason to.
    pub(super) fn wake_for(&mut self, input: &Input<'_>, fx: &mut Effects) {
        let wakes = match input {
            Input::Message { message, .. } => !matches!(message.body, Body::HeartbeatAck { .. }),
            Input::Peer { alive, .. } => *alive,
            Input::Due | Input::Persisted(_) | Input::Applied { .. } | Input::Compacted { .. } => {
                false
            }
            Input::Priority { .. } => planted!("raft_priority_wakes_the_sleeping"),
            _ => true,
        };
        match &mut self.state {
            State::Leader(leading) if leading.quiet && wakes => {
                mark!("raft_quiet_leader_wakes");
                leading.quiet = false;
                leading.busy_at = self.now;
                leading.quorum_at = self.now + self.config.election;
                leading.heartbeat_at = self.config.next_beat(self.now);
                leading.peers.iter_mut().for_each(|peer| peer.active = true);
                self.heartbeat(fx);
            }
            State::Follower(_) if self.standing.quiet && matches!(input, Input::Read) => {
                self.restart_patience();
            }
            State::Leader(_) | State::Follower(_) | State::Candidate(_) => {}
        }
    }

    /// Whether a leader's next heartbeat is the last one for a while.
    pub(super) fn goes_quiet(&self) -> bool {
        let State::Leader(leading) = &self.state else { return false };
        let Some(after) = self.config.quiet_after else { return false };
        let last = self.log.last().index;
        let idle = leading.busy_at + after <= self.now;
        let settled = self.commit == last && self.applied == last && self.writes.is_idle();
        let asked = leading.peers.iter().any(|peer| peer.asked.0 > 0 || peer.flying.0 > 0);
        let unhurried = leading.transfer.is_none() && leading.rounds.is_idle() && !asked;
        let caught_up = leading
            .peers
            .iter()
            .all(|peer| !peer.alive || peer.matched == last && peer.flow == Flow::Stream);
        idle && settled
            && unhurried
            && caught_up
            && self.no_read_waits()
            && !self.membership.is_joint()
            && self.first_missing().is_none()
    }

    /// Whether a follower that is told so can stop listening.
    pub(super) fn may_be_quiet(&self, commit: Index) -> bool {
        let has_all = commit == self.log.last().index && self.commit == commit;
        let is_whole = self.first_missing().is_none() && self.damage.stuck.is_none();
        has_all && self.no_read_waits() && is_whole
    }

    /// The leader's node died: the next one is elected after a patience of less than one timeout.
    pub(super) fn lose_leader(&mut self) {
        if planted!("raft_quiet_follower_sleeps_on") && self.standing.quiet {
            return;
        }
        let luck = self.luck;
        self.follow(self.term, None);
        let election = nanos(self.config.election);
        let drawn = if election == 0 { 0 } else { luck % election };
        self.standing.patience = Duration::from_nanos(drawn);
    }
}
