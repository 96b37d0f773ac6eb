//! Stories of snapshots: who sends one, and what happens when somebody is lost amid.
//!
//! Each is told once as it is, and once with the planted bug that breaks it. A replica is away until
//! the others have compacted what it lacks; what it needs then is several pieces long.
//!
//! Not here: whether Raft wants one (`raft::tests`), disks without room for one (`full.rs`).

use std::collections::BTreeSet;

use bytes::Bytes;
use trilith_engine::{
    command::Outcome,
    packet::{Chunk, Packet, SnapshotAsk, SnapshotId},
    raft::EntryId,
    shard::{Inbound, ShardOptions},
    types::{GroupId, Index, NodeId as Member, ReplicaId},
};
use trilith_sim::{
    subject::cluster::number,
    world::{NodeId, WorldOptions},
};

use crate::stage::{Piece, SECOND, Stage, set, small};

const KIB: usize = 1 << 10;
const GROUP: GroupId = GroupId(1);

/// A cluster with a replica that needs a snapshot as soon as the others reach it.
struct Late {
    stage: Stage,
    nodes: Vec<u32>,
    leader: u32,
    behind: u32,
}

impl Late {
    fn new(nodes: u32, bugs: &[&str]) -> Self {
        let shard = ShardOptions { retain_bytes: 32 << 10, ..small() };
        let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
        let options = WorldOptions { planted, ..WorldOptions::default() };
        let mut stage = Stage::with(nodes, &shard, options);
        let leader = stage.leader();
        let behind = (leader + 1) % nodes;
        stage.part(behind);
        let others: Vec<u32> = (0..nodes).filter(|node| *node != behind).collect();
        for _ in 0..2 {
            let value = Bytes::from(vec![b'x'; 16 * KIB]);
            let writes = (0..200).map(|nth| set(format!("key{nth:03}"), value.clone())).collect();
            let answers = stage.ask(&others, writes, 30 * SECOND);
            assert!(answers.iter().all(is_done));
        }
        stage.world.run_for(2 * SECOND);
        assert_eq!(stage.leader(), leader);
        Self { stage, nodes: (0..nodes).collect(), leader, behind }
    }

    /// The others of which one may be asked to send.
    fn sources(&self) -> Vec<u32> {
        let is_other = |node: &u32| *node != self.leader && *node != self.behind;
        self.nodes.iter().copied().filter(is_other).collect()
    }

    fn is_there(&self) -> bool {
        self.stage.has_met("shard_snapshot_installed")
    }

    /// Lets the replica need it, and runs until so many pieces are on their way. Who sends them.
    fn begin(&mut self, pieces: usize) -> u32 {
        self.stage.join(self.behind);
        for _ in 0..20_000 {
            let sent = self.stage.pieces();
            if distinct(&sent).len() >= pieces {
                assert!(!self.is_there(), "it was over sooner than was meant");
                return sent.last().expect("some").node;
            }
            self.stage.world.run_for(SECOND / 2000);
        }
        panic!("nobody sends a snapshot");
    }

    /// Whether the replica has it within so many seconds.
    fn arrives(&mut self, within: u32) -> bool {
        for _ in 0..within * 10 {
            if self.is_there() {
                break;
            }
            self.stage.world.run_for(SECOND / 10);
        }
        self.stage.assert_no_panic();
        self.is_there()
    }

    /// Whether the replica counts: these nodes commit nothing without it.
    fn counts_with(&mut self, nodes: &[u32]) -> bool {
        for node in self.nodes.clone() {
            if node != self.behind && !nodes.contains(&node) {
                self.stage.world.power_loss(NodeId(node));
            }
        }
        let mut asked = nodes.to_vec();
        asked.push(self.behind);
        let last = vec![set("last".into(), Bytes::new())];
        is_done(&self.stage.ask(&asked, last, 30 * SECOND)[0])
    }
}

fn is_done(answer: &Option<Outcome>) -> bool {
    matches!(answer, Some(Outcome::Ok(_)))
}

/// Pieces without those that were sent again.
fn distinct(pieces: &[Piece]) -> BTreeSet<(SnapshotId, u64)> {
    pieces.iter().map(|piece| (piece.id, piece.offset)).collect()
}

/// Which sendings there were.
fn sendings(pieces: &[Piece]) -> BTreeSet<SnapshotId> {
    pieces.iter().map(|piece| piece.id).collect()
}

/// Who sends the snapshot when all are well.
fn who_sends(bugs: &[&str]) -> (bool, BTreeSet<bool>) {
    let mut late = Late::new(3, bugs);
    late.begin(1);
    let arrives = late.arrives(20);
    let pieces = late.stage.pieces();
    let leads = pieces.iter().map(|piece| piece.node == late.leader).collect();
    let counts = late.counts_with(&[late.leader]);
    (arrives && counts, leads)
}

#[test]
fn a_follower_sends_what_the_leader_is_spared() {
    assert_eq!(who_sends(&[]), (true, BTreeSet::from([false])));
}

#[cfg(feature = "mutants")]
#[test]
fn a_leader_that_sends_everything_is_noticed() {
    assert_eq!(who_sends(&["shard_only_the_leader_sends"]), (true, BTreeSet::from([true])));
}

/// The link between source and receiver is lost amid, for a while.
#[test]
fn a_lost_link_costs_one_piece() {
    let mut late = Late::new(3, &[]);
    let source = late.begin(3);
    late.stage.world.cut_both(NodeId(source), NodeId(late.behind));
    late.stage.world.run_for(5 * SECOND);
    assert!(!late.is_there());
    let before = late.stage.pieces();
    late.stage.world.heal_both(NodeId(source), NodeId(late.behind));
    assert!(late.arrives(20));
    let after = late.stage.pieces();
    assert_eq!(sendings(&after).len(), 1, "it was begun again");
    let at = before.last().expect("some").offset;
    let again: Vec<u64> = after[before.len()..].iter().map(|piece| piece.offset).collect();
    assert!(again.len() > 3 && again.iter().all(|offset| *offset >= at), "{at}: {again:?}");
    let news: BTreeSet<u64> = again.iter().copied().collect();
    assert!(again.len() <= news.len() + 2, "pieces were sent again that had arrived: {again:?}");
    assert!(late.counts_with(&[late.leader]));
}

/// The source loses its power amid, and does not come back. Whether the leader sends instead.
fn the_source_dies(bugs: &[&str]) -> bool {
    let mut late = Late::new(3, bugs);
    let source = late.begin(3);
    late.stage.world.power_loss(NodeId(source));
    let leader = late.leader;
    // Sooner than the receiver loses its patience and says so.
    late.arrives(15)
        && late.stage.has_met("shard_failed_intake_removed")
        && late.stage.pieces().iter().any(|piece| piece.node == leader)
        && late.counts_with(&[leader])
}

#[test]
fn the_leader_sends_what_a_dead_source_began() {
    assert!(the_source_dies(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_leader_that_waits_for_the_dead_is_noticed() {
    assert!(!the_source_dies(&["shard_silent_source_is_waited_for"]));
}

/// The source cannot reach the receiver any more, and the leader can reach both.
fn the_source_is_cut_off(bugs: &[&str]) -> bool {
    let mut late = Late::new(3, bugs);
    let source = late.begin(3);
    late.stage.world.cut_both(NodeId(source), NodeId(late.behind));
    late.arrives(40) && late.stage.has_met("shard_source_refuses")
}

#[test]
fn the_leader_sends_what_its_source_gives_up() {
    assert!(the_source_is_cut_off(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_leader_that_asks_in_vain_for_ever_is_noticed() {
    assert!(!the_source_is_cut_off(&["shard_refusing_source_is_asked_again"]));
}

/// The source cannot read what it is to send.
#[test]
fn the_leader_sends_what_its_source_cannot_read() {
    let mut late = Late::new(3, &[]);
    let source = late.sources()[0];
    late.stage.world.with_platter(NodeId(source), |disk| {
        for file in disk.file_names().iter().filter(|name| name.ends_with(".seg")) {
            for offset in (4096..64 << 10).step_by(512) {
                disk.rot(file, offset, 3);
            }
        }
    });
    late.stage.join(late.behind);
    assert!(late.arrives(40) && late.stage.has_met("shard_snapshot_met_damage"));
    let pieces = late.stage.pieces();
    assert!(pieces.iter().any(|piece| piece.node == late.leader));
}

/// The leader hands over amid and is gone, and neither the source nor the receiver is the next one.
#[test]
fn a_transfer_outlives_its_leader() {
    let mut late = Late::new(5, &[]);
    let source = late.begin(3);
    let next = late.sources().into_iter().find(|node| *node != source).expect("another");
    let to = ReplicaId(number(next).0);
    late.stage.tell(late.leader, vec![Inbound::Transfer(GROUP, to)]);
    for _ in 0..2000 {
        if late.stage.leader() == next {
            break;
        }
        late.stage.world.run_for(SECOND / 2000);
    }
    assert_eq!(late.stage.leader(), next);
    assert!(!late.is_there(), "it was over sooner than was meant");
    late.stage.part(late.leader);
    assert!(late.arrives(20));
    let pieces = late.stage.pieces();
    let behind_first: Vec<Piece> =
        pieces.iter().filter(|piece| piece.offset > 0).copied().collect();
    assert_eq!(sendings(&behind_first).len(), 1, "it was begun again: {pieces:?}");
    assert!(late.counts_with(&[source, next]));
}

/// Somebody else is asked to send the same amid. Which sendings get beyond their first piece.
fn two_are_asked(bugs: &[&str]) -> usize {
    let mut late = Late::new(5, bugs);
    let source = late.begin(3);
    let other = late.sources().into_iter().find(|node| *node != source).expect("another");
    let [from, to] = [other, late.behind].map(|node| ReplicaId(number(node).0));
    let ask = SnapshotAsk { group: GROUP, from, to, at_least: Index(1) };
    late.stage.deliver(number(late.leader), other, Packet::SnapshotAsk(ask));
    assert!(late.arrives(60));
    let pieces = late.stage.pieces();
    assert!(pieces.iter().any(|piece| piece.node == other), "nobody else began");
    let behind_first: Vec<Piece> =
        pieces.iter().filter(|piece| piece.offset > 0).copied().collect();
    assert!(late.stage.has_met("shard_sending_gives_way") || !bugs.is_empty());
    sendings(&behind_first).len()
}

#[test]
fn two_sources_do_not_tear_each_other_down() {
    assert_eq!(two_are_asked(&[]), 1);
}

#[cfg(feature = "mutants")]
#[test]
fn a_transfer_that_is_torn_down_is_noticed() {
    assert_ne!(two_are_asked(&["shard_moving_intake_is_replaced"]), 1);
}

/// The receiver loses its power amid. It begins again, and keeps nothing of what it had.
#[test]
fn a_receiver_that_restarts_begins_again() {
    let mut late = Late::new(3, &[]);
    late.begin(4);
    late.stage.blink(late.behind, SECOND);
    assert!(late.arrives(40));
    let first = late.stage.pieces().iter().filter(|piece| piece.offset == 0).count();
    assert!(first >= 2, "it cannot know what it had");
    assert!(late.counts_with(&[late.leader]));
    let data = |late: &mut Late| {
        late.stage.world.with_platter(NodeId(late.behind), |disk| {
            let names = disk.file_names().into_iter();
            names.filter(|name| name.starts_with("d/")).collect::<BTreeSet<String>>()
        })
    };
    late.stage.world.run_for(5 * SECOND);
    let kept = data(&mut late);
    // Opening removes what nobody lists.
    late.stage.blink(late.behind, 5 * SECOND);
    assert!(kept.is_subset(&data(&mut late)), "it kept what belongs to nothing");
}

/// A replica is asked for more than it has, and for what it has. How many pieces it sent.
fn asked_for_more(bugs: &[&str]) -> [usize; 2] {
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    let options = WorldOptions { planted, ..WorldOptions::default() };
    let mut stage = Stage::with(3, &small(), options);
    let leader = stage.leader();
    stage.ask_each(&[0, 1, 2], vec![set("a".into(), Bytes::new())]);
    stage.world.run_for(SECOND);
    let (source, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let [from, to] = [source, third].map(|node| ReplicaId(number(node).0));
    let mut ask = |at_least| {
        let ask = SnapshotAsk { group: GROUP, from, to, at_least: Index(at_least) };
        stage.deliver(number(leader), source, Packet::SnapshotAsk(ask));
        stage.world.run_for(5 * SECOND);
        stage.assert_no_panic();
        stage.pieces().len()
    };
    let answers = [ask(1 << 40), ask(1)];
    // Said to whom it was not meant for, it is nothing.
    let ask = SnapshotAsk { group: GROUP, from: to, to: from, at_least: Index(1) };
    stage.deliver(number(leader), source, Packet::SnapshotAsk(ask));
    stage.world.run_for(SECOND);
    assert!(stage.has_met("shard_snapshot_asked_of_another"));
    answers
}

#[test]
fn a_source_sends_no_less_than_it_was_asked_for() {
    assert_eq!(asked_for_more(&[]), [0, 1]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_source_that_lacks_what_it_sends_is_noticed() {
    assert_ne!(asked_for_more(&["shard_source_sends_what_is_older"])[0], 0);
}

/// A piece comes from a node that is not the one of the replica that it names. Whether a receiver
/// began with it.
fn a_stranger_sends(bugs: &[&str]) -> bool {
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    let options = WorldOptions { planted, ..WorldOptions::default() };
    let mut stage = Stage::with(3, &small(), options);
    let (from, to, at) = (ReplicaId(1), ReplicaId(2), EntryId::new(1, 1 << 40));
    let id = SnapshotId { group: GROUP, from, to, at, sending: 1 };
    let bytes = Bytes::from_static(b"harm");
    let chunk = Chunk { id, offset: 0, bytes, crc: 0, is_last: true };
    stage.deliver(Member(77), 1, Packet::Chunk(chunk));
    stage.world.run_for(SECOND);
    stage.ask_each(&[0, 1, 2], vec![set("a".into(), Bytes::new())]);
    stage.assert_no_panic();
    stage.has_met("shard_failed_intake_removed")
}

#[test]
fn what_a_stranger_sends_is_refused() {
    assert!(!a_stranger_sends(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_receiver_that_takes_anything_is_noticed() {
    assert!(a_stranger_sends(&["shard_chunk_of_a_stranger_taken"]));
}
