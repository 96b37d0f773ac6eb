//! `trilith-sim shrink`.
//!
//! Not here: how (`trilith_sim::shrink_run`).

use clap::Args;
use trilith_sim::{
    run::{self, Request},
    shrink_run::shrink,
    swarm::over_seeds,
};

use super::{Done, House, bar, parse_seed};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The scenario; `default` when not given.
    scenario: Option<String>,
    /// The failing seed; the first failing one of --search seeds when not given.
    #[arg(long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// How many seeds to search for a failing one.
    #[arg(long, default_value_t = 1000)]
    search: u64,
    /// Switch on a planted bug.
    #[arg(long)]
    mutant: Option<String>,
    /// How many runs it may take.
    #[arg(long, default_value_t = 2000)]
    budget: usize,
    /// Print it and write no file.
    #[arg(long)]
    dry: bool,
}

/// Makes a failing run small.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let scenario = house.one(arguments.scenario.as_deref())?;
    let request = |seed| Request { mutant: arguments.mutant.clone(), ..Request::of(seed) };
    let seed = match arguments.seed.or(scenario.fixed.seed) {
        Some(seed) => Some(seed),
        None => {
            let work = |seed| run::run(&scenario, &request(seed)).violation.is_some();
            let results =
                over_seeds(1..arguments.search + 1, house.threads, work, |_, failed| !failed);
            results.into_iter().find(|(_, failed)| *failed).map(|(seed, _)| seed)
        }
    };
    let Some(seed) = seed else {
        println!("none of {} seeds failed", arguments.search);
        return Ok(true);
    };
    let progress = bar(0, "shrinking");
    let shrunk = shrink(&scenario, &request(seed), arguments.budget, |faults, operations| {
        progress.set_message(format!("shrinking: {faults} faults, {operations} operations"));
        progress.tick();
    });
    progress.finish_and_clear();
    let Some(shrunk) = shrunk else {
        return Err(format!("seed 0x{seed:x} of {} does not fail", scenario.name).into());
    };
    println!(
        "from {} faults and {} operations to {} and {} in {} runs{}",
        shrunk.before.0,
        shrunk.before.1,
        shrunk.after.0,
        shrunk.after.1,
        shrunk.effort.tried,
        if shrunk.effort.cut_short { " (the budget ended; it may get smaller)" } else { "" }
    );
    if arguments.dry {
        println!("{}", shrunk.text()?);
    } else {
        let path = shrunk.write(&house.scenarios.join("found"))?;
        println!("{}\nnext: trilith-sim run {}", shrunk.violation, path.display());
    }
    Ok(false)
}
