//! What of a measurement is drawn, and where it goes: `--plot DIR`.
//!
//! Latency is drawn by percentile, where the worst few have as much room as all others, and over the
//! time of the run, where a stall shows. Throughput is drawn over the time of the run too, and
//! against what was varied.
//!
//! Not here: how a picture is made (`plot.rs`), what is counted (`course.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::course::{self, Counted, Course};
use crate::{
    failure::{Failure, OUTPUT, Outcome},
    out::Out,
    plot::{Axis, Line, Plot, Scale},
};

/// Pictures in a directory.
#[derive(Debug)]
pub(super) struct Pictures {
    dir: PathBuf,
    names: Vec<String>,
}

impl Pictures {
    /// Makes the directory, before anybody waits for a measurement. None where none is asked for.
    pub(super) fn at(dir: Option<&Path>) -> Outcome<Option<Self>> {
        let Some(dir) = dir else { return Ok(None) };
        fs::create_dir_all(dir).map_err(|error| refused(dir, &error))?;
        Ok(Some(Self { dir: dir.to_owned(), names: Vec::new() }))
    }

    /// Writes one; there is none of what nobody measured.
    pub(super) fn put(&mut self, name: &str, plot: &Plot) -> Outcome {
        if plot.lines.iter().all(|line| line.points.is_empty()) {
            return Ok(());
        }
        let name = format!("{name}.svg");
        let path = self.dir.join(&name);
        fs::write(&path, plot.svg()).map_err(|error| refused(&path, &error))?;
        self.names.push(name);
        Ok(())
    }

    /// Says where they are.
    pub(super) fn tell(&self, out: Out) -> Outcome {
        if self.names.is_empty() {
            return Ok(());
        }
        out.title("Pictures")?;
        self.names.iter().try_for_each(|name| out.say(&self.dir.join(name).display().to_string()))
    }
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    let next = "name a directory that may be written: --plot DIR";
    Failure::new(&OUTPUT, format!("{}: {error}", path.display()), next)
}

fn micros() -> Axis {
    Axis { label: "µs", scale: Scale::Tenfold }
}

fn seconds() -> Axis {
    Axis { label: "seconds", scale: Scale::Even }
}

/// How long things took, by the share of them that took no longer.
pub(super) fn by_percentile(title: impl Into<String>, lines: Vec<Line>) -> Plot {
    let across = Axis { label: "percentile", scale: Scale::Nines };
    Plot { title: title.into(), across, up: micros(), lines }
}

/// How long things took, over the time of the run.
pub(super) fn latency_over_time(title: impl Into<String>, lines: Vec<Line>) -> Plot {
    Plot { title: title.into(), across: seconds(), up: micros(), lines }
}

/// How many a second there were, over the time of the run.
pub(super) fn rate_over_time(title: impl Into<String>, lines: Vec<Line>) -> Plot {
    let up = Axis { label: "/s", scale: Scale::Tenfold };
    Plot { title: title.into(), across: seconds(), up, lines }
}

/// How long things took, against how many requests were on their way.
pub(super) fn latency_in_flight(title: impl Into<String>, lines: Vec<Line>) -> Plot {
    let across = Axis { label: "requests on their way", scale: Scale::Tenfold };
    Plot { title: title.into(), across, up: micros(), lines }
}

/// How many a second there were, against how many were on their way.
pub(super) fn rate_in_flight(title: impl Into<String>, lines: Vec<Line>) -> Plot {
    let across = Axis { label: "requests on their way", scale: Scale::Tenfold };
    let up = Axis { label: "/s", scale: Scale::Even };
    Plot { title: title.into(), across, up, lines }
}

/// How many a second there were, of several kinds side by side. A line is given by its name and what
/// it came to of each kind, if anything.
pub(super) fn rate_by_kind<'a>(
    title: impl Into<String>,
    kinds: &[&str],
    lines: impl IntoIterator<Item = (&'a str, Vec<Option<f64>>)>,
) -> Plot {
    let lines = lines.into_iter().map(|(name, rates)| {
        let points = rates.into_iter().enumerate();
        let points = points.filter_map(|(at, rate)| Some((at as f64, rate?)));
        Line { name: name.to_owned(), points: points.collect() }
    });
    let names = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    Plot {
        title: title.into(),
        across: Axis { label: "", scale: Scale::Named(names) },
        up: Axis { label: "/s", scale: Scale::Tenfold },
        lines: lines.collect(),
    }
}

/// A line of what a course says, where there is one.
pub(super) fn over_time(
    name: impl Into<String>,
    course: Option<&Course>,
    of: impl Fn(&Course) -> Vec<(f64, f64)>,
) -> Line {
    Line { name: name.into(), points: course.map_or_else(Vec::new, of) }
}

/// All that is drawn of loads that followed one another.
pub(super) fn of_loads(pictures: &mut Pictures, loads: &[(&'static str, Counted)]) -> Outcome {
    let lines = loads.iter().map(|(name, counted)| Line {
        name: (*name).to_owned(),
        points: course::curve(&counted.times),
    });
    pictures
        .put("latency-by-percentile", &by_percentile("Latency by percentile", lines.collect()))?;
    let lines = loads.iter().flat_map(|(name, counted)| {
        [("p50", 0.5), ("p99", 0.99)].map(|(word, share)| {
            let of = |course: &Course| course.micros(share);
            over_time(format!("{name}, {word}"), counted.course.as_ref(), of)
        })
    });
    let plot = latency_over_time("Latency over the run", lines.collect());
    pictures.put("latency-over-time", &plot)?;
    let lines = loads
        .iter()
        .map(|(name, counted)| over_time(*name, counted.course.as_ref(), Course::per_second));
    let plot = rate_over_time("Throughput over the run", lines.collect());
    pictures.put("throughput-over-time", &plot)
}
