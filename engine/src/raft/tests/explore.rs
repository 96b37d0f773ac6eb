//! Every state of a small group, within a bound.
//!
//! Three replicas, and in every state everything that can happen next: each message on the wire is
//! delivered, now or later or never (loss and reordering in one) or not for the last time
//! (repetition), each disk completes its oldest write, each replica grows impatient, each leader is
//! given an entry, each replica loses its power with any part of its unsynced writes. The wire holds
//! so many messages; of more, any may be the ones that are lost.
//! Time stands still: with timeouts of zero everybody may campaign at any moment, which is more
//! than any clock allows.
//!
//! The bound is on terms, on the entries of clients and the changes of members that a log has, on
//! crashes, repetitions and messages; within it, every reachable state is judged, and their number is
//! printed with the time. `trilith-sim explore` goes further than `cargo test` does.
//!
//! Not here: clocks, reads, snapshots, damage (`walk`).

use super::world::{Packet, World};
use crate::raft::*;
use crate::types::Index;
use alloc::sync::Arc;
use core::{fmt, hash::Hash, hash::Hasher, time::Duration};
use std::{
    collections::{BTreeSet, VecDeque},
    format,
    rc::Rc,
    string::String,
    vec::Vec,
};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The newest term. The group is founded in the first.
    pub terms: u64,
    /// Entries of clients in one log.
    pub entries: usize,
    /// Changes of the members in one log: somebody is removed.
    pub changes: usize,
    /// Crashes, of whomever.
    pub crashes: u32,
    /// Messages that come again.
    pub repeats: u32,
    /// Messages on their way at once.
    pub messages: usize,
    /// States after which it gives up.
    pub states: usize,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { terms, entries, changes, crashes, repeats, messages, states: _ } = self;
        write!(
            f,
            "3 replicas, {terms} terms, {entries} entries, {changes} changes of members, {crashes} \
             crashes, {repeats} messages repeated, {messages} on their way"
        )
    }
}

/// What every test run visits: an election and what its leader does, with a crash anywhere in it,
/// with a message that comes again, with somebody removed, and with one entry more.
pub const VISITED: [Bound; 4] = [
    Bound {
        terms: 2,
        entries: 1,
        changes: 0,
        crashes: 1,
        repeats: 0,
        messages: 1,
        states: 200_000,
    },
    Bound {
        terms: 2,
        entries: 1,
        changes: 0,
        crashes: 0,
        repeats: 1,
        messages: 1,
        states: 100_000,
    },
    Bound {
        terms: 2,
        entries: 0,
        changes: 1,
        crashes: 0,
        repeats: 0,
        messages: 1,
        states: 200_000,
    },
    Bound {
        terms: 2,
        entries: 2,
        changes: 0,
        crashes: 0,
        repeats: 0,
        messages: 1,
        states: 200_000,
    },
];

/// What a search has seen.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Whether that is all of them.
    pub is_whole: bool,
    /// The first broken law, and the way to it.
    pub broken: Option<(String, Vec<String>)>,
}

/// The print of each node, and of everything.
type Prints = ([(u64, u64); 3], (u64, u64));

#[derive(Clone)]
struct Visit {
    world: World,
    crashes: u32,
    repeats: u32,
    prints: Prints,
    path: Option<Rc<Path>>,
}

/// What happened last, and all that happened before.
struct Path(String, Option<Rc<Self>>);

fn told(mut path: Option<&Rc<Path>>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(step) = path {
        all.push(step.0.clone());
        path = step.1.as_ref();
    }
    all.reverse();
    all
}

/// FNV-1a, twice with different seeds: 128 bits, so that two states are never taken for one.
struct Print(u64, u64);

impl Hasher for Print {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            self.1 =
                (self.1 ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        }
    }
}

fn print_of(what: &impl Hash) -> (u64, u64) {
    let mut print = Print(0xcbf2_9ce4_8422_2325, 0x1234_5678_9abc_def1);
    what.hash(&mut print);
    (print.0, print.1)
}

/// Most nodes are the very ones of the state before.
fn prints(world: &World, spent: (u32, u32), before: Option<&Visit>) -> Prints {
    let mut nodes = [(0, 0); 3];
    for (at, node) in world.nodes.iter().enumerate() {
        let same = before.filter(|visit| Arc::ptr_eq(&visit.world.nodes[at], node));
        nodes[at] = same.map_or_else(|| print_of(&**node), |visit| visit.prints.0[at]);
    }
    let wire: BTreeSet<Message> = world.wire.iter().map(|packet| packet.message).collect();
    (nodes, print_of(&(nodes, wire, spent)))
}

fn config() -> Config {
    Config {
        heartbeat: Duration::ZERO,
        election: Duration::ZERO,
        quiet_after: None,
        hasty: false,
        // Time stands still.
        lease: LeaseConfig { duration: Duration::ZERO, drift_ppm_max: 0 },
        ..Config::default()
    }
}

/// The wire is a set: what is on it stays, whatever is said twice is there once.
fn gather(world: &mut World) {
    let mut seen: BTreeSet<Message> = BTreeSet::new();
    world.wire.retain(|packet| seen.insert(packet.message));
    let mut wire: Vec<Packet> = world.wire.drain(..).collect();
    wire.sort_by_key(|packet| packet.message);
    // What its receiver would not even look at need not be kept.
    let terms: Vec<_> = world.nodes.iter().map(|node| node.raft.as_ref().map(Raft::term)).collect();
    let late = |packet: &Packet| {
        let at = world.nodes.iter().position(|node| node.id == packet.message.to);
        let term = at.and_then(|at| terms[at]);
        let pre = matches!(packet.message.body, Body::PreVote { .. } | Body::PreVoteReply { .. });
        !pre && term.is_some_and(|term| packet.message.term < term)
    };
    wire.retain(|packet| !late(packet));
    world.wire = wire.into();
}

/// Every way to lose as many messages as are too many: from this one on, those before stay.
fn lose(world: World, most: usize, from: usize, left: &mut dyn FnMut(World)) {
    if world.wire.len() <= most {
        return left(world);
    }
    for at in from..world.wire.len() {
        let mut world = world.clone();
        world.wire.remove(at);
        lose(world, most, at, left);
    }
}

/// What comes next of one state.
struct Next<'a> {
    visit: &'a Visit,
    bound: Bound,
    found: Vec<Visit>,
}

impl Next<'_> {
    fn push(&mut self, mut world: World, spent: (u32, u32), what: &dyn Fn() -> String) {
        gather(&mut world);
        let path = Some(Rc::new(Path(what(), self.visit.path.clone())));
        let (visit, found) = (self.visit, &mut self.found);
        lose(world, self.bound.messages, 0, &mut |world| {
            let prints = prints(&world, spent, Some(visit));
            let (crashes, repeats) = spent;
            found.push(Visit { world, crashes, repeats, prints, path: path.clone() });
        });
    }

    fn messages(&mut self) {
        let visit = self.visit;
        let spent = (visit.crashes, visit.repeats);
        for (at, packet) in visit.world.wire.iter().enumerate() {
            let shown = || super::world::shown_message(&packet.message);
            let mut world = visit.world.clone();
            world.wire.remove(at);
            world.deliver(packet);
            self.push(world, spent, &shown);
            if visit.repeats < self.bound.repeats {
                let mut world = visit.world.clone();
                world.deliver(packet);
                let again = || format!("{} (comes again)", shown());
                self.push(world, (visit.crashes, visit.repeats + 1), &again);
            }
        }
    }

    fn of_node(&mut self, at: usize) {
        let (visit, bound) = (self.visit, self.bound);
        let spent = (visit.crashes, visit.repeats);
        let node = &visit.world.nodes[at];
        let id = node.id;
        let Some(raft) = &node.raft else { return };
        if !node.pending.is_empty() {
            let mut world = visit.world.clone();
            world.persist(at, true);
            self.push(world, spent, &|| format!("{id} persists"));
        }
        // In the beginning all are alike: whoever is first is called 1.
        let may_be_first = visit.path.is_some() || at == 0;
        if raft.role() != Role::Leader && raft.term().0 < bound.terms && may_be_first {
            let mut world = visit.world.clone();
            world.step(at, Input::Due, &[]);
            self.push(world, spent, &|| format!("{id} is impatient"));
        }
        if raft.role() == Role::Leader {
            self.of_leader(at, raft);
        }
        if visit.crashes < bound.crashes {
            for kept in 0..=node.pending.len() {
                let mut world = visit.world.clone();
                world.crash(at, kept);
                world.boot(at);
                let spent = (visit.crashes + 1, visit.repeats);
                self.push(world, spent, &|| format!("{id} crashes, {kept} writes kept"));
            }
        }
    }

    fn of_leader(&mut self, at: usize, raft: &Raft) {
        let (visit, id) = (self.visit, raft.id());
        let spent = (visit.crashes, visit.repeats);
        let log = raft.log();
        let count = |kind| {
            let live = log.base().index.0 + 1..=log.last().index.0;
            live.filter(|index| log.head(Index(*index)).is_some_and(|h| h.kind == kind)).count()
        };
        let entries = count(Kind::Normal);
        if entries < self.bound.entries {
            let mut world = visit.world.clone();
            world.propose(at, &[(raft.term().0 * 10 + entries as u64, 1)]);
            self.push(world, spent, &|| format!("{id} proposes"));
        }
        if count(Kind::Change) < self.bound.changes {
            for gone in raft.membership().voters() {
                let mut world = visit.world.clone();
                let steps = [Step::Remove(*gone)].to_vec();
                world.change(at, &Change { steps, leaves_alone: true }, 0);
                if world.answer.is_none() {
                    self.push(world, spent, &|| format!("{id} removes {gone}"));
                }
            }
        }
    }
}

/// Visits every state within the bound.
#[must_use]
pub fn explore(bound: Bound) -> Explored {
    let world = World::new(3, config());
    let prints = prints(&world, (0, 0), None);
    let first = Visit { world, crashes: 0, repeats: 0, prints, path: None };
    let mut seen = BTreeSet::from([prints.1]);
    let mut queue = VecDeque::from([first]);
    let mut is_whole = true;
    while let Some(visit) = queue.pop_front() {
        if seen.len() >= bound.states {
            is_whole = false;
            break;
        }
        let mut next = Next { visit: &visit, bound, found: Vec::new() };
        next.messages();
        (0..visit.world.nodes.len()).for_each(|at| next.of_node(at));
        for visit in next.found {
            if let Some(law) = visit.world.judge.broken.clone() {
                let broken = Some((law, told(visit.path.as_ref())));
                return Explored { states: seen.len(), is_whole, broken };
            }
            if seen.insert(visit.prints.1) {
                queue.push_back(visit);
            }
        }
    }
    Explored { states: seen.len(), is_whole, broken: None }
}

#[test]
fn every_state_within_a_small_bound_is_safe() {
    for bound in VISITED {
        let begun = std::time::Instant::now();
        let Explored { states, is_whole, broken } = explore(bound);
        let millis = begun.elapsed().as_millis();
        std::eprintln!("every state of {bound}: {states} states in {millis} ms");
        if let Some((law, path)) = broken {
            panic!("{law}\n  {}", path.join("\n  "));
        }
        assert!(is_whole, "what every test run visits is all there is");
    }
}
