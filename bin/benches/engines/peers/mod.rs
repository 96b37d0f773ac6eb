//! The engines under test, all behind one small trait, each set up as its manual advises for this
//! load: no compression (the values are noise), one cache size for everyone who has a cache.
//!
//! `Durable` means that an acknowledged write survives a power cut; what each engine calls for it
//! is in [`ENGINES`]. `Relaxed` is the same engine asked to make writes durable later, as far as
//! it knows such a mode; [`Peer::load`] ends durable in both.
//!
//! A read hands out the value's bytes and every cache line of it is touched, so that handing out a
//! view of a mapped page and handing out a copy are compared by what a user gets.
//!
//! Not here: what is asked of them (`rows.rs`).

mod fjall;
mod lmdb;
mod ours;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;

use crate::{Key, Outcome};
use std::path::Path;

/// What a write promises before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It survives a power cut.
    Durable,
    /// It survives one later.
    Relaxed,
}

/// What every engine gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// For those with a cache of their own.
    pub(crate) cache_bytes: usize,
}

/// Pairs to be written.
pub(crate) type Pairs<'a, 'b> = dyn Iterator<Item = (Key, &'b [u8])> + 'a;

/// An open engine.
pub(crate) trait Peer: Send + Sync {
    /// Writes one pair.
    fn put(&self, key: &Key, value: &[u8]) -> Outcome;

    /// Writes some pairs, all or none.
    fn batch(&self, pairs: &mut Pairs<'_, '_>) -> Outcome;

    /// Writes many pairs in any order as quickly as it can; all are durable when it returns.
    fn load(&self, pairs: &mut Pairs<'_, '_>) -> Outcome;

    /// Reads a value and answers what `touch` makes of it.
    fn get(&self, key: &Key) -> Outcome<Option<u64>>;

    /// Reads up to `limit` pairs from `from` on, in order; answers how many and their touch.
    fn scan(&self, from: &Key, limit: usize) -> Outcome<(usize, u64)>;

    /// Sorts what it holds, if it has a way to be asked for it.
    fn compact(&self) -> Outcome {
        Ok(())
    }

    /// Bytes it wrote by its own count, if it counts.
    fn written(&self) -> Option<u64> {
        None
    }

    /// Closes it in good order.
    fn close(self: Box<Self>) -> Outcome;
}

/// How an engine is opened.
type Opener = fn(&Path, Mode, Tuning) -> Outcome<Box<dyn Peer>>;

/// An engine of the benchmark.
pub(crate) struct Engine {
    /// Its column.
    pub(crate) name: &'static str,
    /// Which version and which call makes a write durable.
    pub(crate) durable_by: &'static str,
    /// How it is opened.
    pub(crate) open: Opener,
}

/// Everyone, ours first.
pub(crate) const ENGINES: &[Engine] = &[
    Engine {
        name: "trilith",
        durable_by: "trilith: Durability::Immediate, fdatasync of the frame (group commit)",
        open: ours::open,
    },
    Engine {
        name: "fjall",
        durable_by: "fjall 3: insert, then persist(SyncData), which is fdatasync of its journal",
        open: fjall::open,
    },
    #[cfg(feature = "rocksdb")]
    Engine {
        name: "rocksdb",
        durable_by: "RocksDB: WriteOptions.sync, which is fdatasync of its log (group commit)",
        open: rocksdb::open,
    },
    Engine {
        name: "redb",
        durable_by: "redb 4: Durability::Immediate, a transaction a write, fdatasync",
        open: redb::open,
    },
    Engine {
        name: "lmdb",
        durable_by: "LMDB (heed): a transaction a write, fdatasync and a synchronous meta page",
        open: lmdb::open,
    },
    Engine {
        name: "sled",
        durable_by: "sled 0.34: flush; on Linux that is sync_file_range, which asks the device to \
                     write but never to empty its cache: LESS than what everyone else promises",
        open: sled::open,
    },
];
