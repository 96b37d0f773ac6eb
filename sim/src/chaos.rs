//! Chaos: the plan of faults of one run, drawn from what its scenario allows.
//!
//! Swarm testing: each seed draws a subset of the scenario's families and leaves the others out
//! altogether. A run in which everything fails all the time mostly shows that nothing works when
//! everything fails; a run without power losses can keep a process alive long enough for the bug
//! that needs it.
//!
//! Half of all crashes are placed inside a disk operation and not at a time: bugs live between a
//! write and its sync, and that is a thin slice of time.
//!
//! The budget: what may be lost for good is decided here, never by chance. A subject that survives
//! the loss of one disk is sent one, once; all other disks only fail in ways a disk may fail
//! without losing what it acknowledged.
//!
//! `plan.rs` draws for any cluster; this one knows what a scenario's subject promises to survive,
//! that the first node of the toy matters most, and what a bad moment to lose a disk is.
//!
//! Not here: how a fault is done to a world (`world/inject.rs`), what faults there are (`fault`).

use trilith_engine::runtime::Rng;

use crate::{
    fault::{DiskFault, Family, Fault, FaultKind, FaultPlan, When},
    luck::{Domain, Luck},
};

/// What a plan is drawn from.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// The subject's nodes; they come first in the world.
    pub nodes: u32,
    /// The clients' nodes, right after them.
    pub clients: u32,
    /// Families the scenario allows.
    pub families: Vec<Family>,
    /// How many faults.
    pub count: u64,
    /// The time they strike in.
    pub chaos_ms: u64,
    /// Disk operations that a node may be expected to do in that time.
    pub disk_ops: u64,
    /// The node whose disk may be lost, if the budget allows one.
    pub lose_disk: Option<u32>,
}

/// Draws the families of this seed, then the plan.
#[must_use]
pub fn plan(seed: u64, chaos: &Chaos) -> (Vec<Family>, FaultPlan) {
    let mut luck = Luck::new(seed, Domain::Faults);
    let mut families: Vec<Family> =
        chaos.families.iter().copied().filter(|_| luck.chance(1, 2)).collect();
    if families.is_empty() && !chaos.families.is_empty() {
        let at = luck.range(0..chaos.families.len() as u64);
        families.push(chaos.families[at as usize]);
    }
    let mut entries = Vec::new();
    for _ in 0..chaos.count {
        if families.is_empty() {
            break;
        }
        let family = families[luck.range(0..families.len() as u64) as usize];
        entries.push(chaos.draw(family, &mut luck));
    }
    if let Some(node) = chaos.lose_disk {
        chaos.lose(node, &mut luck, &mut entries);
    }
    (families, FaultPlan { entries })
}

impl Chaos {
    fn node(&self, luck: &mut Luck) -> u32 {
        // The first node is the toy's primary: hit it as often as all others together.
        let all = u64::from(self.nodes);
        if luck.chance(1, 2) { 0 } else { luck.range(0..all) as u32 }
    }

    fn pair(&self, luck: &mut Luck) -> (u32, u32) {
        let all = u64::from(self.nodes + self.clients).max(2);
        let from = luck.range(0..all);
        let to = (from + luck.range(1..all)) % all;
        (from as u32, to as u32)
    }

    fn time(&self, luck: &mut Luck) -> When {
        When::AtMs(luck.range(0..self.chaos_ms.max(1)))
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

    fn draw(&self, family: Family, luck: &mut Luck) -> Fault {
        let node = self.node(luck);
        let (from, to) = self.pair(luck);
        let for_ms = Self::lasting(luck);
        let down_ms = for_ms;
        let at = |what: FaultKind, luck: &mut Luck| Fault { when: self.time(luck), what };
        let inside =
            |what: FaultKind, luck: &mut Luck| Fault { when: self.moment(node, luck), what };
        match family {
            Family::PowerLoss => inside(FaultKind::PowerLoss { nodes: vec![node], down_ms }, luck),
            Family::Blackout => {
                let nodes = (0..self.nodes).collect();
                inside(FaultKind::PowerLoss { nodes, down_ms }, luck)
            }
            Family::Kill => inside(FaultKind::Kill { node, down_ms }, luck),
            Family::Stop => {
                at(FaultKind::Stop { node, grace_ms: luck.range(0..200), down_ms }, luck)
            }
            Family::Pause => inside(FaultKind::Pause { node, for_ms }, luck),
            Family::Partition => at(self.cut(node, (from, to), for_ms, luck), luck),
            Family::Clog => {
                let what = if luck.chance(1, 2) {
                    FaultKind::Hold { from, to, for_ms }
                } else {
                    FaultKind::Reset { one: from, other: to }
                };
                at(what, luck)
            }
            Family::Weather => at(Self::weather((from, to), for_ms, luck), luck),
            Family::Flip => {
                let per_million = luck.range(1000..100_000) as u32;
                at(FaultKind::Flip { from, to, per_million, for_ms: for_ms * 4 }, luck)
            }
            Family::Clock => at(Self::clock(node, for_ms, luck), luck),
            Family::SlowDisk => {
                let what = if luck.chance(1, 2) {
                    FaultKind::Stall { node, for_ms }
                } else {
                    FaultKind::SlowDisk { node, times: luck.range(2..50) as u32, for_ms }
                };
                at(what, luck)
            }
            Family::DiskError => self.disk_error(node, for_ms, luck),
            Family::Replace => at(FaultKind::Replace { node, down_ms }, luck),
            Family::DiskDamage => {
                // Most of a disk is zeros that nobody reads: a few bits would mostly hit those.
                let most = if self.nodes == 1 { 200 } else { 4 };
                let rot = FaultKind::Rot { node, bits: luck.range(1..most) as u32 };
                // A node alone cannot know that its very last write never reached the disk; only a
                // peer can. Such lies are for subjects that have one.
                let kinds = [
                    DiskFault::LatentError,
                    DiskFault::ReadFlip,
                    DiskFault::Phantom,
                    DiskFault::Misdirect,
                ];
                let known = if self.nodes == 1 { 2 } else { 4 };
                let fault = kinds[luck.range(0..known) as usize];
                let lie = FaultKind::DiskOnce { node, fault };
                inside(if luck.chance(1, 2) { rot } else { lie }, luck)
            }
        }
    }

    fn cut(&self, node: u32, (from, to): (u32, u32), for_ms: u64, luck: &mut Luck) -> FaultKind {
        match luck.range(0..4) {
            0 => FaultKind::Cut { from, to, for_ms },
            1 => FaultKind::Isolate { node, for_ms },
            2 if self.nodes > 3 => FaultKind::Bridge { node, for_ms },
            _ => {
                let side = (0..self.nodes + self.clients).filter(|_| luck.chance(1, 2)).collect();
                FaultKind::Partition { side, for_ms }
            }
        }
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

    fn disk_error(&self, node: u32, for_ms: u64, luck: &mut Luck) -> Fault {
        let kinds = [
            DiskFault::SyncError,
            DiskFault::SyncDirError,
            DiskFault::WriteError,
            DiskFault::NoSpace,
            DiskFault::ReadError,
        ];
        let fault = kinds[luck.range(0..kinds.len() as u64) as usize];
        let what = match luck.range(0..4) {
            0 => FaultKind::Full { node, for_ms },
            1 => {
                let per_million = luck.range(1000..300_000) as u32;
                FaultKind::Disk { node, fault, per_million, for_ms }
            }
            _ => FaultKind::DiskOnce { node, fault },
        };
        Fault { when: self.moment(node, luck), what }
    }

    /// The one disk that the budget lets go, at a bad moment: others have lost their power or are
    /// cut off, and what was acknowledged a moment ago exists where it had to be, and only there.
    fn lose(&self, node: u32, luck: &mut Luck, entries: &mut Vec<Fault>) {
        let when = if luck.chance(1, 2) {
            self.moment(node, luck)
        } else {
            When::AtMs(luck.range(self.chaos_ms / 4..self.chaos_ms.max(4)))
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
    use super::*;

    fn chaos(families: &[Family]) -> Chaos {
        Chaos {
            nodes: 3,
            clients: 2,
            families: families.to_vec(),
            count: 30,
            chaos_ms: 5000,
            disk_ops: 100,
            lose_disk: None,
        }
    }

    #[test]
    fn a_plan_depends_on_the_seed_alone() {
        let all = chaos(&Family::ALL);
        assert_eq!(plan(1, &all).1, plan(1, &all).1);
        assert_ne!(plan(1, &all).1, plan(2, &all).1);
    }

    #[test]
    fn every_family_is_drawn_sometimes_and_only_what_is_allowed() {
        let all = chaos(&Family::ALL);
        let mut seen: Vec<&'static str> = (0..200)
            .flat_map(|seed| plan(seed, &all).1.entries)
            .map(|one| one.what.name())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() >= 22, "{seen:?}");
        let some = chaos(&[Family::Kill]);
        assert!(plan(3, &some).1.entries.iter().all(|one| one.what.name() == "kill"));
        assert!(plan(3, &chaos(&[])).1.entries.is_empty());
    }

    #[test]
    fn no_disk_is_lost_beyond_the_budget() {
        let gentle: Vec<Family> =
            Family::ALL.into_iter().filter(|family| !family.is_damage()).collect();
        let mut budget = chaos(&gentle);
        budget.lose_disk = Some(0);
        for seed in 0..100 {
            let lost = |one: &&Fault| matches!(one.what, FaultKind::Replace { .. });
            assert_eq!(plan(seed, &budget).1.entries.iter().filter(lost).count(), 1);
        }
    }
}
