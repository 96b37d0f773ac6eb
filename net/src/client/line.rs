//! A client's connection to one node: made, used, and made again.
//!
//! Not here: what is asked and when it is asked again (`mod.rs`).

use std::{future::poll_fn, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use bytes::BytesMut;
use trilith_engine::{
    command::{Outcome, Response},
    runtime::{Clock, Either, Net, Rng, Runtime, Stream, StreamRead, StreamWrite, race, timeout},
    types::NodeId,
};

use super::{Core, Heard};
use crate::{
    frame::{self, BadFrame, Kind},
    limits::{BUFFER_KEPT_BYTES, CLIENT_READ_BYTES, FRAME_BODY_BYTES_MAX},
    peer::{
        Trouble,
        hello::{Hello, Purpose, Ready, Refusal, Versions},
        proof::introduce,
        stream::{Inlet, Signs, dismiss, write_all},
    },
};

/// Runs until it is dropped.
pub(super) async fn run<R: Runtime>(core: Arc<Core<R>>, line: usize, at: SocketAddr) {
    let (clock, options) = (core.runtime.clock().clone(), core.options);
    let mut wait = options.backoff_min;
    loop {
        let (trouble, was_up) = connection(&core, line, at).await;
        core.lost(line);
        tracing::debug!(%at, %trouble, "no line to a node");
        wait = if was_up { options.backoff_min } else { wait.saturating_mul(2) };
        wait = wait.min(options.backoff_max);
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(2);
        let pause = core.lock().luck.range(nanos / 2..nanos);
        clock.sleep_until(clock.now() + Duration::from_nanos(pause)).await;
    }
}

/// One connection. Answers why it ended, and whether it ever began.
async fn connection<R: Runtime>(core: &Core<R>, line: usize, at: SocketAddr) -> (Trouble, bool) {
    let clock = core.runtime.clock();
    let deadline = clock.now() + core.options.connect_within;
    let stream = match core.runtime.net().connect(at, deadline).await {
        Ok(stream) => stream,
        Err(why) => return (Trouble::Net(why), false),
    };
    let (reader, mut writer) = stream.split();
    let mut inlet = Inlet::new(reader);
    let shaken = timeout(clock, deadline, shake(core, &mut inlet, &mut writer)).await;
    let node = match shaken.unwrap_or(Err(Trouble::Silent)) {
        Ok(node) => node,
        Err(trouble) => {
            if let Trouble::Refusing(refusal) = trouble {
                dismiss(clock, core.options.connect_within, &mut inlet, &mut writer, refusal).await;
            }
            return (trouble, false);
        }
    };
    inlet.agreed(CLIENT_READ_BYTES, FRAME_BODY_BYTES_MAX);
    {
        let mut state = core.lock();
        if let Some(line) = state.lines.get_mut(line) {
            (line.node, line.is_up) = (Some(node), true);
        }
    }
    let signs = Signs::new(clock.now());
    let both = race(write(core, line, &mut writer), hear(core, line, &mut inlet, &signs));
    let watch = async {
        let silence = core.options.ping_every * 4;
        while !signs.is_silent(clock.now(), silence) {
            clock.sleep_until(clock.now() + core.options.ping_every).await;
            core.put(line, |frames| frame::put_empty(frames, Kind::Ping));
        }
    };
    match race(both, watch).await {
        Either::Left(Either::Left(trouble) | Either::Right(trouble)) => (trouble, true),
        Either::Right(()) => (Trouble::Silent, true),
    }
}

async fn shake<R: Runtime, S: StreamRead, W: StreamWrite>(
    core: &Core<R>,
    inlet: &mut Inlet<S>,
    writer: &mut W,
) -> Result<NodeId, Trouble> {
    let purpose = Purpose::Client { client: core.id, cluster: core.options.cluster };
    let hello = Hello { versions: Versions::OURS, purpose };
    let known = core.options.secret.map(|secret| (secret, secret.nonce(&mut core.lock().luck)));
    let welcome = introduce(inlet, writer, &hello, known).await?.map_err(Trouble::Refused)?;
    if welcome.version != frame::VERSION {
        return Err(Trouble::Refusing(Refusal::Version(Versions::OURS)));
    }
    let mut words = BytesMut::new();
    Ready { token: welcome.token }.put(&mut words);
    write_all(writer, &words).await?;
    Ok(welcome.who.node)
}

async fn write<R: Runtime, W: StreamWrite>(core: &Core<R>, line: usize, writer: &mut W) -> Trouble {
    let mut batch = BytesMut::new();
    loop {
        batch.clear();
        if batch.capacity() > BUFFER_KEPT_BYTES {
            batch = BytesMut::new();
        }
        batch = core.take(line, batch).await;
        if let Err(trouble) = write_all(writer, &batch).await {
            return trouble;
        }
    }
}

async fn hear<R: Runtime, S: StreamRead>(
    core: &Core<R>,
    line: usize,
    inlet: &mut Inlet<S>,
    signs: &Signs,
) -> Trouble {
    loop {
        if let Err(trouble) = hear_once(core, line, inlet).await {
            return trouble;
        }
        signs.seen(core.runtime.clock().now());
    }
}

async fn hear_once<R: Runtime, S: StreamRead>(
    core: &Core<R>,
    line: usize,
    inlet: &mut Inlet<S>,
) -> Result<(), Trouble> {
    let frame = inlet.frame().await?;
    match frame.kind {
        Kind::Pong => Ok(()),
        Kind::Response => {
            let response = Response::decode(&frame.body);
            let response = response.map_err(|_why| BadFrame::Body("it is not a response"))?;
            core.answered(line, response);
            Ok(())
        }
        Kind::Refusal => Err(Trouble::Refused(Refusal::take(&frame)?)),
        kind => Err(Trouble::Garbage(BadFrame::Unexpected(kind))),
    }
}

impl<R: Runtime> Core<R> {
    fn put(&self, line: usize, encode: impl FnOnce(&mut BytesMut)) {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(line) else { return };
        encode(&mut line.frames);
        if let Some(writer) = line.writer.take() {
            writer.wake();
        }
    }

    /// Everything that waits for a line, as soon as something does.
    async fn take(&self, line: usize, spare: BytesMut) -> BytesMut {
        let mut spare = Some(spare);
        poll_fn(|context| {
            let mut state = self.lock();
            let Some(line) = state.lines.get_mut(line) else { return Poll::Pending };
            if line.frames.is_empty() {
                line.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let spare = spare.take().unwrap_or_default();
            Poll::Ready(std::mem::replace(&mut line.frames, spare))
        })
        .await
    }

    /// An answer goes to the call of its number. One from a node that was asked earlier says
    /// nothing about the attempt that is under way, unless it says that it was done. Answers whether
    /// there is such a call.
    pub(super) fn answered(&self, line: usize, response: Response) -> bool {
        let mut state = self.lock();
        let Some(call) = state.calls.get_mut(response.sequence.0) else { return false };
        if call.line != line && !matches!(response.outcome, Outcome::Ok(_)) {
            return false;
        }
        call.heard = Some(Heard::Answer(response));
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
        true
    }

    /// A connection has ended: what was asked over it may have been heard.
    fn lost(&self, line: usize) {
        let mut state = self.lock();
        if let Some(line) = state.lines.get_mut(line) {
            line.is_up = false;
            line.frames.clear();
        }
        let calls = state.calls.iter_mut();
        for call in calls.filter(|call| call.line == line && call.heard.is_none()) {
            call.heard = Some(Heard::Lost);
            if let Some(waker) = call.waker.take() {
                waker.wake();
            }
        }
    }
}
