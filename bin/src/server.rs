//! `trilith server`: one node of a cluster, over real files and sockets, until it is told to stop.
//!
//! Not here: how a node runs as a process and fails as one (`member.rs`), one that is alone
//! (`standalone.rs`), clients (`cli.rs`).

use clap::Args;
use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};
use trilith_engine::{raft::LeaseConfig, shard::ShardOptions, types::NodeId};
use trilith_net::node::{Cluster, Misconfigured, NodeOptions};

use crate::{
    failure::Outcome,
    member::{Guests, Member, misconfigured},
    out::Out,
};

/// A lease must end before anybody may elect another leader, and a little earlier.
const LEASE_MARGIN: Duration = Duration::from_millis(100);

/// Which node of which cluster, and where.
#[derive(Args, Debug)]
pub struct Server {
    /// The number of this node, from 1.
    #[arg(long)]
    node: u64,
    /// All members, this one among them; the same for every node.
    #[arg(long, required = true, value_delimiter = ',', value_name = "1=IP:PORT,…")]
    members: Vec<Listed>,
    /// Where this node keeps its data; made when it is not there.
    #[arg(long, value_name = "DIRECTORY")]
    data: PathBuf,
    /// The cluster's name; the same for every node.
    #[arg(long, default_value = "default", value_name = "NAME")]
    cluster: String,
    /// How many groups the keys are split over; the same for every node, and for ever.
    #[arg(long, default_value_t = 1)]
    groups: u16,
    /// Where to listen, when that is not this node's address among the members.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Where Redis clients are served; without it nowhere.
    #[arg(long, value_name = "IP:PORT")]
    resp: Option<SocketAddr>,
    #[command(flatten)]
    guests: Guests,
    /// How long a leader may be silent before others replace it; the same for every node.
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    election_ms: u64,
    /// How far the rates of two nodes' clocks differ at most, in millionths: given, leaders serve
    /// reads without asking the others; the same for every node.
    #[arg(long, value_name = "PPM", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    drift_ppm: Option<u32>,
    /// Journals as small as the simulator's, for who wants to see them rotate.
    #[arg(long, hide = true)]
    tiny: bool,
}

/// A member and where it listens.
#[derive(Clone, Copy, Debug)]
struct Listed(NodeId, SocketAddr);

impl FromStr for Listed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, at) = text.split_once('=').ok_or("a member is like 1=127.0.0.1:7381")?;
        let node = node.trim().parse().map_err(|why| format!("the number {node:?}: {why}"))?;
        let at = at.trim().parse().map_err(|why| format!("the address {at:?}: {why}"))?;
        Ok(Self(NodeId(node), at))
    }
}

/// Runs it to its end.
pub fn run(server: Server, out: Out) -> Outcome {
    let options = server.options().map_err(|why| misconfigured(&why))?;
    server.guests.check_exposure(&options)?;
    Member { options, cluster: server.cluster, data: server.data }.run(out)
}

impl Server {
    fn options(&self) -> Result<NodeOptions, Misconfigured> {
        let members = self.members.iter().map(|Listed(node, at)| (*node, *at)).collect();
        let cluster = Cluster::new(&self.cluster, members, self.groups)?;
        let mut options = NodeOptions::new(NodeId(self.node), cluster);
        options.listen = self.listen;
        options.resp = self.resp;
        options.resp_within = self.guests.within();
        let election = Duration::from_millis(self.election_ms);
        let raft = &mut options.shard.raft;
        raft.election = election;
        raft.heartbeat = election / 10;
        raft.lease = self.drift_ppm.map(|drift_ppm| LeaseConfig {
            duration: election.saturating_sub(LEASE_MARGIN).max(election / 2),
            drift_ppm,
        });
        if self.tiny {
            make_tiny(&mut options.shard);
        }
        Ok(options)
    }
}

/// Within seconds journals rotate, are compacted and cut, and who was away needs a snapshot.
const fn make_tiny(shard: &mut ShardOptions) {
    shard.retain_bytes = 32 << 10;
    shard.cache_bytes = 4 << 10;
    shard.journal.first_segment_bytes = 16 << 10;
    shard.journal.segment_bytes_max = 64 << 10;
    shard.journal.manifest_bytes = 8 << 10;
    shard.journal.reserve_bytes = 64 << 10;
    shard.compaction.dead_bytes_min = 16 << 10;
}
