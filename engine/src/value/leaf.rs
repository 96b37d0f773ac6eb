//! A leaf of the index: packed keys, and where the record of each lies.
//!
//! A place takes 16 bytes in the common case: 12 for the location and 4 for the version, counted
//! from the leaf's lowest. A leaf whose versions span more than 32 bits, or with a key that
//! expires, keeps its places unpacked.
//!
//! Not here: how leaves hang together (`tree.rs`), how keys are packed (`keys.rs`).

use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::{due::Soonest, keys::Keys};
use crate::types::{Loc, Version};

/// Where the record of a key lies, how new it is, and until when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record's location.
    pub loc: Loc,
    /// The record's version.
    pub version: Version,
    /// When it expires, in milliseconds of wall time; `None` means never.
    pub expires_ms: Option<NonZeroU64>,
}

impl Place {
    /// Whether the record no longer counts at `now_ms`.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| expires.get() <= now_ms)
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    loc: Loc,
    /// The version, counted from the leaf's base.
    newer: u32,
}

#[derive(Clone, Debug)]
enum Cells {
    Narrow { base: u64, cells: Vec<Cell> },
    Wide { places: Vec<Place>, soonest: Soonest },
}

/// Room for this many more places is taken when a leaf grows.
const GROW_PLACES: usize = 8;

fn grow<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact(GROW_PLACES);
    }
}

fn shrink<T>(vec: &mut Vec<T>) {
    if vec.capacity() > vec.len() + 4 * GROW_PLACES {
        vec.shrink_to(vec.len() + GROW_PLACES);
    }
}

impl Cells {
    fn pack(places: &[Place]) -> Self {
        let base = places.iter().map(|place| place.version.0).min().unwrap_or(0);
        let narrow = |place: &Place| match (place.expires_ms, place.version.0.checked_sub(base)) {
            (None, Some(newer)) => {
                u32::try_from(newer).ok().map(|newer| Cell { loc: place.loc, newer })
            }
            _ => None,
        };
        let mut cells = Vec::with_capacity(places.len());
        for place in places {
            match narrow(place) {
                Some(cell) => cells.push(cell),
                None => return Self::wide(places.to_vec()),
            }
        }
        Self::Narrow { base, cells }
    }

    fn wide(places: Vec<Place>) -> Self {
        let soonest = Soonest::of_places(&places);
        Self::Wide { places, soonest }
    }

    fn get(&self, index: usize) -> Place {
        match self {
            Self::Narrow { base, cells } => {
                let Cell { loc, newer } = cells[index];
                Place { loc, version: Version(base + u64::from(newer)), expires_ms: None }
            }
            Self::Wide { places, .. } => places[index],
        }
    }

    /// As it would be kept here, if it can be.
    fn fits(&self, place: &Place) -> Option<Cell> {
        let Self::Narrow { base, .. } = self else { return None };
        if place.expires_ms.is_some() {
            return None;
        }
        let newer = u32::try_from(place.version.0.checked_sub(*base)?).ok()?;
        Some(Cell { loc: place.loc, newer })
    }

    /// All places, unpacked; one like this comes to them.
    fn widen(&mut self, more: &Place) -> &mut Vec<Place> {
        if let Self::Narrow { cells, .. } = self {
            let places = (0..cells.len()).map(|index| self.get(index)).collect();
            *self = Self::wide(places);
        }
        match self {
            Self::Wide { places, soonest } => {
                soonest.lower(more.expires_ms);
                places
            }
            Self::Narrow { .. } => unreachable!("it was widened above"),
        }
    }

    fn insert(&mut self, index: usize, place: Place) {
        match (self.fits(&place), &mut *self) {
            (Some(cell), Self::Narrow { cells, .. }) => {
                grow(cells);
                cells.insert(index, cell);
            }
            _ => {
                let places = self.widen(&place);
                grow(places);
                places.insert(index, place);
            }
        }
    }

    fn set(&mut self, index: usize, place: Place) {
        match (self.fits(&place), &mut *self) {
            (Some(cell), Self::Narrow { cells, .. }) => cells[index] = cell,
            _ => self.widen(&place)[index] = place,
        }
    }

    fn remove(&mut self, index: usize) {
        match self {
            Self::Narrow { cells, .. } => {
                cells.remove(index);
                shrink(cells);
            }
            Self::Wide { places, .. } => {
                places.remove(index);
                shrink(places);
            }
        }
    }

    const fn heap_bytes(&self) -> usize {
        match self {
            Self::Narrow { cells, .. } => cells.capacity() * size_of::<Cell>(),
            Self::Wide { places, .. } => places.capacity() * size_of::<Place>(),
        }
    }
}

/// A leaf.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) keys: Keys,
    cells: Cells,
}

impl Default for Leaf {
    fn default() -> Self {
        Self::new(Keys::default(), &[])
    }
}

impl Leaf {
    pub(super) fn new(keys: Keys, places: &[Place]) -> Self {
        assert!(keys.len() == places.len(), "as many keys as places");
        Self { keys, cells: Cells::pack(places) }
    }

    pub(super) fn place(&self, index: usize) -> Place {
        self.cells.get(index)
    }

    pub(super) fn set(&mut self, index: usize, place: Place) {
        self.cells.set(index, place);
    }

    /// Puts a new key in, if it fits the leaf's shape; answers whether it did.
    pub(super) fn insert(&mut self, index: usize, key: &[u8], place: Place) -> bool {
        let fits = self.keys.insert(index, key);
        if fits {
            self.cells.insert(index, place);
        }
        fits
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.keys.remove(index);
        self.cells.remove(index);
    }

    /// What it says of when the first of its keys is over; `None` when none ever is.
    pub(super) const fn soonest(&self) -> Option<&Soonest> {
        match &self.cells {
            Cells::Narrow { .. } => None,
            Cells::Wide { soonest, .. } => Some(soonest),
        }
    }

    pub(super) fn places(&self) -> Vec<Place> {
        (0..self.keys.len()).map(|index| self.place(index)).collect()
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes() + self.cells.heap_bytes()
    }
}
