//! One run: (commit, seed, scenario) in, a report out.
//!
//! ```text
//!   draw     the options of this seed: cluster, load, weather, plan of faults
//!   chaos    the plan strikes while clients ask                 safety is judged
//!   settle   every fault ends, every node is started            nothing is asked
//!   calm     clients ask a little more                          liveness is judged
//!   judge    the scenario's judges, in its order; beliefs always
//! ```
//! A report says everything that is needed to have the run again, and its last line is the digest:
//! two runs with the same last line were the same run.
//!
//! Not here: subjects (`subject`), many runs (`swarm`), smaller runs (`shrink_run`).
#![expect(clippy::disallowed_methods, reason = "git is asked which commit this is")]

use std::{collections::BTreeMap, fmt, process::Command, time::Duration};

use trilith_engine::runtime::Rng;

use crate::{
    check::{
        Verdict, Violation, alive, beliefs, converged, cycles, durable, fresh,
        led::Reigns,
        linearizable, mortal, once,
        parted::Sides,
        phantom, raft,
        resources::{self, Gauges},
        serial::{self, Order},
    },
    digest::Digest,
    fault::{Family, FaultPlan},
    history::{History, Key, OpId, Value},
    load::{self, Mix, Planned, Shape},
    luck::{Domain, Luck},
    plan::{self, Weather},
    scenario::{Draw, Scenario, Subject, family_name},
    subject::{cluster, damage, journal, links, still_store, store, toy_run},
    tape::Tape,
    trace::{Keep, Line},
    world::{Latency, NetOptions, NodeId, Schedule, World, WorldOptions},
};

const NANOS_PER_MS: u64 = 1_000_000;

/// What is asked of a run beyond its scenario.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The seed.
    pub seed: u64,
    /// Which lines of the trace are kept.
    pub keep: Keep,
    /// Whether a tape is made.
    pub tape: bool,
    /// A planted bug.
    pub mutant: Option<String>,
    /// This plan of faults and no other.
    pub faults: Option<FaultPlan>,
    /// This load and no other.
    pub load: Option<Vec<Planned>>,
}

impl Request {
    /// A run of that seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// What a seed drew from its scenario.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The subject's nodes.
    pub nodes: u32,
    /// The groups that the keys are spread over.
    pub groups: u32,
    /// Whether leaders have leases.
    pub leases: bool,
    /// Whether a governor moves leaders and changes members.
    pub governed: bool,
    /// Whether every other client speaks Redis.
    pub redis: bool,
    /// Whether every other client speaks HTTP.
    pub http: bool,
    /// Whether every other client speaks the text protocol.
    pub text: bool,
    /// Whether who speaks one of these has to say first who it is.
    pub users: bool,
    /// Whether the cluster has a secret.
    pub secret: bool,
    /// How large each disk is, for good; zero: large enough.
    pub disk_kib: u64,
    /// The load's shape.
    pub shape: Shape,
    /// Bytes of a value, at most (the store).
    pub value_bytes: u64,
    /// Who runs next.
    pub schedule: Schedule,
    /// The network.
    pub net: NetOptions,
    /// How late timers may be.
    pub timer_slack: Duration,
    /// The families of faults.
    pub families: Vec<Family>,
    /// The plan of faults.
    pub faults: FaultPlan,
    /// The plan of the load.
    pub load: Vec<Planned>,
}

impl Drawn {
    /// The world that a run begins in, without nodes.
    #[must_use]
    pub fn world(&self, request: &Request) -> World {
        let options = WorldOptions {
            schedule: self.schedule,
            timer_slack: self.timer_slack,
            net: self.net.clone(),
            trace: request.keep,
            tape: request.tape,
            planted: request.mutant.iter().cloned().collect(),
            ..WorldOptions::default()
        };
        World::new(request.seed, options)
    }
}

/// Draws a run's options. What a scenario does not vary draws nothing.
#[must_use]
pub fn draw(scenario: &Scenario, request: &Request) -> Drawn {
    let seed = request.seed;
    let mut luck = Luck::new(seed, Domain::Options);
    let nodes = scenario.nodes.draw(&mut luck) as u32;
    let groups =
        if scenario.groups == Draw::just(1) { 1 } else { scenario.groups.draw(&mut luck) as u32 };
    let mut some = |draw: &Draw| if *draw == Draw::just(0) { 0 } else { draw.draw(&mut luck) };
    let (leases, governed) = (some(&scenario.leases) == 1, some(&scenario.governed) == 1);
    let disk_kib = some(&scenario.disk_kib);
    let redis = some(&scenario.redis) == 1;
    let http = some(&scenario.http) == 1;
    let text = some(&scenario.text) == 1;
    let (time, range) = (scenario.time, &scenario.load);
    let shape = shape(scenario, &mut luck);
    let value_bytes = range.value_bytes.draw(&mut luck);
    let schedule = match luck.range(0..4) {
        0 => Schedule::Fifo,
        1 => Schedule::Pct { change_every: luck.range(10..2000) as u32 },
        _ => Schedule::Uniform,
    };
    let (net, timer_slack) = weather(scenario.faults.weather, &mut luck);
    let count = scenario.faults.count.draw(&mut luck);
    let lose_disk = scenario.faults.lose_a_disk.then(|| {
        // Mostly the first node's, which has most to lose.
        if luck.chance(3, 4) { 0 } else { luck.range(0..u64::from(nodes)) as u32 }
    });
    let slow_disk =
        scenario.faults.slow_a_disk.then(|| luck.range(0..u64::from(nodes.max(1))) as u32);
    let weather = Weather {
        nodes,
        clients: match scenario.subject {
            Subject::Toy | Subject::Cluster => shape.clients,
            _ => 0,
        },
        families: scenario.faults.families.clone(),
        swarm: true,
        count,
        span_ms: time.chaos_ms,
        disk_ops: u64::from(shape.clients * shape.operations) * 2,
        // A node alone may be damaged where a scenario says so: it is asked to refuse then.
        damaged_max: if nodes == 1 { 1 } else { (nodes - 1) / 2 },
        lose_disk,
        slow_disk,
        full_disks: scenario.faults.fill_disks,
    };
    let mut some = |draw: &Draw| *draw != Draw::just(0) && draw.draw(&mut luck) == 1;
    let (users, secret) = (some(&scenario.users), some(&scenario.secret));
    let plan::Drawn { families, plan: drawn, .. } = weather.draw(seed);
    let fixed = &scenario.fixed;
    let faults = request.faults.clone().or_else(|| fixed.faults.clone()).unwrap_or(drawn);
    let load = request.load.clone().or_else(|| fixed.load.clone());
    let load = load.unwrap_or_else(|| load::plan(seed, &shape));
    Drawn {
        nodes,
        groups,
        leases,
        governed,
        redis,
        http,
        text,
        users,
        secret,
        disk_kib,
        shape,
        value_bytes,
        schedule,
        net,
        timer_slack,
        families,
        faults,
        load,
    }
}

/// Draws the load's shape.
fn shape(scenario: &Scenario, luck: &mut Luck) -> Shape {
    let (time, range) = (scenario.time, &scenario.load);
    let [get, set, delete, cas, incr] = range.mix.each_ref().map(|part| part.draw(luck));
    Shape {
        clients: range.clients.draw(luck) as u32,
        operations: range.operations.draw(luck) as u32,
        calm_operations: range.calm_operations.draw(luck) as u32,
        keys: range.keys.draw(luck) as u32,
        hot: range.hot.draw(luck),
        mix: Mix { get, set, delete, cas, incr },
        chaos_ns: time.chaos_ms * NANOS_PER_MS,
        calm_from_ns: (time.chaos_ms + time.settle_ms) * NANOS_PER_MS,
        calm_ns: time.calm_ms * NANOS_PER_MS,
    }
}

fn weather(wild: bool, luck: &mut Luck) -> (NetOptions, Duration) {
    let mut net = NetOptions::default();
    if !wild {
        return (net, Duration::ZERO);
    }
    net.latency = match luck.range(0..4) {
        0 => Latency::Fixed { us: luck.range(50..3000) as u32 },
        1 => Latency::Uniform { min_us: 20, max_us: luck.range(100..20_000) as u32 },
        2 => Latency::Bimodal { fast_us: 500, slow_us: 80_000, slow_per_million: 20_000 },
        _ => net.latency,
    };
    if luck.chance(1, 3) {
        net.loss_per_million = luck.range(100..50_000) as u32;
    }
    if luck.chance(1, 3) {
        net.partial_per_million = luck.range(1000..500_000) as u32;
    }
    if luck.chance(1, 4) {
        net.window_bytes = luck.range(64..4096) as usize;
    }
    let slack = if luck.chance(1, 3) { luck.range(1..2000) } else { 0 };
    (net, Duration::from_micros(slack))
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, shape, schedule, net, families, faults, load, .. } = self;
        let Shape { clients, keys, hot, mix, .. } = shape;
        let families: Vec<String> = families.iter().map(|family| family_name(*family)).collect();
        let Mix { get, set, delete, cas, incr } = mix;
        writeln!(f, "  nodes {nodes}, clients {clients}, keys {keys}, hot {hot} %")?;
        writeln!(
            f,
            "  load  {} operations, mix {get}:{set}:{delete}:{cas}:{incr} (get:set:delete:cas:incr)",
            load.len()
        )?;
        writeln!(
            f,
            "  world {schedule:?}, latency {:?}, loss {} ppm, partial {} ppm, window {} B, timers up to {:?} late",
            net.latency,
            net.loss_per_million,
            net.partial_per_million,
            net.window_bytes,
            self.timer_slack
        )?;
        write!(
            f,
            "  chaos {} faults of {}",
            faults.entries.len(),
            if families.is_empty() { "no family".into() } else { families.join(", ") }
        )
    }
}

/// What a subject leaves for the judges.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What clients saw.
    pub history: History,
    /// The final value of every key.
    pub finally: BTreeMap<Key, Value>,
    /// The subject's own order.
    pub order: Order,
    /// The states of all replicas.
    pub replicas: Vec<(String, BTreeMap<Key, Value>)>,
    /// Sizes.
    pub gauges: Gauges,
    /// Beliefs broken and panics.
    pub broken: Vec<(String, String)>,
    /// What was seen of Raft and cannot be true.
    pub raft: Option<Violation>,
    /// What was seen of the replicas' states.
    pub sides: Sides,
    /// Who led when.
    pub reigns: Reigns,
    /// What readers were told of how old it is.
    pub glances: fresh::Notes,
    /// Values that were to be over some time.
    pub lives: mortal::Lives,
    /// Transactions.
    pub deeds: cycles::Deeds,
    /// What the subject's own differential said.
    pub store: Option<Verdict>,
}

impl Evidence {
    /// Takes a world's panics and broken beliefs over.
    pub fn take_beliefs(&mut self, world: &World) {
        for (broken, count) in world.ledger().broken() {
            let place = format!("{}:{}, {count} times", broken.file, broken.line);
            self.broken.push((broken.claim.to_string(), place));
        }
        for panic in world.panics() {
            let place = format!(
                "n{}.{} task {} at {} ms: {}",
                panic.node,
                panic.life,
                panic.task,
                panic.at_ns / NANOS_PER_MS,
                panic.message
            );
            self.broken.push(("a task panicked".into(), place));
        }
    }
}

/// What a judge says of what clients saw and of what there is at the end; nothing when it looks at
/// something else.
#[must_use]
pub fn ask_for_safety(judge: &str, seen: &Evidence) -> Option<Verdict> {
    Some(match judge {
        "linearizable" => linearizable::check(&seen.history),
        "serial" => serial::check(&seen.history, &seen.order),
        "durable" => durable::check(&seen.history, &seen.finally),
        "phantom" => phantom::check(&seen.history, &seen.finally),
        "once" => once::check_sums(&seen.history, &seen.finally)
            .and(|| once::check_log(&seen.history, &seen.order.writes)),
        "converged" => converged::check(&seen.replicas),
        _ => return None,
    })
}

fn ask(judge: &str, scenario: &Scenario, drawn: &Drawn, seen: &Evidence) -> Verdict {
    if let Some(verdict) = ask_for_safety(judge, seen) {
        return verdict;
    }
    let time = scenario.time;
    match judge {
        "raft" => raft::check(seen.raft.as_ref()),
        "parted" => seen.sides.check(drawn.nodes as usize),
        "fresh" => seen.glances.check(),
        "mortal" => seen.lives.check(),
        "cycles" => seen.deeds.check(),
        "led" => seen.reigns.check(&drawn.faults, cluster::number),
        "alive" => {
            let from = (time.chaos_ms + time.settle_ms) * NANOS_PER_MS;
            let calm = drawn.load.iter().filter(|one| one.at_ns >= from).count();
            alive::check(&seen.history, from, Duration::from_millis(time.bound_ms), calm)
        }
        "resources" => resources::check(&seen.gauges),
        "store" | "damage" | "links" => seen.store.clone().unwrap_or(Verdict::Holds),
        _ => Verdict::Holds,
    }
}

/// What a run was.
#[derive(Debug)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What the seed drew.
    pub drawn: Drawn,
    /// The whole run in 64 bits.
    pub digest: Digest,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// Marks reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// Faults that really happened.
    pub probes: BTreeMap<String, u64>,
    /// What clients saw.
    pub history: History,
    /// The first judge's refusal, if any.
    pub violation: Option<Violation>,
    /// Verdicts that ran out of their budget.
    pub unknown: Vec<String>,
    /// What each judge said, in the order in which they were asked; after a refusal nobody is.
    pub judged: Vec<(String, Verdict)>,
    /// The kept lines of the trace.
    pub trace: Vec<Line>,
    /// The tape, if one was asked for.
    pub tape: Option<Tape>,
    /// What the world's nodes are called.
    pub names: Vec<String>,
}

/// Runs a scenario once.
#[must_use]
pub fn run(scenario: &Scenario, request: &Request) -> Report {
    let drawn = draw(scenario, request);
    let (mut world, mut evidence) = match scenario.subject {
        Subject::Toy => toy_run::run(scenario, request, &drawn),
        Subject::Cluster => cluster::run(scenario, request, &drawn),
        Subject::Journal => journal::run(scenario, request, &drawn),
        Subject::Damage => damage::run(scenario, request, &drawn),
        Subject::Store => store::run(scenario, request, &drawn),
        Subject::Lives => still_store::run(scenario, request, &drawn),
        Subject::Links => links::run(scenario, request, &drawn),
    };
    evidence.take_beliefs(&world);
    let mut digest = world.digest();
    for operation in &evidence.history.operations {
        digest.text(&operation.to_string());
    }
    let (mut violation, mut unknown, mut judged) = (None, Vec::new(), Vec::new());
    let first = [("beliefs", beliefs::check(&evidence.broken))];
    let asked = scenario
        .judges
        .iter()
        .map(|judge| (judge.as_str(), ask(judge, scenario, &drawn, &evidence)));
    for (judge, verdict) in first.into_iter().chain(asked) {
        judged.push((judge.to_string(), verdict.clone()));
        match verdict {
            Verdict::Holds => {}
            Verdict::Unknown(why) => unknown.push(why),
            Verdict::Violated(told) => {
                violation = Some(told);
                break;
            }
        }
    }
    Report {
        scenario: scenario.name.clone(),
        seed: request.seed,
        digest,
        simulated: world.now(),
        marks: world.ledger().marks(),
        probes: world.probes(),
        history: evidence.history,
        violation,
        unknown,
        judged,
        trace: world.trace(),
        tape: world.take_tape(),
        names: (0..world.nodes()).map(|node| world.name(NodeId(node))).collect(),
        drawn,
    }
}

/// The reads of a history at their positions, for the serial oracle.
#[must_use]
pub fn order(writes: Vec<OpId>, reads: BTreeMap<OpId, usize>) -> Order {
    Order { writes, reads }
}

/// Which commit this is: git's answer, or the build's, or "unknown".
#[must_use]
pub fn commit() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let told = git.ok().filter(|output| output.status.success());
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    told.map(|text| text.trim().to_string())
        .or_else(|| option_env!("TRILITH_COMMIT").map(str::to_string))
        .unwrap_or_else(|| "unknown".into())
}

impl Report {
    /// One line: what it was and how it ended.
    #[must_use]
    pub fn line(&self) -> String {
        let (ok, failed, unknown) = self.history.tally();
        let ended = match &self.violation {
            None => "holds".to_string(),
            Some(violation) => format!("REFUSED by {}", violation.fingerprint()),
        };
        format!(
            "{} seed 0x{:x}: {ok} ok, {failed} failed, {unknown} unknown in {:.1} s: {ended}; digest {}",
            self.scenario,
            self.seed,
            self.simulated.as_secs_f64(),
            self.digest
        )
    }

    /// Everything a person needs who meets this failure for the first time.
    #[must_use]
    pub fn story(&self) -> String {
        let Some(violation) = &self.violation else { return self.line() };
        let mut plan = self
            .drawn
            .faults
            .entries
            .iter()
            .map(|fault| format!("  {:?}: {}\n", fault.when, fault.what))
            .collect::<String>();
        if plan.is_empty() {
            plan = "  none\n".into();
        }
        format!(
            "{violation}\n\nscenario {}, seed 0x{:x}, commit {}\n{}\nfaults:\n{plan}\nreplay:\n  cargo run --release --bin trilith-sim -- run {} --seed 0x{:x} --trace\n  TRILITH_SEED=0x{:x} cargo test -p trilith-sim --test scenarios {}\nshrink:\n  cargo run --release --bin trilith-sim -- shrink {} --seed 0x{:x}\n{}",
            self.scenario,
            self.seed,
            commit(),
            self.drawn,
            self.scenario,
            self.seed,
            self.seed,
            self.scenario,
            self.scenario,
            self.seed,
            self.line()
        )
    }
}
