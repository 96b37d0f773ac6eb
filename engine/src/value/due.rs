//! Keys that are over, found without a look at the others.
//!
//! Each node of the index says when the first of its keys is over, or something earlier:
//! ```text
//!   change         lowers what the nodes on its way say, and raises nothing
//!   who looks      goes only where that has passed, and says exactly how it is where he has been
//! ```
//! So what is not over costs nothing, and what was overwritten before it was over costs one look.
//! To say it exactly changes nothing of what a node holds: who has a snapshot shares that.
//!
//! Invariant: no key below a node is over before the node says.
//!
//! Not here: what becomes of such keys (`indexed.rs`), by whose time (`shard/expiry.rs`).

use alloc::{sync::Arc, vec::Vec};
use core::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    leaf::{Leaf, Place},
    tree::{Node, Tree},
};

/// When the first of some keys is over, or something earlier.
#[derive(Debug)]
pub(super) struct Soonest(AtomicU64);

/// No key is ever over.
const NEVER: u64 = u64::MAX;

impl Default for Soonest {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Clone for Soonest {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}

impl Soonest {
    pub(super) fn of_places<'a>(places: impl IntoIterator<Item = &'a Place>) -> Self {
        let each = places.into_iter().map(|place| over_ms(place.expires_ms));
        Self(AtomicU64::new(each.min().unwrap_or(NEVER)))
    }

    pub(super) fn of_nodes(nodes: &[Arc<Node>]) -> Self {
        let each = nodes.iter().map(|node| node.soonest());
        Self(AtomicU64::new(each.min().unwrap_or(NEVER)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// A key that is over then is among them from now on.
    pub(super) fn lower(&mut self, expires_ms: Option<NonZeroU64>) {
        let soonest = self.0.get_mut();
        *soonest = over_ms(expires_ms).min(*soonest);
    }

    /// Says what was seen to be so.
    fn set(&self, exactly: u64) {
        self.0.store(exactly, Relaxed);
    }
}

fn over_ms(expires_ms: Option<NonZeroU64>) -> u64 {
    expires_ms.map_or(NEVER, NonZeroU64::get)
}

/// How much is looked at before others get their turn, and what is found meanwhile.
struct Look<F> {
    now_ms: u64,
    left: usize,
    each: F,
}

/// What a look at a leaf takes, in keys that are found.
const LEAF_TAKES: usize = 8;

impl<F: FnMut(&Leaf, usize, Place)> Look<F> {
    /// Whether all below a node was seen.
    fn at(&mut self, node: &Node) -> bool {
        if node.soonest() > self.now_ms {
            return true;
        }
        if self.left == 0 {
            return false;
        }
        match node {
            Node::Leaf(leaf) => {
                self.left = self.left.saturating_sub(LEAF_TAKES);
                let mut soonest = NEVER;
                for index in 0..leaf.keys.len() {
                    let place = leaf.place(index);
                    soonest = over_ms(place.expires_ms).min(soonest);
                    if place.is_expired(self.now_ms) {
                        self.left = self.left.saturating_sub(1);
                        (self.each)(leaf, index, place);
                    }
                }
                leaf.says(soonest);
            }
            Node::Inner(inner) => {
                if !inner.children.iter().all(|child| self.at(child)) {
                    return false;
                }
                let soonest = inner.children.iter().map(|child| child.soonest()).min();
                inner.soonest.set(soonest.unwrap_or(NEVER));
            }
        }
        true
    }
}

impl Leaf {
    fn says(&self, soonest: u64) {
        if let Some(says) = self.soonest() {
            says.set(soonest);
        }
    }
}

impl Node {
    /// When the first key below it is over, or something earlier.
    pub(super) fn soonest(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.soonest().map_or(NEVER, Soonest::get),
            Self::Inner(inner) => inner.soonest.get(),
        }
    }
}

/// Keys that are over, each with where its record lies.
pub(super) type Over = Vec<(Vec<u8>, Place)>;

impl Tree {
    /// When the first of its keys is over, or something earlier; `None` when none ever is.
    #[must_use]
    pub fn soonest(&self) -> Option<u64> {
        Some(self.root().soonest()).filter(|soonest| *soonest < NEVER)
    }

    /// Keys that are over by then, about `most` of them, and whether that is all. Who asks for more
    /// takes these out first.
    #[must_use]
    pub fn over(&self, now_ms: u64, most: usize) -> (Over, bool) {
        let mut found = Over::new();
        let each = |leaf: &Leaf, index, place| {
            let mut key = Vec::new();
            leaf.keys.write(index, &mut key);
            found.push((key, place));
        };
        let is_all = Look { now_ms, left: most, each }.at(self.root());
        (found, is_all)
    }

    /// How many of its keys are over by then. It looks at all of those.
    #[must_use]
    pub fn count_over(&self, now_ms: u64) -> usize {
        let mut count = 0;
        Look { now_ms, left: usize::MAX, each: |_: &Leaf, _, _| count += 1 }.at(self.root());
        count
    }
}
