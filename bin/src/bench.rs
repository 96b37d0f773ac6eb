//! `trilith bench`: our store beside the limits of the machine, in one run.
//!
//! Not here: other stores; `cargo bench --bench engines` asks them the same.

use clap::{Args, Subcommand};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    failure::{Failure, OPEN, Outcome},
    out::{Cell, Out},
};

mod load;
mod meter;
mod raw;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The embedded store: bulk load, durable writes, reads, scans, and reopening.
    Engine(Engine),
}

/// How the embedded store is measured.
#[derive(Args, Debug)]
pub struct Engine {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
}

/// Enough for a steady median of each limit.
const RAW_TIME: Duration = Duration::from_millis(500);

/// Measures.
pub fn run(bench: &Bench, out: Out) -> Outcome {
    let Bench::Engine(engine) = bench;
    let scratch = Scratch::new(&engine.dir)?;
    let limits = raw::measure(&scratch.0, engine.value_bytes, RAW_TIME)
        .map_err(|error| opening(&engine.dir, &error))?;
    out.title("What this machine can do")?;
    out.table(&["limit", "value", "unit"], &limit_rows(&limits))
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

/// A directory that is gone when it is dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes one under `parent`.
    pub fn new(parent: &Path) -> Outcome<Self> {
        let path = parent.join(format!("trilith-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| opening(parent, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("left behind: {} ({error})", self.0.display());
        }
    }
}

fn opening(dir: &Path, error: &io::Error) -> Failure {
    let next = format!("check that you may write there: ls -ld {}", dir.display());
    Failure::new(&OPEN, format!("{}: {error}", dir.display()), next)
}
