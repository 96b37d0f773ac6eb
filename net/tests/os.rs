//! What is particular to the real doors. What every door promises is in the contract suite.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a door's tests look behind it"
)]

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::runtime::{
    Clock, Disk, DiskErrorKind, File, Handle, Listener, Net, NetErrorKind, Open, ReadMode, Runtime,
    Stream, StreamRead, StreamWrite, Task, queue,
};
use trilith_net::os::{Os, run_core};

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trilith-net-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_lock_outlives_the_calls_made_under_it() {
    let scratch = Scratch::new();
    run_core(&scratch.0, async |os| {
        let lock = os.disk().lock("LOCK").await.unwrap();
        let file = os.disk().open("a", Open::Create).await.unwrap();
        let zeros = Bytes::from(vec![0; 64 << 20]);
        // Started, and left: it is under way on another thread.
        let started = os.clock().now() + Duration::from_millis(1);
        let write = file.write_at(0, zeros);
        let _left = trilith_engine::runtime::timeout(os.clock(), started, write).await;
        drop(lock);
        let next = loop {
            match os.disk().lock("LOCK").await {
                Ok(next) => break next,
                Err(error) => assert_eq!(error.kind, DiskErrorKind::Locked),
            }
        };
        assert_eq!(file.len().await.unwrap(), 64 << 20, "the lock was let go before the end");
        drop(next);
    })
    .unwrap();
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn within(os: &Os, millis: u64) -> trilith_engine::runtime::Instant {
    os.clock().now() + Duration::from_millis(millis)
}

#[test]
fn a_cold_read_and_a_warm_one_agree() {
    let scratch = Scratch::new();
    run_core(&scratch.0, async |os| {
        let file = os.disk().open("a", Open::Create).await.unwrap();
        let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_at(0, Bytes::from(bytes.clone())).await.unwrap();
        file.sync().await.unwrap();
        // Large enough to be read elsewhere, small enough to be read here, and across the end.
        for (from, len) in [(0, 200_000), (7, 100), (199_990, 100), (200_000, 1)] {
            let to = (from + len).min(bytes.len());
            for mode in [ReadMode::Uncached, ReadMode::Cached, ReadMode::Cached] {
                let read = file.read_at(from as u64, vec![9; len], mode).await.unwrap();
                assert_eq!(read, &bytes[from..to], "{len} bytes at {from}, {mode:?}");
            }
        }
    })
    .unwrap();
}

#[test]
fn a_refusal_names_the_whole_path() {
    let scratch = Scratch::new();
    run_core(&scratch.0, async |os| {
        let missing = os.disk().open("nothing", Open::Write).await.unwrap_err();
        assert_eq!(missing.kind, DiskErrorKind::NotFound);
        assert_eq!(PathBuf::from(missing.name), scratch.0.join("nothing"));
        let invalid = os.disk().open("../x", Open::Write).await.unwrap_err();
        assert_eq!(invalid.kind, DiskErrorKind::Invalid);
    })
    .unwrap();
}

#[test]
fn bytes_arrive_in_order_and_then_the_end() {
    run_core("", async |os| {
        let mut listener = os.net().listen(any_port()).await.unwrap();
        let to = listener.local();
        let echo = os.task().spawn("echo", async move {
            let (stream, _from) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let mut buffer = vec![0; 1000];
            loop {
                let read = reader.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                let mut rest = &buffer[..read];
                while !rest.is_empty() {
                    let taken = writer.write(rest).await.unwrap();
                    rest = &rest[taken..];
                }
            }
            writer.shutdown().await.unwrap();
        });
        let stream = os.net().connect(to, within(&os, 5000)).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sender = os.task().spawn("sender", async move {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let taken = writer.write(rest).await.unwrap();
                rest = &rest[taken..];
            }
            writer.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        let mut buffer = vec![0; 4096];
        loop {
            let read = reader.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..read]);
        }
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        sender.join().await;
        echo.join().await;
    })
    .unwrap();
}

/// All clients of a node that is gone come to another one at once, before it accepts any.
#[test]
fn whoever_comes_in_a_crowd_is_heard() {
    let kernels = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if kernels.trim().parse::<u32>().unwrap() < 1024 {
        eprintln!("left out: this kernel lets fewer wait");
        return;
    }
    run_core("", async |os| {
        let listener = os.net().listen(any_port()).await.unwrap();
        let mut held = Vec::new();
        while held.len() < 400 {
            held.push(os.net().connect(listener.local(), within(&os, 20_000)).await.unwrap());
        }
    })
    .unwrap();
}

#[test]
fn connecting_to_nobody_fails_within_the_deadline() {
    run_core("", async |os| {
        let at = {
            let listener = os.net().listen(any_port()).await.unwrap();
            let taken = os.net().listen(listener.local()).await.unwrap_err();
            assert_eq!(taken.kind, NetErrorKind::AddressInUse);
            listener.local()
        };
        let refused = os.net().connect(at, within(&os, 5000)).await.unwrap_err();
        assert_eq!(refused.kind, NetErrorKind::Refused);

        // A listener that does not accept, with its backlog of one filled: the kernel drops the
        // next request, and the connecting side hears nothing, as from a host without power.
        let silent = std::net::TcpListener::bind(any_port()).unwrap();
        let to = silent.local_addr().unwrap();
        rustix::net::listen(&silent, 0).unwrap();
        let mut held = Vec::new();
        let start = os.clock().now();
        let timed_out = loop {
            match os.net().connect(to, within(&os, 100)).await {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(timed_out.kind, NetErrorKind::TimedOut);
        assert!(held.len() < 4, "{} connections before the backlog was full", held.len());
        assert!(os.clock().now().since(start) < Duration::from_secs(5));
        let late = os.net().connect(to, os.clock().now()).await.unwrap_err();
        assert_eq!(late.kind, NetErrorKind::TimedOut);

        let elsewhere = os.net().listen("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert_eq!(elsewhere.kind, NetErrorKind::AddressUnavailable);
    })
    .unwrap();
}

#[test]
fn a_connection_that_is_torn_down_is_reset() {
    run_core("", async |os| {
        let mut listener = os.net().listen(any_port()).await.unwrap();
        let mut stream = os.net().connect(listener.local(), within(&os, 5000)).await.unwrap();
        let (mut other, _from) = listener.accept().await.unwrap();
        assert_eq!(other.write(b"unread").await.unwrap(), 6);
        let mut one = [0; 1];
        assert_eq!(stream.read(&mut one).await.unwrap(), 1);
        // Dropped with five bytes unread: the other side learns that they were lost.
        drop(stream);
        let end = loop {
            match other.read(&mut one).await {
                Ok(0) => panic!("a clean end, though bytes were lost"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind, NetErrorKind::Reset);
    })
    .unwrap();
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    run_core("", async |os| {
        let mut listener = os.net().listen(any_port()).await.unwrap();
        let mut stream = os.net().connect(listener.local(), within(&os, 5000)).await.unwrap();
        let (_other, _from) = listener.accept().await.unwrap();
        let chunk = vec![1; 1 << 20];
        let mut taken = 0;
        loop {
            let deadline = within(&os, 200);
            match trilith_engine::runtime::timeout(os.clock(), deadline, stream.write(&chunk)).await
            {
                Ok(Ok(n)) => taken += n,
                Ok(Err(error)) => panic!("{error}"),
                Err(_elapsed) => break,
            }
            assert!(taken < 256 << 20, "no back-pressure after {taken} bytes");
        }
    })
    .unwrap();
}

#[test]
fn a_computation_keeps_no_task_waiting() {
    run_core("", async |os| {
        let flag = Arc::new(AtomicBool::new(false));
        let (inner, raised) = (os.clone(), Arc::clone(&flag));
        let _task = os.task().spawn("flag", async move {
            inner.clock().sleep_until(within(&inner, 5)).await;
            raised.store(true, Ordering::Release);
        });
        // It ends early only if the task gets its turn meanwhile.
        let saw_it = os.task().compute(move || {
            (0..1_000).any(|_| {
                thread::sleep(Duration::from_millis(5));
                flag.load(Ordering::Acquire)
            })
        });
        assert!(saw_it.await, "the task had to wait for the computation");
    })
    .unwrap();
}

#[test]
fn two_cores_are_two_threads_and_speak_by_queues() {
    let (sender, mut receiver) = queue::<thread::ThreadId>(1);
    let other = thread::spawn(move || {
        run_core("", async |os| {
            let inner = os.clone();
            let task = os.task().spawn("sender", async move {
                inner.clock().sleep_until(within(&inner, 5)).await;
                sender.send(thread::current().id()).await.unwrap();
            });
            task.join().await;
            thread::current().id()
        })
        .unwrap()
    });
    let heard = run_core("", async |_os| receiver.recv().await.unwrap()).unwrap();
    assert_eq!(heard, other.join().unwrap());
    assert_ne!(heard, thread::current().id());
}

#[test]
fn a_panic_and_a_dropped_handle_end_a_task_only() {
    run_core("", async |os| {
        let ran = Arc::new(AtomicUsize::new(0));
        os.task().spawn("panics", async { panic!("this panic belongs to the test") }).join().await;
        let inner = (os.clone(), Arc::clone(&ran));
        let cancelled = os.task().spawn("cancelled", async move {
            let (os, ran) = inner;
            ran.fetch_add(1, Ordering::SeqCst);
            os.clock().sleep_until(within(&os, 5)).await;
            ran.fetch_add(100, Ordering::SeqCst);
        });
        os.task().yield_now().await;
        drop(cancelled);
        let detached = Arc::clone(&ran);
        os.task()
            .spawn("detached", async move { _ = detached.fetch_add(10, Ordering::SeqCst) })
            .detach();
        os.clock().sleep_until(within(&os, 20)).await;
        assert_eq!(ran.load(Ordering::SeqCst), 11);
    })
    .unwrap();
}
