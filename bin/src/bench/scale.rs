//! `trilith bench scale`: many small keys, and what is claimed of them.
//!
//! - Memory is bounded by the index: nothing else grows with the keys.
//! - Space comes back: after everything was overwritten, half of it deleted and the rest compacted,
//!   the files hold little more than what lives.
//! - Opening loads the keys in a stated time and a stated memory, after a clean stop and after a
//!   crash.
//!
//! Every step is a process of its own, so that its memory is its own and a crash is one. Times are
//! told, not judged; a broken bound of memory or space ends with an error.
//!
//! Not here: rates of single operations (`trilith bench engine`), other stores.

use clap::{Args, ValueEnum};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio, abort},
    time::Instant,
};
use trilith_engine::{Durability, KvStore, WriteBatch};

use super::{
    LOAD_BATCH, Scratch, failed,
    load::{self, Dice, Values},
    meter::{self, Usage},
};
use crate::{
    failure::{CLAIM, Failure, INTERNAL, LOST, Outcome},
    out::{Cell, Out},
    progress::Progress,
};

/// How often everything is overwritten.
const OVERWRITES: u64 = 3;
/// Values that are looked at after opening.
const SAMPLES: u64 = 10_000;
/// Batches that the process which crashes has acknowledged.
const LAST_BATCHES: u64 = 1_000;
const MIB: f64 = 1_048_576.0;

/// How many keys, and how small.
#[derive(Args, Debug)]
pub struct Scale {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Keys that are loaded.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 16)]
    value_bytes: usize,
    /// Only load and open: neither overwrite nor compact.
    #[arg(long)]
    only_open: bool,
    /// A child's part: what it does, in `--dir` itself.
    #[arg(long, hide = true)]
    part: Option<Part>,
}

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Loads every key.
    Load,
    /// Opens, looks at some values, closes.
    Open,
    /// Opens, writes a little, and crashes.
    Crash,
    /// Overwrites everything some times, and deletes half.
    Churn,
    /// Compacts.
    Compact,
}

impl Part {
    const fn words(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Open => "open",
            Self::Crash => "open, write and crash",
            Self::Churn => "overwrite 3 times, delete half",
            Self::Compact => "compact",
        }
    }
}

/// What a child measured.
type Measured = BTreeMap<String, f64>;

/// Measures.
pub(super) fn run(scale: &Scale, out: Out) -> Outcome {
    match scale.part {
        Some(part) => scale.live(part, out),
        None => scale.measure(out),
    }
}

/// What is claimed, what was measured, and what it may be at most.
struct Claim(&'static str, f64, f64);

impl Scale {
    fn measure(&self, out: Out) -> Outcome {
        let scratch = Scratch::new(&self.dir)?;
        let dir = scratch.path.join("store");
        let mut parts = vec![Part::Load, Part::Open, Part::Crash, Part::Open];
        if !self.only_open {
            parts.extend([Part::Churn, Part::Compact, Part::Open]);
        }
        let (mut rows, mut claims) = (Vec::new(), Vec::new());
        for part in parts {
            let measured = self.child(&dir, part)?;
            rows.push(row(part, &measured, &dir)?);
            claims.extend(self.claims(part, &measured, &dir)?);
        }
        let columns =
            ["step", "seconds", "cpu_s", "keys", "memory_mib", "peak_mib", "index_mib", "disk_mib"];
        out.table(&columns, &rows)?;
        out.say("")?;
        let rows: Vec<Vec<Cell>> = claims
            .iter()
            .map(|Claim(what, is, at_most)| {
                vec![(*what).into(), (*is).into(), (*at_most).into(), (is <= at_most).into()]
            })
            .collect();
        out.table(&["claim", "measured", "at_most", "holds"], &rows)?;
        match claims.iter().find(|Claim(_, is, at_most)| is > at_most) {
            None => Ok(()),
            Some(Claim(what, is, at_most)) => {
                let cause = format!("{what}: {is:.1}, more than {at_most:.1}");
                Err(Failure::new(&CLAIM, cause, "run it again with --keys 10000000; report it"))
            }
        }
    }

    fn claims(&self, part: Part, measured: &Measured, dir: &Path) -> Outcome<Vec<Claim>> {
        let get = |name: &str| measured.get(name).copied().unwrap_or(f64::INFINITY) / MIB;
        let index = get("index");
        Ok(match part {
            // What does not grow with the keys: buffers of a frame, the allocator's own.
            Part::Load => {
                vec![Claim("memory after the load, MiB", get("anon"), 1.5 * index + 64.0)]
            }
            // The hints of all segments are held until the index is built of them.
            Part::Open => vec![
                Claim("memory after opening, MiB", get("anon"), 1.25 * index + 32.0),
                Claim("peak of memory while opening, MiB", get("peak"), 3.0 * index + 64.0),
            ],
            Part::Compact => {
                let disk = meter::disk_bytes(dir).map_err(|error| super::opening(dir, &error))?;
                let at_most = 1.5 * get("live") + 64.0;
                vec![Claim("files after compaction, MiB", disk as f64 / MIB, at_most)]
            }
            Part::Crash | Part::Churn => Vec::new(),
        })
    }

    /// Runs a part in a process of its own.
    fn child(&self, dir: &Path, part: Part) -> Outcome<Measured> {
        let broken = |what: String| Failure::new(&INTERNAL, what, "report it");
        let program = env::current_exe().map_err(|error| broken(error.to_string()))?;
        let mut command = Command::new(program);
        let name = part.to_possible_value().map_or(String::new(), |v| v.get_name().to_owned());
        command.args(["bench", "scale", "--part", &name, "--keys", &self.keys.to_string()]);
        command.args(["--value-bytes", &self.value_bytes.to_string(), "--dir"]).arg(dir);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let output = child.and_then(|child| child.wait_with_output());
        let output = output.map_err(|error| broken(error.to_string()))?;
        if output.status.success() == (part == Part::Crash) {
            let cause = format!("{}: {}", part.words(), output.status);
            return Err(Failure::new(&LOST, cause, "its own words stand above"));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?))).collect())
    }

    /// A child's life.
    fn live(&self, part: Part, out: Out) -> Outcome {
        let durability = match part {
            Part::Crash => Durability::Immediate,
            _ => Durability::Batch { bytes: 8 << 20, millis: 500 },
        };
        fs::create_dir_all(&self.dir).map_err(|error| super::opening(&self.dir, &error))?;
        let (usage, start) = (Usage::now(), Instant::now());
        let store = KvStore::options().durability(durability).open(&self.dir).map_err(failed)?;
        let values = Values::new(self.value_bytes);
        let mut seconds = start.elapsed().as_secs_f64();
        let mut cpu = usage.spent().cpu.as_secs_f64();
        let (anon, peak) = (meter::anon_bytes(), peak_bytes());
        match part {
            Part::Load => self.write_all(&store, &values, "loading", 0)?,
            Part::Open => self.look(&store, &values)?,
            Part::Crash => {
                for first in 0..LAST_BATCHES {
                    // What is written is what is there: a crash may take nothing and bring nothing.
                    let number = first % self.keys;
                    store.set_bytes(load::key(number), values.of(number, 0)).map_err(failed)?;
                }
                abort();
            }
            Part::Churn => self.churn(&store, &values)?,
            Part::Compact => store.compact().map_err(failed)?,
        }
        let (mut anon, mut peak) = (anon, peak);
        if part != Part::Open {
            (seconds, cpu) = (start.elapsed().as_secs_f64(), usage.spent().cpu.as_secs_f64());
            (anon, peak) = (meter::anon_bytes(), peak_bytes());
        }
        let stats = store.stats().map_err(failed)?;
        for (name, number) in [
            ("seconds", seconds),
            ("cpu", cpu),
            ("keys", stats.keys as f64),
            ("anon", anon as f64),
            ("peak", peak as f64),
            ("index", stats.index_bytes as f64),
            ("live", stats.live_bytes as f64),
        ] {
            out.raw(format!("{name} {number}\n").as_bytes())?;
        }
        store.close().map_err(failed)
    }

    fn write_all(
        &self,
        store: &KvStore,
        values: &Values,
        what: &'static str,
        version: u64,
    ) -> Outcome {
        let mut progress = Progress::new(what, self.keys);
        for first in (0..self.keys).step_by(LOAD_BATCH as usize) {
            let mut batch = WriteBatch::new();
            for number in first..(first + LOAD_BATCH).min(self.keys) {
                batch.put(load::key(number), values.of(number, version));
            }
            store.batch(batch).map_err(failed)?;
            progress.at(first);
        }
        progress.finish();
        store.flush().map_err(failed)
    }

    fn churn(&self, store: &KvStore, values: &Values) -> Outcome {
        for version in (0..OVERWRITES).rev() {
            self.write_all(store, values, "overwriting", version)?;
        }
        for first in (0..self.keys).step_by(2 * LOAD_BATCH as usize) {
            let mut batch = WriteBatch::new();
            for number in first..(first + 2 * LOAD_BATCH).min(self.keys) {
                if number % 2 == 1 {
                    batch.delete(load::key(number));
                }
            }
            store.batch(batch).map_err(failed)?;
        }
        store.flush().map_err(failed)
    }

    /// Every key is there or deleted, and some values are what they should be.
    fn look(&self, store: &KvStore, values: &Values) -> Outcome {
        let (half, all) = (self.keys.div_ceil(2), self.keys);
        let keys = store.len() as u64;
        let lost = |what| Failure::new(&LOST, what, "report it");
        if keys != all && keys != half {
            return Err(lost(format!("{keys} keys, neither {all} nor {half}")));
        }
        let mut dice = Dice::new(3);
        for _ in 0..SAMPLES {
            let number = dice.below(all);
            let found = store.get_bytes(&load::key(number)).map_err(failed)?;
            let expect = (keys == all || number.is_multiple_of(2)).then(|| values.of(number, 0));
            if found.as_deref() != expect {
                return Err(lost(format!("key {number} is not what was written")));
            }
        }
        Ok(())
    }
}

/// The most memory this process ever had, its code included; nothing without `/proc`.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn row(part: Part, measured: &Measured, dir: &Path) -> Outcome<Vec<Cell>> {
    let get = |name: &str| measured.get(name).copied();
    let mib = |name: &str| get(name).map_or(Cell::Absent, |bytes| Cell::Measure(bytes / MIB));
    let disk = meter::disk_bytes(dir).map_err(|error| super::opening(dir, &error))?;
    let plain = |name: &str| get(name).map_or(Cell::Absent, Cell::Measure);
    Ok(vec![
        part.words().into(),
        plain("seconds"),
        plain("cpu"),
        get("keys").map_or(Cell::Absent, |keys| Cell::Number(keys as u64)),
        mib("anon"),
        mib("peak"),
        mib("index"),
        Cell::Measure(disk as f64 / MIB),
    ])
}
