//! Scenarios: a cluster, a load, faults, judges and a span of time, as a file people can read.
//!
//! ```toml
//! about = "Five nodes, everything breaks."
//! subject = "toy"
//! parts = ["rough_network"]          # scenarios/parts/rough_network.toml, read first
//!
//! [cluster]
//! nodes = [3, 5]                     # a number, or a list to draw from, or "3..=5"
//! [load]
//! clients = "2..=6"
//! [faults]
//! families = ["power_loss", "partition"]  # each seed draws its own subset
//! [time]
//! chaos_ms = 8000
//! [judges]
//! ask = ["linearizable", "alive"]
//! ```
//! A scenario is a set of ranges; a seed draws one point of it. What was drawn is printed with
//! every run, because a seed means nothing without the ranges it was drawn from.
//!
//! An unknown key is an error, with the key that was probably meant: a misspelt judge must not
//! pass as a judge that has nothing to say.
//!
//! Files under `parts/` hold what several scenarios share; later ones and the file itself override
//! key by key.
//!
//! Not here: what is done with it (`run`); exact scripts (`script`).
#![expect(clippy::disallowed_methods, reason = "scenarios are files, read before any world exists")]

use std::{collections::BTreeMap, fmt, fs, path::Path};

use toml::{Table, Value};
use trilith_engine::runtime::Rng;

use crate::{
    check,
    fault::{Family, FaultPlan},
    load::Planned,
    luck::Luck,
};

/// A number that a seed draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Between these, both included.
    Between(u64, u64),
    /// One of these.
    OneOf(Vec<u64>),
}

impl Draw {
    /// Always this.
    #[must_use]
    pub const fn just(number: u64) -> Self {
        Self::Between(number, number)
    }

    /// One number of it.
    pub fn draw(&self, luck: &mut Luck) -> u64 {
        match self {
            Self::Between(low, high) => luck.range(*low..high.saturating_add(1)),
            Self::OneOf(numbers) => {
                let at = luck.range(0..numbers.len().max(1) as u64);
                numbers.get(at as usize).copied().unwrap_or_default()
            }
        }
    }

    /// The largest it can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        match self {
            Self::Between(_, high) => *high,
            Self::OneOf(numbers) => numbers.iter().copied().max().unwrap_or_default(),
        }
    }
}

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadScenario(pub String);

impl fmt::Display for BadScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadScenario {}

type Read<T> = Result<T, BadScenario>;

/// The number of single-letter edits between two words, to find what was meant.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = at + 1;
        for (column, against) in other.iter().enumerate() {
            let substituted = corner + usize::from(letter != *against);
            corner = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}

/// The word of a list that was probably meant.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().map(|known| (distance(word, known), known)).min();
    match near {
        Some((far, known)) if far <= word.len().max(3) / 2 + 1 => {
            format!("; did you mean {known:?}?")
        }
        _ => String::new(),
    }
}

/// One section of a file: each key is taken once, and what is left over is an error.
struct Section {
    name: String,
    table: Table,
    asked: Vec<&'static str>,
}

impl Section {
    fn of(parent: &mut Self, name: &'static str) -> Read<Self> {
        let full =
            if parent.name.is_empty() { name.into() } else { format!("{}.{name}", parent.name) };
        match parent.take(name) {
            None => Ok(Self { name: full, table: Table::new(), asked: vec![] }),
            Some(Value::Table(table)) => Ok(Self { name: full, table, asked: vec![] }),
            Some(other) => Err(BadScenario(format!("[{full}] should be a section, not {other}"))),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> BadScenario {
        BadScenario(format!("{}: {value} is not {wanted}", self.path(key)))
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    fn draw(&mut self, key: &'static str, default: Draw) -> Read<Draw> {
        let Some(value) = self.take(key) else { return Ok(default) };
        let wanted = "a number, a list of numbers, or a range like \"2..=6\"";
        let number =
            |value: &Value| value.as_integer().and_then(|number| u64::try_from(number).ok());
        let drawn = match &value {
            Value::Integer(_) => number(&value).map(Draw::just),
            Value::Array(list) if !list.is_empty() => {
                list.iter().map(number).collect::<Option<Vec<u64>>>().map(Draw::OneOf)
            }
            Value::String(text) => text.split_once("..=").and_then(|(low, high)| {
                let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
                (low <= high).then_some(Draw::Between(low, high))
            }),
            _ => None,
        };
        drawn.ok_or_else(|| self.wrong(key, &value, wanted))
    }

    fn number(&mut self, key: &'static str, default: u64) -> Read<u64> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value
                .as_integer()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| self.wrong(key, &value, "a number")),
        }
    }

    fn flag(&mut self, key: &'static str, default: bool) -> Read<bool> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, &value, "true or false")),
        }
    }

    fn text(&mut self, key: &'static str) -> Read<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, &value, "a text")),
        }
    }

    fn texts(&mut self, key: &'static str) -> Read<Option<Vec<String>>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| {
            list.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
        });
        texts.map(Some).ok_or_else(|| self.wrong(key, &value, "a list of texts"))
    }

    fn end(self) -> Read<()> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let hint = meant(key, self.asked.iter().copied());
        Err(BadScenario(format!("unknown key {}{hint}", self.path(key))))
    }
}

/// Who is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The replicated toy.
    Toy,
    /// Strong groups on several nodes.
    Cluster,
    /// The journal alone.
    Journal,
    /// The journal on a disk that is damaged where it hurts.
    Damage,
    /// The embedded store's body, among tasks.
    Store,
    /// The same, step by step on the still disk.
    Lives,
    /// The links between nodes.
    Links,
}

/// The load's ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRange {
    /// Clients.
    pub clients: Draw,
    /// Operations of each in the first phase.
    pub operations: Draw,
    /// Operations of each in the calm phase.
    pub calm_operations: Draw,
    /// Keys.
    pub keys: Draw,
    /// Out of 100, how often the hot key is meant.
    pub hot: Draw,
    /// Parts of get, set, delete, cas, incr.
    pub mix: [Draw; 5],
    /// Bytes of a value, at most: of the store, and where disks may be full of a cluster.
    pub value_bytes: Draw,
}

/// The faults' ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRange {
    /// Families that may be drawn; each seed draws a subset.
    pub families: Vec<Family>,
    /// How many faults, about.
    pub count: Draw,
    /// Whether one disk may be lost, as the subject's budget allows.
    pub lose_a_disk: bool,
    /// Whether one disk is slow for long.
    pub slow_a_disk: bool,
    /// Whether disks fill up and have room again.
    pub fill_disks: bool,
    /// Latency and weather of the network are drawn too.
    pub weather: bool,
}

/// The phases, in virtual milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Anything may fail.
    pub chaos_ms: u64,
    /// All faults have stopped; nothing is asked yet.
    pub settle_ms: u64,
    /// Everything asked must be done.
    pub calm_ms: u64,
    /// Within this.
    pub bound_ms: u64,
}

/// What a shrunk run keeps exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The seed, when the file is one run and not many.
    pub seed: Option<u64>,
    /// The plan of faults; drawn when absent.
    pub faults: Option<FaultPlan>,
    /// The plan of the load; drawn when absent.
    pub load: Option<Vec<Planned>>,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name: the file's, a sentence.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Who is tested.
    pub subject: Subject,
    /// How many nodes.
    pub nodes: Draw,
    /// Groups that the keys are spread over.
    pub groups: Draw,
    /// Whether leaders have leases: 1 or 0.
    pub leases: Draw,
    /// Whether a governor moves leaders and changes members: 1 or 0.
    pub governed: Draw,
    /// Whether every other client speaks Redis: 1 or 0.
    pub redis: Draw,
    /// Whether every other client speaks HTTP: 1 or 0.
    pub http: Draw,
    /// Whether every other client speaks the text protocol: 1 or 0.
    pub text: Draw,
    /// Whether who speaks one of these has to say first who it is: 1 or 0.
    pub users: Draw,
    /// Whether the cluster has a secret: 1 or 0.
    pub secret: Draw,
    /// How large each node's disk is, in KiB; 0: large enough.
    pub disk_kib: Draw,
    /// What is asked.
    pub load: LoadRange,
    /// What goes wrong.
    pub faults: FaultRange,
    /// For how long.
    pub time: Time,
    /// Who judges.
    pub judges: Vec<String>,
    /// Bugs of the subject that are switched on: for canaries and for what was found with them.
    pub bugs: Vec<String>,
    /// A leak of non-determinism: for the negative controls of `twice`.
    pub leak: crate::twice::Leak,
    /// `None`: it must hold. Otherwise the judge that must refuse it within `seeds`.
    pub fails: Option<String>,
    /// How many fixed seeds `cargo test` gives it.
    pub seeds: u64,
    /// How many fresh ones beside them.
    pub fresh: u64,
    /// What a shrunk run keeps exactly.
    pub fixed: Fixed,
    /// The file as it was read, parts included.
    pub source: Table,
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// The name of a family of faults, as files use it.
#[must_use]
pub fn family_name(family: Family) -> String {
    Value::try_from(family)
        .ok()
        .and_then(|name| name.as_str().map(str::to_string))
        .unwrap_or_default()
}

fn known<'a>(what: &str, word: &str, all: impl IntoIterator<Item = &'a str> + Clone) -> Read<()> {
    if all.clone().into_iter().any(|one| one == word) {
        return Ok(());
    }
    Err(BadScenario(format!("there is no {what} {word:?}{}", meant(word, all))))
}

impl Scenario {
    /// Reads a scenario's text. `part` finds the text of a part by its name.
    ///
    /// # Errors
    /// What is wrong, and what was probably meant.
    pub fn parse(name: &str, text: &str, part: &dyn Fn(&str) -> Option<String>) -> Read<Self> {
        let own: Table = text.parse().map_err(|why| BadScenario(format!("{why}")))?;
        let mut table = Table::new();
        for wanted in own.get("parts").and_then(Value::as_array).into_iter().flatten() {
            let wanted = wanted.as_str().unwrap_or_default();
            let text = part(wanted).ok_or_else(|| {
                BadScenario(format!("there is no part {wanted:?} in scenarios/parts"))
            })?;
            let part: Table =
                text.parse().map_err(|why| BadScenario(format!("{wanted}: {why}")))?;
            merge(&mut table, part);
        }
        merge(&mut table, own);
        let source = table.clone();
        let mut root = Section { name: String::new(), table, asked: vec![] };
        let scenario = Self::read(name, &mut root)?;
        root.end()?;
        Ok(Self { source, ..scenario })
    }

    fn read(name: &str, root: &mut Section) -> Read<Self> {
        drop(root.take("parts"));
        let about = root.text("about")?.unwrap_or_default();
        let subject = Self::read_subject(root)?;
        let mut cluster = Section::of(root, "cluster")?;
        let many = matches!(subject, Subject::Toy | Subject::Cluster);
        let one = Draw::just(if many { 3 } else { 1 });
        let nodes = cluster.draw("nodes", one)?;
        let groups = cluster.draw("groups", Draw::just(1))?;
        let mut number = |name| cluster.draw(name, Draw::just(0));
        let (leases, governed) = (number("leases")?, number("governed")?);
        let (redis, http, disk_kib) = (number("redis")?, number("http")?, number("disk_kib")?);
        let (users, secret, text) = (number("users")?, number("secret")?, number("text")?);
        cluster.end()?;
        let load = Self::read_load(Section::of(root, "load")?)?;
        let faults = Self::read_faults(Section::of(root, "faults")?)?;
        let time = Self::read_time(Section::of(root, "time")?)?;
        let mut section = Section::of(root, "judges")?;
        let judges = section.texts("ask")?.unwrap_or_default();
        section.end()?;
        for judge in &judges {
            known("judge", judge, check::judges().iter().map(|judge| judge.name))?;
        }
        let mut section = Section::of(root, "subject_options")?;
        let bugs = section.texts("bugs")?.unwrap_or_default();
        let leak = match section.text("leak")?.as_deref() {
            None | Some("none") => crate::twice::Leak::None,
            Some("hash order") => crate::twice::Leak::HashOrder,
            Some("clock") => crate::twice::Leak::Clock,
            Some(other) => {
                let hint = meant(other, ["none", "hash order", "clock"]);
                return Err(BadScenario(format!("subject_options.leak: no leak {other:?}{hint}")));
            }
        };
        section.end()?;
        let fails = root.text("fails")?;
        if let Some(judge) = &fails {
            known("judge", judge, check::judges().iter().map(|judge| judge.name))?;
        }
        let seeds = root.number("seeds", 20)?;
        let fresh = root.number("fresh", 3)?;
        let (fixed, name) = (Self::read_fixed(Section::of(root, "fixed")?)?, name.to_string());
        Ok(Self {
            name,
            about,
            subject,
            nodes,
            groups,
            leases,
            governed,
            redis,
            http,
            text,
            users,
            secret,
            disk_kib,
            load,
            faults,
            time,
            judges,
            bugs,
            leak,
            fails,
            seeds,
            fresh,
            fixed,
            source: Table::new(),
        })
    }

    fn read_time(mut section: Section) -> Read<Time> {
        let time = Time {
            chaos_ms: section.number("chaos_ms", 6000)?,
            settle_ms: section.number("settle_ms", 6000)?,
            calm_ms: section.number("calm_ms", 2000)?,
            bound_ms: section.number("bound_ms", 1500)?,
        };
        section.end()?;
        Ok(time)
    }

    fn read_subject(root: &mut Section) -> Read<Subject> {
        Ok(match root.text("subject")?.as_deref() {
            Some("toy") => Subject::Toy,
            Some("cluster") => Subject::Cluster,
            Some("journal") => Subject::Journal,
            Some("damage") => Subject::Damage,
            Some("store") => Subject::Store,
            Some("lives") => Subject::Lives,
            Some("links") => Subject::Links,
            other => {
                let other = other.unwrap_or_default();
                let known = ["toy", "cluster", "journal", "damage", "store", "lives", "links"];
                let hint = meant(other, known);
                return Err(BadScenario(format!(
                    "subject: {other:?} is not one of {}{hint}",
                    known.join(", ")
                )));
            }
        })
    }

    fn read_load(mut section: Section) -> Read<LoadRange> {
        let mut mix = Section::of(&mut section, "mix")?;
        let parts = [
            mix.draw("get", Draw::Between(2, 6))?,
            mix.draw("set", Draw::Between(2, 6))?,
            mix.draw("delete", Draw::Between(0, 2))?,
            mix.draw("cas", Draw::Between(0, 2))?,
            mix.draw("incr", Draw::Between(0, 3))?,
        ];
        mix.end()?;
        let load = LoadRange {
            clients: section.draw("clients", Draw::Between(2, 5))?,
            operations: section.draw("operations", Draw::Between(20, 60))?,
            calm_operations: section.draw("calm_operations", Draw::just(4))?,
            keys: section.draw("keys", Draw::Between(1, 6))?,
            hot: section.draw("hot", Draw::Between(0, 60))?,
            mix: parts,
            value_bytes: section.draw("value_bytes", Draw::Between(0, 400))?,
        };
        section.end()?;
        Ok(load)
    }

    fn read_faults(mut section: Section) -> Read<FaultRange> {
        let families = section.texts("families")?.unwrap_or_default();
        let names: Vec<String> = Family::ALL.into_iter().map(family_name).collect();
        let mut allowed = Vec::new();
        for family in &families {
            known("family of faults", family, names.iter().map(String::as_str))?;
            allowed.extend(Family::ALL.into_iter().filter(|one| family_name(*one) == *family));
        }
        let faults = FaultRange {
            families: allowed,
            count: section.draw("count", Draw::Between(2, 10))?,
            lose_a_disk: section.flag("lose_a_disk", false)?,
            slow_a_disk: section.flag("slow_a_disk", false)?,
            fill_disks: section.flag("fill_disks", false)?,
            weather: section.flag("weather", true)?,
        };
        section.end()?;
        Ok(faults)
    }

    fn read_fixed(mut section: Section) -> Read<Fixed> {
        let seed = match section.text("seed")? {
            None => None,
            Some(text) => Some(seed(&text).ok_or_else(|| {
                BadScenario(format!("fixed.seed: {text:?} is not a number like \"42\" or \"0x2a\""))
            })?),
        };
        let faults = match section.take("faults") {
            None => None,
            Some(list) => {
                let plan = Table::from_iter([("faults".to_string(), list)]);
                let plan =
                    plan.try_into().map_err(|why| BadScenario(format!("fixed.faults: {why}")))?;
                Some(plan)
            }
        };
        let load = match section.texts("load")? {
            None => None,
            Some(lines) => {
                let plan: Result<Vec<Planned>, String> =
                    lines.iter().map(|line| line.parse()).collect();
                Some(plan.map_err(|why| BadScenario(format!("fixed.load: {why}")))?)
            }
        };
        let fixed = Fixed { seed, faults, load };
        section.end()?;
        Ok(fixed)
    }
}

/// A seed as people write it: `42` or `0x2a`.
#[must_use]
pub fn seed(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The scenarios of a directory (`random`, `found`, `demo`), by name.
///
/// # Errors
/// The first file that cannot be read, with its path.
pub fn load_all(root: &Path, kind: &str) -> Read<BTreeMap<String, Scenario>> {
    let mut all = BTreeMap::new();
    let Ok(files) = fs::read_dir(root.join(kind)) else { return Ok(all) };
    for file in files {
        let path = file.map_err(|why| BadScenario(why.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let scenario = load_file(root, &path)?;
        all.insert(scenario.name.clone(), scenario);
    }
    Ok(all)
}

/// One scenario's file.
///
/// # Errors
/// What is wrong with it, with its path.
pub fn load_file(root: &Path, path: &Path) -> Read<Scenario> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let in_file = |why: &dyn fmt::Display| BadScenario(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|why| in_file(&why))?;
    let part =
        |part: &str| fs::read_to_string(root.join("parts").join(format!("{part}.toml"))).ok();
    Scenario::parse(&name, &text, &part).map_err(|why| in_file(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Read<Scenario> {
        let part = |name: &str| (name == "calm").then(|| "[faults]\ncount = 0\n".to_string());
        Scenario::parse("a test", text, &part)
    }

    fn refusal(text: &str) -> String {
        parse(text).map_or_else(|why| why.0, |scenario| format!("accepted: {scenario:?}"))
    }

    #[test]
    fn defaults_parts_and_overrides() {
        let scenario = parse(
            "subject = \"toy\"\nparts = [\"calm\"]\n[cluster]\nnodes = [3, 5]\n[load]\nkeys = \"1..=9\"",
        )
        .expect("a scenario");
        assert_eq!(scenario.nodes, Draw::OneOf(vec![3, 5]));
        assert_eq!(scenario.load.keys, Draw::Between(1, 9));
        assert_eq!(scenario.faults.count, Draw::just(0));
        let over = parse("subject = \"toy\"\nparts = [\"calm\"]\n[faults]\ncount = 3");
        assert_eq!(over.expect("a scenario").faults.count, Draw::just(3));
    }

    #[test]
    fn what_is_misspelt_is_named_with_what_was_meant() {
        let unknown = refusal("subject = \"toy\"\n[load]\nclinets = 3");
        assert_eq!(unknown, "unknown key load.clinets; did you mean \"clients\"?");
        let judge = refusal("subject = \"toy\"\n[judges]\nask = [\"linearisable\"]");
        assert_eq!(judge, "there is no judge \"linearisable\"; did you mean \"linearizable\"?");
        let family = refusal("subject = \"toy\"\n[faults]\nfamilies = [\"power_los\"]");
        assert!(family.ends_with("did you mean \"power_loss\"?"), "{family}");
        assert!(refusal("subject = \"tea\"").contains("not one of toy, cluster, journal, damage"));
        assert!(refusal("subject = \"toy\"\nparts = [\"x\"]").contains("no part \"x\""));
        assert!(refusal("subject = \"toy\"\n[cluster]\nnodes = \"5..=3\"").contains("range like"));
    }

    #[test]
    fn seeds_read_in_both_forms() {
        assert_eq!((seed("42"), seed("0x2a"), seed("x")), (Some(42), Some(42), None));
    }
}
