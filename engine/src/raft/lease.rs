//! Reads without asking anybody: the log itself is the lease.
//!
//! A leader may answer reads from its own state while its newest committed entry is younger than a
//! lease, by its own clock and counted from the moment it *made* the entry. What makes that safe is
//! the other side: a new leader replicates at once but commits nothing until every entry that an
//! older leader can have made is older than a lease, however the two clocks drift. So while an old
//! leader that does not know of its end still reads, nothing newer than its state exists.
//!
//! ```text
//!  old leader   e committed |-------- lease --------|
//!  new leader        e received |------ lease * (1 + drift) ------| commits
//! ```
//!
//! The new leader need not know the old one's clock, nor when the entry was made: it received it
//! later than that. After a restart it does not remember when, and counts from its start. A lease
//! holds only entries of the leader's own term; what it inherited is nobody's lease.
//!
//! Nor need it know whether the old one had a lease: every leader waits, and for the same time,
//! whatever it may have itself. So settings that differ, or change while nodes begin anew one by
//! one, harm no read. Who hands over and has none says so, and nobody waits for him (`transfer.rs`).
//!
//! A clock that breaks its declared bound breaks reads, and nothing else. Without a declared bound
//! a replica has no leases.
//!
//! Invariant: marks rise in index and in time.

use super::{Config, Index, LeaseConfig, Moment, time::nanos};
use crate::{limits::RAFT_LEASE_MARKS_MAX, planted};
use alloc::collections::VecDeque;

/// A leader's lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// What it is; nothing when this leader has none.
    config: Option<LeaseConfig>,
    /// Entries of the own term that are not committed: up to this index, made at this time or
    /// later.
    marks: VecDeque<(Index, Moment)>,
    /// No earlier than this was the newest committed entry of the own term made.
    fresh_at: Option<Moment>,
    /// Before this, an older leader's lease may hold.
    deferred_to: Moment,
}

impl Lease {
    /// A leader's, whose newest inherited entry was made no later than `inherited_at`; nothing when
    /// nobody before it had a lease.
    pub(super) fn begin(config: &Config, inherited_at: Option<Moment>) -> Self {
        let own = config.drift_ppm.map(|_| config.lease);
        let waits = !planted!("raft_old_lease_not_waited_for")
            && (own.is_some() || !planted!("raft_lease_of_others_not_waited_for"));
        let deferred_to = inherited_at.filter(|_| waits).map(|at| at + config.lease.outlasted());
        Self { config: own, deferred_to: deferred_to.unwrap_or_default(), ..Self::default() }
    }

    /// Whether nobody has or gets one: this leader has none, and those before it have none any more.
    pub(super) fn is_nobodys(&self, now: Moment) -> bool {
        self.config.is_none() && self.defers_until(now).is_none()
    }

    /// Until when nothing may be committed, if that is later than now.
    pub(super) fn defers_until(&self, now: Moment) -> Option<Moment> {
        (now < self.deferred_to).then_some(self.deferred_to)
    }

    /// The leader made entries up to `last`.
    pub(super) fn appended(&mut self, last: Index, now: Moment) {
        let Some(config) = self.config else { return };
        let grain = nanos(config.duration) / RAFT_LEASE_MARKS_MAX as u64;
        let is_full = self.marks.len() >= RAFT_LEASE_MARKS_MAX;
        match self.marks.back_mut() {
            // One mark for entries made close together; its time is that of the oldest.
            Some((index, at)) if is_full || now.0 - at.0 < grain => *index = last,
            _ => self.marks.push_back((last, now)),
        }
    }

    /// Everything up to `commit` is committed.
    pub(super) fn committed(&mut self, commit: Index) {
        while let Some((_, at)) = self.marks.front().filter(|(index, _)| *index <= commit) {
            self.fresh_at = Some(*at);
            self.marks.pop_front();
        }
    }

    /// How much of the lease is left.
    pub(super) fn left(&self, now: Moment) -> Option<u64> {
        let config = self.config?;
        let ends = self.fresh_at? + config.duration;
        if planted!("raft_lease_never_ends") {
            return Some(u64::MAX);
        }
        ends.0.checked_sub(now.0).filter(|left| *left > 0)
    }

    /// Whether an entry should be made only to keep the lease: a quarter or less is left, and no
    /// entry is on its way that would do.
    pub(super) fn wants_renewal(&self, now: Moment) -> bool {
        let Some(config) = self.config else { return false };
        self.marks.is_empty() && self.left(now).is_none_or(|left| left < nanos(config.duration) / 4)
    }
}
