//! The index: every live key of a group in order, and where its record lies.
//!
//! A B+tree whose leaves are packed buffers (`leaf.rs`, `keys.rs`) and whose nodes are shared by
//! reference count. Cloning a [`Tree`] clones the root's reference: that is a snapshot, at once and
//! for good. A change takes its path: a node nobody else holds is changed in place, a shared one is
//! copied first. So a tree without snapshots behaves like an ordinary B+tree, one with a snapshot
//! pays a copy per node it touches, once.
//!
//! ```text
//!            [ "m" ]                 inner: n children, n-1 separators
//!           /       \
//!   [ "c" "g" ]    [ "t" ]           a separator is the shortest key that is above its left
//!    /   |   \      /   \            neighbour and not above its right one
//!  leaf leaf leaf leaf leaf          leaf: up to 192 keys, 8 KiB of key bytes
//! ```
//!
//! Invariants: keys ascend over all leaves; every key under child i is at least separator i-1 and
//! below separator i; `len` and `bytes` are what a walk would count; a snapshot never changes.
//!
//! Not here: values (they stay on disk), versions' meaning (`engine.rs`), keys that are over (`due.rs`).

use alloc::{sync::Arc, vec, vec::Vec};
use core::ops::{Bound, Range};

use super::{
    due::Soonest,
    keys::{Flat, Keys, common},
    leaf::{Leaf, Place},
};
use crate::planted;

/// Keys in a leaf. More would make a change move more bytes, fewer would cost memory: about 100
/// bytes a leaf are not keys.
const LEAF_KEYS_MAX: usize = 192;
/// Children of an inner node. Copying one touches the count of every child, so it is kept low.
const CHILDREN_MAX: usize = 48;
/// Key bytes of a node beyond the common prefix; longer keys make for fewer of them, so that a
/// node is copied in a microsecond whatever the keys are. A single key may be longer.
const REST_BYTES_MAX: usize = 8 << 10;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inner {
    separators: Keys,
    pub(super) children: Vec<Arc<Node>>,
    pub(super) soonest: Soonest,
}

/// A node that came to be on the right of another, and the separator between them.
#[derive(Debug)]
struct Right {
    separator: Vec<u8>,
    node: Arc<Node>,
}

impl Node {
    /// What the node costs: its allocation, two counts, and what it owns.
    const fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.heap_bytes()
    }

    const fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.heap_bytes(),
            Self::Inner(inner) => {
                inner.separators.heap_bytes() + inner.children.capacity() * size_of::<usize>()
            }
        }
    }

    /// Keys of a leaf, children of an inner node; and the most there may be.
    const fn fill(&self) -> (usize, usize) {
        match self {
            Self::Leaf(leaf) => (leaf.keys.len(), LEAF_KEYS_MAX),
            Self::Inner(inner) => (inner.children.len(), CHILDREN_MAX),
        }
    }
}

impl Inner {
    fn new(separators: Keys, children: Vec<Arc<Node>>) -> Self {
        let soonest = Soonest::of_nodes(&children);
        Self { separators, children, soonest }
    }

    /// Which child covers `key`.
    fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }
}

/// Halves `0..len` until every part fits a node.
fn cut(len: usize, middle: usize, fits: impl Fn(&Range<usize>) -> bool) -> Vec<Range<usize>> {
    let whole = 0..len;
    if fits(&whole) {
        return vec![whole];
    }
    let mut done = Vec::new();
    let mut open = vec![middle..len, 0..middle];
    while let Some(range) = open.pop() {
        if range.len() <= 1 || fits(&range) {
            done.push(range);
        } else {
            let middle = range.start.midpoint(range.end);
            open.push(middle..range.end);
            open.push(range.start..middle);
        }
    }
    done
}

fn leaf_fits(flat: &Flat, range: &Range<usize>) -> bool {
    range.len() <= 1 || (range.len() <= LEAF_KEYS_MAX && flat.rest_bytes(range) <= REST_BYTES_MAX)
}

/// Whether these children and the separators between them fit a node.
fn children_fit(flat: &Flat, range: &Range<usize>) -> bool {
    range.len() <= CHILDREN_MAX && flat.rest_bytes(&between(range)) <= REST_BYTES_MAX
}

/// The separators between these children.
const fn between(children: &Range<usize>) -> Range<usize> {
    children.start..children.end.saturating_sub(1)
}

/// The shortest key above `left` that is not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    right[..(common(left, right) + 1).min(right.len())].to_vec()
}

/// A leaf with one more key than fits it, as one leaf or several.
fn split_leaf(leaf: &Leaf, index: usize, key: &[u8], place: Place) -> (Leaf, Vec<Right>) {
    let mut flat = Flat::default();
    flat.push_all(&leaf.keys, 0..index);
    flat.push(key);
    flat.push_all(&leaf.keys, index..leaf.keys.len());
    let mut places = leaf.places();
    places.insert(index, place);
    // Keys that come in order arrive at the right end: leave the left leaf full behind them.
    let middle = if index + 1 == flat.len() { index } else { flat.len() / 2 };
    let mut parts = cut(flat.len(), middle, |range| leaf_fits(&flat, range)).into_iter();
    let part = |range: Range<usize>| Leaf::new(flat.pack(range.clone()), &places[range]);
    let first = parts.next().map(part).unwrap_or_default();
    let rights = parts
        .map(|range| Right {
            separator: separator(flat.get(range.start - 1), flat.get(range.start)),
            node: Arc::new(Node::Leaf(part(range))),
        })
        .collect();
    (first, rights)
}

/// Children in order, with the separators between them: as one inner node or several, and between
/// two of those the separator that goes up.
fn inner_nodes(flat: &Flat, children: &[Arc<Node>], middle: usize) -> (Inner, Vec<Right>) {
    let part =
        |range: Range<usize>| Inner::new(flat.pack(between(&range)), children[range].to_vec());
    let parts = cut(children.len(), middle, |range| children_fit(flat, range));
    let mut parts = parts.into_iter();
    let first = parts.next().map(part).unwrap_or_default();
    let rights = parts
        .map(|range| Right {
            separator: flat.get(range.start - 1).to_vec(),
            node: Arc::new(Node::Inner(part(range))),
        })
        .collect();
    (first, rights)
}

/// Takes in what child `index` became beside itself; answers what this node became beside itself.
fn adopt(inner: &mut Inner, index: usize, rights: Vec<Right>) -> Vec<Right> {
    let rights = match <[Right; 1]>::try_from(rights) {
        Ok([right]) => {
            let room = inner.children.len() < CHILDREN_MAX
                && inner.separators.rest_bytes() + right.separator.len() <= REST_BYTES_MAX;
            if room && inner.separators.insert(index, &right.separator) {
                if inner.children.len() == inner.children.capacity() {
                    inner.children.reserve_exact(4);
                }
                inner.children.insert(index + 1, right.node);
                return Vec::new();
            }
            vec![right]
        }
        Err(rights) => rights,
    };
    let mut flat = Flat::default();
    flat.push_all(&inner.separators, 0..index);
    rights.iter().for_each(|right| flat.push(&right.separator));
    flat.push_all(&inner.separators, index..inner.separators.len());
    let mut children = core::mem::take(&mut inner.children);
    let middle = if index + 1 == children.len() { index + 1 } else { children.len() / 2 };
    children.splice(index + 1..index + 1, rights.into_iter().map(|right| right.node));
    let (first, above) = inner_nodes(&flat, &children, middle);
    *inner = first;
    above
}

/// Joins a child that has become small with a neighbour, if the two fit one node.
fn tend(inner: &mut Inner, index: usize, bytes: &mut usize) {
    let (fill, most) = inner.children[index].fill();
    if fill >= most / 4 || inner.children.len() == 1 {
        return;
    }
    let left = if index + 1 < inner.children.len() { index } else { index - 1 };
    let (one, other) = (&inner.children[left], &inner.children[left + 1]);
    let (one_fill, other_fill) = (one.fill().0, other.fill().0);
    if one_fill + other_fill > most / 4 * 3 && one_fill.min(other_fill) > 0 {
        return;
    }
    let Some(joined) = join(&inner.separators, left, one, other) else { return };
    *bytes -= one.bytes() + other.bytes();
    *bytes += joined.bytes();
    inner.children[left] = Arc::new(joined);
    inner.children.remove(left + 1);
    inner.separators.remove(left);
}

/// Two neighbours as one node, if they fit.
fn join(separators: &Keys, left: usize, one: &Node, other: &Node) -> Option<Node> {
    let mut flat = Flat::default();
    match (one, other) {
        (Node::Leaf(one), Node::Leaf(other)) => {
            flat.push_all(&one.keys, 0..one.keys.len());
            flat.push_all(&other.keys, 0..other.keys.len());
            let mut places = one.places();
            places.extend(other.places());
            let whole = 0..flat.len();
            leaf_fits(&flat, &whole).then(|| Node::Leaf(Leaf::new(flat.pack(whole), &places)))
        }
        (Node::Inner(one), Node::Inner(other)) => {
            flat.push_all(&one.separators, 0..one.separators.len());
            flat.push_all(separators, left..left + 1);
            flat.push_all(&other.separators, 0..other.separators.len());
            let children: Vec<_> = one.children.iter().chain(&other.children).cloned().collect();
            let whole = 0..children.len();
            children_fit(&flat, &whole)
                .then(|| Node::Inner(Inner::new(flat.pack(between(&whole)), children)))
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("all leaves lie at one depth")
        }
    }
}

/// The index of one group. A clone is a snapshot.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
    len: usize,
    bytes: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        let root = Node::Leaf(Leaf::default());
        let bytes = root.bytes();
        Self { root: Arc::new(root), len: 0, bytes }
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// How many keys it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory it takes, without what an allocator adds. Nodes shared with a snapshot count
    /// in each.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Place> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
                Node::Leaf(leaf) => {
                    return leaf.keys.search(key).ok().map(|index| leaf.place(index));
                }
            }
        }
    }

    /// Sets the place of a key and answers the one it had.
    pub fn insert(&mut self, key: &[u8], place: Place) -> Option<Place> {
        let mut bytes = self.bytes;
        let (old, rights) = insert(&mut self.root, key, place, &mut bytes);
        if !rights.is_empty() {
            self.grow(rights, &mut bytes);
        }
        self.bytes = bytes;
        self.len += usize::from(old.is_none());
        old
    }

    /// The root became several nodes: puts a new one above them.
    fn grow(&mut self, rights: Vec<Right>, bytes: &mut usize) {
        let mut level = vec![Right { separator: Vec::new(), node: Arc::clone(&self.root) }];
        level.extend(rights);
        self.root = crown(level, bytes);
    }

    /// Takes a key out and answers its place.
    pub fn remove(&mut self, key: &[u8]) -> Option<Place> {
        let old = self.get(key)?;
        let mut bytes = self.bytes;
        remove(&mut self.root, key, &mut bytes);
        // A root with one child is no use.
        while let Node::Inner(inner) = &*self.root
            && let [only] = &*inner.children
        {
            bytes -= self.root.bytes();
            self.root = Arc::clone(only);
        }
        self.bytes = bytes;
        self.len -= 1;
        Some(old)
    }

    /// Walks the keys between two bounds in order.
    #[must_use]
    pub fn range<'t>(&'t self, start: Bound<&[u8]>, end: Bound<&'t [u8]>) -> Cursor<'t> {
        let sought: &[u8] = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let mut path = Vec::with_capacity(5);
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let child = inner.child_of(sought);
                    path.push((inner, child));
                    node = &inner.children[child];
                }
                Node::Leaf(leaf) => {
                    let at = match (leaf.keys.search(sought), start) {
                        (Ok(index), Bound::Excluded(_)) => index + 1,
                        (Ok(index) | Err(index), _) => index,
                    };
                    return Cursor { path, leaf, at, end, key: Vec::new() };
                }
            }
        }
    }
}

/// Puts inner nodes above a row of nodes until there is one root.
fn crown(mut level: Vec<Right>, bytes: &mut usize) -> Arc<Node> {
    while level.len() > 1 {
        let mut flat = Flat::default();
        let mut lowest = Vec::new();
        let mut children = Vec::with_capacity(level.len());
        for (nth, right) in level.into_iter().enumerate() {
            if nth == 0 {
                lowest = right.separator;
            } else {
                flat.push(&right.separator);
            }
            children.push(right.node);
        }
        level = rows(&flat, &children)
            .into_iter()
            .map(|range| Right {
                separator: match range.start.checked_sub(1) {
                    None => core::mem::take(&mut lowest),
                    Some(before) => flat.get(before).to_vec(),
                },
                node: Arc::new(Node::Inner(Inner::new(
                    flat.pack(between(&range)),
                    children[range].to_vec(),
                ))),
            })
            .collect();
        *bytes += level.iter().map(|right| right.node.bytes()).sum::<usize>();
    }
    level.pop().map_or_else(|| Arc::new(Node::Leaf(Leaf::default())), |only| only.node)
}

/// Children in rows that each fill a node: what halving would leave half empty.
fn rows(flat: &Flat, children: &[Arc<Node>]) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    let mut start = 0;
    for end in 1..=children.len() {
        // Two children fit whatever their separator is, so that every level is half of the last.
        let full = end - start > 2 && !children_fit(flat, &(start..end));
        if full {
            rows.push(start..end - 1);
            start = end - 1;
        }
    }
    rows.push(start..children.len());
    rows
}

/// Builds a tree from keys that come in order, each once: no searching, full leaves.
#[derive(Debug, Default)]
pub struct Builder {
    flat: Flat,
    places: Vec<Place>,
    level: Vec<Right>,
    last: Vec<u8>,
    len: usize,
    bytes: usize,
}

impl Builder {
    /// Whether a key may be the next one.
    #[must_use]
    pub fn takes(&self, key: &[u8]) -> bool {
        self.len == 0 || self.last.as_slice() < key
    }

    /// The next key, above all before it.
    ///
    /// # Panics
    /// When the key is not above the last one.
    pub fn push(&mut self, key: &[u8], place: Place) {
        let n = self.flat.len();
        assert!(self.takes(key), "a tree is built from keys in order, each once");
        if n == LEAF_KEYS_MAX || self.flat.rest_bytes_with(key) > REST_BYTES_MAX {
            self.flush();
        }
        if self.flat.len() == 0 {
            let separator = if self.len == 0 { Vec::new() } else { separator(&self.last, key) };
            self.level.push(Right { separator, node: Arc::new(Node::Inner(Inner::default())) });
        }
        self.flat.push(key);
        self.places.push(place);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.len += 1;
    }

    fn flush(&mut self) {
        let Some(right) = self.level.last_mut() else { return };
        let keys = self.flat.pack(0..self.flat.len());
        let node = Node::Leaf(Leaf::new(keys, &self.places));
        self.bytes += node.bytes();
        right.node = Arc::new(node);
        self.flat.clear();
        self.places.clear();
    }

    /// The tree of all keys pushed.
    #[must_use]
    pub fn finish(mut self) -> Tree {
        if self.len == 0 {
            return Tree::new();
        }
        self.flush();
        let mut bytes = self.bytes;
        let root = crown(self.level, &mut bytes);
        Tree { root, len: self.len, bytes }
    }
}

/// A walk over keys in order. It lends each key until the next one.
#[derive(Debug)]
pub struct Cursor<'t> {
    path: Vec<(&'t Inner, usize)>,
    leaf: &'t Leaf,
    at: usize,
    end: Bound<&'t [u8]>,
    key: Vec<u8>,
}

impl Cursor<'_> {
    /// The next key and its place.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it owns")]
    pub fn next(&mut self) -> Option<(&[u8], Place)> {
        while self.at == self.leaf.keys.len() {
            self.turn_page()?;
        }
        self.key.clear();
        self.leaf.keys.write(self.at, &mut self.key);
        let within = match self.end {
            Bound::Included(end) => self.key.as_slice() <= end,
            Bound::Excluded(end) => self.key.as_slice() < end,
            Bound::Unbounded => true,
        };
        if !within {
            return None;
        }
        let place = self.leaf.place(self.at);
        self.at += 1;
        Some((&self.key, place))
    }

    /// Goes to the next leaf, if there is one.
    fn turn_page(&mut self) -> Option<()> {
        let mut node = loop {
            let (inner, child) = self.path.pop()?;
            if let Some(next) = inner.children.get(child + 1) {
                self.path.push((inner, child + 1));
                break &**next;
            }
        };
        loop {
            match node {
                Node::Inner(inner) => {
                    self.path.push((inner, 0));
                    node = &*inner.children[0];
                }
                Node::Leaf(leaf) => {
                    (self.leaf, self.at) = (leaf, 0);
                    return Some(());
                }
            }
        }
    }
}

fn insert(
    arc: &mut Arc<Node>,
    key: &[u8],
    place: Place,
    bytes: &mut usize,
) -> (Option<Place>, Vec<Right>) {
    *bytes -= arc.bytes();
    let node = Arc::make_mut(arc);
    let done = match node {
        Node::Leaf(leaf) => match leaf.keys.search(key) {
            Ok(index) => {
                let old = leaf.place(index);
                leaf.set(index, place);
                (Some(old), Vec::new())
            }
            Err(index) => {
                let full = leaf.keys.len() >= LEAF_KEYS_MAX
                    || leaf.keys.rest_bytes() + key.len() > REST_BYTES_MAX;
                if !full && leaf.insert(index, key, place) {
                    (None, Vec::new())
                } else {
                    let (first, rights) = split_leaf(leaf, index, key, place);
                    *leaf = first;
                    (None, rights)
                }
            }
        },
        Node::Inner(inner) => {
            let child = inner.child_of(key);
            let (old, rights) = insert(&mut inner.children[child], key, place, bytes);
            if !planted!("index_does_not_say_what_is_over_first") {
                inner.soonest.lower(place.expires_ms);
            }
            let above = if rights.is_empty() { rights } else { adopt(inner, child, rights) };
            (old, above)
        }
    };
    *bytes += arc.bytes() + done.1.iter().map(|right| right.node.bytes()).sum::<usize>();
    done
}

/// Takes a key out that is known to be there.
fn remove(arc: &mut Arc<Node>, key: &[u8], bytes: &mut usize) {
    *bytes -= arc.bytes();
    match Arc::make_mut(arc) {
        Node::Leaf(leaf) => {
            if let Ok(index) = leaf.keys.search(key) {
                leaf.remove(index);
            }
        }
        Node::Inner(inner) => {
            let child = inner.child_of(key);
            remove(&mut inner.children[child], key, bytes);
            tend(inner, child, bytes);
        }
    }
    *bytes += arc.bytes();
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use core::num::NonZeroU64;
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Loc, SegmentId, Version};

    type Model = BTreeMap<Vec<u8>, Place>;

    fn place(version: u64) -> Place {
        let word = u32::try_from(version & 0xffff).expect("16 bits");
        Place {
            loc: Loc { segment: SegmentId(word), offset_words: word ^ 7, len: word + 1 },
            version: Version(version),
            expires_ms: NonZeroU64::new(if version % 7 == 5 { version } else { 0 }),
        }
    }

    fn listed(tree: &Tree, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Vec<(Vec<u8>, Place)> {
        let mut cursor = tree.range(start, end);
        let mut all = Vec::new();
        while let Some((key, place)) = cursor.next() {
            all.push((key.to_vec(), place));
        }
        all
    }

    /// Walks the tree: order, bounds of each child, depth, and what it says about itself.
    fn check(tree: &Tree) {
        fn walk(node: &Node, low: &[u8], high: Option<&[u8]>, sums: &mut [usize; 2]) -> usize {
            sums[1] += node.bytes();
            let write = |keys: &Keys, index| {
                let mut key = Vec::new();
                keys.write(index, &mut key);
                key
            };
            match node {
                Node::Leaf(leaf) => {
                    sums[0] += leaf.keys.len();
                    let mut last: Option<Vec<u8>> = None;
                    for index in 0..leaf.keys.len() {
                        let key = write(&leaf.keys, index);
                        assert!(low <= &*key && high.is_none_or(|high| &*key < high));
                        assert!(last.is_none_or(|last| last < key), "keys ascend");
                        last = Some(key);
                    }
                    1
                }
                Node::Inner(inner) => {
                    let n = inner.children.len();
                    assert_eq!(inner.separators.len() + 1, n);
                    let separators: Vec<_> =
                        (0..n - 1).map(|i| write(&inner.separators, i)).collect();
                    let mut depths = inner.children.iter().enumerate().map(|(i, child)| {
                        let low = i.checked_sub(1).map_or(low, |before| &separators[before]);
                        let high = separators.get(i).map(Vec::as_slice).or(high);
                        walk(child, low, high, sums)
                    });
                    let depth = depths.next().expect("a child");
                    assert!(depths.all(|other| other == depth), "all leaves lie at one depth");
                    depth + 1
                }
            }
        }
        let mut sums = [0; 2];
        walk(&tree.root, &[], None, &mut sums);
        assert_eq!(sums, [tree.len(), tree.bytes()]);
        says_no_later(&tree.root);
    }

    /// Each node says when the first of its keys is over, or something earlier. Answers when it is.
    fn says_no_later(node: &Node) -> u64 {
        let first = match node {
            Node::Leaf(leaf) => Soonest::of_places(&leaf.places()).get(),
            Node::Inner(inner) => {
                let each = inner.children.iter().map(|child| says_no_later(child));
                each.min().expect("a child")
            }
        };
        assert!(node.soonest() <= first, "{} is later than {first}", node.soonest());
        first
    }

    /// Takes out what is over by then, a little at a time, and answers how much that was.
    fn expire(tree: &mut Tree, now_ms: u64) -> usize {
        let mut count = 0;
        loop {
            let (over, is_all) = tree.over(now_ms, 20);
            count += over.len();
            for (key, place) in over {
                assert!(place.is_expired(now_ms));
                assert_eq!(tree.remove(&key), Some(place));
            }
            if is_all {
                return count;
            }
        }
    }

    fn same(tree: &Tree, model: &Model) {
        check(tree);
        let all: Vec<_> = model.iter().map(|(key, place)| (key.clone(), *place)).collect();
        assert_eq!(listed(tree, Bound::Unbounded, Bound::Unbounded), all);
    }

    /// Keys of every shape: tiny, of one prefix, long, and random.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => prop::collection::vec(0_u8..3, 0..4),
            3 => (0_u32..4000).prop_map(|n| std::format!("user:{n:08}").into_bytes()),
            3 => any::<u64>().prop_map(|n| n.to_be_bytes().to_vec()),
            1 => (0_usize..6000, 0_u8..9).prop_map(|(len, end)| {
                let mut key = vec![b'k'; len];
                key.push(end);
                key
            }),
            1 => Just(vec![7; usize::from(u16::MAX)]),
            1 => (0_u8..9).prop_map(|n| vec![n; usize::from(u16::MAX)]),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>),
        Remove(Vec<u8>),
        RemoveNth(usize),
        Expire(u64),
        Range(Vec<u8>, Vec<u8>),
        Snapshot,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => key().prop_map(Step::Insert),
            2 => key().prop_map(Step::Remove),
            5 => any::<usize>().prop_map(Step::RemoveNth),
            2 => (0_u64..900).prop_map(Step::Expire),
            2 => (key(), key()).prop_map(|(from, to)| Step::Range(from, to)),
            1 => Just(Step::Snapshot),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn a_tree_does_what_a_map_does_and_snapshots_stay(
            steps in prop::collection::vec(step(), 1..900)
        ) {
            let (mut tree, mut model) = (Tree::new(), Model::new());
            let mut snapshots = Vec::new();
            for (version, step) in (1_u64..).zip(steps) {
                match step {
                    Step::Insert(key) => {
                        let place = place(version);
                        prop_assert_eq!(tree.insert(&key, place), model.insert(key, place));
                    }
                    Step::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                    Step::RemoveNth(nth) => {
                        let key = model.keys().nth(nth % model.len().max(1)).cloned();
                        let key = key.unwrap_or_default();
                        prop_assert_eq!(tree.get(&key), model.get(&key).copied());
                        prop_assert_eq!(tree.remove(&key), model.remove(&key));
                    }
                    Step::Expire(now_ms) => {
                        let before = model.len();
                        model.retain(|_, place| !place.is_expired(now_ms));
                        prop_assert_eq!(tree.count_over(now_ms), before - model.len());
                        prop_assert_eq!(expire(&mut tree, now_ms), before - model.len());
                        prop_assert_eq!(tree.count_over(now_ms), 0);
                        same(&tree, &model);
                    }
                    Step::Range(from, to) => {
                        let (from, to) = if from <= to { (from, to) } else { (to, from) };
                        let bounds = (Bound::Excluded(&*from), Bound::Included(&*to));
                        if from < to {
                            let expect: Vec<_> = model
                                .range::<[u8], _>(bounds)
                                .map(|(key, place)| (key.clone(), *place))
                                .collect();
                            prop_assert_eq!(listed(&tree, bounds.0, bounds.1), expect);
                        }
                    }
                    Step::Snapshot => snapshots.push((tree.clone(), model.clone())),
                }
            }
            same(&tree, &model);
            snapshots.iter().for_each(|(tree, model)| same(tree, model));
            let mut builder = Builder::default();
            model.iter().for_each(|(key, place)| builder.push(key, *place));
            same(&builder.finish(), &model);
            let keys: Vec<_> = model.keys().cloned().collect();
            for key in keys.iter().rev() {
                tree.remove(key);
            }
            same(&tree, &Model::new());
        }
    }

    #[test]
    fn many_keys_in_and_out() {
        let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
        let mut tree = Tree::new();
        for n in 0..20_000 {
            tree.insert(&key(n), place(n));
        }
        check(&tree);
        let full = tree.clone();
        for n in (0..20_000).filter(|n| n % 16 != 0) {
            assert_eq!(tree.remove(&key(n)), Some(place(n)));
        }
        check(&tree);
        check(&full);
        assert_eq!((tree.len(), full.len()), (1250, 20_000));
        assert!(tree.bytes() < 2 * full.bytes() / 16, "small leaves are joined");
    }

    #[test]
    fn keys_in_order_leave_full_leaves() {
        let mut tree = Tree::new();
        for n in 0..20_000_u64 {
            tree.insert(&n.to_be_bytes(), place(n * 7));
        }
        check(&tree);
        assert!(tree.bytes() / tree.len() < 26, "{} bytes a key", tree.bytes() / tree.len());
    }
}
