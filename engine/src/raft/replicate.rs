//! The log travels: proposals, appends, acknowledgements, commit.
//!
//! A leader sends while its own disk writes; its own copy counts when its disk says so, like
//! everybody's. A follower acknowledges after its sync, up to the newest entry that is certainly
//! the same as the leader's.
//!
//! An entry is committed when a majority has it *and it is of the leader's own term*. Older ones
//! are committed by what stands on them: an entry of an old term can be on a majority and still be
//! replaced (figure 8 of the paper), because somebody without it may have the newer last term.
//!
//! A follower that lacks what an append builds on answers with the newest place where the logs may
//! agree; each such answer skips a whole term of disagreement.

use core::iter;

use super::{
    Body, Effects, EntryId, Flow, Head, Held, Index, Kind, Moment, Proposed, Raft, Refusal,
    ReplicaId, election::State,
};
use crate::{limits::RAFT_ENTRY_BYTES_MAX, mark, never, planted};

impl Raft {
    pub(super) fn on_propose(&mut self, sizes: &[u32], fx: &mut Effects) {
        let leader = self.leader();
        let first = EntryId { term: self.term, index: self.log.last().index.next() };
        let mut answer = Proposed { first, taken: 0, refused: None };
        let State::Leader(leading) = &mut self.state else {
            answer.refused = Some(Refusal::NotLeader(leader));
            fx.proposed = Some(answer);
            return;
        };
        if leading.transfer.is_some() {
            answer.refused = Some(Refusal::Transferring);
            fx.proposed = Some(answer);
            return;
        }
        for size in sizes {
            let with = leading.uncommitted + u64::from(*size);
            if *size > RAFT_ENTRY_BYTES_MAX && !planted!("raft_entry_limit_ignored") {
                answer.refused = Some(Refusal::TooLarge);
                break;
            }
            if leading.uncommitted > 0 && with > self.config.uncommitted_bytes_max {
                mark!("raft_overloaded");
                answer.refused = Some(Refusal::Overloaded);
                break;
            }
            leading.uncommitted = with;
            self.log.push(Head { term: self.term, kind: Kind::Normal, bytes: *size });
            answer.taken += 1;
        }
        fx.proposed = Some(answer);
        if answer.taken > 0 {
            self.appended(first.index, fx);
        }
    }

    /// A leader appends an entry for itself or for the membership.
    pub(super) fn append_own(&mut self, kind: Kind, fx: &mut Effects) {
        self.append_sized(kind, 0, fx);
    }

    pub(super) fn append_sized(&mut self, kind: Kind, bytes: u32, fx: &mut Effects) {
        let State::Leader(leading) = &mut self.state else { return };
        leading.uncommitted += u64::from(bytes);
        self.log.push(Head { term: self.term, kind, bytes });
        self.appended(self.log.last().index, fx);
    }

    /// A leader has appended from `first` on: to the disk and to the peers, side by side.
    fn appended(&mut self, first: Index, fx: &mut Effects) {
        let last = self.log.last().index;
        self.writes.touch_entries(first, last);
        self.appended_at = self.now;
        if let State::Leader(leading) = &mut self.state {
            leading.busy_at = self.now;
            leading.lease.appended(last, self.now);
        }
        self.feed_all(fx);
    }

    /// Sends every peer what it may have now.
    pub(super) fn feed_all(&mut self, fx: &mut Effects) {
        let State::Leader(leading) = &self.state else { return };
        for at in 0..leading.peers.len() {
            self.feed_at(at, fx);
        }
    }

    pub(super) fn feed(&mut self, id: ReplicaId, fx: &mut Effects) {
        let State::Leader(leading) = &self.state else { return };
        if let Ok(at) = leading.peers.binary_search_by_key(&id, super::Progress::id) {
            self.feed_at(at, fx);
        }
    }

    fn feed_at(&mut self, at: usize, fx: &mut Effects) {
        let given_up = self.given_up_to();
        let State::Leader(leading) = &mut self.state else { return };
        let peer = &mut leading.peers[at];
        let before = peer.flow;
        while let Some(body) = peer.feed(&self.log, self.commit, given_up, &self.config) {
            let message = super::Message { from: self.id, to: peer.id, term: self.term, body };
            fx.send.push(message);
        }
        if peer.flow == Flow::Snapshot && before != Flow::Snapshot {
            fx.snapshots.push(peer.id);
        }
    }

    /// A follower takes what a leader sends.
    pub(super) fn on_append(
        &mut self,
        from: ReplicaId,
        prev: EntryId,
        last: Index,
        commit: Index,
        heads: &[Head],
        fx: &mut Effects,
    ) {
        if last.0 != prev.index.0 + heads.len() as u64 {
            mark!("raft_append_without_its_entries");
            return;
        }
        if self.installing.is_some() && !planted!("raft_append_taken_during_an_install") {
            mark!("raft_append_during_an_install");
            return;
        }
        let (prev, heads) = self.beyond_base(prev, heads);
        if !self.may_follow(prev, heads) && !planted!("raft_entries_of_any_term_are_taken") {
            mark!("raft_append_of_impossible_terms");
            return;
        }
        let damaged = self.open_damage().filter(|bad| *bad <= prev.index);
        let agrees = self.log.has(prev) || planted!("raft_append_without_a_check");
        if damaged.is_some() && !planted!("raft_damaged_entry_is_acknowledged") {
            return self.report_damage(from, fx);
        }
        if !agrees || prev.index > self.log.last().index {
            let hint = self.log.agreement(prev);
            if planted!("raft_rejection_is_no_word") {
                self.standing.heard_at = Moment(0);
            }
            self.say(fx, from, Body::AppendReject { at: prev.index, hint, damaged: false });
            return;
        }
        let Some(matched) = self.take(prev.index, heads) else { return };
        self.agreed = self.agreed.max(matched);
        self.learn_commit(commit.min(matched));
        let id = self.log.id_at(matched).unwrap_or_default();
        self.promise(fx, from, Body::AppendAck { matched: id });
    }

    /// The part of an append beyond what a snapshot covers. The rest is committed, so it agrees.
    fn beyond_base<'a>(&self, prev: EntryId, heads: &'a [Head]) -> (EntryId, &'a [Head]) {
        let base = self.log.base();
        if prev.index >= base.index {
            return (prev, heads);
        }
        mark!("raft_append_below_the_base");
        let covered = (base.index.0 - prev.index.0).min(heads.len() as u64);
        (base, &heads[covered as usize..])
    }

    /// Whether some log could have these entries there: terms never fall along one, and whoever leads
    /// has none of a term to come. A leader whose memory is broken says anything.
    fn may_follow(&self, prev: EntryId, heads: &[Head]) -> bool {
        let terms = || heads.iter().map(|head| head.term);
        let rises =
            iter::once(prev.term).chain(terms()).zip(terms()).all(|(one, next)| one <= next);
        rises && heads.last().is_none_or(|last| last.term <= self.term)
    }

    /// Takes entries after `prev`, where the logs agree. Answers up to where they agree now.
    fn take(&mut self, prev: Index, heads: &[Head]) -> Option<Index> {
        let at = |offset: usize| Index(prev.0 + 1 + offset as u64);
        if planted!("raft_append_cuts_always") && at(0) <= self.log.last().index {
            self.log.cut(at(0).max(self.log.base().index.next()));
            self.writes.touch_cut(self.log.last().index.next());
        }
        let is_same =
            |log: &super::Log, offset: usize| log.term_at(at(offset)) == Some(heads[offset].term);
        let same = (0..heads.len()).take_while(|offset| is_same(&self.log, *offset)).count();
        let is_open = |index| self.log.is_faulty(index) && self.writes.heals(index).is_none();
        let damaged = (0..same).find(|offset| is_open(at(*offset)));
        if let Some(damaged) = damaged {
            // Replaces its damaged copies by the leader's. What follows them comes once more.
            mark!("raft_follower_is_repaired");
            let (first, last) = (at(damaged), Index(prev.0 + same as u64));
            self.writes.touch_entries(first, last);
            self.writes.hold(self.term, Held::Healed(first, last));
            return Some(last);
        }
        if same == heads.len() {
            return Some(Index(prev.0 + same as u64));
        }
        let first = at(same);
        if first <= self.log.last().index {
            if never!(first <= self.commit, "a committed entry is replaced") {
                return None;
            }
            mark!("raft_conflict_is_cut");
            self.log.cut(first);
            self.writes.touch_cut(first);
        }
        for head in &heads[same..] {
            self.log.push(*head);
        }
        let last = self.log.last().index;
        self.writes.touch_entries(first, last);
        self.appended_at = self.now;
        Some(last)
    }

    /// A follower learns what is committed. Never goes back, never beyond what it has.
    pub(super) fn learn_commit(&mut self, commit: Index) {
        let commit = commit.min(self.log.last().index);
        if commit > self.commit || planted!("raft_commit_goes_back") {
            self.commit_to(commit.max(self.handed));
        }
    }

    /// A leader says what is committed of what this replica acknowledged to it.
    ///
    /// Of what it acknowledged before it crashed it believes nothing that was not compared again: a
    /// disk that lost a write without a trace may have gone back to entries of another leader.
    pub(super) fn on_commit(&mut self, leader: ReplicaId, commit: Index, fx: &mut Effects) {
        let trusts = planted!("raft_heartbeat_commits_beyond_the_match")
            || planted!("raft_commit_believed_uncompared");
        self.learn_commit(if trusts { commit } else { commit.min(self.agreed) });
        if commit > self.commit && self.installing.is_none() {
            self.ask_what_was_acknowledged(leader, commit, fx);
        }
    }

    /// Entries up to `commit` are committed.
    ///
    /// A replica that forgot in a crash that a change is committed would campaign by the membership
    /// before it, while the change is already left behind: two memberships that share no majority.
    /// Whoever has an entry behind a change has heard that the change is committed, so it is enough
    /// to write that down no later than the entry.
    fn commit_to(&mut self, commit: Index) {
        let changes = self.log.changes_members(self.commit.next(), commit);
        self.commit = commit;
        if changes && !planted!("raft_committed_change_forgotten") {
            self.writes.touch_hard();
        }
    }

    pub(super) fn on_append_ack(&mut self, from: ReplicaId, matched: EntryId, fx: &mut Effects) {
        let base = self.log.base().index;
        // What a snapshot covers is the same everywhere. Anything else is compared, though whoever
        // has another entry here should be in a newer term and not answer in this one.
        if matched.index > base && !self.log.has(matched) {
            mark!("raft_ack_of_another_log");
            return;
        }
        let last = self.log.last().index;
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peer(from) else { return };
        peer.active = true;
        peer.alive = true;
        peer.on_ack(matched.index.min(last), base);
        let before = self.commit;
        self.advance(fx);
        if self.commit == before {
            self.feed(from, fx);
        }
        self.hand_over_if_ready(from, fx);
    }

    pub(super) fn on_append_reject(
        &mut self,
        from: ReplicaId,
        at: Index,
        hint: EntryId,
        damaged: bool,
        fx: &mut Effects,
    ) {
        let found = self.log.agreement(hint);
        // Where even the base is of a later term the logs part before it, and only a snapshot helps.
        let below = found.term > hint.term && !planted!("raft_base_taken_for_agreement");
        let found = Index(found.index.0.saturating_sub(u64::from(below)));
        let agreement = found.min(hint.index);
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peer(from) else { return };
        peer.active = true;
        if peer.on_reject(at, agreement, damaged) {
            self.feed(from, fx);
        }
    }

    /// A leader commits what a majority has.
    pub(super) fn advance(&mut self, fx: &mut Effects) {
        let State::Leader(leading) = &mut self.state else { return };
        // What is applied is committed: damaged or not, it does not keep later entries from counting.
        let bad = self.log.first_faulty_from(self.applied.next());
        let whole = bad.map_or(self.log.last().index, |bad| Index(bad.0 - 1));
        let durable = if planted!("raft_own_copy_before_durable") {
            self.log.last().index
        } else {
            self.writes.durable()
        };
        let (own, copy) = (self.id, durable.min(whole).0);
        let peers = &*leading;
        let reached = self
            .membership
            .reached(|id| if id == own { copy } else { peers.of(id, |peer| peer.matched.0) });
        let reached = Index(reached.min(self.log.last().index.0));
        let is_own_term = self.log.term_at(reached) == Some(self.term);
        if reached <= self.commit || !is_own_term && !planted!("raft_commit_of_an_old_term") {
            return;
        }
        if leading.lease.defers_until(self.now).is_some() {
            mark!("raft_commit_waits_for_an_old_lease");
            return;
        }
        let bytes = self.log.bytes(self.commit.next(), reached);
        leading.uncommitted = leading.uncommitted.saturating_sub(bytes);
        leading.lease.committed(reached);
        self.commit_to(reached);
        self.feed_all(fx);
        self.start_round(fx);
        self.leave_if_due(fx);
    }

    /// Says to everybody that the leader is there.
    pub(super) fn heartbeat(&mut self, fx: &mut Effects) {
        let quiet = self.goes_quiet();
        let (commit, id, term) = (self.commit, self.id, self.term);
        let State::Leader(leading) = &mut self.state else { return };
        leading.quiet = quiet;
        let round = leading.rounds.newest();
        let trusted = planted!("raft_heartbeat_commits_beyond_the_match");
        fx.send.extend(leading.peers.iter().map(|peer| {
            let commit = if trusted { commit } else { commit.min(peer.matched) };
            let body = Body::Heartbeat { commit, round, quiet };
            super::Message { from: id, to: peer.id, term, body }
        }));
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: ReplicaId,
        commit: Index,
        round: super::Position,
        quiet: bool,
        fx: &mut Effects,
    ) {
        self.say(fx, from, Body::HeartbeatAck { round });
        self.on_commit(from, commit, fx);
        self.report_damage(from, fx);
        if !quiet {
            self.ask_leader_for_repair(from, fx);
        }
        self.ask_for_snapshot(from, fx);
        self.ask_again(from, fx);
        self.standing.quiet = quiet && self.may_be_quiet(commit);
    }

    pub(super) fn on_heartbeat_ack(
        &mut self,
        from: ReplicaId,
        round: super::Position,
        fx: &mut Effects,
    ) {
        let last = self.log.last().index;
        let (commit, log) = (self.commit, &self.log);
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peer(from) else { return };
        peer.active = true;
        peer.alive = true;
        peer.round = peer.round.max(round);
        // An append may have been lost; the peer itself is there.
        if peer.flow == (Flow::Probe { waiting: true }) && !planted!("raft_probe_waits_forever") {
            peer.flow = Flow::Probe { waiting: false };
        }
        if peer.flow == Flow::Stream && peer.matched < last {
            let check = peer.check(log, commit);
            fx.send.extend(check.map(|body| super::Message {
                from: self.id,
                to: from,
                term: self.term,
                body,
            }));
        }
        self.feed(from, fx);
        self.finish_round(fx);
    }
}
