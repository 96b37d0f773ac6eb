//! The cluster: nodes of strong groups in a world, and what they show to the judges.
//!
//! ```text
//!   client ══ node ══ other nodes
//!               └────► glass: every step, message and applied entry
//! ```
//! Everything between client and disk is what runs on real machines (`trilith-net`, `node`). A node that stops because of
//! its disk is started again by a supervisor.
//!
//! Not here: the clients (`cluster_client`), what may never be seen (`check/raft`).

use std::{
    collections::BTreeMap,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use trilith_engine::{
    mark,
    packet::{Envelope, Packet},
    raft::{Config, EntryId, Moment, Raft, Role},
    runtime::{Clock, Either, Rng, Runtime, race},
    shard::{Look, PaceOptions, ShardOptions, Stopped},
    types::{GroupId, NodeId, Size},
};
use trilith_net::{
    node::{Cluster, Node, NodeOptions as Options, Sizes, Watch},
    peer::proof::{Secret, Secrets},
};

use super::{
    cluster_client::{self, Looked},
    cluster_dealer, cluster_governor, cluster_guest, cluster_http, cluster_mortal,
    cluster_operator::{self, Desk, wipe},
    cluster_reader, cluster_redis, cluster_tape, cluster_text,
    toy_run::settle,
};
use crate::{
    check::{cycles, fresh, led::Reigns, mortal, parted::Sides, raft::Notes, resources::Gauges},
    fault::Family,
    history::{Key, Recorder, Value},
    load::Planned,
    os::SimRuntime,
    run::{Drawn, Evidence, Request as Run},
    scenario::Scenario,
    world::{self, NodeOptions, World},
};

/// How long a supervisor waits before it starts a process again that has ended by itself.
const RESTART: Duration = Duration::from_millis(200);
/// One life in so many is ended in order, within this time after it began.
const STOPPED_ONE_IN: u64 = 6;
const STOPPED_WITHIN_MS: u64 = 4000;
/// How much later than planned a client may be done.
const LATE: Duration = Duration::from_secs(40);
/// How often the onlooker asks whether they are.
const LOOKS: Duration = Duration::from_millis(50);
/// How long replicas may take to hear of the last operation.
const SETTLES: Duration = Duration::from_millis(2500);
/// How long a client tries.
const PATIENCE: Duration = Duration::from_millis(3000);
/// How many make transactions, where some do.
const DEALERS: u32 = 3;
/// How often sizes are looked at, and how often everything that must hold.
const SIZES_EVERY: Duration = Duration::from_millis(30);
const ALL_EVERY: Duration = Duration::from_millis(100);
/// Where nodes listen.
const PORT: u16 = 7381;
/// Where they serve Redis clients, if they do.
const RESP_PORT: u16 = 7379;
/// And HTTP clients here.
const HTTP_PORT: u16 = 7380;
/// And clients of the text protocol here.
const TEXT_PORT: u16 = 7382;
/// How long what they ask may take: less than they wait, so that they hear of it.
const RESP_WITHIN: Duration = Duration::from_millis(800);

/// Where a node listens.
#[must_use]
pub fn address(node: u32) -> SocketAddr {
    world::address(world::NodeId(node), PORT)
}

/// What the nodes of a cluster know, where it has a secret.
#[must_use]
pub fn secret() -> Secret {
    Secret::new(b"what the nodes of a simulated cluster know").expect("it is long enough")
}

/// The number by which a cluster knows the world's node.
#[must_use]
pub fn number(node: u32) -> NodeId {
    NodeId(u64::from(node) + 1)
}

/// What the judges see of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Glass(Arc<Mutex<Behind>>);

#[derive(Debug, Default)]
struct Behind {
    notes: Notes,
    sides: Sides,
    reigns: Reigns,
    gauges: Gauges,
    stopped: BTreeMap<u32, String>,
}

impl Glass {
    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node is told when it boots.
#[derive(Clone, Debug)]
struct Setup {
    node: u32,
    nodes: u32,
    groups: u32,
    leases: bool,
    redis: bool,
    http: bool,
    text: bool,
    /// Whether who speaks these has to say first who it is.
    users: bool,
    /// What whoever comes to its port must know.
    secret: Option<Secret>,
    /// Whether it reads all it has, to see whether it is still whole.
    scrubs: bool,
    /// Until when the groups are governed.
    governed: Option<Duration>,
    /// Until when nodes are ended in order.
    stopped: Duration,
    /// From when on nothing happens but what is left, in nanoseconds of the world.
    quiet_ns: u64,
    glass: Glass,
    desk: Desk,
}

/// What a node shows.
struct Shown {
    node: NodeId,
    life: u32,
    rt: SimRuntime,
    glass: Glass,
    /// When it looks at sizes next, and at everything that must hold.
    sizes_at: Moment,
    all_at: Moment,
    quiet_ns: u64,
}

impl Watch for Shown {
    fn saw_packet(&mut self, envelope: &Envelope) {
        self.rt.tape(|tape, now, node| {
            let to = envelope.to.0.saturating_sub(1) as u32;
            tape.says(now, node, to, cluster_tape::packet(&envelope.packet));
        });
        match &envelope.packet {
            Packet::Raft { group, message, .. } => self.glass.behind().notes.said(*group, message),
            Packet::Beats(beats) => {
                let notes = &mut self.glass.behind().notes;
                beats.iter().for_each(|beat| notes.said(beat.group, &beat.message));
            }
            Packet::Chunk(_)
            | Packet::ChunkAck(_)
            | Packet::SnapshotAsk(_)
            | Packet::Seat { .. }
            | Packet::Digest { .. }
            | Packet::Pace { .. } => {}
            Packet::ValueAsk { .. } | Packet::Value { .. } => {}
        }
    }

    fn saw_lost_answer(&mut self) {
        mark!("cluster: an answer found nobody");
    }

    fn saw_step(&mut self, group: GroupId, raft: &Raft) {
        self.rt.tape(|tape, now, node| tape.believes(cluster_tape::belief(now, node, group, raft)));
        let mut behind = self.glass.behind();
        behind.notes.stepped(self.node, self.life, group, raft);
        if raft.role() == Role::Leader {
            behind.reigns.leads(self.rt.true_time_ns(), group, raft.term(), self.node);
        }
    }

    fn saw_apply(&mut self, group: GroupId, entry: EntryId, digest: u64) {
        let mut behind = self.glass.behind();
        behind.notes.applied(self.node, group, entry, digest);
        behind.sides.applied(self.node, group, entry.index, digest);
    }

    fn looks(&mut self, now: Moment) -> Look {
        // What is left at the end is what the last turn has left.
        if now < self.sizes_at && self.rt.true_time_ns() < self.quiet_ns {
            return Look::Away;
        }
        self.sizes_at = now + SIZES_EVERY;
        if now < self.all_at {
            return Look::Sizes;
        }
        self.all_at = now + ALL_EVERY;
        Look::Everything
    }

    fn saw_sizes(&mut self, sizes: &Sizes) {
        let mut behind = self.glass.behind();
        for gauge in sizes.each() {
            let Size { now, most } = gauge.size;
            let quiet = if gauge.is_work { 0 } else { most };
            behind.gauges.sample(self.node.0 as u32, gauge.name, now, most, quiet);
        }
    }
}

/// Runs the scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, request: &Run, drawn: &Drawn) -> (World, Evidence) {
    let mut world = drawn.world(request);
    let asks = |judge: &str| scenario.judges.iter().any(|asked| asked == judge);
    let (glass, desk) = (Glass::default(), Desk::new(&drawn.families));
    let governed = drawn.governed.then(|| Duration::from_millis(scenario.time.chaos_ms));
    let time = scenario.time;
    let end = time.chaos_ms + time.settle_ms + time.calm_ms + time.bound_ms;
    // What a guest says while his node closes is lost, and nobody asks it again for him.
    let are_guests = drawn.redis || drawn.http || drawn.text;
    let stopped = if are_guests { time.chaos_ms } else { end };
    let back = desk.back_within(RESTART) + SETTLES;
    let stopped = Duration::from_millis(stopped).saturating_sub(back);
    let (offsets, mut put_right) = if asks("mortal") {
        cluster_mortal::wrong_clocks(request.seed, drawn.nodes, time.chaos_ms)
    } else {
        Default::default()
    };
    add_nodes(&mut world, drawn, (governed, stopped, end * 1_000_000), &offsets, &glass, &desk);
    let recorder = Recorder::default();
    let looked: Looked = Arc::default();
    let notes = fresh::Notes::default();
    // Elsewhere values are short: what they weigh shows only where room is short too.
    let is_scarce = scenario.faults.fill_disks || drawn.disk_kib > 0;
    let value_bytes = if is_scarce { drawn.value_bytes as usize } else { 0 };
    let busy = add_clients(&mut world, drawn, value_bytes, &recorder, &notes);
    add_onlooker(&mut world, drawn, end, &looked, &busy);
    let (nodes, until) =
        ((0..drawn.nodes).map(address).collect::<Arc<[_]>>(), Duration::from_millis(end));
    let secret = drawn.secret.then(secret);
    world.add("operator", NodeOptions::default(), move |runtime| {
        let nodes = Arc::clone(&nodes);
        cluster_operator::run(runtime, (nodes, secret), desk.clone(), until)
    });
    // Whoever reads keeps groups awake, so only who wants to know is read.
    if asks("fresh") {
        add_reader(&mut world, drawn, end - time.bound_ms, &notes);
    }
    let lives = mortal::Lives::default();
    if asks("mortal") {
        add_mortal(&mut world, drawn, end - time.bound_ms, &lives);
    }
    let deeds = cycles::Deeds::default();
    if asks("cycles") {
        add_dealers(&mut world, drawn, end - time.bound_ms, &deeds);
    }
    world.start_all();
    put_right.entries.extend(drawn.faults.entries.iter().cloned());
    world.play(&put_right);
    world.run_until(Duration::from_millis(time.chaos_ms));
    settle(&mut world, time.chaos_ms, time.settle_ms);
    // The onlooker looks when everybody else is done.
    world.run_until(Duration::from_millis(end + cluster_client::LOOK_MS));
    if looked.lock().unwrap_or_else(PoisonError::into_inner).len() < drawn.nodes as usize {
        mark!("cluster: the onlooker waits for a client");
        world.run_for(LATE);
    }
    let replicas = looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let finally: BTreeMap<Key, Value> = replicas.values().next().cloned().unwrap_or_default();
    let behind = glass.behind();
    let evidence = Evidence {
        history: recorder.history(),
        finally,
        replicas: replicas.into_iter().map(|(node, held)| (format!("n{node}"), held)).collect(),
        raft: behind.notes.violation().cloned(),
        sides: behind.sides.clone(),
        reigns: behind.reigns.clone(),
        gauges: behind.gauges.clone(),
        glances: notes,
        lives,
        deeds,
        ..Evidence::default()
    };
    drop(behind);
    (world, evidence)
}

/// Adds the clients. Answers how many are not done.
fn add_clients(
    world: &mut World,
    drawn: &Drawn,
    value_bytes: usize,
    recorder: &Recorder,
    notes: &fresh::Notes,
) -> Arc<AtomicU32> {
    let busy = Arc::new(AtomicU32::new(drawn.shape.clients));
    for client in 0..drawn.shape.clients {
        let busy = Arc::clone(&busy);
        let plan: Arc<[Planned]> =
            drawn.load.iter().filter(|one| one.client == client).copied().collect();
        let (recorder, notes) = (recorder.clone(), notes.clone());
        let nodes = (0..drawn.nodes).map(address).collect::<Arc<[_]>>();
        let (is_http, is_redis) = (drawn.http && client % 2 == 1, drawn.redis && client % 2 == 1);
        let is_text = drawn.text && client % 2 == 1;
        let port = match () {
            () if is_http => HTTP_PORT,
            () if is_text => TEXT_PORT,
            () => RESP_PORT,
        };
        let doors = (0..drawn.nodes).map(|node| world::address(world::NodeId(node), port));
        let doors = doors.collect::<Arc<[_]>>();
        let (keys, calm_from_ns) = (drawn.shape.keys, drawn.shape.calm_from_ns);
        let (users, secret) = (drawn.users, drawn.secret.then(secret));
        world.add(&format!("client{client}"), NodeOptions::default(), move |runtime| {
            let clock = runtime.clone();
            let setup = cluster_client::Setup {
                client,
                nodes: Arc::clone(&nodes),
                plan: Arc::clone(&plan),
                patience: PATIENCE,
                value_bytes,
                recorder: recorder.clone(),
                notes: notes.clone(),
                secret,
                world_ns: Arc::new(move || clock.true_time_ns()),
            };
            let nodes = Arc::clone(&doors);
            let place = cluster_guest::Place { nodes, keys, calm_from_ns, users };
            let busy = Arc::clone(&busy);
            async move {
                if is_http {
                    cluster_http::run(runtime, place, setup).await;
                } else if is_text {
                    cluster_text::run(runtime, place, setup).await;
                } else if is_redis {
                    cluster_redis::run(runtime, place, setup).await;
                } else {
                    cluster_client::run(runtime, setup).await;
                }
                busy.fetch_sub(1, Ordering::Relaxed);
                // Whoever looks after machines would start it once more, plan and all.
                pending::<()>().await;
            }
        });
    }
    busy
}

/// Adds somebody who reads whatever each node has.
fn add_reader(world: &mut World, drawn: &Drawn, until_ms: u64, notes: &fresh::Notes) {
    let nodes = (0..drawn.nodes).map(address).collect::<Arc<[_]>>();
    let keys = drawn.load.iter().map(|one| one.key).collect::<Arc<[_]>>();
    let (notes, secret) = (notes.clone(), drawn.secret.then(secret));
    world.add("reader", NodeOptions::default(), move |runtime| {
        let (nodes, keys) = (Arc::clone(&nodes), Arc::clone(&keys));
        let until = Duration::from_millis(until_ms);
        cluster_reader::run(runtime, (nodes, secret), keys, notes.clone(), until)
    });
}

/// Adds somebody who writes keys that are to be over soon.
fn add_mortal(world: &mut World, drawn: &Drawn, until_ms: u64, lives: &mortal::Lives) {
    let nodes = (0..drawn.nodes).map(address).collect::<Arc<[_]>>();
    let (lives, until) = (lives.clone(), Duration::from_millis(until_ms));
    let secret = drawn.secret.then(secret);
    world.add("mortal", NodeOptions::default(), move |runtime| {
        cluster_mortal::run(runtime, (Arc::clone(&nodes), secret), lives.clone(), until)
    });
}

/// Adds those who make transactions.
fn add_dealers(world: &mut World, drawn: &Drawn, until_ms: u64, deeds: &cycles::Deeds) {
    let secret = drawn.secret.then(secret);
    for number in 0..DEALERS {
        let nodes = (0..drawn.nodes).map(address).collect::<Arc<[_]>>();
        let (deeds, until) = (deeds.clone(), Duration::from_millis(until_ms));
        world.add(&format!("dealer{number}"), NodeOptions::default(), move |runtime| {
            let nodes = (Arc::clone(&nodes), secret);
            cluster_dealer::run(runtime, nodes, number, deeds.clone(), until)
        });
    }
}

/// Adds somebody who looks at what everybody holds when the clients are done.
fn add_onlooker(
    world: &mut World,
    drawn: &Drawn,
    from_ms: u64,
    looked: &Looked,
    busy: &Arc<AtomicU32>,
) {
    let (groups, nodes) = (drawn.groups, (0..drawn.nodes).map(address).collect::<Arc<[_]>>());
    let secret = drawn.secret.then(secret);
    let (looked, busy) = (Arc::clone(looked), Arc::clone(busy));
    world.add("onlooker", NodeOptions::default(), move |runtime| {
        let (nodes, looked, busy) = (Arc::clone(&nodes), Arc::clone(&looked), Arc::clone(&busy));
        async move {
            quiet(&runtime, Duration::from_millis(from_ms), &busy).await;
            cluster_client::look(runtime, nodes, (groups, secret), Duration::ZERO, looked).await;
        }
    });
}

/// Waits until the clients are done, and the replicas have had time to hear of it.
async fn quiet(rt: &SimRuntime, from: Duration, busy: &AtomicU32) {
    let clock = rt.clock();
    let began = clock.now();
    clock.sleep_until(began + from).await;
    let mut was_busy = false;
    while busy.load(Ordering::Relaxed) > 0 && clock.now() < began + from + LATE / 2 {
        was_busy = true;
        clock.sleep_until(clock.now() + LOOKS).await;
    }
    if was_busy {
        clock.sleep_until(clock.now() + SETTLES).await;
    }
}

/// Adds the nodes. A supervisor of the machine starts the process again when it ends by itself.
fn add_nodes(
    world: &mut World,
    drawn: &Drawn,
    (governed, stopped, quiet_ns): (Option<Duration>, Duration, u64),
    offsets: &[i64],
    glass: &Glass,
    desk: &Desk,
) {
    let (nodes, groups, leases) = (drawn.nodes, drawn.groups, drawn.leases);
    let (redis, http, text, users) = (drawn.redis, drawn.http, drawn.text, drawn.users);
    let secret = drawn.secret.then(secret);
    let rots = drawn.families.contains(&Family::DiskDamage);
    for node in 0..nodes {
        let (glass, desk) = (glass.clone(), desk.clone());
        // The others find damage when they need what it hit.
        let scrubs = rots && node % 2 == 1;
        let setup = Setup {
            node,
            nodes,
            groups,
            // Not all of them are told what the clocks promise.
            leases: leases && node % 3 != 2,
            redis,
            http,
            text,
            users,
            secret,
            scrubs,
            governed,
            stopped,
            quiet_ns,
            glass,
            desk,
        };
        let wall_offset_ms = offsets.get(node as usize).copied().unwrap_or_default();
        let options = NodeOptions { wall_offset_ms, ..machine(drawn) };
        world.add(&format!("node{node}"), options, move |runtime| {
            let setup = setup.clone();
            async move {
                let lives = async {
                    for starts in 0.. {
                        // A process that stops by itself has another life in the machine's.
                        let life = (runtime.life() << 12) + starts;
                        if let Err(why) = live(runtime.clone(), life, setup.clone()).await {
                            mark!("cluster: a node stopped by itself");
                            tracing::info!(%why, "a node stopped by itself");
                            setup.glass.behind().stopped.insert(setup.node, why);
                        }
                        let clock = runtime.clock();
                        clock.sleep_until(clock.now() + RESTART).await;
                    }
                };
                race(runtime.stopped(), lives).await;
            }
        });
    }
}

/// What a node runs on.
fn machine(drawn: &Drawn) -> NodeOptions {
    let mut options = NodeOptions::default();
    if drawn.disk_kib > 0 {
        options.disk.capacity_bytes = drawn.disk_kib << 10;
    }
    options
}

/// Clocks differ by no more than the faults make them.
const DRIFT_PPM: u32 = 500_000;

/// Many points in a run.
const COMPARE_EVERY: Duration = Duration::from_millis(400);

/// A run is a few seconds long, and a good disk here takes less than a millisecond.
const PACE: PaceOptions = PaceOptions {
    floor: Duration::from_millis(6),
    slow_after: Duration::from_millis(400),
    fit_after: Duration::from_millis(1500),
    rest: Duration::from_millis(500),
};

fn options(leases: bool, scrubs: bool) -> ShardOptions {
    let mut options = ShardOptions {
        raft: Config {
            heartbeat: Duration::from_millis(50),
            election: Duration::from_millis(300),
            quiet_after: Some(Duration::from_millis(1000)),
            drift_ppm: leases.then_some(DRIFT_PPM),
            ..Config::default()
        },
        retain_bytes: 32 << 10,
        frame_bytes: 1 << 10,
        cache_bytes: 4 << 10,
        hot_bytes: 16 << 10,
        scrub_bytes_per_second: if scrubs { 64 << 10 } else { 0 },
        scrub_pause: Duration::from_millis(300),
        compare_every: COMPARE_EVERY,
        pace: PACE,
        ..ShardOptions::default()
    };
    options.journal.first_segment_bytes = 16 << 10;
    options.journal.segment_bytes_max = 64 << 10;
    options.journal.manifest_bytes = 8 << 10;
    options.journal.reserve_bytes = 64 << 10;
    options.compaction.dead_bytes_min = 16 << 10;
    options
}

/// One life of a node's process.
async fn live(rt: SimRuntime, life: u32, setup: Setup) -> Result<(), String> {
    let Setup { node, nodes, groups, leases, redis, http, text, scrubs, governed, .. } = setup;
    let Setup { stopped, quiet_ns, glass, desk, users, secret, .. } = setup;
    let own = number(node);
    let members = (0..nodes).map(|node| (number(node), address(node))).collect();
    let groups = u16::try_from(groups).map_err(|why| why.to_string())?;
    let cluster = Cluster::new("sim", members, groups).map_err(|why| why.to_string())?;
    let mut options = Options { shard: options(leases, scrubs), ..Options::new(own, cluster) };
    options.guests_within = RESP_WITHIN;
    options.links.secrets = secret.map(Secrets::from);
    if users {
        options.users = cluster_guest::users();
    }
    options.resp = redis.then(|| world::address(world::NodeId(node), RESP_PORT));
    options.http = http.then(|| world::address(world::NodeId(node), HTTP_PORT));
    options.text = text.then(|| world::address(world::NodeId(node), TEXT_PORT));
    let (sizes_at, all_at) = (Moment::default(), Moment::default());
    let shown =
        Shown { node: own, life, rt: rt.clone(), glass: glass.clone(), sizes_at, all_at, quiet_ns };
    if desk.is_replaced(own) {
        mark!("cluster: a replaced directory was emptied");
        wipe(&rt).await;
        glass.behind().sides.emptied(own);
    }
    let started = match Node::start(&rt, options, shown).await {
        Ok(started) => started,
        Err(why) => {
            if desk.refused(own, &why) {
                mark!("cluster: a node had no directory of its own");
                wipe(&rt).await;
                glass.behind().sides.emptied(own);
            }
            return Err(why.to_string());
        }
    };
    let remote = started.remote();
    desk.began(own);
    let stop = async {
        let mut luck = rt.rng("operator");
        if luck.chance(1, STOPPED_ONE_IN) {
            let after = Duration::from_millis(luck.range(0..STOPPED_WITHIN_MS));
            rt.clock().sleep_until(rt.clock().now() + after).await;
            // Later it could not be back, and have heard of everything, when the onlooker looks.
            if Duration::from_nanos(rt.true_time_ns()) < stopped {
                remote.stop().await;
            }
        }
        pending::<()>().await;
    };
    let govern = async {
        if let Some(until) = governed {
            cluster_governor::govern(&rt, &remote, nodes, groups.into(), until).await;
        }
        pending::<()>().await;
    };
    match race(started.run(), race(stop, govern)).await {
        Either::Left(why) => {
            desk.ended(own, &why);
            glass.behind().gauges.ended(own.0 as u32);
            glass.behind().reigns.ends();
            if let Stopped::Diverged { group, .. } = why {
                glass.behind().sides.stopped(own, group);
            }
            if why == Stopped::Asked {
                mark!("cluster: a node was stopped in order");
            }
            Err(why.to_string())
        }
        Either::Right(_) => Ok(()),
    }
}
