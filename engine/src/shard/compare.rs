//! Comparing: replicas that have applied the same entries must have the same state.
//!
//! Nothing in Raft notices a replica that applies the same log to something else: a bug that looks
//! at the wrong clock, a bit that flipped in memory, two versions that disagree. It answers wrong,
//! and one day it leads. So now and then the replicas of a group compare the digests of what they
//! did (`store`):
//!
//! ```text
//!   entries   … stamp 9.8 s │ stamp 10.1 s │ …        a point: the group's time passes a multiple
//!                           ▲                         of a period, the same entry everywhere
//!   each replica, when it has applied that entry ──► (entry, digest) ──► every other replica
//! ```
//! The time is that of the entries' stamps, so every replica finds the same points without a word,
//! a group that is not written has none, and nothing stands in the log for it.
//!
//! Nobody is believed, also no leader: a replica stops when a *majority* of the voters have the same
//! digest and its own is another one. With less than a majority on one side nobody knows who is
//! wrong, and stopping somebody would harm as much as it helps; that is said in the log lines and
//! nothing else.
//!
//! A replica that stops so has a state that cannot be repaired entry by entry. Its directory says
//! from then on that it is given up, so no supervisor brings it back, and the replica is replaced.
//!
//! Invariant: of each replica the newest few points are known, never more.
//!
//! Not here: what a digest is of (`store/checkpoint.rs`).

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{Outbox, Shard, Stopped};
use crate::{
    journal::ManifestEdit,
    limits, mark,
    packet::{Envelope, Packet},
    planted,
    raft::{Membership, Tally},
    runtime::Runtime,
    types::{GroupId, Index, NodeId, ReplicaId, Stamp},
};

/// What the replicas of a group have said of their states.
#[derive(Debug, Default)]
pub(super) struct Compared(BTreeMap<ReplicaId, BTreeMap<Index, u64>>);

/// What a comparison says to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// Nobody differs, or it is not known yet who.
    Nothing,
    /// Most have the same, and it has not.
    Odd,
    /// It has what most have, and these have not.
    Others(Vec<ReplicaId>),
    /// They differ, and no majority has the same.
    Split,
}

impl Compared {
    /// A replica had this digest behind that entry.
    fn note(&mut self, replica: ReplicaId, at: Index, digest: u64) {
        let points = self.0.entry(replica).or_default();
        points.insert(at, digest);
        if points.len() > limits::SHARD_POINTS_KEPT {
            points.pop_first();
        }
    }

    fn find(&self, own: ReplicaId, at: Index, members: &Membership) -> Finding {
        let said = |id: ReplicaId| self.0.get(&id)?.get(&at).copied();
        let Some(ours) = said(own) else { return Finding::Nothing };
        let differs = |id: &ReplicaId| said(*id).is_some_and(|digest| digest != ours);
        let others: Vec<ReplicaId> = members.members().into_iter().filter(differs).collect();
        if others.is_empty() {
            return Finding::Nothing;
        }
        let tally = |digest: u64| members.tally(|id| said(id).map(|said| said == digest));
        let theirs = || others.iter().filter_map(|id| said(*id)).map(tally);
        match tally(ours) {
            Tally::Won => Finding::Others(others),
            _ if theirs().any(|tally| tally == Tally::Won) => Finding::Odd,
            Tally::Lost if theirs().all(|tally| tally == Tally::Lost) => Finding::Split,
            Tally::Lost | Tally::Open => Finding::Nothing,
        }
    }
}

/// Whether replicas compare behind an entry that made a group's time pass from `before` to `after`.
/// Groups have their points at different moments.
pub(super) fn is_point(group: GroupId, before: Stamp, after: Stamp, every: Duration) -> bool {
    let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let shift = u64::from(group.0).wrapping_mul(7919) % every_ms;
    let period = |stamp: Stamp| stamp.ms().saturating_add(shift) / every_ms;
    period(before) != period(after)
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A group has applied an entry that is a point: its digest is said to the others.
    pub(super) fn reach(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (own, at, digest) = (group.raft.id(), group.state.applied(), group.state.digest());
        group.compared.note(own, at, digest);
        self.counts.compared += 1;
        let others = group.raft.membership().members().into_iter().filter(|other| *other != own);
        for to in others.filter_map(|other| group.node_of(other)) {
            let packet = Packet::Digest { group: id, replica: own, at, digest };
            self.outbox.send(Envelope { to, packet });
        }
        self.compare(id, at);
    }

    /// A replica says what its digest was.
    pub(super) fn take_digest(
        &mut self,
        from: NodeId,
        id: GroupId,
        (replica, at, digest): (ReplicaId, Index, u64),
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.roster.get(&replica).is_none_or(|seat| seat.node != from) {
            mark!("shard_digest_of_a_stranger");
            return;
        }
        group.compared.note(replica, at, digest);
        self.compare(id, at);
    }

    /// Writes down that the directory is not to be used again, if that is why the shard ends.
    pub(super) async fn give_up(&mut self, why: &Stopped) {
        let Stopped::Diverged { group, at, .. } = *why else { return };
        let Some(journal) = &mut self.journal else { return };
        let edit = ManifestEdit { give_up: Some((group, at)), ..ManifestEdit::default() };
        if let Err(error) = journal.edit(edit).await {
            tracing::error!(%error, "nothing says of this directory that it is not to be used again");
        }
    }

    fn compare(&mut self, id: GroupId, at: Index) {
        let Some(group) = self.groups.get(&id) else { return };
        let own = group.raft.id();
        match group.compared.find(own, at, group.raft.membership()) {
            Finding::Nothing => {}
            Finding::Odd if planted!("shard_odd_one_goes_on") => {}
            Finding::Odd => {
                self.stopped = Some(Stopped::Diverged { node: self.node, group: id, at });
            }
            Finding::Others(replicas) => {
                self.counts.differed += 1;
                for replica in replicas {
                    let node = group.node_of(replica).unwrap_or_default();
                    tracing::error!(
                        group = %id, %replica, %node, %at,
                        "the state of another replica differs from what most have; it stops when it \
                         hears of it, and is to be replaced: trilith ctl replace"
                    );
                }
            }
            Finding::Split => {
                self.counts.differed += 1;
                tracing::error!(
                    group = %id, %at,
                    "the states of the replicas differ, and no majority has the same: nobody knows \
                     which is right; compare what they hold before one is replaced"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(voters: u64, learners: u64, said: &[(u64, u64)], expected: &Finding) {
        let ids = |range: core::ops::RangeInclusive<u64>| range.map(ReplicaId).collect::<Vec<_>>();
        let mut parts = Membership::of_voters(&ids(1..=voters)).parts();
        parts.learners = ids(voters + 1..=voters + learners);
        parts.ids_used = ReplicaId(voters + learners);
        let members = Membership::of_parts(parts).expect("it fits");
        let mut compared = Compared::default();
        for (replica, digest) in said {
            compared.note(ReplicaId(*replica), Index(7), *digest);
        }
        assert_eq!(compared.find(ReplicaId(1), Index(7), &members), *expected, "{said:?}");
    }

    #[test]
    fn a_majority_says_who_is_wrong_and_less_says_nothing() {
        let others = |ids: &[u64]| Finding::Others(ids.iter().copied().map(ReplicaId).collect());
        check(3, 0, &[(1, 5), (2, 5), (3, 5)], &Finding::Nothing);
        check(3, 0, &[(2, 6), (3, 6)], &Finding::Nothing);
        check(3, 0, &[(1, 5), (2, 6)], &Finding::Nothing);
        check(3, 0, &[(1, 5), (2, 6), (3, 6)], &Finding::Odd);
        check(3, 0, &[(1, 5), (2, 5), (3, 6)], &others(&[3]));
        check(3, 0, &[(1, 5), (2, 6), (3, 7)], &Finding::Split);
        check(2, 0, &[(1, 5), (2, 6)], &Finding::Split);
        check(5, 0, &[(1, 5), (2, 6), (3, 6)], &Finding::Nothing);
        check(5, 0, &[(1, 5), (2, 5), (3, 6), (4, 6), (5, 6)], &Finding::Odd);
        check(4, 0, &[(1, 5), (2, 5), (3, 6), (4, 6)], &Finding::Split);
        check(1, 2, &[(1, 5), (2, 6), (3, 6)], &others(&[2, 3]));
    }

    #[test]
    fn of_each_replica_the_newest_points_are_kept() {
        let mut compared = Compared::default();
        for at in [9, 3, 5, 4, 8, 7, 6, 2] {
            compared.note(ReplicaId(1), Index(at), at);
        }
        let kept: Vec<u64> = compared.0[&ReplicaId(1)].keys().map(|at| at.0).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
    }

    #[test]
    fn points_are_where_the_groups_time_passes_a_period() {
        let every = Duration::from_millis(1000);
        let group = GroupId(1000);
        let at = Stamp::at_ms;
        assert!(is_point(group, at(999), at(1000), every));
        assert!(!is_point(group, at(1000), at(1999), every));
        assert!(is_point(group, at(1999), at(9000), every));
        assert!(is_point(GroupId(1), at(80), at(81), every), "7919 before 8000");
        assert!(is_point(group, at(0), at(u64::MAX >> 16), Duration::ZERO));
    }
}
