//! The world's own tests, one file for each family.

mod clock;
mod disk;
mod exec;
mod faults;
mod lives;
mod net;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use trilith_engine::runtime::{Clock as _, Instant, Runtime as _};

use super::{NodeOptions, World, WorldOptions};
use crate::os::SimRuntime;

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) async fn nap(rt: &SimRuntime, time: Duration) {
    rt.clock().sleep_until(rt.clock().now() + time).await;
}

pub(super) fn in_time(rt: &SimRuntime, time: Duration) -> Instant {
    rt.clock().now() + time
}

/// What tasks tell a test.
#[derive(Clone, Default)]
pub(super) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn add(&self, item: T) {
        self.0.lock().expect("no test panics while it logs").push(item);
    }

    pub(super) fn all(&self) -> Vec<T> {
        self.0.lock().expect("no test panics while it logs").clone()
    }
}

/// A world with so many idle nodes.
pub(super) fn idle(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, WorldOptions::default());
    for at in 0..nodes {
        world.add_idle(&format!("n{at}"));
    }
    world
}

/// One node that runs this.
pub(super) fn alone<F, T>(seed: u64, options: WorldOptions, boot: F) -> World
where
    F: Fn(SimRuntime) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new(seed, options);
    let node = world.add("n0", NodeOptions::default(), boot);
    world.start(node);
    world
}
