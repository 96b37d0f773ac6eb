//! The lone store against its model: thousands of short lives with crashes in them.

use trilith_sim::subject::lives::{LifeOptions, Summary, life};

fn live(seeds: std::ops::Range<u64>, options: &LifeOptions) -> Summary {
    let mut sum = Summary::default();
    for seed in seeds {
        match life(seed, options) {
            Ok(summary) => sum.add(&summary),
            Err(why) => panic!("{why}"),
        }
    }
    sum
}

#[test]
fn a_store_is_its_model_through_crashes() {
    let sum = live(0..1500, &LifeOptions::default());
    assert!(sum.crashes > 1500 && sum.compactions > 700 && sum.expired > 700, "{sum:?}");
}

#[test]
fn a_store_on_a_failing_disk_stops_and_loses_nothing() {
    let sum = live(0..700, &LifeOptions { faults: true, ..LifeOptions::default() });
    assert!(sum.stops > 230, "{sum:?}");
}
