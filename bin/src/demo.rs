//! `trilith demo`: a tour of the embedded store in one process, with nothing to configure.
//!
//! It writes to a directory of its own, reads, scans, deletes, compacts and opens again, and shows
//! what each costs. Then the same store code is killed in the simulator, from a seed, and the seed
//! is lived again to the same digest. It reads nothing from standard input, so it works in a pipe.
//!
//! Not here: the simulated life itself (`crash.rs`).

use clap::Args;
use std::{
    env,
    ops::Bound,
    path::PathBuf,
    time::{Duration, Instant},
};
use trilith_engine::lone::WriteBatch;

use crate::{
    bench::Scratch,
    crash,
    failure::{Failure, INTERNAL, Outcome, REPLAY, SIMULATION},
    out::{Cell, Out, bytes},
    progress::Progress,
    store::{Data, size_on_disk},
};

/// How the tour is taken.
#[derive(Args, Debug)]
pub struct Demo {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,

    /// How many keys are written.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,

    /// The first seed of the simulated crashes.
    #[arg(long, default_value_t = 42)]
    seed: u64,

    /// How many crashes are simulated.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    crashes: u64,

    /// Only the simulated crashes.
    #[arg(long)]
    only_crashes: bool,
}

/// Takes the tour.
pub fn run(demo: &Demo, out: Out) -> Outcome {
    if !demo.only_crashes {
        real(demo, out)?;
    }
    simulated(demo, out)?;
    out.say("")?;
    out.say("next: a store of your own, and then what it looks like inside")?;
    out.say("  trilith kv ./data set hello world")?;
    out.say("  trilith kv ./data get hello")?;
    out.say("  trilith inspect ./data")
}

/// A step of the tour: what was done, how often, in what time.
fn step(name: &str, count: u64, time: Duration) -> Vec<Cell> {
    let per = time.as_secs_f64() * 1e6 / count.max(1) as f64;
    let row: [Cell; 4] = [name.into(), count.into(), (time.as_secs_f64() * 1e3).into(), per.into()];
    row.to_vec()
}

fn real(demo: &Demo, out: Out) -> Outcome {
    let scratch = Scratch::new(&demo.dir)?;
    let dir = scratch.path.join("demo");
    out.title("1. A store on this machine's disk")?;
    out.say(&format!("   {}, every write durable before its call returns", dir.display()))?;
    let mut rows = Vec::new();
    let mut data = Data::open(&dir)?;

    let began = Instant::now();
    for number in 0..FEW {
        data.write_one(put(&greeting(number), b"hello"))?;
    }
    rows.push(step("set, one to a sync", FEW, began.elapsed()));

    let began = Instant::now();
    let mut progress = Progress::new("keys", demo.keys);
    for start in (0..demo.keys).step_by(GROUP) {
        let end = (start + GROUP as u64).min(demo.keys);
        let group: Vec<WriteBatch> = (start..end).map(|n| put(&key(n), &value(n))).collect();
        data.write(&group).into_iter().collect::<Outcome<Vec<_>>>()?;
        data.tend()?;
        progress.at(end);
    }
    progress.finish();
    rows.push(step("set, 64 to a sync", demo.keys, began.elapsed()));

    let began = Instant::now();
    for number in 0..demo.keys {
        if data.get(key(number).as_bytes())? != Some(value(number)) {
            return Err(Failure::new(&INTERNAL, "a key has another value", "report it"));
        }
    }
    rows.push(step("get", demo.keys, began.elapsed()));

    let began = Instant::now();
    let mut found = 0;
    data.scan(Bound::Unbounded, Bound::Unbounded, |_| {
        found += 1;
        Ok(true)
    })?;
    rows.push(step("scan of everything", found, began.elapsed()));

    let began = Instant::now();
    for number in 0..FEW {
        let mut batch = WriteBatch::new();
        batch.delete(greeting(number));
        data.write_one(batch)?;
    }
    rows.push(step("delete, one to a sync", FEW, began.elapsed()));

    let before = size_on_disk(&dir);
    let began = Instant::now();
    data.compact()?;
    rows.push(step("compact", 1, began.elapsed()));
    data.close()?;
    let after = size_on_disk(&dir);

    let began = Instant::now();
    let again = Data::existing(&dir)?;
    let keys = again.stats().keys as u64;
    rows.push(step("open again, every key known", keys, began.elapsed()));
    if keys != demo.keys {
        return Err(Failure::new(&INTERNAL, "a key is missing after opening again", "report it"));
    }
    again.close()?;

    out.table(&["step", "operations", "ms", "us_each"], &rows)?;
    out.say(&format!("   on disk: {} before compaction, {} after", bytes(before), bytes(after)))
}

/// Operations of the steps that wait for the device each time.
const FEW: u64 = 200;
/// Writes that share a sync.
const GROUP: usize = 64;

fn greeting(number: u64) -> String {
    format!("greeting-{number:03}")
}

fn key(number: u64) -> String {
    format!("key-{number:012}")
}

/// A hundred bytes that differ from key to key.
fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(13)[..100].to_vec()
}

fn put(key: &str, value: &[u8]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    batch
}

fn life(seed: u64) -> Outcome<crash::Life> {
    crash::live(seed).map_err(|sentence| {
        let next = format!("trilith demo --only-crashes --seed {seed} --crashes 1");
        Failure::new(&SIMULATION, format!("seed {seed}: {sentence}"), next)
    })
}

fn simulated(demo: &Demo, out: Out) -> Outcome {
    out.title("2. The same code, on a disk that loses its power")?;
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

    out.title("3. The first of them again, from its seed alone")?;
    let (Some(first), again) = (lives.first(), life(demo.seed)?) else { return Ok(()) };
    if *first != again {
        let cause = format!("seed {}: {:016x} and {:016x}", demo.seed, first.digest, again.digest);
        return Err(Failure::new(&REPLAY, cause, "report it, with the commit and the seed"));
    }
    let same = format!("{:016x}, the same, bit for bit", again.digest);
    out.facts(&[("seed", demo.seed.into()), ("digest", same.into())])
}
