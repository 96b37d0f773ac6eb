//! Strict serializability of transactions on lists, after Elle (Kingsbury and Alvaro, 2020).
//!
//! A transaction appends unique values to lists and reads whole lists. A list shows the order in
//! which it was made, so dependencies need no guessing:
//! ```text
//! a appends x, b appends y right after it   a --ww--> b
//! b reads a list that ends with a's x       a --wr--> b
//! a reads a list, b appends what comes next a --rw--> b
//! a had ended before b began                a --rt--> b
//! ```
//! A serial order that respects real time exists exactly when this graph has no cycle. Before the
//! graph, some histories convict themselves: a value read twice in one list, lists of one key of
//! which neither is the beginning of the other, a value of an aborted transaction, a value from
//! the middle of a transaction, a transaction that does not see its own appends.
//!
//! A transaction of unknown outcome counts as committed when somebody saw one of its values, and
//! is left out otherwise; it never ends, so no real-time edge leaves it.
//!
//! Not here: single keys, which need no graph (`linearizable`); who makes transactions
//! (`subject/cluster_dealer`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Judge, Verdict};
use crate::history::{Key, Value};

const NAME: &str = "cycles";

/// This judge.
pub const JUDGE: Judge =
    Judge { name: NAME, demands: "transactions on lists are strictly serializable", canary };

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append a value that nobody else appends.
    Append(Key, Value),
    /// Read the whole list.
    Read(Key, Vec<Value>),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It committed.
    Committed,
    /// It certainly did not.
    Aborted,
    /// Nobody knows.
    Unknown,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its steps.
    pub steps: Vec<Step>,
    /// How it ended.
    pub end: End,
    /// When it began, in the order of events.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
}

/// The transactions of a run.
#[derive(Clone, Debug, Default)]
pub struct Deeds(Arc<Mutex<Vec<Transaction>>>);

impl Deeds {
    fn deeds(&self) -> MutexGuard<'_, Vec<Transaction>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has ended.
    pub fn done(&self, transaction: Transaction) {
        self.deeds().push(transaction);
    }

    /// Judges them all.
    #[must_use]
    pub fn check(&self) -> Verdict {
        check(&self.deeds())
    }
}

/// Why one transaction must stand before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    WriteWrite,
    WriteRead,
    ReadWrite,
    RealTime,
}

impl Why {
    const fn words(self) -> &'static str {
        match self {
            Self::WriteWrite => "appended right before",
            Self::WriteRead => "was read by",
            Self::ReadWrite => "did not see",
            Self::RealTime => "had ended before the beginning of",
        }
    }
}

type Graph = Vec<BTreeMap<usize, Why>>;

/// Judges a history of transactions.
#[must_use]
pub fn check(transactions: &[Transaction]) -> Verdict {
    let mut writer: BTreeMap<(Key, Value), usize> = BTreeMap::new();
    for (at, transaction) in transactions.iter().enumerate() {
        for step in &transaction.steps {
            if let Step::Append(key, value) = step {
                writer.insert((*key, *value), at);
            }
        }
    }
    let lists = match lists(transactions, &writer) {
        Ok(lists) => lists,
        Err(verdict) => return verdict,
    };
    let graph = graph(transactions, &writer, &lists);
    match shortest_cycle(&graph) {
        None => Verdict::Holds,
        Some(cycle) => tell(transactions, &graph, &cycle),
    }
}

fn is_prefix(short: &[Value], long: &[Value]) -> bool {
    long.get(..short.len()).is_some_and(|begin| begin == short)
}

/// The order of each list, or what is wrong before any graph.
fn lists(
    transactions: &[Transaction],
    writer: &BTreeMap<(Key, Value), usize>,
) -> Result<BTreeMap<Key, Vec<Value>>, Verdict> {
    let mut longest: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for (at, transaction) in transactions.iter().enumerate() {
        if transaction.end != End::Committed {
            continue;
        }
        let mut own: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        for step in &transaction.steps {
            let (key, list) = match step {
                Step::Append(key, value) => {
                    own.entry(*key).or_default().push(*value);
                    continue;
                }
                Step::Read(key, list) => (*key, list),
            };
            let bad = |symptom: &str| {
                let evidence = format!("T{at} read k{key} = {list:?}: {transaction:?}");
                Err(Verdict::violated(NAME, symptom, evidence))
            };
            if list.iter().collect::<BTreeSet<_>>().len() != list.len() {
                return bad("a value stands in a list twice");
            }
            let mine = own.get(&key).map_or(&[][..], |values| values);
            if !list.ends_with(mine) {
                return bad("a transaction does not see its own appends");
            }
            let others = &list[..list.len() - mine.len()];
            for value in others {
                match writer.get(&(key, *value)).map(|by| transactions[*by].end) {
                    None => return bad("a value was read that nobody appended"),
                    Some(End::Aborted) => return bad("a value of an aborted transaction was read"),
                    Some(End::Committed | End::Unknown) => {}
                }
            }
            if let Some(last) = others.last()
                && let Some(by) = writer.get(&(key, *last))
                && last_append(&transactions[*by], key) != Some(*last)
            {
                return bad("a value from the middle of a transaction was read");
            }
            let known = longest.entry(key).or_default();
            if is_prefix(known, list) {
                known.clone_from(list);
            } else if !is_prefix(list, known) {
                return bad("two reads of a list contradict each other");
            }
        }
    }
    Ok(longest)
}

fn last_append(transaction: &Transaction, key: Key) -> Option<Value> {
    transaction.steps.iter().rev().find_map(|step| match step {
        Step::Append(at, value) if *at == key => Some(*value),
        _ => None,
    })
}

fn graph(
    transactions: &[Transaction],
    writer: &BTreeMap<(Key, Value), usize>,
    lists: &BTreeMap<Key, Vec<Value>>,
) -> Graph {
    let mut graph: Graph = vec![BTreeMap::new(); transactions.len()];
    let mut edge = |from: Option<&usize>, to: Option<&usize>, why: Why| {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            let slot = graph[*from].entry(*to).or_insert(why);
            *slot = (*slot).min(why);
        }
    };
    for (key, list) in lists {
        for pair in list.windows(2) {
            edge(writer.get(&(*key, pair[0])), writer.get(&(*key, pair[1])), Why::WriteWrite);
        }
    }
    for (at, transaction) in transactions.iter().enumerate() {
        if transaction.end != End::Committed {
            continue;
        }
        for step in &transaction.steps {
            let Step::Read(key, seen) = step else { continue };
            if let Some(last) = seen.last() {
                edge(writer.get(&(*key, *last)), Some(&at), Why::WriteRead);
            }
            if let Some(next) = lists.get(key).and_then(|list| list.get(seen.len())) {
                edge(Some(&at), writer.get(&(*key, *next)), Why::ReadWrite);
            }
        }
    }
    // Real time: it is enough to come after those that nothing else has come after yet.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, transaction) in transactions.iter().enumerate() {
        if transaction.end != End::Aborted {
            events.push((transaction.began, false, at));
        }
        if transaction.end == End::Committed {
            events.push((transaction.ended, true, at));
        }
    }
    events.sort_unstable();
    let mut frontier: BTreeSet<usize> = BTreeSet::new();
    for (_, is_end, at) in events {
        if is_end {
            frontier.retain(|earlier| transactions[*earlier].ended >= transactions[at].began);
            frontier.insert(at);
        } else {
            frontier.iter().for_each(|earlier| edge(Some(earlier), Some(&at), Why::RealTime));
        }
    }
    graph
}

/// The shortest cycle: for each node on any, a search for the way back to it.
fn shortest_cycle(graph: &Graph) -> Option<Vec<usize>> {
    let suspects = on_cycles(graph);
    suspects.iter().filter_map(|start| way_back(graph, *start, &suspects)).min_by_key(Vec::len)
}

/// Nodes left after those without a way in, or out, have been taken away again and again.
fn on_cycles(graph: &Graph) -> BTreeSet<usize> {
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    for (from, ways) in graph.iter().enumerate() {
        ways.keys().for_each(|to| back[*to].push(from));
    }
    let mut ways_in: Vec<usize> = back.iter().map(Vec::len).collect();
    let mut ways_out: Vec<usize> = graph.iter().map(BTreeMap::len).collect();
    let mut left: BTreeSet<usize> = (0..graph.len()).collect();
    let mut ends = left.clone();
    ends.retain(|at| ways_in[*at] == 0 || ways_out[*at] == 0);
    while let Some(at) = ends.pop_first() {
        left.remove(&at);
        for to in graph[at].keys().filter(|to| left.contains(to)) {
            ways_in[*to] -= 1;
            if ways_in[*to] == 0 {
                ends.insert(*to);
            }
        }
        for from in back[at].iter().filter(|from| left.contains(from)) {
            ways_out[*from] -= 1;
            if ways_out[*from] == 0 {
                ends.insert(*from);
            }
        }
    }
    left
}

fn way_back(graph: &Graph, start: usize, within: &BTreeSet<usize>) -> Option<Vec<usize>> {
    let mut came: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for to in graph[at].keys().filter(|to| within.contains(to)) {
            if *to == start {
                let mut cycle = vec![at];
                while let Some(before) = came.get(&cycle[cycle.len() - 1]) {
                    cycle.push(*before);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !came.contains_key(to) {
                came.insert(*to, at);
                queue.push_back(*to);
            }
        }
    }
    None
}

fn tell(transactions: &[Transaction], graph: &Graph, cycle: &[usize]) -> Verdict {
    let mut evidence = String::new();
    let (mut anti, mut real, mut reads) = (0, 0, 0);
    for (index, at) in cycle.iter().enumerate() {
        let to = cycle[(index + 1) % cycle.len()];
        let why = graph[*at].get(&to).copied().unwrap_or(Why::RealTime);
        anti += usize::from(why == Why::ReadWrite);
        real += usize::from(why == Why::RealTime);
        reads += usize::from(why == Why::WriteRead);
        evidence.push_str(&format!("T{at} {} T{to}\n", why.words()));
    }
    for at in cycle {
        evidence.push_str(&format!("  T{at}: {:?}\n", transactions[*at].steps));
    }
    let kind = match (anti, reads) {
        (0, 0) => "appends in a circle (G0)",
        (0, _) => "information flows in a circle (G1c)",
        (1, _) => "a read missed one write of a circle (G-single)",
        _ => "several reads missed writes of a circle (G2)",
    };
    let time = if real > 0 { ", against real time" } else { "" };
    Verdict::violated(NAME, format!("{kind}{time}"), evidence)
}

fn canary() -> Verdict {
    let transaction =
        |steps: Vec<Step>| Transaction { steps, end: End::Committed, began: 0, ended: 9 };
    check(&[
        transaction(vec![Step::Read(0, vec![]), Step::Append(1, 1)]),
        transaction(vec![Step::Read(1, vec![]), Step::Append(0, 2)]),
        transaction(vec![Step::Read(0, vec![2]), Step::Read(1, vec![1])]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn txn(began: u64, ended: u64, steps: &[Step]) -> Transaction {
        Transaction { steps: steps.to_vec(), end: End::Committed, began, ended }
    }

    fn symptom(verdict: &Verdict) -> String {
        verdict.violation().map_or_else(String::new, |violation| violation.symptom.clone())
    }

    #[test]
    fn a_stale_read_breaks_only_real_time() {
        let stale = [
            txn(0, 1, &[Step::Append(0, 1)]),
            txn(2, 3, &[Step::Read(0, vec![])]),
            txn(4, 5, &[Step::Read(0, vec![1])]),
        ];
        assert_eq!(
            symptom(&check(&stale)),
            "a read missed one write of a circle (G-single), against real time"
        );
        let overlapping = [stale[0].clone(), txn(0, 3, &[Step::Read(0, vec![])]), stale[2].clone()];
        assert_eq!(check(&overlapping), Verdict::Holds);
    }

    #[test]
    fn what_convicts_itself_needs_no_graph() {
        let aborted = Transaction { end: End::Aborted, ..txn(0, 1, &[Step::Append(0, 1)]) };
        let read = |list: &[Value]| txn(2, 3, &[Step::Read(0, list.to_vec())]);
        assert!(symptom(&check(&[aborted, read(&[1])])).contains("aborted"));
        let two = txn(0, 1, &[Step::Append(0, 1), Step::Append(0, 2)]);
        assert!(symptom(&check(&[two.clone(), read(&[1])])).contains("middle"));
        assert!(symptom(&check(&[two.clone(), read(&[1, 1])])).contains("twice"));
        assert!(symptom(&check(&[two.clone(), read(&[2, 1]), read(&[1, 2])])).contains("middle"));
        let blind = txn(0, 1, &[Step::Append(0, 5), Step::Read(0, vec![])]);
        assert!(symptom(&check(&[blind])).contains("own appends"));
        assert!(symptom(&check(&[read(&[7])])).contains("nobody"));
        let unknown = Transaction { end: End::Unknown, ..two };
        assert_eq!(check(&[unknown, read(&[1, 2])]), Verdict::Holds);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Histories made by really running transactions one after the other, seen as overlapping.
        #[test]
        fn a_serial_execution_is_accepted_and_a_swapped_read_is_not(
            plan in proptest::collection::vec(proptest::collection::vec((0..3u32, any::<bool>()), 1..4), 2..20),
            slack in 0..3u64,
        ) {
            let mut lists: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
            let mut next = 0;
            let mut history = Vec::new();
            for (at, steps) in plan.iter().enumerate() {
                let steps: Vec<Step> = steps.iter().map(|(key, append)| {
                    let list = lists.entry(*key).or_default();
                    if *append {
                        next += 1;
                        list.push(next);
                        Step::Append(*key, next)
                    } else {
                        Step::Read(*key, list.clone())
                    }
                }).collect();
                let at = at as u64 * 2 + 10;
                history.push(txn(at - slack, at + 1 + slack, &steps));
            }
            prop_assert_eq!(check(&history), Verdict::Holds);
            // An empty read at the very end, after an append that somebody saw, is a lie.
            let seen = lists.iter().find(|(_, list)| !list.is_empty());
            if let Some((key, list)) = seen {
                history.push(txn(1000, 1001, &[Step::Read(*key, list.clone())]));
                history.push(txn(2000, 2001, &[Step::Read(*key, vec![])]));
                prop_assert!(check(&history).violation().is_some());
            }
        }
    }
}
