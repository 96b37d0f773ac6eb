//! kill -9 of a real process that writes with immediate durability: every acknowledged write is
//! there afterwards, and nothing is there that nobody wrote.
//!
//! The process reads lines and prints each key once its write is durable. It is killed while it
//! works, after a number of acknowledgements that differs from round to round, so no test waits
//! for a clock.
//!
//! Not here: loss of power, which no real machine offers a test; the simulator does.

mod program;

use program::{Scratch, run, trilith};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    thread,
};

const ROUNDS: u32 = 12;

/// The value of a key, so that a damaged one is noticed.
fn value(key: &str) -> String {
    key.repeat(7)
}

/// Writes until so many writes are acknowledged, then kills. Answers the acknowledged keys.
fn write_and_kill(dir: &str, round: u32, acknowledged_min: usize) -> Vec<String> {
    let mut child = trilith()
        .args(["kv", dir, "load", "--ack"])
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("it was piped");
    let feeder = thread::spawn(move || {
        // Far more than it will live to read; the pipe breaks when it is killed.
        for number in 0..1_000_000 {
            let key = format!("r{round}-{number:06}");
            if writeln!(input, "{key}\t{}", value(&key)).is_err() {
                break;
            }
        }
    });
    let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let mut acknowledged = Vec::new();
    for line in lines.by_ref().take(acknowledged_min) {
        acknowledged.push(line.expect("text"));
    }
    assert_eq!(acknowledged.len(), acknowledged_min, "it ended before it was killed");
    child.kill().expect("it runs");
    // What it had acknowledged before it died and we had not read yet counts too, except for a
    // last line that was cut.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let whole = acknowledged[0].len();
    acknowledged.extend(rest.into_iter().filter(|line| line.len() == whole));
    child.wait().expect("it was killed");
    feeder.join().expect("the feeder ends when the pipe breaks");
    acknowledged
}

#[test]
fn every_acknowledged_write_outlives_a_kill() {
    let scratch = Scratch::new("every_acknowledged_write_outlives_a_kill");
    let dir = scratch.path("data");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let keys = write_and_kill(&dir, round, 1 + 37 * (round as usize % 11));
        acknowledged.extend(keys.into_iter().map(|key| (key.clone(), value(&key))));

        let found = run(&["kv", &dir, "scan"]).ok();
        let found: BTreeMap<&str, &str> =
            found.lines().map(|line| line.split_once('\t').expect("two columns")).collect();
        for (key, value) in &acknowledged {
            assert_eq!(found.get(key.as_str()), Some(&value.as_str()), "{key} in round {round}");
        }
        for (key, found) in &found {
            assert_eq!(*found, value(key), "nobody wrote this to {key}");
        }
    }
    run(&["kv", &dir, "verify"]).ok();
}
