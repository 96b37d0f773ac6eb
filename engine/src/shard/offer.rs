//! Entries as they arrive from a peer: bytes that must be shown to be what the message says.
//!
//! Whoever sends entries has them verbatim from its own journal. Nothing of it is believed: each
//! record's checksum, group, index and term are compared with the message, and what does not fit
//! makes the whole message void. Raft expects messages to be lost.
//!
//! Not here: whether the entries are wanted (`raft`), what they say (`command`).

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::{
    command::{Entry, EntryKind},
    journal::format::FormatError,
    planted,
    raft::{Head, Kind},
    types::{GroupId, Index, Stamp},
};

/// Entries that came with a message, taken apart.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) heads: Vec<Head>,
    pub(super) payloads: Vec<Bytes>,
    /// The newest stamp among them.
    pub(super) stamp: Stamp,
}

/// Why entries are not what their message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferError {
    /// The bytes are not whole entries.
    Bytes(FormatError),
    /// They are of another group or at another place.
    Elsewhere,
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(error) => write!(f, "an entry {error}"),
            Self::Elsewhere => f.write_str("an entry belongs elsewhere than its message says"),
        }
    }
}

/// Takes apart entries that begin at `first`.
///
/// # Errors
/// When any byte is not what it should be.
pub(super) fn take_apart(
    group: GroupId,
    first: Index,
    pieces: &[Bytes],
) -> Result<Offer, OfferError> {
    let mut offer = Offer::default();
    let mut index = first;
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (entry, behind) = Entry::first(rest).map_err(OfferError::Bytes)?;
            let is_here = (entry.place.group, entry.place.index) == (group, index);
            if !is_here && !planted!("shard_entry_of_another_place_taken") {
                return Err(OfferError::Elsewhere);
            }
            let bytes = entry.bytes().len();
            let at = piece.len() - rest.len();
            let kind = kind_of(entry.kind());
            offer.heads.push(Head { term: entry.place.term, kind, bytes: bytes as u32 });
            offer.payloads.push(piece.slice(at..at + bytes));
            offer.stamp = offer.stamp.max(entry.place.stamp);
            rest = behind;
            index = index.next();
        }
    }
    Ok(offer)
}

/// What the core calls that kind of entry.
pub(super) const fn kind_of(kind: EntryKind) -> Kind {
    match kind {
        EntryKind::Normal => Kind::Normal,
        EntryKind::Noop => Kind::Noop,
        EntryKind::Change => Kind::Change,
        EntryKind::Leave => Kind::Leave,
    }
}
