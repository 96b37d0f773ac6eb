//! The bugs planted in how nodes and clients speak.

use super::{
    BROWSING, LINKING, PACING, Planted, SPEAKING, STRANGERS, TYPING, fed, groups, planted,
};

/// Of the links between nodes.
pub(super) const PEER: &[Planted] = &[
    planted(
        "peer_hung_node_is_vouched_for",
        "links answer for a node that hangs in a read of its disk",
    )
    .by(PACING),
    planted("peer_checksum_ignored", "frames are taken without looking at their checksum")
        .by(LINKING),
    planted("peer_garbage_skipped", "a frame that does not fit is skipped, the link lives")
        .by(LINKING),
    planted("peer_half_a_write_is_a_write", "what a stream did not take counts as written")
        .by(LINKING),
    planted("peer_outbox_unbounded", "what waits for a node grows without end").by(LINKING),
    planted("peer_newest_dropped_unseen", "a full node's packets are dropped uncounted")
        .by(LINKING),
    planted("peer_no_reconnect", "a link that was lost is not made again").by(LINKING),
    planted("peer_silence_ignored", "a silent connection is believed to live").by(LINKING),
    planted("peer_down_not_told", "a node is not told that a link went down").by(LINKING),
    planted("peer_stale_hello_accepted", "a greeting counts before it is confirmed").by(LINKING),
    planted("peer_any_proof_taken", "whatever is said for a proof is one").by(STRANGERS),
    planted("peer_proof_reflected", "a proof is of nothing but two numbers, and can be sent back")
        .by(groups("secrets::a_proof_that_is_sent_back_is_noticed")),
    planted("peer_stranger_refuses", "anybody can tell a node that another one has its place")
        .by(groups("secrets::a_stranger_who_is_believed_is_noticed")),
    planted("peer_other_secret_not_taken", "a second secret is not taken")
        .by(groups("secrets::a_second_secret_that_is_not_taken_is_noticed")),
    planted(
        "peer_answers_with_its_own",
        "who listens answers with its first secret, whatever was shown",
    )
    .by(groups("secrets::an_answer_by_another_secret_is_noticed")),
    planted(
        "peer_deaf_client_is_waited_for",
        "answers wait for a client who pings and never reads",
    )
    .by(groups("patience::a_client_who_pings_and_never_reads_is_noticed")),
    planted("peer_any_secret_taken", "a word that can be guessed is taken for a secret")
        .by(fed("secrets_that_can_be_guessed_are_noticed")),
    planted("peer_any_greeting_taken", "whatever has the form of a greeting is one of ours")
        .by(fed("greetings_of_anybody_are_noticed")),
    planted("peer_meaningless_flag_taken", "a flag is taken where it means nothing")
        .by(fed("flags_that_mean_nothing_are_noticed")),
    planted("peer_settings_pile_up", "answers pile up for a client who asks and does not read")
        .by(groups("settings::answers_that_pile_up_are_noticed")),
    planted(
        "peer_clients_of_all_unbounded",
        "what clients hold is bounded for each, and not for all",
    )
    .by(groups("shares::clients_that_hold_too_much_together_are_noticed")),
    planted("peer_alien_cluster_accepted", "a node of another cluster is heard").by(LINKING),
    planted("peer_two_nodes_with_one_id", "a second node with a member's id is heard").by(LINKING),
];

/// Of the Redis protocol.
pub(super) const RESP: &[Planted] = &[
    planted(
        "resp_part_of_an_act_is_called_nothing",
        "an act of which a part was done is told as refused",
    )
    .by(SPEAKING),
    planted(
        "resp_shared_values_are_shifted",
        "reads that share a request have their neighbour's answer",
    )
    .by(SPEAKING),
    planted("resp_sets_overtake", "SETs that were sent together are done before what came between")
        .by(SPEAKING),
    planted("shard_disk_takes_no_time", "an answer says that no time went into the disk")
        .by(SPEAKING),
    planted("resp_exec_does_not_look_at_what_is_watched", "EXEC does not look at watched keys")
        .by(SPEAKING),
    planted("resp_gone_client_executes", "what was queued is done when the client has gone")
        .by(groups("hangups::what_is_done_that_was_not_said_whole_is_noticed")),
    planted("resp_refused_watch_guards_nothing", "EXEC behind a refused WATCH is done")
        .by(SPEAKING),
    planted("resp_walk_leaves_the_last_of_a_page", "SCAN leaves out the last key of a page")
        .by(SPEAKING),
    planted("resp_command_before_auth", "a command is done for a stranger").by(SPEAKING),
    planted("resp_reset_keeps_the_user", "RESET does not forget who one is").by(SPEAKING),
    planted("auth_any_password", "any password is the right one").by(SPEAKING),
    planted("auth_any_cost_taken", "a hash may cost a node as much as it says")
        .by(fed("logins_at_any_cost_are_noticed")),
    planted(
        "resp_announced_words_take_memory",
        "memory is taken for words that are only announced",
    )
    .by(fed("words_that_are_only_announced_and_take_memory_are_noticed")),
    planted("resp_answers_nest_for_ever", "an answer is read however deep it nests")
        .by(fed("answers_that_nest_for_ever_are_noticed")),
    planted("resp_strange_message_taken", "what another node publishes is not looked at whole")
        .by(fed("messages_with_bytes_that_mean_nothing_are_noticed")),
    planted("resp_message_told_twice", "a node tells another one twice what is published")
        .by(SPEAKING),
    planted("resp_deaf_clients_are_waited_for", "answers wait for a client who never reads")
        .by(groups("patience::a_deaf_redis_client_that_is_waited_for_is_noticed")),
    planted("resp_flush_runs_for_ever", "FLUSHALL has time for each step, and any number of them")
        .by(groups("patience::a_flush_without_an_end_is_noticed")),
    planted("client_leaves_a_write_behind", "writes run further ahead than a group keeps answers")
        .by(groups("crowds::a_write_that_is_left_behind_is_noticed")),
    planted("resp_each_part_has_the_whole_time", "DEL has the time of a command for each group")
        .by(groups("patience::a_delete_that_has_time_for_each_group_is_noticed")),
    planted("resp_long_requests_are_waited_for", "who stops in a long request keeps his part")
        .by(groups("patience::a_redis_client_that_stops_and_is_waited_for_is_noticed")),
    planted(
        "resp_shelves_of_all_unbounded",
        "what waits for subscribers is bounded for each, and not for all",
    )
    .by(groups("shares::shelves_that_grow_together_are_noticed")),
    planted(
        "resp_names_of_all_unbounded",
        "names that connections know are bounded for each, and not for all",
    )
    .by(groups("shares::names_without_end_are_noticed")),
];

/// Of HTTP.
pub(super) const HTTP: &[Planted] = &[
    planted(
        "http_unknown_is_told_as_nothing",
        "a write in doubt is told as one that did not happen",
    )
    .by(BROWSING),
    planted("http_length_and_chunks_are_taken", "a request may hide in the body of another one")
        .by(BROWSING),
    planted("http_takes_half_a_body", "a body is taken before all of it has come")
        .by(groups("hangups::what_is_done_that_was_not_said_whole_is_noticed")),
    planted("http_no_auth_asked", "HTTP clients are not asked who they are").by(BROWSING),
    planted(
        "http_slow_requests_are_waited_for",
        "who sends a byte now and then keeps a connection",
    )
    .by(groups("patience::a_slow_request_that_is_waited_for_is_noticed")),
    planted("http_strangers_stay", "who never says who it is keeps a connection for ever")
        .by(groups("guests::strangers_who_stay_are_noticed")),
    planted("http_any_page_may_ask", "web pages of others may write").by(BROWSING),
    planted("http_problems_repeat_everything", "what somebody sent is sent back to him whole")
        .by(fed("problems_that_repeat_everything_are_noticed")),
    planted("http_condition_is_forgotten", "a write is done whatever its condition says")
        .by(BROWSING),
];

/// Of backups.
pub(super) const BACKUP: &[Planted] = &[
    planted("backup_files_not_synced", "a backup that was told to be whole goes with the power")
        .by(groups("backups::a_backup_that_a_power_cut_takes_is_noticed")),
    planted(
        "backup_failed_one_keeps_its_manifest",
        "what is left of a backup that failed is called damaged, not unfinished",
    )
    .by(groups("backups::a_failed_backup_that_keeps_its_manifest_is_noticed")),
    planted("backup_claims_nothing", "two backups at once take away each other's files")
        .by(groups("backups::two_backups_at_once_are_noticed")),
    planted("backup_bodies_are_believed", "a damaged backup is taken for what was written")
        .by(groups("backups::a_backup_whose_bytes_are_believed_is_noticed")),
    planted("restore_writes_over", "a restore writes over what somebody else has written")
        .by(groups("backups::a_restore_that_writes_over_is_noticed")),
    planted("restore_misses_what_is_over", "a restore fails where keys are over by then")
        .by(groups("backups::a_restore_that_misses_what_is_over_is_noticed")),
];

/// Of the text protocol.
pub(super) const TEXT: &[Planted] = &[
    planted(
        "text_unknown_is_told_as_nothing",
        "a write in doubt is told as one that did not happen",
    )
    .by(TYPING),
    planted("text_deaf_clients_are_waited_for", "an answer waits for whoever does not read")
        .by(groups("patience::a_deaf_client_that_is_waited_for_is_noticed")),
    planted("text_strangers_stay", "who guesses passwords keeps a connection for ever")
        .by(groups("guests::strangers_who_stay_are_noticed")),
    planted("text_takes_half_a_value", "a value is taken before all of it has come").by(TYPING),
    planted("text_no_auth_asked", "clients of the text protocol are not asked who they are")
        .by(TYPING),
];
