//! A workload as people write it down: lines of when, who, which key and what, or a scenario's TOML.
//!
//! ```text
//!   0ms     c0 k1 set
//!   12.5ms  c1 k1 get
//!   # after a hash nothing is read
//!   12.5ms  c0 k7 incr 5
//! ```
//! The judges know what was written by its value, so no two writes may have the same: what `set` and
//! `cas` write is a number of the simulator's, whatever stands there. Sums are judged as sums, so a
//! key that is counted on is not written otherwise. Keys get new numbers, those of sums behind all
//! others, as the simulator's own clients expect it.
//!
//! Behind the lines, when all faults have ended, each client asks its first few things once more:
//! then everything must be answered.
//!
//! Not here: the form of one operation (`trilith_sim::load`), the cluster (`cluster.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use toml::Table;
use trilith_sim::{
    history::Key,
    load::{Ask, Planned},
};

use super::unread;
use crate::failure::{Failure, INPUT, Outcome};

/// More would be a run of hours, and no judge could say anything of it.
const OPERATIONS_MAX: usize = 100_000;
/// Each is a machine of its own.
const CLIENTS_MAX: u32 = 64;
/// So much is counted at once, at most: sums of all of them stay numbers.
const INCREMENT_MAX: u64 = 1_000_000;
/// So long is a workload at most, in seconds.
const SECONDS_MAX: u64 = 600;
/// So many of its first things each client asks again in the end.
const AGAIN: usize = 4;
const NANOS_PER_MS: u64 = 1_000_000;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Workload {
    /// What it is called in reports.
    pub(super) name: Option<String>,
    /// Of a TOML file: what it says of load, faults and all.
    pub(super) table: Table,
    /// Beside it lie the parts that it names.
    pub(super) dir: Option<PathBuf>,
    /// Of lines: what is asked, in order of time for each client.
    lines: Option<Vec<Planned>>,
}

fn wrong(path: &Path, line: usize, why: &str) -> Failure {
    let cause = format!("{}:{line}: {why}", path.display());
    Failure::new(&INPUT, cause, "trilith sim --help shows the form")
}

impl Workload {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is none; and where.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path).map_err(|why| unread(path, &why))?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        if path.extension().is_some_and(|extension| extension == "toml") {
            let table: Table = text.parse().map_err(|why: toml::de::Error| {
                let line = why.span().map_or(0, |span| span.start);
                let line = 1 + text.bytes().take(line).filter(|byte| *byte == b'\n').count();
                wrong(path, line, why.message())
            })?;
            let dir = path.parent().map(Path::to_owned);
            return Ok(Self { name, table, dir, lines: None });
        }
        let lines = lines(path, &text)?;
        Ok(Self { name, table: Table::new(), dir: None, lines: Some(lines) })
    }

    /// What is asked and when, where the file says that itself.
    pub(super) fn planned(&self) -> Option<Vec<Planned>> {
        self.lines.clone()
    }

    /// How many clients there are, how many keys beside the sums, and how many operations the busiest
    /// client has, where the file says that itself.
    pub(super) fn sizes(&self) -> Option<(u32, u32, u32)> {
        let lines = self.lines.as_ref()?;
        let clients = lines.iter().map(|one| one.client + 1).max().unwrap_or(1);
        let keys: BTreeSet<Key> =
            lines.iter().filter(|one| !is_sum(one.ask)).map(|one| one.key).collect();
        let sums: BTreeSet<Key> =
            lines.iter().filter(|one| is_sum(one.ask)).map(|one| one.key).collect();
        let plain = keys.difference(&sums).count() as u32;
        let of = |client| lines.iter().filter(|one| one.client == client).count() as u32;
        Some((clients, plain.max(1), (0..clients).map(of).max().unwrap_or(0)))
    }

    /// How many there are of each kind, and what share of all in a hundred is about the first key, where
    /// the file says that itself: reports tell it.
    pub(super) fn mix(&self) -> Option<([(&'static str, u32); 5], u32)> {
        let lines = self.lines.as_ref()?;
        let count =
            |is: &dyn Fn(&Planned) -> bool| lines.iter().filter(|one| is(one)).count() as u32;
        let mix = [
            ("get", count(&|one| matches!(one.ask, Ask::Get))),
            ("set", count(&|one| matches!(one.ask, Ask::Set(_)))),
            ("delete", count(&|one| matches!(one.ask, Ask::Delete))),
            ("cas", count(&|one| matches!(one.ask, Ask::Cas(_)))),
            ("incr", count(&|one| is_sum(one.ask))),
        ];
        Some((mix, count(&|one| one.key == 0) * 100 / lines.len().max(1) as u32))
    }

    /// When the last of it is asked, in milliseconds, rounded up.
    pub(super) fn last_ms(&self) -> Option<u64> {
        let last = self.lines.as_ref()?.iter().map(|one| one.at_ns).max()?;
        Some(last.div_ceil(NANOS_PER_MS))
    }

    /// Adds what each client asks once more, from then on.
    pub(super) fn end(&mut self, calm_from_ms: u64, calm_ms: u64) {
        let clients = self.sizes().map_or(0, |(clients, ..)| clients);
        let Some(lines) = &mut self.lines else { return };
        for client in 0..clients {
            let own = lines.iter().filter(|one| one.client == client);
            let first: Vec<Planned> = own.take(AGAIN).copied().collect();
            let step_ns = calm_ms * NANOS_PER_MS / (AGAIN as u64 + 1);
            let begin_ns = calm_from_ms * NANOS_PER_MS;
            lines.extend((1..).zip(first).map(|(nth, one)| {
                let at_ns = begin_ns + nth * step_ns;
                Planned { at_ns, ..one }
            }));
        }
        name_values(lines);
    }
}

const fn is_sum(ask: Ask) -> bool {
    matches!(ask, Ask::Incr(_))
}

/// No two writes have one value; a value tells which client's it is, and which of its writes.
fn name_values(lines: &mut [Planned]) {
    let mut written: BTreeMap<u32, u64> = BTreeMap::new();
    for one in lines {
        if let Ask::Set(value) | Ask::Cas(value) = &mut one.ask {
            let nth = written.entry(one.client).or_default();
            *nth += 1;
            *value = (u64::from(one.client) + 1) * 1_000_000 + *nth;
        }
    }
}

fn lines(path: &Path, text: &str) -> Outcome<Vec<Planned>> {
    let mut all = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let words = text.split('#').next().unwrap_or("").trim();
        if words.is_empty() {
            continue;
        }
        let planned = one(words).map_err(|why| wrong(path, line, &why))?;
        if all.len() == OPERATIONS_MAX {
            return Err(wrong(path, line, &format!("more than {OPERATIONS_MAX} operations")));
        }
        all.push((line, planned));
    }
    if all.is_empty() {
        return Err(wrong(path, 1, "there is no operation in it"));
    }
    number_keys(&mut all).map_err(|(line, why)| wrong(path, line, &why))?;
    let mut all: Vec<Planned> = all.into_iter().map(|(_, planned)| planned).collect();
    // Lines of one moment stay in their order.
    all.sort_by_key(|one| (one.client, one.at_ns));
    name_values(&mut all);
    Ok(all)
}

/// One line. What a write writes need not be said.
fn one(words: &str) -> Result<Planned, String> {
    let planned: Result<Planned, String> = words.parse();
    let planned = planned.or_else(|why| match words.rsplit(' ').next() {
        Some("set" | "cas" | "incr") => format!("{words} 1").parse(),
        _ => Err(why),
    });
    let planned = planned.map_err(|_why| format!("{words:?} is not like `12.5ms c1 k3 set`"))?;
    if planned.client >= CLIENTS_MAX {
        return Err(format!("there are at most {CLIENTS_MAX} clients, c0 to c{}", CLIENTS_MAX - 1));
    }
    if planned.at_ns > SECONDS_MAX * 1_000 * NANOS_PER_MS {
        return Err(format!("it is after {SECONDS_MAX} seconds"));
    }
    match planned.ask {
        Ask::Incr(by) if !(1..=INCREMENT_MAX).contains(&by) => {
            Err(format!("it counts by 1 to {INCREMENT_MAX}"))
        }
        _ => Ok(planned),
    }
}

/// Gives keys new numbers, in order of the old ones, those of sums last. Which line counts on a key
/// that another one writes otherwise, if one does.
fn number_keys(all: &mut [(usize, Planned)]) -> Result<(), (usize, String)> {
    let sums: BTreeSet<Key> =
        all.iter().filter(|(_, one)| is_sum(one.ask)).map(|(_, one)| one.key).collect();
    for (line, one) in all.iter() {
        let is_written = matches!(one.ask, Ask::Set(_) | Ask::Cas(_) | Ask::Delete);
        if is_written && sums.contains(&one.key) {
            let key = one.key;
            let why = format!("k{key} is counted on in another line: it may be read, and no more");
            return Err((*line, why));
        }
    }
    let plain: BTreeSet<Key> =
        all.iter().map(|(_, one)| one.key).filter(|key| !sums.contains(key)).collect();
    // One plain key is there in any case.
    let behind = plain.len().max(1) as Key;
    let numbers: BTreeMap<Key, Key> =
        plain.into_iter().zip(0..).chain(sums.into_iter().zip(behind..)).collect();
    for (_, one) in all {
        one.key = numbers.get(&one.key).copied().unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let told = lines(Path::new("my.load"), text).map_err(|why| why.cause)?;
        Ok(told.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_are_read_in_order_and_writes_are_told_apart() {
        let text = "\
            # a comment\n\
            5ms c1 k9 set\n\
            0.5ms c0 k9 get  # and one behind it\n\
            \n\
            7ms c0 k9 set 3\n\
            7ms c0 k20 incr\n\
            7ms c0 k4 cas 3\n\
            6ms c0 k20 get\n\
            8ms c0 k4 delete\n";
        let expected = [
            "0.500000ms c0 k1 get",
            "6.000000ms c0 k2 get",
            "7.000000ms c0 k1 set 1000001",
            "7.000000ms c0 k2 incr 1",
            "7.000000ms c0 k0 cas 1000002",
            "8.000000ms c0 k0 delete",
            "5.000000ms c1 k1 set 2000001",
        ];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_workload_says_where() {
        for (text, why) in [
            ("", "my.load:1: there is no operation in it"),
            ("0ms c0 k1 get\n1ms c0 k1 jump\n", "my.load:2: \"1ms c0 k1 jump\" is not like"),
            ("0ms c64 k1 get\n", "my.load:1: there are at most 64 clients, c0 to c63"),
            ("0ms c0 k1 incr 0\n", "my.load:1: it counts by 1 to 1000000"),
            ("601000ms c0 k1 get\n", "my.load:1: it is after 600 seconds"),
            ("0ms c0 k1 incr\n\n1ms c0 k1 set\n", "my.load:3: k1 is counted on in another line"),
            ("0ms c0 k1 set x\n", "my.load:1: \"0ms c0 k1 set x\" is not like"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }

    #[test]
    fn in_the_end_each_client_asks_once_more_with_values_of_its_own() {
        let text = "1ms c0 k0 set\n2ms c0 k0 get\n1ms c2 k0 set\n3ms c2 k5 incr 2\n";
        let all = lines(Path::new("my.load"), text).unwrap();
        let mut workload = Workload { lines: Some(all), ..Workload::default() };
        assert_eq!((workload.sizes(), workload.last_ms()), (Some((3, 1, 2)), Some(3)));
        let mix = [("get", 1), ("set", 2), ("delete", 0), ("cas", 0), ("incr", 1)];
        assert_eq!(workload.mix(), Some((mix, 75)));
        workload.end(1000, 500);
        let told: Vec<String> =
            workload.planned().unwrap().iter().skip(4).map(ToString::to_string).collect();
        let expected = [
            "1100.000000ms c0 k0 set 1000002",
            "1200.000000ms c0 k0 get",
            "1100.000000ms c2 k0 set 3000002",
            "1200.000000ms c2 k1 incr 2",
        ];
        assert_eq!(told, expected);
        assert_eq!(Workload::default().sizes(), None);
    }
}
