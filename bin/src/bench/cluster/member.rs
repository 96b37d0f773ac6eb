//! A node of the cluster that is measured: a shard and its links on the real doors, in a process.
//!
//! Not here: a node that an operator runs; this one has no configuration and tells nobody how it is.

use clap::Args;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use trilith_engine::{
    command::Response,
    packet::Envelope,
    raft::LeaseConfig,
    runtime::{Net, Runtime, queue},
    shard::{Caller, Founding, Inbound, Outbox, Shard, ShardOptions},
    types::{GroupId, NodeId, Uuid},
};
use trilith_net::{
    os::{Os, run_core},
    peer::{LinkOptions, Links, Setup, hello::Identity},
};

use crate::failure::{DISK, Failure, OPEN, Outcome};

/// Things that happen to a node and wait for it.
const INBOX: usize = 8192;

/// Which node, and who else there is.
#[derive(Args, Debug)]
pub(crate) struct Member {
    /// Its number, from 1.
    #[arg(long)]
    node: u64,
    /// Where all of them listen, in the order of their numbers.
    #[arg(long, value_delimiter = ',')]
    members: Vec<SocketAddr>,
    /// How many groups the slots are split over.
    #[arg(long, default_value_t = 1)]
    groups: u32,
    /// Where it keeps its data.
    #[arg(long)]
    dir: PathBuf,
    /// Whether reads are served from a lease.
    #[arg(long)]
    lease: bool,
}

/// Runs the node until it is killed or must stop.
pub(crate) fn run(member: &Member) -> Outcome {
    let ran = run_core(&member.dir, |os| member.live(os));
    let ended = ran.map_err(|error| Failure::new(&OPEN, error, "see ulimit -n"))?;
    ended.map_err(|why| Failure::new(&DISK, why, "read what the node logged"))
}

struct Wire(Arc<Mutex<Option<Links<Os>>>>);

impl Outbox for Wire {
    fn send(&mut self, envelope: Envelope) {
        if let Some(links) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            links.send(&envelope);
        }
    }

    fn respond(&mut self, caller: Caller, response: Response) {
        if let Some(links) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            links.answer(caller, &response);
        }
    }
}

impl Member {
    async fn live(&self, os: Os) -> Result<(), String> {
        let own = NodeId(self.node);
        let number = |at: usize| NodeId(at as u64 + 1);
        let founding = Founding {
            groups: (1..=self.groups).map(GroupId).collect(),
            members: (0..self.members.len()).map(number).collect(),
        };
        let mut options = ShardOptions::default();
        if self.lease {
            let duration = options.raft.election - Duration::from_millis(100);
            options.raft.lease = Some(LeaseConfig { duration, drift_ppm: 10_000 });
        }
        let links = Arc::new(Mutex::new(None));
        let wire = Wire(Arc::clone(&links));
        let opened = Shard::open(os.clone(), options, own, &founding, wire).await;
        let (shard, report) = opened.map_err(|why| why.to_string())?;
        let (into, inbox) = queue::<Inbound>(INBOX);
        let at = self.members.get(self.node as usize - 1).ok_or("no such member")?;
        let listener = os.net().listen(*at).await.map_err(|why| why.to_string())?;
        let members =
            self.members.iter().enumerate().map(|(at, address)| (number(at), *address)).collect();
        let own = Identity { cluster: Uuid([7; 16]), node: own, directory: report.node };
        let setup = Setup { own, members, options: LinkOptions::default() };
        let started = Links::start(&os, setup, listener, into);
        *links.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Err(shard.run(inbox).await.to_string())
    }
}
