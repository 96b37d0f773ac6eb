//! A client of the cluster that speaks the text protocol, at the port where nodes serve it.
//!
//! It asks one node at a time, whichever, and goes to another one when its connection ends. It says
//! its requests in pieces of any length, and while faults happen it also stops in the middle of them
//! and says what is no request. Where there are users it says first who it is, and on some connections
//! not, or a wrong password.
//!
//! The protocol has no sums and no conditions: where the plan has one, it looks.
//!
//! Not here: what is asked (`load`), the other clients (`cluster_client`, `cluster_redis`,
//! `cluster_http`).

use std::sync::Arc;

use bytes::Bytes;
use trilith_engine::{
    always, mark,
    runtime::{Instant, Rng, Runtime, timeout},
};

use super::{
    cluster_client::{Setup, key_bytes},
    cluster_guest::{Guest, Line, Lost, Place, USERS, number},
};
use crate::{
    history::{Answer, Call, Key, Outcome},
    load::{Ask, Planned},
    os::SimRuntime,
};

/// Runs the client to the end of its plan.
pub(super) async fn run(rt: SimRuntime, place: Place, setup: Setup) {
    let mut client = Text { guest: Guest::new(rt, "text", place, setup) };
    let plan = Arc::clone(&client.guest.setup.plan);
    for planned in plan.iter() {
        client.guest.waits_for(planned).await;
        client.operation(planned).await;
    }
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Ok,
    NotFound,
    Value(Bytes),
    Refused(String),
    Unknown,
}

struct Text {
    guest: Guest,
}

impl Text {
    async fn operation(&mut self, planned: &Planned) {
        self.guest.calm_down();
        if !self.guest.is_calm && self.guest.luck.chance(1, 20) {
            self.mischief(self.guest.until()).await;
        }
        if self.guest.place.users && self.guest.luck.chance(1, 12) {
            self.stranger(self.guest.until()).await;
        }
        let (key, until) = (planned.key, self.guest.until());
        let (call, said) = match planned.ask {
            Ask::Set(value) => (Call::Set(value), set(key, &self.guest.value(value))),
            Ask::Delete => (Call::Delete, line("DEL", key)),
            Ask::Get | Ask::Incr(_) | Ask::Cas(_) => (Call::Get, line("GET", key)),
        };
        let id = self.guest.begin(key, call);
        let told = self.ask(&said, until).await;
        match &told {
            Ok(Heard::Refused(why)) => self.guest.setup.recorder.because(id, why.clone()),
            Err(lost) => self.guest.setup.recorder.because(id, lost.text().to_owned()),
            Ok(_) => {}
        }
        let outcome = match told {
            Ok(heard) => outcome(call, heard),
            Err(lost) => lost.outcome(call == Call::Get),
        };
        if outcome == Outcome::Unknown {
            mark!("text: an outcome is unknown");
        }
        self.guest.end(id, outcome);
    }

    /// A connection on which it is known who speaks.
    async fn line(&mut self, until: Instant) -> Result<Line, Lost> {
        if let Some(line) = self.guest.line.take() {
            return Ok(line);
        }
        let mut line = self.guest.another_line(until).await.ok_or(Lost::Unsaid)?;
        if self.guest.place.users {
            // The name and the password are words here.
            let (name, password) = USERS[2];
            let said = format!("AUTH {name} {password}\n");
            line.say(said.as_bytes()).await.ok_or(Lost::Unsaid)?;
            let heard = timeout(self.guest.rt.clock(), until, line.hear(parse)).await;
            let Ok(Some(heard)) = heard else { return Err(Lost::Unsaid) };
            let is_excused = matches!(heard, Heard::Refused(_));
            always!(heard == Heard::Ok || is_excused, "who says who he is comes in");
            if heard != Heard::Ok {
                return Err(Lost::Unsaid);
            }
        }
        Ok(line)
    }

    /// Says something and hears the answer. A connection on which anything is lost is left.
    async fn ask(&mut self, said: &[u8], until: Instant) -> Result<Heard, Lost> {
        let mut line = self.line(until).await?;
        if self.guest.speak(&mut line, said, said.len(), until).await?.is_some() {
            mark!("text: a client left in the middle of a request");
            return Err(Lost::Unsaid);
        }
        match timeout(self.guest.rt.clock(), until, line.hear(parse)).await {
            Ok(Some(heard)) => {
                self.guest.line = Some(line);
                Ok(heard)
            }
            Ok(None) | Err(_) => Err(Lost::Unheard),
        }
    }

    /// What a connection of its own says to the end, when so much was said on it.
    async fn last(&mut self, said: &[u8], until: Instant) -> Option<Heard> {
        let mut line = self.guest.another_line(until).await?;
        let told = async {
            line.say(said).await?;
            line.hear(parse).await
        };
        timeout(self.guest.rt.clock(), until, told).await.ok().flatten()
    }

    /// Asks without saying who, or with a password that is not his.
    async fn stranger(&mut self, until: Instant) {
        let says = ["GET key0\n", "SET key0 3\nfoo", "AUTH me secret\nDEL key0\n"];
        let says = says[self.guest.luck.range(0..says.len() as u64) as usize];
        if let Some(heard) = self.last(says.as_bytes(), until).await {
            mark!("text: a stranger asked");
            always!(matches!(heard, Heard::Refused(_)), "a stranger is told nothing");
        }
    }

    /// Says what is no request: it is refused, and nothing behind it is done.
    async fn mischief(&mut self, until: Instant) {
        let own = format!("own{}", self.guest.setup.client);
        let hidden = format!("SET {own} 1\nx");
        let nonsense = [
            format!("POST / HTTP/1.1\r\n\r\n{hidden}"),
            format!("*1\r\n$4\r\nPING\r\n{hidden}"),
            format!("SET {own} 99999999999\n{hidden}"),
            format!("GET {own} {own}\n{hidden}"),
            format!("\n\r\nSET {own} -1\n{hidden}"),
        ];
        let nonsense = &nonsense[self.guest.luck.range(0..nonsense.len() as u64) as usize];
        if let Some(heard) = self.last(nonsense.as_bytes(), until).await {
            mark!("text: what is no request was refused");
            always!(matches!(heard, Heard::Refused(_)), "what is no request is refused");
        }
        if let Ok(heard) = self.ask(format!("GET {own}\n").as_bytes(), until).await {
            let is_absent = matches!(heard, Heard::NotFound | Heard::Refused(_));
            always!(is_absent, "nothing is done behind what is refused");
        }
    }
}

fn line(verb: &str, key: Key) -> Vec<u8> {
    [verb.as_bytes(), b" ", &key_bytes(key), b"\n"].concat()
}

fn set(key: Key, value: &[u8]) -> Vec<u8> {
    let length = format!(" {}\n", value.len());
    [b"SET ", &key_bytes(key)[..], length.as_bytes(), value].concat()
}

/// The first answer of the bytes and how long it is, if it is whole.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let begins = end + 1;
    match word {
        "OK" => Some((Heard::Ok, begins)),
        "NOT_FOUND" => Some((Heard::NotFound, begins)),
        "VALUE" => {
            let ends = begins + rest.parse::<usize>().ok()?;
            let value = Bytes::copy_from_slice(bytes.get(begins..ends)?);
            Some((Heard::Value(value), ends))
        }
        "UNKNOWN" => Some((Heard::Unknown, begins)),
        _ => Some((Heard::Refused(rest.to_owned()), begins)),
    }
}

fn outcome(call: Call, heard: Heard) -> Outcome {
    match (call, heard) {
        (Call::Get, Heard::Value(value)) => {
            let value = number(&value);
            always!(value.is_some(), "a value is what was written");
            value.map_or(Outcome::Failed, |value| Outcome::Ok(Answer::Value(Some(value))))
        }
        (Call::Get, Heard::NotFound) => Outcome::Ok(Answer::Value(None)),
        (Call::Set(_), Heard::Ok) | (Call::Delete, Heard::Ok | Heard::NotFound) => {
            Outcome::Ok(Answer::Done)
        }
        (_, Heard::Refused(why)) => {
            let is_known = !why.starts_with("there are ") && !why.starts_with("say first");
            always!(is_known, "what is a request is understood");
            Outcome::Failed
        }
        (_, Heard::Unknown) => Outcome::Unknown,
        (_, other) => {
            always!(false, "an answer is one to what was asked");
            tracing::error!(?other, "an answer to something else");
            Outcome::Unknown
        }
    }
}
