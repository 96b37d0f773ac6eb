//! Time, from madsim.
//!
//! madsim's own sleep lasts at least a millisecond and leaves a timer behind for every poll. Both
//! are walked around here: the deadline is set after the sleep is made, and each of our sleeps
//! asks for one timer, however often it is polled.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, UNIX_EPOCH},
};

use madsim::time::TimeHandle;
use trilith_engine::runtime::{Clock, Instant, WallTime};

use super::grab;

/// A deadline so far off that no timer is worth it: 146 years.
const NEVER_NS: u64 = 1 << 62;

/// The one clock that all nodes share.
#[derive(Clone)]
pub struct MadClock {
    time: TimeHandle,
}

impl MadClock {
    pub(super) fn new() -> Self {
        Self { time: TimeHandle::current() }
    }
}

/// Wakes whoever polled last, or nobody when the sleep is gone.
#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        let waker = grab(&self.0).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Clock for MadClock {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.time.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> WallTime {
        let since = self.time.now_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, deadline: Instant) {
        let slot = Arc::new(Slot::default());
        let mut is_set = false;
        poll_fn(|context| {
            let now = self.now();
            if now >= deadline {
                return Poll::Ready(());
            }
            *grab(&slot.0) = Some(context.waker().clone());
            if !is_set && deadline.0 < NEVER_NS {
                is_set = true;
                self.set_timer(deadline.since(now), &slot);
            }
            Poll::Pending
        })
        .await;
        // A timer that comes late must find nobody.
        grab(&slot.0).take();
    }
}

impl MadClock {
    fn set_timer(&self, after: Duration, slot: &Arc<Slot>) {
        let due = self.time.now_instant() + after;
        let mut sleep = pin!(self.time.sleep(after));
        sleep.as_mut().reset(due);
        let waker = Waker::from(Arc::clone(slot));
        // Polled once, it has left its timer behind, and that is all we want of it.
        let _set = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    }
}
