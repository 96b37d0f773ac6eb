//! Lanes: the clients inside a node, by which other protocols ask the cluster.
//!
//! A client has room for a bounded number of calls, and a session in every group that it writes to;
//! so connections of other protocols share a few of them.
//!
//! Not here: what they are asked (`resp/front.rs`, `http/desk.rs`).

use std::{net::SocketAddr, sync::Arc};

use trilith_engine::{
    runtime::{Runtime, Sender},
    shard::{Caller, Inbound},
};

use super::Cluster;
use crate::{
    client::{Client, ClientOptions, Ear, Inside},
    limits::NODE_LANES,
    peer::{hello::Identity, proof::Secret},
};

/// Callers from there on are lanes; connections count from 1 and never come so far.
const FIRST: u64 = 1 << 63;

/// Which lane a caller is, if it is one.
pub(super) fn nth(caller: Caller) -> Option<usize> {
    usize::try_from(caller.0.checked_sub(FIRST)?).ok()
}

/// The lanes of a node, and what hears for them.
pub(super) fn open<R: Runtime>(
    rt: &R,
    identity: Identity,
    (cluster, secret): (&Cluster, Option<Secret>),
    into: &Sender<Inbound>,
) -> (Arc<[Client<R>]>, Vec<Ear<R>>) {
    let node = identity.node;
    let others = cluster.members().iter().filter(|(member, _)| *member != node);
    let others: Vec<SocketAddr> = others.map(|(_, at)| *at).collect();
    let lanes = (0..NODE_LANES).map(|nth| {
        let inside = Inside { node, caller: Caller(FIRST + nth), into: into.clone() };
        let (groups, own) = (cluster.groups(), identity.cluster);
        let usual = ClientOptions::default();
        let options = ClientOptions { cluster: own, groups, secret, ..usual };
        Client::inside(rt, inside, &others, options)
    });
    let (lanes, ears): (Vec<Client<R>>, _) = lanes.unzip();
    (lanes.into(), ears)
}
