//! Requests: the bytes of a connection, cut into commands.
//!
//! ```text
//!   *2\r\n $3\r\nGET\r\n $5\r\nhello\r\n      an array of strings, as programs send it
//!   GET "hello"\r\n                           a line of words, as people type it
//! ```
//! Nothing else is a request: what nests is refused at its first byte, so the depth is one whoever
//! sends what. The cutter goes on where it stopped when more bytes come, so a request in a thousand
//! pieces is looked at once; and it keeps nothing but the bytes themselves and where the words lie
//! in them. A length that is announced takes no memory before its bytes are there.
//!
//! Who has not said who it is may send little: whatever it takes is taken by a stranger.
//!
//! What cannot be a request ends the connection, in the words of Redis: behind it nobody knows
//! where the next one begins.
//!
//! Not here: what commands there are (`commands.rs`), answers (`reply.rs`).

use bytes::{Bytes, BytesMut};
use std::{fmt, ops::Range, str};
use trilith_engine::planted;

use crate::limits::{
    RESP_LINE_BYTES_MAX, RESP_REQUEST_BYTES_MAX, RESP_STRANGER_BYTES_MAX, RESP_STRANGER_WORDS_MAX,
    RESP_WORD_COST_BYTES, RESP_WORDS_MAX,
};

/// A command: its name and what stands behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    bytes: Bytes,
    at: Vec<Range<u32>>,
}

impl Words {
    /// How many, the name among them; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is none, as in a line that says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The one of that number; empty when there is none.
    #[must_use]
    pub fn get(&self, nth: usize) -> &[u8] {
        self.at.get(nth).map_or(&[], |at| &self.bytes[at.start as usize..at.end as usize])
    }

    /// The same, sharing the request's memory.
    #[must_use]
    pub fn share(&self, nth: usize) -> Bytes {
        let range = |at: &Range<u32>| self.bytes.slice(at.start as usize..at.end as usize);
        self.at.get(nth).map(range).unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|nth| self.get(nth))
    }

    /// The same with memory of its own: what is kept does not hold what came together with it.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), at: self.at.clone() }
    }

    /// What keeping it costs.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.bytes.len() + self.at.len() * RESP_WORD_COST_BYTES
    }

    /// Those from that number on, as a command of their own.
    #[must_use]
    pub fn behind(&self, nth: usize) -> Self {
        Self { bytes: self.bytes.clone(), at: self.at.get(nth..).unwrap_or_default().to_vec() }
    }
}

/// Words that somebody has, as a request.
impl<B: AsRef<[u8]>> FromIterator<B> for Words {
    fn from_iter<I: IntoIterator<Item = B>>(words: I) -> Self {
        let (mut bytes, mut at) = (BytesMut::new(), Vec::new());
        for word in words {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_ref());
            at.push(start..bytes.len() as u32);
        }
        Self { bytes: bytes.freeze(), at }
    }
}

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The number of words is none, or too high.
    Count,
    /// A word's length is none, or too high.
    Length,
    /// There are too many words for a stranger.
    StrangeCount,
    /// A word is too long for a stranger.
    StrangeLength,
    /// Something else stands where a word should.
    NoWord(u8),
    /// A number has no end.
    LongNumber,
    /// A line has no end.
    LongLine,
    /// The request is too long as a whole.
    TooLong,
    /// A quotation has no end, or something stands right behind it.
    Quotes,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::Count => f.write_str("invalid multibulk length"),
            Self::Length => f.write_str("invalid bulk length"),
            Self::StrangeCount => f.write_str("unauthenticated multibulk length"),
            Self::StrangeLength => f.write_str("unauthenticated bulk length"),
            Self::NoWord(byte) => write!(f, "expected '$', got '{}'", byte.escape_ascii()),
            Self::LongNumber => f.write_str("too big mbulk count string"),
            Self::LongLine => f.write_str("too big inline request"),
            Self::TooLong => f.write_str("too big request"),
            Self::Quotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

impl std::error::Error for Broken {}

/// How long a number's line may be, with its mark and its end.
const NUMBER_BYTES_MAX: usize = 32;

/// Cuts the bytes of one connection.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The words of the request that is not whole yet, by where they lie behind its beginning.
    at: Vec<Range<u32>>,
    /// How many words it still lacks; 0 between requests.
    lacks: usize,
    /// How long the next word is, once that is known.
    length: Option<usize>,
    /// So far everything is understood.
    done: usize,
    /// So far there is no end of a line.
    searched: usize,
    /// Whoever sends this has not said who it is.
    is_strange: bool,
}

impl Cutter {
    /// Whether what comes from now on is from somebody who has not said who it is.
    pub const fn is_of_stranger(&mut self, is_strange: bool) {
        self.is_strange = is_strange;
    }

    /// What it keeps of a request that is not whole yet, beside its bytes.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.at.capacity() * size_of::<Range<u32>>()
    }

    /// Takes the next request off the front of the bytes that came, if it is whole.
    ///
    /// # Errors
    /// When they are no request. The connection is over then.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Option<Words>, Broken> {
        loop {
            if self.lacks == 0 {
                match bytes.first() {
                    None => return Ok(None),
                    Some(b'*') => {
                        if !self.take_count(bytes)? {
                            return Ok(None);
                        }
                    }
                    Some(_) => match self.take_line(bytes)? {
                        None => return Ok(None),
                        Some(words) if words.is_empty() => {}
                        Some(words) => return Ok(Some(words)),
                    },
                }
                continue;
            }
            if !self.take_word(bytes)? {
                return Ok(None);
            }
            if self.lacks == 0 {
                let bytes = self.split(bytes).freeze();
                return Ok(Some(Words { bytes, at: std::mem::take(&mut self.at) }));
            }
        }
    }

    /// Takes what is understood off the front.
    fn split(&mut self, bytes: &mut BytesMut) -> BytesMut {
        self.searched = 0;
        bytes.split_to(std::mem::take(&mut self.done))
    }

    /// Reads how many words there are. False when more bytes are needed.
    fn take_count(&mut self, bytes: &mut BytesMut) -> Result<bool, Broken> {
        let Some(count) = self.number(bytes)? else { return Ok(false) };
        let count = count.ok_or(Broken::Count)?;
        if count <= 0 {
            // Nothing was asked.
            let _nothing = self.split(bytes);
            return Ok(true);
        }
        let count = usize::try_from(count).map_err(|_too_many| Broken::Count)?;
        if count > RESP_WORDS_MAX {
            return Err(Broken::Count);
        }
        if self.is_strange && count > RESP_STRANGER_WORDS_MAX {
            return Err(Broken::StrangeCount);
        }
        self.lacks = count;
        let believed = if planted!("resp_announced_words_take_memory") { count } else { 64 };
        self.at.reserve(count.min(believed));
        Ok(true)
    }

    /// Reads the next word. False when more bytes are needed.
    fn take_word(&mut self, bytes: &BytesMut) -> Result<bool, Broken> {
        let length = match self.length {
            Some(length) => length,
            None => {
                match bytes.get(self.done) {
                    None => return Ok(false),
                    Some(b'$') => {}
                    Some(other) => return Err(Broken::NoWord(*other)),
                }
                let Some(length) = self.number(bytes)? else { return Ok(false) };
                let length = length.and_then(|length| usize::try_from(length).ok());
                let length = length.ok_or(Broken::Length)?;
                if length > RESP_REQUEST_BYTES_MAX {
                    return Err(Broken::Length);
                }
                if self.is_strange && self.done + length > RESP_STRANGER_BYTES_MAX {
                    return Err(Broken::StrangeLength);
                }
                if self.done + length > RESP_REQUEST_BYTES_MAX {
                    return Err(Broken::TooLong);
                }
                self.length = Some(length);
                length
            }
        };
        let end = self.done + length;
        // Two bytes end a word. Redis does not look which.
        if bytes.len() < end + 2 {
            return Ok(false);
        }
        self.at.push(self.done as u32..end as u32);
        self.length = None;
        self.done = end + 2;
        self.searched = self.done;
        self.lacks -= 1;
        Ok(true)
    }

    /// A mark, a number and the end of a line. `None` when that is not all there yet, and `None`
    /// within when it is no number.
    fn number(&mut self, bytes: &BytesMut) -> Result<Option<Option<i64>>, Broken> {
        let Some(end) = self.end_of_line(bytes) else {
            let is_long = bytes.len() - self.done > NUMBER_BYTES_MAX;
            return if is_long { Err(Broken::LongNumber) } else { Ok(None) };
        };
        let line = &bytes[self.done + 1..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let number = decimal(line);
        self.done = end + 1;
        self.searched = self.done;
        Ok(Some(number))
    }

    /// Where the line ends that begins where everything is understood so far.
    fn end_of_line(&mut self, bytes: &BytesMut) -> Option<usize> {
        let from = self.searched.max(self.done);
        let end = bytes[from..].iter().position(|byte| *byte == b'\n');
        self.searched = bytes.len();
        end.map(|end| from + end)
    }

    /// A line of words. `None` when it has no end yet.
    fn take_line(&mut self, bytes: &mut BytesMut) -> Result<Option<Words>, Broken> {
        let most = if self.is_strange { RESP_STRANGER_BYTES_MAX } else { RESP_LINE_BYTES_MAX };
        let Some(end) = self.end_of_line(bytes) else {
            let is_long = bytes.len() > most;
            return if is_long { Err(Broken::LongLine) } else { Ok(None) };
        };
        if end > most {
            return Err(Broken::LongLine);
        }
        self.done = end + 1;
        let line = self.split(bytes);
        let line = &line[..end];
        split(line.strip_suffix(b"\r").unwrap_or(line)).map(Some)
    }
}

/// A number as Redis reads them: digits, perhaps a minus, and nothing else.
#[must_use]
pub fn decimal(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_plain = digits == b"0" || (!digits.is_empty() && digits[0] != b'0');
    if !is_plain || !digits.iter().all(u8::is_ascii_digit) || word == b"-0" {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

/// The words of a line, which may be quoted as in a shell:
/// `"…"` knows `\n \r \t \b \a \xHH \" \\`, `'…'` knows `\'`.
///
/// # Errors
/// When a quotation does not end, or something stands right behind it.
pub fn split(line: &[u8]) -> Result<Words, Broken> {
    let (mut bytes, mut at) = (BytesMut::with_capacity(line.len()), Vec::new());
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(Words { bytes: bytes.freeze(), at });
        }
        let start = bytes.len() as u32;
        while let Some((first, behind)) = rest.split_first() {
            rest = match first {
                b'"' | b'\'' => quoted(*first, behind, &mut bytes)?,
                space if space.is_ascii_whitespace() => break,
                plain => {
                    bytes.extend_from_slice(&[*plain]);
                    behind
                }
            };
        }
        at.push(start..bytes.len() as u32);
    }
}

/// What stands in a quotation. Answers what stands behind it.
fn quoted<'a>(mark: u8, mut rest: &'a [u8], out: &mut BytesMut) -> Result<&'a [u8], Broken> {
    loop {
        let (first, behind) = rest.split_first().ok_or(Broken::Quotes)?;
        if *first == mark {
            let ends = behind.first().is_none_or(u8::is_ascii_whitespace);
            return if ends { Ok(behind) } else { Err(Broken::Quotes) };
        }
        let (byte, behind) = match (mark, first, behind) {
            (b'"', b'\\', [b'x', high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), behind)
            }
            (b'"', b'\\', [escaped, behind @ ..]) => (unescaped(*escaped), behind),
            (b'\'', b'\\', [b'\'', behind @ ..]) => (b'\'', behind),
            _ => (*first, behind),
        };
        out.extend_from_slice(&[byte]);
        rest = behind;
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

const fn unescaped(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    /// All requests of the bytes, which come in pieces of that size.
    fn cut(bytes: &[u8], piece: usize) -> Result<Vec<Words>, Broken> {
        let (mut cutter, mut buffer, mut all) = (Cutter::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(words) = cutter.take(&mut buffer)? {
                all.push(words);
            }
        }
        Ok(all)
    }

    fn spoken(all: &[Words]) -> Vec<Vec<Vec<u8>>> {
        all.iter().map(|words| words.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    fn encoded(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut out = Vec::new();
        for words in requests {
            out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                out.extend_from_slice(word);
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }

    #[test]
    fn what_programs_and_people_send_is_the_same() {
        let program = cut(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n", 1).unwrap();
        let person = cut(b"SET a \"\\r\\n\"\n", 1).unwrap();
        assert_eq!(spoken(&program), spoken(&person));
        assert_eq!(spoken(&program), [[b"SET".to_vec(), b"a".to_vec(), b"\r\n".to_vec()]]);
    }

    #[test]
    fn a_line_is_split_as_in_a_shell() {
        let words = |line: &str| split(line.as_bytes()).map(|words| spoken(&[words]).remove(0));
        assert_eq!(words("  a\t b "), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(words(r#""\x41\n" 'it\'s' ''"#).unwrap(), [&b"A\n"[..], b"it's", b""]);
        assert_eq!(words(r#""\xZZ" "\"""#).unwrap(), [&b"xZZ"[..], b"\""]);
        for wrong in ["\"a", "'a", "\"a\"b", "'a'b", "\"a\\"] {
            assert_eq!(words(wrong), Err(Broken::Quotes), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_asked_by_empty_requests() {
        let all = cut(b"\r\n\n*0\r\n*-1\r\n   \r\nPING\r\n", 1).unwrap();
        assert_eq!(spoken(&all), [[b"PING".to_vec()]]);
    }

    #[test]
    fn what_is_no_request_ends_the_connection_in_known_words() {
        let nested = [b"*1\r\n".repeat(200_000), b"$4\r\nPING\r\n".to_vec()].concat();
        let cases: [(&[u8], &str); 10] = [
            (&nested, "expected '$', got '*'"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$536870912\r\n", "invalid bulk length"),
            (b"*1\r\n$007\r\n", "invalid bulk length"),
            (&[b'*'; 40], "too big mbulk count string"),
            (&[b'a'; RESP_LINE_BYTES_MAX + 1], "too big inline request"),
        ];
        for (bytes, said) in cases {
            let broken = cut(bytes, 1000).expect_err(said);
            assert_eq!(broken.to_string(), format!("Protocol error: {said}"));
        }
    }

    #[test]
    fn a_stranger_may_send_little() {
        let strange = |bytes: &[u8]| {
            let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::from(bytes));
            cutter.is_of_stranger(true);
            cutter.take(&mut buffer).map_err(|broken| broken.to_string())
        };
        let why = |bytes: &[u8]| strange(bytes).unwrap_err();
        assert!(strange(b"*10\r\n").is_ok());
        assert_eq!(why(b"*11\r\n"), "Protocol error: unauthenticated multibulk length");
        assert!(strange(b"*1\r\n$16000\r\n").is_ok());
        assert_eq!(why(b"*1\r\n$16385\r\n"), "Protocol error: unauthenticated bulk length");
        let two = [b"*2\r\n$9000\r\n".to_vec(), vec![b'a'; 9000], b"\r\n$9000\r\n".to_vec()];
        assert_eq!(why(&two.concat()), "Protocol error: unauthenticated bulk length", "together");
        let line = vec![b'a'; RESP_STRANGER_BYTES_MAX + 1];
        assert_eq!(why(&line), "Protocol error: too big inline request");
        let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::from(&b"*11\r\n"[..]));
        assert_eq!(cutter.take(&mut buffer), Ok(None), "who is known may send more");
    }

    #[test]
    fn a_length_that_is_announced_takes_no_memory() {
        let (mut cutter, mut buffer) = (Cutter::default(), BytesMut::new());
        buffer.extend_from_slice(format!("*1048576\r\n${RESP_REQUEST_BYTES_MAX}").as_bytes());
        assert_eq!(cutter.take(&mut buffer), Ok(None));
        assert!(cutter.held() <= 64 * 8);
    }

    proptest! {
        #[test]
        fn requests_come_out_as_they_went_in(
            requests in vec(vec(vec(any::<u8>(), 0..20), 1..6), 0..8),
            piece in 1_usize..40,
        ) {
            let all = cut(&encoded(&requests), piece).unwrap();
            prop_assert_eq!(spoken(&all), requests);
        }

        #[test]
        fn garbage_is_cut_alike_however_it_comes(
            bytes in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'1'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..80),
            piece in 1_usize..9,
        ) {
            let (whole, pieces) = (cut(&bytes, 80), cut(&bytes, piece));
            match (whole, pieces) {
                (Ok(whole), Ok(pieces)) => prop_assert_eq!(spoken(&whole), spoken(&pieces)),
                (whole, pieces) => prop_assert_eq!(whole.is_err(), pieces.is_err()),
            }
        }

        #[test]
        fn decimals_are_those_that_are_written_so(number in any::<i64>(), text in "[-+0-9 ]{0,6}") {
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
            if let Some(number) = decimal(text.as_bytes()) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
