//! The bytes of a backup: what each of its files holds, and how each byte of it is checked.
//!
//! ```text
//!   MANIFEST    manifest                          written last: without it there is no backup
//!   group-N     head │ records … records │ end    one file for each group
//!
//!   block       kind 1 │ zeros 3 │ length 4 │ body crc 4 │ own crc 4 │ body
//!   head        magic 8 │ version 2 │ group facts
//!   records     (key length 2 │ value length 4 │ version 8 │ expires? 1 │ [ms 8] │ key │ value) …
//!   end         records 8 │ blocks 8
//!   manifest    magic 8 │ version 2 │ backup 16 │ cluster 16 │ began ms 8 │ ended ms 8
//!               │ groups 4 │ (group facts │ records 8 │ bytes 8 │ crc 4) …
//!   group facts backup 16 │ group 4 │ groups 4 │ applied 8 │ stamp 8
//! ```
//! Every block checks its first bytes and its body apart, so a damaged length is known before it is
//! believed. The checksums begin from a seed that is made of the backup, the group and the number
//! of the block: a block that stands in another place, or comes from another backup, never verifies.
//! Keys rise through a file. The manifest names how long each file is and the checksum over the
//! checksums of its blocks, so a file that was cut at the end of a block is not taken for whole.
//!
//! Invariants: whatever is read was written, in this place of this backup, or it is an error that
//! names the offset; no length is believed that its own checksum has not confirmed.
//!
//! Not here: directories and disks (`shelf.rs`), clusters (`create.rs`, `restore.rs`).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use trilith_engine::{
    codec::{Reader, crc},
    limits::{KEY_BYTES_MAX, SHARD_GROUPS_MAX, VALUE_BYTES_MAX_CLUSTER},
    planted,
    types::{GroupId, Stamp, Uuid, Version},
};

/// The name of the manifest.
pub const MANIFEST: &str = "MANIFEST";
/// Under which name it is written.
pub const MANIFEST_NEW: &str = "MANIFEST.new";
/// The version of the format that is written and read here.
pub const FORMAT: u16 = 1;
/// What stands before the body of a block.
pub const BLOCK_HEAD_BYTES: usize = 16;
/// A block of records is closed with the record that makes it so long.
pub const BLOCK_BYTES: usize = 256 << 10;

const MAGIC_GROUP: &[u8; 8] = b"TRILBAKG";
const MAGIC_MANIFEST: &[u8; 8] = b"TRILBAKM";
/// Whether a file that begins so was written for a backup.
#[must_use]
pub fn is_of_backup(front: &[u8]) -> bool {
    let magic = front.get(BLOCK_HEAD_BYTES..BLOCK_HEAD_BYTES + MAGIC_GROUP.len());
    magic.is_some_and(|magic| magic == MAGIC_GROUP || magic == MAGIC_MANIFEST)
}

/// A record without its key and value, and with an expiry.
const RECORD_BYTES: usize = 23;
/// A manifest's line of a group.
const LINE_BYTES: usize = FACTS_BYTES + 20;
const FACTS_BYTES: usize = 40;
/// The longest body: a block that was almost full, and the largest record behind it; a manifest of
/// the most groups is shorter.
const BODY_BYTES_MAX: usize = BLOCK_BYTES + RECORD_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX_CLUSTER;
/// The longest manifest.
pub const MANIFEST_BYTES_MAX: usize = BLOCK_HEAD_BYTES + 62 + SHARD_GROUPS_MAX * LINE_BYTES;

/// The file of a group.
#[must_use]
pub fn file_of(group: GroupId) -> String {
    format!("group-{group}")
}

/// What is wrong with bytes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends too early.
    Short,
    /// The first bytes of a block do not verify.
    Head,
    /// A block's body does not verify.
    Body,
    /// A block stands where none of its kind may be.
    Order,
    /// A field is not what it can be.
    Field(&'static str),
    /// Another version of the format.
    Format(u16),
    /// A key is not behind the one before it.
    Keys,
    /// Something follows the end.
    Tail,
    /// It is not what the manifest says.
    Manifest(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the file ends too early"),
            Self::Head => f.write_str("the first bytes of a block are damaged"),
            Self::Body => f.write_str("the bytes of a block are damaged"),
            Self::Order => f.write_str("a block is of a kind that cannot be there"),
            Self::Field(field) => write!(f, "its {field} cannot be"),
            Self::Format(format) => {
                write!(f, "it is of format {format}, and this program reads {FORMAT}")
            }
            Self::Keys => f.write_str("a key is not behind the one before it"),
            Self::Tail => f.write_str("something follows the end"),
            Self::Manifest(what) => write!(f, "its {what} is not what the manifest says"),
        }
    }
}

impl std::error::Error for Damage {}

impl From<trilith_engine::codec::Truncated> for Damage {
    fn from(_: trilith_engine::codec::Truncated) -> Self {
        Self::Field("length")
    }
}

type Read<T> = Result<T, Damage>;

/// A key and what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The version that it had. For whoever looks: it is not restored.
    pub version: Version,
    /// Until when it counts, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// A group, as it was at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which backup.
    pub backup: Uuid,
    /// Which group.
    pub group: GroupId,
    /// Over how many groups the slots were split.
    pub groups: u32,
    /// Its moment: everything up to this version is there, and nothing behind it.
    pub applied: Version,
    /// The group's time at that moment.
    pub stamp: Stamp,
}

impl Facts {
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(&self.backup.0);
        out.put_u32_le(self.group.0);
        out.put_u32_le(self.groups);
        out.put_u64_le(self.applied.0);
        out.put_u64_le(self.stamp.0);
    }

    fn take(reader: &mut Reader<'_>) -> Read<Self> {
        let backup = Uuid(reader.array()?);
        let (group, groups) = (GroupId(reader.u32()?), reader.u32()?);
        let (applied, stamp) = (Version(reader.u64()?), Stamp(reader.u64()?));
        // No group at all is none of these either.
        if group.0 == 0 || group.0 > groups || groups as usize > SHARD_GROUPS_MAX {
            return Err(Damage::Field("group"));
        }
        Ok(Self { backup, group, groups, applied, stamp })
    }
}

/// What the manifest says of a group's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The group.
    pub facts: Facts,
    /// How many records there are.
    pub records: u64,
    /// How long the file is.
    pub bytes: u64,
    /// The checksum over those of its blocks.
    pub crc: u32,
}

/// What says that a backup is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Which backup.
    pub backup: Uuid,
    /// Of which cluster.
    pub cluster: Uuid,
    /// When it began and ended, by the clock of who made it.
    pub began_ms: u64,
    /// The same.
    pub ended_ms: u64,
    /// Its groups, from 1 on.
    pub lines: Vec<Line>,
}

/// The kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head = 1,
    Records = 2,
    End = 3,
    Manifest = 4,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::Records,
            3 => Self::End,
            4 => Self::Manifest,
            _ => return None,
        })
    }
}

/// Where a block stands: its checksums begin from this.
fn seed(backup: Uuid, group: GroupId, number: u64) -> u32 {
    let place = crc(crc(0, &backup.0), &group.0.to_le_bytes());
    crc(place, &number.to_le_bytes())
}

fn put_block(out: &mut BytesMut, seed: u32, kind: Kind, body: &[u8]) -> u32 {
    assert!(body.len() <= BODY_BYTES_MAX, "a block within the limits");
    let mut head = [0; 12];
    head[0] = kind as u8;
    head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let sum = crc(seed, body);
    head[8..].copy_from_slice(&sum.to_le_bytes());
    let own = crc(seed, &head);
    out.put_slice(&head);
    out.put_u32_le(own);
    out.put_slice(body);
    sum
}

/// The first bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockHead {
    kind: Kind,
    len: usize,
    sum: u32,
}

impl BlockHead {
    fn take(bytes: &[u8], seed: u32) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let head = reader.take(12)?;
        if reader.u32()? != crc(seed, head) {
            return Err(Damage::Head);
        }
        let mut reader = Reader::new(head);
        let kind = Kind::of(reader.u8()?).ok_or(Damage::Field("kind"))?;
        if reader.array::<3>()? != [0; 3] {
            return Err(Damage::Field("kind"));
        }
        let (len, sum) = (reader.u32()? as usize, reader.u32()?);
        if len > BODY_BYTES_MAX {
            return Err(Damage::Field("length"));
        }
        Ok(Self { kind, len, sum })
    }

    fn check(&self, body: &[u8], seed: u32) -> Read<()> {
        let is_whole = crc(seed, body) == self.sum || planted!("backup_bodies_are_believed");
        if is_whole { Ok(()) } else { Err(Damage::Body) }
    }
}

/// Makes a group's file.
#[derive(Debug)]
pub struct Writer {
    facts: Facts,
    number: u64,
    crc: u32,
    records: u64,
    bytes: u64,
    body: BytesMut,
    done: BytesMut,
    last: Option<Bytes>,
}

impl Writer {
    /// A file of this group.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let (body, done) = (BytesMut::new(), BytesMut::new());
        let mut writer =
            Self { facts, number: 0, crc: 0, records: 0, bytes: 0, body, done, last: None };
        writer.body.put_slice(MAGIC_GROUP);
        writer.body.put_u16_le(FORMAT);
        facts.put(&mut writer.body);
        writer.close(Kind::Head);
        writer
    }

    fn close(&mut self, kind: Kind) {
        let seed = seed(self.facts.backup, self.facts.group, self.number);
        let body = self.body.split();
        let sum = put_block(&mut self.done, seed, kind, &body);
        self.crc = crc(self.crc, &sum.to_le_bytes());
        self.number += 1;
    }

    /// One more record, behind the last one.
    ///
    /// # Errors
    /// That its key is not behind the last one, or that it is beyond the limits of keys and values.
    pub fn push(&mut self, record: &Record) -> Read<()> {
        let Record { key, value, version, expires_ms } = record;
        if self.last.as_ref().is_some_and(|last| last >= key) {
            return Err(Damage::Keys);
        }
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX_CLUSTER {
            return Err(Damage::Field("length"));
        }
        self.body.put_u16_le(key.len() as u16);
        self.body.put_u32_le(value.len() as u32);
        self.body.put_u64_le(version.0);
        self.body.put_u8(u8::from(expires_ms.is_some()));
        if let Some(ms) = expires_ms {
            self.body.put_u64_le(*ms);
        }
        self.body.put_slice(key);
        self.body.put_slice(value);
        self.last = Some(key.clone());
        self.records += 1;
        if self.body.len() >= BLOCK_BYTES {
            self.close(Kind::Records);
        }
        Ok(())
    }

    /// How many records there are by now.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// What is to be written next; empty as long as no block is full.
    pub fn take(&mut self) -> Bytes {
        self.bytes += self.done.len() as u64;
        self.done.split().freeze()
    }

    /// The last bytes, and what the manifest is to say.
    #[must_use]
    pub fn finish(mut self) -> (Bytes, Line) {
        if !self.body.is_empty() {
            self.close(Kind::Records);
        }
        self.body.put_u64_le(self.records);
        self.body.put_u64_le(self.number);
        self.close(Kind::End);
        let rest = self.take();
        let Self { facts, records, bytes, crc, .. } = self;
        (rest, Line { facts, records, bytes, crc })
    }
}

/// Reads a group's file, a piece at a time: whoever has the bytes is told how many are needed.
#[derive(Debug)]
pub struct Scanner {
    line: Line,
    offset: u64,
    number: u64,
    crc: u32,
    records: u64,
    head: Option<BlockHead>,
    last: Option<Bytes>,
    is_over: bool,
}

impl Scanner {
    /// Of the file of which the manifest says this.
    #[must_use]
    pub const fn new(line: Line) -> Self {
        let (head, last) = (None, None);
        Self { line, offset: 0, number: 0, crc: 0, records: 0, head, last, is_over: false }
    }

    /// Where in the file the next bytes lie, and how many are needed; `None` when it is over.
    #[must_use]
    pub fn wants(&self) -> Option<(u64, usize)> {
        let bytes = self.head.map_or(BLOCK_HEAD_BYTES, |head| head.len);
        (!self.is_over).then_some((self.offset, bytes))
    }

    /// Takes those bytes. Answers the records in them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn take(&mut self, bytes: &Bytes) -> Read<Vec<Record>> {
        let wanted = self.wants().map_or(0, |(_, bytes)| bytes);
        if bytes.len() != wanted {
            return Err(Damage::Short);
        }
        let seed = seed(self.line.facts.backup, self.line.facts.group, self.number);
        let Some(head) = self.head.take() else {
            let head = BlockHead::take(bytes, seed)?;
            let is_in_order = match head.kind {
                Kind::Head => self.number == 0,
                Kind::Records | Kind::End => self.number > 0,
                Kind::Manifest => false,
            };
            if !is_in_order {
                return Err(Damage::Order);
            }
            self.offset += bytes.len() as u64;
            self.head = Some(head);
            return Ok(Vec::new());
        };
        head.check(bytes, seed)?;
        let records = match head.kind {
            Kind::Head => self.take_head(bytes).map(|()| Vec::new())?,
            Kind::Records => self.take_records(bytes)?,
            Kind::End | Kind::Manifest => self.take_end(bytes).map(|()| Vec::new())?,
        };
        self.offset += bytes.len() as u64;
        self.crc = crc(self.crc, &head.sum.to_le_bytes());
        self.number += 1;
        if self.is_over {
            self.agree()?;
        }
        Ok(records)
    }

    fn take_head(&self, body: &[u8]) -> Read<()> {
        let mut reader = Reader::new(body);
        if &reader.array::<8>()? != MAGIC_GROUP {
            return Err(Damage::Field("magic"));
        }
        take_format(&mut reader)?;
        let facts = Facts::take(&mut reader)?;
        if facts != self.line.facts {
            return Err(Damage::Manifest("group"));
        }
        finish(&reader)
    }

    fn take_records(&mut self, body: &Bytes) -> Read<Vec<Record>> {
        let mut reader = Reader::new(body);
        let mut records = Vec::new();
        while !reader.rest().is_empty() {
            let key_len = usize::from(reader.u16()?);
            let value_len = reader.u32()? as usize;
            let version = Version(reader.u64()?);
            let expires_ms = match reader.u8()? {
                0 => None,
                1 => Some(reader.u64()?),
                _ => return Err(Damage::Field("expiry")),
            };
            if value_len > VALUE_BYTES_MAX_CLUSTER {
                return Err(Damage::Field("value"));
            }
            let key = body.slice_ref(reader.take(key_len)?);
            let value = body.slice_ref(reader.take(value_len)?);
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return Err(Damage::Keys);
            }
            self.last = Some(key.clone());
            records.push(Record { key, value, version, expires_ms });
        }
        // A key that is kept would keep its block.
        self.last = self.last.take().map(|last| Bytes::copy_from_slice(&last));
        self.records += records.len() as u64;
        Ok(records)
    }

    fn take_end(&mut self, body: &[u8]) -> Read<()> {
        let mut reader = Reader::new(body);
        let (records, blocks) = (reader.u64()?, reader.u64()?);
        if records != self.records || blocks != self.number {
            return Err(Damage::Field("end"));
        }
        self.is_over = true;
        finish(&reader)
    }

    /// Whether all of it is what the manifest says.
    const fn agree(&self) -> Read<()> {
        if self.records != self.line.records {
            return Err(Damage::Manifest("number of records"));
        }
        if self.crc != self.line.crc {
            return Err(Damage::Manifest("checksum"));
        }
        if self.offset != self.line.bytes {
            return Err(Damage::Manifest("length"));
        }
        Ok(())
    }

    /// What is wrong with a file that is so long.
    ///
    /// # Errors
    /// That it is too long or too short.
    pub const fn check_len(&self, bytes: u64) -> Read<()> {
        if bytes < self.line.bytes {
            return Err(Damage::Short);
        }
        if bytes > self.line.bytes {
            return Err(Damage::Tail);
        }
        Ok(())
    }
}

impl Manifest {
    /// Its bytes.
    ///
    /// # Panics
    /// When its lines are not of the groups from 1 on, of this backup.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let count = self.lines.len() as u32;
        for (line, nth) in self.lines.iter().zip(1..) {
            let Facts { backup, group, groups, .. } = line.facts;
            assert!(group.0 == nth && groups == count && backup == self.backup, "its groups");
        }
        let mut body = BytesMut::new();
        body.put_slice(MAGIC_MANIFEST);
        body.put_u16_le(FORMAT);
        body.put_slice(&self.backup.0);
        body.put_slice(&self.cluster.0);
        body.put_u64_le(self.began_ms);
        body.put_u64_le(self.ended_ms);
        body.put_u32_le(count);
        for line in &self.lines {
            line.facts.put(&mut body);
            body.put_u64_le(line.records);
            body.put_u64_le(line.bytes);
            body.put_u32_le(line.crc);
        }
        let mut out = BytesMut::new();
        put_block(&mut out, seed(Uuid::default(), GroupId(0), 0), Kind::Manifest, &body);
        out.freeze()
    }

    /// Reads it, which must be all of the bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Read<Self> {
        let seed = seed(Uuid::default(), GroupId(0), 0);
        let (head, body) = bytes.split_at_checked(BLOCK_HEAD_BYTES).ok_or(Damage::Short)?;
        let head = BlockHead::take(head, seed)?;
        if head.kind != Kind::Manifest {
            return Err(Damage::Order);
        }
        if body.len() != head.len {
            return Err(if body.len() < head.len { Damage::Short } else { Damage::Tail });
        }
        head.check(body, seed)?;
        let mut reader = Reader::new(body);
        if &reader.array::<8>()? != MAGIC_MANIFEST {
            return Err(Damage::Field("magic"));
        }
        take_format(&mut reader)?;
        let (backup, cluster) = (Uuid(reader.array()?), Uuid(reader.array()?));
        let (began_ms, ended_ms) = (reader.u64()?, reader.u64()?);
        let count = reader.u32()?;
        if count == 0 {
            return Err(Damage::Field("number of groups"));
        }
        if reader.rest().len() != count as usize * LINE_BYTES {
            return Err(Damage::Field("length"));
        }
        let mut lines = Vec::with_capacity(count as usize);
        for nth in 1..=count {
            let facts = Facts::take(&mut reader)?;
            if facts.backup != backup || facts.group.0 != nth || facts.groups != count {
                return Err(Damage::Field("group"));
            }
            let (records, bytes, crc) = (reader.u64()?, reader.u64()?, reader.u32()?);
            lines.push(Line { facts, records, bytes, crc });
        }
        finish(&reader)?;
        Ok(Self { backup, cluster, began_ms, ended_ms, lines })
    }
}

fn take_format(reader: &mut Reader<'_>) -> Read<()> {
    match reader.u16()? {
        FORMAT => Ok(()),
        other => Err(Damage::Format(other)),
    }
}

fn finish(reader: &Reader<'_>) -> Read<()> {
    if reader.rest().is_empty() { Ok(()) } else { Err(Damage::Field("length")) }
}

#[cfg(test)]
mod tests;
