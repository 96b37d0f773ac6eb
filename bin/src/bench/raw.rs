//! The machine's own limits, taken in the same run: what no store can beat.
//!
//! - one write of a value's size into a file whose blocks exist, and fdatasync: the least that a
//!   durable write costs;
//! - pread of a value's size at random from a file in the page cache: a read without an index;
//! - memcpy and CRC-32 of a block larger than the caches: the memory, and the journal's checksum.
//!
//! The sync is measured a second time on a file that grows, which also pays for the file's length:
//! what a store pays that prepares nothing.
//!
//! Not here: any store.

use super::{load::Dice, meter::Times};
use std::{
    fs::{self, File},
    hint::black_box,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// A file that is written in a circle.
pub(crate) const SYNC_FILE_BYTES: u64 = 16 << 20;
const READ_FILE_BYTES: u64 = 128 << 20;
const COPY_BYTES: usize = 64 << 20;

/// What the machine can do.
#[derive(Debug)]
pub(crate) struct Limits {
    /// A small write and its fdatasync, median, microseconds.
    pub(crate) sync_p50_us: f64,
    /// The same, one in a hundred is slower.
    pub(crate) sync_p99_us: f64,
    /// The same as the median, on a growing file.
    pub(crate) sync_growing_us: f64,
    /// A read from the page cache, nanoseconds.
    pub(crate) pread_ns: f64,
    /// Gigabytes copied in a second.
    pub(crate) memcpy_gbps: f64,
    /// Gigabytes checksummed in a second.
    pub(crate) crc_gbps: f64,
}

fn zeroed(path: &Path, len: u64) -> io::Result<File> {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let chunk = vec![0_u8; 1 << 20];
    for at in (0..len).step_by(chunk.len()) {
        file.write_all_at(&chunk, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn syncs(dir: &Path, value_bytes: usize, file_bytes: u64, time: Duration) -> io::Result<Times> {
    syncs_of(&dir.join("raw-sync"), value_bytes, file_bytes, time)
}

/// How long a small write and its fdatasync take, for `time`.
pub(crate) fn syncs_of(
    path: &Path,
    value_bytes: usize,
    file_bytes: u64,
    time: Duration,
) -> io::Result<Times> {
    let file = zeroed(path, file_bytes)?;
    let bytes = vec![0x5A_u8; value_bytes];
    let mut times = Times::new();
    let mut at = 0;
    let start = Instant::now();
    while start.elapsed() < time {
        let begin = Instant::now();
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        times.add(begin.elapsed());
        at = (at + value_bytes as u64) % (SYNC_FILE_BYTES - value_bytes as u64);
    }
    fs::remove_file(path)?;
    Ok(times)
}

fn preads(dir: &Path, value_bytes: usize, time: Duration) -> io::Result<f64> {
    let path = dir.join("raw-read");
    let file = zeroed(&path, READ_FILE_BYTES)?;
    let mut buffer = vec![0_u8; value_bytes];
    let mut dice = Dice::new(2);
    let (mut count, start) = (0_u64, Instant::now());
    while start.elapsed() < time {
        for _ in 0..256 {
            let at = dice.below(READ_FILE_BYTES - value_bytes as u64) & !63;
            file.read_exact_at(&mut buffer, at)?;
            black_box(&buffer);
        }
        count += 256;
    }
    let spent = start.elapsed();
    fs::remove_file(path)?;
    Ok(spent.as_nanos() as f64 / count as f64)
}

/// Gigabytes a second that `work` goes through a block.
fn memory(time: Duration, mut work: impl FnMut(&[u8])) -> f64 {
    let from = vec![1_u8; COPY_BYTES];
    let (mut bytes, start) = (0_u64, Instant::now());
    while start.elapsed() < time {
        work(black_box(&from));
        bytes += COPY_BYTES as u64;
    }
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Takes the limits of the device below `dir` and of this machine's memory, for about five times
/// `time`.
pub(crate) fn measure(dir: &Path, value_bytes: usize, time: Duration) -> io::Result<Limits> {
    let times = syncs(dir, value_bytes, SYNC_FILE_BYTES, time)?;
    let growing = syncs(dir, value_bytes, 0, time)?;
    let mut to = vec![2_u8; COPY_BYTES];
    Ok(Limits {
        sync_p50_us: times.micros(0.5),
        sync_p99_us: times.micros(0.99),
        sync_growing_us: growing.micros(0.5),
        pread_ns: preads(dir, value_bytes, time)?,
        memcpy_gbps: memory(time, |from| {
            to.copy_from_slice(from);
            black_box(&to);
        }),
        crc_gbps: memory(time, |from| {
            black_box(trilith_engine::codec::crc(0, from));
        }),
    })
}
