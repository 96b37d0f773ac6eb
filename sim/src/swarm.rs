//! Swarm: many seeds on all cores.
//!
//! Worlds share nothing, so a thread takes the next seed, runs it to its end, and hands the result
//! over; results arrive in any order and are sorted by seed before anybody looks, so that the same
//! swarm prints the same thing on one core and on sixty-four.
//!
//! Not here: what a run is (`run`), how progress looks (the program).
#![expect(clippy::disallowed_methods, reason = "this is the edge: it owns threads and times them")]

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How many cores there are.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` for each seed, on so many threads; `each` sees the results as they come and answers
/// whether to go on. The results that came are answered in the order of their seeds.
pub fn over_seeds<T: Send>(
    seeds: Range<u64>,
    threads: usize,
    work: impl Fn(u64) -> T + Sync,
    mut each: impl FnMut(u64, &T) -> bool,
) -> BTreeMap<u64, T> {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let mut results = BTreeMap::new();
    thread::scope(|scope| {
        // Bounded: a swarm that is stopped has not run far ahead.
        let (sender, receiver) = mpsc::sync_channel(threads.max(1) * 2);
        for _ in 0..threads.max(1) {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            let end = seeds.end;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, work(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, result) in receiver {
            if !each(seed, &result) {
                stop.store(true, Ordering::Relaxed);
            }
            results.insert(seed, result);
        }
    });
    results
}

/// How long something took, for people.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = act();
    (result, began.elapsed())
}

/// Runs something that may panic, and answers what the panic said. A panic of the code under test
/// is a finding, not the end of the swarm.
///
/// # Errors
/// What the panic said.
pub fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without words".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_run_once_and_results_are_sorted() {
        let results = over_seeds(10..60, 4, |seed| seed * 2, |_, _| true);
        assert_eq!(results.len(), 50);
        assert!(results.iter().all(|(seed, result)| *result == seed * 2));
    }

    #[test]
    fn a_swarm_can_be_stopped_early() {
        let results = over_seeds(0..1_000_000, 2, |seed| seed, |seed, _| seed < 10);
        assert!(results.len() < 1000);
    }

    #[test]
    fn a_panic_is_told() {
        assert_eq!(caught(|| 5), Ok(5));
    }
}
