//! What the connections of a port hold of the node's memory, each by itself and all together
//! ([`PORT_BYTES_MAX`](crate::limits::PORT_BYTES_MAX), [`RESP_BYTES_MAX`](crate::limits::RESP_BYTES_MAX)).
//!
//! Not here: what they hold it for (`http`, `resp`, `text`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::limits::PORT_BYTES_FREE;

/// A part of what all connections may hold.
pub(crate) struct Held {
    of: Arc<AtomicU64>,
    /// So much may all of them hold.
    most: u64,
    bytes: u64,
}

impl Held {
    /// Nothing yet, of what all of them hold, which may be so much.
    pub(crate) const fn new(of: Arc<AtomicU64>, most: usize) -> Self {
        Self { of, most: most as u64, bytes: 0 }
    }

    /// So many bytes are held now. Whether there is room for them.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(PORT_BYTES_FREE) as u64;
        if wanted == self.bytes {
            // Mostly it is nothing, and nobody else has to hear of that.
            return true;
        }
        let more = wanted.saturating_sub(self.bytes);
        let before = self.of.fetch_add(more, Ordering::Relaxed);
        let is_over = before + more > self.most;
        if more > 0 && is_over {
            self.of.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.of.fetch_sub(self.bytes.saturating_sub(wanted), Ordering::Relaxed);
        self.bytes = wanted;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a request that is being done may take of it.
pub(crate) struct Room<'a> {
    held: &'a mut Held,
    /// What the connection holds beside.
    beside: usize,
    /// Nothing was changed: it may still be refused.
    pub(crate) is_read: bool,
}

impl<'a> Room<'a> {
    /// Of a connection that holds so much beside.
    pub(crate) const fn new(held: &'a mut Held, beside: usize, is_read: bool) -> Self {
        Self { held, beside, is_read }
    }

    /// So many bytes are gathered now. Whether there is room for them.
    pub(crate) fn gathers(&mut self, bytes: usize) -> bool {
        self.held.hold(self.beside + bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PORT_BYTES_MAX;

    #[test]
    fn what_connections_hold_together_is_bounded() {
        let of = Arc::new(AtomicU64::new(0));
        let held = || Held::new(Arc::clone(&of), PORT_BYTES_MAX);
        let (mut one, mut other) = (held(), held());
        assert!(one.hold(PORT_BYTES_FREE) && of.load(Ordering::Relaxed) == 0, "a little is free");
        assert!(one.hold(PORT_BYTES_MAX));
        assert!(!other.hold(2 * PORT_BYTES_FREE + 1));
        assert!(other.hold(PORT_BYTES_FREE), "and stays so");
        assert!(one.hold(PORT_BYTES_FREE + 10), "less is always there");
        assert_eq!(of.load(Ordering::Relaxed), 10);
        assert!(other.hold(PORT_BYTES_MAX));
        drop(one);
        drop(other);
        assert_eq!(of.load(Ordering::Relaxed), 0);
    }
}
