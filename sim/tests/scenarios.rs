//! Every scenario file is a test of its own name.
//!
//! ```text
//! cargo test -p trilith-sim --test scenarios                         all of them
//! TRILITH_SEED=0x2a cargo test -p trilith-sim --test scenarios NAME  one seed of one of them
//! TRILITH_GOLDEN=1 cargo test -p trilith-sim --test scenarios        scripted ones write what they see
//! ```
//! A random scenario runs some fixed seeds, the same ones always, and a few fresh ones that come
//! from the commit, so that a bisection meets the same ones again. One that says `fails` is a
//! canary: within its seeds the judge it names must refuse it. A found one runs once.
//!
//! Not here: swarms, which are a program.
#![expect(clippy::disallowed_methods, reason = "the runner reads scenario files and its variables")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, Failed, Trial};
use trilith_engine::codec::crc;
use trilith_sim::{
    run::{Request, commit, run},
    scenario::{self, Scenario},
    script::play,
};

fn seeds(scenario: &Scenario, wanted: Option<u64>) -> Vec<u64> {
    if let Some(seed) = wanted.or(scenario.fixed.seed) {
        return vec![seed];
    }
    let mut seeds: Vec<u64> = (1..=scenario.seeds).collect();
    if scenario.fails.is_none() {
        let fresh = u64::from(crc(0, commit().as_bytes())) << 16;
        seeds.extend((0..scenario.fresh).map(|number| fresh + number));
    }
    seeds
}

fn test(scenario: &Scenario, wanted: Option<u64>) -> Result<(), Failed> {
    let seeds = seeds(scenario, wanted);
    for seed in &seeds {
        let report = run(scenario, &Request::of(*seed));
        match (&report.violation, &scenario.fails) {
            (None, None) => {}
            (Some(violation), Some(judge)) if violation.judge == judge => return Ok(()),
            (Some(_), _) => return Err(report.story().into()),
            (None, Some(_)) if wanted.is_some() => println!("{}", report.line()),
            (None, Some(_)) => {}
        }
        if wanted.is_some() {
            println!("{}\n{}", report.drawn, report.line());
        }
    }
    match &scenario.fails {
        None => Ok(()),
        Some(judge) => {
            Err(format!("{judge} should have refused one of {} seeds, and did not", seeds.len())
                .into())
        }
    }
}

/// A script's steps must come out as they stand there.
fn script(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let played = play(&text)?;
    if env::var_os("TRILITH_GOLDEN").is_some() {
        fs::write(path, played)?;
        return Ok(());
    }
    if text == played {
        return Ok(());
    }
    let line = text.lines().zip(played.lines()).take_while(|(one, other)| one == other).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_string();
    Err(format!(
        "{}:{}\n  - {}\n  + {}\nif the new one is right: TRILITH_GOLDEN=1 cargo test -p trilith-sim --test scenarios",
        path.display(), line + 1, at(&text), at(&played)
    )
    .into())
}

fn scripts(root: &Path) -> Vec<Trial> {
    let Ok(files) = fs::read_dir(root.join("scripted")) else { return Vec::new() };
    let paths = files.filter_map(|file| file.ok().map(|file| file.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "scn")).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths
        .into_iter()
        .map(|path| Trial::test(format!("scripted::{}", name(&path)), move || script(&path)))
        .collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let wanted = env::var("TRILITH_SEED").ok().and_then(|text| scenario::seed(&text));
    let mut trials = scripts(&root);
    for kind in ["random", "found", "demo"] {
        match scenario::load_all(&root, kind) {
            Ok(all) => trials.extend(all.into_iter().map(|(name, scenario)| {
                Trial::test(format!("{kind}::{name}"), move || test(&scenario, wanted))
            })),
            Err(why) => trials.push(Trial::test(format!("{kind}::files"), move || Err(why.into()))),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
