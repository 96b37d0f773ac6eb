//! `trilith ctl health`: whether all is well, a line for each thing that must be.
//!
//! It asks what `status` asks, and judges it: for people in the night and for scripts, by the exit
//! code. What it cannot see is not well: a node that does not answer may be the one with the trouble.
//!
//! Not here: asking (`ctl.rs`), alerts over time (`generate/alerts.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    thread,
    time::Duration,
};
use trilith_net::client::settings_of;

use super::{
    Seen, Status, led,
    nodes::{Found, members_in},
    some, unknown,
};
use crate::{
    check::{Check, judge},
    failure::{Outcome, UNWELL},
    out::Out,
};

/// So many entries behind the others a replica may be late.
const LATE: u64 = 10_000;
/// After that it has what the others had before, or is late: a cluster that takes 100 000 writes a
/// second passes [`LATE`] while its groups are asked one after the other.
const CATCHES_UP: Duration = Duration::from_secs(1);

impl Status {
    /// Asks all nodes, and judges; asks again before it says that a replica is late.
    pub(super) fn health(&self, out: Out) -> Outcome {
        let found = self.nodes.find()?;
        let mut before = self.ask_whole(&found)?;
        if let Some(failure) = unknown(&mut before) {
            return Err(failure);
        }
        if keeps_up(&found.at, &before, &before).is_well {
            return judge(&checks(&found.at, &before, &before), &UNWELL, out);
        }
        thread::sleep(CATCHES_UP);
        judge(&checks(&found.at, &before, &self.ask_whole(&found)?), &UNWELL, out)
    }

    /// Asks all nodes, and those that answer whom else there is to ask.
    fn ask_whole(&self, found: &Found) -> Outcome<Vec<Seen>> {
        let mut all = self.ask_all(found)?;
        let told = self.each(found, |os, at, options, within| async move {
            let told = settings_of(&os, at, options.secret, within).await.ok();
            told.and_then(|(_, settings)| members_in(&settings))
        })?;
        for (seen, members) in all.iter_mut().zip(told) {
            seen.members = members;
        }
        Ok(all)
    }
}

fn checks(at: &[SocketAddr], before: &[Seen], all: &[Seen]) -> Vec<Check> {
    vec![
        answers(at, all),
        is_one_cluster(all),
        is_each_once(at, all),
        are_all_asked(at, all),
        is_led(all),
        finds_leaders(at, all),
        holds_all(at, all),
        keeps_up(at, before, all),
    ]
}

/// What is found where nobody said anything about it. That is not well: it may be anything.
const NOT_TOLD: &str = "no node told";

fn answers(at: &[SocketAddr], all: &[Seen]) -> Check {
    let silent = |(at, seen): (&SocketAddr, &Seen)| {
        let trouble = seen.trouble.as_ref()?;
        Some(format!("{at}: {trouble}"))
    };
    let silent: Vec<String> = at.iter().zip(all).filter_map(silent).collect();
    let found = match silent.len() {
        0 => format!("{} of {}", all.len(), all.len()),
        _ => some(&silent),
    };
    // Who said who he is runs, and has its disk.
    let is_there = all.iter().all(|seen| seen.trouble.is_none() || seen.who.is_some());
    let next = if is_there {
        "ask again, with a larger --within-ms; see that node's log"
    } else {
        "see on its machine whether it runs, and its log; trilith ctl replace if its disk is gone"
    };
    Check { what: "nodes answer", is_well: silent.is_empty(), found, next }
}

fn is_one_cluster(all: &[Seen]) -> Check {
    let mut clusters: Vec<String> =
        all.iter().filter_map(|seen| Some(seen.who.as_ref()?.cluster.to_string())).collect();
    clusters.sort();
    clusters.dedup();
    let (is_well, found) = match clusters.len() {
        0 => (false, "no node said of which".to_owned()),
        count => (count == 1, some(&clusters)),
    };
    let next = "name nodes of one cluster with --at: trilith ctl status says which is of which";
    Check { what: "of one cluster", is_well, found, next }
}

fn is_each_once(at: &[SocketAddr], all: &[Seen]) -> Check {
    let mut named: BTreeMap<u64, Vec<SocketAddr>> = BTreeMap::new();
    for (at, who) in at.iter().zip(all).filter_map(|(at, seen)| Some((at, seen.who.as_ref()?))) {
        named.entry(who.node.0).or_default().push(*at);
    }
    let twice = named.iter().filter(|(_, at)| at.len() > 1);
    let twice: Vec<String> =
        twice.map(|(node, at)| format!("node {node} is at {}", some(at))).collect();
    let nodes: Vec<u64> = named.keys().copied().collect();
    let found = match (nodes.is_empty(), twice.is_empty()) {
        (true, _) => NOT_TOLD.to_owned(),
        (_, true) => some(&nodes),
        (_, false) => some(&twice),
    };
    let next = "name each node once with --at; if two processes run as one node, end the newer";
    let is_well = twice.is_empty() && !nodes.is_empty();
    Check { what: "each node once", is_well, found, next }
}

/// Whoever is a member as any of the nodes was told is among those that were asked. By which address
/// does not matter. A demo's nodes were told nothing.
fn are_all_asked(at: &[SocketAddr], all: &[Seen]) -> Check {
    let answered: BTreeSet<u64> =
        all.iter().filter_map(|seen| Some(seen.who.as_ref()?.node.0)).collect();
    let members: BTreeMap<u64, SocketAddr> = all
        .iter()
        .filter_map(|seen| seen.members.as_ref())
        .flatten()
        .map(|(n, at)| (n.0, *at))
        .collect();
    let left = members.iter().filter(|(node, _)| !answered.contains(node));
    let left = left.filter(|(_, member)| !at.contains(member));
    let left: Vec<String> = left.map(|(node, at)| format!("node {node} at {at}")).collect();
    let found = match (left.is_empty(), members.is_empty(), answered.is_empty()) {
        (_, _, true) => NOT_TOLD.to_owned(),
        (_, true, _) => "no node was configured with any".to_owned(),
        (true, ..) => "all were".to_owned(),
        (false, ..) => format!("nobody asked {}", some(&left)),
    };
    let next = "name every member with --at, or none: then all are found";
    let is_well = left.is_empty() && !answered.is_empty();
    Check { what: "members are asked", is_well, found, next }
}

fn groups(all: &[Seen]) -> usize {
    all.iter().map(|seen| seen.applied.len()).max().unwrap_or(0)
}

fn is_led(all: &[Seen]) -> Check {
    let led = led(all);
    let groups = groups(all) as u32;
    let lacking: Vec<u32> = (1..=groups).filter(|group| !led.contains(group)).collect();
    let found = match (groups, lacking.is_empty()) {
        (0, _) => NOT_TOLD.to_owned(),
        (_, true) => format!("{groups} of {groups}"),
        (_, false) => format!("none of these nodes leads {}", some(&lacking)),
    };
    let next = "name all nodes with --at; a group without a majority of its nodes takes no writes";
    Check { what: "groups are led", is_well: groups > 0 && lacking.is_empty(), found, next }
}

/// Every node leads a group, or knows who does: otherwise nothing of it is served there. One that was
/// told of wrong members knows nobody.
fn finds_leaders(at: &[SocketAddr], all: &[Seen]) -> Check {
    let groups = groups(all);
    let lost = |(at, seen): (&SocketAddr, &Seen)| {
        let known = seen.leads.len() + seen.heard.len();
        let held = seen.applied.len();
        (known < held).then(|| format!("{at} knows no leader of {} of {groups}", held - known))
    };
    let lost: Vec<String> = at.iter().zip(all).filter_map(lost).collect();
    let found = match (groups, lost.is_empty()) {
        (0, _) => NOT_TOLD.to_owned(),
        (_, true) => "all do".to_owned(),
        (_, false) => some(&lost),
    };
    let next =
        "ask again; if it stays, compare what it was told of the members: trilith ctl config";
    Check { what: "nodes know leaders", is_well: groups > 0 && lost.is_empty(), found, next }
}

/// Every node has a replica of every group. Who does not answer at all is not told of twice.
fn holds_all(at: &[SocketAddr], all: &[Seen]) -> Check {
    let groups = groups(all);
    let lacks = |(at, seen): (&SocketAddr, &Seen)| {
        let held = seen.applied.len();
        (seen.who.is_some() && held < groups).then(|| format!("{at} told of {held} of {groups}"))
    };
    let lacking: Vec<String> = at.iter().zip(all).filter_map(lacks).collect();
    let found = match (groups, lacking.is_empty()) {
        (0, _) => NOT_TOLD.to_owned(),
        (_, true) => "all do".to_owned(),
        (_, false) => some(&lacking),
    };
    let next = "ask again with a larger --within-ms; see that node's log";
    let is_well = groups > 0 && lacking.is_empty();
    Check { what: "nodes hold all groups", is_well, found, next }
}

/// A replica has by now what another one had before.
fn keeps_up(at: &[SocketAddr], before: &[Seen], all: &[Seen]) -> Check {
    let most = |group| before.iter().filter_map(|seen| seen.applied.get(group)).max().copied();
    let late = |(at, seen): (&SocketAddr, &Seen)| {
        let lacks = |(group, applied): (usize, &u64)| {
            (most(group).unwrap_or(0).saturating_sub(*applied), group + 1)
        };
        let (worst, group) = seen.applied.iter().enumerate().map(lacks).max()?;
        (worst > LATE).then(|| format!("{at} lacks {worst} entries of group {group}"))
    };
    let late: Vec<String> = at.iter().zip(all).filter_map(late).collect();
    let is_told = groups(all) > 0;
    let found = match (is_told, late.is_empty()) {
        (false, _) => NOT_TOLD.to_owned(),
        (_, true) => "all do".to_owned(),
        (_, false) => some(&late),
    };
    let next =
        "ask again: a smaller number is a replica that catches up; else see its disk and its log";
    Check { what: "replicas keep up", is_well: is_told && late.is_empty(), found, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trilith_engine::types::{NodeId, Uuid};
    use trilith_net::peer::hello::Identity;

    fn seen(node: u64, leads: &[u32], applied: &[u64]) -> Seen {
        let (cluster, directory) = (Uuid::default(), Uuid::default());
        let who = Some(Identity { cluster, node: NodeId(node), directory });
        // Of the others it has heard.
        let others = (1..=applied.len() as u32).filter(|group| !leads.contains(group));
        let heard = others.map(|group| (group, NodeId(3 - node.min(2)))).collect();
        Seen { who, leads: leads.to_vec(), applied: applied.to_vec(), heard, ..Seen::default() }
    }

    /// What is not well.
    fn ill(all: &[Seen]) -> Vec<(&'static str, String)> {
        let at: Vec<SocketAddr> =
            (1..=all.len() as u16).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let ill = checks(&at, all, all).into_iter().filter(|check| !check.is_well);
        ill.map(|check| (check.what, check.found)).collect()
    }

    #[test]
    fn what_is_not_well_is_named() {
        assert_eq!(ill(&[seen(1, &[1], &[5, 9]), seen(2, &[2], &[5, 8])]), []);
        let lacks = [seen(1, &[1], &[5, 9, 1, 1, 1, 1]), seen(2, &[], &[5, 8, 1, 1, 1, 1])];
        let found = "none of these nodes leads 2, 3, 4 and 2 more".to_owned();
        assert_eq!(ill(&lacks), [("groups are led", found)]);
        let late = [seen(1, &[1], &[20_000]), seen(2, &[], &[9_999])];
        let found = "127.0.0.1:2 lacks 10001 entries of group 1".to_owned();
        assert_eq!(ill(&late), [("replicas keep up", found)]);
        let (late, now) = ([seen(2, &[1], &[20_000])], [seen(2, &[1], &[9_999])]);
        let at = ["127.0.0.1:2".parse().expect("an address")];
        assert!(!keeps_up(&at, &late, &now).is_well, "it has not what it had");
        assert!(keeps_up(&at, &now, &late).is_well, "it has more than anybody had");
        let fewer = [seen(1, &[1, 2], &[5, 9]), seen(2, &[], &[5])];
        let found = "127.0.0.1:2 told of 1 of 2".to_owned();
        assert_eq!(ill(&fewer), [("nodes hold all groups", found)]);
        let twice = [seen(1, &[1], &[1]), seen(1, &[], &[1])];
        let found = "node 1 is at 127.0.0.1:1, 127.0.0.1:2".to_owned();
        assert_eq!(ill(&twice), [("each node once", found)]);
        // Who was not asked may lead, as others have heard; not who says that he does not.
        let hears = |of: u64| Seen { heard: [(1, NodeId(of))].into(), ..seen(2, &[], &[1]) };
        assert_eq!(ill(&[hears(3)]), []);
        assert_eq!(ill(&[hears(3), seen(1, &[], &[1])]), []);
        let found = "none of these nodes leads 1".to_owned();
        assert_eq!(ill(&[hears(1), seen(1, &[], &[1])]), [("groups are led", found.clone())]);
        let gone = || Seen { trouble: Some("gone".into()), ..Seen::default() };
        assert!(ill(&[hears(3), gone()]).contains(&("groups are led", found)));
        let silent = Seen { trouble: Some("connection refused".into()), ..Seen::default() };
        let found = "127.0.0.1:2: connection refused".to_owned();
        assert_eq!(ill(&[seen(1, &[1], &[1]), silent]), [("nodes answer", found)]);
        let members = |of: &[u64]| {
            let at = |node: &u64| (NodeId(*node), ([127, 0, 0, 1], 6 + *node as u16).into());
            Some(of.iter().map(at).collect::<Vec<_>>())
        };
        let one = |of| Seen { members: members(of), ..seen(1, &[1], &[1]) };
        // By whatever address a member was asked.
        assert_eq!(ill(&[one(&[1, 2]), seen(2, &[], &[1])]), []);
        let found = "nobody asked node 2 at 127.0.0.1:8".to_owned();
        assert_eq!(ill(&[one(&[1, 2])]), [("members are asked", found)]);
        // He hears of nobody who leads, so he can serve nothing.
        let alone = Seen { heard: BTreeMap::new(), ..seen(2, &[], &[1]) };
        let found = "127.0.0.1:2 knows no leader of 1 of 1".to_owned();
        assert_eq!(ill(&[seen(1, &[1], &[1]), alone]), [("nodes know leaders", found)]);
        let nobody = ill(&[gone()]);
        assert_eq!(nobody.len(), checks(&[], &[], &[]).len(), "nothing is known: {nobody:?}");
    }
}
