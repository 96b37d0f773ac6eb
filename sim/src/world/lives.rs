//! Nodes, and how they live and die.
//!
//! ```text
//!             start           stop, main ends, kill
//!   machine off ──► running ─────────────────────────► process dead, machine on
//!        ▲             │                                        │
//!        └─────────────┴──────────── power loss ────────────────┘
//! ```
//!
//! | end | page cache | sockets |
//! | --- | --- | --- |
//! | power loss | lost, sector by sector | silent: the peers are half open |
//! | kill | kept | reset, if the reset gets through |
//! | stop, main ends | kept | finished, or reset |
//!
//! A dead process on a live machine refuses connections; a machine without power says nothing.
//! Every life has its own number, and whatever an older life still holds (a socket, a file, a
//! sleep) does nothing any more.
//!
//! Not here: what happens to the bytes on disk (`platter.rs`).

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, task::Waker};

use trilith_engine::runtime::Rng as _;

use super::{
    clocks::NodeClock,
    state::{Event, State},
    storage::Drive,
    tasks::{BoxFuture, TaskKey},
};
use crate::{
    luck::Luck,
    os::SimRuntime,
    tape::{Change, Life},
};

/// What a node runs in each of its lives.
pub(crate) type Boot = Arc<dyn Fn(SimRuntime) -> BoxFuture + Send + Sync>;

/// A monotonic clock begins anywhere within a day.
const MONO_BEGIN_NS_MAX: u64 = 86_400 * 1_000_000_000;

/// A node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    pub(crate) boot: Option<Boot>,
    /// Which life; the first is 1.
    pub(crate) life: u32,
    /// Whether the machine has power.
    pub(crate) machine: bool,
    /// Whether its process runs.
    pub(crate) process: bool,
    /// How many faults hold its process.
    pub(crate) pauses: u16,
    /// Tasks that were ready while it was held.
    pub(crate) held: Vec<TaskKey>,
    /// The task whose end is the end of the process.
    pub(crate) main: Option<TaskKey>,
    pub(crate) clock: NodeClock,
    pub(crate) clock_luck: Luck,
    pub(crate) drive: Drive,
    pub(crate) next_port: u16,
    /// What its wall clock showed when it was last asked.
    pub(crate) wall_seen: u64,
    /// Messages sent, over all lives.
    pub(crate) messages: u64,
    /// Asked to stop.
    pub(crate) stopping: bool,
    pub(crate) stop_waiters: Vec<Waker>,
    /// How many streams of luck each room has asked for in this life.
    pub(crate) rooms: BTreeMap<&'static str, u64>,
}

/// Whether a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The machine has no power.
    Off,
    /// The machine runs, the process does not.
    Dead,
    /// The process is held.
    Paused,
    /// It runs.
    Running,
}

impl Node {
    pub(crate) fn status(&self) -> Status {
        match (self.machine, self.process, self.pauses) {
            (false, ..) => Status::Off,
            (true, false, _) => Status::Dead,
            (true, true, 0) => Status::Running,
            (true, true, _) => Status::Paused,
        }
    }
}

impl State {
    /// Something becomes of a node.
    fn lives(&mut self, at: u32, change: Change) {
        self.line(at, || change.text().to_string());
        let (at_ns, life) = (self.now, self.nodes[at as usize].life);
        if let Some(tape) = self.trace.tape() {
            tape.lives.push(Life { at_ns, node: at, life, change });
        }
    }

    /// Gives the machine power and starts its process; nothing when it runs.
    pub(crate) fn start(&mut self, at: u32) {
        let now = self.now;
        let node = &mut self.nodes[at as usize];
        let Some(boot) = node.boot.clone().filter(|_| !node.process) else { return };
        let was_off = !node.machine;
        (node.machine, node.process, node.pauses) = (true, true, 0);
        (node.stopping, node.next_port) = (false, 49_152);
        node.rooms.clear();
        node.life += 1;
        let begin = node.clock_luck.range(1..MONO_BEGIN_NS_MAX);
        node.clock.reborn(now, begin);
        let life = node.life;
        if was_off {
            node.drive.power_on();
            self.sends_again_to(at);
        }
        self.pane.digest.word(u64::from(at) << 32 | u64::from(life));
        self.lives(at, Change::Boots);
        let runtime = SimRuntime::new(self, at, life);
        let main = async move { boot(runtime).await };
        let main = self.spawn((at, life), "main", Box::pin(main));
        self.nodes[at as usize].main = Some(main);
    }

    /// All tasks of the node go to their graves; its process is no more.
    fn process_ends(&mut self, at: u32) {
        let dead = self.tasks.remove_all(|task| task.node == at);
        self.graves.extend(dead);
        let node = &mut self.nodes[at as usize];
        (node.process, node.pauses, node.main) = (false, 0, None);
        node.held.clear();
        node.stop_waiters.clear();
        self.pane.digest.word(u64::from(at));
    }

    /// The process ends by itself.
    pub(crate) fn exit(&mut self, at: u32) {
        self.probe("process.exit");
        self.lives(at, Change::Exits);
        self.sockets_close(at);
        self.process_ends(at);
        self.disk_process_death(at);
    }

    /// The process ends at once; the machine does not notice.
    pub(crate) fn kill(&mut self, at: u32) {
        if !self.nodes[at as usize].process {
            return;
        }
        self.probe("process.kill");
        self.lives(at, Change::Killed);
        self.sockets_reset(at);
        self.process_ends(at);
        self.disk_process_death(at);
    }

    /// The machine goes dark.
    pub(crate) fn power_loss(&mut self, at: u32) {
        if !self.nodes[at as usize].machine {
            return;
        }
        self.probe("process.power_loss");
        self.lives(at, Change::Dark);
        self.nodes[at as usize].machine = false;
        self.sockets_fall_silent(at);
        self.process_ends(at);
        self.disk_power_loss(at);
    }

    /// Asks the process to end within `grace_ns`, then kills it.
    pub(crate) fn stop(&mut self, at: u32, grace_ns: u64) {
        let grace = self.now.saturating_add(grace_ns);
        let node = &mut self.nodes[at as usize];
        if !node.process || node.stopping {
            return;
        }
        node.stopping = true;
        let life = node.life;
        for waiter in std::mem::take(&mut node.stop_waiters) {
            waiter.wake();
        }
        self.probe("process.stop");
        self.lives(at, Change::Stops);
        self.timeline.push(grace, Event::Grace { node: at, life });
    }

    /// Holds the process: its tasks do not run, its machine goes on.
    pub(crate) fn pause(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        if node.process {
            node.pauses += 1;
            self.probe("process.pause");
            self.lives(at, Change::Held);
        }
    }

    /// Takes one hold off.
    pub(crate) fn resume(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        if node.pauses == 0 {
            return;
        }
        node.pauses -= 1;
        if node.pauses == 0 {
            for key in std::mem::take(&mut node.held) {
                self.ready.push(key);
            }
            self.lives(at, Change::GoesOn);
        }
    }
}
