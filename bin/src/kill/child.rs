//! The process that is killed: it checks what the one before it left, and writes on.
//!
//! Each thread's history is a function of the seed: what its n-th batch writes needs no list, and
//! neither does what its keys hold after n batches. A batch carries its own number along. So a
//! child finds how far each thread came, which must be what was acknowledged or the one batch that
//! was under way, and compares every key with what must be there then. Half a batch, a lost one, an
//! old value, one that nobody wrote: each is a difference.
//!
//! Not here: the killing (`kill.rs`).

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::Bound,
    path::Path,
    thread,
    time::Duration,
};
use trilith_engine::{
    KvError, KvStore, WriteBatch, embedded::StoreOptions, journal::JournalOptions, value::Policy,
};

use crate::{
    bench::load::{Dice, scatter},
    failure::{DISK, Failure, LOST, Outcome},
};

/// Keys of one thread: few, so that they are overwritten and compaction has work.
const KEYS: u64 = 48;
/// Writes of one batch, at most.
const WRITES_MAX: u64 = 5;
/// Bytes of a value, at most.
const VALUE_BYTES_MAX: u64 = 2_000;
/// Between two compactions, so that the writers get their turn.
const COMPACT_EVERY: Duration = Duration::from_millis(5);

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// One life: it ends by being killed, unless it only checks or finds something.
pub(super) fn run(dir: &Path, seed: u64, told: &[u64], only_check: bool) -> Outcome {
    let store = open(dir).map_err(refused)?;
    let found = check(&store, seed, told)?;
    let numbers: Vec<String> = found.iter().map(u64::to_string).collect();
    say(&format!("open {}", numbers.join(" ")))?;
    if only_check {
        let report = store.verify().map_err(refused)?;
        return match report.damages.first() {
            None => store.close().map_err(refused),
            Some(damage) => Err(lost(damage)),
        };
    }
    thread::scope(|scope| {
        let store = &store;
        let writers = (0_u64..).zip(found).map(|(thread, done)| {
            scope.spawn(move || -> Outcome {
                for number in done + 1.. {
                    store.batch(batch(seed, thread, number)).map_err(refused)?;
                    say(&format!("told {thread} {number}"))?;
                }
                Ok(())
            })
        });
        let mut threads: Vec<_> = writers.collect();
        threads.push(scope.spawn(|| {
            loop {
                say("compacting")?;
                store.compact().map_err(refused)?;
                say("compacted")?;
                thread::sleep(COMPACT_EVERY);
            }
        }));
        // None of them ends well: whichever failed first says why.
        let ends = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.collect()
    })
}

/// Small segments, compacted early.
fn open(dir: &Path) -> Result<KvStore, KvError> {
    let journal = JournalOptions {
        first_segment_bytes: 32 << 10,
        segment_bytes_max: 128 << 10,
        reserve_bytes: 0,
        manifest_bytes: 16 << 10,
        ..JournalOptions::default()
    };
    let compaction = Policy { dead_bytes_min: 64 << 10, ..Policy::default() };
    let options = StoreOptions { journal, compaction, ..StoreOptions::default() };
    KvStore::options().store(options).open(dir)
}

/// A line, whole or not at all: a pipe takes so little in one piece.
fn say(line: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn refused(error: KvError) -> Failure {
    Failure::new(&DISK, error, "see the system's log: dmesg")
}

fn lost(what: &str) -> Failure {
    Failure::new(&LOST, what, "look into the directory: trilith inspect DIR")
}

/// Where a thread's last batch left its own number.
fn number_key(thread: u64) -> Vec<u8> {
    format!("t{thread:02}/n").into_bytes()
}

/// What a thread's n-th batch writes, in order.
fn writes(seed: u64, thread: u64, number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut dice = Dice::new(seed ^ scatter(thread ^ scatter(number)));
    let count = 1 + dice.below(WRITES_MAX);
    let draw = |_| {
        let key = format!("t{thread:02}/k{:02}", dice.below(KEYS)).into_bytes();
        let value = format!("{thread}/{number}/{:016x} ", dice.bits()).into_bytes();
        let bytes = dice.below(VALUE_BYTES_MAX) as usize;
        let value = (dice.below(6) > 0).then(|| value.into_iter().cycle().take(bytes).collect());
        (key, value)
    };
    (0..count).map(draw).collect()
}

fn batch(seed: u64, thread: u64, number: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in writes(seed, thread, number) {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        };
    }
    batch.put(number_key(thread), number.to_string());
    batch
}

/// What a thread's keys hold after its n-th batch: walking back, each key's first is its newest.
fn left_by(seed: u64, thread: u64, number: u64) -> Values {
    let mut newest = BTreeMap::new();
    for number in (1..=number).rev() {
        for (key, value) in writes(seed, thread, number).into_iter().rev() {
            newest.entry(key).or_insert(value);
        }
        if newest.len() as u64 == KEYS {
            break;
        }
    }
    let mut left: Values =
        newest.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    if number > 0 {
        left.insert(number_key(thread), number.to_string().into_bytes());
    }
    left
}

/// Compares everything with what must be there; answers how many batches of each thread are.
fn check(store: &KvStore, seed: u64, told: &[u64]) -> Outcome<Vec<u64>> {
    let scan = store.scan(Bound::Unbounded, Bound::Unbounded).map_err(refused)?;
    let found = scan.collect::<Result<Values, KvError>>().map_err(refused)?;
    let (mut numbers, mut expect) = (Vec::new(), Values::new());
    for (thread, told) in (0..).zip(told) {
        let number = match found.get(&number_key(thread)) {
            Some(text) => str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            None => Some(0),
        };
        let number: u64 = number.ok_or_else(|| lost("a batch's number is no number"))?;
        if number != *told && number != told + 1 {
            let what = format!("thread {thread}: {told} batches acknowledged, {number} are there");
            return Err(lost(&what));
        }
        expect.extend(left_by(seed, thread, number));
        numbers.push(number);
    }
    match differing(&found, &expect) {
        None => Ok(numbers),
        Some(key) => {
            let [found, expect] = [&found, &expect].map(|values| shown(values.get(key)));
            let key = String::from_utf8_lossy(key);
            Err(lost(&format!("{key} after batches {numbers:?}: {found}, and should be {expect}")))
        }
    }
}

/// The first key, in order, that the two do not agree on.
fn differing<'v>(found: &'v Values, expect: &'v Values) -> Option<&'v [u8]> {
    let keys = found.keys().chain(expect.keys());
    keys.filter(|key| found.get(*key) != expect.get(*key)).min().map(Vec::as_slice)
}

/// A value's beginning, which names the thread and the batch that wrote it.
fn shown(value: Option<&Vec<u8>>) -> String {
    value.map_or("nothing".to_owned(), |value| {
        let begin = String::from_utf8_lossy(&value[..value.len().min(24)]).into_owned();
        format!("{begin:?} ({} bytes)", value.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_all_batches_leave() {
        let mut left = Values::new();
        for number in 1..=300 {
            for (key, value) in writes(7, 2, number) {
                match value {
                    Some(value) => _ = left.insert(key, value),
                    None => _ = left.remove(&key),
                }
            }
            left.insert(number_key(2), number.to_string().into_bytes());
            assert_eq!(left_by(7, 2, number), left, "after {number}");
        }
    }
}
