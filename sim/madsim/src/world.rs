//! Scenarios on madsim: nodes with disks and lives, the faults that madsim can do, the judges.
//!
//! A run draws the same cluster, load and plan of faults from its seed as our own world does, and
//! then goes its own way: other latencies, another order of tasks. The safety judges must hold in
//! both. Faults that madsim cannot do (clocks of one node, slow or flipping links, half-open
//! peers) are left out and counted.
//!
//! ```text
//!   supervisor (madsim's main task)          n0 … nk: the toy        clients
//!     every 2 ms: what is due? is a          one life after another  one node each,
//!     disk off? who must start again?        over one platter        no disk
//! ```
//!
//! Not here: liveness (`alive` is asked of our own world only), the subjects.
#![expect(clippy::disallowed_methods, reason = "each run has a thread of its own")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use madsim::{
    Config,
    net::NetSim,
    runtime::{Handle, NodeHandle, Runtime},
    task::NodeId,
};
use trilith_engine::runtime::{Clock, Rng as _, Runtime as _};
use trilith_sim::{
    check::{Verdict, Violation},
    digest::Digest,
    fault::{DiskFault, FaultKind, When},
    history::{History, OpId, Recorder},
    ledger::Ledger,
    load::Planned,
    luck::{Domain, Luck},
    platter::{Faults, Platter, PlatterOptions},
    run::{Drawn, Evidence, Request, ask_for_safety, draw, order},
    scenario::Scenario,
    subject::{
        toy::{Bugs, Glass, address},
        toy_client, toy_node,
    },
    twice::Leak,
    world,
};

use crate::os::{MadRuntime, SharedPlatter, Witness, grab};

/// How often the supervisor looks.
const TICK: Duration = Duration::from_millis(2);
/// How long a process stays away that ended by itself.
const RESTART: Duration = Duration::from_millis(200);
/// How long a client tries.
const PATIENCE: Duration = Duration::from_millis(1_200);
const NANOS_PER_MS: u64 = 1_000_000;

/// What a run was.
#[derive(Debug)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The whole run in 64 bits.
    pub digest: Digest,
    /// What clients saw.
    pub history: History,
    /// The first judge's refusal, if any.
    pub violation: Option<Violation>,
    /// How many faults of each kind were done.
    pub struck: BTreeMap<&'static str, u64>,
    /// How many were left out, since madsim cannot do them.
    pub left_out: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ok, failed, unknown) = self.history.tally();
        let ended = match &self.violation {
            None => "holds".to_string(),
            Some(violation) => format!("REFUSED: {violation}"),
        };
        write!(
            f,
            "{} on madsim, seed 0x{:x}: {ok} ok, {failed} failed, {unknown} unknown; faults {:?}, \
             {} left out; {ended}; digest {}",
            self.scenario, self.seed, self.struck, self.left_out, self.digest
        )
    }
}

/// Runs a scenario of the toy once, on a thread of its own: a second run of madsim on one thread
/// differs from the first.
///
/// # Panics
/// When a task of the run panics.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    std::thread::scope(|scope| scope.spawn(|| run_here(scenario, seed)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_here(scenario: &Scenario, seed: u64) -> Report {
    let drawn = draw(scenario, &Request::of(seed));
    let mut luck = Luck::new(seed, Domain::Named("madsim"));
    let mut config = Config::default();
    let slowest = Duration::from_micros(luck.range(1_000..20_000));
    config.net.send_latency = Duration::from_micros(50)..slowest;
    config.net.packet_loss_rate = if luck.chance(1, 3) { 0.01 } else { 0.0 };
    let ledger = Ledger::new(Vec::<String>::new());
    let entered = ledger.enter();
    let madsim = Runtime::with_seed_and_config(seed, config);
    let witness = Witness::default();
    let (evidence, cluster) = madsim.block_on(async {
        let mut cluster = Cluster::new(scenario, &drawn, seed, &witness, luck);
        let evidence = cluster.live(scenario, &drawn).await;
        (evidence, cluster)
    });
    drop(entered);
    let mut digest = witness.digest();
    for operation in &evidence.history.operations {
        digest.text(&operation.to_string());
    }
    for platter in &cluster.platters {
        digest.word(grab(platter).fingerprint());
    }
    let mut verdicts: Vec<Verdict> = ledger
        .broken()
        .keys()
        .map(|broken| Verdict::violated("beliefs", broken.claim, ""))
        .collect();
    verdicts.extend(scenario.judges.iter().filter_map(|judge| ask_for_safety(judge, &evidence)));
    let violation = verdicts.into_iter().find_map(|verdict| match verdict {
        Verdict::Violated(violation) => Some(violation),
        _ => None,
    });
    Report {
        scenario: scenario.name.clone(),
        seed,
        digest,
        history: evidence.history,
        violation,
        struck: cluster.struck,
        left_out: cluster.left_out,
    }
}

/// What is to be done at a moment.
enum Due {
    Strike(FaultKind),
    Start(usize),
    Resume(usize),
    Heal(usize, usize),
    Faultless(usize),
}

struct Cluster {
    handle: Handle,
    net: Arc<NetSim>,
    nodes: Vec<NodeHandle>,
    platters: Vec<SharedPlatter>,
    glass: Glass,
    recorder: Recorder,
    reads: Arc<Mutex<BTreeMap<OpId, usize>>>,
    luck: Luck,
    /// What is due, by virtual nanoseconds and then by the order of planning.
    due: BTreeMap<(u64, u64), Due>,
    planned: u64,
    /// Power losses inside operations, each at its node and its count of changes.
    in_operation: Vec<(usize, u64, u64)>,
    down: BTreeSet<usize>,
    struck: BTreeMap<&'static str, u64>,
    left_out: u64,
}

fn now_ns() -> u64 {
    let elapsed = madsim::time::TimeHandle::current().elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

impl Cluster {
    fn new(scenario: &Scenario, drawn: &Drawn, seed: u64, witness: &Witness, luck: Luck) -> Self {
        let bugs: Vec<_> = scenario.bugs.iter().filter_map(|name| name.parse().ok()).collect();
        let bugs = Bugs::of(&bugs);
        let mut cluster = Self {
            handle: Handle::current(),
            net: NetSim::current(),
            nodes: Vec::new(),
            platters: Vec::new(),
            glass: Glass::default(),
            recorder: Recorder::default(),
            reads: Arc::default(),
            luck,
            due: BTreeMap::new(),
            planned: 0,
            in_operation: Vec::new(),
            down: BTreeSet::new(),
            struck: BTreeMap::new(),
            left_out: 0,
        };
        for node in 0..drawn.nodes {
            cluster.add_node(node, drawn.nodes, &bugs, seed, witness);
        }
        for client in 0..drawn.shape.clients {
            cluster.add_client(client, drawn, &bugs, witness);
        }
        for fault in &drawn.faults.entries {
            match (&fault.when, &fault.what) {
                (When::AtMs(ms), what) => {
                    cluster.plan(ms * NANOS_PER_MS, Due::Strike(what.clone()));
                }
                (When::DiskOp { node, nth }, FaultKind::PowerLoss { down_ms, .. }) => {
                    cluster.in_operation.push((*node as usize, *nth, *down_ms));
                }
                _ => cluster.left_out += 1,
            }
        }
        cluster.arm();
        cluster
    }

    fn add_node(&mut self, node: u32, nodes: u32, bugs: &Bugs, seed: u64, witness: &Witness) {
        let luck = Luck::new(seed, Domain::Disk(u64::from(node)));
        let platter = Platter::new(PlatterOptions { luck, ..PlatterOptions::default() });
        let platter: SharedPlatter = Arc::new(Mutex::new(platter));
        self.platters.push(Arc::clone(&platter));
        let lives = Arc::new(AtomicU64::new(0));
        let setup = toy_node::Setup {
            node,
            nodes,
            bugs: bugs.clone(),
            glass: self.glass.clone(),
            leak: Leak::None,
        };
        let witness = witness.clone();
        let boot = move || {
            let (platter, setup) = (Arc::clone(&platter), setup.clone());
            let (lives, witness) = (Arc::clone(&lives), witness.clone());
            async move {
                loop {
                    let life = lives.fetch_add(1, Ordering::SeqCst);
                    let disk = Arc::clone(&platter);
                    let runtime = MadRuntime::new(disk, &witness, u64::from(node), life);
                    toy_node::run(runtime.clone(), setup.clone()).await;
                    let clock = runtime.clock();
                    clock.sleep_until(clock.now() + RESTART).await;
                }
            }
        };
        let builder = self.handle.create_node().name(format!("toy{node}")).ip(address(node).ip());
        self.nodes.push(builder.init(boot).build());
    }

    fn add_client(&self, client: u32, drawn: &Drawn, bugs: &Bugs, witness: &Witness) {
        let mine = drawn.load.iter().filter(|one| one.client == client).copied();
        let setup = toy_client::Setup {
            client,
            nodes: drawn.nodes,
            bugs: bugs.clone(),
            plan: mine.collect::<Arc<[Planned]>>(),
            patience: PATIENCE,
            recorder: self.recorder.clone(),
            world_ns: Arc::new(now_ns),
            reads: Arc::clone(&self.reads),
        };
        let number = drawn.nodes + client;
        let ip = world::address(world::NodeId(number), 0).ip();
        let node = self.handle.create_node().name(format!("client{client}")).ip(ip).build();
        let witness = witness.clone();
        node.spawn(async move {
            let disk: SharedPlatter = Arc::default();
            let runtime = MadRuntime::new(disk, &witness, u64::from(number), 0);
            toy_client::run(runtime, setup).await;
        });
    }

    fn plan(&mut self, at_ns: u64, due: Due) {
        self.due.insert((at_ns, self.planned), due);
        self.planned += 1;
    }

    fn plan_in(&mut self, ms: u64, due: Due) {
        self.plan(now_ns() + ms * NANOS_PER_MS, due);
    }

    /// A power loss forgets what was planned on its disk, so the rest is planned again.
    fn arm(&mut self) {
        for (node, nth, _) in &self.in_operation {
            if let Some(platter) = self.platters.get(*node) {
                let mut platter = grab(platter);
                if *nth >= platter.op_count() {
                    platter.crash_at(*nth);
                }
            }
        }
    }

    /// The whole run, and what it leaves for the judges.
    async fn live(&mut self, scenario: &Scenario, drawn: &Drawn) -> Evidence {
        let time = scenario.time;
        self.watch_until(time.chaos_ms * NANOS_PER_MS).await;
        self.calm();
        let rest = time.chaos_ms + time.settle_ms + time.calm_ms + time.bound_ms;
        self.watch_until(rest * NANOS_PER_MS).await;
        let nodes = self.glass.nodes();
        let primary = nodes.get(&0).cloned().unwrap_or_default().machine;
        let reads = grab(&self.reads).clone();
        let replicas = (0..drawn.nodes).filter_map(|node| {
            nodes.get(&node).map(|seen| (format!("n{node}"), seen.machine.values.clone()))
        });
        Evidence {
            history: self.recorder.history(),
            finally: primary.values,
            order: order(primary.log, reads),
            replicas: replicas.collect(),
            gauges: self.glass.gauges(),
            ..Evidence::default()
        }
    }

    async fn watch_until(&mut self, end_ns: u64) {
        while now_ns() < end_ns {
            madsim::time::sleep(TICK).await;
            for node in 0..self.nodes.len() {
                let is_off = grab(&self.platters[node]).is_off();
                if is_off && !self.down.contains(&node) {
                    *self.struck.entry("power_loss in an operation").or_default() += 1;
                    let count = grab(&self.platters[node]).op_count();
                    let planned = self
                        .in_operation
                        .iter()
                        .position(|(at, nth, _)| *at == node && *nth < count);
                    let down_ms = planned.map_or(100, |at| self.in_operation.remove(at).2);
                    self.power_loss(node, down_ms);
                }
            }
            while let Some(entry) = self.due.first_entry() {
                if entry.key().0 > now_ns() {
                    break;
                }
                match entry.remove() {
                    Due::Strike(fault) => self.strike(&fault),
                    Due::Start(node) => self.start(node),
                    Due::Resume(node) => self.handle.resume(self.id(node)),
                    Due::Heal(from, to) => self.net.unclog_link(self.id(from), self.id(to)),
                    Due::Faultless(node) => {
                        grab(&self.platters[node]).set_faults(Faults::default())
                    }
                }
            }
        }
    }

    fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id()
    }

    fn start(&mut self, node: usize) {
        if self.down.remove(&node) {
            self.handle.restart(self.id(node));
        }
    }

    fn power_loss(&mut self, node: usize, down_ms: u64) {
        if self.down.insert(node) {
            self.handle.kill(self.id(node));
        }
        grab(&self.platters[node]).power_loss(&mut self.luck);
        self.arm();
        self.plan_in(down_ms, Due::Start(node));
    }

    fn cut(&mut self, from: usize, to: usize, for_ms: u64) {
        self.net.clog_link(self.id(from), self.id(to));
        self.plan_in(for_ms, Due::Heal(from, to));
    }

    /// Cuts every pair, one from each side, in both directions.
    fn part(&mut self, side: &BTreeSet<usize>, others: &BTreeSet<usize>, for_ms: u64) {
        for from in side {
            for to in others.difference(side) {
                self.cut(*from, *to, for_ms);
                self.cut(*to, *from, for_ms);
            }
        }
    }

    /// Does a fault, as far as madsim and the platter can.
    fn strike(&mut self, fault: &FaultKind) {
        let all: BTreeSet<usize> = (0..self.nodes.len()).collect();
        let named: BTreeSet<usize> = fault.nodes().iter().map(|node| *node as usize).collect();
        if named.is_empty() || !named.is_subset(&all) {
            self.left_out += 1;
            return;
        }
        let first = *named.first().unwrap_or(&0);
        match fault {
            FaultKind::PowerLoss { down_ms, .. } => {
                named.iter().for_each(|node| self.power_loss(*node, *down_ms));
            }
            FaultKind::Kill { down_ms, .. } | FaultKind::Stop { down_ms, .. } => {
                if self.down.insert(first) {
                    self.handle.kill(self.id(first));
                    grab(&self.platters[first]).process_death();
                    self.plan_in(*down_ms, Due::Start(first));
                }
            }
            FaultKind::Pause { for_ms, .. } => {
                self.handle.pause(self.id(first));
                self.plan_in(*for_ms, Due::Resume(first));
            }
            FaultKind::Cut { from, to, for_ms } | FaultKind::Hold { from, to, for_ms } => {
                self.cut(*from as usize, *to as usize, *for_ms);
            }
            FaultKind::Partition { for_ms, .. } | FaultKind::Isolate { for_ms, .. } => {
                self.part(&named, &all, *for_ms);
            }
            FaultKind::Disk { fault: lie, per_million, for_ms, .. } if lie.says_that_it_fails() => {
                let mut faults = grab(&self.platters[first]).faults().clone();
                *lie.rate(&mut faults) = *per_million;
                grab(&self.platters[first]).set_faults(faults);
                self.plan_in(*for_ms, Due::Faultless(first));
            }
            _ => {
                self.left_out += 1;
                return;
            }
        }
        *self.struck.entry(fault.name()).or_default() += 1;
    }

    /// Every fault ends and every node runs.
    fn calm(&mut self) {
        self.due.clear();
        self.in_operation.clear();
        for node in 0..self.nodes.len() {
            grab(&self.platters[node]).set_faults(Faults::default());
            if grab(&self.platters[node]).is_off() {
                self.power_loss(node, 0);
            }
            self.start(node);
            self.handle.resume(self.id(node));
            for other in 0..self.nodes.len() {
                self.net.unclog_link(self.id(node), self.id(other));
            }
        }
        self.due.clear();
    }
}

/// How a disk's lie is asked for.
trait Lie {
    /// Whether it says that it fails; damage that says nothing is left to our own world, which
    /// keeps the budget of it.
    fn says_that_it_fails(self) -> bool;
    fn rate(self, faults: &mut Faults) -> &mut u32;
}

impl Lie for DiskFault {
    fn says_that_it_fails(self) -> bool {
        matches!(
            self,
            Self::ReadError
                | Self::WriteError
                | Self::NoSpace
                | Self::SyncError
                | Self::SyncDirError
        )
    }

    fn rate(self, faults: &mut Faults) -> &mut u32 {
        match self {
            Self::ReadError => &mut faults.read_error,
            Self::ReadFlip => &mut faults.read_flip,
            Self::ReadStale => &mut faults.read_stale,
            Self::WriteError => &mut faults.write_error,
            Self::NoSpace => &mut faults.write_no_space,
            Self::SyncError => &mut faults.sync_error,
            Self::SyncDirError => &mut faults.sync_dir_error,
            Self::Phantom => &mut faults.phantom_write,
            Self::Misdirect => &mut faults.misdirected_write,
            Self::LatentError => &mut faults.latent_error,
        }
    }
}
