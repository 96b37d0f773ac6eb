//! A client of the cluster, as the load plays it: one operation at a time, through the SDK. The same
//! for a simulated cluster and for one of processes (`trilith kill cluster`).
//!
//! Not here: what is asked (`load`), the nodes (`cluster`), retries and sessions (`trilith-net`,
//! `client`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::{
    command::{
        Command, Condition, Expiry, Failure, Found, Level, Op, Outcome as Told, Reply, Scan,
    },
    mark,
    runtime::{Clock, Rng, Runtime},
    types::{GroupId, Version},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    peer::proof::Secret,
};

use crate::{
    check::fresh::Notes,
    history::{Answer, Call, Key, Outcome, Recorder, Value},
    load::{Ask, Planned},
};

/// How long the onlooker may take.
pub const LOOK_MS: u64 = 4000;
/// How long it waits for one group of one node.
const LOOK: Duration = Duration::from_millis(700);

/// What each node holds, as the onlooker found it.
pub type Looked = Arc<Mutex<BTreeMap<u32, BTreeMap<Key, Value>>>>;

/// What a client is told.
#[derive(Clone)]
pub struct Setup {
    /// Its number.
    pub client: u32,
    /// Where the nodes listen.
    pub nodes: Arc<[SocketAddr]>,
    /// What it asks, in order of time.
    pub plan: Arc<[Planned]>,
    /// How long it tries.
    pub patience: Duration,
    /// How long values are that it sets; numbers are not made longer than they are.
    pub value_bytes: usize,
    /// Where it writes down what it saw.
    pub recorder: Recorder,
    /// Where it writes down which versions were acknowledged.
    pub notes: Notes,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// What the history's moments are taken from.
    pub world_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// What was last seen of each key.
type Last = BTreeMap<Key, Option<(Value, Version)>>;

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: Key) -> Bytes {
    Bytes::from(format!("key{key}"))
}

fn key_of(bytes: &[u8]) -> Option<Key> {
    std::str::from_utf8(bytes).ok()?.strip_prefix("key")?.parse().ok()
}

fn value_of(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.trim_end().parse().ok()
}

pub(super) fn options(secret: Option<Secret>) -> ClientOptions {
    ClientOptions { attempt_within: Duration::from_millis(500), secret, ..ClientOptions::default() }
}

/// Runs the client to the end of its plan.
pub async fn run<R: Runtime>(runtime: R, setup: Setup) {
    let mut luck = runtime.rng("load");
    let client = Client::start(&runtime, &setup.nodes, options(setup.secret));
    let mut last = Last::new();
    let began = runtime.clock().now();
    for planned in setup.plan.iter() {
        runtime.clock().sleep_until(began + Duration::from_nanos(planned.at_ns)).await;
        operation(&client, &setup, &mut last, planned, &mut luck).await;
    }
}

/// Looks at what every node holds, at the end.
pub async fn look<R: Runtime>(
    runtime: R,
    nodes: Arc<[SocketAddr]>,
    (groups, secret): (u32, Option<Secret>),
    from: Duration,
    looked: Looked,
) {
    let began = runtime.clock().now();
    runtime.clock().sleep_until(began + from).await;
    for (node, at) in (0..).zip(nodes.iter()) {
        let client = Client::start(&runtime, &[*at], options(secret));
        let mut held = BTreeMap::new();
        for group in 1..=groups {
            let scan = Scan::of_prefix(GroupId(group), &Bytes::new(), 4096, 1 << 20);
            let wish = Wish { level: Level::Eventual, staleness_ms: 0, within: LOOK };
            let response = client.call(Op::Scan(scan), wish).await;
            if let Told::Ok(Reply::Page { items, .. }) = response.outcome {
                let item =
                    |(key, found): (Bytes, Found)| Some((key_of(&key)?, value_of(&found.value)?));
                held.extend(items.into_iter().filter_map(item));
            }
        }
        looked.lock().unwrap_or_else(PoisonError::into_inner).insert(node, held);
    }
}

async fn operation<R: Runtime>(
    client: &Client<R>,
    setup: &Setup,
    last: &mut Last,
    planned: &Planned,
    luck: &mut R::Rng,
) {
    let (key, seen) = (planned.key, last.get(&planned.key).copied().flatten());
    let call = match planned.ask {
        Ask::Get => Call::Get,
        Ask::Set(value) => Call::Set(value),
        Ask::Delete => Call::Delete,
        Ask::Cas(to) => Call::Cas { from: seen.map(|(value, _)| value), to },
        Ask::Incr(by) => Call::Incr(by),
    };
    let op = op_of(key, call, seen.map(|(_, version)| version), setup.value_bytes);
    // Both are linearizable; the weaker one is served by followers too.
    let level = if call == Call::Get && luck.chance(1, 3) { Level::Quorum } else { Level::Strong };
    let id = setup.recorder.begin((setup.world_ns)(), setup.client, key, call);
    let wish = Wish { level, staleness_ms: 0, within: setup.patience };
    let response = client.call(op, wish).await;
    let (outcome, version) = match response.outcome {
        Told::Ok(reply) => answer(call, &reply),
        Told::Refused(refusal) => {
            setup.recorder.because(id, refusal.to_string());
            (Outcome::Failed, None)
        }
        Told::Unknown => {
            setup.recorder.because(id, "it was sent, and no answer came in time".into());
            mark!("cluster: an outcome is unknown");
            (Outcome::Unknown, None)
        }
    };
    let now = (setup.world_ns)();
    setup.recorder.end(now, id, outcome);
    if let Some(version) = version.filter(|_| call.is_write() && matches!(outcome, Outcome::Ok(_)))
    {
        setup.notes.acknowledged(now, key, version);
    }
    let saw = match (outcome, call) {
        (Outcome::Ok(Answer::Value(value)), _) => Some(value),
        (Outcome::Ok(Answer::Done), Call::Set(to))
        | (Outcome::Ok(Answer::Swapped(true)), Call::Cas { to, .. }) => Some(Some(to)),
        (Outcome::Ok(Answer::Done), Call::Delete) => Some(None),
        _ => None,
    };
    if let Some(value) = saw {
        last.insert(key, value.zip(version));
    }
}

fn op_of(key: Key, call: Call, seen: Option<Version>, value_bytes: usize) -> Op {
    let key = key_bytes(key);
    let set = |key, value: Value, condition| {
        let value = Bytes::from(format!("{value:<value_bytes$}"));
        Op::Write(Command::Set { key, value, expiry: Expiry::None, condition, want_old: false })
    };
    match call {
        Call::Get => Op::Get(key),
        Call::Set(value) => set(key, value, Condition::Always),
        Call::Delete => {
            Op::Write(Command::Delete { key, condition: Condition::Always, want_old: false })
        }
        Call::Cas { to, .. } => set(key, to, seen.map_or(Condition::Absent, Condition::Version)),
        Call::Incr(by) => Op::Write(Command::Increment { key, by: by as i64 }),
    }
}

/// What a reply says in the words of histories.
fn answer(call: Call, reply: &Reply) -> (Outcome, Option<Version>) {
    let (answer, version) = match (call, reply) {
        (Call::Get, Reply::Value(None)) => (Answer::Value(None), None),
        (Call::Get, Reply::Value(Some(found))) => {
            (Answer::Value(value_of(&found.value)), Some(found.version))
        }
        (Call::Cas { .. }, Reply::Done { version, .. }) => (Answer::Swapped(true), Some(*version)),
        (Call::Cas { .. }, Reply::Unmet { .. }) => (Answer::Swapped(false), None),
        (_, Reply::Done { version, .. }) => (Answer::Done, Some(*version)),
        // A delete of what is not there.
        (Call::Delete, Reply::Unmet { .. }) => (Answer::Done, None),
        (Call::Incr(_), Reply::Number { number, version }) => {
            (Answer::Value(u64::try_from(*number).ok()), Some(*version))
        }
        (Call::Incr(_), Reply::Failed { failure: Failure::Overflow, .. }) => {
            return (Outcome::Failed, None);
        }
        _ => {
            mark!("cluster: a reply of the wrong kind");
            return (Outcome::Failed, None);
        }
    };
    (Outcome::Ok(answer), version)
}
