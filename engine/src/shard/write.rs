//! The way to the disk: what the cores want written becomes a frame; the disk's answer goes back.
//!
//! ```text
//!   write of a step ──► unsaved ──► frame ──► journal ──► landed: extents, tokens, derived records
//! ```
//! One frame is under way at a time. A group's unsaved part goes into a frame whole: first its hard
//! state, and where the log was cut, then the entries. So the newest token of a group stands for
//! everything of it in the frame.
//!
//! A refusal for want of room has changed nothing: the same is tried again later, and meanwhile what
//! gives room back (`room.rs`).
//!
//! Not here: the device (`journal`).

use alloc::{collections::BTreeSet, vec::Vec};
use bytes::{Bytes, BytesMut};
use core::mem;

use super::{
    Done, Outbox, Shard, Stopped, checkpoint,
    group::{Group, Unsaved},
    room::Grade,
    settle::Anchor,
    window::{Extent, Slot},
};
use crate::{
    always,
    command::{Body, Entry, Place, encode},
    journal::{FrameBuilder, Journal, JournalError, Persisted, Record, RecordKind, Sync},
    limits, mark,
    packet::{Beat, Envelope, Packet},
    planted,
    raft::{self, Durable, HardState, Input, Kind, Message, Moment, Write},
    runtime::{Runtime, Task},
    types::{GroupId, Index, ReplicaId, SegmentId, Term, Uuid, Version},
    value::{Moved, Tree},
};

/// What the frame under way carries.
#[derive(Debug, Default)]
pub(super) struct Flight {
    entries: Vec<Flying>,
    /// What the cores wanted written: their tokens, and what comes back when nothing was written.
    groups: Vec<(GroupId, Unsaved)>,
    /// Groups whose open entries moved into it, from which index on.
    moved: Vec<(GroupId, Index)>,
    /// Hard states and checkpoints of these groups, and how far these go.
    anchors: Vec<(GroupId, Anchor)>,
    /// Groups whose held apply has its derived records in it, from which record on.
    pub(super) derived: Vec<(GroupId, usize)>,
    /// Groups whose snapshot counts with it, and those of whose it only has deletions.
    installs: Vec<GroupId>,
    swept: Vec<GroupId>,
    /// Keys whose damaged values have copies in it, and which records these are.
    values: Vec<((GroupId, Vec<u8>), usize)>,
    /// Segments whose damaged frames have their deletions in it.
    deletions: Vec<SegmentId>,
    /// What its records are.
    lines: Vec<(RecordKind, Version)>,
    hards: Vec<(GroupId, HardState)>,
    /// Whether all of it gives room back.
    pub(super) is_relief: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flying {
    group: GroupId,
    index: Index,
    term: Term,
    bytes: u32,
    record: usize,
}

impl Flight {
    /// An entry goes into the frame.
    pub(super) fn carries(
        &mut self,
        frame: &mut Load,
        (group, index, term): (GroupId, Index, Term),
        bytes: &Bytes,
    ) {
        let record = frame.len();
        frame.push_entry(bytes);
        let bytes = bytes.len() as u32;
        self.entries.push(Flying { group, index, term, bytes, record });
    }

    /// Whether open entries of a group are in it.
    pub(super) fn has_moved(&self, group: GroupId) -> bool {
        self.moved.iter().any(|(moved, _)| *moved == group)
    }

    /// A group's open entries from there on are in it once more.
    pub(super) fn moves(&mut self, group: GroupId, first: Index) {
        self.moved.push((group, first));
    }
}

/// A frame, and what each of its records is.
#[derive(Debug)]
pub(super) struct Load {
    frame: FrameBuilder,
    /// How much of it each kind of piece may take.
    share: usize,
    lines: Vec<(RecordKind, Version)>,
    /// The hard states in it.
    hards: Vec<(GroupId, HardState)>,
}

impl Load {
    pub(super) const fn new(frame: FrameBuilder, share: usize) -> Self {
        Self { frame, share, lines: Vec::new(), hards: Vec::new() }
    }

    /// That a group's hard state is in it.
    pub(super) fn has_hard(&mut self, id: GroupId, hard: HardState) {
        self.hards.push((id, hard));
    }

    /// How long its records are.
    pub(super) fn bytes(&self) -> usize {
        self.frame.bytes()
    }

    /// How many records it has.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The frame, and what its records are.
    pub(super) fn into_parts(self) -> (FrameBuilder, Vec<(RecordKind, Version)>) {
        (self.frame, self.lines)
    }

    /// Whether there is room for one more of the pieces that began at so many bytes. Each kind has its
    /// share of a frame, so that none waits for another for ever.
    pub(super) fn has_room(&self, began: usize) -> bool {
        let bytes = self.bytes();
        bytes < limits::SHARD_FRAME_BYTES_FULL && bytes - began <= self.share
    }

    /// # Panics
    /// When the frame is full: what goes into one is bounded far below that.
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let pushed = self.frame.push(record);
        assert!(pushed.is_ok(), "what goes into one frame is bounded");
        self.lines.push((record.kind, record.version));
    }

    /// An entry, which was verified when it came.
    fn push_entry(&mut self, bytes: &Bytes) {
        let Self { frame, lines, .. } = self;
        let pushed =
            frame.push_encoded_with(bytes, |record| lines.push((record.kind, record.version)));
        assert!(pushed.is_ok(), "what goes into one frame is bounded");
    }
}

/// That a frame is durable.
struct OnDisk;

impl Durable for OnDisk {}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A core wants something written.
    pub(super) fn want_written(&mut self, id: GroupId, write: Write) {
        let now = self.now();
        let is_own = |index: u64| self.offered.get(Index(index)).is_none();
        let makes = (write.first.0..=write.last.0).any(is_own);
        // Most entries come with their stamps, and no clock is looked at for them.
        let time_ms = if makes { self.time_ms(id) } else { 0 };
        let Some(group) = self.groups.get_mut(&id) else { return };
        if write.cut {
            for extent in group.window.cut(write.first) {
                self.settling.died(extent);
            }
        }
        let mut index = write.first;
        while index <= write.last {
            let bytes = match self.offered.get(index) {
                Some(bytes) => bytes.clone(),
                None => own_entry(id, group, index, time_ms, now),
            };
            let term = group.raft.log().term_at(index).unwrap_or_default();
            if let Some(extent) = group.window.put(index, term, bytes) {
                mark!("shard_entry_written_again");
                let dies = self.settling.died(extent);
                group.mended.insert(index, extent.segment);
                if is_void(group, self.engine.tree(id), index) {
                    // Of what is not settled, each entry that never had an effect is known.
                    let had = dies && !group.void.contains_key(&index);
                    group.void_again.insert(index, had);
                }
            }
            index = index.next();
        }
        group.unsaved.add(write);
        self.unsaved.insert(id);
    }

    /// A message goes out, with the entries it names; at once, if they are in memory.
    pub(super) fn send(&mut self, id: GroupId, message: Message) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(to) = group.node_of(message.to) else {
            mark!("shard_replica_without_a_node");
            return;
        };
        self.name_seat(id, message.to);
        if matches!(message.body, raft::Body::Heartbeat { .. } | raft::Body::HeartbeatAck { .. }) {
            self.beats.entry(to).or_default().push(Beat { group: id, message });
            return;
        }
        let Some(group) = self.groups.get(&id) else { return };
        let (first, last) = named(&message);
        let mut entries = Vec::new();
        let mut index = first;
        while index <= last {
            match group.window.slot(index).and_then(|slot| slot.bytes()) {
                Some(bytes) => entries.push(bytes.clone()),
                None => {
                    mark!("shard_entries_sent_from_the_disk");
                    if self.unfetched.len() < limits::SHARD_UNFETCHED_MAX {
                        self.unfetched.push_back((id, message));
                    }
                    return;
                }
            }
            index = index.next();
        }
        if matches!(message.body, raft::Body::Vote { .. } | raft::Body::VoteReply { .. }) {
            // Whoever is made a leader needs to know what time it is, and that it was said just now:
            // so both say something. Should that be lost, it refuses commands until it hears again.
            self.say_pace(to);
        }
        let packet = Packet::Raft { group: id, message, entries };
        self.outbox.send(Envelope { to, packet });
    }

    /// What all groups have to say to a node about being alive goes in one packet.
    pub(super) fn send_beats(&mut self) {
        while let Some((to, beats)) = self.beats.pop_first() {
            self.outbox.send(Envelope { to, packet: Packet::Beats(beats) });
            self.say_pace(to);
        }
    }

    /// Names the seat of a replica that has shown nothing of the log, or nothing at all for a while:
    /// its node may not have the group yet, or by an older number.
    fn name_seat(&mut self, id: GroupId, replica: ReplicaId) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(seat) = group.roster.get(&replica).copied() else { return };
        let is_silent = |peer: &raft::Progress| peer.matched() == Index(0) || !peer.is_active();
        let mut peers = group.raft.peers().iter().filter(|peer| peer.id() == replica);
        if seat.directory != Uuid::default() && peers.any(is_silent) {
            let packet = Packet::Seat { group: id, replica, directory: seat.directory };
            self.outbox.send(Envelope { to: seat.node, packet });
        }
    }

    /// Writes what is to be written, if the journal is free.
    pub(super) fn write(&mut self) {
        let grade = self.room.grade(self.now());
        if self.journal.is_none() || grade == Grade::Nothing {
            return;
        }
        if grade == Grade::Relief && planted!("shard_full_disk_keeps_everything_back") {
            return;
        }
        let wants =
            !self.unsaved.is_empty() || self.settling.wants_frame() || self.snapshots.wants_frame();
        let wants = wants || self.mending.wants_frame() || self.scrubbing.wants_frame();
        let wants = wants || self.forward.wants_frame();
        if !wants {
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        let frame = self.frame(&mut journal, grade == Grade::Relief);
        if frame.is_empty() {
            self.journal = Some(journal);
            return;
        }
        self.pace.begin(self.now());
        let done = self.done.0.clone();
        self.working = Some(self.rt.task().spawn("journal", async move {
            let how = if planted!("shard_frame_not_synced") { Sync::Later } else { Sync::Now };
            let result = journal.append(frame, how).await;
            _ = done.push(Done::Written(journal, result));
        }));
    }

    /// What is to be written now: all of it, or what gives room back.
    fn frame(&mut self, journal: &mut Journal<R>, is_relief: bool) -> FrameBuilder {
        let mut frame = Load::new(journal.frame(), self.options.frame_bytes);
        // Nothing of it can be refused: others have heard of it, or wait behind it.
        frame.frame.promise();
        let mut flight = Flight { is_relief, ..Flight::default() };
        self.push_leaps(&mut frame);
        if frame.frame.is_empty() {
            self.push_all(&mut frame, &mut flight);
        }
        if is_relief && !(flight.moved.is_empty() && flight.derived.is_empty()) {
            frame.frame.relieve();
        }
        (flight.lines, flight.hards) = (frame.lines, frame.hards);
        self.flight = flight;
        frame.frame
    }

    fn push_all(&mut self, frame: &mut Load, flight: &mut Flight) {
        self.push_forward(frame, flight);
        self.push_unsaved(frame, flight);
        self.push_derived(frame, flight);
        if !flight.is_relief {
            self.push_values(frame, &mut flight.values);
        }
        self.push_lost_deletions(frame, &mut flight.deletions);
        self.push_anchors(frame, flight);
        (flight.installs, flight.swept) = self.push_installs(frame);
    }

    /// A term that is further away than any that can be missed is written down before anything is
    /// promised in it. Should the frame with the promise be lost, the terms in front of it bound
    /// what is lost (`recover.rs`).
    fn push_leaps(&mut self, frame: &mut Load) {
        for id in &self.unsaved {
            let Some(group) = self.groups.get(id) else { continue };
            let term = group.raft.term();
            let is_far = term.0 - group.term.0 > limits::RAFT_TERMS_MISSED_MAX / 2;
            if !is_far || planted!("shard_far_term_comes_with_its_promises") {
                continue;
            }
            mark!("shard_far_term_goes_first");
            let hard = HardState { vote: None, ..group.hard() };
            checkpoint::push_hard(frame, *id, hard, None);
        }
    }

    /// Puts what the cores want written into a frame.
    fn push_unsaved(&mut self, frame: &mut Load, flight: &mut Flight) {
        for id in mem::take(&mut self.unsaved) {
            if !frame.has_room(0) {
                self.unsaved.insert(id);
                continue;
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let waits = group.held.is_some() || self.peers.holds_checkpoints();
            let waits = waits && !group.void_again.is_empty();
            if waits || flight.is_relief && !group.gives_room_back() {
                self.unsaved.insert(id);
                continue;
            }
            let unsaved = mem::take(&mut group.unsaved);
            let is_kept = !planted!("shard_hard_state_not_written");
            if is_kept && (unsaved.hard.is_some() || unsaved.cut.is_some()) {
                checkpoint::push_hard(frame, id, group.raft.hard(), unsaved.cut);
            }
            let first = unsaved.first.unwrap_or(Index(u64::MAX));
            for (index, term, bytes) in group.window.launch(first) {
                flight.carries(frame, (id, index, term), &bytes);
                if group.void_again.get(&index) == Some(&true) {
                    push_deletions(frame, &bytes);
                }
            }
            flight.groups.push((id, unsaved));
        }
    }

    /// Puts checkpoints into a frame. One speaks of the log, and of what the state has taken, so it
    /// comes no earlier than these.
    fn push_anchors(&mut self, frame: &mut Load, flight: &mut Flight) {
        if self.peers.holds_checkpoints() {
            return;
        }
        let began = frame.bytes();
        let says =
            |id: &GroupId| self.groups.get(id).is_some_and(|group| !group.void_again.is_empty());
        let must: BTreeSet<GroupId> =
            flight.groups.iter().map(|(id, _)| *id).filter(says).collect();
        self.settling.anchor(must.iter().copied());
        for id in self.settling.take_anchors() {
            let Some(group) = self.groups.get(&id) else { continue };
            let is_ahead =
                group.held.is_some() && !flight.derived.iter().any(|(derived, _)| *derived == id);
            let has_room = frame.has_room(began) || must.contains(&id);
            let hard = self.hard_for_checkpoint(id, group).filter(|_| !is_ahead && has_room);
            let Some(hard) = hard else {
                mark!("shard_anchor_waits_for_its_log");
                self.settling.anchor([id]);
                continue;
            };
            let now = checkpoint::of(group);
            checkpoint::push_both(frame, id, hard, &now);
            let (covers, stamp) = (now.at.index, now.state.stamp());
            flight.anchors.push((id, Anchor { covers, stamp, ..Anchor::default() }));
        }
    }

    /// The disk has answered.
    pub(super) fn landed(&mut self, journal: Journal<R>, result: Result<Persisted, JournalError>) {
        self.working = None;
        self.lately = self.now();
        self.pace.end(self.lately);
        self.engine.set_files(journal.files());
        let flight = mem::take(&mut self.flight);
        match result {
            Ok(persisted) => {
                self.journal = Some(journal);
                self.take_landed(flight, &persisted);
            }
            Err(error) if error.is_retryable() => {
                mark!("shard_frame_found_no_room");
                tracing::warn!(%error, "nothing was written; trying again");
                self.journal = Some(journal);
                self.room.refused(self.now(), flight.is_relief);
                self.give_back(flight);
            }
            Err(error) => self.stopped = Some(Stopped::Journal(error)),
        }
    }

    fn take_landed(&mut self, flight: Flight, persisted: &Persisted) {
        for (nth, (kind, version)) in flight.lines.iter().enumerate() {
            self.engine.ledger_mut().wrote(persisted.loc(nth), *kind, *version);
        }
        // One frame lies in one segment.
        let at = self.settling.enter(persisted.loc(0).segment);
        // Not before: should the cut be lost, what it voids is the log.
        for (id, unsaved) in &flight.groups {
            unsaved.cut.into_iter().for_each(|from| self.settling.cut(*id, from));
        }
        for (id, from) in flight.moved {
            self.settling.cut(id, from);
            self.committed.insert(id);
        }
        let now = self.lately;
        for flying in flight.entries {
            let Flying { group: id, index, term, bytes, record } = flying;
            let loc = persisted.loc(record);
            let extent = Extent { segment: loc.segment, offset_words: loc.offset_words, bytes };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(before) = group.window.landed(index, term, extent) else {
                mark!("shard_replaced_while_being_written");
                self.settling.died(extent);
                if group.window.slot(index).is_none() {
                    mark!("shard_mended_entry_compacted_meanwhile");
                    group.mended.remove(&index);
                    if group.void_again.remove(&index).is_some() {
                        group.void.insert(index, extent);
                    }
                }
                continue;
            };
            group.has_landed(index, now);
            before.into_iter().for_each(|before| _ = self.settling.died(before));
            self.settling.wrote(id, index, extent);
            if let Some(old) = group.mended.remove(&index) {
                self.counts.entries_mended += 1;
                // Applying may have stopped before it.
                self.committed.insert(id);
                self.point_at_mended(id, index, extent, old);
                // It was held until it was on the disk; applying lets go of no more than it applies.
                if let Some(group) = self.groups.get_mut(&id)
                    && !planted!("shard_mended_entry_held_for_good")
                {
                    group.window.trim(self.options.cache_bytes, group.raft.applied());
                }
            }
        }
        for (id, record) in flight.derived {
            self.derived_landed(id, record, persisted);
        }
        self.values_landed(flight.values, persisted);
        self.deletions_landed(flight.deletions, true);
        for (id, anchor) in flight.anchors {
            if let Some(group) = self.groups.get_mut(&id) {
                group.anchor = Anchor { at, ..anchor };
            }
        }
        for id in flight.swept {
            self.swept(id, persisted.loc(0).segment);
        }
        for id in flight.installs {
            self.snapshot_counts(id, at);
        }
        for (id, hard) in flight.hards {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            always!(hard.commit >= group.commit, "what is known as committed is not forgotten");
            group.term = group.term.max(hard.term);
            group.commit = group.commit.max(hard.commit);
        }
        for (id, unsaved) in flight.groups {
            if let Some(write) = unsaved.newest {
                self.step(id, Input::Persisted(write.persisted(&OnDisk)));
            }
        }
    }

    /// An entry was damaged and is written again: what its old records were the values of lies in
    /// the new ones. If it was applied and nothing points at it, it has no effect any more or never
    /// had one, and the new copy must not get one.
    fn point_at_mended(&mut self, id: GroupId, index: Index, extent: Extent, old: SegmentId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.void_again.remove(&index);
        if is_void(group, self.engine.tree(id), index) {
            mark!("shard_mended_entry_without_effect");
            group.void.insert(index, extent);
            return;
        }
        let Some(slot) = group.window.slot(index) else { return };
        let Some(Ok(entry)) = slot.bytes().map(|bytes| Entry::parse(bytes)) else { return };
        for (offset, len, record) in entry.records().filter(|(.., record)| !record.key.is_empty()) {
            let to = Some(extent.loc_of(offset, len));
            let moved = Moved { group: id, key: record.key, version: record.version, to };
            self.engine.relocate(&moved, &[old]);
        }
    }

    /// Nothing of the frame was written.
    fn give_back(&mut self, flight: Flight) {
        for (id, older) in flight.groups {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.window.recall();
            group.unsaved.add_older(older);
            self.unsaved.insert(id);
        }
        for (id, _) in flight.moved {
            let group = self.groups.get_mut(&id);
            group.into_iter().for_each(|group| group.window.recall());
            self.committed.insert(id);
        }
        self.settling.anchor(flight.anchors.into_iter().map(|(id, _)| id));
        for (id, _) in flight.derived {
            self.derived_failed(id);
        }
        self.values_failed(flight.values);
        self.installs_failed();
        self.deletions_landed(flight.deletions, false);
    }
}

/// Puts into a frame what an entry deleted, without the rest of it.
fn push_deletions(frame: &mut Load, bytes: &Bytes) {
    let Ok(entry) = Entry::parse(bytes) else { return };
    let deletions = entry.records().map(|(.., record)| record);
    for deletion in deletions.filter(|record| record.kind == RecordKind::Tombstone) {
        mark!("shard_deletion_outlives_its_entry");
        if !planted!("shard_void_copy_loses_deletions") {
            frame.push(&deletion.as_state());
        }
    }
}

/// Whether an entry was applied without effect, or the index has nothing of it any more. What is
/// judged and held for its derived records is in no index yet.
fn is_void(group: &Group, tree: Option<&Tree>, index: Index) -> bool {
    let bytes = group.window.slot(index).and_then(Slot::bytes);
    let entry = bytes.and_then(|bytes| Entry::parse(bytes).ok());
    let had = |entry: Entry<'_>| has_effect(tree, entry.records().map(|(.., record)| record));
    let is_gone = index <= group.raft.applied() && entry.is_some_and(|entry| !had(entry));
    is_gone || group.void.contains_key(&index)
}

/// Whether an applied entry's records may count, as the index has it.
///
/// An entry counts with all of its records or with none. Had it counted, it would have replaced or
/// removed whatever is older; and where the index has a value of it, it has counted. A deletion of
/// what is not there and a value that a newer one hides do no harm. What is left are values of keys
/// that are not there: deleted later, or never counted, and then they must not come back.
fn has_effect<'a>(tree: Option<&Tree>, records: impl Iterator<Item = Record<'a>>) -> bool {
    let (mut counted, mut revives) = (false, false);
    for record in records {
        let place = tree.and_then(|tree| tree.get(record.key));
        if place.is_some_and(|place| place.version < record.version) {
            return false;
        }
        counted |= place.is_some_and(|place| place.version == record.version);
        revives |= place.is_none() && record.kind != RecordKind::Tombstone;
    }
    counted || !revives
}

/// The entries that a message carries.
pub(super) const fn named(message: &Message) -> (Index, Index) {
    match message.body {
        raft::Body::Append { prev, last, .. } => (Index(prev.index.0 + 1), last),
        raft::Body::Repair { id } => (id.index, id.index),
        _ => (Index(1), Index(0)),
    }
}

/// An entry that the core made itself.
fn own_entry(id: GroupId, group: &mut Group, index: Index, time_ms: u64, now: Moment) -> Bytes {
    let head = group.raft.log().head(index);
    let term = head.map_or(Term(0), |head| head.term);
    let stamp = group.next_stamp(time_ms, now);
    let body: Body = match head.map(|head| head.kind) {
        Some(Kind::Leave) => Body::Leave,
        _ => Body::Noop,
    };
    let mut buffer = BytesMut::new();
    encode(&mut buffer, Place { group: id, term, index, stamp }, &body);
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::Origin, types::Loc, value::Place};

    /// Entry 5 puts some keys and deletes others; the index has some keys at some versions.
    fn counts(puts: &[&str], deletes: &[&str], index: &[(&str, u64)]) -> bool {
        let mut tree = Tree::new();
        for (key, version) in index {
            let loc = Loc { segment: SegmentId(1), offset_words: 0, len: 8 };
            let place = Place { loc, version: Version(*version), expires_ms: None };
            tree.insert(key.as_bytes(), place);
        }
        let record = |kind, key: &'static str| Record {
            group: GroupId(1),
            kind,
            version: Version(5),
            term: Term(1),
            expires_ms: None,
            origin: Origin::Part,
            key: key.as_bytes(),
            value: &[],
        };
        let keys = |of: &[&str]| -> Vec<&'static str> {
            ["a", "b"].into_iter().filter(|key| of.contains(key)).collect()
        };
        let puts = keys(puts).into_iter().map(|key| record(RecordKind::Put, key));
        let deletes = keys(deletes).into_iter().map(|key| record(RecordKind::Tombstone, key));
        has_effect(Some(&tree), puts.chain(deletes))
    }

    #[test]
    fn what_had_no_effect_gets_none_by_what_it_deletes() {
        assert!(counts(&["a"], &[], &[("a", 5)]));
        assert!(counts(&["a"], &["b"], &[("a", 5)]));
        assert!(counts(&["a"], &["b"], &[("a", 5), ("b", 7)]));
        assert!(!counts(&["a"], &["b"], &[]), "whether or not, `a` must not come back");
        assert!(!counts(&["a"], &["b"], &[("a", 3)]), "it would have replaced `a`");
        assert!(!counts(&["a"], &["b"], &[("b", 3)]), "it would have removed `b`");
        assert!(counts(&["a"], &["b"], &[("a", 7)]), "`b` must not come back");
        assert!(counts(&[], &["a"], &[]));
        assert!(!counts(&[], &["a", "b"], &[("b", 3)]), "it would have removed `b`");
    }
}
