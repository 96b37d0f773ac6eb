//! How the simulator itself is kept honest: the same seed twice, leaks that must be found, bugs
//! that must be caught, failures that must get small.
//!
//! Not here: the full hunts, which are programs (`trilith-sim twice | mutants`).

use std::path::PathBuf;

use trilith_sim::{
    mutants::{Hunters, catalogue},
    run::{Request, run},
    scenario::{Scenario, load_all},
    shrink_run::shrink,
    swarm::over_seeds,
    twice::{Leak, find_parting, parting_in_words, recorded},
};

fn scenario(name: &str) -> Scenario {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let mut all = load_all(&root, "random").expect("the scenarios");
    all.remove(name).unwrap_or_else(|| panic!("no scenario {name}"))
}

#[test]
fn two_hundred_seeds_are_the_same_run_alone_and_in_a_batch() {
    for name in ["everything_goes_wrong_at_once", "a_cluster_loses_its_power"] {
        let scenario = scenario(name);
        let quietly = |seed| run(&scenario, &Request::of(seed)).digest;
        let batch = over_seeds(1..101, 4, quietly, |_, _| true);
        for (seed, in_batch) in batch {
            let alone = run(&scenario, &recorded(seed)).digest;
            assert_eq!(alone, in_batch, "{name}: {}", parting_in_words(&scenario, seed));
        }
    }
}

#[test]
fn a_leaked_hash_order_and_a_leaked_clock_are_found() {
    for leak in [Leak::HashOrder, Leak::Clock] {
        let leaking = Scenario { leak, ..scenario("everything_goes_wrong_at_once") };
        let found = (1..10).any(|seed| find_parting(&leaking, seed).is_some());
        assert!(found, "{leak:?} was not detected");
    }
}

#[test]
fn more_that_is_done_while_somebody_listens_is_found() {
    let leak = Leak::Listened;
    let leaking = Scenario { leak, ..scenario("everything_goes_wrong_at_once") };
    let differs =
        |seed| run(&leaking, &Request::of(seed)).digest != run(&leaking, &recorded(seed)).digest;
    assert!((1..10).any(differs), "{leak:?} was not detected");
}

#[test]
fn keeping_a_trace_does_not_change_the_run() {
    let scenario = scenario("everything_goes_wrong_at_once");
    let quiet = run(&scenario, &Request::of(5));
    let keep = trilith_sim::trace::Keep::Everything;
    let traced = run(&scenario, &Request { keep, ..Request::of(5) });
    assert_eq!(quiet.digest, traced.digest);
    assert!(quiet.trace.is_empty() && !traced.trace.is_empty());
}

/// The seed, its first failing one, and the request that fails.
fn first_failure(scenario: &Scenario, mutant: &str, seeds: u64) -> Option<Request> {
    let request = |seed| Request { mutant: Some(mutant.into()), ..Request::of(seed) };
    (1..=seeds).map(request).find(|request| run(scenario, request).violation.is_some())
}

#[test]
fn known_bugs_of_the_toy_are_caught() {
    let quick = [
        "toy_ack_before_sync",
        "toy_stale_read",
        "toy_forget_dedupe",
        "toy_torn_tail_kept",
        "toy_pending_leak",
        "toy_wall_clock_order",
        "toy_blank_starts_empty",
        "toy_unknown_as_failed",
    ];
    for name in quick {
        let mutant = catalogue().into_iter().find(|mutant| mutant.name == name).expect("it exists");
        let Hunters::Scenarios(hunts) = mutant.hunters else { panic!("scenarios hunt {name}") };
        let caught = hunts.iter().any(|hunt| first_failure(&scenario(hunt), name, 60).is_some());
        assert!(caught, "{name} was not caught in 60 seeds of {hunts:?}");
    }
}

#[test]
fn a_failure_shrinks_to_what_it_needs_and_replays_from_its_file() {
    let scenario = scenario("everything_goes_wrong_at_once");
    let request = first_failure(&scenario, "toy_stale_read", 50).expect("it is caught");
    let shrunk = shrink(&scenario, &request, 400, |_, _| ()).expect("it fails");
    assert!(
        shrunk.after.0 <= 2 && shrunk.after.1 <= 8,
        "{:?} of {:?}",
        shrunk.after,
        shrunk.before
    );
    let text = shrunk.text().expect("it fits TOML");
    let again = Scenario::parse("again", &text, &|_| None).expect("our own text");
    let seed = again.fixed.seed.expect("it has one");
    let report = run(&again, &Request::of(seed));
    let told = report.violation.expect("it still fails");
    assert_eq!(told.fingerprint(), shrunk.violation.fingerprint());
    assert_eq!(report.digest, shrunk.report.digest, "the same run, from the file alone");
}
