//! What a node knows of a connection to its Redis port, and who is meant by CLIENT LIST and CLIENT
//! KILL.
//!
//! Not here: the connection itself (`session.rs`, `serve.rs`).

use std::{borrow::Cow, net::SocketAddr};

use bytes::Bytes;
use trilith_engine::runtime::Instant;

use super::{
    act::integer,
    commands::{COMMANDS, Spec},
    reply::Protocol,
    request::Words,
    scratch::Said,
};
use crate::users::{DEFAULT, Name};

/// A connection, as others are told of it.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) number: u64,
    pub(super) from: SocketAddr,
    pub(super) began: Instant,
    /// When it last asked for something.
    pub(super) last: Instant,
    pub(super) name: Bytes,
    /// Who it is; nothing when it has not said so.
    pub(super) user: Option<Name>,
    pub(super) library: (Bytes, Bytes),
    pub(super) protocol: Protocol,
    /// How many commands MULTI has gathered, if it gathers.
    pub(super) gathered: Option<usize>,
    pub(super) watched: usize,
    /// Channels, patterns, sharded channels.
    pub(super) subscribed: [usize; 3],
    pub(super) asked: Option<&'static Spec>,
}

/// A command's name as Redis lists it.
fn full_name(spec: &'static Spec) -> Cow<'static, str> {
    let is_under = |of: &&Spec| of.subcommands.values().any(|sub| std::ptr::eq(sub, spec));
    match COMMANDS.iter().find(is_under) {
        Some(of) => Cow::Owned(format!("{}|{}", of.name, spec.name)),
        None => Cow::Borrowed(spec.name),
    }
}

impl Guest {
    /// One that has just come.
    pub(super) fn new(number: u64, from: SocketAddr, now: Instant) -> Self {
        Self {
            number,
            from,
            began: now,
            last: now,
            name: Bytes::new(),
            user: None,
            library: <_>::default(),
            protocol: Protocol::default(),
            gathered: None,
            watched: 0,
            subscribed: [0; 3],
            asked: None,
        }
    }

    fn is_subscriber(&self) -> bool {
        self.subscribed.iter().any(|count| *count > 0)
    }

    /// Who it is. As Redis has it, that is the default user as long as it has not said so.
    fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT)
    }

    /// A line about it, as CLIENT INFO has it, which came to that address. What is not known of it is 0,
    /// because programs look for it.
    pub(super) fn line(&self, at: SocketAddr, now: Instant) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut flags = String::new();
        if self.is_subscriber() {
            flags.push('P');
        }
        if self.gathered.is_some() {
            flags.push('x');
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let [channels, patterns, shards] = self.subscribed;
        format!(
            "id={} addr={} laddr={at} fd=0 name={} age={} idle={} flags={flags} db=0 sub={channels} \
             psub={patterns} ssub={shards} multi={} watch={} qbuf=0 qbuf-free=0 argv-mem=0 \
             multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user={} redir=-1 \
             resp={} lib-name={} lib-ver={}",
            self.number,
            self.from,
            text(&self.name),
            now.since(self.began).as_secs(),
            now.since(self.last).as_secs(),
            self.gathered.map_or(-1, |gathered| gathered as i64),
            self.watched,
            self.asked.map_or(Cow::Borrowed("NULL"), full_name),
            self.user(),
            if self.protocol == Protocol::Resp3 { 3 } else { 2 },
            text(&self.library.0),
            text(&self.library.1),
        )
    }
}

/// What kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Subscriber,
    /// There is none of these here.
    OfServers,
}

/// Which connections are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Which {
    numbers: Option<Vec<u64>>,
    from: Option<Bytes>,
    kind: Option<Kind>,
    user: Option<Bytes>,
    /// At least so old, in seconds.
    age_s: Option<u64>,
    /// Of nobody: we have no such address.
    is_nobody: bool,
    /// Whether who asks is not meant.
    pub(super) skips_own: bool,
    /// Whether it was asked as of old: one address, and an error when it is nobody's.
    pub(super) is_old: bool,
}

fn error<T>(text: impl Into<String>) -> Result<T, Said> {
    Err(Said::Error(Cow::Owned(text.into())))
}

fn number(word: &[u8]) -> Result<u64, Said> {
    let number = integer(word).ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    number.ok_or(Said::Error(Cow::Borrowed("ERR client-id should be greater than 0")))
}

fn kind(word: &[u8]) -> Result<Kind, Said> {
    match &word.to_ascii_lowercase()[..] {
        b"normal" => Ok(Kind::Normal),
        b"pubsub" => Ok(Kind::Subscriber),
        b"master" | b"replica" | b"slave" => Ok(Kind::OfServers),
        _ => error(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word))),
    }
}

impl Which {
    /// What stands behind CLIENT LIST.
    pub(super) fn listed(words: &Words) -> Result<Self, Said> {
        let mut which = Self::default();
        match (&words.get(2).to_ascii_lowercase()[..], words.len()) {
            (b"", 2) => {}
            (b"type", 4) => which.kind = Some(kind(words.get(3))?),
            (b"id", 4..) => {
                let numbers = words.iter().skip(3).map(number);
                let invalid = |_why| Said::Error(Cow::Borrowed("ERR Invalid client ID"));
                which.numbers = Some(numbers.collect::<Result<_, _>>().map_err(invalid)?);
            }
            _ => return error("ERR syntax error"),
        }
        Ok(which)
    }

    /// What stands behind CLIENT KILL, where these are the users.
    pub(super) fn killed(words: &Words, users: &[Name]) -> Result<Self, Said> {
        if words.len() == 3 {
            let from = Some(words.share(2));
            return Ok(Self { from, is_old: true, ..Self::default() });
        }
        let mut which = Self { skips_own: true, ..Self::default() };
        if !words.len().is_multiple_of(2) {
            return error("ERR syntax error");
        }
        for at in (2..words.len()).step_by(2) {
            let word = words.get(at + 1);
            match &words.get(at).to_ascii_lowercase()[..] {
                b"id" => which.numbers = Some(vec![number(word)?]),
                b"addr" => which.from = Some(words.share(at + 1)),
                b"laddr" => which.is_nobody = true,
                b"type" => which.kind = Some(kind(word)?),
                b"user" if users.iter().any(|user| user.as_bytes() == word) => {
                    which.user = Some(words.share(at + 1));
                }
                b"user" => {
                    let name = String::from_utf8_lossy(word);
                    return error(format!("ERR No such user '{name}'"));
                }
                b"skipme" if word.eq_ignore_ascii_case(b"yes") => which.skips_own = true,
                b"skipme" if word.eq_ignore_ascii_case(b"no") => which.skips_own = false,
                b"maxage" => {
                    let age = integer(word).ok().and_then(|age| u64::try_from(age).ok());
                    let why =
                        Said::Error(Cow::Borrowed("ERR maxage is not an integer or out of range"));
                    which.age_s = Some(age.ok_or(why)?);
                }
                _ => return error("ERR syntax error"),
            }
        }
        Ok(which)
    }

    /// Whether that one is meant, if somebody of that number asks.
    pub(super) fn means(&self, guest: &Guest, own: u64, now: Instant) -> bool {
        let is_kind = |kind: &Kind| match kind {
            Kind::Normal => !guest.is_subscriber(),
            Kind::Subscriber => guest.is_subscriber(),
            Kind::OfServers => false,
        };
        let is_left_out = self.is_nobody || self.skips_own && guest.number == own;
        !is_left_out
            && self.numbers.as_ref().is_none_or(|numbers| numbers.contains(&guest.number))
            && self.from.as_ref().is_none_or(|from| *from == guest.from.to_string())
            && self.kind.as_ref().is_none_or(is_kind)
            && self.user.as_ref().is_none_or(|user| *user == guest.user().as_bytes())
            && self.age_s.is_none_or(|age| now.since(guest.began).as_secs() >= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn guest(number: u64, subscribed: [usize; 3]) -> Guest {
        let from = SocketAddr::from(([127, 0, 0, 1], 1000 + number as u16));
        Guest { subscribed, ..Guest::new(number, from, Instant(0)) }
    }

    #[test]
    fn who_is_meant_is_read_as_redis_does() {
        let me = Guest { user: Some("me".into()), ..guest(2, [1, 0, 0]) };
        let all = [guest(1, [0; 3]), me, guest(3, [0, 2, 0])];
        let now = Instant(0) + Duration::from_secs(10);
        let meant = |line: &str| {
            let words: Words = line.split(' ').collect();
            let is_kill = line.starts_with("client kill");
            let users: [Name; 2] = [DEFAULT.into(), "me".into()];
            let which = if is_kill { Which::killed(&words, &users) } else { Which::listed(&words) };
            which.map(|which| {
                let meant = all.iter().filter(|guest| which.means(guest, 1, now));
                meant.map(|guest| guest.number).collect::<Vec<_>>()
            })
        };
        for (line, numbers) in [
            ("client list", &[1, 2, 3][..]),
            ("client list type normal", &[1]),
            ("client list TYPE pubsub", &[2, 3]),
            ("client list type master", &[]),
            ("client list id 3 1", &[1, 3]),
            ("client kill 127.0.0.1:1002", &[2]),
            ("client kill id 1", &[]),
            ("client kill id 1 skipme no", &[1]),
            ("client kill addr 127.0.0.1:1003 user default", &[3]),
            ("client kill user me", &[2]),
            ("client kill user default skipme no", &[1, 3]),
            ("client kill type pubsub maxage 10", &[2, 3]),
            ("client kill type pubsub maxage 11", &[]),
            ("client kill laddr 127.0.0.1:7379", &[]),
        ] {
            assert_eq!(meant(line), Ok(numbers.to_vec()), "{line}");
        }
        for (line, why) in [
            ("client list what", "ERR syntax error"),
            ("client list type what", "ERR Unknown client type 'what'"),
            ("client list id x", "ERR Invalid client ID"),
            ("client kill id 0", "ERR client-id should be greater than 0"),
            ("client kill id 1 skipme", "ERR syntax error"),
            ("client kill user you", "ERR No such user 'you'"),
        ] {
            assert_eq!(meant(line), Err(Said::Error(why.into())), "{line}");
        }
    }

    #[test]
    fn a_line_tells_what_is_known() {
        let spec = COMMANDS.of(&"client list".split(' ').collect());
        let guest = Guest { asked: spec, gathered: Some(2), ..guest(7, [1, 0, 0]) };
        let at = SocketAddr::from(([127, 0, 0, 1], 7379));
        let line = guest.line(at, Instant(0) + Duration::from_secs(3));
        let begins = "id=7 addr=127.0.0.1:1007 laddr=127.0.0.1:7379 fd=0 name= age=3 idle=3 flags=Px \
                      db=0 sub=1 psub=0 ssub=0 multi=2 watch=0 qbuf=0 ";
        assert!(line.starts_with(begins), "{line}");
        assert!(line.contains(" cmd=client|list user=default redir=-1 resp=2"), "{line}");
        // All that Redis tells, in its order.
        let usual = "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free \
                     argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp \
                     lib-name lib-ver";
        let fields = line.split(' ').map(|field| field.split('=').next().unwrap());
        assert_eq!(fields.collect::<Vec<_>>(), usual.split(' ').collect::<Vec<_>>());
        let guest = Guest { user: Some("me".into()), ..guest };
        assert!(guest.line(at, Instant(0)).contains(" user=me redir=-1 resp=2"));
    }
}
