//! Bytes that nobody wrote, for the journal's readers.
//!
//! The material is what real stores left on simulated disks: files with records, deletions, seals,
//! footers, manifests of several edits. An input is a piece of it, damaged; or forged, which
//! gets past every checksum with a lie (`forge`).
//!
//! A reader must answer, and what it answers must be paid for by the input: it never holds more
//! pieces than the bytes can have.
//!
//! Not here: whole directories (`recovery`).

use std::sync::OnceLock;

use trilith_engine::{
    codec,
    journal::{
        edits::{Change, ManifestState},
        footer::{FooterHeader, SegmentHints},
        format::{
            FRAME_ALIGN, Record, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, decode_directory,
            records,
        },
        identity::{CurrentFile, NodeFile},
        seed_log,
        verdict::{Front, Scanned, decide},
        walk::{Start, walk},
    },
    runtime::Rng as _,
    types::Lsn,
};

use super::{
    Fed, damage,
    forge::{forge, forge_footer, lie},
    noise,
    recovery::images,
};
use crate::luck::{Domain, Luck};

/// A file of the material, without the zeros behind what is used of it.
struct Material {
    bytes: Vec<u8>,
    header: Option<SegmentHeader>,
}

fn material() -> &'static [Material] {
    static MATERIAL: OnceLock<Vec<Material>> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let disks = images().iter().map(|image| &image.disk);
        let files = disks.flat_map(|disk| {
            disk.file_names().into_iter().filter_map(|name| disk.peek(&name)).collect::<Vec<_>>()
        });
        let used = files.map(|mut bytes| {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end.next_multiple_of(FRAME_ALIGN));
            let header = SegmentHeader::decode(&bytes).ok();
            Material { bytes, header }
        });
        used.filter(|file| !file.bytes.is_empty()).collect()
    })
}

fn luck(seed: u64) -> Luck {
    Luck::new(seed, Domain::Named("fuzz"))
}

/// A file with a header; most of them have frames.
fn segment(luck: &mut Luck) -> (Vec<u8>, SegmentHeader) {
    let segments: Vec<_> = material().iter().filter(|file| file.header.is_some()).collect();
    let file = *luck.pick(&segments);
    let header = file.header.expect("it was filtered by having one");
    (file.bytes.clone(), header)
}

/// Damages bytes where something is: the page behind a segment's header is mostly empty.
pub(super) fn hurt(bytes: &mut Vec<u8>, luck: &mut Luck) {
    if bytes.len() <= SEGMENT_HEADER_BYTES || luck.chance(1, 8) {
        damage(bytes, luck);
        return;
    }
    let mut frames = bytes.split_off(SEGMENT_HEADER_BYTES);
    damage(&mut frames, luck);
    bytes.append(&mut frames);
}

/// Small files and headers.
pub(super) fn identities(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut bytes = if luck.chance(1, 8) {
        noise(200, &mut luck)
    } else {
        let bytes = &luck.pick(material()).bytes;
        bytes[..bytes.len().min(128)].to_vec()
    };
    if luck.coin() {
        damage(&mut bytes, &mut luck);
    } else {
        forge(&mut bytes, &mut luck);
    }
    if let Ok(header) = SegmentHeader::decode(&bytes)
        && SegmentHeader::decode(&header.encode()) != Ok(header)
    {
        return Err(format!("{header:?} does not read back"));
    }
    if let Ok(node) = NodeFile::decode(&bytes)
        && NodeFile::decode(&node.encode()) != Ok(node)
    {
        return Err(format!("{node:?} does not read back"));
    }
    if let Ok(current) = CurrentFile::decode(&bytes)
        && CurrentFile::decode(&current.encode()) != Ok(current)
    {
        return Err(format!("{current:?} does not read back"));
    }
    Ok(bytes.len())
}

/// Frames: walked, judged, and taken apart as recovery takes them.
pub(super) fn frames(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let (mut bytes, header) = segment(&mut luck);
    for _ in 0..luck.range(0..4) {
        forge(&mut bytes, &mut luck);
    }
    if luck.coin() {
        hurt(&mut bytes, &mut luck);
    }
    let front = match SegmentHeader::decode(&bytes) {
        Ok(header) => Front::Whole(header),
        Err(why) if luck.coin() => Front::Strange(why),
        Err(_) => Front::Old,
    };
    let first_lsn = if let Front::Whole(header) = front { Some(header.base_lsn) } else { None };
    let end = luck.chance(1, 4).then(|| luck.range(0..bytes.len() as u64 + 2));
    let start = Start { id: header.id, uuid: header.uuid, first_lsn, previous_crc: None, end };
    let walked = walk(&bytes, &start);
    if walked.pieces.len() > bytes.len() / FRAME_ALIGN + 1 {
        return Err(format!("{} pieces of {} bytes", walked.pieces.len(), bytes.len()));
    }
    let cut_short_bytes = luck.range(0..4) / 3;
    let scan = Scanned { id: header.id, front, walk: walked, blank: false, cut_short_bytes };
    let floor = Lsn(if luck.coin() { 0 } else { lie(5, &mut luck) / 2 });
    for kept in decide(&[scan], floor).kept {
        let hints = SegmentHints::of_frames(header.id, &bytes, &kept.frames);
        if hints.iter().count() as u64 != hints.len() {
            return Err("hints do not count what they yield".into());
        }
        let mut state = ManifestState::default();
        for frame in &kept.frames {
            for (_, record) in records(frame.body(&bytes)).flatten() {
                let Ok(change) = Change::decode(record.value) else { continue };
                if state.apply(&change).is_err() {
                    break;
                }
            }
        }
    }
    Ok(bytes.len())
}

/// Records and directories, from anywhere.
pub(super) fn pieces(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let bytes = if luck.chance(1, 8) {
        noise(400, &mut luck)
    } else {
        let file = &luck.pick(material()).bytes;
        // Where a frame's records begin, and where nothing does.
        let step = if luck.chance(7, 8) { FRAME_ALIGN } else { 1 };
        let at = luck.index(file.len() / step) * step;
        let mut bytes = file[at..(at + 600).min(file.len())].to_vec();
        if luck.chance(3, 4) {
            damage(&mut bytes, &mut luck);
        }
        bytes
    };
    let read = records(&bytes).take_while(Result::is_ok).count();
    if read > bytes.len() / 32 + 1 {
        return Err(format!("{read} records in {} bytes", bytes.len()));
    }
    if let Ok((record, used)) = Record::decode(&bytes) {
        let again = Record::parse(&bytes[..used]);
        if again.as_ref().map(|(again, _)| again) != Ok(&record) {
            return Err(format!("{record:?} does not read back: {again:?}"));
        }
    }
    // The checksum is made right, so that the lines themselves are read.
    let lines = decode_directory(&bytes, codec::crc(0, &bytes)).map_or(0, |lines| lines.len());
    if lines > bytes.len() / 32 { Err(format!("{lines} lines")) } else { Ok(bytes.len()) }
}

/// Footers, at the place where they were written and elsewhere.
pub(super) fn footers(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let (mut bytes, header) = segment(&mut luck);
    for _ in 0..luck.range(0..3) {
        forge_footer(&mut bytes, &header, &mut luck);
    }
    let seeded = Seed::of(header.uuid);
    let places = (SEGMENT_HEADER_BYTES..bytes.len()).step_by(512);
    let is_footer =
        |at: &usize| FooterHeader::decode(&bytes[*at..], header.id, seeded, *at as u64).is_ok();
    let found: Vec<usize> = places.filter(is_footer).collect();
    let at = if found.is_empty() { luck.index(bytes.len()) } else { *luck.pick(&found) };
    // A footer is read to its exact length, and what follows it here is padding.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(at);
    let mut footer = bytes[at..end].to_vec();
    if luck.coin() {
        damage(&mut footer, &mut luck);
    }
    let len = footer.len();
    match SegmentHints::decode(footer, header.id, seeded, at as u64) {
        Ok(hints) if hints.iter().count() as u64 != hints.len() => {
            Err("hints do not count what they yield".into())
        }
        Ok(hints) if hints.len() as usize > len / 24 => {
            Err(format!("{} hints of {len} bytes", hints.len()))
        }
        Ok(_) | Err(_) => Ok(len),
    }
}

/// Edits of the manifest, and what they lead to.
pub(super) fn edits(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut state = ManifestState::default();
    let manifests: Vec<_> = material()
        .iter()
        .filter(|file| {
            file.header
                .is_some_and(|header| header.kind == trilith_engine::journal::SegmentKind::Manifest)
        })
        .collect();
    let file = *luck.pick(&manifests);
    let Some(header) = file.header else { return Ok(0) };
    let start = Start {
        id: header.id,
        uuid: header.uuid,
        first_lsn: Some(Lsn(1)),
        previous_crc: Some(0),
        end: None,
    };
    let mut manifest = file.bytes.clone();
    for _ in 0..luck.range(0..3) {
        forge(&mut manifest, &mut luck);
    }
    let walked = walk(&manifest, &start);
    for frame in walked.frames() {
        for (_, record) in records(frame.body(&manifest)).flatten() {
            let mut bytes = record.value.to_vec();
            if luck.chance(1, 3) {
                damage(&mut bytes, &mut luck);
            }
            let Ok(change) = Change::decode(&bytes) else { continue };
            if Change::decode(&change.encode()).as_ref() != Ok(&change) {
                return Err(format!("{change:?} does not read back"));
            }
            let before = state.clone();
            if state.apply(&change).is_err() {
                // A refused edit may have changed what is thrown away anyway.
                state = before;
            }
        }
    }
    // A state that was reached is one that can be written and reached again.
    let mut again = ManifestState::default();
    for change in state.snapshot() {
        if let Err(why) = again.apply(&change) {
            return Err(format!("its own snapshot {}: {state:?}", why.0));
        }
    }
    let _highest = state.sealed_lsn();
    Ok(manifest.len())
}

/// The first format's log.
pub(super) fn first_log(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut bytes = Vec::new();
    for _ in 0..luck.range(0..5) {
        let (operation, key, value) =
            (luck.range(0..2) as u8, noise(12, &mut luck), noise(40, &mut luck));
        let mut body = vec![operation];
        body.extend((key.len() as u32).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(key);
        body.extend(value);
        let crc = codec::crc(0, &body).to_le_bytes();
        bytes.extend([b"KV01\x01\0".as_slice(), &body, &crc].concat());
    }
    if luck.chance(7, 8) {
        damage(&mut bytes, &mut luck);
    }
    let (mut entries, mut errors) = (0, 0);
    for entry in seed_log::read(&bytes) {
        match entry {
            Ok(_) => entries += 1,
            Err(_) => errors += 1,
        }
    }
    if errors > 1 || entries > bytes.len() / 19 {
        return Err(format!("{entries} entries and {errors} errors of {} bytes", bytes.len()));
    }
    Ok(bytes.len())
}
