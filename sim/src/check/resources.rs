//! Resources: nothing grows past its limit, and nothing stays behind after quiet.
//!
//! A subject samples its sizes now and then: queue lengths, pending requests, open files, bytes
//! waiting to be reclaimed; of a cluster's nodes, what `node::Sizes` says of engine and links. Each
//! gauge has a limit that holds always, and one that holds after quiet; a leak is a gauge that does
//! not come down when nothing happens any more. A limit may follow from what else there is, so each
//! sample brings its own, and the one that went furthest beyond is told.
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
    /// The sample that was nearest to its limit, or furthest beyond.
    pub peak: u64,
    /// The last sample, taken after quiet.
    pub last: u64,
    /// What that sample may not exceed.
    pub limit: u64,
    /// What it may not exceed after quiet.
    pub quiet_limit: u64,
}

/// All gauges, by node and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges(BTreeMap<u32, OfNode>);

/// One node's, in the order in which they came first. Mostly they come in that order again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfNode {
    gauges: Vec<(&'static str, Gauge)>,
    next: usize,
}

impl OfNode {
    fn of(&mut self, name: &'static str) -> &mut Gauge {
        let is_it = |(known, _): &(&'static str, Gauge)| *known == name;
        let place = match self.gauges.get(self.next) {
            Some(next) if is_it(next) => self.next,
            _ => self.gauges.iter().position(is_it).unwrap_or(self.gauges.len()),
        };
        if place == self.gauges.len() {
            self.gauges.push((name, Gauge { limit: u64::MAX, ..Gauge::default() }));
        }
        self.next = place + 1;
        &mut self.gauges[place].1
    }
}

impl Gauges {
    /// Takes a sample.
    pub fn sample(&mut self, node: u32, name: &'static str, now: u64, limit: u64, quiet: u64) {
        let gauge = self.0.entry(node).or_default().of(name);
        let left = |now: u64, limit: u64| i128::from(limit) - i128::from(now);
        if left(now, limit) <= left(gauge.peak, gauge.limit) {
            (gauge.peak, gauge.limit) = (now, limit);
        }
        (gauge.last, gauge.quiet_limit) = (now, quiet);
    }

    /// A node is gone, and all that it held.
    pub fn ended(&mut self, node: u32) {
        let known = self.0.get_mut(&node);
        known.into_iter().flat_map(|of| &mut of.gauges).for_each(|(_, gauge)| gauge.last = 0);
    }

    /// The gauges.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &'static str, Gauge)> + '_ {
        self.0.iter().flat_map(|(node, of)| {
            of.gauges.iter().map(move |(name, gauge)| (*node, *name, *gauge))
        })
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

    #[test]
    fn what_is_nearest_to_its_own_limit_counts() {
        let mut gauges = Gauges::default();
        for (now, limit) in [(90, 100), (4, 3), (95, 100)] {
            gauges.sample(0, "bytes", now, limit, 100);
        }
        assert!(check(&gauges).violation().is_some_and(|v| v.evidence.contains("reached 4")));
    }

    #[test]
    fn who_is_gone_leaves_nothing_behind() {
        let mut gauges = Gauges::default();
        gauges.sample(1, "frames", 3, 8, 0);
        gauges.sample(2, "frames", 3, 8, 3);
        assert!(check(&gauges).violation().is_some());
        gauges.ended(1);
        assert_eq!(check(&gauges), Verdict::Holds);
    }
}
