//! Ours: the embedded store, as a program opens it.
//!
//! Not here: the store behind it without threads (`trilith_engine::lone`).

use super::{Mode, Pairs, Peer, Tuning};
use crate::{Key, Outcome, load::touch};
use std::{ops::Bound, path::Path};
use trilith_engine::{Durability, KvStore, WriteBatch};

const LOAD_BATCH: usize = 1_000;
/// What `Relaxed` may lose to a power cut, as much as the others' defaults at least.
const RELAXED: Durability = Durability::Batch { bytes: 8 << 20, millis: 500 };

struct Ours(KvStore);

pub(super) fn open(dir: &Path, mode: Mode, _tuning: Tuning) -> Outcome<Box<dyn Peer>> {
    let durability = if mode == Mode::Durable { Durability::Immediate } else { RELAXED };
    Ok(Box::new(Ours(KvStore::options().durability(durability).open(dir)?)))
}

impl Peer for Ours {
    fn put(&self, key: &Key, value: &[u8]) -> Outcome {
        Ok(self.0.set_bytes(key.as_slice(), value)?)
    }

    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut batch = WriteBatch::new();
        for (key, value) in pairs {
            batch.put(key.as_slice(), value);
        }
        self.0.batch(batch)?;
        Ok(())
    }

    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome {
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            self.batch(&mut pairs.by_ref().take(LOAD_BATCH))?;
        }
        Ok(self.0.flush()?)
    }

    fn get(&self, key: &Key) -> Outcome<Option<u64>> {
        Ok(self.0.get_bytes(key)?.map(|value| touch(&value)))
    }

    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)> {
        let (mut count, mut sum) = (0, 0);
        for pair in self.0.scan(Bound::Included(from), Bound::Unbounded)?.take(limit) {
            let (key, value) = pair?;
            sum += touch(&key) + touch(&value);
            count += 1;
        }
        Ok((count, sum))
    }

    fn compact(&self) -> Outcome {
        Ok(self.0.compact()?)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.0.close()?)
    }
}
