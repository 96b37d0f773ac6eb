//! Each bug planted in the room, and whether anybody notices.
//!
//! For each: the stories are told, then random lives are lived, until a law breaks, a trace
//! differs, an assertion fails or a group does not get well. The table says which of them noticed
//! first, and how many lives it took. A bug that nobody notices fails the test.

use super::{script, walk};
use crate::mark::tests::{is_wrong, with};
use std::{boxed::Box, eprintln, format, panic, string::String, vec::Vec};

/// Name and what it breaks.
const PLANTED: &[(&str, &str)] = &[
    ("raft_ack_before_durable", "a follower acknowledges what its disk may lose"),
    ("raft_vote_before_durable", "a vote is sent that its disk may lose"),
    ("raft_own_vote_before_durable", "a candidate counts a vote that its disk may lose"),
    ("raft_own_copy_before_durable", "a leader counts a copy that its disk may lose"),
    ("raft_apply_before_durable", "the state takes what the own disk does not have"),
    ("raft_stale_completion_believed", "a completion of an older term attests the log of this one"),
    ("raft_completion_not_compared", "a completion attests whatever the log holds by now"),
    ("raft_votes_twice", "a replica votes for two candidates of one term"),
    ("raft_vote_for_any_log", "a replica votes for a log that is behind its own"),
    ("raft_refusal_teaches_nothing", "a refused pre-vote does not teach the higher term"),
    ("raft_old_terms_are_believed", "messages of old terms are taken in"),
    ("raft_quorum_is_half", "half of the voters are a majority"),
    ("raft_quorum_of_unsorted_values", "the majority's value is read from an unsorted list"),
    ("raft_joint_needs_one_majority", "a joint membership asks only its new half"),
    ("raft_commit_of_an_old_term", "an entry of an old term is committed by counting"),
    ("raft_commit_goes_back", "a follower lowers its commit index"),
    ("raft_heartbeat_commits_beyond_the_match", "a heartbeat commits what a follower may not have"),
    ("raft_append_without_a_check", "entries are taken whatever stands before them"),
    ("raft_append_cuts_always", "an append cuts whatever stands after it, conflict or not"),
    ("raft_stale_rejection_believed", "an old rejection moves a follower back"),
    ("raft_window_has_no_end", "appends are sent without end"),
    ("raft_probe_waits_forever", "a lost probe is never repeated"),
    ("raft_full_window_hides_compaction", "a full window hides that a snapshot is needed"),
    ("raft_base_taken_for_agreement", "logs that part below the base are probed forever"),
    ("raft_read_before_own_commit", "a new leader reads before it knows what is committed"),
    ("raft_read_by_any_answer", "an answer to an older round confirms a read"),
    ("raft_read_without_a_round", "a leader reads without asking anybody"),
    ("raft_lease_never_ends", "a lease has no end"),
    ("raft_old_lease_not_waited_for", "a new leader commits while an old lease holds"),
    ("raft_two_changes_at_once", "a change is taken before the last one is applied"),
    ("raft_change_before_own_commit", "a new leader takes a change before it has committed"),
    ("raft_campaign_with_unapplied_change", "a replica campaigns by a membership that is over"),
    (
        "raft_committed_change_forgotten",
        "a crash forgets that a change is committed, and its membership campaigns again",
    ),
    (
        "raft_refusal_hides_the_commit",
        "the only voter left never hears that it is, and nobody can be elected",
    ),
    ("raft_removed_leader_stays", "a leader that was removed goes on"),
    ("raft_ids_are_reused", "a removed replica's id joins again"),
    ("raft_old_snapshot_is_installed", "a snapshot replaces what is newer"),
    ("raft_transfer_before_caught_up", "a successor is told to campaign before it has the log"),
    ("raft_damaged_log_may_lead", "a replica with a damaged entry campaigns"),
    (
        "raft_damaged_entry_counts_as_absent",
        "a damaged entry does not count when logs are compared",
    ),
    ("raft_damaged_entry_is_acknowledged", "a damaged copy is acknowledged"),
    ("raft_one_denial_discards", "one peer that never had it discards a damaged entry"),
    (
        "raft_denial_without_a_new_term",
        "denials count while an old leader may still bring the entry",
    ),
    (
        "raft_forgotten_promise_is_broken",
        "a replica that lost its newest term takes entries of older leaders",
    ),
    ("raft_forgetful_replica_votes", "a replica that may lack what it acknowledged votes"),
    ("raft_quiet_follower_sleeps_on", "the death of a quiet group's leader is slept through"),
];

fn hunt(lives: u64) -> Option<String> {
    for (path, text) in script::all() {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let wrong = is_wrong(|| {
            let (told, broken) = script::perform(&text);
            broken.or_else(|| (told != text).then(|| "another trace".into()))
        });
        if let Some(wrong) = wrong {
            return Some(format!("{name}: {wrong}"));
        }
    }
    (1..=lives).find_map(|seed| {
        let wrong = is_wrong(|| walk::walk(seed, 1500))?;
        Some(format!("life {seed}: {wrong}"))
    })
}

#[test]
fn every_planted_bug_is_noticed() {
    panic::set_hook(Box::new(|_| {}));
    assert_eq!(with("", || hunt(20)), None, "without a bug nothing is wrong");
    let mut missed = Vec::new();
    for (name, breaks) in PLANTED {
        let found = with(name, || hunt(6000));
        let who = found.clone().unwrap_or_else(|| "NOBODY".into());
        eprintln!("{name} | {breaks} | {}", who.chars().take(110).collect::<String>());
        if found.is_none() {
            missed.push(*name);
        }
    }
    assert_eq!(missed, Vec::<&str>::new(), "bugs that nobody notices");
}
