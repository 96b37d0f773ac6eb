//! What all connections to a node's Redis port have in common.
//!
//! Not here: one connection (`session.rs`, `serve.rs`), the cluster (`front.rs`).

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use trilith_engine::{
    runtime::{Clock, Instant, Runtime},
    types::{NodeId, Uuid},
};

use super::front::Front;

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
}

/// The end of a port: who waits for something else must hear of it.
#[derive(Default)]
struct Ending {
    is_near: bool,
    waiting: BTreeMap<u64, Waker>,
}

impl<R: Runtime> Hub<R> {
    /// One whose commands may take so long, and that says that of the node.
    #[must_use]
    pub fn new(runtime: R, front: Front<R>, within: Duration, facts: Facts) -> Self {
        let began = runtime.clock().now();
        let zero = || AtomicU64::new(0);
        let (connections, commands, last) = (zero(), zero(), zero());
        let ending = Mutex::default();
        Self { runtime, front, within, facts, began, connections, commands, last, ending }
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing new is done.
    pub(super) fn end(&self) {
        let mut ending = self.ending();
        ending.is_near = true;
        std::mem::take(&mut ending.waiting).into_values().for_each(Waker::wake);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending().is_near
    }

    /// Waits until the port ends. The listener is number 0.
    pub(super) async fn ends(&self, number: u64) {
        poll_fn(|context| {
            let mut ending = self.ending();
            if ending.is_near {
                return Poll::Ready(());
            }
            ending.waiting.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await;
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

    /// One more connection; its number.
    pub(super) fn enter(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn leave(&self, number: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.ending().waiting.remove(&number);
    }

    pub(super) fn count(&self, commands: u64) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }

    /// How many connections there are, how many there were, and how many commands.
    pub(super) fn counted(&self) -> (u64, u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.connections), read(&self.last), read(&self.commands))
    }
}
