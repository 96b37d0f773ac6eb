//! Stories of the shard's pure parts: what no link brings that checks its frames, but a neighbour
//! with broken memory may say.
//!
//! Not here: whole shards, which need a world (`trilith-sim`).

use bytes::{Bytes, BytesMut};

use super::{
    offer::{OfferError, take_apart},
    snapshot::verify,
};
use crate::{
    codec,
    command::{Body, Place, encode},
    packet::{Chunk, SnapshotId},
    raft::EntryId,
    types::{GroupId, Index, ReplicaId, Stamp, Term},
};

/// All stories, for those who plant bugs.
#[cfg(feature = "mutants")]
pub const STORIES: &[(&str, fn())] = &[
    ("entries of another place", entries_of_another_place_are_refused),
    ("chunks of another stream", chunks_of_another_stream_are_refused),
];

const GROUP: GroupId = GroupId(3);
const FIRST: Index = Index(7);

/// Entries of these places, one behind the other.
fn entries(places: &[(GroupId, Index)]) -> [Bytes; 1] {
    let mut out = BytesMut::new();
    for (group, index) in places {
        let place = Place { group: *group, term: Term(2), index: *index, stamp: Stamp(5) };
        encode(&mut out, place, &Body::<Bytes>::Noop);
    }
    [out.freeze()]
}

#[cfg_attr(test, test)]
fn entries_of_another_place_are_refused() {
    let taken = |places: &[(GroupId, Index)]| {
        take_apart(GROUP, FIRST, &entries(places)).map(|offer| offer.payloads.len())
    };
    let next = FIRST.next();
    assert_eq!(taken(&[(GROUP, FIRST), (GROUP, next)]), Ok(2));
    let wrong = [
        [(GROUP, FIRST), (GROUP, FIRST)],
        [(GROUP, FIRST), (GROUP, next.next())],
        [(GROUP, next), (GROUP, next)],
        [(GROUP, FIRST), (GroupId(4), next)],
        [(GroupId(4), FIRST), (GROUP, next)],
    ];
    for places in wrong {
        assert_eq!(taken(&places), Err(OfferError::Elsewhere), "{places:?}");
    }
}

#[cfg_attr(test, test)]
fn chunks_of_another_stream_are_refused() {
    let at = EntryId { term: Term(2), index: FIRST };
    let id = SnapshotId { group: GROUP, from: ReplicaId(1), to: ReplicaId(2), at, sending: 1 };
    let chunk = |bytes: &'static [u8], crc| Chunk {
        id,
        offset: 0,
        bytes: Bytes::from_static(bytes),
        crc,
        is_last: false,
    };
    let first = codec::crc(0, b"first");
    let both = codec::crc(first, b"second");
    assert_eq!(verify(0, &chunk(b"first", first)), Some(first));
    assert_eq!(verify(first, &chunk(b"second", both)), Some(both));
    // A bit is wrong; a piece comes behind another one than its sender meant.
    assert_eq!(verify(first, &chunk(b"secone", both)), None);
    assert_eq!(verify(codec::crc(0, b"firsd"), &chunk(b"second", both)), None);
}
