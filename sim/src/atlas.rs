//! What stands where on a journal's disk: the map that damage is aimed with and judged by.
//!
//! Random rot hits zeros and values. The bytes that everything rests on (a header, a frame's
//! first sector, a footer, the last frame before the next segment) are so few that chance does
//! not find them. So the disk is parsed, whole, and every structure becomes a [`Part`] with its
//! place, its records and what it proves. Then a blow can be aimed at one part, and the parts
//! whose bytes changed say exactly what recovery may still lose:
//!
//! | what was hit | what it may cost |
//! | --- | --- |
//! | a footer, a segment's header, zeros of a sealed segment | nothing: all of it is known elsewhere |
//! | a frame of a sealed segment, one of an unsealed segment that is proven | its records, named |
//! | a frame that nothing proves | it and what follows it, named; if it looks never written, unnamed |
//! | zeros behind the last frame | nothing, but somebody must say so (`accept_tail_loss`) |
//! | `NODE`, `CURRENT`, the manifest | the store: it is refused, and the file is named |
//!
//! Invariant: an atlas is of a disk that was not damaged; it reads with the engine's own decoders,
//! so a planted bug of the writer is seen through, not tripped over.
//!
//! Not here: blows (`aim.rs`), what must follow from them (`check/damage.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use trilith_engine::{
    journal::{
        SegmentKind,
        edits::{Change, Listed, ManifestState},
        files::segment_name,
        footer::{FOOTER_GROUP_BYTES, FOOTER_HEADER_BYTES},
        format::{
            EditId, FRAME_HEADER_BYTES, RECORD_ALIGN, SEGMENT_HEADER_BYTES, SegmentHeader, is_zero,
            records,
        },
        identity::CurrentFile,
        walk::{FrameAt, Piece, Start, walk},
    },
    types::{Lsn, SegmentId},
};

use crate::platter::{Platter, SECTOR_BYTES};

/// How much of a segment's header carries something.
const HEADER_BYTES: u64 = 128;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// `NODE` or `CURRENT`.
    Identity,
    /// The front of a segment.
    Header,
    /// The front of a frame.
    FrameHeader,
    /// One record.
    Record,
    /// A frame's directory.
    Directory,
    /// A frame's sector map.
    Map,
    /// The front of a footer.
    FooterHeader,
    /// A footer's counts.
    Counts,
    /// A footer's entries.
    Hints,
    /// What a torn write left behind the last whole frame.
    Remains,
    /// Zeros that nothing was written to.
    Blank,
    /// Zeros between a segment's header and its first frame, which nobody reads.
    Spare,
}

/// One structure on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What it is.
    pub what: What,
    /// What it is part of; none for the identity files.
    pub segment: Option<(SegmentKind, SegmentId)>,
    /// Whether the manifest says that nothing is added to that any more.
    pub sealed: bool,
    /// The frame it belongs to.
    pub frame: Option<usize>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, what, .. } = self;
        let state = if self.sealed { "sealed" } else { "open" };
        write!(f, "{what:?} in {file} ({state}) at {offset}, {bytes} bytes")
    }
}

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its segment.
    pub segment: SegmentId,
    /// The segment's file.
    pub file: String,
    /// Where it lies.
    pub at: FrameAt,
    /// Whether its segment is sealed.
    pub sealed: bool,
    /// The versions of its records; none when it stands behind a torn frame and so for nothing.
    pub versions: Vec<u64>,
    /// The highest LSN that it says was durable; counts while the segment is not sealed.
    pub proves: u64,
}

/// The map of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atlas {
    /// Every structure.
    pub parts: Vec<Part>,
    /// The frames of journal and data segments.
    pub frames: Vec<Frame>,
    /// The segments that the manifest lists.
    pub state: ManifestState,
    /// The manifest's edits, by the parts they are made of.
    edits: BTreeMap<usize, EditId>,
    /// What the headers of open segments and of their torn frames prove, by the part they are.
    header_proves: BTreeMap<usize, u64>,
}

/// What differs between a disk and its atlas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The parts whose bytes changed.
    pub parts: BTreeSet<usize>,
    /// The frames that have such a part.
    pub frames: BTreeSet<usize>,
    /// Files that are gone or shorter.
    pub files: BTreeSet<String>,
    /// Parts of which every changed sector is zero now, as if it had never been written.
    pub looks_old: BTreeSet<usize>,
    /// Frames whose header is zero now, or whose map is with everything of theirs in its sectors:
    /// that looks never written, and without it nothing can be said of the other sectors.
    pub unreadable: BTreeSet<usize>,
}

impl Hits {
    /// Whether nothing was hit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.files.is_empty()
    }
}

impl Atlas {
    /// Draws the map of a disk that holds a journal; none when it does not.
    #[must_use]
    pub fn of(disk: &Platter) -> Option<Self> {
        let mut atlas = Self::default();
        for name in ["NODE", "CURRENT"] {
            let bytes = disk.peek(name)?.len() as u64;
            atlas.part(name, (0, bytes), What::Identity, None, false, None);
        }
        let current = CurrentFile::decode(&disk.peek("CURRENT")?).ok()?;
        let name = segment_name(SegmentKind::Manifest, current.manifest);
        atlas.manifest(&name, &current, &disk.peek(&name)?)?;
        let listed: Vec<Listed> = atlas.state.segments.values().cloned().collect();
        for listed in listed {
            let name = segment_name(listed.kind, listed.id);
            if let Some(bytes) = disk.peek(&name) {
                atlas.segment(&name, &listed, &bytes);
            }
        }
        Some(atlas)
    }

    fn part(
        &mut self,
        file: &str,
        (start, end): (u64, u64),
        what: What,
        segment: Option<(SegmentKind, SegmentId)>,
        sealed: bool,
        frame: Option<usize>,
    ) {
        if start < end {
            let (file, offset, bytes) = (file.to_owned(), start, end - start);
            self.parts.push(Part { file, offset, bytes, what, segment, sealed, frame });
        }
    }

    fn manifest(&mut self, name: &str, current: &CurrentFile, bytes: &[u8]) -> Option<()> {
        let start = Start {
            id: current.manifest,
            uuid: current.uuid,
            first_lsn: Some(Lsn(1)),
            previous_crc: Some(0),
            end: None,
        };
        let segment = Some((SegmentKind::Manifest, current.manifest));
        self.part(name, (0, HEADER_BYTES), What::Header, segment, false, None);
        let mut end = SEGMENT_HEADER_BYTES as u64;
        self.part(name, (HEADER_BYTES, end), What::Spare, segment, false, None);
        for piece in walk(bytes, &start).pieces {
            // Behind a torn edit there is nothing.
            let Piece::Frame(frame) = piece else { break };
            for (_, record) in records(frame.body(bytes)).flatten() {
                self.state.apply(&Change::decode(record.value).ok()?).ok()?;
            }
            let (first, lsn) = (self.parts.len(), Lsn(frame.header.next_lsn().0 - 1));
            self.frame_parts(name, &frame, bytes, segment, false, None);
            let edit = EditId { manifest: current.manifest, lsn };
            self.edits.extend((first..self.parts.len()).map(|part| (part, edit)));
            end = frame.end;
        }
        self.rest(name, end, bytes, segment, false);
        Some(())
    }

    fn segment(&mut self, name: &str, listed: &Listed, bytes: &[u8]) {
        let segment = Some((listed.kind, listed.id));
        let sealed = listed.sealed.as_ref();
        let start = Start {
            id: listed.id,
            uuid: listed.uuid,
            first_lsn: None,
            previous_crc: None,
            end: sealed.map(|sealed| sealed.frames_end),
        };
        let walk = walk(bytes, &start);
        let is_sealed = sealed.is_some();
        let front = SEGMENT_HEADER_BYTES as u64;
        let header = SegmentHeader::decode(bytes).ok();
        if let Some(header) = header.filter(|_| !is_sealed) {
            self.header_proves.insert(self.parts.len(), header.base_lsn.0.saturating_sub(1));
        }
        let is_begun = header.is_some() && walk.frames().next().is_some();
        // Without a frame, or without a header, nothing says that the other was ever durable.
        let what = if is_begun || is_sealed { What::Header } else { What::Remains };
        self.part(name, (0, HEADER_BYTES), what, segment, is_sealed, None);
        self.part(name, (HEADER_BYTES, front), What::Spare, segment, is_sealed, None);
        let (mut whole, mut end) = (true, front);
        for piece in &walk.pieces {
            match piece {
                Piece::Frame(frame) => {
                    let index = self.frames.len();
                    let all = records(frame.body(bytes)).flatten();
                    let versions = all.map(|(_, record)| record.version.0).collect();
                    self.frames.push(Frame {
                        segment: listed.id,
                        file: name.to_owned(),
                        at: *frame,
                        sealed: is_sealed,
                        versions: if whole { versions } else { Vec::new() },
                        proves: if is_sealed { 0 } else { frame.header.durable_lsn.0 },
                    });
                    self.frame_parts(name, frame, bytes, segment, is_sealed, Some(index));
                    end = frame.end;
                }
                Piece::Hole(hole) => {
                    whole = is_sealed;
                    let mut start = hole.offset;
                    if let Some(header) = hole.header.filter(|_| !is_sealed) {
                        // A torn frame's header still says what was durable before it.
                        self.header_proves.insert(self.parts.len(), header.durable_lsn.0);
                        start += FRAME_HEADER_BYTES as u64;
                        let front = (hole.offset, start);
                        self.part(name, front, What::Remains, segment, false, None);
                    }
                    self.part(name, (start, hole.end), What::Remains, segment, is_sealed, None);
                    end = hole.end;
                }
            }
        }
        if let Some(footer) = sealed.and_then(|sealed| sealed.footer) {
            self.part(name, (end, footer.offset), What::Blank, segment, true, None);
            let counts = footer.offset + FOOTER_HEADER_BYTES as u64;
            // One group writes these segments, so there is one line of counts.
            let hints = counts + FOOTER_GROUP_BYTES as u64;
            end = footer.offset + footer.bytes;
            self.part(name, (footer.offset, counts), What::FooterHeader, segment, true, None);
            self.part(name, (counts, hints), What::Counts, segment, true, None);
            self.part(name, (hints, end), What::Hints, segment, true, None);
        }
        self.rest(name, end, bytes, segment, is_sealed);
    }

    fn frame_parts(
        &mut self,
        name: &str,
        frame: &FrameAt,
        bytes: &[u8],
        segment: Option<(SegmentKind, SegmentId)>,
        sealed: bool,
        index: Option<usize>,
    ) {
        let layout = frame.header.layout(frame.offset);
        let at = |position: usize| frame.offset + position as u64;
        let mut add = |from: usize, to: usize, what| {
            self.part(name, (at(from), at(to)), what, segment, sealed, index);
        };
        add(0, FRAME_HEADER_BYTES, What::FrameHeader);
        for (position, record) in records(frame.body(bytes)).flatten() {
            let start = FRAME_HEADER_BYTES + position;
            let padded = record.encoded_bytes().next_multiple_of(RECORD_ALIGN);
            add(start, start + padded, What::Record);
        }
        add(layout.directory_at, layout.map_at, What::Directory);
        add(layout.map_at, layout.map_end, What::Map);
    }

    fn rest(
        &mut self,
        name: &str,
        from: u64,
        bytes: &[u8],
        segment: Option<(SegmentKind, SegmentId)>,
        sealed: bool,
    ) {
        let rest = bytes.get(from as usize..).unwrap_or_default();
        let what = if is_zero(rest) { What::Blank } else { What::Remains };
        self.part(name, (from, bytes.len() as u64), what, segment, sealed, None);
    }

    /// What another state of the same disk no longer has.
    #[must_use]
    pub fn hits(&self, before: &Platter, after: &Platter) -> Hits {
        let mut hits = Hits::default();
        let mut files: BTreeMap<&str, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
        for part in &self.parts {
            files.entry(&part.file).or_insert_with(|| {
                let read = |disk: &Platter| disk.peek(&part.file).unwrap_or_default();
                (read(before), read(after))
            });
        }
        for (name, (before, after)) in &files {
            if after.len() < before.len() {
                hits.files.insert((*name).to_owned());
            }
        }
        for (index, part) in self.parts.iter().enumerate() {
            let (before, after) = &files[part.file.as_str()];
            let span = part.offset as usize..(part.offset + part.bytes) as usize;
            let (old, new) = (before.get(span.clone()), after.get(span));
            if old == new {
                continue;
            }
            hits.parts.insert(index);
            hits.frames.extend(part.frame);
            if let (What::Map, Some(frame)) = (part.what, part.frame) {
                let begin = part.offset - part.offset % SECTOR_BYTES;
                let begin = begin.max(self.frames[frame].at.offset) as usize;
                let end = (part.offset + part.bytes) as usize;
                if after.get(begin..end).is_some_and(is_zero) {
                    hits.unreadable.insert(frame);
                }
            }
            if let (Some(old), Some(new)) = (old, new)
                && changed_sectors(part.offset, old, new).all(is_zero)
            {
                hits.looks_old.insert(index);
                if let (What::FrameHeader, Some(frame)) = (part.what, part.frame) {
                    hits.unreadable.insert(frame);
                }
            }
        }
        hits
    }

    /// The highest LSN that whatever was not hit says was durable. Of a frame only its header counts
    /// for that: it verifies by itself, whatever became of the records behind it.
    #[must_use]
    pub fn proven(&self, hits: &Hits) -> u64 {
        let is_header = |part: &&Part| part.what == What::FrameHeader;
        let hit = hits.parts.iter().map(|part| &self.parts[*part]).filter(is_header);
        let hit: BTreeSet<usize> = hit.filter_map(|part| part.frame).collect();
        let frames = self.frames.iter().enumerate();
        let frames = frames.filter(|(index, _)| !hit.contains(index));
        let headers = self.header_proves.iter().filter(|(part, _)| !hits.parts.contains(part));
        let headers = headers.map(|(_, proves)| *proves);
        let most = frames.map(|(_, frame)| frame.proves).chain(headers).max();
        most.unwrap_or(0).max(self.state.sealed_lsn().0)
    }

    /// The parts of the manifest's last edit.
    pub fn last_edit(&self) -> impl Iterator<Item = &Part> {
        let last = self.edits.values().max();
        let of_it = self.edits.iter().filter(move |(_, edit)| Some(*edit) == last);
        of_it.map(|(part, _)| &self.parts[*part])
    }

    /// Whether an edit was hit that a frame rests on which was not, and whose records were durable
    /// up to there.
    #[must_use]
    pub fn rests_on_a_hit_edit(&self, hits: &Hits, durable: u64) -> bool {
        let frames = self.frames.iter().enumerate().filter(|(index, frame)| {
            let was_durable = frame.versions.last().is_some_and(|last| *last <= durable);
            was_durable && !frame.sealed && !hits.frames.contains(index)
        });
        let named = frames.map(|(_, frame)| frame.at.header.edit).max();
        let hit = hits.parts.iter().filter_map(|part| self.edits.get(part)).min();
        named.is_some_and(|named| hit.is_some_and(|hit| *hit <= named))
    }
}

/// The part's share of every sector that changed, as it is now.
fn changed_sectors<'a>(
    offset: u64,
    old: &'a [u8],
    new: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let first = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < new.len()).then(|| {
            let end = if at == 0 { first } else { at + SECTOR_BYTES as usize }.min(new.len());
            let span = at..end;
            at = end;
            span
        })
    })
    .filter(|span| old[span.clone()] != new[span.clone()])
    .map(|span| &new[span])
}
