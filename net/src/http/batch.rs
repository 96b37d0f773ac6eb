//! Several steps in one request: its JSON, read into operations, and how values are told in JSON.
//!
//! ```text
//! {"atomic": false, "ops": [{"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "b"}]}
//! ```
//! Bytes that are no text are told and taken as `key_base64` and `value_base64`.
//! An atomic batch is one transaction: its checks and writes are of one slot, and it reads nothing.
//!
//! Not here: doing it (`desk.rs`).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use std::fmt;
use trilith_engine::{
    command::{Check, Command, Condition, Expiry, Found, Op, Transaction, Write},
    types::Version,
};

use super::answer::Problem;
use crate::limits::HTTP_BATCH_MAX;

/// A batch, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    #[serde(default)]
    atomic: bool,
    #[serde(deserialize_with = "steps")]
    ops: Vec<Step>,
}

/// Steps, up to so many: what is behind them is not even read.
fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    struct Steps;

    impl<'de> Visitor<'de> for Steps {
        type Value = Vec<Step>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "up to {HTTP_BATCH_MAX} steps")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<Step>, A::Error> {
            let mut steps = Vec::new();
            while let Some(step) = all.next_element()? {
                if steps.len() == HTTP_BATCH_MAX {
                    return Err(de::Error::invalid_length(HTTP_BATCH_MAX + 1, &self));
                }
                steps.push(step);
            }
            Ok(steps)
        }
    }

    deserializer.deserialize_seq(Steps)
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Get,
    Put,
    Delete,
    Increment,
    Check,
}

/// A step, as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    op: Verb,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    /// Until when it counts, from now.
    ttl_ms: Option<u64>,
    /// How much is added.
    by: Option<i64>,
    /// Only when the key has this version.
    if_version: Option<u64>,
    /// Only when it is there, or only when it is not.
    if_present: Option<bool>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One after the other, each by itself.
    Steps(Vec<Op>),
    /// All at one moment, or nothing; and of which step each check is.
    Atomic(Transaction, Vec<usize>),
}

/// Reads a batch.
///
/// # Errors
/// When it is none.
pub fn read(body: &[u8]) -> Result<Batch, Problem> {
    let wrong = |why: serde_json::Error| bad(format!("the batch cannot be read: {why}"));
    let Sent { atomic, ops } = serde_json::from_slice(body).map_err(wrong)?;
    if atomic && ops.is_empty() {
        return Err(bad("an atomic batch without steps".to_owned()));
    }
    let nth = |at: usize| move |why: &str| bad(format!("step {at}: {why}"));
    let steps = ops.into_iter().enumerate();
    if !atomic {
        return steps
            .map(|(at, step)| step.op().map_err(nth(at)))
            .collect::<Result<_, _>>()
            .map(Batch::Steps);
    }
    let (mut checks, mut writes, mut of) = (Vec::new(), Vec::new(), Vec::new());
    for (at, step) in steps {
        step.part(&mut checks, &mut writes).map_err(nth(at))?;
        of.resize(checks.len(), at);
    }
    let transaction = Transaction::new(checks, writes).map_err(Problem::refused)?;
    Ok(Batch::Atomic(transaction, of))
}

fn bad(what: String) -> Problem {
    Problem::bad(what, "what a batch is: GET /v1/openapi.json")
}

fn bytes(text: Option<String>, base64: Option<String>) -> Result<Option<Bytes>, &'static str> {
    match (text, base64) {
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => match BASE64.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(_) => Err("that is no base64"),
        },
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("it is said as text and as base64"),
    }
}

impl Step {
    /// Its key, its value and its condition; what says nothing in such a step is refused.
    fn words(&mut self) -> Result<(Bytes, Option<Bytes>, Condition), &'static str> {
        let key = bytes(self.key.take(), self.key_base64.take())?.ok_or("it has no key")?;
        let value = bytes(self.value.take(), self.value_base64.take())?;
        if value.is_some() != (self.op == Verb::Put) {
            return Err(if value.is_some() { "only put has a value" } else { "it has no value" });
        }
        if self.by.is_some() && self.op != Verb::Increment {
            return Err("only increment has a by");
        }
        if self.ttl_ms.is_some() && self.op != Verb::Put {
            return Err("only put has a ttl_ms");
        }
        if self.ttl_ms == Some(0) {
            return Err("a ttl_ms of 0 is no time");
        }
        let condition = match (self.if_version, self.if_present) {
            (None, None) => Condition::Always,
            (Some(version), None) => Condition::Version(Version(version)),
            (None, Some(true)) => Condition::Present,
            (None, Some(false)) => Condition::Absent,
            (Some(_), Some(_)) => return Err("it has two conditions"),
        };
        Ok((key, value, condition))
    }

    fn expiry(&self) -> Expiry {
        self.ttl_ms.map_or(Expiry::None, Expiry::After)
    }

    /// By itself.
    fn op(mut self) -> Result<Op, &'static str> {
        let (key, value, condition) = self.words()?;
        let has_condition = condition != Condition::Always;
        let expiry = self.expiry();
        Ok(match self.op {
            Verb::Get if has_condition => return Err("get has no condition"),
            Verb::Increment if has_condition => return Err("increment has no condition"),
            Verb::Check => return Err("only an atomic batch has checks"),
            Verb::Get => Op::Get(key),
            Verb::Put => {
                let value = value.unwrap_or_default();
                Op::Write(Command::Set { key, value, expiry, condition, want_old: false })
            }
            Verb::Delete => Op::Write(Command::Delete { key, condition, want_old: false }),
            Verb::Increment => Op::Write(Command::Increment { key, by: self.by.unwrap_or(1) }),
        })
    }

    /// As a part of a transaction.
    fn part(
        mut self,
        checks: &mut Vec<Check>,
        writes: &mut Vec<Write>,
    ) -> Result<(), &'static str> {
        let (key, value, condition) = self.words()?;
        let expiry = self.expiry();
        match condition {
            Condition::Always if self.op == Verb::Check => return Err("check has no condition"),
            Condition::Present => return Err("an atomic batch compares versions"),
            Condition::Always => {}
            Condition::Absent => checks.push(Check { key: key.clone(), version: None }),
            Condition::Version(version) => {
                checks.push(Check { key: key.clone(), version: Some(version) });
            }
        }
        match self.op {
            Verb::Get => return Err("an atomic batch reads nothing"),
            Verb::Check => {}
            Verb::Put => {
                writes.push(Write::Set { key, value: value.unwrap_or_default(), expiry });
            }
            Verb::Delete => writes.push(Write::Delete { key }),
            Verb::Increment => writes.push(Write::Increment { key, by: self.by.unwrap_or(1) }),
        }
        Ok(())
    }
}

/// A key and what it has, in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

/// As text, or else as base64.
fn told(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

impl Item {
    /// About how long it is in JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [&self.key, &self.key_base64, &self.value, &self.value_base64];
        // What is no letter may take six.
        let weigh =
            |text: &String| text.len() + 5 * text.bytes().filter(u8::is_ascii_control).count();
        texts.into_iter().flatten().map(weigh).sum()
    }

    /// Of that key.
    #[must_use]
    pub fn new(key: &[u8], found: &Found, has_value: bool) -> Self {
        let (key, key_base64) = told(key);
        let (value, value_base64) = if has_value { told(&found.value) } else { (None, None) };
        let (version, expires_at_ms) = (found.version.0, found.expires_ms);
        Self { key, key_base64, value, value_base64, version, expires_at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(json: &str) -> Vec<Op> {
        match read(json.as_bytes()) {
            Ok(Batch::Steps(steps)) => steps,
            other => panic!("{other:?}"),
        }
    }

    fn refused(json: &str) -> String {
        let problem = read(json.as_bytes()).unwrap_err();
        assert_eq!(problem.status, 400);
        problem.what.into_owned()
    }

    #[test]
    fn steps_are_operations() {
        let key = Bytes::from_static(b"a");
        let told = steps(
            r#"{"ops": [{"op": "get", "key": "a"},
                {"op": "put", "key": "a", "value_base64": "AP8=", "ttl_ms": 5, "if_present": false},
                {"op": "delete", "key_base64": "YQ==", "if_version": 7},
                {"op": "increment", "key": "a", "by": -2}]}"#,
        );
        let put = Command::Set {
            key: key.clone(),
            value: Bytes::from_static(b"\0\xFF"),
            expiry: Expiry::After(5),
            condition: Condition::Absent,
            want_old: false,
        };
        let delete = Command::Delete {
            key: key.clone(),
            condition: Condition::Version(Version(7)),
            want_old: false,
        };
        let increment = Command::Increment { key: key.clone(), by: -2 };
        let writes = [put, delete, increment].map(Op::Write);
        let expected: Vec<Op> = [Op::Get(key)].into_iter().chain(writes).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn an_atomic_batch_is_a_transaction() {
        let json = r#"{"atomic": true, "ops": [{"op": "check", "key": "a", "if_present": false},
            {"op": "put", "key": "b", "value": "1", "if_version": 7},
            {"op": "increment", "key": "c"}]}"#;
        let Ok(Batch::Atomic(told, of)) = read(json.as_bytes()) else { panic!("not atomic") };
        assert_eq!(of, [0, 1], "the steps of its checks");
        let versions: Vec<_> = told.checks().iter().map(|check| check.version).collect();
        assert_eq!(versions, [None, Some(Version(7))]);
        assert_eq!(told.writes().len(), 2);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let step = |step: &str| refused(&format!(r#"{{"ops": [{step}]}}"#));
        assert_eq!(step(r#"{"op": "put", "key": "a"}"#), "step 0: it has no value");
        assert_eq!(step(r#"{"op": "get"}"#), "step 0: it has no key");
        assert_eq!(
            step(r#"{"op": "get", "key": "a", "value": "b"}"#),
            "step 0: only put has a value"
        );
        assert_eq!(
            step(r#"{"op": "get", "key": "a", "if_version": 1}"#),
            "step 0: get has no condition"
        );
        assert!(step(r#"{"op": "get", "key": "a", "kye": 1}"#).contains("unknown field"));
        assert!(step(r#"{"op": "brew", "key": "a"}"#).contains("unknown variant"));
        assert!(step(r#"{"op": "get", "key_base64": "%"}"#).contains("base64"));
        assert!(refused("[".repeat(200_000).as_str()).contains("cannot be read"));
        let many = vec![r#"{"op": "get", "key": "a"}"#; HTTP_BATCH_MAX + 1].join(",");
        assert!(step(&many).contains("up to 1024 steps"));
        assert!(refused(r#"{"atomic": true, "ops": []}"#).contains("without steps"));
        let atomic = |step: &str| refused(&format!(r#"{{"atomic": true, "ops": [{step}]}}"#));
        assert_eq!(atomic(r#"{"op": "get", "key": "a"}"#), "step 0: an atomic batch reads nothing");
        assert_eq!(atomic(r#"{"op": "check", "key": "a"}"#), "step 0: check has no condition");
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_base64() {
        let found = |value: &'static [u8]| Found {
            version: Version(3),
            expires_ms: None,
            value: Bytes::from_static(value),
        };
        let json = |item: Item| serde_json::to_string(&item).unwrap();
        let told = json(Item::new(b"a", &found(b"b"), true));
        assert_eq!(told, r#"{"key":"a","value":"b","version":3}"#);
        let told = json(Item::new(b"\xFF", &found(b"\0\xFF"), true));
        assert_eq!(told, r#"{"key_base64":"/w==","value_base64":"AP8=","version":3}"#);
        assert_eq!(json(Item::new(b"a", &found(b""), false)), r#"{"key":"a","version":3}"#);
    }
}
