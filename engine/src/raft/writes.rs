//! What must wait for the disk, and the token that ends the wait.
//!
//! A vote, an acknowledgement, the leader's own copy: each is a promise, and a promise is worth
//! what the disk remembers. So none of them leaves the core when it is made. It waits here, behind
//! the number of the [`Write`] that makes it true, until the driver comes back with the
//! [`Persisted`] token; and a token is made of nothing but the write itself and the journal's word
//! that it is durable. "Send before sync" is not a rule one can forget; it does not compile.
//!
//! The writes of a group are one queue: terms, votes, cuts and entries reach the disk in the order
//! in which they were issued, and a token stands for every write before its own.
//!
//! **A, B, A.** A follower is sent entry A, told by a newer leader to replace it by B, and by a
//! still newer one to put A back, all while the first write is on its way. When that one completes,
//! the log in memory says A and the disk has A; but the disk is about to have B. So a completion
//! counts only in the term in which its write was issued, and every write attests the log's end
//! anew, so that nothing is lost by dropping one.
//!
//! Invariants: `done ≤ issued`; numbers of what is held rise and are `> done`; `durable` is at most
//! the log's end.

use super::{EntryId, HardState, Log, Message};
use crate::{
    limits::RAFT_PROMISES_MAX,
    mark, planted,
    types::{GroupId, Index, Term},
};
use alloc::collections::VecDeque;

/// Proof that a write and everything before it in the journal is durable.
///
/// The journal's own token implements it, and memory disks of tests; nothing else should.
pub trait Durable {}

/// Something to be made durable, in one piece, after every earlier write of the same group.
#[derive(Debug)]
#[cfg_attr(any(test, feature = "mutants"), derive(Clone, PartialEq, Eq, Hash))]
#[must_use = "a write that is not made is a promise that is not kept"]
pub struct Write {
    ticket: Ticket,
    /// The new term and vote, when they changed.
    pub hard: Option<HardState>,
    /// Whether everything from `first` on is to be dropped from the stored log before. Without it,
    /// entries that the journal has already are replaced, and later ones stay.
    pub cut: bool,
    /// The first entry to be stored.
    pub first: Index,
    /// The last one; before `first` when there is none.
    pub last: Index,
}

/// What a completion must say to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ticket {
    group: GroupId,
    incarnation: u32,
    term: Term,
    sequence: u64,
    /// The end of the log as of this write.
    last: EntryId,
}

/// The journal's word that a [`Write`] is durable. There is one for each write, once.
#[derive(Debug)]
#[must_use = "what waits for the disk waits until the core sees this"]
pub struct Persisted(Ticket);

impl Write {
    /// Exchanges a write for its token, against proof.
    pub fn persisted(self, _proof: &impl Durable) -> Persisted {
        Persisted(self.ticket)
    }

    /// The group it belongs to.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.ticket.group
    }

    /// Whether there are entries to be stored.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.first <= self.last
    }
}

impl Persisted {
    /// The group it belongs to, so that the driver finds the core.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.0.group
    }
}

/// Something that becomes true, or may be said, when a write is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Held {
    /// May be sent.
    Say(Message),
    /// The own vote counts.
    OwnVote,
    /// These payloads are whole again.
    Healed(Index, Index),
}

impl Held {
    /// Whether it is worth nothing in a later term.
    const fn is_of_its_term(&self) -> bool {
        match self {
            Self::Say(_) | Self::OwnVote => true,
            Self::Healed(..) => false,
        }
    }
}

/// What a step changes of what must survive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Dirty {
    hard: bool,
    cut: bool,
    first: Option<Index>,
    last: Index,
}

/// The queue of one group's writes, seen from the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writes {
    group: GroupId,
    incarnation: u32,
    issued: u64,
    done: u64,
    durable: Index,
    held: VecDeque<(u64, Term, Held)>,
    dirty: Dirty,
}

impl Writes {
    pub(super) fn new(group: GroupId, incarnation: u32, durable: Index) -> Self {
        Self {
            group,
            incarnation,
            issued: 0,
            done: 0,
            durable,
            held: VecDeque::new(),
            dirty: Dirty::default(),
        }
    }

    /// The newest entry that the disk certainly has, of the log as it is in memory.
    pub(super) const fn durable(&self) -> Index {
        self.durable
    }

    /// Whether nothing is on its way to the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.issued == self.done && self.dirty == Dirty::default()
    }

    /// How much waits for the disk.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The term or the vote changed.
    pub(super) fn touch_hard(&mut self) {
        self.dirty.hard = true;
    }

    /// Entries from `first` to `last` are to be stored.
    pub(super) fn touch_entries(&mut self, first: Index, last: Index) {
        let before = self.dirty.first.unwrap_or(first);
        self.dirty.first = Some(before.min(first));
        self.dirty.last = self.dirty.last.max(last);
    }

    /// The log was cut before `from`; what comes there is new.
    pub(super) fn touch_cut(&mut self, from: Index) {
        self.dirty.cut = true;
        self.dirty.first = Some(self.dirty.first.map_or(from, |first| first.min(from)));
        self.dirty.last = Index(from.0 - 1);
        self.durable = self.durable.min(Index(from.0 - 1));
    }

    /// The log was replaced by a snapshot that the disk has.
    pub(super) fn replaced(&mut self, at: Index) {
        self.durable = at;
    }

    /// The disk has everything up to `index`, by another way than a write.
    pub(super) fn attest(&mut self, index: Index) {
        self.durable = self.durable.max(index);
    }

    /// Holds something back until everything that this step and those before wrote is durable.
    ///
    /// A disk that hangs is asked the same again and again. When too much waits, promises of older
    /// terms go, which nobody wants any more, and then what is only to be said: who asked for that
    /// asks again.
    pub(super) fn hold(&mut self, term: Term, what: Held) {
        if self.held.len() >= RAFT_PROMISES_MAX && !planted!("raft_promises_have_no_end") {
            mark!("raft_too_many_promises_wait");
            let is_wanted = |made: Term, held: &Held| made == term || !held.is_of_its_term();
            self.held.retain(|(_, made, held)| is_wanted(*made, held));
            if self.held.len() >= RAFT_PROMISES_MAX && matches!(what, Held::Say(_)) {
                return;
            }
        }
        let is_dirty = self.dirty != Dirty::default();
        self.held.push_back((self.issued + u64::from(is_dirty), term, what));
    }

    /// The last entry of a repair on its way to the disk that covers an index.
    pub(super) fn heals(&self, index: Index) -> Option<Index> {
        self.held.iter().find_map(|(_, _, held)| match held {
            Held::Healed(first, last) if *first <= index && index <= *last => Some(*last),
            Held::Healed(..) | Held::Say(_) | Held::OwnVote => None,
        })
    }

    /// What this step has to write, if anything.
    pub(super) fn issue(&mut self, hard: HardState, log: &Log) -> Option<Write> {
        let dirty = core::mem::take(&mut self.dirty);
        if dirty == Dirty::default() {
            return None;
        }
        self.issued += 1;
        let ticket = Ticket {
            group: self.group,
            incarnation: self.incarnation,
            term: hard.term,
            sequence: self.issued,
            last: log.last(),
        };
        let first = dirty.first.unwrap_or(log.last().index.next());
        Some(Write {
            ticket,
            hard: dirty.hard.then_some(hard),
            cut: dirty.cut,
            first,
            last: if dirty.first.is_some() { dirty.last } else { Index(first.0 - 1) },
        })
    }

    /// A write completed. Answers whether it was one of this life.
    pub(super) fn complete(&mut self, token: Persisted, term: Term, log: &Log) -> bool {
        let ticket = token.0;
        let is_ours = (ticket.group, ticket.incarnation) == (self.group, self.incarnation);
        if !is_ours || ticket.sequence > self.issued {
            mark!("raft_completion_of_another_life");
            return false;
        }
        self.done = self.done.max(ticket.sequence);
        if ticket.term != term && !planted!("raft_stale_completion_believed") {
            mark!("raft_completion_of_another_term");
            return true;
        }
        if log.has(ticket.last) || planted!("raft_completion_not_compared") {
            let last = ticket.last.index.min(log.last().index);
            self.durable = self.durable.max(last);
        }
        true
    }

    /// The next thing that need not wait any longer, with the term it was made in.
    pub(super) fn release(&mut self) -> Option<(Term, Held)> {
        if self.held.front()?.0 > self.done {
            return None;
        }
        self.held.pop_front().map(|(_, term, held)| (term, held))
    }

    /// What must always hold.
    pub(super) fn invariants(&self, last: Index) {
        assert!(self.done <= self.issued, "nothing completes that was not issued");
        assert!(self.durable <= last, "the disk has no more than the log");
        assert!(self.dirty == Dirty::default(), "a step ends with its write issued");
        assert!(self.held.front().is_none_or(|held| held.0 > self.done), "nothing waits in vain");
    }
}
