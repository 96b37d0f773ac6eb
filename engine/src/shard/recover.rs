//! What the tail of the journal says about the groups: a pure function of its records.
//!
//! ```text
//!   records in the order of LSNs ──► hard state: the newest
//!                                    checkpoint: the newest
//!                                    log: an entry takes its place; a cut voids what follows it
//! ```
//! The index as a checkpoint saw it is what the settled segments' hints say, and of the tail the
//! entries up to the checkpoint that are in the log and not void, and derived records up to there.
//! Entries behind it are log only, and derived records behind it will be derived again.
//!
//! Not here: the settled segments (`journal`), applying (`apply.rs`).

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    checkpoint::{self, Checkpoint, Unreadable},
    offer,
    settle::{Sequence, Settling},
    window::{Extent, Window},
};
use crate::{
    command::Entry,
    journal::{Origin, Record, RecordKind, TailSegment},
    mark, planted,
    raft::{EntryId, HardState, Head, Kind},
    types::{GroupId, Index, Loc, Stamp, Term},
};

/// One group as the tail shows it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) hard: HardState,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Where both lie.
    hard_at: Sequence,
    checkpoint_at: Sequence,
    /// The index of the first entry of `log`.
    first: Index,
    log: Vec<Line>,
    /// Entries before the log: those that a snapshot took the place of, of which the applied ones
    /// still count, and copies of settled ones that were damaged.
    past: BTreeMap<Index, Line>,
    /// Derived records behind the checkpoint: of which entries, and their keys.
    pub(super) uncounted: Vec<(Index, Vec<u8>)>,
}

/// One entry of the log.
#[derive(Clone, Copy, Debug)]
struct Line {
    term: Term,
    kind: Kind,
    stamp: Stamp,
    extent: Extent,
}

/// A group's log, ready for its core.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) base: EntryId,
    pub(super) heads: Vec<Head>,
    pub(super) window: Window,
    pub(super) stamp: Stamp,
    pub(super) void: BTreeMap<Index, Extent>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            hard: HardState::default(),
            checkpoint: None,
            hard_at: Sequence::default(),
            checkpoint_at: Sequence::default(),
            first: Index(1),
            log: Vec::new(),
            past: BTreeMap::new(),
            uncounted: Vec::new(),
        }
    }
}

/// Reads the tail.
pub(super) fn scan(
    tail: &[TailSegment],
    settling: &mut Settling,
) -> Result<BTreeMap<GroupId, Found>, Unreadable> {
    let mut groups: BTreeMap<GroupId, Found> = BTreeMap::new();
    for segment in tail {
        let at = settling.enter(segment.id);
        let mut open: Option<(GroupId, Index, Line)> = None;
        for (_, loc, record) in segment.records() {
            if record.origin == Origin::Part {
                let Some((.., line)) = &mut open else {
                    return Err(Unreadable("a part of an entry stands without it"));
                };
                let end = u64::from(loc.offset_words) * 8 + loc.padded_len();
                line.extent.bytes = (end - line.extent.start()) as u32;
                continue;
            }
            close(&mut groups, &mut open, settling);
            let group = groups.entry(record.group).or_default();
            match (record.kind, record.origin) {
                (RecordKind::Hard, _) => {
                    let (hard, cut) = checkpoint::read_hard(&record)?;
                    group.hard = hard;
                    group.hard_at = at;
                    if let Some(cut) = cut {
                        group.cut(cut, settling);
                    }
                }
                (RecordKind::Checkpoint, _) => {
                    let read = checkpoint::read(&record)?;
                    group.checkpoint_at = at;
                    group.stand_behind(read.at, settling);
                    group.uncounted.retain(|(index, _)| *index > read.at.index);
                    group.checkpoint = Some(read);
                }
                (_, Origin::Entry(section)) => {
                    let (kind, stamp) = Entry::glance(section)
                        .map_err(|_why| Unreadable("an entry's section is unreadable"))?;
                    let extent = Extent {
                        segment: loc.segment,
                        offset_words: loc.offset_words,
                        bytes: loc.padded_len() as u32,
                    };
                    let kind = offer::kind_of(kind);
                    let line = Line { term: record.term, kind, stamp, extent };
                    open = Some((record.group, Index(record.version.0), line));
                }
                (_, Origin::State) => {
                    let index = Index(record.version.0);
                    group.uncounted.push((index, record.key.to_vec()));
                }
                _ => {}
            }
        }
        close(&mut groups, &mut open, settling);
    }
    Ok(groups)
}

fn close(
    groups: &mut BTreeMap<GroupId, Found>,
    open: &mut Option<(GroupId, Index, Line)>,
    settling: &mut Settling,
) {
    let Some((id, index, line)) = open.take() else { return };
    settling.wrote(id, index, line.extent);
    groups.entry(id).or_default().put(index, line, settling);
}

impl Found {
    /// A group that has just been founded.
    pub(super) fn founded(hard: HardState, checkpoint: Checkpoint, at: Sequence) -> Self {
        let checkpoint = Some(checkpoint);
        Self { hard, checkpoint, hard_at: at, checkpoint_at: at, ..Self::default() }
    }

    /// Where the older of hard state and checkpoint lies.
    pub(super) fn anchored_at(&self) -> Sequence {
        self.hard_at.min(self.checkpoint_at)
    }

    fn last(&self) -> Index {
        Index(self.first.0 + self.log.len() as u64 - 1)
    }

    /// Everything from here on is void.
    fn cut(&mut self, from: Index, settling: &mut Settling) {
        let keep = from.0.saturating_sub(self.first.0).min(self.log.len() as u64) as usize;
        for line in self.log.drain(keep..) {
            settling.died(line.extent);
        }
    }

    /// The state stands behind this entry. If the log has another one there, or does not reach so
    /// far, the state came as a snapshot, and the log begins again behind it.
    fn stand_behind(&mut self, at: EntryId, settling: &mut Settling) {
        let is_here = self.line(at.index).is_some_and(|line| line.term == at.term);
        let is_before = !self.log.is_empty() && at.index < self.first;
        if is_here || is_before {
            return;
        }
        if !self.log.is_empty() {
            mark!("shard_recovered_a_log_behind_a_snapshot");
        }
        self.cut(at.index.next(), settling);
        let lines = core::mem::take(&mut self.log);
        self.past.extend((self.first.0..).map(Index).zip(lines));
        self.first = at.index.next();
    }

    fn put(&mut self, index: Index, line: Line, settling: &mut Settling) {
        if self.log.is_empty() && index > self.first {
            self.first = index;
        }
        if index < self.first {
            self.put_mended(index, line, settling);
            return;
        }
        if index > self.last().next() {
            // A log has no gaps: what came before it were mended entries.
            mark!("shard_log_behind_mended_entries");
            let before = core::mem::take(&mut self.log);
            for (index, line) in (self.first.0..).map(Index).zip(before) {
                self.put_mended(index, line, settling);
            }
            self.first = index;
        }
        let nth = (index.0 - self.first.0) as usize;
        match self.log.get_mut(nth) {
            None => self.log.push(line),
            Some(old) if old.term == line.term => {
                settling.died(old.extent);
                *old = line;
            }
            Some(_) => {
                self.cut(index, settling);
                self.log.push(line);
            }
        }
    }

    /// An entry from before what the tail has of the log: it was damaged where it lay, and this copy
    /// counts in its place.
    fn put_mended(&mut self, index: Index, line: Line, settling: &mut Settling) {
        mark!("shard_entry_outside_the_tail");
        if let Some(older) = self.past.insert(index, line) {
            settling.died(older.extent);
        }
    }

    /// Whether a record of the tail is part of the state as of the checkpoint.
    pub(super) fn counts(&self, loc: Loc, record: &Record<'_>) -> bool {
        let Some(checkpoint) = &self.checkpoint else { return false };
        let index = Index(record.version.0);
        if index > checkpoint.at.index {
            return false;
        }
        match record.origin {
            Origin::State => true,
            Origin::Entry(_) | Origin::Part => {
                let is_void =
                    checkpoint.void.contains(&index) && !planted!("shard_void_entry_recovered");
                !is_void && self.line(index).is_some_and(|line| line.covers(loc))
            }
        }
    }

    fn line(&self, index: Index) -> Option<&Line> {
        let nth = index.0.checked_sub(self.first.0).and_then(|nth| usize::try_from(nth).ok());
        nth.and_then(|nth| self.log.get(nth)).or_else(|| self.past.get(&index))
    }

    /// The log for the core. It begins behind the first entry that is known, or the checkpoint.
    pub(super) fn recover(&self) -> Option<Recovered> {
        let checkpoint = self.checkpoint.as_ref()?;
        let (base, skip) = match self.log.first() {
            Some(first) if self.first <= checkpoint.at.index => {
                (EntryId { term: first.term, index: self.first }, 1)
            }
            Some(_) if self.first > checkpoint.at.index.next() => return None,
            Some(_) | None => (checkpoint.at, 0),
        };
        let mut window = Window::new(base.index);
        let mut heads = Vec::with_capacity(self.log.len());
        let mut stamp = checkpoint.state.stamp();
        let mut index = base.index.next();
        for line in self.log.iter().skip(skip) {
            window.found(index, line.term, line.extent);
            let bytes = line.extent.bytes;
            heads.push(Head { term: line.term, kind: line.kind, bytes });
            stamp = stamp.max(line.stamp);
            index = index.next();
        }
        let extent = |index: &Index| Some((*index, self.line(*index)?.extent));
        let void = checkpoint.void.iter().filter_map(extent).collect();
        Some(Recovered { base, heads, window, stamp, void })
    }
}

impl Line {
    fn covers(&self, loc: Loc) -> bool {
        let Extent { segment, offset_words, bytes } = self.extent;
        let end = offset_words + bytes.div_ceil(8);
        loc.segment == segment && (offset_words..end).contains(&loc.offset_words)
    }
}
