//! A disk that hangs: what waits for it has a bound.
//!
//! Not here: what may be sent before the disk has answered (`scripts/`).

use crate::{
    limits::RAFT_PROMISES_MAX,
    raft::*,
    types::{GroupId, Index, ReplicaId, Term},
};

struct Memory;

impl Durable for Memory {}

fn follower(last: Index) -> Raft {
    let head = Head { term: Term(1), kind: Kind::Normal, bytes: 16 };
    let heads = alloc::vec![head; last.0 as usize - 1];
    let boot = Boot {
        group: GroupId(1),
        id: ReplicaId(1),
        incarnation: 1,
        config: Config::default(),
        hard: HardState { term: Term(1), ..HardState::default() },
        base: EntryId::new(1, 1),
        heads: &heads,
        faulty: &[],
        applied: Index(1),
        membership: Membership::of_voters(&[1, 2, 3].map(ReplicaId)),
    };
    Raft::boot(boot, Moment::default(), 0).unwrap()
}

/// A leader asks its follower again and again whether it has what it was sent, and others want its
/// vote, while its disk does not answer. Each answer waited for the disk, all day.
#[cfg_attr(test, test)]
pub(super) fn promises_of_a_disk_that_hangs_are_bounded() {
    let mut raft = follower(Index(3));
    let mut fx = Effects::default();
    let say = |raft: &mut Raft, fx: &mut Effects, term, body, heads: &[Head]| {
        let message = Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(term), body };
        raft.step(Moment::default(), 7, Input::Message { message, heads }, fx);
    };
    let prev = EntryId::new(1, 3);
    let head = Head { term: Term(2), kind: Kind::Normal, bytes: 16 };
    let append = Body::Append { prev, last: Index(4), commit: Index(1) };
    say(&mut raft, &mut fx, 2, append, &[head]);
    assert!(fx.write.take().is_some(), "it is to be written");
    let asks = Body::Append { prev: EntryId::new(2, 4), last: Index(4), commit: Index(1) };
    for _ in 0..2 * RAFT_PROMISES_MAX {
        say(&mut raft, &mut fx, 2, asks, &[]);
        assert!(fx.send.is_empty() && fx.write.is_none(), "nothing is promised yet");
    }
    assert_eq!(raft.sizes().promises.now, RAFT_PROMISES_MAX as u64);
    let mut newest = None;
    // Whatever was promised to an older leader, nobody wants any more.
    for term in [3, 4] {
        let prev = EntryId::new(2, 4);
        say(
            &mut raft,
            &mut fx,
            term,
            Body::Append { prev, last: prev.index, commit: Index(1) },
            &[],
        );
        newest = fx.write.take();
        assert_eq!(raft.sizes().promises.now, 1, "in term {term}");
        for _ in 0..2 * RAFT_PROMISES_MAX {
            let body = Body::Append { prev, last: prev.index, commit: Index(1) };
            say(&mut raft, &mut fx, term, body, &[]);
        }
    }
    let written = newest.expect("the term is to be written").persisted(&Memory);
    raft.step(Moment::default(), 7, Input::Persisted(written), &mut fx);
    assert_eq!((fx.send.len(), raft.sizes().promises.now), (RAFT_PROMISES_MAX, 0));
}
