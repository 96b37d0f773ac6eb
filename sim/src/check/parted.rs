//! Parted: a replica whose state is not its peers' stops, and no other does.
//!
//! Replicas compare what they have applied by themselves (`trilith_engine`, `shard/compare.rs`). The
//! nodes of a cluster show every digest to a [`Sides`], which sees all of them, and is shown who has
//! stopped because of a comparison. At the end:
//! - where all replicas of a group stand at one entry and a majority has the same state, whoever has
//!   another one has stopped before;
//! - nobody has stopped over a group whose replicas never differed;
//! - whoever has stopped so has not applied anything since, unless its directory was emptied.
//!
//! Not here: that replicas never differ (`raft`); this is about what happens when they do.

use std::collections::{BTreeMap, BTreeSet};

use trilith_engine::types::{GroupId, Index, NodeId};

use super::{Judge, Verdict, Violation};

const NAME: &str = "parted";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "a replica whose state is not its peers' stops, and no other does",
    canary,
};

/// What has been seen of states, and who has stopped over them.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    /// The first digest behind each entry.
    first: BTreeMap<(GroupId, Index), u64>,
    /// Groups whose replicas have differed.
    differed: BTreeSet<GroupId>,
    /// How far each replica is, and its digest there.
    newest: BTreeMap<GroupId, BTreeMap<NodeId, (Index, u64)>>,
    stopped: BTreeSet<(NodeId, GroupId)>,
    /// Nodes with a directory that is not to be used any more, and whether they used it.
    given_up: BTreeMap<NodeId, bool>,
}

impl Sides {
    /// An entry is applied; the digest is that of the state behind it.
    pub fn applied(&mut self, node: NodeId, group: GroupId, at: Index, digest: u64) {
        if *self.first.entry((group, at)).or_insert(digest) != digest {
            self.differed.insert(group);
        }
        self.newest.entry(group).or_default().insert(node, (at, digest));
        if let Some(is_used) = self.given_up.get_mut(&node) {
            *is_used = true;
        }
    }

    /// A node has stopped because its state of a group is not its peers'.
    pub fn stopped(&mut self, node: NodeId, group: GroupId) {
        self.stopped.insert((node, group));
        self.given_up.entry(node).or_default();
    }

    /// The directory of a node was emptied.
    pub fn emptied(&mut self, node: NodeId) {
        self.given_up.remove(&node);
    }

    /// Judges, at the end of a run of so many nodes.
    #[must_use]
    pub fn check(&self, nodes: usize) -> Verdict {
        if let Some((node, group)) = self.stopped.iter().find(|(_, of)| !self.differed.contains(of))
        {
            let told = format!("node {node}, group {group}");
            return Verdict::violated(NAME, "a replica stopped though none differed", told);
        }
        if let Some((node, _)) = self.given_up.iter().find(|(_, is_used)| **is_used) {
            let symptom = "a replica comes back with a state that was given up";
            return Verdict::violated(NAME, symptom, format!("node {node}"));
        }
        for (group, newest) in &self.newest {
            let mut sides: BTreeMap<(Index, u64), Vec<NodeId>> = BTreeMap::new();
            for (node, state) in newest {
                sides.entry(*state).or_default().push(*node);
            }
            let entries: BTreeSet<Index> = sides.keys().map(|(at, _)| *at).collect();
            let most = sides.values().any(|side| side.len() > nodes / 2);
            if newest.len() < nodes || entries.len() > 1 || !most {
                continue;
            }
            let few = sides.values().filter(|side| side.len() <= nodes / 2).flatten();
            for node in few {
                if !self.stopped.iter().any(|(stopped, _)| stopped == node) {
                    let told = format!("node {node}, group {group}: {sides:x?}");
                    let symptom = "a replica that differs from most goes on";
                    return Verdict::Violated(Violation::new(NAME, symptom, told));
                }
            }
        }
        Verdict::Holds
    }
}

fn canary() -> Verdict {
    sides(&[(1, 5), (2, 5), (3, 6)]).check(3)
}

fn sides(digests: &[(u64, u64)]) -> Sides {
    let mut sides = Sides::default();
    for (node, digest) in digests {
        sides.applied(NodeId(*node), GroupId(1), Index(7), *digest);
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_differs_from_most_must_have_stopped_and_nobody_else() {
        assert_eq!(sides(&[(1, 5), (2, 5), (3, 5)]).check(3), Verdict::Holds);
        assert_eq!(sides(&[(1, 5), (2, 6), (3, 7)]).check(3), Verdict::Holds);
        let mut parted = sides(&[(1, 5), (2, 5), (3, 6)]);
        assert!(parted.check(3).violation().is_some());
        parted.stopped(NodeId(3), GroupId(1));
        assert_eq!(parted.check(3), Verdict::Holds);
        let mut emptied = parted.clone();
        parted.applied(NodeId(3), GroupId(1), Index(8), 6);
        assert!(parted.check(3).violation().is_some());
        emptied.emptied(NodeId(3));
        emptied.applied(NodeId(3), GroupId(1), Index(7), 5);
        assert_eq!(emptied.check(3), Verdict::Holds);
        let mut same = sides(&[(1, 5), (2, 5), (3, 5)]);
        same.stopped(NodeId(3), GroupId(1));
        assert!(same.check(3).violation().is_some());
    }
}
