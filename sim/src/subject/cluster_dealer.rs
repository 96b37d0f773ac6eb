//! Somebody who makes transactions: reads several lists at one moment, and appends to some of them if
//! none has changed since.
//!
//! A transaction's checks make its reads and writes one: between reading and writing, nothing of
//! what was read may change. So all of it must fit into one order with everybody else's.
//!
//! Not here: whether there is such an order (`check/cycles`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_engine::{
    command::{
        Check, Command, Expiry, Found, Level, Op, Outcome as Told, Reply, Transaction, Write,
    },
    mark,
    runtime::{Clock, Rng, Runtime},
};
use trilith_net::{
    client::{Client, Wish},
    peer::proof::Secret,
};

use super::cluster_client::options;
use crate::{
    check::cycles::{Deeds, End, Step, Transaction as Deed},
    history::{Key, Value},
    os::SimRuntime,
};

/// How many lists lie together, and how many such places there are.
const TOGETHER: u64 = 4;
const PLACES: u64 = 3;
/// The longest pause between two transactions.
const THINKS_MS: u64 = 120;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_millis(900);

/// A list, by its name: what is in braces decides where it lies.
fn name(list: Key) -> Bytes {
    let (place, nth) = (u64::from(list) / TOGETHER, u64::from(list) % TOGETHER);
    Bytes::from(format!("{{place{place}}}list{nth}"))
}

fn list_of(found: Option<&Found>) -> Vec<Value> {
    let bytes = found.map_or(&[][..], |found| &found.value);
    bytes
        .chunks_exact(8)
        .map(|one| Value::from_be_bytes(one.try_into().unwrap_or_default()))
        .collect()
}

/// Deals until the world has this time. Nobody else may have this number.
pub async fn run(
    rt: SimRuntime,
    (nodes, secret): (Arc<[SocketAddr]>, Option<Secret>),
    number: u32,
    deeds: Deeds,
    until: Duration,
) {
    let mut luck = rt.rng("dealer");
    let client = Client::start(&rt, &nodes, options(secret));
    let mut last = Value::from(number) << 32;
    while Duration::from_nanos(rt.true_time_ns()) < until {
        let thinks = Duration::from_millis(luck.range(0..THINKS_MS));
        rt.clock().sleep_until(rt.clock().now() + thinks).await;
        let place = luck.range(0..PLACES) * TOGETHER;
        let all = (place..place + TOGETHER).map(|list| list as Key);
        let lists: Vec<Key> = all.filter(|_| luck.chance(1, 2)).collect();
        if lists.is_empty() {
            continue;
        }
        let began = rt.true_time_ns();
        let Some(found) = read(&client, &lists).await else { continue };
        let mut steps: Vec<Step> = lists
            .iter()
            .zip(&found)
            .map(|(list, found)| Step::Read(*list, list_of(found.as_ref())))
            .collect();
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        for (list, found) in lists.iter().zip(&found) {
            checks.push(Check { key: name(*list), version: found.as_ref().map(|one| one.version) });
            if !luck.chance(1, 2) {
                continue;
            }
            last += 1;
            steps.push(Step::Append(*list, last));
            let mut value = found.as_ref().map_or_else(Vec::new, |one| one.value.to_vec());
            value.extend_from_slice(&last.to_be_bytes());
            writes.push(Write::Set { key: name(*list), value: value.into(), expiry: Expiry::None });
        }
        let end = match writes.is_empty() {
            true => End::Committed,
            false => {
                // Something computed and something deleted go along.
                let beside =
                    |what: &str| Bytes::from(format!("{{place{}}}{what}", place / TOGETHER));
                writes.push(Write::Increment { key: beside("count"), by: 1 });
                writes.push(Write::Delete { key: beside("nothing") });
                write(&client, checks, writes).await
            }
        };
        deeds.done(Deed { steps, end, began, ended: rt.true_time_ns() });
    }
}

async fn read(client: &Client<SimRuntime>, lists: &[Key]) -> Option<Vec<Option<Found>>> {
    let op = Op::GetMany(lists.iter().map(|list| name(*list)).collect());
    let wish = Wish { level: Level::Strong, staleness_ms: 0, within: PATIENCE };
    match client.call(op, wish).await.outcome {
        Told::Ok(Reply::Values(found)) => Some(found),
        _ => None,
    }
}

async fn write(client: &Client<SimRuntime>, checks: Vec<Check>, writes: Vec<Write>) -> End {
    let Ok(transaction) = Transaction::new(checks, writes) else { return End::Aborted };
    let op = Op::Write(Command::Transaction(transaction));
    match client.call(op, Wish::strong(PATIENCE)).await.outcome {
        Told::Ok(Reply::Committed { .. }) => End::Committed,
        Told::Ok(Reply::Conflict { .. }) => {
            mark!("cluster: a transaction met a conflict");
            End::Aborted
        }
        Told::Ok(_) | Told::Refused(_) => End::Aborted,
        Told::Unknown => {
            mark!("cluster: nobody knows what became of a transaction");
            End::Unknown
        }
    }
}
