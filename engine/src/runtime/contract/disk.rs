//! The sentences of [`Disk`] and [`File`].
//!
//! Each check works in a directory of its own, made for it; a door may be checked twice in one
//! place, since names that are there already are put aside first.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use bytes::Bytes;

use super::{
    super::{Disk, DiskErrorKind, DiskResult, File, Open, ReadMode, Runtime},
    Broken, Outcome, Report, both, demand, poll_once, sleep,
};

/// Where a check works.
struct Place<'a, D> {
    disk: &'a D,
    dir: &'static str,
}

/// Checks the runtime's disk, below its root, which is made when missing.
pub async fn disk<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "the root is made with its parents", root(rt)).await;
    names(rt, &mut report).await;
    contents(rt, &mut report).await;
    report
}

macro_rules! in_place {
    ($report:ident, $rt:ident, $($dir:literal $name:literal $check:path;)+) => {
        $(
            $report
                .check($rt, $name, async {
                    let place = Place { disk: $rt.disk(), dir: $dir };
                    place.prepare().await?;
                    $check(&place, $rt).await
                })
                .await;
        )+
    };
}

async fn names<R: Runtime>(rt: &R, report: &mut Report) {
    in_place! { report, rt,
        "c-missing" "a missing file is not found" missing;
        "c-create" "creating refuses what exists" create;
        "c-parent" "a file needs its directory" parent;
        "c-invalid" "names that are none are refused" invalid;
        "c-dir" "a directory is made once, below its parent" create_dir;
        "c-dir-file" "a directory is no file" directory_is_no_file;
        "c-list" "a list is in order of name" list;
        "c-rename" "a rename replaces in one step" rename;
        "c-rename-missing" "a rename needs both ends" rename_missing;
        "c-rename-open" "open handles stay valid over a rename" rename_open;
        "c-remove" "a removed name is gone" remove;
        "c-remove-open" "open handles stay valid over a removal" remove_open;
        "c-reuse" "a name used again is a new file" reuse;
        "c-lock" "a lock is exclusive and let go when dropped" lock;
        "c-sync-dir" "a directory can be synced" sync_dir;
        "c-space" "the room is told" space;
        "c-error" "an error names what failed" error_names;
    }
}

async fn contents<R: Runtime>(rt: &R, report: &mut Report) {
    in_place! { report, rt,
        "c-read" "a read across the end is short, one beyond it empty" read_end;
        "c-read-nothing" "a read of nothing is empty" read_nothing;
        "c-anywhere" "bytes are where they were written" anywhere;
        "c-uncached" "an uncached read sees every write that returned" uncached;
        "c-hole" "writing beyond the end leaves zeros between" hole;
        "c-neighbours" "a write leaves its neighbours alone" neighbours;
        "c-nothing" "a write of nothing changes nothing" write_nothing;
        "c-allocate" "allocate writes zeros up to the length" allocate;
        "c-allocate-less" "allocate never cuts" allocate_less;
        "c-cut" "what was cut off does not come back" cut;
        "c-read-only" "a file opened to be read is not written" read_only;
        "c-clone" "clones are the same open file" clones;
        "c-twice" "two handles see one file" two_handles;
        "c-big" "big reads and writes are whole" big;
        "c-two" "two operations in flight both happen" in_flight;
        "c-dropped" "a dropped operation happens or not" dropped;
        "c-sync" "a file can be synced, again and again" sync;
    }
}

impl<D: Disk> Place<'_, D> {
    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.dir)
    }

    /// Makes the directory, and empties it of an earlier run's files.
    async fn prepare(&self) -> Outcome {
        self.disk.create_dir(self.dir).await?;
        for entry in self.disk.list(self.dir).await? {
            if !entry.is_dir {
                self.disk.remove(&self.name(&entry.name)).await?;
            }
        }
        Ok(())
    }

    async fn open(&self, file: &str, how: Open) -> DiskResult<D::File> {
        self.disk.open(&self.name(file), how).await
    }

    async fn create(&self, file: &str, content: &[u8]) -> DiskResult<D::File> {
        let handle = self.open(file, Open::Create).await?;
        write(&handle, 0, content).await?;
        Ok(handle)
    }

    async fn content(&self, file: &str) -> DiskResult<Vec<u8>> {
        let handle = self.open(file, Open::Read).await?;
        whole(&handle).await
    }
}

async fn write<F: File>(file: &F, offset: u64, bytes: &[u8]) -> DiskResult<()> {
    file.write_at(offset, Bytes::copy_from_slice(bytes)).await
}

/// Reads through a buffer full of ones, so that zeros that come back were really read.
async fn read<F: File>(file: &F, offset: u64, len: usize) -> DiskResult<Vec<u8>> {
    file.read_at(offset, vec![0xff; len], ReadMode::Cached).await
}

async fn whole<F: File>(file: &F) -> DiskResult<Vec<u8>> {
    let len = usize::try_from(file.len().await?).unwrap_or(usize::MAX);
    read(file, 0, len + 10).await
}

fn kind<T>(result: &DiskResult<T>) -> Option<DiskErrorKind> {
    result.as_ref().err().map(|error| error.kind)
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|index| ((index + seed) % 251) as u8).collect()
}

async fn root<R: Runtime>(rt: &R) -> Outcome {
    rt.disk().create_dir("").await?;
    rt.disk().create_dir("").await?;
    rt.disk().list("").await?;
    rt.disk().sync_dir("").await?;
    Ok(())
}

// ── names ──────────────────────────────────────────────────────────────────────────────────────

async fn missing<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    for how in [Open::Read, Open::Write] {
        let opened = kind(&place.open("none", how).await);
        demand!(opened == Some(DiskErrorKind::NotFound), "{how:?} answered {opened:?}");
    }
    let left = place.disk.list(place.dir).await?;
    demand!(left.is_empty(), "a refused open made {left:?}");
    Ok(())
}

async fn create<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"mine").await?;
    let again = kind(&place.open("f", Open::Create).await);
    demand!(again == Some(DiskErrorKind::Exists), "a second create answered {again:?}");
    demand!(whole(&file).await? == b"mine", "a refused create emptied the file");
    let fresh = place.open("g", Open::Create).await?;
    demand!(fresh.len().await? == 0, "a new file is not empty");
    Ok(())
}

async fn parent<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let created = kind(&place.open("none/f", Open::Create).await);
    demand!(created == Some(DiskErrorKind::NotFound), "create answered {created:?}");
    let locked = kind(&place.disk.lock(&place.name("none/LOCK")).await);
    demand!(locked == Some(DiskErrorKind::NotFound), "lock answered {locked:?}");
    Ok(())
}

async fn invalid<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    for name in ["", ".", "..", "/f", "a//b", "a/", "../f", "a/../f", "./f", "a\0b", "a b", "é"] {
        let answers = [
            kind(&disk.open(name, Open::Create).await),
            kind(&disk.open(name, Open::Read).await),
            kind(&disk.remove(name).await),
            kind(&disk.rename(name, "x").await),
            kind(&disk.rename("x", name).await),
            kind(&disk.lock(name).await),
        ];
        let all = answers.iter().all(|answer| *answer == Some(DiskErrorKind::Invalid));
        demand!(all, "{name:?} was answered with {answers:?}");
        if !name.is_empty() {
            let made = kind(&disk.create_dir(name).await);
            demand!(made == Some(DiskErrorKind::Invalid), "create_dir {name:?}: {made:?}");
        }
    }
    Ok(())
}

async fn create_dir<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    disk.create_dir(&place.name("d")).await?;
    let file = place.create("d/f", b"x").await?;
    disk.create_dir(&place.name("d")).await?;
    demand!(whole(&file).await? == b"x", "making a directory again emptied it");
    let orphan = kind(&disk.create_dir(&place.name("none/d")).await);
    demand!(orphan == Some(DiskErrorKind::NotFound), "without a parent: {orphan:?}");
    place.create("taken", b"").await?;
    let over = kind(&disk.create_dir(&place.name("taken")).await);
    demand!(over == Some(DiskErrorKind::Exists), "over a file: {over:?}");
    disk.remove(&place.name("d/f")).await?;
    Ok(())
}

async fn directory_is_no_file<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    let dir = place.name("d");
    disk.create_dir(&dir).await?;
    demand!(disk.open(&dir, Open::Read).await.is_err(), "it was opened to be read");
    demand!(disk.open(&dir, Open::Write).await.is_err(), "it was opened to be written");
    let created = kind(&disk.open(&dir, Open::Create).await);
    demand!(created == Some(DiskErrorKind::Exists), "a file was created over it: {created:?}");
    demand!(disk.remove(&dir).await.is_err(), "it was removed like a file");
    place.create("f", b"").await?;
    demand!(disk.rename(&place.name("f"), &dir).await.is_err(), "a file replaced it");
    demand!(disk.list(&place.name("f")).await.is_err(), "a file was listed");
    demand!(disk.sync_dir(&place.name("f")).await.is_err(), "a file was synced as a directory");
    demand!(disk.lock(&dir).await.is_err(), "it was locked like a file");
    let renamed = kind(&disk.rename(&dir, &place.name("e")).await);
    demand!(renamed == Some(DiskErrorKind::Invalid), "it was renamed like a file: {renamed:?}");
    Ok(())
}

async fn list<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    for name in ["b", "a", "CURRENT", "a.tmp", "a-1", "10", "9", "a0"] {
        place.create(name, b"").await?;
    }
    disk.create_dir(&place.name("aa")).await?;
    let inner = place.name("aa/inside");
    if disk.open(&inner, Open::Create).await.is_err() {
        disk.remove(&inner).await?;
    }
    let found: Vec<(String, bool)> =
        disk.list(place.dir).await?.into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
    let want = [
        ("10", false),
        ("9", false),
        ("CURRENT", false),
        ("a", false),
        ("a-1", false),
        ("a.tmp", false),
        ("a0", false),
        ("aa", true),
        ("b", false),
    ]
    .map(|(name, is_dir)| (name.to_string(), is_dir));
    demand!(found == want, "it says {found:?}");
    let none = kind(&disk.list(&place.name("none")).await);
    demand!(none == Some(DiskErrorKind::NotFound), "a missing directory: {none:?}");
    let rooted = disk.list("").await?;
    let here = rooted.iter().any(|entry| entry.name == place.dir && entry.is_dir);
    demand!(here, "the root does not hold {}", place.dir);
    Ok(())
}

async fn rename<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    place.create("CURRENT", b"old").await?;
    place.create("CURRENT.tmp", b"new").await?;
    disk.rename(&place.name("CURRENT.tmp"), &place.name("CURRENT")).await?;
    demand!(place.content("CURRENT").await? == b"new", "the old content is still there");
    let gone = kind(&place.open("CURRENT.tmp", Open::Read).await);
    demand!(gone == Some(DiskErrorKind::NotFound), "the old name: {gone:?}");
    disk.rename(&place.name("CURRENT"), &place.name("CURRENT")).await?;
    demand!(place.content("CURRENT").await? == b"new", "renamed to itself, it is lost");
    Ok(())
}

async fn rename_missing<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    place.create("there", b"x").await?;
    let from = kind(&disk.rename(&place.name("none"), &place.name("there")).await);
    demand!(from == Some(DiskErrorKind::NotFound), "a missing file: {from:?}");
    let to = kind(&disk.rename(&place.name("there"), &place.name("none/x")).await);
    demand!(to == Some(DiskErrorKind::NotFound), "into a missing directory: {to:?}");
    demand!(place.content("there").await? == b"x", "a refused rename did something");
    Ok(())
}

async fn rename_open<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let old = place.create("old", b"old").await?;
    let new = place.create("new", b"new").await?;
    place.disk.rename(&place.name("new"), &place.name("old")).await?;
    write(&new, 3, b"er").await?;
    demand!(place.content("old").await? == b"newer", "the handle does not follow the file");
    write(&old, 3, b"est").await?;
    old.sync().await?;
    demand!(whole(&old).await? == b"oldest", "the replaced file's handle is dead");
    demand!(place.content("old").await? == b"newer", "the replaced file came back");
    Ok(())
}

async fn remove<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    place.create("f", b"x").await?;
    place.disk.remove(&place.name("f")).await?;
    let opened = kind(&place.open("f", Open::Read).await);
    demand!(opened == Some(DiskErrorKind::NotFound), "it can be opened: {opened:?}");
    let again = kind(&place.disk.remove(&place.name("f")).await);
    demand!(again == Some(DiskErrorKind::NotFound), "removed twice: {again:?}");
    Ok(())
}

async fn remove_open<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"still ").await?;
    place.disk.remove(&place.name("f")).await?;
    write(&file, 6, b"here").await?;
    file.sync().await?;
    demand!(whole(&file).await? == b"still here", "the handle lost its file");
    demand!(file.len().await? == 10, "the handle lost the length");
    demand!(place.disk.list(place.dir).await?.is_empty(), "writing brought the name back");
    Ok(())
}

async fn reuse<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let old = place.create("f", b"first").await?;
    place.disk.remove(&place.name("f")).await?;
    let new = place.open("f", Open::Create).await?;
    demand!(new.len().await? == 0, "the new file holds the old one's bytes");
    write(&new, 0, b"second").await?;
    demand!(whole(&old).await? == b"first", "the old handle sees the new file");
    Ok(())
}

async fn lock<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let disk = place.disk;
    let name = place.name("LOCK");
    let held = disk.lock(&name).await?;
    demand!(place.open("LOCK", Open::Read).await.is_ok(), "the lock's file is not there");
    let second = kind(&disk.lock(&name).await);
    demand!(second == Some(DiskErrorKind::Locked), "taken twice: {second:?}");
    let other = disk.clone();
    let third = kind(&other.lock(&name).await);
    demand!(third == Some(DiskErrorKind::Locked), "taken by a clone: {third:?}");
    let elsewhere = disk.lock(&place.name("LOCK2")).await?;
    drop(held);
    let again = disk.lock(&name).await?;
    drop((again, elsewhere));
    disk.lock(&name).await?;
    Ok(())
}

async fn sync_dir<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    place.create("f", b"x").await?;
    place.disk.sync_dir(place.dir).await?;
    place.disk.sync_dir("").await?;
    let none = kind(&place.disk.sync_dir(&place.name("none")).await);
    demand!(none == Some(DiskErrorKind::NotFound), "a missing directory: {none:?}");
    Ok(())
}

async fn space<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let space = place.disk.space().await?;
    demand!(space.free_bytes > 0, "no room for the checks: {space:?}");
    demand!(space.free_bytes <= space.total_bytes, "more free than there is: {space:?}");
    Ok(())
}

async fn error_names<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let name = place.name("none");
    let Err(error) = place.disk.open(&name, Open::Read).await else {
        return Err(Broken("it was opened".into()));
    };
    demand!(error.name.ends_with(&name), "it names {:?}", error.name);
    demand!(!error.operation.is_empty(), "it names no operation");
    let text = error.to_string();
    demand!(text.contains(&name), "it says: {text}");
    Ok(())
}

// ── contents ───────────────────────────────────────────────────────────────────────────────────

async fn read_end<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"0123456789").await?;
    for (offset, len, want) in [
        (0, 10, &b"0123456789"[..]),
        (0, 11, b"0123456789"),
        (3, 4, b"3456"),
        (7, 100, b"789"),
        (9, 1, b"9"),
        (10, 1, b""),
        (11, 5, b""),
        (1 << 40, 5, b""),
    ] {
        for mode in [ReadMode::Cached, ReadMode::Uncached] {
            let got = file.read_at(offset, vec![0xff; len], mode).await?;
            demand!(got == want, "{len} bytes at {offset}, {mode:?}: {got:?}");
        }
    }
    Ok(())
}

async fn read_nothing<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"x").await?;
    demand!(read(&file, 0, 0).await?.is_empty(), "an empty buffer was filled");
    let empty = place.open("empty", Open::Create).await?;
    demand!(read(&empty, 0, 100).await?.is_empty(), "an empty file has bytes");
    demand!(read(&empty, 100, 100).await?.is_empty(), "an empty file has bytes");
    Ok(())
}

async fn anywhere<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.open("f", Open::Create).await?;
    let mut model = Vec::new();
    let places = [(0, 100), (511, 2), (4_095, 4_098), (100, 64), (12_288, 512), (9_000, 5_000)];
    for (seed, (offset, len)) in places.into_iter().enumerate() {
        let bytes = pattern(len, seed * 31);
        write(&file, offset as u64, &bytes).await?;
        let end = offset + len;
        model.resize(model.len().max(end), 0);
        model[offset..end].copy_from_slice(&bytes);
        demand!(whole(&file).await? == model, "after {len} bytes at {offset}");
        demand!(file.len().await? == model.len() as u64, "the length after {offset}");
    }
    for (offset, len) in [(1, 1), (510, 5), (4_000, 200), (8_191, 2), (3, 13_000)] {
        let got = read(&file, offset as u64, len).await?;
        demand!(got == model[offset..offset + len], "{len} bytes at {offset}");
    }
    Ok(())
}

async fn uncached<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", &pattern(10_000, 0)).await?;
    let got = file.read_at(1, vec![0xff; 9_000], ReadMode::Uncached).await?;
    demand!(got == pattern(9_000, 1), "unsynced bytes are not seen");
    file.sync().await?;
    write(&file, 5_000, b"again").await?;
    let got = file.read_at(4_999, vec![0xff; 7], ReadMode::Uncached).await?;
    demand!(&got[1..6] == b"again", "a write after the sync is not seen: {got:?}");
    let got = file.read_at(9_990, vec![0xff; 100], ReadMode::Uncached).await?;
    demand!(got == pattern(10, 9_990), "the end is wrong: {got:?}");
    Ok(())
}

async fn hole<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"head").await?;
    write(&file, 9_000, b"tail").await?;
    let got = whole(&file).await?;
    demand!(got.len() == 9_004, "the length is {}", got.len());
    demand!(&got[..4] == b"head" && &got[9_000..] == b"tail", "the ends are wrong");
    demand!(got[4..9_000].iter().all(|byte| *byte == 0), "between are other bytes than zeros");
    Ok(())
}

async fn neighbours<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", &[b'.'; 2_000]).await?;
    file.sync().await?;
    for offset in [0, 64, 500, 1_023, 1_999] {
        write(&file, offset, b"#").await?;
    }
    let got = whole(&file).await?;
    demand!(got.len() == 2_000, "the length is {}", got.len());
    let marks: Vec<usize> = (0..2_000).filter(|index| got[*index] == b'#').collect();
    demand!(marks == [0, 64, 500, 1_023, 1_999], "written were {marks:?}");
    demand!(got.iter().all(|byte| b".#".contains(byte)), "other bytes appeared");
    Ok(())
}

async fn write_nothing<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"x").await?;
    write(&file, 0, b"").await?;
    write(&file, 100, b"").await?;
    demand!(whole(&file).await? == b"x", "the file has changed");
    Ok(())
}

async fn allocate<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"kept").await?;
    file.allocate(300_000).await?;
    file.sync().await?;
    demand!(file.len().await? == 300_000, "the length is wrong");
    let got = whole(&file).await?;
    demand!(&got[..4] == b"kept", "what was there is gone");
    demand!(got[4..].iter().all(|byte| *byte == 0), "the new bytes are not zeros");
    write(&file, 299_000, b"within").await?;
    demand!(file.len().await? == 300_000, "a write within changed the length");
    Ok(())
}

async fn allocate_less<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", &pattern(5_000, 0)).await?;
    for len in [0, 1, 4_096, 5_000] {
        file.allocate(len).await?;
        demand!(whole(&file).await? == pattern(5_000, 0), "allocating {len} changed the file");
    }
    Ok(())
}

async fn cut<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", &[7; 10_000]).await?;
    file.sync().await?;
    for len in [9_999, 8_192, 4_097, 511, 0] {
        file.set_len(len).await?;
        let got = whole(&file).await?;
        demand!(got.len() as u64 == len, "cut to {len}, it has {}", got.len());
        demand!(got.iter().all(|byte| *byte == 7), "cut to {len}, it holds other bytes");
        file.set_len(10_000).await?;
        let got = whole(&file).await?;
        demand!(got.len() == 10_000, "lengthened, it has {}", got.len());
        let rest = &got[usize::try_from(len).unwrap_or(0)..];
        demand!(rest.iter().all(|byte| *byte == 0), "cut to {len}, its bytes came back");
    }
    Ok(())
}

async fn read_only<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    place.create("f", b"x").await?;
    let file = place.open("f", Open::Read).await?;
    demand!(write(&file, 0, b"y").await.is_err(), "it was written");
    demand!(file.set_len(0).await.is_err(), "it was cut");
    demand!(file.allocate(100).await.is_err(), "it was lengthened");
    let synced = kind(&file.sync().await);
    demand!(synced == Some(DiskErrorKind::Denied), "there is nothing to sync: {synced:?}");
    demand!(whole(&file).await? == b"x", "it has changed");
    Ok(())
}

async fn clones<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.create("f", b"one").await?;
    let twin = file.clone();
    write(&twin, 3, b"two").await?;
    drop(twin);
    demand!(whole(&file).await? == b"onetwo", "a clone's write is not seen");
    Ok(())
}

async fn two_handles<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let writer = place.create("f", b"one").await?;
    let reader = place.open("f", Open::Read).await?;
    let other = place.open("f", Open::Write).await?;
    write(&writer, 3, b"two").await?;
    demand!(whole(&reader).await? == b"onetwo", "a write is not seen by the other handle");
    write(&other, 0, b"ONE").await?;
    demand!(whole(&reader).await? == b"ONEtwo", "the third handle's write is not seen");
    other.set_len(2).await?;
    demand!(writer.len().await? == 2, "the cut is not seen");
    Ok(())
}

async fn big<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.open("f", Open::Create).await?;
    let bytes = pattern(3 * 1024 * 1024 + 17, 5);
    file.write_at(4_090, Bytes::from(bytes.clone())).await?;
    file.sync().await?;
    for mode in [ReadMode::Cached, ReadMode::Uncached] {
        let got = file.read_at(4_090, vec![0xff; bytes.len() + 1_000], mode).await?;
        demand!(got == bytes, "{mode:?} answers {} bytes, or others", got.len());
    }
    Ok(())
}

async fn in_flight<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.open("f", Open::Create).await?;
    let twin = file.clone();
    let (one, two) = both(write(&file, 0, &[1; 6_000]), write(&twin, 6_000, &[2; 6_000])).await;
    one?;
    two?;
    let (got, synced) = both(whole(&file), twin.sync()).await;
    synced?;
    let got = got?;
    demand!(got.len() == 12_000, "the length is {}", got.len());
    demand!(got[..6_000] == [1; 6_000] && got[6_000..] == [2; 6_000], "one of them is lost");
    Ok(())
}

async fn dropped<R: Runtime>(place: &Place<'_, R::Disk>, rt: &R) -> Outcome {
    let file = place.create("f", &[1; 1_000]).await?;
    let _maybe = poll_once(write(&file, 0, &[2; 1_000])).await;
    sleep(rt, 20).await;
    let got = whole(&file).await?;
    demand!(got.len() == 1_000, "the length is {}", got.len());
    demand!(got.iter().all(|byte| [1, 2].contains(byte)), "there are other bytes");
    let _maybe = poll_once(read(&file, 0, 1_000)).await;
    let _maybe = poll_once(file.sync()).await;
    write(&file, 0, &[3; 1_000]).await?;
    file.sync().await?;
    demand!(whole(&file).await? == [3; 1_000], "the file is of no use any more");
    Ok(())
}

async fn sync<R: Runtime>(place: &Place<'_, R::Disk>, _rt: &R) -> Outcome {
    let file = place.open("f", Open::Create).await?;
    file.sync().await?;
    for round in 0..3 {
        write(&file, round * 100, &[1; 100]).await?;
        file.sync().await?;
        file.sync().await?;
    }
    let reader = place.open("f", Open::Write).await?;
    reader.sync().await?;
    demand!(whole(&file).await?.len() == 300, "syncing changed the length");
    Ok(())
}
