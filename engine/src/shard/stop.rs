//! Ending in order: nobody should have to wait for an election because somebody updates a machine.
//!
//! From the moment it is asked, the shard takes no new requests. It hands every group that it leads
//! to the voter that is furthest and not slow, to another one if that one does not take over within an election
//! timeout, and ends when it leads nothing that somebody else could lead and everybody was
//! answered; or when its time is over, for what it does here is a kindness and no promise. Whom
//! packets do not reach could not lead: where all nodes end at once, the last one waits for nobody.
//!
//! Not here: how leadership is handed over (`raft`), closing connections (`trilith-net`).

use alloc::vec::Vec;
use core::time::Duration;

use super::{Outbox, Shard, Stopped, group::Group};
use crate::{
    limits, mark, planted,
    raft::{Input, Moment, Role},
    runtime::Runtime,
    types::{GroupId, ReplicaId},
};

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    until: Moment,
    /// When the next voters are tried.
    next: Moment,
    tries: usize,
}

impl Stopping {
    /// When it wants to be asked again.
    pub(super) fn next(&self) -> Moment {
        self.next.min(self.until)
    }
}

/// The voters that could lead instead of us, the furthest first.
pub(super) fn successors(group: &Group) -> Vec<ReplicaId> {
    if group.raft.role() != Role::Leader {
        return Vec::new();
    }
    let voters = group.raft.membership().voters();
    let mut peers: Vec<_> = group.raft.peers().iter().collect();
    peers.retain(|peer| peer.id() != group.raft.id() && voters.contains(&peer.id()));
    peers.sort_by_key(|peer| core::cmp::Reverse(peer.matched()));
    peers.into_iter().map(|peer| peer.id()).collect()
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Somebody wants the shard to end.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let now = self.now();
        let until = now + Duration::from_millis(limits::SHARD_STOP_WITHIN_MS);
        self.stopping = Some(Stopping { until, next: now, tries: 0 });
        tracing::info!(node = %self.node, "the shard was asked to stop");
    }

    /// Hands over what is led, and ends when nothing is left to do.
    pub(super) fn go_on_stopping(&mut self) {
        let now = self.now();
        let Some(stopping) = &mut self.stopping else { return };
        let is_over = now >= stopping.until;
        let tries = stopping.tries;
        let is_due = now >= stopping.next;
        if is_due {
            stopping.tries += 1;
            stopping.next = now + self.options.raft.election;
        }
        let led: Vec<(GroupId, ReplicaId)> = self
            .groups
            .iter()
            .filter_map(|(id, group)| {
                let mut fit = successors(group);
                let is_there = |node| self.peers.is_up(node);
                let gone_too = planted!("shard_hands_over_to_who_is_gone");
                fit.retain(|id| gone_too || group.node_of(*id).is_some_and(is_there));
                fit.sort_by_key(|id| group.node_of(*id).is_some_and(|to| self.pace.is_behind(to)));
                fit.get(tries % fit.len().max(1)).map(|to| (*id, *to))
            })
            .collect();
        let is_owing = self.groups.values().any(|group| group.pending() > 0);
        if is_over || led.is_empty() && !is_owing {
            if is_over {
                mark!("shard_stopped_without_handing_over");
            }
            self.stopped.get_or_insert(Stopped::Asked);
        } else if is_due {
            for (id, to) in led {
                self.step(id, Input::Transfer { to });
            }
        }
    }
}
