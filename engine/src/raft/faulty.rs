//! Damaged entries: known to exist, of known identity, with a payload nobody can read.
//!
//! Cutting a log at a damaged entry would un-acknowledge what clients were promised. So a damaged
//! entry is never taken for absent:
//! - its identity counts when logs are compared, so no voter elects somebody who lacks it;
//! - its holder does not lead (a leader goes on for a while if the entry is committed, so that
//!   others have it), does not apply past it, does not acknowledge past it, and withdraws
//!   what it had acknowledged ([`Body::AppendReject`] with `damaged`), whereupon the leader sends
//!   the entry again;
//! - without a leader the holder asks its peers. **Any intact copy repairs.** If **a majority
//!   certainly never had it**, it was never committed and is discarded. **Otherwise it waits**: a
//!   peer that is away may have the only copy.
//!
//! What is applied is committed, and its state has it: whoever holds a damaged copy of it leads and
//! acknowledges as if it were whole, and asks for it all the same. A follower that lacks the damaged
//! entry itself is sent the state instead, when nobody has sent the entry for a while; the others
//! may have compacted it. If they have, and the leader has not applied it, they have a state that
//! the leader lacks: it waits as long as an election takes, and hands over to one of them.
//!
//! "Never had it" must stay true. A leader of the entry's term, cut off and alive, could still bring
//! the entry to those who denied it, and commit it by counting the old acknowledgement of the
//! damaged copy. So a denial counts only from a replica whose durable term is newer than every term
//! in which the holder can have acknowledged the entry: such a replica takes nothing from those
//! leaders any more. The holder takes a new term itself to bring that about, once, and only when
//! nobody leads.
//!
//! A state that lacks what the next entry must see is *stuck*: no entry helps it, only the state of
//! somebody who has taken the entry. Its holder does not lead and applies nothing more; it tells its
//! leader that it agrees with nothing, which makes the leader send a snapshot. It goes on voting and
//! acknowledging, for its log is whole.
//!
//! # What it may have forgotten
//! A log whose end is lost is damage of unknown identity: entries that this replica acknowledged
//! may be gone, and with them a term that it promised to take nothing below, and a vote. All that
//! is known is a term `until` above which it promised nothing; whoever reads the disk says which.
//!
//! - **Nothing below.** A life begins with leaving those terms: it takes the one above `until`, and
//!   neither votes nor acknowledges before the disk has that. So no promise is broken that it does
//!   not know of: not to take entries of an older leader, not to vote twice in a term. A leader of
//!   such a term is told that it is deposed, also one that sleeps. That costs one election, and it
//!   needs none of the others in particular.
//! - **A copy, no voter.** From then on what it acknowledges is true, so it counts as a copy. But
//!   it does not vote, campaign or deny: its log may lack what it once helped to commit, and its
//!   vote could elect somebody who lacks it too.
//! - **Until its log says otherwise.** It is a voter again when its newest entry is of a later term
//!   than `until`. Let `e` be an entry that it acknowledged, in a term `t ≤ until`, and that is
//!   committed, now or later, by counting that. Whoever made the newest entry was elected in a term
//!   after `t` by a majority that this replica was no part of, or was part of as a voter again, so
//!   with `e`. That majority shares a member with those who acknowledged `e`, who had it when it
//!   voted; so the leader had `e`, and whoever has an entry of that leader's own has all that comes
//!   before it.
//!
//! The last rule is one about the log alone: a later life that is told the same `until` comes to the
//! same answer. So every hard state carries it, until the log that is durable with that hard state
//! makes it void.
//!
//! # What a disk has lost without a trace
//! A disk may say that it has written what it has not. Nothing of that shows at the next start, and
//! no rule of this side helps when the leader goes at the same moment. But a leader that lives
//! counts the copy and has nothing more to send; only its heartbeats say, to each follower, what is
//! committed of what that follower acknowledged. Who has less says so, is sent the rest, and does
//! not vote before it is there. Who has as much may have something else there, for the lost write
//! may have replaced it: no commit is believed beyond what the leader's appends have shown to agree
//! in this life, and a leader that names a later one is asked to compare.

use super::{
    Body, Effects, EntryId, HardState, Head, Held, Index, Moment, Raft, ReplicaId, Term,
    election::State,
};
use crate::{mark, planted};
use alloc::vec::Vec;

/// What this replica knows of its own damage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Damage {
    /// Nothing damaged was acknowledged in a later term than this.
    acknowledged_until: Term,
    /// What it may have forgotten was promised in no later term than this.
    forgot: Option<Term>,
    /// It acknowledged everything up to here, in this life or another.
    lacks: Index,
    /// The damaged entry that peers were asked for.
    asked: EntryId,
    /// Since when.
    asked_since: Moment,
    /// Who certainly never had it.
    denials: Vec<ReplicaId>,
    /// The entry that the state cannot take.
    pub(super) stuck: Option<Index>,
}

impl Damage {
    pub(super) fn at_boot(hard: HardState) -> Self {
        Self {
            acknowledged_until: hard.term,
            forgot: hard.forgot,
            lacks: Index(0),
            asked: EntryId::default(),
            asked_since: Moment::default(),
            denials: Vec::new(),
            stuck: None,
        }
    }
}

impl Raft {
    pub(super) fn on_faulty(&mut self, index: Index, fx: &mut Effects) {
        if self.log.head(index).is_none() || self.log.is_faulty(index) {
            return;
        }
        mark!("raft_entry_is_damaged");
        self.log.mark_faulty(index);
        self.damage.acknowledged_until = self.term;
        self.damage.denials.clear();
        match self.state {
            State::Leader(_) if index > self.commit => {
                // Perhaps nobody else has it, and then a leader could neither send nor drop it.
                mark!("raft_damaged_leader_resigns");
                self.follow(self.term, None);
            }
            State::Leader(_) => self.ask_for_repair(fx),
            State::Candidate(_) => self.follow(self.term, None),
            State::Follower(Some(leader)) => {
                self.report_damage(leader, fx);
                self.ask_leader_for_repair(leader, fx);
            }
            State::Follower(None) => {}
        }
    }

    /// The state cannot take the next entry. To be said again for as long as that is so.
    pub(super) fn on_stuck(&mut self, fx: &mut Effects) {
        mark!("raft_state_is_stuck");
        self.damage.stuck = Some(self.applied.next());
        match self.state {
            State::Leader(_) if planted!("raft_stuck_leader_leads_on") => {}
            State::Leader(_) | State::Candidate(_) => self.follow(self.term, None),
            State::Follower(Some(leader)) => self.ask_for_snapshot(leader, fx),
            State::Follower(None) => {}
        }
    }

    /// Tells a leader that nothing of its log will do.
    pub(super) fn ask_for_snapshot(&self, leader: ReplicaId, fx: &mut Effects) {
        let asks = !planted!("raft_stuck_replica_asks_for_nothing");
        if self.damage.stuck.is_some() && self.installing.is_none() && asks {
            let (at, hint) = (self.applied, EntryId::default());
            self.say(fx, leader, Body::AppendReject { at, hint, damaged: true });
        }
    }

    /// The state has come so far.
    pub(super) fn is_unstuck_by(&mut self, applied: Index) {
        if self.damage.stuck.is_some_and(|stuck| stuck <= applied) {
            mark!("raft_state_goes_on");
            self.damage.stuck = None;
        }
    }

    /// The first damaged entry that the state has not taken, and that no repair on its way to the
    /// disk covers. What is being repaired is not asked for again: a slow disk would turn each
    /// question into another write.
    pub(super) fn open_damage(&self) -> Option<Index> {
        let mut bad = self.first_missing()?;
        while let Some(last) = self.writes.heals(bad) {
            bad = self.log.first_faulty_from(last.next())?;
        }
        Some(bad)
    }

    /// The first damaged entry that the state has not taken.
    pub(super) fn first_missing(&self) -> Option<Index> {
        self.log.first_faulty_from(self.applied.next())
    }

    /// A damaged entry that the state has taken keeps nobody from anything. But a life that begins
    /// before it is settled would want it, so the leader is asked, who may have compacted it.
    pub(super) fn ask_leader_for_repair(&self, leader: ReplicaId, fx: &mut Effects) {
        let bad = self.log.first_faulty().filter(|bad| *bad <= self.applied);
        let open = bad.filter(|bad| self.writes.heals(*bad).is_none());
        if let Some(id) = open.and_then(|bad| self.log.id_at(bad)) {
            self.say(fx, leader, Body::RepairAsk { id });
        }
    }

    /// Withdraws what was acknowledged, from the first damaged entry on.
    pub(super) fn report_damage(&mut self, leader: ReplicaId, fx: &mut Effects) {
        let Some(bad) = self.open_damage() else { return };
        let before = Index(bad.0 - 1);
        let Some(hint) = self.log.id_at(before) else { return };
        self.say(fx, leader, Body::AppendReject { at: bad, hint, damaged: true });
    }

    /// The damaged entry that is asked for: one that the state lacks before one that it has.
    fn wanted(&self) -> Option<EntryId> {
        let bad = self.first_missing().or_else(|| self.log.first_faulty())?;
        self.log.id_at(bad)
    }

    /// Asks everybody for a damaged entry. In a term of its own, if only denials are left.
    pub(super) fn ask_for_repair(&mut self, fx: &mut Effects) {
        let Some(id) = self.wanted() else { return };
        if self.damage.asked != id {
            self.damage.asked = id;
            self.damage.asked_since = self.now;
            self.damage.denials.clear();
        }
        let leads = matches!(self.state, State::Leader(_));
        if !leads && self.is_denied() && self.term <= self.damage.acknowledged_until {
            mark!("raft_damaged_replica_takes_a_term");
            self.damage.denials.clear();
            self.follow(self.term.next(), None);
        }
        let mut others = self.membership.members();
        others.retain(|to| *to != self.id);
        for to in others {
            // Held back like every question that a term is taken for.
            self.promise(fx, to, Body::RepairAsk { id });
        }
    }

    /// Whether nobody has sent what was asked for in all the time that an election takes.
    fn is_hopeless(&self) -> bool {
        let waited = self.now >= self.damage.asked_since + self.config.election;
        self.wanted() == Some(self.damage.asked) && waited
    }

    /// Up to where damaged entries are not waited for: the state has them, and nobody sends them.
    pub(super) fn given_up_to(&self) -> Index {
        if self.is_hopeless() && !planted!("raft_damaged_leader_waits_for_ever") {
            self.applied
        } else {
            Index(0)
        }
    }

    /// A leader whose state needs what nobody sends leads in vain: they have compacted it, and have
    /// the state that it lacks. It brings one of them up to its own end and hands over; while that
    /// is not possible, it is still the one who can bring others there.
    pub(super) fn hand_over_if_in_vain(&mut self, fx: &mut Effects) {
        let is_in_vain = self.first_missing().is_some() && self.is_hopeless();
        if !is_in_vain || planted!("raft_damaged_leader_leads_on") {
            return;
        }
        let State::Leader(leading) = &self.state else { return };
        if leading.transfer.is_some() {
            return;
        }
        let voters = self.membership.voters();
        let peers = leading.peers.iter().filter(|peer| voters.contains(&peer.id));
        let nearest = peers.max_by_key(|peer| (peer.alive, peer.matched)).map(|peer| peer.id);
        if let Some(to) = nearest {
            mark!("raft_leader_in_vain_hands_over");
            self.on_transfer(to, fx);
        }
    }

    fn is_denied(&self) -> bool {
        let denials = &self.damage.denials;
        if planted!("raft_one_denial_discards") {
            return !denials.is_empty();
        }
        self.membership.reached(|id| u64::from(denials.contains(&id))) == 1
    }

    /// A peer's copy is damaged.
    pub(super) fn on_repair_ask(&mut self, from: ReplicaId, id: EntryId, fx: &mut Effects) {
        if self.log.has(id) && id.index > self.log.base().index {
            let is_whole = !self.log.is_faulty(id.index) && id.index <= self.writes.durable();
            if is_whole {
                self.say(fx, from, Body::Repair { id });
            }
            return;
        }
        let is_covered = id.index <= self.log.base().index;
        if !is_covered && self.remembers() && self.installing.is_none() {
            self.promise(fx, from, Body::NeverHad { id });
        }
    }

    /// A peer has an intact copy.
    pub(super) fn on_repair(&mut self, id: EntryId, heads: &[Head]) {
        let [head] = heads else { return };
        let is_wanted = self.log.is_faulty(id.index) && self.writes.heals(id.index).is_none();
        if !self.log.has(id) || !is_wanted || head.term != id.term {
            return;
        }
        mark!("raft_entry_is_repaired");
        self.writes.touch_entries(id.index, id.index);
        self.writes.hold(self.term, Held::Healed(id.index, id.index));
    }

    /// A peer certainly never had the entry.
    pub(super) fn on_never_had(&mut self, from: ReplicaId, id: EntryId) {
        let is_asked = self.damage.asked == id && self.log.has(id) && self.log.is_faulty(id.index);
        if !is_asked || matches!(self.state, State::Leader(_)) {
            return;
        }
        if !self.damage.denials.contains(&from) {
            self.damage.denials.push(from);
        }
        // A denial arrives in its sender's term; older ones were not taken in.
        let is_fenced = self.term > self.damage.acknowledged_until;
        let is_final = is_fenced || planted!("raft_denial_without_a_new_term");
        if is_final && self.is_denied() && id.index > self.commit {
            mark!("raft_damaged_entry_is_discarded");
            self.log.cut(id.index);
            self.writes.touch_cut(id.index);
            self.damage.denials.clear();
            self.restart_patience();
        }
    }

    /// Whether it knows all that it has promised, and has all that it acknowledged.
    #[must_use]
    pub fn remembers(&self) -> bool {
        let last = self.log.last().index;
        self.still_forgets(last).is_none() && last >= self.damage.lacks
    }

    /// The term up to which it may have forgotten promises, unless its log up to an index says that
    /// this does not matter any more.
    pub(super) fn still_forgets(&self, index: Index) -> Option<Term> {
        let newest = self.log.term_at(index).unwrap_or_default();
        self.damage.forgot.filter(|until| newest <= *until)
    }

    /// A leader says of no more that it is committed than this replica has acknowledged to it. Where
    /// the logs were not compared since, that is made up for: the leader is told where this log
    /// ends, and goes on from where they agree. And what is not even there was there once: a disk
    /// has lost it that said it had it.
    pub(super) fn ask_what_was_acknowledged(
        &mut self,
        leader: ReplicaId,
        commit: Index,
        fx: &mut Effects,
    ) {
        let hint = self.log.last();
        if commit > hint.index {
            if planted!("raft_lost_copy_is_not_missed") {
                return;
            }
            mark!("raft_acknowledged_entries_are_gone");
            self.damage.lacks = self.damage.lacks.max(commit);
        } else if self.open_damage().is_some() {
            // That is told in any case, and more is not to be had before it is mended.
            return;
        }
        mark!("raft_acknowledged_entries_are_compared");
        self.say(fx, leader, Body::AppendReject { at: commit, hint, damaged: true });
    }

    /// A life that may have forgotten promises begins above the terms that they were made in.
    pub(super) fn leave_forgotten_terms(&mut self) {
        let Some(until) = self.damage.forgot.filter(|until| self.term <= *until) else { return };
        if planted!("raft_forgotten_promise_is_broken") {
            return;
        }
        mark!("raft_forgotten_terms_are_left");
        self.follow(until.next(), None);
    }

    /// Nobody speaks to a replica that needs a newer leader's entries, perhaps because the group
    /// sleeps. It says in which term it is; whoever leads in an older one is told by that.
    pub(super) fn ask_for_a_term(&mut self, fx: &mut Effects) {
        if self.remembers() || planted!("raft_forgetful_replica_is_silent") {
            return;
        }
        mark!("raft_forgetful_replica_speaks");
        let mut others = self.membership.members();
        others.retain(|to| *to != self.id);
        for to in others {
            self.promise(fx, to, Body::Deposed);
        }
    }
}
