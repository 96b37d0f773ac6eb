//! Raft: what may never be seen of a group, whatever its nodes live through.
//!
//! The nodes of a cluster show each step of each core, each message and each applied entry to a
//! [`Notes`]. It remembers what it was shown across lives and nodes, and the first thing that
//! cannot be true together with the rest is the violation:
//! - *one leader a term*: two replicas never lead in one term;
//! - *one vote a term*: a replica never grants two, whatever it forgot in between;
//! - *committed stays*: what one replica knows to be committed at an index, all do, forever;
//! - *leaders are complete*: a new leader has every entry known to be committed;
//! - *one history*: at every index all replicas apply the same entry, and have the same digest of
//!   their state afterwards, in every life that applies it;
//! - *commit does not go back* within a life, and terms do not.
//!
//! Not here: what clients see (`linearizable`, `once`), what disks keep (`durable`).

use std::collections::{BTreeMap, BTreeSet};

use trilith_engine::{
    raft::{Body, EntryId, Message, Raft, Role},
    types::{GroupId, Index, NodeId, ReplicaId, Term},
};

use super::{Judge, Verdict, Violation};

const NAME: &str = "raft";

/// This judge.
pub const JUDGE: Judge =
    Judge { name: NAME, demands: "no two replicas disagree on what is committed, ever", canary };

/// What has been seen of all groups.
#[derive(Debug, Default)]
pub struct Notes {
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    votes: BTreeMap<(GroupId, Term, ReplicaId), ReplicaId>,
    /// The term of the entry, and one in which it was known to be committed.
    committed: BTreeMap<GroupId, BTreeMap<Index, (Term, Term)>>,
    applied: BTreeMap<(GroupId, Index), (Term, u64)>,
    lives: BTreeMap<(GroupId, NodeId), (u32, Term, Index)>,
    complete: BTreeSet<(GroupId, Term)>,
    violation: Option<Violation>,
    /// How many steps were seen.
    pub steps: u64,
}

impl Notes {
    /// The first thing that cannot be true.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn refuse(&mut self, symptom: &str, evidence: String) {
        self.violation.get_or_insert_with(|| Violation::new(NAME, symptom, evidence));
    }

    /// A core after a step.
    pub fn stepped(&mut self, node: NodeId, life: u32, group: GroupId, raft: &Raft) {
        self.steps += 1;
        let (term, commit) = (raft.term(), raft.commit());
        if raft.role() == Role::Leader {
            self.leads(node, group, raft);
        }
        let before = self.lives.insert((group, node), (life, term, commit));
        if let Some((same, old_term, old_commit)) = before
            && same == life
        {
            if term < old_term {
                let told = format!("group {group}, node {node}: {old_term}, then {term}");
                self.refuse("a replica's term went back", told);
            }
            if commit < old_commit {
                let told = format!("group {group}, node {node}: {old_commit}, then {commit}");
                self.refuse("what a replica knew to be committed went back", told);
            }
            if commit == old_commit {
                return;
            }
        }
        self.commits(node, group, raft);
    }

    fn leads(&mut self, node: NodeId, group: GroupId, raft: &Raft) {
        let term = raft.term();
        let first = *self.leaders.entry((group, term)).or_insert(node);
        if first != node {
            let told = format!("group {group}, term {term}: nodes {first} and {node}");
            self.refuse("two replicas lead in one term", told);
        }
        if !self.complete.insert((group, term)) {
            return;
        }
        let log = raft.log();
        let known = self.committed.get(&group);
        let lacks = known.into_iter().flatten().find(|(index, (known, by))| {
            *by < term && **index > log.base().index && log.term_at(**index) != Some(*known)
        });
        if let Some((index, (known, _))) = lacks {
            let told = format!(
                "group {group}, node {node}, term {term}: has {:?} at {index}, where {known} was committed",
                log.term_at(*index)
            );
            self.refuse("a leader lacks a committed entry", told);
        }
    }

    fn commits(&mut self, node: NodeId, group: GroupId, raft: &Raft) {
        let (log, commit, by) = (raft.log(), raft.commit(), raft.term());
        let known = self.committed.entry(group).or_default();
        let mut differs = None;
        let mut index = commit;
        while index > log.base().index {
            let Some(term) = log.term_at(index) else { break };
            match known.get_mut(&index) {
                Some((same, least)) if *same == term => {
                    let compared = *least <= by;
                    *least = by.min(*least);
                    // Then everything before was compared as well.
                    if compared {
                        break;
                    }
                }
                Some((other, _)) => differs = Some((index, term, *other)),
                None => drop(known.insert(index, (term, by))),
            }
            index = Index(index.0 - 1);
        }
        if let Some((index, term, other)) = differs {
            let told = format!(
                "group {group}, index {index}: of term {other}, and on node {node} of term {term}"
            );
            self.refuse("two entries are committed at one index", told);
        }
    }

    /// A message goes out.
    pub fn said(&mut self, group: GroupId, message: &Message) {
        let Message { from, to, term, body } = *message;
        if body == (Body::VoteReply { granted: true }) {
            let first = *self.votes.entry((group, term, from)).or_insert(to);
            if first != to {
                let told = format!("group {group}, term {term}: {from} for {first} and for {to}");
                self.refuse("a replica votes twice in a term", told);
            }
        }
    }

    /// An entry is applied; the digest is that of the state behind it.
    pub fn applied(&mut self, node: NodeId, group: GroupId, id: EntryId, digest: u64) {
        let EntryId { term, index } = id;
        let (of, was) = *self.applied.entry((group, index)).or_insert((term, digest));
        if of != term {
            let told =
                format!("group {group}, index {index}: of {of}, and on node {node} of {term}");
            self.refuse("two entries are applied at one index", told);
        } else if was != digest {
            let told =
                format!("group {group}, index {index}: {was:x}, and on node {node} {digest:x}");
            self.refuse("two replicas differ after the same entry", told);
        }
    }
}

/// Judges what was noted.
#[must_use]
pub fn check(violation: Option<&Violation>) -> Verdict {
    violation.map_or(Verdict::Holds, |violation| Verdict::Violated(violation.clone()))
}

fn canary() -> Verdict {
    let mut notes = Notes::default();
    let id = EntryId::new(2, 7);
    notes.applied(NodeId(1), GroupId(1), id, 5);
    notes.applied(NodeId(2), GroupId(1), id, 6);
    check(notes.violation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(to: u64) -> Message {
        let body = Body::VoteReply { granted: true };
        Message { from: ReplicaId(1), to: ReplicaId(to), term: Term(3), body }
    }

    #[test]
    fn a_vote_repeated_is_one_vote_and_another_one_is_not() {
        let mut notes = Notes::default();
        notes.said(GroupId(1), &vote(2));
        notes.said(GroupId(1), &vote(2));
        notes.said(GroupId(2), &vote(3));
        assert!(notes.violation().is_none());
        notes.said(GroupId(1), &vote(3));
        assert!(notes.violation().is_some_and(|violation| violation.symptom.contains("twice")));
    }

    #[test]
    fn two_entries_at_one_index_are_noticed() {
        let mut notes = Notes::default();
        notes.applied(NodeId(1), GroupId(1), EntryId::new(2, 7), 5);
        notes.applied(NodeId(1), GroupId(1), EntryId::new(3, 7), 5);
        assert!(notes.violation().is_some());
    }
}
