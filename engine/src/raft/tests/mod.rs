//! How the room is shown to be right: a small world around N cores, and the ways to look at it.
//!
//! - `scripts/*.txt`: stories with their whole trace, one file each, named by what they show.
//!   `UPDATE_SCRIPTS=1 cargo test -p trilith-engine raft::` rewrites the traces; the diff is the
//!   review.
//! - `explore`: every state of three replicas within a bound, each judged.
//! - `walk`: random lives far beyond that bound, with every fault at once, each state judged.
//!
//! With the feature `mutants` the simulator tells stories and lives lives with a bug planted in the
//! room, which one of them must notice.
//!
//! `hangs` tells what takes thousands of messages and no trace that anybody would read, and `broken`
//! what no core ever says.
//!
//! `world` is the driver of all of them: memory network, memory disks that lose what is not synced,
//! one clock for each node. `judge` says what must never happen.
//!
//! Not here: properties of the parts (beside them), the real driver (the shard).
#![expect(clippy::disallowed_methods, reason = "the tests read scripts and bounds")]
#![expect(clippy::unwrap_used, reason = "tests, which the simulator has too")]

#[cfg(feature = "mutants")]
use std::string::String;

mod broken;
mod explore;
mod hangs;
mod judge;
mod script;
mod walk;
mod world;

pub use explore::{Bound, Explored, VISITED, explore};

/// What there is to say of a story that breaks no law and goes otherwise than it was told.
#[cfg(feature = "mutants")]
pub const ANOTHER_TRACE: &str = "another trace";

/// The stories, by name: what another trace, or a broken law, makes of one.
#[cfg(feature = "mutants")]
pub fn stories() -> impl Iterator<Item = (String, impl Fn() -> Option<String>)> {
    script::all().into_iter().map(|(path, text)| {
        let name = path.rsplit('/').next().unwrap_or(&path).into();
        let tell = move || {
            let (told, broken) = script::perform(&text);
            broken.or_else(|| (told != text).then(|| ANOTHER_TRACE.into()))
        };
        (name, tell)
    })
}

/// Stories without a trace.
#[cfg(feature = "mutants")]
pub const TOLD: &[(&str, fn())] = &[
    ("promises of a disk that hangs", hangs::promises_of_a_disk_that_hangs_are_bounded),
    ("entries that no log has", broken::entries_that_no_log_has_are_not_taken),
];

/// One random life. Answers the law that broke in it.
#[cfg(feature = "mutants")]
#[must_use]
pub fn live(seed: u64) -> Option<String> {
    walk::walk(seed, walk::STEPS)
}
