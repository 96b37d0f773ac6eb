//! Somebody who writes keys that are to be over soon, and looks at them; and clocks that are wrong.
//!
//! The clocks of a minority of the nodes are ahead when the nodes begin, by minutes or hours, and some are put
//! right later. What a minority's clocks say must not end anybody's data.
//!
//! Not here: what may be seen (`check/mortal`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Level, Op, Outcome as Told, Reply},
    mark,
    runtime::{Clock, Rng, Runtime},
};
use trilith_net::{
    client::{Client, Wish},
    peer::proof::Secret,
};

use super::cluster_client::options;
use crate::{
    check::mortal::Lives,
    fault::{Fault, FaultKind, FaultPlan, When},
    luck::{Domain, Luck},
    os::SimRuntime,
};

/// How long a key lives.
const LIVES_MS: std::ops::Range<u64> = 1500..3500;
/// The longest wait between two looks.
const THINKS_MS: u64 = 250;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often it looks at a key that is gone.
const LOOKS_AGAIN: u32 = 6;
/// How long the looks at a key take that is over in time.
const LOOKS_TAKE_MS: u64 = 1000;
/// How far ahead a wrong clock is.
const AHEAD_MS: std::ops::Range<u64> = 60_000..20_000_000;

/// How far each node's clock is off at the beginning, and when which is put right.
#[must_use]
pub fn wrong_clocks(seed: u64, nodes: u32, within_ms: u64) -> (Vec<i64>, FaultPlan) {
    let mut luck = Luck::new(seed, Domain::Load(u64::MAX));
    let mut offsets = vec![0; nodes as usize];
    let mut plan = FaultPlan::default();
    let first = luck.range(0..u64::from(nodes)) as u32;
    for nth in 0..(nodes - 1) / 2 {
        let node = (first + nth) % nodes;
        let ahead = luck.range(AHEAD_MS) as i64;
        offsets[node as usize] = ahead;
        if luck.chance(1, 2) {
            let when = When::AtMs(luck.range(0..within_ms.max(1)));
            plan.entries.push(Fault { when, what: FaultKind::WallJump { node, by_ms: -ahead } });
        }
    }
    (offsets, plan)
}

/// Writes and reads until the world has this time, and nothing later: who still asks when the world
/// ends leaves an answer on its way, and that looks like one that stays behind.
pub async fn run(
    rt: SimRuntime,
    (nodes, secret): (Arc<[SocketAddr]>, Option<Secret>),
    lives: Lives,
    until: Duration,
) {
    let mut luck = rt.rng("mortal");
    let options = options(secret);
    let all = Client::start(&rt, &nodes, options);
    let each: Vec<_> = nodes.iter().map(|at| Client::start(&rt, &[*at], options)).collect();
    let until = until.as_nanos() as u64;
    // No key begins to live that could not be looked at to its end.
    let begins_until = until.saturating_sub((LIVES_MS.end + LOOKS_TAKE_MS) * 1_000_000);
    for nth in 0.. {
        if rt.true_time_ns() >= begins_until {
            return;
        }
        // Each has a name of its own: a write of unknown outcome may come at any time.
        let key = Bytes::from(format!("mortal{nth}"));
        let ttl_ms = luck.range(LIVES_MS);
        let asked = rt.true_time_ns();
        let set = Op::Write(Command::Set {
            key: key.clone(),
            value: Bytes::from_static(b"1"),
            expiry: Expiry::After(ttl_ms),
            condition: Condition::Always,
            want_old: false,
        });
        let wish = Wish { level: Level::Strong, staleness_ms: 0, within: 3 * PATIENCE };
        if !matches!(all.call(set, wish).await.outcome, Told::Ok(Reply::Done { .. })) {
            continue;
        }
        lives.written((asked, rt.true_time_ns()), ttl_ms);
        mark!("cluster: a key was written that is to be over soon");
        let over_at = (asked + 4 * ttl_ms * 1_000_000 + 4_000_000_000).min(until);
        let mut gone = 0;
        while gone < LOOKS_AGAIN && rt.true_time_ns() < over_at {
            let thinks = Duration::from_millis(luck.range(0..THINKS_MS));
            rt.clock().sleep_until(rt.clock().now() + thinks).await;
            let asked = rt.true_time_ns();
            let wish = |level| Wish { level, staleness_ms: 0, within: PATIENCE };
            let response = if luck.chance(1, 2) {
                all.call(Op::Get(key.clone()), wish(Level::Strong)).await
            } else {
                let node = luck.range(0..each.len().max(1) as u64) as usize;
                each[node].call(Op::Get(key.clone()), wish(Level::Quorum)).await
            };
            let Told::Ok(Reply::Value(found)) = response.outcome else { continue };
            gone += u32::from(found.is_none());
            lives.read(asked, rt.true_time_ns(), found.is_some());
        }
    }
}
