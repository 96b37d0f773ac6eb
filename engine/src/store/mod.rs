//! The state machine of a strong keyspace: what committed entries make of what is there.
//!
//! A group's values lie in the journal and its index; what replicas must agree on besides is this:
//! how far they have applied, the time, who was told what, and a digest of all of it. Applying is a
//! function: the same entries give the same state and the same answers on every replica and in
//! every life, and that is what lets a node forget all of it in a crash and apply again.
//!
//! ```text
//!   Entry ──▶ time = max(time, stamp) ──▶ session: new? ──▶ perform ──▶ Effect
//!                                            │ known              ▲        is_effective   its records count
//!                                            ▼                    │        derived     records of our own
//!                                     the answer of then        Sight      outcome     what the client hears
//!                                                         (places, values)
//! ```
//! The store asks nobody for a value: the driver looks up what [`needs`] says before it applies, and
//! what an entry sees must include the effect of every entry before it.
//!
//! # Time
//! Only the stamps of entries make time pass. A key whose expiry is not after the state's stamp is
//! not there, for a condition as for an increment, whatever has physically become of it: replicas
//! throw expired records away at moments of their own.
//!
//! # Sessions
//! See `sessions.rs`: a request that carries a session is executed at most once.
//!
//! Invariants: entries are applied in the order of their indices, without a gap; the stamp never
//! falls; an entry without effect changes nothing but position, time, sessions and digest.
//!
//! Not here: replication, the disk, the index, when an entry is committed, reads (they see the index
//! at a stamp), what entries and replies look like in bytes (`command`).

mod apply;
mod checkpoint;
mod sessions;
pub mod slots;

#[cfg(any(test, feature = "mutants"))]
pub mod tests;

pub use apply::needs;

use crate::{
    always,
    command::{Body, Entry, Outcome},
    limits::SESSIONS_BYTES_MAX,
    planted,
    types::{Index, Stamp, Term, Version},
};
use alloc::vec::Vec;
use core::num::NonZeroU64;
use sessions::{Admission, Sessions};

/// What is known of a key without reading its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The version of the write that put it.
    pub version: Version,
    /// Until when it counts; it may be over.
    pub expires_ms: Option<NonZeroU64>,
    /// How long the value is.
    pub value_bytes: usize,
}

/// The values as all entries before this one have left them.
pub trait Sight {
    /// What is known of a key; an expired one may be here or not.
    fn place(&self, key: &[u8]) -> Option<Seen>;

    /// The value of a key that has a place and that [`needs`] named; of others it may be missing.
    fn value(&self, key: &[u8]) -> Option<&[u8]>;
}

/// A record that a replica writes itself, because its value depends on what was there. Its version
/// is the entry's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Until when it counts.
    pub expires_ms: Option<NonZeroU64>,
}

impl Derived<'_> {
    /// How much of a frame it takes, without what stands around it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect<'a> {
    /// Whether [its records](Entry::records) are the values of their keys now: all, or none. If not,
    /// they are dead and no hint may name them.
    pub is_effective: bool,
    /// What is written besides.
    pub derived: Vec<Derived<'a>>,
    /// What the client is told; `None` when no client is behind the entry.
    pub outcome: Option<Outcome>,
}

impl Effect<'_> {
    /// No change of any key.
    const fn nothing(outcome: Option<Outcome>) -> Self {
        Self { is_effective: false, derived: Vec::new(), outcome }
    }
}

/// The replicated state of a group, but for its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    applied: Index,
    term: Term,
    stamp: Stamp,
    digest: u64,
    sessions: Sessions,
}

impl State {
    /// Before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Behind an entry that nobody has to apply: what a group begins with.
    #[must_use]
    pub fn behind(applied: Index, term: Term) -> Self {
        Self { applied, term, ..Self::default() }
    }

    /// The last entry that was applied.
    #[must_use]
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The term of that entry.
    #[must_use]
    pub const fn applied_term(&self) -> Term {
        self.term
    }

    /// The group's time: what has expired by it is not there.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// A number that depends on everything that entries did: replicas that have applied as much
    /// have the same.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// What those replies may weigh: the last one is kept however long it is.
    pub const SESSION_BYTES_MAX: usize = SESSIONS_BYTES_MAX + sessions::SESSION_REPLY_BYTES_MAX;

    /// What the replies weigh that are kept for them.
    #[must_use]
    pub const fn session_bytes(&self) -> usize {
        self.sessions.bytes()
    }

    /// Whether all that must hold does, as far as it is not cheap: for tests and the simulator.
    #[must_use]
    pub fn check(&self) -> bool {
        self.sessions.check()
    }

    /// Applies the next entry.
    ///
    /// # Panics
    /// When it is not the next one.
    pub fn apply<'a>(&mut self, entry: &Entry<'a>, sight: &impl Sight) -> Effect<'a> {
        let place = entry.place;
        assert!(place.index == self.applied.next(), "entries are applied without a gap");
        assert!(place.term >= self.term, "terms never fall along a log");
        let before = self.stamp;
        self.stamp =
            if planted!("store_time_falls") { place.stamp } else { before.max(place.stamp) };
        self.sessions.sweep(before, self.stamp);
        let effect = match &entry.body {
            Body::Noop | Body::Leave | Body::Change(_) => Effect::nothing(None),
            Body::Command(session, command) => {
                match self.sessions.admit(session, command, self.stamp) {
                    Admission::Answer(outcome) => Effect::nothing(Some(outcome)),
                    Admission::Run => {
                        let (is_effective, derived, reply) =
                            apply::perform(place, self.stamp, command, sight);
                        self.sessions.record(session, &reply);
                        Effect { is_effective, derived, outcome: Some(Outcome::Ok(reply)) }
                    }
                }
            }
        };
        self.digest = checkpoint::digest(self.digest, entry, &effect);
        (self.applied, self.term) = (place.index, place.term);
        self.invariants(before);
        effect
    }

    /// What must always hold behind an entry, as far as it is cheap.
    fn invariants(&self, before: Stamp) {
        always!(self.stamp >= before, "time never falls");
        self.sessions.invariants();
    }
}
