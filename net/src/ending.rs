//! The end of a port: nothing new is begun, and who waits for something else hears of it.
//!
//! Not here: how long the rest is waited for (`resp/serve.rs`, `http/serve.rs`).

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Whether a port ends, and who waits for that.
#[derive(Debug, Default)]
pub(crate) struct Ending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_near: bool,
    waiting: BTreeMap<u64, Waker>,
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

    /// Whether it has begun.
    pub(crate) fn is_near(&self) -> bool {
        self.lock().is_near
    }

    /// Waits until it begins. Each who waits has a number of his own; the listener's is 0.
    pub(crate) async fn begins(&self, number: u64) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.is_near {
                return Poll::Ready(());
            }
            state.waiting.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// That one does not wait any more.
    pub(crate) fn forget(&self, number: u64) {
        self.lock().waiting.remove(&number);
    }
}
