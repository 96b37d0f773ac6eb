//! The desk: what a route asks of the cluster, and what the cluster said as an answer.
//!
//! ```text
//!   GET, PUT, DELETE   one operation, at the leader or wherever the level lets it be
//!   a list             a page of every group, merged in the order of keys
//!   a batch            one step after the other, or one transaction
//!   /readyz            a linearizable question to every group
//! ```
//! Also strangers may ask `/readyz`, as often as they like: the groups are asked by one of them at a time,
//! and what he heard is told to all who come within a moment.
//!
//! Whatever happens to a request, its answer says whether it may have happened.
//!
//! # A page over groups
//! Each group answers with its first keys, and with the last of them when there are more. Behind the
//! lowest of those last ones, keys of that group may be missing; so the page ends there.
//!
//! Not here: who leads (`client`), paths (`route.rs`), bytes (`serve.rs`), who may ask (`guard.rs`).

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;
use trilith_engine::{
    command::{
        Command, Condition, Found, Op, Outcome, Phases, Reply, Response, STALENESS_UNKNOWN_MS,
        Scan, Told, Transaction,
    },
    planted,
    runtime::{Clock, Instant, Runtime, WallTime},
    store::slots::{group_of, slot_of},
    types::{GroupId, Version},
};

use super::{
    answer::{Answer, BYTES, Certainty, Problem},
    batch::{self, Batch, Item},
    cut::Request,
    guard, login,
    percent::encode,
    route::{KEYSPACE, Known, List, Route, level_name, route},
};
use crate::{
    client::{Client, Wish},
    facts::Facts,
    gate::{Gate, Guesses},
    held::Room,
    limits::{HTTP_ARRIVES_WITHIN, HTTP_BODY_BYTES_MAX, HTTP_PAGE_BYTES},
    meters::Meters,
    metrics::{self, Seen, Source},
};

/// How long `/readyz` waits for all groups.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// For so long what was found then is told to others too.
const READY_KEPT: Duration = Duration::from_millis(100);
/// How often it is looked whether somebody else has heard it.
const READY_LOOKS: Duration = Duration::from_millis(5);

/// What programs are told that there is.
const OPENAPI: &str = include_str!("openapi.json");

/// The cluster, as HTTP clients of this node see it.
pub struct Desk<R: Runtime> {
    runtime: R,
    lanes: Arc<[Client<R>]>,
    gate: Arc<Gate<R>>,
    groups: u16,
    /// Whether keys may come to lie apart that lie together now.
    is_cluster: bool,
    facts: Facts,
    /// Names that the operator has given it.
    names: Vec<String>,
    /// What is wanted where nothing is said.
    usual: Wish,
    /// Whether the node has been told to end.
    ends: Arc<AtomicBool>,
    began: Instant,
    began_at: WallTime,
    requests: AtomicU64,
    readiness: Mutex<Readiness>,
    source: Source,
}

/// How the groups were when they were asked last.
#[derive(Default)]
struct Readiness {
    /// When that was over, and what is wrong with each, if anything.
    seen: Option<(Instant, Arc<[Option<String>]>)>,
    /// Whether somebody asks them now.
    is_asked: bool,
}

/// Somebody asks them, until he has heard or is gone.
struct Asking<'a>(&'a Mutex<Readiness>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_asked = false;
    }
}

/// How a node is.
#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    node: u64,
    directory: String,
    keyspaces: [&'a str; 1],
    groups: u16,
    uptime_seconds: u64,
    http_requests: u64,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    version: u64,
    /// What increments came to, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<i64>,
}

/// A page of keys.
#[derive(Serialize)]
struct Page {
    items: Vec<Item>,
    /// Where the next one is; nothing when this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What a step of a batch came to.
#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Found(Item),
    Written(Written),
    Problem(Problem),
}

/// What all steps of a batch came to.
#[derive(Serialize)]
struct Results {
    results: Vec<Done>,
}

/// Keys of several groups, in order, as far as nothing is missing among them.
struct Merged {
    items: Vec<(Bytes, Found)>,
    /// Behind this key something may be missing.
    ends: Option<Bytes>,
}

impl<R: Runtime> Desk<R> {
    /// Over these clients, of a cluster whose slots are split over so many groups.
    #[must_use]
    pub(crate) fn new(
        runtime: R,
        (lanes, gate): (Arc<[Client<R>]>, Arc<Gate<R>>),
        (groups, is_cluster): (u16, bool),
        (facts, names): (Facts, Vec<String>),
        within: Duration,
        ends: Arc<AtomicBool>,
        source: Source,
    ) -> Self {
        let (began, began_at) = (runtime.clock().now(), runtime.clock().wall());
        let (requests, usual) = (AtomicU64::new(0), Wish::strong(within));
        Self {
            runtime,
            lanes,
            gate,
            groups,
            is_cluster,
            facts,
            names,
            usual,
            ends,
            began,
            began_at,
            requests,
            readiness: Mutex::default(),
            source,
        }
    }

    /// What is counted.
    pub(super) fn meters(&self) -> &Arc<Meters> {
        self.source.meters()
    }

    pub(super) const fn runtime(&self) -> &R {
        &self.runtime
    }

    fn now(&self) -> Instant {
        self.runtime.clock().now()
    }

    async fn call(&self, connection: u64, op: Op, wish: Wish) -> Response {
        let lane = &self.lanes[(connection % self.lanes.len().max(1) as u64) as usize];
        lane.call(op, wish).await
    }

    /// Whether nobody is asked who he is.
    pub(super) fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether whoever sends this may ask it, as far as its head tells.
    pub(super) async fn admits(
        &self,
        request: &Request,
        guesses: &mut Guesses,
    ) -> Result<(), Problem> {
        guard::may(request, &self.names)?;
        login::may(&self.gate, request, guesses).await
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        connection: u64,
        request: &Request,
        (room, guesses): (&mut Room<'_>, &mut Guesses),
    ) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let began = self.now();
        let admitted = self.admits(request, guesses).await;
        let asked = admitted.and_then(|()| route(request, self.usual));
        let done = match asked {
            Ok(route) => self.perform(connection, route, room).await,
            Err(problem) => Err(problem),
        };
        let answer = done.unwrap_or_else(|problem| problem.answer());
        self.meters().answered(answer.status, self.now().since(began));
        answer
    }

    async fn perform(
        &self,
        connection: u64,
        route: Route,
        room: &mut Room<'_>,
    ) -> Result<Answer, Problem> {
        match route {
            Route::Live => Ok(Answer::text(200, "ok\n".to_owned())),
            Route::Ready { is_verbose } => self.ready(connection, is_verbose).await,
            Route::Status => Ok(Answer::json(200, &self.status())),
            Route::Metrics => Ok(self.metrics().await),
            Route::OpenApi => Ok(Answer::json_text(OPENAPI)),
            Route::List(list) => self.list(connection, &list).await,
            Route::Get { key, wish, as_json, known } => {
                let response = self.call(connection, Op::Get(key.clone()), wish).await;
                get(&key, response, as_json, &known)
            }
            Route::Put { key, value, expiry, condition } => {
                let command = Command::Set { key, value, expiry, condition, want_old: false };
                self.write(connection, command).await
            }
            Route::Delete { key, condition } => {
                self.write(connection, Command::Delete { key, condition, want_old: false }).await
            }
            Route::Batch(body) => match batch::read(&body)? {
                Batch::Steps(steps) => self.steps(connection, steps, room).await,
                Batch::Atomic(transaction, of) => self.transact(connection, transaction, &of).await,
            },
        }
    }

    fn status(&self) -> Status<'_> {
        let facts = &self.facts;
        Status {
            version: facts.version,
            node: facts.node.0,
            directory: facts.directory.to_string(),
            keyspaces: [KEYSPACE],
            groups: self.groups,
            uptime_seconds: self.now().since(self.began).as_secs(),
            http_requests: self.requests.load(Ordering::Relaxed),
        }
    }

    /// Everything that there is to be measured.
    async fn metrics(&self) -> Answer {
        let seen = self.source.look(&self.runtime).await;
        let Facts { version, node, .. } = self.facts;
        let (began, uptime) = (self.began_at, self.now().since(self.began));
        Answer::metrics(metrics::page(&Seen { version, node, began, uptime, ..seen }))
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<R> {
        (1..=u32::from(self.groups)).map(GroupId)
    }

    /// Ready is who can have every group asked now, and does not end.
    async fn ready(&self, connection: u64, is_verbose: bool) -> Result<Answer, Problem> {
        if self.ends.load(Ordering::Relaxed) {
            return Err(Problem::new(503, "STOPPING", "the node ends", "ask another one"));
        }
        let (mut told, mut lacks) = (String::new(), 0);
        for (group, trouble) in self.groups().zip(self.readiness(connection).await.iter()) {
            lacks += u32::from(trouble.is_some());
            if is_verbose {
                let why = trouble.as_deref().unwrap_or("ok");
                // Writing into a string does not fail.
                let _written = writeln!(told, "group {group}: {why}");
            }
        }
        let (whole, status) = if lacks == 0 { ("ready", 200) } else { ("not ready", 503) };
        let answer = u32::from(self.groups) - lacks;
        let sum = format!("{whole}: {answer} of {} groups answer\n", self.groups);
        Ok(Answer::text(status, told + &sum))
    }

    /// What is wrong with each group, as it was a moment ago.
    async fn readiness(&self, connection: u64) -> Arc<[Option<String>]> {
        let lock = || self.readiness.lock().unwrap_or_else(PoisonError::into_inner);
        let _asking = loop {
            let now = self.now();
            {
                let mut readiness = lock();
                if let Some((at, seen)) = &readiness.seen
                    && now.since(*at) < READY_KEPT
                {
                    return Arc::clone(seen);
                }
                if !std::mem::replace(&mut readiness.is_asked, true) {
                    break Asking(&self.readiness);
                }
            }
            self.runtime.clock().sleep_until(now + READY_LOOKS).await;
        };
        let wish = Wish::strong(READY_WITHIN);
        let asked = self.groups().map(async |group| {
            match self.call(connection, Op::Count(group), wish).await.outcome {
                Outcome::Ok(_) => None,
                Outcome::Refused(refusal) => Some(refusal.to_string()),
                Outcome::Unknown => Some("no answer".to_owned()),
            }
        });
        let seen: Arc<[Option<String>]> = join_all(asked).await.into();
        lock().seen = Some((self.now(), Arc::clone(&seen)));
        seen
    }

    async fn write(&self, connection: u64, command: Command) -> Result<Answer, Problem> {
        let is_delete = matches!(command, Command::Delete { condition: Condition::Always, .. });
        let response = self.call(connection, Op::Write(command), self.usual).await;
        let written = written(&response, is_delete)?;
        let answer = Answer::json(200, &written).with("etag", tag(Version(written.version)));
        Ok(told(answer, &response.told))
    }

    async fn transact(
        &self,
        connection: u64,
        transaction: Transaction,
        of: &[usize],
    ) -> Result<Answer, Problem> {
        // Where there are no other nodes nothing is ever moved elsewhere.
        let place = |key: &[u8]| match slot_of(key) {
            slot if self.is_cluster => slot.0,
            slot => group_of(slot, self.groups),
        };
        let places: BTreeSet<u16> = transaction.keys().map(place).collect();
        if places.len() > 1 {
            let hint = "give them one {tag}, or leave out \"atomic\"";
            return Err(Problem::new(400, "CROSSSLOT", "the keys are not of one slot", hint));
        }
        let op = Op::Write(Command::Transaction(transaction));
        let response = self.call(connection, op, self.usual).await;
        if let Outcome::Ok(Reply::Conflict { check, found }) = response.outcome {
            let step = of.get(check as usize).copied().unwrap_or_default();
            return Err(unmet(409, format!("step {step}: what must be so is not"), found));
        }
        let answer = Answer::json(200, &written(&response, false)?);
        Ok(told(answer, &response.told))
    }

    /// One after the other. What is read together is bounded; and behind a step in doubt nothing is
    /// begun, for that one may still come after it.
    async fn steps(
        &self,
        connection: u64,
        steps: Vec<Op>,
        room: &mut Room<'_>,
    ) -> Result<Answer, Problem> {
        room.is_read = steps.iter().all(|op| matches!(op, Op::Get(_)));
        let (until, mut held, mut is_in_doubt) = (self.now() + HTTP_ARRIVES_WITHIN, 0, false);
        let mut results = Vec::with_capacity(steps.len());
        for op in steps {
            let is_read = matches!(&op, Op::Get(_));
            if is_in_doubt {
                let (what, hint) = ("a step before it is in doubt", "look what became of that one");
                results.push(Done::Problem(Problem::new(503, "NOT_BEGUN", what, hint)));
                continue;
            }
            if is_read && held > HTTP_BODY_BYTES_MAX {
                let (what, hint) = ("the answer would be too large", "ask for it in another batch");
                results.push(Done::Problem(Problem::new(413, "TOO_LARGE", what, hint)));
                continue;
            }
            let within = self.usual.within.min(until.since(self.now()));
            let mut done = self.step(connection, op, Wish { within, ..self.usual }).await;
            match &done {
                Done::Found(item) if room.gathers(held + item.bytes()) => held += item.bytes(),
                Done::Found(_) if room.is_read => return Err(Problem::crowded()),
                Done::Found(_) => done = Done::Problem(Problem::crowded()),
                Done::Problem(problem) => is_in_doubt = problem.happened == Certainty::Unknown,
                Done::Written(_) => {}
            }
            results.push(done);
        }
        Ok(Answer::json(200, &Results { results }))
    }

    async fn step(&self, connection: u64, op: Op, wish: Wish) -> Done {
        let key = match &op {
            Op::Get(key) => Some(key.clone()),
            _ => None,
        };
        let is_delete =
            matches!(&op, Op::Write(Command::Delete { condition: Condition::Always, .. }));
        let response = self.call(connection, op, wish).await;
        match key {
            Some(key) => found(response)
                .map_or_else(Done::Problem, |found| Done::Found(Item::new(&key, &found, true))),
            None => written(&response, is_delete).map_or_else(Done::Problem, Done::Written),
        }
    }

    async fn list(&self, connection: u64, list: &List) -> Result<Answer, Problem> {
        let mut merged = Merged { items: Vec::new(), ends: None };
        let mut worth: Option<Told> = None;
        let until = self.now() + list.wish.within;
        for group in self.groups() {
            let bytes_max = HTTP_PAGE_BYTES as u32;
            let mut scan = Scan::of_prefix(group, &list.prefix, list.limit, bytes_max);
            scan.has_values = list.has_values;
            if let Some(after) = list.after.as_ref().filter(|after| **after >= list.prefix) {
                scan.start = Bound::Excluded(after.clone());
            }
            let wish = Wish { within: until.since(self.now()), ..list.wish };
            let Response { outcome, told, .. } = self.call(connection, Op::Scan(scan), wish).await;
            match outcome {
                Outcome::Ok(Reply::Page { items, next }) => {
                    merged.add(items, next, list.limit as usize);
                }
                Outcome::Refused(refusal) => return Err(Problem::refused(refusal)),
                Outcome::Ok(_) | Outcome::Unknown => return Err(not_read()),
            }
            worth = Some(worth.map_or(told, |worth| Told {
                level: worth.level.min(told.level),
                staleness_ms: worth.staleness_ms.max(told.staleness_ms),
                phases: worth.phases.then(told.phases),
                ..worth
            }));
        }
        let next = merged.ends.map(|after| {
            let values = if list.has_values { "&values" } else { "" };
            let (prefix, after) = (encode(&list.prefix), encode(&after));
            let (limit, level) = (list.limit, level_name(list.wish.level));
            let stale = match list.wish.staleness_ms {
                0 => String::new(),
                ms => format!("&max_stale_ms={ms}"),
            };
            format!(
                "/v1/kv/{KEYSPACE}?prefix={prefix}&after={after}&limit={limit}{values}\
                 &consistency={level}{stale}"
            )
        });
        let item = |(key, found): &(Bytes, Found)| Item::new(key, found, list.has_values);
        let page = Page { items: merged.items.iter().map(item).collect(), next };
        Ok(told(Answer::json(200, &page), &worth.unwrap_or_default()))
    }
}

impl Merged {
    /// A group's page joins. What is kept stays within the limits of one page.
    fn add(&mut self, items: Vec<(Bytes, Found)>, next: Option<Bytes>, limit: usize) {
        self.items.extend(items);
        self.items.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.ends = match (self.ends.take(), next) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Some(end) = &self.ends {
            let behind = self.items.partition_point(|(key, _)| key <= end);
            self.items.truncate(behind);
        }
        let mut bytes = 0;
        let fits = self.items.iter().take(limit).take_while(|(key, found)| {
            let has_room = bytes < HTTP_PAGE_BYTES;
            bytes += key.len() + found.value.len();
            has_room
        });
        let kept = fits.count();
        if kept < self.items.len() {
            self.items.truncate(kept);
            self.ends = self.items.last().map(|(key, _)| key.clone());
        }
    }
}

/// What a read was not told, though nothing was to happen.
fn not_read() -> Problem {
    Problem::new(503, "UNAVAILABLE", "no answer came in time", "ask again, or another node")
}

fn tag(version: Version) -> String {
    format!("\"{}\"", version.0)
}

/// What an answer is worth is said beside it.
fn told(answer: Answer, told: &Told) -> Answer {
    let staleness = match told.staleness_ms {
        STALENESS_UNKNOWN_MS => "unknown".to_owned(),
        ms => ms.to_string(),
    };
    answer
        .with("trilith-level", level_name(told.level).to_owned())
        .with("trilith-staleness-ms", staleness)
        .with("server-timing", timing(told.phases))
}

/// Where its time went in the node that answered, in milliseconds: browsers and proxies show it.
fn timing(phases: Phases) -> String {
    let one = |(name, us)| format!("{name};dur={}.{:03}", us / 1000, us % 1000);
    phases.named().map(one).join(", ")
}

fn found(response: Response) -> Result<Found, Problem> {
    match response.outcome {
        Outcome::Ok(Reply::Value(Some(found))) => Ok(found),
        Outcome::Ok(Reply::Value(None)) => Err(absent()),
        Outcome::Refused(refusal) => Err(Problem::refused(refusal)),
        Outcome::Ok(_) | Outcome::Unknown => Err(not_read()),
    }
}

fn absent() -> Problem {
    Problem::new(404, "NOT_FOUND", "the key is not there", "write it: PUT to the same path")
}

fn get(key: &[u8], response: Response, as_json: bool, known: &Known) -> Result<Answer, Problem> {
    let worth = response.told;
    let found = match found(response) {
        Ok(found) => found,
        // That it is not there is worth no more than what is there would be.
        Err(problem) if problem.status == 404 => return Ok(told(problem.answer(), &worth)),
        Err(problem) => return Err(problem),
    };
    let answer = if known.has(found.version) {
        Answer::of(304, BYTES, Bytes::new())
    } else if as_json {
        Answer::json(200, &Item::new(key, &found, true))
    } else {
        Answer::of(200, BYTES, found.value.clone())
    };
    let answer = answer.with("etag", tag(found.version));
    let answer = match found.expires_ms {
        Some(ms) => answer.with("trilith-expires-at-ms", ms.to_string()),
        None => answer,
    };
    Ok(told(answer, &worth))
}

/// What came of a write. Deleting what is not there is no unmet condition when none was said.
fn written(response: &Response, is_delete: bool) -> Result<Written, Problem> {
    let reply = match &response.outcome {
        Outcome::Ok(reply) => reply,
        Outcome::Refused(refusal) => return Err(Problem::refused(*refusal)),
        Outcome::Unknown if planted!("http_unknown_is_told_as_nothing") => return Err(not_read()),
        Outcome::Unknown => return Err(Problem::unknown()),
    };
    let one = |version: &Version, numbers| Ok(Written { version: version.0, numbers });
    match reply {
        Reply::Done { version, .. } | Reply::Length { version, .. } => one(version, Vec::new()),
        Reply::Number { number, version } => one(version, vec![*number]),
        Reply::Committed { version, numbers } => one(version, numbers.clone()),
        Reply::Unmet { found: None, .. } if is_delete => Err(absent()),
        Reply::Unmet { found, .. } => Err(unmet(412, "what must be so is not", *found)),
        Reply::Conflict { found, .. } => Err(unmet(409, "what must be so is not", *found)),
        Reply::Failed { failure, .. } => Err(Problem::failed(*failure)),
        Reply::Value(_)
        | Reply::Values(_)
        | Reply::Page { .. }
        | Reply::Count(_)
        | Reply::Cut(_)
        | Reply::Replacing(_) => Err(Problem::unknown()),
    }
}

fn unmet(
    status: u16,
    what: impl Into<std::borrow::Cow<'static, str>>,
    found: Option<Version>,
) -> Problem {
    let code = if status == 409 { "CONFLICT" } else { "PRECONDITION" };
    let hint = "read it again, and decide anew";
    Problem { version: found.map(|version| version.0), ..Problem::new(status, code, what, hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(keys: &[&'static str]) -> Vec<(Bytes, Found)> {
        let found = || Found { version: Version(1), expires_ms: None, value: Bytes::new() };
        keys.iter().map(|key| (Bytes::from_static(key.as_bytes()), found())).collect()
    }

    type Pages<'a> = &'a [(&'a [&'static str], Option<&'static str>)];

    fn merged(pages: Pages<'_>, limit: usize) -> (Vec<Bytes>, Option<Bytes>) {
        let mut merged = Merged { items: Vec::new(), ends: None };
        for (keys, next) in pages {
            merged.add(items(keys), next.map(|next| Bytes::from_static(next.as_bytes())), limit);
        }
        (merged.items.into_iter().map(|(key, _)| key).collect(), merged.ends)
    }

    fn check(pages: Pages<'_>, limit: usize, expected: (&[&'static str], Option<&'static str>)) {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let expected: (Vec<Bytes>, _) =
            (expected.0.iter().map(|key| bytes(key)).collect(), expected.1.map(bytes));
        assert_eq!(merged(pages, limit), expected, "{pages:?}");
    }

    #[test]
    fn a_page_ends_where_a_group_may_have_more() {
        check(&[(&["a", "d"], None), (&["b", "c"], None)], 10, (&["a", "b", "c", "d"], None));
        // The second group may have something between b and d.
        check(&[(&["a", "d"], None), (&["b"], Some("b"))], 10, (&["a", "b"], Some("b")));
        check(
            &[(&["c"], Some("c")), (&["b"], Some("b")), (&["a"], None)],
            10,
            (&["a", "b"], Some("b")),
        );
        check(&[(&["b"], Some("b")), (&["c"], Some("c"))], 10, (&["b"], Some("b")));
        // The limit ends it, too.
        check(&[(&["a", "c"], None), (&["b"], None)], 2, (&["a", "b"], Some("b")));
        check(&[(&["a", "c"], None), (&["b"], None)], 3, (&["a", "b", "c"], None));
        check(&[], 3, (&[], None));
    }

    #[test]
    fn a_page_of_long_values_is_short() {
        let mut merged = Merged { items: Vec::new(), ends: None };
        let mut long = items(&["a", "b", "c"]);
        for (_, found) in &mut long {
            found.value = Bytes::from(vec![0; HTTP_PAGE_BYTES]);
        }
        merged.add(long, None, 10);
        assert_eq!(merged.items.len(), 1, "one in any case");
        assert_eq!(merged.ends, Some(Bytes::from_static(b"a")));
    }
}
