//! Segments whose owner says when they are settled, and the tail: those that are not.
//!
//! A full segment of a lone store is what it is: its records count, and its footer can be written
//! at once. A segment with a replicated log holds entries that may yet be superseded, or turn out
//! to have no effect; which of its records say what a key is worth is known when all of them are
//! decided. Then its owner settles it and names the dead ones, and only then it gets a footer.
//!
//! ```text
//!   data segments, settled journal segments     │ tail: journal segments without a footer
//!   hints: the index, as of the checkpoints     │ terms, checkpoints, and every entry behind them
//! ```
//! So a footer is what tells a settled segment from one of the tail, and opening gives the tail out
//! record by record, in the order of LSNs.
//!
//! Who settles a segment vouches for two things: every entry in it is applied or superseded, and
//! what was computed from it is durable; and every group that has records in it has a newer term and
//! a newer checkpoint, at or above all its entries in it, durable in a later segment.
//!
//! Invariants: segments settle oldest first, so the tail is the end of the journal; an unsettled
//! segment is neither compacted nor dropped; a settled segment's hints are never made from its
//! frames again, because nobody knows the dead ones any more.
//!
//! Not here: what the records mean (whoever settles), reading at open (`open.rs`).

use alloc::vec::Vec;
use bytes::Bytes;

use super::{
    edits::Listed,
    footer::SegmentHints,
    format::{DirectoryEntry, Record, SegmentKind},
    salvage::{DamagedFrame, Relic},
    verdict::Damage,
    walk::FrameAt,
    write::Journal,
};
use crate::{
    always, planted,
    runtime::Runtime,
    types::{Loc, Lsn, SegmentId},
};

/// A segment of the tail, with its bytes.
#[derive(Clone, Debug)]
pub struct TailSegment {
    /// Its number.
    pub id: SegmentId,
    pub(super) base_lsn: Lsn,
    pub(super) bytes: Bytes,
    pub(super) frames: Vec<FrameAt>,
    /// Frames of which something is damaged, and that say what all the same.
    pub(super) damaged: Vec<DamagedFrame>,
}

impl TailSegment {
    /// Its records in the order of LSNs, and where each lies. Behind damage, LSNs go on with a gap.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, Loc, Record<'_>)> {
        self.frames.iter().flat_map(|frame| {
            let lsns = (frame.header.first_lsn.0..).map(Lsn);
            let records = frame.records(self.id, &self.bytes);
            lsns.zip(records).map(|(lsn, (loc, record))| (lsn, loc, record))
        })
    }

    /// The same with what is left of damaged frames.
    pub fn relics(&self) -> impl Iterator<Item = Relic<'_>> {
        let mut damaged = self.damaged.iter().peekable();
        let mut frames = self.frames.iter().peekable();
        let offsets = core::iter::from_fn(move || {
            let next = damaged.peek().map(|damaged| damaged.frame.offset);
            let is_next = match (next, frames.peek()) {
                (Some(offset), Some(frame)) => offset < frame.offset,
                (next, _) => next.is_some(),
            };
            if is_next {
                damaged.next().map(|damaged| (None, Some(damaged)))
            } else {
                frames.next().map(|frame| (Some(frame), None))
            }
        });
        offsets.flat_map(|(frame, damaged)| {
            let whole = frame.into_iter().flat_map(|frame| frame.records(self.id, &self.bytes));
            let whole = whole.map(|(loc, record)| Relic::Whole(loc, record));
            whole.chain(damaged.into_iter().flat_map(|damaged| damaged.relics(&self.bytes)))
        })
    }

    /// Whose records may have been the last of an earlier life and are lost: the groups and their
    /// highest terms, or nobody knows whose. It comes behind all records of the segment.
    #[must_use]
    pub fn scar(&self) -> Option<Vec<DirectoryEntry>> {
        self.frames.iter().find_map(|frame| frame.scar(&self.bytes))
    }

    /// Whether a damage is one of these, so that everything it hit has a name.
    #[must_use]
    pub fn explains(&self, damage: &Damage) -> bool {
        let is_it = |damaged: &DamagedFrame| damaged.frame.offset == damage.offset;
        damage.segment == self.id && self.damaged.iter().any(is_it)
    }

    /// What it says of keys, in the records that are to be kept: the newest of each key.
    #[must_use]
    pub fn hints(&self, keep: impl FnMut(Loc, &Record<'_>) -> bool) -> SegmentHints {
        SegmentHints::of_kept(self.id, &self.bytes, &self.frames, keep)
    }
}

/// Puts the tail in the order in which it was written; numbers do not tell it.
pub(super) fn in_order(mut tail: Vec<TailSegment>) -> Vec<TailSegment> {
    tail.sort_by_key(|segment| segment.base_lsn);
    if planted!("tail_in_the_order_of_numbers") {
        tail.sort_by_key(|segment| segment.id);
    }
    tail
}

impl<R: Runtime> Journal<R> {
    /// The segments that are full and not settled, oldest first.
    #[must_use]
    pub fn unsettled(&self) -> Vec<SegmentId> {
        self.tail.iter().copied().filter(|id| !self.settled.contains_key(id)).collect()
    }

    /// The oldest of them.
    #[must_use]
    pub fn oldest_unsettled(&self) -> Option<SegmentId> {
        self.tail.iter().copied().find(|id| !self.settled.contains_key(id))
    }

    /// What `segments` answers has changed.
    pub(super) fn listing_changed(&mut self) {
        self.listing += 1;
        self.tail = self.find_tail();
    }

    pub(super) fn find_tail(&self) -> Vec<SegmentId> {
        let unsettled = self.state.segments.values().filter(|listed| self.is_unsettled(listed));
        let mut tail: Vec<(Lsn, SegmentId)> = unsettled
            .filter_map(|listed| Some((self.sealed_of(listed)?.base_lsn, listed.id)))
            .collect();
        tail.sort_unstable();
        tail.into_iter().map(|(_, id)| id).collect()
    }

    /// A full segment is settled: all its records count, but for those that begin at `dead` (in
    /// units of 8 bytes, as in [`Loc`]). A chore writes its footer, the oldest segment's first.
    pub fn settle(&mut self, id: SegmentId, mut dead: Vec<u32>) {
        let is_waiting =
            self.state.segments.get(&id).is_some_and(|listed| {
                self.is_unsettled(listed) && self.sealed_of(listed).is_some()
            });
        if always!(is_waiting, "a segment is settled once, when it is full") {
            dead.sort_unstable();
            self.settled.insert(id, dead);
        }
    }

    /// Whether the owner has not settled it, or its footer is not there yet.
    pub(super) fn is_unsettled(&self, listed: &Listed) -> bool {
        let has_footer = listed.sealed.as_ref().is_some_and(|sealed| sealed.footer.is_some());
        self.options.settled_by_owner && listed.kind == SegmentKind::Journal && !has_footer
    }

    /// The oldest full segment without a footer, if it may have one now.
    pub(super) fn next_settled(&self) -> Option<SegmentId> {
        let id = *self.tail.first()?;
        let may = self.settled.contains_key(&id) || planted!("footer_before_settle");
        may.then_some(id)
    }
}
