//! A stage for stories: a cluster of whole nodes in the simulated world, and somebody to ask it.
//!
//! Not here: the stories.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Level, Op, Outcome, Reply},
    journal::format::FRAME_HEADER_BYTES,
    packet::{Envelope, Packet, SnapshotId},
    raft::{Moment, Raft, Role},
    runtime::{Clock, Handle, Runtime, Task, queue, race},
    shard::{Gauge, Inbound, Look, ShardOptions, Shown},
    types::{GroupId, NodeId as Member},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    node::{Cluster, Node, NodeOptions as Setup, Remote, Sizes, Watch},
    peer::proof::Secrets,
};
use trilith_sim::{
    atlas::Atlas,
    os::SimRuntime,
    subject::cluster::{address, number},
    world::{NodeId, NodeOptions, World, WorldOptions},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Which node leads, by its place in the world.
type Leader = Arc<Mutex<Option<u32>>>;

/// Which nodes may have forgotten a promise.
type Forgetful = Arc<Mutex<BTreeSet<u32>>>;

/// A hand on each node that has begun.
type Remotes = Arc<Mutex<BTreeMap<u32, Remote>>>;

/// The secrets that each node takes when it begins, if any.
pub(crate) type Known = Arc<Mutex<BTreeMap<u32, Secrets>>>;

/// What was beyond its limit, and how much of it there was at most.
type Beyond = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// A piece of a snapshot that was sent: by which node, of which sending, how far into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) node: u32,
    pub(crate) id: SnapshotId,
    pub(crate) offset: u64,
}

/// All of them, in order.
type Pieces = Arc<Mutex<Vec<Piece>>>;

/// Of which groups anybody said or did anything.
type Groups = Arc<Mutex<BTreeSet<GroupId>>>;

struct Seen {
    node: u32,
    leader: Leader,
    forgetful: Forgetful,
    groups: Groups,
    beyond: Beyond,
    pieces: Pieces,
}

/// Which groups a packet is about.
fn groups_of(packet: &Packet) -> Vec<GroupId> {
    match packet {
        Packet::Raft { group, .. }
        | Packet::Seat { group, .. }
        | Packet::Digest { group, .. }
        | Packet::ValueAsk { group, .. }
        | Packet::Value { group, .. } => vec![*group],
        Packet::Beats(beats) => beats.iter().map(|beat| beat.group).collect(),
        Packet::Chunk(chunk) => vec![chunk.id.group],
        Packet::ChunkAck(ack) => vec![ack.id.group],
        Packet::SnapshotAsk(ask) => vec![ask.group],
        Packet::Pace { .. } => Vec::new(),
    }
}

impl Watch for Seen {
    fn saw_packet(&mut self, envelope: &Envelope) {
        let groups = groups_of(&envelope.packet);
        self.groups.lock().expect("nobody panics with it").extend(groups);
        if let Packet::Chunk(chunk) = &envelope.packet {
            let piece = Piece { node: self.node, id: chunk.id, offset: chunk.offset };
            self.pieces.lock().expect("nobody panics with it").push(piece);
        }
    }

    fn saw_step(&mut self, group: GroupId, raft: &Raft) {
        self.groups.lock().expect("nobody panics with it").insert(group);
        if raft.role() == Role::Leader {
            *self.leader.lock().expect("nobody panics with it") = Some(self.node);
        }
        let mut forgetful = self.forgetful.lock().expect("nobody panics with it");
        if raft.remembers() {
            forgetful.remove(&self.node);
        } else {
            forgetful.insert(self.node);
        }
    }

    fn looks(&mut self, _now: Moment) -> Look {
        Look::Everything
    }

    fn saw_sizes(&mut self, sizes: &Sizes) {
        for Gauge { name, size, .. } in sizes.each().filter(|one| one.size.now > one.size.most) {
            let mut beyond = self.beyond.lock().expect("nobody panics with it");
            let most = beyond.entry(name).or_default();
            *most = size.now.max(*most);
        }
    }
}

/// A cluster of so many nodes and one group, and somebody to ask it.
pub(crate) struct Stage {
    pub(crate) world: World,
    nodes: u32,
    asker: NodeId,
    leader: Leader,
    forgetful: Forgetful,
    remotes: Remotes,
    groups: Groups,
    beyond: Beyond,
    pieces: Pieces,
    pub(crate) client: ClientOptions,
}

impl Stage {
    pub(crate) fn new(nodes: u32, shard: &ShardOptions) -> Self {
        Self::with(nodes, shard, WorldOptions::default())
    }

    pub(crate) fn with(nodes: u32, shard: &ShardOptions, options: WorldOptions) -> Self {
        Self::of_groups(1, nodes, shard, options)
    }

    pub(crate) fn of_groups(
        groups_max: u16,
        nodes: u32,
        shard: &ShardOptions,
        options: WorldOptions,
    ) -> Self {
        Self::of_those_who_know(&Known::default(), groups_max, nodes, shard, options)
    }

    pub(crate) fn of_those_who_know(
        known: &Known,
        groups_max: u16,
        nodes: u32,
        shard: &ShardOptions,
        options: WorldOptions,
    ) -> Self {
        let mut world = World::new(1, options);
        let (leader, forgetful) = (Leader::default(), Forgetful::default());
        let (remotes, groups) = (Remotes::default(), Groups::default());
        let (beyond, pieces) = (Beyond::default(), Pieces::default());
        for node in 0..nodes {
            let (leader, shard) = (Arc::clone(&leader), shard.clone());
            let forgetful = Arc::clone(&forgetful);
            let (remotes, groups) = (Arc::clone(&remotes), Arc::clone(&groups));
            let (beyond, pieces) = (Arc::clone(&beyond), Arc::clone(&pieces));
            let known = Arc::clone(known);
            world.add(&format!("node{node}"), NodeOptions::default(), move |runtime| {
                let (leader, forgetful) = (Arc::clone(&leader), Arc::clone(&forgetful));
                let (groups, beyond) = (Arc::clone(&groups), Arc::clone(&beyond));
                let pieces = Arc::clone(&pieces);
                let seen = Seen { node, leader, forgetful, groups, beyond, pieces };
                let (shard, remotes) = (shard.clone(), Arc::clone(&remotes));
                let secrets = known.lock().expect("nobody panics with it").get(&node).copied();
                async move {
                    let members = (0..nodes).map(|node| (number(node), address(node))).collect();
                    let cluster = Cluster::new("sim", members, groups_max).expect("it");
                    let mut setup = Setup { shard, ..Setup::new(number(node), cluster) };
                    setup.links.secrets = secrets;
                    let begun = Node::start(&runtime, setup, seen).await.expect("a node");
                    remotes.lock().expect("nobody panics with it").insert(node, begun.remote());
                    race(runtime.stopped(), begun.run()).await;
                }
            });
        }
        let asker = world.add("asker", NodeOptions::default(), |_| pending::<()>());
        world.start_all();
        world.run_for(3 * SECOND);
        let client = ClientOptions::default();
        Self { world, nodes, asker, leader, forgetful, remotes, groups, beyond, pieces, client }
    }

    pub(crate) fn leader(&self) -> u32 {
        self.leader.lock().expect("nobody panics with it").expect("somebody leads")
    }

    /// Asks these nodes for everything at once; what was answered within the time.
    pub(crate) fn ask(
        &mut self,
        nodes: &[u32],
        ops: Vec<Op>,
        within: Duration,
    ) -> Vec<Option<Outcome>> {
        self.ask_at(Level::Strong, nodes, ops, within)
    }

    pub(crate) fn ask_at(
        &mut self,
        level: Level,
        nodes: &[u32],
        ops: Vec<Op>,
        within: Duration,
    ) -> Vec<Option<Outcome>> {
        let nodes: Vec<_> = nodes.iter().map(|node| address(*node)).collect();
        let answers = Arc::new(Mutex::new(vec![None; ops.len()]));
        let (into, options) = (Arc::clone(&answers), self.client);
        self.world.run_on(self.asker, within + SECOND, |rt: SimRuntime| async move {
            let client = Arc::new(Client::start(&rt, &nodes, options));
            let open = Arc::new(AtomicUsize::new(ops.len()));
            for (nth, op) in ops.into_iter().enumerate() {
                let (client, into, open) = (client.clone(), into.clone(), open.clone());
                let call = async move {
                    let wish = Wish { level, staleness_ms: 0, within };
                    let outcome = client.call(op, wish).await.outcome;
                    into.lock().expect("nobody panics with it")[nth] = Some(outcome);
                    open.fetch_sub(1, Ordering::Relaxed);
                };
                rt.task().spawn("call", call).detach();
            }
            while open.load(Ordering::Relaxed) > 0 {
                rt.clock().sleep_until(rt.clock().now() + SECOND / 100).await;
            }
        });
        let answers = answers.lock().expect("nobody panics with it");
        answers.clone()
    }

    /// A packet reaches a node, as if another one had sent it.
    pub(crate) fn deliver(&mut self, from: Member, to: u32, packet: Packet) {
        self.tell(to, vec![Inbound::Packet { from, packet }]);
    }

    /// What was beyond its limit at any node, when a turn was over.
    pub(crate) fn beyond(&self) -> BTreeMap<&'static str, u64> {
        self.beyond.lock().expect("nobody panics with it").clone()
    }

    /// Things happen to a node, one right after the other.
    pub(crate) fn tell(&mut self, to: u32, all: Vec<Inbound>) {
        let remotes = self.remotes.lock().expect("nobody panics with it");
        let remote = remotes.get(&to).expect("it has begun").clone();
        drop(remotes);
        let told = self.world.run_on(self.asker, SECOND, |_| async move {
            for inbound in all {
                if !remote.tell(inbound).await {
                    return false;
                }
            }
            true
        });
        assert_eq!(told, Some(true), "node {to} has ended");
    }

    /// What a node shows of itself.
    pub(crate) fn shown(&mut self, node: u32) -> Box<Shown> {
        let (viewer, mut shown) = queue(1);
        self.tell(node, vec![Inbound::Shows(viewer)]);
        self.world.run_for(SECOND / 100);
        shown.pop().expect("it shows itself")
    }

    /// Of which groups anybody said or did anything since this was asked.
    pub(crate) fn groups(&mut self) -> BTreeSet<GroupId> {
        core::mem::take(&mut *self.groups.lock().expect("nobody panics with it"))
    }

    /// The pieces of snapshots that were sent so far.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        self.pieces.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn length(&mut self, key: &'static str) -> usize {
        let nodes: Vec<u32> = (0..self.nodes).collect();
        let get = Op::Get(Bytes::from_static(key.as_bytes()));
        match self.ask(&nodes, vec![get], 10 * SECOND).remove(0) {
            Some(Outcome::Ok(Reply::Value(Some(found)))) => found.value.len(),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Asks for one thing after the other: each of them has a frame of its own.
    pub(crate) fn ask_each(&mut self, nodes: &[u32], ops: Vec<Op>) {
        for op in ops {
            let answer = self.ask(nodes, vec![op], 10 * SECOND).remove(0);
            assert!(matches!(answer, Some(Outcome::Ok(_))), "{answer:?}");
        }
    }

    /// What one node has of a key, whatever the others have.
    pub(crate) fn glance(&mut self, node: u32, key: &str) -> Option<usize> {
        let get = Op::Get(Bytes::copy_from_slice(key.as_bytes()));
        match self.ask_at(Level::Eventual, &[node], vec![get], 10 * SECOND).remove(0) {
            Some(Outcome::Ok(Reply::Value(found))) => found.map(|found| found.value.len()),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Somebody takes all room that is left on these disks but so much.
    pub(crate) fn fill(&mut self, nodes: &[u32], left_bytes: u64) {
        for node in nodes {
            self.world.with_platter(NodeId(*node), |disk| {
                let used = disk.used();
                disk.set_capacity(used + left_bytes);
            });
        }
    }

    pub(crate) fn has_met(&self, mark: &str) -> bool {
        self.world.ledger().marks().contains_key(mark)
    }

    pub(crate) fn forgets(&self, node: u32) -> bool {
        self.forgetful.lock().expect("nobody panics with it").contains(&node)
    }

    /// A node loses its power, and its disk what it wrote last, with or without what it was called.
    pub(crate) fn lose_end(&mut self, node: u32, with_name: bool) {
        self.world.power_loss(NodeId(node));
        self.world.with_platter(NodeId(node), |disk| {
            let atlas = Atlas::of(disk).expect("a whole disk");
            let frames =
                atlas.frames.iter().filter(|frame| !frame.sealed && !frame.versions.is_empty());
            let last = frames.max_by_key(|frame| frame.at.header.first_lsn).expect("it wrote");
            // A seal would say that it had been durable.
            let behind = vec![0; 1 << 10];
            assert!(disk.overwrite(&last.file, last.at.end, &behind));
            let hit = if with_name { FRAME_HEADER_BYTES as u64 + 50 } else { 20 };
            assert!(disk.rot(&last.file, last.at.offset + hit, 3));
        });
    }

    /// The entry that a node wrote last cannot be read any more.
    pub(crate) fn hurt_last_entry(&mut self, node: u32) {
        self.world.with_platter(NodeId(node), |disk| {
            let atlas = Atlas::of(disk).expect("a whole disk");
            let frames =
                atlas.frames.iter().filter(|frame| frame.versions.iter().any(|one| *one > 0));
            let last = frames.max_by_key(|frame| frame.at.header.first_lsn).expect("it wrote");
            assert!(disk.rot(&last.file, last.at.offset + FRAME_HEADER_BYTES as u64 + 50, 3));
        });
    }

    /// A node without power for a moment.
    pub(crate) fn blink(&mut self, node: u32, then: Duration) {
        self.world.power_loss(NodeId(node));
        self.world.start(NodeId(node));
        self.world.run_for(then);
    }

    /// A node is cut off from the others.
    pub(crate) fn part(&mut self, node: u32) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.world.cut_both(NodeId(node), NodeId(other));
        }
    }

    /// The others can reach it again.
    pub(crate) fn join(&mut self, node: u32) {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.world.heal_both(NodeId(node), NodeId(other));
        }
    }

    pub(crate) fn assert_no_panic(&self) {
        let panics = self.world.panics();
        assert!(panics.is_empty(), "{panics:?}");
        let broken: Vec<&str> = self.world.ledger().broken().keys().map(|one| one.claim).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

pub(crate) fn set(key: String, value: Bytes) -> Op {
    let (expiry, condition) = (Expiry::None, Condition::Always);
    Op::Write(Command::Set { key: key.into(), value, expiry, condition, want_old: false })
}

pub(crate) fn append(key: &'static str, value: &'static str) -> Op {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    Op::Write(Command::Append { key, value })
}

/// A shard whose segments, and what it keeps, are small.
pub(crate) fn small() -> ShardOptions {
    let mut shard = ShardOptions {
        retain_bytes: 32 << 10,
        frame_bytes: 1 << 10,
        cache_bytes: 0,
        hot_bytes: 0,
        ..ShardOptions::default()
    };
    (shard.journal.first_segment_bytes, shard.journal.segment_bytes_max) = (16 << 10, 64 << 10);
    (shard.journal.manifest_bytes, shard.journal.reserve_bytes) = (8 << 10, 64 << 10);
    shard.compaction.dead_bytes_min = 16 << 10;
    shard
}

pub(crate) fn delete(key: String) -> Op {
    let condition = Condition::Always;
    Op::Write(Command::Delete { key: key.into(), condition, want_old: false })
}
