//! Background work of a store: the journal's, and compaction.
//!
//! Installing a compaction takes several calls, so that commits come in between: first the new
//! segments are listed, then the index is pointed at them some hundred keys at a time, and at last
//! the victims are dropped. Why in this order: `value/compact.rs`.
//!
//! Invariant: one compaction at a time.
//!
//! Not here: what is moved (`value/compact.rs`), what is worth moving (`value/ledger.rs`).

use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use super::{GROUP, Store, error::StoreError};
use crate::{
    journal::{self, Claim, Installed, ManifestEdit},
    mark, planted,
    runtime::{Clock, Runtime},
    types::{Lsn, SegmentId},
    value::{CompactError, Compacted, Job, JobParts, Progress},
};

/// Keys that are pointed elsewhere before commits get their turn again: a quarter of a millisecond.
const MOVES_AT_ONCE: usize = 512;

/// Keys that are over and leave the index before commits get their turn again: a few milliseconds.
const EXPIRED_AT_ONCE: usize = 4096;

/// After a compaction that gave up, none is planned for so long.
const HOLD: Duration = Duration::from_secs(5);

/// How much work a plan may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The journal's chores only.
    Chores,
    /// And compaction where it is worth it.
    Worthwhile,
    /// And compaction of everything that is complete.
    Everything,
}

/// A piece of background work; it needs no store while it runs.
pub struct Chore<R: Runtime>(Work<R>);

enum Work<R: Runtime> {
    Journal(journal::Chore<R>),
    Compact(Box<Job<R>>, Arc<()>),
}

impl<R: Runtime> fmt::Debug for Chore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Work::Journal(chore) => chore.fmt(f),
            Work::Compact(job, _) => job.fmt(f),
        }
    }
}

/// What a chore did; to be installed.
pub struct Done<R: Runtime>(Outcome<R>);

enum Outcome<R: Runtime> {
    Journal(journal::Done<R>),
    GaveUp(CompactError, Arc<()>),
    Add(Box<Compacted<R>>, Arc<()>),
    Switch(Box<Compacted<R>>, Progress, Arc<()>),
    Drop(Box<Compacted<R>>, Arc<()>),
}

impl<R: Runtime> fmt::Debug for Done<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Journal(done) => done.fmt(f),
            Outcome::GaveUp(error, _) => write!(f, "gave up: {error}"),
            Outcome::Add(done, _) => write!(f, "add {done:?}"),
            Outcome::Switch(done, ..) => write!(f, "switch {done:?}"),
            Outcome::Drop(done, _) => write!(f, "drop {done:?}"),
        }
    }
}

/// Work until there is none, as its caller goes through it: which effort is next, and what is told
/// at the end. It ends: one pass compacts everything, and a second pass follows only when the first
/// has found a damaged segment, which the second leaves out.
#[derive(Debug)]
pub struct Tour {
    effort: Effort,
    left_out: BTreeSet<SegmentId>,
    damage: Option<StoreError>,
}

impl Tour {
    /// A tour of this effort.
    #[must_use]
    pub const fn new(effort: Effort) -> Self {
        Self { effort, left_out: BTreeSet::new(), damage: None }
    }

    /// What to plan next.
    #[must_use]
    pub const fn effort(&self) -> Effort {
        self.effort
    }

    /// A chore is installed, or not.
    ///
    /// # Errors
    /// The chore's, when nothing else can be done.
    pub fn did(
        &mut self,
        was_compaction: bool,
        installed: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match installed {
            // A second pass would find what the first has just written.
            Ok(()) if was_compaction => self.effort = Effort::Chores,
            Ok(()) => {}
            Err(error) => {
                let faulty =
                    if let StoreError::Compact(error) = &error { error.faulty() } else { None };
                // Met twice, it is in the way and no victim: then there is nothing to leave out.
                if !faulty.is_some_and(|segment| self.left_out.insert(segment)) {
                    return Err(error);
                }
                mark!("lone: compaction left a damaged segment out");
                self.damage.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// There is nothing more to do.
    ///
    /// # Errors
    /// [`StoreError::Compact`] when something damaged was left as it is.
    pub fn end(self) -> Result<(), StoreError> {
        self.damage.map_or(Ok(()), Err)
    }
}

impl<R: Runtime> Chore<R> {
    /// Whether it is a compaction.
    #[must_use]
    pub const fn is_compaction(&self) -> bool {
        matches!(self.0, Work::Compact(..))
    }

    /// Does the work.
    pub async fn run(self) -> Done<R> {
        Done(match self.0 {
            Work::Journal(chore) => Outcome::Journal(chore.run().await),
            Work::Compact(job, token) => match job.run().await {
                Ok(compacted) => Outcome::Add(Box::new(compacted), token),
                Err(error) => Outcome::GaveUp(error, token),
            },
        })
    }
}

impl<R: Runtime> Store<R> {
    /// The next piece of background work, if there is any.
    pub fn plan(&mut self, effort: Effort) -> Option<Chore<R>> {
        if self.is_stopped() {
            return None;
        }
        if let Some(chore) = self.journal.plan() {
            return Some(Chore(Work::Journal(chore)));
        }
        if effort == Effort::Chores || self.compacting.strong_count() > 0 {
            return None;
        }
        self.expire(effort);
        self.refresh();
        let victims = match effort {
            Effort::Chores => return None,
            Effort::Worthwhile if self.rt.clock().now() < self.hold_until => return None,
            Effort::Worthwhile => {
                let (ledger, policy) = (self.engine.ledger(), &self.options.compaction);
                let full = self.journal.full();
                let room = full.map_or(u64::MAX, |free| self.journal.room_to_move(free));
                ledger.victims(ledger.need(policy)?, policy, room)
            }
            Effort::Everything => self.engine.ledger().everything(),
        };
        if victims.is_empty() {
            return None;
        }
        let sources: Vec<_> =
            victims.iter().filter_map(|id| self.journal.hint_source(*id)).collect();
        if sources.len() != victims.len() {
            return None;
        }
        let ledger = self.engine.ledger();
        let lines = victims.iter().filter_map(|id| ledger.line(*id));
        let bytes: u64 = lines.map(|line| line.live_bytes + line.tombstone_bytes).sum();
        let segment_bytes = self.options.journal.segment_bytes_max;
        let writers = 2 + bytes / segment_bytes;
        let bytes_per_second = match effort {
            Effort::Everything => 0,
            Effort::Chores | Effort::Worthwhile => self.options.compaction_bytes_per_second,
        };
        let parts = JobParts {
            rt: self.rt.clone(),
            sources,
            victims,
            writers: (0..writers).map(|_| self.journal.data_writer(Claim::Moving)).collect(),
            horizon: Lsn(self.journal.next_lsn().0 - 1),
            now_ms: [(GROUP, self.now_ms())].into(),
            segment_bytes,
            bytes_per_second,
        };
        let token = Arc::new(());
        self.compacting = Arc::downgrade(&token);
        Some(Chore(Work::Compact(Box::new(self.engine.plan(parts)), token)))
    }

    /// Lets go of keys that are over: what compaction cannot choose for their sake it cannot give back.
    fn expire(&mut self, effort: Effort) {
        let now_ms = self.now_ms();
        loop {
            let (_, is_all) = self.engine.expire(GROUP, now_ms, EXPIRED_AT_ONCE);
            if is_all || effort != Effort::Everything {
                return;
            }
        }
    }

    /// Takes a part of a chore's result in. When it answers something, that is to be installed
    /// next, after commits had their turn.
    ///
    /// # Errors
    /// [`StoreError::Journal`] or [`StoreError::Compact`]. Unless the store has stopped, the chore is
    /// off and nothing is lost.
    pub async fn install(&mut self, done: Done<R>) -> Result<Option<Done<R>>, StoreError> {
        let next = match done.0 {
            Outcome::Journal(done) => {
                let installed = self.journal.install(done).await?;
                if let Installed::NotPrepared(error) = installed {
                    tracing::warn!(%error, "no segment could be prepared; trying again later");
                }
                None
            }
            Outcome::GaveUp(error, token) => {
                drop(token);
                if let Some(segment) = error.faulty() {
                    self.engine.ledger_mut().edit(segment, |line| line.is_faulty = true);
                }
                self.hold_until = self.rt.clock().now() + HOLD;
                return Err(StoreError::Compact(Box::new(error)));
            }
            Outcome::Add(compacted, token) => self.add(compacted, token).await?,
            Outcome::Switch(compacted, mut progress, token) => {
                let engine = &mut self.engine;
                let more = compacted.next_moves(&mut progress, MOVES_AT_ONCE, |moved| {
                    engine.relocate(moved, &compacted.victims);
                });
                Some(match more {
                    true => Outcome::Switch(compacted, progress, token),
                    false => Outcome::Drop(compacted, token),
                })
            }
            Outcome::Drop(compacted, token) => {
                self.drop_victims(*compacted).await?;
                drop(token);
                None
            }
        };
        Ok(next.map(Done))
    }

    /// Lists the new segments.
    async fn add(
        &mut self,
        mut compacted: Box<Compacted<R>>,
        token: Arc<()>,
    ) -> Result<Option<Outcome<R>>, StoreError> {
        let add = core::mem::take(&mut compacted.segments);
        let edited = self.journal.edit(ManifestEdit { add, ..ManifestEdit::default() }).await;
        if let Err(error) = edited {
            self.hold_until = self.rt.clock().now() + HOLD;
            return Err(error.into());
        }
        for (id, line) in &compacted.lines {
            self.engine.ledger_mut().edit(*id, |made| *made = *line);
        }
        self.engine.set_files(self.journal.files());
        Ok(Some(Outcome::Switch(compacted, Progress::default(), token)))
    }

    /// Drops the victims: from now on only the copies count.
    async fn drop_victims(&mut self, compacted: Compacted<R>) -> Result<(), StoreError> {
        if self.journal.durable_lsn() < compacted.horizon && !planted!("victims_dropped_unsynced") {
            mark!("value: a compaction waited for a sync");
            self.journal.sync().await?;
        }
        let drop = compacted.victims.clone();
        self.journal.edit(ManifestEdit { drop, ..ManifestEdit::default() }).await?;
        for victim in &compacted.victims {
            self.engine.ledger_mut().forget(*victim);
        }
        self.engine.set_files(self.journal.files());
        self.compactions += 1;
        self.compacted_bytes += compacted.bytes;
        tracing::info!(
            victims = compacted.victims.len(),
            segments = compacted.lines.len(),
            bytes = compacted.bytes,
            "compacted"
        );
        Ok(())
    }

    /// Ends the segment that is written to, so that compaction can take it.
    ///
    /// # Errors
    /// [`StoreError::Journal`].
    pub async fn rotate(&mut self) -> Result<(), StoreError> {
        self.journal.rotate().await?;
        self.engine.set_files(self.journal.files());
        Ok(())
    }

    /// Does background work until there is none: for tests, programs, and `compact()` where nobody
    /// else waits.
    ///
    /// # Errors
    /// [`StoreError::Journal`]. [`StoreError::Compact`] when something could not be compacted; a
    /// damaged segment does not keep the others from it.
    pub async fn work(&mut self, effort: Effort) -> Result<u64, StoreError> {
        let (mut chores, mut tour) = (0, Tour::new(effort));
        while let Some(chore) = self.plan(tour.effort()) {
            let is_compaction = chore.is_compaction();
            let mut next = Some(chore.run().await);
            let installed = loop {
                let Some(done) = next else { break Ok(()) };
                match self.install(done).await {
                    Ok(more) => next = more,
                    Err(error) => break Err(error),
                }
            };
            tour.did(is_compaction, installed)?;
            chores += 1;
        }
        tour.end().map(|()| chores)
    }

    /// Compacts everything, the segment that is written to included.
    ///
    /// # Errors
    /// As [`work`](Self::work).
    pub async fn compact_all(&mut self) -> Result<(), StoreError> {
        self.rotate().await?;
        self.work(Effort::Everything).await?;
        Ok(())
    }
}
