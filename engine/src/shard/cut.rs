//! Cuts: views of groups that are held for somebody who reads them page by page.
//!
//! ```text
//!   open ──► a read: confirmed, applied ──► root of the index, version, time ──► held by a number
//!   page ──► a task reads the disk ──────► keys and values of that moment       │
//!   close, or nobody asks for a while, or the disk is full ◄────────────────────┘
//! ```
//! A view costs nothing to take and stops no writer, but it keeps the segments that its values lie
//! in. So there are few cuts at a time, each is let go of when nobody has asked for a page of it for
//! a while, and all of them when the disk has no room: whoever reads is told that his cut is gone,
//! and begins again with another moment. Closing is a kindness.
//!
//! A page is read by a task of its own, as a snapshot is: the disk may be slow, and the shard does not
//! wait for it. A damaged value is never passed over: the cut ends there, the value is mended as it
//! is for any reader, and the next cut has it. The value that the cut names may have been mended at
//! another place long ago, which only a new view knows.
//!
//! What is over by the group's time at that moment is not part of a cut.
//!
//! Invariants: all pages of a cut are of one version; every request for a page is answered once.
//!
//! Not here: reads that wait for the core (`read.rs`), what becomes of the pages (`trilith-net`,
//! `backup`).

use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use core::{ops::Bound, time::Duration};

use super::{
    Outbox, Shard,
    owed::Asked,
    read::found,
    snapshot::{News, first_damaged},
};
use crate::{
    command::{Cut, Opened, Outcome, Refusal, Reply, Told},
    limits, mark, planted,
    raft::Moment,
    runtime::{Rng, Runtime, Sender, Task},
    types::GroupId,
    value::{Engine, IndexView, Page, Scan, View},
};

/// How long a cut is held for which nobody asks.
const IDLE: Duration = Duration::from_millis(limits::SHARD_CUT_IDLE_MS);

/// A view that is held.
struct Held<R: Runtime> {
    group: GroupId,
    view: IndexView<R>,
    /// Its version and time.
    told: Told,
    used_at: Moment,
    reading: Option<Reading<R>>,
}

/// A page that is being read.
struct Reading<R: Runtime> {
    asked: Asked,
    _task: <R::Task as Task>::Handle,
}

/// All of them.
pub(super) struct Cuts<R: Runtime> {
    held: BTreeMap<u64, Held<R>>,
}

/// A page has been read, or could not be.
pub(super) struct Paged {
    cut: u64,
    /// What is damaged, when that was found again.
    page: Result<Page, Option<Vec<u8>>>,
}

impl<R: Runtime> Default for Cuts<R> {
    fn default() -> Self {
        Self { held: BTreeMap::new() }
    }
}

impl<R: Runtime> Cuts<R> {
    /// How many are held, and how many pages are being read.
    pub(super) fn counts(&self) -> (usize, usize) {
        let reading = self.held.values().filter(|held| held.reading.is_some());
        (self.held.len(), reading.count())
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Holds a group still that was just found to be current.
    pub(super) fn open_cut(&mut self, group: GroupId, view: IndexView<R>, told: Told) -> Outcome {
        let is_full = self.cuts.held.len() >= limits::SHARD_CUTS_MAX;
        if is_full && !planted!("shard_cuts_have_no_end") {
            mark!("shard_too_many_cuts");
            return Outcome::Refused(Refusal::Overloaded);
        }
        if self.room.is_full() {
            return Outcome::Refused(Refusal::DiskFull);
        }
        // Drawn, so that nobody takes a cut of an earlier life, or of another node, for his.
        let cut = self.rng.next_u64();
        let keys = view.len() as u64;
        let held = Held { group, view, told, used_at: self.now(), reading: None };
        self.cuts.held.insert(cut, held);
        self.counts.cuts_opened += 1;
        Outcome::Ok(Reply::Cut(Opened { cut, keys }))
    }

    /// Somebody wants something of a cut that he has opened.
    pub(super) fn take_cut(&mut self, asked: Asked, cut: Cut) {
        let now = self.now();
        match cut {
            Cut::Page { cut, behind, keys_max, bytes_max, .. } => {
                let Some(held) = self.cuts.held.get_mut(&cut) else {
                    mark!("shard_cut_is_gone");
                    return self.refuse(asked, Refusal::NoCut);
                };
                if held.reading.is_some() {
                    // The same question again, or somebody who reads it twice at once.
                    return self.refuse(asked, Refusal::Overloaded);
                }
                held.used_at = now;
                let mut view = held.view.clone();
                if planted!("shard_cut_reads_what_is_here") {
                    view = Engine::view(&self.engine, held.group);
                }
                let (by_ms, news) = (held.told.stamp.ms(), self.snapshots.news.0.clone());
                let sizes = (keys_max, bytes_max);
                let task = read(view, cut, behind, sizes, by_ms, news);
                let _task = self.rt.task().spawn("cut", task);
                held.reading = Some(Reading { asked, _task });
            }
            Cut::Close { cut, .. } => {
                let Some(held) = self.cuts.held.remove(&cut) else {
                    return self.refuse(asked, Refusal::NoCut);
                };
                let opened = Opened { cut, keys: held.view.len() as u64 };
                self.refuse_page(held.reading, Refusal::NoCut);
                self.answer(asked, held.told, Outcome::Ok(Reply::Cut(opened)));
            }
            Cut::Open(_) => self.refuse(asked, Refusal::Malformed),
        }
    }

    /// A page was read.
    pub(super) fn take_page(&mut self, paged: Paged) {
        let Paged { cut, page } = paged;
        let now = self.now();
        // Otherwise it was let go of, and whoever waited was told.
        let Some(held) = self.cuts.held.get_mut(&cut) else { return };
        held.used_at = now;
        let (reading, told, group) = (held.reading.take(), held.told, held.group);
        match page {
            Ok(page) => {
                let Some(Reading { asked, .. }) = reading else { return };
                let item = |(key, value)| (Bytes::from(key), found(value));
                let items = page.items.into_iter().map(item).collect();
                let next = page.next.map(Bytes::from);
                self.answer(asked, told, Outcome::Ok(Reply::Page { items, next }));
            }
            Err(key) => {
                mark!("shard_cut_met_damage");
                if let Some(key) = key {
                    self.broke(group, &key);
                }
                self.counts.cuts_given_up += 1;
                self.cuts.held.remove(&cut);
                self.refuse_page(reading, Refusal::NoCut);
            }
        }
    }

    fn refuse_page(&mut self, reading: Option<Reading<R>>, refusal: Refusal) {
        if let Some(Reading { asked, .. }) = reading {
            self.refuse(asked, refusal);
        }
    }

    /// Lets go of what nobody asks for any more, and of all when the room is needed.
    pub(super) fn keep_cuts(&mut self) {
        if self.cuts.held.is_empty() {
            return;
        }
        let now = self.now();
        let is_full = self.room.is_full() && !planted!("shard_full_disk_keeps_cuts");
        let is_over = |held: &Held<R>| {
            let is_idle = held.reading.is_none() && now >= held.used_at + IDLE;
            is_full || is_idle && !planted!("shard_idle_cuts_stay")
        };
        let over = self.cuts.held.iter().filter(|(_, held)| is_over(held));
        let over: Vec<u64> = over.map(|(cut, _)| *cut).collect();
        for cut in over {
            mark!("shard_cut_let_go");
            tracing::info!(is_full, "a cut is let go of");
            let Some(held) = self.cuts.held.remove(&cut) else { continue };
            self.counts.cuts_given_up += 1;
            self.refuse_page(held.reading, Refusal::NoCut);
        }
    }

    /// When that is to be looked at.
    pub(super) fn cuts_at(&self) -> Option<Moment> {
        let idle = self.cuts.held.values().filter(|held| held.reading.is_none());
        let idle = idle.filter(|_| !planted!("shard_idle_cuts_stay"));
        idle.map(|held| held.used_at + IDLE).min()
    }
}

/// Reads a page of a cut, and says so.
async fn read<R: Runtime>(
    view: IndexView<R>,
    cut: u64,
    behind: Option<Bytes>,
    (keys_max, bytes_max): (u32, u32),
    by_ms: u64,
    news: Sender<News<R>>,
) {
    let start = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let scan = Scan {
        start,
        end: Bound::Unbounded,
        keys_max: (keys_max as usize).min(limits::SHARD_SNAPSHOT_KEYS_AT_ONCE),
        bytes_max: (bytes_max as usize).min(limits::CUT_PAGE_BYTES_MAX),
    };
    let page = match view.scan(scan, by_ms).await {
        Ok(page) => Ok(page),
        Err(why) => {
            tracing::error!(%why, "a value of a cut cannot be read");
            match first_damaged(&view, start).await {
                _ if planted!("shard_cut_passes_over_damage") => Ok(view.keys(scan, by_ms)),
                key => Err(key),
            }
        }
    };
    _ = news.send(News::Paged(Paged { cut, page })).await;
}
