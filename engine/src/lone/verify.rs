//! Looking whether everything is still there: each sealed segment from end to end, and each key.
//!
//! Reading the keys alone would not do. A deletion, or a value that a newer one has replaced, is
//! nobody's to read, and yet its damage may bring something back at the next opening; and a walk
//! that ends at the first bad place says nothing of the others. So the segments are scrubbed first,
//! every one to its end, and then every key is read, which tells what the damage means.
//!
//! It holds what it looks at and needs no store: commits go on meanwhile.
//!
//! Invariant: findings are counted all and worded up to a bound.
//!
//! Not here: repairing (a lone store has nobody to ask).

use alloc::{format, string::String, vec::Vec};
use core::ops::Bound;

use super::Store;
use crate::{
    journal::HintSource, limits::FINDINGS_MAX, runtime::Runtime, types::SegmentId, value::IndexView,
};

/// What is to be looked at; made by [`Store::verification`].
#[derive(Debug)]
pub struct Verification<R: Runtime> {
    view: IndexView<R>,
    segments: Vec<HintSource<R>>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Keys looked at.
    pub keys: u64,
    /// Bytes of keys and values that are right.
    pub bytes: u64,
    /// Sealed segments that were read from end to end.
    pub segments: u64,
    /// Bytes of those segments.
    pub segment_bytes: u64,
    /// How many findings there are.
    pub damaged: u64,
    /// What is damaged, the first findings of many.
    pub damages: Vec<String>,
}

impl VerifyReport {
    fn add(&mut self, finding: String) {
        self.damaged += 1;
        if self.damages.len() < FINDINGS_MAX {
            self.damages.push(finding);
        }
    }
}

/// A key for people: damage is told to them, not to programs.
fn shown(key: &[u8]) -> String {
    match core::str::from_utf8(key) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("{key:02x?}"),
    }
}

impl<R: Runtime> Store<R> {
    /// What there is to verify now.
    #[must_use]
    pub fn verification(&self) -> Verification<R> {
        let ids: Vec<SegmentId> = self.journal.segments().map(|info| info.id).collect();
        let segments = ids.into_iter().filter_map(|id| self.journal.hint_source(id)).collect();
        Verification { view: self.view(), segments }
    }
}

impl<R: Runtime> Verification<R> {
    /// How many steps there are: segments, and then keys.
    #[must_use]
    pub fn steps(&self) -> u64 {
        (self.segments.len() + self.view.len()) as u64
    }

    /// Reads everything; `step` is called after each segment and each key.
    pub async fn run(self, mut step: impl FnMut()) -> VerifyReport {
        let mut report = VerifyReport::default();
        for segment in &self.segments {
            let scrubbed = segment.scrub().await;
            report.segments += 1;
            report.segment_bytes += scrubbed.bytes;
            scrubbed.findings().for_each(|finding| report.add(finding));
            step();
        }
        let mut cursor = self.view.tree().range(Bound::Unbounded, Bound::Unbounded);
        while let Some((key, _)) = cursor.next() {
            report.keys += 1;
            step();
            // Time zero: an expired value that is still there must be whole as well.
            let Some(pinned) = self.view.pin(key, || 0) else { continue };
            match pinned.read(key).await {
                Ok(found) => report.bytes += (key.len() + found.value.len()) as u64,
                Err(error) => report.add(format!("key {}: {error}", shown(key))),
            }
        }
        report
    }
}
