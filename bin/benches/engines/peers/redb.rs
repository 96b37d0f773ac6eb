//! redb: a copy-on-write B+tree in Rust, without a log.
//!
//! Not here: two-phase commits and quick repair, which it does not advise for this.

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use std::path::Path;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");
const LOAD_BATCH: usize = 100_000;

struct Redb {
    database: Database,
    mode: Mode,
}

pub(super) fn open(dir: &Path, mode: Mode, tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    std::fs::create_dir_all(dir)?;
    let database =
        Database::builder().set_cache_size(tuning.cache_bytes).create(dir.join("bench.redb"))?;
    let peer = Redb { database, mode };
    // The table must exist before the first read.
    let transaction = peer.database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(Box::new(peer))
}

impl Redb {
    fn write(&self, durable: bool, fill: impl FnOnce(&WriteTransaction) -> Outcome) -> Outcome {
        let mut transaction = self.database.begin_write()?;
        if !durable {
            transaction.set_durability(Durability::None)?;
        }
        fill(&transaction)?;
        Ok(transaction.commit()?)
    }
}

fn fill(transaction: &WriteTransaction, pairs: &mut Pairs<'_, '_>) -> Outcome {
    let mut table = transaction.open_table(TABLE)?;
    for (key, value) in pairs {
        table.insert(key.as_slice(), value)?;
    }
    Ok(())
}

impl Peer for Redb {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        self.write(self.mode == Mode::Durable, |transaction| {
            fill(transaction, &mut std::iter::once((*key, value)))
        })
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        self.write(self.mode == Mode::Durable, |transaction| fill(transaction, pairs))
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            self.write(false, |transaction| {
                fill(transaction, &mut pairs.by_ref().take(LOAD_BATCH))
            })?;
        }
        self.write(true, |_| Ok(()))
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key.as_slice())?.map(|value| touch(value.value())))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let (mut count, mut sum) = (0, 0);
        for entry in table.range(from.as_slice()..)?.take(limit) {
            let (key, value) = entry?;
            sum += touch(key.value()) + touch(value.value());
            count += 1;
        }
        Ok((count, sum))
    }

    fn close(self: Box<Self>) -> Outcome {
        // What was committed with Durability::None is kept by one more commit.
        self.write(true, |_| Ok(()))
    }
}
