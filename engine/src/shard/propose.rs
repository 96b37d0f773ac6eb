//! Requests come in; commands become entries.
//!
//! A command waits here while the journal writes. Then all that a group has gathered is stamped,
//! numbered and encoded into one buffer, which the journal, the outboxes and the cache share.
//!
//! The core is told the sizes, says how many it takes and which numbers they get, and only then
//! are they encoded.
//!
//! Not here: reads beyond their arrival (`read.rs`).

use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;

use super::{
    Caller, Outbox, Shard, Stopped,
    counts::Family,
    group::{Gathered, Offered, Reading, Waiting},
    owed::Asked,
};
use crate::{
    command::{
        Body, Command, Cut, Level, Op, Outcome, Place, Refusal, Request, Response, Scan, Session,
        Told, encode, encoded_bytes,
    },
    limits, mark, planted,
    raft::{self, Input, Role},
    runtime::Runtime,
    store::slots,
    types::{GroupId, Index},
};

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A request arrives. Whatever cannot be done at all is refused here.
    pub(super) fn admit(&mut self, caller: Caller, request: Request) {
        let patience = Duration::from_millis(request.patience_ms.into());
        let at = self.now();
        let until = at + patience;
        let Request { session, level, staleness_ms, op, .. } = request;
        let bytes = op.bytes() as u64;
        let (sequence, group) = (session.sequence, None);
        let family = Family::of(&op);
        let mut asked = Asked { caller, sequence, level, family, group, bytes, at, until };
        if !self.owed.take(&asked) && !planted!("shard_requests_have_no_end") {
            mark!("shard_too_much_is_asked");
            return self.refuse(asked, Refusal::Overloaded);
        }
        if let Op::Replace(replace) = op {
            return self.take_replace(asked, replace);
        }
        let id = match self.route(&op) {
            Ok(id) => id,
            Err(refusal) => return self.refuse(asked, refusal),
        };
        if self.stopping.is_some() {
            return self.refuse(asked, Refusal::Stopping);
        }
        if let Op::Cut(cut) = &op {
            match cut {
                Cut::Open(_) if level == Level::Eventual => {
                    return self.refuse(asked, Refusal::Level);
                }
                Cut::Open(_) => {}
                Cut::Page { .. } | Cut::Close { .. } => return self.take_cut(asked, cut.clone()),
            }
        }
        let is_only = self.has_one_group();
        let Some(group) = self.groups.get_mut(&id) else {
            // One that is to be here is not founded yet, or comes as a snapshot.
            let is_ours = self.slotted.contains(&id);
            let refusal = if is_ours { Refusal::NotLeader(None) } else { Refusal::NoGroup };
            return self.refuse(asked, refusal);
        };
        if group.pending() >= limits::SHARD_PENDING_MAX {
            mark!("shard_overloaded");
            return self.refuse(asked, Refusal::Overloaded);
        }
        let has_room = self.owed.enter(&mut asked, id, is_only);
        if !has_room && !planted!("shard_group_takes_all_room") {
            mark!("shard_group_is_asked_too_much");
            return self.refuse(asked, Refusal::Overloaded);
        }
        let is_leader = group.raft.role() == Role::Leader;
        let leader = group.leader_node();
        let reading = |op| Reading { asked, at, confirmed: at, op, has_waited: false };
        match op {
            Op::Write(command) => {
                if let Err(refusal) = command.check() {
                    self.refuse(asked, refusal);
                } else if !is_leader {
                    self.refuse(asked, Refusal::NotLeader(leader));
                } else {
                    self.gather(id, asked, session, command);
                }
            }
            op if asked.level == Level::Eventual || is_glance(&op) => {
                self.glance(id, reading(op), staleness_ms);
            }
            _ if asked.level == Level::Strong && !is_leader => {
                self.refuse(asked, Refusal::NotLeader(leader));
            }
            op => self.ask(id, reading(op)),
        }
    }

    /// A command for the next proposal, if there is room for it.
    fn gather(&mut self, id: GroupId, asked: Asked, session: Session, command: Command) {
        let body = Body::Command(session, command);
        if let Some(refusal) = self.lacks_room(id, self.makes_room(&body)) {
            mark!("shard_write_refused_for_want_of_room");
            return self.refuse(asked, refusal);
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.gathered.push(Gathered { asked, body });
        self.gathered.insert(id);
    }

    /// The group that an operation is of. The slots are split evenly over the groups.
    fn route(&self, op: &Op) -> Result<GroupId, Refusal> {
        if let Op::Scan(Scan { group, .. }) | Op::Count(group) = op {
            return Ok(*group);
        }
        if let Op::Cut(cut) = op {
            return Ok(cut.group());
        }
        let groups = self.slotted.len() as u16;
        let mut group = None;
        for key in op.keys() {
            let here = self.slotted[usize::from(slots::group_of(slots::slot_of(key), groups))];
            if *group.get_or_insert(here) != here {
                return Err(Refusal::ManyGroups);
            }
        }
        // What names no key is for all groups alike; the first one stands for them.
        group.or(self.slotted.first().copied()).ok_or(Refusal::NoGroup)
    }

    /// Nothing happened.
    pub(super) fn refuse(&mut self, asked: Asked, refusal: Refusal) {
        self.answer(asked, Told::default(), Outcome::Refused(refusal));
    }

    /// An answer. What was promised is at least what was asked.
    pub(super) fn answer(&mut self, asked: Asked, told: Told, outcome: Outcome) {
        self.owed.answered(&asked);
        if matches!(self.stopped, Some(Stopped::Diverged { .. })) {
            // The node ends now, and its callers know that they have no answer.
            return;
        }
        self.counts.answered(&asked, &outcome, self.lately);
        let told = Told { level: asked.level.max(told.level), ..told };
        let response = Response { sequence: asked.sequence, told, outcome };
        self.outbox.respond(asked.caller, response);
    }

    /// Makes entries of what was gathered, if the journal can take them now.
    pub(super) fn propose(&mut self) {
        let may_write = self.may_write() || self.room.is_full();
        if self.journal.is_none() || !may_write {
            return;
        }
        for id in core::mem::take(&mut self.gathered) {
            self.refuse_for_want_of_room(id);
            self.propose_for(id);
        }
    }

    /// Refuses what was gathered before the disk was found full: nobody has heard of it.
    fn refuse_for_want_of_room(&mut self, id: GroupId) {
        if !self.may_lack_room() {
            return;
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        let gathered = core::mem::take(&mut group.gathered);
        let lacks = |one: &Gathered| match &one.body {
            body @ Body::Command(..) => self.lacks_room(id, self.makes_room(body)),
            Body::Noop | Body::Change(_) | Body::Leave => None,
        };
        let (refused, kept): (Vec<_>, Vec<_>) = gathered
            .into_iter()
            .map(|one| (lacks(&one), one))
            .partition(|(lacks, _)| lacks.is_some());
        if let Some(group) = self.groups.get_mut(&id) {
            group.gathered = kept.into_iter().map(|(_, one)| one).collect();
        }
        for (refusal, one) in refused {
            mark!("shard_gathered_write_refused_for_want_of_room");
            self.refuse(one.asked, refusal.unwrap_or(Refusal::DiskFull));
        }
    }

    fn propose_for(&mut self, id: GroupId) {
        let (time_ms, knows_time) = self.time(id);
        let now = self.now();
        let Some(group) = self.groups.get_mut(&id) else { return };
        let gathered = core::mem::take(&mut group.gathered);
        if !knows_time {
            // Those who made it the leader have said what their clocks say; their word was lost.
            mark!("shard_leader_does_not_know_the_time");
            for early in gathered {
                self.refuse(early.asked, Refusal::NotLeader(None));
            }
            return;
        }
        let (mut gathered, late): (Vec<_>, Vec<_>) =
            gathered.into_iter().partition(|one| one.asked.until >= now);
        for late in late {
            self.refuse(late.asked, Refusal::TooLate);
        }
        let sizes: Vec<u32> = gathered.iter().map(|one| encoded_bytes(&one.body) as u32).collect();
        let mut fx = self.step_core(id, Input::Propose { sizes: &sizes });
        let proposed = fx.proposed.take();
        let Self { groups, owed, .. } = self;
        let Some(group) = groups.get_mut(&id) else { return };
        let (first, taken) = proposed
            .map_or((raft::EntryId::default(), 0), |proposed| (proposed.first, proposed.taken));
        self.counts.proposed += taken as u64;
        let whole: usize = sizes[..taken].iter().map(|size| *size as usize).sum();
        let mut buffer = BytesMut::with_capacity(whole);
        let mut index = first.index;
        for Gathered { mut asked, body } in gathered.drain(..taken) {
            owed.proposed(&mut asked);
            let stamp = group.next_stamp(time_ms, now);
            let place = Place { group: id, term: first.term, index, stamp };
            encode(&mut buffer, place, &body);
            group.waiting.push_back(Waiting { index, term: first.term, asked, proposed: now });
            index = index.next();
        }
        let mut buffer = buffer.freeze();
        let payloads = sizes[..taken].iter().map(|size| buffer.split_to(*size as usize));
        self.offered = Offered { first: first.index, payloads: payloads.collect() };
        let leader = group.leader_node();
        self.carry_out(id, &mut fx);
        self.fx = fx;
        self.offered = Offered::default();
        let refusal = match proposed.and_then(|proposed| proposed.refused) {
            Some(raft::Refusal::Overloaded) => Refusal::Overloaded,
            Some(raft::Refusal::TooLarge) => Refusal::TooLarge,
            _ => Refusal::NotLeader(leader),
        };
        for Gathered { asked, .. } in gathered {
            self.refuse(asked, refusal);
        }
    }

    /// The group's leader is another one now, or none: what it proposed here may or may not happen.
    pub(super) fn lost_leadership(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.raft.role() == Role::Leader {
            return;
        }
        let leader = group.leader_node();
        let waiting = core::mem::take(&mut group.waiting);
        group.trail.forget();
        let gathered = core::mem::take(&mut group.gathered);
        // The clock entry that they wait for may never come. They were confirmed before it.
        for (index, _) in group.confirmed.iter_mut().filter(|(_, reading)| reading.has_waited) {
            *index = Index(0);
            self.readable.insert(id);
        }
        for waiting in waiting {
            mark!("shard_outcome_unknown");
            if planted!("shard_unknown_told_as_refused") {
                self.refuse(waiting.asked, Refusal::NotLeader(leader));
                continue;
            }
            self.answer(waiting.asked, Told::default(), Outcome::Unknown);
        }
        for gathered in gathered {
            if !planted!("shard_gathered_are_forgotten") {
                self.refuse(gathered.asked, Refusal::NotLeader(leader));
            }
        }
    }
}

/// Whether a read is served by what is here, whatever it asks for.
fn is_glance(op: &Op) -> bool {
    matches!(op, Op::Cut(_)) && planted!("shard_cut_of_what_is_here")
}
