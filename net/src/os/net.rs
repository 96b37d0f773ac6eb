//! TCP, as the runtime's network.
//!
//! - Every connection sends at once (`TCP_NODELAY`): requests are whole when they are written, and
//!   waiting for more of them costs 40 ms.
//! - A peer that lost its power is silent, and only a deadline ends the wait. That is the contract,
//!   so that nobody comes to rely on a kernel's patience. Who was accepted is asked by the kernel
//!   besides whether he is there, so that guests who are gone do not keep their places.
//! - What went wrong on an established connection is `Reset`, whatever the kernel calls it: the
//!   caller can only connect again.
//!
//! Not here: protocols, links between peers, encryption.

#![expect(clippy::disallowed_methods, reason = "a door: this is where sockets come in")]

use std::{io, net::SocketAddr, time::Duration};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use trilith_engine::runtime::{
    Clock, Instant, Listener, Net, NetError, NetErrorKind, NetResult, Stream, StreamRead,
    StreamWrite, timeout,
};

use super::OsClock;
use crate::limits::LISTENER_BACKLOG;

/// How long a listener that cannot accept waits before it says so. It cannot for lack of
/// descriptors or memory, and whoever asks again at once would keep a processor busy with it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How long who was accepted may be silent before the kernel asks whether he is there, how often it
/// asks, and how many times in vain.
const ASKS: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 3);

/// The machine's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsNet;

/// A listening socket.
#[derive(Debug)]
pub struct OsListener {
    socket: TcpListener,
    local: SocketAddr,
}

/// A connection.
#[derive(Debug)]
pub struct OsStream(TcpStream);

/// The receiving half of a connection.
#[derive(Debug)]
pub struct OsReader(OwnedReadHalf);

/// The sending half of a connection.
#[derive(Debug)]
pub struct OsWriter(OwnedWriteHalf);

/// A refusal while a connection or a listener is being made.
fn refused(error: &io::Error) -> NetError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => NetErrorKind::Refused,
        io::ErrorKind::TimedOut => NetErrorKind::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => NetErrorKind::Reset,
        io::ErrorKind::AddrInUse => NetErrorKind::AddressInUse,
        // Privileged ports and protocols the machine does not speak are addresses we cannot use.
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Unsupported => NetErrorKind::AddressUnavailable,
        _ => NetErrorKind::Other,
    };
    NetError::new(kind, &detail(kind, error))
}

/// What the system says beyond the kind, whose words say it already, and without its number.
fn detail(kind: NetErrorKind, error: &io::Error) -> String {
    let is_said = match kind {
        NetErrorKind::Refused | NetErrorKind::TimedOut | NetErrorKind::AddressInUse => true,
        NetErrorKind::Reset => error.kind() == io::ErrorKind::ConnectionReset,
        NetErrorKind::AddressUnavailable | NetErrorKind::Unsupported | NetErrorKind::Other => false,
    };
    let said = error.to_string();
    let words = said.split(" (os error ").next().unwrap_or_default();
    if is_said { String::new() } else { words.to_owned() }
}

/// The end of an established connection.
fn ended(error: &io::Error) -> NetError {
    NetError::new(NetErrorKind::Reset, &detail(NetErrorKind::Reset, error))
}

/// Whether a connection's two ends are one. It happens to who tries a port of this machine that
/// nobody listens on, again and again: one day the kernel picks that very port to connect from,
/// and TCP connects it to itself.
fn is_own_end(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(near), Ok(far)) if near == far)
}

/// What `TcpListener::bind` does, but for how many may wait.
fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(LISTENER_BACKLOG)
}

impl Net for OsNet {
    type Listener = OsListener;
    type Stream = OsStream;

    async fn listen(&self, at: SocketAddr) -> NetResult<OsListener> {
        let socket = listener(at).map_err(|error| refused(&error))?;
        let local = socket.local_addr().map_err(|error| refused(&error))?;
        Ok(OsListener { socket, local })
    }

    async fn connect(&self, to: SocketAddr, deadline: Instant) -> NetResult<OsStream> {
        // Not even tried when it is too late: the first poll of a connect may succeed.
        if OsClock.now() >= deadline {
            return Err(NetError::new(NetErrorKind::TimedOut, ""));
        }
        match timeout(&OsClock, deadline, TcpStream::connect(to)).await {
            Ok(Ok(stream)) if is_own_end(&stream) => {
                Err(NetError::new(NetErrorKind::Refused, "only we ourselves were there"))
            }
            Ok(Ok(stream)) => OsStream::new(stream),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_elapsed) => Err(NetError::new(NetErrorKind::TimedOut, "")),
        }
    }
}

impl OsStream {
    fn new(stream: TcpStream) -> NetResult<Self> {
        match stream.set_nodelay(true) {
            Ok(()) => Ok(Self(stream)),
            Err(error) => Err(ended(&error)),
        }
    }
}

/// The kernel asks now and then whether the other end is there, and ends the connection if it is not.
///
/// # Errors
/// What the system says.
pub fn ask_now_and_then(stream: &TcpStream) -> io::Result<()> {
    let (silent, every, times) = ASKS;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, silent)?;
    sockopt::set_tcp_keepintvl(stream, every)?;
    Ok(sockopt::set_tcp_keepcnt(stream, times)?)
}

impl Listener for OsListener {
    type Stream = OsStream;

    /// An error is not the listener's end: the next call may find what this one lacked.
    async fn accept(&mut self) -> NetResult<(OsStream, SocketAddr)> {
        loop {
            match self.socket.accept().await {
                // A connection that ended before it was accepted is nobody's business.
                Ok((stream, from)) => {
                    if ask_now_and_then(&stream).is_ok()
                        && let Ok(stream) = OsStream::new(stream)
                    {
                        return Ok((stream, from));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    OsClock.sleep_until(OsClock.now() + ACCEPT_PAUSE).await;
                    return Err(refused(&error));
                }
            }
        }
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl StreamRead for OsStream {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        self.0.read(buffer).await.map_err(|error| ended(&error))
    }
}

impl StreamWrite for OsStream {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.0.write(buffer).await.map_err(|error| ended(&error))
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.0.shutdown().await.map_err(|error| ended(&error))
    }
}

impl Stream for OsStream {
    type Reader = OsReader;
    type Writer = OsWriter;

    fn split(self) -> (OsReader, OsWriter) {
        let (reader, writer) = self.0.into_split();
        (OsReader(reader), OsWriter(writer))
    }
}

impl StreamRead for OsReader {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        self.0.read(buffer).await.map_err(|error| ended(&error))
    }
}

impl StreamWrite for OsWriter {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.0.write(buffer).await.map_err(|error| ended(&error))
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.0.shutdown().await.map_err(|error| ended(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_itself_is_told_from_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let own = socket.local_addr().unwrap();
            let stream = socket.connect(own).await.unwrap();
            assert!(is_own_end(&stream));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(!is_own_end(&stream));
        });
    }
}
