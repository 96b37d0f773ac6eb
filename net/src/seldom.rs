//! What strangers can make happen many times a second is told once in a while, with how often it was.
//!
//! Not here: what is told (`peer/accept.rs`, `gate.rs`).

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use trilith_engine::runtime::Instant;

/// Between two lines about the same thing.
const REST: Duration = Duration::from_secs(60);

/// One thing that is told.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    /// How often it has happened since, and was not told.
    untold: u64,
}

impl Seldom {
    /// It has happened. If it is to be told: how often it had, since it was told last.
    pub(crate) fn tells(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = told.last.is_some_and(|last| now < last + REST);
        if rests {
            told.untold += 1;
            return None;
        }
        told.last = Some(now);
        Some(mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_a_minute_with_the_number_of_the_others() {
        let (seldom, begin) = (Seldom::default(), Instant(7));
        let told = |seconds: u64| seldom.tells(begin + Duration::from_secs(seconds));
        assert_eq!(told(0), Some(0));
        assert_eq!([0, 1, 59].map(told), [None; 3]);
        assert_eq!(told(60), Some(3));
        assert_eq!(told(61), None);
        assert_eq!(told(500), Some(1));
    }
}
