//! One direction of a connection: bytes in order, some arrived, some under way, never more than
//! the window.
//!
//! ```text
//!   bytes     |<-- delivered -->|<------------ under way ------------->|
//!             ^ read here        segments: (arrives at, len) ..         ^ written here
//!   used      bytes the sender may not reuse yet: all of the above, plus what was read but whose
//!             acknowledgement could not travel back (owed)
//! ```
//!
//! Invariants: `delivered + sum of segments = bytes.len()`; `bytes.len() + owed <= used`... with
//! equality while both directions are open; segments arrive in order, whatever their latencies
//! were; nothing is lost inside a pipe, a pipe ends as a whole.
//!
//! Not here: when things arrive (`wire.rs`), what a reset does (`wire.rs`).

use std::collections::VecDeque;

use super::timeline::Ticket;

/// Some bytes under way; `fin` ends the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) at: u64,
    pub(crate) len: u32,
    pub(crate) fin: bool,
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    segments: VecDeque<Segment>,
    delivered: usize,
    used: usize,
    owed: usize,
    pub(crate) fin_sent: bool,
    pub(crate) fin_arrived: bool,
    /// When the last segment arrives, at the earliest: the next one may not overtake it.
    pub(crate) last_at: u64,
    /// The next arrival.
    pub(crate) ticket: Option<Ticket>,
    /// The wake-up of a writer who waits for room.
    pub(crate) credit: Option<Ticket>,
    /// Since when the network does not carry it.
    pub(crate) stalled: Option<u64>,
}

impl Pipe {
    /// An empty pipe that keeps the buffers of this one.
    pub(crate) fn renew(&mut self) {
        let (mut bytes, mut segments) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.segments));
        bytes.clear();
        segments.clear();
        *self = Self { bytes, segments, ..Self::default() };
    }

    pub(crate) fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.used)
    }

    /// Takes bytes on their way.
    pub(crate) fn push(&mut self, bytes: &[u8], at: u64) {
        self.bytes.extend(bytes);
        self.used += bytes.len();
        self.last_at = at;
        self.segments.push_back(Segment { at, len: bytes.len() as u32, fin: false });
    }

    /// Says that no more will come.
    pub(crate) fn push_fin(&mut self, at: u64) {
        self.fin_sent = true;
        self.last_at = at;
        self.segments.push_back(Segment { at, len: 0, fin: true });
    }

    /// Flips one bit of the last `len` bytes.
    pub(crate) fn flip(&mut self, len: usize, bit: usize) {
        let at = self.bytes.len() - len + (bit / 8) % len;
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Lets everything arrive that is due; answers how many segments did.
    pub(crate) fn arrive(&mut self, now: u64) -> usize {
        let mut arrived = 0;
        while let Some(segment) = self.segments.front().filter(|segment| segment.at <= now) {
            self.delivered += segment.len as usize;
            self.fin_arrived |= segment.fin;
            self.segments.pop_front();
            arrived += 1;
        }
        arrived
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.at)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn delivered(&self) -> usize {
        self.delivered
    }

    /// Whatever would arrive later than that arrives then. Answers whether that changes anything.
    pub(crate) fn hurry(&mut self, at: u64) -> bool {
        let is_late = self.last_at > at;
        self.last_at = self.last_at.min(at);
        self.segments.iter_mut().for_each(|segment| segment.at = segment.at.min(at));
        is_late
    }

    /// Reads what has arrived. The window stays used until [`Self::acknowledge`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.delivered);
        let (front, back) = self.bytes.as_slices();
        let first = len.min(front.len());
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..len].copy_from_slice(&back[..len - first]);
        self.bytes.drain(..len);
        self.delivered -= len;
        len
    }

    /// The sender learns that bytes were read.
    pub(crate) fn acknowledge(&mut self, len: usize) {
        self.used -= len;
    }

    /// The sender cannot learn it yet.
    pub(crate) fn owe(&mut self, len: usize) {
        self.owed += len;
    }

    /// Pays what is owed; answers whether anything was.
    pub(crate) fn pay(&mut self) -> bool {
        let owed = std::mem::take(&mut self.owed);
        self.used -= owed;
        owed > 0
    }

    /// Only the first `keep` segments under way will arrive, and no end.
    pub(crate) fn truncate(&mut self, keep: usize) {
        self.segments.truncate(keep);
        self.segments.retain(|segment| !segment.fin);
        let left: usize = self.segments.iter().map(|segment| segment.len as usize).sum();
        self.bytes.truncate(self.delivered + left);
    }

    /// Forgets every byte, arrived or not.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.segments.clear();
        (self.delivered, self.used, self.owed, self.stalled) = (0, 0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_in_order_and_within_the_window() {
        let mut pipe = Pipe::default();
        pipe.push(b"hello ", 10);
        pipe.push(b"world", 20);
        assert_eq!((pipe.room(16), pipe.next_at()), (5, Some(10)));
        let mut buffer = [0; 16];
        assert_eq!(pipe.read(&mut buffer), 0);
        assert_eq!(pipe.arrive(10), 1);
        assert_eq!(pipe.read(&mut buffer[..4]), 4);
        assert_eq!(pipe.arrive(20), 1);
        assert_eq!(pipe.read(&mut buffer[4..]), 7);
        assert_eq!(&buffer[..11], b"hello world");
        assert_eq!(pipe.room(16), 5, "read, but the sender does not know");
        pipe.acknowledge(4);
        pipe.owe(7);
        assert_eq!(pipe.room(16), 9);
        assert!(pipe.pay() && !pipe.pay());
        assert_eq!(pipe.room(16), 16);
    }

    #[test]
    fn a_cut_pipe_keeps_what_had_left() {
        let mut pipe = Pipe::default();
        pipe.push(b"ab", 1);
        pipe.push(b"cd", 2);
        pipe.push_fin(3);
        pipe.arrive(1);
        pipe.truncate(2);
        pipe.arrive(9);
        let mut buffer = [0; 8];
        assert_eq!(pipe.read(&mut buffer), 4);
        assert!(!pipe.fin_arrived);
    }

    #[test]
    fn a_flip_changes_one_bit_of_the_last_bytes() {
        let mut pipe = Pipe::default();
        pipe.push(&[0; 4], 1);
        pipe.push(&[0; 4], 1);
        pipe.flip(4, 8 + 3);
        pipe.arrive(1);
        let mut buffer = [0; 8];
        pipe.read(&mut buffer);
        assert_eq!(buffer, [0, 0, 0, 0, 0, 8, 0, 0]);
    }
}
