//! What the clients saw: every operation, when it began, when it ended, and what it answered.
//!
//! A judge that looks from outside has nothing but this. Three outcomes exist and no fourth:
//! `ok` (it happened, and this was the answer), `failed` (it certainly did not happen) and
//! `unknown` (it may have happened, or may still happen: such an operation stays open forever).
//! A store that mixes up the last two is broken, however good its data looks.
//!
//! Order is a sequence number that the recorder hands out, not the clock: two events at the same
//! virtual instant still have an order. The clock is kept beside it, for people.
//!
//! Keys are small numbers and values are 64-bit ids; a subject that stores bytes derives them from
//! these. That keeps judging fast, and a value names the write that made it.
//!
//! The text form, one operation a line, is what failure messages print and what the recorded
//! histories under `sim/tests/histories` hold:
//! ```text
//! began ended client key call        = outcome
//! 1     4     c0     k7  set 5       = done
//! 2     -     c1     k7  cas 5>6     = unknown
//! 6     9     c2     k7  get         = 5
//! ```
//!
//! Not here: any judgement (`check`), and how load is made (`load`).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// A key, by number.
pub type Key = u32;
/// A value, by id.
pub type Value = u64;

/// An operation of a history: its place in [`History::operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// The value of the key.
    Get,
    /// Make this the value.
    Set(Value),
    /// Let there be no value.
    Delete,
    /// Make `to` the value if it is `from` now.
    Cas {
        /// What must be there.
        from: Option<Value>,
        /// What is to be there.
        to: Value,
    },
    /// Add to the value; nothing counts as zero. Answers the sum.
    Incr(Value),
}

impl Call {
    /// Whether it can change anything.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Get)
    }
}

/// What a client was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// A set or a delete was done.
    Done,
    /// A get's value, or the sum of an incr.
    Value(Option<Value>),
    /// Whether a cas found what it wanted.
    Swapped(bool),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It happened.
    Ok(Answer),
    /// It certainly did not happen and never will.
    Failed,
    /// It may have happened, or may happen later.
    Unknown,
}

/// A moment: its place in the order of all events, and the virtual clock beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Its place in the order.
    pub order: u64,
    /// Virtual nanoseconds, for people.
    pub at_ns: u64,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// Which key.
    pub key: Key,
    /// For what.
    pub call: Call,
    /// When.
    pub began: Moment,
    /// When it ended; `None` while it runs, and forever when its outcome is unknown.
    pub ended: Option<Moment>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// The order of its end; the end of time when it never ended.
    #[must_use]
    pub fn end_order(&self) -> u64 {
        match (self.outcome, self.ended) {
            (Outcome::Unknown, _) | (_, None) => u64::MAX,
            (_, Some(moment)) => moment.order,
        }
    }

    /// Its answer, when it has one.
    #[must_use]
    pub const fn answer(&self) -> Option<Answer> {
        match self.outcome {
            Outcome::Ok(answer) => Some(answer),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }
}

/// All operations of a run, in the order they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
    /// Why an operation was not done, in its client's words, where he knows.
    pub whys: BTreeMap<OpId, String>,
    next: u64,
}

impl History {
    /// A history of these operations.
    #[must_use]
    pub fn of(operations: Vec<Operation>) -> Self {
        let next = operations.len() as u64 * 2;
        Self { operations, whys: BTreeMap::new(), next }
    }

    fn moment(&mut self, at_ns: u64) -> Moment {
        self.next += 1;
        Moment { order: self.next, at_ns }
    }

    /// An operation begins.
    pub fn begin(&mut self, at_ns: u64, client: u32, key: Key, call: Call) -> OpId {
        let id = OpId(u32::try_from(self.operations.len()).unwrap_or(u32::MAX));
        let began = self.moment(at_ns);
        let outcome = Outcome::Unknown;
        self.operations.push(Operation { client, key, call, began, ended: None, outcome });
        id
    }

    /// An operation ends.
    ///
    /// # Panics
    /// When there is no such operation, or it has ended already.
    pub fn end(&mut self, at_ns: u64, id: OpId, outcome: Outcome) {
        let moment = self.moment(at_ns);
        let operation = &mut self.operations[id.0 as usize];
        assert!(operation.ended.is_none(), "an operation ends once");
        operation.ended = Some(moment);
        operation.outcome = outcome;
    }

    /// How many ended ok, failed, and are unknown.
    #[must_use]
    pub fn tally(&self) -> (usize, usize, usize) {
        self.operations.iter().fold((0, 0, 0), |(ok, failed, unknown), op| match op.outcome {
            Outcome::Ok(_) => (ok + 1, failed, unknown),
            Outcome::Failed => (ok, failed + 1, unknown),
            Outcome::Unknown => (ok, failed, unknown + 1),
        })
    }
}

/// A history that many clients write to.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// An operation begins.
    #[must_use]
    pub fn begin(&self, at_ns: u64, client: u32, key: Key, call: Call) -> OpId {
        self.with(|history| history.begin(at_ns, client, key, call))
    }

    /// An operation ends.
    pub fn end(&self, at_ns: u64, id: OpId, outcome: Outcome) {
        self.with(|history| history.end(at_ns, id, outcome));
    }

    /// Why it was not done.
    pub fn because(&self, id: OpId, why: String) {
        self.with(|history| history.whys.insert(id, why));
    }

    /// What was recorded so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.with(|history| history.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Shown(Option<Value>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => f.write_str("get"),
            Self::Set(value) => write!(f, "set {value}"),
            Self::Delete => f.write_str("delete"),
            Self::Cas { from, to } => write!(f, "cas {}>{to}", Shown(*from)),
            Self::Incr(by) => write!(f, "incr {by}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(Answer::Done) => f.write_str("done"),
            Self::Ok(Answer::Value(value)) => write!(f, "{}", Shown(*value)),
            Self::Ok(Answer::Swapped(true)) => f.write_str("swapped"),
            Self::Ok(Answer::Swapped(false)) => f.write_str("not swapped"),
            Self::Failed => f.write_str("failed"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.ended.map_or_else(|| "-".into(), |moment| moment.order.to_string());
        let Self { client, key, call, outcome, began, .. } = self;
        let (call, client, key) = (call.to_string(), format!("c{client}"), format!("k{key}"));
        write!(f, "{:<6} {ended:<6} {client:<4} {key:<4} {call:<12} = {outcome}", began.order)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

/// A line of a recorded history that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Unreadable {}

impl std::str::FromStr for History {
    type Err = Unreadable;

    /// Reads the text form; `#` begins a comment.
    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut operations = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let operation = read_operation(line)
                .map_err(|why| Unreadable { line: at + 1, why: format!("{why} in {line:?}") })?;
            operations.push(operation);
        }
        Ok(Self::of(operations))
    }
}

fn read_number<T: std::str::FromStr>(word: Option<&str>, prefix: &str) -> Result<T, String> {
    let word = word.ok_or("a word is missing")?;
    let digits = word.strip_prefix(prefix).ok_or(format!("{word:?} should begin with {prefix}"))?;
    digits.parse().map_err(|_bad| format!("{word:?} is not a number"))
}

fn read_value(word: &str) -> Result<Option<Value>, String> {
    if word == "nothing" { Ok(None) } else { read_number(Some(word), "").map(Some) }
}

fn read_operation(line: &str) -> Result<Operation, String> {
    let (left, outcome) = line.split_once('=').ok_or("there is no =")?;
    let mut words = left.split_whitespace();
    let began = Moment { order: read_number(words.next(), "")?, at_ns: 0 };
    let ended = match words.next() {
        Some("-") => None,
        word => Some(Moment { order: read_number(word, "")?, at_ns: 0 }),
    };
    let client = read_number(words.next(), "c")?;
    let key = read_number(words.next(), "k")?;
    let call = match words.next() {
        Some("get") => Call::Get,
        Some("set") => Call::Set(read_number(words.next(), "")?),
        Some("delete") => Call::Delete,
        Some("incr") => Call::Incr(read_number(words.next(), "")?),
        Some("cas") => {
            let (from, to) = words.next().and_then(|pair| pair.split_once('>')).ok_or("no pair")?;
            Call::Cas { from: read_value(from)?, to: read_number(Some(to), "")? }
        }
        other => return Err(format!("{other:?} is no call")),
    };
    let outcome = match outcome.trim() {
        "done" => Outcome::Ok(Answer::Done),
        "swapped" => Outcome::Ok(Answer::Swapped(true)),
        "not swapped" => Outcome::Ok(Answer::Swapped(false)),
        "failed" => Outcome::Failed,
        "unknown" => Outcome::Unknown,
        value => Outcome::Ok(Answer::Value(read_value(value)?)),
    };
    Ok(Operation { client, key, call, began, ended, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back() {
        let mut history = History::default();
        let calls = [
            (Call::Get, Some(Outcome::Ok(Answer::Value(None)))),
            (Call::Set(5), Some(Outcome::Ok(Answer::Done))),
            (Call::Delete, Some(Outcome::Failed)),
            (Call::Cas { from: None, to: 6 }, Some(Outcome::Ok(Answer::Swapped(false)))),
            (Call::Cas { from: Some(6), to: 7 }, Some(Outcome::Unknown)),
            (Call::Incr(2), None),
        ];
        for (call, outcome) in calls {
            let id = history.begin(0, 3, 9, call);
            if let Some(outcome) = outcome {
                history.end(0, id, outcome);
            }
        }
        let read: History = history.to_string().parse().expect("our own text");
        assert_eq!(read.operations, history.operations);
    }

    #[test]
    fn a_bad_line_is_named() {
        let refused = "# fine\n1 2 c0 k0 set x = done".parse::<History>().expect_err("no number");
        assert_eq!(refused.line, 2);
        assert!(refused.why.contains("\"x\" is not a number"), "{refused}");
    }
}
