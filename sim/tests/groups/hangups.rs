//! Stories of clients who are gone in the middle of what they say: behind each byte of it, at each of
//! the ports for clients.
//!
//! What they had said whole by then is done, all of it or its beginning; the rest is as if it had
//! never been said. Somebody else looks, over a connection of his own, and is served as ever.
//!
//! Not here: words in pieces (`fuzz`), clients who stay and are slow (`patience.rs`).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use trilith_engine::{
    runtime::{Clock, Net, Runtime, StreamRead, StreamWrite, timeout},
    types::NodeId as Member,
};
use trilith_net::{
    node::{Cluster, Node, NodeOptions as Setup},
    resp::heard::Heard,
};
use trilith_sim::{
    os::{SimRuntime, SimStream},
    world::{NodeId, NodeOptions, World},
};

use super::{full::planted, stage::SECOND};

const RESP: u16 = 7379;
const HTTP: u16 = 7380;
const TEXT: u16 = 7382;

/// Something that is said whole or not at all, and which keys have which values as soon as it is done.
struct Piece {
    says: Vec<u8>,
    does: Vec<(String, String)>,
}

fn piece(says: impl Into<Vec<u8>>, does: &[(&str, &str)]) -> Piece {
    let does = does.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Piece { says: says.into(), does: does.collect() }
}

fn words(words: &[&str]) -> Vec<u8> {
    let each = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), each.collect::<String>()).into_bytes()
}

/// What a client says at that port. Keys of one client end with `own`, and those of no other do.
fn exchange(port: u16, own: usize) -> Vec<Piece> {
    let key = |name: &str| format!("{{k}}{name}.{own}");
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(key);
    let [a, b, c, d, e] = [&a, &b, &c, &d, &e].map(String::as_str);
    match port {
        RESP => {
            let long = "x".repeat(100);
            vec![
                piece(words(&["SET", a, "1"]), &[(a, "1")]),
                piece(format!("SET {b} 'two words'\r\n"), &[(b, "two words")]),
                piece(words(&["HELLO", "3"]), &[]),
                piece(words(&["MULTI"]), &[]),
                piece(words(&["SET", c, "3"]), &[]),
                piece(words(&["INCRBY", d, "7"]), &[]),
                piece(words(&["EXEC"]), &[(c, "3"), (d, "7")]),
                piece(words(&["SUBSCRIBE", "news"]), &[]),
                piece(words(&["MSET", a, &long, e, "5"]), &[(a, &long), (e, "5")]),
            ]
        }
        HTTP => {
            let put = |key: &str, body: &str| {
                let path = key.replace('{', "%7B").replace('}', "%7D");
                let length = body.len();
                format!(
                    "PUT /v1/kv/default/{path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            };
            let chunks = put(b, "").replace("Content-Length: 0", "Transfer-Encoding: chunked")
                + "4\r\nfour\r\n3;x=y\r\n567\r\n0\r\nTrailer: t\r\n\r\n";
            let path = put(a, "").replace("PUT", "DELETE").replace("Content-Length: 0\r\n", "");
            vec![
                piece(put(a, "1"), &[(a, "1")]),
                piece(chunks, &[(b, "four567")]),
                piece(put(c, &"x".repeat(60)), &[(c, &"x".repeat(60))]),
                piece(path, &[(a, "")]),
            ]
        }
        _ => vec![
            piece(format!("SET {a} 1\n1"), &[(a, "1")]),
            piece(format!("SET {b} 9\r\n23 45\r\n89"), &[(b, "23 45\r\n89")]),
            piece(format!("GET {a}\n"), &[]),
            piece(format!("DEL {a}\n"), &[(a, "")]),
        ],
    }
}

/// How he goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// As soon as he has said it.
    AtOnce,
    /// When nothing more is answered.
    Answered,
    /// When he has said each byte by itself.
    Slowly,
}

async fn write(stream: &mut SimStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.write(bytes).await {
            Ok(taken) => bytes = &bytes[taken..],
            Err(_) => return false,
        }
    }
    true
}

/// Reads until nothing comes for so long.
async fn read(rt: &SimRuntime, stream: &mut SimStream, silence: Duration) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let until = rt.clock().now() + silence;
        match timeout(rt.clock(), until, stream.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => all.extend_from_slice(&buffer[..read]),
            Ok(Ok(_) | Err(_)) | Err(_) => return all,
        }
    }
}

async fn connect(rt: &SimRuntime, port: u16) -> SimStream {
    let until = rt.clock().now() + SECOND;
    rt.net().connect(rt.address(NodeId(0), port), until).await.expect("it serves")
}

/// One says the first so many bytes and goes.
async fn says(rt: &SimRuntime, port: u16, bytes: &[u8], goes: Goes) {
    let mut stream = connect(rt, port).await;
    if goes == Goes::Slowly {
        for byte in bytes {
            write(&mut stream, &[*byte]).await;
            rt.clock().sleep_until(rt.clock().now() + Duration::from_micros(200)).await;
        }
    } else {
        write(&mut stream, bytes).await;
    }
    if goes != Goes::AtOnce {
        read(rt, &mut stream, Duration::from_millis(100)).await;
    }
}

/// What somebody else finds under these keys; nothing is the empty word.
async fn found(rt: &SimRuntime, keys: &[String]) -> Vec<String> {
    let mut stream = connect(rt, RESP).await;
    let asked: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    assert!(write(&mut stream, &words(&asked)).await, "he is served");
    let answer = read(rt, &mut stream, Duration::from_millis(50)).await;
    let heard = Heard::first(&answer).expect("an answer").expect("all of it").0;
    let Heard::Array(all) = heard else { panic!("{heard}") };
    let value = |heard: Heard| match heard {
        Heard::Bulk(value) => String::from_utf8(value.to_vec()).expect("text was set"),
        Heard::Nothing => String::new(),
        other => panic!("{other}"),
    };
    all.into_iter().map(value).collect()
}

/// What is wrong with it, if anything, when somebody goes behind so many bytes.
async fn goes_behind(rt: &SimRuntime, port: u16, count: usize, goes: Goes) -> Option<String> {
    let own = count * 3 + goes as usize;
    let pieces = exchange(port, own);
    let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.says.clone()).collect();
    says(rt, port, all.get(..count)?, goes).await;
    rt.clock().sleep_until(rt.clock().now() + Duration::from_millis(100)).await;

    let mut keys: Vec<String> =
        pieces.iter().flat_map(|piece| piece.does.iter().map(|(key, _)| key.clone())).collect();
    keys.sort();
    keys.dedup();
    let found = found(rt, &keys).await;
    // What it would be like behind each of the pieces that were said whole.
    let (mut state, mut said) = (vec![String::new(); keys.len()], 0);
    let mut may_be = vec![state.clone()];
    for piece in &pieces {
        said += piece.says.len();
        if said > count {
            break;
        }
        for (key, value) in &piece.does {
            let at = keys.binary_search(key).expect("it is one of them");
            state[at].clone_from(value);
        }
        may_be.push(state.clone());
    }
    let is_right = match goes {
        Goes::AtOnce => may_be.contains(&found),
        Goes::Answered | Goes::Slowly => may_be.last() == Some(&found),
    };
    (!is_right).then(|| format!("port {port}, {count} bytes, {goes:?}: {keys:?} have {found:?}"))
}

async fn serves(rt: SimRuntime) {
    let at = |port| rt.address(NodeId(0), port);
    let cluster = Cluster::new("sim", vec![(Member(1), at(7381))], 1).expect("it can be");
    let doors = [RESP, HTTP, TEXT].map(|port| Some(at(port)));
    let [resp, http, text] = doors;
    let setup = Setup { resp, http, text, ..Setup::new(Member(1), cluster) };
    let node = Node::start(&rt, setup, ()).await.expect("nothing is in its way");
    node.run().await;
}

#[derive(Default)]
struct Walked {
    /// What was not right.
    wrong: Vec<String>,
    /// How often somebody went.
    times: usize,
    is_over: bool,
}

/// Clients of that port go behind each byte.
fn walk(port: u16, bugs: &[&str]) -> Walked {
    let mut world = World::new(1, planted(bugs));
    world.add("node", NodeOptions::default(), serves);
    let told = Arc::new(Mutex::new(Walked::default()));
    let tells = Arc::clone(&told);
    world.add("clients", NodeOptions::default(), move |rt| {
        let tells = Arc::clone(&tells);
        async move {
            rt.clock().sleep_until(rt.clock().now() + 5 * SECOND).await;
            for count in 0.. {
                let own = |goes| exchange(port, count * 3 + goes as usize);
                let length: usize = own(Goes::AtOnce).iter().map(|piece| piece.says.len()).sum();
                if count > length {
                    break;
                }
                for goes in [Goes::AtOnce, Goes::Answered, Goes::Slowly] {
                    let wrong = goes_behind(&rt, port, count, goes).await;
                    let mut told = tells.lock().expect("nobody panics with it");
                    told.wrong.extend(wrong);
                    told.times += 1;
                }
            }
            // All of them have gone, and nothing is kept of them.
            let mut stream = connect(&rt, RESP).await;
            assert!(write(&mut stream, &words(&["CLIENT", "LIST"])).await);
            let clients = read(&rt, &mut stream, Duration::from_millis(50)).await;
            let count = clients.iter().filter(|byte| **byte == b'\n').count();
            let mut told = tells.lock().expect("nobody panics with it");
            if count > 3 {
                told.wrong.push(format!("some are still there: {}", clients.escape_ascii()));
            }
            told.is_over = true;
        }
    });
    world.start_all();
    world.run_for(3600 * SECOND);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    let walked = std::mem::take(&mut *told.lock().expect("nobody panics with it"));
    assert!(walked.is_over, "only {} went", walked.times);
    walked
}

#[test]
fn whoever_goes_behind_any_byte_has_said_what_he_said_whole() {
    for (port, least) in [(RESP, 1000), (HTTP, 1000), (TEXT, 200)] {
        let Walked { wrong, times, .. } = walk(port, &[]);
        assert_eq!(wrong, Vec::<String>::new());
        assert!(times > least, "port {port}: {times}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_done_that_was_not_said_whole_is_noticed() {
    let bugs = [
        (RESP, "resp_gone_client_executes"),
        (HTTP, "http_takes_half_a_body"),
        (TEXT, "text_takes_half_a_value"),
    ];
    for (port, bug) in bugs {
        assert!(!walk(port, &[bug]).wrong.is_empty(), "{bug}");
    }
}
