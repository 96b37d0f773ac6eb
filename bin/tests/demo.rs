//! A cluster in one process, as somebody meets it who has never seen one: he types, or pipes, or
//! comes with a Redis client; he kills what leads, and loses nothing.
//!
//! Not here: clusters of processes (`server.rs`), what commands mean (`trilith-net`).

mod program;

use program::{Answer, Redis, Scratch, addresses, fed, run, trilith};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Below all ports of the demo, at an address of this process; tests take turns upwards.
fn base(turn: u16) -> SocketAddr {
    SocketAddr::new(addresses(1)[0].ip(), 7379 + 200 * turn)
}

/// What the demo answers to these lines, when there are no more of them.
fn piped(base: SocketAddr, more: &[&str], lines: &str) -> Answer {
    fed(&[&["demo", "--resp", &base.to_string()], more].concat(), lines)
}

/// The answers to the lines that were asked, each with its line.
fn answers(out: &str) -> Vec<(&str, &str)> {
    let parts = out.split("demo> ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap_or((part, ""))).collect()
}

/// A demo whose input has no end yet.
struct Typed {
    demo: Child,
    input: ChildStdin,
    out: BufReader<ChildStdout>,
}

impl Typed {
    /// As soon as one can type.
    fn start(temporary: &Scratch, arguments: &[&str]) -> Self {
        let mut demo = trilith();
        demo.arg("demo").args(arguments).stdin(Stdio::piped()).env("TMPDIR", &temporary.0);
        let mut demo = demo.spawn().expect("it starts");
        let input = demo.stdin.take().expect("it is piped");
        let out = BufReader::new(demo.stdout.take().expect("it is piped"));
        let mut typed = Self { demo, input, out };
        typed.say("", "next: redis-cli");
        typed
    }

    /// Says that, and waits until these words are said.
    fn say(&mut self, what: &str, words: &str) {
        self.input.write_all(what.as_bytes()).expect("it reads");
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.out.read_line(&mut line).expect("it writes text") > 0, "no {words}");
        }
    }

    fn end(self, signal: &str) -> Answer {
        let id = self.demo.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("there is a kill");
        assert!(sent.success(), "kill {signal} {id}");
        Answer::of(self.demo.wait_with_output().expect("it ends"))
    }
}

#[test]
fn the_leader_is_killed_and_nothing_is_lost() {
    let lines = "set hello world\nchaos kill leader\nget hello\nincr sum\nchaos heal\nchaos kill 1\n\
                 incr sum\nchaos heal 1\nmget hello sum\n";
    let demo = piped(base(0), &[], lines);
    demo.calm();
    assert!(!demo.out.contains('\u{1b}') && demo.err.is_empty(), "{demo:?}");
    let out = demo.ok();
    let told = answers(&out);
    let said = |nth: usize| told[nth].1.trim_end();
    assert_eq!(told[0], ("set hello world", "OK\n"), "{out}");
    assert!(said(1).contains("killed; it led\n2 of 3 nodes run: a majority"), "{out}");
    assert_eq!(said(2), "\"world\"", "{out}");
    assert_eq!(said(3), "(integer) 1", "{out}");
    assert!(said(4).ends_with("3 of 3 nodes run: all of them"), "{out}");
    assert_eq!(said(6), "(integer) 2", "{out}");
    assert_eq!(said(8), "1) \"world\"\n2) \"2\"", "{out}");
}

/// Whoever kills the leader and then the leader means two of them.
#[test]
fn leaders_are_killed_one_after_the_other() {
    let lines = "set k 1\nchaos kill leader\nchaos kill leader\nget k\nstatus\n";
    let out = piped(base(7), &["--nodes", "5"], lines).ok();
    let told = answers(&out);
    assert!(told[1].1.contains("it led\n4 of 5"), "{out}");
    assert!(told[2].1.contains("it led\n3 of 5"), "{out}");
    assert_eq!(told[3].1, "\"1\"\n", "{out}");
}

#[test]
fn who_is_cut_off_or_stands_still_is_replaced() {
    let lines = "set k 1\nchaos partition leader\nset k 2\nstatus\nchaos heal\nget k\n\
                 chaos pause leader\nset k 3\nget k\nstatus\nchaos heal\nget k\n";
    let out = piped(base(1), &["--within-ms", "20000"], lines).ok();
    let told = answers(&out);
    let said = |nth: usize| told[nth].1.trim_end();
    assert!(said(1).contains("partitioned; it led"), "{out}");
    assert_eq!((said(2), said(5)), ("OK", "\"2\""), "{out}");
    // Somebody else leads, of those who run.
    let is_led = |nth: usize| {
        let mut lines = told[nth].1.lines();
        lines.any(|line| line.contains("runs") && line.contains("leader"))
    };
    assert!(said(3).contains("partitioned") && is_led(3), "{out}");
    assert!(said(6).contains("paused; it led"), "{out}");
    assert_eq!((said(7), said(8), said(11)), ("OK", "\"3\"", "\"3\""), "{out}");
    assert!(said(9).contains("paused") && is_led(9), "{out}");
}

/// Neither one whom nobody hears, whatever a Redis client asks him, nor a minority.
#[test]
fn nobody_answers_what_could_be_old_or_undone() {
    let lines = "set k 1\nchaos partition 2\non 2 get k\non 2 set k 2\nchaos kill 3\nset k 3\n\
                 get k\nchaos heal\n";
    let out = piped(base(2), &["--within-ms", "1500"], lines).ok();
    let told = answers(&out);
    assert!(told[4].1.contains("too few"), "{out}");
    for nth in [2, 3, 5, 6] {
        let said = told[nth].1;
        let is_refused =
            ["(error) UNAVAILABLE", "(error) INDOUBT"].iter().any(|how| said.starts_with(how));
        assert!(is_refused, "{out}");
    }
}

#[test]
fn what_it_understands_and_what_it_says_of_the_rest() {
    let lines = "help\nexplain set k v\nexplain get k\nsett k v\nset k \"a b\nget k\nchaos burn 1\n\
                 chaos kill 7\non 9 get k\non 2 get k\n# nothing\nquit\nset k after\n";
    let out = piped(base(3), &[], lines).ok();
    let told = answers(&out);
    let said = |nth: usize| told[nth].1.trim_end();
    assert!(said(0).contains("chaos partition"), "{out}");
    for word in ["sends entry", "on its disk", "applies entry", "has answered: OK"] {
        assert!(said(1).contains(word), "{word} is not in {out}");
    }
    assert!(said(2).contains("has answered: \"v\""), "{out}");
    assert!(said(3).starts_with("(error) ERR unknown command 'sett'"), "{out}");
    assert!(said(4).starts_with("(error) ERR Protocol error"), "{out}");
    assert_eq!((said(5), said(9), said(10)), ("\"v\"", "\"v\"", ""), "{out}");
    assert!(said(6).starts_with("chaos is kill"), "{out}");
    assert!(said(7).contains("no such node") && said(8).contains("no such node"), "{out}");
    assert_eq!(told.last(), Some(&("quit", "")), "{out}");
    let json = piped(base(4), &["-o", "json", "--nodes", "1"], "set k v\nget k\n").ok();
    assert!(json.contains(r#"{"ask":"get k","answer":"v"}"#), "{json}");
    assert!(json.lines().all(|line| line.starts_with('{')), "{json}");
}

/// Any client, any node; and what it has said to be done is there when the demo begins again.
#[test]
fn redis_clients_are_served_by_any_node() {
    let scratch = Scratch::new("redis_clients_are_served_by_any_node");
    let (base, dir) = (base(5), scratch.path("kept"));
    let at = |node: u16| SocketAddr::new(base.ip(), base.port() + 10 * node);
    let mut demo = Typed::start(&scratch, &["--resp", &base.to_string(), "--dir", &dir]);
    assert_eq!(Redis::to(at(1)).ask(&["SET", "hello", "world"]), "OK");
    // Each of these is passed on to another node.
    let mut anybody: Vec<_> = (0..3).map(|_| Redis::to(base)).collect();
    for redis in &mut anybody {
        assert_eq!(redis.ask(&["GET", "hello"]), "\"world\"");
    }
    // Only who knows it asks at the port of the nodes.
    let peers = |node: u16| SocketAddr::new(base.ip(), base.port() + 10 * node + 2).to_string();
    let peers = [1, 2, 3].map(peers).join(",");
    let status = ["ctl", "status", "--at", &peers];
    run(&status).failed(7, "TR-E511");
    run(&[&status[..], &["--secret-file", &format!("{dir}/secret")]].concat()).ok();
    let mut second = Redis::to(at(2));
    assert_eq!(second.ask(&["GET", "hello"]), "\"world\"");
    demo.say("chaos kill 1\n", "2 of 3 nodes run");
    assert!(TcpStream::connect(at(1)).is_err(), "somebody listens at the port of a killed node");
    assert_eq!(second.ask(&["GET", "hello"]), "\"world\"");
    for _ in 0..3 {
        assert_eq!(Redis::to(base).ask(&["GET", "hello"]), "\"world\"");
    }
    assert_eq!(anybody.into_iter().filter_map(|mut redis| redis.tries(&["PING"])).count(), 2);
    assert_eq!(Redis::to(at(3)).ask(&["APPEND", "hello", "!"]), "(integer) 6");
    // Its ports and its directory are taken as long as it runs.
    let other = ["demo", "--resp", &base.to_string()];
    run(&other).failed(5, "TR-E503");
    run(&["demo", "--dir", &dir, "--nodes", "5"]).failed(2, "TR-E501");
    // All nodes at once: what was answered is there.
    assert_eq!(demo.end("-KILL").code, None);
    let out = piped(base, &["--dir", &dir], "get hello\n").ok();
    assert_eq!(answers(&out), [("get hello", "\"world!\"\n")], "{out}");
    // Three nodes, and the secret of their cluster.
    assert!(fs::read_dir(&dir).expect("it was kept").count() == 4);
}

/// Whoever has had enough of it has typed no `quit`.
#[test]
fn a_signal_is_an_end_as_any_other() {
    let scratch = Scratch::new("a_signal_is_an_end_as_any_other");
    let base = base(6).to_string();
    let usual = ["--resp", &base, "--nodes", "1"];
    let count = || fs::read_dir(&scratch.0).expect("it is there").count();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let demo = Typed::start(&scratch, &usual);
        assert_eq!(count(), 1, "the nodes keep their data elsewhere");
        let ended = demo.end(signal);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(count(), 0, "something was left");
    }
}

/// What is under way may take long: then whoever says it twice means now.
#[test]
fn a_second_signal_is_the_end_at_once() {
    let scratch = Scratch::new("a_second_signal_is_the_end_at_once");
    let base = base(8).to_string();
    let usual = ["--resp", &base, "--within-ms", "60000"];
    let mut demo = Typed::start(&scratch, &usual);
    demo.say("chaos kill 1\n", "2 of 3 nodes run");
    demo.say("chaos kill 2\n", "1 of 3 nodes run");
    // Nobody answers this within a minute.
    demo.say("set k 1\n", "demo> set k 1");
    let (began, id) = (Instant::now(), demo.demo.id().to_string());
    let first = Command::new("kill").args(["-INT", &id]).status().expect("there is a kill");
    assert!(first.success());
    thread::sleep(Duration::from_millis(500));
    assert!(demo.demo.try_wait().expect("it can be asked").is_none(), "the first one ended it");
    let ended = demo.end("-HUP");
    assert_eq!(ended.code, Some(129), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 0, "something was left");
}

/// Somebody has taken the port of a killed node.
#[test]
fn a_node_that_cannot_be_healed_is_not_the_end() {
    let (base, scratch) = (base(9), Scratch::new("a_node_that_cannot_be_healed_is_not_the_end"));
    let mut demo = Typed::start(&scratch, &["--resp", &base.to_string()]);
    demo.say("set k 1\nchaos kill 1\n", "2 of 3 nodes run");
    let taken = SocketAddr::new(base.ip(), base.port() + 10);
    let holder = TcpListener::bind(taken).expect("its port is free");
    demo.say("chaos heal\n", "node 1 could not be healed: TR-E503");
    demo.say("get k\n", "\"1\"");
    drop(holder);
    demo.say("chaos heal 1\n", "3 of 3 nodes run");
    demo.end("-TERM").ok();
}

/// MULTI is of one connection; a SET behind it must not be done at once by another node.
#[test]
fn what_a_killed_node_was_told_is_said_to_be_forgotten() {
    let lines = "multi\nset k 1\nchaos kill 1\nset k 2\nget k\n";
    let out = piped(base(10), &[], lines).ok();
    let told = answers(&out);
    assert_eq!((told[0].1, told[1].1), ("OK\n", "QUEUED\n"), "{out}");
    assert!(told[3].1.starts_with("(error) UNAVAILABLE") && told[3].1.contains("MULTI"), "{out}");
    assert_eq!(told[4].1, "(nil)\n", "{out}");
}

/// Connections that nobody uses and nobody ends.
#[test]
fn a_door_without_a_place_says_so() {
    let scratch = Scratch::new("a_door_without_a_place_says_so");
    let base = base(11);
    let demo = Typed::start(&scratch, &["--resp", &base.to_string(), "--nodes", "1"]);
    let mut held = Vec::new();
    let full = (0..1000).any(|_| {
        let mut one = Redis::to(base);
        let said = one.tries(&["PING"]);
        held.push(one);
        said.is_none_or(|said| said == "(error) ERR max number of clients reached")
    });
    assert!(full && held.len() > 100, "{} places", held.len());
    // A node's own port has others, and a place that is left is free.
    assert_eq!(Redis::to(SocketAddr::new(base.ip(), base.port() + 10)).ask(&["PING"]), "PONG");
    held.drain(..10);
    let until = Instant::now() + Duration::from_secs(20);
    while Redis::to(base).tries(&["PING"]).as_deref() != Some("PONG") {
        assert!(Instant::now() < until, "no place was left free");
    }
    demo.end("-TERM").ok();
}

/// Whoever it was said to, and also when a node between them is gone.
#[test]
fn what_is_published_at_a_node_is_heard_at_the_others() {
    let scratch = Scratch::new("what_is_published_at_a_node_is_heard_at_the_others");
    let base = base(12);
    let at = |node: u16| SocketAddr::new(base.ip(), base.port() + 10 * node);
    let mut demo = Typed::start(&scratch, &["--resp", &base.to_string()]);
    let mut hears = TcpStream::connect(at(2)).expect("it runs");
    hears.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
    let mut expect = |said: &str, answer: &str| {
        hears.write_all(said.as_bytes()).expect("it reads");
        let mut bytes = vec![0; answer.replace('|', "\r\n").len()];
        hears.read_exact(&mut bytes).expect("it is said in time");
        assert_eq!(String::from_utf8_lossy(&bytes).replace("\r\n", "|"), answer);
    };
    expect("SUBSCRIBE news\r\n", "*3|$9|subscribe|$4|news|:1|");
    for (node, text) in [(1, "from1"), (3, "from3")] {
        assert_eq!(Redis::to(at(node)).ask(&["PUBLISH", "news", text]), "(integer) 0");
        expect("", &format!("*3|$7|message|$4|news|$5|{text}|"));
    }
    demo.say("chaos kill 1\n", "2 of 3 nodes run");
    let mut other = Redis::to(at(3));
    assert_eq!(other.ask(&["PUBLISH", "news", "after"]), "(integer) 0");
    expect("", "*3|$7|message|$4|news|$5|after|");
    assert_eq!(Redis::to(at(2)).ask(&["PUBLISH", "news", "nears"]), "(integer) 1");
    expect("", "*3|$7|message|$4|news|$5|nears|");
    demo.end("-TERM").ok();
}
