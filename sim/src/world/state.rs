//! Everything a world knows, behind its one lock, and the loop that makes it move.
//!
//! ```text
//!   loop   bury the dead -> ring the bells -> what is due happens -> a ready task is polled
//!            (unlocked)                         (locked)               (unlocked)
//!          nothing ready: time leaps to the next event
//! ```
//!
//! A poll costs a little virtual time, so code that spins until a deadline gets there.
//!
//! Invariants: no user code (a future, its destructor, a boot closure) runs while the state is
//! locked; an operation of a life that is over has no effect and never completes; everything that
//! happens is folded into the digest before its consequences are.
//!
//! Not here: connections (`wire.rs`), lives (`lives.rs`), disks (`storage.rs`), faults
//! (`inject.rs`).

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use trilith_engine::planted;

use super::{
    inject::{Relief, Script},
    lives::Node,
    logs,
    ready::Ready,
    storage::{OpKey, Ops},
    tasks::{BoxFuture, Task, TaskKey, Tasks},
    timeline::Timeline,
    wire::{ConnKey, Wire},
};
use crate::{digest::Rolling, fault::FaultKind, ledger::Ledger, luck::Luck, trace::Trace};

/// What may happen by itself.
pub(crate) enum Event {
    /// A sleep is over.
    Timer { node: u32, deadline: u64, waker: Waker },
    /// Bytes arrive.
    Deliver { conn: ConnKey, dir: u8 },
    /// A writer learns that there is room.
    Credit { conn: ConnKey, dir: u8 },
    /// A connection is ended, seen by the end that learns it.
    Reset { conn: ConnKey, end: u8 },
    /// A request for a connection arrives at who should listen.
    Syn { conn: ConnKey, attempt: u8 },
    /// Its answer arrives at who asked.
    SynAck { conn: ConnKey, attempt: u8 },
    /// The last word of making a connection arrives at who listens.
    Ack { conn: ConnKey, attempt: u8 },
    /// "Nobody listens here" arrives at who asked.
    Refuse { conn: ConnKey, attempt: u8 },
    /// A disk is done with an operation.
    Disk { op: OpKey },
    /// A node that was asked to stop has had its time.
    Grace { node: u32, life: u32 },
    /// An entry of the plan of faults is due.
    Fault { entry: usize },
    /// A fault ends.
    Relief(Relief),
}

/// A task that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
    /// The node, as the world counts them.
    pub node: u32,
    /// Its life.
    pub life: u32,
    /// The task's name.
    pub task: &'static str,
    /// What it said.
    pub message: String,
}

/// What a step of the loop was about.
const DIGEST_POLL: u64 = 1 << 56;
const DIGEST_EVENT: u64 = 2 << 56;

/// What is read and fed so often that it lies outside of the lock. One thread runs a world at a
/// time.
#[derive(Default)]
pub(crate) struct Pane {
    now: AtomicU64,
    pub(crate) digest: Rolling,
}

impl Pane {
    /// As [`State::now`].
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// The state of a world.
pub(crate) struct State {
    pub(crate) shared: Weak<Shared>,
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) poll_cost_ns: u64,
    pub(crate) timer_slack_ns: u64,
    pub(crate) pane: Arc<Pane>,
    pub(crate) trace: Trace,
    pub(crate) timeline: Timeline<Event>,
    pub(crate) tasks: Tasks,
    pub(crate) ready: Ready,
    /// The task being polled.
    pub(crate) current: Option<TaskKey>,
    pub(crate) rung: Vec<TaskKey>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) wire: Wire,
    pub(crate) ops: Ops,
    pub(crate) script: Script,
    /// Dead tasks, to be dropped while nothing is locked.
    pub(crate) graves: Vec<Task>,
    pub(crate) probes: BTreeMap<&'static str, u64>,
    pub(crate) panics: Vec<Panicked>,
    pub(crate) polls: u64,
    /// Ends the run after this poll.
    pub(crate) halt: bool,
    /// Late timers.
    pub(crate) luck: Luck,
}

impl State {
    /// The world this is the state of.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.upgrade().expect("a state lies in its world")
    }

    /// Time goes on.
    #[inline]
    fn pass(&mut self, to: u64) {
        self.now = self.now.max(to);
        self.pane.now.store(self.now, Ordering::Relaxed);
    }

    /// The task that is being polled lets the others go first.
    pub(crate) fn yields(&mut self) {
        if let Some(key) = self.current {
            self.ready.demote(&mut self.tasks, key);
        }
    }

    /// Whether that life of that node goes on.
    #[inline]
    pub(crate) fn alive(&self, node: u32, life: u32) -> bool {
        let node = &self.nodes[node as usize];
        node.life == life && node.process
    }

    /// Counts a fault that really happened.
    pub(crate) fn probe(&mut self, name: &'static str) {
        *self.probes.entry(name).or_default() += 1;
    }

    /// A line about a node.
    #[inline]
    pub(crate) fn line(&mut self, node: u32, text: impl FnOnce() -> String) {
        if self.trace.is_on() {
            let life = self.nodes[node as usize].life;
            self.trace.line(self.now, Some((node, life)), text);
        }
    }

    /// A line about the world.
    pub(crate) fn world_line(&mut self, text: impl FnOnce() -> String) {
        self.trace.line(self.now, None, text);
    }

    /// Words about a node, or about the world.
    pub(crate) fn word(&mut self, node: Option<u32>, text: &str) {
        let now = self.now;
        if let Some(tape) = self.trace.tape() {
            tape.word(now, node, text);
        }
    }

    /// Starts a task.
    pub(crate) fn spawn(
        &mut self,
        (node, life): (u32, u32),
        name: &'static str,
        future: BoxFuture,
    ) -> TaskKey {
        let priority = self.ready.priority();
        self.pane.digest.text(name);
        self.line(node, || format!("task {name} starts"));
        self.tasks.add((node, life), name, priority, future)
    }

    /// The task ends at its next turn. Not at once: in production, too, it goes on existing until
    /// its executor comes round to it.
    pub(crate) fn cancel(&mut self, key: TaskKey) {
        if let Some(task) = self.tasks.get(key) {
            task.cancelled = true;
            Waker::from(Arc::clone(&task.bell)).wake();
        }
    }

    fn ring(&mut self) {
        let mut rung = std::mem::take(&mut self.rung);
        self.tasks.bells.drain(&mut rung);
        for key in rung.drain(..) {
            if self.tasks.get(key).is_some() {
                self.ready.push(key);
            }
        }
        self.rung = rung;
    }

    /// The next task that may run, with its body taken out.
    fn next_task(&mut self) -> Option<(TaskKey, BoxFuture, Waker)> {
        loop {
            let key = self.ready.draw(&mut self.tasks)?;
            let Some(task) = self.tasks.get(key) else { continue };
            if task.cancelled {
                let dead = self.tasks.remove(key);
                self.graves.extend(dead);
                return None;
            }
            let node = &mut self.nodes[task.node as usize];
            if node.pauses > 0 && !planted!("world_pause_ignored") {
                node.held.push(key);
                continue;
            }
            task.bell.rearm();
            let body = (task.future.take(), task.waker.take());
            let (Some(future), Some(waker)) = body else { unreachable!("it is not being polled") };
            self.pane.digest.word(DIGEST_POLL | task.serial);
            self.pane.digest.word(self.now);
            self.current = Some(key);
            self.polls += 1;
            return Some((key, future, waker));
        }
    }

    /// After a poll: puts the body back; answers it when its task is gone.
    fn put_back(&mut self, key: TaskKey, future: BoxFuture, waker: Waker) -> Option<BoxFuture> {
        match self.tasks.get(key) {
            Some(task) => {
                (task.future, task.waker) = (Some(future), Some(waker));
                None
            }
            // It was killed while it ran.
            None => Some(future),
        }
    }

    /// A task has ended by itself.
    fn ended(&mut self, key: TaskKey) {
        let Some(task) = self.tasks.remove(key) else { return };
        self.line(task.node, || format!("task {} ends", task.name));
        if self.nodes[task.node as usize].main == Some(key) {
            self.exit(task.node);
        }
    }

    fn panicked(&mut self, key: TaskKey, message: String) {
        let Some(task) = self.tasks.remove(key) else { return };
        let (at_ns, node, life) = (self.now, task.node, task.life);
        self.pane.digest.text(&message);
        self.line(node, || format!("task {} panics: {message}", task.name));
        self.word(Some(node), &format!("task {} panics: {message}", task.name));
        self.panics.push(Panicked { at_ns, node, life, task: task.name, message });
        if self.nodes[node as usize].main == Some(key) {
            self.kill(node);
        }
    }

    fn fire(&mut self, at: u64, event: Event) {
        self.pane.digest.word(DIGEST_EVENT | event.code());
        self.pane.digest.word(at);
        match event {
            Event::Timer { waker, .. } => waker.wake(),
            Event::Deliver { conn, dir } => self.deliver(conn, dir),
            Event::Credit { conn, dir } => self.credit(conn, dir),
            Event::Reset { conn, end } => self.reset_arrives(conn, end),
            Event::Syn { conn, attempt } => self.syn_arrives(conn, attempt),
            Event::SynAck { conn, attempt } => self.syn_ack_arrives(conn, attempt),
            Event::Ack { conn, attempt } => self.ack_arrives(conn, attempt),
            Event::Refuse { conn, attempt } => self.refusal_arrives(conn, attempt),
            Event::Disk { op } => self.disk_done(op),
            Event::Grace { node, life } => {
                if self.alive(node, life) {
                    self.probe("process.stop_forced");
                    self.kill(node);
                }
            }
            Event::Fault { entry } => self.entry_due(entry),
            Event::Relief(relief) => self.relieve(relief),
        }
    }

    /// Everything due happens; answers whether anything did.
    fn fire_due(&mut self) -> bool {
        let mut fired = false;
        while let Some((at, event)) = self.timeline.pop_due(self.now) {
            self.fire(at, event);
            fired = true;
        }
        fired
    }

    /// The sleeping tasks of a node look at its clock anew.
    pub(crate) fn rearm_timers(&mut self, of: u32) {
        let clock = self.nodes[of as usize].clock.clone();
        let now = self.now;
        let mut moved = false;
        self.timeline.replace_all(|event| match event {
            Event::Timer { node, deadline, .. } if *node == of => {
                moved = true;
                Some(clock.when(*deadline).unwrap_or(u64::MAX).max(now))
            }
            _ => None,
        });
        if moved {
            self.probe("clock.timers_moved");
        }
    }

    /// Applies a fault now, whatever the plan says.
    pub(crate) fn strike(&mut self, fault: &FaultKind) {
        self.world_line(|| format!("fault: {fault}"));
        let now = self.now;
        if let Some(tape) = self.trace.tape() {
            tape.strikes(now, fault);
        }
        self.apply(fault);
    }
}

impl Event {
    fn code(&self) -> u64 {
        match self {
            Self::Timer { node, .. } => u64::from(*node) << 8,
            Self::Deliver { conn, dir } => 1 | conn.number() << 8 | u64::from(*dir) << 6,
            Self::Credit { conn, dir } => 2 | conn.number() << 8 | u64::from(*dir) << 6,
            Self::Reset { conn, end } => 3 | conn.number() << 8 | u64::from(*end) << 6,
            Self::Syn { conn, .. } => 4 | conn.number() << 8,
            Self::SynAck { conn, .. } => 5 | conn.number() << 8,
            Self::Refuse { conn, .. } => 6 | conn.number() << 8,
            Self::Disk { op } => 7 | op.number() << 8,
            Self::Grace { node, .. } => 8 | u64::from(*node) << 8,
            Self::Fault { entry } => 9 | (*entry as u64) << 8,
            Self::Relief(_) => 10,
            Self::Ack { conn, .. } => 11 | conn.number() << 8,
        }
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// The time asked for is reached.
    Until,
    /// Nothing is ready and nothing will happen any more.
    Idle,
    /// What was waited for has happened.
    Done,
}

/// A world's state and its lock.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) pane: Arc<Pane>,
    pub(crate) ledger: Ledger,
    /// Whether there is a tape: asked often, and outside of the lock.
    pub(crate) is_taped: bool,
}

impl Shared {
    pub(crate) fn new(state: State, ledger: Ledger) -> Self {
        let (pane, is_taped) = (Arc::clone(&state.pane), state.trace.is_taped());
        Self { pane, state: Mutex::new(state), ledger, is_taped }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, then buries who died of it.
    pub(crate) fn act<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let _entered = self.ledger.enter();
        let mut state = self.lock();
        let answer = f(&mut state);
        drop(self.bury(state));
        answer
    }

    /// Drops the dead, unlocked, in order.
    fn bury<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while !state.graves.is_empty() {
            let graves = std::mem::take(&mut state.graves);
            drop(state);
            for dead in graves {
                // A destructor that panics is a bug of who wrote it, not the end of the world.
                if catch_unwind(AssertUnwindSafe(|| drop(dead))).is_err() {
                    self.lock().probe("world.destructor_panicked");
                }
            }
            state = self.lock();
        }
        state
    }

    /// Runs until that time, or, if told so, until nothing moves.
    pub(crate) fn run(&self, until: u64, or_idle: bool) -> Ran {
        let _entered = self.ledger.enter();
        let mut state = self.lock();
        let _listens = state.trace.hears().then(logs::listen);
        state.halt = false;
        loop {
            if !state.graves.is_empty() {
                state = self.bury(state);
            }
            state.ring();
            if state.fire_due() {
                continue;
            }
            if state.halt {
                return Ran::Done;
            }
            if state.now >= until {
                return Ran::Until;
            }
            if let Some((key, future, waker)) = state.next_task() {
                drop(state);
                let (polled, future) = poll(future, &waker);
                state = self.after_poll(key, waker, polled, future);
                continue;
            }
            if !state.graves.is_empty() {
                continue;
            }
            match state.timeline.next_at() {
                Some(at) => state.pass(at.min(until)),
                None => {
                    if !or_idle {
                        state.pass(until);
                    }
                    return Ran::Idle;
                }
            }
        }
    }

    fn after_poll(
        &self,
        key: TaskKey,
        waker: Waker,
        polled: Result<Poll<()>, String>,
        future: Option<BoxFuture>,
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.trace.hears()
            && let Some(node) = state.tasks.get(key).map(|task| task.node)
        {
            for said in logs::said() {
                state.word(Some(node), &said);
                state.line(node, || said);
            }
        }
        state.current = None;
        let after = state.now + state.poll_cost_ns;
        state.pass(after);
        match (polled, future) {
            (Err(message), _) => state.panicked(key, message),
            (Ok(Poll::Pending), Some(future)) => {
                if let Some(killed) = state.put_back(key, future, waker) {
                    drop(state);
                    drop(killed);
                    state = self.lock();
                }
            }
            (Ok(_), _) => state.ended(key),
        }
        state
    }

    /// The world ends: all its tasks are dropped, and nothing they still ask for is done.
    pub(crate) fn end(&self) {
        let _entered = self.ledger.enter();
        let mut state = self.lock();
        for node in &mut state.nodes {
            node.process = false;
        }
        let dead = state.tasks.remove_all(|_| true);
        state.graves.extend(dead);
        drop(self.bury(state));
    }
}

/// Polls a task; a finished or broken one is dropped here, while nothing is locked.
fn poll(mut future: BoxFuture, waker: &Waker) -> (Result<Poll<()>, String>, Option<BoxFuture>) {
    let mut context = Context::from_waker(waker);
    let polled = catch_unwind(AssertUnwindSafe(|| match future.as_mut().poll(&mut context) {
        Poll::Pending => (Poll::Pending, Some(future)),
        Poll::Ready(()) => {
            drop(future);
            (Poll::Ready(()), None)
        }
    }));
    match polled {
        Ok((polled, future)) => (Ok(polled), future),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            (Err(said.unwrap_or_else(|| "a panic without words".to_string())), None)
        }
    }
}
