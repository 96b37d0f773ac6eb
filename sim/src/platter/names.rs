//! Names: what the operating system shows, what the medium holds, and the changes in between.
//!
//! Each change to a name is pending in the directories it touches until all of these are synced.
//! A power loss keeps or loses each pending change by itself, in order; a rename is one change, so
//! it never leaves a file without any name. What hangs below a directory whose own name is lost,
//! is lost with it, synced or not.

use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// One change of names that no sync of its directory has covered yet.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// This name goes, if it still stands for this.
    unbind: Option<(String, Node)>,
    /// This name comes, in place of what it stood for.
    bind: Option<(String, Node)>,
    /// The directories that have not been synced since.
    dirs: Vec<String>,
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.unbind.iter().chain(&self.bind).map(|(name, _)| name.as_str())
    }

    /// Whether both change the same name.
    fn touches(&self, other: &Self) -> bool {
        self.names().any(|name| other.names().any(|theirs| theirs == name))
    }

    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        if let Some((name, node)) = &self.unbind
            && names.get(name) == Some(node)
        {
            names.remove(name);
        }
        if let Some((name, node)) = &self.bind {
            names.insert(name.clone(), *node);
        }
    }
}

/// All names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// What the operating system shows.
    pub(super) now: BTreeMap<String, Node>,
    /// What is certain to survive.
    pub(super) kept: BTreeMap<String, Node>,
    /// What lies between, in order.
    pub(super) pending: Vec<Change>,
}

/// The directory a name is in.
pub(super) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Names {
    fn change(&mut self, unbind: Option<(String, Node)>, bind: Option<(String, Node)>) {
        let mut dirs: Vec<String> =
            unbind.iter().chain(&bind).map(|(name, _)| parent(name).to_owned()).collect();
        dirs.dedup();
        let change = Change { unbind, bind, dirs };
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn bind(&mut self, name: &str, node: Node) {
        self.change(None, Some((name.to_owned(), node)));
    }

    pub(super) fn unbind(&mut self, name: &str, node: Node) {
        self.change(Some((name.to_owned(), node)), None);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, node: Node) {
        self.change(Some((from.to_owned(), node)), Some((to.to_owned(), node)));
    }

    /// Makes the changes in a directory certain. A change of a name carries along the earlier
    /// changes of that name, though another directory of theirs is not synced yet: what is certain
    /// must not be undone by something older.
    pub(super) fn sync(&mut self, dir: &str) {
        for change in &mut self.pending {
            change.dirs.retain(|pending| pending != dir);
        }
        let mut done = vec![false; self.pending.len()];
        for (index, change) in self.pending.iter().enumerate().rev() {
            if change.dirs.is_empty() {
                done[index] = true;
            }
            if done[index] {
                for (earlier, other) in self.pending[..index].iter().enumerate() {
                    done[earlier] |= change.touches(other);
                }
            }
        }
        let pending = std::mem::take(&mut self.pending);
        for (change, done) in pending.into_iter().zip(done) {
            if done {
                change.apply(&mut self.kept);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// The names after a power loss that spares the pending changes `keep` says yes to.
    pub(super) fn after_loss(&self, mut keep: impl FnMut(usize) -> bool) -> BTreeMap<String, Node> {
        let mut names = self.kept.clone();
        for (index, change) in self.pending.iter().enumerate() {
            if keep(index) {
                change.apply(&mut names);
            }
        }
        // Sorted order has a directory before what is in it, so one pass sees every orphan.
        let mut whole: BTreeMap<String, Node> = BTreeMap::new();
        for (name, node) in names {
            if name.is_empty() || whole.get(parent(&name)) == Some(&Node::Dir) {
                whole.insert(name, node);
            }
        }
        whole
    }

    /// All is as it is shown, nothing is pending.
    pub(super) fn settle(&mut self, names: BTreeMap<String, Node>) {
        self.now.clone_from(&names);
        self.kept = names;
        self.pending.clear();
    }

    /// The files that some outcome of a power loss still names.
    pub(super) fn reachable(&self) -> impl Iterator<Item = u64> + '_ {
        let bound = self.pending.iter().filter_map(|change| change.bind.as_ref());
        self.kept.values().chain(bound.map(|(_, node)| node)).filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir => None,
        })
    }

    /// What a directory holds, in order of name.
    pub(super) fn list(&self, dir: &str) -> impl Iterator<Item = (&str, Node)> + '_ {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let skip = prefix.len();
        self.now
            .range(prefix.clone()..)
            .take_while(move |(name, _)| name.starts_with(&prefix))
            .map(move |(name, node)| (&name[skip..], *node))
            .filter(|(rest, _)| !rest.is_empty() && !rest.contains('/'))
    }
}
