//! Backups as an operator makes them: of a cluster of three processes that is written to, into one of
//! another size; and every way in which a directory or a cluster is refused.
//!
//! Not here: faults meanwhile (`sim/tests/groups/backups.rs`), damage byte by byte (`trilith-net`).

mod program;

use program::{Answer, Redis, Scratch, Server, addresses, run, trilith};
use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const KEYS: usize = 1000;

/// Nodes that run, and where they are.
struct Cluster {
    _nodes: Vec<Server>,
    members: String,
    at: String,
    redis: SocketAddr,
}

fn start(scratch: &Scratch, name: &str, nodes: usize, groups: &str, more: &[&str]) -> Cluster {
    let all = addresses(nodes + 1);
    let (redis, at) = (all[nodes], &all[..nodes]);
    let members = at.iter().zip(1..).map(|(at, node)| format!("{node}={at}"));
    let members = members.collect::<Vec<_>>().join(",");
    let servers = (1..=nodes).map(|node| {
        let (data, number) = (scratch.path(&format!("{name}{node}")), node.to_string());
        let resp = redis.to_string();
        let mut arguments = vec!["--node", &number, "--members", &members, "--data", &data];
        arguments.extend(["--election-ms", "300", "--groups", groups]);
        arguments.extend(more);
        if node == 1 {
            arguments.extend(["--resp", &resp]);
        }
        Server::start(&arguments)
    });
    let _nodes = servers.collect();
    let at = at.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Cluster { _nodes, members, at, redis }
}

impl Cluster {
    fn ctl(&self, words: &[&str]) -> Answer {
        run(&[&["ctl", "backup"], words, &["--at", &self.at]].concat())
    }
}

/// Whoever looks at a backup as at a store is told who reads it.
#[track_caller]
fn is_told_who_reads(path: &str, dir: &str) {
    let answer = run(&["inspect", path]);
    assert!(
        answer.err.ends_with(&format!("next: trilith ctl backup verify {dir}\n")),
        "{answer:?}"
    );
    answer.failed(1, "TR-E302");
}

fn verify(dir: &str) -> Answer {
    run(&["ctl", "backup", "verify", dir, "-o", "json"])
}

/// The numbers of a field, one of each line.
fn numbers(lines: &str, field: &str) -> Vec<u64> {
    let after = format!("\"{field}\":");
    let rest = |line: &str| Some(line.split_once(&after)?.1.to_owned());
    let digits = |rest: String| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    lines.lines().filter_map(rest).filter_map(|rest| digits(rest).parse().ok()).collect()
}

#[test]
fn a_backup_goes_to_a_cluster_of_another_size() {
    let scratch = Scratch::new("a_backup_goes_to_a_cluster_of_another_size");
    let (from, dir) = (start(&scratch, "from", 3, "4", &[]), scratch.path("kept"));
    let mut redis = Redis::to(from.redis);
    for some in 0..KEYS / 50 {
        let mut words = vec!["MSET".to_owned()];
        for nth in some * 50..(some + 1) * 50 {
            words.extend([format!("key{nth}"), "v".repeat(nth)]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(redis.ask(&words), "OK");
    }
    assert_eq!(redis.ask(&["SET", "mortal", "x", "PXAT", "4102444800000"]), "OK");
    assert_eq!(redis.ask(&["INCRBY", "sum", "7"]), "(integer) 7");

    let is_over = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut count = 7;
            while !is_over.load(Ordering::Relaxed) {
                count += 1;
                assert_eq!(redis.ask(&["INCR", "sum"]), format!("(integer) {count}"));
            }
            count
        }
    });
    let made = from.ctl(&["create", &dir, "-o", "json"]).ok();
    is_over.store(true, Ordering::Relaxed);
    let last: u64 = writer.join().expect("it is answered");
    assert_eq!(numbers(&made, "group"), [1, 2, 3, 4], "{made}");
    assert_eq!(numbers(&made, "keys").iter().sum::<u64>(), KEYS as u64 + 2, "{made}");
    assert_eq!(verify(&dir).ok(), made);
    for path in [dir.clone(), format!("{dir}/MANIFEST"), format!("{dir}/group-2")] {
        is_told_who_reads(&path, &dir);
    }
    from.ctl(&["create", &dir]).failed_after_its_log(5, "TR-E512");
    from.ctl(&["restore", &dir]).failed_after_its_log(5, "TR-E514");

    let to = start(&scratch, "to", 1, "7", &[]);
    let restored = to.ctl(&["restore", &dir, "-o", "json"]).ok();
    for (field, expected) in [("groups", 7), ("written", KEYS + 2), ("compared", KEYS + 2)] {
        assert_eq!(numbers(&restored, field), [expected as u64], "{field}: {restored}");
    }
    let mut redis = Redis::to(to.redis);
    for nth in [0, 1, 500, KEYS - 1] {
        let value = redis.ask(&["STRLEN", &format!("key{nth}")]);
        assert_eq!(value, format!("(integer) {nth}"));
    }
    assert_eq!(redis.ask(&["PEXPIRETIME", "mortal"]), "(integer) 4102444800000");
    let sum = redis.ask(&["GET", "sum"]);
    let sum: u64 = sum.trim_matches('"').parse().expect("a number");
    assert!((7..=last).contains(&sum), "{sum} is not from 7 to {last}");

    to.ctl(&["restore", &dir]).failed_after_its_log(5, "TR-E514");
    let again = to.ctl(&["restore", &dir, "--resume", "-o", "json"]).ok();
    assert_eq!(numbers(&again, "present"), [KEYS as u64 + 2], "{again}");
    assert_eq!(redis.ask(&["DEL", "key7"]), "(integer) 1");
    let again = to.ctl(&["restore", &dir, "--resume", "-o", "json"]).ok();
    assert_eq!(numbers(&again, "written"), [1], "{again}");
    assert_eq!(redis.ask(&["SET", "key7", "other"]), "OK");
    to.ctl(&["restore", &dir, "--resume"]).failed_after_its_log(5, "TR-E515");
    assert_eq!(redis.ask(&["GET", "key7"]), "\"other\"");
    broken(&to, &dir);
}

/// What is no backup any more is refused by `verify`, and by `restore` before it writes anything.
fn broken(to: &Cluster, dir: &str) {
    let name = format!("{dir}/group-2");
    let whole = fs::read(&name).expect("it is there");
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 4;
    fs::write(&name, &bytes).expect("it can be written");
    verify(dir).failed_after_its_log(3, "TR-E303");
    to.ctl(&["restore", dir, "--resume"]).failed_after_its_log(3, "TR-E303");
    fs::write(&name, &whole[..whole.len() - 1]).expect("it can be written");
    verify(dir).failed_after_its_log(3, "TR-E303");
    fs::remove_file(&name).expect("it is there");
    verify(dir).failed_after_its_log(3, "TR-E303");
    fs::write(&name, &whole).expect("it can be written");
    verify(dir).ok();
    fs::remove_file(format!("{dir}/MANIFEST")).expect("it is there");
    verify(dir).failed_after_its_log(4, "TR-E513");
    verify(&format!("{dir}-none")).failed_after_its_log(4, "TR-E513");
}

#[test]
fn a_cluster_with_a_secret_is_backed_up_by_who_knows_it() {
    let scratch = Scratch::new("a_cluster_with_a_secret_is_backed_up_by_who_knows_it");
    let (dir, secret) = (scratch.path("kept"), scratch.path("secret"));
    fs::write(&secret, "a secret that is long enough for anybody").expect("scratch can be written");
    let known = ["--secret-file", &secret];
    let cluster = start(&scratch, "n", 1, "2", &known);
    cluster.ctl(&["create", &dir]).failed_after_its_log(7, "TR-E511");
    cluster.ctl(&[&["create", &dir], &known[..]].concat()).ok();
    cluster.ctl(&["restore", &dir]).failed_after_its_log(7, "TR-E511");
    cluster.ctl(&[&["restore", &dir], &known[..]].concat()).ok();
}

/// Whoever is not named is found as by the rest of `ctl`; who follows cannot be asked alone.
#[test]
fn nodes_need_not_be_named_and_one_that_follows_is_not_enough() {
    let scratch = Scratch::new("nodes_need_not_be_named_and_one_that_follows_is_not_enough");
    let (dir, cluster) = (scratch.path("kept"), start(&scratch, "n", 3, "1", &[]));
    assert_eq!(Redis::to(cluster.redis).ask(&["SET", "a", "b"]), "OK");
    let unnamed = |words: &[&str]| {
        let mut asked = trilith();
        asked.env("TRILITH_CLUSTER__MEMBERS", &cluster.members).args(["ctl", "backup"]).args(words);
        Answer::of(asked.output().expect("it starts"))
    };
    unnamed(&["create", &dir]).ok();
    unnamed(&["restore", &dir]).failed_after_its_log(5, "TR-E514");
    let alone = |at: &str| {
        run(&["ctl", "backup", "restore", &dir, "--resume", "--patience", "1", "--at", at])
    };
    let all: Vec<Answer> = cluster.at.split(',').map(alone).collect();
    let (leads, follow): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.code == Some(0));
    assert_eq!((leads.len(), follow.len()), (1, 2), "{follow:?}");
    for answer in follow {
        assert!(answer.err.contains("next: name all nodes: "), "{answer:?}");
        answer.failed_after_its_log(6, "TR-E516");
    }
    // Where nothing was begun nothing is to be gone on with.
    let anew = |at: &str| run(&["ctl", "backup", "restore", &dir, "--patience", "1", "--at", at]);
    let unbegun = cluster.at.split(',').map(anew).filter(|answer| answer.code == Some(3));
    assert_eq!(unbegun.map(|answer| answer.failed_after_its_log(3, "TR-E504")).count(), 2);
}

#[test]
fn nobody_to_ask_is_told_and_leaves_nothing_behind() {
    let scratch = Scratch::new("nobody_to_ask_is_told_and_leaves_nothing_behind");
    let (dir, at) = (scratch.path("kept"), addresses(1)[0].to_string());
    run(&["ctl", "backup", "create", &dir, "--at", &at]).failed_after_its_log(3, "TR-E504");
    assert!(!fs::exists(&dir).expect("it can be looked at"), "nothing was made");
}
