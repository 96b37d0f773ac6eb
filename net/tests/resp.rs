//! Redis clients at a node over the real doors: what is answered, in which order, to whom.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a door's tests look behind it"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use trilith_engine::{
    runtime::{Clock, Runtime, race},
    types::NodeId,
};
use trilith_net::{
    node::{Cluster, Node, NodeOptions, Remote},
    os::run_core,
};

/// A node of a cluster of one, until it is dropped.
struct Alone {
    at: SocketAddr,
    directory: PathBuf,
    ends: Arc<AtomicBool>,
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

impl Alone {
    fn start() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("trilith-resp-{}-{n}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (ends, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (home, over) = (directory.clone(), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            run_core(&home, async |os| {
                let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let cluster = Cluster::new("alone", vec![(NodeId(1), anywhere)], 1).unwrap();
                let options =
                    NodeOptions { resp: Some(anywhere), ..NodeOptions::new(NodeId(1), cluster) };
                let node = Node::start(&os, options, ()).await.unwrap();
                tell.send((node.serves_resp().unwrap(), node.remote())).unwrap();
                let until_then = async {
                    while !over.load(Ordering::Relaxed) {
                        let soon = os.clock().now() + Duration::from_millis(10);
                        os.clock().sleep_until(soon).await;
                    }
                };
                let _ended = race(node.run(), until_then).await;
            })
            .unwrap();
        });
        let (at, remote) = told.recv().unwrap();
        Self { at, directory, ends, remote, thread: Some(thread) }
    }

    /// Ends it in order, and waits until it has ended.
    fn stop(&mut self) {
        let (home, remote) = (self.directory.join("remote"), self.remote.clone());
        fs::create_dir_all(&home).unwrap();
        run_core(&home, async |_os| remote.stop().await).unwrap();
        let _ended = self.thread.take().map(JoinHandle::join);
    }

    fn connect(&self) -> Redis {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Redis(stream)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
        let _gone = fs::remove_dir_all(&self.directory);
    }
}

/// A client that looks at bytes.
struct Redis(TcpStream);

impl Redis {
    /// Sends lines in pieces of that size, and expects that to be answered.
    #[track_caller]
    fn expect(&mut self, lines: &str, piece: usize, answer: &str) {
        let sent = lines.replace('\n', "\r\n");
        for piece in sent.as_bytes().chunks(piece) {
            self.0.write_all(piece).unwrap();
        }
        let mut heard = vec![0; answer.replace('|', "\r\n").len()];
        self.0.read_exact(&mut heard).unwrap();
        let heard = String::from_utf8_lossy(&heard).replace("\r\n", "|");
        assert_eq!(heard, answer, "{lines}");
    }

    /// Sends bytes; what is answered until the other side ends it.
    fn last(mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).unwrap();
        let mut heard = Vec::new();
        self.0.read_to_end(&mut heard).unwrap();
        String::from_utf8_lossy(&heard).replace("\r\n", "|")
    }
}

#[test]
fn commands_are_answered_in_their_order_however_they_come() {
    let node = Alone::start();
    let story = "SET a 1\nGET a\nINCR a\nAPPEND a 0\nGET a\nMGET a b\nSETRANGE b 2 x\nSTRLEN b\n\
                 INCRBYFLOAT c 0.1\nINCRBYFLOAT c 0.2\nRENAME c d\nEXISTS c d\nDEL a b c d\nGET a\n\
                 WITH eventual GET a\nNOSUCH\nGET\nPING\n";
    let answer = "+OK|$1|1|:2|:2|$2|20|*2|$2|20|$-1|:3|:3|$3|0.1|$3|0.3|+OK|:1|:3|$-1|$-1|\
                  -ERR unknown command 'NOSUCH', with args beginning with: |\
                  -ERR wrong number of arguments for 'get' command|+PONG|";
    for piece in [1, 7, 10_000] {
        node.connect().expect(story, piece, answer);
    }
}

#[test]
fn a_transaction_is_done_wholly_or_not_at_all() {
    let node = Alone::start();
    let (mut one, mut other) = (node.connect(), node.connect());
    one.expect(
        "MULTI\nSET a 1\nINCR a\nGET a\nEXEC\n",
        9,
        "+OK|+QUEUED|+QUEUED|+QUEUED|*3|+OK|:2|$1|2|",
    );
    one.expect("WATCH a\n", 9, "+OK|");
    other.expect("SET a 7\n", 9, "+OK|");
    one.expect("MULTI\nSET a 1\nEXEC\nGET a\n", 9, "+OK|+QUEUED|*-1|$1|7|");
    let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
    let arity = "-ERR wrong number of arguments for 'set' command|";
    one.expect("MULTI\nSET a\nEXEC\nGET a\n", 9, &format!("+OK|{arity}{aborted}$1|7|"));
    let text = "-ERR value is not an integer or out of range|";
    one.expect(
        "SET t x\nMULTI\nINCR t\nSET t y\nEXEC\nGET t\n",
        9,
        &format!("+OK|+OK|+QUEUED|+QUEUED|*2|{text}+OK|$1|y|"),
    );
    one.expect(
        "MULTI\nSET a 1\nDISCARD\nGET a\nEXEC\n",
        9,
        "+OK|+QUEUED|+OK|$1|7|-ERR EXEC without MULTI|",
    );
    one.expect(
        "MULTI\nPING\nSET a 8\nUNWATCH\nECHO x\nGET a\nEXEC\n",
        9,
        "+OK|+QUEUED|+QUEUED|+QUEUED|+QUEUED|+QUEUED|*5|+PONG|+OK|+OK|$1|x|$1|8|",
    );
    // EXEC by itself forgets nothing.
    one.expect("WATCH a\nEXEC\n", 9, "+OK|-ERR EXEC without MULTI|");
    other.expect("SET a 9\n", 9, "+OK|");
    one.expect("MULTI\nSET a 1\nEXEC\nGET a\n", 9, "+OK|+QUEUED|*-1|$1|9|");
}

#[test]
fn what_is_too_much_is_refused_and_guards_what_comes_behind() {
    let node = Alone::start();
    let mut redis = node.connect();
    let keys = |count: usize| (0..count).map(|n| format!(" k{n}")).collect::<String>();
    let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
    let watches = "-ERR a connection watches at most 1024 keys with 1048576 bytes|";
    let (line, many) = (format!("WATCH{}\n", keys(1025)), "MULTI\nSET a 1\nEXEC\nGET a\n");
    redis.expect(
        &format!("{line}{many}{many}"),
        9999,
        &format!("{watches}+OK|+QUEUED|{aborted}$-1|+OK|+QUEUED|*1|+OK|$1|1|"),
    );
    redis.expect(
        &format!("{line}UNWATCH\n{many}"),
        9999,
        &format!("{watches}+OK|+OK|+QUEUED|*1|+OK|$1|1|"),
    );
    let large =
        "-ERR too much at once: a transaction has at most 1024 keys and 9 MiB; nothing happened|";
    let reads = format!("MULTI\nMGET{}\nEXEC\n", keys(1025));
    redis.expect(&reads, 9999, &format!("+OK|+QUEUED|{large}"));
    let queued = "PING\n".repeat(1025);
    let queue = "-ERR a transaction has at most 1024 commands and 33554432 bytes|";
    redis.expect(
        &format!("MULTI\n{queued}EXEC\n"),
        9999,
        &format!("+OK|{}{queue}{aborted}", "+QUEUED|".repeat(1024)),
    );
    let named = format!("COMMAND INFO{}\nPING\n", " get".repeat(1025));
    redis.expect(&named, 9999, "-ERR at most 1024 words are taken here|+PONG|");
    // More than one answer holds.
    for n in 0..10 {
        redis.expect(&format!("SETRANGE k{n} 1048575 x\n"), 99, ":1048576|");
    }
    redis.expect(&format!("MGET{}\nSTRLEN k1\n", keys(10)), 99, &format!("{large}:1048576|"));
}

#[test]
fn a_lifetime_is_shown_as_it_goes_on_while_nothing_is_written() {
    let node = Alone::start();
    let mut redis = node.connect();
    let number = |redis: &mut Redis, line: &str| {
        redis.0.write_all(line.as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n") {
            let mut byte = [0];
            redis.0.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        String::from_utf8_lossy(&said[1..]).trim().parse::<u64>().unwrap()
    };
    redis.expect("SET a 1 PX 100000\n", 99, "+OK|");
    let goes_on = (0..20_000).any(|_| number(&mut redis, "PTTL a\r\n") < 99_990);
    assert!(goes_on, "time stands");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let saved = number(&mut redis, "LASTSAVE\r\n");
    assert!((now..now + 60).contains(&saved), "{saved} is not {now}");
}

#[test]
fn a_node_that_is_told_to_stop_answers_and_then_closes() {
    let mut node = Alone::start();
    let mut idle = node.connect();
    idle.expect("PING\n", 9, "+PONG|");
    let mut busy = node.connect();
    busy.expect("INCR n\n", 9, ":1|");
    busy.0.write_all(&b"INCR n\r\n".repeat(400)).unwrap();
    node.stop();
    assert_eq!(idle.last(b""), "");
    let said = busy.last(b"");
    let answers: Vec<&str> = said.split_terminator('|').collect();
    for (at, answer) in answers.iter().enumerate() {
        let is_refused = answer.starts_with("-UNAVAILABLE") || answer.starts_with("-INDOUBT");
        assert!(is_refused || *answer == format!(":{}", at + 2), "{at}: {answer}");
    }
}

#[test]
fn a_thousand_commands_at_once_are_answered_in_their_order() {
    let node = Alone::start();
    let (mut lines, mut answer) = (String::new(), String::new());
    for n in 1..=1000 {
        lines.push_str("INCR n\n");
        answer.push_str(&format!(":{n}|"));
        if n % 100 == 0 {
            lines.push_str("GET n\n");
            answer.push_str(&format!("${}|{n}|", n.to_string().len()));
        }
    }
    node.connect().expect(&lines, 1 << 20, &answer);
}

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let node = Alone::start();
    let mut well = node.connect();
    well.expect("PING\n", 9, "+PONG|");
    let nested = b"*1\r\n".repeat(200_000);
    assert_eq!(node.connect().last(&nested[..64]), "-ERR Protocol error: expected '$', got '*'|");
    let said = node.connect().last(b"PING\r\n*1\r\n$99999999999\r\n");
    assert_eq!(said, "+PONG|-ERR Protocol error: invalid bulk length|");
    assert_eq!(node.connect().last(b"QUIT\r\n"), "+OK|");
    well.expect("PING\n", 9, "+PONG|");
}

/// A page that a browser shows can have it POST to the loopback, with lines of the page's own.
#[test]
fn what_a_web_page_sends_is_not_done() {
    let node = Alone::start();
    let heads = [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:7379\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: 127.0.0.1:7379\r\n\r\n",
        "PUT / HTTP/1.1\r\nHOST: 127.0.0.1:7379\r\n\r\n",
    ];
    for head in heads {
        let said = node.connect().last(format!("{head}SET a 1\r\n").as_bytes());
        assert_eq!(said, "", "{head}");
    }
    // Nor what another connection has begun in one go with it, nor between MULTI and EXEC.
    assert_eq!(node.connect().last(b"SET a 1\r\npost x\r\n"), "");
    assert_eq!(node.connect().last(b"*1\r\n$4\r\nPost\r\n"), "");
    let mut gathers = node.connect();
    gathers.expect("MULTI\nSET a 1\n", 99, "+OK|+QUEUED|");
    assert_eq!(gathers.last(b"HOST: x\r\nEXEC\r\n"), "");
    node.connect().expect("EXISTS a\nSET host: 1\nGET host:\n", 99, ":0|+OK|$1|1|");
}

#[test]
fn a_connection_speaks_what_it_has_agreed_on() {
    let node = Alone::start();
    let mut redis = node.connect();
    redis.expect("GET a\n", 9, "$-1|");
    redis.expect("HELLO 4\n", 9, "-NOPROTO unsupported protocol version|");
    let greeting = "%7|$6|server|$5|redis|$7|version|$5|7.4.0|$5|proto|:3|$2|id|:1|$4|mode|\
                    $10|standalone|$4|role|$6|master|$7|modules|*0|";
    redis.expect("HELLO 3 SETNAME me\n", 99, greeting);
    redis.expect("GET a\nCLIENT GETNAME\nCONFIG GET save\n", 99, "_|$2|me|%1|$4|save|$0||");
    redis.expect(
        "CLIENT REPLY SKIP\nPING\nCLIENT REPLY OFF\nPING\nCLIENT REPLY ON\nRESET\nGET a\n",
        99,
        "+OK|+RESET|$-1|",
    );
    // Who hears nothing skips nothing, and what he sent is done without waiting for more of it.
    let silent = format!("CLIENT REPLY OFF\nCLIENT REPLY SKIP\n{}", "PING\n".repeat(2000));
    redis.expect(&format!("{silent}CLIENT REPLY ON\nPING\n"), 1 << 20, "+OK|+PONG|");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
    redis.expect("AUTH default x\nAUTH me x\n", 99, &format!("+OK|{wrong}"));
    let long = format!("CLIENT SETNAME {}\n", "n".repeat(1025));
    redis.expect(&long, 9999, "-ERR Client names have at most 1024 bytes.|");
}
