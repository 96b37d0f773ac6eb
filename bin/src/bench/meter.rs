//! What a process and the machine spent, read from `/proc`, how long things took, and when.
//!
//! The kernel counts a written byte when it dirties a page, whole pages at a time and zeros that
//! prepare a file included; that is what a device is asked to write. CPU time comes in ticks of
//! 10 ms: divide it by many operations only.
//!
//! Not here: what is measured.

use hdrhistogram::Histogram;
use std::{fs, io, path::Path, time::Duration, time::Instant};

/// Microseconds of one tick of the kernel's: it counts a hundred in a second.
pub(crate) const TICK_US: f64 = 10_000.0;
/// A minute: whatever takes longer is counted as that.
const NANOS_MAX: u64 = 60_000_000_000;
/// A run is looked at in so many slices: enough to see a stall, few enough for a steady rate.
const SLICES: u32 = 30;
/// What is drawn of how long things took: closer together where they are fewer.
const SHARES: [f64; 13] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999];

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
    field(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "RssAnon:") * 1024
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

    /// The same for shares between all and few, as far as there were so many.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let (count, shares) = (self.count() as f64, SHARES.into_iter());
        let known = shares.filter(|share| (1.0 - share) * count >= 1.0);
        known.map(|share| (share, self.micros(share))).collect()
    }
}

/// What ended in each slice of a run, and how long it had taken. What ends after the run is of none.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    slice: Duration,
    // Two digits and narrow counters: each of a thousand threads may have one.
    slices: Vec<Histogram<u32>>,
}

impl Course {
    /// Of a run that will take so long.
    pub(crate) fn new(run: Duration) -> Self {
        // The bounds and the digits are constants that the crate accepts.
        let none = Histogram::new_with_bounds(1, NANOS_MAX, 2).expect("a histogram of two digits");
        let slice = (run / SLICES).max(Duration::from_nanos(1));
        Self { slice, slices: vec![none; SLICES as usize] }
    }

    /// One more, so long after the beginning.
    pub(crate) fn add(&mut self, at: Duration, took: Duration) {
        let slice = at.as_nanos() / self.slice.as_nanos();
        let slice = usize::try_from(slice).ok().and_then(|slice| self.slices.get_mut(slice));
        if let Some(slice) = slice {
            slice.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// All of another's, too, which is of a run that took as long.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, other) in self.slices.iter_mut().zip(&other.slices) {
            // The only failure is a difference of bounds.
            let merged = own.add(other);
            debug_assert!(merged.is_ok(), "two histograms of one kind");
        }
    }

    /// The middle of each slice, in seconds.
    fn middles(&self) -> impl Iterator<Item = (f64, &Histogram<u32>)> {
        let slice = self.slice.as_secs_f64();
        let middle = move |at: usize| (at as f64 + 0.5) * slice;
        self.slices.iter().enumerate().map(move |(at, of)| (middle(at), of))
    }

    /// How many a second ended, slice by slice.
    pub(crate) fn per_second(&self) -> Vec<(f64, f64)> {
        let slice = self.slice.as_secs_f64();
        self.middles().map(|(at, of)| (at, of.len() as f64 / slice)).collect()
    }

    /// The time that this share of them did not exceed, in microseconds; nothing where none ended.
    pub(crate) fn micros(&self, share: f64) -> Vec<(f64, f64)> {
        let some = self.middles().filter(|(_, of)| !of.is_empty());
        some.map(|(at, of)| (at, of.value_at_quantile(share) as f64 / 1e3)).collect()
    }
}

/// What was counted of a load: how long things took and, where it is to be drawn, when.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// How long.
    pub(crate) times: Times,
    /// When.
    pub(crate) course: Option<Course>,
    began: Instant,
}

impl Counted {
    /// Nothing yet, from now on. What is to be drawn says how long it will take.
    pub(crate) fn new(drawn: Option<Duration>) -> Self {
        let course = drawn.map(Course::new);
        Self { times: Times::new(), course, began: Instant::now() }
    }

    /// It begins only now.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// One more, which ended now.
    pub(crate) fn add(&mut self, took: Duration) {
        self.times.add(took);
        if let Some(course) = &mut self.course {
            course.add(self.began.elapsed(), took);
        }
    }

    /// All of another's, too, which began at the same time.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        if let (Some(own), Some(other)) = (&mut self.course, &other.course) {
            own.merge(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_knows_when_things_ended() {
        let ms = Duration::from_millis;
        let (mut one, mut other) = (Course::new(ms(30_000)), Course::new(ms(30_000)));
        one.add(ms(0), ms(1));
        one.add(ms(999), ms(1));
        other.add(ms(999), ms(50));
        other.add(ms(29_999), ms(2));
        // After its end.
        other.add(ms(30_000), ms(2));
        one.merge(&other);
        let rates = one.per_second();
        assert_eq!(rates.len(), 30);
        assert_eq!((rates[0], rates[29]), ((0.5, 3.0), (29.5, 1.0)));
        assert_eq!(rates.iter().map(|(_, rate)| rate).sum::<f64>(), 4.0);
        let most = one.micros(1.0);
        assert_eq!(most.len(), 2, "nothing ended in the others: {most:?}");
        assert!((49_000.0..51_000.0).contains(&most[0].1), "{most:?}");
        assert!((1_980.0..2_020.0).contains(&most[1].1), "{most:?}");
        // A run of no time has slices, and nothing in them.
        assert_eq!(Course::new(Duration::ZERO).micros(0.5), []);
    }

    #[test]
    fn a_curve_goes_as_far_as_there_were_some() {
        let mut times = Times::new();
        assert_eq!(times.curve(), []);
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros));
        }
        let curve = times.curve();
        assert_eq!(curve.last().map(|(share, _)| *share), Some(0.999));
        let at = |share| curve.iter().find(|(known, _)| *known == share).map(|(_, us)| *us);
        assert!((498.0..502.0).contains(&at(0.5).unwrap_or(0.0)), "{curve:?}");
        assert!((988.0..992.0).contains(&at(0.99).unwrap_or(0.0)), "{curve:?}");
    }

    #[test]
    fn what_is_not_drawn_has_no_course() {
        let mut plain = Counted::new(None);
        plain.add(Duration::from_micros(5));
        assert!(plain.course.is_none() && plain.times.count() == 1);
        let mut drawn = Counted::new(Some(Duration::from_secs(3600)));
        drawn.begin();
        drawn.add(Duration::from_micros(5));
        let mut all = Counted::new(Some(Duration::from_secs(3600)));
        all.merge(&drawn);
        let first = all.course.map(|course| course.per_second()[0].1 > 0.0);
        assert_eq!((first, all.times.count()), (Some(true), 1));
    }
}
