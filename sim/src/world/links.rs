//! What lies between two nodes: for every ordered pair, how it carries and whether it does.
//!
//! A cut loses what travels: a stream's bytes are sent again once it heals, what is sent only once
//! (a reset, an answer to a connect) is gone. A hold loses nothing: everything waits for the
//! release. Both are counted, so that faults may overlap and each takes back only its own part.
//! What happens inside one node is never cut.
//!
//! Not here: connections (`wire.rs`).

use super::latency::Latency;

/// How the network carries, where nothing else is said.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// How long a packet travels.
    pub latency: Latency,
    /// Packets lost and sent again, in a million.
    pub loss_per_million: u32,
    /// Reads and writes that take less than they could, in a million.
    pub partial_per_million: u32,
    /// Packets in which one bit is flipped, in a million. No checksum of the network notices.
    pub flip_per_million: u32,
    /// What one direction of a connection holds before its writer waits.
    pub window_bytes: usize,
    /// How many connections wait to be accepted before more are ignored.
    pub backlog: usize,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            // A rack: half a millisecond, now and then a few.
            latency: Latency::Exponential { min_us: 100, mean_us: 300 },
            loss_per_million: 0,
            partial_per_million: 0,
            flip_per_million: 0,
            window_bytes: 64 << 10,
            backlog: 128,
        }
    }
}

/// One direction between two nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    cuts: u16,
    holds: u16,
    pub(crate) latency: Option<Latency>,
    /// Added to every delay.
    pub(crate) extra_ns: u64,
    /// Zero: as much as you like.
    pub(crate) bytes_per_second: u64,
    /// When the last byte so far has passed, at that rate.
    pub(crate) busy_until: u64,
    pub(crate) loss_per_million: Option<u32>,
    pub(crate) flip_per_million: Option<u32>,
}

/// Why a link does not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Cut,
    Held,
}

/// All links.
#[derive(Default)]
pub(crate) struct Links {
    nodes: usize,
    table: Vec<Link>,
    /// Counted up when everything is healed at once: what was taken away before is not given back
    /// twice.
    pub(crate) epoch: u32,
}

impl Links {
    pub(crate) fn grow(&mut self, nodes: usize) {
        let mut table = vec![Link::default(); nodes * nodes];
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                table[from * nodes + to] = self.table[from * self.nodes + to].clone();
            }
        }
        (self.nodes, self.table) = (nodes, table);
    }

    #[inline]
    pub(crate) fn get(&self, from: u32, to: u32) -> &Link {
        &self.table[from as usize * self.nodes + to as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, from: u32, to: u32) -> &mut Link {
        &mut self.table[from as usize * self.nodes + to as usize]
    }

    #[inline]
    pub(crate) fn blocked(&self, from: u32, to: u32) -> Option<Blocked> {
        let link = self.get(from, to);
        match (link.cuts, link.holds) {
            (0, 0) => None,
            (0, _) => Some(Blocked::Held),
            _ => Some(Blocked::Cut),
        }
    }

    /// Cuts once more. A node is never cut from itself.
    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        if from != to {
            self.get_mut(from, to).cuts += 1;
        }
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        let link = self.get_mut(from, to);
        link.cuts = link.cuts.saturating_sub(1);
    }

    pub(crate) fn hold(&mut self, from: u32, to: u32) {
        if from != to {
            self.get_mut(from, to).holds += 1;
        }
    }

    pub(crate) fn release(&mut self, from: u32, to: u32) {
        let link = self.get_mut(from, to);
        link.holds = link.holds.saturating_sub(1);
    }

    /// A narrow link is wide again. Answers whether it was narrow.
    pub(crate) fn widen(&mut self, from: u32, to: u32) -> bool {
        let link = self.get_mut(from, to);
        link.busy_until = 0;
        std::mem::take(&mut link.bytes_per_second) > 0
    }

    /// Everything carries again, as it did in the beginning.
    pub(crate) fn heal_all(&mut self) {
        self.epoch += 1;
        self.table.fill(Link::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_overlap_take_back_only_their_own() {
        let mut links = Links::default();
        links.grow(2);
        links.cut(0, 1);
        links.cut(0, 1);
        links.hold(0, 1);
        links.heal(0, 1);
        assert_eq!(links.blocked(0, 1), Some(Blocked::Cut));
        assert_eq!(links.blocked(1, 0), None);
        links.grow(3);
        links.heal(0, 1);
        assert_eq!(links.blocked(0, 1), Some(Blocked::Held));
        links.heal(0, 1);
        links.release(0, 1);
        assert_eq!(links.blocked(0, 1), None);
        links.cut(2, 2);
        assert_eq!(links.blocked(2, 2), None);
    }
}
