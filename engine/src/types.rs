//! The words of the whole engine: ids and positions, each a type of its own.
//!
//! A function that takes two integers of one type will one day be called with them swapped, so
//! every id and index is a newtype. None of them does arithmetic beyond "the next one".
//!
//! Not here: what any of them means on disk (`journal/format.rs`).

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this one.
            ///
            /// # Panics
            /// When the number space is used up, which no real store lives to see.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("the number space is used up"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: the position of a record in a journal. The first record has 1; 0 means
    /// "nothing yet".
    Lsn(u64)
}
number! {
    /// A replicated group. Never reused: bytes of an unknown group are garbage by definition.
    GroupId(u32)
}
number! {
    /// A Raft term.
    Term(u64)
}
number! {
    /// The order of the writes of one group: the Raft index of the entry, or the LSN in a lone
    /// store. For one key the higher version is the newer value, whatever segment holds it.
    Version(u64)
}
number! {
    /// A position in a group's replicated log. The first entry has 1; 0 means "nothing yet".
    Index(u64)
}
number! {
    /// One replica of one group. Never reused: a replica that lost its disk comes back under a new
    /// id, so that nobody counts promises it no longer remembers.
    ReplicaId(u64)
}
number! {
    /// A machine of the cluster, as its directory says. Never reused either: an empty directory is
    /// a new node.
    NodeId(u64)
}
number! {
    /// Whoever sends requests that must happen at most once. 0 is nobody: such a request is new
    /// each time it is sent.
    ClientId(u64)
}
number! {
    /// A client's count of its requests, over all groups. The first has 1.
    Sequence(u64)
}
number! {
    /// A part of the key space: what all keys with one hash share.
    Slot(u16)
}
number! {
    /// A leader's time: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
    /// Stamps rise along a log, whatever the leaders' clocks do.
    Stamp(u64)
}
number! {
    /// A segment of the journal or of the value plane. Never reused within a directory.
    SegmentId(u32)
}

impl Stamp {
    /// How many bits count within a millisecond.
    const COUNTER_BITS: u32 = 16;

    /// The first stamp of a millisecond.
    #[must_use]
    pub const fn at_ms(ms: u64) -> Self {
        Self(ms << Self::COUNTER_BITS)
    }

    /// Its milliseconds: the time by which an entry lives.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The stamp of an entry behind one with this stamp, at `wall_ms` of the leader's clock.
    #[must_use]
    pub fn after(self, wall_ms: u64) -> Self {
        self.next().max(Self::at_ms(wall_ms))
    }
}

/// 128 random bits that name one incarnation of something: a node, a segment's content.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Made of two draws of randomness.
    #[must_use]
    pub fn from_draws(high: u64, low: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_le_bytes());
        bytes[8..].copy_from_slice(&low.to_le_bytes());
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where one record lies. Small on purpose: the index holds one for every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loc {
    /// The segment that holds the record.
    pub segment: SegmentId,
    /// Where the record begins in the segment, in units of 8 bytes.
    pub offset_words: u32,
    /// The record's length in bytes: header, key and value, without padding.
    pub len: u32,
}

impl Loc {
    /// Where the record begins in its segment, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset_words as u64 * 8
    }

    /// What the record takes in its segment, with its padding.
    #[must_use]
    pub const fn padded_len(&self) -> u64 {
        (self.len as u64).next_multiple_of(8)
    }
}

/// How much there is of something that grows, and how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// How much there is.
    pub now: u64,
    /// How much there may be; [`Size::UNBOUNDED`] where nothing but the disk bounds it.
    pub most: u64,
}

impl Size {
    /// What has no bound of its own.
    pub const UNBOUNDED: u64 = u64::MAX;

    /// So much of what has a limit.
    #[must_use]
    pub const fn of(now: usize, most: usize) -> Self {
        Self { now: now as u64, most: most as u64 }
    }

    /// So much of what only the disk bounds.
    #[must_use]
    pub const fn free(now: usize) -> Self {
        Self { now: now as u64, most: Self::UNBOUNDED }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let most = self.most.saturating_add(other.most);
        Self { now: self.now.saturating_add(other.now), most }
    }

    /// Whichever is nearer to its limit: for limits that each of many has. One without a limit above
    /// 0 is none.
    #[must_use]
    pub fn fuller(self, other: Self) -> Self {
        let left = |size: Self| size.most as i128 - size.now as i128;
        let is_nearer = self.most == 0 || other.most > 0 && left(other) < left(self);
        if is_nearer { other } else { self }
    }
}
