//! A Redis client of some nodes, for a person: one question at a time.
//!
//! It stays with its node as long as that one runs, because a connection has a memory (MULTI, WATCH,
//! CONSISTENCY), and goes to the next one otherwise. What only reads is asked again there. What
//! writes is not, once it may have been heard: whether it happened is unknown then, and is told so.
//!
//! When a connection has ended that remembered something, the next question is not asked of anybody:
//! between MULTI and EXEC it would be done at once, and behind WATCH it would be done unguarded. The
//! answer says what was forgotten.
//!
//! Not here: who may be asked (`demo`, `cli/talk.rs`), our own client, which does better
//! (`trilith_net::client`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    out::{Cell, lossy},
    password::Login,
};
use serde_json::{Value, json};
use trilith_net::resp::{
    commands::{COMMANDS, Verb},
    heard::Heard,
    request::{Words, split},
};

/// A connection on this machine is made at once, or not at all.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// A node answers within its own time, and needs some to say so.
const GRACE: Duration = Duration::from_secs(2);

/// The client.
#[derive(Debug)]
pub struct Asker {
    /// How long a node is waited for.
    patience: Duration,
    /// Who it is, where nodes ask for that.
    login: Option<Login>,
    lines: BTreeMap<SocketAddr, Line>,
    /// Who was asked last of those who might have been.
    usual: Option<SocketAddr>,
}

/// A connection.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    memory: Memory,
}

/// What a node remembers of a connection, as long as it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory(BTreeSet<&'static str>);

const MULTI: &str = "MULTI";
const WATCH: &str = "WATCH";

/// Why there is no answer.
enum Silence {
    /// The question did not get there.
    Unsaid(String),
    /// It may have been heard.
    Unheard(String),
}

impl Memory {
    /// Whether what is asked now is done only when EXEC is.
    fn gathers(&self) -> bool {
        self.0.contains(MULTI)
    }

    /// A question was answered.
    fn learn(&mut self, words: &Words, heard: &Heard) {
        let Some(spec) = COMMANDS.of(words) else { return };
        let gathers = self.gathers();
        match (spec.verb, heard) {
            (Verb::Reset, _) => self.0.clear(),
            // By itself it forgets nothing.
            (Verb::Exec | Verb::Discard, _) if !gathers => {}
            (Verb::Exec | Verb::Discard, _) => self.forget(&[MULTI, WATCH]),
            // Also one that was refused: EXEC is refused behind it.
            (Verb::Watch, _) if !gathers => _ = self.0.insert(WATCH),
            (_, Heard::Error(_)) => {}
            (Verb::Multi, _) => _ = self.0.insert(MULTI),
            (_, _) if gathers => {}
            (Verb::Unwatch, _) => self.forget(&[WATCH]),
            (Verb::Readonly, _) => _ = self.0.insert("READONLY"),
            (Verb::Consistency, _) => _ = self.0.insert("CONSISTENCY"),
            (Verb::Readwrite, _) => self.forget(&["READONLY", "CONSISTENCY"]),
            (Verb::Hello, _) => _ = self.0.insert("HELLO"),
            (Verb::Auth, _) => _ = self.0.insert("AUTH"),
            (Verb::ClientSetname, _) => _ = self.0.insert("CLIENT SETNAME"),
            _ => {}
        }
    }

    fn forget(&mut self, what: &[&'static str]) {
        self.0.retain(|known| !what.contains(known));
    }

    /// What to say when it is gone.
    fn lost(&self, at: SocketAddr, why: &str) -> Heard {
        let what = self.0.iter().copied().collect::<Vec<_>>().join(" and ");
        error(&format!(
            "UNAVAILABLE the connection to {at} has ended ({why}), and with it is forgotten: {what}; \
             nothing of this happened, nor what was asked now: begin again"
        ))
    }
}

impl Asker {
    /// One whose nodes take at most so long to answer.
    pub const fn new(within: Duration) -> Self {
        let patience = within.saturating_add(GRACE);
        Self { patience, login: None, lines: BTreeMap::new(), usual: None }
    }

    /// The same, of somebody who says who he is on each connection.
    pub fn named(self, login: Option<Login>) -> Self {
        Self { login, ..self }
    }

    /// Who is asked first of these, in their order: the one that was asked last, if that is among
    /// them.
    pub fn prefers(&self, nodes: &[SocketAddr]) -> Option<SocketAddr> {
        let own = self.usual.filter(|at| nodes.contains(at));
        own.or_else(|| nodes.first().copied())
    }

    /// Asks one of these nodes in the words of a person.
    pub fn ask(&mut self, nodes: &[SocketAddr], question: &str) -> Heard {
        match split(question.as_bytes()) {
            Ok(words) => self.ask_words(nodes, &words),
            Err(why) => error(&format!("ERR {why}")),
        }
    }

    /// The same, of words.
    pub fn ask_words(&mut self, nodes: &[SocketAddr], words: &Words) -> Heard {
        if let Some(gone) = self.usual.take_if(|usual| !nodes.contains(usual))
            && let Some(Line { memory, .. }) = self.lines.remove(&gone)
            && memory != Memory::default()
        {
            return memory.lost(gone, "it is not asked any more");
        }
        let Some(first) = self.prefers(nodes) else {
            return error("UNAVAILABLE there is nobody to ask; nothing happened");
        };
        let others = nodes.iter().copied().filter(|at| *at != first);
        let mut last = String::new();
        for at in [first].into_iter().chain(others) {
            match self.ask_one(at, words) {
                Ok(heard) => {
                    self.usual = Some(at);
                    return heard;
                }
                Err(why) => last = why,
            }
        }
        error(&format!("UNAVAILABLE no node answered; nothing happened ({last})"))
    }

    /// Asks that very node, over a connection of its own.
    pub fn ask_that(&mut self, at: SocketAddr, question: &str) -> Heard {
        let words = match split(question.as_bytes()) {
            Ok(words) => words,
            Err(why) => return error(&format!("ERR {why}")),
        };
        let told = self.ask_one(at, &words);
        told.unwrap_or_else(|why| {
            error(&format!("UNAVAILABLE the node did not answer; nothing happened ({why})"))
        })
    }

    /// What a node says, or what is to be said in its place; why another one may be asked otherwise.
    fn ask_one(&mut self, at: SocketAddr, words: &Words) -> Result<Heard, String> {
        if !has_one_answer(words) {
            return Ok(error("ERR one question has one answer here: ask this with redis-cli"));
        }
        let kept = self.lines.remove(&at);
        let mut line = match kept {
            Some(line) if is_there(&line.stream) => line,
            Some(Line { memory, .. }) if memory != Memory::default() => {
                return Ok(memory.lost(at, "the node has closed it"));
            }
            _ => {
                let mut stream = self.connect(at).map_err(|why| self.told(&why))?;
                if let Some(refused) = self.log_in(&mut stream)? {
                    return Ok(refused);
                }
                Line { stream, memory: Memory::default() }
            }
        };
        let memory = line.memory.clone();
        let (may_be_done, why) = match self.exchange(&mut line.stream, words) {
            Ok(heard) => {
                line.memory.learn(words, &heard);
                if !matches!(COMMANDS.of(words).map(|spec| spec.verb), Some(Verb::Quit)) {
                    self.lines.insert(at, line);
                }
                return Ok(heard);
            }
            Err(Silence::Unheard(why)) => (may_do(words, memory.gathers()), why),
            Err(Silence::Unsaid(why)) => (false, why),
        };
        if may_be_done {
            let what = "INDOUBT it may have happened: there was no answer";
            return Ok(error(&format!("{what} ({why})")));
        }
        if memory == Memory::default() { Err(why) } else { Ok(memory.lost(at, &why)) }
    }

    /// Says who it is on a new connection. What the node has against it, if anything.
    fn log_in(&self, stream: &mut TcpStream) -> Result<Option<Heard>, String> {
        let Some(Login { user, password }) = &self.login else { return Ok(None) };
        let words: Words = ["AUTH", user, password].iter().collect();
        match self.exchange(stream, &words) {
            Ok(refused @ Heard::Error(_)) => Ok(Some(refused)),
            Ok(_) => Ok(None),
            Err(Silence::Unsaid(why) | Silence::Unheard(why)) => Err(why),
        }
    }

    fn exchange(&self, stream: &mut TcpStream, words: &Words) -> Result<Heard, Silence> {
        // As long as its last byte was not taken, nobody does anything about it.
        let unsaid = |why: io::Error| Silence::Unsaid(self.told(&why));
        stream.write_all(&encoded(words)).map_err(unsaid)?;
        hear(stream).map_err(|why| Silence::Unheard(self.told(&why)))
    }

    /// What happened, for a person.
    fn told(&self, why: &io::Error) -> String {
        match why.kind() {
            io::ErrorKind::WouldBlock => format!("nothing in {} ms", self.patience.as_millis()),
            io::ErrorKind::TimedOut => {
                format!("no connection in {} ms", CONNECTS_WITHIN.as_millis())
            }
            io::ErrorKind::UnexpectedEof => "the connection ended".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            io::ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
            _ => why.to_string(),
        }
    }

    fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&at, CONNECTS_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }
}

/// An answer as programs take it. Bytes that are no text are written as the terminal shows them.
pub fn as_json(heard: &Heard) -> Cell {
    Cell::Json(value(heard))
}

fn value(heard: &Heard) -> Value {
    match heard {
        Heard::Simple(text) | Heard::Number(text) => text.as_str().into(),
        Heard::Error(why) => json!({ "error": why }),
        Heard::Integer(number) => (*number).into(),
        Heard::Bulk(bytes) => lossy(bytes).into(),
        Heard::Nothing => Value::Null,
        Heard::Boolean(is_so) => (*is_so).into(),
        Heard::Array(all) => all.iter().map(value).collect(),
        Heard::Map(all) => {
            let name = |heard: &Heard| match heard {
                Heard::Bulk(bytes) => lossy(bytes),
                other => other.to_string(),
            };
            let pairs = all.as_chunks::<2>().0.iter();
            Value::Object(pairs.map(|[one, other]| (name(one), value(other))).collect())
        }
    }
}

fn error(text: &str) -> Heard {
    Heard::Error(text.to_owned())
}

/// Whether the other side has not ended a connection, as far as this machine knows. It has nothing to
/// say when it was not asked.
fn is_there(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_quiet = matches!(&peeked, Err(why) if why.kind() == io::ErrorKind::WouldBlock);
    is_quiet && stream.set_nonblocking(false).is_ok()
}

/// A request, as programs send them.
fn encoded(words: &Words) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter() {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Reads one answer. Nothing comes behind it, because nothing else was asked.
fn hear(stream: &mut TcpStream) -> io::Result<Heard> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        match Heard::first(&bytes).map_err(io::Error::other)? {
            Some((heard, _)) => return Ok(heard),
            None => {
                let read = match stream.read(&mut piece) {
                    // A signal came; the answer still may.
                    Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                };
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.extend_from_slice(&piece[..read]);
            }
        }
    }
}

/// Whether a node answers with one thing, and nothing comes behind it.
fn has_one_answer(words: &Words) -> bool {
    let verb = COMMANDS.of(words).map(|spec| spec.verb);
    !matches!(
        verb,
        Some(
            Verb::Subscribe
                | Verb::Psubscribe
                | Verb::Ssubscribe
                | Verb::Unsubscribe
                | Verb::Punsubscribe
                | Verb::Sunsubscribe
                | Verb::ClientReply
        )
    )
}

/// Whether something may have come of a question that was heard. Between MULTI and EXEC nothing has.
fn may_do(words: &Words, gathers: bool) -> bool {
    match COMMANDS.of(words) {
        Some(spec) if gathers => spec.verb == Verb::Exec,
        Some(spec) if spec.verb == Verb::With => may_do(&words.behind(2), gathers),
        Some(spec) if spec.verb == Verb::Explain => may_do(&words.behind(1), gathers),
        // A message that was heard twice would be another one.
        Some(spec) if matches!(spec.verb, Verb::Publish | Verb::Spublish) => true,
        Some(spec) => spec.is("write") || spec.is("admin"),
        // The node may know more commands.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::TcpListener,
        sync::mpsc::{self, Receiver},
        thread,
    };

    /// A node that takes questions and says these things, one after the other, and then ends.
    fn node(answers: &'static [&'static str]) -> (SocketAddr, Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (over, is_over) = mpsc::sync_channel(0);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let read = stream.read(&mut [0; 64]).unwrap();
                assert!(read > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
            drop((stream, over));
        });
        (at, is_over)
    }

    fn asker() -> Asker {
        Asker::new(Duration::from_secs(1))
    }

    #[test]
    fn what_reads_is_asked_again_and_what_writes_is_in_doubt() {
        let mut asker = asker();
        let heard = asker.ask(&[node(&[""]).0, node(&["$1\r\na\r\n"]).0], "get key");
        assert_eq!(heard.to_string(), "\"a\"");
        let heard = asker.ask(&[node(&[""]).0, node(&["+OK\r\n"]).0], "set key a");
        assert!(heard.to_string().starts_with("(error) INDOUBT "), "{heard}");
        // Nobody listens there any more: it was not heard, so another one may be asked.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let heard = asker.ask(&[gone, node(&["+OK\r\n"]).0], "set key a");
        assert_eq!(heard.to_string(), "OK");
        let heard = asker.ask(&[gone], "set key a").to_string();
        assert!(heard.ends_with("; nothing happened (nobody listens there)"), "{heard}");
        let heard = asker.ask(&[], "get key");
        assert!(heard.to_string().starts_with("(error) UNAVAILABLE "), "{heard}");
        let heard = asker.ask(&[], "set key \"a");
        assert_eq!(heard.to_string(), "(error) ERR Protocol error: unbalanced quotes in request");
    }

    #[test]
    fn programs_have_an_answer_as_it_is() {
        let bulk = |bytes: &'static [u8]| Heard::Bulk(bytes.into());
        let heard = Heard::Array(vec![
            Heard::Simple("OK".to_owned()),
            bulk(b"a \"b\""),
            bulk(b"\xff"),
            Heard::Integer(-7),
            Heard::Nothing,
            Heard::Boolean(true),
            Heard::Number("1e400".to_owned()),
            error("ERR no"),
            Heard::Map(vec![bulk(b"proto"), Heard::Integer(3)]),
            Heard::Array(Vec::new()),
        ]);
        let expected =
            r#"["OK","a \"b\"","\\xff",-7,null,true,"1e400",{"error":"ERR no"},{"proto":3},[]]"#;
        assert_eq!(value(&heard).to_string(), expected);
    }

    #[test]
    fn who_asks_is_said_first_on_each_connection() {
        let login = Login { user: "me".into(), password: "secret".into() };
        let mut asker = asker().named(Some(login));
        let first = node(&["+OK\r\n", "$1\r\na\r\n"]);
        assert_eq!(asker.ask(&[first.0], "get key").to_string(), "\"a\"");
        let heard = asker.ask(&[node(&["-WRONGPASS no\r\n"]).0], "set key a").to_string();
        assert_eq!(heard, "(error) WRONGPASS no", "and nothing else is said");
        let nodes = [node(&[""]).0, node(&["+OK\r\n", "+OK\r\n"]).0];
        assert_eq!(asker.ask(&nodes, "set key a").to_string(), "OK", "nothing was asked there");
    }

    #[test]
    fn what_was_never_said_is_in_no_doubt() {
        let mut asker = asker();
        let (first, is_over) = node(&["+OK\r\n"]);
        let nodes = [first, node(&["+OK\r\n"]).0];
        assert_eq!(asker.ask(&nodes, "set key a").to_string(), "OK");
        // It has ended, and its end is here.
        assert!(is_over.recv().is_err());
        thread::sleep(Duration::from_millis(20));
        assert_eq!(asker.ask(&nodes, "set key a").to_string(), "OK");
    }

    #[test]
    fn what_a_node_has_forgotten_is_said_and_nothing_done() {
        for questions in [["multi", "set key a"], ["watch key", "get key"]] {
            let mut asker = asker();
            let ((first, is_over), second) = (node(&["+OK\r\n"]), node(&["+OK\r\n"]).0);
            assert_eq!(asker.ask(&[first, second], questions[0]).to_string(), "OK");
            assert!(is_over.recv().is_err());
            thread::sleep(Duration::from_millis(20));
            let heard = asker.ask(&[first, second], questions[1]).to_string();
            let word = questions[0].split(' ').next().unwrap().to_ascii_uppercase();
            let is_said = heard.starts_with("(error) UNAVAILABLE ") && heard.contains(&word);
            assert!(is_said, "{heard}");
            // It is said once. Nobody has asked the other node meanwhile.
            assert_eq!(asker.ask(&[first, second], questions[1]).to_string(), "OK");
        }
        // The same when the node runs and may not be asked any more.
        let (mut asker, first, second) = (asker(), node(&["+OK\r\n", ""]).0, node(&["+OK\r\n"]).0);
        assert_eq!(asker.ask(&[first], "multi").to_string(), "OK");
        let heard = asker.ask(&[second], "set key a").to_string();
        assert!(heard.contains("forgotten: MULTI"), "{heard}");
        assert_eq!(asker.ask(&[second], "set key a").to_string(), "OK");
    }

    #[test]
    fn between_multi_and_exec_only_exec_is_in_doubt() {
        let (mut asker, other) = (asker(), node(&["+OK\r\n"]).0);
        let nodes = [node(&["+OK\r\n", "+QUEUED\r\n", ""]).0, other];
        assert_eq!(asker.ask(&nodes, "multi").to_string(), "OK");
        assert_eq!(asker.ask(&nodes, "set key a").to_string(), "QUEUED");
        let heard = asker.ask(&nodes, "incr key").to_string();
        assert!(heard.contains("UNAVAILABLE") && heard.contains("MULTI"), "{heard}");
        let nodes = [node(&["+OK\r\n", ""]).0, other];
        let mut asker = self::asker();
        assert_eq!(asker.ask(&nodes, "multi").to_string(), "OK");
        let heard = asker.ask(&nodes, "exec").to_string();
        assert!(heard.starts_with("(error) INDOUBT "), "{heard}");
    }

    #[test]
    fn who_says_nothing_is_told_from_who_is_not_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut asker = Asker { patience: Duration::from_millis(50), ..asker() };
        let heard = asker.ask_that(at, "get key").to_string();
        assert!(heard.contains("UNAVAILABLE") && heard.contains("nothing in 50 ms"), "{heard}");
        let heard = asker.ask_that(at, "set key a").to_string();
        assert!(heard.contains("INDOUBT") && heard.contains("nothing in 50 ms"), "{heard}");
    }

    #[test]
    fn a_memory_is_what_the_connection_has() {
        let check = |story: &[(&str, &str)], left: &[&str]| {
            let mut memory = Memory::default();
            for (question, answer) in story {
                let heard = match answer.strip_prefix('-') {
                    Some(why) => error(why),
                    None => Heard::Simple((*answer).to_owned()),
                };
                memory.learn(&split(question.as_bytes()).unwrap(), &heard);
            }
            assert_eq!(memory.0.into_iter().collect::<Vec<_>>(), left, "{story:?}");
        };
        check(&[("watch a", "OK"), ("multi", "OK"), ("get a", "QUEUED")], &[MULTI, WATCH]);
        check(&[("watch a", "OK"), ("multi", "OK"), ("exec", "-EXECABORT")], &[]);
        check(&[("watch a", "OK"), ("exec", "-ERR EXEC without MULTI")], &[WATCH]);
        check(&[("watch a", "-UNAVAILABLE")], &[WATCH]);
        check(&[("watch a", "OK"), ("unwatch", "OK"), ("multi", "-ERR")], &[]);
        check(
            &[("readonly", "OK"), ("consistency read quorum", "OK")],
            &["CONSISTENCY", "READONLY"],
        );
        check(&[("readonly", "OK"), ("readwrite", "OK")], &[]);
        check(&[("multi", "OK"), ("reset", "RESET")], &[]);
    }
}
