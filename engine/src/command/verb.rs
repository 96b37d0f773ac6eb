//! The commands of a strong keyspace: what may change it, and their words as bytes.
//!
//! A command says everything that its effect depends on, apart from the state: no clock and no
//! luck is asked when it is applied. Relative times count from the stamp of its entry.
//!
//! [`Command`] is generic over its bytes: `Bytes` from a wire, `&[u8]` from an entry. Both are read
//! by one decoder.
//!
//! ```text
//! command      tag 1 │ …
//!  1 set        options 1 │ expiry │ [version 8] │ key │ value
//!  2 delete     options 1 │ [version 8] │ key
//!  3 increment  by 8 │ key
//!  4 append     key │ value
//!  5 expire     only 1 │ expiry │ key
//!  6 clock
//!  7 close session
//!  8 transaction  checks 4 │ (version? │ key) … │ writes 4 │ (tag 1 │ …) …
//!                 1 set: expiry │ key │ value   2 delete: key   3 increment: by 8 │ key
//!                 9 a part: in an entry only, the next part record
//! options      condition in bits 0-1 (always, absent, present, version), bit 2 the old value
//! expiry       0 none │ 1 at ms 8 │ 2 after ms 8 │ 3 keep
//! ```
//! Tags from 16 on are free for the commands to come.
//!
//! Invariants: a [`Transaction`] names each key of its writes once and holds its limits.
//!
//! Not here: what a command does (`store/apply.rs`), its records (`entry.rs`).

use super::{
    bytes::{
        Read, blob_bytes, finish, key_bytes, put_blob, put_key, put_version, take_blob, take_count,
        take_i64, take_key, take_version,
    },
    entry,
    reply::Refusal,
};
use crate::{
    codec::Reader,
    journal::format::FormatError,
    limits::{
        KEY_BYTES_MAX, RAFT_ENTRY_BYTES_MAX, TRANSACTION_CHECKS_MAX, TRANSACTION_WRITES_MAX,
        VALUE_BYTES_MAX_CLUSTER,
    },
    planted,
    types::{Stamp, Version},
};
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is not there.
    Absent,
    /// The key is there, whatever its version.
    Present,
    /// The key is there with this version.
    Version(Version),
}

impl Condition {
    /// Whether it holds for a key that is at this version, or is not there.
    #[must_use]
    pub fn holds(self, found: Option<Version>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Version(version) => found == Some(version),
        }
    }
}

/// Until when a value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// For good.
    #[default]
    None,
    /// Until this millisecond since 1970.
    At(u64),
    /// So many milliseconds from the entry's stamp.
    After(u64),
    /// As long as the value that was there before.
    Keep,
}

impl Expiry {
    /// The same without a relative time.
    #[must_use]
    pub const fn from(self, stamp: Stamp) -> Self {
        match self {
            Self::After(ms) => Self::At(stamp.ms().saturating_add(ms)),
            Self::None | Self::At(_) | Self::Keep => self,
        }
    }

    fn put(self, out: &mut BytesMut) {
        let (tag, ms) = match self {
            Self::None => (0, None),
            Self::At(ms) => (1, Some(ms)),
            Self::After(ms) => (2, Some(ms)),
            Self::Keep => (3, None),
        };
        out.put_u8(tag);
        if let Some(ms) = ms {
            out.put_u64_le(ms);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(match reader.u8()? {
            0 => Self::None,
            1 => Self::At(reader.u64()?),
            2 => Self::After(reader.u64()?),
            3 => Self::Keep,
            _ => return Err(FormatError::Field("expiry")),
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Self::None | Self::Keep => 1,
            Self::At(_) | Self::After(_) => 9,
        }
    }
}

/// When an expiry is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// In any case.
    #[default]
    Always,
    /// When the value has none.
    Without,
    /// When the value has one.
    With,
    /// When the new one is later. A value without one lives longest.
    Later,
    /// When the new one is earlier. A value without one lives longest.
    Earlier,
}

impl Only {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Always => 0,
            Self::Without => 1,
            Self::With => 2,
            Self::Later => 3,
            Self::Earlier => 4,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Always,
            1 => Self::Without,
            2 => Self::With,
            3 => Self::Later,
            4 => Self::Earlier,
            _ => return None,
        })
    }
}

/// Something that may change a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<B = Bytes> {
    /// Gives a key a value.
    Set {
        /// The key.
        key: B,
        /// The value.
        value: B,
        /// Until when it counts.
        expiry: Expiry,
        /// What must be so.
        condition: Condition,
        /// Whether the reply tells what was there before.
        want_old: bool,
    },
    /// Takes a key's value away. A key that is not there stays as it is: the condition is unmet.
    Delete {
        /// The key.
        key: B,
        /// What must be so.
        condition: Condition,
        /// Whether the reply tells what was there before.
        want_old: bool,
    },
    /// Adds to a decimal number; what is not there is 0. The expiry stays.
    Increment {
        /// The key.
        key: B,
        /// How much.
        by: i64,
    },
    /// Adds to the end of a value; what is not there is empty. The expiry stays.
    Append {
        /// The key.
        key: B,
        /// What is added.
        value: B,
    },
    /// Changes the expiry of a key that is there. One that has passed deletes it.
    Expire {
        /// The key.
        key: B,
        /// The new one; [`Keep`](Expiry::Keep) changes nothing.
        expiry: Expiry,
        /// When it is changed.
        only: Only,
    },
    /// Several writes that happen all or not at all.
    Transaction(Transaction<B>),
    /// Nothing but a stamp: time goes on in a group that nobody writes to.
    Clock,
    /// The client of the session says that it will never come again.
    CloseSession,
}

/// What a transaction has read: a key at its version, or not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<B = Bytes> {
    /// The key.
    pub key: B,
    /// Its version; `None` when it must not be there.
    pub version: Option<Version>,
}

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<B = Bytes> {
    /// Gives a key a value.
    Set {
        /// The key.
        key: B,
        /// The value.
        value: B,
        /// Until when it counts.
        expiry: Expiry,
    },
    /// Takes a key's value away, if it has one.
    Delete {
        /// The key.
        key: B,
    },
    /// Adds to a decimal number, as [`Command::Increment`].
    Increment {
        /// The key.
        key: B,
        /// How much.
        by: i64,
    },
}

impl<B> Write<B> {
    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &B {
        match self {
            Self::Set { key, .. } | Self::Delete { key } | Self::Increment { key, .. } => key,
        }
    }

    fn map<C>(self, share: &impl Fn(B) -> C) -> Write<C> {
        match self {
            Self::Set { key, value, expiry } => {
                Write::Set { key: share(key), value: share(value), expiry }
            }
            Self::Delete { key } => Write::Delete { key: share(key) },
            Self::Increment { key, by } => Write::Increment { key: share(key), by },
        }
    }

    /// Whether it is a record of its own in an entry: its value does not depend on what is there.
    pub(super) const fn is_part(&self) -> bool {
        match self {
            Self::Set { expiry, .. } => !matches!(expiry, Expiry::Keep),
            Self::Delete { .. } => true,
            Self::Increment { .. } => false,
        }
    }
}

/// Several writes under several checks, on keys of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<B = Bytes> {
    checks: Vec<Check<B>>,
    writes: Vec<Write<B>>,
}

impl<B: AsRef<[u8]>> Transaction<B> {
    /// A transaction. Of several sets and deletes of one key the last one counts.
    ///
    /// # Errors
    /// When it is too large, or adds to a key that it also writes otherwise.
    pub fn new(checks: Vec<Check<B>>, writes: Vec<Write<B>>) -> Result<Self, Refusal> {
        if checks.len() > TRANSACTION_CHECKS_MAX || writes.len() > TRANSACTION_WRITES_MAX {
            return Err(Refusal::TooLarge);
        }
        let mut order: Vec<usize> = (0..writes.len()).collect();
        order.sort_by_key(|at| (writes[*at].key().as_ref(), *at));
        let mut is_over = alloc::vec![false; writes.len()];
        for pair in order.windows(2) {
            let (earlier, later) = (&writes[pair[0]], &writes[pair[1]]);
            if earlier.key().as_ref() != later.key().as_ref() {
                continue;
            }
            let is_plain = |write: &Write<B>| write.is_part();
            if !is_plain(earlier) || !is_plain(later) {
                return Err(Refusal::KeyTwice);
            }
            is_over[pair[0]] = true;
        }
        let mut over = is_over.into_iter();
        let writes = writes.into_iter().filter(|_| over.next() == Some(false)).collect();
        Ok(Self { checks, writes })
    }

    /// What must be so.
    #[must_use]
    pub fn checks(&self) -> &[Check<B>] {
        &self.checks
    }

    /// What is written then, each key once.
    #[must_use]
    pub fn writes(&self) -> &[Write<B>] {
        &self.writes
    }

    /// The keys that it reads or writes.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let checked = self.checks.iter().map(|check| check.key.as_ref());
        checked.chain(self.writes.iter().map(|write| write.key().as_ref()))
    }

    /// The bytes of its words; `parts` are written elsewhere when they are left out.
    pub(super) fn words_bytes(&self, with_parts: bool) -> usize {
        let check =
            |check: &Check<B>| 1 + check.version.map_or(0, |_| 8) + key_bytes(check.key.as_ref());
        let write = |write: &Write<B>| match write {
            write if write.is_part() && !with_parts => 1,
            Write::Set { key, value, expiry } => {
                1 + expiry.bytes() + key_bytes(key.as_ref()) + blob_bytes(value.as_ref())
            }
            Write::Delete { key } => 1 + key_bytes(key.as_ref()),
            Write::Increment { key, .. } => 9 + key_bytes(key.as_ref()),
        };
        8 + self.checks.iter().map(check).sum::<usize>()
            + self.writes.iter().map(write).sum::<usize>()
    }

    pub(super) fn put_words(&self, out: &mut BytesMut, with_parts: bool) {
        out.put_u32_le(self.checks.len() as u32);
        for check in &self.checks {
            put_version(out, check.version);
            put_key(out, check.key.as_ref());
        }
        out.put_u32_le(self.writes.len() as u32);
        for write in &self.writes {
            match write {
                write if write.is_part() && !with_parts => out.put_u8(9),
                Write::Set { key, value, expiry } => {
                    out.put_u8(1);
                    expiry.put(out);
                    put_key(out, key.as_ref());
                    put_blob(out, value.as_ref());
                }
                Write::Delete { key } => {
                    out.put_u8(2);
                    put_key(out, key.as_ref());
                }
                Write::Increment { key, by } => {
                    out.put_u8(3);
                    out.put_i64_le(*by);
                    put_key(out, key.as_ref());
                }
            }
        }
    }
}

impl<'a> Transaction<&'a [u8]> {
    /// Reads the words. In an entry, `parts` are the writes that are records of their own, in order.
    pub(super) fn take_words(
        reader: &mut Reader<'a>,
        mut parts: Option<impl Iterator<Item = Read<Write<&'a [u8]>>>>,
    ) -> Read<Self> {
        let count = take_count(reader, TRANSACTION_CHECKS_MAX, 3)?;
        let mut checks = Vec::with_capacity(count);
        for _ in 0..count {
            let version = take_version(reader)?;
            checks.push(Check { key: take_key(reader)?, version });
        }
        let count = take_count(reader, TRANSACTION_WRITES_MAX, 1)?;
        let mut writes = Vec::with_capacity(count);
        for _ in 0..count {
            let write = match reader.u8()? {
                1 => {
                    let expiry = Expiry::take(reader)?;
                    Write::Set { key: take_key(reader)?, value: take_blob(reader)?, expiry }
                }
                2 => Write::Delete { key: take_key(reader)? },
                3 => {
                    let by = take_i64(reader)?;
                    Write::Increment { key: take_key(reader)?, by }
                }
                9 => {
                    let part = parts.as_mut().and_then(Iterator::next);
                    writes.push(part.ok_or(FormatError::Field("parts"))??);
                    continue;
                }
                _ => return Err(FormatError::Field("write")),
            };
            if parts.is_some() && write.is_part() {
                return Err(FormatError::Field("write"));
            }
            writes.push(write);
        }
        let read = Self::new(checks, writes).map_err(|_refusal| FormatError::Field("writes"))?;
        if read.writes.len() == count { Ok(read) } else { Err(FormatError::Field("writes")) }
    }
}

impl<B> Command<B> {
    /// The same command with its bytes held in another way.
    pub fn map<C>(self, share: impl Fn(B) -> C) -> Command<C> {
        match self {
            Self::Set { key, value, expiry, condition, want_old } => {
                Command::Set { key: share(key), value: share(value), expiry, condition, want_old }
            }
            Self::Delete { key, condition, want_old } => {
                Command::Delete { key: share(key), condition, want_old }
            }
            Self::Increment { key, by } => Command::Increment { key: share(key), by },
            Self::Append { key, value } => Command::Append { key: share(key), value: share(value) },
            Self::Expire { key, expiry, only } => Command::Expire { key: share(key), expiry, only },
            Self::Transaction(Transaction { checks, writes }) => {
                let check = |Check { key, version }| Check { key: share(key), version };
                Command::Transaction(Transaction {
                    checks: checks.into_iter().map(check).collect(),
                    writes: writes.into_iter().map(|write| write.map(&share)).collect(),
                })
            }
            Self::Clock => Command::Clock,
            Self::CloseSession => Command::CloseSession,
        }
    }
}

impl<B: AsRef<[u8]>> Command<B> {
    /// The keys that it reads or writes: all of them must lie in one group.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many) = match self {
            Self::Set { key, .. }
            | Self::Delete { key, .. }
            | Self::Increment { key, .. }
            | Self::Append { key, .. }
            | Self::Expire { key, .. } => (Some(key.as_ref()), None),
            Self::Transaction(transaction) => (None, Some(transaction)),
            Self::Clock | Self::CloseSession => (None, None),
        };
        one.into_iter().chain(many.into_iter().flat_map(Transaction::keys))
    }

    /// Whether all that it does is to take keys away.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::Delete { .. } => true,
            Self::Transaction(transaction) => {
                let mut writes = transaction.writes().iter();
                writes.all(|write| matches!(write, Write::Delete { .. }))
                    && !planted!("command_deletions_together_are_none")
            }
            Self::Set { .. }
            | Self::Increment { .. }
            | Self::Append { .. }
            | Self::Expire { .. }
            | Self::Clock
            | Self::CloseSession => false,
        }
    }

    /// Whether it is within the limits: what is checked before it is proposed, so that it can be
    /// encoded, replicated and applied.
    ///
    /// # Errors
    /// The limit that it breaks; nothing happened.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.keys().any(|key| key.len() > KEY_BYTES_MAX) {
            return Err(Refusal::KeyTooLong);
        }
        let too_long = |value: &B| value.as_ref().len() > VALUE_BYTES_MAX_CLUSTER;
        let is_too_long = match self {
            Self::Set { value, .. } | Self::Append { value, .. } => too_long(value),
            Self::Transaction(transaction) => transaction.writes.iter().any(|write| match write {
                Write::Set { value, .. } => too_long(value),
                Write::Delete { .. } | Write::Increment { .. } => false,
            }),
            Self::Delete { .. }
            | Self::Increment { .. }
            | Self::Expire { .. }
            | Self::Clock
            | Self::CloseSession => false,
        };
        if is_too_long {
            return Err(Refusal::ValueTooLong);
        }
        // The largest entry that it can become: with a session.
        if entry::command_bytes(true, self) > RAFT_ENTRY_BYTES_MAX as usize {
            return Err(Refusal::TooLarge);
        }
        Ok(())
    }

    /// How long its words are.
    #[must_use]
    pub fn words_bytes(&self) -> usize {
        1 + match self {
            Self::Set { key, value, expiry, condition, .. } => {
                1 + expiry.bytes()
                    + version_bytes(*condition)
                    + key_bytes(key.as_ref())
                    + blob_bytes(value.as_ref())
            }
            Self::Delete { key, condition, .. } => {
                1 + version_bytes(*condition) + key_bytes(key.as_ref())
            }
            Self::Increment { key, .. } => 8 + key_bytes(key.as_ref()),
            Self::Append { key, value } => key_bytes(key.as_ref()) + blob_bytes(value.as_ref()),
            Self::Expire { key, expiry, .. } => 1 + expiry.bytes() + key_bytes(key.as_ref()),
            Self::Transaction(transaction) => transaction.words_bytes(true),
            Self::Clock | Self::CloseSession => 0,
        }
    }

    /// Appends its words.
    ///
    /// # Panics
    /// When it does not pass its [check](Self::check).
    pub fn put_words(&self, out: &mut BytesMut) {
        match self {
            Self::Set { key, value, expiry, condition, want_old } => {
                out.put_u8(1);
                out.put_u8(options(*condition, *want_old));
                expiry.put(out);
                put_condition_version(out, *condition);
                put_key(out, key.as_ref());
                put_blob(out, value.as_ref());
            }
            Self::Delete { key, condition, want_old } => {
                out.put_u8(2);
                out.put_u8(options(*condition, *want_old));
                put_condition_version(out, *condition);
                put_key(out, key.as_ref());
            }
            Self::Increment { key, by } => {
                out.put_u8(3);
                out.put_i64_le(*by);
                put_key(out, key.as_ref());
            }
            Self::Append { key, value } => {
                out.put_u8(4);
                put_key(out, key.as_ref());
                put_blob(out, value.as_ref());
            }
            Self::Expire { key, expiry, only } => {
                out.put_u8(5);
                out.put_u8(only.to_byte());
                expiry.put(out);
                put_key(out, key.as_ref());
            }
            Self::Clock => out.put_u8(6),
            Self::CloseSession => out.put_u8(7),
            Self::Transaction(transaction) => {
                out.put_u8(8);
                transaction.put_words(out, true);
            }
        }
    }
}

impl<'a> Command<&'a [u8]> {
    /// Reads words, which must be all of the bytes.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn from_words(bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8()?;
        let command = if tag == 8 {
            // Over a wire nothing is written elsewhere.
            let none = None::<core::iter::Empty<Read<Write<&[u8]>>>>;
            Self::Transaction(Transaction::take_words(&mut reader, none)?)
        } else {
            Self::take_words(tag, &mut reader)?
        };
        finish(&reader)?;
        Ok(command)
    }

    /// Reads the words of a command that is no transaction.
    pub(super) fn take_words(tag: u8, reader: &mut Reader<'a>) -> Read<Self> {
        Ok(match tag {
            1 => {
                let options = reader.u8()?;
                let expiry = Expiry::take(reader)?;
                let (condition, want_old) = take_options(options, reader)?;
                let (key, value) = (take_key(reader)?, take_blob(reader)?);
                Self::Set { key, value, expiry, condition, want_old }
            }
            2 => {
                let options = reader.u8()?;
                let (condition, want_old) = take_options(options, reader)?;
                Self::Delete { key: take_key(reader)?, condition, want_old }
            }
            3 => {
                let by = take_i64(reader)?;
                Self::Increment { key: take_key(reader)?, by }
            }
            4 => Self::Append { key: take_key(reader)?, value: take_blob(reader)? },
            5 => {
                let only = Only::from_byte(reader.u8()?).ok_or(FormatError::Field("only"))?;
                let expiry = Expiry::take(reader)?;
                Self::Expire { key: take_key(reader)?, expiry, only }
            }
            6 => Self::Clock,
            7 => Self::CloseSession,
            _ => return Err(FormatError::Field("command")),
        })
    }
}

/// The bits of options that carry something.
const OPTIONS_MASK: u8 = 7;

/// A condition and whether the old value is wanted, in a byte.
pub(super) const fn options(condition: Condition, want_old: bool) -> u8 {
    let condition = match condition {
        Condition::Always => 0,
        Condition::Absent => 1,
        Condition::Present => 2,
        Condition::Version(_) => 3,
    };
    condition | (want_old as u8) << 2
}

pub(super) const fn version_bytes(condition: Condition) -> usize {
    if matches!(condition, Condition::Version(_)) { 8 } else { 0 }
}

pub(super) fn put_condition_version(out: &mut impl BufMut, condition: Condition) {
    if let Condition::Version(version) = condition {
        out.put_u64_le(version.0);
    }
}

pub(super) fn take_options(options: u8, reader: &mut Reader<'_>) -> Read<(Condition, bool)> {
    if options & !OPTIONS_MASK != 0 {
        return Err(FormatError::Field("options"));
    }
    let condition = match options & 3 {
        0 => Condition::Always,
        1 => Condition::Absent,
        2 => Condition::Present,
        _ => Condition::Version(Version(reader.u64()?)),
    };
    Ok((condition, options & 4 != 0))
}
