//! Cuts: a group at one moment, held still by one node while somebody reads it page by page.
//!
//! ```text
//! cut    group 4 │ 1 open
//!                │ 2 page   cut 8 │ keys 4 │ bytes 4 │ key?     behind that key
//!                │ 3 close  cut 8
//! opened cut 8 │ keys 8
//! ```
//! Opening is a read of the group, at any level that sees what was acknowledged before. What was
//! opened is the node's that answered: its pages are asked of that node only, and another one says
//! that it has no such cut. Every answer tells the cut's own version and time.
//!
//! Not here: what holds it still, and for how long (`shard/cut.rs`), who makes a backup of it
//! (`trilith-net`, `backup`).

use super::bytes::{Read, put_key, take_bool, take_key};
use crate::{codec::Reader, journal::format::FormatError, types::GroupId};
use bytes::{BufMut, Bytes, BytesMut};

/// What is asked of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Hold this group still, as it is now.
    Open(GroupId),
    /// Keys of it, in order, with their values.
    Page {
        /// Its group.
        group: GroupId,
        /// Which cut.
        cut: u64,
        /// Behind this key; from the first one on without.
        behind: Option<Bytes>,
        /// No more keys than this.
        keys_max: u32,
        /// No more keys behind the one with which the page reaches this many bytes.
        bytes_max: u32,
    },
    /// It is not needed any more.
    Close {
        /// Its group.
        group: GroupId,
        /// Which cut.
        cut: u64,
    },
}

/// A cut that was opened, or has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number, which only the node knows that answers.
    pub cut: u64,
    /// How many keys it has, with those that are over.
    pub keys: u64,
}

impl Cut {
    /// Its group.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        match self {
            Self::Open(group) | Self::Page { group, .. } | Self::Close { group, .. } => *group,
        }
    }

    /// The key that it names.
    #[must_use]
    pub const fn behind(&self) -> Option<&Bytes> {
        match self {
            Self::Page { behind, .. } => behind.as_ref(),
            Self::Open(_) | Self::Close { .. } => None,
        }
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.group().0);
        match self {
            Self::Open(_) => out.put_u8(1),
            Self::Page { cut, behind, keys_max, bytes_max, .. } => {
                out.put_u8(2);
                out.put_u64_le(*cut);
                out.put_u32_le(*keys_max);
                out.put_u32_le(*bytes_max);
                out.put_u8(u8::from(behind.is_some()));
                if let Some(key) = behind {
                    put_key(out, key);
                }
            }
            Self::Close { cut, .. } => {
                out.put_u8(3);
                out.put_u64_le(*cut);
            }
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>, share: &impl Fn(&[u8]) -> Bytes) -> Read<Self> {
        let group = GroupId(reader.u32()?);
        Ok(match reader.u8()? {
            1 => Self::Open(group),
            2 => {
                let cut = reader.u64()?;
                let (keys_max, bytes_max) = (reader.u32()?, reader.u32()?);
                let has_key = take_bool(reader, "behind")?;
                let behind = if has_key { Some(share(take_key(reader)?)) } else { None };
                Self::Page { group, cut, behind, keys_max, bytes_max }
            }
            3 => Self::Close { group, cut: reader.u64()? },
            _ => return Err(FormatError::Field("cut")),
        })
    }
}

impl Opened {
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.cut);
        out.put_u64_le(self.keys);
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self { cut: reader.u64()?, keys: reader.u64()? })
    }
}
