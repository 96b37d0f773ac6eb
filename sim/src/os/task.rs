//! The tasks of a node: spawned into the world's one executor.

use std::{
    future::{Future, poll_fn},
    task::Poll,
};

use trilith_engine::runtime::{Handle, Task};

use super::Seat;
use crate::world::tasks::TaskKey;

/// A node's tasks.
#[derive(Clone)]
pub struct SimTask(pub(super) Seat);

impl Task for SimTask {
    type Handle = SimHandle;

    fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> SimHandle {
        // When the life is over the future is dropped here, while nothing is locked.
        let key = self.0.alive().map(|mut state| state.spawn(self.0.who(), name, Box::pin(future)));
        SimHandle { seat: self.0.clone(), key }
    }

    async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            if let Some(mut state) = self.0.alive() {
                state.yields();
                context.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }
}

/// A running task.
pub struct SimHandle {
    seat: Seat,
    /// `None` once it is detached or joined.
    key: Option<TaskKey>,
}

impl Handle for SimHandle {
    fn detach(mut self) {
        self.key = None;
    }

    async fn join(mut self) {
        poll_fn(|context| {
            let Some(key) = self.key else { return Poll::Ready(()) };
            let Some(mut state) = self.seat.alive() else { return Poll::Pending };
            match state.tasks.get(key) {
                None => Poll::Ready(()),
                Some(task) => {
                    task.joiner = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        self.key = None;
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && let Some(mut state) = self.seat.alive()
        {
            state.cancel(key);
        }
    }
}
