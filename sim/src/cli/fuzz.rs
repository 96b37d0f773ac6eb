//! `trilith-sim fuzz`.
//!
//! Not here: the targets (`trilith_sim::fuzz`).

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use trilith_sim::{
    fuzz::{Target, memory_for, targets},
    swarm::{caught, over_seeds, timed},
};

use super::{Done, House, bar, memory::measured, parse_seed};

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

/// Inputs that a thread takes at once.
const BLOCK: u64 = 1000;

/// What failures of one cause have in common: their last clause, without its numbers.
fn kind(why: &str) -> String {
    let clause = why.rsplit(": ").next().unwrap_or(why);
    clause.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// Feeds one input, and compares what it took with what it may take.
fn feed(target: &Target, seed: u64) -> Result<(), String> {
    let (fed, took) = measured(|| caught(|| (target.feed)(seed)));
    let bytes = fed??;
    if took > memory_for(bytes) {
        return Err(format!("an input of {bytes} bytes took {took} bytes of memory"));
    }
    Ok(())
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
        let end = arguments.from.saturating_add(inputs);
        let blocks = inputs.div_ceil(BLOCK);
        // Inputs are made of what stores left; leaving it is none of their cost.
        let ready = (target.feed)(arguments.from);
        drop(ready);
        // In blocks: one input costs less than handing over its result.
        let work = |block: u64| {
            let from = arguments.from + block * BLOCK;
            (from..end.min(from + BLOCK))
                .filter_map(|seed| feed(target, seed).err().map(|why| (seed, why)))
                .collect::<Vec<_>>()
        };
        let (failures, took): (Vec<(u64, String)>, Duration) = timed(|| {
            let done = over_seeds(0..blocks, house.threads, work, |_, _| {
                bar.inc(BLOCK);
                true
            });
            done.into_values().flatten().collect()
        });
        bar.finish_and_clear();
        println!("{}: {inputs} inputs in {took:.1?}, {} failed", target.name, failures.len());
        // One bug fails many inputs: each is told once, by the first.
        let mut told: BTreeMap<String, (u64, &(u64, String))> = BTreeMap::new();
        for failure in &failures {
            told.entry(kind(&failure.1)).or_insert((0, failure)).0 += 1;
        }
        for (count, (seed, why)) in told.values() {
            println!(
                "  {count} like 0x{seed:x}: {why}\n  replay: trilith-sim fuzz {} --from 0x{seed:x} --inputs {}",
                target.name, target.cost
            );
        }
        holds &= failures.is_empty();
    }
    Ok(holds)
}
