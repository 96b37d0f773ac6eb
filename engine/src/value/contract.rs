//! What any engine promises, as checks: the sentences of [`Engine`] and [`View`].
//!
//! An engine is exchanged for another without a word to whoever stands above it, so what they
//! promise is written once, here, and every engine runs it: the model in memory, the index over
//! the journal, and engines that live in other crates.
//!
//! ```text
//!   journal ── durable records, places ──▶ edits ──▶ engine ──▶ views ──▶ demands
//!                                             └────▶ Memory ──▶ views ──▶ the same, at the end
//! ```
//! Every engine is fed as a store feeds it: each edit is a record of a real journal first, so its
//! place leads somewhere and an engine that keeps places is asked the same as one that keeps bytes.
//! Each sentence has a group of its own, and they share one engine: that groups do not see one
//! another is then part of every sentence.
//!
//! Not here: what survives a crash. An engine without storage of its own is rebuilt from the
//! journal (`lone`); one with storage says beside its code what it keeps.

use alloc::{collections::BTreeMap, format, string::ToString, sync::Arc, vec, vec::Vec};
use core::{
    fmt,
    future::Future,
    num::NonZeroU64,
    ops::{Bound, RangeBounds},
};

use super::{Change, Edit, Engine, Item, Memory, Scan, View, memory::is_empty_range};
use crate::{
    journal::{Files, Journal, JournalOptions, ManifestEdit, Origin, Record, RecordKind, Sync},
    limits::KEY_BYTES_MAX,
    runtime::{
        Rng, Runtime,
        contract::{Broken, Finding, Report, demand},
    },
    types::{GroupId, Lsn, Term, Version},
};

type Outcome<T = ()> = Result<T, Broken>;

/// The wall time of most reads.
const NOW_MS: u64 = 1_000_000;
/// Rounds of random edits: enough for keys to be put, deleted and put again.
const ROUNDS: u64 = 120;
/// Keys of the random edits: few, so that they meet.
const KEYS: u64 = 40;

/// A step of a group's history: a key and its value, until when it counts; or its deletion.
type Step<'a> = (&'a [u8], Option<(&'a [u8], Option<NonZeroU64>)>);

const fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Step<'a> {
    (key, Some((value, None)))
}

const fn put_until<'a>(key: &'a [u8], value: &'a [u8], expires_ms: u64) -> Step<'a> {
    (key, Some((value, NonZeroU64::new(expires_ms))))
}

const fn delete(key: &[u8]) -> Step<'_> {
    (key, None)
}

/// An engine and the journal that feeds it.
struct Fed<R: Runtime, E, F> {
    journal: Journal<R>,
    engine: E,
    follow: F,
}

/// Every sentence, asked of one engine. `make` makes it over the files of a journal in the
/// runtime's directory, which must be empty; `follow` tells it when there are new ones.
pub async fn engine<R, E, F>(rt: &R, make: impl FnOnce(Arc<Files<R>>) -> E, follow: F) -> Report
where
    R: Runtime,
    E: Engine,
    F: FnMut(&mut E, Arc<Files<R>>) + Send,
{
    let mut report = Report::default();
    let journal = match Journal::open(rt, JournalOptions::default()).await {
        Ok((journal, _)) => journal,
        Err(error) => {
            keep(&mut report, "the journal opens", async { Err(broken(error)) }).await;
            return report;
        }
    };
    let engine = make(journal.files());
    let fed = &mut Fed { journal, engine, follow };
    let r = &mut report;
    keep(r, "a group nobody wrote to is empty", fed.nothing(GroupId(1))).await;
    keep(r, "what is put is found, with its version", fed.found(GroupId(2))).await;
    keep(r, "the newest edit of a key counts", fed.newest(GroupId(3))).await;
    keep(r, "any bytes can be a key, in their order", fed.any_key(GroupId(4))).await;
    keep(r, "a replay changes nothing", fed.replay(GroupId(5))).await;
    keep(r, "edits of one version count together", fed.together(GroupId(14))).await;
    keep(r, "a view stays as it is", fed.view_stays(GroupId(6))).await;
    keep(r, "a scan keeps its bounds", fed.bounds(GroupId(7))).await;
    keep(r, "pages make up the whole", fed.pages(GroupId(8))).await;
    keep(r, "what has expired is not there", fed.expiry(GroupId(9))).await;
    keep(r, "a snapshot replaces everything", fed.ingest(GroupId(10))).await;
    keep(r, "a dropped group is gone, alone", fed.dropped(GroupId(11), GroupId(12))).await;
    keep(r, "random edits leave what they leave in a map", fed.as_model(rt, GroupId(13))).await;
    report
}

async fn keep(report: &mut Report, name: &'static str, check: impl Future<Output = Outcome>) {
    report.findings.push(Finding { name, outcome: check.await });
}

fn broken(error: impl fmt::Display) -> Broken {
    Broken(format!("unexpected: {error}"))
}

const fn within<'a>(start: Bound<&'a [u8]>, end: Bound<&'a [u8]>) -> Scan<'a> {
    Scan { start, end, keys_max: usize::MAX, bytes_max: usize::MAX }
}

/// Everything of a view, page by page.
async fn all(view: &impl View, now_ms: u64, keys_max: usize) -> Outcome<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut from: Option<Vec<u8>> = None;
    loop {
        let start = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let scan = Scan { start, end: Bound::Unbounded, keys_max, bytes_max: usize::MAX };
        let page = view.scan(scan, now_ms).await.map_err(broken)?;
        demand!(page.items.len() <= keys_max, "a page of {} keys", page.items.len());
        items.extend(page.items);
        match page.next {
            Some(next) => {
                demand!(from.is_none_or(|from| from < next), "a page does not go on");
                from = Some(next);
            }
            None => return Ok(items),
        }
    }
}

/// Demands exactly these keys and values.
async fn holds(view: &impl View, now_ms: u64, expect: &[(&[u8], &[u8])]) -> Outcome {
    let items = all(view, now_ms, usize::MAX).await?;
    let found: Vec<(&[u8], &[u8])> =
        items.iter().map(|(key, found)| (&**key, &*found.value)).collect();
    demand!(found == expect, "a scan answers {found:?}, not {expect:?}");
    for (key, value) in expect {
        let found = view.get(key, now_ms).await.map_err(broken)?;
        let found = found.map(|found| found.value);
        demand!(found.as_deref() == Some(*value), "get of {key:?} answers {found:?}");
    }
    Ok(())
}

impl<R, E, F> Fed<R, E, F>
where
    R: Runtime,
    E: Engine,
    F: FnMut(&mut E, Arc<Files<R>>) + Send,
{
    /// Makes steps durable; the engine has not heard of them yet.
    async fn log<'a>(&mut self, group: GroupId, steps: &[Step<'a>]) -> Outcome<Vec<Edit<'a>>> {
        self.log_as(group, steps, |lsn| Version(lsn.0)).await
    }

    /// The same, with versions of the caller's choice.
    async fn log_as<'a>(
        &mut self,
        group: GroupId,
        steps: &[Step<'a>],
        version_of: impl Fn(Lsn) -> Version,
    ) -> Outcome<Vec<Edit<'a>>> {
        if !self.journal.groups().any(|known| known == group) {
            let edit = ManifestEdit { add_groups: vec![group], ..ManifestEdit::default() };
            self.journal.edit(edit).await.map_err(broken)?;
        }
        let mut frame = self.journal.frame();
        let mut versions = Vec::with_capacity(steps.len());
        for (key, value) in steps {
            let version = version_of(frame.next_lsn());
            let (kind, (value, expires)) = match value {
                Some(value) => (RecordKind::Put, *value),
                None => (RecordKind::Tombstone, (&[][..], None)),
            };
            let expires_ms = expires.map(NonZeroU64::get);
            let (term, origin) = (Term(0), Origin::State);
            let record = Record { group, kind, version, term, expires_ms, origin, key, value };
            frame.push(&record).map_err(|error| Broken(format!("{error:?}")))?;
            versions.push(version);
        }
        let persisted = self.journal.append(frame, Sync::Later).await.map_err(broken)?;
        (self.follow)(&mut self.engine, self.journal.files());
        let edits = steps.iter().zip(versions).enumerate();
        Ok(edits
            .map(|(nth, ((key, value), version))| {
                let change = match *value {
                    Some((value, expires_ms)) => {
                        Change::Put { value, loc: persisted.loc(nth), expires_ms }
                    }
                    None => Change::Delete,
                };
                Edit { key, version, change }
            })
            .collect())
    }

    /// Makes steps durable and applies them; answers the last one's version.
    async fn write(&mut self, group: GroupId, steps: &[Step<'_>]) -> Outcome<Version> {
        let edits = self.log(group, steps).await?;
        let last = edits.last().map_or(Version(0), |edit| edit.version);
        self.engine.apply(group, edits)?;
        Ok(last)
    }

    async fn nothing(&mut self, group: GroupId) -> Outcome {
        demand!(self.engine.applied(group) == Version(0), "something is applied to it");
        let view = self.engine.view(group);
        demand!(view.applied() == Version(0), "its view has something applied");
        demand!(view.get(b"", NOW_MS).await.map_err(broken)?.is_none(), "the empty key is there");
        holds(&view, NOW_MS, &[]).await?;
        self.engine.apply(group, [])?;
        self.engine.drop_group(group)?;
        holds(&self.engine.view(group), NOW_MS, &[]).await
    }

    async fn found(&mut self, group: GroupId) -> Outcome {
        let last = self.write(group, &[put(b"a", b"1"), put_until(b"b", b"2", NOW_MS * 2)]).await?;
        demand!(self.engine.applied(group) == last, "applied is not the last edit's version");
        let view = self.engine.view(group);
        demand!(view.applied() == last, "the view is at {}, not {last}", view.applied());
        holds(&view, NOW_MS, &[(b"a", b"1"), (b"b", b"2")]).await?;
        let found = view.get(b"b", NOW_MS).await.map_err(broken)?;
        let about = found.map(|found| (found.version, found.expires_ms));
        let expect = (last, NonZeroU64::new(NOW_MS * 2));
        demand!(about == Some(expect), "b is at {about:?}, not {expect:?}");
        demand!(view.get(b"c", NOW_MS).await.map_err(broken)?.is_none(), "c is there");
        Ok(())
    }

    async fn newest(&mut self, group: GroupId) -> Outcome {
        // Within one call of apply, and over two.
        self.write(group, &[put(b"a", b"1"), put(b"b", b"1"), put(b"a", b"2"), delete(b"b")])
            .await?;
        holds(&self.engine.view(group), NOW_MS, &[(b"a", b"2")]).await?;
        self.write(group, &[delete(b"a"), delete(b"nobody"), put(b"b", b"")]).await?;
        holds(&self.engine.view(group), NOW_MS, &[(b"b", b"")]).await?;
        self.write(group, &[put(b"a", b"3")]).await?;
        holds(&self.engine.view(group), NOW_MS, &[(b"a", b"3"), (b"b", b"")]).await
    }

    async fn any_key(&mut self, group: GroupId) -> Outcome {
        let long = vec![0xff; KEY_BYTES_MAX];
        let large = vec![7; 100_000];
        let mut keys: Vec<&[u8]> =
            vec![b"", b"\0", b"\0\0", b"a", b"a\0", b"a\0\xff", b"a\xff", b"b", b"\xff", &long];
        keys.rotate_left(4);
        let steps: Vec<_> = keys.iter().map(|key| put(key, &large)).collect();
        self.write(group, &steps).await?;
        keys.sort_unstable();
        let expect: Vec<_> = keys.iter().map(|key| (*key, &*large)).collect();
        holds(&self.engine.view(group), NOW_MS, &expect).await
    }

    async fn replay(&mut self, group: GroupId) -> Outcome {
        let first = self.log(group, &[put(b"a", b"1"), put(b"b", b"1")]).await?;
        self.engine.apply(group, first.iter().copied())?;
        let second = self.log(group, &[put(b"a", b"2"), delete(b"b")]).await?;
        self.engine.apply(group, second.iter().copied())?;
        let applied = self.engine.applied(group);
        // Some of it again, all of it, and then with something new behind it.
        for replayed in [&first[1..], &first, &second[..1], &second] {
            self.engine.apply(group, replayed.iter().copied())?;
            demand!(self.engine.applied(group) == applied, "a replay moved what is applied");
            holds(&self.engine.view(group), NOW_MS, &[(b"a", b"2")]).await?;
        }
        self.engine.apply(group, first.iter().chain(&second).copied())?;
        holds(&self.engine.view(group), NOW_MS, &[(b"a", b"2")]).await?;
        let third = self.log(group, &[put(b"c", b"3")]).await?;
        self.engine.apply(group, second.iter().chain(&third).copied())?;
        holds(&self.engine.view(group), NOW_MS, &[(b"a", b"2"), (b"c", b"3")]).await
    }

    async fn together(&mut self, group: GroupId) -> Outcome {
        let steps = [put(b"a", b"1"), put(b"b", b"1"), put(b"c", b"1")];
        let first = self.log_as(group, &steps, |_| Version(1 << 40)).await?;
        self.engine.apply(group, first.iter().copied())?;
        let steps = [put(b"a", b"2"), delete(b"b"), put(b"d", b"2")];
        let second = self.log_as(group, &steps, |_| Version(2 << 40)).await?;
        self.engine.apply(group, first.iter().chain(&second).copied())?;
        let expect: [(&[u8], &[u8]); 3] = [(b"a", b"2"), (b"c", b"1"), (b"d", b"2")];
        holds(&self.engine.view(group), NOW_MS, &expect).await?;
        self.engine.apply(group, second[2..].iter().copied())?;
        holds(&self.engine.view(group), NOW_MS, &expect).await
    }

    async fn view_stays(&mut self, group: GroupId) -> Outcome {
        let expect: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"b", b"1")];
        let before = self.engine.view(group);
        let last = self.write(group, &[put(b"a", b"1"), put(b"b", b"1")]).await?;
        let view = self.engine.view(group);
        self.write(group, &[put(b"a", b"2"), delete(b"b"), put(b"c", b"2")]).await?;
        holds(&view, NOW_MS, &expect).await?;
        let new = self.log(group, &[put(b"z", b"3")]).await?;
        let applied = new[0].version;
        self.engine.ingest(group, new, applied)?;
        holds(&view, NOW_MS, &expect).await?;
        self.engine.drop_group(group)?;
        holds(&view.clone(), NOW_MS, &expect).await?;
        demand!(view.applied() == last, "the view is at {}, not {last}", view.applied());
        holds(&before, NOW_MS, &[]).await
    }

    async fn bounds(&mut self, group: GroupId) -> Outcome {
        let keys: [&[u8]; 5] = [b"", b"b", b"d", b"d\0", b"f"];
        self.write(group, &keys.map(|key| put(key, key))).await?;
        let view = self.engine.view(group);
        let ends: [&[u8]; 7] = [b"", b"a", b"b", b"d", b"d\0", b"f", b"g"];
        let bounds = |end: &[u8]| -> [Bound<Vec<u8>>; 2] {
            [Bound::Included(end.to_vec()), Bound::Excluded(end.to_vec())]
        };
        let mut bounds: Vec<_> = ends.into_iter().flat_map(bounds).collect();
        bounds.push(Bound::Unbounded);
        for start in &bounds {
            for end in &bounds {
                let (start, end) = (start.as_ref().map(|s| &**s), end.as_ref().map(|e| &**e));
                let page = view.scan(within(start, end), NOW_MS).await.map_err(broken)?;
                let found: Vec<&[u8]> = page.items.iter().map(|(key, _)| &**key).collect();
                let inside = |key: &&&[u8]| {
                    !is_empty_range(start, end)
                        && RangeBounds::<[u8]>::contains(&(start, end), **key)
                };
                let expect: Vec<&[u8]> = keys.iter().filter(inside).copied().collect();
                demand!(found == expect, "{start:?} to {end:?} answers {found:?}");
                demand!(page.next.is_none(), "{start:?} to {end:?} says there is more");
            }
        }
        Ok(())
    }

    async fn pages(&mut self, group: GroupId) -> Outcome {
        let keys: Vec<_> = (0..50).map(|n: u8| [n]).collect();
        let steps: Vec<_> = keys.iter().map(|key| put(key, b"0123456789")).collect();
        self.write(group, &steps).await?;
        let view = self.engine.view(group);
        let whole = all(&view, NOW_MS, usize::MAX).await?;
        demand!(whole.len() == keys.len(), "{} of 50 keys", whole.len());
        for keys_max in [1, 7, 49, 50, 51] {
            demand!(all(&view, NOW_MS, keys_max).await? == whole, "pages of {keys_max} differ");
        }
        for (bytes_max, expect) in [(0, 1), (1, 1), (11, 1), (12, 2), (110, 10), (111, 11)] {
            let scan = Scan { bytes_max, ..within(Bound::Unbounded, Bound::Unbounded) };
            let page = view.scan(scan, NOW_MS).await.map_err(broken)?;
            let len = page.items.len();
            demand!(
                len == expect,
                "{bytes_max} bytes make a page of {len} keys of 1 and values of 10"
            );
            let next = page.items.last().map(|(key, _)| key);
            demand!(page.next.as_ref() == next, "a page says to go on at {:?}", page.next);
        }
        Ok(())
    }

    async fn expiry(&mut self, group: GroupId) -> Outcome {
        let steps = [put(b"a", b"1"), put_until(b"b", b"2", NOW_MS), put_until(b"c", b"3", NOW_MS)];
        self.write(group, &steps).await?;
        let view = self.engine.view(group);
        holds(&view, NOW_MS - 1, &[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]).await?;
        holds(&view, NOW_MS, &[(b"a", b"1")]).await?;
        let found = view.get(b"b", NOW_MS).await.map_err(broken)?;
        demand!(found.is_none(), "b is still there: {found:?}");
        self.write(group, &[put(b"b", b"4")]).await?;
        holds(&self.engine.view(group), NOW_MS, &[(b"a", b"1"), (b"b", b"4")]).await
    }

    async fn ingest(&mut self, group: GroupId) -> Outcome {
        self.write(group, &[put(b"a", b"1"), put(b"b", b"1"), put(b"z", b"1")]).await?;
        let skipped = self.log(group, &[put(b"n", b"2")]).await?;
        let sorted = self.log(group, &[put(b"b", b"3"), put_until(b"c", b"3", NOW_MS)]).await?;
        // It stands for more than its newest record: a deletion may have been the last edit.
        let applied = self.write(GroupId(group.0 + 1000), &[put(b"", b"")]).await?;
        self.engine.ingest(group, sorted.iter().copied(), applied)?;
        demand!(self.engine.applied(group) == applied, "the snapshot's version is not kept");
        let view = self.engine.view(group);
        demand!(view.applied() == applied, "the view's version is {}", view.applied());
        holds(&view, NOW_MS - 1, &[(b"b", b"3"), (b"c", b"3")]).await?;
        holds(&view, NOW_MS, &[(b"b", b"3")]).await?;
        self.engine.apply(group, skipped)?;
        holds(&self.engine.view(group), NOW_MS, &[(b"b", b"3")]).await?;
        self.write(group, &[put(b"d", b"4"), delete(b"b")]).await?;
        holds(&self.engine.view(group), NOW_MS, &[(b"d", b"4")]).await?;
        let nothing = self.write(GroupId(group.0 + 1000), &[put(b"", b"")]).await?;
        self.engine.ingest(group, [], nothing)?;
        holds(&self.engine.view(group), NOW_MS, &[]).await
    }

    async fn dropped(&mut self, group: GroupId, other: GroupId) -> Outcome {
        self.write(group, &[put(b"a", b"1"), put(b"b", b"1")]).await?;
        self.write(other, &[put(b"a", b"2"), put(b"", b"2")]).await?;
        self.engine.drop_group(group)?;
        demand!(self.engine.applied(group) == Version(0), "it still has something applied");
        holds(&self.engine.view(group), NOW_MS, &[]).await?;
        holds(&self.engine.view(other), NOW_MS, &[(b"", b"2"), (b"a", b"2")]).await
    }

    /// Random edits, to it and to the model; what they answer is the same at every point.
    async fn as_model(&mut self, rt: &R, group: GroupId) -> Outcome {
        let (mut luck, mut model) = (rt.rng("engine contract"), Memory::default());
        let mut views = BTreeMap::new();
        for round in 0..ROUNDS {
            let mut owned = Vec::new();
            for _ in 0..=luck.range(0..8) {
                let key = format!("k{}", luck.range(0..KEYS)).into_bytes();
                let value = luck.next_u64().to_string().repeat(luck.range(0..30) as usize);
                let expires = luck.chance(1, 4).then(|| luck.range(1..ROUNDS));
                owned.push((key, luck.chance(2, 3).then_some((value, expires))));
            }
            let steps: Vec<Step<'_>> = owned
                .iter()
                .map(|(key, value)| {
                    let value = value.as_ref();
                    let value = value
                        .map(|(value, until)| (value.as_bytes(), until.and_then(NonZeroU64::new)));
                    (&**key, value)
                })
                .collect();
            let edits = self.log(group, &steps).await?;
            model.apply(group, edits.iter().copied())?;
            self.engine.apply(group, edits)?;
            if luck.chance(1, 4) {
                views.insert(round, (self.engine.view(group), model.view(group)));
            }
            let (view, model) = (self.engine.view(group), model.view(group));
            let keys_max = luck.range(1..KEYS) as usize;
            let found = all(&view, round, keys_max).await?;
            demand!(found == all(&model, round, 9).await?, "it differs in round {round}");
            let key = format!("k{}", luck.range(0..KEYS)).into_bytes();
            let found = view.get(&key, round).await.map_err(broken)?;
            let expect = model.get(&key, round).await.map_err(broken)?;
            demand!(found == expect, "get in round {round}: {found:?}, not {expect:?}");
        }
        for (round, (view, model)) in views {
            let expect = all(&model, round, 11).await?;
            demand!(all(&view, round, 11).await? == expect, "the view of round {round} moved");
        }
        Ok(())
    }
}
