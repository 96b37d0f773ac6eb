//! Who leads: roles, votes, and when to doubt a leader.
//!
//! ```text
//!             patience ends            majority would            majority does
//!  follower ---------------> pre-candidate --------> candidate ----------> leader
//!     ^  ^                        |                     |                     |
//!     |  '--- a leader speaks ----+---------------------'                     |
//!     '------ a higher term, or no word from a majority ---------------------'
//! ```
//!
//! *Pre-vote*: before a replica takes a new term, which would depose a leader that is well, it asks
//! whether it would win. A replica that hears a leader says no. So somebody who was cut off comes
//! back without disturbing anybody. A refusal carries the refuser's term: otherwise two replicas,
//! one ahead in its log and one ahead in its term, would refuse each other forever.
//!
//! *Haste*: a replica that has just begun knows no leader whose silence it would have to wait out. It asks
//! after a quarter of the usual time, and again, until it hears of a leader, gives its vote, stands in
//! an election, or has been at it for two timeouts. So a cluster of which every node was restarted is
//! there again soon, and since it only asks whether it would win, a leader that is well is not disturbed.
//! Leases do not count on this silence (`lease.rs`).
//!
//! *Check of the quorum*: a leader that has not heard from a majority for an election timeout
//! resigns, so that its clients look elsewhere and its followers may vote.
//!
//! A replica that hears from its leader does not even answer a vote in a higher term, unless the
//! leader itself asked for the election. The candidate's higher term is not lost: when the leader
//! speaks to it, it answers [`Body::Deposed`], and a proper election follows.
//!
//! Whatever the leader says refreshes the patience of a follower, also an append that it must
//! reject: a follower that is being caught up must not campaign.

use super::{
    Body, Effects, EntryId, Held, Index, Message, Moment, Progress, Raft, Refusal, ReplicaId, Role,
    Tally, Term, lease::Lease, read::Rounds, time::nanos, transfer::Transfer,
};
use crate::{mark, never, planted};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// What a replica is, with what that role needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    Follower(Option<ReplicaId>),
    Candidate(Campaign),
    Leader(Box<Leading>),
}

/// An election this replica stands in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Campaign {
    /// It only asks whether it would win.
    pre: bool,
    votes: Vec<(ReplicaId, bool)>,
}

/// What only a leader has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leading {
    /// Everybody else, in order of id.
    pub(super) peers: Vec<Progress>,
    /// Its first entry. Before that is committed it does not know what is.
    pub(super) opened_at: Index,
    /// The newest entry that changes the membership, or may: the next one waits for it.
    pub(super) change_at: Index,
    /// Bytes proposed and not committed.
    pub(super) uncommitted: u64,
    pub(super) heartbeat_at: Moment,
    pub(super) quorum_at: Moment,
    /// Since when there was nothing to do.
    pub(super) busy_at: Moment,
    pub(super) quiet: bool,
    pub(super) rounds: Rounds,
    pub(super) lease: Lease,
    pub(super) transfer: Option<Transfer>,
}

impl Leading {
    pub(super) fn peer(&mut self, id: ReplicaId) -> Option<&mut Progress> {
        let at = self.peers.binary_search_by_key(&id, Progress::id).ok()?;
        self.peers.get_mut(at)
    }

    /// A number of each peer, for the arithmetic of quorums; 0 for strangers.
    pub(super) fn of(&self, id: ReplicaId, value: impl Fn(&Progress) -> u64) -> u64 {
        self.peers.binary_search_by_key(&id, Progress::id).map_or(0, |at| value(&self.peers[at]))
    }
}

/// A follower's or candidate's relation to time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    /// When it last heard from the leader, or began to wait.
    pub(super) heard_at: Moment,
    /// How long it waits from then on.
    pub(super) patience: Duration,
    /// The leader said that there is nothing to do; nodes watch over each other meanwhile.
    pub(super) quiet: bool,
    /// Until then it waits for less: it has just begun.
    pub(super) hasty_to: Moment,
}

impl Raft {
    /// What this replica is at the moment.
    #[must_use]
    pub const fn role(&self) -> Role {
        match &self.state {
            State::Follower(leader) => Role::Follower(*leader),
            State::Candidate(campaign) if campaign.pre => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub const fn leader(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Follower(leader) => *leader,
            State::Candidate(_) => None,
            State::Leader(_) => Some(self.id),
        }
    }

    /// What a leader knows of its peers, in order of id; nothing elsewhere.
    #[must_use]
    pub fn peers(&self) -> &[Progress] {
        match &self.state {
            State::Leader(leading) => &leading.peers,
            State::Follower(_) | State::Candidate(_) => &[],
        }
    }

    /// When something is due though nothing happens.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Leader(leading) if leading.quiet => None,
            State::Leader(leading) => {
                let mut at = leading.heartbeat_at.min(leading.quorum_at);
                if let Some(transfer) = &leading.transfer {
                    at = at.min(transfer.ends_at);
                }
                let deferred = leading.lease.defers_until(self.now);
                Some(deferred.map_or(at, |until| at.min(until)))
            }
            State::Follower(_) if self.standing.quiet => None,
            State::Follower(_) | State::Candidate(_) => {
                let waits = self.membership.is_voter(self.id) && self.config.priority > 0;
                (waits || self.log.first_faulty().is_some() || !self.remembers())
                    .then(|| self.standing.heard_at + self.standing.patience)
            }
        }
    }

    pub(super) fn on_due(&mut self, fx: &mut Effects) {
        if self.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        if matches!(self.state, State::Leader(_)) {
            self.on_leader_due(fx);
        } else if self.can_lead() && self.config.priority > 0 {
            self.campaign(true, false, fx);
        } else {
            mark!("raft_patience_ends_and_it_cannot_lead");
            self.restart_patience();
            self.ask_for_repair(fx);
            self.ask_for_a_term(fx);
        }
    }

    /// Begins to wait anew, with a new patience, so that a split vote does not repeat itself.
    pub(super) fn restart_patience(&mut self) {
        let election = nanos(self.config.election);
        let is_hasty = self.now < self.standing.hasty_to;
        let (least, more) =
            if is_hasty { (election / 8, election / 4) } else { (election, election) };
        let drawn = if more == 0 { 0 } else { self.luck % more };
        self.standing.patience = Duration::from_nanos(least + drawn) + self.reluctance();
        self.standing.heard_at = self.now;
        self.standing.quiet = false;
    }

    /// It begins, and knows of no leader.
    pub(super) fn begin_to_wait(&mut self) {
        if self.config.hasty {
            self.standing.hasty_to = self.now + self.config.election * 2;
        }
        self.restart_patience();
    }

    /// It knows of a leader, or of somebody who may become one.
    const fn end_haste(&mut self) {
        self.standing.hasty_to = Moment(0);
    }

    /// How much longer it waits than who campaigns most eagerly.
    fn reluctance(&self) -> Duration {
        let late = u64::from(100_u8.saturating_sub(self.config.priority));
        Duration::from_nanos(nanos(self.config.election) / 100 * late)
    }

    /// It campaigns more or less eagerly from now on, also where it waits already.
    pub(super) fn on_priority(&mut self, priority: u8) {
        if planted!("raft_priority_is_for_life") {
            return;
        }
        let drawn = self.standing.patience.saturating_sub(self.reluctance());
        self.config.priority = priority;
        if !planted!("raft_priority_counts_later") {
            self.standing.patience = drawn + self.reluctance();
        }
    }

    /// Whether this replica may lead: it votes, nothing it must know is missing, and no membership
    /// is committed that it does not act by.
    pub(super) fn can_lead(&self) -> bool {
        let from = self.applied.max(self.membership_at).next();
        let unapplied = self.log.changes_members(from, self.commit);
        if unapplied {
            mark!("raft_unapplied_change_holds_back_a_campaign");
        }
        let damaged = self.first_missing().is_some() && !planted!("raft_damaged_log_may_lead");
        self.membership.is_voter(self.id)
            && !damaged
            && self.remembers()
            && (self.damage.stuck.is_none() || planted!("raft_stuck_replica_campaigns"))
            && self.installing.is_none()
            && (!unapplied || planted!("raft_campaign_with_unapplied_change"))
    }

    pub(super) fn on_campaign(&mut self, fx: &mut Effects) {
        if matches!(self.state, State::Leader(_)) {
            return;
        }
        if self.can_lead() {
            self.campaign(true, false, fx);
        } else {
            fx.refused = Some(Refusal::CannotLead);
        }
    }

    /// Asks for votes, or first whether it would get them.
    pub(super) fn campaign(&mut self, pre: bool, forced: bool, fx: &mut Effects) {
        if !pre {
            self.end_haste();
        }
        self.restart_patience();
        let mut others = self.membership.members();
        others.retain(|id| *id != self.id && self.membership.is_voter(*id));
        let last = self.log.last();
        if pre {
            self.state = State::Candidate(Campaign { pre, votes: Vec::new() });
            for to in others {
                self.say(fx, to, Body::PreVote { last });
            }
            self.count_vote(self.id, true, fx);
            return;
        }
        self.term = self.term.next();
        if !planted!("raft_agreement_of_another_term") {
            self.agreed = Index(0);
        }
        self.vote = Some(self.id);
        self.writes.touch_hard();
        self.state = State::Candidate(Campaign { pre, votes: Vec::new() });
        // Nobody is asked before the disk knows the term. A replica that asked, lost its power and
        // with it the end of its log, could otherwise stand again in the same term and be elected
        // by answers to its first question.
        for to in others {
            self.promise(fx, to, Body::Vote { last, forced });
        }
        if planted!("raft_own_vote_before_durable") {
            self.on_own_vote(fx);
        } else {
            self.writes.hold(self.term, Held::OwnVote);
        }
    }

    pub(super) fn on_own_vote(&mut self, fx: &mut Effects) {
        if matches!(&self.state, State::Candidate(campaign) if !campaign.pre) {
            self.count_vote(self.id, true, fx);
        }
    }

    fn count_vote(&mut self, from: ReplicaId, granted: bool, fx: &mut Effects) {
        let State::Candidate(campaign) = &mut self.state else { return };
        if !campaign.votes.iter().any(|(id, _)| *id == from) {
            campaign.votes.push((from, granted));
        }
        let pre = campaign.pre;
        let votes = &campaign.votes;
        let vote = |id| votes.iter().find(|(voter, _)| *voter == id).map(|(_, granted)| *granted);
        match self.membership.tally(vote) {
            Tally::Won if pre => self.campaign(false, false, fx),
            Tally::Won => self.lead(fx),
            Tally::Lost => {
                mark!("raft_election_lost");
                self.follow(self.term, None);
            }
            Tally::Open => {}
        }
    }

    /// Becomes a follower, in a higher term or in this one.
    pub(super) fn follow(&mut self, term: Term, leader: Option<ReplicaId>) {
        assert!(term >= self.term, "terms never go back");
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.agreed = Index(0);
            self.writes.touch_hard();
        }
        self.state = State::Follower(leader);
        if leader.is_some() && !planted!("raft_haste_outlasts_the_first_leader") {
            self.end_haste();
        }
        self.restart_patience();
    }

    /// The same replica under a newer number. Its vote stays given, whoever it was given to: one
    /// disk votes once in a term. What it had in hand as the old one is over.
    pub(super) fn on_named(&mut self, id: ReplicaId) {
        if id > self.id || planted!("raft_older_number_taken") {
            mark!("raft_replica_gets_another_number");
            if planted!("raft_new_number_forgets_the_vote") {
                self.vote = None;
            }
            if !planted!("raft_new_number_leads_on") {
                self.follow(self.term, None);
            }
            self.id = id;
        }
    }

    /// The leader of this term speaks. Answers whether to listen.
    fn hear(&mut self, from: ReplicaId) -> bool {
        let stranger = match &self.state {
            State::Leader(_) => true,
            State::Follower(Some(leader)) => *leader != from,
            State::Follower(None) | State::Candidate(_) => false,
        };
        if never!(stranger, "a term has two leaders") {
            return false;
        }
        if self.leader().is_none() {
            self.follow(self.term, Some(from));
        }
        self.standing.heard_at = self.now;
        self.standing.quiet = false;
        true
    }

    /// Whether a leader was heard of lately enough that nobody else is listened to.
    pub(super) fn trusts_its_leader(&self) -> bool {
        match &self.state {
            State::Leader(_) => true,
            State::Candidate(_) | State::Follower(None) => false,
            State::Follower(Some(_)) => {
                self.standing.quiet || self.now < self.standing.heard_at + self.config.election
            }
        }
    }

    pub(super) fn on_message(&mut self, message: Message, heads: &[super::Head], fx: &mut Effects) {
        let Message { from, to, term, body } = message;
        if to != self.id || from == self.id {
            mark!("raft_message_of_somebody_else");
            return;
        }
        match body {
            Body::Committed { id } => return self.on_committed(id),
            Body::PreVote { last } => return self.on_pre_vote(from, term, last, fx),
            Body::PreVoteReply { asked, granted } => {
                return self.on_pre_vote_reply(from, term, asked, granted, fx);
            }
            _ => {}
        }
        if term > self.term {
            let asks = matches!(body, Body::Vote { forced: false, .. } | Body::RepairAsk { .. });
            if asks && self.trusts_its_leader() && self.leader() != Some(from) {
                mark!("raft_election_ignored_while_the_leader_is_well");
                return;
            }
            self.follow(term, body.is_leaders().then_some(from));
        } else if term < self.term && !planted!("raft_old_terms_are_believed") {
            return self.on_old_term(from, body, fx);
        }
        if body.is_leaders() && !self.hear(from) {
            return;
        }
        self.on_body(from, body, heads, fx);
    }

    fn on_body(&mut self, from: ReplicaId, body: Body, heads: &[super::Head], fx: &mut Effects) {
        match body {
            Body::Vote { last, .. } => self.on_vote(from, last, fx),
            Body::VoteReply { granted } => {
                if matches!(&self.state, State::Candidate(campaign) if !campaign.pre) {
                    self.count_vote(from, granted, fx);
                }
            }
            Body::Append { prev, last, commit } => {
                self.on_append(from, prev, last, commit, heads, fx);
            }
            Body::AppendAck { matched } => self.on_append_ack(from, matched, fx),
            Body::AppendReject { at, hint, damaged } => {
                self.on_append_reject(from, at, hint, damaged, fx);
            }
            Body::Heartbeat { commit, round, quiet } => {
                self.on_heartbeat(from, commit, round, quiet, fx);
            }
            Body::HeartbeatAck { round } => self.on_heartbeat_ack(from, round, fx),
            Body::Commit { commit } => self.on_commit(from, commit, fx),
            Body::TimeoutNow { is_free } => self.on_timeout_now(is_free, fx),
            Body::ReadAsk { position } => self.on_read_ask(from, position, fx),
            Body::ReadAnswer { position, index } => self.on_read_answer(position, index, fx),
            Body::RepairAsk { id } => self.on_repair_ask(from, id, fx),
            Body::Repair { id } => self.on_repair(id, heads),
            Body::NeverHad { id } => self.on_never_had(from, id),
            // Both have done their work by their term, or before.
            Body::Deposed
            | Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::Committed { .. } => {}
        }
    }

    /// A message of a term that is over: whoever sent it is told.
    fn on_old_term(&mut self, from: ReplicaId, body: Body, fx: &mut Effects) {
        match body {
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Commit { .. }
                if !planted!("raft_old_leader_is_not_told") =>
            {
                mark!("raft_old_leader_is_told");
                self.say(fx, from, Body::Deposed);
            }
            Body::Vote { .. } => self.say(fx, from, Body::VoteReply { granted: false }),
            Body::RepairAsk { id } => self.on_repair_ask(from, id, fx),
            _ => mark!("raft_message_of_an_old_term"),
        }
    }

    fn on_pre_vote(&mut self, from: ReplicaId, term: Term, last: EntryId, fx: &mut Effects) {
        // Whom we take for the leader and who campaigns is no leader any more.
        let trusts = self.trusts_its_leader() && self.leader() != Some(from);
        let electable = self.would_elect(last);
        let granted = !trusts && term >= self.term && electable;
        self.say(fx, from, Body::PreVoteReply { asked: term, granted });
        if !trusts && !electable {
            let known = self.log.id_at(self.commit.min(last.index));
            fx.send.extend(known.map(|id| Message {
                from: self.id,
                to: from,
                term: self.term,
                body: Body::Committed { id },
            }));
        }
    }

    /// Somebody who would not vote for this replica knows what is committed. It may be what makes
    /// this one the only voter: those with the longer logs cannot campaign any more then, and this
    /// one need not ask them.
    fn on_committed(&mut self, id: EntryId) {
        let is_news = id.index > self.commit && self.log.has(id);
        let leads = matches!(self.state, State::Leader(_));
        if is_news && !leads && !planted!("raft_refusal_hides_the_commit") {
            mark!("raft_refusal_teaches_the_commit");
            self.learn_commit(id.index);
        }
    }

    fn on_pre_vote_reply(
        &mut self,
        from: ReplicaId,
        term: Term,
        asked: Term,
        granted: bool,
        fx: &mut Effects,
    ) {
        if !granted && term > self.term {
            if !planted!("raft_refusal_teaches_nothing") {
                mark!("raft_refusal_teaches_a_term");
                self.follow(term, None);
            }
            return;
        }
        let is_open = matches!(&self.state, State::Candidate(campaign) if campaign.pre);
        let is_answer = is_open && asked == self.term;
        if is_answer || planted!("raft_late_answer_counts_as_a_vote") {
            self.count_vote(from, granted, fx);
        }
    }

    /// Whether a log that ends in `last` has everything that this one may have promised.
    fn would_elect(&self, last: EntryId) -> bool {
        let own = if planted!("raft_damaged_entry_counts_as_absent") {
            self.log.id_at(self.log.whole_to()).unwrap_or_default()
        } else {
            self.log.last()
        };
        let is_ahead = last >= own || planted!("raft_vote_for_any_log");
        is_ahead && (self.remembers() || planted!("raft_forgetful_replica_votes"))
    }

    fn on_vote(&mut self, from: ReplicaId, last: EntryId, fx: &mut Effects) {
        let is_free = match self.vote {
            Some(vote) => vote == from || planted!("raft_votes_twice"),
            None => self.leader().is_none(),
        };
        if !is_free || !self.would_elect(last) {
            self.say(fx, from, Body::VoteReply { granted: false });
            return;
        }
        if self.vote != Some(from) {
            self.vote = Some(from);
            self.writes.touch_hard();
        }
        if matches!(self.state, State::Candidate(_)) {
            self.state = State::Follower(None);
        }
        self.end_haste();
        self.restart_patience();
        self.promise(fx, from, Body::VoteReply { granted: true });
    }

    /// Wins: begins to lead with an entry of its own term, because only such an entry can be
    /// committed by counting, and with it everything before.
    fn lead(&mut self, fx: &mut Effects) {
        let first = self.log.last().index.next();
        let peers = self.membership.members().into_iter().filter(|id| *id != self.id);
        let change_at = if planted!("raft_change_before_own_commit") { Index(0) } else { first };
        let inherited = self.log.bytes(self.commit.next(), self.log.last().index);
        let forgets = planted!("raft_inherited_bytes_not_counted");
        self.standing.quiet = false;
        let is_free = self.free_term == self.term;
        self.state = State::Leader(Box::new(Leading {
            peers: peers.map(|id| Progress::new(id, first)).collect(),
            opened_at: first,
            change_at,
            uncommitted: if forgets { 0 } else { inherited },
            heartbeat_at: self.config.next_beat(self.now),
            quorum_at: self.now + self.config.election,
            busy_at: self.now,
            quiet: false,
            rounds: Rounds::default(),
            lease: Lease::begin(&self.config, (!is_free).then_some(self.appended_at)),
            transfer: None,
        }));
        self.append_own(super::Kind::Noop, fx);
    }

    fn on_leader_due(&mut self, fx: &mut Effects) {
        let State::Leader(leading) = &mut self.state else { return };
        if leading.transfer.as_ref().is_some_and(|transfer| transfer.ends_at <= self.now) {
            mark!("raft_transfer_given_up");
            leading.transfer = None;
        }
        if leading.quorum_at <= self.now {
            leading.quorum_at = self.now + self.config.election;
            let own = self.id;
            let heard = &*leading;
            let active = self.membership.reached(|id| {
                if id == own { 1 } else { heard.of(id, |peer| u64::from(peer.active)) }
            });
            leading.peers.iter_mut().for_each(|peer| peer.active = false);
            if active == 0 {
                mark!("raft_leader_resigns");
                return self.follow(self.term, None);
            }
        }
        self.hand_over_if_in_vain(fx);
        let State::Leader(leading) = &mut self.state else { return };
        if leading.heartbeat_at <= self.now {
            leading.heartbeat_at = self.config.next_beat(self.now);
            self.heartbeat(fx);
            self.ask_for_repair(fx);
        }
    }

    pub(super) fn election_invariants(&self) {
        match &self.state {
            State::Leader(leading) => {
                assert_eq!(self.vote, Some(self.id), "a leader voted for itself");
                assert!(leading.opened_at <= self.log.last().index, "a leader has its own entry");
                let config = &self.config;
                leading.peers.iter().for_each(|peer| peer.invariants(config));
            }
            State::Candidate(campaign) if !campaign.pre => {
                assert_eq!(self.vote, Some(self.id), "a candidate votes for itself");
            }
            State::Candidate(_) | State::Follower(_) => {}
        }
    }
}
