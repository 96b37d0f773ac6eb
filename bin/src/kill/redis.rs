//! A client of a cluster of processes that speaks Redis' protocol at the port for it: the same load,
//! the same histories and the same judges, another way in.
//!
//! What is refused is asked again, of whichever node, until the client's patience is over: nothing has
//! happened. What is in doubt, or has lost its connection, may have happened and is not asked again,
//! unless it only reads. Neither is ever called a failure.
//!
//! A compare-and-swap is WATCH and GET, and when that is what was hoped for, MULTI, SET and EXEC.
//! Nothing has no version to be watched: then it is SET with NX. A connection on which any of it went
//! wrong is left, so that nothing of it is remembered there.
//!
//! Not here: who is killed (`keeper.rs`), what is asked and who judges (`cluster.rs`).

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};
use trilith_net::resp::heard::Heard;
use trilith_sim::{
    history::{Answer, Call, Key, Outcome as Ends, Recorder, Value},
    load::{Ask, Planned},
};

use crate::{
    bench::load::Dice,
    failure::{Failure, LOST, Outcome},
};

/// A node on this machine takes a connection at once, unless it stands still.
const CONNECTS_WITHIN: Duration = Duration::from_millis(500);
/// Between two tries.
const RESTS: Duration = Duration::from_millis(2);

/// Why there is no answer.
enum Silence {
    /// Nobody was asked.
    Unsaid,
    /// It may have been heard.
    Unheard,
}

type Told = Result<Heard, Silence>;

/// How one try ends: it does, or nothing has happened, for that reason.
type Try = Result<Ends, String>;

/// The client.
pub(super) struct Client<'a> {
    pub(super) number: u32,
    /// Where Redis clients are served.
    pub(super) nodes: &'a [SocketAddr],
    pub(super) patience: Duration,
    pub(super) recorder: Recorder,
    /// What the history's moments are counted from.
    pub(super) began: Instant,
    pub(super) dice: Dice,
    pub(super) line: Option<TcpStream>,
    /// What was last seen of each key.
    pub(super) last: BTreeMap<Key, Option<Value>>,
    /// What no node may say.
    pub(super) nonsense: Option<String>,
}

impl Client<'_> {
    /// Asks for one thing after the other.
    pub(super) fn live(mut self, plan: &[Planned]) -> Outcome {
        let began = Instant::now();
        for planned in plan {
            let at = began + Duration::from_nanos(planned.at_ns);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            self.operation(planned);
            if let Some(said) = self.nonsense.take() {
                return Err(Failure::new(&LOST, format!("{planned} was answered: {said}"), ""));
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn operation(&mut self, planned: &Planned) {
        let key = planned.key;
        let call = match planned.ask {
            Ask::Get => Call::Get,
            Ask::Set(value) => Call::Set(value),
            Ask::Delete => Call::Delete,
            Ask::Cas(to) => Call::Cas { from: self.last.get(&key).copied().flatten(), to },
            Ask::Incr(by) => Call::Incr(by),
        };
        let id = self.recorder.begin(self.now_ns(), self.number, key, call);
        let until = Instant::now() + self.patience;
        let outcome = loop {
            match self.once(key, call, until) {
                Ok(outcome) => break outcome,
                Err(why) if Instant::now() >= until => {
                    self.recorder.because(id, why);
                    break Ends::Failed;
                }
                Err(_why) => thread::sleep(RESTS),
            }
        };
        self.recorder.end(self.now_ns(), id, outcome);
        let saw = match (outcome, call) {
            (Ends::Ok(Answer::Value(value)), _) => value,
            (Ends::Ok(Answer::Done), Call::Set(to))
            | (Ends::Ok(Answer::Swapped(true)), Call::Cas { to, .. }) => Some(to),
            (Ends::Ok(Answer::Done), Call::Delete) => None,
            _ => return,
        };
        self.last.insert(key, saw);
    }

    fn once(&mut self, key: Key, call: Call, until: Instant) -> Try {
        let name = format!("key{key}");
        let told = match call {
            Call::Get if self.dice.below(3) == 0 => {
                self.ask(&["WITH", "quorum", "GET", &name], until)
            }
            Call::Get => self.ask(&["GET", &name], until),
            Call::Set(value) => self.ask(&["SET", &name, &value.to_string()], until),
            Call::Delete => self.ask(&["DEL", &name], until),
            Call::Incr(by) => self.ask(&["INCRBY", &name, &by.to_string()], until),
            Call::Cas { from: None, to } => self.ask(&["SET", &name, &to.to_string(), "NX"], until),
            Call::Cas { from: Some(from), to } => {
                let tried = self.swap(&name, from, to, until);
                if !matches!(tried, Ok(Ends::Ok(_))) {
                    self.line = None;
                }
                return tried;
            }
        };
        let answer = match (call, told) {
            (_, Err(Silence::Unheard)) if call.is_write() => return Ok(Ends::Unknown),
            (_, Err(silence)) => return Err(silence.text().to_owned()),
            (_, Ok(Heard::Error(why))) => return refused(call, why),
            (Call::Get, Ok(Heard::Nothing)) => Answer::Value(None),
            (Call::Get, Ok(Heard::Bulk(bytes))) => Answer::Value(number(&bytes)),
            (Call::Incr(_), Ok(Heard::Integer(sum))) => Answer::Value(u64::try_from(sum).ok()),
            (Call::Set(_), Ok(Heard::Simple(_))) | (Call::Delete, Ok(Heard::Integer(_))) => {
                Answer::Done
            }
            (Call::Cas { .. }, Ok(Heard::Simple(_))) => Answer::Swapped(true),
            (Call::Cas { .. }, Ok(Heard::Nothing)) => Answer::Swapped(false),
            (_, Ok(other)) => {
                self.nonsense = Some(other.to_string());
                return Ok(Ends::Unknown);
            }
        };
        Ok(Ends::Ok(answer))
    }

    /// Sets a value in the place of another one. Until EXEC is said, nothing can have happened.
    fn swap(&mut self, name: &str, from: Value, to: Value, until: Instant) -> Try {
        let call = Call::Cas { from: Some(from), to };
        match self.ask(&["WATCH", name], until) {
            Ok(Heard::Simple(_)) => {}
            told => return Err(shown(told)),
        }
        let found = match self.ask(&["GET", name], until) {
            Ok(Heard::Nothing) => None,
            Ok(Heard::Bulk(bytes)) => number(&bytes),
            told => return Err(shown(told)),
        };
        if found != Some(from) {
            // Another EXEC of this connection must not look at it.
            self.line = None;
            return Ok(Ends::Ok(Answer::Swapped(false)));
        }
        for words in [&["MULTI"][..], &["SET", name, &to.to_string()]] {
            match self.ask(words, until) {
                Ok(Heard::Simple(_)) => {}
                told => return Err(shown(told)),
            }
        }
        match self.ask(&["EXEC"], until) {
            // The next try sees what it is now.
            Ok(Heard::Nothing) => Err("what was watched has changed".to_owned()),
            Ok(Heard::Error(why)) => refused(call, why),
            Ok(Heard::Array(all)) => match all.into_iter().next() {
                Some(Heard::Simple(_)) => Ok(Ends::Ok(Answer::Swapped(true))),
                Some(Heard::Error(why)) => refused(call, why),
                other => {
                    self.nonsense = Some(format!("{other:?}"));
                    Ok(Ends::Unknown)
                }
            },
            Ok(other) => {
                self.nonsense = Some(other.to_string());
                Ok(Ends::Unknown)
            }
            Err(Silence::Unsaid) => Err(Silence::Unsaid.text().to_owned()),
            Err(Silence::Unheard) => Ok(Ends::Unknown),
        }
    }

    /// Asks on the connection that there is, or on another one. One that is silent is left.
    fn ask(&mut self, words: &[&str], until: Instant) -> Told {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.connect(until).ok_or(Silence::Unsaid)?,
        };
        let mut said = format!("*{}\r\n", words.len());
        for word in words {
            said.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let heard = self.exchange(&mut line, &said, until).ok_or(Silence::Unheard)?;
        self.line = Some(line);
        Ok(heard)
    }

    fn connect(&mut self, until: Instant) -> Option<TcpStream> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let at = self.nodes[self.dice.below(self.nodes.len() as u64) as usize];
            if let Ok(line) = TcpStream::connect_timeout(&at, left.min(CONNECTS_WITHIN)) {
                return line.set_nodelay(true).is_ok().then_some(line);
            }
            thread::sleep(RESTS);
        }
    }

    fn exchange(&mut self, line: &mut TcpStream, said: &str, until: Instant) -> Option<Heard> {
        line.write_all(said.as_bytes()).ok()?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 1 << 12]);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            line.set_read_timeout(Some(left)).ok()?;
            match line.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
            match Heard::first(&bytes) {
                Ok(None) => {}
                Ok(Some((heard, length))) if length == bytes.len() => return Some(heard),
                Ok(Some(_)) | Err(_) => {
                    self.nonsense = Some(bytes.escape_ascii().to_string());
                    return None;
                }
            }
        }
    }
}

impl Silence {
    const fn text(&self) -> &'static str {
        match self {
            Self::Unsaid => "nobody could be asked",
            Self::Unheard => "no answer came in time",
        }
    }
}

/// What an error says of a call.
fn refused(call: Call, why: String) -> Try {
    if why.starts_with("INDOUBT") && call.is_write() { Ok(Ends::Unknown) } else { Err(why) }
}

fn shown(told: Told) -> String {
    told.map_or_else(|silence| silence.text().to_owned(), |heard| heard.to_string())
}

fn number(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
