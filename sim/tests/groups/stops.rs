//! Stories of nodes that are told to end.
//!
//! Not here: what a stop in order hands over under faults (`scenarios/random`).

use trilith_engine::shard::Inbound;
use trilith_sim::world::{NodeId, Status};

use crate::{
    full::planted,
    stage::{SECOND, Stage, append, small},
};

/// All nodes of a cluster are told to end, and whoever ends last has nobody to hand over to. Whether all of them
/// have ended well before an election's timeout is over.
fn all_end_at_once(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    stage.ask_each(&[0, 1, 2], vec![append("a", "b")]);
    for node in 0..3 {
        stage.tell(node, vec![Inbound::Stop]);
    }
    stage.world.run_for(SECOND / 3);
    stage.assert_no_panic();
    (0..3).all(|node| stage.world.status(NodeId(node)) == Status::Dead)
}

/// The last leader tried voters that were gone, until it was none any more.
#[test]
fn who_ends_last_waits_for_nobody() {
    assert!(all_end_at_once(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn who_ends_last_and_waits_for_who_is_gone_is_noticed() {
    assert!(!all_end_at_once(&["shard_hands_over_to_who_is_gone"]));
}
