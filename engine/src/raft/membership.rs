//! Who belongs to the group, and how that changes without two majorities that do not meet.
//!
//! There is one way to change voters: **joint consensus**. The change first makes a joint
//! membership in which every decision needs a majority of the old *and* of the new voters; a second
//! entry leaves it. Moving one voter at a time without the joint step is shorter and was published
//! with a hole (two leaders, each with a majority of a membership that the other has not seen, when
//! a change is proposed before an entry of the own term is committed). We take the long way always:
//! it costs one more entry, and it moves any number of voters at once.
//!
//! ```text
//!   {1,2,3}  --change-->  {1,2,4} & {1,2,3}  --leave-->  {1,2,4}
//!    voters                voters    outgoing             voters
//! ```
//!
//! Rules, all checked where a change is proposed and again where it is applied (then a change that
//! does not fit is void, on every replica alike):
//! - a replica begins as a learner and is promoted; an id is used once, ever;
//! - one change in flight; the next waits until the joint membership is left;
//! - nobody is left without voters.
//!
//! A membership takes effect when its entry is *applied*. Then a truncated log never takes a
//! membership back, and a replica that has committed but not applied a change does not campaign.

use super::quorum::{self, Tally};
use crate::{
    limits::{RAFT_LEARNERS_MAX, RAFT_VOTERS_MAX},
    planted,
    types::ReplicaId,
};
use alloc::vec::Vec;
use core::fmt;

/// Who belongs to the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    voters: Vec<ReplicaId>,
    /// While joint: the voters of before. Otherwise empty.
    outgoing: Vec<ReplicaId>,
    learners: Vec<ReplicaId>,
    /// Voters of before that become learners when the joint membership is left.
    demoted: Vec<ReplicaId>,
    /// Whether the leader leaves the joint membership by itself.
    leaves_alone: bool,
    /// The highest id ever used.
    ids_used: ReplicaId,
}

/// A membership as its parts: for whoever has to keep it somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// See [`Membership::voters`].
    pub voters: Vec<ReplicaId>,
    /// See [`Membership::outgoing`].
    pub outgoing: Vec<ReplicaId>,
    /// See [`Membership::learners`].
    pub learners: Vec<ReplicaId>,
    /// Voters that become learners when the joint membership is left.
    pub demoted: Vec<ReplicaId>,
    /// Whether the leader leaves the joint membership by itself.
    pub leaves_alone: bool,
    /// The highest id ever used.
    pub ids_used: ReplicaId,
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A replica that the group never had joins and gets the log, without a vote.
    AddLearner(ReplicaId),
    /// A learner gets a vote.
    Promote(ReplicaId),
    /// A voter becomes a learner.
    Demote(ReplicaId),
    /// A replica leaves for good.
    Remove(ReplicaId),
}

/// A change of the membership: what an entry of [`Kind::Change`](super::Kind::Change) says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// What happens, at once.
    pub steps: Vec<Step>,
    /// Whether the leader leaves the joint membership by itself, as soon as it may.
    pub leaves_alone: bool,
}

/// Why a change does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misfit {
    /// The group is in the middle of another change.
    Joint,
    /// There is no joint membership to leave.
    NotJoint,
    /// The replica was part of the group before, or is now; ids are used once.
    IdUsed(ReplicaId),
    /// Only a learner can be promoted.
    NotLearner(ReplicaId),
    /// Only a voter can be demoted.
    NotVoter(ReplicaId),
    /// The group has no such replica.
    Unknown(ReplicaId),
    /// The change leaves nobody to vote.
    NoVoters,
    /// The change makes the group larger than it may be.
    TooLarge,
    /// The change names a replica twice, or nobody.
    Unclear,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joint => f.write_str("another change of the membership is not finished"),
            Self::NotJoint => f.write_str("there is no joint membership to leave"),
            Self::IdUsed(id) => write!(f, "the id {id} was used before; take a new one"),
            Self::NotLearner(id) => write!(f, "{id} is no learner; add it as one first"),
            Self::NotVoter(id) => write!(f, "{id} is no voter"),
            Self::Unknown(id) => write!(f, "the group has no replica {id}"),
            Self::NoVoters => f.write_str("the change leaves nobody to vote"),
            Self::TooLarge => f.write_str("the group would be larger than it may be"),
            Self::Unclear => f.write_str("the change names a replica twice, or nobody"),
        }
    }
}

impl core::error::Error for Misfit {}

impl Membership {
    /// The first members of a group.
    #[must_use]
    pub fn of_voters(voters: &[ReplicaId]) -> Self {
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        voters.dedup();
        let ids_used = voters.last().copied().unwrap_or_default();
        let made = Self { voters, ids_used, ..Self::default() };
        made.invariants();
        made
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> Parts {
        Parts {
            voters: self.voters.clone(),
            outgoing: self.outgoing.clone(),
            learners: self.learners.clone(),
            demoted: self.demoted.clone(),
            leaves_alone: self.leaves_alone,
            ids_used: self.ids_used,
        }
    }

    /// The membership of these parts, if they are one.
    #[must_use]
    pub fn of_parts(parts: Parts) -> Option<Self> {
        let Parts { voters, outgoing, learners, demoted, leaves_alone, ids_used } = parts;
        let made = Self { voters, outgoing, learners, demoted, leaves_alone, ids_used };
        made.flaw().is_none().then_some(made)
    }

    /// Those whose majority decides; while joint, of the new membership.
    #[must_use]
    pub fn voters(&self) -> &[ReplicaId] {
        &self.voters
    }

    /// While joint, those of the old membership, whose majority decides as well.
    #[must_use]
    pub fn outgoing(&self) -> &[ReplicaId] {
        &self.outgoing
    }

    /// Those that get the log and do not vote.
    #[must_use]
    pub fn learners(&self) -> &[ReplicaId] {
        &self.learners
    }

    /// Whether two majorities decide.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the leader should leave the joint membership without being asked.
    #[must_use]
    pub fn should_leave(&self) -> bool {
        self.is_joint() && self.leaves_alone
    }

    /// Whether a replica's vote counts.
    #[must_use]
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether a replica gets the log.
    #[must_use]
    pub fn is_member(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.learners.binary_search(&id).is_ok()
    }

    /// Everybody, in order, once.
    #[must_use]
    pub fn members(&self) -> Vec<ReplicaId> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let mut all: Vec<ReplicaId> = lists.into_iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The highest value that enough voters have reached.
    pub fn reached(&self, value: impl Fn(ReplicaId) -> u64 + Copy) -> u64 {
        let new = quorum::reached(&self.voters, value);
        if planted!("raft_joint_needs_one_majority") {
            return new;
        }
        new.min(quorum::reached(&self.outgoing, value))
    }

    /// How a vote stands.
    pub fn tally(&self, vote: impl Fn(ReplicaId) -> Option<bool> + Copy) -> Tally {
        let new = quorum::tally(&self.voters, vote);
        if planted!("raft_joint_needs_one_majority") {
            return new;
        }
        match (new, quorum::tally(&self.outgoing, vote)) {
            (Tally::Won, Tally::Won) => Tally::Won,
            (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
            (Tally::Open, _) | (_, Tally::Open) => Tally::Open,
        }
    }

    /// The membership after a change.
    ///
    /// # Errors
    /// When the change does not fit this membership; nothing is changed.
    pub fn after(&self, change: &Change) -> Result<Self, Misfit> {
        if self.is_joint() {
            return Err(Misfit::Joint);
        }
        let mut next = self.clone();
        let mut named: Vec<ReplicaId> = Vec::new();
        for step in &change.steps {
            let id = next.take(*step)?;
            if named.contains(&id) {
                return Err(Misfit::Unclear);
            }
            named.push(id);
        }
        if named.is_empty() {
            return Err(Misfit::Unclear);
        }
        if next.voters.is_empty() {
            return Err(Misfit::NoVoters);
        }
        let learners = next.learners.len() + next.demoted.len();
        if next.voters.len() > RAFT_VOTERS_MAX || learners > RAFT_LEARNERS_MAX {
            return Err(Misfit::TooLarge);
        }
        if next.voters != self.voters {
            next.outgoing.clone_from(&self.voters);
            next.leaves_alone = change.leaves_alone;
        }
        next.invariants();
        Ok(next)
    }

    /// The membership after the joint one.
    ///
    /// # Errors
    /// When this one is not joint.
    pub fn after_leaving(&self) -> Result<Self, Misfit> {
        if !self.is_joint() {
            return Err(Misfit::NotJoint);
        }
        let mut next = self.clone();
        next.outgoing.clear();
        next.leaves_alone = false;
        for id in core::mem::take(&mut next.demoted) {
            insert(&mut next.learners, id);
        }
        next.invariants();
        Ok(next)
    }

    fn take(&mut self, step: Step) -> Result<ReplicaId, Misfit> {
        match step {
            Step::AddLearner(id) => {
                if id <= self.ids_used && !planted!("raft_ids_are_reused") {
                    return Err(Misfit::IdUsed(id));
                }
                self.ids_used = self.ids_used.max(id);
                insert(&mut self.learners, id);
                Ok(id)
            }
            Step::Promote(id) => {
                if !remove(&mut self.learners, id) {
                    return Err(Misfit::NotLearner(id));
                }
                insert(&mut self.voters, id);
                Ok(id)
            }
            Step::Demote(id) => {
                if !remove(&mut self.voters, id) {
                    return Err(Misfit::NotVoter(id));
                }
                insert(&mut self.demoted, id);
                Ok(id)
            }
            Step::Remove(id) => {
                let found = remove(&mut self.voters, id) || remove(&mut self.learners, id);
                if found { Ok(id) } else { Err(Misfit::Unknown(id)) }
            }
        }
    }

    /// What must always hold.
    pub fn invariants(&self) {
        if let Some(flaw) = self.flaw() {
            panic!("{flaw}");
        }
    }

    /// What does not hold of what must.
    fn flaw(&self) -> Option<&'static str> {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.demoted];
        let in_order = |list: &&Vec<ReplicaId>| list.windows(2).all(|pair| pair[0] < pair[1]);
        let used = |list: &&Vec<ReplicaId>| list.last().is_none_or(|id| *id <= self.ids_used);
        if !lists.iter().all(in_order) {
            Some("members stand in order, once")
        } else if !lists.iter().all(used) {
            Some("every id counts as used")
        } else if !self.is_joint() && !self.demoted.is_empty() {
            Some("only a joint membership demotes")
        } else if !self.is_joint() && self.leaves_alone {
            Some("only a joint membership is left")
        } else if self.learners.iter().any(|id| self.is_voter(*id)) {
            Some("no voter is a learner")
        } else {
            None
        }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, ids: &[ReplicaId]| {
            ids.iter()
                .enumerate()
                .try_for_each(|(at, id)| write!(f, "{}{id}", if at == 0 { "" } else { " " }))
        };
        f.write_str("voters(")?;
        list(f, &self.voters)?;
        f.write_str(")")?;
        let others =
            [("old", &self.outgoing), ("learners", &self.learners), ("demoted", &self.demoted)];
        for (name, ids) in others.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            write!(f, " {name}(")?;
            list(f, ids)?;
            f.write_str(")")?;
        }
        if self.leaves_alone { f.write_str(" leaves-alone") } else { Ok(()) }
    }
}

fn insert(list: &mut Vec<ReplicaId>, id: ReplicaId) {
    if let Err(at) = list.binary_search(&id) {
        list.insert(at, id);
    }
}

fn remove(list: &mut Vec<ReplicaId>, id: ReplicaId) -> bool {
    list.binary_search(&id).map(|at| list.remove(at)).is_ok()
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
