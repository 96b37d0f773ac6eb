//! The client: asks a cluster for things, and knows what became of them.
//!
//! ```text
//!   call ─┐                      ┌─ line ══ node 1 ─┐
//!   call ─┼─► frames of a line ──┼─ line ══ node 2  ├─► responses, by the number of the call
//!   call ─┘                      └─ line ══ node 3 ─┘
//! ```
//! A call is a request with a number. Many are on their way at once, over one connection a node,
//! and each finds its own answer by its number. A call is made again, under the same number, when
//! its node says that another one leads, when the connection ends, and when no answer comes in
//! time: the state machine does it once, however often it arrives. So a call ends in one of three
//! ways, and this is what they mean:
//!
//! - *ok*: it was done, once.
//! - *refused*: nothing happened, and nothing will.
//! - *unknown*: its time is over, and an attempt may have been heard. It may have happened, or may
//!   happen still. It is never reported as a failure.
//!
//! The rule behind it: once an attempt of a write may have been heard without an answer, only *ok*
//! ends the call before its deadline. A later refusal says only that the later attempt did nothing.
//!
//! The client learns who leads what from what it is told, and asks there first.
//!
//! A node's own clients, which speak Redis or HTTP with others, are such a client too: one of its
//! lines is no connection but the node's inbox ([`Inside`]), and everything else is the same. So a
//! request finds its leader from whatever node, and is done once however often it is made.
//!
//! Calls that are polled in an order are sent in that order, the first time. Who must not have one
//! done again behind a later one asks step by step ([`Client::ask`]).
//!
//! Invariants: a number belongs to one request for ever; the server is told the lowest number that
//! still waits, and nothing below it is ever asked again; at most [`CLIENT_IN_FLIGHT_MAX`] calls are
//! on their way, and no more writes of a group began behind one that still waits.
//!
//! Not here: the bytes of requests (`trilith_engine::command`), the server's side
//! (`peer/callers.rs`), what at most once costs (`trilith_engine::store`).

mod calls;
mod greet;
mod line;
mod replace;

pub use greet::{greet, greet_all, settings_of};
pub use replace::{Going, Replacement, Standing};

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use trilith_engine::{
    command::{Level, Op, Outcome, Refusal, Request, Response, Scan, Session, Told},
    mark, planted,
    runtime::{Clock, Instant, Push, Rng, Runtime, Sender, Task, timeout},
    shard::{Caller, Inbound},
    store::slots::{group_of, slot_of},
    types::{ClientId, GroupId, NodeId, Sequence, Slot, Stamp, Uuid},
};

use crate::{
    frame::{self, Kind},
    limits::{CLIENT_IN_FLIGHT_MAX, SPREAD_BYTES_MAX},
    peer::proof::Secret,
};
use calls::{Calls, Writes};

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Who it is; drawn when absent. Two clients may never be one.
    pub client: Option<ClientId>,
    /// The cluster it wants to speak with; zeros for any.
    pub cluster: Uuid,
    /// A connection is made within this time.
    pub connect_within: Duration,
    /// How long one node is waited for before another one is asked.
    pub attempt_within: Duration,
    /// The pause after the first attempt that brought nothing; doubles.
    pub backoff_min: Duration,
    /// The longest one.
    pub backoff_max: Duration,
    /// How often an idle connection is asked whether it lives; four times that is silence.
    pub ping_every: Duration,
    /// The cluster's secret, if it has one.
    pub secret: Option<Secret>,
    /// Over how many groups the slots are split, where that is known: then what is learnt of a slot
    /// is known of its whole group. 0 where it is not.
    pub groups: u16,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            client: None,
            cluster: Uuid::default(),
            connect_within: Duration::from_secs(1),
            attempt_within: Duration::from_secs(1),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(200),
            ping_every: Duration::from_secs(1),
            secret: None,
            groups: 0,
        }
    }
}

/// What is wanted of a call beside what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What the answer must hold at least.
    pub level: Level,
    /// How old an eventual answer may be, in milliseconds; 0 for however old.
    pub staleness_ms: u32,
    /// When the call ends at the latest.
    pub within: Duration,
}

impl Wish {
    /// Strong, within this time.
    #[must_use]
    pub const fn strong(within: Duration) -> Self {
        Self { level: Level::Strong, staleness_ms: 0, within }
    }
}

/// A client of a cluster. Dropping it ends its connections.
pub struct Client<R: Runtime> {
    core: Arc<Core<R>>,
    /// Locked by nobody: so a client can be shared whatever handles are.
    _tasks: Mutex<Vec<<R::Task as Task>::Handle>>,
}

/// What calls and lines share.
struct Core<R: Runtime> {
    runtime: R,
    options: ClientOptions,
    id: ClientId,
    state: Mutex<State<R::Rng>>,
}

struct State<G> {
    luck: G,
    last: u64,
    /// The highest stamp heard of.
    since: Stamp,
    /// The same for what is far behind that: groups have times of their own, and one whose leader's
    /// clock was wrong may be ahead of all others.
    behind: BTreeMap<Target, Stamp>,
    calls: Calls,
    writes: Writes,
    /// Who waits for room for one more, the first who came first.
    waiting: VecDeque<Waker>,
    lines: Vec<Line>,
    leaders: BTreeMap<Target, usize>,
}

/// What a node is asked for: who leads it can be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Any,
    Slot(Slot),
    Group(GroupId),
}

impl Target {
    fn of(op: &Op, groups: u16) -> Self {
        match op {
            Op::Scan(Scan { group, .. }) | Op::Count(group) => Self::Group(*group),
            Op::Cut(cut) => Self::Group(cut.group()),
            Op::Replace(_) => Self::Any,
            Op::Get(_) | Op::GetMany(_) | Op::Look(_) | Op::Write(_) => {
                op.keys().next().map_or(Self::Any, |key| match slot_of(key) {
                    slot if groups == 0 => Self::Slot(slot),
                    slot => Self::Group(GroupId(u32::from(group_of(slot, groups)) + 1)),
                })
            }
        }
    }
}

/// A call that waits.
#[derive(Default)]
struct Call {
    line: usize,
    heard: Option<Heard>,
    waker: Option<Waker>,
}

/// What a call hears of an attempt.
enum Heard {
    Answer(Response),
    /// The connection ended.
    Lost,
}

impl Heard {
    const fn came(heard: Option<&Self>) -> Came {
        match heard {
            Some(Self::Answer(response)) => match response.outcome {
                Outcome::Ok(_) => Came::Answer,
                Outcome::Refused(refusal) => Came::Refused(refusal),
                Outcome::Unknown => Came::Unknown,
            },
            Some(Self::Lost) | None => Came::Silence,
        }
    }
}

/// One node, as calls see it.
#[derive(Default)]
struct Line {
    /// Known once it was reached.
    node: Option<NodeId>,
    is_up: bool,
    frames: BytesMut,
    writer: Option<Waker>,
    /// When there is no connection between.
    inside: Option<Inside>,
}

/// The node in whose process a client is.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Which.
    pub node: NodeId,
    /// Who the client is to it: what the node answers him is [heard](Ear::hear).
    pub caller: Caller,
    /// Where it takes requests.
    pub into: Sender<Inbound>,
}

/// What hears for a client that is inside.
pub struct Ear<R: Runtime>(Arc<Core<R>>);

impl<R: Runtime> Ear<R> {
    /// An answer of the node. Whether somebody waited for it.
    pub fn hear(&self, response: Response) -> bool {
        self.0.answered(INSIDE, response)
    }
}

/// The line to the node that a client is inside of, if it is.
const INSIDE: usize = 0;

impl<R: Runtime> Core<R> {
    fn lock(&self) -> MutexGuard<'_, State<R::Rng>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was heard of the last attempt of each of these calls. Only the first of
    /// which nothing was heard yet wakes: answers come together, and are looked at together.
    async fn all_heard(&self, attempts: &[Attempt<'_, '_, R>]) {
        let mut missing = attempts;
        poll_fn(|context| {
            let mut state = self.lock();
            while let Some((Attempt { ask, line }, others)) = missing.split_first() {
                match state.calls.get_mut(ask.numbered.number) {
                    Some(call) if line.is_some() && call.heard.is_none() => {
                        call.waker = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                    _ => missing = others,
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// A call's number, until it ends: then nobody waits for it any more.
struct Numbered<'a, R: Runtime> {
    core: &'a Core<R>,
    number: u64,
    /// Of which group it is a write, and which one of those; nothing for what reads.
    write: Option<(u32, u64)>,
    since: Stamp,
}

impl<R: Runtime> Drop for Numbered<'_, R> {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        state.calls.end(self.number);
        if let Some((group, nth)) = self.write {
            state.writes.end(group, nth);
        }
        // Whoever is woken may have gone; so everybody is for whom there is room.
        let woken = state.waiting.len();
        let woken = if woken > 0 { state.room().min(woken) } else { 0 };
        state.waiting.drain(..woken).for_each(Waker::wake);
    }
}

impl<G> State<G> {
    /// How many more calls can be made, whatever they ask for.
    fn room(&self) -> usize {
        CLIENT_IN_FLIGHT_MAX.saturating_sub(self.calls.len()).min(self.writes.room())
    }
}

/// An attempt of a call that was sent over that line, if there was one.
struct Attempt<'a, 'b, R: Runtime> {
    ask: &'b mut Ask<'a, R>,
    line: Option<usize>,
}

impl<'a, 'b, R: Runtime> Attempt<'a, 'b, R> {
    /// Sends it, if there is time for it.
    fn begin(ask: &'b mut Ask<'a, R>, now: Instant) -> Self {
        let Ask { numbered, request, progress } = ask;
        progress.now = now;
        let mut line = None;
        if now < progress.deadline {
            line = numbered.core.send(numbered, request, progress);
            progress.attempts += 1;
        }
        Self { ask, line }
    }

    /// When its call ends, if it was sent.
    fn deadline(&self) -> Option<Instant> {
        self.line.map(|_| self.ask.progress.deadline)
    }
}

/// What an attempt came to.
enum Verdict {
    /// It ends the call.
    Ends(Response),
    /// Another one may be made at once.
    Again,
    /// Another one may be made after a pause.
    Later,
}

/// What is known of a call so far.
struct Progress {
    target: Target,
    /// The highest stamp that was known when the request was first sent.
    since: Stamp,
    /// When the attempt began.
    now: Instant,
    deadline: Instant,
    /// An attempt of a write may have been heard, and its answer was not.
    maybe: bool,
    /// What the last definite answer said.
    refusal: Refusal,
    attempts: u32,
    /// Which line was thought to lead when it was last sent.
    known: Option<usize>,
    /// Who was asked last, as far as it has said who it is, and what came of that.
    last: (Option<NodeId>, Came),
    pause: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nobody could be asked.
    Unsent,
    /// No answer, or none in time.
    Silence,
    /// An answer that says what became of it.
    Answer,
    /// Nothing happened.
    Refused(Refusal),
    /// Who answered does not know what became of it.
    Unknown,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent => f.write_str("nobody could be asked"),
            Self::Silence => f.write_str("no answer"),
            Self::Answer => f.write_str("an answer"),
            Self::Refused(Refusal::NotLeader(Some(leader))) => {
                write!(f, "it does not lead, node {} does", leader.0)
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unknown => f.write_str("it does not know what became of it"),
        }
    }
}

impl<R: Runtime> Client<R> {
    /// A client of the cluster whose nodes listen there.
    #[must_use]
    pub fn start(runtime: &R, nodes: &[SocketAddr], options: ClientOptions) -> Self {
        Self::begin_with(runtime, None, nodes, options)
    }

    /// A client inside a node, of a cluster whose other nodes listen there.
    #[must_use]
    pub fn inside(
        runtime: &R,
        inside: Inside,
        others: &[SocketAddr],
        options: ClientOptions,
    ) -> (Self, Ear<R>) {
        let client = Self::begin_with(runtime, Some(inside), others, options);
        let ear = Ear(Arc::clone(&client.core));
        (client, ear)
    }

    fn begin_with(
        runtime: &R,
        inside: Option<Inside>,
        nodes: &[SocketAddr],
        options: ClientOptions,
    ) -> Self {
        let mut luck = runtime.rng("client");
        let id = options.client.unwrap_or_else(|| ClientId(luck.next_u64().max(1)));
        let here = inside.map(|inside| Line {
            node: Some(inside.node),
            is_up: true,
            inside: Some(inside),
            ..Line::default()
        });
        let first = usize::from(here.is_some());
        let state = State {
            luck,
            last: 0,
            since: Stamp(0),
            behind: BTreeMap::new(),
            calls: Calls::default(),
            writes: Writes::default(),
            waiting: VecDeque::new(),
            lines: here.into_iter().chain(nodes.iter().map(|_| Line::default())).collect(),
            leaders: BTreeMap::new(),
        };
        let state = Mutex::new(state);
        let core = Arc::new(Core { runtime: runtime.clone(), options, id, state });
        let lines = nodes.iter().enumerate();
        let tasks = lines.map(|(line, at)| {
            runtime.task().spawn("line", line::run(Arc::clone(&core), first + line, *at))
        });
        Self { _tasks: Mutex::new(tasks.collect()), core }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.core.id
    }

    /// Asks, as often as it must, until there is an answer or the time is over. A call that is
    /// dropped before that is unknown. When too many are on their way, it waits for its turn.
    pub async fn call(&self, op: Op, wish: Wish) -> Response {
        let until = self.core.runtime.clock().now() + wish.within;
        if !self.has_room(until).await {
            return local(0, Outcome::Refused(Refusal::Overloaded));
        }
        let within = until.since(self.core.runtime.clock().now());
        match self.ask(op, Wish { within, ..wish }) {
            Ok(ask) => ask.finish().await,
            Err(refusal) => local(0, Outcome::Refused(refusal)),
        }
    }

    /// Waits until one more call can be made. Whether that is so by then. Who waits here should have
    /// made none that he has not sent: others might wait for him.
    pub async fn has_room(&self, until: Instant) -> bool {
        let room = poll_fn(|context| {
            let mut state = self.core.lock();
            if state.room() > 0 {
                return Poll::Ready(());
            }
            mark!("client: a call waits for others to end");
            state.waiting.push_back(context.waker().clone());
            Poll::Pending
        });
        timeout(self.core.runtime.clock(), until, room).await.is_ok()
    }

    /// How many more calls can be made now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.core.lock().room()
    }

    /// A call that is made step by step. Nothing is sent yet.
    ///
    /// # Errors
    /// When it cannot be made at all, or too many are on their way.
    pub fn ask(&self, op: Op, wish: Wish) -> Result<Ask<'_, R>, Refusal> {
        op.check()?;
        let target = Target::of(&op, self.core.options.groups);
        let is_write = matches!(op, Op::Write(_));
        let numbered = self.begin(target, is_write).ok_or(Refusal::Overloaded)?;
        let now = self.core.runtime.clock().now();
        let progress = Progress {
            target,
            since: numbered.since,
            now,
            deadline: now + wish.within,
            maybe: false,
            refusal: Refusal::TooLate,
            attempts: 0,
            known: None,
            last: (None, Came::Unsent),
            pause: self.core.options.backoff_min,
        };
        let request = self.request(&numbered, op, &wish);
        Ok(Ask { numbered, request, progress })
    }

    /// Tells every other node that can be reached, once: nobody says whether it was heard. What has
    /// too much waiting before it is not told.
    pub fn spread(&self, put: impl Fn(&mut BytesMut)) {
        let mut state = self.core.lock();
        let lines = state.lines.iter_mut().filter(|line| line.is_up && line.inside.is_none());
        for line in lines {
            let has_room = line.frames.len() < SPREAD_BYTES_MAX;
            if !has_room || frame::encode(&mut line.frames, Kind::Publish, &put).is_err() {
                mark!("client: a message was not told to a node");
                continue;
            }
            if planted!("resp_message_told_twice") {
                let _told = frame::encode(&mut line.frames, Kind::Publish, &put).is_ok();
            }
            line.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    fn begin(&self, target: Target, is_write: bool) -> Option<Numbered<'_, R>> {
        let mut state = self.core.lock();
        if state.calls.len() >= CLIENT_IN_FLIGHT_MAX {
            return None;
        }
        let write = if is_write {
            // Who does not know how slots are split takes all of them for one group.
            let group = if let Target::Group(group) = target { group.0 } else { 0 };
            Some((group, state.writes.begin(group)?))
        } else {
            None
        };
        state.last += 1;
        let since = state.behind.get(&target).copied().unwrap_or(state.since);
        let number = state.last;
        state.calls.begin(number);
        Some(Numbered { core: &self.core, number, write, since })
    }

    /// What is sent, as far as all attempts have it in common.
    fn request(&self, numbered: &Numbered<'_, R>, op: Op, wish: &Wish) -> Request {
        let number = Sequence(numbered.number);
        let (client, since) = (self.core.id, numbered.since);
        Request {
            session: Session { client, sequence: number, oldest: number, since },
            level: wish.level,
            patience_ms: 0,
            staleness_ms: wish.staleness_ms,
            op,
        }
    }
}

impl<R: Runtime> Core<R> {
    /// What an attempt over that line comes to, of which this was heard.
    fn judge(&self, ask: &mut Ask<'_, R>, line: usize, heard: Option<Heard>) -> Verdict {
        let Ask { numbered, request, progress } = ask;
        let is_write = matches!(request.op, Op::Write(_));
        let Some(Heard::Answer(response)) = heard else {
            progress.maybe |= is_write;
            self.forget(progress.target, line);
            return Verdict::Again;
        };
        let leads = matches!(response.outcome, Outcome::Ok(_)) && request.level == Level::Strong;
        let is_news = leads && progress.known != Some(line);
        self.learn(progress.target, response.told.stamp, is_news.then_some(line));
        match response.outcome {
            Outcome::Ok(_) => return Verdict::Ends(response),
            Outcome::Unknown => {
                // The same number again: whoever knows what became of it says so.
                mark!("client: an unknown outcome was asked for again");
                progress.maybe |= is_write;
            }
            Outcome::Refused(refusal) => {
                progress.refusal = refusal;
                let is_ahead = refusal == Refusal::FromTheFuture;
                if is_ahead && self.go_back(progress, response.told.stamp) {
                    return Verdict::Again;
                }
                if refusal == Refusal::Forgotten {
                    if progress.maybe {
                        return Verdict::Ends(local(numbered.number, Outcome::Unknown));
                    }
                    // It was never sent before: it goes out as one that is made now.
                    mark!("client: a forgotten client asks anew");
                    progress.since = progress.since.max(response.told.stamp);
                }
                if self.follow(progress.target, line, refusal) {
                    return Verdict::Again;
                }
                if !may_change(refusal) {
                    if progress.maybe {
                        return Verdict::Ends(local(numbered.number, Outcome::Unknown));
                    }
                    return Verdict::Ends(response);
                }
            }
        }
        Verdict::Later
    }

    /// A response says how late it is where it comes from, and perhaps who leads.
    fn learn(&self, target: Target, stamp: Stamp, leader: Option<usize>) {
        let mut state = self.lock();
        let state = &mut *state;
        let since = state.behind.get_mut(&target).unwrap_or(&mut state.since);
        *since = stamp.max(*since);
        if let Some(line) = leader {
            state.leaders.insert(target, line);
        }
    }

    /// The group is far behind what was heard elsewhere, and did nothing. Unless an earlier attempt
    /// may have been heard, the request goes out as one that is made now, in the group's own time.
    fn go_back(&self, progress: &mut Progress, stamp: Stamp) -> bool {
        if progress.maybe || progress.since <= stamp {
            return false;
        }
        mark!("client: a group is far behind the others");
        progress.since = stamp;
        self.lock().behind.insert(progress.target, stamp);
        true
    }

    /// Puts the request on a line that is up. Answers which.
    fn send(
        &self,
        numbered: &Numbered<'_, R>,
        request: &mut Request,
        progress: &mut Progress,
    ) -> Option<usize> {
        let left = progress.deadline.since(progress.now);
        let mut state = self.lock();
        let state = &mut *state;
        let count = state.lines.len();
        let is_here = state.lines.first().is_some_and(|line| line.inside.is_some());
        // Who takes what is near asks the node that he is inside of.
        let near = (is_here && request.level == Level::Eventual).then_some(INSIDE);
        let known = near.or(state.leaders.get(&progress.target).copied());
        let first = known.unwrap_or((self.id.0 as usize).wrapping_add(progress.attempts as usize));
        progress.known = known;
        let mut all = (0..count).map(|next| first.wrapping_add(next) % count.max(1));
        let line = all.find(|line| state.lines.get(*line).is_some_and(|line| line.is_up))?;
        request.session.oldest = Sequence(state.calls.oldest().unwrap_or(numbered.number));
        request.session.since = progress.since;
        request.patience_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        let to = state.lines.get_mut(line)?;
        if let Some(Inside { caller, into, .. }) = &to.inside {
            let request = Inbound::Request { caller: *caller, request: request.clone() };
            match into.push(request) {
                Ok(()) => {}
                // As if the line were not there.
                Err(Push::Full(_)) => return None,
                Err(Push::Closed(_)) => {
                    mark!("client: the node that it is inside of has ended");
                    to.is_up = false;
                    return None;
                }
            }
        } else {
            frame::encode(&mut to.frames, Kind::Request, |out| request.encode(out)).ok()?;
        }
        if let Some(call) = state.calls.get_mut(numbered.number) {
            (call.line, call.heard) = (line, None);
        }
        if let Some(writer) = to.writer.take() {
            writer.wake();
        }
        Some(line)
    }

    /// A refusal may say who leads. Whether it does, and that is news.
    fn follow(&self, target: Target, asked: usize, refusal: Refusal) -> bool {
        let mut state = self.lock();
        let Refusal::NotLeader(leader) = refusal else {
            return false;
        };
        let known = leader.and_then(|leader| {
            state.lines.iter().position(|line| line.node == Some(leader) && line.is_up)
        });
        match known.filter(|line| *line != asked) {
            Some(line) => state.leaders.insert(target, line) != Some(line),
            None => {
                state.leaders.remove(&target);
                false
            }
        }
    }

    fn forget(&self, target: Target, line: usize) {
        let mut state = self.lock();
        if state.leaders.get(&target) == Some(&line) {
            state.leaders.remove(&target);
        }
    }

    /// When another attempt may be made, and the next pause is longer.
    fn pause(&self, progress: &mut Progress) -> Instant {
        let clock = self.runtime.clock();
        let nanos = u64::try_from(progress.pause.as_nanos()).unwrap_or(u64::MAX).max(2);
        let pause = Duration::from_nanos(self.lock().luck.range(nanos / 2..nanos));
        progress.pause = progress.pause.saturating_mul(2).min(self.options.backoff_max);
        progress.deadline.min(clock.now() + pause)
    }
}

/// A call that is under way.
pub struct Ask<'a, R: Runtime> {
    numbered: Numbered<'a, R>,
    request: Request,
    progress: Progress,
}

impl<'a, R: Runtime> Ask<'a, R> {
    /// One attempt; the answer, if it ends the call. The first poll sends.
    pub async fn once(&mut self) -> Option<Response> {
        Self::once_each(vec![self]).await.pop().flatten()
    }

    /// One attempt of each of these calls of one client; the answers that end them. The first poll
    /// sends all of them, in their order. They wait together: for one time, and for one pause.
    pub async fn once_each(asks: Vec<&mut Self>) -> Vec<Option<Response>> {
        let Some(core) = asks.first().map(|ask| ask.numbered.core) else { return Vec::new() };
        let clock = core.runtime.clock();
        let now = clock.now();
        let attempt = |ask| Attempt::begin(ask, now);
        let attempts: Vec<Attempt<'a, '_, R>> = asks.into_iter().map(attempt).collect();
        let deadline = attempts.iter().filter_map(Attempt::deadline).min();
        if let Some(deadline) = deadline {
            let until = deadline.min(now + core.options.attempt_within);
            _ = timeout(clock, until, core.all_heard(&attempts)).await;
        }
        let mut later = None;
        let mut end = |Attempt { ask, line }: Attempt<'a, '_, R>| match ask.judge(line) {
            Verdict::Ends(response) => Some(response),
            Verdict::Again => None,
            Verdict::Later => {
                later = later.max(Some(core.pause(&mut ask.progress)));
                None
            }
        };
        let answers = attempts.into_iter().map(&mut end).collect();
        if let Some(later) = later {
            clock.sleep_until(later).await;
        }
        answers
    }

    /// What the attempt came to that was made over that line.
    fn judge(&mut self, line: Option<usize>) -> Verdict {
        let core = self.numbered.core;
        if self.progress.now >= self.progress.deadline {
            return Verdict::Ends(self.end());
        }
        let Some(line) = line else {
            self.progress.last = (None, Came::Unsent);
            return Verdict::Later;
        };
        let mut state = core.lock();
        let heard = state.calls.get_mut(self.numbered.number).and_then(|call| {
            call.waker = None;
            call.heard.take()
        });
        let node = state.lines.get(line).and_then(|line| line.node);
        drop(state);
        self.progress.last = (node, Heard::came(heard.as_ref()));
        core.judge(self, line, heard)
    }

    /// Who was asked last, as far as it has said who it is, and what came of that.
    #[must_use]
    pub const fn last(&self) -> (Option<NodeId>, Came) {
        self.progress.last
    }

    /// Whether an attempt may have been heard without an answer: then it may be done, or may still
    /// be.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        self.progress.maybe
    }

    /// What is known of it when no further attempt is made.
    #[must_use]
    pub fn end(&self) -> Response {
        let Progress { maybe, refusal, .. } = self.progress;
        let outcome = if maybe { Outcome::Unknown } else { Outcome::Refused(refusal) };
        local(self.numbered.number, outcome)
    }

    /// As many attempts as it takes, until the time is over.
    pub async fn finish(mut self) -> Response {
        loop {
            if let Some(response) = self.once().await {
                return response;
            }
        }
    }
}

/// Whether another attempt may be answered otherwise.
const fn may_change(refusal: Refusal) -> bool {
    match refusal {
        Refusal::NoGroup
        | Refusal::NotLeader(_)
        | Refusal::Overloaded
        | Refusal::Stopping
        | Refusal::TooStale
        | Refusal::Damaged
        | Refusal::SessionsFull
        | Refusal::Forgotten
        | Refusal::DiskFull
        | Refusal::TooLate => true,
        Refusal::Malformed
        | Refusal::KeyTooLong
        | Refusal::ValueTooLong
        | Refusal::TooLarge
        | Refusal::KeyTwice
        | Refusal::ManyGroups
        | Refusal::Level
        | Refusal::NoCut
        | Refusal::FromTheFuture => false,
    }
}

/// An answer that no node gave.
fn local(number: u64, outcome: Outcome) -> Response {
    Response { sequence: Sequence(number), told: Told::default(), outcome }
}
