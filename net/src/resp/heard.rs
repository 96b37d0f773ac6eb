//! Answers as a client reads them: of either protocol, from bytes that may not all be there yet.
//!
//! Read from its beginning again when more has come: whoever needs that to be quick sends programs,
//! and this is for people and tests. What nests deeper than anything we say is no answer.
//!
//! Shown, an answer looks as Redis' own client shows it.
//!
//! Not here: how answers are written (`reply.rs`), connections.

use bytes::Bytes;
use std::{fmt, str};
use trilith_engine::planted;

/// No command of ours answers with more levels than half of that.
const DEPTH_MAX: usize = 8;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A short text, as `OK`.
    Simple(String),
    /// It did not work; the first word says how.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Bytes),
    /// Nothing.
    Nothing,
    /// Yes or no.
    Boolean(bool),
    /// A number that is no `i64`, as it was written.
    Number(String),
    /// Several answers.
    Array(Vec<Heard>),
    /// Pairs of answers, one behind the other.
    Map(Vec<Heard>),
}

/// Bytes that are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what came is no answer of the Redis protocol")
    }
}

impl std::error::Error for NoAnswer {}

impl Heard {
    /// The first answer of these bytes and how long it is, when all of it is there.
    ///
    /// # Errors
    /// [`NoAnswer`], however much comes behind it.
    pub fn first(bytes: &[u8]) -> Result<Option<(Self, usize)>, NoAnswer> {
        let mut reader = Reader { bytes, at: 0 };
        Ok(reader.answer(0)?.map(|heard| (heard, reader.at)))
    }

    /// Whether it did not work.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Self::Simple(text) | Self::Number(text) => f.write_str(text),
            Self::Error(text) => write!(f, "(error) {text}"),
            Self::Integer(number) => write!(f, "(integer) {number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Nothing => f.write_str("(nil)"),
            Self::Boolean(is_so) => f.write_str(if *is_so { "(true)" } else { "(false)" }),
            Self::Array(all) | Self::Map(all) if all.is_empty() => f.write_str("(empty array)"),
            Self::Array(all) => {
                let width = all.len().to_string().len();
                for (nth, one) in all.iter().enumerate() {
                    let before = if nth == 0 { 0 } else { indent };
                    write!(f, "{:before$}{:>width$}) ", "", nth + 1)?;
                    one.show(f, indent + width + 2)?;
                    f.write_str(if nth + 1 < all.len() { "\n" } else { "" })?;
                }
                Ok(())
            }
            Self::Map(all) => {
                for (nth, pair) in all.chunks(2).enumerate() {
                    let before = if nth == 0 { 0 } else { indent };
                    write!(f, "{:before$}", "")?;
                    for (part, one) in pair.iter().enumerate() {
                        f.write_str(if part == 0 { "" } else { " => " })?;
                        one.show(f, indent + 2)?;
                    }
                    f.write_str(if 2 * (nth + 1) < all.len() { "\n" } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 0)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// `None` while some of it is missing.
    fn answer(&mut self, depth: usize) -> Result<Option<Heard>, NoAnswer> {
        let Some((mark, text)) = self.line()? else { return Ok(None) };
        let said = |text: &str| Ok(Some(text.to_owned()));
        let heard = match mark {
            b'+' => said(text)?.map(Heard::Simple),
            b'-' => said(text)?.map(Heard::Error),
            b',' | b'(' => said(text)?.map(Heard::Number),
            b':' => Some(Heard::Integer(text.parse().map_err(|_why| NoAnswer)?)),
            b'#' => Some(Heard::Boolean(text == "t")),
            b'_' => Some(Heard::Nothing),
            b'$' | b'=' | b'*' | b'~' | b'>' | b'%' if text == "-1" => Some(Heard::Nothing),
            b'$' => self.bulk(length(text)?, 0)?.map(Heard::Bulk),
            // What kind of text it is stands before it.
            b'=' => self.bulk(length(text)?, "txt:".len())?.map(Heard::Bulk),
            b'*' | b'~' | b'>' => self.several(length(text)?, depth)?.map(Heard::Array),
            b'%' => {
                let pairs = length(text)?.checked_mul(2).ok_or(NoAnswer)?;
                self.several(pairs, depth)?.map(Heard::Map)
            }
            _ => return Err(NoAnswer),
        };
        Ok(heard)
    }

    fn line(&mut self) -> Result<Option<(u8, &'a str)>, NoAnswer> {
        let bytes: &'a [u8] = self.bytes;
        let rest = &bytes[self.at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let (mark, text) = rest[..end].split_first().ok_or(NoAnswer)?;
        self.at += end + 2;
        Ok(Some((*mark, str::from_utf8(text).map_err(|_why| NoAnswer)?)))
    }

    fn bulk(&mut self, length: usize, skipped: usize) -> Result<Option<Bytes>, NoAnswer> {
        let end = self.at.checked_add(length).and_then(|end| end.checked_add(2)).ok_or(NoAnswer)?;
        let Some(bytes) = self.bytes.get(self.at..end) else { return Ok(None) };
        let bytes = bytes.strip_suffix(b"\r\n").ok_or(NoAnswer)?;
        let bytes = bytes.get(skipped..).ok_or(NoAnswer)?;
        self.at = end;
        Ok(Some(Bytes::copy_from_slice(bytes)))
    }

    fn several(&mut self, count: usize, depth: usize) -> Result<Option<Vec<Heard>>, NoAnswer> {
        if depth >= DEPTH_MAX && !planted!("resp_answers_nest_for_ever") {
            return Err(NoAnswer);
        }
        // No memory for what is only announced.
        let mut all = Vec::new();
        while all.len() < count {
            match self.answer(depth + 1)? {
                Some(one) => all.push(one),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }
}

fn length(text: &str) -> Result<usize, NoAnswer> {
    text.parse().map_err(|_why| NoAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::{Answer, Protocol};
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// Everything that we can answer, in one.
    fn everything(protocol: Protocol) -> BytesMut {
        let mut out = BytesMut::new();
        let mut answer = Answer::new(&mut out, protocol);
        answer.array(10);
        answer.ok();
        answer.error("ERR no");
        answer.integer(-7);
        answer.bulk(b"a\r\n\xff");
        answer.nothing();
        answer.no_array();
        answer.boolean(true);
        answer.verbatim("text");
        answer.map(1);
        answer.bulk(b"key");
        answer.array(0);
        answer.set(1);
        answer.integer(1);
        out
    }

    #[test]
    fn what_we_answer_is_heard_in_either_protocol() {
        let bytes = everything(Protocol::Resp3);
        let (heard, length) = Heard::first(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        let shown = "1) OK\n 2) (error) ERR no\n 3) (integer) -7\n 4) \"a\\r\\n\\xff\"\n 5) (nil)\n \
                     6) (nil)\n 7) (true)\n 8) \"text\"\n 9) \"key\" => (empty array)\n10) 1) \
                     (integer) 1";
        assert_eq!(heard.to_string().trim_start(), shown);
        let bytes = everything(Protocol::Resp2);
        let (heard, length) = Heard::first(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        let Heard::Array(all) = heard else { panic!("{heard}") };
        assert_eq!(all[6..8], [Heard::Integer(1), Heard::Bulk(Bytes::from_static(b"text"))]);
        assert_eq!(all[8].to_string(), "1) \"key\"\n2) (empty array)");
    }

    #[test]
    fn an_answer_that_has_not_come_whole_is_waited_for() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let bytes = everything(protocol);
            for end in 0..bytes.len() {
                assert_eq!(Heard::first(&bytes[..end]), Ok(None), "{end} bytes");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_told_from_what_is_not_whole() {
        let deep = b"*1\r\n".repeat(200_000);
        let long = format!("${}\r\n", u64::MAX);
        for bytes in [b"\r\n".as_slice(), b"?1\r\n", b":x\r\n", b"$1\r\nabc", b"=1\r\na\r\n", &deep]
        {
            assert_eq!(
                Heard::first(bytes),
                Err(NoAnswer),
                "{}",
                bytes[..4.min(bytes.len())].escape_ascii()
            );
        }
        assert_eq!(Heard::first(long.as_bytes()), Err(NoAnswer));
        assert_eq!(Heard::first(b"*1000000000\r\n"), Ok(None));
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(prop::sample::select(b"*$+-:%_#=,\r\n0129a".to_vec()), 0..64)) {
            if let Ok(Some((_, length))) = Heard::first(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
