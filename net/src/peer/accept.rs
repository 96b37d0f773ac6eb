//! The receiving side: one task that accepts, and one for each connection.
//!
//! ```text
//!   listener ──► greet ──► listen: read ─► all frames of it ─► the node's queue
//!                  │          pong for a ping, while the node moves; silence, garbage or a newer connection end it
//!                  └─► refuse: say why, close
//! ```
//! When the node's queue is full, its connections are not read: the kernels' buffers fill, then the
//! sender's outbox, and there the oldest goes. Nothing is dropped here.
//!
//! A connection that sends garbage is told so and closed; no other one notices. Neither does anybody
//! notice a stranger where the cluster has a secret: no directory is written down for him.
//!
//! Not here: who belongs here (`hello.rs`), the sending side (`link.rs`).

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use trilith_engine::{
    mark, planted,
    runtime::{
        Clock, Either, Listener, Rng, Runtime, Stream, StreamRead, StreamWrite, race, timeout,
    },
    shard::Standing,
    types::{ClientId, NodeId},
};

use super::{
    Hall, Incoming, Trouble, callers, codec,
    hello::{Hello, Identity, Purpose, Ready, Refusal, Welcome},
    proof::{Nonce, Proven, Says, Secrets},
    register::{Seat, Way},
    stream::{Inlet, Signs, dismiss, write_all},
};
use crate::{
    frame::{self, HEADER_BYTES, Kind},
    guests::Guests,
    limits::{CONNECTIONS_MAX, FRAME_BODY_BYTES_MAX, PEER_READ_BYTES},
    meters::Which,
};

/// Accepts connections until the listener's task is dropped, and they with it.
pub(super) async fn accept<R: Runtime, L: Listener, Q: From<Incoming> + Send + 'static>(
    runtime: R,
    hall: Arc<Hall<Q>>,
    mut listener: L,
) {
    let place = (Arc::clone(&hall.meters), Which::Peer);
    let mut guests = Guests::new(runtime.clone(), CONNECTIONS_MAX, place);
    let mut tokens = runtime.rng("tokens");
    loop {
        let (stream, from) = guests.accept(&mut listener).await;
        let (token, secrets) = (tokens.next_u64(), hall.options.secrets);
        let known = secrets.map(|secrets| (secrets, secrets.first().nonce(&mut tokens)));
        let (runtime, hall) = (runtime.clone(), Arc::clone(&hall));
        guests.host("incoming", Visit { runtime, hall, from, known }.serve(stream, token));
    }
}

/// One connection that somebody else opened.
struct Visit<R, Q> {
    runtime: R,
    hall: Arc<Hall<Q>>,
    from: SocketAddr,
    /// What must be known to come in, and the number for this handshake.
    known: Option<(Secrets, Nonce)>,
}

/// Who has come in.
enum Guest {
    Peer(NodeId, Seat),
    Client(ClientId),
}

impl<R: Runtime, Q: From<Incoming> + Send + 'static> Visit<R, Q> {
    async fn serve<S: Stream>(self, stream: S, token: u64) {
        let (reader, mut writer) = stream.split();
        let mut inlet = Inlet::new(reader);
        let clock = self.runtime.clock();
        let within = self.hall.options.connect_within;
        let greeted = self.greet(&mut inlet, &mut writer, token);
        let greeted = timeout(clock, clock.now() + within, greeted).await;
        let trouble = match greeted.unwrap_or(Err(Trouble::Silent)) {
            Ok(Guest::Peer(node, seat)) => self.stay(node, seat, &mut inlet, &mut writer).await,
            Ok(Guest::Client(client)) => {
                callers::attend(&self.runtime, &self.hall, client, &mut inlet, &mut writer).await
            }
            Err(trouble) => trouble,
        };
        if let Trouble::Refusing(why) | Trouble::Refused(why) = &trouble
            && matches!(why, Refusal::Unproven | Refusal::NoSecret)
        {
            let (from, others) = (self.from, self.hall.strangers.tells(clock.now()));
            if let Some(others) = others {
                tracing::warn!(%from, %why, others, "somebody did not prove that he belongs here");
            }
        }
        let refusal = match trouble {
            Trouble::Refusing(refusal) => refusal,
            Trouble::Garbage(why) => {
                mark!("peer: garbage ended a connection");
                if let Some(others) = self.hall.garbage.tells(clock.now()) {
                    let from = self.from;
                    tracing::warn!(%from, %why, others, "an incoming connection sent garbage");
                }
                Refusal::Garbage
            }
            Trouble::Silent => Refusal::Silent,
            Trouble::Net(_)
            | Trouble::Ended
            | Trouble::Refused(_)
            | Trouble::Replaced
            | Trouble::NodeGone => return,
        };
        self.hall.meters.peer.refused.add(1);
        dismiss(clock, within, &mut inlet, &mut writer, refusal).await;
    }

    /// The handshake.
    async fn greet<S: StreamRead, W: StreamWrite>(
        &self,
        inlet: &mut Inlet<S>,
        writer: &mut W,
        token: u64,
    ) -> Result<Guest, Trouble> {
        let frame = inlet.frame().await?;
        let hello = Hello::take(&frame)?;
        let proven = match self.known {
            Some(known) => Some(Proven::ask(inlet, writer, frame.body, known).await?),
            None => None,
        };
        let (version, standing) = match (self.admit(&hello).await, &proven) {
            (Err(Trouble::Refusing(refusal)), Some(proven)) => {
                proven.refuse(refusal, writer).await?;
                return Err(Trouble::Refusing(refusal));
            }
            (admitted, _) => admitted?,
        };
        let own = self.hall.own;
        let (mut words, mut welcome) = (BytesMut::new(), BytesMut::new());
        Welcome { version, standing, who: own, token }.put(&mut welcome);
        if let Some(proven) = proven {
            proven.answer(Says::Welcome(&welcome[HEADER_BYTES..]), &mut words);
        }
        words.extend_from_slice(&welcome);
        write_all(writer, &words).await?;
        if !planted!("peer_stale_hello_accepted") {
            let frame = inlet.frame().await?;
            if frame.kind == Kind::Refusal {
                let refusal = Refusal::take(&frame)?;
                let Purpose::Peer { who, .. } = hello.purpose else {
                    return Err(Trouble::Refused(refusal));
                };
                return Err(self.hall.refused(who.node, refusal).await);
            }
            if Ready::take(&frame)?.token != token {
                return Err(Trouble::Refusing(Refusal::Garbage));
            }
        }
        match hello.purpose {
            Purpose::Client { client, .. } => Ok(Guest::Client(client)),
            Purpose::Peer { who: Identity { node, directory, .. }, .. } => {
                let seat = self.hall.register.enter(node, directory, Way::In);
                let seat = seat.map_err(Trouble::Refusing)?;
                self.hall.knock(node);
                Ok(Guest::Peer(node, seat))
            }
        }
    }

    /// Whether he may come in, in which version, and what he is. Why he may not says much of this node.
    async fn admit(&self, hello: &Hello) -> Result<(u8, Standing), Trouble> {
        let judged = self.hall.own.judge_hello(hello, &self.hall.members);
        let version = judged.map_err(Trouble::Refusing)?;
        let Purpose::Peer { who: Identity { node, directory, .. }, .. } = hello.purpose else {
            return Ok((version, Standing::Founder));
        };
        self.hall.register.admits(node, directory).map_err(Trouble::Refusing)?;
        Ok((version, self.hall.admit(node, directory).await?))
    }

    /// The connection's life after it. Answers why it ended.
    async fn stay<S: StreamRead, W: StreamWrite>(
        &self,
        node: NodeId,
        mut seat: Seat,
        inlet: &mut Inlet<S>,
        writer: &mut W,
    ) -> Trouble {
        inlet.agreed(PEER_READ_BYTES, FRAME_BODY_BYTES_MAX);
        let signs = Signs::new(self.runtime.clock().now());
        let both = race(self.listen(node, inlet, writer, &signs), self.watch(&signs));
        match race(seat.taken.recv(), both).await {
            Either::Left(_) => Trouble::Replaced,
            Either::Right(Either::Left(trouble)) => trouble,
            Either::Right(Either::Right(())) => Trouble::Silent,
        }
    }

    async fn listen<S: StreamRead, W: StreamWrite>(
        &self,
        node: NodeId,
        inlet: &mut Inlet<S>,
        writer: &mut W,
        signs: &Signs,
    ) -> Trouble {
        loop {
            if let Err(trouble) = self.listen_once(node, inlet, writer, signs).await {
                return trouble;
            }
        }
    }

    /// One read and all frames of it.
    async fn listen_once<S: StreamRead, W: StreamWrite>(
        &self,
        node: NodeId,
        inlet: &mut Inlet<S>,
        writer: &mut W,
        signs: &Signs,
    ) -> Result<(), Trouble> {
        let clock = self.runtime.clock();
        let mut asked = false;
        while let Some(frame) = inlet.take()? {
            if frame.kind == Kind::Ping {
                asked = true;
                continue;
            }
            let packet = Incoming::Packet { from: node, packet: codec::decode(frame)? };
            if let Err(packet) = self.hall.give_now(packet) {
                // Not read meanwhile, so that nobody counts the silence.
                mark!("peer: the node's queue was full");
                if planted!("peer_newest_dropped_unseen") {
                    continue;
                }
                signs.deaf();
                self.hall.give(packet).await?;
                signs.seen(clock.now());
            }
        }
        if asked && self.hall.pulse.hangs(clock.now(), self.hall.options.silence / 2) {
            mark!("peer: a node that hangs is not vouched for");
        } else if asked {
            let mut pong = BytesMut::with_capacity(HEADER_BYTES);
            frame::put_empty(&mut pong, Kind::Pong);
            write_all(writer, &pong).await?;
        }
        inlet.read().await?;
        signs.seen(clock.now());
        Ok(())
    }

    async fn watch(&self, signs: &Signs) {
        let (clock, options) = (self.runtime.clock(), self.hall.options);
        while !signs.is_silent(clock.now(), options.silence) {
            clock.sleep_until(clock.now() + options.ping_every).await;
        }
    }
}
