//! Tasks, on madsim's executor: the next one is drawn from the seed.
#![expect(clippy::disallowed_methods, reason = "madsim's yield is tokio's, and this is its door")]

use std::future::Future;

use madsim::task::{FallibleTask, JoinHandle};
use trilith_engine::runtime::{Handle, Task};

/// The tasks of the node that asks.
#[derive(Clone, Copy)]
pub struct MadTask;

/// A task; `None` once it was let go.
pub struct MadHandle(Option<JoinHandle<()>>);

impl Task for MadTask {
    type Handle = MadHandle;

    fn spawn(
        &self,
        _name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> MadHandle {
        MadHandle(Some(madsim::task::spawn(future)))
    }

    async fn yield_now(&self) {
        madsim::task::yield_now().await;
    }
}

impl Handle for MadHandle {
    fn detach(mut self) {
        // A dropped madsim handle lets its task run on.
        drop(self.0.take());
    }

    async fn join(mut self) {
        if let Some(task) = self.0.take() {
            let mut task = CancelOnDrop(Some(task));
            if let Some(task) = &mut task.0 {
                let _cancelled_or_done = task.await;
            }
        }
    }
}

impl Drop for MadHandle {
    fn drop(&mut self) {
        drop(self.0.take().map(JoinHandle::cancel_on_drop));
    }
}

/// A join that is itself dropped cancels, as dropping the handle does.
struct CancelOnDrop(Option<JoinHandle<()>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let cancelled: Option<FallibleTask<()>> = self.0.take().map(JoinHandle::cancel_on_drop);
        drop(cancelled);
    }
}
