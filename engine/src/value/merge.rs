//! The newest record of each key over several sorted lists: how an index is loaded, and how
//! compaction knows what of its victims matters.
//!
//! Every segment can say in key order what it holds. Lists are merged by (group, key); of one key
//! the highest version wins, whatever segment holds it, so it does not matter in which order
//! segments were written, moved or listed.
//!
//! Comparing keys means touching them, so each list's next key is kept with its group and first
//! eight bytes as numbers: mostly these decide.
//!
//! Invariant: keys come out ascending, each once.
//!
//! Not here: where the lists come from (segment footers, `journal`).

use alloc::{collections::BinaryHeap, vec::Vec};
use core::cmp::Ordering;

use crate::{
    journal::{HintRef, RecordKind},
    planted,
    types::GroupId,
};

/// A list's next hint, and what it is ordered by.
struct Head<'a> {
    first: (GroupId, u64),
    hint: HintRef<'a>,
    list: usize,
}

impl<'a> Head<'a> {
    fn new(hint: HintRef<'a>, list: usize) -> Self {
        let first = match hint.key.first_chunk::<8>() {
            Some(first) => u64::from_be_bytes(*first),
            None => {
                let mut first = [0; 8];
                first[..hint.key.len()].copy_from_slice(hint.key);
                u64::from_be_bytes(first)
            }
        };
        Self { first: (hint.group, first), hint, list }
    }

    fn same_key(&self, other: &HintRef<'_>) -> bool {
        self.hint.group == other.group && self.hint.key == other.key
    }
}

fn is_tombstone(hint: &HintRef<'_>) -> bool {
    hint.kind == RecordKind::Tombstone
}

impl Ord for Head<'_> {
    /// The heap gives the greatest first, so the lowest key is the greatest head; of one key the
    /// highest version, and of copies of one record that of the first list.
    fn cmp(&self, other: &Self) -> Ordering {
        let newer = || {
            let order = self.hint.version.cmp(&other.hint.version);
            if planted!("merge_prefers_older") { order.reverse() } else { order }
        };
        let key = other.first.cmp(&self.first).then_with(|| other.hint.key.cmp(self.hint.key));
        // A deletion may stand for an expired value of the same version: it wins.
        let deleted = || is_tombstone(&self.hint).cmp(&is_tombstone(&other.hint));
        key.then_with(newer).then_with(deleted).then_with(|| other.list.cmp(&self.list))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

/// Merges sorted lists.
pub struct Merge<'a, L> {
    lists: Vec<L>,
    heads: BinaryHeap<Head<'a>>,
}

impl<'a, L: Iterator<Item = HintRef<'a>>> Merge<'a, L> {
    /// Over lists that each ascend by (group, key).
    pub fn new(lists: Vec<L>) -> Self {
        let mut merge = Self { heads: BinaryHeap::with_capacity(lists.len()), lists };
        for list in 0..merge.lists.len() {
            if let Some(hint) = merge.lists[list].next() {
                merge.heads.push(Head::new(hint, list));
            }
        }
        merge
    }

    /// Takes the first head and puts its list's next one in its place.
    fn pop(&mut self) -> Option<HintRef<'a>> {
        let mut top = self.heads.peek_mut()?;
        let (hint, list) = (top.hint, top.list);
        match self.lists[list].next() {
            Some(next) => *top = Head::new(next, list),
            None => _ = alloc::collections::binary_heap::PeekMut::pop(top),
        }
        Some(hint)
    }
}

impl<'a, L: Iterator<Item = HintRef<'a>>> Iterator for Merge<'a, L> {
    type Item = HintRef<'a>;

    fn next(&mut self) -> Option<HintRef<'a>> {
        let newest = self.pop()?;
        while self.heads.peek().is_some_and(|head| head.same_key(&newest)) {
            self.pop();
        }
        Some(newest)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Loc, SegmentId, Version};

    fn hint(key: &[u8], version: u64, segment: u32) -> HintRef<'_> {
        HintRef {
            group: GroupId(1),
            key,
            version: Version(version),
            kind: RecordKind::Put,
            expires_ms: None,
            loc: Loc { segment: SegmentId(segment), offset_words: 0, len: 1 },
        }
    }

    proptest! {
        #[test]
        fn the_newest_of_each_key_comes_out_in_order(
            lists in prop::collection::vec(
                prop::collection::btree_map(prop::collection::vec(0_u8..4, 0..11), 1_u64..9, 0..20),
                0..6,
            )
        ) {
            let mut model: BTreeMap<&[u8], u64> = BTreeMap::new();
            for (key, version) in lists.iter().flatten() {
                let newest = model.entry(key).or_default();
                *newest = (*newest).max(*version);
            }
            let sources = (0..).zip(&lists).map(|(segment, list)| {
                list.iter().map(move |(key, version)| hint(key, *version, segment))
            });
            let merged: Vec<_> =
                Merge::new(sources.collect()).map(|hint| (hint.key, hint.version.0)).collect();
            prop_assert_eq!(merged, model.into_iter().collect::<Vec<_>>());
        }
    }
}
