//! What a majority has agreed to: the arithmetic under every promise of the room.
//!
//! Three questions, each over one set of voters; a joint membership asks both of its sets and
//! takes the stricter answer (`membership.rs`).
//! An empty set has agreed to everything: so a joint membership with an empty half behaves as the
//! other half alone.

use crate::{limits::RAFT_VOTERS_MAX, planted, types::ReplicaId};

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A majority said yes.
    Won,
    /// A majority can no longer say yes.
    Lost,
    /// It depends on who has not answered.
    Open,
}

/// The smallest number that any two of which, among `voters`, share a member.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The highest value that a majority of the voters has reached.
pub fn reached(voters: &[ReplicaId], value: impl Fn(ReplicaId) -> u64) -> u64 {
    assert!(voters.len() <= RAFT_VOTERS_MAX, "a membership is bounded where it is made");
    if voters.is_empty() {
        return u64::MAX;
    }
    let mut values = [0; RAFT_VOTERS_MAX];
    let values = &mut values[..voters.len()];
    for (slot, voter) in values.iter_mut().zip(voters) {
        *slot = value(*voter);
    }
    if !planted!("raft_quorum_of_unsorted_values") {
        values.sort_unstable();
    }
    let needed = majority(voters.len()) - usize::from(planted!("raft_quorum_is_half"));
    // In rising order, the value that `needed` voters have reached stands `needed` from the end.
    values[voters.len() - needed.max(1)]
}

/// How a vote stands.
pub fn tally(voters: &[ReplicaId], vote: impl Fn(ReplicaId) -> Option<bool>) -> Tally {
    let needed = majority(voters.len());
    let count = |what| voters.iter().filter(|voter| vote(**voter) == Some(what)).count();
    if voters.is_empty() || count(true) >= needed {
        Tally::Won
    } else if voters.len() - count(false) < needed {
        Tally::Lost
    } else {
        Tally::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn ids(count: usize) -> Vec<ReplicaId> {
        (1..=count as u64).map(ReplicaId).collect()
    }

    /// Every subset of the voters that is a majority: the definition, as slowly as it can be said.
    fn majorities(count: usize) -> impl Iterator<Item = Vec<usize>> {
        (0..1_u32 << count)
            .map(move |set| (0..count).filter(|bit| set >> bit & 1 == 1).collect::<Vec<_>>())
            .filter(move |set| set.len() * 2 > count)
    }

    proptest! {
        #[test]
        fn reached_is_what_some_majority_has_reached(values in proptest::collection::vec(0_u64..8, 1..=7)) {
            let brute = majorities(values.len())
                .map(|set| set.iter().map(|at| values[*at]).min().expect("no majority is empty"))
                .max();
            let quick = reached(&ids(values.len()), |id| values[id.0 as usize - 1]);
            prop_assert_eq!(Some(quick), brute);
        }

        #[test]
        fn a_vote_is_won_when_some_majority_said_yes_and_lost_when_none_can(
            votes in proptest::collection::vec(proptest::option::of(any::<bool>()), 1..=7),
        ) {
            let all = |ok: fn(Option<bool>) -> bool| {
                majorities(votes.len()).any(|set| set.iter().all(|at| ok(votes[*at])))
            };
            let brute = match (all(|v| v == Some(true)), all(|v| v != Some(false))) {
                (true, _) => Tally::Won,
                (false, true) => Tally::Open,
                (false, false) => Tally::Lost,
            };
            prop_assert_eq!(tally(&ids(votes.len()), |id| votes[id.0 as usize - 1]), brute);
        }
    }

    #[test]
    fn an_empty_set_has_agreed_to_everything() {
        assert_eq!(reached(&[], |_| 0), u64::MAX);
        assert_eq!(tally(&[], |_| None), Tally::Won);
    }
}
