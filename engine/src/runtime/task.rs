//! Tasks, as the engine may see them.

use core::future::Future;

/// The tasks of one core: they all run on one thread, so what they share among themselves needs
/// no thought about parallelism, only about order.
pub trait Task: Clone + Send + Sync + 'static {
    /// A running task.
    type Handle: Handle;

    /// Starts a task. Its name is for people: traces, logs, the player.
    fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Self::Handle;

    /// Lets the other ready tasks of this core run first.
    fn yield_now(&self) -> impl Future<Output = ()> + Send;

    /// Computes something that takes milliseconds or more, in a place where it keeps no other task of
    /// this core waiting, if the machine has one. What is begun runs to its end, also when nobody
    /// waits for it any more.
    fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        async move {
            self.yield_now().await;
            work()
        }
    }
}

/// A running task. Dropping the handle cancels the task at its next await.
pub trait Handle: Send + 'static {
    /// Lets the task run on without a handle.
    fn detach(self);

    /// Waits until the task has ended, by itself or by a panic.
    fn join(self) -> impl Future<Output = ()> + Send;
}
