//! The engine that keeps values where the journal put them, and their places in an index.
//!
//! ```text
//!   apply:  edit ──▶ index of the group: key → place       the value's bytes are not looked at
//!                └─▶ ledger: what the place before it held is dead now
//!   view:   root of the index + open files: two counts go up, nothing is copied
//!   read:   place ──▶ one pread ──▶ checksum, group, key, version ──▶ value
//! ```
//!
//! A record that is not the one the index names is damage, never absence: a read says where.
//!
//! Expiry: reads do not see what is over. The index keeps it until its owner says by which time it may
//! go ([`Indexed::expire`]), or compaction meets it.
//!
//! Invariants: I3, every place in an index lies in an open segment; I4, the version of a key never
//! goes down; the ledger's live bytes are the sum over all indexes.
//!
//! Not here: durability (`journal`), moving records (`compact.rs`).

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{num::NonZeroU64, ops::Bound};

use super::{
    compact::{Job, JobParts, Moved},
    engine::{Change, Edit, Engine, Found, Item, Page, Scan, View},
    leaf::Place,
    ledger::Ledger,
    merge::Merge,
    tree::{Builder, Tree},
};
use crate::{
    always,
    journal::{Expect, Files, HintRef, RECORD_HEADER_BYTES, ReadError, RecordKind, verify},
    mark, planted,
    runtime::{DiskError, Runtime},
    types::{GroupId, Loc, SegmentId, Version},
};

/// One group's index.
#[derive(Clone, Debug, Default)]
struct Group {
    tree: Tree,
    applied: Version,
}

/// Indexes over the journal's segments.
#[derive(Debug)]
pub struct Indexed<R: Runtime> {
    groups: BTreeMap<GroupId, Group>,
    ledger: Ledger,
    files: Arc<Files<R>>,
}

/// A group of an [`Indexed`] at one point in time. Its files stay open as long as it is held.
#[derive(Debug)]
pub struct IndexView<R: Runtime> {
    group: GroupId,
    tree: Tree,
    applied: Version,
    files: Arc<Files<R>>,
}

impl<R: Runtime> Clone for IndexView<R> {
    fn clone(&self) -> Self {
        Self {
            group: self.group,
            tree: self.tree.clone(),
            applied: self.applied,
            files: Arc::clone(&self.files),
        }
    }
}

/// A place that a view found, with what is needed to read it after the view is gone.
#[derive(Debug)]
pub struct Pinned<R: Runtime> {
    /// The place.
    pub place: Place,
    group: GroupId,
    files: Arc<Files<R>>,
}

impl<R: Runtime> Pinned<R> {
    /// Reads the value.
    ///
    /// # Errors
    /// [`ReadError`] says which bytes are not what they should be.
    pub async fn read(&self, key: &[u8]) -> Result<Found, ReadError> {
        read(&self.files, self.group, key, self.place).await
    }
}

async fn read<R: Runtime>(
    files: &Files<R>,
    group: GroupId,
    key: &[u8],
    place: Place,
) -> Result<Found, ReadError> {
    let expect = Expect { group, key, version: place.version };
    let record = files.read(place.loc, expect).await?;
    let Place { version, expires_ms, .. } = place;
    Ok(Found { value: record.into_value(), version, expires_ms })
}

impl<R: Runtime> IndexView<R> {
    /// Where a key lies at `now_ms`, ready to be read without the view.
    #[must_use]
    pub fn pin(&self, key: &[u8], now_ms: impl FnOnce() -> u64) -> Option<Pinned<R>> {
        let place = self.tree.get(key)?;
        if place.expires_ms.is_some() && place.is_expired(now_ms()) && !planted!("expired_returned")
        {
            return None;
        }
        Some(Pinned { place, group: self.group, files: Arc::clone(&self.files) })
    }

    /// How many keys the index holds, expired ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether the index holds no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The index.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// Records with less than this between them are read together: a read of its own costs more than
/// copying so many bytes.
const GAP_BYTES: u64 = 2 << 10;
/// No more than this is read at once, unless a single record is longer.
const RUN_BYTES_MAX: u64 = 256 << 10;

/// How long a key and its value are, by the length of their record; an entry's section counts along.
#[must_use]
pub const fn item_bytes(place: &Place) -> usize {
    let expiry = if place.expires_ms.is_some() { 8 } else { 0 };
    (place.loc.len as usize).saturating_sub(RECORD_HEADER_BYTES + expiry)
}

impl<R: Runtime> IndexView<R> {
    /// Reads the values of keys that lie at these places: in the order of the places, and what
    /// lies close together at once. Compaction has laid neighbours side by side.
    async fn fill(&self, items: &mut [Item], locs: &[Loc]) -> Result<(), ReadError> {
        let mut order: Vec<usize> = (0..locs.len()).collect();
        order.sort_unstable_by_key(|nth| (locs[*nth].segment, locs[*nth].offset_words));
        let mut buffer = Vec::new();
        let mut rest = &*order;
        while let Some(first) = rest.first().map(|nth| locs[*nth]) {
            let start = first.offset();
            let mut end = start + u64::from(first.len);
            let joins = |nth: &&usize| {
                let loc = locs[**nth];
                let reach = loc.offset() + u64::from(loc.len);
                let near = loc.segment == first.segment
                    && loc.offset() <= end + GAP_BYTES
                    && reach <= start + RUN_BYTES_MAX;
                if near {
                    end = reach.max(end);
                }
                near
            };
            let run = 1 + rest[1..].iter().take_while(joins).count();
            let read = self.files.read_span(first.segment, start..end, buffer).await;
            let read = match read {
                Err(ReadError::Disk(_)) if run > 1 => None,
                read => Some(read?),
            };
            let Some(read) = read else {
                // What cannot be read may lie between the records, where nobody needs it.
                mark!("value: records read one by one");
                for nth in &rest[..run] {
                    let (loc, (key, found)) = (locs[*nth], &mut items[*nth]);
                    let expect = Expect { group: self.group, key, version: found.version };
                    found.value = self.files.read(loc, expect).await?.into_value();
                }
                (buffer, rest) = (Vec::new(), &rest[run..]);
                continue;
            };
            buffer = read;
            for nth in &rest[..run] {
                let (loc, (key, found)) = (locs[*nth], &mut items[*nth]);
                let at = (loc.offset() - start) as usize;
                let expect = Expect { group: self.group, key, version: found.version };
                let record = verify(&buffer[at..at + loc.len as usize], loc, expect)?;
                found.value = record.value.to_vec();
            }
            rest = &rest[run..];
        }
        Ok(())
    }
}

impl<R: Runtime> View for IndexView<R> {
    async fn get(&self, key: &[u8], now_ms: u64) -> Result<Option<Found>, ReadError> {
        match self.place(key, now_ms) {
            Some(place) => self.read(key, place).await.map(Some),
            None => Ok(None),
        }
    }

    async fn scan(&self, scan: Scan<'_>, now_ms: u64) -> Result<Page, ReadError> {
        let mut locs = Vec::new();
        let mut page = self.list(scan, now_ms, |_, place| {
            locs.push(place.loc);
            item_bytes(place)
        });
        self.fill(&mut page.items, &locs).await?;
        Ok(page)
    }

    fn applied(&self) -> Version {
        self.applied
    }
}

impl<R: Runtime> IndexView<R> {
    /// Where a key lies at `now_ms`.
    #[must_use]
    pub fn place(&self, key: &[u8], now_ms: u64) -> Option<Place> {
        let place = self.tree.get(key)?;
        (!place.is_expired(now_ms) || planted!("expired_returned")).then_some(place)
    }

    /// Reads the value of a key from there.
    ///
    /// # Errors
    /// [`ReadError`] says which bytes are not what they should be.
    pub async fn read(&self, key: &[u8], place: Place) -> Result<Found, ReadError> {
        read(&self.files, self.group, key, place).await
    }

    /// What is known of a key but for its value, which is empty: no disk is asked.
    #[must_use]
    pub fn look(&self, key: &[u8], now_ms: u64) -> Option<Found> {
        let place = self.tree.get(key)?;
        (!place.is_expired(now_ms)).then(|| without_value(&place))
    }

    /// Keys in order, all values empty: no disk is asked.
    #[must_use]
    pub fn keys(&self, scan: Scan<'_>, now_ms: u64) -> Page {
        self.list(scan, now_ms, |key, _| key.len())
    }

    /// Keys in order, each as heavy as is said.
    fn list(
        &self,
        scan: Scan<'_>,
        now_ms: u64,
        mut weigh: impl FnMut(&[u8], &Place) -> usize,
    ) -> Page {
        let (mut page, mut bytes) = (Page::default(), 0);
        let mut cursor = self.tree.range(scan.start, scan.end);
        while let Some((key, place)) = cursor.next() {
            if page.items.len() >= scan.keys_max.max(1) || bytes >= scan.bytes_max.max(1) {
                page.next = page.items.last().map(|(key, _)| key.clone());
                break;
            }
            if place.is_expired(now_ms) && !planted!("expired_returned") {
                continue;
            }
            bytes += weigh(key, &place);
            page.items.push((key.to_vec(), without_value(&place)));
        }
        page
    }
}

const fn without_value(place: &Place) -> Found {
    Found { value: Vec::new(), version: place.version, expires_ms: place.expires_ms }
}

impl<R: Runtime> Indexed<R> {
    /// An engine without groups over these files.
    #[must_use]
    pub fn new(files: Arc<Files<R>>) -> Self {
        Self { groups: BTreeMap::new(), ledger: Ledger::default(), files }
    }

    /// Loads every group's index from what the segments say they hold. The segments' lines are in
    /// the ledger already, except for what is live.
    pub fn load<'a>(&mut self, lists: Vec<impl Iterator<Item = HintRef<'a>>>, now_ms: u64) {
        self.load_until(lists, now_ms, |_| Version(u64::MAX));
    }

    /// The same without what is newer than a version of each group. A compaction copies what the
    /// index held then; whoever goes on from an older state and comes to the same again must not
    /// see it before.
    pub fn load_until<'a>(
        &mut self,
        lists: Vec<impl Iterator<Item = HintRef<'a>>>,
        now_ms: u64,
        until: impl Fn(GroupId) -> Version,
    ) {
        let is_due = |hint: &HintRef<'_>| hint.version <= until(hint.group);
        let lists = lists.into_iter().map(|list| list.filter(is_due)).collect();
        let mut builder = Builder::default();
        let mut current: Option<(GroupId, Version)> = None;
        for hint in Merge::new(lists) {
            let applied = match current {
                Some((group, applied)) if group == hint.group => applied,
                Some((group, applied)) => {
                    self.adopt(group, core::mem::take(&mut builder).finish(), applied);
                    Version(0)
                }
                None => Version(0),
            };
            current = Some((hint.group, applied.max(hint.version)));
            let place = place_of(&hint);
            let is_there = hint.kind == RecordKind::Put && !place.is_expired(now_ms);
            if is_there
                || (hint.kind == RecordKind::Tombstone && planted!("tombstone_loaded_as_value"))
            {
                self.ledger.live(hint.loc);
                builder.push(hint.key, place);
            }
        }
        if let Some((group, applied)) = current {
            self.adopt(group, builder.finish(), applied);
        }
    }

    fn adopt(&mut self, group: GroupId, tree: Tree, applied: Version) {
        self.groups.insert(group, Group { tree, applied });
    }

    /// Replaces all that a group has by an index over segments that are part of the store.
    pub fn replace(&mut self, group: GroupId, tree: Tree, applied: Version) {
        self.forget(group);
        let mut cursor = tree.range(Bound::Unbounded, Bound::Unbounded);
        while let Some((_, place)) = cursor.next() {
            self.ledger.live(place.loc);
        }
        self.adopt(group, tree, applied);
    }

    fn forget(&mut self, group: GroupId) {
        if let Some(gone) = self.groups.remove(&group) {
            let mut cursor = gone.tree.range(Bound::Unbounded, Bound::Unbounded);
            while let Some((_, place)) = cursor.next() {
                self.ledger.dead(place.loc);
            }
        }
    }

    /// The segments' lines.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The segments' lines, to be written.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Views from now on read these files.
    pub fn set_files(&mut self, files: Arc<Files<R>>) {
        self.files = files;
    }

    /// The files that views read.
    #[must_use]
    pub const fn files(&self) -> &Arc<Files<R>> {
        &self.files
    }

    /// The group's index.
    #[must_use]
    pub fn tree(&self, group: GroupId) -> Option<&Tree> {
        self.groups.get(&group).map(|group| &group.tree)
    }

    /// Every group's index as it is now: what a compaction works from.
    #[must_use]
    pub fn trees(&self) -> BTreeMap<GroupId, Tree> {
        self.groups.iter().map(|(id, group)| (*id, group.tree.clone())).collect()
    }

    /// The memory of all indexes.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.groups.values().map(|group| group.tree.bytes()).sum()
    }

    /// How many keys all indexes hold.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.groups.values().map(|group| group.tree.len()).sum()
    }

    /// Points a key at its record's copy, if the key is still at the version that was copied and
    /// still points into a victim. Whether the key went, because its value was over.
    pub fn relocate(&mut self, moved: &Moved<'_>, victims: &[SegmentId]) -> bool {
        let Some(group) = self.groups.get_mut(&moved.group) else { return false };
        let Some(place) = group.tree.get(moved.key) else { return false };
        let is_stale = place.version != moved.version || !victims.contains(&place.loc.segment);
        if is_stale && !planted!("install_without_cas") {
            mark!("value: a key changed while its record moved");
            return false;
        }
        self.ledger.dead(place.loc);
        match moved.to {
            Some(loc) => {
                self.ledger.live(loc);
                group.tree.insert(moved.key, Place { loc, version: moved.version, ..place });
            }
            None => _ = group.tree.remove(moved.key),
        }
        moved.to.is_none()
    }

    /// Lets go of keys that are over by then, about `most` of them. Answers how many went, and whether
    /// that is all. Their records lie where they are, and are dead: whoever begins with an earlier
    /// time still finds them, and compaction knows by its own time that they were values once.
    pub fn expire(&mut self, group: GroupId, now_ms: u64, most: usize) -> (usize, bool) {
        let Some(group) = self.groups.get_mut(&group) else { return (0, true) };
        let (over, is_all) = group.tree.over(now_ms, most);
        for (key, place) in &over {
            group.tree.remove(key);
            self.ledger.dead(place.loc);
        }
        if !over.is_empty() {
            mark!("value: keys that are over leave the index");
        }
        (over.len(), is_all)
    }

    /// The group is at this version, whatever its records say.
    pub fn advance(&mut self, group: GroupId, version: Version) {
        let group = self.groups.entry(group).or_default();
        group.applied = group.applied.max(version);
    }

    /// A compaction of these segments.
    #[must_use]
    pub fn plan(&self, parts: JobParts<R>) -> Job<R> {
        Job {
            rt: parts.rt,
            files: Arc::clone(&self.files),
            trees: self.trees(),
            oldest_outside: self.ledger.oldest_outside(&parts.victims),
            seen: self.groups.iter().map(|(id, group)| (*id, group.applied)).collect(),
            victims: parts.victims,
            sources: parts.sources,
            writers: parts.writers,
            horizon: parts.horizon,
            now_ms: parts.now_ms,
            segment_bytes: parts.segment_bytes,
            bytes_per_second: parts.bytes_per_second,
        }
    }

    /// Checks the ledger and the places against a walk over all indexes; for tests and the
    /// simulator.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn invariants(&self) -> Result<(), &'static str> {
        let mut live: BTreeMap<SegmentId, u64> = BTreeMap::new();
        for group in self.groups.values() {
            let mut cursor = group.tree.range(Bound::Unbounded, Bound::Unbounded);
            while let Some((_, place)) = cursor.next() {
                if place.version > group.applied {
                    return Err("I2: the index holds nothing beyond what is applied");
                }
                *live.entry(place.loc.segment).or_default() += place.loc.padded_len();
            }
        }
        if live.keys().any(|id| self.files.get(*id).is_none()) {
            return Err("I3: every place lies in an open segment");
        }
        self.ledger.invariants()?;
        for (id, line) in self.ledger.lines() {
            if line.live_bytes != live.get(&id).copied().unwrap_or(0) {
                return Err("the ledger's live bytes are what the indexes point at");
            }
            if line.live_bytes + line.tombstone_bytes > line.bytes {
                return Err("what is live or a deletion is part of the whole");
            }
        }
        Ok(())
    }

    /// One edit of one key.
    fn edit(group: &mut Group, ledger: &mut Ledger, edit: &Edit<'_>) {
        let Edit { key, version, change } = *edit;
        let old = match change {
            Change::Put { loc, expires_ms, .. } => {
                ledger.live(loc);
                group.tree.insert(key, Place { loc, version, expires_ms })
            }
            Change::Delete => group.tree.remove(key),
        };
        if let Some(old) = old {
            always!(old.version < version, "I4: the version of a key goes up");
            ledger.dead(old.loc);
        }
    }
}

fn place_of(hint: &HintRef<'_>) -> Place {
    Place {
        loc: hint.loc,
        version: hint.version,
        expires_ms: hint.expires_ms.and_then(NonZeroU64::new),
    }
}

impl<R: Runtime> Engine for Indexed<R> {
    type View = IndexView<R>;

    fn apply<'a>(
        &mut self,
        group: GroupId,
        edits: impl IntoIterator<Item = Edit<'a>>,
    ) -> Result<(), DiskError> {
        let group = self.groups.entry(group).or_default();
        let before = group.applied;
        for edit in edits {
            if edit.version <= before {
                mark!("value: a replayed edit");
                continue;
            }
            always!(edit.version >= group.applied, "edits come in the order of their versions");
            group.applied = edit.version;
            Self::edit(group, &mut self.ledger, &edit);
        }
        Ok(())
    }

    fn view(&self, group: GroupId) -> IndexView<R> {
        let Group { tree, applied } = self.groups.get(&group).cloned().unwrap_or_default();
        IndexView { group, tree, applied, files: Arc::clone(&self.files) }
    }

    fn applied(&self, group: GroupId) -> Version {
        self.groups.get(&group).map_or(Version(0), |group| group.applied)
    }

    fn ingest<'a>(
        &mut self,
        group: GroupId,
        sorted: impl IntoIterator<Item = Edit<'a>>,
        applied: Version,
    ) -> Result<(), DiskError> {
        self.drop_group(group)?;
        let mut builder = Builder::default();
        for Edit { key, version, change } in sorted {
            if let Change::Put { loc, expires_ms, .. } = change {
                self.ledger.live(loc);
                builder.push(key, Place { loc, version, expires_ms });
            }
        }
        self.adopt(group, builder.finish(), applied);
        Ok(())
    }

    fn drop_group(&mut self, group: GroupId) -> Result<(), DiskError> {
        self.forget(group);
        Ok(())
    }
}
