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
//! It has so many places. Who comes when all are taken is told so at once, in the words of Redis,
//! rather than waiting for somebody who may never leave; and a client whose machine has gone without
//! a word gives its place back when the kernel has asked for it in vain.
//!
//! It decides nothing about keys: any node serves any key.
//!
//! Not here: who runs (`session.rs`); a router for real clusters, which comes later.

use std::{env, io, net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use trilith_engine::runtime::race;
use trilith_net::os::{ask_now_and_then, run_core};

/// Connections at once. Each has three descriptors, with that of its node, of the thousand or so
/// that a process has.
pub(super) const CONNECTIONS_MAX: usize = 192;
/// What a door says by itself, in the protocol of those who come to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// To one more than there are places.
    full: &'static [u8],
    /// To whoever was to be served by a node that has just gone.
    gone: &'static [u8],
}

/// As Redis says it.
pub(super) const RESP: Words = Words {
    full: b"-ERR max number of clients reached\r\n",
    gone: b"-UNAVAILABLE the node that was to serve this has just gone: come again\r\n",
};
/// The same over HTTP.
pub(super) const HTTP: Words = Words {
    full: b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    gone: b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\
        connection: close\r\n\r\n",
};
/// How long nobody is accepted when the system has no room for a connection: it would say so again.
const RESTS: Duration = Duration::from_millis(50);

/// A door that is open as long as the process lives.
#[derive(Debug)]
pub(super) struct Door {
    nodes: watch::Sender<Vec<SocketAddr>>,
}

impl Door {
    /// Opens it, with its own words. It leads nowhere yet.
    ///
    /// # Errors
    /// When somebody else listens there, or the system has no room for another thread.
    pub(super) fn open(at: SocketAddr, words: Words) -> io::Result<Self> {
        let (nodes, known) = watch::channel(Vec::new());
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        thread::Builder::new().name("door".to_owned()).spawn(move || {
            // No file is touched: any directory will do.
            run_core(env::temp_dir(), |_os| listen(listener, known, words))
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
    words: Words,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for turn in 0_usize.. {
        match listener.accept().await {
            Ok((client, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => _ = tokio::spawn(pass(client, known.clone(), turn, (words, place))),
                // Whoever cannot take that much at once is told nothing.
                Err(_) => _ = client.try_write(words.full).is_ok(),
            },
            Err(_why) => tokio::time::sleep(RESTS).await,
        }
    }
    Ok(())
}

/// Passes on what a client and its node say, until one of them ends or the node does not run.
async fn pass(
    mut client: TcpStream,
    mut known: watch::Receiver<Vec<SocketAddr>>,
    turn: usize,
    (words, _place): (Words, OwnedSemaphorePermit),
) {
    let node = {
        let nodes = known.borrow();
        nodes.get(turn % nodes.len().max(1)).copied()
    };
    let Some(at) = node else { return };
    let Ok(mut node) = TcpStream::connect(at).await else {
        // It may have gone, too.
        let _said = client.write_all(words.gone).await.is_ok();
        return;
    };
    let is_set = client.set_nodelay(true).and(node.set_nodelay(true));
    if is_set.and(ask_now_and_then(&client)).is_ok() {
        let gone = known.wait_for(|nodes| !nodes.contains(&at));
        race(copy_bidirectional(&mut client, &mut node), gone).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// HTTP clients were told it in the words of Redis.
    #[test]
    fn each_door_speaks_the_protocol_of_its_clients() {
        let nobody = {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            taken.local_addr().unwrap()
        };
        for (words, begins) in [(RESP, "-UNAVAILABLE "), (HTTP, "HTTP/1.1 503 ")] {
            let said = run_core(env::temp_dir(), async |_os| {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut client =
                    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (door, _) = listener.accept().await.unwrap();
                let (_nodes, known) = watch::channel(vec![nobody]);
                let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
                pass(door, known, 0, (words, place)).await;
                let mut said = String::new();
                client.read_to_string(&mut said).unwrap();
                said
            });
            let said = said.unwrap();
            assert!(said.starts_with(begins) && said.ends_with("\r\n"), "{said}");
        }
    }
}
