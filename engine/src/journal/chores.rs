//! Background work, in three steps: *plan* looks at the journal and takes what the work needs,
//! *run* does it without the journal, *install* takes the result in.
//!
//! ```text
//! journal.plan()  ─►  Chore  ─►  chore.run().await  ─►  Done  ─►  journal.install(done).await
//!   &mut, at once                no borrow, may be long              &mut, one manifest edit
//! ```
//!
//! Chores: prepare a spare segment (from nothing, or from a dropped file that is zeroed again),
//! seal a rotated segment with its footer, remove dropped files that nobody reads, scrub.
//!
//! A chore that fails before its install has changed nothing that counts, except a failed write
//! into a segment that holds data: that stops the journal, like any other.
//!
//! Not here: compaction (`value`).

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use bytes::Bytes;
use core::fmt;

use super::{
    edits::{Change, FooterRef, Listed, Sealed},
    files::{JOURNAL_DIR, SegmentFile, segment_name},
    footer,
    format::{Seed, SegmentKind},
    manifest::remove_quietly,
    report::{JournalError, JournalOptions},
    room::{Claim, free_bytes, has_room},
    sealed::{HintSource, ScrubReport, WalkedSegment, walk_sealed},
    verdict::Damage,
    write::{Journal, Retired, Spare, prepare_file},
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskError, DiskErrorKind, DiskResult, File, ReadMode, Runtime},
    types::{Loc, Lsn, SegmentId, Uuid},
};

/// Which chores are on their way.
#[derive(Debug, Default)]
pub(super) struct Busy {
    preparing: bool,
    sealing: Option<SegmentId>,
    reclaiming: bool,
    /// Preparing found no room; it waits until something has changed.
    pub(super) hold_prepare: bool,
    /// Removing failed; it waits until something has changed.
    pub(super) hold_reclaim: bool,
    /// The manifest found no room for what seals a segment; it waits until something has changed.
    pub(super) hold_seal: bool,
    /// Segments whose footer cannot be made for now.
    pub(super) unsealable: Vec<SegmentId>,
}

/// Work that needs no journal while it runs.
pub struct Chore<R: Runtime> {
    rt: R,
    work: Work<R>,
}

enum Work<R: Runtime> {
    Prepare {
        id: SegmentId,
        uuid: Uuid,
        bytes: u64,
        leaves_bytes: u64,
        recycle: Option<Retired<R>>,
    },
    Seal(Box<SealWork<R>>),
    Reclaim {
        files: Vec<Retired<R>>,
    },
    Scrub(Box<HintSource<R>>),
}

/// A full segment, and which of its records are dead.
struct SealWork<R: Runtime> {
    segment: Arc<SegmentFile<R>>,
    listed: Listed,
    sealed: Sealed,
    dead: Vec<u32>,
}

impl<R: Runtime> fmt::Debug for Chore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::Prepare { id, bytes, .. } => write!(f, "prepare {:08x}, {bytes} bytes", id.0),
            Work::Seal(work) => write!(f, "seal {:08x}", work.listed.id.0),
            Work::Reclaim { files } => write!(f, "reclaim {} file(s)", files.len()),
            Work::Scrub(source) => write!(f, "scrub {:08x}", source.id().0),
        }
    }
}

/// What a chore did.
pub struct Done<R: Runtime>(Outcome<R>);

impl<R: Runtime> fmt::Debug for Done<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

enum Outcome<R: Runtime> {
    /// A spare; or why there is none, and how many bytes were free then.
    Prepared(Result<Spare<R>, (DiskError, u64)>),
    Sealed(SegmentId, Result<(u64, Sealed), SealError>),
    Reclaimed {
        bytes: u64,
        left: Vec<Retired<R>>,
    },
    Scrubbed(ScrubReport),
}

enum SealError {
    /// Reading failed: not fatal.
    Read(DiskError),
    /// The frames are damaged: not fatal.
    Damaged(Vec<Damage>),
    /// Writing into the segment failed: fatal.
    Write(DiskError),
}

/// What installing a chore changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Another segment is ready.
    Prepared(SegmentId),
    /// No segment could be made; it is tried again when something has changed.
    NotPrepared(DiskError),
    /// A segment is sealed with its footer.
    Sealed(SegmentId),
    /// A footer could not be made; the segment works without one.
    NotSealed(SegmentId),
    /// The same, because of damage: what it would leave out must be elsewhere first
    /// ([`Journal::give_up`]).
    Damaged(SegmentId, Vec<Damage>),
    /// So many bytes went back to the device.
    Reclaimed(u64),
    /// A segment was read from end to end.
    Scrubbed(ScrubReport),
}

impl<R: Runtime> Journal<R> {
    /// The next piece of background work, if there is any. Must be followed by `run` and
    /// [`Journal::install`].
    pub fn plan(&mut self) -> Option<Chore<R>> {
        if self.is_stopped() {
            return None;
        }
        let work =
            self.plan_prepare().or_else(|| self.plan_seal()).or_else(|| self.plan_reclaim())?;
        Some(Chore { rt: self.rt.clone(), work })
    }

    /// Reading one sealed segment from end to end, uncached.
    #[must_use]
    pub fn plan_scrub(&self, id: SegmentId) -> Option<Chore<R>> {
        let work = Work::Scrub(Box::new(self.source(id)?));
        Some(Chore { rt: self.rt.clone(), work })
    }

    /// Where to get a settled segment's hints from. One that is not settled has none yet: which of
    /// its records count is not known.
    #[must_use]
    pub fn hint_source(&self, id: SegmentId) -> Option<HintSource<R>> {
        self.source(id).filter(|source| !self.is_unsettled(&source.listed))
    }

    /// The frames of a full segment without these LSNs: all that they say is durable elsewhere, or
    /// of no use any more. They are damaged, and in the way of its footer.
    pub fn give_up(&mut self, id: SegmentId, lost: Vec<(Lsn, Lsn)>) {
        self.busy.unsealable.retain(|unsealable| *unsealable != id);
        self.given_up.insert(id, lost);
    }

    /// What there is to read of a full segment that its owner has settled, and which of its records
    /// are dead.
    #[must_use]
    pub fn settled_source(&self, id: SegmentId) -> Option<(HintSource<R>, Vec<u32>)> {
        Some((self.source(id)?, self.settled.get(&id).cloned().unwrap_or_default()))
    }

    /// A full segment, settled or not.
    fn source(&self, id: SegmentId) -> Option<HintSource<R>> {
        let listed = self.state.segments.get(&id)?.clone();
        let sealed = self.sealed_of(&listed)?.clone();
        let segment = self.files.get(id)?.clone();
        let footer_is_truth = has_dead_records(&listed, &self.options);
        let (rt, node) = (self.rt.clone(), self.node);
        Some(HintSource { rt, segment, listed, sealed, node, footer_is_truth })
    }

    fn plan_prepare(&mut self) -> Option<Work<R>> {
        let wanted = self.spares.len() < self.options.spares && self.active.is_some();
        if !wanted || self.busy.preparing || self.busy.hold_prepare {
            return None;
        }
        self.busy.preparing = true;
        let bytes = self.next_bytes();
        let (id, uuid) = (self.new_segment_id(), self.new_uuid());
        let fits = |retired: &Retired<R>| {
            retired.bytes == bytes
                && retired.segment.kind == SegmentKind::Journal
                && is_unread(&retired.segment)
        };
        let recycle = self.retired.iter().position(fits).map(|index| self.retired.remove(index));
        let leaves_bytes = self.leaves(Claim::New);
        Some(Work::Prepare { id, uuid, bytes, leaves_bytes, recycle })
    }

    fn plan_seal(&mut self) -> Option<Work<R>> {
        if self.busy.sealing.is_some() || self.busy.hold_seal {
            return None;
        }
        let source = if self.options.settled_by_owner {
            let next = self.next_settled().filter(|id| !self.busy.unsealable.contains(id));
            next.and_then(|id| self.source(id))?
        } else {
            let without_footer = self.state.segments.values().filter(|listed| {
                listed.kind == SegmentKind::Journal
                    && listed.sealed.as_ref().is_none_or(|sealed| sealed.footer.is_none())
                    && !self.busy.unsealable.contains(&listed.id)
            });
            without_footer.map(|listed| listed.id).find_map(|id| self.source(id))?
        };
        self.busy.sealing = Some(source.listed.id);
        let HintSource { segment, listed, mut sealed, .. } = source;
        sealed.lost.extend(self.given_up.get(&listed.id).into_iter().flatten());
        let dead = self.settled.get(&listed.id).cloned().unwrap_or_default();
        Some(Work::Seal(Box::new(SealWork { segment, listed, sealed, dead })))
    }

    fn plan_reclaim(&mut self) -> Option<Work<R>> {
        if self.busy.reclaiming || self.busy.hold_reclaim {
            return None;
        }
        let (files, pinned): (Vec<_>, Vec<_>) =
            self.retired.drain(..).partition(|retired| is_unread(&retired.segment));
        self.retired = pinned;
        if files.is_empty() {
            return None;
        }
        self.busy.reclaiming = true;
        Some(Work::Reclaim { files })
    }

    /// Takes a chore's result in.
    ///
    /// # Errors
    /// [`JournalError::Failed`] stops the journal for good.
    pub async fn install(&mut self, done: Done<R>) -> Result<Installed, JournalError> {
        match done.0 {
            Outcome::Prepared(Ok(spare)) => {
                self.busy.preparing = false;
                let id = spare.segment.id;
                match self.record_spare(spare).await {
                    Ok(()) => {
                        self.full = None;
                        Ok(Installed::Prepared(id))
                    }
                    Err(JournalError::NoSpace) => {
                        self.found_no_room(free_bytes(self.rt.disk()).await);
                        let name = segment_name(SegmentKind::Journal, id);
                        let kind = DiskErrorKind::NoSpace;
                        Ok(Installed::NotPrepared(DiskError::new(kind, "prepare", &name, "")))
                    }
                    Err(error) => Err(error),
                }
            }
            Outcome::Prepared(Err((error, free_bytes))) => {
                self.busy.preparing = false;
                self.busy.hold_prepare = true;
                if error.kind == DiskErrorKind::NoSpace {
                    self.found_no_room(free_bytes);
                }
                Ok(Installed::NotPrepared(error))
            }
            Outcome::Sealed(id, result) => {
                self.busy.sealing = None;
                self.install_seal(id, result).await
            }
            Outcome::Reclaimed { bytes, left } => {
                self.busy.reclaiming = false;
                self.look_for_room();
                self.busy.hold_reclaim = !left.is_empty();
                self.retired.extend(left);
                Ok(Installed::Reclaimed(bytes))
            }
            Outcome::Scrubbed(report) => Ok(Installed::Scrubbed(report)),
        }
    }

    /// No room was found for a spare segment. Meanwhile there may be one all the same.
    fn found_no_room(&mut self, free_bytes: u64) {
        self.busy.hold_prepare = true;
        if self.spares.is_empty() {
            self.full = Some(free_bytes);
        }
    }

    async fn install_seal(
        &mut self,
        id: SegmentId,
        result: Result<(u64, Sealed), SealError>,
    ) -> Result<Installed, JournalError> {
        // An edit may have dropped the segment meanwhile; then its footer is of no interest.
        if !self.state.segments.contains_key(&id) {
            mark!("journal_sealed_after_drop");
            return Ok(Installed::NotSealed(id));
        }
        match result {
            Ok((bytes, sealed)) => {
                let listed = self.state.segments.get(&id);
                let is_shorter = listed.is_some_and(|listed| bytes < listed.bytes);
                let mut changes = self.seal_rotated();
                changes
                    .retain(|change| !matches!(change, Change::Seal { id: one, .. } if *one == id));
                changes.push(Change::Seal { id, bytes, sealed });
                match self.record(changes).await {
                    Ok(()) => {
                        self.rotated.clear();
                        self.settled.remove(&id);
                        self.given_up.remove(&id);
                        if is_shorter {
                            let segment = self.files.get(id).cloned();
                            give_back(segment, bytes).await;
                        }
                        Ok(Installed::Sealed(id))
                    }
                    Err(JournalError::NoSpace) => {
                        mark!("journal_seal_found_no_room");
                        self.busy.hold_seal = true;
                        Ok(Installed::NotSealed(id))
                    }
                    Err(error) => Err(error),
                }
            }
            Err(SealError::Read(error)) => {
                tracing::warn!(%error, "a segment could not be read to be sealed");
                self.busy.unsealable.push(id);
                Ok(Installed::NotSealed(id))
            }
            Err(SealError::Damaged(damages)) => {
                for damage in &damages {
                    tracing::error!(%damage, "a full segment is damaged");
                }
                self.busy.unsealable.push(id);
                Ok(Installed::Damaged(id, damages))
            }
            Err(SealError::Write(error)) => Err(self.stop(error)),
        }
    }

    /// Seals everything that is settled with footers, so that the next opening does not walk it, and
    /// lets the directory go.
    ///
    /// # Errors
    /// [`JournalError`]; what was durable stays so.
    pub async fn close(mut self) -> Result<(), JournalError> {
        self.rotate().await?;
        self.busy = Busy::default();
        while let Some(work) = self.plan_seal() {
            let chore = Chore { rt: self.rt.clone(), work };
            let done = chore.run().await;
            let installed = self.install(done).await?;
            if let Installed::NotSealed(id) | Installed::Damaged(id, _) = installed {
                self.busy.unsealable.push(id);
            }
        }
        let mut changes = vec![Change::Closed];
        if self.options.settled_by_owner {
            // Everything is durable, and the next opening need not ask whether it was.
            changes.splice(..0, self.seal_rotated());
        }
        match self.record(changes).await {
            Ok(()) | Err(JournalError::NoSpace) => {}
            Err(error) => return Err(error),
        }
        drop(self.lock);
        Ok(())
    }
}

/// Cuts a sealed segment's file to its length. When that fails, or a crash comes first, the file is
/// longer than it need be until compaction takes it.
async fn give_back<R: Runtime>(segment: Option<Arc<SegmentFile<R>>>, bytes: u64) {
    let Some(segment) = segment else { return };
    if let Err(error) = segment.file.set_len(bytes).await {
        tracing::debug!(%error, "a sealed segment keeps its unused end");
    }
}

/// Whether only the footer tells a segment's dead records from the others.
pub(super) fn has_dead_records(listed: &Listed, options: &JournalOptions) -> bool {
    options.settled_by_owner && listed.kind == SegmentKind::Journal
}

/// Whether only the journal holds this handle.
fn is_unread<R: Runtime>(segment: &Arc<SegmentFile<R>>) -> bool {
    Arc::strong_count(segment) == 1 || planted!("recycle_pinned")
}

impl<R: Runtime> Chore<R> {
    /// Does the work.
    pub async fn run(self) -> Done<R> {
        let (disk, task) = (self.rt.disk(), self.rt.task());
        Done(match self.work {
            Work::Prepare { id, uuid, bytes, leaves_bytes, recycle } => {
                let prepared = match recycle {
                    Some(old) => recycle_file(disk, old, id, uuid).await,
                    None => prepare_spare::<R>(disk, id, uuid, bytes, leaves_bytes).await,
                };
                Outcome::Prepared(match prepared {
                    Ok(spare) => Ok(spare),
                    Err(error) => Err((error, free_bytes(disk).await)),
                })
            }
            Work::Seal(work) => {
                let SealWork { segment, listed, sealed, dead } = *work;
                let result = write_footer(task, &segment, &listed, sealed, dead).await;
                Outcome::Sealed(listed.id, result)
            }
            Work::Reclaim { files } => reclaim(disk, files).await,
            Work::Scrub(source) => Outcome::Scrubbed(source.scrub().await),
        })
    }
}

async fn prepare_spare<R: Runtime>(
    disk: &R::Disk,
    id: SegmentId,
    uuid: Uuid,
    bytes: u64,
    leaves_bytes: u64,
) -> DiskResult<Spare<R>> {
    if !has_room(disk, bytes, leaves_bytes).await {
        let name = segment_name(SegmentKind::Journal, id);
        return Err(DiskError::new(
            DiskErrorKind::NoSpace,
            "prepare",
            &name,
            "the reserve is kept",
        ));
    }
    let segment = prepare_file::<R>(disk, id, uuid, bytes).await?;
    Ok(Spare { segment, bytes })
}

/// Makes a dropped file blank again and gives it its new name. It belongs to nothing meanwhile, so
/// a crash in between leaves an orphan. It loses its old name before its bytes: should the manifest
/// lose the line that dropped it, a segment is missing then, and none is there that looks whole.
async fn recycle_file<R: Runtime>(
    disk: &R::Disk,
    old: Retired<R>,
    id: SegmentId,
    uuid: Uuid,
) -> DiskResult<Spare<R>> {
    mark!("journal_recycled");
    let file = old.segment.file.clone();
    let from = segment_name(SegmentKind::Journal, old.segment.id);
    let nameless = alloc::format!("{JOURNAL_DIR}/{:08x}.tmp", id.0);
    disk.rename(&from, &nameless).await?;
    disk.sync_dir(JOURNAL_DIR).await?;
    let mut at = 0;
    while at < old.bytes && !planted!("recycled_without_zeroing") {
        let chunk = (old.bytes - at).min(limits::ZERO_CHUNK_BYTES as u64) as usize;
        file.write_at(at, Bytes::from(vec![0; chunk])).await?;
        at += chunk as u64;
    }
    file.sync().await?;
    disk.rename(&nameless, &segment_name(SegmentKind::Journal, id)).await?;
    if !planted!("no_dir_sync_recycle") {
        disk.sync_dir(JOURNAL_DIR).await?;
    }
    let segment = Arc::new(SegmentFile { id, uuid, kind: SegmentKind::Journal, file });
    Ok(Spare { segment, bytes: old.bytes })
}

async fn write_footer<R: Runtime>(
    task: &R::Task,
    segment: &SegmentFile<R>,
    listed: &Listed,
    sealed: Sealed,
    dead: Vec<u32>,
) -> Result<(u64, Sealed), SealError> {
    let (id, seed, offset) =
        (listed.id, Seed::of(listed.uuid), footer::footer_offset(sealed.frames_end));
    let hints = move |walked: WalkedSegment| {
        let is_dead = |loc: Loc| {
            dead.binary_search(&loc.offset_words).is_ok() && !planted!("dead_record_in_hints")
        };
        if !walked.damages.is_empty() {
            return Err(SealError::Damaged(walked.damages));
        }
        let builder = footer::build_kept(id, &walked.bytes, &walked.frames, |loc, _| !is_dead(loc));
        Ok(builder.finish(id, seed, offset))
    };
    let made = walk_sealed(task, &segment.file, listed, &sealed, ReadMode::Cached, hints).await;
    let bytes = made.map_err(SealError::Read)??;
    let footer = FooterRef { offset, bytes: bytes.len() as u64 };
    let end = offset + footer.bytes;
    segment.file.write_at(offset, Bytes::from(bytes)).await.map_err(SealError::Write)?;
    if !planted!("seal_before_sync") {
        segment.file.sync().await.map_err(SealError::Write)?;
    }
    // A segment that ended early gives back what it did not use, once the manifest says so.
    let is_roomy = end < listed.bytes - listed.bytes / 8;
    let bytes = if is_roomy { end } else { listed.bytes.max(end) };
    Ok((bytes, Sealed { footer: Some(footer), ..sealed }))
}

async fn reclaim<R: Runtime>(disk: &R::Disk, files: Vec<Retired<R>>) -> Outcome<R> {
    let (mut bytes, mut left) = (0, Vec::new());
    for retired in files {
        let name = segment_name(retired.segment.kind, retired.segment.id);
        if remove_quietly(disk, &name).await {
            bytes += retired.bytes;
        } else {
            left.push(retired);
        }
    }
    // Not a matter of safety: a name that comes back after a crash is an orphan.
    for dir in [JOURNAL_DIR, super::files::DATA_DIR] {
        if let Err(error) = disk.sync_dir(dir).await {
            tracing::debug!(%error, "removed names are not durable yet");
        }
    }
    Outcome::Reclaimed { bytes, left }
}
