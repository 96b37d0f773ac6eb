//! How the room is shown to be right: stories, a naive model, and the bugs that both must notice.
//!
//! - `world`: one replica's state with its values beside it, fed with entries in their real bytes.
//! - `stories`: what is promised, each by a short history that a reader can follow.
//! - `model`: random histories against a naive store, with repetitions, crashes and forgetting.
//! - `checkpoints`: the bytes of a state, and the digest.
//! - with the feature `mutants`, `mutants`: each bug planted in the room is noticed by one of these.
//!
//! Not here: histories of whole clusters, and who judges them (the simulator).

mod checkpoints;
mod model;
mod stories;
mod world;

#[cfg(feature = "mutants")]
mod mutants;
