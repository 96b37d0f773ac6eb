//! Faults as data: what may be done to a world, and the list of what will be.
//!
//! A plan is written before the run and is plain text (TOML), so a failing run can be shrunk by
//! taking entries away: each entry carries its own numbers, none is drawn while the world runs, and
//! the others do not move when one is gone.
//!
//! ```toml
//! [[faults]]
//! when = { at_ms = 1200 }
//! what = { partition = { side = [0, 2], for_ms = 800 } }
//!
//! [[faults]]
//! when = { disk_op = { node = 1, nth = 17 } }      # inside its 17th operation
//! what = { power_loss = { nodes = [1], down_ms = 500 } }
//! ```
//!
//! Nodes are numbered in the order in which they joined the world. A fault that names a node the
//! world does not have does nothing.
//!
//! Not here: how plans are drawn (`plan.rs`), how a fault is done to a world (`world/inject.rs`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// When a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At a virtual time since the plan began.
    AtMs(u64),
    /// Inside a node's n-th disk operation, counted from 1 since the plan began and over all its
    /// lives.
    DiskOp {
        /// The node.
        node: u32,
        /// Which operation.
        nth: u64,
    },
    /// With a node's n-th message: its n-th write to a connection that took bytes.
    Message {
        /// The node.
        node: u32,
        /// Which message.
        nth: u64,
    },
}

/// Which of a disk's small lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFault {
    /// Reads fail.
    ReadError,
    /// Reads answer a flipped bit.
    ReadFlip,
    /// Reads answer what was there before.
    ReadStale,
    /// Writes fail.
    WriteError,
    /// Writes find no room.
    NoSpace,
    /// Syncs fail and forget the pages.
    SyncError,
    /// Syncs of directories fail.
    SyncDirError,
    /// A synced sector never reached the medium.
    Phantom,
    /// A synced sector reached it elsewhere.
    Misdirect,
    /// A written sector cannot be read any more.
    LatentError,
}

impl DiskFault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ReadError,
        Self::ReadFlip,
        Self::ReadStale,
        Self::WriteError,
        Self::NoSpace,
        Self::SyncError,
        Self::SyncDirError,
        Self::Phantom,
        Self::Misdirect,
        Self::LatentError,
    ];

    /// Whether it can take bytes away that were acknowledged, so that another replica must have
    /// them.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::Phantom | Self::Misdirect | Self::LatentError)
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say it: nodes, durations, rates in a million")]
pub enum FaultKind {
    // Process.
    /// These machines go dark at the same moment.
    PowerLoss { nodes: Vec<u32>, down_ms: u64 },
    /// The process dies at once; its machine goes on.
    Kill { node: u32, down_ms: u64 },
    /// The process is asked to end.
    Stop { node: u32, grace_ms: u64, down_ms: u64 },
    /// The process is held; its machine goes on.
    Pause { node: u32, for_ms: u64 },
    /// The machine is replaced by one with an empty disk.
    Replace { node: u32, down_ms: u64 },
    /// Two machines come back with each other's disk.
    SwapDisks { one: u32, other: u32, down_ms: u64 },
    // Network.
    /// One direction is cut.
    Cut { from: u32, to: u32, for_ms: u64 },
    /// These nodes and all others do not reach each other.
    Partition { side: Vec<u32>, for_ms: u64 },
    /// A node reaches nobody.
    Isolate { node: u32, for_ms: u64 },
    /// Two halves reach only this node, and it reaches both.
    Bridge { node: u32, for_ms: u64 },
    /// One direction is clogged: everything waits, nothing is lost.
    Hold { from: u32, to: u32, for_ms: u64 },
    /// All connections between two nodes are reset.
    Reset { one: u32, other: u32 },
    /// One direction is slow.
    Slow { from: u32, to: u32, extra_us: u64, for_ms: u64 },
    /// One direction is narrow.
    Throttle { from: u32, to: u32, bytes_per_second: u64, for_ms: u64 },
    /// One direction loses packets.
    Loss { from: u32, to: u32, per_million: u32, for_ms: u64 },
    /// One direction flips bits.
    Flip { from: u32, to: u32, per_million: u32, for_ms: u64 },
    /// Everywhere, reads and writes of connections take less than they could.
    Partial { per_million: u32, for_ms: u64 },
    // Clock.
    /// A node's clocks run fast or slow.
    Drift { node: u32, ppm: i32, for_ms: u64 },
    /// A node's wall clock jumps.
    WallJump { node: u32, by_ms: i64 },
    /// A node's monotonic clock leaps ahead.
    Leap { node: u32, by_ms: u64 },
    // Disk.
    /// A node's disk answers nothing for a while.
    Stall { node: u32, for_ms: u64 },
    /// A node's disk takes so many times as long.
    SlowDisk { node: u32, times: u32, for_ms: u64 },
    /// A node's disk lies now and then.
    Disk { node: u32, fault: DiskFault, per_million: u32, for_ms: u64 },
    /// A node's disk lies at its next operation that can.
    DiskOnce { node: u32, fault: DiskFault },
    /// A node's disk has only so much room left: somebody else has filled it.
    Full {
        node: u32,
        #[serde(default)]
        room_kib: u64,
        for_ms: u64,
    },
    /// Bits of a node's disk rot.
    Rot { node: u32, bits: u32 },
}

/// What kinds of faults belong together: a run draws which families it knows (swarm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Power losses, one machine at a time.
    PowerLoss,
    /// All machines lose their power at once.
    Blackout,
    /// Kills.
    Kill,
    /// Graceful stops.
    Stop,
    /// Holds of a process.
    Pause,
    /// New disks and swapped ones.
    Replace,
    /// Cuts of every shape.
    Partition,
    /// Clogs and resets.
    Clog,
    /// Slow, narrow and lossy links, partial reads and writes.
    Weather,
    /// Bits flipped on the wire.
    Flip,
    /// Drift and jumps.
    Clock,
    /// Slow and stalled disks.
    SlowDisk,
    /// Disks that fail and say so.
    DiskError,
    /// Disks that lose or change bytes and say nothing.
    DiskDamage,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::PowerLoss,
        Self::Blackout,
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Replace,
        Self::Partition,
        Self::Clog,
        Self::Weather,
        Self::Flip,
        Self::Clock,
        Self::SlowDisk,
        Self::DiskError,
        Self::DiskDamage,
    ];

    /// Whether it may take acknowledged bytes of a replica away.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::Replace | Self::DiskDamage)
    }
}

/// One entry of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub what: FaultKind,
}

/// Everything that will be done to a world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// In no particular order.
    #[serde(default, rename = "faults")]
    pub entries: Vec<Fault>,
}

impl FaultPlan {
    /// The plan as text.
    ///
    /// # Errors
    /// When a number does not fit TOML's 63 bits.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// A plan from text.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

impl FaultKind {
    /// The kind's name, as in the text of a plan.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerLoss { .. } => "power_loss",
            Self::Kill { .. } => "kill",
            Self::Stop { .. } => "stop",
            Self::Pause { .. } => "pause",
            Self::Replace { .. } => "replace",
            Self::SwapDisks { .. } => "swap_disks",
            Self::Cut { .. } => "cut",
            Self::Partition { .. } => "partition",
            Self::Isolate { .. } => "isolate",
            Self::Bridge { .. } => "bridge",
            Self::Hold { .. } => "hold",
            Self::Reset { .. } => "reset",
            Self::Slow { .. } => "slow",
            Self::Throttle { .. } => "throttle",
            Self::Loss { .. } => "loss",
            Self::Flip { .. } => "flip",
            Self::Partial { .. } => "partial",
            Self::Drift { .. } => "drift",
            Self::WallJump { .. } => "wall_jump",
            Self::Leap { .. } => "leap",
            Self::Stall { .. } => "stall",
            Self::SlowDisk { .. } => "slow_disk",
            Self::Disk { .. } => "disk",
            Self::DiskOnce { .. } => "disk_once",
            Self::Full { .. } => "full",
            Self::Rot { .. } => "rot",
        }
    }

    /// Every node it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<u32> {
        match self {
            Self::PowerLoss { nodes, .. } | Self::Partition { side: nodes, .. } => nodes.clone(),
            Self::Kill { node, .. }
            | Self::Stop { node, .. }
            | Self::Pause { node, .. }
            | Self::Replace { node, .. }
            | Self::Isolate { node, .. }
            | Self::Bridge { node, .. }
            | Self::Drift { node, .. }
            | Self::WallJump { node, .. }
            | Self::Leap { node, .. }
            | Self::Stall { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::Disk { node, .. }
            | Self::DiskOnce { node, .. }
            | Self::Full { node, .. }
            | Self::Rot { node, .. } => vec![*node],
            Self::SwapDisks { one, other, .. } | Self::Reset { one, other } => vec![*one, *other],
            Self::Cut { from, to, .. }
            | Self::Hold { from, to, .. }
            | Self::Slow { from, to, .. }
            | Self::Throttle { from, to, .. }
            | Self::Loss { from, to, .. }
            | Self::Flip { from, to, .. } => vec![*from, *to],
            Self::Partial { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerLoss { nodes, down_ms } => {
                write!(f, "power loss of {nodes:?} for {down_ms} ms")
            }
            Self::Kill { node, down_ms } => write!(f, "n{node} is killed for {down_ms} ms"),
            Self::Stop { node, grace_ms, down_ms } => {
                write!(f, "n{node} is stopped within {grace_ms} ms for {down_ms} ms")
            }
            Self::Pause { node, for_ms } => write!(f, "n{node} is held for {for_ms} ms"),
            Self::Replace { node, down_ms } => {
                write!(f, "n{node} is replaced within {down_ms} ms, disk empty")
            }
            Self::SwapDisks { one, other, down_ms } => {
                write!(f, "n{one} and n{other} swap disks within {down_ms} ms")
            }
            Self::Cut { from, to, for_ms } => write!(f, "n{from} -> n{to} is cut for {for_ms} ms"),
            Self::Partition { side, for_ms } => {
                write!(f, "{side:?} is cut from the rest for {for_ms} ms")
            }
            Self::Isolate { node, for_ms } => write!(f, "n{node} reaches nobody for {for_ms} ms"),
            Self::Bridge { node, for_ms } => {
                write!(f, "two halves reach only n{node} for {for_ms} ms")
            }
            Self::Hold { from, to, for_ms } => {
                write!(f, "n{from} -> n{to} is clogged for {for_ms} ms")
            }
            Self::Reset { one, other } => write!(f, "n{one} <-> n{other} is reset"),
            Self::Slow { from, to, extra_us, for_ms } => {
                write!(f, "n{from} -> n{to} takes {extra_us} us longer for {for_ms} ms")
            }
            Self::Throttle { from, to, bytes_per_second, for_ms } => {
                write!(f, "n{from} -> n{to} carries {bytes_per_second} B/s for {for_ms} ms")
            }
            Self::Loss { from, to, per_million, for_ms } => {
                write!(f, "n{from} -> n{to} loses {per_million} ppm for {for_ms} ms")
            }
            Self::Flip { from, to, per_million, for_ms } => {
                write!(f, "n{from} -> n{to} flips bits in {per_million} ppm for {for_ms} ms")
            }
            Self::Partial { per_million, for_ms } => {
                write!(f, "{per_million} ppm of reads and writes are partial for {for_ms} ms")
            }
            Self::Drift { node, ppm, for_ms } => {
                write!(f, "the clocks of n{node} drift by {ppm} ppm for {for_ms} ms")
            }
            Self::WallJump { node, by_ms } => {
                write!(f, "the wall clock of n{node} jumps by {by_ms} ms")
            }
            Self::Leap { node, by_ms } => write!(f, "the clock of n{node} leaps by {by_ms} ms"),
            Self::Stall { node, for_ms } => write!(f, "the disk of n{node} stalls for {for_ms} ms"),
            Self::SlowDisk { node, times, for_ms } => {
                write!(f, "the disk of n{node} takes {times} times as long for {for_ms} ms")
            }
            Self::Disk { node, fault, per_million, for_ms } => {
                write!(f, "the disk of n{node}: {fault:?} at {per_million} ppm for {for_ms} ms")
            }
            Self::DiskOnce { node, fault } => write!(f, "the disk of n{node}: one {fault:?}"),
            Self::Full { node, room_kib, for_ms } => {
                write!(f, "the disk of n{node} has {room_kib} KiB left for {for_ms} ms")
            }
            Self::Rot { node, bits } => write!(f, "{bits} bits rot on the disk of n{node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_text() {
        let text = r#"
            [[faults]]
            when = { at_ms = 1200 }
            what = { partition = { side = [0, 2], for_ms = 800 } }

            [[faults]]
            when = { disk_op = { node = 1, nth = 17 } }
            what = { power_loss = { nodes = [1], down_ms = 500 } }

            [[faults]]
            when = { message = { node = 0, nth = 3 } }
            what = { wall_jump = { node = 0, by_ms = -5000 } }
        "#;
        let plan = FaultPlan::from_toml(text).expect("the example in the essay");
        assert_eq!(plan.entries.len(), 3);
        assert_eq!(plan.entries[2].what, FaultKind::WallJump { node: 0, by_ms: -5000 });
        let again = plan.to_toml().expect("it fits");
        assert_eq!(FaultPlan::from_toml(&again).expect("what it wrote"), plan);
        assert_eq!(FaultPlan::from_toml("").expect("no faults"), FaultPlan::default());
        assert!(FaultPlan::from_toml("[[faults]]\nwhen = { at_ms = 1 }").is_err());
    }
}
