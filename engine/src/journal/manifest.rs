//! The manifest on disk: appending edits, rolling to a new file, pointing `CURRENT` at it, and
//! reading it back.
//!
//! ```text
//! CURRENT ──► MANIFEST-00000007: │ header │ whole state │ edit │ edit │ zeros
//!
//! roll:  write MANIFEST-00000008 · sync it · sync directory
//!        write CURRENT.tmp · sync it · rename over CURRENT · sync directory     ◄ takes over here
//!        remove MANIFEST-00000007
//! ```
//!
//! An edit is one frame, synced before anyone acts on it. Opening always rolls: the new file's
//! first frame carries what recovery decided, so the rename is the commit point of recovery too,
//! and nothing is ever appended behind an old tail.
//!
//! Invariants: at every moment `CURRENT` names a manifest whose first frame is durable; after a
//! failed write or sync nothing is appended any more; a roll that finds no room changes nothing.
//!
//! Not here: what the changes mean (`edits.rs`).

use alloc::{string::ToString, vec, vec::Vec};
use bytes::{Bytes, BytesMut};

use super::{
    edits::{Change, ManifestState},
    files::{FileOf, is_number, read_range, segment_name},
    format::{
        EditId, FormatError, Origin, Record, RecordKind, SEGMENT_HEADER_BYTES, Seed, SegmentHeader,
        SegmentKind, records,
    },
    frame::{FrameBuilder, Place},
    identity::{CURRENT, CurrentFile, IDENTITY_BYTES},
    report::OpenError,
    verdict::{Damage, Front, Scanned, Verdict, decide},
    walk::{Start, Walk, walk},
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskError, DiskErrorKind, DiskResult, File, Open, ReadMode, Runtime},
    types::{GroupId, Lsn, SegmentId, Term, Uuid, Version},
};

pub(super) const CURRENT_TMP: &str = "CURRENT.tmp";

/// What a device gives room in.
const DEVICE_BLOCK_BYTES: u64 = 4096;

/// What some edits that add and seal segments make a manifest longer by.
const MORE_EDITS_BYTES: u64 = 1 << 10;

/// Why an edit was not recorded.
#[derive(Debug)]
pub(super) enum EditError {
    /// There is no room for a larger manifest; nothing happened.
    NoSpace,
    /// Whether it was recorded is unknown.
    Failed(DiskError),
}

/// The manifest that edits are appended to.
pub(super) struct ManifestLog<R: Runtime> {
    file: FileOf<R>,
    pub(super) id: SegmentId,
    uuid: Uuid,
    node: Uuid,
    bytes: u64,
    at: u64,
    last_crc: u32,
    next_lsn: Lsn,
}

/// What reading a manifest gave.
pub(super) struct LoadedManifest {
    pub(super) state: ManifestState,
    /// Its newest edit, and where that ends.
    pub(super) newest: EditId,
    pub(super) end: u64,
    pub(super) torn: Option<Damage>,
    pub(super) accepted: Vec<Damage>,
}

impl<R: Runtime> ManifestLog<R> {
    /// Writes a new manifest with this state, durable but not yet pointed at.
    pub(super) async fn create(
        disk: &R::Disk,
        id: SegmentId,
        uuid: Uuid,
        node: Uuid,
        state: &ManifestState,
        bytes_min: u64,
    ) -> DiskResult<Self> {
        let name = segment_name(SegmentKind::Manifest, id);
        let frame = edit_frame(&state.snapshot(), Lsn(1));
        let bytes = file_bytes(frame.frame_bytes(SEGMENT_HEADER_BYTES as u64), bytes_min);
        let file = create_over(disk, &name).await?;
        file.allocate(bytes).await?;
        let header = SegmentHeader {
            kind: SegmentKind::Manifest,
            id,
            uuid,
            node,
            base_lsn: Lsn(1),
            previous: Uuid::default(),
            previous_crc: 0,
        };
        file.write_at(0, Bytes::copy_from_slice(&header.encode())).await?;
        let mut log = Self {
            file,
            id,
            uuid,
            node,
            bytes,
            at: SEGMENT_HEADER_BYTES as u64,
            last_crc: 0,
            next_lsn: Lsn(1),
        };
        if planted!("manifest_edit_after_rename") {
            point_current(disk, &log.current()).await?;
        }
        log.write(frame).await?;
        if !planted!("no_dir_sync_manifest") {
            disk.sync_dir("").await?;
        }
        Ok(log)
    }

    /// How an opened manifest names itself in `CURRENT`.
    pub(super) const fn current(&self) -> CurrentFile {
        CurrentFile { manifest: self.id, uuid: self.uuid, bytes: self.bytes }
    }

    /// Its newest edit, which is durable.
    pub(super) const fn newest(&self) -> EditId {
        EditId { manifest: self.id, lsn: Lsn(self.next_lsn.0 - 1) }
    }

    async fn write(&mut self, frame: FrameBuilder) -> DiskResult<()> {
        let built = frame.finish(Place {
            segment: self.id,
            seed: Seed::of(self.uuid),
            offset: self.at,
            // Every edit is synced before the next is begun.
            durable_lsn: Lsn(self.next_lsn.0 - 1),
            previous_crc: self.last_crc,
            edit: EditId::default(),
        });
        let end = self.at + built.bytes.len() as u64;
        assert!(end <= self.bytes, "an edit stays within its manifest");
        self.file.write_at(self.at, built.bytes).await?;
        let is_edit = self.next_lsn > Lsn(1);
        let skips = planted!("no_fsync_manifest") || (is_edit && planted!("edit_not_synced"));
        if !skips {
            self.file.sync().await?;
        }
        self.at = end;
        self.last_crc = built.header.crc;
        self.next_lsn = built.header.next_lsn();
        Ok(())
    }

    /// Records one atomic edit, durably. `state` is what it leads to: what a roll writes.
    pub(super) async fn append(
        &mut self,
        disk: &R::Disk,
        changes: &[Change],
        state: &ManifestState,
        next_uuid: Uuid,
    ) -> Result<(), EditError> {
        let frame = edit_frame(changes, self.next_lsn);
        if self.at + frame.frame_bytes(self.at) <= self.bytes {
            return self.write(frame).await.map_err(EditError::Failed);
        }
        mark!("journal_manifest_rolled");
        self.roll(disk, state, next_uuid).await
    }

    /// How much room going on in a new file takes until the old one is gone: that file, should some
    /// more edits come first, and what names it.
    pub(super) fn roll_bytes(&self, state: &ManifestState) -> u64 {
        let frame = edit_frame(&state.snapshot(), Lsn(1));
        let first = frame.frame_bytes(SEGMENT_HEADER_BYTES as u64) + MORE_EDITS_BYTES;
        file_bytes(first, self.next_bytes_min()) + DEVICE_BLOCK_BYTES
    }

    /// The least that the next file is long.
    fn next_bytes_min(&self) -> u64 {
        self.bytes.min(64 << 10)
    }

    /// Goes on in a new file that begins with `state`.
    async fn roll(
        &mut self,
        disk: &R::Disk,
        state: &ManifestState,
        uuid: Uuid,
    ) -> Result<(), EditError> {
        let id = self.id.next();
        // Until CURRENT is renamed nothing counts, so running out of room here is harmless.
        let harmless = |error: DiskError| match error.kind {
            DiskErrorKind::NoSpace => EditError::NoSpace,
            _ => EditError::Failed(error),
        };
        let made = Self::create(disk, id, uuid, self.node, state, self.next_bytes_min()).await;
        let next = match made {
            Ok(next) => next,
            Err(error) => {
                remove_quietly(disk, &segment_name(SegmentKind::Manifest, id)).await;
                return Err(harmless(error));
            }
        };
        write_current_tmp(disk, &next.current()).await.map_err(harmless)?;
        install_current(disk).await.map_err(EditError::Failed)?;
        let old = segment_name(SegmentKind::Manifest, self.id);
        *self = next;
        remove_quietly(disk, &old).await;
        Ok(())
    }
}

/// How long a manifest is that begins with a frame of so many bytes: three times that is for edits.
fn file_bytes(first: u64, bytes_min: u64) -> u64 {
    let needed = SEGMENT_HEADER_BYTES as u64 + 4 * first;
    needed.max(bytes_min).max(limits::MANIFEST_BYTES_MIN).next_multiple_of(DEVICE_BLOCK_BYTES)
}

/// An edit as a frame.
pub(super) fn edit_frame(changes: &[Change], first_lsn: Lsn) -> FrameBuilder {
    let mut frame = FrameBuilder::new(first_lsn, BytesMut::new());
    for change in changes {
        let value = change.encode();
        let pushed = frame.push(&Record {
            group: GroupId(0),
            kind: RecordKind::Edit,
            version: Version(frame.next_lsn().0),
            term: Term(0),
            expires_ms: None,
            origin: Origin::State,
            key: &[],
            value: &value,
        });
        // A change is some hundred bytes, a frame takes millions: only a manifest of a million
        // segments could get here, and that is beyond every limit we have.
        assert!(pushed.is_ok(), "an edit fits in a frame");
    }
    frame
}

/// Creates a file; one of that name that belongs to nothing is replaced.
pub(super) async fn create_over<D: Disk>(disk: &D, name: &str) -> DiskResult<D::File> {
    match disk.open(name, Open::Create).await {
        Err(error) if error.kind == DiskErrorKind::Exists => {
            disk.remove(name).await?;
            disk.open(name, Open::Create).await
        }
        other => other,
    }
}

/// Removes a file that belongs to nothing; when that fails, the next opening tries again.
pub(super) async fn remove_quietly<D: Disk>(disk: &D, name: &str) -> bool {
    match disk.remove(name).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "a file that belongs to nothing stays for now");
            false
        }
    }
}

/// Writes a small file of ours completely, so that it can be renamed to its name.
pub(super) async fn write_small<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> DiskResult<()> {
    let file = create_over(disk, name).await?;
    file.write_at(0, Bytes::copy_from_slice(bytes)).await?;
    if planted!("current_renamed_without_sync") {
        return Ok(());
    }
    file.sync().await
}

async fn write_current_tmp<D: Disk>(disk: &D, current: &CurrentFile) -> DiskResult<()> {
    write_small(disk, CURRENT_TMP, &current.encode()).await
}

async fn install_current<D: Disk>(disk: &D) -> DiskResult<()> {
    disk.rename(CURRENT_TMP, CURRENT).await?;
    if planted!("no_dir_sync_current") {
        return Ok(());
    }
    disk.sync_dir("").await
}

/// Makes a manifest the one that counts: the commit point of everything it says.
pub(super) async fn point_current<D: Disk>(disk: &D, current: &CurrentFile) -> DiskResult<()> {
    write_current_tmp(disk, current).await?;
    install_current(disk).await
}

/// Reads a small file whole, uncached.
pub(super) async fn read_small<D: Disk>(disk: &D, name: &str) -> DiskResult<Vec<u8>> {
    let file = disk.open(name, Open::Read).await?;
    file.read_at(0, vec![0; 2 * IDENTITY_BYTES], ReadMode::Uncached).await
}

/// Reads the manifest that `CURRENT` names.
pub(super) async fn load<D: Disk>(
    disk: &D,
    current: &CurrentFile,
    node: Uuid,
    accept_tail_loss: bool,
) -> Result<LoadedManifest, OpenError> {
    let name = segment_name(SegmentKind::Manifest, current.manifest);
    let unreadable = |why| OpenError::Unreadable { file: name.clone(), why };
    let file = match disk.open(&name, Open::Read).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            return Err(unreadable(FormatError::Truncated));
        }
        Err(error) => return Err(error.into()),
    };
    let len = file.len().await?.min(limits::SEGMENT_FILE_BYTES_MAX);
    let bytes = read_range(&file, 0, len, ReadMode::Uncached).await?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(FormatError::Newer { found }) => return Err(OpenError::Newer { file: name, found }),
        Err(why) => return Err(unreadable(why)),
    };
    if header.node != node {
        return Err(OpenError::OtherNode { file: name, found: header.node, ours: node });
    }
    let right = header.kind == SegmentKind::Manifest
        && header.id == current.manifest
        && header.uuid == current.uuid;
    if !right {
        return Err(unreadable(FormatError::Field("uuid")));
    }
    let (frames, torn, accepted) = conclude(&bytes, &header, accept_tail_loss, &name)?;
    let state = replay(&bytes, &frames).map_err(|error| match error {
        ReplayError::Format(why) => unreadable(why),
        ReplayError::Misfit(why) => OpenError::Contradiction { file: name.clone(), why },
    })?;
    let (end, next_lsn) =
        frames.last().map_or((0, Lsn(1)), |last| (last.end, last.header.next_lsn()));
    let newest = EditId { manifest: current.manifest, lsn: Lsn(next_lsn.0 - 1) };
    Ok(LoadedManifest { state, newest, end, torn, accepted })
}

pub(super) type Conclusion = (Vec<super::walk::FrameAt>, Option<Damage>, Vec<Damage>);

/// Torn, rot or ambiguous, as for a journal. But the first frame was durable before `CURRENT`
/// named the file, and rot cannot be accepted: what an edit said cannot be guessed.
pub(super) fn conclude(
    bytes: &[u8],
    header: &SegmentHeader,
    accept_tail_loss: bool,
    name: &str,
) -> Result<Conclusion, OpenError> {
    let start = Start {
        id: header.id,
        uuid: header.uuid,
        first_lsn: Some(Lsn(1)),
        previous_crc: Some(0),
        end: None,
    };
    let walk: Walk = walk(bytes, &start);
    let scan = Scanned {
        id: header.id,
        front: Front::Whole(*header),
        walk,
        blank: false,
        cut_short_bytes: 0,
    };
    let decision = decide(&[scan], Lsn(0));
    let frames = decision.kept.first().map(|kept| kept.frames.clone()).unwrap_or_default();
    let rot = decision.damages.iter().find(|damage| damage.verdict != Verdict::Ambiguous);
    if let Some(damage) = rot {
        return Err(OpenError::Unreadable { file: name.to_string(), why: damage.why });
    }
    if frames.is_empty() {
        return Err(OpenError::Unreadable { file: name.to_string(), why: FormatError::Checksum });
    }
    if !decision.damages.is_empty() && !accept_tail_loss {
        return Err(OpenError::Corrupt { damages: decision.damages });
    }
    Ok((frames, decision.torn, decision.damages))
}

#[derive(Debug)]
pub(super) enum ReplayError {
    Format(FormatError),
    Misfit(super::edits::Misfit),
}

/// Applies the edits of whole frames, in order.
pub(super) fn replay(
    bytes: &[u8],
    frames: &[super::walk::FrameAt],
) -> Result<ManifestState, ReplayError> {
    let mut state = ManifestState::default();
    for frame in frames {
        for record in records(frame.body(bytes)) {
            let (_, record) = record.map_err(ReplayError::Format)?;
            if record.kind != RecordKind::Edit {
                return Err(ReplayError::Format(FormatError::Field("kind")));
            }
            let change = Change::decode(record.value).map_err(ReplayError::Format)?;
            state.apply(&change).map_err(ReplayError::Misfit)?;
        }
    }
    Ok(state)
}

/// Whether a name in the root is one that this room makes.
pub(super) fn is_manifest_name(name: &str) -> bool {
    name.strip_prefix("MANIFEST-").is_some_and(is_number)
}
