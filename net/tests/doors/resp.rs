//! Redis clients: what is answered, in which order, to whom.
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use trilith_net::resp::heard::Heard;

use crate::alone::{Alone, read_some};

/// What EXEC says behind a command that was refused.
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.|";

impl Alone {
    pub(crate) fn connect(&self) -> Redis {
        let stream = TcpStream::connect(self.resp).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Redis(stream)
    }
}

/// A client that looks at bytes.
pub(crate) struct Redis(pub(crate) TcpStream);

impl Redis {
    /// Sends lines, and expects that to be answered.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &str, answer: &str) {
        self.expect_in_pieces(9, lines, answer);
    }

    /// The same in pieces of that size.
    #[track_caller]
    pub(crate) fn expect_in_pieces(&mut self, piece: usize, lines: &str, answer: &str) {
        for piece in lines.replace('\n', "\r\n").as_bytes().chunks(piece) {
            self.0.write_all(piece).unwrap();
        }
        let mut heard = vec![0; answer.replace('|', "\r\n").len()];
        self.0.read_exact(&mut heard).unwrap();
        let heard = String::from_utf8_lossy(&heard).replace("\r\n", "|");
        assert_eq!(heard, answer, "{lines}");
    }

    /// Sends bytes; the answer to them, behind which nothing comes.
    fn ask(&mut self, bytes: &[u8]) -> Heard {
        self.0.write_all(bytes).unwrap();
        let mut said = Vec::new();
        loop {
            if let Some((heard, length)) = Heard::first(&said).unwrap() {
                assert_eq!(length, said.len(), "more than {heard} was said");
                return heard;
            }
            let mut piece = [0; 65536];
            let read = read_some(&mut self.0, &mut piece).unwrap();
            assert!(read > 0, "the connection ended behind {said:?}");
            said.extend_from_slice(&piece[..read]);
        }
    }

    /// What is answered to a line, for people.
    pub(crate) fn told(&mut self, line: &str) -> String {
        self.ask(format!("{line}\r\n").as_bytes()).to_string()
    }

    /// What was said by now, if anything.
    fn said_by_now(&mut self) -> Option<String> {
        self.0.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut said = [0; 200];
        let read = self.0.read(&mut said).ok().filter(|read| *read > 0)?;
        Some(String::from_utf8_lossy(&said[..read]).replace("\r\n", "|"))
    }

    /// Sends bytes; what is answered until the other side ends it.
    pub(crate) fn last(mut self, bytes: &[u8]) -> String {
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
        node.connect().expect_in_pieces(piece, story, answer);
    }
}

#[test]
fn a_transaction_is_done_wholly_or_not_at_all() {
    let node = Alone::start();
    let (mut one, mut other) = (node.connect(), node.connect());
    one.expect(
        "MULTI\nSET a 1\nINCR a\nGET a\nEXEC\n",
        "+OK|+QUEUED|+QUEUED|+QUEUED|*3|+OK|:2|$1|2|",
    );
    one.expect("WATCH a\n", "+OK|");
    other.expect("SET a 7\n", "+OK|");
    one.expect("MULTI\nSET a 1\nEXEC\nGET a\n", "+OK|+QUEUED|*-1|$1|7|");
    let arity = "-ERR wrong number of arguments for 'set' command|";
    one.expect("MULTI\nSET a\nEXEC\nGET a\n", &format!("+OK|{arity}{ABORTED}$1|7|"));
    let text = "-ERR value is not an integer or out of range|";
    // Words that mean nothing are answered in their place.
    one.expect(
        "MULTI\nSET m 1 EX nope\nPING\nINCRBY m x\nSET m 2\nSET m 3 NX XX\nMSET m n o\nEXEC\nGET m\n",
        &format!(
            "+OK|{}*6|{text}+PONG|{text}+OK|-ERR syntax error|\
             -ERR wrong number of arguments for 'mset' command|$1|2|",
            "+QUEUED|".repeat(6)
        ),
    );
    one.expect("MULTI\nINCRBY m x\nEXEC\n", &format!("+OK|+QUEUED|*1|{text}"));
    one.expect(
        "SET t x\nMULTI\nINCR t\nSET t y\nEXEC\nGET t\n",
        &format!("+OK|+OK|+QUEUED|+QUEUED|*2|{text}+OK|$1|y|"),
    );
    one.expect(
        "MULTI\nSET a 1\nDISCARD\nGET a\nEXEC\n",
        "+OK|+QUEUED|+OK|$1|7|-ERR EXEC without MULTI|",
    );
    one.expect(
        "MULTI\nPING\nSET a 8\nUNWATCH\nECHO x\nGET a\nEXEC\n",
        "+OK|+QUEUED|+QUEUED|+QUEUED|+QUEUED|+QUEUED|*5|+PONG|+OK|+OK|$1|x|$1|8|",
    );
    // EXEC by itself forgets nothing.
    one.expect("WATCH a\nEXEC\n", "+OK|-ERR EXEC without MULTI|");
    other.expect("SET a 9\n", "+OK|");
    one.expect("MULTI\nSET a 1\nEXEC\nGET a\n", "+OK|+QUEUED|*-1|$1|9|");
}

/// What it came to stands beside the answer: of a node alone, one group and one attempt a request.
#[test]
fn a_command_is_explained() {
    let node = Alone::start();
    let mut redis = node.connect();
    redis.expect("SET a 1\n", "+OK|");
    // Names and what is said by them; numbers are not the same each time.
    let mut explained = |command: &str| {
        let told = redis.told(&format!("EXPLAIN {command}"));
        let is_word = |word: &&str| {
            !word.ends_with(')') && word.bytes().any(|byte| byte.is_ascii_alphabetic())
        };
        told.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ").replace('"', "")
    };
    let asked = |what: &[(&str, &str)]| {
        let one = |(to, level): &(&str, &str)| {
            format!(
                "after-us took-us group to {to} node came an answer level {level} staleness-ms version \
                 time-ms \
                 route-us queue-us persist-us replicate-us apply-us "
            )
        };
        format!("took-us asked {}left-out", what.iter().map(one).collect::<String>())
    };
    let (write, read) = (("write", "strong"), ("read", "strong"));
    assert_eq!(explained("SET a b"), format!("answer OK {}", asked(&[write])));
    assert_eq!(explained("GETRANGE a 0 -1"), format!("answer b {}", asked(&[read])));
    let eventual = format!("answer b {}", asked(&[("read", "eventual")]));
    assert_eq!(explained("WITH eventual GET a"), eventual);
    // It is read, and written if it is still so.
    assert_eq!(explained("RENAME a c"), format!("answer OK {}", asked(&[read, write])));
    let refused = format!("answer ERR value is not an integer or out of range {}", asked(&[write]));
    assert_eq!(explained("INCR c"), refused);
    redis.expect("GET c\n", "$1|b|");
    redis.told("EXPLAIN INCR n");
    redis.expect("GET n\n", "$1|1|");
    let only = "-ERR only what reads or writes keys is explained, and once|";
    redis.expect("EXPLAIN PING\nEXPLAIN EXPLAIN GET a\n", &format!("{only}{only}"));
    redis.expect("EXPLAIN\n", "-ERR wrong number of arguments for 'explain' command|");
    let refused = "-ERR Command not allowed inside a transaction|";
    redis.expect("MULTI\nEXPLAIN GET a\nEXEC\n", &format!("+OK|{refused}{ABORTED}"));
    redis.told("HELLO 3");
    let mapped = redis.told("EXPLAIN GET c");
    assert!(mapped.contains("\"level\" => \"strong\""), "{mapped}");
}

#[test]
fn what_is_too_much_is_refused_and_guards_what_comes_behind() {
    let node = Alone::start();
    let mut redis = node.connect();
    let keys = |count: usize| (0..count).map(|n| format!(" k{n}")).collect::<String>();
    let watches = "-ERR a connection watches at most 1024 keys with 1048576 bytes|";
    let (line, many) = (format!("WATCH{}\n", keys(1025)), "MULTI\nSET a 1\nEXEC\nGET a\n");
    redis.expect(
        &format!("{line}{many}{many}"),
        &format!("{watches}+OK|+QUEUED|{ABORTED}$-1|+OK|+QUEUED|*1|+OK|$1|1|"),
    );
    redis.expect(
        &format!("{line}UNWATCH\n{many}"),
        &format!("{watches}+OK|+OK|+QUEUED|*1|+OK|$1|1|"),
    );
    let large =
        "-ERR too much at once: a transaction has at most 1024 keys and 9 MiB; nothing happened|";
    let reads = format!("MULTI\nMGET{}\nEXEC\n", keys(1025));
    redis.expect(&reads, &format!("+OK|+QUEUED|{large}"));
    let queued = "PING\n".repeat(1025);
    let queue = "-ERR a transaction has at most 1024 commands and 33554432 bytes|";
    redis.expect(
        &format!("MULTI\n{queued}EXEC\n"),
        &format!("+OK|{}{queue}{ABORTED}", "+QUEUED|".repeat(1024)),
    );
    let named = format!("COMMAND INFO{}\nPING\n", " get".repeat(1025));
    redis.expect(&named, "-ERR at most 1024 words are taken here|+PONG|");
    // More than one answer holds.
    for n in 0..10 {
        redis.expect(&format!("SETRANGE k{n} 1048575 x\n"), ":1048576|");
    }
    let whole = format!("$1048576|{}x|", "\0".repeat(1_048_575)).repeat(10);
    redis.expect(&format!("MGET{}\nSTRLEN k1\n", keys(10)), &format!("*10|{whole}:1048576|"));
    let longest = "-ERR an answer has at most 32 MiB of values: ask for fewer keys at once|";
    let often = keys(10).repeat(4);
    redis.expect(&format!("MGET{often}\nSTRLEN k1\n"), &format!("{longest}:1048576|"));
    redis.expect(&format!("DEL{}\nEXISTS k1\n", keys(10)), ":10|:0|");
}

/// Redis has no bound for these.
#[test]
fn more_keys_than_a_request_may_name_are_done_in_parts() {
    for node in [Alone::start(), Alone::split(3)] {
        let mut redis = node.connect();
        let some = |range: std::ops::Range<usize>, more: &str| {
            range.map(|n| format!(" k{n}{more}")).collect::<String>()
        };
        for range in [0..1000, 1000..2000, 2000..3000] {
            redis.expect_in_pieces(4096, &format!("MSET{}\n", some(range, " v")), "+OK|");
        }
        let all = some(0..3001, "");
        redis.expect_in_pieces(4096, &format!("EXISTS{all}\nTOUCH{all}\n"), ":3000|:3000|");
        let values = format!("*3001|{}$-1|", "$1|v|".repeat(3000));
        redis.expect_in_pieces(4096, &format!("MGET{all}\n"), &values);
        redis.expect_in_pieces(4096, &format!("UNLINK{all}\nDEL{all}\n"), ":3000|:0|");
    }
}

/// MSET is one moment in each group, so it cannot be done in parts there; then no part of it is done.
#[test]
fn nothing_is_done_of_what_is_too_much_for_one_of_its_groups() {
    let node = Alone::split(4);
    let mut redis = node.connect();
    let others: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let few = |with: &str| others.iter().map(|key| format!(" {key}{with}")).collect::<String>();
    let many: String = (0..1025).map(|n| format!(" {{one}}{n} v")).collect();
    let large =
        "-ERR too much at once: a transaction has at most 1024 keys and 9 MiB; nothing happened|";
    let exist = format!("EXISTS{}\n", few(""));
    redis.expect_in_pieces(
        4096,
        &format!("MSET{}{many}\n{exist}", few(" v")),
        &format!("{large}:0|"),
    );
    let long = "x".repeat(65536);
    let words: Vec<&str> =
        others.iter().flat_map(|key| [key.as_str(), "v"]).chain([&*long, "v"]).collect();
    let mut request = format!("*{}\n$4\nMSET\n", words.len() + 1);
    for word in words {
        request.push_str(&format!("${}\n{word}\n", word.len()));
    }
    let refused = "-ERR a key has at most 65535 bytes|:0|";
    redis.expect_in_pieces(4096, &format!("{request}{exist}"), refused);
}

/// One value can be said as often as a transaction has words, and one table as often as it has
/// commands.
#[test]
fn what_a_transaction_says_is_bounded() {
    let node = Alone::start();
    let mut redis = node.connect();
    let large =
        "-ERR too much at once: a transaction has at most 1024 keys and 9 MiB; nothing happened|";
    redis.expect("SETRANGE k 1048575 x\n", ":1048576|");
    let reads = format!("MULTI\nSET done 1\nMGET{}\nEXEC\nGET done\n", " k".repeat(40));
    redis.expect(&reads, &format!("+OK|+QUEUED|+QUEUED|{large}$-1|"));
    let writes: String = (0..40).map(|n| format!("SETRANGE n{n} 1048575 x\n")).collect();
    let queued = "+QUEUED|".repeat(40);
    redis.expect(&format!("MULTI\n{writes}EXEC\nEXISTS n1\n"), &format!("+OK|{queued}{large}:0|"));
    let queued = "+QUEUED|".repeat(1024);
    let docs = format!("MULTI\n{}CLIENT SETNAME me\n", "COMMAND DOCS\n".repeat(1023));
    redis.expect_in_pieces(1 << 16, &docs, &format!("+OK|{queued}"));
    redis.0.write_all(b"EXEC\r\nCLIENT GETNAME\r\n").unwrap();
    let (mut heard, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    while !heard.ends_with(b"\r\n$-1\r\n") {
        let read = read_some(&mut redis.0, &mut piece).unwrap();
        assert!(read > 0);
        heard.extend_from_slice(&piece[..read]);
        assert!(heard.len() < 40 << 20, "{} bytes", heard.len());
    }
    let refused = b"-ERR the answer of the transaction is too long; this was not done\r\n";
    assert!(heard.starts_with(b"*1024\r\n") && heard[..heard.len() - 5].ends_with(refused));
}

/// A pattern against a name takes as long as both together are, multiplied.
#[test]
fn patterns_and_names_of_channels_are_bounded() {
    let node = Alone::start();
    let (mut redis, mut other) = (node.connect(), node.connect());
    let (long, name) = ("a".repeat(1025), "c".repeat(65536));
    let pattern = "-ERR a pattern has at most 1024 bytes|";
    let channel = "-ERR a channel's name has at most 65535 bytes|";
    redis.expect(&format!("KEYS {long}\nSCAN 0 MATCH {long}\n"), &pattern.repeat(2));
    redis.expect(&format!("PUBSUB CHANNELS {long}\nCONFIG GET {long}\n"), &pattern.repeat(2));
    redis.expect(
        &format!("COMMAND LIST FILTERBY PATTERN {long}\nPSUBSCRIBE {long}\n"),
        &pattern.repeat(2),
    );
    let publish = format!("*3\n$7\nPUBLISH\n$65536\n{name}\n$1\nx\n");
    let subscribe = format!("*2\n$9\nSUBSCRIBE\n$65536\n{name}\n");
    redis.expect_in_pieces(1 << 16, &format!("{publish}{subscribe}"), &channel.repeat(2));
    redis.expect("GET a\n", "$-1|");
    // However long it takes, others are answered meanwhile.
    let slow = format!("*[{}]b", "^x".repeat(500));
    redis.expect(&format!("PSUBSCRIBE {slow}\n"), &format!("*3|$10|psubscribe|$1004|{slow}|:1|"));
    let publish = format!("*3\n$7\nPUBLISH\n$65535\n{}\n$1\nx\n", "y".repeat(65535));
    other.expect_in_pieces(1 << 16, &publish, ":0|");
    other.expect("PUBLISH aab x\n", ":1|");
}

#[test]
fn a_lifetime_is_shown_as_it_goes_on_while_nothing_is_written() {
    let node = Alone::start();
    let mut redis = node.connect();
    let number = |redis: &mut Redis, line: &[u8]| match redis.ask(line) {
        Heard::Integer(number) => number as u64,
        other => panic!("{other} is no number"),
    };
    redis.expect("SET a 1 PX 100000\n", "+OK|");
    let goes_on = (0..20_000).any(|_| number(&mut redis, b"PTTL a\r\n") < 99_990);
    assert!(goes_on, "time stands");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let saved = number(&mut redis, b"LASTSAVE\r\n");
    assert!((now..now + 60).contains(&saved), "{saved} is not {now}");
}

#[test]
fn a_node_that_is_told_to_stop_answers_and_then_closes() {
    let mut node = Alone::start();
    let mut idle = node.connect();
    idle.expect("PING\n", "+PONG|");
    let mut busy = node.connect();
    busy.expect("INCR n\n", ":1|");
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
    node.connect().expect_in_pieces(1 << 20, &lines, &answer);
}

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let node = Alone::start();
    let mut well = node.connect();
    well.expect("PING\n", "+PONG|");
    let nested = b"*1\r\n".repeat(200_000);
    assert_eq!(node.connect().last(&nested[..64]), "-ERR Protocol error: expected '$', got '*'|");
    let said = node.connect().last(b"PING\r\n*1\r\n$99999999999\r\n");
    assert_eq!(said, "+PONG|-ERR Protocol error: invalid bulk length|");
    assert_eq!(node.connect().last(b"QUIT\r\n"), "+OK|");
    well.expect("PING\n", "+PONG|");
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
    gathers.expect("MULTI\nSET a 1\n", "+OK|+QUEUED|");
    assert_eq!(gathers.last(b"HOST: x\r\nEXEC\r\n"), "");
    node.connect().expect("EXISTS a\nSET host: 1\nGET host:\n", ":0|+OK|$1|1|");
}

/// All keys of a SCAN, with what stands behind its cursor; between two pages, that happens.
fn scanned(redis: &mut Redis, how: &str, mut meanwhile: impl FnMut(usize)) -> Vec<String> {
    let (mut cursor, mut all, mut turns) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let heard = redis.ask(format!("SCAN {cursor} {how}\r\n").as_bytes());
        let Heard::Array(parts) = heard else { panic!("{heard}") };
        let [Heard::Bulk(next), Heard::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
        let text = |key: &Heard| key.to_string().trim_matches('"').to_owned();
        all.extend(keys.iter().map(text));
        cursor = String::from_utf8_lossy(next).into_owned();
        if cursor == "0" {
            return all;
        }
        meanwhile(turns);
        turns += 1;
    }
}

#[test]
fn a_walk_meets_whatever_is_there_throughout() {
    let node = Alone::start();
    let (mut redis, mut other) = (node.connect(), node.connect());
    let pairs: String = (0..500).map(|n| format!(" k{n:03} v")).collect();
    assert_eq!(redis.told(&format!("MSET{pairs} a 1 z 1")), "OK");
    assert_eq!(redis.told("DBSIZE"), "(integer) 502");
    // Others come and go, before and behind where it is.
    let mut met = scanned(&mut redis, "COUNT 7", |turn| {
        other.expect(
            &format!("SET k{turn:03}x 1\nSET m{turn} 1\nDEL a\n"),
            if turn == 0 { "+OK|+OK|:1|" } else { "+OK|+OK|:0|" },
        );
    });
    let count = met.len();
    met.sort_unstable();
    met.dedup();
    assert_eq!(met.len(), count, "something was met twice");
    assert!((0..500).all(|n| met.contains(&format!("k{n:03}"))) && met.contains(&"z".into()));
    let found = scanned(&mut redis, "MATCH k00?", |_| ());
    assert_eq!(found, (0..10).map(|n| format!("k00{n}")).collect::<Vec<_>>());
    assert!(scanned(&mut redis, "TYPE hash", |_| ()).is_empty());
    assert_eq!(scanned(&mut redis, "TYPE string COUNT 100000 MATCH z", |_| ()), ["z"]);
    assert_eq!(redis.told("KEYS k00[0-2]"), "1) \"k000\"\n2) \"k001\"\n3) \"k002\"");
    assert_eq!(redis.told("KEYS nothing*"), "(empty array)");
    let mut drawn: Vec<String> = (0..20).map(|_| redis.told("RANDOMKEY")).collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert!(drawn.len() > 3, "{drawn:?}");
    // A cursor may be used again; one of nobody is an error and no walk.
    let first = redis.told("SCAN 0");
    let cursor = first.split('"').nth(1).unwrap().to_owned();
    let again = |redis: &mut Redis| {
        let said = redis.told(&format!("SCAN {cursor} COUNT 3"));
        said.split_once('\n').map(|(_, keys)| keys.to_owned()).unwrap()
    };
    assert_eq!(again(&mut redis), again(&mut other));
    let unknown = "-ERR this node does not know the cursor, or not any more: begin again with 0|";
    redis.expect("SCAN 12345\nSCAN x\n", &format!("{unknown}-ERR invalid cursor|"));
    let refused = "-ERR Command not allowed inside a transaction|";
    redis.expect("MULTI\nSCAN 0\nEXEC\n", &format!("+OK|{refused}{ABORTED}"));
}

#[test]
fn what_is_flushed_is_gone() {
    let node = Alone::start();
    let mut redis = node.connect();
    redis.expect("FLUSHALL what\nFLUSHDB ASYNC\nRANDOMKEY\n", "-ERR syntax error|+OK|$-1|");
    for from in (0..3000).step_by(500) {
        let pairs: String = (from..from + 500).map(|n| format!(" k{n} v")).collect();
        assert_eq!(redis.told(&format!("MSET{pairs}")), "OK");
    }
    redis.expect(
        "DBSIZE\nINFO keyspace\n",
        ":3000|$47|# Keyspace|db0:keys=3000,expires=0,avg_ttl=0||",
    );
    redis.expect("FLUSHALL SYNC\nDBSIZE\nGET k7\nKEYS *\n", "+OK|:0|$-1|*0|");
    redis.expect("WAIT 0 100\nWAITAOF 1 0 0\n", ":0|*2|:1|:0|");
}

#[test]
fn what_is_published_is_heard_by_whoever_subscribed() {
    let node = Alone::start();
    let (mut old, mut new, mut says) = (node.connect(), node.connect(), node.connect());
    says.expect("PUBLISH news nobody\n", ":0|");
    old.expect(
        "SUBSCRIBE news more\nPSUBSCRIBE n*\n",
        "*3|$9|subscribe|$4|news|:1|*3|$9|subscribe|$4|more|:2|*3|$10|psubscribe|$2|n*|:3|",
    );
    let refused = old.told("GET a");
    assert!(refused.starts_with("(error) ERR Can't execute 'get': only (P|S)"), "{refused}");
    old.expect("PING\nPING x\n", "*2|$4|pong|$0||*2|$4|pong|$1|x|");
    new.expect("HELLO 3\n", "%7|$6|server|$5|redis|$7|version|$5|7.4.0|$5|proto|:3|$2|id|:2|$4|mode|$10|standalone|$4|role|$6|master|$7|modules|*0|");
    new.expect("SSUBSCRIBE news\nGET a\n", ">3|$10|ssubscribe|$4|news|:1|_|");
    says.expect(
        "PUBLISH news one\nPUBLISH no two\nSPUBLISH news three\nPUBLISH other x\n",
        ":2|:1|:1|:0|",
    );
    old.expect(
        "PING\n",
        "*3|$7|message|$4|news|$3|one|*4|$8|pmessage|$2|n*|$4|news|$3|one|*4|$8|pmessage|$2|n*|$2|no|\
         $3|two|*2|$4|pong|$0||",
    );
    new.expect("", ">3|$8|smessage|$4|news|$5|three|");
    says.expect(
        "PUBSUB CHANNELS\nPUBSUB NUMSUB news other\nPUBSUB NUMPAT\nPUBSUB SHARDCHANNELS n*\n",
        "*2|$4|more|$4|news|*4|$4|news|:1|$5|other|:0|:1|*1|$4|news|",
    );
    // Between MULTI and EXEC it is said when EXEC is.
    says.expect("MULTI\nPUBLISH more x\n", "+OK|+QUEUED|");
    says.expect("EXEC\n", "*1|:1|");
    old.expect(
        "UNSUBSCRIBE more\nPUNSUBSCRIBE\nUNSUBSCRIBE\nUNSUBSCRIBE\nGET a\n",
        "*3|$7|message|$4|more|$1|x|*3|$11|unsubscribe|$4|more|:2|*3|$12|punsubscribe|$2|n*|:1|\
         *3|$11|unsubscribe|$4|news|:0|*3|$11|unsubscribe|$-1|:0|$-1|",
    );
    says.expect(
        "MULTI\nSUBSCRIBE a\nDISCARD\n",
        "+OK|-ERR Command not allowed inside a transaction|+OK|",
    );
    // Who leaves hears nothing any more.
    old.expect("SUBSCRIBE news\nRESET\n", "*3|$9|subscribe|$4|news|:1|+RESET|");
    drop(new);
    let gone = (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        says.told("SPUBLISH news x") == "(integer) 0"
    });
    assert!(gone && says.told("PUBLISH news x") == "(integer) 0");
}

/// Nothing is left out for him without a word.
#[test]
fn a_subscriber_that_does_not_read_is_ended() {
    let node = Alone::start();
    let (mut slow, mut says) = (node.connect(), node.connect());
    slow.expect("SUBSCRIBE a\n", "*3|$9|subscribe|$1|a|:1|");
    let text = "x".repeat(1 << 20);
    let message = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n{text}\r\n", text.len());
    let ended = (0..200).any(|_| says.ask(message.as_bytes()) == Heard::Integer(0));
    assert!(ended, "more than that waits for him");
}

/// Each began a request of the longest kind and never ended it: one was as good as the next, and ten
/// thousand may come.
#[test]
fn requests_that_are_not_whole_share_the_room_of_all() {
    let node = Alone::start();
    let piece = vec![b'x'; 1_000_000];
    let mut begun: Vec<Redis> = (0..20)
        .map(|_| {
            let mut redis = node.connect();
            redis.0.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$33000000\r\n").unwrap();
            // The other side may have heard enough.
            let _all = (0..32).all(|_| redis.0.write_all(&piece).is_ok());
            redis
        })
        .collect();
    let told = (0..200).find_map(|_| begun.iter_mut().find_map(Redis::said_by_now));
    let crowded = "-UNAVAILABLE too many large requests are under way; nothing of this one happened, \
                   try again|";
    assert_eq!(told.as_deref(), Some(crowded));
    // Small ones are served meanwhile, and large ones when there is room again.
    node.connect().expect("SET b 1\nGET b\n", "+OK|$1|1|");
    drop(begun);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", piece.len());
    let set = [set.as_bytes(), &piece, b"\r\n"].concat();
    let is_taken = (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        let mut redis = node.connect();
        let mut said = [0; 5];
        redis.0.write_all(&set).is_ok()
            && redis.0.read_exact(&mut said).is_ok()
            && &said == b"+OK\r\n"
    });
    assert!(is_taken, "what was held is given back");
}

#[test]
fn connections_are_told_of_and_ended() {
    let node = Alone::start();
    let (mut one, mut other) = (node.connect(), node.connect());
    one.expect("CLIENT SETNAME me\nCLIENT ID\n", "+OK|:1|");
    other.expect("SUBSCRIBE a\n", "*3|$9|subscribe|$1|a|:1|");
    let listed = one.told("CLIENT LIST");
    assert!(listed.contains("id=1 ") && listed.contains("name=me ") && listed.contains("id=2 "));
    assert!(listed.contains("cmd=client|list") && listed.contains("flags=P"), "{listed}");
    let info = one.told("CLIENT INFO");
    let memory = one.told("INFO memory");
    assert!(
        memory.starts_with("\"# Memory\\r\\nused_memory:0\\r\\nused_memory_human:0B"),
        "{memory}"
    );
    assert!(info.starts_with("\"id=1 addr=127.0.0.1:") && !info.contains("id=2"), "{info}");
    one.expect(
        "CLIENT KILL ID 99\nCLIENT KILL 1.2.3.4:5\nCLIENT KILL TYPE pubsub\n",
        ":0|-ERR No such client|:1|",
    );
    assert_eq!(other.last(b""), "");
    let reason = "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|";
    let number = "-ERR value is not an integer or out of range|";
    one.expect("CLIENT UNBLOCK 1 x\nCLIENT UNBLOCK x ERROR\n", &format!("{reason}{number}"));
    let options = "CLIENT NO-EVICT x\nCLIENT NO-TOUCH on\nFUNCTION FLUSH async\nHELLO 2 setname\n";
    let hello = "-ERR Syntax error in HELLO option 'setname'|";
    one.expect(options, &format!("-ERR syntax error|+OK|+OK|{hello}"));
    let script = one.told("SCRIPT FLUSH x");
    assert_eq!(script, "(error) ERR SCRIPT FLUSH only support SYNC|ASYNC option");
    one.expect("CLIENT UNBLOCK 1\nCLIENT GETREDIR\nCLIENT KILL ID 1 SKIPME no\n", ":0|:-1|:1|");
    assert_eq!(one.last(b""), "");
}

#[test]
fn what_takes_long_is_told() {
    let node = Alone::start();
    let mut redis = node.connect();
    let wrong = "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - can't set immutable config|";
    redis.expect(
        "CONFIG SET appendonly yes\nCONFIG SET appendonly no\nCONFIG SET nothing 1\n",
        &format!(
            "+OK|{wrong}-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'|"
        ),
    );
    redis.expect("LATENCY LATEST\nLATENCY RESET\nSLOWLOG LEN\n", "*0|:0|:0|");
    redis.expect(
        "CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 2\nSET a b\nGET a\nCONFIG GET slowlog-max-len\n",
        "+OK|+OK|$1|b|*2|$15|slowlog-max-len|$1|2|",
    );
    let log = redis.told("SLOWLOG GET");
    assert!(
        log.contains("\"CONFIG\"") && log.contains("\"GET\"") && !log.contains("\"SET\""),
        "{log}"
    );
    redis.expect("SET a b\n", "+OK|");
    let log = redis.told("SLOWLOG PHASES 2");
    let names = ["route-us", "queue-us", "persist-us", "replicate-us", "apply-us"];
    let of_a_write = names.iter().all(|name| log.matches(name).count() == 1);
    assert!(of_a_write && log.contains("(nil)"), "nobody was asked for the other one: {log}");
    redis.expect("SLOWLOG PHASES x\n", "-ERR count should be greater than or equal to -1|");
    redis.expect("SLOWLOG RESET\nCONFIG SET slowlog-log-slower-than -1\n", "+OK|+OK|");
    redis.expect("SLOWLOG RESET\nSLOWLOG LEN\nCONFIG SET slowlog-max-len -1\n", "+OK|:0|-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument must be between 0 and 4096 inclusive|");
    redis.expect(
        "CLUSTER KEYSLOT foo\nCLUSTER SLOTS\n",
        ":12182|-ERR This instance has cluster support disabled|",
    );
}

#[test]
fn a_connection_speaks_what_it_has_agreed_on() {
    let node = Alone::start();
    let mut redis = node.connect();
    redis.expect("GET a\n", "$-1|");
    redis.expect("HELLO 4\n", "-NOPROTO unsupported protocol version|");
    let greeting = "%7|$6|server|$5|redis|$7|version|$5|7.4.0|$5|proto|:3|$2|id|:1|$4|mode|\
                    $10|standalone|$4|role|$6|master|$7|modules|*0|";
    redis.expect("HELLO 3 SETNAME me\n", greeting);
    redis.expect("GET a\nCLIENT GETNAME\nCONFIG GET save\n", "_|$2|me|%1|$4|save|$0||");
    redis.expect(
        "CLIENT REPLY SKIP\nPING\nCLIENT REPLY OFF\nPING\nCLIENT REPLY ON\nRESET\nGET a\n",
        "+OK|+RESET|$-1|",
    );
    // Who hears nothing skips nothing, and what he sent is done without waiting for more of it.
    let silent = format!("CLIENT REPLY OFF\nCLIENT REPLY SKIP\n{}", "PING\n".repeat(2000));
    let all = format!("{silent}CLIENT REPLY ON\nPING\n");
    redis.expect_in_pieces(1 << 20, &all, "+OK|+PONG|");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
    redis.expect("AUTH default x\nAUTH me x\n", &format!("+OK|{wrong}"));
    let long = format!("CLIENT SETNAME {}\n", "n".repeat(1025));
    redis.expect(&long, "-ERR Client names have at most 1024 bytes.|");
}
