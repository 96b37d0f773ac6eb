//! The shard: many replicated groups on one journal, and the loop that drives them.
//!
//! ```text
//!   requests ──► gather ──────────► propose ─┐                    ┌─► outbox ─► peers
//!   peers ─────► take apart ──────────────── ├─► Raft core ───────┤
//!   timers ────► due ────────────────────────┤   of the group     ├─► frame ─► journal ─┐
//!   journal ───► landed ─────────────────────┘                    └─► committed         │
//!        ▲                                                              │               │
//!        │                                              replies ◄── apply: state, index │
//!        └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//! One task owns everything here, so there is no lock and no shared cell. While one frame is on its
//! way to the disk, whatever arrives is gathered; when the disk answers, all of it goes at once:
//! proposals of all groups become entries, the entries go to the peers and into the next frame in
//! the same turn. No timer makes batches larger; a slow disk makes larger batches by itself.
//!
//! # An entry
//! is journal records, encoded once by the leader. The same bytes are in every replica's journal,
//! on the wire and in the cache, and the index points into them: a value is written once.
//!
//! # What survives
//! Entries and hard states go to the journal in the order in which the core wants them. The state
//! is never written for itself: a *checkpoint* says what cannot be derived from the segments, and
//! everything after it is applied again when the group says that it is committed. When a segment
//! may be *settled*, so that opening reads its hints instead of its entries: `settle.rs`. What is open for long
//! moves forward and lets the others settle: `forward.rs`.
//!
//! # The life of a write
//! | station | where |
//! | --- | --- |
//! | gather | [`Shard::run`], while the journal is busy |
//! | propose: stamp, encode, number | `propose.rs` |
//! | send and persist, side by side | `write.rs` |
//! | agree | `raft` |
//! | apply: judge, edit the index, remember the reply | `apply.rs`, `store` |
//! | answer | `apply.rs` |
//!
//! Invariants:
//! - what a core wants written goes into one frame or the next, whole groups at a time, and its
//!   token is handed back only when all of it is durable;
//! - the index of a group holds what is judged, never more;
//! - every request is answered once, or its caller is gone.
//!
//! What the disk has damaged comes from other replicas as far as that is possible (`mend.rs`,
//! `scrub.rs`, `recover.rs`).
//!
//! Whatever arrives has a limit, and who looks is shown how near each is (`sizes.rs`); what must hold
//! between the parts is in `check.rs`.
//!
//! After a failed write the shard stops, and the node with it: a disk that lied once is not asked
//! again.
//!
//! Not here: links and clients (`trilith-net`), moving slots between groups (there is none yet).

mod apply;
mod check;
mod checkpoint;
mod compaction;
mod compare;
mod counts;
mod cut;
mod expiry;
mod forward;
mod found;
mod fresh;
mod group;
mod intake;
mod members;
mod mend;
mod offer;
mod open;
mod owed;
mod pace;
mod peers;
mod propose;
mod read;
mod recover;
mod room;
mod scrub;
mod settle;
mod sizes;
mod snapshot;
mod source;
mod stop;
mod time;
mod timers;
mod trail;
mod window;
mod write;

pub use counts::{Asks, Counts, Family, Outcomes, Roles, Shown};
pub use members::{ChangeOfMembers, Seat};
pub use open::{Founding, OpenError, ShardOptions};
pub use pace::PaceOptions;
pub use peers::{Admission, Greeting, Standing};
pub use sizes::{Gauge, Look, Sizes};

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::{fmt, time::Duration};

use crate::{
    command::{Request, Response},
    journal::{self, Journal, JournalError},
    limits, mark,
    packet::{Beat, Envelope, Packet},
    planted,
    raft::{Body, Effects, EntryId, Input, Message, Moment, Raft, Role},
    runtime::{Clock, Either, Instant, Receiver, Rng, Runtime, Sender, Task, race},
    types::{GroupId, Index, NodeId, ReplicaId, SegmentId, Uuid},
    value::{CompactError, Compacted, Engine, HotValues, IndexView, Indexed, Line},
};
use group::{Group, Offered, Reading};
use owed::Owed;
use timers::Timers;

/// Who asked: a connection of a client to this node. Never the same again within a life; the
/// response says which of its requests is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// Something that happens to a shard.
#[derive(Debug)]
pub enum Inbound {
    /// A node says something.
    Packet {
        /// Who.
        from: NodeId,
        /// What.
        packet: Packet,
    },
    /// A client asks for something.
    Request {
        /// To be answered.
        caller: Caller,
        /// What.
        request: Request,
    },
    /// A node answers now, or does not any more.
    Link {
        /// Which.
        node: NodeId,
        /// Whether it answers.
        is_up: bool,
    },
    /// Somebody wants this replica to lead, if it can.
    Campaign(GroupId),
    /// Somebody wants another leader.
    Transfer(GroupId, ReplicaId),
    /// Somebody wants other members, and says where the new replicas sit.
    Change(GroupId, ChangeOfMembers),
    /// Somebody wants a change to be over that does not end by itself.
    Leave(GroupId),
    /// Somebody wants to be shown what the shard does and holds, when this turn is over.
    Shows(Sender<Box<Shown>>),
    /// Somebody wants the shard to end, in order.
    Stop,
    /// A member shows itself, before anything else is heard of it.
    Greets(Greeting),
    /// Another member has this directory written down.
    Welcomed {
        /// Who.
        by: NodeId,
        /// As what.
        standing: Standing,
    },
    /// Another member knows another directory as this node's.
    Outcast {
        /// Who.
        by: NodeId,
        /// The directory that it knows.
        known: Uuid,
    },
}

/// Where a shard's packets and answers go. Takes them at once and never waits; packets may be
/// dropped.
pub trait Outbox: Send + 'static {
    /// A packet for another node.
    fn send(&mut self, envelope: Envelope);
    /// An answer for a client of this node.
    fn respond(&mut self, caller: Caller, response: Response);
    /// The shard has something to do, and begins with it.
    fn turns(&mut self, _now: Moment) {}
    /// The shard waits for something to happen.
    fn rests(&mut self) {}
    /// A group's core has taken a step: for judges and metrics.
    fn saw_step(&mut self, _group: GroupId, _raft: &Raft) {}
    /// This node counts as slow from now on, or not any more.
    fn saw_pace(&mut self, _is_slow: bool) {}
    /// A group's state has taken an entry; what its digest is then.
    fn saw_apply(&mut self, _group: GroupId, _entry: EntryId, _digest: u64) {}
    /// A turn is over: what is to be looked at. Asked in every turn, so it must be quick.
    fn looks(&mut self, _now: Moment) -> Look {
        Look::Away
    }
    /// What the shard holds, as it was asked for.
    fn saw_sizes(&mut self, _sizes: &Sizes) {}
}

/// Why a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nobody can reach it any more.
    Unreachable,
    /// It was asked to.
    Asked,
    /// The journal failed.
    Journal(JournalError),
    /// What it applied before is damaged on its disk, or contradicts itself.
    Damaged(&'static str),
    /// What it has applied is not what most replicas of a group have.
    Diverged {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// The entry behind which they differ.
        at: Index,
    },
    /// The others know another directory of this node.
    Outcast {
        /// The node.
        node: NodeId,
        /// The one that it has.
        ours: Uuid,
        /// The one that they know.
        known: Uuid,
        /// Whether nothing is in it yet.
        is_new: bool,
    },
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("nobody can reach the shard any more"),
            Self::Asked => f.write_str("the shard was asked to stop"),
            Self::Journal(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
            Self::Diverged { node, group, at } => write!(
                f,
                "what node {node} has applied in group {group} differs from what most of its \
                 replicas have, behind entry {at}: this directory is given up; empty it and replace \
                 the node: trilith ctl replace {node}"
            ),
            Self::Outcast { node, ours, known, is_new: true } => write!(
                f,
                "the other members know node {node} by its directory {known}, and this one is \
                 {ours}, new: what the old one promised is not in it; bring the old directory \
                 back, or replace the node: trilith ctl replace {node}"
            ),
            Self::Outcast { node, ours, known, is_new: false } => write!(
                f,
                "the other members know node {node} by its directory {known}, which took the \
                 place of this one, {ours}; bring that directory back, or begin with an empty one \
                 and replace the node: trilith ctl replace {node}"
            ),
        }
    }
}

impl core::error::Error for Stopped {}

/// What comes back from a task that had the journal, or did a chore.
enum Done<R: Runtime> {
    Written(Journal<R>, Result<journal::Persisted, JournalError>),
    Installed(Journal<R>, Result<journal::Installed, JournalError>),
    Told(Journal<R>, Result<(), JournalError>, compaction::Told<R>),
    Listed(Journal<R>, Result<(), JournalError>, Box<snapshot::Arrived<R>>, Vec<(SegmentId, Line)>),
    Met(Journal<R>, Result<(), JournalError>, Vec<Greeting>),
    Chore(journal::Done<R>),
    Looked(scrub::Looked),
    Space(u64),
    Compacted(Result<Box<Compacted<R>>, CompactError>),
}

impl<R: Runtime> Done<R> {
    fn journal(&self) -> Option<&Journal<R>> {
        match self {
            Self::Written(journal, _)
            | Self::Installed(journal, _)
            | Self::Told(journal, ..)
            | Self::Listed(journal, ..)
            | Self::Met(journal, ..) => Some(journal),
            Self::Chore(_) | Self::Looked(_) | Self::Space(_) | Self::Compacted(_) => None,
        }
    }
}

/// The shard.
pub struct Shard<R: Runtime, O: Outbox> {
    rt: R,
    rng: R::Rng,
    options: ShardOptions,
    node: NodeId,
    outbox: O,
    peers: peers::Peers,
    /// The groups that the slots are split over.
    slotted: Vec<GroupId>,
    groups: BTreeMap<GroupId, Group>,
    engine: Indexed<R>,
    /// `None` while a task has it.
    journal: Option<Journal<R>>,
    done: (Sender<Done<R>>, Receiver<Done<R>>),
    working: Option<<R::Task as Task>::Handle>,
    chore: Option<<R::Task as Task>::Handle>,
    installs: VecDeque<journal::Done<R>>,
    compaction: compaction::Stage<R>,
    compaction_past: compaction::Past,
    /// Values that were read lately.
    hot: HotValues,
    /// What each group had applied when the compaction was planned.
    compaction_covers: BTreeMap<GroupId, Index>,
    snapshots: snapshot::Snapshots<R>,
    cuts: cut::Cuts<R>,

    timers: Timers,
    fx: Effects,
    offered: Offered,
    owed: Owed,
    /// Groups with something to be written, proposed, applied, sent from the disk, read.
    unsaved: BTreeSet<GroupId>,
    gathered: BTreeSet<GroupId>,
    committed: BTreeSet<GroupId>,
    readable: BTreeSet<GroupId>,
    unfetched: VecDeque<(GroupId, Message)>,
    /// Signs of life that this turn has for other nodes.
    beats: BTreeMap<NodeId, Vec<Beat>>,
    flight: write::Flight,
    pace: pace::Pace,
    settling: settle::Settling,
    mending: mend::Mending,
    scrubbing: scrub::Scrubbing,
    clocks: time::Clocks,
    room: room::Room,
    expiry: expiry::Expiry,
    forward: forward::Forward,
    counts: Counts,
    /// What the journal held when it had changed last, and which change that was.
    holdings: (u64, journal::Holdings),
    /// Answers are given at about this moment: when the clock was looked at last for that.
    lately: Moment,
    viewers: counts::Viewers,
    stopping: Option<stop::Stopping>,
    stopped: Option<Stopped>,
}

impl<R: Runtime, O: Outbox> fmt::Debug for Shard<R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("node", &self.node)
            .field("groups", &self.groups.len())
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Where its packets and answers go.
    pub const fn outbox_mut(&mut self) -> &mut O {
        &mut self.outbox
    }

    /// Drives the groups until nobody can reach the shard any more, or it must stop.
    pub async fn run(mut self, mut inbox: Receiver<Inbound>) -> Stopped {
        self.start_timers();
        loop {
            self.lately = self.now();
            self.counts.turns += 1;
            self.outbox.turns(self.lately);
            self.take_arrivals(&mut inbox);
            self.fire_timers();
            self.keep_room();
            self.keep_pace();
            self.look_at_clock();
            self.found().await;
            self.greet();
            self.settle();
            self.work();
            self.take_in();
            self.feed_intakes();
            self.compact();
            self.expire();
            self.scrub();
            self.mend().await;
            self.look_forward().await;
            self.propose();
            self.send_beats();
            self.write();
            self.send_from_disk().await;
            self.send_values().await;
            self.apply().await;
            self.answer_reads().await;
            self.forget_late();
            self.keep_sources();
            self.keep_cuts();
            self.send_beats();
            self.leave();
            self.go_on_stopping();
            if let Some(stopped) = self.stopped.take() {
                if stopped != Stopped::Asked {
                    tracing::error!(why = %stopped, "the shard stops");
                }
                self.end_work().await;
                self.attest().await;
                self.give_up(&stopped).await;
                return stopped;
            }
            self.show_sizes(&inbox);
            self.show(&inbox);
            if self.has_more() {
                self.rt.task().yield_now().await;
                continue;
            }
            self.outbox.rests();
            match self.wait(&mut inbox).await {
                Some(Arrival::Inbound(inbound)) => self.take(inbound),
                Some(Arrival::Done(done)) => self.take_done(*done),
                Some(Arrival::News(news)) => self.take_news(news),
                Some(Arrival::Time) => {}
                None => return Stopped::Unreachable,
            }
        }
    }

    /// Waits for what the journal's tasks have begun. A write that lands later would fall into what
    /// the next life has there.
    async fn end_work(&mut self) {
        while self.working.is_some() || self.chore.is_some() {
            match self.done.1.recv().await {
                Ok(done) => self.take_done(done),
                Err(_) => return,
            }
        }
    }

    /// Says on the disk that what was written last was durable: nobody wrote anything behind it, and
    /// the next life could take its loss for a write that never ended.
    async fn attest(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if planted!("shard_ends_without_a_word") {
            return;
        }
        if let Err(error) = journal.attest().await {
            tracing::warn!(%error, "the last write is not vouched for");
        }
    }

    /// Whatever has arrived, up to a bound, so that what it causes gets its turn.
    fn take_arrivals(&mut self, inbox: &mut Receiver<Inbound>) {
        while let Some(done) = self.done.1.pop() {
            self.take_done(done);
        }
        while let Some(news) = self.snapshots.news.1.pop() {
            self.take_news(news);
        }
        for _ in 0..limits::SHARD_ARRIVALS_AT_ONCE {
            let Some(inbound) = inbox.pop() else { return };
            self.take(inbound);
        }
    }

    async fn wait(&mut self, inbox: &mut Receiver<Inbound>) -> Option<Arrival<R>> {
        let until = self.next_time();
        let clock = self.rt.clock().clone();
        let inward = race(self.snapshots.news.1.recv(), inbox.recv());
        let arrival = race(self.done.1.recv(), inward);
        let first = match until {
            Some(until) => race(arrival, clock.sleep_until(Instant(until.0))).await,
            None => Either::Left(arrival.await),
        };
        match first {
            Either::Left(Either::Left(Ok(done))) => Some(Arrival::Done(Box::new(done))),
            Either::Left(Either::Right(Either::Left(Ok(news)))) => Some(Arrival::News(news)),
            Either::Left(Either::Right(Either::Right(Ok(inbound)))) => {
                Some(Arrival::Inbound(inbound))
            }
            Either::Left(_) => None,
            Either::Right(()) => Some(Arrival::Time),
        }
    }

    fn next_time(&self) -> Option<Moment> {
        let waits = self.waits_for_frame() || self.settling.wants_frame();
        let held = (waits && !self.may_write()).then_some(self.room.frames_at());
        let waits = self.waits_for_edit() || self.compaction_waits();
        let untold = (waits && !self.may_edit()).then_some(self.room.edits_at());
        let held = held.into_iter().chain(untold).min();
        let stopping = self.stopping.as_ref().map(stop::Stopping::next);
        let others = stopping
            .into_iter()
            .chain(self.peers.leaves_at())
            .chain(self.owed.next())
            .chain(self.mending.next())
            .chain(self.scrubs_at())
            .chain(self.compacts_at().filter(|_| !planted!("shard_held_compaction_sleeps")))
            .chain(self.sources_at())
            .chain(self.cuts_at())
            .chain(self.expires_at())
            .chain(self.room.looks_at().filter(|_| self.journal.is_some()));
        let timer = self.timers.next().into_iter().chain(others).min();
        match held.filter(|_| self.journal.is_some()) {
            Some(held) => Some(timer.map_or(held, |timer| timer.min(held))),
            None => timer,
        }
    }

    /// Whether another turn has something to do without anything new.
    fn has_more(&self) -> bool {
        let goes_on =
            self.may_write() && self.waits_for_frame() || self.may_edit() && self.waits_for_edit();
        self.journal.is_some() && goes_on
            || !self.committed.is_empty()
            || !self.readable.is_empty()
            || !self.unfetched.is_empty()
            || self.mending.has_more()
            || self.compaction_goes_on()
            || self.has_more_over()
    }

    /// Whether whatever there is may be written: no frame was refused lately for want of room.
    fn may_write(&self) -> bool {
        self.room.grade(self.now()) == room::Grade::Everything
    }

    /// Whether the manifest may be edited: it was not refused lately for want of room.
    fn may_edit(&self) -> bool {
        self.now() >= self.room.edits_at()
    }

    fn waits_for_frame(&self) -> bool {
        !self.gathered.is_empty()
            || !self.unsaved.is_empty()
            || !self.settling.wants_derived.is_empty()
    }

    fn waits_for_edit(&self) -> bool {
        self.peers.wants_edit() || !self.peers.wanted.is_empty()
    }

    fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Packet { from, packet } => self.take_packet(from, packet),
            Inbound::Request { caller, request } => self.admit(caller, request),
            Inbound::Link { node, is_up } => self.take_link(node, is_up),
            Inbound::Campaign(group) => self.step(group, Input::Campaign),
            Inbound::Transfer(group, to) => self.step(group, Input::Transfer { to }),
            Inbound::Change(group, change) => self.propose_change(group, &change),
            Inbound::Leave(group) => self.step(group, Input::ProposeLeave),
            Inbound::Shows(viewer) => self.viewers.push(viewer),
            Inbound::Stop => self.begin_stop(),
            Inbound::Greets(greeting) => self.take_greeting(greeting),
            Inbound::Welcomed { by, standing } => self.take_welcome(by, standing),
            Inbound::Outcast { by, known } => self.take_refusal(by, known),
        }
    }

    fn take_packet(&mut self, from: NodeId, packet: Packet) {
        match packet {
            Packet::Raft { group, message, entries } => {
                self.take_message(from, group, message, &entries);
            }
            Packet::Beats(beats) => {
                for Beat { group, message } in beats {
                    self.take_message(from, group, message, &[]);
                }
            }
            Packet::Chunk(chunk) => self.take_chunk(from, chunk),
            Packet::ChunkAck(ack) => self.take_chunk_ack(from, ack),
            Packet::SnapshotAsk(ask) => self.take_snapshot_ask(from, ask),
            Packet::Seat { group, replica, directory } => self.take_seat(group, replica, directory),
            Packet::Digest { group, replica, at, digest } => {
                self.take_digest(from, group, (replica, at, digest));
            }
            Packet::Pace { micros, wall_ms, mark_ms, heard_ms } => {
                self.take_pace(from, u64::from(micros));
                self.take_clock(from, wall_ms, mark_ms, heard_ms);
            }
            Packet::ValueAsk { group, version, key } => {
                self.take_value_ask(from, group, version, key);
            }
            Packet::Value { group, record } => self.take_value(group, record),
        }
    }

    fn take_message(
        &mut self,
        from: NodeId,
        id: GroupId,
        message: Message,
        entries: &[bytes::Bytes],
    ) {
        let now = self.now();
        let Some(group) = self.groups.get_mut(&id) else {
            mark!("shard_message_for_an_unknown_group");
            return;
        };
        let is_for_us = message.to == group.raft.id();
        let is_from_there = group.roster.get(&message.from).is_none_or(|seat| seat.node == from);
        if !group.roster.contains_key(&message.from) && !planted!("shard_newcomer_not_answered") {
            // It sat down in an entry that is not applied here, and may lead us there.
            group.met_stranger(message.from, from);
        }
        if !is_for_us || !is_from_there {
            mark!("shard_message_for_another_replica");
            tracing::warn!(%id, %from, "a message for another replica was dropped");
            return;
        }
        let first = match message.body {
            Body::Append { prev, .. } => prev.index.next(),
            Body::Repair { id } => id.index,
            _ => Index(0),
        };
        let offer = match offer::take_apart(id, first, entries) {
            Ok(offer) => offer,
            Err(error) => {
                mark!("shard_damaged_message_dropped");
                tracing::warn!(%id, %from, %error, "damaged entries were dropped");
                return;
            }
        };
        group.saw_stamp(offer.stamp, now);
        self.offered = Offered { first, payloads: offer.payloads };
        self.step(id, Input::Message { message, heads: &offer.heads });
        self.offered = Offered::default();
    }

    fn take_link(&mut self, node: NodeId, is_up: bool) {
        self.peers.link(node, is_up);
        if !is_up {
            self.lose_sources(node);
        }
        let groups: Vec<(GroupId, ReplicaId)> = self
            .groups
            .iter()
            .flat_map(|(id, group)| {
                let held = group.roster.iter().filter(|(_, at)| at.node == node);
                held.map(|(replica, _)| (*id, *replica))
            })
            .collect();
        for (group, id) in groups {
            self.step(group, Input::Peer { id, alive: is_up });
        }
    }

    fn take_done(&mut self, done: Done<R>) {
        if let Some(journal) = done.journal() {
            self.see_journal(journal);
        }
        match done {
            Done::Written(journal, result) => self.landed(journal, result),
            Done::Installed(journal, result) => self.installed(journal, result),
            Done::Told(journal, result, told) => self.told(journal, result, told),
            Done::Met(journal, result, waits) => self.met(journal, result, waits),
            Done::Listed(journal, result, arrived, lines) => {
                self.listed(journal, result, arrived, lines);
            }
            Done::Compacted(result) => self.compacted(result),
            Done::Looked(looked) => self.looked(looked),
            Done::Space(free) => self.has_space(free),
            Done::Chore(done) => {
                self.chore = None;
                self.installs.push_back(done);
            }
        }
    }

    fn start_timers(&mut self) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for group in groups {
            self.step(group, Input::Due);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
        if let Some(due) = self.timers.next().filter(|due| *due <= now) {
            self.pace.late(due, now);
            self.counts.late.note(Duration::from_nanos(now.0 - due.0));
        }
        while let Some(group) = self.timers.due(now) {
            if let Some(group) = self.groups.get_mut(&group) {
                group.deadline = None;
            }
            self.step(group, Input::Due);
        }
    }

    fn now(&self) -> Moment {
        Moment(self.rt.clock().now().0)
    }

    /// One step of a group's core, and everything it asks for.
    fn step(&mut self, id: GroupId, input: Input<'_>) {
        let mut fx = self.step_core(id, input);
        self.carry_out(id, &mut fx);
        self.fx = fx;
    }

    /// One step of a group's core. What it asks for is to be carried out.
    fn step_core(&mut self, id: GroupId, input: Input<'_>) -> Effects {
        let (now, luck) = (self.now(), self.rng.next_u64());
        self.lately = now;
        let Some(group) = self.groups.get_mut(&id) else { return Effects::default() };
        let mut fx = core::mem::take(&mut self.fx);
        group.raft.step(now, luck, input, &mut fx);
        self.outbox.saw_step(id, &group.raft);
        fx
    }

    /// Carries out what a step asks for.
    fn carry_out(&mut self, id: GroupId, fx: &mut Effects) {
        if let Some(write) = fx.write.take() {
            self.want_written(id, write);
        }
        for message in fx.send.drain(..) {
            self.send(id, message);
        }
        let now = self.lately;
        let Some(group) = self.groups.get_mut(&id) else { return };
        if let Some((first, last)) = fx.committed {
            self.counts.committed += (last.0 + 1).saturating_sub(first.0);
            group.committed = last;
            self.committed.insert(id);
            group.has_agreed(last, now);
        }
        if let Some(ready) = fx.reads {
            group.fresh.answer(ready.upto, ready.index);
            while group.asked.front().is_some_and(|(position, _)| *position <= ready.upto) {
                let Some((_, reading)) = group.asked.pop_front() else { break };
                group.confirmed.push_back((ready.index, Reading { confirmed: now, ..reading }));
            }
            self.readable.insert(id);
        }
        if group.deadline != fx.deadline {
            self.timers.set(id, group.deadline, fx.deadline);
            group.deadline = fx.deadline;
        }
        group.invariants();
        if let Some(role) = fx.role {
            self.counts.campaigns += u64::from(role == Role::Candidate);
            self.counts.led += u64::from(role == Role::Leader);
            tracing::info!(node = %self.node, group = %id, %role, term = %group.raft.term(), "role");
            self.lost_leadership(id);
        }
        let wanted = core::mem::take(&mut fx.snapshots);
        for to in wanted {
            self.want_snapshot(id, to);
        }
    }

    /// A reader's view of a group.
    fn view(&self, group: GroupId) -> IndexView<R> {
        self.engine.view(group)
    }
}

enum Arrival<R: Runtime> {
    Inbound(Inbound),
    Done(Box<Done<R>>),
    News(snapshot::News<R>),
    Time,
}

#[cfg(any(test, feature = "mutants"))]
pub mod tests;
