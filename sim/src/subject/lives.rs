//! The lone store as a subject: histories drawn from a seed, crashes in them, and a model beside.
//!
//! ```text
//!   seed ─▶ steps: batches · deletes · conditions · expiry · syncs · snapshots ·
//!                  chores and compactions, whole or in pieces between commits ·
//!                  power loss anywhere, death, closing, disks that fail
//!             │ each applied to the store and to the model
//!             ▼
//!   after every step: answers agree, invariants hold; at intervals: everything read agrees
//!   after every crash: what is found is the model at one cut, between durable and issued
//! ```
//! The model knows expiry, so it is its own and not `check::store`'s: a state is compared at the
//! wall time at which it is read.
//!
//! Demanded here: I1 (acknowledged is durable), I2 (nothing half applied), I4 and I5 (compaction
//! changes nothing that a reader can see), snapshots stay, batches are whole, conditions are judged
//! by what a reader would see.
//!
//! Not here: which seeds (`tests/lives.rs`, the programs), the disk's faults (`platter`).

use std::{collections::BTreeMap, fmt::Write as _, num::NonZeroU64, ops::Bound};

use trilith_engine::{
    journal::{JournalOptions, ReadError, Sync},
    lone::{Action, BatchOutcome, Condition, Done, Effort, Store, StoreOptions, Write, WriteBatch},
    runtime::{Clock, DiskErrorKind, Rng, Runtime},
    types::Version,
    value::{IndexView, Policy, Scan, View},
};

use crate::{
    luck::{Domain, Luck},
    platter::{Faults, Garbage, Platter, PlatterOptions},
    still::Still,
};

/// What a read answers that came too late: no finding.
const POWER_IS_OFF: &str = "the power is off";

/// A key, as a number; its bytes are [`key_bytes`].
pub type Key = u32;

/// What a key has in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which value: every put has another.
    id: u64,
    /// Until when it counts.
    expires_ms: Option<u64>,
}

type State = BTreeMap<Key, Held>;

/// The bytes of a key: some share a prefix, one is empty, one is long.
#[must_use]
pub fn key_bytes(key: Key) -> Vec<u8> {
    match key {
        0 => Vec::new(),
        1 => vec![b'k'; 700],
        _ if key.is_multiple_of(3) => key.to_be_bytes().to_vec(),
        _ => format!("key:{key:04}").into_bytes(),
    }
}

/// The bytes of a value: its length and content follow from its number, and every fifth is full of
/// zeros, which is what a sector looks like that was never written.
#[must_use]
pub fn value_bytes(id: u64) -> Vec<u8> {
    let len = [0, 11, 40, 300, 1100][usize::try_from(id % 5).unwrap_or(0)];
    let fill = if id % 7 == 3 { 0 } else { u8::try_from(id % 251).unwrap_or(1) };
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.resize(8 + len, fill);
    bytes
}

/// How a life is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeOptions {
    /// How many steps.
    pub steps: usize,
    /// How many keys there are.
    pub keys: Key,
    /// Faults of the disk from some point on; the store may stop then, and must stop cleanly.
    pub faults: bool,
    /// The power goes again and again while the store opens, mostly near the end of that, where
    /// something changes.
    pub openings: bool,
}

impl Default for LifeOptions {
    fn default() -> Self {
        Self { steps: 80, keys: 24, faults: false, openings: false }
    }
}

/// What happened in a life: that it was worth living.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Batches written.
    pub batches: u64,
    /// Crashes survived.
    pub crashes: u64,
    /// Compactions installed.
    pub compactions: u64,
    /// Values read and compared.
    pub reads: u64,
    /// Writes that had expired when they were read.
    pub expired: u64,
    /// Times the store stopped because the disk failed.
    pub stops: u64,
}

impl Summary {
    /// Adds another life's.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.crashes += other.crashes;
        self.compactions += other.compactions;
        self.reads += other.reads;
        self.expired += other.expired;
        self.stops += other.stops;
    }
}

/// Options that make everything small, so that a short life rotates, seals and compacts.
#[must_use]
pub fn small_options() -> StoreOptions {
    StoreOptions {
        journal: JournalOptions {
            first_segment_bytes: 8 << 10,
            segment_bytes_max: 32 << 10,
            reserve_bytes: 0,
            manifest_bytes: 8 << 10,
            ..JournalOptions::default()
        },
        compaction: Policy {
            dead_percent: 30,
            segment_dead_percent: 20,
            dead_bytes_min: 64,
            ..Policy::default()
        },
        ..StoreOptions::default()
    }
}

fn visible(state: &State, now_ms: u64) -> BTreeMap<Key, u64> {
    let counts = |held: &Held| held.expires_ms.is_none_or(|expires| expires > now_ms);
    state.iter().filter(|(_, held)| counts(held)).map(|(key, held)| (*key, held.id)).collect()
}

/// One edit of a batch, as the model takes it.
type Edit = (Key, Option<Held>);

fn apply(state: &mut State, edits: &[Edit]) {
    for (key, held) in edits {
        match held {
            Some(held) => _ = state.insert(*key, *held),
            None => _ = state.remove(key),
        }
    }
}

/// The model: a state, the batches after it that a crash may still take, and the state now.
#[derive(Clone, Debug, Default)]
struct Model {
    durable: State,
    open: Vec<Vec<Edit>>,
    now: State,
}

impl Model {
    fn write(&mut self, edits: Vec<Edit>) {
        apply(&mut self.now, &edits);
        self.open.push(edits);
    }

    fn sync(&mut self) {
        self.durable = self.now.clone();
        self.open.clear();
    }

    /// The state after some cut that looks like this, if there is one; goes on from there. What is
    /// found after a restart is durable.
    fn recover(&mut self, found: &BTreeMap<Key, u64>, now_ms: u64) -> Result<(), String> {
        let mut state = self.durable.clone();
        let mut cuts = vec![state.clone()];
        for edits in &self.open {
            apply(&mut state, edits);
            cuts.push(state.clone());
        }
        // The latest that fits: with expiry several may look alike, and the latest is the one that
        // the store has if it has all.
        match cuts.iter().rev().find(|state| visible(state, now_ms) == *found) {
            Some(state) => {
                *self = Self { durable: state.clone(), open: Vec::new(), now: state.clone() };
                Ok(())
            }
            None => Err(self.explain(found, now_ms)),
        }
    }

    fn explain(&self, found: &BTreeMap<Key, u64>, now_ms: u64) -> String {
        let mut text = format!("no cut of {} open batches is what was found\n", self.open.len());
        let (durable, last) = (visible(&self.durable, now_ms), visible(&self.now, now_ms));
        for key in durable.keys().chain(last.keys()).chain(found.keys()) {
            let (d, l, f) = (durable.get(key), last.get(key), found.get(key));
            if (d != f || l != f) && text.len() < 800 {
                writeln!(text, "  k{key}: durable {d:?}, last {l:?}, found {f:?}")
                    .expect("a string takes all");
            }
        }
        text
    }
}

/// A life: a store, its world, its model.
struct Life<'l> {
    luck: Luck,
    options: &'l LifeOptions,
    seed: u64,
    lives: u64,
    still: Still,
    store: Option<Store<Still>>,
    model: Model,
    snapshots: Vec<(IndexView<Still>, State)>,
    /// A compaction under way: steps of its install are done between other steps.
    pending: Option<Done<Still>>,
    next_id: u64,
    /// How many operations of the disk the last whole opening took.
    opening_ops: u64,
    summary: Summary,
}

/// Lives one life.
///
/// # Errors
/// What went wrong, in words, with the step.
pub fn life(seed: u64, options: &LifeOptions) -> Result<Summary, String> {
    let luck = Luck::new(seed, Domain::Named("store"));
    let platter = PlatterOptions {
        garbage: if seed.is_multiple_of(2) { Garbage::Unwritten } else { Garbage::Never },
        ..PlatterOptions::default()
    };
    let mut life = Life {
        luck,
        options,
        seed,
        lives: 0,
        still: Still::with_seed(Platter::new(platter), seed << 8),
        store: None,
        model: Model::default(),
        snapshots: Vec::new(),
        pending: None,
        next_id: 1,
        opening_ops: 40,
        summary: Summary::default(),
    };
    life.open()?;
    for step in 0..options.steps {
        life.step().map_err(|why| format!("seed {seed}, step {step}: {why}"))?;
    }
    life.power_loss().map_err(|why| format!("seed {seed}, at the end: {why}"))?;
    Ok(life.summary)
}

impl Life<'_> {
    fn now_ms(&self) -> u64 {
        self.still.clock().wall().0
    }

    fn open(&mut self) -> Result<(), String> {
        let still = self.still.clone();
        let before = still.platter().op_count();
        if self.options.openings && self.luck.chance(3, 4) {
            let from = if self.luck.coin() { self.opening_ops.saturating_sub(8) } else { 0 };
            let at = before + self.luck.range(from..self.opening_ops + 1);
            still.platter().crash_at(at);
        }
        let opened = still.block_on(Store::open(still.clone(), small_options()));
        let store = match opened {
            Ok((store, _report)) => store,
            Err(_) if self.still.platter().is_off() => return self.power_loss(),
            Err(error) => return Err(format!("open: {error}")),
        };
        self.store = Some(store);
        if self.still.platter().is_off() {
            return self.power_loss();
        }
        self.opening_ops = self.still.platter().op_count() - before;
        let found = self.read_all()?;
        let now_ms = self.now_ms();
        self.model.recover(&found, now_ms)?;
        self.check_invariants()
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        store.invariants().map_err(|broken| format!("invariant: {broken}"))
    }

    fn step(&mut self) -> Result<(), String> {
        if self.store.as_ref().is_none_or(Store::is_stopped) {
            self.summary.stops += 1;
            return self.power_loss();
        }
        let roll = self.luck.range(0..100);
        let done = match roll {
            0..30 => self.write_batch(),
            30..40 => self.conditional(),
            40..48 => self.delete(),
            48..54 => self.sync(),
            54..62 => self.compare(),
            62..66 => self.snapshot(),
            66..70 => self.check_snapshots(),
            70..78 => self.begin_chore(),
            78..86 => self.go_on_installing(),
            86..88 => self.compact_all(),
            88..90 => self.rotate(),
            90..92 => self.pass_time(),
            92..95 => self.crash_soon(),
            95..96 => self.trouble(),
            96..98 => self.power_loss(),
            98..99 => self.die(),
            _ => self.close(),
        };
        match done {
            Err(why) if why == POWER_IS_OFF => return self.power_loss(),
            other => other?,
        }
        if self.store.as_ref().is_some_and(|store| !store.is_stopped()) {
            self.check_invariants()?;
        }
        Ok(())
    }

    fn key(&mut self) -> Key {
        u32::try_from(self.luck.range(0..u64::from(self.options.keys))).unwrap_or(0)
    }

    fn put(&mut self, batch: &mut WriteBatch, condition: Condition) -> Edit {
        let (key, id) = (self.key(), self.next_id);
        self.next_id += 1;
        let now_ms = self.now_ms();
        let expires_ms = self.luck.chance(1, 8).then(|| now_ms + self.luck.range(0..4000));
        batch.push(Write {
            key: key_bytes(key),
            action: Action::Put {
                value: value_bytes(id),
                expires_ms: expires_ms.and_then(NonZeroU64::new),
            },
            condition,
        });
        (key, Some(Held { id, expires_ms }))
    }

    fn write_batch(&mut self) -> Result<(), String> {
        let count = if self.luck.coin() { 1 } else { self.luck.range(2..7) };
        let mut batches = Vec::new();
        let mut expect = Vec::new();
        for _ in 0..self.luck.range(1..4) {
            let mut batch = WriteBatch::new();
            let mut edits = Vec::new();
            for _ in 0..count {
                if self.luck.chance(1, 4) {
                    let key = self.key();
                    batch.delete(key_bytes(key));
                    edits.push((key, None));
                } else {
                    edits.push(self.put(&mut batch, Condition::Always));
                }
            }
            batches.push(batch);
            expect.push(Some(edits));
        }
        self.commit(&batches, expect)
    }

    /// What it means that something could not be read. A file whose sync failed refuses its readers
    /// before its owner has heard of it: the store stops with the next install.
    fn unread(&self, what: &str, error: &ReadError) -> String {
        let is_poisoned =
            matches!(error, ReadError::Disk(error) if error.kind == DiskErrorKind::Poisoned);
        if self.still.platter().is_off() || is_poisoned {
            return POWER_IS_OFF.to_owned();
        }
        format!("{what}: {error}")
    }

    /// A batch with a condition that holds, and one with a condition that does not.
    fn conditional(&mut self) -> Result<(), String> {
        let key = self.key();
        let now_ms = self.now_ms();
        let there = visible(&self.model.now, now_ms).contains_key(&key);
        let Some(store) = &self.store else { return Ok(()) };
        let view = store.view();
        let found = self.still.block_on(view.get(&key_bytes(key), now_ms));
        let found = found.map_err(|error| self.unread("get", &error))?;
        if found.is_some() != there {
            return Err(format!("k{key} is there: {}, in the model: {there}", found.is_some()));
        }
        let id = self.next_id;
        self.next_id += 1;
        let right = match &found {
            Some(found) if self.luck.coin() => Condition::Is(found.version),
            Some(_) => Condition::Present,
            None => Condition::Absent,
        };
        let wrong = match &found {
            Some(found) if self.luck.coin() => Condition::Is(Version(found.version.0 + 1)),
            Some(_) => Condition::Absent,
            None => Condition::Present,
        };
        let mut good = WriteBatch::new();
        good.put_if(key_bytes(key), value_bytes(id), right);
        let mut bad = WriteBatch::new();
        let other = self.put(&mut bad, Condition::Always);
        bad.put_if(key_bytes(key), value_bytes(id), wrong);
        // The bad one comes first: judged after the good one, it might be right. When its own first
        // write touches the key, what is right is another question.
        if other.0 == key {
            return self
                .commit(&[good], vec![Some(vec![(key, Some(Held { id, expires_ms: None }))])]);
        }
        let edits = vec![(key, Some(Held { id, expires_ms: None }))];
        self.commit(&[bad, good], vec![None, Some(edits)])
    }

    fn delete(&mut self) -> Result<(), String> {
        let key = self.key();
        let mut batch = WriteBatch::new();
        batch.delete(key_bytes(key));
        // Twice in one commit: the second must see the first.
        let batches = if self.luck.coin() { vec![batch.clone(), batch] } else { vec![batch] };
        let expect = batches.iter().map(|_| Some(vec![(key, None)])).collect();
        self.commit(&batches, expect)
    }

    /// Commits; `expect` has each batch's edits, or nothing when it must be refused.
    fn commit(
        &mut self,
        batches: &[WriteBatch],
        expect: Vec<Option<Vec<Edit>>>,
    ) -> Result<(), String> {
        let sync = if self.luck.chance(1, 3) { Sync::Later } else { Sync::Now };
        let now_ms = self.now_ms();
        let Some(store) = &mut self.store else { return Ok(()) };
        let answers = self.still.block_on(store.commit(batches, sync));
        let mut in_doubt = false;
        for (answer, edits) in answers.into_iter().zip(expect) {
            self.summary.batches += 1;
            match (answer, edits) {
                (Ok(BatchOutcome::Done { missing, .. }), Some(edits)) => {
                    let expect = count_missing(&self.model.now, &edits, now_ms);
                    if missing != expect {
                        return Err(format!("{missing} deletes found nothing, not {expect}"));
                    }
                    self.model.write(edits);
                }
                (Ok(BatchOutcome::Refused { .. }), None) => {}
                (Ok(BatchOutcome::Done { .. }), None) => {
                    return Err("a batch was written whose condition did not hold".to_owned());
                }
                (Ok(BatchOutcome::Refused { write, found }), Some(_)) => {
                    return Err(format!("write {write} was refused, it found {found:?}"));
                }
                (Err(error), edits) if error.is_stopped() => {
                    // It may have happened; if so, as a whole.
                    edits.into_iter().for_each(|edits| self.model.open.push(edits));
                    in_doubt = true;
                }
                (Err(error), _) if error.is_retryable() => in_doubt = true,
                (Err(error), _) => return Err(format!("commit: {error}")),
            }
        }
        if sync == Sync::Now && !in_doubt {
            self.model.sync();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        match self.still.block_on(store.sync()) {
            Ok(_) => self.model.sync(),
            Err(error) if error.is_stopped() => {}
            Err(error) => return Err(format!("sync: {error}")),
        }
        Ok(())
    }

    /// Everything a view holds, through scans of a few keys at a time.
    fn scan(&mut self, view: &IndexView<Still>) -> Result<BTreeMap<Key, u64>, String> {
        let names: BTreeMap<Vec<u8>, Key> =
            (0..self.options.keys).map(|key| (key_bytes(key), key)).collect();
        let now_ms = self.now_ms();
        let mut all = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let scan = Scan {
                start: after.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
                end: Bound::Unbounded,
                keys_max: 7,
                bytes_max: 2000,
            };
            let page = self.still.block_on(view.scan(scan, now_ms));
            let page = page.map_err(|error| self.unread("scan", &error))?;
            for (key, found) in page.items {
                let name = names.get(&key).ok_or_else(|| format!("a key {key:?} nobody wrote"))?;
                let id = found.value.first_chunk().map_or(0, |id| u64::from_le_bytes(*id));
                if found.value != value_bytes(id) {
                    return Err(format!("k{name} has bytes that nobody wrote"));
                }
                self.summary.reads += 1;
                if all.insert(*name, id).is_some() {
                    return Err(format!("k{name} comes twice"));
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    fn read_all(&mut self) -> Result<BTreeMap<Key, u64>, String> {
        let Some(view) = self.store.as_ref().map(Store::view) else { return Ok(BTreeMap::new()) };
        self.scan(&view)
    }

    fn compare(&mut self) -> Result<(), String> {
        let found = self.read_all()?;
        let now_ms = self.now_ms();
        let expect = visible(&self.model.now, now_ms);
        self.summary.expired += (self.model.now.len() - expect.len()) as u64;
        if found == expect {
            return Ok(());
        }
        Err(format!(
            "a running store does not hold what it should\n{}",
            self.model.explain(&found, now_ms)
        ))
    }

    fn snapshot(&mut self) -> Result<(), String> {
        if let Some(store) = &self.store {
            self.snapshots.push((store.view(), self.model.now.clone()));
        }
        if self.snapshots.len() > 3 {
            self.snapshots.remove(0);
        }
        Ok(())
    }

    fn check_snapshots(&mut self) -> Result<(), String> {
        let snapshots = std::mem::take(&mut self.snapshots);
        let now_ms = self.now_ms();
        for (view, state) in &snapshots {
            let found = self.scan(view)?;
            if found != visible(state, now_ms) {
                return Err("a snapshot has changed".to_owned());
            }
        }
        // Some are let go, so that files can be given back.
        if self.luck.coin() {
            self.snapshots = snapshots;
        }
        Ok(())
    }

    fn begin_chore(&mut self) -> Result<(), String> {
        if self.pending.is_some() {
            return self.go_on_installing();
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        let effort = *self.luck.pick(&[Effort::Chores, Effort::Worthwhile, Effort::Everything]);
        if let Some(chore) = store.plan(effort) {
            self.pending = Some(self.still.block_on(chore.run()));
        }
        Ok(())
    }

    fn go_on_installing(&mut self) -> Result<(), String> {
        let (Some(done), Some(store)) = (self.pending.take(), &mut self.store) else {
            return Ok(());
        };
        let before = store.stats().compactions;
        match self.still.block_on(store.install(done)) {
            Ok(next) => self.pending = next,
            Err(error) if error.is_stopped() || error.is_retryable() => {}
            Err(error) => return Err(format!("install: {error}")),
        }
        self.summary.compactions += store.stats().compactions - before;
        Ok(())
    }

    fn compact_all(&mut self) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let before = store.stats().compactions;
        match self.still.block_on(store.compact_all()) {
            // Rotating syncs.
            Ok(()) => self.model.sync(),
            Err(error) if error.is_stopped() || error.is_retryable() => {}
            Err(error) => return Err(format!("compact: {error}")),
        }
        self.summary.compactions += store.stats().compactions - before;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        match self.still.block_on(store.rotate()) {
            Ok(()) => self.model.sync(),
            Err(error) if error.is_stopped() => {}
            Err(error) => return Err(format!("rotate: {error}")),
        }
        Ok(())
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let nanos = self.luck.range(1..3_000_000_000);
        self.still.clock().advance(nanos);
        Ok(())
    }

    /// The power will go inside one of the next operations of the disk.
    fn crash_soon(&mut self) -> Result<(), String> {
        let at = self.still.platter().op_count() + self.luck.range(0..12);
        self.still.platter().crash_at(at);
        Ok(())
    }

    /// The disk begins to fail.
    fn trouble(&mut self) -> Result<(), String> {
        if self.options.faults {
            let faults = Faults {
                sync_error: 60_000,
                write_error: 30_000,
                write_no_space: 30_000,
                sync_dir_error: 30_000,
                ..Faults::default()
            };
            self.still.platter().set_faults(faults);
        }
        Ok(())
    }

    fn restart(&mut self, platter: Platter) -> Result<(), String> {
        self.summary.crashes += 1;
        self.snapshots.clear();
        self.pending = None;
        self.store = None;
        self.lives += 1;
        let before = self.still.clock().now();
        self.still = Still::with_seed(platter, (self.seed << 8) + self.lives);
        // Wall time goes on: what had expired stays expired.
        self.still.clock().advance(before.0 + self.luck.range(0..1_000_000));
        self.still.platter().set_faults(Faults::default());
        self.open()
    }

    fn power_loss(&mut self) -> Result<(), String> {
        let mut platter = self.still.platter().clone();
        platter.set_faults(Faults::default());
        platter.power_loss(&mut self.luck);
        self.restart(platter)
    }

    /// The process dies: what was written is there, synced or not.
    fn die(&mut self) -> Result<(), String> {
        let mut platter = self.still.platter().clone();
        if platter.is_off() {
            return self.power_loss();
        }
        platter.process_death();
        self.restart(platter)
    }

    fn close(&mut self) -> Result<(), String> {
        self.snapshots.clear();
        self.pending = None;
        let Some(store) = self.store.take() else { return Ok(()) };
        match self.still.block_on(store.close()) {
            Ok(()) => self.model.sync(),
            Err(error) if error.is_stopped() => {}
            Err(error) => return Err(format!("close: {error}")),
        }
        self.power_loss()
    }
}

/// How many of a batch's deletes find nothing, when it comes after this state.
fn count_missing(state: &State, edits: &[Edit], now_ms: u64) -> usize {
    let mut state = state.clone();
    let mut missing = 0;
    for edit in edits {
        if edit.1.is_none() && !visible(&state, now_ms).contains_key(&edit.0) {
            missing += 1;
        }
        apply(&mut state, std::slice::from_ref(edit));
    }
    missing
}
