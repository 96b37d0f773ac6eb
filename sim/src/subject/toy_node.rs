//! One node of the toy: its tasks.
//!
//! ```text
//!  connections ──request──►┌──────┐◄──acked── links (one a backup, on the primary)
//!  (clients, the primary)  │ core │───────────► wake-ups
//!                  replies └──────┘  owns the log; the only one that writes it
//! ```
//! All tasks end when the core ends: their handles are dropped with the node's future.
//!
//! A core that meets a disk error stops for good; what it had not answered stays unknown. Its
//! supervisor (the harness) starts a new life, which recovers from the disk.
//!
//! Not here: what the parts are for (`toy`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trilith_engine::{
    always, mark,
    runtime::{
        Clock, DiskResult, Either, Handle, Listener, Net, Receiver, Runtime, Sender, Stream, Task,
        queue, race, timeout,
    },
};

use super::{
    toy::{Bug, Bugs, Glass, Machine, address, majority},
    toy_log::{Log, chain_after, chain_begin, format},
    toy_wire::{Entry, Message, NOBODY, Told, receive, send},
};
use crate::history::{Answer, Call};

/// Entries in one prepare: what fits a frame with room to spare.
const ENTRIES_PER_FRAME: u64 = 64;
/// Requests waiting for the core. A full queue answers `busy`.
const QUEUE: usize = 64;
/// How often an idle link says that it is there.
const BEAT: Duration = Duration::from_millis(200);
/// How long a link waits for an answer before it takes the connection for dead.
const PATIENCE: Duration = Duration::from_millis(800);
/// Between two attempts to connect.
const BACKOFF: Duration = Duration::from_millis(100);
/// Lives of the primary that backups may have seen and did not tell a primary that lost its disk:
/// its next epoch must be above all of them.
const EPOCHS_UNHEARD: u64 = 1_000_000;
/// How long a request without answer is kept (`CommitOnTimeout` commits it after this).
const IMPATIENCE: Duration = Duration::from_millis(300);

/// What a node is told when it boots.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its number; 0 is the primary.
    pub node: u32,
    /// How many there are.
    pub nodes: u32,
    /// What is broken in it.
    pub bugs: Bugs,
    /// Where it shows itself to the judges.
    pub glass: Glass,
    /// Leaks on purpose, to be found by `twice`.
    pub leak: crate::twice::Leak,
}

/// What the core is told.
enum Event {
    /// A client's request.
    Request(Entry, Sender<Told>),
    /// A primary's frame, from the connection of that number.
    Primary(u64, Message, Sender<Message>),
    /// A backup holds so many entries.
    Acked(u32, u64),
    /// Time has passed.
    Tick,
}

/// The durable part of the primary's log, for its links.
#[derive(Debug, Default)]
struct Shared {
    entries: Vec<Entry>,
    chains: Vec<u32>,
    commit: u64,
}

type SharedLog = Arc<Mutex<Shared>>;

fn lock(shared: &SharedLog) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one life of a node until its disk fails.
pub async fn run<R: Runtime>(runtime: R, setup: Setup) {
    let glass = setup.glass.clone();
    glass.show(setup.node, |seen| seen.up = false);
    let node = setup.node;
    if let Err(why) = live(runtime, setup).await {
        mark!("toy: a node stopped because of its disk");
        glass.show(node, |seen| {
            seen.up = false;
            seen.stopped = Some(why.to_string());
        });
    }
}

async fn live<R: Runtime>(runtime: R, setup: Setup) -> DiskResult<()> {
    if !setup.glass.is_formatted(setup.node) {
        format(&runtime, setup.bugs.clone()).await?;
        setup.glass.formatted(setup.node);
    }
    let (log, blank) = Log::open(&runtime, setup.bugs.clone()).await?;
    let (events, inbox) = queue(QUEUE);
    let core = Core::new(setup.clone(), log);
    if setup.node == 0 {
        lead(&runtime, &setup, core, blank, events, inbox).await
    } else {
        let _doors = doors(&runtime, &setup, &events);
        let mut core = core;
        if blank {
            core.log.join().await?;
        }
        setup.glass.show(setup.node, |seen| seen.up = true);
        core.follow(inbox).await
    }
}

/// Accepts connections. Dropping the handle ends them all.
fn doors<R: Runtime>(runtime: &R, setup: &Setup, events: &Sender<Event>) -> impl Handle + use<R> {
    let (runtime, setup, events) = (runtime.clone(), setup.clone(), events.clone());
    let task = runtime.task().clone();
    task.spawn("toy doors", async move {
        let mut open: Vec<<R::Task as Task>::Handle> = Vec::new();
        let Ok(mut listener) = runtime.net().listen(address(setup.node)).await else { return };
        let mut number = 0;
        while let Ok((stream, _who)) = listener.accept().await {
            number += 1;
            let connection =
                connection(runtime.clone(), setup.clone(), stream, events.clone(), number);
            open.push(runtime.task().spawn("toy connection", connection));
        }
    })
}

/// One accepted connection: one request at a time, each answered before the next is read.
async fn connection<R: Runtime, S: Stream>(
    runtime: R,
    setup: Setup,
    mut stream: S,
    events: Sender<Event>,
    number: u64,
) {
    let trusting = setup.bugs.has(Bug::WireChecksumIgnored);
    while let Ok(message) = receive(&mut stream, trusting).await {
        let answer = match message {
            Message::Request(entry) => {
                let (reply, mut told) = queue(1);
                if events.push(Event::Request(entry, reply)).is_err() {
                    mark!("toy: a full queue answered busy");
                    Some(Message::Reply(entry.sequence, Told::Busy))
                } else {
                    // A client that has left does not hold its connection's task forever.
                    let until = runtime.clock().now() + PATIENCE * 4;
                    let told = timeout(runtime.clock(), until, told.recv()).await;
                    told.ok().and_then(Result::ok).map(|told| Message::Reply(entry.sequence, told))
                }
            }
            message => {
                let (reply, mut answered) = queue(1);
                let event = Event::Primary(number, message, reply);
                if events.send(event).await.is_err() {
                    return;
                }
                answered.recv().await.ok()
            }
        };
        let Some(answer) = answer else { return };
        if send(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

/// What the core owns.
struct Core<R: Runtime> {
    setup: Setup,
    log: Log<R>,
    machine: Machine,
    commit: u64,
    epoch: u64,
    shared: SharedLog,
    acked: BTreeMap<u32, u64>,
    /// The newest request of each client in the log: its number and the log's length after it.
    appended: BTreeMap<u32, (u64, u64)>,
    /// Who waits for which length of the log.
    pending: BTreeMap<u64, Vec<(u64, u32, Sender<Told>)>>,
    /// Under a planted bug: what should have been forgotten.
    leaked: u64,
    last_wall: u64,
    /// On a backup: the connection of the present primary.
    link: u64,
}

impl<R: Runtime> Core<R> {
    fn new(setup: Setup, log: Log<R>) -> Self {
        Self {
            setup,
            log,
            machine: Machine::default(),
            commit: 0,
            epoch: 0,
            shared: SharedLog::default(),
            acked: BTreeMap::new(),
            appended: BTreeMap::new(),
            pending: BTreeMap::new(),
            leaked: 0,
            last_wall: 0,
            link: 0,
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.setup.bugs.has(bug)
    }

    /// Applies what is committed.
    fn apply_to(&mut self, commit: u64) {
        let from = usize::try_from(self.commit).unwrap_or(usize::MAX);
        let to = usize::try_from(commit.min(self.log.len())).unwrap_or(usize::MAX);
        for entry in self.log.entries().get(from..to).unwrap_or_default() {
            self.machine.apply(entry);
        }
        self.commit = self.commit.max(commit.min(self.log.len()));
        let machine = &self.machine;
        self.setup.glass.show(self.setup.node, |seen| seen.machine.clone_from(machine));
    }

    /// A backup's life.
    async fn follow(mut self, mut inbox: Receiver<Event>) -> DiskResult<()> {
        while let Ok(event) = inbox.recv().await {
            match event {
                Event::Request(entry, reply) => {
                    let told = if self.has(Bug::StaleRead) && entry.call == Call::Get {
                        let value = self.machine.values.get(&entry.key).copied();
                        Told::Done(Answer::Value(value), self.commit)
                    } else {
                        Told::NotPrimary
                    };
                    tell(&reply, told);
                }
                Event::Primary(number, message, reply) => {
                    if let Some(answer) = self.on_primary(number, message).await? {
                        tell(&reply, answer);
                    }
                }
                Event::Acked(..) | Event::Tick => {}
            }
        }
        Ok(())
    }

    async fn on_primary(&mut self, number: u64, message: Message) -> DiskResult<Option<Message>> {
        let log = &self.log;
        match message {
            Message::Hello(epoch) => {
                if epoch >= self.epoch {
                    (self.epoch, self.link) = (epoch, number);
                }
                let (epoch, len, chain) = (log.epoch(), log.len(), log.chain());
                Ok(Some(Message::Welcome { epoch, len, chain }))
            }
            Message::Fetch(from) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let rest = log.entries().get(from..).unwrap_or_default();
                let some = rest.iter().take(ENTRIES_PER_FRAME as usize).copied().collect();
                Ok(Some(Message::Entries(some)))
            }
            Message::Prepare { epoch, from, before, commit, entries } => {
                // A frame of an earlier life, or of a connection that has been replaced.
                if epoch != self.epoch || number != self.link {
                    mark!("toy: a prepare of an older link was dropped");
                    return Ok(None);
                }
                self.on_prepare(from, before, commit, &entries).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn on_prepare(
        &mut self,
        from: u64,
        before: u32,
        commit: u64,
        entries: &[Entry],
    ) -> DiskResult<Message> {
        let reached = from + entries.len() as u64;
        if self.has(Bug::IgnorePrepareOrder) {
            self.log.append(entries).await?;
            self.log.sync().await?;
            self.apply_to(commit);
            return Ok(Message::Prepared(reached));
        }
        if self.log.chain_at(from) != Some(before) {
            mark!("toy: a backup's log did not fit the primary's");
            return Ok(Message::Conflict);
        }
        let (mut chain, mut fresh) = (before, entries);
        let mut at = from;
        while let Some((entry, rest)) = fresh.split_first() {
            let after = chain_after(chain, entry);
            if self.log.chain_at(at + 1) != Some(after) {
                break;
            }
            (chain, fresh, at) = (after, rest, at + 1);
        }
        if !fresh.is_empty() {
            if at < self.log.len() {
                mark!("toy: a backup cut off what the primary does not have");
                always!(at >= self.commit, "a backup never cuts off what is committed");
                self.log.truncate(at).await?;
            }
            self.log.append(fresh).await?;
            if !self.has(Bug::BackupAckBeforeSync) {
                self.log.sync().await?;
            }
        }
        self.apply_to(commit.min(reached));
        Ok(Message::Prepared(reached))
    }

    /// Publishes the durable log to the links.
    fn publish(&self) {
        let mut shared = lock(&self.shared);
        let known = shared.entries.len();
        for entry in &self.log.entries()[known..] {
            let before = shared.chains.last().copied().unwrap_or_else(chain_begin);
            shared.entries.push(*entry);
            shared.chains.push(chain_after(before, entry));
        }
        shared.commit = self.commit;
    }

    /// The primary's life, once its log is whole: `own` is its first entry of this epoch.
    async fn serve(
        mut self,
        clock: R::Clock,
        mut inbox: Receiver<Event>,
        wake: Vec<Sender<()>>,
    ) -> DiskResult<()> {
        let ready = self.log.len();
        let mut progress = clock.now();
        while let Ok(first) = inbox.recv().await {
            let mut fresh = Vec::new();
            let mut next = Some(first);
            while let Some(event) = next.take() {
                match event {
                    Event::Request(entry, reply) => {
                        self.on_request(&clock, entry, reply, ready, &mut fresh);
                    }
                    Event::Acked(backup, len) => {
                        let known = self.acked.entry(backup).or_default();
                        *known = (*known).max(len);
                    }
                    Event::Tick => {}
                    Event::Primary(..) => {
                        never_two_primaries();
                    }
                }
                if fresh.len() < ENTRIES_PER_FRAME as usize {
                    next = inbox.pop();
                }
            }
            if !fresh.is_empty() {
                self.log.append(&fresh).await?;
                if !self.has(Bug::AckBeforeSync) {
                    self.log.sync().await?;
                }
            }
            let before = self.commit;
            self.advance(clock.now().since(progress) > IMPATIENCE);
            if self.commit > before || self.commit == self.log.len() {
                progress = clock.now();
            }
            // Only news wakes the links: an acknowledgement without news must not cause another.
            if self.commit > before || !fresh.is_empty() {
                self.publish();
                self.setup.leak.shuffle(&wake).into_iter().for_each(|link| tell(link, ()));
            }
            self.measure();
        }
        Ok(())
    }

    fn measure(&self) {
        let waiting = self.pending.values().map(Vec::len).sum::<usize>() as u64 + self.leaked;
        self.setup.glass.gauge(self.setup.node, "waiting requests", waiting, 4 * QUEUE as u64, 0);
    }

    fn on_request(
        &mut self,
        clock: &R::Clock,
        entry: Entry,
        reply: Sender<Told>,
        ready: u64,
        fresh: &mut Vec<Entry>,
    ) {
        if entry.call == Call::Get {
            let told = if self.commit >= ready || self.has(Bug::ServeBeforeRecovered) {
                let value = self.machine.values.get(&entry.key).copied();
                Told::Done(Answer::Value(value), self.machine.log.len() as u64)
            } else {
                Told::Busy
            };
            tell(&reply, told);
            return;
        }
        match self.appended.get(&entry.client).copied() {
            _ if self.has(Bug::ForgetDedupe) => {}
            Some((sequence, _)) if sequence > entry.sequence => {
                mark!("toy: a request older than the newest was refused");
                tell(&reply, Told::Old);
                return;
            }
            Some((sequence, at)) if sequence == entry.sequence => {
                mark!("toy: a retry met its first attempt");
                self.wait(at, entry, reply);
                return;
            }
            _ => {}
        }
        let mut entry = Entry { epoch: self.epoch, ..entry };
        if self.has(Bug::WallClockOrder) && matches!(entry.call, Call::Set(_)) {
            let wall = clock.wall().0;
            if wall < self.last_wall {
                tell(&reply, Told::Done(Answer::Done, self.machine.log.len() as u64));
                return;
            }
            self.last_wall = wall;
        }
        if let (true, Call::Cas { from, to }) = (self.has(Bug::CasDecidedEarly), entry.call)
            && self.machine.values.get(&entry.key).copied() == from
        {
            entry.call = Call::Set(to);
        }
        fresh.push(entry);
        let at = self.log.len() + fresh.len() as u64;
        self.appended.insert(entry.client, (entry.sequence, at));
        self.wait(at, entry, reply);
    }

    /// Answers when the log is committed up to there.
    fn wait(&mut self, at: u64, entry: Entry, reply: Sender<Told>) {
        // A client asks one thing at a time: a retry takes the place of the attempt before it.
        let waiting = self.pending.entry(at).or_default();
        waiting.retain(|(_, client, _)| *client != entry.client);
        waiting.push((entry.sequence, entry.client, reply));
        if at <= self.commit {
            self.answer();
        }
    }

    fn answer(&mut self) {
        let later = self.pending.split_off(&(self.commit + 1));
        for waiting in std::mem::replace(&mut self.pending, later).into_values() {
            for (sequence, client, reply) in waiting {
                if self.has(Bug::PendingLeak) {
                    self.leaked += 1;
                }
                let told = match self.machine.sessions.get(&client) {
                    Some((last, answer)) if *last == sequence => {
                        Told::Done(*answer, self.machine.log.len() as u64)
                    }
                    _ => Told::Old,
                };
                tell(&reply, told);
            }
        }
    }

    /// Commits what a majority holds.
    fn advance(&mut self, impatient: bool) {
        let mut held: Vec<u64> = (1..self.setup.nodes)
            .map(|backup| self.acked.get(&backup).copied().unwrap_or(0))
            .collect();
        held.push(self.log.len());
        held.sort_unstable_by(|a, b| b.cmp(a));
        let mut commit = held[majority(self.setup.nodes) as usize - 1];
        if self.has(Bug::AckBeforeQuorum) || impatient && self.has(Bug::CommitOnTimeout) {
            commit = self.log.len();
        }
        if commit > self.commit {
            self.apply_to(commit);
        }
        self.answer();
    }
}

/// Hands an answer over. Whoever has left, or has one waiting already, needs none.
fn tell<T>(to: &Sender<T>, answer: T) {
    if to.push(answer).is_err() {
        mark!("toy: nobody waited for an answer");
    }
}

fn never_two_primaries() {
    trilith_engine::never!(true, "nobody sends a primary what backups are sent");
}

/// The primary: recover, gather if the disk was lost, begin an epoch, open the links, serve.
async fn lead<R: Runtime>(
    runtime: &R,
    setup: &Setup,
    mut core: Core<R>,
    blank: bool,
    events: Sender<Event>,
    inbox: Receiver<Event>,
) -> DiskResult<()> {
    let mut highest = core.log.epoch();
    if blank {
        if !setup.bugs.has(Bug::BlankStartsEmpty) {
            highest = gather(runtime, setup, &mut core.log).await?.max(highest) + EPOCHS_UNHEARD;
        }
        core.log.join().await?;
    }
    core.epoch = highest + 1;
    let (epoch, client, call) = (core.epoch, NOBODY, Call::Get);
    core.log.append(&[Entry { epoch, client, sequence: 0, id: 0, key: 0, call }]).await?;
    core.log.sync().await?;
    if !setup.bugs.has(Bug::DedupeLostOnRestart) {
        for (at, entry) in core.log.entries().iter().enumerate() {
            core.appended.insert(entry.client, (entry.sequence, at as u64 + 1));
        }
    }
    core.publish();
    let (mut links, mut wake) = (Vec::new(), Vec::new());
    for backup in 1..setup.nodes {
        let (sender, receiver) = queue(1);
        wake.push(sender);
        let link =
            Link { setup: setup.clone(), backup, epoch: core.epoch, shared: core.shared.clone() };
        let link = link.run(runtime.clone(), events.clone(), receiver);
        links.push(runtime.task().spawn("toy link", link));
    }
    let ticker = {
        let (clock, events) = (runtime.clock().clone(), events.clone());
        runtime.task().spawn("toy ticker", async move {
            loop {
                clock.sleep_until(clock.now() + BEAT).await;
                if events.send(Event::Tick).await.is_err() {
                    return;
                }
            }
        })
    };
    let _doors = doors(runtime, setup, &events);
    drop(events);
    setup.glass.show(setup.node, |seen| seen.up = true);
    let served = core.serve(runtime.clock().clone(), inbox, wake).await;
    drop((links, ticker));
    served
}

/// The primary's side of one link.
struct Link {
    setup: Setup,
    backup: u32,
    epoch: u64,
    shared: SharedLog,
}

impl Link {
    async fn run<R: Runtime>(self, runtime: R, events: Sender<Event>, mut wake: Receiver<()>) {
        loop {
            let ended = self.one_connection(&runtime, &events, &mut wake).await;
            if ended == Some(Ended::CoreGone) {
                return;
            }
            if self.setup.bugs.has(Bug::NoReconnect) && ended.is_some() {
                return;
            }
            let clock = runtime.clock();
            clock.sleep_until(clock.now() + BACKOFF).await;
        }
    }

    /// Answers why it ended; `None` when it never began.
    async fn one_connection<R: Runtime>(
        &self,
        runtime: &R,
        events: &Sender<Event>,
        wake: &mut Receiver<()>,
    ) -> Option<Ended> {
        let deadline = runtime.clock().now() + PATIENCE;
        let mut stream = runtime.net().connect(address(self.backup), deadline).await.ok()?;
        let hello = ask(runtime, &self.setup, &mut stream, &Message::Hello(self.epoch)).await?;
        let Message::Welcome { len, chain, .. } = hello else { return None };
        let mut next = {
            let shared = lock(&self.shared);
            let fits = if len == 0 {
                chain == chain_begin()
            } else {
                shared.chains.get(len as usize - 1) == Some(&chain)
            };
            if fits { len } else { 0 }
        };
        loop {
            let prepare = self.prepare(next);
            let Some(answer) = ask(runtime, &self.setup, &mut stream, &prepare).await else {
                return Some(Ended::Lost);
            };
            match answer {
                Message::Prepared(len) => {
                    next = len;
                    if events.send(Event::Acked(self.backup, len)).await.is_err() {
                        return Some(Ended::CoreGone);
                    }
                }
                Message::Conflict if next > 0 => next = 0,
                _ => return Some(Ended::Lost),
            }
            if next >= lock(&self.shared).entries.len() as u64 {
                let beat = runtime.clock().sleep_until(runtime.clock().now() + BEAT);
                if let Either::Left(Err(_gone)) = race(wake.recv(), beat).await {
                    return Some(Ended::CoreGone);
                }
            }
        }
    }

    fn prepare(&self, from: u64) -> Message {
        let shared = lock(&self.shared);
        let at = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = shared.entries.get(at..).unwrap_or_default();
        let entries: Vec<Entry> = rest.iter().take(ENTRIES_PER_FRAME as usize).copied().collect();
        let before = at.checked_sub(1).and_then(|at| shared.chains.get(at)).copied();
        let before = before.unwrap_or_else(chain_begin);
        Message::Prepare { epoch: self.epoch, from, before, commit: shared.commit, entries }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Lost,
    CoreGone,
}

/// Sends, and waits for the answer; `None` when either does not come in time.
async fn ask<R: Runtime, S: Stream>(
    runtime: &R,
    setup: &Setup,
    stream: &mut S,
    message: &Message,
) -> Option<Message> {
    let deadline = runtime.clock().now() + PATIENCE;
    let trusting = setup.bugs.has(Bug::WireChecksumIgnored);
    let both = async {
        send(stream, message).await.ok()?;
        receive(stream, trusting).await.ok()
    };
    timeout(runtime.clock(), deadline, both).await.ok().flatten()
}

/// Fills an empty log from the backups: enough of them to know every committed entry. Answers the
/// highest epoch seen.
async fn gather<R: Runtime>(runtime: &R, setup: &Setup, log: &mut Log<R>) -> DiskResult<u64> {
    mark!("toy: a primary gathered its log from the backups");
    let enough = if setup.bugs.has(Bug::GatherTooFew) {
        1
    } else {
        (setup.nodes - majority(setup.nodes) + 1) as usize
    };
    loop {
        let mut heard: Vec<((u64, u64), u32)> = Vec::new();
        for backup in 1..setup.nodes {
            let deadline = runtime.clock().now() + PATIENCE;
            let connected = runtime.net().connect(address(backup), deadline).await;
            let Ok(mut stream) = connected else { continue };
            let hello = ask(runtime, setup, &mut stream, &Message::Hello(0)).await;
            if let Some(Message::Welcome { epoch, len, .. }) = hello {
                heard.push(((epoch, len), backup));
            }
            if heard.len() >= enough && setup.bugs.has(Bug::GatherTooFew) {
                break;
            }
        }
        heard.sort_unstable();
        if let (true, Some(((epoch, len), best))) = (heard.len() >= enough, heard.last().copied())
            && fetch(runtime, setup, best, len, log).await?
        {
            return Ok(epoch);
        }
        let clock = runtime.clock();
        clock.sleep_until(clock.now() + BACKOFF).await;
    }
}

/// Copies a backup's log. Answers whether it came whole.
async fn fetch<R: Runtime>(
    runtime: &R,
    setup: &Setup,
    backup: u32,
    len: u64,
    log: &mut Log<R>,
) -> DiskResult<bool> {
    if !log.is_empty() {
        log.truncate(0).await?;
    }
    let deadline = runtime.clock().now() + PATIENCE;
    let connected = runtime.net().connect(address(backup), deadline).await;
    let Ok(mut stream) = connected else { return Ok(false) };
    while log.len() < len {
        let answer = ask(runtime, setup, &mut stream, &Message::Fetch(log.len())).await;
        let Some(Message::Entries(entries)) = answer else { return Ok(false) };
        if entries.is_empty() {
            return Ok(false);
        }
        log.append(&entries).await?;
    }
    log.sync().await?;
    Ok(true)
}
