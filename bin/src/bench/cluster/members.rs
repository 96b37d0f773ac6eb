//! The processes of a cluster.
//!
//! Not here: what they are told (`ours.rs`, `etcd.rs`).

use std::net::SocketAddr;

use crate::{bench::meter::cpu_ticks, process::Process};

/// The members of a cluster.
#[derive(Debug)]
pub(super) struct Members {
    /// Where each takes requests.
    pub(super) addresses: Vec<SocketAddr>,
    /// In the same order.
    pub(super) processes: Vec<Process>,
}

impl Members {
    /// What each has spent on the CPU so far, in ticks.
    pub(super) fn ticks(&self) -> Vec<u64> {
        self.processes.iter().map(|process| cpu_ticks(process.id())).collect()
    }
}
