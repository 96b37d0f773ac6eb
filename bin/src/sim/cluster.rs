//! The cluster that a workload meets: its size, its settings, and what goes wrong.
//!
//! What counts, each stronger than the one before: the simulator's own scenario of everything that a
//! cluster promises to survive; the workload's file, if that is TOML; a node's file (`--config`);
//! flags. It becomes one scenario, as the simulator reads it from files, so what is wrong with a word
//! is said in the simulator's words.
//!
//! Not here: the workload (`workload.rs`), what faults there are (`trilith_sim::fault`).

use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};
use trilith_sim::scenario::Scenario;

use super::workload::Workload;
use crate::{
    config::{Resolved, Settings},
    failure::{Failure, INPUT, INTERNAL, Outcome},
};

/// What a cluster promises to survive, and who judges it: as the simulator's own tests have it.
const EVERYTHING: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../scenarios/random/a_cluster_lives_through_everything.toml"
));
/// As a part of other scenarios.
const BASE: &str = "everything";
/// Groups beyond this would take hours, and show no more.
const GROUPS_MAX: u16 = 64;
/// Nodes beyond this, too.
const NODES_MAX: u32 = 9;
/// What is asked last has this long until faults end.
const AFTER_MS: u64 = 500;
/// Less is too short for anything to go wrong.
const LASTS_MS_MIN: u64 = 2000;

/// The cluster, and what goes wrong with it.
#[derive(Args, Debug, Default)]
pub(super) struct Shape {
    /// How many nodes; each seed draws 3 or 5 when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u32>,
    /// Over how many groups the keys are split; each seed draws some when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(GROUPS_MAX)))]
    groups: Option<u16>,
    /// Takes number of members, groups, leases, users, secret and kinds of clients from a node's file;
    /// not its timeouts and sizes, which are the simulator's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What goes wrong: families of faults, or none. Each seed draws some of them. power_loss, blackout,
    /// kill, stop, pause, partition, clog, weather, clock, slow_disk, disk_error when not given.
    #[arg(long, value_delimiter = ',', value_name = "FAMILY,…")]
    faults: Vec<String>,
    /// For how many seconds it goes wrong; as long as the workload has lines, or 6.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: Option<u64>,
}

/// A table's table of that name.
fn section<'a>(table: &'a mut Table, name: &str) -> Outcome<&'a mut Table> {
    let entry = table.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new()));
    entry.as_table_mut().ok_or_else(|| wrong(&format!("{name} should be a table")))
}

fn wrong(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(&INPUT, why, "trilith sim --help shows what there is to say")
}

fn number(number: impl Into<i64>) -> Value {
    Value::Integer(number.into())
}

impl Shape {
    /// The scenario, and the workload with what it asks in the end.
    ///
    /// # Errors
    /// What is wrong with what was said.
    pub(super) fn scenario(&self, mut workload: Workload) -> Outcome<(Scenario, Workload)> {
        let mut table = workload.table.clone();
        is_of_a_cluster(&table)?;
        table.insert("subject".to_owned(), Value::String("cluster".to_owned()));
        let parts = table.remove("parts").and_then(|parts| parts.as_array().cloned());
        let all = [Value::String(BASE.to_owned())].into_iter().chain(parts.unwrap_or_default());
        table.insert("parts".to_owned(), Value::Array(all.collect()));
        if let Some(path) = &self.config {
            configure(&Resolved::read(Some(path), Vec::new())?.settings, &mut table)?;
        }
        self.say(&workload, &mut table)?;
        let text = toml::to_string(&table).map_err(|why| {
            Failure::new(&INTERNAL, format!("the scenario cannot be written: {why}"), "report it")
        })?;
        let name = workload.name.clone().unwrap_or_else(|| "sim".to_owned());
        let dir = workload.dir.clone();
        let part = |part: &str| match part {
            BASE => Some(EVERYTHING.to_owned()),
            part => beside(dir.as_deref()?, part),
        };
        let mut scenario = Scenario::parse(&name, &text, &part).map_err(|why| wrong(&why))?;
        if workload.planned().is_some() {
            scenario.about = "a workload that was written down".to_owned();
        } else if !workload.table.contains_key("about") {
            scenario.about = "a workload that each seed draws".to_owned();
        }
        let time = scenario.time;
        workload.end(time.chaos_ms + time.settle_ms, time.calm_ms);
        Ok((scenario, workload))
    }

    /// What flags and the lines of a workload say.
    fn say(&self, workload: &Workload, table: &mut Table) -> Outcome {
        let cluster = section(table, "cluster")?;
        if let Some(nodes) = self.nodes {
            cluster.insert("nodes".to_owned(), number(nodes));
        }
        if let Some(groups) = self.groups {
            cluster.insert("groups".to_owned(), number(groups));
        }
        if let Some((clients, keys, operations)) = workload.sizes() {
            let load = section(table, "load")?;
            for (name, size) in [("clients", clients), ("keys", keys), ("operations", operations)] {
                load.insert(name.to_owned(), number(size));
            }
        }
        if let Some((mix, hot)) = workload.mix() {
            let load = section(table, "load")?;
            load.insert("hot".to_owned(), number(hot));
            let mix = mix.map(|(name, times)| (name.to_owned(), number(times)));
            load.insert("mix".to_owned(), Value::Table(mix.into_iter().collect()));
        }
        if !self.faults.is_empty() {
            let faults = section(table, "faults")?;
            if self.faults == ["none"] {
                faults.insert("families".to_owned(), Value::Array(Vec::new()));
                faults.insert("count".to_owned(), number(0));
                faults.insert("weather".to_owned(), Value::Boolean(false));
            } else {
                let families = self.faults.iter().cloned().map(Value::String).collect();
                faults.insert("families".to_owned(), Value::Array(families));
            }
        }
        let needed = workload.last_ms().map(|last| (last + AFTER_MS).max(LASTS_MS_MIN));
        let said = self.seconds.map(|seconds| seconds * 1000);
        let lasts = match (needed, said) {
            (Some(needed), Some(said)) if said < needed => {
                let why =
                    format!("the workload lasts {needed} ms: leave out --seconds, or say more");
                return Err(wrong(&why));
            }
            (needed, said) => said.or(needed),
        };
        if let Some(lasts) = lasts {
            // Some ten minutes at most, in milliseconds.
            section(table, "time")?.insert("chaos_ms".to_owned(), number(lasts as u32));
        }
        Ok(())
    }

    /// The flags that say the same.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                words.push_str(&format!(" --{flag} {value}"));
            }
        };
        add("nodes", self.nodes.map(|nodes| nodes.to_string()));
        add("groups", self.groups.map(|groups| groups.to_string()));
        add("config", self.config.as_ref().map(|path| path.display().to_string()));
        add("faults", (!self.faults.is_empty()).then(|| self.faults.join(",")));
        add("seconds", self.seconds.map(|seconds| seconds.to_string()));
        words
    }
}

/// A file may say anything that a scenario does, of a cluster that must hold.
fn is_of_a_cluster(table: &Table) -> Outcome {
    if table.get("subject").is_some_and(|subject| subject.as_str() != Some("cluster")) {
        return Err(wrong(&"subject: it is \"cluster\" here, and need not be said"));
    }
    for of_tests in ["subject_options", "fails", "fixed"] {
        if table.contains_key(of_tests) {
            let why = format!("{of_tests} is for the simulator's own tests: leave it out");
            return Err(wrong(&why));
        }
    }
    Ok(())
}

/// What the settings of a node say of its cluster, as far as the simulator has it.
fn configure(settings: &Settings, table: &mut Table) -> Outcome {
    let cluster = section(table, "cluster")?;
    let nodes = settings.members.as_ref().map_or(1, |members| members.0.len());
    let Some(nodes) = u32::try_from(nodes).ok().filter(|nodes| (1..=NODES_MAX).contains(nodes))
    else {
        return Err(wrong(&format!(
            "{nodes} members: the simulator has at most {NODES_MAX} nodes"
        )));
    };
    cluster.insert("nodes".to_owned(), number(nodes));
    cluster.insert("groups".to_owned(), number(settings.groups.min(GROUPS_MAX)));
    let is_secret = settings.secret.is_some() || settings.secret_file.is_some();
    for (name, is_said) in [
        ("leases", settings.drift_ppm.is_some()),
        ("users", !settings.users.is_empty()),
        ("secret", is_secret),
    ] {
        cluster.insert(name.to_owned(), number(i64::from(is_said)));
    }
    // Half of the clients are of one other kind: each seed draws which.
    let kinds = [
        ("redis", settings.resp.is_some()),
        ("http", settings.http.is_some()),
        ("text", settings.text.is_some()),
    ];
    for (name, is_served) in kinds {
        let draw = if is_served { Value::String("0..=1".to_owned()) } else { number(0) };
        cluster.insert(name.to_owned(), draw);
    }
    Ok(())
}

/// A part that lies beside the workload.
fn beside(dir: &Path, part: &str) -> Option<String> {
    fs::read_to_string(dir.join(format!("{part}.toml"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trilith_sim::{
        fault::Family,
        run::{Request, run},
        scenario::{Draw, family_name},
    };

    fn toml(text: &str) -> Workload {
        let mut workload = Workload::default();
        workload.table = text.parse().unwrap();
        workload
    }

    fn refusal(shape: &Shape, text: &str) -> String {
        shape.scenario(toml(text)).map_or_else(|why| why.cause, |(told, _)| format!("{told:?}"))
    }

    #[test]
    fn what_is_said_is_stronger_than_what_is_usual() {
        let (usual, _) = Shape::default().scenario(Workload::default()).unwrap();
        assert_eq!(usual.nodes, Draw::OneOf(vec![3, 5]));
        assert!(usual.judges.iter().any(|judge| judge == "linearizable"), "{usual:?}");
        assert!(usual.faults.families.len() > 5, "{usual:?}");
        let (own, _) = Shape::default()
            .scenario(toml("about = \"mine\"\n[cluster]\nnodes = 4\n[load]\nkeys = 2\n"))
            .unwrap();
        assert_eq!((own.nodes, own.load.keys), (Draw::just(4), Draw::just(2)));
        assert_eq!((own.judges, own.about.as_str()), (usual.judges, "mine"));
        let faults = vec!["partition".to_owned()];
        let shape = Shape { nodes: Some(7), faults, seconds: Some(9), ..Shape::default() };
        let (told, _) = shape.scenario(toml("[cluster]\nnodes = 4\n")).unwrap();
        assert_eq!((told.nodes, told.time.chaos_ms), (Draw::just(7), 9000));
        assert_eq!(told.faults.families.len(), 1);
        assert_eq!(shape.words(), " --nodes 7 --faults partition --seconds 9");
        let calm = Shape { faults: vec!["none".to_owned()], ..Shape::default() };
        let (told, _) = calm.scenario(Workload::default()).unwrap();
        assert_eq!((told.faults.count, told.faults.families.len()), (Draw::just(0), 0));
    }

    #[test]
    fn what_cannot_be_is_said_in_words() {
        let usual = Shape::default();
        let hint = refusal(&usual, "[load]\nclinets = 3\n");
        assert_eq!(hint, "unknown key load.clinets; did you mean \"clients\"?");
        assert!(refusal(&usual, "subject = \"toy\"\n").contains("it is \"cluster\" here"));
        assert!(refusal(&usual, "[subject_options]\nbugs = [\"x\"]\n").contains("own tests"));
        assert!(refusal(&usual, "parts = [\"x\"]\n").contains("no part \"x\""));
        assert!(refusal(&usual, "cluster = 3\n").contains("cluster should be a table"));
        let shape = Shape { faults: vec!["power_los".to_owned()], ..Shape::default() };
        assert!(refusal(&shape, "").contains("did you mean \"power_loss\"?"));
    }

    /// The names in `--help` are those that are usual, and all there are stand on the page.
    #[test]
    fn families_are_told_where_people_look() {
        let (usual, _) = Shape::default().scenario(Workload::default()).unwrap();
        let told: Vec<String> = usual.faults.families.into_iter().map(family_name).collect();
        let help = Shape::augment_args(clap::Command::new("test")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&told.join(", ")), "{told:?} are not in {help}");
        let page = include_str!("../../docs/simulate.md");
        for family in Family::ALL.map(family_name) {
            assert!(page.contains(&format!("`{family}`")), "{family} is not on the page");
        }
    }

    #[test]
    fn a_nodes_settings_are_those_of_its_cluster() {
        let mut settings = Settings::default();
        let mut table = Table::new();
        configure(&settings, &mut table).unwrap();
        assert_eq!(table["cluster"]["nodes"].as_integer(), Some(1), "it is alone");
        let members: Vec<String> = (1..=5).map(|n| format!("{n}=127.0.0.1:{}", 7000 + n)).collect();
        for (name, value) in [
            ("cluster.members", members.join(",").as_str()),
            ("cluster.groups", "4"),
            ("raft.drift_ppm", "500"),
            ("http.listen", "127.0.0.1:7380"),
        ] {
            let setting = crate::config::SETTINGS.iter().find(|one| one.name == name).unwrap();
            (setting.read)(&mut settings, value).unwrap();
        }
        configure(&settings, &mut table).unwrap();
        let of = |name: &str| table["cluster"][name].to_string();
        let told = ["nodes", "groups", "leases", "users", "secret", "redis", "http"].map(of);
        assert_eq!(told, ["5", "4", "1", "0", "0", "0", "\"0..=1\""]);
    }

    /// The whole way: lines, a small cluster, one calm run and one that is not, each judged.
    #[test]
    fn lines_are_asked_of_a_cluster_and_the_same_words_are_the_same_run() {
        let dir = std::env::temp_dir().join(format!("trilith-sim-lines-{}", std::process::id()));
        fs::write(&dir, "1ms c0 k0 set\n50ms c1 k0 get\n60ms c1 k1 incr 2\n").unwrap();
        let workload = Workload::read(&dir);
        fs::remove_file(&dir).unwrap();
        let workload = workload.unwrap();
        for faults in [vec!["none".to_owned()], Vec::new()] {
            let shape = Shape { nodes: Some(3), faults, ..Shape::default() };
            let (scenario, workload) = shape.scenario(workload.clone()).unwrap();
            let once = || {
                let load = workload.planned();
                run(&scenario, &Request { load, ..Request::of(7) })
            };
            let report = once();
            assert!(report.violation.is_none(), "{}", report.story());
            let (done, failed, unknown) = report.history.tally();
            assert!(done >= 3 && done + failed + unknown >= 6, "three lines, and each once more");
            assert_eq!(once().digest.to_string(), report.digest.to_string());
        }
    }
}
