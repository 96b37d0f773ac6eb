//! What must always hold between the parts of a shard and of its groups.
//!
//! The cheap part is asserted in production, where state changes (`Group::invariants`). The rest walks
//! over everything: tests and the simulator ask for it when a turn is over ([`Look::Everything`]).
//!
//! ```text
//!   log and window      base ··· applied ≤ index ≤ state (one, unless a batch is held) ··· committed ··· last
//!   on the disk         term, commit: no newer than the core's;  anchor: no newer than the state
//!   who waits           gathered │ proposed, above applied, in order │ asked │ confirmed │ damaged │ a cut's page
//!                       = what is owed
//! ```
//!
//! Not here: the core's own invariants (`raft`), the index's and the journal's.
//!
//! [`Look::Everything`]: super::Look::Everything

use super::{Outbox, Shard, group::Group};
use crate::{
    always,
    raft::Role,
    runtime::Runtime,
    types::{GroupId, Index},
    value::Engine,
};

impl Group {
    /// What must always hold when a step is carried out, as far as it is cheap.
    pub(super) fn invariants(&self) {
        let raft = &self.raft;
        assert!(raft.applied() <= self.state.applied(), "what counts was judged");
        assert!(self.committed <= raft.commit(), "what is applied is committed");
        assert!(self.anchor.covers <= self.state.applied(), "a checkpoint is of what was judged");
        assert!(self.term <= raft.term(), "the disk knows no newer term");
        self.window.invariants();
    }

    /// What must always hold when a turn is over.
    fn check(&self) -> bool {
        self.invariants();
        let raft = &self.raft;
        let applied = raft.applied();
        let waits = || self.waiting.iter().map(|waiting| waiting.index);
        let rises = waits().zip(waits().skip(1)).all(|(one, next)| one < next);
        let judged = self.state.applied() == applied || self.held.is_some();
        let has_unsaved = self.unsaved.newest.is_some();
        let unsaved = [self.unsaved.first, self.unsaved.cut].into_iter().flatten().min();
        self.window.check()
            && self.state.check()
            && always!(self.window.base() == raft.log().base().index, "logs begin alike")
            && always!(self.window.last() == raft.log().last().index, "logs end alike")
            && always!(judged, "what is judged counts, or is held")
            && always!(self.commit <= raft.commit(), "the disk knows no later commit")
            && always!(rises, "who waits for entries waits in their order")
            && always!(waits().all(|at| at > applied), "who waits for an entry waits in vain")
            && always!(
                self.waiting.is_empty() || raft.role() == Role::Leader,
                "only a leader has somebody waiting for an entry"
            )
            && always!(unsaved.is_none() || has_unsaved, "what is written is told to the core")
            && always!(
                unsaved.is_none_or(|first| first > Index(0) && first <= self.window.last().next()),
                "what is to be written is in the log, or behind it"
            )
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Whether all that must hold does when a turn is over; for tests and the simulator.
    pub(super) fn check(&self) -> bool {
        let pending: usize = self.groups.values().map(Group::pending).sum();
        let [_, readings, ..] = self.mending.counts();
        let (_, pages) = self.cuts.counts();
        let all = self.groups.iter().all(|(id, group)| self.check_group(*id, group));
        all && always!(
            self.owed.requests == pending + readings + pages,
            "every request waits somewhere, and is answered once"
        ) && always!(self.owed.check(), "the groups' requests are among all")
            && always!(self.engine.invariants().is_ok(), "the index and its ledger agree")
            && always!(
                self.journal.as_ref().is_none_or(|journal| journal.invariants().is_ok()),
                "the journal is sound"
            )
    }

    fn check_group(&self, id: GroupId, group: &Group) -> bool {
        let indexed = self.engine.applied(id).0;
        // What needs no record of its own is in the index as soon as it is judged.
        let behind = group.raft.applied().0..=group.state.applied().0;
        let is_set = group.deadline.is_none_or(|at| self.timers.has(id, at));
        let is_unsaved = self.unsaved.contains(&id) == group.unsaved.newest.is_some();
        group.check()
            && always!(
                behind.contains(&indexed),
                "the index holds what counts, and nothing unjudged"
            )
            && always!(is_set, "a deadline has its timer")
            && always!(is_unsaved, "what is to be written is known to be")
            && always!(
                group.gathered.is_empty() || self.gathered.contains(&id),
                "what was gathered is known to be"
            )
    }
}
