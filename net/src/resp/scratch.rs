//! What acts do, on a scratch of the keys that they name.
//!
//! ```text
//!   keys as they were read ─► scratch ─► acts, one after the other ─► what was said
//!                                │
//!                                └─► a transaction: if all keys are still as read, then these writes
//! ```
//! This is the meaning of every act in one place. A command by itself, where the engine has one that
//! means the same, is not done this way (`direct.rs`); whatever else, and everything between MULTI
//! and EXEC, is done on a scratch and then asked of the group as one transaction. If a key has
//! changed meanwhile, nothing happened, and it begins again.
//!
//! Not here: who reads and who asks (`front.rs`).

use bytes::{Bytes, BytesMut};
use std::{borrow::Cow, collections::BTreeMap};
use trilith_engine::{
    command::{Check, Expiry, Found, Only, Refusal, Transaction, Write},
    limits::VALUE_BYTES_MAX_CLUSTER,
    types::Version,
};

use super::{
    act::{Act, Answers, Lifetime, Rename, Set, Shown, When},
    decimal::Decimal,
    reply::Answer,
    request::decimal,
};
use crate::limits::RESP_READ_BYTES_MAX;

/// What a command about keys is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `OK`.
    Ok,
    /// Nothing.
    Nothing,
    /// A word.
    Simple(&'static str),
    /// A number.
    Number(i64),
    /// A value.
    Bulk(Bytes),
    /// Several of them.
    Many(Vec<Said>),
    /// Nothing happened, and why.
    Error(Cow<'static, str>),
}

impl Said {
    fn option(value: Option<Bytes>) -> Self {
        value.map_or(Self::Nothing, Self::Bulk)
    }

    fn flag(is_so: bool) -> Self {
        Self::Number(is_so.into())
    }

    const fn error(text: &'static str) -> Self {
        Self::Error(Cow::Borrowed(text))
    }

    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        const HEAD_BYTES: usize = 24;
        match self {
            Self::Bulk(bytes) => HEAD_BYTES + bytes.len(),
            Self::Many(all) => HEAD_BYTES + all.iter().map(Self::bytes).sum::<usize>(),
            Self::Ok | Self::Nothing | Self::Simple(_) | Self::Number(_) | Self::Error(_) => {
                HEAD_BYTES
            }
        }
    }

    /// As the connection has it.
    pub fn write(&self, answer: &mut Answer<'_>) {
        match self {
            Self::Ok => answer.ok(),
            Self::Nothing => answer.nothing(),
            Self::Simple(word) => answer.simple(word),
            Self::Number(number) => answer.integer(*number),
            Self::Bulk(bytes) => answer.bulk(bytes),
            Self::Many(all) => {
                answer.array(all.len());
                all.iter().for_each(|one| one.write(answer));
            }
            Self::Error(text) => answer.error(text),
        }
    }
}

/// What cannot be added to.
pub const NO_INTEGER: Said = Said::error("ERR value is not an integer or out of range");
/// What would be too much.
pub const OVERFLOW: Said = Said::error("ERR increment or decrement would overflow");
/// What would be too long.
pub const TOO_LONG: Said =
    Said::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// Until when a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lives {
    Endless,
    Until(u64),
    /// So many milliseconds from when it is written.
    For(u64),
}

impl Lives {
    const fn of(expiry: Expiry, old: Self) -> Self {
        match expiry {
            Expiry::None => Self::Endless,
            Expiry::At(ms) => Self::Until(ms),
            Expiry::After(ms) => Self::For(ms),
            Expiry::Keep => old,
        }
    }

    const fn expiry(self) -> Expiry {
        match self {
            Self::Endless => Expiry::None,
            Self::Until(ms) => Expiry::At(ms),
            Self::For(ms) => Expiry::After(ms),
        }
    }

    /// The last millisecond; all there are for one without end.
    const fn end(self, now_ms: u64) -> u64 {
        match self {
            Self::Endless => u64::MAX,
            Self::Until(ms) => ms,
            Self::For(ms) => now_ms.saturating_add(ms),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    bytes: Bytes,
    lives: Lives,
}

#[derive(Clone, Debug)]
struct Slot {
    /// What was read, if it was.
    read: Option<Option<Version>>,
    value: Option<Value>,
    is_changed: bool,
}

/// How late it is, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// By the stamp of what was read. What is over by it is over.
    pub stamp_ms: u64,
    /// By the clock, and not before the stamp: for what is shown and what is compared. Nothing is
    /// deleted by it, for a clock may be wrong.
    pub clock_ms: u64,
}

/// Keys, as they were read and as they are to be.
#[derive(Clone, Debug)]
pub struct Scratch {
    late: Late,
    slots: BTreeMap<Bytes, Slot>,
    /// Of the values that are changed.
    written_bytes: usize,
}

impl Act {
    /// The keys that must be read before it can be done.
    #[must_use]
    pub fn needs(&self) -> Vec<&Bytes> {
        match self {
            Self::MSet(_) => Vec::new(),
            Self::Set(set) if set.is_blind() => Vec::new(),
            _ => self.keys(),
        }
    }
}

impl Set {
    /// Whether it is done whatever is there, and tells nothing of it.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.present.is_none() && self.answers != Answers::Old && self.expiry != Expiry::Keep
    }
}

impl Scratch {
    /// One on which it is now so late.
    #[must_use]
    pub const fn new(late: Late) -> Self {
        Self { late, slots: BTreeMap::new(), written_bytes: 0 }
    }

    /// A key was read.
    pub fn learn(&mut self, key: Bytes, found: Option<Found>) {
        let read = Some(found.as_ref().map(|found| found.version));
        let value = found.map(|found| Value {
            bytes: found.value,
            lives: found.expires_ms.map_or(Lives::Endless, Lives::Until),
        });
        self.slots.insert(key, Slot { read, value, is_changed: false });
    }

    /// The transaction that makes it so: `None` when nothing was changed.
    ///
    /// # Errors
    /// When it is too large for one.
    pub fn transaction(&self) -> Result<Option<Transaction>, Refusal> {
        let checks = self.slots.iter();
        let checks =
            checks.filter_map(|(key, slot)| Some(Check { key: key.clone(), version: slot.read? }));
        let changed = self.slots.iter().filter(|(_, slot)| slot.is_changed);
        let writes: Vec<Write> = changed
            .map(|(key, slot)| match &slot.value {
                Some(Value { bytes, lives }) => {
                    Write::Set { key: key.clone(), value: bytes.clone(), expiry: lives.expiry() }
                }
                None => Write::Delete { key: key.clone() },
            })
            .collect();
        if writes.is_empty() {
            return Ok(None);
        }
        Transaction::new(checks.collect(), writes).map(Some)
    }

    fn value(&self, key: &Bytes) -> Option<&Value> {
        self.slots.get(key)?.value.as_ref()
    }

    fn bytes(&self, key: &Bytes) -> Option<Bytes> {
        self.value(key).map(|value| value.bytes.clone())
    }

    fn put(&mut self, key: &Bytes, value: Option<Value>) {
        let slot = self.slots.entry(key.clone());
        let slot = slot.or_insert(Slot { read: None, value: None, is_changed: false });
        let bytes = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.bytes.len());
        let before = if slot.is_changed { bytes(&slot.value) } else { 0 };
        self.written_bytes = self.written_bytes - before + bytes(&value);
        (slot.value, slot.is_changed) = (value, true);
    }

    /// New bytes; the lifetime stays.
    fn put_bytes(&mut self, key: &Bytes, bytes: Bytes) {
        let lives = self.value(key).map_or(Lives::Endless, |value| value.lives);
        self.put(key, Some(Value { bytes, lives }));
    }

    /// Does acts, one after the other.
    ///
    /// # Errors
    /// When they say or write more than may be held: one value can be said as often as there are
    /// words.
    pub fn perform_all(&mut self, acts: &[Act]) -> Result<Vec<Said>, Refusal> {
        let (mut all, mut bytes) = (Vec::with_capacity(acts.len()), 0);
        for act in acts {
            let said = self.perform(act);
            bytes += said.bytes();
            if bytes + self.written_bytes > RESP_READ_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            all.push(said);
        }
        Ok(all)
    }

    /// Does an act. The keys that it [needs](Act::needs) were read.
    pub fn perform(&mut self, act: &Act) -> Said {
        match act {
            Act::GetDel(key) => {
                let old = self.bytes(key);
                if old.is_some() {
                    self.put(key, None);
                }
                Said::option(old)
            }
            Act::GetEx(key, lifetime) => self.get_ex(key, *lifetime),
            Act::Set(set) => self.set(set),
            Act::Add(key, by) => self.add(key, *by),
            Act::AddFraction(key, by) => self.add_fraction(key, *by),
            Act::Append(key, more) => {
                let old = self.bytes(key).unwrap_or_default();
                self.put_over(key, &old, old.len(), more)
            }
            Act::SetRange(key, offset, over) => self.set_range(key, *offset, over),
            Act::MSet(pairs) => {
                self.put_all(pairs);
                Said::Ok
            }
            Act::MSetNx(pairs) => {
                let is_free = pairs.iter().all(|(key, _)| self.value(key).is_none());
                if is_free {
                    self.put_all(pairs);
                }
                Said::flag(is_free)
            }
            Act::Del(keys) => self.delete(keys),
            Act::Expire(key, expiry, when) => self.expire(key, *expiry, *when),
            Act::Persist(key) => self.persist(key),
            Act::Rename(rename) => self.rename(rename),
            reads => self.look(reads),
        }
    }

    /// What an act says that changes nothing.
    fn look(&self, act: &Act) -> Said {
        match act {
            Act::Get(key) => Said::option(self.bytes(key)),
            Act::GetRange(key, start, end) => Said::Bulk(part(self.bytes(key), *start, *end)),
            Act::Strlen(key) => {
                Said::Number(self.value(key).map_or(0, |value| value.bytes.len() as i64))
            }
            Act::MGet(keys) => {
                Said::Many(keys.iter().map(|key| Said::option(self.bytes(key))).collect())
            }
            Act::Exists(keys) => {
                Said::Number(keys.iter().filter(|key| self.value(key).is_some()).count() as i64)
            }
            Act::Ttl(key, shown) => {
                let left = self.value(key).map(|value| value.lives);
                Said::Number(shown.number(left.map(|lives| self.ends(lives)), self.late.clock_ms))
            }
            Act::Type(key) => {
                Said::Simple(if self.value(key).is_some() { "string" } else { "none" })
            }
            Act::Encoding(key) => Said::option(self.value(key).map(|value| encoding(&value.bytes))),
            Act::Fixed(key, number) => {
                self.value(key).map_or(Said::Nothing, |_| Said::Number(*number))
            }
            Act::Usage(key) => {
                let usage = self.value(key).map(|value| Said::Number(usage(key, &value.bytes)));
                usage.unwrap_or(Said::Nothing)
            }
            _ => Said::Nothing,
        }
    }

    fn delete(&mut self, keys: &[Bytes]) -> Said {
        let mut gone = 0;
        for key in keys {
            if self.value(key).is_some() {
                self.put(key, None);
                gone += 1;
            }
        }
        Said::Number(gone)
    }

    fn persist(&mut self, key: &Bytes) -> Said {
        let found = self.value(key).cloned();
        let ends = found.filter(|value| value.lives != Lives::Endless);
        let is_so = ends.is_some();
        if let Some(value) = ends {
            self.put(key, Some(Value { lives: Lives::Endless, ..value }));
        }
        Said::flag(is_so)
    }

    fn ends(&self, lives: Lives) -> Option<u64> {
        (lives != Lives::Endless).then(|| lives.end(self.late.clock_ms))
    }

    fn put_all(&mut self, pairs: &[(Bytes, Bytes)]) {
        for (key, bytes) in pairs {
            let value = Value { bytes: bytes.clone(), lives: Lives::Endless };
            self.put(key, Some(value));
        }
    }

    fn get_ex(&mut self, key: &Bytes, lifetime: Lifetime) -> Said {
        let Some(value) = self.value(key).cloned() else { return Said::Nothing };
        let bytes = value.bytes.clone();
        match lifetime {
            Lifetime::Same => {}
            Lifetime::Endless if value.lives == Lives::Endless => {}
            Lifetime::Endless => self.put(key, Some(Value { lives: Lives::Endless, ..value })),
            Lifetime::Until(expiry) => self.live(key, value, expiry),
        }
        Said::Bulk(bytes)
    }

    /// A value's new lifetime, which may be over.
    fn live(&mut self, key: &Bytes, value: Value, expiry: Expiry) {
        let lives = Lives::of(expiry, value.lives);
        let is_over = lives.end(self.late.stamp_ms) <= self.late.stamp_ms;
        self.put(key, (!is_over).then_some(Value { lives, ..value }));
    }

    fn set(&mut self, set: &Set) -> Said {
        let old = self.value(&set.key).cloned();
        let is_done = set.present.is_none_or(|present| present == old.is_some());
        if is_done {
            let before = old.as_ref().map_or(Lives::Endless, |old| old.lives);
            let value = Value { bytes: set.value.clone(), lives: before };
            self.live(&set.key, value, set.expiry);
        }
        match set.answers {
            Answers::Old => Said::option(old.map(|old| old.bytes)),
            Answers::Flag => Said::flag(is_done),
            Answers::Ok if is_done => Said::Ok,
            Answers::Ok => Said::Nothing,
        }
    }

    fn add(&mut self, key: &Bytes, by: i64) -> Said {
        let Some(old) = self.bytes(key).map_or(Some(0), |bytes| decimal(&bytes)) else {
            return NO_INTEGER;
        };
        let Some(sum) = old.checked_add(by) else { return OVERFLOW };
        self.put_bytes(key, Bytes::from(sum.to_string()));
        Said::Number(sum)
    }

    fn add_fraction(&mut self, key: &Bytes, by: Decimal) -> Said {
        let old = self.bytes(key).map_or(Some(Decimal::Exact(0)), |bytes| Decimal::read(&bytes));
        let Some(old) = old else { return Said::error("ERR value is not a valid float") };
        let Some(sum) = old.plus(by) else {
            return Said::error("ERR increment would produce NaN or Infinity");
        };
        let sum = Bytes::from(sum.to_string());
        self.put_bytes(key, sum.clone());
        Said::Bulk(sum)
    }

    fn set_range(&mut self, key: &Bytes, offset: u64, over: &Bytes) -> Said {
        let old = self.bytes(key).unwrap_or_default();
        if over.is_empty() {
            return Said::Number(old.len() as i64);
        }
        match usize::try_from(offset) {
            Ok(offset) => self.put_over(key, &old, offset, over),
            Err(_) => TOO_LONG,
        }
    }

    /// The old bytes with others written over them.
    fn put_over(&mut self, key: &Bytes, old: &Bytes, offset: usize, over: &Bytes) -> Said {
        let end = offset.saturating_add(over.len());
        if end > VALUE_BYTES_MAX_CLUSTER {
            return TOO_LONG;
        }
        let mut bytes = BytesMut::from(&old[..]);
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(over);
        let length = bytes.len();
        self.put_bytes(key, bytes.freeze());
        Said::Number(length as i64)
    }

    fn expire(&mut self, key: &Bytes, expiry: Expiry, when: When) -> Said {
        let Some(value) = self.value(key).cloned() else { return Said::Number(0) };
        let has_end = value.lives != Lives::Endless;
        let now_ms = self.late.clock_ms;
        let (old, new) = (value.lives.end(now_ms), Lives::of(expiry, value.lives).end(now_ms));
        let is_wanted = match when.only {
            Only::Always => true,
            Only::Without => !has_end,
            Only::With => has_end,
            Only::Later => new > old,
            Only::Earlier => new < old,
        };
        let is_done = is_wanted && (has_end || !when.must_have);
        if is_done {
            self.live(key, value, expiry);
        }
        Said::flag(is_done)
    }

    fn rename(&mut self, rename: &Rename) -> Said {
        let Rename { from, to, copies, replaces, is_flag } = rename;
        let Some(value) = self.value(from).cloned() else {
            return if *copies { Said::Number(0) } else { Said::error("ERR no such key") };
        };
        let is_done = *replaces || self.value(to).is_none();
        // A key that is given its own name is as it was.
        if is_done && from != to {
            self.put(to, Some(value));
            if !copies {
                self.put(from, None);
            }
        }
        if *is_flag { Said::flag(is_done) } else { Said::Ok }
    }
}

impl Shown {
    /// The rest of a life: of what is not there -2, of what has no end -1.
    #[must_use]
    pub const fn number(self, ends: Option<Option<u64>>, now_ms: u64) -> i64 {
        let end = match ends {
            None => return -2,
            Some(None) => return -1,
            Some(Some(end)) => end,
        };
        let ms = if self.is_absolute { end } else { end.saturating_sub(now_ms) };
        let number = if self.in_seconds { ms.saturating_add(500) / 1000 } else { ms };
        if number > i64::MAX as u64 { i64::MAX } else { number as i64 }
    }
}

/// A part of a value; negative places count from its end.
#[must_use]
pub fn part(value: Option<Bytes>, start: i64, end: i64) -> Bytes {
    let value = value.unwrap_or_default();
    let len = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let place = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end || len == 0 { Bytes::new() } else { value.slice(start as usize..=end as usize) }
}

/// How Redis would keep such a value.
#[must_use]
pub fn encoding(value: &[u8]) -> Bytes {
    Bytes::from_static(match value {
        value if decimal(value).is_some() => b"int",
        value if value.len() <= 44 => b"embstr",
        _ => b"raw",
    })
}

/// The bytes of a key and its value, and what an index needs for them.
#[must_use]
pub const fn usage(key: &[u8], value: &[u8]) -> i64 {
    const INDEX_BYTES: usize = 70;
    (key.len() + value.len() + INDEX_BYTES) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{commands::COMMANDS, request::split};

    const NOW: Late = Late { stamp_ms: 1_000_000, clock_ms: 1_000_000 };

    fn act(line: &str) -> Act {
        let words = split(line.as_bytes()).unwrap();
        Act::read(COMMANDS.of(&words).unwrap(), &words).unwrap().unwrap()
    }

    /// A scratch on which all keys that lines name were read, and were not there.
    fn empty(lines: &[&str]) -> Scratch {
        let mut scratch = Scratch::new(NOW);
        for line in lines {
            let act = act(line);
            act.needs().into_iter().for_each(|key| scratch.learn(key.clone(), None));
        }
        scratch
    }

    /// Commands, and what each is answered as RESP3.
    fn tell(story: &[(&str, &str)]) -> Scratch {
        let lines: Vec<&str> = story.iter().map(|(line, _)| *line).collect();
        let mut scratch = empty(&lines);
        for (line, said) in story {
            let mut out = BytesMut::new();
            let answer = scratch.perform(&act(line));
            answer.write(&mut Answer::new(&mut out, crate::resp::reply::Protocol::Resp3));
            assert_eq!(String::from_utf8_lossy(&out).replace("\r\n", "|"), *said, "{line}");
        }
        scratch
    }

    #[test]
    fn strings_are_what_redis_makes_of_them() {
        tell(&[
            ("get a", "_|"),
            ("append a hello", ":5|"),
            ("append a ' world'", ":11|"),
            ("getrange a 0 -1", "$11|hello world|"),
            ("getrange a -5 -1", "$5|world|"),
            ("getrange a 5 2", "$0||"),
            ("getrange a -1 -5", "$0||"),
            ("getrange a 0 9999", "$11|hello world|"),
            ("getrange none 0 -1", "$0||"),
            ("setrange a 6 W", ":11|"),
            ("setrange b 2 x", ":3|"),
            ("get b", "$3|\0\0x|"),
            ("setrange c 5 ''", ":0|"),
            ("exists c", ":0|"),
            (
                "setrange c 9000000 x",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)|",
            ),
            ("strlen a", ":11|"),
            ("getset a new", "$11|hello World|"),
            ("getdel a", "$3|new|"),
            ("getdel a", "_|"),
            ("mget a b", "*2|_|$3|\0\0x|"),
            ("msetnx b 1 d 2", ":0|"),
            ("msetnx d 1 e 2", ":1|"),
            ("mset d 3 d 4", "+OK|"),
            ("get d", "$1|4|"),
        ]);
    }

    #[test]
    fn numbers_are_added_and_what_is_none_is_refused() {
        tell(&[
            ("incr n", ":1|"),
            ("decrby n 11", ":-10|"),
            ("incrbyfloat n 10.5", "$3|0.5|"),
            ("incr n", "-ERR value is not an integer or out of range|"),
            ("set n 9223372036854775807", "+OK|"),
            ("incr n", "-ERR increment or decrement would overflow|"),
            ("get n", "$19|9223372036854775807|"),
            ("set t text", "+OK|"),
            ("incrbyfloat t 1", "-ERR value is not a valid float|"),
            ("incrbyfloat f 3e400", "-ERR increment would produce NaN or Infinity|"),
            ("object encoding n", "$3|int|"),
            ("object encoding t", "$6|embstr|"),
            ("object refcount t", ":1|"),
            ("object refcount none", "_|"),
        ]);
    }

    #[test]
    fn conditions_and_old_values_go_together() {
        tell(&[
            ("set a 1 xx", "_|"),
            ("set a 1 nx", "+OK|"),
            ("set a 2 nx", "_|"),
            ("set a 2 nx get", "$1|1|"),
            ("set a 2 get", "$1|1|"),
            ("setnx a 3", ":0|"),
            ("setnx b 3", ":1|"),
            ("del a b c", ":2|"),
            ("type a", "+none|"),
        ]);
    }

    #[test]
    fn lifetimes_are_kept_changed_and_told() {
        tell(&[
            ("ttl a", ":-2|"),
            ("set a 1", "+OK|"),
            ("ttl a", ":-1|"),
            ("expire a 10 xx", ":0|"),
            ("expire a 10 gt", ":0|"),
            ("expire a 10 xx lt", ":0|"),
            ("expire a 10 lt", ":1|"),
            ("pttl a", ":10000|"),
            ("expire a 20 nx", ":0|"),
            ("expire a 20 gt", ":1|"),
            ("incr a", ":2|"),
            ("ttl a", ":20|"),
            ("set a 3 keepttl", "+OK|"),
            ("ttl a", ":20|"),
            ("expiretime a", ":1020|"),
            ("pexpiretime a", ":1020000|"),
            ("persist a", ":1|"),
            ("persist a", ":0|"),
            ("getex a px 1500", "$1|3|"),
            ("ttl a", ":2|"),
            ("getex a persist", "$1|3|"),
            ("ttl a", ":-1|"),
            ("set a 4 ex 5", "+OK|"),
            ("set a 4", "+OK|"),
            ("ttl a", ":-1|"),
            ("expire a -1", ":1|"),
            ("exists a a", ":0|"),
        ]);
    }

    #[test]
    fn values_move_with_their_lifetimes() {
        tell(&[
            ("rename a b", "-ERR no such key|"),
            ("copy a b", ":0|"),
            ("set a 1 ex 9", "+OK|"),
            ("rename a a", "+OK|"),
            ("copy a b", ":1|"),
            ("copy a b", ":0|"),
            ("copy a b replace", ":1|"),
            ("renamenx a b", ":0|"),
            ("rename a c", "+OK|"),
            ("exists a b c", ":2|"),
            ("ttl c", ":9|"),
        ]);
    }

    #[test]
    fn a_transaction_checks_what_was_read_and_writes_what_was_changed() {
        let scratch = tell(&[("get a", "_|"), ("set b 1 ex 5", "+OK|"), ("incr c", ":1|")]);
        let transaction = scratch.transaction().unwrap().unwrap();
        let checked: Vec<&[u8]> = transaction.checks().iter().map(|check| &check.key[..]).collect();
        let written: Vec<&[u8]> =
            transaction.writes().iter().map(|write| &write.key()[..]).collect();
        assert_eq!((checked, written), (vec![&b"a"[..], b"c"], vec![&b"b"[..], b"c"]));
        let Write::Set { expiry, .. } = &transaction.writes()[0] else { panic!("it is one") };
        assert_eq!(*expiry, Expiry::After(5000), "from when it is written");
        assert_eq!(tell(&[("get a", "_|")]).transaction(), Ok(None));
    }
}
