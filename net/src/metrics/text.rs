//! Metrics as text, as Prometheus and everybody else reads it (version 0.0.4).
//!
//! ```text
//! # HELP trilith_port_connections Connections
//! # TYPE trilith_port_connections gauge
//! trilith_port_connections{port="resp"} 3
//! ```
//! Seconds are written as decimals from whole nanoseconds; there is no float.
//!
//! Not here: what is told (`table.rs`), how it was found out (`seen.rs`).

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use trilith_engine::{shard::Shown, spread::Spread, types::Size};

use super::{METRICS, Metric, Says, Seen};

const BILLION: u128 = 1_000_000_000;

/// A number of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole one.
    Whole(u64),
    /// So many billionths.
    Billionths(i128),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Self::Whole(is_so.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Billionths(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX))
    }
}

impl Value {
    /// So many milliseconds, in seconds.
    #[must_use]
    pub const fn of_ms(ms: i64) -> Self {
        Self::Billionths(ms as i128 * 1_000_000)
    }

    /// How much of what may be there is.
    #[must_use]
    pub fn of_size(size: Size) -> Self {
        Self::Billionths((u128::from(size.now) * BILLION / u128::from(size.most.max(1))) as i128)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Billionths(number) => {
                let size = number.unsigned_abs();
                let (whole, rest) = (size / BILLION, size % BILLION);
                if *number < 0 {
                    f.write_str("-")?;
                }
                if rest == 0 {
                    return whole.fmt(f);
                }
                let rest = format!("{rest:09}");
                write!(f, "{whole}.{}", rest.trim_end_matches('0'))
            }
        }
    }
}

/// Where the numbers of a metric are written.
#[derive(Debug)]
pub struct Samples<'a> {
    out: &'a mut String,
    metric: &'static Metric,
}

// Writing into a string does not fail.
impl Samples<'_> {
    /// The metric is so much.
    pub fn is(&mut self, value: impl Into<Value>) {
        self.of(&[], value);
    }

    /// It is so much where its labels are these.
    pub fn of(&mut self, labels: &[&dyn Display], value: impl Into<Value>) {
        self.line("", labels, None, value.into());
    }

    /// It is spread so.
    pub fn spread(&mut self, labels: &[&dyn Display], spread: &Spread) {
        for (micros, count) in spread.up_to() {
            let bound = Value::from(Duration::from_micros(micros));
            self.line("_bucket", labels, Some(&bound), count.into());
        }
        self.line("_bucket", labels, Some(&"+Inf"), spread.count().into());
        self.line("_sum", labels, None, spread.total().into());
        self.line("_count", labels, None, spread.count().into());
    }

    fn line(
        &mut self,
        end: &str,
        labels: &[&dyn Display],
        bound: Option<&dyn Display>,
        value: Value,
    ) {
        let Metric { name, labels: names, .. } = *self.metric;
        assert_eq!(names.len(), labels.len(), "{name} has these labels");
        let _written = write!(self.out, "{name}{end}");
        let mut before = '{';
        let bound = bound.map(|bound| ("le", bound));
        for (name, is) in names.iter().copied().zip(labels.iter().copied()).chain(bound) {
            let _written = write!(self.out, "{before}{name}=\"{}\"", escaped(&is.to_string()));
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        let _written = writeln!(self.out, "{close} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics of a node that was looked at.
#[must_use]
pub fn page(seen: &Seen) -> String {
    let mut out = String::with_capacity(32 << 10);
    for metric in METRICS {
        let Metric { name, kind, help, says, .. } = metric;
        let shown: Option<&Shown> = seen.shard.as_deref();
        if matches!(says, Says::Shard(_)) && shown.is_none() {
            continue;
        }
        let kind = kind.name();
        let _written = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let mut samples = Samples { out: &mut out, metric };
        match (says, shown) {
            (Says::Node(says), _) => says(seen, &mut samples),
            (Says::Shard(says), Some(shown)) => says(shown, &mut samples),
            (Says::Shard(_), None) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, says: impl FnOnce(&mut Samples<'_>)) -> String {
        let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
        let mut out = String::new();
        says(&mut Samples { out: &mut out, metric });
        out
    }

    #[test]
    fn numbers_are_decimals_without_a_float() {
        let check = |value: Value, text: &str| assert_eq!(value.to_string(), text);
        check(7_u64.into(), "7");
        check(true.into(), "1");
        check(Duration::from_micros(10).into(), "0.00001");
        check(Duration::from_millis(2500).into(), "2.5");
        check(Duration::from_secs(10).into(), "10");
        check(Duration::from_nanos(1).into(), "0.000000001");
        check(Value::of_ms(-1500), "-1.5");
        check(Value::of_ms(-20), "-0.02");
        check(Value::of_size(Size { now: 1, most: 3 }), "0.333333333");
        check(Value::of_size(Size { now: 0, most: 0 }), "0");
    }

    #[test]
    fn labels_stand_in_their_order_and_are_escaped() {
        let text = written("trilith_shard_requests_total", |out| {
            out.of(&[&"read", &"a \"b\"\\\n"], 3_u64);
        });
        let expected = r#"trilith_shard_requests_total{family="read",outcome="a \"b\"\\\n"} 3"#;
        assert_eq!(text, format!("{expected}\n"));
        assert_eq!(
            written("trilith_core_turns_total", |out| out.is(9_u64)),
            "trilith_core_turns_total 9\n"
        );
    }

    #[test]
    fn a_spread_is_a_classic_histogram() {
        let mut spread = Spread::default();
        for ms in [1, 3, 60_000] {
            spread.note(Duration::from_millis(ms));
        }
        let text = written("trilith_journal_sync_duration_seconds", |out| out.spread(&[], &spread));
        let name = "trilith_journal_sync_duration_seconds";
        for line in [
            "_bucket{le=\"0.0005\"} 0",
            "_bucket{le=\"0.001\"} 1",
            "_bucket{le=\"0.005\"} 2",
            "_bucket{le=\"10\"} 2",
            "_bucket{le=\"+Inf\"} 3",
            "_sum 60.004",
            "_count 3",
        ] {
            assert!(text.contains(&format!("{name}{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn a_shard_that_was_never_seen_is_left_out() {
        let text = page(&Seen::default());
        assert!(text.contains("\ntrilith_build_info{"), "{text}");
        assert!(!text.contains("trilith_journal"), "nobody knows");
        let seen = Seen { shard: Some(Box::default()), ..Seen::default() };
        let text = page(&seen);
        for metric in METRICS {
            assert!(text.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
        }
    }
}
