//! The handshake: who connects, who is reached, and whether the two belong together.
//!
//! ```text
//!   the one who connects                     the one who listens
//!     Hello    versions, cluster, who, whom ──►  compares
//!              ◄── Welcome  version, cluster, who, token
//!     compares
//!     Ready    the token ──────────────────────►  the link is up
//!     or, from either side and at any time: Refusal, why
//! ```
//! Three steps and not two: a Hello may lie in a queue somewhere while its sender has long given up
//! and connected anew. Whoever listens would then take the old connection for the newer one and
//! close the living one. The token comes back only over a connection whose other end is listened
//! to now.
//!
//! Whom one wants to reach stands in the Hello, so that a wrong address is found by the one who was
//! reached by mistake. The directory's uuid stands in it because a node's number is configured by
//! people: two machines with one number are told apart by what they keep their data in.
//!
//! Where the cluster has a secret, both prove between Hello and Welcome that they know it
//! (`proof.rs`).
//!
//! A client's Hello names itself and, if it knows it, the cluster; zeros mean any.
//!
//! The form of these frames never changes (`frame.rs`). A byte that has no meaning yet is not
//! looked at, so that a later version may give it one.
//!
//! Not here: when which of them is sent (`link.rs`, `accept.rs`), secrets (`proof.rs`).

use std::fmt;

use bytes::{BufMut, BytesMut};
use trilith_engine::{
    codec::Reader,
    planted,
    shard::Standing,
    types::{ClientId, NodeId, Uuid},
};

use crate::frame::{self, BadFrame, Frame, Kind, VERSION};

/// The first bytes of whoever wants to speak with trilith.
pub const MAGIC: [u8; 8] = *b"trilith\n";

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: Uuid,
    /// Its number.
    pub node: NodeId,
    /// Its data directory.
    pub directory: Uuid,
}

/// The versions of frames somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl Versions {
    /// Ours.
    pub const OURS: Self = Self { min: VERSION, max: VERSION };

    /// The newest that both speak.
    const fn common(self, other: Self) -> Option<u8> {
        let max = if self.max < other.max { self.max } else { other.max };
        let min = if self.min > other.min { self.min } else { other.min };
        if min <= max { Some(max) } else { None }
    }
}

/// What somebody connects for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To send what one node says to another.
    Peer {
        /// Who.
        who: Identity,
        /// To whom.
        whom: NodeId,
    },
    /// To ask for something.
    Client {
        /// Who.
        client: ClientId,
        /// Which cluster; zeros for any.
        cluster: Uuid,
    },
}

/// The first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the sender speaks.
    pub versions: Versions,
    /// What for.
    pub purpose: Purpose,
}

/// The answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What is spoken from now on.
    pub version: u8,
    /// What the one who greets is taken for.
    pub standing: Standing,
    /// Who was reached.
    pub who: Identity,
    /// To be said again in [`Ready`].
    pub token: u64,
}

/// The answer to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The welcome's.
    pub token: u64,
}

/// Why two do not belong together. "We" is the one who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// We speak no version that you speak.
    Version(Versions),
    /// We belong to another cluster.
    AlienCluster {
        /// Ours.
        cluster: Uuid,
    },
    /// You want to reach another node, or you are not the one we want to reach.
    WrongNode {
        /// Who we are, or whom we want.
        node: NodeId,
    },
    /// Somebody with your number and another data directory is there.
    TwoNodesWithOneId {
        /// The number.
        node: NodeId,
        /// The directory of the other.
        directory: Uuid,
    },
    /// You are we: an address in the list of members is our own.
    Oneself,
    /// Nobody of that number is a member.
    Stranger {
        /// Your number.
        node: NodeId,
    },
    /// What you sent is no frame, or has no place there.
    Garbage,
    /// You said nothing for too long.
    Silent,
    /// Your number belongs to another data directory, whoever has it now.
    OtherDirectory {
        /// The number.
        node: NodeId,
        /// The directory that we know.
        directory: Uuid,
    },
    /// You have another secret than we, or have shown none though we have one.
    Unproven,
    /// You want to see that we know a secret, and we have none.
    NoSecret,
    /// A reason that we are too old to know.
    Unknown(u8),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(Versions { min, max }) => {
                write!(f, "it speaks versions {min} to {max} and no other: update the older side")
            }
            Self::AlienCluster { cluster } => write!(
                f,
                "it wants cluster {cluster}: correct the address, or the cluster's name and \
                 members in the configuration of one of the two"
            ),
            Self::WrongNode { node } => {
                write!(f, "it wants node {node}: correct the addresses of the members")
            }
            Self::TwoNodesWithOneId { node, directory } => write!(
                f,
                "two nodes call themselves {node}, and the other one keeps its data in the \
                 directory {directory}: stop the wrong one"
            ),
            Self::Oneself => {
                f.write_str("that address is its own: correct the addresses of the members")
            }
            Self::Stranger { node } => write!(f, "it has no member {node}: add it to the members"),
            Self::Garbage => f.write_str("it could not read what it was sent"),
            Self::Silent => f.write_str("it heard nothing for too long"),
            Self::OtherDirectory { node, directory } => write!(
                f,
                "it knows node {node} by its directory {directory}: bring that one back, or \
                 replace the node: trilith ctl replace {node}"
            ),
            Self::Unproven => f.write_str(
                "it knows another cluster.secret, or was shown none: say the same one on both sides, or \
                 take the stranger away",
            ),
            Self::NoSecret => f.write_str(
                "it was asked for the cluster's secret and has none: say cluster.secret there as on the \
                 other nodes",
            ),
            Self::Unknown(reason) => {
                write!(f, "it is newer, and has reason {reason}: read its log")
            }
        }
    }
}

impl std::error::Error for Refusal {}

const HELLO_BYTES: usize = 64;
const WELCOME_BYTES: usize = 56;
const REFUSAL_BYTES: usize = 32;

/// A handshake's frame always fits.
pub(super) fn put(out: &mut BytesMut, kind: Kind, write: impl FnOnce(&mut BytesMut)) {
    let framed = frame::encode(out, kind, write);
    debug_assert_eq!(framed, Ok(()), "a handshake fits into a frame");
}

fn node(reader: &mut Reader<'_>) -> Result<NodeId, BadFrame> {
    Ok(NodeId(reader.u64()?))
}

fn uuid(reader: &mut Reader<'_>) -> Result<Uuid, BadFrame> {
    Ok(Uuid(reader.array()?))
}

pub(super) fn expect(frame: &Frame, kind: Kind, bytes: usize) -> Result<(), BadFrame> {
    if frame.kind != kind {
        return Err(BadFrame::Unexpected(frame.kind));
    }
    if frame.body.len() < bytes {
        return Err(BadFrame::Body("a handshake that is too short"));
    }
    Ok(())
}

impl Hello {
    /// Appends its frame.
    pub fn put(&self, out: &mut BytesMut) {
        let (purpose, cluster, who, whom, directory) = match self.purpose {
            Purpose::Peer { who, whom } => (1, who.cluster, who.node.0, whom.0, who.directory),
            Purpose::Client { client, cluster } => (2, cluster, client.0, 0, Uuid::default()),
        };
        put(out, Kind::Hello, |out| {
            out.put_slice(&MAGIC);
            out.put_slice(&[self.versions.min, self.versions.max, purpose, 0, 0, 0, 0, 0]);
            out.put_slice(&cluster.0);
            out.put_u64_le(who);
            out.put_u64_le(whom);
            out.put_slice(&directory.0);
        });
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Hello.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Hello, HELLO_BYTES)?;
        let mut reader = Reader::new(&frame.body);
        if reader.array()? != MAGIC && !planted!("peer_any_greeting_taken") {
            return Err(BadFrame::Body("no greeting of trilith"));
        }
        let versions = Versions { min: reader.u8()?, max: reader.u8()? };
        let purpose = reader.u8()?;
        reader.take(5)?;
        let cluster = uuid(&mut reader)?;
        let (who, whom, directory) = (reader.u64()?, node(&mut reader)?, uuid(&mut reader)?);
        let purpose = match purpose {
            1 => {
                let who = Identity { cluster, node: NodeId(who), directory };
                Purpose::Peer { who, whom }
            }
            2 => Purpose::Client { client: ClientId(who), cluster },
            _ => return Err(BadFrame::Body("an unknown purpose")),
        };
        Ok(Self { versions, purpose })
    }
}

impl Welcome {
    /// Appends its frame.
    pub fn put(&self, out: &mut BytesMut) {
        put(out, Kind::Welcome, |out| {
            let seated = u8::from(self.standing == Standing::Seated);
            out.put_slice(&[self.version, seated, 0, 0, 0, 0, 0, 0]);
            out.put_slice(&self.who.cluster.0);
            out.put_u64_le(self.who.node.0);
            out.put_slice(&self.who.directory.0);
            out.put_u64_le(self.token);
        });
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Welcome.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Welcome, WELCOME_BYTES)?;
        let mut reader = Reader::new(&frame.body);
        let (version, seated) = (reader.u8()?, reader.u8()?);
        let standing = if seated == 1 { Standing::Seated } else { Standing::Founder };
        reader.take(6)?;
        let (cluster, node) = (uuid(&mut reader)?, node(&mut reader)?);
        let who = Identity { cluster, node, directory: uuid(&mut reader)? };
        Ok(Self { version, standing, who, token: reader.u64()? })
    }
}

impl Ready {
    /// Appends its frame.
    pub fn put(self, out: &mut BytesMut) {
        put(out, Kind::Ready, |out| out.put_u64_le(self.token));
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Ready.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Ready, 8)?;
        Ok(Self { token: Reader::new(&frame.body).u64()? })
    }
}

impl Refusal {
    /// Appends its frame.
    pub fn put(self, out: &mut BytesMut) {
        let none = (Versions { min: 0, max: 0 }, NodeId(0), Uuid::default());
        let (code, (versions, node, uuid)) = match self {
            Self::Version(versions) => (1, (versions, none.1, none.2)),
            Self::AlienCluster { cluster } => (2, (none.0, none.1, cluster)),
            Self::WrongNode { node } => (3, (none.0, node, none.2)),
            Self::TwoNodesWithOneId { node, directory } => (4, (none.0, node, directory)),
            Self::Oneself => (5, none),
            Self::Stranger { node } => (6, (none.0, node, none.2)),
            Self::Garbage => (7, none),
            Self::Silent => (8, none),
            Self::OtherDirectory { node, directory } => (9, (none.0, node, directory)),
            Self::Unproven => (10, none),
            Self::NoSecret => (11, none),
            Self::Unknown(code) => (code, none),
        };
        put(out, Kind::Refusal, |out| {
            out.put_slice(&[code, versions.min, versions.max, 0, 0, 0, 0, 0]);
            out.put_u64_le(node.0);
            out.put_slice(&uuid.0);
        });
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no Refusal.
    pub fn take(frame: &Frame) -> Result<Self, BadFrame> {
        expect(frame, Kind::Refusal, REFUSAL_BYTES)?;
        let mut reader = Reader::new(&frame.body);
        let code = reader.u8()?;
        let versions = Versions { min: reader.u8()?, max: reader.u8()? };
        reader.take(5)?;
        let (node, uuid) = (node(&mut reader)?, uuid(&mut reader)?);
        Ok(match code {
            1 => Self::Version(versions),
            2 => Self::AlienCluster { cluster: uuid },
            3 => Self::WrongNode { node },
            4 => Self::TwoNodesWithOneId { node, directory: uuid },
            5 => Self::Oneself,
            6 => Self::Stranger { node },
            7 => Self::Garbage,
            8 => Self::Silent,
            9 => Self::OtherDirectory { node, directory: uuid },
            10 => Self::Unproven,
            11 => Self::NoSecret,
            code => Self::Unknown(code),
        })
    }
}

impl Identity {
    /// Whether somebody who says this may speak with us, and in which version.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_hello(&self, hello: &Hello, members: &[NodeId]) -> Result<u8, Refusal> {
        let common = Versions::OURS.common(hello.versions);
        let version = common.ok_or(Refusal::Version(Versions::OURS))?;
        match hello.purpose {
            Purpose::Client { cluster, .. } => {
                if cluster != Uuid::default() {
                    self.same_cluster(cluster)?;
                }
            }
            Purpose::Peer { who, whom } => {
                self.same_cluster(who.cluster)?;
                self.not_oneself(&who)?;
                if whom != self.node {
                    return Err(Refusal::WrongNode { node: self.node });
                }
                if members.binary_search(&who.node).is_err() {
                    return Err(Refusal::Stranger { node: who.node });
                }
            }
        }
        Ok(version)
    }

    /// Whether the node that answered is the one that was meant.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_welcome(&self, welcome: &Welcome, whom: NodeId) -> Result<(), Refusal> {
        let spoken = Versions { min: welcome.version, max: welcome.version };
        if Versions::OURS.common(spoken).is_none() {
            return Err(Refusal::Version(Versions::OURS));
        }
        self.same_cluster(welcome.who.cluster)?;
        self.not_oneself(&welcome.who)?;
        if welcome.who.node != whom {
            return Err(Refusal::WrongNode { node: whom });
        }
        Ok(())
    }

    fn same_cluster(&self, cluster: Uuid) -> Result<(), Refusal> {
        if cluster == self.cluster || planted!("peer_alien_cluster_accepted") {
            return Ok(());
        }
        Err(Refusal::AlienCluster { cluster: self.cluster })
    }

    fn not_oneself(&self, who: &Self) -> Result<(), Refusal> {
        if who.node != self.node {
            return Ok(());
        }
        if who.directory == self.directory {
            return Err(Refusal::Oneself);
        }
        Err(Refusal::TwoNodesWithOneId { node: self.node, directory: self.directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Decoder;
    use proptest::prelude::proptest;

    const OWN: Identity =
        Identity { cluster: Uuid([1; 16]), node: NodeId(1), directory: Uuid([11; 16]) };
    const OTHER: Identity =
        Identity { cluster: Uuid([1; 16]), node: NodeId(2), directory: Uuid([12; 16]) };

    fn framed(put: impl FnOnce(&mut BytesMut)) -> Frame {
        let mut bytes = BytesMut::new();
        put(&mut bytes);
        let mut decoder = Decoder::new(64);
        decoder.feed(&bytes);
        decoder.take().unwrap().unwrap()
    }

    fn hello(who: Identity, whom: u64) -> Hello {
        Hello { versions: Versions::OURS, purpose: Purpose::Peer { who, whom: NodeId(whom) } }
    }

    #[test]
    fn every_word_reads_back_and_no_prefix_of_it_does() {
        let client = Purpose::Client { client: ClientId(77), cluster: Uuid([1; 16]) };
        for hello in
            [hello(OTHER, 1), Hello { versions: Versions { min: 3, max: 9 }, purpose: client }]
        {
            let frame = framed(|out| hello.put(out));
            assert_eq!(Hello::take(&frame), Ok(hello));
            for cut in 0..frame.body.len() {
                let cut = Frame { body: frame.body.slice(..cut), ..frame };
                assert!(Hello::take(&cut).is_err());
            }
        }
        let welcome = Welcome { version: 1, standing: Standing::Seated, who: OTHER, token: 9 };
        assert_eq!(Welcome::take(&framed(|out| welcome.put(out))), Ok(welcome));
        let ready = Ready { token: u64::MAX };
        assert_eq!(Ready::take(&framed(|out| ready.put(out))), Ok(ready));
        let refusals = [
            Refusal::Version(Versions { min: 2, max: 3 }),
            Refusal::AlienCluster { cluster: Uuid([5; 16]) },
            Refusal::WrongNode { node: NodeId(4) },
            Refusal::TwoNodesWithOneId { node: NodeId(4), directory: Uuid([6; 16]) },
            Refusal::Oneself,
            Refusal::Stranger { node: NodeId(8) },
            Refusal::Garbage,
            Refusal::Silent,
            Refusal::OtherDirectory { node: NodeId(4), directory: Uuid([7; 16]) },
            Refusal::Unproven,
            Refusal::NoSecret,
            Refusal::Unknown(200),
        ];
        for refusal in refusals {
            assert_eq!(Refusal::take(&framed(|out| refusal.put(out))), Ok(refusal));
            assert!(!refusal.to_string().is_empty());
        }
    }

    #[track_caller]
    fn check(hello: Hello, expect: Result<u8, Refusal>) {
        assert_eq!(OWN.judge_hello(&hello, &[NodeId(1), NodeId(2), NodeId(3)]), expect);
    }

    #[test]
    fn who_does_not_belong_here_is_told_why() {
        check(hello(OTHER, 1), Ok(VERSION));
        let alien = Identity { cluster: Uuid([9; 16]), ..OTHER };
        check(hello(alien, 1), Err(Refusal::AlienCluster { cluster: OWN.cluster }));
        check(hello(OWN, 2), Err(Refusal::Oneself));
        let double = Identity { directory: Uuid([99; 16]), ..OWN };
        let two = Refusal::TwoNodesWithOneId { node: NodeId(1), directory: OWN.directory };
        check(hello(double, 1), Err(two));
        check(hello(OTHER, 3), Err(Refusal::WrongNode { node: NodeId(1) }));
        let stranger = Identity { node: NodeId(4), ..OTHER };
        check(hello(stranger, 1), Err(Refusal::Stranger { node: NodeId(4) }));
        let newer = Versions { min: VERSION + 1, max: VERSION + 4 };
        let refusal = Err(Refusal::Version(Versions::OURS));
        check(Hello { versions: newer, ..hello(OTHER, 1) }, refusal);
        let both = Versions { min: 0, max: VERSION + 4 };
        check(Hello { versions: both, ..hello(OTHER, 1) }, Ok(VERSION));
        let of = |cluster| Hello {
            versions: Versions::OURS,
            purpose: Purpose::Client { client: ClientId(5), cluster },
        };
        check(of(OWN.cluster), Ok(VERSION));
        check(of(Uuid::default()), Ok(VERSION));
        check(of(alien.cluster), Err(Refusal::AlienCluster { cluster: OWN.cluster }));
    }

    #[test]
    fn who_was_not_meant_is_told_why() {
        let standing = Standing::Founder;
        let welcome = |who| Welcome { version: VERSION, standing, who, token: 0 };
        assert_eq!(OWN.judge_welcome(&welcome(OTHER), NodeId(2)), Ok(()));
        let wrong = Err(Refusal::WrongNode { node: NodeId(3) });
        assert_eq!(OWN.judge_welcome(&welcome(OTHER), NodeId(3)), wrong);
        assert_eq!(OWN.judge_welcome(&welcome(OWN), NodeId(2)), Err(Refusal::Oneself));
        let newer = Welcome { version: VERSION + 1, ..welcome(OTHER) };
        let refused = OWN.judge_welcome(&newer, NodeId(2));
        assert_eq!(refused, Err(Refusal::Version(Versions::OURS)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_word_or_an_error(body: Vec<u8>) {
            for kind in [Kind::Hello, Kind::Welcome, Kind::Ready, Kind::Refusal, Kind::Pong] {
                let frame = Frame { kind, body: body.clone().into() };
                let _any = (Hello::take(&frame), Welcome::take(&frame));
                let _any = (Ready::take(&frame), Refusal::take(&frame));
            }
        }
    }
}
