//! `trilith-sim twice`.
//!
//! Not here: how the line is found at which two runs part (`trilith_sim::twice`).

use clap::Args;
use trilith_sim::{
    run::{self, Request},
    scenario::Scenario,
    swarm::over_seeds,
    twice::{Leak, find_parting, parting_in_words, recorded},
};

use super::{Done, House, bar, parse_seed};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenarios; all random ones when none is named.
    scenarios: Vec<String>,
    /// How many seeds for each.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_parser = parse_seed, default_value = "1")]
    from: u64,
    /// Run each seed once and print its digest: to compare this build with another one.
    #[arg(long)]
    print: bool,
}

fn parted(house: &House, scenario: &Scenario, from: u64, seeds: u64) -> Vec<u64> {
    let bar = bar(seeds, &scenario.name);
    let quietly = |seed| run::run(scenario, &Request::of(seed)).digest;
    let batch = over_seeds(from..from + seeds, house.threads, quietly, |_, _| {
        bar.inc(1);
        true
    });
    bar.finish_and_clear();
    let watched = |seed| run::run(scenario, &recorded(seed)).digest;
    let alone = over_seeds(from..from + seeds, 1, watched, |_, _| true);
    batch.keys().copied().filter(|seed| batch.get(seed) != alone.get(seed)).collect()
}

/// Prints what the seeds were, for somebody who compares.
fn print(house: &House, scenario: &Scenario, arguments: &Arguments) {
    let seeds = arguments.from..arguments.from + arguments.seeds;
    let digest = |seed| run::run(scenario, &Request::of(seed)).digest;
    for (seed, digest) in over_seeds(seeds, house.threads, digest, |_, _| true) {
        println!("{} 0x{seed:x} {digest}", scenario.name);
    }
}

/// The three leaks that must be found.
const CONTROLS: [(Leak, &str); 3] = [
    (Leak::HashOrder, "a leaked hash-map order"),
    (Leak::Clock, "a leaked clock"),
    (Leak::Listened, "more is done while somebody listens"),
];

/// Runs the seeds twice, then the controls.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let scenarios = house.some(&arguments.scenarios)?;
    if arguments.print {
        scenarios.iter().for_each(|scenario| print(house, scenario, arguments));
        return Ok(true);
    }
    let mut holds = true;
    for scenario in &scenarios {
        let different = parted(house, scenario, arguments.from, arguments.seeds);
        println!("{}: {} seeds twice, {} differ", scenario.name, arguments.seeds, different.len());
        if let Some(seed) = different.first() {
            holds = false;
            println!("{}", parting_in_words(scenario, *seed));
        }
    }
    let Some(toy) = scenarios.iter().find(|one| one.nodes.most() > 1) else { return Ok(holds) };
    for (leak, what) in CONTROLS {
        let leaking = Scenario { leak, ..toy.clone() };
        let different = parted(house, &leaking, arguments.from, 5);
        let found = !different.is_empty();
        println!("control, {what}: {}", if found { "detected" } else { "NOT DETECTED" });
        if let Some(parting) = different.first().and_then(|seed| find_parting(&leaking, *seed)) {
            println!("{parting}");
        }
        holds &= found;
    }
    Ok(holds)
}
