//! The journal: what was written, in order, and what is left of it after a crash.
//!
//! ```text
//!  frame() ─► push, push … ─► append ──► active segment ──sync──► Persisted
//!                               │ full
//!                               ▼
//!                      next prepared segment          chores: prepare · seal · reclaim · scrub
//!                               │                              plan ─► run ─► install
//!                               ▼                                      │
//!                      MANIFEST (edits) ◄──────────────────────────────┘
//! ```
//!
//! One owner, one append at a time. A frame is one group commit: whatever its caller gathered
//! while the one before was on its way. A segment is listed in the manifest *before* it is written
//! to, so changing to the next one needs no manifest; a manifest edit is durable before anyone
//! acts on it, and is the commit point of everything that adds or drops segments.
//!
//! Invariants, in the numbering of the storage design:
//! - I1: `durable_lsn` rises only after a sync that began when those records had been written.
//! - I3: every open file stands in the manifest; a dropped one is reused only when nobody holds it.
//! - I5: only sealed segments are dropped, by an edit, and the files afterwards.
//! - I6: after a crash at any moment: all durable records, or a named damage.
//! - I7: LSNs have no gaps, and the order of LSNs is the order of frames.
//!
//! Not here: keys and which value is the newest (`value`), Raft, and the loop that gathers commits.

pub mod data;
pub mod edits;
pub mod files;
pub mod footer;
pub mod format;
pub mod frame;
pub mod identity;
pub mod report;
pub mod seed_log;
pub mod verdict;
pub mod walk;

mod chores;
mod commit;
mod counts;
mod manifest;
mod open;
mod recovery;
mod room;
mod salvage;
mod sealed;
mod settle;
mod write;

#[cfg(test)]
mod tests;

pub use chores::{Chore, Done, Installed};
pub use counts::{Counts, Holdings};
pub use data::{DataError, DataSegment, DataWriter};
pub use edits::{Peer, Sealed};
pub use files::{Expect, Files, RecordBuf, SegmentFile, verify};
pub use footer::{HintRef, SegmentHints, SegmentStats};
pub use format::{DirectoryEntry, Origin, RECORD_HEADER_BYTES, Record, RecordKind, SegmentKind};
pub use frame::{FrameBuilder, PushError};
pub use identity::Owner;
pub use open::Recovered;
pub use report::{JournalError, JournalOptions, OnDamage, OpenError, OpenReport, ReadError, Sync};
pub use room::Claim;
pub use salvage::Relic;
pub use sealed::{Deletion, HintSource, ScrubReport};
pub use settle::TailSegment;
pub use verdict::{Damage, Verdict};
pub use write::{Journal, ManifestEdit, Persisted, SegmentInfo};
