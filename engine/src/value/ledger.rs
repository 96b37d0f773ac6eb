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
//! - journal segments go oldest first: a younger one is a victim only together with every older
//!   one, because a log is cut from its beginning;
//! - the rest by dead bytes times age over live bytes: what is cheap to move and gives much.
//!
//! Who drives asks in every turn. Whether there is a need is answered from the sums, which are kept;
//! which segments it takes is not asked again until something that may be moved has changed.
//!
//! Invariants: live + tombstones never exceed a segment's bytes; a segment's live bytes are what a
//! walk over all indexes would count; the sums are those of the lines.
//!
//! Not here: moving (`compact.rs`), what is still needed (`compact.rs`, `needed`).

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    always,
    journal::{RecordKind, SegmentHints},
    mark,
    types::{Loc, Lsn, SegmentId, Version},
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
    /// The lowest version in it; `None` when it holds no record.
    pub version_min: Option<Version>,
    /// Whether it belongs to the journal plane.
    pub is_journal: bool,
    /// Where it begins in the journal.
    pub base_lsn: Lsn,
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

    /// A record of this version lies in it.
    fn holds(&mut self, version: Version) {
        self.version_min = Some(self.version_min.map_or(version, |lowest| lowest.min(version)));
    }

    const fn is_movable(&self) -> bool {
        self.is_settled && !self.is_faulty
    }

    /// Where it stands among the others: whether it may go, and what may go with it.
    const fn stands(&self) -> (bool, bool, Lsn) {
        (self.is_movable(), self.is_journal, self.base_lsn)
    }

    /// Counts another's bytes in.
    const fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.live_bytes += other.live_bytes;
        self.tombstone_bytes += other.tombstone_bytes;
    }

    /// Counts another's bytes out.
    const fn subtract(&mut self, other: &Self) {
        self.bytes -= other.bytes;
        self.live_bytes -= other.live_bytes;
        self.tombstone_bytes -= other.tombstone_bytes;
    }
}

/// Why something should be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Much is dead.
    Dead,
    /// Tombstones are many.
    Tombstones,
    /// There is no room for anything but so many bytes of copies.
    Room(u64),
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

/// What could be moved together: what it would be worth, the segments, the bytes to be copied.
type Offer<'a> = (u128, &'a [SegmentId], u64);

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
        let stood = line.stands();
        self.total.subtract(line);
        change(line);
        self.total.add(line);
        self.changes += u64::from(line.is_movable() || line.stands() != stood);
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
                    line.holds(stats.version_min);
                }
            }
            if hints.stats.iter().any(|stats| stats.tombstones > 0) {
                let tombstones = hints.iter().filter(|hint| hint.kind == RecordKind::Tombstone);
                line.tombstone_bytes = tombstones.map(|hint| hint.loc.padded_len()).sum();
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
                line.holds(version);
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

    /// The victims of the next automatic compaction; none when it is not worth the work.
    #[must_use]
    pub fn victims(&self, need: Need, policy: &Policy) -> Vec<SegmentId> {
        match need {
            Need::Dead => self.choose(policy, |_| true),
            Need::Tombstones => {
                mark!("value: tombstones are many");
                self.everything()
            }
            // Whatever gives a tenth of itself back, the cheapest first. What a copy's hints take
            // is no more than the copy.
            Need::Room(room) => {
                let live_bytes_at_once = room / 2;
                let policy =
                    Policy { segment_dead_percent: 10, live_bytes_at_once, ..Policy::default() };
                self.choose(&policy, |copies| copies <= live_bytes_at_once)
            }
        }
    }

    /// The best of what is worth moving, as many as stay within what may be copied at once, and one
    /// in any case.
    fn choose(&self, policy: &Policy, fits: impl Fn(u64) -> bool) -> Vec<SegmentId> {
        let mut lines: Vec<(SegmentId, &Line)> = self.lines().collect();
        lines.sort_by_key(|(_, line)| line.base_lsn);
        // Data segments on their own; of the journal each segment with all older ones.
        let (journal, data): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|(_, line)| line.is_journal);
        let old: Vec<_> = journal.into_iter().take_while(|(_, line)| line.is_movable()).collect();
        let data: Vec<_> = data.into_iter().filter(|(_, line)| line.is_movable()).collect();
        let ids = |lines: &[(SegmentId, &Line)]| lines.iter().map(|(id, _)| *id).collect();
        let (old_ids, data_ids): (Vec<_>, Vec<_>) = (ids(&old), ids(&data));

        let mut offers = Vec::with_capacity(old.len() + data.len());
        let newest = self.lines.keys().next_back().map_or(0, |id| id.0);
        for (at, (id, line)) in data.iter().enumerate() {
            offers.push(offer(&data_ids[at..=at], line, newest - id.0, policy));
        }
        let mut sum = Line::default();
        for (at, (id, line)) in old.iter().enumerate() {
            sum.add(line);
            offers.push(offer(&old_ids[..=at], &sum, newest - id.0, policy));
        }
        offers.retain(|(score, _, copies)| *score > 0 && fits(*copies));
        offers.sort_unstable_by(|one, other| other.cmp(one));
        let (mut victims, mut live) = (Vec::new(), 0);
        for (_, ids, copies) in offers {
            if victims.is_empty() || live + copies <= policy.live_bytes_at_once {
                live += copies;
                victims.extend_from_slice(ids);
            }
        }
        victims.sort_unstable();
        victims.dedup();
        victims
    }
}

/// What moving these would be worth, or nothing.
fn offer<'a>(ids: &'a [SegmentId], line: &Line, age: u32, policy: &Policy) -> Offer<'a> {
    let dead = line.dead_bytes();
    let worth = dead > 0 && dead * 100 >= line.bytes * policy.segment_dead_percent;
    let gain = u128::from(dead) * u128::from(age + 1) * 1024;
    let score = if worth { gain / u128::from(1 + line.live_bytes) } else { 0 };
    (if worth { score.max(1) } else { 0 }, ids, line.live_bytes + line.tombstone_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ledger(lines: &[(bool, bool, u64, u64, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, (is_journal, is_settled, bytes, live_bytes, tombstone_bytes)) in (1..).zip(lines) {
            let line = Line {
                bytes: *bytes << 20,
                live_bytes: *live_bytes << 20,
                tombstone_bytes: *tombstone_bytes << 20,
                version_min: Some(Version(u64::from(id) * 100)),
                is_journal: *is_journal,
                base_lsn: Lsn(u64::from(id) * 100),
                is_settled: *is_settled,
                is_faulty: false,
            };
            ledger.edit(SegmentId(id), |made| *made = line);
        }
        ledger
    }

    fn victims(ledger: &Ledger) -> Vec<SegmentId> {
        let policy = Policy::default();
        ledger.need(&policy).map_or(Vec::new(), |need| ledger.victims(need, &policy))
    }

    fn check(lines: &[(bool, bool, u64, u64, u64)], expect: &[u32]) {
        let victims = victims(&ledger(lines));
        let expect: Vec<_> = expect.iter().copied().map(SegmentId).collect();
        assert_eq!(victims, expect, "{lines:?}");
    }

    #[test]
    fn victims_are_what_is_worth_moving() {
        // (journal, settled, bytes, live, tombstones)
        check(&[], &[]);
        check(&[(true, true, 64, 64, 0), (true, false, 10, 10, 0)], &[]);
        check(&[(true, true, 64, 10, 0), (true, false, 10, 10, 0)], &[1]);
        // The journal goes oldest first: the second takes the first along, live as it is.
        check(&[(true, true, 10, 9, 0), (true, true, 64, 0, 0), (true, false, 1, 1, 0)], &[1, 2]);
        // What is still written to is never one, and ends the journal's prefix.
        check(&[(true, false, 64, 1, 0), (true, true, 64, 1, 0)], &[]);
        // A data segment goes alone.
        check(&[(false, true, 64, 60, 0), (false, true, 64, 0, 0), (true, false, 1, 1, 0)], &[2]);
        // Tombstones are not dead, but when they are many everything goes.
        check(&[(false, true, 64, 64, 0), (true, true, 20, 0, 19)], &[]);
        check(&[(false, true, 64, 40, 0), (true, true, 30, 0, 30)], &[1, 2]);
    }

    #[test]
    fn a_full_disk_gets_back_what_there_is_room_to_copy_for() {
        let lines = [(false, true, 64, 56, 0), (false, true, 64, 40, 0), (true, true, 32, 0, 0)];
        let policy = Policy::default();
        let within = |room: u64| ledger(&lines).victims(Need::Room(room << 20), &policy);
        assert_eq!(victims(&ledger(&lines[..2])), [], "not worth it otherwise");
        assert_eq!(within(0), [SegmentId(3)], "what is dead altogether needs no room");
        assert_eq!(within(79), [SegmentId(3)], "a copy and its hints");
        assert_eq!(within(80), [2, 3].map(SegmentId));
        assert_eq!(within(200), [1, 2, 3].map(SegmentId));
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
            let needs = [Need::Dead, Need::Tombstones, Need::Room(2), Need::Room(9)];
            let mut ledger = Ledger::default();
            let mut without: Vec<(u64, Need)> = Vec::new();
            for (step, segment, more) in steps {
                let id = SegmentId(segment);
                match step {
                    0 => ledger.edit(id, |line| line.is_settled ^= true),
                    1 => ledger.edit(id, |line| line.is_faulty ^= true),
                    2 => ledger.edit(id, |line| line.is_journal ^= true),
                    3 => ledger.edit(id, |line| line.bytes += more),
                    4 => ledger.edit(id, |line| line.live_bytes = more.min(line.dead_bytes())),
                    5 => ledger.edit(id, |line| line.tombstone_bytes = more.min(line.dead_bytes())),
                    6 => ledger.edit(id, |line| line.base_lsn = Lsn(more)),
                    _ => ledger.forget(id),
                }
                prop_assert_eq!(ledger.invariants(), Ok(()));
                for need in needs {
                    let asked = (ledger.changes(), need);
                    match ledger.victims(need, &policy).is_empty() {
                        true => without.push(asked),
                        false => prop_assert!(!without.contains(&asked), "{asked:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn the_oldest_outside_is_what_a_tombstone_may_hide() {
        let ledger =
            ledger(&[(false, true, 1, 1, 0), (true, true, 1, 1, 0), (true, false, 1, 1, 0)]);
        let outside = |ids: &[u32]| {
            let ids: Vec<_> = ids.iter().copied().map(SegmentId).collect();
            ledger.oldest_outside(&ids).map(|version| version.0)
        };
        assert_eq!(outside(&[]), Some(100));
        assert_eq!(outside(&[1]), Some(200));
        assert_eq!(outside(&[1, 2, 3]), None);
    }
}
