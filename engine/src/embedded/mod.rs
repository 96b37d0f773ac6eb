//! The room that knows `std`: what an ordinary Rust program opens.
//!
//! [`KvStore`] is the same store that runs in the simulator ([`crate::lone`]), with threads around
//! it: writers share syncs, readers read on their own threads, one thread does the chores.
//!
//! Whole programs to start from are in `engine/examples`: `quickstart`, `readers` (threads and
//! snapshots), `recipes` (batches, conditions, expiry, ranges, import).
//!
//! Not here: how a store works; that is the same code that runs in the simulator.

mod error;
mod kv;
mod shared;

pub mod os;

pub use crate::lone::{BatchError, Condition, StoreOptions, StoreStats, VerifyReport, WriteBatch};
pub use error::KvError;
pub use kv::{Durability, ImportReport, KvOptions, KvStore, Scan, Snapshot, Versioned, feed};
