//! Room: what a shard does when its disk is full.
//!
//! ```text
//!   no spare segment ──► full ──► new writes are refused, but for deletions       reads go on
//!                         │       what was taken goes on, into what is left of the segment
//!                         │       space is made: the log of the past goes, little waste is enough
//!                         │       others lead, who have room (`pace.rs`)
//!                         └─ looked at again and again ──► a spare segment ──► as before
//!
//!   a frame is refused ──► for a while only frames that give room back:
//!                          deletions, terms, checkpoints, what these wait for
//!   an edit is refused ──► for a while no other edit of the manifest; frames go on
//! ```
//! What was proposed cannot be called refused any more, so new writes are refused before: as soon as
//! no other segment can be prepared, while the one in use has room for what is under way. When even
//! that is used up, the group's entries wait, and with them everything behind them. But terms and
//! checkpoints do not, nor do computed values that a checkpoint waits for, and nothing else is needed
//! to settle segments: what is dead in them goes, and makes room for the entries.
//!
//! A checkpoint of a group whose entries wait speaks of what is durable, and its hard state of no
//! commit beyond that: a life that began from it has the log that it speaks of.
//!
//! A leader with room refuses new writes too while so many of its followers have none that nothing
//! could be committed.
//!
//! Invariants: only what was never proposed is refused; a hard state names no commit beyond what is
//! durable of the log, and none below one that a durable one names.
//!
//! Not here: who may use the last room of the disk (`journal/room.rs`), what is moved
//! (`compaction.rs`), handing over (`pace.rs`).

use core::time::Duration;

use super::{Outbox, Shard, group::Group};
use crate::{
    command::{Body, Command, Entry, Refusal, encoded_bytes},
    mark, planted,
    raft::{HardState, Moment, Tally},
    runtime::Runtime,
    types::{GroupId, Index, ReplicaId},
};

/// How often a full disk is looked at.
const LOOKS: Duration = Duration::from_millis(500);

/// What gives room back is refused when it takes more than this part of the reserve itself. It could
/// not be written, and everything would wait behind it.
const LARGEST_DIVISOR: u64 = 8;

/// What was refused for want of room is not tried again for so long.
const HOLD: Duration = Duration::from_millis(100);

/// How much room there is, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// No segment could be prepared for what comes next.
    is_full: bool,
    /// When that is looked at again.
    looks_at: Moment,
    /// Before this only what gives room back is written: something else was refused.
    scarce_until: Moment,
    /// Before this no frame is written: that was refused too.
    none_until: Moment,
    /// Before this it counts as full: what was refused is larger than what is prepared for it, and is
    /// tried again sooner.
    full_until: Moment,
    /// Before this the manifest is not edited: it has a room of its own, and found none.
    edits_from: Moment,
}

impl Room {
    /// Whether no room was found for another segment.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// What frames may hold now.
    pub(super) fn grade(&self, now: Moment) -> Grade {
        if now < self.none_until {
            Grade::Nothing
        } else if now < self.scarce_until {
            Grade::Relief
        } else {
            Grade::Everything
        }
    }

    /// A frame found no room.
    pub(super) fn refused(&mut self, now: Moment, was_relief: bool) {
        self.scarce_until = now + HOLD;
        self.full_until = now + LOOKS;
        if was_relief {
            self.none_until = self.scarce_until;
        }
    }

    /// When frames may hold everything again.
    pub(super) const fn frames_at(&self) -> Moment {
        self.scarce_until
    }

    /// An edit of the manifest found no room. What is in the frames does not wait for it: some of
    /// that gives room back.
    pub(super) fn refused_edit(&mut self, now: Moment) {
        mark!("shard_edit_found_no_room");
        self.edits_from = now + HOLD;
        if planted!("shard_refused_edit_stops_frames") {
            self.refused(now, true);
        }
    }

    /// When the manifest may be edited.
    pub(super) const fn edits_at(&self) -> Moment {
        self.edits_from
    }

    /// When a full disk is looked at again.
    pub(super) fn looks_at(&self) -> Option<Moment> {
        self.is_full.then_some(self.looks_at)
    }
}

/// What frames may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// Nothing.
    Nothing,
    /// What gives room back.
    Relief,
    /// Whatever there is.
    Everything,
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Sees what the journal found, and lets it look again now and then.
    pub(super) fn keep_room(&mut self) {
        let now = self.now();
        let Some(journal) = &mut self.journal else { return };
        let is_full = journal.full().is_some() || now < self.room.full_until;
        if is_full && now >= self.room.looks_at {
            self.room.looks_at = now + LOOKS;
            if self.room.is_full && !planted!("shard_full_disk_is_not_looked_at") {
                journal.look_for_room();
            }
        }
        if is_full == self.room.is_full {
            return;
        }
        self.room.is_full = is_full;
        self.pace.room(is_full);
        self.end_hold();
        if is_full {
            mark!("shard_disk_full");
            tracing::warn!(
                node = %self.node,
                "the disk is full: new writes are refused here, deletions are not; give it room, \
                 or delete something"
            );
            self.wake_readers();
        } else {
            mark!("shard_disk_has_room_again");
            tracing::info!(node = %self.node, "the disk has room again");
        }
    }

    /// Room is missing: who waits for an entry that only says what time it is waits in vain.
    pub(super) fn wake_readers(&mut self) {
        let waits = |(_, group): &(&GroupId, &Group)| !group.confirmed.is_empty();
        self.readable.extend(self.groups.iter().filter(waits).map(|(id, _)| *id));
    }

    /// Whether any disk that is heard of is full: nothing lacks room otherwise.
    pub(super) fn may_lack_room(&self) -> bool {
        self.room.is_full || self.pace.knows_full(self.now())
    }

    /// Whether an entry would give room back, and is small enough for what is left for that.
    pub(super) fn makes_room(&self, body: &Body) -> bool {
        let Body::Command(_, command) = body else { return false };
        let reserve_bytes = self.options.journal.reserve_bytes;
        let is_small = encoded_bytes(body) as u64 <= reserve_bytes / LARGEST_DIVISOR;
        command.is_deletion() && (is_small || reserve_bytes == 0)
    }

    /// Why something is not taken for want of room, if so; whether it gives room back is said.
    pub(super) fn lacks_room(&self, id: GroupId, gives_back: bool) -> Option<Refusal> {
        if !self.may_lack_room() {
            return None;
        }
        let group = self.groups.get(&id)?;
        let now = self.now();
        if self.room.is_full {
            let grade = self.room.grade(now);
            let waits = grade != Grade::Everything && group.unsaved.first.is_some();
            let may_go = gives_back && !waits && grade != Grade::Nothing;
            return (!may_go).then_some(Refusal::DiskFull);
        }
        (!gives_back && self.majority_is_full(group)).then_some(Refusal::DiskFull)
    }

    /// Whether so many of a group's voters say that their disks are full that no entry could be
    /// committed.
    fn majority_is_full(&self, group: &Group) -> bool {
        let now = self.now();
        let has_room = |id: ReplicaId| {
            let is_full = group.node_of(id).is_some_and(|node| self.pace.is_full(now, node));
            Some(id == group.raft.id() || !is_full)
        };
        group.raft.membership().tally(has_room) == Tally::Lost
    }

    /// The hard state of a group that goes into a frame with its checkpoint: as it is when all of
    /// the log is in this frame or durable, and otherwise with a commit that is. `None` when the
    /// checkpoint has to wait.
    pub(super) fn hard_for_checkpoint(&self, id: GroupId, group: &Group) -> Option<HardState> {
        if !self.unsaved.contains(&id) {
            return Some(group.raft.hard());
        }
        let is_bounded = !planted!("shard_checkpoint_speaks_of_what_waits");
        let hard = if is_bounded { group.hard() } else { group.raft.hard() };
        // An applied entry that is written again is in its place when that has landed.
        let is_whole = group.state.applied() <= group.durable() && group.void_again.is_empty();
        let may_go = self.room.grade(self.now()) != Grade::Everything && is_whole;
        (may_go || !is_bounded).then(|| {
            mark!("shard_checkpoint_of_a_group_that_waits");
            hard
        })
    }
}

impl Group {
    /// As far as its log is durable, or in the frame under way.
    pub(super) fn durable(&self) -> Index {
        let from = [self.unsaved.first, self.unsaved.cut].into_iter().flatten().min();
        from.map_or(self.raft.log().last().index, |from| Index(from.0.saturating_sub(1)))
    }

    /// The hard state, as the log on the disk can bear it: it names no commit beyond that log. But
    /// one that was named before stays: an entry that is written again was committed all the same.
    pub(super) fn hard(&self) -> HardState {
        let hard = self.raft.hard_up_to(self.durable());
        let named = if planted!("shard_commit_goes_back") { Index(0) } else { self.commit };
        HardState { commit: hard.commit.max(named), ..hard }
    }

    /// Whether everything that it wants written gives room back.
    pub(super) fn gives_room_back(&self) -> bool {
        let first = self.unsaved.first.unwrap_or(Index(u64::MAX));
        self.window.unwritten(first).all(|bytes| {
            Entry::parse(bytes).is_ok_and(|entry| match entry.body {
                Body::Noop | Body::Command(_, Command::Clock) => true,
                Body::Command(_, command) => command.is_deletion(),
                Body::Change(_) | Body::Leave => false,
            })
        })
    }
}
