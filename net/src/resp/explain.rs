//! EXPLAIN: what a command came to, attempt by attempt, and what each answer was worth.
//!
//! ```text
//!   EXPLAIN SET a 1 ─► the command is done as ever, and beside its answer is told:
//!                      when which node was asked for which group, how long that took,
//!                      and what came of it: an answer and what it holds, another leader, silence
//! ```
//! Whatever the door asks the cluster for that connection meanwhile is written down. Where nobody
//! explains anything, that costs a look at a number.
//!
//! Not here: doing it (`front.rs`), what happens in the node that answers.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use trilith_engine::{
    command::{Level, Response, STALENESS_UNKNOWN_MS, Told},
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

#[derive(Debug)]
struct Tape {
    began: Instant,
    steps: Vec<Step>,
    /// How many more there were.
    more: usize,
}

/// What is written down, of each connection that explains something.
#[derive(Debug, Default)]
pub(super) struct Tapes {
    running: AtomicUsize,
    all: Mutex<BTreeMap<u64, Tape>>,
}

/// As long as it is there, something is explained.
pub(super) struct Running<'a> {
    tapes: &'a Tapes,
    connection: u64,
}

/// A command, explained.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) said: Said,
    took: Duration,
    steps: Vec<Step>,
    more: usize,
}

impl Tapes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Tape>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is written down for that connection.
    pub(super) fn runs(&self, connection: u64) -> bool {
        self.running.load(Relaxed) > 0 && self.lock().contains_key(&connection)
    }

    /// From now on, until that is dropped.
    pub(super) fn run(&self, connection: u64, began: Instant) -> Running<'_> {
        self.running.fetch_add(1, Relaxed);
        self.lock().insert(connection, Tape { began, steps: Vec::new(), more: 0 });
        Running { tapes: self, connection }
    }

    /// An attempt was made.
    pub(super) fn note(
        &self,
        connection: u64,
        (group, is_write): (u32, bool),
        (from, to): (Instant, Instant),
        (node, came): (Option<NodeId>, Came),
        response: Option<&Response>,
    ) {
        let mut all = self.lock();
        let Some(tape) = all.get_mut(&connection) else { return };
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
}

impl Running<'_> {
    /// What was written down, beside what was answered.
    pub(super) fn end(self, said: Said, now: Instant) -> Explained {
        let tape = self.tapes.lock().remove(&self.connection);
        let took = tape.as_ref().map_or(Duration::ZERO, |tape| now.since(tape.began));
        let (steps, more) = tape.map_or((Vec::new(), 0), |tape| (tape.steps, tape.more));
        Explained { said, took, steps, more }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tapes.lock().remove(&self.connection);
        self.tapes.running.fetch_sub(1, Relaxed);
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
        answer.map(if self.told.is_some() { 10 } else { 6 });
        let number = |answer: &mut Answer<'_>, name: &str, number: i64| {
            answer.bulk(name.as_bytes());
            answer.integer(number);
        };
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
    }
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
