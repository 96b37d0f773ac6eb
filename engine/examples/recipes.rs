//! Batches, conditions, expiry, scans, and taking over an old log:
//! `cargo run -p trilith-engine --example recipes`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of its own")]

use std::{env, fs, ops::Bound, path::Path, thread, time::Duration};

use trilith_engine::{
    Durability, KvError, KvStore, WriteBatch, codec,
    embedded::{Condition, VerifyReport},
};

fn main() -> Result<(), KvError> {
    let dir = env::temp_dir().join(format!("trilith-recipes-{}", std::process::id()));
    // Answered at once, on the device within 50 ms; a crash of the process loses nothing.
    let durability = Durability::Batch { bytes: 1 << 20, millis: 50 };
    let store = KvStore::options().durability(durability).open(&dir)?;

    transfer(&store)?;
    expire(&store)?;
    range(&store)?;
    import(&store, &dir)?;

    let VerifyReport { keys, damages, .. } = store.verify()?;
    println!("{keys} keys read and checked, {} damaged", damages.len());
    store.close()?;
    if let Err(error) = fs::remove_dir_all(&dir) {
        println!("{} stays: {error}", dir.display());
    }
    Ok(())
}

/// Two accounts in one batch, and only if nobody touched the first one since it was read.
fn transfer(store: &KvStore) -> Result<(), KvError> {
    store.set("account:ada".to_owned(), b"100".to_vec())?;
    store.set("account:grace".to_owned(), b"0".to_vec())?;
    let Some((balance, version)) = store.get_versioned(b"account:ada")? else {
        return Err(KvError::NotFound);
    };
    println!("ada has {}, at version {version}", String::from_utf8_lossy(&balance));
    let mut batch = WriteBatch::new();
    batch.put_if("account:ada", "60", Condition::Is(version)).put("account:grace", "40");
    store.batch(batch.clone())?;
    // The same again is refused as a whole: the version has moved on.
    match store.batch(batch) {
        Err(KvError::Conflict { found }) => println!("the second transfer found {found:?}"),
        other => println!("unexpected: {other:?}"),
    }
    println!("first to come: {}", store.compare_and_set(b"leader", None, "node-1")?);
    println!("second: {}", store.compare_and_set(b"leader", None, "node-2")?);
    Ok(())
}

fn expire(store: &KvStore) -> Result<(), KvError> {
    store.set_with_ttl("session:7", "token", Duration::from_millis(30))?;
    println!("a session now: {:?}", store.get("session:7")?.is_some());
    thread::sleep(Duration::from_millis(40));
    println!("and 40 ms later: {:?}", store.get("session:7")?.is_some());
    Ok(())
}

/// A range, its end excluded, and the same range of a snapshot while it is written to.
fn range(store: &KvStore) -> Result<(), KvError> {
    let mut batch = WriteBatch::new();
    for day in 1..=30 {
        batch.put(format!("log:2026-11-{day:02}"), format!("entry {day}"));
    }
    store.batch(batch)?;
    let snapshot = store.snapshot()?;
    store.delete("log:2026-11-02")?;
    let (start, end) = (
        Bound::Included(b"log:2026-11-01".as_slice()),
        Bound::Excluded(b"log:2026-11-04".as_slice()),
    );
    let keys = |scan: trilith_engine::embedded::Scan| {
        scan.map(|pair| Ok(String::from_utf8_lossy(&pair?.0).into_owned()))
            .collect::<Result<Vec<_>, KvError>>()
    };
    println!("now      {:?}", keys(store.scan(start, end)?)?);
    println!("snapshot {:?}", keys(snapshot.scan(start, end))?);
    println!("of November: {}", store.prefix(b"log:2026-11-")?.count());
    Ok(())
}

/// A log of the first format: `KV01`, version, operation, lengths, key, value, CRC-32.
fn import(store: &KvStore, dir: &Path) -> Result<(), KvError> {
    let (key, value) = (b"old", b"but gold");
    let mut body = vec![0];
    body.extend((key.len() as u32).to_le_bytes());
    body.extend((value.len() as u32).to_le_bytes());
    body.extend(key);
    body.extend(value);
    let crc = codec::crc(0, &body).to_le_bytes();
    let log = dir.with_extension("log");
    let bytes = [b"KV01".as_slice(), &1_u16.to_le_bytes(), &body, &crc].concat();
    fs::write(&log, bytes).expect("the temporary directory can be written");
    println!("{:?}", store.import(&log)?);
    println!(
        "old: {:?}",
        store.get("old")?.map(|value| String::from_utf8_lossy(&value).into_owned())
    );
    fs::remove_file(log).expect("it was just written");
    Ok(())
}
