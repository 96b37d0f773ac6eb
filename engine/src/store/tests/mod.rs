//! How the room is shown to be right: stories, a naive model, and the bugs that both must notice.
//!
//! - `world`: one replica's state with its values beside it, fed with entries in their real bytes.
//! - `stories`: what is promised, each by a short history that a reader can follow.
//! - `model`: random histories against a naive store, with repetitions, crashes and forgetting.
//! - `checkpoints`: the bytes of a state, and the digest.
//!
//! With the feature `mutants` the simulator tells stories and lives lives with a bug planted in the
//! room, which one of them must notice.
//!
//! Not here: histories of whole clusters, and who judges them (the simulator).
#![cfg_attr(not(test), expect(clippy::unwrap_used, reason = "tests, which the simulator has too"))]

#[cfg(feature = "mutants")]
use std::string::String;

#[cfg(test)]
mod checkpoints;
mod model;
mod stories;
mod world;

#[cfg(feature = "mutants")]
pub use stories::STORIES;

/// One random history. Answers where it parts from the naive store.
#[cfg(feature = "mutants")]
#[must_use]
pub fn live(seed: u64) -> Option<String> {
    model::live(seed, model::STEPS)
}
