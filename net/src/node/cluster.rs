//! The cluster as its configuration says it: a name, who belongs to it, how many groups.
//!
//! All members are told the same, and everything that must be the same goes into one number, the
//! cluster's id. Two nodes that were told different things have different ids, and the handshake
//! keeps them apart: it is better to have no cluster than one whose members put a key into
//! different groups.
//!
//! Invariant: members are in order of their numbers, and no number and no address is there twice.
//!
//! Not here: who speaks with whom (`peer/hello.rs`), changes of members (`trilith_engine`, raft).

use std::{fmt, net::SocketAddr};

use trilith_engine::{
    shard::Founding,
    store::slots::SLOTS,
    types::{GroupId, NodeId, Uuid},
};

use crate::limits::{CLUSTER_MEMBERS_MAX, CLUSTER_NAME_BYTES_MAX};

/// A cluster, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    name: String,
    members: Vec<(NodeId, SocketAddr)>,
    groups: u16,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misconfigured {
    /// The name is empty or too long.
    Name,
    /// Nobody is a member, or too many are.
    Members(usize),
    /// 0 numbers no node.
    Zero,
    /// Two members have one number.
    NodeTwice(NodeId),
    /// Two members have one address.
    AddressTwice(SocketAddr),
    /// There is no group, or there are more than slots.
    Groups(u16),
    /// The node itself is not among the members.
    NotAMember(NodeId),
    /// Two kinds of guests are to come to one address.
    ListensTwice(SocketAddr),
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => {
                write!(f, "a cluster's name has 1 to {CLUSTER_NAME_BYTES_MAX} bytes")
            }
            Self::Members(count) => {
                write!(f, "a cluster has 1 to {CLUSTER_MEMBERS_MAX} members, and these are {count}")
            }
            Self::Zero => f.write_str("nodes are numbered from 1 on"),
            Self::NodeTwice(node) => write!(f, "node {node} is there twice"),
            Self::AddressTwice(at) => write!(f, "two members have the address {at}"),
            Self::Groups(groups) => {
                write!(f, "a cluster has 1 to {SLOTS} groups, and not {groups}")
            }
            Self::NotAMember(node) => {
                write!(f, "node {node} is not among the members that it was told")
            }
            Self::ListensTwice(at) => {
                write!(
                    f,
                    "{at} is to be for nodes, Redis clients and HTTP clients, or two of these"
                )
            }
        }
    }
}

impl std::error::Error for Misconfigured {}

impl Cluster {
    /// A cluster of that name, of these members and where they listen, whose slots are split over so
    /// many groups.
    ///
    /// # Errors
    /// [`Misconfigured`] says what cannot be.
    pub fn new(
        name: &str,
        mut members: Vec<(NodeId, SocketAddr)>,
        groups: u16,
    ) -> Result<Self, Misconfigured> {
        if name.is_empty() || name.len() > CLUSTER_NAME_BYTES_MAX {
            return Err(Misconfigured::Name);
        }
        if members.is_empty() || members.len() > CLUSTER_MEMBERS_MAX {
            return Err(Misconfigured::Members(members.len()));
        }
        if groups == 0 || groups > SLOTS {
            return Err(Misconfigured::Groups(groups));
        }
        members.sort_unstable();
        if members.iter().any(|(node, _)| node.0 == 0) {
            return Err(Misconfigured::Zero);
        }
        for (at, (node, address)) in members.iter().enumerate() {
            let others = &members[at + 1..];
            if others.iter().any(|(other, _)| other == node) {
                return Err(Misconfigured::NodeTwice(*node));
            }
            if others.iter().any(|(_, other)| other == address) {
                return Err(Misconfigured::AddressTwice(*address));
            }
        }
        Ok(Self { name: name.to_owned(), members, groups })
    }

    /// Who belongs to it and where they listen, in order.
    #[must_use]
    pub fn members(&self) -> &[(NodeId, SocketAddr)] {
        &self.members
    }

    /// How many groups the slots are split over.
    #[must_use]
    pub const fn groups(&self) -> u16 {
        self.groups
    }

    /// Where a member listens.
    ///
    /// # Errors
    /// [`Misconfigured::NotAMember`].
    pub fn address(&self, node: NodeId) -> Result<SocketAddr, Misconfigured> {
        let at = self.members.binary_search_by_key(&node, |(node, _)| *node);
        let at = at.map_err(|_place| Misconfigured::NotAMember(node))?;
        Ok(self.members[at].1)
    }

    /// Its id when it is founded: the same for all who were told the same, in whatever order. A
    /// directory keeps it, also when members change later.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let mut hash = Fnv::new();
        hash.take(self.name.as_bytes());
        hash.take(&self.groups.to_le_bytes());
        for (node, at) in &self.members {
            hash.take(&node.0.to_le_bytes());
            hash.take(at.to_string().as_bytes());
        }
        Uuid(hash.0.to_le_bytes())
    }

    /// What its members found when they have nothing yet.
    #[must_use]
    pub fn founding(&self) -> Founding {
        let mut name = Fnv::new();
        name.take(self.name.as_bytes());
        name.take(&self.groups.to_le_bytes());
        Founding {
            cluster: self.id(),
            name: name.0 as u64,
            groups: (1..=u32::from(self.groups)).map(GroupId).collect(),
            members: self.members.iter().map(|(node, _)| *node).collect(),
        }
    }
}

/// FNV-1a with 128 bits: nobody forges a configuration, and it is a few lines that never change.
struct Fnv(u128);

impl Fnv {
    const fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// One thing, with its length, so that no two lists of things read as one.
    fn take(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn cluster(name: &str, members: &[(u64, u16)], groups: u16) -> Result<Cluster, Misconfigured> {
        let members = members.iter().map(|(node, port)| (NodeId(*node), at(*port)));
        Cluster::new(name, members.collect(), groups)
    }

    fn id(name: &str, members: &[(u64, u16)], groups: u16) -> Uuid {
        cluster(name, members, groups).unwrap().id()
    }

    #[test]
    fn an_id_is_of_everything_that_must_be_the_same() {
        let three = [(1, 1), (2, 2), (3, 3)];
        let known = id("default", &three, 1);
        assert_eq!(known, id("default", &[(3, 3), (1, 1), (2, 2)], 1));
        // It stands in handshakes: two versions of trilith must agree on it.
        assert_eq!(known.to_string(), "8ebf1368ae8e79b48ba047e8138ceea7");
        for other in [
            id("another", &three, 1),
            id("default", &three[..2], 1),
            id("default", &[(1, 1), (2, 2), (4, 3)], 1),
            id("default", &[(1, 1), (2, 2), (3, 4)], 1),
            id("default", &three, 2),
        ] {
            assert_ne!(known, other);
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |name: &str, members: &[(u64, u16)], groups| {
            cluster(name, members, groups).unwrap_err()
        };
        assert_eq!(refused("", &[(1, 1)], 1), Misconfigured::Name);
        assert_eq!(refused(&"a".repeat(65), &[(1, 1)], 1), Misconfigured::Name);
        assert_eq!(refused("a", &[], 1), Misconfigured::Members(0));
        assert_eq!(refused("a", &[(0, 1)], 1), Misconfigured::Zero);
        assert_eq!(refused("a", &[(1, 1), (1, 2)], 1), Misconfigured::NodeTwice(NodeId(1)));
        assert_eq!(refused("a", &[(1, 1), (2, 1)], 1), Misconfigured::AddressTwice(at(1)));
        assert_eq!(refused("a", &[(1, 1)], 0), Misconfigured::Groups(0));
        let one = cluster("a", &[(1, 1)], 1).unwrap();
        assert_eq!(one.address(NodeId(1)), Ok(at(1)));
        assert_eq!(one.address(NodeId(2)), Err(Misconfigured::NotAMember(NodeId(2))));
    }
}
