//! Answers, and their bytes; and problems: what went wrong, what to do, and whether it may have
//! happened.
//!
//! Not here: which answer it is (`desk.rs`).

use std::{borrow::Cow, fmt::Write as _};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use trilith_engine::{
    command::{Failure, Refusal},
    mark, planted,
};

use super::cut::{Broken, Method};
use crate::limits::PROBLEM_WORDS_BYTES_MAX;

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// What is said beside the body.
    pub headers: Vec<(&'static str, String)>,
    /// What the body is.
    pub kind: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Bytes that are what they are.
pub const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// With such a body.
    #[must_use]
    pub fn of(status: u16, kind: &'static str, body: Bytes) -> Self {
        Self { status, headers: Vec::new(), kind, body }
    }

    /// With a body for people.
    #[must_use]
    pub fn text(status: u16, text: String) -> Self {
        Self::of(status, TEXT, text.into())
    }

    /// With a body for monitoring systems.
    #[must_use]
    pub fn metrics(text: String) -> Self {
        Self::of(200, METRICS, text.into())
    }

    /// With a body for programs.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        Self::of(status, JSON, json(body))
    }

    /// With a body for programs that is written already.
    #[must_use]
    pub fn json_text(text: &'static str) -> Self {
        Self::of(200, JSON, Bytes::from_static(text.as_bytes()))
    }

    /// And that is said beside it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Appends its bytes.
    pub fn put(&self, out: &mut BytesMut, method: Method, stays: bool) {
        let has_body = !matches!(self.status, 204 | 304);
        let mut head = String::with_capacity(256);
        let reason = reason(self.status);
        // Writing into a string does not fail.
        let _written = write!(head, "HTTP/1.1 {} {reason}\r\n", self.status);
        if has_body {
            let length = self.body.len();
            let _written =
                write!(head, "content-type: {}\r\ncontent-length: {length}\r\n", self.kind);
        }
        for (name, value) in &self.headers {
            let _written = write!(head, "{name}: {value}\r\n");
        }
        // What is stored may be anything; no browser is to make something of it.
        head.push_str("x-content-type-options: nosniff\r\ncache-control: no-store\r\n");
        head.push_str(if stays { "\r\n" } else { "connection: close\r\n\r\n" });
        out.reserve(head.len() + self.body.len());
        out.put_slice(head.as_bytes());
        if has_body && method != Method::Head {
            out.put_slice(&self.body);
        }
    }
}

fn json(body: &impl Serialize) -> Bytes {
    match serde_json::to_vec(body) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            bytes.into()
        }
        // Ours have string keys and no failing parts.
        Err(_) => Bytes::from_static(b"null\n"),
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

/// What is known of a request that was not done as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Nothing happened, and nothing will.
    Nothing,
    /// It may have happened, or may happen still.
    Unknown,
}

/// A problem (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The status of HTTP.
    pub status: u16,
    /// Its name, for programs.
    pub code: &'static str,
    /// What went wrong.
    #[serde(rename = "title")]
    pub what: Cow<'static, str>,
    /// What to do.
    pub hint: Cow<'static, str>,
    /// What is known.
    pub happened: Certainty,
    /// The version that is there, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What is said beside it.
    #[serde(skip)]
    pub headers: Vec<(&'static str, String)>,
}

/// What people read of it: whoever sends a long word is not sent all of it back.
fn short(words: Cow<'static, str>) -> Cow<'static, str> {
    if words.len() <= PROBLEM_WORDS_BYTES_MAX || planted!("http_problems_repeat_everything") {
        return words;
    }
    let end = words.floor_char_boundary(PROBLEM_WORDS_BYTES_MAX - '…'.len_utf8());
    format!("{}…", &words[..end]).into()
}

impl Problem {
    /// Nothing happened, for that reason.
    pub fn new(
        status: u16,
        code: &'static str,
        what: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (what, hint) = (short(what.into()), hint.into());
        let (happened, headers) = (Certainty::Nothing, Vec::new());
        Self { status, code, what, hint, happened, version: None, headers }
    }

    /// The request says what cannot be.
    pub fn bad(what: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "BAD_REQUEST", what, hint)
    }

    /// The cluster has refused.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Malformed
            | Refusal::KeyTooLong
            | Refusal::KeyTwice
            | Refusal::ManyGroups
            | Refusal::Level => 400,
            Refusal::ValueTooLong | Refusal::TooLarge => 413,
            Refusal::DiskFull => 507,
            Refusal::NoGroup
            | Refusal::NotLeader(_)
            | Refusal::Overloaded
            | Refusal::Stopping
            | Refusal::TooLate
            | Refusal::TooStale
            | Refusal::Damaged
            | Refusal::SessionsFull
            | Refusal::FromTheFuture
            | Refusal::NoCut
            | Refusal::Forgotten => 503,
        };
        let text = refusal.to_string();
        let (what, hint) = text.split_once("; ").unwrap_or((&text, "ask again"));
        Self::new(status, refusal.code(), what.to_owned(), hint.to_owned())
    }

    /// Nobody knows.
    #[must_use]
    pub fn unknown() -> Self {
        let what = "no answer came in time: it may have happened, or may happen still";
        let hint = "read it back before you repeat it, or make the write conditional";
        Self { happened: Certainty::Unknown, ..Self::new(504, "INDOUBT", what, hint) }
    }

    /// A write could not be made of what is there.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        let (code, what) = match failure {
            Failure::NotAnInteger => ("NOT_AN_INTEGER", "the value is no number of 64 bits"),
            Failure::Overflow => ("OVERFLOW", "the sum does not fit 64 bits"),
            Failure::TooLong => ("TOO_LONG", "the value would be too long"),
        };
        Self::new(409, code, what, "look at what the key has")
    }

    /// There is no room for one more body.
    #[must_use]
    pub fn crowded() -> Self {
        mark!("http: connections held too much");
        let (what, hint) = ("too many large requests are under way", "wait a little and ask again");
        Self::new(503, "OVERLOADED", what, hint)
    }

    /// Nobody has said who asks, or it was not true.
    #[must_use]
    pub fn stranger(what: &'static str) -> Self {
        let hint = "name a user and say the password: curl --user NAME";
        let asks = r#"Basic realm="trilith", charset="UTF-8""#.to_owned();
        let headers = vec![("www-authenticate", asks)];
        Self { headers, ..Self::new(401, "UNAUTHENTICATED", what, hint) }
    }

    /// What was sent is no request.
    #[must_use]
    pub fn broken(broken: Broken) -> Self {
        let (status, code, hint) = match broken {
            Broken::Head | Broken::Chunk => (400, "BAD_REQUEST", "use a client of HTTP/1.1"),
            Broken::Length => (400, "BAD_REQUEST", "send one content-length, or chunks alone"),
            Broken::HeadTooLong => (431, "TOO_LARGE", "shorten the key or the headers"),
            Broken::BodyTooLong => (413, "TOO_LARGE", "split the value over several keys"),
        };
        Self::new(status, code, broken.to_string(), hint)
    }

    /// As an answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = Answer::of(self.status, PROBLEM, json(self));
        answer.headers.clone_from(&self.headers);
        match self.version {
            Some(version) => answer.with("etag", format!("\"{version}\"")),
            None => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(answer: &Answer, method: Method, stays: bool) -> String {
        let mut out = BytesMut::new();
        answer.put(&mut out, method, stays);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer =
            Answer::of(200, BYTES, Bytes::from_static(b"hello")).with("etag", "\"7\"".into());
        let rest = "etag: \"7\"\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
                    content-length: 5\r\n";
        assert_eq!(bytes(&answer, Method::Get, true), format!("{head}{rest}\r\nhello"));
        let closes = format!("{head}{rest}connection: close\r\n\r\n");
        assert_eq!(bytes(&answer, Method::Head, false), closes, "HEAD has no body");
        let unchanged = Answer { status: 304, ..answer };
        assert!(!bytes(&unchanged, Method::Get, true).contains("content-length"));
    }

    #[test]
    fn a_problem_repeats_no_more_than_people_read() {
        for words in ["x".repeat(1 << 20), "é".repeat(1000), "\u{1}".repeat(600)] {
            let told = Problem::bad(format!("{words} means nothing"), "say less").what;
            assert!(told.len() <= PROBLEM_WORDS_BYTES_MAX && told.ends_with('…'), "{told}");
            assert!(told.len() > PROBLEM_WORDS_BYTES_MAX - 8 && words.starts_with(&told[..100]));
        }
        let short = "w".repeat(PROBLEM_WORDS_BYTES_MAX);
        assert_eq!(Problem::bad(short.clone(), "say less").what, short);
    }

    #[test]
    fn a_problem_says_what_is_known() {
        let told = String::from_utf8(Problem::unknown().answer().body.to_vec()).unwrap();
        assert!(told.contains(r#""code":"INDOUBT""#), "{told}");
        assert!(told.contains(r#""happened":"unknown""#), "{told}");
        let told = Problem::refused(Refusal::DiskFull);
        assert_eq!((told.status, told.code), (507, "DISK_FULL"));
        assert_eq!(told.happened, Certainty::Nothing);
        let hint = "give it room or delete something: deletes are taken, reads go on";
        assert_eq!(told.hint, hint);
    }
}
