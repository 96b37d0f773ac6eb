//! Snapshots: a group's state for a replica whose log is too far behind, or damaged.
//!
//! ```text
//!   view ─► pages ─► records ─► chunks ─────► links ─────► intake ─► data segments (durable)
//!          (a task of the sender)    ◄──────── acks          (a task of the receiver)  │
//!                                                                                      ▼
//!                            one frame: deletions, hard state, checkpoint ◄── manifest lists them
//! ```
//! The bytes of a snapshot are a header (the checkpoint of the view) and the group's records in the
//! order of keys, cut into chunks between records. Each chunk names the checksum of everything up
//! to its end. A receiver takes in one at a time and says how far it is, so a lost link costs the piece
//! that was on it. Nothing of it happens in the shard's own task but handing over.
//!
//! # Why installing needs no commit point of its own
//! A record is a true fact of the group's history wherever it lies: *this was the value at that
//! version*. Loading takes the newest fact of each key no newer than the newest checkpoint. So the
//! segments may be listed first, and count for nothing; the frame with the new checkpoint makes them
//! count. What the old index had and the snapshot has not gets a deletion in that frame, or in
//! earlier ones when there is much of it; a compaction leaves the segments of those alone until they
//! count. Seats that the snapshot tells of are written down before its checkpoint covers them.
//! Entries that this replica had and never applied are void then: what became of them, the snapshot
//! knows. Those that it has applied still count, deletions above all: an older record of the key may
//! lie in a settled segment. While a snapshot is being installed its group applies nothing.
//!
//! Not here: who needs one and whether it is taken (`raft`), who sends it (`source.rs`), the task that
//! takes it in (`intake.rs`).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use bytes::{Bytes, BytesMut};
use core::{num::NonZeroU64, ops::Bound, time::Duration};

use super::{
    Outbox, Shard, Stopped,
    checkpoint::{self, Checkpoint},
    cut::Paged,
    group::Group,
    intake::Intake,
    source::{Asked, Watched},
    write::Load,
};
use crate::{
    codec,
    journal::{
        Claim, DataSegment, DataWriter, Journal, JournalError, ManifestEdit, Origin, Record,
        RecordKind,
    },
    limits, mark,
    packet::{Chunk, ChunkAck, ChunkState, Envelope, Packet, SnapshotId},
    planted,
    raft::{EntryId, Input, Moment},
    runtime::{Clock, Handle, Receiver, Rng, Runtime, Sender, Task, queue, timeout},
    types::{GroupId, Index, NodeId, ReplicaId, SegmentId, Version},
    value::{Cursor, IndexView, Scan, Tree, View},
};

/// How long a sender waits for an answer before it sends a chunk again.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// How often it sends the same chunk before it gives up.
pub(super) const TRIES: u32 = 20;
/// For how long an intake that was given nothing still stands against another sending: longer than
/// a sender waits before it comes again, shorter than anybody waits for a sender that is gone.
pub(super) const RIVAL_PATIENCE: Duration = PATIENCE.saturating_mul(4);

/// What the tasks of snapshots tell the shard.
pub(super) enum News<R: Runtime> {
    /// A packet is to be sent.
    Send(Envelope),
    /// A sending has ended.
    Sent(SnapshotId, bool),
    /// An intake has so much.
    Going(SnapshotId, u64),
    /// A snapshot is whole and durable, and part of nothing yet.
    Arrived(Box<Arrived<R>>),
    /// An intake gave up, and has removed its files.
    Failed(SnapshotId),
    /// An intake needs another segment.
    Wants(SnapshotId),
    /// A value that was to be sent cannot be read.
    Broke(GroupId, Vec<u8>),
    /// A page of a cut was read.
    Paged(Paged),
}

/// A snapshot that has arrived.
pub(super) struct Arrived<R: Runtime> {
    id: SnapshotId,
    from: NodeId,
    checkpoint: Checkpoint,
    segments: Vec<DataSegment<R>>,
    /// The same, by number.
    numbers: Vec<SegmentId>,
    tree: Tree,
    swept: Swept,
}

impl<R: Runtime> Arrived<R> {
    pub(super) fn new(
        id: SnapshotId,
        from: NodeId,
        checkpoint: Checkpoint,
        segments: Vec<DataSegment<R>>,
        tree: Tree,
    ) -> Self {
        let numbers = segments.iter().map(DataSegment::id).collect();
        Self { id, from, checkpoint, segments, numbers, tree, swept: Swept::default() }
    }
}

/// How far the deletion of what a snapshot has not has come.
#[derive(Debug, Default)]
struct Swept {
    /// The last key of the old index that was deleted; and whether all of them were looked at.
    key: Option<Vec<u8>>,
    is_old_done: bool,
    /// How many of the values that no index knows.
    uncounted: usize,
    /// Where the deletions lie that are durable. Nothing hides behind them yet, and a compaction
    /// would take them for what an ended life has left.
    segments: BTreeSet<SegmentId>,
}

/// A snapshot that is being sent.
pub(super) struct Sending<R: Runtime> {
    pub(super) id: SnapshotId,
    /// The leader that has asked for it, if it is another one.
    pub(super) asked_by: Option<NodeId>,
    acks: Sender<ChunkAck>,
    _task: <R::Task as Task>::Handle,
}

/// A snapshot that is being received.
pub(super) struct Receiving<R: Runtime> {
    id: SnapshotId,
    from: NodeId,
    /// How far it is, and when its sender was heard last.
    offset: u64,
    heard_at: Moment,
    chunks: Sender<Chunk>,
    writers: Sender<DataWriter<R>>,
    task: <R::Task as Task>::Handle,
}

/// What of a group's snapshot is under way.
pub(super) struct Snapshots<R: Runtime> {
    pub(super) sending: BTreeMap<(GroupId, ReplicaId), Sending<R>>,
    pub(super) receiving: BTreeMap<GroupId, Receiving<R>>,
    /// Intakes that wait for another segment: the journal gives out their numbers.
    hungry: Vec<SnapshotId>,
    /// Intakes that another one has taken the place of, until they have removed their files.
    ending: Vec<(SnapshotId, <R::Task as Task>::Handle)>,
    /// Listed, and to be made to count by the next frame.
    pub(super) installing: BTreeMap<GroupId, Box<Arrived<R>>>,
    /// Being listed.
    pub(super) listing: Vec<SegmentId>,
    /// Arrived; waits for the journal to list it.
    pub(super) arrived: Vec<Arrived<R>>,
    /// Sendings of others to replicas of groups that are led here.
    pub(super) watched: BTreeMap<(GroupId, ReplicaId), Watched>,
    /// What leaders have asked for and was not begun yet.
    pub(super) asked: BTreeMap<(GroupId, ReplicaId), Asked>,
    pub(super) news: (Sender<News<R>>, Receiver<News<R>>),
}

impl<R: Runtime> Default for Snapshots<R> {
    fn default() -> Self {
        Self {
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            hungry: Vec::new(),
            ending: Vec::new(),
            installing: BTreeMap::new(),
            listing: Vec::new(),
            arrived: Vec::new(),
            watched: BTreeMap::new(),
            asked: BTreeMap::new(),
            news: queue(limits::SHARD_SNAPSHOT_NEWS_MAX),
        }
    }
}

impl<R: Runtime> Snapshots<R> {
    fn is_installing(&self, group: GroupId) -> bool {
        self.installing.contains_key(&group)
            || self.arrived.iter().any(|arrived| arrived.id.group == group)
    }

    /// How many are being taken in, or are here and do not count yet.
    pub(super) fn taken_in(&self) -> usize {
        let listing = usize::from(!self.listing.is_empty());
        self.receiving.len() + self.arrived.len() + listing + self.installing.len()
    }

    /// Whether one of that group is being received.
    fn takes(&self, group: GroupId) -> bool {
        self.receiving.contains_key(&group)
    }

    /// Intakes that another one has taken the place of, and those that wait for a segment.
    pub(super) fn leftovers(&self) -> (usize, usize) {
        (self.ending.len(), self.hungry.len())
    }

    /// Segments with what does not count yet, but is about to: those that are listed or being
    /// listed, and those with deletions.
    pub(super) fn uncounted(&self) -> impl Iterator<Item = SegmentId> {
        let listed = self.installing.values().flat_map(|arrived| arrived.numbers.iter());
        let swept = self.installing.values().flat_map(|arrived| arrived.swept.segments.iter());
        let swept = swept.filter(|_| !planted!("shard_compaction_takes_what_is_swept"));
        listed.chain(swept).chain(self.listing.iter()).copied()
    }

    /// Whether a frame is wanted.
    pub(super) fn wants_frame(&self) -> bool {
        !self.installing.is_empty()
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Sends a replica a group's snapshot, or puts that off.
    pub(super) fn send_snapshot(&mut self, id: GroupId, to: ReplicaId) {
        if !self.snapshots.sending.contains_key(&(id, to)) && !self.begin_sending(id, to, None) {
            mark!("shard_snapshot_put_off");
            self.step(id, Input::SnapshotSent { to, arrived: false });
        }
    }

    /// Begins to send a replica a group's snapshot, if it can be done now.
    pub(super) fn begin_sending(
        &mut self,
        id: GroupId,
        to: ReplicaId,
        asked_by: Option<NodeId>,
    ) -> bool {
        let is_busy = self.snapshots.sending.len() >= limits::SHARD_SNAPSHOTS_AT_ONCE;
        let Some(group) = self.groups.get(&id) else { return false };
        let node = group.roster.get(&to).map(|seat| seat.node);
        // A held batch has changed the state and not the index.
        let (Some(node), false, None) = (node, is_busy, &group.held) else { return false };
        let checkpoint = checkpoint::of(group);
        let from = group.raft.id();
        let sending = self.rng.next_u64();
        let snapshot = SnapshotId { group: id, from, to, at: checkpoint.at, sending };
        tracing::info!(group = %id, %to, at = %checkpoint.at, "sending a snapshot");
        self.counts.snapshots_begun += 1;
        let header = checkpoint::encode(&checkpoint);
        let (acks, answers) = queue(limits::SHARD_SNAPSHOT_NEWS_MAX);
        let (rt, view, news) = (self.rt.clone(), self.view(id), self.snapshots.news.0.clone());
        let task = self.rt.task().spawn("snapshot out", async move {
            let mut line = Line { rt, node, id: snapshot, offset: 0, crc: 0, answers, news };
            let arrived = stream(&mut line, &view, header).await;
            _ = line.news.send(News::Sent(snapshot, arrived)).await;
        });
        let sending = Sending { id: snapshot, asked_by, acks, _task: task };
        self.snapshots.sending.insert((id, to), sending);
        true
    }

    /// Somebody says how far a snapshot is.
    pub(super) fn take_chunk_ack(&mut self, by: NodeId, ack: ChunkAck) {
        let key = (ack.id.group, ack.id.to);
        match self.snapshots.sending.get(&key) {
            Some(sending) if sending.id == ack.id => {
                // A full queue has older answers; the sender asks again.
                _ = sending.acks.push(ack);
            }
            _ => self.hear_of_another(by, ack),
        }
    }

    /// A piece of a snapshot arrives.
    pub(super) fn take_chunk(&mut self, from: NodeId, chunk: Chunk) {
        let (id, now) = (chunk.id, self.now());
        let Some(group) = self.groups.get(&id.group) else { return };
        let is_elsewhere = group.roster.get(&id.from).is_some_and(|seat| seat.node != from);
        let is_strange = is_elsewhere && !planted!("shard_chunk_of_a_stranger_taken");
        if id.to != group.raft.id() || is_strange {
            mark!("shard_chunk_of_a_stranger");
            return self.answer_chunk(from, id, 0, ChunkState::Refused);
        }
        if id.at.index <= group.raft.applied() {
            return self.tell_of_intake(from, id, 0, ChunkState::Whole);
        }
        if self.snapshots.is_installing(id.group) {
            // Whoever sent that one hears when it counts. The leader hears that it is under way.
            return self.tell_leader(from, id, chunk.offset, ChunkState::Going);
        }
        if let Some(other) = self.rival(id, now) {
            mark!("shard_moving_intake_goes_on");
            return self.tell_of_intake(from, other.0, other.1, ChunkState::Going);
        }
        let is_known =
            self.snapshots.receiving.get(&id.group).is_some_and(|receiving| receiving.id == id);
        if !is_known {
            if chunk.offset > 0 {
                // From before this life: it begins again.
                return self.tell_of_intake(from, id, 0, ChunkState::Refused);
            }
            if !self.begin_intake(from, id) {
                // It is sent again.
                mark!("shard_intake_put_off");
                return;
            }
        }
        if let Some(receiving) = self.snapshots.receiving.get_mut(&id.group) {
            receiving.heard_at = now;
            _ = receiving.chunks.push(chunk);
        }
    }

    /// The intake that stands against a sending of somebody else: one that moves is gone on with,
    /// whoever leads by now. What the same replica sends anew takes its own place.
    fn rival(&self, id: SnapshotId, now: Moment) -> Option<(SnapshotId, u64)> {
        let moving = self.snapshots.receiving.get(&id.group)?;
        let is_another = moving.id.from != id.from;
        let moves = now < moving.heard_at + RIVAL_PATIENCE;
        let stands = is_another && moves && !planted!("shard_moving_intake_is_replaced");
        stands.then_some((moving.id, moving.offset))
    }

    fn answer_chunk(&mut self, to: NodeId, id: SnapshotId, offset: u64, state: ChunkState) {
        let packet = Packet::ChunkAck(ChunkAck { id, offset, state });
        self.outbox.send(Envelope { to, packet });
    }

    /// Tells a group's leader how far a snapshot is, if that is not who sends it.
    fn tell_leader(&mut self, from: NodeId, id: SnapshotId, offset: u64, state: ChunkState) {
        let leader = self.groups.get(&id.group).and_then(Group::leader_node);
        if let Some(leader) = leader.filter(|leader| *leader != from && *leader != self.node) {
            self.answer_chunk(leader, id, offset, state);
        }
    }

    /// Tells whoever sends a snapshot how far it is, and the leader.
    fn tell_of_intake(&mut self, from: NodeId, id: SnapshotId, offset: u64, state: ChunkState) {
        self.answer_chunk(from, id, offset, state);
        self.tell_leader(from, id, offset, state);
    }

    /// Gives segments to intakes that wait for one, if the journal is here.
    pub(super) fn feed_intakes(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        for id in core::mem::take(&mut self.snapshots.hungry) {
            // One that another has taken the place of waits no more.
            let receiving = self.snapshots.receiving.get(&id.group);
            if let Some(receiving) = receiving.filter(|one| one.id == id) {
                _ = receiving.writers.push(journal.data_writer(Claim::Moving));
            }
        }
    }

    /// Begins to take a snapshot in, in the place of one that is not wanted any more. That one ends
    /// by itself when nobody sends it anything, and takes its files along.
    fn begin_intake(&mut self, from: NodeId, id: SnapshotId) -> bool {
        let taken = self.snapshots.taken_in() - usize::from(self.snapshots.takes(id.group));
        let is_busy =
            taken >= limits::SHARD_INTAKES_AT_ONCE && !planted!("shard_intakes_have_no_end");
        if is_busy || self.snapshots.ending.len() >= limits::SHARD_SNAPSHOTS_AT_ONCE {
            return false;
        }
        if let Some(old) = self.snapshots.receiving.remove(&id.group) {
            mark!("shard_intake_replaced");
            self.snapshots.ending.push((old.id, old.task));
        }
        let (chunks, arriving) = queue(2);
        let (writers, segments) = queue(1);
        let (rt, news) = (self.rt.clone(), self.snapshots.news.0.clone());
        let segment_bytes = self.options.journal.segment_bytes_max;
        let intake = Intake::new(id, from, segments, segment_bytes, news.clone());
        let task = self.rt.task().spawn("snapshot in", async move {
            let told = match intake.run(&rt, arriving).await {
                Some(arrived) => News::Arrived(Box::new(arrived)),
                None => News::Failed(id),
            };
            _ = news.send(told).await;
        });
        let heard_at = self.now();
        let receiving = Receiving { id, from, offset: 0, heard_at, chunks, writers, task };
        self.snapshots.receiving.insert(id.group, receiving);
        true
    }

    /// An intake has ended. Where its snapshot comes from, if it still stands for its group.
    fn intake_ended(&mut self, id: SnapshotId) -> Option<NodeId> {
        self.snapshots.ending.retain(|(ended, _)| *ended != id);
        let is_it = self.snapshots.receiving.get(&id.group).is_some_and(|one| one.id == id);
        let ended = if is_it { self.snapshots.receiving.remove(&id.group) } else { None };
        ended.map(|ended| ended.from)
    }

    /// A task of a snapshot has something to say.
    pub(super) fn take_news(&mut self, news: News<R>) {
        match news {
            News::Send(envelope) => self.outbox.send(envelope),
            News::Sent(id, arrived) => self.sending_ended(id, arrived),
            News::Going(id, offset) => {
                let intake = self.snapshots.receiving.get_mut(&id.group);
                if let Some(intake) = intake.filter(|intake| intake.id == id) {
                    intake.offset = offset;
                    let from = intake.from;
                    self.tell_of_intake(from, id, offset, ChunkState::Going);
                }
            }
            News::Failed(id) => {
                if let Some(from) = self.intake_ended(id) {
                    self.tell_of_intake(from, id, 0, ChunkState::Refused);
                }
            }
            News::Wants(id) => {
                self.snapshots.hungry.push(id);
            }
            News::Broke(group, key) => self.broke(group, &key),
            News::Paged(paged) => self.take_page(paged),
            News::Arrived(arrived) => {
                self.intake_ended(arrived.id);
                self.snapshots.arrived.push(*arrived);
            }
        }
    }

    /// Asks the core whether it wants what has arrived, and lets the manifest list it.
    pub(super) fn take_in(&mut self) {
        if self.snapshots.arrived.is_empty() || self.journal.is_none() {
            return;
        }
        let mut arrived = Box::new(self.snapshots.arrived.remove(0));
        let (id, at) = (arrived.id.group, arrived.checkpoint.at);
        // An intake that was replaced may have had all of it, and its successor too.
        let is_second = self.snapshots.installing.contains_key(&id);
        let is_wanted = !is_second && self.wants_snapshot(&arrived.checkpoint, id);
        if !is_wanted {
            mark!("shard_snapshot_not_wanted");
            if !is_second {
                self.step(id, Input::SnapshotInstalled { at });
            }
            let rt = self.rt.clone();
            let segments = core::mem::take(&mut arrived.segments);
            let discard = async move {
                for segment in segments {
                    segment.discard(&rt).await;
                }
            };
            self.rt.task().spawn("discard", discard).detach();
            return self.tell_of_intake(arrived.from, arrived.id, 0, ChunkState::Refused);
        }
        let Some(mut journal) = self.journal.take() else { return };
        let add = core::mem::take(&mut arrived.segments);
        self.snapshots.listing.clone_from(&arrived.numbers);
        let back = self.done.0.clone();
        self.working = Some(self.rt.task().spawn("list snapshot", async move {
            let lines = add.iter().map(super::compaction::line_of).collect();
            let edit = ManifestEdit { add, ..ManifestEdit::default() };
            let result = journal.edit(edit).await;
            _ = back.push(super::Done::Listed(journal, result, arrived, lines));
        }));
    }

    /// Whether the core wants a snapshot, and it says anything new.
    fn wants_snapshot(&mut self, checkpoint: &Checkpoint, id: GroupId) -> bool {
        let (at, membership) = (checkpoint.at, &checkpoint.membership);
        self.step(id, Input::SnapshotArrived { at, membership });
        self.groups.get(&id).is_some_and(|group| {
            group.raft.installing() == Some(at) && group.raft.applied() < at.index
        })
    }

    /// A snapshot's segments are listed, or not.
    pub(super) fn listed(
        &mut self,
        journal: Journal<R>,
        result: Result<(), JournalError>,
        arrived: Box<Arrived<R>>,
        lines: Vec<(SegmentId, crate::value::Line)>,
    ) {
        self.working = None;
        self.snapshots.listing.clear();
        self.engine.set_files(journal.files());
        self.journal = Some(journal);
        match result {
            Ok(()) => {
                for (id, line) in lines {
                    self.engine.ledger_mut().edit(id, |made| *made = line);
                }
                // Before its checkpoint covers them.
                if !planted!("shard_install_covers_unwritten_seats") {
                    self.learn_seats(arrived.id.group, &arrived.checkpoint);
                }
                self.snapshots.installing.insert(arrived.id.group, arrived);
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "a snapshot could not be listed");
                let (id, at) = (arrived.id.group, arrived.checkpoint.at);
                self.step(id, Input::SnapshotAbandoned { at });
                self.tell_of_intake(arrived.from, arrived.id, 0, ChunkState::Refused);
            }
            Err(error) => self.stopped = Some(Stopped::Journal(error)),
        }
    }

    /// What a snapshot's members sit in, and the group had not heard of, is to be written down.
    fn learn_seats(&mut self, id: GroupId, checkpoint: &Checkpoint) {
        let Some(group) = self.groups.get(&id) else { return };
        let seats = checkpoint.roster.iter();
        let new = seats.filter(|(id, _)| !group.roster.contains_key(*id));
        self.peers.learn(new.map(|(_, seat)| *seat));
    }

    /// Puts into a frame what makes listed snapshots count. Answers their groups, and those of which
    /// it carries only deletions.
    pub(super) fn push_installs(&mut self, frame: &mut Load) -> (Vec<GroupId>, Vec<GroupId>) {
        let (mut pushed, mut swept) = (Vec::new(), Vec::new());
        if self.peers.holds_checkpoints() {
            mark!("shard_snapshot_waits_for_its_seats");
            return (pushed, swept);
        }
        let began = frame.bytes();
        for (id, arrived) in &mut self.snapshots.installing {
            let Some(group) = self.groups.get(id) else { continue };
            let at = arrived.checkpoint.at;
            if group.held.is_some() || self.unsaved.contains(id) {
                // What is judged counts first: the state and the index must be of one entry. And the
                // hard state speaks of a log that must be durable.
                mark!("shard_snapshot_waits_for_an_apply");
                continue;
            }
            if group.raft.applied() >= at.index {
                pushed.push(*id);
                continue;
            }
            if !sweep(frame, began, group, arrived, self.engine.tree(*id)) {
                mark!("shard_snapshot_deletes_in_several_frames");
                swept.push(*id);
                continue;
            }
            let first = group.raft.applied().next();
            let last = at.index.min(group.window.last());
            // Whoever sent it knows where this replica sits; if not, nobody may forget it here.
            let own = group.raft.id();
            if let Some(seat) = group.roster.get(&own) {
                arrived.checkpoint.roster.entry(own).or_insert(*seat);
            }
            let void = group.void.keys().chain(group.void_again.keys());
            arrived.checkpoint.void = void.copied().collect();
            let unapplied = (first.0..=last.0).map(Index);
            arrived.checkpoint.void.extend(unapplied);
            checkpoint::push_both(frame, *id, group.raft.hard(), &arrived.checkpoint);
            pushed.push(*id);
        }
        (pushed, swept)
    }

    /// Deletions of a snapshot that does not count yet are durable.
    pub(super) fn swept(&mut self, id: GroupId, segment: SegmentId) {
        if let Some(arrived) = self.snapshots.installing.get_mut(&id) {
            arrived.swept.segments.insert(segment);
        }
    }

    /// Nothing of a frame was written: what it deleted is to be deleted again.
    pub(super) fn installs_failed(&mut self) {
        for arrived in self.snapshots.installing.values_mut() {
            arrived.swept = Swept::default();
        }
    }

    /// The frame that makes a snapshot count is durable.
    pub(super) fn snapshot_counts(&mut self, id: GroupId, at_segment: super::settle::Sequence) {
        let Some(arrived) = self.snapshots.installing.remove(&id) else { return };
        let now = self.now();
        let Arrived { id: snapshot, from, checkpoint, tree, .. } = *arrived;
        if planted!("shard_install_covers_unwritten_seats") {
            self.learn_seats(id, &checkpoint);
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        let at = checkpoint.at;
        if group.raft.applied() < at.index {
            mark!("shard_snapshot_installed");
            self.counts.snapshots_installed += 1;
            tracing::info!(group = %id, %at, keys = tree.len(), "a snapshot is installed");
            let mut index = group.raft.applied().next();
            while let Some(slot) = group.window.slot(index).filter(|_| index <= at.index) {
                if let Some(extent) = slot.extent() {
                    group.void.insert(index, extent);
                }
                index = index.next();
            }
            if group.raft.log().has(at) {
                group.window.compact(at.index);
            } else {
                for extent in group.window.cut(group.raft.applied().next()) {
                    self.settling.died(extent);
                }
                group.window.restart(at.index);
                self.settling.cut(id, at.index.next());
            }
            let stamp = checkpoint.state.stamp();
            group.saw_stamp(stamp, now);
            group.state = checkpoint.state;
            group.roster = checkpoint.roster;
            group.knows_seats();
            group.committed = group.committed.max(at.index);
            group.anchor = super::settle::Anchor { at: at_segment, covers: at.index, stamp };
            self.engine.replace(id, tree, Version(at.index.0));
            self.goes_on(id);
        }
        self.step(id, Input::SnapshotInstalled { at });
        self.committed.insert(id);
        self.readable.insert(id);
        self.tell_of_intake(from, snapshot, 0, ChunkState::Whole);
    }
}

/// Deletes what was there and the snapshot has not, as far as there is room in the frame. Answers
/// whether that is all. A deletion counts only behind a checkpoint of its entry, so what goes into
/// earlier frames changes nothing before the last one does.
fn sweep<R: Runtime>(
    frame: &mut Load,
    began: usize,
    group: &Group,
    arrived: &mut Arrived<R>,
    old: Option<&Tree>,
) -> bool {
    let Arrived { id, checkpoint, tree: new, swept, .. } = arrived;
    let (id, at) = (id.group, checkpoint.at);
    let has_room = |frame: &Load| frame.has_room(began);
    let start = swept.key.take();
    let start = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut cursor =
        old.filter(|_| !swept.is_old_done).map(|old| old.range(start, Bound::Unbounded));
    while let Some((key, _)) = cursor.as_mut().and_then(Cursor::next) {
        if new.get(key).is_some() || planted!("shard_snapshot_keeps_deleted_keys") {
            continue;
        }
        push_deletion(frame, id, at, key);
        if !has_room(frame) {
            swept.key = Some(key.to_vec());
            return false;
        }
    }
    swept.is_old_done = true;
    for (_, key) in group.uncounted.iter().skip(swept.uncounted) {
        swept.uncounted += 1;
        let is_known = old.is_some_and(|old| old.get(key).is_some());
        if !is_known && new.get(key).is_none() {
            mark!("shard_uncounted_record_deleted");
            push_deletion(frame, id, at, key);
            if !has_room(frame) {
                return false;
            }
        }
    }
    true
}

fn push_deletion(frame: &mut Load, id: GroupId, at: EntryId, key: &[u8]) {
    let record = Record {
        group: id,
        kind: RecordKind::Tombstone,
        version: Version(at.index.0),
        term: at.term,
        expires_ms: None,
        origin: Origin::State,
        key,
        value: &[],
    };
    frame.push(&record);
}

/// One end of a sending.
struct Line<R: Runtime> {
    rt: R,
    node: NodeId,
    id: SnapshotId,
    offset: u64,
    crc: u32,
    answers: Receiver<ChunkAck>,
    news: Sender<News<R>>,
}

impl<R: Runtime> Line<R> {
    /// Sends a chunk until the other side has it. False when it is of no use to go on.
    async fn send(&mut self, bytes: Bytes, is_last: bool) -> bool {
        self.crc = codec::crc(self.crc, &bytes);
        let end = self.offset + bytes.len() as u64;
        for _ in 0..TRIES {
            let chunk = Chunk {
                id: self.id,
                offset: self.offset,
                bytes: bytes.clone(),
                crc: self.crc,
                is_last,
            };
            let envelope = Envelope { to: self.node, packet: Packet::Chunk(chunk) };
            if self.news.send(News::Send(envelope)).await.is_err() {
                return false;
            }
            let deadline = self.rt.clock().now() + PATIENCE;
            while let Ok(Ok(ack)) = timeout(self.rt.clock(), deadline, self.answers.recv()).await {
                match ack.state {
                    ChunkState::Whole => return is_last,
                    ChunkState::Refused => return false,
                    ChunkState::Going if ack.offset == end && !is_last => {
                        self.offset = end;
                        return true;
                    }
                    ChunkState::Going => {}
                }
            }
            mark!("shard_chunk_sent_again");
        }
        false
    }
}

/// Sends a whole snapshot.
async fn stream<R: Runtime>(line: &mut Line<R>, view: &IndexView<R>, header: Vec<u8>) -> bool {
    let group = line.id.group;
    let mut out = BytesMut::new();
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let scan = Scan {
            start,
            end: Bound::Unbounded,
            keys_max: limits::SHARD_SNAPSHOT_KEYS_AT_ONCE,
            bytes_max: limits::SHARD_CHUNK_BYTES,
        };
        // By no time at all: what has expired goes along, and everybody drops it alike.
        let Ok(page) = view.scan(scan, 0).await else {
            mark!("shard_snapshot_met_damage");
            if let Some(key) = first_damaged(view, start).await {
                _ = line.news.send(News::Broke(group, key)).await;
            }
            return false;
        };
        for (key, found) in &page.items {
            let record = Record {
                group,
                kind: RecordKind::Put,
                version: found.version,
                term: line.id.at.term,
                expires_ms: found.expires_ms.map(NonZeroU64::get),
                origin: Origin::State,
                key,
                value: &found.value,
            };
            record.encode(&mut out);
        }
        let is_last = page.next.is_none();
        if is_last || out.len() >= limits::SHARD_CHUNK_BYTES {
            let bytes = out.split().freeze();
            if !line.send(bytes, is_last).await {
                return false;
            }
        }
        if is_last {
            return true;
        }
        after = page.next;
    }
}

/// The first value from here on that cannot be read.
pub(super) async fn first_damaged<R: Runtime>(
    view: &IndexView<R>,
    start: Bound<&[u8]>,
) -> Option<Vec<u8>> {
    let mut after = start.map(<[u8]>::to_vec);
    loop {
        let start = after.as_ref().map(|key| &**key);
        let mut cursor = view.tree().range(start, Bound::Unbounded);
        let key = cursor.next()?.0.to_vec();
        if view.get(&key, 0).await.is_err() {
            return Some(key);
        }
        after = Bound::Excluded(key);
    }
}
