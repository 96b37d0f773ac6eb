//! Judges: omniscient, pure, one property a file.
//!
//! A judge reads what a run left behind (a history, the states of the replicas, samples of sizes)
//! and answers with a [`Verdict`]. It never looks at the code it judges, only at what that code
//! did; so the same judge serves the toy, the embedded store and the cluster.
//!
//! Every judge has a canary: the smallest input it must refuse. `canaries` lists them all, a
//! test runs them, and so does `trilith-sim list`: a judge that lets its canary pass is not a
//! judge.
//!
//! | judge | what it demands |
//! | --- | --- |
//! | `linearizable` | one order, that respects real time, explains every answer about a key |
//! | `serial` | the order that the subject itself states explains every answer (linear time) |
//! | `durable` | every acknowledged write is still there, or something newer is |
//! | `phantom` | nothing is read that nobody wrote, or that was reported as failed |
//! | `once` | each request is executed at most once |
//! | `converged` | after quiet, all replicas hold the same |
//! | `raft` | no two replicas disagree on what is committed, ever |
//! | `parted` | a replica whose state is not its peers' stops, and no other does |
//! | `led` | a node with a slow disk hands over what it leads, and leaders do not come and go |
//! | `fresh` | a read that says how old it may be is no older |
//! | `mortal` | a value with an expiry is over about when it should be, and stays over |
//! | `store` | what recovery finds is the model's state at an allowed cut |
//! | `damage` | what is damaged is named, and nothing else is lost or refused |
//! | `links` | what arrives over a link is what was said, in order, without a silent gap |
//! | `alive` | after faults stop, everything completes within a bound |
//! | `resources` | nothing grows past its limit, and nothing stays behind after quiet |
//! | `cycles` | transactions on lists are strictly serializable |
//! | `beliefs` | no `always!` or `never!` of the code was false, and nothing panicked |
//!
//! Not here: the leaderless and the slots' judges; they arrive with what they judge.

use std::fmt;

pub mod alive;
pub mod beliefs;
pub mod converged;
pub mod cycles;
pub mod damage;
pub mod durable;
pub mod fresh;
pub mod led;
pub mod linearizable;
pub mod links;
pub mod mortal;
pub mod once;
pub mod parted;
pub mod phantom;
pub mod raft;
pub mod resources;
pub mod serial;
pub mod store;

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The property holds.
    Holds,
    /// It does not.
    Violated(Violation),
    /// The judge ran out of its budget before it knew. Counted and shown, never taken for a pass.
    Unknown(String),
}

/// A broken property, told to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who says so.
    pub judge: &'static str,
    /// What happened, in one sentence that is the same for the same bug: it carries no times and
    /// no ids, so that failures can be grouped by it and shrinking can hold on to it.
    pub symptom: String,
    /// The evidence: what exactly, where, when. Several lines.
    pub evidence: String,
}

impl Violation {
    /// A broken property.
    #[must_use]
    pub fn new(
        judge: &'static str,
        symptom: impl Into<String>,
        evidence: impl fmt::Display,
    ) -> Self {
        Self { judge, symptom: symptom.into(), evidence: evidence.to_string() }
    }

    /// What two runs must share to count as the same failure.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{}: {}", self.judge, self.symptom)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{}", self.judge, self.symptom, self.evidence.trim_end())
    }
}

impl Verdict {
    /// A violation.
    #[must_use]
    pub fn violated(
        judge: &'static str,
        symptom: impl Into<String>,
        evidence: impl fmt::Display,
    ) -> Self {
        Self::Violated(Violation::new(judge, symptom, evidence))
    }

    /// The violation, if it is one.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violated(violation) => Some(violation),
            Self::Holds | Self::Unknown(_) => None,
        }
    }

    /// The first violation of two; else the first that is unknown.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Violated(_) => self,
            Self::Holds => other(),
            Self::Unknown(_) => match other() {
                violated @ Self::Violated(_) => violated,
                Self::Holds | Self::Unknown(_) => self,
            },
        }
    }
}

/// A judge, for lists and for checking scenario files.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Its name, as scenario files and failures use it.
    pub name: &'static str,
    /// What it demands, in one line.
    pub demands: &'static str,
    /// Judges the input that it must refuse.
    pub canary: fn() -> Verdict,
}

/// All judges, in the order of the table above.
#[must_use]
pub const fn judges() -> &'static [Judge] {
    &[
        linearizable::JUDGE,
        serial::JUDGE,
        durable::JUDGE,
        phantom::JUDGE,
        once::JUDGE,
        converged::JUDGE,
        raft::JUDGE,
        parted::JUDGE,
        led::JUDGE,
        fresh::JUDGE,
        mortal::JUDGE,
        store::JUDGE,
        damage::JUDGE,
        links::JUDGE,
        alive::JUDGE,
        resources::JUDGE,
        cycles::JUDGE,
        beliefs::JUDGE,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_judge_refuses_its_canary_in_its_own_name() {
        for judge in judges() {
            let verdict = (judge.canary)();
            let violation = verdict.violation().unwrap_or_else(|| {
                panic!("the judge {} let its canary pass: {verdict:?}", judge.name)
            });
            assert_eq!(violation.judge, judge.name);
            assert!(!violation.symptom.is_empty() && !violation.evidence.is_empty());
        }
    }
}
