//! `trilith standalone`: one node that is a cluster by itself, with the ports for Redis and HTTP clients open.
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
use std::{net::Ipv4Addr, time::Duration};
use trilith_engine::types::NodeId;
use trilith_net::node::{Cluster, NodeOptions};

use crate::{
    config::{Flags, Settings},
    failure::Outcome,
    log,
    member::{Member, PEER_PORT, check_exposure, misconfigured},
    out::Out,
    server::apply,
};

/// The cluster's name. It is in the directory, so that such a directory is not taken for a member's.
const NAME: &str = "standalone";

/// Where it listens and keeps its data.
#[derive(Args, Debug)]
pub struct Standalone {
    #[command(flatten)]
    flags: Flags<true>,
}

/// Runs it to its end.
pub fn run(standalone: &Standalone, level: Option<tracing::Level>, out: Out) -> Outcome {
    let resolved = standalone.flags.resolve_all(level)?;
    log::begin(resolved.settings.log_level, resolved.settings.log_format)?;
    let mut options = plan(&resolved.settings)?;
    options.settings = Flags::<true>::told(&resolved);
    let farewell = Duration::from_millis(resolved.settings.farewell_ms);
    let data = resolved.settings.data.unwrap_or_default();
    Member { options, cluster: NAME.to_owned(), data, farewell }.run(out)
}

/// The node that these settings are of.
///
/// # Errors
/// What cannot be.
pub fn plan(settings: &Settings) -> Outcome<NodeOptions> {
    let node = NodeId(1);
    let cluster = Cluster::new(NAME, vec![(node, (Ipv4Addr::LOCALHOST, PEER_PORT).into())], 1);
    let mut options = NodeOptions::new(node, cluster.map_err(|why| misconfigured(&why))?);
    apply(settings, &mut options)?;
    let election = Duration::from_millis(settings.election_ms);
    (options.shard.raft.election, options.shard.raft.heartbeat) = (election, election / 3);
    check_exposure(&options, settings.insecure)?;
    Ok(options)
}
