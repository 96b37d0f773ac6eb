//! Random histories against a naive store.
//!
//! Three clients send commands, repeat what they wait for, and are repeated by a slow network long
//! after; leaders' clocks are behind one another; minutes and hours pass. One replica crashes and
//! throws expired values away whenever it likes, its twin never does. After every entry:
//! - both have told the same, have the same digest, and are the same;
//! - a request that was executed has the reply of then, or nobody knows; it changed nothing again;
//! - any other has the reply of the naive store, unless it was below what its client waits for or
//!   its client was silent for an hour: then nobody knows, and nothing changed;
//! - the values are those of the naive store.

use super::world::{World, session, text};
use crate::{
    command::{
        Body, Check, Command, Condition, Expiry, Failure, Found, Old, Only, Outcome, Refusal,
        Reply, Session, Transaction, Write,
    },
    limits::SESSION_IDLE_MS,
    types::{Index, Stamp, Version},
};
use bytes::Bytes;
use std::{collections::BTreeMap, format, string::String, vec::Vec};

const CLIENTS: u64 = 3;
const KEYS: u64 = 4;

/// Luck that can be repeated.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// A value of the naive store.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    version: u64,
    until: Option<u64>,
    value: Vec<u8>,
}

/// The naive store: expired values are thrown away before anything is looked at.
#[derive(Clone, Default)]
struct Naive {
    values: BTreeMap<Vec<u8>, Plain>,
    now_ms: u64,
    told: BTreeMap<(u64, u64), Reply>,
    floors: BTreeMap<u64, u64>,
    heard_ms: BTreeMap<u64, u64>,
}

impl Naive {
    fn pass(&mut self, ms: u64) {
        self.now_ms = self.now_ms.max(ms);
        let now = self.now_ms;
        self.values.retain(|_, plain| plain.until.is_none_or(|until| until > now));
    }

    fn version(&self, key: &Bytes) -> Option<Version> {
        self.values.get(&key[..]).map(|plain| Version(plain.version))
    }

    fn until(&self, expiry: Expiry, stamp_ms: u64, key: &Bytes) -> Option<u64> {
        match expiry {
            Expiry::None => None,
            Expiry::At(ms) => Some(ms),
            Expiry::After(ms) => Some(stamp_ms + ms),
            Expiry::Keep => self.values.get(&key[..]).and_then(|plain| plain.until),
        }
    }

    fn put(&mut self, key: &Bytes, version: u64, until: Option<u64>, value: &[u8]) {
        self.values.insert(key.to_vec(), Plain { version, until, value: value.to_vec() });
    }

    fn old(&self, key: &Bytes, is_wanted: bool) -> Old {
        match self.values.get(&key[..]) {
            _ if !is_wanted => Old::NotAsked,
            None => Old::Absent,
            Some(plain) => Old::Found(Found {
                version: Version(plain.version),
                expires_ms: plain.until,
                value: Bytes::from(plain.value.clone()),
            }),
        }
    }

    fn sum(&self, key: &Bytes, by: i64) -> Result<i64, Failure> {
        let Some(plain) = self.values.get(&key[..]) else { return Ok(by) };
        let text = String::from_utf8_lossy(&plain.value);
        let number: i64 = text.parse().map_err(|_error| Failure::NotAnInteger)?;
        if format!("{number}") != text {
            return Err(Failure::NotAnInteger);
        }
        number.checked_add(by).ok_or(Failure::Overflow)
    }

    fn execute(&mut self, version: u64, stamp_ms: u64, command: &Command) -> Reply {
        let reply = self.executed(version, stamp_ms, command);
        // What was put with an expiry of the past is gone already.
        self.pass(0);
        reply
    }

    fn executed(&mut self, version: u64, stamp_ms: u64, command: &Command) -> Reply {
        let done = |old| Reply::Done { version: Version(version), old };
        match command {
            Command::Set { key, value, expiry, condition, want_old } => {
                let (found, old) = (self.version(key), self.old(key, *want_old));
                if !condition.holds(found) {
                    return Reply::Unmet { found, old };
                }
                let until = self.until(*expiry, stamp_ms, key);
                self.put(key, version, until, value);
                done(old)
            }
            Command::Delete { key, condition, want_old } => {
                let (found, old) = (self.version(key), self.old(key, *want_old));
                if !condition.holds(found) || self.values.remove(&key[..]).is_none() {
                    return Reply::Unmet { found, old };
                }
                done(old)
            }
            Command::Increment { key, by } => match self.sum(key, *by) {
                Ok(number) => {
                    let until = self.until(Expiry::Keep, stamp_ms, key);
                    self.put(key, version, until, format!("{number}").as_bytes());
                    Reply::Number { number, version: Version(version) }
                }
                Err(failure) => Reply::Failed { failure, write: 0 },
            },
            Command::Append { key, value } => {
                let until = self.until(Expiry::Keep, stamp_ms, key);
                let mut longer = self.values.get(&key[..]).map_or(Vec::new(), |p| p.value.clone());
                longer.extend_from_slice(value);
                self.put(key, version, until, &longer);
                Reply::Length { bytes: longer.len() as u64, version: Version(version) }
            }
            Command::Expire { key, expiry, only } => {
                let new = self.until(*expiry, stamp_ms, key);
                let found = self.version(key);
                let unmet = Reply::Unmet { found, old: Old::NotAsked };
                let Some(plain) = self.values.get_mut(&key[..]) else { return unmet };
                let never = u64::MAX;
                let (was, is) = (plain.until.unwrap_or(never), new.unwrap_or(never));
                let holds = match only {
                    Only::Always => true,
                    Only::Without => was == never,
                    Only::With => was != never,
                    Only::Later => is > was,
                    Only::Earlier => is < was,
                };
                if !holds || was == is {
                    return unmet;
                }
                (plain.version, plain.until) = (version, new);
                done(Old::NotAsked)
            }
            Command::Transaction(transaction) => self.transact(version, stamp_ms, transaction),
            Command::Clock | Command::CloseSession => done(Old::NotAsked),
        }
    }

    fn transact(&mut self, version: u64, stamp_ms: u64, transaction: &Transaction) -> Reply {
        for (at, check) in (0..).zip(transaction.checks()) {
            let found = self.version(&check.key);
            if found != check.version {
                return Reply::Conflict { check: at, found };
            }
        }
        let before = self.values.clone();
        let mut numbers = Vec::new();
        for (at, write) in (0..).zip(transaction.writes()) {
            match write {
                Write::Set { key, value, expiry } => {
                    let until = self.until(*expiry, stamp_ms, key);
                    self.put(key, version, until, value);
                }
                Write::Delete { key } => {
                    self.values.remove(&key[..]);
                }
                Write::Increment { key, by } => match self.sum(key, *by) {
                    Ok(number) => {
                        let until = self.until(Expiry::Keep, stamp_ms, key);
                        self.put(key, version, until, format!("{number}").as_bytes());
                        numbers.push(number);
                    }
                    Err(failure) => {
                        self.values = before;
                        return Reply::Failed { failure, write: at };
                    }
                },
            }
        }
        Reply::Committed { version: Version(version), numbers }
    }

    /// Whether what a request was told is what it should be.
    fn judge(
        &mut self,
        version: u64,
        stamp_ms: u64,
        session: Session,
        command: &Command,
        outcome: &Outcome,
    ) -> Result<(), String> {
        self.pass(stamp_ms);
        let (client, sequence) = (session.client.0, session.sequence.0);
        if client == 0 {
            let reply = Outcome::Ok(self.execute(version, stamp_ms, command));
            return same(&reply, outcome);
        }
        // A request that was an hour on its way is as old as a client that was silent for one.
        let heard = self.heard_ms.entry(client).or_insert(self.now_ms.min(session.since.ms()));
        let was_silent = self.now_ms - *heard + 1000 >= SESSION_IDLE_MS;
        if !was_silent {
            *heard = self.now_ms;
        }
        let floor = self.floors.entry(client).or_default();
        *floor = (*floor).max(session.oldest.0);
        let may_be_unknown = sequence < *floor || was_silent;
        if let Some(told) = self.told.get(&(client, sequence)) {
            return match outcome {
                outcome if is_doubtful(outcome) && may_be_unknown => Ok(()),
                // Only a client that was forgotten has a floor that is not the highest.
                outcome if sequence >= *floor || was_silent => {
                    same(&Outcome::Ok(told.clone()), outcome)
                }
                outcome => same(&Outcome::Unknown, outcome),
            };
        }
        if is_doubtful(outcome) && may_be_unknown {
            return Ok(());
        }
        if sequence < *floor && !was_silent {
            return same(&Outcome::Unknown, outcome);
        }
        let reply = self.execute(version, stamp_ms, command);
        self.told.insert((client, sequence), reply.clone());
        same(&Outcome::Ok(reply), outcome)
    }
}

/// Whether it says that the request may have been executed before.
const fn is_doubtful(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown | Outcome::Refused(Refusal::Forgotten))
}

fn same(expect: &Outcome, outcome: &Outcome) -> Result<(), String> {
    if expect == outcome { Ok(()) } else { Err(format!("told {outcome:?} and not {expect:?}")) }
}

fn a_key(luck: &mut Luck) -> Bytes {
    text(["a", "b", "c", "d"][luck.below(KEYS) as usize])
}

fn a_value(luck: &mut Luck) -> Bytes {
    text(["1", "-7", "9223372036854775807", "x", "01", ""][luck.below(6) as usize])
}

fn an_expiry(luck: &mut Luck, now_ms: u64) -> Expiry {
    match luck.below(5) {
        0 => Expiry::At(now_ms + luck.below(500)),
        1 => Expiry::After(1 + luck.below(500)),
        2 => Expiry::Keep,
        _ => Expiry::None,
    }
}

fn a_command(luck: &mut Luck, naive: &Naive) -> Command {
    let now = naive.now_ms;
    let (key, value) = (a_key(luck), a_value(luck));
    let near = naive.version(&key).unwrap_or_default();
    let condition = match luck.below(8) {
        0 => Condition::Absent,
        1 => Condition::Present,
        2 => Condition::Version(near),
        3 => Condition::Version(Version(near.0.saturating_sub(1))),
        _ => Condition::Always,
    };
    let want_old = luck.one_in(3);
    match luck.below(12) {
        0..3 => Command::Set { key, value, expiry: an_expiry(luck, now), condition, want_old },
        3 => Command::Delete { key, condition, want_old },
        4..7 => Command::Increment { key, by: luck.below(9) as i64 - 4 },
        7 => Command::Append { key, value },
        8 => {
            let only = [Only::Always, Only::Without, Only::With, Only::Later, Only::Earlier];
            let only = only[luck.below(5) as usize];
            Command::Expire { key, expiry: an_expiry(luck, now), only }
        }
        9 => Command::Clock,
        _ => {
            let version = naive.version(&key).filter(|_| !luck.one_in(4));
            let checks = if luck.one_in(2) { Vec::new() } else { [Check { key, version }].into() };
            let mut keys = ["a", "b", "c", "d"].to_vec();
            keys.retain(|_| luck.one_in(2));
            let writes = keys.into_iter().map(|key| match luck.below(3) {
                0 => Write::Delete { key: text(key) },
                1 => Write::Increment { key: text(key), by: luck.below(9) as i64 - 4 },
                _ => {
                    let (value, expiry) = (a_value(luck), an_expiry(luck, now));
                    Write::Set { key: text(key), value, expiry }
                }
            });
            let writes = writes.collect();
            Command::Transaction(Transaction::new(checks, writes).expect("each key once"))
        }
    }
}

/// What a client has sent and may send again.
#[derive(Default)]
struct Sender {
    next: u64,
    /// Below it the client waits for nothing.
    oldest: u64,
    sent: Vec<(Session, Command)>,
}

impl Sender {
    fn request(&mut self, client: u64, luck: &mut Luck, naive: &Naive) -> (Session, Command) {
        let is_again = luck.below(10) < 4 && !self.sent.is_empty();
        if is_again {
            let count = self.sent.len() as u64;
            let back = if luck.one_in(4) { luck.below(count) } else { luck.below(count.min(4)) };
            let (mut session, command) = self.sent[(count - 1 - back) as usize].clone();
            if session.sequence.0 >= self.oldest && luck.one_in(2) {
                session.oldest.0 = self.oldest;
            }
            return (session, command);
        }
        // Some numbers go to other groups.
        self.next += 1 + luck.below(3);
        if luck.one_in(3) {
            self.oldest = self.oldest.max(self.next.saturating_sub(luck.below(8)));
        }
        let since = naive.now_ms.saturating_sub(luck.below(30)) + luck.below(20);
        let session = session(client, self.next, self.oldest.min(self.next), since);
        let command = a_command(luck, naive);
        self.sent.push((session, command.clone()));
        (session, command)
    }
}

/// How long a history is.
pub(super) const STEPS: u64 = 600;

/// One life; answers what went wrong.
pub(super) fn live(seed: u64, steps: u64) -> Option<String> {
    let mut luck = Luck(seed);
    let (mut world, mut twin, mut naive) = (World::default(), World::default(), Naive::default());
    let mut senders: BTreeMap<u64, Sender> = BTreeMap::new();
    let mut ms = 1_000_000;
    for step in 0..steps {
        ms += luck.below(120);
        if luck.one_in(60) {
            ms += [50_000, 61_000, SESSION_IDLE_MS / 2, SESSION_IDLE_MS + 61_000]
                [luck.below(4) as usize];
        }
        if luck.one_in(10) {
            world.restart();
        }
        if luck.one_in(10) {
            let now = naive.now_ms;
            world.values.retain(|_, kept| kept.expires_ms.is_none_or(|until| until.get() > now));
        }
        // A new leader's clock may be behind.
        let stamp_ms = if luck.one_in(5) { ms - luck.below(2000) } else { ms };
        let version = world.state.applied().0 + 1;
        if luck.one_in(12) {
            world.apply_body(Stamp::at_ms(stamp_ms), &Body::Noop);
            twin.apply_body(Stamp::at_ms(stamp_ms), &Body::Noop);
            naive.pass(stamp_ms);
        } else {
            let client = luck.below(CLIENTS + 1);
            let (session, command) = if client == 0 {
                (Session::NOBODY, a_command(&mut luck, &naive))
            } else {
                senders.entry(client).or_default().request(client, &mut luck, &naive)
            };
            let outcome = world.at(stamp_ms, session, command.clone());
            let other = twin.at(stamp_ms, session, command.clone());
            let judged = naive.judge(version, stamp_ms, session, &command, &outcome);
            let judged = judged.and_then(|()| same(&other, &outcome));
            if let Err(wrong) = judged {
                return Some(format!("step {step}: {session:?} {command:?}: {wrong}"));
            }
        }
        if let Some(wrong) = differs(&world, &twin, &naive) {
            return Some(format!("step {step}: {wrong}"));
        }
    }
    None
}

fn differs(world: &World, twin: &World, naive: &Naive) -> Option<String> {
    let visible = |world: &World| -> BTreeMap<Vec<u8>, Plain> {
        let mut values = BTreeMap::new();
        for (key, kept) in &world.values {
            let until = kept.expires_ms.map(core::num::NonZero::get);
            if until.is_none_or(|until| until > world.state.stamp().ms()) {
                let plain = Plain { version: kept.version.0, until, value: kept.value.clone() };
                values.insert(key.clone(), plain);
            }
        }
        values
    };
    if world.state != twin.state {
        return Some("the replicas are not in one state".into());
    }
    if world.state.applied() > Index(0) && world.state.digest() == 0 {
        return Some("there is no digest".into());
    }
    if visible(world) != naive.values || visible(twin) != naive.values {
        return Some(format!("values are {:?} and not {:?}", visible(world), naive.values));
    }
    None
}

#[test]
fn random_histories_are_those_of_a_naive_store() {
    for seed in 1..=60 {
        assert_eq!(live(seed, STEPS), None, "seed {seed}");
    }
}
