//! `trilith bench values`: the engines of the value plane, fed from one journal.
//!
//! What a store does to its values is exchangeable; what makes them durable is not. So each engine
//! gets the same records through a journal of its own, and the journal's share of the time is told
//! apart: `load` is all of it, `apply` the engine's part.
//!
//! Not here: memory, which engines in one process cannot be told apart by (`trilith bench scale`);
//! the store as a program opens it (`trilith bench engine`); other stores.

use clap::Args;
use std::{
    env,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use trilith_engine::{
    embedded::os::{Native, block_on},
    journal::{
        Files, Journal, JournalError, JournalOptions, ManifestEdit, Origin, Record, RecordKind,
        Sync,
    },
    runtime::DiskError,
    types::{GroupId, Term, Version},
    value::{Change, Edit, Engine, Indexed, Memory, Scan, View},
};

use super::{
    LOAD_BATCH, SCAN_KEYS, Scratch,
    load::{self, Dice, Values},
    meter::Usage,
    pictures::{Pictures, rate_by_kind},
};
use crate::{
    failure::{DISK, Failure, Outcome},
    out::{Cell, Out},
    plot::Plot,
    progress::Progress,
};

const GROUP: GroupId = GroupId(1);
const COLUMNS: [&str; 6] =
    ["engine", "load_per_s", "load_cpu_us", "apply_us", "get_per_s", "scan_per_s"];

/// How the engines of the value plane are compared.
#[derive(Args, Debug)]
pub struct Plane {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Keys that are loaded.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Seconds of each kind of read.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Draws what each engine did a second, as an SVG file in this directory; made when it is not
    /// there.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// What is drawn: the name of each kind, and its column.
const DRAWN: [(&str, usize); 3] = [("load", 1), ("get", 4), ("scan of 100", 5)];

/// Compares.
pub(super) fn run(plane: &Plane, out: Out) -> Outcome {
    let mut pictures = Pictures::at(plane.plot.as_deref())?;
    let scratch = Scratch::new(&plane.dir)?;
    let of = |name: &str| scratch.path.join(name);
    let memory = plane.measure("memory", &of("m"), |_| Memory::default(), |_, _| {}, |_| Ok(()))?;
    let follow = |engine: &mut Indexed<Native>, files| engine.set_files(files);
    let journal = plane.measure("journal", &of("j"), Indexed::new, follow, |_| Ok(()))?;
    #[cfg_attr(not(feature = "rocksdb"), expect(unused_mut, reason = "nothing joins them"))]
    let mut rows = vec![memory, journal];
    #[cfg(feature = "rocksdb")]
    rows.push(plane.rocksdb(&scratch.path)?);
    out.table(&COLUMNS, &rows)?;
    let Some(pictures) = &mut pictures else { return Ok(()) };
    pictures.put("throughput", &picture(&rows))?;
    pictures.tell(out)
}

fn picture(rows: &[Vec<Cell>]) -> Plot {
    let lines = rows.iter().filter_map(|row| {
        let Some(Cell::Text(name)) = row.first() else { return None };
        let rates = DRAWN.map(|(_, column)| match row.get(column) {
            Some(Cell::Measure(rate)) => Some(*rate),
            _ => None,
        });
        Some((name.as_str(), rates.to_vec()))
    });
    rate_by_kind("Throughput of the value plane's engines", &DRAWN.map(|(kind, _)| kind), lines)
}

fn stopped(error: &JournalError) -> Failure {
    Failure::new(&DISK, error, "see whether the directory's device has room and is healthy")
}

fn refused(error: &DiskError) -> Failure {
    Failure::new(&DISK, error, "see whether the directory's device has room and is healthy")
}

impl Plane {
    #[cfg(feature = "rocksdb")]
    fn rocksdb(&self, dir: &Path) -> Outcome<Vec<Cell>> {
        use crate::engines::rocksdb::RocksDb;
        let engine = RocksDb::open(&dir.join("r-values")).map_err(|error| refused(&error))?;
        self.measure("rocksdb", &dir.join("r"), |_| engine, |_, _| {}, RocksDb::flush)
    }

    /// Loads one engine and reads from it. `settle` ends the load: what the engine still owes the
    /// disk then.
    fn measure<E: Engine>(
        &self,
        name: &'static str,
        dir: &Path,
        make: impl FnOnce(Arc<Files<Native>>) -> E,
        follow: impl Fn(&mut E, Arc<Files<Native>>),
        settle: impl FnOnce(&E) -> Result<(), DiskError>,
    ) -> Outcome<Vec<Cell>> {
        let opened = block_on(Journal::open(&Native::new(dir), JournalOptions::default()));
        let (mut journal, _) =
            opened.map_err(|error| Failure::new(&DISK, error, "see its path"))?;
        let edit = ManifestEdit { add_groups: vec![GROUP], ..ManifestEdit::default() };
        block_on(journal.edit(edit)).map_err(|error| stopped(&error))?;
        let values = Values::new(self.value_bytes);
        let mut engine = make(journal.files());
        let (usage, mut applying) = (Usage::now(), Duration::ZERO);
        let mut progress = Progress::new(name, self.keys);
        for first in (0..self.keys).step_by(LOAD_BATCH as usize) {
            let numbers = first..(first + LOAD_BATCH).min(self.keys);
            let edits: Vec<_> = numbers.map(|n| (load::key(n), values.of(n, 0))).collect();
            applying += feed(&mut journal, &mut engine, &follow, &edits)?;
            progress.at(first);
        }
        let settling = Instant::now();
        settle(&engine).map_err(|error| refused(&error))?;
        applying += settling.elapsed();
        block_on(journal.sync()).map_err(|error| stopped(&error))?;
        progress.finish();
        let (spent, keys) = (usage.spent(), self.keys as f64);
        let view = engine.view(GROUP);
        let mut dice = Dice::new(1);
        let gets = self.per_second(|| {
            let found = block_on(view.get(&load::key(dice.below(self.keys)), 0));
            found.is_ok_and(|found| found.is_some_and(|found| load::touch(&found.value) > 0))
        });
        let scans = self.per_second(|| {
            let from = load::key(dice.below(self.keys));
            let start = Bound::Included(from.as_slice());
            let scan =
                Scan { start, end: Bound::Unbounded, keys_max: SCAN_KEYS, bytes_max: usize::MAX };
            block_on(view.scan(scan, 0)).is_ok_and(|page| !page.items.is_empty())
        });
        Ok(vec![
            name.into(),
            Cell::Measure(keys / spent.wall.as_secs_f64()),
            Cell::Measure(spent.cpu.as_secs_f64() * 1e6 / keys),
            Cell::Measure(applying.as_secs_f64() * 1e6 / keys),
            gets.map_or(Cell::Absent, Cell::Measure),
            scans.map_or(Cell::Absent, Cell::Measure),
        ])
    }

    /// How often a second; nothing when a read did not answer what it should.
    fn per_second(&self, mut read: impl FnMut() -> bool) -> Option<f64> {
        let (mut count, start) = (0_u64, Instant::now());
        while start.elapsed().as_secs_f64() < self.seconds {
            if !read() {
                return None;
            }
            count += 1;
        }
        Some(count as f64 / start.elapsed().as_secs_f64())
    }
}

/// Makes edits durable in time and applies them; answers how long the engine took.
fn feed<E: Engine>(
    journal: &mut Journal<Native>,
    engine: &mut E,
    follow: impl Fn(&mut E, Arc<Files<Native>>),
    edits: &[(load::Key, &[u8])],
) -> Outcome<Duration> {
    let mut frame = journal.frame();
    let base = frame.next_lsn().0;
    for (nth, (key, value)) in (0..).zip(edits) {
        let record = Record {
            group: GROUP,
            kind: RecordKind::Put,
            version: Version(base + nth),
            term: Term(0),
            expires_ms: None,
            origin: Origin::State,
            key,
            value,
        };
        let pushed = frame.push(&record);
        pushed.map_err(|error| Failure::new(&DISK, format!("{error:?}"), "use smaller values"))?;
    }
    let persisted =
        block_on(journal.append(frame, Sync::Later)).map_err(|error| stopped(&error))?;
    follow(engine, journal.files());
    let edits = edits.iter().enumerate().map(|(nth, (key, value))| Edit {
        key,
        version: Version(base + nth as u64),
        change: Change::Put { value, loc: persisted.loc(nth), expires_ms: None },
    });
    let start = Instant::now();
    engine.apply(GROUP, edits).map_err(|error| refused(&error))?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_stands_in_its_column() {
        assert_eq!(DRAWN.map(|(_, at)| COLUMNS[at]), ["load_per_s", "get_per_s", "scan_per_s"]);
        let number = |number: f64| Cell::Measure(number);
        let (load, scan) = (number(100.0), number(10.0));
        let row = vec!["memory".into(), load, number(1.0), number(2.0), Cell::Absent, scan];
        let plot = picture(&[row]);
        assert_eq!(plot.lines.len(), 1);
        assert_eq!(plot.lines[0].name, "memory");
        assert_eq!(plot.lines[0].points, [(0.0, 100.0), (2.0, 10.0)], "what failed is not drawn");
    }
}
