//! What one child process does to one engine, and what it tells its parent.
//!
//! Four lives, each a process of its own, so that memory and I/O are one engine's and a reopening
//! starts with nothing but the page cache:
//!
//! ```text
//! warm       new directory: load, read, scan, half and half; memory; close
//! reopen     what `warm` closed, or what `durable` was killed in; is everything there?
//! durable    new directory: load, then durable writes, until killed in the middle of one
//! overwrite  new directory, a quarter of the keys: load, then write everything five times more
//! ```
//!
//! A figure is a line `row NAME VALUE` on standard output; `ack N` says that N durable writes of
//! the last, endless load are acknowledged, which the parent hands to the next `reopen`.
//!
//! Not here: medians, ratios, and killing (`main.rs`).

use crate::{
    Outcome, load,
    load::{Dice, Values},
    meter::{self, Times, Usage},
    peers::{ENGINES, Mode, Peer, Tuning},
    raw,
    zipf::Zipf,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const SCAN_KEYS: usize = 100;
const BATCH_KEYS: u64 = 16;
const OVERWRITES: u64 = 5;
/// Reads between two looks at the clock.
const STRIDE: u64 = 64;
/// Numbers of keys that the durable rows add; far above every loaded one.
const FRESH: u64 = 1 << 40;

/// What a child is told.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) engine: String,
    pub(crate) dir: PathBuf,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    pub(crate) time: Duration,
    pub(crate) settle: Duration,
    pub(crate) tuning: Tuning,
    /// For `reopen`: how many of the endless load's writes were acknowledged; none after a close.
    pub(crate) acknowledged: Option<u64>,
}

fn tell(name: &str, value: f64) {
    println!("row {name} {value}");
}

impl Task {
    fn open(&self, mode: Mode) -> Outcome<Box<dyn Peer>> {
        let engine = ENGINES
            .iter()
            .find(|engine| engine.name == self.engine)
            .ok_or_else(|| format!("no engine {}", self.engine))?;
        (engine.open)(&self.dir, mode, self.tuning)
    }

    fn pair_bytes(&self) -> f64 {
        (self.value_bytes + size_of::<load::Key>()) as f64
    }

    fn load(&self, peer: &dyn Peer, values: &Values, keys: u64, version: u64) -> Outcome {
        peer.load(&mut (0..keys).map(|n| (load::key(n), values.of(n, version))))
    }
}

/// What a thread answered; its panic is this thread's.
fn joined<T>(runner: thread::ScopedJoinHandle<'_, T>) -> T {
    runner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets `threads` threads do `work` until the time is over; answers operations a second.
fn race(
    threads: u64,
    time: Duration,
    work: &(dyn Fn(u64, &mut Dice) -> Outcome + Sync),
) -> Outcome<f64> {
    let start = Instant::now();
    let count: Outcome<u64> = thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || -> Outcome<u64> {
                    let (mut dice, mut count) = (Dice::new(thread + 7), 0);
                    while start.elapsed() < time {
                        for _ in 0..STRIDE {
                            work(thread, &mut dice)?;
                        }
                        count += STRIDE;
                    }
                    Ok(count)
                })
            })
            .collect();
        runners.into_iter().map(joined).sum()
    });
    count.map(|count| count as f64 / start.elapsed().as_secs_f64())
}

/// The raw limits, as an engine of their own.
pub(crate) fn limits(task: &Task) -> Outcome {
    std::fs::create_dir_all(&task.dir)?;
    let limits = raw::measure(&task.dir, task.value_bytes, task.time)?;
    tell("durable1_p50", limits.sync_p50_us);
    tell("durable1_p99", limits.sync_p99_us);
    tell("durable1", 1e6 / limits.sync_p50_us);
    tell("durable16", 16e6 / limits.sync_p50_us);
    tell("get1", 1e9 / limits.pread_ns);
    tell("pread_ns", limits.pread_ns);
    tell("memcpy_gbps", limits.memcpy_gbps);
    tell("crc_gbps", limits.crc_gbps);
    tell("sync_growing", limits.sync_growing_us);
    tell("load", limits.memcpy_gbps * 1e9 / task.pair_bytes());
    Ok(())
}

/// Load, reads, memory, close.
pub(crate) fn warm(task: &Task) -> Outcome {
    let values = Values::new(task.value_bytes);
    let zipf = Zipf::new(task.keys);
    let before = meter::anon_bytes();
    let peer = task.open(Mode::Relaxed)?;
    let usage = Usage::now();
    task.load(&*peer, &values, task.keys, 0)?;
    let spent = usage.spent();
    let user_bytes = task.keys as f64 * task.pair_bytes();
    tell("load", task.keys as f64 / spent.wall.as_secs_f64());
    tell("load_cpu", spent.cpu.as_secs_f64() * 1e6 / task.keys as f64);
    tell("memory_loaded", meter::anon_bytes().saturating_sub(before) as f64 / task.keys as f64);
    thread::sleep(task.settle);
    let spent = usage.spent();
    tell("load_amp", spent.written as f64 / user_bytes);
    if let Some(written) = peer.written() {
        tell("load_amp_own", written as f64 / user_bytes);
    }
    tell("disk_loaded", meter::disk_bytes(&task.dir)? as f64 / user_bytes);
    reads(task, &*peer, &values, &zipf)?;
    let memory = || meter::anon_bytes().saturating_sub(before) as f64 / task.keys as f64;
    tell("memory", memory());
    peer.compact()?;
    tell("memory_compacted", memory());
    let scan = |_, dice: &mut Dice| scan(task, &*peer, dice);
    tell("scan_sorted", race(1, task.time, &scan)?);
    tell("foreign", usage.spent().foreign_cores);
    let start = Instant::now();
    peer.close()?;
    tell("close", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn reads(task: &Task, peer: &dyn Peer, values: &Values, zipf: &Zipf) -> Outcome {
    let get = |_, dice: &mut Dice| match peer.get(&load::key(dice.below(task.keys)))? {
        Some(_) => Ok(()),
        None => Err("a loaded key is missing".into()),
    };
    tell("get1", race(1, task.time, &get)?);
    tell("get2", race(2, task.time, &get)?);
    let scan = |_, dice: &mut Dice| scan(task, peer, dice);
    tell("scan", race(1, task.time, &scan)?);
    let mixed = |_, dice: &mut Dice| {
        let number = zipf.next(dice);
        let key = load::key(number);
        if dice.bits() & 1 == 0 {
            return peer.get(&key).map(|_| ());
        }
        peer.put(&key, values.of(number, dice.bits() & 0xFF))
    };
    tell("mixed1", race(1, task.time, &mixed)?);
    tell("mixed2", race(2, task.time, &mixed)?);
    Ok(())
}

fn scan(task: &Task, peer: &dyn Peer, dice: &mut Dice) -> Outcome {
    let from = load::key(dice.below(task.keys));
    peer.scan(&from, SCAN_KEYS).map(drop)
}

/// Opens what an earlier life left, and looks whether it is all there.
pub(crate) fn reopen(task: &Task) -> Outcome {
    let values = Values::new(task.value_bytes);
    let before = meter::anon_bytes();
    let start = Instant::now();
    let peer = task.open(Mode::Relaxed)?;
    if peer.get(&load::key(0))?.is_none() {
        return Err("the first key is missing".into());
    }
    let label = if task.acknowledged.is_some() { "reopen_crash" } else { "reopen" };
    tell(label, start.elapsed().as_secs_f64() * 1e3);
    if task.acknowledged.is_none() {
        let bytes = meter::anon_bytes().saturating_sub(before);
        tell("memory_reopened", bytes as f64 / task.keys as f64);
    }
    for number in 0..task.acknowledged.unwrap_or(0) {
        let number = FRESH * 64 + number;
        let expect = load::touch(values.of(number, 0));
        if peer.get(&load::key(number))? != Some(expect) {
            return Err(format!("LOST: an acknowledged write (number {number})").into());
        }
    }
    for number in (0..task.keys).step_by(101) {
        if peer.get(&load::key(number))?.is_none() {
            return Err(format!("LOST: a loaded key (number {number})").into());
        }
    }
    peer.close()
}

/// Durable writes, then more of them until this process is killed.
pub(crate) fn durable(task: &Task) -> Outcome {
    let values = Values::new(task.value_bytes);
    let peer = task.open(Mode::Durable)?;
    task.load(&*peer, &values, task.keys, 0)?;
    thread::sleep(task.settle);
    for threads in [1, 16] {
        durable_row(task, &*peer, &values, threads, 1)?;
    }
    durable_row(task, &*peer, &values, 1, BATCH_KEYS)?;
    let mut out = std::io::stdout();
    for number in 0.. {
        let fresh = FRESH * 64 + number;
        peer.put(&load::key(fresh), values.of(fresh, 0))?;
        writeln!(out, "ack {}", number + 1)?;
        out.flush()?;
    }
    Ok(())
}

fn durable_row(task: &Task, peer: &dyn Peer, values: &Values, threads: u64, batch: u64) -> Outcome {
    let next = AtomicU64::new(FRESH * (threads + 2 * batch));
    let usage = Usage::now();
    let times = thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| durable_writer(task.time, peer, values, &next, batch)))
            .collect();
        let mut times = Times::new();
        for runner in runners {
            times.merge(&joined(runner)?);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
    })?;
    let spent = usage.spent();
    let name = if batch > 1 { String::from("batch16") } else { format!("durable{threads}") };
    let writes = (times.count() * batch) as f64;
    tell(&name, writes / spent.wall.as_secs_f64());
    tell(&format!("{name}_p50"), times.micros(0.5));
    tell(&format!("{name}_p99"), times.micros(0.99));
    tell(&format!("{name}_cpu"), spent.cpu.as_secs_f64() * 1e6 / writes);
    tell(&format!("{name}_amp"), spent.written as f64 / (writes * task.pair_bytes()));
    Ok(())
}

fn durable_writer(
    time: Duration,
    peer: &dyn Peer,
    values: &Values,
    next: &AtomicU64,
    batch: u64,
) -> Outcome<Times> {
    let (mut times, start) = (Times::new(), Instant::now());
    while start.elapsed() < time {
        let first = next.fetch_add(batch, Ordering::Relaxed);
        let begin = Instant::now();
        if batch == 1 {
            peer.put(&load::key(first), values.of(first, 0))?;
        } else {
            peer.batch(&mut (first..first + batch).map(|n| (load::key(n), values.of(n, 0))))?;
        }
        times.add(begin.elapsed());
    }
    Ok(times)
}

/// Everything five times more, and what that leaves on the disk.
pub(crate) fn overwrite(task: &Task) -> Outcome {
    let values = Values::new(task.value_bytes);
    let keys = (task.keys / 4).max(1);
    let peer = task.open(Mode::Relaxed)?;
    let usage = Usage::now();
    task.load(&*peer, &values, keys, 0)?;
    let begin = Instant::now();
    for version in 1..=OVERWRITES {
        task.load(&*peer, &values, keys, version)?;
    }
    tell("overwrite", (keys * OVERWRITES) as f64 / begin.elapsed().as_secs_f64());
    // The background gets its time, as it would in a store that lives on.
    settle(&task.dir, task.settle * 4)?;
    let once = keys as f64 * task.pair_bytes();
    tell("overwrite_amp", usage.spent().written as f64 / (once * (OVERWRITES + 1) as f64));
    peer.close()?;
    tell("disk", meter::disk_bytes(&task.dir)? as f64 / once);
    Ok(())
}

/// Waits until the directory's size has not changed for a quarter second, at most `patience`.
fn settle(dir: &Path, patience: Duration) -> Outcome {
    let (start, mut last, mut calm) = (Instant::now(), 0, 0);
    while start.elapsed() < patience && calm < 5 {
        thread::sleep(Duration::from_millis(50));
        // A file that goes away while it is counted is a sign of life, not an error.
        let now = meter::disk_bytes(dir).unwrap_or(0);
        calm = if now == last { calm + 1 } else { 0 };
        last = now;
    }
    Ok(())
}
