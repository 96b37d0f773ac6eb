//! Guests: the connections that others have opened to a listener, up to so many at a time.
//!
//! One task each. A task that has ended says so, however it ended, and its place is free. When all
//! places are taken nobody is accepted: who comes then waits in the kernel's queue.
//!
//! Not here: what a connection is for (`peer/accept.rs`, `resp/serve.rs`).

use std::{collections::BTreeMap, net::SocketAddr};

use trilith_engine::{
    mark,
    runtime::{Listener, Receiver, Runtime, Sender, Task, queue},
};

use crate::meters::{Metered, Place, PortMeter};

/// The tasks of one listener's connections. Dropping them ends them.
pub(crate) struct Guests<R: Runtime> {
    runtime: R,
    max: usize,
    next: u64,
    tasks: BTreeMap<u64, <R::Task as Task>::Handle>,
    place: Place,
    left: Sender<u64>,
    leaving: Receiver<u64>,
}

/// Says that a task has ended.
struct Leaving {
    number: u64,
    place: Place,
    left: Sender<u64>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.place.0.port(self.place.1).ended.add(1);
        // There is room for every number that can be under way; closed: nobody counts any more.
        let _counted = self.left.push(self.number);
    }
}

impl<R: Runtime> Guests<R> {
    /// Room for so many, counted there.
    pub(crate) fn new(runtime: R, max: usize, place: Place) -> Self {
        let (left, leaving) = queue(max);
        Self { runtime, max, next: 0, tasks: BTreeMap::new(), place, left, leaving }
    }

    fn port(&self) -> &PortMeter {
        self.place.0.port(self.place.1)
    }

    /// The next one, as soon as there is a place for it.
    pub(crate) async fn accept<L: Listener>(
        &mut self,
        listener: &mut L,
    ) -> (Metered<L::Stream>, SocketAddr) {
        loop {
            while let Some(number) = self.leaving.pop() {
                self.tasks.remove(&number);
            }
            if self.tasks.len() >= self.max {
                mark!("guests: a listener was full");
                self.port().full.add(1);
                self.one_leaves().await;
                continue;
            }
            match listener.accept().await {
                Ok((stream, from)) => {
                    return (Metered::new(stream, self.place.clone()), from);
                }
                // The listener has paused where it had to; the next call may succeed.
                Err(why) => tracing::warn!(%why, "a connection could not be accepted"),
            }
        }
    }

    /// Gives a connection its task.
    pub(crate) fn host(
        &mut self,
        name: &'static str,
        visit: impl Future<Output = ()> + Send + 'static,
    ) {
        self.port().accepted.add(1);
        let place = self.place.clone();
        let leaving = Leaving { number: self.next, place, left: self.left.clone() };
        let task = self.runtime.task().spawn(name, async move {
            let _leaving = leaving;
            visit.await;
        });
        self.tasks.insert(self.next, task);
        self.next += 1;
    }

    /// Waits until nobody is here.
    pub(crate) async fn all_leave(&mut self) {
        while !self.tasks.is_empty() {
            self.one_leaves().await;
        }
    }

    async fn one_leaves(&mut self) {
        // There is a sender here, so the queue is not closed.
        if let Ok(number) = self.leaving.recv().await {
            self.tasks.remove(&number);
        }
    }
}
