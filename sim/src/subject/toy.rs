//! The toy: a small but real replicated log, so that the simulator has something to break.
//!
//! One node is the primary, for good; the others are backups. A write goes through two phases:
//! ```text
//! client      primary                          backup 1 .. n-1
//!   | request   | append, sync                   |
//!   |---------->|---- prepare (from, chain) ---->| fits? append, sync
//!   |           |<--- prepared (length) ---------|
//!   |           | a majority holds it: commit,   |
//!   |<----------| apply, reply                   |
//!   |           |---- commit (with the next) --->| apply
//! ```
//! What it promises: each operation is linearizable and executed at most once, and an acknowledged
//! one survives, under power loss and kills of any nodes in any number, restarts, pauses,
//! partitions, lost, cut and flipped bytes, failing syncs, full disks, any clocks; and the loss of
//! one disk in the cluster's life, the primary's included. It does not promise to serve without
//! its primary, nor to survive rot: that is what the real thing is for.
//!
//! Why each step is there:
//! - the primary syncs before it sends, so its log is never behind a backup's, unless its disk is
//!   lost;
//! - an entry is committed when a majority, the primary among them, holds it durably; so after the
//!   loss of the primary's disk any `n - majority + 1` backups hold every committed entry between
//!   them, and the one with the highest (epoch, length) holds all of them;
//! - a new life begins with an entry of its own and serves nothing before that is committed, so
//!   that it never shows what a lost disk could take back;
//! - a backup compares chains, and cuts its log where it differs from the primary's;
//! - a request is known by (client, number), so a retry waits for the first attempt.
//!
//! [`Bug`] takes these steps away one by one; each must be caught by a judge (`mutants`).
//!
//! Not here: frames (`toy_wire`), the log on disk (`toy_log`), the node's tasks (`toy_node`), the
//! client (`toy_client`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::toy_wire::{Entry, NOBODY};
use crate::{
    check::{linearizable::step, resources::Gauges},
    history::{Answer, Key, OpId, Value},
    world::{self, NodeId},
};

macro_rules! bugs {
    ($($bug:ident $name:literal $breaks:literal;)*) => {
        /// A step taken away.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $(#[doc = $breaks] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)*];

            /// Its name, as scenario files use it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }

            /// What it breaks.
            #[must_use]
            pub const fn breaks(self) -> &'static str {
                match self { $(Self::$bug => $breaks,)* }
            }
        }
    };
}

bugs! {
    AckBeforeSync "toy_ack_before_sync" "The primary sends and counts entries that it has not synced.";
    BackupAckBeforeSync "toy_backup_ack_before_sync" "A backup acknowledges entries that it has not synced.";
    AckBeforeQuorum "toy_ack_before_quorum" "The primary commits what it alone holds.";
    CommitOnTimeout "toy_commit_on_timeout" "The primary commits what nobody has answered to for a while.";
    StaleRead "toy_stale_read" "A backup answers gets from its own state.";
    ForgetDedupe "toy_forget_dedupe" "A retry is executed like a new request.";
    DedupeLostOnRestart "toy_dedupe_lost_on_restart" "A new life of the primary does not know the requests of the log.";
    IgnorePrepareOrder "toy_ignore_prepare_order" "A backup appends whatever comes, wherever it belongs.";
    UnknownAsFailed "toy_unknown_as_failed" "A client that heard nothing says that it failed.";
    ServeBeforeRecovered "toy_serve_before_recovered" "A new life of the primary answers gets before its log is committed.";
    TornTailKept "toy_torn_tail_kept" "Recovery leaves a torn tail where it is and appends after it.";
    NoDirectorySync "toy_no_directory_sync" "The names of new files are never synced.";
    ChecksumIgnored "toy_checksum_ignored" "Recovery takes entries without looking at their checksums.";
    SyncErrorIgnored "toy_sync_error_ignored" "A failed sync counts as a sync.";
    NoReconnect "toy_no_reconnect" "The primary does not open a broken link again.";
    PendingLeak "toy_pending_leak" "Requests that were answered are never forgotten.";
    WallClockOrder "toy_wall_clock_order" "A set with an older wall clock than the last one is dropped.";
    BlankStartsEmpty "toy_blank_starts_empty" "A primary that lost its disk begins with an empty log.";
    GatherTooFew "toy_gather_too_few" "A primary that lost its disk believes the first backup that answers.";
    WireChecksumIgnored "toy_wire_checksum_ignored" "Frames are taken without looking at their checksums.";
    AcceptAnyReply "toy_accept_any_reply" "A client takes whatever reply comes next for its own.";
    CasDecidedEarly "toy_cas_decided_early" "A cas compares when it is asked, not when it is applied.";
}

impl std::str::FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|bug| bug.name() == name);
        found.copied().ok_or_else(|| format!("the toy has no bug {name:?}"))
    }
}

/// Which bugs are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bugs(BTreeSet<Bug>);

impl Bugs {
    /// These.
    #[must_use]
    pub fn of(bugs: &[Bug]) -> Self {
        Self(bugs.iter().copied().collect())
    }

    /// Whether this one is on.
    #[must_use]
    pub fn has(&self, bug: Bug) -> bool {
        self.0.contains(&bug)
    }
}

/// Where node n listens.
#[must_use]
pub fn address(node: u32) -> SocketAddr {
    world::address(NodeId(node), 7000)
}

/// Nodes that hold a committed entry.
#[must_use]
pub const fn majority(nodes: u32) -> u32 {
    nodes / 2 + 1
}

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The keys.
    pub values: BTreeMap<Key, Value>,
    /// The last request of each client, and its answer.
    pub sessions: BTreeMap<u32, (u64, Answer)>,
    /// The requests in the order of their execution.
    pub log: Vec<OpId>,
}

impl Machine {
    /// Executes one entry.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.client == NOBODY {
            return;
        }
        let (after, answer) = step(self.values.get(&entry.key).copied(), entry.call);
        match after {
            Some(value) => self.values.insert(entry.key, value),
            None => self.values.remove(&entry.key),
        };
        self.sessions.insert(entry.client, (entry.sequence, answer));
        self.log.push(OpId(entry.id));
    }
}

/// What one node shows the harness: never read by the toy itself.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its state.
    pub machine: Machine,
    /// Whether its present life has recovered.
    pub up: bool,
    /// Why its last life ended by itself, if it did.
    pub stopped: Option<String>,
}

#[derive(Debug, Default)]
struct Behind {
    nodes: BTreeMap<u32, Seen>,
    gauges: Gauges,
    formatted: BTreeSet<u32>,
}

/// The pane of glass between the toy and its judges.
#[derive(Clone, Debug, Default)]
pub struct Glass(Arc<Mutex<Behind>>);

impl Glass {
    fn behind(&self) -> MutexGuard<'_, Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what a node shows.
    pub fn show(&self, node: u32, change: impl FnOnce(&mut Seen)) {
        change(self.behind().nodes.entry(node).or_default());
    }

    /// Samples a size.
    pub fn gauge(&self, node: u32, name: &'static str, now: u64, limit: u64, quiet: u64) {
        self.behind().gauges.sample(node, name, now, limit, quiet);
    }

    /// Whether the operator has formatted that node's disk.
    #[must_use]
    pub fn is_formatted(&self, node: u32) -> bool {
        self.behind().formatted.contains(&node)
    }

    /// The operator has formatted that node's disk.
    pub fn formatted(&self, node: u32) {
        self.behind().formatted.insert(node);
    }

    /// What all nodes show.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<u32, Seen> {
        self.behind().nodes.clone()
    }

    /// What all nodes measured.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.behind().gauges.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
        }
        assert!("toy_nothing".parse::<Bug>().is_err());
    }
}
