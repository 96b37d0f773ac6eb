//! Which bugs are planted, room by room, and who hunts each.
//!
//! An entry is a name, as in `planted!`, and what it breaks: `planted(name, breaks).by(hunters)`.
//! Who hunts several stands here under a word of its own, which says what the hunt does.
//!
//! Not here: how a hunt goes (`mutants.rs`), the bugs of the toy (`subject/toy.rs`).

mod journal;
mod net;
mod raft;
mod shard;
mod store;
mod world;

use super::{Hunters, Mutant};
use crate::subject::toy::Bug;

/// A bug that is planted in a room.
struct Planted {
    name: &'static str,
    breaks: &'static str,
    hunters: Hunters,
}

const fn planted(name: &'static str, breaks: &'static str) -> Planted {
    Planted { name, breaks, hunters: scenarios(&[]) }
}

impl Planted {
    const fn by(self, hunters: Hunters) -> Self {
        Self { hunters, ..self }
    }
}

const fn scenarios(names: &'static [&'static str]) -> Hunters {
    Hunters::Scenarios(names)
}

/// A test in `sim/tests/`, in that target.
const fn story(target: &'static str, name: &'static str) -> Hunters {
    Hunters::Story(target, name)
}

/// A story of whole nodes.
const fn groups(name: &'static str) -> Hunters {
    story("groups", name)
}

/// A target of the fuzzer.
const fn fed(name: &'static str) -> Hunters {
    story("fuzz", name)
}

/// The laws of the world.
const LAWS: Hunters = Hunters::Laws;

/// The stories and lives of its own room.
const ROOM: Hunters = Hunters::Room;

/// A store works while its disk fails, and readers and chores run between.
const STORING: Hunters = scenarios(&[
    "readers_and_chores_run_between_the_steps_of_a_commit",
    "the_store_runs_on_a_failing_disk",
]);

/// A store is crashed, most of all inside its writes.
const CRASHING: Hunters = scenarios(&[
    "the_store_is_crashed_inside_its_writes",
    "the_store_on_a_bad_disk",
    "a_store_is_its_model_through_crashes",
]);

/// A disk damages what the journal rests on.
const DAMAGING: Hunters = scenarios(&["damage_is_aimed_at_what_a_journal_rests_on"]);

/// A recovery is interrupted.
const OPENING: Hunters = scenarios(&["the_power_goes_again_while_a_store_opens"]);

/// Much that was not synced is lost.
const LOSING_POWER: Hunters = scenarios(&["a_small_store_loses_its_power_all_the_time"]);

/// Nodes are linked through everything.
const LINKING: Hunters =
    scenarios(&["links_survive_everything", "strangers_knock_at_the_peer_port"]);

/// Strangers come, also where a secret is asked for.
const STRANGERS: Hunters = scenarios(&["strangers_knock_at_the_peer_port"]);

/// Replicated groups live through everything.
const CLUSTERS: Hunters = scenarios(&[
    "a_cluster_is_governed",
    "a_cluster_lives_through_everything",
    "a_cluster_loses_its_memory_again_and_again",
    "a_cluster_meets_a_bad_network",
]);

/// Nodes lose their directories.
const REPLACING: Hunters = scenarios(&["a_cluster_loses_disks_and_gets_new_ones"]);

/// Replicas differ.
const PARTING: Hunters = scenarios(&["replicas_compare_their_states"]);

/// Disks rot under a cluster.
const ROTTING: Hunters = scenarios(&["rotten_journals_mend_from_their_neighbours"]);

/// Disks are full.
const FILLING: Hunters =
    scenarios(&["disks_fill_up_and_have_room_again", "a_small_disk_is_enough_for_small_data"]);

/// A disk is slow.
const PACING: Hunters = scenarios(&["a_slow_disk_does_not_lead"]);

/// Clocks are wrong and keys are to be over.
const AGEING: Hunters = scenarios(&["clocks_of_a_minority_are_ahead"]);

/// Whoever reads is told how old it is.
const GLANCING: Hunters = scenarios(&["readers_are_told_how_old_it_is"]);

/// Clients deal in transactions.
const DEALING: Hunters = scenarios(&["transactions_are_one_moment"]);

/// Clients speak Redis.
const SPEAKING: Hunters = scenarios(&["redis_clients_are_served_through_everything"]);

/// Clients speak HTTP.
const BROWSING: Hunters = scenarios(&["http_clients_are_served_through_everything"]);

/// Clients speak the text protocol.
const TYPING: Hunters = scenarios(&["text_clients_are_served_through_everything"]);

/// What is planted in which room.
const ROOMS: [(&str, &[Planted]); 12] = [
    ("resp", net::RESP),
    ("http", net::HTTP),
    ("text", net::TEXT),
    ("journal", journal::JOURNAL),
    ("world", world::WORLD),
    ("value", store::VALUE),
    ("shard", shard::SHARD),
    ("raft", raft::RAFT),
    ("store", store::STORE),
    ("lone", store::LONE),
    ("peer", net::PEER),
    ("backup", net::BACKUP),
];

/// All of them: the toy's, then the planted ones.
#[must_use]
pub fn catalogue() -> Vec<Mutant> {
    let toys = Bug::ALL.iter().map(|bug| Mutant {
        name: bug.name(),
        room: "toy",
        breaks: bug.breaks(),
        hunters: scenarios(toy_hunts(*bug)),
    });
    let planted = ROOMS.iter().flat_map(|&(room, bugs)| {
        bugs.iter().map(move |&Planted { name, breaks, hunters }| Mutant {
            name,
            room,
            breaks,
            hunters,
        })
    });
    toys.chain(planted).collect()
}

/// The scenarios that hunt a bug of the toy.
const fn toy_hunts(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::BackupAckBeforeSync
        | Bug::AckBeforeQuorum
        | Bug::CommitOnTimeout
        | Bug::BlankStartsEmpty
        | Bug::GatherTooFew => &["the_primary_loses_its_disk"],
        Bug::IgnorePrepareOrder => &["the_primary_is_cut_off_and_loses_its_disk"],
        Bug::WireChecksumIgnored => &["bits_flip_on_the_wire"],
        Bug::WallClockOrder => &["clocks_go_wrong"],
        _ => &["everything_goes_wrong_at_once", "a_cluster_loses_its_power"],
    }
}
