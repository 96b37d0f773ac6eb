//! The engine that keeps values in memory: for tests the model of what the others must do.
//!
//! As plain as can be, on purpose: a map of a map. It is what `indexed.rs` is compared with.
//!
//! Not here: durability of any kind.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::ops::Bound;

use super::engine::{Change, Edit, Engine, Found, Page, Scan, View};
use crate::{
    journal::ReadError,
    runtime::DiskError,
    types::{GroupId, Version},
};

/// Values in a map.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    groups: BTreeMap<GroupId, MemoryView>,
}

/// A group of a [`Memory`] at one point in time.
#[derive(Clone, Debug, Default)]
pub struct MemoryView {
    values: Arc<BTreeMap<Vec<u8>, Found>>,
    applied: Version,
}

impl MemoryView {
    /// All that is there at `now_ms`, in order.
    pub fn iter(&self, now_ms: u64) -> impl Iterator<Item = (&[u8], &Found)> {
        self.values
            .iter()
            .filter_map(move |(key, found)| counts(found, now_ms).map(|f| (&**key, f)))
    }
}

fn counts(found: &Found, now_ms: u64) -> Option<&Found> {
    found.expires_ms.is_none_or(|expires| expires.get() > now_ms).then_some(found)
}

impl View for MemoryView {
    async fn get(&self, key: &[u8], now_ms: u64) -> Result<Option<Found>, ReadError> {
        Ok(self.values.get(key).and_then(|found| counts(found, now_ms)).cloned())
    }

    async fn scan(&self, scan: Scan<'_>, now_ms: u64) -> Result<Page, ReadError> {
        let mut page = Page::default();
        let mut bytes = 0;
        if is_empty_range(scan.start, scan.end) {
            return Ok(page);
        }
        for (key, found) in self.values.range::<[u8], _>((scan.start, scan.end)) {
            if page.items.len() >= scan.keys_max.max(1) || bytes >= scan.bytes_max.max(1) {
                page.next = page.items.last().map(|(key, _)| key.clone());
                return Ok(page);
            }
            if let Some(found) = counts(found, now_ms) {
                bytes += key.len() + found.value.len();
                page.items.push((key.clone(), found.clone()));
            }
        }
        Ok(page)
    }

    fn applied(&self) -> Version {
        self.applied
    }
}

/// Whether no key can lie between two bounds: maps panic on such.
pub(super) fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

impl Engine for Memory {
    type View = MemoryView;

    fn apply<'a>(
        &mut self,
        group: GroupId,
        edits: impl IntoIterator<Item = Edit<'a>>,
    ) -> Result<(), DiskError> {
        let state = self.groups.entry(group).or_default();
        let values = Arc::make_mut(&mut state.values);
        let before = state.applied;
        for Edit { key, version, change } in edits {
            if version <= before {
                continue;
            }
            state.applied = version;
            match change {
                Change::Put { value, expires_ms, .. } => {
                    let found = Found { value: value.to_vec(), version, expires_ms };
                    values.insert(key.to_vec(), found);
                }
                Change::Delete => _ = values.remove(key),
            }
        }
        Ok(())
    }

    fn view(&self, group: GroupId) -> MemoryView {
        self.groups.get(&group).cloned().unwrap_or_default()
    }

    fn applied(&self, group: GroupId) -> Version {
        self.groups.get(&group).map_or(Version(0), |state| state.applied)
    }

    fn ingest<'a>(
        &mut self,
        group: GroupId,
        sorted: impl IntoIterator<Item = Edit<'a>>,
        applied: Version,
    ) -> Result<(), DiskError> {
        let values = sorted.into_iter().filter_map(|edit| match edit.change {
            Change::Put { value, expires_ms, .. } => {
                let found = Found { value: value.to_vec(), version: edit.version, expires_ms };
                Some((edit.key.to_vec(), found))
            }
            Change::Delete => None,
        });
        let values = Arc::new(values.collect());
        self.groups.insert(group, MemoryView { values, applied });
        Ok(())
    }

    fn drop_group(&mut self, group: GroupId) -> Result<(), DiskError> {
        self.groups.remove(&group);
        Ok(())
    }
}
