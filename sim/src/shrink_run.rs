//! Shrinking a run: the fewest faults and the fewest operations that fail in the same way.
//!
//! A run is rebuilt from its seed with a shorter plan of faults or a shorter load; all other luck
//! stays in its own streams and does not move. A candidate counts as the same failure when the
//! same judge refuses it with the same sentence.
//!
//! Faults go first (they cost most of the reader's attention), then operations, then faults again:
//! with fewer operations some faults have nothing left to break. The result is written as a
//! scenario under `scenarios/found/`, one run, with the story in its header; it is a test from
//! then on.
//!
//! Not here: delta debugging itself (`shrink`).
#![expect(clippy::disallowed_methods, reason = "what was found is written to a file")]

use std::{fmt::Write as _, fs, io, path::Path};

use toml::{Table, Value};

use crate::{
    check::Violation,
    fault::FaultPlan,
    load::Planned,
    run::{Report, Request, commit, run},
    scenario::Scenario,
    shrink::{Effort, minimise},
};

/// A failing run, made small.
#[derive(Debug)]
pub struct Shrunk {
    /// The scenario it came from.
    pub scenario: Scenario,
    /// The last run that failed, which is the smallest.
    pub report: Report,
    /// Why it failed.
    pub violation: Violation,
    /// Faults and operations before.
    pub before: (usize, usize),
    /// Faults and operations after.
    pub after: (usize, usize),
    /// How many runs it took.
    pub effort: Effort,
    /// The planted bug it was found with.
    pub mutant: Option<String>,
}

/// Makes a failing run small, with at most `budget` runs; `None` when it does not fail. `tick` is
/// told the number of faults and operations of the best so far.
pub fn shrink(
    scenario: &Scenario,
    request: &Request,
    budget: usize,
    mut tick: impl FnMut(usize, usize),
) -> Option<Shrunk> {
    let first = run(scenario, request);
    let wanted = first.violation.as_ref()?.fingerprint();
    let mut faults = first.drawn.faults.entries.clone();
    let mut load = first.drawn.load.clone();
    let before = (faults.len(), load.len());
    let mut effort = Effort::default();
    let fails = |faults: &[_], load: &[Planned]| {
        let plan = FaultPlan { entries: faults.to_vec() };
        let smaller = Request { faults: Some(plan), load: Some(load.to_vec()), ..request.clone() };
        run(scenario, &smaller).violation.is_some_and(|told| told.fingerprint() == wanted)
    };
    for _round in 0..2 {
        let left = budget.saturating_sub(effort.tried);
        let (fewer, spent) = minimise(&faults, left, |some| fails(some, &load));
        faults = fewer;
        add(&mut effort, spent);
        tick(faults.len(), load.len());
        let left = budget.saturating_sub(effort.tried);
        let (fewer, spent) = minimise(&load, left, |some| fails(&faults, some));
        load = fewer;
        add(&mut effort, spent);
        tick(faults.len(), load.len());
    }
    let after = (faults.len(), load.len());
    let plan = FaultPlan { entries: faults };
    let smallest = Request { faults: Some(plan), load: Some(load), ..request.clone() };
    let report = run(scenario, &smallest);
    let violation = report.violation.clone()?;
    let (scenario, mutant) = (scenario.clone(), request.mutant.clone());
    Some(Shrunk { scenario, report, violation, before, after, effort, mutant })
}

fn add(total: &mut Effort, spent: Effort) {
    total.tried += spent.tried;
    total.kept += spent.kept;
    total.cut_short |= spent.cut_short;
}

impl Shrunk {
    /// A file name that says what it is.
    #[must_use]
    pub fn file_name(&self) -> String {
        let mut words: String = self
            .violation
            .symptom
            .chars()
            .map(
                |letter| {
                    if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' }
                },
            )
            .take(60)
            .collect();
        if let Some(mutant) = &self.mutant {
            words = format!("{mutant}_{words}");
        }
        format!("{}_0x{:x}.toml", words.trim_matches('_'), self.report.seed)
    }

    /// The scenario's text: the story, then the run.
    ///
    /// # Errors
    /// When a number does not fit TOML.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        let mut text = String::new();
        let Self { report, violation, before, after, .. } = self;
        let mut say = |line: &str| {
            writeln!(text, "# {line}").unwrap_or_default();
        };
        say(&format!("{}: {}", violation.judge, violation.symptom));
        say("");
        violation.evidence.lines().for_each(&mut say);
        say("");
        say(&format!(
            "Found by {} at seed 0x{:x}, commit {}.",
            report.scenario,
            report.seed,
            commit()
        ));
        say(&format!(
            "Shrunk from {} faults and {} operations to {} and {}.",
            before.0, before.1, after.0, after.1
        ));
        say("Cause: (say it here when it is known, with the invariant's sentence)");
        let mut table = self.scenario.source.clone();
        table.remove("parts");
        table.remove("seeds");
        table.insert("about".into(), violation.symptom.clone().into());
        let mut options = match table.remove("subject_options") {
            Some(Value::Table(options)) => options,
            _ => Table::new(),
        };
        let bugs = self.scenario.bugs.iter().chain(&self.mutant);
        let bugs: Vec<Value> = bugs.map(|bug| bug.clone().into()).collect();
        if !bugs.is_empty() {
            options.insert("bugs".into(), bugs.into());
            table.insert("fails".into(), violation.judge.into());
        }
        if !options.is_empty() {
            table.insert("subject_options".into(), options.into());
        }
        let mut fixed = Table::new();
        fixed.insert("seed".into(), format!("0x{:x}", report.seed).into());
        let load: Vec<Value> = report.drawn.load.iter().map(|one| one.to_string().into()).collect();
        fixed.insert("load".into(), load.into());
        let plan = Value::try_from(&report.drawn.faults)?;
        let faults = plan.get("faults").cloned().unwrap_or_else(|| Value::Array(vec![]));
        fixed.insert("faults".into(), faults);
        table.insert("fixed".into(), fixed.into());
        text.push('\n');
        text.push_str(&toml::to_string_pretty(&table)?);
        Ok(text)
    }

    /// Writes it into a directory. Answers the file's path.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, directory: &Path) -> io::Result<std::path::PathBuf> {
        let text = self.text().map_err(io::Error::other)?;
        fs::create_dir_all(directory)?;
        let path = directory.join(self.file_name());
        fs::write(&path, text)?;
        Ok(path)
    }
}
