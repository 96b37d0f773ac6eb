//! The way that a connection's commands go: who was asked, what came of it, where the time went.
//!
//! ```text
//!   EXPLAIN SET a 1 ─► the command is done as ever, and beside its answer is told:
//!                      when which node was asked for which group, how long that took,
//!                      and what came of it: an answer, what it holds and where its time went,
//!                      another leader, silence
//! ```
//! Of every other command no more is kept than the phases of the answer that took its node longest: the
//! slow log tells them (`slow.rs`).
//!
//! Not here: doing it (`front.rs`), what happens in the node that answers (`command/phases.rs`).

use std::time::Duration;

use trilith_engine::{
    command::{Level, Phases, Response, STALENESS_UNKNOWN_MS, Told},
    runtime::Instant,
    types::NodeId,
};

use super::{reply::Answer, scratch::Said};
use crate::client::Came;

/// More is not told: a command of a million keys is asked in a thousand pieces.
const STEPS_MAX: usize = 256;

/// One attempt.
#[derive(Clone, Debug)]
struct Step {
    /// How long after the command.
    after: Duration,
    took: Duration,
    group: u32,
    is_write: bool,
    node: Option<NodeId>,
    came: String,
    /// What the answer is worth, if it is one.
    told: Option<Told>,
}

/// What is written down of a command that is explained.
#[derive(Debug)]
struct Tape {
    began: Instant,
    steps: Vec<Step>,
    /// How many more there were.
    more: usize,
}

/// The way of a connection.
#[derive(Debug)]
pub struct Way {
    /// Which connection it is.
    pub(super) connection: u64,
    /// The phases of the answer that took its node longest, of what is being done.
    longest: Option<Phases>,
    tape: Option<Tape>,
}

/// A command, explained.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) said: Said,
    took: Duration,
    steps: Vec<Step>,
    more: usize,
}

impl Way {
    /// That of a connection with this number.
    #[must_use]
    pub const fn new(connection: u64) -> Self {
        Self { connection, longest: None, tape: None }
    }

    /// An answer came.
    pub(super) fn heard(&mut self, response: &Response) {
        let phases = response.told.phases;
        if self.longest.is_none_or(|longest| longest.sum_us() <= phases.sum_us()) {
            self.longest = Some(phases);
        }
    }

    /// What was done is done: the phases of the answer that took longest, if any came.
    pub(super) const fn take_longest(&mut self) -> Option<Phases> {
        self.longest.take()
    }

    /// Whether what is being done is explained.
    pub(super) const fn is_explained(&self) -> bool {
        self.tape.is_some()
    }

    /// From now on each attempt is written down.
    pub(super) fn explain(&mut self, began: Instant) {
        self.tape = Some(Tape { began, steps: Vec::new(), more: 0 });
    }

    /// An attempt was made.
    pub(super) fn note(
        &mut self,
        (group, is_write): (u32, bool),
        (from, to): (Instant, Instant),
        (node, came): (Option<NodeId>, Came),
        response: Option<&Response>,
    ) {
        let Some(tape) = &mut self.tape else { return };
        if tape.steps.len() >= STEPS_MAX {
            tape.more += 1;
            return;
        }
        let told = response.map(|response| response.told).filter(|_| came == Came::Answer);
        tape.steps.push(Step {
            after: from.since(tape.began),
            took: to.since(from),
            group,
            is_write,
            node,
            came: came.to_string(),
            told,
        });
    }

    /// What was written down, beside what was answered.
    pub(super) fn explained(&mut self, said: Said, now: Instant) -> Explained {
        let tape = self.tape.take();
        let took = tape.as_ref().map_or(Duration::ZERO, |tape| now.since(tape.began));
        let (steps, more) = tape.map_or((Vec::new(), 0), |tape| (tape.steps, tape.more));
        Explained { said, took, steps, more }
    }
}

impl Explained {
    pub(super) fn write(&self, answer: &mut Answer<'_>) {
        answer.map(4);
        answer.bulk(b"answer");
        self.said.write(answer);
        answer.bulk(b"took-us");
        answer.integer(micros(self.took));
        answer.bulk(b"asked");
        answer.array(self.steps.len());
        self.steps.iter().for_each(|step| step.write(answer));
        answer.bulk(b"left-out");
        answer.integer(self.more as i64);
    }
}

impl Step {
    fn write(&self, answer: &mut Answer<'_>) {
        answer.map(if self.told.is_some() { 15 } else { 6 });
        number(answer, "after-us", micros(self.after));
        number(answer, "took-us", micros(self.took));
        number(answer, "group", self.group.into());
        answer.bulk(b"to");
        answer.bulk(if self.is_write { b"write" } else { b"read" });
        answer.bulk(b"node");
        match self.node {
            Some(node) => answer.integer(node.0 as i64),
            None => answer.nothing(),
        }
        answer.bulk(b"came");
        answer.bulk(self.came.as_bytes());
        let Some(told) = &self.told else { return };
        answer.bulk(b"level");
        answer.bulk(level(told.level).as_bytes());
        answer.bulk(b"staleness-ms");
        match told.staleness_ms {
            STALENESS_UNKNOWN_MS => answer.nothing(),
            known => answer.integer(known.into()),
        }
        number(answer, "version", told.applied.0 as i64);
        number(answer, "time-ms", told.stamp.ms() as i64);
        write_phases(answer, self.took, told.phases);
    }
}

/// Five numbers by their names: what of that time was spent outside of the node that answered, and
/// where it went inside.
pub(super) fn write_phases(answer: &mut Answer<'_>, took: Duration, phases: Phases) {
    let inside = i64::try_from(phases.sum_us()).unwrap_or(i64::MAX);
    number(answer, "route-us", (micros(took) - inside).max(0));
    for (name, us) in phases.named() {
        number(answer, &format!("{name}-us"), us.into());
    }
}

fn number(answer: &mut Answer<'_>, name: &str, number: i64) {
    answer.bulk(name.as_bytes());
    answer.integer(number);
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Eventual => "eventual",
        Level::Quorum => "quorum",
        Level::Strong => "strong",
    }
}
