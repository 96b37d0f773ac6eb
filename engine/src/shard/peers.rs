//! The other members' directories: who is who, and who may found.
//!
//! A replica's promises (its votes, what it acknowledged) are in its directory. A member that comes
//! back with an empty one has forgotten them, and must not speak as the old one did: it could vote
//! twice in a term, or help to elect somebody who lacks what it had acknowledged. It cannot know
//! that by itself: an empty directory at the very first start looks the same. So the others know:
//!
//! - a member that hears of another one's directory for the first time writes it down, durably,
//!   *before* it welcomes it; another directory of the same member is refused from then on;
//! - a new directory founds nothing, and so takes part in nothing, before more than half of the
//!   *other* members have welcomed it. Two directories of one member cannot both get there: some
//!   other member would have welcomed both. With three members that is both others: a cluster is
//!   founded when all three are there, and never again.
//!
//! ```text
//!   new directory ──► welcomed by enough ──► founds the groups ──► member
//!        │ refused by one                        (from now on only the directory counts)
//!        ▼
//!   stops, and says what to do: somebody replaces the old replicas by new ones in this directory
//! ```
//! A replacement is a change of members, an entry that every member applies ([`Seat`]); applying it
//! writes the new directory down in the old one's place. A directory that is seated so is welcomed
//! as such, and founds nothing, ever: what it is to hold is sent to it. A member that was away
//! meanwhile refuses it; where it leads by then it hands over to one who is known there.
//!
//! Invariants: the manifest has a directory before its member is welcomed, and before a checkpoint
//! covers the entry that seats it; a directory that lists a group never founds one.
//!
//! Not here: the handshake (`trilith-net`), changes of members (`members.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use super::{Done, Founding, Outbox, Shard, Stopped, group::Group, members::Seat, pace};
use crate::{
    command::Shown,
    journal::{Journal, JournalError, ManifestEdit, Peer},
    limits, mark, planted,
    raft::{Input, Moment},
    runtime::{Runtime, Sender, Task},
    types::{GroupId, NodeId, ReplicaId, Uuid},
};

/// What somebody who is welcomed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member from the beginning, or one that is founding right now.
    Founder,
    /// In the place of another directory, by a change of members.
    Seated,
}

/// Whether a member with that directory is welcome; if not, which directory is known to be its.
pub type Admission = Result<Standing, Uuid>;

/// A member shows itself, and waits to be admitted.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Who.
    pub node: NodeId,
    /// Its directory.
    pub directory: Uuid,
    /// Where the answer goes. Nobody listens any more: it has left.
    pub answer: Sender<Admission>,
}

impl PartialEq for Greeting {
    fn eq(&self, other: &Self) -> bool {
        (self.node, self.directory) == (other.node, other.directory)
    }
}

impl Eq for Greeting {}

/// What a shard has to do with the other members' directories.
#[derive(Debug)]
pub(super) struct Peers {
    /// The own directory.
    pub(super) directory: Uuid,
    /// What is to be founded when enough have welcomed this directory; `None` when it has taken
    /// part in something before, or was seated.
    pub(super) founding: Option<Founding>,
    welcomed: BTreeSet<NodeId>,
    /// Who knows another directory of this node's, and which.
    refused: BTreeMap<NodeId, Uuid>,
    /// When it stops for that.
    leaves_at: Option<Moment>,
    /// How many other members founded the cluster.
    others: usize,
    /// The other members' directories, as they are written down.
    known: BTreeMap<NodeId, Peer>,
    /// With which directories they showed themselves last.
    shown: BTreeMap<NodeId, Shown>,
    /// Whom packets reach.
    up: BTreeSet<NodeId>,
    /// Whether it was seated in the place of another one.
    is_seated: bool,
    /// Groups that are to be made here, and the replicas that they are to be.
    pub(super) wanted: BTreeMap<GroupId, ReplicaId>,
    /// Who waits to be written down.
    greetings: Vec<Greeting>,
    /// Seats that were applied and are to be written down, and those that are being.
    seats: Vec<Seat>,
    telling: Vec<Seat>,
}

impl Peers {
    pub(super) fn new(
        directory: Uuid,
        founding: Option<Founding>,
        others: usize,
        known: &BTreeMap<NodeId, Peer>,
    ) -> Self {
        Self {
            directory,
            founding,
            welcomed: BTreeSet::new(),
            refused: BTreeMap::new(),
            leaves_at: None,
            others,
            known: known.clone(),
            shown: BTreeMap::new(),
            up: BTreeSet::new(),
            is_seated: false,
            wanted: BTreeMap::new(),
            greetings: Vec::new(),
            seats: Vec::new(),
            telling: Vec::new(),
        }
    }

    /// Seats that were applied: their directories are the ones that count now.
    pub(super) fn learn(&mut self, seats: impl IntoIterator<Item = Seat>) {
        let is_new = |seat: &Seat| seat.directory != Uuid::default();
        for seat in seats.into_iter().filter(is_new) {
            // The last of a node's seats is the one it has.
            self.seats.retain(|older| older.node != seat.node);
            self.seats.push(seat);
        }
    }

    /// Who waits to be written down: members that have shown themselves, and seats.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.greetings.len(), self.seats.len() + self.telling.len())
    }

    /// A member shows itself. Of too many the oldest goes: who waits for it hears that nobody answers,
    /// and comes again.
    pub(super) fn greeted(&mut self, greeting: Greeting) {
        if self.greetings.len() >= limits::SHARD_GREETINGS_MAX
            && !planted!("shard_greetings_have_no_end")
        {
            mark!("shard_too_many_greetings");
            self.greetings.remove(0);
        }
        self.greetings.push(greeting);
    }

    /// A replica is to be here, beside so many groups.
    pub(super) fn wants(&mut self, group: GroupId, replica: ReplicaId, groups: usize) {
        let is_full = groups + self.wanted.len() >= limits::SHARD_GROUPS_MAX;
        if is_full && !self.wanted.contains_key(&group) && !planted!("shard_groups_have_no_end") {
            mark!("shard_too_many_groups");
            return;
        }
        let wanted = self.wanted.entry(group).or_insert(replica);
        *wanted = replica.max(*wanted);
    }

    /// Whether the manifest is to be told something.
    pub(super) fn wants_edit(&self) -> bool {
        !self.greetings.is_empty() || !self.seats.is_empty()
    }

    /// Whether a checkpoint must wait: it might cover a seat that is not written down.
    pub(super) fn holds_checkpoints(&self) -> bool {
        !self.seats.is_empty()
    }

    /// Which replica this directory is, by what is known of all. One that was seated here later
    /// than the founder is it: this directory never was the founder's then.
    pub(super) fn own_replica(
        &self,
        own: NodeId,
        roster: &BTreeMap<ReplicaId, Seat>,
    ) -> Option<ReplicaId> {
        let seat = Seat { node: own, directory: self.directory };
        let sits = |found: &Seat| *found == seat || *found == Seat::of_founder(own);
        roster.iter().rev().find(|(_, found)| sits(found)).map(|(id, _)| *id)
    }

    /// Whether blank groups may be made here for replicas that others seat here.
    pub(super) fn takes_seats(&self, has_groups: bool) -> bool {
        self.is_seated || (has_groups && self.founding.is_none())
    }

    /// What may be founded now.
    pub(super) fn take_founding(&mut self) -> Option<Founding> {
        let is_welcome =
            self.welcomed.len() >= self.most_others() || planted!("shard_founds_unwelcomed");
        if self.is_seated || !is_welcome {
            return None;
        }
        self.founding.take()
    }

    /// More than half of the other members; nobody, when there are none.
    const fn most_others(&self) -> usize {
        if self.others == 0 { 0 } else { self.others / 2 + 1 }
    }

    /// Packets reach a member now, or do not any more.
    pub(super) fn link(&mut self, node: NodeId, is_up: bool) {
        if is_up {
            self.up.insert(node);
        } else {
            self.up.remove(&node);
        }
    }

    /// Whether packets reach a member.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.up.contains(&node)
    }

    /// With which directory a member showed itself last; otherwise the one that counts.
    pub(super) fn shown(&self, node: NodeId) -> Option<Shown> {
        let known = |peer: &Peer| Shown { directory: peer.directory, is_known: true };
        self.shown.get(&node).copied().or_else(|| self.known.get(&node).map(known))
    }

    /// Whether packets reach a member, and it came with another directory than that.
    pub(super) fn serves_elsewhere(&self, node: NodeId, directory: Uuid) -> bool {
        self.is_up(node) && self.shown.get(&node).is_some_and(|shown| shown.directory != directory)
    }

    /// Whether this node was told that a member founds with it.
    pub(super) fn founds_with(&self, node: NodeId) -> bool {
        self.founding.as_ref().is_some_and(|founding| founding.members.contains(&node))
    }

    /// What is written down now. Whoever came with another directory than that must come again,
    /// unless packets reach him: groups come to their entries in no common order, and one that is
    /// late may bring an older directory back than the one that serves.
    fn wrote_down(&mut self, known: &BTreeMap<NodeId, Peer>) {
        let is_news = |node: &NodeId| self.known.get(node) != known.get(node);
        let is_up = |node: &NodeId| self.up.contains(node);
        self.shown.retain(|node, _| !is_news(node) || is_up(node));
        for (node, shown) in &mut self.shown {
            shown.is_known = known.get(node).is_some_and(|peer| peer.directory == shown.directory);
        }
        self.known.clone_from(known);
    }

    /// What a member is answered, by what is known of it.
    fn answer(&mut self, greeting: &Greeting, known: Peer) {
        let Greeting { node, directory, .. } = *greeting;
        let standing = if known.is_seated { Standing::Seated } else { Standing::Founder };
        let is_known = known.directory == directory || planted!("shard_any_directory_admitted");
        self.shown.insert(node, Shown { directory, is_known });
        let admission = if is_known { Ok(standing) } else { Err(known.directory) };
        // Full or closed: nobody waits any more.
        _ = greeting.answer.push(admission);
    }

    /// When it stops because it is not the one that the others know.
    pub(super) const fn leaves_at(&self) -> Option<Moment> {
        self.leaves_at
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A member shows itself.
    pub(super) fn take_greeting(&mut self, greeting: Greeting) {
        self.peers.greeted(greeting);
    }

    /// Another member has written this directory down.
    pub(super) fn take_welcome(&mut self, by: NodeId, standing: Standing) {
        self.peers.refused.remove(&by);
        match standing {
            Standing::Founder => {
                self.peers.welcomed.insert(by);
            }
            Standing::Seated if !self.peers.is_seated => {
                mark!("shard_directory_is_seated");
                tracing::info!(%by, "this directory takes the place of another one");
                self.peers.is_seated = true;
                self.peers.leaves_at = None;
            }
            Standing::Seated => {}
        }
    }

    /// Another member knows another directory of this one's.
    pub(super) fn take_refusal(&mut self, by: NodeId, known: Uuid) {
        let (node, ours) = (self.node, self.peers.directory);
        tracing::error!(%node, %by, %known, %ours, "another directory of this node is known");
        self.peers.refused.insert(by, known);
        let is_new = self.peers.founding.is_some() && !self.peers.is_seated;
        // One may be mistaken about a directory that took part; most of them are not.
        let is_out = is_new || self.peers.refused.len() >= self.peers.most_others();
        if is_out && self.peers.leaves_at.is_none() {
            mark!("shard_directory_of_an_outcast");
            // Meanwhile it welcomes others, who may have nobody else, and may be seated.
            let patience = Duration::from_millis(limits::SHARD_OUTCAST_STAYS_MS);
            self.peers.leaves_at = Some(self.now() + patience);
        }
        self.hand_over_for(by);
    }

    /// A member that was away while this directory was seated hears nothing of what is led here, and
    /// naming seats is the leader's. So somebody leads whom it knows.
    fn hand_over_for(&mut self, by: NodeId) {
        if planted!("shard_unknown_leader_leads_on") {
            return;
        }
        let lead = |(id, group): (&GroupId, &Group)| {
            let members = group.raft.membership().members();
            let sits = members.into_iter().any(|replica| group.node_of(replica) == Some(by));
            let known = pace::successors(group).filter(|(_, node)| *node != by);
            let reached = known.filter(|(_, node)| self.peers.is_up(*node));
            let fit = reached.min_by_key(|(_, node)| self.pace.is_behind(*node));
            fit.filter(|_| sits).map(|(to, _)| (*id, to))
        };
        let moves: Vec<(GroupId, ReplicaId)> = self.groups.iter().filter_map(lead).collect();
        for (id, to) in moves {
            mark!("shard_leader_that_is_refused_hands_over");
            self.step(id, Input::Transfer { to });
        }
    }

    /// Stops when it has waited long enough for somebody to know this directory.
    pub(super) fn leave(&mut self) {
        if self.peers.leaves_at.is_none_or(|at| at > self.now()) {
            return;
        }
        self.peers.leaves_at = None;
        let (node, ours, is_new) = (self.node, self.peers.directory, self.groups.is_empty());
        if let Some((_, known)) = self.peers.refused.last_key_value() {
            self.stopped = Some(Stopped::Outcast { node, ours, known: *known, is_new });
        }
    }

    /// Answers who can be answered, and writes down what is new, if the journal is here.
    pub(super) fn greet(&mut self) {
        if !self.peers.wants_edit() || !self.may_edit() {
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        let (own, mut peers) = (self.node, Vec::new());
        self.peers.telling = core::mem::take(&mut self.peers.seats);
        // The last of a node's seats is the one it has: a snapshot's roster tells the older ones too.
        let seats = self.peers.telling.iter().map(|seat| (seat.node, seat.directory));
        let seats: BTreeMap<NodeId, Uuid> = seats.collect();
        for (node, directory) in seats {
            let peer = Peer { directory, is_seated: true };
            if node != own && journal.peers().get(&node) != Some(&peer) {
                peers.push((node, peer));
            }
        }
        let mut waits = Vec::new();
        for greeting in core::mem::take(&mut self.peers.greetings) {
            let Greeting { node, directory, .. } = greeting;
            let is_new = peers.iter().any(|(known, _)| *known == node);
            match journal.peers().get(&node) {
                _ if is_new => waits.push(greeting),
                Some(peer) => self.peers.answer(&greeting, *peer),
                None => {
                    peers.push((node, Peer { directory, is_seated: false }));
                    waits.push(greeting);
                }
            }
        }
        if peers.is_empty() {
            // All of it was known.
            if !planted!("shard_known_seats_are_kept") {
                self.peers.telling.clear();
            }
            self.journal = Some(journal);
            return;
        }
        mark!("shard_directory_is_written_down");
        let back = self.done.0.clone();
        self.working = Some(self.rt.task().spawn("peers", async move {
            let edit = ManifestEdit { peers, ..ManifestEdit::default() };
            let result = journal.edit(edit).await;
            _ = back.push(Done::Met(journal, result, waits));
        }));
    }

    /// What was new is written down, or not.
    pub(super) fn met(
        &mut self,
        journal: Journal<R>,
        result: Result<(), JournalError>,
        waits: Vec<Greeting>,
    ) {
        self.working = None;
        let mut telling = core::mem::take(&mut self.peers.telling);
        match result {
            Ok(()) => {
                self.peers.wrote_down(journal.peers());
                for greeting in waits {
                    if let Some(peer) = journal.peers().get(&greeting.node) {
                        self.peers.answer(&greeting, *peer);
                    }
                }
            }
            // Whoever greeted comes again.
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "a member's directory could not be written down");
                telling.append(&mut self.peers.seats);
                self.peers.seats = telling;
                self.room.refused_edit(self.now());
            }
            Err(error) => self.stopped = Some(Stopped::Journal(error)),
        }
        self.journal = Some(journal);
    }
}
