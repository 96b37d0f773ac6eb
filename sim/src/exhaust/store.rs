//! A whole store under every crash: values, deletions, batches, compaction.
//!
//! The model is the memory engine, one state of it after each batch. What recovery shows must be,
//! values and versions, one of these states, and none before the last that was durable. The running
//! store is held to the model after every step as well, and to its invariants.
//!
//! Not here: the journal's own answers (`journal`), expiry and conditions (`engine`'s tests).

use std::{collections::BTreeMap, fmt, ops::Bound};

use trilith_engine::{
    journal::{ReadError, Sync},
    lone::{Action, BatchOutcome, Effort, GROUP, Store, StoreOptions, Tour, WriteBatch},
    types::{Loc, SegmentId, Version},
    value::{Change, Edit, Engine as _, Memory, Scan, View},
};

use super::{Subject, journal::tiny, play};
use crate::{
    luck::{Domain, Luck},
    still::Still,
};

/// What one write of a step does: the key, and the length of its value or nothing.
pub type Put = (&'static str, Option<usize>);

/// What a store is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One batch.
    Write(&'static [Put], Sync),
    /// Two batches in one commit.
    Together(&'static [Put], &'static [Put], Sync),
    /// Everything becomes durable.
    Sync,
    /// Nothing was written for a while.
    Idle,
    /// The active segment ends.
    Rotate,
    /// The journal's background work.
    Chores,
    /// Everything is compacted.
    Compact,
    /// Everything is compacted while two writes come in between.
    CompactAmidst,
    /// Closed in order, and opened again.
    Reopen,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |sync: &Sync| if *sync == Sync::Now { "now" } else { "later" };
        match self {
            Self::Write(puts, sync) => write!(f, "write {puts:?} {}", when(sync)),
            Self::Together(first, second, sync) => {
                write!(f, "write {first:?} with {second:?} {}", when(sync))
            }
            Self::Sync => f.write_str("sync"),
            Self::Idle => f.write_str("idle"),
            Self::Rotate => f.write_str("rotate"),
            Self::Chores => f.write_str("chores"),
            Self::Compact => f.write_str("compact"),
            Self::CompactAmidst => f.write_str("compact amidst writes"),
            Self::Reopen => f.write_str("reopen"),
        }
    }
}

/// The letters of all short histories.
pub const ALPHABET: &[Step] = &[
    Step::Write(&[("a", Some(30))], Sync::Now),
    Step::Write(&[("b", Some(2500))], Sync::Now),
    Step::Write(&[("a", Some(700)), ("c", Some(9))], Sync::Later),
    Step::Write(&[("a", None)], Sync::Now),
    Step::Together(&[("b", None)], &[("c", Some(600)), ("a", None)], Sync::Now),
    Step::Sync,
    Step::Idle,
    Step::Rotate,
    Step::Chores,
    Step::Compact,
    Step::CompactAmidst,
    Step::Reopen,
];

fn options() -> StoreOptions {
    StoreOptions { journal: tiny(), ..StoreOptions::default() }
}

/// All keys with their values and versions, and the newest version.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    values: BTreeMap<Vec<u8>, (Version, Vec<u8>)>,
    version: Version,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}:", self.version)?;
        for (key, (version, value)) in &self.values {
            let key = String::from_utf8_lossy(key);
            write!(f, " {key}@{version} of {} bytes", value.len())?;
        }
        Ok(())
    }
}

/// The states that there were, one after each batch, and up to which they must survive.
#[derive(Debug)]
pub struct Known {
    memory: Memory,
    states: Vec<State>,
    durable: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { memory: Memory::default(), states: vec![State::default()], durable: 0 }
    }
}

fn value(version: Version, len: usize) -> Vec<u8> {
    let byte = |index: usize| (version.0 as u8).wrapping_mul(31) ^ (index as u8) | 1;
    (0..len).map(|index| if index % 1024 < 300 { byte(index) } else { 0 }).collect()
}

impl Known {
    fn now(&self) -> &State {
        self.states.last().expect("there is always the empty state")
    }

    /// Plays a batch in memory: a record for each put, and for each deletion of what is there.
    fn play(&mut self, puts: &[Put]) -> WriteBatch {
        let mut batch = WriteBatch::new();
        let mut version = self.now().version;
        for (key, len) in puts {
            let view = self.memory.view(GROUP);
            let is_there = view.iter(0).any(|(known, _)| known == key.as_bytes());
            let next = version.next();
            let bytes = value(next, len.unwrap_or(0));
            let loc = Loc { segment: SegmentId(0), offset_words: 0, len: 0 };
            let change = match len {
                Some(_) => Change::Put { value: &bytes, loc, expires_ms: None },
                None => Change::Delete,
            };
            if len.is_some() || is_there {
                version = next;
                let edit = Edit { key: key.as_bytes(), version, change };
                self.memory.apply(GROUP, [edit]).expect("memory takes everything");
            }
            match len {
                Some(_) => batch.put(*key, bytes),
                None => batch.delete(*key),
            };
        }
        let view = self.memory.view(GROUP);
        let values = view
            .iter(0)
            .map(|(key, found)| (key.to_vec(), (found.version, found.value.clone())))
            .collect();
        self.states.push(State { values, version });
        batch
    }

    /// Everything up to this version is durable, says the store.
    fn reached(&mut self, durable: Version) {
        let known = self.states.iter().rposition(|state| state.version <= durable);
        self.durable = self.durable.max(known.unwrap_or(0));
    }
}

async fn write(
    store: &mut Store<Still>,
    known: &mut Known,
    batches: &[&[Put]],
    sync: Sync,
) -> Result<(), ()> {
    let batches: Vec<WriteBatch> = batches.iter().map(|puts| known.play(puts)).collect();
    let last = known.now().version;
    for (answer, batch) in store.commit(&batches, sync).await.into_iter().zip(&batches) {
        match answer.map_err(drop)? {
            BatchOutcome::Done { version, missing } => {
                let deletes = batch.writes().iter().filter(|one| one.action == Action::Delete);
                assert!(version <= last && missing <= deletes.count());
            }
            BatchOutcome::Refused { .. } => unreachable!("no batch has a condition"),
        }
    }
    if sync == Sync::Now {
        known.durable = known.states.len() - 1;
    }
    Ok(())
}

/// Compacts everything, step by step, with writes in between as they come to a store in use.
async fn compact_amidst(store: &mut Store<Still>, known: &mut Known) -> Result<(), ()> {
    let writes: [&[Put]; 2] = [&[("a", Some(20)), ("d", None)], &[("b", None), ("d", Some(5))]];
    let mut writes = writes.into_iter();
    store.rotate().await.map_err(drop)?;
    let mut tour = Tour::new(Effort::Everything);
    while let Some(chore) = store.plan(tour.effort()) {
        if let Some(puts) = writes.next() {
            write(store, known, &[puts], Sync::Later).await?;
        }
        let is_compaction = chore.is_compaction();
        let mut next = Some(chore.run().await);
        while let Some(done) = next {
            if let Some(puts) = writes.next() {
                write(store, known, &[puts], Sync::Later).await?;
            }
            next = store.install(done).await.map_err(drop)?;
        }
        tour.did(is_compaction, Ok(())).map_err(drop)?;
    }
    Ok(())
}

async fn step(
    still: &Still,
    mut store: Store<Still>,
    known: &mut Known,
    step: Step,
) -> Result<Store<Still>, ()> {
    let done = match step {
        Step::Write(puts, sync) => write(&mut store, known, &[puts], sync).await,
        Step::Together(one, two, sync) => write(&mut store, known, &[one, two], sync).await,
        Step::Sync => store.sync().await.map(drop).map_err(drop),
        Step::Idle => store.on_idle().await.map_err(drop),
        Step::Rotate => store.rotate().await.map_err(drop),
        Step::Chores => store.work(Effort::Chores).await.map(drop).map_err(drop),
        Step::Compact => store.compact_all().await.map_err(drop),
        Step::CompactAmidst => compact_amidst(&mut store, known).await,
        Step::Reopen => {
            store.close().await.map_err(drop)?;
            known.durable = known.states.len() - 1;
            store = Store::open(still.clone(), options()).await.map_err(drop)?.0;
            Ok(())
        }
    };
    // What it says of itself counts even when the step was refused.
    known.reached(store.stats().durable);
    done?;
    assert_eq!(store.invariants(), Ok(()), "{step:?}");
    match read_all(&store).await {
        Ok(state) => assert_eq!(state, *known.now(), "after {step:?}"),
        Err(ReadError::Disk(_)) => {}
        Err(why) => panic!("after {step:?}: {why}"),
    }
    Ok(store)
}

async fn read_all(store: &Store<Still>) -> Result<State, ReadError> {
    let view = store.view();
    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
    let page = view.scan(Scan { start, end, keys_max: 100, bytes_max: 1 << 20 }, 0).await?;
    let values = page.items.into_iter().map(|(key, found)| (key, (found.version, found.value)));
    Ok(State { values: values.collect(), version: view.applied() })
}

async fn open(still: &Still) -> Result<(Store<Still>, State), String> {
    let opened = Store::open(still.clone(), options()).await;
    let (store, _) = opened.map_err(|why| format!("refused: {why}"))?;
    store.invariants()?;
    let state = read_all(&store).await.map_err(|why| format!("it cannot be read: {why}"))?;
    Ok((store, state))
}

/// The subject.
#[derive(Debug)]
pub struct Stores;

impl Subject for Stores {
    type Step = Step;
    type Known = Known;
    type Found = State;

    fn run(still: &Still, steps: &[Step], ops: &mut Vec<u64>) -> Known {
        let mut known = Known::default();
        let open = Store::open(still.clone(), options());
        let step = async |store, one| step(still, store, &mut known, one).await;
        play(still, open, step, steps, ops);
        known
    }

    fn recover(still: &Still) -> Result<State, String> {
        still.block_on(async { open(still).await.map(|(_, state)| state) })
    }

    fn judge(known: &Known, found: &State) -> Result<(), String> {
        if known.states[known.durable..].contains(found) {
            return Ok(());
        }
        let said = match known.states[..known.durable].iter().rposition(|state| state == found) {
            Some(before) => format!(
                "it went back to the state after batch {before}, though {} was durable",
                known.durable
            ),
            None => format!("no state after a batch is like this: {:?}", known.states),
        };
        Err(format!("found {found:?}; {said}"))
    }

    fn live_on(still: &Still, found: &State) -> Result<(), String> {
        let after = still.block_on(async {
            let (mut store, _) = open(still).await?;
            let mut batch = WriteBatch::new();
            batch.put("a", [7; 40]).delete("b").put("e", [9; 900]);
            for answer in store.commit(&[batch], Sync::Now).await {
                answer.map_err(|why| format!("it does not go on: {why}"))?;
            }
            store.compact_all().await.map_err(|why| format!("it does not compact: {why}"))?;
            store.invariants()?;
            read_all(&store).await.map_err(|why| why.to_string())
        })?;
        let others = |state: &State| {
            let keys = state.values.iter().filter(|(key, _)| !b"abe".contains(&key[0]));
            keys.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        let has = |key: &[u8], value: &[u8]| {
            let put = after.values.get(key);
            put.is_some_and(|(version, bytes)| bytes == value && *version > found.version)
        };
        let is_right = has(b"a", &[7; 40])
            && has(b"e", &[9; 900])
            && !after.values.contains_key(b"b".as_slice())
            && others(&after) == others(found);
        if !is_right {
            return Err(format!("{found:?} and a batch became {after:?}"));
        }
        let mut luck = Luck::new(found.version.0, Domain::Disk(1));
        let last = Self::recover(&still.after_power_loss(&mut luck, 4))?;
        if last == after { Ok(()) } else { Err(format!("{after:?} became {last:?}")) }
    }
}
