//! `trilith inspect`: reads a file of a store, or a whole directory, without opening the store.
//!
//! It takes no lock and changes nothing, so it may look at a store that runs or that does not open
//! any more. A file's kind is known by its first bytes, not by its name: a journal or data segment,
//! a manifest, `CURRENT`, `NODE`, or a log of the first format. What does not decode is shown as
//! what it is, with its offset; damage ends with exit code 3. Where the manifest of the directory
//! around it ends a segment, what lies behind that is not damage (`root.rs`).
//!
//! Not here: whether damage matters (recovery decides, with all segments in view), repair.

mod root;

use clap::Args;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};
use trilith_engine::journal::{
    edits::Change,
    files::{DATA_DIR, JOURNAL_DIR},
    footer::{FooterHeader, SegmentHints},
    format::{self, FormatError, FrameKind, Record, Seed, SegmentHeader, SegmentKind},
    identity::{self, CurrentFile, NodeFile},
    seed_log,
    walk::{Evidence, Piece, Start, Walk, walk},
};
use trilith_net::backup::format::is_of_backup;

use crate::{
    failure::{self, Failure, Outcome},
    inspect::root::Root,
    kv::{read_regular, regular, unreadable},
    out::{Cell, Out, lossy},
};

/// A file or a directory to look into.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A file of a store, a data directory, or a log of the first format.
    path: PathBuf,

    /// Every record, not only every frame.
    #[arg(long)]
    records: bool,
}

/// More than any file a store makes with its largest segments; what is larger is not read whole.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Enough of a file to know what it is.
const FRONT_BYTES: u64 = 512;

/// What a file of a backup is called.
const BACKUP: &str = "of a backup";

/// Footers begin at a multiple of this.
const FOOTER_ALIGN: usize = 512;

/// Looks.
pub fn run(inspect: &Inspect, out: Out) -> Outcome {
    if inspect.path.is_dir() { directory(&inspect.path, out) } else { file(inspect, out) }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    let len = fs::metadata(path).map_or(0, |about| about.len());
    if len > FILE_BYTES_MAX {
        let cause =
            format!("{}: {len} bytes are more than any file of a store has", path.display());
        return Err(Failure::new(&failure::FORMAT, cause, "give a file of a data directory"));
    }
    read_regular(path)
}

/// What the first bytes of a file say that it is.
enum Kind {
    Segment,
    Node,
    Current,
    SeedLog,
    Unknown,
}

fn kind(bytes: &[u8]) -> Kind {
    let Some((magic, _)) = bytes.split_first_chunk::<4>() else { return Kind::Unknown };
    match u32::from_le_bytes(*magic) {
        format::SEGMENT_MAGIC => Kind::Segment,
        identity::NODE_MAGIC => Kind::Node,
        identity::CURRENT_MAGIC => Kind::Current,
        _ if *magic == seed_log::MAGIC => Kind::SeedLog,
        _ => Kind::Unknown,
    }
}

fn refused(path: &Path, error: FormatError) -> Failure {
    let (code, next) = match error {
        FormatError::Newer { .. } => {
            (&failure::NEWER, "use the trilith that wrote it, or a later one")
        }
        FormatError::NotOurs => (&failure::FORMAT, "give a file of a data directory"),
        _ => return damaged(&Root::around(path), format!("{}: {error}", path.display())),
    };
    Failure::new(code, format!("{}: {error}", path.display()), next)
}

/// That a file is a backup's, which another command reads.
fn of_backup(path: &Path, dir: Option<&Path>) -> Failure {
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cause = format!("{}: it is of a backup, not of a store", path.display());
    Failure::new(&failure::FORMAT, cause, format!("trilith ctl backup verify {}", dir.display()))
}

fn file(inspect: &Inspect, out: Out) -> Outcome {
    let path = &inspect.path;
    let bytes = read(path)?;
    match kind(&bytes) {
        Kind::Segment => segment(inspect, &bytes, out),
        Kind::Node => {
            let node = NodeFile::decode(&bytes).map_err(|error| refused(path, error))?;
            let owner = node.owner.map_or_else(|| "a lone store".to_owned(), |it| it.to_string());
            out.facts(&[
                ("kind", "node".into()),
                ("node", node.node.to_string().into()),
                ("owner", owner.into()),
            ])
        }
        Kind::Current => {
            let current = CurrentFile::decode(&bytes).map_err(|error| refused(path, error))?;
            out.facts(&[
                ("kind", "current".into()),
                ("manifest", current.manifest.0.into()),
                ("uuid", current.uuid.to_string().into()),
                ("bytes", current.bytes.into()),
            ])
        }
        Kind::SeedLog => seed(path, &bytes, out),
        Kind::Unknown if is_of_backup(&bytes) => Err(of_backup(path, path.parent())),
        Kind::Unknown => Err(refused(path, FormatError::NotOurs)),
    }
}

/// A segment, read as far as it can be.
struct Looked {
    header: SegmentHeader,
    walk: Walk,
    /// Where the manifest ends its frames.
    end: Option<u64>,
    /// Where the footer begins, and what it says.
    footer: Option<(usize, Result<SegmentHints, FormatError>)>,
}

fn look(bytes: &[u8], root: Option<&Root>) -> Result<Looked, FormatError> {
    let header = SegmentHeader::decode(bytes)?;
    let seed = Seed::of(header.uuid);
    let places = (FOOTER_ALIGN..bytes.len()).step_by(FOOTER_ALIGN);
    let footer = places.into_iter().find_map(|at| {
        let footer = FooterHeader::decode(&bytes[at..], header.id, seed, at as u64).ok()?;
        let end = at.saturating_add(usize::try_from(footer.bytes).unwrap_or(usize::MAX));
        let body = bytes.get(at..end).unwrap_or(&bytes[at..]);
        Some((at, SegmentHints::decode(body.to_vec(), header.id, seed, at as u64)))
    });
    // Manifests have numbers of their own.
    let listed = root.filter(|_| header.kind != SegmentKind::Manifest);
    let end = listed.and_then(|root| root.end_of(header.id));
    let start = Start {
        id: header.id,
        uuid: header.uuid,
        first_lsn: None,
        previous_crc: None,
        end: end.or(footer.as_ref().map(|(at, _)| *at as u64)),
    };
    Ok(Looked { walk: walk(bytes, &start), end, header, footer })
}

impl Looked {
    /// How many places hold something other than what was written.
    fn damages(&self, bytes: &[u8]) -> usize {
        let strange = self.walk.holes().filter(|hole| hole.evidence == Evidence::Strange).count();
        let footer = matches!(self.footer, Some((_, Err(_))));
        strange + usize::from(footer) + usize::from(self.missing(bytes) > 0)
    }

    /// The bytes behind the end of its frames that are neither zero nor the footer.
    fn left(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let from = usize::try_from(self.end?).ok()?;
        let to = self.footer.as_ref().map_or(bytes.len(), |(at, _)| *at);
        bytes.get(from..to).filter(|left| !format::is_zero(left)).map(|left| (from, left.len()))
    }

    /// How many bytes of its frames the file does not hold.
    fn missing(&self, bytes: &[u8]) -> u64 {
        self.end.unwrap_or(0).saturating_sub(bytes.len() as u64)
    }

    fn records(&self) -> u64 {
        self.walk.frames().map(|frame| u64::from(frame.header.records)).sum()
    }
}

fn segment(inspect: &Inspect, bytes: &[u8], out: Out) -> Outcome {
    let path = &inspect.path;
    let root = Root::around(path);
    let looked = look(bytes, Some(&root)).map_err(|error| refused(path, error))?;
    if !out.is_json() {
        out.facts(&[
            ("kind", looked.header.kind.to_string().into()),
            ("segment", looked.header.id.0.into()),
            ("uuid", looked.header.uuid.to_string().into()),
            ("node", looked.header.node.to_string().into()),
            ("base_lsn", looked.header.base_lsn.0.into()),
            ("bytes", bytes.len().into()),
            ("frames", looked.walk.frames().count().into()),
            ("records", looked.records().into()),
            ("proven_lsn", looked.walk.proven.0.into()),
        ])?;
        out.say("")?;
    }
    if looked.header.kind == SegmentKind::Manifest {
        out.table(&["offset", "lsn", "change"], &changes(&looked, bytes))?;
    } else if inspect.records {
        out.table(
            &["offset", "lsn", "group", "version", "kind", "key", "value_bytes", "state"],
            &records(&looked, bytes),
        )?;
    } else {
        out.table(
            &["offset", "bytes", "what", "first_lsn", "records", "durable_lsn", "state"],
            &pieces(&looked, bytes),
        )?;
    }
    verdict(path, looked.damages(bytes), &root)
}

fn verdict(path: &Path, damages: usize, root: &Root) -> Outcome {
    if damages == 0 {
        return Ok(());
    }
    let places = if damages == 1 { "damaged place" } else { "damaged places" };
    Err(damaged(root, format!("{}: {damages} {places}, listed above", path.display())))
}

fn damaged(root: &Root, cause: String) -> Failure {
    Failure::new(&failure::DAMAGED, cause, root.next())
}

fn pieces(looked: &Looked, bytes: &[u8]) -> Vec<Vec<Cell>> {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for piece in &looked.walk.pieces {
        rows.push(match piece {
            Piece::Frame(frame) => {
                let what = match frame.header.kind {
                    FrameKind::Data => "frame",
                    FrameKind::Seal => "seal",
                    FrameKind::Scar => "scar",
                };
                vec![
                    frame.offset.into(),
                    (frame.end - frame.offset).into(),
                    what.into(),
                    frame.header.first_lsn.0.into(),
                    frame.header.records.into(),
                    frame.header.durable_lsn.0.into(),
                    "whole".into(),
                ]
            }
            Piece::Hole(hole) => {
                let state = match hole.evidence {
                    Evidence::Old => format!("never fully written: {}", hole.why),
                    Evidence::Strange => format!("damaged: {}", hole.why),
                };
                vec![
                    hole.offset.into(),
                    (hole.end - hole.offset).into(),
                    "hole".into(),
                    hole.expected_lsn.0.into(),
                    Cell::Absent,
                    Cell::Absent,
                    state.into(),
                ]
            }
        });
    }
    let piece = |at: Cell, bytes: Cell, what: &str, records: Cell, state: String| {
        vec![at, bytes, what.into(), Cell::Absent, records, Cell::Absent, state.into()]
    };
    let end = looked.end.unwrap_or_default();
    if let Some((at, bytes)) = looked.left(bytes) {
        let state = "not part of it: recovery ended the segment before it".to_owned();
        rows.push(piece(at.into(), bytes.into(), "left behind", Cell::Absent, state));
    }
    let missing = looked.missing(bytes);
    if missing > 0 {
        let state = format!("damaged: the manifest says that its frames end at {end}");
        rows.push(piece(bytes.len().into(), missing.into(), "missing", Cell::Absent, state));
    }
    if let Some((at, hints)) = &looked.footer {
        let (keys, state) = match hints {
            Ok(hints) => (Cell::Number(hints.len()), "whole".to_owned()),
            Err(why) => (Cell::Absent, format!("damaged: {why}")),
        };
        rows.push(piece((*at).into(), Cell::Absent, "footer", keys, state));
    }
    rows
}

fn records(looked: &Looked, bytes: &[u8]) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for frame in looked.walk.frames() {
        let body = frame.body(bytes);
        let mut lsn = frame.header.first_lsn;
        for record in format::records(body) {
            let offset = |at: usize| frame.offset + format::FRAME_HEADER_BYTES as u64 + at as u64;
            match record {
                Err(why) => {
                    let mut row = vec![Cell::from(frame.offset), Cell::from(lsn.0)];
                    row.resize(7, Cell::Absent);
                    row.push(format!("damaged: {why}").into());
                    rows.push(row);
                }
                Ok((at, record)) => {
                    // The frame's own checksums are whole; the record's must be too.
                    let state = match body.get(at..).map(Record::decode) {
                        Some(Ok(_)) => "whole".to_owned(),
                        Some(Err(why)) => format!("damaged: {why}"),
                        None => "damaged: ends too early".to_owned(),
                    };
                    rows.push(vec![
                        offset(at).into(),
                        lsn.0.into(),
                        record.group.0.into(),
                        record.version.0.into(),
                        format!("{:?}", record.kind).to_lowercase().into(),
                        lossy(record.key).into(),
                        record.value.len().into(),
                        state.into(),
                    ]);
                }
            }
            lsn = lsn.next();
        }
    }
    rows
}

fn changes(looked: &Looked, bytes: &[u8]) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for frame in looked.walk.frames() {
        let mut lsn = frame.header.first_lsn;
        for record in format::records(frame.body(bytes)) {
            let change = record.and_then(|(_, record)| Change::decode(record.value));
            let text = match change {
                Ok(change) => say(&change),
                Err(why) => format!("damaged: {why}"),
            };
            rows.push(vec![frame.offset.into(), lsn.0.into(), text.into()]);
            lsn = lsn.next();
        }
    }
    rows
}

fn say(change: &Change) -> String {
    match change {
        Change::Prepare { id, bytes, .. } => format!("prepare journal segment {id}, {bytes} bytes"),
        Change::Seal { id, bytes, .. } => format!("seal segment {id}, {bytes} bytes"),
        Change::AddData { id, bytes, .. } => format!("add data segment {id}, {bytes} bytes"),
        Change::Drop { id } => format!("drop segment {id}"),
        Change::AddGroup { group } => format!("add group {group}"),
        Change::DropGroup { group } => format!("drop group {group}"),
        Change::Peer { node, peer } => format!("node {node} is in directory {}", peer.directory),
        Change::GiveUp { group, at } => {
            format!("given up: group {group} differs from what most have, behind entry {at}")
        }
        Change::Closed => "closed cleanly".to_owned(),
        Change::Floor { next_segment, lsn } => {
            format!("numbers used up: segments below {next_segment}, LSN {lsn}")
        }
    }
}

fn seed(path: &Path, bytes: &[u8], out: Out) -> Outcome {
    let mut rows = Vec::new();
    let mut damages = 0;
    for entry in seed_log::read(bytes) {
        match entry {
            Ok(entry) => rows.push(vec![
                entry.offset.into(),
                if entry.value.is_some() { "set" } else { "delete" }.into(),
                lossy(entry.key).into(),
                entry.value.map_or(Cell::Absent, |value| value.len().into()),
                "whole".into(),
            ]),
            Err(error) => {
                damages += 1;
                let state = format!("the rest is not read: {error}");
                rows.push(vec![
                    Cell::Absent,
                    Cell::Absent,
                    Cell::Absent,
                    Cell::Absent,
                    state.into(),
                ]);
            }
        }
    }
    out.table(&["offset", "operation", "key", "value_bytes", "state"], &rows)?;
    verdict(path, damages, &Root::around(path))
}

/// The files of a data directory, in order of name: its own and those of the two directories of
/// segments. Somebody else's directory may hold the whole machine, so nothing deeper is looked at.
fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error: io::Error| {
        let next = format!("check that you may read it: ls -ld {}", dir.display());
        Failure::new(&failure::FILE, format!("{}: {error}", dir.display()), next)
    };
    let segments = [JOURNAL_DIR, DATA_DIR].map(|name| dir.join(name));
    let segments = segments.into_iter().filter(|place| place.is_dir());
    let mut found = Vec::new();
    for place in [dir.to_owned()].into_iter().chain(segments) {
        for entry in fs::read_dir(place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_type().map_err(failed)?.is_dir() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What a file of a directory is.
struct Line {
    what: String,
    bytes: Cell,
    records: Cell,
    state: Cell,
    damages: usize,
}

impl Line {
    fn of(what: &str, bytes: u64) -> Self {
        let what = what.to_owned();
        Self { what, bytes: bytes.into(), records: Cell::Absent, state: Cell::Absent, damages: 0 }
    }

    fn judged<T>(what: &str, bytes: u64, decoded: Result<T, FormatError>) -> Self {
        let damages = usize::from(decoded.is_err());
        let state = decoded.map_or_else(|why| format!("damaged: {why}"), |_| "whole".to_owned());
        Self { state: state.into(), damages, ..Self::of(what, bytes) }
    }

    fn failed(what: &str, failure: Failure) -> Self {
        Self { bytes: Cell::Absent, state: failure.cause.into(), damages: 1, ..Self::of(what, 0) }
    }

    fn segment(looked: &Looked, bytes: &[u8]) -> Self {
        let damages = looked.damages(bytes);
        let state = if damages == 0 { "whole" } else { "damaged" }.into();
        let what = looked.header.kind.to_string();
        Self {
            records: looked.records().into(),
            state,
            damages,
            ..Self::of(&what, bytes.len() as u64)
        }
    }

    fn is_ours(&self) -> bool {
        !matches!(self.what.as_str(), "unknown" | "empty" | "unreadable" | BACKUP)
    }
}

/// What a file is by its name, where that says that it holds more than zeros.
fn named(path: &Path) -> Option<&'static str> {
    match path.file_name()?.to_str()? {
        identity::NODE => Some("node"),
        identity::CURRENT => Some("current"),
        name if name.starts_with("MANIFEST-") => Some("manifest"),
        _ => None,
    }
}

/// Looks at one file of a directory. Only a segment is read whole.
fn line(path: &Path, root: &Root) -> Line {
    let (front, len) = match front(path) {
        Ok(read) => read,
        Err(failure) => return Line::failed("unreadable", failure),
    };
    match (kind(&front), named(path)) {
        (Kind::Node, _) => Line::judged("node", len, NodeFile::decode(&front)),
        (Kind::Current, _) => Line::judged("current", len, CurrentFile::decode(&front)),
        (Kind::SeedLog, _) => Line::of("first format", len),
        (Kind::Unknown, _) if is_of_backup(&front) => Line::of(BACKUP, len),
        (Kind::Unknown, Some(name)) => Line::judged::<()>(name, len, Err(FormatError::NotOurs)),
        (Kind::Unknown, None) if format::is_zero(&front) => Line::of("empty", len),
        (Kind::Unknown, None) => Line::of("unknown", len),
        (Kind::Segment, _) => match read(path) {
            Err(failure) => Line::failed("segment", failure),
            Ok(bytes) => look(&bytes, Some(root)).map_or_else(
                |error| Line::failed("segment", refused(path, error)),
                |looked| Line::segment(&looked, &bytes),
            ),
        },
    }
}

/// A file's first bytes and its length.
fn front(path: &Path) -> Outcome<(Vec<u8>, u64)> {
    let len = regular(path)?;
    let mut front = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FRONT_BYTES).read_to_end(&mut front));
    read.map_err(|error| unreadable(path, &error))?;
    Ok((front, len))
}

fn directory(dir: &Path, out: Out) -> Outcome {
    let (mut rows, mut damages, mut is_ours, mut backup) = (Vec::new(), 0, false, None);
    let root = Root::around(&dir.join(identity::NODE));
    for path in files(dir)? {
        let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        let line = line(&path, &root);
        is_ours |= line.is_ours();
        if line.what == BACKUP {
            backup.get_or_insert(path);
        }
        damages += line.damages;
        let Line { what, bytes, records, state, .. } = line;
        rows.push(vec![name.into(), what.into(), bytes, records, state]);
    }
    if let Some(path) = backup.filter(|_| !is_ours) {
        return Err(of_backup(dir, path.parent()));
    }
    if !is_ours {
        let cause = format!("{}: it holds no file of a store", dir.display());
        let next = format!("name another directory; see ls -la {}", dir.display());
        return Err(Failure::new(&failure::FOREIGN, cause, next));
    }
    out.table(&["file", "kind", "bytes", "records", "state"], &rows)?;
    verdict(dir, damages, &root)
}
