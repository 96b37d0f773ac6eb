//! A store, opened for one command: the lone store on this machine's disk, driven on this thread,
//! with its refusals in the program's words.
//!
//! One command is one owner, so nothing here shares or waits for company: whoever has many writes
//! hands them over together, and they share a sync.
//!
//! Not here: the store (`trilith_engine::lone`), sharing it between threads.

use std::{
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
};
use trilith_engine::{
    embedded::os::{Native, block_on},
    journal::{JournalError, OpenError, ReadError, Sync},
    lone::{
        BatchOutcome, Effort, Store, StoreError, StoreOptions, StoreStats, Verification,
        VerifyReport, WriteBatch,
    },
    runtime::DiskErrorKind,
    value::{Item, Scan, View},
};

use crate::failure::{self, Code, Failure, Outcome};

/// Keys of a page of a scan: enough to be quick, little enough to hold.
const PAGE_KEYS: usize = 1000;
/// Bytes of values of a page of a scan.
const PAGE_BYTES: usize = 8 << 20;

/// An open store and where it lies.
#[derive(Debug)]
pub struct Data {
    store: Store<Native>,
    dir: PathBuf,
}

/// A piece of a range: from a key on, or behind it.
pub type From = Bound<Vec<u8>>;

impl Data {
    /// Opens a store, making it when there is none.
    pub fn open(dir: &Path) -> Outcome<Self> {
        let opened = block_on(Store::open(Native::new(dir), StoreOptions::default()));
        let (store, _report) = opened.map_err(|error| refused(dir, &error))?;
        Ok(Self { store, dir: dir.to_owned() })
    }

    /// Opens a store that must be there.
    pub fn existing(dir: &Path) -> Outcome<Self> {
        // What holds something else is a foreign directory, and opening says so better.
        match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Self::open(dir),
            Ok(false) => Err(missing(dir, "it is empty")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(missing(dir, &error.to_string()))
            }
            Err(error) => {
                let next = format!("name a directory that you may read: ls -ld {}", dir.display());
                Err(Failure::new(&failure::OPEN, format!("{}: {error}", dir.display()), next))
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Outcome<Option<Vec<u8>>> {
        let found = block_on(self.store.view().get(key, self.store.latest_ms()));
        let found = found.map_err(|error| self.unreadable(&error))?;
        Ok(found.map(|found| found.value))
    }

    /// Writes batches with one sync; each is durable, or refused, when this answers.
    pub fn write(&mut self, batches: &[WriteBatch]) -> Vec<Outcome<BatchOutcome>> {
        let answers = block_on(self.store.commit(batches, Sync::Now));
        answers
            .into_iter()
            .map(|answer| answer.map_err(|error| refused(&self.dir, &error)))
            .collect()
    }

    /// Writes one batch; it is durable when this answers.
    pub fn write_one(&mut self, batch: WriteBatch) -> Outcome<BatchOutcome> {
        let answer = self.write(&[batch]).pop();
        answer.unwrap_or_else(|| Err(Failure::new(&failure::INTERNAL, "no answer", "report it")))
    }

    /// Hands every key and value of a range to `take`, in order, until it says to stop.
    pub fn scan(
        &self,
        from: From,
        to: Bound<&[u8]>,
        mut take: impl FnMut(Item) -> Outcome<bool>,
    ) -> Outcome {
        let view = self.store.view();
        let mut from = from;
        loop {
            let start = from.as_ref().map(Vec::as_slice);
            let scan = Scan { start, end: to, keys_max: PAGE_KEYS, bytes_max: PAGE_BYTES };
            let page = block_on(view.scan(scan, self.store.latest_ms()));
            let page = page.map_err(|error| self.unreadable(&error))?;
            for item in page.items {
                if !take(item)? {
                    return Ok(());
                }
            }
            match page.next {
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }

    /// What there is to verify.
    pub fn verification(&self) -> Verification<Native> {
        self.store.verification()
    }

    /// Reads everything there is to verify.
    pub fn verify(verification: Verification<Native>, step: impl FnMut()) -> VerifyReport {
        block_on(verification.run(step))
    }

    /// Background work that is worth it: prepared segments, footers, compaction.
    pub fn tend(&mut self) -> Outcome {
        let done = block_on(self.store.work(Effort::Worthwhile));
        done.map(|_| ()).map_err(|error| refused(&self.dir, &error))
    }

    /// Moves everything live together and gives the rest of the space back.
    pub fn compact(&mut self) -> Outcome {
        block_on(self.store.compact_all()).map_err(|error| refused(&self.dir, &error))
    }

    /// What it holds and what it costs.
    pub fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// Seals everything, so that opening again is quick.
    pub fn close(self) -> Outcome {
        let Self { store, dir } = self;
        block_on(store.close()).map_err(|error| refused(&dir, &error))
    }

    fn unreadable(&self, error: &ReadError) -> Failure {
        refused(&self.dir, &StoreError::Read(error.clone()))
    }
}

fn missing(dir: &Path, why: &str) -> Failure {
    let next = format!("trilith kv {} set KEY VALUE makes one", dir.display());
    Failure::new(&failure::OPEN, format!("{}: {why}", dir.display()), next)
}

/// A directory that cannot be opened, with its code and what to do.
pub fn unopenable(dir: &Path, error: &OpenError) -> Failure {
    let shown = dir.display();
    let (code, next): (&'static Code, String) = match error {
        OpenError::Locked => {
            (&failure::LOCKED, format!("end the other process, or wait for it: fuser {shown}/LOCK"))
        }
        OpenError::Foreign { .. } => {
            (&failure::FOREIGN, format!("name another directory; see ls -la {shown}"))
        }
        OpenError::OtherOwner { .. } => (
            &failure::OTHERS,
            format!("name another directory; trilith inspect {shown}/NODE shows whose this is"),
        ),
        OpenError::Newer { .. } => {
            (&failure::NEWER, "use the trilith that wrote it, or a later one".to_owned())
        }
        OpenError::Disk(error) => match error.kind {
            DiskErrorKind::NoSpace => (&failure::FULL, format!("make room: df -h {shown}")),
            DiskErrorKind::Io | DiskErrorKind::Poisoned => {
                (&failure::DISK, "see the system's log: dmesg".to_owned())
            }
            DiskErrorKind::Exists | DiskErrorKind::Invalid => {
                (&failure::OPEN, "name a directory, or a name that is free".to_owned())
            }
            DiskErrorKind::NotFound | DiskErrorKind::Denied | DiskErrorKind::Locked => {
                (&failure::OPEN, format!("check that you may write there: ls -ld {shown}"))
            }
        },
        _ => (&failure::CORRUPT, format!("trilith inspect {shown}")),
    };
    Failure::new(code, format!("{shown}: {error}"), next)
}

/// A refusal of the store, with its code and what to do.
fn refused(dir: &Path, error: &StoreError) -> Failure {
    let shown = dir.display();
    let inspect = format!("trilith inspect {shown}");
    let (code, next): (&'static Code, String) = match error {
        StoreError::Open(error) => return unopenable(dir, error),
        StoreError::Batch(_) => (&failure::TOO_LARGE, "store it in parts".to_owned()),
        StoreError::Journal(JournalError::NoSpace) => (
            &failure::FULL,
            format!(
                "make room (df -h {shown}), or delete keys and trilith kv {shown} compact; the last \
                 {} MiB are kept for that",
                StoreOptions::default().journal.reserve_bytes >> 20
            ),
        ),
        StoreError::Journal(JournalError::NotPrepared(error))
            if error.kind == DiskErrorKind::NoSpace =>
        {
            (&failure::FULL, format!("make room: df -h {shown}"))
        }
        StoreError::Journal(JournalError::Stopped) => (&failure::CLOSED, inspect),
        StoreError::Journal(_) => (
            &failure::DISK,
            format!("see the system's log (dmesg), then trilith kv {shown} verify"),
        ),
        StoreError::Read(ReadError::Disk(_)) => {
            (&failure::DISK, "see the system's log: dmesg".to_owned())
        }
        StoreError::Read(_) => (&failure::CORRUPT, inspect),
        StoreError::Compact(error) if error.faulty().is_some() => {
            (&failure::CORRUPT, format!("see all that is damaged: trilith kv {shown} verify"))
        }
        StoreError::Compact(error) if error.is_full() => {
            (&failure::FULL, format!("make room: df -h {shown}"))
        }
        StoreError::Compact(_) => (&failure::DISK, "see the system's log: dmesg".to_owned()),
    };
    Failure::new(code, format!("{shown}: {error}"), next)
}

/// Bytes of all files of a directory.
pub fn size_on_disk(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => size_on_disk(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}
