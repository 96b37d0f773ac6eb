//! Twice: the same seed must be the same run, to the last bit.
//!
//! The digest folds in every poll, event and result, and every answer that a client got. Comparing
//! random draws alone is known to miss leaks: code that asks a hash map for its order draws
//! nothing. Each seed is run once among others on several threads and once alone, because state
//! that leaks from one world into the next shows only there. Nobody listens to the first and
//! everything of the second is recorded, because who replays a seed does so to look at it.
//!
//! When two runs part, both are run again with their traces on, and the first line that differs is
//! shown with what led to it. A leak need not repeat itself: the hunt for the line is tried a few
//! times.
//!
//! That the comparison can fail at all is shown by three leaks put in on purpose: the order of a
//! randomly seeded hash map, the real clock, and whether somebody listens to what is logged. They
//! only decide who is woken first.
//!
//! Not here: the digest (`digest`), the trace (`trace`).

use std::fmt;

use crate::{
    run::{Report, Request, run},
    scenario::Scenario,
    trace::Keep,
};

/// A leak of non-determinism, put in on purpose to see that it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leak {
    /// None.
    #[default]
    None,
    /// The order of a randomly seeded hash map decides who is woken first.
    HashOrder,
    /// The real clock decides who is woken first.
    Clock,
    /// Whether somebody listens decides who is woken first.
    Listened,
}

impl Leak {
    /// The items in the order that the leak gives them.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the leak is the point"
    )]
    pub fn shuffle<T>(self, items: &[T]) -> Vec<&T> {
        match self {
            Self::None => items.iter().collect(),
            Self::HashOrder => {
                let map: std::collections::HashMap<usize, &T> = items.iter().enumerate().collect();
                map.into_values().collect()
            }
            Self::Clock => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let nanos = now.map_or(0, |now| now.subsec_nanos() / 100);
                let mut all: Vec<&T> = items.iter().collect();
                all.rotate_left(nanos as usize % items.len().max(1));
                all
            }
            Self::Listened => {
                let mut all: Vec<&T> = items.iter().collect();
                if tracing::enabled!(tracing::Level::INFO) {
                    all.reverse();
                }
                all
            }
        }
    }
}

/// Where two runs of one seed part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The seed.
    pub seed: u64,
    /// The lines that both have, right before.
    pub common: Vec<String>,
    /// How the first goes on.
    pub one: String,
    /// How the second goes on.
    pub other: String,
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed 0x{:x} was not the same run twice", self.seed)?;
        self.common.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        writeln!(f, "  - {}", self.one)?;
        write!(f, "  + {}", self.other)
    }
}

/// Lines shown before the first that differs.
const CONTEXT: usize = 6;
/// How often the line is looked for.
const TRIES: usize = 8;

/// A run of that seed that is recorded as for a page to look at.
#[must_use]
pub fn recorded(seed: u64) -> Request {
    Request { keep: Keep::Last(CONTEXT), tape: true, ..Request::of(seed) }
}

fn traced(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, &Request { keep: Keep::Everything, ..Request::of(seed) })
}

/// The first line in which two runs of this seed differ, if they do while somebody looks.
#[must_use]
pub fn find_parting(scenario: &Scenario, seed: u64) -> Option<Parting> {
    (0..TRIES).find_map(|_| {
        let (one, other) = (traced(scenario, seed), traced(scenario, seed));
        (one.digest != other.digest).then(|| part(seed, &lines(&one), &lines(&other)))
    })
}

/// Where two runs of this seed part, for people: in words where both have to be looked at for that.
#[must_use]
pub fn parting_in_words(scenario: &Scenario, seed: u64) -> String {
    match find_parting(scenario, seed) {
        Some(parting) => parting.to_string(),
        None => format!(
            "seed 0x{seed:x} was not the same run twice, and was while both were traced: see what \
             is done only where something is logged"
        ),
    }
}

fn lines(report: &Report) -> Vec<String> {
    let operations = report.history.operations.iter().map(ToString::to_string);
    let trace = report.trace.iter().map(ToString::to_string);
    trace.chain(operations).chain([format!("digest {}", report.digest)]).collect()
}

fn part(seed: u64, one: &[String], other: &[String]) -> Parting {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let ended = || "(the run has ended)".to_string();
    Parting {
        seed,
        common: one[at.saturating_sub(CONTEXT)..at].to_vec(),
        one: one.get(at).cloned().unwrap_or_else(ended),
        other: other.get(at).cloned().unwrap_or_else(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown_with_what_led_to_it() {
        let text = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let parting = part(7, &text(&["a", "b", "c"]), &text(&["a", "b", "d"]));
        assert_eq!((parting.one.as_str(), parting.other.as_str()), ("c", "d"));
        assert_eq!(parting.common, ["a", "b"]);
        assert_eq!(part(7, &text(&["a"]), &text(&["a", "b"])).one, "(the run has ended)");
    }
}
