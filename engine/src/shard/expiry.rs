//! Expiry: keys that are over give their room back, whether or not anybody asks for them.
//!
//! ```text
//!   over by the clocks ──► by the newest stamp ──► by the newest durable checkpoint ──► out of the index
//!        an entry that says nothing else    a checkpoint                                its record is dead
//! ```
//! Only the last step takes anything away, and by the time of the checkpoint: a life that begins there
//! applies again what comes behind it, and an entry may still have seen the key. The steps before cost
//! a record, so they wait until something has been over for a while; then that goes together with all
//! that was over meanwhile. In a group that is written to and has checkpoints, nothing is left to do.
//!
//! Each replica does this by itself. They need not do it at the same time: what is over by the time of
//! an entry is not there for it, in the index or not.
//!
//! Invariant: nothing leaves the index that a life from the newest durable checkpoint could see.
//!
//! Not here: which keys are over (`value/due.rs`), what time it is (`time.rs`), when a segment with
//! much that is dead goes (`compaction.rs`).

use core::time::Duration;

use super::{Outbox, Shard};
use crate::{
    limits, mark, planted,
    raft::{Moment, Role},
    runtime::Runtime,
    types::GroupId,
};

/// How often it is looked whether anything is over.
const LOOKS: Duration = Duration::from_secs(1);

/// So long something is over before a record is written for its sake.
const PATIENCE_MS: u64 = 60_000;

/// What is being looked through.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When it is looked again.
    looks_at: Moment,
    /// The group that is looked through; behind it come the others.
    at: Option<GroupId>,
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Lets go of some of what is over, if that is due.
    pub(super) fn expire(&mut self) {
        let now = self.now();
        if self.expiry.at.is_none() && now >= self.expiry.looks_at {
            self.expiry.looks_at = now + LOOKS;
            let first = self.groups.keys().next().copied();
            self.expiry.at = first.filter(|_| !planted!("shard_over_stays"));
        }
        let mut left = limits::SHARD_EXPIRED_AT_ONCE;
        while let Some(id) = self.expiry.at
            && left > 0
        {
            if self.expire_some(id, &mut left) {
                return;
            }
            let mut behind = self.groups.range(id..).map(|(other, _)| *other);
            self.expiry.at = behind.find(|other| *other > id);
        }
    }

    /// Whether there is more to look through now.
    pub(super) const fn has_more_over(&self) -> bool {
        self.expiry.at.is_some()
    }

    /// When it is looked whether anything is over; never while nothing is mortal.
    pub(super) fn expires_at(&self) -> Option<Moment> {
        let mut trees = self.groups.keys().filter_map(|id| self.engine.tree(*id));
        trees.any(|tree| tree.soonest().is_some()).then_some(self.expiry.looks_at)
    }

    /// Lets go of some of what is over in a group. Whether there is more.
    fn expire_some(&mut self, id: GroupId, left: &mut usize) -> bool {
        let (time_ms, _) = self.time(id);
        let Some(group) = self.groups.get(&id) else { return false };
        let soonest = self.engine.tree(id).and_then(|tree| tree.soonest());
        if soonest.is_none_or(|soonest| soonest > time_ms) {
            return false;
        }
        let (stamp_ms, is_leader) = (group.state.stamp().ms(), group.raft.role() == Role::Leader);
        let anchor_ms = match planted!("shard_over_by_the_newest_time") {
            true => stamp_ms,
            false => group.anchor.stamp.ms(),
        };
        let (gone, is_all) = self.engine.expire(id, anchor_ms, *left);
        self.counts.expired += gone as u64;
        *left = left.saturating_sub(gone);
        if !is_all {
            return true;
        }
        // What is not over by the checkpoint yet, but has been for a while.
        let late_ms = time_ms.saturating_sub(PATIENCE_MS);
        let Some(tree) = self.engine.tree(id).filter(|_| late_ms > anchor_ms) else { return false };
        let (over, is_all) = tree.over(late_ms, 1);
        let Some((_, place)) = over.first() else { return !is_all };
        if place.is_expired(stamp_ms) {
            mark!("shard_checkpoint_for_what_is_over");
            if !planted!("shard_over_waits_for_a_checkpoint") {
                self.settling.anchor([id]);
            }
        } else if is_leader && !planted!("shard_over_waits_for_a_write") {
            self.agree_on_time(id);
        }
        false
    }
}
