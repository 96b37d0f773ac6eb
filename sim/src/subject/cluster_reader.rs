//! A reader of the cluster who takes what each node has, and writes down how old it says that is.
//!
//! It asks one node after the other, each by a client that knows only that one, so followers answer
//! as often as leaders, and nodes that are cut off from everybody but the reader do too.
//!
//! Not here: whether what they say is true (`check/fresh`), other clients (`cluster_client`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use trilith_engine::{
    command::{Level, Op, Outcome as Told, Reply, STALENESS_UNKNOWN_MS},
    mark,
    runtime::{Clock, Rng, Runtime},
};
use trilith_net::{
    client::{Client, Wish},
    peer::proof::Secret,
};

use super::cluster_client::{key_bytes, options};
use crate::{
    check::fresh::{Glance, Notes},
    history::Key,
    os::SimRuntime,
};

/// How long it waits between two questions, at most.
const THINKS_MS: u64 = 60;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_millis(150);

/// Reads until the world has this time.
pub async fn run(
    rt: SimRuntime,
    (nodes, secret): (Arc<[SocketAddr]>, Option<Secret>),
    keys: Arc<[Key]>,
    notes: Notes,
    until: Duration,
) {
    let mut luck = rt.rng("reader");
    let clients: Vec<_> =
        nodes.iter().map(|at| Client::start(&rt, &[*at], options(secret))).collect();
    while Duration::from_nanos(rt.true_time_ns()) < until && !keys.is_empty() {
        let thinks = Duration::from_millis(luck.range(0..THINKS_MS));
        rt.clock().sleep_until(rt.clock().now() + thinks).await;
        let node = luck.range(0..clients.len().max(1) as u64) as usize;
        let key = keys[luck.range(0..keys.len() as u64) as usize];
        // Mostly however old; now and then not older than a follower usually is.
        let allowed_ms = if luck.chance(1, 4) { luck.range(1..400) as u32 } else { 0 };
        let wish = Wish { level: Level::Eventual, staleness_ms: allowed_ms, within: PATIENCE };
        let asked_ns = rt.true_time_ns();
        let response = clients[node].call(Op::Get(key_bytes(key)), wish).await;
        let Told::Ok(Reply::Value(found)) = response.outcome else { continue };
        let (staleness_ms, applied) = (response.told.staleness_ms, response.told.applied);
        match staleness_ms {
            0 => mark!("cluster: a glance at the newest state"),
            STALENESS_UNKNOWN_MS => mark!("cluster: a glance at a state of unknown age"),
            _ => mark!("cluster: a glance at a state of known age"),
        }
        let found = found.map(|found| found.version);
        let node = node as u32;
        notes.glanced(Glance { node, key, asked_ns, allowed_ms, staleness_ms, applied, found });
    }
}
