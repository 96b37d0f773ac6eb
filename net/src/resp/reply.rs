//! Answers: written as RESP2 or RESP3, whichever the connection has agreed on.
//!
//! | what | RESP2 | RESP3 |
//! | --- | --- | --- |
//! | nothing | `$-1` | `_` |
//! | no array | `*-1` | `_` |
//! | a map of n | an array of 2n | `%n` |
//! | a set, a push | an array | `~`, `>` |
//! | true, false | `:1`, `:0` | `#t`, `#f` |
//! | a double | a string | `,` |
//! | a text of a kind | a string | `=` |
//!
//! An answer is written straight into the bytes that go out; whoever announces n things writes n.
//!
//! Not here: what is answered.

use bytes::{BufMut, BytesMut};
use std::fmt::{self, Write as _};

/// Which of the two a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// As it begins.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Writes answers.
#[derive(Debug)]
pub struct Answer<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
}

impl<'a> Answer<'a> {
    /// Behind these bytes.
    pub const fn new(out: &'a mut BytesMut, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    const fn is_resp3(&self) -> bool {
        matches!(self.protocol, Protocol::Resp3)
    }

    fn head(&mut self, mark: u8, number: impl fmt::Display) {
        self.out.put_u8(mark);
        // Memory that grows has room.
        _ = write!(self.out, "{number}\r\n");
    }

    /// A short text without ends of lines, as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.out.put_u8(b'+');
        self.line(text);
    }

    /// `OK`.
    pub fn ok(&mut self) {
        self.out.put_slice(b"+OK\r\n");
    }

    /// An error: its code in capitals, then its words.
    pub fn error(&mut self, text: &str) {
        self.out.put_u8(b'-');
        self.line(text);
    }

    /// Whatever was said by others may have ends of lines in it.
    fn line(&mut self, text: &str) {
        let is_end = |byte: u8| byte == b'\r' || byte == b'\n';
        self.out.extend(text.bytes().map(|byte| if is_end(byte) { b' ' } else { byte }));
        self.out.put_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 24);
        self.head(b'$', bytes.len());
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// A string of bytes, or nothing.
    pub fn option(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.nothing(),
        }
    }

    /// Nothing.
    pub fn nothing(&mut self) {
        self.out.put_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, where an array was expected.
    pub fn no_array(&mut self) {
        self.out.put_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// So many things follow.
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count);
    }

    /// So many pairs follow.
    pub fn map(&mut self, count: usize) {
        if self.is_resp3() { self.head(b'%', count) } else { self.array(count * 2) }
    }

    /// So many things follow, in no order.
    pub fn set(&mut self, count: usize) {
        if self.is_resp3() { self.head(b'~', count) } else { self.array(count) }
    }

    /// So many things follow that nobody has asked for.
    pub fn push(&mut self, count: usize) {
        if self.is_resp3() { self.head(b'>', count) } else { self.array(count) }
    }

    /// Yes or no.
    pub fn boolean(&mut self, is_so: bool) {
        match (self.is_resp3(), is_so) {
            (true, true) => self.out.put_slice(b"#t\r\n"),
            (true, false) => self.out.put_slice(b"#f\r\n"),
            (false, is_so) => self.integer(is_so.into()),
        }
    }

    /// A text for people.
    pub fn verbatim(&mut self, text: &str) {
        if self.is_resp3() {
            self.head(b'=', text.len() + 4);
            self.out.put_slice(b"txt:");
            self.out.put_slice(text.as_bytes());
            self.out.put_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Answer<'_>)) -> [String; 2] {
        [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut out = BytesMut::new();
            write(&mut Answer::new(&mut out, protocol));
            String::from_utf8_lossy(&out).replace("\r\n", "|")
        })
    }

    #[test]
    fn each_answer_is_written_as_the_table_says() {
        assert_eq!(both(|answer| answer.ok()), ["+OK|", "+OK|"]);
        assert_eq!(both(|answer| answer.integer(-7)), [":-7|", ":-7|"]);
        assert_eq!(both(|answer| answer.bulk(b"a\r\n")), ["$3|a||", "$3|a||"]);
        assert_eq!(both(|answer| answer.nothing()), ["$-1|", "_|"]);
        assert_eq!(both(|answer| answer.no_array()), ["*-1|", "_|"]);
        assert_eq!(both(|answer| answer.map(2)), ["*4|", "%2|"]);
        assert_eq!(both(|answer| answer.set(2)), ["*2|", "~2|"]);
        assert_eq!(both(|answer| answer.push(3)), ["*3|", ">3|"]);
        assert_eq!(both(|answer| answer.boolean(true)), [":1|", "#t|"]);
        assert_eq!(both(|answer| answer.verbatim("x")), ["$1|x|", "=5|txt:x|"]);
    }

    #[test]
    fn no_word_of_an_error_ends_its_line() {
        let said = both(|answer| answer.error("ERR unknown command 'a\r\n+OK'"));
        assert_eq!(said[0], "-ERR unknown command 'a  +OK'|");
    }
}
