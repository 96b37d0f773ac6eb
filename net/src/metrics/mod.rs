//! Metrics: everything that a node tells a monitoring system, from one list.
//!
//! ```text
//!   METRICS: name, kind, help, labels, what it says ─┬─► text at /metrics       (`text.rs`, here)
//!            (`table.rs`)                            ├─► a page of documentation  ┐
//!                                                    ├─► a dashboard for Grafana  ├ (`bin`)
//!                                                    └─► what alert rules may name┘
//!   shard ◄── Inbound::Shows ── Source ──► meters, links, disk                     (`seen.rs`)
//! ```
//! Nothing is registered and nothing is global: several nodes of one process, in the demo and in the
//! simulator, have each their own. A metric is computed when it is asked for, out of numbers that the
//! parts of the node count for themselves; so one that nobody scrapes costs these additions.
//!
//! # Names
//! `trilith_<part>_<what>_<unit>[_total]`, in base units. Labels are of few values: a node of the
//! cluster, a port, a family of requests, a reason. None is of a key, a client or a group.
//!
//! Not here: how it is asked for (`http/route.rs`), dashboards and rules (`bin`).

mod seen;
mod table;
mod text;

pub use seen::Seen;
pub(crate) use seen::Source;
pub use table::METRICS;
pub use text::{Samples, page};

use trilith_engine::shard::Shown;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It rises, and begins again with the node.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is called.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// What its numbers are told apart by.
    pub labels: &'static [&'static str],
    says: Says,
}

/// What a metric says.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// Of the shard, when it has shown itself.
    Shard(fn(&Shown, &mut Samples<'_>)),
    /// Of everything else.
    Node(fn(&Seen, &mut Samples<'_>)),
}

impl Metric {
    /// The part of the node that it is of.
    #[must_use]
    pub fn part(&self) -> &'static str {
        let behind = self.name.strip_prefix(PREFIX).unwrap_or(self.name);
        behind.split_once('_').map_or(behind, |(part, _)| part)
    }

    /// What its numbers are counted in; nothing when they are numbers of something.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        let own = self.name.strip_suffix("_total").unwrap_or(self.name);
        UNITS.iter().find(|unit| own.ends_with(**unit)).map(|unit| &unit[1..])
    }
}

/// What all names begin with.
pub const PREFIX: &str = "trilith_";

/// How names of what is measured end.
const UNITS: [&str; 3] = ["_seconds", "_bytes", "_ratio"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_say_what_they_are() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "each name is there once");
        for Metric { name, kind, help, labels, .. } in METRICS {
            let is_word = |sign: char| sign.is_ascii_lowercase() || sign == '_';
            assert!(name.starts_with(PREFIX) && name.chars().all(is_word), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(!help.is_empty() && !help.contains(['\n', '\\']), "{name}: one line");
            assert!(!help.ends_with('.'), "{name}: as the others");
            for label in *labels {
                assert!(label.chars().all(is_word) && !label.starts_with("__"), "{name} {label}");
                assert_ne!(*label, "le", "{name}");
            }
        }
        for end in ["_count", "_sum", "_bucket", "_ms", "_millis", "_micros", "_kb", "_mb"] {
            assert!(names.iter().all(|name| !name.ends_with(end)), "{end}");
        }
    }

    #[test]
    fn a_name_has_a_part_and_perhaps_a_unit() {
        let of = |name| METRICS.iter().find(|metric| metric.name == name).unwrap();
        let sync = of("trilith_journal_sync_duration_seconds");
        assert_eq!((sync.part(), sync.unit()), ("journal", Some("seconds")));
        let read = of("trilith_port_read_bytes_total");
        assert_eq!((read.part(), read.unit()), ("port", Some("bytes")));
        assert_eq!(of("trilith_core_turns_total").unit(), None);
    }
}
