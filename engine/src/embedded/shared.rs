//! What all handles of one store share: the queue of writers, the published view, the chores.
//!
//! ```text
//!   writer ─▶ queue ── nobody leads? ─▶ leads: takes all queued batches, one frame, one sync
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

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
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
    lone::{BatchOutcome, Commit, Effort, Store, StoreError, WriteBatch},
    runtime::{Clock, Runtime},
    value::IndexView,
};

/// Records applied while readers wait: some ten microseconds.
const APPLY_IN_PLACE: usize = 64;
/// A batch of more records than this is applied to a copy.
const APPLY_TO_COPY: usize = 1024;
/// How often the background thread looks around.
const TICK: Duration = Duration::from_millis(10);

type Answer = Result<BatchOutcome, KvError>;

#[derive(Debug, Default)]
struct Queue {
    gathering: Vec<WriteBatch>,
    /// The round that is being gathered; all before `finished` have answers.
    round: u64,
    finished: u64,
    answers: BTreeMap<u64, (Vec<Option<Answer>>, usize)>,
    is_led: bool,
    is_closed: bool,
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
    /// Two, because the next round gathers while one is on its way.
    answered: [Condvar; 2],
    chores: Mutex<()>,
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
            answered: [Condvar::new(), Condvar::new()],
            chores: Mutex::default(),
            unsynced_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            bell: (Mutex::default(), Condvar::new()),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.rt.clock().wall().0
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
        let (round, nth) = (queue.round, queue.gathering.len());
        queue.gathering.push(batch);
        loop {
            if queue.finished > round {
                return take_answer(&mut queue, round, nth);
            }
            if queue.is_led {
                let bell = &self.answered[(round % 2) as usize];
                queue = bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                queue.is_led = true;
                queue = self.lead(queue);
            }
        }
    }

    /// Leads one round: the one being gathered.
    fn lead<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        let batches = core::mem::take(&mut queue.gathering);
        let round = queue.round;
        queue.round += 1;
        drop(queue);
        let answers: Vec<_> = self.commit(&batches).into_iter().map(Some).collect();
        let mut queue = grab(&self.queue);
        let left = answers.len();
        queue.answers.insert(round, (answers, left));
        queue.finished = round + 1;
        queue.is_led = false;
        if left > 1 {
            self.answered[(round % 2) as usize].notify_all();
        }
        if !queue.gathering.is_empty() {
            self.answered[((round + 1) % 2) as usize].notify_one();
        }
        queue
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
    pub(super) fn work(&self, mut effort: Effort) -> Result<(), KvError> {
        let _turn = grab(&self.chores);
        loop {
            let planned = self.with(|store| {
                let before = store.stats().compactions;
                Ok(store.plan(effort).map(|chore| (chore, before)))
            })?;
            let Some((chore, before)) = planned else { return Ok(()) };
            let mut next = Some(block_on(chore.run()));
            while let Some(done) = next {
                next = self.with(|store| block_on(store.install(done)))?;
            }
            let after = self.with(|store| Ok(store.stats().compactions))?;
            // One pass takes everything; a second would find what it has just written.
            if after > before {
                effort = Effort::Chores;
            }
            if self.is_closing.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
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

fn take_answer(queue: &mut Queue, round: u64, nth: usize) -> Answer {
    let Some((answers, left)) = queue.answers.get_mut(&round) else { return Err(KvError::Closed) };
    let answer = answers.get_mut(nth).and_then(Option::take).unwrap_or(Err(KvError::Closed));
    *left -= 1;
    if *left == 0 {
        queue.answers.remove(&round);
    }
    answer
}
