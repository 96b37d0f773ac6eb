//! What connections hold of the node's memory, each by itself and all of a kind together.
//!
//! ```text
//!   Totals: one for the node ─┬─ resp ◄─ Held ◄─ a connection     beyond its first 64 KiB
//!                             ├─ http, text, …
//!                             └─ …
//! ```
//! What a connection holds of little costs it nothing here: its first bytes
//! ([`PORT_BYTES_FREE`]) are free, and nobody else hears of them.
//!
//! Not here: what they hold it for (`http`, `resp`, `text`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    limits::{
        CLIENTS_BYTES_MAX, PORT_BYTES_FREE, PORT_BYTES_MAX, POST_BYTES_MAX, RESP_BYTES_MAX,
        RESP_KNOWN_BYTES_MAX,
    },
    meters::Which,
};

/// What all of a kind hold together, and how much that may be.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    bytes: Arc<AtomicU64>,
    most: u64,
}

impl Total {
    /// Nothing yet, of so much.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: Arc::default(), most: most as u64 }
    }

    /// How much it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it is more than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes() > self.most
    }

    /// So many more, whether there is room or not.
    pub(crate) fn part(&self, bytes: usize) -> Part {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Part { of: self.clone(), bytes }
    }

    /// So many more, if there is room.
    fn take(&self, more: u64) -> bool {
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        let is_over = more > 0 && before + more > self.most;
        if is_over {
            self.give_back(more);
        }
        !is_over
    }

    fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of a total, as long as there is this.
#[derive(Debug)]
pub(crate) struct Part {
    of: Total,
    bytes: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

/// What all connections of each kind hold of a node.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Requests and answers of clients that speak our own protocol.
    pub(crate) native: Total,
    /// Requests and answers of Redis clients.
    pub(crate) resp: Total,
    /// Of HTTP clients.
    pub(crate) http: Total,
    /// Of clients of the text protocol.
    pub(crate) text: Total,
    /// What was published and waits for subscribers.
    pub(crate) post: Total,
    /// Names that Redis clients have subscribed to, and keys that they watch.
    pub(crate) names: Total,
}

/// How much all connections of a kind may hold, where it can be said. Nobody needs to, but who wants to
/// see what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests and answers of clients at the nodes' port.
    pub native: usize,
    /// What was published and waits for subscribers.
    pub post: usize,
    /// Names that Redis clients have subscribed to, and keys that they watch.
    pub names: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { native: CLIENTS_BYTES_MAX, post: POST_BYTES_MAX, names: RESP_KNOWN_BYTES_MAX }
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Totals {
    /// Nothing yet, within these bounds.
    pub(crate) fn new(bounds: Bounds) -> Self {
        let Bounds { native, post, names } = bounds;
        Self {
            native: Total::new(native),
            resp: Total::new(RESP_BYTES_MAX),
            http: Total::new(PORT_BYTES_MAX),
            text: Total::new(PORT_BYTES_MAX),
            post: Total::new(post),
            names: Total::new(names),
        }
    }

    /// Of what comes through that port.
    pub(crate) const fn of(&self, which: Which) -> &Total {
        match which {
            Which::Peer => &self.native,
            Which::Resp => &self.resp,
            Which::Http => &self.http,
            Which::Text => &self.text,
        }
    }
}

/// A part of what all connections of a kind may hold.
#[derive(Debug)]
pub(crate) struct Held {
    of: Total,
    bytes: u64,
}

impl Held {
    /// Nothing yet, of what all of them hold.
    pub(crate) fn new(of: &Total) -> Self {
        Self { of: of.clone(), bytes: 0 }
    }

    /// So many bytes are held now. Whether there is room for them.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(PORT_BYTES_FREE) as u64;
        if wanted == self.bytes {
            // Mostly it is nothing, and nobody else has to hear of that.
            return true;
        }
        if !self.of.take(wanted.saturating_sub(self.bytes)) {
            return false;
        }
        self.of.give_back(self.bytes.saturating_sub(wanted));
        self.bytes = wanted;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
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

    #[test]
    fn what_connections_hold_together_is_bounded() {
        let of = Total::new(PORT_BYTES_MAX);
        let (mut one, mut other) = (Held::new(&of), Held::new(&of));
        assert!(one.hold(PORT_BYTES_FREE) && of.bytes() == 0, "a little is free");
        assert!(one.hold(PORT_BYTES_MAX));
        assert!(!other.hold(2 * PORT_BYTES_FREE + 1));
        assert!(other.hold(PORT_BYTES_FREE), "and stays so");
        assert!(one.hold(PORT_BYTES_FREE + 10), "less is always there");
        assert_eq!(of.bytes(), 10);
        assert!(other.hold(PORT_BYTES_MAX));
        drop(one);
        drop(other);
        assert_eq!(of.bytes(), 0);
    }
}
