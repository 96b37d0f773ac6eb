//! `trilith server`: one node of a cluster, over real files and sockets, until it is told to stop.
//!
//! A node is one core: its event loop runs on this thread, and what may wait for the disk runs on
//! tokio's blocking threads (`trilith_net::os`). Whoever has more processors than nodes gives each
//! node one; the cluster gains by more groups, not by more threads in a node.
//!
//! SIGTERM and ctrl-c end it in order: leaderships move, what was begun is answered, then it exits
//! with 0. A second one ends it at once, which loses nothing either.
//!
//! Standard output says one thing, once: that the node listens, and where. Everything else is log
//! lines on standard error.
//!
//! Not here: what a node is (`trilith_net::node`), clients (`cli.rs`).

use clap::Args;
use std::{net::SocketAddr, panic, path::PathBuf, process, str::FromStr, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use trilith_engine::{
    journal::JournalError,
    raft::LeaseConfig,
    runtime::{Either, NetErrorKind, race},
    shard::{self, ShardOptions, Stopped},
    types::NodeId,
};
use trilith_net::{
    node::{Cluster, Misconfigured, Node, NodeOptions, Remote, StartError},
    os::{Os, run_core},
};

use crate::{
    failure::{
        ADDRESS, CLOSED, CONFIGURATION, CORRUPT, DISK, FOREIGN, FULL, Failure, IN_USE, INTERNAL,
        Outcome,
    },
    out::Out,
    store::unopenable,
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
    members: Vec<Member>,
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
    /// Listens beyond this machine, though nobody is asked who he is yet.
    #[arg(long)]
    insecure: bool,
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
struct Member(NodeId, SocketAddr);

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, at) = text.split_once('=').ok_or("a member is like 1=127.0.0.1:7381")?;
        let node = node.trim().parse().map_err(|why| format!("the number {node:?}: {why}"))?;
        let at = at.trim().parse().map_err(|why| format!("the address {at:?}: {why}"))?;
        Ok(Self(NodeId(node), at))
    }
}

/// Runs it to its end.
pub fn run(server: &Server, out: Out) -> Outcome {
    let options = server.options().map_err(|why| misconfigured(&why))?;
    server.check_exposure(&options)?;
    end_at_a_panic();
    let ran = run_core(&server.data, |os| server.serve(os, options, out));
    ran.map_err(|error| {
        Failure::new(&INTERNAL, error, "see how many files may be open: ulimit -n")
    })?
}

impl Server {
    fn options(&self) -> Result<NodeOptions, Misconfigured> {
        let members = self.members.iter().map(|Member(node, at)| (*node, *at)).collect();
        let cluster = Cluster::new(&self.cluster, members, self.groups)?;
        let mut options = NodeOptions::new(NodeId(self.node), cluster);
        options.listen = self.listen;
        options.resp = self.resp;
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

    /// Whoever reaches the port may do everything, so others reach it only if that is wanted.
    fn check_exposure(&self, options: &NodeOptions) -> Outcome {
        let at = options.listens_at().map_err(|why| misconfigured(&why))?;
        let mut all = [Some(at), options.resp].into_iter().flatten();
        let Some(at) = all.find(|at| !self.insecure && !at.ip().is_loopback()) else {
            return Ok(());
        };
        let cause = format!("{at} is reached from other machines, and nobody is asked who he is");
        Err(Failure::new(
            &CONFIGURATION,
            cause,
            "keep it in a network you trust, and add --insecure",
        ))
    }

    async fn serve(&self, os: Os, options: NodeOptions, out: Out) -> Outcome {
        let started = Node::start(&os, options, ()).await;
        let node = started.map_err(|why| self.unstarted(&why))?;
        let (identity, report) = (node.identity(), node.report());
        out.facts(&[
            ("node", identity.node.0.into()),
            ("listens", node.listens().to_string().into()),
            ("cluster", self.cluster.as_str().into()),
            ("cluster_id", identity.cluster.to_string().into()),
            ("directory", self.data.display().to_string().into()),
            ("directory_id", identity.directory.to_string().into()),
            ("is_new", report.created.into()),
            ("resp", node.serves_resp().map_or_else(|| "off".into(), |at| at.to_string()).into()),
        ])?;
        out.next(&format!("trilith cli --at {} set hello world", node.listens()));
        let remote = node.remote();
        match race(node.run(), told_to_stop(remote)).await {
            Either::Left(Stopped::Asked) => Ok(()),
            Either::Left(why) => Err(self.stopped(&why)),
            Either::Right(told) => told,
        }
    }

    fn unstarted(&self, why: &StartError) -> Failure {
        match why {
            StartError::Misconfigured(why) => misconfigured(why),
            StartError::Listen(at, error) if error.kind == NetErrorKind::AddressInUse => {
                let next = format!("end what listens there (ss -ltnp 'sport = :{}')", at.port());
                Failure::new(&IN_USE, why, next)
            }
            StartError::Listen(..) => {
                Failure::new(&ADDRESS, why, "name an address of this machine: ip address")
            }
            StartError::Open(shard::OpenError::Journal(error)) => unopenable(&self.data, error),
            StartError::Open(_) => {
                let next = self.empty_it();
                Failure::new(&CORRUPT, format!("{}: {why}", self.data.display()), next)
            }
        }
    }

    fn stopped(&self, why: &Stopped) -> Failure {
        match why {
            Stopped::Journal(JournalError::NoSpace) => self.full(why),
            Stopped::Journal(_) => Failure::new(&DISK, why, "see the system's log: dmesg"),
            Stopped::Damaged(_) | Stopped::Diverged { .. } => {
                let next = self.empty_it();
                Failure::new(&CORRUPT, format!("{}: {why}", self.data.display()), next)
            }
            Stopped::Outcast { is_new: false, .. } => {
                Failure::new(&FOREIGN, format!("{}: {why}", self.data.display()), self.empty_it())
            }
            Stopped::Outcast { node, is_new: true, .. } => {
                let next = format!("trilith ctl replace {node}, and start it again");
                Failure::new(&FOREIGN, format!("{}: {why}", self.data.display()), next)
            }
            Stopped::Unreachable | Stopped::Asked => Failure::new(&CLOSED, why, "start it again"),
        }
    }

    /// What to do about a directory that cannot be this node's any more.
    fn empty_it(&self) -> String {
        let (data, node) = (self.data.display(), self.node);
        format!(
            "trilith inspect {data} tells more; the others have what it held: move it away, start \
             again, and trilith ctl replace {node}"
        )
    }

    fn full(&self, why: &impl std::fmt::Display) -> Failure {
        Failure::new(&FULL, why, format!("make room: df -h {}", self.data.display()))
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

/// A task that panicked has left its work half done, and whoever waits for it waits for ever: a node
/// that stands still looks alive to the others. So any panic is the end of the process.
fn end_at_a_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::abort();
    }));
}

fn misconfigured(why: &Misconfigured) -> Failure {
    Failure::new(&CONFIGURATION, why, "correct --node, --members, --cluster or --groups")
}

/// Ends the node in order at the first signal, and answers at the second.
async fn told_to_stop(remote: Remote) -> Outcome {
    let cannot = |error| Failure::new(&INTERNAL, error, "report it: signals cannot be heard");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    race(terminate.recv(), interrupt.recv()).await;
    remote.stop().await;
    race(terminate.recv(), interrupt.recv()).await;
    tracing::warn!("told to stop again: at once, then");
    Ok(())
}
