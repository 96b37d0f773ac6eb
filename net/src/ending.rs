//! The end of a port, or of some of its connections: nothing new is begun, and who waits for
//! something else hears of it.
//!
//! Not here: how long the rest is waited for (`resp/serve.rs`, `http/serve.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Whether a port ends, which of its connections are to, and who waits for that. Each who waits has
/// a number of its own; the listener's is 0.
#[derive(Debug, Default)]
pub(crate) struct Ending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_near: bool,
    killed: BTreeSet<u64>,
    waiting: BTreeMap<u64, Waker>,
}

impl State {
    fn is_over(&self, number: u64) -> bool {
        self.is_near || self.killed.contains(&number)
    }
}

impl Ending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing new is done.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        state.is_near = true;
        std::mem::take(&mut state.waiting).into_values().for_each(Waker::wake);
    }

    /// That connection is to end.
    pub(crate) fn kill(&self, number: u64) {
        let mut state = self.lock();
        state.killed.insert(number);
        state.waiting.remove(&number).into_iter().for_each(Waker::wake);
    }

    /// Whether that one is to end: alone, or with all others.
    pub(crate) fn is_over(&self, number: u64) -> bool {
        self.lock().is_over(number)
    }

    /// Waits until it is.
    pub(crate) async fn ends(&self, number: u64) {
        self.until(number, |state| state.is_over(number)).await;
    }

    /// Waits until it is to end though the port may not.
    pub(crate) async fn is_killed(&self, number: u64) {
        self.until(number, |state| state.killed.contains(&number)).await;
    }

    async fn until(&self, number: u64, is_so: impl Fn(&State) -> bool) {
        poll_fn(|context| {
            let mut state = self.lock();
            if is_so(&state) {
                return Poll::Ready(());
            }
            state.waiting.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// That one has left.
    pub(crate) fn forget(&self, number: u64) {
        let mut state = self.lock();
        state.waiting.remove(&number);
        state.killed.remove(&number);
    }
}
