//! Stories: a text file of commands and of everything that came of them.
//!
//! ```text
//! # Prose.
//! > cluster 3
//! > campaign 1
//! > settle
//!   1->2 t1 PreVote 1@1
//!   ...
//! ```
//! Lines that begin with `>` are commands, indented lines are what happened, and the rest is prose.
//! The trace is compared whole; `UPDATE_SCRIPTS=1` writes it anew. `> so` is the moral, which nothing
//! writes anew: `so 2 leads`, `so 3 has applied 7`.

use super::world::{Packet, World};
use crate::raft::*;
use crate::types::{Index, ReplicaId};
use core::time::Duration;
use std::{
    collections::BTreeSet,
    env, format, fs,
    path::Path,
    string::{String, ToString},
    vec::Vec,
};

struct Script {
    world: World,
    /// Links that take nothing, by direction.
    cut: BTreeSet<(u64, u64)>,
    /// Whose writes wait to be told.
    held: BTreeSet<u64>,
    /// Packets put aside by `hold`, delivered by `replay`.
    aside: Vec<Packet>,
    config: Config,
    next_value: u64,
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn link(word: &str) -> (u64, u64) {
    let (from, to) = word.split_once("->").unwrap_or_else(|| panic!("{word} is no link"));
    (number(from), number(to))
}

/// Of a cluster in which nobody ever has a lease.
fn unleased() -> Config {
    let lease = LeaseConfig { duration: Duration::ZERO, drift_ppm_max: 0 };
    Config { quiet_after: None, hasty: false, lease, ..Config::default() }
}

fn configured(words: &[&str]) -> Config {
    let mut config = unleased();
    for word in words {
        let Some((name, value)) = word.split_once('=') else { continue };
        let value = number(value);
        match name {
            "lease" => {
                let duration = Duration::from_millis(value);
                config.lease = LeaseConfig { duration, drift_ppm_max: 1000 };
                config.drift_ppm = Some(1000);
            }
            "quiet" => config.quiet_after = Some(Duration::from_millis(value)),
            "window" => config.inflight_messages_max = value as usize,
            "window-bytes" => config.inflight_bytes_max = value,
            "batch" => config.append_entries_max = value,
            "uncommitted" => config.uncommitted_bytes_max = value,
            "applying" => config.applying_bytes_max = value,
            "hasty" => config.hasty = value > 0,
            "priority" => config.priority = value as u8,
            _ => panic!("no such option: {word}"),
        }
    }
    config
}

impl Script {
    fn at(&self, word: &str) -> usize {
        self.world.slot(ReplicaId(number(word))).unwrap_or_else(|| panic!("no node {word}"))
    }

    fn passes(&self, packet: &Packet) -> bool {
        !self.cut.contains(&(packet.message.from.0, packet.message.to.0))
    }

    /// Delivers what is on the wire and persists what may be, until nothing is left.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(packet) = self.world.wire.pop_front() {
                if self.passes(&packet) {
                    self.world.deliver(&packet);
                }
                continue;
            }
            let busy = (0..self.world.nodes.len()).find(|at| {
                let node = &self.world.nodes[*at];
                !node.pending.is_empty() && !self.held.contains(&node.id.0)
            });
            let Some(at) = busy else { return };
            self.world.persist(at, true);
        }
        panic!("the cluster does not come to rest");
    }

    /// Delivers what is on the wire now on one link, or all of it; answers go onto the wire.
    fn deliver(&mut self, words: &[&str]) {
        let only = words.first().map(|word| link(word));
        let count = words.get(1).map_or(usize::MAX, |word| number(word) as usize);
        let mut taken = Vec::new();
        let mut left = std::collections::VecDeque::new();
        for packet in self.world.wire.drain(..) {
            let ends = (packet.message.from.0, packet.message.to.0);
            if only.is_none_or(|link| link == ends) && taken.len() < count {
                taken.push(packet);
            } else {
                left.push_back(packet);
            }
        }
        self.world.wire = left;
        taken.retain(|packet| self.passes(packet));
        taken.iter().for_each(|packet| self.world.deliver(packet));
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, rest) = words.split_first().expect("a command has a verb");
        match *verb {
            "cluster" => {
                self.config = configured(rest);
                self.world = World::new(number(rest[0]), self.config);
                self.world.trace = Some(Vec::new());
            }
            "join" => {
                let id = ReplicaId(number(rest[0]));
                let config = Config { priority: 100, ..self.config };
                self.world.add(id, config, EntryId::default(), Membership::default());
            }
            "settle" => self.settle(),
            "deliver" => self.deliver(rest),
            "drop" => {
                let only = rest.first().map(|word| link(word));
                self.world.wire.retain(|packet| {
                    only.is_some_and(|link| link != (packet.message.from.0, packet.message.to.0))
                });
            }
            "aside" => {
                let link = link(rest[0]);
                let (take, keep): (Vec<Packet>, Vec<Packet>) = self
                    .world
                    .wire
                    .drain(..)
                    .partition(|packet| link == (packet.message.from.0, packet.message.to.0));
                self.aside.extend(take);
                self.world.wire.extend(keep);
            }
            "replay" => {
                for packet in self.aside.clone() {
                    self.world.deliver(&packet);
                }
            }
            "forget" => self.aside.clear(),
            "cut" => {
                let (from, to) = link(rest[0]);
                self.cut.insert((from, to));
            }
            "isolate" => {
                let id = number(rest[0]);
                for other in 1..=9 {
                    self.cut.insert((id, other));
                    self.cut.insert((other, id));
                }
            }
            "heal" => self.cut.clear(),
            "heal-link" => {
                self.cut.remove(&link(rest[0]));
            }
            "hold-disk" => {
                self.held.extend(rest.iter().map(|word| number(word)));
            }
            "free-disk" => rest.iter().for_each(|word| {
                self.held.remove(&number(word));
            }),
            "wait-all" => {
                let millis = number(rest[0]) * 1_000_000;
                (0..self.world.nodes.len()).for_each(|at| self.world.wait(at, millis));
            }
            "doubt" => rest.iter().for_each(|word| self.doubt(word)),
            "status" => self.status(),
            "so" => self.moral(rest),
            _ => self.run_on_node(verb, rest),
        }
    }

    /// A node is told that its leader's node died.
    fn doubt(&mut self, word: &str) {
        let at = self.at(word);
        if let Some(id) = self.world.nodes[at].raft.as_ref().and_then(Raft::leader) {
            self.world.step(at, Input::Peer { id, alive: false }, &[]);
        }
    }

    fn run_on_node(&mut self, verb: &str, rest: &[&str]) {
        let at = if rest.is_empty() { 0 } else { self.at(rest[0]) };
        match verb {
            "campaign" => {
                self.world.step(at, Input::Campaign, &[]);
            }
            "persist" => {
                let count = rest.get(1).map_or(1, |word| number(word));
                for _ in 0..count {
                    self.world.persist(at, true);
                }
            }
            "propose" => {
                let count = rest.get(1).map_or(1, |word| number(word));
                let bytes = rest.get(2).map_or(1, |word| number(word)) as u32;
                let values: Vec<(u64, u32)> =
                    (0..count).map(|more| (self.next_value + more, bytes)).collect();
                self.next_value += count;
                self.world.propose(at, &values);
            }
            "read" => {
                self.world.step(at, Input::Read, &[]);
            }
            "transfer" => {
                let to = ReplicaId(number(rest[1]));
                self.world.step(at, Input::Transfer { to }, &[]);
            }
            "change" => self.change(at, &rest[1..]),
            "leave" => {
                self.world.step(at, Input::ProposeLeave, &[]);
            }
            "priority" => {
                let priority = number(rest[1]) as u8;
                self.world.node(at).config.priority = priority;
                self.world.step(at, Input::Priority { priority }, &[]);
            }
            // From its next life on.
            "no-lease" => self.world.node(at).config.drift_ppm = None,
            "named" => self.world.rename(at, ReplicaId(number(rest[1]))),
            _ => self.run_on_machine(verb, at, rest),
        }
    }

    fn run_on_machine(&mut self, verb: &str, at: usize, rest: &[&str]) {
        match verb {
            "hold-applies" => self.world.node(at).holds_applies = true,
            "apply" => {
                let count = rest.get(1).map_or(u64::MAX, |word| number(word));
                for _ in 0..count {
                    if !self.world.apply(at) {
                        break;
                    }
                }
            }
            "free-applies" => {
                self.world.node(at).holds_applies = false;
                while self.world.apply(at) {}
            }
            "compact" => self.world.compact(at, number(rest[1])),
            "snapshot" => {
                let to = self.at(rest[1]);
                self.world.send_snapshot(at, to);
            }
            "snapshot-sent" => {
                let to = ReplicaId(number(rest[1]));
                let arrived = rest.get(2).is_none_or(|word| *word != "lost");
                let from = self.world.nodes[at].id;
                self.world.wanted.retain(|wanted| *wanted != (from, to));
                self.world.step(at, Input::SnapshotSent { to, arrived }, &[]);
            }
            "abandon" => self.world.abandon(at),
            "stuck" => self.world.stick(at),
            "crash" => {
                let kept = rest.get(1).map_or(0, |word| number(word) as usize);
                self.world.crash(at, kept);
            }
            "restart" => self.world.boot(at),
            "swallow" if rest[1] == "next" => self.world.node(at).disk.swallows = true,
            "swallow" => {
                // The disk said that it had these.
                let disk = &mut self.world.node(at).disk;
                disk.entries.retain(|index, _| *index < number(rest[1]));
                disk.has_lied = true;
            }
            "lose" => {
                let hard = rest.get(2) == Some(&"hard");
                let margin = rest.get(3).map_or(0, |word| number(word));
                self.world.lose(at, number(rest[1]), hard, margin);
            }
            "damage" => self.world.damage(at, number(rest[1])),
            "peer" => {
                let (id, alive) = (ReplicaId(number(rest[1])), rest[2] == "alive");
                self.world.step(at, Input::Peer { id, alive }, &[]);
            }
            "wait" => {
                let millis = number(rest[1]) * 1_000_000;
                self.world.wait(at, millis);
            }
            "faulty" => {
                let index = Index(number(rest[1]));
                self.world.step(at, Input::Faulty { index }, &[]);
            }
            "log" => self.show_log(at),
            "peers" => self.show_peers(at),
            _ => panic!("no such command: {verb}"),
        }
    }

    fn change(&mut self, at: usize, words: &[&str]) {
        let mut steps = Vec::new();
        let (mut leaves_alone, mut bytes) = (true, 0);
        for word in words {
            if *word == "explicit" {
                leaves_alone = false;
                continue;
            }
            let (verb, id) = word.split_once(':').expect("a step is verb:id");
            if verb == "bytes" {
                bytes = number(id) as u32;
                continue;
            }
            let id = ReplicaId(number(id));
            steps.push(match verb {
                "add" => Step::AddLearner(id),
                "promote" => Step::Promote(id),
                "demote" => Step::Demote(id),
                "remove" => Step::Remove(id),
                _ => panic!("no such step: {word}"),
            });
        }
        self.world.change(at, &Change { steps, leaves_alone }, bytes);
    }

    /// What must be so, whatever the trace says.
    fn moral(&mut self, words: &[&str]) {
        let is_so = match words {
            ["nobody", "leads"] => {
                let mut all = self.world.nodes.iter().filter_map(|node| node.raft.as_ref());
                !all.any(|raft| raft.role() == Role::Leader)
            }
            [id, "is", "to", "get", "a", "snapshot"] => {
                let id = ReplicaId(number(id));
                self.world.wanted.iter().any(|(_, to)| *to == id)
            }
            [id, what @ ..] => {
                let raft = self.world.nodes[self.at(id)].raft.as_ref();
                raft.is_some_and(|raft| is_so(raft, what))
            }
            [] => panic!("so what?"),
        };
        if !is_so {
            self.world.judge.refuse(format!("the moral: it is not so that {}", words.join(" ")));
        }
    }

    fn status(&mut self) {
        for at in 0..self.world.nodes.len() {
            let node = &self.world.nodes[at];
            let line = match &node.raft {
                None => format!("{}: down", node.id),
                Some(raft) => format!(
                    "{}: {} t{} last {} commit {} applied {}{}",
                    node.id,
                    raft.role(),
                    raft.term(),
                    raft.log().last(),
                    raft.commit(),
                    raft.applied(),
                    if raft.is_quiet() { " quiet" } else { "" },
                ),
            };
            self.world.say(|| line);
        }
    }

    fn show_log(&mut self, at: usize) {
        let node = &self.world.nodes[at];
        let Some(raft) = &node.raft else { return };
        let log = raft.log();
        let mut line = format!("{}: base {}", node.id, log.base());
        for index in log.base().index.0 + 1..=log.last().index.0 {
            let id = log.id_at(Index(index)).unwrap();
            let bad = if log.is_faulty(Index(index)) { "!" } else { "" };
            line.push_str(&format!(" {id}{bad}"));
        }
        self.world.say(|| line);
    }

    fn show_peers(&mut self, at: usize) {
        let Some(raft) = &self.world.nodes[at].raft else { return };
        let show = |peer: &Progress| {
            let flow = match peer.flow() {
                Flow::Probe { waiting: true } => "probe, waits",
                Flow::Probe { waiting: false } => "probe",
                Flow::Stream => "stream",
                Flow::Snapshot => "snapshot",
            };
            format!("{}: peer {} has {}, {flow}", raft.id(), peer.id(), peer.matched())
        };
        let lines: Vec<String> = raft.peers().iter().map(show).collect();
        lines.into_iter().for_each(|line| self.world.say(|| line));
    }
}

/// Whether something holds of one replica.
fn is_so(raft: &Raft, what: &[&str]) -> bool {
    let reaches = |index: Index, least: &str| index >= Index(number(least));
    match what {
        ["leads"] => raft.role() == Role::Leader,
        ["follows", leader] => raft.role() == Role::Follower(Some(ReplicaId(number(leader)))),
        ["does", "not", "lead"] => raft.role() != Role::Leader,
        ["sleeps"] => raft.is_quiet(),
        ["is", "in", "term", term] => raft.term().0 == number(term),
        ["has", "applied", index] => reaches(raft.applied(), index),
        ["has", "committed", index] => reaches(raft.commit(), index),
        ["has", "committed", "no", "more", "than", index] => raft.commit().0 <= number(index),
        ["knows", "that", peer, "has", "no", "more", "than", index] => {
            let known = raft.peers().iter().find(|progress| progress.id().0 == number(peer));
            known.is_some_and(|progress| progress.matched().0 <= number(index))
        }
        ["has", "exactly", index] => raft.log().last().index.0 == number(index),
        _ => panic!("what is {}?", what.join(" ")),
    }
}

/// Runs a script. Answers what it should say, and the first broken law.
pub(super) fn perform(text: &str) -> (String, Option<String>) {
    let config = unleased();
    let mut script = Script {
        world: World::new(0, config),
        cut: BTreeSet::new(),
        held: BTreeSet::new(),
        aside: Vec::new(),
        config,
        next_value: 1,
    };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        out.push_str(line);
        out.push('\n');
        if let Some(command) = line.strip_prefix("> ") {
            script.run(command);
            for line in script.world.trace.iter_mut().flat_map(|trace| trace.drain(..)) {
                out.push_str(&format!("  {line}\n"));
            }
        }
    }
    (out, script.world.judge.broken.take())
}

/// Every script, by its path and text, in order of name.
pub(super) fn all() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raft/tests/scripts");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        (path.to_string_lossy().to_string(), fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_story_ends_as_it_is_told() {
    let update = env::var("UPDATE_SCRIPTS").is_ok();
    let mut wrong = Vec::new();
    for (path, text) in all() {
        let (told, broken) = perform(&text);
        wrong.extend(broken.map(|law| format!("{path}: {law}")));
        if update {
            fs::write(&path, told).unwrap();
        } else if told != text {
            let at = text.lines().zip(told.lines()).position(|(left, right)| left != right);
            let at = at.unwrap_or(text.lines().count().min(told.lines().count()));
            let said = told.lines().nth(at).unwrap_or("(nothing)");
            wrong.push(format!("{path}:{}: it says now: {said}", at + 1));
        }
    }
    assert!(wrong.is_empty(), "\n{}\nUPDATE_SCRIPTS=1 writes them anew\n", wrong.join("\n"));
}
