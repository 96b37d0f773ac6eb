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
//! What all clients hold together is bounded, too ([`CLIENTS_BYTES_MAX`]): a request that there
//! is no room for is refused as one that there are too many of, answers are then answered with little,
//! and a connection ends that would hold more of a request that is not whole.
//!
//! Invariants: a connection has at most [`CLIENT_IN_FLIGHT_MAX`] requests at the node, and never more
//! answers than [`CLIENT_REPLIES_BYTES_MOST`] that wait and as many that are being written; a request
//! carries the client that the connection's Hello named, or nobody.
//!
//! Not here: the client's side (`client/`), what a request means.
//!
//! [`CLIENTS_BYTES_MAX`]: crate::limits::CLIENTS_BYTES_MAX

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::BytesMut;
use trilith_engine::{
    command::{Old, Outcome, Refusal, Reply, Request, Response, Told},
    mark, planted,
    runtime::{Clock, Either, Runtime, StreamRead, StreamWrite, race, timeout},
    types::{ClientId, Sequence, Size},
};

use super::{
    Caller, Hall, Incoming, Sizes, Trouble,
    stream::{Inlet, Signs, write_all},
};
use crate::{
    frame::{self, BadFrame, Kind, TooLong},
    held::{Held, Total},
    limits::{
        BUFFER_KEPT_BYTES, BYTE_WITHIN, CLIENT_IN_FLIGHT_MAX, CLIENT_READ_BYTES,
        CLIENT_REPLIES_BYTES_MAX, CLIENT_REPLIES_BYTES_MOST, CLIENT_SILENCE, CONNECTIONS_MAX,
        FRAME_BODY_BYTES_MAX,
    },
    resp::post::Message,
};

/// What waits to be written to one client.
#[derive(Debug)]
struct Replies(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    frames: BytesMut,
    /// Bytes that the writer took and has not written yet.
    flying: usize,
    in_flight: usize,
    /// Those of them that are long, with their bytes. Short ones are few: the node's queue has so
    /// many places.
    long: Vec<(Sequence, usize)>,
    /// What this is of all that clients hold.
    held: Held,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Waiting {
    fn new(of: &Total) -> Self {
        let (frames, held) = (BytesMut::new(), Held::new(of));
        Self { frames, flying: 0, in_flight: 0, long: Vec::new(), held, writer: None, reader: None }
    }

    /// It holds what it holds. Whether there is room for that.
    fn holds(&mut self) -> bool {
        let long: usize = self.long.iter().map(|(_, bytes)| bytes).sum();
        let has_room = self.held.hold(self.frames.len() + self.flying + long);
        has_room || planted!("peer_clients_of_all_unbounded")
    }

    /// One more is asked, with so many bytes. Whether there is room for it.
    fn asks(&mut self, sequence: Sequence, bytes: usize) -> bool {
        if bytes > CLIENT_READ_BYTES {
            self.long.push((sequence, bytes));
            if !self.holds() {
                self.long.pop();
                return false;
            }
        }
        self.in_flight += 1;
        true
    }

    /// One is answered, with little if there is no room for more.
    fn answers(&mut self, response: &Response) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_it = |(asked, _): &(Sequence, usize)| *asked == response.sequence;
        if let Some(at) = self.long.iter().position(is_it) {
            self.long.swap_remove(at);
        }
        let before = self.frames.len();
        if before < CLIENT_REPLIES_BYTES_MAX {
            self.put(response);
            if self.holds() {
                return;
            }
            mark!("client: clients held too much together");
            self.frames.truncate(before);
        }
        self.put(&shortened(response));
        // It is little, and must be said.
        let _has_room = self.holds();
    }

    fn put(&mut self, response: &Response) {
        let framed = frame::encode(&mut self.frames, Kind::Response, |out| response.encode(out));
        if let Err(TooLong { len }) = framed {
            // The client hears nothing of it and asks again, in smaller pieces if it is wise.
            tracing::warn!(len, "a response is too long for a frame");
        }
    }
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
        {
            // What was taken before is written.
            let mut waiting = self.lock();
            waiting.flying = 0;
            let _less_is_always_there = waiting.holds();
        }
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
#[derive(Debug)]
pub(super) struct Callers {
    known: Mutex<Known>,
    /// What all of them hold.
    held: Total,
}

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
    /// Nobody yet, of those who hold that together.
    pub(super) const fn new(held: Total) -> Self {
        let known = Known { replies: BTreeMap::new(), last: 0 };
        Self { known: Mutex::new(known), held }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Present {
        let replies = Arc::new(Replies(Mutex::new(Waiting::new(&self.held))));
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
        replies.put(|waiting| waiting.answers(response));
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
        let mut begun = Held::new(&hall.callers.held);
        loop {
            if let Err(trouble) = listen_once(runtime, hall, client, &present, inlet, &signs).await
            {
                return trouble;
            }
            if !begun.hold(inlet.held()) && !planted!("peer_clients_of_all_unbounded") {
                return crowded(hall);
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
                let sequence = session.sequence;
                if !present.replies.lock().asks(sequence, frame.body.len()) {
                    mark!("client: a request was refused since clients held too much");
                    let outcome = Outcome::Refused(Refusal::Overloaded);
                    let refused = Response { sequence, told: Told::default(), outcome };
                    present.replies.put(|waiting| waiting.put(&refused));
                    continue;
                }
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
                let mut has_room = true;
                present.replies.put(|waiting| {
                    let put = |out: &mut BytesMut| out.extend_from_slice(&hall.settings);
                    let framed = frame::encode(&mut waiting.frames, Kind::Settings, put);
                    debug_assert_eq!(framed, Ok(()), "settings fit into a frame");
                    has_room = waiting.holds();
                });
                if !has_room {
                    return Err(crowded(hall));
                }
            }
            kind => return Err(BadFrame::Unexpected(kind).into()),
        }
    }
    inlet.read().await?;
    signs.seen(clock.now());
    Ok(())
}

/// All clients hold too much, and this one is to go. He comes again, or asks another node.
fn crowded<Q>(hall: &Hall<Q>) -> Trouble {
    mark!("client: one was let go since clients held too much together");
    hall.meters.peer.refused.add(1);
    tracing::warn!("clients held too much together; one that wanted more was let go");
    Trouble::Ended
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
    use crate::limits::CLIENTS_BYTES_MAX;
    use trilith_engine::{command::Found, types::Version};

    /// A client asks for a thousand large values and reads none of the answers: all of them waited for
    /// it in memory.
    #[test]
    fn who_reads_nothing_is_answered_with_little() {
        let callers = Arc::new(Callers::new(Total::new(CLIENTS_BYTES_MAX)));
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
    fn response(nth: u64, bytes: usize) -> Response {
        let found = Found { version: Version(3), expires_ms: None, value: vec![7; bytes].into() };
        let (told, outcome) = (Told::default(), Outcome::Ok(Reply::Value(Some(found))));
        Response { sequence: Sequence(nth), told, outcome }
    }

    /// Each client had room for itself, and a thousand may come.
    #[test]
    fn what_all_clients_hold_is_bounded() {
        let held = Total::new(8 << 20);
        let callers = Arc::new(Callers::new(held.clone()));
        let all: Vec<Present> = (0..10).map(|_| callers.enter()).collect();
        for present in &all {
            assert!(callers.answer(present.caller, &response(1, 1 << 20)));
        }
        assert!(held.bytes() <= 8 << 20, "{}", held.bytes());
        let waits = |nth: usize| all[nth].replies.lock().frames.len();
        assert!(waits(7) > 1 << 20 && waits(9) < 100, "the last ones are to ask again");
        // Little always has room; long requests have not.
        assert!(callers.answer(all[9].caller, &response(2, 1 << 10)) && waits(9) > 1 << 10);
        assert!(!all[9].replies.lock().asks(Sequence(3), 1 << 20));
        assert!(all[9].replies.lock().asks(Sequence(3), 100));
        assert!(all[8].replies.lock().asks(Sequence(3), CLIENT_READ_BYTES + 1));
        assert_eq!(all[9].replies.lock().in_flight, 1);
        drop(all);
        assert_eq!(held.bytes(), 0);
    }

    /// A request is held until it is answered.
    #[test]
    fn long_requests_under_way_are_counted() {
        let held = Total::new(8 << 20);
        let callers = Arc::new(Callers::new(held.clone()));
        let present = callers.enter();
        let asks = |nth| present.replies.lock().asks(Sequence(nth), 1 << 20);
        assert_eq!((1..=10).filter(|nth| asks(*nth)).count(), 8);
        for nth in 1..=8 {
            assert!(callers.answer(present.caller, &response(nth, 10)));
        }
        assert_eq!(held.bytes(), 0);
        assert!(asks(11));
    }
}
