//! The still world: a runtime over one platter in which nothing takes time.
//!
//! Every operation is done when it is first polled. So a room's whole work on a disk runs to its
//! end in one go, can be stopped inside its n-th disk operation, and can be continued on every
//! disk that a power loss there could have left: the exhaustive tests are written so.
//!
//! ```text
//! let still = Still::new(Platter::default());
//! still.platter().crash_at(n);
//! let result = still.block_on(work(still.clone()));        // ends with an error
//! for platter in still.platter().survivors(10_000).expect("a short history") {
//!     let after = Still::new(platter);                      // another life
//!     after.block_on(recover_and_check(after.clone()));
//! }
//! ```
//!
//! Tasks run when [`Still::block_on`] waits: in turn, first come first served. Time stands while
//! anything can run and then jumps to the next sleeper's deadline, so a loop that sleeps does not
//! keep others from running. There is no network. Clones are the same world.
//!
//! Invariant: the same work gives the same run; nothing here asks a machine for anything.
//!
//! Not here: interleavings, slowness, clocks that lie (`world.rs` and `os/`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use trilith_engine::runtime::{
    Clock, Disk, DiskResult, Entry, File, Handle, Instant, NoNet, Open, ReadMode, Runtime, Space,
    Task, WallTime,
};

use crate::{
    luck::{Domain, Luck},
    platter::{FileId, LockId, Platter},
};

/// The wall clock at the beginning of every still world: some second of the year 2020.
const EPOCH_MS: u64 = 1_600_000_000_000;

fn grab<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panics with the lock held has failed already; its survivors may look on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime.
#[derive(Clone)]
pub struct Still {
    clock: StillClock,
    disk: StillDisk,
    net: NoNet,
    task: StillTask,
    seed: u64,
    streams: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Still {
    /// A world over this disk, with seed 0.
    #[must_use]
    pub fn new(platter: Platter) -> Self {
        Self::with_seed(platter, 0)
    }

    /// A world over this disk whose rooms draw their luck from this seed. Two lives of one node
    /// must not share a seed, or they would draw the same names.
    #[must_use]
    pub fn with_seed(platter: Platter, seed: u64) -> Self {
        let core = Arc::new(Core::default());
        Self {
            clock: StillClock { core: Arc::clone(&core) },
            disk: StillDisk { platter: Arc::new(Mutex::new(platter)) },
            net: NoNet,
            task: StillTask { core },
            seed,
            streams: Arc::default(),
        }
    }

    /// The disk, to look at it or to hurt it. Let go of it before anything is polled.
    pub fn platter(&self) -> MutexGuard<'_, Platter> {
        grab(&self.disk.platter)
    }

    /// A new life on a copy of this world's disk as it is, after the process died.
    #[must_use]
    pub fn after_death(&self, seed: u64) -> Self {
        let mut platter = self.platter().clone();
        platter.process_death();
        Self::with_seed(platter, seed)
    }

    /// A new life on a copy of this world's disk, after a power loss.
    #[must_use]
    pub fn after_power_loss(&self, luck: &mut Luck, seed: u64) -> Self {
        let mut platter = self.platter().clone();
        platter.power_loss(luck);
        Self::with_seed(platter, seed)
    }

    /// Runs a future to its end, and the spawned tasks beside it. Tasks that are not done by then
    /// stay where they are until the next call.
    ///
    /// # Panics
    /// When the future waits for something that cannot come any more.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let core = &self.task.core;
        let mut future = pin!(future);
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let was_driven = core.driven.swap(true, Ordering::SeqCst);
        let output = loop {
            if woken.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                break output;
            }
            let ran = core.run_ready();
            if !ran && !woken.0.load(Ordering::SeqCst) {
                assert!(core.jump(), "the still world waits for something that cannot come");
            }
        };
        core.driven.store(was_driven, Ordering::SeqCst);
        output
    }

    /// Runs the spawned tasks until none of them can go on without time passing.
    pub fn settle(&self) {
        while self.task.core.run_ready() {}
    }

    /// How many tasks have panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.task.core.panics.load(Ordering::SeqCst)
    }
}

/// Runs a future that needs no tasks and no time: work on a still disk alone.
///
/// # Panics
/// When the future waits for something that cannot come.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    while woken.0.swap(false, Ordering::SeqCst) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
    panic!("the future waits for something that cannot come");
}

impl Runtime for Still {
    type Clock = StillClock;
    type Disk = StillDisk;
    type Net = NoNet;
    type Task = StillTask;
    type Rng = Luck;

    fn clock(&self) -> &StillClock {
        &self.clock
    }

    fn disk(&self) -> &StillDisk {
        &self.disk
    }

    fn net(&self) -> &NoNet {
        &self.net
    }

    fn task(&self) -> &StillTask {
        &self.task
    }

    fn rng(&self, room: &'static str) -> Luck {
        let mut streams = grab(&self.streams);
        let count = streams.entry(room).or_default();
        let stream = *count;
        *count += 1;
        Luck::new(self.seed, Domain::Room { node: 0, life: 0, room, stream })
    }
}

// ── time ───────────────────────────────────────────────────────────────────────────────────────

/// The clock: it stands until nothing else can happen.
#[derive(Clone)]
pub struct StillClock {
    core: Arc<Core>,
}

impl StillClock {
    /// Moves time by hand.
    pub fn advance(&self, nanos: u64) {
        let now = self.core.now.load(Ordering::SeqCst);
        self.core.reach(now.saturating_add(nanos));
    }
}

impl Clock for StillClock {
    fn now(&self) -> Instant {
        Instant(self.core.now.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime(EPOCH_MS + self.core.now.load(Ordering::SeqCst) / 1_000_000)
    }

    async fn sleep_until(&self, deadline: Instant) {
        let core = &self.core;
        if !core.driven.load(Ordering::SeqCst) {
            // Nobody would ever move the clock.
            core.reach(deadline.0);
        }
        let mut timer = Timer { core: Arc::clone(core), key: None };
        poll_fn(|context| timer.poll(deadline.0, context)).await;
    }
}

struct Timer {
    core: Arc<Core>,
    key: Option<(u64, u64)>,
}

impl Timer {
    fn poll(&mut self, deadline: u64, context: &Context<'_>) -> Poll<()> {
        if self.core.now.load(Ordering::SeqCst) >= deadline {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| (deadline, self.core.number()));
        grab(&self.core.timers).insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            grab(&self.core.timers).remove(&key);
        }
    }
}

// ── tasks ──────────────────────────────────────────────────────────────────────────────────────

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Core {
    now: AtomicU64,
    next: AtomicU64,
    panics: AtomicU64,
    driven: AtomicBool,
    timers: Mutex<BTreeMap<(u64, u64), Waker>>,
    tasks: Mutex<BTreeMap<u64, Work>>,
    running: Mutex<BTreeSet<u64>>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    waiters: Mutex<BTreeMap<u64, Waker>>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = grab(&self.ready);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

impl Core {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Polls every task that is ready now. Answers whether there was one.
    fn run_ready(&self) -> bool {
        let batch: Vec<u64> = grab(&self.ready).drain(..).collect();
        let mut ran = false;
        for id in batch {
            let Some(mut work) = grab(&self.tasks).remove(&id) else { continue };
            ran = true;
            grab(&self.running).insert(id);
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
            let mut context = Context::from_waker(&waker);
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
            let still_wanted = grab(&self.running).remove(&id);
            match polled {
                Ok(Poll::Pending) if still_wanted => {
                    grab(&self.tasks).insert(id, work);
                    continue;
                }
                Ok(_) => {}
                Err(_panic) => {
                    self.panics.fetch_add(1, Ordering::SeqCst);
                }
            }
            drop(work);
            self.ended(id);
        }
        ran
    }

    fn ended(&self, id: u64) {
        let waiter = grab(&self.waiters).remove(&id);
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    fn is_alive(&self, id: u64) -> bool {
        grab(&self.tasks).contains_key(&id) || grab(&self.running).contains(&id)
    }

    fn cancel(&self, id: u64) {
        grab(&self.running).remove(&id);
        let work = grab(&self.tasks).remove(&id);
        drop(work);
        self.ended(id);
    }

    /// Moves time to the next deadline. Answers whether there was one.
    fn jump(&self) -> bool {
        let next = grab(&self.timers).first_key_value().map(|((deadline, _), _)| *deadline);
        next.map(|deadline| self.reach(deadline)).is_some()
    }

    fn reach(&self, now: u64) {
        self.now.fetch_max(now, Ordering::SeqCst);
        let due = {
            let mut timers = grab(&self.timers);
            let later = timers.split_off(&(now.saturating_add(1), 0));
            std::mem::replace(&mut *timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

/// The tasks.
#[derive(Clone)]
pub struct StillTask {
    core: Arc<Core>,
}

/// A task.
pub struct StillHandle {
    core: Arc<Core>,
    id: u64,
    attached: bool,
}

impl Task for StillTask {
    type Handle = StillHandle;

    fn spawn(
        &self,
        _name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> StillHandle {
        let id = self.core.number();
        grab(&self.core.tasks).insert(id, Box::pin(future));
        grab(&self.core.ready).push_back(id);
        StillHandle { core: Arc::clone(&self.core), id, attached: true }
    }

    async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Handle for StillHandle {
    fn detach(mut self) {
        self.attached = false;
    }

    async fn join(self) {
        poll_fn(|context| {
            if !self.core.is_alive(self.id) {
                return Poll::Ready(());
            }
            grab(&self.core.waiters).insert(self.id, context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for StillHandle {
    fn drop(&mut self) {
        if self.attached {
            self.core.cancel(self.id);
        }
    }
}

// ── the disk ───────────────────────────────────────────────────────────────────────────────────

/// The disk.
#[derive(Clone)]
pub struct StillDisk {
    platter: Arc<Mutex<Platter>>,
}

/// An open file.
#[derive(Clone)]
pub struct StillFile {
    open: Arc<OpenFile>,
}

struct OpenFile {
    platter: Arc<Mutex<Platter>>,
    id: FileId,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        grab(&self.platter).close(self.id);
    }
}

/// A held lock.
pub struct StillLock {
    platter: Arc<Mutex<Platter>>,
    id: LockId,
}

impl Drop for StillLock {
    fn drop(&mut self) {
        grab(&self.platter).unlock(self.id);
    }
}

impl Disk for StillDisk {
    type File = StillFile;
    type Lock = StillLock;

    async fn open(&self, name: &str, how: Open) -> DiskResult<StillFile> {
        let id = grab(&self.platter).open(name, how)?;
        let open = OpenFile { platter: Arc::clone(&self.platter), id };
        Ok(StillFile { open: Arc::new(open) })
    }

    async fn create_dir(&self, name: &str) -> DiskResult<()> {
        grab(&self.platter).create_dir(name)
    }

    async fn lock(&self, name: &str) -> DiskResult<StillLock> {
        let id = grab(&self.platter).lock(name)?;
        Ok(StillLock { platter: Arc::clone(&self.platter), id })
    }

    async fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        grab(&self.platter).list(dir)
    }

    async fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        grab(&self.platter).rename(from, to)
    }

    async fn remove(&self, name: &str) -> DiskResult<()> {
        grab(&self.platter).remove(name)
    }

    async fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        grab(&self.platter).sync_dir(dir)
    }

    async fn space(&self) -> DiskResult<Space> {
        grab(&self.platter).space()
    }
}

impl File for StillFile {
    async fn read_at(&self, offset: u64, buffer: Vec<u8>, mode: ReadMode) -> DiskResult<Vec<u8>> {
        grab(&self.open.platter).read_at(self.open.id, offset, buffer, mode)
    }

    async fn write_at(&self, offset: u64, bytes: Bytes) -> DiskResult<()> {
        grab(&self.open.platter).write_at(self.open.id, offset, &bytes)
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        grab(&self.open.platter).allocate(self.open.id, len)
    }

    async fn len(&self) -> DiskResult<u64> {
        grab(&self.open.platter).len(self.open.id)
    }

    async fn set_len(&self, len: u64) -> DiskResult<()> {
        grab(&self.open.platter).set_len(self.open.id, len)
    }

    async fn sync(&self) -> DiskResult<()> {
        grab(&self.open.platter).sync(self.open.id)
    }
}
