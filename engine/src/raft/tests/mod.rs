//! How the room is shown to be right: a small world around N cores, and the ways to look at it.
//!
//! - `scripts/*.txt`: stories with their whole trace, one file each, named by what they show.
//!   `UPDATE_SCRIPTS=1 cargo test -p trilith-engine raft::` rewrites the traces; the diff is the
//!   review.
//! - `explore`: every state of three replicas within a bound, each judged.
//! - `walk`: random lives far beyond that bound, with every fault at once, each state judged.
//! - with the feature `mutants`, `mutants`: each bug planted in the room is noticed by one of these.
//!
//! `world` is the driver of all of them: memory network, memory disks that lose what is not synced,
//! one clock for each node. `judge` says what must never happen.
//!
//! Not here: properties of the parts (beside them), the real driver (the shard).
#![expect(clippy::disallowed_methods, reason = "the tests read scripts and bounds")]

mod explore;
mod judge;
mod script;
mod walk;
mod world;

#[cfg(feature = "mutants")]
mod mutants;
