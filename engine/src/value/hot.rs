//! Values that were read lately, so that the disk is not asked for them again.
//!
//! ```text
//!   place ──▶ a row of four ──▶ there: its value, and it is warm
//!                          └──▶ not:   the record is read, and takes what is empty or cold
//! ```
//! A value is found by the place of its record. A place is one record's as long as a shard lives,
//! because no segment's number comes back; so nothing here is told when a key is written, moved or
//! deleted: its index names another place then, and for this one nobody asks any more. It grows cold
//! and goes.
//!
//! Where all four of a row are warm, all grow cold but the last. When there is no room for one more
//! value, a hand goes around over all rows: what is warm it makes cold, what is cold goes.
//!
//! Rows are made some at a time, with the first value that one of them keeps: a large budget costs
//! little as long as little is read.
//!
//! Invariants: the values, with what keeping them costs, and the rows are at most the budget; a value
//! is only ever given out for the place and version with which it came.
//!
//! Not here: reading records and judging them (`indexed.rs`).

use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;

use super::leaf::Place;
use crate::{
    planted,
    types::{Loc, Version},
};

/// Values in a row.
const ROW: usize = 4;

/// Slots that are made at once, unless there are fewer.
const SHEET: usize = 16 * ROW;

/// Room for one value is made for so many bytes of the budget.
const BYTES_A_SLOT: usize = 256;

/// What keeping a value costs beside its record: what the allocator and the count of its holders
/// take.
const KEPT_BYTES: usize = 64;

/// A value of more than this part of the budget is not kept: it would push out too many others.
const LARGEST_DIVISOR: usize = 16;

/// A value that was read.
struct Hot {
    place: u64,
    version: Version,
    value: Bytes,
    weight: u32,
    is_warm: bool,
}

/// Values that were read lately.
#[derive(Default)]
pub struct HotValues {
    /// What the values and what keeping them costs may weigh.
    budget: usize,
    /// All slots, by the sheets in which they are made.
    sheets: Vec<Option<Box<[Option<Hot>]>>>,
    /// How many sheets are made.
    made: usize,
    /// As a power of two; 0 when nothing is kept.
    rows: usize,
    bytes: usize,
    hand: usize,
    served: u64,
}

impl HotValues {
    /// None yet, and never more than so many bytes.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let budget = usize::try_from(budget).unwrap_or(usize::MAX);
        let rows = match budget / (BYTES_A_SLOT * ROW) {
            0 => 0,
            rows => 1 << rows.ilog2(),
        };
        let budget = budget - rows * ROW * size_of::<Option<Hot>>();
        Self { budget, rows, ..Self::default() }
    }

    /// The value that lies there, if it was read lately.
    pub fn get(&mut self, place: &Place) -> Option<Bytes> {
        let (at, name) = (self.row(place.loc), name_of(place.loc));
        let nth = at / self.sheet();
        let sheet = self.sheets.get_mut(nth)?.as_mut()?;
        let row = sheet.get_mut(at % SHEET..)?.iter_mut().take(ROW);
        let is_it = |hot: &&mut Hot| hot.place == name && hot.version == place.version;
        let hot = row.flatten().find(is_it)?;
        hot.is_warm = true;
        self.served += 1;
        Some(hot.value.clone())
    }

    /// A value that was read from there.
    pub fn keep(&mut self, place: &Place, value: &Bytes) {
        let weight = place.loc.len as usize + KEPT_BYTES;
        if weight > self.budget / LARGEST_DIVISOR || self.rows == 0 {
            return;
        }
        let slot = self.slot_for(self.row(place.loc));
        self.empty(slot);
        self.bytes += weight;
        self.make_room();
        let hot = Hot {
            place: name_of(place.loc),
            version: place.version,
            value: value.clone(),
            weight: weight as u32,
            is_warm: false,
        };
        self.sheet_of(slot)[slot % SHEET] = Some(hot);
    }

    /// How many slots there are.
    const fn slots(&self) -> usize {
        self.rows * ROW
    }

    /// How many are made at once.
    const fn sheet(&self) -> usize {
        match self.slots() {
            0 => 1,
            few if few < SHEET => few,
            _ => SHEET,
        }
    }

    /// The sheet of a slot, made when it was not there.
    fn sheet_of(&mut self, slot: usize) -> &mut [Option<Hot>] {
        let (sheet, slots) = (self.sheet(), self.slots());
        if self.sheets.is_empty() {
            self.sheets.resize_with(slots / sheet, || None);
        }
        let made = &mut self.made;
        self.sheets[slot / sheet].get_or_insert_with(|| {
            *made += 1;
            (0..sheet).map(|_| None).collect()
        })
    }

    /// What it weighs now, with its rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.made * self.sheet() * size_of::<Option<Hot>>()
    }

    /// How many reads it has served.
    #[must_use]
    pub const fn served(&self) -> u64 {
        self.served
    }

    /// Where the row of a place begins.
    fn row(&self, loc: Loc) -> usize {
        // Neighbours on the disk are spread over all rows: the upper bits of a product by an odd
        // number near the golden section.
        let spread = name_of(loc).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ROW * (spread as usize & self.rows.saturating_sub(1))
    }

    /// Which of a row the next one takes.
    fn slot_for(&mut self, row: usize) -> usize {
        let slots = &mut self.sheet_of(row)[row % SHEET..][..ROW];
        let is_free = |slot: &Option<Hot>| slot.is_none();
        let is_cold = |slot: &Option<Hot>| slot.as_ref().is_some_and(|hot| !hot.is_warm);
        let free = slots.iter().position(is_free).or_else(|| slots.iter().position(is_cold));
        row + free.unwrap_or_else(|| {
            slots.iter_mut().skip(1).flatten().for_each(|hot| hot.is_warm = false);
            0
        })
    }

    fn empty(&mut self, slot: usize) {
        if let Some(gone) = self.sheet_of(slot)[slot % SHEET].take() {
            self.bytes -= gone.weight as usize;
        }
    }

    /// Lets go of what is cold, until all that is kept has room.
    fn make_room(&mut self) {
        while self.bytes > self.budget {
            self.hand = (self.hand + 1) % self.slots();
            let (sheet, hand) = (self.sheet(), self.hand);
            let Some(slots) = &mut self.sheets[hand / sheet] else {
                // Nothing is there: the next turn begins the next sheet.
                self.hand |= sheet - 1;
                continue;
            };
            match &mut slots[hand % SHEET] {
                Some(hot) if hot.is_warm => hot.is_warm = false,
                _ => self.empty(hand),
            }
        }
    }
}

/// A place as a number.
fn name_of(loc: Loc) -> u64 {
    let offset = if planted!("value_hot_by_segment") { 0 } else { loc.offset_words };
    (loc.segment.0 as u64) << 32 | offset as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SegmentId;

    fn place(nth: u32) -> Place {
        let loc = Loc { segment: SegmentId(nth % 7), offset_words: nth * 64, len: 400 };
        Place { loc, version: Version(u64::from(nth)), expires_ms: None }
    }

    fn value(nth: u32) -> Bytes {
        Bytes::from(nth.to_le_bytes().to_vec())
    }

    #[test]
    fn what_is_read_again_and_again_stays() {
        let mut hot = HotValues::new(64 << 10);
        for nth in 0..10_000 {
            hot.keep(&place(nth), &value(nth));
            let favourite = hot.get(&place(3));
            assert_eq!(favourite.is_some(), nth >= 3, "{nth}");
            assert!(hot.bytes() <= 64 << 10);
        }
        assert_eq!(hot.served(), 10_000 - 3);
        let kept = (0..10_000).filter(|nth| hot.get(&place(*nth)) == Some(value(*nth))).count();
        assert!((50..=115).contains(&kept), "{kept}");
    }

    #[test]
    fn a_value_is_of_its_place_and_version() {
        let mut hot = HotValues::new(64 << 10);
        hot.keep(&place(1), &value(1));
        assert_eq!(hot.get(&Place { version: Version(2), ..place(1) }), None);
        assert_eq!(hot.get(&Place { loc: place(8).loc, ..place(1) }), None);
        assert_eq!(hot.get(&place(1)), Some(value(1)));
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        for budget in [0, 1, 1023] {
            let mut hot = HotValues::new(budget);
            hot.keep(&place(1), &value(1));
            assert_eq!((hot.get(&place(1)), hot.bytes()), (None, 0));
        }
    }

    /// The first value of a large budget made room for all of them, and the machine had none.
    #[test]
    fn a_large_budget_costs_little_until_it_is_used() {
        let mut hot = HotValues::new(64 << 30);
        for nth in 0..1000 {
            hot.keep(&place(nth), &value(nth));
        }
        assert!((0..1000).all(|nth| hot.get(&place(nth)) == Some(value(nth))));
        assert!(hot.bytes() < 8 << 20, "{}", hot.bytes());
    }

    #[test]
    fn one_that_is_large_pushes_nobody_out() {
        let mut hot = HotValues::new(64 << 10);
        hot.keep(&place(1), &value(1));
        let mut large = place(2);
        large.loc.len = 4 << 10;
        hot.keep(&large, &value(2));
        assert_eq!((hot.get(&large), hot.get(&place(1))), (None, Some(value(1))));
    }
}
