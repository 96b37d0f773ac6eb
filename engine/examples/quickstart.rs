//! The embedded store in twenty lines: `cargo run -p trilith-engine --example quickstart`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of its own")]

use std::{env, fs, thread, time::Duration};

use trilith_engine::{KvError, KvStore, WriteBatch};

fn main() -> Result<(), KvError> {
    let dir = env::temp_dir().join(format!("trilith-quickstart-{}", std::process::id()));
    let store = KvStore::open(&dir)?;
    store.set("hello".to_owned(), b"world".to_vec())?;
    println!("hello = {:?}", store.get("hello")?);

    // All or nothing.
    let mut batch = WriteBatch::new();
    batch.put("user:1", "Ada").put("user:2", "Grace").delete("hello");
    store.batch(batch)?;

    // Readers need no lock of the writer's, and a snapshot stays as it is.
    let snapshot = store.snapshot()?;
    store.set("user:3".to_owned(), b"Edsger".to_vec())?;
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let store = store.clone();
            thread::spawn(move || store.prefix(b"user:").map(Iterator::count))
        })
        .collect();
    for reader in readers {
        println!("a reader counts {:?} users", reader.join());
    }
    println!("the snapshot has {} users", snapshot.prefix(b"user:").count());

    // Gone after a while.
    store.set_with_ttl("session", "token", Duration::from_millis(20))?;
    thread::sleep(Duration::from_millis(30));
    println!("session = {:?}", store.get("session")?);

    println!("{:?}", store.stats()?);
    store.close()?;
    if let Err(error) = fs::remove_dir_all(&dir) {
        println!("{} stays: {error}", dir.display());
    }
    Ok(())
}
