//! Who may use the last room of a disk, so that running out of it is no dead end.
//!
//! Space comes back by writing: a deletion is a record, what is live is copied before the rest goes,
//! and a segment goes only when terms and checkpoints stand behind it. So a part of the device is
//! kept back, the *reserve*, and who asks says what for:
//!
//! ```text
//!   free:  ├───────── reserve ────────┤
//!          0    roll   ¼      ½       1
//!               │ Relief      │       │     deletions, terms, checkpoints
//!                      │ Moving       │     copies of what is live, so that the rest can go
//!                             │ Promised    entries that others count on, and that may not be refused
//!                                     │ New what can be refused still
//! ```
//! Each leaves to the ones before it what they need to make room for it. What none of them touches
//! is room for one *roll* of the manifest: no space comes back before that says so, and no segment
//! is written to before it is listed. The shares are of the rest: so each has some, however large
//! the roll is.
//!
//! A journal without a spare segment, for which no room was found, is *full*. It says so while the
//! segment that it writes to has room: whoever owns it can stop taking new things in before any of
//! what he took is refused.
//!
//! Not here: what is written for which reason (whoever owns the journal).

use super::write::Journal;
use crate::{
    limits::{RESERVE_LEFT_BY_MOVING_DIVISOR, RESERVE_LEFT_BY_PROMISED_DIVISOR},
    planted,
    runtime::{Disk, Runtime},
};

/// What room is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Something that can be refused: nobody has heard of it.
    New,
    /// Something that was taken, and in whose way nothing else is written.
    Promised,
    /// Copies of what is live.
    Moving,
    /// Deletions, terms, checkpoints.
    Relief,
}

impl Claim {
    /// How many bytes it must leave of a reserve, when so many are for a roll.
    const fn leaves(self, reserve_bytes: u64, roll_bytes: u64) -> u64 {
        let shared_bytes = reserve_bytes.saturating_sub(roll_bytes);
        roll_bytes
            + match self {
                Self::New => shared_bytes,
                Self::Promised => shared_bytes / RESERVE_LEFT_BY_PROMISED_DIVISOR,
                Self::Moving => shared_bytes / RESERVE_LEFT_BY_MOVING_DIVISOR,
                Self::Relief => 0,
            }
    }
}

impl<R: Runtime> Journal<R> {
    /// How many bytes were free when no room was found for another segment; `None` while there is
    /// one, or nobody has looked.
    #[must_use]
    pub const fn full(&self) -> Option<u64> {
        self.full
    }

    /// How many bytes copies of what is live may take when so many are free. What is not full is not
    /// to be so before another segment is prepared.
    #[must_use]
    pub fn room_to_move(&self, free: u64) -> u64 {
        let spare = if self.full.is_some() { 0 } else { self.next_bytes() };
        free.saturating_sub(self.leaves(Claim::Moving) + spare)
    }

    /// How many bytes of the device who claims that must leave. Who keeps no reserve keeps nothing.
    pub(super) fn leaves(&self, claim: Claim) -> u64 {
        match self.options.reserve_bytes {
            0 => 0,
            _ if claim == Claim::Relief && planted!("journal_relief_takes_the_roll") => 0,
            reserve => claim.leaves(reserve, self.manifest.roll_bytes(&self.state)),
        }
    }

    /// Room may have come back: what found none is tried again.
    pub const fn look_for_room(&mut self) {
        self.busy.hold_prepare = false;
        self.busy.hold_seal = false;
        if self.spares.len() >= self.options.spares {
            // A frame found none that is larger than what is prepared; it will ask again.
            self.full = None;
        }
    }
}

/// Whether so many bytes more leave what they must of the device. When it does not say how full it
/// is, the answer is yes: the allocation itself will tell.
pub(super) async fn has_room<D: Disk>(disk: &D, bytes: u64, leaves_bytes: u64) -> bool {
    match disk.space().await {
        Ok(space) => space.free_bytes >= bytes.saturating_add(leaves_bytes),
        Err(_) => true,
    }
}

/// How many bytes are free, as far as the device says.
pub(super) async fn free_bytes<D: Disk>(disk: &D) -> u64 {
    disk.space().await.map_or(0, |space| space.free_bytes)
}

#[cfg(test)]
mod tests {
    use super::Claim::{Moving, New, Promised, Relief};

    #[test]
    fn each_claim_leaves_room_to_those_that_make_room_for_it() {
        let reserve = 64 << 10;
        for roll in (0..reserve).step_by(1 << 10) {
            let leaves = [Relief, Moving, Promised, New].map(|claim| claim.leaves(reserve, roll));
            assert!(leaves.is_sorted_by(|less, more| less < more), "{roll}: {leaves:?}");
            assert_eq!((leaves[0], leaves[3]), (roll, reserve));
        }
        assert_eq!(New.leaves(reserve, 2 * reserve), 2 * reserve);
    }
}
