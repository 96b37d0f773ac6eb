//! When requests are due in an open loop: evenly, whatever became of those before.
//!
//! A closed loop asks later when it is answered late, and so leaves out just the requests that would
//! have waited. Here each has its time beforehand, and how long it took is counted from then, also
//! when it could not be sent yet.
//!
//! Not here: sending (`drive.rs`).

use std::time::Duration;

/// Those of the requests that are one connection's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: u64,
    lines: u64,
    next: u64,
    end: u64,
}

impl Pace {
    /// Of so many a second over so many connections for so long: those of the connection of that
    /// number. Neighbours in time are on different connections.
    pub(super) fn new(per_second: u64, lines: u64, line: u64, time: Duration) -> Self {
        let per_second = per_second.max(1);
        let end = u128::from(per_second) * time.as_nanos() / NANOS;
        Self { per_second, lines: lines.max(1), next: line, end: end as u64 }
    }

    /// How many are left.
    pub(super) const fn left(&self) -> u64 {
        self.end.saturating_sub(self.next).div_ceil(self.lines)
    }

    /// When the next one is due, after the beginning; nothing when there is none.
    pub(super) fn next(&self) -> Option<Duration> {
        (self.next < self.end).then(|| {
            let nanos = u128::from(self.next) * NANOS / u128::from(self.per_second);
            Duration::from_nanos(nanos as u64)
        })
    }

    /// Takes all that are due so long after the beginning, with the time when each was.
    pub(super) fn take(&mut self, now: Duration, mut each: impl FnMut(Duration)) {
        while let Some(due) = self.next().filter(|due| *due <= now) {
            each(due);
            self.next += self.lines;
        }
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn taken(pace: &mut Pace, now: Duration) -> Vec<Duration> {
        let mut all = Vec::new();
        pace.take(now, |due| all.push(due));
        all
    }

    #[test]
    fn who_is_late_has_all_that_were_due_and_when_they_were() {
        let mut pace = Pace::new(100, 1, 0, ms(100));
        assert_eq!((pace.left(), pace.next()), (10, Some(ms(0))));
        assert_eq!(taken(&mut pace, ms(0)), [ms(0)]);
        assert_eq!(taken(&mut pace, ms(9)), []);
        // Nobody was there for half of the time: none of them is left out, and none is due later.
        assert_eq!(taken(&mut pace, ms(55)), [ms(10), ms(20), ms(30), ms(40), ms(50)]);
        assert_eq!((pace.left(), pace.next()), (4, Some(ms(60))));
        // However late it is, there is an end.
        assert_eq!(taken(&mut pace, ms(5_000)), [ms(60), ms(70), ms(80), ms(90)]);
        assert_eq!((pace.left(), pace.next()), (0, None));
    }

    #[test]
    fn connections_share_what_is_due() {
        let mut all = Vec::new();
        for line in 0..3 {
            let mut pace = Pace::new(1_000, 3, line, ms(10));
            let left = pace.left();
            let own = taken(&mut pace, ms(10));
            assert_eq!((own.len() as u64, own[0]), (left, ms(line)));
            all.extend(own);
        }
        all.sort();
        assert_eq!(all, (0..10).map(ms).collect::<Vec<_>>());
        // More connections than requests: some have none.
        assert_eq!(Pace::new(1_000, 50, 40, ms(10)).left(), 0);
        assert_eq!(Pace::new(1_000, 50, 40, ms(10)).next(), None);
    }

    #[test]
    fn many_a_second_stay_even() {
        let pace = Pace::new(3, 1, 2, ms(1_000));
        assert_eq!(pace.next(), Some(Duration::from_nanos(666_666_666)));
        assert_eq!(Pace::new(150_000, 50, 0, ms(2_000)).left(), 6_000);
    }
}
