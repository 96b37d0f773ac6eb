//! What can be done to a disk on purpose, and the count of what was.

use std::{collections::BTreeMap, fmt};

/// Where a power loss may leave garbage instead of old or new content.
///
/// A sector that held synced bytes other than zero is old or new afterwards, never garbage: that
/// much we ask of a device (see the essay of [`super`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Garbage {
    /// Nowhere.
    Never,
    /// In sectors beyond the synced length: blocks given to the file, whose first content never
    /// reached them.
    #[default]
    Unwritten,
    /// There, and in sectors whose synced content is zeros.
    Zeros,
}

/// Chances of faults, each in a million and drawn from the platter's own luck; zero draws nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read fails; the next may succeed.
    pub read_error: u32,
    /// A read answers one flipped bit; the medium is fine.
    pub read_flip: u32,
    /// A read answers, for one sector, what it held before it was last synced.
    pub read_stale: u32,
    /// A write fails, after any part of it was done.
    pub write_error: u32,
    /// A write is refused for lack of room, after any part of it was done.
    pub write_no_space: u32,
    /// A sync fails; of the unsynced sectors any subset was written, and the rest is forgotten
    /// while the cache goes on showing it.
    pub sync_error: u32,
    /// A sync succeeds but one sector never reached the medium.
    pub phantom_write: u32,
    /// A sync succeeds but one sector reached the medium at another place.
    pub misdirected_write: u32,
    /// A sync of a directory fails; nothing became certain.
    pub sync_dir_error: u32,
    /// A sector goes bad while it is written: reads of it fail until it is written again.
    pub latent_error: u32,
}

/// One fault at one operation, planned ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The power goes in the middle of the operation: a write is done but not synced, a sync is
    /// not done; everything later fails until [`super::Platter::power_loss`].
    Crash,
    /// The operation fails.
    Error,
    /// The operation is refused for lack of room.
    NoSpace,
    /// One sector of this sync never reaches the medium.
    Phantom,
    /// One sector of this sync reaches the medium elsewhere.
    Misdirect,
}

/// What really happened, for the count of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it; Display says it again for people")]
pub enum Happened {
    PowerLoss,
    ProcessDeath,
    CrashInOperation,
    SectorLost,
    SectorKept,
    SectorBetween,
    SectorGarbage,
    LengthLost,
    NameLost,
    NameKept,
    OrphanLost,
    ReadError,
    ReadFlip,
    ReadStale,
    WriteError,
    NoSpace,
    SyncError,
    SyncErrorDroppedPages,
    SyncDirError,
    PhantomWrite,
    MisdirectedWrite,
    LatentError,
    Rot,
    Zeroed,
    FileLost,
    FileCut,
    Misplaced,
    CacheEvicted,
    Wiped,
    Swapped,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerLoss => "power loss",
            Self::ProcessDeath => "process death",
            Self::CrashInOperation => "crash inside an operation",
            Self::SectorLost => "unsynced sector lost",
            Self::SectorKept => "unsynced sector kept",
            Self::SectorBetween => "unsynced sector kept in an earlier version",
            Self::SectorGarbage => "unsynced sector left as garbage",
            Self::LengthLost => "unsynced length lost",
            Self::NameLost => "unsynced name change lost",
            Self::NameKept => "unsynced name change kept",
            Self::OrphanLost => "name lost with its directory",
            Self::ReadError => "read error",
            Self::ReadFlip => "bit flipped while reading",
            Self::ReadStale => "stale sector read",
            Self::WriteError => "write error",
            Self::NoSpace => "no space",
            Self::SyncError => "sync error",
            Self::SyncErrorDroppedPages => "sync error that dropped pages",
            Self::SyncDirError => "directory sync error",
            Self::PhantomWrite => "phantom write",
            Self::MisdirectedWrite => "misdirected write",
            Self::LatentError => "latent sector error",
            Self::Rot => "bit rot",
            Self::Zeroed => "sector zeroed",
            Self::FileLost => "file lost",
            Self::FileCut => "file cut",
            Self::Misplaced => "sectors misplaced",
            Self::CacheEvicted => "cache evicted",
            Self::Wiped => "disk wiped",
            Self::Swapped => "disk swapped",
        })
    }
}

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes(BTreeMap<Happened, u64>);

impl Probes {
    pub(super) fn hit(&mut self, what: Happened) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often this happened.
    #[must_use]
    pub fn count(&self, what: Happened) -> u64 {
        self.0.get(&what).copied().unwrap_or_default()
    }

    /// Everything that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Happened, u64)> + '_ {
        self.0.iter().map(|(what, count)| (*what, *count))
    }
}
