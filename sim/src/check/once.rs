//! At most once: a request that is retried is executed at most once.
//!
//! Two ways to see it. From outside, counters: the sum at the end is at least what was
//! acknowledged and at most that plus what is unknown. From inside, when the subject shows its
//! log: no request stands there twice.
//!
//! Not here: whether each answer along the way was right (`linearizable`, `serial`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, Verdict};
use crate::history::{Call, History, Key, OpId, Outcome, Value};

const NAME: &str = "once";

/// This judge.
pub const JUDGE: Judge =
    Judge { name: NAME, demands: "each request is executed at most once", canary };

/// Judges the final sums of keys that are only counted on (and read).
#[must_use]
pub fn check_sums(history: &History, finally: &BTreeMap<Key, Value>) -> Verdict {
    let mut sums: BTreeMap<Key, (Value, Value)> = BTreeMap::new();
    let mut mixed: BTreeSet<Key> = BTreeSet::new();
    for operation in &history.operations {
        let (sure, open) = sums.entry(operation.key).or_default();
        match (operation.call, operation.outcome) {
            (Call::Get, _) | (_, Outcome::Failed) => {}
            (Call::Incr(by), Outcome::Ok(_)) => *sure += by,
            (Call::Incr(by), Outcome::Unknown) => *open += by,
            _ => drop(mixed.insert(operation.key)),
        }
    }
    sums.retain(|key, _| !mixed.contains(key));
    for (key, (sure, open)) in sums {
        let found = finally.get(&key).copied().unwrap_or(0);
        let evidence =
            format!("k{key} is {found} at the end; acknowledged {sure}, of unknown outcome {open}");
        if found > sure + open {
            return Verdict::violated(NAME, "a sum is larger than all its parts", evidence);
        }
        if found < sure {
            return Verdict::violated(NAME, "a sum lacks an acknowledged part", evidence);
        }
    }
    Verdict::Holds
}

/// Judges the log that the subject shows.
#[must_use]
pub fn check_log(history: &History, log: &[OpId]) -> Verdict {
    let mut seen: BTreeMap<OpId, usize> = BTreeMap::new();
    for (at, id) in log.iter().enumerate() {
        if let Some(first) = seen.insert(*id, at) {
            let what = history.operations.get(id.0 as usize).map(ToString::to_string);
            let evidence = format!(
                "{}\nstands in the log at {first} and again at {at}",
                what.unwrap_or_default()
            );
            return Verdict::violated(NAME, "a request was executed twice", evidence);
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let text = "1 2 c0 k0 incr 5 = 5";
    text.parse().map_or(Verdict::Holds, |history| check_sums(&history, &BTreeMap::from([(0, 10)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_lies_between_what_is_sure_and_what_is_possible() {
        let history: History =
            "1 2 c0 k0 incr 5 = 5\n3 - c0 k0 incr 2 = unknown".parse().expect("a history");
        let judge = |sum| check_sums(&history, &BTreeMap::from([(0, sum)])) == Verdict::Holds;
        assert_eq!([4, 5, 7, 8].map(judge), [false, true, true, false]);
    }

    #[test]
    fn a_log_holds_a_request_once() {
        let history: History = "1 2 c0 k0 incr 5 = 5".parse().expect("a history");
        assert_eq!(check_log(&history, &[OpId(0)]), Verdict::Holds);
        assert_ne!(check_log(&history, &[OpId(0), OpId(0)]), Verdict::Holds);
    }
}
