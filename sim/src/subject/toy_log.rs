//! The toy's log on disk: one file, one entry in every 64 bytes, chained by checksums.
//!
//! ```text
//! log    | chain u32 | entry, 41 bytes | zeros | ... at n * 64
//! member   exists once the node has been part of the cluster; a node without it is blank
//! ```
//! An entry's chain is the checksum of its bytes beginning from the chain before it, so one that
//! stands in the wrong place, or after a hole, does not fit. Recovery takes entries as long as
//! they fit, cuts off the rest, and syncs: what it found may never have been synced, and nobody
//! may be told about it before it is.
//!
//! A sector holds eight entries; the disk keeps a synced sector whole, so a torn append never
//! damages an entry that was synced before. Rot is not among the toy's faults: a damaged entry in
//! the middle looks like a tail to it. (The real journal knows the difference.)
//!
//! Not here: what entries mean (`toy_node`).

use bytes::Bytes;
use trilith_engine::{
    codec::{Reader, crc},
    mark,
    runtime::{Disk, DiskErrorKind, DiskResult, File, Open, ReadMode, Runtime},
};

use super::{
    toy::{Bug, Bugs},
    toy_wire::Entry,
};

/// Bytes of one entry on disk.
const SLOT: u64 = 64;
const LOG: &str = "log";
const MEMBER: &str = "member";

/// The log of one node, in memory and on disk.
pub struct Log<R: Runtime> {
    disk: R::Disk,
    file: <R::Disk as Disk>::File,
    bugs: Bugs,
    entries: Vec<Entry>,
    chains: Vec<u32>,
    /// Where the next entry goes; equals the number of entries, except under a planted bug.
    slot: u64,
}

impl<R: Runtime> std::fmt::Debug for Log<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({} entries)", self.entries.len())
    }
}

fn encode(entry: &Entry, before: u32) -> ([u8; SLOT as usize], u32) {
    let mut body = Vec::with_capacity(SLOT as usize);
    entry.put(&mut body);
    let chain = crc(before, &body);
    let mut slot = [0; SLOT as usize];
    slot[..4].copy_from_slice(&chain.to_le_bytes());
    slot[4..4 + body.len()].copy_from_slice(&body);
    (slot, chain)
}

fn decode(slot: &[u8], before: u32, trusting: bool) -> Option<(Entry, u32)> {
    let mut reader = Reader::new(slot);
    let chain = reader.u32().ok()?;
    let entry = Entry::take(&mut reader)?;
    let mut body = Vec::with_capacity(SLOT as usize);
    entry.put(&mut body);
    (trusting || crc(before, &body) == chain).then_some((entry, chain))
}

/// The chain before the first entry: not zero, so that a slot of zeros never fits.
const CHAIN_BEGIN: u32 = 0x7472_696c;

impl<R: Runtime> Log<R> {
    /// Opens or makes the log. Answers whether the node is blank: it has no `member` file.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn open(runtime: &R, bugs: Bugs) -> DiskResult<(Self, bool)> {
        let disk = runtime.disk().clone();
        disk.create_dir("").await?;
        let names = disk.list("").await?;
        let blank = !names.iter().any(|entry| entry.name == MEMBER);
        let file = match disk.open(LOG, Open::Write).await {
            Err(why) if why.kind == DiskErrorKind::NotFound => {
                let file = disk.open(LOG, Open::Create).await?;
                if !bugs.has(Bug::NoDirectorySync) {
                    disk.sync_dir("").await?;
                }
                file
            }
            opened => opened?,
        };
        let mut log = Self { disk, file, bugs, entries: vec![], chains: vec![], slot: 0 };
        log.recover().await?;
        Ok((log, blank))
    }

    async fn recover(&mut self) -> DiskResult<()> {
        let length = self.file.len().await?;
        let buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let bytes = self.file.read_at(0, buffer, ReadMode::Uncached).await?;
        for slot in bytes.chunks(SLOT as usize) {
            let trusting = self.bugs.has(Bug::ChecksumIgnored);
            let Some((entry, chain)) = decode(slot, self.chain(), trusting) else { break };
            self.entries.push(entry);
            self.chains.push(chain);
        }
        self.slot = self.entries.len() as u64;
        if self.slot * SLOT < length {
            mark!("toy: a torn tail was cut off");
            if self.bugs.has(Bug::TornTailKept) {
                self.slot = length.div_ceil(SLOT);
                return Ok(());
            }
            self.file.set_len(self.slot * SLOT).await?;
        }
        self.file.sync().await
    }

    /// Writes down that this node has been part of the cluster.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn join(&mut self) -> DiskResult<()> {
        match self.disk.open(MEMBER, Open::Create).await {
            Ok(file) => file.sync().await?,
            Err(why) if why.kind == DiskErrorKind::Exists => {}
            Err(why) => return Err(why),
        }
        if self.bugs.has(Bug::NoDirectorySync) { Ok(()) } else { self.disk.sync_dir("").await }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The chain over all entries.
    #[must_use]
    pub fn chain(&self) -> u32 {
        self.chain_at(self.entries.len() as u64).unwrap_or(CHAIN_BEGIN)
    }

    /// The chain over the first `len` entries.
    #[must_use]
    pub fn chain_at(&self, len: u64) -> Option<u32> {
        let len = usize::try_from(len).ok()?;
        if len == 0 { Some(CHAIN_BEGIN) } else { self.chains.get(len - 1).copied() }
    }

    /// The epoch of the last entry.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.epoch)
    }

    /// Writes entries at the end. They are durable after [`Log::sync`].
    ///
    /// # Errors
    /// What the disk says; the log may not be used any more then.
    pub async fn append(&mut self, entries: &[Entry]) -> DiskResult<()> {
        let mut bytes = Vec::with_capacity(entries.len() * SLOT as usize);
        for entry in entries {
            let (slot, chain) = encode(entry, self.chain());
            bytes.extend_from_slice(&slot);
            self.entries.push(*entry);
            self.chains.push(chain);
        }
        self.file.write_at(self.slot * SLOT, Bytes::from(bytes)).await?;
        self.slot += entries.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// What the disk says; the log may not be used any more then.
    pub async fn sync(&mut self) -> DiskResult<()> {
        match self.file.sync().await {
            Err(_ignored) if self.bugs.has(Bug::SyncErrorIgnored) => Ok(()),
            answer => answer,
        }
    }

    /// Takes the entries from `len` on away, durably.
    ///
    /// # Errors
    /// What the disk says; the log may not be used any more then.
    pub async fn truncate(&mut self, len: u64) -> DiskResult<()> {
        let keep = usize::try_from(len).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
        self.chains.truncate(keep);
        self.slot = len;
        self.file.set_len(len * SLOT).await?;
        self.sync().await
    }
}

/// What the `member` file of a fresh cluster's node is made by, before its first life.
///
/// # Errors
/// What the disk says.
pub async fn format<R: Runtime>(runtime: &R, bugs: Bugs) -> DiskResult<()> {
    let (mut log, _blank) = Log::open(runtime, bugs).await?;
    log.join().await
}

/// Where the next chain begins.
#[must_use]
pub const fn chain_begin() -> u32 {
    CHAIN_BEGIN
}

/// The chain after one more entry.
#[must_use]
pub fn chain_after(before: u32, entry: &Entry) -> u32 {
    encode(entry, before).1
}
