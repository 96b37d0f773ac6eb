//! Every state of a small group, within a bound.
//!
//! Three replicas, and in every state everything that can happen next: each message on the wire is
//! delivered (and stays there, so that it may come again, late, or never: loss, repetition and
//! reordering in one), each disk completes its oldest write, each replica grows impatient, each
//! leader is given an entry, each replica loses its power with any part of its unsynced writes.
//! Time stands still: with timeouts of zero everybody may campaign at any moment, which is more
//! than any clock allows.
//!
//! The bound is on terms, entries, crashes and steps; within it, every reachable state is judged.
//! `RAFT_EXPLORE=terms,entries,crashes,steps,states cargo test --release -p trilith-engine
//! raft::tests::explore -- --nocapture` goes further than `cargo test` does.

use super::world::{Node, Packet, World};
use crate::raft::*;
use core::{hash::Hash, time::Duration};
use std::{
    collections::{BTreeSet, VecDeque},
    env, eprintln, format,
    hash::Hasher,
    string::{String, ToString},
    time::Instant,
    vec::Vec,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) terms: u64,
    pub(super) entries: u64,
    pub(super) crashes: u32,
    pub(super) steps: u32,
    pub(super) states: usize,
}

#[derive(Clone)]
struct Visit {
    world: World,
    crashes: u32,
    steps: u32,
    path: Vec<String>,
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
    visit.crashes.hash(&mut print);
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

fn next(visit: &Visit, bound: Bound, found: &mut Vec<Visit>) {
    let mut push = |world: World, crashes: u32, what: &dyn Fn() -> String| {
        let mut world = world;
        gather(&mut world);
        let mut path = visit.path.clone();
        path.push(what());
        found.push(Visit { world, crashes, steps: visit.steps + 1, path });
    };
    for packet in &visit.world.wire {
        let mut world = visit.world.clone();
        world.deliver(packet);
        push(world, visit.crashes, &|| super::world::shown_message(&packet.message));
    }
    for at in 0..visit.world.nodes.len() {
        let node = &visit.world.nodes[at];
        let id = node.id;
        let Some(raft) = &node.raft else { continue };
        if !node.pending.is_empty() {
            let mut world = visit.world.clone();
            world.persist(at, true);
            push(world, visit.crashes, &|| format!("{id} persists"));
        }
        if raft.role() != Role::Leader && raft.term().0 < bound.terms {
            let mut world = visit.world.clone();
            world.step(at, Input::Due, &[]);
            push(world, visit.crashes, &|| format!("{id} is impatient"));
        }
        let entries = raft.log().last().index.0 - 1;
        if raft.role() == Role::Leader && entries < bound.entries {
            let mut world = visit.world.clone();
            world.propose(at, &[(raft.term().0 * 10 + entries, 1)]);
            push(world, visit.crashes, &|| format!("{id} proposes"));
        }
        if visit.crashes < bound.crashes {
            for kept in 0..=node.pending.len() {
                let mut world = visit.world.clone();
                world.crash(at, kept);
                world.boot(at);
                push(world, visit.crashes + 1, &|| format!("{id} crashes, {kept} writes kept"));
            }
        }
    }
}

/// Visits every state within the bound. Answers how many, whether that is all, and the path to the
/// first broken law.
pub(super) fn explore(bound: Bound) -> (usize, bool, Option<(String, Vec<String>)>) {
    let first = World::new(3, config());
    let first = Visit { world: first, crashes: 0, steps: 0, path: Vec::new() };
    let mut seen = BTreeSet::from([print(&first)]);
    let mut queue = VecDeque::from([first]);
    let mut found = Vec::new();
    let mut whole = true;
    while let Some(visit) = queue.pop_front() {
        if visit.steps >= bound.steps || seen.len() >= bound.states {
            whole = false;
            continue;
        }
        next(&visit, bound, &mut found);
        for visit in found.drain(..) {
            if let Some(broken) = visit.world.judge.broken.clone() {
                return (seen.len(), whole, Some((broken, visit.path)));
            }
            if seen.insert(print(&visit)) {
                queue.push_back(visit);
            }
        }
    }
    (seen.len(), whole, None)
}

#[test]
fn every_state_within_a_small_bound_is_safe() {
    let mut bound = Bound { terms: 3, entries: 2, crashes: 1, steps: 200, states: 20_000 };
    if let Ok(text) = env::var("RAFT_EXPLORE") {
        let numbers: Vec<u64> = text.split(',').map(|word| word.parse().unwrap()).collect();
        let [terms, entries, crashes, steps, states] = numbers[..] else {
            panic!("RAFT_EXPLORE=terms,entries,crashes,steps,states")
        };
        bound = Bound {
            terms,
            entries,
            crashes: crashes as u32,
            steps: steps as u32,
            states: states as usize,
        };
    }
    let begun = Instant::now();
    let (states, whole, broken) = explore(bound);
    let millis = begun.elapsed().as_millis();
    let all = if whole { "all" } else { "the nearest" };
    eprintln!("{bound:?}: {states} states ({all}), {millis} ms");
    if let Some((law, path)) = broken {
        panic!("{law}\n  {}", path.join("\n  ").to_string());
    }
}
