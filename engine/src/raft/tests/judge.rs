//! What must never happen, said by somebody who sees every replica, every disk and every promise.
//! Whoever breaks one of these laws is told its name:
//!
//! - election safety: a term has one leader;
//! - log matching: two logs with the same entry at an index are the same up to it;
//! - leader completeness: a leader has everything committed in terms before its own;
//! - state machine safety: no two replicas apply different entries at an index;
//! - same members: no two replicas know different members as of the same entry;
//! - committed stays committed: what was once known to be committed is never another entry;
//! - promises are on disks: a vote, the own one too, and an acknowledgement are given when the disk
//!   has them, and what a replica takes for durable stays on its disk whatever is on its way there;
//! - committed is on disks: when a leader commits, a majority's disks have it;
//! - one vote: a disk votes once in a term, under whatever number;
//! - nothing goes back: a commit index and a term do not, within a life;
//! - fresh reads: a read sees everything that anybody knew to be committed when it was asked.

use super::world::{Entry, Node, Pending};
use crate::raft::{Body, EntryId, Membership, Message, Raft, Role};
use crate::types::{Index, ReplicaId, Term};
use std::{collections::BTreeMap, format, string::String, sync::Arc};

#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    leaders: BTreeMap<Term, ReplicaId>,
    /// What is known to be committed, and the first term somebody knew it in.
    committed: BTreeMap<u64, (EntryId, Term)>,
    applied: BTreeMap<u64, Entry>,
    members: BTreeMap<u64, Membership>,
    /// By place, for a replica may get another number.
    seen: BTreeMap<usize, (Term, Index)>,
    votes: BTreeMap<usize, (Term, Option<ReplicaId>)>,
    /// The first sentence that was broken.
    pub(super) broken: Option<String>,
    /// Whether disks may lose what they had acknowledged: then only the logs are compared.
    pub(super) disks_rot: bool,
}

/// Whether a majority of the voters is such, and of the outgoing ones if there are. Counted here, for
/// the core's own arithmetic may be what is wrong.
fn decides(raft: &Raft, is_such: impl Fn(ReplicaId) -> bool) -> bool {
    let halves = [raft.membership().voters(), raft.membership().outgoing()];
    halves.iter().all(|half| {
        let count = half.iter().filter(|id| is_such(**id)).count();
        half.is_empty() || 2 * count > half.len()
    })
}

/// Whether the disk of a node has an entry, or a snapshot that covers it.
fn stores(node: &Node, id: EntryId) -> bool {
    node.disk.base.index >= id.index || node.disk.id_at(id.index.0) == Some(id)
}

impl Judge {
    pub(super) fn refuse(&mut self, sentence: String) {
        self.broken.get_or_insert(sentence);
    }

    /// Everything anybody knows to be committed.
    pub(super) fn floor(&self) -> Index {
        Index(self.committed.last_key_value().map_or(0, |(index, _)| *index))
    }

    /// A new life: its positions begin anew, and what its disk has promised stands.
    pub(super) fn life(&mut self, at: usize, raft: &Raft) {
        self.seen.remove(&at);
        self.votes.insert(at, (raft.term(), raft.vote()));
    }

    pub(super) fn read(&mut self, id: ReplicaId, index: Index, floor: Index) {
        if index < floor {
            self.refuse(format!(
                "fresh reads: {id} reads at {index}, {floor} was committed before"
            ));
        }
    }

    pub(super) fn applied(&mut self, id: ReplicaId, index: u64, entry: &Entry) {
        let first = self.applied.entry(index).or_insert_with(|| entry.clone());
        if first != entry {
            let text =
                format!("state machine safety: {id} applies {entry:?} at {index}, not {first:?}");
            self.refuse(text);
        }
    }

    /// The state of a replica is of this entry, and says who belongs to the group.
    pub(super) fn members(&mut self, id: ReplicaId, index: u64, members: &Membership) {
        let first = self.members.entry(index).or_insert_with(|| members.clone());
        if first != members {
            let text = format!("{id} knows {members} as of {index}, another {first}");
            self.refuse(format!("same members: {text}"));
        }
    }

    /// One replica has changed; looks at it, and at the others beside it.
    pub(super) fn look(&mut self, nodes: &[Arc<Node>], at: usize) {
        let Some(raft) = &nodes[at].raft else { return };
        raft.check();
        let vote = (raft.term(), raft.vote());
        if let Some((term, Some(given))) = self.votes.insert(at, vote)
            && term == vote.0
            && vote.1 != Some(given)
        {
            self.refuse(format!(
                "one vote: {} voted for {given} in term {term}, and again",
                raft.id()
            ));
        }
        let before = self.seen.insert(at, (raft.term(), raft.commit()));
        if let Some((term, commit)) = before {
            if raft.term() < term {
                self.refuse(format!("nothing goes back: the term of {} does", raft.id()));
            }
            if raft.commit() < commit {
                self.refuse(format!("nothing goes back: the commit index of {} does", raft.id()));
            }
        }
        let old = before.map_or(Index(0), |(_, commit)| commit);
        self.committed(raft, old);
        self.durable(raft, &nodes[at]);
        if raft.role() == Role::Leader {
            self.leader(raft, nodes, old);
        }
        for other in nodes.iter().filter_map(|node| node.raft.as_ref()) {
            if other.id() != raft.id() {
                self.matching(raft, other, nodes);
            }
        }
    }

    fn committed(&mut self, raft: &Raft, old: Index) {
        let from = old.0.max(raft.log().base().index.0);
        for index in from..=raft.commit().0 {
            let Some(id) = raft.log().id_at(Index(index)) else { continue };
            let known = self.committed.entry(index).or_insert((id, raft.term()));
            if known.0 != id {
                let text = format!(
                    "committed stays committed: {} commits {id}, {} was committed",
                    raft.id(),
                    known.0
                );
                self.refuse(text);
            }
        }
    }

    fn leader(&mut self, raft: &Raft, nodes: &[Arc<Node>], old: Index) {
        let holder = *self.leaders.entry(raft.term()).or_insert(raft.id());
        if holder != raft.id() {
            let text = format!(
                "election safety: term {} has two leaders, {holder} and {}",
                raft.term(),
                raft.id()
            );
            self.refuse(text);
        }
        let log = raft.log();
        let lost = self.committed.iter().rev().find(|(index, (id, term))| {
            *term < raft.term() && **index >= log.base().index.0 && !log.has(*id)
        });
        if let Some((_, (id, _))) = lost {
            let text = format!(
                "leader completeness: {} leads term {} without {id}",
                raft.id(),
                raft.term()
            );
            self.refuse(text);
        }
        if self.disks_rot {
            return;
        }
        let has = |of: ReplicaId| nodes.iter().find(|node| node.id == of);
        let voted = has(raft.id()).map(|node| (node.disk.hard.term, node.disk.hard.vote));
        let has_lied = has(raft.id()).is_some_and(|node| node.disk.has_lied);
        if voted != Some((raft.term(), Some(raft.id()))) && !has_lied {
            self.refuse(format!(
                "promises are on disks: {} leads by a vote that is not",
                raft.id()
            ));
        }
        if raft.commit() > old && old.0 > 0 {
            let id = log.id_at(raft.commit()).unwrap_or_default();
            if !decides(raft, |of| has(of).is_some_and(|node| stores(node, id))) {
                let text = format!("{} commits {id}, which is on no majority's", raft.id());
                self.refuse(format!("committed is on disks: {text}"));
            }
        }
    }

    /// A replica says something.
    pub(super) fn said(&mut self, node: &Node, message: &Message) {
        let hard = node.disk.hard;
        let is_kept = match message.body {
            Body::VoteReply { granted: true } => {
                hard.term > message.term
                    || (hard.term, hard.vote) == (message.term, Some(message.to))
            }
            Body::AppendAck { matched } => stores(node, matched),
            _ => true,
        };
        if !is_kept && !self.disks_rot && !node.disk.has_lied {
            let text = format!("{} says what its is not: {:?}", node.id, message.body);
            self.refuse(format!("promises are on disks: {text}"));
        }
    }

    /// What a replica takes for durable is on its disk, and nothing on its way there replaces it.
    fn durable(&mut self, raft: &Raft, node: &Node) {
        let (log, upto) = (raft.log(), raft.durable());
        if self.disks_rot || node.disk.has_lied {
            return;
        }
        let Some(id) = log.id_at(upto) else { return };
        let replaces = |pending: &Pending| match pending {
            Pending::Write { write, entries } => {
                let mut stored = (write.first.0..).zip(entries);
                let other = stored.any(|(at, entry)| {
                    at <= upto.0 && log.term_at(Index(at)).is_some_and(|t| t != entry.head.term)
                });
                other || write.cut && write.first <= upto
            }
            Pending::Install { .. } => false,
        };
        if !stores(node, id) || node.pending.iter().any(replaces) {
            let text = format!("{} takes {id} for durable, which is not", raft.id());
            self.refuse(format!("promises are on disks: {text}"));
        }
    }

    fn matching(&mut self, one: &Raft, two: &Raft, nodes: &[Arc<Node>]) {
        let (a, b) = (one.log(), two.log());
        let low = a.base().index.max(b.base().index).0;
        let high = a.last().index.min(b.last().index).0;
        let same = |index: &u64| {
            let id = a.id_at(Index(*index));
            id.is_some() && id == b.id_at(Index(*index))
        };
        let Some(top) = (low..=high).rev().find(same) else { return };
        let cache = |raft: &Raft| nodes.iter().find(|node| node.id == raft.id());
        let (left, right) = (cache(one), cache(two));
        let differs = (low..=top).find(|index| {
            let entry =
                |node: Option<&Arc<Node>>| node.and_then(|node| node.cache.get(index).cloned());
            let (l, r) = (entry(left), entry(right));
            !same(index) || l.is_some() && r.is_some() && l != r
        });
        if let Some(index) = differs {
            let text = format!(
                "log matching: those of {} and {} agree at {top} and differ at {index}",
                one.id(),
                two.id()
            );
            self.refuse(text);
        }
    }
}
