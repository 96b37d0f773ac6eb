//! A connection's own state, and the commands that are about it rather than about keys.
//!
//! Where there are users, a connection is a stranger's until it has said who it is, and again after
//! RESET; a stranger may say so, or leave, and nothing else.
//!
//! Not here: how commands come and answers go (`serve.rs`), keys (`front.rs`), the words of COMMAND
//! (`described.rs`), passwords (`gate.rs`).

use bytes::{Bytes, BytesMut};
use std::{net::SocketAddr, time::Duration};
use trilith_engine::{
    command::Level,
    mark, planted,
    runtime::{Clock, Runtime},
};

use super::{
    act::{Act, Read, integer},
    commands::{COMMANDS, Spec, Verb},
    described,
    front::{Executed, Mood, Watched},
    hub::{Hub, REDIS_VERSION},
    post::Post,
    reply::{Answer, Protocol},
    request::Words,
    scratch::Said,
    walk,
    way::Way,
};
use crate::{
    gate::{Entry, Gate, Guesses},
    held::{Held, Total},
    limits::{
        RESP_KNOWN_COST_BYTES, RESP_NAME_BYTES_MAX, RESP_QUEUE_BYTES_MAX, RESP_QUEUE_MAX,
        RESP_READ_BYTES_MAX, RESP_WATCHED_BYTES_MAX, RESP_WATCHED_MAX,
    },
    meters::Which,
    users::{DEFAULT, Name},
};

/// Whether answers are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hears {
    #[default]
    All,
    /// The next one not.
    SkipsOne,
    Nothing,
}

/// A command between MULTI and EXEC.
#[derive(Debug)]
enum Queued {
    /// The next of the acts.
    Act,
    /// About the connection or the node.
    Own(&'static Spec, Words),
    /// One whose words mean nothing: it is answered so in its place, and the others are done.
    Wrong(String),
}

/// What MULTI has gathered.
#[derive(Debug, Default)]
struct Gathered {
    acts: Vec<Act>,
    /// All of it.
    order: Vec<Queued>,
    /// What keeping it costs.
    bytes: usize,
    /// Something of it cannot be done.
    is_broken: bool,
}

impl Gathered {
    /// One more, if there is room.
    fn add(
        &mut self,
        act: Read<Option<Act>>,
        spec: &'static Spec,
        words: Words,
    ) -> Result<Step, Said> {
        self.bytes += words.cost_bytes();
        if self.order.len() >= RESP_QUEUE_MAX || self.bytes > RESP_QUEUE_BYTES_MAX {
            return Err(error(format!(
                "ERR a transaction has at most {RESP_QUEUE_MAX} commands and \
                 {RESP_QUEUE_BYTES_MAX} bytes"
            )));
        }
        self.order.push(match act {
            Ok(Some(act)) => {
                self.acts.push(act);
                Queued::Act
            }
            Ok(None) => Queued::Own(spec, words),
            Err(why) => Queued::Wrong(why),
        });
        Ok(Step::Say(Said::Simple("QUEUED")))
    }
}

/// What a connection is, beside its bytes.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    /// How what it asks for goes.
    pub(super) way: Way,
    pub(super) from: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) mood: Mood,
    /// Who it is; nothing as long as it has not said so.
    user: Option<Name>,
    guesses: Guesses,
    name: Bytes,
    library: (Bytes, Bytes),
    gathered: Option<Gathered>,
    watched: Watched,
    /// Its part of the names that all have subscribed to, and of the keys that they watch.
    known: Held,
    /// A WATCH was refused, so nobody knows what EXEC would have to look at.
    is_unguarded: bool,
    hears: Hears,
    /// It hears what is published somewhere.
    pub(super) is_subscriber: bool,
    /// Nobody knows whether the last write that was not refused was done.
    pub(super) is_in_doubt: bool,
    /// What it asked last.
    asked: Option<&'static Spec>,
    /// It ends when everything is answered.
    pub(super) ends: bool,
}

/// What is to be done about a command.
#[derive(Debug)]
pub(super) enum Step {
    /// This, with keys, and what it came to is told.
    Explain(Act, Mood, Words),
    /// This, with keys; an own wish for it beside that of the connection.
    Act(Act, Option<Mood>, Words),
    /// What this line of the table says, about the connection or the node.
    Own(&'static Spec, Words),
    /// Nothing more than to say so.
    Say(Said),
    /// Not even that: whoever it is, he did not come to speak with us.
    Leave,
}

/// How long INFO waits for the number of keys, which this node has: programs ask for INFO to see
/// whether a node is there.
const INFO_COUNTS_WITHIN: Duration = Duration::from_millis(100);

const STRANGER: &str = "NOAUTH Authentication required.";
const STRANGE_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
     AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure \
     your configuration is correct?";
pub(super) const TOO_MANY_NAMES: &str = "UNAVAILABLE all connections together subscribe to too many names or watch too many keys; nothing \
     of this one happened, try again";
const CROWDED: &str = "UNAVAILABLE too many want to log in; nothing happened, try again";

fn error(text: impl Into<String>) -> Said {
    Said::Error(text.into().into())
}

/// Whether a request is the head of an HTTP request. Whoever sends one is a browser that some page
/// has sent to the loopback, and what stands behind the head was written by that page.
fn is_of_the_web(words: &Words) -> bool {
    let first = words.get(0);
    first.eq_ignore_ascii_case(b"POST") || first.eq_ignore_ascii_case(b"Host:")
}

/// A word as errors repeat it.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
}

fn unknown_command(words: &Words) -> Said {
    let mut text =
        format!("ERR unknown command '{}', with args beginning with: ", shown(words.get(0)));
    for word in words.iter().skip(1) {
        if text.len() > 256 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(word)));
    }
    error(text)
}

/// What a client says of itself, apart from what came together with it.
fn named(name: &[u8], what: &str) -> Result<Bytes, Said> {
    if !name.iter().all(u8::is_ascii_graphic) {
        let why = "cannot contain spaces, newlines or special characters.";
        return Err(error(format!("ERR {what} {why}")));
    }
    if name.len() > RESP_NAME_BYTES_MAX {
        return Err(error(format!("ERR {what} have at most {RESP_NAME_BYTES_MAX} bytes.")));
    }
    Ok(Bytes::copy_from_slice(name))
}

/// The line of a command that can be called so.
fn line_of(words: &Words) -> Result<&'static Spec, Said> {
    let Some(command) = COMMANDS.get(words.get(0)) else { return Err(unknown_command(words)) };
    let Some(spec) = COMMANDS.of(words) else {
        let name = command.name.to_ascii_uppercase();
        let asked = shown(words.get(1));
        return Err(error(format!("ERR unknown subcommand '{asked}'. Try {name} HELP.")));
    };
    if spec.takes(words.len()) {
        return Ok(spec);
    }
    let of = if std::ptr::eq(command, spec) { String::new() } else { format!("{}|", command.name) };
    Err(error(format!("ERR wrong number of arguments for '{of}{}' command", spec.name)))
}

/// A level's name.
fn level(word: &[u8]) -> Result<Level, Said> {
    match &word.to_ascii_lowercase()[..] {
        b"eventual" => Ok(Level::Eventual),
        b"quorum" => Ok(Level::Quorum),
        b"strong" => Ok(Level::Strong),
        _ => Err(error("ERR a level is eventual, quorum or strong")),
    }
}

impl Session {
    /// One whose commands may take so long. Somebody who need not say who he is is that user.
    pub(super) fn new(
        number: u64,
        from: SocketAddr,
        within: Duration,
        user: Option<Name>,
        names: &Total,
    ) -> Self {
        Self {
            number,
            way: Way::new(number),
            from,
            protocol: Protocol::default(),
            mood: Mood { within, ..Mood::default() },
            user,
            guesses: Guesses::none(from, Which::Resp),
            name: Bytes::new(),
            library: <_>::default(),
            gathered: None,
            watched: Watched::new(),
            known: Held::new(names),
            is_unguarded: false,
            hears: Hears::default(),
            is_subscriber: false,
            is_in_doubt: false,
            asked: None,
            ends: false,
        }
    }

    /// What is to be done about a request.
    pub(super) fn step(&mut self, words: Words) -> Step {
        if is_of_the_web(&words) {
            return Step::Leave;
        }
        match self.read(words, None) {
            Ok(step) => step,
            Err(said) => {
                if let Some(gathered) = &mut self.gathered {
                    gathered.is_broken = true;
                }
                Step::Say(said)
            }
        }
    }

    fn read(&mut self, words: Words, mood: Option<Mood>) -> Result<Step, Said> {
        // What is kept must not keep what came together with it.
        let words = if self.gathered.is_some() { words.apart() } else { words };
        let spec = line_of(&words)?;
        self.asked = Some(spec);
        if self.is_stranger() && !spec.is("no_auth") && !planted!("resp_command_before_auth") {
            mark!("resp: a stranger was asked who he is");
            return Err(error(STRANGER));
        }
        self.check_subscriber(spec)?;
        if spec.verb == Verb::With {
            let mood = Mood { reads: level(words.get(1))?, ..self.mood };
            let behind = words.behind(2);
            if COMMANDS.get(behind.get(0)).is_some_and(|spec| spec.verb == Verb::With) {
                return Err(error("ERR one level is enough"));
            }
            return self.read(behind, Some(mood));
        }
        if spec.verb == Verb::Explain {
            return self.explain(words.behind(1), mood);
        }
        let act = Act::read(spec, &words);
        if let Some(mood) = mood
            && mood.reads != Level::Strong
            && act.as_ref().is_ok_and(Option::is_none)
        {
            return Err(error("CONSISTENCY only what reads or writes keys has a level"));
        }
        let Some(gathered) = &mut self.gathered else {
            return Ok(match act.map_err(error)? {
                Some(act) => Step::Act(act, mood, words),
                None => Step::Own(spec, words),
            });
        };
        match spec.verb {
            Verb::Multi => Ok(Step::Say(error("ERR MULTI calls can not be nested"))),
            Verb::Watch => Ok(Step::Say(error("ERR WATCH inside MULTI is not allowed"))),
            // What walks over all keys is no part of one moment.
            _ if spec.is("no_multi") => Err(error("ERR Command not allowed inside a transaction")),
            Verb::Exec | Verb::Discard | Verb::Quit | Verb::Reset => Ok(Step::Own(spec, words)),
            _ => gathered.add(act, spec, words),
        }
    }

    /// What is to be done about a command that is to be explained.
    fn explain(&mut self, words: Words, mood: Option<Mood>) -> Result<Step, Said> {
        if self.gathered.is_some() {
            return Err(error("ERR Command not allowed inside a transaction"));
        }
        match self.read(words, mood)? {
            Step::Act(act, mood, words) => Ok(Step::Explain(act, mood.unwrap_or(self.mood), words)),
            _ => Err(error("ERR only what reads or writes keys is explained, and once")),
        }
    }

    /// How many bytes of commands it keeps until EXEC.
    pub(super) fn kept(&self) -> usize {
        let gathered = self.gathered.as_ref().map_or(0, |gathered| gathered.bytes);
        // What was refused for its length was counted, and is not kept.
        gathered.min(RESP_QUEUE_BYTES_MAX)
    }

    /// Whether the answer to the command that comes now is to be left out. Asked once for each.
    pub(super) fn skips(&mut self) -> bool {
        let skips = self.hears == Hears::SkipsOne;
        if skips {
            self.hears = Hears::All;
        }
        skips
    }

    /// Whether it hears answers. Asked when a command is done, which may have changed it.
    pub(super) fn hears(&self) -> bool {
        self.hears == Hears::All
    }

    /// Does what is about the connection or the node, and answers.
    pub(super) async fn own<R: Runtime>(
        &mut self,
        hub: &Hub<R>,
        (spec, words): (&'static Spec, &Words),
        out: &mut BytesMut,
    ) {
        if spec.verb == Verb::Exec {
            return self.exec(hub, out).await;
        }
        let said = match spec.verb {
            Verb::Watch => self.watch(hub, words).await,
            Verb::Keys => hub.front().keys(&mut self.way, words.get(1), &self.mood).await,
            Verb::Randomkey => hub.front().random(&mut self.way, hub.luck(), &self.mood).await,
            Verb::Dbsize => {
                let count = hub.front().count(&mut self.way, &self.mood).await;
                count.map_or_else(|said| said, |count| Said::Number(count as i64))
            }
            Verb::Flushall | Verb::Flushdb => self.flush(hub, words).await,
            Verb::Scan => match self.scan(hub, words).await {
                Ok((keys, cursor)) => {
                    let answer = &mut Answer::new(out, self.protocol);
                    answer.array(2);
                    answer.bulk(cursor.to_string().as_bytes());
                    answer.array(keys.len());
                    return keys.iter().for_each(|key| answer.bulk(key));
                }
                Err(said) => said,
            },
            Verb::Info => {
                let keys = self.keys_for_info(hub, words).await;
                let answer = &mut Answer::new(out, self.protocol);
                return answer.verbatim(&described::info(hub, words, keys));
            }
            _ => return self.tell(hub, (spec, words), out).await,
        };
        said.write(&mut Answer::new(out, self.protocol));
    }

    /// A write was answered so.
    pub(super) fn wrote(&mut self, said: &Said) {
        match said {
            Said::Error(why) if why.starts_with("INDOUBT") => self.is_in_doubt = true,
            // It did not happen: what was before it is known no better.
            Said::Error(_) => {}
            _ => self.is_in_doubt = false,
        }
    }

    async fn flush<R: Runtime>(&mut self, hub: &Hub<R>, words: &Words) -> Said {
        let how = words.get(1).to_ascii_uppercase();
        if words.len() > 2 || !matches!(&how[..], b"" | b"SYNC" | b"ASYNC") {
            return error("ERR syntax error");
        }
        let said = hub.front().flush(&mut self.way, &self.mood).await;
        self.wrote(&said);
        said
    }

    async fn scan<R: Runtime>(
        &mut self,
        hub: &Hub<R>,
        words: &Words,
    ) -> Result<(Vec<Bytes>, u64), Said> {
        let cursor = walk::cursor(words.get(1))?;
        let wanted = walk::Wanted::read(words)?;
        let place = hub.cursors().place(cursor);
        let place = place.ok_or_else(|| {
            error("ERR this node does not know the cursor, or not any more: begin again with 0")
        })?;
        let (keys, rest) = hub.front().scan(&mut self.way, (place, &wanted), &self.mood).await?;
        Ok((keys, rest.map_or(0, |place| hub.cursors().keep(place, hub.luck()))))
    }

    /// How many keys INFO tells of, as far as this node knows, so that it needs nobody else.
    async fn keys_for_info<R: Runtime>(&mut self, hub: &Hub<R>, words: &Words) -> Option<u64> {
        if !described::is_section_wanted(words, "Keyspace") {
            return None;
        }
        let near = Mood { reads: Level::Eventual, staleness_ms: 0, within: INFO_COUNTS_WITHIN };
        hub.front().count(&mut self.way, &near).await.ok()
    }

    /// The same, of what needs nobody else.
    async fn tell<R: Runtime>(
        &mut self,
        hub: &Hub<R>,
        (spec, words): (&'static Spec, &Words),
        out: &mut BytesMut,
    ) {
        let protocol = self.protocol;
        if self.subscribe(hub, (spec, words), &mut Answer::new(out, protocol)).await {
            return;
        }
        let said = match spec.verb {
            Verb::Reset => self.reset(hub),
            Verb::Auth => {
                self.auth(hub.gate(), words).await.map_or_else(|said| said, |()| Said::Ok)
            }
            Verb::Hello => match self.hello(hub.gate(), words).await {
                Ok(()) => return self.greet(&mut Answer::new(out, self.protocol)),
                Err(said) => said,
            },
            _ => match self.change(hub.post(), spec, words) {
                Some(said) => said,
                None => {
                    let answer = &mut Answer::new(out, self.protocol);
                    return described::answer(hub, self, (spec, words), answer);
                }
            },
        };
        said.write(&mut Answer::new(out, self.protocol));
    }

    /// What changes the connection; nothing when the command does not.
    fn change(&mut self, post: &Post, spec: &Spec, words: &Words) -> Option<Said> {
        Some(match spec.verb {
            Verb::Multi => {
                self.gathered = Some(Gathered::default());
                Said::Ok
            }
            Verb::Discard if self.gathered.take().is_none() => error("ERR DISCARD without MULTI"),
            Verb::Discard | Verb::Unwatch => {
                self.watched.clear();
                self.forgets_keys(post);
                self.is_unguarded = false;
                Said::Ok
            }
            Verb::Quit => {
                self.ends = true;
                Said::Ok
            }
            Verb::Select => match integer(words.get(1)) {
                Ok(0) => Said::Ok,
                Ok(_) => error("ERR DB index is out of range"),
                Err(why) => error(why),
            },
            Verb::Readonly => {
                self.mood.reads = Level::Eventual;
                Said::Ok
            }
            Verb::Readwrite => {
                self.mood = Mood { within: self.mood.within, ..Mood::default() };
                Said::Ok
            }
            Verb::Consistency => self.consistency(words).map_or_else(|said| said, |()| Said::Ok),
            Verb::ClientSetname => {
                self.set_name(words.get(2)).map_or_else(|said| said, |()| Said::Ok)
            }
            Verb::ClientSetinfo => self.set_library(words),
            Verb::ClientReply => return Some(self.set_hears(words.get(2))),
            _ => return None,
        })
    }

    fn consistency(&mut self, words: &Words) -> Result<(), Said> {
        let mut mood = self.mood;
        if words.len().is_multiple_of(2) {
            return Err(error("ERR syntax error"));
        }
        for at in (1..words.len()).step_by(2) {
            let word = words.get(at + 1);
            match &words.get(at).to_ascii_uppercase()[..] {
                b"READ" => mood.reads = level(word)?,
                // A level is the least that is wanted, and every write is strong.
                b"WRITE" => _ = level(word)?,
                b"MAXSTALE" => {
                    let ms = integer(word).ok().and_then(|ms| u32::try_from(ms).ok());
                    mood.staleness_ms = ms.ok_or_else(|| {
                        error("ERR MAXSTALE is a number of milliseconds, 0 for however old")
                    })?;
                }
                _ => return Err(error("ERR syntax error")),
            }
        }
        self.mood = mood;
        Ok(())
    }

    fn set_name(&mut self, name: &[u8]) -> Result<(), Said> {
        self.name = named(name, "Client names")?;
        Ok(())
    }

    fn set_library(&mut self, words: &Words) -> Said {
        let name = match named(words.get(3), &shown(words.get(2))) {
            Ok(name) => name,
            Err(said) => return said,
        };
        match &words.get(2).to_ascii_lowercase()[..] {
            b"lib-name" => self.library.0 = name,
            b"lib-ver" => self.library.1 = name,
            _ => return error(format!("ERR Unrecognized option '{}'", shown(words.get(2)))),
        }
        Said::Ok
    }

    fn set_hears(&mut self, word: &[u8]) -> Said {
        self.hears = match &word.to_ascii_lowercase()[..] {
            b"on" => Hears::All,
            b"off" => Hears::Nothing,
            // Who hears nothing has nothing to skip.
            b"skip" if self.hears == Hears::Nothing => Hears::Nothing,
            b"skip" => Hears::SkipsOne,
            _ => return error("ERR syntax error"),
        };
        Said::Ok
    }

    /// As it was at its beginning; who was wrong before waits no shorter.
    fn reset<R: Runtime>(&mut self, hub: &Hub<R>) -> Said {
        hub.post().leave_all(self.number);
        let user = match planted!("resp_reset_keeps_the_user") {
            true => self.user.take(),
            false => hub.gate().anybody(),
        };
        let names = &hub.meters().totals.names;
        let anew = Self::new(self.number, self.from, self.mood.within, user, names);
        *self = Self { guesses: self.guesses, ..anew };
        Said::Simple("RESET")
    }

    /// AUTH: a password, and whose it is.
    async fn auth<R: Runtime>(&mut self, gate: &Gate<R>, words: &Words) -> Result<(), Said> {
        let (name, password) = match words.len() {
            2 if gate.is_open() => return Err(error(NO_PASSWORD)),
            2 => (DEFAULT.as_bytes(), words.get(1)),
            3 => (words.get(1), words.get(2)),
            _ => return Err(error("ERR syntax error")),
        };
        self.log_in(gate, name, password).await
    }

    /// Who was somebody before and is wrong now stays who he was.
    async fn log_in<R: Runtime>(
        &mut self,
        gate: &Gate<R>,
        name: &[u8],
        password: &[u8],
    ) -> Result<(), Said> {
        match gate.enter(name, password, &mut self.guesses).await {
            Entry::In(name) => self.user = Some(name),
            Entry::Wrong => return Err(error(WRONG_PASSWORD)),
            Entry::Crowded => return Err(error(CROWDED)),
        }
        Ok(())
    }

    /// HELLO: which protocol, and perhaps who one is, and a name. All of it, or nothing but who.
    async fn hello<R: Runtime>(&mut self, gate: &Gate<R>, words: &Words) -> Result<(), Said> {
        let protocol = match words.get(1) {
            b"" => self.protocol,
            b"2" => Protocol::Resp2,
            b"3" => Protocol::Resp3,
            word => {
                let is_number = integer(word).is_ok();
                let why = "ERR Protocol version is not an integer or out of range";
                return Err(error(if is_number {
                    "NOPROTO unsupported protocol version"
                } else {
                    why
                }));
            }
        };
        let (mut at, mut who, mut name) = (2, None, None);
        while at < words.len() {
            match &words.get(at).to_ascii_uppercase()[..] {
                b"SETNAME" if at + 1 < words.len() => {
                    name = Some(named(words.get(at + 1), "Client names")?);
                    at += 2;
                }
                b"AUTH" if at + 2 < words.len() => {
                    who = Some((words.get(at + 1), words.get(at + 2)));
                    at += 3;
                }
                _ => {
                    let option = shown(words.get(at));
                    return Err(error(format!("ERR Syntax error in HELLO option '{option}'")));
                }
            }
        }
        if let Some((name, password)) = who {
            self.log_in(gate, name, password).await?;
        }
        if self.is_stranger() {
            return Err(error(STRANGE_HELLO));
        }
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        self.protocol = protocol;
        Ok(())
    }

    fn greet(&self, answer: &mut Answer<'_>) {
        answer.map(7);
        for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            answer.bulk(name.as_bytes());
            answer.bulk(value.as_bytes());
        }
        answer.bulk(b"proto");
        answer.integer(if self.protocol == Protocol::Resp3 { 3 } else { 2 });
        answer.bulk(b"id");
        answer.integer(self.number as i64);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            answer.bulk(name.as_bytes());
            answer.bulk(value.as_bytes());
        }
        answer.bulk(b"modules");
        answer.array(0);
    }

    async fn watch<R: Runtime>(&mut self, hub: &Hub<R>, words: &Words) -> Said {
        let watched = self.look_at(hub, words).await;
        // Whoever does not wait for the answer must not be done what he asks behind it.
        self.is_unguarded |= watched.is_err() && !planted!("resp_refused_watch_guards_nothing");
        watched.map_or_else(|said| said, |()| Said::Ok)
    }

    async fn look_at<R: Runtime>(&mut self, hub: &Hub<R>, words: &Words) -> Result<(), Said> {
        let keys = words.iter().skip(1).filter(|key| !self.watched.contains_key(*key));
        let mut keys: Vec<Bytes> = keys.map(Bytes::copy_from_slice).collect();
        keys.sort_unstable();
        keys.dedup();
        let bytes = self.watched.keys().chain(&keys).map(Bytes::len).sum::<usize>();
        if self.watched.len() + keys.len() > RESP_WATCHED_MAX || bytes > RESP_WATCHED_BYTES_MAX {
            return Err(error(format!(
                "ERR a connection watches at most {RESP_WATCHED_MAX} keys with \
                 {RESP_WATCHED_BYTES_MAX} bytes"
            )));
        }
        if !self.knows(hub.post().held(self.number), (self.watched.len() + keys.len(), bytes)) {
            return Err(error(TOO_MANY_NAMES));
        }
        // What was watched first counts.
        self.watched.extend(hub.front().versions(&mut self.way, &keys, &self.mood).await?);
        Ok(())
    }

    /// It is to know so many names, and watch so many keys, with so many bytes each. Whether all
    /// connections have room for that.
    pub(super) fn knows(&mut self, names: (usize, usize), keys: (usize, usize)) -> bool {
        let cost = |(many, bytes): (usize, usize)| many * RESP_KNOWN_COST_BYTES + bytes;
        let has_room = self.known.hold(cost(names) + cost(keys));
        if !has_room {
            mark!("resp: connections knew too many names");
        }
        has_room || planted!("resp_names_of_all_unbounded")
    }

    /// How many keys it watches, and how many bytes they have.
    pub(super) fn watches(&self) -> (usize, usize) {
        (self.watched.len(), self.watched.keys().map(Bytes::len).sum())
    }

    /// It watches nothing any more.
    fn forgets_keys(&mut self, post: &Post) {
        let _less_is_always_there = self.knows(post.held(self.number), (0, 0));
    }

    pub(super) async fn exec<R: Runtime>(&mut self, hub: &Hub<R>, out: &mut BytesMut) {
        let Some(Gathered { acts, order, is_broken, .. }) = self.gathered.take() else {
            return Answer::new(out, self.protocol).error("ERR EXEC without MULTI");
        };
        let watched = std::mem::take(&mut self.watched);
        if !watched.is_empty() {
            self.forgets_keys(hub.post());
        }
        let is_unguarded = std::mem::take(&mut self.is_unguarded);
        let answer = &mut Answer::new(out, self.protocol);
        if is_broken || is_unguarded {
            let why = "EXECABORT Transaction discarded because of previous errors.";
            return answer.error(why);
        }
        let said = match hub.front().transact(&mut self.way, &acts, &watched, &self.mood).await {
            Executed::Done(said) => said,
            Executed::Changed => return answer.no_array(),
            Executed::Failed(said) => {
                self.wrote(&said);
                return said.write(answer);
            }
        };
        if acts.iter().any(|act| !act.is_read()) {
            self.wrote(&Said::Ok);
        }
        answer.array(order.len());
        let (mut said, begin) = (said.into_iter(), out.len());
        for one in order {
            match one {
                Queued::Wrong(why) => Answer::new(out, self.protocol).error(&why),
                // What a node tells of itself is longer than the words that ask for it.
                Queued::Own(..) if out.len() - begin > RESP_READ_BYTES_MAX => {
                    let why = "ERR the answer of the transaction is too long; this was not done";
                    Answer::new(out, self.protocol).error(why);
                }
                Queued::Own(spec, words) => self.tell(hub, (spec, &words), out).await,
                Queued::Act => {
                    let said = said.next().unwrap_or(Said::Nothing);
                    said.write(&mut Answer::new(out, self.protocol));
                }
            }
        }
    }

    /// What others are told of it is so now.
    pub(super) fn note<R: Runtime>(&self, hub: &Hub<R>) {
        let subscribed = if self.is_subscriber { hub.post().counts(self.number) } else { [0; 3] };
        let mut guests = hub.guests();
        let Some(guest) = guests.get_mut(&self.number) else { return };
        guest.last = hub.runtime().clock().now();
        if guest.name != self.name {
            guest.name = self.name.clone();
        }
        if guest.library != self.library {
            guest.library = self.library.clone();
        }
        guest.user.clone_from(&self.user);
        guest.protocol = self.protocol;
        guest.gathered = self.gathered.as_ref().map(|gathered| gathered.order.len());
        guest.watched = self.watched.len();
        guest.subscribed = subscribed;
        guest.asked = self.asked;
    }

    pub(super) const fn name(&self) -> &Bytes {
        &self.name
    }

    /// Whether it has to say first who it is.
    pub(super) const fn is_stranger(&self) -> bool {
        self.user.is_none()
    }

    /// Who it is.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_in_doubt_is_one_until_a_later_one_is_known() {
        let from = ([127, 0, 0, 1], 1).into();
        let mut session = Session::new(1, from, Duration::from_secs(1), None, &Total::new(0));
        let told = [
            (Said::Ok, false),
            (error("UNAVAILABLE nothing happened"), false),
            (error("INDOUBT it may have happened"), true),
            (error("UNAVAILABLE nothing happened"), true),
            (Said::Number(1), false),
        ];
        for (said, is_in_doubt) in told {
            session.wrote(&said);
            assert_eq!(session.is_in_doubt, is_in_doubt, "{said:?}");
        }
    }
}
