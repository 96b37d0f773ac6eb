//! `trilith-sim list`.
//!
//! Not here: the regular suite itself; this runs a sample of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use trilith_sim::{
    check::{Verdict, judges},
    fault::Family,
    mutants::catalogue,
    run::{self, Request},
    scenario::family_name,
    swarm::over_seeds,
};

use super::{Done, House, bar};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Seeds of each scenario that are run to see which marks and probes are hit; 0 for none.
    #[arg(long, default_value_t = 30)]
    seeds: u64,
}

/// Lists everything.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let mut holds = true;
    println!("scenarios");
    let all = house.all()?;
    for (name, scenario) in &all {
        println!("  {name:<44} {}", scenario.about);
    }
    println!("\njudges");
    for judge in judges() {
        let refuses = matches!((judge.canary)(), Verdict::Violated(_));
        holds &= refuses;
        let canary = if refuses { "" } else { "  ITS CANARY PASSES" };
        println!("  {:<16} {}{canary}", judge.name, judge.demands);
    }
    println!("\nfamilies of faults");
    println!("  {}", Family::ALL.map(family_name).join(", "));
    println!("\nmutants");
    for mutant in catalogue() {
        println!("  {:<32} {:<8} {}", mutant.name, mutant.room, mutant.breaks);
    }
    if arguments.seeds > 0 {
        holds &= coverage(house, arguments.seeds)?;
    }
    Ok(holds)
}

fn coverage(house: &House, seeds: u64) -> Done {
    let scenarios = house.some(&[])?;
    let mut marks: BTreeMap<String, u64> = BTreeMap::new();
    let mut probes: BTreeMap<String, u64> = BTreeMap::new();
    let bar = bar(seeds * scenarios.len() as u64, "running");
    for scenario in &scenarios {
        let work = |seed| run::run(scenario, &Request::of(seed));
        let reports = over_seeds(1..seeds + 1, house.threads, work, |_, _| {
            bar.inc(1);
            true
        });
        for report in reports.into_values() {
            report
                .marks
                .iter()
                .for_each(|(name, count)| *marks.entry((*name).to_string()).or_default() += count);
            report
                .probes
                .iter()
                .for_each(|(name, count)| *probes.entry(name.clone()).or_default() += count);
        }
    }
    bar.finish_and_clear();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut known: BTreeSet<String> = BTreeSet::new();
    for room in ["engine/src", "net/src", "sim/src"] {
        names_in(&root.join(room), "mark!(\"", &mut known);
    }
    let mut faults: BTreeSet<String> = BTreeSet::new();
    names_in(&root.join("sim/src/world"), "probe(\"", &mut faults);
    names_in(&root.join("sim/src/world"), "=> \"fault.", &mut faults);
    println!(
        "\nprobes and marks, in {seeds} seeds of each of {} random scenarios",
        scenarios.len()
    );
    for (name, count) in probes.iter().chain(&marks) {
        println!("  {count:>9}  {name}");
    }
    println!("never hit:");
    let never = known.iter().filter(|name| !marks.contains_key(*name));
    let never_probed = faults.iter().filter(|name| {
        !probes.contains_key(*name) && !probes.contains_key(&format!("fault.{name}"))
    });
    never.chain(never_probed).for_each(|name| println!("          0  {name}"));
    Ok(true)
}

/// The names that stand in the sources after some words. Tests, and lines that only describe, do
/// not count.
fn names_in(directory: &Path, before: &str, names: &mut BTreeSet<String>) {
    let Ok(files) = fs::read_dir(directory) else { return };
    for path in files.filter_map(|file| file.ok().map(|file| file.path())) {
        if path.is_dir() {
            names_in(&path, before, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for rest in line.split(before).skip(1) {
                    names.extend(rest.split('"').next().map(str::to_string));
                }
            }
        }
    }
}
