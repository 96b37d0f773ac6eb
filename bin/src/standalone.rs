//! `trilith standalone`: one node that is a cluster by itself, with the Redis port open.
//!
//! It is the same node by the same path as a member of a cluster: a group of one, whose majority is
//! its own disk. So a write that was answered has survived a power cut here too, and what is true of
//! a cluster's state machine, journal and recovery is true of this one's.
//!
//! Its address is no part of what it is: it has nobody who must find it, and may listen elsewhere
//! tomorrow. What stands among the members is the default, whatever it listens at.
//!
//! Not here: how a node runs as a process (`member.rs`), several nodes (`server.rs`, `demo`).

use clap::Args;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use trilith_engine::types::NodeId;
use trilith_net::node::{Cluster, NodeOptions};

use crate::{
    failure::Outcome,
    member::{Guests, Member, PEER_PORT, RESP_PORT, misconfigured},
    out::Out,
};

/// The cluster's name. It is in the directory, so that such a directory is not taken for a member's.
const NAME: &str = "standalone";

/// Nobody else can lead, so there is nobody to give time to: the first write waits this long.
const ELECTION: Duration = Duration::from_millis(150);

/// Where it listens and keeps its data.
#[derive(Args, Debug)]
pub struct Standalone {
    /// Where it keeps its data; made when it is not there.
    #[arg(long, default_value = "trilith-data/standalone", value_name = "DIRECTORY")]
    data: PathBuf,
    /// Where Redis clients are served.
    #[arg(long, default_value_t = loopback(RESP_PORT), value_name = "IP:PORT")]
    resp: SocketAddr,
    /// Where `trilith cli` and `trilith ctl` are served.
    #[arg(long, default_value_t = loopback(PEER_PORT), value_name = "IP:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    guests: Guests,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Runs it to its end.
pub fn run(standalone: Standalone, out: Out) -> Outcome {
    let node = NodeId(1);
    let cluster = Cluster::new(NAME, vec![(node, loopback(PEER_PORT))], 1);
    let mut options = NodeOptions::new(node, cluster.map_err(|why| misconfigured(&why))?);
    options.listen = Some(standalone.listen);
    options.resp = Some(standalone.resp);
    options.resp_within = standalone.guests.within();
    options.shard.raft.election = ELECTION;
    options.shard.raft.heartbeat = ELECTION / 3;
    standalone.guests.check_exposure(&options)?;
    Member { options, cluster: NAME.to_owned(), data: standalone.data }.run(out)
}
