//! Between connections and the cluster: acts become operations, wherever their group is led.
//!
//! ```text
//!   acts of a connection ─► direct: one operation each, all on their way at once ─┐
//!                      └──► scratch: read, done here, written if nothing changed ─┴─► client ─► leader
//! ```
//! What a connection sends in one go is done in its order: reads among themselves and writes among
//! themselves are on their way together, and a write waits for the reads before it, and a read for
//! the writes. Writes of one group enter its log in the order in which they were sent. If one of
//! them did not get there and a later one did, the earlier one is not tried again: it would be done
//! behind it. It is told that nothing happened, or that nobody knows.
//!
//! What names keys of several groups is done in each of them; that is promised for MGET, EXISTS, DEL
//! and MSET, whose parts are not one moment then. All else must lie together: in a cluster in one
//! slot, because groups may be split along slots later.
//!
//! Not here: what acts mean (`scratch.rs`, `direct.rs`), connections (`serve.rs`).

use bytes::Bytes;
use std::{
    borrow::Cow, collections::BTreeMap, future::poll_fn, pin::Pin, task::Poll, time::Duration,
};
use trilith_engine::{
    command::{Command, Found, Level, Op, Outcome, Reply, Response},
    limits::GET_KEYS_MAX,
    mark,
    runtime::{Clock, Instant, Runtime},
    store::slots::{group_of, slot_of},
    types::{Stamp, Version},
};

use super::{
    act::Act,
    direct::{self, CROSSSLOT},
    scratch::{Said, Scratch},
};
use crate::client::{Ask, Client, Wish};

/// What a connection wants of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mood {
    /// What a read must hold at least.
    pub reads: Level,
    /// How old an eventual one may be, in milliseconds; 0 for however old.
    pub staleness_ms: u32,
    /// How long a command may take.
    pub within: Duration,
}

impl Default for Mood {
    fn default() -> Self {
        Self { reads: Level::Strong, staleness_ms: 0, within: Duration::from_secs(5) }
    }
}

impl Mood {
    const fn read(&self) -> Wish {
        Wish { level: self.reads, staleness_ms: self.staleness_ms, within: self.within }
    }

    const fn write(&self) -> Wish {
        Wish::strong(self.within)
    }
}

/// What EXEC comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// What each command was answered.
    Done(Vec<Said>),
    /// A key that was watched has changed; nothing happened.
    Changed,
    /// Nothing happened, or nobody knows.
    Failed(Said),
}

/// The versions that watched keys had; none when they were not there.
pub type Watched = BTreeMap<Bytes, Option<Version>>;

/// What is told of keys that were read together.
struct Read {
    stamp: Stamp,
    found: Vec<Option<Found>>,
}

/// The cluster, as connections to this node see it.
pub struct Front<R: Runtime> {
    runtime: R,
    /// Each has its own numbers, and so its own room for what is under way.
    lanes: Vec<Client<R>>,
    groups: u16,
    /// Whether keys may come to lie apart that lie together now.
    is_cluster: bool,
}

impl<R: Runtime> Front<R> {
    /// Over these clients, of a cluster whose slots are split over so many groups.
    #[must_use]
    pub const fn new(runtime: R, lanes: Vec<Client<R>>, groups: u16, is_cluster: bool) -> Self {
        Self { runtime, lanes, groups, is_cluster }
    }

    fn now(&self) -> Instant {
        self.runtime.clock().now()
    }

    fn lane(&self, connection: u64) -> &Client<R> {
        &self.lanes[(connection % self.lanes.len().max(1) as u64) as usize]
    }

    fn group(&self, key: &[u8]) -> u16 {
        group_of(slot_of(key), self.groups)
    }

    /// Whether keys lie so that one moment can be promised for them.
    fn lie_together<'a>(&self, mut keys: impl Iterator<Item = &'a Bytes>) -> bool {
        let place = |key: &Bytes| if self.is_cluster { slot_of(key).0 } else { self.group(key) };
        let Some(first) = keys.next().map(place) else { return true };
        keys.all(|key| place(key) == first)
    }

    /// Whether an act is one operation, which may be on its way with others.
    #[must_use]
    pub fn is_direct(&self, act: &Act) -> bool {
        let keys = act.keys();
        let one_group = |keys: &[&Bytes]| {
            let first = keys.first().map(|key| self.group(key));
            keys.iter().all(|key| Some(self.group(key)) == first)
        };
        keys.len() <= GET_KEYS_MAX && one_group(&keys) && direct::operation(act).is_some()
    }

    /// Does acts that are all [direct](Self::is_direct), and all reads or all writes.
    pub async fn run(&self, connection: u64, acts: &[Act], mood: &Mood) -> Vec<Said> {
        let lane = self.lane(connection);
        let begun = acts.iter().map(|act| {
            let wish = if act.is_read() { mood.read() } else { mood.write() };
            let ask = direct::operation(act).map(|op| lane.ask(op, wish));
            match ask {
                Some(Ok(ask)) => Begun::Asked(Box::pin(once(ask))),
                Some(Err(refusal)) => Begun::Ended(direct::refused(refusal)),
                None => Begun::Ended(Said::Error(Cow::Borrowed("ERR not possible here"))),
            }
        });
        let tried = all(begun.collect()).await;
        let done = |tried: &Tried<'_, R>| match tried {
            Tried::Answered(response) => matches!(response.outcome, Outcome::Ok(_)),
            Tried::Open(_) | Tried::Ended(_) => false,
        };
        let last_done = tried.iter().rposition(done);
        let mut said = Vec::with_capacity(acts.len());
        for (at, (act, tried)) in acts.iter().zip(tried).enumerate() {
            let response = match tried {
                Tried::Ended(answer) => {
                    said.push(answer);
                    continue;
                }
                Tried::Answered(response) => response,
                Tried::Open(ask) if last_done.is_some_and(|last| last > at) && !act.is_read() => {
                    mark!("resp: a write is not tried again behind a later one");
                    ask.end()
                }
                Tried::Open(ask) => ask.finish().await,
            };
            said.push(told(act, response));
        }
        said
    }

    /// Does one act, however that is done.
    pub async fn perform(&self, connection: u64, act: &Act, mood: &Mood) -> Said {
        if self.is_direct(act) {
            let said = self.run(connection, std::slice::from_ref(act), mood).await;
            return said.into_iter().next().unwrap_or(Said::Nothing);
        }
        match act {
            Act::MGet(keys) | Act::Exists(keys) => {
                let keys: Vec<&Bytes> = keys.iter().collect();
                match self.read_apart(connection, &keys, mood).await {
                    Ok(read) => direct::render(act, Reply::Values(read.found), read.stamp),
                    Err(said) => said,
                }
            }
            Act::Del(keys) => {
                let parts = self.parts(keys, |key| key).into_iter().map(Act::Del);
                self.sum(connection, parts.collect(), mood).await
            }
            Act::MSet(pairs) => {
                let parts = self.parts(pairs, |(key, _)| key).into_iter().map(Act::MSet);
                self.sum(connection, parts.collect(), mood).await
            }
            act => {
                let acts = std::slice::from_ref(act);
                match self.transact(connection, acts, &Watched::new(), mood).await {
                    Executed::Done(said) => said.into_iter().next().unwrap_or(Said::Nothing),
                    Executed::Changed => Said::Nothing,
                    Executed::Failed(said) => said,
                }
            }
        }
    }

    /// The same things by their groups.
    fn parts<T: Clone>(&self, all: &[T], key: impl Fn(&T) -> &Bytes) -> Vec<Vec<T>> {
        let mut parts: BTreeMap<u16, Vec<T>> = BTreeMap::new();
        for one in all {
            parts.entry(self.group(key(one))).or_default().push(one.clone());
        }
        parts.into_values().collect()
    }

    /// Does acts one after the other: what they number together, or the first error.
    async fn sum(&self, connection: u64, acts: Vec<Act>, mood: &Mood) -> Said {
        let mut sum = None;
        for act in acts {
            let acts = [act];
            let said = match direct::operation(&acts[0]) {
                Some(_) => self.run(connection, &acts, mood).await.into_iter().next(),
                None => match self.change(connection, &acts, &Watched::new(), mood).await {
                    Executed::Done(said) => said.into_iter().next(),
                    Executed::Changed => None,
                    Executed::Failed(said) => Some(said),
                },
            };
            match said {
                Some(Said::Number(number)) => sum = Some(sum.unwrap_or(0) + number),
                Some(Said::Ok) | None => {}
                Some(other) => return other,
            }
        }
        sum.map_or(Said::Ok, Said::Number)
    }

    /// Does acts as one: all of them at one moment, or none.
    pub async fn transact(
        &self,
        connection: u64,
        acts: &[Act],
        watched: &Watched,
        mood: &Mood,
    ) -> Executed {
        let named = acts.iter().flat_map(Act::keys);
        if !self.lie_together(named.chain(watched.keys())) {
            return Executed::Failed(Said::Error(Cow::Borrowed(CROSSSLOT)));
        }
        self.change(connection, acts, watched, mood).await
    }

    /// The same, of keys of one group.
    async fn change(
        &self,
        connection: u64,
        acts: &[Act],
        watched: &Watched,
        mood: &Mood,
    ) -> Executed {
        let until = self.now() + mood.within;
        let mut needed: Vec<&Bytes> =
            acts.iter().flat_map(Act::needs).chain(watched.keys()).collect();
        needed.sort_unstable();
        needed.dedup();
        loop {
            let left = Mood { reads: Level::Strong, within: until.since(self.now()), ..*mood };
            let read = match self.read_apart(connection, &needed, &left).await {
                Ok(read) => read,
                Err(said) => return Executed::Failed(said),
            };
            let version = |found: &Option<Found>| found.as_ref().map(|found| found.version);
            let mut scratch = Scratch::new(read.stamp.ms());
            for (key, found) in needed.iter().zip(read.found) {
                if watched.get(*key).is_some_and(|known| *known != version(&found)) {
                    return Executed::Changed;
                }
                scratch.learn(Bytes::clone(key), found);
            }
            let said: Vec<Said> = acts.iter().map(|act| scratch.perform(act)).collect();
            let transaction = match scratch.transaction() {
                Ok(Some(transaction)) => transaction,
                Ok(None) => return Executed::Done(said),
                Err(refusal) => return Executed::Failed(direct::refused(refusal)),
            };
            let op = Op::Write(Command::Transaction(transaction));
            match self.lane(connection).call(op, left.write()).await.outcome {
                Outcome::Ok(Reply::Conflict { .. }) if self.now() < until => {
                    mark!("resp: a key has changed between reading and writing");
                }
                Outcome::Ok(Reply::Conflict { .. }) => {
                    let why = "UNAVAILABLE others changed the keys all the time; nothing happened";
                    return Executed::Failed(Said::Error(Cow::Borrowed(why)));
                }
                Outcome::Ok(Reply::Failed { failure, .. }) => {
                    return Executed::Failed(direct::failed(failure));
                }
                Outcome::Ok(_) => return Executed::Done(said),
                Outcome::Refused(refusal) => return Executed::Failed(direct::refused(refusal)),
                Outcome::Unknown => return Executed::Failed(direct::unknown()),
            }
        }
    }

    /// The versions of keys, for WATCH.
    ///
    /// # Errors
    /// What to answer when they cannot be read.
    pub async fn versions(
        &self,
        connection: u64,
        keys: &[Bytes],
        mood: &Mood,
    ) -> Result<Watched, Said> {
        let strong = Mood { reads: Level::Strong, ..*mood };
        let all: Vec<&Bytes> = keys.iter().collect();
        let read = self.read_apart(connection, &all, &strong).await?;
        let versions = read.found.into_iter().map(|found| found.map(|found| found.version));
        Ok(keys.iter().cloned().zip(versions).collect())
    }

    /// What keys have, each group's at a moment of its own.
    async fn read_apart(
        &self,
        connection: u64,
        keys: &[&Bytes],
        mood: &Mood,
    ) -> Result<Read, Said> {
        let mut read = Read { stamp: Stamp(0), found: vec![None; keys.len()] };
        let mut parts: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            parts.entry(self.group(key)).or_default().push(at);
        }
        let pieces = parts.values().flat_map(|all| all.chunks(GET_KEYS_MAX));
        for piece in pieces {
            let op = Op::GetMany(piece.iter().map(|at| keys[*at].clone()).collect());
            let response = self.lane(connection).call(op, mood.read()).await;
            match response.outcome {
                Outcome::Ok(Reply::Values(values)) => {
                    read.stamp = read.stamp.max(response.told.stamp);
                    piece.iter().zip(values).for_each(|(at, value)| read.found[*at] = value);
                }
                Outcome::Refused(refusal) => return Err(direct::refused(refusal)),
                Outcome::Ok(_) | Outcome::Unknown => return Err(direct::unknown()),
            }
        }
        Ok(read)
    }
}

fn told(act: &Act, response: Response) -> Said {
    match response.outcome {
        Outcome::Ok(reply) => direct::render(act, reply, response.told.stamp),
        Outcome::Refused(refusal) => direct::refused(refusal),
        Outcome::Unknown => direct::unknown(),
    }
}

type Attempt<'a, R> = Pin<Box<dyn Future<Output = (Ask<'a, R>, Option<Response>)> + Send + 'a>>;

/// An act whose first attempt is made.
enum Begun<'a, R: Runtime> {
    Asked(Attempt<'a, R>),
    Ended(Said),
}

/// An act whose first attempt was made.
enum Tried<'a, R: Runtime> {
    Answered(Response),
    Open(Ask<'a, R>),
    Ended(Said),
}

async fn once<R: Runtime>(mut ask: Ask<'_, R>) -> (Ask<'_, R>, Option<Response>) {
    let response = ask.once().await;
    (ask, response)
}

/// Waits for all of them; the first time they are polled in their order.
async fn all<R: Runtime>(mut begun: Vec<Begun<'_, R>>) -> Vec<Tried<'_, R>> {
    let mut tried: Vec<Option<Tried<'_, R>>> = begun.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (begun, tried) in begun.iter_mut().zip(&mut tried) {
            if tried.is_some() {
                continue;
            }
            *tried = match begun {
                Begun::Ended(said) => Some(Tried::Ended(said.clone())),
                Begun::Asked(attempt) => match attempt.as_mut().poll(context) {
                    Poll::Ready((_, Some(response))) => Some(Tried::Answered(response)),
                    Poll::Ready((ask, None)) => Some(Tried::Open(ask)),
                    Poll::Pending => None,
                },
            };
            waits |= tried.is_none();
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    tried.into_iter().flatten().collect()
}
