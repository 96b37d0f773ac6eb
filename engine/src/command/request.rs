//! What a client asks, and its bytes on a wire.
//!
//! ```text
//! request  session 28 │ level 1 │ patience ms 4 │ staleness ms 4 │ op tag 1 │ …
//!  1 get        key
//!  2 get many   count 4 │ key …
//!  3 scan       group 4 │ keys 4 │ bytes 4 │ values? 1 │ bound │ bound
//!  4 write      the command's words, to the end
//!  5 replace    node 8 │ directory?                of an operator: `replace.rs`
//!  6 look       count 4 │ key …
//!  7 count      group 4
//!  8 cut        group 4 │ …                  of who makes a backup: `cut.rs`
//! bound    0 open │ 1 key, included │ 2 key, excluded
//! ```
//! The sequence of the session names the request on its connection, also for reads and for clients
//! without a session. Reads are numbered too; nobody keeps what they were told.
//!
//! Not here: frames, handshakes and links (`trilith-net`), who may lead a scan over several groups.

use super::{
    Session,
    bytes::{
        Read, finish, put_key, put_session, share, take_bool, take_count, take_key, take_session,
    },
    cut::Cut,
    entry::command_bytes,
    replace::Replace,
    reply::Refusal,
    verb::Command,
};
use crate::{
    codec::Reader,
    journal::format::FormatError,
    limits::{GET_KEYS_MAX, KEY_BYTES_MAX},
    types::GroupId,
};
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};
use core::ops::Bound;

/// What an answer must hold at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Some prefix of the commits, within the staleness that the request allows.
    Eventual,
    /// Linearizable, from any replica.
    Quorum,
    /// Linearizable, from the leader.
    #[default]
    Strong,
}

impl Level {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Eventual => 1,
            Self::Quorum => 2,
            Self::Strong => 3,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Eventual,
            2 => Self::Quorum,
            3 => Self::Strong,
            _ => return None,
        })
    }
}

/// Keys of one group, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The group: each has an order and a moment of its own.
    pub group: GroupId,
    /// From here.
    pub start: Bound<Bytes>,
    /// To here.
    pub end: Bound<Bytes>,
    /// No more keys than this.
    pub keys_max: u32,
    /// No more keys behind the one with which the page reaches this many bytes.
    pub bytes_max: u32,
    /// Whether their values are wanted; they are empty otherwise, and no disk is asked.
    pub has_values: bool,
}

impl Scan {
    /// All keys that begin so, with their values.
    #[must_use]
    pub fn of_prefix(group: GroupId, prefix: &Bytes, keys_max: u32, bytes_max: u32) -> Self {
        let mut after = prefix.to_vec();
        while after.last() == Some(&u8::MAX) {
            after.pop();
        }
        let end = match after.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(Bytes::from(after))
            }
            None => Bound::Unbounded,
        };
        let start = Bound::Included(prefix.clone());
        Self { group, start, end, keys_max, bytes_max, has_values: true }
    }

    /// The rest of it, behind what a page said.
    #[must_use]
    pub fn behind(&self, next: Bytes) -> Self {
        Self { start: Bound::Excluded(next), ..self.clone() }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// What a key has.
    Get(Bytes),
    /// What keys of one group have, all at one moment.
    GetMany(Vec<Bytes>),
    /// Of which of these keys of one group there is something, all at one moment: values with nothing
    /// in them, and no disk is asked.
    Look(Vec<Bytes>),
    /// A part of the keys of a group.
    Scan(Scan),
    /// How many keys a group has, with those that are over and that nobody has asked for since.
    Count(GroupId),
    /// A change.
    Write(Command),
    /// An operator's: new replicas for a node. Of the node that is asked, not of a group.
    Replace(Replace),
    /// A group held still, to be read in pages: of the node that is asked.
    Cut(Cut),
}

impl Op {
    /// The keys that decide where it goes; what is of a whole group says so itself, and a replacement
    /// goes to everybody.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let (keys, command): (&[Bytes], _) = match self {
            Self::Get(key) => (core::slice::from_ref(key), None),
            Self::GetMany(keys) | Self::Look(keys) => (keys, None),
            Self::Scan(_) | Self::Count(_) | Self::Replace(_) | Self::Cut(_) => (&[], None),
            Self::Write(command) => (&[], Some(command)),
        };
        let read = keys.iter().map(AsRef::as_ref);
        read.chain(command.into_iter().flat_map(Command::keys))
    }

    /// What it weighs: its keys and values, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bound = |bound: &Bound<Bytes>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => key.len(),
            Bound::Unbounded => 0,
        };
        match self {
            Self::Write(command) => command_bytes(true, command),
            Self::Scan(scan) => bound(&scan.start) + bound(&scan.end),
            Self::Cut(cut) => cut.behind().map_or(0, Bytes::len),
            Self::Get(_) | Self::GetMany(_) | Self::Look(_) | Self::Count(_) | Self::Replace(_) => {
                self.keys().map(<[u8]>::len).sum()
            }
        }
    }

    /// Whether it is within the limits: what is checked before it is sent, so that it can be
    /// encoded.
    ///
    /// # Errors
    /// The limit that it breaks; nothing happened.
    pub fn check(&self) -> Result<(), Refusal> {
        let is_too_long = |key: &Bytes| key.len() > KEY_BYTES_MAX;
        let is_long_bound = |bound: &Bound<Bytes>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => is_too_long(key),
            Bound::Unbounded => false,
        };
        let has_long_key = match self {
            Self::Get(key) => is_too_long(key),
            Self::GetMany(keys) | Self::Look(keys) => {
                if keys.len() > GET_KEYS_MAX {
                    return Err(Refusal::TooLarge);
                }
                keys.iter().any(is_too_long)
            }
            Self::Scan(scan) => is_long_bound(&scan.start) || is_long_bound(&scan.end),
            Self::Write(command) => return command.check(),
            Self::Cut(cut) => cut.behind().is_some_and(is_too_long),
            Self::Count(_) | Self::Replace(_) => false,
        };
        if has_long_key { Err(Refusal::KeyTooLong) } else { Ok(()) }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks, and which of its requests this is.
    pub session: Session,
    /// What the answer must hold at least.
    pub level: Level,
    /// How long the client waits, in milliseconds. What cannot be begun by then is refused.
    pub patience_ms: u32,
    /// How old an eventual answer may be, in milliseconds; 0 for however old. A replica that is
    /// older asks the leader first.
    pub staleness_ms: u32,
    /// What is asked.
    pub op: Op,
}

impl Request {
    /// Appends its bytes.
    ///
    /// # Panics
    /// When what it asks does not pass its [check](Op::check).
    pub fn encode(&self, out: &mut BytesMut) {
        put_session(out, &self.session);
        out.put_u8(self.level.to_byte());
        out.put_u32_le(self.patience_ms);
        out.put_u32_le(self.staleness_ms);
        match &self.op {
            Op::Get(key) => {
                out.put_u8(1);
                put_key(out, key);
            }
            Op::GetMany(keys) => {
                out.put_u8(2);
                put_keys(out, keys);
            }
            Op::Scan(scan) => {
                out.put_u8(3);
                out.put_u32_le(scan.group.0);
                out.put_u32_le(scan.keys_max);
                out.put_u32_le(scan.bytes_max);
                out.put_u8(u8::from(scan.has_values));
                put_bound(out, &scan.start);
                put_bound(out, &scan.end);
            }
            Op::Write(command) => {
                out.put_u8(4);
                out.reserve(command.words_bytes());
                command.put_words(out);
            }
            Op::Replace(replace) => {
                out.put_u8(5);
                replace.put(out);
            }
            Op::Look(keys) => {
                out.put_u8(6);
                put_keys(out, keys);
            }
            Op::Count(group) => {
                out.put_u8(7);
                out.put_u32_le(group.0);
            }
            Op::Cut(cut) => {
                out.put_u8(8);
                cut.put(out);
            }
        }
    }

    /// Reads a request, which must be all of the bytes; its keys and values share their memory.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &Bytes) -> Read<Self> {
        let share = share(bytes);
        let mut reader = Reader::new(bytes);
        let session = take_session(&mut reader)?;
        let level = Level::from_byte(reader.u8()?).ok_or(FormatError::Field("level"))?;
        let (patience_ms, staleness_ms) = (reader.u32()?, reader.u32()?);
        let op = match reader.u8()? {
            1 => Op::Get(share(take_key(&mut reader)?)),
            2 => Op::GetMany(take_keys(&mut reader, &share)?),
            3 => Op::Scan(Scan {
                group: GroupId(reader.u32()?),
                keys_max: reader.u32()?,
                bytes_max: reader.u32()?,
                has_values: take_bool(&mut reader, "values")?,
                start: take_bound(&mut reader)?.map(&share),
                end: take_bound(&mut reader)?.map(&share),
            }),
            4 => {
                let words = reader.take(reader.rest().len())?;
                Op::Write(Command::from_words(words)?.map(&share))
            }
            5 => Op::Replace(Replace::take(&mut reader)?),
            6 => Op::Look(take_keys(&mut reader, &share)?),
            7 => Op::Count(GroupId(reader.u32()?)),
            8 => Op::Cut(Cut::take(&mut reader, &share)?),
            _ => return Err(FormatError::Field("op")),
        };
        finish(&reader)?;
        Ok(Self { session, level, patience_ms, staleness_ms, op })
    }
}

fn put_keys(out: &mut BytesMut, keys: &[Bytes]) {
    assert!(keys.len() <= GET_KEYS_MAX, "a request within the limits");
    out.put_u32_le(keys.len() as u32);
    keys.iter().for_each(|key| put_key(out, key));
}

fn take_keys(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Vec<Bytes>> {
    let count = take_count(reader, GET_KEYS_MAX, 2)?;
    (0..count).map(|_| take_key(reader).map(share)).collect()
}

fn put_bound(out: &mut BytesMut, bound: &Bound<Bytes>) {
    let (tag, key) = match bound {
        Bound::Unbounded => (0, None),
        Bound::Included(key) => (1, Some(key)),
        Bound::Excluded(key) => (2, Some(key)),
    };
    out.put_u8(tag);
    if let Some(key) = key {
        put_key(out, key);
    }
}

fn take_bound<'a>(reader: &mut Reader<'a>) -> Read<Bound<&'a [u8]>> {
    Ok(match reader.u8()? {
        0 => Bound::Unbounded,
        1 => Bound::Included(take_key(reader)?),
        2 => Bound::Excluded(take_key(reader)?),
        _ => return Err(FormatError::Field("bound")),
    })
}
