//! Readers and writers on threads, and snapshots that stay:
//! `cargo run -p trilith-engine --example readers`.
//!
//! Four threads write, two read; nobody waits for a reader. Writers that wait during one sync share
//! the next, so eight hundred durable writes cost far fewer than eight hundred syncs.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of its own")]

use std::{env, fs, thread, time::Instant};

use trilith_engine::{KvError, KvStore};

const WRITERS: u64 = 4;
const WRITES: u64 = 200;

fn main() -> Result<(), KvError> {
    let dir = env::temp_dir().join(format!("trilith-readers-{}", std::process::id()));
    let store = KvStore::open(&dir)?;
    // Taken before anything was written: it stays empty whatever happens.
    let before = store.snapshot()?;

    let start = Instant::now();
    thread::scope(|scope| {
        let store = &store;
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(store, writer))).collect();
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| watch(store))).collect();
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        for reader in readers {
            let looks = reader.join().expect("a reader does not panic")?;
            println!("a reader looked {looks} times until it saw the last key");
        }
        Ok::<_, KvError>(())
    })?;
    let took = start.elapsed().as_secs_f64();
    println!("{} durable writes in {took:.2} s", WRITERS * WRITES);

    println!("now {} keys, and in the old snapshot {}", store.len(), before.prefix(b"").count());
    store.close()?;
    if let Err(error) = fs::remove_dir_all(&dir) {
        println!("{} stays: {error}", dir.display());
    }
    Ok(())
}

fn write(store: &KvStore, writer: u64) -> Result<(), KvError> {
    for number in 0..WRITES {
        store.set(format!("w{writer}:{number:04}"), vec![b'v'; 100])?;
    }
    Ok(())
}

/// Reads until every writer's last key is there: what was once seen is never gone again.
fn watch(store: &KvStore) -> Result<u64, KvError> {
    let (mut looks, mut seen) = (0, 0);
    while seen < WRITERS {
        looks += 1;
        let last = |writer: &u64| store.get(&format!("w{writer}:{:04}", WRITES - 1));
        let found = (0..WRITERS).map(|writer| last(&writer)).collect::<Result<Vec<_>, _>>()?;
        let now = found.iter().flatten().count() as u64;
        assert!(now >= seen, "a write that was seen is gone");
        seen = now;
        thread::yield_now();
    }
    Ok(looks)
}
