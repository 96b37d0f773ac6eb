//! What a client is told: replies, refusals, and the honest third thing, that nobody knows.
//!
//! ```text
//!   Ok(reply)      it was done, once, and this is what came of it; also "your condition was not
//!                  met": that is an observation of the state, not a failure
//!   Refused(why)   nothing happened, and nothing will happen on account of this attempt
//!   Unknown        it may have happened, or may still happen
//! ```
//! A refusal speaks of one *attempt*. A client that sent a request several times may call it refused
//! only when every attempt was; if one of them is unknown, all of it is.
//!
//! ```text
//! response  sequence 8 │ level 1 │ staleness ms 4 │ applied 8 │ stamp 8 │ phases 16 │ outcome
//! phases    `phases.rs`
//! outcome   0 reply │ 1 refusal │ 2
//! reply     tag 1 │ …
//!  1 done       version 8 │ old                7 value      found?
//!  2 unmet      version? │ old                 8 values     count 4 │ found? …
//!  3 number     i64 8 │ version 8              9 page       count 4 │ (key │ found) … │ key?
//!  4 length     8 │ version 8
//!  5 committed  version 8 │ count 4 │ i64 8 …
//!  6 failed     failure 1 │ write 4           10 conflict   check 4 │ version?
//! 11 replacing  `replace.rs`
//! 12 count      keys 8                       13 cut        `cut.rs`
//! old       0 not asked │ 1 absent │ 2 found │ 3 not kept
//! found     version 8 │ expiry? │ blob
//! refusal   code 1 │ for NotLeader: node?
//! ```
//! A question mark is a byte 0 or 1 and then what is there.
//!
//! Not here: when which is said (`store`, the node), error strings of other protocols.

use super::{
    bytes::{
        Read, finish, put_blob, put_key, put_option, put_version, share, take_blob, take_bool,
        take_count, take_i64, take_key, take_option, take_version,
    },
    cut::Opened,
    phases::Phases,
    replace::Replacing,
    request::Level,
};
use crate::{
    codec::Reader,
    journal::format::FormatError,
    limits::{GET_KEYS_MAX, SCAN_KEYS_MAX, TRANSACTION_WRITES_MAX},
    types::{NodeId, Sequence, Stamp, Version},
};
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};
use core::fmt;

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version of the write that put it.
    pub version: Version,
    /// Until when it counts, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Its bytes.
    pub value: Bytes,
}

/// What was there before a write, as far as that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Old {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// Nothing.
    Absent,
    /// This.
    Found(Found),
    /// Something; but this is the answer to a repetition, and it was too long to be kept for one.
    NotKept,
}

/// Why a write could not be made of what is there. It is certain, and the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The value is no decimal number of 64 bits.
    NotAnInteger,
    /// The sum does not fit 64 bits.
    Overflow,
    /// The value would be longer than values may be.
    TooLong,
}

impl Failure {
    const fn to_byte(self) -> u8 {
        match self {
            Self::NotAnInteger => 1,
            Self::Overflow => 2,
            Self::TooLong => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::NotAnInteger,
            2 => Self::Overflow,
            3 => Self::TooLong,
            _ => return None,
        })
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done {
        /// The version of what it wrote.
        version: Version,
        /// What was there before.
        old: Old,
    },
    /// Its condition was not met; nothing was written.
    Unmet {
        /// The version that is there.
        found: Option<Version>,
        /// What is there.
        old: Old,
    },
    /// The number is this now.
    Number {
        /// The number.
        number: i64,
        /// The version of what was written.
        version: Version,
    },
    /// The value is so long now.
    Length {
        /// In bytes.
        bytes: u64,
        /// The version of what was written.
        version: Version,
    },
    /// All writes of a transaction were done.
    Committed {
        /// The version of what they wrote.
        version: Version,
        /// What its increments came to, in their order.
        numbers: Vec<i64>,
    },
    /// A check of a transaction was not met; nothing was written.
    Conflict {
        /// Which check.
        check: u32,
        /// The version that is there.
        found: Option<Version>,
    },
    /// A write could not be made of what is there; nothing was written.
    Failed {
        /// Why.
        failure: Failure,
        /// Which write of a transaction; 0 otherwise.
        write: u32,
    },
    /// What a key has.
    Value(Option<Found>),
    /// What keys have, in the order of the question; without its value, for who only looked.
    Values(Vec<Option<Found>>),
    /// A part of a scan.
    Page {
        /// Keys in order.
        items: Vec<(Bytes, Found)>,
        /// Where to go on: behind this key. `None` when the range is exhausted.
        next: Option<Bytes>,
    },
    /// How many keys there are.
    Count(u64),
    /// How the replacement of a node is.
    Replacing(Replacing),
    /// A cut is open, or was until now.
    Cut(Opened),
}

/// Why nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request cannot be read.
    Malformed,
    /// A key is too long.
    KeyTooLong,
    /// A value is too long.
    ValueTooLong,
    /// The request is too large as a whole.
    TooLarge,
    /// A transaction adds to a key that it also writes otherwise.
    KeyTwice,
    /// Keys of one command lie in several groups.
    ManyGroups,
    /// The level is not one that this request can have.
    Level,
    /// There is no such group here.
    NoGroup,
    /// Another node leads the group.
    NotLeader(Option<NodeId>),
    /// More is under way than there is room for.
    Overloaded,
    /// The node is going down.
    Stopping,
    /// The request's time was over before anything was done.
    TooLate,
    /// The state is older than the request allows.
    TooStale,
    /// The replica cannot keep its promises and has stopped.
    Damaged,
    /// All sessions are in use.
    SessionsFull,
    /// The request says it was made at a time that is far ahead of the group's.
    FromTheFuture,
    /// The group does not know the client any more. This time nothing happened; whether it did when
    /// the request was sent before, if it was, nobody can say.
    Forgotten,
    /// The disk of the node that leads has no room, or those of most of the group's.
    DiskFull,
    /// The node holds no such cut, or not any more.
    NoCut,
}

impl Refusal {
    /// All of them, in their order.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::KeyTooLong,
        Self::ValueTooLong,
        Self::TooLarge,
        Self::KeyTwice,
        Self::ManyGroups,
        Self::Level,
        Self::NoGroup,
        Self::NotLeader(None),
        Self::Overloaded,
        Self::Stopping,
        Self::TooLate,
        Self::TooStale,
        Self::Damaged,
        Self::SessionsFull,
        Self::FromTheFuture,
        Self::Forgotten,
        Self::DiskFull,
        Self::NoCut,
    ];

    /// Its place among [all](Self::ALL).
    #[must_use]
    pub const fn nth(self) -> usize {
        self.to_byte() as usize - 1
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::KeyTooLong => 2,
            Self::ValueTooLong => 3,
            Self::TooLarge => 4,
            Self::KeyTwice => 5,
            Self::ManyGroups => 6,
            Self::Level => 7,
            Self::NoGroup => 8,
            Self::NotLeader(_) => 9,
            Self::Overloaded => 10,
            Self::Stopping => 11,
            Self::TooLate => 12,
            Self::TooStale => 13,
            Self::Damaged => 14,
            Self::SessionsFull => 15,
            Self::FromTheFuture => 16,
            Self::Forgotten => 17,
            Self::DiskFull => 18,
            Self::NoCut => 19,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Malformed,
            2 => Self::KeyTooLong,
            3 => Self::ValueTooLong,
            4 => Self::TooLarge,
            5 => Self::KeyTwice,
            6 => Self::ManyGroups,
            7 => Self::Level,
            8 => Self::NoGroup,
            9 => Self::NotLeader(None),
            10 => Self::Overloaded,
            11 => Self::Stopping,
            12 => Self::TooLate,
            13 => Self::TooStale,
            14 => Self::Damaged,
            15 => Self::SessionsFull,
            16 => Self::FromTheFuture,
            17 => Self::Forgotten,
            18 => Self::DiskFull,
            19 => Self::NoCut,
            _ => return None,
        })
    }

    /// Its name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::KeyTooLong => "KEY_TOO_LONG",
            Self::ValueTooLong => "VALUE_TOO_LONG",
            Self::TooLarge => "TOO_LARGE",
            Self::KeyTwice => "KEY_TWICE",
            Self::ManyGroups => "MANY_GROUPS",
            Self::Level => "CONSISTENCY",
            Self::NoGroup => "NO_GROUP",
            Self::NotLeader(_) => "NOT_LEADER",
            Self::Overloaded => "OVERLOADED",
            Self::Stopping => "STOPPING",
            Self::TooLate => "TOO_LATE",
            Self::TooStale => "TOO_STALE",
            Self::Damaged => "DAMAGED",
            Self::SessionsFull => "SESSIONS_FULL",
            Self::FromTheFuture => "FROM_THE_FUTURE",
            Self::Forgotten => "FORGOTTEN",
            Self::DiskFull => "DISK_FULL",
            Self::NoCut => "NO_CUT",
        }
    }

    /// Whether the same request may succeed later or elsewhere.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Malformed
            | Self::KeyTooLong
            | Self::ValueTooLong
            | Self::TooLarge
            | Self::KeyTwice
            | Self::ManyGroups
            | Self::Level
            | Self::NoCut => false,
            Self::NoGroup
            | Self::NotLeader(_)
            | Self::Overloaded
            | Self::Stopping
            | Self::TooLate
            | Self::TooStale
            | Self::Damaged
            | Self::SessionsFull
            | Self::FromTheFuture
            | Self::Forgotten
            | Self::DiskFull => true,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the request cannot be read; use a client of this version",
            Self::KeyTooLong => "a key is too long; shorten it",
            Self::ValueTooLong => "a value is too long; split it over several keys",
            Self::TooLarge => "the request is too large; split it",
            Self::KeyTwice => "a transaction adds to a key that it also sets; do it in one step",
            Self::ManyGroups => "the keys are not of one group; give them one {tag}",
            Self::Level => "this level is not to be had here; see the levels of the keyspace",
            Self::NoGroup => "the group is not here; ask for the members anew",
            Self::NotLeader(Some(node)) => {
                return write!(f, "node {node} leads the group; ask it");
            }
            Self::NotLeader(None) => "the group has no known leader; ask again, or another node",
            Self::Overloaded => "too much is under way; wait and ask again",
            Self::Stopping => "the node is going down; ask another one",
            Self::TooLate => "the time was over before it began; allow more, or ask for less",
            Self::TooStale => "this replica is behind; ask another one, or allow more staleness",
            Self::Damaged => "this replica has stopped because it is damaged; ask another node",
            Self::SessionsFull => "all client sessions are in use; close some, or wait a minute",
            Self::FromTheFuture => {
                "the request is from a time far ahead of the group's; set the clocks right"
            }
            Self::Forgotten => {
                "the group has forgotten this client; ask anew, unless it was asked before"
            }
            Self::DiskFull => {
                "the disk is full, here or on most nodes of the group; give it room or delete \
                 something: deletes are taken, reads go on"
            }
            Self::NoCut => "the node holds no such cut any more; open another one",
        })
    }
}

impl core::error::Error for Refusal {}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok(Reply),
    /// Nothing happened.
    Refused(Refusal),
    /// It may have happened.
    Unknown,
}

/// The staleness of an answer of which nobody can say how old it is.
pub const STALENESS_UNKNOWN_MS: u32 = u32::MAX;

/// What an answer is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The level that it holds; at least what was asked.
    pub level: Level,
    /// How old the state may have been when the request arrived, in milliseconds: everything that
    /// was acknowledged so long before is in it. 0 when it was current,
    /// [`STALENESS_UNKNOWN_MS`] when nobody can say.
    pub staleness_ms: u32,
    /// The version up to which the replica that answered had applied its group's log.
    pub applied: Version,
    /// The highest stamp that the replica had applied: what a client hands back in
    /// [`Session::since`](super::Session::since).
    pub stamp: Stamp,
    /// Where its time went.
    pub phases: Phases,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// To which request.
    pub sequence: Sequence,
    /// What it is worth.
    pub told: Told,
    /// What it says.
    pub outcome: Outcome,
}

impl Response {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.sequence.0);
        out.put_u8(self.told.level.to_byte());
        out.put_u32_le(self.told.staleness_ms);
        out.put_u64_le(self.told.applied.0);
        out.put_u64_le(self.told.stamp.0);
        self.told.phases.put(out);
        match &self.outcome {
            Outcome::Ok(reply) => {
                out.put_u8(0);
                reply.put(out);
            }
            Outcome::Refused(refusal) => {
                out.put_u8(1);
                out.put_u8(refusal.to_byte());
                if let Refusal::NotLeader(leader) = refusal {
                    put_option(out, leader.map(|node| node.0));
                }
            }
            Outcome::Unknown => out.put_u8(2),
        }
    }

    /// Reads a response, which must be all of the bytes; its values share their memory.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &Bytes) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let sequence = Sequence(reader.u64()?);
        let level = Level::from_byte(reader.u8()?).ok_or(FormatError::Field("level"))?;
        let staleness_ms = reader.u32()?;
        let (applied, stamp) = (Version(reader.u64()?), Stamp(reader.u64()?));
        let phases = Phases::take(&mut reader)?;
        let outcome = match reader.u8()? {
            0 => Outcome::Ok(Reply::take(&mut reader, &share(bytes))?),
            1 => Outcome::Refused(take_refusal(&mut reader)?),
            2 => Outcome::Unknown,
            _ => return Err(FormatError::Field("outcome")),
        };
        finish(&reader)?;
        let told = Told { level, staleness_ms, applied, stamp, phases };
        Ok(Self { sequence, told, outcome })
    }
}

fn take_refusal(reader: &mut Reader<'_>) -> Read<Refusal> {
    let refusal = Refusal::from_byte(reader.u8()?).ok_or(FormatError::Field("refusal"))?;
    if let Refusal::NotLeader(_) = refusal {
        return Ok(Refusal::NotLeader(take_option(reader, "leader")?.map(NodeId)));
    }
    Ok(refusal)
}

impl Reply {
    /// Whether it is one that a write can get: what a session keeps.
    #[must_use]
    pub const fn is_of_a_write(&self) -> bool {
        match self {
            Self::Done { .. }
            | Self::Unmet { .. }
            | Self::Number { .. }
            | Self::Length { .. }
            | Self::Committed { .. }
            | Self::Conflict { .. }
            | Self::Failed { .. } => true,
            Self::Value(_)
            | Self::Values(_)
            | Self::Page { .. }
            | Self::Count(_)
            | Self::Cut(_)
            | Self::Replacing(_) => false,
        }
    }

    /// Appends its bytes.
    pub fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Done { version, old } => {
                out.put_u8(1);
                out.put_u64_le(version.0);
                put_old(out, old);
            }
            Self::Unmet { found, old } => {
                out.put_u8(2);
                put_version(out, *found);
                put_old(out, old);
            }
            Self::Number { number, version } => {
                out.put_u8(3);
                out.put_i64_le(*number);
                out.put_u64_le(version.0);
            }
            Self::Length { bytes, version } => {
                out.put_u8(4);
                out.put_u64_le(*bytes);
                out.put_u64_le(version.0);
            }
            Self::Committed { version, numbers } => {
                out.put_u8(5);
                out.put_u64_le(version.0);
                out.put_u32_le(numbers.len() as u32);
                numbers.iter().for_each(|number| out.put_i64_le(*number));
            }
            Self::Failed { failure, write } => {
                out.put_u8(6);
                out.put_u8(failure.to_byte());
                out.put_u32_le(*write);
            }
            Self::Value(found) => {
                out.put_u8(7);
                put_perhaps(out, found.as_ref());
            }
            Self::Values(values) => {
                out.put_u8(8);
                out.put_u32_le(values.len() as u32);
                values.iter().for_each(|found| put_perhaps(out, found.as_ref()));
            }
            Self::Page { items, next } => {
                out.put_u8(9);
                put_page(out, items, next.as_ref());
            }
            Self::Conflict { check, found } => {
                out.put_u8(10);
                out.put_u32_le(*check);
                put_version(out, *found);
            }
            Self::Replacing(replacing) => {
                out.put_u8(11);
                replacing.put(out);
            }
            Self::Count(keys) => {
                out.put_u8(12);
                out.put_u64_le(*keys);
            }
            Self::Cut(opened) => {
                out.put_u8(13);
                opened.put(out);
            }
        }
    }

    /// Reads a reply; `share` keeps the bytes of its values.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn take(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Self> {
        Ok(match reader.u8()? {
            1 => Self::Done { version: Version(reader.u64()?), old: take_old(reader, share)? },
            2 => Self::Unmet { found: take_version(reader)?, old: take_old(reader, share)? },
            3 => Self::Number { number: take_i64(reader)?, version: Version(reader.u64()?) },
            4 => Self::Length { bytes: reader.u64()?, version: Version(reader.u64()?) },
            5 => {
                let version = Version(reader.u64()?);
                let count = take_count(reader, TRANSACTION_WRITES_MAX, 8)?;
                let numbers = (0..count).map(|_| take_i64(reader)).collect::<Read<Vec<i64>>>()?;
                Self::Committed { version, numbers }
            }
            6 => {
                let failure = Failure::from_byte(reader.u8()?);
                let failure = failure.ok_or(FormatError::Field("failure"))?;
                Self::Failed { failure, write: reader.u32()? }
            }
            7 => Self::Value(take_perhaps(reader, share)?),
            8 => {
                let count = take_count(reader, GET_KEYS_MAX, 1)?;
                let values = (0..count).map(|_| take_perhaps(reader, share));
                Self::Values(values.collect::<Read<Vec<Option<Found>>>>()?)
            }
            9 => {
                let count = take_count(reader, SCAN_KEYS_MAX, 15)?;
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push((share(take_key(reader)?), take_found(reader, share)?));
                }
                let next =
                    if take_bool(reader, "next")? { Some(share(take_key(reader)?)) } else { None };
                Self::Page { items, next }
            }
            10 => Self::Conflict { check: reader.u32()?, found: take_version(reader)? },
            11 => Self::Replacing(Replacing::take(reader)?),
            12 => Self::Count(reader.u64()?),
            13 => Self::Cut(Opened::take(reader)?),
            _ => return Err(FormatError::Field("reply")),
        })
    }
}

fn put_page(out: &mut BytesMut, items: &[(Bytes, Found)], next: Option<&Bytes>) {
    out.put_u32_le(items.len() as u32);
    for (key, found) in items {
        put_key(out, key);
        put_found(out, found);
    }
    out.put_u8(u8::from(next.is_some()));
    if let Some(key) = next {
        put_key(out, key);
    }
}

fn put_old(out: &mut BytesMut, old: &Old) {
    match old {
        Old::NotAsked => out.put_u8(0),
        Old::Absent => out.put_u8(1),
        Old::Found(found) => {
            out.put_u8(2);
            put_found(out, found);
        }
        Old::NotKept => out.put_u8(3),
    }
}

fn take_old(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Old> {
    Ok(match reader.u8()? {
        0 => Old::NotAsked,
        1 => Old::Absent,
        2 => Old::Found(take_found(reader, share)?),
        3 => Old::NotKept,
        _ => return Err(FormatError::Field("old")),
    })
}

fn put_found(out: &mut BytesMut, found: &Found) {
    out.put_u64_le(found.version.0);
    put_option(out, found.expires_ms);
    put_blob(out, &found.value);
}

fn take_found(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Found> {
    let version = Version(reader.u64()?);
    let expires_ms = take_option(reader, "expiry")?;
    Ok(Found { version, expires_ms, value: share(take_blob(reader)?) })
}

fn put_perhaps(out: &mut BytesMut, found: Option<&Found>) {
    out.put_u8(u8::from(found.is_some()));
    if let Some(found) = found {
        put_found(out, found);
    }
}

fn take_perhaps(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Option<Found>> {
    Ok(if take_bool(reader, "found")? { Some(take_found(reader, share)?) } else { None })
}
