//! The log as Raft sees it: who wrote each entry, of what kind it is, and how long. Never a payload.
//!
//! The core decides by (term, index) alone, so it can hold the identity of the *whole* live log in
//! memory: four bytes an entry for kind and length, and one [`Run`] for each stretch of entries of
//! one term. A question about a term is a search over a handful of runs and never waits for a
//! disk; that is why no step of Raft ever fetches anything.
//!
//! ```text
//!   base        runs: (5, t1)        (9, t3)      (11, t4)
//!    4     |   5   6   7   8    |   9   10   |   11   12   13     last = 13@t4
//!  snapshot              ^^^^^ faulty: identity known, payload damaged
//! ```
//!
//! A damaged entry is *faulty*, never absent: its identity still counts when logs are compared, its
//! payload does not count as a copy.
//!
//! Invariants: runs are in strictly rising order of index and of term; the first run begins right
//! after `base`; faulty ranges are disjoint, in order, and inside the log.

use super::Kind;
use crate::{
    limits::RAFT_FAULTY_RANGES_MAX,
    mark,
    types::{Index, Term},
};
use alloc::{collections::VecDeque, vec::Vec};
use core::fmt;

/// The identity of an entry. Two entries with one identity are the same entry, everywhere.
///
/// The order is Raft's "more up to date": the later term wins, then the longer log.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl EntryId {
    /// An identity.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the core knows of an entry besides its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The term of the leader that made it.
    pub term: Term,
    /// What it is for.
    pub kind: Kind,
    /// The payload's length, for flow control.
    pub bytes: u32,
}

/// Kind and length in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Meta(u32);

/// How many bits of a [`Meta`] hold the length.
const LENGTH_BITS: u32 = 30;

impl Meta {
    fn new(kind: Kind, bytes: u32) -> Self {
        assert!(bytes < 1 << LENGTH_BITS, "an entry is shorter than its length field");
        Self((kind as u32) << LENGTH_BITS | bytes)
    }

    const fn kind(self) -> Kind {
        match self.0 >> LENGTH_BITS {
            0 => Kind::Normal,
            1 => Kind::Noop,
            2 => Kind::Change,
            _ => Kind::Leave,
        }
    }

    const fn bytes(self) -> u32 {
        self.0 & ((1 << LENGTH_BITS) - 1)
    }
}

/// A stretch of entries of one term, up to the next run or the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    first: Index,
    term: Term,
}

/// The identities of the live log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    base: EntryId,
    metas: VecDeque<Meta>,
    runs: VecDeque<Run>,
    /// First and last of each damaged stretch.
    faulty: Vec<(Index, Index)>,
}

impl Log {
    /// An empty log that goes on after `base`, which a snapshot covers.
    #[must_use]
    pub fn new(base: EntryId) -> Self {
        Self { base, metas: VecDeque::new(), runs: VecDeque::new(), faulty: Vec::new() }
    }

    /// The last entry that only a snapshot has.
    #[must_use]
    pub const fn base(&self) -> EntryId {
        self.base
    }

    /// The newest entry, or the base.
    #[must_use]
    pub fn last(&self) -> EntryId {
        let term = self.runs.back().map_or(self.base.term, |run| run.term);
        EntryId { term, index: Index(self.base.index.0 + self.metas.len() as u64) }
    }

    /// The term at an index, where it is known: from the base to the last entry.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last().index {
            return None;
        }
        // Nearly every question is about the newest term.
        if let Some(run) = self.runs.back().filter(|run| run.first <= index) {
            return Some(run.term);
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        Some(self.runs[after - 1].term)
    }

    /// Whether the log has exactly this entry, or ends there as its base.
    #[must_use]
    pub fn has(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The identity at an index that the log knows.
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// The head of a live entry.
    #[must_use]
    pub fn head(&self, index: Index) -> Option<Head> {
        let meta = *self.metas.get(self.slot(index)?)?;
        let term = self.term_at(index)?;
        Some(Head { term, kind: meta.kind(), bytes: meta.bytes() })
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// When its term is older than the last one's: logs only grow in term.
    pub fn push(&mut self, head: Head) {
        let last = self.last();
        assert!(head.term >= last.term, "terms never fall along a log");
        if self.runs.back().is_none_or(|run| run.term < head.term) {
            self.runs.push_back(Run { first: last.index.next(), term: head.term });
        }
        self.metas.push_back(Meta::new(head.kind, head.bytes));
    }

    /// Drops `from` and everything after it.
    pub fn cut(&mut self, from: Index) {
        assert!(from > self.base.index, "what a snapshot covers is never cut");
        let Some(slot) = self.slot(from) else { return };
        self.metas.truncate(slot);
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        let end = Index(from.0 - 1);
        self.faulty.retain(|(first, _)| *first < from);
        if let Some((_, last)) = self.faulty.last_mut() {
            *last = (*last).min(end);
        }
    }

    /// Forgets everything up to `upto`, which a snapshot covers from now on.
    pub fn compact(&mut self, upto: Index) {
        let upto = upto.min(self.last().index);
        let Some(base) = self.id_at(upto).filter(|id| id.index > self.base.index) else { return };
        self.metas.drain(..(upto.0 - self.base.index.0) as usize);
        while self.runs.get(1).is_some_and(|next| next.first.0 <= upto.0 + 1) {
            self.runs.pop_front();
        }
        if self.metas.is_empty() {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.first = upto.next();
        }
        self.base = base;
        self.faulty.retain(|(_, last)| *last > upto);
        if let Some((first, _)) = self.faulty.first_mut() {
            *first = (*first).max(upto.next());
        }
    }

    /// The payload bytes from `first` to `last`.
    #[must_use]
    pub fn bytes(&self, first: Index, last: Index) -> u64 {
        self.between(first, last).map(|meta| u64::from(meta.bytes())).sum()
    }

    /// How many stretches are damaged.
    pub(super) const fn damaged_ranges(&self) -> usize {
        self.faulty.len()
    }

    /// How far a message that begins at `first` reaches, and its bytes: at least one entry, then as
    /// many as fit, and none that is faulty here. `None` when the first one is faulty.
    #[must_use]
    pub fn fit(&self, first: Index, entries_max: u64, bytes_max: u64) -> Option<(Index, u64)> {
        if self.is_faulty(first) {
            return None;
        }
        let sound = self.faulty.iter().find(|(bad, _)| *bad > first);
        let end = sound.map_or(self.last().index, |(bad, _)| Index(bad.0 - 1));
        let end = end.min(Index(first.0 + entries_max - 1));
        let mut reach = first;
        let mut bytes = 0;
        for (offset, meta) in self.between(first, end).enumerate() {
            let with = bytes + u64::from(meta.bytes());
            if offset > 0 && with > bytes_max {
                break;
            }
            bytes = with;
            reach = Index(first.0 + offset as u64);
        }
        Some((reach, bytes))
    }

    /// Whether an entry from `first` to `last` changes the membership.
    #[must_use]
    pub fn changes_members(&self, first: Index, last: Index) -> bool {
        self.between(first, last).any(|meta| meta.kind().is_membership())
    }

    /// The newest place where a log that ends in `hint` may agree with this one: at or before its
    /// index, in a term no later than its term. One such question skips a whole term of
    /// disagreement, from either side.
    #[must_use]
    pub fn agreement(&self, hint: EntryId) -> EntryId {
        let mut index = hint.index.min(self.last().index);
        for run in self.runs.iter().rev() {
            if index <= self.base.index {
                break;
            }
            if run.first > index {
                continue;
            }
            if run.term <= hint.term {
                return EntryId { term: run.term, index };
            }
            index = Index(run.first.0 - 1);
        }
        self.base
    }

    /// Marks a live entry's payload as damaged.
    pub fn mark_faulty(&mut self, index: Index) {
        if self.slot(index).is_none() || self.is_faulty(index) {
            return;
        }
        let at = self.faulty.partition_point(|(first, _)| *first < index);
        self.faulty.insert(at, (index, index));
        if self.faulty.get(at + 1).is_some_and(|(first, _)| *first == index.next()) {
            self.faulty[at].1 = self.faulty[at + 1].1;
            self.faulty.remove(at + 1);
        }
        if at > 0 && self.faulty[at - 1].1.next() == index {
            self.faulty[at - 1].1 = self.faulty[at].1;
            self.faulty.remove(at);
        }
        if self.faulty.len() > RAFT_FAULTY_RANGES_MAX {
            self.merge_nearest();
        }
    }

    /// Takes the two stretches that are nearest to each other for one: what is between them comes
    /// from a peer too.
    fn merge_nearest(&mut self) {
        let gap = |at: &usize| self.faulty[at + 1].0.0 - self.faulty[*at].1.0;
        let Some(at) = (0..self.faulty.len() - 1).min_by_key(gap) else { return };
        mark!("raft_too_many_stretches_of_damage");
        self.faulty[at].1 = self.faulty[at + 1].1;
        self.faulty.remove(at + 1);
    }

    /// The payloads from `first` to `last` are whole again.
    pub fn heal(&mut self, first: Index, last: Index) {
        let damaged = core::mem::take(&mut self.faulty);
        for (from, to) in damaged {
            if from < first {
                self.faulty.push((from, to.min(Index(first.0 - 1))));
            }
            if to > last {
                self.faulty.push((from.max(last.next()), to));
            }
        }
    }

    /// Whether the payload at an index is known to be damaged.
    #[must_use]
    pub fn is_faulty(&self, index: Index) -> bool {
        self.faulty.iter().any(|(first, last)| *first <= index && index <= *last)
    }

    /// The first damaged entry.
    #[must_use]
    pub fn first_faulty(&self) -> Option<Index> {
        self.faulty.first().map(|(first, _)| *first)
    }

    /// The first damaged entry at or after an index.
    #[must_use]
    pub fn first_faulty_from(&self, index: Index) -> Option<Index> {
        let range = self.faulty.iter().find(|(_, last)| *last >= index);
        range.map(|(first, _)| (*first).max(index))
    }

    /// The last entry before the first damaged one: as far as this log is whole.
    #[must_use]
    pub fn whole_to(&self) -> Index {
        self.first_faulty().map_or(self.last().index, |bad| Index(bad.0 - 1))
    }

    /// What must always hold; all of it, for tests.
    pub fn check(&self) {
        self.invariants();
        let mut before = Run { first: self.base.index, term: self.base.term };
        for (at, run) in self.runs.iter().enumerate() {
            let rises = run.term > before.term || at == 0 && run.term == before.term;
            assert!(run.first > before.first && rises, "runs rise");
            before = *run;
        }
        assert!(before.first <= self.last().index, "no run is empty");
        let mut end = self.base.index;
        for (first, last) in &self.faulty {
            assert!(end < *first && first <= last, "faulty ranges are disjoint and in order");
            end = *last;
        }
        assert!(end <= self.last().index, "only live entries are faulty");
    }

    /// What must always hold, as far as it is cheap.
    pub fn invariants(&self) {
        assert_eq!(self.metas.is_empty(), self.runs.is_empty(), "entries and runs go together");
        let first = self.runs.front().map(|run| run.first);
        assert!(first.is_none_or(|first| first == self.base.index.next()), "no gap after the base");
    }

    fn slot(&self, index: Index) -> Option<usize> {
        (index > self.base.index && index <= self.last().index)
            .then(|| (index.0 - self.base.index.0 - 1) as usize)
    }

    fn between(&self, first: Index, last: Index) -> impl Iterator<Item = Meta> + '_ {
        let first = first.max(self.base.index.next());
        let last = last.min(self.last().index);
        let from = (first.0 - self.base.index.0 - 1) as usize;
        let count = (last.0 + 1).saturating_sub(first.0) as usize;
        self.metas.iter().skip(from).take(count).copied()
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
