//! Stories of clients of whom each holds what one may, and all of them more than a node has.
//!
//! Not here: clients that take long (`patience.rs`), requests of Redis that are not whole
//! (`net/tests/doors`).

use trilith_engine::runtime::{Clock, Runtime, StreamRead, timeout};
use trilith_net::held::Bounds;
use trilith_sim::os::{SimRuntime, SimStream};

use super::{
    patience::{LARGE, PEERS, RESP, connect, found_within, greet, hear, reads, say, stores_large},
    stage::SECOND,
};

const BYTES: usize = 4 * LARGE;

fn little() -> Bounds {
    Bounds { native: BYTES, post: BYTES, names: LARGE }
}

/// How many of twelve clients are told a large value who ask for it and read nothing for a while; what
/// one more hears who reads at once, when they are gone.
fn told_of_twelve(bugs: &[&str]) -> (usize, usize) {
    found_within(bugs, little(), |rt| async move {
        drop(stores_large(&rt, PEERS).await);
        let mut clients = Vec::new();
        for client in 1..=12 {
            let mut stream = connect(&rt, PEERS).await;
            greet(&mut stream, client).await;
            say(&mut stream, &reads(1)).await;
            clients.push(stream);
        }
        rt.clock().sleep_until(rt.clock().now() + SECOND).await;
        let mut told = 0;
        for stream in &mut clients {
            told += usize::from(hear(&rt, stream, SECOND / 10).await.bytes > LARGE);
        }
        drop(clients);
        let mut late = connect(&rt, PEERS).await;
        greet(&mut late, 13).await;
        say(&mut late, &reads(1)).await;
        (told, hear(&rt, &mut late, SECOND).await.bytes)
    })
}

/// Each of a thousand clients had room for eighty megabytes.
#[test]
fn what_clients_hold_together_is_bounded() {
    let (told, late) = told_of_twelve(&[]);
    assert!((2..=5).contains(&told), "{told} were told it");
    assert!(late > LARGE, "what was held is given back");
}

#[cfg(feature = "mutants")]
#[test]
fn clients_that_hold_too_much_together_are_noticed() {
    assert_eq!(told_of_twelve(&["peer_clients_of_all_unbounded"]).0, 12);
}

/// A connection that has subscribed to a channel of that number.
async fn subscribed(rt: &SimRuntime, number: usize) -> SimStream {
    let mut stream = connect(rt, RESP).await;
    say(&mut stream, format!("SUBSCRIBE c{number}\r\n").as_bytes()).await;
    let said = hear(rt, &mut stream, SECOND / 10).await;
    assert!(said.words.starts_with("*3\r\n$9\r\nsubscribe"), "{said:?}");
    stream
}

/// How many of twelve subscribers are still there who read nothing for a while, of three large
/// messages each; and what one hears of a small one who reads.
fn stay_of_twelve(bugs: &[&str]) -> (usize, String) {
    found_within(bugs, little(), |rt| async move {
        let mut deaf = Vec::new();
        for number in 0..12 {
            deaf.push(subscribed(&rt, number).await);
        }
        let (mut hears, mut says) = (subscribed(&rt, 12).await, connect(&rt, RESP).await);
        for number in (0..12).chain(0..12).chain(0..12) {
            let head = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n", format!("c{number}").len());
            say(&mut says, format!("{head}c{number}\r\n${LARGE}\r\n").as_bytes()).await;
            say(&mut says, &vec![b'v'; LARGE]).await;
            say(&mut says, b"\r\n").await;
            hear(&rt, &mut says, SECOND / 100).await;
        }
        say(&mut says, b"PUBLISH c12 small\r\n").await;
        let heard = hear(&rt, &mut hears, SECOND).await;
        assert!(!heard.is_over, "{heard:?}");
        let mut stay = 0;
        for stream in &mut deaf {
            stay += usize::from(!hear(&rt, stream, SECOND / 10).await.is_over);
        }
        (stay, heard.words)
    })
}

/// Each shelf had room for itself, and ten thousand may subscribe.
#[test]
fn what_waits_for_subscribers_together_is_bounded() {
    let (stay, heard) = stay_of_twelve(&[]);
    assert!((1..=5).contains(&stay), "{stay} stay");
    assert!(heard.ends_with("small\r\n"), "who reads is told: {heard}");
}

#[cfg(feature = "mutants")]
#[test]
fn shelves_that_grow_together_are_noticed() {
    assert_eq!(stay_of_twelve(&["resp_shelves_of_all_unbounded"]).0, 12);
}

/// Everything that is heard until nothing comes for a while.
async fn words(rt: &SimRuntime, stream: &mut SimStream) -> String {
    let (mut words, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        let deadline = rt.clock().now() + SECOND;
        match timeout(rt.clock(), deadline, stream.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => words.extend_from_slice(&buffer[..read]),
            _ => return String::from_utf8_lossy(&words).into_owned(),
        }
    }
}

/// Which of some connections are refused something that know many names each; and whether there is
/// room again when they are gone.
fn refused_of_many_names(bugs: &[&str]) -> (Vec<bool>, bool) {
    found_within(bugs, little(), |rt| async move {
        let asks = |command: &str, count: usize| {
            let names: String = (0..count).map(|nth| format!("$200\r\n{nth:0200}\r\n")).collect();
            format!("*{}\r\n${}\r\n{command}\r\n{names}", count + 1, command.len())
        };
        let (mut refused, mut all) = (Vec::new(), Vec::new());
        for (command, count) in
            [("SUBSCRIBE", 1800), ("PSUBSCRIBE", 1800), ("SSUBSCRIBE", 1800), ("WATCH", 1000)]
        {
            let mut stream = connect(&rt, RESP).await;
            say(&mut stream, asks(command, count).as_bytes()).await;
            refused.push(words(&rt, &mut stream).await.contains("-UNAVAILABLE all connections"));
            all.push(stream);
        }
        let mut small = connect(&rt, RESP).await;
        say(&mut small, b"WATCH a\r\nUNWATCH\r\nSUBSCRIBE a\r\n").await;
        let said = words(&rt, &mut small).await;
        assert!(said.starts_with("+OK\r\n+OK\r\n*3\r\n"), "a few names always: {said}");
        drop(all);
        let mut late = connect(&rt, RESP).await;
        say(&mut late, asks("WATCH", 1000).as_bytes()).await;
        (refused, words(&rt, &mut late).await == "+OK\r\n")
    })
}

/// A connection may know some megabytes of names, and there may be ten thousand.
#[test]
fn names_that_all_connections_know_are_bounded() {
    assert_eq!(refused_of_many_names(&[]), (vec![false, true, true, true], true));
}

#[cfg(feature = "mutants")]
#[test]
fn names_without_end_are_noticed() {
    let (refused, _) = refused_of_many_names(&["resp_names_of_all_unbounded"]);
    assert_eq!(refused, [false; 4]);
}
