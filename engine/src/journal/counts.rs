//! Counts: what a journal has done in this life, and what it holds.
//!
//! Plain numbers of the one who owns the journal. They cost a few additions beside each write to a
//! device and two looks at the clock, and are copied by whoever shows them.
//!
//! Not here: who is shown them (`shard/counts.rs`, `trilith-net`).

use super::write::Journal;
use crate::{runtime::Runtime, spread::Spread};

/// What a journal has done in this life. None of it goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// How long handing them to the device took.
    pub writes: Spread,
    /// How long the device took to say that they are durable.
    pub syncs: Spread,
    /// How often the next segment was begun.
    pub rotations: u64,
    /// How often none was prepared for that, and somebody waited.
    pub unprepared: u64,
    /// Edits of the manifest.
    pub edits: u64,
    /// What was refused for want of room.
    pub refused: u64,
}

/// What a journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Segments that hold records.
    pub segments: u64,
    /// Segments that are prepared for what comes next.
    pub spares: u64,
    /// The bytes of all files.
    pub file_bytes: u64,
    /// Those of files that nothing needs any more and that are still there.
    pub retired_bytes: u64,
    /// What is kept free for what makes room.
    pub reserve_bytes: u64,
    /// Whether no room was found for another segment.
    pub is_full: bool,
}

impl<R: Runtime> Journal<R> {
    /// What it has done in this life.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What it holds. A walk over its segments.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        Holdings {
            segments: self.segments().count() as u64,
            spares: self.spares.len() as u64,
            file_bytes: self.file_bytes(),
            retired_bytes: self.retired_bytes(),
            reserve_bytes: self.options.reserve_bytes,
            is_full: self.full.is_some(),
        }
    }
}
