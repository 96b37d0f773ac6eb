//! Reads that see everything acknowledged before them, without a word in the log.
//!
//! A leader that wants to answer a read must know that it still leads: it notes what is committed,
//! asks everybody, and when a majority has answered, no newer leader had committed anything when
//! the read came. Such a *round* confirms every read that came before it began; those that come
//! while one is under way share the next. So there is at most one round in flight, and it costs the
//! same for one read as for ten thousand.
//!
//! Rounds and reads are counted by the core. An answer names the round it answers, so an old or a
//! repeated one confirms nothing newer; a read's position begins with the number of the life, so an
//! answer to a former life confirms nothing in this one. A number chosen by a client would do
//! neither.
//!
//! A leader does not know what is committed before it has committed an entry of its own. Until then
//! reads wait.
//!
//! A follower asks the leader, and asks again whenever the leader is heard, until it is answered:
//! so a read outlives a change of the leader, and nobody needs a timer.

use super::{Body, Effects, Index, Position, Raft, ReadsReady, ReplicaId, election::State};
use crate::{mark, planted};

/// The reads of this replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    /// The newest read.
    asked: Position,
    /// The newest one that was answered.
    answered: Position,
    /// The newest one that a leader was asked for.
    sent: Position,
}

impl Reads {
    pub(super) const fn new(incarnation: u32) -> Self {
        let first = Position((incarnation as u64) << 32);
        Self { asked: first, answered: first, sent: first }
    }

    const fn waits(&self) -> bool {
        self.answered.0 < self.asked.0
    }
}

/// A leader's rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rounds {
    newest: Position,
    /// The round under way, as `newest`, confirms this.
    flight: Option<ReadsReady>,
}

impl Rounds {
    /// The newest round; a heartbeat asks for it again.
    pub(super) const fn newest(&self) -> Position {
        self.newest
    }

    /// Whether nothing is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.flight.is_none()
    }
}

impl Raft {
    /// The position that the next read will be given.
    #[must_use]
    pub const fn next_read(&self) -> Position {
        Position(self.reads.asked.0 + 1)
    }

    pub(super) fn on_read(&mut self, fx: &mut Effects) {
        self.reads.asked.0 += 1;
        let position = self.reads.asked;
        fx.read = Some(position);
        match &mut self.state {
            State::Leader(leading) => {
                leading.busy_at = self.now;
                if self.reads_by_lease(fx) {
                    self.answered(position, self.commit, fx);
                } else {
                    self.start_round(fx);
                }
            }
            State::Follower(Some(leader)) if self.reads.sent <= self.reads.answered => {
                let leader = *leader;
                self.ask_again(leader, fx);
            }
            State::Follower(_) | State::Candidate(_) => {}
        }
    }

    /// Whether the lease covers a read now; renews it when it is about to end.
    fn reads_by_lease(&mut self, fx: &mut Effects) -> bool {
        let knows = self.knows_commit();
        let State::Leader(leading) = &mut self.state else { return false };
        if leading.transfer.is_some() || !knows {
            return false;
        }
        let holds = leading.lease.left(self.now).is_some();
        if leading.lease.wants_renewal(self.now) {
            mark!("raft_lease_renewed");
            self.append_own(super::Kind::Noop, fx);
        }
        if holds {
            mark!("raft_read_by_lease");
        }
        holds
    }

    /// Whether a leader knows what is committed: from its own first entry on.
    fn knows_commit(&self) -> bool {
        match &self.state {
            State::Leader(leading) => {
                self.commit >= leading.opened_at || planted!("raft_read_before_own_commit")
            }
            State::Follower(_) | State::Candidate(_) => false,
        }
    }

    fn answered(&mut self, upto: Position, index: Index, fx: &mut Effects) {
        self.reads.answered = self.reads.answered.max(upto);
        let newest = fx.reads.map_or(index, |ready| ready.index.max(index));
        fx.reads = Some(ReadsReady { upto: self.reads.answered, index: newest });
    }

    /// Begins a round, if reads wait for one and none is under way.
    pub(super) fn start_round(&mut self, fx: &mut Effects) {
        let knows = self.knows_commit();
        let State::Leader(leading) = &mut self.state else { return };
        let asked = self.reads.waits() || leading.peers.iter().any(|peer| peer.asked.0 > 0);
        if !asked || !knows || !leading.rounds.is_idle() {
            return;
        }
        leading.rounds.newest.0 += 1;
        leading.rounds.flight = Some(ReadsReady { upto: self.reads.asked, index: self.commit });
        for peer in &mut leading.peers {
            peer.flying = core::mem::take(&mut peer.asked);
        }
        self.heartbeat(fx);
        self.finish_round(fx);
    }

    /// Ends the round under way, if a majority has answered it.
    pub(super) fn finish_round(&mut self, fx: &mut Effects) {
        let State::Leader(leading) = &mut self.state else { return };
        let Some(flight) = leading.rounds.flight else { return };
        let (own, peers) = (self.id, &*leading);
        let any = planted!("raft_read_by_any_answer");
        let reached = self
            .membership
            .reached(|id| if id == own { u64::MAX } else { peers.of(id, |peer| peer.round.0) });
        let alone = planted!("raft_read_without_a_round");
        let old = any && peers.peers.iter().any(|peer| peer.round.0 > 0);
        if reached < leading.rounds.newest.0 && !alone && !old {
            return;
        }
        leading.rounds.flight = None;
        for at in 0..leading.peers.len() {
            let State::Leader(leading) = &mut self.state else { return };
            let peer = &mut leading.peers[at];
            let (id, position) = (peer.id, core::mem::take(&mut peer.flying));
            if position.0 > 0 {
                self.say(fx, id, Body::ReadAnswer { position, index: flight.index });
            }
        }
        if flight.upto > self.reads.answered {
            self.answered(flight.upto, flight.index, fx);
        }
        self.start_round(fx);
    }

    /// A follower has reads.
    pub(super) fn on_read_ask(&mut self, from: ReplicaId, position: Position, fx: &mut Effects) {
        if self.reads_by_lease(fx) {
            self.say(fx, from, Body::ReadAnswer { position, index: self.commit });
            return;
        }
        let State::Leader(leading) = &mut self.state else { return };
        leading.busy_at = self.now;
        let Some(peer) = leading.peer(from) else { return };
        peer.asked = peer.asked.max(position);
        self.start_round(fx);
    }

    /// A follower hears the leader: what it waits for is asked again.
    pub(super) fn ask_again(&mut self, leader: ReplicaId, fx: &mut Effects) {
        if self.reads.waits() {
            self.reads.sent = self.reads.asked;
            self.say(fx, leader, Body::ReadAsk { position: self.reads.asked });
        }
    }

    pub(super) fn on_read_answer(&mut self, position: Position, index: Index, fx: &mut Effects) {
        if position > self.reads.asked || position <= self.reads.answered {
            mark!("raft_answer_to_no_read");
            return;
        }
        self.answered(position, index, fx);
        if let State::Follower(Some(leader)) = self.state {
            self.ask_again(leader, fx);
        }
    }

    /// Whether no read waits here.
    pub(super) const fn no_read_waits(&self) -> bool {
        !self.reads.waits()
    }
}
