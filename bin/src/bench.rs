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
    raw,
};

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
}

/// Measures.
pub fn run(bench: &Bench, out: Out) -> Outcome {
    let Bench::Engine(engine) = bench;
    let scratch = Scratch::new(&engine.dir)?;
    let limits = raw::measure(&scratch.0).map_err(|error| opening(&engine.dir, &error))?;
    out.title("What this machine can do")?;
    out.table(&["limit", "value", "unit"], &limit_rows(&limits))
}

fn limit_rows(limits: &raw::Limits) -> Vec<Vec<Cell>> {
    let micros = |time: Duration| Cell::Measure(time.as_secs_f64() * 1e6);
    let row = |name: &str, value: Cell, unit: &str| vec![name.into(), value, unit.into()];
    vec![
        row("append 128 B and fdatasync, growing file, p50", micros(limits.sync_growing), "us"),
        row("append 128 B and fdatasync, written file, p50", micros(limits.sync_written), "us"),
        row("append 128 B and fdatasync, written file, p99", micros(limits.sync_written_p99), "us"),
        row("pread 128 cached bytes", micros(limits.pread), "us"),
        row("memcpy", Cell::Measure(limits.memcpy_bytes / 1e9), "GB/s"),
        row("CRC-32", Cell::Measure(limits.crc_bytes / 1e9), "GB/s"),
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
