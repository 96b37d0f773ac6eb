//! What a node tells clients of itself, whatever protocol they speak.
//!
//! Not here: how it is told (`resp/described.rs`, `http/desk.rs`).

use std::net::SocketAddr;

use tracing::Level;
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
    /// The process that it is part of.
    pub host: Host,
}

/// What a node asks of the process that it is part of. Only whoever starts a node may ask the system.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// How many bytes of memory it holds; 0 where nobody knows.
    pub resident_bytes: fn() -> u64,
    /// How much it logs; nothing where nobody can say.
    pub log_level: fn() -> Option<Level>,
    /// Has it log so much from now on. Whether it does.
    pub set_log_level: fn(Level) -> bool,
}

impl Default for Host {
    /// One of which nothing is known.
    fn default() -> Self {
        Self { resident_bytes: || 0, log_level: || None, set_log_level: |_| false }
    }
}

impl Facts {
    /// Of that node, at that port.
    #[must_use]
    pub const fn new(identity: Identity, at: SocketAddr, host: Host) -> Self {
        let Identity { node, directory, .. } = identity;
        Self { version: env!("CARGO_PKG_VERSION"), node, directory, at, host }
    }
}
