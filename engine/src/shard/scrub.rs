//! Damage is looked for before somebody needs what it hit.
//!
//! ```text
//!   one full segment after the other, past the cache ──► damages ──► values there ──► broken
//!   a full segment that cannot be settled ────────────►     │              (mend.rs)
//!                                                           └─► deletions there ──► written again
//! ```
//! Reading all that the disk has, slowly, finds what nobody has read for long while others still
//! have it. Of a damaged frame the values that an index points at are mended, those that verify from
//! their own bytes.
//!
//! A segment of the tail whose frames are damaged cannot be settled: its hints would leave out what
//! the damaged frame says. Once all of that is elsewhere they may: live values are mended, and
//! deletions, which no index knows, are written again. The terms and checkpoints in it are older than
//! others by then, and commands say nothing of keys. A deletion that is damaged itself has lost its
//! key; then the segment stays in the tail, and the next opening says what to do.
//!
//! Invariants: a frame is left out of hints only when no index points into it and its deletions are
//! durable elsewhere.
//!
//! Not here: reading segments (`journal`), damage that opening finds (`recover.rs`).

use alloc::{collections::BTreeMap, vec::Vec};
use core::{ops::Bound, time::Duration};

use super::{Done, Outbox, Shard, write::Load};
use crate::{
    journal::{
        Damage, Deletion, Expect, Files, HintSource, Origin, Record, RecordKind, ScrubReport,
    },
    limits, mark,
    raft::Moment,
    runtime::{Handle, Runtime, Task},
    types::{GroupId, Lsn, SegmentId, Term},
    value::{Place, Tree},
};

/// How long what was found is waited for, before it is looked at again.
const AGAIN: Duration = Duration::from_millis(500);
/// Keys that are looked at before anything else gets its turn.
const KEYS_AT_ONCE: usize = 4096;

/// What is read, and what was found.
#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    /// The segment that was read last.
    last: SegmentId,
    /// When the next one is read.
    next: Moment,
    /// A segment is being read.
    is_reading: bool,
    /// A segment's values are being looked at.
    is_looking: bool,
    hurt: BTreeMap<SegmentId, Hurt>,
}

/// A damaged segment.
#[derive(Debug)]
struct Hurt {
    damages: Vec<Damage>,
    /// It is full and cannot be settled.
    is_in_the_way: bool,
    deletions: Deletions,
    again: Moment,
}

/// The deletions in damaged frames.
#[derive(Debug, PartialEq, Eq)]
enum Deletions {
    Unknown,
    Known(Vec<Deletion>),
    /// So many of them are part of the frame that is being written.
    Flying(Vec<Deletion>, usize),
    Written,
}

/// What a look at a damaged segment has found.
pub(super) struct Looked {
    segment: SegmentId,
    values: Vec<(GroupId, Vec<u8>)>,
    /// If that was asked; `None` when one of them is damaged.
    deletions: Option<Option<Vec<Deletion>>>,
}

impl Scrubbing {
    /// Nothing is read before this.
    pub(super) fn beginning(next: Moment) -> Self {
        Self { next, ..Self::default() }
    }

    /// When it wants to be asked again.
    pub(super) fn next(&self, reads: bool) -> Option<Moment> {
        let next = (reads && !self.is_reading).then_some(self.next);
        let hurt = self.hurt.values().filter(|_| !self.is_looking).map(|hurt| hurt.again);
        hurt.chain(next).min()
    }

    /// How many damaged segments are being looked after.
    pub(super) fn hurt_segments(&self) -> usize {
        self.hurt.len()
    }

    /// Whether a frame is wanted.
    pub(super) fn wants_frame(&self) -> bool {
        self.hurt.values().any(|hurt| matches!(hurt.deletions, Deletions::Known(_)))
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// When there is something to look at.
    pub(super) fn scrubs_at(&self) -> Option<Moment> {
        // Whatever is away says so when it comes back.
        self.journal.as_ref()?;
        let reads = self.options.scrub_bytes_per_second > 0 && self.chore.is_none();
        self.scrubbing.next(reads)
    }

    /// Reads the next segment when it is time, and looks after what was found.
    pub(super) fn scrub(&mut self) {
        let now = self.now();
        self.look(now);
        let is_due = self.options.scrub_bytes_per_second > 0 && self.scrubbing.next <= now;
        if !is_due || self.scrubbing.is_reading || self.chore.is_some() {
            return;
        }
        let Some(journal) = &self.journal else { return };
        let full = journal.segments().filter(|info| info.is_sealed).map(|info| info.id);
        let next = full.filter(|id| *id > self.scrubbing.last).min();
        let Some((id, chore)) = next.and_then(|id| Some((id, journal.plan_scrub(id)?))) else {
            self.scrubbing.last = SegmentId(0);
            self.scrubbing.next = now + self.options.scrub_pause;
            return;
        };
        self.scrubbing.last = id;
        self.scrubbing.is_reading = true;
        let back = self.done.0.clone();
        self.chore = Some(self.rt.task().spawn("scrub", async move {
            _ = back.push(Done::Chore(chore.run().await));
        }));
    }

    /// A segment was read.
    pub(super) fn scrubbed(&mut self, report: ScrubReport) {
        let rate = self.options.scrub_bytes_per_second.max(1);
        let nanos = report.bytes.saturating_mul(1_000_000_000) / rate;
        self.scrubbing.is_reading = false;
        self.scrubbing.next = self.now() + Duration::from_nanos(nanos);
        self.counts.scrubbed_bytes += report.bytes;
        self.counts.damage_scrubbed += report.damages.len() as u64;
        for finding in report.findings() {
            tracing::error!(%finding, "reading everything found damage");
        }
        if !report.damages.is_empty() {
            mark!("shard_scrub_found_damage");
            self.hurt(report.segment, report.damages, false);
        }
    }

    /// A full segment is damaged.
    pub(super) fn hurt(&mut self, id: SegmentId, damages: Vec<Damage>, is_in_the_way: bool) {
        let again = self.now();
        let fresh =
            Hurt { damages: Vec::new(), is_in_the_way, deletions: Deletions::Unknown, again };
        let hurt = self.scrubbing.hurt.entry(id).or_insert(fresh);
        if hurt.damages.is_empty() || is_in_the_way {
            hurt.damages = damages;
        }
        hurt.is_in_the_way |= is_in_the_way;
    }

    /// Looks at what is in a damaged segment's damaged frames.
    fn look(&mut self, now: Moment) {
        if self.scrubbing.is_looking {
            return;
        }
        let due = self.scrubbing.hurt.iter().find(|(_, hurt)| hurt.again <= now);
        let (Some((id, hurt)), Some(journal)) = (due, &self.journal) else { return };
        let (id, asks) = (*id, hurt.is_in_the_way && hurt.deletions == Deletions::Unknown);
        let source = asks.then(|| journal.settled_source(id)).flatten();
        if self.engine.files().get(id).is_none() || asks && source.is_none() {
            // It is gone.
            self.scrubbing.hurt.remove(&id);
            return;
        }
        let looker = Looker {
            rt: self.rt.clone(),
            files: self.engine.files().clone(),
            trees: self.engine.trees(),
            segment: id,
            damages: hurt.damages.clone(),
            takes_all: hurt.is_in_the_way,
        };
        let back = self.done.0.clone();
        self.scrubbing.is_looking = true;
        let look = async move { _ = back.push(Done::Looked(looker.run(source).await)) };
        self.rt.task().spawn("look", look).detach();
    }

    /// A damaged segment was looked at.
    pub(super) fn looked(&mut self, looked: Looked) {
        let now = self.now();
        self.scrubbing.is_looking = false;
        let Looked { segment, values, deletions } = looked;
        for (group, key) in &values {
            self.broke_at_rest(*group, key);
        }
        let Some(hurt) = self.scrubbing.hurt.get_mut(&segment) else { return };
        hurt.again = now + AGAIN;
        match deletions {
            Some(None) => {
                mark!("shard_damaged_segment_stays");
                tracing::error!(
                    %segment,
                    "a segment is damaged so that it cannot be settled: the directory will not be \
                     opened again; replace the node"
                );
                self.scrubbing.hurt.remove(&segment);
                return;
            }
            Some(Some(found)) if found.is_empty() => hurt.deletions = Deletions::Written,
            Some(Some(found)) => hurt.deletions = Deletions::Known(found),
            None => {}
        }
        if !values.is_empty() {
            return;
        }
        let range = |damage: &Damage| Some((damage.first_lsn, damage.last_lsn?));
        let lost: Option<Vec<(Lsn, Lsn)>> = hurt.damages.iter().map(range).collect();
        match (&mut self.journal, lost) {
            _ if !hurt.is_in_the_way => _ = self.scrubbing.hurt.remove(&segment),
            (Some(journal), Some(lost)) if hurt.deletions == Deletions::Written => {
                mark!("shard_damaged_segment_settles");
                journal.give_up(segment, lost);
                self.scrubbing.hurt.remove(&segment);
            }
            _ => {}
        }
    }

    /// Puts deletions from damaged frames into a frame.
    pub(super) fn push_lost_deletions(&mut self, frame: &mut Load, flying: &mut Vec<SegmentId>) {
        let began = frame.bytes();
        for (id, hurt) in &mut self.scrubbing.hurt {
            let Deletions::Known(deletions) = &mut hurt.deletions else { continue };
            let all = core::mem::take(deletions);
            let mut pushed = 0;
            for (group, key, version) in &all {
                if !frame.has_room(began) {
                    break;
                }
                mark!("shard_damaged_deletion_written_again");
                frame.push(&Record {
                    group: *group,
                    kind: RecordKind::Tombstone,
                    version: *version,
                    term: Term(0),
                    expires_ms: None,
                    origin: Origin::State,
                    key,
                    value: &[],
                });
                pushed += 1;
            }
            if pushed == 0 {
                hurt.deletions = Deletions::Known(all);
                return;
            }
            hurt.deletions = Deletions::Flying(all, pushed);
            flying.push(*id);
        }
    }

    /// They are durable, or were not written.
    pub(super) fn deletions_landed(&mut self, flown: Vec<SegmentId>, is_durable: bool) {
        for id in flown {
            let Some(hurt) = self.scrubbing.hurt.get_mut(&id) else { continue };
            let Deletions::Flying(all, pushed) = &mut hurt.deletions else { continue };
            let left = if is_durable { all.split_off(*pushed) } else { core::mem::take(all) };
            hurt.deletions =
                if left.is_empty() { Deletions::Written } else { Deletions::Known(left) };
        }
    }
}

/// A key whose value lies in a damaged frame.
type Hit = (Vec<u8>, Place);

/// What a look needs.
struct Looker<R: Runtime> {
    rt: R,
    files: alloc::sync::Arc<Files<R>>,
    trees: BTreeMap<GroupId, Tree>,
    segment: SegmentId,
    damages: Vec<Damage>,
    /// Whether everything in damaged frames is to go elsewhere, or only what is damaged.
    takes_all: bool,
}

impl<R: Runtime> Looker<R> {
    async fn run(self, source: Option<(HintSource<R>, Vec<u32>)>) -> Looked {
        let deletions = match source {
            Some((source, dead)) => Some(source.deletions(&self.damages, &dead).await),
            None => None,
        };
        Looked { segment: self.segment, values: self.values().await, deletions }
    }

    async fn values(&self) -> Vec<(GroupId, Vec<u8>)> {
        let mut found = Vec::new();
        for (group, tree) in &self.trees {
            let mut after: Option<Vec<u8>> = None;
            while found.len() < limits::SHARD_BROKEN_MAX / 2 {
                let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let (hit, last) = self.page(tree, start);
                for (key, place) in hit {
                    let expect = Expect { group: *group, key: &key, version: place.version };
                    if self.takes_all || self.files.check(place.loc, expect).await.is_err() {
                        found.push((*group, key));
                    }
                }
                if last.is_none() {
                    break;
                }
                after = last;
                self.rt.task().yield_now().await;
            }
        }
        found
    }

    /// What of the next keys lies in damaged frames, and the last of these keys.
    fn page(&self, tree: &Tree, start: Bound<&[u8]>) -> (Vec<Hit>, Option<Vec<u8>>) {
        let mut cursor = tree.range(start, Bound::Unbounded);
        let mut hit = Vec::new();
        for left in (0..KEYS_AT_ONCE).rev() {
            let Some((key, place)) = cursor.next() else { return (hit, None) };
            if self.is_hit(&place) {
                hit.push((key.to_vec(), place));
            }
            if left == 0 {
                return (hit, Some(key.to_vec()));
            }
        }
        (hit, None)
    }

    fn is_hit(&self, place: &Place) -> bool {
        let (start, end) = (place.loc.offset(), place.loc.offset() + place.loc.padded_len());
        let overlaps =
            |damage: &Damage| start < damage.offset + damage.bytes && damage.offset < end;
        place.loc.segment == self.segment && self.damages.iter().any(overlaps)
    }
}
