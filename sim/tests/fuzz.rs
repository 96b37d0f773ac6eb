//! Bugs planted in what reads bytes, and the fuzzer's targets that notice them.
//!
//! Not here: the targets (`trilith_sim::fuzz`), bugs of what is done afterwards (`groups`).
#![cfg(feature = "mutants")]

use trilith_sim::{
    fuzz::{Target, targets},
    ledger::Ledger,
    swarm::caught,
};

/// Inputs after which a target is called blind.
const INPUTS: u64 = 30_000;

/// Whether that input is judged wrong.
fn fails(target: &Target, seed: u64) -> bool {
    !matches!(caught(|| (target.feed)(seed)), Ok(Ok(_)))
}

/// The target notices the bug, by an input that is right without it.
#[track_caller]
fn notices(target: &str, bug: &'static str) {
    let target = targets().iter().find(|known| known.name == target).expect("there is a target");
    let ledger = Ledger::new([bug]);
    let entered = ledger.enter();
    let found = (0..INPUTS).find(|seed| fails(target, *seed));
    drop(entered);
    let seed = found.unwrap_or_else(|| panic!("{} does not notice {bug}", target.name));
    assert!(!fails(target, seed), "{} 0x{seed:x} is wrong by itself", target.name);
}

#[test]
fn words_that_are_only_announced_and_take_memory_are_noticed() {
    notices("resp", "resp_announced_words_take_memory");
}

#[test]
fn answers_that_nest_for_ever_are_noticed() {
    notices("resp_answers", "resp_answers_nest_for_ever");
}

#[test]
fn requests_that_end_in_two_ways_are_noticed() {
    notices("http", "http_length_and_chunks_are_taken");
}

#[test]
fn conditions_that_are_forgotten_are_noticed() {
    notices("http_questions", "http_condition_is_forgotten");
}

#[test]
fn problems_that_repeat_everything_are_noticed() {
    notices("http_batches", "http_problems_repeat_everything");
    notices("http_questions", "http_problems_repeat_everything");
}

#[test]
fn halves_of_values_are_noticed() {
    notices("text", "text_takes_half_a_value");
}

#[test]
fn checksums_that_are_ignored_are_noticed() {
    notices("peer_frames", "peer_checksum_ignored");
}

#[test]
fn flags_that_mean_nothing_are_noticed() {
    notices("peer_packets", "peer_meaningless_flag_taken");
}

#[test]
fn greetings_of_anybody_are_noticed() {
    notices("peer_handshakes", "peer_any_greeting_taken");
}

#[test]
fn messages_with_bytes_that_mean_nothing_are_noticed() {
    notices("peer_calls", "resp_strange_message_taken");
}

#[test]
fn backups_whose_bytes_are_believed_are_noticed() {
    notices("backups", "backup_bodies_are_believed");
}

#[test]
fn logins_at_any_cost_are_noticed() {
    notices("users", "auth_any_cost_taken");
}

#[test]
fn secrets_that_can_be_guessed_are_noticed() {
    notices("secrets", "peer_any_secret_taken");
}
