//! HTTP clients: what its connections may hold together.
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::alone::Alone;

/// Asks, and reads no more of the answer than its status.
fn ask(node: &Alone, head: &str, body: &[u8]) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("{head} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
}

/// They asked for large values and did not read them: each held all it was answered, and only what
/// was asked with GET was counted.
#[test]
fn batches_that_nobody_reads_share_the_room_of_all() {
    let node = Alone::start();
    let value = vec![b'x'; 8 << 20];
    assert_eq!(ask(&node, "PUT /v1/kv/default/a", &value).0, "200");
    let get = r#"{"op": "get", "key": "a"}"#;
    let batch = format!(r#"{{"ops": [{get}, {get}, {get}]}}"#);
    let mut waiting = Vec::new();
    for nth in 0..18 {
        let (status, stream) = ask(&node, "POST /v1/batch", batch.as_bytes());
        waiting.push(stream);
        if status == "503" {
            assert!(nth > 10, "{nth}");
            let put = r#"{"op": "put", "key": "b", "value": "1"}"#;
            let mixed = format!(r#"{{"ops": [{put}, {get}, {get}]}}"#);
            let (status, mut stream) = ask(&node, "POST /v1/batch", mixed.as_bytes());
            assert_eq!(status, "200", "what was done is told in any case");
            let (mut told, mut piece) = (String::new(), [0; 4096]);
            while !told.contains("]}") {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "{}", told.len());
                told.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            assert!(told.contains("OVERLOADED"), "{} bytes", told.len());
            return;
        }
        assert_eq!(status, "200");
    }
    panic!("{} connections hold more than all may", waiting.len());
}
