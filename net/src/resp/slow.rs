//! What took long: the slow log, and the moments at which commands did.
//!
//! A command's time is that from when it was read until it was answered, so it has in it what the
//! cluster took to agree. Commands of a connection that were on their way together are one entry: the
//! first of them, and how many more.
//!
//! Invariants: at most so many entries, each of at most so many words and bytes.
//!
//! Not here: the commands that tell it (`described.rs`).

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;
use trilith_engine::command::Phases;

use super::request::Words;
use crate::limits::{LATENCY_MOMENTS_MAX, SLOW_LOG_MAX, SLOW_WORD_BYTES_MAX, SLOW_WORDS_MAX};

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// Since 1970.
    pub(super) at_s: u64,
    pub(super) micros: u64,
    pub(super) words: Vec<Bytes>,
    /// Those of the answer that took longest, if the cluster was asked.
    pub(super) phases: Option<Phases>,
    pub(super) from: SocketAddr,
    pub(super) name: Bytes,
}

/// A second in which a command took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since 1970.
    pub(super) at_s: u64,
    /// The longest of that second.
    pub(super) ms: u64,
}

/// What took long, and from when on that is long.
#[derive(Debug)]
pub(super) struct Slow {
    /// In microseconds; none is long when negative.
    pub(super) log_from: i64,
    pub(super) log_max: usize,
    /// In milliseconds; none is long when 0.
    pub(super) moments_from: u64,
    next: u64,
    log: VecDeque<Entry>,
    moments: VecDeque<Moment>,
    longest_ms: u64,
}

impl Default for Slow {
    /// As Redis has it.
    fn default() -> Self {
        Self {
            log_from: 10_000,
            log_max: SLOW_LOG_MAX,
            moments_from: 0,
            next: 0,
            log: VecDeque::new(),
            moments: VecDeque::new(),
            longest_ms: 0,
        }
    }
}

/// Who asked for what, and how many more came with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) words: &'a Words,
    pub(super) more: usize,
    pub(super) phases: Option<Phases>,
    pub(super) from: SocketAddr,
    pub(super) name: &'a Bytes,
}

impl Slow {
    /// Something took so long.
    pub(super) fn saw(&mut self, at_s: u64, took: Duration, asked: Asked<'_>) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if u64::try_from(self.log_from).is_ok_and(|from| micros >= from) {
            let Asked { words, more, phases, from, name } = asked;
            let entry = Entry {
                id: self.next,
                at_s,
                micros,
                words: shortened(words, more),
                phases,
                from,
                name: name.clone(),
            };
            self.next += 1;
            self.log.push_front(entry);
            self.cut();
        }
        let ms = micros / 1000;
        if self.moments_from > 0 && ms >= self.moments_from {
            self.longest_ms = self.longest_ms.max(ms);
            match self.moments.back_mut().filter(|last| last.at_s == at_s) {
                Some(last) => last.ms = last.ms.max(ms),
                None => self.moments.push_back(Moment { at_s, ms }),
            }
            if self.moments.len() > LATENCY_MOMENTS_MAX {
                self.moments.pop_front();
            }
        }
    }

    /// It may have become shorter.
    pub(super) fn cut(&mut self) {
        self.log.truncate(self.log_max);
    }

    /// The newest first.
    pub(super) fn log(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.log.iter()
    }

    pub(super) fn forget_log(&mut self) {
        self.log.clear();
    }

    /// The oldest first.
    pub(super) fn moments(&self) -> impl ExactSizeIterator<Item = &Moment> {
        self.moments.iter()
    }

    pub(super) const fn longest_ms(&self) -> u64 {
        self.longest_ms
    }

    /// Whether there were any.
    pub(super) fn forget_moments(&mut self) -> bool {
        self.longest_ms = 0;
        !std::mem::take(&mut self.moments).is_empty()
    }
}

/// As Redis shortens them.
fn shortened(words: &Words, more: usize) -> Vec<Bytes> {
    let is_long = words.len() > SLOW_WORDS_MAX;
    let whole = if is_long { SLOW_WORDS_MAX - 1 } else { words.len() };
    let short = |word: &[u8]| match word.len().checked_sub(SLOW_WORD_BYTES_MAX) {
        Some(left @ 1..) => {
            let begin = &word[..SLOW_WORD_BYTES_MAX];
            Bytes::from([begin, format!("... ({left} more bytes)").as_bytes()].concat())
        }
        _ => Bytes::copy_from_slice(word),
    };
    let mut all: Vec<Bytes> = words.iter().take(whole).map(short).collect();
    if is_long {
        all.push(Bytes::from(format!("... ({} more arguments)", words.len() - whole)));
    }
    if more > 0 {
        all.push(Bytes::from(format!("... ({more} more commands in the same go)")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(slow: &mut Slow, at_s: u64, micros: u64, line: &str, more: usize) {
        let words: Words = line.split(' ').collect();
        let from = SocketAddr::from(([127, 0, 0, 1], 7));
        let asked = Asked { words: &words, more, phases: None, from, name: &Bytes::new() };
        slow.saw(at_s, Duration::from_micros(micros), asked);
    }

    #[test]
    fn what_takes_long_is_kept_and_the_oldest_goes() {
        let mut slow = Slow { log_max: 2, ..Slow::default() };
        for (micros, line) in
            [(9_999, "get a"), (10_000, "get b"), (20_000, "get c"), (30_000, "d")]
        {
            saw(&mut slow, 5, micros, line, 0);
        }
        let shown: Vec<_> = slow.log().map(|entry| (entry.id, entry.words[0].clone())).collect();
        assert_eq!(shown, [(2, "d".into()), (1, "get".into())]);
        slow.log_from = -1;
        saw(&mut slow, 5, u64::MAX, "e", 0);
        assert_eq!(slow.log().len(), 2);
        slow.forget_log();
        slow.log_from = 0;
        saw(&mut slow, 5, 0, "e", 3);
        assert_eq!(slow.log().next().map(|entry| entry.id), Some(3));
        let words = slow.log().next().unwrap().words.clone();
        assert_eq!(words, ["e", "... (3 more commands in the same go)"]);
    }

    #[test]
    fn long_commands_are_shortened() {
        let words: Words = (0..40).map(|_| "x".repeat(200)).collect();
        let short = shortened(&words, 0);
        assert_eq!(short.len(), SLOW_WORDS_MAX);
        assert_eq!(short[31], "... (9 more arguments)");
        assert!(short[0].ends_with(b"... (72 more bytes)"));
    }

    #[test]
    fn a_moment_is_the_longest_of_its_second() {
        let mut slow = Slow::default();
        saw(&mut slow, 1, 9_000_000, "a", 0);
        assert_eq!(slow.moments().len(), 0, "nobody wants to know");
        slow.moments_from = 5;
        for (at_s, micros) in [(1, 4_999), (1, 5_000), (1, 7_000), (2, 6_000)] {
            saw(&mut slow, at_s, micros, "a", 0);
        }
        let moments: Vec<_> = slow.moments().copied().collect();
        assert_eq!(moments, [Moment { at_s: 1, ms: 7 }, Moment { at_s: 2, ms: 6 }]);
        assert_eq!(slow.longest_ms(), 7);
        (0..300).for_each(|at_s| saw(&mut slow, at_s, 8_000, "a", 0));
        assert_eq!(slow.moments().len(), LATENCY_MOMENTS_MAX);
        assert!(slow.forget_moments() && !slow.forget_moments());
    }
}
