//! Resources: nothing grows past its limit, and nothing stays behind after quiet.
//!
//! A subject samples its sizes now and then: queue lengths, pending requests, open files, bytes
//! waiting to be reclaimed. Each gauge has a limit that holds always, and one that holds after
//! quiet; a leak is a gauge that does not come down when nothing happens any more.
//!
//! Not here: the process's memory. The simulator is one process for many nodes.

use std::collections::BTreeMap;

use super::{Judge, Verdict};

const NAME: &str = "resources";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "nothing grows past its limit, and nothing stays behind after quiet",
    canary,
};

/// One gauge of one node, over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// The largest sample.
    pub peak: u64,
    /// The last sample, taken after quiet.
    pub last: u64,
    /// What it may never exceed.
    pub limit: u64,
    /// What it may not exceed after quiet.
    pub quiet_limit: u64,
}

/// All gauges, by node and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges(BTreeMap<(u32, &'static str), Gauge>);

impl Gauges {
    /// Takes a sample; the limits are those of the first one.
    pub fn sample(&mut self, node: u32, name: &'static str, now: u64, limit: u64, quiet: u64) {
        let fresh = Gauge { limit, quiet_limit: quiet, ..Gauge::default() };
        let gauge = self.0.entry((node, name)).or_insert(fresh);
        gauge.peak = gauge.peak.max(now);
        gauge.last = now;
    }

    /// The gauges.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &'static str, Gauge)> + '_ {
        self.0.iter().map(|((node, name), gauge)| (*node, *name, *gauge))
    }
}

/// Judges all gauges.
#[must_use]
pub fn check(gauges: &Gauges) -> Verdict {
    for (node, name, gauge) in gauges.iter() {
        let Gauge { peak, last, limit, quiet_limit } = gauge;
        if peak > limit {
            let evidence = format!("node {node}: {name} reached {peak}, its limit is {limit}");
            return Verdict::violated(NAME, format!("{name} grew past its limit"), evidence);
        }
        if last > quiet_limit {
            let evidence =
                format!("node {node}: {name} is still {last} after quiet, allowed {quiet_limit}");
            return Verdict::violated(NAME, format!("{name} stay behind after quiet"), evidence);
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let mut gauges = Gauges::default();
    gauges.sample(0, "pending requests", 3, 8, 0);
    check(&gauges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_and_a_rest_are_two_limits() {
        let mut gauges = Gauges::default();
        gauges.sample(0, "frames", 8, 8, 2);
        gauges.sample(0, "frames", 1, 8, 2);
        assert_eq!(check(&gauges), Verdict::Holds);
        gauges.sample(0, "frames", 9, 8, 2);
        gauges.sample(0, "frames", 0, 8, 2);
        assert!(check(&gauges).violation().is_some_and(|v| v.evidence.contains("reached 9")));
    }
}
