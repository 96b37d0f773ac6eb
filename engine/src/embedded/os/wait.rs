//! Waiting: `block_on`, and sleeps without a timer thread.
//!
//! ```text
//!   Sleep ── poll ──► this thread's timers ◄── the earliest deadline ── who runs futures on this
//!                                                                      thread: block_on, a core
//! ```
//!
//! Whoever runs futures on a thread waits no longer than until that thread's next deadline, then
//! wakes what is due. Polled by a stranger's executor, which knows nothing of these timers, a
//! sleep blocks instead: late for the stranger, never early.
//!
//! Invariant: a sleep that answered `Pending` on a watched thread has an entry there, with the
//! waker of its last poll.
//!
//! Not here: tasks (`task`).

#![expect(clippy::disallowed_methods, reason = "a door: this is where threads come in")]

use alloc::{sync::Arc, task::Wake, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::Future,
    mem,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};
use std::{thread, thread_local};

use super::NativeClock;
use crate::runtime::Instant;

struct Timer {
    id: u64,
    deadline: Instant,
    waker: Waker,
}

thread_local! {
    /// How many executors of ours run on this thread, one inside the other. Zero: a stranger polls.
    static WATCHERS: Cell<usize> = const { Cell::new(0) };

    /// What sleeps on this thread. Unsorted: a thread has a handful.
    static SLEEPING: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

/// Names sleeps across threads: a sleep may be polled on one and dropped on another, where its
/// entry then stays until it is due and wakes nobody.
static NEXT_SLEEP: AtomicU64 = AtomicU64::new(0);

/// Marks this thread as one whose sleeps somebody watches.
pub(super) struct Watched;

impl Watched {
    pub(super) fn enter() -> Self {
        WATCHERS.set(WATCHERS.get() + 1);
        Self
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHERS.set(WATCHERS.get() - 1);
    }
}

/// Wakes what is due on this thread and answers when the next one is.
pub(super) fn fire_due_timers() -> Option<Instant> {
    if SLEEPING.with_borrow(Vec::is_empty) {
        return None;
    }
    let now = NativeClock::monotonic();
    let (due, next) = SLEEPING.with_borrow_mut(|sleeping| {
        let (due, later): (Vec<_>, Vec<_>) =
            mem::take(sleeping).into_iter().partition(|timer| timer.deadline <= now);
        let next = later.iter().map(|timer| timer.deadline).min();
        *sleeping = later;
        (due, next)
    });
    // Outside the borrow: a waker may run anything.
    for timer in due {
        timer.waker.wake();
    }
    next
}

/// A sleep; see [`crate::runtime::Clock::sleep_until`].
pub(super) struct Sleep {
    deadline: Instant,
    /// Its entry in the timers, once it has one.
    id: Option<u64>,
}

impl Sleep {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self { deadline, id: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let now = NativeClock::monotonic();
        if now >= deadline {
            return Poll::Ready(());
        }
        if WATCHERS.get() > 0 {
            let id = self.id.unwrap_or_else(|| NEXT_SLEEP.fetch_add(1, Ordering::Relaxed));
            self.id = Some(id);
            let waker = context.waker();
            SLEEPING.with_borrow_mut(|sleeping| {
                match sleeping.iter_mut().find(|timer| timer.id == id) {
                    Some(timer) => timer.waker.clone_from(waker),
                    None => sleeping.push(Timer { id, deadline, waker: waker.clone() }),
                }
            });
            return Poll::Pending;
        }
        while NativeClock::monotonic() < deadline {
            thread::sleep(deadline.since(NativeClock::monotonic()));
        }
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // A future may be dropped while its thread ends and the timers are gone already. The
        // waker is dropped outside the borrow: its drop may run anything.
        let mut removed = None;
        let _thread_ends = SLEEPING.try_with(|sleeping| {
            if let Ok(mut sleeping) = sleeping.try_borrow_mut()
                && let Some(at) = sleeping.iter().position(|timer| timer.id == id)
            {
                removed = Some(sleeping.swap_remove(at));
            }
        });
        drop(removed);
    }
}

// ---------------------------------------------------------------- one future on this thread

/// Runs a future on this thread until it is done. One that is ready at its first poll, as every
/// file operation of this door is, costs nothing but the poll.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let _watched = Watched::enter();
    // Nobody is woken by this waker, and nobody needs to be: pending, it is polled again below
    // with one that works, and sees whatever happened in between.
    let mut nobody = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut nobody) {
        Poll::Ready(output) => output,
        Poll::Pending => park_until_ready(future),
    }
}

/// Wakes a parked thread.
struct Parked {
    thread: thread::Thread,
    is_woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

#[cold]
fn park_until_ready<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let parked = Arc::new(Parked { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parked));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        loop {
            let next = fire_due_timers();
            // The flag decides, not the park: a nested `block_on` may have eaten our unpark.
            if parked.is_woken.swap(false, Ordering::AcqRel) {
                break;
            }
            match next {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.since(NativeClock::monotonic())),
            }
        }
    }
}
