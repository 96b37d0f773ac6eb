//! What is committed becomes state: in order, one entry after the other, and answered.
//!
//! ```text
//!   committed ──► bytes ──► judged by the state ──► edits ──► index ──► replies
//!                 (cache,    (values it must see      │
//!                  or disk)   are read before)        └─ a computed value needs a record first:
//!                                                        the batch is held for the next frame
//! ```
//! A value that is computed (an increment) is in no entry, so it gets a *derived* record of its
//! own, and the index can point at it only when that is written. Until then the whole batch is
//! held, the index is as before, and later entries of the group wait. What the batch has computed
//! so far is kept beside it, so that two increments in one batch see each other.
//!
//! Derived records are as durable as the frame that carries them. If they are lost, so is the
//! knowledge that their entries were applied, and both come again.
//!
//! Not here: what commands do (`store`), when an entry is committed (`raft`).

use alloc::{borrow::ToOwned, collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use core::num::NonZeroU64;

use super::{
    Outbox, Shard, Stopped, compare,
    group::Group,
    members::ChangeOfMembers,
    window::Extent,
    write::{Flight, Load},
};
use crate::{
    command::{Body, Entry, Outcome, Told},
    journal::{Origin, Persisted, Record, RecordKind},
    limits, mark,
    packet::{Envelope, Packet},
    planted,
    raft::{EntryId, Input, Message},
    runtime::Runtime,
    store::{Derived, Effect, Seen, Sight, needs},
    types::{GroupId, Index, Loc, NodeId, Stamp, Version},
    value::{self, Change, Engine, Found, Tree, View},
};

/// Entries that are judged, and have not been answered yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Edits that cannot be made yet.
    edits: Vec<Edit>,
    outcomes: Vec<(EntryId, Outcome)>,
    /// The last entry, if it changes the membership; and how.
    members: Option<Option<ChangeOfMembers>>,
    last: EntryId,
    /// What time it was before the first of the edits.
    pub(super) since: Stamp,
    /// What the edits make of the keys they touch.
    seen: BTreeMap<Vec<u8>, Option<Fresh>>,
}

/// One edit of the index.
#[derive(Debug)]
struct Edit {
    key: Vec<u8>,
    version: Version,
    expires_ms: Option<NonZeroU64>,
    to: To,
}

impl Edit {
    /// How long the record is that it needs, without its head.
    fn bytes(&self) -> usize {
        match &self.to {
            To::Derived(value) => self.key.len() + value.as_ref().map_or(0, Bytes::len),
            To::At(_) | To::Gone => 0,
        }
    }
}

/// Where the value lies.
#[derive(Debug)]
enum To {
    At(Loc),
    Gone,
    /// In a record that is to be written; `None` is a deletion.
    Derived(Option<Bytes>),
}

/// A value that no index knows yet.
#[derive(Clone, Debug)]
struct Fresh {
    version: Version,
    expires_ms: Option<NonZeroU64>,
    value: Bytes,
}

/// What a command may see: the held batch, then the index.
struct Glance<'a> {
    held: &'a BTreeMap<Vec<u8>, Option<Fresh>>,
    tree: Option<&'a Tree>,
    read: &'a [(Vec<u8>, Option<Found>)],
}

impl Glance<'_> {
    fn known(&self, key: &[u8]) -> Option<&[u8]> {
        if let Some(held) = self.held.get(key) {
            return held.as_ref().map(|fresh| &*fresh.value);
        }
        let (_, found) = self.read.iter().find(|(read, _)| read == key)?;
        found.as_ref().map(|found| &*found.value)
    }
}

impl Sight for Glance<'_> {
    fn place(&self, key: &[u8]) -> Option<Seen> {
        // The length is that of what was read: how long a record is depends on where it lies.
        let value_bytes = self.known(key).map_or(0, <[u8]>::len);
        if let Some(fresh) = self.held.get(key) {
            let Fresh { version, expires_ms, .. } = *fresh.as_ref()?;
            return Some(Seen { version, expires_ms, value_bytes });
        }
        let place = self.tree?.get(key)?;
        Some(Seen { version: place.version, expires_ms: place.expires_ms, value_bytes })
    }

    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.known(key)
    }
}

impl Group {
    /// What time it is for what the index holds: the state is ahead of it while a batch is held.
    pub(super) fn indexed_stamp(&self) -> Stamp {
        match &self.held {
            Some(held) if !planted!("shard_reads_expire_by_what_is_held") => held.since,
            _ => self.state.stamp(),
        }
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Applies a batch of every group that has something committed.
    pub(super) async fn apply(&mut self) {
        let groups = core::mem::take(&mut self.committed);
        for id in groups {
            let is_held = |group: &Group| group.held.is_some();
            let waits = self.snapshots.installing.contains_key(&id) || self.is_moving(id);
            if waits || self.is_held_up(id) || self.groups.get(&id).is_none_or(is_held) {
                continue;
            }
            match self.judge(id).await {
                Ok(Some(held)) => self.take_judged(id, held),
                Ok(None) => {}
                Err(why) => self.stopped = Some(why),
            }
        }
    }

    /// Judges the next committed entries of a group.
    async fn judge(&mut self, id: GroupId) -> Result<Option<Held>, Stopped> {
        let Some(group) = self.groups.get(&id) else { return Ok(None) };
        let (mut index, committed) = (group.raft.applied().next(), group.committed);
        let mut batch = Held::default();
        let mut bytes_left = limits::SHARD_APPLY_BYTES_AT_ONCE;
        while index <= committed && bytes_left > 0 && batch.members.is_none() {
            let Some((bytes, extent)) = self.entry(id, index).await else {
                mark!("shard_applies_up_to_a_damaged_entry");
                self.step(id, Input::Faulty { index });
                break;
            };
            bytes_left = bytes_left.saturating_sub(bytes.len() as u64);
            let Ok(entry) = Entry::parse(&bytes) else {
                return Err(Stopped::Damaged("an entry that was verified cannot be read"));
            };
            let changes_members = matches!(entry.body, Body::Change(_) | Body::Leave);
            if changes_members && !batch.edits.is_empty() {
                // A checkpoint between judging and counting must find state and members together.
                break;
            }
            let read = match self.read_for(id, &entry, &batch).await {
                Ok(read) => read,
                Err(damaged) => {
                    self.apply_met_damage(id, &damaged);
                    break;
                }
            };
            let blind = self.node == NodeId(1) && applies_blindly();
            let tree = self.engine.tree(id).filter(|_| !blind);
            let Some(group) = self.groups.get_mut(&id) else { return Ok(None) };
            let before = group.state.stamp();
            let glance = Glance { held: &batch.seen, tree, read: &read };
            let effect = group.state.apply(&entry, &glance);
            let at = EntryId { term: entry.place.term, index };
            self.outbox.saw_apply(id, at, group.state.digest());
            let is_void = !effect.is_effective && !planted!("shard_void_entry_forgotten");
            if is_void && entry.records().next().is_some() {
                group.void.insert(index, extent);
            }
            if compare::is_point(id, before, group.state.stamp(), self.options.compare_every) {
                self.reach(id);
            }
            // What is computed and looked at is as large as the values, whatever the entries are.
            let looked = read.iter().filter_map(|(_, found)| found.as_ref());
            let bytes: usize = looked.map(|found| found.value.len()).sum();
            let computed: usize = effect.derived.iter().map(Derived::bytes).sum();
            bytes_left = bytes_left.saturating_sub((bytes + computed) as u64);
            let was_free = batch.edits.is_empty();
            if batch.take(&entry, effect, extent) {
                self.edit_by(id, &entry, extent);
            }
            if was_free {
                batch.since = before;
            }
            index = index.next();
        }
        Ok((batch.last > EntryId::default()).then_some(batch))
    }

    /// The values that an entry may look at; or the key of one that cannot be read.
    async fn read_for(
        &self,
        id: GroupId,
        entry: &Entry<'_>,
        batch: &Held,
    ) -> Result<Vec<(Vec<u8>, Option<Found>)>, Vec<u8>> {
        let mut read = Vec::new();
        for key in needs(entry).filter(|key| !batch.seen.contains_key(*key)) {
            match self.view(id).get(key, 0).await {
                Ok(found) => read.push((key.to_owned(), found)),
                Err(why) => {
                    tracing::error!(%id, %why, "a value that an entry needs cannot be read");
                    return Err(key.to_owned());
                }
            }
        }
        Ok(read)
    }

    /// An entry's bytes, and where they lie.
    pub(super) async fn entry(&mut self, id: GroupId, index: Index) -> Option<(Bytes, Extent)> {
        let slot = self.groups.get(&id)?.window.slot(index)?;
        let (extent, term) = (slot.extent()?, slot.term);
        if let Some(bytes) = slot.bytes() {
            return Some((bytes.clone(), extent));
        }
        let files = self.engine.files().clone();
        let span = extent.start()..extent.end();
        let bytes = files.read_span(extent.segment, span, Vec::new()).await.ok()?;
        let entry = Entry::decode(&bytes).ok()?;
        let place = entry.place;
        if (place.group, place.index, place.term) != (id, index, term) {
            return None;
        }
        let bytes = Bytes::from(bytes);
        let budget = self.options.cache_bytes;
        self.groups.get_mut(&id)?.window.fetched(index, term, &bytes, budget);
        Some((bytes, extent))
    }

    /// A batch is judged: it counts now, or when its derived records are written.
    fn take_judged(&mut self, id: GroupId, batch: Held) {
        if !batch.edits.is_empty() && !planted!("shard_derived_never_written") {
            mark!("shard_apply_waits_for_derived_records");
            if let Some(group) = self.groups.get_mut(&id) {
                group.held = Some(batch);
                self.settling.wants_derived.insert(id);
            }
        } else {
            self.count(id, batch);
        }
    }

    /// Puts derived records into a frame. Where only what gives room back is written, those are that a
    /// checkpoint waits for, if they are small.
    pub(super) fn push_derived(&mut self, frame: &mut Load, flight: &mut Flight) {
        let (began, is_relief) = (frame.bytes(), flight.is_relief);
        for id in core::mem::take(&mut self.settling.wants_derived) {
            let waits = is_relief && !self.derived_give_back(id, frame.bytes() - began);
            if waits || !frame.has_room(began) {
                self.settling.wants_derived.insert(id);
                continue;
            }
            let Some(held) = self.groups.get_mut(&id).and_then(|group| group.held.as_mut()) else {
                continue;
            };
            flight.derived.push((id, frame.len()));
            for edit in &held.edits {
                let To::Derived(value) = &edit.to else { continue };
                let kind = if value.is_some() { RecordKind::Put } else { RecordKind::Tombstone };
                let record = Record {
                    group: id,
                    kind,
                    version: edit.version,
                    term: held.last.term,
                    expires_ms: edit.expires_ms.map(NonZeroU64::get),
                    origin: Origin::State,
                    key: &edit.key,
                    value: value.as_deref().unwrap_or_default(),
                };
                frame.push(&record);
            }
        }
    }

    /// Whether a checkpoint waits for a group's derived records, and they are small, beside so many
    /// bytes of others: then room comes of them.
    fn derived_give_back(&self, id: GroupId, beside: usize) -> bool {
        let held = self.groups.get(&id).and_then(|group| group.held.as_ref());
        let bytes: usize = held.map_or(0, |held| held.edits.iter().map(Edit::bytes).sum());
        let small = (self.options.journal.first_segment_bytes / 2) as usize;
        beside + bytes <= small
            && self.settling.wants_anchor(id)
            && !planted!("shard_full_disk_keeps_derived_back")
    }

    /// A group's derived records are durable, from this record of the frame on.
    pub(super) fn derived_landed(&mut self, id: GroupId, mut record: usize, at: &Persisted) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(mut batch) = group.held.take() else { return };
        for edit in &mut batch.edits {
            if let To::Derived(value) = &edit.to {
                edit.to = if value.is_some() { To::At(at.loc(record)) } else { To::Gone };
                record += 1;
            }
        }
        self.count(id, batch);
        self.committed.insert(id);
    }

    /// A group's derived records were not written.
    pub(super) fn derived_failed(&mut self, id: GroupId) {
        if self.groups.get(&id).is_some_and(|group| group.held.is_some()) {
            self.settling.wants_derived.insert(id);
        }
    }

    /// Edits the index as an entry says that holds all of its values.
    fn edit_by(&mut self, id: GroupId, entry: &Entry<'_>, at: Extent) {
        let version = Version(entry.place.index.0);
        let edits = entry.records().map(|(offset, len, record)| value::Edit {
            key: record.key,
            version,
            change: match record.kind {
                RecordKind::Put => Change::Put {
                    value: &[],
                    loc: at.loc_of(offset, len),
                    expires_ms: record.expires_ms.and_then(NonZeroU64::new),
                },
                _ => Change::Delete,
            },
        });
        self.edit(id, edits);
    }

    /// Edits the index as a held batch says.
    fn edit_held(&mut self, id: GroupId, edits: &[Edit]) {
        let edits = edits.iter().map(|edit| value::Edit {
            key: &edit.key,
            version: edit.version,
            change: match &edit.to {
                To::At(loc) => Change::Put { value: &[], loc: *loc, expires_ms: edit.expires_ms },
                To::Gone | To::Derived(_) => Change::Delete,
            },
        });
        self.edit(id, edits);
    }

    fn edit<'a>(&mut self, id: GroupId, edits: impl Iterator<Item = value::Edit<'a>>) {
        if self.engine.apply(id, edits).is_err() {
            self.stopped = Some(Stopped::Damaged("the engine refused an edit"));
        }
    }

    /// A batch counts: index, answers, core.
    fn count(&mut self, id: GroupId, batch: Held) {
        self.lately = self.now();
        self.edit_held(id, &batch.edits);
        let applied = Version(batch.last.index.0);
        self.engine.advance(id, applied);
        for (entry, outcome) in batch.outcomes {
            self.answer_entry(id, entry, outcome);
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        self.counts.applied += batch.last.index.0.saturating_sub(group.raft.applied().0);
        group.window.trim(self.options.cache_bytes, batch.last.index);
        if !group.uncounted.is_empty() {
            let behind = (batch.last.index.next(), Vec::new());
            group.uncounted = group.uncounted.split_off(&behind);
        }
        // A change that does not fit is void, on every replica alike, and nobody sits down by it: its
        // ids go to others.
        let fits =
            |change: &&ChangeOfMembers| group.raft.membership().after(&change.change).is_ok();
        let change = batch.members.as_ref().and_then(Option::as_ref).filter(fits);
        if let Some(change) = change {
            group.roster.extend(change.seats.iter().copied());
            group.knows_seats();
            self.peers.learn(change.seats.iter().map(|(_, seat)| *seat));
        }
        // First who the members are: the core acts on what is applied, and would by the old ones.
        if let Some(change) = batch.members {
            let change = change.as_ref().map(|change| &change.change);
            self.step(id, Input::ChangeApplied { index: batch.last.index, change });
        }
        self.step(id, Input::Applied { upto: batch.last.index });
        let Some(group) = self.groups.get(&id) else { return };
        if !group.confirmed.is_empty() {
            self.readable.insert(id);
        }
        if group.committed > batch.last.index {
            self.committed.insert(id);
        }
    }

    /// Answers whoever waits for an entry.
    fn answer_entry(&mut self, id: GroupId, entry: EntryId, outcome: Outcome) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let applied = Version(entry.index.0);
        let Some(waiting) = group.waiting.front().copied() else { return };
        if waiting.index > entry.index {
            return;
        }
        group.waiting.pop_front();
        let phases = group.phases(&waiting, self.lately);
        let told = Told { applied, stamp: group.state.stamp(), phases, ..Told::default() };
        let is_it = waiting.index == entry.index && waiting.term == entry.term;
        // A leader that was replaced has answered before; so another entry here is a bug of ours.
        let is_it = crate::always!(is_it, "who waits is answered by the entry that was proposed");
        let outcome = if is_it { outcome } else { Outcome::Unknown };
        self.answer(waiting.asked, told, outcome);
    }

    /// Sends messages whose entries had to be read.
    pub(super) async fn send_from_disk(&mut self) {
        let messages = core::mem::take(&mut self.unfetched);
        for (id, message) in messages {
            self.send_read(id, message).await;
        }
    }

    async fn send_read(&mut self, id: GroupId, message: Message) {
        let (first, last) = super::write::named(&message);
        let mut entries = Vec::new();
        let mut index = first;
        while index <= last {
            match self.payload(id, index).await {
                Some(bytes) => entries.push(bytes),
                None => {
                    // It is gone, replaced, or damaged. Raft repeats what it still wants.
                    if self.is_damaged(id, index) {
                        self.step(id, Input::Faulty { index });
                    }
                    return;
                }
            }
            index = index.next();
        }
        let Some(group) = self.groups.get(&id) else { return };
        // The log may have been replaced while it was read.
        let is_same = |(index, bytes): (u64, &Bytes)| {
            let term = group.raft.log().term_at(Index(index));
            Entry::parse(bytes).is_ok_and(|entry| Some(entry.place.term) == term)
        };
        if !(first.0..).zip(&entries).all(is_same) {
            return;
        }
        let Some(to) = group.node_of(message.to) else { return };
        self.outbox.send(Envelope { to, packet: Packet::Raft { group: id, message, entries } });
    }

    async fn payload(&mut self, id: GroupId, index: Index) -> Option<Bytes> {
        let slot = self.groups.get(&id)?.window.slot(index)?;
        if let Some(bytes) = slot.bytes() {
            return Some(bytes.clone());
        }
        self.entry(id, index).await.map(|(bytes, _)| bytes)
    }

    fn is_damaged(&self, id: GroupId, index: Index) -> bool {
        let slot = self.groups.get(&id).and_then(|group| group.window.slot(index));
        slot.is_some_and(|slot| slot.bytes().is_none() && slot.extent().is_some())
    }
}

/// Whether a replica is to apply entries as if no key were there.
fn applies_blindly() -> bool {
    planted!("shard_applies_blindly")
        || planted!("shard_odd_one_goes_on")
        || planted!("shard_given_up_comes_back")
}

impl Held {
    /// One entry is judged. Answers whether its edits are to be made now; they are held otherwise,
    /// if there are any.
    fn take(&mut self, entry: &Entry<'_>, effect: Effect<'_>, at: Extent) -> bool {
        self.last = EntryId { term: entry.place.term, index: entry.place.index };
        if let Some(outcome) = effect.outcome {
            self.outcomes.push((self.last, outcome));
        }
        self.members = match entry.body {
            Body::Change(change) => Some(ChangeOfMembers::decode(change)),
            Body::Leave => Some(None),
            Body::Noop | Body::Command(..) => None,
        };
        let holds = !effect.derived.is_empty() || !self.edits.is_empty();
        if !holds {
            return effect.is_effective;
        }
        let version = Version(entry.place.index.0);
        if effect.is_effective {
            for (offset, len, record) in entry.records() {
                let loc = at.loc_of(offset, len);
                let expires_ms = record.expires_ms.and_then(NonZeroU64::new);
                let is_put = record.kind == RecordKind::Put;
                let to = if is_put { To::At(loc) } else { To::Gone };
                let value = Bytes::copy_from_slice(record.value);
                let fresh = is_put.then_some(Fresh { version, expires_ms, value });
                self.seen.insert(record.key.to_owned(), fresh);
                self.edits.push(Edit { key: record.key.to_owned(), version, expires_ms, to });
            }
        }
        for derived in effect.derived {
            let (key, expires_ms) = (derived.key.to_owned(), derived.expires_ms);
            let value = derived.value.map(Bytes::from);
            let fresh = value.clone().map(|value| Fresh { version, expires_ms, value });
            self.seen.insert(key.clone(), fresh);
            self.edits.push(Edit { key, version, expires_ms, to: To::Derived(value) });
        }
        false
    }
}
