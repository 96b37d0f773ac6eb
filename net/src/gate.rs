//! The gate: who comes in with a password, whatever protocol he speaks.
//!
//! ```text
//!   user, password ─► the same as the last right one? ── yes ──────────────────────────► in
//!                              │ no
//!                              └─► queue ─► judge: argon2, one at a time, off the core ─► in
//!                                                               └─► a pause ─► out
//! ```
//! A password takes some twenty milliseconds and megabytes to judge, by intention, and whoever comes
//! may have it done; so one is judged at a time, and never on the core's own thread
//! (`Task::compute`). Whoever does not come to his turn in time is told so, and may come again.
//!
//! What was right is remembered, under a key that this process has drawn: a request of HTTP says
//! its password each time, and a thousand connections that come at once say the same one. So who is
//! known comes in also while strangers crowd the gate.
//!
//! Who guesses waits behind each guess, twice as long each time, as long as his connection lasts;
//! over however many connections a node judges some fifty guesses a second. A name that nobody has
//! takes as long as one that somebody has: it is judged by somebody's hash, always by that of the same,
//! since hashes may differ in what they cost.
//!
//! Invariants: one password a user is remembered, and none in clear; nobody comes in whose password
//! was not judged right in this life of the process.
//!
//! Not here: what is asked of somebody who is not in yet (`resp/session.rs`, `http/desk.rs`), what is
//! kept of passwords (`users.rs`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blake2::{
    Blake2s256, Blake2sMac256, Digest,
    digest::{KeyInit, Mac},
};
use bytes::Bytes;
use trilith_engine::{
    mark, planted,
    runtime::{Clock, Instant, Receiver, Rng, Runtime, Sender, Task, queue, timeout},
};

use crate::{
    limits::{LOGIN_PAUSE, LOGIN_PAUSES, LOGIN_WITHIN, LOGINS_WAITING},
    meters::{Meters, Which},
    seldom::Seldom,
    users::{DEFAULT, Kept, Name, Users},
};

/// What became of somebody who wants to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// He is in, under this name.
    In(Name),
    /// He is not who he says.
    Wrong,
    /// Nobody has looked yet: too many want to come in.
    Crowded,
}

/// What was said on a connection of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guesses {
    from: SocketAddr,
    at: Which,
    wrong: u32,
    was_right: bool,
}

impl Guesses {
    /// Nothing was said yet by whoever came from there to that port.
    pub(crate) const fn none(from: SocketAddr, at: Which) -> Self {
        Self { from, at, wrong: 0, was_right: false }
    }

    /// One more was wrong; how long he waits for it.
    fn wrong(&mut self) -> Duration {
        let doubled = LOGIN_PAUSE * (1 << self.wrong.min(LOGIN_PAUSES));
        self.wrong = self.wrong.saturating_add(1);
        doubled
    }

    /// Whether one was right: then he may stay.
    pub(crate) const fn was_right(self) -> bool {
        self.was_right
    }
}

/// A node's gate.
pub(crate) struct Gate<R: Runtime> {
    runtime: R,
    users: Users,
    memory: Arc<Memory>,
    attempts: Sender<Attempt>,
    meters: Arc<Meters>,
    /// That somebody was not who he said.
    wrong: Seldom,
    /// Nobody judges where nobody is asked. Locked by nobody: so a gate can be shared whatever handles
    /// are.
    _judge: Mutex<Option<<R::Task as Task>::Handle>>,
}

/// Somebody who waits for his turn.
struct Attempt {
    /// Who it would be; nobody is called so when it is missing.
    name: Option<Name>,
    /// What the password is to be judged by, in any case.
    kept: Kept,
    password: Bytes,
    /// Later than that he has given up.
    until: Instant,
    answer: Sender<Option<Name>>,
}

/// The last right password of each user.
struct Memory {
    key: [u8; 32],
    known: Mutex<BTreeMap<Name, [u8; 32]>>,
}

impl Memory {
    /// With a key that depends on the node's luck and on what nobody else knows.
    fn new(luck: &mut impl Rng, users: &Users) -> Self {
        let mut key = Blake2s256::new();
        for _ in 0..4 {
            key.update(luck.next_u64().to_le_bytes());
        }
        users.iter().for_each(|(_, kept)| key.update(kept.hash()));
        Self { key: key.finalize().into(), known: Mutex::default() }
    }

    fn digest(&self, password: &[u8]) -> Blake2sMac256 {
        // The key is as long as one is.
        let mac = <Blake2sMac256 as KeyInit>::new(&self.key.into());
        mac.chain_update(password)
    }

    /// Takes as long whether there is anything to compare with.
    fn knows(&self, name: Option<&Name>, password: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = name.and_then(|name| known.get(name).copied());
        let fits = self.digest(password).verify_slice(&known.unwrap_or_default()).is_ok();
        known.is_some() && fits
    }

    /// A number of this name that nobody can tell beforehand.
    fn lot(&self, name: &[u8]) -> u64 {
        let digest = self.digest(b"name ").chain_update(name).finalize().into_bytes();
        digest.iter().take(8).fold(0, |lot, byte| lot << 8 | u64::from(*byte))
    }

    fn remember(&self, name: &Name, password: &[u8]) {
        let digest = self.digest(password).finalize().into_bytes().into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Arc::clone(name), digest);
    }
}

impl<R: Runtime> Gate<R> {
    /// For these users; for everybody when there is none.
    pub(crate) fn new(runtime: R, users: Users, meters: Arc<Meters>) -> Self {
        let (attempts, waiting) = queue(LOGINS_WAITING);
        let memory = Arc::new(Memory::new(&mut runtime.rng("gate"), &users));
        let judging = || judge(runtime.clone(), Arc::clone(&memory), waiting);
        let judge = (!users.is_empty()).then(|| runtime.task().spawn("gate", judging()));
        let (wrong, judge) = (Seldom::default(), Mutex::new(judge));
        Self { runtime, users, memory, attempts, meters, wrong, _judge: judge }
    }

    /// Whether nobody is asked who he is.
    pub(crate) fn is_open(&self) -> bool {
        self.users.is_empty()
    }

    /// Who somebody is who has said nothing of it.
    pub(crate) fn anybody(&self) -> Option<Name> {
        self.is_open().then(|| DEFAULT.into())
    }

    /// The names of all users.
    pub(crate) fn names(&self) -> Vec<Name> {
        if self.is_open() {
            return vec![DEFAULT.into()];
        }
        self.users.iter().map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Somebody says that this is his name and his password.
    pub(crate) async fn enter(&self, name: &[u8], password: &[u8], guesses: &mut Guesses) -> Entry {
        if self.is_open() {
            let is_default = name == DEFAULT.as_bytes();
            return if is_default { Entry::In(DEFAULT.into()) } else { Entry::Wrong };
        }
        let entry = self.judged(name, password).await;
        guesses.was_right |= matches!(entry, Entry::In(_));
        if entry == Entry::Wrong {
            mark!("gate: somebody was not who he said");
            let clock = self.runtime.clock();
            let now = clock.now();
            self.meters.port(guesses.at).wrong_logins.add(1);
            if let Some(others) = self.wrong.tells(now) {
                let (from, port) = (guesses.from, guesses.at.name());
                tracing::warn!(%from, port, others, "a client was not who it said");
            }
            clock.sleep_until(now + guesses.wrong()).await;
        }
        entry
    }

    async fn judged(&self, name: &[u8], password: &[u8]) -> Entry {
        if !Users::takes(password) {
            return Entry::Wrong;
        }
        let (found, other) = (self.users.find(name), other(&self.users, self.memory.lot(name)));
        let is_known = self.memory.knows(found.map(|(name, _)| name), password);
        if let Some((name, _)) = found.filter(|_| is_known) {
            mark!("gate: a password was known");
            return Entry::In(Arc::clone(name));
        }
        let Some((_, kept)) = found.or(other) else { return Entry::Wrong };
        let clock = self.runtime.clock();
        let until = clock.now() + LOGIN_WITHIN;
        let (answer, mut heard) = queue(1);
        let (name, kept) = (found.map(|(name, _)| Arc::clone(name)), kept.clone());
        let password = Bytes::copy_from_slice(password);
        let attempt = Attempt { name, kept, password, until, answer };
        let asked = async {
            self.attempts.send(attempt).await.ok()?;
            heard.recv().await.ok()
        };
        match timeout(clock, until, asked).await {
            Ok(Some(Some(name))) => Entry::In(name),
            Ok(Some(None)) => Entry::Wrong,
            Ok(None) | Err(_) => Entry::Crowded,
        }
    }
}

/// Somebody by whose hash one is judged who has no name here.
fn other(users: &Users, lot: u64) -> Option<(&Name, &Kept)> {
    users.iter().nth((lot % users.iter().count().max(1) as u64) as usize)
}

/// Judges one password after the other.
async fn judge<R: Runtime>(runtime: R, memory: Arc<Memory>, mut waiting: Receiver<Attempt>) {
    while let Ok(Attempt { name, kept, password, until, answer }) = waiting.recv().await {
        if runtime.clock().now() >= until {
            continue;
        }
        // Somebody before him may have said the same.
        let is_known = memory.knows(name.as_ref(), &password);
        let (is_so, password) = if is_known {
            (true, password)
        } else {
            runtime.task().compute(move || (kept.is(&password), password)).await
        };
        let name = name.filter(|_| is_so || planted!("auth_any_password"));
        if let Some(name) = &name
            && !is_known
        {
            mark!("gate: a password was judged right");
            memory.remember(name, &password);
        }
        // Who has gone hears nothing.
        let _heard = answer.push(name).is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Cost;

    fn kept(password: &[u8]) -> Kept {
        let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
        Kept::make(password, [7; 16], cost).unwrap()
    }

    struct Counts(u64);

    impl Rng for Counts {
        fn next_u64(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }
    }

    #[test]
    fn what_is_remembered_is_one_password_a_user_and_of_this_life() {
        let mut users = Users::default();
        users.put("a", kept(b"one")).unwrap();
        let (memory, other) =
            (Memory::new(&mut Counts(0), &users), Memory::new(&mut Counts(9), &users));
        let (a, b): (Name, Name) = ("a".into(), "b".into());
        let knows = |name: &Name, password: &[u8]| memory.knows(Some(name), password);
        assert!(!knows(&a, b"one"), "nothing is known before it was judged");
        memory.remember(&a, b"one");
        assert!(knows(&a, b"one") && !knows(&a, b"two") && !knows(&b, b"one"));
        assert!(!memory.knows(None, b"one"), "nobody has that name");
        memory.remember(&a, b"two");
        assert!(knows(&a, b"two") && !knows(&a, b"one"));
        other.remember(&a, b"two");
        let digest = |memory: &Memory| memory.known.lock().unwrap()[&a];
        assert_ne!(digest(&memory), digest(&other), "each life has its key");
    }

    /// If all who have no name here were judged at the cost of one, whoever takes longer would be known
    /// to be there.
    #[test]
    fn who_has_no_name_here_is_judged_by_anybodys_hash_and_always_by_that() {
        let mut users = Users::default();
        for (nth, name) in ["a", "b", "c"].into_iter().enumerate() {
            let cost = Cost { memory_kib: 8 << nth, passes: 1, lanes: 1 };
            users.put(name, Kept::make(b"one", [7; 16], cost).unwrap()).unwrap();
        }
        let memory = Memory::new(&mut Counts(0), &users);
        let by = |nth: u32| other(&users, memory.lot(format!("nobody{nth}").as_bytes())).unwrap().0;
        let mut seen = BTreeMap::<Name, u32>::new();
        for nth in 0..300 {
            assert_eq!(by(nth), by(nth));
            *seen.entry(Arc::clone(by(nth))).or_default() += 1;
        }
        assert!(seen.len() == 3 && seen.values().all(|times| *times > 60), "{seen:?}");
        assert_eq!(other(&Users::default(), 7), None);
    }

    #[test]
    fn who_guesses_waits_longer_each_time() {
        let mut guesses = Guesses::none(([127, 0, 0, 1], 1).into(), Which::Resp);
        let waits: Vec<u128> = (0..8).map(|_| guesses.wrong().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 3200, 3200]);
        assert!((0..1000).map(|_| guesses.wrong()).all(|wait| wait == Duration::from_millis(3200)));
    }
}
