//! `trilith demo`: a tour of the embedded store in one process, with nothing to configure.
//!
//! It writes to a directory of its own, reads, scans, deletes, compacts and opens again, and shows
//! what each costs. Then the same store code is killed in the simulator, from a seed, and the seed
//! is lived again to the same digest. It reads nothing from standard input, so it works in a pipe.
//!
//! Not here: the simulated life itself (`crash.rs`).

use clap::Args;
use std::time::Instant;

use crate::{
    crash,
    failure::{Failure, Outcome, REPLAY, SIMULATION},
    out::{Cell, Out},
    progress::Progress,
};

/// How the tour is taken.
#[derive(Args, Debug)]
pub struct Demo {
    /// The first seed of the simulated crashes.
    #[arg(long, default_value_t = 42)]
    seed: u64,

    /// How many crashes are simulated.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    crashes: u64,
}

/// Takes the tour.
pub fn run(demo: &Demo, out: Out) -> Outcome {
    simulated(demo, out)?;
    out.next("trilith inspect DIRECTORY");
    Ok(())
}

fn life(seed: u64) -> Outcome<crash::Life> {
    crash::live(seed).map_err(|sentence| {
        let next = format!("trilith demo --seed {seed} --crashes 1");
        Failure::new(&SIMULATION, format!("seed {seed}: {sentence}"), next)
    })
}

fn simulated(demo: &Demo, out: Out) -> Outcome {
    out.title("1. The store, on a disk that loses its power")?;
    let mut progress = Progress::new("crashes", demo.crashes);
    let began = Instant::now();
    let mut lives = Vec::new();
    for number in 0..demo.crashes {
        lives.push(life(demo.seed.wrapping_add(number))?);
        progress.step();
    }
    let took = began.elapsed();
    progress.finish();

    let shown = lives.iter().take(5);
    let rows: Vec<Vec<Cell>> = shown
        .map(|life| {
            let fate = match (life.in_doubt, life.was_kept) {
                (0, _) => "none",
                (_, true) => "kept whole",
                (_, false) => "gone whole",
            };
            vec![
                life.seed.into(),
                life.operation.into(),
                life.acknowledged.into(),
                0_u64.into(),
                fate.into(),
                format!("{:016x}", life.digest).into(),
            ]
        })
        .collect();
    let columns = ["seed", "power_lost_in_op", "acknowledged", "lost", "batch_in_doubt", "digest"];
    out.table(&columns, &rows)?;
    let acknowledged: usize = lives.iter().map(|life| life.acknowledged).sum();
    out.say(&format!(
        "   {} crashes in {:.1} s, {acknowledged} acknowledged batches, none lost",
        lives.len(),
        took.as_secs_f64()
    ))?;

    out.title("2. The first of them again, from its seed alone")?;
    let (Some(first), again) = (lives.first(), life(demo.seed)?) else { return Ok(()) };
    if *first != again {
        let cause = format!("seed {}: {:016x} and {:016x}", demo.seed, first.digest, again.digest);
        return Err(Failure::new(&REPLAY, cause, "report it, with the commit and the seed"));
    }
    let same = format!("{:016x}, the same, bit for bit", again.digest);
    out.facts(&[("seed", demo.seed.into()), ("digest", same.into())])
}
