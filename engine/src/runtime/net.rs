//! Byte streams between nodes, as the engine may see them.

use alloc::string::{String, ToString};
use core::{convert::Infallible, fmt, future::Future, net::SocketAddr};

use super::Instant;

/// What a network operation answers.
pub type NetResult<T> = Result<T, NetError>;

/// Why the network refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetErrorKind {
    /// Nobody listens there.
    Refused,
    /// No answer before the deadline.
    TimedOut,
    /// The other side, or something between, ended the connection; what was in flight is lost.
    Reset,
    /// The address is in use.
    AddressInUse,
    /// The address is not ours, or not one that can be used.
    AddressUnavailable,
    /// This runtime has no network.
    Unsupported,
    /// Anything else; the detail says what.
    Other,
}

/// A refusal: what was tried, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetError {
    /// Why.
    pub kind: NetErrorKind,
    /// What the operating system said, for a person.
    pub detail: String,
}

impl NetError {
    /// A refusal.
    #[must_use]
    pub fn new(kind: NetErrorKind, detail: &str) -> Self {
        Self { kind, detail: detail.to_string() }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.kind {
            NetErrorKind::Refused => "connection refused",
            NetErrorKind::TimedOut => "no answer in time",
            NetErrorKind::Reset => "connection reset",
            NetErrorKind::AddressInUse => "the address is in use",
            NetErrorKind::AddressUnavailable => "the address is not available",
            NetErrorKind::Unsupported => "this runtime has no network",
            NetErrorKind::Other => "network failure",
        };
        f.write_str(why)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl core::error::Error for NetError {}

/// A node's network.
pub trait Net: Clone + Send + Sync + 'static {
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connection.
    type Stream: Stream;

    /// Listens. Port 0 picks a free one.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = NetResult<Self::Listener>> + Send;

    /// Connects, or fails by `deadline`: an unreachable host says nothing, so the deadline is the
    /// only way out.
    fn connect(
        &self,
        to: SocketAddr,
        deadline: Instant,
    ) -> impl Future<Output = NetResult<Self::Stream>> + Send;
}

/// A listening socket; dropping it stops listening.
pub trait Listener: Send + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The next connection, and who it is.
    fn accept(&mut self) -> impl Future<Output = NetResult<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn local(&self) -> SocketAddr;
}

/// The receiving half of a connection.
pub trait StreamRead: Send + 'static {
    /// Reads some bytes; 0 means the other side will send no more. Bytes arrive in order or not
    /// at all. A peer that lost its power is silent: only a deadline of the caller's ends the
    /// wait. A dropped read loses nothing.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = NetResult<usize>> + Send;
}

/// The sending half of a connection; dropping it without `shutdown` may reset the connection.
pub trait StreamWrite: Send + 'static {
    /// Takes some bytes of a non-empty `buffer` and answers how many. That they were taken does
    /// not mean that they arrive. Waits while the other side does not read (back-pressure). A
    /// dropped write may have taken some.
    fn write(&mut self, buffer: &[u8]) -> impl Future<Output = NetResult<usize>> + Send;

    /// Says that no more will be sent; the other side reads to the end and then 0.
    fn shutdown(&mut self) -> impl Future<Output = NetResult<()>> + Send;
}

/// A connection: both halves in one.
pub trait Stream: StreamRead + StreamWrite {
    /// Its receiving half.
    type Reader: StreamRead;
    /// Its sending half.
    type Writer: StreamWrite;

    /// Takes it apart, so that two tasks can use it.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// The network of a runtime that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNet;

/// The streams of [`NoNet`]: there are none.
#[derive(Debug)]
pub struct NoStream(Infallible);

fn unsupported<T>() -> NetResult<T> {
    Err(NetError::new(NetErrorKind::Unsupported, ""))
}

impl Net for NoNet {
    type Listener = NoStream;
    type Stream = NoStream;

    async fn listen(&self, _at: SocketAddr) -> NetResult<NoStream> {
        unsupported()
    }

    async fn connect(&self, _to: SocketAddr, _deadline: Instant) -> NetResult<NoStream> {
        unsupported()
    }
}

impl Listener for NoStream {
    type Stream = Self;

    async fn accept(&mut self) -> NetResult<(Self, SocketAddr)> {
        match self.0 {}
    }

    fn local(&self) -> SocketAddr {
        match self.0 {}
    }
}

impl StreamRead for NoStream {
    async fn read(&mut self, _buffer: &mut [u8]) -> NetResult<usize> {
        match self.0 {}
    }
}

impl StreamWrite for NoStream {
    async fn write(&mut self, _buffer: &[u8]) -> NetResult<usize> {
        match self.0 {}
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        match self.0 {}
    }
}

impl Stream for NoStream {
    type Reader = Self;
    type Writer = Self;

    fn split(self) -> (Self, Self) {
        match self.0 {}
    }
}
