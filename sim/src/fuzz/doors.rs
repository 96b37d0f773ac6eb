//! Bytes that nobody wrote, at the ports where clients come: Redis, HTTP, the text protocol.
//!
//! What comes is cut twice, at once and in pieces: both must be the same requests, up to the same
//! end. What was cut is looked at as the port would: which command it is, what it asks. What was
//! understood is written again and must be read as the same. And what a connection holds is paid for
//! by what it was sent: a length that is only said takes nothing.
//!
//! Not here: what commands do, sockets (`net/tests/doors`), what nodes send each other (`wire`).

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use trilith_engine::{
    command::{Command, Condition, Expiry, Op},
    runtime::Rng as _,
    types::Version,
};
use trilith_net::{
    client::Wish,
    http::{
        batch::{self, Batch},
        cut::{Cut, Cutter as HttpCutter, Request},
        route::{Route, route},
    },
    limits::{HTTP_PAGE_KEYS_MAX, PROBLEM_WORDS_BYTES_MAX},
    resp::{
        act::Act,
        commands::COMMANDS,
        heard::{Heard, NoAnswer},
        reply::{Answer, Protocol},
        request::{Cutter as RespCutter, Words},
    },
    text::syntax::{Ask, Broken as TextBroken, Cutter as TextCutter},
};

use super::{
    Fed,
    texts::{like, pieces, twist},
};
use crate::luck::{Domain, Luck};

fn luck(seed: u64) -> Luck {
    Luck::new(seed, Domain::Named("fuzz"))
}

/// That two readings of the same bytes are the same.
fn agree<T: PartialEq + fmt::Debug>(at_once: &T, in_pieces: &T) -> Result<(), String> {
    if at_once == in_pieces {
        return Ok(());
    }
    Err(format!("at once it is {at_once:?} and in pieces {in_pieces:?}"))
}

/// That what is held beside `free` is paid for by what came.
fn paid(held: usize, free: usize, came: usize) -> Result<(), String> {
    // A buffer that grows doubles, and may be shared with what was cut from it.
    if held <= free + 8 * came {
        return Ok(());
    }
    Err(format!("{held} bytes are held of a connection that sent {came}"))
}

const RESP: [&[u8]; 14] = [
    b"*1\r\n$4\r\nPING\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
    b"*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n$2\r\nPX\r\n$4\r\n6000\r\n",
    b"*2\r\n$4\r\nMGET\r\n$0\r\n\r\n",
    b"*4\r\n$8\r\nSETRANGE\r\n$1\r\na\r\n$2\r\n10\r\n$1\r\nx\r\n",
    b"MSET a 1 b \"\\x00\\n\" c 'it\\'s'\r\n",
    b"GETRANGE a 0 -1\r\nINCRBYFLOAT a 3.0e3\r\n",
    b"SET a 1 EX 100 NX GET\r\nGETEX a PXAT 1790000000000\r\n",
    b"SCAN 0 MATCH a[b-c]*\\? COUNT 10 TYPE string\n",
    b"*0\r\n*-1\r\n\r\nMULTI\nEXPIRE a 100 NX\nEXEC\n",
    b"AUTH alice secret\r\nHELLO 3 AUTH alice secret SETNAME me\r\n",
    b"WITH eventual GET a\r\nRENAMENX a b\r\nCOPY a b REPLACE\r\n",
    b"CONFIG GET max*\r\nCLIENT KILL ID 7 SKIPME no\r\nCOMMAND DOCS get\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n",
];

type Spoken = Vec<Vec<Vec<u8>>>;

fn spoken(words: &Words) -> Vec<Vec<u8>> {
    words.iter().map(<[u8]>::to_vec).collect()
}

/// All requests of what a Redis client sent, and whether it ends in something else.
fn cut_resp(pieces: &[&[u8]], is_strange: bool) -> Result<(Vec<Words>, bool), String> {
    let (mut cutter, mut buffer) = (RespCutter::default(), BytesMut::new());
    let (mut all, mut came) = (Vec::new(), 0);
    cutter.is_of_stranger(is_strange);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match cutter.take(&mut buffer) {
                Ok(Some(words)) => all.push(words),
                Ok(None) => break,
                Err(_) => return Ok((all, true)),
            }
        }
        paid(buffer.capacity() + cutter.held(), 4096, came)?;
    }
    Ok((all, false))
}

/// Redis clients.
pub(super) fn resp(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let bytes = like(&RESP, &mut luck);
    let is_strange = luck.chance(1, 4);
    let (all, is_broken) = cut_resp(&[&bytes], is_strange)?;
    let (again, broke_again) = cut_resp(&pieces(&bytes, &mut luck), is_strange)?;
    let spoken_of = |all: &[Words]| all.iter().map(spoken).collect::<Spoken>();
    agree(&(spoken_of(&all), is_broken), &(spoken_of(&again), broke_again))?;
    for words in &all {
        if let Some(spec) = COMMANDS.of(words)
            && spec.takes(words.len())
            && let Ok(Some(act)) = Act::read(spec, words)
            && act.keys().len() >= words.len()
        {
            return Err(format!("{act:?} has more keys than words"));
        }
        let mut written = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter() {
            written.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            written.extend_from_slice(word);
            written.extend_from_slice(b"\r\n");
        }
        let (read, _) = cut_resp(&[&written], false)?;
        agree(&vec![spoken(words)], &spoken_of(&read))?;
    }
    Ok(bytes.len())
}

/// An answer of some kind; several of them where `depth` is left.
fn put_answer(answer: &mut Answer<'_>, depth: u64, luck: &mut Luck) {
    match luck.range(0..12) {
        0..3 if depth > 0 => {
            let count = luck.index(4);
            answer.array(count);
            (0..count).for_each(|_| put_answer(answer, depth - 1, luck));
        }
        3 if depth > 0 => {
            answer.map(1);
            (0..2).for_each(|_| put_answer(answer, depth - 1, luck));
        }
        4 => answer.error("ERR no"),
        5 => answer.integer(luck.next_u64().cast_signed()),
        6 => answer.nothing(),
        7 => answer.boolean(luck.coin()),
        8 => answer.verbatim("some text"),
        9 => answer.no_array(),
        10 => answer.ok(),
        _ => answer.bulk(b"a\r\n\xFF"),
    }
}

/// How many levels of answers there are in one.
fn levels(heard: &Heard) -> usize {
    match heard {
        Heard::Array(all) | Heard::Map(all) => 1 + all.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// The most levels that an answer is taken with.
const LEVELS_MOST: usize = 8;

/// Answers, as those who ask read them.
pub(super) fn answers(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let mut out = BytesMut::new();
    let protocol = if luck.coin() { Protocol::Resp2 } else { Protocol::Resp3 };
    let mut answer = Answer::new(&mut out, protocol);
    // We answer with few levels; others may say that there are many.
    for _ in 0..luck.range(0..12) {
        answer.array(1);
    }
    put_answer(&mut answer, 4, &mut luck);
    let mut bytes = out.to_vec();
    if luck.chance(3, 4) {
        twist(&mut bytes, &[b"*1\r\n", b"%1\r\n+a\r\n", b"$3\r\nabc\r\n", b":7\r\n"], &mut luck);
    }
    let whole = Heard::first(&bytes);
    if let Ok(Some((heard, length))) = &whole {
        if levels(heard) > LEVELS_MOST || *length > bytes.len() {
            return Err(format!("{} levels in {length} bytes", levels(heard)));
        }
        let shown = heard.to_string();
        if shown.len() > 1000 + 60 * bytes.len() {
            return Err(format!("{} letters for {} bytes", shown.len(), bytes.len()));
        }
    }
    // While some of it is missing it is waited for, or it is clear already that it is none.
    let part = &bytes[..luck.index(bytes.len() + 1)];
    match (Heard::first(part), &whole) {
        (Ok(None), _) | (Err(NoAnswer), Err(NoAnswer)) => Ok(bytes.len()),
        (Ok(Some(early)), Ok(Some(late))) if early == *late => Ok(bytes.len()),
        (early, late) => Err(format!("{early:?} of a part, and {late:?} of all of it")),
    }
}

const HTTP: [&[u8]; 13] = [
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PUT /v1/kv/default/a%20b HTTP/1.1\r\nContent-Length: 5\r\nIf-Match: \"7\"\r\n\r\nhello",
    b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
    b"PUT /v1/kv/default/a?keep_ttl HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"DELETE /v1/kv/default/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /v1/kv/default/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /v1/kv/default?prefix=a&after=b%2B&limit=10&values=1 HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"HEAD /readyz?verbose HTTP/1.1\r\nAccept: application/json\r\nCookie: a=b; c=d\r\n\r\n",
    b"\r\n\r\nGET /metrics HTTP/1.1\r\nAuthorization: Basic YTpi\r\n\r\n",
    b"PUT /v1/kv/default/a HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
];

/// All requests of what an HTTP client sent, and whether it ends in something else.
fn cut_http(pieces: &[&[u8]]) -> Result<(Vec<Request>, bool), String> {
    let (mut cutter, mut buffer) = (HttpCutter::default(), BytesMut::new());
    let (mut all, mut came) = (Vec::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match cutter.take(&mut buffer) {
                Ok(Cut::Request(request)) => all.push(request),
                // Told when a body has not come yet, which depends on how it comes.
                Ok(Cut::Head | Cut::Continue) => {}
                Ok(Cut::More) => break,
                Err(_) => return Ok((all, true)),
            }
        }
        // Each header costs something beside its bytes.
        paid(buffer.capacity() + cutter.held(), 4096, 16 * came)?;
    }
    Ok((all, false))
}

const USUAL: Wish = Wish::strong(Duration::from_secs(5));

/// What must be so of every request that was taken.
fn check_request(request: &Request) -> Result<(), String> {
    let has = |name: &str| request.names().any(|known| known == name);
    if has("content-length") && has("transfer-encoding") {
        return Err(format!("{request:?} ends in two ways"));
    }
    if request.names().any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return Err(format!("{request:?} has names in capitals"));
    }
    check_route(request, route(request, USUAL).ok())
}

/// What must be so of what a request asks.
fn check_route(request: &Request, asked: Option<Route>) -> Result<(), String> {
    let has_condition = request.names().any(|name| matches!(name, "if-match" | "if-none-match"));
    match asked {
        Some(Route::List(list)) if !(1..=HTTP_PAGE_KEYS_MAX).contains(&list.limit) => {
            Err(format!("a page of {} keys", list.limit))
        }
        Some(Route::Put { condition, .. } | Route::Delete { condition, .. })
            if has_condition && condition == Condition::Always =>
        {
            Err(format!("{request:?} is done whatever its condition says"))
        }
        Some(Route::Put { value, .. }) if value != request.body => {
            Err("a value that is not the body".to_owned())
        }
        _ => Ok(()),
    }
}

/// HTTP clients.
pub(super) fn http(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let bytes = like(&HTTP, &mut luck);
    let at_once = cut_http(&[&bytes])?;
    let in_pieces = cut_http(&pieces(&bytes, &mut luck))?;
    agree(&at_once, &in_pieces)?;
    at_once.0.iter().try_for_each(check_request)?;
    Ok(bytes.len())
}

/// Bytes as a part of a path, each that is no letter as `%20`; some letters too.
fn percent(bytes: &[u8], luck: &mut Luck) -> String {
    let letter = |byte: &u8| match byte {
        b'a'..=b'z' if luck.chance(7, 8) => char::from(*byte).to_string(),
        byte if luck.coin() => format!("%{byte:02X}"),
        byte => format!("%{byte:02x}"),
    };
    bytes.iter().map(letter).collect()
}

const QUERIES: [&[u8]; 10] = [
    b"prefix=a%20b",
    b"after=c",
    b"limit=7",
    b"values",
    b"consistency=eventual",
    b"max_stale_ms=500",
    b"keep_ttl=true",
    b"verbose=0",
    b"%=&&=",
    &[b'q'; 700],
];

const HEADERS: [&[u8]; 8] = [
    b"If-Match: \"7\"",
    b"If-None-Match: *",
    b"If-None-Match: \"7\", W/\"8\"",
    b"Trilith-TTL-Ms: 60000",
    b"Accept: application/json",
    b"Content-Range: bytes 5-9/10",
    b"Trilith-Unknown: 1",
    b"If-Match: *",
];

/// What HTTP clients ask: paths, queries and headers.
pub(super) fn questions(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let key: Vec<u8> = (0..luck.range(1..20)).map(|_| luck.next_u64() as u8).collect();
    let method = *luck.pick(&["GET", "HEAD", "PUT", "POST", "DELETE", "BREW"]);
    let path = match luck.range(0..6) {
        0 => *luck.pick(&["/livez", "/readyz", "/v1/status", "/v1/kv/default", "/v1/batch", "/"]),
        _ => "/v1/kv/default/",
    };
    let names_key = path.ends_with("default/");
    let mut target = path.to_owned();
    if names_key {
        target.push_str(&percent(&key, &mut luck));
    }
    let mut query: Vec<u8> = Vec::new();
    for _ in 0..luck.range(0..4) {
        query.extend_from_slice(if query.is_empty() { b"?" } else { b"&" });
        query.extend_from_slice(luck.pick::<&[u8]>(&QUERIES));
    }
    let is_plain = query.is_empty() && luck.coin();
    if !is_plain {
        twist(&mut query, &QUERIES, &mut luck);
    }
    let mut bytes = [format!("{method} {target}").as_bytes(), &query, b" HTTP/1.1\r\n"].concat();
    let headers = if is_plain { 0 } else { luck.range(0..3) };
    for _ in 0..headers {
        let mut header = luck.pick(&HEADERS).to_vec();
        if luck.chance(1, 3) {
            twist(&mut header, &HEADERS, &mut luck);
        }
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let (requests, _) = cut_http(&[&bytes])?;
    for request in &requests {
        check_request(request)?;
    }
    if is_plain && names_key && method != "POST" && method != "BREW" {
        let asked = requests.first().map(|request| route(request, USUAL));
        match asked {
            Some(Ok(
                Route::Get { key: named, .. }
                | Route::Put { key: named, .. }
                | Route::Delete { key: named, .. },
            )) if named == key => {}
            other => return Err(format!("{key:?} is asked for, and that is {other:?}")),
        }
    }
    if let Some(request) = requests.first()
        && let Err(problem) = route(request, USUAL)
        && (problem.what.len() > PROBLEM_WORDS_BYTES_MAX || problem.status < 400)
    {
        return Err(format!("a problem of {} bytes", problem.what.len()));
    }
    Ok(bytes.len())
}

/// A step of a batch as it is sent, and as it is to be understood.
fn step(luck: &mut Luck) -> (String, Op) {
    let key: Vec<u8> = (0..luck.range(0..6)).map(|_| luck.next_u64() as u8).collect();
    let said = |name: &str, bytes: &[u8], luck: &mut Luck| match std::str::from_utf8(bytes) {
        Ok(text) if luck.coin() => match serde_json::to_string(text) {
            Ok(quoted) => format!("\"{name}\": {quoted}"),
            Err(_) => format!("\"{name}_base64\": \"{}\"", BASE64.encode(bytes)),
        },
        _ => format!("\"{name}_base64\": \"{}\"", BASE64.encode(bytes)),
    };
    let named = said("key", &key, luck);
    let key = Bytes::from(key);
    let number = luck.next_u64() >> luck.range(0..64);
    let (words, condition) = match luck.range(0..4) {
        0 => (format!(", \"if_version\": {number}"), Condition::Version(Version(number))),
        1 => (", \"if_present\": true".to_owned(), Condition::Present),
        2 => (", \"if_present\": false".to_owned(), Condition::Absent),
        _ => (String::new(), Condition::Always),
    };
    match luck.range(0..4) {
        0 => (format!("{{\"op\": \"get\", {named}}}"), Op::Get(key)),
        1 => {
            let value: Vec<u8> = (0..luck.range(0..9)).map(|_| luck.next_u64() as u8).collect();
            let valued = said("value", &value, luck);
            let (ttl, expiry) = match luck.range(1..1000) {
                ms if ms < 500 => (format!(", \"ttl_ms\": {ms}"), Expiry::After(ms)),
                _ => (String::new(), Expiry::None),
            };
            let value = Bytes::from(value);
            let text = format!("{{\"op\": \"put\", {named}, {valued}{ttl}{words}}}");
            (text, Op::Write(Command::Set { key, value, expiry, condition, want_old: false }))
        }
        2 => {
            let text = format!("{{\"op\": \"delete\", {named}{words}}}");
            (text, Op::Write(Command::Delete { key, condition, want_old: false }))
        }
        _ => {
            let by = luck.next_u64().cast_signed();
            let text = format!("{{\"op\": \"increment\", {named}, \"by\": {by}}}");
            (text, Op::Write(Command::Increment { key, by }))
        }
    }
}

const BATCHES: [&[u8]; 9] = [
    br#"{"op": "get", "key": "a"}"#,
    br#""atomic": true, "#,
    br#"{"op": "check", "key": "a", "if_present": false}, "#,
    br#"{"op": "put", "key": "b", "value": "1", "if_version": 7}"#,
    br#""key_base64": "YQ==", "#,
    b"[[[[[[[[[[[[[[[[",
    br#"{"\u0000\ud800": {"#,
    br#""value": "\ud83d\ude00", "ttl_ms": 1e3, "#,
    &[b'k'; 700],
];

/// Batches in JSON.
pub(super) fn batches(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let steps: Vec<_> = (0..luck.range(0..4)).map(|_| step(&mut luck)).collect();
    let (texts, ops): (Vec<String>, Vec<Op>) = steps.into_iter().unzip();
    let is_atomic = luck.chance(1, 4);
    let atomic = if is_atomic { "\"atomic\": true, " } else { "" };
    let mut bytes = format!("{{{atomic}\"ops\": [{}]}}", texts.join(", ")).into_bytes();
    let is_plain = luck.chance(1, 4);
    if !is_plain {
        twist(&mut bytes, &BATCHES, &mut luck);
    }
    match batch::read(&bytes) {
        Err(problem) if problem.what.len() > PROBLEM_WORDS_BYTES_MAX => {
            Err(format!("{} bytes of why", problem.what.len()))
        }
        Err(problem) if is_plain && !is_atomic => Err(format!("{problem:?} of {texts:?}")),
        Ok(Batch::Steps(read)) if is_plain && read != ops => Err(format!("{read:?} of {texts:?}")),
        // Each step has at least an op and a key.
        Ok(Batch::Steps(read)) if read.len() > bytes.len() / STEP_BYTES => {
            Err(format!("{} steps of {} bytes", read.len(), bytes.len()))
        }
        Ok(Batch::Atomic(transaction, of)) if transaction.checks().len() != of.len() => {
            Err(format!("{} checks are of {} steps", transaction.checks().len(), of.len()))
        }
        Ok(_) | Err(_) => Ok(bytes.len()),
    }
}

/// The shortest step: nothing is done by less.
const STEP_BYTES: usize = br#"{"op":"get","key":""}"#.len();

const TEXT: [&[u8]; 9] = [
    b"SET a 5\nhe\nlo",
    b"GET a\r\n",
    b"del \xff\xfe\n",
    b"SET b 0\n\r\n\n",
    b"AUTH me a:b\n",
    b"AUTH me  two words \r\n",
    b"SET key 12\r\n0123456789ab",
    b"GET / HTTP/1.1\r\n",
    b"*1\r\n$4\r\nPING\r\n",
];

type Typed = (Vec<Ask>, Option<TextBroken>);

/// All requests of what a client of the text protocol sent, and why it ends.
fn cut_text(pieces: &[&[u8]], is_stranger: bool) -> Result<Typed, String> {
    let (mut cutter, mut buffer) = (TextCutter::default(), BytesMut::new());
    let (mut all, mut came) = (Vec::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match cutter.take(&mut buffer, is_stranger) {
                Ok(Some(ask)) => all.push(ask),
                Ok(None) => break,
                Err(why) => return Ok((all, Some(why))),
            }
        }
        // A value that was announced may find a little room made for it.
        paid(buffer.capacity(), 192 << 10, came)?;
    }
    Ok((all, None))
}

/// A request as somebody types it.
fn written_text(ask: &Ask) -> Vec<u8> {
    let mut out = Vec::new();
    let mut say = |words: &[&[u8]]| words.iter().for_each(|word| out.extend_from_slice(word));
    match ask {
        Ask::Get(key) => say(&[b"GET ", &key[..], b"\r\n"]),
        Ask::Delete(key) => say(&[b"DEL ", &key[..], b"\r\n"]),
        Ask::Login(name, password) => {
            say(&[b"AUTH ", &name[..], b" ", &password[..], b"\r\n"]);
        }
        Ask::Set(key, value) => {
            let length = value.len().to_string();
            say(&[b"SET ", &key[..], b" ", length.as_bytes(), b"\r\n", &value[..]]);
        }
    }
    out
}

/// Clients of the text protocol.
pub(super) fn typed(seed: u64) -> Fed {
    let mut luck = luck(seed);
    let bytes = like(&TEXT, &mut luck);
    let is_stranger = luck.chance(1, 6);
    let at_once = cut_text(&[&bytes], is_stranger)?;
    let in_pieces = cut_text(&pieces(&bytes, &mut luck), is_stranger)?;
    agree(&at_once, &in_pieces)?;
    for ask in at_once.0 {
        if is_stranger && !matches!(ask, Ask::Login(..)) {
            return Err(format!("a stranger asked for {ask:?}"));
        }
        let written = written_text(&ask);
        agree(&(vec![ask], None), &cut_text(&[&written], false)?)?;
    }
    Ok(bytes.len())
}
