//! One node alone, as somebody meets it who has a Redis client: it answers, survives kill -9, and
//! says what is in its way.
//!
//! Not here: clusters (`server.rs`, `demo.rs`), what commands mean (`trilith-net`).

mod program;

use program::{Answer, Redis, Scratch, Server, addresses, fed, run, trilith};
use std::{fs, net::SocketAddr, path::Path, process::Stdio};

/// A node's directory, and where it listens.
struct Alone {
    scratch: Scratch,
    resp: SocketAddr,
    listen: SocketAddr,
}

impl Alone {
    fn new(name: &str) -> Self {
        let at = addresses(2);
        Self { scratch: Scratch::new(name), resp: at[0], listen: at[1] }
    }

    fn arguments<'a>(data: &'a str, resp: &'a str, listen: &'a str) -> [&'a str; 9] {
        ["standalone", "--data", data, "--resp", resp, "--http", "127.0.0.1:0", "--listen", listen]
    }

    fn start(&self) -> Server {
        let [resp, listen] = [self.resp, self.listen].map(|at| at.to_string());
        Server::of(&Self::arguments(&self.scratch.path("some/where"), &resp, &listen))
    }
}

#[test]
fn a_redis_client_is_served_and_kill_9_loses_nothing() {
    let alone = Alone::new("a_redis_client_is_served_and_kill_9_loses_nothing");
    let node = alone.start();
    let mut redis = Redis::to(alone.resp);
    assert_eq!(redis.ask(&["PING"]), "PONG");
    assert_eq!(redis.ask(&["SET", "hello", "world"]), "OK");
    for number in 1..=50 {
        assert_eq!(redis.ask(&["INCR", "sum"]), format!("(integer) {number}"));
    }
    // Nobody else has keys, so any of them may be named together.
    assert_eq!(redis.ask(&["MSETNX", "a", "1", "b", "2"]), "(integer) 1");
    assert_eq!(node.end("-KILL").code, None);

    let node = alone.start();
    let mut redis = Redis::to(alone.resp);
    let all = redis.ask(&["MGET", "hello", "sum", "a", "b", "nothing"]);
    assert_eq!(all, "1) \"world\"\n2) \"50\"\n3) \"1\"\n4) \"2\"\n5) (nil)");
    // Our own client, at the other port.
    let own = run(&["cli", "--at", &alone.listen.to_string(), "get", "hello"]);
    assert_eq!(own.ok(), "world\n");
    let ended = node.end("-TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.calm();
    // It is the same node wherever it listens.
    let elsewhere = Alone { listen: addresses(1)[0], ..alone };
    let _node = elsewhere.start();
    assert_eq!(Redis::to(elsewhere.resp).ask(&["GET", "hello"]), "\"world\"");
}

/// Whoever has no Redis client has `trilith cli`; a script of it ends where something failed.
#[test]
fn our_own_program_speaks_redis_too() {
    let alone = Alone::new("our_own_program_speaks_redis_too");
    let node = alone.start();
    let resp = alone.resp.to_string();
    let talk = |lines: &str| fed(&["cli", "--resp", &resp, "--within-ms", "5000"], lines);
    let said = talk("set k \"a b\"\n\n# a remark\nget k\nhelp client\nquit\nset k c\n").ok();
    assert!(said.starts_with("OK\n\"a b\"\ncommand "), "{said}");
    assert!(said.contains("client setname connection-name"), "{said}");
    assert!(talk("help\n").ok().contains("getrange key start end"));
    let json = fed(&["-o", "json", "cli", "--resp", &resp], "incr sum\n").ok();
    assert_eq!(json, "{\"ask\":\"incr sum\",\"answer\":1}\n");
    talk("incr k\nset k c\n").failed(2, "TR-E203");
    let odd = talk("sett k c\nset k c\n");
    assert!(odd.err.contains("next: did you mean set?"), "{odd:?}");
    odd.failed(1, "TR-E505");
    assert!(!talk("zunionstore k c d\n").err.contains("did you mean"), "nothing is like it");
    assert_eq!(talk("get k\n").ok(), "\"a b\"\n");
    drop(node);
    talk("get k\n").failed(3, "TR-E504");
}

/// One thing, of either port, and nothing that was said is passed over.
#[test]
fn one_thing_is_asked_where_it_was_said() {
    let alone = Alone::new("one_thing_is_asked_where_it_was_said");
    let _node = alone.start();
    let (resp, listen) = (alone.resp.to_string(), alone.listen.to_string());
    let redis = |words: &[&str]| run(&[&["cli", "--resp", &resp], words].concat());
    redis(&["set", "k", "a b"]).ok();
    assert_eq!(redis(&["get", "k"]).ok(), "a b\n");
    assert_eq!(redis(&["get", "k", "--level", "eventual"]).ok(), "a b\n");
    assert_eq!(run(&["cli", "get", "k", "--resp", &resp]).ok(), "a b\n");
    assert_eq!(run(&["cli", "--at", &listen, "get", "k"]).ok(), "a b\n");
    assert_eq!(redis(&["incr", "n", "-3"]).ok(), "-3\n");
    redis(&["incr", "k"]).failed(2, "TR-E203");
    redis(&["delete", "k"]).ok();
    redis(&["delete", "k"]).failed(4, "TR-E201");
    redis(&["get", "k"]).failed(4, "TR-E201");
    // Any other command, too: its words are its own.
    assert_eq!(redis(&["append", "k", "x y"]).ok(), "(integer) 3\n");
    assert_eq!(redis(&["mget", "k", "n"]).ok(), "1) \"x y\"\n2) \"-3\"\n");
    redis(&["nosuch"]).failed(1, "TR-E505");
    let json = run(&["-o", "json", "cli", "--resp", &resp, "get", "k"]).ok();
    assert_eq!(json, "{\"key\":\"k\",\"value\":\"x y\"}\n");
    // What would be passed over is refused.
    run(&["cli", "--at", &listen, "--resp", &resp, "get", "k"]).failed(2, "TR-E203");
    run(&["cli", "--at", &listen, "strlen", "k"]).failed(2, "TR-E203");
    fed(&["cli", "--at", &listen], "get k\n").failed(2, "TR-E203");
}

/// Whoever read what it says has gone; its clients have not.
#[test]
fn a_node_whose_output_is_closed_goes_on() {
    let alone = Alone::new("a_node_whose_output_is_closed_goes_on");
    let [resp, listen] = [alone.resp, alone.listen].map(|at| at.to_string());
    let data = alone.scratch.path("data");
    for is_deaf in [false, true] {
        let mut child = trilith();
        child.args(Alone::arguments(&data, &resp, &listen));
        if is_deaf {
            child.stderr(Stdio::piped());
        } else {
            child.stderr(Stdio::null());
        }
        let mut child = child.spawn().expect("it starts");
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(Redis::to(alone.resp).ask(&["SET", "k", "1"]), "OK");
        assert!(child.try_wait().expect("it can be asked").is_none(), "it has ended");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
}

#[test]
fn what_is_in_its_way_is_named() {
    let alone = Alone::new("what_is_in_its_way_is_named");
    let (data, fresh) = (alone.scratch.path("some/where"), alone.scratch.path("fresh"));
    let _node = alone.start();
    let [resp, listen] = [alone.resp, alone.listen].map(|at| at.to_string());
    let free: Vec<_> = addresses(2).iter().map(ToString::to_string).collect();
    let start = |data: &str, resp: &str, listen: &str| run(&Alone::arguments(data, resp, listen));
    // Either port, then the directory.
    start(&fresh, &free[0], &listen).failed(5, "TR-E503");
    start(&fresh, &resp, &free[1]).failed(5, "TR-E503");
    assert!(!Path::new(&fresh).exists(), "a wrong start made {fresh}");
    start(&data, &free[0], &free[1]).failed(5, "TR-E102");
    // A file, a place below a file, and what is not ours.
    let file = alone.scratch.path("file");
    fs::write(&file, b"not a directory").expect("scratch can be written");
    start(&file, &free[0], &free[1]).failed(1, "TR-E101");
    start(&format!("{file}/below"), &free[0], &free[1]).failed(1, "TR-E101");
    let foreign = alone.scratch.path("foreign");
    fs::create_dir(&foreign).expect("scratch can be written");
    fs::write(format!("{foreign}/holiday.jpg"), b"not ours").expect("scratch can be written");
    start(&foreign, &free[0], &free[1]).failed(1, "TR-E104");
    // Beyond this machine, and at an address of another one.
    start(&fresh, "0.0.0.0:0", &free[1]).failed(2, "TR-E501");
    let elsewhere = Alone::arguments(&fresh, "192.0.2.1:7379", &free[1]);
    run(&[&elsewhere[..], &["--insecure"]].concat()).failed(1, "TR-E502");
    assert!(!Path::new(&fresh).exists(), "a wrong start made {fresh}");
}

/// With users it asks who comes, and others may reach it.
#[test]
fn a_node_with_users_asks_who_comes() {
    let alone = Alone::new("a_node_with_users_asks_who_comes");
    let hash = fed(&["config", "hash-password"], "open sesame\n").ok();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let file = alone.scratch.path("node.toml");
    let users = format!("[users]\nalice = \"{}\"\n", hash.trim_end());
    fs::write(&file, &users).expect("scratch can be written");
    let checked = run(&["config", "check", &file, "-o", "json"]).ok();
    assert!(checked.contains(r#""server_lacks":"cluster.members, node.id"#), "{checked}");
    let shown = run(&["config", "show", "--origin", "--config", &file]).ok();
    let secret = hash.trim_end().rsplit('$').next().expect("it has parts");
    assert!(shown.contains("argon2id m=19456,t=2,p=1") && shown.contains("node.toml:2"), "{shown}");
    assert!(!shown.contains(secret), "{shown}");

    // Beyond this machine without --insecure.
    let (data, listen) = (alone.scratch.path("data"), alone.listen.to_string());
    let everywhere = format!("0.0.0.0:{}", alone.resp.port());
    let arguments = Alone::arguments(&data, &everywhere, &listen);
    let _node = Server::of(&[&arguments[..], &["--config", &file]].concat());
    assert_eq!(Redis::to(alone.resp).ask(&["GET", "k"]), "(error) NOAUTH Authentication required.");
    let resp = alone.resp.to_string();
    let ask = |user: &[&str], password: Option<&str>, words: &[&str]| {
        let mut command = trilith();
        command.args([&["cli", "--resp", &resp], user, words].concat());
        password.map(|password| command.env("TRILITH_PASSWORD", password));
        Answer::of(command.output().expect("it starts"))
    };
    let alice = ["--user", "alice"];
    ask(&alice, Some("open sesame"), &["set", "k", "a"]).ok();
    assert_eq!(ask(&alice, Some("open sesame"), &["acl", "whoami"]).ok(), "\"alice\"\n");
    ask(&alice, Some("open sesam"), &["get", "k"]).failed(7, "TR-E511");
    ask(&[], Some("open sesame"), &["get", "k"]).failed(7, "TR-E511");
    ask(&[], None, &["get", "k"]).failed(7, "TR-E511");

    // What cannot be a hash is not begun with, and not repeated.
    fs::write(&file, "[users]\nalice = \"hunter2\"\n").expect("scratch can be written");
    let refused = run(&["config", "check", &file]);
    assert!(!refused.err.contains("hunter2"), "{refused:?}");
    refused.failed(2, "TR-E501");
    let other = Alone::arguments(&data, "127.0.0.1:0", "127.0.0.1:0");
    run(&[&other[..], &["--config", &file]].concat()).failed(2, "TR-E501");
}

/// What a lone store or a member of a cluster has is not taken for its own, nor the other way round.
#[test]
fn directories_of_others_are_left_alone() {
    let alone = Alone::new("directories_of_others_are_left_alone");
    let (lone, member) = (alone.scratch.path("lone"), alone.scratch.path("member"));
    let [resp, listen] = [alone.resp, alone.listen].map(|at| at.to_string());
    run(&["kv", &lone, "set", "a", "b"]).ok();
    run(&Alone::arguments(&lone, &resp, &listen)).failed_after_its_log(1, "TR-E109");
    let members = format!("1={listen}");
    drop(Server::start(&["--node", "1", "--members", &members, "--data", &member]));
    run(&Alone::arguments(&member, &resp, &listen)).failed_after_its_log(1, "TR-E109");
    drop(alone.start());
    run(&["kv", &alone.scratch.path("some/where"), "get", "a"]).failed(1, "TR-E109");
}

/// Lines that were not wanted when they came are not told later; those that come now are.
#[test]
fn how_much_is_logged_changes_while_it_runs() {
    let alone = Alone::new("how_much_is_logged_changes_while_it_runs");
    let [resp, listen] = [alone.resp, alone.listen].map(|at| at.to_string());
    let data = alone.scratch.path("data");
    let usual = Alone::arguments(&data, &resp, &listen);
    let node = Server::of(&[&usual[..], &["--log-level", "error"]].concat());
    let mut redis = Redis::to(alone.resp);
    let told = |redis: &mut Redis| redis.ask(&["CONFIG", "GET", "loglevel"]);
    assert_eq!(told(&mut redis), "1) \"loglevel\"\n2) \"error\"");
    for words in [&["loud"][..], &["info", "slowlog-max-len", "x"]] {
        let said = redis.ask(&[&["CONFIG", "SET", "loglevel"], words].concat());
        assert!(said.starts_with("(error) ERR CONFIG SET failed"), "{said}");
    }
    assert_eq!(told(&mut redis), "1) \"loglevel\"\n2) \"error\"", "all of it or nothing");
    assert_eq!(redis.ask(&["CONFIG", "SET", "loglevel", "NOTICE"]), "OK");
    assert_eq!(told(&mut redis), "1) \"loglevel\"\n2) \"info\"");
    let ended = node.end("-TERM");
    assert!(ended.err.contains("a client has set how much is logged"), "{ended:?}");
    assert!(!ended.err.contains("\"role\":\"leader\""), "it was told too early: {ended:?}");
}
