//! The journal in a world: one node that writes, reads back, rotates, seals, compacts, and dies.
//!
//! ```text
//!  each life:  open ─► recovered hints ─► every value read ─► the model's judge
//!              then, until the power goes:
//!              append now · append later · sync · read · rotate · seal · compact · chores · close
//! ```
//! The index here is the simplest there is, a map from key to the newest record; what is tested is
//! what stands on disk. Chores and compactions run in tasks of their own while appends go on, as
//! they do in a store.
//!
//! A disk that damages bytes may be refused: at open with an error that says so, at read with an
//! error. What may never happen is wrong bytes, or a silent hole. So a scenario with damage lets
//! the node refuse, and ends there.
//!
//! Not here: batches, conditions, expiry and snapshots of the store (`store`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use trilith_engine::{
    journal::{
        Chore, Claim, Done, Expect, Files, Journal, JournalError, JournalOptions, ManifestEdit,
        OpenError, Origin, ReadError, Record, RecordKind, SegmentHints, Sync,
    },
    mark,
    runtime::{Clock, Either, Handle, Receiver, Rng, Runtime, Sender, Task, queue, race},
    types::{GroupId, Loc, SegmentId, Term, Version},
};

use crate::{
    check::{Verdict, store::Model},
    fault::Family,
    history::{Key, Value},
    luck::{Domain, Luck},
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    subject::toy_run::settle,
    world::{NodeOptions, World},
};

const GROUP: GroupId = GroupId(1);
/// How long a supervisor waits before it starts a life again that has ended by itself.
const RESTART: Duration = Duration::from_millis(20);

/// Where a record is.
#[derive(Clone, Copy, Debug)]
struct Place {
    version: Version,
    kind: RecordKind,
    loc: Loc,
}

type Index = BTreeMap<Key, Place>;

/// What outlives the lives: the model and the verdict.
#[derive(Debug)]
struct Bench {
    model: Model,
    luck: Luck,
    next: Value,
    verdict: Verdict,
    /// The disk damages bytes: refusing is allowed.
    damaged: bool,
    refused: Option<String>,
    keys: u64,
    value_bytes: u64,
    options: JournalOptions,
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Bench>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Bench> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn luck(&self, range: std::ops::Range<u64>) -> u64 {
        self.lock().luck.range(range)
    }

    fn convict(&self, verdict: Verdict) {
        let mut bench = self.lock();
        if bench.verdict == Verdict::Holds {
            bench.verdict = verdict;
        }
    }

    /// Something was refused: fine on a damaged disk, a finding on any other.
    fn refuse(&self, what: &str, why: &str) {
        let damaged = {
            let mut bench = self.lock();
            bench.refused = Some(why.to_string());
            bench.damaged
        };
        if damaged {
            mark!("journal subject: a damaged disk was refused");
        } else {
            self.convict(Verdict::violated("store", what, why));
        }
    }
}

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: Key) -> Vec<u8> {
    format!("k{key:03}").into_bytes()
}

fn key_of(bytes: &[u8]) -> Option<Key> {
    std::str::from_utf8(bytes.get(1..)?).ok()?.parse().ok()
}

/// The bytes of a value: its number, and then as many as the number says, often zeros, which is
/// what a sector looks like that was never written.
fn value_bytes(id: Value, most: u64) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let length = if spread.is_multiple_of(11) { most * 8 } else { spread % (most + 1) };
    let fill = if id.is_multiple_of(3) { 0 } else { (id % 251) as u8 };
    bytes.resize(8 + length as usize, fill);
    bytes
}

/// Options that make everything small, so that a short life rotates and seals.
pub(super) fn small_options(luck: &mut Luck) -> JournalOptions {
    JournalOptions {
        first_segment_bytes: 4096 << luck.range(1..4),
        segment_bytes_max: 4096 << luck.range(3..6),
        spares: luck.range(1..3) as usize,
        reserve_bytes: 0,
        manifest_bytes: 4096 << luck.range(0..3),
        ..JournalOptions::default()
    }
}

/// Runs the scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let mut luck = Luck::new(request.seed, Domain::Named("journal subject"));
    let options = small_options(&mut luck);
    let shared = Shared(Arc::new(Mutex::new(Bench {
        model: Model::default(),
        luck,
        next: 0,
        verdict: Verdict::Holds,
        damaged: drawn.families.contains(&Family::DiskDamage),
        refused: None,
        keys: u64::from(drawn.shape.keys.max(1)),
        value_bytes: drawn.value_bytes,
        options,
    })));
    let mut world = drawn.world(request);
    let lives = shared.clone();
    world.add("store", NodeOptions::default(), move |runtime| {
        let shared = lives.clone();
        async move {
            let lives = async {
                while shared.lock().refused.is_none() {
                    life(&runtime, &shared).await;
                    let clock = runtime.clock();
                    clock.sleep_until(clock.now() + RESTART).await;
                }
                std::future::pending::<()>().await;
            };
            race(runtime.stopped(), lives).await;
        }
    });
    world.start_all();
    world.play(&drawn.faults);
    let time = scenario.time;
    world.run_until(Duration::from_millis(time.chaos_ms));
    settle(&mut world, time.chaos_ms, time.settle_ms);
    // One more life, after everything was quiet.
    world.power_loss(crate::world::NodeId(0));
    world.start_all();
    world.run_for(Duration::from_millis(time.calm_ms));
    let verdict = shared.lock().verdict.clone();
    (world, Evidence { store: Some(verdict), ..Evidence::default() })
}

/// Files that are held on to, and what must still be read from them.
type Pin<R> = (Arc<Files<R>>, Key, Place, Option<Value>);

/// A running journal and its index.
struct Life<R: Runtime> {
    runtime: R,
    shared: Shared,
    journal: Journal<R>,
    index: Index,
    /// Chores under way come back here.
    done: Receiver<Finished<R>>,
    give: Sender<Finished<R>>,
    task: Option<<R::Task as Task>::Handle>,
    /// Old views of the files, with what they must still be able to read.
    pins: Vec<Pin<R>>,
}

enum Finished<R: Runtime> {
    Chore(Done<R>),
    /// Segments rewritten: the new one, what it holds, and the old ones.
    Rewritten(Box<Rewritten<R>>),
    Nothing,
}

struct Rewritten<R: Runtime> {
    data: Option<trilith_engine::journal::DataSegment<R>>,
    moved: Vec<(Key, Version, Loc)>,
    victims: Vec<SegmentId>,
}

/// Why a life ended by itself.
enum Over {
    /// The journal has stopped, or was closed.
    Stopped,
}

async fn life<R: Runtime>(runtime: &R, shared: &Shared) {
    let options = shared.lock().options;
    let (journal, recovered) = match Journal::open(runtime, options).await {
        Ok(opened) => opened,
        // A disk that fails or is full for the moment: the next life tries again.
        Err(OpenError::Disk(_) | OpenError::Locked) => return,
        Err(why) => return shared.refuse("a healthy directory was refused", &why.to_string()),
    };
    let (give, done) = queue(4);
    let mut life = Life {
        runtime: runtime.clone(),
        shared: shared.clone(),
        index: index(&recovered.segments),
        journal,
        done,
        give,
        task: None,
        pins: Vec::new(),
    };
    if !life.judge_recovery().await {
        return;
    }
    while shared.lock().refused.is_none() {
        if let Err(Over::Stopped) = life.step().await {
            return;
        }
    }
}

fn index(segments: &[SegmentHints]) -> Index {
    let mut index = Index::new();
    for segment in segments {
        for hint in segment.iter().filter(|hint| hint.group == GROUP) {
            let Some(key) = key_of(hint.key) else { continue };
            let place = Place { version: hint.version, kind: hint.kind, loc: hint.loc };
            let known = index.entry(key).or_insert(place);
            if known.version < place.version {
                *known = place;
            }
        }
    }
    index
}

/// Reads what a place says. `Err` when the disk refused.
async fn read<R: Runtime>(
    files: &Files<R>,
    key: Key,
    place: Place,
    most: u64,
) -> Result<Option<Value>, ReadError> {
    if place.kind != RecordKind::Put {
        return Ok(None);
    }
    let name = key_bytes(key);
    let expect = Expect { group: GROUP, key: &name, version: place.version };
    let record = files.read(place.loc, expect).await?;
    let id = record.value().first_chunk().map_or(0, |id| u64::from_le_bytes(*id));
    // A value that is not what its number says is a value that nobody wrote.
    let whole = record.value() == value_bytes(id, most);
    Ok(Some(if whole { id } else { u64::MAX }))
}

impl<R: Runtime> Life<R> {
    /// Reads everything and asks the model. Answers whether the life may go on.
    async fn judge_recovery(&mut self) -> bool {
        let files = self.journal.files();
        let most = self.shared.lock().value_bytes;
        let mut found = BTreeMap::new();
        for (key, place) in &self.index {
            match read(&files, *key, *place, most).await {
                Ok(Some(value)) => drop(found.insert(*key, value)),
                Ok(None) => {}
                Err(ReadError::Disk(_)) => return false,
                Err(why) => {
                    self.shared.refuse("a recovered record cannot be read", &why.to_string());
                    return false;
                }
            }
        }
        if let Err(broken) = self.journal.invariants() {
            self.shared.convict(Verdict::violated("store", broken, "right after recovery"));
        }
        let verdict = self.shared.lock().model.recover(&found);
        let goes_on = verdict == Verdict::Holds;
        self.shared.convict(verdict);
        goes_on
    }

    async fn step(&mut self) -> Result<(), Over> {
        let idle = Duration::from_micros(self.shared.luck(1..4000));
        let clock = self.runtime.clock().clone();
        // Work that has come back is taken up between two steps, as a store's loop does.
        let until = clock.now() + idle;
        if let Either::Left(Ok(finished)) = race(self.done.recv(), clock.sleep_until(until)).await {
            self.task = None;
            self.finish(finished).await?;
        }
        let dice = self.shared.luck(0..100);
        match dice {
            0..40 => self.append(Sync::Now).await,
            40..58 => self.append(Sync::Later).await,
            58..64 => self.sync().await,
            64..74 => self.read_one().await,
            74..80 => self.pin().await,
            80..90 => self.chore(),
            90..94 => self.compact(),
            94..96 => self.rotate().await,
            96..99 => self.seal().await,
            _ => self.maybe_close().await,
        }
    }

    fn stop(why: &JournalError) -> Result<(), Over> {
        match why {
            JournalError::NoSpace | JournalError::NotPrepared(_) => Ok(()),
            JournalError::Failed(_)
            | JournalError::Stopped
            | JournalError::OutOfOrder { .. }
            | JournalError::Empty
            | JournalError::Misfit(_) => Err(Over::Stopped),
        }
    }

    async fn append(&mut self, sync: Sync) -> Result<(), Over> {
        let mut frame = self.journal.frame();
        let mut edits: BTreeMap<Key, Option<Value>> = BTreeMap::new();
        let mut places = Vec::new();
        let (most, keys) = {
            let bench = self.shared.lock();
            (bench.value_bytes, bench.keys)
        };
        for _ in 0..self.shared.luck(1..5) {
            let key = self.shared.luck(0..keys) as Key;
            let value = if self.shared.luck(0..4) == 0 {
                None
            } else {
                let mut bench = self.shared.lock();
                bench.next += 1;
                Some(bench.next)
            };
            let (name, bytes) = (key_bytes(key), value.map(|id| value_bytes(id, most)));
            let version = Version(frame.next_lsn().0);
            let kind = if value.is_some() { RecordKind::Put } else { RecordKind::Tombstone };
            let record = Record {
                group: GROUP,
                kind,
                version,
                term: Term(0),
                expires_ms: None,
                origin: Origin::State,
                key: &name,
                value: bytes.as_deref().unwrap_or_default(),
            };
            if frame.push(&record).is_err() {
                break;
            }
            edits.insert(key, value);
            places.push((key, version, kind));
        }
        let count = self.shared.lock().model.issue(edits.into_iter().collect());
        match self.journal.append(frame, sync).await {
            Ok(persisted) => {
                if persisted.is_durable {
                    self.shared.lock().model.acknowledge(count);
                }
                for (at, (key, version, kind)) in places.into_iter().enumerate() {
                    self.index.insert(key, Place { version, kind, loc: persisted.loc(at) });
                }
                Ok(())
            }
            Err(why) => {
                if why.is_retryable() {
                    mark!("journal subject: an append found no room");
                    self.shared.lock().model.take_back();
                }
                Self::stop(&why)
            }
        }
    }

    async fn sync(&mut self) -> Result<(), Over> {
        let count = self.shared.lock().model.count();
        match self.journal.sync().await {
            Ok(_lsn) => {
                self.shared.lock().model.acknowledge(count);
                Ok(())
            }
            Err(why) => Self::stop(&why),
        }
    }

    fn some_place(&self) -> Option<(Key, Place)> {
        let at = self.shared.luck(0..self.index.len().max(1) as u64) as usize;
        self.index.iter().nth(at).map(|(key, place)| (*key, *place))
    }

    async fn check_read(&self, files: &Files<R>, key: Key, place: Place, held: Option<Value>) {
        let most = self.shared.lock().value_bytes;
        match read(files, key, place, most).await {
            Ok(found) if found == held => {}
            Ok(found) => {
                let told = format!("k{key}: {held:?} was written, {found:?} was read");
                self.shared.convict(Verdict::violated(
                    "store",
                    "a read answered other bytes than were written",
                    told,
                ));
            }
            Err(ReadError::Disk(_)) => {}
            Err(why) => self.shared.refuse("a record cannot be read", &why.to_string()),
        }
    }

    async fn read_one(&mut self) -> Result<(), Over> {
        if let Some((key, place)) = self.some_place() {
            let held = self.shared.lock().model.state().get(&key).copied();
            let files = self.journal.files();
            self.check_read(&files, key, place, held).await;
        }
        Ok(())
    }

    /// Holds on to the files as they are, or looks through an old hold.
    async fn pin(&mut self) -> Result<(), Over> {
        if self.pins.len() < 4 && self.shared.luck(0..2) == 0 {
            if let Some((key, place)) = self.some_place() {
                let held = self.shared.lock().model.state().get(&key).copied();
                self.pins.push((self.journal.files(), key, place, held));
            }
        } else if !self.pins.is_empty() {
            let at = self.shared.luck(0..self.pins.len() as u64) as usize;
            let (files, key, place, held) = self.pins.remove(at);
            self.check_read(&files, key, place, held).await;
        }
        Ok(())
    }

    fn chore(&mut self) -> Result<(), Over> {
        if self.task.is_some() {
            return Ok(());
        }
        let segments: Vec<SegmentId> =
            self.journal.segments().filter(|one| one.is_sealed).map(|one| one.id).collect();
        let scrub = self.shared.luck(0..6) == 0 && !segments.is_empty();
        let chore: Option<Chore<R>> = if scrub {
            let at = self.shared.luck(0..segments.len() as u64) as usize;
            self.journal.plan_scrub(segments[at])
        } else {
            self.journal.plan()
        };
        if let Some(chore) = chore {
            let give = self.give.clone();
            self.task = Some(self.runtime.task().spawn("chore", async move {
                let finished = Finished::Chore(chore.run().await);
                if give.send(finished).await.is_err() {
                    mark!("journal subject: a chore outlived its life");
                }
            }));
        }
        Ok(())
    }

    async fn finish(&mut self, finished: Finished<R>) -> Result<(), Over> {
        match finished {
            Finished::Chore(done) => match self.journal.install(done).await {
                Ok(_installed) => Ok(()),
                Err(why) => Self::stop(&why),
            },
            Finished::Rewritten(rewritten) => self.install(*rewritten).await,
            Finished::Nothing => Ok(()),
        }
    }

    /// Rewrites one or two sealed segments: what is still the newest goes into a new one.
    fn compact(&mut self) -> Result<(), Over> {
        let sealed: Vec<SegmentId> =
            self.journal.segments().filter(|one| one.is_sealed).map(|one| one.id).collect();
        if self.task.is_some() || sealed.is_empty() {
            return Ok(());
        }
        let first = self.shared.luck(0..sealed.len() as u64) as usize;
        let count = self.shared.luck(1..4) as usize;
        let victims: Vec<SegmentId> = sealed[first..].iter().take(count).copied().collect();
        let sources: Vec<_> =
            victims.iter().filter_map(|id| self.journal.hint_source(*id)).collect();
        let (files, newest) = (self.journal.files(), self.index.clone());
        let writer = self.journal.data_writer(Claim::Moving);
        let (give, runtime) = (self.give.clone(), self.runtime.clone());
        self.task = Some(self.runtime.task().spawn("compaction", async move {
            let finished = rewrite(writer, &sources, &files, &newest, victims).await;
            let finished = finished
                .map_or(Finished::Nothing, |rewritten| Finished::Rewritten(Box::new(rewritten)));
            if give.send(finished).await.is_err() {
                mark!("journal subject: a compaction outlived its life");
            }
            drop(runtime);
        }));
        Ok(())
    }

    /// Two edits, as a store does it: first the new segment is part of the store, then the index
    /// points into it, then the old ones go.
    async fn install(&mut self, rewritten: Rewritten<R>) -> Result<(), Over> {
        let add = rewritten.data.into_iter().collect();
        if let Err(why) = self.journal.edit(ManifestEdit { add, ..ManifestEdit::default() }).await {
            return Self::stop(&why);
        }
        for (key, version, loc) in rewritten.moved {
            if let Some(place) = self.index.get_mut(&key).filter(|place| place.version == version) {
                place.loc = loc;
            }
        }
        // What made the victims' records old may not be durable yet; it must be before they go.
        self.sync().await?;
        let drop = rewritten.victims;
        match self.journal.edit(ManifestEdit { drop, ..ManifestEdit::default() }).await {
            Ok(()) => {
                mark!("journal subject: segments were compacted away");
                Ok(())
            }
            Err(why) => Self::stop(&why),
        }
    }

    async fn rotate(&mut self) -> Result<(), Over> {
        let count = self.shared.lock().model.count();
        match self.journal.rotate().await {
            Ok(()) => {
                // Rotating syncs what was there.
                self.shared.lock().model.acknowledge(count);
                Ok(())
            }
            Err(why) => Self::stop(&why),
        }
    }

    async fn seal(&mut self) -> Result<(), Over> {
        match self.journal.seal_idle().await {
            Ok(()) => Ok(()),
            Err(why) => Self::stop(&why),
        }
    }

    /// Now and then: close in order, and begin again.
    async fn maybe_close(&mut self) -> Result<(), Over> {
        if self.shared.luck(0..4) > 0 {
            return Ok(());
        }
        if let Some(task) = self.task.take() {
            task.join().await;
        }
        let count = self.shared.lock().model.count();
        // Closing takes the journal; another one, never used, takes its place for the moment.
        self.pins.clear();
        match self.journal.sync().await {
            Ok(_) => {
                self.shared.lock().model.acknowledge(count);
                Err(Over::Stopped)
            }
            Err(why) => Self::stop(&why),
        }
    }
}

/// Copies what is still the newest of the victims, in order of keys. `None` when it cannot be done
/// now: compaction may always wait.
async fn rewrite<R: Runtime>(
    mut writer: trilith_engine::journal::DataWriter<R>,
    sources: &[trilith_engine::journal::HintSource<R>],
    files: &Files<R>,
    newest: &Index,
    victims: Vec<SegmentId>,
) -> Option<Rewritten<R>> {
    let mut keep: BTreeMap<Key, Place> = BTreeMap::new();
    for source in sources {
        let hints = source.load().await.ok()?;
        for hint in hints.iter().filter(|hint| hint.group == GROUP) {
            let Some(key) = key_of(hint.key) else { continue };
            if newest.get(&key).is_some_and(|place| place.version == hint.version) {
                keep.insert(key, Place { version: hint.version, kind: hint.kind, loc: hint.loc });
            }
        }
    }
    let mut moved = Vec::new();
    let mut empty = true;
    for (key, place) in keep {
        let name = key_bytes(key);
        let expect = Expect { group: GROUP, key: &name, version: place.version };
        let Ok(record) = files.read(place.loc, expect).await else {
            writer.abort().await;
            return None;
        };
        let Ok(loc) = writer.push_raw(&record).await else {
            writer.abort().await;
            return None;
        };
        moved.push((key, place.version, loc));
        empty = false;
    }
    if empty {
        writer.abort().await;
        return Some(Rewritten { data: None, moved, victims });
    }
    let data = writer.finish().await.ok()?;
    Some(Rewritten { data: Some(data), moved, victims })
}
