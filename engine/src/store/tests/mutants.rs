//! Each bug planted in the room, and whether anybody notices.
//!
//! For each: the stories are told, then random lives are lived, until one goes wrong. The table says
//! who noticed first. A bug that nobody notices fails the test.

use super::{model, stories};
use crate::mark::tests::{is_wrong, with};
use std::{eprintln, format, string::String, vec::Vec};

/// Name and what it breaks.
const PLANTED: &[(&str, &str)] = &[
    ("store_repetition_runs_again", "a repetition is executed like a new request"),
    ("store_reply_of_another", "a repetition hears the reply of another request"),
    ("store_sessions_not_in_the_checkpoint", "a restart forgets who was told what"),
    ("store_floor_falls", "a late request brings back what was forgotten"),
    ("store_forgotten_is_refused", "a request that may have been executed is called refused"),
    ("store_forgotten_client_is_new", "a repetition of a forgotten client is executed again"),
    ("store_busy_client_is_forgotten", "a client makes room while it waits"),
    ("store_time_falls", "a slower leader's stamp turns time back"),
    ("store_expired_is_there", "an expired key is there until somebody throws it away"),
    ("store_condition_on_an_older_version", "a version condition holds for newer versions too"),
    ("store_transaction_by_halves", "what was done before a failing write stays"),
    ("store_derived_loses_expiry", "a computed value lives for good"),
];

fn hunt(lives: u64) -> Option<String> {
    for (name, story) in stories::ALL {
        let wrong = is_wrong(|| {
            story();
            None
        });
        if let Some(wrong) = wrong {
            return Some(format!("{name}: {wrong}"));
        }
    }
    hunt_lives(lives)
}

fn hunt_lives(lives: u64) -> Option<String> {
    (1..=lives).find_map(|seed| {
        is_wrong(|| model::live(seed, 400)).map(|wrong| format!("life {seed}: {wrong}"))
    })
}

#[test]
fn every_planted_bug_is_noticed() {
    assert_eq!(with("", || hunt(5)), None, "without a bug nothing is wrong");
    let mut missed = Vec::new();
    for (name, breaks) in PLANTED {
        let found = with(name, || hunt(20));
        let lived = with(name, || hunt_lives(20));
        let short = |found: Option<String>| {
            let who = found.map_or("nobody".into(), |who| who.replace('\n', " "));
            who.chars().take(70).collect::<String>()
        };
        if found.is_none() {
            missed.push(*name);
        }
        eprintln!("{name} | {breaks} | {} | {}", short(found), short(lived));
    }
    assert_eq!(missed, Vec::<&str>::new(), "bugs that nobody notices");
}
