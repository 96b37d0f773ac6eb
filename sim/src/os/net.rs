//! A node's network: byte streams over the world's wire.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use trilith_engine::{
    planted,
    runtime::{
        Instant, Listener, Net, NetError, NetErrorKind, NetResult, Stream, StreamRead, StreamWrite,
    },
};

use super::{Seat, clock::Alarm};
use crate::world::wire::ConnKey;

/// A node's network.
#[derive(Clone)]
pub struct SimNet(pub(super) Seat);

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;

    async fn listen(&self, at: SocketAddr) -> NetResult<SimListener> {
        let local = poll_fn(|_| match self.0.alive() {
            Some(mut state) => Poll::Ready(state.listen(self.0.who(), at)),
            None => Poll::Pending,
        })
        .await?;
        Ok(SimListener { seat: self.0.clone(), local })
    }

    fn connect(
        &self,
        to: SocketAddr,
        deadline: Instant,
    ) -> impl Future<Output = NetResult<SimStream>> + Send {
        let alarm = Alarm::new(deadline);
        Connect { seat: self.0.clone(), to, alarm, asked: false, half: None }
    }
}

/// A connection being made.
struct Connect {
    seat: Seat,
    to: SocketAddr,
    alarm: Alarm,
    asked: bool,
    /// `None` also when nobody has that address.
    half: Option<ConnKey>,
}

impl Future for Connect {
    type Output = NetResult<SimStream>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (seat, waker) = (&this.seat, context.waker());
        let Some(mut state) = seat.alive() else { return Poll::Pending };
        if !this.asked {
            this.asked = true;
            this.half = state.connect(seat.node, this.to)?;
        }
        if let Some(conn) = this.half
            && let Poll::Ready(made) = state.connected(conn, waker)
        {
            this.alarm.unset(&mut state);
            made?;
            this.half = None;
            drop(state);
            return Poll::Ready(Ok(SimStream::new(seat.clone(), conn, 0)));
        }
        if !planted!("world_connect_waits_on") && this.alarm.rings(&mut state, seat.node, waker) {
            state.probe("net.connect_timed_out");
            let error = NetError::new(NetErrorKind::TimedOut, &this.to.to_string());
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if self.half.is_none() && !self.alarm.is_set() {
            return;
        }
        let mut state = self.seat.shared.lock();
        self.alarm.unset(&mut state);
        if let Some(conn) = self.half
            && state.alive(self.seat.node, self.seat.life)
        {
            state.drop_half((conn, 0), 3);
        }
    }
}

/// A listening socket.
pub struct SimListener {
    seat: Seat,
    local: SocketAddr,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> NetResult<(SimStream, SocketAddr)> {
        let seat = &self.seat;
        let port = self.local.port();
        poll_fn(|context| {
            let Some(mut state) = seat.alive() else { return Poll::Pending };
            let accepted = state.accept((seat.node, port), context.waker());
            drop(state);
            let (conn, peer) = ready!(accepted)?;
            Poll::Ready(Ok((SimStream::new(seat.clone(), conn, 1), peer)))
        })
        .await
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.seat.shared.lock();
        if state.alive(self.seat.node, self.seat.life) {
            state.unlisten(self.seat.who(), self.local.port());
        }
    }
}

/// One end of a connection, whichever halves of it are held.
struct End {
    seat: Seat,
    conn: ConnKey,
    at: usize,
}

impl End {
    async fn read(&self, buffer: &mut [u8]) -> NetResult<usize> {
        poll_fn(|context| match self.seat.alive() {
            Some(mut state) => state.read((self.conn, self.at), buffer, context.waker()),
            None => Poll::Pending,
        })
        .await
    }

    async fn write(&self, buffer: &[u8]) -> NetResult<usize> {
        poll_fn(|context| match self.seat.alive() {
            Some(mut state) => state.write((self.conn, self.at), buffer, context.waker()),
            None => Poll::Pending,
        })
        .await
    }

    async fn shutdown(&self) -> NetResult<()> {
        poll_fn(|_| match self.seat.alive() {
            Some(mut state) => Poll::Ready(state.shutdown((self.conn, self.at))),
            None => Poll::Pending,
        })
        .await
    }

    fn drop_half(&self, half: u8) {
        if let Some(mut state) = self.seat.alive() {
            state.drop_half((self.conn, self.at), half);
        }
    }
}

/// The receiving half of a connection.
pub struct SimReader(Arc<End>);

/// The sending half of a connection.
pub struct SimWriter(Arc<End>);

/// A connection.
pub struct SimStream {
    reader: SimReader,
    writer: SimWriter,
}

impl SimStream {
    fn new(seat: Seat, conn: ConnKey, at: usize) -> Self {
        let end = Arc::new(End { seat, conn, at });
        Self { reader: SimReader(Arc::clone(&end)), writer: SimWriter(end) }
    }
}

impl Drop for SimReader {
    fn drop(&mut self) {
        self.0.drop_half(1);
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        self.0.drop_half(2);
    }
}

impl StreamRead for SimReader {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        self.0.read(buffer).await
    }
}

impl StreamWrite for SimWriter {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.0.write(buffer).await
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.0.shutdown().await
    }
}

impl StreamRead for SimStream {
    async fn read(&mut self, buffer: &mut [u8]) -> NetResult<usize> {
        self.reader.read(buffer).await
    }
}

impl StreamWrite for SimStream {
    async fn write(&mut self, buffer: &[u8]) -> NetResult<usize> {
        self.writer.write(buffer).await
    }

    async fn shutdown(&mut self) -> NetResult<()> {
        self.writer.shutdown().await
    }
}

impl Stream for SimStream {
    type Reader = SimReader;
    type Writer = SimWriter;

    fn split(self) -> (SimReader, SimWriter) {
        (self.reader, self.writer)
    }
}
