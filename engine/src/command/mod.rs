//! What clients want and what they are told: commands, the log's entries, requests and responses.
//!
//! A command travels twice: over a wire, inside a [`Request`], and through the log, inside an
//! [`Entry`]. On the wire it is whatever is short. In the log it is *journal records, verbatim*:
//! the record of a SET is the record from which the value will be read for as long as it lives, so
//! a value is encoded once, by the leader, and never written again.
//!
//! ```text
//!   Request ──decode──▶ Command ──encode(place, session)──▶ ┌ head record ┬ part ┬ part ┐ ──▶ journal,
//!                                                          └─────────────┴──────┴──────┘      peers
//!   Response ◀──encode── Outcome ◀── the state machine ◀──── Entry::decode ◀──────┘
//!
//!   head     Put          a SET: key, value and expiry of the record are those of the command
//!            Tombstone    a DELETE
//!            Command      everything else, its words in the record's value
//!   section  in every head: what the entry is for, stamp, session, condition
//!   parts    of a transaction: Put and Tombstone records, in its order
//! ```
//!
//! Invariants: a decoder answers `Err` on every input that its encoder cannot have made and never
//! panics; what is decoded holds the limits; relative times are gone from a record's expiry once
//! an entry has its stamp.
//!
//! Files in reading order: `verb` (commands), `entry` (their records), `reply` and `request` (the
//! wire), `phases` (where an answer's time went), `replace` and `cut` (what operators ask), `bytes` (what all of them are written with).
//!
//! Not here: what a command does (`store`), frames and links (`trilith-net`), Redis' words for the
//! same things (there too), what a change of the membership says (its bytes are opaque here).

mod bytes;
mod cut;
mod entry;
mod phases;
mod replace;
mod reply;
mod request;
mod verb;

#[cfg(test)]
mod tests;

pub use cut::{Cut, Opened};
pub use entry::{Body, Entry, EntryKind, Place, encode, encoded_bytes};
pub use phases::Phases;
pub use replace::{Led, Replace, Replacing, Shown, Stage};
pub use reply::{
    Failure, Found, Old, Outcome, Refusal, Reply, Response, STALENESS_UNKNOWN_MS, Told,
};
pub use request::{Level, Op, Request, Scan};
pub use verb::{Check, Command, Condition, Expiry, Only, Transaction, Write};

use crate::types::{ClientId, Sequence, Stamp};

/// Who asks, and how the state machine tells a repetition from something new.
///
/// A client numbers its requests and sends each under one session, however often it sends it. All
/// of it stays the same over the attempts, except `oldest`, which may rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The client; 0 is nobody, whose requests are new each time.
    pub client: ClientId,
    /// Which of its requests.
    pub sequence: Sequence,
    /// The lowest number for which it still waits, at most `sequence`. It will never ask again for
    /// what is below.
    pub oldest: Sequence,
    /// The highest stamp it had heard of when it first sent the request. It says that the request
    /// is not older than that, whatever anybody has forgotten since.
    pub since: Stamp,
}

impl Session {
    /// Nobody: at most once is not promised.
    pub const NOBODY: Self =
        Self { client: ClientId(0), sequence: Sequence(0), oldest: Sequence(0), since: Stamp(0) };

    /// Whether there is a client behind it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.client != ClientId(0)
    }
}
