//! `trilith bench`: our store beside the limits of the machine, in one run.
//!
//! A closed loop: every thread asks for the next thing when it has the last one's answer, and the
//! time between is what is counted. Loads follow one another on one store: bulk load, writes,
//! reads, scans, reopening.
//!
//! With `--plot` what was measured is drawn, too (`bench/pictures.rs`).
//!
//! `bench values` compares the engines of the value plane, `bench scale` holds many keys to what is
//! claimed of them, `bench cluster` measures three nodes and etcd in turn, `bench redis` one node and
//! Redis.
//!
//! Not here: other embedded stores; `cargo bench --bench engines` asks them the same.

use clap::{Args, Subcommand, ValueEnum};
use std::{
    env, fs, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use trilith_engine::{Durability, KvError, KvStore, WriteBatch};

use crate::{
    failure::{DISK, FULL, Failure, OPEN, Outcome, TOO_LARGE},
    out::{Cell, Out},
    progress::Progress,
};

mod cluster;
mod course;
pub mod load;
mod meter;
mod pictures;
pub(crate) mod raw;
mod redis;
mod resp;
mod scale;
mod values;

use course::Counted;
use load::{Dice, Values};
use meter::Usage;
use pictures::Pictures;

/// Keys of one batch of the bulk load.
const LOAD_BATCH: u64 = 1_000;
/// Keys that one scan reads.
const SCAN_KEYS: usize = 100;
/// Enough for a steady median of each limit.
const RAW_TIME: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The embedded store: bulk load, writes, reads, scans, and reopening.
    Engine(Engine),
    /// The engines of the value plane, fed from one journal.
    Values(values::Plane),
    /// Three nodes on this machine, beside three members of etcd if it is installed.
    Cluster(cluster::Cluster),
    /// One node on this machine, beside one Redis if it is installed, through Redis' protocol.
    Redis(redis::Redis),
    /// Many small keys: memory, space that comes back, and the time to open them.
    Scale(scale::Scale),
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Promise {
    /// When it is on the device.
    Immediate,
    /// At once; durable within half a second or 8 MiB.
    Batch,
}

/// How the embedded store is measured.
#[derive(Args, Debug)]
pub struct Engine {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Keys that are loaded.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Threads that write and read.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// When a write is answered.
    #[arg(long, value_enum, default_value_t = Promise::Immediate)]
    durability: Promise,
    /// Seconds of each load.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Draws latency and throughput, as SVG files in this directory; made when it is not there.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// Measures.
pub fn run(bench: &Bench, out: Out) -> Outcome {
    match bench {
        Bench::Engine(engine) => engine.run(out),
        Bench::Cluster(cluster) => cluster::run(cluster, out),
        Bench::Redis(redis) => redis::run(redis, out),
        Bench::Values(plane) => values::run(plane, out),
        Bench::Scale(scale) => scale::run(scale, out),
    }
}

fn limit_rows(limits: &raw::Limits) -> Vec<Vec<Cell>> {
    let row =
        |name: &str, value: f64, unit: &str| vec![name.into(), Cell::Measure(value), unit.into()];
    vec![
        row("write and fdatasync, written file, p50", limits.sync_p50_us, "us"),
        row("write and fdatasync, written file, p99", limits.sync_p99_us, "us"),
        row("write and fdatasync, growing file, p50", limits.sync_growing_us, "us"),
        row("pread of cached bytes", limits.pread_ns / 1e3, "us"),
        row("memcpy", limits.memcpy_gbps, "GB/s"),
        row("CRC-32", limits.crc_gbps, "GB/s"),
    ]
}

type Row = Vec<Cell>;

/// All that was measured of a store.
#[derive(Default)]
struct Measured {
    rows: Vec<Row>,
    /// Those of them that a picture can be made of.
    loads: Vec<(&'static str, Counted)>,
}

impl Engine {
    fn run(&self, out: Out) -> Outcome {
        let mut pictures = Pictures::at(self.plot.as_deref())?;
        let scratch = Scratch::new(&self.dir)?;
        let limits = raw::measure(&scratch.path, self.value_bytes, RAW_TIME)
            .map_err(|error| opening(&self.dir, &error))?;
        out.title("What this machine can do")?;
        out.table(&["limit", "value", "unit"], &limit_rows(&limits))?;
        let measured = self.measure(&scratch.path)?;
        out.title("What the store does with it")?;
        let columns = [
            "load",
            "per_second",
            "p50_us",
            "p99_us",
            "p999_us",
            "cpu_us",
            "device_b",
            "others_cores",
        ];
        out.table(&columns, &measured.rows)?;
        let Some(pictures) = &mut pictures else { return Ok(()) };
        pictures::of_loads(pictures, &measured.loads)?;
        pictures.tell(out)
    }

    fn open(&self, dir: &Path) -> Result<KvStore, KvError> {
        let durability = match self.durability {
            Promise::Immediate => Durability::Immediate,
            Promise::Batch => Durability::Batch { bytes: 8 << 20, millis: 500 },
        };
        KvStore::options().durability(durability).open(dir)
    }

    fn measure(&self, dir: &Path) -> Outcome<Measured> {
        let (values, dir) = (Values::new(self.value_bytes), dir.join("store"));
        let store = self.open(&dir).map_err(failed)?;
        let mut measured = Measured::default();
        measured.rows.push(self.load(&store, &values)?);
        let fresh = AtomicU64::new(self.keys);
        self.race(&mut measured, "writes", |_| {
            let number = fresh.fetch_add(1, Ordering::Relaxed);
            store.set_bytes(load::key(number), values.of(number, 0))
        })?;
        self.race(&mut measured, "point reads", |dice| {
            let found = store.get_bytes(&load::key(dice.below(self.keys)))?;
            std::hint::black_box(found.map(|value| load::touch(&value)));
            Ok(())
        })?;
        self.race(&mut measured, "scans of 100", |dice| {
            let from = load::key(dice.below(self.keys));
            for pair in store.scan(Bound::Included(&from), Bound::Unbounded)?.take(SCAN_KEYS) {
                std::hint::black_box(load::touch(&pair?.1));
            }
            Ok(())
        })?;
        store.close().map_err(failed)?;
        drop(store);
        let start = Instant::now();
        let store = self.open(&dir).map_err(failed)?;
        let took = start.elapsed().as_secs_f64();
        let mut row = vec!["reopening".into(), Cell::Measure(1.0 / took)];
        row.push(Cell::Measure(took * 1e6));
        row.resize(8, Cell::Absent);
        measured.rows.push(row);
        store.close().map_err(failed)?;
        Ok(measured)
    }

    fn load(&self, store: &KvStore, values: &Values) -> Outcome<Row> {
        let mut progress = Progress::new("loading", self.keys);
        let usage = Usage::now();
        for first in (0..self.keys).step_by(LOAD_BATCH as usize) {
            let mut batch = WriteBatch::new();
            for number in first..(first + LOAD_BATCH).min(self.keys) {
                batch.put(load::key(number), values.of(number, 0));
            }
            store.batch(batch).map_err(failed)?;
            progress.at(first);
        }
        store.flush().map_err(failed)?;
        progress.finish();
        let spent = usage.spent();
        let keys = self.keys as f64;
        Ok(vec![
            "bulk load, batches of 1,000".into(),
            Cell::Measure(keys / spent.wall.as_secs_f64()),
            Cell::Absent,
            Cell::Absent,
            Cell::Absent,
            Cell::Measure(spent.cpu.as_secs_f64() * 1e6 / keys),
            Cell::Measure(spent.written as f64 / keys),
            Cell::Measure(spent.foreign_cores),
        ])
    }

    /// Lets the threads work until the time is over.
    fn race(
        &self,
        measured: &mut Measured,
        name: &'static str,
        work: impl Fn(&mut Dice) -> Result<(), KvError> + Sync,
    ) -> Outcome {
        let time = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        let drawn = self.plot.is_some().then_some(time);
        let progress = Progress::new(name, 0);
        let usage = Usage::now();
        let runner = &|thread: u64| {
            let (mut counted, mut dice) = (Counted::new(drawn), Dice::new(thread + 1));
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < self.seconds {
                let begin = Instant::now();
                work(&mut dice)?;
                counted.add(begin.elapsed());
            }
            Ok::<_, KvError>(counted)
        };
        let counted = thread::scope(|scope| {
            let handles: Vec<_> =
                (0..self.threads).map(|thread| scope.spawn(move || runner(thread))).collect();
            let mut all = Counted::new(drawn);
            for handle in handles {
                let one = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.merge(&one);
            }
            Ok(all)
        });
        let (counted, spent) = (counted.map_err(failed)?, usage.spent());
        progress.finish();
        let times = &counted.times;
        let count = times.count() as f64;
        measured.rows.push(vec![
            name.into(),
            Cell::Measure(count / spent.wall.as_secs_f64()),
            Cell::Measure(times.micros(0.5)),
            Cell::Measure(times.micros(0.99)),
            Cell::Measure(times.micros(0.999)),
            Cell::Measure(spent.cpu.as_secs_f64() * 1e6 / count.max(1.0)),
            Cell::Measure(spent.written as f64 / count.max(1.0)),
            Cell::Measure(spent.foreign_cores),
        ]);
        measured.loads.push((name, counted));
        Ok(())
    }
}

fn failed(error: KvError) -> Failure {
    match error {
        KvError::NoSpace => Failure::new(&FULL, error, "name a directory with more room: --dir"),
        KvError::TooLarge(_) => Failure::new(&TOO_LARGE, error, "ask for smaller values"),
        _ => Failure::new(&DISK, error, "see whether the directory's device is healthy: dmesg"),
    }
}

/// A directory that is gone when it is dropped, unless it is evidence.
#[derive(Debug)]
pub struct Scratch {
    /// Where it is.
    pub path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Makes one under `parent`.
    pub fn new(parent: &Path) -> Outcome<Self> {
        let path = parent.join(format!("trilith-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| opening(parent, &error))?;
        Ok(Self { path, is_kept: false })
    }

    /// Leaves it where it is.
    pub const fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("left behind: {} ({error})", self.path.display());
        }
    }
}

fn opening(dir: &Path, error: &io::Error) -> Failure {
    let next = format!("check that you may write there: ls -ld {}", dir.display());
    Failure::new(&OPEN, format!("{}: {error}", dir.display()), next)
}
