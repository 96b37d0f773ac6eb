//! What goes into a step, and what comes out: the whole surface between the core and its driver.
//!
//! The driver keeps one [`Effects`] and hands it to every step. A step fills it; the driver empties
//! it. Its lists keep their capacity, so a step in steady state allocates nothing.

use super::{
    Change, EntryId, Head, Membership, Message, Misfit, Moment, Position, Role, writes::Persisted,
    writes::Write,
};
use crate::types::{Index, ReplicaId, Term};
use alloc::vec::Vec;
use core::fmt;

/// Something that happened to a replica.
#[derive(Debug)]
pub enum Input<'a> {
    /// The deadline of the last step has come.
    Due,
    /// A peer says something.
    Message {
        /// What.
        message: Message,
        /// The heads of the entries that came with it, in order.
        heads: &'a [Head],
    },
    /// Clients want these entries appended: the length of each payload.
    Propose {
        /// One number for each entry. The driver keeps the payloads, and numbers them by the answer.
        sizes: &'a [u32],
    },
    /// Somebody wants the membership changed.
    ProposeChange {
        /// How.
        change: &'a Change,
        /// The length of the change as the driver encodes it.
        bytes: u32,
    },
    /// Somebody wants the joint membership left.
    ProposeLeave,
    /// This replica is another one from now on: what it holds and has promised is in the place of a
    /// newer one. An older number changes nothing.
    Named {
        /// Which.
        id: ReplicaId,
    },
    /// A read arrived that must see everything acknowledged before it.
    Read,
    /// The journal made a write durable, and with it every earlier write of this group.
    Persisted(Persisted),
    /// The state machine has taken everything up to here.
    Applied {
        /// The last entry applied.
        upto: Index,
    },
    /// The state machine has come to an entry that changes the membership.
    ChangeApplied {
        /// Where it stands.
        index: Index,
        /// What it says; `None` for one that leaves a joint membership.
        change: Option<&'a Change>,
    },
    /// Entries up to here are gone from the journal; a snapshot covers them.
    Compacted {
        /// The last one gone.
        upto: Index,
    },
    /// The sending of a snapshot has ended.
    SnapshotSent {
        /// To whom it went.
        to: ReplicaId,
        /// Whether it arrived whole.
        arrived: bool,
    },
    /// A whole and verified snapshot is here, from whichever replica. Nothing is installed yet.
    SnapshotArrived {
        /// The last entry it covers.
        at: EntryId,
        /// The membership as of that entry.
        membership: &'a Membership,
    },
    /// The snapshot of [`Effects::install`] is durable and is the state now.
    SnapshotInstalled {
        /// Which.
        at: EntryId,
    },
    /// The snapshot of [`Effects::install`] could not be installed, and nothing has changed.
    SnapshotAbandoned {
        /// Which.
        at: EntryId,
    },
    /// The payload of a live entry is damaged. If the state has taken the entry already, the driver
    /// heals the log itself: it makes the state durable and compacts.
    Faulty {
        /// Where.
        index: Index,
    },
    /// The state machine cannot take the next entry: something that it must see is damaged, and only
    /// a snapshot helps.
    Stuck,
    /// Somebody wants another leader.
    Transfer {
        /// Whom.
        to: ReplicaId,
    },
    /// The node of a peer died or came back, as far as nodes can tell about each other.
    Peer {
        /// The peer.
        id: ReplicaId,
        /// Whether its node answers.
        alive: bool,
    },
    /// An operator, or a test, wants an election here and now.
    Campaign,
    /// This replica campaigns more or less eagerly from now on; see
    /// [`Config::priority`](super::Config::priority).
    Priority {
        /// How eagerly.
        priority: u8,
    },
}

/// What must happen outside because of a step.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be made durable. The driver takes it, writes it, syncs, and comes back with the token.
    pub write: Option<Write>,
    /// To be sent, in this order as far as the network keeps one.
    pub send: Vec<Message>,
    /// What became of a proposal.
    pub proposed: Option<Proposed>,
    /// What became of a request to change the leader or the membership that was refused.
    pub refused: Option<Refusal>,
    /// First and last of the entries that may be applied now. Each is handed out once a life.
    pub committed: Option<(Index, Index)>,
    /// The position given to the read of this step.
    pub read: Option<Position>,
    /// Reads that may be answered.
    pub reads: Option<ReadsReady>,
    /// Replicas that need a snapshot: the log no longer has what they lack. The driver answers each
    /// with [`Input::SnapshotSent`], whatever becomes of it.
    pub snapshots: Vec<ReplicaId>,
    /// The snapshot that arrived shall be installed, in the journal's order, after every write of
    /// before; then [`Input::SnapshotInstalled`]. If the log was compacted beyond it meanwhile there
    /// is nothing to install, and the core is told all the same.
    pub install: Option<EntryId>,
    /// The role changed.
    pub role: Option<Role>,
    /// When to come back with [`Input::Due`], if nothing happens before. Earlier does no harm.
    pub deadline: Option<Moment>,
}

impl Effects {
    /// Empties it for the next step.
    ///
    /// # Panics
    /// When the write of the step before is still in it: a write that nobody makes is a promise
    /// that nobody keeps.
    pub(super) fn begin(&mut self) {
        assert!(self.write.is_none(), "the write of the last step was not taken");
        self.send.clear();
        self.proposed = None;
        self.refused = None;
        self.committed = None;
        self.read = None;
        self.reads = None;
        self.snapshots.clear();
        self.install = None;
        self.role = None;
        self.deadline = None;
    }
}

/// What became of a proposal: the first `taken` entries stand from `first` on, the others were
/// refused and nothing happened to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The identity of the first one taken, or where it would have stood.
    pub first: EntryId,
    /// How many were taken.
    pub taken: usize,
    /// Why the rest was not.
    pub refused: Option<Refusal>,
}

/// Why something was not done. Always definite: nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Only the leader does this; this is who it is, as far as known.
    NotLeader(Option<ReplicaId>),
    /// Too much is proposed and not committed.
    Overloaded,
    /// The leader is handing over.
    Transferring,
    /// A payload is longer than an entry may be.
    TooLarge,
    /// An earlier change is not applied yet, or this leader has not committed in its own term.
    ChangePending,
    /// The change does not fit.
    Misfit(Misfit),
    /// This replica cannot lead: no voter, behind, or damaged.
    CannotLead,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(leader)) => write!(f, "not the leader; {leader} is"),
            Self::NotLeader(None) => f.write_str("not the leader, and none is known"),
            Self::Overloaded => f.write_str("too much is waiting to be committed"),
            Self::Transferring => f.write_str("the leader is handing over"),
            Self::TooLarge => f.write_str("the entry is too large"),
            Self::ChangePending => f.write_str("an earlier change is not finished"),
            Self::Misfit(misfit) => misfit.fmt(f),
            Self::CannotLead => f.write_str("that replica cannot lead now"),
        }
    }
}

impl core::error::Error for Refusal {}

impl Refusal {
    /// Whether the same request may succeed later, here or at another replica.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader(_)
            | Self::Overloaded
            | Self::Transferring
            | Self::ChangePending
            | Self::CannotLead => true,
            Self::TooLarge | Self::Misfit(_) => false,
        }
    }
}

/// Reads that may be answered: all those up to a position, once the state has taken `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadsReady {
    /// The newest of them.
    pub upto: Position,
    /// What must be applied first.
    pub index: Index,
}

/// What survives a restart besides the log: the newest term and the vote in it; how far the log was
/// committed when it was written, which is at least the last committed change of the members; and
/// what is known of what it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term this replica knows.
    pub term: Term,
    /// Whom it voted for in it.
    pub vote: Option<ReplicaId>,
    /// How far the log was committed then.
    pub commit: Index,
    /// The last term in which the replica may have promised something that it does not know of: the
    /// end of its journal was lost, and its log did not show yet that it does not matter.
    pub forgot: Option<Term>,
}
