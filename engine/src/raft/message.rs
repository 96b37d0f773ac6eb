//! What replicas say to each other. A message is a few numbers; entries travel beside it.
//!
//! [`Body::Append`] and [`Body::Repair`] name entries by identity. Whoever sends the message puts
//! the encoded entries behind it, byte for byte as the journal has them; whoever receives it hands
//! the [`Head`](super::Head) of each to the core and keeps the bytes for the journal.
//!
//! Any message may be lost, delayed, repeated and overtaken; none may be altered.

use super::EntryId;
use crate::types::{Index, ReplicaId, Term};

/// A position in the reads of one replica's life: which reads are older than which. Counted up by
/// the core and never taken from a client, because two clients can choose the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// A message between two replicas of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// Who says it.
    pub from: ReplicaId,
    /// To whom.
    pub to: ReplicaId,
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// Would you vote for me in the term after mine? Changes nothing for anybody.
    PreVote {
        /// The end of the asker's log.
        last: EntryId,
    },
    /// I would, or would not. A refusal by a higher term teaches that term.
    PreVoteReply {
        /// The term of the asker when it asked: an answer to an older question is worth nothing.
        asked: Term,
        /// Whether it would.
        granted: bool,
    },
    /// Vote for me in this term.
    Vote {
        /// The end of the asker's log.
        last: EntryId,
        /// Whether the leader itself asked for this election, so its presence is no objection.
        forced: bool,
    },
    /// I do, and shall remember it; or I do not.
    VoteReply {
        /// Whether it does.
        granted: bool,
    },
    /// The leader's entries after `prev`, up to `last`; none when they are the same.
    Append {
        /// The entry before the first one carried.
        prev: EntryId,
        /// The last one carried.
        last: Index,
        /// What the leader has committed.
        commit: Index,
    },
    /// My log equals yours up to this entry, and my disk has it.
    AppendAck {
        /// The newest entry that is certainly the same. By identity, so that an answer can never be
        /// taken for an answer about another entry at that index.
        matched: EntryId,
    },
    /// My log does not have the entry that you build on.
    AppendReject {
        /// The index of the entry built on.
        at: Index,
        /// Where we may agree.
        hint: EntryId,
        /// My copy of something I had acknowledged is damaged: send again from after `hint`.
        damaged: bool,
    },
    /// The leader is there.
    Heartbeat {
        /// What is committed, no further than the receiver is known to agree.
        commit: Index,
        /// The newest round of reads.
        round: Position,
        /// There is nothing to do: stop listening for heartbeats until something happens.
        quiet: bool,
    },
    /// I follow you.
    HeartbeatAck {
        /// The round of reads that was asked for.
        round: Position,
    },
    /// This much is committed, and the receiver has it. Needs no answer.
    Commit {
        /// No further than the receiver is known to agree.
        commit: Index,
    },
    /// To one who still speaks as a leader: the time of your term is over.
    Deposed,
    /// The leader hands over: campaign at once.
    TimeoutNow {
        /// No leader up to now has a lease, or gets one.
        is_free: bool,
    },
    /// A follower has reads up to this position: how far must it have applied to answer them?
    ReadAsk {
        /// The follower's newest read.
        position: Position,
    },
    /// This far.
    ReadAnswer {
        /// The reads that are answered.
        position: Position,
        /// What must be applied first.
        index: Index,
    },
    /// My copy of this entry is damaged: do you have it?
    RepairAsk {
        /// The damaged entry.
        id: EntryId,
    },
    /// I have: it travels with this message.
    Repair {
        /// The entry.
        id: EntryId,
    },
    /// To one whose log is too old to be elected: up to this entry everything is committed.
    Committed {
        /// The last entry that both may have.
        id: EntryId,
    },
    /// I certainly never had it, and in the term of this message nobody will give it to me.
    NeverHad {
        /// The entry.
        id: EntryId,
    },
}

impl Body {
    /// Whether only the leader of the message's term says this.
    pub(super) const fn is_leaders(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Heartbeat { .. }
                | Self::Commit { .. }
                | Self::TimeoutNow { .. }
                | Self::ReadAnswer { .. }
        )
    }
}
