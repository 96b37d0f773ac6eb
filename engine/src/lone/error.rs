//! What a lone store refuses, and why.
//!
//! Not here: the embedded store's words for the same (`embedded/error.rs`).

use alloc::boxed::Box;
use core::fmt;

use crate::{
    journal::{JournalError, OpenError, ReadError},
    limits::{FRAME_BYTES_MAX, KEY_BYTES_MAX},
    value::CompactError,
};

/// Why a batch cannot be written, whatever the state of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// A key is too long.
    Key {
        /// Its length.
        bytes: usize,
    },
    /// A value is too long.
    Value {
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// The batch as a whole is too large to be written as one piece.
    Whole {
        /// Its size on disk.
        bytes: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { bytes } => {
                write!(f, "a key of {bytes} bytes; the longest is {KEY_BYTES_MAX}")
            }
            Self::Value { bytes, most } => {
                write!(f, "a value of {bytes} bytes; the longest is {most}: store it in parts")
            }
            Self::Whole { bytes } => write!(
                f,
                "a batch of {bytes} bytes; the largest is {FRAME_BYTES_MAX}: write it as several"
            ),
        }
    }
}

impl core::error::Error for BatchError {}

/// Why the store refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It could not be opened.
    Open(Box<OpenError>),
    /// The batch cannot be written: the caller's mistake; nothing happened.
    Batch(BatchError),
    /// The journal refused. Unless [`is_stopped`](Self::is_stopped), nothing happened.
    Journal(JournalError),
    /// A record could not be read.
    Read(ReadError),
    /// A compaction gave up. Nothing has changed.
    Compact(Box<CompactError>),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_retryable(),
            Self::Batch(_) => false,
            Self::Journal(error) => error.is_retryable(),
            Self::Read(error) => matches!(error, ReadError::Disk(_)),
            // A damaged segment is left out the next time.
            Self::Compact(_) => true,
        }
    }

    /// Whether the store has stopped for good: what was being written may or may not be there.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Journal(JournalError::Failed(_) | JournalError::Stopped))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Batch(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Compact(error) => write!(f, "compaction gave up: {error}"),
        }
    }
}

impl core::error::Error for StoreError {}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<BatchError> for StoreError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}
