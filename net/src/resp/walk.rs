//! Commands about all keys: SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHALL.
//!
//! The groups are walked one after the other, each in the order of its keys, a page at a time, without
//! values. A page is of one moment, and the next one of a later moment: so a key that is there from
//! the beginning to the end of a walk is met, once, wherever others come and go; one that comes or
//! goes meanwhile may be met or not. That is what Redis promises of SCAN, and more than it keeps:
//! nothing is met twice.
//!
//! FLUSHALL is such a walk that deletes what it meets, so many keys at one moment. It is not one
//! moment itself: what is written while it walks may stay or go.
//!
//! Not here: the numbers of cursors (`cursors.rs`), what connections say (`session.rs`).

use std::{borrow::Cow, ops::Bound};

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Level, Op, Outcome, Reply, Scan, Transaction, Write},
    mark, planted,
    runtime::{Runtime, Task},
    types::GroupId,
};

use super::{
    act::integer,
    cursors::Place,
    direct,
    front::{Front, Mood},
    glob,
    request::Words,
    scratch::Said,
    way::Way,
};
use crate::limits::{
    GLOB_STEPS, RESP_FLUSH_BYTES, RESP_FLUSH_KEYS, RESP_FLUSH_WITHIN, RESP_KEYS_MAX,
    RESP_PAGE_KEYS, RESP_READ_BYTES_MAX,
};

/// What a SCAN is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Keys that fit this.
    pattern: Option<Bytes>,
    /// About so many keys are looked at.
    count: u32,
    /// Something else than strings, of which there is none.
    is_of_other_type: bool,
}

/// Where a SCAN begins: a number that is none is wrong before anything else is.
pub(super) fn cursor(word: &[u8]) -> Result<u64, Said> {
    let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    number.ok_or(Said::Error(Cow::Borrowed("ERR invalid cursor")))
}

impl Wanted {
    /// What stands behind the cursor.
    pub(super) fn read(words: &Words) -> Result<Self, Said> {
        let syntax = || Said::Error(Cow::Borrowed("ERR syntax error"));
        let mut wanted = Self { pattern: None, count: 10, is_of_other_type: false };
        for at in (2..words.len()).step_by(2) {
            if at + 1 == words.len() {
                return Err(syntax());
            }
            match &words.get(at).to_ascii_uppercase()[..] {
                b"MATCH" => {
                    glob::check(words.get(at + 1))?;
                    wanted.pattern = Some(words.share(at + 1));
                }
                b"COUNT" => {
                    let count =
                        integer(words.get(at + 1)).map_err(|why| Said::Error(why.into()))?;
                    // A page has an end, whatever is hoped for.
                    let count = u64::try_from(count).ok().filter(|count| *count > 0);
                    let count = count.ok_or_else(syntax)?.min(RESP_PAGE_KEYS.into());
                    wanted.count = count as u32;
                }
                b"TYPE" => {
                    wanted.is_of_other_type = !words.get(at + 1).eq_ignore_ascii_case(b"string");
                }
                _ => return Err(syntax()),
            }
        }
        Ok(wanted)
    }
}

/// Keys of one page, and behind which to go on.
struct Page {
    keys: Vec<Bytes>,
    next: Option<Bytes>,
}

/// A walk over the keys that may fit a pattern.
struct Walk<'a> {
    pattern: Option<&'a [u8]>,
    /// How all of them begin.
    prefix: Bytes,
    place: Place,
}

impl<'a> Walk<'a> {
    fn new(pattern: Option<&'a [u8]>, place: Place) -> Self {
        let prefix = pattern.map_or_else(Bytes::new, |pattern| {
            let is_plain = |byte: &&u8| !matches!(byte, b'*' | b'?' | b'[' | b'\\');
            pattern.iter().take_while(is_plain).copied().collect()
        });
        Self { pattern, prefix, place }
    }

    /// Those of a page's keys that fit. Others go on meanwhile when it takes long.
    async fn fitting<T: Task>(&self, task: &T, keys: Vec<Bytes>) -> Vec<Bytes> {
        let Some(pattern) = self.pattern else { return keys };
        let (of, mut steps, mut found) = (keys.len(), GLOB_STEPS, Vec::new());
        for key in keys {
            if glob::fits_by_steps(task, (pattern, &key), &mut steps).await {
                found.push(key);
            }
        }
        apart(found, of)
    }

    fn scan(&self, keys_max: u32, bytes_max: u32) -> Scan {
        let group = GroupId(u32::from(self.place.group) + 1);
        let all = Scan::of_prefix(group, &self.prefix, keys_max, bytes_max);
        let all = Scan { has_values: false, ..all };
        match &self.place.after {
            // What lies before all that fit is passed over.
            Some(after) if *after >= self.prefix => all.behind(after.clone()),
            _ => all,
        }
    }

    /// Behind a page. Whether there is more.
    fn goes_on(&mut self, next: Option<Bytes>, groups: u16) -> bool {
        self.place = match next {
            // Apart from the page that it came with.
            Some(key) => Place { after: Some(Bytes::copy_from_slice(&key)), ..self.place },
            None => Place { group: self.place.group + 1, after: None },
        };
        self.place.group < groups
    }
}

impl<R: Runtime> Front<R> {
    async fn page(&self, way: &mut Way, scan: Scan, mood: &Mood) -> Result<Page, Said> {
        if is_empty(&scan) {
            return Ok(Page { keys: Vec::new(), next: None });
        }
        let response = self.lane(way.connection).call(Op::Scan(scan), mood.read()).await;
        match response.outcome {
            Outcome::Ok(Reply::Page { items, next }) => {
                Ok(Page { keys: items.into_iter().map(|(key, _)| key).collect(), next })
            }
            Outcome::Refused(refusal) => Err(direct::refused(refusal)),
            Outcome::Ok(_) | Outcome::Unknown => Err(direct::unknown()),
        }
    }

    /// Some keys from that place on, and where the rest is.
    pub(super) async fn scan(
        &self,
        way: &mut Way,
        (place, wanted): (Place, &Wanted),
        mood: &Mood,
    ) -> Result<(Vec<Bytes>, Option<Place>), Said> {
        if wanted.is_of_other_type {
            return Ok((Vec::new(), None));
        }
        let mut walk = Walk::new(wanted.pattern.as_deref(), place);
        let until = self.now() + mood.within;
        let (mut found, mut left) = (Vec::new(), wanted.count);
        // A cursor of a cluster with more groups.
        let mut goes_on = walk.place.group < self.groups();
        while goes_on && left > 0 {
            let mood = self.left(mood, until);
            let mut page = self.page(way, walk.scan(left, u32::MAX), &mood).await?;
            if page.next.is_some() && planted!("resp_walk_leaves_the_last_of_a_page") {
                page.keys.pop();
            }
            left = left.saturating_sub((page.keys.len() as u32).max(1));
            found.extend(walk.fitting(self.task(), page.keys).await);
            goes_on = walk.goes_on(page.next, self.groups());
        }
        Ok((found, goes_on.then_some(walk.place)))
    }

    /// All keys that fit, if they are not too many.
    pub(super) async fn keys(&self, way: &mut Way, pattern: &[u8], mood: &Mood) -> Said {
        if let Err(said) = glob::check(pattern) {
            return said;
        }
        let mut walk = Walk::new(Some(pattern), Place::default());
        let (until, mut found, mut bytes) = (self.now() + mood.within, Vec::new(), 0);
        loop {
            let left = self.left(mood, until);
            let scan = walk.scan(RESP_PAGE_KEYS, u32::MAX);
            let page = match self.page(way, scan, &left).await {
                Ok(page) => page,
                Err(said) => return said,
            };
            for key in walk.fitting(self.task(), page.keys).await {
                bytes += key.len();
                found.push(Said::Bulk(key));
            }
            if found.len() > RESP_KEYS_MAX || bytes > RESP_READ_BYTES_MAX {
                return Said::Error(Cow::Owned(format!(
                    "ERR more than {RESP_KEYS_MAX} keys, or {RESP_READ_BYTES_MAX} bytes of them: \
                     ask with SCAN"
                )));
            }
            if !walk.goes_on(page.next, self.groups()) {
                return Said::Many(found);
            }
        }
    }

    /// How many keys each group has.
    async fn counts(&self, way: &mut Way, mood: &Mood) -> Result<Vec<u64>, Said> {
        let until = self.now() + mood.within;
        let mut counts = Vec::new();
        for group in 0..self.groups() {
            let op = Op::Count(GroupId(u32::from(group) + 1));
            let left = self.left(mood, until);
            match self.lane(way.connection).call(op, left.read()).await.outcome {
                Outcome::Ok(Reply::Count(keys)) => counts.push(keys),
                Outcome::Refused(refusal) => return Err(direct::refused(refusal)),
                Outcome::Ok(_) | Outcome::Unknown => return Err(direct::unknown()),
            }
        }
        Ok(counts)
    }

    /// How many keys there are, with those that are over and that nobody has asked for since.
    pub(super) async fn count(&self, way: &mut Way, mood: &Mood) -> Result<u64, Said> {
        Ok(self.counts(way, mood).await?.into_iter().sum())
    }

    /// A key, each as likely as any other while nothing changes. It walks to it.
    pub(super) async fn random(&self, way: &mut Way, luck: u64, mood: &Mood) -> Said {
        let until = self.now() + mood.within;
        let counts = match self.counts(way, mood).await {
            Ok(counts) => counts,
            Err(said) => return said,
        };
        let mut rank = luck % counts.iter().sum::<u64>().max(1);
        let first = counts.iter().position(|count| {
            let is_there = rank < *count;
            rank -= if is_there { 0 } else { *count };
            is_there
        });
        let mut last = None;
        // Some may be over, or gone: then any other one will do, first of those behind it.
        let groups = first.map_or(0, |first| first as u16)..self.groups();
        for group in groups.chain(0..first.map_or(0, |first| first as u16)) {
            let mut walk = Walk::new(None, Place { group, after: None });
            while walk.place.group == group {
                let left = self.left(mood, until);
                let scan = walk.scan(RESP_PAGE_KEYS, u32::MAX);
                let Page { keys, next } = match self.page(way, scan, &left).await {
                    Ok(page) => page,
                    Err(said) => return said,
                };
                if let Some(key) = usize::try_from(rank).ok().and_then(|rank| keys.get(rank)) {
                    return Said::Bulk(key.clone());
                }
                rank -= keys.len() as u64;
                last = keys.into_iter().next_back().or(last);
                let _is_more = walk.goes_on(next, self.groups());
            }
            if last.is_some() {
                break;
            }
        }
        last.map_or(Said::Nothing, Said::Bulk)
    }

    /// Deletes whatever it meets. Each step may take as long as a command, all of them a while. Where
    /// that is over something may be left, and he hears that a part of it was done.
    pub(super) async fn flush(&self, way: &mut Way, mood: &Mood) -> Said {
        let mood = Mood { reads: Level::Strong, ..*mood };
        let mut walk = Walk::new(None, Place::default());
        let (mut until, mut is_begun) = (self.now() + RESP_FLUSH_WITHIN, false);
        if planted!("resp_flush_runs_for_ever") {
            until = until + RESP_FLUSH_WITHIN * 1000;
        }
        loop {
            let mood = self.left(&mood, until);
            let scan = walk.scan(RESP_FLUSH_KEYS, RESP_FLUSH_BYTES);
            let done = match self.page(way, scan, &mood).await {
                Ok(Page { keys, next }) => {
                    let mood = self.left(&mood, until);
                    self.delete(way, keys, &mood).await.map(|any| (any, next))
                }
                Err(said) => Err(said),
            };
            match done {
                Ok((any, next)) => {
                    is_begun |= any;
                    if !walk.goes_on(next, self.groups()) {
                        return Said::Ok;
                    }
                }
                Err(Said::Error(why)) if is_begun => {
                    mark!("resp: a flush ended in the middle");
                    return direct::partly(&why);
                }
                Err(said) => return said,
            }
        }
    }

    /// Deletes keys of one group at one moment. Whether there were any.
    async fn delete(&self, way: &mut Way, keys: Vec<Bytes>, mood: &Mood) -> Result<bool, Said> {
        if keys.is_empty() {
            return Ok(false);
        }
        let deletes = keys.into_iter().map(|key| Write::Delete { key });
        let transaction = Transaction::new(Vec::new(), deletes.collect());
        let transaction = transaction.map_err(direct::refused)?;
        let op = Op::Write(Command::Transaction(transaction));
        match self.lane(way.connection).call(op, mood.write()).await.outcome {
            Outcome::Ok(_) => Ok(true),
            Outcome::Refused(refusal) => Err(direct::refused(refusal)),
            Outcome::Unknown => Err(direct::unknown()),
        }
    }
}

/// What is kept of a page that had so many keys. Where another node leads, all of them lie in the
/// frame that they came with: a few must not keep the others.
fn apart(found: Vec<Bytes>, of: usize) -> Vec<Bytes> {
    if found.len() == of {
        return found;
    }
    found.iter().map(|key| Bytes::copy_from_slice(key)).collect()
}

/// Whether there can be nothing between the two ends.
fn is_empty(scan: &Scan) -> bool {
    match (&scan.start, &scan.end) {
        (Bound::Excluded(start) | Bound::Included(start), Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use trilith_engine::runtime::Instant;

    fn wanted(line: &str) -> Result<Wanted, Said> {
        Wanted::read(&line.split(' ').collect())
    }

    fn error(text: &'static str) -> Said {
        Said::Error(Cow::Borrowed(text))
    }

    #[test]
    fn what_scan_is_asked_for_is_read_as_redis_does() {
        let plain = Wanted { pattern: None, count: 10, is_of_other_type: false };
        assert_eq!(wanted("scan 0"), Ok(plain.clone()));
        let of = |pattern: &'static str, count| Wanted {
            pattern: Some(pattern.into()),
            count,
            ..plain.clone()
        };
        assert_eq!(wanted("scan 0 match a* count 7"), Ok(of("a*", 7)));
        assert_eq!(wanted("scan 0 COUNT 99999999 MATCH a*"), Ok(of("a*", RESP_PAGE_KEYS)));
        assert_eq!(wanted("scan 0 type STRING"), Ok(plain.clone()));
        assert!(wanted("scan 0 type hash").unwrap().is_of_other_type);
        for line in ["scan 0 count 0", "scan 0 count -1", "scan 0 match", "scan 0 what 1"] {
            assert_eq!(wanted(line), Err(error("ERR syntax error")), "{line}");
        }
        let number = error("ERR value is not an integer or out of range");
        assert_eq!(wanted("scan 0 count x"), Err(number));
        assert_eq!(cursor(b"18446744073709551615"), Ok(u64::MAX));
        for word in ["", "x", "-1", "18446744073709551616"] {
            assert_eq!(cursor(word.as_bytes()), Err(error("ERR invalid cursor")), "{word}");
        }
    }

    /// KEYS of one key of each page kept all the pages.
    #[test]
    fn a_key_does_not_keep_the_page_that_it_came_with() {
        let page = Bytes::from_static(b"abcd");
        let lies_in = |key: &Bytes| page.as_ptr_range().contains(&key.as_ptr());
        let keys = || vec![page.slice(0..2), page.slice(2..4)];
        assert!(apart(keys(), 2).iter().all(lies_in), "all of it is kept anyway");
        let some = apart(keys(), 3);
        assert!(some == keys() && !some.iter().any(lies_in));
    }

    /// Each step had all the time of a command, so a walk over a million keys had days.
    #[test]
    fn steps_of_a_walk_share_its_time() {
        let (second, mood) = (Duration::from_secs(1), Mood::default());
        let until = Instant(0) + RESP_FLUSH_WITHIN;
        let left = |until, now| mood.until(until, now).within;
        assert_eq!(left(until, Instant(0)), mood.within);
        assert_eq!(left(until, Instant(0) + (RESP_FLUSH_WITHIN - second)), second);
        assert_eq!(left(until, until), Duration::ZERO);
        assert_eq!(left(until, until + second), Duration::ZERO);
    }

    #[test]
    fn a_walk_asks_for_what_may_fit() {
        let place = |after: Option<&'static str>| Place { group: 0, after: after.map(Bytes::from) };
        let range = |pattern: &'static [u8], after: Option<&'static str>| {
            let scan = Walk::new(Some(pattern), place(after)).scan(5, 6);
            assert!(!scan.has_values && (scan.keys_max, scan.bytes_max) == (5, 6));
            (scan.start, scan.end)
        };
        let b = |text: &'static str| Bytes::from(text);
        let (from, behind) = (|text| Bound::Included(b(text)), |text| Bound::Excluded(b(text)));
        assert_eq!(range(b"*", None), (from(""), Bound::Unbounded));
        assert_eq!(range(b"ab*", None), (from("ab"), behind("ac")));
        assert_eq!(range(b"ab?c", Some("abx")), (behind("abx"), behind("ac")));
        // A place of another walk, before what may fit.
        assert_eq!(range(b"ab*", Some("a")), (from("ab"), behind("ac")));
        assert_eq!(range(b"a\\*b", None), (from("a"), behind("b")));
    }
}
