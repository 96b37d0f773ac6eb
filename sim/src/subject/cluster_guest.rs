//! What clients that speak other protocols have in common: a connection to one node at a time,
//! whichever, and how things are said on it.
//!
//! Not here: what is said (`cluster_redis`, `cluster_http`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use trilith_engine::runtime::{Clock, Instant, Net, Rng, Runtime, Stream, StreamRead, StreamWrite};

use crate::{
    history::{Outcome, Value},
    os::SimRuntime,
};

type Streams = <<SimRuntime as Runtime>::Net as Net>::Stream;

/// How long a connection may take to be made.
const CONNECTS: Duration = Duration::from_millis(300);
/// It does not try again at once.
const RESTS: Duration = Duration::from_millis(20);

/// What such a client is told beside what every client is told.
pub(super) struct Place {
    /// Where the nodes serve it.
    pub(super) nodes: Arc<[SocketAddr]>,
    /// How many keys there are beside the sums.
    pub(super) keys: u32,
    /// What is asked from then on must be done.
    pub(super) calm_from_ns: u64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The request was never whole: nothing can have come of it.
    Unsaid,
    /// It may have been heard.
    Unheard,
}

impl Lost {
    /// What is known of an operation; of one that only looks, nothing is in doubt.
    pub(super) const fn outcome(self, is_look: bool) -> Outcome {
        match self {
            Self::Unheard if !is_look => Outcome::Unknown,
            Self::Unsaid | Self::Unheard => Outcome::Failed,
        }
    }
}

/// A connection.
pub(super) struct Line {
    reader: <Streams as Stream>::Reader,
    writer: <Streams as Stream>::Writer,
    /// What was heard and not understood yet.
    pub(super) bytes: BytesMut,
}

impl Line {
    /// To any of the nodes that takes it.
    pub(super) async fn open(
        rt: &SimRuntime,
        luck: &mut <SimRuntime as Runtime>::Rng,
        nodes: &[SocketAddr],
        until: Instant,
    ) -> Option<Self> {
        let clock = rt.clock();
        while clock.now() < until {
            let node = luck.range(0..nodes.len().max(1) as u64) as usize;
            let deadline = until.min(clock.now() + CONNECTS);
            if let Ok(stream) = rt.net().connect(nodes[node], deadline).await {
                let (reader, writer) = stream.split();
                return Some(Self { reader, writer, bytes: BytesMut::new() });
            }
            clock.sleep_until(until.min(clock.now() + RESTS)).await;
        }
        None
    }

    /// Says all of it.
    pub(super) async fn say(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let taken = self.writer.write(bytes).await.ok().filter(|taken| *taken > 0)?;
            bytes = &bytes[taken..];
        }
        Some(())
    }

    /// Hears something more; nothing when the connection has ended.
    pub(super) async fn more(&mut self) -> Option<()> {
        let mut piece = [0; 512];
        let read = self.reader.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        self.bytes.extend_from_slice(&piece[..read]);
        Some(())
    }
}

/// The number that a value is.
pub(super) fn number(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.trim_end().parse().ok()
}
