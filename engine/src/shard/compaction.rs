//! Space comes back: what nothing needs any more goes, what is live moves.
//!
//! ```text
//!   look for room ─► choose ─► copy ─► list ─► point the index there ─► checkpoints ─► drop
//!   a task                     a task  manifest                                        manifest
//! ```
//! The copies are what the index held; a new life begins with what it held as of the checkpoints,
//! which is older. So the originals go only when checkpoints cover what was copied.
//!
//! A journal segment goes when its live values have moved and no follower may need its entries: the
//! newest segments are kept for those, up to a budget. A follower that is further behind is sent a
//! snapshot.
//!
//! No more is copied than there is room for; and when the copies did not fit all the same, half as
//! much is tried next, because what did not fit once would not a second time. On a full disk no segment is kept for followers, and
//! little waste is reason enough.
//!
//! What has expired goes too, by the time of its group: a later entry sees it as expired, so no
//! replica can tell whether it is gone.
//!
//! Every turn asks. A need that nothing could meet is looked into again when something has changed
//! on which that answer rested (`Asked`).
//!
//! Not here: which segments are worth it (`value/ledger.rs`), copying (`value/compact.rs`).

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};
use core::time::Duration;

use super::{Done, Outbox, Shard, Stopped, group::Group};
use crate::{
    always,
    journal::{
        Claim, DataSegment, HintSource, Journal, JournalError, ManifestEdit, RecordKind,
        SegmentKind,
    },
    mark, planted,
    raft::{Input, Moment},
    runtime::{Disk, Runtime, Task},
    types::{GroupId, Lsn, SegmentId},
    value::{CompactError, Compacted, JobParts, Line, Need, Progress},
};

/// Keys that are pointed elsewhere before anything else gets its turn: a quarter of a millisecond.
const MOVES_AT_ONCE: usize = 512;

/// After a compaction that gave up, or for which there was no room, none is begun for so long; for
/// twice as long after each that follows.
const HOLD: Duration = Duration::from_secs(5);

/// So often is that doubled.
const HOLD_DOUBLED_MAX: u32 = 3;

/// So often is the room that a compaction takes for its copies halved.
const TIGHT_MAX: u32 = 6;

/// Where a compaction has come to.
#[derive(Default)]
pub(super) enum Stage<R: Runtime> {
    /// There is none.
    #[default]
    None,
    /// One is needed, and a task looks how much room there is.
    Looking(<R::Task as Task>::Handle),
    /// So many bytes are free.
    Looked(u64),
    /// A task copies.
    Copying(<R::Task as Task>::Handle),
    /// The copies are there and no part of the store yet.
    Copied(Box<Compacted<R>>),
    /// The index is being pointed at them.
    Moving(Box<Compacted<R>>, Progress),
    /// The index points at them; the originals are to be dropped.
    Moved(Box<Compacted<R>>),
    /// The journal is being told.
    Telling,
    /// None is begun before this.
    Held(Moment),
}

/// What became of the compactions before.
#[derive(Default)]
pub(super) struct Past {
    /// What it rested on that nothing could be moved, when one was needed last.
    asked: Option<Asked>,
    /// How often none was begun, or one gave up, since the last that was done.
    held: u32,
    /// How many one after another gave up because their copies did not fit.
    tight: u32,
}

/// What a choice of segments rests on.
#[derive(PartialEq, Eq)]
struct Asked {
    need: Need,
    /// How much was free when the disk was found full.
    full: Option<u64>,
    /// Which lines of the ledger.
    changes: u64,
    /// Which segments of the journal.
    listing: u64,
    /// Segments that must stay.
    pinned: BTreeSet<SegmentId>,
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Takes the next step of a compaction. Answers whether the journal is away for it.
    pub(super) fn compact(&mut self) {
        self.compaction = match core::mem::take(&mut self.compaction) {
            Stage::None => self.look_for_work(),
            Stage::Looked(free) if self.journal.is_some() => self.begin_compaction(free),
            Stage::Held(until) if self.now() >= until => self.look_for_work(),
            Stage::Copied(compacted) => self.list(compacted),
            Stage::Moving(compacted, mut progress) => {
                let (engine, expired) = (&mut self.engine, &mut self.counts.expired);
                let more = compacted.next_moves(&mut progress, MOVES_AT_ONCE, |moved| {
                    *expired += u64::from(engine.relocate(moved, &compacted.victims));
                });
                if more { Stage::Moving(compacted, progress) } else { self.end_moves(compacted) }
            }
            Stage::Moved(compacted) => self.end_moves(compacted),
            waits => waits,
        };
    }

    /// The originals go, when checkpoints cover what was copied and the manifest has room to say so.
    fn end_moves(&mut self, compacted: Box<Compacted<R>>) -> Stage<R> {
        if self.is_covered() && self.may_edit() {
            self.drop_victims(compacted)
        } else {
            Stage::Moved(compacted)
        }
    }

    /// Whether a compaction waits for checkpoints, or for the manifest.
    pub(super) const fn compaction_waits(&self) -> bool {
        matches!(self.compaction, Stage::Moved(_))
    }

    /// Whether every group's checkpoint covers what the index held when the compaction was planned.
    /// What was superseded by then is not among the copies; and a life that began from an older
    /// checkpoint would need it.
    fn is_covered(&mut self) -> bool {
        let planned = &self.compaction_covers;
        let lacks = |(id, group): &(&GroupId, &Group)| {
            planned.get(id).is_some_and(|planned| group.anchor.covers < *planned)
        };
        let missing: Vec<GroupId> = self.groups.iter().filter(lacks).map(|(id, _)| *id).collect();
        if planted!("shard_victims_dropped_uncovered") {
            return true;
        }
        let is_covered = missing.is_empty();
        self.settling.anchor(missing);
        is_covered
    }

    /// Whether the next step needs nothing but a turn. One that needs the journal gets it when that
    /// comes back.
    pub(super) const fn compaction_goes_on(&self) -> bool {
        matches!(self.compaction, Stage::Moving(..))
    }

    /// What is asked of the ledger now, if anything is needed and it was not asked before.
    fn asks(&self) -> Option<Asked> {
        let (journal, ledger) = (self.journal.as_ref()?, self.engine.ledger());
        let full = journal.full();
        let need = match full {
            None => ledger.need(&self.options.compaction)?,
            Some(_) => Need::Room,
        };
        let pinned: BTreeSet<SegmentId> = self.snapshots.uncounted().collect();
        let (changes, listing) = (ledger.changes(), journal.listing());
        let asked = Asked { need, full, changes, listing, pinned };
        (self.compaction_past.asked.as_ref() != Some(&asked)).then_some(asked)
    }

    /// Sees whether anything is needed, and how much room there is for it.
    fn look_for_work(&self) -> Stage<R> {
        if self.asks().is_none() {
            return Stage::None;
        }
        let (disk, back) = (self.rt.disk().clone(), self.done.0.clone());
        Stage::Looking(self.rt.task().spawn("space", async move {
            // Who does not say how full it is will say when it is.
            let free = disk.space().await.map_or(u64::MAX, |space| space.free_bytes);
            _ = back.push(Done::Space(free));
        }))
    }

    /// So many bytes are free.
    pub(super) fn has_space(&mut self, free: u64) {
        self.compaction = Stage::Looked(free);
    }

    /// What is worth moving while so many bytes are free, if there is anything.
    fn victims(&mut self, free: u64) -> Result<Victims<R>, Idle> {
        let asked = self.asks().ok_or(Idle::Unneeded)?;
        let journal = self.journal.as_ref().ok_or(Idle::Unneeded)?;
        // On a full disk a follower that needs more gets a snapshot.
        let is_full = asked.need == Need::Room;
        let retain_bytes = if is_full { 0 } else { self.options.retain_bytes };
        refresh(&mut self.engine, journal, retain_bytes, &asked.pinned);
        let (ledger, policy) = (self.engine.ledger(), &self.options.compaction);
        let room = match planted!("shard_compaction_takes_no_look") && !is_full {
            true => u64::MAX,
            false => journal.room_to_move(free) >> self.compaction_past.tight.min(TIGHT_MAX),
        };
        let victims = ledger.victims(asked.need, policy, room);
        let lacks_room = || !ledger.victims(asked.need, policy, u64::MAX).is_empty();
        if !is_full && victims.is_empty() && lacks_room() {
            mark!("shard_compaction_lacks_room");
            self.compaction_past.tight = 0;
            return Err(Idle::NoRoom);
        }
        let sources: Vec<_> = victims.iter().filter_map(|id| journal.hint_source(*id)).collect();
        let is_answer = !victims.is_empty() && sources.len() == victims.len();
        let changes = ledger.changes();
        self.compaction_past.asked = (!is_answer).then_some(Asked { changes, ..asked });
        if is_answer { Ok((victims, sources)) } else { Err(Idle::Unneeded) }
    }

    /// None is begun for a while, and for longer each time.
    fn hold_compaction(&mut self) -> Stage<R> {
        let doubled = self.compaction_past.held.min(HOLD_DOUBLED_MAX);
        self.compaction_past.held += 1;
        Stage::Held(self.now() + HOLD * (1 << doubled))
    }

    /// When one may be begun again.
    pub(super) const fn compacts_at(&self) -> Option<Moment> {
        let Stage::Held(until) = &self.compaction else { return None };
        Some(*until)
    }

    /// Another need than before may be met at once.
    pub(super) fn end_hold(&mut self) {
        self.compaction_past.held = 0;
        if matches!(self.compaction, Stage::Held(_)) {
            self.compaction = Stage::None;
        }
    }

    fn begin_compaction(&mut self, free: u64) -> Stage<R> {
        let (victims, sources) = match self.victims(free) {
            Ok(victims) => victims,
            Err(Idle::Unneeded) => return Stage::None,
            Err(Idle::NoRoom) => return self.hold_compaction(),
        };
        let Some(journal) = &mut self.journal else { return Stage::None };
        let ledger = self.engine.ledger();
        let lines = victims.iter().filter_map(|id| ledger.line(*id));
        let bytes: u64 = lines.map(|line| line.live_bytes + line.tombstone_bytes).sum();
        let segment_bytes = self.options.journal.segment_bytes_max;
        let writers = 2 + bytes / segment_bytes;
        // A life that begins from the checkpoint applies again what comes behind it, and must see
        // what had not expired by then.
        let stamp = |group: &Group| match planted!("shard_compaction_by_the_newest_time") {
            true => group.state.stamp(),
            false => group.anchor.stamp,
        };
        let stamps = self.groups.iter().map(|(id, group)| (*id, stamp(group).ms()));
        let parts = JobParts {
            rt: self.rt.clone(),
            sources,
            victims,
            writers: (0..writers).map(|_| journal.data_writer(Claim::Moving)).collect(),
            horizon: Lsn(journal.next_lsn().0 - 1),
            now_ms: stamps.collect(),
            segment_bytes,
            bytes_per_second: self.options.compaction_bytes_per_second,
        };
        let applied = |(id, group): (&GroupId, &Group)| (*id, group.state.applied());
        self.compaction_covers = self.groups.iter().map(applied).collect();
        let (job, back) = (self.engine.plan(parts), self.done.0.clone());
        mark!("shard_compaction");
        self.counts.compactions_begun += 1;
        Stage::Copying(self.rt.task().spawn("compaction", async move {
            let result = job.run().await;
            _ = back.push(Done::Compacted(result.map(Box::new)));
        }))
    }

    pub(super) fn compacted(&mut self, result: Result<Box<Compacted<R>>, CompactError>) {
        self.compaction = match result {
            Ok(compacted) => Stage::Copied(compacted),
            Err(error) => {
                tracing::warn!(%error, "a compaction gave up");
                if let Some(segment) = error.faulty() {
                    self.engine.ledger_mut().edit(segment, |line| line.is_faulty = true);
                }
                if let CompactError::Value { group, key, .. } = &error {
                    mark!("shard_compaction_met_damage");
                    self.broke(*group, key);
                }
                if error.is_full() && !planted!("shard_compaction_gives_up_the_same_again") {
                    self.compaction_past.tight += 1;
                }
                self.hold_compaction()
            }
        };
    }

    /// Makes the copies part of the store.
    fn list(&mut self, mut compacted: Box<Compacted<R>>) -> Stage<R> {
        let add = core::mem::take(&mut compacted.segments);
        let edit = ManifestEdit { add, ..ManifestEdit::default() };
        match self.tell(edit, Told::Listed(compacted)) {
            Ok(()) => Stage::Telling,
            // The journal is away.
            Err(back) => match *back {
                (edit, Told::Listed(mut compacted)) => {
                    compacted.segments = edit.add;
                    Stage::Copied(compacted)
                }
                (_, Told::Dropped(_)) => Stage::None,
            },
        }
    }

    /// Drops what was moved.
    fn drop_victims(&mut self, compacted: Box<Compacted<R>>) -> Stage<R> {
        let ledger = self.engine.ledger();
        let lines = compacted.victims.iter().filter_map(|id| ledger.line(*id));
        let is_done_with = lines.into_iter().all(|line| line.live_bytes == 0);
        if !always!(is_done_with, "what is dropped holds nothing live") {
            return self.hold_compaction();
        }
        let drop = compacted.victims.clone();
        let edit = ManifestEdit { drop, ..ManifestEdit::default() };
        match self.tell(edit, Told::Dropped(compacted)) {
            Ok(()) => Stage::Telling,
            // The journal is away.
            Err(back) => match *back {
                (_, Told::Listed(compacted) | Told::Dropped(compacted)) => Stage::Moved(compacted),
            },
        }
    }

    /// Lets the journal edit its manifest.
    fn tell(&mut self, edit: ManifestEdit<R>, told: Told<R>) -> Result<(), Untold<R>> {
        let Some(mut journal) = self.journal.take() else { return Err(Box::new((edit, told))) };
        let back = self.done.0.clone();
        self.working = Some(self.rt.task().spawn("edit", async move {
            let result = journal.edit(edit).await;
            _ = back.push(Done::Told(journal, result, told));
        }));
        Ok(())
    }

    /// The manifest is edited, or not.
    pub(super) fn told(
        &mut self,
        journal: Journal<R>,
        result: Result<(), JournalError>,
        told: Told<R>,
    ) {
        self.working = None;
        self.engine.set_files(journal.files());
        self.journal = Some(journal);
        self.compaction = match (result, told) {
            (Err(error), _) if !error.is_retryable() => {
                self.stopped = Some(Stopped::Journal(error));
                Stage::None
            }
            (Err(error), Told::Listed(_)) => {
                tracing::warn!(%error, "a compaction could not be listed");
                self.hold_compaction()
            }
            // The copies are in use; the originals go another time.
            (Err(_), Told::Dropped(compacted)) => {
                self.room.refused_edit(self.now());
                Stage::Moved(compacted)
            }
            (Ok(()), Told::Listed(compacted)) => {
                for (id, line) in &compacted.lines {
                    self.engine.ledger_mut().edit(*id, |made| *made = *line);
                }
                Stage::Moving(compacted, Progress::default())
            }
            (Ok(()), Told::Dropped(compacted)) => {
                self.dropped(&compacted);
                Stage::None
            }
        };
    }

    /// Segments are gone, and with them a part of the logs.
    fn dropped(&mut self, compacted: &Compacted<R>) {
        self.compaction_past = Past { asked: self.compaction_past.asked.take(), ..Past::default() };
        self.counts.compactions += 1;
        self.counts.segments_dropped += compacted.victims.len() as u64;
        self.counts.compacted_bytes += compacted.bytes;
        let victims: BTreeSet<SegmentId> = compacted.victims.iter().copied().collect();
        for victim in &victims {
            self.engine.ledger_mut().forget(*victim);
        }
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(upto) = group.window.newest_in(|segment| victims.contains(&segment)) else {
                continue;
            };
            assert!(upto <= group.raft.applied(), "only settled segments go");
            mark!("shard_log_compacted");
            group.window.compact(upto);
            self.step(id, Input::Compacted { upto });
        }
        tracing::info!(
            victims = victims.len(),
            segments = compacted.lines.len(),
            bytes = compacted.bytes,
            "compacted"
        );
    }
}

/// Segments to be moved, and their hints.
type Victims<R> = (Vec<SegmentId>, Vec<HintSource<R>>);

/// Why nothing is moved.
enum Idle {
    /// Nothing has to be, or nothing can.
    Unneeded,
    /// Something should be, and copies would take more than there is.
    NoRoom,
}

/// What the manifest was not told, because it was away.
type Untold<R> = Box<(ManifestEdit<R>, Told<R>)>;

/// What the manifest was told of a compaction.
pub(super) enum Told<R: Runtime> {
    Listed(Box<Compacted<R>>),
    Dropped(Box<Compacted<R>>),
}

/// What a segment that has just been written holds; nothing of it is live yet.
pub(super) fn line_of<R: Runtime>(segment: &DataSegment<R>) -> (SegmentId, Line) {
    let mut line = Line { is_settled: true, ..Line::default() };
    for stats in &segment.stats {
        line.bytes += stats.bytes;
        line.hold(RecordKind::Put, stats.version_min);
    }
    (segment.id(), line)
}

/// Brings the ledger up to what the journal says: settled segments may go, but for the newest ones
/// of the journal, up to a budget.
fn refresh<R: Runtime>(
    engine: &mut crate::value::Indexed<R>,
    journal: &Journal<R>,
    retain_bytes: u64,
    pinned: &BTreeSet<SegmentId>,
) {
    let mut segments: Vec<_> = journal.segments().collect();
    segments.sort_by_key(|info| core::cmp::Reverse(info.base_lsn));
    let mut retained = 0;
    for info in segments {
        let is_journal = info.kind == SegmentKind::Journal;
        // A snapshot that does not count yet looks dead.
        let mut may_go = info.has_footer && !pinned.contains(&info.id);
        if is_journal && retained < retain_bytes {
            retained += info.bytes;
            may_go = false;
        }
        engine.ledger_mut().edit(info.id, |line| {
            line.is_journal = is_journal;
            line.hint_bytes = info.footer_bytes;
            line.is_settled = may_go;
        });
    }
}
