//! A node of the demo: a thread, a directory, two ports, and what may happen to it.
//!
//! | what | how | what a node of its own machine would call it |
//! | --- | --- | --- |
//! | kill | its event loop is dropped where it stands | kill -9 |
//! | pause | its thread stands still | a machine that swaps, SIGSTOP |
//! | partition | the gate before its network is shut | a cable that was pulled |
//! | heal | whatever it was, it is over; who was killed starts again from its directory | |
//!
//! It is the node that `trilith server` runs, with the same event loop of its own. That they share a
//! process changes two things: a panic of one ends all, and the kernel has written for a killed node
//! what it was given, as it would for a killed process.
//!
//! Not here: what is seen of it (`seen.rs`), the gate (`cut.rs`).

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;
use trilith_engine::runtime::{Either, Receiver, Sender, queue, race};
use trilith_net::{
    node::{Node, NodeOptions},
    os::run_core,
};

use super::{
    cut::{Gate, Gated},
    seen::{Notes, Seen, Watcher},
};
use crate::{
    failure::{Failure, INTERNAL, Outcome},
    member::{Place, misconfigured, unthreaded},
};

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is wrong with it.
    Runs,
    /// Nobody hears it, and it hears nobody, but for Redis clients.
    Cut,
    /// It stands still.
    Paused,
    /// It is not there.
    Killed,
}

impl State {
    /// As people are told.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Cut => "partitioned",
            Self::Paused => "paused",
            Self::Killed => "killed",
        }
    }
}

/// A node, whether it runs or not.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: u64,
    pub(super) resp: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) peers: SocketAddr,
    pub(super) seen: Seen,
    pub(super) state: State,
    options: NodeOptions,
    data: PathBuf,
    notes: Notes,
    running: Option<Running>,
}

/// A node that runs. It ends when nobody can tell it anything any more.
#[derive(Debug)]
struct Running {
    thread: JoinHandle<Outcome>,
    /// What it waits for while it stands still: the end of this.
    paused: Option<SyncSender<()>>,
    orders: Sender<Pause>,
    gate: watch::Sender<bool>,
}

/// An order to stand still until the other end is gone.
#[derive(Debug)]
struct Pause(mpsc::Receiver<()>);

impl Host {
    /// A node with its data there, as soon as it serves.
    pub(super) fn start(options: NodeOptions, data: PathBuf, notes: Notes) -> Outcome<Self> {
        let peers = options.listens_at().map_err(|why| misconfigured(&why))?;
        let (resp, http) = (options.resp.unwrap_or(peers), options.http.unwrap_or(peers));
        let (number, seen, state) = (options.node.0, Seen::default(), State::Killed);
        let mut host =
            Self { number, resp, http, peers, seen, state, options, data, notes, running: None };
        host.begin()?;
        Ok(host)
    }

    /// Starts it, from what its directory has, and waits until it serves.
    fn begin(&mut self) -> Outcome {
        let (shut, gate) = Gate::new();
        let (orders, heard) = queue(1);
        let (started, starts) = mpsc::sync_channel(1);
        let (options, data) = (self.options.clone(), self.data.clone());
        let watcher =
            Watcher { node: self.number, seen: self.seen.clone(), notes: self.notes.clone() };
        let guests = [self.resp, self.http];
        let thread =
            thread::Builder::new().name(format!("node {}", self.number)).spawn(move || {
                let core = |os| {
                    let gated = Gated::new(os, gate, guests);
                    live(gated, options, data.clone(), watcher, (started, heard))
                };
                run_core(data.clone(), core).map_err(|error| unthreaded(&error))?
            });
        let thread = thread.map_err(|error| unthreaded(&error))?;
        // It says that it serves, or has ended without a word.
        if starts.recv().is_err() {
            return ended(thread);
        }
        self.running = Some(Running { thread, paused: None, orders, gate: shut });
        self.state = State::Runs;
        Ok(())
    }

    /// It is gone from one moment to the next.
    pub(super) fn kill(&mut self) {
        self.state = State::Killed;
        let Some(Running { thread, paused, orders, gate }) = self.running.take() else { return };
        // When nobody can tell it anything it ends; how does not matter. Its gate stays as it is.
        drop((paused, orders));
        let _how = ended(thread);
        drop(gate);
        self.seen.forget();
    }

    /// It stands still until it is healed.
    pub(super) fn pause(&mut self) {
        let Some(running) = self.running.as_mut().filter(|running| running.paused.is_none()) else {
            return;
        };
        let (paused, over) = mpsc::sync_channel(0);
        if running.orders.push(Pause(over)).is_ok() {
            running.paused = Some(paused);
            self.state = State::Paused;
        }
    }

    /// Nobody of the cluster hears it until it is healed.
    pub(super) fn cut(&mut self) {
        if let Some(running) = &self.running {
            running.gate.send_replace(true);
            self.state = State::Cut;
        }
    }

    /// Whatever was done to it is over.
    pub(super) fn heal(&mut self) -> Outcome {
        let Some(running) = &mut self.running else { return self.begin() };
        running.paused = None;
        running.gate.send_replace(false);
        self.state = State::Runs;
        Ok(())
    }

    /// Why it ended, when it has and nobody has told it to.
    pub(super) fn trouble(&mut self) -> Option<Failure> {
        if !self.running.as_ref().is_some_and(|running| running.thread.is_finished()) {
            return None;
        }
        self.state = State::Killed;
        self.seen.forget();
        self.running.take().and_then(|running| ended(running.thread).err())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a node that has ended, or is about to, did.
fn ended(thread: JoinHandle<Outcome>) -> Outcome {
    let lost = |_| Failure::new(&INTERNAL, "a node's thread panicked", "report it");
    thread.join().map_err(lost)?
}

/// A node's life on its own thread.
async fn live(
    os: Gated,
    options: NodeOptions,
    data: PathBuf,
    watcher: Watcher,
    (started, orders): (SyncSender<()>, Receiver<Pause>),
) -> Outcome {
    let place = Place::of(&options, &data);
    let node = Node::start(&os, options, watcher).await;
    let node = node.map_err(|why| place.unstarted(&why))?;
    // Whoever waits for that word does nothing else.
    let _heard = started.send(()).is_ok();
    match race(node.run(), obey(orders)).await {
        Either::Left(why) => Err(place.stopped(&why)),
        Either::Right(()) => Ok(()),
    }
}

/// Stands still whenever it is told to. Ends when nobody is left to say anything.
async fn obey(mut orders: Receiver<Pause>) {
    while let Ok(Pause(over)) = orders.recv().await {
        // The thread itself waits, and with it everything that the node is. That there is nothing to
        // receive is what ends it.
        let _over = over.recv().is_err();
    }
}
