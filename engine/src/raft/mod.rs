//! Raft: how a group of replicas agrees on one log, whatever the network and the machines do.
//!
//! # The idea
//! Each group has one leader at a time. It orders what clients want into a log and sends it to the
//! others; what a majority has on disk is *committed* and never changes again. Time is cut into
//! *terms*; a term has at most one leader, because a leader needs votes of a majority, a replica
//! votes once a term, and two majorities share a member. And a leader has everything that was ever
//! committed, because nobody votes for a log that is behind its own, and again: two majorities
//! share a member. All of Raft is in these two sentences; the rest is care.
//!
//! # The shape
//! The core is a function: [`Raft::step`] takes the time, a random number and one [`Input`], and
//! fills [`Effects`]. It has no clock, no luck of its own, no thread, no disk and no socket, so
//! every run of it can be repeated, and every state it can reach can be visited.
//!
//! ```text
//!  clients --> Propose, Read --.                        .--> proposed, reads   --> clients
//!  peers   --> Message --------|      +----------+      |--> send              --> peers
//!  journal --> Persisted ------+----> |   step   | -----+--> write             --> journal
//!  state   --> Applied --------|      +----------+      |--> committed         --> state
//!  timers  --> Due ------------'                        '--> deadline          --> timers
//! ```
//!
//! The core knows the identity of every live entry ([`Log`]) and no payload. A leader's driver
//! encodes a proposal once; the same bytes go to the journal ([`Effects::write`] says which
//! indices), to the peers ([`Body::Append`] names a range), and into its cache. A thousand
//! proposals are one [`Input::Propose`], one write and one message a peer, and cost the core four
//! bytes each.
//!
//! # What it must survive
//! Each kind of mistake that is known of Raft has a story, a table or a scenario of its own:
//! `engine/docs/raft-stories.md`.
//!
//! # How a shard drives it
//! ```text
//! loop:
//!   gather what arrived for this group while the last sync was under way
//!   raft.step(now, luck, Propose { sizes }, fx)   fx.proposed: number the payloads, put them in the cache
//!   for message in fx.send:  attach payloads by index, put it in the peer's outbox    } at once,
//!   journal.push(fx.write): payloads by index; one frame, one sync for all groups     } in parallel
//!   when the sync returns:   raft.step(now, luck, Persisted(write.persisted(&token)), fx)
//!   fx.committed:            read payloads from the cache, apply, step(Applied)
//!   fx.deadline:             set the group's timer, if it is earlier than the one set
//! ```
//! A payload that is no longer in the cache is read from the journal by *identity*, since the log
//! may have been replaced meanwhile; a message whose payload is gone or damaged is not sent (the
//! damage is reported with [`Input::Faulty`]), and Raft, which expects messages to be lost, repeats
//! it in time. Writes may be coalesced into one frame; tokens are handed back in order, and the
//! last one stands for all. Every effect of a step is carried out, or the life ends.
//!
//! # What must wait for the disk
//! Everything that is a promise: see `writes.rs`. Messages in [`Effects::send`] may always go now.
//!
//! # The positions of a log
//! ```text
//!   base  <=  applied  <=  handed  <=  commit  <=  last
//!                          handed  <=  durable <=  last
//! ```
//! *base*: a snapshot covers it. *applied*: the state has taken it. *handed*: the driver was told to
//! apply it, once a life, and only what its own disk has whole. *commit*: never goes back within a
//! life and begins, in a new one, at what the state has applied: a commit index from a disk proves
//! nothing that the leader will not say again. *durable*: the disk has it.
//!
//! # Files, in reading order
//! The words: `message`, `effects`, `time`, `config`. The parts, each small and pure: `log`,
//! `quorum`, `membership`, `progress`, `writes`. The protocol: `election`, `replicate`, `read`,
//! `lease`, `change`, `snapshot`, `transfer`, `faulty`, `quiet`. What all of it weighs: `sizes`.
//!
//! # Where this differs from the paper
//! Elections are always preceded by a question (pre-vote), and a leader that does not hear from a
//! majority resigns (check of the quorum). Voters change by joint consensus only, and a change
//! counts when it is applied. Reads are confirmed in rounds, or by a lease on the log itself. A
//! damaged entry is repaired from a peer instead of being taken for absent. An idle group says
//! nothing at all.
//!
//! Not here: payloads and their encoding, the journal, timers and links (the shard); what entries
//! mean, client sessions and time stamps (the state machine); which node holds which replica.

use crate::{
    always, planted,
    types::{GroupId, Index, ReplicaId, Term},
};
use core::fmt;

mod config;
mod effects;
mod message;
mod time;

mod log;
mod membership;
mod progress;
mod quorum;
mod writes;

mod change;
mod election;
mod faulty;
mod lease;
mod quiet;
mod read;
mod replicate;
mod sizes;
mod snapshot;
mod transfer;

pub use config::{Config, ConfigError, LeaseConfig};
pub use effects::{Effects, HardState, Input, Proposed, ReadsReady, Refusal};
pub use log::{EntryId, Head, Log};
pub use membership::{Change, Membership, Misfit, Parts, Step};
pub use message::{Body, Message, Position};
pub use progress::{Flow, Progress};
pub use quorum::{Tally, majority, reached, tally};
pub use sizes::Sizes;
pub use time::Moment;
pub use writes::{Durable, Persisted, Write};

use election::{Standing, State};
use faulty::Damage;
use read::Reads;
use writes::{Held, Writes};

/// What an entry is for. The core makes the second and the last itself; they have no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something for the state machine.
    Normal = 0,
    /// Nothing: a leader's first entry, which lets it commit, and renewals of its lease.
    Noop = 1,
    /// A [`Change`] of the membership.
    Change = 2,
    /// The joint membership is left.
    Leave = 3,
}

impl Kind {
    /// Whether it changes the membership.
    #[must_use]
    pub const fn is_membership(self) -> bool {
        matches!(self, Self::Change | Self::Leave)
    }
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes what a leader sends, if it knows one.
    Follower(Option<ReplicaId>),
    /// It asks whether it could be elected.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follower(Some(leader)) => write!(f, "follower of {leader}"),
            Self::Follower(None) => f.write_str("follower"),
            Self::PreCandidate => f.write_str("pre-candidate"),
            Self::Candidate => f.write_str("candidate"),
            Self::Leader => f.write_str("leader"),
        }
    }
}

/// What a replica begins a life with: what its journal and its state machine recovered.
///
/// A founding member of a group begins with a base of [`EntryId::new`]`(1, 1)` and the group's
/// first membership, a replica that joins later with `EntryId::default()` and no members: the log
/// does not reach that far back, so it is sent a snapshot, and that says who belongs to the group.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub id: ReplicaId,
    /// A number no other life of this replica had.
    pub incarnation: u32,
    /// What may be chosen.
    pub config: Config,
    /// What was durable of term, vote and commit.
    pub hard: HardState,
    /// The last entry that the log begins after.
    pub base: EntryId,
    /// The live entries, from the one after `base`.
    pub heads: &'a [Head],
    /// Which of them have a damaged payload.
    pub faulty: &'a [Index],
    /// What the state machine has taken for good.
    pub applied: Index,
    /// The membership as of `applied`.
    pub membership: Membership,
}

/// Why a life cannot begin with what was recovered. The directory is damaged or not this replica's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The log has an entry of a term that the replica does not know of.
    TermBehindLog,
    /// The state has taken what the log does not have, or has not taken what the log begins after.
    AppliedOutsideLog,
    /// Terms fall along the log.
    TermsFall,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TermBehindLog => "the log has an entry of a newer term than the stored one",
            Self::AppliedOutsideLog => "the applied state lies outside the log",
            Self::TermsFall => "the terms fall along the log",
        })
    }
}

impl core::error::Error for BootError {}

/// One replica of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    // Who it is. A newer number may take the place of an older one; nothing else changes by that.
    id: ReplicaId,
    config: Config,

    // What survives: changed only together with `writes`.
    term: Term,
    vote: Option<ReplicaId>,
    log: Log,
    writes: Writes,

    // Positions, see above.
    commit: Index,
    handed: Index,
    applied: Index,
    /// Bytes of what is handed and not applied.
    applying: u64,

    // Who belongs to the group, and the entry that says so.
    membership: Membership,
    membership_at: Index,

    // What it is at the moment, and what that role needs.
    state: State,
    standing: Standing,
    reads: Reads,
    damage: Damage,
    /// The snapshot that is being installed.
    installing: Option<(EntryId, Membership)>,
    /// As far as this term's leader has shown, in this life, that the logs agree.
    agreed: Index,
    /// When the newest entry was appended: no leader of before made one later.
    appended_at: Moment,
    /// The term in which this replica need not wait for any lease: it was handed over to it.
    free_term: Term,

    // Arguments of the step, kept for its length.
    now: Moment,
    luck: u64,
}

impl Raft {
    /// Begins a life.
    ///
    /// # Errors
    /// When what was recovered contradicts itself.
    pub fn boot(boot: Boot<'_>, now: Moment, luck: u64) -> Result<Self, BootError> {
        let mut log = Log::new(boot.base);
        for head in boot.heads {
            if head.term < log.last().term {
                return Err(BootError::TermsFall);
            }
            log.push(*head);
        }
        let last = log.last();
        if last.term > boot.hard.term {
            return Err(BootError::TermBehindLog);
        }
        if boot.applied < boot.base.index || boot.applied > last.index {
            return Err(BootError::AppliedOutsideLog);
        }
        for index in boot.faulty {
            log.mark_faulty(*index);
        }
        let damage = Damage::at_boot(boot.hard);
        let mut raft = Self {
            id: boot.id,
            config: boot.config,
            term: boot.hard.term,
            vote: boot.hard.vote,
            log,
            writes: Writes::new(boot.group, boot.incarnation, last.index),
            commit: boot.applied.max(boot.hard.commit.min(last.index)),
            handed: boot.applied,
            applied: boot.applied,
            applying: 0,
            membership: boot.membership,
            membership_at: boot.applied,
            state: State::Follower(None),
            standing: Standing::default(),
            reads: Reads::new(boot.incarnation),
            damage,
            installing: None,
            agreed: Index(0),
            appended_at: now,
            free_term: Term(0),
            now,
            luck,
        };
        raft.begin_to_wait();
        raft.luck = 0;
        raft.check();
        Ok(raft)
    }

    /// One thing happens. `now` never goes back; `luck` is drawn anew for each step.
    pub fn step(&mut self, now: Moment, luck: u64, input: Input<'_>, fx: &mut Effects) {
        self.invariants();
        fx.begin();
        self.now = self.now.max(now);
        self.luck = luck;
        let role = self.role();
        self.leave_forgotten_terms();
        self.wake_for(&input, fx);
        self.handle(input, fx);
        self.settle(fx);
        fx.role = (self.role() != role).then(|| self.role());
        fx.deadline = self.deadline();
        self.luck = 0;
        self.invariants();
    }

    fn handle(&mut self, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Due => self.on_due(fx),
            Input::Message { message, heads } => self.on_message(message, heads, fx),
            Input::Propose { sizes } => self.on_propose(sizes, fx),
            Input::ProposeChange { change, bytes } => self.on_propose_change(change, bytes, fx),
            Input::ProposeLeave => self.on_propose_leave(fx),
            Input::Named { id } => self.on_named(id),
            Input::Read => self.on_read(fx),
            Input::Persisted(token) => {
                self.writes.complete(token, self.term, &self.log);
            }
            Input::Applied { upto } => self.on_applied(upto, fx),
            Input::ChangeApplied { index, change } => self.on_change_applied(index, change, fx),
            Input::Compacted { upto } => self.log.compact(upto.min(self.applied)),
            Input::SnapshotSent { to, arrived } => self.on_snapshot_sent(to, arrived, fx),
            Input::SnapshotArrived { at, membership } => {
                self.on_snapshot_arrived(at, membership, fx);
            }
            Input::SnapshotInstalled { at } => self.on_snapshot_installed(at),
            Input::SnapshotAbandoned { at } => self.on_snapshot_abandoned(at),
            Input::Faulty { index } => self.on_faulty(index, fx),
            Input::Stuck => self.on_stuck(fx),
            Input::Transfer { to } => self.on_transfer(to, fx),
            Input::Peer { id, alive } => self.on_peer(id, alive, fx),
            Input::Campaign => self.on_campaign(fx),
            Input::Priority { priority } => self.on_priority(priority),
        }
    }

    /// What every step ends with: what need not wait any longer goes, what is new is written, what
    /// is committed is handed out.
    fn settle(&mut self, fx: &mut Effects) {
        while let Some((term, held)) = self.writes.release() {
            match held {
                Held::Healed(first, last) => self.log.heal(first, last),
                Held::Say(message) if term == self.term => fx.send.push(message),
                Held::OwnVote if term == self.term => self.on_own_vote(fx),
                Held::Say(_) | Held::OwnVote => crate::mark!("raft_promise_of_another_term"),
            }
        }
        self.advance(fx);
        fx.write = self.writes.issue(self.hard(), &self.log);
        self.hand_out(fx);
    }

    /// Hands out what may be applied: committed, whole, on the own disk, and within the budget.
    fn hand_out(&mut self, fx: &mut Effects) {
        let durable =
            if planted!("raft_apply_before_durable") { self.commit } else { self.writes.durable() };
        let end = self.commit.min(durable);
        if self.damage.stuck.is_some() {
            // A snapshot is taken if it covers all that was handed out.
            return;
        }
        if end <= self.handed || self.applying >= self.config.applying_bytes_max {
            return;
        }
        let room = self.config.applying_bytes_max - self.applying;
        let first = self.handed.next();
        let Some((last, bytes)) = self.log.fit(first, end.0 - self.handed.0, room) else { return };
        self.handed = last;
        self.applying += bytes;
        fx.committed = Some((first, last));
    }

    fn on_applied(&mut self, upto: Index, fx: &mut Effects) {
        let upto = upto.min(self.handed);
        if upto <= self.applied {
            return;
        }
        let bytes = self.log.bytes(self.applied.next(), upto);
        self.applying = self.applying.saturating_sub(bytes);
        self.applied = upto;
        self.is_unstuck_by(upto);
        self.leave_if_due(fx);
    }

    /// Sends something now.
    fn say(&self, fx: &mut Effects, to: ReplicaId, body: Body) {
        fx.send.push(Message { from: self.id, to, term: self.term, body });
    }

    /// Sends something once everything written so far is durable.
    fn promise(&mut self, fx: &mut Effects, to: ReplicaId, body: Body) {
        let message = Message { from: self.id, to, term: self.term, body };
        let too_early = match body {
            Body::AppendAck { .. } => planted!("raft_ack_before_durable"),
            Body::VoteReply { .. } => planted!("raft_vote_before_durable"),
            _ => false,
        };
        if too_early {
            fx.send.push(message);
        } else {
            self.writes.hold(self.term, Held::Say(message));
        }
    }

    /// What must always hold, as far as it is cheap. Called at both ends of every step.
    pub fn invariants(&self) {
        let last = self.log.last();
        assert!(self.log.base().index <= self.applied, "what is not applied is not compacted");
        assert!(self.applied <= self.handed, "nothing is applied that was not handed out");
        assert!(self.handed <= self.commit, "nothing is handed out that is not committed");
        assert!(self.commit <= last.index, "nothing is committed that is not in the log");
        assert!(last.term <= self.term, "no entry is of a term to come");
        assert!(self.membership_at <= self.commit, "a membership is committed before it counts");
        self.log.invariants();
        self.writes.invariants(last.index);
        self.election_invariants();
    }

    /// What must always hold; all of it, for tests.
    pub fn check(&self) {
        self.invariants();
        self.log.check();
        self.membership.invariants();
        always!(self.handed <= self.writes.durable(), "what is applied is on the own disk");
    }

    /// This replica.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// The newest term it knows.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Whom it voted for in that term.
    #[must_use]
    pub const fn vote(&self) -> Option<ReplicaId> {
        self.vote
    }

    /// What is to survive: valid behind everything that was issued to be written.
    #[must_use]
    pub fn hard(&self) -> HardState {
        self.hard_up_to(self.log.last().index)
    }

    /// The same for whom the log is durable up to an index, and no further.
    #[must_use]
    pub fn hard_up_to(&self, durable: Index) -> HardState {
        let commit = self.commit.min(durable);
        let forgot = self.still_forgets(durable);
        HardState { term: self.term, vote: self.vote, commit, forgot }
    }

    /// The identities of its entries.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What it knows to be committed.
    #[must_use]
    pub const fn commit(&self) -> Index {
        self.commit
    }

    /// What its state machine has taken.
    #[must_use]
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The newest entry its disk certainly has.
    #[must_use]
    pub const fn durable(&self) -> Index {
        self.writes.durable()
    }

    /// Who belongs to the group, as of what is applied.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The snapshot it is installing.
    #[must_use]
    pub fn installing(&self) -> Option<EntryId> {
        self.installing.as_ref().map(|(at, _)| *at)
    }
}

#[cfg(any(test, feature = "mutants"))]
pub mod tests;
