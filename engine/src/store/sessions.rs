//! At most once: who was told what, for as long as somebody may ask again.
//!
//! A client numbers its requests and repeats one that was not answered, under the same number. What
//! it was told the first time is kept here, so that a repetition is answered and not executed.
//!
//! # The window of a client
//! ```text
//!        forgotten       │ floor            kept replies, some missing
//!   ... x  x  x  x  x  x │ .  12  13  .  15  .  .  18
//! ```
//! - Each request says the lowest number that its client still waits for; the floor rises to it, and
//!   replies below are dropped. It never falls, so a late request says nothing new.
//! - A request below the floor is answered *unknown*, executed or not.
//! - One at or above it is executed unless its reply is here. Numbers may come in any order and with
//!   gaps: a client has several requests in flight, and other groups get some of them.
//! - A client keeps [`SESSION_REPLIES_MAX`] replies. One more, and the floor rises over the lowest.
//!
//! # Clients that are forgotten
//! A client of which nothing was heard for an hour of the group's time is forgotten; one of which
//! nothing was heard for a minute makes room when a new one comes or the replies weigh too much. If
//! none can go, the request is refused, and nothing has happened. Who was forgotten looks like one
//! who was never here, so a repetition might be executed again. It is not, because each request
//! carries the highest stamp that its client knew when it was first sent (`since`):
//!
//! - `touched` of a client is at least the `since` of each request that was executed for it;
//! - `forgotten` is at least `touched` of every client that was forgotten;
//! - a client that comes (again) notes `forgotten` as `strange`; a request of it that is not newer
//!   (`since <= strange`) and has no reply here may have been executed before, and is refused as
//!   *forgotten*: whoever never sent it before knows that nothing happened, and to everybody else
//!   it is unknown.
//!
//! No clock needs to be right for this. Clocks that are wrong make fresh requests look forgotten, and
//! one that is far ahead is refused before it can do that to others.
//!
//! A client that closes its session leaves a floor above all numbers, which goes like any other.
//!
//! Invariants: replies are in strictly rising order, none below the floor, and within the window;
//! `bytes` is what all replies weigh.
//!
//! Not here: what is executed (`apply.rs`), the bytes of a checkpoint (`checkpoint.rs`).

use crate::{
    always,
    command::{Command, Old, Outcome, Refusal, Reply, Session},
    limits::{
        SESSION_AHEAD_MS_MAX, SESSION_IDLE_MS, SESSION_OLD_BYTES_MAX, SESSION_QUIET_MS,
        SESSION_REPLIES_MAX, SESSION_SWEEP_MS, SESSIONS_BYTES_MAX, SESSIONS_MAX,
        TRANSACTION_WRITES_MAX,
    },
    mark, planted,
    types::{ClientId, Sequence, Stamp},
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

/// Above every number that a request can have.
pub(super) const CLOSED: Sequence = Sequence(u64::MAX);

/// What a reply weighs besides what hangs on it.
const REPLY_BYTES: usize = 96;

/// The heaviest reply that is kept: an old value, or the numbers of a transaction.
pub(super) const SESSION_REPLY_BYTES_MAX: usize = REPLY_BYTES + 8 * TRANSACTION_WRITES_MAX;

/// What is known of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// The lowest number that is not forgotten.
    pub(super) floor: Sequence,
    /// The latest time at which it was here, or said it was.
    pub(super) touched: Stamp,
    /// Requests that are not newer than this may have been executed before it came.
    pub(super) strange: Stamp,
    /// What it was told.
    pub(super) replies: VecDeque<(Sequence, Reply)>,
}

/// What is known of all clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    pub(super) clients: BTreeMap<ClientId, Client>,
    /// No request that was executed for a forgotten client is newer.
    pub(super) forgotten: Stamp,
    bytes: usize,
}

/// What to do with a request.
pub(super) enum Admission {
    /// It is new.
    Run,
    /// It is answered without being executed.
    Answer(Outcome),
}

impl Sessions {
    /// As a checkpoint says it.
    pub(super) fn from_parts(clients: BTreeMap<ClientId, Client>, forgotten: Stamp) -> Self {
        let replies = clients.values().flat_map(|client| &client.replies);
        let bytes = replies.map(|(_, reply)| weight(reply)).sum();
        Self { clients, forgotten, bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// What all replies weigh.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Decides whether a request is executed.
    pub(super) fn admit<B>(
        &mut self,
        session: &Session,
        command: &Command<B>,
        now: Stamp,
    ) -> Admission {
        if !session.is_kept() {
            return Admission::Run;
        }
        if session.since.ms() > now.ms().saturating_add(SESSION_AHEAD_MS_MAX) {
            mark!("store_request_from_the_future");
            return Admission::Answer(Outcome::Refused(Refusal::FromTheFuture));
        }
        let client = session.client;
        if !self.clients.contains_key(&client) {
            if self.clients.len() >= SESSIONS_MAX && !self.forget_quiet(now) {
                return Admission::Answer(Outcome::Refused(Refusal::SessionsFull));
            }
            let strange = self.forgotten;
            self.clients.insert(client, Client { strange, ..Client::default() });
        }
        let known = self.clients.get_mut(&client).expect("it is there since the lines above");
        known.touched = known.touched.max(now).max(session.since);
        self.bytes -= known.raise_floor(session.oldest);
        if let Some(outcome) = known.answer(session) {
            return Admission::Answer(outcome);
        }
        if matches!(command, Command::CloseSession) {
            self.bytes -= known.raise_floor(CLOSED);
            return Admission::Run;
        }
        while self.bytes >= SESSIONS_BYTES_MAX {
            if !self.forget_quiet(now) {
                mark!("store_replies_weigh_too_much");
                return Admission::Answer(Outcome::Refused(Refusal::SessionsFull));
            }
        }
        Admission::Run
    }

    /// Keeps what the client is told about a request that was executed.
    pub(super) fn record(&mut self, session: &Session, reply: &Reply) {
        let Some(known) = self.clients.get_mut(&session.client) else { return };
        if session.sequence < known.floor {
            return;
        }
        let reply = kept(reply);
        self.bytes += weight(&reply);
        let at = known.replies.partition_point(|(sequence, _)| *sequence < session.sequence);
        known.replies.insert(at, (session.sequence, reply));
        if known.replies.len() > SESSION_REPLIES_MAX {
            mark!("store_window_is_full");
            let above = known.replies[1].0;
            self.bytes -= known.raise_floor(above);
        }
    }

    /// Forgets who is idle, once in a while of the group's time.
    pub(super) fn sweep(&mut self, before: Stamp, now: Stamp) {
        if before.ms() / SESSION_SWEEP_MS == now.ms() / SESSION_SWEEP_MS {
            return;
        }
        let idle =
            |client: &Client| now.ms().saturating_sub(client.touched.ms()) >= SESSION_IDLE_MS;
        let all = self.clients.iter();
        let idle: Vec<ClientId> = all.filter(|(_, known)| idle(known)).map(|(id, _)| *id).collect();
        for client in idle {
            mark!("store_idle_client_is_forgotten");
            self.forget(client);
        }
    }

    /// Makes room; answers whether somebody could go.
    fn forget_quiet(&mut self, now: Stamp) -> bool {
        let longest = self.clients.iter().min_by_key(|(id, client)| (client.touched, **id));
        let is_quiet = |client: &Client| {
            now.ms().saturating_sub(client.touched.ms()) >= SESSION_QUIET_MS
                || planted!("store_busy_client_is_forgotten")
        };
        let Some((client, _)) = longest.filter(|(_, client)| is_quiet(client)) else {
            mark!("store_all_sessions_are_busy");
            return false;
        };
        mark!("store_quiet_client_is_forgotten");
        self.forget(*client);
        true
    }

    fn forget(&mut self, client: ClientId) {
        let Some(known) = self.clients.remove(&client) else { return };
        if !planted!("store_forgotten_client_is_new") {
            self.forgotten = self.forgotten.max(known.touched);
        }
        self.bytes -= known.replies.iter().map(|(_, reply)| weight(reply)).sum::<usize>();
    }

    /// What must always hold, as far as it is cheap.
    pub(super) fn invariants(&self) {
        assert!(self.clients.len() <= SESSIONS_MAX, "clients within the limit");
        assert!(self.bytes == 0 || !self.clients.is_empty(), "replies belong to clients");
        assert!(self.bytes < SESSIONS_BYTES_MAX + SESSION_REPLY_BYTES_MAX, "they are bounded");
    }

    /// What must always hold; all of it.
    pub(super) fn check(&self) -> bool {
        let replies = self.clients.values().flat_map(|client| &client.replies);
        let bytes = replies.map(|(_, reply)| weight(reply)).sum::<usize>();
        let is_sound = self.clients.values().all(Client::is_sound);
        let is_known = |client: &Client| client.strange <= self.forgotten;
        always!(is_sound, "replies are in order, above the floor, and within the window")
            && always!(self.bytes == bytes, "what replies weigh is the sum of all")
            && always!(self.clients.values().all(is_known), "nobody is stranger than forgotten")
    }
}

impl Client {
    /// Forgets what lies below; answers what that weighed.
    fn raise_floor(&mut self, floor: Sequence) -> usize {
        if floor <= self.floor && !planted!("store_floor_falls") {
            return 0;
        }
        self.floor = floor;
        let mut bytes = 0;
        while self.replies.front().is_some_and(|(sequence, _)| *sequence < floor) {
            bytes += self.replies.pop_front().map_or(0, |(_, reply)| weight(&reply));
        }
        bytes
    }

    /// What a request is answered that is not executed.
    fn answer(&self, session: &Session) -> Option<Outcome> {
        let doubt = if planted!("store_forgotten_is_refused") {
            Outcome::Refused(Refusal::TooLate)
        } else {
            Outcome::Unknown
        };
        if session.sequence < self.floor {
            mark!("store_request_below_the_window");
            return Some(doubt);
        }
        let found = self.replies.binary_search_by_key(&session.sequence, |(at, _)| *at);
        if let Ok(at) = found
            && !planted!("store_repetition_runs_again")
        {
            mark!("store_repetition_is_answered");
            let other = if planted!("store_reply_of_another") { 0 } else { at };
            return Some(Outcome::Ok(self.replies[other].1.clone()));
        }
        if self.strange > Stamp(0) && session.since <= self.strange {
            mark!("store_request_of_a_forgotten_client");
            let is_told_wrong = planted!("store_forgotten_is_refused");
            let refusal = if is_told_wrong { Refusal::TooLate } else { Refusal::Forgotten };
            return Some(Outcome::Refused(refusal));
        }
        None
    }

    /// Whether its parts fit together.
    pub(super) fn is_sound(&self) -> bool {
        let rises = self.replies.iter().zip(self.replies.iter().skip(1));
        self.replies.len() <= SESSION_REPLIES_MAX
            && self.replies.front().is_none_or(|(first, _)| *first >= self.floor)
            && rises.into_iter().all(|((lower, _), (higher, _))| lower < higher)
    }
}

/// A reply as it is kept.
fn kept(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    if let Reply::Done { old, .. } | Reply::Unmet { old, .. } = &mut reply
        && matches!(old, Old::Found(found) if found.value.len() > SESSION_OLD_BYTES_MAX)
    {
        *old = Old::NotKept;
    }
    reply
}

fn weight(reply: &Reply) -> usize {
    REPLY_BYTES
        + match reply {
            Reply::Done { old: Old::Found(found), .. }
            | Reply::Unmet { old: Old::Found(found), .. } => found.value.len(),
            Reply::Committed { numbers, .. } => 8 * numbers.len(),
            Reply::Done { .. }
            | Reply::Unmet { .. }
            | Reply::Number { .. }
            | Reply::Length { .. }
            | Reply::Conflict { .. }
            | Reply::Failed { .. }
            | Reply::Value(_)
            | Reply::Values(_)
            | Reply::Page { .. }
            | Reply::Count(_)
            | Reply::Cut(_)
            | Reply::Replacing(_) => 0,
        }
}
