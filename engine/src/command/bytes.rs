//! What the room's formats are written with: keys and values with their lengths, sessions, options.
//!
//! Numbers are little-endian and of fixed width: a length is known before anything is written, and
//! a golden test can be read by eye.
//!
//! ```text
//! key      length 2 │ bytes
//! blob     length 4 │ bytes                      values and opaque bodies
//! session  client 8 │ sequence 8 │ behind 4 │ since 8
//! ```
//! `behind` is how far the oldest number still waited for lies below the sequence. Farther than
//! 4 billion is no client's window, and is brought as near.
//!
//! Not here: any meaning.

use super::Session;
use crate::{
    codec::Reader,
    journal::format::FormatError,
    limits::{KEY_BYTES_MAX, SEQUENCE_MAX, VALUE_BYTES_MAX_CLUSTER},
    types::{ClientId, Sequence, Stamp, Version},
};
use bytes::{BufMut, Bytes, BytesMut};

/// The bytes of a session.
pub(super) const SESSION_BYTES: usize = 28;

/// A result of reading.
pub(super) type Read<T> = Result<T, FormatError>;

pub(super) const fn key_bytes(key: &[u8]) -> usize {
    2 + key.len()
}

pub(super) const fn blob_bytes(blob: &[u8]) -> usize {
    4 + blob.len()
}

pub(super) fn put_key(out: &mut BytesMut, key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key within the limits");
    out.put_u16_le(key.len() as u16);
    out.put_slice(key);
}

pub(super) fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    assert!(blob.len() <= VALUE_BYTES_MAX_CLUSTER, "a value within the limits");
    out.put_u32_le(blob.len() as u32);
    out.put_slice(blob);
}

pub(super) fn take_key<'a>(reader: &mut Reader<'a>) -> Read<&'a [u8]> {
    let len = usize::from(reader.u16()?);
    Ok(reader.take(len)?)
}

pub(super) fn take_blob<'a>(reader: &mut Reader<'a>) -> Read<&'a [u8]> {
    let len = reader.u32()? as usize;
    if len > VALUE_BYTES_MAX_CLUSTER {
        return Err(FormatError::Field("length"));
    }
    Ok(reader.take(len)?)
}

pub(super) fn take_bool(reader: &mut Reader<'_>, field: &'static str) -> Read<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatError::Field(field)),
    }
}

pub(super) fn take_i64(reader: &mut Reader<'_>) -> Read<i64> {
    Ok(i64::from_le_bytes(reader.array()?))
}

pub(super) fn put_option(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(u8::from(number.is_some()));
    if let Some(number) = number {
        out.put_u64_le(number);
    }
}

pub(super) fn take_option(reader: &mut Reader<'_>, field: &'static str) -> Read<Option<u64>> {
    Ok(if take_bool(reader, field)? { Some(reader.u64()?) } else { None })
}

pub(super) fn put_version(out: &mut BytesMut, version: Option<Version>) {
    put_option(out, version.map(|version| version.0));
}

pub(super) fn take_version(reader: &mut Reader<'_>) -> Read<Option<Version>> {
    Ok(take_option(reader, "version")?.map(Version))
}

pub(super) fn put_session(out: &mut impl BufMut, session: &Session) {
    assert!(session.sequence.0 <= SEQUENCE_MAX, "a sequence within the limits");
    let behind = session.sequence.0.saturating_sub(session.oldest.0);
    out.put_u64_le(session.client.0);
    out.put_u64_le(session.sequence.0);
    out.put_u32_le(u32::try_from(behind).unwrap_or(u32::MAX));
    out.put_u64_le(session.since.0);
}

pub(super) fn take_session(reader: &mut Reader<'_>) -> Read<Session> {
    let (client, sequence) = (ClientId(reader.u64()?), Sequence(reader.u64()?));
    let behind = u64::from(reader.u32()?);
    if sequence.0 > SEQUENCE_MAX {
        return Err(FormatError::Field("sequence"));
    }
    let oldest = sequence.0.checked_sub(behind).ok_or(FormatError::Field("behind"))?;
    Ok(Session { client, sequence, oldest: Sequence(oldest), since: Stamp(reader.u64()?) })
}

/// Nothing may follow.
pub(super) fn finish(reader: &Reader<'_>) -> Read<()> {
    if reader.rest().is_empty() { Ok(()) } else { Err(FormatError::Field("length")) }
}

/// How many of something are to come, each of at least `each` bytes: a number that the input
/// cannot hold reserves no memory.
pub(super) fn take_count(reader: &mut Reader<'_>, max: usize, each: usize) -> Read<usize> {
    let count = reader.u32()? as usize;
    if count > max {
        return Err(FormatError::Field("count"));
    }
    if count * each > reader.rest().len() {
        return Err(FormatError::Truncated);
    }
    Ok(count)
}

/// The same bytes, sharing the memory of the whole they were read from.
pub(super) fn share(whole: &Bytes) -> impl Fn(&[u8]) -> Bytes + '_ {
    |part| whole.slice_ref(part)
}
