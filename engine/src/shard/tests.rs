//! Stories of the shard's pure parts: what no link brings that checks its frames, but a neighbour
//! with broken memory may say; and what a group's hard state says while its log is mended.
//!
//! Not here: whole shards, which need a world (`trilith-sim`).

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::{
    Admission, Greeting,
    apply::Held,
    group::Group,
    intake::{is_next, verify},
    members::Seat,
    offer::{OfferError, take_apart},
    peers::Peers,
    time::Clocks,
    window::{Extent, Window},
};
use crate::{
    codec,
    command::{Body, Entry, Place, encode},
    journal::{Origin, Record, RecordKind},
    limits,
    packet::{Chunk, SnapshotId},
    raft::{
        self, Boot, Effects, EntryId, HardState, Head, Input, Kind, Membership, Message, Moment,
        Raft,
    },
    runtime::{Receiver, queue},
    store::{Seen, Sight, State},
    types::{GroupId, Index, Loc, NodeId, ReplicaId, SegmentId, Stamp, Term, Uuid, Version},
    value::{self, Builder},
};

/// All stories, for those who plant bugs.
#[cfg(feature = "mutants")]
pub const STORIES: &[(&str, fn())] = &[
    ("entries of another place", entries_of_another_place_are_refused),
    ("chunks of another stream", chunks_of_another_stream_are_refused),
    ("records that no snapshot has", records_that_no_snapshot_has_are_refused),
    ("a commit that was named", a_commit_that_was_named_stays_while_its_log_is_mended),
    ("word of a clock that lay about", word_of_a_clock_that_lay_about_is_not_taken),
    ("the time of what the index holds", reads_go_by_the_time_of_the_index),
    ("replicas that sit nowhere", strangers_are_bounded),
    ("members that come again and again", greetings_are_bounded),
    ("groups that a neighbour names", groups_that_are_named_are_bounded),
    ("entries from the disk", entries_from_the_disk_are_held_within_the_budget),
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

/// A sender with broken memory names a key twice, or behind another one. Each segment was judged by
/// itself, so the first key of the next one could be any, and the receiver ended.
#[cfg_attr(test, test)]
fn records_that_no_snapshot_has_are_refused() {
    let at = EntryId { term: Term(2), index: FIRST };
    let id = SnapshotId { group: GROUP, from: ReplicaId(1), to: ReplicaId(2), at, sending: 1 };
    let record = |key: &'static [u8], version| Record {
        group: GROUP,
        kind: RecordKind::Put,
        version: Version(version),
        term: Term(0),
        expires_ms: None,
        origin: Origin::State,
        key,
        value: b"",
    };
    let mut tree = Builder::default();
    for (key, version, is_taken) in [
        (&b"b"[..], 7, true),
        (b"b", 7, false),
        (b"a", 7, false),
        (b"", 1, false),
        (b"c", 8, false),
        (b"c", u64::MAX, false),
        (b"c", 1, true),
    ] {
        let record = record(key, version);
        assert_eq!(is_next(&id, &tree, &record), is_taken, "{key:?} {version}");
        if is_taken {
            let loc = Loc { segment: SegmentId(1), offset_words: 8, len: 64 };
            let place = value::Place { loc, version: record.version, expires_ms: None };
            tree.push(record.key, place);
        }
    }
    let other = [
        Record { group: GroupId(4), ..record(b"d", 1) },
        Record { kind: RecordKind::Tombstone, ..record(b"d", 1) },
    ];
    assert!(other.iter().all(|record| !is_next(&id, &tree, record)));
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

/// A group of one entry, which is applied.
fn group() -> Group {
    let hard = HardState { term: Term(1), ..HardState::default() };
    let raft = boot(&[1, 2, 3].map(ReplicaId), hard, &[], &[]);
    Group::new(raft, hard, Window::new(Index(1)), State::behind(Index(1), Term(1)))
}

/// A node was held for two seconds and became the leader: what the others had said before, it took for
/// what their clocks said now. What it stamped was behind by that, and was over too early.
#[cfg_attr(test, test)]
fn word_of_a_clock_that_lay_about_is_not_taken() {
    let at = |ms: u64| Moment(ms * 1_000_000);
    let (node, lately) = (NodeId(2), Duration::from_millis(300));
    let mut clocks = Clocks::new(0, at(0));
    clocks.hear(node, (50_000, 0), at(100), lately);
    assert_eq!(clocks.word_of(node, at(100)), None, "it answers nothing");
    clocks.hear(node, (50_000, 1000), at(3000), lately);
    assert_eq!(clocks.word_of(node, at(3000)), None, "it may be two seconds old");
    clocks.hear(node, (50_000, 4000), at(3000), lately);
    assert_eq!(clocks.word_of(node, at(3000)), None, "it answers a mark that is still to come");
    clocks.hear(node, (52_000, 2700), at(3000), lately);
    assert_eq!(clocks.word_of(node, at(3500)), Some(52_500));
    clocks.hear(node, (52_100, 3000), at(5000), lately);
    assert_eq!(clocks.word_of(node, at(5000)), Some(54_000), "better word is kept");
}

/// Sees no key.
struct Nothing;

impl Sight for Nothing {
    fn place(&self, _: &[u8]) -> Option<Seen> {
        None
    }

    fn value(&self, _: &[u8]) -> Option<&[u8]> {
        None
    }
}

/// A batch is judged, and held until what it has computed is written: the state has its time, and the
/// index has not its writes. A key was read as over though a write in that batch had renewed it.
#[cfg_attr(test, test)]
fn reads_go_by_the_time_of_the_index() {
    let mut group = group();
    let mut out = BytesMut::new();
    let place = Place { group: GROUP, term: Term(1), index: Index(2), stamp: Stamp(5000) };
    encode::<Bytes>(&mut out, place, &Body::Noop);
    let entry = Entry::parse(&out).expect("an entry");
    let since = group.state.stamp();
    group.state.apply(&entry, &Nothing);
    assert!(group.state.stamp() > since);
    let mut held = Held::default();
    held.since = since;
    group.held = Some(held);
    assert_eq!(group.indexed_stamp(), since);
    group.held = None;
    assert_eq!(group.indexed_stamp(), group.state.stamp());
}

/// A neighbour with broken memory speaks for one replica after the other, and all of them were
/// remembered.
#[cfg_attr(test, test)]
fn strangers_are_bounded() {
    let mut group = group();
    for replica in 1..=10_000 {
        group.met_stranger(ReplicaId(replica), NodeId(2));
        assert!(group.strangers.len() <= limits::SHARD_STRANGERS_MAX, "{replica}");
    }
    assert_eq!(group.node_of(ReplicaId(10_000)), Some(NodeId(2)), "the newest are known");
    let seat = Seat { node: NodeId(3), directory: Uuid([7; 16]) };
    group.roster.insert(ReplicaId(10_000), seat);
    group.knows_seats();
    assert_eq!(group.strangers.len(), limits::SHARD_STRANGERS_MAX - 1);
    assert_eq!(group.node_of(ReplicaId(10_000)), Some(NodeId(3)));
}

fn peers() -> Peers {
    Peers::new(Uuid([1; 16]), None, 2, &BTreeMap::new())
}

/// Members come again and again, while a disk that hangs lets nobody be written down. Each time was
/// remembered.
#[cfg_attr(test, test)]
fn greetings_are_bounded() {
    let mut peers = peers();
    let waits: Vec<_> = (0..200)
        .map(|nth| {
            let (answer, waits) = queue(1);
            let directory = Uuid([7; 16]);
            peers.greeted(Greeting { node: NodeId(2 + nth % 2), directory, answer });
            waits
        })
        .collect();
    assert_eq!(peers.waiting(), (limits::SHARD_GREETINGS_MAX, 0));
    let is_gone = |mut waits: Receiver<Admission>| {
        let mut context = Context::from_waker(Waker::noop());
        pin!(waits.recv()).poll(&mut context).is_ready()
    };
    let gone: Vec<bool> = waits.into_iter().map(is_gone).collect();
    let (first, last) = gone.split_at(200 - limits::SHARD_GREETINGS_MAX);
    assert!(first.iter().all(|gone| *gone), "who came first hears that nobody answers");
    assert!(!last.contains(&true));
}

/// A neighbour with broken memory names one group after the other.
#[cfg_attr(test, test)]
fn groups_that_are_named_are_bounded() {
    let mut peers = peers();
    for group in 1..=2 * limits::SHARD_GROUPS_MAX as u32 {
        peers.wants(GroupId(group), ReplicaId(4), 100);
    }
    assert_eq!(peers.wanted.len(), limits::SHARD_GROUPS_MAX - 100);
    peers.wants(GroupId(1), ReplicaId(5), 100);
    assert_eq!(peers.wanted[&GroupId(1)], ReplicaId(5), "one that is wanted may be named again");
}

/// A leader sends a follower what is only on its disk, while nobody writes: all of it stayed in
/// memory, for only what is applied lets go of anything.
#[cfg_attr(test, test)]
fn entries_from_the_disk_are_held_within_the_budget() {
    let mut window = Window::new(Index(1));
    for index in 2..=99_u32 {
        let extent = Extent { segment: SegmentId(1), offset_words: 8 * index, bytes: 16 };
        window.found(Index(index.into()), Term(1), extent);
    }
    for index in 2..=99 {
        window.fetched(Index(index), Term(1), &Bytes::from(vec![7; 16]), 64);
        assert!(window.held_bytes() <= 64, "{index}");
    }
    assert!(window.slot(Index(2)).is_some_and(|slot| slot.bytes().is_some()), "room is used");
}
