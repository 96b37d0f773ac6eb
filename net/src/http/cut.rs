//! Requests, cut out of what a connection sends: HTTP/1.1 and 1.0, bodies with a length or in chunks.
//!
//! What two readers could understand in two ways is refused: a length and chunks together, two
//! lengths that differ, a folded header, a chunk whose line ends in something else. Behind a proxy
//! that would let one request hide in another.
//!
//! Invariants: what is kept of a request is no more than a head and a body of the largest size, and
//! is counted ([`Cutter::held`]); bytes behind a request stay for the next one.
//!
//! Not here: what a request asks (`route.rs`), how long one waits for it (`serve.rs`).

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use httparse::Status;
use trilith_engine::{mark, planted};

use super::answer::Problem;
use crate::limits::{
    HTTP_BODY_BYTES_MAX, HTTP_CHUNK_LINE_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADER_COST_BYTES,
    HTTP_HEADERS_MAX, HTTP_TRAILER_BYTES_MAX,
};

/// What is to be done with what a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Tell it.
    Get,
    /// Tell it without its body.
    Head,
    /// Put it there.
    Put,
    /// Do something with it.
    Post,
    /// Take it away.
    Delete,
    /// Anything else.
    Other,
}

impl Method {
    fn read(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Other => "OTHER",
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// With what: path and query as they were sent.
    pub target: String,
    /// The server that the target named, if it did.
    authority: Option<String>,
    /// Names in small letters.
    headers: Vec<(String, Bytes)>,
    /// What comes with it.
    pub body: Bytes,
    /// Whether the connection is used again.
    pub stays: bool,
}

impl Request {
    /// What a header says that may be there once.
    ///
    /// # Errors
    /// When it is there twice, or is no text: it is not known then what was meant.
    pub fn once(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut all = self.all(name);
        let Some(value) = all.next() else { return Ok(None) };
        match (std::str::from_utf8(value), all.next()) {
            (Ok(text), None) => Ok(Some(text.trim())),
            (Ok(_), Some(_)) => Err(Problem::bad(format!("{name} is there twice"), "say it once")),
            (Err(_), _) => Err(Problem::bad(format!("{name} is no text"), "say it in ASCII")),
        }
    }

    /// The server that is asked, by the name that it was asked for: what a target says of it counts, and
    /// a header is not asked then.
    ///
    /// # Errors
    /// When it is not known which is meant.
    pub fn host(&self) -> Result<Option<&str>, Problem> {
        let header = self.once("host")?;
        Ok(self.authority.as_deref().or(header))
    }

    /// A target may name the server, as it does for proxies. What is left is what is asked of it.
    fn drop_authority(&mut self) {
        let Some((scheme, rest)) = self.target.split_once("://") else { return };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let slash = if path.starts_with('/') { "" } else { "/" };
        (self.authority, self.target) = (Some(authority.to_owned()), format!("{slash}{path}"));
    }

    /// The names of all headers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// What is kept of its head.
    pub(super) fn head_bytes(&self) -> usize {
        let header =
            |(name, value): &(String, Bytes)| name.len() + value.len() + HTTP_HEADER_COST_BYTES;
        let authority = self.authority.as_ref().map_or(0, String::len);
        authority + self.target.len() + self.headers.iter().map(header).sum::<usize>()
    }

    /// Whether a header is there that lists words, this one among them.
    fn lists(&self, name: &str, word: &str) -> bool {
        let texts = self.all(name).filter_map(|value| std::str::from_utf8(value).ok());
        texts.flat_map(|text| text.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
}

/// Why a connection cannot be understood any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The head is no head of HTTP.
    Head,
    /// The head is too long, or has too many headers.
    HeadTooLong,
    /// The length of the body is not certain.
    Length,
    /// The body is too long.
    BodyTooLong,
    /// A chunk of the body cannot be read.
    Chunk,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "this is no request of HTTP/1.1",
            Self::HeadTooLong => "the request's head is too long",
            Self::Length => "the length of the request's body is not certain",
            Self::BodyTooLong => "the request's body is too long",
            Self::Chunk => "a chunk of the request's body cannot be read",
        })
    }
}

/// What has come so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not a whole request.
    More,
    /// A head whose body is still to come, told once: who asks may be looked at before more is taken
    /// ([`Cutter::head_of_pending`]).
    Head,
    /// The body is held back until it is asked for.
    Continue,
    /// This.
    Request(Request),
}

/// How a body ends.
#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunks(BytesMut),
    /// Chunks, and the last one was there: headers behind it, which nobody reads, and how many bytes
    /// of them have come.
    Trailer(BytesMut, usize),
}

/// Cuts.
#[derive(Debug, Default)]
pub struct Cutter {
    /// A request whose body is still to come.
    pending: Option<(Request, Framing)>,
    /// How much of the head was looked through for its end.
    looked: usize,
    /// Whether its head is still to be told, and that its body is held back.
    is_untold: bool,
    is_held_back: bool,
}

impl Cutter {
    /// Whether nothing of a request is there.
    #[must_use]
    pub fn is_between(&self, bytes: &BytesMut) -> bool {
        self.pending.is_none() && bytes.is_empty()
    }

    /// How much it has taken of a request that is not whole.
    #[must_use]
    pub fn held(&self) -> usize {
        let Some((request, framing)) = &self.pending else { return 0 };
        let body = match framing {
            Framing::Chunks(body) | Framing::Trailer(body, _) => body.len(),
            Framing::Length(_) => 0,
        };
        request.head_bytes() + body
    }

    /// The next request, if it is whole.
    ///
    /// # Errors
    /// When what comes can never be one.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Cut, Broken> {
        if self.pending.is_none() {
            self.pending = self.head(bytes)?;
            let pending = self.pending.as_ref();
            self.is_untold = pending.is_some();
            self.is_held_back =
                pending.is_some_and(|(request, _)| request.lists("expect", "100-continue"));
        }
        let Some((mut request, mut framing)) = self.pending.take() else { return Ok(Cut::More) };
        if let Some(body) = whole(&mut framing, bytes)? {
            request.body = body;
            return Ok(Cut::Request(request));
        }
        self.pending = Some((request, framing));
        if std::mem::take(&mut self.is_untold) {
            return Ok(Cut::Head);
        }
        Ok(if std::mem::take(&mut self.is_held_back) { Cut::Continue } else { Cut::More })
    }

    /// The request whose body is still to come, without it.
    #[must_use]
    pub fn head_of_pending(&self) -> Option<&Request> {
        self.pending.as_ref().map(|(request, _)| request)
    }

    /// The next head, if it is whole.
    fn head(&mut self, bytes: &mut BytesMut) -> Result<Option<(Request, Framing)>, Broken> {
        while self.looked == 0 && matches!(bytes.first(), Some(b'\r' | b'\n')) {
            bytes.advance(1);
        }
        let from = self.looked.saturating_sub(3);
        let ends = bytes[from..].windows(4).any(|four| four == b"\r\n\r\n");
        self.looked = bytes.len();
        if !ends {
            return if bytes.len() > HTTP_HEAD_BYTES_MAX {
                Err(Broken::HeadTooLong)
            } else {
                Ok(None)
            };
        }
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(Status::Complete(length)) if length <= HTTP_HEAD_BYTES_MAX => length,
            Ok(Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Broken::HeadTooLong);
            }
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Broken::Head),
        };
        // Whoever takes such an end of a line for a part of it has let a header of another pass.
        if bare_end(&bytes[..length]) {
            mark!("http: a line of a head ended in half");
            return Err(Broken::Head);
        }
        let named = head
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), Bytes::copy_from_slice(header.value)));
        let mut request = Request {
            method: Method::read(head.method.unwrap_or_default()),
            target: head.path.unwrap_or_default().to_owned(),
            authority: None,
            headers: named.collect(),
            body: Bytes::new(),
            stays: head.version == Some(1),
        };
        request.drop_authority();
        // Whoever speaks 1.0 would have to be told that it stays.
        request.stays &= !request.lists("connection", "close");
        if head.version != Some(1) && request.all("transfer-encoding").next().is_some() {
            return Err(Broken::Length);
        }
        let framing = framing(&request)?;
        bytes.advance(length);
        self.looked = 0;
        Ok(Some((request, framing)))
    }
}

/// Whether a line ends without a return.
fn bare_end(head: &[u8]) -> bool {
    let mut ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.any(|(at, _)| at == 0 || head[at - 1] != b'\r')
}

/// How the body of this request ends.
fn framing(request: &Request) -> Result<Framing, Broken> {
    let mut lengths = request.all("content-length");
    let first = lengths.next();
    if lengths.any(|other| Some(other) != first) {
        return Err(Broken::Length);
    }
    let mut codings = request.all("transfer-encoding");
    match (codings.next(), first) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(coding), None) => {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            if is_chunked { Ok(Framing::Chunks(BytesMut::new())) } else { Err(Broken::Length) }
        }
        (None, Some(length)) => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(length).ok().filter(|_| is_number);
            // A number that is too long to be one is a length that is too long.
            let length = text.ok_or(Broken::Length)?.parse().unwrap_or(usize::MAX);
            if length > HTTP_BODY_BYTES_MAX {
                Err(Broken::BodyTooLong)
            } else {
                Ok(Framing::Length(length))
            }
        }
        (Some(_), Some(_)) => {
            mark!("http: a request had a length and chunks");
            if planted!("http_length_and_chunks_are_taken") {
                return Ok(Framing::Chunks(BytesMut::new()));
            }
            Err(Broken::Length)
        }
    }
}

/// The body, if all of it is there.
fn whole(framing: &mut Framing, bytes: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
    loop {
        match framing {
            Framing::Length(length) => {
                let is_there = bytes.len() >= *length || planted!("http_takes_half_a_body");
                let length = (*length).min(bytes.len());
                return Ok(is_there.then(|| bytes.split_to(length).freeze()));
            }
            Framing::Chunks(body) => {
                let Some((line, size)) = chunk_line(bytes)? else { return Ok(None) };
                if size == 0 {
                    bytes.advance(line);
                    *framing = Framing::Trailer(std::mem::take(body), 0);
                    continue;
                }
                if size > HTTP_BODY_BYTES_MAX - body.len() {
                    return Err(Broken::BodyTooLong);
                }
                let end = line + size;
                if bytes.len() < end + 2 {
                    return Ok(None);
                }
                if &bytes[end..end + 2] != b"\r\n" {
                    return Err(Broken::Chunk);
                }
                body.extend_from_slice(&bytes[line..end]);
                bytes.advance(end + 2);
            }
            Framing::Trailer(body, came) => {
                let Some(line) = line(bytes)? else { return Ok(None) };
                let is_last = line.is_empty();
                let length = line.len() + 2;
                *came += length;
                if *came > HTTP_TRAILER_BYTES_MAX {
                    mark!("http: a trailer was too long");
                    return Err(Broken::Chunk);
                }
                bytes.advance(length);
                if is_last {
                    return Ok(Some(std::mem::take(body).freeze()));
                }
            }
        }
    }
}

/// The first line, without its end, if it is whole.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let looked = &bytes[..bytes.len().min(HTTP_CHUNK_LINE_BYTES_MAX)];
    match looked.iter().position(|byte| *byte == b'\n') {
        Some(end) => match bytes[..end].split_last() {
            Some((b'\r', line)) if !line.contains(&b'\r') => Ok(Some(line)),
            _ => Err(Broken::Chunk),
        },
        None if looked.len() < bytes.len() => Err(Broken::Chunk),
        None => Ok(None),
    }
}

/// The line before a chunk: its own length and the chunk's. What is said behind the number means
/// nothing to us.
fn chunk_line(bytes: &[u8]) -> Result<Option<(usize, usize)>, Broken> {
    let Some(line) = line(bytes)? else { return Ok(None) };
    let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number).ok_or(Broken::Chunk)?;
    let size = usize::from_str_radix(text, 16).ok().ok_or(Broken::Chunk)?;
    Ok(Some((line.len() + 2, size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that comes of these bytes, in pieces of that length.
    fn cut(bytes: &[u8], piece: usize) -> Result<Vec<Cut>, Broken> {
        let (mut cutter, mut buffer, mut all) = (Cutter::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                match cutter.take(&mut buffer)? {
                    Cut::More => break,
                    // It is told when its body has not come yet, however that comes.
                    Cut::Head => {}
                    cut => all.push(cut),
                }
            }
        }
        Ok(all)
    }

    fn requests(bytes: &[u8]) -> Vec<(Method, String, Bytes, bool)> {
        let whole = cut(bytes, bytes.len()).unwrap();
        for piece in 1..bytes.len() {
            assert_eq!(cut(bytes, piece).unwrap(), whole, "in pieces of {piece}");
        }
        let only = |cut| match cut {
            Cut::Request(request) => {
                Some((request.method, request.target, request.body, request.stays))
            }
            Cut::Continue => None,
            Cut::More | Cut::Head => unreachable!("left out"),
        };
        whole.into_iter().filter_map(only).collect()
    }

    #[test]
    fn requests_come_one_behind_the_other_and_in_pieces() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\n\
            PUT /b?c HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello\
            POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n\
            DELETE /e HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        let told = requests(bytes);
        let expected = [
            (Method::Get, "/a", &b""[..], true),
            (Method::Put, "/b?c", b"hello", true),
            (Method::Post, "/d", b"abcde", true),
            (Method::Delete, "/e", b"", false),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(method, target, body, stays)| {
                (*method, (*target).to_owned(), Bytes::from_static(body), *stays)
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_connection_stays_as_it_is_told_to() {
        let stays = |head: &str| requests(head.as_bytes()).first().unwrap().3;
        assert!(stays("GET / HTTP/1.1\r\n\r\n"));
        assert!(!stays("GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n"));
        assert!(!stays("GET / HTTP/1.1\r\nConnection: TE\r\nConnection: close\r\n\r\n"));
        assert!(!stays("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn a_body_that_is_held_back_is_asked_for_once() {
        let head = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(cut(head, head.len()), Ok(vec![Cut::Continue]));
        let both = [&head[..], b"abc"].concat();
        assert!(matches!(cut(&both, head.len()).unwrap()[..], [Cut::Continue, Cut::Request(_)]));
        assert!(matches!(cut(&both, both.len()).unwrap()[..], [Cut::Request(_)]), "it is there");
    }

    #[test]
    fn what_is_taken_of_a_body_is_counted() {
        let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::new());
        buffer.extend_from_slice(
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nd",
        );
        assert_eq!(cutter.take(&mut buffer), Ok(Cut::Head));
        assert_eq!(cutter.take(&mut buffer), Ok(Cut::More));
        let head = "/".len() + "transfer-encoding".len() + "chunked".len() + HTTP_HEADER_COST_BYTES;
        assert_eq!((cutter.held(), buffer.len()), (head + 3, 4));
    }

    /// Many connections could each leave the largest head behind and send no body.
    #[test]
    fn a_head_whose_body_does_not_come_is_counted() {
        let long = "v".repeat(HTTP_HEAD_BYTES_MAX - 100);
        let head = format!("PUT /a HTTP/1.1\r\nContent-Length: 3\r\nX: {long}\r\n\r\n");
        let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::from(head.as_bytes()));
        assert_eq!((cutter.held(), cutter.take(&mut buffer)), (0, Ok(Cut::Head)));
        assert!(buffer.is_empty() && cutter.held() > long.len(), "{}", cutter.held());
        buffer.extend_from_slice(b"abc");
        let Ok(Cut::Request(request)) = cutter.take(&mut buffer) else { panic!("it is whole") };
        assert_eq!(cutter.held(), 0);
        assert!(request.head_bytes() > long.len());
    }

    #[test]
    fn a_target_may_name_the_server() {
        let asks = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: header\r\n\r\n");
            match &cut(text.as_bytes(), text.len()).unwrap()[..] {
                [Cut::Request(request)] => {
                    (request.host().unwrap().map(str::to_owned), request.target.clone())
                }
                other => panic!("{other:?}"),
            }
        };
        let is = |host: &str, target: &str| (Some(host.to_owned()), target.to_owned());
        assert_eq!(asks("/a?b=http://c/d"), is("header", "/a?b=http://c/d"));
        assert_eq!(asks("http://n1:7380/a/b?c"), is("n1:7380", "/a/b?c"));
        assert_eq!(asks("HTTPS://n1"), is("n1", "/"));
        assert_eq!(asks("http://n1?c=/d"), is("n1", "/?c=/d"));
        assert_eq!(asks("http:///a"), is("", "/a"), "a name of nobody");
        assert_eq!(asks("*"), is("header", "*"));
        assert_eq!(asks("ftp://n1/a"), is("header", "ftp://n1/a"), "no path of this server");
    }

    #[test]
    fn a_trailer_has_an_end() {
        let head = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        let trailer = |bytes: usize| {
            let line = format!("{}\r\n", "t".repeat(126));
            let lines = line.repeat(bytes / line.len());
            cut(&[&head[..], lines.as_bytes(), b"\r\n"].concat(), 1000)
        };
        assert!(matches!(trailer(HTTP_TRAILER_BYTES_MAX / 2).unwrap()[..], [Cut::Request(_)]));
        assert_eq!(trailer(HTTP_TRAILER_BYTES_MAX), Err(Broken::Chunk));
    }

    #[test]
    fn a_head_is_told_once_before_its_body() {
        let head = b"PUT /a HTTP/1.1\r\nAuthorization: b\r\nContent-Length: 3\r\n\r\n";
        let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::from(&head[..]));
        assert_eq!(cutter.take(&mut buffer), Ok(Cut::Head));
        let told = cutter.head_of_pending().unwrap();
        assert_eq!((told.target.as_str(), told.once("authorization")), ("/a", Ok(Some("b"))));
        assert_eq!(cutter.take(&mut buffer), Ok(Cut::More));
        buffer.extend_from_slice(b"abc");
        assert!(matches!(cutter.take(&mut buffer), Ok(Cut::Request(_))));
        assert_eq!(cutter.head_of_pending(), None);
    }

    #[test]
    fn a_header_that_is_there_twice_or_is_no_text_is_not_taken_for_absent() {
        let once = |headers: &[u8]| {
            let bytes = [b"PUT / HTTP/1.1\r\n", headers, b"\r\n\r\n"].concat();
            match &cut(&bytes, bytes.len()).unwrap()[..] {
                [Cut::Request(request)] => request
                    .once("if-match")
                    .map(|text| text.map(str::to_owned))
                    .map_err(|problem| problem.status),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(once(b"A: b"), Ok(None));
        assert_eq!(once(b"If-Match: \"7\""), Ok(Some("\"7\"".to_owned())));
        assert_eq!(once(b"If-Match: \"\xFF\""), Err(400));
        assert_eq!(once(b"If-Match: \"7\"\r\nIf-Match: \"8\""), Err(400));
    }

    #[test]
    fn what_is_uncertain_or_too_long_is_refused() {
        let refused = |bytes: &[u8]| cut(bytes, bytes.len()).unwrap_err();
        let head =
            |headers: &str| refused(format!("PUT / HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes());
        assert_eq!(head("Content-Length: 1\r\nTransfer-Encoding: chunked"), Broken::Length);
        assert_eq!(head("Content-Length: 1\r\nContent-Length: 2"), Broken::Length);
        assert_eq!(head("Content-Length: +1"), Broken::Length);
        assert_eq!(head("Content-Length: "), Broken::Length);
        assert_eq!(head("Transfer-Encoding: gzip, chunked"), Broken::Length);
        assert_eq!(head("Content-Length: 536870912"), Broken::BodyTooLong);
        assert_eq!(head("Content-Length: 99999999999999999999999999"), Broken::BodyTooLong);
        assert_eq!(head("A: b\r\n folded: c"), Broken::Head);
        // A proxy that takes it for a part of the value passes 40 bytes of the next request as ours.
        assert_eq!(head("X: y\nContent-Length: 40"), Broken::Head);
        assert_eq!(refused(b"GET / HTTP/1.1\nX: y\r\n\r\n"), Broken::Head);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nX: y\n\n\r\n\r\n"), Broken::Head);
        assert_eq!(refused(b"hello\r\n\r\n"), Broken::Head);
        assert_eq!(refused(b"*1\r\n$4\r\nPING\r\n\r\n"), Broken::Head);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HTTP_HEAD_BYTES_MAX));
        assert_eq!(refused(long.as_bytes()), Broken::HeadTooLong);
        assert_eq!(refused(&vec![b'a'; HTTP_HEAD_BYTES_MAX + 1]), Broken::HeadTooLong);
        let many = "a: b\r\n".repeat(HTTP_HEADERS_MAX + 1);
        assert_eq!(head(many.trim_end()), Broken::HeadTooLong);
        let chunks = |body: &str| {
            refused(
                format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes(),
            )
        };
        assert_eq!(chunks("zz\r\n"), Broken::Chunk);
        assert_eq!(chunks("1\r\nabc\r\n"), Broken::Chunk);
        assert_eq!(chunks("ffffffff\r\n"), Broken::BodyTooLong);
        assert_eq!(chunks("1\r\na\r\nffffffffffffffff\r\n"), Broken::Chunk);
        assert_eq!(chunks("1\r\na\r\nffffffff\r\n"), Broken::BodyTooLong);
        assert_eq!(chunks("\r\n"), Broken::Chunk, "no number is no end");
        assert_eq!(chunks(";x\r\n"), Broken::Chunk);
        assert_eq!(chunks("1;x\nb\r\n"), Broken::Chunk, "a line ends in one way");
        assert_eq!(chunks("0\r\na: b\n\r\n"), Broken::Chunk);
        assert_eq!(chunks("0\r\n\r\r\n"), Broken::Chunk);
        let old = b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(refused(old), Broken::Length, "1.0 had no chunks");
        assert_eq!(chunks(&format!("1;{}", "x".repeat(HTTP_CHUNK_LINE_BYTES_MAX))), Broken::Chunk);
    }

    proptest! {
        #[test]
        fn any_bytes_are_requests_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..40,
        ) {
            let _told = cut(&bytes, piece);
        }

        #[test]
        fn a_request_with_a_byte_changed_is_a_request_or_refused(
            at in 0_usize..120, to in any::<u8>(), piece in 1_usize..40,
        ) {
            let mut bytes = b"POST /v1/batch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                4\r\nabcd\r\n0\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy".to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            prop_assert_eq!(cut(&bytes, piece), cut(&bytes, bytes.len()));
        }
    }
}
