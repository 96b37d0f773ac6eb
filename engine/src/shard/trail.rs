//! When what was proposed was durable here, and when it was agreed on: where an answer's time went.
//!
//! ```text
//!   landed   (7, 10 µs) (9, 25 µs)      entries up to 7 were on the disk at 10 µs, up to 9 at 25 µs
//!   agreed   (8, 31 µs)
//!            entry 8: durable at 25 µs, agreed at 31 µs
//! ```
//! Written down only while somebody waits, once for what came together, and forgotten with the answers
//! that are given: there are no more marks than entries that are waited for.
//!
//! Not here: what the phases are called (`command/phases.rs`), who waits (`group.rs`).

use alloc::collections::VecDeque;

use super::group::{Group, Reading, Waiting};
use crate::{always, command::Phases, planted, raft::Moment, types::Index};

/// The marks of a group that is led here.
#[derive(Debug, Default)]
pub(super) struct Trail {
    landed: Marks,
    agreed: Marks,
}

/// When it was so up to which entry, rising.
#[derive(Debug, Default)]
struct Marks(VecDeque<(Index, Moment)>);

impl Marks {
    fn add(&mut self, index: Index, now: Moment) {
        match self.0.back_mut() {
            Some((last, _)) if *last >= index => {}
            Some((last, at)) if *at == now => *last = index,
            _ => self.0.push_back((index, now)),
        }
    }

    /// Since when it was so of an entry. What is only of entries before it is forgotten.
    fn since(&mut self, index: Index) -> Option<Moment> {
        while self.0.pop_front_if(|(upto, _)| *upto < index).is_some() {}
        self.0.front().map(|(_, at)| *at)
    }
}

impl Trail {
    /// Nobody waits any more.
    pub(super) fn forget(&mut self) {
        self.landed.0.clear();
        self.agreed.0.clear();
    }

    /// Where the time went of an entry that is answered now.
    fn phases(&mut self, waiting: &Waiting, now: Moment) -> Phases {
        let (arrived, proposed) = (waiting.asked.at, waiting.proposed);
        let landed = self.landed.since(waiting.index);
        let agreed = self.agreed.since(waiting.index);
        always!(landed.is_some() && agreed.is_some(), "what is answered was durable and agreed on");
        let landed = landed.unwrap_or(proposed);
        let landed = if planted!("shard_disk_takes_no_time") { proposed } else { landed };
        let agreed = agreed.unwrap_or(landed).max(landed);
        Phases::between([arrived, proposed, landed, agreed, now].map(|at| at.0))
    }
}

impl Group {
    /// An entry is durable here.
    pub(super) fn has_landed(&mut self, index: Index, now: Moment) {
        if !self.waiting.is_empty() {
            self.trail.landed.add(index, now);
        }
    }

    /// Entries up to this one are agreed on.
    pub(super) fn has_agreed(&mut self, upto: Index, now: Moment) {
        if !self.waiting.is_empty() {
            self.trail.agreed.add(upto, now);
        }
    }

    /// Where the time went of what is answered now to who waited longest.
    pub(super) fn phases(&mut self, waiting: &Waiting, now: Moment) -> Phases {
        let phases = self.trail.phases(waiting, now);
        if self.waiting.is_empty() {
            self.trail.forget();
        }
        phases
    }
}

impl Reading {
    /// Where its time went, when it is answered now.
    pub(super) fn phases(&self, now: Moment) -> Phases {
        Phases::between([self.at, self.at, self.at, self.confirmed, now].map(|at| at.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_of_all_entries_up_to_theirs() {
        let mut marks = Marks::default();
        for (index, at) in [(7, 10), (9, 25), (8, 26), (12, 25), (13, 40)] {
            marks.add(Index(index), Moment(at));
        }
        assert_eq!(marks.0.len(), 3, "what came together has one");
        assert_eq!(marks.since(Index(6)), Some(Moment(10)));
        assert_eq!(marks.since(Index(8)), Some(Moment(25)));
        assert_eq!(marks.since(Index(12)), Some(Moment(25)));
        assert_eq!(marks.0.len(), 2);
        assert_eq!(marks.since(Index(13)), Some(Moment(40)));
        assert_eq!(marks.since(Index(14)), None);
    }
}
