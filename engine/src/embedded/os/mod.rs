//! The small door: the runtime traits on std, for a store that lives inside somebody's program.
//!
//! Why a door of its own: an embedded store must not bring an executor along, and its hot path is
//! one `pread`. So the calls block, inside futures that are ready at their first poll, and
//! [`block_on`] of such a future costs no more than the call.
//!
//! ```text
//!   caller's thread ── block_on(future) ── poll ── pread / pwrite / fdatasync
//!                          │ pending?
//!                          └── park until woken, or until the next sleep is over
//!   tasks ── one thread per core, started by its first task
//! ```
//!
//! - `clock`: the machine's monotonic clock, time asleep included.
//! - `disk`: files under one directory; the only place where the real disk's rules are written.
//!   The tokio door (`net/src/os`) uses these same files.
//! - `wait` and `task`: [`block_on`], sleeping, and the thread that runs a core's tasks.
//! - `rng`: luck from the operating system's entropy.
//!
//! There is no network: [`NoNet`].
//!
//! Not here: the store (`embedded`), and what the traits promise (`runtime`).

mod clock;
mod disk;
mod rng;
mod task;
mod wait;

use alloc::sync::Arc;
use std::path::PathBuf;

pub use clock::NativeClock;
pub use disk::{NativeDisk, NativeFile, NativeLock};
pub use rng::NativeRng;
pub use task::{NativeHandle, NativeTask};
pub use wait::block_on;

use crate::runtime::{NoNet, Runtime};

/// The runtime of an embedded store: std files, threads and clocks. A clone is the same runtime,
/// and cheap.
#[derive(Clone, Debug)]
pub struct Native(Arc<Doors>);

#[derive(Debug)]
struct Doors {
    clock: NativeClock,
    disk: NativeDisk,
    net: NoNet,
    task: NativeTask,
}

impl Native {
    /// A runtime whose disk is rooted at a directory. Touches nothing: `create_dir("")` makes the
    /// directory, and the first task starts the core's thread.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Doors {
            clock: NativeClock,
            disk: NativeDisk::new(root),
            net: NoNet,
            task: NativeTask::new(),
        }))
    }

    /// A further core over the same disk: its tasks run on a thread of their own.
    #[must_use]
    pub fn another_core(&self) -> Self {
        Self(Arc::new(Doors {
            clock: NativeClock,
            disk: self.0.disk.clone(),
            net: NoNet,
            task: NativeTask::new(),
        }))
    }
}

impl Runtime for Native {
    type Clock = NativeClock;
    type Disk = NativeDisk;
    type Net = NoNet;
    type Task = NativeTask;
    type Rng = NativeRng;

    fn clock(&self) -> &NativeClock {
        &self.0.clock
    }

    fn disk(&self) -> &NativeDisk {
        &self.0.disk
    }

    fn net(&self) -> &NoNet {
        &self.0.net
    }

    fn task(&self) -> &NativeTask {
        &self.0.task
    }

    fn rng(&self, room: &'static str) -> NativeRng {
        NativeRng::new(room)
    }
}

#[cfg(test)]
mod tests;
