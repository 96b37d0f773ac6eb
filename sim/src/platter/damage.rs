//! Damage: what goes wrong inside a sync, and what happens to a disk at rest.

use std::sync::Arc;

use trilith_engine::runtime::Rng as _;

use super::{FileId, Happened, Node, PAGE_BYTES, Platter, SECTOR_BYTES, content::SECTOR};
use crate::{digest::Digest, luck::Luck};

/// Where one bit rotted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub name: String,
    /// The byte.
    pub offset: u64,
    /// The bit, 0 to 7.
    pub bit: u8,
}

impl Platter {
    /// A sync that fails: of the unsynced sectors any subset was written; the others are clean in
    /// the cache and old on the medium, as Linux leaves them.
    pub(super) fn fail_sync(&mut self, file: FileId, number: u64) {
        if let Some(handle) = self.handles.get_mut(&file.0) {
            handle.poisoned = true;
        }
        self.probes.hit(Happened::SyncError);
        let mut luck = self.luck.clone();
        let inode = self.inode(number);
        let dirty = std::mem::take(&mut inode.dirty);
        let keep = luck.range(0..4);
        let mut dropped = false;
        for sector in dirty.keys() {
            if luck.chance(keep, 4) {
                inode.flush(*sector);
            } else {
                inode.parted = true;
                dropped = true;
            }
        }
        if luck.coin() {
            inode.flush_len();
        }
        self.luck = luck;
        if dropped {
            self.probes.hit(Happened::SyncErrorDroppedPages);
        }
    }

    /// One dirty sector is taken for written but is not.
    pub(super) fn phantom(&mut self, number: u64) {
        if let Some(sector) = self.draw_dirty(number) {
            let inode = self.inode(number);
            inode.dirty.remove(&sector);
            inode.parted = true;
            self.probes.hit(Happened::PhantomWrite);
        }
    }

    /// One dirty sector is written over another sector, of this file or of another one.
    pub(super) fn misdirect(&mut self, number: u64) {
        let Some(sector) = self.draw_dirty(number) else { return };
        let mut targets: Vec<u64> = self
            .inodes
            .iter()
            .filter(|(_, inode)| inode.medium.len > 0)
            .map(|(other, _)| *other)
            .collect();
        if !self.luck.chance(1, 4) {
            // Most often the head lands somewhere near.
            targets.retain(|other| *other == number);
        }
        let Some(target) = (!targets.is_empty()).then(|| *self.luck.pick(&targets)) else { return };
        let sectors = self.inodes[&target].medium.len.div_ceil(SECTOR_BYTES);
        let to = self.luck.range(0..sectors);
        if (target, to) == (number, sector) {
            return;
        }
        let inode = self.inode(number);
        let bytes = inode.cache.sector(sector);
        inode.dirty.remove(&sector);
        inode.parted = true;
        let victim = self.inode(target);
        victim.medium.put_sector(to, &bytes);
        victim.parted = true;
        self.probes.hit(Happened::MisdirectedWrite);
    }

    fn draw_dirty(&mut self, number: u64) -> Option<u64> {
        let dirty: Vec<u64> = self.inodes[&number].dirty.keys().copied().collect();
        (!dirty.is_empty()).then(|| *self.luck.pick(&dirty))
    }

    fn named(&self, name: &str) -> Option<u64> {
        match self.names.now.get(name) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    /// Flips one bit at rest, on the medium and in what the cache holds of it. Answers whether
    /// there was such a byte. An unsynced sector is not at rest yet: it will be written again.
    pub fn rot(&mut self, name: &str, offset: u64, bit: u8) -> bool {
        self.at_rest(name, offset, Happened::Rot, |sector, at| sector[at] ^= 1 << (bit & 7))
    }

    /// Flips one bit somewhere in what the disk holds, other than in never-used zeros. Answers
    /// where.
    pub fn rot_somewhere(&mut self, luck: &mut Luck) -> Option<Spot> {
        let files = self.file_names();
        let mut used: Vec<(String, u64)> = Vec::new();
        for name in files {
            if let Some(inode) = self.named(&name) {
                let sectors = self.inodes[&inode].medium.used_sectors();
                used.extend(sectors.map(|sector| (name.clone(), sector)));
            }
        }
        if used.is_empty() {
            return None;
        }
        let (name, sector) = luck.pick(&used).clone();
        let inode = self.named(&name)?;
        let room = self.inodes[&inode].medium.len - sector * SECTOR_BYTES;
        let offset = sector * SECTOR_BYTES + luck.range(0..room.min(SECTOR_BYTES));
        let bit = u8::try_from(luck.range(0..8)).ok()?;
        self.rot(&name, offset, bit).then_some(Spot { name, offset, bit })
    }

    /// Fills the sector at `offset` with zeros, at rest.
    pub fn zero_sector(&mut self, name: &str, offset: u64) -> bool {
        self.at_rest(name, offset, Happened::Zeroed, |sector, _| sector.fill(0))
    }

    /// Makes the sector at `offset` unreadable until it is written and synced again.
    pub fn break_sector(&mut self, name: &str, offset: u64) -> bool {
        let Some(number) = self.named(name) else { return false };
        if offset >= self.inodes[&number].cache.len {
            return false;
        }
        self.inode(number).bad.insert(offset / SECTOR_BYTES);
        self.probes.hit(Happened::LatentError);
        true
    }

    /// Copies `sectors` whole sectors from one place to another, at rest: what a misdirected write
    /// of well-formed bytes leaves behind.
    pub fn misplace(&mut self, from: (&str, u64), to: (&str, u64), sectors: u64) -> bool {
        let (Some(source), Some(_)) = (self.named(from.0), self.named(to.0)) else { return false };
        for index in 0..sectors {
            let bytes = self.inodes[&source].medium.sector(from.1 / SECTOR_BYTES + index);
            let offset = to.1 + index * SECTOR_BYTES;
            if !self.at_rest(to.0, offset, Happened::Misplaced, |sector, _| *sector = bytes) {
                return false;
            }
        }
        true
    }

    /// Puts bytes there at rest, whatever was there: what a write that was meant for another place
    /// or time leaves behind. Answers whether the file reaches so far.
    pub fn overwrite(&mut self, name: &str, offset: u64, bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let room = SECTOR - (place % SECTOR_BYTES) as usize;
            let piece = &bytes[at..bytes.len().min(at + room)];
            let put = |sector: &mut [u8; SECTOR], start: usize| {
                sector[start..start + piece.len()].copy_from_slice(piece);
            };
            if !self.at_rest(name, place, Happened::Misplaced, put) {
                return false;
            }
            at += piece.len();
        }
        true
    }

    /// Takes a file away, durably, as a careless person would.
    pub fn lose_file(&mut self, name: &str) -> bool {
        if self.named(name).is_none() {
            return false;
        }
        let mut names = self.names.now.clone();
        names.remove(name);
        self.names.settle(names);
        self.collect_all();
        self.probes.hit(Happened::FileLost);
        true
    }

    /// Cuts a file, durably.
    pub fn cut_file(&mut self, name: &str, len: u64) -> bool {
        let Some(number) = self.named(name) else { return false };
        let inode = self.inode(number);
        inode.set_len(len.min(inode.cache.len));
        inode.flush_all();
        self.probes.hit(Happened::FileCut);
        true
    }

    /// The cache forgets everything it could read again: what a failed sync dropped, and what a
    /// phantom or misdirected write faked, comes to light.
    pub fn evict(&mut self) {
        for inode in self.inodes.values_mut() {
            if inode.parted {
                let inode = Arc::make_mut(inode);
                let dirty: Vec<_> = inode
                    .dirty
                    .keys()
                    .map(|sector| (*sector, inode.cache.sector(*sector)))
                    .collect();
                let len = inode.cache.len;
                inode.cache = inode.medium.clone();
                inode.cache.set_len(len, |_, _| {});
                dirty.iter().for_each(|(sector, bytes)| inode.cache.put_sector(*sector, bytes));
                inode.parted = false;
                self.probes.hit(Happened::CacheEvicted);
            }
        }
    }

    /// Everything is gone: a new disk was put in.
    pub fn wipe(&mut self) {
        self.names = super::Names::default();
        self.inodes.clear();
        self.handles.clear();
        self.locks.clear();
        self.off = false;
        self.probes.hit(Happened::Wiped);
    }

    /// Puts each one's content into the other's machine. Both machines must be off: handles and
    /// locks die.
    pub fn swap_with(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.names, &mut other.names);
        std::mem::swap(&mut self.inodes, &mut other.inodes);
        // Numbers must stay unused in both.
        let next = self.next_number.max(other.next_number);
        for platter in [self, other] {
            platter.next_number = next;
            platter.handles.clear();
            platter.locks.clear();
            platter.probes.hit(Happened::Swapped);
        }
    }

    /// Changes one sector at rest: on the medium, and in the cache unless it is dirty there.
    fn at_rest(
        &mut self,
        name: &str,
        offset: u64,
        what: Happened,
        change: impl FnOnce(&mut [u8; SECTOR], usize),
    ) -> bool {
        let Some(number) = self.named(name) else { return false };
        let number_of_sector = offset / SECTOR_BYTES;
        if offset >= self.inodes[&number].medium.len {
            return false;
        }
        let inode = self.inode(number);
        let mut sector = inode.medium.sector(number_of_sector);
        change(&mut sector, (offset % SECTOR_BYTES) as usize);
        inode.medium.put_sector(number_of_sector, &sector);
        if !inode.dirty.contains_key(&number_of_sector) {
            inode.cache.put_sector(number_of_sector, &sector);
        }
        self.probes.hit(what);
        true
    }

    // ── looking at it ──────────────────────────────────────────────────────────────────────────

    /// All files the operating system shows, in order of name.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        let files = self.names.now.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(name, _)| name.clone()).collect()
    }

    /// A file's bytes, as reads see them. No operation is counted.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<Vec<u8>> {
        let inode = &self.inodes[&self.named(name)?];
        let mut bytes = vec![0; usize::try_from(inode.cache.len).ok()?];
        inode.cache.read(0, &mut bytes);
        Some(bytes)
    }

    /// Puts a whole file there, durably, over one of that name. Missing directories are made. No
    /// operation is counted.
    pub fn place(&mut self, name: &str, bytes: &[u8]) {
        let mut names = self.names.now.clone();
        names.insert(String::new(), Node::Dir);
        for (at, _) in name.match_indices('/') {
            names.insert(name[..at].to_owned(), Node::Dir);
        }
        let number = self.number();
        names.insert(name.to_owned(), Node::File(number));
        self.names.settle(names);
        self.inodes.insert(number, Arc::default());
        let inode = self.inode(number);
        inode.write(0, bytes);
        inode.backed.add(0, (bytes.len() as u64).div_ceil(PAGE_BYTES));
        inode.flush_all();
        self.collect_all();
    }

    /// A checksum of everything the operating system shows: names and bytes. Two disks that show
    /// the same have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut digest = Digest::default();
        for (name, node) in &self.names.now {
            digest.text(name);
            if let Node::File(number) = node {
                let content = &self.inodes[number].cache;
                digest.word(content.len);
                for sector in content.used_sectors() {
                    digest.word(sector);
                    digest.bytes(&content.sector(sector));
                }
            }
        }
        digest.0
    }
}
