//! Durability: every acknowledged write is still there at the end, or something newer is.
//!
//! Judged from the final state of each key, read after all faults have stopped and everything has
//! recovered. The final value names the write that made it. It is too old when an acknowledged
//! write of the key began after that write had ended: then the acknowledged one was lost. The
//! test is linear; `linearizable` with final reads would say the same, later and in more words.
//!
//! Sums (incr) carry no name of their writer; they are counted by `once`.
//!
//! Not here: durability by level (arrives with levels).

use std::collections::BTreeMap;

use super::{Judge, Verdict};
use crate::history::{Answer, Call, History, Key, Operation, Outcome, Value};

const NAME: &str = "durable";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "every acknowledged write is still there at the end, or something newer is",
    canary,
};

/// The value an operation made, if it certainly or possibly did.
fn made(operation: &Operation) -> Option<Option<Value>> {
    match (operation.call, operation.outcome) {
        (_, Outcome::Failed | Outcome::Ok(Answer::Swapped(false))) => None,
        (Call::Set(value) | Call::Cas { to: value, .. }, _) => Some(Some(value)),
        (Call::Delete, _) => Some(None),
        (Call::Incr(_) | Call::Get, _) => None,
    }
}

/// Judges the final value of every key.
#[must_use]
pub fn check(history: &History, finally: &BTreeMap<Key, Value>) -> Verdict {
    let mut keys: BTreeMap<Key, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        if operations.iter().any(|op| matches!(op.call, Call::Incr(_))) {
            continue;
        }
        let found = finally.get(&key).copied();
        let newest = operations
            .iter()
            .filter(|op| made(op).is_some() && op.answer().is_some())
            .max_by_key(|op| op.began.order);
        let Some(newest) = newest else { continue };
        // The latest moment at which the found value may have been made.
        let latest =
            operations.iter().filter(|op| made(op) == Some(found)).map(|op| op.end_order()).max();
        if latest.is_none_or(|latest| latest < newest.began.order) {
            let symptom = if found.is_none() {
                "an acknowledged write is gone"
            } else {
                "an acknowledged write is gone and an older value is back"
            };
            let found = found.map_or_else(|| "nothing".into(), |value| value.to_string());
            let evidence = format!("k{key} holds {found} at the end, although\n{newest}");
            return Verdict::violated(NAME, symptom, evidence);
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let text = "1 2 c0 k0 set 1 = done\n3 4 c0 k0 set 2 = done";
    text.parse().map_or(Verdict::Holds, |history| check(&history, &BTreeMap::from([(0, 1)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, found: Option<Value>) -> bool {
        let finally = found.map(|value| (0, value)).into_iter().collect();
        check(&text.parse().expect("a history"), &finally) == Verdict::Holds
    }

    #[test]
    fn the_newest_acknowledged_write_or_a_newer_one_must_be_there() {
        let text = "1 2 c0 k0 set 1 = done\n3 4 c0 k0 set 2 = done\n5 - c1 k0 set 3 = unknown";
        assert!(!judge(text, None));
        assert!(!judge(text, Some(1)));
        assert!(judge(text, Some(2)));
        assert!(judge(text, Some(3)));
    }

    #[test]
    fn an_open_write_may_come_late_and_overlapping_ones_in_any_order() {
        let late = "1 - c1 k0 set 1 = unknown\n2 3 c0 k0 set 2 = done";
        assert!(judge(late, Some(1)));
        let overlapping = "1 4 c1 k0 set 1 = done\n2 3 c0 k0 delete = done";
        assert!(judge(overlapping, Some(1)));
        assert!(judge(overlapping, None));
    }
}
