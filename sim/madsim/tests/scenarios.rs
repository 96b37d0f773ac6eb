//! Scenarios of our own world, on madsim: the same judges must hold in the second world.
#![cfg(madsim)]

use std::path::Path;

use trilith_madsim::world::{Report, run};
use trilith_sim::scenario::{Scenario, load_all};

/// Those whose faults madsim can do, at least in part.
const NAMED: [&str; 3] =
    ["a_calm_day", "a_cluster_loses_its_power", "everything_goes_wrong_at_once"];
/// Fresh enough, and quick enough for every run of the tests.
const SEEDS: u64 = 6;

fn scenario(name: &str) -> Scenario {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut all = load_all(&root, "random").expect("the scenarios can be read");
    all.remove(name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

fn held(report: &Report) {
    assert!(report.violation.is_none(), "{report}\n{}", report.history);
    let (ok, _, _) = report.history.tally();
    assert!(ok > 0, "nothing was done: {report}");
}

#[test]
fn the_safety_judges_hold_in_the_second_world() {
    let mut struck = 0;
    for name in NAMED {
        let scenario = scenario(name);
        for seed in 0..SEEDS {
            let report = run(&scenario, seed);
            println!("{report}");
            held(&report);
            struck += report.struck.values().sum::<u64>();
        }
    }
    assert!(struck > 20, "only {struck} faults were done");
}

#[test]
fn a_seed_is_the_same_run_twice() {
    let scenario = scenario("a_cluster_loses_its_power");
    let mut digests = Vec::new();
    for seed in 0..SEEDS {
        let (one, two) = (run(&scenario, seed), run(&scenario, seed));
        assert_eq!(one.digest, two.digest, "seed {seed}:\n{one}\n{two}");
        digests.push(one.digest);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len() as u64, SEEDS, "seeds share a digest");
}

#[test]
fn the_judges_can_refuse_here_too() {
    let mut scenario = scenario("a_cluster_loses_its_power");
    scenario.bugs = vec!["toy_ack_before_sync".into()];
    let refused = (0..40).find(|seed| run(&scenario, *seed).violation.is_some());
    assert!(refused.is_some(), "an acknowledgement before the sync was not noticed in 40 seeds");
}
