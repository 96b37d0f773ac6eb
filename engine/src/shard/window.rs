//! The live log of one group as the shard has it: where each entry's bytes are.
//!
//! ```text
//!   base        evicted        held                        last
//!     │ extent    extent │ extent+bytes  extent+bytes  bytes │
//!     └─ on the disk ────┴─ on the disk and in memory ─┴ not on the disk yet
//! ```
//! Raft's own log knows which entries there are; this knows how to get at them. Bytes are held for
//! what is not applied or not sent to everybody yet, and beyond that as long as the budget lasts;
//! whatever is not held is read from the disk by its extent.
//!
//! An entry that is replaced was still written somewhere: its extent is *dead*, and dead extents
//! are what a segment's hints must leave out. So every way in which an entry disappears answers the
//! extents that died.
//!
//! Invariants: slots are one for each index from the base's successor; a slot has bytes or an
//! extent or both.
//!
//! Not here: which entries there should be (`raft`), reading and writing (`write.rs`, `apply.rs`).

use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;

use super::forward::Open;
use crate::{
    always, mark, planted,
    types::{Index, Loc, SegmentId, Term},
};

/// Where an entry lies: all its records, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Extent {
    pub(super) segment: SegmentId,
    /// From the segment's beginning, in units of 8 bytes.
    pub(super) offset_words: u32,
    /// With the padding between its records and behind the last one.
    pub(super) bytes: u32,
}

impl Extent {
    /// Where it begins in its segment.
    pub(super) const fn start(self) -> u64 {
        self.offset_words as u64 * 8
    }

    /// Where a record of the entry lies, which begins `offset` bytes behind its beginning.
    pub(super) const fn loc_of(self, offset: usize, len: usize) -> Loc {
        let offset_words = self.offset_words + (offset / 8) as u32;
        Loc { segment: self.segment, offset_words, len: len as u32 }
    }

    /// Where it ends in its segment.
    pub(super) const fn end(self) -> u64 {
        self.start() + self.bytes as u64
    }
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) term: Term,
    /// Its bytes, if they are held; never empty then.
    bytes: Bytes,
    extent: Option<Extent>,
    /// Part of a frame that is being written.
    is_flying: bool,
}

impl Slot {
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        (!self.bytes.is_empty()).then_some(&self.bytes)
    }

    pub(super) const fn extent(&self) -> Option<Extent> {
        self.extent
    }
}

/// The slots of one group's live log.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The index before the first slot.
    base: Index,
    slots: VecDeque<Slot>,
    /// Bytes of what is held.
    held: u64,
    /// No slot before this one holds bytes.
    held_from: Index,
}

impl Window {
    pub(super) const fn new(base: Index) -> Self {
        Self { base, slots: VecDeque::new(), held: 0, held_from: Index(base.0 + 1) }
    }

    /// The index of the last slot, or the base.
    pub(super) fn last(&self) -> Index {
        Index(self.base.0 + self.slots.len() as u64)
    }

    /// The index before the first slot.
    pub(super) const fn base(&self) -> Index {
        self.base
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes in memory.
    pub(super) const fn held_bytes(&self) -> u64 {
        self.held
    }

    /// How many of them are of entries from there on.
    pub(super) fn held_from(&self, first: Index) -> u64 {
        let nth = self.nth(first).unwrap_or(0).min(self.slots.len());
        self.slots.range(nth..).map(|slot| slot.bytes.len() as u64).sum()
    }

    pub(super) fn slot(&self, index: Index) -> Option<&Slot> {
        self.slots.get(self.nth(index)?)
    }

    fn nth(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.0 + 1)?).ok()
    }

    /// An entry that is not on the disk yet: behind the last one, or in the place of another.
    /// Answers the extent that dies.
    pub(super) fn put(&mut self, index: Index, term: Term, bytes: Bytes) -> Option<Extent> {
        let slot = Slot { term, bytes, extent: None, is_flying: false };
        self.place(index, slot)
    }

    /// An entry that recovery found on the disk.
    pub(super) fn found(&mut self, index: Index, term: Term, extent: Extent) -> Option<Extent> {
        let bytes = Bytes::new();
        let slot = Slot { term, bytes, extent: Some(extent), is_flying: false };
        self.place(index, slot)
    }

    fn place(&mut self, index: Index, slot: Slot) -> Option<Extent> {
        assert!(index > self.base && index <= self.last().next(), "slots have no gaps");
        self.held += slot.bytes.len() as u64;
        if !slot.bytes.is_empty() {
            self.held_from = self.held_from.min(index);
        }
        if index > self.last() {
            self.slots.push_back(slot);
            return None;
        }
        let nth = (index.0 - self.base.0 - 1) as usize;
        let old = core::mem::replace(&mut self.slots[nth], slot);
        self.held -= old.bytes.len() as u64;
        old.extent
    }

    /// Drops `from` and everything after it; answers what dies.
    pub(super) fn cut(&mut self, from: Index) -> Vec<Extent> {
        let Some(nth) = self.nth(from).filter(|nth| *nth < self.slots.len()) else {
            return Vec::new();
        };
        let gone = self.slots.drain(nth..);
        let mut dead = Vec::new();
        for slot in gone {
            self.held -= slot.bytes.len() as u64;
            dead.extend(slot.extent);
        }
        dead
    }

    /// Forgets everything up to `upto`: it is not live any more. Nothing dies by it.
    pub(super) fn compact(&mut self, upto: Index) {
        let gone = (upto.0.saturating_sub(self.base.0) as usize).min(self.slots.len());
        for slot in self.slots.drain(..gone) {
            self.held -= slot.bytes.len() as u64;
        }
        self.base = Index(self.base.0 + gone as u64);
        self.held_from = self.held_from.max(self.base.next());
    }

    /// Begins again behind a snapshot. Nothing dies by it: what was applied still counts.
    pub(super) fn restart(&mut self, base: Index) {
        *self = Self::new(base);
    }

    /// The entries from `first` on that are neither on the disk nor on their way to it; from now on
    /// they are on their way.
    pub(super) fn launch(&mut self, first: Index) -> impl Iterator<Item = (Index, Term, Bytes)> {
        let nth = self.nth(first).unwrap_or(0).min(self.slots.len());
        let base = self.base.0 + 1;
        self.slots.range_mut(nth..).enumerate().filter_map(move |(at, slot)| {
            let is_new = slot.extent.is_none() && !slot.is_flying && !slot.bytes.is_empty();
            slot.is_flying |= is_new;
            is_new.then(|| (Index(base + (nth + at) as u64), slot.term, slot.bytes.clone()))
        })
    }

    /// What of the entries from `first` on is neither on the disk nor on its way to it.
    pub(super) fn unwritten(&self, first: Index) -> impl Iterator<Item = &Bytes> {
        let nth = self.nth(first).unwrap_or(0).min(self.slots.len());
        let is_new = |slot: &&Slot| slot.extent.is_none() && !slot.is_flying;
        self.slots.range(nth..).filter(is_new).filter_map(Slot::bytes)
    }

    /// What was on its way did not arrive, and nothing happened: it is to be sent off again.
    pub(super) fn recall(&mut self) {
        for slot in &mut self.slots {
            slot.is_flying = false;
        }
    }

    /// These entries, all from the first one on that are on the disk, are on their way to another
    /// place there. False when they are not as they were.
    pub(super) fn moves(&mut self, open: &[Open]) -> bool {
        let is_so = |open: &Open| {
            let is_it = |slot: &Slot| slot.term == open.term && slot.extent == Some(open.extent);
            self.slot(open.index).is_some_and(|slot| is_it(slot) && !slot.is_flying)
        };
        let behind = open.last().and_then(|last| self.slot(last.index.next()));
        let are_all = behind.is_none_or(|slot| slot.extent.is_none());
        let may = are_all && open.iter().all(is_so);
        for open in open.iter().filter(|_| may) {
            let slot = self.nth(open.index).and_then(|nth| self.slots.get_mut(nth));
            slot.into_iter().for_each(|slot| slot.is_flying = true);
        }
        may
    }

    /// An entry's bytes lie here now. Answers where they lay before, or nothing at all when that entry
    /// was replaced meanwhile.
    pub(super) fn landed(
        &mut self,
        index: Index,
        term: Term,
        extent: Extent,
    ) -> Option<Option<Extent>> {
        let nth = self.nth(index)?;
        // One that was cut and came back is not the one that was sent off: what lies there is void by
        // a cut that is still to be written.
        let slot = self.slots.get_mut(nth).filter(|slot| slot.term == term && slot.is_flying)?;
        slot.is_flying = false;
        Some(slot.extent.replace(extent))
    }

    /// The bytes of an entry were read from the disk: they are held again, if the budget allows it.
    /// Nobody lets go of them before something is applied.
    pub(super) fn fetched(&mut self, index: Index, term: Term, bytes: &Bytes, budget: u64) {
        let Some(nth) = self.nth(index) else { return };
        let has_room = self.held + bytes.len() as u64 <= budget;
        if !has_room && !planted!("shard_fetched_entries_stay") {
            mark!("shard_fetched_entry_not_held");
            return;
        }
        if let Some(slot) = self.slots.get_mut(nth)
            && slot.term == term
            && slot.bytes.is_empty()
        {
            self.held += bytes.len() as u64;
            slot.bytes = bytes.clone();
            self.held_from = self.held_from.min(index);
        }
    }

    /// Lets go of bytes, oldest first, until the budget holds or `keep_from` is reached. What is
    /// not on the disk is kept.
    pub(super) fn trim(&mut self, budget: u64, keep_from: Index) {
        if planted!("shard_cache_is_not_trimmed") {
            return;
        }
        while self.held > budget && self.held_from < keep_from && self.held_from <= self.last() {
            let nth = (self.held_from.0 - self.base.0 - 1) as usize;
            let slot = &mut self.slots[nth];
            if slot.extent.is_none() {
                return;
            }
            self.held -= slot.bytes.len() as u64;
            slot.bytes = Bytes::new();
            self.held_from = self.held_from.next();
        }
    }

    /// What must always hold, as far as it is cheap.
    pub(super) fn invariants(&self) {
        assert!(self.held_from > self.base, "nothing is held that is not live");
        assert!(self.held == 0 || !self.slots.is_empty(), "what is held is of some entry");
    }

    /// What must always hold.
    pub(super) fn check(&self) -> bool {
        let is_somewhere = |slot: &Slot| !slot.bytes.is_empty() || slot.extent.is_some();
        let first = self.slots.iter().position(|slot| !slot.bytes.is_empty());
        let first = first.map(|nth| Index(self.base.0 + 1 + nth as u64));
        always!(self.slots.iter().all(is_somewhere), "an entry has bytes or a place")
            && always!(self.held == self.held_from(Index(0)), "what is held is what slots hold")
            && always!(
                first.is_none_or(|first| first >= self.held_from),
                "no entry before the first one that is held holds anything"
            )
    }

    /// The newest entry that lies in a segment that is going.
    pub(super) fn newest_in(&self, goes: impl Fn(SegmentId) -> bool) -> Option<Index> {
        let lies_there = |slot: &Slot| slot.extent.is_some_and(|extent| goes(extent.segment));
        let nth = self.slots.iter().rposition(lies_there)?;
        Some(Index(self.base.0 + 1 + nth as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(words: u32) -> Extent {
        Extent { segment: SegmentId(1), offset_words: words, bytes: 16 }
    }

    fn entry(byte: u8) -> Bytes {
        Bytes::from(alloc::vec![byte; 16])
    }

    #[test]
    fn what_is_replaced_while_it_is_on_its_way_is_dead_where_it_lands() {
        let mut window = Window::new(Index(4));
        assert_eq!(window.put(Index(5), Term(1), entry(1)), None);
        assert_eq!(window.put(Index(6), Term(1), entry(2)), None);
        assert_eq!(window.launch(Index(0)).count(), 2);
        assert_eq!(window.landed(Index(5), Term(1), extent(8)), Some(None));
        assert_eq!(window.cut(Index(5)), [extent(8)], "6 is nowhere yet");
        assert_eq!(window.put(Index(5), Term(2), entry(3)), None);
        assert_eq!(window.landed(Index(6), Term(1), extent(10)), None);
        assert_eq!(window.landed(Index(5), Term(1), extent(10)), None);
        assert_eq!((window.last(), window.held_bytes()), (Index(5), 16));
    }

    #[test]
    fn what_was_cut_and_came_back_is_not_what_was_sent_off() {
        let mut window = Window::new(Index(6));
        window.put(Index(7), Term(1), entry(1));
        assert_eq!(window.launch(Index(7)).count(), 1);
        window.cut(Index(7));
        window.put(Index(7), Term(2), entry(2));
        window.cut(Index(7));
        window.put(Index(7), Term(1), entry(1));
        let landed = window.landed(Index(7), Term(1), extent(8));
        assert_eq!(landed, None, "a cut that is to come voids it");
        assert_eq!(window.launch(Index(7)).count(), 1, "it is written again, behind the cut");
    }

    #[test]
    fn a_repaired_entry_takes_the_place_of_the_damaged_one() {
        let mut window = Window::new(Index(0));
        window.found(Index(1), Term(1), extent(8));
        window.found(Index(2), Term(1), extent(10));
        assert_eq!(window.put(Index(1), Term(1), entry(1)), Some(extent(8)));
        assert_eq!(window.launch(Index(1)).count(), 1);
        assert_eq!(window.landed(Index(1), Term(1), extent(20)), Some(None));
        assert_eq!(window.slot(Index(2)).and_then(Slot::extent), Some(extent(10)));
    }

    #[test]
    fn trimming_lets_go_of_what_is_on_the_disk_and_of_nothing_else() {
        let mut window = Window::new(Index(0));
        for index in 1..=4 {
            window.put(Index(index), Term(1), entry(index as u8));
        }
        assert_eq!(window.launch(Index(1)).count(), 4);
        assert_eq!(window.landed(Index(1), Term(1), extent(8)), Some(None));
        assert_eq!(window.landed(Index(2), Term(1), extent(10)), Some(None));
        window.trim(0, Index(9));
        assert_eq!(window.held_bytes(), 32, "3 and 4 are nowhere else");
        assert!(window.slot(Index(1)).is_some_and(|slot| slot.bytes().is_none()));
        window.fetched(Index(1), Term(1), &entry(1), 47);
        assert_eq!(window.held_bytes(), 32, "there is no room for it");
        window.fetched(Index(1), Term(1), &entry(1), 48);
        assert_eq!(window.held_bytes(), 48);
        window.compact(Index(3));
        assert_eq!((window.last(), window.held_bytes()), (Index(4), 16));
    }
}
