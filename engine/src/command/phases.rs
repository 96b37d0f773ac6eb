//! Where the time of an answer went, in the node that gave it.
//!
//! ```text
//!   arrives ── queue ──► proposed ── persist ──► durable here ── replicate ──► agreed ── apply ──► answered
//! ```
//! The phases of an answer lie end to end: together they are all of its time in the node. Disk and
//! network work side by side, so what counts as `replicate` is what the others took *longer* than this
//! node's own disk; nothing, when its disk was the last. A read is in no queue and waits for no disk
//! of the log: `replicate` is until the others have confirmed that it is current, `apply` until the
//! state has what they named, and the value is read.
//!
//! ```text
//! phases    queue µs 4 │ persist µs 4 │ replicate µs 4 │ apply µs 4
//! ```
//!
//! Not here: when these moments are (`shard/trail.rs`), the way to the node and back (who asks knows).

use super::bytes::Read;
use crate::codec::Reader;
use bytes::{BufMut, BytesMut};

/// The phases of an answer, in microseconds; nothing of what was refused at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Until it was proposed.
    pub queue_us: u32,
    /// From then until it was on this node's own disk.
    pub persist_us: u32,
    /// From then until enough others had it.
    pub replicate_us: u32,
    /// From then until it was applied, or read, and answered.
    pub apply_us: u32,
}

impl Phases {
    /// Their names and how long they took, in their order.
    #[must_use]
    pub const fn named(self) -> [(&'static str, u32); 4] {
        [
            ("queue", self.queue_us),
            ("persist", self.persist_us),
            ("replicate", self.replicate_us),
            ("apply", self.apply_us),
        ]
    }

    /// All of them together.
    #[must_use]
    pub fn sum_us(self) -> u64 {
        self.named().into_iter().map(|(_, us)| u64::from(us)).sum()
    }

    /// Those of this and then of another answer.
    #[must_use]
    pub const fn then(self, other: Self) -> Self {
        Self {
            queue_us: self.queue_us.saturating_add(other.queue_us),
            persist_us: self.persist_us.saturating_add(other.persist_us),
            replicate_us: self.replicate_us.saturating_add(other.replicate_us),
            apply_us: self.apply_us.saturating_add(other.apply_us),
        }
    }

    /// From moments in their order, in nanoseconds of one clock: arrived, proposed, durable here, agreed,
    /// answered.
    #[must_use]
    pub(crate) fn between(at: [u64; 5]) -> Self {
        let [queue_us, persist_us, replicate_us, apply_us] =
            [(0, 1), (1, 2), (2, 3), (3, 4)].map(|(from, to)| micros(at[from], at[to]));
        Self { queue_us, persist_us, replicate_us, apply_us }
    }

    pub(super) fn put(self, out: &mut BytesMut) {
        self.named().into_iter().for_each(|(_, us)| out.put_u32_le(us));
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            queue_us: reader.u32()?,
            persist_us: reader.u32()?,
            replicate_us: reader.u32()?,
            apply_us: reader.u32()?,
        })
    }
}

/// Each moment counts in whole microseconds, so that what lies end to end adds up.
fn micros(from_ns: u64, to_ns: u64) -> u32 {
    u32::try_from((to_ns / 1000).saturating_sub(from_ns / 1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_lie_end_to_end() {
        let at = [1_999, 2_001, 5_000, 5_000, 9_999_999];
        let phases = Phases::between(at);
        assert_eq!(phases.named().map(|(_, us)| us), [1, 3, 0, 9_994]);
        assert_eq!(phases.sum_us(), 9_998);
        assert_eq!(phases.then(phases).sum_us(), 2 * 9_998);
        let long = Phases::between([0, 0, 0, 0, u64::MAX]);
        assert_eq!(long.apply_us, u32::MAX);
        assert_eq!(Phases::between([9_000, 0, 0, 0, 0]), Phases::default());
    }
}
