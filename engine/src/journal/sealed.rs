//! Reading a sealed segment: its footer, or its frames when the footer is of no use, or all of it
//! to see whether it is still whole.
//!
//! Everything in a sealed segment was durable when it was sealed, so there is no tail here: what
//! is not whole is rot.
//!
//! Not here: who asks (`recovery.rs`, `chores.rs`, compaction).

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use super::{
    edits::{Listed, Sealed},
    files::{SegmentFile, read_range},
    footer::SegmentHints,
    format::{FormatError, RecordKind, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, SegmentKind},
    report::ReadError,
    salvage::{Relic, salvage},
    verdict::{Damage, Decision, Front, Scanned, Verdict, decide_sealed},
    walk::{FrameAt, Start, walk},
};
use crate::{
    limits, mark, planted,
    runtime::{DiskError, DiskResult, File, ReadMode, Runtime, Task},
    types::{GroupId, Lsn, SegmentId, Uuid, Version},
};

/// What walking a sealed segment gave.
pub(super) struct WalkedSegment {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<FrameAt>,
    /// Damage whose loss nobody accepted yet.
    pub(super) damages: Vec<Damage>,
    /// All ranges that cannot be read, accepted or not.
    pub(super) lost: Vec<(Lsn, Lsn)>,
}

/// Loads a footer.
pub(super) async fn load_footer<F: File>(
    task: &impl Task,
    file: &F,
    listed: &Listed,
    sealed: &Sealed,
    mode: ReadMode,
) -> DiskResult<Result<SegmentHints, FormatError>> {
    let Some(footer) = sealed.footer else { return Ok(Err(FormatError::Truncated)) };
    let end = footer.offset.saturating_add(footer.bytes).min(limits::SEGMENT_FILE_BYTES_MAX);
    let bytes = read_range(file, footer.offset, end, mode).await?;
    let (id, seed) = (listed.id, Seed::of(listed.uuid));
    Ok(task.compute(move || SegmentHints::decode(bytes, id, seed, footer.offset)).await)
}

/// Walks the frames of a sealed segment, and makes something of what that gave.
pub(super) async fn walk_sealed<F: File, T: Send + 'static>(
    task: &impl Task,
    file: &F,
    listed: &Listed,
    sealed: &Sealed,
    mode: ReadMode,
    make: impl FnOnce(WalkedSegment) -> T + Send + 'static,
) -> DiskResult<T> {
    let end = sealed.frames_end.min(limits::SEGMENT_FILE_BYTES_MAX);
    let bytes = read_range(file, 0, end, mode).await?;
    let (listed, sealed) = (listed.clone(), sealed.clone());
    Ok(task.compute(move || make(walk_bytes(bytes, &listed, &sealed))).await)
}

/// Walks the frames of a sealed segment whose bytes are these.
pub(super) fn walk_bytes(bytes: Vec<u8>, listed: &Listed, sealed: &Sealed) -> WalkedSegment {
    let decision = judge_sealed(&bytes, listed, sealed);
    let mut frames = Vec::new();
    let mut lost = Vec::new();
    for kept in &decision.kept {
        frames.extend_from_slice(&kept.frames);
        lost.extend_from_slice(&kept.lost);
    }
    // What was given up stays so, also when its bytes are right again: an index was built without
    // it, and goes on with the values that it would hide.
    frames.retain(|frame| !sealed.has_lost(frame.header.first_lsn, frame.header.first_lsn));
    let is_accepted = |damage: &Damage| {
        damage.last_lsn.is_some_and(|last| sealed.has_lost(damage.first_lsn, last))
    };
    let damages = decision.damages.into_iter().filter(|damage| !is_accepted(damage)).collect();
    WalkedSegment { bytes, frames, damages, lost }
}

fn judge_sealed(bytes: &[u8], listed: &Listed, sealed: &Sealed) -> Decision {
    let start = Start {
        id: listed.id,
        uuid: listed.uuid,
        first_lsn: Some(sealed.base_lsn),
        previous_crc: None,
        end: Some(sealed.frames_end),
    };
    let walk = walk(bytes, &start);
    let header = SegmentHeader {
        kind: listed.kind,
        id: listed.id,
        uuid: listed.uuid,
        node: Uuid::default(),
        base_lsn: sealed.base_lsn,
        previous: Uuid::default(),
        previous_crc: 0,
    };
    let scan = Scanned {
        id: listed.id,
        front: Front::Whole(header),
        walk,
        blank: false,
        cut_short_bytes: 0,
    };
    let floor = Lsn(sealed.base_lsn.0.saturating_sub(1));
    decide_sealed(scan, floor, sealed.last_lsn)
}

/// What is at the front of a segment file, compared with what the manifest says.
pub(super) fn check_front(
    bytes: &[u8],
    listed: &Listed,
    node: Uuid,
) -> Result<SegmentHeader, FrontError> {
    let header = SegmentHeader::decode(bytes).map_err(|why| match why {
        FormatError::Newer { found } => FrontError::Newer(found),
        other => FrontError::Damaged(other),
    })?;
    if planted!("header_of_another_segment") {
        return Ok(header);
    }
    if header.node != node {
        return Err(FrontError::OtherNode(header.node));
    }
    if header.kind != listed.kind {
        return Err(FrontError::Damaged(FormatError::Field("kind")));
    }
    if header.id != listed.id {
        return Err(FrontError::Damaged(FormatError::Field("id")));
    }
    if header.uuid != listed.uuid {
        return Err(FrontError::Damaged(FormatError::Field("uuid")));
    }
    Ok(header)
}

/// Why a front is not the one the manifest promises.
pub(super) enum FrontError {
    Newer(u16),
    OtherNode(Uuid),
    Damaged(FormatError),
}

/// Where to get a sealed segment's hints from: independent of the journal, so that a chore can
/// hold it.
#[derive(Debug)]
pub struct HintSource<R: Runtime> {
    pub(super) rt: R,
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) listed: Listed,
    pub(super) sealed: Sealed,
    pub(super) node: Uuid,
    /// Its frames hold dead records that only its footer knows.
    pub(super) footer_is_truth: bool,
}

impl<R: Runtime> HintSource<R> {
    /// The segment's number.
    #[must_use]
    pub const fn id(&self) -> SegmentId {
        self.listed.id
    }

    /// How much of the file there is to read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sealed.frames_end + self.sealed.footer.map_or(0, |footer| footer.bytes)
    }

    /// Reads the whole segment, uncached, and goes on behind every damage.
    pub async fn scrub(&self) -> ScrubReport {
        let report =
            scrub(self.rt.task(), &self.segment.file, &self.listed, &self.sealed, self.node).await;
        if !report.damages.is_empty() {
            mark!("journal_scrub_found_damage");
        }
        report
    }

    /// The deletions in damaged frames: what an index does not know, and what would come back to
    /// life without them. `None` when one of them cannot be read, or nobody knows whether there
    /// is one.
    pub async fn deletions(&self, damages: &[Damage], dead: &[u32]) -> Option<Vec<Deletion>> {
        let end = self.sealed.frames_end.min(limits::SEGMENT_FILE_BYTES_MAX);
        let bytes = read_range(&self.segment.file, 0, end, ReadMode::Uncached).await.ok()?;
        let seed = Seed::of(self.listed.uuid);
        let mut found = Vec::new();
        for damage in damages {
            let frame = salvage(self.listed.id, seed, &bytes, damage)?;
            for relic in frame.relics(&bytes) {
                let record = relic.record();
                let is_dead = dead.binary_search(&relic.loc().offset_words).is_ok();
                if record.kind != RecordKind::Tombstone || is_dead {
                    continue;
                }
                if matches!(relic, Relic::Damaged(..)) {
                    return None;
                }
                found.push((record.group, record.key.to_vec(), record.version));
            }
        }
        Some(found)
    }

    /// The hints, from the footer or from the frames.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when frames are damaged and nobody accepted their loss.
    pub async fn load(&self) -> Result<SegmentHints, ReadError> {
        let (task, file, mode) = (self.rt.task(), &self.segment.file, ReadMode::Cached);
        if let Some(footer) = self.sealed.footer {
            let loaded = load_footer(task, file, &self.listed, &self.sealed, mode).await;
            match loaded.map_err(ReadError::Disk)? {
                Ok(hints) => return Ok(hints),
                Err(why) if self.footer_is_truth => {
                    let (segment, offset) = (self.listed.id, footer.offset);
                    return Err(ReadError::Damaged { segment, offset, why });
                }
                Err(_) => {}
            }
        }
        let id = self.listed.id;
        let hints = move |walked: WalkedSegment| match walked.damages.first() {
            None => Ok(SegmentHints::of_frames(id, &walked.bytes, &walked.frames)),
            Some(&Damage { segment, offset, why, .. }) => {
                Err(ReadError::Damaged { segment, offset, why })
            }
        };
        let walked = walk_sealed(task, file, &self.listed, &self.sealed, mode, hints).await;
        walked.map_err(ReadError::Disk)?
    }
}

/// A key of a group has no value as of that version.
pub type Deletion = (GroupId, Vec<u8>, Version);

/// What reading a whole segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubReport {
    /// The segment.
    pub segment: SegmentId,
    /// How many bytes were read.
    pub bytes: u64,
    /// Every damaged place.
    pub damages: Vec<Damage>,
    /// What is wrong with its header or its footer: harmless while the frames are whole.
    pub edges: Vec<FormatError>,
    /// The disk refused to read it.
    pub failed: Option<DiskError>,
}

impl ScrubReport {
    /// Everything that is not as it should be, in words.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let id = self.segment.0;
        let damages = self.damages.iter().map(ToString::to_string);
        let edges = self.edges.iter().map(move |why| {
            format!("segment {id:08x}: its header or its hints: {why}; no record is affected")
        });
        damages.chain(edges).chain(self.failed.iter().map(ToString::to_string))
    }
}

async fn scrub<F: File>(
    task: &impl Task,
    file: &F,
    listed: &Listed,
    sealed: &Sealed,
    node: Uuid,
) -> ScrubReport {
    let mode = ReadMode::Uncached;
    let mut report = ScrubReport {
        segment: listed.id,
        bytes: 0,
        damages: Vec::new(),
        edges: Vec::new(),
        failed: None,
    };
    let walked = match walk_sealed(task, file, listed, sealed, mode, |walked| walked).await {
        Ok(walked) => walked,
        Err(error) => {
            report.damages.push(whole_file(listed, Verdict::Rot, FormatError::Truncated));
            report.failed = Some(error);
            return report;
        }
    };
    report.bytes = walked.bytes.len() as u64;
    report.damages = walked.damages;
    if let Err(why) = check_front(&walked.bytes, listed, node) {
        report.edges.push(match why {
            FrontError::Newer(found) => FormatError::Newer { found },
            FrontError::OtherNode(_) => FormatError::Field("node"),
            FrontError::Damaged(why) => why,
        });
    }
    if let Some(footer) = sealed.footer {
        match load_footer(task, file, listed, sealed, mode).await {
            Ok(Ok(_)) => report.bytes += footer.bytes,
            Ok(Err(why)) => report.edges.push(why),
            Err(error) => report.failed = Some(error),
        }
    }
    report
}

/// A damage that is a whole missing or unusable file.
pub(super) fn whole_file(listed: &Listed, verdict: Verdict, why: FormatError) -> Damage {
    let (first_lsn, last_lsn) = match (&listed.sealed, listed.kind) {
        (Some(sealed), SegmentKind::Journal | SegmentKind::Data) => {
            (sealed.base_lsn, Some(sealed.last_lsn))
        }
        (Some(_) | None, _) => (Lsn(0), None),
    };
    Damage {
        segment: listed.id,
        offset: 0,
        bytes: listed.bytes.max(SEGMENT_HEADER_BYTES as u64),
        verdict,
        first_lsn,
        last_lsn,
        why,
        groups: Vec::new(),
    }
}
