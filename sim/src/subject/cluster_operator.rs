//! Who looks after the cluster: replaces the replicas of a node that has lost its directory.
//!
//! A node that begins with an empty directory is refused by the others, stops, and says which
//! directory it has. The operator reads that, as people read logs, and asks everybody to replace that
//! node's replicas by new ones there, again and again; whoever leads does what is to be done. A
//! directory that is damaged beyond what its node repairs, or came back at the wrong node, is emptied:
//! that is what its refusal says.
//!
//! Not here: when disks are lost (`plan`), what replacing is (`trilith_engine`, `shard/members`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trilith_engine::{
    journal,
    runtime::{Clock, Disk, Runtime, timeout},
    shard::{OpenError, Stopped},
    types::{NodeId, Uuid},
};
use trilith_net::node::{Remote, StartError};

use crate::fault::Family;

/// How often the operator looks.
const EVERY: Duration = Duration::from_millis(300);
/// A disk that fails so often in a row, which is longer than any fault lasts, is dead.
const DEAD_AFTER: u32 = 20;
/// A node that is busy for so long is asked another time.
const PATIENCE: Duration = Duration::from_millis(100);

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
    /// The nodes' consoles.
    remotes: BTreeMap<u32, Remote>,
    /// Nodes that were refused, and the directories that they have now.
    outcasts: BTreeMap<NodeId, Uuid>,
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

    /// A node has begun.
    pub fn began(&self, node: u32, own: NodeId, remote: Remote) {
        let mut papers = self.papers();
        papers.failed.remove(&own);
        papers.remotes.insert(node, remote);
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
            Stopped::Outcast { ours, is_new: true, .. } => {
                self.papers().outcasts.insert(node, *ours);
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

    fn orders(&self) -> Vec<(Remote, NodeId, Uuid)> {
        let papers = self.papers();
        let pairs = papers.outcasts.iter().flat_map(|(node, directory)| {
            papers.remotes.values().map(|remote| (remote.clone(), *node, *directory))
        });
        pairs.collect()
    }
}

/// Looks after the cluster for good.
pub async fn run<R: Runtime>(runtime: R, desk: Desk) {
    let clock = runtime.clock();
    loop {
        clock.sleep_until(clock.now() + EVERY).await;
        for (remote, node, directory) in desk.orders() {
            let asked = remote.replace(node, directory);
            let _heard = timeout(clock, clock.now() + PATIENCE, asked).await;
        }
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
        | OpenError::Contradiction(..)
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
