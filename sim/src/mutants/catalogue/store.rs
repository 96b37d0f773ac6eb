//! The bugs planted in what a store is made of.

use super::{CLUSTERS, DEALING, LOSING_POWER, Planted, ROOM, STORING, groups, planted, story};

/// Of the index, its files and their compaction.
pub(super) const VALUE: &[Planted] = &[
    planted("merge_prefers_older", "loading the index takes the older record of a key").by(STORING),
    planted("tombstone_loaded_as_value", "loading the index takes a deletion for a value")
        .by(STORING),
    planted("expired_returned", "reads and scans answer values that have expired").by(STORING),
    planted("install_without_cas", "a moved record replaces a newer one in the index").by(STORING),
    planted("tombstone_dropped_early", "compaction drops a deletion that still hides").by(STORING),
    planted("compaction_forgets_a_victim", "one victim's records are dropped uncopied").by(STORING),
    planted(
        "index_does_not_say_what_is_over_first",
        "a node of the index does not know what is over",
    )
    .by(groups("over::what_is_over_and_not_said_is_noticed")),
    planted("compact_cold_keeps_dead", "a journal segment goes only together with all older ones")
        .by(groups("full::cold_segments_that_keep_dead_ones_are_noticed")),
    planted(
        "compaction_believes_what_never_counted",
        "a compaction drops what a snapshot replaced that never counted",
    )
    .by(story("ahead", "a_compaction_that_believes_what_never_counted_is_noticed")),
];

/// Of a store that has no replicas.
pub(super) const LONE: &[Planted] = &[
    planted("commit_not_synced", "a commit answers before its frame is synced").by(STORING),
    planted("index_at_append", "a frame is in the index though it was refused").by(STORING),
    planted("condition_ignored", "a write happens though its condition does not hold").by(STORING),
    planted(
        "condition_sees_only_the_index",
        "a condition does not see earlier batches of its own commit",
    )
    .by(STORING),
    planted("missing_delete_reported_done", "deleting nothing is reported as a deletion")
        .by(STORING),
    planted("batch_applied_by_halves", "readers see a part of a batch").by(STORING),
    planted("victims_dropped_unsynced", "victims go while newer records are unsynced")
        .by(LOSING_POWER),
];

/// Of the state that commands make.
pub(super) const STORE: &[Planted] = &[
    planted("store_repetition_runs_again", "a repetition is executed like a new request")
        .by(CLUSTERS),
    planted("store_reply_of_another", "a repetition hears the reply of another request").by(ROOM),
    planted("store_sessions_not_in_the_checkpoint", "a restart forgets who was told what")
        .by(CLUSTERS),
    planted("store_floor_falls", "a late request brings back what was forgotten").by(ROOM),
    planted(
        "store_forgotten_is_refused",
        "a request that may have been executed is called refused",
    )
    .by(ROOM),
    planted(
        "store_forgotten_client_is_new",
        "a repetition of a forgotten client is executed again",
    )
    .by(ROOM),
    planted("store_busy_client_is_forgotten", "a client makes room while it waits").by(ROOM),
    planted("store_time_falls", "a slower leader's stamp turns time back").by(ROOM),
    planted("store_expired_is_there", "an expired key is there until somebody throws it away")
        .by(ROOM),
    planted(
        "store_condition_on_an_older_version",
        "a version condition holds for newer versions too",
    )
    .by(CLUSTERS),
    planted(
        "store_checks_not_compared",
        "a transaction is done though what it checked has changed",
    )
    .by(DEALING),
    planted("store_transaction_by_halves", "what was done before a failing write stays").by(ROOM),
    planted("store_derived_loses_expiry", "a computed value lives for good").by(ROOM),
];
