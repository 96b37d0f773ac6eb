//! A cluster as an operator meets it: three processes, a client, an orderly end, and everything
//! that can be configured wrongly.
//!
//! Not here: kill -9 and what the histories say then (`kill.rs`).

mod program;

use program::{Answer, Redis, Scratch, Server, addresses, run, trilith};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use trilith_engine::{
    codec,
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
};

/// A cluster of three: where its directories are, and the arguments that all nodes share.
struct Three {
    scratch: Scratch,
    at: Vec<String>,
    members: String,
}

impl Three {
    fn new(name: &str) -> Self {
        let at: Vec<String> = addresses(3).iter().map(ToString::to_string).collect();
        let members = at.iter().enumerate().map(|(node, at)| format!("{}={at}", node + 1));
        let members = members.collect::<Vec<_>>().join(",");
        Self { scratch: Scratch::new(name), at, members }
    }

    fn arguments(&self, node: usize, more: &[&str]) -> Vec<String> {
        let data = self.scratch.path(&format!("n{node}"));
        let node = node.to_string();
        let members = ["--members", &self.members, "--data", &data, "--election-ms", "300"];
        let all = [&["server", "--node", &node], &members[..], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn start(&self, node: usize) -> Server {
        self.start_with(node, &[])
    }

    fn start_with(&self, node: usize, more: &[&str]) -> Server {
        Server::of(&strs(&self.arguments(node, more)))
    }

    fn ask(&self, what: &[&str]) -> program::Answer {
        run(&[&["cli", "--at", &self.at.join(","), "--within-ms", "20000"], what].concat())
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn three_nodes_are_one_store() {
    let cluster = Three::new("three_nodes_are_one_store");
    let mut nodes: Vec<_> = (1..=3).map(|node| Some(cluster.start(node))).collect();
    cluster.ask(&["set", "hello", "world"]).ok();
    assert_eq!(cluster.ask(&["incr", "sum", "40"]).ok(), "40\n");
    assert_eq!(cluster.ask(&["-o", "json", "incr", "sum", "-5"]).ok().matches("\"35\"").count(), 1);
    // Each is ended in order, started again, and nothing is missing meanwhile.
    for (node, running) in (1..).zip(&mut nodes) {
        let ended = running.take().expect("it runs").end("-TERM");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.calm();
        assert_eq!(cluster.ask(&["get", "hello"]).ok(), "world\n");
        *running = Some(cluster.start(node));
    }
    let status =
        |what: &[&str]| run(&[&["ctl", "status", "--at", &cluster.at.join(",")], what].concat());
    let shown = status(&["-o", "json"]).ok();
    assert_eq!(shown.matches("\"leads\":1").count(), 1, "{shown}");
    assert_eq!(shown.matches("\"groups\":1").count(), 3, "{shown}");
    // One alone says what it knows: all of it, if it leads, or who does.
    let named = |at: &String| run(&["ctl", "status", "-o", "json", "--at", at]);
    let told: Vec<_> = cluster.at.iter().map(named).collect();
    assert!(told.iter().all(|one| one.code == Some(0)), "{told:?}");
    let hearsay = told.iter().filter(|one| one.out.contains(r#""leads":0,"others_led_by":""#));
    assert_eq!(hearsay.count(), 2, "{told:?}");
    // What nodes read of the environment, who asks reads too.
    let mut asked = trilith();
    asked.env("TRILITH_CLUSTER__MEMBERS", &cluster.members).args(["ctl", "health"]);
    Answer::of(asked.output().expect("it starts")).ok();
    let health = || run(&["ctl", "health", "--at", &cluster.at.join(",")]);
    assert_eq!(health().ok().matches("yes").count(), 8);
    let one = run(&["ctl", "health", "--at", &cluster.at[0]]);
    assert!(one.err.contains("members are asked: nobody asked node 2"), "{one:?}");
    cluster.ask(&["delete", "hello"]).ok();
    cluster.ask(&["get", "hello"]).failed(4, "TR-E201");
    cluster.ask(&["delete", "hello"]).failed(4, "TR-E201");
    cluster.ask(&["set", "word", "w"]).ok();
    cluster.ask(&["incr", "word"]).failed(2, "TR-E203");
    // Any node has it, sooner or later; a majority is enough to know.
    assert_eq!(nodes.pop().flatten().expect("it runs").end("-KILL").code, None);
    let ill = health();
    assert!(
        ill.err.contains("nodes answer: ") && ill.err.contains(": connection refused"),
        "{ill:?}"
    );
    assert!(!ill.err.contains("refused ("), "said once: {ill:?}");
    ill.failed(3, "TR-E517");
    assert_eq!(cluster.ask(&["get", "word", "--level", "quorum"]).ok(), "w\n");
}

/// It is refused with an empty directory, and the cluster gives it new replicas when it is asked to.
#[test]
fn a_node_that_lost_its_directory_is_replaced() {
    let cluster = Three::new("a_node_that_lost_its_directory_is_replaced");
    let mut nodes: Vec<_> = (1..=3).map(|node| cluster.start(node)).collect();
    cluster.ask(&["set", "hello", "world"]).ok();
    let replace = |node: &str, what: &[&str]| {
        let usual = ["ctl", "replace", node, "--at", &cluster.at.join(",")];
        run(&[&usual[..], what].concat())
    };
    replace("7", &[]).failed(4, "TR-E508");
    // Nobody is there who could answer; an hour does not change that.
    let nowhere = addresses(1)[0].to_string();
    let nobody = run(&["ctl", "replace", "3", "--timeout", "3600", "--at", &nowhere]);
    nobody.failed_after_its_log(3, "TR-E504");
    replace("3", &[]).failed(5, "TR-E507");
    nodes.pop().expect("there are three").end("-KILL");
    replace("3", &["--timeout", "4"]).failed_after_its_log(3, "TR-E509");
    fs::remove_dir_all(cluster.scratch.path("n3")).expect("it is there");
    let refused = cluster.start(3).ended();
    assert!(refused.err.contains("trilith ctl replace 3"), "{refused:?}");
    refused.failed_after_its_log(1, "TR-E109");
    // Seated now; what it is to hold waits until it runs.
    replace("3", &["--timeout", "2"]).failed_after_its_log(6, "TR-E510");
    nodes.push(cluster.start(3));
    let done = replace("3", &[]);
    assert_eq!(done.ok(), "node 3: 1 of 1 groups have their new replica\n");
    assert!(replace("3", &["-o", "json"]).ok().contains("\"replaced\":1"), "once more is as good");
    // It counts: with it, two of three go on.
    nodes.remove(0).end("-KILL");
    cluster.ask(&["set", "hello", "again"]).ok();
    assert_eq!(nodes.pop().expect("it runs").end("-KILL").code, None);
    nodes.push(cluster.start(3));
    assert_eq!(cluster.ask(&["get", "hello"]).ok(), "again\n");
    // One of three cannot decide that.
    drop(nodes.pop());
    fs::remove_dir_all(cluster.scratch.path("n1")).expect("it is there");
    let alone = cluster.start(1).ended();
    alone.failed_after_its_log(1, "TR-E109");
    replace("1", &["--timeout", "2"]).failed_after_its_log(6, "TR-E510");
}

/// It ends as a follower: somebody else campaigns, and nobody waits for an election timeout.
#[test]
fn a_leader_that_is_ended_hands_over() {
    let cluster = Three::new("a_leader_that_is_ended_hands_over");
    let mut nodes: Vec<_> = (1..=3).map(|node| Some(cluster.start(node))).collect();
    cluster.ask(&["set", "hello", "world"]).ok();
    let status = |at: &String| run(&["ctl", "status", "-o", "json", "--at", at]);
    let leads = |at: &String| status(at).ok().contains("\"leads\":1");
    let leader = cluster.at.iter().position(leads).expect("somebody led just now");
    let ended = nodes[leader].take().expect("it runs").end("-TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (_, last_words) = ended.err.split_once("asked to stop").expect("it says that it stops");
    assert!(last_words.contains(r#""role":"follower""#), "{ended:?}");
    assert_eq!(cluster.ask(&["get", "hello"]).ok(), "world\n");
}

#[test]
fn without_a_majority_nothing_happens() {
    let cluster = Three::new("without_a_majority_nothing_happens");
    let alone = cluster.start(2);
    let ask = |what: &[&str]| {
        run(&[&["cli", "--at", &cluster.at.join(","), "--within-ms", "1500"], what].concat())
    };
    ask(&["set", "hello", "world"]).failed(3, "TR-E504");
    ask(&["get", "hello"]).failed(3, "TR-E504");
    let status = run(&["ctl", "status", "--at", &cluster.at.join(",")]);
    assert!(status.out.contains("connection refused"), "{status:?}");
    status.failed(3, "TR-E504");
    // It cannot hand over what it does not lead: it simply ends.
    assert_eq!(alone.end("-INT").code, Some(0));
}

/// Only who knows the secret comes in, and then the nodes' port may be anywhere.
#[test]
fn a_cluster_with_a_secret_takes_nobody_else() {
    let cluster = Three::new("a_cluster_with_a_secret_takes_nobody_else");
    let (file, other) = (cluster.scratch.path("secret"), cluster.scratch.path("other"));
    for path in [&file, &other] {
        let made = run(&["config", "secret"]).ok();
        assert_eq!(made.len(), 65, "{made}");
        fs::write(path, made).expect("scratch can be written");
    }
    let port = cluster.at[0].rsplit(':').next().expect("it has a port").to_owned();
    let everywhere = ["--secret-file", &file, "--listen", &format!("0.0.0.0:{port}")];
    let _first = cluster.start_with(1, &everywhere);
    let _second = cluster.start_with(2, &["--secret-file", &file]);
    // All three must be there once.
    let third = cluster.start_with(3, &["--secret-file", &file]);
    // Any of them may lead.
    let at = cluster.at.join(",");
    let ask = |within: &str, more: &[&str], what: &[&str]| {
        run(&[&["cli", "--at", &at, "--within-ms", within], more, what].concat())
    };
    ask("20000", &["--secret-file", &file], &["set", "hello", "world"]).ok();
    // It is said at once, however long one would have waited.
    for more in [&["--secret-file", &other][..], &[]] {
        ask("600000", more, &["get", "hello"]).failed(7, "TR-E511");
        ask("600000", more, &["set", "hello", "you"]).failed(7, "TR-E511");
        for what in [&["status"][..], &["health"], &["config"], &["replace", "3"]] {
            run(&[&["ctl"], what, &["--at", &at], more].concat()).failed(7, "TR-E511");
        }
    }
    let status = |more: &[&str]| run(&[&["ctl", "status", "--at", &at], more].concat());
    assert!(!status(&["--secret-file", &file]).ok().contains("secret"));
    for (more, why) in [(&[][..], "has none"), (&["--secret-file", &other], "knows another")] {
        let told = status(more);
        assert!(told.out.contains("cluster.secret") && told.out.contains(why), "{told:?}");
        told.failed(7, "TR-E511");
    }
    // A member that was given another one has no link, and says why.
    assert_eq!(third.end("-TERM").code, Some(0));
    let third = cluster.start_with(3, &["--secret-file", &other]);
    ask("20000", &["--secret-file", &file], &["set", "hello", "again"]).ok();
    let ended = third.end("-TERM");
    assert!(ended.err.contains("cluster.secret"), "{ended:?}");
    // What is short, or not there, is not begun with, and not repeated.
    fs::write(&other, "hunter2\n").expect("scratch can be written");
    for path in [&other, &cluster.scratch.path("nowhere")] {
        let answer = run(&strs(&cluster.arguments(3, &["--secret-file", path])));
        assert!(!answer.err.contains("hunter2"), "{answer:?}");
        assert!(answer.code == Some(1) || answer.code == Some(2), "{answer:?}");
    }
}

/// A password was changed on one node and forgotten on another.
#[test]
fn nodes_that_were_configured_apart_are_told_apart() {
    let cluster = Three::new("nodes_that_were_configured_apart_are_told_apart");
    let hash = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let users = |name: &str, hash: &str| {
        let path = cluster.scratch.path(name);
        let text = format!("[users]\nalice = \"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ${hash}\"\n");
        fs::write(&path, text).expect("scratch can be written");
        path
    };
    let (usual, odd) = (users("usual.toml", hash), users("odd.toml", &hash.replace("CTF", "CTG")));
    let _first = cluster.start_with(1, &["--config", &usual]);
    let _second = cluster.start_with(2, &["--config", &usual, "--retain-bytes", "1000000"]);
    let third = cluster.start_with(3, &["--config", &odd]);
    let ask = |at: &[String], more: &[&str]| {
        run(&[&["ctl", "config", "--at", &at.join(",")], more].concat())
    };
    // Those two may differ in what is their own.
    let shown = ask(&cluster.at[..2], &["--origin", "-o", "json"]).ok();
    let election =
        shown.lines().find(|line| line.contains("raft.election_ms")).expect("it is told");
    for part in ["\"value\":\"300\"", "\"differs\":false", "\"at\":\"all\"", "--election-ms"] {
        assert!(election.contains(part), "{part} is not in {election}");
    }
    assert_eq!(shown.matches("storage.retain_bytes").count(), 2, "{shown}");
    assert!(shown.contains("usual.toml:2"), "{shown}");
    let apart = ask(&cluster.at, &["--origin"]);
    for hidden in ["c29tZXNhbHQ", "CTFh", "CTGh"] {
        assert!(!format!("{apart:?}").contains(hidden), "{hidden} is in {apart:?}");
    }
    assert!(apart.out.contains("odd.toml:2"), "{apart:?}");
    assert_eq!(apart.out.matches("  yes  ").count(), 2, "{apart:?}");
    assert!(apart.err.contains("users.alice"), "{apart:?}");
    apart.failed(3, "TR-E517");
    third.end("-KILL");
    let silent = ask(&cluster.at, &[]);
    assert!(silent.err.contains("refused") && silent.out.contains("users.alice"), "{silent:?}");
    silent.failed(3, "TR-E517");
}

#[test]
fn a_node_that_is_started_wrongly_says_so_and_touches_nothing() {
    let cluster = Three::new("a_node_that_is_started_wrongly_says_so");
    let at = &cluster.at;
    let fresh = cluster.scratch.path("fresh");
    let start = |node: &str, members: &str, data: &str, more: &[&str]| {
        let usual = ["server", "--node", node, "--members", members, "--data", data];
        run(&[&usual, more].concat())
    };
    let twice = format!("1={},2={}", at[0], at[0]);
    start("4", &cluster.members, &fresh, &[]).failed(2, "TR-E501");
    start("0", &format!("0={}", at[0]), &fresh, &[]).failed(2, "TR-E501");
    start("1", &twice, &fresh, &[]).failed(2, "TR-E501");
    start("1", &cluster.members, &fresh, &["--groups", "0"]).failed(2, "TR-E501");
    start("1", &cluster.members, &fresh, &["--cluster", ""]).failed(2, "TR-E501");
    start("1", &cluster.members, &fresh, &["--listen", "0.0.0.0:0"]).failed(2, "TR-E501");
    start("1", "1=192.0.2.1:7381", &fresh, &["--insecure"]).failed(1, "TR-E502");
    assert_eq!(start("1", "1=nowhere", &fresh, &[]).code, Some(2));
    let nodes = [1, 2, 3].map(|node| cluster.start(node));
    cluster.ask(&["set", "hello", "world"]).ok();
    start("1", &cluster.members, &fresh, &[]).failed(5, "TR-E503");
    assert!(!Path::new(&fresh).exists(), "a wrong start made {fresh}");
    // Another address, yet the directory of a node that runs.
    let data = cluster.scratch.path("n1");
    let [first, second, third] = nodes;
    drop(second);
    start("1", &cluster.members, &data, &["--listen", &at[1]]).failed(5, "TR-E102");
    drop((first, third));
    let foreign = cluster.scratch.path("foreign");
    fs::create_dir(&foreign).expect("scratch can be written");
    fs::write(format!("{foreign}/holiday.jpg"), b"not ours").expect("scratch can be written");
    start("1", &cluster.members, &foreign, &[]).failed(1, "TR-E104");
    // Another node's directory, and another cluster's.
    let before = contents(&data);
    let others = start("2", &cluster.members, &data, &[]);
    assert!(others.err.contains("name the directory of node 2 with --data"), "{others:?}");
    others.failed(1, "TR-E109");
    let members = ["--cluster", "another"];
    start("1", &cluster.members, &data, &members).failed(1, "TR-E109");
    run(&["kv", &data, "get", "hello"]).failed(1, "TR-E109");
    assert!(contents(&data) == before, "a stranger changed {data}");
}

/// Every file of a directory, and what is in it.
fn contents(dir: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("it is there").map(|entry| entry.expect("readable")) {
        let path = entry.path();
        if entry.file_type().expect("readable").is_dir() {
            found.extend(contents(&path.to_string_lossy()));
        } else {
            let bytes = fs::read(&path).expect("it is there");
            found.insert(path, bytes);
        }
    }
    found
}

/// Makes a directory's files what they were.
fn restore(dir: &str, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in contents(dir).keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(path).expect("scratch can be written");
    }
    for (path, bytes) in files {
        fs::write(path, bytes).expect("scratch can be written");
    }
}

/// The same file, of a version to come, and whole.
fn newer(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let is_small = path.ends_with("NODE") || path.ends_with("CURRENT");
    bytes[8..10].copy_from_slice(&77_u16.to_le_bytes());
    let crc = codec::crc(0, &bytes[8..if is_small { 64 } else { 128 }]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Half of a directory, or one that a later version has written, is refused by its own node and left
/// as it is for whoever wants to look, and the others serve meanwhile.
#[test]
fn a_directory_that_is_not_whole_is_refused_and_the_others_go_on() {
    let cluster = Three::new("a_directory_that_is_not_whole_is_refused");
    let mut nodes: Vec<_> = (1..=3).map(|node| cluster.start_with(node, &["--tiny"])).collect();
    for nth in 0..6 {
        cluster.ask(&["set", &format!("key{nth}"), &"v".repeat(5000)]).ok();
    }
    let has_all = || run(&["cli", "--at", &cluster.at[2], "get", "key5", "--level", "eventual"]);
    assert!((0..500).any(|_| has_all().code == Some(0)), "the third node is not told");
    nodes.pop().expect("there are three").end("-TERM");
    let dir = cluster.scratch.path("n3");
    let whole = contents(&dir);
    let name = |path: &Path| path.strip_prefix(&dir).expect("it is below").display().to_string();
    // Recovery may seal a segment, and write its manifest anew, before it is known that what is lost
    // is not to be had here. What was written stays.
    let evidence = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        let mut files = files.clone();
        for bytes in files.values_mut() {
            bytes.truncate(bytes.iter().rposition(|byte| *byte > 0).map_or(0, |last| last + 1));
        }
        files.retain(|path, bytes| name(path).starts_with("j/") && !bytes.is_empty());
        files
    };
    let keeps = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        let now = contents(&dir);
        evidence(files)
            .iter()
            .all(|(path, bytes)| now.get(path).is_some_and(|now| now.starts_with(bytes)))
    };
    let refused = |code: (i32, &str), next: &str| {
        let before = contents(&dir);
        // Again and again: nothing is forgotten of what is missing.
        for _ in 0..2 {
            let begun = Server::begin(&strs(&cluster.arguments(3, &["--tiny"])));
            let Err(answer) = begun else { panic!("it serves") };
            assert!(answer.err.contains(next), "{answer:?}");
            answer.failed_after_its_log(code.0, code.1);
            assert!(keeps(&before), "opening changed {dir}");
        }
        let is_untouched = contents(&dir) == before;
        cluster.ask(&["incr", "sum"]).ok();
        restore(&dir, &whole);
        is_untouched
    };
    let damaged = || refused((3, "TR-E103"), "trilith ctl replace 3");
    let (mut asked, mut segments) = (0, 0);
    for (file, bytes) in whole.iter().filter(|(path, _)| name(path) != "LOCK") {
        let is_segment = name(file).starts_with("j/");
        if is_segment && bytes.iter().all(|one| *one == 0) {
            continue;
        }
        fs::remove_file(file).expect("scratch can be written");
        assert!(damaged() || is_segment, "{}", file.display());
        asked += 1;
        segments += usize::from(is_segment);
        if segments > 1 {
            // The half that is cut off may hold nothing yet.
            continue;
        }
        fs::write(file, &bytes[..bytes.len() / 2]).expect("scratch can be written");
        assert!(damaged() || is_segment, "{}", file.display());
        fs::write(file, newer(file, bytes)).expect("scratch can be written");
        assert!(refused((1, "TR-E105"), "use the trilith that wrote it, or a later one"));
        asked += 2;
    }
    assert!(segments > 1, "{:?}", whole.keys());
    // Nothing was lost: with it and one more, everything is there.
    nodes.push(cluster.start_with(3, &["--tiny"]));
    nodes.remove(0).end("-KILL");
    assert_eq!(cluster.ask(&["get", "key0"]).ok().len(), 5001);
    assert_eq!(cluster.ask(&["incr", "sum"]).ok(), format!("{}\n", asked + 1));
}

/// The largest value there may be, and one byte more.
#[test]
fn a_value_beyond_its_limit_is_refused_and_nobody_is_harmed() {
    let cluster = Three::new("a_value_beyond_its_limit_is_refused");
    let resp = addresses(1)[0];
    let _nodes =
        [cluster.start_with(1, &["--resp", &resp.to_string()]), cluster.start(2), cluster.start(3)];
    let set = |bytes: usize| {
        let path = cluster.scratch.path("value");
        fs::write(&path, vec![b'v'; bytes]).expect("scratch can be written");
        let mut cli = trilith();
        cli.args(["cli", "--at", &cluster.at.join(","), "--within-ms", "20000", "set", "large"]);
        let value = fs::File::open(&path).expect("it was made");
        Answer::of(cli.arg("-").stdin(value).output().expect("the program starts"))
    };
    let refused = set(VALUE_BYTES_MAX_CLUSTER + 1);
    assert!(refused.err.contains(&VALUE_BYTES_MAX_CLUSTER.to_string()), "{refused:?}");
    refused.failed(2, "TR-E202");
    cluster.ask(&["get", "large"]).failed(4, "TR-E201");
    set(VALUE_BYTES_MAX_CLUSTER).ok();
    assert_eq!(cluster.ask(&["get", "large"]).ok().len(), VALUE_BYTES_MAX_CLUSTER + 1);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    cluster.ask(&["set", &long, "v"]).failed(2, "TR-E202");
    // A connection that asked for too much goes on.
    let mut redis = Redis::to(resp);
    let large = "v".repeat(VALUE_BYTES_MAX_CLUSTER + 1);
    for ask in [["SET", "large", &large], ["APPEND", "large", "v"], ["SET", &long, "v"]] {
        let said = redis.ask(&ask);
        assert!(said.contains("ERR") && said.len() < 1000, "{}", &said[..said.len().min(1000)]);
    }
    assert_eq!(redis.ask(&["STRLEN", "large"]), format!("(integer) {VALUE_BYTES_MAX_CLUSTER}"));
}

/// Nodes that were told different things, and two that were told the same: those who are right go
/// on, and the log says what to correct.
#[test]
fn strangers_are_refused_and_harm_nobody() {
    let cluster = Three::new("strangers_are_refused_and_harm_nobody");
    let [first, second, third] = [1, 2, 3].map(|node| cluster.start(node));
    cluster.ask(&["set", "hello", "world"]).ok();
    drop(third);
    let nodes = [first, second];
    let stranger = |name: &str, node: &str, more: &[&str]| {
        let data = cluster.scratch.path(name);
        let usual = ["--node", node, "--members", &cluster.members, "--data", &data];
        Server::start(&[&usual, more].concat())
    };
    // Meanwhile everybody has knocked at everybody's door.
    let go_on = || (0..20).for_each(|_| drop(cluster.ask(&["incr", "sum"]).ok()));
    // The third member, of a cluster of another name and with other groups.
    for more in [["--cluster", "another"], ["--groups", "2"]] {
        let alien = stranger(more[1], "3", &more);
        go_on();
        let said = alien.end("-TERM");
        assert!(said.err.contains("correct the address, or the cluster's name"), "{said:?}");
    }
    // A second node 2, with a directory of its own.
    let twin = stranger("twin", "2", &["--listen", &cluster.at[2]]);
    go_on();
    assert_eq!(cluster.ask(&["get", "hello"]).ok(), "world\n");
    let said = [twin.end("-TERM").err];
    let heard = nodes.map(|node| node.end("-TERM").err);
    let all = said.iter().chain(&heard).cloned().collect::<String>();
    assert!(all.contains("two nodes call themselves 2"), "{all}");
}
