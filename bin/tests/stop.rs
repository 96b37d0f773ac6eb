//! The orderly end under load: whoever was answered keeps what he was told, who is refused is told so
//! in whole words, and the process ends with 0; whoever says it twice means now.
//!
//! Not here: who leads afterwards (`server.rs`), kill -9 (`kill.rs`), the demo's end (`demo.rs`).

mod program;

use program::{Redis, Scratch, Server, addresses, run, trilith};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// Clients of each node.
const CLIENTS: usize = 4;
/// As many writes are acknowledged, at least, before anybody is told to stop.
const ENOUGH: usize = 200;

/// What somebody wrote and was told of it. No key is written twice.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Vec<String>,
    /// Nothing happened, it was said.
    refused: Vec<String>,
}

/// Sets one key after the other at that node until the connection ends.
fn writes(at: SocketAddr, name: &str, done: &AtomicUsize) -> Told {
    let (mut redis, mut told) = (Redis::to(at), Told::default());
    let until = Instant::now() + 2 * PATIENCE;
    for nth in 0_u64.. {
        assert!(Instant::now() < until, "{name}: the node does not end");
        let key = format!("{name}-{nth}");
        match redis.hears(&["SET", &key, &key]).as_deref() {
            Ok("OK") => {
                told.acknowledged.push(key);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(said) if said.starts_with("(error) UNAVAILABLE ") => told.refused.push(key),
            // Nobody knows.
            Ok(said) => assert!(said.starts_with("(error) INDOUBT "), "{name}: {said}"),
            // Nobody has said anything of this one.
            Err(rest) => {
                assert!(rest.is_empty(), "{name}: half an answer: {}", rest.escape_ascii());
                return told;
            }
        }
    }
    told
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Has all of these nodes told to stop at once while clients write to each of them. No two rounds
/// write the same keys.
fn stopped_under_load(round: &str, nodes: Vec<Server>, at: &[SocketAddr]) -> Vec<Told> {
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = at
            .iter()
            .zip(1..)
            .flat_map(|(at, node)| (0..CLIENTS).map(move |client| (*at, node, client)))
            .map(|(at, node, client): (SocketAddr, usize, usize)| {
                let (name, done) = (format!("{round}-{node}-{client}"), &done);
                scope.spawn(move || writes(at, &name, done))
            })
            .collect();
        wait("nothing is acknowledged", || done.load(Ordering::Relaxed) >= ENOUGH);
        let ending: Vec<_> =
            nodes.into_iter().map(|node| scope.spawn(move || node.end("-TERM"))).collect();
        for ended in ending {
            let answer = ended.join().expect("it is waited for");
            assert_eq!(answer.code, Some(0), "{answer:?}");
            answer.calm();
        }
        clients.into_iter().map(|client| client.join().expect("it wrote")).collect()
    })
}

/// What is answered as soon as somebody leads.
fn ask(redis: &mut Redis, words: &[&str]) -> String {
    let mut said = String::new();
    wait("nobody leads", || {
        said = redis.ask(words);
        !said.starts_with("(error) UNAVAILABLE ")
    });
    said
}

/// What was acknowledged is there, and what was refused is not.
fn is_kept(redis: &mut Redis, all: &[Told]) {
    let mut acknowledged = 0;
    for told in all {
        for key in &told.acknowledged {
            assert_eq!(ask(redis, &["GET", key]), format!("{key:?}"), "{key} was acknowledged");
            acknowledged += 1;
        }
        for key in &told.refused {
            assert_eq!(ask(redis, &["GET", key]), "(nil)", "{key} was refused");
        }
    }
    assert!(acknowledged >= ENOUGH, "{acknowledged}");
}

/// The first of what is answered.
fn asked_over_http(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("it serves");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    said
}

/// What a balancer sees of it: first that it ends, then that it is gone, and until then it serves.
#[test]
fn a_node_that_ends_says_so_before_it_does() {
    let scratch = Scratch::new("a_node_that_ends_says_so_before_it_does");
    let [resp, http, listen] = addresses(3)[..] else { panic!("there are three") };
    let (data, at) = (scratch.path("data"), [resp.to_string(), http.to_string()]);
    let usual = ["standalone", "--data", &data, "--resp", &at[0], "--http", &at[1]];
    let own = ["--listen", &listen.to_string(), "--farewell-ms", "5000"];
    let node = Server::of(&[&usual[..], &own].concat());
    let mut redis = Redis::to(resp);
    assert_eq!(ask(&mut redis, &["SET", "a", "1"]), "OK");
    assert!(asked_over_http(http, "/readyz").starts_with("HTTP/1.1 200"));
    node.signal("-TERM");
    wait("it does not say that it ends", || {
        asked_over_http(http, "/readyz").starts_with("HTTP/1.1 503")
    });
    // Who comes now is served.
    assert_eq!(Redis::to(resp).ask(&["INCR", "a"]), "(integer) 2");
    assert!(asked_over_http(http, "/livez").starts_with("HTTP/1.1 200"));
    let ended = node.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_node_alone_that_is_told_to_stop_loses_nothing() {
    let scratch = Scratch::new("a_node_alone_that_is_told_to_stop_loses_nothing");
    let resp = addresses(1)[0];
    let (data, at) = (scratch.path("data"), resp.to_string());
    let start = || {
        let usual = ["standalone", "--data", &data, "--resp", &at, "--within-ms", "2000"];
        Server::of(&[&usual[..], &["--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"]].concat())
    };
    // Ended and started again, each time on what the last one left.
    let mut all = Vec::new();
    for round in ["first", "second"] {
        all.extend(stopped_under_load(round, vec![start()], &[resp]));
        let node = start();
        is_kept(&mut Redis::to(resp), &all);
        assert_eq!(node.end("-TERM").code, Some(0));
    }
}

/// A cluster of three, as the arguments of its nodes.
struct Three {
    scratch: Scratch,
    at: Vec<SocketAddr>,
    resp: Vec<SocketAddr>,
    election_ms: &'static str,
}

impl Three {
    fn new(name: &str, election_ms: &'static str) -> Self {
        let mut at = addresses(6);
        let resp = at.split_off(3);
        Self { scratch: Scratch::new(name), at, resp, election_ms }
    }

    fn arguments(&self, node: usize) -> Vec<String> {
        let members = self.at.iter().zip(1..).map(|(at, node)| format!("{node}={at}"));
        let members = members.collect::<Vec<_>>().join(",");
        let data = self.scratch.path(&format!("n{node}"));
        let (number, resp) = (node.to_string(), self.resp[node - 1].to_string());
        let all = [
            &["server", "--node", &number, "--members", &members, "--data", &data][..],
            &["--resp", &resp, "--within-ms", "2000", "--election-ms", self.election_ms],
        ];
        all.concat().into_iter().map(str::to_owned).collect()
    }

    fn start(&self, node: usize) -> Server {
        let arguments = self.arguments(node);
        Server::of(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// One after the other, as who updates machines does, and then all at once.
#[test]
fn a_cluster_that_is_told_to_stop_loses_nothing() {
    let cluster = Three::new("a_cluster_that_is_told_to_stop_loses_nothing", "300");
    let mut nodes: Vec<_> = (1..=3).map(|node| cluster.start(node)).collect();
    let mut all = Vec::new();
    for node in 1..=3 {
        let one = vec![nodes.remove(0)];
        all.extend(stopped_under_load(&format!("n{node}"), one, &cluster.resp[node - 1..node]));
        // The others have it before it is back.
        is_kept(&mut Redis::to(cluster.resp[node % 3]), &all);
        nodes.push(cluster.start(node));
    }
    all.extend(stopped_under_load("all", nodes, &cluster.resp));
    let _nodes: Vec<_> = (1..=3).map(|node| cluster.start(node)).collect();
    is_kept(&mut Redis::to(cluster.resp[1]), &all);
}

/// A node whose log is read while it runs; killed with the value.
struct Heard {
    child: Child,
    log: String,
}

impl Heard {
    fn start(cluster: &Three, node: usize) -> Self {
        let log = cluster.scratch.path(&format!("n{node}.log"));
        let mut command = trilith();
        command.args(cluster.arguments(node));
        command.stderr(File::create(&log).expect("scratch can be written"));
        Self { child: command.spawn().expect("it starts"), log }
    }

    fn has_said(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|text| text.contains(words))
    }

    fn signal(&self, which: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([which, &id]).status().expect("there is a kill");
        assert!(sent.success(), "kill {which} {id}");
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// It leads, and those whom it could hand that to hang: it would try for a while.
#[test]
fn whoever_says_it_twice_means_now() {
    // Long enough that it still leads when it is told to stop.
    let cluster = Three::new("whoever_says_it_twice_means_now", "4000");
    let mut nodes: Vec<_> = (1..=3).map(|node| Heard::start(&cluster, node)).collect();
    let at: Vec<String> = cluster.at.iter().map(ToString::to_string).collect();
    let set = ["cli", "--at", &at.join(","), "--within-ms", "60000", "set", "hello", "world"];
    run(&set).ok();
    let shown = |at: &String| run(&["-o", "json", "ctl", "status", "--at", at]).out;
    let leads = |at: &String| shown(at).contains("\"leads\":1,");
    let leader = at.iter().position(leads).expect("somebody led just now");
    let mut leading = nodes.remove(leader);
    nodes.iter().for_each(|node| node.signal("-STOP"));
    leading.signal("-TERM");
    wait("it does not hear the first", || leading.has_said("asked to stop"));
    if leading.child.try_wait().expect("it can be asked").is_some() {
        eprintln!("left out: it had done all it could before it was told twice");
        return;
    }
    leading.signal("-TERM");
    let status = leading.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(leading.has_said("told to stop again"), "see {}", leading.log);
    // That loses nothing either.
    drop(nodes);
    let _nodes: Vec<_> = (1..=3).map(|node| cluster.start(node)).collect();
    let get = ["cli", "--at", &at.join(","), "--within-ms", "60000", "get", "hello"];
    assert_eq!(run(&get).ok(), "world\n");
}
