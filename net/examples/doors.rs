//! What the doors cost, beside the system calls they are made of.
//!
//! ```console
//! cargo run --release -p trilith-net --example doors [DIRECTORY]
//! ```
//!
//! Each row is one piece of work done in several ways in turn, so that a machine's moods fall on
//! all of them alike; figures are the median and the 99th percentile. The files lie in a directory
//! made below DIRECTORY (the system's for temporary files, when unnamed) and removed afterwards:
//! name one on the device you mean, and no `tmpfs`.
//!
//! Not here: the store (`cargo bench --bench engines`).
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a program that measures")]

use std::{
    env, fs,
    future::Future,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use trilith_engine::{
    embedded::os::{Native, NativeFile, block_on},
    runtime::{
        Clock, Disk, File, Handle, Listener, Net, Open, ReadMode, Receiver, Runtime, Sender,
        StreamRead, StreamWrite, Task, queue,
    },
};
use trilith_net::os::{Os, run_core};

/// One way to do a row's work, and how long each time took.
struct Way {
    name: &'static str,
    times: Vec<Duration>,
}

fn way(name: &'static str) -> Way {
    Way { name, times: Vec::new() }
}

impl Way {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let output = work();
        self.times.push(begun.elapsed());
        output
    }

    async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let output = work.await;
        self.times.push(begun.elapsed());
        output
    }
}

/// Prints a row; `per` pieces of work were timed together.
fn row(title: &str, per: u32, ways: &mut [Way]) {
    println!("{title}");
    let mut limit = None;
    for way in ways {
        way.times.sort_unstable();
        let at = |percent: usize| way.times[(way.times.len() - 1) * percent / 100] / per;
        let (median, tail) = (at(50), at(99));
        let limit = *limit.get_or_insert(median);
        let times = median.as_secs_f64() / limit.as_secs_f64();
        println!("  {:<32} {median:>12.2?} {tail:>12.2?} {times:>7.2} x", way.name);
    }
}

const FILE_BYTES: u64 = 32 << 20;

/// A position in the file, another one each time, aligned.
fn place(round: u64, align: u64) -> u64 {
    round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (FILE_BYTES / align - 16) * align
}

fn raw_file(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

async fn make_file<R: Runtime>(rt: &R, name: &str) -> <R::Disk as Disk>::File {
    rt.disk().create_dir("").await.unwrap();
    let file = rt.disk().open(name, Open::Create).await.unwrap();
    file.allocate(FILE_BYTES).await.unwrap();
    file.sync().await.unwrap();
    file
}

/// Writes of 4 KiB, each made durable: what a commit waits for.
async fn durable(root: &Path, native: &NativeFile, os: &<<Os as Runtime>::Disk as Disk>::File) {
    let raw = raw_file(&root.join("file"));
    let bytes = Bytes::from(vec![7; 4096]);
    let mut ways = [way("pwrite + fdatasync"), way("embedded"), way("net::os")];
    for round in 0..400 {
        ways[0].time(|| {
            raw.write_all_at(&bytes, place(3 * round, 4096)).unwrap();
            raw.sync_data().unwrap();
        });
        ways[1].time(|| {
            block_on(async {
                native.write_at(place(3 * round + 1, 4096), bytes.clone()).await.unwrap();
                native.sync().await.unwrap();
            });
        });
        ways[2]
            .wait(async {
                os.write_at(place(3 * round + 2, 4096), bytes.clone()).await.unwrap();
                os.sync().await.unwrap();
            })
            .await;
    }
    row("durable write of 4 KiB", 1, &mut ways);
}

/// Reads of 150 bytes that are in memory: what a hot get waits for.
async fn point(root: &Path, native: &NativeFile, os: &<<Os as Runtime>::Disk as Disk>::File) {
    const BATCH: u32 = 200;
    let raw = raw_file(&root.join("file"));
    let mut ways =
        [way("pread, one buffer"), way("pread, a new buffer"), way("embedded"), way("net::os")];
    let mut buffer = vec![0; 150];
    for round in 0..500_u64 {
        let places = || (0..u64::from(BATCH)).map(|at| place(round * 1000 + at, 64));
        ways[0].time(|| places().for_each(|at| raw.read_exact_at(&mut buffer, at).unwrap()));
        ways[1].time(|| {
            for at in places() {
                let mut buffer = vec![0; 150];
                raw.read_exact_at(&mut buffer, at).unwrap();
            }
        });
        ways[2].time(|| {
            for at in places() {
                block_on(native.read_at(at, vec![0; 150], ReadMode::Cached)).unwrap();
            }
        });
        ways[3]
            .wait(async {
                for at in places() {
                    os.read_at(at, vec![0; 150], ReadMode::Cached).await.unwrap();
                }
            })
            .await;
    }
    row("read of 150 bytes in memory", BATCH, &mut ways);
}

/// Reads of a whole megabyte past the cache: what recovery and scrubbing wait for.
async fn uncached(native: &NativeFile, os: &<<Os as Runtime>::Disk as Disk>::File) {
    let mut ways = [way("embedded, cached"), way("embedded, uncached"), way("net::os, uncached")];
    for round in 0..60_u64 {
        let at = place(round, 1 << 20);
        ways[0].time(|| block_on(native.read_at(at, vec![0; 1 << 20], ReadMode::Cached)).unwrap());
        let buffer = vec![0; 1 << 20];
        ways[1].time(|| block_on(native.read_at(at, buffer, ReadMode::Uncached)).unwrap());
        let buffer = vec![0; 1 << 20];
        ways[2].wait(os.read_at(at, buffer, ReadMode::Uncached)).await.unwrap();
    }
    row("read of 1 MiB", 1, &mut ways);
}

async fn serve_queue(mut requests: Receiver<u64>, replies: Sender<u64>) {
    while let Ok(request) = requests.recv().await {
        if replies.send(request).await.is_err() {
            return;
        }
    }
}

/// Tasks and queues, within a core and between two.
async fn tasks(os: &Os, native: &Native) {
    const BATCH: u32 = 100;
    let mut spawns = [way("thread::spawn + join"), way("embedded"), way("net::os")];
    for _ in 0..50 {
        spawns[0].time(|| (0..BATCH).for_each(|_| thread::spawn(|| {}).join().unwrap()));
        spawns[1].time(|| {
            (0..BATCH).for_each(|_| block_on(native.task().spawn("empty", async {}).join()));
        });
        spawns[2]
            .wait(async {
                for _ in 0..BATCH {
                    os.task().spawn("empty", async {}).join().await;
                }
            })
            .await;
    }
    row("spawn a task and join it", BATCH, &mut spawns);

    let (near_requests, served) = queue(16);
    let (answered, mut near_replies) = queue(16);
    let near = os.task().spawn("echo", serve_queue(served, answered));
    let (far_requests, served) = queue(16);
    let (answered, mut far_replies) = queue(16);
    let far = thread::spawn(move || run_core("", |_os| serve_queue(served, answered)).unwrap());
    let mut hops = [way("net::os, same core"), way("net::os, another core")];
    for _ in 0..200 {
        hops[0]
            .wait(async {
                for number in 0..u64::from(BATCH) {
                    near_requests.send(number).await.unwrap();
                    near_replies.recv().await.unwrap();
                }
            })
            .await;
        hops[1]
            .wait(async {
                for number in 0..u64::from(BATCH) {
                    far_requests.send(number).await.unwrap();
                    far_replies.recv().await.unwrap();
                }
            })
            .await;
    }
    row("a queue there and one back", BATCH, &mut hops);
    drop((near_requests, far_requests));
    near.join().await;
    far.join().unwrap();
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn echo<S: StreamRead + StreamWrite>(mut stream: S) {
    let mut buffer = [0; 100];
    while let Ok(read) = stream.read(&mut buffer).await
        && read > 0
    {
        stream.write(&buffer[..read]).await.unwrap();
    }
}

async fn ask<S: StreamRead + StreamWrite>(stream: &mut S) {
    let mut buffer = [1; 100];
    assert_eq!(stream.write(&buffer).await.unwrap(), 100);
    let mut done = 0;
    while done < 100 {
        done += stream.read(&mut buffer[done..]).await.unwrap();
    }
}

/// A hundred bytes there and back over loopback.
async fn loopback(os: &Os) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let mut raw = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    raw.set_nodelay(true).unwrap();
    let (mut other, _from) = listener.accept().unwrap();
    other.set_nodelay(true).unwrap();
    let raw_echo = thread::spawn(move || {
        let mut buffer = [0; 100];
        while other.read_exact(&mut buffer).is_ok() {
            other.write_all(&buffer).unwrap();
        }
    });

    let deadline = || os.clock().now() + Duration::from_secs(5);
    let mut listener = os.net().listen(ANY_PORT).await.unwrap();
    let mut near = os.net().connect(listener.local(), deadline()).await.unwrap();
    let (stream, _from) = listener.accept().await.unwrap();
    let near_echo = os.task().spawn("echo", echo(stream));

    let (told, mut address) = queue(1);
    let far_echo = thread::spawn(move || {
        run_core("", async |os| {
            let mut listener = os.net().listen(ANY_PORT).await.unwrap();
            told.send(listener.local()).await.unwrap();
            let (stream, _from) = listener.accept().await.unwrap();
            echo(stream).await;
        })
        .unwrap();
    });
    let to = address.recv().await.unwrap();
    let mut far = os.net().connect(to, deadline()).await.unwrap();

    let mut ways =
        [way("two threads that block"), way("net::os, same core"), way("net::os, two cores")];
    for _ in 0..3000 {
        ways[0].time(|| {
            let mut buffer = [1; 100];
            raw.write_all(&buffer).unwrap();
            raw.read_exact(&mut buffer).unwrap();
        });
        ways[1].wait(ask(&mut near)).await;
        ways[2].wait(ask(&mut far)).await;
    }
    row("100 bytes there and back by TCP", 1, &mut ways);
    drop((raw, near, far));
    raw_echo.join().unwrap();
    near_echo.join().await;
    far_echo.join().unwrap();
}

fn main() {
    let base = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let root = base.join(format!("trilith-doors-cost-{}", std::process::id()));
    let native = Native::new(&root);
    let native_file = block_on(make_file(&native, "file"));
    println!("{:<34} {:>12} {:>12} {:>9}", "", "median", "99 %", "median");
    run_core(&root, async |os| {
        let os_file = os.disk().open("file", Open::Write).await.unwrap();
        durable(&root, &native_file, &os_file).await;
        point(&root, &native_file, &os_file).await;
        uncached(&native_file, &os_file).await;
        tasks(&os, &native).await;
        loopback(&os).await;
    })
    .unwrap();
    fs::remove_dir_all(&root).unwrap();
}
