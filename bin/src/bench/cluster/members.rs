//! Processes of a cluster: started, watched, killed, and never left behind.
//!
//! Not here: what they are told (`ours.rs`, `etcd.rs`).

use std::{net::SocketAddr, process::Child};

use crate::bench::meter::cpu_ticks;

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
        self.processes.iter().map(|process| cpu_ticks(process.0.id())).collect()
    }
}

/// A child that is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Takes a child over.
    pub(super) const fn of(child: Child) -> Self {
        Self(child)
    }

    /// `kill -9`, and waits for its end.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
