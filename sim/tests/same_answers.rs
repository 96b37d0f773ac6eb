//! The simulated disk and the real one, asked the same questions in the same order.
//!
//! The contract suite holds both to sentences somebody thought of. Here luck thinks of the
//! questions: a few names, a few handles, every operation, mostly senseless. Each answer must be
//! the same on both, down to the kind of a refusal, or else the simulator tests another system
//! than the one that ships.
//!
//! Not here: what survives a crash, which a real disk cannot be asked.
#![expect(clippy::disallowed_methods, reason = "it looks at a real disk")]

use std::{env, fs, path::PathBuf, process};

use bytes::Bytes;
use trilith_engine::{
    embedded::os::Native,
    runtime::{Disk, DiskErrorKind, DiskResult, Entry, File, Open, ReadMode, Rng as _, Runtime},
};
use trilith_sim::{
    luck::{Domain, Luck},
    platter::Platter,
    still::{Still, block_on},
};

const SEEDS: u64 = 400;
const OPERATIONS: u64 = 150;

/// Names that meet each other: files, directories, files as directories, and none at all.
const NAMES: &[&str] =
    &["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "a/b", "f/a", "", "../a"];

/// Names of locks. Their files are nobody's to remove, so these are no names of files.
const LOCKS: &[&str] = &["LOCK", "d/LOCK", "a/LOCK", "f/LOCK", "", "../LOCK"];

/// What to do; the indices choose among the handles that are open, if there are any.
#[derive(Clone, Debug)]
enum Ask {
    Open(&'static str, Open),
    CreateDir(&'static str),
    Lock(&'static str),
    Unlock(usize),
    List(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    SyncDir(&'static str),
    Read(usize, u64, usize, ReadMode),
    Write(usize, u64, usize, u8),
    Allocate(usize, u64),
    Len(usize),
    SetLen(usize, u64),
    Sync(usize),
    Close(usize),
}

fn position(luck: &mut Luck) -> u64 {
    match luck.range(0..20) {
        // Beyond every file. What lies before that and after the largest file that a file system
        // has is refused by each in its own way.
        0 => u64::MAX,
        1 => u64::MAX - 4096,
        2 => 1 << 63,
        // Around the edges of sectors and pages.
        3..12 => (luck.range(0..6) * 4096 + luck.range(0..3)).saturating_sub(1),
        _ => luck.range(0..20_000),
    }
}

/// A length that a real disk can be asked for.
fn length(luck: &mut Luck) -> u64 {
    luck.range(0..30_000)
}

fn ask(luck: &mut Luck) -> Ask {
    let name = *luck.pick(NAMES);
    let (other, lock) = (*luck.pick(NAMES), *luck.pick(LOCKS));
    let handle = luck.index(1 << 16);
    match luck.range(0..100) {
        0..12 => Ask::Open(name, Open::Create),
        12..17 => Ask::Open(name, Open::Write),
        17..20 => Ask::Open(name, Open::Read),
        20..24 => Ask::CreateDir(name),
        24..26 => Ask::Lock(lock),
        26..28 => Ask::Unlock(handle),
        28..32 => Ask::List(name),
        32..38 => Ask::Rename(name, other),
        38..42 => Ask::Remove(name),
        42..43 => Ask::SyncDir(name),
        43..58 => {
            let mode = if luck.coin() { ReadMode::Cached } else { ReadMode::Uncached };
            Ask::Read(handle, position(luck), luck.index(9_000), mode)
        }
        58..75 => {
            let (at, len) = (position(luck), luck.index(6_000));
            Ask::Write(handle, at, len, luck.range(1..256) as u8)
        }
        75..80 => Ask::Allocate(handle, length(luck)),
        80..85 => Ask::Len(handle),
        85..91 => Ask::SetLen(handle, length(luck)),
        91..94 => Ask::Sync(handle),
        _ => Ask::Close(handle),
    }
}

/// An answer, in a form in which two disks can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    NoHandle,
    Refused(DiskErrorKind),
    Bytes(Vec<u8>),
    Len(u64),
    Entries(Vec<Entry>),
}

fn told<T>(result: DiskResult<T>, tell: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(output) => tell(output),
        Err(error) => Answer::Refused(error.kind),
    }
}

/// A disk and what is open on it.
struct Side<D: Disk> {
    disk: D,
    files: Vec<D::File>,
    locks: Vec<D::Lock>,
}

impl<D: Disk> Side<D> {
    fn new(disk: &D) -> Self {
        Self { disk: disk.clone(), files: Vec::new(), locks: Vec::new() }
    }

    fn file(&self, handle: usize) -> Option<&D::File> {
        self.files.get(handle % self.files.len().max(1))
    }

    async fn answer(&mut self, ask: &Ask) -> Answer {
        let done = |()| Answer::Done;
        match ask {
            Ask::Open(name, how) => match self.disk.open(name, *how).await {
                Ok(file) => {
                    self.files.push(file);
                    Answer::Done
                }
                Err(error) => Answer::Refused(error.kind),
            },
            Ask::CreateDir(name) => told(self.disk.create_dir(name).await, done),
            Ask::Lock(name) => match self.disk.lock(name).await {
                Ok(lock) => {
                    self.locks.push(lock);
                    Answer::Done
                }
                Err(error) => Answer::Refused(error.kind),
            },
            Ask::Unlock(handle) => {
                if self.locks.is_empty() {
                    return Answer::NoHandle;
                }
                drop(self.locks.swap_remove(handle % self.locks.len()));
                Answer::Done
            }
            Ask::List(name) => told(self.disk.list(name).await, Answer::Entries),
            Ask::Rename(from, to) => told(self.disk.rename(from, to).await, done),
            Ask::Remove(name) => told(self.disk.remove(name).await, done),
            Ask::SyncDir(name) => told(self.disk.sync_dir(name).await, done),
            Ask::Close(handle) => {
                if self.files.is_empty() {
                    return Answer::NoHandle;
                }
                drop(self.files.swap_remove(handle % self.files.len()));
                Answer::Done
            }
            of_a_file => self.answer_of_file(of_a_file).await,
        }
    }

    async fn answer_of_file(&self, ask: &Ask) -> Answer {
        let (Ask::Read(handle, ..)
        | Ask::Write(handle, ..)
        | Ask::Allocate(handle, _)
        | Ask::Len(handle)
        | Ask::SetLen(handle, _)
        | Ask::Sync(handle)) = ask
        else {
            unreachable!("{ask:?} is asked of the disk");
        };
        let Some(file) = self.file(*handle) else { return Answer::NoHandle };
        let done = |()| Answer::Done;
        match ask {
            Ask::Read(_, at, len, mode) => {
                told(file.read_at(*at, vec![0xff; *len], *mode).await, Answer::Bytes)
            }
            Ask::Write(_, at, len, fill) => {
                told(file.write_at(*at, Bytes::from(vec![*fill; *len])).await, done)
            }
            Ask::Allocate(_, len) => told(file.allocate(*len).await, done),
            Ask::Len(_) => told(file.len().await, Answer::Len),
            Ask::SetLen(_, len) => told(file.set_len(*len).await, done),
            Ask::Sync(_) => told(file.sync().await, done),
            _ => unreachable!("{ask:?} is asked of the disk"),
        }
    }
}

/// Bytes in runs: how many of which.
fn in_short(answer: &Answer) -> String {
    let Answer::Bytes(bytes) = answer else { return format!("{answer:?}") };
    let runs = bytes.chunk_by(|a, b| a == b);
    runs.map(|run| format!("{}×{}", run.len(), run[0])).collect::<Vec<_>>().join(" ")
}

/// Where real files cost least: what is compared are answers, not speed.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { env::temp_dir() };
    base.join(format!("trilith-same-answers-{}", process::id()))
}

#[test]
fn the_simulated_disk_answers_like_the_real_one() {
    let scratch = scratch();
    let mut refused = 0;
    for seed in 0..SEEDS {
        let root = scratch.join(seed.to_string());
        let (native, still) = (Native::new(&root), Still::new(Platter::default()));
        let (mut real, mut simulated) = (Side::new(native.disk()), Side::new(still.disk()));
        let mut luck = Luck::new(seed, Domain::Disk(0));
        let mut story = vec![Ask::CreateDir("")];
        story.extend((0..OPERATIONS).map(|_| ask(&mut luck)));
        for (number, ask) in story.iter().enumerate() {
            let answers = (block_on(real.answer(ask)), block_on(simulated.answer(ask)));
            refused += u64::from(matches!(answers.0, Answer::Refused(_)));
            if answers.0 != answers.1 {
                let _gone = fs::remove_dir_all(&scratch);
                let before = &story[number.saturating_sub(40)..number];
                let (real, simulated) = (in_short(&answers.0), in_short(&answers.1));
                panic!(
                    "seed {seed}, operation {number}: {ask:?}\nreal:      {real}\n\
                     simulated: {simulated}\nbefore: {before:?}"
                );
            }
        }
    }
    let _gone = fs::remove_dir_all(&scratch);
    assert!(refused > SEEDS * 10, "only {refused} refusals were compared");
}
