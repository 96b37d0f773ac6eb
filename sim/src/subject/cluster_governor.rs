//! A governor who cannot make up his mind: leaders are moved, votes taken away and given back.
//!
//! He sits at every node and knows nothing: most of what he asks for is refused, because another
//! node leads or because the last change is not over. What is done must not be noticed by anybody
//! but the judge of what replicas may do.
//!
//! Not here: replicas that leave for good or join (they come with a directory of their own).

use std::time::Duration;

use trilith_engine::{
    mark,
    raft::{Change, Step},
    runtime::{Clock, Rng, Runtime},
    shard::{ChangeOfMembers, Inbound},
    types::{GroupId, ReplicaId},
};
use trilith_net::node::Remote;

use crate::os::SimRuntime;

/// The longest he thinks about something.
const THINKS_MS: u64 = 1500;

/// Governs the groups of one node until the world has this time.
pub async fn govern(rt: &SimRuntime, remote: &Remote, nodes: u32, groups: u32, until: Duration) {
    let mut luck = rt.rng("government");
    loop {
        let thinks = Duration::from_millis(luck.range(20..THINKS_MS));
        rt.clock().sleep_until(rt.clock().now() + thinks).await;
        if Duration::from_nanos(rt.true_time_ns()) >= until {
            return;
        }
        let group = GroupId(luck.range(1..u64::from(groups) + 1) as u32);
        let order = match luck.range(0..6) {
            0 => Inbound::Campaign(group),
            1 => Inbound::Transfer(group, replica(&mut luck, nodes)),
            2 => Inbound::Leave(group),
            _ => Inbound::Change(group, change(&mut luck, nodes)),
        };
        mark!("cluster: the governor wants something");
        if !remote.tell(order).await {
            return;
        }
    }
}

fn replica(luck: &mut impl Rng, nodes: u32) -> ReplicaId {
    ReplicaId(luck.range(1..u64::from(nodes) + 1))
}

/// One or two replicas lose or get their vote; now and then what is in between is to be left by hand.
fn change(luck: &mut impl Rng, nodes: u32) -> ChangeOfMembers {
    let mut steps = Vec::new();
    for _ in 0..luck.range(0..3) {
        let id = replica(luck, nodes);
        let is_there = steps
            .iter()
            .any(|step| matches!(step, Step::Promote(one) | Step::Demote(one) if *one == id));
        if !is_there {
            steps.push(if luck.chance(2, 5) { Step::Demote(id) } else { Step::Promote(id) });
        }
    }
    ChangeOfMembers { change: Change { steps, leaves_alone: luck.chance(2, 3) }, seats: vec![] }
}
