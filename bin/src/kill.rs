//! `trilith kill`: kills a process that writes, again and again, and looks for every write that was
//! acknowledged.
//!
//! ```text
//!   this process                        a child, killed with SIGKILL at a random moment
//!   ────────────                        ────────────────────────────────────────────────
//!   told[thread] ──────arguments──────▶ opens (recovers), checks everything, says `open n0 n1 …`
//!   counts lines, waits a moment        threads write batch after batch, each durable,
//!   kill -9  ◀────────lines──────────   and say `told thread n`; one compacts without end
//! ```
//! A child checks what the one before it left (`kill/child.rs`) before it writes; the last one only
//! checks. Segments are tiny, so that within milliseconds journals rotate, footers are written and
//! compactions install; a part of the kills strikes while the child still opens, over what an
//! earlier kill left.
//!
//! The same seed writes the same, but a kill falls where it falls: a failure keeps its directory.
//!
//! A cluster of such processes, with clients and judges: `kill/cluster.rs`.
//!
//! Not here: loss of power, which no real machine offers; the simulator does (`trilith-sim`).

use clap::{Args, Subcommand};
use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    bench::{Scratch, load::Dice},
    failure::{DISK, Failure, INTERNAL, LOST, Outcome},
    out::Out,
    progress::Progress,
};

mod child;
mod cluster;
mod keeper;
mod redis;

/// Lines that a child is left to say before it is killed.
const LINES_MAX: u64 = 400;
/// Its last moments, which let the kill fall anywhere between two lines.
const DELAY_MAX_US: u64 = 3_000;
/// In one round of so many the kill comes while the child opens.
const EARLY_ONE_IN: u64 = 4;
/// About as long as a child takes to open.
const EARLY_MAX_US: u64 = 12_000;

/// How often, and by how many threads.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Kill {
    #[command(subcommand)]
    what: Option<What>,
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// How many processes are killed.
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// Threads that write.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// What the histories and the moments are drawn from.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The child's part: its directory.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// The child's part: how many batches of each thread were acknowledged.
    #[arg(long, hide = true, value_delimiter = ',')]
    told: Vec<u64>,
    /// The child's part: it checks and does not write.
    #[arg(long, hide = true)]
    only_check: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Kills, pauses and ends the nodes of clusters while clients ask, and judges what they saw.
    Cluster(cluster::Cluster),
}

/// What was seen over all rounds.
#[derive(Debug, Default)]
struct Seen {
    told: Vec<u64>,
    while_opening: u64,
    while_compacting: u64,
    compactions: u64,
    under_way_and_kept: u64,
}

/// Does it.
pub fn run(kill: &Kill, out: Out) -> Outcome {
    if let Some(What::Cluster(cluster)) = &kill.what {
        return cluster::run(cluster, out);
    }
    if let Some(dir) = &kill.child {
        return child::run(dir, kill.seed, &kill.told, kill.only_check);
    }
    let mut scratch = Scratch::new(&kill.dir)?;
    let dir = scratch.path.join("killed");
    match kill.rounds(&dir) {
        Ok(seen) => out.facts(&[
            ("kills", kill.rounds.into()),
            ("while_opening", seen.while_opening.into()),
            ("while_compacting", seen.while_compacting.into()),
            ("compactions", seen.compactions.into()),
            ("segments", segments(&dir).into()),
            ("acknowledged_batches", seen.told.iter().sum::<u64>().into()),
            ("under_way_and_kept", seen.under_way_and_kept.into()),
            ("lost", 0_u64.into()),
        ]),
        Err(failure) => {
            scratch.keep();
            Err(Failure { next: format!("trilith inspect {}", dir.display()), ..failure })
        }
    }
}

/// How many segments the store has made in its life: they are numbered in hex.
fn segments(dir: &Path) -> u64 {
    let names = ["j", "d"].into_iter().filter_map(|part| fs::read_dir(dir.join(part)).ok());
    let names = names.flatten().flatten().map(|entry| entry.path());
    let numbers =
        names.filter_map(|path| u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok());
    numbers.max().unwrap_or(0)
}

impl Kill {
    fn rounds(&self, dir: &Path) -> Outcome<Seen> {
        let mut seen = Seen { told: vec![0; self.threads as usize], ..Seen::default() };
        let (mut dice, mut progress) = (Dice::new(self.seed), Progress::new("kills", self.rounds));
        for _ in 0..self.rounds {
            self.round(dir, &mut seen, &mut dice)?;
            progress.step();
        }
        let mut child = self.spawn(dir, &seen.told, true)?;
        let mut lines = Lines::of(&mut child)?;
        while lines.next(&mut seen)? {}
        progress.finish();
        judged(child, false)?;
        Ok(seen)
    }

    fn spawn(&self, dir: &Path, told: &[u64], only_check: bool) -> Outcome<Child> {
        let told: Vec<String> = told.iter().map(u64::to_string).collect();
        let mut command = Command::new(env::current_exe().map_err(|error| starting(&error))?);
        command.args(["kill", "--seed", &self.seed.to_string(), "--told", &told.join(",")]);
        command.arg("--child").arg(dir).stdin(Stdio::null());
        if only_check {
            command.arg("--only-check");
        }
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().map_err(|error| starting(&error))
    }

    /// One life and its end.
    fn round(&self, dir: &Path, seen: &mut Seen, dice: &mut Dice) -> Outcome {
        let mut child = self.spawn(dir, &seen.told, false)?;
        let mut lines = Lines::of(&mut child)?;
        let delay = if dice.below(EARLY_ONE_IN) == 0 {
            dice.below(EARLY_MAX_US)
        } else {
            let mut left = 1 + dice.below(LINES_MAX);
            while left > 0 && lines.next(seen)? {
                left -= 1;
            }
            dice.below(DELAY_MAX_US)
        };
        thread::sleep(Duration::from_micros(delay));
        child.kill().map_err(|error| starting(&error))?;
        // What it had said before it died counts too.
        while lines.next(seen)? {}
        seen.while_opening += u64::from(!lines.has_opened);
        seen.while_compacting += u64::from(lines.is_compacting);
        judged(child, true)
    }
}

/// What a child says, line by line.
struct Lines {
    out: BufReader<ChildStdout>,
    has_opened: bool,
    is_compacting: bool,
}

impl Lines {
    fn of(child: &mut Child) -> Outcome<Self> {
        let out = child.stdout.take().ok_or_else(|| strange("a child without an output"))?;
        Ok(Self { out: BufReader::new(out), has_opened: false, is_compacting: false })
    }

    /// Takes the next line in; false when there is none. A line that the kill cut is none.
    fn next(&mut self, seen: &mut Seen) -> Outcome<bool> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        let Some(line) = line.strip_suffix('\n') else { return Ok(false) };
        let (word, numbers) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Option<Vec<u64>> =
            numbers.split_terminator(' ').map(|n| n.parse().ok()).collect();
        match (word, numbers.as_deref()) {
            ("open", Some(found)) if found.len() == seen.told.len() => {
                self.has_opened = true;
                seen.under_way_and_kept +=
                    found.iter().sum::<u64>() - seen.told.iter().sum::<u64>();
                seen.told = found.to_vec();
            }
            ("told", Some([thread, batch])) if (*thread as usize) < seen.told.len() => {
                seen.told[*thread as usize] = *batch;
            }
            ("compacting", Some([])) => self.is_compacting = true,
            ("compacted", Some([])) => {
                self.is_compacting = false;
                seen.compactions += 1;
            }
            _ => return Err(strange(&format!("a child said {line:?}"))),
        }
        Ok(true)
    }
}

/// A child must have been killed, or, when it only checked, be content.
fn judged(mut child: Child, is_killed: bool) -> Outcome {
    let status = child.wait().map_err(|error| starting(&error))?;
    if status.success() || (is_killed && status.code().is_none()) {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut said)?;
    }
    let code = if said.starts_with(LOST.name) { &LOST } else { &DISK };
    Err(Failure::new(code, format!("{status}: {}", said.trim_end()), ""))
}

fn starting(error: &std::io::Error) -> Failure {
    Failure::new(&INTERNAL, error, "see whether the machine lets you start processes: ulimit -u")
}

fn strange(what: &str) -> Failure {
    Failure::new(&INTERNAL, what, "report it")
}
