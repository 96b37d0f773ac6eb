//! What a process and the machine spent, read from `/proc`, and how long things took.
//!
//! The kernel counts a written byte when it dirties a page, whole pages at a time and zeros that
//! prepare a file included; that is what a device is asked to write. CPU time comes in ticks of
//! 10 ms: divide it by many operations only.
//!
//! Not here: what is measured, and when things ended (`course.rs`).

use hdrhistogram::Histogram;
use std::{fs, io, path::Path, time::Duration, time::Instant};

/// Microseconds of one tick of the kernel's: it counts a hundred in a second.
pub(crate) const TICK_US: f64 = 10_000.0;
/// A minute: whatever takes longer is counted as that.
pub(crate) const NANOS_MAX: u64 = 60_000_000_000;

/// What had been spent at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    cpu_ticks: u64,
    machine_ticks: u64,
    written: u64,
    cancelled: u64,
}

/// What was spent between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// By the clock.
    pub(crate) wall: Duration,
    /// On the CPU, by all threads of this process.
    pub(crate) cpu: Duration,
    /// Cores that everybody else on the machine kept busy meanwhile.
    pub(crate) foreign_cores: f64,
    /// Bytes that this process made the device write.
    pub(crate) written: u64,
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect()
}

/// What a process has spent on the CPU so far, in ticks; nothing when it is gone.
pub(crate) fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name in parentheses, which may hold anything: user and system are 12th and 13th.
    let own = numbers(stat.rsplit_once(')').map_or("", |(_, rest)| rest));
    own.iter().skip(11).take(2).sum()
}

impl Usage {
    /// Now. A machine without `/proc` spends nothing.
    pub(crate) fn now() -> Self {
        let read = |name| fs::read_to_string(name).unwrap_or_default();
        let io = read("/proc/self/io");
        let machine = read("/proc/stat");
        let machine = numbers(machine.lines().next().unwrap_or("").trim_start_matches("cpu"));
        let sum = |from: &[u64], at: &[usize]| at.iter().filter_map(|i| from.get(*i)).sum::<u64>();
        Self {
            at: Instant::now(),
            cpu_ticks: cpu_ticks(std::process::id()),
            machine_ticks: sum(&machine, &[0, 1, 2, 5, 6, 7]),
            written: field(&io, "write_bytes:"),
            cancelled: field(&io, "cancelled_write_bytes:"),
        }
    }

    /// What was spent since this moment.
    pub(crate) fn spent(&self) -> Spent {
        let now = Self::now();
        let wall = now.at.duration_since(self.at);
        let own = now.cpu_ticks.saturating_sub(self.cpu_ticks);
        let all = now.machine_ticks.saturating_sub(self.machine_ticks);
        let seconds = |ticks: u64| ticks as f64 * TICK_US / 1e6;
        let cancelled = now.cancelled - self.cancelled;
        Spent {
            wall,
            cpu: Duration::from_secs_f64(seconds(own)),
            foreign_cores: seconds(all.saturating_sub(own)) / wall.as_secs_f64().max(1e-9),
            written: (now.written - self.written).saturating_sub(cancelled),
        }
    }
}

/// This process's anonymous memory: heap and stacks, without mapped files.
pub(crate) fn anon_bytes() -> u64 {
    anon_bytes_of(std::process::id())
}

/// The same of any process; nothing when it is gone.
pub(crate) fn anon_bytes_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    field(&status, "RssAnon:") * 1024
}

/// The blocks that a directory and what is below it occupy.
pub(crate) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += meta.blocks() * 512;
        if meta.is_dir() {
            sum += disk_bytes(&entry.path())?;
        }
    }
    Ok(sum)
}

/// How long many things took.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        // The bounds and the digits are constants that the crate accepts.
        Self(Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("a histogram of three digits"))
    }

    /// One more.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All of another's, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        // The only failure is a difference of bounds.
        let merged = self.0.add(&other.0);
        debug_assert!(merged.is_ok(), "two histograms of one kind");
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this share of them did not exceed, in microseconds.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }
}
