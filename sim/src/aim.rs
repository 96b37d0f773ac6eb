//! Blows: damage to one chosen structure of a disk at rest.
//!
//! A blow first draws a *class* of structures (open segments' last frames, sealed segments'
//! footers, the manifest's zeros, …) and then one of them, so that the few bytes which everything
//! rests on are hit as often as the many which nothing does. Then it does what devices and people
//! do to bytes:
//!
//! | blow | what it stands for |
//! | --- | --- |
//! | flip | bits rot |
//! | zero, noise | a sector is trimmed, or written by somebody else |
//! | misdirect | whole sectors of ours arrive at another place, of this file or another |
//! | stale | whole sectors are again what they were some time ago |
//! | reborn | a file holds what a recycled one held in its former life |
//! | timeline | a frame comes from another continuation of the same store, as after a restored backup |
//! | foreign | a file comes from another store |
//! | exchange | two records of equal length have changed places |
//! | lose, cut | a file is gone, or shorter |
//!
//! Invariant: a blow changes bytes at rest and nothing else; what it hit is not what it says but
//! what `Atlas::hits` finds changed.
//!
//! Not here: the map (`atlas.rs`), what must follow (`check/damage.rs`).

use std::collections::BTreeMap;

use trilith_engine::runtime::Rng as _;

use crate::{
    atlas::{Atlas, Frame, Part, What},
    luck::Luck,
    platter::{Platter, SECTOR_BYTES},
};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the essay's table says it")]
pub enum Blow {
    Flip,
    Zero,
    Noise,
    Misdirect,
    Stale,
    Reborn,
    Timeline,
    Foreign,
    Exchange,
    Lose,
    Cut,
}

impl Blow {
    /// All of them, those to single structures more than once: they find most.
    const DRAWN: [Self; 16] = [
        Self::Flip,
        Self::Flip,
        Self::Flip,
        Self::Zero,
        Self::Zero,
        Self::Zero,
        Self::Noise,
        Self::Misdirect,
        Self::Misdirect,
        Self::Stale,
        Self::Reborn,
        Self::Timeline,
        Self::Foreign,
        Self::Exchange,
        Self::Lose,
        Self::Cut,
    ];
}

/// Other disks that bytes may come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// This disk some time ago.
    pub earlier: &'a [Platter],
    /// The same store gone on from the same past in another way.
    pub timeline: Option<&'a Platter>,
    /// Another store that did the same things.
    pub foreign: Option<&'a Platter>,
}

/// Strikes once. Answers what was done and to what; none when the disk offers no target.
pub fn strike(
    luck: &mut Luck,
    disk: &mut Platter,
    atlas: &Atlas,
    sources: &Sources<'_>,
) -> Option<(Blow, String)> {
    let blow = *luck.pick(&Blow::DRAWN);
    let told = match blow {
        Blow::Flip => flip(luck, disk, atlas),
        Blow::Zero => {
            let part = draw(luck, atlas, |_| true)?;
            let at = place_in(luck, part);
            disk.zero_sector(&part.file, at).then(|| part.to_string())
        }
        Blow::Noise => {
            let part = draw(luck, atlas, |_| true)?;
            let mut noise = [0; SECTOR_BYTES as usize];
            luck.fill(&mut noise);
            let at = sector_of(place_in(luck, part));
            disk.overwrite(&part.file, at, &noise).then(|| part.to_string())
        }
        Blow::Misdirect => misdirect(luck, disk, atlas),
        Blow::Stale => stale(luck, disk, atlas, sources.earlier),
        Blow::Reborn => reborn(luck, disk, atlas, sources.earlier),
        Blow::Timeline => timeline(luck, disk, atlas, sources.timeline?),
        Blow::Foreign => foreign(luck, disk, atlas, sources.foreign?),
        Blow::Exchange => exchange(luck, disk, atlas),
        Blow::Lose => {
            let part = draw(luck, atlas, |_| true)?;
            disk.lose_file(&part.file).then(|| part.file.clone())
        }
        Blow::Cut => {
            let part = draw(luck, atlas, |_| true)?;
            let at = place_in(luck, part);
            disk.cut_file(&part.file, at).then(|| format!("{} to {at} bytes", part.file))
        }
    };
    told.map(|told| (blow, told))
}

/// The manifest's last edit, as if the device had never made what it acknowledged.
pub fn forget_last_edit(disk: &mut Platter, atlas: &Atlas) {
    for part in atlas.last_edit() {
        disk.overwrite(&part.file, part.offset, &vec![0; part.bytes as usize]);
    }
}

/// A part of a class that was drawn first: what it is, of which kind of file, open or sealed, and
/// whether it belongs to the file's last frame.
fn draw<'a>(luck: &mut Luck, atlas: &'a Atlas, fits: impl Fn(&Part) -> bool) -> Option<&'a Part> {
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, frame) in atlas.frames.iter().enumerate() {
        last.insert(&frame.file, index);
    }
    let mut classes: BTreeMap<_, Vec<&Part>> = BTreeMap::new();
    for part in atlas.parts.iter().filter(|part| fits(part)) {
        let is_last = part.frame.is_some() && part.frame == last.get(part.file.as_str()).copied();
        let kind = part.segment.map(|(kind, _)| kind);
        classes.entry((kind, part.sealed, part.what, is_last)).or_default().push(part);
    }
    // Open segments are where recovery has to think; their classes are few beside all the others.
    let is_open = |parts: &Vec<&Part>| !parts[0].sealed && parts[0].frame.is_some();
    let (mut open, mut others): (Vec<_>, Vec<_>) = classes.into_values().partition(is_open);
    if open.is_empty() || luck.chance(3, 5) {
        open.append(&mut others);
    }
    some(luck, &open).map(|class| *luck.pick(class))
}

/// One of these, if there is any.
fn some<'a, T>(luck: &mut Luck, among: &'a [T]) -> Option<&'a T> {
    (!among.is_empty()).then(|| luck.pick(among))
}

fn place_in(luck: &mut Luck, part: &Part) -> u64 {
    part.offset + luck.range(0..part.bytes)
}

const fn sector_of(offset: u64) -> u64 {
    offset - offset % SECTOR_BYTES
}

fn flip(luck: &mut Luck, disk: &mut Platter, atlas: &Atlas) -> Option<String> {
    let part = draw(luck, atlas, |part| part.what != What::Blank)?;
    // A map's last byte has two bits that are always set: it bears one flip, not two.
    let most = if part.what == What::Map { 1 } else { 3 };
    for _ in 0..luck.range(1..most + 1) {
        let (at, bit) = (place_in(luck, part), luck.range(0..8) as u8);
        disk.rot(&part.file, at, bit);
    }
    Some(part.to_string())
}

/// Whole sectors, from where some part stands to where another one does.
fn misdirect(luck: &mut Luck, disk: &mut Platter, atlas: &Atlas) -> Option<String> {
    let from = draw(luck, atlas, |part| part.frame.is_some() || part.what == What::Header)?;
    let to = draw(luck, atlas, |part| part.segment.is_some())?;
    let (start, end) = match from.frame {
        Some(frame) => (atlas.frames[frame].at.offset, atlas.frames[frame].at.end),
        None => (from.offset, from.offset + SECTOR_BYTES),
    };
    let start = sector_of(start);
    let at = sector_of(place_in(luck, to));
    let room = (disk.peek(&to.file)?.len() as u64).checked_sub(at)?;
    let bytes = disk.peek(&from.file)?;
    let len = (end - start).next_multiple_of(SECTOR_BYTES).min(room);
    let moved = bytes.get(start as usize..(start + len) as usize)?;
    disk.overwrite(&to.file, at, moved).then(|| format!("{from}, over {to} at {at}"))
}

/// Some neighbouring sectors as they were.
fn stale(
    luck: &mut Luck,
    disk: &mut Platter,
    atlas: &Atlas,
    earlier: &[Platter],
) -> Option<String> {
    let before = some(luck, earlier)?;
    let part = draw(luck, atlas, |part| part.segment.is_some())?;
    let old = before.peek(&part.file)?;
    let at = sector_of(place_in(luck, part));
    let end = (at + luck.range(1..4) * SECTOR_BYTES).min(old.len() as u64);
    let bytes = old.get(at as usize..end as usize)?;
    disk.overwrite(&part.file, at, bytes).then(|| part.to_string())
}

/// The whole content of a file that is gone, in one that is there.
fn reborn(
    luck: &mut Luck,
    disk: &mut Platter,
    atlas: &Atlas,
    earlier: &[Platter],
) -> Option<String> {
    let before = some(luck, earlier)?;
    let part = draw(luck, atlas, |part| part.segment.is_some())?;
    let is_gone =
        |name: &String| name.ends_with(".seg") && atlas.parts.iter().all(|part| part.file != *name);
    let gone: Vec<String> = before.file_names().into_iter().filter(is_gone).collect();
    let from = some(luck, &gone)?;
    put_file(disk, &part.file, &before.peek(from)?)
        .then(|| format!("{}, from {from} of before", part.file))
}

/// One frame as the other continuation of this store has it at the same place. It is whole, and
/// of the right segment, place and number; only the frame before it says that it does not belong.
fn timeline(luck: &mut Luck, disk: &mut Platter, atlas: &Atlas, other: &Platter) -> Option<String> {
    let span = |frame: &Frame| frame.at.offset as usize..frame.at.end as usize;
    let follows_another = |index: usize| {
        let frame = &atlas.frames[index];
        let before = index.checked_sub(1).map(|before| &atlas.frames[before]);
        let before = before.filter(|before| before.file == frame.file && !frame.sealed)?;
        let (ours, theirs) = (disk.peek(&frame.file)?, other.peek(&frame.file)?);
        let parted = ours.get(span(before))? != theirs.get(span(before))?;
        (parted && theirs.get(span(frame))?[0] != 0).then_some(())
    };
    let frames = (0..atlas.frames.len()).filter(|index| follows_another(*index).is_some());
    let frames: Vec<usize> = frames.collect();
    let frame = &atlas.frames[*some(luck, &frames)?];
    let bytes = other.peek(&frame.file)?;
    let theirs = bytes.get(span(frame))?;
    disk.overwrite(&frame.file, frame.at.offset, theirs)
        .then(|| format!("the frame at {} in {}", frame.at.offset, frame.file))
}

fn foreign(luck: &mut Luck, disk: &mut Platter, atlas: &Atlas, other: &Platter) -> Option<String> {
    let part = draw(luck, atlas, |_| true)?;
    put_file(disk, &part.file, &other.peek(&part.file)?).then(|| part.file.clone())
}

/// Two records of equal length change places.
fn exchange(luck: &mut Luck, disk: &mut Platter, atlas: &Atlas) -> Option<String> {
    let is_record = |part: &Part| part.what == What::Record && part.frame.is_some();
    let one = draw(luck, atlas, is_record)?;
    let equal: Vec<&Part> = atlas
        .parts
        .iter()
        .filter(|part| is_record(part) && part.bytes == one.bytes && *part != one)
        .collect();
    let other = *some(luck, &equal)?;
    let bytes = |part: &Part, disk: &Platter| {
        let file = disk.peek(&part.file)?;
        Some(file.get(part.offset as usize..(part.offset + part.bytes) as usize)?.to_vec())
    };
    let (first, second) = (bytes(one, disk)?, bytes(other, disk)?);
    let done = disk.overwrite(&one.file, one.offset, &second)
        && disk.overwrite(&other.file, other.offset, &first);
    done.then(|| format!("{one}, with {other}"))
}

/// Another content in a file that is there; its length stays.
fn put_file(disk: &mut Platter, name: &str, bytes: &[u8]) -> bool {
    let Some(mine) = disk.peek(name) else { return false };
    let mut bytes = bytes.to_vec();
    bytes.resize(mine.len(), 0);
    disk.overwrite(name, 0, &bytes)
}
