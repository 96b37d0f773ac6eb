//! Errands: the requests that acts become which a connection sent together.
//!
//! ```text
//!   GET a  GET b  TTL c  GET d     ─►  what a, b and d have;  until when c is there
//!   SET a  SET b  INCR n  SET c    ─►  a and b as one;  n;  c
//! ```
//! Every request has its number, its place in the log or in a round of reads, and its way there and
//! back, which cost more than what it is for. So acts of one group share one where nobody can tell:
//!
//! - Reads are answered as of one moment, which is a moment of each of them. Where that does not come
//!   to an answer at once, each is asked for itself: a damaged record, or values that are too much for
//!   one answer, are no reason to refuse the others.
//! - Plain SETs, as long as they are small and nothing else of their group comes between, are one
//!   transaction. What became of it became of all of them.
//!
//! Invariants: every act is of one errand; the errands of a group have its writes in the order in
//! which they were sent.
//!
//! Not here: asking (`front.rs`), what an answer says (`direct.rs`).

use std::{collections::BTreeMap, vec};
use trilith_engine::{
    command::{Command, Expiry, Found, Op, Reply, Transaction, Write},
    limits::{GET_KEYS_MAX, TRANSACTION_WRITES_MAX},
    planted,
};

use super::{
    act::{Act, Answers, Set},
    direct,
    scratch::{Late, Said},
};
use crate::limits::RESP_JOINED_BYTES;

/// An act that is one operation of one group, and may be on its way with others.
#[derive(Debug)]
pub struct Direct {
    pub(super) act: Act,
    group: u16,
    way: Way,
}

/// How an act is asked.
#[derive(Debug)]
enum Way {
    /// It reads.
    Read,
    /// It is a SET that depends on nothing, and tells nothing of what was there.
    Plain,
    /// By an operation that goes with no other one.
    Own(Op),
}

impl Way {
    /// Whether it may go with others of its kind.
    const fn joins(&self) -> bool {
        matches!(self, Self::Read | Self::Plain)
    }
}

impl Direct {
    /// An act on keys of that group, if it is one operation.
    ///
    /// # Errors
    /// The act, if it is none.
    pub(super) fn new(act: Act, group: u16) -> Result<Self, Act> {
        let way = match &act {
            act if act.is_read() => Some(Way::Read),
            Act::Set(set) if is_plain(set) => Some(Way::Plain),
            act => direct::operation(act).map(Way::Own),
        };
        match way {
            Some(way) => Ok(Self { act, group, way }),
            None => Err(act),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self.way, Way::Read)
    }
}

/// Whether a SET depends on nothing, and tells nothing of what was there.
const fn is_plain(set: &Set) -> bool {
    set.present.is_none()
        && matches!(set.answers, Answers::Ok)
        && !matches!(set.expiry, Expiry::Keep)
}

/// One request, for some of the acts.
pub(super) struct Errand {
    pub(super) op: Op,
    pub(super) group: u16,
    /// Which they are.
    pub(super) acts: Vec<usize>,
}

/// The errands of acts that are all reads, or all writes.
pub(super) fn errands(acts: &[Direct]) -> Vec<Errand> {
    let mut all: Vec<Begun> = Vec::with_capacity(acts.len());
    // The last one of each group that more may join, for values and for the rest.
    let mut open: BTreeMap<(u16, bool), usize> = BTreeMap::new();
    for (at, Direct { act, group, way }) in acts.iter().enumerate() {
        let kind = (*group, act.is_read() && act.looks_into_values());
        let weight = Weight::of(act);
        let last = open.get(&kind).filter(|_| way.joins()).and_then(|nth| all.get_mut(*nth));
        if let Some(begun) = last.filter(|begun| begun.weight.and(weight).is_little()) {
            begun.acts.push(at);
            begun.weight = begun.weight.and(weight);
            continue;
        }
        if way.joins() {
            open.insert(kind, all.len());
        } else if !planted!("resp_sets_overtake") {
            open.remove(&kind);
        }
        all.push(Begun { acts: vec![at], weight });
    }
    let errands = |Begun { acts: of, .. }| match joined(acts, &of) {
        Some(op) => vec![Errand { op, group: acts[of[0]].group, acts: of }],
        None => of.into_iter().map(|at| alone(acts, at)).collect(),
    };
    all.into_iter().flat_map(errands).collect()
}

/// One that is put together.
struct Begun {
    acts: Vec<usize>,
    weight: Weight,
}

/// What acts bring into a request.
#[derive(Clone, Copy)]
struct Weight {
    bytes: usize,
    keys: usize,
}

impl Weight {
    fn of(act: &Act) -> Self {
        match act {
            Act::Get(key) => Self { bytes: key.len(), keys: 1 },
            Act::Set(set) => Self { bytes: set.key.len() + set.value.len(), keys: 1 },
            act => {
                let keys = act.keys();
                Self { bytes: keys.iter().map(|key| key.len()).sum(), keys: keys.len() }
            }
        }
    }

    const fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, keys: self.keys + other.keys }
    }

    fn is_little(self) -> bool {
        self.bytes <= RESP_JOINED_BYTES && self.keys <= GET_KEYS_MAX.min(TRANSACTION_WRITES_MAX)
    }
}

/// The errand of one act.
pub(super) fn alone(acts: &[Direct], at: usize) -> Errand {
    let Direct { act, group, way } = &acts[at];
    let op = match (way, act) {
        (Way::Own(op), _) => op.clone(),
        (Way::Plain, Act::Set(set)) => Op::Write(direct::set(set)),
        (Way::Plain | Way::Read, act) => direct::reading(act),
    };
    Errand { op, group: *group, acts: vec![at] }
}

/// What several acts ask together, if they are several.
fn joined(acts: &[Direct], of: &[usize]) -> Option<Op> {
    let acts = || of.iter().map(|at| &acts[*at].act);
    let first = acts().next().filter(|_| of.len() > 1)?;
    if !first.is_read() {
        let write = |act: &Act| match act {
            Act::Set(Set { key, value, expiry, .. }) => {
                Some(Write::Set { key: key.clone(), value: value.clone(), expiry: *expiry })
            }
            _ => None,
        };
        let writes = acts().filter_map(write).collect();
        let transaction = Transaction::new(Vec::new(), writes).ok()?;
        return Some(Op::Write(Command::Transaction(transaction)));
    }
    let mut keys = Vec::with_capacity(of.len());
    for act in acts() {
        match act {
            Act::Get(key) => keys.push(key.clone()),
            act => keys.extend(act.keys().into_iter().cloned()),
        }
    }
    Some(if first.looks_into_values() { Op::GetMany(keys) } else { Op::Look(keys) })
}

/// What a read is answered, of what the keys of all that it shares a request with have.
pub(super) fn shared(act: &Act, found: &mut vec::IntoIter<Option<Found>>, late: Late) -> Said {
    if planted!("resp_shared_values_are_shifted") && found.len() > 1 {
        found.next();
    }
    let reply = match act {
        Act::MGet(keys) | Act::Exists(keys) => {
            let own: Vec<Option<Found>> = found.by_ref().take(keys.len()).collect();
            (own.len() == keys.len()).then_some(Reply::Values(own))
        }
        _ => found.next().map(Reply::Value),
    };
    reply.map_or(direct::STRANGE, |reply| direct::render(act, reply, late))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{commands::COMMANDS, request::split};
    use trilith_engine::types::Version;

    fn direct(line: &str) -> Direct {
        let words = split(line.as_bytes()).unwrap();
        let act = Act::read(COMMANDS.of(&words).unwrap(), &words).unwrap().unwrap();
        // One group for each first letter of a key.
        let group = act.keys()[0][0].into();
        Direct::new(act, group).unwrap()
    }

    /// Which acts share an errand, each as the lines' numbers.
    fn shares(lines: &[&str]) -> Vec<Vec<usize>> {
        let acts: Vec<Direct> = lines.iter().map(|line| direct(line)).collect();
        errands(&acts).into_iter().map(|errand| errand.acts).collect()
    }

    #[test]
    fn reads_of_a_group_share_a_request() {
        let lines = ["get a1", "get b1", "ttl a2", "mget a3 a4", "strlen a1", "exists a2 a1"];
        assert_eq!(shares(&lines), [vec![0, 3, 4], vec![1], vec![2, 5]]);
        let acts: Vec<Direct> = lines.iter().map(|line| direct(line)).collect();
        let all = errands(&acts);
        let keys = |nth: usize| all[nth].op.keys().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(keys(0), [b"a1", b"a3", b"a4", b"a1"]);
        assert_eq!(keys(2), [b"a2", b"a2", b"a1"]);
        assert!(matches!(all[0].op, Op::GetMany(_)));
        assert!(matches!(all[1].op, Op::Get(_)));
        assert!(matches!(all[2].op, Op::Look(_)));
        let found = ["1", "3", "4", "1"].map(|value| {
            Some(Found { version: Version(1), expires_ms: None, value: value.into() })
        });
        let (mut found, late) = (Vec::from(found).into_iter(), Late { stamp_ms: 0, clock_ms: 0 });
        let mut told = |at: usize| shared(&acts[at].act, &mut found, late);
        assert_eq!(told(0), Said::Bulk("1".into()));
        assert_eq!(told(3), Said::Many(vec![Said::Bulk("3".into()), Said::Bulk("4".into())]));
        assert_eq!(told(4), Said::Number(1));
        assert_eq!(told(0), direct::STRANGE, "what was not answered is not absent");
        assert_eq!(told(3), direct::STRANGE);
    }

    #[test]
    fn plain_sets_share_an_entry_until_something_comes_between() {
        let lines = [
            "set a1 x",
            "set b1 x",
            "set a2 x ex 9",
            "incr a3",
            "set a1 y",
            "incr b2",
            "set a3 x nx",
            "set a1 z",
            "set a1 z keepttl",
            "setex a4 9 x",
        ];
        let shared =
            [vec![0, 2], vec![1], vec![3], vec![4], vec![5], vec![6], vec![7], vec![8], vec![9]];
        assert_eq!(shares(&lines), shared);
        let acts = ["set a1 x", "set a2 y px 5", "set a1 z"].map(direct);
        let [Errand { op: Op::Write(Command::Transaction(all)), .. }] = &errands(&acts)[..] else {
            panic!("one transaction");
        };
        let set = |key: &'static str, value: &'static str, expiry| Write::Set {
            key: key.into(),
            value: value.into(),
            expiry,
        };
        let (first, last) = (set("a2", "y", Expiry::After(5)), set("a1", "z", Expiry::None));
        assert_eq!(all.writes(), [first, last], "of several, the last one counts");
    }

    #[test]
    fn what_is_long_goes_alone() {
        let line = format!("set a1 {}", "x".repeat(RESP_JOINED_BYTES));
        let lines = ["set a1 x", "set a2 x", &line, "set a3 x", "set a4 x"];
        assert_eq!(shares(&lines), [vec![0, 1], vec![2], vec![3, 4]]);
    }
}
