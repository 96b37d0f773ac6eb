//! One replicated group, as a shard holds it: the Raft core and what stands around it.
//!
//! Invariants: `check.rs`.
//!
//! Not here: what happens when (`mod.rs`, `write.rs`, `apply.rs`, `read.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use bytes::Bytes;
use core::ops::Range;

use super::{
    compare::Compared,
    fresh::Freshness,
    members::Seat,
    owed::Asked,
    settle::Anchor,
    trail::Trail,
    window::{Extent, Window},
};
use crate::{
    command::{Body, Op},
    limits::SHARD_STRANGERS_MAX,
    mark, planted,
    raft::{HardState, Moment, Position, Raft, Write},
    store::State,
    types::{Index, NodeId, ReplicaId, SegmentId, Stamp, Term},
};

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) raft: Raft,
    pub(super) window: Window,
    pub(super) state: State,
    /// Where which replica sits.
    pub(super) roster: BTreeMap<ReplicaId, Seat>,
    /// Who has spoken and does not stand in it yet.
    pub(super) strangers: BTreeMap<ReplicaId, NodeId>,
    /// The newest stamp of the log, and when its millisecond was first seen.
    pub(super) stamp: Stamp,
    pub(super) stamped_at: Moment,
    /// The last entry that was proposed only for time to go on.
    pub(super) clock: Option<(Term, Index)>,
    /// Applied entries without effect whose records lie in unsettled segments.
    pub(super) void: BTreeMap<Index, Extent>,

    /// Applied entries that have no effect any more or never had one, and that are to be written
    /// again, or are being: their copies must not count, not even after a crash, so a checkpoint that
    /// says so is in the same frame. And whether they had one, and only the damaged record says so:
    /// what they deleted is in that frame too, by itself, or it would come back.
    pub(super) void_again: BTreeMap<Index, bool>,

    /// Keys of values that were found behind the state and are in no entry, by the entry that they
    /// are of: a life that ended had applied that or had it from a snapshot, and this one has not yet.
    pub(super) uncounted: BTreeSet<(Index, Vec<u8>)>,

    /// What replicas have said of their states.
    pub(super) compared: Compared,

    /// Damaged entries that are being written again, and where their records lay.
    pub(super) mended: BTreeMap<Index, SegmentId>,

    /// What the core wants written and no frame has taken yet.
    pub(super) unsaved: Unsaved,
    /// Requests that wait for the next proposal.
    pub(super) gathered: Vec<Gathered>,
    /// Proposed and not applied, in the order of the log.
    pub(super) waiting: VecDeque<Waiting>,
    /// When that was durable here, and agreed on.
    pub(super) trail: Trail,
    /// Reads that wait for the core, and those that wait for the state.
    pub(super) asked: VecDeque<(Position, Reading)>,
    pub(super) confirmed: VecDeque<(Index, Reading)>,
    /// How old the state may be.
    pub(super) fresh: Freshness,
    /// The last entry that may be applied.
    pub(super) committed: Index,
    /// An apply that waits for its derived records.
    pub(super) held: Option<super::apply::Held>,

    /// When the core wants to be asked next.
    pub(super) deadline: Option<Moment>,
    /// Where its newest hard state and checkpoint lie.
    pub(super) anchor: Anchor,
    /// The newest term that is durable, and the highest commit.
    pub(super) term: Term,
    pub(super) commit: Index,
}

/// What the core wants written.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) hard: Option<HardState>,
    /// Everything from here on that the journal has is void.
    pub(super) cut: Option<Index>,
    /// The first entry to be written.
    pub(super) first: Option<Index>,
    /// To be answered when all of it is durable: the newest stands for all.
    pub(super) newest: Option<Write>,
}

impl Unsaved {
    /// Something more.
    pub(super) fn add(&mut self, write: Write) {
        if write.hard.is_some() {
            self.hard = write.hard;
        }
        if write.cut {
            self.cut = least(self.cut, Some(write.first));
        }
        if write.has_entries() {
            self.first = least(self.first, Some(write.first));
        }
        self.newest = Some(write);
    }

    /// Something that was to be written before and was not.
    pub(super) fn add_older(&mut self, older: Self) {
        self.hard = self.hard.or(older.hard);
        self.cut = least(self.cut, older.cut);
        self.first = least(self.first, older.first);
        if self.newest.is_none() {
            self.newest = older.newest;
        }
    }
}

fn least(one: Option<Index>, other: Option<Index>) -> Option<Index> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A command that waits to be proposed.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) asked: Asked,
    pub(super) body: Body,
}

/// Somebody waits for an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) asked: Asked,
    /// When it became an entry.
    pub(super) proposed: Moment,
}

/// A read that waits.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) asked: Asked,
    /// When it arrived.
    pub(super) at: Moment,
    /// When it was known to be current, as far as it asks for that.
    pub(super) confirmed: Moment,
    pub(super) op: Op,
    /// Whether it has waited for time to go on.
    pub(super) has_waited: bool,
}

/// The payloads of the entries that the step under way may append: a message's, or a proposal's.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) first: Index,
    pub(super) payloads: Vec<Bytes>,
}

impl Offered {
    pub(super) fn get(&self, index: Index) -> Option<&Bytes> {
        let nth = usize::try_from(index.0.checked_sub(self.first.0)?).ok()?;
        self.payloads.get(nth)
    }
}

impl Group {
    /// One that begins a life, with what is durable of its term and commit.
    pub(super) fn new(raft: Raft, hard: HardState, window: Window, state: State) -> Self {
        Self {
            stamp: state.stamp(),
            committed: state.applied(),
            term: hard.term,
            // Beyond its end nothing is known of a log.
            commit: hard.commit.min(raft.log().last().index),
            raft,
            window,
            state,
            roster: BTreeMap::new(),
            strangers: BTreeMap::new(),
            stamped_at: Moment::default(),
            clock: None,
            void: BTreeMap::new(),
            void_again: BTreeMap::new(),
            uncounted: BTreeSet::new(),
            compared: Compared::default(),
            mended: BTreeMap::new(),
            unsaved: Unsaved::default(),
            gathered: Vec::new(),
            waiting: VecDeque::new(),
            trail: Trail::default(),
            asked: VecDeque::new(),
            confirmed: VecDeque::new(),
            fresh: Freshness::default(),
            held: None,
            deadline: None,
            anchor: Anchor::default(),
        }
    }

    /// Which node a replica is on.
    pub(super) fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        let seat = self.roster.get(&replica).map(|seat| seat.node);
        seat.or_else(|| self.strangers.get(&replica).copied())
    }

    /// Somebody speaks who sits nowhere, as far as is known. The lowest number goes when there are
    /// too many: numbers rise, and the newest ones are of those who come.
    pub(super) fn met_stranger(&mut self, replica: ReplicaId, node: NodeId) {
        self.strangers.insert(replica, node);
        if self.strangers.len() > SHARD_STRANGERS_MAX && !planted!("shard_strangers_have_no_end") {
            mark!("shard_too_many_strangers");
            self.strangers.pop_first();
        }
    }

    /// Those who have spoken and sit somewhere by now are no strangers any more.
    pub(super) fn knows_seats(&mut self) {
        self.strangers.retain(|replica, _| !self.roster.contains_key(replica));
    }

    /// Who leads, as a node.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        self.raft.leader().and_then(|id| self.node_of(id))
    }

    /// Whether a segment holds an entry that may still be applied or replaced.
    pub(super) fn has_open_entry_in(&self, segment: SegmentId) -> bool {
        let mut index = self.raft.applied().next();
        while let Some(slot) = self.window.slot(index) {
            if slot.extent().is_some_and(|extent| extent.segment == segment) {
                return true;
            }
            index = index.next();
        }
        false
    }

    /// Where in a segment its entries without effect lie.
    pub(super) fn void_in(&self, segment: SegmentId) -> impl Iterator<Item = Range<u32>> {
        let there = self.void.values().filter(move |extent| extent.segment == segment);
        there.map(|extent| extent.offset_words..extent.offset_words + extent.bytes.div_ceil(8))
    }

    /// How many requests wait for something.
    pub(super) fn pending(&self) -> usize {
        self.gathered.len() + self.waiting.len() + self.asked.len() + self.confirmed.len()
    }
}
