//! What a packet between two nodes and a call of a client cost, in processor time, both sides
//! together, over loopback and on one thread.
//!
//! ```console
//! cargo run --release -p trilith-net --example wire
//! ```
//! Processor time and not a clock's: it counts user and kernel work of this process and is the
//! same on a busy machine. A packet is an append with one entry of 100 bytes; a call is a write of
//! 100 bytes that a server answers at once, so what is left is the wire.
//!
//! Not here: what a server does with a write.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a program that measures")]

use std::{env, sync::Arc, time::Duration};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use trilith_engine::{
    command::{Command, Condition, Expiry, Old, Op, Outcome, Reply, Response, Told},
    packet::{Envelope, Packet},
    raft::{Body, EntryId, Message},
    runtime::{Clock, Handle, Listener, Net, Runtime, Task, queue},
    types::{GroupId, Index, NodeId, ReplicaId, Term, Uuid, Version},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    os::{Os, run_core},
    peer::{Incoming, LinkOptions, Links, Setup, hello::Identity},
};

/// Of each row.
const OPERATIONS: usize = 200_000;

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn row(what: &str, at_once: usize, count: usize, begun: Duration) {
    let micros = (cpu() - begun).as_secs_f64() * 1e6 / count as f64;
    println!("{what:8} {at_once:6} at once  {micros:8.2} µs each");
}

fn setup(node: u64, members: &[(NodeId, std::net::SocketAddr)]) -> Setup {
    let own =
        Identity { cluster: Uuid([1; 16]), node: NodeId(node), directory: Uuid([node as u8; 16]) };
    Setup {
        own,
        members: members.to_vec(),
        options: LinkOptions { asks_node: false, ..LinkOptions::default() },
        settings: Bytes::new(),
    }
}

fn append(index: u64, entry: &Bytes) -> Envelope {
    let body =
        Body::Append { prev: EntryId::new(1, index), last: Index(index + 1), commit: Index(index) };
    let message = Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(1), body };
    let packet = Packet::Raft { group: GroupId(1), message, entries: vec![entry.clone()] };
    Envelope { to: NodeId(2), packet }
}

async fn packets(os: &Os) {
    let any = "127.0.0.1:0".parse().unwrap();
    let (one, two) = (os.net().listen(any).await.unwrap(), os.net().listen(any).await.unwrap());
    let members = [(NodeId(1), one.local()), (NodeId(2), two.local())];
    let ((into_one, mut told_one), (into_two, mut told_two)) = (queue(4096), queue(4096));
    let first = Links::<Os>::start::<Incoming>(os, setup(1, &members), one, into_one);
    let _second = Links::<Os>::start::<Incoming>(os, setup(2, &members), two, into_two);
    while told_one.recv().await.unwrap() != Incoming::Up(NodeId(2)) {}
    let entry = Bytes::from(vec![7; 100]);
    for at_once in [1, 8, 64, 512] {
        let begun = cpu();
        for _ in 0..OPERATIONS / at_once {
            for index in 0..at_once as u64 {
                first.send(&append(index, &entry));
            }
            let mut heard = 0;
            while heard < at_once {
                let told = told_two.recv().await.unwrap();
                heard += usize::from(matches!(told, Incoming::Packet { .. }));
            }
        }
        row("packets", at_once, OPERATIONS, begun);
    }
}

async fn calls(os: &Os) {
    let listener = os.net().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let at = listener.local();
    let (into, mut told) = queue(4096);
    let links = Links::<Os>::start(os, setup(1, &[(NodeId(1), at)]), listener, into);
    let _server = os.task().spawn("server", async move {
        while let Ok(told) = told.recv().await {
            let Incoming::Request { caller, request } = told else { continue };
            let reply = Reply::Done { version: Version(1), old: Old::NotAsked };
            let (sequence, told) = (request.session.sequence, Told::default());
            links.answer(caller, &Response { sequence, told, outcome: Outcome::Ok(reply) });
        }
    });
    let client = Arc::new(Client::start(os, &[at], ClientOptions::default()));
    os.clock().sleep_until(os.clock().now() + Duration::from_millis(100)).await;
    for at_once in [1, 16, 64, 256, 1000] {
        let begun = cpu();
        let (done, mut ended) = queue(at_once);
        for _ in 0..at_once {
            let (client, done) = (Arc::clone(&client), done.clone());
            let running = os.task().spawn("caller", async move {
                let command = Command::Set {
                    key: Bytes::from_static(b"a key of some length"),
                    value: Bytes::from(vec![7; 100]),
                    expiry: Expiry::None,
                    condition: Condition::Always,
                    want_old: false,
                };
                for _ in 0..OPERATIONS / at_once {
                    let wish = Wish::strong(Duration::from_secs(10));
                    let response = client.call(Op::Write(command.clone()), wish).await;
                    assert!(matches!(response.outcome, Outcome::Ok(_)), "{response:?}");
                }
                done.send(()).await.unwrap();
            });
            running.detach();
        }
        for _ in 0..at_once {
            ended.recv().await.unwrap();
        }
        row("calls", at_once, OPERATIONS / at_once * at_once, begun);
    }
}

fn main() {
    run_core(env::temp_dir(), async |os: Os| {
        packets(&os).await;
        calls(&os).await;
    })
    .unwrap();
}
