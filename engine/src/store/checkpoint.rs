//! The state as bytes, for checkpoints and snapshots, and the digest by which replicas compare.
//!
//! ```text
//! state   version 1 │ applied 8 │ term 8 │ stamp 8 │ digest 8 │ forgotten 8 │ clients 4 │ client …
//! client  id 8 │ floor 8 │ touched 8 │ strange 8 │ replies 4 │ (sequence 8 │ reply) …
//! ```
//! Clients stand in the order of their ids, so that equal states have equal bytes.
//!
//! The digest rolls over what each entry did: its bytes (by their checksum), whether it counted, what
//! was derived, and the gist of the answer. Replicas that have applied the same entries differ in it
//! if they ever decided differently, also in something that has been overwritten since. It costs a
//! few multiplications an entry.
//!
//! Not here: membership and positions of the journal, which whoever writes a checkpoint adds; the
//! values, which the journal has.

use super::{
    Effect, State,
    sessions::{Client, Sessions},
};
use crate::{
    codec::{self, Reader},
    command::{Entry, Old, Outcome, Reply},
    journal::format::FormatError,
    limits::{SESSION_OLD_BYTES_MAX, SESSIONS_MAX},
    planted,
    types::{ClientId, Index, Sequence, Stamp, Term},
};
use alloc::collections::{BTreeMap, VecDeque};
use bytes::{BufMut, Bytes, BytesMut};
use core::num::NonZeroU64;

const VERSION: u8 = 1;

impl State {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let is_left_out = planted!("store_sessions_not_in_the_checkpoint");
        let sessions = if is_left_out { &Sessions::default() } else { &self.sessions };
        out.put_u8(VERSION);
        out.put_u64_le(self.applied.0);
        out.put_u64_le(self.term.0);
        out.put_u64_le(self.stamp.0);
        out.put_u64_le(self.digest);
        out.put_u64_le(sessions.forgotten.0);
        out.put_u32_le(sessions.clients.len() as u32);
        for (id, client) in &sessions.clients {
            out.put_u64_le(id.0);
            out.put_u64_le(client.floor.0);
            out.put_u64_le(client.touched.0);
            out.put_u64_le(client.strange.0);
            out.put_u32_le(client.replies.len() as u32);
            for (sequence, reply) in &client.replies {
                out.put_u64_le(sequence.0);
                reply.put(out);
            }
        }
    }

    /// Reads a state, which must be all of the bytes.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            found @ (0 | VERSION..) => return Err(FormatError::Newer { found: found.into() }),
        }
        let (applied, term) = (Index(reader.u64()?), Term(reader.u64()?));
        let (stamp, digest) = (Stamp(reader.u64()?), reader.u64()?);
        let forgotten = Stamp(reader.u64()?);
        let count = reader.u32()? as usize;
        if count > SESSIONS_MAX {
            return Err(FormatError::Field("clients"));
        }
        let mut clients = BTreeMap::new();
        for _ in 0..count {
            let id = ClientId(reader.u64()?);
            let is_next = clients.last_key_value().is_none_or(|(last, _)| *last < id);
            let client = take_client(&mut reader)?;
            if !is_next || id == ClientId(0) || client.strange > forgotten {
                return Err(FormatError::Field("client"));
            }
            clients.insert(id, client);
        }
        if !reader.rest().is_empty() {
            return Err(FormatError::Field("length"));
        }
        let sessions = Sessions::from_parts(clients, forgotten);
        Ok(Self { applied, term, stamp, digest, sessions })
    }
}

fn take_client(reader: &mut Reader<'_>) -> Result<Client, FormatError> {
    let floor = Sequence(reader.u64()?);
    let (touched, strange) = (Stamp(reader.u64()?), Stamp(reader.u64()?));
    let count = reader.u32()?;
    let mut replies = VecDeque::new();
    for _ in 0..count {
        let sequence = Sequence(reader.u64()?);
        let reply = Reply::take(reader, &|value| Bytes::copy_from_slice(value))?;
        if !reply.is_of_a_write() || old_bytes(&reply) > SESSION_OLD_BYTES_MAX {
            return Err(FormatError::Field("reply"));
        }
        replies.push_back((sequence, reply));
    }
    let client = Client { floor, touched, strange, replies };
    if client.is_sound() { Ok(client) } else { Err(FormatError::Field("replies")) }
}

/// How long the old value of a reply is.
fn old_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Done { old: Old::Found(found), .. }
        | Reply::Unmet { old: Old::Found(found), .. } => found.value.len(),
        Reply::Done { .. }
        | Reply::Unmet { .. }
        | Reply::Number { .. }
        | Reply::Length { .. }
        | Reply::Committed { .. }
        | Reply::Conflict { .. }
        | Reply::Failed { .. }
        | Reply::Value(_)
        | Reply::Values(_)
        | Reply::Page { .. }
        | Reply::Count(_)
        | Reply::Cut(_)
        | Reply::Replacing(_) => 0,
    }
}

/// The digest behind an entry.
pub(super) fn digest(digest: u64, entry: &Entry<'_>, effect: &Effect<'_>) -> u64 {
    let mut digest = stir(digest, entry.place.index.0);
    digest = stir(digest, u64::from(entry.crc()) << 1 | u64::from(effect.is_effective));
    for derived in &effect.derived {
        let key = codec::crc(0, derived.key);
        let value = derived.value.as_deref().map_or(0, |value| codec::crc(1, value));
        digest = stir(digest, u64::from(key) << 32 | u64::from(value));
        digest = stir(digest, derived.expires_ms.map_or(0, NonZeroU64::get));
    }
    stir(digest, gist(effect.outcome.as_ref()))
}

/// What an answer says of the state, in a number.
fn gist(outcome: Option<&Outcome>) -> u64 {
    let version = |old: &Old| match old {
        Old::Found(found) => found.version.0,
        Old::NotAsked | Old::Absent | Old::NotKept => 0,
    };
    match outcome {
        None => 1,
        Some(Outcome::Unknown) => 2,
        Some(Outcome::Refused(_)) => 3,
        Some(Outcome::Ok(reply)) => match reply {
            Reply::Done { old, .. } => stir(4, version(old)),
            Reply::Unmet { found, old } => {
                stir(stir(5, found.map_or(0, |found| found.0)), version(old))
            }
            Reply::Number { number, .. } => stir(6, number.cast_unsigned()),
            Reply::Length { bytes, .. } => stir(7, *bytes),
            Reply::Committed { numbers, .. } => stir(8, numbers.len() as u64),
            Reply::Conflict { check, found } => {
                stir(stir(9, u64::from(*check)), found.map_or(0, |found| found.0))
            }
            Reply::Failed { write, .. } => stir(10, u64::from(*write)),
            Reply::Value(_)
            | Reply::Values(_)
            | Reply::Page { .. }
            | Reply::Count(_)
            | Reply::Cut(_)
            | Reply::Replacing(_) => 11,
        },
    }
}

/// Takes a number into a digest. Each step can be undone, so none loses what came before.
const fn stir(digest: u64, number: u64) -> u64 {
    let mixed = (digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
