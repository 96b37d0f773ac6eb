//! Pace: a node that is much slower than the others does not lead while one of them could.
//!
//! A leader answers when its own disk has what it promised and its own loop comes to it. So one slow
//! disk, or one machine that has too much else to do, makes every group slow that is led there,
//! though two healthy nodes stand beside it. A node measures itself and says what it measured to the
//! others with its signs of life:
//!
//! ```text
//!   frames: begun ──► landed        \  the third longest of the last nine,
//!   timers: when due ──► when fired /  and what the journal is busy with as long as that takes
//!
//!              much slower than the best, for a while                 leads: hands over, to a replica
//!    fit ──────────────────────────────────────────────► slow  ─────►  that is fit and up to date
//!        ◄──────────────────────────────────────────────       ─────►  follows: campaigns late
//!              about as fast as the best, for a long while
//! ```
//! Slow is a relation: when all disks are slow nobody is, and nothing moves. A single hiccup says
//! nothing, since only the third longest counts; a write that does not come back counts while it
//! does not. Between the two thresholds nothing changes, and neither does it before its time: a node
//! whose disk is slow every other minute is slow, and not a leader every other minute.
//!
//! A node whose disk is full says that a write takes for ever, and is slow like any other: it leads
//! nothing that a node with room could.
//!
//! A slow node still votes and still stores. It campaigns, only later than others: if nobody else
//! can lead it does, and is kept, because there is nobody to hand over to.
//!
//! Invariants: a node that nobody else is heard of is not slow; leaderships are handed over no more
//! often than once in a rest.
//!
//! Not here: how leadership is handed over, and what a priority is (`raft`).

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use super::{Outbox, Shard, group::Group, stop, time};
use crate::{
    limits::{
        SHARD_PACE_FIT_TIMES, SHARD_PACE_SAMPLES, SHARD_PACE_SLOW_PRIORITY, SHARD_PACE_SLOW_TIMES,
    },
    mark,
    packet::{Envelope, Packet},
    planted,
    raft::{Flow, Input, Moment},
    runtime::Runtime,
    types::{GroupId, NodeId, ReplicaId},
};

/// When a node counts as slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceOptions {
    /// Whoever is faster than this is fit, whatever the others are.
    pub floor: Duration,
    /// How long a node must be much slower than the best before it counts as slow.
    pub slow_after: Duration,
    /// How long it must be about as fast as the best before it does not any more.
    pub fit_after: Duration,
    /// How long a slow node waits before it hands over again what it came to lead meanwhile.
    pub rest: Duration,
}

impl Default for PaceOptions {
    fn default() -> Self {
        Self {
            // A turn of a busy loop takes some tens of milliseconds, and is in what is measured.
            floor: Duration::from_millis(50),
            slow_after: Duration::from_secs(5),
            fit_after: Duration::from_secs(300),
            rest: Duration::from_secs(10),
        }
    }
}

/// The last few durations of something, in microseconds.
#[derive(Debug, Default)]
struct Recent(VecDeque<u64>);

impl Recent {
    fn note(&mut self, micros: u64) {
        if self.0.len() >= SHARD_PACE_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(micros);
    }

    /// What the last few usually took at their worst: two that took longer are luck.
    fn usual(&self) -> u64 {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable_by(|one, other| other.cmp(one));
        sorted.get(2).copied().unwrap_or_default()
    }
}

/// What a node says whose disk is full: a write would take for ever. As long as can be told.
const FOR_EVER: u64 = u32::MAX as u64;

/// How fast this node is, and how fast the others are.
#[derive(Debug)]
pub(super) struct Pace {
    options: PaceOptions,
    frames: Recent,
    lags: Recent,
    /// What the two say, kept: it is asked for in every turn.
    usual: u64,
    /// When what the journal is busy with began.
    begun: Option<Moment>,
    /// What others said of themselves, and when.
    heard: BTreeMap<NodeId, (u64, Moment)>,
    /// When it was last said to whom.
    said: BTreeMap<NodeId, Moment>,
    is_slow: bool,
    /// Whether the disk has no room for what comes next.
    is_full: bool,
    /// Since when it looks as if that were not so.
    doubted: Option<Moment>,
    rests_until: Moment,
}

impl Pace {
    pub(super) fn new(options: PaceOptions) -> Self {
        Self {
            options,
            frames: Recent::default(),
            lags: Recent::default(),
            usual: 0,
            begun: None,
            heard: BTreeMap::new(),
            said: BTreeMap::new(),
            is_slow: false,
            is_full: false,
            doubted: None,
            rests_until: Moment::default(),
        }
    }

    /// A write begins.
    pub(super) const fn begin(&mut self, now: Moment) {
        self.begun = Some(now);
    }

    /// The journal is away, with a frame or with something else that the next frame waits for; or it
    /// is not.
    pub(super) const fn watch(&mut self, is_away: bool, now: Moment) {
        if !is_away {
            self.begun = None;
        } else if self.begun.is_none() {
            self.begun = Some(now);
        }
    }

    /// The write that began has come back.
    pub(super) fn end(&mut self, now: Moment) {
        if let Some(begun) = self.begun.take() {
            self.frames.note(micros(begun, now));
            self.usual = self.frames.usual().max(self.lags.usual());
        }
    }

    /// A timer fired so late.
    pub(super) fn late(&mut self, due: Moment, now: Moment) {
        self.lags.note(micros(due, now));
        self.usual = self.frames.usual().max(self.lags.usual());
    }

    /// Whether the disk has no room for what comes next.
    pub(super) const fn room(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    fn own(&self, now: Moment) -> u64 {
        if self.is_full && !planted!("shard_full_node_leads_on") {
            return FOR_EVER;
        }
        self.usual.max(self.begun.map_or(0, |begun| micros(begun, now)))
    }

    /// What nodes said that were heard of lately.
    fn others(&self, now: Moment) -> impl Iterator<Item = (NodeId, u64)> {
        let lately = self.options.slow_after;
        let is_new = move |(_, (_, at)): &(&NodeId, &(u64, Moment))| *at + lately > now;
        self.heard.iter().filter(is_new).map(|(node, (micros, _))| (*node, *micros))
    }

    /// The fastest of the others that have room.
    fn best_other(&self, now: Moment) -> Option<u64> {
        let all = self.others(now).map(|(_, micros)| micros);
        all.filter(|micros| *micros < FOR_EVER).min()
    }

    /// Whether this node counts as slow.
    pub(super) const fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Whether a node that is heard of says that its disk is full.
    pub(super) fn is_full(&self, now: Moment, node: NodeId) -> bool {
        self.others(now).any(|(other, micros)| other == node && micros == FOR_EVER)
    }

    /// Whether any does.
    pub(super) fn knows_full(&self, now: Moment) -> bool {
        self.others(now).any(|(_, micros)| micros == FOR_EVER)
    }

    fn floor(&self) -> u64 {
        u64::try_from(self.options.floor.as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether whoever takes so long could lead, as others are.
    fn is_fit(&self, micros: u64, best: u64) -> bool {
        micros < self.floor() / 2
            || micros < FOR_EVER && micros <= best.saturating_mul(SHARD_PACE_FIT_TIMES)
    }

    /// Looks at where it stands. Whether it has become slow, or fit, just now.
    fn look(&mut self, now: Moment) -> Option<bool> {
        let own = self.own(now);
        let looks_slow = match self.best_other(now) {
            None => false,
            Some(best) if self.is_slow => !self.is_fit(own, best),
            Some(_) if planted!("shard_slow_without_patience") => own >= self.floor() / 4,
            Some(best) => own >= self.floor() && own >= best.saturating_mul(SHARD_PACE_SLOW_TIMES),
        };
        if looks_slow == self.is_slow || planted!("shard_never_slow") {
            self.doubted = None;
            return None;
        }
        let since = *self.doubted.get_or_insert(now);
        let patience = if self.is_slow { self.options.fit_after } else { self.options.slow_after };
        if now < since + patience && !planted!("shard_slow_without_patience") {
            return None;
        }
        self.doubted = None;
        self.is_slow = looks_slow;
        Some(looks_slow)
    }

    /// Which of the replicas that could lead is to lead instead of a slow one.
    fn successor(
        &self,
        now: Moment,
        fit: impl Iterator<Item = (ReplicaId, NodeId)>,
    ) -> Option<ReplicaId> {
        let own = self.own(now);
        let best = self.best_other(now)?.min(own);
        let paces: BTreeMap<NodeId, u64> = self.others(now).collect();
        let known = fit.filter_map(|(id, node)| Some((*paces.get(&node)?, id)));
        known.filter(|(micros, _)| self.is_fit(*micros, best)).min().map(|(_, id)| id)
    }

    /// Whether a node is slower than who should lead, by what each said last. That may be long ago:
    /// groups that nobody uses say nothing, and who is preferred for want of news was slow then.
    pub(super) fn is_behind(&self, node: NodeId) -> bool {
        let all = self.heard.values().map(|(micros, _)| *micros);
        let Some(best) = all.filter(|micros| *micros < FOR_EVER).min() else { return false };
        self.heard.get(&node).is_some_and(|(micros, _)| !self.is_fit(*micros, best))
    }

    /// How eagerly replicas here campaign whose usual priority is this.
    pub(super) const fn priority(&self, usual: u8) -> u8 {
        let is_less = self.is_slow && usual > SHARD_PACE_SLOW_PRIORITY;
        if is_less { SHARD_PACE_SLOW_PRIORITY } else { usual }
    }
}

const fn micros(from: Moment, to: Moment) -> u64 {
    to.0.saturating_sub(from.0) / 1000
}

/// The replicas that could lead this group instead of this one: they have nearly everything.
pub(super) fn successors(group: &Group) -> impl Iterator<Item = (ReplicaId, NodeId)> {
    let streams = |id: &ReplicaId| {
        group.raft.peers().iter().any(|peer| peer.id() == *id && peer.flow() == Flow::Stream)
    };
    let fit = stop::successors(group).into_iter().filter(move |id| streams(id));
    fit.filter_map(|id| Some((id, group.node_of(id)?)))
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A node says how long its writes take.
    pub(super) fn take_pace(&mut self, from: NodeId, micros: u64) {
        let now = self.now();
        let was_full = self.pace.is_full(now, from);
        self.pace.heard.insert(from, (micros, now));
        if !was_full && self.pace.is_full(now, from) {
            self.wake_readers();
        }
    }

    /// Says to a node that is given a sign of life how long writes take here.
    pub(super) fn say_pace(&mut self, to: NodeId) {
        let now = self.now();
        let said = self.pace.said.get(&to).copied();
        if said.is_none_or(|at| now >= at + self.options.raft.heartbeat) {
            self.pace.said.insert(to, now);
            let (wall_ms, heard_ms) = (self.wall_ms(), self.clocks.mark_of(to));
            let micros = u32::try_from(self.pace.own(now)).unwrap_or(u32::MAX);
            let mark_ms = time::mark_at(now);
            let packet = Packet::Pace { micros, wall_ms, mark_ms, heard_ms };
            self.outbox.send(Envelope { to, packet });
        }
    }

    /// Looks whether this node is slow, and hands over what it leads if it is.
    pub(super) fn keep_pace(&mut self) {
        let now = self.now();
        self.pace.watch(self.journal.is_none(), now);
        if let Some(is_slow) = self.pace.look(now) {
            let (own, best) = (self.pace.own(now), self.pace.best_other(now));
            if is_slow {
                mark!("shard_node_is_slow");
                self.counts.slowed += 1;
                tracing::warn!(
                    node = %self.node, micros = own, best = best.unwrap_or_default(),
                    "this node is much slower than others, in its disk or its processor: it hands its \
                     leaderships over until it is as fast again"
                );
            } else {
                mark!("shard_node_is_fit_again");
                tracing::info!(node = %self.node, micros = own, "this node is as fast as others again");
            }
            let priority = self.pace.priority(self.options.raft.priority);
            let groups: Vec<GroupId> = self.groups.keys().copied().collect();
            for id in groups {
                self.step(id, Input::Priority { priority });
            }
            self.outbox.saw_pace(is_slow);
        }
        if self.pace.is_slow && now >= self.pace.rests_until {
            self.hand_over(now);
        }
    }

    /// Hands over what this node leads and a fit one could.
    fn hand_over(&mut self, now: Moment) {
        let lead = |(id, group): (&GroupId, &Group)| {
            self.pace.successor(now, successors(group)).map(|to| (*id, to))
        };
        let moves: Vec<(GroupId, ReplicaId)> = self.groups.iter().filter_map(lead).collect();
        if moves.is_empty() {
            return;
        }
        mark!("shard_slow_leader_hands_over");
        let without = planted!("shard_slow_without_patience");
        let rest = if without { Duration::ZERO } else { self.pace.options.rest };
        self.pace.rests_until = now + rest;
        self.counts.handed_over += moves.len() as u64;
        for (id, to) in moves {
            self.step(id, Input::Transfer { to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const OPTIONS: PaceOptions = PaceOptions {
        floor: Duration::from_millis(20),
        slow_after: Duration::from_millis(1000),
        fit_after: Duration::from_millis(3000),
        rest: Duration::from_millis(500),
    };

    /// A node whose frames take so long, one after the other, beside two that take a millisecond.
    fn run(pace: &mut Pace, at: &mut u64, frame_ms: u64, for_ms: u64) -> Vec<(u64, bool)> {
        let (end, mut turns) = (*at + for_ms, Vec::new());
        while *at < end {
            let now = Moment(*at * MS);
            pace.begin(now);
            *at += frame_ms;
            let now = Moment(*at * MS);
            for other in [2, 3] {
                pace.heard.insert(NodeId(other), (1000, now));
            }
            turns.extend(pace.look(now).map(|is_slow| (*at, is_slow)));
            pace.end(now);
        }
        turns
    }

    #[test]
    fn slow_after_a_while_and_fit_after_a_longer_one() {
        let (mut pace, mut at) = (Pace::new(OPTIONS), 0);
        assert_eq!(run(&mut pace, &mut at, 1, 5000), []);
        let turns = run(&mut pace, &mut at, 50, 3000);
        assert!(matches!(turns[..], [(6000..=6200, true)]), "{turns:?}");
        let turns = run(&mut pace, &mut at, 1, 8000);
        assert!(matches!(turns[..], [(11_000..=11_300, false)]), "{turns:?}");
    }

    #[test]
    fn hiccups_and_short_spells_change_nothing() {
        let (mut pace, mut at) = (Pace::new(OPTIONS), 0);
        for _ in 0..20 {
            assert_eq!(run(&mut pace, &mut at, 1, 400), []);
            assert_eq!(run(&mut pace, &mut at, 300, 300), []);
            assert_eq!(run(&mut pace, &mut at, 60, 700), []);
        }
    }

    #[test]
    fn a_node_that_is_slow_now_and_then_stays_slow() {
        let (mut pace, mut at) = (Pace::new(OPTIONS), 0);
        let mut turns = Vec::new();
        for _ in 0..20 {
            turns.extend(run(&mut pace, &mut at, 60, 2000));
            turns.extend(run(&mut pace, &mut at, 1, 2000));
        }
        assert_eq!(turns.len(), 1, "{turns:?}");
    }

    #[test]
    fn a_write_that_does_not_come_back_counts() {
        let (mut pace, mut at) = (Pace::new(OPTIONS), 0);
        run(&mut pace, &mut at, 1, 100);
        pace.begin(Moment(at * MS));
        let mut slow_at = None;
        for later in (at..at + 3000).step_by(10) {
            let now = Moment(later * MS);
            pace.heard.insert(NodeId(2), (1000, now));
            slow_at = slow_at.or(pace.look(now).map(|_| later - at));
        }
        assert!(matches!(slow_at, Some(1000..=1100)), "{slow_at:?}");
    }

    #[test]
    fn where_all_are_slow_or_nobody_is_heard_nobody_is() {
        let mut pace = Pace::new(OPTIONS);
        for turn in 0..200 {
            let now = Moment(turn * 60 * MS);
            pace.begin(now);
            if turn >= 100 {
                pace.heard.insert(NodeId(2), (70_000, now));
            }
            pace.end(Moment(now.0 + 60 * MS));
            assert_eq!(pace.look(now), None);
        }
    }

    #[test]
    fn a_full_disk_takes_for_ever_and_only_who_has_room_is_any_better() {
        let (mut pace, mut at) = (Pace::new(OPTIONS), 0);
        assert_eq!(run(&mut pace, &mut at, 1, 2000), []);
        pace.room(true);
        let turns = run(&mut pace, &mut at, 1, 3000);
        assert!(matches!(turns[..], [(2900..=3100, true)]), "{turns:?}");
        let now = Moment(at * MS);
        let all = || (2..=3).map(|id| (ReplicaId(id), NodeId(id)));
        pace.heard.insert(NodeId(2), (FOR_EVER, now));
        assert!(pace.is_full(now, NodeId(2)) && !pace.is_full(now, NodeId(3)));
        assert_eq!(pace.successor(now, all()), Some(ReplicaId(3)));
        pace.heard.insert(NodeId(3), (FOR_EVER, now));
        assert_eq!(pace.successor(now, all()), None, "nobody has room");
    }

    #[test]
    fn a_fit_replica_that_is_heard_of_leads_instead() {
        let mut pace = Pace::new(OPTIONS);
        let now = Moment(5000 * MS);
        for _ in 0..9 {
            pace.frames.note(400_000);
        }
        pace.usual = 400_000;
        pace.heard.insert(NodeId(2), (300_000, now));
        pace.heard.insert(NodeId(3), (900, now));
        pace.heard.insert(NodeId(4), (100, Moment(0)));
        let all = || (2..=4).map(|id| (ReplicaId(id), NodeId(id)));
        assert_eq!(pace.successor(now, all()), Some(ReplicaId(3)));
        assert_eq!(pace.successor(now, all().filter(|(id, _)| id.0 != 3)), None);
        pace.heard.insert(NodeId(5), (300_000, Moment(0)));
        let behind = |node| pace.is_behind(NodeId(node));
        assert_eq!([2, 3, 4, 5, 6].map(behind), [true, false, false, true, false]);
    }
}
