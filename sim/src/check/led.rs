//! Led: a node with a slow disk does not lead on while others could, and leaders do not come and go.
//!
//! For runs whose only faults are disks that are slow for long, with the moments at which they begin
//! and end. The nodes show who leads, and since when.
//! - Within a bound after a disk has become slow its node leads nothing, and it does not come to lead
//!   anything before the disk is well again;
//! - a group changes its leader no more often than that needs.
//!
//! Not here: elections after crashes (`alive`), that there is one leader a term (`raft`).

use std::{collections::BTreeMap, time::Duration};

use trilith_engine::types::{GroupId, NodeId, Term};

use super::{Judge, Verdict};
use crate::fault::{FaultKind, FaultPlan, When};

const NAME: &str = "led";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "a node with a slow disk hands over what it leads, and leaders do not come and go",
    canary,
};

/// Within so long a node must have found its disk slow and handed over, or the others must have found
/// that it hangs: half a silence until nobody vouches for it, a silence, and an election.
const WITHIN: Duration = Duration::from_millis(3300);
/// A group's first leader, and one more in case votes were split.
const LEADERS_AT_FIRST: usize = 2;
/// A handing over, and one more in case it came too late.
const LEADERS_A_SPELL: usize = 2;
/// Whoever ends hands over, and may come back as the one with the longest log.
const LEADERS_AN_END: usize = 2;

/// Who led which group, from when on.
#[derive(Clone, Debug, Default)]
pub struct Reigns {
    led: BTreeMap<GroupId, BTreeMap<Term, (u64, NodeId)>>,
    /// How many nodes' lives have ended.
    ends: usize,
}

/// A disk is slow, from when until when.
#[derive(Clone, Copy, Debug)]
struct Spell {
    node: NodeId,
    from_ns: u64,
    to_ns: u64,
}

impl Reigns {
    /// A node leads a group.
    pub fn leads(&mut self, at_ns: u64, group: GroupId, term: Term, node: NodeId) {
        self.led.entry(group).or_default().entry(term).or_insert((at_ns, node));
    }

    /// A node's life has ended.
    pub const fn ends(&mut self) {
        self.ends += 1;
    }

    /// Judges, by the plan of faults; `number` is how the cluster calls the world's node.
    #[must_use]
    pub fn check(&self, plan: &FaultPlan, number: fn(u32) -> NodeId) -> Verdict {
        let spells: Vec<Spell> = plan.entries.iter().filter_map(|one| spell(one, number)).collect();
        let expected = LEADERS_A_SPELL * spells.len() + LEADERS_AN_END * self.ends;
        for (group, reigns) in &self.led {
            let all: Vec<(u64, NodeId)> = reigns.values().copied().collect();
            let ends = all.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
            for ((from, node), to) in all.iter().zip(ends) {
                let leads_on = |spell: &&Spell| {
                    let due = spell.from_ns + WITHIN.as_nanos() as u64;
                    spell.node == *node && *from < spell.to_ns && to > due && spell.to_ns > due
                };
                if let Some(spell) = spells.iter().find(leads_on) {
                    let told = format!("group {group}, {spell:?}, {all:?}");
                    return Verdict::violated(NAME, "a node with a slow disk leads on", told);
                }
            }
            if all.len() > LEADERS_AT_FIRST + expected {
                let told = format!("group {group}, {spells:?}, {all:?}");
                return Verdict::violated(NAME, "leaders come and go", told);
            }
        }
        Verdict::Holds
    }
}

fn spell(fault: &crate::fault::Fault, number: fn(u32) -> NodeId) -> Option<Spell> {
    let (FaultKind::SlowDisk { node, for_ms, .. } | FaultKind::Stall { node, for_ms }) = fault.what
    else {
        return None;
    };
    let When::AtMs(at_ms) = fault.when else { return None };
    let ns = |ms: u64| ms * 1_000_000;
    Some(Spell { node: number(node), from_ns: ns(at_ms), to_ns: ns(at_ms + for_ms) })
}

fn one_spell(node: u32) -> FaultPlan {
    let what = FaultKind::SlowDisk { node, times: 100, for_ms: 6000 };
    FaultPlan { entries: vec![crate::fault::Fault { when: When::AtMs(1000), what }] }
}

fn told(reigns: &[(u64, u64)]) -> Reigns {
    let mut all = Reigns::default();
    for (term, (at_ms, node)) in (1..).zip(reigns) {
        all.leads(at_ms * 1_000_000, GroupId(1), Term(term), NodeId(*node));
    }
    all
}

fn canary() -> Verdict {
    told(&[(100, 1)]).check(&one_spell(1), |node| NodeId(u64::from(node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symptom(reigns: &[(u64, u64)]) -> Option<String> {
        let verdict = told(reigns).check(&one_spell(1), |node| NodeId(u64::from(node)));
        verdict.violation().map(|violation| violation.symptom.clone())
    }

    #[test]
    fn a_slow_node_hands_over_once_and_does_not_come_back_before_its_time() {
        assert_eq!(symptom(&[(100, 2)]), None);
        assert_eq!(symptom(&[(100, 1), (2500, 2)]), None);
        assert_eq!(symptom(&[(100, 1), (2500, 2), (8000, 1)]), None);
        assert!(symptom(&[(100, 1), (5500, 2)]).is_some_and(|told| told.contains("leads on")));
        assert!(symptom(&[(100, 1), (1500, 2), (5000, 1)]).is_some());
        let often = [(100, 2), (200, 3), (300, 2), (400, 3), (500, 2)];
        assert!(symptom(&often).is_some_and(|told| told.contains("come and go")));
    }
}
