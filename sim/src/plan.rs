//! How a plan of faults is drawn: which families this seed knows, and then whom, when and how long.
//!
//! Swarm (Groce et al. 2012): each seed draws a subset of the families and leaves the others out
//! altogether. A run in which everything fails all the time mostly shows that nothing works when
//! everything fails; a run without power losses can keep a process alive long enough for the bug
//! that needs it.
//!
//! Half of what a node can die of is placed inside a disk operation and not at a time: bugs live
//! between a write and its sync, and that is a thin slice of time.
//!
//! The **atlas** keeps the run honest. A fault that takes acknowledged bytes away (rot, a phantom
//! write, a replaced disk) may strike only a fixed minority of the nodes, the same ones for the
//! whole run: two replicas damaged one after the other are two damaged replicas. What only stops a
//! node may strike everybody, also all at once: a blackout takes no synced byte. A weather may
//! allow more; then a run may only be asked to refuse, not to serve.
//!
//! Invariant: the plan depends on the seed and the weather alone, and is finished before the run
//! begins; each entry has its own stream of luck, so that asking for more entries leaves the first
//! ones as they were.
//!
//! Not here: the words of a plan (`fault.rs`), how a fault is done to a world (`world/inject.rs`),
//! how a plan is shrunk (`shrink.rs`).

use trilith_engine::runtime::Rng as _;

use crate::{
    fault::{DiskFault, Family, Fault, FaultKind, FaultPlan, When},
    luck::{Domain, Luck},
};

/// What a plan is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// The nodes that faults may strike; they come first in the world.
    pub nodes: u32,
    /// The clients' nodes, right after them: their links may be cut.
    pub clients: u32,
    /// The families a seed may draw from.
    pub families: Vec<Family>,
    /// Whether each seed knows only a random subset of them.
    pub swarm: bool,
    /// How many faults.
    pub count: u64,
    /// The time in which faults begin, in milliseconds.
    pub span_ms: u64,
    /// Disk operations that a node may be expected to do in that time.
    pub disk_ops: u64,
    /// How many nodes may lose acknowledged bytes.
    pub damaged_max: u32,
    /// The node that loses its disk, once, at a bad moment. It is all the damage there is then.
    pub lose_disk: Option<u32>,
    /// The node whose disk is slow, once, for longer than anybody should put up with.
    pub slow_disk: Option<u32>,
    /// Whether disks fill up and are emptied again.
    pub full_disks: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            nodes: 3,
            clients: 0,
            families: Family::ALL.to_vec(),
            swarm: true,
            count: 30,
            span_ms: 20_000,
            disk_ops: 1000,
            damaged_max: 1,
            lose_disk: None,
            slow_disk: None,
            full_disks: false,
        }
    }
}

/// What a seed drew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The families it knows.
    pub families: Vec<Family>,
    /// The nodes that may lose acknowledged bytes.
    pub damaged: Vec<u32>,
    /// The entries.
    pub plan: FaultPlan,
}

impl Weather {
    /// A minority of so many nodes may be damaged.
    #[must_use]
    pub fn of_nodes(nodes: u32) -> Self {
        Self { nodes, damaged_max: nodes.saturating_sub(1) / 2, ..Self::default() }
    }

    /// Draws the families of this seed, then the plan.
    #[must_use]
    pub fn draw(&self, seed: u64) -> Drawn {
        let mut luck = Luck::new(seed, Domain::Faults);
        let mut families = self.families.clone();
        if self.swarm {
            families.retain(|_| luck.coin());
            if families.is_empty() && !self.families.is_empty() {
                families.push(*luck.pick(&self.families));
            }
        }
        let mut damaged: Vec<u32> = (0..self.nodes).collect();
        luck.shuffle(&mut damaged);
        damaged.truncate(self.damaged_max as usize);
        if let Some(node) = self.lose_disk {
            damaged = vec![node];
        }
        damaged.sort_unstable();
        let mut entries = Vec::new();
        if !families.is_empty() && self.nodes > 0 {
            entries.extend((0..self.count).filter_map(|number| {
                let mut own = Luck::new(seed, Domain::Fault(number));
                let family = *own.pick(&families);
                self.fault(family, &damaged, &mut own)
            }));
        }
        if let Some(node) = self.lose_disk {
            self.lose(node, &mut luck, &mut entries);
        }
        if let Some(node) = self.slow_disk {
            entries.push(self.slow(node, &mut luck));
        }
        if self.full_disks {
            self.fill(&mut luck, &mut entries);
        }
        Drawn { families, damaged, plan: FaultPlan { entries } }
    }

    fn node(&self, luck: &mut Luck) -> u32 {
        // The first node is the toy's primary: hit it as often as all others together.
        if luck.coin() { 0 } else { luck.range(0..u64::from(self.nodes)) as u32 }
    }

    fn pair(&self, luck: &mut Luck) -> Option<(u32, u32)> {
        let all = u64::from(self.nodes + self.clients);
        if all < 2 {
            return None;
        }
        let from = luck.range(0..all);
        let to = (from + luck.range(1..all)) % all;
        Some((from as u32, to as u32))
    }

    fn time(&self, luck: &mut Luck) -> When {
        When::AtMs(luck.range(0..self.span_ms.max(1)))
    }

    /// A moment that concerns that node: a time, or inside one of its operations.
    fn moment(&self, node: u32, luck: &mut Luck) -> When {
        match luck.range(0..8) {
            0..4 => When::DiskOp { node, nth: luck.range(1..self.disk_ops.max(2)) },
            4 => When::Message { node, nth: luck.range(1..self.disk_ops.max(2)) },
            _ => self.time(luck),
        }
    }

    fn lasting(luck: &mut Luck) -> u64 {
        // Mostly short, now and then longer than every timeout.
        if luck.chance(1, 4) { luck.range(1000..3000) } else { luck.range(20..600) }
    }

    fn fault(&self, family: Family, damaged: &[u32], luck: &mut Luck) -> Option<Fault> {
        let node = self.node(luck);
        let for_ms = Self::lasting(luck);
        let what = self.kind(family, damaged, (node, for_ms), luck)?;
        // What a node dies of or its disk does to it is aimed at what the node does; the weather
        // comes when it comes.
        let when = match family {
            Family::PowerLoss
            | Family::Blackout
            | Family::Kill
            | Family::Pause
            | Family::DiskError
            | Family::DiskDamage => self.moment(*what.nodes().first().unwrap_or(&node), luck),
            Family::Stop
            | Family::Replace
            | Family::Partition
            | Family::Clog
            | Family::Weather
            | Family::Flip
            | Family::Clock
            | Family::SlowDisk => self.time(luck),
        };
        Some(Fault { when, what })
    }

    fn kind(
        &self,
        family: Family,
        damaged: &[u32],
        (node, for_ms): (u32, u64),
        luck: &mut Luck,
    ) -> Option<FaultKind> {
        let down_ms = for_ms;
        Some(match family {
            Family::PowerLoss => FaultKind::PowerLoss { nodes: vec![node], down_ms },
            Family::Blackout => FaultKind::PowerLoss { nodes: (0..self.nodes).collect(), down_ms },
            Family::Kill => FaultKind::Kill { node, down_ms },
            Family::Stop => FaultKind::Stop { node, grace_ms: luck.range(0..200), down_ms },
            Family::Pause => FaultKind::Pause { node, for_ms },
            Family::Partition => self.cut(node, for_ms, luck)?,
            Family::Clog => {
                let (from, to) = self.pair(luck)?;
                if luck.coin() {
                    FaultKind::Hold { from, to, for_ms }
                } else {
                    FaultKind::Reset { one: from, other: to }
                }
            }
            Family::Weather => Self::weather(self.pair(luck)?, for_ms, luck),
            Family::Flip => {
                let (from, to) = self.pair(luck)?;
                let per_million = luck.range(1000..100_000) as u32;
                FaultKind::Flip { from, to, per_million, for_ms: for_ms * 4 }
            }
            Family::Clock => Self::clock(node, for_ms, luck),
            Family::SlowDisk => {
                if luck.coin() {
                    FaultKind::Stall { node, for_ms }
                } else {
                    FaultKind::SlowDisk { node, times: luck.range(2..50) as u32, for_ms }
                }
            }
            Family::DiskError => Self::disk_error(node, for_ms, luck),
            Family::Replace => Self::replace(damaged, down_ms, luck)?,
            Family::DiskDamage => self.disk_damage(damaged, luck)?,
        })
    }

    fn replace(damaged: &[u32], down_ms: u64, luck: &mut Luck) -> Option<FaultKind> {
        // A swap damages two: it needs both in the budget.
        if damaged.len() >= 2 && luck.chance(1, 3) {
            let one = luck.index(damaged.len());
            let other = damaged[(one + 1) % damaged.len()];
            return Some(FaultKind::SwapDisks { one: damaged[one], other, down_ms });
        }
        let node = *damaged.get(luck.index(damaged.len().max(1)))?;
        Some(FaultKind::Replace { node, down_ms })
    }

    fn disk_damage(&self, damaged: &[u32], luck: &mut Luck) -> Option<FaultKind> {
        let node = *damaged.get(luck.index(damaged.len().max(1)))?;
        // Most of a disk is zeros that nobody reads: a few bits would mostly hit those.
        let most = if self.nodes == 1 { 200 } else { 4 };
        // A node alone cannot know that its very last write never reached the disk; only a peer
        // can. Such lies are for subjects that have one.
        let kinds =
            [DiskFault::LatentError, DiskFault::ReadFlip, DiskFault::Phantom, DiskFault::Misdirect];
        let known = if self.nodes == 1 { 2 } else { 4 };
        Some(if luck.coin() {
            FaultKind::Rot { node, bits: luck.range(1..most) as u32 }
        } else {
            FaultKind::DiskOnce { node, fault: *luck.pick(&kinds[..known]) }
        })
    }

    fn cut(&self, node: u32, for_ms: u64, luck: &mut Luck) -> Option<FaultKind> {
        let (from, to) = self.pair(luck)?;
        Some(match luck.range(0..4) {
            0 => FaultKind::Cut { from, to, for_ms },
            1 => FaultKind::Isolate { node, for_ms },
            2 if self.nodes >= 3 => FaultKind::Bridge { node, for_ms },
            _ => {
                let side = (0..self.nodes + self.clients).filter(|_| luck.coin()).collect();
                FaultKind::Partition { side, for_ms }
            }
        })
    }

    fn weather((from, to): (u32, u32), for_ms: u64, luck: &mut Luck) -> FaultKind {
        match luck.range(0..4) {
            0 => FaultKind::Slow { from, to, extra_us: luck.range(500..300_000), for_ms },
            1 => {
                let bytes_per_second = luck.range(500..50_000);
                FaultKind::Throttle { from, to, bytes_per_second, for_ms }
            }
            2 => {
                let per_million = luck.range(10_000..400_000) as u32;
                FaultKind::Loss { from, to, per_million, for_ms }
            }
            _ => FaultKind::Partial { per_million: luck.range(10_000..900_000) as u32, for_ms },
        }
    }

    fn clock(node: u32, for_ms: u64, luck: &mut Luck) -> FaultKind {
        let sign = if luck.chance(1, 2) { 1 } else { -1 };
        match luck.range(0..3) {
            0 => {
                let ppm = sign * luck.range(10..200_000) as i32;
                FaultKind::Drift { node, ppm, for_ms: for_ms * 3 }
            }
            1 => {
                let by_ms = i64::from(sign) * luck.range(1..10_000_000) as i64;
                FaultKind::WallJump { node, by_ms }
            }
            _ => FaultKind::Leap { node, by_ms: luck.range(1..3000) },
        }
    }

    fn disk_error(node: u32, for_ms: u64, luck: &mut Luck) -> FaultKind {
        let kinds = [
            DiskFault::SyncError,
            DiskFault::SyncDirError,
            DiskFault::WriteError,
            DiskFault::NoSpace,
            DiskFault::ReadError,
        ];
        let fault = *luck.pick(&kinds);
        match luck.range(0..4) {
            0 => FaultKind::Full { node, room_kib: 0, for_ms },
            1 => {
                let per_million = luck.range(1000..300_000) as u32;
                FaultKind::Disk { node, fault, per_million, for_ms }
            }
            _ => FaultKind::DiskOnce { node, fault },
        }
    }

    /// A disk that is slow for a good part of the time, or answers nothing at all.
    fn slow(&self, node: u32, luck: &mut Luck) -> Fault {
        let when = When::AtMs(luck.range(self.span_ms / 5..self.span_ms / 3 + 1));
        let for_ms = luck.range(self.span_ms / 3..self.span_ms / 2 + 1);
        let what = if luck.coin() {
            FaultKind::Stall { node, for_ms }
        } else {
            FaultKind::SlowDisk { node, times: luck.range(50..300) as u32, for_ms }
        };
        Fault { when, what }
    }

    /// The disks of one node, of a minority or of all fill up, at about the same time or not, and
    /// have room again later: most of it, or a little that is used up at once.
    fn fill(&self, luck: &mut Luck, entries: &mut Vec<Fault>) {
        let mut nodes: Vec<u32> = (0..self.nodes).collect();
        luck.shuffle(&mut nodes);
        let most = [1, self.nodes.saturating_sub(1) / 2, self.nodes, self.nodes];
        nodes.truncate(*luck.pick(&most) as usize);
        let from = luck.range(0..self.span_ms / 3 + 1);
        let apart = if luck.coin() { 1 } else { self.span_ms / 3 };
        for node in nodes {
            for again in 0..luck.range(1..4) {
                let at = from + luck.range(0..apart) + again * self.span_ms / 4;
                let room_kib = if luck.chance(1, 3) { 0 } else { luck.range(0..256) };
                let for_ms = luck.range(self.span_ms / 10..self.span_ms / 2 + 1);
                let what = FaultKind::Full { node, room_kib, for_ms };
                entries.push(Fault { when: When::AtMs(at), what });
            }
        }
    }

    /// The one disk that the budget lets go, at a bad moment: others have lost their power or are
    /// cut off, and what was acknowledged a moment ago exists where it had to be, and only there.
    fn lose(&self, node: u32, luck: &mut Luck, entries: &mut Vec<Fault>) {
        let when = if luck.chance(1, 2) {
            self.moment(node, luck)
        } else {
            When::AtMs(luck.range(self.span_ms / 4..self.span_ms.max(4)))
        };
        let others: Vec<u32> = (0..self.nodes).filter(|other| *other != node).collect();
        let down_ms = luck.range(50..500);
        if luck.chance(1, 2) {
            let nodes = others.clone();
            entries
                .push(Fault { when: when.clone(), what: FaultKind::PowerLoss { nodes, down_ms } });
        }
        // Some are cut off for a while before: they miss what the others hold.
        if let When::AtMs(at) = when {
            for to in others {
                if luck.chance(1, 2) {
                    let before = luck.range(1..1500).min(at);
                    let for_ms = before + luck.range(0..1500);
                    let what = FaultKind::Cut { from: node, to, for_ms };
                    entries.push(Fault { when: When::AtMs(at - before), what });
                }
            }
        }
        entries.push(Fault { when, what: FaultKind::Replace { node, down_ms } });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_plans_differ() {
        let weather = Weather::of_nodes(5);
        let plans: BTreeSet<String> = (0..50)
            .map(|seed| {
                let drawn = weather.draw(seed);
                assert_eq!(drawn, weather.draw(seed));
                let text = drawn.plan.to_toml().expect("it fits");
                assert_eq!(FaultPlan::from_toml(&text).expect("what it wrote"), drawn.plan);
                text
            })
            .collect();
        assert!(plans.len() > 45, "{}", plans.len());
    }

    #[test]
    fn a_longer_plan_begins_like_the_shorter() {
        let short = Weather { count: 10, ..Weather::of_nodes(3) };
        let long = Weather { count: 30, ..short.clone() };
        for seed in 0..20 {
            let (short, long) = (short.draw(seed).plan.entries, long.draw(seed).plan.entries);
            assert_eq!(short, long[..short.len()]);
        }
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_damage_keeps_to_its_budget() {
        let weather = Weather { count: 300, ..Weather::of_nodes(5) };
        let mut kinds = BTreeSet::new();
        for seed in 0..60 {
            let drawn = weather.draw(seed);
            assert!(drawn.damaged.len() <= 2);
            for fault in &drawn.plan.entries {
                kinds.insert(fault.what.name());
                let damages = match &fault.what {
                    FaultKind::Replace { .. } | FaultKind::SwapDisks { .. } => true,
                    FaultKind::Rot { .. } => true,
                    FaultKind::Disk { fault, .. } | FaultKind::DiskOnce { fault, .. } => {
                        fault.is_damage()
                    }
                    _ => false,
                };
                let nodes = fault.what.nodes();
                assert!(nodes.iter().all(|node| *node < 5));
                assert!(!damages || nodes.iter().all(|node| drawn.damaged.contains(node)));
            }
        }
        assert_eq!(kinds.len(), 26, "{kinds:?}");
    }

    #[test]
    fn a_disk_that_may_be_lost_is_lost_once_and_only_what_is_allowed_is_drawn() {
        let gentle: Vec<Family> =
            Family::ALL.into_iter().filter(|family| !family.is_damage()).collect();
        let weather =
            Weather { lose_disk: Some(0), families: gentle, clients: 2, ..Weather::of_nodes(3) };
        for seed in 0..100 {
            let lost = |one: &&Fault| matches!(one.what, FaultKind::Replace { .. });
            assert_eq!(weather.draw(seed).plan.entries.iter().filter(lost).count(), 1);
        }
        let kills = Weather { families: vec![Family::Kill], ..Weather::of_nodes(3) };
        assert!(kills.draw(3).plan.entries.iter().all(|one| one.what.name() == "kill"));
    }

    #[test]
    fn a_disk_that_may_be_slow_is_slow_once_and_for_long() {
        let weather = Weather { slow_disk: Some(1), families: vec![], ..Weather::of_nodes(3) };
        for seed in 0..100 {
            let [fault] = &weather.draw(seed).plan.entries[..] else { panic!("one fault") };
            assert_eq!(fault.what.nodes(), [1]);
            assert!(matches!(fault.what.name(), "slow_disk" | "stall"), "{}", fault.what.name());
        }
    }

    #[test]
    fn disks_that_fill_up_have_room_again() {
        let weather = Weather { full_disks: true, families: vec![], ..Weather::of_nodes(3) };
        let mut struck = BTreeSet::new();
        for seed in 0..100 {
            let plan = weather.draw(seed).plan;
            assert!(plan.entries.iter().all(|one| one.what.name() == "full"));
            struck.insert(
                plan.entries.iter().flat_map(|one| one.what.nodes()).collect::<BTreeSet<_>>(),
            );
        }
        assert!(struck.iter().any(|nodes| nodes.len() == 1));
        assert!(struck.iter().any(|nodes| nodes.len() == 3));
    }

    #[test]
    fn a_world_of_one_or_none_gets_what_it_can_have() {
        for nodes in 0..2 {
            for seed in 0..20 {
                let drawn = Weather::of_nodes(nodes).draw(seed);
                assert!(drawn.damaged.is_empty());
                assert!(nodes == 1 || drawn.plan.entries.is_empty());
            }
        }
    }
}
