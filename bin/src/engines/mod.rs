//! Engines of the value plane that are not ours: for keys too many to index in memory, and to be
//! compared with.
//!
//! Not here: the trait and our engines (`trilith_engine::value`).

#[cfg(feature = "rocksdb")]
pub mod rocksdb;
