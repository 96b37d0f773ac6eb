//! The example of `docs/wire.md` is what the code writes, and the code reads it from the page.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    packet::{Packet, SnapshotAsk},
    raft::{Body, EntryId, Message},
    shard::Standing,
    types::{GroupId, Index, NodeId, ReplicaId, Term, Uuid},
};
use trilith_net::{
    frame::{Decoder, Kind, encode, put_empty},
    limits::FRAME_BODY_BYTES_MAX,
    peer::{
        codec,
        hello::{Hello, Identity, Purpose, Ready, Refusal, Versions, Welcome},
        proof::{Challenge, Proof, Says, Secret, Talk},
        settings::{self, Setting},
    },
};

const PAGE: &str = include_str!("../docs/wire.md");

const ONE: Identity =
    Identity { cluster: Uuid([0xcc; 16]), node: NodeId(1), directory: Uuid([0xd1; 16]) };
const TWO: Identity = Identity { node: NodeId(2), directory: Uuid([0xd2; 16]), ..ONE };
const HELLO: Hello =
    Hello { versions: Versions::OURS, purpose: Purpose::Peer { who: ONE, whom: NodeId(2) } };
const WELCOME: Welcome =
    Welcome { version: 1, standing: Standing::Founder, who: TWO, token: 0x0807_0605_0403_0201 };
/// What the cluster of the example knows.
const SECRET: &[u8] = b"what only the nodes of this cluster know";
const CHALLENGE: Challenge = Challenge { nonce: [0xb2; 32] };
const READY: Ready = Ready { token: WELCOME.token };
const REFUSAL: Refusal = Refusal::WrongNode { node: NodeId(2) };

fn append() -> Packet {
    let body = Body::Append { prev: EntryId::new(5, 16), last: Index(17), commit: Index(15) };
    let message = Message { from: ReplicaId(10), to: ReplicaId(20), term: Term(6), body };
    let entries = vec![Bytes::from_static(&[0xe1, 0xe2, 0xe3])];
    Packet::Raft { group: GroupId(9), message, entries }
}

fn snapshot_ask() -> Packet {
    let (from, to, at_least) = (ReplicaId(20), ReplicaId(30), Index(15));
    Packet::SnapshotAsk(SnapshotAsk { group: GroupId(9), from, to, at_least })
}

fn setting() -> Setting {
    let (name, origin) = ("raft.election_ms".to_owned(), "node1.toml:9".to_owned());
    let value = Some("500".to_owned());
    Setting { name, is_shared: true, value, origin, mark: 0x0403_0201 }
}

fn settings_frame(out: &mut BytesMut) {
    let body = settings::encode(&[setting()]);
    encode(out, Kind::Settings, |out| out.extend_from_slice(&body)).unwrap();
}

/// What both prove: node 1 the Hello, node 2 also its Welcome.
fn proofs() -> [Proof; 2] {
    let (mut hello, mut welcome) = (BytesMut::new(), BytesMut::new());
    HELLO.put(&mut hello);
    WELCOME.put(&mut welcome);
    let secret = Secret::new(SECRET).unwrap();
    let (connects, listens) = ([0xa1; 32], CHALLENGE.nonce);
    let talk = Talk { hello: &hello[12..], connects, listens, says: Says::Hello };
    let first = Proof { nonce: connects, proof: secret.prove(&talk) };
    let talk = Talk { says: Says::Welcome(&welcome[12..]), ..talk };
    [first, Proof { nonce: listens, proof: secret.prove(&talk) }]
}

fn written() -> Vec<(&'static str, BytesMut)> {
    let frame = |write: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        write(&mut out);
        out
    };
    vec![
        ("1 to 2  Hello", frame(&|out| HELLO.put(out))),
        ("2 to 1  Challenge", frame(&|out| CHALLENGE.put(out))),
        ("1 to 2  Proof", frame(&|out| proofs()[0].put(out))),
        ("2 to 1  Proof", frame(&|out| proofs()[1].put(out))),
        ("2 to 1  Welcome", frame(&|out| WELCOME.put(out))),
        ("1 to 2  Ready", frame(&|out| READY.put(out))),
        ("1 to 2  Ping", frame(&|out| put_empty(out, Kind::Ping))),
        ("2 to 1  Pong", frame(&|out| put_empty(out, Kind::Pong))),
        ("1 to 2  Append", frame(&|out| codec::encode(&append(), out).unwrap())),
        ("1 to 2  SnapshotAsk", frame(&|out| codec::encode(&snapshot_ask(), out).unwrap())),
        ("a client to 2  SettingsAsk", frame(&|out| put_empty(out, Kind::SettingsAsk))),
        ("2 to a client  Settings", frame(&settings_frame)),
        ("2 to 3  Refusal", frame(&|out| REFUSAL.put(out))),
    ]
}

fn example() -> &'static str {
    let (_, rest) = PAGE.split_once("<!-- example -->\n```text\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_page_shows_what_the_code_writes() {
    let mut shown = String::new();
    for (what, bytes) in written() {
        writeln!(shown, "{what}").unwrap();
        for (at, line) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(shown, "  {:4}  {}", at * 16, hex.join(" ")).unwrap();
        }
    }
    assert!(shown == example(), "the example of the page should be:\n{shown}");
}

#[test]
fn the_code_reads_what_the_page_shows() {
    let mut bytes = Vec::new();
    for line in example().lines().filter(|line| line.starts_with("  ")) {
        let hex = line.split_whitespace().skip(1);
        bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    let mut decoder = Decoder::new(64);
    decoder.agreed(64, FRAME_BODY_BYTES_MAX);
    decoder.feed(&bytes);
    let mut next = || decoder.take().unwrap().unwrap();
    assert_eq!(Hello::take(&next()), Ok(HELLO));
    assert_eq!(Challenge::take(&next()), Ok(CHALLENGE));
    assert_eq!(proofs(), [(); 2].map(|()| Proof::take(&next()).unwrap()));
    assert_eq!(Welcome::take(&next()), Ok(WELCOME));
    assert_eq!(Ready::take(&next()), Ok(READY));
    assert_eq!((next().kind, next().kind), (Kind::Ping, Kind::Pong));
    assert_eq!(codec::decode(next()), Ok(append()));
    assert_eq!(codec::decode(next()), Ok(snapshot_ask()));
    assert_eq!(next().kind, Kind::SettingsAsk);
    assert_eq!(settings::decode(&next().body), Ok(vec![setting()]));
    assert_eq!(Refusal::take(&next()), Ok(REFUSAL));
    assert_eq!(decoder.held(), 0);
}
