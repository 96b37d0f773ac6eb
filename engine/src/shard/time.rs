//! Time, as the groups know it: what the clocks of a majority have reached.
//!
//! A group's time is the stamp of the last entry that was applied, and nothing expires by anything
//! else. The leader makes the stamps. One clock that is hours ahead would expire what everybody has,
//! for good, and one that is behind would let nothing expire; so no leader goes by its own clock:
//!
//! ```text
//!   signs of life: "my clock says …" ──► clocks of the group's voters ──► what a majority has reached
//!                                                                                    │
//!   stamp of the next entry = the later of that and the last one, which goes on ◄────┘
//!                              at half speed while the clocks are behind it
//! ```
//! Whatever a minority's clocks say, time lies between the clocks of the others. If a majority was
//! ahead and is put right, the last stamp is ahead of all clocks: then time goes on at half speed
//! until they have caught up. It never stops, and never goes back.
//!
//! Word of a clock takes its time, and counts when it was said within an election's timeout: each node
//! says back the last mark that it has heard of the other's monotonic clock, and what answers a mark
//! is not older than the mark. Otherwise word that was held up would be a clock that is behind, and
//! what a leader stamps by it would be over too early as soon as better word is there.
//!
//! A node believes its own wall clock as far as it goes on as the monotonic clock does: what leaps is
//! a mistake, until it has stayed for a while.
//!
//! # Time without writes
//! Reads that promise to be current expire by the stamp too: two nodes with two clocks would
//! otherwise show a key as gone and then as there. When such a read comes upon a key that is over by
//! the time of now, its leader has the group agree on that first, by an entry that does nothing else
//! (`Command::Clock`). So does what has been over for a while without anybody asking (`expiry.rs`). Each
//! such entry ends at least one key, and a group without one that is over says nothing.
//!
//! Invariants: a leader makes entries of commands only when it knows a majority's clocks; no more
//! than one clock entry of a group is under way; a read waits for one, and not for another.
//!
//! Not here: what expires (`store`, `value`), leases, which go by the monotonic clock (`raft`).

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::{
    Outbox, Shard,
    group::{Group, Offered, Reading},
};
use crate::{
    command::{Body, Command, Found, Place, Refusal, Reply, Session, encode, encoded_bytes},
    limits::{SHARD_WALL_OFF_MS_MAX, SHARD_WALL_STAYS_MS},
    mark, planted,
    raft::{Input, Moment, Role},
    runtime::{Clock, Runtime},
    types::{GroupId, Index, NodeId, Stamp, Term},
};

/// What was heard longer ago says nothing of how a clock is now.
const HEARD_LATELY: Duration = Duration::from_secs(60);

/// What is known of clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    /// What the wall clock said when it was believed last, and when that was.
    since: (u64, Moment),
    /// Since when it says something else, and how much more than was foreseen.
    doubted: Option<(Moment, i128)>,
    /// When the own clock is looked at again.
    looks_at: Moment,
    /// What other nodes said that theirs say, and when that was heard.
    heard: BTreeMap<NodeId, (u64, Moment)>,
    /// The last mark of each node's monotonic clock: it is said back.
    marks: BTreeMap<NodeId, u32>,
}

/// What the monotonic clock says then, for others to say back. It wraps after 49 days, and is not 0.
pub(super) const fn mark_at(now: Moment) -> u32 {
    let mark = (now.0 / 1_000_000) as u32;
    if mark == 0 { 1 } else { mark }
}

/// What a clock says that said this then.
const fn later(then: (u64, Moment), now: Moment) -> u64 {
    then.0.saturating_add(now.0.saturating_sub(then.1.0) / 1_000_000)
}

impl Clocks {
    pub(super) fn new(wall_ms: u64, now: Moment) -> Self {
        let (heard, marks) = (BTreeMap::new(), BTreeMap::new());
        Self { since: (wall_ms, now), doubted: None, looks_at: now, heard, marks }
    }

    /// The last mark that was heard from a node; 0 when none.
    pub(super) fn mark_of(&self, node: NodeId) -> u32 {
        self.marks.get(&node).copied().unwrap_or_default()
    }

    /// A node says what its clock says, having heard this mark. What cannot be shown to be said just
    /// now is worth nothing: a word that lay about for two seconds would be a clock that is two
    /// seconds behind.
    pub(super) fn hear(
        &mut self,
        from: NodeId,
        (wall_ms, heard_ms): (u64, u32),
        now: Moment,
        lately: Duration,
    ) {
        let age_ms = mark_at(now).wrapping_sub(heard_ms);
        let is_fresh = heard_ms > 0 && u128::from(age_ms) <= lately.as_millis();
        if is_fresh || planted!("shard_old_word_of_a_clock_counts") {
            self.heard.insert(from, (wall_ms, now));
        } else {
            mark!("shard_old_word_of_a_clock");
        }
    }

    /// What a node's clock says, if it has been heard.
    pub(super) fn word_of(&self, node: NodeId, now: Moment) -> Option<u64> {
        self.heard.get(&node).map(|then| later(*then, now))
    }

    /// What the own clock says, as far as it is believed.
    fn own(&self, told_ms: u64, now: Moment) -> u64 {
        let foreseen = later(self.since, now);
        if told_ms.abs_diff(foreseen) <= SHARD_WALL_OFF_MS_MAX { told_ms } else { foreseen }
    }

    /// Whether it has leapt and is not believed.
    pub(super) const fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// Looks at the own clock. What has stayed for long enough is believed. Whether it has leapt.
    fn look(&mut self, told_ms: u64, now: Moment) -> bool {
        let off = i128::from(told_ms) - i128::from(later(self.since, now));
        let near = |off: i128| off.unsigned_abs() <= u128::from(SHARD_WALL_OFF_MS_MAX);
        if near(off) {
            self.doubted = None;
            return false;
        }
        mark!("shard_wall_clock_not_believed");
        match self.doubted {
            Some((since, then)) if near(off - then) => {
                if now.0.saturating_sub(since.0) >= SHARD_WALL_STAYS_MS * 1_000_000 {
                    tracing::warn!(off_ms = off as i64, "the wall clock is believed again");
                    (self.since, self.doubted) = ((told_ms, now), None);
                }
                false
            }
            _ => {
                tracing::warn!(off_ms = off as i64, "the wall clock has leapt: not believed yet");
                self.doubted = Some((now, off));
                true
            }
        }
    }
}

impl Group {
    /// The stamp of the next entry, at that time.
    pub(super) fn next_stamp(&mut self, time_ms: u64, now: Moment) -> Stamp {
        self.saw_stamp(self.stamp.after(time_ms), now);
        self.stamp
    }

    /// A stamp of the log.
    pub(super) fn saw_stamp(&mut self, stamp: Stamp, now: Moment) {
        if stamp.ms() > self.stamp.ms() {
            self.stamped_at = now;
        }
        self.stamp = self.stamp.max(stamp);
    }

    /// The last stamp, going on at half speed.
    const fn slow_time(&self, now: Moment) -> u64 {
        let since = now.0.saturating_sub(self.stamped_at.0) / 1_000_000;
        self.stamp.ms().saturating_add(since / 2)
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// What the own clock says, as far as it is believed.
    pub(super) fn wall_ms(&self) -> u64 {
        self.clocks.own(self.rt.clock().wall().0, self.now())
    }

    /// Looks at the own clock, as often as others are told of it.
    pub(super) fn look_at_clock(&mut self) {
        let now = self.now();
        if now >= self.clocks.looks_at {
            self.clocks.looks_at = now + self.options.raft.heartbeat;
            let leapt = self.clocks.look(self.rt.clock().wall().0, now);
            self.counts.clock_leaps += u64::from(leapt);
        }
    }

    /// A node says what its clocks say, and what this one's said when it heard it last.
    pub(super) fn take_clock(&mut self, from: NodeId, wall_ms: u64, mark_ms: u32, heard_ms: u32) {
        let now = self.now();
        self.clocks.marks.insert(from, mark_ms);
        self.clocks.hear(from, (wall_ms, heard_ms), now, self.options.raft.election);
    }

    /// How much further than this node's the clocks of others are that it has heard of lately.
    pub(super) fn clocks_ahead_ms(&self) -> BTreeMap<NodeId, i64> {
        let (own, now) = (self.wall_ms(), self.now());
        let lately = |(_, (_, at)): &(&NodeId, &(u64, Moment))| now < *at + HEARD_LATELY;
        let heard = self.clocks.heard.iter().filter(lately);
        heard.map(|(node, then)| (*node, later(*then, now).wrapping_sub(own) as i64)).collect()
    }

    /// What the clocks of a majority of the group's voters have reached; `None` when too few are
    /// known.
    fn majority_ms(&self, group: &Group) -> Option<u64> {
        let (own, now, id) = (self.wall_ms(), self.now(), group.raft.id());
        if planted!("shard_own_clock_is_the_time") {
            return Some(own);
        }
        let reached = group.raft.membership().reached(|voter| match group.node_of(voter) {
            _ if voter == id => own,
            Some(node) if node == self.node => own,
            Some(node) => self.clocks.word_of(node, now).unwrap_or_default(),
            None => 0,
        });
        // Without members everybody has reached everything.
        (reached > 0 && reached < u64::MAX).then_some(reached)
    }

    /// What time it is for a group.
    pub(super) fn time_ms(&self, id: GroupId) -> u64 {
        self.time(id).0
    }

    /// What time it is for a group, and whether enough clocks say so.
    pub(super) fn time(&self, id: GroupId) -> (u64, bool) {
        let Some(group) = self.groups.get(&id) else { return (0, false) };
        let slow = group.slow_time(self.now());
        let Some(clocks) = self.majority_ms(group) else { return (slow, false) };
        if clocks < group.stamp.ms() {
            mark!("shard_time_is_ahead_of_clocks");
        }
        (clocks.max(slow), true)
    }

    /// Whether a group cannot be made to agree on the time: what would say it is not taken for want
    /// of room, or too few clocks are known. What it has agreed on is its time until then.
    fn time_stands(&self, id: GroupId) -> bool {
        let stands = self.lacks_room(id, false).is_some() || !self.time(id).1;
        stands && !planted!("shard_read_waits_for_room")
    }

    /// A reader waits for time to go on, and nothing makes it.
    pub(super) fn waits_in_vain(&self, id: GroupId, reading: &Reading) -> bool {
        reading.has_waited && self.time_stands(id)
    }

    /// A read has come upon a key that is over, only the group has not agreed on it yet.
    pub(super) fn await_time(&mut self, id: GroupId, reading: Reading) {
        let Some(group) = self.groups.get(&id) else { return };
        if group.raft.role() != Role::Leader {
            mark!("shard_leader_must_say_what_time_it_is");
            return self.refuse(reading.asked, Refusal::NotLeader(group.leader_node()));
        }
        if self.time_stands(id) {
            mark!("shard_read_by_the_time_that_stands");
            return self.serve_by_stamp(id, reading);
        }
        let Some(index) = self.agree_on_time(id) else {
            return self.refuse(reading.asked, Refusal::Overloaded);
        };
        if let Some(group) = self.groups.get_mut(&id) {
            group.confirmed.push_back((index, Reading { has_waited: true, ..reading }));
        }
    }

    /// Serves a read by what the group has agreed on so far.
    fn serve_by_stamp(&mut self, id: GroupId, reading: Reading) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.confirmed.push_front((Index(0), Reading { has_waited: true, ..reading }));
            self.readable.insert(id);
        }
    }

    /// Has a group that is led here agree on what time it is, unless it does already. Where that will
    /// be said.
    pub(super) fn agree_on_time(&mut self, id: GroupId) -> Option<Index> {
        let group = self.groups.get(&id)?;
        let (term, applied) = (group.raft.term(), group.raft.applied());
        let under_way = group.clock.filter(|clock| *clock > (term, applied) && clock.0 == term);
        under_way.or_else(|| self.propose_clock(id)).map(|(_, index)| index)
    }

    /// Has a group agree on what time it is.
    fn propose_clock(&mut self, id: GroupId) -> Option<(Term, Index)> {
        let (time_ms, now) = (self.time_ms(id), self.now());
        let body: Body = Body::Command(Session::default(), Command::Clock);
        let bytes = encoded_bytes(&body);
        let mut fx = self.step_core(id, Input::Propose { sizes: &[bytes as u32] });
        let first = fx.proposed.take().filter(|proposed| proposed.taken > 0);
        let first = first.map(|proposed| (proposed.first.term, proposed.first.index));
        if let (Some((term, index)), Some(group)) = (first, self.groups.get_mut(&id)) {
            mark!("shard_clock_entry");
            self.counts.clock_entries += 1;
            let stamp = group.next_stamp(time_ms, now);
            let mut buffer = bytes::BytesMut::with_capacity(bytes);
            encode(&mut buffer, Place { group: id, term, index, stamp }, &body);
            self.offered = Offered { first: index, payloads: alloc::vec![buffer.freeze()] };
            group.clock = first;
        }
        self.carry_out(id, &mut fx);
        self.fx = fx;
        self.offered = Offered::default();
        first
    }
}

/// Whether what was found is over by that time.
pub(super) fn is_overdue(reply: &Reply, time_ms: u64) -> bool {
    let is_over = |found: &Found| found.expires_ms.is_some_and(|at| at <= time_ms);
    match reply {
        Reply::Value(found) => found.as_ref().is_some_and(is_over),
        Reply::Values(found) => found.iter().flatten().any(is_over),
        Reply::Page { items, .. } => items.iter().any(|(_, found)| is_over(found)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn a_clock_that_leaps_is_believed_when_it_has_stayed() {
        let mut clocks = Clocks::new(HOUR_MS, at(0));
        assert_eq!(clocks.own(HOUR_MS + 1500, at(1000)), HOUR_MS + 1500, "it is corrected");
        for ms in [1000, 2000, 30_000, SHARD_WALL_STAYS_MS] {
            clocks.look(ms, at(ms));
            assert_eq!(clocks.own(ms, at(ms)), HOUR_MS + ms, "it is an hour behind");
        }
        // It comes back, and is off again.
        clocks.look(HOUR_MS + SHARD_WALL_STAYS_MS + 500, at(SHARD_WALL_STAYS_MS + 500));
        let again = SHARD_WALL_STAYS_MS + 1000;
        for ms in [again, again + 1000, again + SHARD_WALL_STAYS_MS - 1] {
            clocks.look(ms, at(ms));
            assert_eq!(clocks.own(ms, at(ms)), HOUR_MS + ms);
        }
        let stayed = again + SHARD_WALL_STAYS_MS;
        clocks.look(stayed, at(stayed));
        assert_eq!(clocks.own(stayed, at(stayed)), stayed);
    }

    #[test]
    fn only_what_is_found_can_be_over() {
        let found = |expires_ms| Found {
            version: Default::default(),
            expires_ms,
            value: Default::default(),
        };
        let value = |expires_ms| Reply::Value(Some(found(expires_ms)));
        assert!(is_overdue(&value(Some(9)), 9));
        assert!(!is_overdue(&value(Some(10)), 9));
        assert!(!is_overdue(&value(None), u64::MAX));
        assert!(is_overdue(&Reply::Values(alloc::vec![None, Some(found(Some(1)))]), 9));
        assert!(!is_overdue(&Reply::Value(None), u64::MAX));
    }
}
