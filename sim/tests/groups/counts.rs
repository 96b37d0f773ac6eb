//! A story of what nodes count: each thing that happens is to be seen where it happened.
//!
//! Not here: names and text (`net/tests/doors`), that nothing falls (`cluster_measures`).

use bytes::Bytes;
use trilith_engine::{
    command::Op,
    shard::{Counts, Family, Roles},
};
use trilith_sim::{subject::cluster::number, world::NodeId};

use crate::stage::{SECOND, Stage, set, small};

#[test]
fn what_happens_is_counted_where_it_happens() {
    let mut stage = Stage::new(3, &small());
    let leader = stage.leader();
    let (behind, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let value = Bytes::from(vec![b'x'; 16 << 10]);
    let writes = |name: &str, count: u32| -> Vec<Op> {
        (0..count).map(|nth| set(format!("{name}{nth}"), value.clone())).collect()
    };
    stage.part(behind);
    for _ in 0..2 {
        let answers = stage.ask(&[leader, third], writes("a", 200), 30 * SECOND);
        assert!(answers.iter().all(Option::is_some));
    }
    stage.world.run_for(3 * SECOND);

    let led = stage.shown(leader);
    let asks = led.counts.asks[Family::Write as usize];
    assert_eq!((asks.outcomes.done, asks.outcomes.unknown), (400, 0));
    assert_eq!(asks.took.count(), 400);
    assert!(led.counts.proposed == 400 && led.counts.committed >= 400, "{:?}", led.counts);
    assert!(led.counts.applied >= 400 && led.counts.led == 1, "{:?}", led.counts);
    let journal = led.counts.journal;
    assert!(journal.frames > 10 && journal.records >= 400 && journal.rotations > 5, "{journal:?}");
    assert!(journal.frame_bytes > 400 << 14 && journal.edits > 0, "{journal:?}");
    assert!(journal.syncs.count() > journal.frames / 2, "{journal:?}");
    assert!(journal.writes.count() == journal.frames, "{journal:?}");
    assert!(led.counts.compactions > 0 && led.counts.segments_dropped > 0, "{:?}", led.counts);
    assert!(led.journal.segments > 0 && led.journal.file_bytes > 200 << 14, "{:?}", led.journal);
    assert_eq!((led.sizes.keys.now, led.roles), (200, Roles { leaders: 1, ..Roles::default() }));
    assert!(led.lacking[&number(behind)] >= 400, "{:?}", led.lacking);
    assert_eq!(led.lacking[&number(third)], 0, "{:?}", led.lacking);
    assert!(led.clocks_ahead_ms.contains_key(&number(third)), "{:?}", led.clocks_ahead_ms);
    let alone = stage.shown(behind);
    assert_eq!(alone.roles, Roles { leaderless: 1, ..Roles::default() });

    stage.join(behind);
    stage.world.run_for(15 * SECOND);
    let senders = [stage.shown(leader), stage.shown(third)];
    let sent: u64 = senders.iter().map(|shown| shown.counts.snapshots_sent).sum();
    assert!(sent > 0 && senders.iter().all(|one| one.counts.snapshots_begun < 3), "{sent}");
    let back = stage.shown(behind);
    assert!(back.counts.snapshots_installed > 0, "{:?}", back.counts);
    assert_eq!((back.roles.followers, back.sizes.keys.now, back.unapplied), (1, 200, 0));

    stage.ask_each(&[leader, third], writes("b", 1));
    // Back at once, it would be elected again.
    stage.world.power_loss(NodeId(leader));
    stage.world.run_for(3 * SECOND);
    stage.world.start(NodeId(leader));
    stage.world.run_for(7 * SECOND);
    stage.ask_each(&[behind, third], writes("c", 1));
    stage.world.run_for(SECOND);
    let others = [stage.shown(behind), stage.shown(third)];
    let of = |count: fn(&Counts) -> u64| -> u64 {
        others.iter().map(|shown| count(&shown.counts)).sum()
    };
    assert!(of(|counts| counts.led) == 1 && of(|counts| counts.campaigns) >= 1, "{others:?}");
    assert!(of(|counts| counts.compared) > 0 && of(|counts| counts.differed) == 0, "{others:?}");
    let anew = stage.shown(leader);
    assert!(anew.counts.proposed == 0 && anew.counts.turns > 0, "a life begins with nothing");
    stage.assert_no_panic();
}
