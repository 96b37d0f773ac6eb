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
    time::Duration,
};

use trilith_engine::{
    runtime::{Clock, Runtime, race},
    types::NodeId,
};
use trilith_net::{
    node::{Cluster, Node, NodeOptions},
    os::run_core,
};

/// A node of a cluster of one, until it is dropped.
struct Alone {
    at: SocketAddr,
    directory: PathBuf,
    ends: Arc<AtomicBool>,
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
                tell.send(node.serves_resp().unwrap()).unwrap();
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
        Self { at: told.recv().unwrap(), directory, ends, thread: Some(thread) }
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
}
