//! What all connections to a node's Redis port have in common.
//!
//! Not here: one connection (`session.rs`, `serve.rs`), the cluster (`front.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use trilith_engine::{
    runtime::{Clock, Instant, Rng, Runtime},
    types::{NodeId, Uuid},
};

use super::{cursors::Cursors, front::Front, guest::Guest, post::Post, slow::Slow};

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Our version.
    pub version: &'static str,
    /// The version of Redis that clients are to take us for: they look at it to know what is there.
    pub redis_version: &'static str,
    /// Which node.
    pub node: NodeId,
    /// Its directory.
    pub directory: Uuid,
    /// The port.
    pub port: u16,
}

/// A node's Redis port.
pub struct Hub<R: Runtime> {
    runtime: R,
    front: Front<R>,
    /// How long a command may take.
    within: Duration,
    facts: Facts,
    began: Instant,
    connections: AtomicU64,
    commands: AtomicU64,
    last: AtomicU64,
    ending: Mutex<Ending>,
    guests: Mutex<BTreeMap<u64, Guest>>,
    post: Arc<Post>,
    cursors: Mutex<Cursors>,
    slow: Mutex<Slow>,
    luck: Mutex<R::Rng>,
}

/// The end of a port, or of some of its connections: who waits for something else must hear of it.
#[derive(Default)]
struct Ending {
    is_near: bool,
    killed: BTreeSet<u64>,
    waiting: BTreeMap<u64, Waker>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Runtime> Hub<R> {
    /// One whose commands may take so long, and that says that of the node.
    #[must_use]
    pub fn new(
        runtime: R,
        front: Front<R>,
        post: Arc<Post>,
        within: Duration,
        facts: Facts,
    ) -> Self {
        let began = runtime.clock().now();
        let zero = || AtomicU64::new(0);
        Self {
            front,
            within,
            facts,
            began,
            connections: zero(),
            commands: zero(),
            last: zero(),
            ending: Mutex::default(),
            guests: Mutex::default(),
            post,
            cursors: Mutex::default(),
            slow: Mutex::default(),
            luck: Mutex::new(runtime.rng("resp")),
            runtime,
        }
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        locked(&self.ending)
    }

    /// From now on nothing new is done.
    pub(super) fn end(&self) {
        let mut ending = self.ending();
        ending.is_near = true;
        std::mem::take(&mut ending.waiting).into_values().for_each(Waker::wake);
    }

    /// A connection is to end. Whether there is one of that number.
    pub(super) fn kill(&self, number: u64) -> bool {
        if !self.guests().contains_key(&number) {
            return false;
        }
        let mut ending = self.ending();
        ending.killed.insert(number);
        ending.waiting.remove(&number).into_iter().for_each(Waker::wake);
        true
    }

    /// Whether a connection is to end.
    pub(super) fn is_over(&self, number: u64) -> bool {
        let ending = self.ending();
        ending.is_near || ending.killed.contains(&number)
    }

    /// Waits until the port ends, or that connection is to. The listener is number 0.
    pub(super) async fn ends(&self, number: u64) {
        self.until(number, |ending| ending.is_near || ending.killed.contains(&number)).await;
    }

    /// Waits until that connection is to end, though the port does not.
    pub(super) async fn is_killed(&self, number: u64) {
        self.until(number, |ending| ending.killed.contains(&number)).await;
    }

    async fn until(&self, number: u64, is_so: impl Fn(&Ending) -> bool) {
        poll_fn(|context| {
            let mut ending = self.ending();
            if is_so(&ending) {
                return Poll::Ready(());
            }
            ending.waiting.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The connections that there are.
    pub(super) fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Guest>> {
        locked(&self.guests)
    }

    /// Who has subscribed to what.
    pub(super) fn post(&self) -> &Post {
        &self.post
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
        let mut ending = self.ending();
        ending.waiting.remove(&number);
        ending.killed.remove(&number);
    }

    pub(super) fn count(&self, commands: u64) {
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
