//! The seven things a store must show before anybody trusts it, on real files.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "an ordinary program's files, threads and processes"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use trilith_engine::{Durability, KvError, KvStore, WriteBatch, journal::seed_log};

/// A directory that is gone when the test is over.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = env::temp_dir().join(format!("trilith-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn relaxed(path: &Path) -> KvStore {
    let durability = Durability::Batch { bytes: 1 << 20, millis: 50 };
    KvStore::options().durability(durability).open(path).unwrap()
}

/// A small generator: tests must not depend on chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn all(store: &KvStore) -> BTreeMap<String, Vec<u8>> {
    let items = store.prefix(b"").unwrap().map(|item| item.unwrap());
    items.map(|(key, value)| (String::from_utf8(key).unwrap(), value)).collect()
}

/// Overwrites and deletes at random, in the store and in a map.
fn mixed(store: &KvStore, model: &mut BTreeMap<String, Vec<u8>>, dice: &mut Dice, ops: usize) {
    for _ in 0..ops {
        let key = format!("key-{}", dice.roll(500));
        if dice.roll(4) == 0 {
            let expect = model.remove(&key).map(|_| ()).ok_or(KvError::NotFound);
            assert_eq!(store.delete(&key), expect);
        } else {
            let value = vec![dice.roll(256) as u8; dice.roll(300) as usize];
            store.set(key.clone(), value.clone()).unwrap();
            model.insert(key, value);
        }
    }
}

#[test]
fn replay_correctness() {
    let dir = Dir::new("replay");
    let (mut model, mut dice) = (BTreeMap::new(), Dice(1));
    for round in 0..4 {
        let store = relaxed(&dir.0);
        assert_eq!(all(&store), model, "round {round}");
        mixed(&store, &mut model, &mut dice, 1500);
        assert_eq!(all(&store), model);
        assert_eq!(store.len(), model.len());
        if round % 2 == 0 {
            store.close().unwrap();
            assert_eq!(store.set("late".to_owned(), vec![]), Err(KvError::Closed));
        }
    }
}

/// The newest journal segment of a directory, as a file that still has frames at its end.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir.join("j")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn tail_truncation() {
    let dir = Dir::new("tail");
    let copy = Dir::new("tail-copy");
    let store = KvStore::open(&dir.0).unwrap();
    for n in 0..20 {
        store.set(format!("key-{n}"), vec![n; 2000]).unwrap();
    }
    // A copy of a running store's files is what a crash leaves.
    copy_dir(&dir.0, &copy.0);
    let file = segments(&copy.0)
        .into_iter()
        .max_by_key(|file| fs::read(file).unwrap().iter().filter(|byte| **byte != 0).count())
        .unwrap();
    let bytes = fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Half of the last record never reached the device: its sectors still hold what was there
    // before, zeros.
    let cut = (used - 1200).next_multiple_of(512);
    let mut torn = bytes.clone();
    torn[cut..].fill(0);
    fs::write(&file, &torn).unwrap();
    let after = KvStore::open(&copy.0).unwrap();
    for n in 0..19 {
        assert_eq!(after.get(&format!("key-{n}")).unwrap(), Some(vec![n; 2000]));
    }
    assert_eq!(after.get("key-19").unwrap(), None);
    after.set("key-19".to_owned(), vec![1]).unwrap();
    assert_eq!(after.get("key-19").unwrap(), Some(vec![1]));
    // What lies before the tail is no tail: it is never cut.
    after.close().unwrap();
    copy_dir(&dir.0, &copy.0);
    let mut rotten = bytes;
    rotten[used / 2] ^= 0x40;
    fs::write(&file, &rotten).unwrap();
    assert!(matches!(KvStore::open(&copy.0), Err(KvError::CorruptLog(_))));
}

fn copy_dir(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn used_bytes(dir: &Path) -> u64 {
    let files = |sub: &str| fs::read_dir(dir.join(sub)).unwrap();
    let entries = files("j").chain(files("d"));
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn compaction_idempotence() {
    let dir = Dir::new("compaction");
    let (mut model, mut dice) = (BTreeMap::new(), Dice(2));
    let store = relaxed(&dir.0);
    mixed(&store, &mut model, &mut dice, 20_000);
    let before = segments(&dir.0);
    store.compact().unwrap();
    assert_eq!(all(&store), model);
    store.compact().unwrap();
    assert_eq!(all(&store), model);
    let stats = store.stats().unwrap();
    assert_eq!((stats.dead_bytes, stats.tombstone_bytes), (0, 0), "{stats:?}");
    assert_eq!(store.verify().unwrap().damages, Vec::<String>::new());
    store.close().unwrap();
    let after = segments(&dir.0);
    assert!(before.iter().take(1).all(|file| !after.contains(file)), "old files are gone");
    let reopened = relaxed(&dir.0);
    assert_eq!(all(&reopened), model);
    mixed(&reopened, &mut model, &mut dice, 500);
    assert_eq!(all(&reopened), model);
}

#[test]
fn concurrency() {
    let dir = Dir::new("concurrency");
    let store = relaxed(&dir.0);
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    // Both keys of a pair always have the same value: batches are seen whole.
    let pair = |n: u64| (format!("a{n}"), format!("b{n}"));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut dice = Dice(7);
                while !done.load(Ordering::Relaxed) {
                    let (a, b) = pair(dice.roll(50));
                    let snapshot = store.snapshot().unwrap();
                    let (a, b) = (snapshot.get(a.as_bytes()), snapshot.get(b.as_bytes()));
                    assert_eq!(a.unwrap(), b.unwrap(), "half a batch");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut dice = Dice(8);
        for n in 0..4000_u64 {
            let (a, b) = pair(dice.roll(50));
            let mut batch = WriteBatch::new();
            batch.put(a, n.to_le_bytes()).put(b, n.to_le_bytes());
            store.batch(batch).unwrap();
            if n == 2000 {
                store.compact().unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 0);
    // Many writers, every answered write durable: they share syncs, and each sees its own write.
    let strict = Dir::new("concurrency-strict");
    let store = KvStore::open(&strict.0).unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..25 {
                    let key = format!("{writer}-{n}");
                    store.set(key.clone(), vec![writer]).unwrap();
                    assert_eq!(store.get(&key).unwrap(), Some(vec![writer]));
                    assert!(store.compare_and_set(b"shared", None, vec![writer]).is_ok());
                }
            });
        }
    });
    assert_eq!(store.len(), 8 * 25 + 1);
}

#[test]
fn fuzz_the_parser() {
    let mut dice = Dice(3);
    let mut good = seed_log_bytes();
    for _ in 0..20_000 {
        let len = dice.roll(200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.roll(256) as u8).collect();
        if dice.roll(2) == 0 {
            bytes = good.clone();
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.roll(8);
        }
        for entry in seed_log::read(&bytes) {
            assert!(entry.is_err() || entry.unwrap().key.len() <= bytes.len());
        }
    }
    // A whole directory with one damaged file: an error or the truth, never a panic.
    let dir = Dir::new("fuzz");
    let copy = Dir::new("fuzz-copy");
    let store = KvStore::open(&dir.0).unwrap();
    for n in 0..30_u8 {
        store.set(format!("key-{n}"), vec![n; 50]).unwrap();
    }
    store.close().unwrap();
    for round in 0..60 {
        copy_dir(&dir.0, &copy.0);
        let mut files = segments(&copy.0);
        files.extend(fs::read_dir(&copy.0).unwrap().map(|entry| entry.unwrap().path()));
        files.retain(|file| file.is_file() && fs::metadata(file).unwrap().len() > 0);
        let file = &files[dice.roll(files.len() as u64) as usize];
        let mut bytes = fs::read(file).unwrap();
        let reach = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(reach) as usize;
            bytes[at] = dice.roll(256) as u8;
        }
        fs::write(file, &bytes).unwrap();
        match KvStore::open(&copy.0) {
            Ok(store) => {
                for n in 0..30_u8 {
                    match store.get(&format!("key-{n}")) {
                        Ok(value) => assert_eq!(value, Some(vec![n; 50]), "round {round}"),
                        Err(error) => assert!(matches!(error, KvError::CorruptLog(_)), "{error}"),
                    }
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    good.truncate(good.len() - 3);
    let log = dir.0.join("current.log");
    fs::write(&log, &good).unwrap();
    let store = KvStore::open(&dir.0).unwrap();
    let report = store.import(&log).unwrap();
    assert!(report.entries == 1 && report.tail.is_some(), "{report:?}");
    assert_eq!(store.get("k").unwrap(), Some(b"value".to_vec()));
    fs::write(&log, b"milk, eggs").unwrap();
    assert!(matches!(store.import(&log), Err(KvError::Unusable(_))));
}

/// Two entries of the first format: a set and a delete.
fn seed_log_bytes() -> Vec<u8> {
    let mut out = Vec::new();
    for (op, key, value) in [(0_u8, b"k", &b"value"[..]), (1, b"k", b"")] {
        out.extend_from_slice(b"KV01");
        out.extend_from_slice(&1_u16.to_le_bytes());
        let start = out.len();
        out.push(op);
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        let crc = trilith_engine::codec::crc(0, &out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }
    out
}

const CHILD: &str = "TRILITH_DURABILITY_CHILD";

/// Kills a real process in the middle of its writes, again and again. Every write that it said was
/// done is there afterwards.
#[test]
fn durability() {
    if let Ok(dir) = env::var(CHILD) {
        return write_forever(Path::new(&dir));
    }
    let dir = Dir::new("durability");
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..6_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["durability", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &dir.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let Some((key, n)) = line.strip_prefix("done ").and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            newest.insert(key.to_owned(), n.parse().unwrap());
            seen += 1;
            if seen == 40 + round * 13 {
                // SIGKILL: nothing is flushed, nobody is asked. What it still said is read on.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 40, "the child wrote {seen}");
        let store = KvStore::open(&dir.0).unwrap();
        for (key, n) in &newest {
            let found =
                store.get(key).unwrap().map(|value| u64::from_le_bytes(value.try_into().unwrap()));
            // The write after the last one that was told may be there too.
            assert!(found.is_some_and(|found| found >= *n), "{key}: {found:?}, told {n}");
        }
    }
}

fn write_forever(dir: &Path) {
    let store = KvStore::open(dir).unwrap();
    let start =
        store.get("count").unwrap().map_or(0, |n| u64::from_le_bytes(n.try_into().unwrap()));
    let mut out = std::io::stdout();
    for n in start + 1.. {
        let key = format!("key-{}", n % 17);
        let mut batch = WriteBatch::new();
        batch.put(key.as_str(), n.to_le_bytes()).put("count", n.to_le_bytes());
        store.batch(batch).unwrap();
        writeln!(out, "done {key} {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn load() {
    let dir = Dir::new("load");
    let store = relaxed(&dir.0);
    let keys = 50_000_u64;
    for round in 0..3_u64 {
        for from in (0..keys).step_by(500) {
            let mut batch = WriteBatch::new();
            for n in from..from + 500 {
                batch.put(format!("key-{n:08}"), (n + round).to_le_bytes());
            }
            store.batch(batch).unwrap();
        }
    }
    assert_eq!(store.len() as u64, keys);
    let stats = store.stats().unwrap();
    assert!(
        stats.index_bytes as u64 <= keys * 48,
        "{} bytes a key",
        stats.index_bytes as u64 / keys
    );
    store.compact().unwrap();
    for _ in 0..100 {
        if used_bytes(&dir.0) < 16 << 20 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let stats = store.stats().unwrap();
    assert_eq!(stats.dead_bytes, 0, "{stats:?}");
    assert!(stats.live_bytes < 4 << 20, "{stats:?}");
    store.close().unwrap();
    let store = relaxed(&dir.0);
    assert_eq!(store.len() as u64, keys);
    assert_eq!(store.get("key-00000007").unwrap(), Some(9_u64.to_le_bytes().to_vec()));
}
