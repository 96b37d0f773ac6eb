//! The doors of the simulated world: the five runtime traits, each a thin pane over the state
//! behind `world.rs`.
//!
//! A door knows its seat: the world, the node, the life. When that life is over, whatever still
//! holds a door finds it shut: nothing happens, nothing completes.
//!
//! Not here: what the world does when asked (`world/`); the same five words on a real machine
//! (`trilith-net`, `os`).

mod clock;
mod disk;
mod net;
mod rng;
mod task;

use std::{
    future::poll_fn,
    sync::{Arc, MutexGuard},
    task::Poll,
};

use trilith_engine::runtime::Runtime;

pub use clock::SimClock;
pub use disk::{SimDisk, SimFile, SimLock};
pub use net::{SimListener, SimNet, SimReader, SimStream, SimWriter};
pub use rng::SimRng;
pub use task::{SimHandle, SimTask};

use crate::{
    tape::Tape,
    world::{
        NodeId,
        state::{Shared, State},
    },
};
use std::net::{IpAddr, SocketAddr};

/// A node's life in a world.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: u32,
    pub(crate) life: u32,
}

impl Seat {
    /// The world, while this life goes on.
    #[inline]
    pub(crate) fn alive(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.shared.lock();
        state.alive(self.node, self.life).then_some(state)
    }

    pub(crate) fn who(&self) -> (u32, u32) {
        (self.node, self.life)
    }
}

struct Doors {
    seat: Seat,
    clock: SimClock,
    disk: SimDisk,
    net: SimNet,
    task: SimTask,
}

/// The runtime of one life of one node. Clones are the same.
#[derive(Clone)]
pub struct SimRuntime(Arc<Doors>);

impl SimRuntime {
    pub(crate) fn new(state: &State, node: u32, life: u32) -> Self {
        let seat = Seat { shared: state.shared(), node, life };
        let hands = Arc::clone(&state.nodes[node as usize].clock.hands);
        Self(Arc::new(Doors {
            clock: SimClock { seat: seat.clone(), hands },
            disk: SimDisk(seat.clone()),
            net: SimNet(seat.clone()),
            task: SimTask(seat.clone()),
            seat,
        }))
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.0.seat.node)
    }

    /// Which of its lives; the first is 1.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.0.seat.life
    }

    /// The node's own address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.seat.shared.lock().nodes[self.0.seat.node as usize].ip.into()
    }

    /// Where another node would listen on this port.
    #[must_use]
    pub fn address(&self, node: NodeId, port: u16) -> SocketAddr {
        crate::world::address(node, port)
    }

    /// Waits until the node is asked to stop. A real process would wait for a signal.
    pub async fn stopped(&self) {
        let seat = &self.0.seat;
        poll_fn(|context| {
            let Some(mut state) = seat.alive() else { return Poll::Pending };
            let node = &mut state.nodes[seat.node as usize];
            if node.stopping {
                return Poll::Ready(());
            }
            if !node.stop_waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
                node.stop_waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Nanoseconds since the world began: what no program may know, and every judge must.
    #[must_use]
    pub fn true_time_ns(&self) -> u64 {
        self.0.seat.shared.pane.now()
    }

    /// Adds a line to the trace, made only if it is kept.
    pub fn trace(&self, text: impl FnOnce() -> String) {
        let seat = &self.0.seat;
        let mut state = seat.shared.lock();
        let (now, who) = (state.now, seat.who());
        if state.trace.is_on() {
            // Made while the world is unlocked: the closure may ask the world something.
            drop(state);
            let text = text();
            state = seat.shared.lock();
            state.trace.line(now, Some(who), || text);
        }
    }

    /// Puts something on the tape, if there is one: what, when and on which node.
    pub fn tape(&self, put: impl FnOnce(&mut Tape, u64, u32)) {
        let seat = &self.0.seat;
        if seat.shared.is_taped {
            let mut state = seat.shared.lock();
            let now = state.now;
            if let Some(tape) = state.trace.tape() {
                put(tape, now, seat.node);
            }
        }
    }

    /// Folds what a program concluded into the digest, so that two runs that differ only there
    /// differ.
    pub fn witness(&self, bytes: &[u8]) {
        self.0.seat.shared.pane.digest.bytes(bytes);
    }
}

impl Runtime for SimRuntime {
    type Clock = SimClock;
    type Disk = SimDisk;
    type Net = SimNet;
    type Task = SimTask;
    type Rng = SimRng;

    fn clock(&self) -> &SimClock {
        &self.0.clock
    }

    fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    fn net(&self) -> &SimNet {
        &self.0.net
    }

    fn task(&self) -> &SimTask {
        &self.0.task
    }

    fn rng(&self, room: &'static str) -> SimRng {
        SimRng::new(&self.0.seat, room)
    }
}
