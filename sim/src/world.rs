//! The simulated world: nodes, their disks, clocks and network, and time itself, on one thread and
//! from one seed.
//!
//! ```text
//!   World ──► nodes, each with a boot closure: what it runs in each of its lives
//!     │         │ SimRuntime: Clock, Disk, Net, Task, Rng     (os/)
//!     │         ▼
//!     │       tasks ── polled one at a time, in an order drawn from the seed
//!     │         │
//!     └──────► timeline: timers, packets, disks, faults ── nothing ready? time leaps to the next
//! ```
//!
//! A world is a plain value: make one, add nodes, start them, let time run, do things to it, look.
//! Everything it does is a function of the seed, the options, the boot closures and the calls; its
//! [`World::digest`] says so in 64 bits. Many worlds live side by side, on one thread or several,
//! and know nothing of each other.
//!
//! ```
//! use std::time::Duration;
//! use trilith_engine::runtime::{Clock as _, Runtime as _};
//! use trilith_sim::world::{NodeOptions, World, WorldOptions};
//!
//! let mut world = World::new(42, WorldOptions::default());
//! let node = world.add("n0", NodeOptions::default(), |rt| async move {
//!     loop {
//!         let soon = rt.clock().now() + Duration::from_millis(50);
//!         rt.clock().sleep_until(soon).await;
//!     }
//! });
//! world.start(node);
//! world.run_for(Duration::from_secs(1));
//! world.power_loss(node);
//! world.start(node);
//! world.run_for(Duration::from_secs(1));
//! println!("{}", world.digest());
//! ```
//!
//! Invariants: one thread at a time; no state outside the value (the ledger that a thread has
//! entered is only where reports go); no real clock, entropy, file or socket.
//!
//! Not here: what is demanded of a run (`check/`), what is done in it (`load`, `scenario`), plans
//! of faults (`plan.rs`), datagrams and versions of code side by side (with their first users).

pub(crate) mod clocks;
pub(crate) mod inject;
pub mod latency;
pub mod laws;
pub(crate) mod links;
pub(crate) mod lives;
pub(crate) mod logs;
pub(crate) mod pipe;
pub(crate) mod ready;
pub(crate) mod state;
pub(crate) mod storage;
pub(crate) mod tasks;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use latency::Latency;
pub use links::NetOptions;
pub use lives::Status;
pub use ready::Schedule;
pub use state::{Panicked, Ran};
pub use storage::DiskOptions;

use crate::{
    digest::Digest,
    fault::{FaultKind, FaultPlan},
    ledger::Ledger,
    luck::{Domain, Luck},
    os::SimRuntime,
    platter::Platter,
    tape::Tape,
    trace::{Keep, Line, Trace},
};
use clocks::NodeClock;
use lives::Node;
use ready::Ready;
use state::{Shared, State};
use storage::{Drive, Ops};
use tasks::{BoxFuture, Tasks};
use timeline::Timeline;
use wire::Wire;

/// Names a node: its place in the order in which nodes were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// How a world is made.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Who runs next.
    pub schedule: Schedule,
    /// What one poll costs in virtual time: code that spins must get somewhere.
    pub poll_cost: Duration,
    /// How late a timer may be, beyond its deadline.
    pub timer_slack: Duration,
    /// The network.
    pub net: NetOptions,
    /// Which lines of the trace are kept.
    pub trace: Keep,
    /// Whether there is a tape.
    pub tape: bool,
    /// Planted bugs that are switched on, by name; heard only in a build with the feature
    /// `mutants`.
    pub planted: Vec<String>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            poll_cost: Duration::from_nanos(100),
            timer_slack: Duration::ZERO,
            net: NetOptions::default(),
            trace: Keep::Nothing,
            tape: false,
            planted: Vec::new(),
        }
    }
}

/// How a node is made.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Its disk.
    pub disk: DiskOptions,
    /// How its clocks run.
    pub drift_ppm: i32,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset_ms: i64,
}

/// When every world begins: 2026-01-01, in nanoseconds since 1970.
const WALL_BEGIN_NS: u64 = 1_767_225_600 * 1_000_000_000;

/// The address at which a node is reached.
#[must_use]
pub fn address(node: NodeId, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip_of(node.0)), port)
}

const fn ip_of(node: u32) -> Ipv4Addr {
    let [_, high, middle, low] = (node + 1).to_be_bytes();
    Ipv4Addr::new(10, high, middle, low)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A simulated world.
pub struct World {
    shared: Arc<Shared>,
    planted: Vec<String>,
}

impl World {
    /// A world without nodes.
    #[must_use]
    pub fn new(seed: u64, options: WorldOptions) -> Self {
        let WorldOptions { schedule, poll_cost, timer_slack, net, trace, tape, planted } = options;
        let trace = Trace::new(trace);
        let ledger = Ledger::new(planted.clone());
        let shared = Arc::new_cyclic(|shared| {
            let state = State {
                shared: shared.clone(),
                seed,
                now: 0,
                poll_cost_ns: nanos(poll_cost),
                timer_slack_ns: nanos(timer_slack),
                pane: Arc::default(),
                trace: if tape { trace.with_tape() } else { trace },
                timeline: Timeline::default(),
                tasks: Tasks::default(),
                ready: Ready::new(schedule, Luck::new(seed, Domain::Schedule)),
                current: None,
                rung: Vec::new(),
                nodes: Vec::new(),
                wire: Wire::new(net, Luck::new(seed, Domain::Network)),
                ops: Ops::default(),
                script: inject::Script::default(),
                graves: Vec::new(),
                probes: BTreeMap::new(),
                panics: Vec::new(),
                polls: 0,
                halt: false,
                luck: Luck::new(seed, Domain::Named("timers")),
            };
            Shared::new(state, ledger)
        });
        Self { shared, planted }
    }

    /// Adds a node, switched off. `boot` makes what it runs, once for each of its lives; when that
    /// future ends, the process ends.
    pub fn add<F, T>(&mut self, name: &str, options: NodeOptions, boot: F) -> NodeId
    where
        F: Fn(SimRuntime) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.shared.lock();
        let id = state.nodes.len() as u32;
        let (seed, now) = (state.seed, state.now);
        let NodeOptions { disk, drift_ppm, wall_offset_ms } = options;
        let wall = WALL_BEGIN_NS.saturating_add(now);
        let mut clock = NodeClock::new(now, 0, wall, drift_ppm);
        clock.jump_wall(now, wall_offset_ms);
        let of_platter = Luck::new(seed, Domain::Disk(u64::from(id)));
        let of_drive = Luck::new(seed, Domain::Disk(u64::from(id) | 1 << 32));
        state.nodes.push(Node {
            name: name.to_string(),
            ip: ip_of(id),
            boot: Some(Arc::new(move |rt| -> BoxFuture { Box::pin(boot(rt)) })),
            life: 0,
            machine: false,
            process: false,
            pauses: 0,
            held: Vec::new(),
            main: None,
            clock,
            clock_luck: Luck::new(seed, Domain::Clock(u64::from(id))),
            drive: Drive::new(disk, of_platter, of_drive),
            next_port: 49_152,
            wall_seen: 0,
            messages: 0,
            stopping: false,
            stop_waiters: Vec::new(),
            rooms: BTreeMap::new(),
        });
        state.wire.links.grow(id as usize + 1);
        NodeId(id)
    }

    /// A node for clients and tests: it is on, its process waits, and [`World::run_on`] gives it
    /// work.
    pub fn add_idle(&mut self, name: &str) -> NodeId {
        let node = self.add(name, NodeOptions::default(), |_| std::future::pending());
        self.start(node);
        node
    }

    /// What a node runs from its next life on: another version, another configuration.
    pub fn set_boot<F, T>(&mut self, node: NodeId, boot: F)
    where
        F: Fn(SimRuntime) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let boot = Arc::new(move |rt| -> BoxFuture { Box::pin(boot(rt)) });
        self.shared.lock().nodes[node.0 as usize].boot = Some(boot);
    }

    // ── time ───────────────────────────────────────────────────────────────────────────────────

    /// Virtual time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.shared.lock().now)
    }

    /// Lets time run until then. [`Ran::Idle`] says that nothing will happen any more by itself.
    pub fn run_until(&mut self, at: Duration) -> Ran {
        self.shared.run(nanos(at), false)
    }

    /// Lets time run for so long.
    pub fn run_for(&mut self, time: Duration) -> Ran {
        self.run_until(self.now() + time)
    }

    /// Lets time run until nothing is ready and nothing will happen, or for `at_most`.
    pub fn run_until_idle(&mut self, at_most: Duration) -> Ran {
        self.shared.run(nanos(self.now() + at_most), true)
    }

    /// Runs one more task on a node until it ends, for `at_most`; `None` when it did not.
    pub fn run_on<T, F>(
        &mut self,
        node: NodeId,
        at_most: Duration,
        work: impl FnOnce(SimRuntime) -> F,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let result = Arc::new(Mutex::new(None));
        let state = self.shared.lock();
        let life = state.nodes[node.0 as usize].life;
        let runtime = SimRuntime::new(&state, node.0, life);
        drop(state);
        let work = work(runtime);
        let (shared, into) = (Arc::downgrade(&self.shared), Arc::clone(&result));
        let task = async move {
            let answer = work.await;
            *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            if let Some(shared) = shared.upgrade() {
                shared.lock().halt = true;
            }
        };
        let key = self.shared.act(|state| {
            state.alive(node.0, life).then(|| state.spawn((node.0, life), "work", Box::pin(task)))
        })?;
        self.run_for(at_most);
        self.shared.act(|state| state.cancel(key));
        result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    // ── lives ──────────────────────────────────────────────────────────────────────────────────

    /// Gives the machine power and starts its process; nothing when it runs.
    pub fn start(&mut self, node: NodeId) {
        self.shared.act(|state| state.start(node.0));
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) {
        self.shared.act(|state| (0..state.nodes.len() as u32).for_each(|node| state.start(node)));
    }

    /// The machine goes dark: its page cache is lost sector by sector, its peers are half open.
    pub fn power_loss(&mut self, node: NodeId) {
        self.shared.act(|state| state.power_loss(node.0));
    }

    /// The process dies at once: its page cache is kept, its sockets are reset.
    pub fn kill(&mut self, node: NodeId) {
        self.shared.act(|state| state.kill(node.0));
    }

    /// Asks the process to end (see [`SimRuntime::stopped`]); kills it after `grace`.
    pub fn stop(&mut self, node: NodeId, grace: Duration) {
        self.shared.act(|state| state.stop(node.0, nanos(grace)));
    }

    /// Holds the process: it does not run, its machine goes on. Holds are counted.
    pub fn pause(&mut self, node: NodeId) {
        self.shared.act(|state| state.pause(node.0));
    }

    /// Takes one hold off.
    pub fn resume(&mut self, node: NodeId) {
        self.shared.act(|state| state.resume(node.0));
    }

    /// Loses the power and the disk: the machine comes back with an empty one.
    pub fn wipe(&mut self, node: NodeId) {
        self.shared.act(|state| {
            state.power_loss(node.0);
            state.nodes[node.0 as usize].drive.wipe();
            state.weigh(node.0);
        });
    }

    /// Both machines lose their power and find the other's disk when they come back.
    pub fn swap_disks(&mut self, one: NodeId, other: NodeId) {
        self.shared.act(|state| state.swap_disks(one.0, other.0));
    }

    /// Whether a node is there.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Status {
        self.shared.lock().nodes[node.0 as usize].status()
    }

    /// Which life a node is in, or was last.
    #[must_use]
    pub fn life(&self, node: NodeId) -> u32 {
        self.shared.lock().nodes[node.0 as usize].life
    }

    // ── faults ─────────────────────────────────────────────────────────────────────────────────

    /// Does one fault now. Faults that last end by themselves.
    pub fn strike(&mut self, fault: &FaultKind) {
        self.shared.act(|state| state.strike(fault));
    }

    /// Begins a plan of faults: its times and counts start now.
    pub fn play(&mut self, plan: &FaultPlan) {
        self.shared.act(|state| state.play(&plan.entries));
    }

    /// Every fault ends now and none comes any more; every node runs again. What was damaged stays
    /// damaged.
    pub fn calm(&mut self) {
        self.shared.act(State::calm);
    }

    /// Cuts one direction until it is healed.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.shared.act(|state| state.wire.links.cut(from.0, to.0));
    }

    /// Takes one cut back.
    pub fn heal(&mut self, from: NodeId, to: NodeId) {
        self.shared.act(|state| {
            state.wire.links.heal(from.0, to.0);
            state.sends_again();
        });
    }

    /// Cuts both directions until they are healed.
    pub fn cut_both(&mut self, one: NodeId, other: NodeId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Takes one cut of both directions back.
    pub fn heal_both(&mut self, one: NodeId, other: NodeId) {
        self.heal(one, other);
        self.heal(other, one);
    }

    /// Holds everything on one direction; nothing is lost.
    pub fn hold(&mut self, from: NodeId, to: NodeId) {
        self.shared.act(|state| state.wire.links.hold(from.0, to.0));
    }

    /// Takes one hold off a direction.
    pub fn release(&mut self, from: NodeId, to: NodeId) {
        self.shared.act(|state| {
            state.wire.links.release(from.0, to.0);
            state.sends_again();
        });
    }

    /// How long packets travel in one direction from now on; `None` for the world's usual.
    pub fn set_latency(&mut self, from: NodeId, to: NodeId, latency: Option<Latency>) {
        self.shared.lock().wire.links.get_mut(from.0, to.0).latency = latency;
    }

    /// Changes how the network carries, everywhere.
    pub fn set_net(&mut self, change: impl FnOnce(&mut NetOptions)) {
        change(&mut self.shared.lock().wire.options);
    }

    /// How a node's clocks run from now on.
    pub fn set_drift(&mut self, node: NodeId, ppm: i32) {
        self.shared.act(|state| state.set_drift(node.0, ppm));
    }

    /// Looks at a node's disk, or damages it. Called from outside a run only.
    pub fn with_platter<T>(&mut self, node: NodeId, f: impl FnOnce(&mut Platter) -> T) -> T {
        f(&mut self.shared.lock().nodes[node.0 as usize].drive.platter)
    }

    /// Puts a disk into a machine that is off.
    ///
    /// # Panics
    /// When the machine has power.
    pub fn insert_platter(&mut self, node: NodeId, platter: Platter) {
        let mut state = self.shared.lock();
        let node = &mut state.nodes[node.0 as usize];
        assert!(!node.machine, "a disk is changed while the machine is off");
        node.drive.platter = platter;
    }

    // ── what happened ──────────────────────────────────────────────────────────────────────────

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.lock().seed
    }

    /// Everything that happened so far, in 64 bits.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.pane.digest.digest()
    }

    /// What really happened, and how often: the world's own events, and each disk's as
    /// `platter: ..`.
    #[must_use]
    pub fn probes(&self) -> BTreeMap<String, u64> {
        let state = self.shared.lock();
        let own = state.probes.iter().map(|(name, count)| ((*name).to_string(), *count));
        let mut probes: BTreeMap<String, u64> = own.collect();
        for node in &state.nodes {
            for (what, count) in node.drive.platter.probes().iter() {
                *probes.entry(format!("platter: {what}")).or_default() += count;
            }
        }
        probes
    }

    /// How often that happened.
    #[must_use]
    pub fn probe(&self, name: &str) -> u64 {
        self.probes().get(name).copied().unwrap_or_default()
    }

    /// Marks reached and beliefs broken.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.clone()
    }

    /// The tasks that panicked.
    #[must_use]
    pub fn panics(&self) -> Vec<Panicked> {
        self.shared.lock().panics.clone()
    }

    /// The kept lines of the trace.
    #[must_use]
    pub fn trace(&self) -> Vec<Line> {
        self.shared.lock().trace.lines().cloned().collect()
    }

    /// Takes the tape, if there is one.
    pub fn take_tape(&mut self) -> Option<Tape> {
        self.shared.lock().trace.take_tape()
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.shared.lock().world_line(text);
    }

    /// How many polls there were.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.shared.lock().polls
    }

    /// How many disk operations a node began that change something: where a plan may strike.
    #[must_use]
    pub fn disk_ops(&self, node: NodeId) -> u64 {
        self.shared.lock().nodes[node.0 as usize].drive.ops
    }

    /// How many messages a node sent.
    #[must_use]
    pub fn messages(&self, node: NodeId) -> u64 {
        self.shared.lock().nodes[node.0 as usize].messages
    }

    /// How many tasks a node has.
    #[must_use]
    pub fn tasks(&self, node: NodeId) -> usize {
        self.shared.lock().tasks.of_node(node.0)
    }

    /// How much the world itself holds: a leak of the program shows here.
    #[must_use]
    pub fn holds(&self) -> Holds {
        let state = self.shared.lock();
        Holds {
            tasks: state.tasks.len(),
            entries: state.timeline.len(),
            connections: state.wire.alive(),
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.shared.lock().nodes.len() as u32
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, node: NodeId) -> String {
        self.shared.lock().nodes[node.0 as usize].name.clone()
    }
}

/// What a world holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Tasks, of all nodes.
    pub tasks: usize,
    /// Entries of the timeline.
    pub entries: usize,
    /// Connections with an end that is alive.
    pub connections: usize,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("World")
            .field("seed", &state.seed)
            .field("now_ns", &state.now)
            .field("nodes", &state.nodes.len())
            .field("digest", &state.pane.digest.digest())
            .finish()
    }
}
