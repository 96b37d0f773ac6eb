//! The catalogue of bugs we put in ourselves, to see that they are found.
//!
//! A simulator that finds nothing is either pointed at correct code or blind, and from outside the
//! two look the same. So every step that a promise rests on is taken away once, by a switch, and
//! the regular scenarios must notice. A mutant that nobody catches within its budget is a bug of
//! the simulator: a fault that is not injected, a judge that does not look, a load that never goes
//! there.
//!
//! Two kinds of switches: the toy's bugs are options of the toy and exist in every build; those of
//! the engine, the net and the world are `planted!("name")` in the code and exist only in a build
//! with the feature `mutants`. A test reads all sources and demands that each planted name stands
//! here, and the other way round.
//!
//! How a hunt goes: the mutant's scenarios take turns, one seed each, until a judge refuses one;
//! that is repeated from other seeds, and the median of the seeds needed is the figure.
//!
//! Not here: what the switches do (beside the code they break), the table (`sim/docs/mutants.md`).

use crate::subject::toy::Bug;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name, as in `planted!`.
    pub name: &'static str,
    /// Where it lives.
    pub room: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
    /// The scenarios that hunt it, by name.
    pub hunts: &'static [&'static str],
}

impl Mutant {
    /// Whether it exists in every build, as an option of the toy.
    #[must_use]
    pub fn is_toy(&self) -> bool {
        self.name.parse::<Bug>().is_ok()
    }

    /// Whether the world's own laws hunt it (`world/laws.rs`), and no scenario.
    #[must_use]
    pub fn is_of_the_world(&self) -> bool {
        self.room == "world"
    }

    /// Whether this build can switch it on.
    #[must_use]
    pub fn is_available(&self) -> bool {
        cfg!(feature = "mutants") || self.is_toy()
    }
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

/// Who hunts the planted bugs of the store.
const STORE_HUNTS: &[&str] =
    &["readers_and_chores_run_between_the_steps_of_a_commit", "the_store_runs_on_a_failing_disk"];

/// Who hunts the planted bugs of the journal.
const JOURNAL_HUNTS: &[&str] = &[
    "the_store_is_crashed_inside_its_writes",
    "the_store_on_a_bad_disk",
    "a_store_is_its_model_through_crashes",
];

/// Who hunts the planted bugs of the links.
const PEER_HUNTS: &[&str] = &["links_survive_everything", "strangers_knock_at_the_peer_port"];

const fn planted(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    let hunts = match room.as_bytes() {
        b"journal" => JOURNAL_HUNTS,
        b"peer" => PEER_HUNTS,
        _ => STORE_HUNTS,
    };
    Mutant { name, room, breaks, hunts }
}

/// Who hunts the planted bugs of the journal that show only on a damaged disk.
const DAMAGE_HUNTS: &[&str] = &["damage_is_aimed_at_what_a_journal_rests_on"];

const fn damaging(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "journal", breaks, hunts: DAMAGE_HUNTS }
}

/// Who hunts what shows only when a recovery is interrupted.
const OPENING_HUNTS: &[&str] = &["the_power_goes_again_while_a_store_opens"];

/// Who hunts what shows only when much that was not synced is lost.
const POWER_HUNTS: &[&str] = &["a_small_store_loses_its_power_all_the_time"];

/// Who hunts what shows when replicas differ.
const PARTING: &[&str] = &["replicas_compare_their_states"];

/// Who hunts what shows when disks rot under a cluster.
const ROTTING: &[&str] = &["rotten_journals_mend_from_their_neighbours"];

const fn rotting(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunts: ROTTING }
}

const fn parting(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunts: PARTING }
}

/// Who hunts what shows when a disk is slow.
const PACING: &[&str] = &["a_slow_disk_does_not_lead"];

const fn pacing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunts: PACING }
}

/// Who hunts what shows when whoever reads is told how old it is.
const GLANCING: &[&str] = &["readers_are_told_how_old_it_is"];

const fn glancing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunts: GLANCING }
}

/// The scenarios that hunt what shows only when nodes lose their directories.
const REPLACING: &[&str] = &["a_cluster_loses_disks_and_gets_new_ones"];

const fn replacing(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunts: REPLACING }
}

/// The scenarios that hunt the bugs of replicated groups.
const CLUSTERS: &[&str] = &[
    "a_cluster_lives_through_everything",
    "a_cluster_loses_its_memory_again_and_again",
    "a_cluster_meets_a_bad_network",
];

const fn clustered(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunts: CLUSTERS }
}

/// Who hunts the planted bugs of the world: its own laws, no scenario.
const LAWS: &[&str] = &["laws"];

const fn of_world(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "world", breaks, hunts: LAWS }
}

/// The planted bugs of the engine and the world.
///
/// Of a journal that its owner settles: nothing in the world owns one yet; until a subject does, all
/// crashes of short stories hunt these (`sim/tests/exhaust.rs`): `"dead_record_in_hints"`,
/// `"encoded_records_not_in_the_directory"`, `"footer_before_settle"`,
/// `"tail_in_the_order_of_numbers"`.
///
/// The planted bugs of the Raft core. Nothing in the world drives the core yet; until a subject
/// does, the room's own tests hunt them (`engine/src/raft/tests/mutants.rs`, which says what each
/// breaks):
/// `"raft_ack_before_durable"`, `"raft_append_cuts_always"`, `"raft_append_without_a_check"`,
/// `"raft_apply_before_durable"`, `"raft_base_taken_for_agreement"`,
/// `"raft_campaign_with_unapplied_change"`, `"raft_change_before_own_commit"`, `"raft_committed_change_forgotten"`,
/// `"raft_commit_goes_back"`, `"raft_commit_of_an_old_term"`, `"raft_completion_not_compared"`,
/// `"raft_damaged_entry_counts_as_absent"`, `"raft_damaged_entry_is_acknowledged"`,
/// `"raft_damaged_log_may_lead"`, `"raft_denial_without_a_new_term"`,
/// `"raft_forgetful_replica_votes"`, `"raft_forgotten_promise_is_broken"`,
/// `"raft_full_window_hides_compaction"`, `"raft_heartbeat_commits_beyond_the_match"`,
/// `"raft_ids_are_reused"`, `"raft_joint_needs_one_majority"`, `"raft_lease_never_ends"`,
/// `"raft_old_lease_not_waited_for"`, `"raft_old_snapshot_is_installed"`,
/// `"raft_old_terms_are_believed"`, `"raft_one_denial_discards"`,
/// `"raft_own_copy_before_durable"`, `"raft_own_vote_before_durable"`,
/// `"raft_probe_waits_forever"`, `"raft_quiet_follower_sleeps_on"`, `"raft_quorum_is_half"`,
/// `"raft_quorum_of_unsorted_values"`, `"raft_read_before_own_commit"`,
/// `"raft_read_by_any_answer"`, `"raft_read_without_a_round"`, `"raft_refusal_hides_the_commit"`, `"raft_refusal_teaches_nothing"`,
/// `"raft_removed_leader_stays"`, `"raft_stale_completion_believed"`,
/// `"raft_stale_rejection_believed"`, `"raft_transfer_before_caught_up"`,
/// `"raft_two_changes_at_once"`, `"raft_vote_before_durable"`, `"raft_vote_for_any_log"`,
/// `"raft_votes_twice"`, `"raft_window_has_no_end"`.
///
/// Those of the state machine, for the same reason (`engine/src/store/tests/mutants.rs`):
/// `"store_busy_client_is_forgotten"`, `"store_condition_on_an_older_version"`,
/// `"store_derived_loses_expiry"`, `"store_expired_is_there"`, `"store_floor_falls"`,
/// `"store_forgotten_client_is_new"`, `"store_forgotten_is_refused"`,
/// `"store_repetition_runs_again"`, `"store_reply_of_another"`,
/// `"store_sessions_not_in_the_checkpoint"`, `"store_time_falls"`,
/// `"store_transaction_by_halves"`.
const PLANTED: &[Mutant] = &[
    rotting("shard_any_version_sent", "shard", "a damaged value comes back as a later one"),
    rotting("shard_mended_value_forgotten", "shard", "the copy of a damaged value is never used"),
    planted("no_fsync", "journal", "append answers before the file is synced"),
    planted("ignored_fsync_error", "journal", "a failed sync counts as a sync"),
    planted("ack_before_sync", "journal", "records count as durable before their sync"),
    planted("no_fsync_data_segment", "journal", "a data segment is added to the manifest unsynced"),
    planted("no_fsync_manifest", "journal", "a new manifest is renamed unsynced"),
    planted("edit_not_synced", "journal", "an edit of the manifest is acted on before its sync"),
    Mutant {
        hunts: OPENING_HUNTS,
        ..planted("no_dir_sync_manifest", "journal", "the name of a new manifest is not synced")
    },
    planted("no_dir_sync_current", "journal", "the rename of CURRENT is not synced"),
    planted("no_dir_sync_segment", "journal", "the name of a new journal segment is not synced"),
    planted("no_dir_sync_data_segment", "journal", "the name of a data segment is not synced"),
    planted("no_dir_sync_recycle", "journal", "the rename of a recycled segment is not synced"),
    planted(
        "current_renamed_without_sync",
        "journal",
        "CURRENT is renamed into place before its bytes are synced",
    ),
    planted("rewrite_without_sync", "journal", "a rewritten file replaces the old one unsynced"),
    planted("rotate_without_sync", "journal", "rotation leaves the old segment's tail unsynced"),
    damaging("seal_before_sync", "a segment is sealed before its footer is synced"),
    planted(
        "segment_used_before_its_edit",
        "journal",
        "a segment is written before the manifest lists it",
    ),
    damaging("header_not_checked", "headers are believed without their checksum"),
    damaging("header_of_another_segment", "a header of another segment or store is believed"),
    damaging("unlisted_taken_for_orphan", "a segment that the manifest has forgotten is removed"),
    planted("torn_tail_kept", "journal", "a torn frame is kept when its header is whole"),
    planted("manifest_edit_after_rename", "journal", "CURRENT names a manifest not yet written"),
    damaging("frame_crc_without_position", "a frame verifies wherever it stands"),
    damaging("frame_body_not_checked", "the body of a frame is believed"),
    damaging("chain_not_checked", "a frame need not follow the one before it"),
    planted("no_record_crc", "journal", "records are served without looking at their checksum"),
    damaging("record_identity_not_checked", "a record is served whatever key it belongs to"),
    damaging("hint_unchecked", "hints are trusted without their checksum"),
    damaging("no_resync", "recovery does not look behind damage"),
    damaging("rot_taken_for_a_tail", "rot in the middle is cut off like a torn tail"),
    damaging("ambiguous_taken_for_torn", "an ambiguous tail is cut off without asking"),
    planted("durable_lsn_too_high", "journal", "frames claim more to be durable than was synced"),
    planted("append_to_old_tail", "journal", "a new life appends into the segment of the old one"),
    planted("recycle_pinned", "journal", "a segment that somebody reads is recycled"),
    planted("recycled_without_zeroing", "journal", "a recycled segment keeps its old bytes"),
    planted("merge_prefers_older", "value", "loading the index takes the older record of a key"),
    of_world("world_reset_crosses_cut", "a peer's reset arrives over a cut link"),
    of_world("world_power_loss_resets", "a power loss resets its connections"),
    of_world("world_no_window", "a stream takes everything at once"),
    of_world("world_connect_waits_on", "a connect ignores its deadline"),
    of_world("world_timer_early", "a sleep ends a millisecond early"),
    of_world("world_pause_ignored", "a held process runs"),
    of_world("world_power_loss_keeps_cache", "a power loss keeps the page cache"),
    of_world("world_sync_skipped", "a sync does nothing and says it did"),
    of_world("world_kill_loses_cache", "a kill loses the page cache"),
    of_world("world_dropped_write_undone", "a dropped write is taken back"),
    planted("tombstone_loaded_as_value", "value", "loading the index takes a deletion for a value"),
    planted("expired_returned", "value", "reads and scans answer values that have expired"),
    planted("install_without_cas", "value", "a moved record replaces a newer one in the index"),
    planted("tombstone_dropped_early", "value", "compaction drops a deletion that still hides"),
    planted("compaction_forgets_a_victim", "value", "one victim's records are dropped uncopied"),
    clustered(
        "shard_settled_before_applied",
        "shard",
        "a segment settles while its entries may still be replaced",
    ),
    clustered(
        "shard_settled_without_a_checkpoint",
        "shard",
        "a segment settles with the newest state of a group in it",
    ),
    clustered(
        "shard_void_entry_recovered",
        "shard",
        "an entry without effect counts after a restart",
    ),
    clustered(
        "shard_void_entry_forgotten",
        "shard",
        "nobody remembers that an entry had no effect",
    ),
    clustered(
        "shard_snapshot_keeps_deleted_keys",
        "shard",
        "installing a snapshot leaves the keys that it has not",
    ),
    clustered("shard_snapshot_checksum_ignored", "shard", "a damaged chunk of a snapshot is taken"),
    clustered(
        "shard_read_before_applied",
        "shard",
        "a read is served before the state has taken what it must see",
    ),
    clustered(
        "shard_unknown_told_as_refused",
        "shard",
        "a leader that loses its place says that nothing happened",
    ),
    clustered("shard_hard_state_not_written", "shard", "terms and votes are not written"),
    clustered(
        "shard_frame_not_synced",
        "shard",
        "entries and votes count as durable before their sync",
    ),
    clustered(
        "shard_victims_dropped_uncovered",
        "shard",
        "compaction drops what an older checkpoint needs",
    ),
    clustered("shard_derived_never_written", "shard", "a computed value has no record"),
    clustered(
        "shard_entry_of_another_place_taken",
        "shard",
        "entries are taken whatever place they name",
    ),
    clustered("shard_applies_blindly", "shard", "one node applies as if no key were there"),
    parting("shard_odd_one_goes_on", "the same, and it goes on when it hears that most differ"),
    glancing("shard_staleness_not_told", "every state is said to be current"),
    glancing("shard_fresh_before_applied", "a state counts as new before it has what makes it so"),
    parting(
        "shard_given_up_comes_back",
        "the same, and it is started again with the state it was stopped for",
    ),
    Mutant {
        room: "peer",
        ..pacing(
            "peer_hung_node_is_vouched_for",
            "links answer for a node that hangs in a read of its disk",
        )
    },
    pacing("shard_never_slow", "a node never finds itself slow"),
    pacing("shard_slow_without_patience", "a node is slow as soon as one moment is"),
    replacing(
        "shard_founds_unwelcomed",
        "shard",
        "a node with an empty directory founds its groups without asking the others",
    ),
    replacing(
        "shard_any_directory_admitted",
        "shard",
        "a member may come back with another directory",
    ),
    replacing(
        "shard_newcomer_not_answered",
        "shard",
        "a replica that is not in the roster yet is not answered, though it leads",
    ),
    replacing(
        "directory_of_another_opened",
        "journal",
        "a node opens the directory of another member",
    ),
    planted("commit_not_synced", "lone", "a commit answers before its frame is synced"),
    planted("index_at_append", "lone", "a frame is in the index though it was refused"),
    planted("condition_ignored", "lone", "a write happens though its condition does not hold"),
    planted(
        "condition_sees_only_the_index",
        "lone",
        "a condition does not see earlier batches of its own commit",
    ),
    planted("missing_delete_reported_done", "lone", "deleting nothing is reported as a deletion"),
    planted("batch_applied_by_halves", "lone", "readers see a part of a batch"),
    Mutant {
        hunts: POWER_HUNTS,
        ..planted("victims_dropped_unsynced", "lone", "victims go while newer records are unsynced")
    },
    planted("peer_checksum_ignored", "peer", "frames are taken without looking at their checksum"),
    planted("peer_garbage_skipped", "peer", "a frame that does not fit is skipped, the link lives"),
    planted("peer_half_a_write_is_a_write", "peer", "what a stream did not take counts as written"),
    planted("peer_outbox_unbounded", "peer", "what waits for a node grows without end"),
    planted("peer_newest_dropped_unseen", "peer", "a full node's packets are dropped uncounted"),
    planted("peer_no_reconnect", "peer", "a link that was lost is not made again"),
    planted("peer_silence_ignored", "peer", "a silent connection is believed to live"),
    planted("peer_down_not_told", "peer", "a node is not told that a link went down"),
    planted("peer_stale_hello_accepted", "peer", "a greeting counts before it is confirmed"),
    planted("peer_alien_cluster_accepted", "peer", "a node of another cluster is heard"),
    planted("peer_two_nodes_with_one_id", "peer", "a second node with a member's id is heard"),
];

/// All of them: the toy's, then the planted ones.
#[must_use]
pub fn catalogue() -> Vec<Mutant> {
    let toys = Bug::ALL.iter().map(|bug| Mutant {
        name: bug.name(),
        room: "toy",
        breaks: bug.breaks(),
        hunts: toy_hunts(*bug),
    });
    toys.chain(PLANTED.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_somebody_who_hunts_it() {
        let all = catalogue();
        let names: BTreeSet<&str> = all.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), all.len());
        for mutant in all {
            assert!(!mutant.hunts.is_empty(), "nobody hunts {}", mutant.name);
        }
    }
}
