//! `trilith-sim swarm`.
//!
//! Not here: threads (`trilith_sim::swarm`).

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use trilith_sim::{
    check::Violation,
    run::{self, Request},
    scenario::Scenario,
    swarm::{caught, over_seeds, timed},
};

use super::{Done, House, bar, parse_seed};

/// What can be asked of a swarm.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenarios; all random ones when none is named.
    scenarios: Vec<String>,
    /// How many seeds for each.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_parser = parse_seed, default_value = "1")]
    from: u64,
    /// Switch on a planted bug.
    #[arg(long)]
    mutant: Option<String>,
}

struct One {
    failure: Option<(String, String)>,
    undecided: usize,
    simulated: Duration,
}

fn one(scenario: &Scenario, seed: u64, mutant: Option<String>) -> One {
    match caught(|| run::run(scenario, &Request { mutant, ..Request::of(seed) })) {
        Ok(report) => One {
            failure: report.violation.as_ref().map(|told| (told.fingerprint(), report.story())),
            undecided: report.unknown.len(),
            simulated: report.simulated,
        },
        Err(panic) => {
            let told = Violation::new("beliefs", "the simulator panicked", &panic);
            One {
                failure: Some((told.fingerprint(), panic)),
                undecided: 0,
                simulated: Duration::ZERO,
            }
        }
    }
}

/// Runs the seeds.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let scenarios = house.some(&arguments.scenarios)?;
    let (mut holds, mut total, mut simulated, mut wall) = (true, 0, Duration::ZERO, Duration::ZERO);
    println!("commit {}, {} threads", run::commit(), house.threads);
    for scenario in &scenarios {
        let bar = bar(arguments.seeds, &scenario.name);
        let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
        let work = |seed| one(scenario, seed, arguments.mutant.clone());
        let (results, took) = timed(|| {
            over_seeds(seeds, house.threads, work, |_, _| {
                bar.inc(1);
                true
            })
        });
        bar.finish_and_clear();
        let mut groups: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        let (mut undecided, mut virtual_time) = (0, Duration::ZERO);
        total += results.len() as u64;
        for (seed, one) in results {
            undecided += one.undecided;
            virtual_time += one.simulated;
            if let Some((fingerprint, story)) = one.failure {
                groups.entry(fingerprint).or_default().push((seed, story));
            }
        }
        (simulated, wall) = (simulated + virtual_time, wall + took);
        let failures: usize = groups.values().map(Vec::len).sum();
        println!(
            "{}: {} seeds in {took:.1?}, {failures} failed, {undecided} undecided; {:.0} seeds an hour, {:.0} simulated seconds a second and thread",
            scenario.name,
            arguments.seeds,
            arguments.seeds as f64 * 3600.0 / took.as_secs_f64().max(1e-9),
            virtual_time.as_secs_f64() / took.as_secs_f64().max(1e-9) / house.threads as f64,
        );
        for (fingerprint, seeds) in &groups {
            let named: Vec<String> =
                seeds.iter().take(8).map(|(seed, _)| format!("0x{seed:x}")).collect();
            println!("  {} times {fingerprint}\n    seeds {}", seeds.len(), named.join(" "));
        }
        for seeds in groups.values() {
            if let Some((_, story)) = seeds.first() {
                println!("\n{story}\n");
            }
        }
        holds &= groups.is_empty() == scenario.fails.is_none();
    }
    println!(
        "in all {total} seeds, {:.0} simulated hours in {wall:.1?}: {:.0} seeds an hour, {:.0} simulated seconds a wall second",
        simulated.as_secs_f64() / 3600.0,
        total as f64 * 3600.0 / wall.as_secs_f64().max(1e-9),
        simulated.as_secs_f64() / wall.as_secs_f64().max(1e-9),
    );
    Ok(holds)
}
