//! Between connections and the cluster: acts become operations, wherever their group is led.
//!
//! ```text
//!   acts of a connection ─► direct: one operation each, all on their way at once ─┐
//!                      └──► scratch: read, done here, written if nothing changed ─┴─► client ─► leader
//! ```
//! What a connection sends in one go is done in its order: reads among themselves and writes among
//! themselves are on their way together, several in one request where they can (`errand.rs`); a
//! write waits for the reads before it, and a read for the writes. Writes of one group enter its log
//! in the order in which they were sent. If one of them did not get there and a later one did, or may
//! have, the earlier one is not tried again: it would be done behind it. It is told that nothing
//! happened, or that nobody knows.
//!
//! When too much is under way, a connection waits for room before it asks for more, and is not read
//! meanwhile.
//!
//! What names keys of several groups is done in each of them; that is promised for MGET, EXISTS, DEL
//! and MSET, whose parts are not one moment then. MGET, EXISTS and DEL are also done in parts where they
//! name more keys than one request may, or MGET more values than one answer. What would be refused of
//! one part is refused before any is done. When a part of such a DEL or MSET was done and another one
//! was not all the same, the whole is in doubt. All else must lie together: in a cluster in one
//! slot, because groups may be split along slots later.
//!
//! Two times are told apart. The stamp of what was read is the group's own: what is over by it is
//! over for everybody. It stands while nothing is written, so what is shown and compared goes by the
//! node's clock where that is ahead.
//!
//! Not here: what acts mean (`scratch.rs`, `direct.rs`), connections (`serve.rs`).

use bytes::Bytes;
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use trilith_engine::{
    command::{Command, Found, Level, Op, Outcome, Refusal, Reply, Response, Told},
    limits::GET_KEYS_MAX,
    mark, planted,
    runtime::{Clock, Instant, Runtime, WallTime},
    store::slots::{group_of, slot_of},
    types::{Sequence, Stamp, Version},
};

use super::{
    act::Act,
    direct::{self, CROSSSLOT},
    errand::{self, Direct, Errand},
    scratch::{Late, Said, Scratch},
    way::{Explained, Way},
};
use crate::{
    client::{Ask, Client, Wish},
    limits::RESP_READ_BYTES_MAX,
};

/// What a connection wants of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mood {
    /// What a read must hold at least.
    pub reads: Level,
    /// How old an eventual one may be, in milliseconds; 0 for however old.
    pub staleness_ms: u32,
    /// How long a command may take.
    pub within: Duration,
}

impl Default for Mood {
    fn default() -> Self {
        Self { reads: Level::Strong, staleness_ms: 0, within: Duration::from_secs(5) }
    }
}

impl Mood {
    pub(super) const fn read(&self) -> Wish {
        Wish { level: self.reads, staleness_ms: self.staleness_ms, within: self.within }
    }

    pub(super) const fn write(&self) -> Wish {
        Wish::strong(self.within)
    }

    /// The same of a step that may take as long as a command, but not beyond that time. When it is over
    /// nothing is begun any more: what is asked within no time is refused.
    pub(super) fn until(&self, until: Instant, now: Instant) -> Self {
        Self { within: self.within.min(until.since(now)), ..*self }
    }
}

/// What EXEC comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// What each command was answered.
    Done(Vec<Said>),
    /// A key that was watched has changed; nothing happened.
    Changed,
    /// Nothing happened, or nobody knows.
    Failed(Said),
}

/// The versions that watched keys had; none when they were not there.
pub type Watched = BTreeMap<Bytes, Option<Version>>;

/// What is told of keys that were read together.
struct Read {
    stamp: Stamp,
    found: Vec<Option<Found>>,
}

/// The cluster, as connections to this node see it.
pub struct Front<R: Runtime> {
    runtime: R,
    /// Each has its own numbers, and so its own room for what is under way.
    lanes: Arc<[Client<R>]>,
    groups: u16,
    /// How many nodes there are. Where there are several, keys may come to lie apart that lie
    /// together now.
    members: usize,
}

impl<R: Runtime> Front<R> {
    /// Over these clients, of a cluster whose slots are split over so many groups and that has so
    /// many nodes.
    #[must_use]
    pub fn new(runtime: R, lanes: Arc<[Client<R>]>, groups: u16, members: usize) -> Self {
        Self { runtime, lanes, groups, members }
    }

    pub(super) const fn groups(&self) -> u16 {
        self.groups
    }

    pub(super) const fn members(&self) -> usize {
        self.members
    }

    pub(super) fn task(&self) -> &R::Task {
        self.runtime.task()
    }

    pub(super) fn now(&self) -> Instant {
        self.runtime.clock().now()
    }

    pub(super) fn lane(&self, connection: u64) -> &Client<R> {
        &self.lanes[(connection % self.lanes.len().max(1) as u64) as usize]
    }

    fn group(&self, key: &[u8]) -> u16 {
        group_of(slot_of(key), self.groups)
    }

    /// Whether keys lie so that one moment can be promised for them.
    fn lie_together<'a>(&self, mut keys: impl Iterator<Item = &'a Bytes>) -> bool {
        let place = |key: &Bytes| if self.members > 1 { slot_of(key).0 } else { self.group(key) };
        let Some(first) = keys.next().map(place) else { return true };
        keys.all(|key| place(key) == first)
    }

    /// How late it is where something was told with that stamp.
    fn late(&self, stamp: Stamp) -> Late {
        let WallTime(ms) = self.runtime.clock().wall();
        Late { stamp_ms: stamp.ms(), clock_ms: stamp.ms().max(ms) }
    }

    /// What is wanted of a step, when all of them have until then.
    pub(super) fn left(&self, mood: &Mood, until: Instant) -> Mood {
        mood.until(until, self.now())
    }

    /// An act that is one operation; otherwise the act.
    ///
    /// # Errors
    /// When it is none.
    pub fn direct(&self, act: Act) -> Result<Direct, Act> {
        let keys = act.keys();
        let mut groups = keys.iter().map(|key| self.group(key));
        let group = groups.next().unwrap_or_default();
        if keys.len() > GET_KEYS_MAX || groups.any(|other| other != group) {
            return Err(act);
        }
        Direct::new(act, group)
    }

    /// Does acts that are all reads or all writes.
    pub async fn run(&self, way: &mut Way, acts: Vec<Direct>, mood: &Mood) -> Vec<Said> {
        let (lane, until) = (self.lane(way.connection), self.now() + mood.within);
        let mut said = vec![None; acts.len()];
        let mut errands = errand::errands(&acts);
        while !errands.is_empty() {
            // Nothing that was begun waits unsent meanwhile. Without room the first one is refused.
            let _has_room = lane.has_room(until).await;
            let later = errands.split_off(errands.len().min(lane.room().max(1)));
            let mood = self.left(mood, until);
            let apart = self.run_some(way, (&acts, errands), &mood, &mut said).await;
            errands = apart.into_iter().map(|at| errand::alone(&acts, at)).chain(later).collect();
        }
        said.into_iter().map(|said| said.unwrap_or_else(direct::unknown)).collect()
    }

    /// The same, of so many errands as there is room for. Which of the acts are still to be done, each
    /// alone.
    async fn run_some(
        &self,
        way: &mut Way,
        (acts, errands): (&[Direct], Vec<Errand>),
        mood: &Mood,
        said: &mut [Option<Said>],
    ) -> Vec<usize> {
        let (lane, until) = (self.lane(way.connection), self.now() + mood.within);
        let (mut begun, mut known) = (Vec::with_capacity(errands.len()), Vec::new());
        for Errand { op, group, acts: of } in errands {
            let is_read = acts[of[0]].is_read();
            begun.push(lane.ask(op, if is_read { mood.read() } else { mood.write() }));
            known.push((group, is_read, of));
        }
        let answers = Ask::once_each(begun.iter_mut().flatten().collect()).await;
        let mut answers = answers.into_iter();
        let try_one = |ask| match ask {
            Ok(ask) => match answers.next().flatten() {
                Some(response) => Tried::Answered(response),
                None => Tried::Open(Box::new(ask)),
            },
            Err(refusal) => Tried::Ended(refusal),
        };
        let tried: Vec<Tried<'_, R>> = begun.into_iter().map(try_one).collect();
        // The last write of each group that was done, or may have been.
        let mut last = BTreeMap::new();
        for (at, ((group, is_read, _), tried)) in known.iter().zip(&tried).enumerate() {
            if !is_read && tried.may_be_done() {
                last.insert(*group, at);
            }
        }
        let mut apart = Vec::new();
        for (at, ((group, is_read, of), tried)) in known.into_iter().zip(tried).enumerate() {
            if is_read && of.len() > 1 {
                apart.extend(self.share(way, acts, of, tried, said));
                continue;
            }
            let is_behind = last.get(&group).is_some_and(|last| *last > at);
            let told = self.come_to(way, &acts[of[0]].act, tried, (is_behind, until), mood);
            let told = told.await;
            // What became of a write that several share became of all of them.
            of.iter().skip(1).for_each(|at| said[*at] = Some(told.clone()));
            said[of[0]] = Some(told);
        }
        apart
    }

    /// Gives reads that shared a request their answers. Which of them have none: all or nothing.
    fn share(
        &self,
        way: &mut Way,
        acts: &[Direct],
        of: Vec<usize>,
        tried: Tried<'_, R>,
        said: &mut [Option<Said>],
    ) -> Vec<usize> {
        let Tried::Answered(response) = tried else {
            mark!("resp: reads that shared a request are asked alone");
            return of;
        };
        way.heard(&response);
        let Response { told, outcome: Outcome::Ok(reply), .. } = response else {
            mark!("resp: reads that shared a request were refused together");
            return of;
        };
        let late = self.late(told.stamp);
        let mut found = match reply {
            Reply::Values(found) => found.into_iter(),
            _ => Vec::new().into_iter(),
        };
        for at in of {
            said[at] = Some(errand::shared(&acts[at].act, &mut found, late));
        }
        Vec::new()
    }

    /// What becomes of an errand after its first attempt.
    async fn come_to(
        &self,
        way: &mut Way,
        act: &Act,
        tried: Tried<'_, R>,
        (is_behind, until): (bool, Instant),
        mood: &Mood,
    ) -> Said {
        let response = match tried {
            Tried::Ended(refusal) => return direct::refused(refusal),
            Tried::Answered(response) => response,
            Tried::Open(ask) if is_behind => {
                mark!("resp: a write is not tried again behind a later one");
                ask.end()
            }
            Tried::Open(ask) => ask.finish().await,
        };
        way.heard(&response);
        match (act, &response.outcome) {
            (Act::MGet(_), Outcome::Refused(Refusal::TooLarge)) => {
                self.look_apart(way, act, &self.left(mood, until)).await
            }
            _ => self.told(act, response),
        }
    }

    /// Does one act, however that is done.
    pub async fn perform(&self, way: &mut Way, act: Act, mood: &Mood) -> Said {
        let act = match self.direct(act) {
            Ok(direct) => return self.alone(way, direct, mood).await,
            Err(act) => act,
        };
        match &act {
            Act::MGet(_) | Act::Exists(_) => self.look_apart(way, &act, mood).await,
            Act::Del(keys) => {
                let parts = self.parts(keys, |key| key);
                let parts = parts.iter().flat_map(|part| part.chunks(GET_KEYS_MAX));
                let parts = parts.map(|part| Act::Del(part.to_vec()));
                self.sum(way, parts.collect(), mood).await
            }
            Act::MSet(pairs) => {
                let parts = self.parts(pairs, |(key, _)| key).into_iter().map(Act::MSet);
                self.sum(way, parts.collect(), mood).await
            }
            act => {
                let acts = std::slice::from_ref(act);
                first(self.transact(way, acts, &Watched::new(), mood).await)
            }
        }
    }

    /// Does a read of several keys in as many pieces as it takes.
    async fn look_apart(&self, way: &mut Way, act: &Act, mood: &Mood) -> Said {
        let whole = matches!(act, Act::MGet(_)).then_some(Whole::MayBreak);
        match self.read_apart(way, &act.keys(), whole, mood).await {
            Ok(read) => direct::render(act, Reply::Values(read.found), self.late(read.stamp)),
            Err(said) => said,
        }
    }

    /// Does an act, and tells what it came to.
    pub(super) async fn explain(&self, way: &mut Way, act: Act, mood: &Mood) -> Explained {
        way.explain(self.now());
        let said = self.perform(way, act, mood).await;
        way.explained(said, self.now())
    }

    /// Asks the cluster. Each attempt is written down where somebody wants to know.
    pub(super) async fn call(&self, way: &mut Way, op: Op, wish: Wish) -> Response {
        let lane = self.lane(way.connection);
        let response = match way.is_explained() {
            true => self.call_slowly(way, op, wish).await,
            false => lane.call(op, wish).await,
        };
        way.heard(&response);
        response
    }

    /// The same, attempt by attempt.
    async fn call_slowly(&self, way: &mut Way, op: Op, wish: Wish) -> Response {
        let (lane, until) = (self.lane(way.connection), self.now() + wish.within);
        if !lane.has_room(until).await {
            return lane.call(op, wish).await;
        }
        let group = op.keys().next().map_or(0, |key| u32::from(self.group(key)) + 1);
        let asked = (group, matches!(op, Op::Write(_)));
        let mut ask = match lane.ask(op, Wish { within: until.since(self.now()), ..wish }) {
            Ok(ask) => ask,
            Err(refusal) => {
                let (told, outcome) = (Told::default(), Outcome::Refused(refusal));
                return Response { sequence: Sequence(0), told, outcome };
            }
        };
        loop {
            let began = self.now();
            let response = ask.once().await;
            way.note(asked, (began, self.now()), ask.last(), response.as_ref());
            if let Some(response) = response {
                return response;
            }
        }
    }

    async fn alone(&self, way: &mut Way, direct: Direct, mood: &Mood) -> Said {
        if way.is_explained() {
            let acts = [direct];
            let Errand { op, .. } = errand::alone(&acts, 0);
            let wish = if acts[0].is_read() { mood.read() } else { mood.write() };
            let tried = Tried::Answered(self.call(way, op, wish).await);
            let until = self.now() + mood.within;
            return self.come_to(way, &acts[0].act, tried, (false, until), mood).await;
        }
        let said = self.run(way, vec![direct], mood).await;
        said.into_iter().next().unwrap_or(Said::Nothing)
    }

    /// The same things by their groups.
    fn parts<T: Clone>(&self, all: &[T], key: impl Fn(&T) -> &Bytes) -> Vec<Vec<T>> {
        let mut parts: BTreeMap<u16, Vec<T>> = BTreeMap::new();
        for one in all {
            parts.entry(self.group(key(one))).or_default().push(one.clone());
        }
        parts.into_values().collect()
    }

    /// Does the parts of an act one after the other: what they number together, or the first error.
    /// Behind a part that was done nothing says any more that nothing happened.
    async fn sum(&self, way: &mut Way, parts: Vec<Act>, mood: &Mood) -> Said {
        if let Some(refusal) = parts.iter().find_map(direct::refusal) {
            return direct::refused(refusal);
        }
        let until = self.now() + mood.within;
        let (mut sum, mut is_begun) = (None, false);
        for act in parts {
            let is_generous = planted!("resp_each_part_has_the_whole_time");
            let left = if is_generous { *mood } else { self.left(mood, until) };
            let said = match self.direct(act) {
                Ok(direct) => self.alone(way, direct, &left).await,
                Err(act) => {
                    let acts = std::slice::from_ref(&act);
                    first(self.change(way, acts, &Watched::new(), &left).await)
                }
            };
            match said {
                Said::Number(number) => sum = Some(sum.unwrap_or(0) + number),
                Said::Error(_) if is_begun && planted!("resp_part_of_an_act_is_called_nothing") => {
                    return direct::refused(Refusal::TooLate);
                }
                Said::Error(why) if is_begun => {
                    mark!("resp: a part was done and another one was not");
                    return direct::partly(&why);
                }
                Said::Error(why) => return Said::Error(why),
                _ => {}
            }
            is_begun = true;
        }
        sum.map_or(Said::Ok, Said::Number)
    }

    /// Does acts as one: all of them at one moment, or none.
    pub async fn transact(
        &self,
        way: &mut Way,
        acts: &[Act],
        watched: &Watched,
        mood: &Mood,
    ) -> Executed {
        let named = acts.iter().flat_map(Act::keys);
        if !self.lie_together(named.chain(watched.keys())) {
            return Executed::Failed(Said::Error(Cow::Borrowed(CROSSSLOT)));
        }
        self.change(way, acts, watched, mood).await
    }

    /// The same, of keys of one group.
    async fn change(
        &self,
        way: &mut Way,
        acts: &[Act],
        watched: &Watched,
        mood: &Mood,
    ) -> Executed {
        let until = self.now() + mood.within;
        let mut needed: Vec<&Bytes> =
            acts.iter().flat_map(Act::needs).chain(watched.keys()).collect();
        needed.sort_unstable();
        needed.dedup();
        // What is only deleted may be as long as it likes.
        let wants = acts.iter().any(Act::looks_into_values).then_some(Whole::OneMoment);
        // More are not read at one moment.
        if needed.len() > GET_KEYS_MAX {
            return Executed::Failed(direct::refused(Refusal::TooLarge));
        }
        loop {
            let left = Mood { reads: Level::Strong, ..self.left(mood, until) };
            let read = match self.read_apart(way, &needed, wants, &left).await {
                Ok(read) => read,
                Err(said) => return Executed::Failed(said),
            };
            let version = |found: &Option<Found>| found.as_ref().map(|found| found.version);
            let mut scratch = Scratch::new(self.late(read.stamp));
            for (key, found) in needed.iter().zip(read.found) {
                let is_new = watched.get(*key).is_some_and(|known| *known != version(&found));
                if is_new && !planted!("resp_exec_does_not_look_at_what_is_watched") {
                    return Executed::Changed;
                }
                scratch.learn(Bytes::clone(key), found);
            }
            let said = match scratch.perform_all(acts) {
                Ok(said) => said,
                Err(refusal) => return Executed::Failed(direct::refused(refusal)),
            };
            let transaction = match scratch.transaction() {
                Ok(Some(transaction)) => transaction,
                Ok(None) => return Executed::Done(said),
                Err(refusal) => return Executed::Failed(direct::refused(refusal)),
            };
            let op = Op::Write(Command::Transaction(transaction));
            let left = self.left(mood, until);
            match self.call(way, op, left.write()).await.outcome {
                Outcome::Ok(Reply::Conflict { .. }) if self.now() < until => {
                    mark!("resp: a key has changed between reading and writing");
                }
                Outcome::Ok(Reply::Conflict { .. }) => {
                    let why = "UNAVAILABLE others changed the keys all the time; nothing happened";
                    return Executed::Failed(Said::Error(Cow::Borrowed(why)));
                }
                Outcome::Ok(Reply::Failed { failure, .. }) => {
                    return Executed::Failed(direct::failed(failure));
                }
                Outcome::Ok(_) => return Executed::Done(said),
                Outcome::Refused(refusal) => return Executed::Failed(direct::refused(refusal)),
                Outcome::Unknown => return Executed::Failed(direct::unknown()),
            }
        }
    }

    /// The versions of keys, for WATCH.
    ///
    /// # Errors
    /// What to answer when they cannot be read.
    pub async fn versions(
        &self,
        way: &mut Way,
        keys: &[Bytes],
        mood: &Mood,
    ) -> Result<Watched, Said> {
        let strong = Mood { reads: Level::Strong, ..*mood };
        let all: Vec<&Bytes> = keys.iter().collect();
        let read = self.read_apart(way, &all, None, &strong).await?;
        let versions = read.found.into_iter().map(|found| found.map(|found| found.version));
        Ok(keys.iter().cloned().zip(versions).collect())
    }

    /// What keys have, each group's at a moment of its own; with their values when those are wanted.
    async fn read_apart(
        &self,
        way: &mut Way,
        keys: &[&Bytes],
        wants: Option<Whole>,
        mood: &Mood,
    ) -> Result<Read, Said> {
        let until = self.now() + mood.within;
        let mut read = Read { stamp: Stamp(0), found: vec![None; keys.len()] };
        let mut bytes = 0;
        let mut parts: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            parts.entry(self.group(key)).or_default().push(at);
        }
        let mut pieces: VecDeque<&[usize]> =
            parts.values().flat_map(|all| all.chunks(GET_KEYS_MAX)).collect();
        while let Some(piece) = pieces.pop_front() {
            let piece_keys = piece.iter().map(|at| keys[*at].clone()).collect();
            let op = if wants.is_some() { Op::GetMany(piece_keys) } else { Op::Look(piece_keys) };
            let left = self.left(mood, until);
            let response = self.call(way, op, left.read()).await;
            match response.outcome {
                Outcome::Ok(Reply::Values(values)) => {
                    read.stamp = read.stamp.max(response.told.stamp);
                    for (at, found) in piece.iter().zip(values) {
                        bytes += found.as_ref().map_or(0, |found| found.value.len());
                        read.found[*at] = found;
                    }
                    if bytes > RESP_READ_BYTES_MAX {
                        return Err(direct::too_much_read(wants == Some(Whole::MayBreak)));
                    }
                }
                // Values of one answer: half of the keys have about half of them.
                Outcome::Refused(Refusal::TooLarge)
                    if wants == Some(Whole::MayBreak) && piece.len() > 1 =>
                {
                    mark!("resp: values that do not fit one answer are read in pieces");
                    let (first, second) = piece.split_at(piece.len() / 2);
                    pieces.push_front(second);
                    pieces.push_front(first);
                }
                Outcome::Refused(refusal) => return Err(direct::refused(refusal)),
                Outcome::Ok(_) | Outcome::Unknown => return Err(direct::unknown()),
            }
        }
        Ok(read)
    }

    fn told(&self, act: &Act, response: Response) -> Said {
        match response.outcome {
            Outcome::Ok(reply) => direct::render(act, reply, self.late(response.told.stamp)),
            Outcome::Refused(refusal) => direct::refused(refusal),
            Outcome::Unknown => direct::unknown(),
        }
    }
}

/// How values are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// Those of a group as they are at one moment.
    OneMoment,
    /// In pieces when they do not fit one answer.
    MayBreak,
}

/// What a single act was answered.
fn first(executed: Executed) -> Said {
    match executed {
        Executed::Done(said) => said.into_iter().next().unwrap_or(Said::Nothing),
        Executed::Changed => Said::Nothing,
        Executed::Failed(said) => said,
    }
}

/// An errand whose first attempt was made.
enum Tried<'a, R: Runtime> {
    Answered(Response),
    Open(Box<Ask<'a, R>>),
    Ended(Refusal),
}

impl<R: Runtime> Tried<'_, R> {
    /// Whether it was done, or may have been.
    fn may_be_done(&self) -> bool {
        match self {
            Self::Answered(response) => !matches!(response.outcome, Outcome::Refused(_)),
            Self::Open(ask) => ask.may_be_done(),
            Self::Ended(_) => false,
        }
    }
}
