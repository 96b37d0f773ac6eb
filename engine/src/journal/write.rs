//! Appending: frames into the active segment, rotation onto prepared ones, edits of the manifest.
//!
//! Invariant W, on which recovery's verdicts rest: a frame goes to the device only when the one
//! before it is synced, or it says by its `durable_lsn` that it is not; and a segment's header is
//! written only when everything in the segments before it is synced.
//!
//! After a failed write or sync of the active segment or the manifest nothing more is written:
//! the operating system may have dropped the pages and marked them clean, so a retry would report
//! success for bytes that are gone. A dropped `append` leaves the same doubt and stops it too.
//! Running out of room while a segment is being prepared is different: nothing had been written.
//!
//! Not here: what happens at open (`open.rs`), background work (`chores.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use bytes::{Bytes, BytesMut};
use core::fmt;

use super::{
    counts::Counts,
    data::DataSegment,
    edits::{Change, Listed, ManifestState, Misfit, Peer, Sealed},
    files::{Files, JOURNAL_DIR, SegmentFile, segment_name},
    footer::footer_bytes_max,
    format::{SEGMENT_HEADER_BYTES, SEGMENT_HEADER_USED, Seed, SegmentHeader, SegmentKind},
    frame::{FrameBuilder, Place, Spot},
    manifest::{EditError, ManifestLog, create_over, remove_quietly},
    report::{JournalError, JournalOptions, Sync},
    room::{Claim, free_bytes, has_room},
};
use crate::{
    always, limits, mark, planted,
    runtime::{Clock, Disk, DiskError, DiskErrorKind, DiskResult, File, Rng, Runtime},
    types::{GroupId, Index, Loc, Lsn, NodeId, SegmentId, Uuid},
};

/// A segment that frames are being written to.
pub(super) struct Active<R: Runtime> {
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) bytes: u64,
    pub(super) at: u64,
    pub(super) base_lsn: Lsn,
    pub(super) last_crc: u32,
    pub(super) hint_bytes: u64,
    pub(super) groups: BTreeSet<GroupId>,
    /// Whether the last frame is a seal, or there is none.
    pub(super) is_idle: bool,
}

/// A prepared segment: zeroed, durable, listed in the manifest, never written to.
pub(super) struct Spare<R: Runtime> {
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) bytes: u64,
}

/// A dropped segment's file, until nobody reads it any more.
pub(super) struct Retired<R: Runtime> {
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) bytes: u64,
}

/// The journal of one data directory.
pub struct Journal<R: Runtime> {
    pub(super) rt: R,
    pub(super) options: JournalOptions,
    pub(super) node: Uuid,
    pub(super) rng: R::Rng,
    pub(super) lock: <R::Disk as Disk>::Lock,
    pub(super) manifest: ManifestLog<R>,
    pub(super) state: ManifestState,
    pub(super) files: Arc<Files<R>>,
    pub(super) active: Option<Active<R>>,
    pub(super) spares: Vec<Spare<R>>,
    /// Counts the changes of what `segments` answers, but for where the active one begins.
    pub(super) listing: u64,
    /// Full segments that the manifest does not know as sealed yet.
    pub(super) rotated: BTreeMap<SegmentId, Sealed>,
    /// The full segments without a footer that their owner settles, oldest first.
    pub(super) tail: Vec<SegmentId>,
    pub(super) retired: Vec<Retired<R>>,
    /// Segments that their owner has settled and that have no footer yet: their dead records.
    pub(super) settled: BTreeMap<SegmentId, Vec<u32>>,
    /// What their footers leave out because it is damaged.
    pub(super) given_up: BTreeMap<SegmentId, Vec<(Lsn, Lsn)>>,
    /// Handed out to chores; a number is used once, whatever becomes of it.
    pub(super) next_segment: SegmentId,
    pub(super) next_lsn: Lsn,
    pub(super) durable_lsn: Lsn,
    pub(super) previous: (Uuid, u32),
    pub(super) buffer: BytesMut,
    pub(super) stopped: bool,
    /// A write is on its way; when the future is dropped, its outcome is unknown.
    pub(super) in_flight: bool,
    pub(super) busy: super::chores::Busy,
    /// No room was found for another segment, and so many bytes were free then.
    pub(super) full: Option<u64>,
    pub(super) counts: Counts,
}

impl<R: Runtime> fmt::Debug for Journal<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("node", &self.node)
            .field("next_lsn", &self.next_lsn)
            .field("durable_lsn", &self.durable_lsn)
            .field("segments", &self.state.segments.len())
            .finish_non_exhaustive()
    }
}

/// Where an appended frame's records lie.
#[must_use = "an append that nobody looks at was never acknowledged"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persisted {
    segment: SegmentId,
    offset: u64,
    spots: Vec<Spot>,
    /// The LSN of its first record.
    pub first: Lsn,
    /// The LSN of its last record.
    pub last: Lsn,
    /// Whether it was durable when this was answered.
    pub is_durable: bool,
}

impl Persisted {
    /// Where the record number `index` of the frame lies.
    ///
    /// # Panics
    /// When the frame has no such record.
    #[must_use]
    pub fn loc(&self, index: usize) -> Loc {
        let spot = self.spots[index];
        Loc {
            segment: self.segment,
            offset_words: (self.offset / 8) as u32 + spot.words,
            len: spot.len,
        }
    }

    /// How many records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.spots.len()
    }

    /// Whether there is none: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }
}

/// An atomic change of which segments and groups there are.
#[derive(Debug)]
pub struct ManifestEdit<R: Runtime> {
    /// Finished data segments that become part of the store.
    pub add: Vec<DataSegment<R>>,
    /// Sealed segments that are no longer part of it.
    pub drop: Vec<SegmentId>,
    /// Groups that live here from now on.
    pub add_groups: Vec<GroupId>,
    /// Groups that are gone for good.
    pub drop_groups: Vec<GroupId>,
    /// What is known now of other members' directories.
    pub peers: Vec<(NodeId, Peer)>,
    /// Over which group the store is given up, and behind which entry.
    pub give_up: Option<(GroupId, Index)>,
}

impl<R: Runtime> Default for ManifestEdit<R> {
    fn default() -> Self {
        Self {
            add: Vec::new(),
            drop: Vec::new(),
            add_groups: Vec::new(),
            drop_groups: Vec::new(),
            peers: Vec::new(),
            give_up: None,
        }
    }
}

/// One segment of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub id: SegmentId,
    /// What it holds.
    pub kind: SegmentKind,
    /// How long its file is.
    pub bytes: u64,
    /// Where it begins. Numbers are given when files are made, which may be used in another order.
    pub base_lsn: Lsn,
    /// Whether nothing is added to it any more: only such a one can be dropped.
    pub is_sealed: bool,
    /// Whether it has a footer.
    pub has_footer: bool,
    /// How long that is.
    pub footer_bytes: u64,
    /// Whether its hints are what counts of it: only such a one can be compacted and dropped.
    pub is_settled: bool,
}

impl<R: Runtime> Journal<R> {
    /// A builder for the next frame. Only one can be appended: each begins where the journal ends.
    #[must_use]
    pub fn frame(&mut self) -> FrameBuilder {
        FrameBuilder::new(self.next_lsn, core::mem::take(&mut self.buffer))
    }

    /// The LSN that the next record gets.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The highest LSN that survives a power loss now.
    #[must_use]
    pub const fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// The node's name.
    #[must_use]
    pub const fn node(&self) -> Uuid {
        self.node
    }

    /// The open segments as they are now.
    #[must_use]
    pub fn files(&self) -> Arc<Files<R>> {
        self.files.clone()
    }

    /// Whether it has stopped for good.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped || self.in_flight
    }

    /// The groups that live here.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.state.groups.iter().copied()
    }

    /// What is known of the other members' directories.
    #[must_use]
    pub const fn peers(&self) -> &BTreeMap<NodeId, Peer> {
        &self.state.peers
    }

    /// Over which group the store was given up, and behind which entry.
    #[must_use]
    pub const fn given_up(&self) -> Option<(GroupId, Index)> {
        self.state.given_up
    }

    /// The segments that hold records, prepared ones left out.
    pub fn segments(&self) -> impl Iterator<Item = SegmentInfo> {
        self.state.segments.values().filter(|listed| self.files.get(listed.id).is_some()).map(
            |listed| {
                let footer = listed.sealed.as_ref().and_then(|sealed| sealed.footer);
                let sealed = self.sealed_of(listed);
                SegmentInfo {
                    id: listed.id,
                    kind: listed.kind,
                    bytes: listed.bytes,
                    base_lsn: sealed.map_or(self.next_lsn, |sealed| sealed.base_lsn),
                    is_sealed: sealed.is_some(),
                    has_footer: footer.is_some(),
                    footer_bytes: footer.map_or(0, |footer| footer.bytes),
                    is_settled: sealed.is_some() && !self.is_unsettled(listed),
                }
            },
        )
    }

    /// Counts the changes of what [`segments`](Self::segments) answers, but for where the one that is
    /// written to begins: that is behind all others.
    #[must_use]
    pub const fn listing(&self) -> u64 {
        self.listing
    }

    /// What is known of a segment to which nothing is added any more.
    pub(super) fn sealed_of<'s>(&'s self, listed: &'s Listed) -> Option<&'s Sealed> {
        self.rotated.get(&listed.id).or(listed.sealed.as_ref())
    }

    /// The bytes of all its files: live, prepared, and dropped but not reclaimed yet.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let listed: u64 = self.state.segments.values().map(|listed| listed.bytes).sum();
        let retired: u64 = self.retired.iter().map(|retired| retired.bytes).sum();
        listed + retired + self.manifest.current().bytes
    }

    /// The bytes of dropped files that are still there, because somebody reads them or nobody has
    /// run the chore.
    #[must_use]
    pub fn retired_bytes(&self) -> u64 {
        self.retired.iter().map(|retired| retired.bytes).sum()
    }

    pub(super) fn check_running(&self) -> Result<(), JournalError> {
        if self.is_stopped() && !planted!("ignored_fsync_error") {
            mark!("journal_stopped");
            return Err(JournalError::Stopped);
        }
        Ok(())
    }

    /// Writes a frame. With [`Sync::Now`] it is durable when this answers, and so is everything
    /// appended before it.
    ///
    /// # Errors
    /// [`JournalError::Failed`] stops the journal for good; every other refusal means that nothing
    /// happened.
    pub async fn append(
        &mut self,
        frame: FrameBuilder,
        sync: Sync,
    ) -> Result<Persisted, JournalError> {
        self.check_running()?;
        if frame.is_empty() {
            return Err(JournalError::Empty);
        }
        if frame.first_lsn() != self.next_lsn {
            let (found, expected) = (frame.first_lsn(), self.next_lsn);
            return Err(JournalError::OutOfOrder { found, expected });
        }
        if let Err(error) = self.make_room(&frame).await {
            self.counts.refused += u64::from(error == JournalError::NoSpace);
            return Err(error);
        }
        self.write_frame(frame, sync).await
    }

    /// Writes a frame into the active segment, where there is room.
    async fn write_frame(
        &mut self,
        frame: FrameBuilder,
        sync: Sync,
    ) -> Result<Persisted, JournalError> {
        let Some(active) = &mut self.active else {
            return Err(JournalError::Stopped);
        };
        let first = frame.first_lsn();
        let durable_lsn =
            if planted!("durable_lsn_too_high") { Lsn(first.0 - 1) } else { self.durable_lsn };
        let hint_bytes = frame.hint_bytes() as u64;
        let built = frame.finish(Place {
            segment: active.segment.id,
            seed: Seed::of(active.segment.uuid),
            offset: active.at,
            durable_lsn,
            previous_crc: active.last_crc,
            edit: self.manifest.newest(),
        });
        let offset = active.at;
        let end = offset + built.bytes.len() as u64;
        assert!(end <= active.bytes, "a frame stays within its segment");
        let file = active.segment.file.clone();
        let header = (offset == SEGMENT_HEADER_BYTES as u64).then(|| {
            SegmentHeader {
                kind: SegmentKind::Journal,
                id: active.segment.id,
                uuid: active.segment.uuid,
                node: self.node,
                base_lsn: active.base_lsn,
                previous: self.previous.0,
                previous_crc: self.previous.1,
            }
            .encode()
        });
        active.at = end;
        active.last_crc = built.header.crc;
        active.hint_bytes += hint_bytes;
        active.is_idle = built.spots.is_empty();
        self.next_lsn = built.header.next_lsn();
        self.in_flight = true;
        self.counts.records += built.spots.len() as u64;
        let written = self.put(&file, header, (offset, built.bytes.clone()), sync).await;
        self.in_flight = false;
        if let Err(error) = written {
            return Err(self.stop(error));
        }
        let last = Lsn(self.next_lsn.0 - 1);
        if sync == Sync::Now {
            assert!(self.durable_lsn <= last, "I1: what is durable grows");
            self.durable_lsn = last;
        }
        // The buffer comes back unless the disk still holds it.
        if let Ok(buffer) = built.bytes.try_into_mut() {
            self.buffer = buffer;
        }
        self.check_invariants();
        Ok(Persisted {
            segment: self.active.as_ref().map_or(SegmentId(0), |active| active.segment.id),
            offset,
            spots: built.spots,
            first,
            last,
            is_durable: sync == Sync::Now,
        })
    }

    /// Hands a frame to the device, and waits until it is durable when that is asked for.
    async fn put<F: File>(
        &mut self,
        file: &F,
        header: Option<[u8; SEGMENT_HEADER_USED]>,
        (offset, bytes): (u64, Bytes),
        sync: Sync,
    ) -> DiskResult<()> {
        self.counts.frames += 1;
        self.counts.frame_bytes += bytes.len() as u64;
        let began = self.rt.clock().now();
        if let Some(header) = header {
            file.write_at(0, Bytes::copy_from_slice(&header)).await?;
        }
        file.write_at(offset, bytes).await?;
        let there = self.rt.clock().now();
        self.counts.writes.note(there.since(began));
        if sync == Sync::Later || planted!("no_fsync") {
            return Ok(());
        }
        let synced = file.sync().await;
        self.counts.syncs.note(self.rt.clock().now().since(there));
        if planted!("ignored_fsync_error") { Ok(()) } else { synced }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// [`JournalError::Failed`] stops the journal for good.
    pub async fn sync(&mut self) -> Result<Lsn, JournalError> {
        self.check_running()?;
        let last = Lsn(self.next_lsn.0 - 1);
        if let Some(active) = &self.active
            && self.durable_lsn < last
        {
            let file = active.segment.file.clone();
            if planted!("ack_before_sync") {
                self.durable_lsn = last;
                return Ok(last);
            }
            self.in_flight = true;
            let began = self.rt.clock().now();
            let synced = file.sync().await;
            self.counts.syncs.note(self.rt.clock().now().since(began));
            self.in_flight = false;
            if let Err(error) = synced {
                return Err(self.stop(error));
            }
        }
        self.durable_lsn = last;
        Ok(last)
    }

    /// Says on disk that everything so far is durable, when nothing has said so yet. To be called
    /// when nothing has been written for some milliseconds; it does not wait for the device. Later
    /// damage to the last write is then known to be rot instead of perhaps a torn write.
    ///
    /// # Errors
    /// [`JournalError::Failed`] stops the journal for good.
    pub async fn seal_idle(&mut self) -> Result<(), JournalError> {
        self.seal(Sync::Later).await
    }

    /// The same, and waits until that is durable itself. A device that loses a write which it had
    /// promised would have to lose two, or be found out.
    ///
    /// # Errors
    /// As [`seal_idle`](Self::seal_idle).
    pub async fn attest(&mut self) -> Result<(), JournalError> {
        self.seal(Sync::Now).await
    }

    async fn seal(&mut self, sync: Sync) -> Result<(), JournalError> {
        self.check_running()?;
        let Some(active) = &self.active else { return Ok(()) };
        let seal = FrameBuilder::new(self.next_lsn, BytesMut::new());
        let is_durable = self.durable_lsn.next() == self.next_lsn;
        if active.is_idle || !is_durable || !active.has_room(&seal) {
            return Ok(());
        }
        mark!("journal_idle_seal");
        self.write_frame(seal, sync).await.map(|_persisted| ())
    }

    /// Makes sure that the active segment has room for this frame, by going on to another one when
    /// needed. On a refusal the active segment is the one it was.
    async fn make_room(&mut self, frame: &FrameBuilder) -> Result<(), JournalError> {
        if self.active.as_ref().is_some_and(|active| active.has_room(frame)) {
            self.note_groups(frame);
            return Ok(());
        }
        let groups = frame.groups().count() as u64;
        let start = SEGMENT_HEADER_BYTES as u64;
        let needed =
            start + frame.frame_bytes(start) + footer_bytes_max(frame.hint_bytes() as u64, groups);
        if !self.spares.iter().any(|spare| spare.bytes >= needed) {
            mark!("journal_rotation_without_spare");
            self.counts.unprepared += 1;
            self.prepare_now(needed, frame.claim()).await?;
        }
        self.rotate().await?;
        let position = self.spares.iter().position(|spare| spare.bytes >= needed);
        let Some(position) = position else { return Err(JournalError::NoSpace) };
        let spare = self.spares.remove(position);
        self.activate(spare);
        self.note_groups(frame);
        Ok(())
    }

    fn note_groups(&mut self, frame: &FrameBuilder) {
        if let Some(active) = &mut self.active {
            active.groups.extend(frame.groups());
        }
    }

    fn activate(&mut self, spare: Spare<R>) {
        assert!(self.active.is_none(), "one active segment at a time");
        let listed = self.state.segments.get(&spare.segment.id);
        let is_prepared = listed.is_some_and(|listed| listed.sealed.is_none());
        always!(is_prepared, "I3: a segment is listed before it is written to");
        self.listing_changed();
        self.files = Arc::new(self.files.with(spare.segment.clone()));
        self.active = Some(Active {
            segment: spare.segment,
            bytes: spare.bytes,
            at: SEGMENT_HEADER_BYTES as u64,
            base_lsn: self.next_lsn,
            last_crc: self.previous.1,
            hint_bytes: 0,
            groups: BTreeSet::new(),
            is_idle: true,
        });
    }

    /// Ends the active segment, so that it can be sealed and compacted. The next append begins
    /// another one. A segment without frames stays prepared.
    ///
    /// # Errors
    /// [`JournalError::Failed`] stops the journal for good.
    pub async fn rotate(&mut self) -> Result<(), JournalError> {
        self.check_running()?;
        // The header of the next segment says that everything before it is durable.
        if !planted!("rotate_without_sync") {
            self.sync().await?;
        }
        let Some(active) = self.active.take() else { return Ok(()) };
        if active.at == SEGMENT_HEADER_BYTES as u64 {
            let (files, _) = self.files.without(active.segment.id);
            self.files = Arc::new(files);
            self.listing_changed();
            self.spares.push(Spare { segment: active.segment, bytes: active.bytes });
            return Ok(());
        }
        self.counts.rotations += 1;
        self.previous = (active.segment.uuid, active.last_crc);
        self.rotated.insert(
            active.segment.id,
            Sealed {
                base_lsn: active.base_lsn,
                last_lsn: Lsn(self.next_lsn.0 - 1),
                frames_end: active.at,
                last_crc: active.last_crc,
                footer: None,
                lost: Vec::new(),
            },
        );
        self.listing_changed();
        self.busy.hold_prepare = false;
        self.check_invariants();
        Ok(())
    }

    /// Goes on behind this LSN, durably: something that was kept names it, though the records up to
    /// it were given up. For a journal that was just opened.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub async fn skip_to(&mut self, lsn: Lsn) -> Result<(), JournalError> {
        if lsn < self.next_lsn {
            return Ok(());
        }
        let is_possible = self.active.is_none() && lsn.0 <= limits::LSN_MAX / 2;
        if !is_possible {
            return Err(JournalError::Misfit(Misfit("ends before a record of its segments")));
        }
        mark!("journal_skipped_what_was_given_up");
        let next_segment = self.state.next_segment;
        self.record(alloc::vec![Change::Floor { next_segment, lsn }]).await?;
        self.next_lsn = lsn.next();
        self.durable_lsn = lsn;
        self.check_invariants();
        Ok(())
    }

    pub(super) fn new_uuid(&mut self) -> Uuid {
        Uuid::from_draws(self.rng.next_u64(), self.rng.next_u64())
    }

    pub(super) const fn new_segment_id(&mut self) -> SegmentId {
        let id = self.next_segment;
        self.next_segment = id.next();
        id
    }

    /// The size of the next ordinary segment: an eighth of all there is, so that what is prepared
    /// ahead never weighs much, in powers of two, so that a dropped file fits a new segment.
    pub(super) fn next_bytes(&self) -> u64 {
        let JournalOptions { first_segment_bytes: least, segment_bytes_max: most, .. } =
            self.options;
        let all: u64 = self.state.segments.values().map(|listed| listed.bytes).sum();
        (1 << (all / 8).max(1).ilog2()).clamp(least, most)
    }

    /// Prepares a segment because the next frame needs it now: an ordinary one, or when that would
    /// touch the reserve the smallest that does, if the frame may have that much of it. What makes room
    /// takes no more than it needs: others would use up what it left.
    async fn prepare_now(&mut self, needed: u64, claim: Claim) -> Result<(), JournalError> {
        let ordinary = self.next_bytes();
        let least = match claim {
            Claim::Relief => needed,
            Claim::New | Claim::Promised | Claim::Moving => {
                needed.max(self.options.first_segment_bytes)
            }
        };
        let least = least.next_multiple_of(4096);
        let usual = if needed > ordinary { least } else { ordinary };
        let disk = self.rt.disk().clone();
        let bytes = if has_room(&disk, usual, self.leaves(Claim::New)).await {
            usual
        } else if claim != Claim::New && has_room(&disk, least, self.leaves(claim)).await {
            mark!("journal_reserve_used");
            least
        } else {
            mark!("journal_soft_limit");
            self.full = Some(free_bytes(&disk).await);
            return Err(JournalError::NoSpace);
        };
        let (id, uuid) = (self.new_segment_id(), self.new_uuid());
        let segment = match prepare_file::<R>(&disk, id, uuid, bytes).await {
            Ok(segment) => segment,
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                mark!("journal_no_space");
                self.full = Some(free_bytes(&disk).await);
                return Err(JournalError::NoSpace);
            }
            Err(error) => return Err(JournalError::NotPrepared(error)),
        };
        let recorded = self.record_spare(Spare { segment, bytes }).await;
        if recorded == Err(JournalError::NoSpace) {
            self.full = Some(free_bytes(&disk).await);
        }
        recorded
    }

    /// Lists a prepared segment in the manifest; from then on it may be written to. Without room
    /// for that its file goes: nobody knows of it.
    pub(super) async fn record_spare(&mut self, spare: Spare<R>) -> Result<(), JournalError> {
        let (id, uuid) = (spare.segment.id, spare.segment.uuid);
        if !planted!("segment_used_before_its_edit") {
            let change = Change::Prepare { id, uuid, bytes: spare.bytes };
            let recorded = self.record(alloc::vec![change]).await;
            if recorded == Err(JournalError::NoSpace) {
                mark!("journal_spare_not_listed");
                let name = segment_name(SegmentKind::Journal, id);
                remove_quietly(self.rt.disk(), &name).await;
            }
            recorded?;
        }
        self.spares.push(spare);
        Ok(())
    }

    /// Makes changes durable in the manifest and takes them in. All or nothing.
    pub(super) async fn record(&mut self, changes: Vec<Change>) -> Result<(), JournalError> {
        self.check_running()?;
        let mut state = self.state.clone();
        for change in &changes {
            state.apply(change).map_err(JournalError::Misfit)?;
        }
        let (disk, uuid) = (self.rt.disk().clone(), self.new_uuid());
        self.in_flight = true;
        let appended = self.manifest.append(&disk, &changes, &state, uuid).await;
        self.in_flight = false;
        match appended {
            Ok(()) => {
                self.counts.edits += 1;
                self.state = state;
                self.listing_changed();
                Ok(())
            }
            Err(EditError::NoSpace) => Err(JournalError::NoSpace),
            Err(EditError::Failed(error)) => Err(self.stop(error)),
        }
    }

    /// Adds and drops segments and groups, atomically and durably: the commit point of every
    /// compaction. Dropped files go when nobody reads them any more.
    ///
    /// # Errors
    /// [`JournalError::Misfit`] or [`JournalError::NoSpace`]: nothing happened; in the latter case
    /// the segments to be added are removed, to be written again.
    /// [`JournalError::Failed`] stops the journal for good.
    pub async fn edit(&mut self, edit: ManifestEdit<R>) -> Result<(), JournalError> {
        let mut changes = Vec::new();
        for data in &edit.add {
            changes.push(data.change());
        }
        for id in &edit.drop {
            let is_active = self.active.as_ref().is_some_and(|active| active.segment.id == *id);
            let is_spare = self.spares.iter().any(|spare| spare.segment.id == *id);
            if is_active || is_spare {
                return Err(JournalError::Misfit(Misfit("drops a live segment")));
            }
            let listed = self.state.segments.get(id);
            let is_there = self.files.get(*id).is_some();
            if is_there && listed.is_some_and(|listed| self.is_unsettled(listed)) {
                return Err(JournalError::Misfit(Misfit("drops a segment that is not settled")));
            }
        }
        // I5: the manifest must know the LSNs of what it drops, or the floor would fall.
        let seals_rotated = edit.drop.iter().any(|id| self.rotated.contains_key(id));
        if seals_rotated {
            changes.extend(self.seal_rotated());
        }
        changes.extend(edit.drop.iter().map(|id| Change::Drop { id: *id }));
        changes.extend(edit.add_groups.iter().map(|group| Change::AddGroup { group: *group }));
        changes.extend(edit.drop_groups.iter().map(|group| Change::DropGroup { group: *group }));
        let peers = edit.peers.iter();
        changes.extend(peers.map(|(node, peer)| Change::Peer { node: *node, peer: *peer }));
        changes.extend(edit.give_up.map(|(group, at)| Change::GiveUp { group, at }));
        if changes.is_empty() {
            return Ok(());
        }
        let sizes: BTreeMap<SegmentId, u64> =
            self.state.segments.values().map(|listed| (listed.id, listed.bytes)).collect();
        if let Err(error) = self.record(changes).await {
            // They belong to nothing, and room is what is missing. After a failure that stopped the
            // journal nobody knows whether they do.
            if error.is_retryable() {
                mark!("journal_edit_gave_up");
                for data in edit.add {
                    data.discard(&self.rt).await;
                }
            }
            return Err(error);
        }
        if seals_rotated {
            self.rotated.clear();
        }
        for data in edit.add {
            self.files = Arc::new(self.files.with(data.segment));
        }
        for id in edit.drop {
            self.settled.remove(&id);
            let (files, gone) = self.files.without(id);
            self.files = Arc::new(files);
            if let Some(segment) = gone {
                let bytes = sizes.get(&id).copied().unwrap_or(0);
                self.retired.push(Retired { segment, bytes });
            }
        }
        // Something has changed: what could not be done before may be possible now.
        self.look_for_room();
        self.busy.hold_reclaim = false;
        self.busy.unsealable.clear();
        self.check_invariants();
        Ok(())
    }

    /// Seals, still without footers, for every rotated segment. They go into one edit with the
    /// seal of any of them: what the manifest knows as sealed lifts the floor of recovery, and a
    /// floor above records of a segment that is not sealed would make them impossible. Numbers do
    /// not tell the order in which segments were written.
    pub(super) fn seal_rotated(&self) -> Vec<Change> {
        let listed = |id: &SegmentId| self.state.segments.get(id);
        let seal = |(id, sealed): (&SegmentId, &Sealed)| {
            let bytes = listed(id)?.bytes;
            Some(Change::Seal { id: *id, bytes, sealed: sealed.clone() })
        };
        self.rotated.iter().filter_map(seal).collect()
    }

    #[cold]
    pub(super) fn stop(&mut self, error: DiskError) -> JournalError {
        mark!("journal_failed");
        tracing::error!(%error, "the journal has stopped for good");
        self.stopped = true;
        JournalError::Failed(error)
    }

    /// The cheap part of the invariants, on in production.
    pub(super) fn check_invariants(&self) {
        assert!(self.durable_lsn < self.next_lsn, "I1: only what was written can be durable");
        if let Some(active) = &self.active {
            assert!(active.at <= active.bytes, "frames stay within their segment");
            assert!(active.base_lsn <= self.next_lsn, "I7: a segment begins before it ends");
        }
    }

    /// All invariants; for tests and the simulator.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        self.check_invariants();
        if let Some(active) = &self.active {
            let listed = self.state.segments.get(&active.segment.id);
            if listed.is_none_or(|listed| listed.sealed.is_some()) {
                return Err("I3: the active segment is listed and not sealed");
            }
        }
        for id in self.files.ids() {
            if !self.state.segments.contains_key(&id) {
                return Err("I3: every open segment is listed");
            }
        }
        for spare in &self.spares {
            if !self.state.segments.contains_key(&spare.segment.id) {
                return Err("I3: every spare is listed");
            }
            if self.files.get(spare.segment.id).is_some() {
                return Err("I3: a spare holds nothing");
            }
        }
        if self.rotated.keys().any(|id| !self.state.segments.contains_key(id)) {
            return Err("I5: a rotated segment is listed until it is dropped");
        }
        if self.retired.iter().any(|retired| self.state.segments.contains_key(&retired.segment.id))
        {
            return Err("I5: a retired file is no longer listed");
        }
        if self.state.sealed_lsn() >= self.next_lsn {
            return Err("I7: what is sealed lies below what comes next");
        }
        if self.next_segment < self.state.next_segment {
            return Err("a segment number is given out once");
        }
        if self.tail != self.find_tail() {
            return Err("the tail is what the list of segments says");
        }
        Ok(())
    }
}

impl<R: Runtime> Active<R> {
    /// Whether the frame fits, and a footer behind it.
    fn has_room(&self, frame: &FrameBuilder) -> bool {
        let new_groups = frame.groups().filter(|group| !self.groups.contains(group)).count();
        let groups = (self.groups.len() + new_groups) as u64;
        let hints = self.hint_bytes + frame.hint_bytes() as u64;
        self.at + frame.frame_bytes(self.at) + footer_bytes_max(hints, groups) <= self.bytes
    }
}

/// Makes a zeroed, durable file for a journal segment. On a refusal nothing stays behind.
pub(super) async fn prepare_file<R: Runtime>(
    disk: &R::Disk,
    id: SegmentId,
    uuid: Uuid,
    bytes: u64,
) -> DiskResult<Arc<SegmentFile<R>>> {
    assert!(bytes <= limits::SEGMENT_FILE_BYTES_MAX, "a segment is no larger than recovery reads");
    let name = segment_name(SegmentKind::Journal, id);
    let made = async {
        let file = create_over(disk, &name).await?;
        file.allocate(bytes).await?;
        file.sync().await?;
        if !planted!("no_dir_sync_segment") {
            disk.sync_dir(JOURNAL_DIR).await?;
        }
        Ok(file)
    };
    match made.await {
        Ok(file) => Ok(Arc::new(SegmentFile { id, uuid, kind: SegmentKind::Journal, file })),
        Err(error) => {
            remove_quietly(disk, &name).await;
            Err(error)
        }
    }
}
