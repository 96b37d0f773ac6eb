//! All luck of a simulated world: one seed, and one stream of it for each domain.
//!
//! A world draws from many places: which task runs next, how long a packet travels, which sectors
//! a power loss spares, what an engine room's own dice say. Were they all to share one stream, one
//! more draw anywhere would move every decision after it, and a fault that is taken out of a
//! failing run would turn it into another run. So every domain has its own ChaCha stream: the same
//! key (the seed), another stream number (a hash of the domain).
//!
//! ChaCha8 and not something quicker: its streams are independent by construction, it is the same
//! on every machine and in every version, and eight rounds cost less than what is decided.
//!
//! Invariant: what a stream says depends on the seed, its domain and the number of draws before,
//! on nothing else.
//!
//! Not here: what the luck decides (`platter.rs`, `os/`, `fault.rs`).

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use trilith_engine::runtime::Rng;

/// What a stream of luck is for. Numbers name nodes and lives, as the world counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Which ready task runs next.
    Schedule,
    /// How packets travel.
    Network,
    /// What happens to one node's disk.
    Disk(u64),
    /// How one node's clocks go.
    Clock(u64),
    /// When one node dies and comes back.
    Lives(u64),
    /// What one client asks for.
    Load(u64),
    /// The plan of faults, drawn before the run.
    Faults,
    /// One entry of that plan, by its number.
    Fault(u64),
    /// How a run is configured: swarm's choice of sizes, rates and limits.
    Options,
    /// The dice of one room of the engine, in one life of one node. `stream` counts how often that
    /// life asked for that room.
    Room {
        /// The node.
        node: u64,
        /// Its life.
        life: u64,
        /// The room's name.
        room: &'static str,
        /// Which of the room's streams.
        stream: u64,
    },
    /// Anything else, by name: a test, a program.
    Named(&'static str),
}

impl Domain {
    /// The number of the domain's stream. Domains are few and 64 bits are many, so a collision is
    /// not a thing to plan for, and would cost variety, never truth.
    fn stream(self) -> u64 {
        let mut hash = Fnv::new();
        match self {
            Self::Schedule => hash.number(1),
            Self::Network => hash.number(2),
            Self::Disk(node) => hash.number(3).number(node),
            Self::Clock(node) => hash.number(4).number(node),
            Self::Lives(node) => hash.number(5).number(node),
            Self::Load(client) => hash.number(6).number(client),
            Self::Faults => hash.number(7),
            Self::Options => hash.number(8),
            Self::Room { node, life, room, stream } => {
                hash.number(9).number(node).number(life).text(room).number(stream)
            }
            Self::Named(name) => hash.number(10).text(name),
            Self::Fault(number) => hash.number(11).number(number),
        };
        hash.0
    }
}

/// FNV-1a with 64 bits: small, and the same forever.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.number(text.len() as u64)
    }

    fn number(&mut self, number: u64) -> &mut Self {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }
}

/// One stream of luck. It is the engine's [`Rng`], so the helpers there (`range`, `chance`) are
/// its helpers too.
#[derive(Clone, Debug)]
pub struct Luck {
    stream: ChaCha8Rng,
}

impl Luck {
    /// The stream of `domain` under `seed`, from its beginning.
    #[must_use]
    pub fn new(seed: u64, domain: Domain) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(domain.stream());
        Self { stream }
    }

    /// A coin.
    pub fn coin(&mut self) -> bool {
        self.next_u64() & 1 == 1
    }

    /// True `per_million` times in a million on average; draws nothing when that is never.
    pub fn per_million(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.chance(u64::from(per_million), 1_000_000)
    }

    /// An index of a list that long, which must not be empty.
    ///
    /// # Panics
    /// On an empty list.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.range(0..len as u64)).expect("an index below a usize is one")
    }

    /// One of these, which must not be none.
    ///
    /// # Panics
    /// On an empty list.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.index(among.len())]
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.stream.fill_bytes(buffer);
    }

    /// Puts a list in random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.index(last + 1));
        }
    }
}

impl Rng for Luck {
    fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64, domain: Domain) -> Vec<u64> {
        let mut luck = Luck::new(seed, domain);
        (0..8).map(|_| luck.next_u64()).collect()
    }

    #[test]
    fn a_stream_is_a_function_of_seed_and_domain() {
        let room = |room, stream| Domain::Room { node: 1, life: 1, room, stream };
        let domains = [
            Domain::Schedule,
            Domain::Network,
            Domain::Disk(0),
            Domain::Disk(1),
            Domain::Clock(0),
            Domain::Lives(0),
            Domain::Load(0),
            Domain::Faults,
            Domain::Fault(0),
            Domain::Fault(1),
            Domain::Options,
            room("journal", 0),
            room("journal", 1),
            room("raft", 0),
            Domain::Named("journal"),
        ];
        for (at, domain) in domains.iter().enumerate() {
            assert_eq!(draws(7, *domain), draws(7, *domain));
            assert_ne!(draws(7, *domain), draws(8, *domain));
            for other in &domains[at + 1..] {
                assert_ne!(draws(7, *domain), draws(7, *other), "{domain:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_streams_are_the_same_forever() {
        // A seed in a bug report must mean the same run next year.
        assert_eq!(Luck::new(42, Domain::Schedule).next_u64(), 341_520_885_161_876_980);
    }

    #[test]
    fn helpers_stay_in_their_bounds() {
        let mut luck = Luck::new(1, Domain::Named("test"));
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[luck.index(5)] += 1;
        }
        assert!(seen.iter().all(|count| (120..300).contains(count)), "{seen:?}");
        assert!((0..1000).all(|_| !luck.per_million(0)));
        assert!((0..1000).all(|_| luck.per_million(1_000_000)));
        let mut list: Vec<u32> = (0..20).collect();
        luck.shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
