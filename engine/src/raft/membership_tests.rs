//! Memberships against their definition: every majority is spelt out, every refusal stands in a table.

use super::*;
use alloc::{format, string::ToString, vec};
use proptest::{collection::vec, prelude::*};

fn ids(numbers: &[u64]) -> Vec<ReplicaId> {
    numbers.iter().copied().map(ReplicaId).collect()
}

fn joint(voters: &[u64], outgoing: &[u64]) -> Membership {
    let (voters, outgoing) = (ids(voters), ids(outgoing));
    let parts = Membership::default().parts();
    Membership::of_parts(Parts { voters, outgoing, ids_used: ReplicaId(99), ..parts }).unwrap()
}

/// Every set that decides: a majority of the voters, together with one of the outgoing if there are.
fn deciding(membership: &Membership) -> Vec<Vec<ReplicaId>> {
    let majorities = |of: &[ReplicaId]| -> Vec<Vec<ReplicaId>> {
        let sets = (0..1_u32 << of.len()).map(|set| {
            let here = of.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            here.map(|(_, id)| *id).collect::<Vec<_>>()
        });
        sets.filter(|set| set.len() * 2 > of.len() || of.is_empty()).collect()
    };
    let (new, old) = (majorities(membership.voters()), majorities(membership.outgoing()));
    new.iter().flat_map(|new| old.iter().map(|old| [&new[..], &old[..]].concat())).collect()
}

/// Some of the ids 1 to 7, in order.
fn some() -> impl Strategy<Value = Vec<u64>> {
    proptest::sample::subsequence(vec![1, 2, 3, 4, 5, 6, 7], 1..=5)
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_usize, 1_u64..9).prop_map(|(kind, id)| {
        let id = ReplicaId(id);
        [Step::AddLearner(id), Step::Promote(id), Step::Demote(id), Step::Remove(id)][kind]
    })
}

proptest! {
    #[test]
    fn a_joint_membership_has_reached_what_a_majority_of_each_half_has(
        new in some(), old in some(), values in vec(0_u64..6, 8),
    ) {
        let membership = joint(&new, &old);
        let value = |id: &ReplicaId| values[id.0 as usize];
        let brute = deciding(&membership).iter().filter_map(|set| set.iter().map(value).min()).max();
        prop_assert_eq!(Some(membership.reached(|id| value(&id))), brute);
    }

    #[test]
    fn a_joint_vote_is_won_by_both_halves_and_lost_by_either(
        new in some(), old in some(), votes in vec(proptest::option::of(any::<bool>()), 8),
    ) {
        let membership = joint(&new, &old);
        let all = |ok: fn(Option<bool>) -> bool| {
            deciding(&membership).iter().any(|set| set.iter().all(|id| ok(votes[id.0 as usize])))
        };
        let brute = match (all(|vote| vote == Some(true)), all(|vote| vote != Some(false))) {
            (true, _) => Tally::Won,
            (false, true) => Tally::Open,
            (false, false) => Tally::Lost,
        };
        prop_assert_eq!(membership.tally(|id| votes[id.0 as usize]), brute);
    }

    /// The heart of it: whatever is changed, who decides before and who decides after share a member.
    #[test]
    fn who_decides_before_a_change_and_who_after_share_a_member(
        changes in vec((vec(step(), 1..4), any::<bool>()), 1..12),
    ) {
        let mut membership = Membership::of_voters(&ids(&[1, 2, 3]));
        for (steps, leaves_alone) in changes {
            let next = match membership.after(&Change { steps, leaves_alone }) {
                Ok(next) => next,
                Err(Misfit::Joint) => membership.after_leaving().unwrap(),
                Err(_) => continue,
            };
            for before in deciding(&membership) {
                for after in deciding(&next) {
                    prop_assert!(before.iter().any(|id| after.contains(id)), "{membership} → {next}");
                }
            }
            membership = next;
        }
    }
}

#[track_caller]
fn check(before: &Membership, steps: &[Step], expect: Result<&str, Misfit>) {
    let change = Change { steps: steps.to_vec(), leaves_alone: true };
    let after = before.after(&change).map(|after| after.to_string());
    assert_eq!(after, expect.map(ToString::to_string), "{before} and {steps:?}");
}

#[test]
fn a_change_is_taken_whole_or_refused() {
    let (add, promote) = (|id| Step::AddLearner(ReplicaId(id)), |id| Step::Promote(ReplicaId(id)));
    let (demote, remove) = (|id| Step::Demote(ReplicaId(id)), |id| Step::Remove(ReplicaId(id)));
    let three = Membership::of_voters(&ids(&[1, 2, 3]));
    // Nothing, and what is so already.
    check(&three, &[], Err(Misfit::Unclear));
    check(&three, &[add(0)], Err(Misfit::IdUsed(ReplicaId(0))));
    check(&three, &[add(3)], Err(Misfit::IdUsed(ReplicaId(3))));
    check(&three, &[promote(3)], Err(Misfit::NotLearner(ReplicaId(3))));
    check(&three, &[demote(9)], Err(Misfit::NotVoter(ReplicaId(9))));
    check(&three, &[remove(9)], Err(Misfit::Unknown(ReplicaId(9))));
    // The same replica twice, with one meaning or two.
    check(&three, &[remove(1), remove(1)], Err(Misfit::Unknown(ReplicaId(1))));
    check(&three, &[add(4), add(4)], Err(Misfit::IdUsed(ReplicaId(4))));
    check(&three, &[add(4), promote(4)], Err(Misfit::Unclear));
    check(&three, &[add(4), remove(4)], Err(Misfit::Unclear));
    check(&three, &[demote(1), promote(1)], Err(Misfit::NotLearner(ReplicaId(1))));
    check(&three, &[demote(1), demote(1)], Err(Misfit::NotVoter(ReplicaId(1))));
    // Somebody must decide.
    check(&three, &[remove(1), remove(2), remove(3)], Err(Misfit::NoVoters));
    check(&three, &[remove(1), demote(2), demote(3)], Err(Misfit::NoVoters));
    // Learners come and go without a joint membership; voters do not.
    check(&three, &[add(4), add(6)], Ok("voters(1 2 3) learners(4 6)"));
    check(&three, &[add(6), add(4)], Err(Misfit::IdUsed(ReplicaId(4))));
    check(&three, &[remove(1)], Ok("voters(2 3) old(1 2 3) leaves-alone"));
    check(&three, &[demote(1)], Ok("voters(2 3) old(1 2 3) demoted(1) leaves-alone"));
    let learner = three.after(&Change { steps: vec![add(4)], leaves_alone: true }).unwrap();
    check(&learner, &[remove(4)], Ok("voters(1 2 3)"));
    check(&learner, &[promote(4)], Ok("voters(1 2 3 4) old(1 2 3) leaves-alone"));
    check(&learner, &[promote(4), remove(1)], Ok("voters(2 3 4) old(1 2 3) leaves-alone"));
    check(
        &learner,
        &[promote(4), demote(1)],
        Ok("voters(2 3 4) old(1 2 3) demoted(1) leaves-alone"),
    );
    // An id that was used stays used.
    let without = learner.after(&Change { steps: vec![remove(4)], leaves_alone: true }).unwrap();
    check(&without, &[add(4)], Err(Misfit::IdUsed(ReplicaId(4))));
}

#[test]
fn a_joint_membership_is_left_before_anything_else() {
    let three = Membership::of_voters(&ids(&[1, 2, 3]));
    assert_eq!(three.after_leaving(), Err(Misfit::NotJoint));
    for leaves_alone in [true, false] {
        let steps = vec![Step::Demote(ReplicaId(1)), Step::Remove(ReplicaId(2))];
        let joint = three.after(&Change { steps, leaves_alone }).unwrap();
        assert_eq!(joint.should_leave(), leaves_alone, "{joint}");
        for step in [Step::AddLearner(ReplicaId(4)), Step::Remove(ReplicaId(3))] {
            check(&joint, &[step], Err(Misfit::Joint));
        }
        let left = joint.after_leaving().unwrap();
        assert_eq!(format!("{left}"), "voters(3) learners(1)");
        assert_eq!(left.after_leaving(), Err(Misfit::NotJoint));
    }
}
