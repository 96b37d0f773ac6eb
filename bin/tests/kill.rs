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

/// Nodes are killed, paused and ended while clients ask, and one loses its directory; everything that was answered is explained
/// by one order, and in the end all nodes hold the same.
fn a_cluster_outlives_kills(name: &str, nodes: &str, through: &str) {
    let scratch = Scratch::new(name);
    let dir = scratch.path("");
    let usual = ["kill", "cluster", "--rounds", "1", "--seconds", "6", "--lose", "1", "-o", "json"];
    let more = ["--dir", &dir, "--nodes", nodes, "--through", through];
    let said = run(&[&usual[..], &more].concat()).ok();
    assert!(said.contains("\"lost\":0") && !said.contains("\"kills\":0,"), "{said}");
    assert!(!said.contains("\"answered\":0,") && said.contains("\"replaced\":1,"), "{said}");
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 0, "something was left");
}

#[test]
fn a_cluster_of_three_outlives_kills() {
    a_cluster_outlives_kills("a_cluster_of_three_outlives_kills", "3", "sdk");
}

#[test]
fn a_cluster_of_five_outlives_kills() {
    a_cluster_outlives_kills("a_cluster_of_five_outlives_kills", "5", "sdk");
}

#[test]
fn a_cluster_that_redis_clients_ask_outlives_kills() {
    a_cluster_outlives_kills("a_cluster_that_redis_clients_ask_outlives_kills", "3", "resp");
}

/// A judge that cannot refuse proves nothing: the nodes lose their memory.
#[test]
fn a_cluster_that_forgets_is_noticed() {
    let scratch = Scratch::new("a_cluster_that_forgets_is_noticed");
    let dir = scratch.path("");
    let usual = ["kill", "cluster", "--rounds", "1", "--seconds", "1", "--wipe"];
    for through in ["sdk", "resp"] {
        let more = ["--dir", &dir, "--through", through];
        run(&[&usual[..], &more].concat()).failed(3, "TR-E403");
    }
}

/// Whoever ends the program, however, ends what it started: nothing listens or writes on.
#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_running_when_the_program_is_killed() {
    let scratch = Scratch::new("nothing_is_left_running_when_the_program_is_killed");
    let dir = scratch.path("");
    let mut command = program::trilith();
    command.args(["kill", "cluster", "--rounds", "9", "--seconds", "60", "--dir", &dir]);
    let mut killer = command.spawn().expect("it starts");
    // What it starts works in a directory that is named after it.
    let dir = format!("{dir}trilith-{}", killer.id());
    let wait = |is_over: &dyn Fn(usize) -> bool| {
        for _ in 0..2_000 {
            if is_over(running_in(&dir).len()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("these run: {:#?}", running_in(&dir));
    };
    wait(&|running| running > 0);
    killer.kill().expect("it runs");
    killer.wait().expect("it ends");
    wait(&|running| running == 0);
}

/// The processes that were started with an argument that begins so.
#[cfg(target_os = "linux")]
fn running_in(dir: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("this is Linux").flatten();
    let lines = all.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    let names = |line: &String| line.split('\0').any(|word| word.starts_with(dir));
    lines.filter(names).collect()
}
