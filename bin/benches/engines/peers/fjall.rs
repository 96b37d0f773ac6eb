//! fjall: an LSM tree in Rust, with a journal that is synced on request.
//!
//! Not here: its transactions; a plain keyspace is the quicker one.

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode,
    config::CompressionPolicy,
};
use std::path::Path;

const LOAD_BATCH: usize = 1_000;

struct Fjall {
    database: Database,
    keyspace: Keyspace,
    mode: Mode,
}

pub(super) fn open(dir: &Path, mode: Mode, tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    let database = Database::builder(dir)
        .cache_size(tuning.cache_bytes as u64)
        .journal_compression(CompressionType::None)
        .open()?;
    let keyspace = database.keyspace("bench", || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::disabled())
    })?;
    Ok(Box::new(Fjall { database, keyspace, mode }))
}

impl Peer for Fjall {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        self.keyspace.insert(key.as_slice(), value)?;
        if self.mode == Mode::Durable {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let durability = (self.mode == Mode::Durable).then_some(PersistMode::SyncData);
        let mut batch = self.database.batch().durability(durability);
        for (key, value) in pairs {
            batch.insert(&self.keyspace, key.as_slice(), value);
        }
        Ok(batch.commit()?)
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            let mut batch = self.database.batch();
            for (key, value) in pairs.by_ref().take(LOAD_BATCH) {
                batch.insert(&self.keyspace, key.as_slice(), value);
            }
            batch.commit()?;
        }
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        Ok(self.keyspace.get(key)?.map(|value| touch(&value)))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let (mut count, mut sum) = (0, 0);
        for guard in self.keyspace.range(from.as_slice()..).take(limit) {
            let (key, value) = guard.into_inner()?;
            sum += touch(&key) + touch(&value);
            count += 1;
        }
        Ok((count, sum))
    }

    fn compact(&self) -> Outcome {
        Ok(self.keyspace.major_compact()?)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
