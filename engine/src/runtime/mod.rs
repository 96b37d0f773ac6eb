//! The five things the engine asks of the world: a clock, a disk, a network, tasks and luck.
//!
//! ```text
//!            engine (driven rooms: async over these traits)
//!   ┌─────────┬─────────┬─────────┬─────────┬─────────┐
//!   │  Clock  │  Disk   │   Net   │  Task   │   Rng   │   one bundle: R: Runtime
//!   └─────────┴─────────┴─────────┴─────────┴─────────┘
//!   net/src/os    tokio, files, sockets         production
//!   sim/src/os    one thread, virtual time      the world that tries to break it
//!   engine/src/embedded/os      std, no tokio   the embedded store
//! ```
//!
//! Every method carries its contract as sentences; `contract.rs` holds the same sentences as
//! checks, and every door runs them: a simulated disk may not be kinder than a real one, nor the
//! other way round.
//!
//! Futures are `Send`, though all tasks of one core run on one thread: it keeps guards from being
//! held across an await.
//!
//! Not here: any implementation.

mod clock;
pub mod contract;
mod disk;
mod net;
mod queue;
mod race;
mod rng;
mod task;

pub use clock::{Clock, Instant, WallTime};
pub use disk::{
    Disk, DiskError, DiskErrorKind, DiskResult, Entry, File, Open, ReadMode, Space, is_valid_name,
};
pub use net::{
    Listener, Net, NetError, NetErrorKind, NetResult, NoNet, Stream, StreamRead, StreamWrite,
};
pub use queue::{Closed, Push, Receiver, Sender, queue};
pub use race::{Either, Elapsed, race, timeout};
pub use rng::Rng;
pub use task::{Handle, Task};

/// A world: the bundle of the five doors. Cheap to clone; one per core of a node.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Its clock.
    type Clock: Clock;
    /// Its disk, rooted at the node's data directory.
    type Disk: Disk;
    /// Its network.
    type Net: Net;
    /// Its tasks.
    type Task: Task;
    /// Its luck.
    type Rng: Rng;

    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The disk.
    fn disk(&self) -> &Self::Disk;
    /// The network.
    fn net(&self) -> &Self::Net;
    /// The tasks of this core.
    fn task(&self) -> &Self::Task;
    /// A stream of luck for one room. A stream belongs to (node, life, room): a new draw in one
    /// room does not move another room's luck. Asked twice, the same room gets two streams.
    fn rng(&self, room: &'static str) -> Self::Rng;
}
