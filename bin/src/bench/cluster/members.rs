//! The processes of a cluster.
//!
//! Not here: what they are told (`ours.rs`, `etcd.rs`).

use std::net::SocketAddr;

use trilith_net::{client::ClientOptions, peer::proof::Secret};

use crate::{bench::meter::cpu_ticks, process::Process};

/// The members of a cluster.
#[derive(Debug)]
pub(super) struct Members {
    /// Where each takes requests.
    pub(super) addresses: Vec<SocketAddr>,
    /// Where each takes those of Redis clients, in the same order; nowhere if nobody asked for it.
    pub(super) resp: Vec<SocketAddr>,
    /// In the same order.
    pub(super) processes: Vec<Process>,
    /// What they know, where they are ours.
    pub(super) secret: Option<Secret>,
}

impl Members {
    /// A client that knows it too.
    pub(super) fn client(&self) -> ClientOptions {
        ClientOptions { secret: self.secret, ..ClientOptions::default() }
    }

    /// What each has spent on the CPU so far, in ticks.
    pub(super) fn ticks(&self) -> Vec<u64> {
        self.processes.iter().map(|process| cpu_ticks(process.id())).collect()
    }
}
