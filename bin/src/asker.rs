//! A Redis client of some nodes, for a person: one connection, one question at a time.
//!
//! It stays with its node as long as that one runs, because a connection has a memory (MULTI, WATCH,
//! CONSISTENCY), and goes to the next one otherwise. What only reads is asked again there. What
//! writes is not, once it may have been heard: whether it happened is unknown then, and is told so.
//!
//! Not here: who may be asked (`demo`, `cli/talk.rs`), our own client, which does better
//! (`trilith_net::client`).

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use trilith_net::resp::{commands::COMMANDS, heard::Heard, request::Words};

/// A connection on this machine is made at once, or not at all.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// A node answers within its own time, and needs some to say so.
const GRACE: Duration = Duration::from_secs(2);

/// The client.
#[derive(Debug)]
pub struct Asker {
    /// How long a node is waited for.
    patience: Duration,
    line: Option<(SocketAddr, TcpStream)>,
}

/// Why there is no answer.
enum Silence {
    /// The question did not get there.
    Unsaid(io::Error),
    /// It may have been heard.
    Unheard(io::Error),
}

impl Asker {
    /// One whose nodes take at most so long to answer.
    pub const fn new(within: Duration) -> Self {
        Self { patience: within.saturating_add(GRACE), line: None }
    }

    /// Who is asked first of these, in their order: the one it is connected with, if that is among
    /// them.
    pub fn prefers(&self, nodes: &[SocketAddr]) -> Option<SocketAddr> {
        let own = self.line.as_ref().map(|(at, _)| *at).filter(|at| nodes.contains(at));
        own.or_else(|| nodes.first().copied())
    }

    /// Asks one of these nodes in the words of a person.
    pub fn ask(&mut self, nodes: &[SocketAddr], question: &str) -> Heard {
        let Some(first) = self.prefers(nodes) else {
            return error("UNAVAILABLE there is nobody to ask; nothing happened");
        };
        let others = nodes.iter().copied().filter(|at| *at != first);
        let mut last = String::new();
        for at in [first].into_iter().chain(others) {
            match self.ask_one(at, question) {
                Ok(heard) => return heard,
                Err(Silence::Unheard(why)) if !only_reads(question) => {
                    let what =
                        "INDOUBT it may have happened: the connection ended before the answer";
                    return error(&format!("{what} ({why})"));
                }
                Err(Silence::Unsaid(why) | Silence::Unheard(why)) => last = why.to_string(),
            }
        }
        error(&format!("UNAVAILABLE no node answered; nothing happened ({last})"))
    }

    fn ask_one(&mut self, at: SocketAddr, question: &str) -> Result<Heard, Silence> {
        let mut stream = match self.line.take() {
            Some((known, stream)) if known == at => stream,
            _ => self.connect(at).map_err(Silence::Unsaid)?,
        };
        stream.write_all(format!("{question}\r\n").as_bytes()).map_err(Silence::Unheard)?;
        let heard = hear(&mut stream).map_err(Silence::Unheard)?;
        self.line = Some((at, stream));
        Ok(heard)
    }

    fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&at, CONNECTS_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }
}

fn error(text: &str) -> Heard {
    Heard::Error(text.to_owned())
}

/// Reads one answer. Nothing comes behind it, because nothing else was asked.
fn hear(stream: &mut TcpStream) -> io::Result<Heard> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        match Heard::first(&bytes).map_err(io::Error::other)? {
            Some((heard, _)) => return Ok(heard),
            None => {
                let read = stream.read(&mut piece)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.extend_from_slice(&piece[..read]);
            }
        }
    }
}

/// Whether asking it twice is as good as once.
fn only_reads(question: &str) -> bool {
    let words: Words = question.split_whitespace().collect();
    COMMANDS.of(&words).is_some_and(|spec| spec.is("readonly"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A node that takes a question and then says that, or ends.
    fn node(answer: Option<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 64]).unwrap();
            assert!(read > 0);
            if let Some(answer) = answer {
                stream.write_all(answer).unwrap();
            }
        });
        at
    }

    #[test]
    fn what_reads_is_asked_again_and_what_writes_is_in_doubt() {
        let mut asker = Asker::new(Duration::from_secs(1));
        let heard = asker.ask(&[node(None), node(Some(b"$1\r\na\r\n"))], "get key");
        assert_eq!(heard.to_string(), "\"a\"");
        let heard = asker.ask(&[node(None), node(Some(b"+OK\r\n"))], "set key a");
        assert!(heard.to_string().starts_with("(error) INDOUBT "), "{heard}");
        // Nobody listens there any more: it was not heard, so another one may be asked.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let heard = asker.ask(&[gone, node(Some(b"+OK\r\n"))], "set key a");
        assert_eq!(heard.to_string(), "OK");
        let heard = asker.ask(&[], "get key");
        assert!(heard.to_string().starts_with("(error) UNAVAILABLE "), "{heard}");
    }
}
