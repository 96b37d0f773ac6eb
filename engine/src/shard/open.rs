//! Opening a shard: what its directory holds becomes groups again.
//!
//! A directory belongs to one member of one cluster and says so; another member's is refused before
//! anything is changed. One that lists no groups may have them founded later (`found.rs`).
//!
//! Not here: recovery of the journal (`journal`), of the log (`recover.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::{fmt, time::Duration};

use super::{
    Outbox, Shard,
    checkpoint::{Checkpoint, Unreadable},
    counts::Counts,
    expiry::Expiry,
    forward::Forward,
    group::{Group, Offered},
    owed::Owed,
    pace::{Pace, PaceOptions},
    peers::Peers,
    recover::{self, Found},
    room::Room,
    scrub::Scrubbing,
    settle::{Anchor, Settling},
    snapshot::Snapshots,
    time::Clocks,
    timers::Timers,
    write::Flight,
};
use crate::{
    journal::{
        self, Damage, Journal, JournalOptions, OnDamage, OpenReport, Owner, SegmentHints,
        TailSegment, Verdict,
    },
    mark, planted,
    raft::{self, Boot, BootError, Effects, Moment, Raft},
    runtime::{Clock, Instant, Rng, Runtime, queue},
    types::{GroupId, Index, NodeId, SegmentId, Uuid, Version},
    value::{HotValues, Indexed, Policy},
};

/// How a shard is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// The journal's part.
    pub journal: JournalOptions,
    /// Patience and limits of the groups.
    pub raft: raft::Config,
    /// When compaction runs.
    pub compaction: Policy,
    /// How many bytes a second compaction moves at most; 0 for no limit.
    pub compaction_bytes_per_second: u64,
    /// How many bytes of journal segments are kept for followers that are behind.
    pub retain_bytes: u64,
    /// How much of a frame each kind of record may take (entries, computed values, checkpoints and
    /// others), but for the last piece: larger frames make every group wait longer and save hardly
    /// any syncs.
    pub frame_bytes: usize,
    /// How many bytes of applied entries a group keeps in memory for its followers.
    pub cache_bytes: u64,
    /// How many bytes of memory hold values that were read lately; 0 for none.
    pub hot_bytes: u64,
    /// How many bytes a second are read to see whether they are still whole; 0 for none.
    pub scrub_bytes_per_second: u64,
    /// How long nothing is read for that when everything was, and at the beginning.
    pub scrub_pause: Duration,
    /// How often replicas compare their states, in a group's own time. The same for all nodes: the
    /// points at which they compare follow from it.
    pub compare_every: Duration,
    /// When this node counts as slow and does not lead while others could.
    pub pace: PaceOptions,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            journal: JournalOptions {
                settled_by_owner: true,
                damage: OnDamage::Report,
                // Room for copies of two of the largest segments: a full disk gets room back by them.
                reserve_bytes: 128 << 20,
                ..JournalOptions::default()
            },
            raft: raft::Config::default(),
            compaction: Policy::default(),
            compaction_bytes_per_second: 128 << 20,
            retain_bytes: 64 << 20,
            frame_bytes: 4 << 20,
            cache_bytes: 4 << 20,
            hot_bytes: 64 << 20,
            scrub_bytes_per_second: 2 << 20,
            scrub_pause: Duration::from_secs(60 * 60),
            compare_every: Duration::from_secs(10),
            pace: PaceOptions::default(),
        }
    }
}

/// The groups that there are from the beginning, and who holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The cluster. A directory keeps the one that it was made for.
    pub cluster: Uuid,
    /// What stands for what never changes in it: its name, and how many groups it has.
    pub name: u64,
    /// The groups, in the order in which the slots are split over them.
    pub groups: Vec<GroupId>,
    /// The nodes that hold a replica of each; the replica has the node's number.
    pub members: Vec<NodeId>,
}

/// Why a shard could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The journal's reason.
    Journal(journal::OpenError),
    /// Something that was durable is damaged.
    Damaged(Damage),
    /// The hints of a segment are damaged, and nothing else tells its dead records.
    Distrusted(SegmentId),
    /// A group is listed, and its newest state is not there.
    Lost(GroupId),
    /// A group has lost something that no other replica can give it.
    Irreparable(GroupId, &'static str),
    /// A group's log and state contradict each other.
    Contradiction(GroupId, BootError),
    /// The state of a group was not what most others have, and the directory was given up for that.
    GivenUp(GroupId, Index),
    /// A record that was verified says what none can say.
    Unreadable(&'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Damaged(damage) => write!(f, "{damage}; {REPLACE}"),
            Self::Distrusted(segment) => {
                write!(f, "the hints of segment {segment} are damaged; {REPLACE}")
            }
            Self::Lost(group) => {
                write!(f, "the directory has lost the state of group {group}; {REPLACE}")
            }
            Self::Irreparable(group, what) => {
                write!(f, "damage has taken from group {group} {what}; {REPLACE}")
            }
            Self::Contradiction(group, error) => {
                write!(f, "group {group} contradicts itself: {error}; {REPLACE}")
            }
            Self::GivenUp(group, at) => write!(
                f,
                "this directory was given up: its state of group {group} differed from what most \
                 replicas have, behind entry {at}; {REPLACE}"
            ),
            Self::Unreadable(what) => write!(f, "{what}; {REPLACE}"),
        }
    }
}

/// What to do about a directory that cannot be opened and cannot be repaired here.
const REPLACE: &str = "empty it and replace the node: trilith ctl replace";

impl core::error::Error for OpenError {}

impl From<journal::OpenError> for OpenError {
    fn from(error: journal::OpenError) -> Self {
        Self::Journal(error)
    }
}

impl From<Unreadable> for OpenError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable.0)
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Opens the shard in the runtime's directory. An empty one becomes this node's; its groups are
    /// founded when the others have welcomed it.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way and what to do.
    pub async fn open(
        rt: R,
        mut options: ShardOptions,
        node: NodeId,
        founding: &Founding,
        outbox: O,
    ) -> Result<(Self, OpenReport), OpenError> {
        let Founding { cluster, name, .. } = *founding;
        options.journal.owner = Some(Owner { cluster, name, number: node });
        let began = rt.clock().now();
        let (journal, recovered) = Journal::open(&rt, options.journal).await?;
        refuse_given_up(&journal)?;
        refuse_damage(&recovered.report, &recovered.tail)?;
        let mut settling = Settling::default();
        let mut found = recover::scan(&recovered.tail, &mut settling)?;
        let known: BTreeSet<GroupId> = journal.groups().collect();
        if let Some(lost) = known.iter().find(|id| !found.contains_key(id)) {
            return Err(OpenError::Lost(*lost));
        }
        found.retain(|id, _| known.contains(id));
        refuse_losses(&mut found, &recovered.segments)?;
        let others = founding.members.iter().filter(|member| **member != node).count();
        let to_found = known.is_empty().then(|| founding.clone());
        let first_scrub = Moment(rt.clock().now().0) + options.scrub_pause;
        let mut shard = Self {
            rng: rt.rng("shard"),
            pace: Pace::new(options.pace),
            hot: HotValues::new(options.hot_bytes),
            options,
            node,
            outbox,
            peers: Peers::new(recovered.report.node, to_found, others, journal.peers()),
            slotted: founding.groups.clone(),
            groups: BTreeMap::new(),
            engine: load(&journal, &recovered.tail, recovered.segments, &found),
            journal: Some(journal),
            done: queue(4),
            working: None,
            chore: None,
            installs: VecDeque::new(),
            compaction: super::compaction::Stage::None,
            compaction_past: super::compaction::Past::default(),
            compaction_covers: BTreeMap::new(),
            snapshots: Snapshots::default(),
            cuts: super::cut::Cuts::default(),
            timers: Timers::default(),
            fx: Effects::default(),
            offered: Offered::default(),
            owed: Owed::default(),
            unsaved: BTreeSet::new(),
            gathered: BTreeSet::new(),
            committed: BTreeSet::new(),
            readable: BTreeSet::new(),
            unfetched: VecDeque::new(),
            beats: BTreeMap::new(),
            flight: Flight::default(),
            settling,
            mending: super::mend::Mending::default(),
            scrubbing: Scrubbing::beginning(first_scrub),
            clocks: Clocks::new(rt.clock().wall().0, Moment(rt.clock().now().0)),
            room: Room::default(),
            expiry: Expiry::default(),
            forward: Forward::default(),
            counts: Counts::default(),
            holdings: (0, journal::Holdings::default()),
            lately: Moment(rt.clock().now().0),
            viewers: Vec::new(),
            stopping: None,
            stopped: None,
            rt,
        };
        shard.boot_all(found)?;
        shard.note_opened(&recovered.report, began);
        Ok((shard, recovered.report))
    }

    /// The keys are those of the checkpoints; what was written since is applied again afterwards.
    fn note_opened(&mut self, report: &OpenReport, began: Instant) {
        self.counts.damage_opened = report.damages.len() as u64;
        let rafts = self.groups.values().map(|group| &group.raft);
        let left = rafts.map(|raft| raft.log().last().index.0.saturating_sub(raft.applied().0));
        // Not among what is told: that is looked at only while somebody listens, and a look at the
        // clock is part of a run.
        let millis = self.rt.clock().now().since(began).as_millis() as u64;
        tracing::info!(
            node = %self.node,
            groups = self.groups.len(),
            entries_to_apply = left.sum::<u64>(),
            keys = self.engine.keys(),
            segments = report.segments_hinted + report.segments_walked,
            bytes_read = report.bytes_read,
            millis,
            "opened"
        );
    }

    fn boot_all(&mut self, found: BTreeMap<GroupId, Found>) -> Result<(), OpenError> {
        for (id, found) in found {
            let group = self.boot(id, found)?;
            self.engine.advance(id, Version(group.raft.applied().0));
            self.groups.insert(id, group);
        }
        if let Some(journal) = &self.journal {
            self.engine.set_files(journal.files());
        }
        Ok(())
    }

    pub(super) fn boot(&mut self, id: GroupId, found: Found) -> Result<Group, OpenError> {
        let recovered = found.recover().ok_or(OpenError::Lost(id))?;
        let anchor = found.anchored_at();
        let own = found
            .checkpoint
            .as_ref()
            .and_then(|checkpoint| self.peers.own_replica(self.node, &checkpoint.roster));
        let replica = own.ok_or(OpenError::Lost(id))?;
        let hard = found.hard(replica);
        let Found { checkpoint, uncounted, .. } = found;
        let checkpoint = checkpoint.ok_or(OpenError::Lost(id))?;
        let Checkpoint { at, membership, roster, state, .. } = checkpoint;
        let checkpoint_stamp = state.stamp();
        let boot = Boot {
            group: id,
            id: replica,
            // No other life had it, as far as luck goes; and read positions above it stay below 2^63.
            incarnation: (self.rng.next_u64() >> 33) as u32,
            config: raft::Config {
                priority: self.pace.priority(self.options.raft.priority),
                ..self.options.raft
            },
            hard,
            base: recovered.base,
            heads: &recovered.heads,
            faulty: &recovered.faulty,
            applied: at.index,
            membership,
        };
        let now = Moment(self.rt.clock().now().0);
        let raft = Raft::boot(boot, now, self.rng.next_u64())
            .map_err(|error| OpenError::Contradiction(id, error))?;
        // A learner could not make up for it: it does not vote. A change that is under way may have
        // made others voters.
        let members = raft.membership();
        let is_only_voter = [members.voters(), members.outgoing()].contains(&[replica].as_slice());
        let is_only_voter =
            is_only_voter && !raft.log().changes_members(at.index.next(), raft.log().last().index);
        if !raft.remembers() && is_only_voter {
            return Err(OpenError::Irreparable(id, "its last records, and nobody else has them"));
        }
        Ok(Group {
            roster,
            stamp: recovered.stamp,
            stamped_at: now,
            void: recovered.void,
            uncounted,
            anchor: Anchor { at: anchor, covers: at.index, stamp: checkpoint_stamp },
            ..Group::new(raft, hard, recovered.window, state)
        })
    }
}

/// The index as of the groups' checkpoints.
fn load<R: Runtime>(
    journal: &Journal<R>,
    tail: &[TailSegment],
    mut lists: Vec<SegmentHints>,
    found: &BTreeMap<GroupId, Found>,
) -> Indexed<R> {
    let mut engine = Indexed::new(journal.files());
    for hints in &lists {
        engine.ledger_mut().enter(hints);
    }
    for segment in tail {
        // What is spared counts too: older than a deletion, it must not outlive it.
        for relic in segment.relics() {
            let record = relic.record();
            engine.ledger_mut().wrote(relic.loc(), record.kind, record.version);
        }
        lists.push(segment.hints(|loc, record| {
            found.get(&record.group).is_some_and(|group| group.counts(loc, record))
        }));
    }
    // Of copies of one record the first list's is taken: the newer one may be there because the
    // older one is damaged.
    lists.reverse();
    let until = |id| {
        let checkpoint = found.get(&id).and_then(|found| found.checkpoint.as_ref());
        Version(checkpoint.map_or(0, |checkpoint| checkpoint.at.index.0))
    };
    // A key is expired by the group's own time, which is not known yet: nothing is left out.
    engine.load_until(lists.iter().map(SegmentHints::iter).collect(), 0, until);
    engine
}

/// Each group says whether others can bring back what it has lost.
fn refuse_losses(
    groups: &mut BTreeMap<GroupId, Found>,
    settled: &[SegmentHints],
) -> Result<(), OpenError> {
    groups.iter_mut().try_for_each(|(id, found)| {
        settled.iter().for_each(|hints| found.foresee(*id, hints));
        found.check().map_err(|why| OpenError::Irreparable(*id, why.0))
    })
}

/// A directory whose state was another one than the others had stays given up.
fn refuse_given_up<R: Runtime>(journal: &Journal<R>) -> Result<(), OpenError> {
    match journal.given_up() {
        Some((group, at)) if !planted!("shard_given_up_comes_back") => {
            Err(OpenError::GivenUp(group, at))
        }
        _ => Ok(()),
    }
}

/// What was durable and cannot be read any more must not pass for what never was. Where the tail
/// names all of it, each group says what that means for it.
fn refuse_damage(report: &OpenReport, tail: &[TailSegment]) -> Result<(), OpenError> {
    let is_borne = |damage: &Damage| {
        damage.verdict == Verdict::Ambiguous || tail.iter().any(|segment| segment.explains(damage))
    };
    if let Some(damage) = report.damages.iter().find(|damage| !is_borne(damage)) {
        mark!("shard_opening_refused_for_damage");
        return Err(OpenError::Damaged(damage.clone()));
    }
    match report.distrusted.first() {
        Some((segment, _)) => Err(OpenError::Distrusted(*segment)),
        None => Ok(()),
    }
}
