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
//! Invariants: live + tombstones never exceed a segment's bytes; a segment's live bytes are what a
//! walk over all indexes would count.
//!
//! Not here: moving (`compact.rs`), what is still needed (`compact.rs`, `needed`).

use alloc::{collections::BTreeMap, vec, vec::Vec};

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
}

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

    /// One segment's line, made when missing.
    pub fn line_mut(&mut self, segment: SegmentId) -> &mut Line {
        self.lines.entry(segment).or_default()
    }

    /// Forgets a segment that is gone.
    pub fn forget(&mut self, segment: SegmentId) {
        self.lines.remove(&segment);
    }

    /// Takes in what a segment's hints say of it; nothing of it is live yet.
    pub fn enter(&mut self, hints: &SegmentHints) {
        let line = self.line_mut(hints.segment);
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
    }

    /// A record was written. One that says nothing of a key is dead from the beginning: what keeps
    /// its segment is whoever settles it.
    pub fn wrote(&mut self, loc: Loc, kind: RecordKind, version: Version) {
        let line = self.line_mut(loc.segment);
        line.bytes += loc.padded_len();
        if kind == RecordKind::Tombstone {
            line.tombstone_bytes += loc.padded_len();
        }
        if kind.is_of_a_key() {
            line.holds(version);
        }
    }

    /// An index points at a record now.
    pub fn live(&mut self, loc: Loc) {
        self.line_mut(loc.segment).live_bytes += loc.padded_len();
    }

    /// An index no longer points at a record.
    pub fn dead(&mut self, loc: Loc) {
        let line = self.line_mut(loc.segment);
        let enough = always!(line.live_bytes >= loc.padded_len(), "only what is live can die");
        line.live_bytes = if enough { line.live_bytes - loc.padded_len() } else { 0 };
    }

    /// The sums over all segments.
    #[must_use]
    pub fn total(&self) -> Line {
        self.lines.values().fold(Line::default(), |sum, line| Line {
            bytes: sum.bytes + line.bytes,
            live_bytes: sum.live_bytes + line.live_bytes,
            tombstone_bytes: sum.tombstone_bytes + line.tombstone_bytes,
            ..sum
        })
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

    /// The victims of the next automatic compaction; none when it is not worth the work.
    #[must_use]
    pub fn victims(&self, policy: &Policy) -> Vec<SegmentId> {
        let total = self.total();
        let dead = total.dead_bytes();
        if total.tombstone_bytes >= policy.dead_bytes_min
            && total.tombstone_bytes * 100 >= total.bytes * policy.tombstone_percent
        {
            mark!("value: tombstones are many");
            return self.everything();
        }
        let due = dead >= policy.dead_bytes_max || dead * 100 >= total.bytes * policy.dead_percent;
        if !due || dead < policy.dead_bytes_min.max(1) {
            return Vec::new();
        }
        self.choose(policy)
    }

    /// The victims when there is no room for anything but so many bytes of copies: whatever gives a
    /// tenth of itself back, the cheapest first. What a copy's hints take is no more than the copy.
    #[must_use]
    pub fn victims_within(&self, room: u64) -> Vec<SegmentId> {
        let room = room / 2;
        let policy =
            Policy { segment_dead_percent: 10, live_bytes_at_once: room, ..Policy::default() };
        let mut offers = self.offers(&policy);
        offers.retain(|(.., copies)| *copies <= room);
        chosen(offers, room)
    }

    fn choose(&self, policy: &Policy) -> Vec<SegmentId> {
        chosen(self.offers(policy), policy.live_bytes_at_once)
    }

    /// What could be moved together, what it would be worth, and how many bytes would be copied.
    fn offers(&self, policy: &Policy) -> Vec<(u128, Vec<SegmentId>, u64)> {
        let newest = self.lines.keys().next_back().map_or(0, |id| id.0);
        // Data segments on their own; of the journal each segment with all older ones.
        let mut offers: Vec<(u128, Vec<SegmentId>, u64)> = Vec::new();
        let mut prefix = Some((Vec::new(), Line::default()));
        let mut lines: Vec<(&SegmentId, &Line)> = self.lines.iter().collect();
        lines.sort_by_key(|(_, line)| line.base_lsn);
        for (id, line) in lines {
            if !line.is_journal {
                if line.is_movable() {
                    offers.push(offer(vec![*id], line, newest - id.0, policy));
                }
                continue;
            }
            prefix = match prefix {
                Some((mut ids, mut sum)) if line.is_movable() => {
                    ids.push(*id);
                    sum.bytes += line.bytes;
                    sum.live_bytes += line.live_bytes;
                    sum.tombstone_bytes += line.tombstone_bytes;
                    offers.push(offer(ids.clone(), &sum, newest - id.0, policy));
                    Some((ids, sum))
                }
                _ => None,
            };
        }
        offers.retain(|(score, ..)| *score > 0);
        offers.sort_unstable_by(|one, other| other.cmp(one));
        offers
    }
}

/// The best of the offers, as many as stay within what may be copied at once, and one in any case.
fn chosen(offers: Vec<(u128, Vec<SegmentId>, u64)>, live_bytes_at_once: u64) -> Vec<SegmentId> {
    let (mut victims, mut live) = (Vec::new(), 0);
    for (_, ids, more) in offers {
        if victims.is_empty() || live + more <= live_bytes_at_once {
            live += more;
            victims.extend(ids);
        }
    }
    victims.sort_unstable();
    victims.dedup();
    victims
}

/// What moving these would be worth, or nothing.
fn offer(
    ids: Vec<SegmentId>,
    line: &Line,
    age: u32,
    policy: &Policy,
) -> (u128, Vec<SegmentId>, u64) {
    let dead = line.dead_bytes();
    let worth = dead > 0 && dead * 100 >= line.bytes * policy.segment_dead_percent;
    let gain = u128::from(dead) * u128::from(age + 1) * 1024;
    let score = if worth { gain / u128::from(1 + line.live_bytes) } else { 0 };
    (if worth { score.max(1) } else { 0 }, ids, line.live_bytes + line.tombstone_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[(bool, bool, u64, u64, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, (is_journal, is_settled, bytes, live_bytes, tombstone_bytes)) in (1..).zip(lines) {
            *ledger.line_mut(SegmentId(id)) = Line {
                bytes: *bytes << 20,
                live_bytes: *live_bytes << 20,
                tombstone_bytes: *tombstone_bytes << 20,
                version_min: Some(Version(u64::from(id) * 100)),
                is_journal: *is_journal,
                base_lsn: Lsn(u64::from(id) * 100),
                is_settled: *is_settled,
                is_faulty: false,
            };
        }
        ledger
    }

    fn check(lines: &[(bool, bool, u64, u64, u64)], expect: &[u32]) {
        let victims = ledger(lines).victims(&Policy::default());
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
        let within = |room: u64| ledger(&lines).victims_within(room << 20);
        assert_eq!(ledger(&lines[..2]).victims(&Policy::default()), [], "not worth it otherwise");
        assert_eq!(within(0), [SegmentId(3)], "what is dead altogether needs no room");
        assert_eq!(within(79), [SegmentId(3)], "a copy and its hints");
        assert_eq!(within(80), [2, 3].map(SegmentId));
        assert_eq!(within(200), [1, 2, 3].map(SegmentId));
    }

    #[test]
    fn a_faulty_segment_stays() {
        let mut ledger = ledger(&[(false, true, 64, 1, 0), (false, true, 64, 2, 0)]);
        ledger.line_mut(SegmentId(1)).is_faulty = true;
        assert_eq!(ledger.victims(&Policy::default()), [SegmentId(2)]);
        assert_eq!(ledger.everything(), [SegmentId(2)]);
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
