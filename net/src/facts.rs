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
}

impl Facts {
    /// Of that node, at that port.
    #[must_use]
    pub const fn new(identity: Identity, at: SocketAddr) -> Self {
        let Identity { node, directory, .. } = identity;
        Self { version: env!("CARGO_PKG_VERSION"), node, directory, at }
    }
}
