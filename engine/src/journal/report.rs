//! What the journal tells its owner: options in, refusals and reports out.
//!
//! Every refusal names whose fault it is and what can be done. Losses that were accepted are
//! listed, never silent.
//!
//! Not here: how any of it is found (`verdict.rs`, `recovery.rs`).

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::{
    edits::Misfit,
    format::{FORMAT_VERSION, FormatError},
    identity::Owner,
    verdict::{Damage, Verdict},
};
use crate::{
    runtime::{DiskError, DiskErrorKind},
    types::{GroupId, Lsn, SegmentId, Uuid, Version},
};

/// How a journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The first segments' size; later ones have an eighth of all there is, up to the largest.
    pub first_segment_bytes: u64,
    /// The largest segment's size. Only a batch that does not fit gets a larger one, for itself.
    pub segment_bytes_max: u64,
    /// How many prepared segments wait for a rotation.
    pub spares: usize,
    /// Room on the device that is kept for what makes room; who may use how much of it: [`Claim`].
    ///
    /// [`Claim`]: super::Claim
    pub reserve_bytes: u64,
    /// The smallest manifest file.
    pub manifest_bytes: u64,
    /// Open although the last write is damaged and may have been acknowledged; it is cut.
    pub accept_tail_loss: bool,
    /// Open although durable data is damaged; what cannot be read is gone.
    pub accept_rot: bool,
    /// Whether the owner says which segments are settled ([`Journal::settle`]), as whoever keeps a
    /// replicated log in it must; without it a segment is settled when it is full.
    ///
    /// [`Journal::settle`]: super::Journal::settle
    pub settled_by_owner: bool,
    /// What damage that is found at opening does.
    pub damage: OnDamage,
    /// The member of a cluster that opens it; a new directory becomes its.
    pub owner: Option<Owner>,
}

/// What damage that is found at opening does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Opening is refused, unless the other options accept the loss: nobody else has the bytes.
    #[default]
    Refuse,
    /// Opening tells of it, at every opening until the segment is settled or dropped: the owner
    /// has others to ask. Only for journals that are settled by their owner.
    Report,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            first_segment_bytes: 1 << 20,
            segment_bytes_max: 64 << 20,
            spares: 1,
            reserve_bytes: 16 << 20,
            manifest_bytes: 64 << 10,
            accept_tail_loss: false,
            accept_rot: false,
            settled_by_owner: false,
            damage: OnDamage::Refuse,
            owner: None,
        }
    }
}

/// Whether an append waits for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Yes: what it answers survives a power loss.
    Now,
    /// No: a later sync takes it along.
    Later,
}

/// Why a directory could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The disk refused.
    Disk(DiskError),
    /// Another process has it open.
    Locked,
    /// The directory holds something that is not ours, and no store.
    Foreign {
        /// What was found.
        found: String,
    },
    /// The file that everything else is found through is missing, though data is there.
    NoCurrent {
        /// What was found without it.
        found: String,
    },
    /// A later version of this program wrote a file.
    Newer {
        /// The file.
        file: String,
        /// Its format version.
        found: u16,
    },
    /// A file belongs to another node.
    OtherNode {
        /// The file.
        file: String,
        /// The node it names.
        found: Uuid,
        /// Ours.
        ours: Uuid,
    },
    /// The directory belongs to another member, to one of another cluster, or to a lone store.
    OtherOwner {
        /// Whose it is.
        found: Option<Owner>,
        /// Who opens it.
        ours: Option<Owner>,
    },
    /// A file without which nothing can be found is damaged or missing.
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: FormatError,
    },
    /// The manifest's changes contradict each other.
    Contradiction {
        /// The manifest.
        file: String,
        /// How.
        why: Misfit,
    },
    /// Data is damaged; opening it would lose some, or might.
    Corrupt {
        /// Every damaged place.
        damages: Vec<Damage>,
    },
}

impl OpenError {
    /// Whether opening again without changing anything may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Locked => true,
            Self::Disk(error) => error.kind == DiskErrorKind::NoSpace,
            Self::Foreign { .. }
            | Self::NoCurrent { .. }
            | Self::Newer { .. }
            | Self::OtherNode { .. }
            | Self::OtherOwner { .. }
            | Self::Unreadable { .. }
            | Self::Contradiction { .. }
            | Self::Corrupt { .. } => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Locked => f.write_str("another process has this directory open; stop it first"),
            Self::Foreign { found } => write!(
                f,
                "not a store's directory: it holds `{found}`; name an empty or a new directory"
            ),
            Self::NoCurrent { found } => write!(
                f,
                "the file CURRENT is missing though `{found}` is there; restore it from a backup"
            ),
            Self::Newer { file, found } => write!(
                f,
                "{file} has format version {found}, this program knows {FORMAT_VERSION}; open it \
                 with the version that wrote it, or a later one"
            ),
            Self::OtherNode { file, found, ours } => write!(
                f,
                "{file} belongs to node {found}, this directory to {ours}; put it back where it \
                 came from"
            ),
            Self::OtherOwner { found, ours } => fmt_owners(f, *found, *ours),
            Self::Unreadable { file, why } => {
                write!(f, "{file} cannot be used: {why}; restore it from a backup or a peer")
            }
            Self::Contradiction { file, why } => write!(
                f,
                "{file} contradicts itself: it {}; restore it from a backup or a peer",
                why.0
            ),
            Self::Corrupt { damages } => fmt_damages(f, damages),
        }
    }
}

fn fmt_owners(
    f: &mut fmt::Formatter<'_>,
    found: Option<Owner>,
    ours: Option<Owner>,
) -> fmt::Result {
    f.write_str("this directory belongs to ")?;
    match found {
        Some(found) => write!(f, "{found}")?,
        None => f.write_str("a lone store")?,
    }
    match ours {
        Some(ours) => write!(
            f,
            ", and who opens it is {ours}; name that node's own directory, or correct the \
             cluster's name, its number of groups or the node's number in the configuration"
        ),
        None => f.write_str("; open it with `trilith server`, or name a lone store's directory"),
    }
}

fn fmt_damages(f: &mut fmt::Formatter<'_>, damages: &[Damage]) -> fmt::Result {
    write!(f, "{} damaged place(s), nothing was changed: ", damages.len())?;
    for damage in damages.iter().take(8) {
        write!(f, "{damage}; ")?;
    }
    if damages.len() > 8 {
        f.write_str("and more; ")?;
    }
    f.write_str("copy the directory away; then restore from a backup or a peer, or open it with ")?;
    let ambiguous = damages.iter().any(|damage| damage.verdict == Verdict::Ambiguous);
    let rot = damages.iter().any(|damage| damage.verdict != Verdict::Ambiguous);
    match (ambiguous, rot) {
        (true, true) => {
            f.write_str("accept_rot and accept_tail_loss to go on without what is lost")
        }
        (true, false) => f.write_str("accept_tail_loss to go on without the last write"),
        (false, _) => f.write_str("accept_rot to go on without what is lost"),
    }
}

impl core::error::Error for OpenError {}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        if error.kind == DiskErrorKind::Locked { Self::Locked } else { Self::Disk(error) }
    }
}

/// Why the journal refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The device failed a write or a sync. Whether the bytes are there is unknown; the journal
    /// has stopped for good.
    Failed(DiskError),
    /// It had stopped before.
    Stopped,
    /// There is no room for another segment. Nothing happened; it clears itself when there is
    /// room again. Frames that only delete may still be taken.
    NoSpace,
    /// A new file could not be made. Nothing happened; trying again is safe.
    NotPrepared(DiskError),
    /// The frame was not begun where the journal ends now: the caller's mistake; nothing happened.
    OutOfOrder {
        /// What the frame begins with.
        found: Lsn,
        /// What it should begin with.
        expected: Lsn,
    },
    /// The frame has no records: the caller's mistake; nothing happened.
    Empty,
    /// The edit contradicts the manifest: the caller's mistake; nothing happened.
    Misfit(Misfit),
}

impl JournalError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoSpace | Self::NotPrepared(_) => true,
            Self::Failed(_)
            | Self::Stopped
            | Self::OutOfOrder { .. }
            | Self::Empty
            | Self::Misfit(_) => false,
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the journal has stopped: {error}"),
            Self::Stopped => f.write_str("the journal has stopped after an earlier failure"),
            Self::NoSpace => {
                f.write_str("no room for another segment; free space, or delete and compact")
            }
            Self::NotPrepared(error) => write!(f, "no segment could be prepared: {error}"),
            Self::OutOfOrder { found, expected } => {
                write!(f, "a frame begins with LSN {found}, the journal goes on with {expected}")
            }
            Self::Empty => f.write_str("a frame without records"),
            Self::Misfit(why) => write!(f, "the edit {}", why.0),
        }
    }
}

impl core::error::Error for JournalError {}

/// Why a record could not be read. Not fatal: another replica may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The disk refused.
    Disk(DiskError),
    /// The segment is not part of this view.
    Unknown(SegmentId),
    /// The bytes are damaged.
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: FormatError,
    },
    /// The bytes are a whole record, but another one.
    Misplaced {
        /// The segment.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// Whose record it is.
        group: GroupId,
        /// Its version.
        version: Version,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Unknown(segment) => write!(f, "segment {:08x} is not open", segment.0),
            Self::Damaged { segment, offset, why } => {
                write!(f, "segment {:08x}, record at {offset}: {why}", segment.0)
            }
            Self::Misplaced { segment, offset, group, version } => write!(
                f,
                "segment {:08x}, at {offset}: a record of group {group}, version {version}, which \
                 does not belong there",
                segment.0
            ),
        }
    }
}

impl core::error::Error for ReadError {}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The directory.
    pub node: Uuid,
    /// The member of a cluster that it belongs to.
    pub owner: Option<Owner>,
    /// Whether the store was made just now.
    pub created: bool,
    /// Whether it had been closed in order.
    pub clean: bool,
    /// Segments whose hints were loaded.
    pub segments_hinted: u32,
    /// Segments that were walked.
    pub segments_walked: u32,
    /// Footers that were there and not usable; those segments were walked.
    pub hints_rejected: Vec<(SegmentId, FormatError)>,
    /// Segment headers that are damaged though nothing behind them is.
    pub headers_damaged: Vec<SegmentId>,
    /// Bytes of segments that were read.
    pub bytes_read: u64,
    /// A write that never completed and was cut; nobody had been told about it.
    pub torn: Option<Damage>,
    /// The same, in the manifest: an edit that never completed.
    pub torn_edit: Option<Damage>,
    /// Records that were written again, because nothing proved that they were durable.
    pub rewritten_records: u64,
    /// Losses that the options accepted.
    pub accepted: Vec<Damage>,
    /// With [`OnDamage::Report`]: what is damaged. The groups that a damage names have lost records
    /// of these versions; one that names nobody may have hit any group.
    pub damages: Vec<Damage>,
    /// With [`OnDamage::Report`]: whether everything that the tail has lost is named and had been
    /// durable. Otherwise any group may have lost its last records, acknowledged or not.
    pub tail_is_certain: bool,
    /// With [`OnDamage::Report`]: groups whose records in these settled segments cannot be told from
    /// the dead ones any more. Their indexes must come from elsewhere.
    pub distrusted: Vec<(SegmentId, Vec<GroupId>)>,
    /// Files that belonged to nothing and were removed.
    pub orphans_removed: u32,
    /// The highest LSN.
    pub last_lsn: Lsn,
}
