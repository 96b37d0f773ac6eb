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
//! The bound is on terms, entries, crashes, repetitions and messages; within it, every reachable
//! state is judged, and the number of them is printed.
//! `RAFT_EXPLORE=terms,entries,crashes,repeats,messages,states cargo test -p trilith-engine --lib
//! raft::tests::explore -- --nocapture` goes further than `cargo test` does; the last number is where
//! it gives up.

use super::world::{Node, Packet, World};
use crate::raft::*;
use core::{hash::Hash, time::Duration};
use std::{
    collections::{BTreeSet, VecDeque},
    env, eprintln, format,
    hash::Hasher,
    rc::Rc,
    string::String,
    time::Instant,
    vec::Vec,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) terms: u64,
    pub(super) entries: u64,
    pub(super) crashes: u32,
    pub(super) repeats: u32,
    pub(super) messages: usize,
    pub(super) states: usize,
}

#[derive(Clone)]
struct Visit {
    world: World,
    crashes: u32,
    repeats: u32,
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

fn print(visit: &Visit) -> (u64, u64) {
    let mut print = Print(0xcbf2_9ce4_8422_2325, 0x1234_5678_9abc_def1);
    for node in &visit.world.nodes {
        // The number of a life names its reads, of which there are none here.
        let node = Node { lives: 0, ..node.clone() };
        node.hash(&mut print);
    }
    let wire: BTreeSet<Message> = visit.world.wire.iter().map(|packet| packet.message).collect();
    wire.hash(&mut print);
    (visit.crashes, visit.repeats).hash(&mut print);
    (print.0, print.1)
}

fn config() -> Config {
    Config {
        heartbeat: Duration::ZERO,
        election: Duration::ZERO,
        quiet_after: None,
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
fn lose(world: &World, most: usize, from: usize, left: &mut dyn FnMut(World)) {
    if world.wire.len() <= most {
        left(world.clone());
        return;
    }
    for at in from..world.wire.len() {
        let mut world = world.clone();
        world.wire.remove(at);
        lose(&world, most, at, left);
    }
}

fn next(visit: &Visit, bound: Bound, found: &mut Vec<Visit>) {
    let mut push = |world: World, (crashes, repeats): (u32, u32), what: &dyn Fn() -> String| {
        let mut world = world;
        gather(&mut world);
        let path = Some(Rc::new(Path(what(), visit.path.clone())));
        lose(&world, bound.messages, 0, &mut |world| {
            found.push(Visit { world, crashes, repeats, path: path.clone() });
        });
    };
    let spent = (visit.crashes, visit.repeats);
    for (at, packet) in visit.world.wire.iter().enumerate() {
        let shown = || super::world::shown_message(&packet.message);
        let mut world = visit.world.clone();
        world.wire.remove(at);
        world.deliver(packet);
        push(world, spent, &shown);
        if visit.repeats < bound.repeats {
            let mut world = visit.world.clone();
            world.deliver(packet);
            push(world, (visit.crashes, visit.repeats + 1), &|| {
                format!("{} (comes again)", shown())
            });
        }
    }
    for at in 0..visit.world.nodes.len() {
        let node = &visit.world.nodes[at];
        let id = node.id;
        let Some(raft) = &node.raft else { continue };
        if !node.pending.is_empty() {
            let mut world = visit.world.clone();
            world.persist(at, true);
            push(world, spent, &|| format!("{id} persists"));
        }
        // In the beginning all are alike: whoever is first is called 1.
        let may_be_first = visit.path.is_some() || at == 0;
        if raft.role() != Role::Leader && raft.term().0 < bound.terms && may_be_first {
            let mut world = visit.world.clone();
            world.step(at, Input::Due, &[]);
            push(world, spent, &|| format!("{id} is impatient"));
        }
        let entries = raft.log().last().index.0 - 1;
        if raft.role() == Role::Leader && entries < bound.entries {
            let mut world = visit.world.clone();
            world.propose(at, &[(raft.term().0 * 10 + entries, 1)]);
            push(world, spent, &|| format!("{id} proposes"));
        }
        if visit.crashes < bound.crashes {
            for kept in 0..=node.pending.len() {
                let mut world = visit.world.clone();
                world.crash(at, kept);
                world.boot(at);
                let spent = (visit.crashes + 1, visit.repeats);
                push(world, spent, &|| format!("{id} crashes, {kept} writes kept"));
            }
        }
    }
}

/// Visits every state within the bound. Answers how many, whether that is all, and the path to the
/// first broken law.
pub(super) fn explore(bound: Bound) -> (usize, bool, Option<(String, Vec<String>)>) {
    let first = World::new(3, config());
    let first = Visit { world: first, crashes: 0, repeats: 0, path: None };
    let mut seen = BTreeSet::from([print(&first)]);
    let mut queue = VecDeque::from([first]);
    let mut found = Vec::new();
    let mut whole = true;
    while let Some(visit) = queue.pop_front() {
        if seen.len() >= bound.states {
            whole = false;
            continue;
        }
        next(&visit, bound, &mut found);
        for visit in found.drain(..) {
            if let Some(broken) = visit.world.judge.broken.clone() {
                return (seen.len(), whole, Some((broken, told(visit.path.as_ref()))));
            }
            if seen.insert(print(&visit)) {
                queue.push_back(visit);
            }
        }
    }
    (seen.len(), whole, None)
}

/// What every test run visits: an election of one term and its first entry, with a crash anywhere in
/// it, and with a message that comes again.
const VISITED: [Bound; 2] = [
    Bound { terms: 2, entries: 1, crashes: 1, repeats: 0, messages: 1, states: 100_000 },
    Bound { terms: 2, entries: 1, crashes: 0, repeats: 1, messages: 1, states: 100_000 },
];

fn asked_for() -> Option<Bound> {
    let text = env::var("RAFT_EXPLORE").ok()?;
    let numbers: Vec<u64> = text.split(',').map(|word| word.parse().unwrap()).collect();
    let [terms, entries, crashes, repeats, messages, states] = numbers[..] else {
        panic!("RAFT_EXPLORE=terms,entries,crashes,repeats,messages,states")
    };
    Some(Bound {
        terms,
        entries,
        crashes: crashes as u32,
        repeats: repeats as u32,
        messages: messages as usize,
        states: states as usize,
    })
}

#[test]
fn every_state_within_a_small_bound_is_safe() {
    let asked = asked_for();
    for bound in asked.map_or(VISITED.to_vec(), |bound| [bound].to_vec()) {
        let begun = Instant::now();
        let (states, whole, broken) = explore(bound);
        let millis = begun.elapsed().as_millis();
        let all = if whole { "all" } else { "the nearest" };
        eprintln!("{bound:?}: {states} states ({all}), {millis} ms");
        if let Some((law, path)) = broken {
            panic!("{law}\n  {}", path.join("\n  "));
        }
        assert!(whole || asked.is_some(), "what every test run visits is all there is");
    }
}
