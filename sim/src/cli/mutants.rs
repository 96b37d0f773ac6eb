//! `trilith-sim mutants`.
//!
//! Not here: the catalogue (`trilith_sim::mutants`).

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, process::Command};

use clap::Args;
use trilith_sim::{
    mutants::{Hunters, Mutant, catalogue, noticed_in_room},
    run::{self, Request},
    scenario::{Scenario, meant},
    swarm::{caught, over_seeds, timed},
    world::laws,
};

use super::{Done, House, bar};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Mutants; all when none is named.
    names: Vec<String>,
    /// Hunts for each, from different seeds; the median counts.
    #[arg(long, default_value_t = 5)]
    hunts: u64,
    /// Seeds of a hunt before it is given up.
    #[arg(long, default_value_t = 3000)]
    budget: u64,
    /// Write the table to sim/docs/mutants.md.
    #[arg(long)]
    write: bool,
}

/// What a hunt brought.
struct Caught {
    judge: String,
    symptom: String,
    seeds: u64,
}

fn hunt(
    house: &House,
    mutant: &Mutant,
    scenarios: &[&Scenario],
    number: u64,
    budget: u64,
) -> Option<Caught> {
    let from = 1 + number * 1_000_000;
    let work = |seed: u64| match mutant.hunters {
        Hunters::Laws => {
            let broken = laws::broken(seed, &[mutant.name]).into_iter().next();
            broken.map(|sentence| ("laws".to_string(), sentence.to_string()))
        }
        Hunters::Room => {
            let attempt = if seed == from { 0 } else { seed };
            noticed_in_room(mutant, attempt)
        }
        Hunters::Story(..) => None,
        Hunters::Scenarios(_) => {
            let scenario = scenarios[(seed % scenarios.len() as u64) as usize];
            let fails = |mutant: Option<&str>| {
                let mutant = mutant.map(str::to_string);
                let seed = scenario.fixed.seed.unwrap_or(seed);
                let request = Request { mutant, ..Request::of(seed) };
                match caught(|| run::run(scenario, &request)) {
                    Ok(report) => report.violation.map(|told| (told.judge.into(), told.symptom)),
                    Err(panic) => Some(("beliefs".to_string(), panic)),
                }
            };
            // A seed that fails by itself has caught nothing.
            fails(Some(mutant.name)).filter(|_| fails(None).is_none())
        }
    };
    let results = over_seeds(from..from + budget, house.threads, work, |_, told| told.is_none());
    let (seed, told) = results.into_iter().find(|(_, told)| told.is_some())?;
    told.map(|(judge, symptom)| Caught { judge, symptom, seeds: seed - from + 1 })
}

/// Lets a test of planted bugs tell its story. Whether it noticed.
fn tell(target: &str, story: &str) -> Result<bool, String> {
    let test = cargo("test", &["--test", target, "--", "--exact", story]).output();
    let test = test.map_err(|why| format!("cargo cannot be started: {why}"))?;
    let said = String::from_utf8_lossy(&test.stdout);
    if said.contains("1 passed") {
        return Ok(true);
    }
    if said.contains("1 failed") {
        return Ok(false);
    }
    let why = String::from_utf8_lossy(&test.stderr);
    Err(format!("there is no story {story} in sim/tests/{target}, or it does not build:\n{why}"))
}

struct Row {
    mutant: Mutant,
    judges: BTreeMap<String, usize>,
    symptom: String,
    median: Option<u64>,
    caught: usize,
}

fn row(
    house: &House,
    mutant: Mutant,
    arguments: &Arguments,
    all: &BTreeMap<String, Scenario>,
) -> Result<Row, String> {
    let hunters = match mutant.hunters {
        Hunters::Scenarios(names) => names,
        Hunters::Laws | Hunters::Room => &[],
        Hunters::Story(target, story) => {
            // It goes the same way every time.
            let caught = usize::from(tell(target, story)?);
            let judges = BTreeMap::from([(format!("story {story}"), caught)]);
            let median = (caught > 0).then_some(1);
            return Ok(Row { mutant, judges, symptom: String::new(), median, caught });
        }
    };
    let scenarios: Vec<&Scenario> = hunters
        .iter()
        .map(|name| {
            all.get(*name).ok_or_else(|| {
                format!("{} is hunted by {name:?}, which is no scenario", mutant.name)
            })
        })
        .collect::<Result<_, _>>()?;
    let (mut needed, mut judges, mut symptom) = (Vec::new(), BTreeMap::new(), String::new());
    for number in 0..arguments.hunts {
        match hunt(house, &mutant, &scenarios, number, arguments.budget) {
            Some(caught) => {
                *judges.entry(caught.judge).or_default() += 1;
                symptom = caught.symptom;
                needed.push(caught.seeds);
            }
            // One hunt for nothing is enough to know the mutant is not reliably caught.
            None => break,
        }
    }
    needed.sort_unstable();
    let complete = needed.len() as u64 == arguments.hunts;
    let median = complete.then(|| needed[needed.len() / 2]);
    Ok(Row { mutant, judges, symptom, median, caught: needed.len() })
}

/// Cargo, with planted bugs.
fn cargo(what: &str, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    cargo
        .args([what, "--quiet", "--profile", "sim", "--features", "mutants"])
        .args(["--manifest-path", manifest])
        .args(arguments);
    cargo
}

/// Builds this program again with the planted bugs in it, and hands over.
pub(super) fn again_with_mutants() -> Done {
    println!("this build has no planted bugs; building one that has (cargo, profile sim)");
    let status = cargo("run", &["--"])
        .args(std::env::args_os().skip(1))
        .status()
        .map_err(|why| format!("cargo cannot be started: {why}"))?;
    Ok(status.success())
}

/// Hunts them.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let mut wanted = catalogue();
    for name in &arguments.names {
        if !wanted.iter().any(|mutant| mutant.name == name) {
            let hint = meant(name, wanted.iter().map(|mutant| mutant.name));
            return Err(format!("there is no mutant {name:?}{hint}").into());
        }
    }
    wanted.retain(|mutant| {
        arguments.names.is_empty() || arguments.names.iter().any(|name| name == mutant.name)
    });
    if !wanted.iter().all(Mutant::is_available) {
        return again_with_mutants();
    }
    let all = house.all()?;
    let bar = bar(wanted.len() as u64, "hunting");
    let mut rows = Vec::new();
    let (outcome, took) = timed(|| -> Result<(), String> {
        for mutant in wanted {
            bar.set_message(format!("hunting {}", mutant.name));
            let row = row(house, mutant, arguments, &all)?;
            let judges: Vec<&str> = row.judges.keys().map(String::as_str).collect();
            let median =
                row.median.map_or_else(|| "UNCAUGHT".into(), |seeds| format!("{seeds} seeds"));
            bar.println(format!("{:<32} {median:<12} {}", row.mutant.name, judges.join(", ")));
            if !bar.is_hidden() {
                bar.inc(1);
            } else {
                println!(
                    "{:<32} {median:<12} {} ({})",
                    row.mutant.name,
                    judges.join(", "),
                    row.symptom
                );
            }
            rows.push(row);
        }
        Ok(())
    });
    bar.finish_and_clear();
    outcome?;
    let uncaught: Vec<&Row> = rows.iter().filter(|row| row.median.is_none()).collect();
    println!("{} mutants, {} uncaught, {took:.0?}", rows.len(), uncaught.len());
    for row in &uncaught {
        println!(
            "  {} was caught {} times of {}: {}",
            row.mutant.name, row.caught, arguments.hunts, row.mutant.breaks
        );
    }
    if arguments.write {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mutants.md"));
        // What is said below the table stays.
        let old = fs::read_to_string(&path).unwrap_or_default();
        let prose = old.rsplit_once("|\n").map_or("", |(_, prose)| prose);
        fs::write(&path, table(&rows, arguments) + prose)?;
        println!("written to {}", path.display());
    }
    Ok(uncaught.is_empty())
}

fn table(rows: &[Row], arguments: &Arguments) -> String {
    let mut text = format!(
        "# Mutants\n\nBugs that we plant in our own code, to see that they are found.\n\
         Written by `trilith-sim mutants --write`; each was hunted {} times from different seeds, with at most {} seeds a hunt.\n\
         A mutant that is not caught in every hunt is a bug of the simulator.\n\n\
         | mutant | room | what it breaks | caught by | seeds (median) |\n| --- | --- | --- | --- | --- |\n",
        arguments.hunts, arguments.budget
    );
    for Row { mutant, judges, median, .. } in rows {
        let judges: Vec<String> = judges
            .iter()
            .map(
                |(judge, times)| {
                    if judges.len() > 1 { format!("{judge} ({times})") } else { judge.clone() }
                },
            )
            .collect();
        let median = median.map_or_else(|| "**uncaught**".into(), |seeds| seeds.to_string());
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {median} |",
            mutant.name,
            mutant.room,
            mutant.breaks,
            judges.join(", ")
        )
        .unwrap_or_default();
    }
    text
}
