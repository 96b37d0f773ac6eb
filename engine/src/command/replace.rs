//! Replacing a node: what an operator asks every node, and what each knows of it.
//!
//! ```text
//! replace    node 8 │ directory?
//! replacing  groups 4 │ is member 1 │ is up 1 │ shown? │ count 4 │ led …
//! shown      directory 16 │ is known 1
//! led        group 4 │ seat 16 │ stage 1
//! ```
//! Without a directory it is a question and changes nothing. With one, the node takes the next step
//! in each group that it leads. So everybody is asked again and again, and each answer is a part of
//! the whole: leaders say how far their groups are, members whom they have seen.
//!
//! Not here: the steps (`shard/members.rs`), who asks and puts the answers together
//! (`trilith-net`, `client/replace.rs`).

use super::bytes::{Read, take_bool, take_count};
use crate::{
    codec::Reader,
    journal::format::FormatError,
    limits::REPLACING_GROUPS_MAX,
    types::{GroupId, NodeId, Uuid},
};
use alloc::vec::Vec;
use bytes::{BufMut, BytesMut};

/// The replicas of a node are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replace {
    /// Whose.
    pub node: NodeId,
    /// By new ones in this directory; nothing is done without one.
    pub directory: Option<Uuid>,
}

/// How that is, as far as one node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacing {
    /// How many groups there are.
    pub groups: u32,
    /// Whether the node that was named belongs to the cluster.
    pub is_member: bool,
    /// Whether it answers.
    pub is_up: bool,
    /// How it showed itself last; or else the directory that counts.
    pub shown: Option<Shown>,
    /// The groups that the node which answers leads.
    pub led: Vec<Led>,
}

/// A node came with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub directory: Uuid,
    /// Whether that is the one that counts; otherwise the node was refused.
    pub is_known: bool,
}

/// What a group has on the node that is replaced, as its leader has applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// Which group.
    pub group: GroupId,
    /// In which directory its newest replica there is; zeros for the one that founded it.
    pub seat: Uuid,
    /// How far that one is.
    pub stage: Stage,
}

/// The bytes of a [`Led`].
const LED_BYTES: usize = 21;

/// How far a group's newest replica on a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Absent,
    /// It is brought up to date, and has no vote.
    Learns,
    /// It has, and the change that gave it one is not over.
    Changes,
    /// It votes, and is the group's only one on that node.
    Settled,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Absent, Self::Learns, Self::Changes, Self::Settled];
}

impl Replace {
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.node.0);
        out.put_u8(u8::from(self.directory.is_some()));
        if let Some(directory) = self.directory {
            out.put_slice(&directory.0);
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Read<Self> {
        let node = NodeId(reader.u64()?);
        let is_given = take_bool(reader, "directory")?;
        let directory = if is_given { Some(Uuid(reader.array()?)) } else { None };
        Ok(Self { node, directory })
    }
}

impl Replacing {
    pub(super) fn put(&self, out: &mut BytesMut) {
        assert!(self.led.len() <= REPLACING_GROUPS_MAX, "a cluster has no more groups than slots");
        out.put_u32_le(self.groups);
        out.put_slice(&[self.is_member, self.is_up, self.shown.is_some()].map(u8::from));
        if let Some(shown) = &self.shown {
            out.put_slice(&shown.directory.0);
            out.put_u8(u8::from(shown.is_known));
        }
        out.put_u32_le(self.led.len() as u32);
        for led in &self.led {
            out.put_u32_le(led.group.0);
            out.put_slice(&led.seat.0);
            out.put_u8(led.stage as u8);
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Read<Self> {
        let groups = reader.u32()?;
        let (is_member, is_up) = (take_bool(reader, "member")?, take_bool(reader, "up")?);
        let shown = if take_bool(reader, "shown")? {
            let (directory, is_known) = (Uuid(reader.array()?), take_bool(reader, "known")?);
            Some(Shown { directory, is_known })
        } else {
            None
        };
        let count = take_count(reader, REPLACING_GROUPS_MAX, LED_BYTES)?;
        let led = (0..count).map(|_| {
            let (group, seat) = (GroupId(reader.u32()?), Uuid(reader.array()?));
            let stage = Stage::ALL.get(usize::from(reader.u8()?)).copied();
            Ok(Led { group, seat, stage: stage.ok_or(FormatError::Field("stage"))? })
        });
        let led = led.collect::<Read<Vec<Led>>>()?;
        Ok(Self { groups, is_member, is_up, shown, led })
    }
}
