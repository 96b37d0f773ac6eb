//! Recovery, as long as it only reads: what the manifest lists, what lies there, and the verdict.
//!
//! Nothing is changed here, so a refusal leaves the directory as it was.
//!
//! Not here: the verdicts themselves (`verdict.rs`), what is done about them (`commit.rs`).

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

use super::{
    chores::has_dead_records,
    edits::{Change, FooterRef, Listed, ManifestState, Misfit, Sealed},
    files::{Files, JOURNAL_DIR, SegmentFile, is_segment_name, read_range, segment_name},
    footer::SegmentHints,
    format::{
        EditId, FRAME_HEADER_BYTES, FormatError, FrameHeader, SECTOR_BYTES, SEGMENT_HEADER_BYTES,
        Seed, SegmentHeader, SegmentKind, is_zero,
    },
    identity::CurrentFile,
    report::{JournalOptions, OnDamage, OpenError, OpenReport},
    salvage::salvage_all,
    sealed::{FrontError, WalkedSegment, check_front, load_footer, walk_sealed, whole_file},
    settle::TailSegment,
    verdict::{Damage, Decision, Front, Scanned, Verdict, decide, is_named, lost_end},
    walk::{Start, walk},
    write::Spare,
};
use crate::{
    limits, mark, planted,
    runtime::{Clock, Disk, DiskErrorKind, File, Open, ReadMode, Runtime},
    types::{Lsn, SegmentId, Uuid},
};

/// Whoever waits for a node that opens many segments sees that it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// A segment that was not sealed, and the bytes it was judged by.
pub(super) struct Unsealed<R: Runtime> {
    pub(super) listed: Listed,
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) bytes: Option<Vec<u8>>,
}

/// Recovery in progress.
pub(super) struct Recovery<'a, R: Runtime> {
    pub(super) disk: &'a R::Disk,
    pub(super) clock: &'a R::Clock,
    pub(super) task: &'a R::Task,
    pub(super) options: &'a JournalOptions,
    pub(super) node: Uuid,
    pub(super) state: ManifestState,
    /// The newest edit that is in it, and where that ends in the manifest.
    pub(super) newest: EditId,
    pub(super) edits_end: u64,
    pub(super) report: OpenReport,
    pub(super) files: Files<R>,
    pub(super) hints: BTreeMap<SegmentId, SegmentHints>,
    pub(super) tail: Vec<TailSegment>,
    /// What leads from the manifest's state to the new one.
    pub(super) changes: Vec<Change>,
    pub(super) damages: Vec<Damage>,
    pub(super) scans: Vec<Scanned>,
    pub(super) unsealed: Vec<Unsealed<R>>,
    pub(super) bytes_kept: usize,
    pub(super) spares: Vec<Spare<R>>,
    /// Records at the end of the log that are damaged; their LSNs are not given out again.
    pub(super) lost_end: Option<(Lsn, Lsn)>,
    /// Whether nobody knows if these had been acknowledged. Then a scar says so from now on.
    pub(super) is_doubtful: bool,
}

impl<R: Runtime> Recovery<'_, R> {
    /// Reads everything the manifest lists. Changes nothing.
    pub(super) async fn read_segments(&mut self) -> Result<(), OpenError> {
        let listed: Vec<Listed> = self.state.segments.values().cloned().collect();
        let (all, mut told) = (listed.len(), self.clock.now());
        for (read, listed) in listed.into_iter().enumerate() {
            if self.clock.now().since(told) >= TOLD_EVERY {
                told = self.clock.now();
                let bytes_read = self.report.bytes_read;
                tracing::info!(segments = read, of = all, bytes_read, "opening");
            }
            let name = segment_name(listed.kind, listed.id);
            let file = match self.disk.open(&name, Open::Write).await {
                Ok(file) => file,
                Err(error) if error.kind == DiskErrorKind::NotFound => {
                    self.damages.push(whole_file(
                        &listed,
                        Verdict::Missing,
                        FormatError::Truncated,
                    ));
                    // What is only reported is reported again: the owner drops it when it may go.
                    if !self.reports() {
                        self.changes.push(Change::Drop { id: listed.id });
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (id, uuid, kind) = (listed.id, listed.uuid, listed.kind);
            let segment = Arc::new(SegmentFile { id, uuid, kind, file });
            match listed.sealed.clone() {
                Some(sealed) => self.read_sealed(listed, sealed, segment).await?,
                None => self.scan(listed, segment).await?,
            }
        }
        Ok(())
    }

    async fn read_sealed(
        &mut self,
        listed: Listed,
        sealed: Sealed,
        segment: Arc<SegmentFile<R>>,
    ) -> Result<(), OpenError> {
        let front = read_range(&segment.file, 0, SECTOR_BYTES as u64, ReadMode::Uncached).await?;
        if self.front(&front, &listed)?.is_err() {
            self.report.headers_damaged.push(listed.id);
        }
        self.files = self.files.with(segment.clone());
        let task = self.task;
        if sealed.footer.is_some() {
            // From the cache: the manifest lists a footer only after its sync succeeded, so the
            // cache cannot hold what the device does not.
            let loaded =
                load_footer(task, &segment.file, &listed, &sealed, ReadMode::Cached).await?;
            match loaded {
                Ok(hints) => {
                    self.report.segments_hinted += 1;
                    self.report.bytes_read += sealed.footer.map_or(0, |footer| footer.bytes);
                    self.hints.insert(listed.id, hints);
                    return Ok(());
                }
                Err(why) => {
                    mark!("journal_hint_rejected");
                    self.report.hints_rejected.push((listed.id, why));
                }
            }
        }
        // What was reported before is reported again, and used when its bytes are right again.
        let believed = match self.reports() {
            true => &Sealed { lost: Vec::new(), ..sealed.clone() },
            false => &sealed,
        };
        let walked =
            walk_sealed(task, &segment.file, &listed, believed, ReadMode::Uncached, |walked| {
                walked
            })
            .await?;
        self.report.segments_walked += 1;
        self.report.bytes_read += walked.bytes.len() as u64;
        if has_dead_records(&listed, self.options) {
            let base_lsn = sealed.base_lsn;
            match sealed.footer {
                Some(footer) => self.distrust(&listed, footer, base_lsn, &walked),
                None => {
                    let (id, frames) = (listed.id, walked.frames);
                    let bytes = Bytes::from(walked.bytes);
                    let damaged = salvage_all(id, listed.uuid, &bytes, &walked.damages);
                    self.tail.push(TailSegment { id, base_lsn, bytes, frames, damaged });
                }
            }
            self.damages.extend(
                walked.damages.into_iter().map(|damage| Damage { segment: listed.id, ..damage }),
            );
            return Ok(());
        }
        if !walked.damages.is_empty() && !self.reports() {
            // Its hints could not be used. Should they ever again, they would name what is lost.
            let mut sealed = Sealed { footer: None, ..sealed };
            for (first, last) in walked.lost.iter().copied() {
                if !sealed.has_lost(first, last) {
                    sealed.lost.push((first, last));
                }
            }
            self.changes.push(Change::Seal { id: listed.id, bytes: listed.bytes, sealed });
        }
        self.damages.extend(walked.damages);
        let hints = SegmentHints::of_frames(listed.id, &walked.bytes, &walked.frames);
        self.hints.insert(listed.id, hints);
        Ok(())
    }

    /// Whether damage is told and not refused.
    pub(super) fn reports(&self) -> bool {
        self.options.damage == OnDamage::Report
    }

    /// The footer of a settled segment is damaged, and with it what nothing else knows: which of the
    /// segment's records are dead. Nothing of it is served.
    fn distrust(
        &mut self,
        listed: &Listed,
        footer: FooterRef,
        base_lsn: Lsn,
        walked: &WalkedSegment,
    ) {
        mark!("journal_footer_of_a_settled_segment_lost");
        let hints = SegmentHints::of_frames(listed.id, &walked.bytes, &walked.frames);
        let groups = hints.stats.iter().filter(|stats| stats.keys > 0);
        self.report.distrusted.push((listed.id, groups.map(|stats| stats.group).collect()));
        let why = self.report.hints_rejected.last().map(|(_, why)| *why);
        self.damages.push(Damage {
            segment: listed.id,
            offset: footer.offset,
            bytes: footer.bytes,
            verdict: Verdict::Rot,
            first_lsn: base_lsn,
            last_lsn: Some(Lsn(base_lsn.0.saturating_sub(1))),
            why: why.unwrap_or(FormatError::Checksum),
            groups: Vec::new(),
        });
    }

    /// A front that is not ours at all is a refusal; one that is merely damaged is an answer.
    fn front(
        &self,
        bytes: &[u8],
        listed: &Listed,
    ) -> Result<Result<SegmentHeader, FormatError>, OpenError> {
        match check_front(bytes, listed, self.node) {
            Ok(header) => Ok(Ok(header)),
            Err(FrontError::Damaged(why)) => Ok(Err(why)),
            Err(FrontError::Newer(found)) => {
                Err(OpenError::Newer { file: segment_name(listed.kind, listed.id), found })
            }
            Err(FrontError::OtherNode(found)) => Err(OpenError::OtherNode {
                file: segment_name(listed.kind, listed.id),
                found,
                ours: self.node,
            }),
        }
    }

    /// Walks a segment that was not sealed: the active one, a prepared one, or one whose sealing
    /// did not get so far.
    async fn scan(
        &mut self,
        listed: Listed,
        segment: Arc<SegmentFile<R>>,
    ) -> Result<(), OpenError> {
        let len = segment.file.len().await?;
        let end = listed.bytes.min(len);
        let front = read_range(&segment.file, 0, SECTOR_BYTES as u64, ReadMode::Uncached).await?;
        let known_blank = self.report.clean && is_zero(&front) && len == listed.bytes;
        let bytes = if known_blank {
            Vec::new()
        } else {
            read_range(&segment.file, 0, end, ReadMode::Uncached).await?
        };
        self.report.bytes_read += bytes.len() as u64;
        let blank = is_zero(&bytes) && len == listed.bytes;
        if blank && self.report.clean {
            let bytes = listed.bytes;
            self.spares.push(Spare { segment, bytes });
            return Ok(());
        }
        if blank {
            // The device shows zeros, but the cache may still hold what a killed process wrote
            // there last; it would come to light between our own frames.
            mark!("journal_spare_distrusted");
            self.changes.push(Change::Drop { id: listed.id });
            return Ok(());
        }
        self.report.segments_walked += 1;
        let front = match self.front(&bytes, &listed)? {
            Ok(header) => Front::Whole(header),
            Err(_) if was_never_begun(&bytes) => Front::Old,
            Err(why) => Front::Strange(why),
        };
        let uuid = match front {
            Front::Whole(header) if planted!("header_of_another_segment") => header.uuid,
            Front::Whole(_) | Front::Old | Front::Strange(_) => listed.uuid,
        };
        let (first_lsn, previous_crc) = match front {
            Front::Whole(header) => (Some(header.base_lsn), Some(header.previous_crc)),
            Front::Old | Front::Strange(_) => (None, None),
        };
        let start = Start { id: listed.id, uuid, first_lsn, previous_crc, end: None };
        let walk = walk(&bytes, &start);
        let cut_short_bytes = listed.bytes - end;
        self.scans.push(Scanned { id: listed.id, front, walk, blank: false, cut_short_bytes });
        // Bytes are kept for the records in them; beyond a bound they are read again.
        let fits = self.bytes_kept + bytes.len() <= limits::RECOVERY_BYTES_MAX;
        let bytes = fits.then_some(bytes);
        self.bytes_kept += bytes.as_ref().map_or(0, Vec::len);
        self.unsealed.push(Unsealed { listed, segment, bytes });
        Ok(())
    }

    /// Concludes, and refuses what must not be concluded without leave.
    pub(super) async fn conclude(&mut self) -> Result<Decision, OpenError> {
        let mut decision = decide(&self.scans, self.state.sealed_lsn());
        self.damages.extend(decision.damages.iter().cloned());
        let listed = self.damages.len();
        self.miss_edits();
        self.find_unlisted(decision.next_lsn).await?;
        // Who has others to ask must not go on either: what is gone is not known, not even whose.
        if self.reports() && self.damages.len() == listed {
            self.report_damages(&mut decision);
        }
        self.report.headers_damaged.extend_from_slice(&decision.headless);
        let is_accepted = |damage: &Damage| match damage.verdict {
            Verdict::Torn => true,
            Verdict::Ambiguous => self.options.accept_tail_loss,
            Verdict::Rot | Verdict::Missing | Verdict::Forgotten => self.options.accept_rot,
        };
        if !self.damages.iter().all(is_accepted) {
            return Err(OpenError::Corrupt { damages: core::mem::take(&mut self.damages) });
        }
        for damage in &self.damages {
            mark!("journal_damage_accepted");
            tracing::warn!(%damage, "a loss was accepted");
        }
        if let Some(torn) = &decision.torn {
            tracing::warn!(%torn, "a write that never completed was cut");
        }
        self.report.accepted.append(&mut self.damages);
        self.report.torn = decision.torn.clone();
        Ok(decision)
    }

    /// Tells what is damaged instead of refusing it. The LSNs of an ambiguous write are used up.
    fn report_damages(&mut self, decision: &mut Decision) {
        for damage in &self.damages {
            mark!("journal_damage_reported");
            tracing::warn!(%damage, "damage was found; the owner has others to ask");
        }
        self.lost_end = lost_end(&decision.damages, decision.next_lsn);
        self.is_doubtful = decision.damages.iter().all(|damage| {
            damage.first_lsn < decision.next_lsn || damage.verdict == Verdict::Ambiguous
        });
        if let Some((_, last)) = self.lost_end {
            decision.next_lsn = last.next();
        }
        let is_settled = |id| {
            let listed: Option<&Listed> = self.state.segments.get(&id);
            let sealed = listed.and_then(|listed| listed.sealed.as_ref());
            sealed.is_some_and(|sealed| sealed.footer.is_some())
        };
        let mut of_tail = self.damages.iter().filter(|damage| !is_settled(damage.segment));
        self.report.tail_is_certain = of_tail.all(is_named);
        self.report.damages = core::mem::take(&mut self.damages);
    }

    /// An edit is durable before any frame that rests on it is written.
    fn miss_edits(&mut self) {
        let named = self.scans.iter().map(|scan| scan.walk.edit).max().unwrap_or_default();
        if named <= self.newest || planted!("lost_edit_not_missed") {
            return;
        }
        mark!("journal_edit_missed");
        let is_its = named.manifest == self.newest.manifest;
        self.damages.push(Damage {
            segment: self.newest.manifest,
            offset: self.edits_end,
            bytes: 0,
            verdict: Verdict::Forgotten,
            first_lsn: self.newest.lsn.next(),
            last_lsn: is_its.then_some(named.lsn),
            why: FormatError::Truncated,
            groups: Vec::new(),
        });
    }

    /// A segment is listed before it is written to. So one of ours that was written to and is not
    /// listed, by no edit that the manifest has, is no orphan: what looks like garbage holds what was
    /// acknowledged.
    async fn find_unlisted(&mut self, next_lsn: Lsn) -> Result<(), OpenError> {
        if planted!("unlisted_taken_for_orphan") {
            return Ok(());
        }
        for entry in self.disk.list(JOURNAL_DIR).await? {
            let name = alloc::format!("{JOURNAL_DIR}/{}", entry.name);
            let is_segment = !entry.is_dir && is_segment_name(&entry.name);
            if !is_segment || self.is_listed(SegmentKind::Journal, &name) {
                continue;
            }
            let file = self.disk.open(&name, Open::Read).await?;
            let front = read_range(&file, 0, SECTOR_BYTES as u64, ReadMode::Uncached).await?;
            let Ok(header) = SegmentHeader::decode(&front) else { continue };
            let has_its_name = name == segment_name(SegmentKind::Journal, header.id);
            if header.node != self.node || !has_its_name {
                continue;
            }
            let end = file.len().await?;
            let first_frame = (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as u64;
            let front = read_range(&file, 0, first_frame, ReadMode::Uncached).await?;
            // A number that the manifest knows was given back: that segment was dropped.
            let is_new = header.id >= self.state.next_segment && header.base_lsn >= next_lsn;
            let is_forgotten = match first_edit(&front, &header) {
                Ok(edit) => edit > self.newest,
                Err(_) => is_new && !was_never_begun(&front),
            };
            if is_forgotten {
                mark!("journal_unlisted_segment");
                self.damages.push(Damage {
                    segment: header.id,
                    offset: 0,
                    bytes: end,
                    verdict: Verdict::Rot,
                    first_lsn: header.base_lsn,
                    last_lsn: None,
                    why: FormatError::Field("its line in the manifest"),
                    groups: Vec::new(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn is_listed(&self, kind: SegmentKind, name: &str) -> bool {
        self.state
            .segments
            .values()
            .any(|listed| listed.kind == kind && segment_name(listed.kind, listed.id) == name)
    }

    /// Numbers that no writer reaches: going on from them would write what no reader takes.
    pub(super) fn refuse_the_last_numbers(
        &self,
        current: &CurrentFile,
        next_lsn: Lsn,
    ) -> Result<(), OpenError> {
        let segment = self.state.next_segment.max(current.manifest);
        if next_lsn.0 <= limits::LSN_MAX / 2 && segment.0 <= limits::SEGMENT_ID_MAX / 2 {
            return Ok(());
        }
        let file = segment_name(SegmentKind::Manifest, current.manifest);
        Err(OpenError::Contradiction { file, why: Misfit("has used up its numbers") })
    }
}

/// The header and the first frame are made durable by one sync: without either of them, nothing in
/// the segment was ever acknowledged.
pub(super) fn was_never_begun(bytes: &[u8]) -> bool {
    let front = &bytes[..bytes.len().min(SECTOR_BYTES)];
    let frame = bytes.get(SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES);
    is_zero(front) || frame.is_some_and(is_zero)
}

/// The edit that a segment's first frame names: the one that lists the segment, or a later one.
fn first_edit(front: &[u8], header: &SegmentHeader) -> Result<EditId, FormatError> {
    let at = SEGMENT_HEADER_BYTES;
    let frame = front.get(at..).unwrap_or(&[]);
    FrameHeader::decode(frame, Seed::of(header.uuid), at as u64).map(|first| first.edit)
}
