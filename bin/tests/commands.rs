//! The commands as a user meets them: what they print, how they end, and what a pipe sees.
//!
//! Not here: bad input (`bad_input.rs`), kill -9 (`kill.rs`).

mod program;

use program::{Answer, Scratch, run, trilith};
use std::{fs, io::Write, process::Stdio};

#[test]
fn a_key_goes_in_and_comes_out() {
    let scratch = Scratch::new("a_key_goes_in_and_comes_out");
    let dir = scratch.path("data");
    run(&["kv", &dir, "set", "hello", "world"]).ok();
    assert_eq!(run(&["kv", &dir, "get", "hello"]).ok(), "world\n");
    assert_eq!(run(&["kv", &dir, "get", "hello", "--raw"]).ok(), "world");
    let json = run(&["-o", "json", "kv", &dir, "get", "hello"]).ok();
    assert_eq!(json, "{\"key\":\"hello\",\"value\":\"world\"}\n");
    run(&["kv", &dir, "delete", "hello"]).ok();
    run(&["kv", &dir, "get", "hello"]).failed(4, "TR-E201");
}

#[test]
fn a_scan_takes_a_prefix_a_range_and_a_limit() {
    let scratch = Scratch::new("a_scan_takes_a_prefix_a_range_and_a_limit");
    let dir = scratch.path("data");
    let lines: String = (0..300).map(|number| format!("k{number:03}\tv{number}\n")).collect();
    fs::write(scratch.path("lines"), lines).expect("scratch can be written");
    run(&["kv", &dir, "load", &scratch.path("lines")]).ok();

    let scan = |more: &[&str]| run(&[&["kv", &dir, "scan"], more].concat()).ok();
    assert_eq!(scan(&[]).lines().count(), 300);
    assert_eq!(scan(&["--prefix", "k01"]).lines().count(), 10);
    assert_eq!(scan(&["--from", "k298"]), "k298\tv298\nk299\tv299\n");
    assert_eq!(scan(&["--to", "k001"]), "k000\tv0\n");
    assert_eq!(scan(&["--limit", "1", "--keys-only"]), "k000\n");
    assert_eq!(scan(&["--prefix", "k29", "--from", "k299"]), "k299\tv299\n");
    let json = run(&["-o", "json", "kv", &dir, "scan", "--limit", "1"]).ok();
    assert_eq!(json, "{\"key\":\"k000\",\"value\":\"v0\"}\n");

    let stats = run(&["kv", &dir, "stats", "-o", "json"]).ok();
    assert!(stats.contains("\"keys\":300"), "{stats}");
    run(&["kv", &dir, "compact"]).ok();
    run(&["kv", &dir, "verify"]).ok();
    assert_eq!(scan(&[]).lines().count(), 300);
    let overview = run(&["inspect", &dir]).ok();
    for word in ["CURRENT", "NODE", "manifest", "whole"] {
        assert!(overview.contains(word), "{word} is not in {overview}");
    }
}

/// A record of the first format.
fn seed_record(operation: u8, key: &str, value: &str) -> Vec<u8> {
    let mut body = vec![operation];
    body.extend((key.len() as u32).to_le_bytes());
    body.extend((value.len() as u32).to_le_bytes());
    body.extend(key.as_bytes());
    body.extend(value.as_bytes());
    let crc = trilith_engine::codec::crc(0, &body).to_le_bytes();
    [b"KV01".as_slice(), &1_u16.to_le_bytes(), &body, &crc].concat()
}

#[test]
fn a_log_of_the_first_format_is_read_and_taken_over() {
    let scratch = Scratch::new("a_log_of_the_first_format_is_read_and_taken_over");
    let (dir, log) = (scratch.path("data"), scratch.path("current.log"));
    let mut bytes: Vec<u8> = [(0, "a", "1"), (0, "b", "2"), (0, "a", "3"), (1, "b", "")]
        .into_iter()
        .flat_map(|(operation, key, value)| seed_record(operation, key, value))
        .collect();
    fs::write(&log, &bytes).expect("scratch can be written");
    let shown = run(&["inspect", &log, "-o", "json"]).ok();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    run(&["kv", &dir, "import", &log]).ok();
    assert_eq!(run(&["kv", &dir, "scan"]).ok(), "a\t3\n");

    // A tail that was being written when the process died is shown and not taken.
    let tail = seed_record(0, "c", "4");
    bytes.extend(&tail[..tail.len() - 3]);
    fs::write(&log, &bytes).expect("scratch can be written");
    run(&["inspect", &log]).failed(3, "TR-E303");
    let other = scratch.path("other");
    run(&["kv", &other, "import", &log]).failed(3, "TR-E303");
    assert_eq!(run(&["kv", &other, "scan"]).ok(), "a\t3\n");
}

#[test]
fn a_value_may_come_from_a_pipe() {
    let scratch = Scratch::new("a_value_may_come_from_a_pipe");
    let dir = scratch.path("data");
    let mut child = trilith()
        .args(["kv", &dir, "set", "piped", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(b"\x00\xff\n").expect("it reads");
    drop(input);
    Answer::of(child.wait_with_output().expect("it ends")).ok();
    let output = trilith().args(["kv", &dir, "get", "piped", "--raw"]).output();
    assert_eq!(output.expect("the program starts").stdout, b"\x00\xff\n");
}

#[test]
fn a_pipe_sees_no_colour_and_no_next_step() {
    let scratch = Scratch::new("a_pipe_sees_no_colour_and_no_next_step");
    let set = run(&["kv", &scratch.path("data"), "set", "a", "b"]);
    assert_eq!((set.out.as_str(), set.err.as_str()), ("", ""));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new("a_reader_that_goes_away_is_no_failure");
    let dir = scratch.path("data");
    let lines: String =
        (0..2000).map(|number| format!("k{number:05}\t{}\n", "v".repeat(100))).collect();
    fs::write(scratch.path("lines"), lines).expect("scratch can be written");
    run(&["kv", &dir, "load", &scratch.path("lines")]).ok();
    let mut child = trilith().args(["kv", &dir, "scan"]).spawn().expect("the program starts");
    drop(child.stdout.take());
    let answer = Answer::of(child.wait_with_output().expect("it ends"));
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{answer:?}");
}

#[test]
fn every_command_explains_itself() {
    for arguments in [
        vec!["--help"],
        vec!["kv", "--help"],
        vec!["demo", "--help"],
        vec!["standalone", "--help"],
        vec!["sim", "--help"],
        vec!["inspect", "--help"],
        vec!["bench", "engine", "--help"],
        vec!["ctl", "config", "--help"],
        vec!["bench", "values", "--help"],
        vec!["bench", "cluster", "--help"],
        vec!["bench", "redis", "--help"],
    ] {
        assert!(run(&arguments).ok().contains("Usage: trilith"), "{arguments:?}");
    }
    let version = run(&["-o", "json", "version"]).ok();
    assert!(version.starts_with("{\"version\":\""), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).ok().contains("trilith"), "{shell}");
    }
    assert_eq!(run(&["frobnicate"]).code, Some(2));
    assert_eq!(run(&[]).code, Some(2));
}

#[test]
fn what_is_measured_is_drawn() {
    let scratch = Scratch::new("what_is_measured_is_drawn");
    let (dir, plots) = (scratch.path(""), scratch.path("plots/of/today"));
    let bench = ["bench", "engine", "--dir", &dir, "--keys", "1000", "--seconds", "0.2", "--plot"];
    let told = run(&[&bench[..], &[plots.as_str()]].concat()).ok();
    let mut names: Vec<String> = fs::read_dir(&plots)
        .expect("it was made")
        .map(|entry| entry.expect("it is there").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let expected =
        ["latency-by-percentile.svg", "latency-over-time.svg", "throughput-over-time.svg"];
    assert_eq!(names, expected);
    for name in names {
        assert!(told.contains(&format!("{plots}/{name}")), "{name} is not in {told}");
        let picture = fs::read_to_string(format!("{plots}/{name}")).expect("it is text");
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
        for load in ["writes", "point reads", "scans of 100"] {
            assert!(picture.contains(&format!(">{load}")), "{load} is not in {picture}");
        }
        assert!(!picture.contains("NaN"), "{picture}");
    }
    // Nobody waits for a measurement that cannot be drawn.
    let taken = scratch.path("taken");
    fs::write(&taken, "a file").expect("scratch can be written");
    run(&[&bench[..], &[taken.as_str()]].concat()).failed(1, "TR-E901");
}

#[test]
fn a_node_is_asked_through_redis_protocol_and_leaves_nothing_behind() {
    let scratch = Scratch::new("a_node_is_asked_through_redis_protocol");
    let dir = scratch.path("");
    let small = ["--keys", "200", "--rounds", "1", "--seconds", "0.2"];
    let shape = ["--connections", "2", "--pipeline", "4", "--alone", "--no-tool"];
    let bench = ["-o", "json", "bench", "redis", "--dir", &dir];
    let told = run(&[&bench[..], &small, &shape].concat()).ok();
    let is_row = |line: &&str| line.contains("\"server\":\"trilith\"");
    let rows: Vec<&str> = told.lines().filter(is_row).collect();
    let begins =
        [("set", "pipeline"), ("get", "pipeline"), ("set", "of_pipeline"), ("get", "of_pipeline")];
    assert_eq!(rows.len(), begins.len(), "{told}");
    for (row, (ask, pipeline)) in rows.into_iter().zip(begins) {
        let begin = format!("{{\"ask\":\"{ask}\",\"connections\":2,\"{pipeline}\":4,");
        assert!(row.starts_with(&begin) && row.ends_with(",\"failed\":0}"), "{row}");
        assert!(row.contains("\"durable\":\"before the answer\""), "{row}");
        assert!(!row.contains("\"per_s\":0.0000"), "{row}");
    }
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0, "{dir} is not empty");
    // Each group may have a leader of its own, and such a client knows of one.
    let of_many = ["bench", "cluster", "--through", "resp", "--groups", "2", "--dir", &dir];
    run(&of_many).failed(2, "TR-E501");
}

#[test]
fn a_cluster_is_ended_and_started_again() {
    let scratch = Scratch::new("a_cluster_is_ended");
    let dir = scratch.path("bench");
    fs::create_dir(&dir).expect("scratch can be written");
    let small = ["--rounds", "0", "--events", "restart", "--stored", "2000", "--alone"];
    let told = run(&[&["-o", "json", "bench", "cluster", "--dir", &dir][..], &small].concat()).ok();
    for way in ["ended in order", "kill -9 of all"] {
        for what in ["read", "write"] {
            let name = format!("ours: {way}, start of all to the first {what}, median");
            assert!(told.contains(&name), "{name} is not in {told}");
        }
    }
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0, "{dir} is not empty");
}

#[test]
fn a_workload_is_simulated_and_the_same_words_are_the_same_run() {
    let scratch = Scratch::new("a_workload_is_simulated");
    let (load, page) = (scratch.path("shop.load"), scratch.path("run.html"));
    let lines = "0ms c0 k1 set\n12.5ms c1 k1 get\n20ms c0 k2 incr 5\n";
    fs::write(&load, lines).expect("scratch can be written");
    let usual = ["-o", "json", "sim", &load, "--nodes", "3"];
    let sim = |more: &[&str]| run(&[&usual[..], more].concat());
    let once = sim(&["--seed", "7", "--html", &page]).ok();
    for part in ["\"seed\":\"0x7\"", "\"refused\":null", "\"digest\":\""] {
        assert!(once.contains(part), "{part} is not in {once}");
    }
    assert_eq!(sim(&["--seed", "0x7"]).ok(), once);
    let played = fs::read_to_string(&page).expect("it was written");
    assert!(
        played.contains("trilith sim") && !played.contains("cargo run"),
        "how to have it again"
    );
    let calm = sim(&["--faults", "none", "--seeds", "3", "--from", "5"]).ok();
    assert!(calm.contains("\"seeds\":3,\"refused\":0"), "{calm}");
    fs::write(&load, "0ms c0 k1 set\n1ms c0 k1 jump\n").expect("scratch can be written");
    let wrong = sim(&[]);
    assert!(wrong.err.contains("shop.load:2: "), "{wrong:?}");
    wrong.failed(2, "TR-E203");
    run(&["sim", &scratch.path("nowhere.load")]).failed(1, "TR-E301");
    // Nobody can plant bugs here.
    assert_eq!(run(&["sim", "--mutant", "journal_no_sync"]).code, Some(2));
}

#[test]
fn a_machine_is_looked_at() {
    let scratch = Scratch::new("a_machine_is_looked_at");
    let dir = scratch.path("not/there/yet");
    let doctor = |ports: &str| run(&["doctor", "--data", &dir, "--ports", ports]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("it listens").to_string();
    let ill = doctor(&at);
    for check in ["data can be written", "durable write", "open files", "memory", "clock"] {
        assert!(ill.out.contains(check), "{ill:?}");
    }
    assert!(ill.out.contains(&format!("somebody listens at {at}")), "{ill:?}");
    ill.failed(3, "TR-E518");
    assert_eq!(fs::read_dir(scratch.path("")).expect("it is there").count(), 0, "nothing stays");

    let file = scratch.path("file");
    fs::write(&file, "").expect("scratch can be written");
    let ill = run(&["doctor", "--data", &file, "--ports", &at]);
    assert!(ill.out.contains("Not a directory"), "{ill:?}");
}
