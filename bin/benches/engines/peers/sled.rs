//! sled: a lock-free log-structured tree in Rust.
//!
//! Its `flush` on Linux is `sync_file_range`, which does not empty the device's cache: in the
//! durable rows it promises less than the others, and the table says so.
//!
//! Not here: its transactions.

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use sled::{Batch, Config, Db};
use std::path::Path;

const LOAD_BATCH: usize = 1_000;

struct Sled {
    database: Db,
    mode: Mode,
}

pub(super) fn open(dir: &Path, mode: Mode, tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    let config = Config::new().path(dir).cache_capacity(tuning.cache_bytes as u64);
    let config = if mode == Mode::Durable { config.flush_every_ms(None) } else { config };
    Ok(Box::new(Sled { database: config.open()?, mode }))
}

impl Sled {
    fn acknowledge(&self) -> Outcome {
        if self.mode == Mode::Durable {
            self.database.flush()?;
        }
        Ok(())
    }
}

fn collect(pairs: &mut Pairs<'_, '_>) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.insert(&key, value);
    }
    batch
}

impl Peer for Sled {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        self.database.insert(key, value)?;
        self.acknowledge()
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        self.database.apply_batch(collect(pairs))?;
        self.acknowledge()
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            self.database.apply_batch(collect(&mut pairs.by_ref().take(LOAD_BATCH)))?;
        }
        self.database.flush()?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        Ok(self.database.get(key)?.map(|value| touch(&value)))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let (mut count, mut sum) = (0, 0);
        for entry in self.database.range(from.as_slice()..).take(limit) {
            let (key, value) = entry?;
            sum += touch(&key) + touch(&value);
            count += 1;
        }
        Ok((count, sum))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.database.flush()?;
        Ok(())
    }
}
