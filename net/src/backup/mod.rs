//! Backups: what a cluster holds, in a directory, and back again.
//!
//! ```text
//!   cluster ══ cuts, page by page ══► create ──► directory ──► verify
//!                                                   │
//!   cluster ◄══ transactions, if absent ══ restore ◄┘ ──► compare, key by key
//! ```
//! - `format`: the bytes of a backup, pure.
//! - `shelf`: its directory.
//! - `create`: from a cluster that serves into a directory.
//! - `restore`: from a directory into a cluster that is empty.
//!
//! All of it is written over the runtime traits, so the simulator makes backups of clusters that lose
//! their power meanwhile.
//!
//! Not here: what holds a group's moment still (`trilith_engine::shard`), the words of the operator
//! (`trilith ctl backup`).

mod create;
pub mod format;
mod restore;
mod shelf;

pub use create::create;
pub use restore::{Restored, restore};

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use trilith_engine::{
    command::{Level, Op, Outcome, Refusal, Replace, Reply},
    limits::SHARD_SNAPSHOT_KEYS_AT_ONCE,
    runtime::{Disk, DiskError, Runtime},
    types::{GroupId, NodeId, Uuid},
};

use crate::client::{Client, ClientOptions, Wish, greet};
use format::{Damage, Line, Manifest, Record};
use shelf::Shelf;

/// How a backup is made or given back.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes of the cluster.
    pub nodes: Vec<SocketAddr>,
    /// As whom they are asked.
    pub client: ClientOptions,
    /// How long it goes on without getting any further.
    pub patience: Duration,
    /// No page of a cut has more keys than this.
    pub page_keys: u32,
}

impl Options {
    /// Of the cluster whose nodes listen there.
    #[must_use]
    pub const fn new(nodes: Vec<SocketAddr>, client: ClientOptions) -> Self {
        let patience = Duration::from_secs(30);
        Self { nodes, client, patience, page_keys: SHARD_SNAPSHOT_KEYS_AT_ONCE as u32 }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys are read from the cluster.
    Reads,
    /// The directory is verified.
    Verifies,
    /// What the cluster holds already is compared with the directory.
    Resumes,
    /// Keys are written to the cluster.
    Writes,
    /// What the cluster holds is compared with the directory.
    Compares,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// With what.
    pub phase: Phase,
    /// How many keys are done.
    pub keys: u64,
    /// Of how many, as far as that is known.
    pub of: u64,
}

/// What a cluster and a backup do not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the cluster has the key.
    Foreign,
    /// Only the backup has it.
    Lacks,
    /// They have other values.
    Value,
    /// They have other expiries.
    Expiry,
}

/// Why it was not done.
#[derive(Clone, Debug)]
pub enum Error {
    /// The directory holds something already.
    Taken(String),
    /// There is no backup in the directory.
    Missing,
    /// One was begun there and never finished.
    Unfinished,
    /// A file is not what was written.
    Damaged {
        /// Which.
        file: String,
        /// Where the block begins that is not.
        offset: u64,
        /// What is wrong with it.
        why: Damage,
    },
    /// The disk refused.
    Disk(DiskError),
    /// No node answers.
    Unreached(String),
    /// Nodes answer, and the cluster's secret is not what was brought.
    Stranger(String),
    /// A group could not be read or written for too long.
    Refused {
        /// Which.
        group: GroupId,
        /// What was said last; nothing if there was no answer.
        why: Option<Refusal>,
    },
    /// A node answered what cannot be.
    Answer(Damage),
    /// The cluster holds a key, and must hold none.
    NotEmpty(Bytes),
    /// The cluster holds something else than the backup.
    Differs(Bytes, Difference),
}

impl From<DiskError> for Error {
    fn from(why: DiskError) -> Self {
        Self::Disk(why)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the cluster has it, and the backup has not",
            Self::Lacks => "the backup has it, and the cluster has not",
            Self::Value => "it has another value in the cluster than in the backup",
            Self::Expiry => "it expires at another time in the cluster than in the backup",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |key: &Bytes| String::from_utf8_lossy(key).escape_debug().to_string();
        match self {
            Self::Taken(name) => write!(f, "the directory is not empty: it holds {name}"),
            Self::Missing => f.write_str("there is no MANIFEST, and no other file of a backup"),
            Self::Unfinished => {
                f.write_str("the backup was never finished: there are files and no MANIFEST")
            }
            Self::Damaged { file, offset, why } => write!(f, "{file}, at byte {offset}: {why}"),
            Self::Disk(why) => why.fmt(f),
            Self::Unreached(why) | Self::Stranger(why) => f.write_str(why),
            Self::Refused { group, why: Some(why) } => write!(f, "group {group}: {why}"),
            Self::Refused { group, why: None } => write!(f, "group {group}: no answer in time"),
            Self::Answer(why) => write!(f, "a node answered what cannot be: {why}"),
            Self::NotEmpty(first) => write!(f, "it holds the key {}", key(first)),
            Self::Differs(at, what) => write!(f, "key {}: {what}", key(at)),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a whole backup. Answers what its manifest says.
///
/// # Errors
/// What is not as it was written, and where.
pub async fn verify<D: Disk>(
    disk: &D,
    dir: &str,
    step: impl FnMut(Step),
) -> Result<Manifest, Error> {
    read(disk, dir, step, |_| {}).await
}

/// The same, and shows each record.
///
/// # Errors
/// What is not as it was written, and where. What was shown before is as it was written.
pub async fn read<D: Disk>(
    disk: &D,
    dir: &str,
    mut step: impl FnMut(Step),
    mut show: impl FnMut(&Record),
) -> Result<Manifest, Error> {
    let shelf = Shelf::new(disk, dir);
    let manifest = shelf.manifest().await?;
    let of = manifest.lines.iter().map(|line| line.records).sum();
    let mut keys = 0;
    for line in &manifest.lines {
        let mut reader = shelf.reader(*line).await?;
        while let Some(records) = reader.next().await? {
            keys += records.len() as u64;
            records.iter().for_each(&mut show);
            step(Step { phase: Phase::Verifies, keys, of });
        }
    }
    Ok(manifest)
}

/// What a manifest says beyond its lines.
impl Manifest {
    /// Keys of all groups.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.lines.iter().map(|line| line.records).sum()
    }

    /// Bytes of all their files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|line: &Line| line.bytes).sum()
    }
}

/// The cluster that listens there, and over how many groups its slots are split.
async fn who<R: Runtime>(rt: &R, options: &Options) -> Result<(Uuid, u32), Error> {
    let within = options.client.connect_within;
    let (mut cluster, mut trouble) = (None, "no node is named".to_owned());
    for at in &options.nodes {
        match greet(rt, *at, options.client.secret, within).await {
            Ok(who) if cluster.is_none_or(|known| known == who.cluster) => {
                cluster = Some(who.cluster);
            }
            Ok(who) => {
                let other = who.cluster;
                trouble = format!("the nodes are of several clusters, {at} of {other}");
                return Err(Error::Unreached(trouble));
            }
            Err(why) => {
                trouble = format!("{at}: {why}");
                if why.is_about_secrets() {
                    return Err(Error::Stranger(trouble));
                }
            }
        }
    }
    let cluster = cluster.ok_or(Error::Unreached(trouble))?;
    let client = Client::start(rt, &options.nodes, options.client);
    // A question about nobody, which changes nothing: the answer tells how many groups there are.
    let op = Op::Replace(Replace { node: NodeId(0), directory: None });
    let wish = Wish { level: Level::Eventual, staleness_ms: 0, within: options.patience };
    match client.call(op, wish).await.outcome {
        Outcome::Ok(Reply::Replacing(told)) if told.groups > 0 => Ok((cluster, told.groups)),
        Outcome::Refused(why) => Err(Error::Unreached(why.to_string())),
        Outcome::Ok(_) | Outcome::Unknown => {
            Err(Error::Unreached("nobody knows how many groups there are".to_owned()))
        }
    }
}
