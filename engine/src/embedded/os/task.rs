//! The tasks of a core, on the core's one thread.
//!
//! The thread is started by the core's first task, and every task of the core runs on it: that is
//! the contract of [`Task`], and what lets driven code think about order only. A task that blocks
//! in a file call holds up its siblings; whoever needs two at once takes another core.
//!
//! ```text
//!   spawn ─► ready queue ─► poll ─┬─ pending ─► its waker queues it again
//!               ▲                 └─ done, panicked, cancelled ─► dropped, joiner woken
//!               └── wake
//! ```
//!
//! Invariants:
//! - only the core's thread polls and drops a task's future; none is polled after it was
//!   cancelled or has ended;
//! - a woken task is in the queue once;
//! - the thread ends when nobody can spawn any more and no task is alive.
//!
//! Not here: how the thread sleeps (`wait`); bounded queues between tasks (`runtime`).

#![expect(clippy::disallowed_methods, reason = "a door: this is where threads come in")]

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, task::Wake};
use core::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread, thread_local,
};

use super::{
    NativeClock,
    wait::{Watched, fire_due_timers},
};
use crate::runtime::{Handle, Task};

/// The tasks of a core; a clone is the same core.
#[derive(Clone)]
pub struct NativeTask(Arc<Spawner>);

/// The right to spawn. When the last one goes, the thread ends as soon as its tasks have.
struct Spawner(Arc<Core>);

#[derive(Default)]
struct Core {
    state: Mutex<CoreState>,
    /// Something became ready, or the core was closed.
    news: Condvar,
}

#[derive(Default)]
struct CoreState {
    ready: VecDeque<Arc<Running>>,
    /// Tasks that have not ended.
    alive: usize,
    is_started: bool,
    is_closed: bool,
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One task.
struct Running {
    core: Arc<Core>,
    /// `None` once it has ended.
    future: Mutex<Option<BoxFuture>>,
    is_queued: AtomicBool,
    is_cancelled: AtomicBool,
    end: Mutex<End>,
}

#[derive(Default)]
struct End {
    has_come: bool,
    waiter: Option<Waker>,
}

thread_local! {
    /// The core this thread belongs to; zero for a thread that is none's.
    static CORE: Cell<usize> = const { Cell::new(0) };
}

/// A task's panic is caught before it can leave anything behind these locks half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NativeTask {
    /// A core without tasks, and without a thread until it gets one.
    pub(super) fn new() -> Self {
        Self(Arc::new(Spawner(Arc::new(Core::default()))))
    }
}

impl fmt::Debug for NativeTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeTask").field("alive", &locked(&self.0.0.state).alive).finish()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        locked(&self.0.state).is_closed = true;
        self.0.news.notify_one();
    }
}

impl Task for NativeTask {
    type Handle = NativeHandle;

    /// # Panics
    /// When the operating system has no thread for the core's first task.
    fn spawn(
        &self,
        _name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> NativeHandle {
        let core = &self.0.0;
        let running = Arc::new(Running {
            core: Arc::clone(core),
            future: Mutex::new(Some(Box::pin(future))),
            is_queued: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
            end: Mutex::new(End::default()),
        });
        let must_start = {
            let mut state = locked(&core.state);
            state.alive += 1;
            !mem::replace(&mut state.is_started, true)
        };
        Arc::clone(&running).wake();
        if must_start {
            let core = Arc::clone(core);
            thread::Builder::new()
                .name("trilith-core".into())
                .spawn(move || core.run())
                .expect("the operating system gives a thread for the core's tasks");
        }
        NativeHandle { task: running, cancels: true }
    }

    async fn yield_now(&self) {
        let core = &self.0.0;
        if CORE.get() == core.address() {
            let mut has_yielded = false;
            poll_fn(|context| {
                if mem::replace(&mut has_yielded, true) {
                    return Poll::Ready(());
                }
                // To the end of the queue: every other ready task comes first.
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        } else if locked(&core.state).alive > 0 {
            // From outside, the end of the queue is a task of its own.
            self.spawn("yield", async {}).join().await;
        }
    }
}

impl Core {
    /// What tells one core from another.
    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// What the core's thread does.
    fn run(&self) {
        let _watched = Watched::enter();
        CORE.set(self.address());
        while let Some(task) = self.next() {
            task.advance();
        }
    }

    /// The next ready task; `None` when there will be none any more.
    fn next(&self) -> Option<Arc<Running>> {
        loop {
            // Before every task, not only when idle: tasks that never rest must not keep others
            // from waking up. Free of charge while nobody sleeps.
            let deadline = fire_due_timers();
            let mut state = locked(&self.state);
            if let Some(task) = state.ready.pop_front() {
                return Some(task);
            }
            if state.is_closed && state.alive == 0 {
                return None;
            }
            match deadline {
                None => drop(self.news.wait(state)),
                Some(at) => {
                    drop(self.news.wait_timeout(state, at.since(NativeClock::monotonic())));
                }
            }
        }
    }
}

impl Wake for Running {
    fn wake(self: Arc<Self>) {
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = Arc::clone(&self.core);
        locked(&core.state).ready.push_back(self);
        core.news.notify_one();
    }
}

impl Running {
    /// Polls the task once; ends it if that was the last time. On the core's thread only.
    fn advance(self: &Arc<Self>) {
        // Before the poll: what is woken during it must be polled again.
        self.is_queued.store(false, Ordering::Release);
        let mut slot = locked(&self.future);
        let Some(future) = slot.as_mut() else { return };
        let has_ended = self.is_cancelled.load(Ordering::Acquire) || {
            let waker = Waker::from(Arc::clone(self));
            let mut context = Context::from_waker(&waker);
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
            // A panic has been reported by the panic hook; for the task it is an end.
            !matches!(polled, Ok(Poll::Pending)) || self.is_cancelled.load(Ordering::Acquire)
        };
        if has_ended {
            let future = slot.take();
            drop(slot);
            self.finish(future);
        }
    }

    fn finish(&self, future: Option<BoxFuture>) {
        // The future's own values may panic as they go; the core outlives that.
        let _reported_by_the_hook = catch_unwind(AssertUnwindSafe(|| drop(future)));
        let waiter = {
            let mut end = locked(&self.end);
            end.has_come = true;
            end.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        let mut state = locked(&self.core.state);
        assert!(state.alive > 0, "a task ends once");
        state.alive -= 1;
    }
}

/// A running task of a core.
pub struct NativeHandle {
    task: Arc<Running>,
    cancels: bool,
}

impl fmt::Debug for NativeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeHandle").field("has_ended", &locked(&self.task.end).has_come).finish()
    }
}

impl Drop for NativeHandle {
    fn drop(&mut self) {
        if self.cancels && !locked(&self.task.end).has_come {
            self.task.is_cancelled.store(true, Ordering::Release);
            Arc::clone(&self.task).wake();
        }
    }
}

impl Handle for NativeHandle {
    fn detach(mut self) {
        self.cancels = false;
    }

    async fn join(self) {
        poll_fn(|context| {
            let mut end = locked(&self.task.end);
            if end.has_come {
                return Poll::Ready(());
            }
            end.waiter = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
