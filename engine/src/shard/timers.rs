//! When each group wants to be asked again. A group without a deadline costs nothing.
//!
//! Not here: what a deadline is for (`raft`).

use alloc::collections::BTreeSet;

use crate::{raft::Moment, types::GroupId};

/// The deadlines of all groups.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Moment, GroupId)>);

impl Timers {
    /// A group's deadline changes.
    pub(super) fn set(&mut self, group: GroupId, old: Option<Moment>, new: Option<Moment>) {
        if let Some(old) = old {
            self.0.remove(&(old, group));
        }
        if let Some(new) = new {
            self.0.insert((new, group));
        }
    }

    /// How many groups have one.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a group has this one.
    pub(super) fn has(&self, group: GroupId, at: Moment) -> bool {
        self.0.contains(&(at, group))
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.first().map(|(at, _)| *at)
    }

    /// A group whose deadline has come; it has none then.
    pub(super) fn due(&mut self, now: Moment) -> Option<GroupId> {
        let (at, group) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.remove(&(at, group));
        Some(group)
    }
}
