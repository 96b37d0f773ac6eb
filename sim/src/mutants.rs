//! Bugs we put in ourselves, to see that they are found.
//!
//! A simulator that finds nothing is either pointed at correct code or blind, and from outside the
//! two look the same. So every step that a promise rests on is taken away once, by a switch, and
//! the regular scenarios must notice. A mutant that nobody catches within its budget is a bug of
//! the simulator: a fault that is not injected, a judge that does not look, a load that never goes
//! there.
//!
//! Two kinds of switches: the toy's bugs are options of the toy and exist in every build; those of
//! the engine, the net and the world are `planted!("name")` in the code and exist only in a build
//! with the feature `mutants`. A test reads all sources and demands that each planted name stands
//! in the catalogue, and the other way round.
//!
//! How a hunt goes: the mutant's scenarios take turns, one seed each, until a judge refuses one;
//! that is repeated from other seeds, and the median of the seeds needed is the figure.
//!
//! Not here: which bugs there are (`catalogue.rs`), what the switches do (beside the code they
//! break), the table (`sim/docs/mutants.md`).

mod catalogue;

pub use catalogue::catalogue;

use crate::subject::toy::Bug;
#[cfg(feature = "mutants")]
use crate::{ledger::Ledger, swarm::caught};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name, as in `planted!`.
    pub name: &'static str,
    /// Where it lives.
    pub room: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
    /// Who hunts it.
    pub hunters: Hunters,
}

/// Who hunts a planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hunters {
    /// Scenarios, by name. One that was found runs as it was found, whatever the seed.
    Scenarios(&'static [&'static str]),
    /// The world's own laws (`world/laws.rs`).
    Laws,
    /// What a whole cluster shows too rarely: the stories of its own room, then the room's random
    /// lives, which reach in a millisecond what a cluster does in an hour.
    Room,
    /// What takes one certain order of things, told by a test of whole nodes or stores that goes
    /// wrong with the bug: `sim/tests/` has it, in this target under this name.
    Story(&'static str, &'static str),
}

impl Mutant {
    /// Whether it exists in every build, as an option of the toy.
    #[must_use]
    pub fn is_toy(&self) -> bool {
        self.name.parse::<Bug>().is_ok()
    }

    /// Whether this build can switch it on.
    #[must_use]
    pub fn is_available(&self) -> bool {
        cfg!(feature = "mutants") || self.is_toy()
    }
}

/// What a pure room's own judges say with a bug planted in it: in the first attempt its stories,
/// then a random life each. Answers who noticed, by name, and what. A story that breaks a law or an
/// assertion says more than one that only goes otherwise than it was told.
#[must_use]
#[cfg_attr(not(feature = "mutants"), expect(unused_variables, reason = "no bug can be planted"))]
pub fn noticed_in_room(mutant: &Mutant, attempt: u64) -> Option<(String, String)> {
    #[cfg(feature = "mutants")]
    {
        use trilith_engine::{raft, shard, store};
        let ledger = Ledger::new([mutant.name]);
        let _entered = ledger.enter();
        let broken = || ledger.broken().into_keys().next().map(|broken| broken.claim.to_string());
        // Who says so, and what.
        let wrong = |tell: &dyn Fn() -> Option<String>| match caught(tell) {
            Err(panic) => Some((String::from("an assertion"), panic)),
            Ok(said) => match broken() {
                Some(claim) => Some((String::from("a belief"), claim)),
                None => said.map(|said| (said.split(':').next().unwrap_or("").into(), said)),
            },
        };
        if attempt > 0 {
            let live = match mutant.room {
                "raft" => raft::tests::live,
                "store" => store::tests::live,
                _ => return None,
            };
            let (law, said) = wrong(&|| live(attempt))?;
            return Some((format!("{law} (lives)"), said));
        }
        let story = |name: &str, tell: &dyn Fn() -> Option<String>| {
            let (law, said) = wrong(tell)?;
            Some((format!("{law} (story {name})"), said))
        };
        let told = |(name, tell): &(&str, fn())| {
            let tell = || {
                tell();
                None
            };
            story(name, &tell)
        };
        match mutant.room {
            "raft" => {
                let all = raft::tests::stories().filter_map(|(name, tell)| story(&name, &tell));
                let mut otherwise = None;
                for noticed in all {
                    if noticed.1 != raft::tests::ANOTHER_TRACE {
                        return Some(noticed);
                    }
                    otherwise = otherwise.or(Some(noticed));
                }
                raft::tests::TOLD.iter().find_map(told).or(otherwise)
            }
            "store" => store::tests::STORIES.iter().find_map(told),
            _ => shard::tests::STORIES.iter().find_map(told),
        }
    }
    #[cfg(not(feature = "mutants"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_somebody_who_hunts_it() {
        let all = catalogue();
        let names: BTreeSet<&str> = all.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), all.len());
        for mutant in all {
            assert_ne!(mutant.hunters, Hunters::Scenarios(&[]), "nobody hunts {}", mutant.name);
        }
    }

    /// Whoever else hunts them, their own rooms notice them all.
    #[cfg(feature = "mutants")]
    #[test]
    fn bugs_of_pure_rooms_are_noticed_by_their_rooms() {
        let pure = |mutant: &Mutant| {
            matches!(mutant.room, "raft" | "store") || mutant.hunters == Hunters::Room
        };
        let (mut all, mut missed) = (catalogue(), Vec::new());
        all.retain(pure);
        for room in ["raft", "store", "shard"] {
            let sound = Mutant { name: "", room, breaks: "", hunters: Hunters::Room };
            assert_eq!((0..20).find_map(|attempt| noticed_in_room(&sound, attempt)), None);
        }
        for mutant in all {
            // That a story goes otherwise than it was told is not enough: something must be wrong.
            let is_wrong = |said: &str| said != trilith_engine::raft::tests::ANOTHER_TRACE;
            let noticed = |attempt| {
                noticed_in_room(&mutant, attempt).is_some_and(|(_, said)| is_wrong(&said))
            };
            if !(0..6000).any(noticed) {
                missed.push(mutant.name);
            }
        }
        assert_eq!(missed, Vec::<&str>::new(), "bugs that nobody notices");
    }
}
