//! `trilith-sim run`.
//!
//! Not here: what a run is (`trilith_sim::run`).

use std::path::PathBuf;

use clap::Args;
use trilith_sim::{
    play::Play,
    run::{self, Request},
    swarm::timed,
    trace::Keep,
};

use super::{Done, House, parse_seed};

/// What can be asked of a run.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  trilith-sim run --seed 42                       the default scenario
  trilith-sim run everything_goes_wrong_at_once --seed 0x2a --trace
  trilith-sim run --seed 42 --html run.html       a page to look at it
  trilith-sim run scenarios/found/some_bug.toml   exactly the run in the file")]
pub(crate) struct Arguments {
    /// A scenario's name, or a file; `default` when not given.
    scenario: Option<String>,
    /// The seed: 42 or 0x2a. A file under found/ brings its own.
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Print everything that happened, line by line.
    #[arg(long)]
    trace: bool,
    /// Write a page that plays the run: one file that any browser opens, without a network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print what the clients saw.
    #[arg(long)]
    history: bool,
    /// Switch on a planted bug (`trilith-sim list` names them).
    #[arg(long)]
    mutant: Option<String>,
}

/// Runs one seed.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let scenario = house.one(arguments.scenario.as_deref())?;
    let seed = arguments.seed.or(scenario.fixed.seed).unwrap_or(1);
    let keep = if arguments.trace { Keep::Everything } else { Keep::Nothing };
    let mutant = arguments.mutant.clone();
    let tape = arguments.html.is_some();
    let request = Request { keep, tape, mutant, ..Request::of(seed) };
    let (report, took) = timed(|| run::run(&scenario, &request));
    for line in &report.trace {
        println!("{line}");
    }
    if arguments.history {
        print!("{}", report.history);
    }
    println!("{}: {}", scenario.name, scenario.about);
    println!("commit {}, seed 0x{seed:x}", run::commit());
    println!("{}", report.drawn);
    for fault in &report.drawn.faults.entries {
        println!("    {:?}: {}", fault.when, fault.what);
    }
    let hit = |items: Vec<String>| if items.is_empty() { "none".into() } else { items.join(", ") };
    println!(
        "  hit   {}",
        hit(report.probes.iter().map(|(name, count)| format!("{name} {count}")).collect())
    );
    println!(
        "  marks {}",
        hit(report.marks.iter().map(|(name, count)| format!("{name} {count}")).collect())
    );
    for why in &report.unknown {
        println!("  undecided: {why}");
    }
    let speed = report.simulated.as_secs_f64() / took.as_secs_f64().max(1e-9);
    println!(
        "  {:.1} simulated seconds in {took:.1?}: {speed:.0} a second",
        report.simulated.as_secs_f64()
    );
    let holds = report.violation.is_none() == scenario.fails.is_none();
    match (&report.violation, &scenario.fails) {
        (Some(violation), Some(_)) => {
            println!("\nrefused, as this scenario must be:\n{violation}\n")
        }
        (Some(_), None) => println!("\n{}\n", report.story()),
        (None, Some(judge)) => println!("\n{judge} should have refused this run, and did not\n"),
        (None, None) => {}
    }
    println!("{}", report.line());
    if let Some(file) = &arguments.html {
        let play = Play::of(&scenario, &report);
        let page = play.page()?;
        std::fs::write(file, &page).map_err(|why| format!("{}: {why}", file.display()))?;
        let (lanes, moments) = (play.lanes.len(), play.moments());
        let size = page.len() / 1024;
        println!("{}: {size} KiB, {lanes} lanes, {moments} moments", file.display());
    }
    Ok(holds)
}
