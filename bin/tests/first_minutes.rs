//! The first ten minutes of somebody who has never seen any of it: what he types is what he was told
//! to type, by the page or by what he typed before.
//!
//! Redis' client and curl are not everywhere, so what they would send is sent here; with the real
//! ones `.ci/run` does the same.
//!
//! Not here: what else the demo does (`demo.rs`), the README's commands in a shell (`.ci/run`).

mod program;

use program::{Answer, Redis, Scratch, Server, addresses, read_some, run, trilith};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// From the demo's first port to its last: its own two, and three of each of three nodes.
const PORTS: u16 = 33;

/// The first of so many ports that nobody has.
fn room() -> SocketAddr {
    for _ in 0..1000 {
        let base = addresses(1)[0];
        let Some(behind) = base.port().checked_add(PORTS) else { continue };
        if (base.port()..behind).all(|port| TcpListener::bind((base.ip(), port)).is_ok()) {
            return base;
        }
    }
    panic!("there are no {PORTS} free ports in a row");
}

/// A demo, and somebody who types.
struct Demo {
    process: Child,
    input: ChildStdin,
    out: BufReader<ChildStdout>,
    turns: usize,
}

impl Demo {
    /// Starts it; answers what it says before anything is typed, too.
    fn start(scratch: &Scratch, base: SocketAddr) -> (Self, String) {
        let mut demo = trilith();
        demo.args(["demo", "--resp", &base.to_string()]);
        demo.stdin(Stdio::piped()).env("TMPDIR", &scratch.0);
        let mut process = demo.spawn().expect("it starts");
        let input = process.stdin.take().expect("it is piped");
        let out = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut demo = Self { process, input, out, turns: 0 };
        let said = demo.types("");
        (demo, said)
    }

    /// What is said to a line. A remark behind it is echoed when that is all.
    fn types(&mut self, line: &str) -> String {
        self.turns += 1;
        let end = format!("# turn {}", self.turns);
        self.input.write_all(format!("{line}\n{end}\n").as_bytes()).expect("it reads");
        let (mut said, end) = (String::new(), format!("demo> {end}"));
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).expect("it writes text") > 0, "it ended: {said}");
            if line.trim_end() == end {
                return said;
            }
            if !line.starts_with("demo> ") {
                said.push_str(&line);
            }
        }
    }

    /// There is no more input.
    fn end(self) -> Answer {
        let Self { process, input, out, .. } = self;
        drop(input);
        let ended = Answer::of(process.wait_with_output().expect("it ends"));
        // Until then somebody reads what it says.
        drop(out);
        ended
    }
}

/// What `redis-cli -h IP -p PORT WORD …` shows.
fn redis_cli(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let ["redis-cli", "-h", ip, "-p", port, ask @ ..] = words.as_slice() else {
        panic!("this is no command of Redis' client: {command}");
    };
    Redis::to(format!("{ip}:{port}").parse().expect("it names an address")).ask(ask)
}

/// What `curl URL` is answered: a status and a body.
fn curl(command: &str) -> (u16, String) {
    let url = command.strip_prefix("curl http://").expect("it is a command of curl's");
    let (at, path) = url.split_once('/').expect("it asks for something there");
    let mut stream = TcpStream::connect(at).expect("somebody listens there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {at}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let (mut bytes, mut piece) = (Vec::new(), [0; 1 << 12]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("it has a length").parse().expect("a number");
            if body.len() >= length {
                let status = head.split(' ').nth(1).expect("it has a status");
                return (status.parse().expect("a number"), body.to_owned());
            }
        }
        let read = read_some(&mut stream, &mut piece).expect("it answers in time");
        assert!(read > 0, "half an answer: {text}");
        bytes.extend_from_slice(&piece[..read]);
    }
}

/// Sets key after key through the door until it is told to stop, and answers which of them were
/// acknowledged. Of the others nothing was promised; they must say so.
fn writes(door: SocketAddr, is_over: &AtomicBool, done: &AtomicUsize) -> Vec<usize> {
    let (mut redis, mut acknowledged) = (Redis::to(door), Vec::new());
    let until = Instant::now() + 2 * PATIENCE;
    for key in 0_usize.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        assert!(Instant::now() < until, "nobody tells it to stop");
        match redis.tries(&["SET", &format!("key-{key}"), &format!("value-{key}")]).as_deref() {
            Some("OK") => {
                acknowledged.push(key);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Some(said) => {
                let is_known = ["(error) INDOUBT ", "(error) UNAVAILABLE "];
                assert!(is_known.iter().any(|known| said.starts_with(known)), "{said}");
            }
            // Its node is gone.
            None => {
                thread::sleep(Duration::from_millis(10));
                redis = Redis::to(door);
            }
        }
    }
    acknowledged
}

/// Has that done while somebody writes, and answers what was said to it and what was acknowledged,
/// before and after.
fn while_somebody_writes(door: SocketAddr, what: impl FnOnce() -> String) -> (String, Vec<usize>) {
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = || {
        let (enough, until) = (done.load(Ordering::Relaxed) + 20, Instant::now() + PATIENCE);
        while done.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < until, "nothing is acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| writes(door, &is_over, &done));
        more();
        let said = what();
        more();
        is_over.store(true, Ordering::Relaxed);
        (said, writer.join().expect("it writes to its end"))
    })
}

/// The table of an explanation: when, which node, what.
fn explained(said: &str) -> Vec<(u64, u64, &str)> {
    let rows = said.lines().filter_map(|line| {
        let (us, rest) = line.trim().split_once(' ')?;
        let (node, what) = rest.trim().split_once(' ')?;
        Some((us.parse().ok()?, node.parse().ok()?, what.trim()))
    });
    rows.collect()
}

/// Which nodes run, of a table of them: each one's number and where its Redis clients are served.
fn running(said: &str) -> Vec<(u64, SocketAddr)> {
    let rows = said.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [node, "runs", .., redis, _, _] = words.as_slice() else { return None };
        Some((node.parse().ok()?, redis.parse().ok()?))
    });
    rows.collect()
}

#[test]
fn the_first_ten_minutes_are_as_the_page_tells_them() {
    let scratch = Scratch::new("the_first_ten_minutes_are_as_the_page_tells_them");
    let base = room();
    // $ cargo run --release -- demo
    let (mut demo, told) = Demo::start(&scratch, base);
    assert!(told.contains("3 nodes in one process"), "{told}");
    let next = |begins: &str| {
        let mut lines = told.lines().map(|line| line.trim_start_matches("next:").trim());
        lines.find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{told}"))
    };
    // $ redis-cli -p 7379 set hello world
    assert_eq!(redis_cli(next("redis-cli ")), "OK");
    // $ curl localhost:7380/v1/kv/default/hello
    let curl_command = next("curl ");
    assert_eq!(curl(curl_command), (200, "world".to_owned()));
    // Any node, no redirects.
    let nodes = running(&told);
    assert_eq!(nodes.len(), 3, "{told}");
    for (node, at) in &nodes {
        assert_eq!(Redis::to(*at).ask(&["GET", "hello"]), "\"world\"", "node {node}");
        let key = format!("of-{node}");
        assert_eq!(Redis::to(*at).ask(&["SET", &key, &key]), "OK");
    }
    // demo> chaos kill n2, who leads
    assert!(told.contains("chaos kill leader"), "{told}");
    let (said, kept) = while_somebody_writes(base, || demo.types("chaos kill leader"));
    assert!(said.contains("killed; it led\n2 of 3 nodes run: a majority"), "{said}");
    assert!(kept.len() >= 40, "{kept:?}");
    let mut redis = Redis::to(base);
    for key in kept {
        let value = redis.ask(&["GET", &format!("key-{key}")]);
        assert_eq!(value, format!("\"value-{key}\""), "key-{key} was acknowledged");
    }
    for (node, _) in &nodes {
        let key = format!("of-{node}");
        assert_eq!(redis.ask(&["GET", &key]), format!("{key:?}"), "it was acknowledged");
    }
    assert_eq!(curl(curl_command), (200, "world".to_owned()));
    // demo> explain get hello
    let said = demo.types("explain get hello");
    let rows = explained(&said);
    let alive: Vec<u64> = running(&demo.types("status")).iter().map(|(node, _)| *node).collect();
    assert_eq!(alive.len(), 2, "one is killed");
    assert!(rows.len() > 2, "it says nothing of what lay between: {said}");
    assert_eq!(rows.first().map(|row| row.2), Some("is asked: get hello"), "{said}");
    assert_eq!(rows.last().map(|row| row.2), Some("has answered: \"world\""), "{said}");
    assert!(rows.is_sorted_by_key(|row| row.0), "{said}");
    assert!(rows.iter().all(|row| alive.contains(&row.1)), "a dead node said something: {said}");
    // Nothing that is typed wrongly is its end, and nothing stays behind.
    assert!(demo.types("sett hello world").starts_with("(error) ERR unknown command 'sett'"));
    assert!(demo.types("chaos burn 1").contains("kill, pause, partition or heal"));
    let ended = demo.end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 0, "something was left");
}

/// A code, what it means, the cause, and what to do next, whatever was typed.
#[test]
fn every_error_says_what_to_do_next() {
    let scratch = Scratch::new("every_error_says_what_to_do_next");
    let nobody = addresses(1)[0].to_string();
    let (absent, foreign) = (scratch.path("absent"), scratch.path("foreign"));
    fs::create_dir(&foreign).expect("scratch can be written");
    fs::write(format!("{foreign}/holiday.jpg"), b"not ours").expect("scratch can be written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let data = scratch.path("data");
    let resp = ["--resp", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let standalone = [&["standalone", "--data", &data], &resp[..]].concat();
    let all: [(&[&str], i32, &str); 8] = [
        (&["cli", "--at", &nobody, "--within-ms", "300", "get", "hello"], 3, "TR-E504"),
        (&["cli", "--resp", &nobody, "--within-ms", "300", "get", "hello"], 3, "TR-E504"),
        (&["cli", "--at", &nobody, "--resp", &nobody, "get", "hello"], 2, "TR-E203"),
        (&["ctl", "status", "--at", &nobody], 3, "TR-E504"),
        (&["kv", &absent, "get", "hello"], 1, "TR-E101"),
        (&["kv", &foreign, "set", "hello", "world"], 1, "TR-E104"),
        (&["server"], 2, "TR-E501"),
        (&[&standalone[..], &["--listen", &taken]].concat(), 5, "TR-E503"),
    ];
    let codes = run(&["errors"]).ok();
    for (arguments, exit, code) in all {
        let answer = run(arguments);
        let parts: Vec<&str> = answer.err.lines().next().unwrap_or("").splitn(3, ": ").collect();
        let [_, meaning, cause] = parts.as_slice() else { panic!("{arguments:?}: {answer:?}") };
        assert!(!cause.is_empty(), "{arguments:?}: no cause: {answer:?}");
        // The list of all errors knows it by the same words.
        let is_listed = |line: &str| line.contains(code) && line.contains(meaning);
        assert!(codes.lines().any(is_listed), "{code}: {meaning}");
        answer.failed(exit, code);
    }
}

/// What a command says on a terminal, and whether it worked. `None` where there is no `script`.
fn on_a_terminal(arguments: &[&str]) -> Option<(bool, String)> {
    let script = |command: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", command, "/dev/null"]).stdin(Stdio::null()).output().ok()
    };
    // Elsewhere it takes other words, or there are no terminals.
    script("true").filter(|it| cfg!(target_os = "linux") && it.status.success())?;
    let mut command = format!("'{}'", env!("CARGO_BIN_EXE_trilith"));
    for word in arguments {
        command.push_str(&format!(" '{word}'"));
    }
    let said = script(&command)?;
    Some((said.status.success(), String::from_utf8_lossy(&said.stdout).replace('\r', "")))
}

/// What `trilith cli` shows on a terminal where these keys are pressed. `None` where there is no
/// `script`.
fn typed(home: &str, at: &str, keys: &str) -> Option<String> {
    on_a_terminal(&["version"])?;
    let command = format!("'{}' cli --resp {at}", env!("CARGO_BIN_EXE_trilith"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("HOME", home).env_remove("XDG_STATE_HOME");
    script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("it was there");
    let mut keyboard = script.stdin.take().expect("it is piped");
    keyboard.write_all(keys.as_bytes()).expect("it reads");
    drop(keyboard);
    let said = script.wait_with_output().expect("it ends");
    Some(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Who types is helped: a tab completes, an arrow brings back what was said, also another day.
#[test]
fn a_line_can_be_edited_completed_and_said_again() {
    let scratch = Scratch::new("a_line_can_be_edited_completed_and_said_again");
    let at = addresses(2);
    let [resp, listen] = [0, 1].map(|nth| at[nth].to_string());
    let (data, home) = (scratch.path("data"), scratch.path("home"));
    let usual = ["standalone", "--data", &data, "--resp", &resp, "--http", "127.0.0.1:0"];
    let _node = Server::of(&[&usual[..], &["--listen", &listen]].concat());
    let keys = "set greeting hello\ngetr\t greeting 0 1\nauth me secret\nquit\n";
    let Some(said) = typed(&home, &resp, keys) else {
        eprintln!("left out: there is no script(1) of Linux here to make a terminal");
        return;
    };
    assert!(said.contains("\"he\""), "{said}");
    // Up over quit and over what was asked then.
    let again = typed(&home, &resp, "\x1b[A\x1b[A\nquit\n").expect("it was there");
    assert!(again.contains("\"he\""), "{again}");
    let kept = format!("{home}/.local/state/trilith/history");
    let remembered = fs::read_to_string(&kept).expect("it is there");
    assert!(remembered.contains("set greeting hello"), "{remembered}");
    assert!(!remembered.contains("secret"), "{remembered}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&kept).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

/// What somebody changes on a terminal is followed by a command, which works as it stands and shows
/// what has changed.
#[test]
fn every_success_says_what_to_type_next() {
    let scratch = Scratch::new("every_success_says_what_to_type_next");
    let dir = scratch.path("data");
    let lines = scratch.path("lines");
    fs::write(&lines, "a\t1\nb\t2\n").expect("scratch can be written");
    let told: [(&[&str], &str); 4] = [
        (&["kv", &dir, "set", "hello", "world"], "world"),
        (&["kv", &dir, "load", &lines], "keys"),
        (&["kv", &dir, "delete", "a"], "keys"),
        (&["kv", &dir, "compact"], ""),
    ];
    for (arguments, shows) in told {
        let Some((has_worked, said)) = on_a_terminal(arguments) else {
            eprintln!("left out: there is no script(1) of Linux here to make a terminal");
            return;
        };
        assert!(has_worked, "{arguments:?}: {said}");
        let next = said.lines().find_map(|line| line.split_once("next: trilith "));
        let Some((_, next)) = next else { panic!("{arguments:?}: nothing is next: {said}") };
        let shown = run(&next.split(' ').collect::<Vec<_>>()).ok();
        assert!(shown.contains(shows), "{next}: {shown}");
    }
}
