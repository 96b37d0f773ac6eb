//! A connection of an HTTP client: one request at a time, read, done, answered.
//!
//! What it may hold is bounded twice: by the largest request, and by what all connections of the
//! node hold together (`held.rs`). Who asks is looked at before a body is read, and where nobody has
//! said who it is, the connection does not stay for ever. A request that does not arrive in time, and
//! an answer that nobody takes, end it.
//!
//! When the node ends, a request that was begun is answered, and the connection is closed.
//!
//! Not here: what is asked (`route.rs`, `desk.rs`).

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use trilith_engine::{
    mark, planted,
    runtime::{
        Clock, Either, Instant, Listener, Runtime, Stream, StreamRead, StreamWrite, race, timeout,
    },
};

use super::{
    answer::{Answer, Problem},
    cut::{Cut, Cutter, Method, Request},
    desk::Desk,
};
use crate::{
    ending::Ending,
    gate::Guesses,
    held::{Held, Room},
    limits::{
        BUFFER_KEPT_BYTES, BYTE_WITHIN, CLIENT_READ_BYTES, GUEST_PARTS_WITHIN, HTTP_ARRIVES_WITHIN,
        HTTP_CONNECTIONS_MAX, HTTP_SILENCE, STRANGER_STAYS,
    },
    meters::Which,
    peer::stream::{part, write_all},
    port::{Plan, Port},
};

/// What all connections have in common.
struct House<R: Runtime> {
    desk: Desk<R>,
    ending: Arc<Ending>,
}

/// Serves whoever comes to that listener.
#[must_use]
pub fn open<R: Runtime, L: Listener>(desk: Desk<R>, listener: L) -> Port<R> {
    let (runtime, place) = (desk.runtime().clone(), (Arc::clone(desk.meters()), Which::Http));
    let ending = Arc::new(Ending::default());
    let names = ("http listener", "http");
    let plan = Plan { names, most: HTTP_CONNECTIONS_MAX, place, ending: Arc::clone(&ending) };
    let house = Arc::new(House { desk, ending });
    let mut number = 0;
    Port::open(&runtime, plan, listener, move |stream, from| {
        number += 1;
        Visit { house: Arc::clone(&house), number, from }.serve(stream)
    })
}

/// A connection, as long as it lives.
struct Visit<R: Runtime> {
    house: Arc<House<R>>,
    number: u64,
    from: SocketAddr,
}

impl<R: Runtime> Drop for Visit<R> {
    fn drop(&mut self) {
        self.house.ending.forget(self.number);
    }
}

/// What comes next on a connection.
enum Next {
    /// Another look.
    Go,
    /// Its end; these last words are still to be said.
    Over(Option<Answer>),
    /// Its end: nobody is there any more.
    Gone,
}

/// What there is of a connection beside its streams.
struct Talk {
    cutter: Cutter,
    /// What was read and not cut yet.
    bytes: BytesMut,
    /// What is to be written.
    out: BytesMut,
    held: Held,
    guesses: Guesses,
    /// When the next request must be whole.
    until: Instant,
    /// When it ends if nobody has said who it is.
    stays: Instant,
}

impl<R: Runtime> Visit<R> {
    fn clock(&self) -> &R::Clock {
        self.house.desk.runtime().clock()
    }

    async fn serve<S: Stream>(self, stream: S) {
        let (mut reader, mut writer) = stream.split();
        let mut talk = Talk {
            cutter: Cutter::default(),
            bytes: BytesMut::new(),
            out: BytesMut::new(),
            held: Held::new(&self.house.desk.meters().totals.http),
            guesses: Guesses::none(self.from, Which::Http),
            until: self.clock().now() + HTTP_ARRIVES_WITHIN,
            stays: self.clock().now() + STRANGER_STAYS,
        };
        let mut piece = vec![0; CLIENT_READ_BYTES];
        let last = loop {
            let next = match talk.cutter.take(&mut talk.bytes) {
                Ok(Cut::Request(request)) => self.answer(&mut talk, request, &mut writer).await,
                Ok(Cut::Continue) => {
                    talk.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    self.write(&mut writer, &mut talk.out).await
                }
                Ok(Cut::Head) => self.admit(&mut talk).await,
                Ok(Cut::More) => self.more(&mut talk, &mut reader, &mut piece).await,
                Err(broken) => {
                    mark!("http: a connection sent what is no request");
                    self.house.desk.meters().http.refused.add(1);
                    Next::Over(Some(Problem::broken(broken).answer()))
                }
            };
            match next {
                Next::Go => {}
                Next::Gone => return,
                Next::Over(answer) => break answer,
            }
        };
        talk.out.clear();
        if let Some(answer) = last {
            answer.put(&mut talk.out, Method::Get, false);
        }
        let streams = (&mut reader, &mut writer);
        part(self.clock(), GUEST_PARTS_WITHIN, streams, &mut piece, &talk.out).await;
    }

    /// Looks at who asks before anything is read of what he asks with.
    async fn admit(&self, talk: &mut Talk) -> Next {
        let Some(head) = talk.cutter.head_of_pending() else { return Next::Go };
        match self.house.desk.admits(head, &mut talk.guesses).await {
            Ok(()) => Next::Go,
            // What comes behind the head is no request.
            Err(problem) => Next::Over(Some(problem.answer())),
        }
    }

    /// When the connection ends whatever is asked; never where it is known who asks.
    fn stays(&self, talk: &Talk) -> Option<Instant> {
        let is_stranger = !self.house.desk.is_open() && !talk.guesses.was_right();
        (is_stranger && !planted!("http_strangers_stay")).then_some(talk.stays)
    }

    /// Does what is asked, and answers.
    async fn answer<S: StreamWrite>(
        &self,
        talk: &mut Talk,
        request: Request,
        writer: &mut S,
    ) -> Next {
        let beside = request.head_bytes() + request.body.len() + talk.bytes.len();
        let is_read = matches!(request.method, Method::Get | Method::Head);
        let mut room = Room::new(&mut talk.held, beside, is_read);
        let said = (&mut room, &mut talk.guesses);
        let answer = self.house.desk.answer(self.number, &request, said).await;
        let is_read = room.is_read;
        let is_overdue = self.stays(talk).is_some_and(|stays| self.clock().now() >= stays);
        let stays = request.stays && !is_overdue && !self.house.ending.is_over(self.number);
        answer.put(&mut talk.out, request.method, stays);
        drop((request, answer));
        // What was done is told in any case.
        if !talk.held.hold(talk.out.len() + talk.bytes.len()) && is_read {
            return Next::Over(Some(Problem::crowded().answer()));
        }
        let next = self.write(writer, &mut talk.out).await;
        if talk.bytes.is_empty() {
            // The room of a long body goes back.
            talk.bytes = BytesMut::new();
        }
        let _fits = talk.held.hold(talk.bytes.len());
        talk.until = self.clock().now() + HTTP_SILENCE;
        if stays || matches!(next, Next::Gone) { next } else { Next::Over(None) }
    }

    /// Reads something more of a request.
    async fn more<S: StreamRead>(&self, talk: &mut Talk, reader: &mut S, piece: &mut [u8]) -> Next {
        let was_between = talk.cutter.is_between(&talk.bytes);
        let until = match planted!("http_slow_requests_are_waited_for") {
            true => talk.until + HTTP_SILENCE * 10,
            false => talk.until,
        };
        let until = self.stays(talk).map_or(until, |stays| until.min(stays));
        match self.read(reader, piece, until).await {
            Ok(read) => {
                if was_between {
                    talk.until = self.clock().now() + HTTP_ARRIVES_WITHIN;
                }
                talk.bytes.extend_from_slice(&piece[..read]);
                // A long body on a slow line comes at some pace.
                talk.until = talk.until + BYTE_WITHIN.saturating_mul(read as u32);
                let has_room = talk.held.hold(talk.bytes.len() + talk.cutter.held());
                if has_room { Next::Go } else { Next::Over(Some(Problem::crowded().answer())) }
            }
            // Nothing was asked: nothing is to be said.
            Err(_) if was_between => Next::Gone,
            Err(next) => next,
        }
    }

    /// Reads something, until the time is over or the node ends.
    async fn read<S: StreamRead>(
        &self,
        reader: &mut S,
        piece: &mut [u8],
        until: Instant,
    ) -> Result<usize, Next> {
        let reads = timeout(self.clock(), until, reader.read(piece));
        let problem = match race(reads, self.house.ending.ends(self.number)).await {
            Either::Left(Ok(Ok(0) | Err(_))) => return Err(Next::Gone),
            Either::Left(Ok(Ok(read))) => return Ok(read),
            Either::Left(Err(_)) => {
                mark!("http: a request did not arrive in time");
                let what = "the request did not arrive in time";
                Problem::new(408, "REQUEST_TIMEOUT", what, "send it whole")
            }
            Either::Right(()) => Problem::new(503, "STOPPING", "the node ends", "ask another one"),
        };
        Err(Next::Over(Some(problem.answer())))
    }

    /// Writes what is there, unless nobody takes it.
    async fn write<S: StreamWrite>(&self, writer: &mut S, out: &mut BytesMut) -> Next {
        // A long answer goes over a slow line at some pace.
        let pace = BYTE_WITHIN.saturating_mul(out.len() as u32);
        let until = self.clock().now() + HTTP_ARRIVES_WITHIN + pace;
        let is_taken =
            matches!(timeout(self.clock(), until, write_all(writer, out)).await, Ok(Ok(())));
        out.clear();
        if out.capacity() > BUFFER_KEPT_BYTES {
            *out = BytesMut::new();
        }
        if is_taken { Next::Go } else { Next::Gone }
    }
}
