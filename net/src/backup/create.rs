//! Making a backup of a cluster that serves.
//!
//! ```text
//!   for each group:  open a cut at a node ─► page ─► page ─► … ─► last ─► close ─► next group
//!                        ▲                     │
//!                        └── the next node ◄───┘ the cut is gone: the file begins again
//! ```
//! A cut is held by one node, so each node is asked over a connection of its own. A connection that
//! breaks is made again and the next page asked over it; a node that has forgotten the cut, or that
//! does not answer any more, costs what was written of that group.
//!
//! The pages of a group are of one version and one time, which the file tells.
//!
//! Not here: what holds a cut (`trilith_engine::shard`), the file's bytes (`format.rs`).

use std::time::Duration;

use bytes::Bytes;
use trilith_engine::{
    command::{Cut, Found, Level, Op, Outcome, Refusal, Reply, Response, Told},
    limits::CUT_PAGE_BYTES_MAX,
    mark,
    runtime::{Clock, Instant, Rng, Runtime},
    types::{GroupId, Uuid},
};

use super::{
    Error, Options, Phase, Step,
    format::{Damage, Facts, Line, Manifest, Record},
    shelf::{GroupFile, Shelf},
    who,
};
use crate::client::{Client, ClientOptions, Wish};

/// How long one node is asked for a cut, or for a page of it.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a group begins again at most: a cut that is always lost will not be kept the next time.
const BEGINNINGS: u32 = 64;
/// The pause between two beginnings.
const PAUSE: Duration = Duration::from_millis(200);

/// A backup under way.
struct Create<'a, R: Runtime, S> {
    rt: &'a R,
    options: &'a Options,
    /// One a node.
    clients: Vec<Client<R>>,
    shelf: Shelf<R::Disk>,
    backup: Uuid,
    groups: u32,
    step: S,
    /// Keys of groups that are done, and of how many.
    keys: u64,
    of: u64,
    /// When it got any further last.
    moved_at: Instant,
}

/// Makes a backup in a directory below the disk's root, which must be empty if it is there.
///
/// # Errors
/// Why there is none; what was written is taken away again, as far as that is possible.
pub async fn create<R: Runtime>(
    rt: &R,
    dir: &str,
    options: &Options,
    step: impl FnMut(Step),
) -> Result<Manifest, Error> {
    let (cluster, groups) = who(rt, options).await?;
    let mut luck = rt.rng("backup");
    let backup = Uuid::from_draws(luck.next_u64(), luck.next_u64());
    let shelf = Shelf::new(rt.disk(), dir);
    shelf.begin().await?;
    let attempt_within = options.client.attempt_within.max(ANSWER / 2);
    let to_one = ClientOptions { cluster, attempt_within, client: None, ..options.client };
    let clients = options.nodes.iter().map(|at| Client::start(rt, &[*at], to_one)).collect();
    let (keys, of, moved_at) = (0, 0, rt.clock().now());
    let mut create =
        Create { rt, options, clients, shelf, backup, groups, step, keys, of, moved_at };
    let made = create.run(cluster).await;
    if made.is_err() {
        create.shelf.clear(groups).await;
    }
    made
}

fn wall_ms<R: Runtime>(rt: &R) -> u64 {
    rt.clock().wall().0
}

impl<R: Runtime, S: FnMut(Step)> Create<'_, R, S> {
    async fn run(&mut self, cluster: Uuid) -> Result<Manifest, Error> {
        let began_ms = wall_ms(self.rt);
        let mut lines = Vec::new();
        for group in (1..=self.groups).map(GroupId) {
            lines.push(self.group(group).await?);
        }
        let (backup, ended_ms) = (self.backup, wall_ms(self.rt));
        let manifest = Manifest { backup, cluster, began_ms, ended_ms, lines };
        self.shelf.finish(&manifest).await?;
        Ok(manifest)
    }

    /// One group, at whichever node it can be had from.
    async fn group(&mut self, group: GroupId) -> Result<Line, Error> {
        let mut file = self.shelf.group(group).await?;
        let (keys, of) = (self.keys, self.of);
        let mut last = None;
        for beginning in 0..BEGINNINGS {
            let node = (group.0 + beginning) as usize % self.clients.len().max(1);
            match self.copy(group, node, &mut file).await? {
                Ok(line) => {
                    self.keys = keys + line.records;
                    return Ok(line);
                }
                Err(why) => last = why.or(last),
            }
            mark!("backup: a group begins again");
            (self.keys, self.of) = (keys, of);
            let now = self.rt.clock().now();
            if now.since(self.moved_at) >= self.options.patience {
                break;
            }
            self.rt.clock().sleep_until(now + PAUSE).await;
        }
        Err(Error::Refused { group, why: last })
    }

    async fn ask(&self, node: usize, level: Level, cut: Cut) -> Option<Response> {
        let wish = Wish { level, staleness_ms: 0, within: ANSWER };
        let client = self.clients.get(node)?;
        Some(client.call(Op::Cut(cut), wish).await)
    }

    /// One group from one node; a refusal when that cannot be done there, or not now.
    async fn copy(
        &mut self,
        group: GroupId,
        node: usize,
        file: &mut GroupFile<R::Disk>,
    ) -> Result<Result<Line, Option<Refusal>>, Error> {
        let Some(opened) = self.ask(node, Level::Quorum, Cut::Open(group)).await else {
            return Ok(Err(None));
        };
        let (cut, told) = match (opened.outcome, opened.told) {
            (Outcome::Ok(Reply::Cut(opened)), told) => {
                self.of += opened.keys;
                (opened.cut, told)
            }
            (Outcome::Refused(why), _) => return Ok(Err(Some(why))),
            (Outcome::Ok(_) | Outcome::Unknown, _) => return Ok(Err(None)),
        };
        let Told { applied, stamp, .. } = told;
        let (backup, groups) = (self.backup, self.groups);
        file.begin(Facts { backup, group, groups, applied, stamp }).await?;
        let mut behind = None;
        loop {
            let (keys_max, bytes_max) = (self.options.page_keys, CUT_PAGE_BYTES_MAX as u32);
            let page = Cut::Page { group, cut, behind, keys_max, bytes_max };
            let Some(page) = self.ask(node, Level::Eventual, page).await else {
                return Ok(Err(None));
            };
            let (items, next) = match page.outcome {
                Outcome::Ok(Reply::Page { items, next }) => (items, next),
                Outcome::Refused(why) => return Ok(Err(Some(why))),
                Outcome::Ok(_) | Outcome::Unknown => return Ok(Err(None)),
            };
            let is_same = (page.told.applied, page.told.stamp) == (applied, stamp);
            if !is_same {
                return Err(Error::Answer(Damage::Field("moment")));
            }
            file.push(&records(items)).await?;
            self.moved(file.records());
            behind = next;
            if behind.is_none() {
                break;
            }
        }
        // Nobody else waits for it; it would be let go of by itself.
        _ = self.ask(node, Level::Eventual, Cut::Close { group, cut }).await;
        Ok(file.finish().await?.ok_or(None))
    }

    /// So many keys of the group are written.
    fn moved(&mut self, records: u64) {
        self.moved_at = self.rt.clock().now();
        let (keys, of) = (self.keys + records, self.of);
        (self.step)(Step { phase: Phase::Reads, keys, of });
    }
}

fn records(items: Vec<(Bytes, Found)>) -> Vec<Record> {
    let record = |(key, found): (Bytes, Found)| {
        let Found { value, version, expires_ms } = found;
        Record { key, value, version, expires_ms }
    };
    items.into_iter().map(record).collect()
}
