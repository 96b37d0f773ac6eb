//! The five doors on madsim.
//!
//! Not here: nodes and their lives (`world.rs`).

mod clock;
mod disk;
mod net;
mod task;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use trilith_engine::runtime::{Instant, Runtime};
use trilith_sim::{
    digest::Digest,
    luck::{Domain, Luck},
    platter::Platter,
};

pub use clock::MadClock;
pub use disk::{MadDisk, MadFile, MadLock};
pub use net::{MadListener, MadNet, MadReader, MadStream, MadWriter};
pub use task::{MadHandle, MadTask};

/// A disk that outlives its node's lives.
pub type SharedPlatter = Arc<Mutex<Platter>>;

/// The run so far in 64 bits: what every disk operation and every read of a stream brought, and
/// when. All nodes fold into one.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Digest>>);

impl Witness {
    /// Folds in a moment and some bytes.
    pub fn see(&self, at: Instant, bytes: &[u8]) {
        let mut digest = grab(&self.0);
        digest.word(at.0);
        digest.bytes(bytes);
    }

    /// The digest so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *grab(&self.0)
    }
}

pub(crate) fn grab<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread runs everything; a poisoned lock only says that a test has failed already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of one node. To be made inside the node's own task: what it spawns belongs to the
/// node of the task that asks.
#[derive(Clone)]
pub struct MadRuntime {
    clock: MadClock,
    disk: MadDisk,
    net: MadNet,
    task: MadTask,
    seed: u64,
    node: u64,
    life: u64,
    streams: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl MadRuntime {
    /// A life of a node over this disk.
    ///
    /// # Panics
    /// Outside a madsim runtime.
    #[must_use]
    pub fn new(platter: SharedPlatter, witness: &Witness, node: u64, life: u64) -> Self {
        let seed = madsim::runtime::Handle::current().seed();
        let clock = MadClock::new();
        // Two lives of a node must not draw the same.
        let luck = Luck::new(seed.wrapping_add(life << 32), Domain::Disk(node));
        Self {
            disk: MadDisk::new(platter, clock.clone(), witness.clone(), luck),
            net: MadNet::new(clock.clone(), witness.clone()),
            task: MadTask,
            clock,
            seed,
            node,
            life,
            streams: Arc::default(),
        }
    }
}

impl Runtime for MadRuntime {
    type Clock = MadClock;
    type Disk = MadDisk;
    type Net = MadNet;
    type Task = MadTask;
    type Rng = Luck;

    fn clock(&self) -> &MadClock {
        &self.clock
    }

    fn disk(&self) -> &MadDisk {
        &self.disk
    }

    fn net(&self) -> &MadNet {
        &self.net
    }

    fn task(&self) -> &MadTask {
        &self.task
    }

    fn rng(&self, room: &'static str) -> Luck {
        let mut streams = grab(&self.streams);
        let count = streams.entry(room).or_default();
        let stream = *count;
        *count += 1;
        Luck::new(self.seed, Domain::Room { node: self.node, life: self.life, room, stream })
    }
}
