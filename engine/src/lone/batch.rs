//! A batch: writes that happen all or not at all, each perhaps under a condition.
//!
//! Conditions are judged against the state that all earlier batches leave behind, also those of
//! the same commit that no index knows yet ([`Overlay`]). A batch with a failed condition leaves no
//! trace. Deleting what is not there is no failure of the batch: it is counted, and no record is
//! written for it.
//!
//! Invariant: what a batch is told about a key is what a reader would see who came just before it.
//!
//! Not here: durability (`mod.rs`), the index (`value`).

use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt, num::NonZeroU64};

use crate::types::Version;

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is not there.
    Absent,
    /// The key is there, whatever its version.
    Present,
    /// The key is there with this version.
    Is(Version),
}

impl Condition {
    /// Whether it holds for a key that is at this version, or is not there.
    #[must_use]
    pub fn holds(self, found: Option<Version>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Is(version) => found == Some(version),
        }
    }
}

/// What a write does to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Gives it a value.
    Put {
        /// The value.
        value: Vec<u8>,
        /// Until when it counts, in milliseconds of wall time.
        expires_ms: Option<NonZeroU64>,
    },
    /// Takes its value away.
    Delete,
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Vec<u8>,
    /// What happens to it.
    pub action: Action,
    /// What must be so.
    pub condition: Condition,
}

/// Writes that happen all or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: Vec<Write>,
    bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { writes: Vec::new(), bytes: 0 }
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write) -> &mut Self {
        self.bytes += write.key.len()
            + match &write.action {
                Action::Put { value, .. } => value.len(),
                Action::Delete => 0,
            };
        self.writes.push(write);
        self
    }

    /// Gives a key a value.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.push(Write {
            key: key.into(),
            action: Action::Put { value: value.into(), expires_ms: None },
            condition: Condition::Always,
        })
    }

    /// Gives a key a value until a point in wall time.
    pub fn put_until(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expires_ms: NonZeroU64,
    ) -> &mut Self {
        self.push(Write {
            key: key.into(),
            action: Action::Put { value: value.into(), expires_ms: Some(expires_ms) },
            condition: Condition::Always,
        })
    }

    /// Gives a key a value if a condition holds.
    pub fn put_if(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        condition: Condition,
    ) -> &mut Self {
        self.push(Write {
            key: key.into(),
            action: Action::Put { value: value.into(), expires_ms: None },
            condition,
        })
    }

    /// Takes a key away.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.delete_if(key, Condition::Always)
    }

    /// Takes a key away if a condition holds.
    pub fn delete_if(&mut self, key: impl Into<Vec<u8>>, condition: Condition) -> &mut Self {
        self.push(Write { key: key.into(), action: Action::Delete, condition })
    }

    /// Its writes, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// How many writes it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of its keys and values.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It happened.
    Done {
        /// The version of its last record; the store's newest before it when it wrote none.
        version: Version,
        /// How many of its deletes found nothing to delete.
        missing: usize,
    },
    /// Nothing of it happened: a condition did not hold.
    Refused {
        /// The first such write.
        write: usize,
        /// The version that its key is at; `None` when it is not there.
        found: Option<Version>,
    },
}

impl fmt::Display for BatchOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { version, missing: 0 } => write!(f, "done at version {version}"),
            Self::Done { version, missing } => {
                write!(f, "done at version {version}; {missing} deletes found nothing")
            }
            Self::Refused { write, found: Some(version) } => {
                write!(f, "refused: write {write} found version {version}")
            }
            Self::Refused { write, found: None } => {
                write!(f, "refused: write {write} found no such key")
            }
        }
    }
}

/// What a commit's earlier batches leave behind, before any index knows.
///
/// Most commits need none of it: plain puts ask no questions. It is filled when the first question
/// is asked.
#[derive(Debug, Default)]
pub(super) struct Overlay<'b> {
    newest: BTreeMap<&'b [u8], Option<Version>>,
    is_filled: bool,
}

/// One write that got a record: which, and its version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged<'b> {
    pub(super) write: &'b Write,
    pub(super) version: Version,
}

impl<'b> Overlay<'b> {
    /// Takes note of a logged write at `now_ms`.
    pub(super) fn note(&mut self, logged: &Logged<'b>, now_ms: u64) {
        if self.is_filled {
            self.newest.insert(&logged.write.key, seen(logged, now_ms));
        }
    }

    /// The version of a key behind all logged writes, if one of them touched it.
    pub(super) fn find(
        &mut self,
        key: &[u8],
        logged: &[Logged<'b>],
        now_ms: u64,
    ) -> Option<Option<Version>> {
        if !self.is_filled {
            self.is_filled = true;
            logged.iter().for_each(|logged| self.note(logged, now_ms));
        }
        self.newest.get(key).copied()
    }

    /// Forgets everything: some noted writes were taken back.
    pub(super) fn reset(&mut self) {
        self.newest.clear();
        self.is_filled = false;
    }
}

fn seen(logged: &Logged<'_>, now_ms: u64) -> Option<Version> {
    match logged.write.action {
        Action::Put { expires_ms: Some(expires), .. } if expires.get() <= now_ms => None,
        Action::Put { .. } => Some(logged.version),
        Action::Delete => None,
    }
}
