//! Stories of the shard's pure parts: what no link brings that checks its frames, but a neighbour
//! with broken memory may say; and what a group's hard state says while its log is mended.
//!
//! Not here: whole shards, which need a world (`trilith-sim`).

use alloc::vec;

use bytes::{Bytes, BytesMut};

use super::{
    group::Group,
    offer::{OfferError, take_apart},
    snapshot::verify,
    window::{Extent, Window},
};
use crate::{
    codec,
    command::{Body, Place, encode},
    packet::{Chunk, SnapshotId},
    raft::{
        self, Boot, Effects, EntryId, HardState, Head, Input, Kind, Membership, Message, Moment,
        Raft,
    },
    store::State,
    types::{GroupId, Index, ReplicaId, SegmentId, Stamp, Term},
};

/// All stories, for those who plant bugs.
#[cfg(feature = "mutants")]
pub const STORIES: &[(&str, fn())] = &[
    ("entries of another place", entries_of_another_place_are_refused),
    ("chunks of another stream", chunks_of_another_stream_are_refused),
    ("a commit that was named", a_commit_that_was_named_stays_while_its_log_is_mended),
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

/// A life behind entry 1, with so many entries that are applied up to one of them.
fn boot(voters: &[ReplicaId], hard: HardState, heads: &[Head], faulty: &[Index]) -> Raft {
    let boot = Boot {
        group: GROUP,
        id: ReplicaId(1),
        incarnation: 1,
        config: raft::Config::default(),
        hard,
        base: EntryId::new(1, 1),
        heads,
        faulty,
        applied: Index(1),
        membership: Membership::of_voters(voters),
    };
    Raft::boot(boot, Moment::default(), 0).expect("a life")
}

/// Entries 2 to 9 are there, and a hard state says that those up to 8 are committed. One of them is
/// damaged, and on its way to the disk again when the next hard state goes there.
#[cfg_attr(test, test)]
fn a_commit_that_was_named_stays_while_its_log_is_mended() {
    let bad = EntryId::new(1, 5);
    let heads = [Head { term: Term(1), kind: Kind::Normal, bytes: 16 }; 8];
    let hard = HardState { term: Term(1), commit: Index(8), ..HardState::default() };
    let raft = boot(&[1, 2, 3].map(ReplicaId), hard, &heads, &[bad.index]);
    let mut window = Window::new(Index(1));
    for index in 2..=9 {
        let extent = Extent { segment: SegmentId(1), offset_words: 8 * index, bytes: 16 };
        window.found(Index(index.into()), Term(1), extent);
    }
    let mut group = Group::new(raft, hard, window, State::behind(Index(1), Term(1)));
    let body = raft::Body::Repair { id: bad };
    let message = Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(1), body };
    let mut fx = Effects::default();
    let input = Input::Message { message, heads: &heads[..1] };
    group.raft.step(Moment::default(), 0, input, &mut fx);
    group.window.put(bad.index, bad.term, Bytes::from(vec![7; 16]));
    group.unsaved.add(fx.write.take().expect("the entry is written again"));
    assert_eq!(group.unsaved.first, Some(bad.index));
    assert_eq!((group.durable(), group.hard().commit), (Index(4), Index(8)));
}
