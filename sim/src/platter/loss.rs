//! The end of a life: what a power loss leaves, drawn by luck or all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trilith_engine::runtime::Rng as _;

use super::{
    Content, Garbage, Happened, Inode, Node, PAGE_BYTES, Platter, Probes, SECTOR_BYTES,
    content::{SECTOR, is_zero},
};
use crate::luck::Luck;

/// How a power loss treats the unsynced parts of one file, or the unsynced names: each style
/// finds other bugs, and coins alone would hardly ever lose all or keep all.
#[derive(Clone, Copy)]
enum Style {
    /// This many of eight are kept.
    Of8(u64),
    /// The first so many are kept.
    First(usize),
    /// All but the first so many are kept.
    Last(usize),
}

impl Style {
    fn draw(luck: &mut Luck, count: usize) -> Self {
        match luck.range(0..8) {
            0 => Self::Of8(0),
            1 => Self::Of8(8),
            2 => Self::Of8(1),
            3 => Self::Of8(7),
            4 => Self::First(luck.index(count + 1)),
            5 => Self::Last(luck.index(count + 1)),
            _ => Self::Of8(4),
        }
    }

    fn keeps(self, luck: &mut Luck, index: usize) -> bool {
        match self {
            Self::Of8(of) => luck.chance(of, 8),
            Self::First(count) => index < count,
            Self::Last(count) => index >= count,
        }
    }
}

impl Inode {
    /// The number of versions that a power loss may leave of a dirty sector.
    fn versions(between: &[Arc<[u8; SECTOR]>]) -> u128 {
        between.len() as u128 + 2
    }

    /// The lengths that a power loss may leave, the medium's first.
    fn lengths(&self) -> Vec<u64> {
        let mut lengths = vec![self.medium.len];
        for len in self.lens.iter().chain([&self.cache.len]) {
            if !lengths.contains(len) {
                lengths.push(*len);
            }
        }
        lengths
    }

    /// Puts one version of a dirty sector on the medium: 0 is the old one.
    fn settle_sector(&mut self, sector: u64, version: u128) {
        let between = &self.dirty[&sector];
        let bytes = match version {
            0 => return,
            newest if newest == Self::versions(between) - 1 => self.cache.sector(sector),
            index => *between[usize::try_from(index).expect("few versions") - 1],
        };
        self.medium.put_sector(sector, &bytes);
        self.bad.remove(&sector);
    }

    /// The cache is gone, the medium is all there is.
    fn restart(&mut self, len: u64) {
        self.medium.set_len(len, |_, _| {});
        self.cache = self.medium.clone();
        self.dirty.clear();
        self.lens.clear();
        self.parted = false;
        self.backed = self.backed_kept.clone();
        self.backed.cut(len.div_ceil(super::PAGE_BYTES));
        self.backed_kept = self.backed.clone();
    }

    fn lose(&mut self, luck: &mut Luck, garbage: Garbage, probes: &mut Probes) {
        let style = Style::draw(luck, self.dirty.len());
        let synced = self.medium.len;
        let grows = self.cache.len > synced;
        let len = self.draw_length(luck, style);
        if len != self.cache.len {
            probes.hit(Happened::LengthLost);
        }
        let spoil = garbage != Garbage::Never && luck.chance(1, 8);
        let dirty: Vec<(u64, u128)> =
            self.dirty.iter().map(|(sector, between)| (*sector, Self::versions(between))).collect();
        for (index, (sector, versions)) in dirty.into_iter().enumerate() {
            let newest = versions - 1;
            let version = if style.keeps(luck, index) {
                newest
            } else if versions > 2 {
                u128::from(luck.range(0..u64::try_from(versions).expect("few versions") - 1))
            } else {
                0
            };
            probes.hit(match version {
                0 => Happened::SectorLost,
                _ if version == newest => Happened::SectorKept,
                _ => Happened::SectorBetween,
            });
            let may_spoil = spoil && self.may_be_garbage(sector, synced, garbage);
            if version != newest && may_spoil && luck.coin() {
                self.medium.put_sector(sector, &draw_garbage(luck, &self.medium));
                probes.hit(Happened::SectorGarbage);
            } else {
                self.settle_sector(sector, version);
            }
        }
        // Blocks that were given to the file and never reached by any write may hold anything.
        if spoil && grows && len > synced.div_ceil(SECTOR_BYTES) * SECTOR_BYTES {
            let range = synced.div_ceil(SECTOR_BYTES)..len.div_ceil(SECTOR_BYTES);
            for _ in 0..luck.range(1..4) {
                let sector = luck.range(range.clone());
                if !self.dirty.contains_key(&sector) {
                    self.medium.put_sector(sector, &draw_garbage(luck, &self.medium));
                    probes.hit(Happened::SectorGarbage);
                }
            }
        }
        self.restart(len);
    }

    fn draw_length(&self, luck: &mut Luck, style: Style) -> u64 {
        let lengths = self.lengths();
        if lengths.len() == 1 {
            return lengths[0];
        }
        if let Style::Of8(8) = style {
            return self.cache.len;
        }
        if luck.chance(1, 4) {
            // A long write lengthens a file bit by bit.
            let low = lengths.iter().min().map_or(0, |len| len.div_ceil(SECTOR_BYTES));
            let high = lengths.iter().max().map_or(0, |len| len / SECTOR_BYTES);
            if low < high {
                return luck.range(low..high + 1) * SECTOR_BYTES;
            }
        }
        *luck.pick(&lengths)
    }

    fn may_be_garbage(&self, sector: u64, synced: u64, garbage: Garbage) -> bool {
        match garbage {
            Garbage::Never => false,
            Garbage::Unwritten => sector * SECTOR_BYTES >= synced,
            Garbage::Zeros => is_zero(&self.medium.sector(sector)),
        }
    }
}

/// Garbage worth the name: noise, or a copy of something real from elsewhere in the file.
fn draw_garbage(luck: &mut Luck, medium: &Content) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let sectors = medium.len.div_ceil(SECTOR_BYTES);
    if sectors > 0 && luck.coin() {
        bytes = medium.sector(luck.range(0..sectors));
    }
    if is_zero(&bytes) {
        luck.fill(&mut bytes);
    }
    bytes
}

impl Platter {
    /// The power goes and comes back: of every unsynced sector, length and name the luck decides
    /// what is left. Handles and locks are dead, the caches empty.
    pub fn power_loss(&mut self, luck: &mut Luck) {
        self.probes.hit(Happened::PowerLoss);
        let pending = self.names.pending.len();
        let style = Style::draw(luck, pending);
        let kept: Vec<bool> = (0..pending).map(|index| style.keeps(luck, index)).collect();
        for kept in &kept {
            self.probes.hit(if *kept { Happened::NameKept } else { Happened::NameLost });
        }
        let all = self.names.now.len();
        let names = self.names.after_loss(|index| kept[index]);
        if kept.iter().all(|kept| *kept) && names.len() < all {
            self.probes.hit(Happened::OrphanLost);
        }
        self.restart(names);
        for inode in self.inodes.values_mut() {
            if !inode.is_settled() || inode.parted {
                Arc::make_mut(inode).lose(luck, self.garbage, &mut self.probes);
            }
        }
    }

    /// The process dies and the machine lives: caches stay, handles and locks go.
    pub fn process_death(&mut self) {
        self.probes.hit(Happened::ProcessDeath);
        self.handles.clear();
        self.locks.clear();
        self.largest_read = 0;
        self.collect_all();
    }

    /// The bytes that were written and not synced, in whole sectors, and those that have blocks
    /// whatever happens, in whole pages.
    #[must_use]
    pub fn at_stake(&self) -> (u64, u64) {
        let (mut pending, mut durable) = (0, 0);
        for inode in self.inodes.values() {
            pending += inode.dirty.len() as u64 * SECTOR_BYTES;
            durable += inode.backed_kept.count() * PAGE_BYTES;
        }
        (pending, durable)
    }

    /// Every disk that a power loss now could leave, as long as there are at most `bound`: each
    /// unsynced sector in each of its versions, each unsynced length, each subset of the unsynced
    /// name changes. Garbage is not among them. `None` when there are more.
    #[must_use]
    pub fn survivors(&self, bound: usize) -> Option<Survivors> {
        let pending = self.names.pending.len();
        if pending >= 24 || 1_usize << pending > bound {
            return None;
        }
        let all: BTreeSet<Vec<(String, Node)>> = (0..1_usize << pending)
            .map(|mask| self.names.after_loss(|index| mask >> index & 1 == 1))
            .map(|names| names.into_iter().collect())
            .collect();
        let mut total: u128 = 0;
        let mut plans = Vec::new();
        for names in all {
            let plan = Plan::new(self, names.into_iter().collect());
            total = total.checked_add(plan.count)?;
            if total > bound as u128 {
                return None;
            }
            plans.push(plan);
        }
        Some(Survivors { base: self.clone(), plans, plan: 0, outcome: 0 })
    }

    fn restart(&mut self, names: BTreeMap<String, Node>) {
        self.names.settle(names);
        self.handles.clear();
        self.locks.clear();
        self.strikes.clear();
        self.read_strikes.clear();
        self.largest_read = 0;
        self.off = false;
        self.collect_all();
    }
}

/// The outcomes for one set of surviving names.
#[derive(Clone, Debug)]
struct Plan {
    names: BTreeMap<String, Node>,
    /// The files that have something unsynced, each with the number of its outcomes.
    files: Vec<(u64, u128)>,
    count: u128,
}

impl Plan {
    fn new(platter: &Platter, names: BTreeMap<String, Node>) -> Self {
        let named: BTreeSet<u64> = names
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Dir => None,
            })
            .collect();
        let files: Vec<(u64, u128)> = named
            .iter()
            .filter(|number| !platter.inodes[number].is_settled())
            .map(|number| (*number, platter.inodes[number].outcomes()))
            .collect();
        let count =
            files.iter().fold(1, |count: u128, (_, outcomes)| count.saturating_mul(*outcomes));
        Self { names, files, count }
    }
}

impl Inode {
    /// How many outcomes there are at this length: sectors beyond it do not matter.
    fn outcomes_at(&self, len: u64) -> u128 {
        let below = self.dirty.range(..len.div_ceil(SECTOR_BYTES));
        below.fold(1, |count: u128, (_, between)| count.saturating_mul(Self::versions(between)))
    }

    fn outcomes(&self) -> u128 {
        self.lengths()
            .into_iter()
            .fold(0, |count: u128, len| count.saturating_add(self.outcomes_at(len)))
    }

    /// Becomes the outcome of that number.
    fn become_outcome(&mut self, mut number: u128) {
        for len in self.lengths() {
            let here = self.outcomes_at(len);
            if number >= here {
                number -= here;
                continue;
            }
            let below: Vec<(u64, u128)> = self
                .dirty
                .range(..len.div_ceil(SECTOR_BYTES))
                .map(|(sector, between)| (*sector, Self::versions(between)))
                .collect();
            for (sector, versions) in below {
                self.settle_sector(sector, number % versions);
                number /= versions;
            }
            self.restart(len);
            return;
        }
        unreachable!("an outcome's number is below the count of outcomes");
    }
}

/// Every outcome of a power loss; see [`Platter::survivors`].
#[derive(Clone, Debug)]
pub struct Survivors {
    base: Platter,
    plans: Vec<Plan>,
    plan: usize,
    outcome: u128,
}

impl Survivors {
    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> usize {
        let total: u128 = self.plans.iter().map(|plan| plan.count).sum();
        usize::try_from(total).expect("the total is within the bound, which is a usize")
    }
}

impl Iterator for Survivors {
    type Item = Platter;

    fn next(&mut self) -> Option<Platter> {
        let plan = self.plans.get(self.plan)?;
        let mut platter = self.base.clone();
        platter.restart(plan.names.clone());
        let mut rest = self.outcome;
        let mut settled = BTreeSet::new();
        for (number, outcomes) in &plan.files {
            platter.inode(*number).become_outcome(rest % outcomes);
            settled.insert(*number);
            rest /= outcomes;
        }
        for (number, inode) in &mut platter.inodes {
            if inode.parted && !settled.contains(number) {
                let len = inode.medium.len;
                Arc::make_mut(inode).restart(len);
            }
        }
        self.outcome += 1;
        if self.outcome == plan.count {
            self.outcome = 0;
            self.plan += 1;
        }
        Some(platter)
    }
}
