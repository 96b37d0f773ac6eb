//! The program's words, one a file.
//!
//! Each answers whether what it looked at holds; an error is something the caller did wrong, and
//! says what to do instead.
//!
//! Not here: parsing of the command line as a whole (`main.rs`).

pub(crate) mod exhaust;
pub(crate) mod explore;
pub(crate) mod fuzz;
pub(crate) mod list;
mod memory;
pub(crate) mod mutants;
pub(crate) mod run;
pub(crate) mod shrink;
pub(crate) mod swarm;
pub(crate) mod twice;

use std::{collections::BTreeMap, error::Error, path::PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use trilith_sim::scenario::{self, Scenario, load_all, load_file};

/// What every word answers.
pub(crate) type Done = Result<bool, Box<dyn Error>>;

/// Where things are.
#[derive(Debug)]
pub(crate) struct House {
    /// The scenarios.
    pub(crate) scenarios: PathBuf,
    /// How many threads.
    pub(crate) threads: usize,
}

/// `scenarios/` of the repository this was built in, or of the present directory.
pub(crate) fn scenarios_directory() -> PathBuf {
    let here = PathBuf::from("scenarios");
    if here.is_dir() {
        here
    } else {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"))
    }
}

impl House {
    /// All scenarios with a file of their own, by name.
    pub(crate) fn all(&self) -> Result<BTreeMap<String, Scenario>, Box<dyn Error>> {
        let mut all = load_all(&self.scenarios, "random")?;
        all.extend(load_all(&self.scenarios, "found")?);
        all.extend(load_all(&self.scenarios, "demo")?);
        Ok(all)
    }

    /// The scenario of that name or path; the default one when unnamed.
    pub(crate) fn one(&self, name: Option<&str>) -> Result<Scenario, Box<dyn Error>> {
        let name = name.unwrap_or("default");
        let path = PathBuf::from(name);
        if path.is_file() {
            return Ok(load_file(&self.scenarios, &path)?);
        }
        let mut all = self.all()?;
        all.remove(name).ok_or_else(|| {
            let hint = scenario::meant(name, all.keys().map(String::as_str));
            format!("there is no scenario {name:?}{hint}\nnext: trilith-sim list").into()
        })
    }

    /// These scenarios; all random ones when none is named.
    pub(crate) fn some(&self, names: &[String]) -> Result<Vec<Scenario>, Box<dyn Error>> {
        if names.is_empty() {
            let all = load_all(&self.scenarios, "random")?;
            return Ok(all.into_values().filter(|one| one.fails.is_none()).collect());
        }
        names.iter().map(|name| self.one(Some(name))).collect()
    }
}

/// A seed of the command line.
pub(crate) fn parse_seed(text: &str) -> Result<u64, String> {
    scenario::seed(text).ok_or_else(|| format!("{text:?} is not a seed like 42 or 0x2a"))
}

/// A progress bar; nothing when nobody looks.
pub(crate) fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what.to_string());
    bar
}
