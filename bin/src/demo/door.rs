//! The demo's front door: the usual Redis port, at which whoever comes is passed on to a node that
//! runs.
//!
//! ```text
//!   redis-cli -p 7379 ──► door ──► the next node of those that run
//! ```
//! Bytes are passed on as they are, and a connection stays with its node. When that one does not run
//! any more the connection ends, as it would with the node's own port, and whoever comes again finds
//! another node. So one needs not know which node was killed to go on.
//!
//! It decides nothing about keys: any node serves any key.
//!
//! Not here: who runs (`session.rs`); a router for real clusters, which comes later.

use std::{env, io, net::SocketAddr, sync::Arc, thread};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use trilith_engine::runtime::race;
use trilith_net::os::run_core;

/// Connections at once. Each has two descriptors, of which a process has a thousand or so.
const CONNECTIONS_MAX: usize = 256;

/// A door that is open as long as the process lives.
#[derive(Debug)]
pub(super) struct Door {
    nodes: watch::Sender<Vec<SocketAddr>>,
}

impl Door {
    /// Opens it. It leads nowhere yet.
    ///
    /// # Errors
    /// When somebody else listens there, or the system has no room for another thread.
    pub(super) fn open(at: SocketAddr) -> io::Result<Self> {
        let (nodes, known) = watch::channel(Vec::new());
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        thread::Builder::new().name("door".to_owned()).spawn(move || {
            // No file is touched: any directory will do.
            run_core(env::temp_dir(), |_os| listen(listener, known))
        })?;
        Ok(Self { nodes })
    }

    /// From now on it leads to these.
    pub(super) fn leads_to(&self, nodes: Vec<SocketAddr>) {
        self.nodes.send_replace(nodes);
    }
}

async fn listen(
    listener: std::net::TcpListener,
    known: watch::Receiver<Vec<SocketAddr>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for turn in 0_usize.. {
        // Who finds no place waits in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        // Whoever ended while he waited is nobody's business.
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(pass(client, known.clone(), turn, place));
    }
    Ok(())
}

/// Passes on what a client and its node say, until one of them ends or the node does not run.
async fn pass(
    mut client: TcpStream,
    mut known: watch::Receiver<Vec<SocketAddr>>,
    turn: usize,
    _place: OwnedSemaphorePermit,
) {
    let node = {
        let nodes = known.borrow();
        nodes.get(turn % nodes.len().max(1)).copied()
    };
    let Some(at) = node else { return };
    let Ok(mut node) = TcpStream::connect(at).await else { return };
    if client.set_nodelay(true).and(node.set_nodelay(true)).is_ok() {
        let gone = known.wait_for(|nodes| !nodes.contains(&at));
        race(copy_bidirectional(&mut client, &mut node), gone).await;
    }
}
