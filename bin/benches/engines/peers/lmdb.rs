//! LMDB, through heed: a memory-mapped copy-on-write B+tree in C.
//!
//! Not here: its writable map, which gives a stray pointer the power to corrupt the file.
#![expect(unsafe_code, reason = "LMDB cannot check that nobody else touches the mapped file")]

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RwTxn, WithTls, types::Bytes};
use std::path::Path;

const MAP_BYTES: usize = 64 << 30;
const LOAD_BATCH: usize = 100_000;

struct Lmdb {
    environment: Env<WithTls>,
    database: Database<Bytes, Bytes>,
}

pub(super) fn open(dir: &Path, mode: Mode, _tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    std::fs::create_dir_all(dir)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    if mode == Mode::Relaxed {
        // Safety: the flag gives up durability, which is what this mode asks for.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // Safety: this process is the only one that knows the directory.
    let environment = unsafe { options.open(dir)? };
    let mut transaction = environment.write_txn()?;
    let database = environment.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Box::new(Lmdb { environment, database }))
}

impl Lmdb {
    fn write(&self, fill: impl FnOnce(&mut RwTxn<'_>) -> Outcome) -> Outcome {
        let mut transaction = self.environment.write_txn()?;
        fill(&mut transaction)?;
        Ok(transaction.commit()?)
    }
}

impl Peer for Lmdb {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        self.write(|transaction| Ok(self.database.put(transaction, key, value)?))
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        self.write(|transaction| {
            for (key, value) in pairs {
                self.database.put(transaction, &key, value)?;
            }
            Ok(())
        })
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            self.batch(&mut pairs.by_ref().take(LOAD_BATCH))?;
        }
        Ok(self.environment.force_sync()?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        let transaction = self.environment.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(touch))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let transaction = self.environment.read_txn()?;
        let (mut count, mut sum) = (0, 0);
        let range = (std::ops::Bound::Included(from.as_slice()), std::ops::Bound::Unbounded);
        for entry in self.database.range(&transaction, &range)?.take(limit) {
            let (key, value) = entry?;
            sum += touch(key) + touch(value);
            count += 1;
        }
        Ok((count, sum))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.environment.force_sync()?;
        self.environment.prepare_for_closing().wait();
        Ok(())
    }
}
