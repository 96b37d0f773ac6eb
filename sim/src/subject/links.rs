//! The links between nodes, in a world that cuts, clogs, flips and kills.
//!
//! ```text
//!   n0 .. n4   members: each has numbers to bring to each other one, and repeats them until the
//!              other one's answer comes back over its own link
//!   alien      of another cluster, with a member's number: says something to everybody
//!   twin       of the same cluster, with n0's number and another directory; comes when it is calm
//!   burglar    a member's very copy, where there is a secret, but for that: it knows another one
//!   mischief   garbage, old greetings of members, half handshakes (`links_mischief.rs`)
//! ```
//! After the chaos the network is good again. Then, whatever strangers do: every number arrives, no
//! link goes down, nobody hears a stranger, and the alien and the twin know why. At the end two
//! members are cut from each other: both must notice, and both must find each other again.
//!
//! A thing that is said is an append: the group marks who may be heard, the term is the sender's
//! life, the entry before is (connection, number in it), and the entries are bytes that follow from
//! all of these.
//!
//! Not here: what must hold of one connection (`check/links.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::{
    mark,
    packet::{Envelope, Packet},
    raft::{Body, EntryId, Message, Position},
    runtime::{Clock, Either, Instant, Net, Receiver, Rng, Runtime, queue, race},
    types::{GroupId, Index, NodeId, ReplicaId, Term, Uuid},
};
use trilith_net::peer::{
    Incoming, LinkOptions, Links, Setup, Trouble,
    hello::{Identity, Refusal},
    proof::Secrets,
};

use super::{links_mischief, toy_run::settle};
use crate::{
    check::{
        links::{Lane, Model},
        resources::Gauges,
    },
    luck::{Domain, Luck},
    os::SimRuntime,
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    world::{self, Latency, NetOptions, NodeOptions, World},
};

/// Where members listen.
pub(super) const PORT: u16 = 7381;
/// What members say.
const MEMBERS: GroupId = GroupId(1);
/// What nobody may hear.
const STRANGERS: GroupId = GroupId(666);
/// Little, so that it overflows.
const OUTBOX_BYTES: usize = 16 << 10;
/// The node's queue: little, so that it is full.
const QUEUE: usize = 8;
/// Between the end of a life and the next.
const RESTART: Duration = Duration::from_millis(50);
/// Longer than the longest packet under way when the network gets well, and than the first calm
/// handshakes.
const WELL_MS: u64 = 14_000;
/// Silence, and time to notice.
const CUT: Duration = Duration::from_secs(4);

/// Of the phases: the twin is there in this one.
const CALM: u8 = 1;
const LAST: u8 = 2;

/// What members know, and what the burglar does, where there is a secret.
const SECRET: &[u8] = b"what the members of this cluster know";
const ANOTHER: &[u8] = b"what they know somewhere else, perhaps";

const CLUSTER: Uuid = Uuid([0xc1; 16]);
const ALIEN_CLUSTER: Uuid = Uuid([0xa1; 16]);

/// The identity of a member.
pub(super) fn identity(member: u32) -> Identity {
    let directory = Uuid([member as u8 + 1; 16]);
    Identity { cluster: CLUSTER, node: NodeId(u64::from(member) + 1), directory }
}

/// Links that ask no node, and everybody for that secret.
fn knowing(secret: Option<&[u8]>) -> LinkOptions {
    let secrets = secret.and_then(|text| Secrets::read(text).ok());
    LinkOptions { secrets, asks_node: false, ..LinkOptions::default() }
}

fn member(node: NodeId) -> u32 {
    node.0.saturating_sub(1) as u32
}

/// What outlives the lives.
#[derive(Debug, Default)]
struct Bench {
    model: Model,
    /// What each member must still bring to each other one.
    wanted: BTreeMap<(u32, u32), BTreeSet<u64>>,
    /// What each member believes of its links.
    up: BTreeMap<(u32, u32), bool>,
    /// Why strangers are not heard, as they know it.
    troubles: BTreeMap<(&'static str, u32), Option<Trouble>>,
    gauges: Gauges,
    /// No link may go down.
    strict: bool,
}

/// A handle on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    bench: Arc<Mutex<Bench>>,
    /// Chaos, calm, cut.
    phase: Arc<AtomicU8>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn convict(&self, symptom: &str, evidence: String) {
        self.lock().model.convict(symptom, evidence);
    }
}

/// Runs the scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let mut world = drawn.world(request);
    let shared = Shared::default();
    let nodes = drawn.nodes.max(2);
    let mut luck = Luck::new(request.seed, Domain::Named("links subject"));
    {
        let mut bench = shared.lock();
        for (from, to) in pairs(nodes) {
            let count = u64::from(drawn.shape.operations);
            bench.wanted.insert((from, to), (1..=count).collect());
        }
    }
    let secret = drawn.secret.then_some(SECRET);
    for node in 0..nodes {
        let shared = shared.clone();
        let boot =
            move |runtime: SimRuntime| supervise(runtime, shared.clone(), node, (nodes, secret));
        world.add(&format!("n{node}"), NodeOptions::default(), boot);
    }
    let copied = luck.range(0..u64::from(nodes)) as u32;
    let alien =
        Identity { cluster: ALIEN_CLUSTER, directory: Uuid([0xad; 16]), ..identity(copied) };
    let twin = Identity { directory: Uuid([0x77; 16]), ..identity(0) };
    let burglar = drawn.secret.then(|| ("burglar", identity(copied), Some(ANOTHER)));
    for (name, own, knows) in
        [("alien", alien, secret), ("twin", twin, secret)].into_iter().chain(burglar)
    {
        let (shared, all) = (shared.clone(), (nodes, knows));
        let boot = move |runtime: SimRuntime| stranger(runtime, shared.clone(), name, own, all);
        world.add(name, NodeOptions::default(), boot);
    }
    let known = shared.clone();
    world.add("mischief", NodeOptions::default(), move |runtime| {
        links_mischief::run(runtime, known.clone(), nodes)
    });
    world.start_all();
    world.play(&drawn.faults);
    let time = scenario.time;
    world.run_until(Duration::from_millis(time.chaos_ms));
    world.set_net(|net| {
        let well = NetOptions::default();
        net.latency = Latency::Fixed { us: 300 };
        (net.loss_per_million, net.window_bytes) = (well.loss_per_million, well.window_bytes);
    });
    settle(&mut world, time.chaos_ms, time.settle_ms + WELL_MS);
    shared.lock().strict = true;
    shared.phase.store(CALM, Ordering::Relaxed);
    world.run_for(Duration::from_millis(time.calm_ms + time.bound_ms));
    let burglar = drawn.secret.then(|| identity(copied).node);
    judge_calm(&shared, nodes, (alien.node, twin.node, burglar));
    // A twin is refused by those who have a link with n0, and they will not all have one.
    shared.phase.store(LAST, Ordering::Relaxed);
    world.run_for(RESTART * 4);
    judge_cut(&mut world, &shared, nodes);
    let bench = shared.lock();
    let (store, gauges) = (Some(bench.model.verdict()), bench.gauges.clone());
    drop(bench);
    (world, Evidence { store, gauges, ..Evidence::default() })
}

/// All ordered pairs of different members.
fn pairs(nodes: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to))).filter(|(a, b)| a != b)
}

fn judge_calm(
    shared: &Shared,
    nodes: u32,
    (alien, twin, burglar): (NodeId, NodeId, Option<NodeId>),
) {
    let mut bench = shared.lock();
    for (from, to) in pairs(nodes) {
        let left = bench.wanted.get(&(from, to)).map_or(0, BTreeSet::len);
        if left > 0 {
            let told = format!("{left} of n{from} for n{to}");
            bench.model.convict("something did not arrive though it was repeated", told);
        }
        if bench.up.get(&(from, to)) != Some(&true) {
            bench.model.convict("a link is not up on a good network", format!("n{from} to n{to}"));
        }
    }
    let expected = |to: u32| {
        [
            ("alien", alien, Refusal::AlienCluster { cluster: CLUSTER }),
            (
                "twin",
                twin,
                Refusal::TwoNodesWithOneId { node: twin, directory: identity(0).directory },
            ),
        ]
        .into_iter()
        .chain(burglar.map(|burglar| ("burglar", burglar, Refusal::Unproven)))
        .filter(move |(_, own, _)| member(*own) != to)
    };
    for to in 0..nodes {
        for (name, _, refusal) in expected(to) {
            let trouble = bench.troubles.get(&(name, to)).cloned().flatten();
            if trouble != Some(Trouble::Refused(refusal)) {
                let told = format!("the {name} at n{to}: {trouble:?} and not {refusal:?}");
                bench.model.convict("a stranger does not know why it is not heard", told);
            }
        }
    }
}

/// Two members lose each other, notice it, and find each other again.
fn judge_cut(world: &mut World, shared: &Shared, nodes: u32) {
    shared.lock().strict = false;
    let (one, other) = (world::NodeId(0), world::NodeId(1));
    world.cut_both(one, other);
    world.run_for(CUT);
    let claims = |shared: &Shared, up: bool| {
        let bench = shared.lock();
        let cut = pairs(2).filter(|pair| bench.up.get(pair) == Some(&up));
        cut.map(|(from, to)| format!("n{from} to n{to}")).collect::<Vec<_>>().join(", ")
    };
    let still = claims(shared, true);
    if !still.is_empty() {
        shared.convict("a link is up though nothing passes", still);
    }
    world.heal_both(one, other);
    world.run_for(CUT);
    let down = claims(shared, false);
    if !down.is_empty() {
        shared.convict("a link stays down on a healed network", format!("{down}, of {nodes}"));
    }
}

/// A member's lives, until its machine stops.
async fn supervise(
    runtime: SimRuntime,
    shared: Shared,
    node: u32,
    (nodes, secret): (u32, Option<&'static [u8]>),
) {
    let lives = async {
        loop {
            if let Some(mut life) = Life::begin(&runtime, &shared, node, (nodes, secret)).await {
                life.run().await;
            }
            runtime.clock().sleep_until(runtime.clock().now() + RESTART).await;
        }
    };
    race(runtime.stopped(), lives).await;
}

/// The members as a stranger or a member knows them.
fn members(runtime: &SimRuntime, nodes: u32) -> Vec<(NodeId, std::net::SocketAddr)> {
    let all =
        (0..nodes).map(|node| (identity(node).node, runtime.address(world::NodeId(node), PORT)));
    all.collect()
}

/// Bytes that follow from where they belong.
fn contents(lane: Lane, connection: u64, number: u64) -> Bytes {
    let mix = [lane.from.into(), lane.to.into(), lane.life.into(), connection, number]
        .into_iter()
        .fold(0x9e37_79b9_7f4a_7c15_u64, |mix, part: u64| {
            (mix ^ part).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29)
        });
    let len = if mix.is_multiple_of(16) { 3000 } else { mix % 300 } as usize;
    mix.to_le_bytes().into_iter().cycle().take(len).collect::<Vec<_>>().into()
}

fn said(group: GroupId, lane: Lane, connection: u64, number: u64, what: u64) -> Packet {
    let (prev, last) = (EntryId::new(connection, number), Index(what));
    let message = Message {
        from: ReplicaId(lane.from.into()),
        to: ReplicaId(lane.to.into()),
        term: Term(lane.life.into()),
        body: Body::Append { prev, last, commit: Index(0) },
    };
    let entries = contents(lane, connection, number);
    let entries = if entries.is_empty() { vec![] } else { vec![entries] };
    Packet::Raft { group, message, entries }
}

/// A running member.
struct Life {
    runtime: SimRuntime,
    shared: Shared,
    node: u32,
    nodes: u32,
    links: Links<SimRuntime>,
    told: Receiver<Incoming>,
    luck: crate::os::SimRng,
    /// Of each other member: connection, number in it, packets it did not take.
    said: BTreeMap<u32, (u64, u64, u64)>,
    up: BTreeSet<u32>,
}

impl Life {
    async fn begin(
        runtime: &SimRuntime,
        shared: &Shared,
        node: u32,
        (nodes, secret): (u32, Option<&[u8]>),
    ) -> Option<Self> {
        let at = runtime.address(runtime.node(), PORT);
        let listener = runtime.net().listen(at).await.ok()?;
        let (into, told) = queue(QUEUE);
        let options = LinkOptions { outbox_bytes: OUTBOX_BYTES, ..knowing(secret) };
        let (members, settings) = (members(runtime, nodes), Bytes::new());
        let setup = Setup { own: identity(node), members, options, settings };
        let mut bench = shared.lock();
        pairs(nodes).filter(|(from, _)| *from == node).for_each(|pair| {
            bench.up.insert(pair, false);
        });
        drop(bench);
        Some(Self {
            runtime: runtime.clone(),
            shared: shared.clone(),
            node,
            nodes,
            links: Links::start(runtime, setup, listener, into),
            told,
            luck: runtime.rng("app"),
            said: BTreeMap::new(),
            up: BTreeSet::new(),
        })
    }

    async fn run(&mut self) {
        let mut next = self.now();
        loop {
            let clock = self.runtime.clock().clone();
            match race(self.told.recv(), clock.sleep_until(next)).await {
                Either::Left(Ok(told)) => self.hear(told),
                Either::Left(Err(_gone)) => return,
                Either::Right(()) => {
                    self.talk();
                    next = self.now() + Duration::from_millis(self.luck.range(2..60));
                }
            }
            // A node that is busy with other things lets its queue fill.
            if self.luck.chance(1, 200) {
                mark!("links subject: a node did not listen for a while");
                let pause = Duration::from_millis(self.luck.range(1..120));
                clock.sleep_until(clock.now() + pause).await;
            }
        }
    }

    fn now(&self) -> Instant {
        self.runtime.clock().now()
    }

    fn lane(&self, to: u32) -> Lane {
        Lane { from: self.node, to, life: self.runtime.life() }
    }

    fn send(&mut self, to: u32, packet: impl FnOnce(u64, u64) -> (Packet, bool)) {
        let whom = identity(to).node;
        let Some(status) = self.links.status(whom) else { return };
        let lane = self.lane(to);
        let (connection, number, not_taken) = self.said.entry(to).or_default();
        if *connection != status.lives {
            (*connection, *number) = (status.lives, 0);
        }
        let (packet, counts) = packet(*connection, *number + 1);
        if self.links.send(&Envelope { to: whom, packet }) {
            *number += u64::from(counts);
        } else {
            *not_taken += 1;
        }
        let not_taken = *not_taken;
        let Some(status) = self.links.status(whom) else { return };
        let mut bench = self.shared.lock();
        bench.model.dropped(lane, status.dropped.saturating_sub(not_taken));
        let (waiting, most) = (status.waiting_bytes as u64, OUTBOX_BYTES as u64);
        bench.gauges.sample(self.node, "outbox bytes", waiting, most, most);
    }

    /// Says again what has not been answered.
    fn talk(&mut self) {
        // Now and then more than anybody can carry.
        let times = if self.luck.chance(1, 24) { 12 } else { 1 };
        let node = self.node;
        for to in (0..self.nodes).filter(|to| *to != node) {
            let wanted = self.shared.lock().wanted.get(&(self.node, to)).cloned();
            let wanted: Vec<u64> = wanted.unwrap_or_default().into_iter().take(12).collect();
            for what in wanted.into_iter().cycle().take(times * 12) {
                if times == 1 && self.luck.chance(1, 2) {
                    continue;
                }
                let lane = self.lane(to);
                self.send(to, |connection, number| {
                    (said(MEMBERS, lane, connection, number, what), true)
                });
            }
        }
    }

    fn hear(&mut self, told: Incoming) {
        match told {
            Incoming::Up(node) => {
                let to = member(node);
                if !self.up.insert(to) {
                    self.shared.convict("a link came up twice", format!("n{} to n{to}", self.node));
                }
                self.shared.lock().up.insert((self.node, to), true);
            }
            Incoming::Down(node) => {
                let (to, mut bench) = (member(node), self.shared.lock());
                let told = format!("n{} to n{to}", self.node);
                if !self.up.remove(&to) {
                    bench.model.convict("a link went down twice", told.clone());
                }
                if bench.strict {
                    bench.model.convict("a link went down though nothing was wrong", told);
                }
                bench.up.insert((self.node, to), false);
            }
            Incoming::Packet { from, packet } => self.hear_packet(member(from), packet),
            Incoming::Welcomed { .. } => {}
            Incoming::Greets(_) | Incoming::Outcast { .. } | Incoming::Request { .. } => {
                self.shared.convict("something was heard that nobody said", "a request".into());
            }
        }
    }

    fn hear_packet(&mut self, from: u32, packet: Packet) {
        let Packet::Raft { group, message, entries } = packet else {
            return self.shared.convict("something was heard that nobody said", String::new());
        };
        if group != MEMBERS {
            let told = format!("n{} heard it as n{from}", self.node);
            return self.shared.convict("a stranger was heard", told);
        }
        match message.body {
            Body::Append { prev, last, .. } => {
                let lane = Lane { from, to: self.node, life: message.term.0 as u32 };
                let (connection, number) = (prev.term.0, prev.index.0);
                let whole = said(MEMBERS, lane, connection, number, last.0);
                if (Packet::Raft { group, message, entries }) != whole {
                    let told = format!("n{} heard it from n{from}: {message:?}", self.node);
                    return self.shared.convict("something was altered on its way", told);
                }
                self.shared.lock().model.arrived(lane, connection, number);
                let body = Body::HeartbeatAck { round: Position(last.0) };
                let message =
                    Message { from: message.to, to: message.from, term: message.term, body };
                let answer = Packet::Raft { group, message, entries: vec![] };
                self.send(from, |_, _| (answer, false));
            }
            Body::HeartbeatAck { round } => {
                if let Some(wanted) = self.shared.lock().wanted.get_mut(&(self.node, from)) {
                    wanted.remove(&round.0);
                }
            }
            other => {
                self.shared.convict("something was heard that nobody said", format!("{other:?}"))
            }
        }
    }
}

/// Somebody who does not belong to the members and speaks all the same.
async fn stranger(
    runtime: SimRuntime,
    shared: Shared,
    name: &'static str,
    own: Identity,
    (nodes, secret): (u32, Option<&[u8]>),
) {
    let clock = runtime.clock().clone();
    let phase = || shared.phase.load(Ordering::Relaxed);
    while name == "twin" && phase() != CALM {
        clock.sleep_until(clock.now() + RESTART).await;
    }
    let at = runtime.address(runtime.node(), PORT);
    let Ok(listener) = runtime.net().listen(at).await else { return };
    let (into, _told) = queue::<Incoming>(QUEUE);
    let (members, options) = (members(&runtime, nodes), knowing(secret));
    let setup = Setup { own, members, options, settings: Bytes::new() };
    let links = Links::start(&runtime, setup, listener, into);
    let mut number = 0;
    while name != "twin" || phase() == CALM {
        for to in (0..nodes).filter(|to| identity(*to).node != own.node) {
            let whom = identity(to).node;
            number += 1;
            let lane = Lane { from: member(own.node), to, life: 1 };
            let packet = said(STRANGERS, lane, 1, number, number);
            links.send(&Envelope { to: whom, packet });
            let trouble = links.status(whom).and_then(|status| status.trouble);
            shared.lock().troubles.insert((name, to), trouble);
        }
        clock.sleep_until(clock.now() + RESTART).await;
    }
}
