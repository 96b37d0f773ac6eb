//! When things ended and how long they had taken: what is drawn of a load.
//!
//! Not here: how it is drawn (`pictures.rs`, `plot.rs`), what was spent (`meter.rs`).

use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

use super::meter::{NANOS_MAX, Times};

/// A run is looked at in so many slices: enough to see a stall, few enough for a steady rate.
const SLICES: u32 = 30;
/// What is drawn of how long things took: closer together where they are fewer.
const SHARES: [f64; 13] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999];

/// How long things took, for shares between all and few, as far as there were so many.
pub(crate) fn curve(times: &Times) -> Vec<(f64, f64)> {
    let (count, shares) = (times.count() as f64, SHARES.into_iter());
    let known = shares.filter(|share| (1.0 - share) * count >= 1.0);
    known.map(|share| (share, times.micros(share))).collect()
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
        assert_eq!(curve(&times), []);
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros));
        }
        let drawn = curve(&times);
        assert_eq!(drawn.last().map(|(share, _)| *share), Some(0.999));
        let at = |share| drawn.iter().find(|(known, _)| *known == share).map(|(_, us)| *us);
        assert!((498.0..502.0).contains(&at(0.5).unwrap_or(0.0)), "{drawn:?}");
        assert!((988.0..992.0).contains(&at(0.99).unwrap_or(0.0)), "{drawn:?}");
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
