//! The body of the embedded store in a world: one owner, and writers, readers and chores around it.
//!
//! ```text
//!   writers ─┐                      ┌─▶ persist ─▶ apply, a few records at a time ─▶ answers
//!   chores ──┼─▶ queue ─▶ owner ────┤                  │ publishes after each step
//!   keeper ──┘                      └─▶ plan · install · sync · rotate · idle seal · close
//!                                                       ▼
//!   readers ◀──────────────────────────────────── the published view
//! ```
//! What threads do with a lock around the embedded store (`embedded/shared.rs`), tasks do here with
//! a queue to its owner: a commit takes all writers that wait, nobody else has the store until it
//! is applied, and readers use the view that was published last, also while a frame is on its way,
//! while a compaction copies and while its result is installed piece by piece. Between any two
//! awaits, whoever is ready runs, in an order drawn from the seed.
//!
//! Judged on the way, by `store_model`: every answer of a commit; every view, which must be whole
//! batches and never older than what somebody knew; every key read and every page of a scan, at
//! once or long after the view was taken; what is found after every crash. At last, after quiet,
//! the store must be opened and take a write.
//!
//! Not here: the model (`store_model`), the journal under damage (`journal`).

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use trilith_engine::{
    journal::{OpenError, ReadError, Sync},
    lone::{
        Action, BatchOutcome, Chore, Condition, Done, Effort, Store, StoreError, StoreOptions,
        Write, WriteBatch,
    },
    mark,
    runtime::{Clock, Handle, Receiver, Rng, Runtime, Sender, Task, queue},
    types::Version,
    value::{Found, IndexView, Policy, Scan, View},
};

use super::{
    journal,
    store_model::{Model, State, Step, Wrong, key_bytes, value_bytes},
    toy_run::settle,
};
use crate::{
    check::Verdict,
    luck::{Domain, Luck},
    os::{SimHandle, SimRuntime},
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    world::{NodeId, NodeOptions, World},
};

/// How long a supervisor waits before it starts a life again that has ended by itself.
const RESTART: Duration = Duration::from_millis(20);
/// Batches that one commit takes at most.
const COMPANY: usize = 8;

/// What outlives the lives: the model, the verdict, and what the seed drew.
#[derive(Debug)]
struct Bench {
    luck: Luck,
    model: Model,
    verdict: Verdict,
    next_id: u64,
    /// Commits that were answered since the last start.
    answered: u64,
    keys: u64,
    hot: u64,
    writers: u64,
    value_bytes: u64,
    /// Out of 100, how many commits answer before a sync.
    later: u64,
    pause_us: u64,
    keep_us: u64,
    options: StoreOptions,
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Bench>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Bench> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn luck(&self, range: std::ops::Range<u64>) -> u64 {
        self.lock().luck.range(range)
    }

    fn convict(&self, symptom: &str, evidence: &str) {
        let mut bench = self.lock();
        if bench.verdict == Verdict::Holds {
            bench.verdict = Verdict::violated("store", symptom, evidence);
        }
    }

    fn is_over(&self) -> bool {
        self.lock().verdict != Verdict::Holds
    }

    /// Asks the model; what is wrong is a verdict.
    fn ask<T>(&self, question: impl FnOnce(&mut Model) -> Result<T, Wrong>) -> Option<T> {
        let answer = question(&mut self.lock().model);
        answer.map_err(|Wrong(symptom, evidence)| self.convict(symptom, &evidence)).ok()
    }
}

/// Options that make everything small, so that a short life rotates, seals and compacts.
fn small_options(luck: &mut Luck) -> StoreOptions {
    StoreOptions {
        journal: journal::small_options(luck),
        compaction: Policy {
            dead_percent: luck.range(5..50),
            segment_dead_percent: luck.range(5..80),
            dead_bytes_min: 64,
            tombstone_percent: luck.range(10..101),
            live_bytes_at_once: 4096 << luck.range(0..8),
            ..Policy::default()
        },
        compaction_bytes_per_second: if luck.coin() { 0 } else { 16_384 << luck.range(0..8) },
        ..StoreOptions::default()
    }
}

fn bench(request: &Request, drawn: &Drawn) -> Bench {
    let mut luck = Luck::new(request.seed, Domain::Named("store subject"));
    Bench {
        model: Model::new(drawn.value_bytes),
        verdict: Verdict::Holds,
        next_id: 1,
        answered: 0,
        keys: u64::from(drawn.shape.keys.max(2)),
        hot: drawn.shape.hot,
        writers: u64::from(drawn.shape.clients.max(1)),
        value_bytes: drawn.value_bytes,
        later: [0, 40, 100][luck.range(0..3) as usize],
        pause_us: 500 << luck.range(0..5),
        keep_us: 16_000 << luck.range(0..5),
        options: small_options(&mut luck),
        luck,
    }
}

/// Runs the scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let shared = Shared(Arc::new(Mutex::new(bench(request, drawn))));
    let mut world = drawn.world(request);
    let lives = shared.clone();
    world.add("store", NodeOptions::default(), move |runtime| {
        let shared = lives.clone();
        async move {
            while !shared.is_over() {
                if life(&runtime, &shared).await == Over::Asked {
                    return;
                }
                let clock = runtime.clock();
                clock.sleep_until(clock.now() + RESTART).await;
            }
        }
    });
    world.start_all();
    world.play(&drawn.faults);
    let time = scenario.time;
    world.run_until(Duration::from_millis(time.chaos_ms));
    settle(&mut world, time.chaos_ms, time.settle_ms);
    // One more life, after everything was quiet.
    world.power_loss(NodeId(0));
    shared.lock().answered = 0;
    world.start_all();
    world.run_for(Duration::from_millis(time.calm_ms));
    if shared.lock().answered == 0 {
        shared.convict("a store on a healthy machine took no write", "in the calm at the end");
    }
    let verdict = shared.lock().verdict.clone();
    (world, Evidence { store: Some(verdict), ..Evidence::default() })
}

type Rt = SimRuntime;

/// What the owner is asked for.
enum Ask {
    Write(Vec<Step>, Sender<()>),
    Plan(Effort, Sender<Chore<Rt>>),
    Install(Done<Rt>, Sender<Option<Done<Rt>>>),
    Sync,
    Rotate,
    Idle,
    Close,
}

/// Why a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The store has stopped, was closed, or could not be opened.
    Itself,
    /// The process was asked to stop.
    Asked,
}

/// What the tasks of one life share.
struct Here {
    rt: Rt,
    shared: Shared,
    view: Mutex<Option<IndexView<Rt>>>,
    closing: AtomicBool,
    asked: AtomicBool,
    /// The latest wall time that this life went by.
    latest_ms: Mutex<u64>,
}

fn grab<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Here {
    /// Wall time, which within one life never goes back.
    fn now_ms(&self) -> u64 {
        let mut latest = grab(&self.latest_ms);
        *latest = (*latest).max(self.rt.clock().wall().0);
        *latest
    }

    fn goes_on(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }

    async fn sleep(&self, most_us: u64) {
        let time = Duration::from_micros(self.shared.luck(1..most_us.max(2)));
        let clock = self.rt.clock();
        clock.sleep_until(clock.now() + time).await;
    }

    /// What has been read goes into the run's digest: an answer is part of what happened.
    fn witness(&self, found: Option<&Found>) {
        let version = found.map_or(0, |found| found.version.0);
        self.rt.witness(&version.to_le_bytes());
    }

    /// A read that failed: fine when the disk refused, else a finding.
    fn unread(&self, error: &ReadError) {
        if !matches!(error, ReadError::Disk(_)) {
            self.shared.convict("a record cannot be read", &error.to_string());
        }
    }
}

/// Opens the store, lets everybody loose on it, and ends when it does.
async fn life(rt: &Rt, shared: &Shared) -> Over {
    let options = shared.lock().options;
    let store = match Store::open(rt.clone(), options).await {
        Ok((store, _report)) => store,
        Err(StoreError::Open(error)) => {
            // A disk that fails or is full for the moment: the next life tries again.
            if !matches!(*error, OpenError::Disk(_) | OpenError::Locked) {
                shared.convict("a healthy directory was refused", &error.to_string());
            }
            return Over::Itself;
        }
        Err(error) if error.is_stopped() || error.is_retryable() => return Over::Itself,
        Err(error) => {
            shared.convict("a healthy directory was refused", &error.to_string());
            return Over::Itself;
        }
    };
    let here = Arc::new(Here {
        rt: rt.clone(),
        shared: shared.clone(),
        view: Mutex::new(Some(store.view())),
        closing: AtomicBool::new(false),
        asked: AtomicBool::new(false),
        latest_ms: Mutex::new(store.latest_ms()),
    });
    if !recovered(&here, &store).await {
        return Over::Itself;
    }
    let (ask, asked) = queue(COMPANY);
    let tasks = let_loose(&here, &ask);
    let stop = watch(&here, ask.clone());
    let mut owner = Owner { here: Arc::clone(&here), store, asked, next: None };
    let is_whole = owner.serve().await;
    let Owner { store, asked, .. } = owner;
    here.closing.store(true, Ordering::Relaxed);
    drop((ask, asked));
    for task in tasks {
        task.join().await;
    }
    drop(stop);
    *grab(&here.view) = None;
    if is_whole && store.close().await.is_ok() {
        mark!("store subject: a life ended in order");
        shared.lock().model.synced();
    }
    if here.asked.load(Ordering::Relaxed) { Over::Asked } else { Over::Itself }
}

/// Reads everything and asks the model. Answers whether the life may go on.
async fn recovered(here: &Here, store: &Store<Rt>) -> bool {
    let (view, now_ms) = (store.view(), store.latest_ms());
    let mut found = BTreeMap::new();
    let mut start = Bound::Unbounded;
    loop {
        let scan = Scan {
            start: start.as_ref().map(Vec::as_slice),
            end: Bound::Unbounded,
            keys_max: 40,
            bytes_max: 1 << 20,
        };
        match view.scan(scan, now_ms).await {
            Ok(page) => {
                page.items.iter().for_each(|(_, item)| here.witness(Some(item)));
                found.extend(page.items);
                let Some(next) = page.next else { break };
                start = Bound::Excluded(next);
            }
            Err(error) => {
                here.unread(&error);
                return false;
            }
        }
    }
    if let Err(broken) = store.invariants() {
        here.shared.convict(broken, "right after recovery");
    }
    here.shared.ask(|model| model.recover(view.applied(), &found, now_ms)).is_some()
}

/// Starts everybody who is not the owner.
fn let_loose(here: &Arc<Here>, ask: &Sender<Ask>) -> Vec<SimHandle> {
    let task = here.rt.task();
    let mut tasks = vec![
        task.spawn("chores", chores(Arc::clone(here), ask.clone())),
        task.spawn("keeper", keeper(Arc::clone(here), ask.clone())),
    ];
    let writers = here.shared.lock().writers;
    for _ in 0..writers {
        tasks.push(task.spawn("writer", writer(Arc::clone(here), ask.clone())));
        tasks.push(task.spawn("reader", reader(Arc::clone(here))));
    }
    tasks
}

/// Waits for the process to be asked to stop.
fn watch(here: &Arc<Here>, ask: Sender<Ask>) -> SimHandle {
    let (rt, asked) = (here.rt.clone(), Arc::clone(here));
    here.rt.task().spawn("stop", async move {
        rt.stopped().await;
        asked.asked.store(true, Ordering::Relaxed);
        if ask.send(Ask::Close).await.is_err() {
            mark!("store subject: a stop came after the end");
        }
    })
}

// ── the owner ───────────────────────────────────────────────────────────────────────────────────

/// Who has the store.
struct Owner {
    here: Arc<Here>,
    store: Store<Rt>,
    asked: Receiver<Ask>,
    /// What ended the company of the last commit: it is next.
    next: Option<Ask>,
}

impl Owner {
    /// Serves until the store stops, or somebody closes it: then it is whole.
    async fn serve(&mut self) -> bool {
        loop {
            let ask = match self.next.take() {
                Some(ask) => ask,
                None => match self.asked.recv().await {
                    Ok(ask) => ask,
                    Err(_) => return false,
                },
            };
            let served = match ask {
                Ask::Close => return true,
                Ask::Write(batch, answer) => self.gather(batch, answer).await,
                ask => self.other(ask).await,
            };
            if self.here.shared.is_over() {
                return false;
            }
            match served {
                Ok(()) => {}
                Err(error) if error.is_stopped() => return false,
                Err(error) if error.is_retryable() => {
                    mark!("store subject: something was refused, and the store goes on");
                }
                Err(error) => self.here.shared.convict("a call was refused", &error.to_string()),
            }
        }
    }

    fn publish(&self) {
        *grab(&self.here.view) = Some(self.store.view());
        if self.here.shared.luck(0..8) == 0
            && let Err(broken) = self.store.invariants()
        {
            self.here.shared.convict(broken, "while it ran");
        }
    }

    /// Takes everybody along who waits to write.
    async fn gather(&mut self, batch: Vec<Step>, answer: Sender<()>) -> Result<(), StoreError> {
        let (mut batches, mut answers) = (vec![batch], vec![answer]);
        while batches.len() < COMPANY {
            match self.asked.pop() {
                Some(Ask::Write(batch, answer)) => {
                    batches.push(batch);
                    answers.push(answer);
                }
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        self.commit(&batches).await?;
        {
            let mut bench = self.here.shared.lock();
            bench.model.told();
            bench.answered += 1;
        }
        for answer in answers {
            if answer.push(()).is_err() {
                mark!("store subject: a writer did not wait for its answer");
            }
        }
        Ok(())
    }

    async fn commit(&mut self, batches: &[Vec<Step>]) -> Result<(), StoreError> {
        let shared = self.here.shared.clone();
        let most = shared.lock().value_bytes;
        let writes: Vec<WriteBatch> =
            batches.iter().map(|batch| write_batch(batch, most)).collect();
        let now_ms = self.store.latest_ms().max(self.here.rt.clock().wall().0);
        let expect = shared.lock().model.issue(batches, now_ms);
        let is_later = shared.luck(0..100) < shared.lock().later;
        let sync = if is_later { Sync::Later } else { Sync::Now };
        let mut commit = match self.store.persist(&writes, sync).await {
            Ok(commit) => commit,
            Err(error) => {
                // If the store has stopped it may have happened; if so, as a whole.
                if !error.is_stopped() {
                    shared.lock().model.take_back();
                }
                return Err(error);
            }
        };
        if commit.outcomes() != expect {
            let told = format!("{:?}, not {expect:?}, for {batches:?}", commit.outcomes());
            shared.convict(sentence(commit.outcomes(), &expect), &told);
            return Ok(());
        }
        shared.lock().model.written(sync == Sync::Now);
        let step = shared.luck(1..8) as usize;
        while commit.left() > 0 {
            // Taken back, as the shell does: a tree that nobody else holds is changed in place.
            *grab(&self.here.view) = None;
            self.store.apply(&mut commit, step)?;
            self.publish();
            // Applying takes its time, and readers have processors of their own.
            if shared.luck(0..2) == 0 {
                self.here.sleep(100).await;
            }
        }
        Ok(())
    }

    /// Serves what is no write.
    async fn other(&mut self, ask: Ask) -> Result<(), StoreError> {
        let (store, shared) = (&mut self.store, &self.here.shared);
        match ask {
            Ask::Plan(effort, answer) => {
                if let Some(chore) = store.plan(effort) {
                    drop(answer.push(chore));
                }
            }
            Ask::Install(done, answer) => {
                let before = store.stats().compactions;
                let next = store.install(done).await?;
                if store.stats().compactions > before {
                    mark!("store subject: segments were compacted away");
                }
                drop(answer.push(next));
            }
            Ask::Sync => {
                store.sync().await?;
                shared.lock().model.synced();
            }
            Ask::Rotate => {
                // Rotating syncs what was there.
                store.rotate().await?;
                shared.lock().model.synced();
            }
            Ask::Idle => store.on_idle().await?,
            Ask::Write(..) | Ask::Close => {}
        }
        self.publish();
        Ok(())
    }
}

/// In which way a commit's answers are wrong.
fn sentence(answers: &[BatchOutcome], expect: &[BatchOutcome]) -> &'static str {
    use BatchOutcome::{Done, Refused};
    match answers.iter().zip(expect).find(|(answer, expect)| answer != expect) {
        Some((Done { .. }, Refused { .. })) => "a batch was written whose condition did not hold",
        Some((Refused { .. }, Done { .. })) => "a batch was refused whose conditions held",
        Some((Done { missing, .. }, Done { missing: right, .. })) if missing != right => {
            "deletes found something else than was there"
        }
        Some(_) => "a batch was answered with another version or place",
        None => "a commit answered for other batches than it was given",
    }
}

fn write_batch(steps: &[Step], most: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for Step { key, put, condition } in steps {
        let action = match put {
            None => Action::Delete,
            Some((id, expires_ms)) => Action::Put {
                value: value_bytes(*id, most),
                expires_ms: expires_ms.and_then(NonZeroU64::new),
            },
        };
        batch.push(Write { key: key.clone(), action, condition: *condition });
    }
    batch
}

// ── everybody else ──────────────────────────────────────────────────────────────────────────────

impl Bench {
    fn key(&mut self) -> Vec<u8> {
        let all = if self.luck.chance(self.hot, 100) { self.keys.min(4) } else { self.keys };
        key_bytes(self.luck.range(0..all))
    }

    fn step(&mut self, now_ms: u64) -> Step {
        let key = self.key();
        let put = (!self.luck.chance(1, 4)).then(|| {
            let id = self.next_id;
            self.next_id += 1;
            (id, self.luck.chance(1, 8).then(|| now_ms + self.luck.range(1..1500)))
        });
        let newest = self.model.newest(&key).map_or(Version(0), |held| held.version);
        let condition = match self.luck.range(0..24) {
            0 => Condition::Absent,
            1 => Condition::Present,
            2 => Condition::Is(newest),
            3 => Condition::Is(Version(newest.0 + 1)),
            _ => Condition::Always,
        };
        Step { key, put, condition }
    }

    fn batch(&mut self, now_ms: u64) -> Vec<Step> {
        let count = if self.luck.coin() { 1 } else { self.luck.range(2..7) };
        (0..count).map(|_| self.step(now_ms)).collect()
    }
}

async fn writer(here: Arc<Here>, ask: Sender<Ask>) {
    let pause_us = here.shared.lock().pause_us;
    while here.goes_on() {
        here.sleep(pause_us).await;
        let now_ms = here.now_ms();
        let batch = here.shared.lock().batch(now_ms);
        let (answer, mut answered) = queue(1);
        if ask.send(Ask::Write(batch, answer)).await.is_err() {
            return;
        }
        if answered.recv().await.is_err() {
            mark!("store subject: a write was never answered");
        }
    }
}

async fn reader(here: Arc<Here>) {
    let pause_us = here.shared.lock().pause_us;
    while here.goes_on() {
        here.sleep(pause_us).await;
        let Some(view) = grab(&here.view).clone() else { return };
        let Some(state) = here.shared.ask(|model| model.look(view.applied())) else { return };
        match here.shared.luck(0..12) {
            0..8 => here.get(&view, &state).await,
            8 => here.scan(&view, &state, (Bound::Unbounded, Bound::Unbounded)).await,
            9 => {
                let (start, end) = (b"key:00".to_vec(), b"key:01".to_vec());
                here.scan(&view, &state, (Bound::Included(start), Bound::Excluded(end))).await;
            }
            10 => {
                let start = here.shared.lock().key();
                here.scan(&view, &state, (Bound::Included(start), Bound::Unbounded)).await;
            }
            // Held on to: what it shows must not move, however much is compacted away meanwhile.
            _ => {
                for _ in 0..here.shared.luck(1..40) {
                    if here.goes_on() {
                        here.sleep(8000).await;
                    }
                }
                here.get(&view, &state).await;
                here.scan(&view, &state, (Bound::Unbounded, Bound::Unbounded)).await;
            }
        }
    }
}

impl Here {
    /// Reads a key through a view, or through a pin that outlives it.
    async fn get(&self, view: &IndexView<Rt>, state: &State) {
        let (key, now_ms) = (self.shared.lock().key(), self.now_ms());
        let found = if self.shared.luck(0..2) == 0 {
            view.get(&key, now_ms).await
        } else {
            match view.pin(&key, || now_ms) {
                Some(pinned) => pinned.read(&key).await.map(Some),
                None => Ok(None),
            }
        };
        match found {
            Ok(found) => {
                self.witness(found.as_ref());
                self.shared.ask(|model| model.read(state, &key, found.as_ref(), now_ms));
            }
            Err(error) => self.unread(&error),
        }
    }

    /// Scans through a view in pages, and time goes by between them.
    async fn scan(
        &self,
        view: &IndexView<Rt>,
        state: &State,
        (mut start, end): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) {
        while self.goes_on() {
            let scan = Scan {
                start: start.as_ref().map(Vec::as_slice),
                end: end.as_ref().map(Vec::as_slice),
                keys_max: self.shared.luck(1..40) as usize,
                bytes_max: 4000,
            };
            let now_ms = self.now_ms();
            let page = match view.scan(scan, now_ms).await {
                Ok(page) => page,
                Err(error) => return self.unread(&error),
            };
            page.items.iter().for_each(|(_, found)| self.witness(Some(found)));
            let upto = page.next.clone().map_or_else(|| end.clone(), Bound::Included);
            let bounds = (start.as_ref().map(Vec::as_slice), upto.as_ref().map(Vec::as_slice));
            self.shared.ask(|model| model.page(state, bounds, &page.items, now_ms));
            let Some(next) = page.next else { return };
            start = Bound::Excluded(next);
            self.sleep(2000).await;
        }
    }
}

/// Background work: planned and installed by the owner, done here, one at a time.
async fn chores(here: Arc<Here>, ask: Sender<Ask>) {
    let pause_us = here.shared.lock().pause_us;
    while here.goes_on() {
        here.sleep(pause_us * 3).await;
        let effort = match here.shared.luck(0..10) {
            0..3 => Effort::Chores,
            3..9 => Effort::Worthwhile,
            _ => Effort::Everything,
        };
        if effort == Effort::Everything && ask.send(Ask::Rotate).await.is_err() {
            return;
        }
        let (answer, mut planned) = queue(1);
        if ask.send(Ask::Plan(effort, answer)).await.is_err() {
            return;
        }
        let Ok(chore) = planned.recv().await else { continue };
        let mut next = Some(chore.run().await);
        while let Some(done) = next.take() {
            let (answer, mut installed) = queue(1);
            if ask.send(Ask::Install(done, answer)).await.is_err() {
                return;
            }
            next = installed.recv().await.ok().flatten();
        }
    }
}

/// What a background thread does by the clock: syncs, idle seals; and, rarely, the end of a life.
async fn keeper(here: Arc<Here>, ask: Sender<Ask>) {
    let keep_us = here.shared.lock().keep_us;
    while here.goes_on() {
        here.sleep(keep_us).await;
        let wish = match here.shared.luck(0..100) {
            0..40 => Ask::Sync,
            40..80 => Ask::Idle,
            80..85 => Ask::Rotate,
            85..87 => Ask::Close,
            _ => continue,
        };
        if ask.send(wish).await.is_err() {
            return;
        }
    }
}
