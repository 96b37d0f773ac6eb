//! The client against servers of a few lines, over real sockets on loopback: every answer finds its
//! call, a call is done once however often it is sent, and what is not known is called unknown.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks behind the doors"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    ops::Bound,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    command::{
        Command, Level, Op, Outcome, Refusal, Reply, Request, Response, Scan, Session, Told,
    },
    limits::{GET_KEYS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
    runtime::{
        Clock, Handle, Listener, Net, Runtime, StreamRead, StreamWrite, Task, queue, timeout,
    },
    types::{ClientId, GroupId, NodeId, Sequence, Stamp, Uuid, Version},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    frame::{self, Decoder, Kind},
    limits::{CLIENT_IN_FLIGHT_MAX, FRAME_BODY_BYTES_MAX},
    os::{Os, OsHandle, OsListener, OsStream, run_core},
    peer::{
        Incoming, LinkOptions, Links, Setup,
        hello::{Hello, Identity, Purpose, Ready, Refusal as Why, Versions, Welcome},
    },
    resp::{
        act::Act,
        commands::COMMANDS,
        front::{Front, Mood},
        request::split,
        scratch::Said,
        way::Way,
    },
};

const CLUSTER: Uuid = Uuid([7; 16]);

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It leads: does it, once.
    Does,
    /// Does it and says nothing.
    DoesInSilence,
    /// Says nothing.
    Silent,
    /// Knows who leads.
    Points(u64),
    /// Refuses for now.
    Refuses(Refusal),
    /// Lost its place after appending.
    LosesIt,
}

/// What all servers share: the sums, what was done for whom, and how each behaves.
#[derive(Default)]
struct World {
    sums: BTreeMap<Bytes, i64>,
    done: BTreeMap<(ClientId, Sequence), Response>,
    asked: Vec<(NodeId, Session)>,
    manners: BTreeMap<NodeId, Manner>,
    /// How the next requests are met, whoever gets them.
    next: VecDeque<Manner>,
}

impl World {
    /// `None`: no answer.
    fn ask(&mut self, node: NodeId, request: &Request) -> Option<Response> {
        self.asked.push((node, request.session));
        let sequence = request.session.sequence;
        let told = Told { level: Level::Strong, stamp: Stamp(sequence.0), ..Told::default() };
        let say = |outcome| Some(Response { sequence, told, outcome });
        let manner = self.next.pop_front().unwrap_or(self.manners[&node]);
        match manner {
            Manner::Silent => return None,
            Manner::Points(leader) => {
                return say(Outcome::Refused(Refusal::NotLeader(Some(NodeId(leader)))));
            }
            Manner::Refuses(refusal) => return say(Outcome::Refused(refusal)),
            Manner::LosesIt => return say(Outcome::Unknown),
            Manner::Does | Manner::DoesInSilence => {}
        }
        let key = (request.session.client, sequence);
        if !self.done.contains_key(&key) {
            let reply = match &request.op {
                Op::Write(Command::Increment { key, by }) => {
                    let sum = self.sums.entry(key.clone()).or_default();
                    *sum += by;
                    Reply::Number { number: *sum, version: Version(1) }
                }
                Op::Write(Command::Transaction(_)) => {
                    Reply::Committed { version: Version(1), numbers: vec![] }
                }
                _ => Reply::Value(None),
            };
            let response = Response { sequence, told, outcome: Outcome::Ok(reply) };
            self.done.insert(key, response);
        }
        (manner == Manner::Does).then(|| self.done[&key].clone())
    }
}

type Shared = Arc<Mutex<World>>;

fn identity(node: u64) -> Identity {
    Identity { cluster: CLUSTER, node: NodeId(node), directory: Uuid([node as u8; 16]) }
}

fn serve(os: &Os, node: u64, listener: OsListener, world: Shared) -> OsHandle {
    let (into, mut told) = queue(64);
    let members = vec![(NodeId(node), listener.local())];
    let setup = Setup {
        own: identity(node),
        members,
        options: LinkOptions { asks_node: false, ..LinkOptions::default() },
        settings: Bytes::new(),
    };
    let links = Links::start(os, setup, listener, into);
    os.task().spawn("server", async move {
        while let Ok(told) = told.recv().await {
            let Incoming::Request { caller, request } = told else { continue };
            let response = world.lock().unwrap().ask(NodeId(node), &request);
            if let Some(response) = response {
                links.answer(caller, &response);
            }
        }
    })
}

/// Servers of these manners, and a client of theirs that asks the first one first.
struct Cluster {
    os: Os,
    world: Shared,
    addresses: Vec<SocketAddr>,
    servers: Vec<Option<OsHandle>>,
    client: Arc<Client<Os>>,
}

impl Cluster {
    /// One node is waited for so long.
    async fn start(os: &Os, manners: &[Manner], attempt_ms: u64) -> Self {
        let world = Shared::default();
        let (mut addresses, mut servers) = (Vec::new(), Vec::new());
        for (node, manner) in (1..).zip(manners) {
            let listener = os.net().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            addresses.push(listener.local());
            world.lock().unwrap().manners.insert(NodeId(node), *manner);
            servers.push(Some(serve(os, node, listener, Arc::clone(&world))));
        }
        let options = ClientOptions {
            // A multiple of every small number of nodes: the first one is asked first.
            client: Some(ClientId(60)),
            cluster: CLUSTER,
            attempt_within: Duration::from_millis(attempt_ms),
            ..ClientOptions::default()
        };
        let client = Arc::new(Client::start(os, &addresses, options));
        let cluster = Self { os: os.clone(), world, addresses, servers, client };
        // All lines are up by then.
        cluster.sleep(100).await;
        cluster
    }

    async fn sleep(&self, ms: u64) {
        let clock = self.os.clock();
        clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
    }

    /// Options of a client of its own.
    fn options(&self) -> ClientOptions {
        let attempt_within = Duration::from_millis(300);
        ClientOptions { cluster: CLUSTER, attempt_within, ..ClientOptions::default() }
    }

    fn behave(&self, node: u64, manner: Manner) {
        self.world.lock().unwrap().manners.insert(NodeId(node), manner);
    }

    async fn add(&self, key: &'static str, within_ms: u64) -> Outcome {
        let op = Op::Write(Command::Increment { key: Bytes::from_static(key.as_bytes()), by: 1 });
        self.client.call(op, Wish::strong(Duration::from_millis(within_ms))).await.outcome
    }

    fn sum(&self, key: &'static str) -> i64 {
        let key = Bytes::from_static(key.as_bytes());
        self.world.lock().unwrap().sums.get(&key).copied().unwrap_or_default()
    }

    /// Which nodes were asked, in order.
    fn asked(&self) -> Vec<u64> {
        self.world.lock().unwrap().asked.iter().map(|(node, _)| node.0).collect()
    }
}

fn run<F: Future>(name: &str, test: impl FnOnce(Os) -> F) {
    run_core(std::env::temp_dir().join(format!("trilith-client-{name}")), test).unwrap();
}

fn number(number: i64) -> Outcome {
    Outcome::Ok(Reply::Number { number, version: Version(1) })
}

#[test]
fn many_calls_on_one_connection_each_hear_their_own_answer() {
    run("many", async |os| {
        let cluster = Cluster::start(&os, &[Manner::Does], 20_000).await;
        let (done, mut heard) = queue(600);
        let mut tasks = Vec::new();
        for key in 0..500_u64 {
            let (client, done) = (Arc::clone(&cluster.client), done.clone());
            tasks.push(os.task().spawn("call", async move {
                let by = key as i64 + 1;
                let op = Op::Write(Command::Increment { key: key.to_string().into(), by });
                let response = client.call(op, Wish::strong(Duration::from_secs(10))).await;
                done.send((by, response.outcome)).await.unwrap();
            }));
        }
        for _ in 0..500 {
            let (by, outcome) = heard.recv().await.unwrap();
            assert_eq!(outcome, number(by));
        }
        for task in tasks {
            task.join().await;
        }
        // Everything that was asked has been heard: the next one says so.
        cluster.add("last", 20_000).await;
        let world = cluster.world.lock().unwrap();
        let (_, last) = *world.asked.last().unwrap();
        assert_eq!(
            (world.asked.len(), last.sequence, last.oldest),
            (501, Sequence(501), Sequence(501))
        );
        assert!(last.since > Stamp(0));
    });
}

#[test]
fn a_call_follows_the_leader_and_the_next_one_knows_it() {
    run("leader", async |os| {
        let manners = [Manner::Points(3), Manner::Silent, Manner::Does];
        let cluster = Cluster::start(&os, &manners, 20_000).await;
        assert_eq!(cluster.add("a", 20_000).await, number(1));
        assert_eq!(cluster.add("a", 20_000).await, number(2));
        assert_eq!(cluster.asked(), [1, 3, 3]);
    });
}

#[test]
fn a_call_that_was_heard_and_not_answered_is_done_once() {
    run("once", async |os| {
        let cluster = Cluster::start(&os, &[Manner::DoesInSilence, Manner::Does], 100).await;
        assert_eq!(cluster.add("a", 20_000).await, number(1));
        assert_eq!(cluster.sum("a"), 1);
        let sessions = cluster.world.lock().unwrap().asked.clone();
        assert!(sessions.len() > 1);
        assert!(sessions.iter().all(|(_, session)| *session == sessions[0].1));
    });
}

#[test]
fn a_call_outlives_its_connection() {
    run("lost", async |os| {
        let mut cluster = Cluster::start(&os, &[Manner::DoesInSilence, Manner::Does], 20_000).await;
        let client = Arc::clone(&cluster.client);
        let (done, mut heard) = queue(1);
        let _call = os.task().spawn("call", async move {
            let op = Op::Write(Command::Increment { key: Bytes::from_static(b"a"), by: 1 });
            let wish = Wish::strong(Duration::from_secs(15));
            done.send(client.call(op, wish).await.outcome).await.unwrap();
        });
        cluster.sleep(30).await;
        assert_eq!(cluster.asked(), [1]);
        cluster.servers[0] = None;
        // One attempt may take longer than the whole call: it is the connection's end that is heard.
        assert_eq!(heard.recv().await.unwrap(), number(1));
        assert_eq!(cluster.sum("a"), 1);
    });
}

#[test]
fn what_may_have_happened_is_unknown_and_never_refused() {
    run("unknown", async |os| {
        let cluster = Cluster::start(&os, &[Manner::DoesInSilence], 100).await;
        assert_eq!(cluster.add("a", 250).await, Outcome::Unknown);
        assert_eq!(cluster.sum("a"), 1);
        // The first attempt may have been heard: a later refusal says nothing about it.
        let cluster = Cluster::start(&os, &[Manner::Silent], 100).await;
        let refuse = Manner::Refuses(Refusal::Overloaded);
        let (call, turn) = (cluster.add("a", 400), async {
            cluster.sleep(50).await;
            cluster.behave(1, refuse);
            std::future::pending::<()>().await;
        });
        let trilith_engine::runtime::Either::Left(outcome) =
            trilith_engine::runtime::race(call, turn).await
        else {
            panic!("the call ends")
        };
        assert_eq!(outcome, Outcome::Unknown);
        cluster.behave(1, Manner::Refuses(Refusal::FromTheFuture));
        assert_eq!(cluster.add("a", 20_000).await, Outcome::Refused(Refusal::FromTheFuture));
        cluster.behave(1, Manner::LosesIt);
        assert_eq!(cluster.add("a", 100).await, Outcome::Unknown);
        // A read that nobody answered did nothing.
        cluster.behave(1, Manner::Silent);
        let get = Op::Get(Bytes::from_static(b"a"));
        let read = cluster.client.call(get, Wish::strong(Duration::from_millis(150))).await;
        assert_eq!(read.outcome, Outcome::Refused(Refusal::TooLate));
        // What was never sent did not happen either.
        let nobody =
            Client::start(&os, &["127.0.0.1:1".parse().unwrap()], ClientOptions::default());
        let op = Op::Write(Command::Increment { key: Bytes::from_static(b"a"), by: 1 });
        let outcome = nobody.call(op, Wish::strong(Duration::from_millis(50))).await.outcome;
        assert_eq!(outcome, Outcome::Refused(Refusal::TooLate));
    });
}

#[test]
fn what_cannot_be_said_is_refused_before_it_is_sent() {
    run("limits", async |os| {
        let cluster = Cluster::start(&os, &[Manner::Does], 20_000).await;
        let long = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1]);
        let short = Bytes::from_static(b"a");
        let value = Bytes::from(vec![b'v'; VALUE_BYTES_MAX_CLUSTER + 1]);
        let scan = |start, end| {
            Op::Scan(Scan {
                group: GroupId(1),
                start,
                end,
                keys_max: 1,
                bytes_max: 1,
                has_values: true,
            })
        };
        let wrong = [
            (Op::Get(long.clone()), Refusal::KeyTooLong),
            (Op::GetMany(vec![short.clone(), long.clone()]), Refusal::KeyTooLong),
            (scan(Bound::Included(long.clone()), Bound::Unbounded), Refusal::KeyTooLong),
            (scan(Bound::Unbounded, Bound::Excluded(long.clone())), Refusal::KeyTooLong),
            (Op::Write(Command::Increment { key: long, by: 1 }), Refusal::KeyTooLong),
            (Op::Write(Command::Append { key: short.clone(), value }), Refusal::ValueTooLong),
            (Op::GetMany(vec![short; GET_KEYS_MAX + 1]), Refusal::TooLarge),
        ];
        for (op, refusal) in wrong {
            let said = cluster.client.call(op, Wish::strong(Duration::from_secs(20))).await;
            assert_eq!(said.outcome, Outcome::Refused(refusal));
        }
        assert_eq!((cluster.add("a", 20_000).await, cluster.asked()), (number(1), vec![1]));
    });
}

#[test]
fn a_call_waits_for_room_instead_of_being_refused() {
    run("room", async |os| {
        let cluster = Cluster::start(&os, &[Manner::Silent], 200).await;
        let many = CLIENT_IN_FLIGHT_MAX as i64 + 100;
        let (done, mut heard) = queue(many as usize);
        let mut tasks = Vec::new();
        for _ in 0..many {
            let (client, done) = (Arc::clone(&cluster.client), done.clone());
            tasks.push(os.task().spawn("call", async move {
                let op = Op::Write(Command::Increment { key: Bytes::from_static(b"a"), by: 1 });
                let response = client.call(op, Wish::strong(Duration::from_secs(15))).await;
                done.send(response.outcome).await.unwrap();
            }));
        }
        cluster.sleep(50).await;
        assert_eq!(cluster.asked().len(), CLIENT_IN_FLIGHT_MAX);
        cluster.behave(1, Manner::Does);
        for _ in 0..many {
            assert!(matches!(heard.recv().await.unwrap(), Outcome::Ok(_)));
        }
        assert_eq!(cluster.sum("a"), many);
        // Who has no time to wait is told that nothing happened.
        cluster.behave(1, Manner::Silent);
        let calls = (0..CLIENT_IN_FLIGHT_MAX).map(|_| {
            let op = Op::Get(Bytes::from_static(b"a"));
            cluster.client.ask(op, Wish::strong(Duration::from_secs(15))).unwrap()
        });
        let _held: Vec<_> = calls.collect();
        let refused = Outcome::Refused(Refusal::Overloaded);
        assert_eq!(cluster.add("a", 30).await, refused);
    });
}

#[test]
fn an_attempt_has_its_time_from_when_it_begins() {
    run("late", async |os| {
        let cluster = Cluster::start(&os, &[Manner::Does], 100).await;
        let op = Op::Write(Command::Increment { key: Bytes::from_static(b"a"), by: 1 });
        let wish = Wish::strong(Duration::from_secs(15));
        let mut ask = cluster.client.ask(op, wish).unwrap();
        cluster.sleep(150).await;
        let first = ask.once().await.map(|response| response.outcome);
        assert_eq!((first, cluster.asked()), (Some(number(1)), vec![1]));
    });
}

/// What a connection of a Redis client asks in one go of a cluster of two groups; `a` and `d` lie in
/// one of them, and `b` in the other.
async fn pipeline(os: &Os, next: &[Manner], lines: &[&str]) -> Vec<String> {
    let cluster = Cluster::start(os, &[Manner::Does], 300).await;
    cluster.world.lock().unwrap().next.extend(next);
    let lane =
        Client::start(os, &cluster.addresses, ClientOptions { groups: 2, ..cluster.options() });
    cluster.sleep(100).await;
    let front = Front::new(os.clone(), vec![lane].into(), 2, 1);
    let act = |line: &&str| {
        let words = split(line.as_bytes()).unwrap();
        Act::read(COMMANDS.of(&words).unwrap(), &words).unwrap().unwrap()
    };
    let direct = |line: &&str| front.direct(act(line));
    let mood = Mood::default();
    let said = match lines.iter().map(direct).collect::<Result<Vec<_>, _>>() {
        Ok(acts) => front.run(&mut Way::new(1), acts, &mood).await,
        Err(_) => vec![front.perform(&mut Way::new(1), act(&lines[0]), &mood).await],
    };
    let text = |said: Said| match said {
        Said::Error(text) => text.split(' ').next().unwrap().to_string(),
        Said::Number(number) => number.to_string(),
        said => format!("{said:?}"),
    };
    said.into_iter().map(text).collect()
}

#[test]
fn a_write_is_not_tried_again_behind_another_of_its_group() {
    run("order", async |os| {
        let full = Manner::Refuses(Refusal::DiskFull);
        // It was done.
        let said = pipeline(&os, &[full, Manner::Does], &["incr a", "incr d"]).await;
        assert_eq!(said, ["OOM", "1"]);
        // It may have been.
        let said = pipeline(&os, &[full, Manner::DoesInSilence], &["incr a", "incr d"]).await;
        assert_eq!(said, ["OOM", "1"]);
        let silent = [Manner::Silent, Manner::Silent];
        assert_eq!(pipeline(&os, &silent, &["incr a", "incr d"]).await, ["INDOUBT", "1"]);
        // It was refused, too.
        assert_eq!(pipeline(&os, &[full, full], &["incr a", "incr d"]).await, ["1", "1"]);
        // It is of another group.
        assert_eq!(pipeline(&os, &[full, Manner::Does], &["incr a", "incr b"]).await, ["1", "1"]);
    });
}

#[test]
fn what_was_done_in_part_is_in_doubt() {
    run("parts", async |os| {
        let never = Manner::Refuses(Refusal::TooLarge);
        assert_eq!(pipeline(&os, &[], &["mset a 1 b 2"]).await, ["Ok"]);
        assert_eq!(pipeline(&os, &[never], &["mset a 1 b 2"]).await, ["ERR"]);
        let said = pipeline(&os, &[Manner::Does, never], &["mset a 1 b 2"]).await;
        assert_eq!(said, ["INDOUBT"]);
    });
}

async fn frame(stream: &mut OsStream, decoder: &mut Decoder) -> Option<frame::Frame> {
    loop {
        if let Some(frame) = decoder.take().unwrap() {
            return Some(frame);
        }
        let mut buffer = [0; 1000];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => decoder.feed(&buffer[..read]),
        }
    }
}

async fn write(stream: &mut OsStream, bytes: &[u8]) {
    let mut written = 0;
    while written < bytes.len() {
        written += stream.write(&bytes[written..]).await.unwrap();
    }
}

fn request(client: u64) -> BytesMut {
    let session = Session {
        client: ClientId(client),
        sequence: Sequence(1),
        oldest: Sequence(1),
        since: Stamp(0),
    };
    let op = Op::Get(Bytes::from_static(b"a"));
    let request = Request { session, level: Level::Strong, patience_ms: 9, staleness_ms: 0, op };
    let mut out = BytesMut::new();
    frame::encode(&mut out, Kind::Request, |out| request.encode(out)).unwrap();
    out
}

#[test]
fn a_hostile_client_ends_its_own_connection_and_no_other() {
    run("hostile", async |os| {
        let cluster = Cluster::start(&os, &[Manner::Does], 20_000).await;
        let mut no_request = BytesMut::new();
        frame::encode(&mut no_request, Kind::Request, |out| out.extend_from_slice(b"x")).unwrap();
        let mut pushy = BytesMut::new();
        frame::encode(&mut pushy, Kind::Raft, |_| {}).unwrap();
        let mut altered = request(5);
        altered[20] ^= 1;
        for bytes in [no_request, pushy, altered, request(60)] {
            let deadline = os.clock().now() + Duration::from_secs(5);
            let mut stream = os.net().connect(cluster.addresses[0], deadline).await.unwrap();
            let purpose = Purpose::Client { client: ClientId(5), cluster: Uuid::default() };
            let mut words = BytesMut::new();
            Hello { versions: Versions::OURS, purpose }.put(&mut words);
            write(&mut stream, &words).await;
            let mut decoder = Decoder::new(1000);
            let welcome = Welcome::take(&frame(&mut stream, &mut decoder).await.unwrap()).unwrap();
            words.clear();
            Ready { token: welcome.token }.put(&mut words);
            words.extend_from_slice(&request(5));
            write(&mut stream, &words).await;
            decoder.agreed(1000, FRAME_BODY_BYTES_MAX);
            let answer = frame(&mut stream, &mut decoder).await.unwrap();
            assert_eq!(Response::decode(&answer.body).unwrap().sequence, Sequence(1));
            write(&mut stream, &bytes).await;
            let answer = timeout(os.clock(), deadline, frame(&mut stream, &mut decoder)).await;
            assert_eq!(Why::take(&answer.unwrap().unwrap()), Ok(Why::Garbage));
        }
        assert_eq!(cluster.add("a", 20_000).await, number(1));
        assert_eq!(cluster.asked().len(), 5);
    });
}
