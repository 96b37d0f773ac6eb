//! The calls that wait, by their numbers; and how far writes may run ahead of the oldest one.
//!
//! Numbers rise, and most calls end in the order in which they began, so they stand in a row: a new
//! one goes to its end, and one that nobody before has left stands as far from the front as its
//! number from the front's. Only behind those that ended early it must be searched for.
//!
//! A group keeps what it told a client of so many writes, and does none that is older. So a write
//! which is asked again, because nobody led or its connection ended, must not be left behind by that
//! many others of its group: it would never be done, and nobody could say so.
//!
//! Invariants: numbers ascend along the row; behind the oldest write of a group that waits fewer
//! began than the group keeps.
//!
//! Not here: what a call waits for (`mod.rs`), what a group keeps (`trilith_engine::store`).

use std::collections::{BTreeMap, VecDeque};

use trilith_engine::planted;

use super::Call;
use crate::limits::CLIENT_IN_FLIGHT_MAX;

/// The calls that wait.
#[derive(Default)]
pub(super) struct Calls(VecDeque<(u64, Call)>);

impl Calls {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The lowest number.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.front().map(|(number, _)| *number)
    }

    /// One more.
    ///
    /// # Panics
    /// When its number is not above all others.
    pub(super) fn begin(&mut self, number: u64) {
        let is_last = self.0.back().is_none_or(|(last, _)| *last < number);
        assert!(is_last, "numbers rise");
        self.0.push_back((number, Call::default()));
    }

    fn place(&self, number: u64) -> Option<usize> {
        let ahead = usize::try_from(number.checked_sub(self.oldest()?)?).ok()?;
        if self.0.get(ahead).is_some_and(|(there, _)| *there == number) {
            return Some(ahead);
        }
        self.0.binary_search_by_key(&number, |(number, _)| *number).ok()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Call> {
        let place = self.place(number)?;
        self.0.get_mut(place).map(|(_, call)| call)
    }

    /// It waits no more.
    pub(super) fn end(&mut self, number: u64) {
        if let Some(place) = self.place(number) {
            self.0.remove(place);
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.0.iter_mut().map(|(_, call)| call)
    }
}

/// The writes that wait, of each group that has some.
#[derive(Default)]
pub(super) struct Writes(BTreeMap<u32, Span>);

/// Those of one group, counted since one of them waits.
#[derive(Default)]
struct Span {
    begun: u64,
    /// Which of them have not ended, ascending.
    open: VecDeque<u64>,
}

impl Span {
    /// How many more may begin before the oldest one has ended.
    fn room(&self) -> usize {
        if planted!("client_leaves_a_write_behind") {
            return CLIENT_IN_FLIGHT_MAX;
        }
        let behind = self.open.front().map_or(0, |oldest| self.begun - oldest);
        CLIENT_IN_FLIGHT_MAX.saturating_sub(behind as usize)
    }
}

impl Writes {
    /// One more, if there is room: which one of its group it is.
    pub(super) fn begin(&mut self, group: u32) -> Option<u64> {
        let span = self.0.entry(group).or_default();
        (span.room() > 0).then(|| {
            let nth = span.begun;
            span.begun += 1;
            span.open.push_back(nth);
            nth
        })
    }

    /// It waits no more.
    pub(super) fn end(&mut self, group: u32, nth: u64) {
        let Some(span) = self.0.get_mut(&group) else { return };
        if let Ok(place) = span.open.binary_search(&nth) {
            span.open.remove(place);
        }
        if span.open.is_empty() {
            self.0.remove(&group);
        }
    }

    /// How many more may begin, of whatever group they are.
    pub(super) fn room(&self) -> usize {
        self.0.values().map(Span::room).min().unwrap_or(CLIENT_IN_FLIGHT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_runs_further_ahead_of_a_write_than_its_group_keeps() {
        let (mut writes, most) = (Writes::default(), CLIENT_IN_FLIGHT_MAX as u64);
        assert_eq!(writes.begin(1), Some(0));
        for nth in 1..most {
            assert_eq!((writes.room() as u64, writes.begin(1)), (most - nth, Some(nth)));
            writes.end(1, nth);
        }
        assert_eq!((writes.room(), writes.begin(1)), (0, None), "the first one still waits");
        assert_eq!(writes.begin(2), Some(0), "another group has not heard of those");
        writes.end(1, 0);
        assert_eq!((writes.room() as u64, writes.begin(1)), (most - 1, Some(0)));
        writes.end(1, 0);
        writes.end(2, 0);
        assert_eq!((writes.room() as u64, writes.0.len()), (most, 0), "nobody waits");
    }

    #[test]
    fn a_call_is_found_whoever_has_left_before_it() {
        let mut calls = Calls::default();
        (1..=6).for_each(|number| calls.begin(number));
        for gone in [3, 5, 1] {
            calls.end(gone);
            assert!(calls.get_mut(gone).is_none());
        }
        for (line, number) in [2, 4, 6].into_iter().enumerate() {
            calls.get_mut(number).unwrap().line = line;
        }
        calls.end(7);
        let lines: Vec<usize> = calls.iter_mut().map(|call| call.line).collect();
        assert_eq!((lines, calls.oldest(), calls.len()), (vec![0, 1, 2], Some(2), 3));
    }
}
