//! HTTP clients at a node over the real doors: what its connections may hold together.
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
        atomic::{AtomicBool, Ordering},
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
        let directory = std::env::temp_dir().join(format!("trilith-http-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (ends, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (home, over) = (directory.clone(), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            run_core(&home, async |os| {
                let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let cluster = Cluster::new("alone", vec![(NodeId(1), anywhere)], 1).unwrap();
                let options =
                    NodeOptions { http: Some(anywhere), ..NodeOptions::new(NodeId(1), cluster) };
                let node = Node::start(&os, options, ()).await.unwrap();
                tell.send(node.serves_http().unwrap()).unwrap();
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

    /// Asks, and reads no more of the answer than its status.
    fn ask(&self, head: &str, body: &[u8]) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!("{head} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
        let _gone = fs::remove_dir_all(&self.directory);
    }
}

/// They asked for large values and did not read them: each held all it was answered, and only what
/// was asked with GET was counted.
#[test]
fn batches_that_nobody_reads_share_the_room_of_all() {
    let node = Alone::start();
    let value = vec![b'x'; 8 << 20];
    assert_eq!(node.ask("PUT /v1/kv/default/a", &value).0, "200");
    let get = r#"{"op": "get", "key": "a"}"#;
    let batch = format!(r#"{{"ops": [{get}, {get}, {get}]}}"#);
    let mut waiting = Vec::new();
    for nth in 0..18 {
        let (status, stream) = node.ask("POST /v1/batch", batch.as_bytes());
        waiting.push(stream);
        if status == "503" {
            assert!(nth > 10, "{nth}");
            let put = r#"{"op": "put", "key": "b", "value": "1"}"#;
            let mixed = format!(r#"{{"ops": [{put}, {get}, {get}]}}"#);
            let (status, mut stream) = node.ask("POST /v1/batch", mixed.as_bytes());
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
