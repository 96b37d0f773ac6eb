//! The data directory around a file: whose it is, and where its manifest ends each segment.
//!
//! A node that was killed leaves writes that never completed, or whose durability nobody can prove.
//! Recovery ends such a segment before them, writes what it keeps of them elsewhere, and notes the
//! end in the manifest; the bytes stay. By themselves they look like damage. So a file is looked at
//! with the directory that it lies in, where it lies in one.
//!
//! Not here: what a segment holds, and how it is shown (`inspect.rs`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use trilith_engine::{
    journal::{
        edits::Change,
        files::{DATA_DIR, JOURNAL_DIR, segment_name},
        format::{self, SegmentKind},
        identity::{CURRENT, CurrentFile, NODE, NodeFile},
    },
    types::SegmentId,
};

use crate::kv::read_regular;

/// What is known of a data directory without opening it.
#[derive(Default)]
pub struct Root {
    dir: Option<PathBuf>,
    /// Whose it is, when that is readable.
    node: Option<NodeFile>,
    ends: BTreeMap<SegmentId, u64>,
}

impl Root {
    /// The directory that this file of a store lies in.
    pub fn around(file: &Path) -> Self {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let Some(place) = path.parent() else { return Self::default() };
        let is_of_segments =
            place.file_name().is_some_and(|name| name == JOURNAL_DIR || name == DATA_DIR);
        let dir = if is_of_segments { place.parent() } else { Some(place) };
        dir.filter(|dir| [CURRENT, NODE].iter().any(|name| dir.join(name).is_file()))
            .map_or_else(Self::default, Self::of)
    }

    /// This directory.
    fn of(dir: &Path) -> Self {
        let node = read_regular(&dir.join(NODE)).ok();
        let node = node.and_then(|bytes| NodeFile::decode(&bytes).ok());
        Self { dir: Some(dir.to_path_buf()), node, ends: ends(dir).unwrap_or_default() }
    }

    /// Where the frames of a segment end, when the manifest says so.
    pub fn end_of(&self, segment: SegmentId) -> Option<u64> {
        self.ends.get(&segment).copied()
    }

    /// Who can say what damage in it means.
    pub fn next(&self) -> String {
        let dir = self.dir.as_deref().unwrap_or(Path::new("DIR")).display();
        match self.node.as_ref().map(|node| node.owner.is_some()) {
            Some(true) => format!(
                "start its node again: it fetches from the others what is damaged, or says what is \
                 lost; see it with: trilith ctl health ({dir} is a member's directory)"
            ),
            Some(false) | None => {
                format!("see what recovery makes of it: trilith kv {dir} verify")
            }
        }
    }
}

/// What the manifest says that is in force. One that is damaged says nothing: its own line tells.
fn ends(dir: &Path) -> Option<BTreeMap<SegmentId, u64>> {
    let current = CurrentFile::decode(&read_regular(&dir.join(CURRENT)).ok()?).ok()?;
    let name = segment_name(SegmentKind::Manifest, current.manifest);
    let bytes = super::read(&dir.join(name)).ok()?;
    let looked = super::look(&bytes, None).ok()?;
    let mut ends = BTreeMap::new();
    for frame in looked.walk.frames() {
        for record in format::records(frame.body(&bytes)) {
            match Change::decode(record.ok()?.1.value).ok()? {
                Change::Seal { id, sealed, .. } | Change::AddData { id, sealed, .. } => {
                    ends.insert(id, sealed.frames_end);
                }
                Change::Drop { id } => {
                    ends.remove(&id);
                }
                _ => {}
            }
        }
    }
    Some(ends)
}
