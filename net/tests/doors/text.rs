//! Clients of the text protocol: what is answered, and what their connections may hold together.
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use trilith_net::users::{Cost, Kept, Users};

use crate::alone::Alone;

fn connect(node: &Alone) -> TcpStream {
    let stream = TcpStream::connect(node.text).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// All that is answered to that, in pieces of that length, until the connection ends.
fn told(node: &Alone, said: &[u8], piece: usize) -> String {
    let mut stream = connect(node);
    for piece in said.chunks(piece) {
        // The other side may have heard enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _done = stream.shutdown(Shutdown::Write);
    let mut told = Vec::new();
    let _cut = stream.read_to_end(&mut told).is_ok();
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn three_commands_do_what_they_say() {
    let node = Alone::start();
    let said = b"GET a\nSET a 5\nhe\nloGET a\r\n\nDEL a\nDEL a\nSET b 0\nGET b\n";
    let answers = "NOT_FOUND\nOK\nVALUE 5\nhe\nloOK\nNOT_FOUND\nOK\nVALUE 0\n";
    for piece in [said.len(), 7, 1] {
        assert_eq!(told(&node, said, piece), answers, "{piece}");
    }
    // What is half a request is none.
    assert_eq!(told(&node, b"SET a 5\nhel", 20), "");
    assert_eq!(told(&node, b"GET a\nGET a", 20), "NOT_FOUND\n");
    // Other doors see the same.
    node.connect().expect("GET b\nSET a x\n", "$0||+OK|");
    assert_eq!(told(&node, b"GET a\n", 20), "VALUE 1\nx");
}

#[test]
fn what_is_no_request_is_told_and_ends_it() {
    let node = Alone::start();
    for (said, why) in [
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\nSET a 1\nx", "ERROR there are SET"),
        ("GET / HTTP/1.1\r\n\r\nSET a 1\nx", "ERROR there are SET"),
        ("*1\r\n$4\r\nPING\r\nSET a 1\nx", "ERROR there are SET"),
        ("SET a 8388609\nSET a 1\nx", "ERROR a value's length"),
        ("SET a\nSET a 1\nx", "ERROR there are SET"),
    ] {
        let told = told(&node, said.as_bytes(), said.len());
        assert!(told.starts_with(why) && told.ends_with('\n'), "{said}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert_eq!(told(&node, &[b'x'; 100_000], 4096), "ERROR a line has at most 65599 bytes\n");
    assert_eq!(told(&node, b"GET a\n", 20), "NOT_FOUND\n");
}

#[test]
fn the_longest_value_comes_and_goes() {
    let node = Alone::start();
    let mut said = b"SET a 8388608\n".to_vec();
    said.resize(said.len() + (8 << 20), b'v');
    said.extend_from_slice(b"GET a\n");
    let told = told(&node, &said, 1 << 20);
    assert!(told.starts_with("OK\nVALUE 8388608\nvvv"), "{:.40}", told);
    assert_eq!(told.len(), "OK\nVALUE 8388608\n".len() + (8 << 20));
}

#[test]
fn somebody_says_first_who_he_is() {
    let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
    let mut users = Users::default();
    users.put("alice", Kept::make(b"a:b", [7; 16], cost).unwrap()).unwrap();
    let node = Alone::guarded(users);
    let stranger = "ERROR say first who you are: AUTH <user> <password>\n";
    assert_eq!(told(&node, b"GET a\nGET a\n", 20), stranger);
    assert_eq!(told(&node, b"SET a 8000000\n", 20), stranger);
    let wrong = "ERROR there is no such user, or his password is another one\n";
    let asked = b"AUTH alice x\nAUTH nobody a:b\nAUTH alice a:b\nGET a\n";
    assert_eq!(told(&node, asked, 9), format!("{wrong}{wrong}OK\nNOT_FOUND\n"));
}
