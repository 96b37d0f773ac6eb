//! One node's disk, as a passive model: what the operating system shows, what the medium holds,
//! and everything that may happen to the difference.
//!
//! ```text
//!   write_at, allocate, set_len ──► cache ── sync ──► medium        per file, by sector
//!   open, rename, remove        ──► names ─ sync_dir ─► kept names   per directory
//!                                     │
//!                                power_loss: each unsynced sector old, between, new or garbage;
//!                                            each unsynced length and name change kept or lost
//! ```
//!
//! Passive means: no clock, no tasks, no waiting. An operation is done when its function returns;
//! whoever simulates slow disks decides when to call. Both simulated worlds and the exhaustive
//! tests share this one model. It is deterministic: what it does depends on its calls and its
//! [`Luck`], which it asks only while some chance in [`Faults`] is not zero.
//!
//! What it asks of a device, and nothing more: a sector of 512 bytes that held synced bytes other
//! than zero is afterwards old, new, or (when written several times since its last sync) one of
//! the versions between, never garbage, and never changed by writes to its neighbours. Frames of
//! 64 bytes share sectors, so this is what keeps a torn commit from damaging the one before it.
//! Everything else that a disk can do is in [`Faults`], [`Strike`] and the methods that damage it
//! at rest.
//!
//! Copying a platter is cheap (pages are shared until written), so tests fork it: that is how
//! [`Platter::survivors`] answers *every* outcome of a power loss.
//!
//! Not here: slowness (`os/disk.rs`), futures (`still.rs`, `os/`), which faults a run gets
//! (`fault.rs`).

mod content;
mod damage;
mod faults;
mod loss;
mod names;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use trilith_engine::runtime::{
    DiskError, DiskErrorKind, DiskResult, Entry, Open, ReadMode, Rng as _, Space, is_valid_name,
};

pub use damage::Spot;
pub use faults::{Faults, Garbage, Happened, Probes, Strike};
pub use loss::Survivors;

use crate::luck::{Domain, Luck};
use content::{Content, PAGE_BYTES, Ranges, Sector};
use names::{Names, Node, parent};

/// What a device writes in one piece.
pub const SECTOR_BYTES: u64 = 512;

/// How many versions of an unsynced sector, or of an unsynced length, are remembered between the
/// oldest and the newest. More are never needed to break something, and memory stays bounded.
const BETWEEN_MAX: usize = 6;

/// An open file. Numbers are never used again, so a handle of an earlier life is only stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

/// A held lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(u64);

/// How a disk is made.
#[derive(Clone, Debug)]
pub struct PlatterOptions {
    /// The device's size.
    pub capacity_bytes: u64,
    /// What decides about [`Faults`].
    pub luck: Luck,
    /// Where a power loss may leave garbage.
    pub garbage: Garbage,
}

impl Default for PlatterOptions {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 40,
            luck: Luck::new(0, Domain::Disk(0)),
            garbage: Garbage::default(),
        }
    }
}

/// One file's content, whatever its names.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads see.
    cache: Content,
    /// What survives a power loss for certain.
    medium: Content,
    /// The unsynced sectors, each with its versions between the medium's and the cache's.
    dirty: BTreeMap<u64, Vec<Arc<Sector>>>,
    /// The lengths between the medium's and the cache's.
    lens: Vec<u64>,
    /// Whether some sector that is not dirty differs between cache and medium.
    parted: bool,
    /// Sectors of the medium that cannot be read.
    bad: BTreeSet<u64>,
    /// What sectors held before their last sync; filled only while stale reads are asked for.
    before: BTreeMap<u64, Arc<Sector>>,
    /// The pages that have blocks, and those that keep them after a power loss.
    backed: Ranges,
    backed_kept: Ranges,
}

fn remember<T>(between: &mut Vec<T>, version: T) {
    if between.len() == BETWEEN_MAX {
        between.remove(0);
    }
    between.push(version);
}

impl Inode {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Self { cache, dirty, .. } = self;
        cache.write(offset, bytes, |sector, old| Self::dirtied(dirty, sector, old));
        let end = offset + bytes.len() as u64;
        if self.parted {
            self.dirty_again(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
        }
        self.backed.add(offset / PAGE_BYTES, end.div_ceil(PAGE_BYTES));
        if end > self.cache.len {
            self.remember_len();
            self.cache.len = end;
        }
    }

    /// A page that is written is written back, also if the same bytes were in it: a failed sync may
    /// have left it clean with what the medium never got.
    fn dirty_again(&mut self, sectors: Range<u64>) {
        for sector in sectors {
            if self.medium.sector(sector) != self.cache.sector(sector) {
                self.dirty.entry(sector).or_default();
            }
        }
    }

    fn dirtied(dirty: &mut BTreeMap<u64, Vec<Arc<Sector>>>, sector: u64, old: &Sector) {
        dirty.entry(sector).and_modify(|between| remember(between, Arc::new(*old))).or_default();
    }

    fn remember_len(&mut self) {
        if self.cache.len != self.medium.len || !self.lens.is_empty() {
            remember(&mut self.lens, self.cache.len);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len == self.cache.len {
            return;
        }
        self.remember_len();
        let Self { cache, dirty, .. } = self;
        cache.set_len(len, |sector, old| Self::dirtied(dirty, sector, old));
        self.backed.cut(len.div_ceil(PAGE_BYTES));
    }

    /// Reads what the mode asks for; a bad sector on the way is an error.
    fn read(&self, offset: u64, into: &mut [u8], mode: ReadMode) -> Result<(), u64> {
        let first = offset / SECTOR_BYTES;
        let end = (offset + into.len() as u64).div_ceil(SECTOR_BYTES);
        if let Some(bad) = self.bad.range(first..end).find(|bad| !self.dirty.contains_key(bad)) {
            return Err(*bad);
        }
        if !self.parted || mode == ReadMode::Cached {
            self.cache.read(offset, into);
            return Ok(());
        }
        // Whatever is dirty is written back before a device is asked for it.
        self.medium.read(offset, into);
        for (sector, _) in self.dirty.range(first..end) {
            let from = (sector * SECTOR_BYTES).max(offset);
            let to = ((sector + 1) * SECTOR_BYTES).min(offset + into.len() as u64);
            self.cache.read(from, &mut into[(from - offset) as usize..(to - offset) as usize]);
        }
        Ok(())
    }

    /// Brings one dirty sector to the medium.
    fn flush(&mut self, sector: u64) {
        self.medium.put_sector(sector, &self.cache.sector(sector));
        self.bad.remove(&sector);
    }

    /// Brings everything to the medium.
    fn flush_all(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if self.parted {
            dirty.keys().for_each(|sector| self.flush(*sector));
        } else {
            let mut last = None;
            for sector in dirty.keys() {
                let page = sector * SECTOR_BYTES / PAGE_BYTES;
                if last.replace(page) != Some(page) {
                    self.medium.share_page(*sector, &self.cache);
                }
                self.bad.remove(sector);
            }
        }
        self.flush_len();
    }

    fn flush_len(&mut self) {
        self.medium.set_len(self.cache.len, |_, _| {});
        self.lens.clear();
        self.backed_kept = self.backed.clone();
    }

    fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.medium.len == self.cache.len && self.lens.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Handle {
    inode: u64,
    name: Arc<str>,
    writable: bool,
    poisoned: bool,
}

/// One node's disk.
#[derive(Clone, Debug)]
pub struct Platter {
    capacity_bytes: u64,
    garbage: Garbage,
    luck: Luck,
    faults: Faults,
    strikes: BTreeMap<u64, Strike>,
    read_strikes: BTreeSet<u64>,
    names: Names,
    inodes: BTreeMap<u64, Arc<Inode>>,
    handles: BTreeMap<u64, Handle>,
    locks: BTreeMap<String, LockId>,
    next_number: u64,
    op_count: u64,
    read_count: u64,
    largest_read: u64,
    off: bool,
    probes: Probes,
}

/// What an operation that changes something is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    Normal,
    Struck(Strike),
}

impl Default for Platter {
    fn default() -> Self {
        Self::new(PlatterOptions::default())
    }
}

impl Platter {
    /// An empty disk. Its root does not exist until somebody makes it.
    #[must_use]
    pub fn new(options: PlatterOptions) -> Self {
        let PlatterOptions { capacity_bytes, luck, garbage } = options;
        Self {
            capacity_bytes,
            garbage,
            luck,
            faults: Faults::default(),
            strikes: BTreeMap::new(),
            read_strikes: BTreeSet::new(),
            names: Names::default(),
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_number: 0,
            op_count: 0,
            read_count: 0,
            largest_read: 0,
            off: false,
            probes: Probes::default(),
        }
    }

    // ── what a run asks for ────────────────────────────────────────────────────────────────────

    /// The chances of faults from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The chances of faults now.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Changes the device's size, while it runs too: below what is used, every write that needs a
    /// new block is refused.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    /// How many operations that change something were begun: creating, linking, writing, sizing
    /// and syncing. The first one has number 0.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.op_count
    }

    /// How many reads were begun.
    #[must_use]
    pub fn read_count(&self) -> u64 {
        self.read_count
    }

    /// The most bytes that a read asked for since the process began: memory that was taken before
    /// anything was read.
    #[must_use]
    pub fn largest_read(&self) -> u64 {
        self.largest_read
    }

    /// Plans a fault at the operation of that number (see [`Self::op_count`]).
    pub fn strike_at(&mut self, op: u64, strike: Strike) {
        self.strikes.insert(op, strike);
    }

    /// Plans a power loss inside the operation of that number.
    pub fn crash_at(&mut self, op: u64) {
        self.strike_at(op, Strike::Crash);
    }

    /// Plans an error at the read of that number (see [`Self::read_count`]).
    pub fn fail_read_at(&mut self, read: u64) {
        self.read_strikes.insert(read);
    }

    /// Whether the power is off: every operation fails until [`Self::power_loss`].
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Takes the power away; [`Self::power_loss`] then decides what is left.
    pub fn power_off(&mut self) {
        self.off = true;
    }

    /// What happened so far.
    #[must_use]
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    // ── the operations of a directory ──────────────────────────────────────────────────────────

    /// Opens or creates a file.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::open`].
    pub fn open(&mut self, name: &str, how: Open) -> DiskResult<FileId> {
        self.check("open", name, false)?;
        let inode = match (self.names.now.get(name), how) {
            (Some(_), Open::Create) => {
                return refuse(DiskErrorKind::Exists, "open", name, "");
            }
            (Some(Node::Dir), _) => {
                return refuse(DiskErrorKind::Invalid, "open", name, "it is a directory");
            }
            (Some(Node::File(inode)), _) => *inode,
            (None, Open::Read | Open::Write) => {
                return refuse(DiskErrorKind::NotFound, "open", name, "");
            }
            (None, Open::Create) => {
                self.parent_exists("open", name)?;
                let go = self.begin("open", name)?;
                let inode = self.create(name);
                self.finish(go, "open", name)?;
                inode
            }
        };
        let id = self.number();
        let writable = how != Open::Read;
        self.handles.insert(id, Handle { inode, name: name.into(), writable, poisoned: false });
        Ok(FileId(id))
    }

    /// Lets a handle go; a handle of an earlier life is let go already.
    pub fn close(&mut self, file: FileId) {
        if let Some(handle) = self.handles.remove(&file.0) {
            self.collect(handle.inode);
        }
    }

    /// The name a file was opened by; none once its handle is let go.
    #[must_use]
    pub fn name_of(&self, file: FileId) -> Option<&str> {
        self.handles.get(&file.0).map(|handle| &*handle.name)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::create_dir`].
    pub fn create_dir(&mut self, name: &str) -> DiskResult<()> {
        self.check("create_dir", name, true)?;
        match self.names.now.get(name) {
            Some(Node::Dir) => return Ok(()),
            Some(Node::File(_)) => return refuse(DiskErrorKind::Exists, "create_dir", name, ""),
            None => {}
        }
        if name.is_empty() {
            // Nothing below the root can make the root itself durable, so its maker does.
            let go = self.begin("create_dir", name)?;
            self.names.now.insert(String::new(), Node::Dir);
            self.names.kept.insert(String::new(), Node::Dir);
            return self.finish(go, "create_dir", name);
        }
        self.parent_exists("create_dir", name)?;
        let go = self.begin("create_dir", name)?;
        self.names.bind(name, Node::Dir);
        self.finish(go, "create_dir", name)
    }

    /// Takes a lock.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::lock`].
    pub fn lock(&mut self, name: &str) -> DiskResult<LockId> {
        self.check("lock", name, false)?;
        if self.locks.contains_key(name) {
            return refuse(DiskErrorKind::Locked, "lock", name, "");
        }
        match self.names.now.get(name) {
            Some(Node::Dir) => {
                return refuse(DiskErrorKind::Invalid, "lock", name, "it is a directory");
            }
            Some(Node::File(_)) => {}
            None => {
                self.parent_exists("lock", name)?;
                let go = self.begin("lock", name)?;
                self.create(name);
                self.finish(go, "lock", name)?;
            }
        }
        let id = LockId(self.number());
        self.locks.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Lets a lock go; a lock of an earlier life is let go already.
    pub fn unlock(&mut self, lock: LockId) {
        self.locks.retain(|_, held| *held != lock);
    }

    /// What a directory holds, in order of name.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::list`].
    pub fn list(&mut self, dir: &str) -> DiskResult<Vec<Entry>> {
        self.check("list", dir, true)?;
        self.is_dir("list", dir)?;
        Ok(self
            .names
            .list(dir)
            .map(|(name, node)| Entry { name: name.to_owned(), is_dir: node == Node::Dir })
            .collect())
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::rename`].
    pub fn rename(&mut self, from: &str, to: &str) -> DiskResult<()> {
        self.check("rename", from, false)?;
        self.check("rename", to, false)?;
        let node = self.file_named("rename", from)?;
        if self.names.now.get(to) == Some(&Node::Dir) {
            return refuse(DiskErrorKind::Invalid, "rename", to, "it is a directory");
        }
        self.parent_exists("rename", to)?;
        let go = self.begin("rename", from)?;
        if from != to {
            self.names.rename(from, to, node);
        }
        self.finish(go, "rename", from)
    }

    /// Removes a file's name.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::remove`].
    pub fn remove(&mut self, name: &str) -> DiskResult<()> {
        self.check("remove", name, false)?;
        let node = self.file_named("remove", name)?;
        let go = self.begin("remove", name)?;
        self.names.unbind(name, node);
        self.finish(go, "remove", name)
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::Disk::sync_dir`].
    pub fn sync_dir(&mut self, dir: &str) -> DiskResult<()> {
        self.check("sync_dir", dir, true)?;
        self.is_dir("sync_dir", dir)?;
        let go = self.begin("sync_dir", dir)?;
        let fails = self.luck.per_million(self.faults.sync_dir_error);
        if fails || go == Go::Struck(Strike::Error) {
            self.probes.hit(Happened::SyncDirError);
            return refuse(DiskErrorKind::Io, "sync_dir", dir, "injected");
        }
        if go != Go::Struck(Strike::Crash) {
            self.names.sync(dir);
            self.collect_all();
        }
        self.finish(go, "sync_dir", dir)
    }

    /// How much room there is.
    ///
    /// # Errors
    /// While the power is off.
    pub fn space(&mut self) -> DiskResult<Space> {
        self.check("space", "", true)?;
        let used = self.used();
        Ok(Space {
            free_bytes: self.capacity_bytes.saturating_sub(used),
            total_bytes: self.capacity_bytes,
        })
    }

    // ── the operations of a file ───────────────────────────────────────────────────────────────

    /// Fills `buffer` and answers it, cut to what was there.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::read_at`].
    pub fn read_at(
        &mut self,
        file: FileId,
        offset: u64,
        mut buffer: Vec<u8>,
        mode: ReadMode,
    ) -> DiskResult<Vec<u8>> {
        let handle = self.handle("read_at", file)?;
        let (inode, name) = (handle.inode, Arc::clone(&handle.name));
        let number = self.read_count;
        self.read_count += 1;
        self.largest_read = self.largest_read.max(buffer.len() as u64);
        if self.read_strikes.remove(&number) || self.luck.per_million(self.faults.read_error) {
            self.probes.hit(Happened::ReadError);
            return refuse(DiskErrorKind::Io, "read_at", &name, "injected");
        }
        let inode = &self.inodes[&inode];
        let there = inode.cache.len.saturating_sub(offset).min(buffer.len() as u64);
        buffer.truncate(there as usize);
        if let Err(sector) = inode.read(offset, &mut buffer, mode) {
            self.probes.hit(Happened::ReadError);
            let detail = format!("sector {sector} cannot be read");
            return refuse(DiskErrorKind::Io, "read_at", &name, &detail);
        }
        if !buffer.is_empty() {
            Self::misread(
                &mut self.luck,
                &self.faults,
                &mut self.probes,
                inode,
                offset,
                &mut buffer,
            );
        }
        Ok(buffer)
    }

    /// Lies about what was read, when the luck says so.
    fn misread(
        luck: &mut Luck,
        faults: &Faults,
        probes: &mut Probes,
        inode: &Inode,
        offset: u64,
        buffer: &mut [u8],
    ) {
        if luck.per_million(faults.read_flip) {
            let at = luck.index(buffer.len());
            buffer[at] ^= 1 << luck.range(0..8);
            probes.hit(Happened::ReadFlip);
        }
        if luck.per_million(faults.read_stale) {
            let end = offset + buffer.len() as u64;
            let first = offset / SECTOR_BYTES;
            let old: Vec<_> = inode.before.range(first..end.div_ceil(SECTOR_BYTES)).collect();
            if !old.is_empty() {
                let (sector, bytes) = old[luck.index(old.len())];
                let base = sector * SECTOR_BYTES;
                let (from, to) = (base.max(offset), (base + SECTOR_BYTES).min(end));
                buffer[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - base) as usize..(to - base) as usize]);
                probes.hit(Happened::ReadStale);
            }
        }
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::write_at`].
    pub fn write_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        let (inode, name) = self.writable("write_at", file)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return refuse(DiskErrorKind::Invalid, "write_at", &name, "beyond the largest file");
        }
        let go = self.begin("write_at", &name)?;
        if bytes.is_empty() {
            return self.finish(go, "write_at", &name);
        }
        let end = offset + bytes.len() as u64;
        let room = self.has_room(inode, offset, end);
        let fails = self.luck.per_million(self.faults.write_error);
        let full = self.luck.per_million(self.faults.write_no_space);
        let kind = match go {
            Go::Struck(Strike::Error) => Some(DiskErrorKind::Io),
            Go::Struck(Strike::NoSpace) => Some(DiskErrorKind::NoSpace),
            _ if fails => Some(DiskErrorKind::Io),
            _ if full || !room => Some(DiskErrorKind::NoSpace),
            _ => None,
        };
        let done = match kind {
            // A refused write may have done any part of its work that it had room for.
            Some(_) if room => self.luck.index(bytes.len()),
            Some(_) => 0,
            None => bytes.len(),
        };
        if done > 0 {
            self.inode(inode).write(offset, &bytes[..done]);
        }
        match kind {
            Some(kind) => self.refuse_write(kind, "write_at", &name),
            None => self.finish(go, "write_at", &name),
        }
    }

    /// Writes zeros from the end up to `len`.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::allocate`].
    pub fn allocate(&mut self, file: FileId, len: u64) -> DiskResult<()> {
        let (number, name) = self.writable("allocate", file)?;
        let go = self.begin("allocate", &name)?;
        let from = self.inodes[&number].cache.len;
        if len > from {
            let struck = match go {
                Go::Struck(Strike::Error) => Some(DiskErrorKind::Io),
                Go::Struck(Strike::NoSpace) => Some(DiskErrorKind::NoSpace),
                _ if !self.has_room(number, from, len) => Some(DiskErrorKind::NoSpace),
                _ if self.luck.per_million(self.faults.write_no_space) => {
                    Some(DiskErrorKind::NoSpace)
                }
                _ => None,
            };
            if let Some(kind) = struck {
                return self.refuse_write(kind, "allocate", &name);
            }
            let inode = self.inode(number);
            inode.set_len(len);
            inode.backed.add(from / PAGE_BYTES, len.div_ceil(PAGE_BYTES));
        }
        self.finish(go, "allocate", &name)
    }

    /// The file's length.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::len`].
    pub fn len(&mut self, file: FileId) -> DiskResult<u64> {
        let inode = self.handle("len", file)?.inode;
        Ok(self.inodes[&inode].cache.len)
    }

    /// Cuts or lengthens a file.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::set_len`].
    pub fn set_len(&mut self, file: FileId, len: u64) -> DiskResult<()> {
        let (inode, name) = self.writable("set_len", file)?;
        if len > i64::MAX as u64 {
            return refuse(DiskErrorKind::Invalid, "set_len", &name, "beyond the largest file");
        }
        let go = self.begin("set_len", &name)?;
        if let Go::Struck(Strike::Error | Strike::NoSpace) = go {
            return self.refuse_write(DiskErrorKind::Io, "set_len", &name);
        }
        self.inode(inode).set_len(len);
        self.finish(go, "set_len", &name)
    }

    /// Makes every write durable.
    ///
    /// # Errors
    /// As [`trilith_engine::runtime::File::sync`].
    pub fn sync(&mut self, file: FileId) -> DiskResult<()> {
        let (number, name) = self.writable("sync", file)?;
        let go = self.begin("sync", &name)?;
        if go == Go::Struck(Strike::Crash) {
            return self.finish(go, "sync", &name);
        }
        let struck = matches!(go, Go::Struck(Strike::Error | Strike::NoSpace));
        if struck || self.luck.per_million(self.faults.sync_error) {
            self.fail_sync(file, number);
            return refuse(DiskErrorKind::Io, "sync", &name, "injected");
        }
        let phantom =
            go == Go::Struck(Strike::Phantom) || self.luck.per_million(self.faults.phantom_write);
        let misdirect = go == Go::Struck(Strike::Misdirect)
            || self.luck.per_million(self.faults.misdirected_write);
        if phantom {
            self.phantom(number);
        }
        if misdirect {
            self.misdirect(number);
        }
        if self.faults.read_stale > 0 {
            let inode = self.inode(number);
            for sector in inode.dirty.keys() {
                let before = Arc::new(inode.medium.sector(*sector));
                inode.before.insert(*sector, before);
            }
        }
        let latent = self.luck.per_million(self.faults.latent_error);
        let written: Vec<u64> =
            if latent { self.inodes[&number].dirty.keys().copied().collect() } else { Vec::new() };
        self.inode(number).flush_all();
        if !written.is_empty() {
            let sector = *self.luck.pick(&written);
            self.inode(number).bad.insert(sector);
            self.probes.hit(Happened::LatentError);
        }
        Ok(())
    }

    // ── helpers ────────────────────────────────────────────────────────────────────────────────

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn create(&mut self, name: &str) -> u64 {
        let inode = self.number();
        self.inodes.insert(inode, Arc::default());
        self.names.bind(name, Node::File(inode));
        inode
    }

    fn inode(&mut self, number: u64) -> &mut Inode {
        let inode = self.inodes.get_mut(&number).expect("an open file has its content");
        Arc::make_mut(inode)
    }

    fn check(&self, operation: &'static str, name: &str, root_too: bool) -> DiskResult<()> {
        if self.off {
            return refuse(DiskErrorKind::Io, operation, name, POWERED_OFF);
        }
        if (root_too && name.is_empty()) || is_valid_name(name) {
            return Ok(());
        }
        refuse(DiskErrorKind::Invalid, operation, name, "not a valid name")
    }

    fn parent_exists(&self, operation: &'static str, name: &str) -> DiskResult<()> {
        match self.names.now.get(parent(name)) {
            Some(Node::Dir) => Ok(()),
            _ => refuse(DiskErrorKind::NotFound, operation, name, "there is no such directory"),
        }
    }

    fn is_dir(&self, operation: &'static str, dir: &str) -> DiskResult<()> {
        match self.names.now.get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => {
                refuse(DiskErrorKind::Invalid, operation, dir, "it is not a directory")
            }
            None => refuse(DiskErrorKind::NotFound, operation, dir, ""),
        }
    }

    fn file_named(&self, operation: &'static str, name: &str) -> DiskResult<Node> {
        match self.names.now.get(name) {
            Some(node @ Node::File(_)) => Ok(*node),
            Some(Node::Dir) => refuse(DiskErrorKind::Invalid, operation, name, "it is a directory"),
            None => refuse(DiskErrorKind::NotFound, operation, name, ""),
        }
    }

    fn handle(&mut self, operation: &'static str, file: FileId) -> DiskResult<&Handle> {
        if self.off {
            return refuse(DiskErrorKind::Io, operation, "", POWERED_OFF);
        }
        match self.handles.get(&file.0) {
            Some(Handle { poisoned: true, name, .. }) => {
                refuse(DiskErrorKind::Poisoned, operation, name, "")
            }
            Some(handle) => Ok(handle),
            None => refuse(DiskErrorKind::Io, operation, "", "the handle's process is dead"),
        }
    }

    fn writable(&mut self, operation: &'static str, file: FileId) -> DiskResult<(u64, Arc<str>)> {
        let handle = self.handle(operation, file)?;
        if !handle.writable {
            return refuse(DiskErrorKind::Denied, operation, &handle.name, "opened to be read");
        }
        Ok((handle.inode, Arc::clone(&handle.name)))
    }

    /// Counts an operation and answers what is planned for it. Errors and lack of room of those
    /// operations that have no way of their own to fail are answered here.
    fn begin(&mut self, operation: &'static str, name: &str) -> DiskResult<Go> {
        let strike = self.strikes.remove(&self.op_count);
        self.op_count += 1;
        let in_file =
            matches!(operation, "write_at" | "allocate" | "set_len" | "sync" | "sync_dir");
        match strike {
            None => Ok(Go::Normal),
            Some(Strike::Error) if !in_file => {
                self.refuse_write(DiskErrorKind::Io, operation, name).map(|()| Go::Normal)
            }
            Some(Strike::NoSpace) if !in_file => {
                self.refuse_write(DiskErrorKind::NoSpace, operation, name).map(|()| Go::Normal)
            }
            Some(strike) => Ok(Go::Struck(strike)),
        }
    }

    fn finish(&mut self, go: Go, operation: &'static str, name: &str) -> DiskResult<()> {
        if go == Go::Struck(Strike::Crash) {
            self.off = true;
            self.probes.hit(Happened::CrashInOperation);
            return refuse(DiskErrorKind::Io, operation, name, POWERED_OFF);
        }
        Ok(())
    }

    fn refuse_write(
        &mut self,
        kind: DiskErrorKind,
        operation: &'static str,
        name: &str,
    ) -> DiskResult<()> {
        let what = match kind {
            DiskErrorKind::NoSpace => Happened::NoSpace,
            _ => Happened::WriteError,
        };
        self.probes.hit(what);
        refuse(kind, operation, name, "injected")
    }

    /// Whether the blocks that this write needs are there.
    fn has_room(&self, inode: u64, from: u64, to: u64) -> bool {
        let (first, end) = (from / PAGE_BYTES, to.div_ceil(PAGE_BYTES));
        let need = self.inodes[&inode].backed.missing(first, end) * PAGE_BYTES;
        if need == 0 {
            return true;
        }
        let bound: u64 = self.inodes.values().map(|inode| inode.backed.count() * PAGE_BYTES).sum();
        bound + need <= self.capacity_bytes || self.used() + need <= self.capacity_bytes
    }

    /// What files with a name or a handle take. Removed ones give their room back at once.
    #[must_use]
    pub fn used(&self) -> u64 {
        let named = self.names.now.values().filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir => None,
        });
        let open = self.handles.values().map(|handle| handle.inode);
        let live: BTreeSet<u64> = named.chain(open).collect();
        live.iter().map(|inode| self.inodes[inode].backed.count() * PAGE_BYTES).sum()
    }

    /// Forgets a file that nobody can reach any more.
    fn collect(&mut self, inode: u64) {
        let open = self.handles.values().any(|handle| handle.inode == inode);
        let named = self.names.now.values().any(|node| *node == Node::File(inode));
        if !open && !named && !self.names.reachable().any(|reachable| reachable == inode) {
            self.inodes.remove(&inode);
        }
    }

    fn collect_all(&mut self) {
        let open = self.handles.values().map(|handle| handle.inode);
        let shown = self.names.now.values().filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir => None,
        });
        let live: BTreeSet<u64> = open.chain(shown).chain(self.names.reachable()).collect();
        self.inodes.retain(|inode, _| live.contains(inode));
    }
}

const POWERED_OFF: &str = "powered off";

fn refuse<T>(
    kind: DiskErrorKind,
    operation: &'static str,
    name: &str,
    detail: &str,
) -> DiskResult<T> {
    Err(DiskError::new(kind, operation, name, detail))
}
