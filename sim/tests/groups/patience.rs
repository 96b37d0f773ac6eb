//! Stories of clients that take long: they send a byte now and then, do not read, or come and say
//! nothing. Each port waits for them as long as it says, and what they hold meanwhile is little.
//!
//! Not here: strangers (`guests.rs`), what many hold together (`shares.rs`).

use std::{future::pending, sync::LazyLock, time::Duration};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    command::{Level, Op, Request, Session},
    runtime::{Clock, Net, Runtime, StreamRead, StreamWrite, timeout},
    types::{ClientId, NodeId as Member, Sequence, Uuid},
};
use trilith_net::{
    frame::{self, Decoder, Frame, Kind},
    held::Bounds,
    limits::RESP_CONNECTIONS_MAX,
    node::{Cluster, Node, NodeOptions as Setup},
    peer::hello::{Hello, Purpose, Ready, Versions, Welcome},
};
use trilith_sim::{
    fault::FaultKind,
    os::{SimRuntime, SimStream},
    world::{NodeId, NodeOptions, World},
};

use super::{full::planted, stage::SECOND};

pub(super) const PEERS: u16 = 7381;
pub(super) const RESP: u16 = 7379;
pub(super) const HTTP: u16 = 7380;
pub(super) const TEXT: u16 = 7382;

/// A node that serves everybody.
async fn serves(rt: SimRuntime, bounds: Bounds, within: Duration) {
    serves_groups(rt, bounds, within, 1).await;
}

/// The same with so many groups.
async fn serves_groups(rt: SimRuntime, bounds: Bounds, within: Duration, groups: u16) {
    let at = |port| rt.address(NodeId(0), port);
    let cluster = Cluster::new("sim", vec![(Member(1), at(PEERS))], groups).expect("it can be");
    let (resp, http, text) = (Some(at(RESP)), Some(at(HTTP)), Some(at(TEXT)));
    let mut setup = Setup { resp, http, text, ..Setup::new(Member(1), cluster) };
    setup.links.bounds = bounds;
    setup.guests_within = within;
    let node = Node::start(&rt, setup, ()).await.expect("nothing is in its way");
    node.run().await;
}

/// What somebody finds at such a node.
fn found<T, F>(bugs: &[&str], looks: impl FnOnce(SimRuntime) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    found_within(bugs, Bounds::default(), looks)
}

/// The same at a node that has such bounds.
pub(super) fn found_within<T, F>(
    bugs: &[&str],
    bounds: Bounds,
    looks: impl FnOnce(SimRuntime) -> F,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut world = World::new(1, planted(bugs));
    world.add("node", NodeOptions::default(), move |rt| serves(rt, bounds, 5 * SECOND));
    let client = world.add("client", NodeOptions::default(), |_| pending::<()>());
    world.start_all();
    world.run_for(5 * SECOND);
    let found = world.run_on(client, 3600 * SECOND, looks).expect("it has looked");
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    found
}

pub(super) async fn connect(rt: &SimRuntime, port: u16) -> SimStream {
    let soon = rt.clock().now() + 5 * SECOND;
    rt.net().connect(rt.address(NodeId(0), port), soon).await.expect("it serves")
}

pub(super) async fn say(stream: &mut SimStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = stream.write(bytes).await.expect("it listens");
        bytes = &bytes[taken..];
    }
}

/// What is heard until nothing comes for so long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) bytes: usize,
    /// The first of it.
    pub(super) words: String,
    /// The connection has ended.
    pub(super) is_over: bool,
}

pub(super) async fn hear(rt: &SimRuntime, stream: &mut SimStream, within: Duration) -> Heard {
    let (mut heard, mut buffer) = (Heard::default(), vec![0; 32 << 10]);
    loop {
        let deadline = rt.clock().now() + within;
        match timeout(rt.clock(), deadline, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Heard { is_over: true, ..heard },
            Ok(Ok(read)) => {
                heard.bytes += read;
                if heard.words.len() < 60 {
                    heard.words.push_str(&String::from_utf8_lossy(&buffer[..read.min(60)]));
                }
            }
            Err(_) => return heard,
        }
    }
}

/// Says something at once, then something else a byte at a time, until it is answered or over.
async fn dribble(
    rt: SimRuntime,
    port: u16,
    (at_once, slowly): (&'static str, String),
    every: Duration,
) -> (Duration, Heard) {
    let mut stream = connect(&rt, port).await;
    say(&mut stream, at_once.as_bytes()).await;
    let began = rt.clock().now();
    for byte in slowly.bytes() {
        if stream.write(&[byte]).await.is_err() {
            break;
        }
        let heard = hear(&rt, &mut stream, every).await;
        if heard.is_over || heard.bytes > 0 {
            return (rt.clock().now().since(began), heard);
        }
    }
    let heard = hear(&rt, &mut stream, SECOND).await;
    (rt.clock().now().since(began), heard)
}

const SLOW_HEAD: &str = "GET /v1/kv/default/a HTTP/1.1\r\nX: ";
const SLOW_BODY: &str = "PUT /v1/kv/default/a HTTP/1.1\r\nContent-Length: 5000\r\n\r\n";

/// How long a request of HTTP is waited for that comes a byte a second.
fn waits_for_http(bugs: &[&str], at_once: &'static str) -> Duration {
    let slowly = "y".repeat(200);
    let (took, heard) = found(bugs, |rt| dribble(rt, HTTP, (at_once, slowly), SECOND));
    if took < 100 * SECOND {
        assert!(heard.words.starts_with("HTTP/1.1 408 "), "{heard:?}");
    }
    took
}

#[test]
fn a_request_that_comes_byte_by_byte_is_not_waited_for() {
    for at_once in [SLOW_HEAD, SLOW_BODY, ""] {
        let took = waits_for_http(&[], at_once);
        assert!((29 * SECOND..35 * SECOND).contains(&took), "{took:?}");
    }
    for at_once in ["SET a 5000\n", "GET "] {
        let slowly = "y".repeat(200);
        let (took, heard) = found(&[], |rt| dribble(rt, TEXT, (at_once, slowly), SECOND));
        assert!((29 * SECOND..35 * SECOND).contains(&took), "{took:?}");
        assert!(heard.words.starts_with("ERROR the request did not arrive"), "{heard:?}");
    }
    // Who wants to be a node or a client has to say so at once.
    let slowly = "\0".repeat(200);
    let (took, heard) = found(&[], |rt| dribble(rt, PEERS, ("", slowly), SECOND / 2));
    assert!(took < 5 * SECOND && (heard.is_over || heard.bytes > 0), "{took:?} {heard:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_slow_request_that_is_waited_for_is_noticed() {
    assert!(waits_for_http(&["http_slow_requests_are_waited_for"], SLOW_HEAD) > 100 * SECOND);
}

/// A Redis client is waited for, as Redis does: it holds what it has sent, and a buffer.
#[test]
fn a_redis_client_may_be_slow() {
    let slowly = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n".to_owned();
    let (took, heard) = found(&[], |rt| dribble(rt, RESP, ("", slowly), 60 * SECOND));
    assert!(took > 600 * SECOND, "{took:?}");
    assert_eq!(heard, Heard { bytes: 5, words: "$-1\r\n".to_owned(), is_over: false });
}

/// A long request of which a part has come, more than anybody holds for nothing.
fn half() -> &'static str {
    static HALF: LazyLock<String> = LazyLock::new(|| {
        let value = "v".repeat(200 << 10);
        format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}", 1 << 20)
    });
    &HALF
}

/// What is heard by who has sent a long request in part and then nothing for five minutes.
fn stops(bugs: &[&str]) -> Heard {
    found(bugs, |rt| async move {
        let mut stream = connect(&rt, RESP).await;
        say(&mut stream, half().as_bytes()).await;
        hear(&rt, &mut stream, 300 * SECOND).await
    })
}

/// What he had sent was kept for as long as he liked.
#[test]
fn a_redis_client_that_stops_in_a_long_request_is_let_go() {
    assert_eq!(stops(&[]), Heard { is_over: true, ..Heard::default() });
    let slowly = "v".repeat(20);
    let (took, heard) = found(&[], |rt| dribble(rt, RESP, (half(), slowly), 50 * SECOND));
    assert!(took > 900 * SECOND && !heard.is_over, "{took:?} {heard:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_redis_client_that_stops_and_is_waited_for_is_noticed() {
    assert!(!stops(&["resp_long_requests_are_waited_for"]).is_over);
}

pub(super) const LARGE: usize = 1 << 20;

/// A large value is there now; a connection to ask for it.
pub(super) async fn stores_large(rt: &SimRuntime, port: u16) -> SimStream {
    let mut writer = connect(rt, TEXT).await;
    say(&mut writer, format!("SET large {LARGE}\n").as_bytes()).await;
    say(&mut writer, &vec![b'v'; LARGE]).await;
    assert_eq!(hear(rt, &mut writer, SECOND).await.words, "OK\n");
    connect(rt, port).await
}

/// What is heard of a large value by one who asks and reads nothing for five minutes.
fn deaf(bugs: &[&str], port: u16, asks: &'static str) -> Heard {
    found(bugs, move |rt| async move {
        let mut stream = stores_large(&rt, port).await;
        say(&mut stream, asks.as_bytes()).await;
        rt.clock().sleep_until(rt.clock().now() + 300 * SECOND).await;
        hear(&rt, &mut stream, 5 * SECOND).await
    })
}

/// Whoever does not take what he is answered has gone.
#[test]
fn who_does_not_read_is_let_go() {
    let http = deaf(&[], HTTP, "GET /v1/kv/default/large HTTP/1.1\r\n\r\n");
    assert!(http.is_over && http.bytes < LARGE, "{http:?}");
    let text = deaf(&[], TEXT, "GET large\n");
    assert!(text.is_over && text.bytes < LARGE, "{text:?}");
    let resp = deaf(&[], RESP, "GET large\r\n");
    assert!(resp.is_over && resp.bytes < LARGE, "{resp:?}");
}

/// Redis clients may take as long as they like, as long as they take something.
#[test]
fn a_redis_client_that_reads_slowly_is_waited_for() {
    let heard = found(&[], |rt| async move {
        let mut stream = stores_large(&rt, RESP).await;
        say(&mut stream, b"GET large\r\n").await;
        let (mut bytes, mut buffer) = (0, vec![0; LARGE / 20]);
        while bytes < LARGE {
            rt.clock().sleep_until(rt.clock().now() + 50 * SECOND).await;
            match stream.read(&mut buffer).await {
                Ok(read) if read > 0 => bytes += read,
                _ => break,
            }
        }
        (bytes, hear(&rt, &mut stream, SECOND).await)
    });
    let (bytes, rest) = heard;
    assert_eq!(bytes + rest.bytes, "$1048576\r\n\r\n".len() + LARGE);
    assert!(!rest.is_over, "{rest:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_deaf_client_that_is_waited_for_is_noticed() {
    let text = deaf(&["text_deaf_clients_are_waited_for"], TEXT, "GET large\n");
    assert!(text.bytes > LARGE, "{text:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_deaf_redis_client_that_is_waited_for_is_noticed() {
    let resp = deaf(&["resp_deaf_clients_are_waited_for"], RESP, "GET large\r\n");
    assert!(resp.bytes > LARGE, "{resp:?}");
}

/// The next frame that somebody is told.
async fn told(stream: &mut SimStream) -> Frame {
    let (mut decoder, mut buffer) = (Decoder::new(256), [0; 256]);
    loop {
        if let Some(frame) = decoder.take().expect("it speaks as we do") {
            return frame;
        }
        let read = stream.read(&mut buffer).await.expect("it speaks");
        assert!(read > 0, "it said nothing");
        decoder.feed(&buffer[..read]);
    }
}

/// A client of that number comes in.
pub(super) async fn greet(stream: &mut SimStream, client: u64) {
    let (purpose, mut words) =
        (Purpose::Client { client: ClientId(client), cluster: Uuid::default() }, BytesMut::new());
    Hello { versions: Versions::OURS, purpose }.put(&mut words);
    say(stream, &words).await;
    let welcome = Welcome::take(&told(stream).await).expect("it is welcome");
    words.clear();
    Ready { token: welcome.token }.put(&mut words);
    say(stream, &words).await;
}

/// The large value is asked for so often.
pub(super) fn reads(times: u64) -> BytesMut {
    let mut out = BytesMut::new();
    for nth in 1..=times {
        let session = Session { sequence: Sequence(nth), ..Session::NOBODY };
        let (level, op) = (Level::Strong, Op::Get(Bytes::from_static(b"large")));
        let request = Request { session, level, patience_ms: 5000, staleness_ms: 0, op };
        frame::encode(&mut out, Kind::Request, |out| request.encode(out)).expect("it is short");
    }
    out
}

/// What a client of the native protocol hears who asks for much, pings for five minutes, which is
/// longer than eight large values may take him, and reads nothing meanwhile.
fn deaf_but_there(bugs: &[&str]) -> Heard {
    found(bugs, |rt| async move {
        let mut stream = stores_large(&rt, PEERS).await;
        greet(&mut stream, 7).await;
        say(&mut stream, &reads(8)).await;
        let mut words = BytesMut::new();
        frame::put_empty(&mut words, Kind::Ping);
        for _ in 0..300 {
            if stream.write(&words).await.is_err() {
                break;
            }
            rt.clock().sleep_until(rt.clock().now() + SECOND).await;
        }
        hear(&rt, &mut stream, 5 * SECOND).await
    })
}

/// His pings were heard, so he was there; what he was answered waited for as long as he liked.
#[test]
fn a_client_who_pings_and_never_reads_is_let_go() {
    let heard = deaf_but_there(&[]);
    assert!(heard.is_over && heard.bytes < 8 * LARGE, "{heard:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_client_who_pings_and_never_reads_is_noticed() {
    let heard = deaf_but_there(&["peer_deaf_client_is_waited_for"]);
    assert!(heard.bytes > 8 * LARGE, "{heard:?}");
}

/// Who comes and says nothing goes from where that is told in time; a Redis client stays.
#[test]
fn who_says_nothing_is_let_go_or_costs_a_buffer() {
    let idle = |port| {
        found(&[], move |rt| async move {
            let mut stream = connect(&rt, port).await;
            let began = rt.clock().now();
            let heard = hear(&rt, &mut stream, 1000 * SECOND).await;
            (heard.is_over, rt.clock().now().since(began))
        })
    };
    for (port, within) in [(HTTP, 35 * SECOND), (TEXT, 35 * SECOND), (PEERS, 5 * SECOND)] {
        let (is_over, took) = idle(port);
        assert!(is_over && took < within, "{port}: {took:?}");
    }
    assert!(!idle(RESP).0);
}

/// Ten thousand connections that say nothing leave no place; who comes then waits, and is served as
/// soon as one of them goes.
#[test]
fn a_port_that_is_full_serves_again_when_one_goes() {
    let told = found(&[], |rt| async move {
        let mut idle = Vec::new();
        for _ in 0..RESP_CONNECTIONS_MAX {
            idle.push(connect(&rt, RESP).await);
        }
        let mut told = Vec::new();
        let first = idle.first_mut().expect("there are many");
        say(first, b"PING\r\n").await;
        told.push(hear(&rt, first, SECOND).await.words);
        let mut late = connect(&rt, RESP).await;
        say(&mut late, b"PING\r\n").await;
        told.push(hear(&rt, &mut late, 5 * SECOND).await.words);
        drop(idle.pop());
        told.push(hear(&rt, &mut late, 5 * SECOND).await.words);
        told
    });
    assert_eq!(told, ["+PONG\r\n", "", "+PONG\r\n"]);
}

/// What FLUSHALL says where each of its steps takes seconds, and how long it took.
fn flushed(bugs: &[&str]) -> (Duration, String) {
    let mut world = World::new(1, planted(bugs));
    let boot = move |rt| serves(rt, Bounds::default(), 100 * SECOND);
    let node = world.add("node", NodeOptions::default(), boot);
    let client = world.add("client", NodeOptions::default(), |_| pending::<()>());
    world.start_all();
    world.run_for(5 * SECOND);
    let fills = |rt: SimRuntime| async move {
        let mut stream = connect(&rt, RESP).await;
        for part in 0..150 {
            let pairs: String = (0..1000).map(|nth| format!(" k{part}.{nth} x")).collect();
            say(&mut stream, format!("MSET{pairs}\r\n").as_bytes()).await;
            assert_eq!(hear(&rt, &mut stream, SECOND).await.words, "+OK\r\n");
        }
    };
    world.run_on(client, 600 * SECOND, fills).expect("it has written");
    world.strike(&FaultKind::SlowDisk { node: node.0, times: SLOW, for_ms: 36_000_000 });
    let asks = |rt: SimRuntime| async move {
        let mut stream = connect(&rt, RESP).await;
        let began = rt.clock().now();
        say(&mut stream, b"FLUSHALL\r\n").await;
        let mut answer = [0; 100];
        let read = stream.read(&mut answer).await.expect("it is answered");
        let said = String::from_utf8_lossy(&answer[..read]).into_owned();
        (rt.clock().now().since(began), said)
    };
    let told = world.run_on(client, 36_000 * SECOND, asks).expect("it has an end");
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    told
}

/// So many times slower a disk is on which one step takes some seconds.
const SLOW: u32 = 4_000;

/// Each step had the time of a command, and there may be a hundred thousand.
#[test]
fn a_flush_has_an_end_and_says_what_is_not_done() {
    let (took, said) = flushed(&[]);
    assert!((600 * SECOND..610 * SECOND).contains(&took), "{took:?} {said}");
    assert!(said.starts_with("-INDOUBT a part of it was done; of another part: "), "{said}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_flush_without_an_end_is_noticed() {
    let (took, said) = flushed(&["resp_flush_runs_for_ever"]);
    assert!(took > 700 * SECOND, "{took:?} {said}");
}

/// What a DEL of keys of all groups says where the write of each takes seconds, and how long it took.
fn deleted(bugs: &[&str]) -> (Duration, String) {
    let mut world = World::new(1, planted(bugs));
    let boot = move |rt| serves_groups(rt, Bounds::default(), 5 * SECOND, 16);
    let node = world.add("node", NodeOptions::default(), boot);
    let client = world.add("client", NodeOptions::default(), |_| pending::<()>());
    world.start_all();
    world.run_for(5 * SECOND);
    let words = |with: &str| (0..200).map(|nth| format!(" k{nth}{with}")).collect::<String>();
    let fills = move |rt: SimRuntime| async move {
        let mut stream = connect(&rt, RESP).await;
        say(&mut stream, format!("MSET{}\r\n", words(" x")).as_bytes()).await;
        assert_eq!(hear(&rt, &mut stream, SECOND).await.words, "+OK\r\n");
    };
    world.run_on(client, 60 * SECOND, fills).expect("it has written");
    world.strike(&FaultKind::SlowDisk { node: node.0, times: SLOW / 4, for_ms: 36_000_000 });
    let asks = move |rt: SimRuntime| async move {
        let mut stream = connect(&rt, RESP).await;
        let began = rt.clock().now();
        say(&mut stream, format!("DEL{}\r\n", words("")).as_bytes()).await;
        let mut answer = [0; 200];
        let read = stream.read(&mut answer).await.expect("it is answered");
        let said = String::from_utf8_lossy(&answer[..read]).into_owned();
        (rt.clock().now().since(began), said)
    };
    let told = world.run_on(client, 36_000 * SECOND, asks).expect("it has an end");
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    told
}

/// A command about keys of several groups has the time of a command, and says what it did of it.
#[test]
fn a_delete_over_many_groups_has_one_time() {
    let (took, said) = deleted(&[]);
    assert!((SECOND..7 * SECOND).contains(&took), "{took:?} {said}");
    assert!(said.starts_with("-INDOUBT a part of it was done; of another part: "), "{said}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_delete_that_has_time_for_each_group_is_noticed() {
    let (took, said) = deleted(&["resp_each_part_has_the_whole_time"]);
    assert!(took > 10 * SECOND, "{took:?} {said}");
}
