//! The bugs planted in what is around Raft on a node: its groups, their disk, their snapshots.

use super::{
    AGEING, BROWSING, CLUSTERS, DEALING, FILLING, GLANCING, PACING, PARTING, Planted, REPLACING,
    ROOM, ROTTING, groups, planted, scenarios,
};

/// The shard's.
pub(super) const SHARD: &[Planted] = &[
    planted("shard_counts_begin_again", "what was shown is counted anew").by(BROWSING),
    planted("shard_any_version_sent", "a damaged value comes back as a later one").by(ROTTING),
    planted("shard_mended_value_forgotten", "the copy of a damaged value is never used")
        .by(ROTTING),
    planted(
        "shard_unknown_leader_leads_on",
        "a leader leads on that a member does not know which was away when it was seated",
    )
    .by(scenarios(&["a_member_that_was_away_hears_of_a_new_leaders_seat"])),
    planted(
        "shard_open_entries_stay",
        "a group that stands still keeps the journal of all others from being settled",
    )
    .by(scenarios(&["a_group_that_stands_still_does_not_fill_the_disk"])),
    planted(
        "shard_moving_entries_are_applied",
        "an entry is applied while it moves, and found where it lay",
    )
    .by(scenarios(&["an_entry_that_moves_is_not_applied_meanwhile"])),
    planted(
        "shard_moved_entries_void_nothing",
        "what moves forward does not void the log that it was, and lies behind a part of it",
    )
    .by(groups("full::open_entries_that_move_one_by_one_are_noticed")),
    planted("shard_mended_entry_held_for_good", "an entry that was mended stays in memory")
        .by(scenarios(&["a_mended_entry_is_let_go_of"])),
    planted("shard_ends_without_a_word", "who ends in order does not vouch for its last write")
        .by(scenarios(&["a_last_vote_is_lost_by_the_disk"])),
    planted(
        "shard_settled_before_applied",
        "a segment settles while its entries may still be replaced",
    )
    .by(CLUSTERS),
    planted(
        "shard_settled_without_a_checkpoint",
        "a segment settles with the newest state of a group in it",
    )
    .by(CLUSTERS),
    planted("shard_void_entry_recovered", "an entry without effect counts after a restart")
        .by(CLUSTERS),
    planted("shard_void_entry_forgotten", "nobody remembers that an entry had no effect")
        .by(CLUSTERS),
    planted(
        "shard_read_before_applied",
        "a read is served before the state has taken what it must see",
    )
    .by(CLUSTERS),
    planted("shard_hard_state_not_written", "terms and votes are not written").by(CLUSTERS),
    planted("shard_frame_not_synced", "entries and votes count as durable before their sync")
        .by(CLUSTERS),
    planted(
        "shard_uncounted_values_come_back",
        "values of a snapshot that never counted come back behind the next one",
    )
    .by(groups("installs::a_value_of_a_snapshot_that_never_counted_is_noticed")),
    planted("value_hot_by_segment", "a value that was read lately is given out for a neighbour's")
        .by(CLUSTERS),
    planted("shard_derived_never_written", "a computed value has no record").by(CLUSTERS),
    planted("shard_applies_blindly", "one node applies as if no key were there").by(CLUSTERS),
    planted("shard_odd_one_goes_on", "the same, and it goes on when it hears that most differ")
        .by(PARTING),
    planted("shard_staleness_not_told", "every state is said to be current").by(GLANCING),
    planted("shard_fresh_before_applied", "a state counts as new before it has what makes it so")
        .by(GLANCING),
    planted(
        "shard_given_up_comes_back",
        "the same, and it is started again with the state it was stopped for",
    )
    .by(PARTING),
    planted("shard_cut_reads_what_is_here", "a page of a cut is of a later moment")
        .by(groups("cuts::a_cut_that_goes_on_is_noticed")),
    planted("shard_cut_of_what_is_here", "a cut lacks what was acknowledged before")
        .by(groups("cuts::a_cut_of_what_happens_to_be_here_is_noticed")),
    planted("shard_cuts_have_no_end", "anybody may have a node hold any number of moments")
        .by(groups("cuts::cuts_without_end_are_noticed")),
    planted("shard_idle_cuts_stay", "a moment is held for somebody who never comes again")
        .by(groups("cuts::cuts_without_end_are_noticed")),
    planted("shard_full_disk_keeps_cuts", "a full disk holds what only a backup wants")
        .by(groups("cuts::a_full_disk_that_holds_cuts_is_noticed")),
    planted("shard_cut_passes_over_damage", "a damaged value is in a backup as an empty one")
        .by(groups("cuts::a_cut_that_passes_over_damage_is_noticed")),
    planted(
        "shard_reads_expire_by_what_is_held",
        "a key is over for readers by the time of a write that they cannot see yet",
    )
    .by(ROOM),
    planted(
        "shard_derived_ahead_hides_what_counts",
        "a sum that is to be derived again hides the one that counts from its segment's hints",
    )
    .by(scenarios(&["a_sum_of_an_earlier_life_hides_nothing"])),
    planted(
        "shard_full_disk_keeps_derived_back",
        "on a full disk sums wait for room, and the checkpoints that make it for the sums",
    )
    .by(groups("full::a_full_disk_that_keeps_sums_back_is_noticed")),
    planted("shard_commit_goes_back", "a hard state names less than one before it").by(ROOM),
    planted("shard_full_disk_is_not_looked_at", "nobody sees that a full disk has room again")
        .by(FILLING),
    planted("shard_never_slow", "a node never finds itself slow").by(PACING),
    planted("shard_own_clock_is_the_time", "a leader stamps by its own clock, whatever others say")
        .by(AGEING),
    planted("shard_reads_expire_by_the_clock", "reads that are current expire by the node's time")
        .by(AGEING),
    planted("shard_time_waits_for_writes", "nothing expires in a group that nobody writes")
        .by(AGEING),
    planted(
        "shard_old_word_of_a_clock_counts",
        "what a clock said two seconds ago is taken for what it says now",
    )
    .by(ROOM),
    planted("shard_slow_without_patience", "a node is slow as soon as one moment is").by(PACING),
    planted(
        "shard_founds_unwelcomed",
        "a node with an empty directory founds its groups without asking the others",
    )
    .by(REPLACING),
    planted("shard_any_directory_admitted", "a member may come back with another directory")
        .by(REPLACING),
    planted(
        "shard_newcomer_not_answered",
        "a replica that is not in the roster yet is not answered, though it leads",
    )
    .by(REPLACING),
    planted("shard_parts_not_recovered", "what a transaction wrote is not recovered").by(DEALING),
    planted("shard_entry_of_another_place_taken", "entries are taken whatever place they name")
        .by(ROOM),
    planted("shard_snapshot_checksum_ignored", "a damaged chunk of a snapshot is taken").by(ROOM),
    planted("shard_snapshot_order_unjudged", "a snapshot may name a key twice").by(ROOM),
    planted("shard_snapshot_newer_than_itself", "a snapshot may hold what comes after it").by(ROOM),
    planted(
        "shard_unknown_told_as_refused",
        "a leader that loses its place says that nothing happened",
    )
    .by(groups("promises::a_refusal_of_what_happened_is_noticed")),
    planted(
        "shard_snapshot_keeps_deleted_keys",
        "installing a snapshot leaves the keys that it has not",
    )
    .by(groups("promises::a_snapshot_that_only_adds_is_noticed")),
    planted("shard_victims_dropped_uncovered", "compaction drops what an older checkpoint needs")
        .by(groups("promises::a_compaction_beyond_the_checkpoint_is_noticed")),
    planted(
        "shard_compaction_by_the_newest_time",
        "compaction buries what had not expired for an older checkpoint",
    )
    .by(groups("expiry::a_compaction_by_the_newest_time_is_noticed")),
    planted("command_deletions_together_are_none", "a full disk takes one deletion at a time")
        .by(groups("full::deletions_together_that_are_refused_are_noticed")),
    planted("shard_over_by_the_newest_time", "what an older checkpoint has leaves the index")
        .by(groups("expiry::what_leaves_the_index_by_the_newest_time_is_noticed")),
    planted("shard_over_stays", "what is over and that nobody asks for stays")
        .by(groups("over::what_is_over_and_stays_is_noticed")),
    planted("shard_over_waits_for_a_write", "a group without writes does not agree on the time")
        .by(groups("over::what_is_over_and_waits_for_others_is_noticed")),
    planted("shard_over_waits_for_a_checkpoint", "no checkpoint is made for what is over")
        .by(groups("over::what_is_over_and_waits_for_others_is_noticed")),
    planted("shard_counts_what_is_over", "what is over is counted")
        .by(groups("over::what_is_over_and_counted_is_noticed")),
    planted("shard_any_seat_taken", "a node makes any group in which anybody seats a replica here")
        .by(groups("unknown::a_group_that_anybody_may_make_is_noticed")),
    planted("shard_older_number_kept", "a directory that is seated again keeps its older number")
        .by(groups("a_directory_that_keeps_its_older_number_is_noticed")),
    planted("shard_scar_is_settled", "a doubt is settled before what it may have hidden is known")
        .by(groups("a_lost_end_that_is_forgotten_is_noticed")),
    planted(
        "shard_far_term_comes_with_its_promises",
        "promises are written in one frame with the far term that they need",
    )
    .by(groups("a_lost_end_that_is_forgotten_is_noticed")),
    planted(
        "shard_void_copy_loses_deletions",
        "a damaged transaction that counts no more loses what it deleted",
    )
    .by(groups("a_deletion_that_is_lost_with_its_transaction_is_noticed")),
    planted("shard_only_the_leader_sends", "a leader asks nobody to send a snapshot")
        .by(groups("snapshots::a_leader_that_sends_everything_is_noticed")),
    planted(
        "shard_silent_source_is_waited_for",
        "a leader waits for ever for a source that is gone",
    )
    .by(groups("snapshots::a_leader_that_waits_for_the_dead_is_noticed")),
    planted(
        "shard_refusing_source_is_asked_again",
        "a leader never sends what it has asked for once",
    )
    .by(groups("snapshots::a_leader_that_asks_in_vain_for_ever_is_noticed")),
    planted(
        "shard_moving_intake_is_replaced",
        "a second sending takes the place of one that moves",
    )
    .by(groups("snapshots::a_transfer_that_is_torn_down_is_noticed")),
    planted(
        "shard_source_sends_what_is_older",
        "a source sends a state that is older than was asked for",
    )
    .by(groups("snapshots::a_source_that_lacks_what_it_sends_is_noticed")),
    planted(
        "shard_chunk_of_a_stranger_taken",
        "a snapshot is taken from a node that is not its sender's",
    )
    .by(groups("snapshots::a_receiver_that_takes_anything_is_noticed")),
    planted(
        "shard_compaction_takes_what_is_swept",
        "a compaction takes deletions that do not count yet for an ended life's",
    )
    .by(groups("installs::a_compaction_that_takes_what_hides_nothing_yet_is_noticed")),
    planted(
        "shard_install_covers_unwritten_seats",
        "a snapshot's checkpoint covers seats that are not written down",
    )
    .by(groups("installs::a_seat_that_only_a_lost_moment_knew_is_noticed")),
    planted("shard_refused_edit_stops_frames", "a manifest without room keeps all frames back")
        .by(groups("frames_that_wait_for_the_manifest_are_noticed")),
    planted("shard_read_waits_for_room", "a read waits for an entry that has no room")
        .by(groups("reads_that_wait_for_room_are_noticed")),
    planted("shard_full_disk_keeps_everything_back", "a full disk keeps back what would give room")
        .by(groups("full::a_full_disk_that_keeps_everything_back_is_noticed")),
    planted("shard_full_node_leads_on", "a node without room goes on leading")
        .by(groups("full::a_full_node_that_leads_on_is_noticed")),
    planted(
        "shard_failed_intake_keeps_its_files",
        "a snapshot that found no room leaves its files",
    )
    .by(groups("full::intakes_that_leave_too_much_or_too_little_are_noticed")),
    planted(
        "shard_compaction_takes_no_look",
        "a compaction begins without knowing how much room there is",
    )
    .by(groups("full::a_compaction_that_takes_no_look_is_noticed")),
    planted(
        "shard_compaction_gives_up_the_same_again",
        "a compaction whose copies did not fit begins the same again",
    )
    .by(groups("full::a_compaction_that_gives_up_the_same_again_is_noticed")),
    planted(
        "shard_hands_over_to_who_is_gone",
        "a node that ends waits for voters that are gone to lead",
    )
    .by(groups("stops::who_ends_last_and_waits_for_who_is_gone_is_noticed")),
    planted("shard_held_compaction_sleeps", "a compaction that gave up waits to be woken")
        .by(groups("full::a_compaction_that_waits_to_be_woken_is_noticed")),
    planted(
        "shard_checkpoint_speaks_of_what_waits",
        "a checkpoint covers entries that wait for room",
    )
    .by(groups("full::a_checkpoint_that_speaks_of_what_waits_is_noticed")),
    planted("shard_requests_have_no_end", "requests are taken in however much they weigh")
        .by(groups("bounds::requests_without_end_are_noticed")),
    planted("shard_group_takes_all_room", "a group that answers nobody fills the room of all")
        .by(groups("crowds::a_group_that_takes_all_room_is_noticed")),
    planted("shard_late_questions_stay", "reads wait for a leader that nobody waits for")
        .by(groups("crowds::late_requests_that_stay_are_noticed")),
    planted("shard_late_reads_stay", "reads wait for the state that nobody waits for")
        .by(groups("crowds::late_requests_that_stay_are_noticed")),
    planted("shard_late_writes_stay", "writes wait for the disk that nobody waits for")
        .by(groups("crowds::late_requests_that_stay_are_noticed")),
    planted("shard_intakes_have_no_end", "a node takes in as many snapshots as anybody sends")
        .by(groups("bounds::snapshots_without_end_are_noticed")),
    planted("shard_greetings_have_no_end", "members that come again are collected").by(ROOM),
    planted("shard_groups_have_no_end", "groups that a neighbour names are made").by(ROOM),
    planted("shard_strangers_have_no_end", "replicas that sit nowhere are remembered").by(ROOM),
    planted("shard_fetched_entries_stay", "what followers are sent stays in memory").by(ROOM),
    planted("shard_cache_is_not_trimmed", "a group keeps all entries in memory").by(CLUSTERS),
    planted("shard_gathered_are_forgotten", "who waits to be proposed is forgotten").by(CLUSTERS),
    planted("shard_sent_snapshot_is_kept", "a snapshot that arrived keeps its place").by(REPLACING),
    planted("shard_known_seats_are_kept", "seats that are written down are kept").by(REPLACING),
];
