//! The two small files that say whose directory this is: `NODE` and `CURRENT`. Pure.
//!
//! Both are 64 bytes: magic, checksum, version, and little else. `NODE` is written once, when the
//! directory is made, and names the directory; every segment header repeats the name, so a file copied
//! from another one shows. A member of a cluster also writes there which member of which cluster it
//! is, so that a directory that is mounted at the wrong place shows. `CURRENT` names the manifest that
//! counts; it is replaced by renaming, and that rename is the moment in which a new manifest takes
//! over.
//!
//! Not here: writing and replacing them (`manifest.rs`, `open.rs`).

use core::fmt;

use super::format::{FORMAT_VERSION, FormatError, is_zero};
use crate::{
    codec::{self, Reader},
    limits::SEGMENT_ID_MAX,
    types::{NodeId, SegmentId, Uuid},
};

/// What the file is called that says whose a directory is.
pub const NODE: &str = "NODE";
/// What the file is called that names the manifest in force.
pub const CURRENT: &str = "CURRENT";
/// The length of both files.
pub const IDENTITY_BYTES: usize = 64;
/// `89 4B 56 4E`.
pub const NODE_MAGIC: u32 = 0x4e56_4b89;
/// `89 4B 56 43`.
pub const CURRENT_MAGIC: u32 = 0x4356_4b89;

/// Whose directory this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// The directory itself.
    pub node: Uuid,
    /// The member of a cluster that it belongs to; a lone store's belongs to none.
    pub owner: Option<Owner>,
}

/// A member of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster, as it was founded. Kept when its members change, so it is not compared.
    pub cluster: Uuid,
    /// What stands for what never changes in a cluster: its name, and how many groups it has.
    pub name: u64,
    /// The member's number; never 0.
    pub number: NodeId,
}

impl Owner {
    /// Whether a directory of that owner is one of ours.
    pub(super) fn is_of(&self, found: &Self) -> bool {
        self.name == found.name && self.number == found.number
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, name, number } = self;
        write!(f, "node {number} of cluster {cluster} (name {name:016x})")
    }
}

/// Which manifest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentFile {
    /// Its number.
    pub manifest: SegmentId,
    /// Its incarnation.
    pub uuid: Uuid,
    /// How long its file is.
    pub bytes: u64,
}

fn front(magic: u32) -> [u8; IDENTITY_BYTES] {
    let mut out = [0; IDENTITY_BYTES];
    out[0..4].copy_from_slice(&magic.to_le_bytes());
    out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out
}

fn close(mut out: [u8; IDENTITY_BYTES]) -> [u8; IDENTITY_BYTES] {
    let crc = codec::crc(0, &out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn open(bytes: &[u8], magic: u32) -> Result<Reader<'_>, FormatError> {
    let front = bytes.get(..IDENTITY_BYTES).ok_or(FormatError::Truncated)?;
    let mut reader = Reader::new(front);
    if reader.u32()? != magic {
        return Err(FormatError::NotOurs);
    }
    if reader.u32()? != codec::crc(0, &front[8..]) {
        return Err(FormatError::Checksum);
    }
    let format = reader.u16()?;
    if format > FORMAT_VERSION {
        return Err(FormatError::Newer { found: format });
    }
    if format == 0 || reader.take(6)? != [0; 6] || bytes.len() != IDENTITY_BYTES {
        return Err(FormatError::Field("reserved"));
    }
    Ok(reader)
}

impl NodeFile {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut out = front(NODE_MAGIC);
        out[16..32].copy_from_slice(&self.node.0);
        if let Some(Owner { cluster, name, number }) = self.owner {
            out[32..48].copy_from_slice(&cluster.0);
            out[48..56].copy_from_slice(&number.0.to_le_bytes());
            out[56..64].copy_from_slice(&name.to_le_bytes());
        }
        close(out)
    }

    /// Reads a `NODE` file.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = open(bytes, NODE_MAGIC)?;
        let node = Uuid(reader.array()?);
        if is_zero(reader.rest()) {
            return Ok(Self { node, owner: None });
        }
        let cluster = Uuid(reader.array()?);
        let (number, name) = (NodeId(reader.u64()?), reader.u64()?);
        if number == NodeId(0) {
            return Err(FormatError::Field("number"));
        }
        Ok(Self { node, owner: Some(Owner { cluster, name, number }) })
    }
}

impl CurrentFile {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut out = front(CURRENT_MAGIC);
        out[16..20].copy_from_slice(&self.manifest.0.to_le_bytes());
        out[24..40].copy_from_slice(&self.uuid.0);
        out[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        close(out)
    }

    /// Reads a `CURRENT` file.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = open(bytes, CURRENT_MAGIC)?;
        let (manifest, gap) = (SegmentId(reader.u32()?), reader.u32()?);
        let (uuid, bytes) = (Uuid(reader.array()?), reader.u64()?);
        if gap != 0 || !is_zero(reader.rest()) {
            return Err(FormatError::Field("reserved"));
        }
        if manifest.0 > SEGMENT_ID_MAX {
            return Err(FormatError::Field("manifest"));
        }
        Ok(Self { manifest, uuid, bytes })
    }
}
