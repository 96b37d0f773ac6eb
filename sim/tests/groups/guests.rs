//! Stories of clients of other protocols that take long to say who they are.
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

use super::stage::SECOND;

/// A node that only `default` may ask.
async fn serves(rt: SimRuntime) {
    let at = |port| rt.address(NodeId(0), port);
    let cluster = Cluster::new("sim", vec![(Member(1), at(7381))], 1).expect("it can be");
    let (mut users, cost) = (Users::default(), Cost { memory_kib: 8, passes: 1, lanes: 1 });
    let kept = Kept::make(b"secret", [7; 16], cost).expect("it is cheap");
    users.put("default", kept).expect("he may be called so");
    let setup = Setup { resp: Some(at(7379)), users, ..Setup::new(Member(1), cluster) };
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
