//! Sizes: what a shard holds of everything that grows from outside, and how much of each it may.
//!
//! Whatever arrives at a node ends in some queue, map or list here. Each has its limit (`limits.rs`,
//! or an option), and reaching it is an error reply or back-pressure; this says how near each is to
//! its own. Metrics show it, and the simulator's judge `resources` refuses a run in which one was
//! passed, or in which work stays behind when nothing happens any more: somebody waits for ever then.
//!
//! ```text
//!   a turn ends ──► Outbox::looks ──► away ────────► nothing, and it cost one call
//!                                 └─► sizes ───────► Shard::sizes ──► Outbox::saw_sizes
//!                                 └─► everything ──► the same, and what must hold besides
//! ```
//! Nothing is counted in advance but what requests weigh: a look walks over the groups, and whoever
//! looks does it now and then.
//!
//! A limit that each group has is told of the group that is nearest to it.
//!
//! Not here: queues of connections (`trilith-net`), the process's memory, how full the disk is.

use super::{Inbound, Outbox, Shard, group::Group};
use crate::{
    limits,
    runtime::{Receiver, Runtime},
    store::State,
    types::Size,
};

/// What is to be looked at when a turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Away,
    /// What the shard holds.
    Sizes,
    /// That, and whether all that must hold does. Takes long; for the simulator.
    Everything,
}

/// One of the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// What is counted.
    pub name: &'static str,
    /// How much there is and may be.
    pub size: Size,
    /// Whether it is work: nothing of it is left when nothing happens any more.
    pub is_work: bool,
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What has arrived and was not looked at.
    pub inbox: Size,
    /// Groups.
    pub groups: Size,
    /// Groups that want to be asked again some time.
    pub timers: Size,
    /// Requests that were not answered.
    pub requests: Size,
    /// What those weigh that are not proposed.
    pub request_bytes: Size,
    /// The same, of the group whose requests weigh most.
    pub group_request_bytes: Size,
    /// Requests of the group that has most of them.
    pub group_requests: Size,
    /// Groups with something to be written.
    pub unsaved_groups: Size,
    /// Groups whose judged entries wait for records of computed values.
    pub held_groups: Size,
    /// Bytes of entries in memory.
    pub cached_bytes: Size,
    /// Entries of all live logs: in memory is what they are, and on the disk what they say.
    pub log_entries: Size,
    /// What the core of the group holds of it that holds most.
    pub promises: Size,
    /// The same.
    pub applying_bytes: Size,
    /// The same.
    pub uncommitted_bytes: Size,
    /// The same.
    pub in_flight: Size,
    /// The same.
    pub in_flight_bytes: Size,
    /// The same.
    pub damaged_stretches: Size,
    /// Clients that the group remembers that remembers most.
    pub sessions: Size,
    /// What their replies weigh, in the group where they weigh most.
    pub session_bytes: Size,
    /// Replicas that have spoken and sit nowhere, in the group that has most.
    pub strangers: Size,
    /// Seats that the group knows that knows most, also those of replicas that are gone.
    pub seats: Size,
    /// Questions of readers whose moments are remembered, in the group that has most.
    pub questions: Size,
    /// Entries without effect in segments that are not settled.
    pub void_entries: Size,
    /// Entries that are being written again.
    pub mended_entries: Size,
    /// Keys of values that were found behind the state.
    pub uncounted_keys: Size,
    /// Messages whose entries are to be read from the disk.
    pub unfetched: Size,
    /// Snapshots being sent.
    pub snapshots_out: Size,
    /// Snapshots that leaders want sent from here and that were not begun.
    pub snapshots_asked: Size,
    /// Snapshots that others send to replicas of groups that are led here.
    pub snapshots_watched: Size,
    /// Snapshots being taken in, and those that do not count yet.
    pub snapshots_in: Size,
    /// Intakes whose place another one has taken.
    pub snapshots_ending: Size,
    /// Intakes that wait for a segment.
    pub snapshots_hungry: Size,
    /// Cuts that are held for somebody.
    pub cuts: Size,
    /// Pages of them that are being read.
    pub cut_pages: Size,
    /// Values known to be damaged.
    pub broken_values: Size,
    /// Copies of such values that are not written.
    pub value_copies: Size,
    /// Reads that wait for such a value.
    pub broken_reads: Size,
    /// Groups that wait for such a value.
    pub stuck_groups: Size,
    /// Values that others have asked for.
    pub values_asked: Size,
    /// Damaged segments that are looked after.
    pub damaged_segments: Size,
    /// Members that wait to be written down.
    pub greetings: Size,
    /// Seats that wait to be written down.
    pub new_seats: Size,
    /// Groups that are to be made.
    pub new_groups: Size,
    /// What chores of the journal have done and is not installed.
    pub installs: Size,
    /// Segments that are not settled.
    pub unsettled_segments: Size,
    /// Dead stretches in them.
    pub dead_stretches: Size,
    /// Keys.
    pub keys: Size,
    /// What their index weighs.
    pub index_bytes: Size,
    /// What values weigh that were read lately.
    pub hot_bytes: Size,
}

impl Sizes {
    /// All of them.
    pub fn each(&self) -> impl Iterator<Item = Gauge> {
        self.work().into_iter().chain(self.stays())
    }

    /// What is gone when nothing happens any more.
    fn work(&self) -> [Gauge; 25] {
        let work = |name, size| Gauge { name, size, is_work: true };
        [
            work("inbox", self.inbox),
            work("requests", self.requests),
            work("request bytes", self.request_bytes),
            work("request bytes of a group", self.group_request_bytes),
            work("requests of a group", self.group_requests),
            work("unsaved groups", self.unsaved_groups),
            work("held groups", self.held_groups),
            work("promises", self.promises),
            work("applying bytes", self.applying_bytes),
            work("uncommitted bytes", self.uncommitted_bytes),
            work("appends in flight", self.in_flight),
            work("append bytes in flight", self.in_flight_bytes),
            work("entries mended", self.mended_entries),
            work("messages to be fetched", self.unfetched),
            work("snapshots out", self.snapshots_out),
            work("snapshots asked", self.snapshots_asked),
            work("snapshots in", self.snapshots_in),
            work("snapshots ending", self.snapshots_ending),
            work("snapshots hungry", self.snapshots_hungry),
            work("reads of broken values", self.broken_reads),
            work("values asked for", self.values_asked),
            work("greetings", self.greetings),
            work("seats to be written", self.new_seats),
            work("groups to be made", self.new_groups),
            work("pages of cuts", self.cut_pages),
        ]
    }

    /// What may stay.
    fn stays(&self) -> [Gauge; 24] {
        let stays = |name, size| Gauge { name, size, is_work: false };
        [
            stays("groups", self.groups),
            stays("timers", self.timers),
            stays("cached bytes", self.cached_bytes),
            stays("log entries", self.log_entries),
            stays("damaged stretches", self.damaged_stretches),
            stays("sessions", self.sessions),
            stays("session bytes", self.session_bytes),
            stays("strangers", self.strangers),
            stays("seats", self.seats),
            stays("questions", self.questions),
            stays("void entries", self.void_entries),
            stays("uncounted keys", self.uncounted_keys),
            stays("broken values", self.broken_values),
            stays("copies of values", self.value_copies),
            stays("stuck groups", self.stuck_groups),
            stays("damaged segments", self.damaged_segments),
            stays("unsettled segments", self.unsettled_segments),
            stays("dead stretches", self.dead_stretches),
            // One that nobody says a word about any more is forgotten after a while.
            stays("snapshots watched", self.snapshots_watched),
            stays("installs", self.installs),
            // One that nobody asks for is let go of after a while.
            stays("cuts", self.cuts),
            stays("keys", self.keys),
            stays("index bytes", self.index_bytes),
            stays("hot bytes", self.hot_bytes),
        ]
    }

    /// One more group.
    fn add(&mut self, group: &Group, cache_bytes: u64) {
        let core = group.raft.sizes();
        let reads_more = limits::SHARD_PENDING_MAX + limits::SHARD_BROKEN_MAX;
        let fuller = |place: &mut Size, size: Size| *place = place.fuller(size);
        fuller(&mut self.group_requests, Size::of(group.pending(), reads_more));
        fuller(&mut self.promises, core.promises);
        fuller(&mut self.applying_bytes, core.applying_bytes);
        fuller(&mut self.uncommitted_bytes, core.uncommitted_bytes);
        fuller(&mut self.in_flight, core.in_flight);
        fuller(&mut self.in_flight_bytes, core.in_flight_bytes);
        fuller(&mut self.damaged_stretches, core.damaged);
        fuller(&mut self.sessions, Size::of(group.state.sessions(), limits::SESSIONS_MAX));
        let replies = Size::of(group.state.session_bytes(), State::SESSION_BYTES_MAX);
        fuller(&mut self.session_bytes, replies);
        fuller(&mut self.strangers, Size::of(group.strangers.len(), limits::SHARD_STRANGERS_MAX));
        fuller(&mut self.seats, Size::free(group.roster.len()));
        fuller(&mut self.questions, Size::of(group.fresh.len(), 2 * limits::SHARD_QUESTIONS_MAX));
        let more = |place: &mut Size, size: Size| *place = place.plus(size);
        more(&mut self.cached_bytes, group.cached(cache_bytes));
        more(&mut self.log_entries, Size::free(group.window.len()));
        more(&mut self.held_groups, Size::of(usize::from(group.held.is_some()), 1));
        more(&mut self.void_entries, Size::free(group.void.len()));
        let mended = group.mended.len() + group.void_again.len();
        more(&mut self.mended_entries, Size::free(mended));
        more(&mut self.uncounted_keys, Size::free(group.uncounted.len()));
    }
}

impl Group {
    /// Bytes of entries in memory: what is applied has a budget, and what is not is needed.
    fn cached(&self, budget: u64) -> Size {
        let mended = self.mended.keys().chain(self.void_again.keys()).min();
        let needed = mended.map_or(self.raft.applied(), |first| self.raft.applied().min(*first));
        let most = budget.saturating_add(self.window.held_from(needed));
        Size { now: self.window.held_bytes(), most }
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A turn is over: shows what is asked for.
    pub(super) fn show_sizes(&mut self, inbox: &Receiver<Inbound>) {
        let look = self.outbox.looks(self.now());
        if look == Look::Away {
            return;
        }
        if look == Look::Everything {
            self.check();
        }
        let sizes = self.sizes_with(inbox);
        self.outbox.saw_sizes(&sizes);
    }

    /// What it holds, with what has arrived.
    pub(super) fn sizes_with(&self, inbox: &Receiver<Inbound>) -> Sizes {
        let (now, most) = inbox.level();
        Sizes { inbox: Size::of(now, most), ..self.sizes() }
    }

    /// What it holds. A walk over the groups.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let Self { groups, snapshots, mending, .. } = self;
        let at_once = limits::SHARD_SNAPSHOTS_AT_ONCE;
        let (ending, hungry) = snapshots.leftovers();
        let intakes = limits::SHARD_INTAKES_AT_ONCE + at_once;
        let [broken, readings, held_up, asked] = mending.counts();
        let (greetings, seats) = self.peers.waiting();
        let (unsettled, dead) = self.settling.counts();
        let (cuts, cut_pages) = self.cuts.counts();
        let broken_max = limits::SHARD_BROKEN_MAX;
        let request_bytes = Size { now: self.owed.bytes, most: limits::SHARD_REQUEST_BYTES_MAX };
        let mut sizes = Sizes {
            groups: Size::of(groups.len(), limits::SHARD_GROUPS_MAX),
            timers: Size::of(self.timers.len(), groups.len()),
            requests: Size::of(self.owed.requests, limits::SHARD_REQUESTS_MAX),
            request_bytes,
            group_request_bytes: self.owed.heaviest(self.has_one_group()),
            unsaved_groups: Size::of(self.unsaved.len(), groups.len()),
            unfetched: Size::of(self.unfetched.len(), limits::SHARD_UNFETCHED_MAX),
            snapshots_out: Size::of(snapshots.sending.len(), at_once),
            snapshots_asked: Size::of(snapshots.asked.len(), at_once),
            snapshots_watched: Size::free(snapshots.watched.len()),
            snapshots_in: Size::of(snapshots.taken_in(), intakes),
            snapshots_ending: Size::of(ending, at_once),
            snapshots_hungry: Size::of(hungry, intakes),
            cuts: Size::of(cuts, limits::SHARD_CUTS_MAX),
            cut_pages: Size::of(cut_pages, limits::SHARD_CUTS_MAX),
            broken_values: Size::of(broken, broken_max),
            value_copies: Size::of(mending.copies(), limits::SHARD_MENDED_AT_ONCE),
            broken_reads: Size::of(readings, broken_max),
            stuck_groups: Size::of(held_up, groups.len()),
            values_asked: Size::of(asked, limits::SHARD_VALUES_ASKED_MAX),
            damaged_segments: Size::free(self.scrubbing.hurt_segments()),
            greetings: Size::of(greetings, limits::SHARD_GREETINGS_MAX),
            new_seats: Size::free(seats),
            new_groups: Size::of(self.peers.wanted.len(), limits::SHARD_GROUPS_MAX),
            // One is under way at a time, and reading everything is another.
            installs: Size::of(self.installs.len(), 2),
            unsettled_segments: Size::free(unsettled),
            dead_stretches: Size::free(dead),
            keys: Size::free(self.engine.keys()),
            index_bytes: Size::free(self.engine.index_bytes()),
            hot_bytes: Size { now: self.hot.bytes() as u64, most: self.options.hot_bytes },
            ..Sizes::default()
        };
        groups.values().for_each(|group| sizes.add(group, self.options.cache_bytes));
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_size_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Sizes::default().each().map(|gauge| gauge.name).collect();
        assert_eq!(names.len(), Sizes::default().each().count());
        assert_eq!(size_of::<Sizes>(), names.len() * size_of::<Size>(), "one is not shown");
    }

    #[test]
    fn of_limits_that_each_group_has_the_nearest_is_told() {
        let all = [Size::default(), Size::of(3, 9), Size::of(90, 100), Size::free(7)];
        let nearest = all.into_iter().fold(Size::default(), Size::fuller);
        assert_eq!(nearest, Size::of(3, 9), "six are left");
        assert_eq!(Size::of(1, 2).plus(Size::free(3)), Size::free(4));
    }
}
