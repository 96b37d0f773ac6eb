//! The embedded store's body in the second world: what it acknowledged survives every death.
//!
//! Not here: its differential test under all faults, which is our own world's.
#![cfg(madsim)]
#![expect(clippy::disallowed_methods, reason = "each run has a thread of its own")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use madsim::runtime::Runtime;
use trilith_engine::{
    journal::Sync,
    lone::{Store, StoreOptions, WriteBatch},
    value::View as _,
};
use trilith_madsim::os::{MadRuntime, SharedPlatter, Witness};
use trilith_sim::{
    digest::Digest,
    luck::{Domain, Luck},
};

/// What was begun and what was acknowledged, by key: the number of the last write.
#[derive(Default)]
struct Told {
    begun: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<u64, u64>,
}

const KEYS: u64 = 20;
const LIVES: u64 = 8;

/// One life: every key is between what was acknowledged and what was begun, and then more writes
/// until the end comes from outside.
async fn live(rt: MadRuntime, told: Arc<Mutex<Told>>, life: u64) {
    let (mut store, _) = Store::open(rt, StoreOptions::default()).await.expect("it opens");
    for key in 0..KEYS {
        let found = store.view().get(&key.to_be_bytes(), 0).await.expect("it can be read");
        let found = found.map_or(0, |found| {
            u64::from_be_bytes(found.value[..8].try_into().expect("eight bytes"))
        });
        let mut told = told.lock().expect("one thread");
        let least = told.acknowledged.get(&key).copied().unwrap_or(0);
        let most = told.begun.get(&key).copied().unwrap_or(0);
        assert!((least..=most).contains(&found), "key {key}: {least} ..= {most}, found {found}");
        told.acknowledged.insert(key, found);
    }
    for number in 1.. {
        let (key, value) = (number * 7 % KEYS, life * 1_000_000 + number);
        told.lock().expect("one thread").begun.insert(key, value);
        let mut batch = WriteBatch::new();
        batch.put(key.to_be_bytes(), value.to_be_bytes());
        let answers = store.commit(&[batch], Sync::Now).await;
        assert!(answers.iter().all(Result::is_ok), "refused: {answers:?}");
        told.lock().expect("one thread").acknowledged.insert(key, value);
    }
}

fn run_here(seed: u64) -> (Digest, u64) {
    let madsim = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let witness = Witness::default();
    let platter = SharedPlatter::default();
    let told: Arc<Mutex<Told>> = Arc::default();
    let mut luck = Luck::new(seed, Domain::Named("store on madsim"));
    madsim.block_on(async {
        for life in 0..LIVES {
            let node = madsim.create_node().name("store").build();
            let (disk, told, witness) = (Arc::clone(&platter), Arc::clone(&told), witness.clone());
            node.spawn(async move {
                let rt = MadRuntime::new(disk, &witness, 0, life);
                live(rt, told, life).await;
            });
            let micros = luck.index(200_000) as u64;
            madsim::time::sleep(Duration::from_micros(micros)).await;
            madsim.handle().kill(node.id());
            let mut platter = platter.lock().expect("one thread");
            if luck.coin() {
                platter.power_loss(&mut luck);
            } else {
                platter.process_death();
            }
        }
    });
    let written = told.lock().expect("one thread").acknowledged.len() as u64;
    let mut digest = witness.digest();
    digest.word(platter.lock().expect("one thread").fingerprint());
    (digest, written)
}

fn run(seed: u64) -> (Digest, u64) {
    std::thread::scope(|scope| scope.spawn(|| run_here(seed)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn the_store_keeps_what_it_acknowledged_in_the_second_world() {
    let mut written = 0;
    for seed in 0..10 {
        let (digest, keys) = run(seed);
        written += keys;
        assert_eq!(digest, run(seed).0, "seed {seed} was another run the second time");
    }
    assert!(written > 100, "only {written} keys were written");
}
