//! The serial oracle: the order that the subject itself states explains every answer.
//!
//! A replicated log, and any store that numbers its writes, *knows* the order in which it executed
//! them. When it tells us that order there is nothing to search: replay it once. That is linear
//! time, so a run of a million operations can be judged, and it is sharper than linearizability of
//! each key, because the order is one for all keys.
//!
//! Three demands: every acknowledged write stands in the order, exactly once, and no failed one
//! does; replaying the order gives every acknowledged answer; and whatever ended before another
//! began stands before it. A get does not stand in the order; it states the position it was
//! answered at, and its answer must be the state after that many writes.
//!
//! Not here: subjects that cannot tell their order (`linearizable`).

use std::collections::BTreeMap;

use super::{Judge, Verdict, linearizable::step};
use crate::history::{Answer, Call, History, Key, OpId, Operation, Outcome, Value};

const NAME: &str = "serial";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "the order that the subject itself states explains every answer (linear time)",
    canary,
};

/// The order a subject states.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Its writes, in the order of their execution.
    pub writes: Vec<OpId>,
    /// For each answered get: after how many of the writes.
    pub reads: BTreeMap<OpId, usize>,
}

/// Replays the order.
#[must_use]
pub fn check(history: &History, order: &Order) -> Verdict {
    let mut positions: Vec<Option<usize>> = vec![None; history.operations.len()];
    for (at, id) in order.writes.iter().enumerate() {
        let Some(slot) = positions.get_mut(id.0 as usize) else {
            return Verdict::violated(NAME, "the order holds an operation nobody asked for", at);
        };
        if let Some(first) = slot {
            let what = history.operations[id.0 as usize];
            let evidence = format!("{what}\nstands at {first} and again at {at}");
            return Verdict::violated(NAME, "a write stands in the order twice", evidence);
        }
        *slot = Some(at);
    }
    for (at, operation) in history.operations.iter().enumerate() {
        match (operation.outcome, positions[at], operation.call.is_write()) {
            (Outcome::Ok(answer), None, true) if answer != Answer::Swapped(false) => {
                let symptom = "an acknowledged write is missing from the order";
                return Verdict::violated(NAME, symptom, operation);
            }
            (Outcome::Failed, Some(_), _) => {
                let symptom = "a write reported as failed stands in the order";
                return Verdict::violated(NAME, symptom, operation);
            }
            _ => {}
        }
    }
    replay(history, order).and(|| real_time(history, order, &positions))
}

fn replay(history: &History, order: &Order) -> Verdict {
    let mut reads: Vec<(usize, OpId)> = order.reads.iter().map(|(id, at)| (*at, *id)).collect();
    reads.sort_unstable();
    let mut reads = reads.into_iter().peekable();
    let mut states: BTreeMap<Key, Value> = BTreeMap::new();
    for at in 0..=order.writes.len() {
        while let Some((_, id)) = reads.next_if(|(position, _)| *position <= at) {
            let operation = &history.operations[id.0 as usize];
            let expected = Answer::Value(states.get(&operation.key).copied());
            if operation.answer().is_some_and(|seen| seen != expected) {
                return wrong(operation, expected, at);
            }
        }
        let Some(id) = order.writes.get(at) else { break };
        let operation = &history.operations[id.0 as usize];
        let (after, expected) = step(states.get(&operation.key).copied(), operation.call);
        match after {
            Some(value) => states.insert(operation.key, value),
            None => states.remove(&operation.key),
        };
        if operation.answer().is_some_and(|seen| seen != expected) {
            return wrong(operation, expected, at);
        }
    }
    Verdict::Holds
}

fn wrong(operation: &Operation, expected: Answer, at: usize) -> Verdict {
    let expected = Outcome::Ok(expected);
    let evidence = format!("{operation}\nat position {at} of the order it had to be `{expected}`");
    let symptom = match operation.call {
        Call::Get => "a get's answer is not the state at its place in the order",
        _ => "a write's answer is not the one of its place in the order",
    };
    Verdict::violated(NAME, symptom, evidence)
}

/// Walks through the events in time with the highest position that any ended operation proves.
fn real_time(history: &History, order: &Order, positions: &[Option<usize>]) -> Verdict {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, operation) in history.operations.iter().enumerate() {
        events.push((operation.began.order, false, at));
        if operation.answer().is_some() {
            events.push((operation.end_order(), true, at));
        }
    }
    events.sort_unstable();
    let (mut floor, mut proof) = (0, None);
    for (_, is_end, at) in events {
        // After how many writes the state that it saw, or made, is.
        let read = order.reads.get(&OpId(u32::try_from(at).unwrap_or(u32::MAX)));
        let Some(reached) = positions[at].map(|position| position + 1).or(read.copied()) else {
            continue;
        };
        let needed = floor + usize::from(positions[at].is_some());
        if is_end && reached > floor {
            (floor, proof) = (reached, Some(at));
        }
        if !is_end && reached < needed {
            let earlier = proof.map_or_else(String::new, |at| history.operations[at].to_string());
            let evidence = format!(
                "{earlier}\nended at position {floor}, before\n{}\nbegan, at position {reached}",
                history.operations[at]
            );
            let symptom = "the order puts an operation before one that had ended already";
            return Verdict::violated(NAME, symptom, evidence);
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let text = "1 2 c0 k0 set 1 = done\n3 4 c0 k1 set 2 = done";
    let order = Order { writes: vec![OpId(1), OpId(0)], reads: BTreeMap::new() };
    text.parse().map_or(Verdict::Holds, |history| check(&history, &order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, writes: &[u32], reads: &[(u32, usize)]) -> Verdict {
        let order = Order {
            writes: writes.iter().copied().map(OpId).collect(),
            reads: reads.iter().map(|(id, at)| (OpId(*id), *at)).collect(),
        };
        check(&text.parse().expect("a history"), &order)
    }

    fn symptom(verdict: &Verdict) -> &str {
        verdict.violation().map_or("", |violation| &violation.symptom)
    }

    #[test]
    fn an_order_that_explains_everything_holds() {
        let text = "
            1 4 c0 k0 set 1  = done
            2 - c1 k0 incr 5 = unknown
            3 - c3 k0 incr 9 = unknown
            5 6 c2 k0 get    = 6
            7 8 c2 k0 cas 6>9 = swapped";
        assert_eq!(judge(text, &[0, 1, 4], &[(3, 2)]), Verdict::Holds);
    }

    #[test]
    fn each_demand_has_its_own_words() {
        let lost = judge("1 2 c0 k0 set 1 = done", &[], &[]);
        assert_eq!(symptom(&lost), "an acknowledged write is missing from the order");
        let twice = judge("1 2 c0 k0 incr 1 = 1", &[0, 0], &[]);
        assert_eq!(symptom(&twice), "a write stands in the order twice");
        let ghost = judge("1 2 c0 k0 set 1 = failed", &[0], &[]);
        assert_eq!(symptom(&ghost), "a write reported as failed stands in the order");
        let stale = judge("1 2 c0 k0 set 1 = done\n3 4 c1 k0 get = nothing", &[0], &[(1, 0)]);
        assert_eq!(
            symptom(&stale),
            "the order puts an operation before one that had ended already"
        );
        let wrong = judge("1 2 c0 k0 set 1 = done\n3 4 c1 k0 get = 2", &[0], &[(1, 1)]);
        assert_eq!(symptom(&wrong), "a get's answer is not the state at its place in the order");
    }
}
