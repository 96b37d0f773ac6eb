//! Giving a backup to a cluster: verified before, compared behind.
//!
//! ```text
//!   verify all ─► is the cluster empty? ─► walk, writing ─► walk, comparing
//!                  --resume: walk, looking ┘
//!
//!   walk:  files of all groups, merged by key ──┐  the same key: the same value and expiry
//!          pages of all groups, merged by key ──┴► only in the files: written · only there: no
//! ```
//! A walk holds the directory against the cluster in the order of keys, whatever their numbers of
//! groups are. So nothing but a page of each group is in memory, every key and byte is compared, and
//! the first one that differs is told by name.
//!
//! Keys are written in transactions that demand that none of them is there. So a restore never writes
//! over anything, whoever else writes, and what it cannot know to have happened it may do again.
//!
//! An expiry stays the time that it was. What is over by the time of the group that a key comes to is
//! not written, and is not missed.
//!
//! Invariants: what is in the cluster and not in the backup stays, and is an error; at most
//! [`IN_FLIGHT_MAX`] transactions are on their way.
//!
//! Not here: the files (`shelf.rs`), who may write meanwhile (nobody, says the page for operators).

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use trilith_engine::{
    command::{Check, Command, Expiry, Found, Op, Outcome, Reply, Scan, Transaction, Write},
    mark, planted,
    runtime::{Disk, Runtime},
    store::slots::{group_of, slot_of},
    types::{GroupId, Uuid},
};

use super::{
    Difference, Error, Options, Phase, Step,
    format::{Damage, Manifest, Record},
    shelf::{GroupReader, Shelf},
    verify, who,
};
use crate::client::{Client, ClientOptions, Wish};

/// Transactions that are on their way at once.
const IN_FLIGHT_MAX: usize = 8;
/// What one of them holds at most, unless a single key is larger.
const BATCH_KEYS: usize = 256;
const BATCH_BYTES: usize = 512 << 10;
/// How often one is tried whose end nobody knows.
const TRIES: u32 = 8;
/// Pages of the cluster.
const PAGE_KEYS: u32 = 1024;
const PAGE_BYTES: u32 = 1 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Which backup.
    pub backup: Uuid,
    /// Over how many groups the cluster splits its slots.
    pub groups: u32,
    /// Keys that were written.
    pub written: u64,
    /// Keys that were there already, as they should be.
    pub present: u64,
    /// Keys that are over by now.
    pub expired: u64,
    /// Keys that were found to be as they should be in the end.
    pub compared: u64,
}

/// Gives a backup to a cluster, which must hold nothing, or, to `resume`, nothing else.
///
/// # Errors
/// Why it was not done. What was written until then stays.
pub async fn restore<R: Runtime>(
    rt: &R,
    dir: &str,
    options: &Options,
    resume: bool,
    mut step: impl FnMut(Step),
) -> Result<Restored, Error> {
    let manifest = verify(rt.disk(), dir, &mut step).await?;
    let (cluster, groups) = who(rt, options).await?;
    let client = ClientOptions { cluster, groups: groups as u16, ..options.client };
    let client = Arc::new(Client::start(rt, &options.nodes, client));
    let patience = options.patience;
    let cluster = Cluster { client, groups, patience };
    let shelf = Shelf::new(rt.disk(), dir);
    let of = manifest.records();
    let mut walk = Walk { cluster, shelf, manifest: &manifest, step, of };
    if resume {
        walk.go(Phase::Resumes).await?;
    } else {
        let pages = walk.cluster.pages().await.map_err(unbegun)?;
        if let Some(((key, _), _)) = pages.heads.into_iter().next() {
            return Err(Error::NotEmpty(key));
        }
    }
    let wrote = walk.go(Phase::Writes).await?;
    let compared = walk.go(Phase::Compares).await?;
    Ok(Restored {
        backup: manifest.backup,
        groups,
        written: wrote.lacked,
        present: wrote.same,
        expired: wrote.expired,
        compared: compared.same,
    })
}

/// What stood in the way before anything was written.
fn unbegun(why: Error) -> Error {
    match why {
        refused @ Error::Refused { .. } => Error::Unreached(refused.to_string()),
        other => other,
    }
}

/// The cluster that is written to.
struct Cluster<R: Runtime> {
    client: Arc<Client<R>>,
    groups: u32,
    patience: Duration,
}

/// What a walk found.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    same: u64,
    lacked: u64,
    expired: u64,
}

/// The directory beside the cluster.
struct Walk<'a, R: Runtime, S> {
    cluster: Cluster<R>,
    shelf: Shelf<R::Disk>,
    manifest: &'a Manifest,
    step: S,
    of: u64,
}

impl<R: Runtime, S: FnMut(Step)> Walk<'_, R, S> {
    async fn go(&mut self, phase: Phase) -> Result<Tally, Error> {
        let mut feeds = Vec::new();
        for line in &self.manifest.lines {
            let reader = self.shelf.reader(*line).await?;
            feeds.push(File { reader, rest: VecDeque::new() });
        }
        let mut ours = Merged::new(feeds).await?;
        let mut theirs = self.cluster.pages().await?;
        let mut found = Tally::default();
        let mut writer = Writer::new(&self.cluster);
        while let Some((key, record)) = ours.next().await? {
            if let Some(foreign) = theirs.first().filter(|first| **first < key) {
                return Err(Error::Differs(foreign.clone(), Difference::Foreign));
            }
            if theirs.first() == Some(&key) {
                let there = theirs.next().await?;
                if let Some(what) = there.and_then(|(_, there)| differs(&record, &there)) {
                    return Err(Error::Differs(key, what));
                }
                found.same += 1;
            } else if self.is_over(&theirs, &record) {
                found.expired += 1;
            } else if phase == Phase::Compares {
                return Err(Error::Differs(key, Difference::Lacks));
            } else {
                found.lacked += 1;
                if phase == Phase::Writes {
                    writer.push(record).await?;
                }
            }
            let keys = found.same + found.lacked + found.expired;
            (self.step)(Step { phase, keys, of: self.of });
        }
        if let Some(foreign) = theirs.first() {
            return Err(Error::Differs(foreign.clone(), Difference::Foreign));
        }
        writer.finish().await?;
        Ok(found)
    }

    /// Whether a record is over by the time of the group that it belongs to.
    fn is_over(&self, theirs: &Merged<Pages<R>>, record: &Record) -> bool {
        let nth = self.cluster.group_of(&record.key).0 as usize - 1;
        let now_ms = theirs.feeds.get(nth).map_or(0, |pages| pages.stamp_ms);
        record.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
            && !planted!("restore_misses_what_is_over")
    }
}

fn differs(record: &Record, there: &Found) -> Option<Difference> {
    if record.value != there.value {
        return Some(Difference::Value);
    }
    (record.expires_ms != there.expires_ms).then_some(Difference::Expiry)
}

impl<R: Runtime> Cluster<R> {
    fn group_of(&self, key: &[u8]) -> GroupId {
        GroupId(u32::from(group_of(slot_of(key), self.groups as u16)) + 1)
    }

    /// All that it holds, in the order of keys.
    async fn pages(&self) -> Result<Merged<Pages<R>>, Error> {
        let pages = |group| Pages {
            client: Arc::clone(&self.client),
            group: GroupId(group),
            patience: self.patience,
            rest: VecDeque::new(),
            next: Some(Bound::Unbounded),
            stamp_ms: 0,
        };
        Merged::new((1..=self.groups).map(pages).collect()).await
    }
}

/// Keys in order, a few at a time.
trait Feed {
    /// What there is of a key.
    type Item;

    async fn next(&mut self) -> Result<Option<(Bytes, Self::Item)>, Error>;
}

/// Several of them as one.
struct Merged<F: Feed> {
    feeds: Vec<F>,
    /// The first of each.
    heads: BTreeMap<(Bytes, usize), F::Item>,
}

impl<F: Feed> Merged<F> {
    async fn new(feeds: Vec<F>) -> Result<Self, Error> {
        let count = feeds.len();
        let mut merged = Self { feeds, heads: BTreeMap::new() };
        for nth in 0..count {
            merged.fill(nth).await?;
        }
        Ok(merged)
    }

    async fn fill(&mut self, nth: usize) -> Result<(), Error> {
        let Some(feed) = self.feeds.get_mut(nth) else { return Ok(()) };
        if let Some((key, item)) = feed.next().await? {
            self.heads.insert((key, nth), item);
        }
        Ok(())
    }

    fn first(&self) -> Option<&Bytes> {
        self.heads.first_key_value().map(|((key, _), _)| key)
    }

    async fn next(&mut self) -> Result<Option<(Bytes, F::Item)>, Error> {
        let Some(((key, nth), item)) = self.heads.pop_first() else { return Ok(None) };
        self.fill(nth).await?;
        Ok(Some((key, item)))
    }
}

/// A group's file.
struct File<D: Disk> {
    reader: GroupReader<D>,
    rest: VecDeque<Record>,
}

impl<D: Disk> Feed for File<D> {
    type Item = Record;

    async fn next(&mut self) -> Result<Option<(Bytes, Record)>, Error> {
        if self.rest.is_empty() {
            self.rest = self.reader.next().await?.unwrap_or_default().into();
        }
        Ok(self.rest.pop_front().map(|record| (record.key.clone(), record)))
    }
}

/// A group of the cluster.
struct Pages<R: Runtime> {
    client: Arc<Client<R>>,
    group: GroupId,
    patience: Duration,
    rest: VecDeque<(Bytes, Found)>,
    /// Where the next page begins; nothing when there is none.
    next: Option<Bound<Bytes>>,
    /// The group's time when the last page was read: what was over then is not in it.
    stamp_ms: u64,
}

impl<R: Runtime> Feed for Pages<R> {
    type Item = Found;

    async fn next(&mut self) -> Result<Option<(Bytes, Found)>, Error> {
        while self.rest.is_empty() {
            let Some(start) = self.next.clone() else { break };
            let (group, end, has_values) = (self.group, Bound::Unbounded, true);
            let (keys_max, bytes_max) = (PAGE_KEYS, PAGE_BYTES);
            let scan = Scan { group, start, end, keys_max, bytes_max, has_values };
            let answer = self.client.call(Op::Scan(scan), Wish::strong(self.patience)).await;
            let (items, next) = match answer.outcome {
                Outcome::Ok(Reply::Page { items, next }) => (items, next),
                Outcome::Refused(why) => return Err(Error::Refused { group, why: Some(why) }),
                Outcome::Ok(_) | Outcome::Unknown => {
                    return Err(Error::Refused { group, why: None });
                }
            };
            self.stamp_ms = answer.told.stamp.ms();
            self.next = next.map(Bound::Excluded);
            self.rest = items.into();
        }
        Ok(self.rest.pop_front())
    }
}

/// Records on their way to the cluster.
struct Writer<R: Runtime> {
    client: Arc<Client<R>>,
    groups: u32,
    patience: Duration,
    /// What waits, and what it weighs.
    batches: BTreeMap<GroupId, (Vec<Record>, usize)>,
    flying: FuturesUnordered<Flight>,
}

type Flight = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl<R: Runtime> Writer<R> {
    fn new(cluster: &Cluster<R>) -> Self {
        let Cluster { client, groups, patience } = cluster;
        let (client, flying) = (Arc::clone(client), FuturesUnordered::new());
        let (groups, patience) = (*groups, *patience);
        Self { client, groups, patience, batches: BTreeMap::new(), flying }
    }

    async fn push(&mut self, record: Record) -> Result<(), Error> {
        let group = GroupId(u32::from(group_of(slot_of(&record.key), self.groups as u16)) + 1);
        // The key is in a check and in a write.
        let weight = 2 * record.key.len() + record.value.len() + 64;
        let batch = self.batches.entry(group).or_default();
        let is_full = batch.0.len() >= BATCH_KEYS || batch.1 + weight > BATCH_BYTES;
        let full = if is_full { std::mem::take(batch) } else { (Vec::new(), 0) };
        batch.0.push(record);
        batch.1 += weight;
        self.fly(group, full.0).await
    }

    async fn fly(&mut self, group: GroupId, batch: Vec<Record>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        while self.flying.len() >= IN_FLIGHT_MAX {
            self.land().await?;
        }
        let client = Arc::clone(&self.client);
        self.flying.push(Box::pin(put(client, group, batch, self.patience)));
        Ok(())
    }

    async fn land(&mut self) -> Result<(), Error> {
        self.flying.next().await.unwrap_or(Ok(()))
    }

    async fn finish(&mut self) -> Result<(), Error> {
        for (group, (batch, _)) in std::mem::take(&mut self.batches) {
            self.fly(group, batch).await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(())
    }
}

/// Writes records of one group of which none is there.
async fn put<R: Runtime>(
    client: Arc<Client<R>>,
    group: GroupId,
    mut batch: Vec<Record>,
    patience: Duration,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        let command = Command::Transaction(transaction(&batch)?);
        match client.call(Op::Write(command), Wish::strong(patience)).await.outcome {
            Outcome::Ok(Reply::Committed { .. }) => return Ok(()),
            // Some of it is there: of an attempt that was given up, or of somebody else.
            Outcome::Ok(Reply::Conflict { .. }) | Outcome::Unknown => {}
            Outcome::Refused(why) => return Err(Error::Refused { group, why: Some(why) }),
            Outcome::Ok(_) => return Err(Error::Answer(Damage::Field("reply"))),
        }
        mark!("backup: what was to be written may be there");
        let keys = batch.iter().map(|record| record.key.clone()).collect();
        let found = match client.call(Op::GetMany(keys), Wish::strong(patience)).await.outcome {
            Outcome::Ok(Reply::Values(found)) if found.len() == batch.len() => found,
            Outcome::Refused(why) => return Err(Error::Refused { group, why: Some(why) }),
            Outcome::Ok(_) | Outcome::Unknown => return Err(Error::Refused { group, why: None }),
        };
        let mut rest = Vec::new();
        for (record, there) in batch.into_iter().zip(found) {
            match there.map(|there| differs(&record, &there)) {
                None => rest.push(record),
                Some(None) => {}
                Some(Some(what)) => return Err(Error::Differs(record.key, what)),
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        batch = rest;
    }
    Err(Error::Refused { group, why: None })
}

fn transaction(batch: &[Record]) -> Result<Transaction, Error> {
    let check = |record: &Record| Check { key: record.key.clone(), version: None };
    let write = |record: &Record| Write::Set {
        key: record.key.clone(),
        value: record.value.clone(),
        expiry: record.expires_ms.map_or(Expiry::None, Expiry::At),
    };
    let checks = match planted!("restore_writes_over") {
        true => Vec::new(),
        false => batch.iter().map(check).collect(),
    };
    Transaction::new(checks, batch.iter().map(write).collect())
        .map_err(|_why| Error::Answer(Damage::Keys))
}
