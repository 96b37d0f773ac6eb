//! Torn, rot or ambiguous: what recovery may conclude from the walks of all unsealed segments.
//! Pure.
//!
//! The writer hands frame N+1 to the device only after frame N was synced (or says, by its
//! `durable_lsn`, that it was not), syncs a segment before it writes the header of the next, and
//! writes in that header where the next begins. So there is one number, *proven*: the highest LSN
//! of which some frame's header, a segment's, or the manifest says that it was durable. A header
//! counts although the rest of its frame is torn: its checksum is right for this place in this
//! incarnation, and nothing is written twice there, so it says what was true when it was made. Then,
//! for the first missing LSN `E`:
//!
//! ```text
//! E ≤ proven                         rot        it was durable, perhaps acknowledged: never cut
//! E > proven, hole looks old         torn       its sync never returned: nobody was told: cut
//! E > proven, hole looks strange     ambiguous  written, then changed: before or after its sync?
//! ```
//!
//! "Old" is decided sector by sector (`walk.rs`), so the answer is exact for every subset of
//! sectors that a power loss can leave behind.
//!
//! Whole frames above *proven* may have been acknowledged (the last one has nobody after it to
//! prove it), so they are kept; but they are *unproven* and must be written again elsewhere before
//! anything follows them.
//!
//! A segment's header is one sector and may be hit alone. Its frames verify by themselves, seeded with
//! the manifest's uuid and their place; so when the first of them goes on where the log is, the
//! header is reported and nothing is lost.
//!
//! Invariant (I6): every LSN up to the answered `next_lsn` is kept, or stands in a damage.
//!
//! Not here: what to do about it (`recovery.rs`, `commit.rs`).

use alloc::vec::Vec;
use core::fmt;

use super::{
    files::segment_name,
    format::{
        DirectoryEntry, FormatError, FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind,
    },
    walk::{Evidence, FrameAt, Hole, Piece, Walk},
};
use crate::{
    mark, planted,
    types::{Lsn, SegmentId},
};

/// What happened to bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A write that never completed; nobody was told that it had.
    Torn,
    /// Damage to something that had been durable.
    Rot,
    /// Written and changed; whether it had been acknowledged cannot be known from this disk.
    Ambiguous,
    /// The file is not there, though the manifest lists it.
    Missing,
    /// Edits are not in the manifest though they had been durable: what they listed looks like what
    /// belongs to nothing.
    Forgotten,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torn => "a write that never completed",
            Self::Rot => "damage to durable data",
            Self::Ambiguous => "damage to the last write, which may have been acknowledged",
            Self::Missing => "a missing file",
            Self::Forgotten => "it lacks edits that frames of the journal rest on",
        })
    }
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment; the manifest's number when an edit is missing, whose records are then meant below.
    pub segment: SegmentId,
    /// Where it begins.
    pub offset: u64,
    /// How much of the file is affected.
    pub bytes: u64,
    /// What happened.
    pub verdict: Verdict,
    /// The first record that cannot be read.
    pub first_lsn: Lsn,
    /// The last one, when anything says so.
    pub last_lsn: Option<Lsn>,
    /// What is wrong with the bytes.
    pub why: FormatError,
    /// Who is affected, when the directory can be read.
    pub groups: Vec<DirectoryEntry>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, bytes, verdict, first_lsn, last_lsn, why, groups } = self;
        if *verdict == Verdict::Forgotten {
            let file = segment_name(SegmentKind::Manifest, *segment);
            write!(f, "{file}, from {offset} on: {verdict}; records ")?;
        } else {
            let number = segment.0;
            write!(
                f,
                "segment {number:08x}, {bytes} bytes at {offset}: {verdict}; {why}; records "
            )?;
        }
        match last_lsn {
            Some(last) if last < first_lsn => write!(f, "none")?,
            Some(last) => write!(f, "{first_lsn} to {last}")?,
            None => write!(f, "from {first_lsn} on")?,
        }
        if let Some(first) = groups.first() {
            write!(f, ", group {}", first.group)?;
            if groups.len() > 1 {
                write!(f, " and {} more", groups.len() - 1)?;
            }
        }
        Ok(())
    }
}

/// What stands at the front of an unsealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Its header, as the manifest says it must be.
    Whole(SegmentHeader),
    /// Nothing: the sector was never written.
    Old,
    /// Something else.
    Strange(FormatError),
}

/// One unsealed segment as it was found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Its number.
    pub id: SegmentId,
    /// Its front.
    pub front: Front,
    /// Its frames and holes.
    pub walk: Walk,
    /// Whether every byte is zero: prepared and never used.
    pub blank: bool,
    /// How much of the file the manifest promises is not there.
    pub cut_short_bytes: u64,
}

impl Scanned {
    /// The LSN of its first record, when its header or a whole frame at its front says so.
    fn begins(&self) -> Option<Lsn> {
        match (self.front, self.walk.pieces.first()) {
            (Front::Whole(header), _) => Some(header.base_lsn),
            (Front::Old | Front::Strange(_), Some(Piece::Frame(frame))) => {
                Some(frame.header.first_lsn)
            }
            (Front::Old | Front::Strange(_), _) => None,
        }
    }
}

/// What is kept of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which of the scanned ones.
    pub index: usize,
    /// The LSN of its first record.
    pub base_lsn: Lsn,
    /// The last proven LSN in it; below `base_lsn` when nothing in it is proven.
    pub last_lsn: Lsn,
    /// Where its proven frames end.
    pub frames_end: u64,
    /// The checksum of the last proven frame's header.
    pub last_crc: u32,
    /// The frames, proven and unproven, in order.
    pub frames: Vec<FrameAt>,
    /// How many of them are proven.
    pub proven_frames: usize,
    /// Ranges of LSNs that are missing between them.
    pub lost: Vec<(Lsn, Lsn)>,
}

/// What recovery concludes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What is kept, in the order of LSNs.
    pub kept: Vec<Kept>,
    /// What cannot be kept and must not be cut without leave: rot and ambiguity.
    pub damages: Vec<Damage>,
    /// What was cut, because nobody was told about it.
    pub torn: Option<Damage>,
    /// Open segments whose headers are lost and whose frames are not.
    pub headless: Vec<SegmentId>,
    /// Who lost records in an ambiguous tail, when it names all that it had.
    pub tail_groups: Vec<DirectoryEntry>,
    /// The first LSN that is free.
    pub next_lsn: Lsn,
    /// The highest LSN known to be durable.
    pub proven: Lsn,
}

/// Concludes. `floor` is the highest LSN that the manifest's sealed segments hold.
#[must_use]
pub fn decide(scans: &[Scanned], floor: Lsn) -> Decision {
    conclude(scans, floor, None)
}

/// Concludes about a segment that the manifest knows to end with `last`: all of it was durable, and
/// nothing is missing behind it.
#[must_use]
pub fn decide_sealed(scan: Scanned, floor: Lsn, last: Lsn) -> Decision {
    conclude(&[scan], floor, Some(last))
}

fn conclude(scans: &[Scanned], floor: Lsn, last: Option<Lsn>) -> Decision {
    let proven = proven(scans, last.map_or(floor, |last| floor.max(last)));
    let mut judge = Judge {
        decision: Decision { next_lsn: floor.next(), proven, ..Decision::default() },
        pending: None,
        successor: None,
    };
    let order = order(scans);
    for (place, index) in order.iter().enumerate() {
        // The header of the next segment says where this one ends.
        judge.successor = match order.get(place + 1) {
            Some(next) => scans[*next].begins(),
            None => last.map(Lsn::next),
        };
        if !judge.segment(*index, &scans[*index]) {
            // The next segment is begun when this one is durable to its end.
            let is_used = |next: &usize| matches!(scans[*next].front, Front::Strange(_));
            if order[place + 1..].iter().any(is_used) {
                judge.doubt();
            }
            break;
        }
    }
    judge.finish()
}

fn proven(scans: &[Scanned], floor: Lsn) -> Lsn {
    let mut proven = floor;
    for scan in scans {
        if !planted!("rot_taken_for_a_tail") {
            proven = proven.max(scan.walk.proven);
        }
        if let Front::Whole(header) = scan.front {
            proven = proven.max(Lsn(header.base_lsn.0.saturating_sub(1)));
        }
    }
    proven
}

/// The used segments in the order they were written. Numbers do not say it: a segment made for one
/// large batch is used before spares that were prepared earlier.
fn order(scans: &[Scanned]) -> Vec<usize> {
    let base = |scan: &Scanned| match scan.front {
        Front::Whole(header) => header.base_lsn,
        Front::Old | Front::Strange(_) => {
            scan.walk.frames().next().map_or(Lsn(u64::MAX), |frame| frame.header.first_lsn)
        }
    };
    let mut order: Vec<usize> = (0..scans.len()).filter(|index| !scans[*index].blank).collect();
    order.sort_by_key(|index| (base(&scans[*index]), scans[*index].id));
    order
}

struct Judge {
    decision: Decision,
    /// A hole in proven territory whose extent is not known yet.
    pending: Option<Damage>,
    /// Where the next segment begins, when it says so.
    successor: Option<Lsn>,
}

impl Judge {
    /// Where a segment whose header is lost begins, when it says so by itself: its first frame is
    /// whole, and so of this segment and this place, and it continues the log, or the gap before
    /// it was durable and will be named. Everything that the header says is known then.
    fn headless_base(&self, scan: &Scanned) -> Option<Lsn> {
        let (expected, first) = (self.decision.next_lsn, scan.begins()?);
        let goes_on = first == expected || (first > expected && expected <= self.decision.proven);
        goes_on.then_some(first)
    }

    /// Takes one segment in; false when nothing behind it can count.
    fn segment(&mut self, index: usize, scan: &Scanned) -> bool {
        let expected = self.decision.next_lsn;
        let headless = self.headless_base(scan);
        let (base_lsn, front_why) = match (scan.front, headless) {
            (Front::Whole(header), _) => (header.base_lsn, None),
            (Front::Old | Front::Strange(_), Some(base_lsn)) => {
                mark!("journal_header_lost");
                self.decision.headless.push(scan.id);
                (base_lsn, None)
            }
            (Front::Old, None) => (expected, Some((Evidence::Old, FormatError::Field("header")))),
            (Front::Strange(why), None) => (expected, Some((Evidence::Strange, why))),
        };
        if base_lsn < expected {
            // Two segments claim the same LSNs: no writer of ours does that.
            self.damage(scan.id, Verdict::Rot, Some(Lsn(0)), FormatError::Field("base_lsn"));
            return true;
        }
        self.reached(scan.id, base_lsn);
        let last_crc = match scan.front {
            Front::Whole(header) => header.previous_crc,
            Front::Old | Front::Strange(_) => 0,
        };
        self.decision.kept.push(Kept {
            index,
            base_lsn,
            last_lsn: Lsn(base_lsn.0.saturating_sub(1)),
            frames_end: SEGMENT_HEADER_BYTES as u64,
            last_crc,
            frames: Vec::new(),
            proven_frames: 0,
            lost: Vec::new(),
        });
        if let Some((evidence, why)) = front_why {
            if expected > self.decision.proven {
                // A segment has its length before it is listed: no power loss cuts it short.
                let is_cut = scan.cut_short_bytes > 0;
                let evidence = if is_cut { Evidence::Strange } else { evidence };
                self.tail(scan.id, evidence, why, None);
                return false;
            }
            self.damage(scan.id, Verdict::Rot, Some(Lsn(0)), why);
        }
        let goes_on = self.pieces(scan);
        if scan.cut_short_bytes > 0 {
            self.damage(scan.id, Verdict::Rot, None, FormatError::Truncated);
        }
        goes_on
    }

    fn pieces(&mut self, scan: &Scanned) -> bool {
        let mut pieces = scan.walk.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Frame(frame) => self.frame(scan.id, frame),
                Piece::Hole(hole) => {
                    // Its header says where it begins: what is missing before it is lost by itself.
                    if let Some(header) = &hole.header
                        && self.decision.next_lsn <= self.decision.proven.min(header.first_lsn)
                    {
                        self.reached(scan.id, header.first_lsn);
                    }
                    let expected = self.decision.next_lsn;
                    let next = match pieces.peek() {
                        Some(Piece::Frame(frame)) => Some(frame.header.first_lsn),
                        Some(Piece::Hole(_)) => None,
                        None => self.successor,
                    };
                    if next == Some(expected) {
                        // What was there carried no records: a seal, or the beginning of a footer
                        // that was being written behind the last frame.
                        mark!("journal_hole_without_records");
                    } else if expected > self.decision.proven {
                        let behind = pieces.filter_map(Piece::frame).next_back();
                        self.tail(scan.id, hole.evidence, hole.why, Some((hole, behind)));
                        return false;
                    } else if self.pending.is_none() {
                        self.pending = Some(Damage {
                            segment: scan.id,
                            offset: hole.offset,
                            bytes: hole.end - hole.offset,
                            verdict: Verdict::Rot,
                            first_lsn: expected,
                            last_lsn: None,
                            why: hole.why,
                            groups: hole.groups.clone(),
                        });
                    }
                }
            }
        }
        true
    }

    fn frame(&mut self, segment: SegmentId, frame: &FrameAt) {
        let header = &frame.header;
        if header.first_lsn < self.decision.next_lsn {
            self.damage(segment, Verdict::Rot, Some(Lsn(0)), FormatError::Field("first_lsn"));
            return;
        }
        if header.kind == FrameKind::Scar && self.pending.is_none() {
            self.scar(segment, frame);
        }
        self.reached(segment, header.first_lsn);
        self.decision.next_lsn = header.next_lsn();
        let is_proven = header.next_lsn().0 <= self.decision.proven.0 + 1;
        let Some(kept) = self.decision.kept.last_mut() else { return };
        kept.frames.push(*frame);
        if is_proven {
            kept.proven_frames = kept.frames.len();
            kept.frames_end = frame.end;
            kept.last_lsn = Lsn(header.next_lsn().0 - 1);
            kept.last_crc = header.crc;
        }
    }

    /// An earlier opening could not tell whether what was here had been acknowledged, and this one
    /// knows no more.
    fn scar(&mut self, segment: SegmentId, frame: &FrameAt) {
        mark!("journal_scar_found");
        self.pending = Some(Damage {
            segment,
            offset: frame.offset,
            bytes: 0,
            verdict: Verdict::Ambiguous,
            first_lsn: self.decision.next_lsn,
            last_lsn: None,
            why: FormatError::Field("first_lsn"),
            groups: Vec::new(),
        });
    }

    /// The log goes on at `lsn`: whatever lies between it and what was expected is lost.
    fn reached(&mut self, segment: SegmentId, lsn: Lsn) {
        let expected = self.decision.next_lsn;
        if lsn > expected {
            let lost = (expected, Lsn(lsn.0 - 1));
            let pending = self.pending.take().unwrap_or(Damage {
                segment,
                offset: 0,
                bytes: 0,
                verdict: Verdict::Rot,
                first_lsn: expected,
                last_lsn: None,
                why: FormatError::Field("first_lsn"),
                groups: Vec::new(),
            });
            self.decision.damages.push(Damage { last_lsn: Some(lost.1), ..pending });
            if let Some(kept) = self.decision.kept.last_mut() {
                kept.lost.push(lost);
            }
            self.decision.next_lsn = lsn;
        } else if let Some(pending) = self.pending.take() {
            let last_lsn = Some(Lsn(pending.first_lsn.0 - 1));
            self.decision.damages.push(Damage { last_lsn, ..pending });
        }
    }

    /// The end of the log is not clean.
    fn tail(
        &mut self,
        segment: SegmentId,
        evidence: Evidence,
        why: FormatError,
        hole: Option<(&Hole, Option<&FrameAt>)>,
    ) {
        let first_lsn = self.decision.next_lsn;
        let (hole, behind) = (hole.map(|(hole, _)| hole), hole.and_then(|(_, behind)| behind));
        // Whole frames behind the hole go with it.
        let cut_end = |hole: &Hole| behind.map_or(hole.end, |frame| frame.end);
        let claimed = match behind {
            Some(frame) => Some(&frame.header),
            None => hole.and_then(|hole| hole.header.as_ref()),
        };
        let damage = Damage {
            segment,
            offset: hole.map_or(0, |hole| hole.offset),
            bytes: hole.map_or(SEGMENT_HEADER_BYTES as u64, |hole| cut_end(hole) - hole.offset),
            verdict: Verdict::Torn,
            first_lsn,
            last_lsn: claimed.map(|header| Lsn(header.next_lsn().0 - 1)),
            why,
            groups: hole.map(|hole| hole.groups.clone()).unwrap_or_default(),
        };
        match evidence {
            Evidence::Old => {
                mark!("journal_torn_tail");
                self.decision.torn = Some(damage);
            }
            Evidence::Strange if planted!("ambiguous_taken_for_torn") => {
                self.decision.torn = Some(damage);
            }
            Evidence::Strange => {
                mark!("journal_ambiguous_tail");
                let all = hole.filter(|hole| behind.is_none() && hole.is_last);
                self.decision.tail_groups = all
                    .filter(|_| names_all(&damage))
                    .map_or(Vec::new(), |hole| hole.groups.clone());
                self.decision.damages.push(Damage { verdict: Verdict::Ambiguous, ..damage });
            }
        }
    }

    /// What looked torn stands before something that cannot be read, and so may have been whole.
    fn doubt(&mut self) {
        self.decision.tail_groups.clear();
        if let Some(torn) = self.decision.torn.take() {
            mark!("journal_tail_doubted");
            let damage = Damage { verdict: Verdict::Ambiguous, last_lsn: None, ..torn };
            self.decision.damages.push(damage);
        }
    }

    fn damage(
        &mut self,
        segment: SegmentId,
        verdict: Verdict,
        last: Option<Lsn>,
        why: FormatError,
    ) {
        let first_lsn = self.decision.next_lsn;
        self.decision.damages.push(Damage {
            segment,
            offset: 0,
            bytes: SEGMENT_HEADER_BYTES as u64,
            verdict,
            first_lsn,
            last_lsn: last,
            why,
            groups: Vec::new(),
        });
    }

    fn finish(mut self) -> Decision {
        let proven = self.decision.proven;
        if self.decision.torn.is_none() && self.decision.next_lsn <= proven {
            // Proven records at the very end are gone: what proved them was not a frame of theirs.
            let segment = self.pending.as_ref().map_or(SegmentId(0), |damage| damage.segment);
            self.reached(segment, proven.next());
        }
        if let Some(pending) = self.pending.take() {
            self.decision.damages.push(pending);
        }
        if self.decision.damages.iter().any(|damage| damage.verdict == Verdict::Rot) {
            mark!("journal_rot_found");
        }
        let decision = self.decision;
        assert!(decision.next_lsn > proven || !decision.damages.is_empty(), "I6: proven is kept");
        decision
    }
}

/// Records that may have been the last, and cannot be read: nothing that is kept shows that they are
/// missing.
pub(super) fn lost_end(damages: &[Damage], next_lsn: Lsn) -> Option<(Lsn, Lsn)> {
    let at_end = |damage: &&Damage| {
        let is_open = damage.verdict == Verdict::Ambiguous || damage.last_lsn.is_none();
        is_open && damage.first_lsn >= next_lsn
    };
    let ranges = damages.iter().filter(at_end).map(|damage| {
        let first = damage.first_lsn;
        (first, damage.last_lsn.map_or(first, |last| last.max(first)))
    });
    ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}

/// Whether all records that a damage took are named, and had been durable.
pub(super) fn is_named(damage: &Damage) -> bool {
    damage.verdict == Verdict::Rot && names_all(damage)
}

fn names_all(damage: &Damage) -> bool {
    let named: u64 = damage.groups.iter().map(|entry| u64::from(entry.records)).sum();
    let lost = damage.last_lsn.map(|last| (last.0 + 1).saturating_sub(damage.first_lsn.0));
    lost.is_some_and(|lost| lost <= named)
}
