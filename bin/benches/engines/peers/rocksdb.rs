//! RocksDB: the LSM tree in C++ that others are measured by.
//!
//! Not here: RocksDB as an engine of ours (`bin/src/engines/rocksdb.rs`).

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};
use std::path::Path;

const LOAD_BATCH: usize = 1_000;

struct Rocks {
    database: DB,
    mode: Mode,
}

pub(super) fn open(dir: &Path, mode: Mode, tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(tuning.cache_bytes)?);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.increase_parallelism(2);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&blocks);
    Ok(Box::new(Rocks { database: DB::open(&options, dir)?, mode }))
}

impl Rocks {
    fn options(durable: bool) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        options
    }
}

fn collect(pairs: &mut Pairs<'_, '_>) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (key, value) in pairs {
        batch.put(key, value);
    }
    batch
}

impl Peer for Rocks {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        Ok(self.database.put_opt(key, value, &Self::options(self.mode == Mode::Durable))?)
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let options = Self::options(self.mode == Mode::Durable);
        Ok(self.database.write_opt(collect(pairs), &options)?)
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            self.database
                .write_opt(collect(&mut pairs.by_ref().take(LOAD_BATCH)), &Self::options(false))?;
        }
        Ok(self.database.flush_wal(true)?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        Ok(self.database.get_pinned(key)?.map(|value| touch(&value)))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let (mut count, mut sum) = (0, 0);
        for entry in
            self.database.iterator(IteratorMode::From(from, Direction::Forward)).take(limit)
        {
            let (key, value) = entry?;
            sum += touch(&key) + touch(&value);
            count += 1;
        }
        Ok((count, sum))
    }

    fn compact(&self) -> Outcome {
        self.database.compact_range::<&[u8], &[u8]>(None, None);
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.database.flush_wal(true)?)
    }
}
