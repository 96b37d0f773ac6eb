//! Counts: what a shard has done in this life, and how it is, for whoever looks.
//!
//! ```text
//!   whatever happens ──► a plain number rises                        the shard's own, no lock
//!   Inbound::Shows ────► what has risen, what is held, how each ───► whoever asked
//!                        group is: a walk over the groups
//! ```
//! A request is counted once, when it is answered, by what was asked and what came of it, and its time
//! runs from its arrival here. The clock is looked at once for all that one batch answers.
//!
//! What rises is not kept beyond a life: who looks sees that it begins again with the node.
//!
//! Invariants: nothing that is counted goes back within a life; showing it changes nothing.
//!
//! Not here: names and text (`trilith-net`, metrics), limits and how near they are (`sizes.rs`).

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{Outbox, Shard, group::Group, owed::Asked, sizes::Sizes};
use crate::{
    command::{Command, Op, Outcome, Refusal},
    journal::{self, Holdings},
    planted,
    raft::{Moment, Role},
    runtime::{Receiver, Runtime, Sender},
    spread::Spread,
    types::NodeId,
};

/// What is asked, as far as it is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// What some keys have.
    #[default]
    Read,
    /// Keys in order, or how many there are.
    Scan,
    /// A change of a key.
    Write,
    /// Several changes at one moment.
    Transaction,
    /// An operator's business.
    Admin,
}

impl Family {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Scan, Self::Write, Self::Transaction, Self::Admin];

    /// What an operation is.
    #[must_use]
    pub const fn of(op: &Op) -> Self {
        match op {
            Op::Get(_) | Op::GetMany(_) | Op::Look(_) => Self::Read,
            Op::Scan(_) | Op::Count(_) => Self::Scan,
            Op::Write(Command::Transaction(_)) => Self::Transaction,
            Op::Write(_) => Self::Write,
            Op::Replace(_) | Op::Cut(_) => Self::Admin,
        }
    }

    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Scan => "scan",
            Self::Write => "write",
            Self::Transaction => "transaction",
            Self::Admin => "admin",
        }
    }
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Done, whatever was found.
    pub done: u64,
    /// Nothing happened.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// Requests of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// What became of them.
    pub outcomes: Outcomes,
    /// How long those took that were done.
    pub took: Spread,
}

/// What a shard has done in this life. None of it goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests, in the order of [`Family::ALL`].
    pub asks: [Asks; Family::ALL.len()],
    /// What was refused, in the order of [`Refusal::ALL`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// Values that were read lately, and not from the disk again.
    pub hot_reads: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// How late timers fired.
    pub late: Spread,
    /// Entries that were proposed here for clients.
    pub proposed: u64,
    /// Entries that were proposed only for time to go on.
    pub clock_entries: u64,
    /// Entries that became known as committed here.
    pub committed: u64,
    /// Entries that the states here have taken.
    pub applied: u64,
    /// How often a replica here asked for votes.
    pub campaigns: u64,
    /// How often one came to lead.
    pub led: u64,
    /// How often this node became slow.
    pub slowed: u64,
    /// Leaderships that were handed over because it was.
    pub handed_over: u64,
    /// Snapshots that were begun to be sent.
    pub snapshots_begun: u64,
    /// Those that arrived.
    pub snapshots_sent: u64,
    /// Snapshots that were taken in.
    pub snapshots_installed: u64,
    /// Cuts that were opened.
    pub cuts_opened: u64,
    /// Those that were given up before anybody closed them.
    pub cuts_given_up: u64,
    /// Compactions that were begun.
    pub compactions_begun: u64,
    /// Those that were done.
    pub compactions: u64,
    /// Segments that went with them.
    pub segments_dropped: u64,
    /// Bytes that they copied.
    pub compacted_bytes: u64,
    /// Keys that left the index because they were over.
    pub expired: u64,
    /// Bytes that were read to see whether they are whole.
    pub scrubbed_bytes: u64,
    /// Damage that opening found.
    pub damage_opened: u64,
    /// Damaged stretches that reading everything found.
    pub damage_scrubbed: u64,
    /// Values that were found damaged.
    pub values_broken: u64,
    /// Values that can be read again.
    pub values_mended: u64,
    /// Damaged entries of logs that are written again.
    pub entries_mended: u64,
    /// How often replicas here said what their state was.
    pub compared: u64,
    /// How often another replica's state was another one.
    pub differed: u64,
    /// How often the wall clock leapt.
    pub clock_leaps: u64,
    /// What the journal has done, as of its last return.
    pub journal: journal::Counts,
}

/// How the groups of a shard are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// They lead.
    pub leaders: u64,
    /// They vote and know a leader.
    pub followers: u64,
    /// They do not vote and know a leader.
    pub learners: u64,
    /// They know of no leader.
    pub leaderless: u64,
}

/// What a shard shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it has done.
    pub counts: Counts,
    /// What it holds.
    pub sizes: Sizes,
    /// What its journal holds.
    pub journal: Holdings,
    /// How its groups are.
    pub roles: Roles,
    /// How many committed entries the group has not applied that is furthest behind.
    pub unapplied: u64,
    /// How many entries the replica lacks that lacks most, of those on a node that follow here.
    pub lacking: BTreeMap<NodeId, u64>,
    /// How much further the clocks of others are than this node's, in milliseconds.
    pub clocks_ahead_ms: BTreeMap<NodeId, i64>,
    /// Whether the own clock has leapt and is not believed.
    pub is_clock_doubted: bool,
    /// Whether this node counts as slow.
    pub is_slow: bool,
    /// Whether the disk has no room for what comes next.
    pub is_full: bool,
}

impl Counts {
    /// A request is answered.
    pub(super) fn answered(&mut self, asked: &Asked, outcome: &Outcome, now: Moment) {
        let asks = &mut self.asks[asked.family as usize];
        match outcome {
            Outcome::Ok(_) => {
                asks.outcomes.done += 1;
                asks.took.note(Duration::from_nanos(now.0.saturating_sub(asked.at.0)));
            }
            Outcome::Refused(refusal) => {
                asks.outcomes.refused += 1;
                self.refusals[refusal.nth()] += 1;
            }
            Outcome::Unknown => asks.outcomes.unknown += 1,
        }
    }
}

impl Roles {
    fn add(&mut self, group: &Group) {
        let is_learner = group.raft.membership().learners().contains(&group.raft.id());
        let place = match group.raft.role() {
            Role::Leader => &mut self.leaders,
            Role::Follower(Some(_)) if is_learner => &mut self.learners,
            Role::Follower(Some(_)) => &mut self.followers,
            Role::Follower(None) | Role::PreCandidate | Role::Candidate => &mut self.leaderless,
        };
        *place += 1;
    }
}

/// Who has asked to be shown everything.
pub(super) type Viewers = Vec<Sender<Box<Shown>>>;

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Sees what the journal has done, whenever it comes back.
    pub(super) fn see_journal(&mut self, journal: &journal::Journal<R>) {
        self.counts.journal = *journal.counts();
        if journal.listing() != self.holdings.0 {
            self.holdings = (journal.listing(), journal.holdings());
        }
        self.counts.hot_reads = self.hot.served();
    }

    /// Shows those who have asked what there is to be seen.
    pub(super) fn show(&mut self, inbox: &Receiver<super::Inbound>) {
        if self.viewers.is_empty() {
            return;
        }
        let shown = Box::new(self.shown(inbox));
        for viewer in core::mem::take(&mut self.viewers) {
            // Whoever has gone has seen enough.
            _ = viewer.push(shown.clone());
        }
        if planted!("shard_counts_begin_again") {
            self.counts = Counts::default();
        }
    }

    fn shown(&mut self, inbox: &Receiver<super::Inbound>) -> Shown {
        if let Some(journal) = &self.journal {
            self.counts.journal = *journal.counts();
            self.holdings = (journal.listing(), journal.holdings());
        }
        let mut shown = Shown {
            counts: self.counts,
            sizes: self.sizes_with(inbox),
            journal: self.holdings.1,
            clocks_ahead_ms: self.clocks_ahead_ms(),
            is_clock_doubted: self.clocks.is_doubted(),
            is_slow: self.pace.is_slow(),
            is_full: self.room.is_full(),
            ..Shown::default()
        };
        for group in self.groups.values() {
            shown.roles.add(group);
            let behind = group.committed.0.saturating_sub(group.raft.applied().0);
            shown.unapplied = shown.unapplied.max(behind);
            let last = group.raft.log().last().index;
            for peer in group.raft.peers().iter().filter(|peer| peer.id() != group.raft.id()) {
                let Some(node) = group.node_of(peer.id()) else { continue };
                let lacks = last.0.saturating_sub(peer.matched().0);
                let most = shown.lacking.entry(node).or_default();
                *most = lacks.max(*most);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Level, Reply},
        shard::Caller,
        types::Sequence,
    };

    #[test]
    fn a_request_is_counted_by_what_it_is_and_what_came_of_it() {
        let mut counts = Counts::default();
        let ms = |ms: u64| Moment(ms * 1_000_000);
        let mut answer = |family, outcome| {
            let (caller, sequence) = (Caller(1), Sequence(1));
            let (level, until) = (Level::Strong, ms(9));
            let asked =
                Asked { caller, sequence, level, family, group: None, bytes: 0, at: ms(3), until };
            counts.answered(&asked, &outcome, ms(5));
        };
        answer(Family::Write, Outcome::Ok(Reply::Count(0)));
        answer(Family::Write, Outcome::Unknown);
        answer(Family::Read, Outcome::Refused(Refusal::DiskFull));
        answer(Family::Read, Outcome::Refused(Refusal::NotLeader(Some(NodeId(7)))));
        let of = |family: Family| counts.asks[family as usize].outcomes;
        assert_eq!(of(Family::Write), Outcomes { done: 1, refused: 0, unknown: 1 });
        assert_eq!(of(Family::Read), Outcomes { done: 0, refused: 2, unknown: 0 });
        let took = counts.asks[Family::Write as usize].took;
        assert_eq!((took.count(), took.total()), (1, Duration::from_millis(2)));
        let refused: u64 = counts.refusals.iter().sum();
        assert_eq!((refused, counts.refusals[Refusal::DiskFull.nth()]), (2, 1));
    }

    #[test]
    fn every_family_and_every_refusal_has_its_place() {
        for (nth, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family as usize, nth);
        }
        for (nth, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.nth(), nth);
        }
    }
}
