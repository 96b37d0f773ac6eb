//! A neighbour whose memory is broken: its messages are whole, and what they say cannot be.
//!
//! Not here: bytes that are not what they should be (`shard/tests.rs`).

use crate::{
    raft::*,
    types::{GroupId, Index, ReplicaId, Term},
};

/// A follower with the entries 6 to 8 of term 2 behind a snapshot of the same term.
fn follower() -> Raft {
    let head = Head { term: Term(2), kind: Kind::Normal, bytes: 16 };
    let boot = Boot {
        group: GroupId(1),
        id: ReplicaId(1),
        incarnation: 1,
        config: Config::default(),
        hard: HardState { term: Term(4), commit: Index(6), ..HardState::default() },
        base: EntryId::new(2, 5),
        heads: &[head; 3],
        faulty: &[],
        applied: Index(5),
        membership: Membership::of_voters(&[1, 2, 3].map(ReplicaId)),
    };
    Raft::boot(boot, Moment::default(), 0).unwrap()
}

/// What a follower has when its leader, of term 4, has sent entries of these terms behind that one.
fn sent(prev: EntryId, terms: &[u64]) -> EntryId {
    let mut raft = follower();
    let head = |term: &u64| Head { term: Term(*term), kind: Kind::Normal, bytes: 16 };
    let heads: alloc::vec::Vec<Head> = terms.iter().map(head).collect();
    let last = Index(prev.index.0 + terms.len() as u64);
    let body = Body::Append { prev, last, commit: Index(6) };
    let message = Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(4), body };
    let input = Input::Message { message, heads: &heads };
    raft.step(Moment::default(), 7, input, &mut Effects::default());
    raft.check();
    raft.log().last()
}

/// A log took whatever term an entry said, and a replica ended by its own assertions.
#[cfg_attr(test, test)]
pub(super) fn entries_that_no_log_has_are_not_taken() {
    let (whole, end) = (EntryId::new(2, 8), EntryId::new(2, 6));
    assert_eq!(sent(whole, &[2, 3, 4]), EntryId::new(4, 11));
    assert_eq!(sent(end, &[2, 3, 3]), EntryId::new(3, 9), "a part is there already");
    assert_eq!(sent(EntryId::new(1, 4), &[2, 2, 3]), EntryId::new(3, 7), "and a part below");
    for terms in [&[3, 2][..], &[1], &[4, 5], &[5], &[3, 4, 3], &[9, 9]] {
        assert_eq!(sent(whole, terms), whole, "{terms:?}");
    }
    for terms in [&[1, 1, 1][..], &[1, 2, 1], &[2, 2, 5]] {
        assert_eq!(sent(EntryId::new(1, 4), terms), whole, "{terms:?}");
    }
}
