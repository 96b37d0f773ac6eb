//! What keeps the values of the groups: the trait behind which engines can be exchanged.
//!
//! The journal has already made an edit durable when an engine hears of it. So an edit offers both
//! the value's bytes and the place of its record: an engine of ours keeps the place and forgets the
//! bytes, one that writes values again (an LSM tree) does the opposite.
//!
//! An engine's state is a function of the edits applied, in the order of their versions. Reads go
//! through a [`View`], a point in time that later edits do not reach.
//!
//! Invariants: the version of a key never goes down (I4); an edit not above `applied` is a replay
//! and changes nothing; edits of one version are applied together or not at all; what is not applied cannot be read (I2).
//!
//! Not here: the engines (`memory.rs`, `indexed.rs`), what commands make of edits.

use alloc::vec::Vec;
use core::{future::Future, num::NonZeroU64, ops::Bound};

use crate::{
    journal::ReadError,
    runtime::DiskError,
    types::{GroupId, Loc, Version},
};

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// It has this value now.
    Put {
        /// The value.
        value: &'a [u8],
        /// Where its record lies.
        loc: Loc,
        /// Until when it counts, in milliseconds of wall time.
        expires_ms: Option<NonZeroU64>,
    },
    /// It has none.
    Delete,
}

/// One durable change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The write's place in the order of its group.
    pub version: Version,
    /// What happens.
    pub change: Change<'a>,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub value: Vec<u8>,
    /// The version of the write that put it.
    pub version: Version,
    /// Until when it counts.
    pub expires_ms: Option<NonZeroU64>,
}

/// A key of a scan with what was found.
pub type Item = (Vec<u8>, Found);

/// A part of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys in order.
    pub items: Vec<Item>,
    /// Where to go on: behind this key. `None` when the range is exhausted.
    pub next: Option<Vec<u8>>,
}

/// How much of a range is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// From here.
    pub start: Bound<&'a [u8]>,
    /// To here.
    pub end: Bound<&'a [u8]>,
    /// No more keys than this; at least one is looked at.
    pub keys_max: usize,
    /// Stop behind the key with which keys and values reach this many bytes.
    pub bytes_max: usize,
}

/// A group's values at one point of its history.
pub trait View: Clone + Send + Sync + 'static {
    /// The value of a key at `now_ms`; one that has expired is not there.
    fn get(
        &self,
        key: &[u8],
        now_ms: u64,
    ) -> impl Future<Output = Result<Option<Found>, ReadError>> + Send;

    /// Keys and values in order.
    fn scan(
        &self,
        scan: Scan<'_>,
        now_ms: u64,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send;

    /// The version up to which edits are in it.
    fn applied(&self) -> Version;
}

/// Keeps the values of groups.
pub trait Engine: Send {
    /// A point in time of one group.
    type View: View;

    /// Applies edits in the order of their versions. Those that were not above
    /// [`applied`](Engine::applied) before the call change nothing: they are a replay. Several edits
    /// may be of one version, of different keys; they must come in one call.
    ///
    /// # Errors
    /// When an engine's own storage fails. The node stops then.
    fn apply<'a>(
        &mut self,
        group: GroupId,
        edits: impl IntoIterator<Item = Edit<'a>>,
    ) -> Result<(), DiskError>;

    /// The group as it is now. A group nobody wrote to is empty.
    fn view(&self, group: GroupId) -> Self::View;

    /// The highest version applied to the group.
    fn applied(&self, group: GroupId) -> Version;

    /// Replaces all that a group has, as a snapshot is installed: keys in order, each once, put
    /// only, and the version that the whole stands for.
    ///
    /// # Errors
    /// As for [`apply`](Engine::apply); the group is as before then.
    fn ingest<'a>(
        &mut self,
        group: GroupId,
        sorted: impl IntoIterator<Item = Edit<'a>>,
        applied: Version,
    ) -> Result<(), DiskError>;

    /// Forgets a group. Its id never comes back.
    ///
    /// # Errors
    /// As for [`apply`](Engine::apply).
    fn drop_group(&mut self, group: GroupId) -> Result<(), DiskError>;
}
