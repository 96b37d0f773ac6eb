//! Clients at the peer port: what they ask goes to the node, what it answers goes back to them.
//!
//! ```text
//!   frames ─► request ─► the node's queue          one connection, many requests on their way
//!   frames ◄─ write ◄─── replies ◄── answer(caller, response)
//! ```
//! A node answers each request once, in any order, by the number of the connection it came from;
//! an answer for a connection that is gone is dropped, since its client asks again elsewhere. All
//! answers that wait are written at once.
//!
//! A connection is not read while too much of it is on its way or too much of its answers waits:
//! the client's own kernel then makes it wait. What is no request ends this connection and no
//! other.
//!
//! What was asked before that is still answered, with little: reads are refused, to be asked again, and
//! writes leave out what they found. Who takes nothing for as long as he may be silent is gone, even
//! if he pings.
//!
//! Invariants: a connection has at most [`CLIENT_IN_FLIGHT_MAX`] requests at the node, and never more
//! answers than [`CLIENT_REPLIES_BYTES_MOST`] that wait and as many that are being written; a request
//! carries the client that the connection's Hello named, or nobody.
//!
//! Not here: the client's side (`client/`), what a request means.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::BytesMut;
use trilith_engine::{
    command::{Old, Outcome, Refusal, Reply, Request, Response},
    mark, planted,
    runtime::{Clock, Either, Runtime, StreamRead, StreamWrite, race, timeout},
    types::{ClientId, Size},
};

use super::{
    Caller, Hall, Incoming, Sizes, Trouble,
    stream::{Inlet, Signs, write_all},
};
use crate::{
    frame::{self, BadFrame, Kind, TooLong},
    limits::{
        BUFFER_KEPT_BYTES, BYTE_WITHIN, CLIENT_IN_FLIGHT_MAX, CLIENT_READ_BYTES,
        CLIENT_REPLIES_BYTES_MAX, CLIENT_REPLIES_BYTES_MOST, CLIENT_SILENCE, CONNECTIONS_MAX,
        FRAME_BODY_BYTES_MAX,
    },
    resp::post::Message,
};

/// What waits to be written to one client.
#[derive(Debug, Default)]
struct Replies(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: BytesMut,
    /// Bytes that the writer took and has not written yet.
    flying: usize,
    in_flight: usize,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Replies {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, encode: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        encode(&mut waiting);
        let wake = [waiting.writer.take(), waiting.reader.take()];
        drop(waiting);
        wake.into_iter().flatten().for_each(Waker::wake);
    }

    /// Everything that waits, as soon as something does.
    async fn take(&self, spare: BytesMut) -> BytesMut {
        // What was taken before is written.
        self.lock().flying = 0;
        let mut spare = Some(spare);
        poll_fn(|context| {
            let mut waiting = self.lock();
            if waiting.frames.is_empty() {
                waiting.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let spare = spare.take().unwrap_or_default();
            if let Some(reader) = waiting.reader.take() {
                reader.wake();
            }
            waiting.flying = waiting.frames.len();
            Poll::Ready(std::mem::replace(&mut waiting.frames, spare))
        })
        .await
    }

    fn has_room(&self) -> bool {
        let waiting = self.lock();
        waiting.in_flight < CLIENT_IN_FLIGHT_MAX && waiting.frames.len() < CLIENT_REPLIES_BYTES_MAX
    }

    /// Waits until one more may be asked.
    async fn room(&self) {
        poll_fn(|context| {
            if self.has_room() {
                return Poll::Ready(());
            }
            self.lock().reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The clients that are connected.
#[derive(Debug, Default)]
pub(super) struct Callers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    replies: BTreeMap<u64, Arc<Replies>>,
    last: u64,
}

/// A client's connection, as long as it lives.
struct Present {
    callers: Arc<Callers>,
    caller: Caller,
    replies: Arc<Replies>,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Present {
        let replies = Arc::<Replies>::default();
        let mut known = self.lock();
        known.last += 1;
        let caller = Caller(known.last);
        known.replies.insert(caller.0, Arc::clone(&replies));
        Present { callers: Arc::clone(self), caller, replies }
    }

    /// What it holds, but for what waits for nodes.
    pub(super) fn sizes(&self) -> Sizes {
        let known = self.lock();
        let mut sizes =
            Sizes { clients: Size::of(known.replies.len(), CONNECTIONS_MAX), ..Sizes::default() };
        for replies in known.replies.values() {
            let waiting = replies.lock();
            let requests = Size::of(waiting.in_flight, CLIENT_IN_FLIGHT_MAX);
            sizes.client_requests = sizes.client_requests.fuller(requests);
            let bytes = waiting.frames.len() + waiting.flying;
            let bytes = Size::of(bytes, 2 * CLIENT_REPLIES_BYTES_MOST);
            sizes.reply_bytes = sizes.reply_bytes.fuller(bytes);
        }
        sizes
    }

    /// Answers one request. Whether somebody still waits for it.
    pub(super) fn answer(&self, caller: Caller, response: &Response) -> bool {
        let Some(replies) = self.lock().replies.get(&caller.0).cloned() else { return false };
        replies.put(|waiting| {
            waiting.in_flight = waiting.in_flight.saturating_sub(1);
            let is_full = waiting.frames.len() >= CLIENT_REPLIES_BYTES_MAX;
            let short = is_full.then(|| shortened(response));
            let response = short.as_ref().unwrap_or(response);
            let framed =
                frame::encode(&mut waiting.frames, Kind::Response, |out| response.encode(out));
            if let Err(TooLong { len }) = framed {
                // The client hears nothing of it and asks again, in smaller pieces if it is wise.
                tracing::warn!(len, "a response is too long for a frame");
            }
        });
        true
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.callers.lock().replies.remove(&self.caller.0);
    }
}

/// An answer for who does not read those that wait: a read may be asked again, and what a write
/// found there is left out.
fn shortened(response: &Response) -> Response {
    mark!("client: an answer was shortened");
    let mut response = response.clone();
    match &mut response.outcome {
        Outcome::Ok(Reply::Done { old, .. } | Reply::Unmet { old, .. }) => {
            if matches!(old, Old::Found(_)) {
                *old = Old::NotKept;
            }
        }
        Outcome::Ok(reply) if !reply.is_of_a_write() => {
            response.outcome = Outcome::Refused(Refusal::Overloaded);
        }
        Outcome::Ok(_) | Outcome::Refused(_) | Outcome::Unknown => {}
    }
    response
}

/// A client's connection after the handshake. Answers why it ended.
pub(super) async fn attend<R, Q, S, W>(
    runtime: &R,
    hall: &Hall<Q>,
    client: ClientId,
    inlet: &mut Inlet<S>,
    writer: &mut W,
) -> Trouble
where
    R: Runtime,
    Q: From<Incoming> + Send + 'static,
    S: StreamRead,
    W: StreamWrite,
{
    inlet.agreed(CLIENT_READ_BYTES, FRAME_BODY_BYTES_MAX);
    let present = hall.callers.enter();
    let clock = runtime.clock();
    let signs = Signs::new(clock.now());
    let listen = async {
        loop {
            if let Err(trouble) = listen_once(runtime, hall, client, &present, inlet, &signs).await
            {
                return trouble;
            }
        }
    };
    let watch = async {
        while !signs.is_silent(clock.now(), CLIENT_SILENCE) {
            clock.sleep_until(clock.now() + CLIENT_SILENCE / 4).await;
        }
    };
    let write = write(clock, &present.replies, writer);
    match race(race(listen, write), watch).await {
        Either::Left(Either::Left(trouble) | Either::Right(trouble)) => trouble,
        Either::Right(()) => Trouble::Silent,
    }
}

/// Writes what is answered. Who does not take it in time is as good as silent, whatever he says.
async fn write<C: Clock, W: StreamWrite>(clock: &C, replies: &Replies, writer: &mut W) -> Trouble {
    let mut batch = BytesMut::new();
    loop {
        batch.clear();
        if batch.capacity() > BUFFER_KEPT_BYTES {
            batch = BytesMut::new();
        }
        batch = replies.take(batch).await;
        let patience = match planted!("peer_deaf_client_is_waited_for") {
            true => CLIENT_SILENCE * 100,
            false => CLIENT_SILENCE,
        };
        let until = clock.now() + patience + BYTE_WITHIN.saturating_mul(batch.len() as u32);
        match timeout(clock, until, write_all(writer, &batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => return trouble,
            Err(_) => {
                mark!("client: somebody did not take what he was answered");
                return Trouble::Silent;
            }
        }
    }
}

/// One read and all requests of it.
async fn listen_once<R: Runtime, Q: From<Incoming>, S: StreamRead>(
    runtime: &R,
    hall: &Hall<Q>,
    client: ClientId,
    present: &Present,
    inlet: &mut Inlet<S>,
    signs: &Signs,
) -> Result<(), Trouble> {
    let clock = runtime.clock();
    while let Some(frame) = inlet.take()? {
        match frame.kind {
            Kind::Ping => present.replies.put(|waiting| {
                frame::put_empty(&mut waiting.frames, Kind::Pong);
            }),
            Kind::Request => {
                let request = Request::decode(&frame.body)
                    .map_err(|_why| BadFrame::Body("it is not a request"))?;
                let session = request.session;
                if session.is_kept() && session.client != client {
                    return Err(BadFrame::Body("a request of another client").into());
                }
                room(clock, present, signs).await;
                present.replies.lock().in_flight += 1;
                let request = Incoming::Request { caller: present.caller, request };
                if let Err(request) = hall.give_now(request) {
                    signs.deaf();
                    hall.give(request).await?;
                    signs.seen(clock.now());
                }
            }
            Kind::Publish => {
                let message = Message::take(&frame.body);
                let message = message.ok_or(BadFrame::Body("it is not a message"))?;
                // It may take a while, when there are many patterns.
                signs.deaf();
                hall.post.deliver(runtime.task(), &message).await;
                signs.seen(clock.now());
            }
            Kind::SettingsAsk if frame.body.is_empty() => {
                // It costs little to ask, and the answer is long.
                if !planted!("peer_settings_pile_up") {
                    room(clock, present, signs).await;
                }
                present.replies.put(|waiting| {
                    let put = |out: &mut BytesMut| out.extend_from_slice(&hall.settings);
                    let framed = frame::encode(&mut waiting.frames, Kind::Settings, put);
                    debug_assert_eq!(framed, Ok(()), "settings fit into a frame");
                });
            }
            kind => return Err(BadFrame::Unexpected(kind).into()),
        }
    }
    inlet.read().await?;
    signs.seen(clock.now());
    Ok(())
}

/// Waits, and reads nothing meanwhile, while too much of a connection is on its way or waits.
async fn room<C: Clock>(clock: &C, present: &Present, signs: &Signs) {
    if !present.replies.has_room() {
        mark!("client: a connection had too much in flight");
        signs.deaf();
        present.replies.room().await;
        signs.seen(clock.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trilith_engine::{
        command::{Found, Told},
        types::{Sequence, Version},
    };

    /// A client asks for a thousand large values and reads none of the answers: all of them waited for
    /// it in memory.
    #[test]
    fn who_reads_nothing_is_answered_with_little() {
        let callers = Arc::<Callers>::default();
        let present = callers.enter();
        let found =
            || Found { version: Version(3), expires_ms: None, value: vec![7; 4 << 20].into() };
        let read = || Reply::Value(Some(found()));
        let write = || Reply::Done { version: Version(4), old: Old::Found(found()) };
        for nth in 0..CLIENT_IN_FLIGHT_MAX {
            let reply = if nth % 2 == 0 { read() } else { write() };
            let (told, outcome) = (Told::default(), Outcome::Ok(reply));
            let response = Response { sequence: Sequence(nth as u64), told, outcome };
            assert!(callers.answer(present.caller, &response));
            let now = callers.sizes().reply_bytes.now;
            let most = CLIENT_REPLIES_BYTES_MOST as u64;
            assert!(now <= most, "{now} bytes wait after {nth} answers");
        }
        drop(present);
        assert_eq!(callers.sizes().clients.now, 0);
    }
}
