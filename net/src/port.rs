//! A port: a listener for one protocol, and the connections that have come to it.
//!
//! When it ends, nothing new is begun, and what was begun is answered, if that comes in time.
//!
//! Not here: what is spoken there (`resp`, `http`, `text`).

use std::{net::SocketAddr, sync::Arc};

use trilith_engine::{
    mark,
    runtime::{Clock, Either, Handle, Listener, Runtime, Task, race, timeout},
};

use crate::{
    ending::Ending,
    guests::Guests,
    limits::GUESTS_END_WITHIN,
    meters::{Metered, Place},
};

/// A port where guests are served. Dropping it ends their connections at once.
pub struct Port<R: Runtime> {
    at: SocketAddr,
    runtime: R,
    ending: Arc<Ending>,
    task: <R::Task as Task>::Handle,
}

/// How a port is kept.
pub(crate) struct Plan {
    /// What the tasks of the listener and of a connection are called.
    pub(crate) names: (&'static str, &'static str),
    /// So many connections at a time.
    pub(crate) most: usize,
    /// Where they are counted.
    pub(crate) place: Place,
    /// Their end.
    pub(crate) ending: Arc<Ending>,
}

impl<R: Runtime> Port<R> {
    /// Serves whoever comes to that listener.
    pub(crate) fn open<L, V>(
        runtime: &R,
        plan: Plan,
        listener: L,
        visit: impl FnMut(Metered<L::Stream>, SocketAddr) -> V + Send + 'static,
    ) -> Self
    where
        L: Listener,
        V: Future<Output = ()> + Send + 'static,
    {
        let (at, ending, name) = (listener.local(), Arc::clone(&plan.ending), plan.names.0);
        let task = runtime.task().spawn(name, listen(runtime.clone(), plan, listener, visit));
        Self { at, runtime: runtime.clone(), ending, task }
    }

    /// Where.
    #[must_use]
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on nothing new is done.
    pub fn begin_to_end(&self) {
        self.ending.begin();
    }

    /// Ends it in order: nothing new is done, and what was begun is answered, if that comes in time.
    pub async fn end(self) {
        self.begin_to_end();
        let clock = self.runtime.clock();
        // Whoever is not done by then is cut off with the port.
        if timeout(clock, clock.now() + GUESTS_END_WITHIN, self.task.join()).await.is_err() {
            mark!("port: one ended before everybody was answered");
        }
    }
}

/// Accepts connections until the port ends, and waits for those that are there.
async fn listen<R, L, V>(
    runtime: R,
    plan: Plan,
    mut listener: L,
    mut visit: impl FnMut(Metered<L::Stream>, SocketAddr) -> V,
) where
    R: Runtime,
    L: Listener,
    V: Future<Output = ()> + Send + 'static,
{
    let mut guests = Guests::new(runtime, plan.most, plan.place);
    while let Either::Right((stream, from)) =
        race(plan.ending.ends(0), guests.accept(&mut listener)).await
    {
        guests.host(plan.names.1, visit(stream, from));
    }
    drop(listener);
    guests.all_leave().await;
}
