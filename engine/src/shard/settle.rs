//! When a journal segment may be settled: read at the next opening by its hints, not its entries.
//!
//! Hints say what the segment's records mean for the index. So a segment is settled only when that
//! can no longer change:
//! 1. every entry in it is applied or replaced, and what was derived from it is durable;
//! 2. every group with an entry in it, or whose newest hard state and checkpoint lie in it, has
//!    newer ones in a later segment, with a checkpoint that covers all its entries here.
//!
//! What a group may have forgotten, as the tail says, its newer hard state says too.
//!
//! An entry that stays open keeps its segment from being settled, and all behind it, so it moves
//! forward (`forward.rs`).
//!
//! Segments settle oldest first. So at any moment the segments that are not settled, the *tail*,
//! hold each group's newest hard state and checkpoint and every entry behind it, and opening needs
//! nothing else to know the groups.
//!
//! *Dead* records, which hints leave out: entries that were replaced, and entries without effect.
//!
//! Not here: hints and footers (`journal`), reading the tail (`recover.rs`), moving (`forward.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::ops::Range;

use super::{Done, Outbox, Shard, Stopped, group::Group, window::Extent};
use crate::{
    journal::{Installed, Journal, JournalError},
    mark, planted,
    runtime::{Runtime, Task},
    types::{GroupId, Index, SegmentId, Stamp},
};

/// What is known of the segments that are not settled.
#[derive(Debug, Default)]
pub(super) struct Settling {
    segments: BTreeMap<SegmentId, Use>,
    /// How many segments were written to.
    sequence: Sequence,
    /// Groups whose hard state and checkpoint are to be written.
    anchors: BTreeSet<GroupId>,
    /// Groups whose computed values are to be written.
    pub(super) wants_derived: BTreeSet<GroupId>,
}

/// The place of a segment in the order of writing. Their ids are given out earlier, in another
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(u64);

/// Where a group's newest hard state and checkpoint lie, and how far the checkpoint goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) at: Sequence,
    pub(super) covers: Index,
    /// What time it was for the group.
    pub(super) stamp: Stamp,
}

/// What one segment holds.
#[derive(Debug, Default)]
struct Use {
    at: Sequence,
    /// The highest index of each group.
    entries: BTreeMap<GroupId, Index>,
    /// Where its dead entries lie, in units of 8 bytes.
    dead: Vec<Range<u32>>,
}

impl Settling {
    /// A segment is written to.
    pub(super) fn enter(&mut self, segment: SegmentId) -> Sequence {
        let next = Sequence(self.sequence.0 + 1);
        let segment =
            self.segments.entry(segment).or_insert_with(|| Use { at: next, ..Use::default() });
        self.sequence = self.sequence.max(segment.at);
        segment.at
    }

    /// An entry was written to a segment that was entered.
    pub(super) fn wrote(&mut self, group: GroupId, index: Index, extent: Extent) {
        let Some(segment) = self.segments.get_mut(&extent.segment) else { return };
        let highest = segment.entries.entry(group).or_default();
        *highest = index.max(*highest);
    }

    /// No entry of a group from there on counts any more: no checkpoint need cover them. One that
    /// had to could wait for an index that its group never reaches.
    pub(super) fn cut(&mut self, group: GroupId, from: Index) {
        for segment in self.segments.values_mut() {
            if let Some(highest) = segment.entries.get_mut(&group) {
                *highest = Index(from.0.saturating_sub(1)).min(*highest);
            }
        }
    }

    /// What lies there is no entry any more. Answers whether that makes a difference: a settled
    /// segment's hints have its entries, and entries of settled segments do not die.
    pub(super) fn died(&mut self, extent: Extent) -> bool {
        let segment = self.segments.get_mut(&extent.segment);
        segment.is_some_and(|segment| {
            let words = extent.bytes.div_ceil(8);
            segment.dead.push(extent.offset_words..extent.offset_words + words);
            true
        })
    }

    /// How many segments were written to behind that one.
    pub(super) fn behind(&self, segment: SegmentId) -> u64 {
        self.segments.get(&segment).map_or(0, |segment| self.sequence.0 - segment.at.0)
    }

    /// Segments that are not settled, and dead stretches in them.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.segments.len(), self.segments.values().map(|segment| segment.dead.len()).sum())
    }

    /// Whether a frame is wanted.
    pub(super) fn wants_frame(&self) -> bool {
        !self.anchors.is_empty() || !self.wants_derived.is_empty()
    }

    /// Whether a group's hard state and checkpoint are to be written.
    pub(super) fn wants_anchor(&self, group: GroupId) -> bool {
        self.anchors.contains(&group)
    }

    pub(super) fn take_anchors(&mut self) -> BTreeSet<GroupId> {
        core::mem::take(&mut self.anchors)
    }

    pub(super) fn anchor(&mut self, groups: impl IntoIterator<Item = GroupId>) {
        self.anchors.extend(groups);
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Settles the oldest segment of the tail, if it may be; or asks for what is missing.
    pub(super) fn settle(&mut self) {
        let oldest = self.journal.as_ref().and_then(Journal::oldest_unsettled);
        let Some(id) = oldest else { return };
        let at = self.settling.enter(id);
        let Some(segment) = self.settling.segments.get(&id) else { return };
        let is_early = planted!("shard_settled_before_applied");
        let is_open = |(group, _): (&GroupId, &Index)| {
            self.groups.get(group).is_some_and(|group| group.has_open_entry_in(id))
        };
        // No checkpoint covers what is not applied: asking for one would be in vain.
        if segment.entries.iter().any(is_open) && !is_early {
            return;
        }
        let lacks = |(group, held): &(&GroupId, &Group)| {
            let needed = segment.entries.get(group).copied().unwrap_or_default();
            held.anchor.at <= at || held.anchor.covers < needed && !is_early
        };
        let missing: Vec<GroupId> = self.groups.iter().filter(lacks).map(|(id, _)| *id).collect();
        if !missing.is_empty() && !planted!("shard_settled_without_a_checkpoint") {
            self.settling.anchor(missing);
            return;
        }
        let Some(mut segment) = self.settling.segments.remove(&id) else { return };
        for group in segment.entries.keys() {
            let Some(group) = self.groups.get(group) else { continue };
            segment.dead.extend(group.void_in(id));
        }
        // Wherever in them a record begins.
        let dead = segment.dead.into_iter().flatten().collect();
        mark!("shard_segment_settled");
        if let Some(journal) = &mut self.journal {
            journal.settle(id, dead);
        }
    }

    /// Background work of the journal. What a chore has done is installed before the next frame is
    /// written; a busy journal would never get to it otherwise.
    pub(super) fn work(&mut self) {
        if self.journal.is_none() {
            return;
        }
        if let Some(done) = self.installs.pop_front()
            && let Some(mut journal) = self.journal.take()
        {
            let back = self.done.0.clone();
            self.working = Some(self.rt.task().spawn("install", async move {
                let result = journal.install(done).await;
                _ = back.push(Done::Installed(journal, result));
            }));
            return;
        }
        if self.chore.is_none()
            && let Some(chore) = self.journal.as_mut().and_then(Journal::plan)
        {
            let back = self.done.0.clone();
            self.chore = Some(self.rt.task().spawn("chore", async move {
                _ = back.push(Done::Chore(chore.run().await));
            }));
        }
    }

    /// A chore's result is in.
    pub(super) fn installed(
        &mut self,
        journal: Journal<R>,
        result: Result<Installed, JournalError>,
    ) {
        self.working = None;
        match result {
            // That the disk is full was said, and it is looked at twice a second.
            Ok(Installed::NotPrepared(error)) if self.room.is_full() => {
                tracing::debug!(%error, "no segment could be prepared");
            }
            Ok(Installed::NotPrepared(error)) => {
                tracing::warn!(%error, "no segment could be prepared; trying again later");
            }
            Ok(Installed::Sealed(id)) => self.sealed(id),
            Ok(Installed::Damaged(id, damages)) => self.hurt(id, damages, true),
            Ok(Installed::Scrubbed(report)) => self.scrubbed(report),
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "a chore was not installed");
            }
            Err(error) => self.stopped = Some(Stopped::Journal(error)),
        }
        self.engine.set_files(journal.files());
        self.journal = Some(journal);
    }

    /// A segment's hints are durable and leave out what is dead. Until then a crash could bring its
    /// entries back into the tail, and only checkpoints would tell which of them had no effect.
    fn sealed(&mut self, id: SegmentId) {
        for group in self.groups.values_mut() {
            group.void.retain(|_, extent| extent.segment != id);
        }
    }
}
