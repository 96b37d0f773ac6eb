//! The calls that wait, by their numbers.
//!
//! Numbers rise, and most calls end in the order in which they began, so they stand in a row: a new
//! one goes to its end, and one that nobody before has left stands as far from the front as its
//! number from the front's. Only behind those that ended early it must be searched for.
//!
//! Invariants: numbers ascend along the row.
//!
//! Not here: what a call waits for (`mod.rs`).

use std::collections::VecDeque;

use super::Call;

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

#[cfg(test)]
mod tests {
    use super::*;

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
