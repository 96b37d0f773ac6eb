//! What happened in a world, as lines for people.
//!
//! A trace costs nothing while it is off: a line is made by a closure that is only called when
//! somebody keeps lines. Keeping them changes neither luck nor digest, so a failing seed is
//! replayed with its trace on and fails in the same way.
//!
//! ```text
//!     1.204518230  n2.1  disk write journal/000001.seg 4096+320 -> ok
//!     1.204660112  -     fault: power loss of n2
//! ```
//!
//! Not here: the digest (`digest.rs`), how two traces are compared (`twice.rs`).

use std::{collections::VecDeque, fmt};

use crate::tape::Tape;

/// Which lines are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Nothing,
    /// The last so many.
    Last(usize),
    /// All of them.
    Everything,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Virtual time since the world began, in nanoseconds.
    pub at_ns: u64,
    /// The node and its life; `None` for the world itself.
    pub who: Option<(u32, u32)>,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.at_ns / 1_000_000_000, self.at_ns % 1_000_000_000);
        write!(f, "{seconds:>6}.{nanos:09}  ")?;
        match self.who {
            Some((node, life)) => write!(f, "{:<5}  ", format!("n{node}.{life}"))?,
            None => write!(f, "{:<5}  ", "-")?,
        }
        f.write_str(&self.text)
    }
}

/// The lines of a world.
#[derive(Debug, Default)]
pub struct Trace {
    keep: Keep,
    lines: VecDeque<Line>,
    dropped: u64,
    tape: Option<Box<Tape>>,
}

impl Trace {
    /// Keeps what it is told.
    #[must_use]
    pub const fn new(keep: Keep) -> Self {
        Self { keep, lines: VecDeque::new(), dropped: 0, tape: None }
    }

    /// The same, with a tape beside the lines.
    #[must_use]
    pub fn with_tape(mut self) -> Self {
        self.tape = Some(Box::default());
        self
    }

    /// The tape, if there is one.
    #[inline]
    pub fn tape(&mut self) -> Option<&mut Tape> {
        self.tape.as_deref_mut()
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_taped(&self) -> bool {
        self.tape.is_some()
    }

    /// Takes the tape away.
    pub fn take_tape(&mut self) -> Option<Tape> {
        self.tape.take().map(|tape| *tape)
    }

    /// Whether anybody wants to know what programs say.
    #[must_use]
    pub const fn hears(&self) -> bool {
        self.is_on() || self.is_taped()
    }

    /// Whether anybody would see a line.
    #[must_use]
    #[inline]
    pub const fn is_on(&self) -> bool {
        !matches!(self.keep, Keep::Nothing)
    }

    /// Adds a line, made only if it is kept.
    #[inline]
    pub fn line(&mut self, at_ns: u64, who: Option<(u32, u32)>, text: impl FnOnce() -> String) {
        if self.is_on() {
            self.push(Line { at_ns, who, text: text() });
        }
    }

    fn push(&mut self, line: Line) {
        if let Keep::Last(most) = self.keep {
            while self.lines.len() >= most.max(1) {
                self.lines.pop_front();
                self.dropped += 1;
            }
        }
        self.lines.push_back(line);
    }

    /// The kept lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// How many lines were let go to keep to the bound.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keep: Keep) -> Trace {
        let mut trace = Trace::new(keep);
        for at in 0..5 {
            trace.line(at, Some((1, 2)), || format!("line {at}"));
        }
        trace
    }

    #[test]
    fn keeps_what_it_is_told() {
        assert_eq!(filled(Keep::Nothing).lines().count(), 0);
        assert_eq!(filled(Keep::Everything).lines().count(), 5);
        let last = filled(Keep::Last(2));
        assert_eq!(last.lines().map(|line| line.at_ns).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(last.dropped(), 3);
    }

    #[test]
    fn a_line_nobody_keeps_is_not_made() {
        Trace::new(Keep::Nothing).line(0, None, || unreachable!("made for nobody"));
    }

    #[test]
    fn a_line_reads_well() {
        let line = Line { at_ns: 1_204_518_230, who: Some((2, 1)), text: "boots".into() };
        assert_eq!(line.to_string(), "     1.204518230  n2.1   boots");
    }
}
