//! What must never happen, said by somebody who sees every replica, every disk and every promise.
//!
//! - election safety: a term has one leader;
//! - log matching: two logs with the same entry at an index are the same up to it;
//! - leader completeness: a leader has everything committed in terms before its own;
//! - state machine safety: no two replicas apply different entries at an index;
//! - committed stays committed: what was once known to be committed is never another entry;
//! - committed is on disks: when a leader commits, a majority's disks have it;
//! - a commit index and a term never go back within a life;
//! - a read sees everything that anybody knew to be committed when it was asked.

use super::world::{Entry, Node};
use crate::raft::{EntryId, Raft, Role};
use crate::types::{Index, ReplicaId, Term};
use std::{collections::BTreeMap, format, string::String};

#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    leaders: BTreeMap<Term, ReplicaId>,
    /// What is known to be committed, and the first term somebody knew it in.
    committed: BTreeMap<u64, (EntryId, Term)>,
    applied: BTreeMap<u64, Entry>,
    seen: BTreeMap<ReplicaId, (Term, Index)>,
    /// The first sentence that was broken.
    pub(super) broken: Option<String>,
    /// Whether disks may lose what they had acknowledged: then only the logs are compared.
    pub(super) disks_rot: bool,
}

impl Judge {
    fn refuse(&mut self, sentence: String) {
        self.broken.get_or_insert(sentence);
    }

    /// Everything anybody knows to be committed.
    pub(super) fn floor(&self) -> Index {
        Index(self.committed.last_key_value().map_or(0, |(index, _)| *index))
    }

    /// A new life: its positions begin anew.
    pub(super) fn life(&mut self, node: &Node) {
        self.seen.remove(&node.id);
    }

    pub(super) fn read(&mut self, id: ReplicaId, index: Index, floor: Index) {
        if index < floor {
            self.refuse(format!("stale read: {id} reads at {index}, {floor} was committed before"));
        }
    }

    pub(super) fn applied(&mut self, id: ReplicaId, index: u64, entry: &Entry) {
        let first = self.applied.entry(index).or_insert_with(|| entry.clone());
        if first != entry {
            let text =
                format!("state machines differ: {id} applies {entry:?} at {index}, not {first:?}");
            self.refuse(text);
        }
    }

    /// One replica has changed; looks at it, and at the others beside it.
    pub(super) fn look(&mut self, nodes: &[Node], at: usize) {
        let Some(raft) = &nodes[at].raft else { return };
        raft.check();
        let before = self.seen.insert(nodes[at].id, (raft.term(), raft.commit()));
        if let Some((term, commit)) = before {
            if raft.term() < term {
                self.refuse(format!("the term of {} goes back", raft.id()));
            }
            if raft.commit() < commit {
                self.refuse(format!("the commit index of {} goes back", raft.id()));
            }
        }
        let old = before.map_or(Index(0), |(_, commit)| commit);
        self.committed(raft, old);
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
                let text = format!("{} commits {id}, {} was committed", raft.id(), known.0);
                self.refuse(text);
            }
        }
    }

    fn leader(&mut self, raft: &Raft, nodes: &[Node], old: Index) {
        let holder = *self.leaders.entry(raft.term()).or_insert(raft.id());
        if holder != raft.id() {
            let text = format!("term {} has two leaders, {holder} and {}", raft.term(), raft.id());
            self.refuse(text);
        }
        let log = raft.log();
        let lost = self.committed.iter().rev().find(|(index, (id, term))| {
            *term < raft.term() && **index >= log.base().index.0 && !log.has(*id)
        });
        if let Some((_, (id, _))) = lost {
            let text = format!("{} leads term {} without {id}", raft.id(), raft.term());
            self.refuse(text);
        }
        if raft.commit() > old && old.0 > 0 && !self.disks_rot {
            let id = log.id_at(raft.commit()).unwrap_or_default();
            let has = |of: ReplicaId| {
                let node = nodes.iter().find(|node| node.id == of);
                node.is_some_and(|node| {
                    let disk = &node.disk;
                    disk.base.index >= id.index || disk.id_at(id.index.0) == Some(id)
                })
            };
            let holders = raft.membership().reached(|of| u64::from(has(of)));
            if holders == 0 {
                self.refuse(format!("{} commits {id}, which is on no majority's disks", raft.id()));
            }
        }
    }

    fn matching(&mut self, one: &Raft, two: &Raft, nodes: &[Node]) {
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
            let entry = |node: Option<&Node>| node.and_then(|node| node.cache.get(index).cloned());
            let (l, r) = (entry(left), entry(right));
            !same(index) || l.is_some() && r.is_some() && l != r
        });
        if let Some(index) = differs {
            let text = format!(
                "the logs of {} and {} agree at {top} and differ at {index}",
                one.id(),
                two.id()
            );
            self.refuse(text);
        }
    }
}
