//! A client of the cluster that speaks HTTP, at the port where nodes serve it.
//!
//! It asks one node at a time, whichever, and goes to another one when its connection ends. It says
//! its requests in pieces of any length, bodies with a length or in chunks, and while faults happen
//! it also stops in the middle of them, says what is no request, and asks as a foreign web page does.
//!
//! Where there are users it says with each request who it is, and sometimes not, or a wrong password.
//!
//! A compare-and-swap is a GET and a PUT with the version that was told. Every value is set once, so
//! another version is another value. A walk over all pages has seen every key at some moment between
//! its first request and its last answer, also those that it has not met. Now and then it asks a node
//! what it measures of itself.
//!
//! Not here: what is asked (`load`), the other clients (`cluster_client`, `cluster_redis`).

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value as Json;
use trilith_engine::{
    always, mark, never,
    runtime::{Instant, Rng, Runtime, timeout},
};

use super::{
    cluster_client::{Setup, key_bytes},
    cluster_guest::{Guest, Lost, Place, USERS, number},
    cluster_measures::Measures,
};
use crate::{
    history::{Answer, Call, Key, OpId, Outcome},
    load::{Ask, Planned},
    os::SimRuntime,
};

/// Runs the client to the end of its plan.
pub(super) async fn run(rt: SimRuntime, place: Place, setup: Setup) {
    let measures = Measures::default();
    let mut client = Http { guest: Guest::new(rt, "http", place, setup), measures };
    let plan = Arc::clone(&client.guest.setup.plan);
    for planned in plan.iter() {
        client.guest.waits_for(planned).await;
        client.operation(planned).await;
    }
}

/// What is asked.
struct Question {
    method: &'static str,
    target: String,
    /// A header beside those that are always there.
    header: String,
    body: Option<Vec<u8>>,
}

/// What a node answers.
#[derive(Clone, Debug)]
struct Heard {
    status: u16,
    /// Names in small letters.
    headers: BTreeMap<String, String>,
    body: Bytes,
}

type Told = Result<Heard, Lost>;

impl Heard {
    /// Whether what was asked was understood, and could not be done.
    const fn is_excused(&self) -> bool {
        matches!(self.status, 503 | 504 | 507)
    }
}

struct Http {
    guest: Guest,
    /// What nodes have told it of themselves.
    measures: Measures,
}

impl Question {
    fn new(method: &'static str, key: Key, body: Option<Vec<u8>>) -> Self {
        let target = format!("/v1/kv/default/{}", name(key));
        Self { method, target, header: String::new(), body }
    }

    fn of_batch(step: String) -> Self {
        let body = format!("{{\"ops\": [{step}]}}").into_bytes();
        let target = "/v1/batch".to_owned();
        Self { method: "POST", target, header: String::new(), body: Some(body) }
    }

    fn with(self, header: String) -> Self {
        Self { header, ..self }
    }

    /// Its bytes, from somebody who says this of himself. A body in chunks comes in two of them.
    fn encoded(&self, by: &str, in_chunks: bool) -> Vec<u8> {
        let mut out = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\n{by}{}",
            self.method, self.target, self.header
        );
        let mut body = Vec::new();
        match &self.body {
            None => {}
            Some(bytes) if in_chunks && !bytes.is_empty() => {
                out.push_str("transfer-encoding: chunked\r\n");
                let (one, other) = bytes.split_at(bytes.len() / 2);
                for chunk in [one, other].into_iter().filter(|chunk| !chunk.is_empty()) {
                    body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    body.extend_from_slice(chunk);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(b"0\r\n\r\n");
            }
            Some(bytes) => {
                out.push_str(&format!("content-length: {}\r\n", bytes.len()));
                body.extend_from_slice(bytes);
            }
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend(body);
        out
    }
}

impl Http {
    async fn operation(&mut self, planned: &Planned) {
        self.guest.calm_down();
        if !self.guest.is_calm && self.guest.luck.chance(1, 20) {
            self.mischief(self.guest.until()).await;
        }
        if self.guest.luck.chance(1, 16) {
            self.measure(self.guest.until()).await;
        }
        if self.guest.place.users && self.guest.luck.chance(1, 12) {
            self.stranger(self.guest.until()).await;
        }
        let (key, until) = (planned.key, self.guest.until());
        match planned.ask {
            Ask::Get if self.guest.luck.chance(1, 4) => self.walk(until).await,
            Ask::Get => {
                self.get(key, until).await;
            }
            Ask::Set(value) => {
                let question = Question::new("PUT", key, Some(self.guest.value(value)));
                self.plain(key, Call::Set(value), question, until).await;
            }
            Ask::Delete => {
                self.plain(key, Call::Delete, Question::new("DELETE", key, None), until).await;
            }
            Ask::Incr(by) => {
                let name = name(key);
                let step = format!(r#"{{"op": "increment", "key": "{name}", "by": {by}}}"#);
                self.plain(key, Call::Incr(by), Question::of_batch(step), until).await;
            }
            Ask::Cas(to) => self.cas(key, to, until).await,
        }
    }

    fn end(&self, id: OpId, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            mark!("http: an outcome is unknown");
        }
        self.guest.end(id, outcome);
    }

    /// Notes why something was not done.
    fn because(&self, id: OpId, told: &Told) {
        let why = match told {
            Ok(heard) if heard.is_excused() => {
                format!("{} {}", heard.status, String::from_utf8_lossy(&heard.body))
            }
            Err(lost) => lost.text().to_owned(),
            Ok(_) => return,
        };
        self.guest.setup.recorder.because(id, why);
    }

    /// A change that is one request.
    async fn plain(&mut self, key: Key, call: Call, question: Question, until: Instant) {
        let id = self.guest.begin(key, call);
        let told = self.ask(&question, until).await;
        self.because(id, &told);
        self.end(id, outcome(call, told));
    }

    /// What a key has, and its version.
    async fn get(&mut self, key: Key, until: Instant) -> Option<(Option<u64>, Option<String>)> {
        let id = self.guest.begin(key, Call::Get);
        let mut question = Question::new("GET", key, None);
        if key % 2 == 1 {
            question.target.push_str("?consistency=quorum");
        }
        if self.guest.luck.chance(1, 8) {
            // On a connection that ends with its answer.
            question.header = "connection: close\r\n".to_owned();
        }
        let told = self.ask(&question, until).await;
        let tag = told.as_ref().ok().and_then(|heard| heard.headers.get("etag").cloned());
        self.because(id, &told);
        let outcome = outcome(Call::Get, told);
        self.end(id, outcome);
        match outcome {
            Outcome::Ok(Answer::Value(value)) => Some((value, tag)),
            _ => None,
        }
    }

    /// Sets a value in the place of another one.
    async fn cas(&mut self, key: Key, to: u64, until: Instant) {
        let Some((from, tag)) = self.get(key, until).await else { return };
        let must = match tag {
            Some(tag) => format!("if-match: {tag}\r\n"),
            None => "if-none-match: *\r\n".to_owned(),
        };
        let until = self.guest.until();
        let question = Question::new("PUT", key, Some(self.guest.value(to))).with(must);
        let call = Call::Cas { from, to };
        let id = self.guest.begin(key, call);
        let told = self.ask(&question, until).await;
        self.because(id, &told);
        self.end(id, outcome(call, told));
    }

    /// Looks at all keys, page by page.
    async fn walk(&mut self, until: Instant) {
        let ids: Vec<OpId> =
            (0..self.guest.place.keys).map(|key| self.guest.begin(key, Call::Get)).collect();
        // When faults are over, what an operation may take is meant for a few requests, and not for
        // one a key: these wait for one another.
        let least = if self.guest.is_calm { 8 } else { 1 };
        let limit = least + self.guest.luck.range(0..5);
        let mut met = BTreeMap::new();
        let mut next = Some(format!("/v1/kv/default?prefix=key&values&limit={limit}"));
        while let Some(target) = next.take() {
            let question = Question { method: "GET", target, header: String::new(), body: None };
            let page = match self.ask(&question, until).await {
                Ok(heard) if heard.status == 200 => serde_json::from_slice(&heard.body).ok(),
                Ok(heard) => {
                    always!(heard.is_excused(), "a page is refused for a good reason only");
                    None
                }
                Err(_) => None,
            };
            let Some(page): Option<Json> = page else {
                // Looking changes nothing.
                return ids.into_iter().for_each(|id| self.end(id, Outcome::Failed));
            };
            for item in page["items"].as_array().into_iter().flatten() {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                let is_new = met.insert(text("key"), text("value")).is_none();
                always!(is_new, "a walk meets each key once");
            }
            next = page["next"].as_str().map(str::to_owned);
        }
        mark!("http: a walk over all keys");
        for (key, id) in (0..).zip(ids) {
            let value = met.get(&name(key)).and_then(|value| number(value.as_bytes()));
            self.end(id, Outcome::Ok(Answer::Value(value)));
        }
    }

    /// Says something and hears the answer. A connection on which anything is lost is left.
    async fn ask(&mut self, question: &Question, until: Instant) -> Told {
        let mut line = self.guest.take_line(until).await.ok_or(Lost::Unsaid)?;
        let by = match self.guest.place.users {
            true => by(USERS[self.guest.setup.client as usize / 2 % USERS.len()]),
            false => String::new(),
        };
        let said = question.encoded(&by, self.guest.luck.chance(1, 3));
        if self.guest.speak(&mut line, &said, said.len(), until).await?.is_some() {
            mark!("http: a client left in the middle of a request");
            return Err(Lost::Unsaid);
        }
        match timeout(self.guest.rt.clock(), until, line.hear(parse)).await {
            Ok(Some(heard)) => {
                let stays = !heard.headers.contains_key("connection");
                self.guest.line = stays.then_some(line);
                Ok(heard)
            }
            Ok(None) | Err(_) => Err(Lost::Unheard),
        }
    }

    /// Asks what a node measures of itself.
    async fn measure(&mut self, until: Instant) {
        let (target, header) = ("/metrics".to_owned(), String::new());
        let question = Question { method: "GET", target, header, body: None };
        let Ok(heard) = self.ask(&question, until).await else { return };
        if heard.status != 200 {
            always!(heard.is_excused(), "metrics are refused for a good reason only");
            return;
        }
        mark!("http: a node was measured");
        let judged = self.measures.hear(&String::from_utf8_lossy(&heard.body));
        if let Err(why) = &judged {
            tracing::error!(%why, "what a node measures of itself");
        }
        always!(judged.is_ok(), "what is counted is told well, and falls in no life");
    }

    /// Asks without saying who, or with a password that is not his. Then it asks whether the node is
    /// there, as everybody may.
    async fn stranger(&mut self, until: Instant) {
        let says = [String::new(), by(("me", "open sesame")), by(("nobody", "a:b c"))];
        let by = &says[self.guest.luck.range(0..says.len() as u64) as usize];
        let body = Some(b"was here".to_vec());
        let (put, get) = (Question::new("PUT", 0, body), Question::new("GET", 0, None));
        let question = if self.guest.luck.chance(1, 2) { put } else { get };
        let alive = Question { target: "/livez".to_owned(), ..Question::new("GET", 0, None) };
        let Some(mut line) = self.guest.another_line(until).await else { return };
        let told = async {
            line.say(&alive.encoded("", false)).await?;
            let alive = line.hear(parse).await?;
            line.say(&question.encoded(by, false)).await?;
            Some((alive, line.hear(parse).await?))
        };
        if let Ok(Some((alive, heard))) = timeout(self.guest.rt.clock(), until, told).await {
            mark!("http: a stranger asked");
            always!(alive.status == 200, "everybody may ask whether a node is there");
            let is_refused = matches!(heard.status, 401 | 503);
            always!(is_refused, "a stranger is told nothing");
            let is_asked = heard.status != 401 || heard.headers.contains_key("www-authenticate");
            always!(is_asked, "a stranger is told how to say who he is");
        }
    }

    /// Says what is no request, or what a foreign web page would: both are refused, and nothing
    /// comes of them.
    async fn mischief(&mut self, until: Instant) {
        let own = format!("/v1/kv/default/own{}", self.guest.setup.client);
        let hidden = format!("PUT {own} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
        let nonsense = [
            "hello\r\n\r\n".to_owned(),
            "*1\r\n$4\r\nPING\r\n\r\n".to_owned(),
            "PUT / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n".to_owned(),
            format!("PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{hidden}"),
            format!(
                "PUT {own} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\
                 transfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
                5 + hidden.len()
            ),
            format!(
                "PUT {own} HTTP/1.1\r\nhost: localhost\r\norigin: http://other\r\n\
                     content-length: 1\r\n\r\nx"
            ),
        ];
        let nth = self.guest.luck.range(0..nonsense.len() as u64) as usize;
        let Some(mut line) = self.guest.another_line(until).await else { return };
        let told = async {
            line.say(nonsense[nth].as_bytes()).await?;
            line.hear(parse).await
        };
        if let Ok(Some(heard)) = timeout(self.guest.rt.clock(), until, told).await {
            mark!("http: what is not served was said");
            // A node that ends says that instead.
            let is_refused = matches!(heard.status, 400 | 401 | 403 | 413 | 431 | 503);
            always!(is_refused, "what is no request of a program is refused");
        }
        // Nothing of what was hidden in it was done.
        let question = Question { method: "GET", target: own, header: String::new(), body: None };
        if let Ok(heard) = self.ask(&question, until).await {
            let is_absent = heard.status == 404 || heard.is_excused();
            always!(is_absent, "what is refused has not happened in part");
        }
    }
}

/// What somebody says of himself.
fn by((name, password): (&str, &str)) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

/// What a key is called.
fn name(key: Key) -> String {
    String::from_utf8_lossy(&key_bytes(key)).into_owned()
}

/// The first answer of the bytes and how long it is, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
    let length = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let body = Bytes::copy_from_slice(bytes.get(end..end + length)?);
    Some((Heard { status, headers, body }, end + length))
}

fn outcome(call: Call, told: Told) -> Outcome {
    let heard = match told {
        Ok(heard) => heard,
        Err(lost) => return lost.outcome(call == Call::Get),
    };
    let json = || serde_json::from_slice::<Json>(&heard.body).unwrap_or_default();
    let problem = |json: &Json| match json["happened"].as_str() {
        Some("nothing") => Outcome::Failed,
        Some("unknown") => Outcome::Unknown,
        _ => {
            never!(true, "a problem says what is known");
            Outcome::Unknown
        }
    };
    let answer = match (call, heard.status) {
        (Call::Get, 200) => match number(&heard.body) {
            None => {
                never!(true, "a value is what was written");
                return Outcome::Failed;
            }
            value => Answer::Value(value),
        },
        (Call::Get, 404) => Answer::Value(None),
        (Call::Set(_), 200) | (Call::Delete, 200 | 404) => Answer::Done,
        (Call::Cas { .. }, 200) => Answer::Swapped(true),
        (Call::Cas { .. }, 412) => Answer::Swapped(false),
        (Call::Incr(_), 200) => {
            let json = json();
            let result = &json["results"][0];
            match result["numbers"][0].as_u64() {
                Some(sum) => Answer::Value(Some(sum)),
                None => return problem(result),
            }
        }
        _ => {
            always!(heard.is_excused(), "what is understood is refused for a good reason only");
            return problem(&json());
        }
    };
    Outcome::Ok(answer)
}
