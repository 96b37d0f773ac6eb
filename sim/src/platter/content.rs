//! What a file holds: sparse pages, shared until written.
//!
//! A page that was never written, or only with zeros, does not exist: a prepared segment of a
//! mebibyte of zeros costs nothing. Pages and the table of pages are shared between copies and
//! copied when written, so a whole disk is forked for the price of a few counters.

use std::{collections::BTreeMap, sync::Arc};

use super::SECTOR_BYTES;

/// The unit of sharing, and of allocation. Nothing can be observed of it but speed and the disk's
/// count of used bytes.
pub(super) const PAGE_BYTES: u64 = 4096;
const PAGE: usize = PAGE_BYTES as usize;
/// A sector as a length in memory.
pub(super) const SECTOR: usize = SECTOR_BYTES as usize;

/// The bytes of one sector.
pub(super) type Sector = [u8; SECTOR];

const ZERO_PAGE: [u8; PAGE] = [0; PAGE];

/// Whether these bytes are all zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE).all(|chunk| chunk == &ZERO_PAGE[..chunk.len()])
}

/// A length and the bytes below it; bytes at and above the length are zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) len: u64,
    pages: Arc<BTreeMap<u64, Arc<[u8; PAGE]>>>,
}

/// Cuts a range of positions at the borders of pages: `(page, from, to)`, all within the page.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let first = offset / PAGE_BYTES;
    let last = if len == 0 { first } else { end.div_ceil(PAGE_BYTES) };
    (first..last).map(move |page| {
        let base = page * PAGE_BYTES;
        let from = offset.max(base) - base;
        let to = end.min(base + PAGE_BYTES) - base;
        (page, from as usize, to as usize)
    })
}

impl Content {
    /// Fills `into` from `offset` on. What lies beyond the length reads as zeros; the caller cuts.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        let mut at = 0;
        for (page, from, to) in pieces(offset, into.len()) {
            let part = &mut into[at..at + (to - from)];
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[from..to]),
                None => part.fill(0),
            }
            at += to - from;
        }
    }

    /// One sector.
    pub(super) fn sector(&self, number: u64) -> Sector {
        let mut sector = [0; SECTOR];
        self.read(number * SECTOR_BYTES, &mut sector);
        sector
    }

    /// Puts `bytes` at `offset`, without touching the length. `changed` hears of each sector whose
    /// content changes, with what it held before.
    pub(super) fn write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        mut changed: impl FnMut(u64, &Sector),
    ) {
        let mut at = 0;
        for (page, from, to) in pieces(offset, bytes.len()) {
            let part = &bytes[at..at + (to - from)];
            at += to - from;
            let old = self.pages.get(&page).map_or(&ZERO_PAGE, |page| &**page);
            if old[from..to] == *part {
                continue;
            }
            let first = from / SECTOR;
            for index in first..to.div_ceil(SECTOR) {
                let (low, high) = (index * SECTOR, (index + 1) * SECTOR);
                let (cut_low, cut_high) = (low.max(from), high.min(to));
                if old[cut_low..cut_high] != part[cut_low - from..cut_high - from] {
                    let before = old[low..high].try_into().expect("a sector's range is a sector");
                    changed(page * (PAGE / SECTOR) as u64 + index as u64, before);
                }
            }
            let pages = Arc::make_mut(&mut self.pages);
            let page = pages.entry(page).or_insert_with(|| Arc::new(ZERO_PAGE));
            Arc::make_mut(page)[from..to].copy_from_slice(part);
        }
    }

    /// Replaces one sector.
    pub(super) fn put_sector(&mut self, number: u64, sector: &Sector) {
        self.write(number * SECTOR_BYTES, sector, |_, _| {});
    }

    /// Takes a sector's whole page over from `other`, shared.
    pub(super) fn share_page(&mut self, sector: u64, other: &Self) {
        let page = sector / (PAGE / SECTOR) as u64;
        let pages = Arc::make_mut(&mut self.pages);
        match other.pages.get(&page) {
            Some(bytes) => pages.insert(page, Arc::clone(bytes)),
            None => pages.remove(&page),
        };
    }

    /// Sets the length; whatever lies beyond it is gone for good. `changed` hears of each sector
    /// whose content changes.
    pub(super) fn set_len(&mut self, len: u64, mut changed: impl FnMut(u64, &Sector)) {
        let full = len.div_ceil(PAGE_BYTES);
        let rest = (full * PAGE_BYTES - len) as usize;
        if rest > 0 {
            self.write(len, &ZERO_PAGE[..rest], &mut changed);
        }
        if self.pages.range(full..).next().is_some() {
            let cut = Arc::make_mut(&mut self.pages).split_off(&full);
            for (page, bytes) in cut {
                for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
                    let sector: &Sector = sector.try_into().expect("an exact chunk");
                    if !is_zero(sector) {
                        changed(page * (PAGE / SECTOR) as u64 + index as u64, sector);
                    }
                }
            }
        }
        self.len = len;
    }

    /// Every sector that holds something else than zeros, in order.
    pub(super) fn used_sectors(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().flat_map(|(page, bytes)| {
            let first = page * (PAGE / SECTOR) as u64;
            bytes
                .chunks_exact(SECTOR)
                .enumerate()
                .filter(|(_, sector)| !is_zero(sector))
                .map(move |(index, _)| first + index as u64)
        })
    }
}

/// A set of numbers, kept as ranges: which pages of a file have blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// How many of `from..to` are missing.
    pub(super) fn missing(&self, from: u64, to: u64) -> u64 {
        let present: u64 = self
            .0
            .range(..to)
            .rev()
            .take_while(|(_, end)| **end > from)
            .map(|(start, end)| (*end).min(to) - (*start).max(from))
            .sum();
        to.saturating_sub(from) - present
    }

    /// Adds `from..to`.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (mut low, mut high) = (from, to);
        while let Some((&start, &end)) = self.0.range(..=high).next_back() {
            if end < low {
                break;
            }
            low = low.min(start);
            high = high.max(end);
            self.0.remove(&start);
        }
        self.0.insert(low, high);
    }

    /// Takes everything from `end` on away.
    pub(super) fn cut(&mut self, end: u64) {
        self.0.split_off(&end);
        if let Some((_, last)) = self.0.iter_mut().next_back() {
            *last = (*last).min(end);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_cost_nothing_and_changes_are_heard_of_by_sector() {
        let mut content = Content::default();
        content.write(0, &vec![0; 1 << 20], |_, _| panic!("zeros over zeros change nothing"));
        assert!(content.pages.is_empty());
        let mut heard = Vec::new();
        content.write(500, &[1; 20], |sector, old| heard.push((sector, is_zero(old))));
        assert_eq!(heard, [(0, true), (1, true)]);
        content.write(500, &[1; 20], |_, _| panic!("the same bytes change nothing"));
        assert_eq!(content.used_sectors().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_copy_is_not_changed_with_its_original() {
        let mut content = Content::default();
        content.write(0, b"old", |_, _| {});
        let copy = content.clone();
        content.write(0, b"new", |_, _| {});
        assert_eq!(copy.sector(0)[..3], *b"old");
        assert_eq!(content.sector(0)[..3], *b"new");
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let mut content = Content::default();
        content.write(0, &[7; 10_000], |_, _| {});
        content.len = 10_000;
        content.set_len(600, |_, _| {});
        content.set_len(10_000, |_, _| {});
        let mut bytes = vec![1; 10_000];
        content.read(0, &mut bytes);
        assert!(bytes[..600].iter().all(|byte| *byte == 7));
        assert!(bytes[600..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn ranges_know_what_is_missing() {
        let mut ranges = Ranges::default();
        ranges.add(2, 4);
        ranges.add(8, 10);
        assert_eq!(ranges.missing(0, 12), 8);
        assert_eq!(ranges.missing(3, 9), 4);
        assert_eq!(ranges.missing(2, 4), 0);
        ranges.add(4, 8);
        assert_eq!((ranges.missing(0, 12), ranges.count()), (4, 8));
        ranges.cut(5);
        assert_eq!((ranges.missing(0, 12), ranges.count()), (9, 3));
        ranges.cut(0);
        assert_eq!(ranges.count(), 0);
    }
}
