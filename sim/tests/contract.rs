//! Every simulated door keeps the sentences of the runtime traits.
//!
//! Not here: the real doors' run of the same suite (`net/tests/contract.rs`), what survives a
//! crash (`sim/src/platter/tests.rs`).

use std::time::Duration;

use trilith_engine::runtime::contract;
use trilith_sim::{
    platter::{Faults, Platter},
    still::Still,
    world::{Schedule, World, WorldOptions},
};

#[test]
fn the_still_world_keeps_the_contract() {
    let still = Still::new(Platter::default());
    let report = still.block_on(async {
        let mut report = contract::all(&still, None).await;
        report.extend(contract::panics(&still).await);
        // A door must do for the second process what it did for the first.
        report.extend(contract::disk(&still).await);
        report
    });
    println!("{report}");
    report.assert_kept();
}

#[test]
fn a_disk_that_lies_is_told_from_one_that_does_not() {
    let mut platter = Platter::default();
    platter.set_faults(Faults { read_flip: 1_000_000, ..Faults::default() });
    let still = Still::new(platter);
    let report = still.block_on(contract::disk(&still));
    let broken = report.broken().count();
    assert!(broken > 10, "only {broken} sentences notice that every read flips a bit");
}

#[test]
fn the_world_keeps_the_contract_whatever_the_luck() {
    let schedules = [Schedule::Uniform, Schedule::Fifo, Schedule::Pct { change_every: 20 }];
    for seed in 0..30 {
        let schedule = schedules[usize::try_from(seed).expect("it is small") % 3];
        let slack = Duration::from_micros(seed * 20);
        let options = WorldOptions { schedule, timer_slack: slack, ..WorldOptions::default() };
        let mut world = World::new(seed, options);
        // Slow, partial and lossy as it likes: the sentences hold all the same.
        world.set_net(|net| {
            net.partial_per_million = 200_000;
            net.loss_per_million = 10_000;
        });
        let node = world.add_idle("n0");
        let report = world.run_on(node, Duration::from_secs(3600), |rt| async move {
            let mut report = contract::all(&rt, Some(rt.ip())).await;
            report.extend(contract::panics(&rt).await);
            report
        });
        let report = report.expect("the suite ends");
        report.assert_kept();
        assert!(report.names().count() > 30, "{report}");
    }
}
