//! Fresh: a read that says how old it may be is no older.
//!
//! A reader asks replicas for whatever they have and is told how old that may be. Beside it stands
//! every acknowledged write, with its version and when it was acknowledged. A state that may be `s`
//! old has everything that was acknowledged `s` before the reader asked: the replica had applied that
//! far, and what it showed of the key is no older version.
//!
//! An age is measured by a clock that may be slow, so the judge gives a quarter more than was said:
//! that is how slow the faults make a clock. A replica may always say that it does not know.
//!
//! Not here: reads that promise more than an age (`linearizable`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trilith_engine::{command::STALENESS_UNKNOWN_MS, types::Version};

use super::{Judge, Verdict};
use crate::history::Key;

const NAME: &str = "fresh";

/// This judge.
pub const JUDGE: Judge =
    Judge { name: NAME, demands: "a read that says how old it may be is no older", canary };

/// A read of whatever is there.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// Which node answered.
    pub node: u32,
    /// The key.
    pub key: Key,
    /// When it was asked.
    pub asked_ns: u64,
    /// How old the answer might be; 0 for however old.
    pub allowed_ms: u32,
    /// How old it may be, it says.
    pub staleness_ms: u32,
    /// How far the replica had applied the group's log.
    pub applied: Version,
    /// The version that it showed.
    pub found: Option<Version>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of each key, the versions that were acknowledged and when.
    acknowledged: BTreeMap<Key, Vec<(u64, Version)>>,
    glances: Vec<Glance>,
}

/// What writers were told, and what readers were.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was acknowledged.
    pub fn acknowledged(&self, at_ns: u64, key: Key, version: Version) {
        self.seen().acknowledged.entry(key).or_default().push((at_ns, version));
    }

    /// A read was answered.
    pub fn glanced(&self, glance: Glance) {
        self.seen().glances.push(glance);
    }

    /// Judges what was noted.
    #[must_use]
    pub fn check(&self) -> Verdict {
        let seen = self.seen();
        for glance in &seen.glances {
            let told = |what: &str| format!("{glance:?}{what}");
            let Glance { allowed_ms, staleness_ms, .. } = *glance;
            if allowed_ms > 0 && staleness_ms > allowed_ms {
                return Verdict::violated(NAME, "an answer is older than it might be", told(""));
            }
            if staleness_ms == STALENESS_UNKNOWN_MS {
                continue;
            }
            let back_ns = u64::from(staleness_ms) * 1_250_000;
            let Some(then) = glance.asked_ns.checked_sub(back_ns) else { continue };
            let writes = seen.acknowledged.get(&glance.key).into_iter().flatten();
            let newest = writes.filter(|(at, _)| *at <= then).map(|(_, version)| *version).max();
            let Some(newest) = newest else { continue };
            let is_shown = glance.found.is_none_or(|found| found >= newest);
            if glance.applied < newest || !is_shown {
                let of = told(&format!("\nversion {newest} was acknowledged before"));
                return Verdict::violated(NAME, "an answer is older than it says", of);
            }
        }
        Verdict::Holds
    }
}

fn glance(staleness_ms: u32, applied: u64, found: Option<u64>) -> Verdict {
    let notes = Notes::default();
    notes.acknowledged(1_000_000_000, 7, Version(20));
    notes.glanced(Glance {
        node: 1,
        key: 7,
        asked_ns: 2_000_000_000,
        allowed_ms: 900,
        staleness_ms,
        applied: Version(applied),
        found: found.map(Version),
    });
    notes.check()
}

fn canary() -> Verdict {
    glance(500, 19, Some(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_what_was_acknowledged_before_its_age() {
        assert_eq!(glance(500, 20, Some(20)), Verdict::Holds);
        assert_eq!(glance(500, 25, None), Verdict::Holds, "it was deleted since");
        assert_eq!(glance(850, 12, Some(12)), Verdict::Holds, "it may be older than that");
        assert!(glance(500, 20, Some(12)).violation().is_some());
        assert!(glance(0, 19, None).violation().is_some());
        assert!(glance(901, 12, Some(12)).violation().is_some());
        assert!(glance(STALENESS_UNKNOWN_MS, 1, None).violation().is_some(), "it was to be newer");
    }
}
