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
//! An edit is durable before the frames that rest on it, and each frame names the newest one. So when
//! a frame knows of a later edit than the manifest has, an edit is lost, and what looks like a file
//! that belongs to nothing may be one that it listed: that is a refusal. Only frames of segments that
//! are not sealed can know so much, and the first one of each file that nobody lists: whatever seals
//! a segment is a later edit than all that its frames name.
//!
//! Every other file that no manifest lists is removed at the end. What an unfinished recovery left is
//! among them: its frames name no edit.
//!
//! Everything is read uncached: after a failed sync the cache may hold what the device does not.
//! Nothing is ever appended behind an old tail: what could lie there (a torn frame, pages that are
//! clean but not on the device) can then never be taken for something newer.
//!
//! Not here: what is found (`recovery.rs`), what is written (`commit.rs`), the verdicts
//! (`verdict.rs`), the manifest's own tail (`manifest.rs`).

use alloc::{collections::BTreeMap, string::ToString, sync::Arc, vec::Vec};
use bytes::BytesMut;

use super::{
    chores::Busy,
    edits::ManifestState,
    files::{DATA_DIR, Files, JOURNAL_DIR},
    footer::SegmentHints,
    format::FormatError,
    identity::{CURRENT, CurrentFile, NODE, NodeFile},
    manifest::{
        CURRENT_TMP, ManifestLog, is_manifest_name, load, point_current, read_small, write_small,
    },
    recovery::Recovery,
    report::{JournalOptions, OnDamage, OpenError, OpenReport},
    settle::{TailSegment, in_order},
    write::{Journal, Spare},
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskErrorKind, Entry, Rng, Runtime},
    types::{Lsn, SegmentId, Uuid},
};

const LOCK: &str = "LOCK";
pub(super) const NODE_TMP: &str = "NODE.tmp";

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
    let mut journal = Journal {
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
        listing: 0,
        rotated: BTreeMap::new(),
        tail: Vec::new(),
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
        counts: super::counts::Counts::default(),
    };
    journal.listing_changed();
    journal
}

pub(super) fn draw_uuid(rng: &mut impl Rng) -> Uuid {
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

/// A report of nothing amiss.
fn whole() -> OpenReport {
    OpenReport { tail_is_certain: true, ..OpenReport::default() }
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
        clock: rt.clock(),
        task: rt.task(),
        options,
        node,
        state: loaded.state,
        newest: loaded.newest,
        edits_end: loaded.end,
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
