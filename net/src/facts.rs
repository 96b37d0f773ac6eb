//! What a node tells clients of itself, whatever protocol they speak.
//!
//! Not here: how it is told (`resp/described.rs`, `http/desk.rs`).

use std::net::SocketAddr;

use trilith_engine::types::{NodeId, Uuid};

use crate::peer::hello::Identity;

/// What a node says of itself at one of its ports.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Our version.
    pub version: &'static str,
    /// Which node.
    pub node: NodeId,
    /// Its directory.
    pub directory: Uuid,
    /// Where this port is.
    pub at: SocketAddr,
    /// Who knows how much memory the process holds.
    resident: Resident,
}

/// Tells how many bytes of memory the process holds; 0 where nobody knows. Only whoever starts a node
/// may ask the system.
pub type Resident = fn() -> u64;

impl Facts {
    /// Of that node, at that port.
    #[must_use]
    pub const fn new(identity: Identity, at: SocketAddr, resident: Resident) -> Self {
        let Identity { node, directory, .. } = identity;
        Self { version: env!("CARGO_PKG_VERSION"), node, directory, at, resident }
    }

    /// How many bytes of memory the process holds now; 0 where nobody knows.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        (self.resident)()
    }
}
