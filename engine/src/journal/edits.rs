//! What a manifest says: the changes it records and the state they add up to. Pure.
//!
//! A manifest is a segment of kind `M`: the same header, frames and checksums as the journal, so
//! the same walk tells its torn tail from rot. One frame is one atomic edit; each of its records
//! is one change. The first frame is the whole state, written as the changes that lead to it.
//!
//! Invariants: a change that does not fit the state is an error, never a silent repair; segment
//! numbers are never given out twice; the floor of LSNs never falls, also when every segment is
//! gone; a dropped group never comes back; a store that was given up stays so.
//!
//! Not here: the files (`manifest.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::format::{FormatError, SEGMENT_HEADER_BYTES, SegmentKind};
use crate::{
    codec::Reader,
    limits,
    types::{GroupId, Index, Lsn, NodeId, SegmentId, Uuid},
};

/// Where a sealed segment's footer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterRef {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What is known of a segment to which nothing is added any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The LSN of its first record.
    pub base_lsn: Lsn,
    /// The LSN of its last one; below `base_lsn` when it has none.
    pub last_lsn: Lsn,
    /// Where its frames end. What lies behind is a footer, zeros, or was cut.
    pub frames_end: u64,
    /// The checksum of its last frame's header.
    pub last_crc: u32,
    /// Its footer; without one, opening walks the frames.
    pub footer: Option<FooterRef>,
    /// Ranges of LSNs whose loss was accepted.
    pub lost: Vec<(Lsn, Lsn)>,
}

/// A segment as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub id: SegmentId,
    /// Its incarnation: what its frames' checksums are seeded with.
    pub uuid: Uuid,
    /// Journal or data.
    pub kind: SegmentKind,
    /// How long its file is.
    pub bytes: u64,
    /// Present once nothing is added to it any more.
    pub sealed: Option<Sealed>,
}

/// What is known of another member's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its uuid.
    pub directory: Uuid,
    /// Whether a change of members put it in the place of another, and it founds nothing.
    pub is_seated: bool,
}

/// One change of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A journal segment is prepared: zeroed, durable, and may be written to without a further
    /// change.
    Prepare {
        /// Its number.
        id: SegmentId,
        /// Its incarnation.
        uuid: Uuid,
        /// Its size.
        bytes: u64,
    },
    /// A journal segment is sealed, or sealed again with a footer.
    Seal {
        /// Its number.
        id: SegmentId,
        /// How long its file is now.
        bytes: u64,
        /// What is known of it.
        sealed: Sealed,
    },
    /// A data segment is there, whole and durable.
    AddData {
        /// Its number.
        id: SegmentId,
        /// Its incarnation.
        uuid: Uuid,
        /// Its size.
        bytes: u64,
        /// What is known of it.
        sealed: Sealed,
    },
    /// A segment is no longer part of the store.
    Drop {
        /// Its number.
        id: SegmentId,
    },
    /// A group lives here.
    AddGroup {
        /// The group.
        group: GroupId,
    },
    /// A group is gone for good; its bytes are garbage.
    DropGroup {
        /// The group.
        group: GroupId,
    },
    /// Numbers below these are used up.
    Floor {
        /// The next segment's number.
        next_segment: SegmentId,
        /// The highest LSN ever durable in a segment that was dropped.
        lsn: Lsn,
    },
    /// That member of the cluster keeps its data in that directory, whatever was known before.
    Peer {
        /// The member.
        node: NodeId,
        /// What is known.
        peer: Peer,
    },
    /// What this store holds of a group is not what others hold, behind that entry: it is given up,
    /// and nobody serves from it any more.
    GiveUp {
        /// The group.
        group: GroupId,
        /// The entry.
        at: Index,
    },
    /// The store was closed in order: prepared segments are known to be blank.
    Closed,
}

impl Change {
    /// Its bytes: the value of a manifest record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        match self {
            Self::Prepare { id, uuid, bytes } => {
                out.push(1);
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&uuid.0);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Seal { id, bytes, sealed } => {
                out.push(2);
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
                sealed.encode(&mut out);
            }
            Self::AddData { id, uuid, bytes, sealed } => {
                out.push(3);
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&uuid.0);
                out.extend_from_slice(&bytes.to_le_bytes());
                sealed.encode(&mut out);
            }
            Self::Drop { id } => {
                out.push(4);
                out.extend_from_slice(&id.0.to_le_bytes());
            }
            Self::AddGroup { group } => {
                out.push(5);
                out.extend_from_slice(&group.0.to_le_bytes());
            }
            Self::DropGroup { group } => {
                out.push(6);
                out.extend_from_slice(&group.0.to_le_bytes());
            }
            Self::Floor { next_segment, lsn } => {
                out.push(7);
                out.extend_from_slice(&next_segment.0.to_le_bytes());
                out.extend_from_slice(&lsn.0.to_le_bytes());
            }
            Self::Closed => out.push(8),
            Self::GiveUp { group, at } => {
                out.push(10);
                out.extend_from_slice(&group.0.to_le_bytes());
                out.extend_from_slice(&at.0.to_le_bytes());
            }
            Self::Peer { node, peer: Peer { directory, is_seated } } => {
                out.push(9);
                out.extend_from_slice(&node.0.to_le_bytes());
                out.extend_from_slice(&directory.0);
                out.push(u8::from(*is_seated));
            }
        }
        out
    }

    /// Reads a manifest record's value.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let change = match reader.u8()? {
            1 => Self::Prepare {
                id: segment_id(&mut reader)?,
                uuid: Uuid(reader.array()?),
                bytes: file_bytes(&mut reader)?,
            },
            2 => Self::Seal {
                id: segment_id(&mut reader)?,
                bytes: file_bytes(&mut reader)?,
                sealed: Sealed::decode(&mut reader)?,
            },
            3 => Self::AddData {
                id: segment_id(&mut reader)?,
                uuid: Uuid(reader.array()?),
                bytes: file_bytes(&mut reader)?,
                sealed: Sealed::decode(&mut reader)?,
            },
            4 => Self::Drop { id: segment_id(&mut reader)? },
            5 => Self::AddGroup { group: GroupId(reader.u32()?) },
            6 => Self::DropGroup { group: GroupId(reader.u32()?) },
            7 => Self::Floor { next_segment: segment_id(&mut reader)?, lsn: floor(&mut reader)? },
            8 => Self::Closed,
            9 => {
                let (node, directory) = (NodeId(reader.u64()?), Uuid(reader.array()?));
                let is_seated = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(FormatError::Field("seated")),
                };
                Self::Peer { node, peer: Peer { directory, is_seated } }
            }
            10 => Self::GiveUp { group: GroupId(reader.u32()?), at: Index(reader.u64()?) },
            _ => return Err(FormatError::Field("change")),
        };
        if reader.rest().is_empty() { Ok(change) } else { Err(FormatError::Field("change length")) }
    }
}

fn segment_id(reader: &mut Reader<'_>) -> Result<SegmentId, FormatError> {
    let id = reader.u32()?;
    if id <= limits::SEGMENT_ID_MAX { Ok(SegmentId(id)) } else { Err(FormatError::Field("id")) }
}

fn floor(reader: &mut Reader<'_>) -> Result<Lsn, FormatError> {
    let lsn = reader.u64()?;
    if lsn <= limits::LSN_MAX { Ok(Lsn(lsn)) } else { Err(FormatError::Field("floor")) }
}

fn file_bytes(reader: &mut Reader<'_>) -> Result<u64, FormatError> {
    let bytes = reader.u64()?;
    let possible = SEGMENT_HEADER_BYTES as u64..=limits::SEGMENT_FILE_BYTES_MAX;
    if possible.contains(&bytes) { Ok(bytes) } else { Err(FormatError::Field("file bytes")) }
}

impl Sealed {
    /// Whether the loss of all these records was accepted.
    pub(super) fn has_lost(&self, first: Lsn, last: Lsn) -> bool {
        self.lost.iter().any(|(from, to)| *from <= first && last <= *to)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.last_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.frames_end.to_le_bytes());
        out.extend_from_slice(&self.last_crc.to_le_bytes());
        let footer = self.footer.unwrap_or(FooterRef { offset: 0, bytes: 0 });
        out.extend_from_slice(&footer.offset.to_le_bytes());
        out.extend_from_slice(&footer.bytes.to_le_bytes());
        out.extend_from_slice(&(self.lost.len() as u32).to_le_bytes());
        for (first, last) in &self.lost {
            out.extend_from_slice(&first.0.to_le_bytes());
            out.extend_from_slice(&last.0.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (base_lsn, last_lsn) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
        let (frames_end, last_crc) = (reader.u64()?, reader.u32()?);
        let (offset, bytes) = (reader.u64()?, reader.u64()?);
        let footer = match (offset, bytes) {
            (0, 0) => None,
            (_, 0) => return Err(FormatError::Field("footer")),
            (offset, bytes) => Some(FooterRef { offset, bytes }),
        };
        let mut lost = Vec::new();
        for _ in 0..reader.u32()? {
            let (first, last) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
            if first > last {
                return Err(FormatError::Field("lost"));
            }
            lost.push((first, last));
        }
        if base_lsn.0 == 0 || last_lsn.0 > limits::LSN_MAX || last_lsn.0 + 1 < base_lsn.0 {
            return Err(FormatError::Field("last_lsn"));
        }
        let frames = SEGMENT_HEADER_BYTES as u64..=limits::SEGMENT_FILE_BYTES_MAX;
        let footer_fits = footer.is_none_or(|footer| {
            footer.offset >= frames_end
                && footer.bytes <= limits::SEGMENT_FILE_BYTES_MAX
                && footer.offset <= limits::SEGMENT_FILE_BYTES_MAX
        });
        if !frames.contains(&frames_end) || !footer_fits {
            return Err(FormatError::Field("frames_end"));
        }
        Ok(Self { base_lsn, last_lsn, frames_end, last_crc, footer, lost })
    }
}

/// Why a change does not fit the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit(pub &'static str);

/// What all changes so far add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestState {
    /// Every segment of the store.
    pub segments: BTreeMap<SegmentId, Listed>,
    /// The groups that live here.
    pub groups: BTreeSet<GroupId>,
    /// The groups that are gone for good.
    pub dropped_groups: BTreeSet<GroupId>,
    /// The directories of the other members.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Over which group it was given up, and behind which entry.
    pub given_up: Option<(GroupId, Index)>,
    /// The number of the next segment.
    pub next_segment: SegmentId,
    /// The highest LSN ever durable in a segment that was dropped.
    pub floor_lsn: Lsn,
    /// Whether the store was closed in order and nothing has happened since.
    pub is_closed: bool,
}

impl ManifestState {
    /// Takes a change in.
    ///
    /// # Errors
    /// When it does not fit; the state is as it was.
    pub fn apply(&mut self, change: &Change) -> Result<(), Misfit> {
        self.is_closed = false;
        match change {
            Change::Closed => {
                self.is_closed = true;
                Ok(())
            }
            Change::Prepare { id, uuid, bytes } => self.add(Listed {
                id: *id,
                uuid: *uuid,
                kind: SegmentKind::Journal,
                bytes: *bytes,
                sealed: None,
            }),
            Change::AddData { id, uuid, bytes, sealed } => self.add(Listed {
                id: *id,
                uuid: *uuid,
                kind: SegmentKind::Data,
                bytes: *bytes,
                sealed: Some(sealed.clone()),
            }),
            Change::Seal { id, bytes, sealed } => {
                let listed = self.segments.get_mut(id).ok_or(Misfit("seals an unknown segment"))?;
                // A data segment is sealed from its beginning; sealed again it is when a loss in it
                // was accepted.
                if listed.kind != SegmentKind::Journal && listed.sealed.is_none() {
                    return Err(Misfit("seals a segment that is no journal segment"));
                }
                listed.bytes = *bytes;
                listed.sealed = Some(sealed.clone());
                Ok(())
            }
            Change::Drop { id } => {
                let listed = self.segments.remove(id).ok_or(Misfit("drops an unknown segment"))?;
                if let (SegmentKind::Journal, Some(sealed)) = (listed.kind, listed.sealed) {
                    self.floor_lsn = self.floor_lsn.max(sealed.last_lsn);
                }
                Ok(())
            }
            Change::AddGroup { group } => {
                if self.dropped_groups.contains(group) {
                    return Err(Misfit("adds a group that was dropped"));
                }
                if self.groups.insert(*group) { Ok(()) } else { Err(Misfit("adds a group twice")) }
            }
            Change::DropGroup { group } => {
                self.groups.remove(group);
                self.dropped_groups.insert(*group);
                Ok(())
            }
            Change::Peer { node, peer } => {
                self.peers.insert(*node, *peer);
                Ok(())
            }
            Change::GiveUp { group, at } => {
                self.given_up.get_or_insert((*group, *at));
                Ok(())
            }
            Change::Floor { next_segment, lsn } => {
                if *next_segment < self.next_segment || *lsn < self.floor_lsn {
                    return Err(Misfit("lowers a floor"));
                }
                self.next_segment = *next_segment;
                self.floor_lsn = *lsn;
                Ok(())
            }
        }
    }

    fn add(&mut self, listed: Listed) -> Result<(), Misfit> {
        if self.segments.contains_key(&listed.id) || listed.id.0 == u32::MAX {
            return Err(Misfit("adds a segment twice"));
        }
        self.next_segment = self.next_segment.max(listed.id.next());
        self.segments.insert(listed.id, listed);
        Ok(())
    }

    /// The changes that lead from nothing to this state: the first frame of a manifest.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Change> {
        let floor = Change::Floor { next_segment: self.next_segment, lsn: self.floor_lsn };
        let mut changes = alloc::vec![floor];
        for listed in self.segments.values() {
            let Listed { id, uuid, kind, bytes, sealed } = listed.clone();
            match (kind, sealed) {
                (SegmentKind::Data, sealed) => {
                    let sealed = sealed.unwrap_or_default();
                    changes.push(Change::AddData { id, uuid, bytes, sealed });
                }
                (SegmentKind::Journal | SegmentKind::Manifest, sealed) => {
                    changes.push(Change::Prepare { id, uuid, bytes });
                    changes.extend(sealed.map(|sealed| Change::Seal { id, bytes, sealed }));
                }
            }
        }
        changes.extend(self.groups.iter().map(|group| Change::AddGroup { group: *group }));
        changes.extend(self.dropped_groups.iter().map(|group| Change::DropGroup { group: *group }));
        let peers = self.peers.iter();
        changes.extend(peers.map(|(node, peer)| Change::Peer { node: *node, peer: *peer }));
        changes.extend(self.given_up.map(|(group, at)| Change::GiveUp { group, at }));
        if self.is_closed {
            changes.push(Change::Closed);
        }
        changes
    }

    /// The highest LSN that sealed segments hold or held.
    #[must_use]
    pub fn sealed_lsn(&self) -> Lsn {
        let sealed = self.segments.values().filter(|listed| listed.kind == SegmentKind::Journal);
        let highest =
            sealed.filter_map(|listed| listed.sealed.as_ref()).map(|sealed| sealed.last_lsn);
        highest.max().unwrap_or_default().max(self.floor_lsn)
    }
}
