//! A connection of a Redis client: read, done, answered, in order.
//!
//! ```text
//!   bytes ─► commands ─► steps ┬─ reads, reads, …     ─► all at once ─┐
//!                              ├─ writes, writes, …   ─► all at once ─┼─► answers, in order ─► bytes
//!                              └─ anything else       ─► one by one  ─┘
//! ```
//! Whatever has come is done as far as it goes before anything is read again, so a client that
//! sends without end waits in its own kernel, and so does one that never reads: its answers are
//! written before the next command is looked at. What a connection takes of the node is bounded by
//! the largest request and the answers to one batch.
//!
//! Not here: what commands mean (`session.rs`, `front.rs`).

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use trilith_engine::{
    mark,
    runtime::{
        Listener, NetErrorKind, Runtime, Sender, Stream, StreamRead, StreamWrite, Task, queue,
    },
};

use super::{
    act::Act,
    hub::Hub,
    reply::Answer,
    request::{Broken, Cutter},
    session::{Session, Step},
};
use crate::limits::{
    BUFFER_KEPT_BYTES, CLIENT_READ_BYTES, RESP_ANSWER_BYTES, RESP_BATCH, RESP_CONNECTIONS_MAX,
};

/// Accepts connections until it is dropped, and they with it.
pub async fn listen<R: Runtime, L: Listener>(hub: Arc<Hub<R>>, mut listener: L) {
    let (left, mut leaving) = queue(RESP_CONNECTIONS_MAX);
    let mut tasks = BTreeMap::new();
    loop {
        let (mut stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!(%why, "a connection could not be accepted");
                continue;
            }
        };
        while let Some(number) = leaving.pop() {
            tasks.remove(&number);
        }
        if tasks.len() >= RESP_CONNECTIONS_MAX {
            mark!("resp: a listener was full");
            let full = b"-ERR max number of clients reached\r\n";
            // It goes whether it hears that or not.
            let _heard = stream.write(full).await;
            continue;
        }
        let number = hub.enter();
        let visit = Visit { hub: Arc::clone(&hub), number, left: left.clone() };
        let task =
            hub.runtime().task().spawn("resp", async move { visit.serve(stream, from).await });
        tasks.insert(number, task);
    }
}

/// A connection, as long as it lives.
struct Visit<R: Runtime> {
    hub: Arc<Hub<R>>,
    number: u64,
    left: Sender<u64>,
}

impl<R: Runtime> Drop for Visit<R> {
    fn drop(&mut self) {
        self.hub.leave();
        // There is room for all; closed: nobody counts any more.
        let _counted = self.left.push(self.number);
    }
}

impl<R: Runtime> Visit<R> {
    async fn serve<S: Stream>(self, stream: S, from: SocketAddr) {
        let (mut reader, mut writer) = stream.split();
        let mut session = Session::new(self.number, from);
        let (mut cutter, mut bytes, mut out) =
            (Cutter::default(), BytesMut::new(), BytesMut::new());
        cutter.trust(true);
        let mut piece = vec![0; CLIENT_READ_BYTES];
        while !session.ends {
            let done = self.work(&mut session, (&mut cutter, &mut bytes), &mut out).await;
            if let Err(broken) = &done {
                mark!("resp: a connection sent what is no request");
                Answer::new(&mut out, session.protocol).error(&format!("ERR {broken}"));
                session.ends = true;
            }
            if !out.is_empty() {
                if write_all(&mut writer, &out).await.is_err() {
                    return;
                }
                out.clear();
                if out.capacity() > BUFFER_KEPT_BYTES {
                    out = BytesMut::new();
                }
                // There may be more where that came from.
                if done == Ok(true) {
                    continue;
                }
            }
            if session.ends {
                break;
            }
            match reader.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
        }
        // Whoever is told that it is over reads that first.
        let _closed = writer.shutdown().await;
    }

    /// Does a batch of what has come. Whether there may be more.
    async fn work(
        &self,
        session: &mut Session,
        (cutter, bytes): (&mut Cutter, &mut BytesMut),
        out: &mut BytesMut,
    ) -> Result<bool, Broken> {
        let mut run = Run::default();
        for _ in 0..RESP_BATCH {
            if session.ends || out.len() > RESP_ANSWER_BYTES {
                break;
            }
            let words = match cutter.take(bytes) {
                Ok(Some(words)) => words,
                Ok(None) => {
                    self.finish(session, &mut run, out).await;
                    return Ok(false);
                }
                Err(broken) => {
                    self.finish(session, &mut run, out).await;
                    return Err(broken);
                }
            };
            self.hub.count(1);
            match session.step(words) {
                Step::Act(act, None) if self.hub.front().is_direct(&act) => {
                    if !run.goes_with(&act) {
                        self.finish(session, &mut run, out).await;
                    }
                    run.0.push(act);
                }
                step => {
                    self.finish(session, &mut run, out).await;
                    self.one(session, step, out).await;
                }
            }
        }
        self.finish(session, &mut run, out).await;
        Ok(true)
    }

    /// Does what was gathered, and answers.
    async fn finish(&self, session: &mut Session, run: &mut Run, out: &mut BytesMut) {
        if run.0.is_empty() {
            return;
        }
        let said = self.hub.front().run(self.number, &run.0, &session.mood).await;
        run.0.clear();
        for said in said {
            if !session.skips() && session.hears() {
                said.write(&mut Answer::new(out, session.protocol));
            }
        }
    }

    /// Does what does not go together with anything.
    async fn one(&self, session: &mut Session, step: Step, out: &mut BytesMut) {
        let (skips, before) = (session.skips(), out.len());
        match step {
            Step::Act(act, mood) => {
                let mood = mood.unwrap_or(session.mood);
                let said = self.hub.front().perform(self.number, &act, &mood).await;
                said.write(&mut Answer::new(out, session.protocol));
            }
            Step::Own(spec, words) => session.own(&self.hub, (spec, &words), out).await,
            Step::Say(said) => said.write(&mut Answer::new(out, session.protocol)),
        }
        if skips || !session.hears() {
            out.truncate(before);
        }
    }
}

/// Acts that are on their way together: all reads, or all writes.
#[derive(Default)]
struct Run(Vec<Act>);

impl Run {
    fn goes_with(&self, act: &Act) -> bool {
        self.0.last().is_none_or(|last| last.is_read() == act.is_read())
    }
}

async fn write_all<W: StreamWrite>(writer: &mut W, mut bytes: &[u8]) -> Result<(), NetErrorKind> {
    while !bytes.is_empty() {
        match writer.write(bytes).await {
            Ok(0) => return Err(NetErrorKind::Reset),
            Ok(taken) => bytes = &bytes[taken..],
            Err(why) => return Err(why.kind),
        }
    }
    Ok(())
}
