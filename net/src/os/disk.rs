//! Real files for a thread that must not wait: the files of the embedded store's door, with every
//! call that may wait for the device moved to tokio's blocking threads.
//!
//! | call | where, and why |
//! | --- | --- |
//! | cached read, small | on the core's thread if the bytes are in memory, asked for with `RWF_NOWAIT`; a trip to another thread would cost ten times the read |
//! | write, small | on the core's thread: it copies into the cache. It waits only when the kernel throttles a writer who is far ahead of the device, and a journal that syncs what it writes never is |
//! | length | on the core's thread: the kernel has it in memory |
//! | everything else | elsewhere: sync, allocate, uncached and large reads, whatever touches a directory |
//!
//! A future that is dropped while its call is elsewhere leaves the call to finish: the contract
//! says so. A write that lands after the next owner of the directory has looked would be the end
//! of both, so a call elsewhere holds the locks that were held when it was made, and a dropped
//! lock is let go when the last of these calls has ended.
//!
//! Not here: what the calls mean (`trilith_engine::embedded::os`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::runtime;
use trilith_engine::{
    embedded::os::{NativeDisk, NativeFile, NativeLock},
    runtime::{Disk, DiskError, DiskErrorKind, DiskResult, Entry, File, Open, ReadMode, Space},
};

/// Reads and writes up to this size may happen on the core's thread: copying that much takes about
/// as long as the trip to another thread and back.
const DIRECT_BYTES_MAX: usize = 128 << 10;

/// A directory of the machine.
#[derive(Clone, Debug)]
pub struct OsDisk {
    files: NativeDisk,
    elsewhere: Elsewhere,
}

/// An open file; a clone is the same open file.
#[derive(Clone, Debug)]
pub struct OsFile {
    file: NativeFile,
    elsewhere: Elsewhere,
}

/// A held lock. Dropping it lets it go as soon as no call made under it is under way any more.
#[derive(Debug)]
pub struct OsLock {
    _lock: Arc<NativeLock>,
}

/// The threads that may wait.
#[derive(Clone, Debug)]
struct Elsewhere {
    handle: runtime::Handle,
    /// The locks held through this disk: one, as a rule.
    locks: Arc<Mutex<Vec<Weak<NativeLock>>>>,
}

impl Elsewhere {
    fn held(&self) -> Vec<Arc<NativeLock>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.iter().filter_map(Weak::upgrade).collect()
    }

    fn hold(&self, lock: NativeLock) -> OsLock {
        let lock = Arc::new(lock);
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|lock| lock.strong_count() > 0);
        locks.push(Arc::downgrade(&lock));
        OsLock { _lock: lock }
    }

    /// Runs a call on a thread that may wait.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce() -> DiskResult<T> + Send + 'static,
    ) -> DiskResult<T> {
        let held = self.held();
        let call = move || {
            let answer = call();
            drop(held);
            answer
        };
        match self.handle.spawn_blocking(call).await {
            Ok(answer) => answer,
            // The core is being torn down, or the call panicked: what it did is not known.
            Err(lost) => {
                let path = path.to_string_lossy();
                Err(DiskError::new(DiskErrorKind::Io, operation, &path, &lost.to_string()))
            }
        }
    }
}

impl OsDisk {
    pub(super) fn new(root: impl Into<PathBuf>, handle: runtime::Handle) -> Self {
        Self {
            files: NativeDisk::new(root),
            elsewhere: Elsewhere { handle, locks: Arc::default() },
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&NativeDisk) -> DiskResult<T> + Send + 'static,
    ) -> DiskResult<T> {
        let files = self.files.clone();
        self.elsewhere.run(operation, self.files.root(), move || call(&files)).await
    }
}

impl Disk for OsDisk {
    type File = OsFile;
    type Lock = OsLock;

    async fn open(&self, name: &str, how: Open) -> DiskResult<OsFile> {
        let name = name.to_owned();
        let file = self.run("open", move |files| files.blocking_open(&name, how)).await?;
        Ok(OsFile { file, elsewhere: self.elsewhere.clone() })
    }

    async fn create_dir(&self, name: &str) -> DiskResult<()> {
        let name = name.to_owned();
        self.run("create directory", move |files| files.blocking_create_dir(&name)).await
    }

    async fn lock(&self, name: &str) -> DiskResult<OsLock> {
        let name = name.to_owned();
        let lock = self.run("lock", move |files| files.blocking_lock(&name)).await?;
        Ok(self.elsewhere.hold(lock))
    }

    async fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        let dir = dir.to_owned();
        self.run("list", move |files| files.blocking_list(&dir)).await
    }

    async fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run("rename", move |files| files.blocking_rename(&from, &to)).await
    }

    async fn remove(&self, name: &str) -> DiskResult<()> {
        let name = name.to_owned();
        self.run("remove", move |files| files.blocking_remove(&name)).await
    }

    async fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        let dir = dir.to_owned();
        self.run("sync directory", move |files| files.blocking_sync_dir(&dir)).await
    }

    async fn space(&self) -> DiskResult<Space> {
        self.run("measure", NativeDisk::blocking_space).await
    }
}

impl OsFile {
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&NativeFile) -> DiskResult<T> + Send + 'static,
    ) -> DiskResult<T> {
        let file = self.file.clone();
        self.elsewhere.run(operation, self.file.path(), move || call(&file)).await
    }
}

impl File for OsFile {
    async fn read_at(
        &self,
        offset: u64,
        mut buffer: Vec<u8>,
        mode: ReadMode,
    ) -> DiskResult<Vec<u8>> {
        if mode == ReadMode::Cached
            && buffer.len() <= DIRECT_BYTES_MAX
            && self.file.try_read_at(offset, &mut buffer)?
        {
            return Ok(buffer);
        }
        self.run("read", move |file| file.blocking_read_at(offset, buffer, mode)).await
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> DiskResult<()> {
        if bytes.len() <= DIRECT_BYTES_MAX {
            return self.file.blocking_write_at(offset, &bytes);
        }
        self.run("write", move |file| file.blocking_write_at(offset, &bytes)).await
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        self.run("allocate", move |file| file.blocking_allocate(len)).await
    }

    async fn len(&self) -> DiskResult<u64> {
        self.file.blocking_len()
    }

    async fn set_len(&self, len: u64) -> DiskResult<()> {
        self.run("set length of", move |file| file.blocking_set_len(len)).await
    }

    async fn sync(&self) -> DiskResult<()> {
        self.run("sync", NativeFile::blocking_sync).await
    }
}
