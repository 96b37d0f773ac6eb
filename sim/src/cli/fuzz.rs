//! `trilith-sim fuzz`.
//!
//! Not here: the targets (`trilith_sim::fuzz`).

use std::time::Duration;

use clap::Args;
use trilith_sim::{
    fuzz::targets,
    swarm::{caught, over_seeds, timed},
};

use super::{Done, House, bar, parse_seed};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Targets; all when none is named.
    names: Vec<String>,
    /// Inputs for each.
    #[arg(long, default_value_t = 1_000_000)]
    inputs: u64,
    /// The first seed.
    #[arg(long, value_parser = parse_seed, default_value = "1")]
    from: u64,
}

/// Feeds them.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let mut holds = true;
    let known: Vec<&str> = targets().iter().map(|target| target.name).collect();
    for name in &arguments.names {
        if !known.contains(&name.as_str()) {
            return Err(
                format!("there is no target {name:?}; there are {}", known.join(", ")).into()
            );
        }
    }
    for target in targets() {
        if !arguments.names.is_empty() && !arguments.names.iter().any(|name| name == target.name) {
            continue;
        }
        let inputs = arguments.inputs / target.cost;
        let bar = bar(inputs, target.name);
        let seeds = arguments.from..arguments.from.saturating_add(inputs);
        let work = |seed| caught(|| (target.feed)(seed));
        let mut failures: Vec<(u64, String)> = Vec::new();
        // In blocks, so that a million results are never held at once.
        let ((), took): ((), Duration) = timed(|| {
            let mut from = seeds.start;
            while from < seeds.end {
                let until = (from + 20_000).min(seeds.end);
                let results = over_seeds(from..until, house.threads, work, |_, _| true);
                bar.inc(until - from);
                failures.extend(results.into_iter().filter_map(|(seed, fed)| match fed {
                    Ok(Ok(())) => None,
                    Ok(Err(why)) | Err(why) => Some((seed, why)),
                }));
                from = until;
            }
        });
        bar.finish_and_clear();
        println!("{}: {inputs} inputs in {took:.1?}, {} failed", target.name, failures.len());
        for (seed, why) in failures.iter().take(5) {
            println!(
                "  0x{seed:x}: {why}\n  replay: trilith-sim fuzz {} --from 0x{seed:x} --inputs {}",
                target.name, target.cost
            );
        }
        holds &= failures.is_empty();
    }
    Ok(holds)
}
