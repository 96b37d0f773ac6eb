//! N replicas, their disks, their clocks and the wire between them; nothing happens by itself.
//!
//! Everything is under the control of whoever holds the world: each message is delivered, repeated
//! or dropped by hand, each write reaches the disk when told, each clock moves when moved. A crash
//! keeps a prefix of the writes that were on their way, as one journal would.

use super::judge::Judge;
use crate::raft::*;
use crate::types::{GroupId, Index, ReplicaId, Term};
use core::hash::{Hash, Hasher};
use std::{
    collections::{BTreeMap, VecDeque},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Payload {
    None,
    Value(u64),
    Change(Change),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) payload: Payload,
}

/// What the state machine has become: enough to compare, and to start again from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) at: EntryId,
    pub(super) digest: u64,
    pub(super) membership: Membership,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    pub(super) hard: HardState,
    /// What it was before it was written last: as old as it can be when the journal's end is lost.
    pub(super) hard_before: HardState,
    /// The next write is said to be done, and is not.
    pub(super) swallows: bool,
    /// It said once that it had what it has not.
    pub(super) has_lied: bool,
    pub(super) base: EntryId,
    /// Each entry, and whether its payload is damaged.
    pub(super) entries: BTreeMap<u64, (Entry, bool)>,
    pub(super) state: State,
}

impl Disk {
    pub(super) fn id_at(&self, index: u64) -> Option<EntryId> {
        if index == self.base.index.0 {
            return Some(self.base);
        }
        let (entry, _) = self.entries.get(&index)?;
        Some(EntryId { term: entry.head.term, index: Index(index) })
    }
}

/// Something on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Write { write: Write, entries: Vec<Entry> },
    Install { at: EntryId, state: State },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Packet {
    pub(super) message: Message,
    pub(super) entries: Arc<[Entry]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: ReplicaId,
    pub(super) config: Config,
    pub(super) lives: u32,
    pub(super) now: u64,
    pub(super) raft: Option<Raft>,
    pub(super) cache: BTreeMap<u64, Entry>,
    pub(super) disk: Disk,
    pub(super) pending: VecDeque<Pending>,
    pub(super) state: State,
    /// Handed out and not applied.
    pub(super) to_apply: VecDeque<u64>,
    pub(super) holds_applies: bool,
    /// Its state cannot take the next entry.
    pub(super) is_stuck: bool,
    /// Reads by position, with what each must see.
    pub(super) reads: VecDeque<(Position, Index)>,
    pub(super) deadline: Option<Moment>,
    pub(super) coming: Option<State>,
    /// What it may have forgotten was promised up to this term, and no hard state says so yet.
    pub(super) forgot: Option<Term>,
}

impl Hash for Node {
    /// All but the number of the life, which names reads, and an exhaustive search has none.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { id, config, lives: _, now, raft, cache, disk, pending, state: at, .. } = self;
        (id, config, now, raft, cache, disk, pending, at).hash(state);
        let Self { to_apply, holds_applies, is_stuck, reads, deadline, coming, forgot, .. } = self;
        (to_apply, holds_applies, is_stuck, reads, deadline, coming, forgot).hash(state);
    }
}

impl Node {
    /// The cache follows the log, and what is to be written goes on its way.
    fn keep(&mut self, fx: &mut Effects, incoming: &[(u64, Entry)]) {
        let Some(raft) = &self.raft else { return };
        if let Some(write) = fx.write.take() {
            if write.cut {
                self.cache.retain(|index, _| *index < write.first.0);
            }
            let mut entries = Vec::new();
            for index in write.first.0..=write.last.0 {
                let given = incoming.iter().find(|(at, _)| *at == index);
                let head = raft.log().head(Index(index)).expect("what is written is in the log");
                let entry = match given {
                    Some((_, entry)) => entry.clone(),
                    None => Entry { head, payload: Payload::None },
                };
                assert_eq!(entry.head, head, "entry {index} is what the log says");
                self.cache.insert(index, entry.clone());
                entries.push(entry);
            }
            self.pending.push_back(Pending::Write { write, entries });
        }
        let (base, last) = (raft.log().base().index.0, raft.log().last().index.0);
        self.cache.retain(|index, _| *index > base && *index <= last);
    }
}

/// Only the memory disk of this world has it.
struct Synced;
impl Durable for Synced {}

#[derive(Clone, Debug)]
pub(super) struct World {
    /// Shared between the states of a search that differ elsewhere; see [`World::node`].
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) wire: VecDeque<Packet>,
    /// Who wants a snapshot sent to whom.
    pub(super) wanted: Vec<(ReplicaId, ReplicaId)>,
    pub(super) judge: Judge,
    pub(super) trace: Option<Vec<String>>,
    pub(super) luck: u64,
    /// What became of the last proposal or request.
    pub(super) answer: Option<Refusal>,
}

pub(super) const GENESIS: EntryId = EntryId::new(1, 1);

fn mix(digest: u64, entry: &Entry) -> u64 {
    let value = match &entry.payload {
        Payload::None => 1,
        Payload::Value(value) => value.wrapping_add(2),
        Payload::Change(_) => 0,
    };
    let word = digest ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ entry.head.term.0;
    word.rotate_left(23).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

impl World {
    pub(super) fn new(voters: u64, config: Config) -> Self {
        let ids: Vec<ReplicaId> = (1..=voters).map(ReplicaId).collect();
        let mut world = Self {
            nodes: Vec::new(),
            wire: VecDeque::new(),
            wanted: Vec::new(),
            judge: Judge::default(),
            trace: None,
            luck: 0,
            answer: None,
        };
        for id in &ids {
            world.add(*id, config, GENESIS, Membership::of_voters(&ids));
        }
        world
    }

    /// A replica with an empty directory: a founder, or one that joins.
    pub(super) fn add(&mut self, id: ReplicaId, config: Config, base: EntryId, of: Membership) {
        let state = State { at: base, digest: 0, membership: of };
        let hard = HardState { term: base.term, ..HardState::default() };
        let disk = Disk {
            hard,
            hard_before: hard,
            swallows: false,
            has_lied: false,
            base,
            entries: BTreeMap::new(),
            state: state.clone(),
        };
        let now = self.nodes.first().map_or(0, |node| node.now);
        self.nodes.push(Arc::new(Node {
            id,
            config,
            lives: 0,
            now,
            raft: None,
            cache: BTreeMap::new(),
            disk,
            pending: VecDeque::new(),
            state,
            to_apply: VecDeque::new(),
            holds_applies: false,
            is_stuck: false,
            reads: VecDeque::new(),
            deadline: None,
            coming: None,
            forgot: None,
        }));
        self.boot(self.nodes.len() - 1);
    }

    /// One node, to be changed: in no other world.
    pub(super) fn node(&mut self, at: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[at])
    }

    pub(super) fn slot(&self, id: ReplicaId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn draw(&mut self) -> u64 {
        // A plain counter through a mixer: the world's own luck, the same every time.
        if self.luck == 0 {
            return 0;
        }
        self.luck = self.luck.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.luck ^ self.luck >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word ^ word >> 29
    }

    pub(super) fn boot(&mut self, at: usize) {
        let luck = self.draw();
        let node = Arc::make_mut(&mut self.nodes[at]);
        node.lives += 1;
        let heads: Vec<Head> = node.disk.entries.values().map(|(entry, _)| entry.head).collect();
        let damaged = node.disk.entries.iter().filter(|(_, (_, bad))| *bad);
        let faulty: Vec<Index> = damaged.map(|(index, _)| Index(*index)).collect();
        let boot = Boot {
            group: GroupId(1),
            id: node.id,
            incarnation: node.lives,
            config: node.config,
            hard: HardState { forgot: node.disk.hard.forgot.max(node.forgot), ..node.disk.hard },
            base: node.disk.base,
            heads: &heads,
            faulty: &faulty,
            applied: node.disk.state.at.index,
            membership: node.disk.state.membership.clone(),
        };
        let raft = Raft::boot(boot, Moment(node.now), luck).expect("a disk of this world boots");
        node.state = node.disk.state.clone();
        node.cache =
            node.disk.entries.iter().map(|(at, (entry, _))| (*at, entry.clone())).collect();
        self.judge.life(at, &raft);
        node.raft = Some(raft);
        node.deadline = Some(Moment(node.now));
    }

    /// The power goes: the first `kept` of the writes on their way survive.
    pub(super) fn crash(&mut self, at: usize, kept: usize) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        for _ in 0..kept.min(node.pending.len()) {
            let Some(pending) = node.pending.pop_front() else { break };
            land(node, &pending);
        }
        let node = Arc::make_mut(&mut self.nodes[at]);
        node.pending.clear();
        node.raft = None;
        node.to_apply.clear();
        node.reads.clear();
        node.coming = None;
        node.deadline = None;
        let id = node.id;
        self.wanted.retain(|(from, _)| *from != id);
    }

    /// The end of a node's journal is lost: every entry from `from` on that the state has not taken,
    /// and, or else they would be there, the newest term and vote if `hard`. Whoever reads the disk
    /// knows that nothing was promised in a term beyond the true one and `margin`.
    pub(super) fn lose(&mut self, at: usize, from: u64, hard: bool, margin: u64) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        let disk = &mut node.disk;
        let until = Term(disk.hard.term.0 + margin);
        node.forgot = node.forgot.max(Some(until));
        let from = from.max(disk.state.at.index.0 + 1);
        disk.entries.retain(|index, _| *index < from);
        if !hard {
            return;
        }
        let taken = disk.state.at.term.max(disk.base.term);
        let before = disk.hard_before;
        if before.term < taken {
            return;
        }
        disk.hard = before;
        let newer = disk.entries.iter().find(|(_, (entry, _))| entry.head.term > before.term);
        if let Some(first) = newer.map(|(index, _)| *index) {
            disk.entries.retain(|index, _| *index < first);
        }
    }

    /// One input to one replica, and everything that comes of it but time, wire and disk.
    pub(super) fn step(&mut self, at: usize, input: Input<'_>, incoming: &[(u64, Entry)]) -> bool {
        let luck = self.draw();
        let node = Arc::make_mut(&mut self.nodes[at]);
        let Some(raft) = &mut node.raft else { return false };
        let mut fx = Effects::default();
        raft.step(Moment(node.now), luck, input, &mut fx);
        self.absorb(at, fx, incoming);
        true
    }

    fn absorb(&mut self, at: usize, mut fx: Effects, incoming: &[(u64, Entry)]) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        let id = node.id;
        node.deadline = fx.deadline;
        node.keep(&mut fx, incoming);
        for message in fx.send.drain(..) {
            let range = match message.body {
                Body::Append { prev, last, .. } => prev.index.0 + 1..last.0 + 1,
                Body::Repair { id } => id.index.0..id.index.0 + 1,
                _ => 0..0,
            };
            self.judge.said(node, &message);
            let entries = range.map(|index| node.cache[&index].clone()).collect();
            self.wire.push_back(Packet { message, entries });
        }
        if let Some(position) = fx.read {
            node.reads.push_back((position, Index(0)));
        }
        if let Some((first, last)) = fx.committed {
            node.to_apply.extend(first.0..=last.0);
        }
        let refused = fx.proposed.and_then(|proposed| proposed.refused).or(fx.refused);
        self.answer = refused;
        if let Some(refusal) = refused {
            self.say(|| format!("{id}: refused: {refusal}"));
        }
        if let Some(role) = fx.role {
            let term = self.nodes[at].raft.as_ref().map_or(Term(0), Raft::term);
            self.say(|| format!("{id}: {role} in term {term}"));
        }
        for to in fx.snapshots.drain(..) {
            self.say(|| format!("{id}: {to} needs a snapshot"));
            self.wanted.push((id, to));
        }
        if let Some(install) = fx.install {
            let state = self.node(at).coming.take().expect("only what arrived is installed");
            self.say(|| format!("{id}: installs {install}"));
            self.node(at).pending.push_back(Pending::Install { at: install, state });
        }
        if fx.read.is_some() {
            let floor = self.judge.floor();
            if let Some(read) = Arc::make_mut(&mut self.nodes[at]).reads.back_mut() {
                read.1 = floor;
            }
        }
        if let Some(ready) = fx.reads {
            self.say(|| format!("{id}: reads see {}", ready.index));
            let node = Arc::make_mut(&mut self.nodes[at]);
            while let Some((_, floor)) = node.reads.pop_front_if(|(at, _)| *at <= ready.upto) {
                self.judge.read(id, ready.index, floor);
            }
        }
        self.judge.look(&self.nodes, at);
        if !self.nodes[at].holds_applies {
            while self.apply(at) {}
        }
    }

    /// The state machine takes one entry.
    pub(super) fn apply(&mut self, at: usize) -> bool {
        let node = Arc::make_mut(&mut self.nodes[at]);
        if node.is_stuck {
            return false;
        }
        let Some(index) = node.to_apply.pop_front() else { return false };
        if index <= node.state.at.index.0 {
            return true;
        }
        let entry = node.cache[&index].clone();
        let id = EntryId { term: entry.head.term, index: Index(index) };
        node.state.at = id;
        node.state.digest = mix(node.state.digest, &entry);
        let replica = node.id;
        self.judge.applied(replica, index, &entry);
        self.say(|| format!("{replica}: applies {id}{}", shown(&entry)));
        let change = match &entry.payload {
            Payload::Change(change) => Some(change),
            Payload::None | Payload::Value(_) => None,
        };
        let upto = Index(index);
        if entry.head.kind.is_membership() {
            // What this commits is applied after it.
            let holds = core::mem::replace(&mut self.node(at).holds_applies, true);
            self.step(at, Input::ChangeApplied { index: upto, change }, &[]);
            let node = Arc::make_mut(&mut self.nodes[at]);
            node.holds_applies = holds;
            if let Some(raft) = &node.raft {
                node.state.membership = raft.membership().clone();
                self.judge.members(replica, index, raft.membership());
                let shown = raft.membership().to_string();
                self.say(|| format!("{replica}: members are {shown}"));
            }
        }
        self.step(at, Input::Applied { upto }, &[]);
        true
    }

    /// The oldest write of a node reaches its disk, and the core hears of it if `told`.
    pub(super) fn persist(&mut self, at: usize, told: bool) -> bool {
        let node = Arc::make_mut(&mut self.nodes[at]);
        let Some(pending) = node.pending.pop_front() else { return false };
        land(node, &pending);
        let id = node.id;
        match pending {
            Pending::Write { write, entries } => {
                let (first, last) = (write.first, write.last);
                let verb = if write.cut { "cuts and stores" } else { "stores" };
                let hard = write.hard;
                self.say(|| {
                    let entries = if entries.is_empty() && !write.cut {
                        String::new()
                    } else {
                        format!(" {verb} {first}..{last}")
                    };
                    let vote =
                        |hard: HardState| hard.vote.map_or(String::new(), |v| format!(" vote {v}"));
                    let hard = hard.map_or(String::new(), |h| {
                        format!(" term {}{} commit {}", h.term, vote(h), h.commit)
                    });
                    format!("{id}: disk has{hard}{entries}")
                });
                if told {
                    self.step(at, Input::Persisted(write.persisted(&Synced)), &[]);
                }
            }
            Pending::Install { at: id, state } => {
                let node = Arc::make_mut(&mut self.nodes[at]);
                node.to_apply.retain(|index| *index > id.index.0);
                let is_news = id.index > node.state.at.index;
                if is_news {
                    node.state = state;
                    node.is_stuck = false;
                }
                self.step(at, Input::SnapshotInstalled { at: id }, &[]);
                if is_news {
                    self.agree_on_members(at);
                }
            }
        }
        true
    }

    /// A core that was given a snapshot knows the members that the snapshot says.
    fn agree_on_members(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(raft) = node.raft.as_ref().filter(|raft| raft.applied() == node.state.at.index)
        else {
            return;
        };
        let told = &node.state.membership;
        if raft.membership() != told {
            let text = format!("{} was told {told} and knows {}", node.id, raft.membership());
            self.judge.refuse(format!("same members: {text}"));
        }
    }

    /// The snapshot that a node installs finds no room.
    pub(super) fn abandon(&mut self, at: usize) {
        let pending = &mut self.node(at).pending;
        let is_install = |pending: &Pending| matches!(pending, Pending::Install { .. });
        let found = pending.iter().position(is_install).and_then(|found| pending.remove(found));
        let Some(Pending::Install { at: snapshot, .. }) = found else { return };
        let id = self.nodes[at].id;
        self.say(|| format!("{id}: has no room for {snapshot}"));
        self.step(at, Input::SnapshotAbandoned { at: snapshot }, &[]);
    }

    /// A node's state lacks what its next entry must see, and goes on saying so.
    pub(super) fn stick(&mut self, at: usize) {
        self.node(at).is_stuck = true;
        self.step(at, Input::Stuck, &[]);
    }

    /// A node's replica is another one from now on.
    pub(super) fn rename(&mut self, at: usize, id: ReplicaId) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        node.id = node.id.max(id);
        self.step(at, Input::Named { id }, &[]);
    }

    /// Delivers a packet to whom it is for, if that one lives.
    pub(super) fn deliver(&mut self, packet: &Packet) {
        let Some(at) = self.slot(packet.message.to) else { return };
        if self.nodes[at].raft.is_none() {
            return;
        }
        self.say(|| shown_message(&packet.message));
        let heads: Vec<Head> = packet.entries.iter().map(|entry| entry.head).collect();
        let first = match packet.message.body {
            Body::Append { prev, .. } => prev.index.0 + 1,
            Body::Repair { id } => id.index.0,
            _ => 0,
        };
        let incoming: Vec<(u64, Entry)> = (first..).zip(packet.entries.iter().cloned()).collect();
        self.step(at, Input::Message { message: packet.message, heads: &heads }, &incoming);
    }

    pub(super) fn propose(&mut self, at: usize, values: &[(u64, u32)]) {
        let Some(raft) = &self.nodes[at].raft else { return };
        let (first, term) = (raft.log().last().index.0 + 1, raft.term());
        let entry = |(value, bytes): &(u64, u32)| Entry {
            head: Head { term, kind: Kind::Normal, bytes: *bytes },
            payload: Payload::Value(*value),
        };
        let incoming: Vec<(u64, Entry)> = (first..).zip(values.iter().map(entry)).collect();
        let sizes: Vec<u32> = values.iter().map(|(_, bytes)| *bytes).collect();
        self.step(at, Input::Propose { sizes: &sizes }, &incoming);
    }

    pub(super) fn change(&mut self, at: usize, change: &Change, bytes: u32) {
        let Some(raft) = &self.nodes[at].raft else { return };
        let (first, term) = (raft.log().last().index.0 + 1, raft.term());
        let head = Head { term, kind: Kind::Change, bytes };
        let entry = Entry { head, payload: Payload::Change(change.clone()) };
        self.step(at, Input::ProposeChange { change, bytes }, &[(first, entry)]);
    }

    /// A node's state becomes its snapshot, and its log forgets what that covers.
    pub(super) fn compact(&mut self, at: usize, upto: u64) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        let upto = upto.min(node.state.at.index.0);
        let Some(base) = node.disk.id_at(upto).filter(|id| id.index > node.disk.base.index) else {
            return;
        };
        node.disk.state = node.state.clone();
        node.disk.base = base;
        node.disk.entries.retain(|index, _| *index > upto);
        self.step(at, Input::Compacted { upto: Index(upto) }, &[]);
    }

    /// A snapshot of one node's state reaches another.
    pub(super) fn send_snapshot(&mut self, from: usize, to: usize) {
        let state = self.nodes[from].state.clone();
        if self.nodes[to].raft.is_none() || state.at.index.0 == 0 {
            return;
        }
        let (at, id) = (state.at, self.nodes[to].id);
        let source = self.nodes[from].id;
        self.say(|| format!("{source}->{id} snapshot of {at}"));
        let membership = state.membership.clone();
        if self.nodes[to].coming.is_none()
            && self.nodes[to].raft.as_ref().is_some_and(|raft| raft.installing().is_none())
        {
            self.node(to).coming = Some(state);
        }
        self.step(to, Input::SnapshotArrived { at, membership: &membership }, &[]);
        if self.nodes[to].raft.as_ref().is_some_and(|raft| raft.installing().is_none()) {
            self.node(to).coming = None;
        }
    }

    /// Damages the stored payload of an entry, and lets its node find out if it lives.
    pub(super) fn damage(&mut self, at: usize, index: u64) {
        let node = Arc::make_mut(&mut self.nodes[at]);
        if let Some((_, bad)) = node.disk.entries.get_mut(&index) {
            *bad = true;
            self.step(at, Input::Faulty { index: Index(index) }, &[]);
        }
    }

    /// Moves one node's clock, and comes back to it if something is due.
    pub(super) fn wait(&mut self, at: usize, nanos: u64) {
        self.node(at).now += nanos;
        let node = &self.nodes[at];
        if node.deadline.is_some_and(|due| due.0 <= node.now) {
            self.step(at, Input::Due, &[]);
        }
    }
}

/// What a write or an install does to a disk.
fn land(node: &mut Node, pending: &Pending) {
    let disk = &mut node.disk;
    if core::mem::take(&mut disk.swallows) {
        disk.has_lied = true;
        return;
    }
    match pending {
        Pending::Write { write, entries } => {
            if let Some(hard) = write.hard {
                assert!(hard.term >= disk.hard.term, "the stored term never falls");
                disk.hard_before = disk.hard;
                disk.hard = hard;
                node.forgot = None;
            }
            if write.cut {
                disk.entries.retain(|index, _| *index < write.first.0);
            }
            for (index, entry) in (write.first.0..).zip(entries) {
                if index > disk.base.index.0 {
                    disk.entries.insert(index, (entry.clone(), false));
                }
            }
        }
        Pending::Install { at, .. } if at.index <= disk.base.index => {}
        Pending::Install { at, state } => {
            if disk.id_at(at.index.0) == Some(*at) {
                disk.entries.retain(|index, _| *index > at.index.0);
            } else {
                disk.entries.clear();
            }
            disk.base = *at;
            disk.state = state.clone();
            disk.hard.term = disk.hard.term.max(at.term);
        }
    }
    let indices: Vec<u64> = disk.entries.keys().copied().collect();
    let expected: Vec<u64> = (disk.base.index.0 + 1..).take(indices.len()).collect();
    assert_eq!(indices, expected, "{}: the stored log has no gap", node.id);
}

fn shown(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Value(value) => format!(" {value}"),
        Payload::Change(change) => format!(" {:?}", change.steps),
        Payload::None if entry.head.kind == Kind::Leave => " leave".to_string(),
        Payload::None => String::new(),
    }
}

pub(super) fn shown_message(message: &Message) -> String {
    let Message { from, to, term, body } = message;
    let body = match body {
        Body::PreVote { last } => format!("PreVote {last}"),
        Body::PreVoteReply { granted: true, .. } => "PreVoteReply yes".to_string(),
        Body::PreVoteReply { granted: false, .. } => "PreVoteReply no".to_string(),
        Body::Vote { last, forced } => {
            format!("Vote {last}{}", if *forced { " forced" } else { "" })
        }
        Body::VoteReply { granted: true } => "VoteReply yes".to_string(),
        Body::VoteReply { granted: false } => "VoteReply no".to_string(),
        Body::Append { prev, last, commit } if *last == prev.index => {
            format!("Append {prev} + nothing, commit {commit}")
        }
        Body::Append { prev, last, commit } => {
            format!("Append {prev} + {}..{last}, commit {commit}", prev.index.0 + 1)
        }
        Body::AppendAck { matched } => format!("AppendAck {matched}"),
        Body::AppendReject { at, hint, damaged } => {
            format!("AppendReject at {at}, hint {hint}{}", if *damaged { ", damaged" } else { "" })
        }
        Body::Heartbeat { commit, round, quiet } => {
            let quiet = if *quiet { ", quiet" } else { "" };
            format!("Heartbeat commit {commit}, round {}{quiet}", round.0)
        }
        Body::HeartbeatAck { round } => format!("HeartbeatAck round {}", round.0),
        Body::Commit { commit } => format!("Commit {commit}"),
        Body::Deposed => "Deposed".to_string(),
        Body::TimeoutNow { is_free: true } => "TimeoutNow".to_string(),
        Body::TimeoutNow { is_free: false } => "TimeoutNow, a lease may hold".to_string(),
        Body::ReadAsk { position } => format!("ReadAsk {}", position.0 & 0xffff_ffff),
        Body::ReadAnswer { position, index } => {
            format!("ReadAnswer {} at {index}", position.0 & 0xffff_ffff)
        }
        Body::RepairAsk { id } => format!("RepairAsk {id}"),
        Body::Repair { id } => format!("Repair {id}"),
        Body::NeverHad { id } => format!("NeverHad {id}"),
        Body::Committed { id } => format!("Committed {id}"),
    };
    format!("{from}->{to} t{term} {body}")
}
