//! The bugs planted in Raft.

use super::{CLUSTERS, Planted, ROOM, planted};

/// Raft's.
pub(super) const RAFT: &[Planted] = &[
    planted("raft_ack_before_durable", "a follower acknowledges what its disk may lose").by(ROOM),
    planted("raft_vote_before_durable", "a vote is sent that its disk may lose").by(CLUSTERS),
    planted("raft_own_vote_before_durable", "a candidate counts a vote that its disk may lose")
        .by(ROOM),
    planted("raft_own_copy_before_durable", "a leader counts a copy that its disk may lose")
        .by(ROOM),
    planted("raft_apply_before_durable", "the state takes what the own disk does not have")
        .by(CLUSTERS),
    planted(
        "raft_stale_completion_believed",
        "a completion of an older term attests the log of this one",
    )
    .by(ROOM),
    planted("raft_completion_not_compared", "a completion attests whatever the log holds by now")
        .by(ROOM),
    planted("raft_votes_twice", "a replica votes for two candidates of one term").by(CLUSTERS),
    planted("raft_vote_for_any_log", "a replica votes for a log that is behind its own")
        .by(CLUSTERS),
    planted("raft_refusal_teaches_nothing", "a refused pre-vote does not teach the higher term")
        .by(ROOM),
    planted("raft_old_terms_are_believed", "messages of old terms are taken in").by(CLUSTERS),
    planted("raft_quorum_is_half", "half of the voters are a majority").by(CLUSTERS),
    planted("raft_quorum_of_unsorted_values", "the majority's value is read from an unsorted list")
        .by(CLUSTERS),
    planted(
        "raft_commit_believed_uncompared",
        "a commit is believed of entries that were not compared in this life",
    )
    .by(ROOM),
    planted(
        "raft_agreement_of_another_term",
        "what one leader showed to agree counts under the next",
    )
    .by(ROOM),
    planted(
        "raft_damaged_leader_leads_on",
        "a leader without what its state needs next leads for ever",
    )
    .by(ROOM),
    planted("raft_joint_needs_one_majority", "a joint membership asks only its new half").by(ROOM),
    planted("raft_commit_of_an_old_term", "an entry of an old term is committed by counting")
        .by(ROOM),
    planted("raft_commit_goes_back", "a follower lowers its commit index").by(CLUSTERS),
    planted(
        "raft_heartbeat_commits_beyond_the_match",
        "a heartbeat commits what a follower may not have",
    )
    .by(CLUSTERS),
    planted("raft_append_without_a_check", "entries are taken whatever stands before them")
        .by(CLUSTERS),
    planted("raft_append_cuts_always", "an append cuts whatever stands after it, conflict or not")
        .by(ROOM),
    planted("raft_stale_rejection_believed", "an old rejection moves a follower back").by(ROOM),
    planted("raft_window_has_no_end", "appends are sent without end").by(ROOM),
    planted("raft_probe_waits_forever", "a lost probe is never repeated").by(CLUSTERS),
    planted("raft_full_window_hides_compaction", "a full window hides that a snapshot is needed")
        .by(CLUSTERS),
    planted("raft_base_taken_for_agreement", "logs that part below the base are probed forever")
        .by(ROOM),
    planted("raft_read_before_own_commit", "a new leader reads before it knows what is committed")
        .by(CLUSTERS),
    planted("raft_read_by_any_answer", "an answer to an older round confirms a read").by(CLUSTERS),
    planted("raft_read_without_a_round", "a leader reads without asking anybody").by(CLUSTERS),
    planted("raft_lease_never_ends", "a lease has no end").by(ROOM),
    planted("raft_old_lease_not_waited_for", "a new leader commits while an old lease holds")
        .by(ROOM),
    planted("raft_lease_of_others_not_waited_for", "a leader without leases waits for nobody's")
        .by(ROOM),
    planted("raft_lease_denied", "who hands over says that nobody has a lease").by(ROOM),
    planted("raft_two_changes_at_once", "a change is taken before the last one is applied")
        .by(ROOM),
    planted("raft_change_before_own_commit", "a new leader takes a change before it has committed")
        .by(ROOM),
    planted(
        "raft_campaign_with_unapplied_change",
        "a replica campaigns by a membership that is over",
    )
    .by(ROOM),
    planted(
        "raft_committed_change_forgotten",
        "a crash forgets that a change is committed, and its membership campaigns again",
    )
    .by(ROOM),
    planted(
        "raft_refusal_hides_the_commit",
        "the only voter left never hears that it is, and nobody can be elected",
    )
    .by(ROOM),
    planted("raft_removed_leader_stays", "a leader that was removed goes on").by(ROOM),
    planted("raft_ids_are_reused", "a removed replica's id joins again").by(ROOM),
    planted("raft_old_snapshot_is_installed", "a snapshot replaces what is newer").by(ROOM),
    planted(
        "raft_transfer_before_caught_up",
        "a successor is told to campaign before it has the log",
    )
    .by(ROOM),
    planted("raft_damaged_log_may_lead", "a replica with a damaged entry campaigns").by(ROOM),
    planted(
        "raft_damaged_entry_counts_as_absent",
        "a damaged entry does not count when logs are compared",
    )
    .by(ROOM),
    planted("raft_damaged_entry_is_acknowledged", "a damaged copy is acknowledged").by(ROOM),
    planted("raft_one_denial_discards", "one peer that never had it discards a damaged entry")
        .by(ROOM),
    planted(
        "raft_denial_without_a_new_term",
        "denials count while an old leader may still bring the entry",
    )
    .by(ROOM),
    planted(
        "raft_forgotten_promise_is_broken",
        "a replica that lost its newest term takes entries of older leaders",
    )
    .by(ROOM),
    planted(
        "raft_forgetful_replica_is_silent",
        "a sleeping group never gives back a vote that it may need",
    )
    .by(ROOM),
    planted(
        "raft_damaged_leader_waits_for_ever",
        "a follower lacks what its leader cannot read any more, and nobody else has in its log",
    )
    .by(ROOM),
    planted(
        "raft_lost_copy_is_not_missed",
        "a follower whose disk lied lacks for ever what it acknowledged",
    )
    .by(ROOM),
    planted("raft_forgetful_replica_votes", "a replica that may lack what it acknowledged votes")
        .by(ROOM),
    planted(
        "raft_quiet_follower_sleeps_on",
        "the death of a quiet group's leader is slept through",
    )
    .by(ROOM),
    planted(
        "raft_haste_outlasts_the_first_leader",
        "a replica that began lately is impatient with the leader that it has found",
    )
    .by(ROOM),
    planted("raft_priority_is_for_life", "a replica campaigns as eagerly as it began").by(ROOM),
    planted("raft_priority_counts_later", "who waits already waits as eagerly as before").by(ROOM),
    planted("raft_priority_wakes_the_sleeping", "a priority wakes a sleeping group").by(ROOM),
    planted("raft_older_number_taken", "a replica takes any number that it is given").by(ROOM),
    planted("raft_new_number_forgets_the_vote", "one disk votes again under another number")
        .by(ROOM),
    planted("raft_new_number_leads_on", "a leader goes on under another number").by(ROOM),
    planted("raft_stuck_leader_leads_on", "a leader that can answer nobody goes on leading")
        .by(ROOM),
    planted("raft_stuck_replica_campaigns", "a replica that can answer nobody is elected").by(ROOM),
    planted("raft_stuck_replica_asks_for_nothing", "a state that no entry helps waits for entries")
        .by(ROOM),
    planted(
        "raft_append_taken_during_an_install",
        "entries are taken into a log that is about to be replaced",
    )
    .by(ROOM),
    planted(
        "raft_inherited_bytes_not_counted",
        "what a leader inherits does not count as uncommitted",
    )
    .by(ROOM),
    planted(
        "raft_successor_campaigns_unflushed",
        "a successor campaigns with a log that its disk has not",
    )
    .by(ROOM),
    planted("raft_late_answer_counts_as_a_vote", "a late answer to the question counts as a vote")
        .by(ROOM),
    planted("raft_snapshot_brings_no_members", "a snapshot leaves the members as they were")
        .by(ROOM),
    planted("raft_lost_snapshot_is_waited_for", "a lost snapshot is never sent again").by(ROOM),
    planted("raft_rejection_is_no_word", "who rejects what it is sent has not heard its leader")
        .by(ROOM),
    planted("raft_old_leader_is_not_told", "a leader never hears of a newer term").by(ROOM),
    planted(
        "raft_candidate_takes_no_snapshot",
        "a candidate refuses the snapshot that it waits for",
    )
    .by(ROOM),
    planted("raft_entry_limit_ignored", "an entry of any size is taken").by(ROOM),
    planted(
        "raft_abandoned_snapshot_is_waited_for",
        "a replica takes nothing any more after a snapshot that found no room",
    )
    .by(ROOM),
    planted("raft_promises_have_no_end", "each question waits for a disk that hangs").by(ROOM),
    planted("raft_entries_of_any_term_are_taken", "entries are taken that no log can have")
        .by(ROOM),
];
