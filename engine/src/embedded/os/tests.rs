//! What is particular to this door. What every door promises is in the contract suite.

#![expect(clippy::disallowed_methods, reason = "a door's tests look behind it")]

use alloc::{format, sync::Arc, vec, vec::Vec};
use bytes::Bytes;
use core::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use std::{fs, path::PathBuf, thread, time};

use super::{Native, NativeClock, block_on};
use crate::runtime::{
    Clock, Disk, DiskErrorKind, Either, File, Handle, Open, ReadMode, Rng, Runtime, Task, queue,
    race, timeout,
};

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("trilith-os-{}-{n}", std::process::id())))
    }

    fn native(&self) -> Native {
        let native = Native::new(&self.0);
        block_on(native.disk().create_dir("")).unwrap();
        native
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_written_read_and_cut() {
    let scratch = Scratch::new();
    let native = scratch.native();
    block_on(async {
        let file = native.disk().open("a", Open::Create).await.unwrap();
        file.allocate(3 << 20).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 3 << 20);
        file.write_at(5000, Bytes::from_static(b"stone")).await.unwrap();
        file.sync().await.unwrap();
        for mode in [ReadMode::Cached, ReadMode::Uncached] {
            let read = file.read_at(4999, vec![7; 7], mode).await.unwrap();
            assert_eq!(read, b"\0stone\0", "{mode:?}");
        }
        file.set_len(5003).await.unwrap();
        file.sync().await.unwrap();
        for mode in [ReadMode::Cached, ReadMode::Uncached] {
            let end = |at| file.read_at(at, vec![7; 9], mode);
            assert_eq!(end(5000).await.unwrap(), b"sto", "{mode:?}");
            assert_eq!(end(5003).await.unwrap(), b"", "{mode:?}");
            assert_eq!(end(1 << 40).await.unwrap(), b"", "{mode:?}");
            assert_eq!(end(u64::MAX).await.unwrap(), b"", "{mode:?}");
        }
    });
}

#[test]
fn an_uncached_read_sees_every_write_that_returned() {
    let scratch = Scratch::new();
    let native = scratch.native();
    block_on(async {
        let file = native.disk().open("a", Open::Create).await.unwrap();
        let bytes: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_at(0, Bytes::from(bytes.clone())).await.unwrap();
        // Longer than two windows, at their edges, and over the end.
        let edge = 1 << 20;
        let ranges = [(0, 2_400_000), (1, 4095), (4095, 2), (4096, 4096), (2_399_999, 5)];
        let edges = [(5, 2_399_995), (edge - 1, 2), (7, edge - 7), (7, edge), (edge, edge + 4096)];
        for (from, len) in ranges.into_iter().chain(edges) {
            let read = file.read_at(from as u64, vec![0; len], ReadMode::Uncached).await.unwrap();
            let to = (from + len).min(bytes.len());
            assert_eq!(read, &bytes[from..to], "{len} bytes at {from}");
        }
    });
}

#[test]
fn a_refusal_names_the_whole_path_and_the_reason() {
    let scratch = Scratch::new();
    let native = scratch.native();
    fs::create_dir(scratch.0.join("dir")).unwrap();
    let disk = native.disk();
    let open = |name: &'static str, how| block_on(disk.open(name, how)).unwrap_err();

    let missing = open("nothing", Open::Read);
    assert_eq!(missing.kind, DiskErrorKind::NotFound);
    assert_eq!(PathBuf::from(&missing.name), scratch.0.join("nothing"));
    assert_eq!(missing.detail, "No such file or directory (os error 2)");

    assert_eq!(open("dir", Open::Read).kind, DiskErrorKind::Invalid);
    assert_eq!(open("dir", Open::Write).kind, DiskErrorKind::Invalid);
    assert_eq!(open("dir", Open::Create).kind, DiskErrorKind::Exists);
    for name in ["", "/etc/passwd", "../a", "a//b", "a/", "a/./b", "ä", "a\0b", "a\\b"] {
        assert_eq!(open(name, Open::Create).kind, DiskErrorKind::Invalid, "{name:?}");
    }
}

#[test]
fn a_lock_says_who_holds_it() {
    let scratch = Scratch::new();
    let (native, other) = (scratch.native(), scratch.native());
    let lock = block_on(native.disk().lock("LOCK")).unwrap();
    let refused = block_on(other.disk().lock("LOCK")).unwrap_err();
    assert_eq!(refused.kind, DiskErrorKind::Locked);
    assert_eq!(refused.detail, format!("process {}", std::process::id()));
    drop(lock);
    block_on(other.disk().lock("LOCK")).unwrap();
}

#[test]
fn the_root_is_made_with_its_parents() {
    let scratch = Scratch::new();
    let native = Native::new(scratch.0.join("a/b/c"));
    block_on(native.disk().create_dir("")).unwrap();
    block_on(native.disk().create_dir("")).unwrap();
    assert!(scratch.0.join("a/b/c").is_dir());
    fs::write(scratch.0.join("file"), b"").unwrap();
    let blocked = Native::new(scratch.0.join("file"));
    let refused = block_on(blocked.disk().create_dir("")).unwrap_err();
    assert_eq!(refused.kind, DiskErrorKind::Exists);
}

#[test]
fn sleeps_end_in_order_and_never_early() {
    let clock = NativeClock;
    block_on(async {
        let start = clock.now();
        let (short, long) = (Duration::from_millis(5), Duration::from_secs(600));
        let first = race(clock.sleep_until(start + long), clock.sleep_until(start + short)).await;
        assert_eq!(first, Either::Right(()));
        assert!(clock.now().since(start) >= short);
    });
}

#[test]
fn a_race_with_a_sleep_does_not_wait_for_it() {
    let scratch = Scratch::new();
    let native = scratch.native();
    let (sender, mut receiver) = queue::<u64>(1);
    let clock = *native.clock();
    let task = native.task().spawn("sender", async move {
        clock.sleep_until(clock.now() + Duration::from_millis(2)).await;
        sender.send(7).await.unwrap();
    });
    let far = native.clock().now() + Duration::from_secs(600);
    let got = block_on(timeout(native.clock(), far, receiver.recv())).unwrap();
    assert_eq!(got, Ok(7));
    block_on(task.join());
}

#[test]
fn a_queue_between_threads_loses_nothing_and_nobody_sleeps_on() {
    const EACH: u64 = 20_000;
    let (sender, mut receiver) = queue::<u64>(2);
    let (bored, mut never) = queue::<u64>(1);
    let threads: Vec<_> = (0..2)
        .map(|at| {
            let sender = sender.clone();
            thread::spawn(move || {
                for value in 0..EACH {
                    block_on(sender.send(at * EACH + value)).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut seen: Vec<u64> = Vec::new();
    while let Either::Right(Ok(value)) = block_on(race(never.recv(), receiver.recv())) {
        seen.push(value);
    }
    drop(bored);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(seen.iter().filter(|value| **value < EACH).is_sorted());
    seen.sort_unstable();
    assert_eq!(seen, (0..2 * EACH).collect::<Vec<_>>());
}

#[test]
fn a_core_is_one_thread_that_ends_with_its_tasks() {
    let native = Native::new("");
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (names, inner) = (Arc::clone(&names), native.clone());
            native.task().spawn("who", async move {
                inner.task().yield_now().await;
                names.lock().unwrap().push(thread::current().id());
            })
        })
        .collect();
    for task in tasks {
        block_on(task.join());
    }
    let other = native.another_core();
    let elsewhere = Arc::clone(&names);
    block_on(
        other
            .task()
            .spawn("who", async move { elsewhere.lock().unwrap().push(thread::current().id()) })
            .join(),
    );
    let ids = names.lock().unwrap().clone();
    assert_eq!(ids.len(), 5);
    assert!(ids[..4].iter().all(|id| *id == ids[0] && *id != thread::current().id()));
    assert_ne!(ids[4], ids[0]);
}

#[test]
fn a_panic_and_a_dropped_handle_end_a_task_only() {
    let native = Native::new("");
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let panics = native.task().spawn("panics", async { panic!("this panic belongs to the test") });
    block_on(panics.join());

    let counts = Counts(Arc::clone(&dropped));
    let waits = native.task().spawn("waits", async move {
        let _counts = counts;
        core::future::pending::<()>().await;
    });
    // It runs up to its await, then its handle goes.
    block_on(native.task().spawn("after", async {}).join());
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(waits);
    block_on(native.task().spawn("after", async {}).join());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn streams_of_luck_differ() {
    let native = Native::new("");
    let draw = || -> Vec<u64> {
        let mut rng = native.rng("test");
        (0..64).map(|_| rng.next_u64()).collect()
    };
    let (a, b) = (draw(), draw());
    assert!(a.iter().all(|x| !b.contains(x)));
    let ones: u32 = a.iter().chain(&b).map(|x| x.count_ones()).sum();
    assert!((3_500..4_700).contains(&ones), "{ones} of 8192 bits");
}

#[test]
fn the_wall_clock_is_the_machines() {
    let since = time::SystemTime::now().duration_since(time::UNIX_EPOCH).unwrap();
    let wall = NativeClock.wall();
    assert!(wall.0.abs_diff(u64::try_from(since.as_millis()).unwrap()) < 10_000);
    assert!(NativeClock.now() <= NativeClock.now());
}
