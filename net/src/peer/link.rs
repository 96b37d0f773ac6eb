//! The sending side: one task for each other node, which connects, writes, and connects again.
//!
//! ```text
//!   outbox ──take──► write ═══════════════════════════════►  the other node (accept.rs)
//!   watch: ping into the outbox, every while       ◄══ pong, refusal ══
//! ```
//! Three loops run side by side in the task and share nothing but the time of the last sign of
//! life; the first to end ends the connection. A sign of life is whatever is read, and a write that
//! had to wait and went on: behind a long queue on a slow cable a pong comes late, yet the other
//! side is there. A write that did not wait says nothing, for our own kernel takes bytes for the
//! dead.
//!
//! What was in flight when a connection ended is lost, and nothing is sent twice: half a frame on
//! one connection cannot be continued on another.
//!
//! After a failure the task waits, twice as long each time and never exactly so long, so that
//! nodes that lost each other at one moment do not all knock at one moment. When the other node
//! connects to us, it is there: we do not wait any longer.
//!
//! Not here: what may wait (`outbox.rs`), the receiving side (`accept.rs`).

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use trilith_engine::{
    mark, planted,
    runtime::{
        Clock, Either, Net, Receiver, Rng, Runtime, Stream, StreamRead, StreamWrite, race, timeout,
    },
    types::NodeId,
};

use super::{
    Hall, Incoming, Trouble,
    hello::{Hello, Purpose, Ready, Refusal, Versions},
    outbox::Outbox,
    proof::{Nonce, Secret, introduce},
    register::{Seat, Way},
    stream::{Inlet, Signs, dismiss, write_all, write_some},
};
use crate::{
    frame::{BadFrame, Kind},
    limits::BUFFER_KEPT_BYTES,
};

/// The task for one other node.
pub(super) struct Link<R: Runtime, Q> {
    pub(super) runtime: R,
    pub(super) hall: Arc<Hall<Q>>,
    pub(super) whom: NodeId,
    pub(super) at: SocketAddr,
    pub(super) outbox: Arc<Outbox>,
    /// Says something when the other node has connected to us.
    pub(super) knocked: Receiver<()>,
}

/// How a connection ended.
struct Over {
    trouble: Trouble,
    was_up: bool,
}

impl<R: Runtime, Q: From<Incoming> + Send + 'static> Link<R, Q> {
    /// Runs until the node is gone.
    pub(super) async fn run(mut self) {
        let mut luck = self.runtime.rng("links");
        let options = self.hall.options;
        let mut wait = options.backoff_min;
        loop {
            let known = options.secrets.map(|secrets| secrets.first());
            let known = known.map(|secret| (secret, secret.nonce(&mut luck)));
            let Over { trouble, was_up } = self.connection(known).await;
            if trouble == Trouble::NodeGone || was_up && planted!("peer_no_reconnect") {
                return;
            }
            wait = match trouble {
                // People must do something first.
                Trouble::Refused(_) | Trouble::Refusing(_) => options.backoff_max,
                _ if was_up => options.backoff_min,
                _ => wait.saturating_mul(2).min(options.backoff_max),
            };
            let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(2);
            let pause = Duration::from_nanos(luck.range(nanos / 2..nanos));
            let clock = self.runtime.clock();
            let until = clock.now() + pause;
            match race(self.knocked.recv(), clock.sleep_until(until)).await {
                Either::Left(_) => wait = options.backoff_min,
                Either::Right(()) => {}
            }
        }
    }

    /// One connection, from its making to its end.
    async fn connection(&mut self, known: Option<(Secret, Nonce)>) -> Over {
        let clock = self.runtime.clock().clone();
        let within = self.hall.options.connect_within;
        let deadline = clock.now() + within;
        let stream = match self.runtime.net().connect(self.at, deadline).await {
            Ok(stream) => stream,
            Err(why) => return self.failed(Trouble::Net(why)),
        };
        let (reader, mut writer) = stream.split();
        let mut inlet = Inlet::new(reader);
        // Whoever connected to us before this moment needs no answer but this one.
        while self.knocked.pop().is_some() {}
        let shaken = timeout(&clock, deadline, self.shake(&mut inlet, &mut writer, known)).await;
        let _seat = match shaken.unwrap_or(Err(Trouble::Silent)) {
            Ok(seat) => seat,
            Err(trouble) => {
                if let Trouble::Refusing(refusal) = trouble {
                    dismiss(&clock, within, &mut inlet, &mut writer, refusal).await;
                }
                return self.failed(trouble);
            }
        };
        self.outbox.open();
        tracing::info!(node = self.whom.0, at = %self.at, "link up");
        let trouble = match self.hall.give(Incoming::Up(self.whom)).await {
            Ok(()) => self.carry(&mut inlet, &mut writer).await,
            Err(gone) => gone,
        };
        self.outbox.close(&trouble);
        tracing::info!(node = self.whom.0, %trouble, "link down");
        if planted!("peer_down_not_told") {
            return Over { trouble, was_up: true };
        }
        let told = self.hall.give(Incoming::Down(self.whom)).await;
        Over { trouble: told.err().unwrap_or(trouble), was_up: true }
    }

    /// The connection's life after the handshake. Answers why it ended.
    async fn carry<S: StreamRead, W: StreamWrite>(
        &self,
        inlet: &mut Inlet<S>,
        writer: &mut W,
    ) -> Trouble {
        let signs = Signs::new(self.runtime.clock().now());
        let both = race(self.write(writer, &signs), self.hear(inlet, &signs));
        match race(both, self.watch(&signs)).await {
            Either::Left(Either::Left(trouble) | Either::Right(trouble)) => trouble,
            Either::Right(()) => Trouble::Silent,
        }
    }

    fn failed(&self, trouble: Trouble) -> Over {
        // The same failure again and again is told once.
        if self.outbox.close(&trouble) {
            tracing::warn!(node = self.whom.0, at = %self.at, %trouble, "no link");
        }
        Over { trouble, was_up: false }
    }

    async fn shake<S: StreamRead, W: StreamWrite>(
        &self,
        inlet: &mut Inlet<S>,
        writer: &mut W,
        known: Option<(Secret, Nonce)>,
    ) -> Result<Seat, Trouble> {
        let purpose = Purpose::Peer { who: self.hall.own, whom: self.whom };
        let hello = Hello { versions: Versions::OURS, purpose };
        let welcome = match introduce(inlet, writer, &hello, known).await? {
            Ok(welcome) => welcome,
            Err(refusal) => return Err(self.hall.refused(self.whom, refusal).await),
        };
        let judged = self.hall.own.judge_welcome(&welcome, self.whom);
        judged.map_err(Trouble::Refusing)?;
        // Who it is now is another question: it has written us down.
        let (by, standing) = (self.whom, welcome.standing);
        self.hall.give(Incoming::Welcomed { by, standing }).await?;
        self.hall.admit(self.whom, welcome.who.directory).await?;
        let seat = self.hall.register.enter(self.whom, welcome.who.directory, Way::Out);
        let seat = seat.map_err(Trouble::Refusing)?;
        let mut words = BytesMut::new();
        Ready { token: welcome.token }.put(&mut words);
        write_all(writer, &words).await?;
        Ok(seat)
    }

    /// Writes what waits, all of it at once, until that fails.
    async fn write<W: StreamWrite>(&self, writer: &mut W, signs: &Signs) -> Trouble {
        let mut batch = BytesMut::new();
        loop {
            batch.clear();
            if batch.capacity() > BUFFER_KEPT_BYTES {
                batch = BytesMut::new();
            }
            batch = self.outbox.take(batch).await;
            let mut written = 0;
            while written < batch.len() {
                let mut waited = false;
                let mut write = pin!(write_some(writer, &batch[written..]));
                let taken = poll_fn(|context| {
                    let polled = write.as_mut().poll(context);
                    waited |= polled.is_pending();
                    polled
                });
                match taken.await {
                    Ok(taken) => written += taken,
                    Err(trouble) => return trouble,
                }
                if waited {
                    mark!("peer: a write had to wait");
                    signs.seen(self.runtime.clock().now());
                }
            }
        }
    }

    /// Listens for signs of life and for last words.
    async fn hear<S: StreamRead>(&self, inlet: &mut Inlet<S>, signs: &Signs) -> Trouble {
        loop {
            match self.hear_once(inlet).await {
                Ok(()) => signs.seen(self.runtime.clock().now()),
                Err(trouble) => return trouble,
            }
        }
    }

    async fn hear_once<S: StreamRead>(&self, inlet: &mut Inlet<S>) -> Result<(), Trouble> {
        let frame = inlet.frame().await?;
        match frame.kind {
            Kind::Pong => Ok(()),
            Kind::Refusal => Err(Trouble::Refused(Refusal::take(&frame)?)),
            kind => Err(Trouble::Garbage(BadFrame::Unexpected(kind))),
        }
    }

    /// Asks for signs of life; ends when none comes.
    async fn watch(&self, signs: &Signs) {
        let (clock, options) = (self.runtime.clock(), self.hall.options);
        loop {
            clock.sleep_until(clock.now() + options.ping_every).await;
            if signs.is_silent(clock.now(), options.silence) {
                mark!("peer: a silent connection was given up");
                return;
            }
            self.outbox.ping();
        }
    }
}
