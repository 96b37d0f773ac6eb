//! A store of one group without Raft: the journal, one index, and nothing between.
//!
//! It is the body of the embedded `KvStore` and what the simulator crashes by the thousand. One
//! owner; whoever reads takes a [`View`](IndexView) and needs the owner no more.
//!
//! ```text
//!   commit(batches):  judge ─▶ frame ─▶ append (+ sync) ─▶ apply to the index ─▶ answer
//!                     `persist`                            `apply`
//!   chores:           plan (owner) ─▶ run (anywhere) ─▶ install (owner)
//! ```
//! Invariants: what is answered as done with [`Sync::Now`] is durable (I1); a view holds whole
//! batches only; a batch's version is its last record's LSN.
//!
//! Not here: threads, blocking, waiting for company in a commit (`embedded`).

mod batch;
mod chore;
mod commit;
mod error;
mod verify;

use alloc::{sync::Weak, vec::Vec};
use core::fmt;

pub use batch::{Action, BatchOutcome, Condition, Write, WriteBatch};
pub use chore::{Chore, Done, Effort, Tour};
pub use commit::{Commit, GROUP, check};
pub use error::{BatchError, StoreError};
pub use verify::{Verification, VerifyReport};

use crate::{
    journal::{
        Journal, JournalError, JournalOptions, ManifestEdit, OpenError, OpenReport, SegmentHints,
        SegmentKind, Sync,
    },
    limits::VALUE_BYTES_MAX_EMBEDDED,
    planted,
    runtime::{Clock, Instant, Runtime},
    types::{Lsn, Version},
    value::{Engine, IndexView, Indexed, Policy},
};

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The journal's part.
    pub journal: JournalOptions,
    /// When compaction runs by itself.
    pub compaction: Policy,
    /// How many bytes a second automatic compaction moves at most; 0 for no limit.
    pub compaction_bytes_per_second: u64,
    /// The longest value.
    pub value_bytes_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            journal: JournalOptions::default(),
            compaction: Policy::default(),
            compaction_bytes_per_second: 128 << 20,
            value_bytes_max: VALUE_BYTES_MAX_EMBEDDED,
        }
    }
}

/// What a store holds and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Keys in the index, expired ones that no compaction has met included.
    pub keys: usize,
    /// Memory of the index.
    pub index_bytes: usize,
    /// Bytes of records that the index points at.
    pub live_bytes: u64,
    /// Bytes of records that nothing needs.
    pub dead_bytes: u64,
    /// Bytes of deletions that may still hide something.
    pub tombstone_bytes: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Bytes of all files, prepared ones included.
    pub file_bytes: u64,
    /// Bytes of files that are dropped and wait for their last reader.
    pub pending_reclaim_bytes: u64,
    /// The newest version.
    pub version: Version,
    /// The newest version that survives a power loss.
    pub durable: Version,
    /// Compactions that were installed since the store was opened.
    pub compactions: u64,
    /// Bytes that compaction wrote since the store was opened.
    pub compacted_bytes: u64,
}

/// The store.
pub struct Store<R: Runtime> {
    rt: R,
    options: StoreOptions,
    journal: Journal<R>,
    engine: Indexed<R>,
    /// The latest wall time seen: within one life, what has expired stays expired.
    latest_ms: u64,
    /// Held by a compaction that is under way.
    compacting: Weak<()>,
    /// No compaction is planned before this: the last one gave up.
    hold_until: Instant,
    compactions: u64,
    compacted_bytes: u64,
}

impl<R: Runtime> fmt::Debug for Store<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("journal", &self.journal)
            .field("keys", &self.engine.keys())
            .finish_non_exhaustive()
    }
}

/// What does not fit is on the disk: nothing else was asked for yet.
fn contradiction(error: JournalError) -> StoreError {
    match error {
        JournalError::Misfit(why) => {
            OpenError::Contradiction { file: "the manifest".into(), why }.into()
        }
        other => other.into(),
    }
}

impl<R: Runtime> Store<R> {
    /// Opens the store in the runtime's directory, making it when the directory is empty.
    ///
    /// # Errors
    /// [`StoreError::Open`] says what is in the way and what to do.
    pub async fn open(rt: R, options: StoreOptions) -> Result<(Self, OpenReport), StoreError> {
        let (mut journal, recovered) = Journal::open(&rt, options.journal).await?;
        if !journal.groups().any(|group| group == GROUP) {
            let add_groups = alloc::vec![GROUP];
            let edit = ManifestEdit { add_groups, ..ManifestEdit::default() };
            journal.edit(edit).await.map_err(contradiction)?;
        }
        let mut store = Self {
            engine: Indexed::new(journal.files()),
            latest_ms: rt.clock().wall().0,
            rt,
            options,
            journal,
            compacting: Weak::new(),
            hold_until: Instant::default(),
            compactions: 0,
            compacted_bytes: 0,
        };
        store.load(&recovered.segments).await?;
        Ok((store, recovered.report))
    }

    async fn load(&mut self, segments: &[SegmentHints]) -> Result<(), StoreError> {
        let ledger = self.engine.ledger_mut();
        for hints in segments {
            ledger.enter(hints);
        }
        let lists = segments.iter().map(SegmentHints::iter).collect();
        self.engine.load(lists, self.latest_ms);
        // With leave to lose them, journal segments may be gone of which compaction had copied
        // records: what is written next must be newer than the copies.
        let newest = Lsn(self.engine.applied(GROUP).0);
        self.journal.skip_to(newest).await.map_err(contradiction)?;
        let last = Version(self.journal.next_lsn().0 - 1);
        // Compaction may have dropped the newest record of all: a deletion.
        self.engine.advance(GROUP, last);
        self.refresh();
        Ok(())
    }

    /// Wall time, which within one life of the store never goes back.
    fn now_ms(&mut self) -> u64 {
        self.latest_ms = self.latest_ms.max(self.rt.clock().wall().0);
        self.latest_ms
    }

    /// Somebody has seen this wall time: the store's own does not fall behind it.
    pub fn witness(&mut self, now_ms: u64) {
        self.latest_ms = self.latest_ms.max(now_ms);
    }

    /// The state after the last applied batch. Costs nothing and stays as it is.
    #[must_use]
    pub fn view(&self) -> IndexView<R> {
        self.engine.view(GROUP)
    }

    /// The latest wall time the store has seen: what a reader's clock should not fall behind.
    #[must_use]
    pub const fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// Whether the store has stopped for good.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.journal.is_stopped()
    }

    /// The longest value.
    #[must_use]
    pub const fn value_bytes_max(&self) -> usize {
        self.options.value_bytes_max
    }

    /// Writes as many batches as fit one frame; [`apply`](Self::apply) must follow.
    ///
    /// Every batch must have passed [`check`].
    ///
    /// # Errors
    /// [`StoreError::Journal`]. Nothing happened, unless the store has stopped: then it is unknown.
    pub async fn persist<'b>(
        &mut self,
        batches: &'b [WriteBatch],
        sync: Sync,
    ) -> Result<Commit<'b>, StoreError> {
        let now_ms = self.now_ms();
        let newest = self.engine.applied(GROUP);
        let mut frame = self.journal.frame();
        let judge = commit::Judge { tree: self.engine.tree(GROUP), now_ms, newest };
        let mut commit = judge.take(batches, &mut frame);
        if commit.is_empty() {
            // Its answers rest on what was written before, so that must be as durable as they are.
            if sync == Sync::Now && self.journal.durable_lsn().next() < self.journal.next_lsn() {
                self.journal.sync().await?;
            }
            return Ok(commit);
        }
        let sync = if planted!("commit_not_synced") { Sync::Later } else { sync };
        let appended = self.journal.append(frame, sync).await;
        if appended.is_err() && planted!("index_at_append") {
            // Only deletions: a value has no place yet.
            self.apply(&mut commit, usize::MAX)?;
        }
        commit.persist(appended?);
        let ledger = self.engine.ledger_mut();
        for (loc, kind, version) in commit.written() {
            ledger.wrote(loc, kind, version);
        }
        self.engine.set_files(self.journal.files());
        Ok(commit)
    }

    /// Applies the next whole batches of a commit, about `most` records. Answers how many records
    /// are left.
    ///
    /// # Errors
    /// Never, with this engine; others write.
    pub fn apply(&mut self, commit: &mut Commit<'_>, most: usize) -> Result<usize, StoreError> {
        let applied = self.engine.apply(GROUP, commit.take_step(most));
        applied.map_err(|error| StoreError::Read(crate::journal::ReadError::Disk(error)))?;
        Ok(commit.left())
    }

    /// Writes batches, each atomic, in order, as few frames as possible; with [`Sync::Now`] all of
    /// them are durable when this answers. Each batch has an answer of its own.
    pub async fn commit(
        &mut self,
        batches: &[WriteBatch],
        sync: Sync,
    ) -> Vec<Result<BatchOutcome, StoreError>> {
        let mut answers = Vec::with_capacity(batches.len());
        while let Some(rest) = batches.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            let valid = rest.iter().take_while(|batch| self.check(batch).is_ok()).count();
            if valid == 0 {
                answers.push(
                    self.check(&rest[0])
                        .map(|()| BatchOutcome::Done { version: Version(0), missing: 0 }),
                );
                continue;
            }
            match self.persist_and_apply(&rest[..valid], sync).await {
                Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
                Err(error) => answers.extend(rest[..valid].iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    fn check(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        Ok(check(batch, self.options.value_bytes_max)?)
    }

    async fn persist_and_apply(
        &mut self,
        batches: &[WriteBatch],
        sync: Sync,
    ) -> Result<Vec<BatchOutcome>, StoreError> {
        let mut commit = self.persist(batches, sync).await?;
        while self.apply(&mut commit, usize::MAX)? > 0 {}
        Ok(commit.outcomes().to_vec())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// [`StoreError::Journal`]; the store has stopped then.
    pub async fn sync(&mut self) -> Result<Version, StoreError> {
        Ok(Version(self.journal.sync().await?.0))
    }

    /// Says on disk that everything so far is durable. To be called when nothing has been written
    /// for some milliseconds: later damage to the last write is then known for what it is.
    ///
    /// # Errors
    /// [`StoreError::Journal`].
    pub async fn on_idle(&mut self) -> Result<(), StoreError> {
        Ok(self.journal.seal_idle().await?)
    }

    /// Seals everything, so that opening reads no more than hints.
    ///
    /// # Errors
    /// [`StoreError::Journal`].
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.journal.close().await?)
    }

    /// What the store holds and what it costs.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let total = self.engine.ledger().total();
        StoreStats {
            keys: self.engine.keys(),
            index_bytes: self.engine.index_bytes(),
            live_bytes: total.live_bytes,
            dead_bytes: total.dead_bytes(),
            tombstone_bytes: total.tombstone_bytes,
            segments: self.journal.segments().count(),
            file_bytes: self.journal.file_bytes(),
            pending_reclaim_bytes: self.journal.retired_bytes(),
            version: self.engine.applied(GROUP),
            durable: Version(self.journal.durable_lsn().0),
            compactions: self.compactions,
            compacted_bytes: self.compacted_bytes,
        }
    }

    /// Brings the ledger up to what the journal says of its segments.
    fn refresh(&mut self) {
        for info in self.journal.segments() {
            self.engine.ledger_mut().edit(info.id, |line| {
                line.is_journal = info.kind == SegmentKind::Journal;
                line.hint_bytes = info.footer_bytes;
                line.is_settled = info.is_settled;
            });
        }
    }

    /// Checks everything that must hold; for tests and the simulator.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn invariants(&self) -> Result<(), &'static str> {
        self.journal.invariants()?;
        self.engine.invariants()
    }
}
