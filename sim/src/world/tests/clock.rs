//! Clocks and their faults.

use super::*;
use crate::{
    fault::FaultKind,
    world::{NodeId, Ran},
};

/// How long in true time a sleep of that length takes, in milliseconds, under that fault.
fn sleeps(fault: &FaultKind, time: Duration) -> u64 {
    let mut world = idle(3, 2);
    world.strike(fault);
    let slept = world.run_on(NodeId(0), secs(100), move |rt| async move {
        let begin = rt.true_time_ns();
        nap(&rt, time).await;
        (rt.true_time_ns() - begin) / 1_000_000
    });
    slept.expect("it wakes")
}

#[test]
fn clocks_drift() {
    let drift = |ppm| FaultKind::Drift { node: 0, ppm, for_ms: 1_000_000 };
    assert_eq!(sleeps(&drift(0), secs(10)), 10_000);
    assert_eq!(sleeps(&drift(100_000), secs(11)), 10_000);
    assert_eq!(sleeps(&drift(-500_000), secs(10)), 20_000);
    let other = FaultKind::Drift { node: 1, ppm: 100_000, for_ms: 1_000_000 };
    assert_eq!(sleeps(&other, secs(10)), 10_000);
}

#[test]
fn a_leap_wakes_the_sleepers_and_a_drift_moves_them() {
    for (fault, expect) in [
        (FaultKind::Leap { node: 0, by_ms: 4_000 }, 6_000),
        (FaultKind::Leap { node: 0, by_ms: 40_000 }, 1_000),
        // Half an hour of drift at double pace would be too long for it: it ends after 2 s.
        (FaultKind::Drift { node: 0, ppm: 500_000, for_ms: 2_000 }, 9_000),
    ] {
        let mut world = alone(1, WorldOptions::default(), |rt| async move {
            nap(&rt, secs(10)).await;
        });
        world.run_for(secs(1));
        world.strike(&fault);
        assert_eq!(world.run_until_idle(secs(100)), Ran::Idle);
        assert_eq!(world.now().as_millis(), expect, "{fault}");
    }
}

#[test]
fn the_wall_jumps_and_the_monotonic_clock_does_not() {
    let mut world = idle(1, 1);
    let read = |world: &mut World| {
        let read = world.run_on(NodeId(0), secs(1), |rt| async move {
            (rt.clock().now().0 / 1_000_000, rt.clock().wall().0)
        });
        read.expect("it answers")
    };
    let (mono, wall) = read(&mut world);
    world.strike(&FaultKind::WallJump { node: 0, by_ms: -86_400_000 });
    assert_eq!(read(&mut world), (mono, wall - 86_400_000));
    world.strike(&FaultKind::WallJump { node: 0, by_ms: 5_000 });
    assert_eq!(read(&mut world), (mono, wall - 86_395_000));
    world.strike(&FaultKind::Leap { node: 0, by_ms: 70 });
    assert_eq!(read(&mut world), (mono + 70, wall - 86_395_000));
}

#[test]
fn a_life_begins_with_a_clock_of_its_own() {
    let log = Log::new();
    let into = log.clone();
    let mut world = alone(1, WorldOptions::default(), move |rt| {
        into.add(rt.clock().now().0);
        std::future::pending()
    });
    for _ in 0..3 {
        world.run_for(ms(1));
        world.kill(NodeId(0));
        world.start(NodeId(0));
    }
    world.run_for(ms(1));
    let mut begins = log.all();
    begins.sort_unstable();
    begins.dedup();
    assert_eq!(begins.len(), 4);
}

#[test]
fn timers_may_be_late_never_early() {
    let slack = WorldOptions { timer_slack: ms(5), ..WorldOptions::default() };
    let log = Log::new();
    let into = log.clone();
    let mut world = alone(1, slack, move |rt| {
        let log = into.clone();
        async move {
            for _ in 0..50 {
                let begin = rt.true_time_ns();
                nap(&rt, ms(10)).await;
                log.add((rt.true_time_ns() - begin) / 100_000);
            }
        }
    });
    world.run_for(secs(10));
    let naps = log.all();
    assert!(naps.iter().all(|nap| (100..=151).contains(nap)), "{naps:?}");
    assert!(naps.iter().any(|nap| *nap > 130));
}
