//! Tokio's tasks on a core's thread.
//!
//! tokio lets a task run on when its handle is dropped, ours is cancelled then: what nobody holds
//! must not act.
//!
//! Long computations go to tokio's blocking threads: a walk over a segment of 64 MiB would stop
//! heartbeats and answers for a tenth of a second.
//!
//! Not here: bounded queues between tasks and cores (`trilith_engine::runtime`).

#![expect(clippy::disallowed_methods, reason = "a door: this is where tasks come in")]

use std::{
    future::{Future, pending},
    panic::resume_unwind,
};

use tokio::{runtime, task::JoinHandle};
use trilith_engine::runtime::{Handle, Task};

/// The tasks of a core; a clone is the same core.
#[derive(Clone, Debug)]
pub struct OsTask(runtime::Handle);

impl OsTask {
    pub(super) const fn new(handle: runtime::Handle) -> Self {
        Self(handle)
    }
}

impl Task for OsTask {
    type Handle = OsHandle;

    fn spawn(
        &self,
        _name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> OsHandle {
        OsHandle { task: Some(self.0.spawn(future)) }
    }

    async fn yield_now(&self) {
        tokio::task::yield_now().await;
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.0.spawn_blocking(work).await {
            Ok(done) => done,
            Err(lost) => match lost.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The core is being torn down, and whoever waits here with it.
                Err(_cancelled) => pending().await,
            },
        }
    }
}

/// A running task of a core.
#[derive(Debug)]
pub struct OsHandle {
    /// `None` once it is detached.
    task: Option<JoinHandle<()>>,
}

impl Drop for OsHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Handle for OsHandle {
    fn detach(mut self) {
        self.task = None;
    }

    async fn join(mut self) {
        if let Some(task) = &mut self.task {
            // A panic has been reported by the panic hook; for whoever waits it is an end.
            let _ended = task.await;
        }
    }
}
