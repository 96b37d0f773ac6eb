//! Random lives, far beyond what can be visited exhaustively: every fault at once, then calm.
//!
//! A seed draws a group, its limits (tiny ones too), and which faults its run has: messages lost,
//! repeated and overtaken, one-way cuts, crashes that keep any prefix of the unsynced writes,
//! completions that come together or late, drifting clocks, damaged entries, forgotten tails,
//! changes of the membership with new and removed replicas, snapshots from any replica that may be
//! lost or find no room, transfers, reads everywhere, state machines that lag or are stuck, priorities
//! that change.
//!
//! Every state is judged (`judge.rs`). Then all faults stop, and within a minute of the group's time
//! it must elect, repair, catch everybody up, and commit something new.
//!
//! `RAFT_WALK=first,count,steps` walks other seeds than `cargo test` does.

use super::world::{Packet, Pending, World};
use crate::raft::*;
use crate::types::{Index, ReplicaId};
use core::time::Duration;
use std::{collections::BTreeSet, env, eprintln, format, string::String, vec::Vec};

/// How long a life is.
pub(super) const STEPS: u32 = 1500;

/// Luck of a run, from its seed alone.
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Which faults a run has.
struct Faults {
    loss: u64,
    repetition: u64,
    reordering: bool,
    cuts: bool,
    crashes: bool,
    drift: bool,
    changes: bool,
    snapshots: bool,
    lag: bool,
    /// The one replica whose disk may be damaged.
    victim: Option<ReplicaId>,
    /// The victim may forget the end of its log.
    forgets: bool,
}

struct Walk {
    world: World,
    luck: Luck,
    faults: Faults,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Who was told that whom is not there.
    told_dead: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Whether some have leases.
    has_leases: bool,
    /// Each clock's rate, in parts per thousand.
    rates: Vec<u64>,
    next_id: u64,
    next_value: u64,
}

const MILLI: u64 = 1_000_000;
const DRIFT_PPM: u32 = 120_000;

fn config(luck: &mut Luck) -> Config {
    let mut config = Config { quiet_after: None, ..Config::default() };
    if luck.chance(40) {
        config.quiet_after = Some(Duration::from_millis(500));
    }
    if luck.chance(50) {
        let duration = Duration::from_millis(900);
        config.lease = LeaseConfig { duration, drift_ppm_max: DRIFT_PPM };
        config.drift_ppm = Some(DRIFT_PPM);
    }
    config.hasty = luck.chance(50);
    if luck.chance(50) {
        config.inflight_messages_max = 1 + luck.below(3) as usize;
        config.append_entries_max = 1 + luck.below(3);
        config.uncommitted_bytes_max = 1 + luck.below(20);
        config.applying_bytes_max = 1 + luck.below(5);
    }
    config
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut luck = Luck(seed);
        let config = config(&mut luck);
        let voters = if luck.chance(70) { 3 } else { 5 };
        let faults = Faults {
            loss: luck.below(15),
            repetition: luck.below(15),
            reordering: luck.chance(60),
            cuts: luck.chance(60),
            crashes: luck.chance(70),
            drift: luck.chance(50),
            changes: luck.chance(40),
            snapshots: luck.chance(60),
            lag: luck.chance(30),
            victim: luck.chance(40).then(|| ReplicaId(1 + luck.below(voters))),
            forgets: luck.chance(30),
        };
        let mut world = World::new(voters, config);
        world.luck = seed | 1;
        world.judge.disks_rot = faults.victim.is_some() && faults.forgets;
        let mut walk = Self {
            world,
            luck,
            faults,
            cut: BTreeSet::new(),
            told_dead: BTreeSet::new(),
            has_leases: config.drift_ppm.is_some(),
            rates: Vec::new(),
            next_id: voters + 1,
            next_value: 1,
        };
        walk.draw_rates();
        walk
    }

    fn draw_rates(&mut self) {
        while self.rates.len() < self.world.nodes.len() {
            // The declared bound is 12 percent between any two clocks.
            let rate = if self.faults.drift { 950 + self.luck.below(100) } else { 1000 };
            self.rates.push(rate);
        }
    }

    fn anybody(&mut self) -> usize {
        self.luck.below(self.world.nodes.len() as u64) as usize
    }

    fn leader(&self) -> Option<usize> {
        let leads = |raft: &Raft| raft.role() == Role::Leader;
        let nodes = self.world.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.raft.as_ref().is_some_and(leads))
            .max_by_key(|(_, node)| node.raft.as_ref().map(Raft::term))
            .map(|(at, _)| at)
    }

    fn passes(&self, packet: &Packet) -> bool {
        !self.cut.contains(&(packet.message.from, packet.message.to))
    }

    fn deliver(&mut self) {
        if self.world.wire.is_empty() {
            return;
        }
        let at = if self.faults.reordering && self.luck.chance(50) {
            self.luck.below(self.world.wire.len() as u64) as usize
        } else {
            0
        };
        let Some(packet) = self.world.wire.remove(at) else { return };
        if !self.passes(&packet) || self.luck.chance(self.faults.loss) {
            return;
        }
        if self.luck.chance(self.faults.repetition) {
            self.world.wire.push_back(packet.clone());
        }
        self.world.deliver(&packet);
    }

    fn persist(&mut self, at: usize) {
        // A completion may stand for those before it.
        let next = self.world.nodes[at].pending.get(1);
        let told = self.luck.chance(70) || !matches!(next, Some(Pending::Write { .. }));
        let installs =
            matches!(self.world.nodes[at].pending.front(), Some(Pending::Install { .. }));
        if installs && self.faults.lag && self.luck.chance(30) {
            return self.world.abandon(at);
        }
        self.world.persist(at, told);
    }

    fn wait(&mut self) {
        let millis = 1 + self.luck.below(60);
        for at in 0..self.world.nodes.len() {
            self.world.wait(at, millis * MILLI / 1000 * self.rates[at]);
        }
        self.tell_who_is_there(20);
    }

    /// Nodes watch over each other; what they find out, their groups are told.
    fn tell_who_is_there(&mut self, percent: u64) {
        let ids: Vec<ReplicaId> = self.world.nodes.iter().map(|node| node.id).collect();
        for at in 0..ids.len() {
            for (other, id) in ids.iter().enumerate() {
                let pair = (ids[at], *id);
                let is_cut = self.cut.contains(&pair) || self.cut.contains(&(pair.1, pair.0));
                let alive = self.world.nodes[other].raft.is_some() && !is_cut;
                let told = !self.told_dead.contains(&pair);
                if at == other || alive == told || !self.luck.chance(percent) {
                    continue;
                }
                if alive {
                    self.told_dead.remove(&pair);
                } else {
                    self.told_dead.insert(pair);
                }
                self.world.step(at, Input::Peer { id: *id, alive }, &[]);
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if self.world.nodes[at].raft.is_none() {
            return self.restart(at);
        }
        let kept = self.luck.below(self.world.nodes[at].pending.len() as u64 + 1) as usize;
        self.world.crash(at, kept);
        let id = self.world.nodes[at].id;
        // Whoever it was sends and receives nothing of its old life, or some of it.
        if self.luck.chance(50) {
            self.world.wire.retain(|packet| packet.message.from != id);
        }
        if self.luck.chance(70) {
            self.restart(at);
        }
    }

    fn restart(&mut self, at: usize) {
        let forgets = self.faults.forgets && self.luck.chance(30);
        let node = &self.world.nodes[at];
        if self.faults.victim == Some(node.id) {
            if forgets {
                let keep = self.luck.below(node.disk.entries.len() as u64 + 1);
                let from = node.disk.base.index.0 + keep + 1;
                let (hard, margin) = (self.luck.chance(50), self.luck.below(3) * 50);
                self.world.lose(at, from, hard, margin);
            }
            for (_, bad) in self.world.node(at).disk.entries.values_mut() {
                *bad |= self.luck.chance(10);
            }
        }
        if self.has_leases && self.luck.chance(40) {
            // Settings change while nodes begin anew, one by one.
            let config = &mut self.world.node(at).config;
            config.drift_ppm = config.drift_ppm.is_none().then_some(DRIFT_PPM);
        }
        self.world.boot(at);
    }

    fn damage(&mut self) {
        let Some(at) = self.faults.victim.and_then(|id| self.world.slot(id)) else { return };
        let keys: Vec<u64> = self.world.nodes[at].disk.entries.keys().copied().collect();
        if !keys.is_empty() {
            let index = keys[self.luck.below(keys.len() as u64) as usize];
            self.world.damage(at, index);
        }
    }

    fn prefer(&mut self, at: usize, priority: u8) {
        self.world.node(at).config.priority = priority;
        self.world.step(at, Input::Priority { priority }, &[]);
    }

    /// The state of the one whose disk is bad cannot take its next entry.
    fn stick(&mut self) {
        let Some(at) = self.faults.victim.and_then(|id| self.world.slot(id)) else { return };
        if !self.world.nodes[at].to_apply.is_empty() {
            self.world.stick(at);
        }
    }

    fn propose(&mut self) {
        let at = match self.leader() {
            Some(at) if self.luck.chance(90) => at,
            _ => self.anybody(),
        };
        let count = 1 + self.luck.below(3);
        let values: Vec<(u64, u32)> =
            (0..count).map(|more| (self.next_value + more, self.luck.below(5) as u32)).collect();
        self.next_value += count;
        self.world.propose(at, &values);
    }

    fn change(&mut self) {
        let Some(at) = self.leader() else { return };
        let Some(raft) = &self.world.nodes[at].raft else { return };
        let members = raft.membership().clone();
        let mut steps = Vec::new();
        let pick = |luck: &mut Luck, ids: &[ReplicaId]| {
            (!ids.is_empty()).then(|| ids[luck.below(ids.len() as u64) as usize])
        };
        for _ in 0..1 + self.luck.below(2) {
            let step = match self.luck.below(4) {
                0 if self.world.nodes.len() < 8 => Some(Step::AddLearner(ReplicaId(self.next_id))),
                1 => pick(&mut self.luck, members.learners()).map(Step::Promote),
                2 if members.voters().len() > 3 => {
                    pick(&mut self.luck, members.voters()).map(Step::Demote)
                }
                3 if members.voters().len() > 3 => {
                    pick(&mut self.luck, members.voters()).map(Step::Remove)
                }
                _ => None,
            };
            steps.extend(step);
        }
        let joins = steps.iter().any(|step| matches!(step, Step::AddLearner(_)));
        let leaves_alone = self.luck.chance(70);
        self.world.change(at, &Change { steps, leaves_alone }, 0);
        if joins && self.world.answer.is_none() {
            let config = self.world.nodes[0].config;
            let id = ReplicaId(self.next_id);
            self.next_id += 1;
            self.world.add(id, config, EntryId::default(), Membership::default());
            self.draw_rates();
        }
    }

    fn leave(&mut self) {
        if let Some(at) = self.leader() {
            self.world.step(at, Input::ProposeLeave, &[]);
        }
    }

    /// One of the snapshots that are wanted is sent, from whoever has the state.
    fn snapshot(&mut self, lossy: bool) {
        if self.world.wanted.is_empty() {
            return;
        }
        let at = self.luck.below(self.world.wanted.len() as u64) as usize;
        let (from, to) = self.world.wanted.remove(at);
        let (Some(leader), Some(to_at)) = (self.world.slot(from), self.world.slot(to)) else {
            return;
        };
        let arrives = self.world.nodes[to_at].raft.is_some() && !(lossy && self.luck.chance(30));
        if arrives {
            let base =
                self.world.nodes[leader].raft.as_ref().map_or(Index(0), |r| r.log().base().index);
            let other = self.anybody();
            let has = self.world.nodes[other].state.at.index >= base && other != to_at;
            let source = if has && self.luck.chance(50) { other } else { leader };
            self.world.send_snapshot(source, to_at);
        }
        self.world.step(leader, Input::SnapshotSent { to, arrived: arrives }, &[]);
    }

    fn compact(&mut self) {
        let at = self.anybody();
        if self.world.nodes[at].raft.is_some() {
            let upto = self.world.nodes[at].state.at.index.0;
            self.world.compact(at, upto.saturating_sub(self.luck.below(4)));
        }
    }

    fn cut(&mut self) {
        if self.luck.chance(40) {
            self.cut.clear();
            return;
        }
        let (a, b) = (self.anybody(), self.anybody());
        let (a, b) = (self.world.nodes[a].id, self.world.nodes[b].id);
        self.cut.insert((a, b));
        if self.luck.chance(60) {
            self.cut.insert((b, a));
        }
        if self.luck.chance(30) {
            for other in 0..self.world.nodes.len() {
                let id = self.world.nodes[other].id;
                self.cut.insert((a, id));
                self.cut.insert((id, a));
            }
        }
    }

    /// What is damaged and applied is in the state: a snapshot heals it.
    fn cover_damage(&mut self, at: usize) {
        let node = &self.world.nodes[at];
        let bad = node.raft.as_ref().and_then(|raft| raft.log().first_faulty());
        let applied = node.state.at.index;
        if bad.is_some_and(|bad| bad <= applied) && node.pending.is_empty() {
            self.world.compact(at, applied.0);
        }
    }

    /// Something happens.
    fn go(&mut self) {
        match self.luck.below(100) {
            0..48 => self.deliver(),
            48..66 => {
                let at = self.anybody();
                self.persist(at);
            }
            66..76 => self.wait(),
            76..84 => self.propose(),
            84..88 => {
                let at = self.anybody();
                self.world.step(at, Input::Read, &[]);
            }
            88 if self.faults.crashes => {
                let at = self.anybody();
                self.crash(at);
            }
            89 if self.faults.changes => self.change(),
            90 if self.faults.changes && self.luck.chance(50) => self.leave(),
            91 if self.faults.snapshots => self.compact(),
            92 | 93 => self.snapshot(true),
            94 if self.faults.cuts => self.cut(),
            95 => {
                let (at, to) = (self.anybody(), self.anybody());
                let to = self.world.nodes[to].id;
                if self.luck.chance(30) {
                    self.world.step(at, Input::Transfer { to }, &[]);
                }
            }
            96 if self.luck.chance(20) => self.damage(),
            96 if self.faults.lag && self.luck.chance(10) => self.stick(),
            97 if self.faults.lag => {
                let at = self.anybody();
                let node = self.world.node(at);
                node.holds_applies = !node.holds_applies;
            }
            98 => {
                let at = self.anybody();
                self.world.apply(at);
                if self.luck.chance(5) {
                    let priority = [0, 50, 100][self.luck.below(3) as usize];
                    self.prefer(at, priority);
                }
            }
            99 if self.luck.chance(10) => {
                let at = self.anybody();
                self.world.step(at, Input::Campaign, &[]);
            }
            _ => self.deliver(),
        }
    }

    /// Nothing goes wrong any more: everything arrives, every disk is fast.
    fn calm(&mut self, millis: u64) {
        self.cut.clear();
        for at in 0..self.world.nodes.len() {
            self.world.node(at).holds_applies = false;
            while self.world.apply(at) {}
            if self.world.nodes[at].raft.is_none() {
                self.world.boot(at);
            }
            self.prefer(at, 100);
        }
        for _ in 0..millis / 10 {
            for at in 0..self.world.nodes.len() {
                self.world.wait(at, 10 * MILLI);
            }
            self.tell_who_is_there(100);
            for turn in 0.. {
                if turn > 20_000 {
                    let storm = String::from("calm: a storm of messages that nobody needs");
                    self.world.judge.broken.get_or_insert(storm);
                    return;
                }
                let busy = self.world.nodes.iter().position(|node| !node.pending.is_empty());
                if let Some(packet) = self.world.wire.pop_front() {
                    self.world.deliver(&packet);
                } else if let Some(at) = busy {
                    self.world.persist(at, true);
                } else {
                    break;
                }
            }
            while !self.world.wanted.is_empty() {
                self.snapshot(false);
            }
            (0..self.world.nodes.len()).for_each(|at| self.cover_damage(at));
            let stuck =
                |at: &usize| self.world.nodes[*at].is_stuck && self.world.nodes[*at].raft.is_some();
            let stuck: Vec<usize> = (0..self.world.nodes.len()).filter(stuck).collect();
            stuck.into_iter().for_each(|at| self.world.stick(at));
            if self.world.judge.broken.is_some() {
                return;
            }
        }
    }

    /// What a failed run looks like at its end.
    fn show(&self) {
        self.world.trace.iter().flatten().for_each(|line| eprintln!("  {line}"));
        for node in &self.world.nodes {
            let Some(raft) = &node.raft else { continue };
            eprintln!(
                "{}: {} t{} base {} last {} commit {} applied {} durable {} faulty {:?} {} waits {}",
                node.id,
                raft.role(),
                raft.term(),
                raft.log().base(),
                raft.log().last(),
                raft.commit(),
                raft.applied(),
                raft.durable(),
                raft.log().first_faulty(),
                raft.membership(),
                node.to_apply.len(),
            );
            raft.peers().iter().for_each(|peer| eprintln!("    {peer:?}"));
        }
    }

    /// What is missing for the group to be well again.
    fn unwell(&self) -> Option<String> {
        let Some(at) = self.leader() else { return Some("nobody leads".into()) };
        let Some(leader) = &self.world.nodes[at].raft else { return None };
        let last = leader.log().last();
        if leader.applied() != last.index {
            return Some(format!("the leader has {last} and applied {}", leader.applied()));
        }
        for id in leader.membership().members() {
            let node = self.world.slot(id).map(|at| &self.world.nodes[at]);
            let applied = node.and_then(|node| node.raft.as_ref()).map(Raft::applied);
            if applied != Some(last.index) {
                return Some(format!("the leader has applied {last}, {id} has {applied:?}"));
            }
            let differs = node.is_some_and(|node| {
                node.state.digest != self.world.nodes[at].state.digest
                    || node.raft.as_ref().is_some_and(|raft| raft.log().first_faulty().is_some())
            });
            if differs {
                return Some(format!("the state of {id} differs, or is damaged"));
            }
        }
        None
    }
}

/// One run. Answers the first broken law.
pub(super) fn walk(seed: u64, steps: u32) -> Option<String> {
    let mut walk = Walk::new(seed);
    walk.world.trace = env::var("RAFT_TRACE").is_ok().then(Vec::new);
    for _ in 0..steps {
        walk.go();
        if walk.world.judge.broken.is_some() {
            return walk.world.judge.broken;
        }
    }
    walk.calm(20_000);
    // Something new goes through, wherever the leader is by now.
    let before = walk.world.judge.floor();
    for _ in 0..40 {
        walk.propose();
        walk.leave();
        walk.calm(1000);
        let is_new = walk.world.judge.floor() > before;
        if walk.world.judge.broken.is_some() || is_new && walk.unwell().is_none() {
            break;
        }
    }
    let stuck = walk.world.judge.floor() == before;
    let stuck = stuck.then(|| String::from("calm: nothing new is committed"));
    let unwell = walk.unwell().map(|what| format!("calm: {what}"));
    let law = walk.world.judge.broken.clone().or(unwell).or(stuck);
    if law.is_some() {
        walk.show();
    }
    law
}

#[test]
fn random_lives_keep_every_law_and_end_well() {
    let (mut first, mut count, mut steps) = (1, 100, u64::from(STEPS));
    if let Ok(text) = env::var("RAFT_WALK") {
        let numbers: Vec<u64> = text.split(',').map(|word| word.parse().unwrap()).collect();
        let [from, many, long] = numbers[..] else { panic!("RAFT_WALK=first,count,steps") };
        (first, count, steps) = (from, many, long);
    }
    let begun = std::time::Instant::now();
    let mut failed = Vec::new();
    for seed in first..first + count {
        match std::panic::catch_unwind(|| walk(seed, steps as u32)) {
            Ok(None) => {}
            Ok(Some(law)) => failed.push(format!("RAFT_WALK={seed},1,{steps}: {law}")),
            Err(_) => failed.push(format!("RAFT_WALK={seed},1,{steps}: panics")),
        }
    }
    let millis = begun.elapsed().as_millis();
    eprintln!("{count} walks of {steps} steps from seed {first}: {millis} ms");
    assert!(failed.is_empty(), "{} seeds:\n{}", failed.len(), failed.join("\n"));
}
