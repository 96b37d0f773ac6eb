//! `trilith bench cluster`: three nodes on this machine, and three members of etcd beside them.
//!
//! ```text
//!   this process ── N requests on their way ──┬─ 4 connections ─► the leader ═► two followers
//!                                             └─ or one for each
//! ```
//! Both clusters are asked for the same in turn, round by round: same keys, same values, same
//! number of requests on their way over the same number of connections, all of them to the node
//! that leads. Each answers a write when a majority has it on its device. What is shown is the
//! median of the rounds, and beside it what the machine itself needs for one sync and one round
//! trip. Ours is asked by our own client, or through Redis' protocol (`--through resp`).
//!
//! Not here: one node alone (`bench.rs`, `redis.rs`).

use clap::{Args, ValueEnum};
use std::{env, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use trilith_net::os::{Os, run_core};

use super::{Scratch, load::Values, pictures::Pictures};
use crate::{
    failure::{CONFIGURATION, DISK, Failure, OPEN, Outcome},
    out::{Cell, Out},
    process::is_here,
    progress::Progress,
};

mod etcd;
mod events;
mod front;
mod grpc;
pub(super) mod limits;
mod members;
mod ours;
mod pictures;
mod race;
mod restart;

use etcd::Etcd;
use events::Event;
use front::Front;
use members::Members;
use ours::{Ours, Shape};
use race::{Ask, Lap, Load};

/// Connections that many requests share.
const SHARED_CONNECTIONS: usize = 4;
/// Enough for a steady median of each limit.
const RAW_TIME: Duration = Duration::from_millis(500);

/// How requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// All of them over four.
    Four,
    /// Each over one of its own.
    Own,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Durable writes.
    Puts,
    /// Linearizable reads.
    Gets,
}

/// How our nodes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Through {
    /// By our own client.
    Own,
    /// As Redis clients ask.
    Resp,
}

/// How a cluster is measured.
#[derive(Args, Debug)]
pub(crate) struct Cluster {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Requests on their way at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1000])]
    in_flight: Vec<usize>,
    /// Bytes of a value.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024])]
    value_bytes: Vec<usize>,
    /// How requests share connections.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Lines::Four, Lines::Own])]
    lines: Vec<Lines>,
    /// What is asked.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Asked::Puts, Asked::Gets])]
    ask: Vec<Asked>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each load.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Keys that are written and read.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Groups that the slots are split over.
    #[arg(long, default_value_t = 1)]
    groups: u32,
    /// How our nodes are asked, except for what happens afterwards; etcd is asked as ever.
    #[arg(long, value_enum, default_value_t = Through::Own)]
    through: Through,
    /// Serve our reads from the leader's lease.
    #[arg(long)]
    lease: bool,
    /// What happens afterwards, to clusters of its own.
    #[arg(long, value_enum, value_delimiter = ',')]
    events: Vec<Event>,
    /// Keys that are there when all members are started again.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..))]
    stored: u64,
    /// Leave etcd out, also when it is installed.
    #[arg(long)]
    alone: bool,
    /// Draws latency and throughput, as SVG files in this directory; made when it is not there.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// One line of the result.
struct Case {
    ask: Ask,
    lines: Lines,
    in_flight: usize,
    value_bytes: usize,
    values: Arc<Values>,
    ours: Vec<Lap>,
    theirs: Vec<Lap>,
}

/// All that was measured.
struct Measured {
    cases: Vec<Case>,
    /// Where the leaders were; nothing when nothing was asked.
    places: String,
    happened: events::Rows,
}

/// A cluster that runs, and who has led it.
struct Running {
    members: Members,
    leaders: Vec<usize>,
}

impl Running {
    /// Before each lap: a leader that was replaced is not asked any more.
    fn led_by(&mut self, leader: usize) -> SocketAddr {
        if self.leaders.last() != Some(&leader) {
            self.leaders.push(leader);
        }
        self.members.addresses[leader]
    }

    /// The members that led, in turn.
    fn places(&self) -> String {
        let numbers: Vec<String> = self.leaders.iter().map(|at| (at + 1).to_string()).collect();
        numbers.join(", then ")
    }
}

/// Measures.
pub(super) fn run(cluster: &Cluster, out: Out) -> Outcome {
    if cluster.through == Through::Resp && cluster.groups != 1 {
        let cause = "through Redis' protocol a leader is asked, and each group may have another";
        return Err(Failure::new(&CONFIGURATION, cause, "leave out --groups, or --through"));
    }
    let mut pictures = Pictures::at(cluster.plot.as_deref())?;
    let scratch = Scratch::new(&cluster.dir)?;
    let limits = limits::measure(&scratch.path, RAW_TIME)
        .map_err(|error| super::opening(&cluster.dir, &error))?;
    let ran =
        run_core(
            scratch.path.join("client"),
            |os| async move { cluster.measure(&os, &scratch).await },
        );
    let Measured { cases, places, happened } =
        ran.map_err(|error| Failure::new(&OPEN, error, "see ulimit -n"))??;
    out.title("What this machine can do")?;
    out.table(&["limit", "value", "unit"], &limits.rows())?;
    if !places.is_empty() {
        out.title("What the clusters do with it")?;
        out.say(&places)?;
        out.table(COLUMNS, &cases.iter().map(Case::row).collect::<Vec<_>>())?;
    }
    if !happened.is_empty() {
        out.title("What happens once in a while")?;
        out.table(&["event", "value", "unit"], &happened)?;
    }
    let Some(pictures) = &mut pictures else { return Ok(()) };
    pictures::of_cases(pictures, &cases)?;
    pictures.tell(out)
}

fn failed(why: String) -> Failure {
    Failure::new(&DISK, why, "run it again with --log info")
}

impl Cluster {
    async fn measure(&self, os: &Os, scratch: &Scratch) -> Outcome<Measured> {
        let with_etcd = !self.alone && is_here("etcd");
        let (cases, places) = self.race(os, scratch, with_etcd).await?;
        let mut happened = Vec::new();
        for event in &self.events {
            happened
                .extend(events::happen(os, &scratch.path, *event, self.stored, with_etcd).await?);
        }
        Ok(Measured { cases, places, happened })
    }

    /// Asks both clusters for everything in turn. Both are gone afterwards.
    async fn race(
        &self,
        os: &Os,
        scratch: &Scratch,
        with_etcd: bool,
    ) -> Outcome<(Vec<Case>, String)> {
        let starting = |error| super::opening(&scratch.path, &error);
        let mut cases = self.cases();
        if cases.is_empty() || self.rounds == 0 {
            return Ok((cases, String::new()));
        }
        let resp = self.through == Through::Resp;
        let shape = Shape { groups: self.groups, lease: self.lease, resp };
        let members = ours::start(&scratch.path.join("ours"), &shape).map_err(starting)?;
        let mut ours = Running { members, leaders: Vec::new() };
        let mut theirs = None;
        if with_etcd {
            let (members, _) = etcd::start(&scratch.path.join("etcd")).map_err(starting)?;
            theirs = Some(Running { members, leaders: Vec::new() });
        }
        let mut progress = Progress::new("measuring", (cases.len() * self.rounds) as u64);
        for _ in 0..self.rounds {
            for case in &mut cases {
                self.round(os, case, &mut ours, theirs.as_mut()).await?;
                progress.step();
            }
        }
        progress.finish();
        let mut places = format!("our leader: node {}", ours.places());
        if let Some(theirs) = &theirs {
            places.push_str(&format!("; etcd's: member {}", theirs.places()));
        }
        places.push_str("; every request was sent to a leader, none was passed on");
        if resp {
            places.push_str("; ours were asked through Redis' protocol");
        }
        Ok((cases, places))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ask in &self.ask {
            for value_bytes in &self.value_bytes {
                let values = Arc::new(Values::new(*value_bytes));
                for lines in &self.lines {
                    for in_flight in &self.in_flight {
                        cases.push(Case {
                            ask: if *ask == Asked::Puts { Ask::Put } else { Ask::Get },
                            lines: *lines,
                            in_flight: *in_flight,
                            value_bytes: *value_bytes,
                            values: Arc::clone(&values),
                            ours: Vec::new(),
                            theirs: Vec::new(),
                        });
                    }
                }
            }
        }
        cases
    }

    async fn round(
        &self,
        os: &Os,
        case: &mut Case,
        ours: &mut Running,
        theirs: Option<&mut Running>,
    ) -> Outcome {
        let load = Load {
            ask: case.ask,
            in_flight: case.in_flight,
            keys: self.keys,
            values: Arc::clone(&case.values),
            time: Duration::from_secs_f64(self.seconds),
            is_drawn: self.plot.is_some(),
        };
        let connections = match case.lines {
            Lines::Four => SHARED_CONNECTIONS.min(case.in_flight),
            Lines::Own => case.in_flight,
        };
        let leader = ours::leader(os, &ours.members, &super::load::key(0)).await.map_err(failed)?;
        let at = ours.led_by(leader);
        let lap = match self.through {
            Through::Own => {
                let all = || ours.members.addresses.clone();
                let nodes = if self.groups == 1 { vec![at] } else { all() };
                let target = Ours::connect(os, &ours.members, &nodes, connections);
                race::lap(os, &target, &ours.members, &load).await
            }
            Through::Resp => {
                let at = ours.members.resp[leader];
                let target = Front::connect(os, at, connections).await.map_err(failed)?;
                race::lap(os, &target, &ours.members, &load).await
            }
        };
        case.ours.push(lap);
        if let Some(theirs) = theirs {
            let leader = etcd::leader(os, &theirs.members).await.map_err(failed)?;
            let at = theirs.led_by(leader);
            let target = Etcd::connect(os, at, connections).await.map_err(failed)?;
            case.theirs.push(race::lap(os, &target, &theirs.members, &load).await);
        }
        Ok(())
    }
}

const COLUMNS: &[&str] = &[
    "ask",
    "bytes",
    "lines",
    "in_flight",
    "ours_s",
    "etcd_s",
    "ratio",
    "p50_us",
    "etcd_p50",
    "p99_us",
    "etcd_p99",
    "p999_us",
    "etcd_p999",
    "leader_us",
    "followers_us",
    "client_us",
    "all_us",
    "etcd_leader",
    "etcd_all",
    "failed",
];

/// The median of what each round came to.
fn median(laps: &[Lap], of: impl Fn(&Lap) -> f64) -> Cell {
    let mut all: Vec<f64> = laps.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).map_or(Cell::Absent, |middle| Cell::Measure(*middle))
}

/// The server that spent most is the leader's.
fn leader_us(lap: &Lap) -> f64 {
    lap.servers_us.iter().copied().fold(0.0, f64::max)
}

fn servers_us(lap: &Lap) -> f64 {
    lap.servers_us.iter().sum()
}

impl Ask {
    const fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

impl Lines {
    const fn word(self) -> &'static str {
        match self {
            Self::Four => "4",
            Self::Own => "own",
        }
    }
}

impl Case {
    fn row(&self) -> Vec<Cell> {
        let (ours, theirs) = (&self.ours, &self.theirs);
        let rate = |laps: &[Lap]| median(laps, |lap| lap.per_second);
        let ratio = match (rate(ours), rate(theirs)) {
            (Cell::Measure(ours), Cell::Measure(theirs)) => Cell::Measure(ours / theirs),
            _ => Cell::Absent,
        };
        for trouble in ours.iter().chain(theirs).filter_map(|lap| lap.trouble.as_ref()) {
            eprintln!("a request was not answered: {trouble}");
        }
        let micros = |laps: &[Lap], at: usize| median(laps, |lap| lap.micros[at]);
        vec![
            self.ask.word().into(),
            self.value_bytes.into(),
            self.lines.word().into(),
            self.in_flight.into(),
            rate(ours),
            rate(theirs),
            ratio,
            micros(ours, 0),
            micros(theirs, 0),
            micros(ours, 1),
            micros(theirs, 1),
            micros(ours, 2),
            micros(theirs, 2),
            median(ours, leader_us),
            median(ours, |lap| servers_us(lap) - leader_us(lap)),
            median(ours, |lap| lap.client_us),
            median(ours, |lap| servers_us(lap) + lap.client_us),
            median(theirs, leader_us),
            median(theirs, |lap| servers_us(lap) + lap.client_us),
            ours.iter().chain(theirs).map(|lap| lap.failed).sum::<u64>().into(),
        ]
    }
}
