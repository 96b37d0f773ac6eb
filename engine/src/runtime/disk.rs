//! Files, as the engine may see them: positions, owned buffers, and nothing implied.
//!
//! A disk is rooted at the node's data directory. Names are relative, separated by `/`, without
//! `.` or `..`; they are the engine's own and always short ASCII.
//!
//! What survives a crash, exactly:
//! - bytes for which [`File::sync`] returned survive; so does the length they needed;
//! - bytes not yet synced survive in part: any subset of their sectors, in any order, each with
//!   its old content, its new content or garbage;
//! - a created, renamed or removed name is certain only after [`Disk::sync_dir`] of its
//!   directory; until then either state may be found, also when the file itself was synced;
//! - a dropped future does not take back its operation: it may still happen.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use bytes::Bytes;
use core::{fmt, future::Future};

use crate::limits::NAME_BYTES_MAX;

/// What a disk operation answers.
pub type DiskResult<T> = Result<T, DiskError>;

/// Why a disk refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskErrorKind {
    /// There is no file or directory of that name.
    NotFound,
    /// There is one already.
    Exists,
    /// The device has no room left. Nothing of a refused write may be relied on.
    NoSpace,
    /// The operating system does not let us.
    Denied,
    /// Another process holds the lock.
    Locked,
    /// The name or an argument is not one this disk can take.
    Invalid,
    /// A sync of this file failed before; what it holds is no longer known.
    Poisoned,
    /// The device failed.
    Io,
}

/// A refusal: what was tried, on which name, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// Why.
    pub kind: DiskErrorKind,
    /// The operation.
    pub operation: &'static str,
    /// The file or directory; a door to real files gives the whole path.
    pub name: String,
    /// What the operating system said, for a person.
    pub detail: String,
}

impl DiskError {
    /// A refusal of `operation` on `name`.
    #[must_use]
    pub fn new(kind: DiskErrorKind, operation: &'static str, name: &str, detail: &str) -> Self {
        Self { kind, operation, name: name.to_string(), detail: detail.to_string() }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, operation, name, detail } = self;
        let why = match kind {
            DiskErrorKind::NotFound => "there is no such file",
            DiskErrorKind::Exists => "it exists already",
            DiskErrorKind::NoSpace => "the disk is full",
            DiskErrorKind::Denied => "permission denied",
            DiskErrorKind::Locked => "another process holds it",
            DiskErrorKind::Invalid => "not a valid name or argument",
            DiskErrorKind::Poisoned => "an earlier sync of it failed",
            DiskErrorKind::Io => "the device failed",
        };
        write!(f, "{operation} {name}: {why}")?;
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

impl core::error::Error for DiskError {}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to be read only: whatever would change it, or sync it, is `Denied`.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A new, empty file, to be read and written; refused with `Exists` when the name is taken.
    Create,
}

/// Whether a name is one a disk takes: printable ASCII, components divided by `/`, none of them
/// empty, `.` or `..`. The empty name is the root, which is a directory and nothing else; doors
/// allow it where a directory is meant.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        })
}

/// Whether a read may be answered from the operating system's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// From wherever it is quickest.
    Cached,
    /// From the device: after a failed sync the cache may hold what the disk does not. Recovery
    /// reads so.
    Uncached,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its last component.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use.
    pub free_bytes: u64,
    /// The device's size.
    pub total_bytes: u64,
}

/// A node's data directory.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// A held lock; dropping it, or the process's death, lets it go. What was under way on the disk
    /// by then ends first, so that the next holder sees nothing change.
    type Lock: Send + 'static;

    /// Opens or creates a file.
    fn open(&self, name: &str, how: Open) -> impl Future<Output = DiskResult<Self::File>> + Send;

    /// Makes a directory; one that exists already is fine. Parents must exist; `""` is the root
    /// itself and is made with its parents.
    fn create_dir(&self, name: &str) -> impl Future<Output = DiskResult<()>> + Send;

    /// Takes the exclusive lock of that name, or answers `Locked` at once. The lock's file is
    /// made when missing and otherwise left as it is; it is nobody's to rename or remove, since
    /// the lock is the file's and not the name's.
    fn lock(&self, name: &str) -> impl Future<Output = DiskResult<Self::Lock>> + Send;

    /// What a directory holds, in order of name.
    fn list(&self, dir: &str) -> impl Future<Output = DiskResult<Vec<Entry>>> + Send;

    /// Gives a file another name, replacing a file of that name in one step. Open handles stay
    /// valid.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = DiskResult<()>> + Send;

    /// Removes a file's name. Open handles stay valid.
    fn remove(&self, name: &str) -> impl Future<Output = DiskResult<()>> + Send;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> impl Future<Output = DiskResult<()>> + Send;

    /// How much room there is.
    fn space(&self) -> impl Future<Output = DiskResult<Space>> + Send;
}

/// An open file. Clones are the same open file. Operations take positions and owned buffers;
/// there is no cursor and no append.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: Clone + Send + Sync + 'static {
    /// Fills `buffer` from `offset` on and answers it, cut to what was there: a read across the
    /// end is short, one beyond it is empty. Sees every write that has returned.
    fn read_at(
        &self,
        offset: u64,
        buffer: Vec<u8>,
        mode: ReadMode,
    ) -> impl Future<Output = DiskResult<Vec<u8>>> + Send;

    /// Writes all of `bytes` at `offset`; the file grows when needed, with zeros between. On an
    /// error any part may have been written.
    fn write_at(&self, offset: u64, bytes: Bytes) -> impl Future<Output = DiskResult<()>> + Send;

    /// Writes zeros, on real blocks, from the present end up to `len`; does nothing when the file
    /// is as long already. After `allocate` and `sync`, writes within `len` need no new space.
    fn allocate(&self, len: u64) -> impl Future<Output = DiskResult<()>> + Send;

    /// The file's length in bytes.
    fn len(&self) -> impl Future<Output = DiskResult<u64>> + Send;

    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> impl Future<Output = DiskResult<()>> + Send;

    /// Makes every write that has returned durable. After one failure the file answers every
    /// later call with `Poisoned`.
    fn sync(&self) -> impl Future<Output = DiskResult<()>> + Send;
}
