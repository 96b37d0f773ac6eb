//! The links between nodes: what arrives is what was said.
//!
//! Each thing that is said carries who says it to whom, in which life of the process and over which
//! of its connections, and its number there. Over one connection the numbers must arrive in order,
//! each once, unaltered. A number may be left out only if the sender's outbox dropped it, and
//! outboxes count what they drop: the gaps of a sender's life are no more than that.
//!
//! Between connections nothing is demanded here. That everything arrives in the end, that links
//! stay up on a quiet network and go down on a dead one, and that strangers are not heard and know
//! why, the subject sees and convicts.
//!
//! Not here: what the numbers are for (`subject/links.rs`).

use std::collections::BTreeMap;

use super::{Judge, Verdict};

const NAME: &str = "links";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "what arrives over a link is what was said, in order, without a silent gap",
    canary,
};

/// A sender's life, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Who says it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// Which life of the sender.
    pub life: u32,
}

/// What has been seen so far.
#[derive(Clone, Debug)]
pub struct Model {
    last: BTreeMap<(Lane, u64), u64>,
    missing: BTreeMap<Lane, u64>,
    dropped: BTreeMap<Lane, u64>,
    verdict: Verdict,
}

impl Default for Model {
    fn default() -> Self {
        let (last, missing, dropped) = Default::default();
        Self { last, missing, dropped, verdict: Verdict::Holds }
    }
}

impl Model {
    /// Something else is wrong. The first finding stays.
    pub fn convict(&mut self, symptom: &str, evidence: String) {
        if self.verdict == Verdict::Holds {
            self.verdict = Verdict::violated(NAME, symptom, evidence);
        }
    }

    /// So many packets of that lane were dropped by the outbox so far.
    pub fn dropped(&mut self, lane: Lane, count: u64) {
        self.dropped.insert(lane, count);
    }

    /// The `number`-th thing of that connection has arrived.
    pub fn arrived(&mut self, lane: Lane, connection: u64, number: u64) {
        let last = self.last.entry((lane, connection)).or_default();
        let before = std::mem::replace(last, number);
        let told = format!("{lane:?}, connection {connection}: {number} came after {before}");
        if number <= before {
            return self.convict("something arrived twice or out of order", told);
        }
        let missing = self.missing.entry(lane).or_default();
        *missing += number - before - 1;
        let (missing, dropped) = (*missing, self.dropped.get(&lane).copied().unwrap_or_default());
        if missing > dropped {
            let told = format!("{told}; {missing} are missing, {dropped} were dropped");
            self.convict("something is missing in the middle of a connection", told);
        }
    }

    /// What is to be said of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }
}

fn canary() -> Verdict {
    let mut model = Model::default();
    let lane = Lane { from: 0, to: 1, life: 1 };
    model.dropped(lane, 1);
    [1, 3, 5].into_iter().for_each(|number| model.arrived(lane, 1, number));
    model.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_allowed_as_far_as_drops_were_counted_and_order_always() {
        let lane = Lane { from: 0, to: 1, life: 1 };
        let mut model = Model::default();
        model.dropped(lane, 2);
        for (connection, number) in [(1, 1), (1, 4), (2, 1), (1, 5), (2, 2)] {
            model.arrived(lane, connection, number);
            assert_eq!(model.verdict(), Verdict::Holds);
        }
        model.arrived(lane, 2, 2);
        assert!(model.verdict().violation().is_some());
    }
}
