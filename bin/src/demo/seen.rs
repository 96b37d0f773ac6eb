//! What is seen of the nodes: what each is at the moment, and, while somebody wants to know, what
//! they say to each other.
//!
//! A node tells it on its own thread, so it takes a number or two and goes on. While a command is
//! explained, the packets of all nodes are written down with the moment at which they were sent; at
//! other times nobody writes anything.
//!
//! Not here: metrics and traces of a server, which come later.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use trilith_engine::{
    packet::{Envelope, Packet},
    raft::{Body, EntryId, Message, Raft, Role},
    types::GroupId,
};
use trilith_net::node::Watch;

/// More than any one command brings about: what is written down has an end.
const NOTES_MAX: usize = 200;

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Glance {
    /// `None` before its first step.
    pub(super) role: Option<Role>,
    pub(super) term: u64,
    /// Entries that it knows to be committed.
    pub(super) commit: u64,
}

/// Something that a node did.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// How long after the question.
    pub(super) after: Duration,
    /// Which node.
    pub(super) node: u64,
    /// What.
    pub(super) what: String,
}

/// What is written down, by all nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Arc<Mutex<Option<Open>>>);

#[derive(Debug)]
struct Open {
    since: Instant,
    notes: Vec<Note>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    /// From now on things are written down.
    pub(super) fn begin(&self) {
        *locked(&self.0) = Some(Open { since: Instant::now(), notes: Vec::new() });
    }

    /// What was written down, in the order in which it happened.
    pub(super) fn end(&self) -> Vec<Note> {
        let mut notes = locked(&self.0).take().map_or_else(Vec::new, |open| open.notes);
        notes.sort_by_key(|note| note.after);
        notes
    }

    fn add(&self, node: u64, what: impl FnOnce() -> Option<String>) {
        let mut open = locked(&self.0);
        let Some(open) = open.as_mut().filter(|open| open.notes.len() < NOTES_MAX) else { return };
        if let Some(what) = what() {
            open.notes.push(Note { after: open.since.elapsed(), node, what });
        }
    }
}

/// What one node is at the moment, for whoever asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<Glance>>);

impl Seen {
    /// How it looks.
    pub(super) fn glance(&self) -> Glance {
        *locked(&self.0)
    }

    /// It is gone.
    pub(super) fn forget(&self) {
        *locked(&self.0) = Glance::default();
    }
}

/// Looks at one node.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) node: u64,
    pub(super) seen: Seen,
    pub(super) notes: Notes,
}

impl Watch for Watcher {
    fn saw_packet(&mut self, envelope: &Envelope) {
        let to = envelope.to.0;
        self.notes.add(self.node, || match &envelope.packet {
            Packet::Raft { message, .. } => said(message, to),
            Packet::Beats(beats) => beats.first().and_then(|beat| said(&beat.message, to)),
            Packet::Chunk(_) => Some(format!("sends node {to} a piece of a snapshot")),
            Packet::ChunkAck(_) => Some(format!("has a piece of a snapshot from node {to}")),
            Packet::SnapshotAsk(ask) => {
                Some(format!("asks node {to} to send replica {} a snapshot", ask.to))
            }
            Packet::ValueAsk { .. } => Some(format!("asks node {to} for a value that is damaged")),
            Packet::Value { .. } => Some(format!("sends node {to} a value that was damaged there")),
            Packet::Seat { .. } | Packet::Digest { .. } | Packet::Pace { .. } => None,
        });
    }

    fn saw_step(&mut self, _group: GroupId, raft: &Raft) {
        *locked(&self.seen.0) =
            Glance { role: Some(raft.role()), term: raft.term().0, commit: raft.commit().0 };
    }

    fn saw_apply(&mut self, _group: GroupId, entry: EntryId, _digest: u64) {
        self.notes.add(self.node, || Some(format!("applies entry {}", entry.index)));
    }
}

/// A message of Raft, as a person would tell it.
fn said(message: &Message, to: u64) -> Option<String> {
    let told = |text: fmt::Arguments<'_>| Some(text.to_string());
    match message.body {
        Body::Append { prev, last, .. } if last > prev.index => {
            told(format_args!("sends entry {last} to node {to}"))
        }
        Body::Append { .. } => told(format_args!("asks node {to} how far its log goes")),
        Body::AppendAck { matched } => {
            told(format_args!("has entry {} on its disk, and says so to node {to}", matched.index))
        }
        Body::AppendReject { .. } => told(format_args!("lacks what came before, says it to {to}")),
        Body::Heartbeat { .. } => told(format_args!("asks node {to} whether it still leads")),
        Body::HeartbeatAck { .. } => told(format_args!("tells node {to} that it does")),
        Body::ReadAsk { .. } => {
            told(format_args!("asks node {to} from which entry on it may answer"))
        }
        Body::ReadAnswer { index, .. } => {
            told(format_args!("tells node {to} that it may answer from entry {index} on"))
        }
        Body::Commit { commit } => {
            told(format_args!("tells node {to} that entry {commit} is committed"))
        }
        Body::PreVote { .. } | Body::Vote { .. } => {
            told(format_args!("asks node {to} for its vote"))
        }
        Body::PreVoteReply { granted, .. } | Body::VoteReply { granted } => {
            let what = if granted { "gives" } else { "refuses" };
            told(format_args!("{what} node {to} its vote"))
        }
        Body::TimeoutNow { .. } => told(format_args!("hands its leadership to node {to}")),
        Body::Deposed => told(format_args!("tells node {to} that it leads no more")),
        Body::RepairAsk { .. }
        | Body::Repair { .. }
        | Body::Committed { .. }
        | Body::NeverHad { .. } => told(format_args!("mends the log with node {to}")),
    }
}
