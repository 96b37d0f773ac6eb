//! What waits to be sent to one node: bytes, bounded, the oldest dropped first.
//!
//! ```text
//!   send ─► encode ─► [ frame | frame | frame ]  ──take──► the link writes all of it at once
//!                       ▲ dropped when there are too many
//! ```
//! A packet is encoded where it is sent, right into the buffer that goes to the socket: the caller
//! never waits, and nothing stands between its turn and the system call but one copy. The link
//! exchanges the full buffer for the empty one it wrote last, so two buffers serve a link for its
//! whole life.
//!
//! Why the oldest is dropped and not the newest: whoever sends Raft's messages repeats what is
//! lost, and the newest says the most. While there is no connection everything is dropped: it
//! would be old when it arrived.
//!
//! Signs of life are kept apart until the link takes them, and a newer one of the same group takes
//! the older one's place: on a slow cable they would otherwise be all that it carries.
//!
//! A lock and a bell, and not a queue: a queue is bounded in packets, and here the bound is in
//! bytes. All tasks of a core run on one thread, so the lock is free, and it is held for a copy at
//! most. The bell rings after it is let go.
//!
//! Invariants: never more than `bytes_max` and always whole frames; what was sent while the
//! connection was open and not counted as dropped is handed to the link, in order.
//!
//! Not here: who connects and writes (`link.rs`).

use std::{
    collections::BTreeMap,
    future::poll_fn,
    iter,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::{Buf, BytesMut};
use trilith_engine::{
    mark,
    packet::{Beat, Packet},
    planted,
    raft::{Body, Message},
    types::{GroupId, Size},
};

use super::{LinkStatus, Trouble, codec};
use crate::{
    frame::{self, HEADER_BYTES, Kind},
    limits::BEATS_AT_ONCE_MAX,
};

/// What waits to be sent to one node.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: BytesMut,
    /// The newest sign of life of each group, and the newest answer to one.
    beats: BTreeMap<(GroupId, bool), Message>,
    link: Option<Waker>,
    status: LinkStatus,
}

impl State {
    fn put_beats(&mut self) {
        while !self.beats.is_empty() {
            let first = iter::from_fn(|| self.beats.pop_first()).take(BEATS_AT_ONCE_MAX);
            let beats = first.map(|((group, _), message)| Beat { group, message }).collect();
            if codec::encode(&Packet::Beats(beats), &mut self.frames).is_err() {
                self.status.dropped += 1;
            }
        }
    }

    fn drop_oldest(&mut self) {
        mark!("peer: an outbox was full");
        let len = frame::first_len(&self.frames).min(self.frames.len());
        self.frames.advance(len);
        self.status.dropped += 1;
    }
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics but what is out of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was taken. It may still be dropped.
    pub(super) fn send(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Beats(beats) => self.put(|state| {
                for Beat { group, message } in beats {
                    let is_answer = matches!(message.body, Body::HeartbeatAck { .. });
                    state.beats.insert((*group, is_answer), *message);
                }
                true
            }),
            packet => self.put(|state| codec::encode(packet, &mut state.frames).is_ok()),
        }
    }

    /// Asks whether the other side is there. Behind a full outbox that is not worth a packet: what
    /// waits there is either taken, which answers the question, or it is not.
    pub(super) fn ping(&self) {
        if self.lock().frames.len() + HEADER_BYTES <= self.bytes_max {
            self.put(|state| {
                frame::put_empty(&mut state.frames, Kind::Ping);
                true
            });
        }
    }

    fn put(&self, put: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.lock();
        if !state.status.is_up || !put(&mut state) {
            state.status.dropped += 1;
            return false;
        }
        while state.frames.len() > self.bytes_max && !planted!("peer_outbox_unbounded") {
            state.drop_oldest();
        }
        let link = state.link.take();
        drop(state);
        if let Some(link) = link {
            link.wake();
        }
        true
    }

    /// Everything that waits, as soon as something does. `spare` is the buffer for what comes next.
    pub(super) async fn take(&self, spare: BytesMut) -> BytesMut {
        let mut spare = Some(spare);
        poll_fn(|context| {
            let mut state = self.lock();
            state.put_beats();
            if state.frames.is_empty() {
                if !state.link.as_ref().is_some_and(|link| link.will_wake(context.waker())) {
                    state.link = Some(context.waker().clone());
                }
                return Poll::Pending;
            }
            let spare = spare.take().unwrap_or_default();
            state.status.taken_bytes += state.frames.len() as u64;
            Poll::Ready(std::mem::replace(&mut state.frames, spare))
        })
        .await
    }

    /// A connection is there.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        state.status.is_up = true;
        state.status.lives += 1;
        state.status.trouble = None;
    }

    /// There is none any more, or it could not be made. Answers whether it is another trouble than
    /// before.
    pub(super) fn close(&self, trouble: &Trouble) -> bool {
        let mut state = self.lock();
        state.status.is_up = false;
        state.frames.clear();
        state.beats.clear();
        let is_new = state.status.trouble.as_ref() != Some(trouble);
        state.status.trouble = Some(trouble.clone());
        is_new
    }

    /// What waits, in bytes.
    pub(super) fn size(&self) -> Size {
        Size::of(self.lock().frames.len(), self.bytes_max)
    }

    pub(super) fn status(&self) -> LinkStatus {
        let state = self.lock();
        LinkStatus { waiting_bytes: state.frames.len(), ..state.status.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::Decoder, limits::FRAME_BODY_BYTES_MAX};
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };
    use trilith_engine::{
        packet::{Chunk, SnapshotId},
        raft::EntryId,
        types::{GroupId, ReplicaId},
    };

    fn packet(offset: u64, bytes: usize) -> Packet {
        let id = SnapshotId {
            group: GroupId(1),
            from: ReplicaId(1),
            to: ReplicaId(2),
            at: EntryId::new(1, 1),
            sending: 1,
        };
        Packet::Chunk(Chunk { id, offset, bytes: vec![7; bytes].into(), crc: 0, is_last: false })
    }

    /// The offsets of what waits.
    fn taken(outbox: &Outbox) -> Vec<u64> {
        let future = pin!(outbox.take(BytesMut::new()));
        let Poll::Ready(bytes) = future.poll(&mut Context::from_waker(Waker::noop())) else {
            return vec![];
        };
        let mut decoder = Decoder::new(64);
        decoder.agreed(64, FRAME_BODY_BYTES_MAX);
        decoder.feed(&bytes);
        let mut offsets = Vec::new();
        while let Some(frame) = decoder.take().unwrap() {
            let Packet::Chunk(chunk) = codec::decode(frame).unwrap() else { panic!("a chunk") };
            offsets.push(chunk.offset);
        }
        offsets
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let outbox = Outbox::new(1000);
        assert!(!outbox.send(&packet(1, 10)));
        outbox.open();
        for offset in 2..=6 {
            assert!(outbox.send(&packet(offset, 224)));
        }
        // 300 bytes each.
        assert_eq!(outbox.status().waiting_bytes, 900);
        assert_eq!(taken(&outbox), [4, 5, 6]);
        assert_eq!((outbox.status().dropped, outbox.status().taken_bytes), (3, 900));
        assert!(taken(&outbox).is_empty());
    }

    #[test]
    fn a_ping_pushes_nothing_out() {
        let outbox = Outbox::new(310);
        outbox.open();
        assert!(outbox.send(&packet(1, 224)));
        outbox.ping();
        assert_eq!(taken(&outbox), [1]);
        assert_eq!(outbox.status().dropped, 0);
    }

    #[test]
    fn nothing_waits_for_a_connection_that_is_gone() {
        let outbox = Outbox::new(1000);
        outbox.open();
        assert!(outbox.send(&packet(1, 10)));
        assert!(outbox.close(&Trouble::Silent));
        assert!(!outbox.close(&Trouble::Silent));
        assert!(!outbox.send(&packet(2, 10)));
        outbox.open();
        assert!(outbox.send(&packet(3, 10)));
        assert_eq!(taken(&outbox), [3]);
        assert_eq!(outbox.status().lives, 2);
    }
}
