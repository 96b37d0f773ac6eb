//! What clients that speak other protocols have in common: a plan, a history, a connection to one
//! node at a time, whichever, and how things are said on it.
//!
//! Not here: what is said (`cluster_redis`, `cluster_http`, `cluster_text`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use trilith_engine::runtime::{
    Clock, Instant, Net, Rng, Runtime, Stream, StreamRead, StreamWrite, timeout,
};
use trilith_net::users::{Cost, Kept, Users};

use super::cluster_client::Setup;
use crate::{
    history::{Call, Key, OpId, Outcome, Value},
    load::Planned,
    os::SimRuntime,
};

type Streams = <<SimRuntime as Runtime>::Net as Net>::Stream;
type Luck = <SimRuntime as Runtime>::Rng;

/// How long a connection may take to be made.
const CONNECTS: Duration = Duration::from_millis(300);
/// It does not try again at once.
const RESTS: Duration = Duration::from_millis(20);

/// Who may come in, where that is asked, and by which password.
pub(super) const USERS: [(&str, &str); 3] =
    [("default", "open sesame"), ("me", "a:b c"), ("text", "a:b")];

/// What nodes know of them. It costs as little as it can: there is nothing to guard here.
pub(super) fn users() -> Users {
    let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
    let mut users = Users::default();
    for (name, password) in USERS {
        if let Ok(kept) = Kept::make(password.as_bytes(), [7; 16], cost) {
            let put = users.put(name, kept);
            debug_assert_eq!(put, Ok(()), "they are few, and called as people may be");
        }
    }
    users
}

/// What such a client is told beside what every client is told.
pub(super) struct Place {
    /// Where the nodes serve it.
    pub(super) nodes: Arc<[SocketAddr]>,
    /// How many keys there are beside the sums.
    pub(super) keys: u32,
    /// What is asked from then on must be done.
    pub(super) calm_from_ns: u64,
    /// Whether it has to say first who it is.
    pub(super) users: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The request was never whole: nothing can have come of it.
    Unsaid,
    /// It may have been heard.
    Unheard,
}

impl Lost {
    /// In words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unsaid => "the request was never whole",
            Self::Unheard => "it was said, and no answer was heard",
        }
    }

    /// What is known of an operation; of one that only looks, nothing is in doubt.
    pub(super) const fn outcome(self, is_look: bool) -> Outcome {
        match self {
            Self::Unheard if !is_look => Outcome::Unknown,
            Self::Unsaid | Self::Unheard => Outcome::Failed,
        }
    }
}

/// Such a client.
pub(super) struct Guest {
    pub(super) rt: SimRuntime,
    pub(super) luck: Luck,
    pub(super) place: Place,
    pub(super) setup: Setup,
    /// Where it asks, unless that was lost.
    pub(super) line: Option<Line>,
    /// Faults are over.
    pub(super) is_calm: bool,
    began: Instant,
}

impl Guest {
    /// One that begins now, with luck of that name.
    pub(super) fn new(rt: SimRuntime, name: &'static str, place: Place, setup: Setup) -> Self {
        let (luck, began) = (rt.rng(name), rt.clock().now());
        Self { rt, luck, place, setup, line: None, is_calm: false, began }
    }

    /// Waits until that is to be asked.
    pub(super) async fn waits_for(&self, planned: &Planned) {
        self.rt.clock().sleep_until(self.began + Duration::from_nanos(planned.at_ns)).await;
    }

    /// Whether faults may still happen.
    pub(super) fn is_early(&self) -> bool {
        (self.setup.world_ns)() < self.place.calm_from_ns
    }

    /// Sees whether faults are over: what was to be asked before the calm may be late.
    pub(super) fn calm_down(&mut self) {
        if !self.is_calm && !self.is_early() {
            // A connection that a fault has broken says so only when it is used.
            (self.is_calm, self.line) = (true, None);
        }
    }

    /// How long it waits for what is asked now.
    pub(super) fn until(&self) -> Instant {
        self.rt.clock().now() + self.setup.patience
    }

    /// An operation of the history begins.
    pub(super) fn begin(&self, key: Key, call: Call) -> OpId {
        self.setup.recorder.begin((self.setup.world_ns)(), self.setup.client, key, call)
    }

    /// And ends.
    pub(super) fn end(&self, id: OpId, outcome: Outcome) {
        self.setup.recorder.end((self.setup.world_ns)(), id, outcome);
    }

    /// The bytes of a value.
    pub(super) fn value(&self, value: Value) -> Vec<u8> {
        let width = self.setup.value_bytes;
        format!("{value:<width$}").into_bytes()
    }

    /// A connection of its own for something beside.
    pub(super) async fn another_line(&mut self, until: Instant) -> Option<Line> {
        Line::open(&self.rt, &mut self.luck, &self.place.nodes, until).await
    }

    /// The connection that there is, or another one. It is put back when all has been heard.
    pub(super) async fn take_line(&mut self, until: Instant) -> Option<Line> {
        match self.line.take() {
            Some(line) => Some(line),
            None => self.another_line(until).await,
        }
    }

    /// Says something in pieces of some length. While faults happen it may stop among the first
    /// `most` bytes; then that many were said.
    pub(super) async fn speak(
        &mut self,
        line: &mut Line,
        said: &[u8],
        most: usize,
        until: Instant,
    ) -> Result<Option<usize>, Lost> {
        let stops = !self.is_calm && self.luck.chance(1, 40);
        let stops = stops.then(|| self.luck.range(0..most as u64) as usize);
        let piece = 1 + self.luck.range(0..said.len() as u64) as usize;
        let say = async {
            for piece in said[..stops.unwrap_or(said.len())].chunks(piece) {
                line.say(piece).await?;
            }
            Some(())
        };
        match timeout(self.rt.clock(), until, say).await {
            Ok(Some(())) => Ok(stops),
            Ok(None) | Err(_) => Err(Lost::Unheard),
        }
    }
}

/// A connection.
pub(super) struct Line {
    reader: <Streams as Stream>::Reader,
    writer: <Streams as Stream>::Writer,
    /// What was heard and not understood yet.
    bytes: BytesMut,
}

impl Line {
    /// To any of the nodes that takes it.
    pub(super) async fn open(
        rt: &SimRuntime,
        luck: &mut Luck,
        nodes: &[SocketAddr],
        until: Instant,
    ) -> Option<Self> {
        let clock = rt.clock();
        while clock.now() < until {
            let node = luck.range(0..nodes.len().max(1) as u64) as usize;
            let deadline = until.min(clock.now() + CONNECTS);
            if let Ok(stream) = rt.net().connect(nodes[node], deadline).await {
                let (reader, writer) = stream.split();
                return Some(Self { reader, writer, bytes: BytesMut::new() });
            }
            clock.sleep_until(until.min(clock.now() + RESTS)).await;
        }
        None
    }

    /// Says all of it.
    pub(super) async fn say(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let taken = self.writer.write(bytes).await.ok().filter(|taken| *taken > 0)?;
            bytes = &bytes[taken..];
        }
        Some(())
    }

    /// The next answer, as it stands first in the bytes and with its length there; nothing when the
    /// connection ends before it is whole.
    pub(super) async fn hear<T>(&mut self, first: fn(&[u8]) -> Option<(T, usize)>) -> Option<T> {
        loop {
            if let Some((heard, len)) = first(&self.bytes) {
                self.bytes.advance(len);
                return Some(heard);
            }
            let mut piece = [0; 512];
            let read = self.reader.read(&mut piece).await.ok().filter(|read| *read > 0)?;
            self.bytes.extend_from_slice(&piece[..read]);
        }
    }
}

/// The number that a value is.
pub(super) fn number(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.trim_end().parse().ok()
}
