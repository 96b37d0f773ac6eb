//! What all connections to a node's Redis port have in common.
//!
//! Not here: one connection (`session.rs`, `serve.rs`), the cluster (`front.rs`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use trilith_engine::runtime::{Clock, Instant, Rng, Runtime};

use super::{cursors::Cursors, front::Front, guest::Guest, post::Post, slow::Slow};
use crate::{ending::Ending, facts::Facts, gate::Gate, meters::Meters};

/// The version of Redis that clients are to take us for, whose commands and errors we have: they
/// look at it to know what is there.
pub(super) const REDIS_VERSION: &str = "7.4.0";

/// A node's Redis port.
pub struct Hub<R: Runtime> {
    runtime: R,
    front: Front<R>,
    gate: Arc<Gate<R>>,
    /// How long a command may take.
    within: Duration,
    facts: Facts,
    began: Instant,
    connections: AtomicU64,
    commands: AtomicU64,
    last: AtomicU64,
    ending: Arc<Ending>,
    guests: Mutex<BTreeMap<u64, Guest>>,
    post: Arc<Post>,
    meters: Arc<Meters>,
    cursors: Mutex<Cursors>,
    slow: Mutex<Slow>,
    luck: Mutex<R::Rng>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Runtime> Hub<R> {
    /// One whose commands may take so long, and that says that of the node.
    #[must_use]
    pub(crate) fn new(
        runtime: R,
        front: Front<R>,
        gate: Arc<Gate<R>>,
        post: Arc<Post>,
        meters: Arc<Meters>,
        within: Duration,
        facts: Facts,
    ) -> Self {
        let began = runtime.clock().now();
        let zero = || AtomicU64::new(0);
        Self {
            front,
            gate,
            within,
            facts,
            began,
            connections: zero(),
            commands: zero(),
            last: zero(),
            ending: Arc::default(),
            guests: Mutex::default(),
            post,
            meters,
            cursors: Mutex::default(),
            slow: Mutex::default(),
            luck: Mutex::new(runtime.rng("resp")),
            runtime,
        }
    }

    /// Its end, and that of its connections.
    pub(super) const fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    /// A connection is to end. Whether there is one of that number.
    pub(super) fn kill(&self, number: u64) -> bool {
        let is_there = self.guests().contains_key(&number);
        if is_there {
            self.ending.kill(number);
        }
        is_there
    }

    /// The connections that there are.
    pub(super) fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Guest>> {
        locked(&self.guests)
    }

    /// Who has subscribed to what.
    pub(super) fn post(&self) -> &Post {
        &self.post
    }

    /// What is counted.
    pub(super) const fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Where SCANs go on.
    pub(super) fn cursors(&self) -> MutexGuard<'_, Cursors> {
        locked(&self.cursors)
    }

    /// What took long.
    pub(super) fn slow(&self) -> MutexGuard<'_, Slow> {
        locked(&self.slow)
    }

    /// Some luck.
    pub(super) fn luck(&self) -> u64 {
        locked(&self.luck).next_u64()
    }

    pub(super) const fn runtime(&self) -> &R {
        &self.runtime
    }

    pub(super) const fn front(&self) -> &Front<R> {
        &self.front
    }

    pub(super) fn gate(&self) -> &Gate<R> {
        &self.gate
    }

    pub(super) const fn within(&self) -> Duration {
        self.within
    }

    pub(super) const fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn uptime_seconds(&self) -> u64 {
        self.runtime.clock().now().since(self.began).as_secs()
    }

    /// One more connection, from there; its number.
    pub(super) fn enter(&self, from: SocketAddr) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.guests().insert(number, Guest::new(number, from, self.runtime.clock().now()));
        number
    }

    pub(super) fn leave(&self, number: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.guests().remove(&number);
        self.post.leave_all(number);
        self.ending.forget(number);
    }

    pub(super) fn count(&self, commands: u64) {
        self.meters.commands.add(commands);
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }

    /// How many connections there are, how many there were, and how many commands.
    pub(super) fn counted(&self) -> (u64, u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.connections), read(&self.last), read(&self.commands))
    }

    /// What is counted is counted anew.
    pub(super) fn reset(&self) {
        self.commands.store(0, Ordering::Relaxed);
    }
}
