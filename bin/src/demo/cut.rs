//! The machine's doors with a gate in the network: what a node that is cut off has.
//!
//! ```text
//!   Redis clients ══════════════════════════════════════════╗
//!   other nodes, our own client ══ gate ══ listener, dials ══╩══ node
//! ```
//! While the gate is shut, nothing comes in and nothing goes out: who dials waits until his time is
//! over, and who is connected hears silence, as behind a cable that was pulled. Nobody is told. When
//! it opens, what was on its way goes on: bytes are late, never lost. The ports of Redis and HTTP
//! clients stay outside of it, so that one can ask a node that is cut off what it still knows.
//!
//! What the gate cannot keep back is the end of a connection that one side gives up: the kernel tells
//! the other side.
//!
//! Not here: who is cut off and when (`host.rs`); faults from a seed, of which this is not one
//! (`trilith_sim`).

use std::net::SocketAddr;

use tokio::sync::watch;
use trilith_engine::runtime::{
    Either, Instant, Listener, Net, NetError, NetErrorKind, NetResult, Runtime, Stream, StreamRead,
    StreamWrite, race, timeout,
};
use trilith_net::os::{
    Os, OsClock, OsDisk, OsListener, OsNet, OsReader, OsRng, OsStream, OsTask, OsWriter,
};

/// A gate: whoever holds the other end says whether it is shut.
#[derive(Clone, Debug)]
pub(super) struct Gate(watch::Receiver<bool>);

impl Gate {
    /// One that is open, and what shuts it.
    pub(super) fn new() -> (watch::Sender<bool>, Self) {
        let (shut, gate) = watch::channel(false);
        (shut, Self(gate))
    }

    async fn opens(&self) {
        // Nobody who could open it is nobody who could have shut it.
        let _open = self.0.clone().wait_for(|is_shut| !is_shut).await.is_ok();
    }

    async fn shuts(&self) {
        if self.0.clone().wait_for(|is_shut| *is_shut).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The machine's doors for one node.
#[derive(Clone, Debug)]
pub(super) struct Gated {
    os: Os,
    net: GatedNet,
}

impl Gated {
    /// Everything behind that gate but those addresses.
    pub(super) fn new(os: Os, gate: Gate, outside: [SocketAddr; 2]) -> Self {
        let net = GatedNet { net: *os.net(), gate, outside };
        Self { os, net }
    }
}

impl Runtime for Gated {
    type Clock = OsClock;
    type Disk = OsDisk;
    type Net = GatedNet;
    type Task = OsTask;
    type Rng = OsRng;

    fn clock(&self) -> &OsClock {
        self.os.clock()
    }

    fn disk(&self) -> &OsDisk {
        self.os.disk()
    }

    fn net(&self) -> &GatedNet {
        &self.net
    }

    fn task(&self) -> &OsTask {
        self.os.task()
    }

    fn rng(&self, room: &'static str) -> OsRng {
        self.os.rng(room)
    }
}

/// The network behind the gate.
#[derive(Clone, Debug)]
pub(super) struct GatedNet {
    net: OsNet,
    gate: Gate,
    /// Whoever comes there does not come through the gate.
    outside: [SocketAddr; 2],
}

/// Something of the network, with the gate that it is behind, if it is.
#[derive(Debug)]
pub(super) struct Behind<T> {
    inner: T,
    gate: Option<Gate>,
}

impl<T> Behind<T> {
    async fn opens(&self) {
        if let Some(gate) = &self.gate {
            gate.opens().await;
        }
    }
}

impl Net for GatedNet {
    type Listener = Behind<OsListener>;
    type Stream = Behind<OsStream>;

    async fn listen(&self, at: SocketAddr) -> NetResult<Behind<OsListener>> {
        let gate = (!self.outside.contains(&at)).then(|| self.gate.clone());
        Ok(Behind { inner: self.net.listen(at).await?, gate })
    }

    async fn connect(&self, to: SocketAddr, deadline: Instant) -> NetResult<Behind<OsStream>> {
        if timeout(&OsClock, deadline, self.gate.opens()).await.is_err() {
            return Err(NetError::new(NetErrorKind::TimedOut, "the gate is shut"));
        }
        let inner = self.net.connect(to, deadline).await?;
        Ok(Behind { inner, gate: Some(self.gate.clone()) })
    }
}

impl Listener for Behind<OsListener> {
    type Stream = Behind<OsStream>;

    async fn accept(&mut self) -> NetResult<(Behind<OsStream>, SocketAddr)> {
        let (inner, from) = self.inner.accept().await?;
        Ok((Behind { inner, gate: self.gate.clone() }, from))
    }

    fn local(&self) -> SocketAddr {
        self.inner.local()
    }
}

impl<T: StreamRead + Sync> StreamRead for Behind<T> {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        let Some(gate) = &self.gate else { return self.inner.read(buffer).await };
        loop {
            gate.opens().await;
            // A read that is dropped loses nothing.
            if let Either::Left(read) = race(self.inner.read(buffer), gate.shuts()).await {
                return read;
            }
        }
    }
}

impl<T: StreamWrite + Sync> StreamWrite for Behind<T> {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.opens().await;
        self.inner.write(buffer).await
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.opens().await;
        self.inner.shutdown().await
    }
}

impl Stream for Behind<OsStream> {
    type Reader = Behind<OsReader>;
    type Writer = Behind<OsWriter>;

    fn split(self) -> (Behind<OsReader>, Behind<OsWriter>) {
        let (reader, writer) = self.inner.split();
        let gate = self.gate.clone();
        (Behind { inner: reader, gate }, Behind { inner: writer, gate: self.gate })
    }
}
