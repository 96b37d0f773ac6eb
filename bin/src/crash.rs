//! One simulated life of the store: it writes, loses its power inside a disk operation, and comes
//! back. From a seed, so that it can be lived again.
//!
//! The store here is the store that `KvStore` wraps, line for line; only its disk, its clock and
//! its luck are the simulator's. What it acknowledged is kept in a plain map, and the map is the
//! judge: after the crash the store must hold exactly the acknowledged batches, plus or minus the
//! one that was under way, whole or not at all.
//!
//! Not here: many nodes, many faults, shrinking (`trilith-sim`).

use std::collections::BTreeMap;
use trilith_engine::{
    codec,
    journal::{JournalOptions, Sync},
    lone::{Store, StoreError, StoreOptions, WriteBatch},
    runtime::Rng,
    value::{Scan, View},
};
use trilith_sim::{
    luck::{Domain, Luck},
    platter::{Platter, PlatterOptions},
    still::Still,
};

/// What the store should hold.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What happened in a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The seed it was drawn from.
    pub seed: u64,
    /// In which changing operation of the disk the power went.
    pub operation: u64,
    /// How many batches were acknowledged before.
    pub acknowledged: usize,
    /// How many operations the batch under way had; 0 when none was.
    pub in_doubt: usize,
    /// Whether that batch was found afterwards.
    pub was_kept: bool,
    /// How many keys were found afterwards.
    pub keys: usize,
    /// Everything that happened, in one number.
    pub digest: u64,
}

/// Small segments, so that a short life has rotations in it.
fn options() -> StoreOptions {
    let journal = JournalOptions {
        first_segment_bytes: 32 << 10,
        segment_bytes_max: 64 << 10,
        ..JournalOptions::default()
    };
    StoreOptions { journal, ..StoreOptions::default() }
}

/// A rolling digest: the checksum of what was before, and of what is new.
struct Rolling(u64);

impl Rolling {
    fn add(&mut self, bytes: &[u8]) {
        let (low, high) = (self.0 as u32, (self.0 >> 32) as u32);
        self.0 =
            (u64::from(codec::crc(high, bytes)) << 32) | u64::from(codec::crc(low, bytes) ^ high);
    }
}

const BATCHES_MAX: u64 = 400;
const KEYS: u64 = 60;
const VALUE_BYTES_MAX: u64 = 1500;

/// A batch, and what the model looks like after it.
fn draw(luck: &mut Luck, model: &Model) -> (WriteBatch, Model) {
    let (mut batch, mut after) = (WriteBatch::new(), model.clone());
    for _ in 0..luck.range(1..5) {
        let key = format!("key-{:02}", luck.range(0..KEYS)).into_bytes();
        if luck.chance(1, 4) {
            after.remove(&key);
            batch.delete(key);
        } else {
            let mut value = vec![0; luck.range(0..VALUE_BYTES_MAX) as usize];
            luck.fill(&mut value);
            after.insert(key.clone(), value.clone());
            batch.put(key, value);
        }
    }
    (batch, after)
}

/// Everything in the store.
async fn everything(store: &Store<Still>) -> Result<Model, String> {
    let scan = Scan {
        start: std::ops::Bound::Unbounded,
        end: std::ops::Bound::Unbounded,
        keys_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    let page = store.view().scan(scan, store.latest_ms()).await;
    let page = page.map_err(|error| error.to_string())?;
    Ok(page.items.into_iter().map(|(key, found)| (key, found.value)).collect())
}

/// Writes until the power goes. Answers the model, the model if the batch under way is kept, and
/// how many batches were acknowledged.
async fn write(
    still: &Still,
    sync: Sync,
    luck: &mut Luck,
    digest: &mut Rolling,
) -> Result<(Model, Option<(Model, usize)>, usize), String> {
    let mut model = Model::new();
    let mut store = match Store::open(still.clone(), options()).await {
        Ok((store, _)) => store,
        // The power may go before the store is made; then nothing was promised.
        Err(StoreError::Open(_)) => return Ok((model, None, 0)),
        Err(error) => return Err(error.to_string()),
    };
    for acknowledged in 0..BATCHES_MAX as usize {
        let (batch, after) = draw(luck, &model);
        let answers = store.commit(std::slice::from_ref(&batch), sync).await;
        let answer = answers.into_iter().next().ok_or("a batch without an answer")?;
        digest.add(format!("{answer:?}").as_bytes());
        if answer.is_err() {
            return Ok((model, Some((after, batch.len())), acknowledged));
        }
        model = after;
    }
    Ok((model, None, BATCHES_MAX as usize))
}

/// Lives one life, and judges it.
///
/// The error is the judge's sentence.
pub fn live(seed: u64) -> Result<Life, String> {
    live_with(seed, Sync::Now)
}

fn live_with(seed: u64, sync: Sync) -> Result<Life, String> {
    let mut luck = Luck::new(seed, Domain::Named("demo"));
    let mut digest = Rolling(seed);
    let disk =
        PlatterOptions { luck: Luck::new(seed, Domain::Disk(0)), ..PlatterOptions::default() };
    let still = Still::with_seed(Platter::new(disk), seed);
    let operation = luck.range(1..2 * BATCHES_MAX);
    still.platter().crash_at(operation);
    let (model, under_way, acknowledged) =
        still.block_on(write(&still, sync, &mut luck, &mut digest))?;

    let again = still.after_power_loss(&mut luck, seed + 1);
    digest.add(&again.platter().fingerprint().to_le_bytes());
    let found = again.block_on(async {
        let opened = Store::open(again.clone(), options()).await;
        let (store, report) = opened.map_err(|error| format!("it does not open: {error}"))?;
        Ok::<_, String>((everything(&store).await?, format!("{report:?}")))
    });
    let (found, report) = found?;
    digest.add(report.as_bytes());
    for (key, value) in &found {
        digest.add(key);
        digest.add(value);
    }
    let in_doubt = under_way.as_ref().map_or(0, |(_, len)| *len);
    let was_kept = under_way.is_some_and(|(after, _)| found == after && after != model);
    if found != model && !was_kept {
        return Err(format!(
            "{acknowledged} batches were acknowledged, and {} of {} keys are not as they were left",
            differences(&found, &model),
            model.len()
        ));
    }
    let keys = found.len();
    Ok(Life { seed, operation, acknowledged, in_doubt, was_kept, keys, digest: digest.0 })
}

fn differences(found: &Model, model: &Model) -> usize {
    let lost = model.iter().filter(|(key, value)| found.get(*key) != Some(value)).count();
    lost + found.keys().filter(|key| !model.contains_key(*key)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_lives_lose_nothing_and_can_be_lived_again() {
        let lives: Vec<Life> = (0..50).map(|seed| live(seed).expect("nothing is lost")).collect();
        for life in &lives {
            assert_eq!(live(life.seed).as_ref(), Ok(life), "the same seed, another life");
        }
        assert!(lives.iter().any(|life| life.was_kept), "no batch in doubt was ever kept");
        assert!(lives.iter().any(|life| life.in_doubt > 0 && !life.was_kept), "none was ever lost");
        let digests: std::collections::BTreeSet<u64> = lives.iter().map(|l| l.digest).collect();
        assert_eq!(digests.len(), lives.len(), "two seeds with one digest");
    }

    #[test]
    fn a_store_that_does_not_wait_for_the_device_is_caught() {
        let caught = (0..50).filter(|seed| live_with(*seed, Sync::Later).is_err()).count();
        assert!(caught > 10, "only {caught} of 50 lives without a sync were refused");
    }
}
