//! A connection of a client that speaks the text protocol: one request at a time, read, done,
//! answered.
//!
//! What it may hold is bounded as HTTP connections' is (`held.rs`). When the node ends, a request that
//! was begun is answered, and the connection is closed.
//!
//! Not here: how requests are cut (`syntax.rs`).

use std::{net::SocketAddr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use trilith_engine::{
    command::{Command, Condition, Expiry, Op, Outcome, Refusal, Reply},
    mark, planted,
    runtime::{
        Clock, Either, Instant, Listener, Runtime, Stream, StreamRead, StreamWrite, race, timeout,
    },
};

use super::syntax::{Ask, Broken, Cutter};
use crate::{
    client::{Client, Wish},
    ending::Ending,
    gate::{Entry, Gate, Guesses},
    held::Held,
    limits::{
        BUFFER_KEPT_BYTES, BYTE_WITHIN, CLIENT_READ_BYTES, GUEST_PARTS_WITHIN, STRANGER_STAYS,
        TEXT_ARRIVES_WITHIN, TEXT_CONNECTIONS_MAX, TEXT_SILENCE,
    },
    meters::{Meters, Which},
    peer::stream::{part, write_all},
    port::{Plan, Port},
};

const OK: &str = "OK\n";
const NOT_FOUND: &str = "NOT_FOUND\n";
const IN_DOUBT: &str =
    "UNKNOWN no answer came in time: it may have happened, or may happen still\n";
const UNREAD: &str = "ERROR no answer came in time; ask again, or another node\n";
const CROWDED: &str = "ERROR too many large requests are under way; wait a little and ask again\n";
const ENDS: &str = "ERROR the node ends; ask another one\n";
const LATE: &str = "ERROR the request did not arrive in time; send it whole\n";

/// What all connections have in common.
struct House<R: Runtime> {
    runtime: R,
    lanes: Arc<[Client<R>]>,
    gate: Arc<Gate<R>>,
    meters: Arc<Meters>,
    ending: Arc<Ending>,
    wish: Wish,
}

/// Serves whoever comes to that listener, by asking these clients of the cluster.
#[must_use]
pub(crate) fn open<R: Runtime, L: Listener>(
    runtime: &R,
    (lanes, wish): (Arc<[Client<R>]>, Wish),
    (gate, meters): (Arc<Gate<R>>, Arc<Meters>),
    listener: L,
) -> Port<R> {
    let (ending, place) = (Arc::<Ending>::default(), (Arc::clone(&meters), Which::Text));
    let names = ("text listener", "text");
    let plan = Plan { names, most: TEXT_CONNECTIONS_MAX, place, ending: Arc::clone(&ending) };
    let runtime = runtime.clone();
    let house = House { runtime: runtime.clone(), lanes, gate, meters, ending, wish };
    let (house, mut number) = (Arc::new(house), 0);
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

/// Why a connection ends.
enum Over {
    /// These last words are still to be said.
    Said(String),
    /// Nobody is there any more.
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
    /// Nobody has said who it is, and somebody has to.
    is_stranger: bool,
    /// When the next request must be whole.
    until: Instant,
    /// When it ends if nobody has said who it is.
    stays: Instant,
}

impl<R: Runtime> Visit<R> {
    fn clock(&self) -> &R::Clock {
        self.house.runtime.clock()
    }

    async fn serve<S: Stream>(self, stream: S) {
        let (mut reader, mut writer) = stream.split();
        let mut talk = Talk {
            cutter: Cutter::default(),
            bytes: BytesMut::new(),
            out: BytesMut::new(),
            held: Held::new(&self.house.meters.totals.text),
            guesses: Guesses::none(self.from, Which::Text),
            is_stranger: !self.house.gate.is_open() && !planted!("text_no_auth_asked"),
            until: self.clock().now() + TEXT_ARRIVES_WITHIN,
            stays: self.clock().now() + STRANGER_STAYS,
        };
        let mut piece = vec![0; CLIENT_READ_BYTES];
        let over = loop {
            let done = match talk.cutter.take(&mut talk.bytes, talk.is_stranger) {
                Ok(Some(ask)) => self.answer(&mut talk, ask, &mut writer).await,
                Ok(None) => self.more(&mut talk, &mut reader, &mut piece).await,
                Err(broken) => Err(self.refuse(broken)),
            };
            if let Err(over) = done {
                break over;
            }
        };
        if let Over::Said(words) = over {
            let streams = (&mut reader, &mut writer);
            part(self.clock(), GUEST_PARTS_WITHIN, streams, &mut piece, words.as_bytes()).await;
        }
    }

    fn refuse(&self, broken: Broken) -> Over {
        mark!("text: a connection sent what is no request");
        self.house.meters.text.refused.add(1);
        Over::Said(format!("ERROR {broken}\n"))
    }

    /// Does what is asked, and answers.
    async fn answer<S: StreamWrite>(
        &self,
        talk: &mut Talk,
        ask: Ask,
        writer: &mut S,
    ) -> Result<(), Over> {
        let is_read = matches!(ask, Ask::Get(_));
        match ask {
            Ask::Login(name, password) => self.login(talk, &name, &password).await,
            Ask::Get(key) => self.get(key, &mut talk.out).await,
            Ask::Set(key, value) => {
                let (expiry, condition) = (Expiry::None, Condition::Always);
                let command = Command::Set { key, value, expiry, condition, want_old: false };
                talk.out.put_slice(self.write(command).await.as_bytes());
            }
            Ask::Delete(key) => {
                let command =
                    Command::Delete { key, condition: Condition::Always, want_old: false };
                talk.out.put_slice(self.write(command).await.as_bytes());
            }
        }
        // What was done is told in any case.
        if !talk.held.hold(talk.out.len() + talk.bytes.len()) && is_read {
            mark!("text: connections held too much");
            return Err(Over::Said(CROWDED.to_owned()));
        }
        self.send(talk, writer).await?;
        if talk.bytes.is_empty() {
            // The room of a long value goes back.
            talk.bytes = BytesMut::new();
        }
        let _fits = talk.held.hold(talk.bytes.len());
        let silence = if talk.is_stranger { TEXT_ARRIVES_WITHIN } else { TEXT_SILENCE };
        talk.until = self.clock().now() + silence;
        let is_overdue = stays(talk).is_some_and(|stays| self.clock().now() >= stays);
        let is_over = is_overdue || self.house.ending.is_over(self.number);
        if is_over { Err(Over::Said(String::new())) } else { Ok(()) }
    }

    async fn login(&self, talk: &mut Talk, name: &[u8], password: &[u8]) {
        let said = match self.house.gate.enter(name, password, &mut talk.guesses).await {
            Entry::In(_) => {
                talk.is_stranger = false;
                OK
            }
            Entry::Wrong => "ERROR there is no such user, or his password is another one\n",
            Entry::Crowded => "ERROR too many want to log in; wait a little and ask again\n",
        };
        talk.out.put_slice(said.as_bytes());
    }

    async fn call(&self, op: Op) -> Outcome {
        let lanes = &self.house.lanes;
        let lane = &lanes[(self.number % lanes.len().max(1) as u64) as usize];
        lane.call(op, self.house.wish).await.outcome
    }

    async fn get(&self, key: Bytes, out: &mut BytesMut) {
        match self.call(Op::Get(key)).await {
            Outcome::Ok(Reply::Value(Some(found))) => {
                out.reserve(found.value.len() + 32);
                out.put_slice(format!("VALUE {}\n", found.value.len()).as_bytes());
                out.put_slice(&found.value);
            }
            Outcome::Ok(Reply::Value(None)) => out.put_slice(NOT_FOUND.as_bytes()),
            Outcome::Refused(refusal) => out.put_slice(refused(refusal).as_bytes()),
            Outcome::Ok(_) | Outcome::Unknown => out.put_slice(UNREAD.as_bytes()),
        }
    }

    async fn write(&self, command: Command) -> String {
        match self.call(Op::Write(command)).await {
            Outcome::Ok(Reply::Done { .. }) => OK.to_owned(),
            Outcome::Ok(Reply::Unmet { .. }) => NOT_FOUND.to_owned(),
            Outcome::Refused(refusal) => refused(refusal),
            Outcome::Unknown if planted!("text_unknown_is_told_as_nothing") => UNREAD.to_owned(),
            Outcome::Ok(_) | Outcome::Unknown => IN_DOUBT.to_owned(),
        }
    }

    /// Reads something more of a request, until the time is over or the node ends.
    async fn more<S: StreamRead>(
        &self,
        talk: &mut Talk,
        reader: &mut S,
        piece: &mut [u8],
    ) -> Result<(), Over> {
        let was_between = talk.cutter.is_between(&talk.bytes);
        let until = stays(talk).map_or(talk.until, |stays| talk.until.min(stays));
        let reads = timeout(self.clock(), until, reader.read(piece));
        let read = match race(reads, self.house.ending.ends(self.number)).await {
            Either::Left(Ok(Ok(0) | Err(_))) => return Err(Over::Gone),
            Either::Left(Ok(Ok(read))) => read,
            // Nothing was asked: nothing is to be said.
            _ if was_between => return Err(Over::Said(String::new())),
            Either::Left(Err(_)) => {
                mark!("text: a request did not arrive in time");
                return Err(Over::Said(LATE.to_owned()));
            }
            Either::Right(()) => return Err(Over::Said(ENDS.to_owned())),
        };
        if was_between {
            talk.until = self.clock().now() + TEXT_ARRIVES_WITHIN;
        }
        talk.bytes.extend_from_slice(&piece[..read]);
        // A long value on a slow line comes at some pace.
        talk.until = talk.until + BYTE_WITHIN.saturating_mul(read as u32);
        if talk.held.hold(talk.bytes.len()) {
            return Ok(());
        }
        mark!("text: connections held too much");
        Err(Over::Said(CROWDED.to_owned()))
    }

    /// Writes what is to be written, at some pace.
    async fn send<S: StreamWrite>(&self, talk: &mut Talk, writer: &mut S) -> Result<(), Over> {
        let pace = BYTE_WITHIN.saturating_mul(talk.out.len() as u32);
        let patience = match planted!("text_deaf_clients_are_waited_for") {
            true => TEXT_SILENCE,
            false => TEXT_ARRIVES_WITHIN,
        };
        let until = self.clock().now() + patience + pace;
        let written = timeout(self.clock(), until, write_all(writer, &talk.out)).await;
        talk.out.clear();
        if talk.out.capacity() > BUFFER_KEPT_BYTES {
            talk.out = BytesMut::new();
        }
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over::Gone),
        }
    }
}

/// When the connection ends whatever is asked; never where it is known who asks.
fn stays(talk: &Talk) -> Option<Instant> {
    (talk.is_stranger && !planted!("text_strangers_stay")).then_some(talk.stays)
}

fn refused(refusal: Refusal) -> String {
    format!("ERROR {refusal}\n")
}
