//! Stories of clients of other protocols that take long to say who they are, or never do.
//!
//! Not here: what they ask (`scenarios/random`), their words (`net/tests/doors`).

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
    users::{Cost, Kept, Users},
};
use trilith_sim::{
    os::{SimRuntime, SimStream},
    world::{NodeId, NodeOptions, World, WorldOptions},
};

use super::{full::planted, stage::SECOND};

/// A node that only `default` may ask.
async fn serves(rt: SimRuntime) {
    let at = |port| rt.address(NodeId(0), port);
    let cluster = Cluster::new("sim", vec![(Member(1), at(7381))], 1).expect("it can be");
    let (mut users, cost) = (Users::default(), Cost { memory_kib: 8, passes: 1, lanes: 1 });
    let kept = Kept::make(b"secret", [7; 16], cost).expect("it is cheap");
    users.put("default", kept).expect("he may be called so");
    let doors = Setup {
        resp: Some(at(7379)),
        http: Some(at(7380)),
        text: Some(at(7382)),
        ..Setup::new(Member(1), cluster)
    };
    let setup = Setup { users, ..doors };
    let node = Node::start(&rt, setup, ()).await.expect("nothing is in its way");
    node.run().await;
}

/// What is answered, if anything is said; nothing when the connection has ended.
async fn asks(rt: &SimRuntime, stream: &mut SimStream, what: &str, within: Duration) -> String {
    if !what.is_empty() {
        let line = format!("{what}\r\n");
        let taken = stream.write(line.as_bytes()).await.expect("it listens");
        assert_eq!(taken, line.len());
    }
    let mut buffer = [0; 256];
    let deadline = rt.clock().now() + within;
    match timeout(rt.clock(), deadline, stream.read(&mut buffer)).await {
        Ok(Ok(0) | Err(_)) => "over".to_owned(),
        Ok(Ok(read)) => String::from_utf8_lossy(&buffer[..read]).trim_end().to_owned(),
        Err(_) => "silence".to_owned(),
    }
}

/// One who says nothing is sent away in time, and one who is known stays as long as he likes; when he
/// forgets who he is, his time begins then.
#[test]
fn a_stranger_does_not_stay_for_ever() {
    let mut world = World::new(1, WorldOptions::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    world.add("node", NodeOptions::default(), serves);
    let told = Arc::clone(&heard);
    world.add("clients", NodeOptions::default(), move |rt| {
        let told = Arc::clone(&told);
        async move {
            let (clock, at) = (rt.clock().clone(), rt.address(NodeId(0), 7379));
            clock.sleep_until(clock.now() + 5 * SECOND).await;
            let soon = clock.now() + SECOND;
            let mut mute = rt.net().connect(at, soon).await.expect("it serves");
            let mut known = rt.net().connect(at, soon).await.expect("it serves");
            let said = [
                asks(&rt, &mut known, "AUTH secret", SECOND).await,
                asks(&rt, &mut mute, "GET a", SECOND).await,
                asks(&rt, &mut mute, "", 50 * SECOND).await,
                asks(&rt, &mut mute, "", 20 * SECOND).await,
                asks(&rt, &mut known, "", 300 * SECOND).await,
                asks(&rt, &mut known, "RESET", SECOND).await,
                asks(&rt, &mut known, "", 50 * SECOND).await,
                asks(&rt, &mut known, "AUTH secret", SECOND).await,
                asks(&rt, &mut known, "RESET", SECOND).await,
                asks(&rt, &mut known, "", 70 * SECOND).await,
            ];
            told.lock().expect("nobody panics with it").extend(said);
        }
    });
    world.start_all();
    world.run_for(600 * SECOND);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    let stranger = "-NOAUTH Authentication required.";
    let expected = ["+OK", stranger, "silence", "over", "silence", "+RESET", "silence", "+OK"];
    assert_eq!(heard.lock().expect("nobody panics with it")[..8], expected);
    assert_eq!(heard.lock().expect("nobody panics with it")[8..], ["+RESET", "over"]);
}

/// For how many seconds a client is served who says so much again and again, every few seconds.
fn is_served(port: u16, says: &'static str, bugs: &[&str]) -> u64 {
    let mut world = World::new(1, planted(bugs));
    let heard = Arc::new(Mutex::new(0));
    world.add("node", NodeOptions::default(), serves);
    let told = Arc::clone(&heard);
    world.add("client", NodeOptions::default(), move |rt| {
        let told = Arc::clone(&told);
        async move {
            let (clock, at) = (rt.clock().clone(), rt.address(NodeId(0), port));
            clock.sleep_until(clock.now() + 5 * SECOND).await;
            let began = clock.now();
            let mut client = rt.net().connect(at, began + SECOND).await.expect("it serves");
            while clock.now().since(began) < 300 * SECOND {
                let mut left = says.as_bytes();
                while !left.is_empty() {
                    match client.write(left).await {
                        Ok(taken) => left = &left[taken..],
                        Err(_) => return,
                    }
                }
                // Whatever it is answered.
                let next = clock.now() + 4 * SECOND;
                let mut buffer = [0; 4096];
                while let Ok(read) = timeout(&clock, next, client.read(&mut buffer)).await {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                }
                *told.lock().expect("nobody panics with it") = clock.now().since(began).as_secs();
            }
        }
    });
    world.start_all();
    world.run_for(400 * SECOND);
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    *heard.lock().expect("nobody panics with it")
}

/// Nothing, what anybody may ask, what he may not, and somebody who is somebody else.
const STRANGERS: [(u16, &str); 6] = [
    (7380, "\r\n"),
    (7380, "GET /livez HTTP/1.1\r\n\r\n"),
    (7380, "GET /v1/status HTTP/1.1\r\n\r\n"),
    (7380, "GET /v1/status HTTP/1.1\r\nAuthorization: Basic YTpi\r\n\r\n"),
    (7382, "AUTH default guessed\n"),
    (7382, "AUTH nobody guessed\n"),
];

#[test]
fn strangers_stay_nowhere_for_ever_whatever_they_ask() {
    for (port, says) in STRANGERS {
        let served = is_served(port, says, &[]);
        assert!((40..=60).contains(&served), "{says:?}: {served} s");
    }
    let known = "GET /v1/status HTTP/1.1\r\nAuthorization: Basic ZGVmYXVsdDpzZWNyZXQ=\r\n\r\n";
    assert!(is_served(7380, known, &[]) >= 300);
    assert!(is_served(7382, "AUTH default secret\n", &[]) >= 300);
}

#[cfg(feature = "mutants")]
#[test]
fn strangers_who_stay_are_noticed() {
    for (port, says) in STRANGERS {
        let bug = if port == 7380 { "http_strangers_stay" } else { "text_strangers_stay" };
        assert!(is_served(port, says, &[bug]) >= 300, "{says:?}");
    }
}
