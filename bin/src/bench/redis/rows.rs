//! What was measured, as rows: a load and a server each, with what the server promises.
//!
//! Not here: how it is measured (`drive.rs`).

use super::{Ask, drive::Lap, servers::Who, tool::Told};
use crate::out::Cell;

/// The columns of the closed loops.
pub(super) const CLOSED: &[&str] = &[
    "ask",
    "connections",
    "pipeline",
    "server",
    "durable",
    "per_s",
    "ours_times",
    "p50_us",
    "p99_us",
    "p999_us",
    "server_cpu_us",
    "client_cpu_us",
    "tool_per_s",
    "tool_p50_us",
    "tool_p99_us",
    "failed",
];

/// The columns of the open loops.
pub(super) const OPENED: &[&str] = &[
    "ask",
    "connections",
    "of_pipeline",
    "server",
    "durable",
    "asked_per_s",
    "per_s",
    "p50_us",
    "p99_us",
    "p999_us",
    "server_cpu_us",
    "failed",
];

/// A load, and what each server made of it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) ask: Ask,
    pub(super) connections: usize,
    pub(super) pipeline: usize,
    /// Ours is the first.
    pub(super) sides: Vec<Side>,
}

/// What one server made of a load.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) who: Who,
    /// Closed loops, round by round.
    pub(super) laps: Vec<Lap>,
    /// What `redis-benchmark` said of them.
    pub(super) told: Vec<Told>,
    /// Requests a second of the open loops.
    pub(super) asked: u64,
    /// Open loops, round by round.
    pub(super) opened: Vec<Lap>,
}

/// The median of what each of them came to.
fn median<T>(all: &[T], of: impl Fn(&T) -> f64) -> Cell {
    let mut all: Vec<f64> = all.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).map_or(Cell::Absent, |middle| Cell::Measure(*middle))
}

/// How many a second there were.
pub(super) fn rate(laps: &[Lap]) -> Cell {
    median(laps, |lap| lap.per_second)
}

/// The round whose rate is the median.
pub(super) fn middle(laps: &[Lap]) -> Option<&Lap> {
    let mut all: Vec<&Lap> = laps.iter().collect();
    all.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    all.get(all.len() / 2).copied()
}

/// What stands in both tables: latencies, and what the server spent.
fn costs(laps: &[Lap]) -> [Cell; 4] {
    let micros = |at: usize| median(laps, |lap| lap.micros[at]);
    [micros(0), micros(1), micros(2), median(laps, |lap| lap.server_us)]
}

fn failed(laps: &[Lap]) -> Cell {
    laps.iter().map(|lap| lap.failed).sum::<u64>().into()
}

impl Side {
    /// Nothing yet.
    pub(super) const fn of(who: Who) -> Self {
        Self { who, laps: Vec::new(), told: Vec::new(), asked: 0, opened: Vec::new() }
    }

    /// Says for how many a second it will be asked: a share of what it took; nothing for none.
    pub(super) fn ask_for(&mut self, share: f64) {
        self.asked = match rate(&self.laps) {
            Cell::Measure(rate) if share > 0.0 => ((rate * share) as u64).max(1),
            _ => 0,
        };
    }
}

impl Case {
    /// As files are named.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-{}", self.ask.word(), self.connections, self.pipeline)
    }

    /// As pictures are.
    pub(super) fn title(&self) -> String {
        let (ask, connections, pipeline) = (self.ask.word(), self.connections, self.pipeline);
        format!("{ask}, connections: {connections}, pipeline: {pipeline}")
    }

    /// Why requests were not answered as they should.
    pub(super) fn troubles(&self) -> impl Iterator<Item = String> {
        self.sides.iter().flat_map(|side| {
            let laps = side.laps.iter().chain(&side.opened);
            let troubles = laps.filter_map(|lap| lap.trouble.as_ref());
            troubles.map(move |why| format!("{}: {why}", side.who.word()))
        })
    }

    fn begin_row(&self, side: &Side) -> Vec<Cell> {
        vec![
            self.ask.word().into(),
            self.connections.into(),
            self.pipeline.into(),
            side.who.word().into(),
            side.who.promise().into(),
        ]
    }

    /// How often ours is what another is; nothing for ours.
    fn ours_times(&self, side: &Side) -> Cell {
        let ours = self.sides.first().filter(|first| first.who != side.who);
        match (ours.map(|ours| rate(&ours.laps)), rate(&side.laps)) {
            (Some(Cell::Measure(ours)), Cell::Measure(theirs)) => Cell::Measure(ours / theirs),
            _ => Cell::Absent,
        }
    }

    /// The rows of the closed loops.
    pub(super) fn closed_rows(&self) -> Vec<Vec<Cell>> {
        let row = |side: &Side| {
            let mut row = self.begin_row(side);
            row.extend([rate(&side.laps), self.ours_times(side)]);
            row.extend(costs(&side.laps));
            row.push(median(&side.laps, |lap| lap.client_us));
            row.push(median(&side.told, |told| told.per_second));
            row.push(median(&side.told, |told| told.p50_us));
            row.push(median(&side.told, |told| told.p99_us));
            row.push(failed(&side.laps));
            row
        };
        self.sides.iter().map(row).collect()
    }

    /// The rows of the open loops, where there were some.
    pub(super) fn open_rows(&self) -> Vec<Vec<Cell>> {
        let row = |side: &Side| {
            let mut row = self.begin_row(side);
            row.extend([side.asked.into(), rate(&side.opened)]);
            row.extend(costs(&side.opened));
            row.push(failed(&side.opened));
            row
        };
        self.sides.iter().filter(|side| side.asked > 0).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::redis::servers::Fsync;

    fn lap(per_second: f64, us: f64, failed: u64) -> Lap {
        let trouble = (failed > 0).then(|| "no".to_owned());
        let micros = [us, us * 2.0, us * 3.0];
        Lap {
            per_second,
            micros,
            server_us: 5.0,
            client_us: 7.0,
            failed,
            trouble,
            ..Lap::default()
        }
    }

    fn case() -> Case {
        let mut sides = [Who::Trilith, Who::Redis(Fsync::No)].map(Side::of);
        sides[0].laps = vec![lap(300.0, 1.0, 0), lap(100.0, 3.0, 0), lap(200.0, 2.0, 1)];
        sides[1].laps = vec![lap(50.0, 1.0, 0)];
        sides[1].told = vec![Told { per_second: 60.0, p50_us: 8.0, p99_us: 9.0 }];
        Case { ask: Ask::Set, connections: 50, pipeline: 16, sides: sides.into() }
    }

    /// What stands in that column.
    fn cell(columns: &[&str], row: &[Cell], name: &str) -> Cell {
        assert_eq!(columns.len(), row.len());
        row[columns.iter().position(|column| *column == name).unwrap()].clone()
    }

    #[test]
    fn a_row_says_what_is_promised_and_what_it_came_to() {
        let rows = case().closed_rows();
        let both = |name| [cell(CLOSED, &rows[0], name), cell(CLOSED, &rows[1], name)];
        let texts = |ours: &str, theirs: &str| [Cell::from(ours), Cell::from(theirs)];
        assert_eq!(both("server"), texts("trilith", "redis no"));
        assert_eq!(both("durable"), texts("before the answer", "when the kernel likes"));
        assert_eq!(both("per_s"), [200.0, 50.0].map(Cell::Measure));
        assert_eq!(both("ours_times"), [Cell::Absent, Cell::Measure(4.0)]);
        assert_eq!(both("p50_us"), [2.0, 1.0].map(Cell::Measure));
        assert_eq!(both("p99_us"), [4.0, 2.0].map(Cell::Measure));
        assert_eq!(both("p999_us"), [6.0, 3.0].map(Cell::Measure));
        assert_eq!(both("server_cpu_us"), [5.0, 5.0].map(Cell::Measure));
        assert_eq!(both("client_cpu_us"), [7.0, 7.0].map(Cell::Measure));
        assert_eq!(both("tool_per_s"), [Cell::Absent, Cell::Measure(60.0)]);
        assert_eq!(both("tool_p50_us"), [Cell::Absent, Cell::Measure(8.0)]);
        assert_eq!(both("tool_p99_us"), [Cell::Absent, Cell::Measure(9.0)]);
        assert_eq!(both("failed"), [1, 0].map(Cell::Number));
        assert_eq!(case().troubles().collect::<Vec<_>>(), ["trilith: no"]);
    }

    #[test]
    fn each_is_asked_for_a_share_of_its_own() {
        let mut case = case();
        assert!(case.open_rows().is_empty(), "nobody was asked");
        case.sides[0].ask_for(0.5);
        assert_eq!((case.sides[0].asked, case.sides[1].asked), (100, 0));
        case.sides[0].opened = vec![lap(99.0, 4.0, 2)];
        let rows = case.open_rows();
        assert_eq!(rows.len(), 1);
        let ours = |name| cell(OPENED, &rows[0], name);
        assert_eq!(ours("asked_per_s"), Cell::Number(100));
        assert_eq!(ours("per_s"), Cell::Measure(99.0));
        assert_eq!(ours("p99_us"), Cell::Measure(8.0));
        assert_eq!(ours("failed"), Cell::Number(2));
        case.sides[0].ask_for(0.0);
        assert_eq!(case.sides[0].asked, 0);
        let mut silent = Side::of(Who::Trilith);
        silent.ask_for(0.5);
        assert_eq!(silent.asked, 0, "nobody knows what it takes");
    }

    #[test]
    fn a_round_stands_for_all_of_them() {
        assert_eq!(middle(&case().sides[0].laps).map(|lap| lap.per_second), Some(200.0));
        assert!(middle(&[]).is_none());
    }
}
