//! kill -9 of a real process that writes with immediate durability: every acknowledged write is
//! there afterwards, and nothing is there that nobody wrote.
//!
//! The longer form, and how it works, is the program itself: `trilith kill --rounds 10000`.
//!
//! Not here: loss of power, which no real machine offers a test; the simulator does.

mod program;

use program::{Scratch, run};
use std::fs;

#[test]
fn every_acknowledged_write_outlives_a_kill() {
    let scratch = Scratch::new("every_acknowledged_write_outlives_a_kill");
    let dir = scratch.path("");
    let said = run(&["kill", "--rounds", "15", "--dir", &dir, "-o", "json"]).ok();
    assert!(said.contains("\"kills\":15") && said.contains("\"lost\":0"), "{said}");
    assert!(!said.contains("\"acknowledged_batches\":0,"), "{said}");
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 0, "something was left");
}

/// A judge that cannot refuse proves nothing: what was acknowledged is taken away.
#[test]
fn a_lost_write_is_noticed() {
    let scratch = Scratch::new("a_lost_write_is_noticed");
    let dir = scratch.path("data");
    let check = |told: &str| run(&["kill", "--child", &dir, "--only-check", "--told", told]);
    assert_eq!(check("0,0").ok(), "open 0 0\n");
    check("0,1").failed(3, "TR-E403");
    // A key of a thread's that no batch of it wrote.
    run(&["kv", &dir, "set", "t00/k07", "nobody"]).ok();
    check("0,0").failed(3, "TR-E403");
}
