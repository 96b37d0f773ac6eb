//! Open entries move forward, so that what lies around them can be settled.
//!
//! ```text
//!   tail   │ a b [1] c │ d e f │ g h │ … │ i j     group 2 has had no majority since entry 1
//!          └─ does not settle, nor does anything behind it
//!
//!   tail   │ a b  ·  c │ d e f │ g h │ … │ i j │ [1]
//! ```
//! All groups of a node share its journal, and segments settle oldest first. A group that stands
//! still, because it has no majority or waits for a snapshot, would keep the whole tail with the
//! entries that it can neither apply nor lose, until the disk is full; and on a full disk the
//! snapshot that it waits for may find no room.
//!
//! So when the tail is long, or room is what is missing, what is open of such a group is written once
//! more, all of it and in one frame: a hard state that voids the log from there on, and the entries.
//! For recovery that is a log that was cut and written again. The old copies count until the frame is
//! durable; then they are dead.
//!
//! It has to be worth it: what is open takes less than half of the smallest segment, and a whole
//! segment and more goes for it. And it makes room, so it may take the room that is kept for that.
//!
//! Invariants: a segment whose open entries are on their way does not settle; a group applies nothing
//! while its entries are; nothing of a group moves while it waits for derived records or for damaged
//! entries, which name places themselves.
//!
//! Not here: what else a segment needs to settle (`settle.rs`), who may take which room (`room.rs`).

use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use core::{mem, time::Duration};

use super::{
    Outbox, Shard, checkpoint,
    group::Group,
    window::Extent,
    write::{Flight, Load},
};
use crate::{
    journal::Journal,
    mark, planted,
    raft::Moment,
    runtime::Runtime,
    types::{GroupId, Index, Term},
};

/// So many segments behind the oldest one make a tail long. Entries are open for milliseconds, unless
/// their group stands still.
const LONG: u64 = 4;

/// How often it is looked.
const LOOKS: Duration = Duration::from_millis(100);

/// What moves forward.
#[derive(Debug, Default)]
pub(super) struct Forward {
    /// Read, and to go into the next frame.
    ready: BTreeMap<GroupId, Vec<Open>>,
    looks_at: Moment,
}

/// An entry that is neither applied nor replaced.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) extent: Extent,
    pub(super) bytes: Bytes,
}

impl Forward {
    /// Whether a frame is wanted.
    pub(super) fn wants_frame(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Sees whether open entries keep the tail from being settled, and gets them ready to move.
    pub(super) async fn look_forward(&mut self) {
        let now = self.now();
        if now < self.forward.looks_at || planted!("shard_open_entries_stay") {
            return;
        }
        let oldest = self.journal.as_ref().and_then(Journal::oldest_unsettled);
        let Some(oldest) = oldest else { return };
        if !self.room.is_full() && self.settling.behind(oldest) < LONG {
            return;
        }
        self.forward.looks_at = now + LOOKS;
        self.forward.ready.clear();
        let is_open = |(_, group): &(&GroupId, &Group)| group.has_open_entry_in(oldest);
        let groups: Vec<GroupId> = self.groups.iter().filter(is_open).map(|(id, _)| *id).collect();
        let mut left = self.options.journal.first_segment_bytes / 2;
        for id in groups {
            let open = self.open_entries(id, left).await;
            let Some(open) = open else {
                // One that stays keeps the segment: moving the others is in vain.
                mark!("shard_open_entries_cannot_move");
                self.forward.ready.clear();
                return;
            };
            left -= open.iter().map(|entry| entry.bytes.len() as u64).sum::<u64>();
            self.forward.ready.insert(id, open);
        }
    }

    /// All open entries of a group that are durable, in order, if they may move and have no more than
    /// so many bytes.
    async fn open_entries(&mut self, id: GroupId, mut left: u64) -> Option<Vec<Open>> {
        let may = self.groups.get(&id).is_some_and(Group::may_move);
        if !may || self.snapshots.installing.contains_key(&id) {
            return None;
        }
        let mut open = Vec::new();
        let mut index = self.groups.get(&id)?.raft.applied().next();
        while let Some(slot) = self.groups.get(&id)?.window.slot(index)
            && slot.extent().is_some()
        {
            let term = slot.term;
            let (bytes, extent) = self.entry(id, index).await?;
            left = left.checked_sub(bytes.len() as u64)?;
            open.push(Open { index, term, extent, bytes });
            index = index.next();
        }
        Some(open)
    }

    /// Whether entries of a group are on their way forward. What is applied meanwhile would be found
    /// where they lay.
    pub(super) fn is_moving(&self, id: GroupId) -> bool {
        self.flight.has_moved(id) && !planted!("shard_moving_entries_are_applied")
    }

    /// Puts what is ready into a frame, before anything else of these groups' logs.
    pub(super) fn push_forward(&mut self, frame: &mut Load, flight: &mut Flight) {
        for (id, open) in mem::take(&mut self.forward.ready) {
            if self.snapshots.installing.contains_key(&id) {
                continue;
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let first = group.raft.applied().next();
            let is_first = open.first().is_some_and(|entry| entry.index == first);
            if !is_first || !group.may_move() || !group.window.moves(&open) {
                mark!("shard_open_entries_changed_meanwhile");
                continue;
            }
            mark!("shard_open_entries_move");
            let cut = (!planted!("shard_moved_entries_void_nothing")).then_some(first);
            checkpoint::push_hard(frame, id, group.hard(), cut);
            for entry in open {
                let Open { index, term, bytes, .. } = entry;
                flight.carries(frame, (id, index, term), &bytes);
            }
            flight.moves(id, first);
        }
    }
}

impl Group {
    /// Whether nothing but its slots names the places of its open entries.
    fn may_move(&self) -> bool {
        self.held.is_none() && self.mended.is_empty() && self.void_again.is_empty()
    }
}
