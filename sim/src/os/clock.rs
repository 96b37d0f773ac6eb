//! The node's clocks, over virtual time.
//!
//! A sleep is one entry of the world's timeline, put there at its first poll and taken out when it
//! is dropped: nobody wakes for a timer that is no longer awaited.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use trilith_engine::{
    planted,
    runtime::{Clock, Instant, Rng as _, WallTime},
};

use super::Seat;
use crate::world::{
    clocks::Hands,
    state::{Event, State},
    timeline::Ticket,
};

/// A node's clocks.
#[derive(Clone)]
pub struct SimClock {
    pub(super) seat: Seat,
    pub(super) hands: Arc<Hands>,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        let pane = &self.seat.shared.pane;
        let now = self.hands.at(pane.now());
        pane.digest.word(now);
        Instant(now)
    }

    fn wall(&self) -> WallTime {
        let mut state = self.seat.shared.lock();
        let now = state.now;
        let node = &mut state.nodes[self.seat.node as usize];
        let wall = node.clock.wall_at(now);
        if wall < std::mem::replace(&mut node.wall_seen, wall) {
            state.probe("clock.wall_seen_going_back");
        }
        state.pane.digest.word(wall);
        WallTime(wall)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        Sleep { seat: self.seat.clone(), alarm: Alarm::new(deadline) }
    }
}

/// How much too early the planted bug wakes a sleeper.
const EARLY_NS: u64 = 1_000_000;

/// A deadline on a node's monotonic clock, and its entry in the timeline.
pub(super) struct Alarm {
    deadline: u64,
    ticket: Option<Ticket>,
}

impl Alarm {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self { deadline: deadline.0, ticket: None }
    }

    /// Whether the deadline has come; if not, the waker is rung when it does.
    pub(super) fn rings(&mut self, state: &mut State, node: u32, waker: &Waker) -> bool {
        let clock = &state.nodes[node as usize].clock;
        if planted!("world_timer_early") && self.ticket.is_none() {
            self.deadline = self.deadline.saturating_sub(EARLY_NS);
        }
        if clock.mono_at(state.now) >= self.deadline {
            self.unset(state);
            return true;
        }
        let kept = self.ticket.and_then(|ticket| state.timeline.get_mut(ticket));
        if let Some(Event::Timer { waker: kept, .. }) = kept {
            kept.clone_from(waker);
            return false;
        }
        // One that will never come needs no entry.
        if let Some(at) = clock.when(self.deadline) {
            let late = match state.timer_slack_ns {
                0 => 0,
                slack => state.luck.range(0..slack + 1),
            };
            let event = Event::Timer { node, deadline: self.deadline, waker: waker.clone() };
            self.ticket = Some(state.timeline.push(at.max(state.now) + late, event));
        }
        false
    }

    pub(super) fn unset(&mut self, state: &mut State) {
        if let Some(ticket) = self.ticket.take() {
            state.timeline.cancel(ticket);
        }
    }

    pub(super) const fn is_set(&self) -> bool {
        self.ticket.is_some()
    }
}

struct Sleep {
    seat: Seat,
    alarm: Alarm,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { seat, alarm } = self.get_mut();
        let Some(mut state) = seat.alive() else { return Poll::Pending };
        match alarm.rings(&mut state, seat.node, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.alarm.is_set() {
            self.alarm.unset(&mut self.seat.shared.lock());
        }
    }
}
