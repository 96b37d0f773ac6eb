//! What clients have asked for and were not answered: how much of it there may be, and how long.
//!
//! ```text
//!   all that waits                               64 MiB
//!   ├── groups that answer                                  a few turns' worth
//!   ├── a group that cannot  ≤  what is left over           so the half, or
//!   └── another one          ≤  what is left over           a third for each of two, …
//! ```
//! What waits to be proposed or read is in memory, so it has a limit for all groups together. A group
//! without a leader answers nobody, and whoever asks it would soon fill that for all others. So one
//! group may hold no more than what is left over once it does: then there is always room for another
//! one. A shard with one group gives it everything.
//!
//! What nobody waits for any more is forgotten a moment after its patience is over, wherever it
//! waits; what is proposed is answered by its group.
//!
//! Invariants: a request is counted from its arrival to its answer, and weighs as long as it waits to
//! be proposed or read; what the groups' requests weigh is no more than what all weigh.
//!
//! Not here: where requests wait (`group.rs`, `mend.rs`), who else is refused (`propose.rs`).

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use super::{Caller, Outbox, Shard, counts::Family, group::Group};
use crate::{
    command::{Level, Refusal},
    limits::{
        SHARD_GROUP_REQUEST_BYTES_MAX, SHARD_LATE_MS, SHARD_REQUEST_BYTES_MAX, SHARD_REQUESTS_MAX,
    },
    mark, planted,
    raft::Moment,
    runtime::Runtime,
    types::{GroupId, Sequence, Size},
};

/// A request, as far as its answer needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) sequence: Sequence,
    pub(super) level: Level,
    pub(super) family: Family,
    /// Whose it is, when that is known.
    pub(super) group: Option<GroupId>,
    /// What it weighs, as long as it waits to be proposed or read.
    pub(super) bytes: u64,
    /// When it arrived.
    pub(super) at: Moment,
    /// After this nobody waits for it.
    pub(super) until: Moment,
}

/// What clients have asked this shard for and were not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) requests: usize,
    /// What those weigh that are not proposed.
    pub(super) bytes: u64,
    /// The same of each group that has any.
    of: BTreeMap<GroupId, u64>,
    /// When those for which nobody waits any more are looked for.
    due: Option<Moment>,
}

impl Owed {
    /// A request arrives. Whether there is room for it.
    pub(super) fn take(&mut self, asked: &Asked) -> bool {
        self.requests += 1;
        self.bytes += asked.bytes;
        self.waits_until(asked.until);
        self.requests <= SHARD_REQUESTS_MAX && self.bytes <= SHARD_REQUEST_BYTES_MAX
    }

    /// A request is of this group, which may be the only one. Whether that has room for it.
    pub(super) fn enter(&mut self, asked: &mut Asked, group: GroupId, is_only: bool) -> bool {
        assert!(asked.group.is_none(), "a request is of one group");
        asked.group = Some(group);
        if asked.bytes == 0 {
            return true;
        }
        let bytes = self.of.entry(group).or_default();
        *bytes += asked.bytes;
        // One alone is always taken: what is large must be possible while others wait.
        let left = SHARD_REQUEST_BYTES_MAX.saturating_sub(self.bytes);
        is_only || *bytes <= left || *bytes == asked.bytes
    }

    /// A request is an entry now, and weighs elsewhere.
    pub(super) fn proposed(&mut self, asked: &mut Asked) {
        self.lighten(asked);
        asked.bytes = 0;
    }

    /// A request is answered.
    pub(super) fn answered(&mut self, asked: &Asked) {
        assert!(self.requests > 0, "nobody is answered twice");
        self.requests -= 1;
        self.lighten(asked);
        if self.requests == 0 {
            self.due = None;
        }
    }

    fn lighten(&mut self, asked: &Asked) {
        assert!(self.bytes >= asked.bytes, "what goes has come, once");
        self.bytes -= asked.bytes;
        let Some(group) = asked.group.filter(|_| asked.bytes > 0) else { return };
        let bytes = self.of.get(&group).copied().unwrap_or_default();
        assert!(bytes >= asked.bytes, "what goes from a group has come to it");
        match bytes - asked.bytes {
            0 => _ = self.of.remove(&group),
            left => _ = self.of.insert(group, left),
        }
    }

    /// Somebody waits until then.
    fn waits_until(&mut self, until: Moment) {
        let at = until + Duration::from_millis(SHARD_LATE_MS);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When it wants to be looked at.
    pub(super) const fn next(&self) -> Option<Moment> {
        self.due
    }

    /// What the requests weigh of the group whose weigh most, and may weigh.
    pub(super) fn heaviest(&self, is_only: bool) -> Size {
        let now = self.of.values().max().copied().unwrap_or_default();
        let most = if is_only { SHARD_REQUEST_BYTES_MAX } else { SHARD_GROUP_REQUEST_BYTES_MAX };
        Size { now, most }
    }

    /// Whether the groups' requests are among all.
    pub(super) fn check(&self) -> bool {
        self.of.values().sum::<u64>() <= self.bytes
    }
}

impl Group {
    /// Takes out for whom nobody waits any more. What is proposed stays: it may still happen.
    fn late(&mut self, now: Moment) -> Vec<Asked> {
        let is_late = |asked: &Asked| asked.until < now;
        let mut late = Vec::new();
        let mut goes = |asked: &Asked| {
            let goes = is_late(asked);
            late.extend(goes.then_some(*asked));
            goes
        };
        if !planted!("shard_late_questions_stay") {
            self.asked.retain(|(_, reading)| !goes(&reading.asked));
        }
        if !planted!("shard_late_reads_stay") {
            self.confirmed.retain(|(_, reading)| !goes(&reading.asked));
        }
        if !planted!("shard_late_writes_stay") {
            self.gathered.retain(|gathered| !goes(&gathered.asked));
        }
        late
    }

    /// Until when somebody waits that would be forgotten then.
    fn waits(&self) -> impl Iterator<Item = Moment> {
        let asked = self.asked.iter().map(|(_, reading)| reading.asked.until);
        let confirmed = self.confirmed.iter().map(|(_, reading)| reading.asked.until);
        asked.chain(confirmed).chain(self.gathered.iter().map(|gathered| gathered.asked.until))
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Whether one group has everything.
    pub(super) const fn has_one_group(&self) -> bool {
        self.slotted.len() <= 1
    }

    /// Forgets for whom nobody waits any more. A walk over all groups, so it comes a while after the
    /// first is late, and takes all that are late by then.
    pub(super) fn forget_late(&mut self) {
        let now = self.now();
        if self.owed.next().is_none_or(|due| due > now) {
            return;
        }
        let late: Vec<Asked> = self.groups.values_mut().flat_map(|group| group.late(now)).collect();
        for asked in late {
            mark!("shard_request_too_late");
            let is_bound = asked.level == Level::Eventual;
            self.refuse(asked, if is_bound { Refusal::TooStale } else { Refusal::TooLate });
        }
        self.owed.due = None;
        let first = self.groups.values().flat_map(Group::waits).filter(|until| *until >= now).min();
        if let Some(first) = first {
            self.owed.waits_until(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn asked(bytes: u64) -> Asked {
        let (caller, sequence) = (Caller(1), Sequence(1));
        let (level, family) = (Level::Strong, Family::Write);
        let (at, until) = (Moment(0), Moment(1_000_000));
        Asked { caller, sequence, level, family, group: None, bytes, at, until }
    }

    /// Asks for so much of a group; what was taken of it.
    fn ask(owed: &mut Owed, group: u32, each: u64, times: usize, is_only: bool) -> Vec<Asked> {
        let one = |_| {
            let mut asked = asked(each);
            let fits = owed.take(&asked) && owed.enter(&mut asked, GroupId(group), is_only);
            if !fits {
                owed.answered(&asked);
            }
            fits.then_some(asked)
        };
        (0..times).filter_map(one).collect()
    }

    #[test]
    fn groups_that_answer_nobody_leave_room_for_one_more() {
        let mut owed = Owed::default();
        let mut taken = Vec::new();
        for group in 1..=5 {
            let more = ask(&mut owed, group, MIB, 64, false);
            assert!(!more.is_empty(), "group {group}");
            taken.extend(more);
            assert!(owed.check());
            let heaviest = owed.heaviest(false);
            assert!(heaviest.now <= heaviest.most, "{heaviest:?}");
        }
        assert_eq!(owed.heaviest(false).now, 32 * MIB);
        assert!(owed.bytes < SHARD_REQUEST_BYTES_MAX);
        let mut proposed = taken.pop().expect("one was taken");
        owed.proposed(&mut proposed);
        owed.answered(&proposed);
        taken.iter().for_each(|asked| owed.answered(asked));
        assert_eq!(owed, Owed::default(), "nothing is left, and nothing is due");
    }

    #[test]
    fn the_only_group_has_everything() {
        let mut owed = Owed::default();
        assert_eq!(ask(&mut owed, 1, MIB, 99, true).len(), 64);
        assert_eq!(owed.heaviest(true), Size { now: 64 * MIB, most: SHARD_REQUEST_BYTES_MAX });
    }

    #[test]
    fn what_is_large_is_taken_while_there_is_room_for_it() {
        let mut owed = Owed::default();
        ask(&mut owed, 1, MIB, 64, false);
        assert_eq!(ask(&mut owed, 2, 30 * MIB, 2, false).len(), 1);
        assert_eq!(ask(&mut owed, 3, 3 * MIB, 1, false).len(), 0, "there is none for it");
        assert_eq!(ask(&mut owed, 3, 2 * MIB, 1, false).len(), 1);
    }
}
