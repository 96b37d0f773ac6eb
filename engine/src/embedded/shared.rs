//! What all handles of one store share: the queue of writers, the published view, the chores.
//!
//! ```text
//!   writer ─▶ queue ── nobody leads? ─▶ leads: takes all queued batches, one frame, one sync
//!                │                       and goes on with the rounds that gather meanwhile
//!                └──── somebody leads ─▶ waits; is answered, or becomes the next leader
//!   reader ─▶ published view ─▶ place ─▶ pread on its own thread
//! ```
//! There is no timer in a commit: what arrives while a sync runs is the next round.
//!
//! A reader holds the view's lock for one lookup in memory. The leader takes the published view
//! back while it applies a few records, so that the index is changed in place and not copied; a
//! large batch is applied to a copy instead, and nobody waits.
//!
//! Invariants: a round's answers are given after everything in it is durable (`Immediate`) and
//! applied; one leader at a time; one chore at a time.
//!
//! Not here: the calls a program makes (`kv.rs`).

use alloc::{sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::{
    error::KvError,
    kv::Durability,
    os::{Native, block_on},
};
use crate::{
    journal::Sync,
    lone::{BatchOutcome, Commit, Effort, Store, StoreError, Tour, WriteBatch},
    runtime::{Clock, Runtime},
    value::IndexView,
};

/// Records applied while readers wait: some ten microseconds.
const APPLY_IN_PLACE: usize = 64;
/// A batch of more records than this is applied to a copy.
const APPLY_TO_COPY: usize = 1024;
/// How often the background thread looks around.
const TICK: Duration = Duration::from_millis(10);

/// Rounds that one thread leads while its own caller waits for its answer. Handing over costs the
/// time in which another thread wakes up, and the device has nothing to do meanwhile.
const ROUNDS_IN_A_ROW: usize = 4;

type Answer = Result<BatchOutcome, KvError>;

#[derive(Debug, Default)]
struct Queue {
    gathering: Vec<WriteBatch>,
    /// The round that is being gathered.
    round: Arc<Round>,
    is_led: bool,
    is_closed: bool,
}

/// The writers that go to the device together.
#[derive(Debug, Default)]
struct Round {
    state: Mutex<RoundState>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct RoundState {
    /// In the order of the batches, once the round is over.
    answers: Option<Vec<Option<Answer>>>,
    is_rung: bool,
    /// Nobody leads it: one of those who wait has to.
    is_orphaned: bool,
}

impl Round {
    fn finish(&self, answers: Vec<Option<Answer>>) {
        grab(&self.state).answers = Some(answers);
        // One wakes up and wakes the others: the leader's next sync does not wait for that.
        self.bell.notify_one();
    }

    fn orphan(&self) {
        grab(&self.state).is_orphaned = true;
        self.bell.notify_one();
    }

    /// Waits for the answer to batch `nth`; `None` when the waiting thread must lead first.
    fn wait(&self, nth: usize) -> Option<Answer> {
        let mut state = grab(&self.state);
        loop {
            if let Some(answers) = &mut state.answers {
                let answer = answers.get_mut(nth).and_then(Option::take);
                if !core::mem::replace(&mut state.is_rung, true) {
                    drop(state);
                    self.bell.notify_all();
                }
                return Some(answer.unwrap_or(Err(KvError::Closed)));
            }
            if core::mem::take(&mut state.is_orphaned) {
                return None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The shared part.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rt: Native,
    pub(super) durability: Durability,
    pub(super) value_bytes_max: usize,
    store: Mutex<Option<Store<Native>>>,
    view: RwLock<Option<IndexView<Native>>>,
    queue: Mutex<Queue>,
    chores: Mutex<()>,
    /// The latest wall time that anybody saw: what has expired for one has expired for all.
    latest_ms: AtomicU64,
    unsynced_bytes: AtomicU64,
    writes: AtomicU64,
    pub(super) is_closing: AtomicBool,
    bell: (Mutex<()>, Condvar),
}

pub(super) fn grab<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere has not left anything half done: what is shared changes in whole steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(rt: Native, store: Store<Native>, durability: Durability) -> Self {
        Self {
            rt,
            durability,
            value_bytes_max: store.value_bytes_max(),
            view: RwLock::new(Some(store.view())),
            store: Mutex::new(Some(store)),
            queue: Mutex::default(),
            chores: Mutex::default(),
            latest_ms: AtomicU64::new(0),
            unsynced_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            bell: (Mutex::default(), Condvar::new()),
        }
    }

    /// Wall time, which for this store's handles never goes back.
    pub(super) fn now_ms(&self) -> u64 {
        let wall = self.rt.clock().wall().0;
        self.latest_ms.fetch_max(wall, Ordering::Relaxed).max(wall)
    }

    /// Looks something up in the published view.
    pub(super) fn look<T>(&self, look: impl FnOnce(&IndexView<Native>) -> T) -> Result<T, KvError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.as_ref().map(look).ok_or(KvError::Closed)
    }

    /// Runs something with the store.
    pub(super) fn with<T>(
        &self,
        run: impl FnOnce(&mut Store<Native>) -> Result<T, StoreError>,
    ) -> Result<T, KvError> {
        let mut store = grab(&self.store);
        let store = store.as_mut().ok_or(KvError::Closed)?;
        let done = run(store);
        self.publish(store);
        Ok(done?)
    }

    fn publish(&self, store: &Store<Native>) {
        let view = Some(store.view());
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Writes a batch; answers when it is as durable as was asked for.
    pub(super) fn write(&self, batch: WriteBatch) -> Answer {
        crate::lone::check(&batch, self.value_bytes_max).map_err(KvError::TooLarge)?;
        let mut queue = grab(&self.queue);
        if queue.is_closed {
            return Err(KvError::Closed);
        }
        let (round, nth) = (Arc::clone(&queue.round), queue.gathering.len());
        queue.gathering.push(batch);
        if !core::mem::replace(&mut queue.is_led, true) {
            self.lead(queue);
        } else {
            drop(queue);
        }
        loop {
            match round.wait(nth) {
                Some(answer) => return answer,
                None => self.lead(grab(&self.queue)),
            }
        }
    }

    /// Leads the round being gathered, and those that gather meanwhile.
    fn lead<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) {
        for _ in 0..ROUNDS_IN_A_ROW {
            let batches = core::mem::take(&mut queue.gathering);
            let round = core::mem::take(&mut queue.round);
            drop(queue);
            round.finish(self.commit(&batches).into_iter().map(Some).collect());
            queue = grab(&self.queue);
            if queue.gathering.is_empty() {
                queue.is_led = false;
                return;
            }
        }
        let next = Arc::clone(&queue.round);
        drop(queue);
        next.orphan();
    }

    fn commit(&self, batches: &[WriteBatch]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(batches.len());
        let mut guard = grab(&self.store);
        self.writes.fetch_add(1, Ordering::Relaxed);
        while answers.len() < batches.len() {
            let rest = &batches[answers.len()..];
            let done = match guard.as_mut() {
                Some(store) => self.commit_some(store, rest),
                None => Err(KvError::Closed),
            };
            match done {
                Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
                Err(error) => answers.extend(rest.iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    fn commit_some(
        &self,
        store: &mut Store<Native>,
        batches: &[WriteBatch],
    ) -> Result<Vec<BatchOutcome>, KvError> {
        let sync = match self.durability {
            Durability::Immediate => Sync::Now,
            Durability::Batch { .. } => Sync::Later,
        };
        store.witness(self.now_ms());
        let mut commit = block_on(store.persist(batches, sync))?;
        self.apply(store, &mut commit)?;
        if let Durability::Batch { bytes: most, .. } = self.durability {
            let written: usize = batches[..commit.batches()].iter().map(WriteBatch::bytes).sum();
            let written = written as u64;
            let unsynced = self.unsynced_bytes.fetch_add(written, Ordering::Relaxed) + written;
            if unsynced >= most as u64 {
                self.unsynced_bytes.store(0, Ordering::Relaxed);
                block_on(store.sync())?;
            }
        }
        Ok(commit.outcomes().to_vec())
    }

    fn apply(&self, store: &mut Store<Native>, commit: &mut Commit<'_>) -> Result<(), KvError> {
        while commit.left() > 0 {
            if commit.next_step(APPLY_IN_PLACE) > APPLY_TO_COPY {
                store.apply(commit, APPLY_IN_PLACE)?;
                self.publish(store);
                continue;
            }
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            // Taken back: a tree that nobody else holds is changed in place.
            *view = None;
            let applied = store.apply(commit, APPLY_IN_PLACE);
            *view = Some(store.view());
            drop(view);
            applied?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), KvError> {
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        self.with(|store| block_on(store.sync()).map(drop))
    }

    /// Does chores until there is none. The store is locked to plan and to install, not to work.
    pub(super) fn work(&self, effort: Effort) -> Result<(), KvError> {
        let _turn = grab(&self.chores);
        let mut tour = Tour::new(effort);
        while let Some(chore) = self.with(|store| Ok(store.plan(tour.effort())))? {
            let is_compaction = chore.is_compaction();
            let mut next = Some(block_on(chore.run()));
            let mut installed = Ok(());
            while let Some(done) = next {
                next = self.with(|store| {
                    Ok(block_on(store.install(done)).unwrap_or_else(|error| {
                        installed = Err(error);
                        None
                    }))
                })?;
            }
            tour.did(is_compaction, installed)?;
            if self.is_closing.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Ok(tour.end()?)
    }

    /// What the background thread does until the store is closed.
    pub(super) fn background(self: &Arc<Self>) {
        let (mut seen, mut sealed, mut synced_at) = (0, 0, self.rt.clock().now());
        while !self.is_closing.load(Ordering::Relaxed) {
            let writes = self.writes.load(Ordering::Relaxed);
            let is_idle = writes == seen;
            seen = writes;
            if let Durability::Batch { millis, .. } = self.durability
                && self.unsynced_bytes.load(Ordering::Relaxed) > 0
                && self.rt.clock().now().since(synced_at) >= Duration::from_millis(millis)
            {
                synced_at = self.rt.clock().now();
                if let Err(error) = self.sync() {
                    tracing::error!(%error, "what was written could not be made durable");
                }
            }
            if is_idle && sealed != writes {
                sealed = writes;
                if let Err(error) = self.with(|store| block_on(store.on_idle())) {
                    tracing::warn!(%error, "the idle seal was not written");
                }
            }
            if let Err(error) = self.work(Effort::Worthwhile)
                && error != KvError::Closed
            {
                tracing::warn!(%error, "a chore failed; it is tried again");
            }
            let bell = grab(&self.bell.0);
            let wait = if is_idle { TICK * 5 } else { TICK };
            drop(self.bell.1.wait_timeout(bell, wait));
        }
    }

    /// Refuses writers from now on and closes the store; `join` waits for the background thread.
    pub(super) fn close(&self, join: impl FnOnce()) -> Result<(), KvError> {
        grab(&self.queue).is_closed = true;
        self.is_closing.store(true, Ordering::Relaxed);
        self.bell.1.notify_all();
        join();
        let store = grab(&self.store).take();
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = None;
        match store {
            Some(store) => Ok(block_on(store.close())?),
            None => Ok(()),
        }
    }
}
