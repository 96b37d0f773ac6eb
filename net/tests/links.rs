//! Links over real sockets on loopback: everything arrives, and who does not belong is told why.
//!
//! What happens on a bad network is the simulator's to try (`trilith-sim`).
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks behind the doors"
)]

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    packet::{Envelope, Packet},
    raft::{Body, EntryId, Message},
    runtime::{Clock, Listener, Net, Receiver, Runtime, StreamRead, StreamWrite, queue, timeout},
    types::{ClientId, GroupId, Index, NodeId, ReplicaId, Size, Term, Uuid},
};
use trilith_net::{
    client::{greet, settings_of},
    frame::{Decoder, Frame, Kind, put_empty},
    limits::CLIENT_REPLIES_BYTES_MAX,
    os::{Os, OsListener, OsStream, run_core},
    peer::{
        Incoming, LinkOptions, Links, Setup, Trouble, codec,
        hello::{Hello, Identity, Purpose, Ready, Refusal, Versions, Welcome},
        proof::Secret,
        settings::{self, Setting},
    },
};

const CLUSTER: Uuid = Uuid([7; 16]);

/// What the nodes of a cluster know, and what those of another one do.
const SECRET: &[u8] = b"what only the nodes of this cluster know";
const ANOTHER: &[u8] = b"what the nodes of another cluster know!";

fn identity(node: u64) -> Identity {
    Identity { cluster: CLUSTER, node: NodeId(node), directory: Uuid([node as u8; 16]) }
}

/// What a node tells of its configuration.
fn configured(node: NodeId) -> Vec<Setting> {
    let (name, origin) = ("node.id".to_owned(), "--node".to_owned());
    let value = Some(node.to_string());
    vec![Setting { name, is_shared: false, value, origin, mark: 5 }]
}

fn packet(index: u64, entries: &[u8]) -> Packet {
    let prev = EntryId::new(1, index);
    let body = Body::Append { prev, last: Index(index + 1), commit: Index(0) };
    let message = Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(1), body };
    let entries = vec![Bytes::copy_from_slice(entries)];
    Packet::Raft { group: GroupId(1), message, entries }
}

async fn listen(os: &Os) -> OsListener {
    os.net().listen("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A node: its links, and what they tell it.
struct Node {
    links: Links<Os>,
    told: Receiver<Incoming>,
}

impl Node {
    fn start(os: &Os, own: Identity, members: &[(NodeId, SocketAddr)], at: OsListener) -> Self {
        Self::knowing(None, os, own, members, at)
    }

    /// The same, of a cluster with that secret.
    fn knowing(
        secret: Option<&[u8]>,
        os: &Os,
        own: Identity,
        members: &[(NodeId, SocketAddr)],
        at: OsListener,
    ) -> Self {
        let (into, told) = queue(64);
        let options = LinkOptions {
            secrets: secret.map(|text| Secret::new(text).unwrap().into()),
            silence: Duration::from_millis(400),
            asks_node: false,
            ..LinkOptions::default()
        };
        let settings = settings::encode(&configured(own.node));
        let setup = Setup { own, members: members.to_vec(), options, settings };
        Self { links: Links::start(os, setup, at, into), told }
    }

    async fn next(&mut self, os: &Os) -> Incoming {
        let deadline = os.clock().now() + Duration::from_secs(10);
        timeout(os.clock(), deadline, self.told.recv()).await.unwrap().unwrap()
    }

    async fn up(&mut self, os: &Os) {
        while !matches!(self.next(os).await, Incoming::Up(_)) {}
    }

    /// The next packet's index, whose entries must be what was sent.
    async fn index(&mut self, os: &Os) -> u64 {
        loop {
            let Incoming::Packet { packet: Packet::Raft { message, entries, .. }, .. } =
                self.next(os).await
            else {
                continue;
            };
            let Body::Append { prev, .. } = message.body else { panic!("an append") };
            let index = prev.index.0;
            assert_eq!(entries, [Bytes::from(vec![index as u8; 1 + index as usize * 37 % 5000])]);
            return index;
        }
    }
}

/// Node 1, where it listens, and the place of node 2, where nobody answers.
async fn alone(os: &Os) -> (Node, SocketAddr, OsListener) {
    let (listener, nobody) = (listen(os).await, listen(os).await);
    let at = listener.local();
    let members = [(NodeId(1), at), (NodeId(2), nobody.local())];
    (Node::start(os, identity(1), &members, listener), at, nobody)
}

fn run<F: Future>(name: &str, test: impl FnOnce(Os) -> F) {
    run_core(std::env::temp_dir().join(format!("trilith-links-{name}")), test).unwrap();
}

#[test]
fn two_nodes_tell_each_other_everything_in_order() {
    run("order", async |os| {
        let (one, other) = (listen(&os).await, listen(&os).await);
        let members = [(NodeId(1), one.local()), (NodeId(2), other.local())];
        let mut first = Node::start(&os, identity(1), &members, one);
        let mut second = Node::start(&os, identity(2), &members, other);
        first.up(&os).await;
        second.up(&os).await;
        for round in 0..20 {
            for index in round * 50..(round + 1) * 50 {
                let entries = vec![index as u8; 1 + index as usize * 37 % 5000];
                for (node, to) in [(&first, NodeId(2)), (&second, NodeId(1))] {
                    assert!(node.links.send(&Envelope { to, packet: packet(index, &entries) }));
                }
            }
            for index in round * 50..(round + 1) * 50 {
                assert_eq!(first.index(&os).await, index);
                assert_eq!(second.index(&os).await, index);
            }
        }
        assert!(!first.links.send(&Envelope { to: NodeId(3), packet: packet(1, b"") }));
        drop(second);
        while first.next(&os).await != Incoming::Down(NodeId(2)) {}
        assert!(!first.links.status(NodeId(2)).unwrap().is_up);
        assert!(!first.links.send(&Envelope { to: NodeId(2), packet: packet(1, b"") }));
    });
}

/// The next frame of a connection made by hand; `None` when the other side closed it.
async fn frame(stream: &mut OsStream, decoder: &mut Decoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.take().unwrap() {
            return Some(frame);
        }
        let mut buffer = [0; 100];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => decoder.feed(&buffer[..read]),
        }
    }
}

async fn write(stream: &mut OsStream, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        let mut written = 0;
        while written < piece.len() {
            written += stream.write(&piece[written..]).await.unwrap();
        }
    }
}

fn hello(who: Identity, whom: u64, versions: Versions) -> BytesMut {
    let mut words = BytesMut::new();
    Hello { versions, purpose: Purpose::Peer { who, whom: NodeId(whom) } }.put(&mut words);
    words
}

async fn connect(os: &Os, at: SocketAddr) -> OsStream {
    os.net().connect(at, os.clock().now() + Duration::from_secs(5)).await.unwrap()
}

/// Shakes hands by hand, byte by byte.
async fn shake(os: &Os, at: SocketAddr, who: Identity) -> OsStream {
    let mut stream = connect(os, at).await;
    write(&mut stream, &hello(who, 1, Versions::OURS), 1).await;
    let welcome = frame(&mut stream, &mut Decoder::new(100)).await.unwrap();
    let welcome = Welcome::take(&welcome).unwrap();
    assert_eq!(welcome.who, identity(1));
    let mut words = BytesMut::new();
    Ready { token: welcome.token }.put(&mut words);
    write(&mut stream, &words, 3).await;
    stream
}

#[test]
fn who_does_not_belong_here_is_told_why_and_sent_away() {
    run("refusals", async |os| {
        let (_node, at, _nobody) = alone(&os).await;
        let _living = shake(&os, at, identity(2)).await;
        // Its Ready must have arrived before another one claims the number.
        os.clock().sleep_until(os.clock().now() + Duration::from_millis(50)).await;
        let alien = Identity { cluster: Uuid([8; 16]), ..identity(2) };
        let twin = Identity { directory: Uuid([99; 16]), ..identity(2) };
        let double = Identity { directory: Uuid([98; 16]), ..identity(1) };
        let newer = Versions { min: 200, max: 201 };
        let two = |node: u64| Refusal::TwoNodesWithOneId {
            node: NodeId(node),
            directory: identity(node).directory,
        };
        for (who, whom, versions, expect) in [
            (alien, 1, Versions::OURS, Refusal::AlienCluster { cluster: CLUSTER }),
            (twin, 1, Versions::OURS, two(2)),
            (double, 1, Versions::OURS, two(1)),
            (identity(1), 2, Versions::OURS, Refusal::Oneself),
            (identity(2), 5, Versions::OURS, Refusal::WrongNode { node: NodeId(1) }),
            (identity(6), 1, Versions::OURS, Refusal::Stranger { node: NodeId(6) }),
            (identity(2), 1, newer, Refusal::Version(Versions::OURS)),
        ] {
            let mut stream = connect(&os, at).await;
            write(&mut stream, &hello(who, whom, versions), 64).await;
            let mut decoder = Decoder::new(100);
            let told = frame(&mut stream, &mut decoder).await.unwrap();
            assert_eq!(Refusal::take(&told), Ok(expect));
            assert_eq!(frame(&mut stream, &mut decoder).await, None);
        }
        let mut stream = connect(&os, at).await;
        write(&mut stream, b"GET / HTTP/1.1\r\n\r\n", 64).await;
        let told = frame(&mut stream, &mut Decoder::new(100)).await.unwrap();
        assert_eq!(Refusal::take(&told), Ok(Refusal::Garbage));
    });
}

#[test]
fn a_node_that_calls_itself_knows_why_it_fails() {
    run("oneself", async |os| {
        let listener = listen(&os).await;
        let at = listener.local();
        let node = Node::start(&os, identity(1), &[(NodeId(1), at), (NodeId(2), at)], listener);
        let deadline = os.clock().now() + Duration::from_secs(5);
        let oneself = Some(Trouble::Refused(Refusal::Oneself));
        while node.links.status(NodeId(2)).unwrap().trouble != oneself {
            assert!(os.clock().now() < deadline);
            os.clock().sleep_until(os.clock().now() + Duration::from_millis(5)).await;
        }
    });
}

/// Two nodes that know this and that; why each of them has no link to the other one.
async fn two(os: &Os, knows: [Option<&[u8]>; 2]) -> [Option<Trouble>; 2] {
    let (one, other) = (listen(os).await, listen(os).await);
    let members = [(NodeId(1), one.local()), (NodeId(2), other.local())];
    let nodes = [(1, one), (2, other)].map(|(node, at)| {
        Node::knowing(knows[node as usize - 1], os, identity(node), &members, at)
    });
    let deadline = os.clock().now() + Duration::from_secs(5);
    loop {
        let status = |node: usize| nodes[node].links.status(NodeId(2 - node as u64)).unwrap();
        let both = [status(0), status(1)];
        if both.iter().all(|status| status.is_up || status.trouble.is_some()) {
            return both.map(|status| status.trouble);
        }
        assert!(os.clock().now() < deadline, "{both:?}");
        os.clock().sleep_until(os.clock().now() + Duration::from_millis(5)).await;
    }
}

#[test]
fn nodes_that_do_not_know_one_secret_know_why_they_are_apart() {
    run("secrets", async |os| {
        let refused = |why| Some(Trouble::Refused(why));
        let refusing = |why| Some(Trouble::Refusing(why));
        assert_eq!(two(&os, [Some(SECRET), Some(SECRET)]).await, [None, None]);
        let both = [refused(Refusal::Unproven), refused(Refusal::Unproven)];
        assert_eq!(two(&os, [Some(SECRET), Some(ANOTHER)]).await, both);
        let one = [refusing(Refusal::Unproven), refusing(Refusal::NoSecret)];
        assert_eq!(two(&os, [Some(SECRET), None]).await, one);
        for why in [Refusal::Unproven, Refusal::NoSecret] {
            assert!(why.to_string().contains("cluster.secret"), "{why}");
        }
    });
}

/// Nothing is done for who has not proven himself: he is not even told who is there.
#[test]
fn a_client_must_know_the_secret_too() {
    run("client", async |os| {
        let (listener, nobody) = (listen(&os).await, listen(&os).await);
        let at = listener.local();
        let members = [(NodeId(1), at), (NodeId(2), nobody.local())];
        let _node = Node::knowing(Some(SECRET), &os, identity(1), &members, listener);
        let ask = |text: Option<&[u8]>| {
            let secret = text.map(|text| Secret::new(text).unwrap());
            greet(&os, at, secret, Duration::from_secs(5))
        };
        assert_eq!(ask(Some(SECRET)).await, Ok(identity(1)));
        assert_eq!(ask(Some(ANOTHER)).await, Err(Trouble::Refused(Refusal::Unproven)));
        assert_eq!(ask(None).await, Err(Trouble::Refusing(Refusal::NoSecret)));
        // Nor of what cluster, nor which node, nor in which directory.
        let alien = Identity { cluster: Uuid([9; 16]), ..identity(2) };
        let twin = Identity { directory: Uuid([99; 16]), ..identity(1) };
        for (who, whom) in [(identity(2), 1), (identity(2), 2), (alien, 1), (twin, 2)] {
            let mut stream = connect(&os, at).await;
            write(&mut stream, &hello(who, whom, Versions::OURS), 64).await;
            let told = frame(&mut stream, &mut Decoder::new(100)).await.unwrap();
            assert_eq!(told.kind, Kind::Challenge);
        }
    });
}

#[test]
fn a_node_tells_what_it_was_configured_with_to_who_knows_the_secret() {
    run("settings", async |os| {
        let listener = listen(&os).await;
        let at = listener.local();
        let _node = Node::knowing(Some(SECRET), &os, identity(1), &[(NodeId(1), at)], listener);
        let ask = |text: Option<&[u8]>| {
            let secret = text.map(|text| Secret::new(text).unwrap());
            settings_of(&os, at, secret, Duration::from_secs(5))
        };
        assert_eq!(ask(Some(SECRET)).await, Ok((identity(1), configured(NodeId(1)))));
        assert_eq!(ask(Some(ANOTHER)).await, Err(Trouble::Refused(Refusal::Unproven)));
        assert_eq!(ask(None).await, Err(Trouble::Refusing(Refusal::NoSecret)));
        // A node does not ask another one.
        let (_other, at, _nobody) = alone(&os).await;
        let mut stream = shake(&os, at, identity(2)).await;
        let mut ask = BytesMut::new();
        put_empty(&mut ask, Kind::SettingsAsk);
        write(&mut stream, &ask, 64).await;
        let refused = frame(&mut stream, &mut Decoder::new(100)).await.unwrap();
        assert_eq!(Refusal::take(&refused), Ok(Refusal::Garbage));
    });
}

/// It takes twelve bytes to ask and megabytes to answer: all of them waited for him in memory.
#[test]
fn who_asks_again_and_again_and_reads_nothing_waits() {
    run("greedy", async |os| {
        let listener = listen(&os).await;
        let at = listener.local();
        let long = Setting { value: Some("x".repeat(8 << 10)), ..configured(NodeId(1)).remove(0) };
        let settings = settings::encode(&vec![long; 512]);
        let (into, _told) = queue::<Incoming>(64);
        let options = LinkOptions { asks_node: false, ..LinkOptions::default() };
        let setup = Setup { own: identity(1), members: vec![(NodeId(1), at)], options, settings };
        let links = Links::start(&os, setup, listener, into);
        let mut stream = connect(&os, at).await;
        let purpose = Purpose::Client { client: ClientId(9), cluster: Uuid::default() };
        let mut words = BytesMut::new();
        Hello { versions: Versions::OURS, purpose }.put(&mut words);
        write(&mut stream, &words, 64).await;
        let welcome = frame(&mut stream, &mut Decoder::new(100)).await.unwrap();
        words.clear();
        Ready { token: Welcome::take(&welcome).unwrap().token }.put(&mut words);
        (0..40).for_each(|_| put_empty(&mut words, Kind::SettingsAsk));
        write(&mut stream, &words, 64).await;
        let clock = os.clock();
        let waiting = || links.sizes().reply_bytes;
        while waiting().now < CLIENT_REPLIES_BYTES_MAX as u64 {
            clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
        }
        // By now the others would wait, too.
        clock.sleep_until(clock.now() + Duration::from_millis(100)).await;
        let Size { now, most } = waiting();
        assert!(now <= most, "{now} bytes wait for one client, of {most}");
    });
}

#[test]
fn what_arrives_byte_by_byte_is_read_and_what_is_cut_short_is_not() {
    run("pieces", async |os| {
        let (mut node, at, _nobody) = alone(&os).await;
        let mut bytes = BytesMut::new();
        codec::encode(&packet(3, &[3; 112]), &mut bytes).unwrap();
        let mut stream = shake(&os, at, identity(2)).await;
        write(&mut stream, &bytes, 1).await;
        assert_eq!(node.index(&os).await, 3);
        // Cut at every byte, then closed; the whole one behind it is the next that arrives.
        for cut in 0..bytes.len() {
            let mut stream = shake(&os, at, identity(2)).await;
            write(&mut stream, &bytes[..cut], 64).await;
        }
        let mut stream = shake(&os, at, identity(2)).await;
        codec::encode(&packet(4, &[4; 149]), &mut bytes).unwrap();
        write(&mut stream, &bytes, 64).await;
        assert_eq!((node.index(&os).await, node.index(&os).await), (3, 4));
        // One altered byte ends the connection, with a word, and nothing of it is taken.
        let (len, mut decoder) = (bytes.len(), Decoder::new(100));
        bytes[len - 1] ^= 1;
        write(&mut stream, &bytes, 64).await;
        assert_eq!(node.index(&os).await, 3);
        let told = frame(&mut stream, &mut decoder).await.unwrap();
        assert_eq!(Refusal::take(&told), Ok(Refusal::Garbage));
    });
}

#[test]
fn pings_are_answered_and_silence_ends_a_connection() {
    run("silence", async |os| {
        let (_node, at, _nobody) = alone(&os).await;
        let mut stream = shake(&os, at, identity(2)).await;
        let mut decoder = Decoder::new(100);
        let mut ping = BytesMut::new();
        put_empty(&mut ping, Kind::Ping);
        for _ in 0..3 {
            write(&mut stream, &ping, 64).await;
            assert_eq!(frame(&mut stream, &mut decoder).await.unwrap().kind, Kind::Pong);
        }
        let told = frame(&mut stream, &mut decoder).await.unwrap();
        assert_eq!(Refusal::take(&told), Ok(Refusal::Silent));
    });
}
