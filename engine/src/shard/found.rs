//! How a group comes to be on this node: founded with the others, or blank in a seat.
//!
//! It begins with the same two records that every tail has of it: a hard state and a checkpoint.
//! A founded group stands behind an entry that never was, which all founders have alike; a blank one
//! stands behind nothing, has no members, and learns from a snapshot who they are. Only when the
//! records are durable does the manifest list the group. So a crash in between makes it again, and a
//! group that is listed and not found is damage.
//!
//! All groups are founded by one edit: a directory has founded, or it has not (`peers.rs`).
//!
//! Not here: who may found, and who sits where (`peers.rs`, `members.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Founding, Outbox, Shard, Stopped,
    checkpoint::{self, Checkpoint},
    members::Seat,
    recover::Found,
    write::Load,
};
use crate::{
    journal::{Journal, JournalError, ManifestEdit, Sync},
    limits, mark, planted,
    raft::{EntryId, HardState, Input, Membership},
    runtime::Runtime,
    store::State,
    types::{GroupId, Index, NodeId, ReplicaId, SegmentId, Term, Uuid, Version},
};

/// What every founded group begins behind.
const FOUNDED: EntryId = EntryId { term: Term(1), index: Index(1) };

/// A group that is to be.
type Beginning = (GroupId, HardState, Checkpoint);

fn founded(founding: &Founding) -> Vec<Beginning> {
    let replica = |node: &NodeId| ReplicaId(node.0);
    let voters: Vec<ReplicaId> = founding.members.iter().map(replica).collect();
    let seat = |node: &NodeId| (replica(node), Seat::of_founder(*node));
    let checkpoint = Checkpoint {
        at: FOUNDED,
        membership: Membership::of_voters(&voters),
        roster: founding.members.iter().map(seat).collect(),
        void: BTreeSet::new(),
        state: State::behind(FOUNDED.index, FOUNDED.term),
    };
    let hard = HardState { term: FOUNDED.term, ..HardState::default() };
    founding.groups.iter().map(|id| (*id, hard, checkpoint.clone())).collect()
}

fn blank(id: GroupId, replica: ReplicaId, seat: Seat) -> Beginning {
    let checkpoint = Checkpoint {
        at: EntryId::default(),
        membership: Membership::default(),
        roster: BTreeMap::from([(replica, seat)]),
        void: BTreeSet::new(),
        state: State::behind(Index(0), Term(0)),
    };
    (id, HardState::default(), checkpoint)
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Somebody who has applied it says that a replica sits here. Where one is already, it is that
    /// one from now on, as it would be after the next opening.
    pub(super) fn take_seat(&mut self, group: GroupId, replica: ReplicaId, directory: Uuid) {
        if directory != self.peers.directory && !planted!("shard_any_seat_taken") {
            return;
        }
        match self.groups.get(&group).map(|group| group.raft.id()) {
            Some(known) if known < replica && !planted!("shard_older_number_kept") => {
                mark!("shard_seated_again");
                tracing::info!(%group, %known, %replica, "this replica has another number now");
                self.step(group, Input::Named { id: replica });
            }
            Some(_) => {}
            None if self.peers.takes_seats(!self.groups.is_empty()) => {
                self.peers.wants(group, replica, self.groups.len());
            }
            None => {}
        }
    }

    /// Makes the groups that are to be here, if the journal is.
    pub(super) async fn found(&mut self) {
        if self.journal.is_none() || !self.may_edit() {
            return;
        }
        let founding = self.peers.take_founding();
        let beginnings: Vec<Beginning> = match &founding {
            Some(founding) => founded(founding),
            None => {
                let seat = Seat { node: self.node, directory: self.peers.directory };
                let wanted = core::mem::take(&mut self.peers.wanted).into_iter();
                wanted.map(|(id, replica)| blank(id, replica, seat)).collect()
            }
        };
        if beginnings.is_empty() {
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        let made = self.begin(&mut journal, &beginnings).await;
        self.engine.set_files(journal.files());
        self.journal = Some(journal);
        match made {
            Ok(segment) => self.begun(beginnings, segment),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "groups could not be made; trying again");
                self.room.refused_edit(self.now());
                self.peers.founding = founding;
            }
            Err(error) => self.stopped = Some(Stopped::Journal(error)),
        }
    }

    /// Writes the first records of groups, and lists them. Answers the segment the last ones lie in.
    async fn begin(
        &mut self,
        journal: &mut Journal<R>,
        beginnings: &[Beginning],
    ) -> Result<SegmentId, JournalError> {
        let mut segment = SegmentId(0);
        for some in beginnings.chunks(limits::SHARD_FOUNDED_AT_ONCE) {
            let mut frame = Load::new(journal.frame(), self.options.frame_bytes);
            for (id, hard, checkpoint) in some {
                checkpoint::push_hard(&mut frame, *id, *hard, None);
                checkpoint::push_checkpoint(&mut frame, *id, checkpoint);
            }
            let (frame, lines) = frame.into_parts();
            let written = journal.append(frame, Sync::Now).await?;
            for (nth, (kind, version)) in lines.into_iter().enumerate() {
                self.engine.ledger_mut().wrote(written.loc(nth), kind, version);
            }
            segment = written.loc(0).segment;
        }
        let add_groups = beginnings.iter().map(|(id, ..)| *id).collect();
        journal.edit(ManifestEdit { add_groups, ..ManifestEdit::default() }).await?;
        Ok(segment)
    }

    fn begun(&mut self, beginnings: Vec<Beginning>, segment: SegmentId) {
        let at = self.settling.enter(segment);
        for (id, hard, checkpoint) in beginnings {
            mark!("shard_group_is_made");
            match self.boot(id, Found::founded(hard, checkpoint, at)) {
                Ok(group) => {
                    self.engine.advance(id, Version(group.raft.applied().0));
                    self.groups.insert(id, group);
                    self.step(id, Input::Due);
                }
                Err(why) => {
                    tracing::error!(%id, %why, "a new group cannot begin");
                    self.stopped = Some(Stopped::Damaged("a new group contradicts itself"));
                }
            }
        }
    }
}
