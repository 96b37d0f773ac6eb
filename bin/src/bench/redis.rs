//! `trilith bench redis`: one node of ours, and one Redis beside it, through the same protocol.
//!
//! ```text
//!   for each load, round by round:
//!     ours │ redis always │ redis everysec │ redis no      one at a time, each begun with nothing:
//!     start ─► write every key ─► our load ─► redis-benchmark ─► kill -9, remove
//! ```
//! Ours answers a write when it is on the device; Redis does so with `appendfsync always`, and later or
//! never with the others. What is promised stands beside each number. Each is asked in a closed loop,
//! unpipelined and pipelined, and then at even times for a share of what it took itself. What is shown
//! is the median of the rounds, and what an operation cost the server beside it.
//!
//! Not here: three nodes (`cluster.rs`, which asks them through this protocol, too).

use clap::{Args, ValueEnum};
use std::{env, path::PathBuf, sync::Arc, time::Duration};
use trilith_net::os::{Os, run_core};

use super::{
    Scratch,
    cluster::limits::round_trips,
    load::Values,
    pictures::{Pictures, by_percentile, rate_by_kind},
    raw::{SYNC_FILE_BYTES, syncs_of},
};
use crate::{
    failure::{Failure, OPEN, Outcome, UNANSWERED},
    out::{Cell, Out},
    plot::Line,
    process::is_here,
    progress::Progress,
};

mod drive;
mod pace;
mod rows;
mod servers;
mod tool;

use drive::{Lap, Load};
use rows::{CLOSED, Case, OPENED, Side};
use servers::{Fsync, Server, Who};
use tool::TOOL;

/// Enough for a steady median of each limit.
const RAW_TIME: Duration = Duration::from_millis(500);
/// What a first look measures: rounds, seconds, keys.
const QUICK: (u16, f64, u64) = (1, 0.3, 10_000);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ask {
    /// Writes: SET.
    Set,
    /// Reads: GET.
    Get,
}

impl Ask {
    const fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
        }
    }
}

/// How a node is measured beside Redis.
#[derive(Args, Debug)]
pub(crate) struct Redis {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// What is asked.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Ask::Set, Ask::Get])]
    ask: Vec<Ask>,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50], value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: Vec<u16>,
    /// Requests that each connection sends before it waits for their answers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16], value_parser = clap::value_parser!(u16).range(1..=1000))]
    pipeline: Vec<u16>,
    /// When Redis syncs its log; ours always syncs before it answers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Fsync::Always, Fsync::Everysec, Fsync::No])]
    appendfsync: Vec<Fsync>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    value_bytes: u32,
    /// Keys that are written beforehand, and then written and read.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of each load.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// The share of what it took in the closed loop that each is asked for at even times afterwards,
    /// over the most connections: at most 1; 0 for none.
    #[arg(long, default_value_t = 0.5)]
    open_share: f64,
    /// A first look: one short round with few keys.
    #[arg(long, conflicts_with_all = ["keys", "rounds", "seconds"])]
    quick: bool,
    /// Leave Redis out, also when it is installed.
    #[arg(long)]
    alone: bool,
    /// Leave `redis-benchmark` out, also when it is installed.
    #[arg(long)]
    no_tool: bool,
    /// Draws latency and throughput, as SVG files in this directory; made when it is not there.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// What is measured of everybody in turn.
struct Plan {
    rounds: u16,
    time: Duration,
    keys: u64,
    values: Arc<Values>,
    with_tool: bool,
}

/// Measures.
pub(super) fn run(redis: &Redis, out: Out) -> Outcome {
    let mut pictures = Pictures::at(redis.plot.as_deref())?;
    let scratch = Scratch::new(&redis.dir)?;
    let limits = redis.limits(&scratch).map_err(|error| super::opening(&redis.dir, &error))?;
    let (who, words) = redis.servers();
    let ran = run_core(scratch.path.join("client"), |os| async move {
        redis.measure(&os, &scratch, &who).await
    });
    let cases = ran.map_err(|error| Failure::new(&OPEN, error, "see ulimit -n"))??;
    for trouble in cases.iter().flat_map(Case::troubles) {
        eprintln!("a request was not answered as it should be: {trouble}");
    }
    out.title("What this machine can do")?;
    out.table(&["limit", "value", "unit"], &limits)?;
    out.title("What the servers do with it, each asked again when it has answered")?;
    out.say(&words)?;
    out.table(CLOSED, &cases.iter().flat_map(Case::closed_rows).collect::<Vec<_>>())?;
    let opened: Vec<_> = cases.iter().flat_map(Case::open_rows).collect();
    if !opened.is_empty() {
        out.title("What they do when requests come at even times, for a share of that")?;
        out.table(OPENED, &opened)?;
    }
    let Some(pictures) = &mut pictures else { return Ok(()) };
    draw(pictures, &cases)?;
    pictures.tell(out)
}

fn failed(why: String) -> Failure {
    Failure::new(&UNANSWERED, why, "run it again with --log info")
}

impl Redis {
    /// Who is asked, and words about it.
    fn servers(&self) -> (Vec<Who>, String) {
        let mut who = vec![Who::Trilith];
        let words = match servers::redis_version() {
            _ if self.alone => "ours alone".to_owned(),
            Some(version) => {
                who.extend(self.appendfsync.iter().copied().map(Who::Redis));
                format!("Redis {version}")
            }
            None => {
                eprintln!(
                    "there is no {} to be found, so its rows are left out; Debian has it in a package \
                     of that name: apt install {0}",
                    servers::REDIS
                );
                "no Redis was found".to_owned()
            }
        };
        (who, words)
    }

    fn limits(&self, scratch: &Scratch) -> std::io::Result<Vec<Vec<Cell>>> {
        let sync = |name: &str, file_bytes: u64| {
            syncs_of(&scratch.path.join(name), self.value_bytes as usize, file_bytes, RAW_TIME)
        };
        let (written, growing) = (sync("raw-sync", SYNC_FILE_BYTES)?, sync("raw-growing", 0)?);
        let trips = round_trips(RAW_TIME)?;
        let rows = [
            ("write and fdatasync, written file, p50", written.micros(0.5)),
            ("write and fdatasync, written file, p99", written.micros(0.99)),
            ("write and fdatasync, growing file, p50", growing.micros(0.5)),
            ("round trip over the loopback, p50", trips.micros(0.5)),
            ("round trip over the loopback, p99", trips.micros(0.99)),
        ];
        let row = |(name, us): (&str, f64)| vec![name.into(), us.into(), "us".into()];
        Ok(rows.into_iter().map(row).collect())
    }

    fn plan(&self) -> Plan {
        let usual = (self.rounds, self.seconds, self.keys);
        let (rounds, seconds, keys) = if self.quick { QUICK } else { usual };
        let with_tool = !self.no_tool && is_here(TOOL);
        if !self.no_tool && !with_tool {
            eprintln!(
                "there is no {TOOL} to be found, so its columns are empty; Debian has it in \
                 redis-tools: apt install redis-tools"
            );
        }
        Plan {
            rounds,
            time: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            keys,
            values: Arc::new(Values::new(self.value_bytes as usize)),
            with_tool,
        }
    }

    fn cases(&self, who: &[Who]) -> Vec<Case> {
        let mut cases = Vec::new();
        for ask in &self.ask {
            for connections in &self.connections {
                for pipeline in &self.pipeline {
                    cases.push(Case {
                        ask: *ask,
                        connections: usize::from(*connections),
                        pipeline: usize::from(*pipeline),
                        sides: who.iter().copied().map(Side::of).collect(),
                    });
                }
            }
        }
        cases
    }

    async fn measure(&self, os: &Os, scratch: &Scratch, who: &[Who]) -> Outcome<Vec<Case>> {
        let (plan, mut cases) = (self.plan(), self.cases(who));
        let laps = cases.len() * who.len() * usize::from(plan.rounds);
        let mut progress = Progress::new("measuring", laps as u64);
        for _ in 0..plan.rounds {
            for case in &mut cases {
                let load = self.load(&plan, case);
                for side in &mut case.sides {
                    closed_lap(os, scratch, &plan, (&load, side)).await?;
                    progress.step();
                }
            }
        }
        progress.finish();
        let most = self.connections.iter().copied().max().map(usize::from);
        cases.iter_mut().for_each(|case| {
            // Only there: who has one connection has nobody to wait for but himself.
            let share = if Some(case.connections) == most { self.open_share.min(1.0) } else { 0.0 };
            case.sides.iter_mut().for_each(|side| side.ask_for(share));
        });
        let asked = |case: &Case| case.sides.iter().filter(|side| side.asked > 0).count();
        let laps = cases.iter().map(asked).sum::<usize>() * usize::from(plan.rounds);
        let mut progress = Progress::new("measuring at even times", laps as u64);
        for _ in 0..plan.rounds {
            for case in &mut cases {
                let load = self.load(&plan, case);
                for side in case.sides.iter_mut().filter(|side| side.asked > 0) {
                    let server = begin(os, scratch, side.who, &load).await?;
                    let lap = drive::open(os, &server, &load, side.asked).await;
                    side.opened.push(lap.map_err(failed)?);
                    progress.step();
                }
            }
        }
        progress.finish();
        Ok(cases)
    }

    fn load(&self, plan: &Plan, case: &Case) -> Load {
        Load {
            ask: case.ask,
            connections: case.connections,
            pipeline: case.pipeline,
            keys: plan.keys,
            value_bytes: self.value_bytes as usize,
            values: Arc::clone(&plan.values),
            time: plan.time,
            is_drawn: self.plot.is_some(),
        }
    }
}

/// A server that has every key.
async fn begin(os: &Os, scratch: &Scratch, who: Who, load: &Load) -> Outcome<Server> {
    let server = Server::start(os, who, &scratch.path.join("data")).await.map_err(failed)?;
    let filled = drive::fill(os, server.at, load).await;
    filled.map_err(|why| failed(format!("{}: {why}", who.word())))?;
    Ok(server)
}

/// One server's closed loop, and what `redis-benchmark` says of the same server.
async fn closed_lap(
    os: &Os,
    scratch: &Scratch,
    plan: &Plan,
    (load, side): (&Load, &mut Side),
) -> Outcome {
    let server = begin(os, scratch, side.who, load).await?;
    let lap = drive::closed(os, &server, load).await.map_err(failed)?;
    if plan.with_tool {
        // About as long as our own took.
        let requests = (lap.per_second * plan.time.as_secs_f64()) as u64;
        let told = tool::run(os, &server, load, requests.max(1_000), &scratch.path).await;
        match told {
            Ok(told) => side.told.push(told),
            Err(why) => eprintln!("{TOOL} of {}: {why}", side.who.word()),
        }
    }
    side.laps.push(lap);
    Ok(())
}

/// Rates of all loads in one picture, and latency by percentile for each; of rounds the one whose rate
/// is the median.
fn draw(pictures: &mut Pictures, cases: &[Case]) -> Outcome {
    let names: Vec<String> = cases.iter().map(Case::name).collect();
    let kinds: Vec<&str> = names.iter().map(String::as_str).collect();
    let who = cases.first().map_or(&[] as &[Side], |case| case.sides.as_slice());
    let lines = who.iter().enumerate().map(|(at, side)| {
        let rates = cases.iter().map(|case| match rows::rate(&case.sides[at].laps) {
            Cell::Measure(rate) => Some(rate),
            _ => None,
        });
        (side.who.word(), rates.collect::<Vec<_>>())
    });
    pictures.put("throughput", &rate_by_kind("Throughput", &kinds, lines))?;
    for case in cases {
        let latency = |of: fn(&Side) -> &[Lap]| -> Vec<Line> {
            let line = |side: &Side| {
                let points = rows::middle(of(side)).map_or_else(Vec::new, |lap| lap.curve.clone());
                Line { name: side.who.word().to_owned(), points }
            };
            case.sides.iter().map(line).filter(|line| !line.points.is_empty()).collect()
        };
        let (name, title) = (case.name(), case.title());
        let plot = by_percentile(format!("Latency: {title}"), latency(|side| &side.laps));
        pictures.put(&format!("{name}-latency"), &plot)?;
        let title = format!("Latency at even times: {title}");
        let plot = by_percentile(title, latency(|side| &side.opened));
        pictures.put(&format!("{name}-open-latency"), &plot)?;
    }
    Ok(())
}
