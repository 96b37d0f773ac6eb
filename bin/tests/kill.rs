//! kill -9 of a real process that writes with immediate durability: every acknowledged write is
//! there afterwards, and nothing is there that nobody wrote.
//!
//! The same for clusters of processes, where whole histories are judged as the simulator judges its
//! own.
//!
//! The longer forms, and how they work, are the program itself: `trilith kill --rounds 10000`,
//! `trilith kill cluster --rounds 100`.
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

/// Nodes are killed, paused and ended while clients ask; everything that was answered is explained
/// by one order, and in the end all nodes hold the same.
fn a_cluster_outlives_kills(name: &str, nodes: &str) {
    let scratch = Scratch::new(name);
    let dir = scratch.path("");
    let usual = ["kill", "cluster", "--rounds", "1", "--seconds", "6", "-o", "json"];
    let said = run(&[&usual[..], &["--dir", &dir, "--nodes", nodes]].concat()).ok();
    assert!(said.contains("\"lost\":0") && !said.contains("\"kills\":0,"), "{said}");
    assert!(!said.contains("\"answered\":0,"), "{said}");
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 0, "something was left");
}

#[test]
fn a_cluster_of_three_outlives_kills() {
    a_cluster_outlives_kills("a_cluster_of_three_outlives_kills", "3");
}

#[test]
fn a_cluster_of_five_outlives_kills() {
    a_cluster_outlives_kills("a_cluster_of_five_outlives_kills", "5");
}

/// A judge that cannot refuse proves nothing: the nodes lose their memory.
#[test]
fn a_cluster_that_forgets_is_noticed() {
    let scratch = Scratch::new("a_cluster_that_forgets_is_noticed");
    let dir = scratch.path("");
    let usual = ["kill", "cluster", "--rounds", "1", "--seconds", "1", "--wipe"];
    run(&[&usual[..], &["--dir", &dir]].concat()).failed(3, "TR-E403");
}
