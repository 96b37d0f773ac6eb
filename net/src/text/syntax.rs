//! What is asked: lines, and values behind them.
//!
//! Not here: what becomes of it (`serve.rs`).

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use trilith_engine::{
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CLUSTER},
    planted,
};

use crate::limits::TEXT_LINE_BYTES_MAX;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What a key has.
    Get(Bytes),
    /// A key has that from now on.
    Set(Bytes, Bytes),
    /// A key has nothing any more.
    Delete(Bytes),
    /// To be let in, under that name with that password.
    Login(Bytes, Bytes),
}

/// Why something is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is none of the commands.
    Command,
    /// The line is too long.
    Line,
    /// There is no key, or it is too long.
    Key,
    /// The value's length is no number, or too large.
    Length,
    /// Who asks has not said who he is.
    Stranger,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str(
                "there are SET <key> <len>, GET <key>, DEL <key>, AUTH <user> <password>",
            ),
            Self::Line => write!(f, "a line has at most {TEXT_LINE_BYTES_MAX} bytes"),
            Self::Key => write!(f, "a key has 1 to {KEY_BYTES_MAX} bytes"),
            Self::Length => {
                write!(f, "a value's length is a number up to {VALUE_BYTES_MAX_CLUSTER}")
            }
            Self::Stranger => f.write_str("say first who you are: AUTH <user> <password>"),
        }
    }
}

/// Cuts requests out of a connection's bytes.
#[derive(Debug, Default)]
pub struct Cutter {
    /// A key whose value is on its way, and how long that is.
    value_of: Option<(Bytes, usize)>,
    /// So many of the bytes have no end of a line.
    looked: usize,
}

impl Cutter {
    /// Whether nothing of a request has come.
    #[must_use]
    pub fn is_between(&self, bytes: &BytesMut) -> bool {
        self.value_of.is_none() && bytes.is_empty()
    }

    /// The next request, when all of it is there. A stranger may only say who he is.
    ///
    /// # Errors
    /// Why it is none. Nobody knows where the next one would begin.
    pub fn take(&mut self, bytes: &mut BytesMut, is_stranger: bool) -> Result<Option<Ask>, Broken> {
        loop {
            if let Some((key, length)) = self.value_of.take() {
                if bytes.len() < length && !planted!("text_takes_half_a_value") {
                    self.value_of = Some((key, length));
                    return Ok(None);
                }
                let value = bytes.split_to(length.min(bytes.len())).freeze();
                return Ok(Some(Ask::Set(key, value)));
            }
            let Some(end) = bytes[self.looked..].iter().position(|byte| *byte == b'\n') else {
                self.looked = bytes.len();
                let is_long = bytes.len() > TEXT_LINE_BYTES_MAX;
                return if is_long { Err(Broken::Line) } else { Ok(None) };
            };
            let mut line = bytes.split_to(self.looked + end);
            bytes.advance(1);
            self.looked = 0;
            if line.len() > TEXT_LINE_BYTES_MAX {
                return Err(Broken::Line);
            }
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if line.is_empty() {
                continue;
            }
            match read(&line.freeze())? {
                Said::Whole(ask) if is_stranger && !matches!(ask, Ask::Login(..)) => {
                    return Err(Broken::Stranger);
                }
                Said::Whole(ask) => return Ok(Some(ask)),
                Said::Value(..) if is_stranger => return Err(Broken::Stranger),
                Said::Value(key, length) => {
                    bytes.reserve(length.saturating_sub(bytes.len()).min(TEXT_LINE_BYTES_MAX));
                    self.value_of = Some((key, length));
                }
            }
        }
    }
}

/// What a line says.
enum Said {
    /// All of it.
    Whole(Ask),
    /// That a value of this length comes behind it.
    Value(Bytes, usize),
}

fn read(line: &Bytes) -> Result<Said, Broken> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(4).collect();
    // What is kept of it shall not keep all that came with it.
    let own = |word: &[u8]| Bytes::copy_from_slice(word);
    let key = |word: &[u8]| {
        let is_one = (1..=KEY_BYTES_MAX).contains(&word.len());
        if is_one { Ok(own(word)) } else { Err(Broken::Key) }
    };
    let verb = words.first().map(|verb| verb.to_ascii_uppercase()).unwrap_or_default();
    match (&verb[..], &words[1..]) {
        (b"GET", [word]) => Ok(Said::Whole(Ask::Get(key(word)?))),
        (b"DEL", [word]) => Ok(Said::Whole(Ask::Delete(key(word)?))),
        (b"AUTH", [name, _, ..]) => {
            // A password may hold blanks, so it is all that follows.
            let password = &line[verb.len() + 1 + name.len() + 1..];
            Ok(Said::Whole(Ask::Login(own(name), own(password))))
        }
        (b"SET", [word, length]) => Ok(Said::Value(key(word)?, number(length)?)),
        _ => Err(Broken::Command),
    }
}

fn number(word: &[u8]) -> Result<usize, Broken> {
    let is_plain = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(word).ok().filter(|_| is_plain);
    let number = number.and_then(|number| number.parse().ok());
    number.filter(|number| *number <= VALUE_BYTES_MAX_CLUSTER).ok_or(Broken::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn b(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    /// What is cut from bytes that come in pieces of that length.
    fn cut(said: &[u8], piece: usize) -> (Vec<Ask>, Option<Broken>) {
        let (mut cutter, mut bytes, mut asked) = (Cutter::default(), BytesMut::new(), Vec::new());
        for piece in said.chunks(piece) {
            bytes.extend_from_slice(piece);
            loop {
                match cutter.take(&mut bytes, false) {
                    Ok(Some(ask)) => asked.push(ask),
                    Ok(None) => break,
                    Err(broken) => return (asked, Some(broken)),
                }
            }
        }
        (asked, None)
    }

    #[test]
    fn requests_are_cut_wherever_pieces_end() {
        let said = b"SET a 5\nhe\nloGET a\r\n\n\r\ndel \xff\xfe\nSET b 0\nAUTH me a:b\nGET c";
        let asked = vec![
            Ask::Set(b("a"), b("he\nlo")),
            Ask::Get(b("a")),
            Ask::Delete(Bytes::from_static(b"\xff\xfe")),
            Ask::Set(b("b"), Bytes::new()),
            Ask::Login(b("me"), b("a:b")),
        ];
        for piece in 1..=said.len() {
            assert_eq!(cut(said, piece), (asked.clone(), None), "{piece}");
        }
    }

    #[test]
    fn what_is_no_request_ends_it() {
        let long = "x".repeat(TEXT_LINE_BYTES_MAX + 1);
        let key = "k".repeat(KEY_BYTES_MAX + 1);
        for (said, why) in [
            ("GET\n", Broken::Command),
            ("GET a b\n", Broken::Command),
            ("POST / HTTP/1.1\r\n", Broken::Command),
            ("GET / HTTP/1.1\r\n", Broken::Command),
            ("*1\r\n$4\r\nPING\r\n", Broken::Command),
            ("SET a\n", Broken::Command),
            ("SET a b c d\n", Broken::Command),
            ("SET a -1\n", Broken::Length),
            ("SET a +1\n", Broken::Length),
            ("SET a \n", Broken::Length),
            ("SET a 8388609\n", Broken::Length),
            ("SET a 99999999999999999999999\n", Broken::Length),
            ("SET  1\n", Broken::Key),
            ("GET \n", Broken::Key),
            (&format!("GET {key}\n"), Broken::Key),
            (&long, Broken::Line),
            (&format!("{long}\n"), Broken::Line),
        ] {
            for piece in [1, 7, said.len()] {
                assert_eq!(cut(said.as_bytes(), piece), (Vec::new(), Some(why)), "{said:.40}");
            }
        }
    }

    #[test]
    fn a_stranger_says_who_he_is_and_nothing_else() {
        let take = |said: &str| Cutter::default().take(&mut said.into(), true);
        assert_eq!(take("AUTH a b\n"), Ok(Some(Ask::Login(b("a"), b("b")))));
        assert_eq!(take("auth a  b c  \r\n"), Ok(Some(Ask::Login(b("a"), b(" b c  ")))));
        assert_eq!(take("AUTH a\n"), Err(Broken::Command), "a password may be empty, and is named");
        assert_eq!(take("AUTH a \n"), Ok(Some(Ask::Login(b("a"), b("")))));
        for said in ["GET a\n", "DEL a\n", "SET a 3\n"] {
            assert_eq!(take(said), Err(Broken::Stranger), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_cut_alike(
            said in proptest::collection::vec(
                prop_oneof![
                    Just(b"SET k ".to_vec()), Just(b"GET k\n".to_vec()), Just(b"3\n".to_vec()),
                    Just(b"\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..20,
            ),
            piece in 1_usize..9,
        ) {
            let said = said.concat();
            prop_assert_eq!(cut(&said, piece), cut(&said, said.len().max(1)));
        }
    }
}
