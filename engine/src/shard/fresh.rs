//! Fresh: how old the state of a replica may be, so that whoever reads it is told.
//!
//! A replica that answers from its own state cannot know what was acknowledged a moment ago. What it
//! can know is this: it asked its core a question at some moment, as every linearizable read does,
//! and the core has answered "up to this entry". Then everything that was acknowledged *before it
//! asked* is in the state as soon as the entry is applied. So the age of the newest such question is
//! a bound on the age of the state, by this node's own clock: no other clock is believed, and a
//! leader that does not know of its end cannot answer.
//!
//! ```text
//!   asked ─────► confirmed by a round or a lease, up to an entry ─────► applied
//!     │                                                                    │
//!     └──────────── everything acknowledged before this is here ◄──────────┘
//! ```
//! Reads that ask for nothing of the kind leave a question behind, now and then, that nobody waits
//! for: who reads a replica again and again is told an age of about a heartbeat. A group that nobody
//! reads is asked nothing. A replica that has not heard of a leader in this life says that it does
//! not know ([`STALENESS_UNKNOWN_MS`]).
//!
//! Invariants: questions are kept in the order in which they were asked; no more than a few.
//!
//! Not here: rounds and leases (`raft`), what readers are served (`read.rs`).

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::{
    command::STALENESS_UNKNOWN_MS,
    limits::SHARD_QUESTIONS_MAX,
    planted,
    raft::{Moment, Position},
    types::Index,
};

/// How new the state of a replica certainly is.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// Questions that were not answered yet.
    asked: VecDeque<(Position, Moment)>,
    /// Answered; the entry is not applied yet, as far as somebody has looked.
    confirmed: VecDeque<(Index, Moment)>,
    /// Everything acknowledged before this is in the state.
    as_of: Option<Moment>,
    /// When the newest question was asked.
    newest: Option<Moment>,
}

impl Freshness {
    /// A question goes to the core.
    pub(super) fn ask(&mut self, position: Position, now: Moment) {
        self.newest = Some(now);
        // One that is forgotten is answered with the next, and nothing is learnt from it.
        if self.asked.len() >= SHARD_QUESTIONS_MAX {
            self.asked.pop_back();
        }
        self.asked.push_back((position, now));
    }

    /// Questions up to that position are answered.
    pub(super) fn answer(&mut self, upto: Position, index: Index) {
        let mut asked_at = None;
        while let Some((_, at)) = self.asked.pop_front_if(|(position, _)| *position <= upto) {
            asked_at = Some(at);
        }
        let Some(at) = asked_at else { return };
        if self.confirmed.len() >= SHARD_QUESTIONS_MAX {
            self.confirmed.pop_back();
        }
        self.confirmed.push_back((index, at));
    }

    /// How old the state may be that has applied so much.
    pub(super) fn age(&mut self, applied: Index, now: Moment) -> Option<Duration> {
        let counts = |index: Index| index <= applied || planted!("shard_fresh_before_applied");
        while let Some((_, at)) = self.confirmed.pop_front_if(|(index, _)| counts(*index)) {
            self.as_of = self.as_of.max(Some(at));
        }
        let as_of = self.as_of?;
        Some(Duration::from_nanos(now.0.saturating_sub(as_of.0)))
    }

    /// How many questions are remembered.
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.confirmed.len()
    }

    /// Whether a question should be left behind, by who asks no more often than that.
    pub(super) fn wants(&self, now: Moment, every: Duration) -> bool {
        self.newest.is_none_or(|newest| now >= newest + every)
    }
}

/// An age as readers are told it: rounded up, and stretched by how far this node's clock may be slow.
pub(super) fn staleness_ms(age: Option<Duration>, drift_ppm: u32) -> u32 {
    let Some(age) = age else { return STALENESS_UNKNOWN_MS };
    let stretched = age.as_nanos() * (1_000_000 + u128::from(drift_ppm)) / 1_000_000;
    let ms = u32::try_from(stretched.div_ceil(1_000_000)).unwrap_or(u32::MAX);
    ms.min(STALENESS_UNKNOWN_MS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_state_is_as_old_as_the_newest_question_whose_answer_it_has_applied() {
        let mut fresh = Freshness::default();
        assert_eq!(fresh.age(Index(9), Moment(100 * MS)), None);
        fresh.ask(Position(1), Moment(100 * MS));
        fresh.ask(Position(2), Moment(130 * MS));
        fresh.ask(Position(3), Moment(160 * MS));
        assert_eq!(fresh.age(Index(9), Moment(200 * MS)), None, "not answered");
        fresh.answer(Position(2), Index(12));
        assert_eq!(fresh.age(Index(11), Moment(200 * MS)), None, "not applied");
        let age = fresh.age(Index(12), Moment(200 * MS));
        assert_eq!(age, Some(Duration::from_millis(70)));
        fresh.answer(Position(3), Index(20));
        let age = fresh.age(Index(12), Moment(300 * MS));
        assert_eq!(age, Some(Duration::from_millis(170)), "what was known stays true");
        assert_eq!(fresh.age(Index(20), Moment(300 * MS)), Some(Duration::from_millis(140)));
    }

    #[test]
    fn only_so_many_questions_are_kept() {
        let mut fresh = Freshness::default();
        for position in 0..1000 {
            fresh.ask(Position(position), Moment(position * MS));
        }
        assert_eq!(fresh.asked.len(), SHARD_QUESTIONS_MAX);
        fresh.answer(Position(1000), Index(1));
        let age = fresh.age(Index(1), Moment(1000 * MS));
        assert_eq!(age, Some(Duration::from_millis(1)));
    }

    #[test]
    fn what_readers_are_told_is_never_less() {
        let told = |nanos, drift| staleness_ms(Some(Duration::from_nanos(nanos)), drift);
        assert_eq!((told(0, 0), told(1, 0), told(MS, 0), told(MS + 1, 0)), (0, 1, 1, 2));
        assert_eq!(told(1000 * MS, 1000), 1001);
        assert_eq!(told(u64::MAX, 500_000), STALENESS_UNKNOWN_MS - 1);
        assert_eq!(staleness_ms(None, 0), STALENESS_UNKNOWN_MS);
    }
}
