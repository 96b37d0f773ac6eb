//! Whole directories that nobody wrote, for recovery.
//!
//! The material is what real stores left: closed in order, killed, with the power lost in the
//! middle of a write, compacted. An input is such a directory with one to four things done to it,
//! and one of three promises holds after it was opened:
//!
//! ```text
//! bits flipped, bytes overwritten     every acknowledged value as it was, or an error
//! sectors, files swapped, cut, lost   whatever is served was once written to that key, so
//! older files, forged headers         at that version; losing the last writes may look like
//!                                     a power loss, and losing more must not be silent
//! forged records, edits, footers      no panic, no end of waiting, no memory that is not paid for
//! ```
//! Only the first can be held to "nothing is lost": a sector of zeros at the end of a log is what
//! a power loss leaves, and whoever puts an older disk in has an older disk.
//!
//! Recovery may not ask the disk for more memory than its largest file has. What it opens must go
//! on: it is written to, compacted, and opened again; what is written then is there.
//!
//! Not here: the parsers alone (`journal`).

use std::{collections::BTreeMap, ops::Bound, sync::OnceLock};

use trilith_engine::{
    journal::{JournalOptions, Sync, format::SegmentHeader},
    lone::{BatchOutcome, Effort, Store, StoreError, StoreOptions, WriteBatch},
    runtime::Rng as _,
    types::Version,
    value::View as _,
};

use super::{
    Fed,
    forge::{forge, forge_frame, forge_front},
};
use crate::{
    exhaust::journal::tiny,
    luck::{Domain, Luck},
    platter::{Platter, SECTOR_BYTES},
    still::Still,
};

type Values = BTreeMap<Vec<u8>, (Version, Vec<u8>)>;

/// A directory that a store left.
pub(super) struct Image {
    /// It.
    pub(super) disk: Platter,
    /// The same store's disk, some time before.
    older: Platter,
    /// What was acknowledged as durable.
    acknowledged: Values,
    /// Every value that was ever written.
    written: BTreeMap<(Vec<u8>, Version), Vec<u8>>,
}

fn options(journal: JournalOptions) -> StoreOptions {
    StoreOptions { journal, ..StoreOptions::default() }
}

/// How a store's life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
    Idle,
}

pub(super) fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let mut images = Vec::new();
        for seed in 0..24 {
            for end in [End::Closed, End::Killed, End::Idle] {
                images.push(image(seed, end));
            }
        }
        images
    })
}

/// Some writes, deletions and compactions, and an end.
fn image(seed: u64, end: End) -> Image {
    let mut luck = Luck::new(seed, Domain::Named("image"));
    let still = Still::with_seed(Platter::default(), seed);
    let (mut values, mut written) = (Values::new(), BTreeMap::new());
    let mut older = None;
    still.block_on(async {
        let opened = Store::open(still.clone(), options(tiny())).await;
        let (mut store, _) = opened.expect("an empty disk");
        let steps = luck.range(3..14);
        for step in 0..steps {
            if step == steps / 2 {
                older = Some(still.platter().clone());
            }
            match luck.range(0..10) {
                0 => store.compact_all().await.expect("a whole disk"),
                1 => drop(store.work(Effort::Chores).await.expect("a whole disk")),
                2 => store.rotate().await.expect("a whole disk"),
                _ => write(&mut store, &mut luck, &mut values, &mut written).await,
            }
        }
        match end {
            End::Closed => store.close().await.expect("a whole disk"),
            End::Killed => {}
            End::Idle => store.on_idle().await.expect("a whole disk"),
        }
    });
    let settled = |platter: &Platter| {
        let mut platter = platter.clone();
        platter.process_death();
        platter
    };
    let older = settled(&older.expect("every image has a middle"));
    let disk = settled(&still.platter());
    Image { disk, older, acknowledged: values, written }
}

async fn write(
    store: &mut Store<Still>,
    luck: &mut Luck,
    values: &mut Values,
    written: &mut BTreeMap<(Vec<u8>, Version), Vec<u8>>,
) {
    let key = vec![b'a' + luck.range(0..6) as u8];
    let mut batch = WriteBatch::new();
    let value = luck.chance(3, 4).then(|| {
        let len = luck.range(0..1800) as usize;
        let first = luck.next_u64() as u8;
        (0..len).map(|at| if at % 700 < 300 { first ^ at as u8 } else { 0 }).collect::<Vec<u8>>()
    });
    match &value {
        Some(value) => batch.put(key.clone(), value.clone()),
        None => batch.delete(key.clone()),
    };
    let answers = store.commit(&[batch], Sync::Now).await;
    let Some(Ok(BatchOutcome::Done { version, .. })) = answers.first() else {
        unreachable!("a whole disk takes it: {answers:?}")
    };
    match value {
        Some(value) => {
            written.insert((key.clone(), *version), value.clone());
            values.insert(key, (*version, value));
        }
        None => _ = values.remove(&key),
    }
}

/// What was done to a directory, as far as it matters to what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    /// Bytes are other than they were, and none became zero.
    Changed,
    /// Anything else that leaves records and edits as they were.
    Moved,
    /// Records, edits or footers say, with the right checksums, what nobody wrote.
    Forged,
}

/// A place where something is written; sectors of zeros are rarely worth damaging.
fn place(bytes: &[u8], luck: &mut Luck) -> usize {
    for _ in 0..8 {
        let at = luck.index(bytes.len());
        if bytes[at] != 0 {
            return at;
        }
    }
    luck.index(bytes.len())
}

fn sector(at: usize, len: usize) -> std::ops::Range<usize> {
    let sector = SECTOR_BYTES as usize;
    let from = at / sector * sector;
    from..(from + sector).min(len)
}

/// Does one thing to one file.
fn harm(disk: &mut Platter, image: &Image, luck: &mut Luck, told: &mut Vec<String>) -> Harm {
    let names = disk.file_names();
    let files: Vec<_> = names.iter().filter(|name| *name != "LOCK").collect();
    let Some(name) = (!files.is_empty()).then(|| (*luck.pick(&files)).clone()) else {
        return Harm::Moved;
    };
    let mut bytes = disk.peek(&name).unwrap_or_default();
    if bytes.is_empty() {
        return Harm::Moved;
    }
    let at = place(&bytes, luck);
    let what = luck.range(0..14);
    told.push(format!("{name} at {at}: {what}"));
    let mut kind = Harm::Moved;
    match what {
        0..3 => {
            bytes[at] ^= 1 << luck.range(0..8);
            kind = Harm::Changed;
        }
        3 => {
            let end = (at + luck.range(1..600) as usize).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|byte| *byte = luck.range(1..256) as u8);
            kind = Harm::Changed;
        }
        4 => bytes.truncate(at),
        5 => {
            let (one, other) = (sector(at, bytes.len()), sector(place(&bytes, luck), bytes.len()));
            let len = one.len().min(other.len());
            let copy = bytes[one.start..one.start + len].to_vec();
            bytes[other.start..other.start + len].copy_from_slice(&copy);
        }
        6 => {
            let range = sector(at, bytes.len());
            bytes[range].fill(0);
        }
        7 => {
            let other = (*luck.pick(&files)).clone();
            let theirs = disk.peek(&other).unwrap_or_default();
            disk.place(&other, &bytes);
            bytes = theirs;
        }
        8 => {
            disk.lose_file(&name);
            return Harm::Moved;
        }
        9 => match image.older.peek(&name) {
            Some(older) => bytes = older,
            None => bytes.clear(),
        },
        10 => forge_front(&mut bytes, luck),
        11 => {
            if let Ok(header) = SegmentHeader::decode(&bytes) {
                forge_frame(&mut bytes, &header, luck);
            }
        }
        _ => {
            forge(&mut bytes, luck);
            kind = Harm::Forged;
        }
    }
    disk.place(&name, &bytes);
    kind
}

/// One damaged directory.
pub(super) fn directory(seed: u64) -> Fed {
    let mut luck = Luck::new(seed, Domain::Named("fuzz"));
    let image = luck.pick(images());
    let mut disk = image.disk.clone();
    let (mut told, mut worst) = (Vec::new(), Harm::Changed);
    for _ in 0..luck.range(1..5) {
        worst = worst.max(harm(&mut disk, image, &mut luck, &mut told));
    }
    let accepts = luck.chance(1, 3);
    let journal = JournalOptions {
        accept_rot: accepts && luck.chance(2, 3),
        accept_tail_loss: accepts && luck.chance(2, 3),
        ..tiny()
    };
    if journal.accept_rot || journal.accept_tail_loss {
        worst = worst.max(Harm::Moved);
    }
    let lens = |disk: &Platter| {
        let names = disk.file_names().into_iter();
        names.map(|name| disk.peek(&name).map_or(0, |bytes| bytes.len())).collect::<Vec<_>>()
    };
    let longest = |disk: &Platter| lens(disk).into_iter().max().unwrap_or(0) as u64;
    let (before, all) = (longest(&disk), lens(&disk).into_iter().sum());
    let still = Still::with_seed(disk, seed);
    let lived = still.block_on(live(&still, journal, image, worst, luck.chance(1, 4)));
    let asked = still.platter().largest_read();
    let most = before.max(longest(&still.platter()));
    if asked > most + SLACK {
        return Err(format!("{told:?}: it asked for {asked} bytes of files of {most}"));
    }
    let wrote = lived.map_err(|why| format!("{told:?}, {journal:?}: {why}"))?;
    if wrote {
        let next = still.after_death(seed ^ 1);
        let again = next.block_on(async {
            let (store, _) = Store::open(next.clone(), options(journal)).await?;
            store.view().get(b"new", 0).await.map_err(StoreError::Read)
        });
        match again {
            Ok(Some(found)) if found.value == [7; 99] => {}
            other => return Err(format!("{told:?}: what was written after it is {other:?}")),
        }
    }
    Ok(all)
}

/// The small files are read with room for more than they should have.
const SLACK: u64 = 4096;

/// Opens it, reads everything, and perhaps goes on. Answers whether something was written.
async fn live(
    still: &Still,
    journal: JournalOptions,
    image: &Image,
    worst: Harm,
    goes_on: bool,
) -> Result<bool, String> {
    let (mut store, _) = match Store::open(still.clone(), options(journal)).await {
        Ok(opened) => opened,
        Err(StoreError::Open(why)) if !why.to_string().is_empty() => return Ok(false),
        Err(other) => return Err(format!("opening answered {other}")),
    };
    store.invariants()?;
    let view = store.view();
    let mut cursor = view.tree().range(Bound::Unbounded, Bound::Unbounded);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while let Some((key, _)) = cursor.next() {
        keys.push(key.to_vec());
    }
    for key in &keys {
        let Ok(found) = view.get(key, 0).await else { continue };
        let Some(found) = found else { return Err(format!("{key:?} has expired")) };
        if worst == Harm::Forged {
            continue;
        }
        if image.written.get(&(key.clone(), found.version)) != Some(&found.value) {
            return Err(format!("{key:?} is served as nobody wrote it, at {}", found.version));
        }
        let right = image.acknowledged.get(key).map(|(version, _)| *version);
        if worst == Harm::Changed && right != Some(found.version) {
            return Err(format!("{key:?} is served at {}, not {right:?}", found.version));
        }
    }
    if worst == Harm::Changed
        && let Some(lost) = image.acknowledged.keys().find(|key| !keys.contains(key))
    {
        return Err(format!("{lost:?} is gone without a word"));
    }
    if !goes_on {
        return Ok(false);
    }
    let mut batch = WriteBatch::new();
    batch.put(*b"new", [7; 99]).delete(*b"a");
    let wrote = store.commit(&[batch], Sync::Now).await.iter().all(Result::is_ok);
    // Damage may be in the way; it says so, and loses nothing.
    let compacted = store.compact_all().await;
    store.invariants()?;
    match compacted {
        Ok(()) => {}
        Err(why) if why.is_retryable() || why.is_stopped() => {}
        Err(why) => return Err(format!("compacting answered {why}")),
    }
    Ok(wrote)
}

#[cfg(test)]
mod tests {
    use trilith_engine::journal::SegmentKind;

    use super::*;

    /// The material is worth damaging: data segments, several journals, deletions.
    #[test]
    fn the_images_have_something_of_everything() {
        let names = || images().iter().flat_map(|image| image.disk.file_names());
        assert!(names().filter(|name| name.starts_with("d/")).count() > 10);
        assert!(names().filter(|name| name.starts_with("j/")).count() > images().len());
        assert!(images().iter().any(|image| image.written.len() > image.acknowledged.len() + 3));
        let kinds = |kind| {
            images().iter().any(|image| {
                image.disk.file_names().iter().any(|name| {
                    let bytes = image.disk.peek(name).unwrap_or_default();
                    SegmentHeader::decode(&bytes).is_ok_and(|header| header.kind == kind)
                })
            })
        };
        assert!(kinds(SegmentKind::Data) && kinds(SegmentKind::Manifest));
    }
}
