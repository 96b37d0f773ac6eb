//! Real files under one directory: what the disk's contract means in system calls.
//!
//! | contract | here |
//! | --- | --- |
//! | a read across the end is short | `pread` until the buffer is full or the file ends |
//! | uncached reads come from the device | a second, direct (`O_DIRECT`) open of the same file for that read; where the file system has none, the range is dropped from the cache first |
//! | `allocate` puts zeros on real blocks | zeros are written; `fallocate` would leave unwritten extents, and the first write into each would change metadata, which the commit path then waits for |
//! | a synced byte survives | `fdatasync`, which covers the length that the bytes need; `fsync` after `set_len` |
//! | after a failed sync: `Poisoned` | a flag on the open file; never a retry: the kernel has marked the lost pages clean, and a second `fsync` would lie |
//! | names are durable after `sync_dir` | `fsync` of the directory; a made root syncs its own parents, for which the engine has no name |
//! | a lock dies with its process | `flock` on an open file |
//!
//! Everything here blocks. [`NativeDisk`] and [`NativeFile`] implement the traits with futures
//! that are ready at their first poll; the `blocking_` methods are for a door that moves slow
//! calls elsewhere.
//!
//! An error carries the whole path and the system's own words: a person must be able to act on it.
//!
//! Not here: the simulated disk (`sim`), which is held to the same contract suite.

#![expect(clippy::disallowed_methods, reason = "a door: this is where files come in")]

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use bytes::Bytes;
use core::sync::atomic::{AtomicBool, Ordering};
use std::{
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::runtime::{
    Disk, DiskError, DiskErrorKind, DiskResult, Entry, File, Open, ReadMode, Space, is_valid_name,
};

/// Zeros are written in pieces of this size. Linux keeps what one call wrote as one folio, and every
/// later small write into a folio walks all its blocks: with pieces of 1 MiB filling took ten times
/// the processor time, and each commit half a microsecond more.
const ZEROS_BYTES: usize = 32 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// No file reaches this far, and sums with it do not overflow.
const OFFSET_MAX: u64 = 1 << 62;

/// What every device's direct reads are aligned to. Devices ask for 512 or 4096.
const DIRECT_ALIGN: usize = 4096;

/// How much a direct read takes at once: the device is at its full speed, and the window stays in
/// the processor's cache. A multiple of [`DIRECT_ALIGN`].
const DIRECT_WINDOW_BYTES: usize = 1 << 20;

/// A directory of the machine.
#[derive(Clone, Debug)]
pub struct NativeDisk {
    root: Arc<Path>,
}

/// An open file; a clone is the same open file.
#[derive(Clone, Debug)]
pub struct NativeFile(Arc<OpenFile>);

#[derive(Debug)]
struct OpenFile {
    file: fs::File,
    /// Where it was opened. For messages: the file may have another name by now.
    path: PathBuf,
    is_writable: bool,
    is_poisoned: AtomicBool,
    /// Its length was set since the last sync, which `fdatasync` may think unimportant.
    has_new_len: AtomicBool,
}

/// A held lock. Dropping it lets it go, and so does the death of the process.
#[derive(Debug)]
pub struct NativeLock {
    _file: fs::File,
}

// ---------------------------------------------------------------- names and errors

/// What an operating system's refusal means to the engine.
fn kind_of(error: &io::Error) -> DiskErrorKind {
    use rustix::io::Errno;
    let Some(errno) = Errno::from_io_error(error) else {
        return match error.kind() {
            io::ErrorKind::NotFound => DiskErrorKind::NotFound,
            io::ErrorKind::InvalidInput => DiskErrorKind::Invalid,
            _ => DiskErrorKind::Io,
        };
    };
    match errno {
        Errno::NOENT | Errno::NOTDIR => DiskErrorKind::NotFound,
        Errno::EXIST | Errno::NOTEMPTY => DiskErrorKind::Exists,
        // A file larger than its file system or the process's limit allows: no room, too.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => DiskErrorKind::NoSpace,
        Errno::ACCESS
        | Errno::PERM
        | Errno::ROFS
        | Errno::MFILE
        | Errno::NFILE
        | Errno::BUSY
        | Errno::TXTBSY
        | Errno::NOLCK
        | Errno::OPNOTSUPP => DiskErrorKind::Denied,
        Errno::INVAL | Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::XDEV => {
            DiskErrorKind::Invalid
        }
        _ => DiskErrorKind::Io,
    }
}

#[cold]
fn refusal(operation: &'static str, path: &Path, error: &io::Error) -> DiskError {
    refusal_of(kind_of(error), operation, path, &error.to_string())
}

/// A refusal of what is done to a directory. To the system it is all the same whether the name
/// itself or one above it is a file.
#[cold]
fn refusal_of_dir(operation: &'static str, path: &Path, error: &io::Error) -> DiskError {
    let is_file = error.kind() == io::ErrorKind::NotADirectory && path.symlink_metadata().is_ok();
    let kind = if is_file { DiskErrorKind::Invalid } else { kind_of(error) };
    refusal_of(kind, operation, path, &error.to_string())
}

#[cold]
fn refusal_of(
    kind: DiskErrorKind,
    operation: &'static str,
    path: &Path,
    detail: &str,
) -> DiskError {
    DiskError::new(kind, operation, &path.to_string_lossy(), detail)
}

// ---------------------------------------------------------------- the directory

impl NativeDisk {
    /// The disk rooted at a directory, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        // The empty path is no directory to the system.
        Self { root: if root.as_os_str().is_empty() { Path::new(".").into() } else { root.into() } }
    }

    /// Where it is rooted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file.
    fn path_of(&self, operation: &'static str, name: &str) -> DiskResult<PathBuf> {
        let path = self.root.join(name);
        if is_valid_name(name) {
            return Ok(path);
        }
        let detail = "a name is short, relative, ASCII, without `.` or `..`";
        Err(DiskError::new(DiskErrorKind::Invalid, operation, name, detail))
    }

    /// The path of a directory; `""` is the root.
    fn dir_of(&self, operation: &'static str, name: &str) -> DiskResult<PathBuf> {
        if name.is_empty() { Ok(self.root.to_path_buf()) } else { self.path_of(operation, name) }
    }

    /// [`Disk::open`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_open(&self, name: &str, how: Open) -> DiskResult<NativeFile> {
        let operation = match how {
            Open::Read | Open::Write => "open",
            Open::Create => "create",
        };
        let path = self.path_of(operation, name)?;
        let refused = |error: io::Error| refusal(operation, &path, &error);
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => _ = options.write(true),
            Open::Create => _ = options.write(true).create_new(true),
        }
        // Somebody's named pipe in our directory would block the open for ever.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(&path).map_err(refused)?;
        // A directory can be opened for reading, and would fail at the first read only.
        if how != Open::Create && !file.metadata().map_err(refused)?.is_file() {
            return Err(refusal_of(DiskErrorKind::Invalid, operation, &path, "not a regular file"));
        }
        Ok(NativeFile(Arc::new(OpenFile {
            file,
            path,
            is_writable: how != Open::Read,
            is_poisoned: AtomicBool::new(false),
            has_new_len: AtomicBool::new(false),
        })))
    }

    /// [`Disk::create_dir`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_create_dir(&self, name: &str) -> DiskResult<()> {
        let path = self.dir_of("create directory", name)?;
        let made = if name.is_empty() { make_root(&path) } else { fs::create_dir(&path) };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map_err(|error| refusal("create directory", &path, &error)),
        }
    }

    /// [`Disk::lock`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_lock(&self, name: &str) -> DiskResult<NativeLock> {
        let path = self.path_of("lock", name)?;
        let refused = |error: io::Error| refusal("lock", &path, &error);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(NativeLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(refusal_of(DiskErrorKind::Locked, "lock", &path, &holder_of(&file)))
            }
            Err(fs::TryLockError::Error(error)) => Err(refused(error)),
        }
    }

    /// [`Disk::list`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        let path = self.dir_of("list", dir)?;
        let refused = |error: io::Error| refusal_of_dir("list", &path, &error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let kind = entry.file_type().map_err(refused)?;
            // A directory moved to another volume and linked back is still a directory.
            let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_dir });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// [`Disk::rename`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let (old, new) = (self.path_of("rename", from)?, self.path_of("rename", to)?);
        let both = || PathBuf::from(format!("{} to {}", old.display(), new.display()));
        if old.is_dir() || (new.is_dir() && old.symlink_metadata().is_ok()) {
            return Err(refusal_of(DiskErrorKind::Invalid, "rename", &both(), "a directory"));
        }
        fs::rename(&old, &new).map_err(|error| refusal("rename", &both(), &error))
    }

    /// [`Disk::remove`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_remove(&self, name: &str) -> DiskResult<()> {
        let path = self.path_of("remove", name)?;
        fs::remove_file(&path).map_err(|error| refusal("remove", &path, &error))
    }

    /// [`Disk::sync_dir`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_sync_dir(&self, dir: &str) -> DiskResult<()> {
        let path = self.dir_of("sync directory", dir)?;
        sync_dir(&path).map_err(|error| refusal_of_dir("sync directory", &path, &error))
    }

    /// [`Disk::space`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_space(&self) -> DiskResult<Space> {
        // A root that is still to be made will have the room of the directory it is made in.
        let mut place: &Path = &self.root;
        loop {
            match rustix::fs::statvfs(place) {
                Ok(of) => return Ok(space_of(&of)),
                Err(rustix::io::Errno::NOENT) if parent_of(place) != place => {
                    place = parent_of(place);
                }
                Err(error) => return Err(refusal("measure", &self.root, &error.into())),
            }
        }
    }
}

fn space_of(of: &rustix::fs::StatVfs) -> Space {
    Space {
        free_bytes: of.f_bavail.saturating_mul(of.f_frsize),
        total_bytes: of.f_blocks.saturating_mul(of.f_frsize),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed())
        .open(path)?
        .sync_all()
}

/// Makes a directory with its parents, each durable in its own parent: a data directory that a
/// power loss takes away takes everything synced in it along.
fn make_root(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_dir(parent_of(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent_of(path) != path => {
            make_root(parent_of(path))?;
            fs::create_dir(path)?;
            sync_dir(parent_of(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The directory a path is in; the process's own for a path of one part, and for itself.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        None => path,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Who holds a file's lock, as far as the system tells. Only a hint, for a person.
fn holder_of(file: &fs::File) -> String {
    use std::os::unix::fs::MetadataExt;
    let (Ok(of), Ok(locks)) = (file.metadata(), fs::read_to_string("/proc/locks")) else {
        return String::new();
    };
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:12345 0 EOF`
    let inode = format!(":{}", of.ino());
    let lines = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.get(1) == Some(&"FLOCK"))
        .find(|words| words.get(5).is_some_and(|file| file.ends_with(&inode)))
        .and_then(|words| words.get(4).map(|id| format!("process {id}")))
        .unwrap_or_default()
}

impl Disk for NativeDisk {
    type File = NativeFile;
    type Lock = NativeLock;

    async fn open(&self, name: &str, how: Open) -> DiskResult<NativeFile> {
        self.blocking_open(name, how)
    }

    async fn create_dir(&self, name: &str) -> DiskResult<()> {
        self.blocking_create_dir(name)
    }

    async fn lock(&self, name: &str) -> DiskResult<NativeLock> {
        self.blocking_lock(name)
    }

    async fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        self.blocking_list(dir)
    }

    async fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        self.blocking_rename(from, to)
    }

    async fn remove(&self, name: &str) -> DiskResult<()> {
        self.blocking_remove(name)
    }

    async fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.blocking_sync_dir(dir)
    }

    async fn space(&self) -> DiskResult<Space> {
        self.blocking_space()
    }
}

// ---------------------------------------------------------------- the file

impl NativeFile {
    /// Refuses everything once a sync has failed.
    #[inline]
    fn sound(&self, operation: &'static str) -> DiskResult<&fs::File> {
        if self.0.is_poisoned.load(Ordering::Acquire) {
            return Err(refusal_of(DiskErrorKind::Poisoned, operation, &self.0.path, ""));
        }
        Ok(&self.0.file)
    }

    /// Refuses also what was opened to be read.
    #[inline]
    fn writable(&self, operation: &'static str) -> DiskResult<&fs::File> {
        let file = self.sound(operation)?;
        if !self.0.is_writable {
            let detail = "opened to be read";
            return Err(refusal_of(DiskErrorKind::Denied, operation, &self.0.path, detail));
        }
        Ok(file)
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    #[cold]
    fn refused(&self, operation: &'static str, error: &io::Error) -> DiskError {
        refusal(operation, &self.0.path, error)
    }

    /// [`File::read_at`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    #[inline]
    pub fn blocking_read_at(
        &self,
        offset: u64,
        mut buffer: Vec<u8>,
        mode: ReadMode,
    ) -> DiskResult<Vec<u8>> {
        let file = self.sound("read")?;
        if offset > OFFSET_MAX {
            // Beyond the end of every file; the system would call it a bad argument.
            buffer.clear();
            return Ok(buffer);
        }
        let read = match mode {
            ReadMode::Cached => read_full(file, offset, &mut buffer),
            ReadMode::Uncached => read_uncached(file, offset, &mut buffer),
        };
        buffer.truncate(read.map_err(|error| self.refused("read", &error))?);
        Ok(buffer)
    }

    /// [`File::read_at`] as far as it goes without waiting for the device: for a door whose thread
    /// has other things to do. Answers whether that was all there is; otherwise the buffer is as
    /// long as before, for a reading that may wait.
    ///
    /// # Errors
    /// As the trait says.
    pub fn try_read_at(&self, offset: u64, buffer: &mut Vec<u8>) -> DiskResult<bool> {
        let file = self.sound("read")?;
        let read = if offset > OFFSET_MAX { Some(0) } else { read_present(file, offset, buffer) };
        if let Some(read) = read {
            buffer.truncate(read);
        }
        Ok(read.is_some())
    }

    /// [`File::write_at`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_write_at(&self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        let file = self.writable("write")?;
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > i64::MAX as u64) {
            let detail = "beyond the largest file";
            return Err(refusal_of(DiskErrorKind::Invalid, "write", &self.0.path, detail));
        }
        file.write_all_at(bytes, offset).map_err(|error| self.refused("write", &error))
    }

    /// [`File::allocate`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_allocate(&self, len: u64) -> DiskResult<()> {
        let file = self.writable("allocate")?;
        let refused = |error: &io::Error| self.refused("allocate", error);
        let end = file.metadata().map_err(|error| refused(&error))?.len();
        if end >= len {
            return Ok(());
        }
        // Asked first: filling the device to the brim before being refused would take the room
        // from everybody else on it.
        let room = rustix::fs::fstatvfs(file).map_err(|error| refused(&error.into()))?;
        let free = space_of(&room).free_bytes;
        if len - end > free {
            let detail = format!("{} more bytes are needed, {free} are free", len - end);
            let kind = DiskErrorKind::NoSpace;
            return Err(refusal_of(kind, "allocate", &self.0.path, &detail));
        }
        write_zeros(file, end, len).map_err(|error| {
            // What was written so far serves nobody, and the device is short of it.
            let _best_effort = file.set_len(end);
            refused(&error)
        })
    }

    /// [`File::len`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_len(&self) -> DiskResult<u64> {
        let metadata = self.sound("measure")?.metadata();
        metadata.map(|of| of.len()).map_err(|error| self.refused("measure", &error))
    }

    /// [`File::set_len`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_set_len(&self, len: u64) -> DiskResult<()> {
        let file = self.writable("set length of")?;
        file.set_len(len).map_err(|error| self.refused("set length of", &error))?;
        self.0.has_new_len.store(true, Ordering::Release);
        Ok(())
    }

    /// [`File::sync`], on this thread.
    ///
    /// # Errors
    /// As the trait says.
    pub fn blocking_sync(&self) -> DiskResult<()> {
        let file = self.writable("sync")?;
        let has_new_len = self.0.has_new_len.swap(false, Ordering::AcqRel);
        let synced = if has_new_len { file.sync_all() } else { file.sync_data() };
        synced.map_err(|error| {
            self.0.is_poisoned.store(true, Ordering::Release);
            self.refused("sync", &error)
        })
    }
}

/// Writes zeros from one position to another.
fn write_zeros(file: &fs::File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        // To the next multiple first: the pieces after it are aligned.
        let piece = (ZEROS_BYTES as u64 - from % ZEROS_BYTES as u64).min(to - from);
        let zeros = usize::try_from(piece).map_or(&ZEROS[..], |piece| &ZEROS[..piece]);
        file.write_all_at(zeros, from)?;
        from += piece;
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; answers how much that was.
#[inline]
fn read_full(file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads until the buffer is full or the file ends, if all of it is in memory.
#[cfg(target_os = "linux")]
fn read_present(file: &fs::File, offset: u64, buffer: &mut [u8]) -> Option<usize> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut done = 0;
    while done < buffer.len() {
        let mut rest = [io::IoSliceMut::new(&mut buffer[done..])];
        match preadv2(file, &mut rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            // Not in memory, or a file system that cannot tell; an error shows again in the
            // reading that waits.
            Err(_) => return None,
        }
    }
    Some(done)
}

#[cfg(not(target_os = "linux"))]
fn read_present(_file: &fs::File, _offset: u64, _buffer: &mut [u8]) -> Option<usize> {
    None
}

/// Reads what the device holds. The direct way does not only pass the cache by, it also leaves it
/// as it is: scrubbing a store does not make its readers slow.
fn read_uncached(file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let direct = open_direct(file);
    let done = direct.map_or(0, |direct| read_direct(&direct, offset, buffer).unwrap_or(0));
    // What is missing now lies beyond the end, or the direct way could not serve it: then the
    // ordinary one does, or says why not.
    let (offset, rest) = (offset + done as u64, &mut buffer[done..]);
    if rest.is_empty() {
        return Ok(done);
    }
    drop_cached(file, offset, rest.len());
    Ok(done + read_full(file, offset, rest)?)
}

/// The same file once more, past the cache. By way of the descriptor and not of the name: the
/// name may belong to another file by now.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_direct(file: &fs::File) -> Option<fs::File> {
    use std::os::fd::AsRawFd;
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open_direct(_file: &fs::File) -> Option<fs::File> {
    None
}

/// A direct read: position, length and memory are aligned, so it goes through a buffer of its own,
/// window by window: recovery reads whole segments, and memory touched for the first time costs
/// more than the copy.
fn read_direct(direct: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let lead = usize::try_from(offset % DIRECT_ALIGN as u64).unwrap_or(0);
    let whole = (lead + buffer.len()).next_multiple_of(DIRECT_ALIGN);
    let window = whole.min(DIRECT_WINDOW_BYTES);
    let mut room = vec![0; window + DIRECT_ALIGN];
    let start = room.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
    let aligned = &mut room[start..start + window];
    let (mut done, mut skip) = (0, lead);
    while done < buffer.len() {
        let at = offset + done as u64 - skip as u64;
        let wanted = window.min(whole - (lead + done - skip));
        let read = read_window(direct, at, &mut aligned[..wanted])?;
        let fresh = read.saturating_sub(skip).min(buffer.len() - done);
        buffer[done..done + fresh].copy_from_slice(&aligned[skip..skip + fresh]);
        done += fresh;
        skip = 0;
        // Only at the end of the file may a direct read be short.
        if read < wanted {
            break;
        }
    }
    Ok(done)
}

/// Fills an aligned window from an aligned place, as far as the file goes.
fn read_window(direct: &fs::File, at: u64, window: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < window.len() {
        match direct.read_at(&mut window[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) if read % DIRECT_ALIGN == 0 => done += read,
            // Not a multiple: the end of the file.
            Ok(read) => return Ok(done + read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Asks the system to forget the clean pages of a range; best effort.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_cached(file: &fs::File, offset: u64, len: usize) {
    // Whole pages: those that a range covers in part are kept.
    let from = offset - offset % DIRECT_ALIGN as u64;
    let to = (offset + len as u64).next_multiple_of(DIRECT_ALIGN as u64);
    let len = core::num::NonZeroU64::new(to - from);
    let _best_effort = rustix::fs::fadvise(file, from, len, rustix::fs::Advice::DontNeed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn drop_cached(_file: &fs::File, _offset: u64, _len: usize) {}

impl File for NativeFile {
    #[inline]
    async fn read_at(&self, offset: u64, buffer: Vec<u8>, mode: ReadMode) -> DiskResult<Vec<u8>> {
        self.blocking_read_at(offset, buffer, mode)
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> DiskResult<()> {
        self.blocking_write_at(offset, &bytes)
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        self.blocking_allocate(len)
    }

    async fn len(&self) -> DiskResult<u64> {
        self.blocking_len()
    }

    async fn set_len(&self, len: u64) -> DiskResult<()> {
        self.blocking_set_len(len)
    }

    async fn sync(&self) -> DiskResult<()> {
        self.blocking_sync()
    }
}
