//! The disk: our platter, with madsim's time between asking and having.
//!
//! A write reaches the cache when it is asked for and is answered later; a sync takes effect when
//! it is answered. So a death in between leaves a write that was never acknowledged and a sync
//! that never happened.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::runtime::{
    Clock as _, Disk, DiskResult, Entry, File, Open, ReadMode, Rng as _, Space,
};
use trilith_sim::{
    luck::Luck,
    platter::{FileId, LockId},
};

use super::{MadClock, SharedPlatter, Witness, grab};

/// The disk.
#[derive(Clone)]
pub struct MadDisk {
    platter: SharedPlatter,
    clock: MadClock,
    witness: Witness,
    luck: Arc<Mutex<Luck>>,
}

/// An open file.
#[derive(Clone)]
pub struct MadFile {
    disk: MadDisk,
    open: Arc<OpenFile>,
}

struct OpenFile {
    platter: SharedPlatter,
    id: FileId,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        grab(&self.platter).close(self.id);
    }
}

/// A held lock.
pub struct MadLock {
    platter: SharedPlatter,
    id: LockId,
}

impl Drop for MadLock {
    fn drop(&mut self) {
        grab(&self.platter).unlock(self.id);
    }
}

/// What an operation costs: a read or write that a cache takes, or one that waits for the device.
#[derive(Clone, Copy)]
enum Cost {
    Cache,
    Device,
}

impl MadDisk {
    pub(super) fn new(
        platter: SharedPlatter,
        clock: MadClock,
        witness: Witness,
        luck: Luck,
    ) -> Self {
        Self { platter, clock, witness, luck: Arc::new(Mutex::new(luck)) }
    }

    async fn wait(&self, cost: Cost) {
        let micros = {
            let mut luck = grab(&self.luck);
            match cost {
                Cost::Cache => luck.range(1..30),
                // One in sixty-four waits for the device's own housekeeping.
                Cost::Device if luck.chance(1, 64) => luck.range(5_000..50_000),
                Cost::Device => luck.range(60..400),
            }
        };
        self.clock.sleep_until(self.clock.now() + Duration::from_micros(micros)).await;
        self.witness.see(self.clock.now(), b"disk");
    }
}

impl Disk for MadDisk {
    type File = MadFile;
    type Lock = MadLock;

    async fn open(&self, name: &str, how: Open) -> DiskResult<MadFile> {
        let id = grab(&self.platter).open(name, how)?;
        let open = Arc::new(OpenFile { platter: Arc::clone(&self.platter), id });
        self.wait(Cost::Cache).await;
        Ok(MadFile { disk: self.clone(), open })
    }

    async fn create_dir(&self, name: &str) -> DiskResult<()> {
        let made = grab(&self.platter).create_dir(name);
        self.wait(Cost::Cache).await;
        made
    }

    async fn lock(&self, name: &str) -> DiskResult<MadLock> {
        let id = grab(&self.platter).lock(name)?;
        Ok(MadLock { platter: Arc::clone(&self.platter), id })
    }

    async fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        self.wait(Cost::Cache).await;
        grab(&self.platter).list(dir)
    }

    async fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let renamed = grab(&self.platter).rename(from, to);
        self.wait(Cost::Cache).await;
        renamed
    }

    async fn remove(&self, name: &str) -> DiskResult<()> {
        let removed = grab(&self.platter).remove(name);
        self.wait(Cost::Cache).await;
        removed
    }

    async fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.wait(Cost::Device).await;
        grab(&self.platter).sync_dir(dir)
    }

    async fn space(&self) -> DiskResult<Space> {
        self.wait(Cost::Cache).await;
        grab(&self.platter).space()
    }
}

impl File for MadFile {
    async fn read_at(&self, offset: u64, buffer: Vec<u8>, mode: ReadMode) -> DiskResult<Vec<u8>> {
        let cost = match mode {
            ReadMode::Cached => Cost::Cache,
            ReadMode::Uncached => Cost::Device,
        };
        self.disk.wait(cost).await;
        let read = grab(&self.open.platter).read_at(self.open.id, offset, buffer, mode);
        if let Ok(bytes) = &read {
            self.disk.witness.see(self.disk.clock.now(), bytes);
        }
        read
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> DiskResult<()> {
        let written = grab(&self.open.platter).write_at(self.open.id, offset, &bytes);
        self.disk.wait(Cost::Cache).await;
        written
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        let allocated = grab(&self.open.platter).allocate(self.open.id, len);
        self.disk.wait(Cost::Device).await;
        allocated
    }

    async fn len(&self) -> DiskResult<u64> {
        grab(&self.open.platter).len(self.open.id)
    }

    async fn set_len(&self, len: u64) -> DiskResult<()> {
        let set = grab(&self.open.platter).set_len(self.open.id, len);
        self.disk.wait(Cost::Cache).await;
        set
    }

    async fn sync(&self) -> DiskResult<()> {
        self.disk.wait(Cost::Device).await;
        grab(&self.open.platter).sync(self.open.id)
    }
}
