//! `trilith sim`: the user's own workload against a simulated cluster of his size, under faults.
//!
//! ```text
//!   workload (lines, or a scenario's TOML) ─┐
//!   size, settings, faults (flags, --config) ┼─► scenario ─► the simulator ─► judges
//!   seed ────────────────────────────────────┘
//! ```
//! The nodes are the code that runs on real machines; disks, networks, clocks and clients are
//! simulated (`trilith_sim`). A run is this program, the same words and a seed: it can be had again,
//! bit for bit, and its digest says that it was.
//!
//! What a node cannot be told here: its timeouts and the sizes of its journals are the simulator's,
//! small, so that within seconds leaders are replaced and journals rotate and are compacted.
//!
//! Not here: planted bugs, which this program cannot have (`trilith-sim mutants`); what a workload
//! and a cluster become (`sim/workload.rs`, `sim/cluster.rs`).

use clap::Args;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use trilith_sim::{
    check::Violation,
    fault::When,
    play::Play,
    run::{self, Report, Request},
    scenario::{self, Scenario},
    swarm::{caught, cores, over_seeds, timed},
    trace::Keep,
};

use crate::{
    failure::{FILE, Failure, INTERNAL, OUTPUT, Outcome, REFUTED},
    out::{Cell, Out},
    progress::Progress,
};

mod cluster;
mod workload;

use cluster::Shape;
use workload::Workload;

/// Refusals of many seeds that are told in full.
const TOLD: usize = 3;
/// Seeds of one kind of refusal that are named.
const NAMED: usize = 8;

/// A workload, a cluster, and how often.
#[derive(Args, Debug)]
#[command(after_help = "\
A workload is lines of when, who, which key, and what:
  0ms     c0 k1 set
  12.5ms  c1 k1 get
  12.5ms  c0 k2 incr 5        also: delete, cas
or a file that ends with .toml and says from what each seed draws one:
  [load]
  clients = \"2..=6\"
  operations = 200
  mix = { get = 8, set = 2, delete = 0, cas = 0, incr = 0 }

Examples:
  trilith sim                                       an own load of each seed, all faults
  trilith sim shop.load --nodes 5 --seed 7          your load, one run
  trilith sim shop.load --config node1.toml --seeds 500
  trilith sim shop.toml --faults partition,power_loss --seeds 500
  trilith sim shop.load --seed 0x2a --html run.html")]
pub struct Sim {
    /// What clients ask: lines, or a .toml file. Without one each seed draws its own.
    workload: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
    /// One run, of this seed: 42 or 0x2a.
    #[arg(long, value_parser = parse_seed, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs of so many seeds; what is refused is grouped.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, value_parser = parse_seed, default_value = "1")]
    from: u64,
    /// Threads; all cores when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Also prints everything that happened, line by line.
    #[arg(long, conflicts_with = "seeds")]
    trace: bool,
    /// Also writes a page that plays the run: one file that any browser opens, without a network.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    html: Option<PathBuf>,
}

fn parse_seed(text: &str) -> Result<u64, String> {
    scenario::seed(text).ok_or_else(|| format!("{text:?} is not a seed like 42 or 0x2a"))
}

/// Runs it.
pub fn run(sim: &Sim, out: Out) -> Outcome {
    let read = sim.workload.as_deref().map(Workload::read);
    let workload = read.transpose()?.unwrap_or_default();
    let (scenario, workload) = sim.shape.scenario(workload)?;
    match sim.seeds {
        Some(seeds) => sim.many(&scenario, &workload, seeds, out),
        None => sim.one(&scenario, &workload, sim.seed.unwrap_or(1), out),
    }
}

/// What a run came to, as one row.
fn facts(report: &Report) -> [(&'static str, Cell); 7] {
    let (done, failed, unknown) = report.history.tally();
    let refused = report.violation.as_ref().map(Violation::fingerprint);
    [
        ("seed", format!("0x{:x}", report.seed).into()),
        ("done", done.into()),
        ("failed", failed.into()),
        ("unknown", unknown.into()),
        ("simulated_s", report.simulated.as_secs_f64().into()),
        ("refused", refused.map_or(Cell::Absent, Cell::from)),
        ("digest", report.digest.to_string().into()),
    ]
}

impl Sim {
    fn one(&self, scenario: &Scenario, workload: &Workload, seed: u64, out: Out) -> Outcome {
        let request = Request {
            keep: if self.trace { Keep::Everything } else { Keep::Nothing },
            tape: self.html.is_some(),
            load: workload.planned(),
            ..Request::of(seed)
        };
        let (ran, took) = timed(|| caught(|| run::run(scenario, &request)));
        let report = ran.map_err(|panic| self.panicked(seed, &panic))?;
        for line in &report.trace {
            out.say(&line.to_string())?;
        }
        out.say(&report.drawn.to_string())?;
        for fault in &report.drawn.faults.entries {
            out.say(&format!("    {}: {}", moment(&fault.when), fault.what))?;
        }
        if !report.drawn.faults.entries.is_empty() {
            out.say(&format!("    n{} and above are machines of clients", report.drawn.nodes))?;
        }
        for why in &report.unknown {
            out.say(&format!("  undecided: {why}"))?;
        }
        let simulated = report.simulated.as_secs_f64();
        out.say(&format!("  {simulated:.1} simulated seconds in {took:.1?}\n"))?;
        out.facts(&facts(&report))?;
        if let Some(file) = &self.html {
            self.play(file, scenario, &report, out)?;
        }
        match &report.violation {
            None => {
                out.next(&format!("trilith sim{} --seeds 200", self.words()));
                Ok(())
            }
            Some(violation) => {
                out.say(&format!("\n{violation}"))?;
                let next = match self.html {
                    Some(_) => "look at the page; the same words are the same run".to_owned(),
                    None => format!("{} --html run.html", self.again(seed)),
                };
                Err(Failure::new(&REFUTED, violation.fingerprint(), next))
            }
        }
    }

    fn play(&self, file: &Path, scenario: &Scenario, report: &Report, out: Out) -> Outcome {
        let mut play = Play::of(scenario, report);
        // Whoever looks at it has this program, and not its source.
        play.run.commit = env!("CARGO_PKG_VERSION").to_owned();
        play.run.replay = vec![self.again(report.seed)];
        let page = play.page().map_err(|why| Failure::new(&INTERNAL, why, "report it"))?;
        fs::write(file, &page).map_err(|why| {
            let next = "name a file that may be written: --html FILE";
            Failure::new(&OUTPUT, format!("{}: {why}", file.display()), next)
        })?;
        out.say(&format!("{}: {} KiB", file.display(), page.len() / 1024))
    }

    fn many(&self, scenario: &Scenario, workload: &Workload, seeds: u64, out: Out) -> Outcome {
        let load = workload.planned();
        let mut progress = Progress::new("seeds", seeds);
        let work = |seed| {
            let request = Request { load: load.clone(), ..Request::of(seed) };
            caught(|| run::run(scenario, &request)).map(|report| {
                let told = report.violation.as_ref().map(Violation::to_string);
                (facts(&report), report.unknown.len(), told)
            })
        };
        let range = self.from..self.from.saturating_add(seeds);
        let threads = self.threads.unwrap_or_else(cores);
        let (results, took) = timed(|| {
            over_seeds(range, threads, work, |_, _| {
                progress.step();
                true
            })
        });
        progress.finish();
        let (mut refused, mut told, mut undecided) = (Vec::new(), Vec::new(), 0_usize);
        let ran = results.len();
        for (seed, result) in results {
            let (facts, unknown, violation) =
                result.map_err(|panic| self.panicked(seed, &panic))?;
            undecided += unknown;
            if let Some(violation) = violation {
                refused.push((seed, facts.map(|(_, cell)| cell).to_vec()));
                told.push(violation);
            }
        }
        let (columns, rows) = grouped(&refused);
        if !rows.is_empty() {
            out.table(&columns, &rows)?;
        }
        for violation in told.iter().take(TOLD) {
            out.say(&format!("\n{violation}"))?;
        }
        out.facts(&[
            ("seeds", ran.into()),
            ("refused", refused.len().into()),
            ("undecided", undecided.into()),
            ("seconds", took.as_secs_f64().into()),
        ])?;
        let Some((seed, _)) = refused.first() else { return Ok(()) };
        let cause = format!("{} of {ran} seeds", refused.len());
        Err(Failure::new(&REFUTED, cause, format!("{} --html run.html", self.again(*seed))))
    }

    /// The simulator is at fault, or the code under test in a way that no judge was asked about.
    fn panicked(&self, seed: u64, panic: &str) -> Failure {
        let next = format!("report it, with its workload: {}", self.again(seed));
        Failure::new(&INTERNAL, format!("seed 0x{seed:x}: {panic}"), next)
    }

    /// The words that make the same scenario.
    fn words(&self) -> String {
        let workload = self.workload.as_ref();
        let workload = workload.map_or(String::new(), |path| format!(" {}", path.display()));
        format!("{workload}{}", self.shape.words())
    }

    /// How to have a run again.
    fn again(&self, seed: u64) -> String {
        format!("trilith sim{} --seed 0x{seed:x}", self.words())
    }
}

/// When a fault comes.
fn moment(when: &When) -> String {
    match when {
        When::AtMs(ms) => format!("at {ms} ms"),
        When::DiskOp { node, nth } => format!("in disk operation {nth} of n{node}"),
        When::Message { node, nth } => format!("with message {nth} of n{node}"),
    }
}

/// What was refused, by the sentence that it was refused with: how often, and which seeds.
fn grouped(refused: &[(u64, Vec<Cell>)]) -> ([&'static str; 3], Vec<Vec<Cell>>) {
    let mut groups: Vec<(&Cell, Vec<u64>)> = Vec::new();
    for (seed, facts) in refused {
        // As `facts` has it.
        let why = &facts[5];
        match groups.iter_mut().find(|(known, _)| *known == why) {
            Some((_, seeds)) => seeds.push(*seed),
            None => groups.push((why, vec![*seed])),
        }
    }
    let row = |(why, seeds): (&Cell, Vec<u64>)| {
        let named: Vec<String> = seeds.iter().take(NAMED).map(|s| format!("0x{s:x}")).collect();
        vec![why.clone(), seeds.len().into(), named.join(" ").into()]
    };
    (["refused", "times", "seeds"], groups.into_iter().map(row).collect())
}

/// The file cannot be read.
fn unread(path: &Path, why: &io::Error) -> Failure {
    Failure::new(&FILE, format!("{}: {why}", path.display()), "trilith sim --help shows one")
}
