//! Every crash of every short history, and every crash of the recovery after it.
//!
//! ```text
//! history ─► stopped inside operation n ─► every disk that can be left ─► recovery ─► judged
//!                                               │
//!                                               └─► recovery stopped inside its operation m
//!                                                     ─► every disk that can be left ─► … judged
//! ```
//! Histories are words over an alphabet of steps. A history of length L is crashed only inside its
//! last step: what comes before is the last step of a shorter one. So all words up to L, each at
//! its last step, are all crashes of all histories up to L.
//!
//! Which disks can be left is known exactly ([`Platter::survivors`]: each unsynced sector in each
//! of its versions, each unsynced length, each subset of unsynced names) up to a bound; beyond it
//! some are drawn by luck, garbage among them, and counted apart. Below the first level recovery
//! depends on nothing but the disk, so what it finds is remembered by the disk's fingerprint, and
//! one disk that many crashes leave is recovered once.
//!
//! Beside power losses: each operation, of the history and of recovery, fails once instead, and
//! the process is started again with what the operating system's cache shows.
//!
//! What must hold is the subject's to say ([`Subject::judge`]); beyond that, what a finished
//! recovery has shown must still be there after a power loss, exactly: somebody may have read it.
//!
//! Not here: long histories, time, tasks that interleave (`world`).

pub mod entries;
pub mod journal;
pub mod store;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use trilith_engine::runtime::Rng as _;

use crate::{
    luck::{Domain, Luck},
    platter::{Platter, PlatterOptions, Strike},
    still::Still,
};

/// Something that runs on a disk, dies, and recovers.
pub trait Subject {
    /// What a history is made of.
    type Step: Clone + fmt::Debug + Send + Sync + 'static;
    /// What whoever used it knows when it dies.
    type Known;
    /// What recovery shows.
    type Found: Clone + PartialEq + fmt::Debug;

    /// Opens and runs a history until its end or the first refusal. Writes down how many
    /// operations the disk had begun after opening and after each step.
    fn run(still: &Still, steps: &[Self::Step], ops: &mut Vec<u64>) -> Self::Known;

    /// Opens what is left and reads everything.
    ///
    /// # Errors
    /// It could not be opened or read.
    fn recover(still: &Still) -> Result<Self::Found, String>;

    /// Whether this may be what is left.
    ///
    /// # Errors
    /// How it breaks the promise.
    fn judge(known: &Self::Known, found: &Self::Found) -> Result<(), String>;

    /// Opens what is left, writes more, loses the power, and opens again.
    ///
    /// # Errors
    /// Something that was there before, or the new write, is not there.
    fn live_on(still: &Still, found: &Self::Found) -> Result<(), String>;
}

/// Opens something and takes it through steps until the first refusal. Writes down how many
/// operations the disk had begun after opening and after each step.
fn play<T, R, E, S: Copy>(
    still: &Still,
    open: impl Future<Output = Result<(T, R), E>>,
    mut step: impl AsyncFnMut(T, S) -> Result<T, ()>,
    steps: &[S],
    ops: &mut Vec<u64>,
) {
    still.block_on(async {
        let Ok((mut opened, _)) = open.await else { return };
        ops.push(still.platter().op_count());
        for one in steps {
            match step(opened, *one).await {
                Ok(next) => opened = next,
                Err(()) => return,
            }
            ops.push(still.platter().op_count());
        }
    });
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Outcomes of one crash of the history that are all looked at.
    pub outcomes: usize,
    /// Outcomes of one crash of recovery that are all looked at.
    pub inner: usize,
    /// How many are drawn where there are more.
    pub drawn: usize,
    /// How many chains of three crashes are drawn for each crash of the history.
    pub chains: usize,
}

/// What was covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Histories.
    pub histories: u64,
    /// Operations of histories in which the power went.
    pub crash_points: u64,
    /// Disks that this left, where all were looked at.
    pub outcomes: u64,
    /// Disks that were drawn, because there were too many.
    pub drawn: u64,
    /// Different disks among them all, whose recovery was stopped in turn.
    pub disks: u64,
    /// Operations of recoveries in which the power went.
    pub inner_points: u64,
    /// Disks that this left, where all were looked at.
    pub inner_outcomes: u64,
    /// Disks that were drawn.
    pub inner_drawn: u64,
    /// Operations that failed instead, of histories and of recoveries.
    pub failures: u64,
    /// Chains of three crashes.
    pub chains: u64,
    /// Recoveries that ran.
    pub recoveries: u64,
}

impl Count {
    /// Takes another count in.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.crash_points += other.crash_points;
        self.outcomes += other.outcomes;
        self.drawn += other.drawn;
        self.disks += other.disks;
        self.inner_points += other.inner_points;
        self.inner_outcomes += other.inner_outcomes;
        self.inner_drawn += other.inner_drawn;
        self.failures += other.failures;
        self.chains += other.chains;
        self.recoveries += other.recoveries;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, crash_points, outcomes, drawn, disks, .. } = self;
        write!(
            f,
            "{histories} histories, {crash_points} crash points, {outcomes} outcomes (and {drawn} \
             drawn); inside the recovery of {disks} different disks: {} crash points, {} outcomes \
             (and {} drawn); {} failed operations, {} chains of three, {} recoveries",
            self.inner_points,
            self.inner_outcomes,
            self.inner_drawn,
            self.failures,
            self.chains,
            self.recoveries
        )
    }
}

/// A broken promise and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of histories up to this length over an alphabet of this size.
#[must_use]
pub fn words(letters: usize, length: u32) -> u64 {
    (1..=length).map(|length| (letters as u64).pow(length)).sum()
}

/// The history of that number: the shorter ones first.
#[must_use]
pub fn word<S: Clone>(alphabet: &[S], mut number: u64) -> Vec<S> {
    let letters = alphabet.len() as u64;
    let mut length = 1;
    while number >= letters.pow(length) {
        number -= letters.pow(length);
        length += 1;
    }
    let mut steps = Vec::new();
    for _ in 0..length {
        steps.push(alphabet[(number % letters) as usize].clone());
        number /= letters;
    }
    steps
}

/// Crashes a history inside its last step; one without steps inside its opening.
///
/// # Errors
/// The first broken promise.
pub fn last_step<S: Subject>(steps: &[S::Step], bound: &Bound) -> Result<Count, Broken> {
    let ops = operations::<S>(steps);
    let from = if steps.is_empty() { 0 } else { ops[ops.len() - 2] };
    crash_all::<S>(steps, from..=ops[ops.len() - 1], bound)
}

/// Crashes a history everywhere, its opening included.
///
/// # Errors
/// The first broken promise.
pub fn everywhere<S: Subject>(steps: &[S::Step], bound: &Bound) -> Result<Count, Broken> {
    let ops = operations::<S>(steps);
    crash_all::<S>(steps, 0..=ops[ops.len() - 1], bound)
}

fn operations<S: Subject>(steps: &[S::Step]) -> Vec<u64> {
    let mut ops = Vec::new();
    S::run(&first_life(Platter::default()), steps, &mut ops);
    assert_eq!(ops.len(), steps.len() + 1, "nothing refuses on a disk without faults: {steps:?}");
    ops
}

fn first_life(platter: Platter) -> Still {
    Still::with_seed(platter, 1)
}

/// Every later life of a disk. Its luck is new, so its names are other ones; and it is the same for
/// the same disk, so what it does can be remembered.
fn later_life(platter: Platter) -> Still {
    let seed = platter.fingerprint();
    Still::with_seed(platter, seed)
}

fn crash_all<S: Subject>(
    steps: &[S::Step],
    points: RangeInclusive<u64>,
    bound: &Bound,
) -> Result<Count, Broken> {
    let mut search = Search::<S> {
        bound: *bound,
        luck: Luck::new(7, Domain::Disk(0)),
        count: Count { histories: 1, ..Count::default() },
        found: BTreeMap::new(),
        reached: BTreeMap::new(),
    };
    for point in points {
        search
            .crash_at(steps, point)
            .map_err(|why| Broken(format!("{steps:?}, operation {point}: {why}")))?;
        search
            .fail_at(steps, point)
            .map_err(|why| Broken(format!("{steps:?}, operation {point} failed: {why}")))?;
    }
    Ok(search.count)
}

/// What recovery may show in the end, and one way to it.
type Reached<F> = Vec<(F, String)>;

struct Search<S: Subject> {
    bound: Bound,
    luck: Luck,
    count: Count,
    /// What recovery finds on a disk.
    found: BTreeMap<u64, S::Found>,
    /// What recovery finds at last, when it is itself crashed once, on a disk.
    reached: BTreeMap<u64, Reached<S::Found>>,
}

impl<S: Subject> Search<S> {
    /// The power goes inside one operation of the history.
    fn crash_at(&mut self, steps: &[S::Step], point: u64) -> Result<(), String> {
        let mut platter = Platter::new(PlatterOptions::default());
        platter.crash_at(point);
        let still = first_life(platter);
        let known = S::run(&still, steps, &mut Vec::new());
        self.count.crash_points += 1;
        let crashed = still.platter().clone();
        let (disks, are_all) = self.left_by(&crashed, self.bound.outcomes);
        *(if are_all { &mut self.count.outcomes } else { &mut self.count.drawn }) +=
            disks.len() as u64;
        for (number, disk) in disks.iter().enumerate() {
            let told = |why: String| format!("outcome {number}: {why}");
            let found = self.recover(disk).map_err(told)?;
            S::judge(&known, &found).map_err(told)?;
            for (found, way) in self.reach(disk).map_err(told)? {
                let told = |why| format!("outcome {number}, recovery {way}: {why}");
                S::judge(&known, &found).map_err(told)?;
            }
        }
        for _ in 0..self.bound.chains.min(disks.len()) {
            let disk = self.luck.pick(&disks).clone();
            self.chain(&known, disk)?;
        }
        Ok(())
    }

    /// All disks that a power loss now can leave, or some.
    fn left_by(&mut self, crashed: &Platter, bound: usize) -> (Vec<Platter>, bool) {
        if let Some(all) = crashed.survivors(bound) {
            return (all.collect(), true);
        }
        let drawn = (0..self.bound.drawn).map(|_| {
            let mut disk = crashed.clone();
            disk.power_loss(&mut self.luck);
            disk
        });
        (drawn.collect(), false)
    }

    /// Recovers a disk that a power loss left.
    fn recover(&mut self, disk: &Platter) -> Result<S::Found, String> {
        let fingerprint = disk.fingerprint();
        if let Some(found) = self.found.get(&fingerprint) {
            return Ok(found.clone());
        }
        self.count.recoveries += 1;
        let found = S::recover(&later_life(disk.clone()))?;
        self.found.insert(fingerprint, found.clone());
        Ok(found)
    }

    /// What may be found at last when the recovery of this disk is crashed once, wherever.
    fn reach(&mut self, disk: &Platter) -> Result<Reached<S::Found>, String> {
        let fingerprint = disk.fingerprint();
        if let Some(reached) = self.reached.get(&fingerprint) {
            return Ok(reached.clone());
        }
        self.count.disks += 1;
        let found = self.recover(disk)?;
        self.count.recoveries += 1;
        S::live_on(&later_life(disk.clone()), &found)?;
        let mut reached = Reached::new();
        self.crash_recovery(disk, &found, &mut reached)?;
        self.fail_recovery(disk, &mut reached)?;
        self.reached.insert(fingerprint, reached.clone());
        Ok(reached)
    }

    fn crash_recovery(
        &mut self,
        disk: &Platter,
        found: &S::Found,
        reached: &mut Reached<S::Found>,
    ) -> Result<(), String> {
        let first = disk.op_count();
        for point in first.. {
            let mut platter = disk.clone();
            platter.crash_at(point);
            let still = later_life(platter);
            self.count.recoveries += 1;
            let opened = S::recover(&still);
            let crashed = still.platter().clone();
            let number = point - first;
            if !crashed.is_off() {
                // It has finished. What it showed is there for good.
                opened.map_err(|why| format!("again: {why}"))?;
                self.count.inner_points += 1;
                for (last, _) in self.ends(&crashed, number)? {
                    if last != *found {
                        return Err(format!("what it showed changed from {found:?} to {last:?}"));
                    }
                }
                return Ok(());
            }
            self.count.inner_points += 1;
            for (last, way) in self.ends(&crashed, number)? {
                if !reached.iter().any(|(known, _)| *known == last) {
                    reached.push((last, way));
                }
            }
        }
        Ok(())
    }

    /// What recovery finds on every disk that this crash of a recovery can leave.
    fn ends(&mut self, crashed: &Platter, number: u64) -> Result<Reached<S::Found>, String> {
        let (disks, are_all) = self.left_by(crashed, self.bound.inner);
        *(if are_all { &mut self.count.inner_outcomes } else { &mut self.count.inner_drawn }) +=
            disks.len() as u64;
        let mut ends = Reached::new();
        for (outcome, disk) in disks.iter().enumerate() {
            let way = format!("crashed in its operation {number}, outcome {outcome}");
            let last = self.recover(disk).map_err(|why| format!("{way}: {why}"))?;
            if !ends.iter().any(|(known, _)| *known == last) {
                ends.push((last, way));
            }
        }
        Ok(ends)
    }

    /// Each operation of a recovery fails once, or finds no room, and the process begins again.
    fn fail_recovery(
        &mut self,
        disk: &Platter,
        reached: &mut Reached<S::Found>,
    ) -> Result<(), String> {
        let whole = later_life(disk.clone());
        S::recover(&whole)?;
        let (first, last) = (disk.op_count(), whole.platter().op_count());
        for point in first..last {
            for strike in [Strike::Error, Strike::NoSpace] {
                let mut platter = disk.clone();
                platter.strike_at(point, strike);
                let still = later_life(platter);
                // A refusal or not: what counts is what the next one finds.
                let _refused = S::recover(&still);
                let way = format!("met {strike:?} in its operation {}", point - first);
                self.count.failures += 1;
                self.count.recoveries += 2;
                let next = still.after_death(point);
                let last = S::recover(&next).map_err(|why| format!("{way}: {why}"))?;
                if !reached.iter().any(|(known, _)| *known == last) {
                    reached.push((last, way));
                }
            }
        }
        Ok(())
    }

    /// Three crashes one after the other, drawn.
    fn chain(&mut self, known: &S::Known, mut disk: Platter) -> Result<(), String> {
        let mut way = String::from("chain");
        for _ in 0..2 {
            let whole = later_life(disk.clone());
            self.count.recoveries += 2;
            S::recover(&whole).map_err(|why| format!("{way}: {why}"))?;
            let ops = disk.op_count()..whole.platter().op_count();
            if ops.is_empty() {
                break;
            }
            let point = self.luck.range(ops.clone());
            disk.crash_at(point);
            let still = later_life(disk);
            let _stopped = S::recover(&still);
            disk = still.platter().clone();
            disk.power_loss(&mut self.luck);
            way.push_str(&format!(", crashed in operation {}", point - ops.start));
        }
        self.count.chains += 1;
        let found = self.recover(&disk).map_err(|why| format!("{way}: {why}"))?;
        S::judge(known, &found).map_err(|why| format!("{way}: {why}"))
    }

    /// The operation fails instead, the subject stops or not, and the process is killed: the cache
    /// keeps what the medium does not have. Then the recovery is crashed as well.
    fn fail_at(&mut self, steps: &[S::Step], point: u64) -> Result<(), String> {
        for strike in [Strike::Error, Strike::NoSpace] {
            let mut platter = Platter::new(PlatterOptions::default());
            platter.strike_at(point, strike);
            let failed = first_life(platter);
            let known = S::run(&failed, steps, &mut Vec::new());
            if failed.platter().op_count() <= point {
                // It ended before.
                return Ok(());
            }
            self.count.failures += 1;
            let killed = failed.after_death(3);
            self.count.recoveries += 1;
            let disk = killed.platter().clone();
            let found = S::recover(&killed).map_err(|why| format!("{strike:?}: {why}"))?;
            S::judge(&known, &found).map_err(|why| format!("{strike:?}: {why}"))?;
            // The cache of this disk is not its medium, so nothing of it may be remembered.
            let mut reached = Reached::new();
            self.crash_recovery(&disk, &found, &mut reached)
                .map_err(|why| format!("{strike:?}, its recovery {why}"))?;
            for (found, way) in reached {
                S::judge(&known, &found)
                    .map_err(|why| format!("{strike:?}, its recovery {way}: {why}"))?;
            }
        }
        Ok(())
    }
}
