//! Tokio's tasks on a core's thread.
//!
//! tokio lets a task run on when its handle is dropped, ours is cancelled then: what nobody holds
//! must not act.
//!
//! Not here: bounded queues between tasks and cores (`trilith_engine::runtime`).

#![expect(clippy::disallowed_methods, reason = "a door: this is where tasks come in")]

use std::future::Future;

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
