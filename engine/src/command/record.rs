//! The records of entries, until the journal's own know where a record comes from.
//!
//! Not here: anything that stays. The layout is the journal's.

use crate::{
    codec::{self, Reader},
    journal::{RecordKind, format::FormatError},
    limits::{KEY_BYTES_MAX, RECORD_VALUE_BYTES_MAX},
    types::{GroupId, Term, Version},
};
use bytes::{BufMut, BytesMut};

const HEADER_BYTES: usize = 32;
const FLAG_EXPIRES: u8 = 1;
const FLAG_ENTRY: u8 = 2;
const FLAG_PART: u8 = 4;

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    Entry(&'a [u8]),
    Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) group: GroupId,
    /// `None` for a command.
    pub(super) kind: Option<RecordKind>,
    pub(super) origin: Origin<'a>,
    pub(super) version: Version,
    pub(super) term: Term,
    pub(super) expires_ms: Option<u64>,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) const fn encoded_bytes(&self) -> usize {
        let expiry = if self.expires_ms.is_some() { 8 } else { 0 };
        let section = match self.origin {
            Origin::Entry(section) => 1 + section.len(),
            Origin::Part => 0,
        };
        HEADER_BYTES + expiry + section + self.key.len() + self.value.len()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        assert!(self.key.len() <= KEY_BYTES_MAX, "a key within the limits");
        assert!(self.value.len() <= RECORD_VALUE_BYTES_MAX, "a value within the limits");
        let start = out.len();
        out.reserve(self.encoded_bytes() + 8);
        out.put_u32_le(0);
        out.put_u32_le(self.value.len() as u32);
        out.put_u16_le(self.key.len() as u16);
        out.put_u8(match self.kind {
            Some(RecordKind::Put) => 1,
            Some(_) => 2,
            None => 3,
        });
        let flags = match self.origin {
            Origin::Entry(_) => FLAG_ENTRY,
            Origin::Part => FLAG_PART,
        };
        out.put_u8(flags | if self.expires_ms.is_some() { FLAG_EXPIRES } else { 0 });
        out.put_u32_le(self.group.0);
        out.put_u64_le(self.version.0);
        out.put_u64_le(self.term.0);
        if let Some(ms) = self.expires_ms {
            out.put_u64_le(ms);
        }
        if let Origin::Entry(section) = self.origin {
            out.put_u8(section.len() as u8);
            out.put_slice(section);
        }
        out.put_slice(self.key);
        out.put_slice(self.value);
        let crc = codec::crc(0, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        let len = out.len() - start;
        out.put_bytes(0, len.next_multiple_of(8) - len);
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, usize), FormatError> {
        let (record, len) = Self::parse(bytes)?;
        if Reader::new(bytes).u32()? == codec::crc(0, &bytes[4..len]) {
            Ok((record, len))
        } else {
            Err(FormatError::Checksum)
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<(Self, usize), FormatError> {
        let mut reader = Reader::new(bytes);
        reader.u32()?;
        let (value_len, key_len) = (reader.u32()? as usize, usize::from(reader.u16()?));
        let kind = match reader.u8()? {
            1 => Some(RecordKind::Put),
            2 => Some(RecordKind::Tombstone),
            3 => None,
            _ => return Err(FormatError::Field("kind")),
        };
        let flags = reader.u8()?;
        let (group, version) = (GroupId(reader.u32()?), Version(reader.u64()?));
        let term = Term(reader.u64()?);
        let expires_ms = if flags & FLAG_EXPIRES == 0 { None } else { Some(reader.u64()?) };
        let origin = match flags & !FLAG_EXPIRES {
            FLAG_ENTRY => {
                let len = usize::from(reader.u8()?);
                Origin::Entry(reader.take(len)?)
            }
            FLAG_PART => Origin::Part,
            _ => return Err(FormatError::Field("flags")),
        };
        if value_len > RECORD_VALUE_BYTES_MAX {
            return Err(FormatError::Field("value_len"));
        }
        let (key, value) = (reader.take(key_len)?, reader.take(value_len)?);
        let record = Self { group, kind, origin, version, term, expires_ms, key, value };
        Ok((record, record.encoded_bytes()))
    }
}
