//! Who looks after the cluster: replaces the replicas of a node that has lost its directory.
//!
//! A node that begins with an empty directory is refused by the others, stops, and says so. The
//! operator reads that, as people read logs, and replaces the node as `trilith ctl replace` does,
//! over the same door: everybody is asked, again and again, until it is done. Meanwhile nodes come
//! and go, and directories are lost once more. A directory that is damaged beyond what its node
//! repairs, or came back at the wrong node, is emptied: that is what its refusal says.
//!
//! Not here: when disks are lost (`plan`), what replacing is (`trilith_net`, `client/replace`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trilith_engine::{
    journal, mark,
    runtime::{Clock, Disk, Runtime},
    shard::{OpenError, Stopped},
    types::NodeId,
};
use trilith_net::{
    client::{ClientOptions, Replacement, Standing},
    node::StartError,
    peer::proof::Secret,
};

use crate::fault::Family;

/// How often the operator looks.
const EVERY: Duration = Duration::from_millis(300);
/// A disk that fails so often in a row, which is longer than any fault lasts, is dead.
const DEAD_AFTER: u32 = 20;
/// By then a new directory has its groups, when no faults happen any more.
const REPLACED_WITHIN: Duration = Duration::from_secs(3);
/// A node that is busy for so long is asked another time.
const PATIENCE: Duration = Duration::from_millis(300);

/// What the operator knows.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// Whether disks may lose what was acknowledged: otherwise a damaged directory is a bug, and
    /// stays for the judges to see.
    expects_damage: bool,
    papers: Arc<Mutex<Papers>>,
}

#[derive(Debug, Default)]
struct Papers {
    /// Nodes that were refused because their directories are new.
    outcasts: BTreeSet<NodeId>,
    /// Nodes whose directories were replaced, and are to be emptied.
    replaced: BTreeSet<NodeId>,
    /// How often in a row a node could not begin because its disk failed.
    failed: BTreeMap<NodeId, u32>,
}

impl Desk {
    /// Of a run with these families of faults.
    pub fn new(families: &[Family]) -> Self {
        let expects_damage = families.iter().any(|family| family.is_damage());
        Self { expects_damage, papers: Arc::default() }
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a node may be away that is stopped: its disk may prove dead, and is replaced then.
    pub fn back_within(&self, restart: Duration) -> Duration {
        if self.expects_damage { restart * DEAD_AFTER + REPLACED_WITHIN } else { Duration::ZERO }
    }

    /// A node has begun.
    pub fn began(&self, node: NodeId) {
        self.papers().failed.remove(&node);
    }

    /// A node could not begin. Whether its directory is to be emptied.
    pub fn refused(&self, node: NodeId, why: &StartError) -> bool {
        let StartError::Open(OpenError::Journal(journal::OpenError::Disk(_))) = why else {
            return self.expects_damage && has_no_directory(why);
        };
        let mut papers = self.papers();
        let failed = papers.failed.entry(node).or_default();
        *failed += 1;
        let is_dead = self.expects_damage && *failed >= DEAD_AFTER;
        if is_dead {
            papers.failed.remove(&node);
        }
        is_dead
    }

    /// A node has ended by itself.
    pub fn ended(&self, node: NodeId, why: &Stopped) {
        match why {
            Stopped::Outcast { is_new: true, .. } => {
                self.papers().outcasts.insert(node);
            }
            Stopped::Outcast { .. } | Stopped::Damaged(_) | Stopped::Diverged { .. } => {
                if self.expects_damage {
                    self.papers().replaced.insert(node);
                }
            }
            Stopped::Unreachable | Stopped::Asked | Stopped::Journal(_) => {}
        }
    }

    /// Whether the directory of a node that is about to begin is to be emptied first.
    pub fn is_replaced(&self, node: NodeId) -> bool {
        self.papers().replaced.remove(&node)
    }
}

/// Looks after the cluster whose nodes listen there, for so long. Nodes are judged by what they hold
/// when nobody asks for anything any more, and who is told that a node serves asks on.
pub async fn run<R: Runtime>(
    runtime: R,
    (nodes, secret): (Arc<[SocketAddr]>, Option<Secret>),
    desk: Desk,
    so_long: Duration,
) {
    let usual = ClientOptions { secret, ..ClientOptions::default() };
    let clock = runtime.clock();
    let ends = clock.now() + so_long;
    let mut under_way: BTreeMap<NodeId, Replacement<R>> = BTreeMap::new();
    while clock.now() < ends {
        clock.sleep_until(clock.now() + EVERY).await;
        for node in std::mem::take(&mut desk.papers().outcasts) {
            let new = || Replacement::new(&runtime, &nodes, usual, node, None);
            under_way.entry(node).or_insert_with(new);
        }
        let mut over = Vec::new();
        for (node, replacement) in &mut under_way {
            let standing = replacement.step(PATIENCE).await;
            tracing::info!(%node, ?standing, "a replacement");
            match standing {
                Standing::Done { .. } => over.push(*node),
                Standing::Several(_) => mark!("cluster: a node showed several directories"),
                Standing::Serves(_) => mark!("cluster: a node that was refused still serves"),
                Standing::Unanswered
                | Standing::NotAMember
                | Standing::NotShown
                | Standing::Going(_) => {}
            }
        }
        under_way.retain(|node, _| !over.contains(node));
    }
}

/// Whether a node could not begin because of what its directory is: another one's, damaged, or what
/// is left of one that was being emptied.
fn has_no_directory(why: &StartError) -> bool {
    use journal::OpenError::{
        Contradiction, Corrupt, NoCurrent, OtherNode, OtherOwner, Unreadable,
    };
    let StartError::Open(why) = why else { return false };
    match why {
        OpenError::Journal(why) => matches!(
            why,
            OtherOwner { .. }
                | OtherNode { .. }
                | NoCurrent { .. }
                | Unreadable { .. }
                | Contradiction { .. }
                | Corrupt { .. }
        ),
        OpenError::Damaged(_)
        | OpenError::Distrusted(_)
        | OpenError::Lost(_)
        | OpenError::Irreparable(..)
        | OpenError::Contradiction(..)
        | OpenError::GivenUp(..)
        | OpenError::Unreadable(_) => true,
    }
}

/// Empties the runtime's directory.
pub async fn wipe<R: Runtime>(runtime: &R) {
    let disk = runtime.disk();
    for dir in ["", "j", "d"] {
        let Ok(entries) = disk.list(dir).await else { continue };
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let slash = if dir.is_empty() { "" } else { "/" };
            // What cannot be removed now is removed in the next life.
            let _removed = disk.remove(&format!("{dir}{slash}{}", entry.name)).await;
        }
        let _synced = disk.sync_dir(dir).await;
    }
}
