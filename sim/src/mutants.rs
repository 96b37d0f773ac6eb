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
#[cfg(feature = "mutants")]
use crate::{ledger::Ledger, swarm::caught};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name, as in `planted!`.
    pub name: &'static str,
    /// Where it lives.
    pub room: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
    /// Who hunts it.
    pub hunters: Hunters,
}

/// Who hunts a planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hunters {
    /// Scenarios, by name. One that was found runs as it was found, whatever the seed.
    Scenarios(&'static [&'static str]),
    /// The world's own laws (`world/laws.rs`).
    Laws,
    /// What a whole cluster shows too rarely: the stories of its own room, then the room's random
    /// lives, which reach in a millisecond what a cluster does in an hour.
    Room,
    /// What takes one certain order of things, told by a test of whole nodes or stores that goes
    /// wrong with the bug: `sim/tests/` has it, in this target under this name.
    Story(&'static str, &'static str),
}

impl Mutant {
    /// Whether it exists in every build, as an option of the toy.
    #[must_use]
    pub fn is_toy(&self) -> bool {
        self.name.parse::<Bug>().is_ok()
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
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(hunts) }
}

/// Who hunts the planted bugs of the journal that show only on a damaged disk.
const DAMAGE_HUNTS: &[&str] = &["damage_is_aimed_at_what_a_journal_rests_on"];

const fn damaging(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "journal", breaks, hunters: Hunters::Scenarios(DAMAGE_HUNTS) }
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
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(ROTTING) }
}

const fn parting(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunters: Hunters::Scenarios(PARTING) }
}

/// Who hunts what shows when disks are full.
const FILLING: &[&str] =
    &["disks_fill_up_and_have_room_again", "a_small_disk_is_enough_for_small_data"];

const fn filling(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunters: Hunters::Scenarios(FILLING) }
}

/// Who hunts what shows when a disk is slow.
const PACING: &[&str] = &["a_slow_disk_does_not_lead"];

const fn pacing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunters: Hunters::Scenarios(PACING) }
}

/// Who hunts what shows when clocks are wrong and keys are to be over.
const AGEING: &[&str] = &["clocks_of_a_minority_are_ahead"];

const fn ageing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunters: Hunters::Scenarios(AGEING) }
}

/// Who hunts what shows when whoever reads is told how old it is.
const GLANCING: &[&str] = &["readers_are_told_how_old_it_is"];

const fn glancing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "shard", breaks, hunters: Hunters::Scenarios(GLANCING) }
}

/// Who hunts what transactions show.
const DEALING: &[&str] = &["transactions_are_one_moment"];

const fn dealing(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(DEALING) }
}

/// Who hunts what Redis clients see.
const SPEAKING: &[&str] = &["redis_clients_are_served_through_everything"];

const fn speaking(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "resp", breaks, hunters: Hunters::Scenarios(SPEAKING) }
}

/// Who hunts what HTTP clients see.
const BROWSING: &[&str] = &["http_clients_are_served_through_everything"];

const fn browsing(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "http", breaks, hunters: Hunters::Scenarios(BROWSING) }
}

/// The scenarios that hunt what shows only when nodes lose their directories.
const REPLACING: &[&str] = &["a_cluster_loses_disks_and_gets_new_ones"];

const fn replacing(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(REPLACING) }
}

/// The scenarios that hunt the bugs of replicated groups.
const CLUSTERS: &[&str] = &[
    "a_cluster_is_governed",
    "a_cluster_lives_through_everything",
    "a_cluster_loses_its_memory_again_and_again",
    "a_cluster_meets_a_bad_network",
];

const fn clustered(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(CLUSTERS) }
}

/// What takes a death within one operation of a disk: the run that was found hunts it.
const fn found(
    name: &'static str,
    room: &'static str,
    breaks: &'static str,
    runs: &'static [&'static str],
) -> Mutant {
    Mutant { name, room, breaks, hunters: Hunters::Scenarios(runs) }
}

const fn of_room(name: &'static str, room: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room, breaks, hunters: Hunters::Room }
}

const fn of_world(name: &'static str, breaks: &'static str) -> Mutant {
    Mutant { name, room: "world", breaks, hunters: Hunters::Laws }
}

/// What shows only in one certain order of things, which a test in `sim/tests/` tells.
const fn told(
    name: &'static str,
    breaks: &'static str,
    target: &'static str,
    story: &'static str,
) -> Mutant {
    let room = match name.as_bytes() {
        [b's', b'h', b'a', b'r', b'd', ..] => "shard",
        [b'c', b'o', b'm', b'p', b'a', b'c', b't', ..] => "value",
        _ => "journal",
    };
    Mutant { name, room, breaks, hunters: Hunters::Story(target, story) }
}

/// The planted bugs of the engine and the world.
const PLANTED: &[Mutant] = &[
    speaking(
        "resp_part_of_an_act_is_called_nothing",
        "an act of which a part was done is told as refused",
    ),
    speaking("resp_exec_does_not_look_at_what_is_watched", "EXEC does not look at watched keys"),
    speaking("resp_refused_watch_guards_nothing", "EXEC behind a refused WATCH is done"),
    speaking("resp_walk_leaves_the_last_of_a_page", "SCAN leaves out the last key of a page"),
    speaking("resp_message_told_twice", "a node tells another one twice what is published"),
    browsing(
        "http_unknown_is_told_as_nothing",
        "a write in doubt is told as one that did not happen",
    ),
    browsing("http_page_goes_beyond_a_group", "a page goes on where a group may have more"),
    browsing("http_length_and_chunks_are_taken", "a request may hide in the body of another one"),
    browsing("http_any_page_may_ask", "web pages of others may write"),
    browsing("http_condition_is_forgotten", "a write is done whatever its condition says"),
    rotting("shard_any_version_sent", "shard", "a damaged value comes back as a later one"),
    rotting("shard_mended_value_forgotten", "shard", "the copy of a damaged value is never used"),
    planted("no_fsync", "journal", "append answers before the file is synced"),
    planted("ignored_fsync_error", "journal", "a failed sync counts as a sync"),
    planted("ack_before_sync", "journal", "records count as durable before their sync"),
    planted("no_fsync_data_segment", "journal", "a data segment is added to the manifest unsynced"),
    planted("no_fsync_manifest", "journal", "a new manifest is renamed unsynced"),
    planted("edit_not_synced", "journal", "an edit of the manifest is acted on before its sync"),
    Mutant {
        hunters: Hunters::Scenarios(OPENING_HUNTS),
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
    damaging("lost_edit_not_missed", "an edit that frames rest on counts as never made"),
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
        "shard_read_before_applied",
        "shard",
        "a read is served before the state has taken what it must see",
    ),
    clustered("shard_hard_state_not_written", "shard", "terms and votes are not written"),
    clustered(
        "shard_frame_not_synced",
        "shard",
        "entries and votes count as durable before their sync",
    ),
    found(
        "shard_uncounted_values_come_back",
        "shard",
        "values of a snapshot that never counted come back behind the next one",
        &["a_snapshot_that_never_counted_brings_nothing_back"],
    ),
    clustered("shard_derived_never_written", "shard", "a computed value has no record"),
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
    of_room("shard_commit_goes_back", "shard", "a hard state names less than one before it"),
    filling("shard_full_disk_is_not_looked_at", "nobody sees that a full disk has room again"),
    pacing("shard_never_slow", "a node never finds itself slow"),
    ageing("shard_own_clock_is_the_time", "a leader stamps by its own clock, whatever others say"),
    ageing("shard_reads_expire_by_the_clock", "reads that are current expire by the node's time"),
    ageing("shard_time_waits_for_writes", "nothing expires in a group that nobody writes"),
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
    of_room("raft_ack_before_durable", "raft", "a follower acknowledges what its disk may lose"),
    clustered("raft_vote_before_durable", "raft", "a vote is sent that its disk may lose"),
    of_room(
        "raft_own_vote_before_durable",
        "raft",
        "a candidate counts a vote that its disk may lose",
    ),
    of_room(
        "raft_own_copy_before_durable",
        "raft",
        "a leader counts a copy that its disk may lose",
    ),
    clustered(
        "raft_apply_before_durable",
        "raft",
        "the state takes what the own disk does not have",
    ),
    of_room(
        "raft_stale_completion_believed",
        "raft",
        "a completion of an older term attests the log of this one",
    ),
    of_room(
        "raft_completion_not_compared",
        "raft",
        "a completion attests whatever the log holds by now",
    ),
    clustered("raft_votes_twice", "raft", "a replica votes for two candidates of one term"),
    clustered("raft_vote_for_any_log", "raft", "a replica votes for a log that is behind its own"),
    of_room(
        "raft_refusal_teaches_nothing",
        "raft",
        "a refused pre-vote does not teach the higher term",
    ),
    clustered("raft_old_terms_are_believed", "raft", "messages of old terms are taken in"),
    clustered("raft_quorum_is_half", "raft", "half of the voters are a majority"),
    clustered(
        "raft_quorum_of_unsorted_values",
        "raft",
        "the majority's value is read from an unsorted list",
    ),
    of_room(
        "raft_commit_believed_uncompared",
        "raft",
        "a commit is believed of entries that were not compared in this life",
    ),
    of_room(
        "raft_agreement_of_another_term",
        "raft",
        "what one leader showed to agree counts under the next",
    ),
    of_room(
        "raft_damaged_leader_leads_on",
        "raft",
        "a leader without what its state needs next leads for ever",
    ),
    of_room("raft_joint_needs_one_majority", "raft", "a joint membership asks only its new half"),
    of_room(
        "raft_commit_of_an_old_term",
        "raft",
        "an entry of an old term is committed by counting",
    ),
    clustered("raft_commit_goes_back", "raft", "a follower lowers its commit index"),
    clustered(
        "raft_heartbeat_commits_beyond_the_match",
        "raft",
        "a heartbeat commits what a follower may not have",
    ),
    clustered(
        "raft_append_without_a_check",
        "raft",
        "entries are taken whatever stands before them",
    ),
    of_room(
        "raft_append_cuts_always",
        "raft",
        "an append cuts whatever stands after it, conflict or not",
    ),
    of_room("raft_stale_rejection_believed", "raft", "an old rejection moves a follower back"),
    of_room("raft_window_has_no_end", "raft", "appends are sent without end"),
    clustered("raft_probe_waits_forever", "raft", "a lost probe is never repeated"),
    clustered(
        "raft_full_window_hides_compaction",
        "raft",
        "a full window hides that a snapshot is needed",
    ),
    of_room(
        "raft_base_taken_for_agreement",
        "raft",
        "logs that part below the base are probed forever",
    ),
    clustered(
        "raft_read_before_own_commit",
        "raft",
        "a new leader reads before it knows what is committed",
    ),
    clustered("raft_read_by_any_answer", "raft", "an answer to an older round confirms a read"),
    clustered("raft_read_without_a_round", "raft", "a leader reads without asking anybody"),
    of_room("raft_lease_never_ends", "raft", "a lease has no end"),
    of_room(
        "raft_old_lease_not_waited_for",
        "raft",
        "a new leader commits while an old lease holds",
    ),
    of_room("raft_two_changes_at_once", "raft", "a change is taken before the last one is applied"),
    of_room(
        "raft_change_before_own_commit",
        "raft",
        "a new leader takes a change before it has committed",
    ),
    of_room(
        "raft_campaign_with_unapplied_change",
        "raft",
        "a replica campaigns by a membership that is over",
    ),
    of_room(
        "raft_committed_change_forgotten",
        "raft",
        "a crash forgets that a change is committed, and its membership campaigns again",
    ),
    of_room(
        "raft_refusal_hides_the_commit",
        "raft",
        "the only voter left never hears that it is, and nobody can be elected",
    ),
    of_room("raft_removed_leader_stays", "raft", "a leader that was removed goes on"),
    of_room("raft_ids_are_reused", "raft", "a removed replica's id joins again"),
    of_room("raft_old_snapshot_is_installed", "raft", "a snapshot replaces what is newer"),
    of_room(
        "raft_transfer_before_caught_up",
        "raft",
        "a successor is told to campaign before it has the log",
    ),
    of_room("raft_damaged_log_may_lead", "raft", "a replica with a damaged entry campaigns"),
    of_room(
        "raft_damaged_entry_counts_as_absent",
        "raft",
        "a damaged entry does not count when logs are compared",
    ),
    of_room("raft_damaged_entry_is_acknowledged", "raft", "a damaged copy is acknowledged"),
    of_room(
        "raft_one_denial_discards",
        "raft",
        "one peer that never had it discards a damaged entry",
    ),
    of_room(
        "raft_denial_without_a_new_term",
        "raft",
        "denials count while an old leader may still bring the entry",
    ),
    of_room(
        "raft_forgotten_promise_is_broken",
        "raft",
        "a replica that lost its newest term takes entries of older leaders",
    ),
    of_room(
        "raft_forgetful_replica_is_silent",
        "raft",
        "a sleeping group never gives back a vote that it may need",
    ),
    of_room(
        "raft_damaged_leader_waits_for_ever",
        "raft",
        "a follower lacks what its leader cannot read any more, and nobody else has in its log",
    ),
    of_room(
        "raft_lost_copy_is_not_missed",
        "raft",
        "a follower whose disk lied lacks for ever what it acknowledged",
    ),
    of_room(
        "raft_forgetful_replica_votes",
        "raft",
        "a replica that may lack what it acknowledged votes",
    ),
    of_room(
        "raft_quiet_follower_sleeps_on",
        "raft",
        "the death of a quiet group's leader is slept through",
    ),
    of_room("raft_priority_is_for_life", "raft", "a replica campaigns as eagerly as it began"),
    of_room("raft_priority_counts_later", "raft", "who waits already waits as eagerly as before"),
    of_room("raft_priority_wakes_the_sleeping", "raft", "a priority wakes a sleeping group"),
    of_room("raft_older_number_taken", "raft", "a replica takes any number that it is given"),
    of_room(
        "raft_new_number_forgets_the_vote",
        "raft",
        "one disk votes again under another number",
    ),
    of_room("raft_new_number_leads_on", "raft", "a leader goes on under another number"),
    of_room(
        "raft_stuck_leader_leads_on",
        "raft",
        "a leader that can answer nobody goes on leading",
    ),
    of_room("raft_stuck_replica_campaigns", "raft", "a replica that can answer nobody is elected"),
    of_room(
        "raft_stuck_replica_asks_for_nothing",
        "raft",
        "a state that no entry helps waits for entries",
    ),
    of_room(
        "raft_append_taken_during_an_install",
        "raft",
        "entries are taken into a log that is about to be replaced",
    ),
    of_room(
        "raft_inherited_bytes_not_counted",
        "raft",
        "what a leader inherits does not count as uncommitted",
    ),
    of_room(
        "raft_successor_campaigns_unflushed",
        "raft",
        "a successor campaigns with a log that its disk has not",
    ),
    of_room(
        "raft_late_answer_counts_as_a_vote",
        "raft",
        "a late answer to the question counts as a vote",
    ),
    of_room(
        "raft_snapshot_brings_no_members",
        "raft",
        "a snapshot leaves the members as they were",
    ),
    of_room("raft_lost_snapshot_is_waited_for", "raft", "a lost snapshot is never sent again"),
    of_room(
        "raft_rejection_is_no_word",
        "raft",
        "who rejects what it is sent has not heard its leader",
    ),
    of_room("raft_old_leader_is_not_told", "raft", "a leader never hears of a newer term"),
    of_room(
        "raft_candidate_takes_no_snapshot",
        "raft",
        "a candidate refuses the snapshot that it waits for",
    ),
    of_room("raft_entry_limit_ignored", "raft", "an entry of any size is taken"),
    of_room(
        "raft_abandoned_snapshot_is_waited_for",
        "raft",
        "a replica takes nothing any more after a snapshot that found no room",
    ),
    clustered(
        "store_repetition_runs_again",
        "store",
        "a repetition is executed like a new request",
    ),
    of_room("store_reply_of_another", "store", "a repetition hears the reply of another request"),
    clustered(
        "store_sessions_not_in_the_checkpoint",
        "store",
        "a restart forgets who was told what",
    ),
    of_room("store_floor_falls", "store", "a late request brings back what was forgotten"),
    of_room(
        "store_forgotten_is_refused",
        "store",
        "a request that may have been executed is called refused",
    ),
    of_room(
        "store_forgotten_client_is_new",
        "store",
        "a repetition of a forgotten client is executed again",
    ),
    of_room("store_busy_client_is_forgotten", "store", "a client makes room while it waits"),
    of_room("store_time_falls", "store", "a slower leader's stamp turns time back"),
    of_room(
        "store_expired_is_there",
        "store",
        "an expired key is there until somebody throws it away",
    ),
    clustered(
        "store_condition_on_an_older_version",
        "store",
        "a version condition holds for newer versions too",
    ),
    dealing(
        "store_checks_not_compared",
        "store",
        "a transaction is done though what it checked has changed",
    ),
    dealing("shard_parts_not_recovered", "shard", "what a transaction wrote is not recovered"),
    of_room("store_transaction_by_halves", "store", "what was done before a failing write stays"),
    of_room("store_derived_loses_expiry", "store", "a computed value lives for good"),
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
        hunters: Hunters::Scenarios(POWER_HUNTS),
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
    of_room(
        "shard_entry_of_another_place_taken",
        "shard",
        "entries are taken whatever place they name",
    ),
    of_room("shard_snapshot_checksum_ignored", "shard", "a damaged chunk of a snapshot is taken"),
    told(
        "shard_unknown_told_as_refused",
        "a leader that loses its place says that nothing happened",
        "groups",
        "promises::a_refusal_of_what_happened_is_noticed",
    ),
    told(
        "shard_snapshot_keeps_deleted_keys",
        "installing a snapshot leaves the keys that it has not",
        "groups",
        "promises::a_snapshot_that_only_adds_is_noticed",
    ),
    told(
        "shard_victims_dropped_uncovered",
        "compaction drops what an older checkpoint needs",
        "groups",
        "promises::a_compaction_beyond_the_checkpoint_is_noticed",
    ),
    told(
        "shard_compaction_by_the_newest_time",
        "compaction buries what had not expired for an older checkpoint",
        "groups",
        "expiry::a_compaction_by_the_newest_time_is_noticed",
    ),
    told(
        "shard_any_seat_taken",
        "a node makes any group in which anybody seats a replica here",
        "groups",
        "unknown::a_group_that_anybody_may_make_is_noticed",
    ),
    told(
        "shard_older_number_kept",
        "a directory that is seated again keeps its older number",
        "groups",
        "a_directory_that_keeps_its_older_number_is_noticed",
    ),
    told(
        "journal_doubt_is_forgotten",
        "the next life knows nothing of the doubt about a journal's end",
        "groups",
        "a_lost_end_that_is_forgotten_is_noticed",
    ),
    told(
        "shard_scar_is_settled",
        "a doubt is settled before what it may have hidden is known",
        "groups",
        "a_lost_end_that_is_forgotten_is_noticed",
    ),
    told(
        "shard_far_term_comes_with_its_promises",
        "promises are written in one frame with the far term that they need",
        "groups",
        "a_lost_end_that_is_forgotten_is_noticed",
    ),
    told(
        "shard_void_copy_loses_deletions",
        "a damaged transaction that counts no more loses what it deleted",
        "groups",
        "a_deletion_that_is_lost_with_its_transaction_is_noticed",
    ),
    told(
        "shard_only_the_leader_sends",
        "a leader asks nobody to send a snapshot",
        "groups",
        "snapshots::a_leader_that_sends_everything_is_noticed",
    ),
    told(
        "shard_silent_source_is_waited_for",
        "a leader waits for ever for a source that is gone",
        "groups",
        "snapshots::a_leader_that_waits_for_the_dead_is_noticed",
    ),
    told(
        "shard_refusing_source_is_asked_again",
        "a leader never sends what it has asked for once",
        "groups",
        "snapshots::a_leader_that_asks_in_vain_for_ever_is_noticed",
    ),
    told(
        "shard_moving_intake_is_replaced",
        "a second sending takes the place of one that moves",
        "groups",
        "snapshots::a_transfer_that_is_torn_down_is_noticed",
    ),
    told(
        "shard_source_sends_what_is_older",
        "a source sends a state that is older than was asked for",
        "groups",
        "snapshots::a_source_that_lacks_what_it_sends_is_noticed",
    ),
    told(
        "shard_chunk_of_a_stranger_taken",
        "a snapshot is taken from a node that is not its sender's",
        "groups",
        "snapshots::a_receiver_that_takes_anything_is_noticed",
    ),
    told(
        "shard_refused_edit_stops_frames",
        "a manifest without room keeps all frames back",
        "groups",
        "frames_that_wait_for_the_manifest_are_noticed",
    ),
    told(
        "shard_read_waits_for_room",
        "a read waits for an entry that has no room",
        "groups",
        "reads_that_wait_for_room_are_noticed",
    ),
    told(
        "shard_full_disk_keeps_everything_back",
        "a full disk keeps back what would give room",
        "groups",
        "full::a_full_disk_that_keeps_everything_back_is_noticed",
    ),
    told(
        "shard_full_node_leads_on",
        "a node without room goes on leading",
        "groups",
        "full::a_full_node_that_leads_on_is_noticed",
    ),
    told(
        "shard_failed_intake_keeps_its_files",
        "a snapshot that found no room leaves its files",
        "groups",
        "full::intakes_that_leave_too_much_or_too_little_are_noticed",
    ),
    told(
        "journal_copies_take_the_reserve",
        "copies take the room that deletions need",
        "groups",
        "full::intakes_that_leave_too_much_or_too_little_are_noticed",
    ),
    told(
        "shard_compaction_takes_no_look",
        "a compaction begins without knowing how much room there is",
        "groups",
        "full::a_compaction_that_takes_no_look_is_noticed",
    ),
    told(
        "compact_cold_keeps_dead",
        "a journal segment goes only together with all older ones",
        "groups",
        "full::cold_segments_that_keep_dead_ones_are_noticed",
    ),
    told(
        "shard_checkpoint_speaks_of_what_waits",
        "a checkpoint covers entries that wait for room",
        "groups",
        "full::a_checkpoint_that_speaks_of_what_waits_is_noticed",
    ),
    told(
        "journal_relief_takes_the_roll",
        "relief takes the room that the manifest needs",
        "refusals",
        "deletions_that_leave_the_manifest_no_room_are_noticed",
    ),
    told(
        "compaction_believes_what_never_counted",
        "a compaction drops what a snapshot replaced that never counted",
        "ahead",
        "a_compaction_that_believes_what_never_counted_is_noticed",
    ),
    told(
        "shard_requests_have_no_end",
        "requests are taken in however much they weigh",
        "groups",
        "bounds::requests_without_end_are_noticed",
    ),
    told(
        "shard_intakes_have_no_end",
        "a node takes in as many snapshots as anybody sends",
        "groups",
        "bounds::snapshots_without_end_are_noticed",
    ),
    of_room("shard_greetings_have_no_end", "shard", "members that come again are collected"),
    of_room("shard_groups_have_no_end", "shard", "groups that a neighbour names are made"),
    of_room("shard_strangers_have_no_end", "shard", "replicas that sit nowhere are remembered"),
    of_room("shard_fetched_entries_stay", "shard", "what followers are sent stays in memory"),
    of_room("raft_promises_have_no_end", "raft", "each question waits for a disk that hangs"),
    clustered("shard_cache_is_not_trimmed", "shard", "a group keeps all entries in memory"),
    clustered("shard_gathered_are_forgotten", "shard", "who waits to be proposed is forgotten"),
    replacing("shard_sent_snapshot_is_kept", "shard", "a snapshot that arrived keeps its place"),
    replacing("shard_known_seats_are_kept", "shard", "seats that are written down are kept"),
    told(
        "dead_record_in_hints",
        "hints have records that are dead",
        "exhaust",
        "planted::every_planted_bug_is_noticed",
    ),
    told(
        "encoded_records_not_in_the_directory",
        "a frame's directory lacks what was encoded elsewhere",
        "exhaust",
        "planted::every_planted_bug_is_noticed",
    ),
    told(
        "footer_before_settle",
        "a segment gets its footer before its owner settles it",
        "exhaust",
        "planted::every_planted_bug_is_noticed",
    ),
    told(
        "tail_in_the_order_of_numbers",
        "the tail is read in the order of numbers, not of records",
        "exhaust",
        "planted::every_planted_bug_is_noticed",
    ),
];

/// What a pure room's own judges say with a bug planted in it: in the first attempt its stories,
/// then a random life each. Answers who noticed, by name, and what. A story that breaks a law or an
/// assertion says more than one that only goes otherwise than it was told.
#[must_use]
#[cfg_attr(not(feature = "mutants"), expect(unused_variables, reason = "no bug can be planted"))]
pub fn noticed_in_room(mutant: &Mutant, attempt: u64) -> Option<(String, String)> {
    #[cfg(feature = "mutants")]
    {
        use trilith_engine::{raft, shard, store};
        let ledger = Ledger::new([mutant.name]);
        let _entered = ledger.enter();
        let broken = || ledger.broken().into_keys().next().map(|broken| broken.claim.to_string());
        // Who says so, and what.
        let wrong = |tell: &dyn Fn() -> Option<String>| match caught(tell) {
            Err(panic) => Some((String::from("an assertion"), panic)),
            Ok(said) => match broken() {
                Some(claim) => Some((String::from("a belief"), claim)),
                None => said.map(|said| (said.split(':').next().unwrap_or("").into(), said)),
            },
        };
        if attempt > 0 {
            let live = match mutant.room {
                "raft" => raft::tests::live,
                "store" => store::tests::live,
                _ => return None,
            };
            let (law, said) = wrong(&|| live(attempt))?;
            return Some((format!("{law} (lives)"), said));
        }
        let story = |name: &str, tell: &dyn Fn() -> Option<String>| {
            let (law, said) = wrong(tell)?;
            Some((format!("{law} (story {name})"), said))
        };
        let told = |(name, tell): &(&str, fn())| {
            let tell = || {
                tell();
                None
            };
            story(name, &tell)
        };
        match mutant.room {
            "raft" => {
                let all = raft::tests::stories().filter_map(|(name, tell)| story(&name, &tell));
                let mut otherwise = None;
                for noticed in all {
                    if noticed.1 != raft::tests::ANOTHER_TRACE {
                        return Some(noticed);
                    }
                    otherwise = otherwise.or(Some(noticed));
                }
                raft::tests::TOLD.iter().find_map(told).or(otherwise)
            }
            "store" => store::tests::STORIES.iter().find_map(told),
            _ => shard::tests::STORIES.iter().find_map(told),
        }
    }
    #[cfg(not(feature = "mutants"))]
    None
}

/// All of them: the toy's, then the planted ones.
#[must_use]
pub fn catalogue() -> Vec<Mutant> {
    let toys = Bug::ALL.iter().map(|bug| Mutant {
        name: bug.name(),
        room: "toy",
        breaks: bug.breaks(),
        hunters: Hunters::Scenarios(toy_hunts(*bug)),
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
            assert_ne!(mutant.hunters, Hunters::Scenarios(&[]), "nobody hunts {}", mutant.name);
        }
    }

    /// Whoever else hunts them, their own rooms notice them all.
    #[cfg(feature = "mutants")]
    #[test]
    fn bugs_of_pure_rooms_are_noticed_by_their_rooms() {
        let pure = |mutant: &Mutant| {
            matches!(mutant.room, "raft" | "store") || mutant.hunters == Hunters::Room
        };
        let (mut all, mut missed) = (catalogue(), Vec::new());
        all.retain(pure);
        for room in ["raft", "store", "shard"] {
            let sound = Mutant { name: "", room, breaks: "", hunters: Hunters::Room };
            assert_eq!((0..20).find_map(|attempt| noticed_in_room(&sound, attempt)), None);
        }
        for mutant in all {
            // That a story goes otherwise than it was told is not enough: something must be wrong.
            let is_wrong = |said: &str| said != trilith_engine::raft::tests::ANOTHER_TRACE;
            let noticed = |attempt| {
                noticed_in_room(&mutant, attempt).is_some_and(|(_, said)| is_wrong(&said))
            };
            if !(0..6000).any(noticed) {
                missed.push(mutant.name);
            }
        }
        assert_eq!(missed, Vec::<&str>::new(), "bugs that nobody notices");
    }
}
