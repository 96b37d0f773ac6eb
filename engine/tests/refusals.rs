//! What a store says when its directory is not what it should be: on real files, in words that say
//! what to do, and with nothing changed.
//!
//! Not here: crashes and failing devices (the simulator plays those), the program's own codes
//! (`bin/tests/bad_input.rs`).
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an ordinary program's files and threads"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use trilith_engine::{KvError, KvStore};

/// A directory that is gone when the test is over.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = env::temp_dir().join(format!("trilith-refusals-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_foreign_directory_is_left_as_it_was() {
    let dir = Dir::new("foreign");
    fs::create_dir_all(&dir.0).unwrap();
    fs::write(dir.0.join("notes.txt"), b"not ours").unwrap();
    let refused = KvStore::open(&dir.0).unwrap_err();
    assert!(matches!(&refused, KvError::Unusable(why) if why.contains("notes.txt")), "{refused}");
    assert!(refused.to_string().contains("name an empty or a new directory"), "{refused}");
    assert_eq!(names(&dir.0), BTreeSet::from(["notes.txt".to_owned()]));
}

/// The one data segment of a store that was compacted.
fn data_segment(dir: &Path) -> PathBuf {
    let files = names(&dir.join("d"));
    assert_eq!(files.len(), 1, "{files:?}");
    dir.join("d").join(files.first().unwrap())
}

#[test]
fn verifying_goes_on_behind_the_first_damage() {
    let dir = Dir::new("verify");
    let store = KvStore::open(&dir.0).unwrap();
    for n in 0..12_u8 {
        store.set(format!("key-{n:02}"), vec![n + 1; 100_000]).unwrap();
    }
    store.compact().unwrap();
    let report = store.verify().unwrap();
    assert_eq!((report.keys, report.damaged), (12, 0), "{report:?}");
    assert!(report.segments > 0 && report.segment_bytes > 1_200_000, "{report:?}");

    let file = fs::OpenOptions::new().write(true).open(data_segment(&dir.0)).unwrap();
    file.write_all_at(b"rot", 50_000).unwrap();
    file.write_all_at(b"rot", 950_000).unwrap();
    let report = store.verify().unwrap();
    let keys = report.damages.iter().filter(|damage| damage.starts_with("key")).count();
    assert_eq!((keys, report.damaged), (2, 4), "two places, and the key of each: {report:?}");
    // What is damaged is refused, and is not gone; what is whole is served.
    assert!(matches!(store.get("key-00"), Err(KvError::CorruptLog(_))));
    assert_eq!(store.get("key-05").unwrap(), Some(vec![6; 100_000]));
    assert_eq!(store.len(), 12);
}

#[test]
fn space_that_a_reader_holds_is_told_and_comes_back() {
    let dir = Dir::new("reclaim");
    let store = KvStore::open(&dir.0).unwrap();
    for round in 0..3_u8 {
        for n in 0..10 {
            store.set(format!("key-{n}"), vec![round; 50_000]).unwrap();
        }
    }
    let snapshot = store.snapshot().unwrap();
    store.compact().unwrap();
    let held = store.stats().unwrap();
    assert!(held.pending_reclaim_bytes >= 1 << 20, "{held:?}");
    assert_eq!(snapshot.get(b"key-3").unwrap(), Some(vec![2; 50_000]));
    drop(snapshot);
    for _ in 0..200 {
        if store.stats().unwrap().pending_reclaim_bytes == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came back: {:?}", store.stats());
}
