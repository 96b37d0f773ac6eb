//! Clients of a node that asks who they are.
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use trilith_net::users::{Cost, Kept, Users};

use crate::alone::Alone;

const STRANGER: &str = "-NOAUTH Authentication required.|";
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.|";

/// A node that `default` and `alice` may ask.
fn guarded() -> Alone {
    let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
    let mut users = Users::default();
    for (name, password) in [("default", "secret"), ("alice", "a:b c")] {
        users.put(name, Kept::make(password.as_bytes(), [7; 16], cost).unwrap()).unwrap();
    }
    Alone::guarded(users)
}

#[test]
fn a_redis_client_says_who_it_is_before_anything_else() {
    let node = guarded();
    let mut redis = node.connect();
    let asked = "GET a\nSET a 1\nPING\nMULTI\nSUBSCRIBE a\nCLIENT LIST\nWITH strong GET a\n";
    redis.expect(asked, &STRANGER.repeat(7));
    // As in Redis, what there is not is said to strangers too.
    redis.expect("WHAT\n", "-ERR unknown command 'WHAT', with args beginning with: |");
    redis.expect("GET\n", "-ERR wrong number of arguments for 'get' command|");
    redis.expect("AUTH nobody secret\n", WRONG);
    redis.expect(
        "AUTH alice secret\nAUTH wrong\nAUTH a b c\n",
        &format!("{WRONG}{WRONG}-ERR syntax error|"),
    );
    redis.expect("GET a\n", STRANGER);
    redis.expect("AUTH secret\nGET a\nACL WHOAMI\n", "+OK|$-1|$7|default|");
    redis.expect("AUTH alice 'a:b c'\nACL WHOAMI\n", "+OK|$5|alice|");
    // Who is somebody stays so when he is wrong.
    redis.expect("AUTH alice x\nACL WHOAMI\n", &format!("{WRONG}$5|alice|"));
    assert!(redis.told("CLIENT INFO").contains(" user=alice "));
    redis.expect("ACL USERS\n", "*2|$5|alice|$7|default|");
    let listed = redis.told("ACL LIST");
    assert!(
        listed.contains("user alice on sanitize-payload") && !listed.contains("argon"),
        "{listed}"
    );
    redis.expect("RESET\nGET a\nQUIT\n", &format!("+RESET|{STRANGER}+OK|"));
}

#[test]
fn hello_says_who_it_is_and_all_else_with_it() {
    let node = guarded();
    let mut redis = node.connect();
    let strange = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                   HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                   select the RESP protocol version at the same time|";
    redis.expect("HELLO\nHELLO 3\nHELLO 3 SETNAME me\n", &strange.repeat(3));
    redis.expect("HELLO 3 AUTH alice secret SETNAME me\n", WRONG);
    redis.expect("GET a\n", STRANGER);
    let told = redis.told("HELLO 2 AUTH alice \"a:b c\" SETNAME me");
    assert!(told.contains("standalone"), "{told}");
    redis.expect("CLIENT GETNAME\nGET a\n", "$2|me|$-1|");
    // Between MULTI and EXEC one may become somebody else.
    redis
        .expect("MULTI\nAUTH secret\nACL WHOAMI\nEXEC\n", "+OK|+QUEUED|+QUEUED|*2|+OK|$7|default|");
}

#[test]
fn a_stranger_may_send_little_and_guess_slowly() {
    let node = guarded();
    let told = node.connect().last(b"*11\r\n");
    assert_eq!(told, "-ERR Protocol error: unauthenticated multibulk length|");
    let told = node.connect().last(b"*2\r\n$4\r\nAUTH\r\n$20000\r\n");
    assert_eq!(told, "-ERR Protocol error: unauthenticated bulk length|");
    // What comes with the password is from somebody who is known.
    let value = "x".repeat(20_000);
    let all = format!("AUTH secret\nSET a {value}\nSTRLEN a\n");
    node.connect().expect_in_pieces(1 << 20, &all, "+OK|+OK|:20000|");
    let (mut redis, began) = (node.connect(), Instant::now());
    redis.expect("AUTH a\nAUTH b\nRESET\nAUTH c\n", &format!("{WRONG}{WRONG}+RESET|{WRONG}"));
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    // Others do not wait with him.
    let waits = thread::spawn(move || redis.expect("AUTH d\n", WRONG));
    let began = Instant::now();
    node.connect().expect("AUTH secret\n", "+OK|");
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    waits.join().unwrap();
    let (_, page) = ask(&node, "GET /metrics", Some("default:secret"), b"");
    assert!(page.contains("trilith_port_wrong_logins_total{port=\"resp\"} 4\n"), "{page}");
}

#[test]
fn a_node_without_users_takes_everybody_as_it_did() {
    let node = Alone::start();
    let mut redis = node.connect();
    let none = "-ERR AUTH <password> called without any password configured for the default user. Are \
                you sure your configuration is correct?|";
    redis.expect("AUTH x\nAUTH default x\nAUTH me x\n", &format!("{none}+OK|{WRONG}"));
    redis.expect("ACL WHOAMI\n", "$7|default|");
    redis.expect("ACL LIST\n", "*1|$51|user default on nopass sanitize-payload ~* &* +@all|");
}

/// Asks over HTTP; the status and the head.
fn ask(node: &Alone, head: &str, who: Option<&str>, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let who = who
        .map_or(String::new(), |who| format!("Authorization: Basic {}\r\n", STANDARD.encode(who)));
    let head = format!(
        "{head} HTTP/1.1\r\n{who}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The other side may have heard enough.
    let _taken = stream.write_all(body).is_ok();
    let mut told = Vec::new();
    let _cut = stream.read_to_end(&mut told).is_ok();
    let told = String::from_utf8_lossy(&told).into_owned();
    (told[9..12].parse().unwrap(), told)
}

#[test]
fn an_http_client_says_who_it_is_with_each_request() {
    let node = guarded();
    let get = "GET /v1/kv/default/a";
    let (status, told) = ask(&node, get, None, b"");
    assert_eq!(status, 401);
    assert!(told.contains("www-authenticate: Basic realm=\"trilith\""), "{told}");
    assert!(
        told.contains("application/problem+json") && told.contains("UNAUTHENTICATED"),
        "{told}"
    );
    assert!(told.contains("\"happened\":\"nothing\"") && told.contains("\"hint\":"), "{told}");
    for wrong in ["alice:secret", "nobody:secret", "default:", "alice", ":"] {
        assert_eq!(ask(&node, get, Some(wrong), b"").0, 401, "{wrong}");
    }
    assert_eq!(ask(&node, get, Some("alice:a:b c"), b"").0, 404);
    let put = "PUT /v1/kv/default/a";
    assert_eq!(ask(&node, put, Some("default:secret"), b"1").0, 200);
    assert_eq!(ask(&node, get, Some("alice:a:b c"), b"").0, 200);
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/v1/status", 401), ("/what", 401)] {
        assert_eq!(ask(&node, &format!("GET {path}"), None, b"").0, status, "{path}");
    }
}

/// A node's own questions about groups that were answered.
fn scans(node: &Alone) -> u64 {
    let (_, page) = ask(node, "GET /metrics", Some("default:secret"), b"");
    let scans = page.lines().filter(|line| line.contains("\"scan\"") && line.contains("\"ok\""));
    scans.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Each question to all groups costs a majority's round, and strangers may ask for it.
#[test]
fn strangers_do_not_have_groups_asked_as_often_as_they_like() {
    let node = guarded();
    let until = Instant::now() + Duration::from_secs(20);
    while ask(&node, "GET /readyz", None, b"").0 != 200 {
        assert!(Instant::now() < until, "it is not ready");
    }
    let (before, began) = (scans(&node), Instant::now());
    assert!(before > 0, "it was looked");
    for _ in 0..200 {
        assert_eq!(ask(&node, "GET /readyz", None, b"").0, 200);
    }
    let (after, tenths) = (scans(&node), began.elapsed().as_millis() as u64 / 100);
    assert!(after - before <= tenths + 2, "{before} to {after} in {tenths} tenths of a second");
    thread::sleep(Duration::from_millis(150));
    assert_eq!(ask(&node, "GET /readyz", None, b"").0, 200);
    assert!(scans(&node) > after, "what is told is new");
}

#[test]
fn what_a_stranger_sends_is_not_waited_for() {
    let node = guarded();
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"PUT /v1/kv/default/a HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n").unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    assert!(told.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&told));
    // Who is known is waited for, and asked for what he holds back.
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let who = STANDARD.encode("default:secret");
    let head = format!(
        "PUT /v1/kv/default/a HTTP/1.1\r\nAuthorization: Basic {who}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    let mut told = [0; 12];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 200");
}
