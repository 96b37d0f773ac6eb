//! Redis' protocol as a load speaks it: whole commands out, and of each answer what kind it is.
//!
//! Bytes are looked at once, wherever the pieces end in which they come; of a value only its length
//! is kept. Whatever answers with several things at once is asked by no load.
//!
//! Not here: connections; answers as people read them (`trilith_net::resp::heard`).

/// No answer to what is asked here has a longer line, except one that is none.
const LINE_BYTES_MAX: usize = 4 << 10;
/// What Redis lets a value be at most.
const VALUE_BYTES_MAX: usize = 512 << 20;

/// Puts a command behind what is there.
pub(crate) fn put_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    put_head(out, b'*', words.len());
    for word in words {
        put_head(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_head(out: &mut Vec<u8>, mark: u8, number: usize) {
    // Digits from the last to the first: a load has no time for a string of each.
    let (mut digits, mut first, mut rest) = ([0_u8; 20], 20, number);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(mark);
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// There is a value of so many bytes.
    Value(usize),
    /// There is none.
    Nothing,
    /// It did not work; the server says how.
    Error(String),
}

/// The answers of one connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// A line, as far as it has come.
    line: Vec<u8>,
    /// The length of the value that is coming.
    value: usize,
    /// Bytes that are still to come of it and of the end of its line.
    missing: usize,
}

impl Answers {
    /// Takes what came, and tells each answer that is whole now.
    ///
    /// # Errors
    /// When it is no answer; nothing behind it can be understood then.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Answer),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let here = self.missing.min(bytes.len());
                self.missing -= here;
                bytes = &bytes[here..];
                if self.missing == 0 {
                    each(Answer::Value(self.value));
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            let (here, rest) = bytes.split_at(end);
            self.line.extend_from_slice(here);
            bytes = rest;
            if self.line.len() > LINE_BYTES_MAX {
                return Err("a line without end is no answer of the Redis protocol".to_owned());
            }
            if self.line.last() != Some(&b'\n') {
                continue;
            }
            if let Some(answer) = self.end_of_line()? {
                each(answer);
            }
            self.line.clear();
        }
        Ok(())
    }

    /// What a whole line says; nothing yet where a value follows it.
    fn end_of_line(&mut self) -> Result<Option<Answer>, String> {
        let strange = || format!("no answer of the Redis protocol: {}", self.line.escape_ascii());
        let line = self.line.strip_suffix(b"\r\n").ok_or_else(strange)?;
        let (mark, text) = line.split_first().ok_or_else(strange)?;
        let answer = match *mark {
            b'+' | b':' => Answer::Done,
            b'-' => Answer::Error(String::from_utf8_lossy(text).into_owned()),
            b'_' => Answer::Nothing,
            b'$' if text == b"-1" => Answer::Nothing,
            b'$' => {
                let length = str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
                let length = length.filter(|length| *length <= VALUE_BYTES_MAX);
                let length = length.ok_or_else(strange)?;
                (self.value, self.missing) = (length, length + 2);
                return Ok(None);
            }
            _ => return Err(strange()),
        };
        Ok(Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = b"before".to_vec();
        put_command(&mut out, &[b"SET", b"k", &[b'x'; 12]]);
        put_command(&mut out, &[b"GET", b""]);
        let wanted: &[u8] = b"before*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nxxxxxxxxxxxx\r\n\
                              *2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        assert_eq!(out.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }

    #[test]
    fn answers_are_the_same_wherever_their_pieces_end() {
        let said: &[u8] = b"+OK\r\n$5\r\na\r\nbc\r\n$-1\r\n$0\r\n\r\n-ERR no\r\n:7\r\n_\r\n";
        let wanted = [
            Answer::Done,
            Answer::Value(5),
            Answer::Nothing,
            Answer::Value(0),
            Answer::Error("ERR no".to_owned()),
            Answer::Done,
            Answer::Nothing,
        ];
        for at in 0..=said.len() {
            let (mut answers, mut heard) = (Answers::default(), Vec::new());
            for piece in [&said[..at], &said[at..]] {
                answers.take(piece, |answer| heard.push(answer)).unwrap();
            }
            assert_eq!(heard, wanted, "in two pieces, the first of {at}");
        }
        let (mut answers, mut heard) = (Answers::default(), Vec::new());
        for byte in said {
            answers.take(&[*byte], |answer| heard.push(answer)).unwrap();
        }
        assert_eq!(heard, wanted, "byte by byte");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let strange: [&[u8]; 7] = [
            b"HTTP/1.1 400\r\n",
            b"+OK\n",
            b"\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*1\r\n",
            b"$9999999999\r\n",
        ];
        for bytes in strange {
            let told = Answers::default().take(bytes, |_| {});
            assert!(told.is_err(), "{}", bytes.escape_ascii());
        }
        let endless = vec![b'+'; LINE_BYTES_MAX + 1];
        assert!(Answers::default().take(&endless, |_| {}).is_err());
        // What is whole before it counts.
        let mut heard = 0;
        assert!(Answers::default().take(b"+OK\r\n?\r\n", |_| heard += 1).is_err());
        assert_eq!(heard, 1);
    }
}
