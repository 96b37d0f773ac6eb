//! What is drawn of a cluster that was asked: for each kind of request, size of value and way of
//! sharing connections, latency and throughput against the number of requests on their way; and for
//! each cluster by itself latency by percentile, and both over the time of a run.
//!
//! Where a median of the rounds is shown in the table, it is drawn. Over time there is no median of
//! several runs: the round whose rate is the median is drawn.
//!
//! Not here: how a picture is made (`plot.rs`), where it goes (`bench/pictures.rs`).

use super::{Case, Lap, median};
use crate::{
    bench::{
        course::Course,
        pictures::{
            Pictures, by_percentile, latency_in_flight, latency_over_time, over_time,
            rate_in_flight, rate_over_time,
        },
    },
    failure::Outcome,
    out::Cell,
    plot::Line,
};

/// What was measured of one cluster.
type Laps = fn(&Case) -> &[Lap];
/// Across and up.
type Points = Vec<(f64, f64)>;

/// The clusters, and what was measured of each.
const WHO: [(&str, Laps); 2] = [("trilith", |case| &case.ours), ("etcd", |case| &case.theirs)];

/// Draws all.
pub(super) fn of_cases(pictures: &mut Pictures, cases: &[Case]) -> Outcome {
    // They were made kind by kind, so those that differ only in what is on its way lie together.
    let is_alike = |one: &Case, other: &Case| {
        one.ask == other.ask && one.lines == other.lines && one.value_bytes == other.value_bytes
    };
    cases.chunk_by(is_alike).try_for_each(|alike| of_kind(pictures, alike))
}

/// Of cases that differ only in how many requests are on their way.
fn of_kind(pictures: &mut Pictures, cases: &[Case]) -> Outcome {
    let Some(first) = cases.first() else { return Ok(()) };
    let (ask, bytes, lines) = (first.ask.word(), first.value_bytes, first.lines.word());
    let (stem, title) =
        (format!("{ask}-{bytes}-{lines}"), format!("{ask}, {bytes} B, connections: {lines}"));
    let rates = WHO.map(|(who, laps)| {
        in_flight(who.to_owned(), cases, |case| median(laps(case), |lap| lap.per_second))
    });
    let plot = rate_in_flight(format!("Throughput: {title}"), some(rates));
    pictures.put(&format!("{stem}-throughput"), &plot)?;
    let latencies = WHO.into_iter().flat_map(|(who, laps)| {
        [(0, "p50"), (1, "p99"), (2, "p99.9")].map(|(at, word)| {
            let of = |case: &Case| median(laps(case), |lap| lap.micros[at]);
            in_flight(format!("{who}, {word}"), cases, of)
        })
    });
    let plot = latency_in_flight(format!("Latency: {title}"), some(latencies));
    pictures.put(&format!("{stem}-latency"), &plot)?;
    for (who, laps) in WHO {
        let each = |of: &dyn Fn(&[Lap]) -> Points| -> Vec<Line> {
            let line = |case: &Case| Line {
                name: format!("{} on their way", case.in_flight),
                points: of(laps(case)),
            };
            some(cases.iter().map(line))
        };
        let over = |of: fn(&Course) -> Points| {
            each(&|laps| over_time("", middle(laps).and_then(|lap| lap.course.as_ref()), of).points)
        };
        let plot = by_percentile(format!("{who}, latency: {title}"), each(&curve));
        pictures.put(&format!("{stem}-{who}-latency-by-percentile"), &plot)?;
        let p99 = over(|course| course.micros(0.99));
        let plot = latency_over_time(format!("{who}, p99 over the run: {title}"), p99);
        pictures.put(&format!("{stem}-{who}-latency-over-time"), &plot)?;
        let plot = rate_over_time(
            format!("{who}, throughput over the run: {title}"),
            over(Course::per_second),
        );
        pictures.put(&format!("{stem}-{who}-throughput-over-time"), &plot)?;
    }
    Ok(())
}

/// Those that have something.
fn some(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| !line.points.is_empty()).collect()
}

fn in_flight(name: String, cases: &[Case], of: impl Fn(&Case) -> Cell) -> Line {
    let points = cases.iter().filter_map(|case| match of(case) {
        Cell::Measure(measured) => Some((case.in_flight as f64, measured)),
        _ => None,
    });
    Line { name, points: points.collect() }
}

/// The round whose rate is the median.
fn middle(laps: &[Lap]) -> Option<&Lap> {
    let mut all: Vec<&Lap> = laps.iter().collect();
    all.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    all.get(all.len() / 2).copied()
}

/// The median of each share over the rounds, as far as all rounds have it.
fn curve(laps: &[Lap]) -> Points {
    let known = laps.iter().map(|lap| lap.curve.len()).min().unwrap_or(0);
    let all = (0..known).filter_map(|at| {
        let (share, _) = laps.first()?.curve.get(at)?;
        match median(laps, |lap| lap.curve[at].1) {
            Cell::Measure(micros) => Some((*share, micros)),
            _ => None,
        }
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::*, curve, middle, of_cases};
    use std::fs;

    /// A round in which everything took `us`.
    fn lap(per_second: f64, us: f64) -> Lap {
        let mut course = crate::bench::course::Course::new(Duration::from_secs(30));
        course.add(Duration::from_secs(3), Duration::from_micros(us as u64));
        Lap {
            per_second,
            micros: [us; 3],
            curve: vec![(0.5, us), (0.9, us * 2.0)],
            course: Some(course),
            servers_us: Vec::new(),
            client_us: 0.0,
            failed: 0,
            trouble: None,
        }
    }

    fn case(in_flight: usize, value_bytes: usize) -> Case {
        Case {
            ask: Ask::Put,
            lines: Lines::Four,
            in_flight,
            value_bytes,
            values: Arc::new(Values::new(1)),
            ours: vec![lap(10.0, 300.0), lap(30.0, 100.0), lap(20.0, 200.0)],
            theirs: Vec::new(),
        }
    }

    #[test]
    fn a_round_stands_for_all_of_them() {
        let case = case(1, 100);
        assert_eq!(middle(&case.ours).map(|lap| lap.per_second), Some(20.0));
        assert_eq!(curve(&case.ours), [(0.5, 200.0), (0.9, 400.0)]);
        assert!(middle(&[]).is_none() && curve(&[]).is_empty());
        let mut uneven = case.ours;
        uneven[1].curve.pop();
        assert_eq!(curve(&uneven), [(0.5, 200.0)], "a share that a round lacks is not drawn");
    }

    #[test]
    fn each_kind_has_its_pictures_and_who_was_not_asked_has_none() {
        let dir = env::temp_dir().join(format!("trilith-pictures-{}", std::process::id()));
        let mut pictures = Pictures::at(Some(&dir)).unwrap().unwrap();
        of_cases(&mut pictures, &[case(1, 100), case(64, 100), case(1, 1024)]).unwrap();
        let mut names: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let kinds = [
            "latency",
            "throughput",
            "trilith-latency-by-percentile",
            "trilith-latency-over-time",
            "trilith-throughput-over-time",
        ];
        let expected: Vec<String> = ["put-100-4", "put-1024-4"]
            .iter()
            .flat_map(|stem| kinds.map(|kind| format!("{stem}-{kind}.svg")))
            .collect();
        assert_eq!(names, expected);
        let drawn = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let throughput = drawn("put-100-4-throughput.svg");
        assert!(throughput.contains(">trilith</text>"), "{throughput}");
        assert!(!throughput.contains("etcd"), "{throughput}");
        let percentiles = drawn("put-100-4-trilith-latency-by-percentile.svg");
        assert!(percentiles.contains(">64 on their way</text>"), "{percentiles}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
