//! What a request asks: a path, a method and words behind a question mark become a [`Route`].
//!
//! The table says everything that there is; `openapi.json` says it to programs, and a test compares
//! them.
//!
//! Not here: doing it (`desk.rs`).

use bytes::Bytes;
use trilith_engine::{
    command::{Condition, Expiry, Level},
    planted,
    types::Version,
};

use super::{
    answer::Problem,
    cut::{Method, Request},
    percent::decode,
};
use crate::{
    client::Wish,
    limits::{HTTP_PAGE_KEYS_MAX, HTTP_QUERY_WORDS_MAX},
};

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Live,
    Ready,
    Metrics,
    Status,
    OpenApi,
    Keys,
    Key,
    Batch,
}

/// Every path, and what can be done with it.
const TABLE: &[(&str, Place, &[Method])] = &[
    ("/livez", Place::Live, &[Method::Get, Method::Head]),
    ("/readyz", Place::Ready, &[Method::Get, Method::Head]),
    ("/metrics", Place::Metrics, &[Method::Get, Method::Head]),
    ("/v1/status", Place::Status, &[Method::Get, Method::Head]),
    ("/v1/openapi.json", Place::OpenApi, &[Method::Get, Method::Head]),
    ("/v1/kv/{keyspace}", Place::Keys, &[Method::Get, Method::Head]),
    (
        "/v1/kv/{keyspace}/{key}",
        Place::Key,
        &[Method::Get, Method::Head, Method::Put, Method::Delete],
    ),
    ("/v1/batch", Place::Batch, &[Method::Post]),
];

/// Whether that says no more than how the node is: load balancers have no password.
pub(super) fn is_for_all(target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    matches!(find(path), Ok((Place::Live | Place::Ready, _, _)))
}

/// The keyspace that there is.
pub const KEYSPACE: &str = "default";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whether the process works.
    Live,
    /// Whether it can serve, and why not.
    Ready {
        /// Also what was looked at.
        is_verbose: bool,
    },
    /// Everything that is measured of it.
    Metrics,
    /// How the node is.
    Status,
    /// What can be asked.
    OpenApi,
    /// Keys in order.
    List(List),
    /// What a key has.
    Get {
        /// The key.
        key: Bytes,
        /// What the answer must hold.
        wish: Wish,
        /// Whether the answer is JSON and not the value's own bytes.
        as_json: bool,
        /// What the asker has already.
        known: Known,
    },
    /// Gives a key a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Until when it counts.
        expiry: Expiry,
        /// What must be so.
        condition: Condition,
    },
    /// Takes a key's value away.
    Delete {
        /// The key.
        key: Bytes,
        /// What must be so.
        condition: Condition,
    },
    /// Several things.
    Batch(Bytes),
}

/// What somebody has already who asks for what a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// These versions.
    These(Vec<Version>),
    /// Whatever there is.
    Whatever,
}

impl Known {
    /// Whether this version is not to be told again.
    #[must_use]
    pub fn has(&self, version: Version) -> bool {
        match self {
            Self::Nothing => false,
            Self::These(versions) => versions.contains(&version),
            Self::Whatever => true,
        }
    }
}

/// Keys in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Those that begin so.
    pub prefix: Bytes,
    /// Behind this one.
    pub after: Option<Bytes>,
    /// No more than this.
    pub limit: u32,
    /// With their values.
    pub has_values: bool,
    /// What the answer must hold.
    pub wish: Wish,
}

/// Reads what a request asks; `wish` is what is asked where nothing is said.
///
/// # Errors
/// When it asks for what there is not.
pub fn route(request: &Request, wish: Wish) -> Result<Route, Problem> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (place, methods, key) = find(path)?;
    if !methods.contains(&request.method) {
        let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
        let names = names.join(", ");
        let hint = format!("what can be done here: {names}");
        let problem = Problem::new(405, "METHOD", "this cannot be done here", hint);
        return Err(Problem { headers: vec![("allow", names)], ..problem });
    }
    let mut query = Query::read(query)?;
    understood(request, place)?;
    let route = match place {
        Place::Live => Route::Live,
        Place::Ready => Route::Ready { is_verbose: query.flag("verbose")? },
        Place::Metrics => Route::Metrics,
        Place::Status => Route::Status,
        Place::OpenApi => Route::OpenApi,
        Place::Batch => Route::Batch(request.body.clone()),
        Place::Keys => Route::List(List {
            prefix: query.bytes("prefix").unwrap_or_default(),
            after: query.bytes("after"),
            limit: query.number("limit", 100, u64::from(HTTP_PAGE_KEYS_MAX))? as u32,
            has_values: query.flag("values")?,
            wish: query.wish(wish)?,
        }),
        Place::Key => of_key(request, Bytes::from(decode(key, false)?), &mut query, wish)?,
    };
    query.finish()?;
    Ok(route)
}

/// What would change what is asked, and means nothing here, is refused: whoever says it counts on it.
fn understood(request: &Request, place: Place) -> Result<(), Problem> {
    let (is_key, method) = (place == Place::Key, request.method);
    let is_read = matches!(method, Method::Get | Method::Head);
    for name in request.names() {
        let means = match name {
            "if-match" => is_key && !is_read,
            "if-none-match" => is_read || is_key && method == Method::Put,
            "trilith-ttl-ms" => is_key && method == Method::Put,
            // A part of a value is no value.
            "content-range" | "if-unmodified-since" => is_read,
            name => !name.starts_with("trilith-"),
        };
        if !means {
            let what = format!("{name} means nothing here");
            return Err(Problem::bad(what, "what can be asked: GET /v1/openapi.json"));
        }
    }
    Ok(())
}

fn of_key(request: &Request, key: Bytes, query: &mut Query, wish: Wish) -> Result<Route, Problem> {
    let wish = query.wish(wish)?;
    Ok(match request.method {
        Method::Put => {
            let (condition, expiry) = (condition(request)?, expiry(request, query)?);
            Route::Put { key, value: request.body.clone(), expiry, condition }
        }
        Method::Delete => Route::Delete { key, condition: condition(request)? },
        _ => Route::Get {
            key,
            wish,
            // Browsers and libraries say of themselves what they would take, too.
            as_json: request.once("accept")? == Some("application/json"),
            known: match request.once("if-none-match")? {
                None => Known::Nothing,
                Some("*") => Known::Whatever,
                Some(tags) => {
                    let tags = tags.split(',').map(|tag| version(tag.trim()));
                    Known::These(tags.collect::<Result<_, _>>()?)
                }
            },
        },
    })
}

/// What a path names; the key in it, as it was sent. A key may hold slashes.
fn find(path: &str) -> Result<(Place, &'static [Method], &str), Problem> {
    for (template, place, methods) in TABLE {
        let Some((before, behind)) = template.split_once("{keyspace}") else {
            if path == *template {
                return Ok((*place, methods, ""));
            }
            continue;
        };
        let Some(rest) = path.strip_prefix(before) else { continue };
        let (keyspace, key) = match rest.split_once('/') {
            Some((keyspace, key)) => (keyspace, Some(key)),
            None => (rest, None),
        };
        // `/v1/kv/default/` lists, too: a key has at least one byte here.
        let key = key.filter(|key| !key.is_empty());
        if key.is_some() != (behind == "/{key}") {
            continue;
        }
        if keyspace != KEYSPACE {
            let hint = format!("the keyspace that there is: {KEYSPACE}");
            return Err(Problem::new(404, "NO_KEYSPACE", "there is no such keyspace", hint));
        }
        return Ok((*place, methods, key.unwrap_or_default()));
    }
    let paths: Vec<&str> = TABLE.iter().map(|(template, ..)| *template).collect();
    let hint = format!("what there is: {}", paths.join(" "));
    Err(Problem::new(404, "NO_PATH", "there is nothing at this path", hint))
}

/// A tag: a version in quotation marks. A mark for weakness is no harm, versions say all.
fn version(tag: &str) -> Result<Version, Problem> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    let wrong =
        |_| Problem::bad(format!("{tag} is no version"), "say the etag that an answer gave");
    number.parse().map(Version).map_err(wrong)
}

fn condition(request: &Request) -> Result<Condition, Problem> {
    match (request.once("if-match")?, request.once("if-none-match")?) {
        _ if planted!("http_condition_is_forgotten") => Ok(Condition::Always),
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::Present),
        (Some(tag), None) => Ok(Condition::Version(version(tag)?)),
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(Problem::bad(
            "a write can be made if nothing is there, and not if one version is not",
            "say if-none-match: *, or if-match with a version",
        )),
        (Some(_), Some(_)) => Err(Problem::bad(
            "two conditions contradict each other",
            "say one: if-match or if-none-match",
        )),
    }
}

fn expiry(request: &Request, query: &mut Query) -> Result<Expiry, Problem> {
    let keeps = query.flag("keep_ttl")?;
    match request.once("trilith-ttl-ms")? {
        None => Ok(if keeps { Expiry::Keep } else { Expiry::None }),
        Some(_) if keeps => {
            Err(Problem::bad("a new time to live and the old one", "say one of them"))
        }
        Some(ms) => match ms.parse() {
            Ok(ms) if ms > 0 => Ok(Expiry::After(ms)),
            _ => Err(ttl(ms)),
        },
    }
}

fn ttl(ms: &str) -> Problem {
    Problem::bad(format!("{ms:?} is no time to live"), "say milliseconds: trilith-ttl-ms: 60000")
}

/// The words behind the question mark. What is taken was understood; what is left was not.
#[derive(Default)]
struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    fn read(text: &str) -> Result<Self, Problem> {
        let mut query = Self::default();
        for word in text.split('&').filter(|word| !word.is_empty()) {
            if query.0.len() == HTTP_QUERY_WORDS_MAX {
                let what =
                    format!("more than {HTTP_QUERY_WORDS_MAX} words behind the question mark");
                return Err(Problem::bad(what, "what can be asked: GET /v1/openapi.json"));
            }
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if query.0.iter().any(|(known, _)| known == name) {
                return Err(Problem::bad(format!("{name:?} is said twice"), "say it once"));
            }
            query.0.push((name.to_owned(), decode(value, true)?));
        }
        Ok(query)
    }

    fn bytes(&mut self, name: &str) -> Option<Bytes> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1.into())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let wrong = |_| Problem::bad(format!("{name} is no text"), "say it in UTF-8");
        String::from_utf8(bytes.to_vec()).map(Some).map_err(wrong)
    }

    /// Said without a value means yes.
    fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => {
                Err(Problem::bad(format!("{name}={other} is no answer"), "say true or false"))
            }
        }
    }

    fn number(&mut self, name: &str, usual: u64, max: u64) -> Result<u64, Problem> {
        let Some(text) = self.text(name)? else { return Ok(usual) };
        match text.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(Problem::bad(
                format!("{name}={text} cannot be"),
                format!("say a number from 1 to {max}"),
            )),
        }
    }

    fn wish(&mut self, usual: Wish) -> Result<Wish, Problem> {
        let level = match self.text("consistency")? {
            None => usual.level,
            Some(name) => level(&name)?,
        };
        let staleness_ms = match self.text("max_stale_ms")? {
            None => usual.staleness_ms,
            Some(ms) => {
                let hint = "say milliseconds, 0 or nothing for however old";
                ms.parse()
                    .ok()
                    .ok_or_else(|| Problem::bad("max_stale_ms is no such number", hint))?
            }
        };
        Ok(Wish { level, staleness_ms, ..usual })
    }

    fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let hint = "what can be asked: GET /v1/openapi.json";
                Err(Problem::bad(format!("{name:?} means nothing here"), hint))
            }
        }
    }
}

/// The name of a level.
#[must_use]
pub const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Eventual => "eventual",
        Level::Quorum => "quorum",
        Level::Strong => "strong",
    }
}

/// A level by its name.
///
/// # Errors
/// When there is none of that name.
fn level(name: &str) -> Result<Level, Problem> {
    match name {
        "eventual" => Ok(Level::Eventual),
        "quorum" => Ok(Level::Quorum),
        "strong" => Ok(Level::Strong),
        _ => Err(Problem::bad(
            format!("there is no consistency {name:?}"),
            "say eventual, quorum or strong",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cut::{Cut, Cutter};
    use bytes::BytesMut;
    use std::time::Duration;

    const USUAL: Wish = Wish::strong(Duration::from_secs(5));

    fn asked(text: &str) -> Result<Route, Problem> {
        let mut bytes = BytesMut::from(text.replace('\n', "\r\n").as_bytes());
        bytes.extend_from_slice(b"\r\n\r\n");
        match Cutter::default().take(&mut bytes).unwrap() {
            Cut::Request(request) => route(&request, USUAL),
            other => panic!("{other:?}"),
        }
    }

    fn refused(text: &str) -> (u16, &'static str) {
        let problem = asked(text).unwrap_err();
        (problem.status, problem.code)
    }

    fn key(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn a_key_is_any_bytes_and_may_have_slashes() {
        let get = |target: &str| match asked(&format!("GET {target} HTTP/1.1")).unwrap() {
            Route::Get { key, .. } => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(get("/v1/kv/default/hello"), key(b"hello"));
        assert_eq!(get("/v1/kv/default/a/b%2Fc+d%00%ff"), key(b"a/b/c+d\0\xFF"));
        assert_eq!(get("/v1/kv/default//"), key(b"/"));
        assert!(matches!(asked("GET /v1/kv/default/ HTTP/1.1"), Ok(Route::List(_))));
        assert_eq!(refused("GET /v1/kv/default/%zz HTTP/1.1"), (400, "BAD_REQUEST"));
        assert_eq!(refused("GET /v1/kv/default/%f HTTP/1.1"), (400, "BAD_REQUEST"));
        assert_eq!(refused("GET /v1/kv/other/a HTTP/1.1"), (404, "NO_KEYSPACE"));
    }

    #[test]
    fn conditions_are_tags() {
        let condition =
            |headers: &str| match asked(&format!("PUT /v1/kv/default/a HTTP/1.1\n{headers}")) {
                Ok(Route::Put { condition, .. }) => Ok(condition),
                Ok(other) => panic!("{other:?}"),
                Err(problem) => Err(problem.status),
            };
        assert_eq!(condition("a: b"), Ok(Condition::Always));
        assert_eq!(condition("If-Match: \"7\""), Ok(Condition::Version(Version(7))));
        assert_eq!(condition("If-Match: W/\"7\""), Ok(Condition::Version(Version(7))));
        assert_eq!(condition("If-Match: *"), Ok(Condition::Present));
        assert_eq!(condition("If-None-Match: *"), Ok(Condition::Absent));
        assert_eq!(condition("If-None-Match: \"7\""), Err(400));
        assert_eq!(condition("If-Match: seven"), Err(400));
        assert_eq!(condition("If-Match: *\nIf-None-Match: *"), Err(400));
    }

    #[test]
    fn what_is_said_beside_is_understood_or_refused() {
        let list = "GET /v1/kv/default?prefix=a%20b&after=c&limit=7&values&consistency=eventual\
                    &max_stale_ms=500 HTTP/1.1";
        let expected = List {
            prefix: key(b"a b"),
            after: Some(key(b"c")),
            limit: 7,
            has_values: true,
            wish: Wish { level: Level::Eventual, staleness_ms: 500, ..USUAL },
        };
        assert_eq!(asked(list), Ok(Route::List(expected)));
        let any_age = asked("GET /v1/kv/default?max_stale_ms=0 HTTP/1.1");
        assert!(matches!(any_age, Ok(Route::List(List { wish: USUAL, .. }))));
        let ttl = |ms: &str| asked(&format!("PUT /v1/kv/default/a HTTP/1.1\nTrilith-TTL-Ms: {ms}"));
        assert!(matches!(ttl("100"), Ok(Route::Put { expiry: Expiry::After(100), .. })));
        assert!(ttl("0").is_err() && ttl("-1").is_err() && ttl("soon").is_err());
        for head in [
            "GET /v1/kv/default/a HTTP/1.1\nIf-Match: \"7\"",
            "DELETE /v1/kv/default/a HTTP/1.1\nIf-None-Match: *",
            "DELETE /v1/kv/default/a HTTP/1.1\nTrilith-TTL-Ms: 5",
            "PUT /v1/kv/default/a HTTP/1.1\nTrilith-TLT-Ms: 5",
            "PUT /v1/kv/default/a HTTP/1.1\nContent-Range: bytes 5-9/10",
            "POST /v1/batch HTTP/1.1\nIf-Match: \"7\"",
        ] {
            assert_eq!(refused(head), (400, "BAD_REQUEST"), "{head}");
        }
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "values=perhaps",
            "consistency=weak",
            "max_stale_ms=-1",
            "max_stale_ms=",
            "prefx=a",
            "limit=1&limit=2",
        ] {
            let refused = refused(&format!("GET /v1/kv/default?{query} HTTP/1.1"));
            assert_eq!(refused, (400, "BAD_REQUEST"), "{query}");
        }
    }

    /// A head has room for a hundred thousand words, and each was compared with all before it.
    #[test]
    fn a_query_has_few_words() {
        let asked = |count: usize| {
            let words: Vec<String> = (0..count).map(|nth| format!("w{nth}=1")).collect();
            asked(&format!("GET /v1/kv/default?{} HTTP/1.1", words.join("&"))).unwrap_err().what
        };
        assert_eq!(asked(HTTP_QUERY_WORDS_MAX), "\"w0\" means nothing here");
        let many = "more than 16 words behind the question mark";
        assert_eq!((asked(HTTP_QUERY_WORDS_MAX + 1), asked(20_000)), (many.into(), many.into()));
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let known = |tags: &str| match asked(&format!(
            "GET /v1/kv/default/a HTTP/1.1\nIf-None-Match: {tags}"
        )) {
            Ok(Route::Get { known, .. }) => known,
            other => panic!("{other:?}"),
        };
        assert!(known("\"7\", W/\"8\"").has(Version(8)));
        assert!(!known("\"7\"").has(Version(8)));
        assert!(known("*").has(Version(8)));
    }

    #[test]
    fn what_there_is_not_says_what_there_is() {
        assert_eq!(refused("GET / HTTP/1.1"), (404, "NO_PATH"));
        assert_eq!(refused("GET /v1/kv HTTP/1.1"), (404, "NO_PATH"));
        assert_eq!(refused("POST /v1/kv/default/a HTTP/1.1"), (405, "METHOD"));
        assert_eq!(refused("BREW /livez HTTP/1.1"), (405, "METHOD"));
    }

    #[test]
    fn the_description_for_programs_says_what_there_is() {
        let text = include_str!("openapi.json");
        let told: serde_json::Value = serde_json::from_str(text).unwrap();
        let paths = told["paths"].as_object().unwrap();
        let mut described = Vec::new();
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.push((path.clone(), method.to_uppercase()));
            }
        }
        let mut there_is = Vec::new();
        for (path, _, methods) in TABLE {
            // HEAD is GET without a body.
            for method in methods.iter().filter(|method| **method != Method::Head) {
                there_is.push(((*path).to_owned(), method.name().to_owned()));
            }
        }
        described.sort();
        there_is.sort();
        assert_eq!(described, there_is);
    }
}
