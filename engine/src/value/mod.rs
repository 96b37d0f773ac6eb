//! The value plane: where the newest record of every key lies.
//!
//! Not here: how records come to be on disk (`journal`).

mod keys;
mod leaf;
mod tree;

pub use leaf::Place;
pub use tree::{Builder, Cursor, Tree};
