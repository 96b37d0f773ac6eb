//! The dice of an engine room: a stream of luck of its own for each (node, life, room, question).

use trilith_engine::runtime::Rng;

use super::Seat;
use crate::luck::{Domain, Luck};

/// One room's dice.
pub struct SimRng(Luck);

impl SimRng {
    pub(super) fn new(seat: &Seat, room: &'static str) -> Self {
        let mut state = seat.shared.lock();
        let seed = state.seed;
        let count = state.nodes[seat.node as usize].rooms.entry(room).or_default();
        let stream = *count;
        *count += 1;
        let (node, life) = (u64::from(seat.node), u64::from(seat.life));
        Self(Luck::new(seed, Domain::Room { node, life, room, stream }))
    }
}

impl Rng for SimRng {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
