//! Opening a directory: who it belongs to, what the manifest says, what the segments hold, and
//! what a crash left of the last ones.
//!
//! ```text
//! LOCK ─► NODE ─► CURRENT ─► MANIFEST ─┬─► sealed segments: footers (or walk)      only reads
//!                                      └─► the others: walk ─► verdict ──► refuse?
//! ────────────────────────────────────────────────────────────────────────────────────────────
//! sync the directory: what was found is certain
//! sync the unproven records · write them into a fresh segment · sync               then changes
//! write a new manifest that lists it and seals or drops the others
//! point CURRENT at it                                             ◄ the only step that counts
//! remove what belongs to nothing
//! ```
//!
//! Until the decision nothing is changed, so a refusal leaves the directory as it was. Every step
//! before the commit point writes only files that belong to nothing; a crash in between leaves
//! orphans, and the next opening does the same again from the same bytes. So recovery may crash at
//! any point, any number of times.
//!
//! A file that no manifest lists is removed at the end, with one exception: a segment is listed before
//! it is written to, so one of ours that goes on where the log ends shows that the manifest has lost
//! its last edits. What an unfinished recovery left does not go on there: it repeats records that
//! were made certain where they stood before they were written again.
//!
//! Everything is read uncached: after a failed sync the cache may hold what the device does not.
//! Nothing is ever appended behind an old tail: what could lie there (a torn frame, pages that are
//! clean but not on the device) can then never be taken for something newer.
//!
//! Not here: the verdicts (`verdict.rs`), the manifest's own tail (`manifest.rs`).

use alloc::{collections::BTreeMap, string::ToString, sync::Arc, vec::Vec};
use bytes::{Bytes, BytesMut};

use super::{
    chores::{Busy, has_dead_records},
    edits::{Change, FooterRef, Listed, ManifestState, Misfit, Sealed},
    files::{DATA_DIR, Files, JOURNAL_DIR, SegmentFile, is_segment_name, read_range, segment_name},
    footer::{self, SegmentHints},
    format::{
        FRAME_ALIGN, FRAME_HEADER_BYTES, FormatError, FrameHeader, FrameKind, SECTOR_BYTES,
        SEGMENT_HEADER_BYTES, Seed, SegmentHeader, SegmentKind, is_zero, records,
    },
    frame::{FrameBuilder, Place},
    identity::{CurrentFile, NodeFile},
    manifest::{
        CURRENT, CURRENT_TMP, ManifestLog, create_over, is_manifest_name, load, point_current,
        read_small, remove_quietly, write_small,
    },
    report::{JournalOptions, OnDamage, OpenError, OpenReport},
    salvage::{DamagedFrame, salvage_all},
    sealed::{FrontError, WalkedSegment, check_front, load_footer, walk_sealed, whole_file},
    settle::{TailSegment, in_order},
    verdict::{Damage, Decision, Front, Kept, Scanned, Verdict, decide, is_named, lost_end},
    walk::{FrameAt, Start, walk},
    write::{Journal, Spare},
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskErrorKind, Entry, File, Open, ReadMode, Rng, Runtime},
    types::{Lsn, SegmentId, Uuid},
};

const LOCK: &str = "LOCK";
const NODE: &str = "NODE";
const NODE_TMP: &str = "NODE.tmp";

/// What opening found.
#[derive(Debug)]
pub struct Recovered {
    /// What was found and done.
    pub report: OpenReport,
    /// The hints of every settled segment that holds records, in the order of numbers.
    pub segments: Vec<SegmentHints>,
    /// The segments that are not settled, in the order of LSNs. Empty unless the owner settles.
    pub tail: Vec<TailSegment>,
}

impl<R: Runtime> Journal<R> {
    /// Opens the journal of the runtime's data directory, or makes one in an empty directory.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the directory's content was changed.
    pub async fn open(rt: &R, options: JournalOptions) -> Result<(Self, Recovered), OpenError> {
        let options = sane(options);
        let disk = rt.disk().clone();
        disk.create_dir("").await?;
        let has = |names: &[Entry], name| names.iter().any(|entry| entry.name == name);
        let names = disk.list("").await?;
        let mut is_store = has(&names, CURRENT);
        if !is_store && !has(&names, LOCK) {
            // Nothing of ours was ever here: a foreign directory is left without even a lock.
            refuse_foreign(&disk, names).await?;
        }
        let lock = disk.lock(LOCK).await?;
        let mut rng = rt.rng("journal");
        if !is_store {
            // Somebody may have made one before the lock was ours.
            is_store = has(&disk.list("").await?, CURRENT);
        }
        let found = if is_store {
            recover(rt, &mut rng, &options).await?
        } else {
            create::<R>(&disk, &mut rng, &options).await?
        };
        let report = found.recovered.report.clone();
        tracing::info!(
            node = %report.node,
            created = report.created,
            clean = report.clean,
            last_lsn = report.last_lsn.0,
            hinted = report.segments_hinted,
            walked = report.segments_walked,
            "journal opened"
        );
        let journal = assemble(rt, options, lock, rng, found.parts);
        journal.check_invariants();
        Ok((journal, found.recovered))
    }
}

/// What opening and creating both end with.
struct Parts<R: Runtime> {
    node: Uuid,
    manifest: ManifestLog<R>,
    state: ManifestState,
    files: Files<R>,
    spares: Vec<Spare<R>>,
    next_lsn: Lsn,
    previous: (Uuid, u32),
}

struct Found<R: Runtime> {
    parts: Parts<R>,
    recovered: Recovered,
}

/// Options that cannot work are moved to the nearest that can.
fn sane(mut options: JournalOptions) -> JournalOptions {
    let largest = limits::SEGMENT_FILE_BYTES_MAX / 4;
    let smallest = limits::SEGMENT_BYTES_MIN;
    options.segment_bytes_max = options.segment_bytes_max.clamp(smallest, largest);
    options.first_segment_bytes =
        options.first_segment_bytes.clamp(smallest, options.segment_bytes_max);
    if !options.settled_by_owner {
        options.damage = OnDamage::Refuse;
    }
    options.manifest_bytes = options.manifest_bytes.clamp(limits::MANIFEST_BYTES_MIN, largest);
    options
}

fn assemble<R: Runtime>(
    rt: &R,
    options: JournalOptions,
    lock: <R::Disk as Disk>::Lock,
    rng: R::Rng,
    parts: Parts<R>,
) -> Journal<R> {
    let Parts { node, manifest, state, files, spares, next_lsn, previous } = parts;
    let next_segment = state.next_segment.max(SegmentId(1));
    Journal {
        rt: rt.clone(),
        options,
        node,
        rng,
        lock,
        manifest,
        state,
        files: Arc::new(files),
        active: None,
        spares,
        rotated: BTreeMap::new(),
        retired: Vec::new(),
        settled: BTreeMap::new(),
        given_up: BTreeMap::new(),
        next_segment,
        next_lsn,
        durable_lsn: Lsn(next_lsn.0 - 1),
        previous,
        buffer: BytesMut::new(),
        stopped: false,
        in_flight: false,
        busy: Busy::default(),
        full: None,
    }
}

fn draw_uuid(rng: &mut impl Rng) -> Uuid {
    Uuid::from_draws(rng.next_u64(), rng.next_u64())
}

/// Makes a store in a directory that holds none. A crash in the middle of this leaves only what
/// is recognised here, so it can be done again.
async fn create<R: Runtime>(
    disk: &R::Disk,
    rng: &mut R::Rng,
    options: &JournalOptions,
) -> Result<Found<R>, OpenError> {
    refuse_foreign(disk, disk.list("").await?).await?;
    let node = match read_small(disk, NODE).await {
        Ok(bytes) => match NodeFile::decode(&bytes) {
            Ok(file) => Some(file),
            Err(FormatError::Newer { found }) => {
                return Err(OpenError::Newer { file: NODE.to_string(), found });
            }
            Err(_) => None,
        },
        Err(error) if error.kind == DiskErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let file = match node {
        Some(file) => {
            mark!("journal_create_resumed");
            check_owner(&file, options)?;
            file
        }
        None => NodeFile { node: draw_uuid(rng), owner: options.owner },
    };
    let NodeFile { node, owner } = file;
    write_small(disk, NODE_TMP, &file.encode()).await?;
    disk.rename(NODE_TMP, NODE).await?;
    disk.create_dir(JOURNAL_DIR).await?;
    disk.create_dir(DATA_DIR).await?;
    let state = ManifestState { next_segment: SegmentId(1), ..ManifestState::default() };
    let uuid = draw_uuid(rng);
    let manifest =
        ManifestLog::create(disk, SegmentId(1), uuid, node, &state, options.manifest_bytes).await?;
    // The manifest's creation made the directory's names durable; now it may be pointed at.
    point_current(disk, &manifest.current()).await?;
    let report = OpenReport { node, owner, created: true, clean: true, ..whole() };
    let recovered = Recovered { report, segments: Vec::new(), tail: Vec::new() };
    let parts = Parts {
        node,
        manifest,
        state,
        files: Files::default(),
        spares: Vec::new(),
        next_lsn: Lsn(1),
        previous: (Uuid::default(), 0),
    };
    Ok(Found { parts, recovered })
}

/// Refuses another member's directory. The cluster itself is not compared: what it was founded with
/// may have changed, and others of another cluster refuse to speak with this one.
fn check_owner(file: &NodeFile, options: &JournalOptions) -> Result<(), OpenError> {
    let is_ours = match (&options.owner, &file.owner) {
        (Some(ours), Some(found)) => ours.is_of(found),
        (ours, found) => ours == found,
    };
    if is_ours || planted!("directory_of_another_opened") {
        return Ok(());
    }
    mark!("journal_directory_of_another");
    Err(OpenError::OtherOwner { found: file.owner, ours: options.owner })
}

/// Refuses a directory in which a store must not be made: one with foreign files, or one that has
/// lost the file through which its store is found.
async fn refuse_foreign<D: Disk>(disk: &D, names: Vec<Entry>) -> Result<(), OpenError> {
    for entry in names {
        let name = entry.name.as_str();
        let is_segment_dir = entry.is_dir && (name == JOURNAL_DIR || name == DATA_DIR);
        if is_segment_dir {
            if let Some(first) = disk.list(name).await?.into_iter().next() {
                let found = alloc::format!("{name}/{}", first.name);
                return Err(OpenError::NoCurrent { found });
            }
            continue;
        }
        // The first manifest is written before CURRENT; a later one only when CURRENT was there.
        let ours = [LOCK, NODE, NODE_TMP, CURRENT_TMP, "MANIFEST-00000001", "lost+found"];
        if ours.contains(&name) {
            continue;
        }
        let found = name.to_string();
        return Err(if is_manifest_name(name) {
            OpenError::NoCurrent { found }
        } else {
            OpenError::Foreign { found }
        });
    }
    Ok(())
}

/// Reads one of the two small files, which must be there.
async fn read_identity<D: Disk, T>(
    disk: &D,
    name: &str,
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
) -> Result<T, OpenError> {
    let file = name.to_string();
    let bytes = match read_small(disk, name).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            return Err(OpenError::Unreadable { file, why: FormatError::Truncated });
        }
        Err(error) => return Err(error.into()),
    };
    decode(&bytes).map_err(|why| match why {
        FormatError::Newer { found } => OpenError::Newer { file, found },
        why => OpenError::Unreadable { file, why },
    })
}

/// A segment that was not sealed, and the bytes it was judged by.
struct Unsealed<R: Runtime> {
    listed: Listed,
    segment: Arc<SegmentFile<R>>,
    bytes: Option<Vec<u8>>,
}

/// A report of nothing amiss.
fn whole() -> OpenReport {
    OpenReport { tail_is_certain: true, ..OpenReport::default() }
}

/// Recovery in progress.
struct Recovery<'a, R: Runtime> {
    disk: &'a R::Disk,
    task: &'a R::Task,
    options: &'a JournalOptions,
    node: Uuid,
    state: ManifestState,
    report: OpenReport,
    files: Files<R>,
    hints: BTreeMap<SegmentId, SegmentHints>,
    tail: Vec<TailSegment>,
    /// What leads from the manifest's state to the new one.
    changes: Vec<Change>,
    damages: Vec<Damage>,
    scans: Vec<Scanned>,
    unsealed: Vec<Unsealed<R>>,
    bytes_kept: usize,
    spares: Vec<Spare<R>>,
    /// Records at the end of the log that are damaged; their LSNs are not given out again.
    lost_end: Option<(Lsn, Lsn)>,
    /// Whether nobody knows if these had been acknowledged. Then a scar says so from now on.
    is_doubtful: bool,
}

async fn recover<R: Runtime>(
    rt: &R,
    rng: &mut R::Rng,
    options: &JournalOptions,
) -> Result<Found<R>, OpenError> {
    let disk = rt.disk();
    let file = read_identity(disk, NODE, NodeFile::decode).await?;
    check_owner(&file, options)?;
    let NodeFile { node, owner } = file;
    let current = read_identity(disk, CURRENT, CurrentFile::decode).await?;
    let loaded = load(disk, &current, node, options.accept_tail_loss).await?;
    let report = OpenReport {
        node,
        owner,
        clean: loaded.state.is_closed,
        torn_edit: loaded.torn,
        accepted: loaded.accepted,
        ..whole()
    };
    let mut recovery = Recovery {
        disk,
        task: rt.task(),
        options,
        node,
        state: loaded.state,
        report,
        files: Files::default(),
        hints: BTreeMap::new(),
        tail: Vec::new(),
        changes: Vec::new(),
        damages: Vec::new(),
        scans: Vec::new(),
        unsealed: Vec::new(),
        bytes_kept: 0,
        spares: Vec::new(),
        lost_end: None,
        is_doubtful: false,
    };
    recovery.read_segments().await?;
    let decision = recovery.conclude().await?;
    recovery.refuse_the_last_numbers(&current, decision.next_lsn)?;
    // What the directory shows may be in the cache only: whoever renamed CURRENT may have died
    // before the sync. What is built on it must not outlive it.
    disk.sync_dir("").await?;
    let previous = recovery.commit(rng, &decision).await?;
    let manifest = recovery.install_state(rng, &current).await?;
    recovery.remove_orphans(&manifest).await?;
    let Recovery { state, mut report, files, hints, tail, spares, .. } = recovery;
    report.last_lsn = Lsn(decision.next_lsn.0 - 1);
    let (segments, tail) = (hints.into_values().collect(), in_order(tail));
    let recovered = Recovered { report, segments, tail };
    let next_lsn = decision.next_lsn;
    let parts = Parts { node, manifest, state, files, spares, next_lsn, previous };
    Ok(Found { parts, recovered })
}

impl<R: Runtime> Recovery<'_, R> {
    /// Reads everything the manifest lists. Changes nothing.
    async fn read_segments(&mut self) -> Result<(), OpenError> {
        let listed: Vec<Listed> = self.state.segments.values().cloned().collect();
        for listed in listed {
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
    fn reports(&self) -> bool {
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
    async fn conclude(&mut self) -> Result<Decision, OpenError> {
        let mut decision = decide(&self.scans, self.state.sealed_lsn());
        self.damages.extend(decision.damages.iter().cloned());
        let listed = self.damages.len();
        self.find_unlisted(decision.next_lsn).await?;
        if self.reports() && self.damages.len() == listed {
            self.report_damages(&mut decision);
        }
        self.report.headers_damaged.extend_from_slice(&decision.headless);
        let is_accepted = |damage: &Damage| match damage.verdict {
            Verdict::Torn => true,
            Verdict::Ambiguous => self.options.accept_tail_loss,
            Verdict::Rot | Verdict::Missing => self.options.accept_rot,
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

    /// A segment is listed before it is written to. So one of ours that goes on where the log ends
    /// and is not listed is no orphan: the manifest has lost its last edit, and what looks like
    /// garbage holds what was acknowledged.
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
            // A number that the manifest knows was given back: that segment was dropped.
            let is_new = header.id >= self.state.next_segment && header.base_lsn >= next_lsn;
            let has_its_name = name == segment_name(SegmentKind::Journal, header.id);
            if header.node != self.node || !is_new || !has_its_name {
                continue;
            }
            let end = file.len().await?;
            let first_frame = (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as u64;
            let front = read_range(&file, 0, first_frame, ReadMode::Uncached).await?;
            if !was_never_begun(&front) && !begins_with_a_scar(&front, &header) {
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

    fn is_listed(&self, kind: SegmentKind, name: &str) -> bool {
        self.state
            .segments
            .values()
            .any(|listed| listed.kind == kind && segment_name(listed.kind, listed.id) == name)
    }

    /// Numbers that no writer reaches: going on from them would write what no reader takes.
    fn refuse_the_last_numbers(
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

    /// Seals or drops what was scanned, and writes what nothing proves again. Answers what the
    /// next segment names as the one before it.
    async fn commit(
        &mut self,
        rng: &mut R::Rng,
        decision: &Decision,
    ) -> Result<(Uuid, u32), OpenError> {
        let mut previous = self.last_sealed();
        let mut unproven: Vec<FrameBuilder> = Vec::new();
        let unsealed = core::mem::take(&mut self.unsealed);
        for (index, unsealed) in unsealed.into_iter().enumerate() {
            let Some(kept) = decision.kept.iter().find(|kept| kept.index == index) else {
                self.changes.push(Change::Drop { id: unsealed.listed.id });
                continue;
            };
            let bytes = match unsealed.bytes {
                Some(bytes) => bytes,
                None => {
                    let end = unsealed.listed.bytes;
                    read_range(&unsealed.segment.file, 0, end, ReadMode::Uncached).await?
                }
            };
            let proven = if planted!("append_to_old_tail") {
                &kept.frames[..]
            } else {
                let frames = &kept.frames[kept.proven_frames..];
                if !frames.is_empty() {
                    // They may be in a cache of the device only. Should they go with the power while
                    // their copy stays, the copy would look like a segment that was forgotten.
                    unsealed.segment.file.sync().await?;
                }
                unproven.extend(rebuild(&bytes, frames));
                &kept.frames[..kept.proven_frames]
            };
            let is_gap = self.reports() && !kept.lost.is_empty();
            if proven.is_empty() && !is_gap {
                self.changes.push(Change::Drop { id: unsealed.listed.id });
                continue;
            }
            let mut sealed = sealed_of(kept, proven);
            if self.reports() {
                // What is missing at its end belongs to it: the next opening finds it missing again.
                let last = sealed.lost.iter().map(|(_, last)| *last).max();
                sealed.last_lsn = sealed.last_lsn.max(last.unwrap_or_default());
                let of_it = decision.damages.iter().filter(|damage| {
                    damage.segment == unsealed.listed.id && damage.verdict == Verdict::Rot
                });
                let end = of_it.map(|damage| used_end(&bytes, damage)).max();
                sealed.frames_end = sealed.frames_end.max(end.unwrap_or(0));
            }
            if kept.base_lsn >= previous.0 {
                previous = (kept.base_lsn, unsealed.listed.uuid, sealed.last_crc);
            }
            let (id, listed_bytes) = (unsealed.listed.id, unsealed.listed.bytes);
            self.changes.push(Change::Seal { id, bytes: listed_bytes, sealed });
            let of_it = decision.damages.iter().filter(|damage| damage.segment == id);
            let damaged = salvage_all(id, unsealed.listed.uuid, &bytes, of_it);
            self.take_in(id, kept.base_lsn, Bytes::from(bytes), proven, damaged);
            self.files = self.files.with(unsealed.segment);
        }
        unproven.sort_by_key(FrameBuilder::first_lsn);
        let lost = self.lost_end;
        let first = unproven.first().map(FrameBuilder::first_lsn).or(lost.map(|(first, _)| first));
        if let Some(first) = first {
            mark!("journal_suffix_rewritten");
            let (uuid, crc) = self
                .rewrite(rng, first, unproven, lost, decision, (previous.1, previous.2))
                .await?;
            previous = (first, uuid, crc);
        }
        Ok((previous.1, previous.2))
    }

    /// What a segment of the old tail holds: hints, or records for the owner to look at.
    fn take_in(
        &mut self,
        id: SegmentId,
        base_lsn: Lsn,
        bytes: Bytes,
        frames: &[FrameAt],
        damaged: Vec<DamagedFrame>,
    ) {
        if self.options.settled_by_owner {
            let frames = frames.to_vec();
            self.tail.push(TailSegment { id, base_lsn, bytes, frames, damaged });
        } else {
            self.hints.insert(id, SegmentHints::of_frames(id, &bytes, frames));
        }
    }

    fn last_sealed(&self) -> (Lsn, Uuid, u32) {
        let sealed =
            self.state.segments.values().filter(|listed| listed.kind == SegmentKind::Journal);
        sealed
            .filter_map(|listed| {
                let sealed = listed.sealed.as_ref()?;
                Some((sealed.base_lsn, listed.uuid, sealed.last_crc))
            })
            .max_by_key(|(base_lsn, ..)| *base_lsn)
            .unwrap_or((Lsn(0), Uuid::default(), 0))
    }

    /// Writes unproven frames into a fresh segment, with its footer, durably.
    async fn rewrite(
        &mut self,
        rng: &mut R::Rng,
        base_lsn: Lsn,
        frames: Vec<FrameBuilder>,
        lost: Option<(Lsn, Lsn)>,
        decision: &Decision,
        previous: (Uuid, u32),
    ) -> Result<(Uuid, u32), OpenError> {
        let (id, uuid) = (self.state.next_segment.max(SegmentId(1)), draw_uuid(rng));
        let header = SegmentHeader {
            kind: SegmentKind::Journal,
            id,
            uuid,
            node: self.node,
            base_lsn,
            previous: previous.0,
            previous_crc: previous.1,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(SEGMENT_HEADER_BYTES, 0);
        let seed = Seed::of(uuid);
        let (mut last_crc, mut placed) = (previous.1, Vec::new());
        let scar = lost.filter(|_| self.is_doubtful && !planted!("journal_doubt_is_forgotten"));
        let scar = scar.map(|(_, last)| FrameBuilder::scar(last.next(), &decision.tail_groups));
        for frame in frames.into_iter().chain(scar) {
            let offset = bytes.len() as u64;
            let durable_lsn = decision.proven.min(Lsn(base_lsn.0 - 1));
            let place = Place { segment: id, seed, offset, durable_lsn, previous_crc: last_crc };
            let built = frame.finish(place);
            bytes.extend_from_slice(&built.bytes);
            last_crc = built.header.crc;
            self.report.rewritten_records += u64::from(built.header.records);
            placed.push(FrameAt { offset, end: bytes.len() as u64, header: built.header });
        }
        let frames_end = bytes.len() as u64;
        let offset = footer::footer_offset(frames_end);
        bytes.resize(offset as usize, 0);
        let footer = footer::build(id, &bytes, &placed).finish(id, seed, offset);
        let mut footer_ref = None;
        if self.options.settled_by_owner {
            // It is settled later: until then there is room for its footer, and none.
            bytes.resize(bytes.len() + footer.len(), 0);
        } else {
            footer_ref = Some(FooterRef { offset, bytes: footer.len() as u64 });
            bytes.extend_from_slice(&footer);
        }
        let file = create_over(self.disk, &segment_name(SegmentKind::Journal, id)).await?;
        let (len, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        file.write_at(0, bytes.clone()).await?;
        if !planted!("rewrite_without_sync") {
            file.sync().await?;
        }
        self.disk.sync_dir(JOURNAL_DIR).await?;
        let sealed = Sealed {
            base_lsn,
            last_lsn: Lsn(decision.next_lsn.0 - 1),
            frames_end,
            last_crc,
            footer: footer_ref,
            lost: lost.into_iter().collect(),
        };
        self.changes.push(Change::Prepare { id, uuid, bytes: len });
        self.changes.push(Change::Seal { id, bytes: len, sealed });
        self.take_in(id, base_lsn, bytes, &placed, Vec::new());
        let segment = SegmentFile { id, uuid, kind: SegmentKind::Journal, file };
        self.files = self.files.with(Arc::new(segment));
        Ok((uuid, last_crc))
    }

    /// Writes the new state as a new manifest and makes it count: the commit point.
    async fn install_state(
        &mut self,
        rng: &mut R::Rng,
        current: &CurrentFile,
    ) -> Result<ManifestLog<R>, OpenError> {
        let name = segment_name(SegmentKind::Manifest, current.manifest);
        for change in &self.changes {
            let file = name.clone();
            let applied = self.state.apply(change);
            applied.map_err(|why| OpenError::Contradiction { file, why })?;
        }
        self.state.is_closed = false;
        let manifest = ManifestLog::create(
            self.disk,
            current.manifest.next(),
            draw_uuid(rng),
            self.node,
            &self.state,
            self.options.manifest_bytes,
        )
        .await?;
        point_current(self.disk, &manifest.current()).await?;
        Ok(manifest)
    }

    /// Removes files that belong to nothing: what a crash left behind, and what was just replaced.
    async fn remove_orphans(&mut self, manifest: &ManifestLog<R>) -> Result<(), OpenError> {
        let mut removed = 0;
        for (dir, kind) in [(JOURNAL_DIR, SegmentKind::Journal), (DATA_DIR, SegmentKind::Data)] {
            let before = removed;
            for entry in self.disk.list(dir).await? {
                let name = alloc::format!("{dir}/{}", entry.name);
                // What has no name of ours is somebody else's, whatever it does here.
                let is_ours = is_segment_name(&entry.name) && !entry.is_dir;
                let is_listed = self.is_listed(kind, &name);
                if is_ours && !is_listed && remove_quietly(self.disk, &name).await {
                    removed += 1;
                }
            }
            if removed > before {
                self.disk.sync_dir(dir).await?;
            }
        }
        let keep = segment_name(SegmentKind::Manifest, manifest.id);
        for entry in self.disk.list("").await? {
            let is_old = is_manifest_name(&entry.name) && entry.name != keep;
            let is_half = entry.name == NODE_TMP || entry.name == CURRENT_TMP;
            if (is_old || is_half) && !entry.is_dir {
                remove_quietly(self.disk, &entry.name).await;
            }
        }
        self.report.orphans_removed = removed;
        Ok(())
    }
}

/// The header and the first frame are made durable by one sync: without either of them, nothing in
/// the segment was ever acknowledged.
pub(super) fn was_never_begun(bytes: &[u8]) -> bool {
    let front = &bytes[..bytes.len().min(SECTOR_BYTES)];
    let frame = bytes.get(SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES);
    is_zero(front) || frame.is_some_and(is_zero)
}

/// Only recovery writes a segment that begins so, and before that it makes certain what comes before:
/// the next opening finds the same damage, and writes it again.
fn begins_with_a_scar(front: &[u8], header: &SegmentHeader) -> bool {
    let at = SEGMENT_HEADER_BYTES;
    let frame = front.get(at..).unwrap_or(&[]);
    let first = FrameHeader::decode(frame, Seed::of(header.uuid), at as u64);
    first.is_ok_and(|first| first.kind == FrameKind::Scar)
}

/// Where the frames end that a damage hit: what is damaged can say whose it was.
fn used_end(bytes: &[u8], damage: &Damage) -> u64 {
    let end = usize::try_from(damage.offset + damage.bytes).unwrap_or(usize::MAX);
    let used = bytes[..bytes.len().min(end)].iter().rposition(|byte| *byte != 0);
    used.map_or(0, |last| (last as u64 + 1).next_multiple_of(FRAME_ALIGN as u64))
}

fn sealed_of(kept: &Kept, proven: &[FrameAt]) -> Sealed {
    let last = proven.last();
    Sealed {
        base_lsn: kept.base_lsn,
        last_lsn: last.map_or(kept.last_lsn, |frame| Lsn(frame.header.next_lsn().0 - 1)),
        frames_end: last.map_or(kept.frames_end, |frame| frame.end),
        last_crc: last.map_or(kept.last_crc, |frame| frame.header.crc),
        footer: None,
        lost: kept.lost.clone(),
    }
}

/// The records of verified frames, in frames that can be placed elsewhere. Seals carry nothing.
fn rebuild<'a>(bytes: &'a [u8], frames: &'a [FrameAt]) -> impl Iterator<Item = FrameBuilder> + 'a {
    frames.iter().filter(|frame| frame.header.records > 0).map(|frame| {
        let mut builder = FrameBuilder::new(frame.header.first_lsn, BytesMut::new());
        for (_, record) in records(frame.body(bytes)).flatten() {
            let pushed = builder.push(&record);
            // It came out of a frame of the same limits.
            assert!(pushed.is_ok(), "a record that was in a frame fits in a frame");
        }
        builder
    })
}
