//! One commit: judging batches, making a frame of them, and what is applied afterwards.
//!
//! ```text
//!   batches ──▶ judge (conditions, deletes of nothing) ──▶ frame ──▶ durable ──▶ apply
//! ```
//! A frame takes as many batches as fit; the rest waits for the next one. A batch is never split
//! over frames, because a frame is what a crash takes or leaves.
//!
//! Not here: the device (`journal`), the index (`value`).

use alloc::vec::Vec;

use super::{
    batch::{Action, BatchOutcome, Condition, Logged, Overlay, Write, WriteBatch},
    error::BatchError,
};
use crate::{
    journal::{FrameBuilder, Origin, Persisted, Record, RecordKind},
    limits::{FRAME_BYTES_MAX, KEY_BYTES_MAX},
    planted,
    types::{GroupId, Loc, Term, Version},
    value::{Change, Edit, Tree},
};

/// The one group of a lone store.
pub const GROUP: GroupId = GroupId(1);

/// A frame is closed when it has this many bytes: larger ones make every writer in them wait
/// longer and hardly save any syncs.
const FRAME_BYTES_SOFT: usize = 1 << 20;

/// What a record takes beside key and value, at most: header, expiry, padding.
const RECORD_OVERHEAD: usize = 48;

/// Batches that became durable together, ready to be applied.
#[derive(Debug)]
#[must_use = "what is durable must be applied"]
pub struct Commit<'b> {
    logged: Vec<Logged<'b>>,
    /// For each batch, how many records there are up to its end.
    ends: Vec<usize>,
    outcomes: Vec<BatchOutcome>,
    persisted: Option<Persisted>,
    applied: usize,
}

/// Refuses what cannot be written in any state of the store.
///
/// # Errors
/// [`BatchError`] says what is too large.
pub fn check(batch: &WriteBatch, value_bytes_max: usize) -> Result<(), BatchError> {
    for write in batch.writes() {
        if write.key.len() > KEY_BYTES_MAX {
            return Err(BatchError::Key { bytes: write.key.len() });
        }
        if let Action::Put { value, .. } = &write.action
            && value.len() > value_bytes_max
        {
            return Err(BatchError::Value { bytes: value.len(), most: value_bytes_max });
        }
    }
    let bytes = batch.bytes() + batch.len() * RECORD_OVERHEAD;
    // A page for the frame's own parts.
    if bytes > FRAME_BYTES_MAX - 4096 { Err(BatchError::Whole { bytes }) } else { Ok(()) }
}

/// What a batch is judged by.
pub(super) struct Judge<'s> {
    pub(super) tree: Option<&'s Tree>,
    pub(super) now_ms: u64,
    pub(super) newest: Version,
}

impl Judge<'_> {
    /// Judges as many batches as fit one frame.
    pub(super) fn take<'b>(
        &self,
        batches: &'b [WriteBatch],
        frame: &mut FrameBuilder,
    ) -> Commit<'b> {
        let mut commit = Commit {
            logged: Vec::with_capacity(batches.len()),
            ends: Vec::with_capacity(batches.len()),
            outcomes: Vec::with_capacity(batches.len()),
            persisted: None,
            applied: 0,
        };
        let mut overlay = Overlay::default();
        for batch in batches {
            let bytes = batch.bytes() + batch.len() * RECORD_OVERHEAD;
            if !frame.is_empty() && frame.bytes() + bytes > FRAME_BYTES_SOFT {
                break;
            }
            let start = commit.logged.len();
            let outcome = self.judge(batch, frame, &mut overlay, &mut commit.logged);
            for logged in &commit.logged[start..] {
                push(frame, logged);
            }
            commit.ends.push(commit.logged.len());
            commit.outcomes.push(outcome);
        }
        commit
    }

    /// Judges one batch; its records go to `logged`, if it happens.
    fn judge<'b>(
        &self,
        batch: &'b WriteBatch,
        frame: &FrameBuilder,
        overlay: &mut Overlay<'b>,
        logged: &mut Vec<Logged<'b>>,
    ) -> BatchOutcome {
        let start = logged.len();
        let first = frame.next_lsn().0;
        let mut missing = 0;
        for (nth, write) in batch.writes().iter().enumerate() {
            let is_delete = write.action == Action::Delete;
            if is_delete || write.condition != Condition::Always {
                let found = self.find(&write.key, overlay, logged);
                if !write.condition.holds(found) && !planted!("condition_ignored") {
                    logged.truncate(start);
                    overlay.reset();
                    return BatchOutcome::Refused { write: nth, found };
                }
                if is_delete && found.is_none() {
                    missing += 1;
                    continue;
                }
            }
            let version = Version(first + (logged.len() - start) as u64);
            logged.push(Logged { write, version });
            overlay.note(&Logged { write, version }, self.now_ms);
        }
        if planted!("missing_delete_reported_done") {
            missing = 0;
        }
        let version = logged.last().map_or(self.newest, |logged| logged.version);
        BatchOutcome::Done { version, missing }
    }

    /// The version that a key is at behind everything logged so far.
    fn find<'b>(
        &self,
        key: &[u8],
        overlay: &mut Overlay<'b>,
        logged: &[Logged<'b>],
    ) -> Option<Version> {
        if let Some(found) = overlay.find(key, logged, self.now_ms)
            && !planted!("condition_sees_only_the_index")
        {
            return found;
        }
        let place = self.tree?.get(key)?;
        (!place.is_expired(self.now_ms)).then_some(place.version)
    }
}

fn push(frame: &mut FrameBuilder, logged: &Logged<'_>) {
    let Write { key, action, .. } = logged.write;
    let (kind, value, expires_ms): (_, &[u8], _) = match action {
        Action::Put { value, expires_ms } => (RecordKind::Put, value, *expires_ms),
        Action::Delete => (RecordKind::Tombstone, &[], None),
    };
    let record = Record {
        group: GROUP,
        kind,
        version: logged.version,
        term: Term(0),
        expires_ms: expires_ms.map(core::num::NonZeroU64::get),
        origin: Origin::State,
        key,
        value,
    };
    let lsn = frame.push(&record).expect("`check` let only batches through that fit a frame");
    assert!(lsn.0 == logged.version.0, "a lone store's versions are its LSNs");
}

impl<'b> Commit<'b> {
    /// How many batches it took.
    #[must_use]
    pub const fn batches(&self) -> usize {
        self.outcomes.len()
    }

    /// What became of each.
    #[must_use]
    pub fn outcomes(&self) -> &[BatchOutcome] {
        &self.outcomes
    }

    /// Whether nothing had to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.logged.is_empty()
    }

    /// How many records are still to be applied.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.logged.len() - self.applied
    }

    /// How many records the next step would have, with at most `most` if a batch allows it.
    #[must_use]
    pub fn next_step(&self, most: usize) -> usize {
        self.step_end(most) - self.applied
    }

    pub(super) fn persist(&mut self, persisted: Persisted) {
        self.persisted = Some(persisted);
    }

    /// Whole batches, at least one, and no more than `most` records if that is possible.
    fn step_end(&self, most: usize) -> usize {
        let reach = self.applied.saturating_add(most);
        let fits = self.ends.iter().copied().rev().find(|end| *end <= reach && *end > self.applied);
        let next = || self.ends.iter().copied().find(|end| *end > self.applied);
        fits.or_else(next).unwrap_or(self.logged.len())
    }

    /// The next edits to be applied. A batch is never split, so that nobody sees half of one.
    pub(super) fn take_step(&mut self, most: usize) -> impl Iterator<Item = Edit<'b>> {
        let mut end = self.step_end(most);
        if planted!("batch_applied_by_halves") {
            end = self.logged.len().min(self.applied + 1);
        }
        let range = self.applied..end;
        self.applied = end;
        range.filter_map(|nth| {
            let Logged { write, version } = self.logged[nth];
            let change = match &write.action {
                Action::Put { value, expires_ms } => Change::Put {
                    value,
                    loc: self.persisted.as_ref()?.loc(nth),
                    expires_ms: *expires_ms,
                },
                Action::Delete => Change::Delete,
            };
            Some(Edit { key: &write.key, version, change })
        })
    }

    /// What was written.
    pub(super) fn written(&self) -> impl Iterator<Item = (Loc, RecordKind, Version)> {
        let records = self.logged.iter().enumerate();
        self.persisted.iter().flat_map(move |persisted| {
            records.clone().map(|(nth, logged)| {
                let kind = match logged.write.action {
                    Action::Put { .. } => RecordKind::Put,
                    Action::Delete => RecordKind::Tombstone,
                };
                (persisted.loc(nth), kind, logged.version)
            })
        })
    }
}
