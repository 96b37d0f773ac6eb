//! Damage that is known, and what may follow from it.
//!
//! The other judges ask whether anything was lost. This one knows which structures of the disk
//! were hit (`atlas`), so it also knows what had to survive: a failure to serve is no excuse when
//! nothing was hit that the answer needs, and a refusal must name what happened.
//!
//! - An edit of the manifest that a frame rests on never counts as one that was not made.
//! - Nothing that was acknowledged is missing in silence, is served with other bytes, or comes
//!   back after it was dropped.
//! - A directory is refused only when something was hit that cannot be had elsewhere; then what
//!   had been proven is called rot and what had not is called ambiguous, the damaged records are
//!   named, and not a byte is changed.
//! - Who accepts the loss gets everything that was not hit.
//! - What is damaged and survivable (a header, a footer) is served, and reported.
//!
//! One thing is beyond a store that stands alone: its very last frames, when they look as if they
//! had never been written, are cut like a torn write. The report must still name the cut.
//!
//! Not here: the blows (`aim.rs`), who reads the disk (`subject/damage.rs`).

use std::collections::{BTreeMap, BTreeSet};

use trilith_engine::{
    journal::{Damage, OpenError, OpenReport, SegmentKind, Verdict as Verdicted},
    types::SegmentId,
};

use super::{Judge, Verdict};
use crate::atlas::{Atlas, Frame, Hits, Part, What};

const NAME: &str = "damage";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "what is damaged is named, and nothing else is lost or refused",
    canary,
};

/// What the store had been given, by the version of each record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The value of every record that was handed over.
    pub issued: BTreeMap<u64, Vec<u8>>,
    /// Everything up to here was acknowledged as durable.
    pub durable: u64,
    /// Dropped, and the drop acknowledged.
    pub dropped: BTreeSet<u64>,
    /// Perhaps dropped.
    pub maybe_dropped: BTreeSet<u64>,
}

impl Held {
    /// What must be there.
    pub fn must(&self) -> impl Iterator<Item = u64> {
        let gone =
            |version: &u64| self.dropped.contains(version) || self.maybe_dropped.contains(version);
        self.issued.range(..=self.durable).map(|(version, _)| *version).filter(move |v| !gone(v))
    }
}

/// What reading every hinted record gave, by version; a record may stand in two places.
pub type Found = BTreeMap<u64, Vec<Result<Vec<u8>, String>>>;

/// A disk, what it held, and what hit it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What stood where.
    pub atlas: &'a Atlas,
    /// What changed.
    pub hits: &'a Hits,
    /// What was to be kept.
    pub held: &'a Held,
    /// Whether a file of another store was put there.
    pub foreign: bool,
}

impl Case<'_> {
    fn hit_parts(&self) -> impl Iterator<Item = &Part> {
        self.hits.parts.iter().map(|index| &self.atlas.parts[*index])
    }

    fn hit_frames(&self) -> impl Iterator<Item = (usize, &Frame)> {
        self.hits.frames.iter().map(|index| (*index, &self.atlas.frames[*index]))
    }

    /// The first record of an open segment that was hit and that nothing proves.
    pub(crate) fn unproven(&self, only_old: bool) -> Option<u64> {
        let proven = self.atlas.proven(self.hits);
        let old = |index: usize| {
            let mut parts = self.hits.parts.iter();
            self.beginning_looks_old(index)
                || self.hits.unreadable.contains(&index)
                || parts.all(|part| {
                    self.atlas.parts[*part].frame != Some(index)
                        || self.hits.looks_old.contains(part)
                })
        };
        let frames = self.hit_frames().filter(|(_, frame)| !frame.sealed);
        let frames = frames.filter(|(index, _)| !only_old || old(*index));
        frames.filter_map(|(_, frame)| frame.versions.iter().find(|v| **v > proven).copied()).min()
    }

    /// Whether the header of the frame's segment is zero now. It goes out with the first frame, so
    /// it looks as if neither had ever been durable.
    fn beginning_looks_old(&self, index: usize) -> bool {
        let file = &self.atlas.frames[index].file;
        self.hits
            .looks_old
            .iter()
            .map(|part| &self.atlas.parts[*part])
            .any(|part| part.what == What::Header && part.file == *file)
    }

    /// Whether the frame that begins with this record is zero now from its first byte to its last:
    /// nothing is left that could be named.
    fn is_blank_from(&self, version: u64) -> bool {
        let begins = |frame: &Frame| frame.versions.first() == Some(&version);
        let index = self.atlas.frames.iter().position(begins);
        let mut parts = self.atlas.parts.iter().enumerate();
        parts.all(|(part, of)| of.frame != index || self.hits.looks_old.contains(&part))
    }

    /// Whether the record stands in a frame that was hit.
    fn is_hit(&self, version: u64) -> bool {
        self.hit_frames().any(|(_, frame)| frame.versions.contains(&version))
    }

    fn manifest_is_hit(&self) -> bool {
        let is = |part: &Part| part.segment.is_some_and(|(kind, _)| kind == SegmentKind::Manifest);
        self.hit_parts().any(is)
    }

    fn broken(&self, symptom: &str, evidence: &str) -> Verdict {
        let mut told = format!("{evidence}\n  proven {}\n", self.atlas.proven(self.hits));
        let held = self.held;
        told.push_str(&format!("  durable {}, {} issued\n", held.durable, held.issued.len()));
        for part in self.hit_parts().take(40) {
            let frame = part.frame.map(|frame| &self.atlas.frames[frame].versions);
            told.push_str(&format!("  hit: {part}, records {frame:?}\n"));
        }
        Verdict::violated(NAME, symptom, told)
    }
}

/// Judges a store that opened. With `accepted`, losses were allowed beforehand.
#[must_use]
pub fn opened(case: &Case<'_>, report: &OpenReport, found: &Found, accepted: bool) -> Verdict {
    let told = format!("{report:?}");
    if !accepted && case.atlas.rests_on_a_hit_edit(case.hits, case.held.durable) {
        return case.broken("an edit that frames rest on counts as never made", &told);
    }
    for (version, copies) in found {
        let Some(value) = case.held.issued.get(version) else {
            return case.broken("a record is served that nobody wrote", &format!("{version}"));
        };
        if copies.iter().flatten().any(|bytes| bytes != value) {
            let version = format!("record {version}; {told}");
            return case.broken("a record is served with other bytes than were written", &version);
        }
        if case.held.dropped.contains(version) && case.hits.is_empty() {
            return case.broken("a dropped record came back", &format!("{version}"));
        }
        if copies.iter().all(Result::is_err) && !case.is_hit(*version) {
            let evidence = format!("record {version}: {copies:?}; {told}");
            return case.broken("a record that was not hit cannot be read", &evidence);
        }
    }
    let tail = case.unproven(!accepted);
    for version in case.held.must().filter(|version| !found.contains_key(version)) {
        let named = if accepted {
            !report.accepted.is_empty()
        } else {
            report.torn.is_some() || tail.is_some_and(|tail| case.is_blank_from(tail))
        };
        let in_tail = tail.is_some_and(|tail| version >= tail);
        let allowed = in_tail || (accepted && (case.is_hit(version) || case.manifest_is_hit()));
        if !allowed || !named {
            let evidence = format!("record {version}; {told}");
            return case.broken("an acknowledged record is gone in silence", &evidence);
        }
    }
    survivable_is_reported(case, report)
}

fn survivable_is_reported(case: &Case<'_>, report: &OpenReport) -> Verdict {
    if case.manifest_is_hit() {
        // Then it may not be known that there was such a segment.
        return Verdict::Holds;
    }
    for part in case.hit_parts().filter(|part| part.sealed) {
        let Some((_, id)) = part.segment else { continue };
        let named = match part.what {
            What::Header => report.headers_damaged.contains(&id),
            What::FooterHeader | What::Counts | What::Hints => {
                report.hints_rejected.iter().any(|(one, _)| *one == id)
            }
            _ => true,
        };
        if !named && !report.accepted.iter().any(|damage| damage.segment == id) {
            let symptom = "damage that cost nothing was not reported";
            return case.broken(symptom, &format!("{part}; {report:?}"));
        }
    }
    Verdict::Holds
}

/// Judges a refusal.
#[must_use]
pub fn refused(case: &Case<'_>, error: &OpenError) -> Verdict {
    let file_hit = |file: &str| {
        case.hits.files.contains(file) || case.hit_parts().any(|part| part.file == file)
    };
    let right = match error {
        // Another store's `CURRENT` names another store's manifest.
        OpenError::Unreadable { file, .. } => {
            file_hit(file) || (case.foreign && file_hit("CURRENT"))
        }
        OpenError::NoCurrent { .. } => file_hit("CURRENT"),
        OpenError::OtherNode { .. } => case.foreign,
        OpenError::Corrupt { damages } => return corrupt(case, damages, error),
        OpenError::Disk(_)
        | OpenError::Locked
        | OpenError::Foreign { .. }
        | OpenError::Newer { .. }
        | OpenError::OtherOwner { .. }
        | OpenError::Contradiction { .. } => false,
    };
    if right {
        return Verdict::Holds;
    }
    case.broken("a directory is refused for what did not happen to it", &error.to_string())
}

fn corrupt(case: &Case<'_>, damages: &[Damage], error: &OpenError) -> Verdict {
    let told = error.to_string();
    // A file that is gone, short, or another one may be called anything; so may a lost edit.
    let whole_file = !case.hits.files.is_empty() || case.foreign;
    let manifest = case.manifest_is_hit();
    let proven = case.atlas.proven(case.hits);
    for damage in damages {
        // A copy of records that lie in a damaged segment, left by a recovery that died.
        let copy = !case.atlas.state.segments.contains_key(&damage.segment)
            && case.hit_parts().any(|part| may_be_ambiguous(case, part));
        let allowed = whole_file
            || manifest
            || copy
            || match damage.verdict {
                Verdicted::Ambiguous => case.hit_parts().any(|part| may_be_ambiguous(case, part)),
                Verdicted::Rot => case.hit_frames().any(|(_, frame)| {
                    frame.sealed || frame.versions.iter().any(|version| *version <= proven)
                }),
                Verdicted::Missing | Verdicted::Torn | Verdicted::Forgotten => false,
            };
        if !allowed {
            let symptom = match damage.verdict {
                Verdicted::Ambiguous => "damage to proven records is called ambiguous",
                _ => "damage is reported where there is none",
            };
            return case.broken(symptom, &told);
        }
    }
    for version in case.held.must() {
        let open = case.hit_frames().any(|(_, frame)| {
            !frame.sealed && frame.versions.contains(&version) && version <= proven
        });
        let named = damages.iter().any(|damage| {
            damage.verdict != Verdicted::Ambiguous
                && damage.first_lsn.0 <= version
                && damage.last_lsn.is_none_or(|last| version <= last.0)
        });
        if open && !named && !manifest {
            let evidence = format!("record {version}: {told}");
            return case.broken("a damaged record is not among those that are named", &evidence);
        }
    }
    Verdict::Holds
}

/// Whether a hit there leaves open what had been written: the end of an open segment.
fn may_be_ambiguous(case: &Case<'_>, part: &Part) -> bool {
    let proven = case.atlas.proven(case.hits);
    let is_free = match part.what {
        What::Blank | What::Remains | What::Spare => true,
        // Nobody can say any more where such a segment had its place.
        What::Header => {
            let mut frames = case.atlas.frames.iter().enumerate();
            frames.all(|(index, frame)| {
                frame.file != part.file
                    || frame.versions.is_empty()
                    || case.hits.frames.contains(&index)
            })
        }
        _ => false,
    };
    let at_end = match part.frame.map(|frame| &case.atlas.frames[frame]) {
        Some(frame) => frame.versions.iter().all(|version| *version > proven),
        None => is_free,
    };
    !part.sealed && at_end
}

/// What a scrub of one segment said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// The segment.
    pub segment: SegmentId,
    /// Damaged frames.
    pub damages: usize,
    /// A damaged header or footer.
    pub edges: usize,
}

/// Judges a scrub: it must find what was hit, and nothing else.
#[must_use]
pub fn scrubbed(case: &Case<'_>, scrubs: &[Scrubbed]) -> Verdict {
    if case.manifest_is_hit() {
        // Then a segment may not be known to have a footer.
        return Verdict::Holds;
    }
    for scrub in scrubs {
        let of = |part: &&Part| part.segment.is_some_and(|(_, id)| id == scrub.segment);
        let sealed: Vec<&Part> = case.hit_parts().filter(of).filter(|part| part.sealed).collect();
        let frames = sealed.iter().filter_map(|part| part.frame);
        let frames: Vec<usize> = frames.collect();
        // A frame without records may be missed: nothing is lost with it.
        let lost = frames.iter().any(|frame| !case.atlas.frames[*frame].versions.is_empty());
        let edges = case.hit_parts().filter(of).any(|part| {
            matches!(part.what, What::Header | What::FooterHeader | What::Counts | What::Hints)
        });
        let overlooked = (lost && scrub.damages == 0) || (edges && scrub.edges == 0);
        let invented = (frames.is_empty() && scrub.damages > 0) || (!edges && scrub.edges > 0);
        if overlooked || invented {
            let symptom = if overlooked {
                "a scrub overlooked damage"
            } else {
                "a scrub found damage where there is none"
            };
            return case.broken(symptom, &format!("{scrub:?}"));
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let held = Held { issued: BTreeMap::from([(1, vec![7])]), durable: 1, ..Held::default() };
    let (atlas, hits) = (Atlas::default(), Hits::default());
    let case = Case { atlas: &atlas, hits: &hits, held: &held, foreign: false };
    opened(&case, &OpenReport::default(), &Found::new(), false)
}
