//! A connection of a Redis client: read, done, answered, in order.
//!
//! ```text
//!   bytes ─► commands ─► steps ┬─ reads, reads, …     ─► all at once ─┐
//!                              ├─ writes, writes, …   ─► all at once ─┼─► answers, in order ─► bytes
//!                              └─ anything else       ─► one by one  ─┘
//! ```
//! Whatever has come is done as far as it goes before anything is read again, so a client that
//! sends without end waits in its own kernel, and so does one that never reads: its answers are
//! written before the next command is looked at, and who takes nothing of them for long goes, as does
//! who has sent a long request in part and nothing more for as long. What a connection takes of the node is bounded by
//! the largest request and the answers to one batch; what all of them take together, too (`held.rs`).
//! Where there is no room for a request that is not whole, its connection ends; where there is none
//! for answers, they are to be read soon.
//!
//! What is published to a subscriber is written between answers, never in one.
//!
//! Who has not said who it is, where that is asked, may send little and does not stay for ever.
//!
//! When the node ends, connections begin nothing more, answer what they have begun, and are closed.
//!
//! Not here: what commands mean (`session.rs`, `front.rs`).

use std::{future::pending, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use trilith_engine::{
    mark, planted,
    runtime::{
        Clock, Either, Instant, Listener, Runtime, Stream, StreamRead, StreamWrite, WallTime, race,
    },
};

use super::{
    commands::Verb,
    errand::Direct,
    hub::Hub,
    post::Full,
    reply::Answer,
    request::{Broken, Cutter, Words},
    scratch::Said,
    session::{Session, Step},
    slow::Asked,
};
use crate::{
    held::Held,
    limits::{
        BUFFER_KEPT_BYTES, CLIENT_READ_BYTES, GUEST_PARTS_WITHIN, PORT_BYTES_FREE,
        RESP_ANSWER_BYTES, RESP_BATCH, RESP_CONNECTIONS_MAX, RESP_PATIENCE, RESP_READS_AT_ONCE,
        STRANGER_STAYS,
    },
    meters::Which,
    peer::stream::{part, write_some},
    port::{Plan, Port},
};

const CROWDED: &str = "UNAVAILABLE too many large requests are under way; nothing of this one \
                       happened, try again";

/// Serves whoever comes to that listener.
#[must_use]
pub fn open<R: Runtime, L: Listener>(hub: Hub<R>, listener: L) -> Port<R> {
    let (runtime, place) = (hub.runtime().clone(), (Arc::clone(hub.meters()), Which::Resp));
    let (names, ending) = (("resp listener", "resp"), Arc::clone(hub.ending()));
    let plan = Plan { names, most: RESP_CONNECTIONS_MAX, place, ending };
    let hub = Arc::new(hub);
    Port::open(&runtime, plan, listener, move |stream, from| {
        Visit { hub: Arc::clone(&hub), number: hub.enter(from) }.serve(stream, from)
    })
}

/// A connection, as long as it lives.
struct Visit<R: Runtime> {
    hub: Arc<Hub<R>>,
    number: u64,
}

impl<R: Runtime> Drop for Visit<R> {
    fn drop(&mut self) {
        self.hub.leave(self.number);
    }
}

impl<R: Runtime> Visit<R> {
    async fn serve<S: Stream>(self, stream: S, from: SocketAddr) {
        let (mut reader, mut writer) = stream.split();
        let user = self.hub.gate().anybody();
        let totals = &self.hub.meters().totals;
        let mut session = Session::new(self.number, from, self.hub.within(), user, &totals.names);
        let (mut stays, mut quiet) = (None, None);
        let (mut cutter, mut bytes, mut out) =
            (Cutter::default(), BytesMut::new(), BytesMut::new());
        let mut held = Held::new(&totals.resp);
        let mut piece = vec![0; CLIENT_READ_BYTES];
        loop {
            let done = self.work(&mut session, (&mut cutter, &mut bytes), &mut out).await;
            if let Err(over) = &done
                && !self.has_words(over, &mut session, &mut out)
            {
                return;
            }
            if self.read_letters(&session, &mut out).is_err() {
                return;
            }
            let keeps = bytes.len() + cutter.held() + session.kept();
            if !held.hold(keeps) {
                self.crowded(&mut session, &mut out);
            }
            let so_long = || stays.unwrap_or_else(|| self.now() + STRANGER_STAYS);
            stays = session.is_stranger().then(so_long);
            let is_overdue = stays.is_some_and(|stays| self.now() >= stays);
            let is_overdue = is_overdue || self.was_quiet(quiet, keeps);
            if session.ends || is_overdue || self.hub.ending().is_over(self.number) {
                break;
            }
            // Answers that there is no room for do not wait for who reads them.
            let has_room = held.hold(keeps + out.len());
            let taken = (!has_room).then(|| self.now() + GUEST_PARTS_WITHIN);
            if self.write(&mut writer, &out, taken).await.is_err() {
                return;
            }
            out.clear();
            if out.capacity() > BUFFER_KEPT_BYTES {
                out = BytesMut::new();
            }
            let _less_is_always_there = held.hold(keeps);
            // There may be more where that came from, whether it was answered or not.
            if done == Ok(true) {
                continue;
            }
            session.note(&self.hub);
            quiet = self.quiet(quiet, keeps);
            match self.news(&mut reader, &mut piece, (stays, quiet)).await {
                News::Came(read) => {
                    bytes.extend_from_slice(&piece[..read]);
                    quiet = None;
                }
                // What was published is written in the next turn.
                News::Look => {}
                News::Gone => {
                    if planted!("resp_gone_client_executes") {
                        session.exec(&self.hub, &mut out).await;
                    }
                    return;
                }
                News::Over => break,
            }
        }
        let (clock, streams) = (self.hub.runtime().clock(), (&mut reader, &mut writer));
        part(clock, GUEST_PARTS_WITHIN, streams, &mut piece, &out).await;
    }

    /// Whether something is still to be said to a connection of which nothing more is read.
    fn has_words(&self, over: &Over, session: &mut Session, out: &mut BytesMut) -> bool {
        self.hub.meters().resp.refused.add(1);
        match over {
            Over::Broken(broken) => {
                mark!("resp: a connection sent what is no request");
                Answer::new(out, session.protocol).error(&format!("ERR {broken}"));
                session.ends = true;
                true
            }
            Over::Web => {
                mark!("resp: a web page came to the port");
                let who = session.from;
                tracing::warn!(%who, "a web page spoke HTTP at the Redis port; it was let go");
                false
            }
        }
    }

    /// Until when who holds so much and is waited for may say nothing; for ever, if it is little. If he
    /// has been waited for before and has said nothing since, until when that was.
    fn quiet(&self, before: Option<Instant>, keeps: usize) -> Option<Instant> {
        let is_much = keeps > PORT_BYTES_FREE && !planted!("resp_long_requests_are_waited_for");
        is_much.then(|| before.unwrap_or_else(|| self.now() + RESP_PATIENCE))
    }

    /// Whether that is over.
    fn was_quiet(&self, until: Option<Instant>, keeps: usize) -> bool {
        let was_quiet = until.is_some_and(|until| self.now() >= until);
        if was_quiet {
            mark!("resp: a connection sent nothing more of something long");
            self.stalled(
                "a Redis client sent nothing more of something long; it was let go",
                keeps,
            );
        }
        was_quiet
    }

    /// Patience is lost.
    fn stalled(&self, why: &'static str, held: usize) {
        self.hub.meters().resp_stalled.add(1);
        tracing::warn!(connection = self.number, held, why);
    }

    /// What happens next, as far as it happens until one of these.
    async fn news<S: StreamRead>(
        &self,
        reader: &mut S,
        piece: &mut [u8],
        (stays, quiet): (Option<Instant>, Option<Instant>),
    ) -> News {
        let until = stays.into_iter().chain(quiet).min();
        let news = race(reader.read(piece), self.hub.post().arrives(self.number));
        let ends = race(self.hub.ending().ends(self.number), self.goes(until));
        match race(news, ends).await {
            Either::Left(Either::Left(Ok(0) | Err(_))) => News::Gone,
            Either::Left(Either::Left(Ok(read))) => News::Came(read),
            Either::Left(Either::Right(())) => News::Look,
            Either::Right(Either::Left(_)) => News::Over,
            // Why that is it finds out in the next turn.
            Either::Right(Either::Right(())) => News::Look,
        }
    }

    /// There is no room for what has come of a request.
    fn crowded(&self, session: &mut Session, out: &mut BytesMut) {
        mark!("resp: connections held too much");
        self.hub.meters().resp.refused.add(1);
        Answer::new(out, session.protocol).error(CROWDED);
        session.ends = true;
    }

    /// When that time is over, where there is one.
    async fn goes(&self, stays: Option<Instant>) {
        match stays {
            Some(stays) => self.hub.runtime().clock().sleep_until(stays).await,
            None => pending().await,
        }
    }

    /// Writes what was published to whoever has subscribed to it.
    fn read_letters(&self, session: &Session, out: &mut BytesMut) -> Result<(), Full> {
        for letter in self.hub.post().take(self.number)? {
            letter.write(&mut Answer::new(out, session.protocol));
        }
        Ok(())
    }

    /// Writes, as long as something of it is taken or until then: unless somebody wants the
    /// connection to end, or more waits for a subscriber who does not read than may.
    async fn write<W: StreamWrite>(
        &self,
        writer: &mut W,
        out: &BytesMut,
        until: Option<Instant>,
    ) -> Result<(), ()> {
        if out.is_empty() {
            return Ok(());
        }
        let (hub, number) = (&self.hub, self.number);
        let gives_up = race(hub.ending().is_killed(number), hub.post().overflows(number));
        let gives_up = race(gives_up, self.goes(until));
        match race(self.put(writer, out), gives_up).await {
            Either::Left(put) => put,
            Either::Right(_) => Err(()),
        }
    }

    /// Writes as long as something of it is taken now and then.
    async fn put<W: StreamWrite>(&self, writer: &mut W, mut out: &[u8]) -> Result<(), ()> {
        while !out.is_empty() {
            // There is no such time for what is taken at once: it begins when somebody waits.
            match race(write_some(writer, out), self.loses_patience()).await {
                Either::Left(Ok(taken)) => out = &out[taken..],
                Either::Left(Err(_)) => return Err(()),
                Either::Right(()) => {
                    mark!("resp: a connection took nothing of what it was answered");
                    let why = "a Redis client took nothing of its answers for long; it was let go";
                    self.stalled(why, out.len());
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// When who takes nothing from now on has done so for too long.
    async fn loses_patience(&self) {
        let patience = match planted!("resp_deaf_clients_are_waited_for") {
            true => RESP_PATIENCE * 100,
            false => RESP_PATIENCE,
        };
        self.goes(Some(self.now() + patience)).await;
    }

    /// Does a batch of what has come. Whether there may be more.
    async fn work(
        &self,
        session: &mut Session,
        (cutter, bytes): (&mut Cutter, &mut BytesMut),
        out: &mut BytesMut,
    ) -> Result<bool, Over> {
        let mut run = Run::default();
        for _ in 0..RESP_BATCH {
            if session.ends || out.len() > RESP_ANSWER_BYTES {
                break;
            }
            cutter.is_of_stranger(session.is_stranger());
            let words = match cutter.take(bytes) {
                Ok(Some(words)) => words,
                Ok(None) => {
                    self.finish(session, &mut run, out).await;
                    return Ok(false);
                }
                Err(broken) => {
                    self.finish(session, &mut run, out).await;
                    return Err(Over::Broken(broken));
                }
            };
            self.hub.count(1);
            let step = match session.step(words) {
                Step::Act(act, None, words) => match self.hub.front().direct(act) {
                    Ok(direct) => {
                        if !run.goes_with(&direct) {
                            self.finish(session, &mut run, out).await;
                        }
                        run.add(direct, words);
                        continue;
                    }
                    Err(act) => Step::Act(act, None, words),
                },
                // What came with it was not sent by a client either.
                Step::Leave => return Err(Over::Web),
                step => step,
            };
            self.finish(session, &mut run, out).await;
            self.one(session, step, out).await;
            // He may have waited long for it, and somebody may want him to go.
            if session.is_stranger() {
                return Ok(true);
            }
        }
        self.finish(session, &mut run, out).await;
        Ok(true)
    }

    /// Does what was gathered, and answers.
    async fn finish(&self, session: &mut Session, run: &mut Run, out: &mut BytesMut) {
        let Run { acts, first } = std::mem::take(run);
        if acts.is_empty() {
            return;
        }
        let (began, more) = (self.now(), acts.len() - 1);
        let are_writes = acts.iter().any(|act| !act.is_read());
        for said in self.hub.front().run(&mut session.way, acts, &session.mood).await {
            if are_writes {
                session.wrote(&said);
            }
            self.hub.meters().command_errors.add(u64::from(matches!(said, Said::Error(_))));
            if !session.skips() && session.hears() {
                said.write(&mut Answer::new(out, session.protocol));
            }
        }
        self.saw(session, began, &first, more);
    }

    /// Does what does not go together with anything.
    async fn one(&self, session: &mut Session, step: Step, out: &mut BytesMut) {
        // What came before it is heard before it: it may be the last that is wanted. When there was
        // no room for some of it, that is found again.
        let _room = self.read_letters(session, out).is_ok();
        let (skips, before, began) = (session.skips(), out.len(), self.now());
        match step {
            Step::Act(act, mood, words) => {
                let mood = mood.unwrap_or(session.mood);
                let is_write = !act.is_read();
                let said = self.hub.front().perform(&mut session.way, act, &mood).await;
                if is_write {
                    session.wrote(&said);
                }
                said.write(&mut Answer::new(out, session.protocol));
                self.saw(session, began, &words, 0);
            }
            Step::Explain(act, mood, words) => {
                let is_write = !act.is_read();
                let explained = self.hub.front().explain(&mut session.way, act, &mood).await;
                if is_write {
                    session.wrote(&explained.said);
                }
                explained.write(&mut Answer::new(out, session.protocol));
                self.saw(session, began, &words, 0);
            }
            Step::Own(spec, words) => {
                session.note(&self.hub);
                session.own(&self.hub, (spec, &words), out).await;
                // It may have ended its own connection.
                session.ends |= self.hub.ending().is_over(self.number);
                // What says who somebody is is written nowhere.
                if !matches!(spec.verb, Verb::Auth | Verb::Hello) {
                    self.saw(session, began, &words, 0);
                }
            }
            Step::Say(said) => said.write(&mut Answer::new(out, session.protocol)),
            Step::Leave => {}
        }
        // What is answered one by one may come from anywhere; an error begins so in every protocol.
        self.hub.meters().command_errors.add(u64::from(out.get(before) == Some(&b'-')));
        if skips || !session.hears() {
            out.truncate(before);
        }
    }

    fn now(&self) -> Instant {
        self.hub.runtime().clock().now()
    }

    /// A command was answered, and perhaps more with it.
    fn saw(&self, session: &mut Session, began: Instant, words: &Words, more: usize) {
        let took = self.now().since(began);
        self.hub.meters().commands_took.note(took);
        let WallTime(ms) = self.hub.runtime().clock().wall();
        let phases = session.way.take_longest();
        let asked = Asked { words, more, phases, from: session.from, name: session.name() };
        self.hub.slow().saw(ms / 1000, took, asked);
    }
}

/// What happens to a connection that has nothing to do.
enum News {
    /// So many bytes have come.
    Came(usize),
    /// It has something to look at, though nothing came.
    Look,
    /// Nobody is there any more.
    Gone,
    /// It is to end.
    Over,
}

/// Why nothing of a connection is read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// What it sent is no request.
    Broken(Broken),
    /// It is a browser's.
    Web,
}

/// Acts that are on their way together: all reads, or all writes.
#[derive(Default)]
struct Run {
    acts: Vec<Direct>,
    /// What the first one was asked with.
    first: Words,
}

impl Run {
    fn goes_with(&self, act: &Direct) -> bool {
        let is_full = act.is_read() && self.acts.len() >= RESP_READS_AT_ONCE;
        !is_full && self.acts.last().is_none_or(|last| last.is_read() == act.is_read())
    }

    fn add(&mut self, act: Direct, words: Words) {
        if self.acts.is_empty() {
            self.first = words;
        }
        self.acts.push(act);
    }
}
