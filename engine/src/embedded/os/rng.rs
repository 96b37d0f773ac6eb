//! Luck from the operating system.
//!
//! std asks the system for entropy to key its hash maps, and does it well on every platform. A
//! stream is that keyed hash over a counter: two streams differ because their keys do, and a key
//! cannot be found from what it hashed. No dependency, no file to open, nothing that can fail.
//!
//! Not here: seeded luck, which only the simulator has.

#![expect(clippy::disallowed_types, reason = "a door: this is where entropy comes in")]

use std::hash::{BuildHasher, RandomState};

use crate::runtime::Rng;

/// A stream of luck.
#[derive(Clone, Debug)]
pub struct NativeRng {
    key: RandomState,
    room: &'static str,
    drawn: u64,
}

impl NativeRng {
    /// A new stream. The room keeps two streams apart even if the system gave their keys twice.
    #[must_use]
    pub fn new(room: &'static str) -> Self {
        Self { key: RandomState::new(), room, drawn: 0 }
    }
}

impl Rng for NativeRng {
    fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        self.key.hash_one((self.drawn, self.room))
    }
}
