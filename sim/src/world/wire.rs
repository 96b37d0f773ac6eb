//! Connections: how they are made, how bytes travel, how they end.
//!
//! ```text
//!   client kernel                         server kernel
//!     Opening  ── syn ──────────────────►  listener? no: refuse ──►
//!     Open     ◄───────────── syn-ack ──   Half
//!              ── ack ──────────────────►  Queued ── accept ──► Open
//!     pipe 0   ══ segments, in order ═══►  reader
//!     reader   ◄═══ segments, in order ══  pipe 1
//!     Gone     bytes arrive here  ──────►  reset back, if the machine has power; else silence
//! ```
//!
//! Everything travels: a reset or a refusal takes a latency like any packet and is lost on a cut
//! link, so nobody learns of a peer's death through a partition. Bytes and the end of a stream are
//! sent again until they get through; a request to connect too, with a growing gap; a reset or a
//! refusal is sent once, and again only when it is provoked again.
//!
//! Invariants: one direction delivers in order; its writer waits when the window is full, and
//! learns of room only over a link that carries; a connection's slot is reused only when no end is
//! alive, and its old keys name nothing then.
//!
//! Not here: the queues of one direction (`pipe.rs`), cuts and holds (`links.rs`), datagrams (they
//! come with their first user).

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    task::{Poll, Waker},
};

use trilith_engine::{
    planted,
    runtime::{NetError, NetErrorKind, NetResult, Rng as _},
};

use super::{
    links::{Blocked, Links, NetOptions},
    pipe::Pipe,
    state::{Event, State},
};
use crate::{
    luck::Luck,
    tape::{Fate, Link, Message},
};

/// Names a connection; names nothing once both ends are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnKey {
    slot: u32,
    generation: u32,
}

impl ConnKey {
    pub(crate) fn number(self) -> u64 {
        u64::from(self.slot)
    }
}

/// One end, as its kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Nothing is known of it there yet.
    Absent,
    /// Asked for, not answered.
    Opening,
    /// Answered, but the one who asked does not know yet: a process sees nothing of it.
    Half,
    /// Both kernels know; the last word is under way, or it waits to be accepted.
    Queued,
    /// In the hands of a process.
    Open,
    /// The process let go, or died.
    Gone,
}

pub(crate) struct End {
    pub(crate) node: u32,
    pub(crate) state: EndState,
    pub(crate) error: Option<NetErrorKind>,
    pub(crate) addr: SocketAddr,
    /// Bit 0: somebody holds the receiving half; bit 1: the sending half.
    halves: u8,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    fn new(node: u32, state: EndState, addr: SocketAddr) -> Self {
        Self { node, state, error: None, addr, halves: 3, reader: None, writer: None }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn is_alive(&self) -> bool {
        matches!(self.state, EndState::Opening | EndState::Queued | EndState::Open)
    }
}

pub(crate) struct Conn {
    /// The one who asked, the one who was asked.
    pub(crate) ends: [End; 2],
    /// `pipes[i]` carries from `ends[i]` to the other.
    pub(crate) pipes: [Pipe; 2],
}

struct ConnSlot {
    generation: u32,
    live: bool,
    conn: Option<Conn>,
}

struct ListenState {
    life: u32,
    at: SocketAddr,
    backlog: VecDeque<ConnKey>,
    acceptor: Option<Waker>,
}

/// The network of a world.
pub(crate) struct Wire {
    pub(crate) options: NetOptions,
    pub(crate) links: Links,
    pub(crate) luck: Luck,
    conns: Vec<ConnSlot>,
    free: Vec<u32>,
    listeners: BTreeMap<(u32, u16), ListenState>,
}

/// What a lost packet costs before it is sent again the first time.
const RETRANSMIT_NS: u64 = 200_000_000;
/// A packet is not lost more often than this in a row.
const LOSSES_MAX: u32 = 6;
/// How long after a cut heals the sender may still wait before it tries again.
const BACKOFF_NS_MAX: u64 = 10_000_000_000;
/// The gap before a request to connect is sent again; doubles.
const SYN_RETRY_NS: u64 = 1_000_000_000;
/// Inside a machine.
const LOOPBACK_NS: u64 = 20_000;
/// How often a held packet looks whether it may travel.
const HELD_LOOK_NS: u64 = 10_000_000;

impl Wire {
    pub(crate) fn new(options: NetOptions, luck: Luck) -> Self {
        Self {
            options,
            links: Links::default(),
            luck,
            conns: Vec::new(),
            free: Vec::new(),
            listeners: BTreeMap::new(),
        }
    }

    #[inline]
    pub(crate) fn conn(&mut self, key: ConnKey) -> Option<&mut Conn> {
        let slot = self.conns.get_mut(key.slot as usize)?;
        if slot.generation == key.generation && slot.live { slot.conn.as_mut() } else { None }
    }

    fn add(&mut self, ends: [End; 2]) -> ConnKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.conns.push(ConnSlot { generation: 0, live: false, conn: None });
                (self.conns.len() - 1) as u32
            }
        };
        let place = &mut self.conns[slot as usize];
        place.live = true;
        match &mut place.conn {
            // The buffers of the one before.
            Some(conn) => {
                conn.ends = ends;
                conn.pipes.iter_mut().for_each(Pipe::renew);
            }
            None => place.conn = Some(Conn { ends, pipes: Default::default() }),
        }
        ConnKey { slot, generation: place.generation }
    }

    /// The keys of all connections that touch `node`, in order.
    fn of_node(&self, node: u32) -> Vec<ConnKey> {
        let touches = |slot: &ConnSlot| {
            slot.live
                && slot.conn.as_ref().is_some_and(|conn| conn.ends.iter().any(|e| e.node == node))
        };
        self.keys(touches)
    }

    fn keys(&self, of: impl Fn(&ConnSlot) -> bool) -> Vec<ConnKey> {
        (0_u32..)
            .zip(&self.conns)
            .filter(|(_, slot)| of(slot))
            .map(|(at, slot)| ConnKey { slot: at, generation: slot.generation })
            .collect()
    }

    /// How many connections are alive.
    pub(crate) fn alive(&self) -> usize {
        self.conns.iter().filter(|slot| slot.live).count()
    }

    /// How long one packet of that size travels.
    fn travel(&mut self, now: u64, from: u32, to: u32, bytes: usize) -> (u64, u32) {
        if from == to {
            return (LOOPBACK_NS, 0);
        }
        let link = self.links.get(from, to);
        let (extra, per_second) = (link.extra_ns, link.bytes_per_second);
        let loss = link.loss_per_million.unwrap_or(self.options.loss_per_million);
        let mut delay = link.latency.unwrap_or(self.options.latency).draw(&mut self.luck) + extra;
        let mut losses = 0;
        while losses < LOSSES_MAX && self.luck.per_million(loss) {
            delay += RETRANSMIT_NS << losses;
            losses += 1;
        }
        // A narrow link is shared fairly: what is small passes by what is large.
        if bytes > 0
            && let Some(nanos) = (bytes as u64 * 1_000_000_000).checked_div(per_second)
        {
            let link = self.links.get_mut(from, to);
            link.busy_until = link.busy_until.max(now) + nanos;
            delay += link.busy_until - now;
        }
        (delay, losses)
    }
}

fn refused<T>(kind: NetErrorKind, detail: &str) -> NetResult<T> {
    Err(NetError::new(kind, detail))
}

impl State {
    /// Which node an address means, seen from a node.
    fn resolve(&self, from: u32, addr: &SocketAddr) -> Option<u32> {
        if addr.ip().is_loopback() || addr.ip().is_unspecified() {
            return Some(from);
        }
        self.nodes.iter().position(|node| addr.ip() == node.ip).map(|at| at as u32)
    }

    pub(crate) fn listen(
        &mut self,
        (at, life): (u32, u32),
        addr: SocketAddr,
    ) -> NetResult<SocketAddr> {
        if self.resolve(at, &addr) != Some(at) {
            return refused(NetErrorKind::AddressUnavailable, &format!("{addr}"));
        }
        let mut addr = addr;
        if addr.port() == 0 {
            addr.set_port(self.free_port(at)?);
        }
        let key = (at, addr.port());
        if self.wire.listeners.contains_key(&key) {
            return refused(NetErrorKind::AddressInUse, &format!("{addr}"));
        }
        let listener = ListenState { life, at: addr, backlog: VecDeque::new(), acceptor: None };
        self.wire.listeners.insert(key, listener);
        self.pane.digest.word(u64::from(at) << 16 | u64::from(addr.port()));
        self.line(at, || format!("listens at {addr}"));
        Ok(addr)
    }

    fn free_port(&mut self, at: u32) -> NetResult<u16> {
        for _ in 0..=u16::MAX {
            let node = &mut self.nodes[at as usize];
            let port = node.next_port;
            node.next_port = if port == u16::MAX { 49_152 } else { port + 1 };
            if !self.wire.listeners.contains_key(&(at, port)) {
                return Ok(port);
            }
        }
        refused(NetErrorKind::AddressInUse, "every port is in use")
    }

    /// The listener of that life is dropped: who waits in its queue is sent away.
    pub(crate) fn unlisten(&mut self, (at, life): (u32, u32), port: u16) {
        let is_ours = |listener: &ListenState| listener.life == life;
        if self.wire.listeners.get(&(at, port)).is_some_and(is_ours) {
            self.close_listener(at, port);
        }
    }

    fn close_listener(&mut self, at: u32, port: u16) {
        let Some(listener) = self.wire.listeners.remove(&(at, port)) else { return };
        for conn in listener.backlog {
            self.send_away(conn, 1);
        }
    }

    pub(crate) fn accept(
        &mut self,
        (at, port): (u32, u16),
        waker: &Waker,
    ) -> Poll<NetResult<(ConnKey, SocketAddr)>> {
        loop {
            let Some(listener) = self.wire.listeners.get_mut(&(at, port)) else {
                return Poll::Ready(refused(NetErrorKind::Other, "not listening"));
            };
            let Some(key) = listener.backlog.pop_front() else {
                keep(&mut listener.acceptor, waker);
                return Poll::Pending;
            };
            let Some(conn) = self.wire.conn(key) else { continue };
            if conn.ends[1].state != EndState::Queued {
                continue;
            }
            conn.ends[1].state = EndState::Open;
            let peer = conn.ends[0].addr;
            self.pane.digest.word(key.number());
            self.line(at, || format!("accepts c{} from {peer}", key.slot));
            self.tape_link(key, 1, "accepts");
            return Poll::Ready(Ok((key, peer)));
        }
    }

    /// Asks for a connection. An address nobody has is asked in vain, until the deadline.
    pub(crate) fn connect(&mut self, at: u32, to: SocketAddr) -> NetResult<Option<ConnKey>> {
        let port = self.free_port(at)?;
        let Some(target) = self.resolve(at, &to) else {
            self.probe("net.connect_to_nobody");
            return Ok(None);
        };
        let from = if target == at { to.ip() } else { self.nodes[at as usize].ip.into() };
        let client = End::new(at, EndState::Opening, SocketAddr::new(from, port));
        let server = End::new(target, EndState::Absent, to);
        let conn = self.wire.add([client, server]);
        self.pane.digest.word(u64::from(at) << 32 | u64::from(target));
        self.line(at, || format!("connects to {to} as c{}", conn.slot));
        self.tape_link(conn, 0, "asks");
        self.send_syn(conn, 0);
        Ok(Some(conn))
    }

    fn send_syn(&mut self, key: ConnKey, attempt: u8) {
        let Some((from, to)) = self.nodes_of(key, 0) else { return };
        let (delay, _) = self.wire.travel(self.now, from, to, 0);
        self.timeline.push(self.now + delay, Event::Syn { conn: key, attempt });
    }

    /// The two nodes of a connection, seen from one end.
    fn nodes_of(&mut self, key: ConnKey, end: usize) -> Option<(u32, u32)> {
        let conn = self.wire.conn(key)?;
        Some((conn.ends[end].node, conn.ends[1 - end].node))
    }

    fn retry_syn(&mut self, key: ConnKey, attempt: u8) {
        let gap = SYN_RETRY_NS << attempt.min(5);
        let attempt = attempt.saturating_add(1);
        self.timeline.push(self.now + gap, Event::Syn { conn: key, attempt });
    }

    pub(crate) fn syn_arrives(&mut self, key: ConnKey, attempt: u8) {
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[0].state != EndState::Opening {
            return;
        }
        let (from, to, addr) = (conn.ends[0].node, conn.ends[1].node, conn.ends[1].addr);
        let known = conn.ends[1].state == EndState::Half;
        if self.wire.links.blocked(from, to).is_some() || !self.nodes[to as usize].machine {
            self.probe("net.connect_hangs");
            return self.retry_syn(key, attempt);
        }
        let backlog = self.wire.options.backlog;
        let (delay, _) = self.wire.travel(self.now, to, from, 0);
        let listener = self.wire.listeners.get_mut(&(to, addr.port()));
        let listener = listener.filter(|listener| hears(listener, from == to, addr));
        match listener {
            _ if known => {}
            None => {
                self.timeline.push(self.now + delay, Event::Refuse { conn: key, attempt });
                return;
            }
            Some(listener) if listener.backlog.len() >= backlog => {
                self.probe("net.backlog_full");
                return self.retry_syn(key, attempt);
            }
            Some(_) => {
                if let Some(conn) = self.wire.conn(key) {
                    conn.ends[1].state = EndState::Half;
                }
            }
        }
        self.timeline.push(self.now + delay, Event::SynAck { conn: key, attempt });
    }

    pub(crate) fn syn_ack_arrives(&mut self, key: ConnKey, attempt: u8) {
        let Some((from, to)) = self.nodes_of(key, 1) else { return };
        if self.wire.links.blocked(from, to).is_some() {
            self.probe("net.connect_answer_lost");
            return self.retry_syn(key, attempt);
        }
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[0].state != EndState::Opening {
            return;
        }
        conn.ends[0].state = EndState::Open;
        conn.ends[0].wake();
        // Its process may have died since: then the first bytes are answered by a reset.
        if conn.ends[1].state == EndState::Half {
            conn.ends[1].state = EndState::Queued;
            let (delay, _) = self.wire.travel(self.now, to, from, 0);
            self.timeline.push(self.now + delay, Event::Ack { conn: key, attempt: 0 });
        }
    }

    /// The last word: now a process may accept it.
    pub(crate) fn ack_arrives(&mut self, key: ConnKey, attempt: u8) {
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[1].state != EndState::Queued {
            return;
        }
        let (from, to, addr) = (conn.ends[0].node, conn.ends[1].node, conn.ends[1].addr);
        if self.wire.links.blocked(from, to).is_some() {
            let gap = SYN_RETRY_NS << attempt.min(5);
            let attempt = attempt.saturating_add(1);
            self.timeline.push(self.now + gap, Event::Ack { conn: key, attempt });
            return;
        }
        let listener = self.wire.listeners.get_mut(&(to, addr.port()));
        match listener.filter(|listener| hears(listener, from == to, addr)) {
            Some(listener) => {
                listener.backlog.push_back(key);
                listener.acceptor.take().into_iter().for_each(Waker::wake);
            }
            None => self.send_away(key, 1),
        }
    }

    pub(crate) fn refusal_arrives(&mut self, key: ConnKey, attempt: u8) {
        let Some((from, to)) = self.nodes_of(key, 1) else { return };
        if self.wire.links.blocked(from, to).is_some() {
            return self.retry_syn(key, attempt);
        }
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[0].state == EndState::Opening {
            conn.ends[0].error = Some(NetErrorKind::Refused);
            conn.ends[0].wake();
            self.probe("net.refused");
            self.tape_link(key, 0, "is refused");
        }
    }

    /// Whether a connection that was asked for has come.
    pub(crate) fn connected(&mut self, key: ConnKey, waker: &Waker) -> Poll<NetResult<()>> {
        let Some(conn) = self.wire.conn(key) else {
            return Poll::Ready(refused(NetErrorKind::Reset, ""));
        };
        let end = &mut conn.ends[0];
        if let Some(kind) = end.error {
            return Poll::Ready(refused(kind, &end.addr.to_string()));
        }
        if end.state == EndState::Open {
            self.pane.digest.word(key.number());
            return Poll::Ready(Ok(()));
        }
        keep(&mut end.reader, waker);
        Poll::Pending
    }

    pub(crate) fn read(
        &mut self,
        (key, at): (ConnKey, usize),
        buffer: &mut [u8],
        waker: &Waker,
    ) -> Poll<NetResult<usize>> {
        let partial = self.wire.options.partial_per_million;
        let Some(conn) = self.wire.conn(key) else {
            return Poll::Ready(refused(NetErrorKind::Reset, ""));
        };
        if let Some(kind) = conn.ends[at].error {
            return Poll::Ready(refused(kind, ""));
        }
        let pipe = &mut conn.pipes[1 - at];
        let (here, there) = (conn.ends[at].node, conn.ends[1 - at].node);
        let mut len = pipe.delivered().min(buffer.len());
        if len == 0 {
            if buffer.is_empty() || pipe.fin_arrived {
                self.pane.digest.word(key.number());
                return Poll::Ready(Ok(0));
            }
            keep(&mut conn.ends[at].reader, waker);
            return Poll::Pending;
        }
        let short = len > 1 && self.wire.luck.per_million(partial);
        if short {
            len = self.wire.luck.range(1..len as u64) as usize;
            self.probe("net.partial_read");
        }
        let blocked = self.wire.links.blocked(here, there).is_some();
        let Some(conn) = self.wire.conn(key) else { return Poll::Pending };
        let pipe = &mut conn.pipes[1 - at];
        pipe.read(&mut buffer[..len]);
        if blocked {
            pipe.owe(len);
        } else {
            pipe.acknowledge(len);
            self.offer_credit(key, 1 - at);
        }
        self.pane.digest.word(key.number() << 8 | 1);
        self.pane.digest.bytes(&buffer[..len]);
        self.line(here, || format!("reads {len} from c{}", key.slot));
        Poll::Ready(Ok(len))
    }

    /// A writer that waits for room learns of it one latency later.
    fn offer_credit(&mut self, key: ConnKey, dir: usize) {
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[dir].writer.is_none() || conn.pipes[dir].credit.is_some() {
            return;
        }
        let (writer, reader) = (conn.ends[dir].node, conn.ends[1 - dir].node);
        let (delay, _) = self.wire.travel(self.now, reader, writer, 0);
        let event = Event::Credit { conn: key, dir: dir as u8 };
        let ticket = self.timeline.push(self.now + delay, event);
        if let Some(conn) = self.wire.conn(key) {
            conn.pipes[dir].credit = Some(ticket);
        }
    }

    pub(crate) fn credit(&mut self, key: ConnKey, dir: u8) {
        let Some(conn) = self.wire.conn(key) else { return };
        conn.pipes[dir as usize].credit = None;
        conn.ends[dir as usize].writer.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) fn write(
        &mut self,
        (key, at): (ConnKey, usize),
        bytes: &[u8],
        waker: &Waker,
    ) -> Poll<NetResult<usize>> {
        let (window, partial) =
            (self.wire.options.window_bytes, self.wire.options.partial_per_million);
        let Some(conn) = self.wire.conn(key) else {
            return Poll::Ready(refused(NetErrorKind::Reset, ""));
        };
        if let Some(kind) = conn.ends[at].error {
            return Poll::Ready(refused(kind, ""));
        }
        if conn.pipes[at].fin_sent {
            return Poll::Ready(refused(NetErrorKind::Other, "already shut down"));
        }
        let window = if planted!("world_no_window") { usize::MAX } else { window };
        let mut len = bytes.len().min(conn.pipes[at].room(window));
        if len == 0 && !bytes.is_empty() {
            keep(&mut conn.ends[at].writer, waker);
            self.probe("net.back_pressure");
            return Poll::Pending;
        }
        let (from, to) = (conn.ends[at].node, conn.ends[1 - at].node);
        if len > 1 && self.wire.luck.per_million(partial) {
            len = self.wire.luck.range(1..len as u64) as usize;
            self.probe("net.partial_write");
        }
        self.pane.digest.word(key.number() << 8 | 2);
        self.pane.digest.bytes(&bytes[..len]);
        self.send(key, at, Some(&bytes[..len]));
        self.line(from, || format!("writes {len} to c{}", key.slot));
        if self.message_sent(from) {
            // It died of this message; whether it left is the network's luck.
            return Poll::Pending;
        }
        let flip = self.wire.links.get(from, to).flip_per_million;
        if len > 0 && self.wire.luck.per_million(flip.unwrap_or(self.wire.options.flip_per_million))
        {
            let bit = self.wire.luck.range(0..len as u64 * 8) as usize;
            if let Some(conn) = self.wire.conn(key) {
                conn.pipes[at].flip(len, bit);
                self.pane.digest.word(bit as u64);
                self.probe("net.bit_flip");
                let flips = || format!("fault: bit {bit} of {len} bytes on c{} flips", key.slot);
                self.world_line(flips);
                if self.trace.is_taped() {
                    self.word(None, &flips());
                }
            }
        }
        Poll::Ready(Ok(len))
    }

    /// Puts bytes, or the end of the stream, on their way.
    fn send(&mut self, key: ConnKey, at: usize, bytes: Option<&[u8]>) {
        let Some((from, to)) = self.nodes_of(key, at) else { return };
        let size = bytes.map_or(0, <[u8]>::len);
        let (delay, losses) = self.wire.travel(self.now, from, to, size);
        let link = self.wire.links.get(from, to);
        let (slow, narrow) = (link.extra_ns > 0, link.bytes_per_second > 0);
        for (happened, probe) in
            [(losses > 0, "net.loss"), (slow, "net.slow"), (narrow, "net.narrow")]
        {
            if happened {
                self.probe(probe);
            }
        }
        let Some(conn) = self.wire.conn(key) else { return };
        let pipe = &mut conn.pipes[at];
        let arrives = pipe.last_at.max(self.now + delay);
        match bytes {
            Some(bytes) => pipe.push(bytes, arrives),
            None => pipe.push_fin(arrives),
        }
        if pipe.ticket.is_none() && pipe.stalled.is_none() {
            let event = Event::Deliver { conn: key, dir: at as u8 };
            pipe.ticket = Some(self.timeline.push(arrives, event));
        }
        if let Some(tape) = self.trace.tape() {
            let (at_ns, bytes, is_end) = (self.now, size as u32, bytes.is_none());
            let fate = Fate::UnderWay;
            tape.sent(at, Message { at_ns, from, to, conn: key.slot, bytes, is_end, fate });
        }
    }

    /// Something about a connection, for the tape.
    fn tape_link(&mut self, key: ConnKey, end: usize, what: &'static str) {
        if self.trace.is_taped()
            && let Some((node, peer)) = self.nodes_of(key, end)
            && let Some(tape) = self.trace.tape()
        {
            tape.link(Link { at_ns: self.now, node, peer, conn: key.slot, what });
        }
    }

    pub(crate) fn shutdown(&mut self, (key, at): (ConnKey, usize)) -> NetResult<()> {
        let Some(conn) = self.wire.conn(key) else {
            return refused(NetErrorKind::Reset, "");
        };
        if let Some(kind) = conn.ends[at].error {
            return refused(kind, "");
        }
        if !conn.pipes[at].fin_sent {
            let node = conn.ends[at].node;
            self.send(key, at, None);
            self.pane.digest.word(key.number() << 8 | 3);
            self.line(node, || format!("shuts c{} down", key.slot));
        }
        Ok(())
    }

    pub(crate) fn deliver(&mut self, key: ConnKey, dir: u8) {
        let at = dir as usize;
        let now = self.now;
        let Some(conn) = self.wire.conn(key) else { return };
        let (from, to) = (conn.ends[at].node, conn.ends[1 - at].node);
        let there = conn.ends[1 - at].state;
        conn.pipes[at].ticket = None;
        let silent = there == EndState::Gone && !self.nodes[to as usize].machine;
        let blocked = self.wire.links.blocked(from, to);
        if silent || blocked.is_some() {
            if let Some(conn) = self.wire.conn(key) {
                conn.pipes[at].stalled = Some(now);
            }
            return self.probe(match blocked {
                Some(Blocked::Cut) => "net.cut",
                Some(Blocked::Held) => "net.hold",
                None => "net.half_open",
            });
        }
        if there == EndState::Gone {
            self.clear_pipe(key, at);
            return self.send_reset(key, at);
        }
        let Some(conn) = self.wire.conn(key) else { return };
        let pipe = &mut conn.pipes[at];
        let arrived = pipe.arrive(now);
        if let Some(tape) = self.trace.tape() {
            tape.arrived((key.slot, at), arrived, now);
        }
        if let Some(next) = pipe.next_at() {
            pipe.ticket = Some(self.timeline.push(next, Event::Deliver { conn: key, dir }));
        }
        conn.ends[1 - at].reader.take().into_iter().for_each(Waker::wake);
    }

    fn clear_pipe(&mut self, key: ConnKey, at: usize) {
        let Some(conn) = self.wire.conn(key) else { return };
        let pipe = &mut conn.pipes[at];
        pipe.clear();
        if let Some(tape) = self.trace.tape() {
            tape.lost((key.slot, at), self.now);
        }
        for ticket in [pipe.ticket.take(), pipe.credit.take()].into_iter().flatten() {
            self.timeline.cancel(ticket);
        }
    }

    /// The other end's kernel tells `end` that the connection is no more.
    fn send_reset(&mut self, key: ConnKey, end: usize) {
        let Some((to, from)) = self.nodes_of(key, end) else { return };
        let (delay, _) = self.wire.travel(self.now, from, to, 0);
        self.timeline.push(self.now + delay, Event::Reset { conn: key, end: end as u8 });
    }

    pub(crate) fn reset_arrives(&mut self, key: ConnKey, end: u8) {
        let Some((to, from)) = self.nodes_of(key, end as usize) else { return };
        let blocked = self.wire.links.blocked(from, to);
        match blocked.filter(|_| !planted!("world_reset_crosses_cut")) {
            None => self.break_end(key, end as usize),
            Some(Blocked::Cut) => self.probe("net.reset_lost"),
            Some(Blocked::Held) => {
                self.timeline.push(self.now + HELD_LOOK_NS, Event::Reset { conn: key, end });
            }
        }
    }

    /// From now on this end knows that the connection is broken.
    fn break_end(&mut self, key: ConnKey, end: usize) {
        let Some(conn) = self.wire.conn(key) else { return };
        if !conn.ends[end].is_alive() || conn.ends[end].error.is_some() {
            return;
        }
        let node = conn.ends[end].node;
        conn.ends[end].error = Some(NetErrorKind::Reset);
        conn.ends[end].wake();
        self.clear_pipe(key, 0);
        self.clear_pipe(key, 1);
        self.pane.digest.word(key.number() << 8 | 4);
        self.probe("net.reset");
        self.line(node, || format!("c{} is reset", key.slot));
        self.tape_link(key, end, "is reset");
    }

    /// One half of an end is dropped by its process.
    pub(crate) fn drop_half(&mut self, (key, at): (ConnKey, usize), half: u8) {
        let Some(conn) = self.wire.conn(key) else { return };
        let end = &mut conn.ends[at];
        end.halves &= !half;
        if end.halves == 0 {
            self.close(key, at);
        } else if half == 2 && end.error.is_none() && !conn.pipes[at].fin_sent {
            self.send(key, at, None);
        }
    }

    /// The process lets go of an end without or after saying so.
    fn close(&mut self, key: ConnKey, at: usize) {
        let Some(conn) = self.wire.conn(key) else { return };
        let unread = conn.pipes[1 - at].delivered() > 0;
        let said = conn.pipes[at].fin_sent;
        let known = conn.ends[at].state == EndState::Open && conn.ends[at].error.is_none();
        conn.ends[at].state = EndState::Gone;
        if known {
            if unread || (!said && self.wire.luck.coin()) {
                self.clear_pipe(key, at);
                self.send_reset(key, 1 - at);
            } else if !said {
                self.send(key, at, None);
            }
        }
        self.settle(key);
    }

    /// An end that was never in a process's hands, or is taken from one that died.
    fn send_away(&mut self, key: ConnKey, at: usize) {
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends[at].is_alive() {
            conn.ends[at].state = EndState::Gone;
            self.clear_pipe(key, at);
            self.send_reset(key, 1 - at);
            self.settle(key);
        }
    }

    /// Gives a slot free when neither end is alive.
    fn settle(&mut self, key: ConnKey) {
        let Some(conn) = self.wire.conn(key) else { return };
        if conn.ends.iter().any(End::is_alive) {
            return;
        }
        self.clear_pipe(key, 0);
        self.clear_pipe(key, 1);
        let slot = &mut self.wire.conns[key.slot as usize];
        slot.live = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.wire.free.push(key.slot);
    }

    fn sockets_end(&mut self, node: u32, mut how: impl FnMut(&mut Self, ConnKey, usize)) {
        let ports = self.wire.listeners.range((node, 0)..=(node, u16::MAX));
        let ports: Vec<u16> = ports.map(|(key, _)| key.1).collect();
        for key in self.wire.of_node(node) {
            if let Some(conn) = self.wire.conn(key)
                && conn.ends[1].node == node
                && conn.ends[1].state == EndState::Half
            {
                conn.ends[1].state = EndState::Gone;
            }
            for end in 0..2 {
                let of = |end: &End| end.node == node && end.is_alive();
                if self.wire.conn(key).is_some_and(|conn| of(&conn.ends[end])) {
                    how(self, key, end);
                }
            }
        }
        for port in ports {
            self.close_listener(node, port);
        }
    }

    /// The process ends by itself: its kernel closes what it held.
    pub(crate) fn sockets_close(&mut self, node: u32) {
        self.sockets_end(node, Self::close);
    }

    /// The process is killed: resets go out.
    pub(crate) fn sockets_reset(&mut self, node: u32) {
        self.sockets_end(node, Self::send_away);
    }

    /// The machine is dark: some of what had left still arrives, then nothing.
    pub(crate) fn sockets_fall_silent(&mut self, node: u32) {
        if planted!("world_power_loss_resets") {
            return self.sockets_reset(node);
        }
        let now = self.now;
        self.sockets_end(node, |state, key, at| {
            let Some(conn) = state.wire.conn(key) else { return };
            conn.ends[at].state = EndState::Gone;
            (conn.ends[at].reader, conn.ends[at].writer) = (None, None);
            let keep = conn.pipes[at].under_way() as u64;
            let keep = state.wire.luck.range(0..keep + 1) as usize;
            let Some(conn) = state.wire.conn(key) else { return };
            conn.pipes[at].truncate(keep);
            if let Some(tape) = state.trace.tape() {
                tape.cut_off((key.slot, at), keep, now);
            }
            // What travels towards it is sent again until the machine answers.
            let pipe = &mut conn.pipes[1 - at];
            if let Some(ticket) = pipe.ticket.take() {
                pipe.stalled = Some(now);
                state.timeline.cancel(ticket);
            }
            state.settle(key);
        });
    }

    /// A machine is back, or a link carries again: what waited is sent again, sooner or later.
    pub(crate) fn sends_again_to(&mut self, node: u32) {
        for key in self.wire.of_node(node) {
            self.send_again(key);
        }
    }

    /// The same for all links.
    pub(crate) fn sends_again(&mut self) {
        for key in self.wire.keys(|slot| slot.live) {
            self.send_again(key);
        }
    }

    fn send_again(&mut self, key: ConnKey) {
        for at in 0..2 {
            let Some((from, to)) = self.nodes_of(key, at) else { return };
            if self.wire.links.blocked(to, from).is_none() {
                let paid = self.wire.conn(key).is_some_and(|conn| conn.pipes[at].pay());
                if paid {
                    self.offer_credit(key, at);
                }
            }
            let now = self.now;
            let stalled = self.wire.conn(key).and_then(|conn| conn.pipes[at].stalled);
            let Some(since) = stalled else { continue };
            if self.wire.links.blocked(from, to).is_some() {
                continue;
            }
            let gap = (now - since).min(BACKOFF_NS_MAX);
            let gap = self.wire.luck.range(0..gap + 1);
            let (delay, _) = self.wire.travel(now, from, to, 0);
            let event = Event::Deliver { conn: key, dir: at as u8 };
            let ticket = self.timeline.push(now + gap + delay, event);
            if let Some(conn) = self.wire.conn(key) {
                conn.pipes[at].stalled = None;
                conn.pipes[at].ticket = Some(ticket);
            }
        }
    }

    /// A narrow link is wide again: what waited for it passes.
    pub(crate) fn widen(&mut self, from: u32, to: u32) {
        if !self.wire.links.widen(from, to) || planted!("world_queue_outlives_throttle") {
            return;
        }
        for key in self.wire.of_node(from) {
            for at in 0..2 {
                if self.nodes_of(key, at) == Some((from, to)) {
                    self.hurry(key, at);
                }
            }
        }
    }

    fn hurry(&mut self, key: ConnKey, at: usize) {
        let Some((from, to)) = self.nodes_of(key, at) else { return };
        let (delay, _) = self.wire.travel(self.now, from, to, 0);
        let arrives = self.now + delay;
        let Some(conn) = self.wire.conn(key) else { return };
        let pipe = &mut conn.pipes[at];
        let (is_late, next) = (pipe.hurry(arrives), pipe.next_at());
        if let (true, Some(next), Some(ticket)) = (is_late, next, pipe.ticket.take()) {
            self.timeline.cancel(ticket);
            let event = Event::Deliver { conn: key, dir: at as u8 };
            pipe.ticket = Some(self.timeline.push(next, event));
        }
    }

    /// Something between two nodes ends all their connections.
    pub(crate) fn reset_between(&mut self, one: u32, other: u32) {
        for key in self.wire.of_node(one) {
            if self
                .nodes_of(key, 0)
                .is_some_and(|(a, b)| (a, b) == (one, other) || (b, a) == (one, other))
            {
                self.break_end(key, 0);
                self.break_end(key, 1);
            }
        }
    }
}

fn hears(listener: &ListenState, local: bool, asked: SocketAddr) -> bool {
    let ip = listener.at.ip();
    ip.is_unspecified() || ip == asked.ip() || (local && asked.ip().is_unspecified())
}

/// Keeps a waker, without cloning one that is kept already.
#[inline]
pub(crate) fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(kept) => kept.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
