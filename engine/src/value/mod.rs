//! The value plane: for every group, which record is the newest of each key, and where it lies.
//!
//! A value is written once, into the journal. The index of its group points at that record;
//! compaction later moves what is still pointed at into segments sorted by key, and points there.
//! ```text
//!   edits, durable already ──▶ Engine::apply ──▶ index: key → place        (tree, leaf, keys)
//!                                               ledger: segment → live, dead
//!   segments' hints ──▶ merge ──▶ index                                     at startup
//! ```
//! Read in this order: `engine.rs` (what any engine promises), `memory.rs` (the model), `keys.rs`,
//! `leaf.rs`, `tree.rs` (the index), `due.rs` (what is over), `hot.rs`, `merge.rs`, `ledger.rs`;
//! `contract.rs` asks every engine what `engine.rs` promises.
//!
//! Not here: making records durable (`journal`), batches and conditions (`lone`).

mod compact;
pub mod contract;
mod due;
mod engine;
mod hot;
mod indexed;
mod keys;
mod leaf;
mod ledger;
mod memory;
mod merge;
mod tree;

pub use compact::{CompactError, Compacted, Job, JobParts, Moved, Progress};
pub use engine::{Change, Edit, Engine, Found, Item, Page, Scan, View};
pub use hot::HotValues;
pub use indexed::{IndexView, Indexed, Pinned, item_bytes};
pub use leaf::Place;
pub use ledger::{Ledger, Line, Need, Policy};
pub use memory::{Memory, MemoryView};
pub use merge::Merge;
pub use tree::{Builder, Cursor, Tree};
