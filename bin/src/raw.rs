//! What the machine itself can do: the limits a store is compared with, measured in the same run.
//!
//! Three numbers bound every store: how long the device takes to make a small append durable, how
//! long the operating system takes to hand over cached bytes, and how fast memory moves. The
//! append is measured twice, into a file that grows and into one that was written before, because
//! the first also pays for the file's length.
//!
//! Not here: our store's own numbers (`bench.rs`).
#![allow(dead_code, reason = "the benches take the file too, and neither uses all of it")]

use std::{
    fs::{self, File},
    hint::black_box,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use crate::load::{Dice, Times};

/// The machine's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A small append to a growing file and `fdatasync`, median.
    pub sync_growing: Duration,
    /// The same into bytes that were written before, median.
    pub sync_written: Duration,
    /// The same, the slowest of a hundred.
    pub sync_written_p99: Duration,
    /// 128 cached bytes by `pread`, mean.
    pub pread: Duration,
    /// Bytes a second from memory to memory.
    pub memcpy_bytes: f64,
    /// Bytes a second through the checksum of the journal.
    pub crc_bytes: f64,
}

/// Enough syncs for a steady median, few enough for a second or two.
const SYNCS: u64 = 2000;
const APPEND_BYTES: usize = 128;
const PREADS: u64 = 300_000;
const FILE_BYTES: u64 = 8 << 20;
const MEMORY_BYTES: usize = 64 << 20;
const MEMORY_ROUNDS: u32 = 8;

/// Measures them with files of that directory, which are gone afterwards.
pub fn measure(dir: &Path) -> io::Result<Limits> {
    let growing = scratch(dir, "raw-growing", 0)?;
    let mut grows = syncs(&growing)?;
    let written = scratch(dir, "raw-written", FILE_BYTES)?;
    let mut stays = syncs(&written)?;
    let pread = preads(&written)?;
    for name in ["raw-growing", "raw-written"] {
        fs::remove_file(dir.join(name))?;
    }
    let (memcpy_bytes, crc_bytes) = memory();
    Ok(Limits {
        sync_growing: grows.percentile(50.0),
        sync_written: stays.percentile(50.0),
        sync_written_p99: stays.percentile(99.0),
        pread,
        memcpy_bytes,
        crc_bytes,
    })
}

/// A new file of that many zeros, on real blocks.
fn scratch(dir: &Path, name: &str, len: u64) -> io::Result<File> {
    let options =
        File::options().read(true).write(true).create(true).truncate(true).open(dir.join(name));
    let file = options?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..len).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn syncs(file: &File) -> io::Result<Times> {
    let bytes = [0xa5; APPEND_BYTES];
    let mut times = Times::default();
    for number in 0..SYNCS {
        times.time(|| {
            file.write_all_at(&bytes, number * APPEND_BYTES as u64)?;
            file.sync_data()
        })?;
    }
    Ok(times)
}

fn preads(file: &File) -> io::Result<Duration> {
    let mut buffer = [0; APPEND_BYTES];
    let mut dice = Dice::new(1);
    let began = Instant::now();
    for _ in 0..PREADS {
        let offset = dice.below(FILE_BYTES - APPEND_BYTES as u64);
        file.read_exact_at(&mut buffer, offset)?;
        black_box(&buffer);
    }
    Ok(began.elapsed() / PREADS as u32)
}

/// Bytes a second copied and checked.
fn memory() -> (f64, f64) {
    let from = vec![1_u8; MEMORY_BYTES];
    let mut to = vec![0_u8; MEMORY_BYTES];
    let began = Instant::now();
    for _ in 0..MEMORY_ROUNDS {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    }
    let copied = began.elapsed();
    let began = Instant::now();
    for _ in 0..MEMORY_ROUNDS {
        black_box(trilith_engine::codec::crc(0, black_box(&from)));
    }
    let checked = began.elapsed();
    let total = MEMORY_BYTES as f64 * f64::from(MEMORY_ROUNDS);
    (total / copied.as_secs_f64(), total / checked.as_secs_f64())
}
