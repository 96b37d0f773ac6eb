//! Linearizability of each key: one order that respects real time explains every answer.
//!
//! The search is Wing and Gong's with Lowe's memo: walk the events of one key in time, try each
//! operation that may come next, take it back when an answer cannot be explained, and never enter
//! a configuration (set of operations placed, value reached) twice. Linearizability is local, so
//! each key is judged alone; that is what makes long histories affordable.
//!
//! An operation whose outcome is unknown may take effect at any later time, or never: it is never
//! owed, and its end is the end of time. A failed one certainly did not happen: it is left out,
//! and whoever saw its value is caught here, since then nothing explains the value. A write of
//! unknown outcome that nobody saw is left out too when the key knows only get, set and delete:
//! taking it away changes no answer, and it keeps the search small when a run had many timeouts.
//!
//! The search is NP-hard in the worst case, so it counts steps and gives up with the verdict
//! *unknown* rather than hang; the box is in steps and not in seconds because a verdict is part of
//! what must replay.
//!
//! A violation is told as a core: the shortest prefix of the history that is already wrong, with
//! every read dropped and every write loosened (any time, or never) that the contradiction does
//! not need. Dropping a read or loosening a write can only make a history easier to explain, so a
//! core that cannot be explained convicts the whole.
//!
//! Not here: how histories of more than one key are judged (`serial`, `cycles`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, Verdict, Violation};
use crate::history::{Answer, Call, History, Key, Operation, Outcome, Value};

const NAME: &str = "linearizable";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "one order that respects real time explains every answer about a key",
    canary,
};

/// Steps of the search for one key before the verdict is unknown: about a second.
pub const STEPS_MAX: u64 = 2_000_000;

/// Judges each key of a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    check_within(history, STEPS_MAX)
}

/// Judges each key of a history, with this many steps for each.
#[must_use]
pub fn check_within(history: &History, steps: u64) -> Verdict {
    let mut keys: BTreeMap<Key, Vec<Operation>> = BTreeMap::new();
    for operation in &history.operations {
        if operation.outcome != Outcome::Failed {
            keys.entry(operation.key).or_default().push(*operation);
        }
    }
    keys.into_iter().fold(Verdict::Holds, |verdict, (key, operations)| {
        verdict.and(|| check_key(key, operations, steps))
    })
}

fn check_key(key: Key, mut operations: Vec<Operation>, steps: u64) -> Verdict {
    forget_unseen_writes(&mut operations);
    match explain(&operations, steps) {
        Search::Explained => Verdict::Holds,
        Search::GaveUp => Verdict::Unknown(format!(
            "{NAME}: key k{key} has {} operations and {steps} steps did not settle them",
            operations.len()
        )),
        Search::Impossible => Verdict::Violated(tell(key, operations, steps)),
    }
}

/// Leaves out writes of unknown outcome that no answer can depend on.
fn forget_unseen_writes(operations: &mut Vec<Operation>) {
    let only_plain =
        operations.iter().all(|op| matches!(op.call, Call::Get | Call::Set(_) | Call::Delete));
    if !only_plain {
        return;
    }
    let seen: BTreeSet<Option<Value>> = operations
        .iter()
        .filter_map(|op| match op.answer() {
            Some(Answer::Value(value)) => Some(value),
            _ => None,
        })
        .collect();
    operations.retain(|op| {
        op.outcome != Outcome::Unknown
            || match op.call {
                Call::Set(value) => seen.contains(&Some(value)),
                Call::Delete => seen.contains(&None),
                _ => false,
            }
    });
}

/// What a register answers, and what it holds afterwards.
#[must_use]
pub fn step(state: Option<Value>, call: Call) -> (Option<Value>, Answer) {
    match call {
        Call::Get => (state, Answer::Value(state)),
        Call::Set(value) => (Some(value), Answer::Done),
        Call::Delete => (None, Answer::Done),
        Call::Cas { from, to } if state == from => (Some(to), Answer::Swapped(true)),
        Call::Cas { .. } => (state, Answer::Swapped(false)),
        Call::Incr(by) => {
            let sum = Some(state.unwrap_or(0).wrapping_add(by));
            (sum, Answer::Value(sum))
        }
    }
}

enum Search {
    Explained,
    Impossible,
    GaveUp,
}

/// The set of operations already placed: words below `low` are full.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    low: usize,
    words: Vec<u64>,
}

impl Placed {
    fn snapshot(words: &[u64]) -> Self {
        let low = words.iter().position(|word| *word != u64::MAX).unwrap_or(words.len());
        let high = words.iter().rposition(|word| *word != 0).map_or(low, |at| (at + 1).max(low));
        Self { low, words: words[low..high].to_vec() }
    }
}

/// The events of one key as a linked list, so that an operation is taken out and put back in
/// constant time. Node 0 is the head; an operation's begin is followed, somewhere, by its end.
struct Events {
    next: Vec<usize>,
    before: Vec<usize>,
    what: Vec<Event>,
    end_of: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Event {
    Head,
    Begin(usize),
    End,
}

impl Events {
    fn new(operations: &[Operation]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            order.push((operation.began.order, false, index));
            order.push((operation.end_order(), true, index));
        }
        order.sort_unstable();
        let mut what = vec![Event::Head];
        let mut end_of = vec![0; operations.len()];
        for (_, is_end, index) in order {
            if is_end {
                end_of[index] = what.len();
                what.push(Event::End);
            } else {
                what.push(Event::Begin(index));
            }
        }
        let nodes = what.len();
        let next = (1..=nodes).collect();
        let before = (0..nodes).map(|node| node.saturating_sub(1)).collect();
        Self { next, before, what, end_of }
    }

    fn unlink(&mut self, node: usize) {
        let (before, next) = (self.before[node], self.next[node]);
        self.next[before] = next;
        if next < self.what.len() {
            self.before[next] = before;
        }
    }

    fn relink(&mut self, node: usize) {
        let (before, next) = (self.before[node], self.next[node]);
        self.next[before] = node;
        if next < self.what.len() {
            self.before[next] = node;
        }
    }
}

/// The search itself.
fn explain(operations: &[Operation], steps: u64) -> Search {
    let mut events = Events::new(operations);
    let mut owed = operations.iter().filter(|op| op.end_order() != u64::MAX).count();
    let mut placed = vec![0u64; operations.len().div_ceil(64)];
    let mut visited: BTreeSet<(Placed, Option<Value>)> = BTreeSet::new();
    let mut stack: Vec<(usize, usize, Option<Value>)> = Vec::new();
    let mut state = None;
    let mut node = events.next[0];
    let mut left = steps;
    while owed > 0 {
        left -= 1;
        if left == 0 {
            return Search::GaveUp;
        }
        let event = events.what.get(node).copied().unwrap_or(Event::End);
        if let Event::Begin(index) = event {
            let (after, answer) = step(state, operations[index].call);
            let fits = operations[index].answer().is_none_or(|seen| seen == answer);
            if fits {
                placed[index / 64] |= 1 << (index % 64);
                if visited.insert((Placed::snapshot(&placed), after)) {
                    stack.push((node, index, state));
                    state = after;
                    events.unlink(node);
                    events.unlink(events.end_of[index]);
                    owed -= usize::from(operations[index].end_order() != u64::MAX);
                    node = events.next[0];
                    continue;
                }
                placed[index / 64] &= !(1 << (index % 64));
            }
            node = events.next[node];
            continue;
        }
        // The end of an operation that is not placed yet: one placed too early must go back.
        let Some((back, index, before)) = stack.pop() else { return Search::Impossible };
        state = before;
        placed[index / 64] &= !(1 << (index % 64));
        owed += usize::from(operations[index].end_order() != u64::MAX);
        events.relink(events.end_of[index]);
        events.relink(back);
        node = events.next[back];
    }
    Search::Explained
}

fn is_impossible(operations: &[Operation], steps: u64) -> bool {
    matches!(explain(operations, steps), Search::Impossible)
}

/// The history as it was known right after the event of this order.
fn prefix(operations: &[Operation], order: u64) -> Vec<Operation> {
    let began = operations.iter().filter(|op| op.began.order <= order);
    began
        .map(|op| {
            let open = Operation { ended: None, outcome: Outcome::Unknown, ..*op };
            if op.end_order() <= order { *op } else { open }
        })
        .collect()
}

/// Finds the core of a contradiction and puts it into words.
fn tell(key: Key, operations: Vec<Operation>, steps: u64) -> Violation {
    let mut ends: Vec<u64> =
        operations.iter().map(Operation::end_order).filter(|order| *order != u64::MAX).collect();
    ends.sort_unstable();
    // A wrong prefix stays wrong however it goes on: search for the first by halves.
    let first = ends.partition_point(|order| !is_impossible(&prefix(&operations, *order), steps));
    let Some(last) = ends.get(first.min(ends.len().saturating_sub(1))).copied() else {
        return Violation::new(NAME, "an answer that no order explains", "");
    };
    let mut core = prefix(&operations, last);
    let culprit = operations.iter().find(|op| op.end_order() == last).copied();
    let mut loose: BTreeSet<u64> = BTreeSet::new();
    // What is not easily seen to be superfluous stays in the evidence: tidying up all of it may not
    // take longer than the verdict did.
    let steps = steps / core.len().max(1) as u64;
    for began in core.iter().map(|op| op.began.order).collect::<Vec<_>>() {
        let mut easier = core.clone();
        let Some(at) = easier.iter().position(|op| op.began.order == began) else { continue };
        if easier[at].call.is_write() {
            let free = crate::history::Moment::default();
            easier[at] =
                Operation { began: free, ended: None, outcome: Outcome::Unknown, ..easier[at] };
        } else {
            easier.remove(at);
        }
        if is_impossible(&easier, steps) {
            core = easier;
            loose.insert(began);
        }
    }
    let tight: Vec<&Operation> = operations
        .iter()
        .filter(|op| !loose.contains(&op.began.order) && op.began.order <= last)
        .collect();
    Violation::new(NAME, symptom(&operations, culprit), evidence(key, &tight, culprit))
}

/// What kind of contradiction it is, in words that are the same for the same bug.
fn symptom(operations: &[Operation], culprit: Option<Operation>) -> String {
    let Some(culprit) = culprit else { return "an answer that no order explains".into() };
    let (Call::Get, Some(Answer::Value(seen))) = (culprit.call, culprit.answer()) else {
        return match culprit.call {
            Call::Incr(_) => "an incr answered a sum that no order explains".into(),
            Call::Cas { .. } => "a cas answered what no order explains".into(),
            _ => "an answer that no order explains".into(),
        };
    };
    let makes = |op: &&Operation| match (op.call, seen) {
        (Call::Set(value) | Call::Cas { to: value, .. }, Some(seen)) => value == seen,
        (Call::Delete, None) => true,
        (Call::Incr(_), Some(_)) => true,
        _ => false,
    };
    let mut makers = operations.iter().filter(makes).peekable();
    if makers.peek().is_none() && seen.is_some() {
        return "a get answered a value that no write can have made".into();
    }
    if seen.is_none() {
        return "a get answered nothing although a write had been acknowledged".into();
    }
    if makers.all(|op| op.end_order() < culprit.began.order) {
        return "a get answered an old value although a newer write had been acknowledged".into();
    }
    "a get answered a value that no order explains".into()
}

fn evidence(key: Key, tight: &[&Operation], culprit: Option<Operation>) -> String {
    let mut text = format!("no order of these operations on key k{key} explains their answers:\n");
    for operation in tight {
        text.push_str(&format!("  {operation}\n"));
    }
    if let Some(op) = culprit {
        text.push_str(&format!(
            "the last of them cannot be: c{} asked `{}` and was told `{}`\n",
            op.client, op.call, op.outcome
        ));
        let acknowledged = tight
            .iter()
            .filter(|other| other.call.is_write() && other.end_order() < op.began.order)
            .max_by_key(|other| other.end_order());
        if let Some(write) = acknowledged {
            text.push_str(&format!(
                "  although c{}'s `{}` had been acknowledged before it began\n",
                write.client, write.call
            ));
        }
    }
    text
}

fn canary() -> Verdict {
    let text = "1 2 c0 k0 set 1 = done\n3 4 c0 k0 set 2 = done\n5 6 c1 k0 get = 1";
    text.parse().map_or(Verdict::Holds, |history| check(&history))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use proptest::prelude::*;

    /// Every order of every subset of the unknown ones: slow, and obviously right.
    fn brute(operations: &[Operation]) -> bool {
        fn go(rest: &[Operation], state: Option<Value>) -> bool {
            if rest.iter().all(|op| op.end_order() == u64::MAX) {
                return true;
            }
            let first_end = rest.iter().map(Operation::end_order).min().unwrap_or(u64::MAX);
            (0..rest.len()).any(|at| {
                let op = rest[at];
                let (after, answer) = step(state, op.call);
                let mut others = rest.to_vec();
                others.remove(at);
                op.began.order < first_end
                    && op.answer().is_none_or(|seen| seen == answer)
                    && go(&others, after)
            })
        }
        go(operations, None)
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            3 => Just(Call::Get),
            3 => (1..4u64).prop_map(Call::Set),
            1 => Just(Call::Delete),
            1 => (proptest::option::of(1..4u64), 1..4u64).prop_map(|(from, to)| Call::Cas { from, to }),
            1 => (1..3u64).prop_map(Call::Incr),
        ]
    }

    fn outcome(call: Call) -> BoxedStrategy<Outcome> {
        let answer = match call {
            Call::Get => proptest::option::of(1..4u64).prop_map(Answer::Value).boxed(),
            Call::Set(_) | Call::Delete => Just(Answer::Done).boxed(),
            Call::Cas { .. } => any::<bool>().prop_map(Answer::Swapped).boxed(),
            Call::Incr(_) => (1..5u64).prop_map(|sum| Answer::Value(Some(sum))).boxed(),
        };
        prop_oneof![4 => answer.prop_map(Outcome::Ok), 1 => Just(Outcome::Unknown)].boxed()
    }

    fn histories() -> impl Strategy<Value = Vec<Operation>> {
        let one = (call(), 0..20u64, 1..8u64)
            .prop_flat_map(|(call, began, took)| (Just((call, began, took)), outcome(call)));
        proptest::collection::vec(one, 1..7).prop_map(|all| {
            all.into_iter()
                .enumerate()
                .map(|(at, ((call, began, took), outcome))| {
                    // Distinct moments: thirds of an instant for the n-th operation.
                    let unique = |instant: u64, end: u64| Moment {
                        order: instant * 100 + at as u64 * 2 + end,
                        at_ns: 0,
                    };
                    let ended = (outcome != Outcome::Unknown).then(|| unique(began + took, 1));
                    let began = unique(began, 0);
                    Operation { client: at as u32, key: 0, call, began, ended, outcome }
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_search_agrees_with_brute_force(operations in histories()) {
            let expected = brute(&operations);
            let history = History::of(operations);
            let verdict = check(&history);
            prop_assert_eq!(verdict == Verdict::Holds, expected, "{}\n{:?}", history, verdict);
            prop_assert_eq!(verdict.violation().is_some(), !expected);
        }
    }

    #[test]
    fn a_core_leaves_out_what_does_not_matter() {
        let text = "
            1  2  c0 k0 set 1 = done
            3  4  c0 k0 set 2 = done
            5  6  c2 k0 get   = 2
            7  8  c0 k0 set 3 = done
            9  10 c1 k0 get   = 2
            11 12 c1 k0 get   = 3";
        let verdict = check(&text.parse().expect("a history"));
        let violation = verdict.violation().expect("a stale read");
        assert_eq!(
            violation.symptom,
            "a get answered an old value although a newer write had been acknowledged"
        );
        assert!(!violation.evidence.contains("set 1"), "{violation}");
        assert!(!violation.evidence.contains("= 3\n"), "{violation}");
        assert!(violation.evidence.contains("c0's `set 3` had been acknowledged"), "{violation}");
    }

    #[test]
    fn a_hard_history_ends_in_unknown_and_not_in_a_hang() {
        let mut history = History::default();
        for client in 0..24 {
            let _open = history.begin(0, client, 0, Call::Incr(1 << client));
        }
        let id = history.begin(0, 30, 0, Call::Get);
        history.end(0, id, Outcome::Ok(Answer::Value(Some(1 << 30))));
        assert!(matches!(check_within(&history, 10_000), Verdict::Unknown(_)));
    }

    #[test]
    fn a_long_calm_history_is_quick() {
        let mut history = History::default();
        for round in 0..20_000u64 {
            let set = history.begin(0, 0, 0, Call::Set(round));
            let get = history.begin(0, 1, 0, Call::Get);
            history.end(0, set, Outcome::Ok(Answer::Done));
            history.end(0, get, Outcome::Ok(Answer::Value(Some(round))));
        }
        assert_eq!(check(&history), Verdict::Holds);
    }
}
