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
//! # Damage
//! A damaged frame whose records all have names ([`Relic`]) takes nothing away that is not known to
//! be missing:
//! - its entries are *faulty*, those that verify too: its segment's hints will leave all of it out,
//!   so all of it is to come again from others. What they do to the state is not known here, so none
//!   of them may be one that the state stands behind already;
//! - derived records of entries that will be applied again come again with them;
//! - a hard state that no newer one follows may have said a vote and a term that were promised. The
//!   frame names the highest term, and the vote of that term is taken for given, to nobody else;
//! - a *scar* stands where the journal ended once, with a frame that may have been acknowledged and
//!   that nobody can read. Lives behind it know of it: what they have of the log they have from a
//!   leader. But each is told in which terms its group may have promised something (`raft`,
//!   `faulty.rs`), until the segment is settled, which waits until none needs to know;
//! - a checkpoint that no newer one follows is the only one of its group: nothing replaces it here.
//!
//! A name that nothing counts may be wrong (`journal/salvage.rs`). So behind damage a log must go on
//! without a gap and with terms that do not fall.
//!
//! Not here: the settled segments (`journal`), applying (`apply.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    checkpoint::{self, Checkpoint, Unreadable},
    offer,
    settle::{Sequence, Settling},
    window::{Extent, Window},
};
use crate::{
    command::Entry,
    journal::{
        DirectoryEntry, Origin, Record, RecordKind, Relic, SegmentHints, SegmentStats, TailSegment,
    },
    limits, mark, planted,
    raft::{EntryId, HardState, Head, Kind},
    types::{GroupId, Index, Loc, ReplicaId, Stamp, Term, Version},
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
    /// Values behind the checkpoint that are in no entry of the log: of which entries, and their
    /// keys.
    pub(super) uncounted: BTreeSet<(Index, Vec<u8>)>,
    /// Where derived records behind the checkpoint lie.
    ahead: Vec<(Index, Extent)>,
    /// What is damaged.
    lost: Lost,
    /// What the journal's end may have promised, before lives that know of it.
    forgot: Option<Term>,
}

/// What a group has lost, as far as the tail shows it.
#[derive(Debug, Default)]
struct Lost {
    /// Whether anything.
    any: bool,
    /// The highest term in frames with a hard state that is newer than the one that is known.
    hard: Option<Term>,
    /// A checkpoint that is newer than the one that is known.
    checkpoint: bool,
    /// The lowest of the derived records.
    derived: Option<Index>,
    /// The log goes on behind damage in a way that logs do not.
    gap: bool,
}

/// Why a group cannot go on with what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Irreparable(pub(super) &'static str);

/// One entry of the log.
#[derive(Clone, Copy, Debug)]
struct Line {
    term: Term,
    kind: Kind,
    stamp: Stamp,
    extent: Extent,
    is_faulty: bool,
}

/// A group's log, ready for its core.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) base: EntryId,
    pub(super) heads: Vec<Head>,
    pub(super) faulty: Vec<Index>,
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
            uncounted: BTreeSet::new(),
            ahead: Vec::new(),
            lost: Lost::default(),
            forgot: None,
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
        for relic in segment.relics() {
            let (loc, record) = (relic.loc(), relic.record());
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
            if let Some(line) = group.take(&relic, at, settling)? {
                open = Some((record.group, Index(record.version.0), line));
            }
        }
        close(&mut groups, &mut open, settling);
        if let Some(lost) = segment.scar() {
            groups.iter_mut().for_each(|(id, group)| group.forget(*id, &lost));
        }
    }
    for (id, group) in &groups {
        let covered = group.checkpoint.as_ref().map_or(Index(0), |checkpoint| checkpoint.at.index);
        settling.cut(*id, group.last().max(covered).next());
        group.end_derived(settling);
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
    /// Takes the next record in. Answers the entry that it begins.
    fn take(
        &mut self,
        relic: &Relic<'_>,
        at: Sequence,
        settling: &mut Settling,
    ) -> Result<Option<Line>, Unreadable> {
        let record = relic.record();
        let is_readable = !matches!(relic, Relic::Damaged(..));
        let is_faulty = !matches!(relic, Relic::Whole(..));
        self.lost.any |= is_faulty;
        match (record.kind, record.origin) {
            (RecordKind::Hard, _) if is_readable => {
                let (hard, cut) = checkpoint::read_hard(&record)?;
                self.hard = hard;
                self.hard_at = at;
                self.lost.hard = None;
                if let Some(cut) = cut {
                    self.cut(cut, settling);
                }
            }
            // Where its log was cut, the entries that follow it show, or nothing has to.
            (RecordKind::Hard, _) => self.lost.hard = self.lost.hard.max(Some(record.term)),
            (RecordKind::Checkpoint, _) if is_readable => {
                let read = checkpoint::read(&record)?;
                self.checkpoint_at = at;
                self.lost.checkpoint = false;
                self.stand_behind(read.at, settling);
                self.uncounted.retain(|(index, _)| *index > read.at.index);
                self.ahead.retain(|(index, _)| *index > read.at.index);
                self.checkpoint = Some(read);
            }
            (RecordKind::Checkpoint, _) => self.lost.checkpoint = true,
            (_, Origin::Entry(section)) => {
                let (kind, stamp) = match Entry::glance(section) {
                    Ok((kind, stamp)) if is_readable => (offer::kind_of(kind), stamp),
                    // It may change the members: nobody leads or leaves before that is known.
                    _ if !is_readable => (Kind::Change, Stamp::default()),
                    _ => return Err(Unreadable("an entry's section is unreadable")),
                };
                let extent = extent_of(relic);
                return Ok(Some(Line { term: record.term, kind, stamp, extent, is_faulty }));
            }
            (_, Origin::State) => {
                let index = Index(record.version.0);
                if is_faulty {
                    self.lost.derived = Some(self.lost.derived.map_or(index, |low| low.min(index)));
                }
                if is_readable {
                    self.ahead.push((index, extent_of(relic)));
                    self.uncounted.insert((index, record.key.to_vec()));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Derived records behind the checkpoint do not count: they are derived again. Their entries may
    /// move forward, so their segments may settle before that, and hints know only the newest record
    /// of a key: these would hide what counts.
    fn end_derived(&self, settling: &mut Settling) {
        if planted!("shard_derived_ahead_hides_what_counts") {
            return;
        }
        for (_, extent) in &self.ahead {
            mark!("shard_derived_record_ahead_of_the_checkpoint");
            settling.died(*extent);
        }
    }

    /// Values of settled segments that the checkpoint does not cover: of a snapshot that was listed
    /// and never counted, or of a compaction that was ahead of the checkpoint.
    pub(super) fn foresee(&mut self, id: GroupId, hints: &SegmentHints) {
        let Some(checkpoint) = &self.checkpoint else { return };
        let covered = Version(checkpoint.at.index.0);
        let is_ahead = |stats: &SegmentStats| stats.group == id && stats.version_max > covered;
        if !hints.stats.iter().any(is_ahead) || planted!("shard_uncounted_values_come_back") {
            return;
        }
        let ahead = hints.iter().filter(|hint| {
            hint.group == id && hint.version > covered && hint.kind == RecordKind::Put
        });
        mark!("shard_settled_values_behind_the_checkpoint");
        self.uncounted.extend(ahead.map(|hint| (Index(hint.version.0), hint.key.to_vec())));
    }

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
        // What came before it is settled, down to where the log goes on now.
        if self.log.is_empty() && from < self.first {
            mark!("shard_log_cut_below_the_tail");
            self.first = from;
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
            self.lost.gap |= self.lost.any;
            let before = core::mem::take(&mut self.log);
            for (index, line) in (self.first.0..).map(Index).zip(before) {
                self.put_mended(index, line, settling);
            }
            self.first = index;
        }
        let nth = (index.0 - self.first.0) as usize;
        match self.log.get_mut(nth) {
            None => self.log.push(line),
            Some(old) if old.term == line.term && line.is_faulty && !old.is_faulty => {
                settling.died(line.extent);
            }
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
            Origin::Part if planted!("shard_parts_not_recovered") => false,
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

    /// What is durable of term and vote. What was lost of it is bounded: the vote that may have been
    /// given counts as given, to nobody else than this replica.
    pub(super) fn hard(&self, own: ReplicaId) -> HardState {
        let mut hard = self.hard;
        // A hard state that is lost may have known that a change of the members is committed.
        let changes = self.log.iter().any(|line| matches!(line.kind, Kind::Change | Kind::Leave));
        let doubt = self.lost.hard.filter(|_| changes).map(|term| term.max(hard.term));
        hard.forgot = hard.forgot.max(self.forgot).max(doubt);
        match self.lost.hard {
            Some(term) if term > hard.term => {
                mark!("shard_lost_vote_is_given");
                hard.term = term;
                hard.vote = Some(own);
            }
            Some(term) if term == hard.term && hard.vote.is_none() => {
                mark!("shard_lost_vote_is_given");
                hard.vote = Some(own);
            }
            _ => {}
        }
        hard
    }

    /// Whether what the group has lost will come from others.
    pub(super) fn check(&self) -> Result<(), Irreparable> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        if self.lost.checkpoint {
            mark!("shard_newest_checkpoint_lost");
            return Err(Irreparable("its newest checkpoint"));
        }
        if self.lost.gap {
            return Err(Irreparable("entries that nothing names"));
        }
        let covered = checkpoint.at.index;
        let lines = (self.first.0..).map(Index).zip(&self.log);
        let mut lines = lines.chain(self.past.iter().map(|(index, line)| (*index, line)));
        let derived = self.lost.derived.is_some_and(|index| index <= covered);
        if derived || lines.any(|(index, line)| line.is_faulty && index <= covered) {
            mark!("shard_applied_record_lost");
            return Err(Irreparable("what its state was made of"));
        }
        if self.lost.derived.is_some_and(|index| index > self.last()) {
            return Err(Irreparable("an entry that something was derived from"));
        }
        Ok(())
    }

    /// The journal ended here, and nobody knows whether what it ended with had been acknowledged. If
    /// it names whose that was, it names the terms; if not, so many may have passed since.
    fn forget(&mut self, id: GroupId, lost: &[DirectoryEntry]) {
        let known = self.lost.hard.max(Some(self.hard.term)).max(self.forgot);
        let known = known.max(self.hard.forgot).unwrap_or_default();
        let until = match lost.iter().find(|line| line.group == id) {
            Some(line) => line.term.max(known),
            None if lost.is_empty() => Term(known.0.saturating_add(limits::RAFT_TERMS_MISSED_MAX)),
            None => return,
        };
        mark!("shard_end_may_be_forgotten");
        self.forgot = self.forgot.max(Some(until));
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
        let mut faulty = Vec::new();
        let mut stamp = checkpoint.state.stamp();
        let mut index = base.index.next();
        for line in self.log.iter().skip(skip) {
            window.found(index, line.term, line.extent);
            let bytes = line.extent.bytes;
            heads.push(Head { term: line.term, kind: line.kind, bytes });
            if line.is_faulty {
                mark!("shard_damaged_entry_found");
                faulty.push(index);
            }
            stamp = stamp.max(line.stamp);
            index = index.next();
        }
        let extent = |index: &Index| Some((*index, self.line(*index)?.extent));
        let void = checkpoint.void.iter().filter_map(extent).collect();
        Some(Recovered { base, heads, faulty, window, stamp, void })
    }
}

/// Where a record lies, without the parts that follow it.
fn extent_of(relic: &Relic<'_>) -> Extent {
    let loc = relic.loc();
    Extent { segment: loc.segment, offset_words: loc.offset_words, bytes: loc.padded_len() as u32 }
}

impl Line {
    fn covers(&self, loc: Loc) -> bool {
        let Extent { segment, offset_words, bytes } = self.extent;
        let end = offset_words + bytes.div_ceil(8);
        loc.segment == segment && (offset_words..end).contains(&loc.offset_words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(term: u64, vote: Option<u64>, lost: Option<u64>) -> Found {
        let hard =
            HardState { term: Term(term), vote: vote.map(ReplicaId), ..HardState::default() };
        let lost = Lost { hard: lost.map(Term), any: true, ..Lost::default() };
        Found { hard, lost, ..Found::default() }
    }

    #[test]
    fn a_vote_that_may_be_lost_is_given_to_nobody_else() {
        let own = ReplicaId(2);
        let hard = |found: Found| (found.hard(own).term.0, found.hard(own).vote.map(|id| id.0));
        assert_eq!(hard(found(4, Some(3), None)), (4, Some(3)));
        assert_eq!(hard(found(4, Some(3), Some(4))), (4, Some(3)), "one vote in a term");
        assert_eq!(hard(found(4, None, Some(4))), (4, Some(2)));
        assert_eq!(hard(found(4, Some(3), Some(6))), (6, Some(2)));
        assert_eq!(hard(found(4, None, Some(3))), (4, None), "terms do not fall in a journal");
    }

    #[test]
    fn nothing_takes_the_place_of_a_lost_checkpoint() {
        let mut found = found(4, None, None);
        assert_eq!(found.check(), Ok(()), "what is not there is somebody else's business");
        found.checkpoint = Some(Checkpoint {
            at: EntryId::new(3, 9),
            membership: crate::raft::Membership::default(),
            roster: BTreeMap::new(),
            void: alloc::collections::BTreeSet::new(),
            state: crate::store::State::behind(Index(9), Term(3)),
        });
        assert_eq!(found.check(), Ok(()));
        found.lost.checkpoint = true;
        assert!(found.check().is_err());
        found.lost = Lost { any: true, derived: Some(Index(9)), ..Lost::default() };
        assert!(found.check().is_err(), "the state was made of it");
    }
}
