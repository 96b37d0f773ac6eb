//! Where SCANs go on: a number for each place, on one node.
//!
//! A cursor of Redis is one number, and a place in an order of keys is a key, so a node remembers
//! which number it gave to which place. The numbers are drawn, so that what another node has given,
//! or this one in an earlier life, is not taken for one of these: it is an error, and the walk begins
//! again, where keys would have been left out without a word otherwise. A place may be asked for
//! again and again; when there are too many, the oldest are forgotten.
//!
//! Invariants: no number is 0, which is the beginning and the end, nor too high for a double.
//!
//! Not here: the walk (`walk.rs`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trilith_engine::mark;

use crate::limits::{RESP_CURSORS_BYTES_MAX, RESP_CURSORS_MAX};

/// Some clients read a cursor as a double.
const BITS: u32 = 53;

/// A place in the order of all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The group.
    pub(super) group: u16,
    /// Behind this key of it; from its beginning otherwise.
    pub(super) after: Option<Bytes>,
}

/// The places that have numbers.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    places: BTreeMap<u64, Place>,
    /// In the order in which they were given.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Cursors {
    /// A number for a place, made of luck.
    pub(super) fn keep(&mut self, place: Place, luck: u64) -> u64 {
        let mut number = (luck >> (u64::BITS - BITS)).max(1);
        while self.places.contains_key(&number) {
            number = number % ((1 << BITS) - 1) + 1;
        }
        self.bytes += cost(&place);
        self.order.push_back(number);
        self.places.insert(number, place);
        while self.places.len() > RESP_CURSORS_MAX || self.bytes > RESP_CURSORS_BYTES_MAX {
            mark!("resp: a cursor was forgotten");
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.places.remove(&oldest).as_ref().map_or(0, cost);
        }
        number
    }

    /// The place of a number; nothing when it has none, or not any more.
    #[must_use]
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        if number == 0 { Some(Place::default()) } else { self.places.get(&number).cloned() }
    }
}

fn cost(place: &Place) -> usize {
    place.after.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &[u8]) -> Place {
        Place { group: 1, after: Some(Bytes::copy_from_slice(key)) }
    }

    #[test]
    fn a_place_is_found_again_until_too_many_have_come() {
        let mut cursors = Cursors::default();
        assert_eq!(cursors.place(0), Some(Place::default()));
        let first = cursors.keep(place(b"a"), 0);
        let second = cursors.keep(place(b"b"), 0);
        assert_eq!(
            (cursors.place(first), cursors.place(second)),
            (Some(place(b"a")), Some(place(b"b")))
        );
        assert_eq!(cursors.place(second + 1), None);
        let last = cursors.keep(place(b"c"), u64::MAX);
        assert_eq!(last, (1 << BITS) - 1);
        assert_eq!(cursors.keep(place(b"d"), u64::MAX), 3, "the first that is free");
        for n in 0..RESP_CURSORS_MAX as u64 {
            cursors.keep(place(b"e"), n << 32);
        }
        assert_eq!((cursors.place(first), cursors.places.len()), (None, RESP_CURSORS_MAX));
    }

    #[test]
    fn long_keys_take_the_room_of_many() {
        let mut cursors = Cursors::default();
        let key = vec![b'x'; 65_535];
        let all: Vec<u64> = (0..600).map(|n| cursors.keep(place(&key), n << 40)).collect();
        assert_eq!(cursors.place(all[0]), None);
        assert_eq!(cursors.place(all[599]), Some(place(&key)));
        assert!(cursors.bytes <= RESP_CURSORS_BYTES_MAX);
    }
}
