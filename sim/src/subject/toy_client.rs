//! A client of the toy: asks one thing at a time, retries, and knows what it does not know.
//!
//! An attempt that was refused before anything was sent, or answered with "not done", leaves
//! nothing behind. One that was sent and not answered may have been executed, now or later. So an
//! operation ends `failed` only if every attempt left nothing behind, and `unknown` otherwise.
//! After an attempt without answer the connection is given up: what comes on it later would be
//! the answer to another question.
//!
//! Not here: what is asked (`load`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use trilith_engine::{
    mark,
    runtime::{Clock, Instant, Net, Rng, Runtime, timeout},
};

use super::{
    toy::{Bug, Bugs, address},
    toy_wire::{Entry, Message, Told, receive, send},
};
use crate::{
    history::{Answer, Call, Key, OpId, Outcome, Recorder, Value},
    load::{Ask, Planned},
};

/// One attempt.
const ATTEMPT: Duration = Duration::from_millis(400);
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client is told.
#[derive(Clone)]
pub struct Setup {
    /// Its number.
    pub client: u32,
    /// How many nodes there are.
    pub nodes: u32,
    /// What is broken in it.
    pub bugs: Bugs,
    /// What it asks, in order of time.
    pub plan: Arc<[Planned]>,
    /// How long it tries.
    pub patience: Duration,
    /// Where it writes down what it saw.
    pub recorder: Recorder,
    /// The world's clock: the history's times are not those of anybody's drifting clock.
    pub world_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Where gets say at which position they were answered.
    pub reads: Arc<std::sync::Mutex<BTreeMap<OpId, usize>>>,
}

struct Client<R: Runtime> {
    runtime: R,
    setup: Setup,
    /// The open connection, and to whom.
    open: Option<(u32, <R::Net as Net>::Stream)>,
    sequence: u64,
    /// The last value seen of each key, which a cas hopes for.
    last: BTreeMap<Key, Option<Value>>,
}

/// What one attempt brought.
enum Attempt {
    Told(Told),
    NothingDone,
    Silence,
}

/// Runs the client to the end of its plan.
pub async fn run<R: Runtime>(runtime: R, setup: Setup) {
    let mut luck = runtime.rng("toy client");
    let plan = setup.plan.clone();
    let mut client = Client { runtime, setup, open: None, sequence: 0, last: BTreeMap::new() };
    let began = client.runtime.clock().now();
    for planned in plan.iter() {
        client.runtime.clock().sleep_until(began + Duration::from_nanos(planned.at_ns)).await;
        client.operation(planned, &mut luck).await;
    }
}

/// Asks one thing, for a script.
pub async fn once<R: Runtime>(
    runtime: R,
    nodes: u32,
    sequence: u64,
    id: OpId,
    key: Key,
    call: Call,
) -> Outcome {
    let mut luck = runtime.rng("toy client");
    let setup = Setup {
        client: 0,
        nodes,
        bugs: Bugs::default(),
        plan: Arc::new([]),
        patience: Duration::from_secs(2),
        recorder: Recorder::default(),
        world_ns: Arc::new(|| 0),
        reads: Arc::default(),
    };
    let last = BTreeMap::new();
    let mut client = Client { runtime, setup, open: None, sequence, last };
    client.attempts(id, key, call, &mut luck).await
}

impl<R: Runtime> Client<R> {
    async fn operation(&mut self, planned: &Planned, luck: &mut R::Rng) {
        let key = planned.key;
        let call = match planned.ask {
            Ask::Get => Call::Get,
            Ask::Set(value) => Call::Set(value),
            Ask::Delete => Call::Delete,
            Ask::Cas(to) => Call::Cas { from: self.last.get(&key).copied().flatten(), to },
            Ask::Incr(by) => Call::Incr(by),
        };
        self.sequence += 1;
        let now = (self.setup.world_ns)();
        let id = self.setup.recorder.begin(now, self.setup.client, key, call);
        let outcome = self.attempts(id, key, call, luck).await;
        self.setup.recorder.end((self.setup.world_ns)(), id, outcome);
        match (outcome, call) {
            (Outcome::Ok(Answer::Value(value)), _) => drop(self.last.insert(key, value)),
            (Outcome::Ok(Answer::Done), Call::Set(to)) => drop(self.last.insert(key, Some(to))),
            (Outcome::Ok(Answer::Done), Call::Delete) => drop(self.last.insert(key, None)),
            (Outcome::Ok(Answer::Swapped(true)), Call::Cas { to, .. }) => {
                self.last.insert(key, Some(to));
            }
            _ => {}
        }
    }

    async fn attempts(&mut self, id: OpId, key: Key, call: Call, luck: &mut R::Rng) -> Outcome {
        let clock = self.runtime.clock().clone();
        let deadline = clock.now() + self.setup.patience;
        let (client, sequence) = (self.setup.client, self.sequence);
        let request = Message::Request(Entry { epoch: 0, client, sequence, id: id.0, key, call });
        let mut in_doubt = false;
        // Now and then somebody else is asked first: a backup must know that it may not answer.
        let mut node =
            if luck.chance(1, 4) { luck.range(0..u64::from(self.setup.nodes)) as u32 } else { 0 };
        while clock.now() < deadline {
            let until = deadline.min(clock.now() + ATTEMPT);
            match self.attempt(node, &request, until).await {
                Attempt::Told(Told::Done(answer, position)) => {
                    if call == Call::Get {
                        let mut reads =
                            self.setup.reads.lock().unwrap_or_else(|bad| bad.into_inner());
                        reads.insert(id, usize::try_from(position).unwrap_or(usize::MAX));
                    }
                    // (A planted bug turns a cas into a set.)
                    let swapped = matches!((call, answer), (Call::Cas { .. }, Answer::Done));
                    return Outcome::Ok(if swapped { Answer::Swapped(true) } else { answer });
                }
                Attempt::Told(Told::Old) => {
                    in_doubt = true;
                    break;
                }
                Attempt::Told(Told::NotPrimary) => {
                    mark!("toy: a client was sent to the primary");
                    node = 0;
                    continue;
                }
                Attempt::Told(Told::Busy) | Attempt::NothingDone => {}
                Attempt::Silence => in_doubt |= call.is_write(),
            }
            node = 0;
            clock.sleep_until(deadline.min(clock.now() + PAUSE)).await;
        }
        if in_doubt && !self.setup.bugs.has(Bug::UnknownAsFailed) {
            Outcome::Unknown
        } else {
            Outcome::Failed
        }
    }

    async fn attempt(&mut self, node: u32, request: &Message, until: Instant) -> Attempt {
        let clock = self.runtime.clock().clone();
        let mut stream = match self.open.take() {
            Some((to, stream)) if to == node => stream,
            _ => match self.runtime.net().connect(address(node), until).await {
                Ok(stream) => stream,
                Err(_nobody) => return Attempt::NothingDone,
            },
        };
        let trusting = self.setup.bugs.has(Bug::WireChecksumIgnored);
        let any = self.setup.bugs.has(Bug::AcceptAnyReply);
        let sequence = self.sequence;
        let both = async {
            send(&mut stream, request).await.ok()?;
            match receive(&mut stream, trusting).await.ok()? {
                Message::Reply(number, told) if number == sequence || any => Some(told),
                _ => None,
            }
        };
        match timeout(&clock, until, both).await {
            Ok(Some(told)) => {
                self.open = Some((node, stream));
                Attempt::Told(told)
            }
            Err(_elapsed) if any => {
                self.open = Some((node, stream));
                Attempt::Silence
            }
            Ok(None) | Err(_) => {
                mark!("toy: a client gave up a connection");
                Attempt::Silence
            }
        }
    }
}
