//! The bugs planted in the journal: what a disk does with what was written, and what is believed of
//! it afterwards.

use super::{CRASHING, DAMAGING, OPENING, Planted, REPLACING, groups, planted, story};

/// The journal's.
pub(super) const JOURNAL: &[Planted] = &[
    planted("no_fsync", "append answers before the file is synced").by(CRASHING),
    planted("ignored_fsync_error", "a failed sync counts as a sync").by(CRASHING),
    planted("ack_before_sync", "records count as durable before their sync").by(CRASHING),
    planted("no_fsync_data_segment", "a data segment is added to the manifest unsynced")
        .by(CRASHING),
    planted("no_fsync_manifest", "a new manifest is renamed unsynced").by(CRASHING),
    planted("edit_not_synced", "an edit of the manifest is acted on before its sync").by(CRASHING),
    planted("no_dir_sync_manifest", "the name of a new manifest is not synced").by(OPENING),
    planted("no_dir_sync_current", "the rename of CURRENT is not synced").by(CRASHING),
    planted("no_dir_sync_segment", "the name of a new journal segment is not synced").by(CRASHING),
    planted("no_dir_sync_data_segment", "the name of a data segment is not synced").by(CRASHING),
    planted("no_dir_sync_recycle", "the rename of a recycled segment is not synced").by(CRASHING),
    planted(
        "current_renamed_without_sync",
        "CURRENT is renamed into place before its bytes are synced",
    )
    .by(CRASHING),
    planted("rewrite_without_sync", "a rewritten file replaces the old one unsynced").by(CRASHING),
    planted("rotate_without_sync", "rotation leaves the old segment's tail unsynced").by(CRASHING),
    planted("seal_before_sync", "a segment is sealed before its footer is synced").by(DAMAGING),
    planted("segment_used_before_its_edit", "a segment is written before the manifest lists it")
        .by(CRASHING),
    planted("header_not_checked", "headers are believed without their checksum").by(DAMAGING),
    planted("header_of_another_segment", "a header of another segment or store is believed")
        .by(DAMAGING),
    planted("unlisted_taken_for_orphan", "a segment that the manifest has forgotten is removed")
        .by(DAMAGING),
    planted("lost_edit_not_missed", "an edit that frames rest on counts as never made")
        .by(DAMAGING),
    planted("torn_tail_kept", "a torn frame is kept when its header is whole").by(CRASHING),
    planted("manifest_edit_after_rename", "CURRENT names a manifest not yet written").by(CRASHING),
    planted("frame_crc_without_position", "a frame verifies wherever it stands").by(DAMAGING),
    planted("frame_body_not_checked", "the body of a frame is believed").by(DAMAGING),
    planted("chain_not_checked", "a frame need not follow the one before it").by(DAMAGING),
    planted("no_record_crc", "records are served without looking at their checksum").by(CRASHING),
    planted("record_identity_not_checked", "a record is served whatever key it belongs to")
        .by(DAMAGING),
    planted("hint_unchecked", "hints are trusted without their checksum").by(DAMAGING),
    planted("no_resync", "recovery does not look behind damage").by(DAMAGING),
    planted("rot_taken_for_a_tail", "rot in the middle is cut off like a torn tail").by(DAMAGING),
    planted("ambiguous_taken_for_torn", "an ambiguous tail is cut off without asking").by(DAMAGING),
    planted("durable_lsn_too_high", "frames claim more to be durable than was synced").by(CRASHING),
    planted("append_to_old_tail", "a new life appends into the segment of the old one")
        .by(CRASHING),
    planted("recycle_pinned", "a segment that somebody reads is recycled").by(CRASHING),
    planted("recycled_without_zeroing", "a recycled segment keeps its old bytes").by(CRASHING),
    planted("directory_of_another_opened", "a node opens the directory of another member")
        .by(REPLACING),
    planted(
        "journal_doubt_is_forgotten",
        "the next life knows nothing of the doubt about a journal's end",
    )
    .by(groups("a_lost_end_that_is_forgotten_is_noticed")),
    planted("journal_copies_take_the_reserve", "copies take the room that deletions need")
        .by(groups("full::intakes_that_leave_too_much_or_too_little_are_noticed")),
    planted("journal_relief_takes_the_roll", "relief takes the room that the manifest needs")
        .by(story("refusals", "deletions_that_leave_the_manifest_no_room_are_noticed")),
    planted("dead_record_in_hints", "hints have records that are dead")
        .by(story("exhaust", "planted::every_planted_bug_is_noticed")),
    planted(
        "encoded_records_not_in_the_directory",
        "a frame's directory lacks what was encoded elsewhere",
    )
    .by(story("exhaust", "planted::every_planted_bug_is_noticed")),
    planted("footer_before_settle", "a segment gets its footer before its owner settles it")
        .by(story("exhaust", "planted::every_planted_bug_is_noticed")),
    planted(
        "tail_in_the_order_of_numbers",
        "the tail is read in the order of numbers, not of records",
    )
    .by(story("exhaust", "planted::every_planted_bug_is_noticed")),
];
