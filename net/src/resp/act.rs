//! What commands say about keys and values, read from their words.
//!
//! An [`Act`] says all that its effect depends on; times are still as they were said, relative or
//! not. Reading one fails in the words of Redis, which programs compare.
//!
//! Not here: what acts do (`scratch.rs`), commands that are about something else (`session.rs`).

use bytes::Bytes;
use trilith_engine::command::{Expiry, Only};

use super::{
    commands::{Spec, Verb},
    decimal::Decimal,
    request::{Words, decimal},
};

/// Something that is done with keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// What it has.
    Get(Bytes),
    /// What it has; then nothing.
    GetDel(Bytes),
    /// What it has; then for how long.
    GetEx(Bytes, Lifetime),
    /// A part of what it has.
    GetRange(Bytes, i64, i64),
    /// How long that is.
    Strlen(Bytes),
    /// What they have.
    MGet(Vec<Bytes>),
    /// How many are there.
    Exists(Vec<Bytes>),
    /// What it is to have.
    Set(Set),
    /// A number more.
    Add(Bytes, i64),
    /// A fraction more.
    AddFraction(Bytes, Decimal),
    /// More at its end.
    Append(Bytes, Bytes),
    /// Something else from there on.
    SetRange(Bytes, u64, Bytes),
    /// What they are to have.
    MSet(Vec<(Bytes, Bytes)>),
    /// The same, if none is there.
    MSetNx(Vec<(Bytes, Bytes)>),
    /// Nothing any more.
    Del(Vec<Bytes>),
    /// For how long.
    Expire(Bytes, Expiry, When),
    /// For good.
    Persist(Bytes),
    /// For how long it still is.
    Ttl(Bytes, Shown),
    /// What kind of value.
    Type(Bytes),
    /// How it is kept.
    Encoding(Bytes),
    /// A number that is the same for every key that is there.
    Fixed(Bytes, i64),
    /// How much memory it takes.
    Usage(Bytes),
    /// The value under another key.
    Rename(Rename),
}

/// A SET, by whichever of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// For how long.
    pub expiry: Expiry,
    /// Whether it must be there, or must not.
    pub present: Option<bool>,
    /// What is answered.
    pub answers: Answers,
}

/// What a SET answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// `OK`, or nothing.
    Ok,
    /// What was there before.
    Old,
    /// 1 or 0.
    Flag,
}

/// RENAME and COPY in all their kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The key that has the value.
    pub from: Bytes,
    /// The one that gets it.
    pub to: Bytes,
    /// Whether the first one keeps it.
    pub copies: bool,
    /// Whether the second one may have something.
    pub replaces: bool,
    /// Whether 1 and 0 are answered, or `OK`.
    pub is_flag: bool,
}

/// What becomes of an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It stays.
    Same,
    /// It goes.
    Endless,
    /// This.
    Until(Expiry),
}

/// How the rest of a lifetime is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In seconds, or in milliseconds.
    pub in_seconds: bool,
    /// Since 1970, or from now.
    pub is_absolute: bool,
}

/// When an expiry is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// What the engine knows.
    pub only: Only,
    /// It must have one, beside that.
    pub must_have: bool,
}

/// The words of Redis for what is wrong with words.
pub type Read<T> = Result<T, String>;

const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

/// What a word says as a number.
///
/// # Errors
/// When it says none.
pub fn integer(word: &[u8]) -> Read<i64> {
    decimal(word).ok_or_else(|| NO_INTEGER.into())
}

fn wrong_number(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

impl Act {
    /// What a command of that line says, if it is about keys.
    ///
    /// # Errors
    /// In the words of Redis.
    pub fn read(spec: &Spec, words: &Words) -> Read<Option<Self>> {
        let key = || words.share(1);
        let last = || words.share(words.len() - 1);
        let keys = || (1..words.len()).map(|at| words.share(at)).collect();
        Ok(Some(match spec.verb {
            Verb::Get => Self::Get(key()),
            Verb::Getdel => Self::GetDel(key()),
            Verb::Getex => Self::GetEx(key(), lifetime(words)?),
            Verb::Getrange | Verb::Substr => {
                Self::GetRange(key(), integer(words.get(2))?, integer(words.get(3))?)
            }
            Verb::Strlen => Self::Strlen(key()),
            Verb::Mget => Self::MGet(keys()),
            Verb::Exists | Verb::Touch => Self::Exists(keys()),
            Verb::Set => Self::Set(set(words)?),
            Verb::Setnx => {
                let plain = plain(key(), last());
                Self::Set(Set { present: Some(false), answers: Answers::Flag, ..plain })
            }
            Verb::Setex | Verb::Psetex => {
                let unit = if spec.verb == Verb::Setex { Unit::SECONDS } else { Unit::MILLIS };
                let expiry = unit.future(words.get(2), spec.name)?;
                Self::Set(Set { expiry, ..plain(key(), last()) })
            }
            Verb::Getset => Self::Set(Set { answers: Answers::Old, ..plain(key(), last()) }),
            Verb::Incr => Self::Add(key(), 1),
            Verb::Decr => Self::Add(key(), -1),
            Verb::Incrby => Self::Add(key(), integer(words.get(2))?),
            Verb::Decrby => {
                let by = integer(words.get(2))?;
                Self::Add(key(), by.checked_neg().ok_or("ERR decrement would overflow")?)
            }
            Verb::Incrbyfloat => {
                let by = Decimal::read(words.get(2)).ok_or("ERR value is not a valid float")?;
                Self::AddFraction(key(), by)
            }
            Verb::Append => Self::Append(key(), last()),
            Verb::Setrange => {
                let offset = integer(words.get(2))?;
                let offset =
                    u64::try_from(offset).map_err(|_negative| "ERR offset is out of range")?;
                Self::SetRange(key(), offset, last())
            }
            Verb::Mset => Self::MSet(pairs(words, spec.name)?),
            Verb::Msetnx => Self::MSetNx(pairs(words, spec.name)?),
            Verb::Del | Verb::Unlink => Self::Del(keys()),
            Verb::Expire => expire(words, Unit::SECONDS, spec.name)?,
            Verb::Pexpire => expire(words, Unit::MILLIS, spec.name)?,
            Verb::Expireat => expire(words, Unit::SECONDS_SINCE, spec.name)?,
            Verb::Pexpireat => expire(words, Unit::MILLIS_SINCE, spec.name)?,
            Verb::Persist => Self::Persist(key()),
            Verb::Ttl => Self::Ttl(key(), Shown { in_seconds: true, is_absolute: false }),
            Verb::Pttl => Self::Ttl(key(), Shown { in_seconds: false, is_absolute: false }),
            Verb::Expiretime => Self::Ttl(key(), Shown { in_seconds: true, is_absolute: true }),
            Verb::Pexpiretime => Self::Ttl(key(), Shown { in_seconds: false, is_absolute: true }),
            Verb::Type => Self::Type(key()),
            Verb::ObjectEncoding => Self::Encoding(words.share(2)),
            Verb::ObjectRefcount => Self::Fixed(words.share(2), 1),
            Verb::ObjectIdletime => Self::Fixed(words.share(2), 0),
            Verb::MemoryUsage => {
                usage(words)?;
                Self::Usage(words.share(2))
            }
            Verb::Rename | Verb::Renamenx => {
                let is_flag = spec.verb == Verb::Renamenx;
                let (from, to) = (key(), last());
                Self::Rename(Rename { from, to, copies: false, replaces: !is_flag, is_flag })
            }
            Verb::Copy => Self::Rename(copy(words)?),
            _ => return Ok(None),
        }))
    }

    /// The keys that it names, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Get(key)
            | Self::GetDel(key)
            | Self::GetEx(key, _)
            | Self::GetRange(key, ..)
            | Self::Strlen(key)
            | Self::Add(key, _)
            | Self::AddFraction(key, _)
            | Self::Append(key, _)
            | Self::SetRange(key, ..)
            | Self::Expire(key, ..)
            | Self::Persist(key)
            | Self::Ttl(key, _)
            | Self::Type(key)
            | Self::Encoding(key)
            | Self::Fixed(key, _)
            | Self::Usage(key) => vec![key],
            Self::Set(set) => vec![&set.key],
            Self::MGet(keys) | Self::Exists(keys) | Self::Del(keys) => keys.iter().collect(),
            Self::MSet(pairs) | Self::MSetNx(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Self::Rename(rename) => vec![&rename.from, &rename.to],
        }
    }

    /// Whether it asks for more than whether something is there, and until when.
    #[must_use]
    pub const fn looks_into_values(&self) -> bool {
        !matches!(
            self,
            Self::Exists(_)
                | Self::Ttl(..)
                | Self::Type(_)
                | Self::Fixed(..)
                | Self::Del(_)
                | Self::MSet(_)
                | Self::MSetNx(_)
        )
    }

    /// Whether it changes nothing, whatever is there.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        match self {
            Self::Get(_)
            | Self::GetEx(_, Lifetime::Same)
            | Self::GetRange(..)
            | Self::Strlen(_)
            | Self::MGet(_)
            | Self::Exists(_)
            | Self::Ttl(..)
            | Self::Type(_)
            | Self::Encoding(_)
            | Self::Fixed(..)
            | Self::Usage(_) => true,
            Self::GetDel(_)
            | Self::GetEx(..)
            | Self::Set(_)
            | Self::Add(..)
            | Self::AddFraction(..)
            | Self::Append(..)
            | Self::SetRange(..)
            | Self::MSet(_)
            | Self::MSetNx(_)
            | Self::Del(_)
            | Self::Expire(..)
            | Self::Persist(_)
            | Self::Rename(_) => false,
        }
    }
}

const fn plain(key: Bytes, value: Bytes) -> Set {
    Set { key, value, expiry: Expiry::None, present: None, answers: Answers::Ok }
}

/// How a time was said.
#[derive(Clone, Copy)]
struct Unit {
    ms: i64,
    is_absolute: bool,
}

impl Unit {
    const SECONDS: Self = Self { ms: 1000, is_absolute: false };
    const MILLIS: Self = Self { ms: 1, is_absolute: false };
    const SECONDS_SINCE: Self = Self { ms: 1000, is_absolute: true };
    const MILLIS_SINCE: Self = Self { ms: 1, is_absolute: true };

    /// The unit that an option of SET or GETEX names.
    fn named(word: &[u8]) -> Option<Self> {
        Some(match &word.to_ascii_uppercase()[..] {
            b"EX" => Self::SECONDS,
            b"PX" => Self::MILLIS,
            b"EXAT" => Self::SECONDS_SINCE,
            b"PXAT" => Self::MILLIS_SINCE,
            _ => return None,
        })
    }

    fn millis(self, word: &[u8], name: &str) -> Read<i64> {
        let invalid = || format!("ERR invalid expire time in '{name}' command");
        let ms = integer(word)?.checked_mul(self.ms).ok_or_else(invalid)?;
        // What is said from now on must have an end that can be said, too.
        let is_far = !self.is_absolute && ms > i64::MAX / 2;
        if is_far { Err(invalid()) } else { Ok(ms) }
    }

    /// A time that lies ahead, as values are given.
    fn future(self, word: &[u8], name: &str) -> Read<Expiry> {
        match u64::try_from(self.millis(word, name)?) {
            Ok(ms) if ms > 0 => Ok(self.expiry(ms)),
            _ => Err(format!("ERR invalid expire time in '{name}' command")),
        }
    }

    /// A time that may have passed, as expiries are changed.
    fn any(self, word: &[u8], name: &str) -> Read<Expiry> {
        // No millisecond is before the first one, and all of them have passed.
        Ok(match u64::try_from(self.millis(word, name)?) {
            Ok(ms) if ms > 0 => self.expiry(ms),
            _ => Expiry::At(1),
        })
    }

    const fn expiry(self, ms: u64) -> Expiry {
        if self.is_absolute { Expiry::At(ms) } else { Expiry::After(ms) }
    }
}

fn set(words: &Words) -> Read<Set> {
    let mut set = plain(words.share(1), words.share(2));
    let mut has_expiry = false;
    let mut at = 3;
    while at < words.len() {
        let word = words.get(at).to_ascii_uppercase();
        match &word[..] {
            b"NX" if set.present != Some(true) => set.present = Some(false),
            b"XX" if set.present != Some(false) => set.present = Some(true),
            b"GET" => set.answers = Answers::Old,
            b"KEEPTTL" if !has_expiry => (set.expiry, has_expiry) = (Expiry::Keep, true),
            option => {
                let unit = Unit::named(option).filter(|_| !has_expiry && at + 1 < words.len());
                at += 1;
                let unit = unit.ok_or(SYNTAX)?;
                (set.expiry, has_expiry) = (unit.future(words.get(at), "set")?, true);
            }
        }
        at += 1;
    }
    Ok(set)
}

fn lifetime(words: &Words) -> Read<Lifetime> {
    match words.len() {
        2 => Ok(Lifetime::Same),
        3 if words.get(2).eq_ignore_ascii_case(b"PERSIST") => Ok(Lifetime::Endless),
        4 => {
            let unit = Unit::named(words.get(2)).ok_or(SYNTAX)?;
            unit.future(words.get(3), "getex").map(Lifetime::Until)
        }
        _ => Err(SYNTAX.into()),
    }
}

fn pairs(words: &Words, name: &str) -> Read<Vec<(Bytes, Bytes)>> {
    if words.len().is_multiple_of(2) {
        return Err(wrong_number(name));
    }
    Ok((1..words.len()).step_by(2).map(|at| (words.share(at), words.share(at + 1))).collect())
}

fn expire(words: &Words, unit: Unit, name: &str) -> Read<Act> {
    let (mut without, mut with, mut later, mut earlier) = (false, false, false, false);
    for at in 3..words.len() {
        match &words.get(at).to_ascii_uppercase()[..] {
            b"NX" => without = true,
            b"XX" => with = true,
            b"GT" => later = true,
            b"LT" => earlier = true,
            _ => {
                let option = String::from_utf8_lossy(words.get(at)).into_owned();
                return Err(format!("ERR Unsupported option {option}"));
            }
        }
    }
    if without && (with || later || earlier) {
        let why = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(why.into());
    }
    if later && earlier {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    let only = match (without, with, later, earlier) {
        (true, ..) => Only::Without,
        // What lives longest is never later: GT says XX too.
        (_, _, true, _) => Only::Later,
        (.., true) => Only::Earlier,
        (_, true, ..) => Only::With,
        _ => Only::Always,
    };
    let when = When { only, must_have: with && earlier };
    Ok(Act::Expire(words.share(1), unit.any(words.get(2), name)?, when))
}

fn copy(words: &Words) -> Read<Rename> {
    let (from, to) = (words.share(1), words.share(2));
    let (mut replaces, mut at) = (false, 3);
    while at < words.len() {
        match &words.get(at).to_ascii_uppercase()[..] {
            b"REPLACE" => replaces = true,
            b"DB" if at + 1 < words.len() => {
                at += 1;
                if integer(words.get(at))? != 0 {
                    return Err("ERR DB index is out of range".into());
                }
            }
            _ => return Err(SYNTAX.into()),
        }
        at += 1;
    }
    if from == to {
        return Err("ERR source and destination objects are the same".into());
    }
    Ok(Rename { from, to, copies: true, replaces, is_flag: true })
}

fn usage(words: &Words) -> Read<()> {
    match words.len() {
        3 => Ok(()),
        5 if words.get(3).eq_ignore_ascii_case(b"SAMPLES") => integer(words.get(4)).map(drop),
        _ => Err(SYNTAX.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::commands::COMMANDS;

    fn read(line: &str) -> Read<Act> {
        let words: Words = line.split(' ').collect();
        Act::read(COMMANDS.of(&words).unwrap(), &words).map(Option::unwrap)
    }

    fn expiry(line: &str) -> Expiry {
        match read(line).unwrap() {
            Act::Set(set) => set.expiry,
            Act::GetEx(_, Lifetime::Until(expiry)) | Act::Expire(_, expiry, _) => expiry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_are_read_in_all_their_units() {
        assert_eq!(expiry("set a b EX 2"), Expiry::After(2000));
        assert_eq!(expiry("set a b px 2"), Expiry::After(2));
        assert_eq!(expiry("set a b exat 2"), Expiry::At(2000));
        assert_eq!(expiry("set a b PXAT 2"), Expiry::At(2));
        assert_eq!(expiry("set a b KEEPTTL"), Expiry::Keep);
        assert_eq!(expiry("setex a 3 b"), Expiry::After(3000));
        assert_eq!(expiry("psetex a 3 b"), Expiry::After(3));
        assert_eq!(expiry("getex a exat 5"), Expiry::At(5000));
        assert_eq!(expiry("expire a 5"), Expiry::After(5000));
        assert_eq!(expiry("expire a -5"), Expiry::At(1), "it has passed");
        assert_eq!(expiry("pexpireat a 0"), Expiry::At(1));
    }

    #[test]
    fn options_that_exclude_each_other_are_wrong_together() {
        let wrong = [
            ("set a b nx xx", "ERR syntax error"),
            ("set a b ex 1 px 1", "ERR syntax error"),
            ("set a b keepttl ex 1", "ERR syntax error"),
            ("set a b ex", "ERR syntax error"),
            ("set a b what", "ERR syntax error"),
            ("set a b ex 0", "ERR invalid expire time in 'set' command"),
            ("set a b ex 9223372036854775807", "ERR invalid expire time in 'set' command"),
            ("set a b px x", "ERR value is not an integer or out of range"),
            ("setex a 0 b", "ERR invalid expire time in 'setex' command"),
            ("getex a ex 0", "ERR invalid expire time in 'getex' command"),
            ("getex a persist ex 1", "ERR syntax error"),
            ("mset a b c", "ERR wrong number of arguments for 'mset' command"),
            (
                "expire a 1 nx gt",
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            ("expire a 1 gt lt", "ERR GT and LT options at the same time are not compatible"),
            ("expire a 1 zz", "ERR Unsupported option zz"),
            ("decrby a -9223372036854775808", "ERR decrement would overflow"),
            ("incrbyfloat a b", "ERR value is not a valid float"),
            ("setrange a -1 b", "ERR offset is out of range"),
            ("copy a a", "ERR source and destination objects are the same"),
            ("copy a b db 1", "ERR DB index is out of range"),
        ];
        for (line, said) in wrong {
            assert_eq!(read(line), Err(said.into()), "{line}");
        }
    }

    #[test]
    fn options_of_one_command_come_together_in_any_order() {
        let Ok(Act::Set(set)) = read("set a b GET px 7 NX") else { panic!("it is a set") };
        assert_eq!((set.present, set.answers), (Some(false), Answers::Old));
        assert_eq!(set.expiry, Expiry::After(7));
        let Ok(Act::Expire(.., when)) = read("expire a 1 xx lt") else { panic!("it is one") };
        assert_eq!(when, When { only: Only::Earlier, must_have: true });
        let Ok(Act::Rename(copy)) = read("copy a b REPLACE DB 0") else { panic!("it is one") };
        assert!(copy.copies && copy.replaces && copy.is_flag);
    }

    #[test]
    fn every_act_names_the_keys_that_the_table_says() {
        for line in
            ["get a", "mset a 1 b 2", "del a b", "rename a b", "copy a b", "object encoding a"]
        {
            let words: Words = line.split(' ').collect();
            let spec = COMMANDS.of(&words).unwrap();
            let said: Vec<&[u8]> = spec.keys_of(words.len()).map(|at| words.get(at)).collect();
            let act = read(line).unwrap();
            let keys: Vec<&[u8]> = act.keys().into_iter().map(|key| &key[..]).collect();
            assert_eq!(keys, said, "{line}");
        }
    }
}
