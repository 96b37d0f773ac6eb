//! What each segment holds, in bytes: live, dead, and deletions that may still hide something.
//!
//! Compaction asks here which segments are worth moving. A segment's bytes are
//! ```text
//! │ live: an index points at it │ tombstones │ dead: the rest │
//! ```
//! Tombstones count apart: they are given back only when nothing older than them can exist
//! outside the segments moved together. Taking them for dead would choose the same segment again
//! and again and copy its tombstones for nothing.
//!
//! Rules of the choice:
//! - a segment that is still written to is never a victim;
//! - each of the others goes alone, of the journal too: what is cold in front of it must not keep
//!   what is dead. The logs are cut behind the youngest that goes, and owe nobody what is older;
//! - tombstones go with all segments that may hold something older, so with the oldest ones;
//! - first what gives much, has lain for long, and leaves little to copy;
//! - no more is copied than there is room for.
//!
//! Who drives asks in every turn. Whether there is a need is answered from the sums, which are kept;
//! which segments it takes is not asked again until something that may be moved has changed.
//!
//! Invariants: live + tombstones never exceed a segment's bytes; a segment's live bytes are what a
//! walk over all indexes would count; the sums are those of the lines.
//!
//! Not here: moving (`compact.rs`), what is still needed (`compact.rs`, `needed`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    always,
    journal::{RecordKind, SegmentHints},
    mark, planted,
    types::{Loc, SegmentId, Version},
};

/// What one segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Bytes of records.
    pub bytes: u64,
    /// Of those, records that an index points at.
    pub live_bytes: u64,
    /// Of those, tombstones.
    pub tombstone_bytes: u64,
    /// What its hints take besides.
    pub hint_bytes: u64,
    /// The lowest version in it; `None` when it holds no record.
    pub version_min: Option<Version>,
    /// The highest version of a tombstone in it.
    pub tombstone_max: Option<Version>,
    /// Whether it belongs to the journal plane.
    pub is_journal: bool,
    /// Whether it is complete and settled: only then may it be moved.
    pub is_settled: bool,
    /// Whether damage was found in it: it stays, for whoever repairs it.
    pub is_faulty: bool,
}

impl Line {
    /// Bytes that nothing needs.
    #[must_use]
    pub const fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.live_bytes + self.tombstone_bytes)
    }

    /// A record of a key lies in it.
    pub fn hold(&mut self, kind: RecordKind, version: Version) {
        self.version_min = Some(self.version_min.map_or(version, |lowest| lowest.min(version)));
        if kind == RecordKind::Tombstone {
            self.tombstone_max = self.tombstone_max.max(Some(version));
        }
    }

    const fn is_movable(&self) -> bool {
        self.is_settled && !self.is_faulty
    }

    /// Counts another's bytes in.
    const fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.live_bytes += other.live_bytes;
        self.tombstone_bytes += other.tombstone_bytes;
        self.hint_bytes += other.hint_bytes;
    }

    /// Counts another's bytes out.
    const fn subtract(&mut self, other: &Self) {
        self.bytes -= other.bytes;
        self.live_bytes -= other.live_bytes;
        self.tombstone_bytes -= other.tombstone_bytes;
        self.hint_bytes -= other.hint_bytes;
    }
}

/// Why something should be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Much is dead.
    Dead,
    /// Tombstones are many.
    Tombstones,
    /// The disk is full.
    Room,
}

/// When compaction runs by itself, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Run when at least this many of 100 bytes are dead, over all segments.
    pub dead_percent: u64,
    /// A segment is a victim when at least this many of 100 of its bytes are dead.
    pub segment_dead_percent: u64,
    /// Run when this many bytes are dead, whatever their share.
    pub dead_bytes_max: u64,
    /// Do not run for fewer dead bytes than this.
    pub dead_bytes_min: u64,
    /// Take everything along when at least this many of 100 bytes are tombstones.
    pub tombstone_percent: u64,
    /// Move no more live bytes than this at once.
    pub live_bytes_at_once: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            dead_percent: 50,
            segment_dead_percent: 35,
            dead_bytes_max: 4 << 30,
            dead_bytes_min: 1 << 20,
            tombstone_percent: 25,
            live_bytes_at_once: 256 << 20,
        }
    }
}

/// Every segment's line.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: BTreeMap<SegmentId, Line>,
    /// The bytes of all of them.
    total: Line,
    changes: u64,
}

/// What may be moved, and when it is worth it.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// At least this many of 100 bytes are given back.
    percent: u64,
    /// No more than this is copied at once, but for the first offer.
    at_once: u64,
    /// No copies take more than this with their hints.
    room: u64,
}

/// What could be moved together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offer<'a> {
    /// What it would be worth.
    score: u128,
    segments: &'a [SegmentId],
    /// What copies take, with their hints and without what each new segment takes.
    takes: u64,
}

/// Frames and their maps add less than one byte to so many.
const FRAMING_DIVISOR: u64 = 32;

/// A new segment's own: its header, and what its last page leaves empty.
const SEGMENT_OWN_BYTES: u64 = 8 << 10;

impl Ledger {
    /// The lines in order of segment.
    pub fn lines(&self) -> impl Iterator<Item = (SegmentId, &Line)> {
        self.lines.iter().map(|(id, line)| (*id, line))
    }

    /// One segment's line.
    #[must_use]
    pub fn line(&self, segment: SegmentId) -> Option<&Line> {
        self.lines.get(&segment)
    }

    /// Changes one segment's line, made when missing.
    pub fn edit(&mut self, segment: SegmentId, change: impl FnOnce(&mut Line)) {
        let line = self.lines.entry(segment).or_default();
        let was_movable = line.is_movable();
        self.total.subtract(line);
        change(line);
        self.total.add(line);
        self.changes += u64::from(line.is_movable() || was_movable);
    }

    /// Forgets a segment that is gone.
    pub fn forget(&mut self, segment: SegmentId) {
        if let Some(line) = self.lines.remove(&segment) {
            self.total.subtract(&line);
            self.changes += 1;
        }
    }

    /// Counts what may turn an answer without victims to the same need into one with some.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes in what a segment's hints say of it; nothing of it is live yet.
    pub fn enter(&mut self, hints: &SegmentHints) {
        self.edit(hints.segment, |line| {
            for stats in &hints.stats {
                line.bytes += stats.bytes;
                if stats.version_max > Version(0) {
                    line.hold(RecordKind::Put, stats.version_min);
                }
            }
            if hints.stats.iter().any(|stats| stats.tombstones > 0) {
                for hint in hints.iter().filter(|hint| hint.kind == RecordKind::Tombstone) {
                    line.tombstone_bytes += hint.loc.padded_len();
                    line.hold(hint.kind, hint.version);
                }
            }
        });
    }

    /// A record was written. One that says nothing of a key is dead from the beginning: what keeps
    /// its segment is whoever settles it.
    pub fn wrote(&mut self, loc: Loc, kind: RecordKind, version: Version) {
        self.edit(loc.segment, |line| {
            line.bytes += loc.padded_len();
            if kind == RecordKind::Tombstone {
                line.tombstone_bytes += loc.padded_len();
            }
            if kind.is_of_a_key() {
                line.hold(kind, version);
            }
        });
    }

    /// An index points at a record now.
    pub fn live(&mut self, loc: Loc) {
        self.edit(loc.segment, |line| line.live_bytes += loc.padded_len());
    }

    /// An index no longer points at a record.
    pub fn dead(&mut self, loc: Loc) {
        self.edit(loc.segment, |line| {
            let enough = always!(line.live_bytes >= loc.padded_len(), "only what is live can die");
            line.live_bytes = if enough { line.live_bytes - loc.padded_len() } else { 0 };
        });
    }

    /// The bytes of all segments.
    #[must_use]
    pub const fn total(&self) -> &Line {
        &self.total
    }

    /// Checks the sums; for tests and the simulator.
    ///
    /// # Errors
    /// What does not hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        let mut total = Line::default();
        self.lines.values().for_each(|line| total.add(line));
        if total == self.total { Ok(()) } else { Err("the ledger's sums are those of its lines") }
    }

    /// The lowest version in any segment that is not among these.
    #[must_use]
    pub fn oldest_outside(&self, victims: &[SegmentId]) -> Option<Version> {
        let outside = self.lines.iter().filter(|(id, _)| !victims.contains(id));
        outside.filter_map(|(_, line)| line.version_min).min()
    }

    /// Every segment that can be moved, when moving gives anything back.
    #[must_use]
    pub fn everything(&self) -> Vec<SegmentId> {
        let movable = || self.lines.iter().filter(|(_, line)| line.is_movable());
        let waste: u64 = movable().map(|(_, line)| line.bytes - line.live_bytes).sum();
        // Sorted data segments without waste are as good as they get.
        if waste == 0 && movable().all(|(_, line)| !line.is_journal) {
            return Vec::new();
        }
        movable().map(|(id, _)| *id).collect()
    }

    /// Whether automatic compaction is worth a look, and why.
    #[must_use]
    pub fn need(&self, policy: &Policy) -> Option<Need> {
        let (total, dead) = (&self.total, self.total.dead_bytes());
        if total.tombstone_bytes >= policy.dead_bytes_min
            && total.tombstone_bytes * 100 >= total.bytes * policy.tombstone_percent
        {
            return Some(Need::Tombstones);
        }
        let due = dead >= policy.dead_bytes_max || dead * 100 >= total.bytes * policy.dead_percent;
        (due && dead >= policy.dead_bytes_min.max(1)).then_some(Need::Dead)
    }

    /// The victims of the next automatic compaction; none when it is not worth the work, or when
    /// copies may not take more than `room` bytes and would.
    #[must_use]
    pub fn victims(&self, need: Need, policy: &Policy, room: u64) -> Vec<SegmentId> {
        let at_once = policy.live_bytes_at_once;
        match need {
            Need::Dead => {
                self.choose(Terms { percent: policy.segment_dead_percent, at_once, room }, false)
            }
            Need::Tombstones => {
                mark!("value: tombstones are many");
                self.choose(Terms { percent: policy.tombstone_percent / 2, at_once, room }, true)
            }
            // Whatever gives a tenth of itself back, the cheapest first.
            Need::Room => self.choose(Terms { percent: 10, at_once: room, room }, true),
        }
    }

    /// The best of what is worth moving, as many as stay within what may be copied at once, and one
    /// in any case.
    fn choose(&self, terms: Terms, with_tombstones: bool) -> Vec<SegmentId> {
        let mut movable: Vec<(SegmentId, &Line)> =
            self.lines().filter(|(_, line)| line.is_movable()).collect();
        movable.sort_by_key(|(id, line)| (line.version_min, *id));
        let ids: Vec<SegmentId> = movable.iter().map(|(id, _)| *id).collect();
        let newest = self.lines.keys().next_back().map_or(0, |id| id.0);
        let mut offers: Vec<Offer<'_>> = Vec::with_capacity(movable.len() + 1);
        let mut sum = Line::default();
        for (at, (id, line)) in movable.iter().enumerate() {
            sum.add(line);
            let (from, line) = match line.is_journal && planted!("compact_cold_keeps_dead") {
                true => (0, &sum),
                false => (at, *line),
            };
            offers.extend(terms.offer(&ids[from..=at], line, 0, newest - id.0));
        }
        if with_tombstones {
            offers.extend(self.oldest_with_tombstones(&movable, &ids, newest, terms));
        }
        offers.sort_unstable_by(|one, other| other.cmp(one));
        let (mut victims, mut taken) = (BTreeSet::new(), 0);
        for Offer { segments, takes, .. } in offers {
            let is_enough = taken + takes > terms.at_once && !victims.is_empty();
            if !is_enough && terms.has_room(taken + takes) {
                taken += takes;
                victims.extend(segments);
            }
        }
        victims.into_iter().collect()
    }

    /// The best offer of all segments with something older than a version: the tombstones below it
    /// hide nothing any more then.
    fn oldest_with_tombstones<'a>(
        &self,
        movable: &[(SegmentId, &Line)],
        ids: &'a [SegmentId],
        newest: u32,
        terms: Terms,
    ) -> Option<Offer<'a>> {
        let fixed = self.lines.values().filter(|line| !line.is_movable());
        let fixed = fixed.filter_map(|line| line.version_min).min();
        let (mut sum, mut gone, mut best) = (Line::default(), 0, None);
        let mut waiting: BTreeSet<(Option<Version>, SegmentId, u64)> = BTreeSet::new();
        for (at, (id, line)) in movable.iter().enumerate() {
            sum.add(line);
            waiting.insert((line.tombstone_max, *id, line.tombstone_bytes));
            let next = movable.get(at + 1).map(|(_, line)| line.version_min);
            // What holds nothing of any key comes first, and goes with the others.
            if next == Some(None) {
                continue;
            }
            let outside = fixed.into_iter().chain(next.flatten()).min();
            let is_gone = |(highest, ..): &(Option<Version>, SegmentId, u64)| {
                outside.is_none_or(|outside| *highest < Some(outside))
            };
            while let Some((.., bytes)) = waiting.first().copied().filter(is_gone) {
                waiting.pop_first();
                gone += bytes;
            }
            if gone > 0 {
                best = best.max(terms.offer(&ids[..=at], &sum, gone, newest - id.0));
            }
        }
        best
    }
}

impl Terms {
    /// Whether there is room for copies that take so much.
    const fn has_room(self, takes: u64) -> bool {
        takes == 0 || takes.saturating_add(SEGMENT_OWN_BYTES) <= self.room
    }

    /// The offer to move these, if it is worth it and there is room. Of their tombstones so many
    /// bytes are not needed any more.
    fn offer<'a>(
        self,
        segments: &'a [SegmentId],
        line: &Line,
        gone: u64,
        age: u32,
    ) -> Option<Offer<'a>> {
        let gain = line.dead_bytes() + gone;
        let copies = line.live_bytes + line.tombstone_bytes - gone;
        let takes = takes(copies, line.hint_bytes);
        let is_worth = gain > 0 && gain * 100 >= line.bytes * self.percent && self.has_room(takes);
        let score = u128::from(gain) * u128::from(age + 1) * 1024 / u128::from(1 + copies);
        is_worth.then_some(Offer { score, segments, takes })
    }
}

/// What copies of so many bytes take: their hints are no more than the originals', and no more than
/// the copies.
const fn takes(copies: u64, hint_bytes: u64) -> u64 {
    let besides = hint_bytes + copies / FRAMING_DIVISOR;
    copies + if besides < copies { besides } else { copies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JournalOptions;
    use alloc::vec;
    use proptest::prelude::*;

    /// (journal, settled, bytes, live, tombstones), each with versions above those before it.
    fn ledger(lines: &[(bool, bool, u64, u64, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, (is_journal, is_settled, bytes, live_bytes, tombstone_bytes)) in (1..).zip(lines) {
            let line = Line {
                bytes: *bytes << 20,
                live_bytes: *live_bytes << 20,
                tombstone_bytes: *tombstone_bytes << 20,
                hint_bytes: (*bytes << 20) / 16,
                version_min: Some(Version(u64::from(id) * 100)),
                tombstone_max: (*tombstone_bytes > 0).then_some(Version(u64::from(id) * 100 + 99)),
                is_journal: *is_journal,
                is_settled: *is_settled,
                is_faulty: false,
            };
            ledger.edit(SegmentId(id), |made| *made = line);
        }
        ledger
    }

    fn ids(ids: &[u32]) -> Vec<SegmentId> {
        ids.iter().copied().map(SegmentId).collect()
    }

    fn victims(ledger: &Ledger) -> Vec<SegmentId> {
        let policy = Policy::default();
        let victims = |need| ledger.victims(need, &policy, u64::MAX);
        ledger.need(&policy).map_or(Vec::new(), victims)
    }

    fn check(lines: &[(bool, bool, u64, u64, u64)], expect: &[u32]) {
        assert_eq!(victims(&ledger(lines)), ids(expect), "{lines:?}");
    }

    #[test]
    fn victims_are_what_is_worth_moving() {
        check(&[], &[]);
        check(&[(true, true, 64, 64, 0), (true, false, 10, 10, 0)], &[]);
        check(&[(true, true, 64, 10, 0), (true, false, 10, 10, 0)], &[1]);
        // What is live in front of it stays where it is.
        check(&[(true, true, 10, 9, 0), (true, true, 64, 0, 0), (true, false, 1, 1, 0)], &[2]);
        // What is still written to is never one.
        check(&[(true, false, 64, 1, 0), (true, true, 64, 1, 0)], &[2]);
        check(&[(false, true, 64, 60, 0), (false, true, 64, 0, 0), (true, false, 1, 1, 0)], &[2]);
        // Tombstones are not dead, but when they are many all that is older goes with them.
        check(&[(false, true, 64, 64, 0), (true, true, 20, 0, 19)], &[]);
        check(&[(false, true, 64, 40, 0), (true, true, 30, 0, 30)], &[1, 2]);
        // What is written to now holds something older: they would be copied for nothing.
        let mut busy = ledger(&[(true, true, 30, 0, 30), (true, false, 1, 1, 0)]);
        assert_eq!(victims(&busy), ids(&[1]));
        busy.edit(SegmentId(2), |line| line.version_min = Some(Version(199)));
        assert_eq!(victims(&busy), []);
    }

    #[test]
    fn a_full_disk_gets_back_what_there_is_room_to_copy_for() {
        let lines = [(false, true, 64, 56, 0), (false, true, 64, 40, 0), (true, true, 32, 0, 0)];
        let policy = Policy::default();
        let within = |room: u64| ledger(&lines).victims(Need::Room, &policy, room << 20);
        assert_eq!(victims(&ledger(&lines[..2])), [], "not worth it otherwise");
        assert_eq!(within(0), ids(&[3]), "what is dead altogether needs no room");
        assert_eq!(within(45), ids(&[3]), "a copy and its hints");
        assert_eq!(within(46), ids(&[2, 3]));
        assert_eq!(within(200), ids(&[1, 2, 3]));
    }

    /// How many of the largest segments a node's reserve has room for (`ShardOptions`).
    const NODE_RESERVE_SEGMENTS: u64 = 2;

    /// As it is in production: what is copied at once is less than a segment.
    #[test]
    fn what_is_cold_does_not_keep_what_is_dead_behind_it() {
        let mut lines = vec![(true, true, 64, 62, 0); 8];
        lines.extend([(true, true, 64, 0, 0); 4]);
        lines.extend([(true, true, 64, 3, 0); 4]);
        lines.push((true, false, 64, 30, 0));
        let journal = JournalOptions::default();
        let room = NODE_RESERVE_SEGMENTS * journal.segment_bytes_max / 2;
        assert!(room < journal.segment_bytes_max * 3 / 2);
        let victims = ledger(&lines).victims(Need::Room, &Policy::default(), room);
        assert_eq!(victims, ids(&[9, 10, 11, 12, 13, 14, 15, 16]));
        assert_eq!(
            ledger(&lines).victims(Need::Room, &Policy::default(), 1 << 20),
            ids(&[9, 10, 11, 12])
        );
    }

    #[test]
    fn whatever_the_share_that_is_dead_a_copy_fits_the_reserve() {
        let journal = JournalOptions::default();
        let segment = journal.segment_bytes_max >> 20;
        for dead_percent in 10..100 {
            let live = segment * (100 - dead_percent) / 100;
            let lines =
                [(true, true, segment * 15 / 16, live.min(segment * 15 / 16 * 9 / 10), 0); 4];
            let reserve = NODE_RESERVE_SEGMENTS * journal.segment_bytes_max;
            let room = reserve - reserve / 4;
            let victims = ledger(&lines).victims(Need::Room, &Policy::default(), room);
            assert_ne!(victims, [], "{dead_percent} of 100 bytes are dead");
        }
    }

    #[test]
    fn no_more_is_copied_than_there_is_room_for() {
        let policy = Policy::default();
        let lines = [(true, true, 64, 30, 0); 8];
        let within = |need, room: u64| ledger(&lines).victims(need, &policy, room << 20);
        assert_eq!(victims(&ledger(&lines)).len(), 7, "as many as go at once");
        assert_eq!(within(Need::Dead, 30), []);
        assert_eq!(within(Need::Dead, 40), ids(&[1]));
        assert_eq!(within(Need::Dead, 80), ids(&[1, 2]));
        let lines = [(true, true, 64, 40, 0), (true, true, 64, 0, 60)];
        let within = |need, room: u64| ledger(&lines).victims(need, &policy, room << 20);
        assert_eq!(within(Need::Tombstones, 40), []);
        assert_eq!(within(Need::Tombstones, 60), ids(&[1, 2]));
    }

    #[test]
    fn tombstones_alone_give_room_back() {
        let policy = Policy::default();
        let within =
            |lines: &[_], room: u64| ledger(lines).victims(Need::Room, &policy, room << 20);
        let (dead, tombs, open) =
            ((true, true, 64, 0, 0), (false, true, 64, 0, 64), (true, false, 1, 1, 0));
        assert_eq!(within(&[tombs, tombs, open], 0), ids(&[1, 2]));
        assert_eq!(within(&[dead, tombs, open], 0), ids(&[1, 2]), "what they hide goes along");
        let cold = (true, true, 64, 20, 0);
        assert_eq!(within(&[cold, tombs, open], 0), [], "what they may hide has no room");
        assert_eq!(within(&[cold, tombs, open], 40), ids(&[1, 2]));
        let mut held = ledger(&[tombs, open]);
        held.edit(SegmentId(2), |line| line.version_min = Some(Version(7)));
        assert_eq!(held.victims(Need::Room, &policy, 100 << 20), [], "nothing would be gained");
    }

    #[test]
    fn a_faulty_segment_stays() {
        let mut ledger = ledger(&[(false, true, 64, 1, 0), (false, true, 64, 2, 0)]);
        ledger.edit(SegmentId(1), |line| line.is_faulty = true);
        assert_eq!(victims(&ledger), [SegmentId(2)]);
        assert_eq!(ledger.everything(), [SegmentId(2)]);
    }

    proptest! {
        #[test]
        fn what_could_not_be_moved_cannot_until_a_change_is_counted(
            steps in prop::collection::vec((0_u8..8, 1_u32..5, 0_u64..4), 1..60),
        ) {
            let policy = Policy { dead_bytes_min: 1, live_bytes_at_once: 4, ..Policy::default() };
            let needs = [Need::Dead, Need::Tombstones, Need::Room];
            let mut ledger = Ledger::default();
            let mut without: Vec<(u64, Need, u64)> = Vec::new();
            for (step, segment, more) in steps {
                let id = SegmentId(segment);
                match step {
                    0 => ledger.edit(id, |line| line.is_settled ^= true),
                    1 => ledger.edit(id, |line| line.is_faulty ^= true),
                    2 => ledger.edit(id, |line| line.is_journal ^= true),
                    3 => ledger.edit(id, |line| line.bytes += more),
                    4 => ledger.edit(id, |line| line.live_bytes = more.min(line.dead_bytes())),
                    5 => ledger.edit(id, |line| {
                        line.tombstone_bytes = more.min(line.dead_bytes());
                        line.hold(RecordKind::Tombstone, Version(more));
                    }),
                    6 => ledger.edit(id, |line| line.hold(RecordKind::Put, Version(more))),
                    _ => ledger.forget(id),
                }
                prop_assert_eq!(ledger.invariants(), Ok(()));
                for (need, room) in needs.into_iter().flat_map(|need| [(need, 2), (need, 9)]) {
                    let asked = (ledger.changes(), need, room);
                    match ledger.victims(need, &policy, room).is_empty() {
                        true => without.push(asked),
                        false => prop_assert!(!without.contains(&asked), "{asked:?}"),
                    }
                }
            }
        }

        /// What a choice promises about tombstones, a compaction of it keeps (`compact.rs`, `fate`).
        #[test]
        fn a_choice_has_room_for_all_that_it_copies(
            lines in prop::collection::vec(
                (any::<bool>(), 0_u64..20, 0_u64..20, 0_u64..20, 1_u64..9, 0_u64..9), 0..9),
            room in 0_u64..60,
        ) {
            let mut ledger = Ledger::default();
            for (id, (is_settled, live, tombstones, dead, lowest, spread)) in (1..).zip(lines) {
                ledger.edit(SegmentId(id), |line| {
                    line.is_settled = is_settled;
                    (line.live_bytes, line.tombstone_bytes) = (live << 20, tombstones << 20);
                    line.bytes = (live + tombstones + dead) << 20;
                    line.version_min = Some(Version(lowest));
                    line.tombstone_max = (tombstones > 0).then_some(Version(lowest + spread));
                });
            }
            for need in [Need::Dead, Need::Tombstones, Need::Room] {
                let victims = ledger.victims(need, &Policy::default(), room << 20);
                let outside = ledger.oldest_outside(&victims);
                let (mut copies, mut bytes) = (0, 0);
                for line in victims.iter().filter_map(|id| ledger.line(*id)) {
                    let goes = line.tombstone_max.is_none_or(|highest| {
                        outside.is_none_or(|outside| highest < outside)
                    });
                    copies += line.live_bytes + if goes { 0 } else { line.tombstone_bytes };
                    bytes += line.bytes;
                }
                prop_assert!(copies <= room << 20, "{need:?}: {victims:?}");
                prop_assert!(victims.is_empty() || copies < bytes, "{need:?}: {victims:?}");
            }
        }
    }

    #[test]
    fn the_oldest_outside_is_what_a_tombstone_may_hide() {
        let ledger =
            ledger(&[(false, true, 1, 1, 0), (true, true, 1, 1, 0), (true, false, 1, 1, 0)]);
        let outside = |of: &[u32]| ledger.oldest_outside(&ids(of)).map(|version| version.0);
        assert_eq!(outside(&[]), Some(100));
        assert_eq!(outside(&[1]), Some(200));
        assert_eq!(outside(&[1, 2, 3]), None);
    }
}
