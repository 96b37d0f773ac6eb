//! What a [`KvStore`](super::KvStore) refuses, in words that say what to do.
//!
//! Not here: the errors of the layers below (`lone`, `journal`), which these are made of.

use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

use crate::{
    journal::{DataError, JournalError, OpenError, ReadError},
    lone::{BatchError, StoreError},
    runtime::DiskError,
    types::Version,
    value::CompactError,
};

/// Why the store refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvError {
    /// The device or the operating system refused. After a failed write the store stops: whether
    /// that write is there is found out by opening it again, and until then it answers `Closed`.
    Io(DiskError),
    /// Bytes are not what was written. Nothing was served and nothing was changed.
    CorruptLog(String),
    /// There is no such key.
    NotFound,
    /// The store was closed, or has stopped after a failure.
    Closed,
    /// Another process, or another `KvStore` of this one, has the directory open.
    Locked,
    /// The disk is full. Nothing happened; deletes and compaction still work.
    NoSpace,
    /// A key, a value or a batch is too long. Nothing happened.
    TooLarge(BatchError),
    /// A condition did not hold. Nothing happened.
    Conflict {
        /// The version that the key is at; `None` when it is not there.
        found: Option<Version>,
    },
    /// The directory cannot be opened as a store.
    Unusable(String),
}

impl KvError {
    /// Whether the same call may succeed later without anybody doing anything else.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Locked | Self::NoSpace | Self::Conflict { .. } => true,
            Self::Io(_)
            | Self::CorruptLog(_)
            | Self::NotFound
            | Self::Closed
            | Self::TooLarge(_)
            | Self::Unusable(_) => false,
        }
    }
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(
                f,
                "{error}; check the device, then open the store again: what was acknowledged is there"
            ),
            Self::CorruptLog(what) => write!(f, "damaged data: {what}"),
            Self::NotFound => f.write_str("there is no such key"),
            Self::Closed => f.write_str("the store is closed; open it again"),
            Self::Locked => f.write_str(
                "another process has this directory open; stop it, or name another directory",
            ),
            Self::NoSpace => f.write_str("the disk is full; free some room, or delete and compact"),
            Self::TooLarge(error) => error.fmt(f),
            Self::Conflict { found: Some(version) } => {
                write!(f, "the key is at version {version}; read it and try again")
            }
            Self::Conflict { found: None } => f.write_str("there is no such key to compare with"),
            Self::Unusable(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for KvError {}

impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Disk(error) => Self::Io(error),
            ReadError::Unknown(_) | ReadError::Damaged { .. } | ReadError::Misplaced { .. } => {
                Self::CorruptLog(format!("{error}; restore it from a backup, or delete the key"))
            }
        }
    }
}

impl From<OpenError> for KvError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Disk(error) => Self::Io(error),
            OpenError::Locked => Self::Locked,
            OpenError::Unreadable { .. }
            | OpenError::Contradiction { .. }
            | OpenError::NoCurrent { .. }
            | OpenError::Corrupt { .. } => Self::CorruptLog(error.to_string()),
            OpenError::Foreign { .. }
            | OpenError::Newer { .. }
            | OpenError::OtherNode { .. }
            | OpenError::OtherOwner { .. } => Self::Unusable(error.to_string()),
        }
    }
}

impl From<CompactError> for KvError {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Read(error) | CompactError::Value { why: error, .. } => error.into(),
            CompactError::Write(DataError::NoSpace) => Self::NoSpace,
            CompactError::Write(DataError::Disk(error)) => Self::Io(error),
            CompactError::Write(
                error @ (DataError::Order | DataError::Push(_) | DataError::Format(_)),
            ) => Self::Unusable(format!("a bug of this program: {error}")),
        }
    }
}

impl From<StoreError> for KvError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Open(error) => (*error).into(),
            StoreError::Batch(error) => Self::TooLarge(error),
            StoreError::Read(error) => error.into(),
            StoreError::Compact(error) => (*error).into(),
            StoreError::Journal(error) => match error {
                JournalError::Failed(error) | JournalError::NotPrepared(error) => Self::Io(error),
                JournalError::Stopped => Self::Closed,
                JournalError::NoSpace => Self::NoSpace,
                JournalError::OutOfOrder { .. } | JournalError::Empty | JournalError::Misfit(_) => {
                    Self::Unusable(format!("a bug of this program: {error}"))
                }
            },
        }
    }
}
