//! No phantoms: whatever is read was written by somebody, earlier, and not reported as failed.
//!
//! Cheap and blunt: it needs no order. It is the judge that catches corrupt bytes served as data
//! and a client library that says "failed" when it does not know.
//!
//! Keys that are counted on (incr) have values that no single write made; `once` counts those.
//!
//! Not here: whether the value read was the right one (`linearizable`).

use std::collections::BTreeMap;

use super::{Judge, Verdict};
use crate::history::{Answer, Call, History, Key, Operation, Outcome, Value};

const NAME: &str = "phantom";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "nothing is read that nobody wrote, or that was reported as failed",
    canary,
};

/// Judges all answered gets, and the final values.
#[must_use]
pub fn check(history: &History, finally: &BTreeMap<Key, Value>) -> Verdict {
    let mut writers: BTreeMap<(Key, Value), Vec<&Operation>> = BTreeMap::new();
    let mut counted: BTreeMap<Key, ()> = BTreeMap::new();
    for operation in &history.operations {
        match operation.call {
            Call::Set(to) | Call::Cas { to, .. } => {
                writers.entry((operation.key, to)).or_default().push(operation);
            }
            Call::Incr(_) => drop(counted.insert(operation.key, ())),
            Call::Get | Call::Delete => {}
        }
    }
    let reads = history.operations.iter().filter_map(|op| match (op.call, op.answer()) {
        (Call::Get, Some(Answer::Value(Some(value)))) => {
            Some((op.key, value, op.end_order(), op.to_string()))
        }
        _ => None,
    });
    let last = finally
        .iter()
        .map(|(key, value)| (*key, *value, u64::MAX, format!("k{key} holds {value} at the end")));
    for (key, value, seen, told) in reads.chain(last) {
        if counted.contains_key(&key) {
            continue;
        }
        let Some(writers) = writers.get(&(key, value)) else {
            return Verdict::violated(NAME, "a value was read that nobody wrote", told);
        };
        let possible = |op: &&&Operation| {
            !matches!(op.outcome, Outcome::Failed | Outcome::Ok(Answer::Swapped(false)))
        };
        if !writers.iter().any(|op| possible(&op)) {
            let evidence = format!("{told}\nalthough\n{}", writers[0]);
            return Verdict::violated(NAME, "a write reported as failed was read", evidence);
        }
        if writers.iter().filter(possible).all(|op| op.began.order > seen) {
            let evidence = format!("{told}\nalthough\n{}", writers[0]);
            return Verdict::violated(NAME, "a value was read before it was written", evidence);
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let text = "1 2 c0 k0 set 1 = failed\n3 4 c0 k0 get = 1";
    text.parse().map_or(Verdict::Holds, |history| check(&history, &BTreeMap::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Verdict {
        check(&text.parse().expect("a history"), &BTreeMap::new())
    }

    #[test]
    fn who_wrote_it_and_when() {
        assert_eq!(judge("1 - c0 k0 set 1 = unknown\n3 4 c1 k0 get = 1"), Verdict::Holds);
        assert_ne!(judge("1 - c0 k0 set 1 = unknown\n3 4 c1 k0 get = 2"), Verdict::Holds);
        assert_ne!(judge("1 2 c1 k0 get = 1\n3 4 c0 k0 set 1 = done"), Verdict::Holds);
        assert_eq!(judge("1 2 c0 k0 incr 1 = 1\n3 4 c1 k0 get = 2"), Verdict::Holds);
        let unswapped = "1 2 c0 k0 cas nothing>1 = not swapped\n3 4 c1 k0 get = 1";
        assert_ne!(judge(unswapped), Verdict::Holds);
    }
}
