//! How a plan of faults is drawn: which families this seed knows, how often they strike, and whom.
//!
//! Swarm (Groce et al. 2012): a seed that draws from all families alike always gets the same
//! lukewarm mixture, and one fault masks the other. So each seed first draws the *subset* of
//! families it knows at all, then a pace for them, and only then the entries.
//!
//! The **atlas** keeps the run honest. A fault that takes acknowledged bytes away (rot, a phantom
//! write, a replaced disk) may strike only a fixed minority of the replicas, the same ones for the
//! whole run: two replicas damaged one after the other are two damaged replicas. What only stops a
//! node may strike everybody, also all at once: a blackout takes no synced byte. A weather with a
//! budget of more than a minority is allowed; then a run may only be asked to refuse, not to serve.
//!
//! Invariant: the plan depends on the seed and the weather alone, and is finished before the run
//! begins; each entry has its own stream of luck, so that asking for more entries leaves the first
//! ones as they were.
//!
//! Not here: the words of a plan (`fault.rs`), how it is shrunk (`shrink.rs`).

use serde::{Deserialize, Serialize};
use trilith_engine::runtime::Rng as _;

use crate::{
    fault::{DiskFault, Family, Fault, FaultKind, FaultPlan, When},
    luck::{Domain, Luck},
};

/// What may happen in a run, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weather {
    /// The nodes that faults may strike: the first so many of the world.
    pub nodes: u32,
    /// How long faults may begin, in milliseconds.
    pub span_ms: u64,
    /// The families a seed may draw from.
    pub families: Vec<Family>,
    /// Whether each seed knows only a random subset of them.
    pub swarm: bool,
    /// The mean gap between two faults, in milliseconds, at an ordinary pace.
    pub gap_ms: u64,
    /// How many nodes may lose acknowledged bytes.
    pub damaged_max: u32,
    /// How many nodes may be down at once, blackouts apart.
    pub down_max: u32,
    /// How far clocks may drift, in ppm.
    pub drift_ppm_max: u32,
    /// How far clocks may jump, in milliseconds.
    pub jump_ms_max: u64,
    /// How long a process may be held, in milliseconds: longer than any lease.
    pub pause_ms_max: u64,
    /// Of the faults that a node can die of, how many strike inside a disk operation, in a
    /// hundred.
    pub inside_percent: u32,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            nodes: 3,
            span_ms: 20_000,
            families: Family::ALL.to_vec(),
            swarm: true,
            gap_ms: 700,
            damaged_max: 1,
            down_max: 3,
            drift_ppm_max: 500,
            jump_ms_max: 10_000,
            pause_ms_max: 6_000,
            inside_percent: 50,
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

/// No more entries than this in one plan.
const ENTRIES_MAX: u64 = 1000;

impl Weather {
    /// A minority of so many nodes may be damaged.
    #[must_use]
    pub fn of_nodes(nodes: u32) -> Self {
        let minority = nodes.saturating_sub(1) / 2;
        Self { nodes, damaged_max: minority, down_max: nodes, ..Self::default() }
    }

    /// Draws a plan.
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
        let mut order: Vec<u32> = (0..self.nodes).collect();
        luck.shuffle(&mut order);
        let mut damaged = order;
        damaged.truncate(self.damaged_max as usize);
        damaged.sort_unstable();
        // From a quarter of the usual gap to four times as much.
        let gap_ms = (self.gap_ms.max(1) << luck.range(0..5)) / 4;
        let mut entries = Vec::new();
        let mut at_ms = 0;
        for number in 0..ENTRIES_MAX {
            let mut own = Luck::new(seed, Domain::Fault(number));
            at_ms += own.range(1..2 * gap_ms.max(1) + 1);
            if at_ms >= self.span_ms || families.is_empty() || self.nodes == 0 {
                break;
            }
            let family = *own.pick(&families);
            let mut draw = Draw { luck: own, weather: self, damaged: &damaged, at_ms };
            entries.extend(draw.fault(family));
        }
        self.keep_some_up(&mut entries);
        Drawn { families, damaged, plan: FaultPlan { entries } }
    }

    /// Takes away what would have too many nodes down at once.
    fn keep_some_up(&self, entries: &mut Vec<Fault>) {
        if self.down_max >= self.nodes {
            return;
        }
        let mut down: Vec<(u64, u64, u32)> = Vec::new();
        entries.retain(|fault| {
            let Some((node, for_ms)) = takes_down(&fault.what) else { return true };
            // One that waits for an operation may strike at any time: it counts for the whole run.
            let (from, to) = match fault.when {
                When::AtMs(at) => (at, at.saturating_add(for_ms)),
                _ => (0, u64::MAX),
            };
            let mut others: Vec<u32> = down
                .iter()
                .filter(|(begin, end, _)| *begin < to && from < *end)
                .map(|(.., other)| *other)
                .filter(|other| *other != node)
                .collect();
            others.sort_unstable();
            others.dedup();
            let fits = (others.len() as u32) < self.down_max;
            if fits {
                down.push((from, to, node));
            }
            fits
        });
    }
}

fn takes_down(what: &FaultKind) -> Option<(u32, u64)> {
    match what {
        FaultKind::PowerLoss { nodes, down_ms } if nodes.len() == 1 => Some((nodes[0], *down_ms)),
        FaultKind::Kill { node, down_ms } | FaultKind::Replace { node, down_ms } => {
            Some((*node, *down_ms))
        }
        FaultKind::Stop { node, grace_ms, down_ms } => Some((*node, grace_ms + down_ms)),
        FaultKind::Pause { node, for_ms } => Some((*node, *for_ms)),
        _ => None,
    }
}

/// One entry being drawn.
struct Draw<'a> {
    luck: Luck,
    weather: &'a Weather,
    damaged: &'a [u32],
    at_ms: u64,
}

impl Draw<'_> {
    fn node(&mut self) -> u32 {
        self.luck.range(0..u64::from(self.weather.nodes)) as u32
    }

    fn pair(&mut self) -> Option<(u32, u32)> {
        if self.weather.nodes < 2 {
            return None;
        }
        let from = self.node();
        let step = self.luck.range(1..u64::from(self.weather.nodes)) as u32;
        Some((from, (from + step) % self.weather.nodes))
    }

    /// Mostly short, now and then long.
    fn for_ms(&mut self, most: u64) -> u64 {
        let most = if self.luck.chance(3, 4) { most / 8 } else { most };
        self.luck.range(1..most.max(1) + 1)
    }

    fn fault(&mut self, family: Family) -> Option<Fault> {
        let what = self.kind(family)?;
        let when = self.when(&what);
        Some(Fault { when, what })
    }

    /// Deaths are placed inside an operation as often as the weather says: it finds what a time
    /// drawn at random hardly ever hits.
    fn when(&mut self, what: &FaultKind) -> When {
        let node = match what {
            FaultKind::PowerLoss { nodes, .. } => nodes[0],
            FaultKind::Kill { node, .. } => *node,
            _ => return When::AtMs(self.at_ms),
        };
        if !self.luck.chance(u64::from(self.weather.inside_percent.min(100)), 100) {
            return When::AtMs(self.at_ms);
        }
        // Small numbers lie in opening and recovery, large ones in the ordinary course.
        let most = [30, 300, 3_000][self.luck.index(3)];
        let nth = self.luck.range(1..most);
        if self.luck.chance(4, 5) {
            When::DiskOp { node, nth }
        } else {
            When::Message { node, nth }
        }
    }

    fn kind(&mut self, family: Family) -> Option<FaultKind> {
        let weather = self.weather;
        Some(match family {
            Family::PowerLoss => {
                FaultKind::PowerLoss { nodes: vec![self.node()], down_ms: self.for_ms(8_000) }
            }
            Family::Blackout => FaultKind::PowerLoss {
                nodes: (0..weather.nodes).collect(),
                down_ms: self.for_ms(4_000),
            },
            Family::Kill => FaultKind::Kill { node: self.node(), down_ms: self.for_ms(8_000) },
            Family::Stop => FaultKind::Stop {
                node: self.node(),
                grace_ms: self.for_ms(2_000),
                down_ms: self.for_ms(4_000),
            },
            Family::Pause => {
                FaultKind::Pause { node: self.node(), for_ms: self.for_ms(weather.pause_ms_max) }
            }
            Family::Replace => self.replace()?,
            Family::Partition => self.partition()?,
            Family::Clog => self.clog()?,
            Family::Weather => self.weather()?,
            Family::Flip => {
                let (from, to) = self.pair()?;
                let per_million = self.luck.range(10..2_000) as u32;
                FaultKind::Flip { from, to, per_million, for_ms: self.for_ms(8_000) }
            }
            Family::Clock => self.clock(),
            Family::SlowDisk => {
                let node = self.node();
                if self.luck.coin() {
                    FaultKind::Stall { node, for_ms: self.for_ms(4_000) }
                } else {
                    let times = self.luck.range(2..200) as u32;
                    FaultKind::SlowDisk { node, times, for_ms: self.for_ms(8_000) }
                }
            }
            Family::DiskError => self.disk_error(),
            Family::DiskDamage => self.disk_damage()?,
        })
    }

    fn damaged_node(&mut self) -> Option<u32> {
        (!self.damaged.is_empty()).then(|| *self.luck.pick(self.damaged))
    }

    fn replace(&mut self) -> Option<FaultKind> {
        let down_ms = self.for_ms(8_000);
        // A swap damages two: it needs both in the budget.
        if self.damaged.len() >= 2 && self.luck.chance(1, 3) {
            let one = self.luck.index(self.damaged.len());
            let other = (one + 1) % self.damaged.len();
            let (one, other) = (self.damaged[one], self.damaged[other]);
            return Some(FaultKind::SwapDisks { one, other, down_ms });
        }
        Some(FaultKind::Replace { node: self.damaged_node()?, down_ms })
    }

    fn partition(&mut self) -> Option<FaultKind> {
        let (from, to) = self.pair()?;
        let for_ms = self.for_ms(10_000);
        Some(match self.luck.range(0..5) {
            0 => FaultKind::Cut { from, to, for_ms },
            1 => FaultKind::Isolate { node: from, for_ms },
            2 if self.weather.nodes >= 3 => FaultKind::Bridge { node: from, for_ms },
            _ => {
                let side = (0..self.weather.nodes).filter(|_| self.luck.coin()).collect();
                FaultKind::Partition { side, for_ms }
            }
        })
    }

    fn clog(&mut self) -> Option<FaultKind> {
        let (from, to) = self.pair()?;
        Some(if self.luck.coin() {
            FaultKind::Hold { from, to, for_ms: self.for_ms(6_000) }
        } else {
            FaultKind::Reset { one: from, other: to }
        })
    }

    fn weather(&mut self) -> Option<FaultKind> {
        let (from, to) = self.pair()?;
        let for_ms = self.for_ms(10_000);
        Some(match self.luck.range(0..4) {
            0 => FaultKind::Slow { from, to, extra_us: self.luck.range(100..1_000_000), for_ms },
            1 => {
                let bytes_per_second = self.luck.range(2_000..2_000_000);
                FaultKind::Throttle { from, to, bytes_per_second, for_ms }
            }
            2 => {
                let per_million = self.luck.range(1_000..300_000) as u32;
                FaultKind::Loss { from, to, per_million, for_ms }
            }
            _ => {
                let per_million = self.luck.range(1_000..500_000) as u32;
                FaultKind::Partial { per_million, for_ms }
            }
        })
    }

    fn clock(&mut self) -> FaultKind {
        let (node, weather) = (self.node(), self.weather);
        let by = i64::try_from(self.luck.range(1..weather.jump_ms_max.max(1) + 1)).unwrap_or(1);
        match self.luck.range(0..3) {
            0 => {
                let most = weather.drift_ppm_max.min(900_000) as i32;
                let ppm = self.luck.range(0..2 * most as u64 + 1) as i32 - most;
                FaultKind::Drift { node, ppm, for_ms: self.for_ms(20_000) }
            }
            1 => FaultKind::WallJump { node, by_ms: if self.luck.coin() { by } else { -by } },
            _ => FaultKind::Leap { node, by_ms: by.unsigned_abs() },
        }
    }

    fn disk_error(&mut self) -> FaultKind {
        let node = self.node();
        let honest: Vec<DiskFault> =
            DiskFault::ALL.into_iter().filter(|fault| !fault.is_damage()).collect();
        let fault = *self.luck.pick(&honest);
        match self.luck.range(0..4) {
            0 => FaultKind::Full { node, for_ms: self.for_ms(6_000) },
            1 => {
                let per_million = self.luck.range(100..50_000) as u32;
                FaultKind::Disk { node, fault, per_million, for_ms: self.for_ms(6_000) }
            }
            _ => FaultKind::DiskOnce { node, fault },
        }
    }

    fn disk_damage(&mut self) -> Option<FaultKind> {
        let node = self.damaged_node()?;
        let damage: Vec<DiskFault> =
            DiskFault::ALL.into_iter().filter(|fault| fault.is_damage()).collect();
        Some(if self.luck.coin() {
            FaultKind::Rot { node, bits: self.luck.range(1..20) as u32 }
        } else {
            FaultKind::DiskOnce { node, fault: *self.luck.pick(&damage) }
        })
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
    fn a_longer_run_begins_like_the_shorter() {
        let short = Weather { span_ms: 10_000, ..Weather::of_nodes(3) };
        let long = Weather { span_ms: 30_000, ..short.clone() };
        for seed in 0..20 {
            let (short, long) = (short.draw(seed).plan.entries, long.draw(seed).plan.entries);
            assert_eq!(short, long[..short.len()]);
        }
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_damage_keeps_to_its_budget() {
        let weather = Weather { span_ms: 60_000, gap_ms: 100, ..Weather::of_nodes(5) };
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
    fn some_stay_up_when_the_weather_says_so() {
        let families = vec![Family::Kill, Family::Pause, Family::PowerLoss];
        let weather = Weather { down_max: 1, inside_percent: 0, families, ..Weather::of_nodes(3) };
        for seed in 0..30 {
            let entries = weather.draw(seed).plan.entries;
            let mut down: Vec<(u64, u64, u32)> = Vec::new();
            for fault in &entries {
                let (When::AtMs(at), Some((node, for_ms))) = (&fault.when, takes_down(&fault.what))
                else {
                    panic!("only deaths at a time were asked for")
                };
                let overlaps = |(begin, end, other): &(u64, u64, u32)| {
                    *other != node && *begin < at + for_ms && at < end
                };
                assert!(!down.iter().any(overlaps), "{seed}");
                down.push((*at, at + for_ms, node));
            }
        }
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
