//! The real doors: the runtime traits on tokio, for a server.
//!
//! ```text
//!   one thread per core ── run_core ── a tokio runtime of that thread alone
//!       sockets, timers, tasks           on the thread
//!       short file calls                 on the thread, where they cannot wait for the device
//!       the others                       on tokio's blocking threads
//! ```
//!
//! Why a runtime per core and not one work-stealing runtime for all: the contract says that the
//! tasks of a core run on one thread, so a core's state needs no locks, and a task never pays for
//! moving to another processor's cache.
//!
//! - `clock`: the machine's clocks, tokio's timer.
//! - `disk`: the files of the embedded store's door, moved off the thread where they may wait.
//! - `net`: TCP.
//! - `task`: tokio's tasks, cancelled when their handle is dropped.
//! - `rng`: luck from the operating system.
//!
//! Not here: what the traits promise (`trilith_engine::runtime`), protocols.

mod clock;
mod disk;
mod net;
mod rng;
mod task;

use std::{future::Future, io, path::PathBuf, sync::Arc};

use trilith_engine::runtime::Runtime;

pub use clock::OsClock;
pub use disk::{OsDisk, OsFile, OsLock};
pub use net::{OsListener, OsNet, OsReader, OsStream, OsWriter, ask_now_and_then};
pub use rng::OsRng;
pub use task::{OsHandle, OsTask};

/// The runtime of one core of a server. A clone is the same core, and cheap.
#[derive(Clone, Debug)]
pub struct Os(Arc<Doors>);

#[derive(Debug)]
struct Doors {
    clock: OsClock,
    disk: OsDisk,
    net: OsNet,
    task: OsTask,
}

/// Runs a core on this thread until its main future is done; tasks still running are then dropped.
/// The disk is rooted at a directory, which `create_dir("")` makes.
///
/// # Errors
/// When the operating system has no room for one more event loop.
pub fn run_core<F: Future>(
    root: impl Into<PathBuf>,
    main: impl FnOnce(Os) -> F,
) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let os = Os::on(runtime.handle().clone(), root);
    Ok(runtime.block_on(main(os)))
}

impl Os {
    /// The core that the tokio runtime we are in drives. For programs and tests that bring a
    /// runtime of their own; [`run_core`] makes one.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one with several threads: its tasks would not run on one.
    #[must_use]
    pub fn here(root: impl Into<PathBuf>) -> Self {
        Self::on(tokio::runtime::Handle::current(), root)
    }

    fn on(handle: tokio::runtime::Handle, root: impl Into<PathBuf>) -> Self {
        assert_eq!(
            handle.runtime_flavor(),
            tokio::runtime::RuntimeFlavor::CurrentThread,
            "the tasks of a core run on one thread"
        );
        Self(Arc::new(Doors {
            clock: OsClock,
            disk: OsDisk::new(root, handle.clone()),
            net: OsNet,
            task: OsTask::new(handle),
        }))
    }
}

impl Runtime for Os {
    type Clock = OsClock;
    type Disk = OsDisk;
    type Net = OsNet;
    type Task = OsTask;
    type Rng = OsRng;

    fn clock(&self) -> &OsClock {
        &self.0.clock
    }

    fn disk(&self) -> &OsDisk {
        &self.0.disk
    }

    fn net(&self) -> &OsNet {
        &self.0.net
    }

    fn task(&self) -> &OsTask {
        &self.0.task
    }

    fn rng(&self, room: &'static str) -> OsRng {
        OsRng::new(room)
    }
}
