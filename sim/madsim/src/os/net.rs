//! Streams, on madsim's network.
//!
//! madsim's own streams take any number of bytes at once, have no shutdown of one direction, and
//! make a writer that just leaves look like one that ended well. Its endpoints carry messages, in
//! order, with madsim's latency and through madsim's cuts; streams are made of those here:
//! - a message is a piece of bytes, or the end; a stream that stops without an end was reset;
//! - each direction has a window: what was taken and not yet read. Credit comes back at once,
//!   which no real network does, but a reader that does not read holds its writer.
//!
//! Invariant: `in_flight <= WINDOW_BYTES` in every direction.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

use bytes::{Buf as _, Bytes};
use madsim::net::Endpoint;
use trilith_engine::runtime::{
    Clock as _, Either, Elapsed, Instant, Listener, Net, NetError, NetErrorKind, NetResult, Stream,
    StreamRead, StreamWrite, race, timeout,
};

use super::{MadClock, Witness, grab};

/// What one direction of a stream holds: about what a pair of socket buffers does.
const WINDOW_BYTES: usize = 256 << 10;

/// The most bytes a write takes, so that large buffers arrive in pieces, as they do in the world.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// Where port 0 is looked for. madsim itself takes the lowest free port, for listeners and for the
/// near ends of connections alike, and a connection's near end then answers for a listener of its
/// number that is gone.
const FREE_PORTS: Range<u16> = 20_000..30_000;

fn refused(error: &io::Error) -> NetError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => NetErrorKind::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => NetErrorKind::Reset,
        io::ErrorKind::AddrInUse => NetErrorKind::AddressInUse,
        io::ErrorKind::AddrNotAvailable => NetErrorKind::AddressUnavailable,
        _ => NetErrorKind::Other,
    };
    NetError::new(kind, &error.to_string())
}

fn reset() -> NetError {
    NetError::new(NetErrorKind::Reset, "")
}

/// The network of the node that asks.
#[derive(Clone)]
pub struct MadNet {
    eyes: Eyes,
}

/// What a stream needs to say what it read, and when.
#[derive(Clone)]
struct Eyes {
    clock: MadClock,
    witness: Witness,
}

impl MadNet {
    pub(super) const fn new(clock: MadClock, witness: Witness) -> Self {
        Self { eyes: Eyes { clock, witness } }
    }
}

async fn bind(at: SocketAddr) -> io::Result<Endpoint> {
    if at.port() != 0 {
        return Endpoint::bind(at).await;
    }
    for port in FREE_PORTS {
        match Endpoint::bind(SocketAddr::new(at.ip(), port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

async fn connect(to: SocketAddr, eyes: Eyes) -> io::Result<MadStream> {
    let near = Endpoint::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
    let (sender, receiver) = near.connect1(to).await?;
    Ok(MadStream::new(sender, receiver, eyes))
}

impl Net for MadNet {
    type Listener = MadListener;
    type Stream = MadStream;

    async fn listen(&self, at: SocketAddr) -> NetResult<MadListener> {
        let endpoint = bind(at).await.map_err(|error| refused(&error))?;
        let local = endpoint.local_addr().map_err(|error| refused(&error))?;
        Ok(MadListener { endpoint, local, eyes: self.eyes.clone() })
    }

    async fn connect(&self, to: SocketAddr, deadline: Instant) -> NetResult<MadStream> {
        match timeout(&self.eyes.clock, deadline, connect(to, self.eyes.clone())).await {
            Ok(connected) => connected.map_err(|error| refused(&error)),
            Err(Elapsed) => Err(NetError::new(NetErrorKind::TimedOut, "")),
        }
    }
}

/// A listening socket.
pub struct MadListener {
    endpoint: Endpoint,
    local: SocketAddr,
    eyes: Eyes,
}

impl Listener for MadListener {
    type Stream = MadStream;

    async fn accept(&mut self) -> NetResult<(MadStream, SocketAddr)> {
        let accepted = self.endpoint.accept1().await;
        let (sender, receiver, peer) = accepted.map_err(|error| refused(&error))?;
        Ok((MadStream::new(sender, receiver, self.eyes.clone()), peer))
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

/// A connection.
pub struct MadStream {
    reader: MadReader,
    writer: MadWriter,
}

impl MadStream {
    fn new(sender: madsim::net::Sender, receiver: madsim::net::Receiver, eyes: Eyes) -> Self {
        let reader =
            MadReader { receiver, rest: Bytes::new(), window: None, state: Ends::Open, eyes };
        Self { reader, writer: MadWriter { sender, window: Arc::default(), ended: false } }
    }
}

impl Stream for MadStream {
    type Reader = MadReader;
    type Writer = MadWriter;

    fn split(self) -> (MadReader, MadWriter) {
        (self.reader, self.writer)
    }
}

impl StreamRead for MadStream {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        self.reader.read(buffer).await
    }
}

impl StreamWrite for MadStream {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.writer.write(buffer).await
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.writer.shutdown().await
    }
}

/// What one direction of a stream has taken and not delivered.
#[derive(Default)]
struct Window(Mutex<Flow>);

#[derive(Default)]
struct Flow {
    in_flight: usize,
    reader_left: bool,
    writer: Option<Waker>,
}

impl Window {
    /// The reader took some, or left.
    fn change(&self, change: impl FnOnce(&mut Flow)) {
        let waker = {
            let mut flow = grab(&self.0);
            change(&mut flow);
            flow.writer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What travels: some bytes, or the end when there are none.
struct Piece {
    bytes: Bytes,
    window: Arc<Window>,
}

/// How far a reader has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Open,
    Ended,
    Reset,
}

/// The receiving half.
pub struct MadReader {
    receiver: madsim::net::Receiver,
    rest: Bytes,
    window: Option<Arc<Window>>,
    state: Ends,
    eyes: Eyes,
}

impl StreamRead for MadReader {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        while self.rest.is_empty() {
            match self.state {
                Ends::Open => {}
                Ends::Ended => return Ok(0),
                Ends::Reset => return Err(reset()),
            }
            // A read dropped here has taken nothing.
            let piece = self.receiver.recv().await.ok().and_then(|any| any.downcast().ok());
            match piece.map(|piece: Box<Piece>| *piece) {
                None => self.state = Ends::Reset,
                Some(Piece { bytes, .. }) if bytes.is_empty() => self.state = Ends::Ended,
                Some(Piece { bytes, window }) => {
                    self.rest = bytes;
                    self.window = Some(window);
                }
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.advance(count);
        self.eyes.witness.see(self.eyes.clock.now(), &buffer[..count]);
        if let Some(window) = &self.window {
            window.change(|flow| flow.in_flight -= count);
        }
        Ok(count)
    }
}

impl Drop for MadReader {
    fn drop(&mut self) {
        if let Some(window) = &self.window {
            window.change(|flow| flow.reader_left = true);
        }
    }
}

/// The sending half; dropped without a shutdown, it resets the connection.
pub struct MadWriter {
    sender: madsim::net::Sender,
    window: Arc<Window>,
    ended: bool,
}

impl MadWriter {
    async fn send(&self, bytes: Bytes) -> NetResult<()> {
        let piece = Piece { bytes, window: Arc::clone(&self.window) };
        self.sender.send(Box::new(piece)).await.map_err(|error| refused(&error))
    }

    /// Waits for room and takes up to `wanted` of it.
    async fn reserve(&self, wanted: usize) -> NetResult<usize> {
        poll_fn(|context| {
            if self.sender.is_closed() {
                return Poll::Ready(Err(reset()));
            }
            let mut flow = grab(&self.window.0);
            let room = WINDOW_BYTES - flow.in_flight;
            if flow.reader_left {
                Poll::Ready(Err(reset()))
            } else if room == 0 {
                flow.writer = Some(context.waker().clone());
                Poll::Pending
            } else {
                let taken = wanted.min(room).min(PIECE_BYTES_MAX);
                flow.in_flight += taken;
                Poll::Ready(Ok(taken))
            }
        })
        .await
    }
}

impl StreamWrite for MadWriter {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        if self.ended {
            return Err(reset());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        // A reader that left before its first read has never seen the window.
        let taken = match race(self.reserve(buffer.len()), self.sender.closed()).await {
            Either::Left(taken) => taken?,
            Either::Right(()) => return Err(reset()),
        };
        self.send(Bytes::copy_from_slice(&buffer[..taken])).await?;
        Ok(taken)
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        if !self.ended {
            self.ended = true;
            self.send(Bytes::new()).await?;
        }
        Ok(())
    }
}
