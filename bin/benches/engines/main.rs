//! `cargo bench --bench engines`: our store beside the engines that people would take instead.
//!
//! Same keys, same values, same durability, same run. The parent starts a process for every
//! engine and every part of its life (`rows.rs`), the engines in turn and each run in another
//! order, so that a slow minute of the machine hits everyone; it prints medians, spreads and
//! ratios, with the machine's raw limits as a column of their own.
//!
//! ```text
//! cargo bench --bench engines                      every row, 1 M keys, three runs
//! cargo bench --bench engines -- --quick           50 thousand keys, one run, for a first look
//! cargo bench --bench engines -- --engines trilith,fjall --rows load,get1
//! cargo bench --bench engines --features rocksdb   with RocksDB, see docs/benchmarks.md
//! ```
//!
//! Nothing here asserts a time. It fails only when an engine does, for example by losing an
//! acknowledged write to kill -9.
//!
//! Not here: our own store without peers (`trilith bench engine`).

mod peers;
mod rows;
mod table;
mod zipf;

#[path = "../../src/bench/load.rs"]
mod load;
#[path = "../../src/bench/meter.rs"]
mod meter;
#[path = "../../src/bench/raw.rs"]
mod raw;

use clap::Parser;
use load::Key;
use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use table::{ROWS, Samples};

/// What may go wrong: anything, and all of it ends the run.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The column of the raw limits.
const LIMITS: &str = "limit";
const OURS: &str = "trilith";

/// Measures the embedded store beside other engines.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// 50 thousand keys, one run, short loads.
    #[arg(long)]
    quick: bool,
    /// Five runs instead of three.
    #[arg(long)]
    full: bool,
    /// Keys that are loaded.
    #[arg(long)]
    keys: Option<u64>,
    /// Runs.
    #[arg(long)]
    runs: Option<usize>,
    /// Value sizes in bytes.
    #[arg(long, value_delimiter = ',', default_value = "100,1024")]
    values: Vec<usize>,
    /// Seconds that each timed load lasts.
    #[arg(long)]
    seconds: Option<f64>,
    /// Engines to measure; the raw limits are `limit`.
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Rows to measure; the parts of a life that hold none of them are left out.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Cache for the engines that have one of their own, in MiB.
    #[arg(long, default_value_t = 512)]
    cache_mib: usize,
    /// Where the data goes; a directory of the run's own is made there and removed afterwards.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// The part of a life that this process is.
    #[arg(long, hide = true)]
    child: Option<String>,
    #[arg(long, hide = true)]
    acknowledged: Option<u64>,
}

impl Options {
    fn keys(&self) -> u64 {
        self.keys.unwrap_or(if self.quick { 50_000 } else { 1_000_000 })
    }

    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick {
            1
        } else if self.full {
            5
        } else {
            3
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.4 } else { 2.0 })
    }

    fn engines(&self) -> Vec<&'static str> {
        let known = peers::ENGINES.iter().map(|engine| engine.name).chain([LIMITS]);
        let wanted =
            |name: &&str| self.engines.is_empty() || self.engines.iter().any(|e| e == name);
        known.filter(wanted).collect()
    }

    /// Whether any wanted row is one of these.
    fn wants(&self, rows: &[&str]) -> bool {
        self.rows.is_empty()
            || self.rows.iter().any(|wanted| rows.iter().any(|row| wanted.starts_with(row)))
    }

    fn task(&self) -> Outcome<rows::Task> {
        Ok(rows::Task {
            engine: self.engines.first().cloned().ok_or("a child needs an engine")?,
            dir: self.dir.clone().ok_or("a child needs a directory")?,
            keys: self.keys(),
            value_bytes: *self.values.first().ok_or("a child needs a value size")?,
            time: Duration::from_secs_f64(self.seconds()),
            settle: Duration::from_millis(if self.quick { 200 } else { 1_000 }),
            tuning: peers::Tuning { cache_bytes: self.cache_mib << 20 },
            acknowledged: self.acknowledged,
        })
    }
}

fn main() -> Outcome {
    let options = Options::parse();
    let Some(part) = options.child.as_deref() else { return parent(&options) };
    let task = options.task()?;
    match part {
        "limits" => rows::limits(&task),
        "warm" => rows::warm(&task),
        "reopen" => rows::reopen(&task),
        "durable" => rows::durable(&task),
        "overwrite" => rows::overwrite(&task),
        other => Err(format!("no part {other}").into()),
    }
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

fn parent(options: &Options) -> Outcome {
    for row in &options.rows {
        if !ROWS.iter().any(|known| known.name == row) {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("no row {row}; there are {}", names.join(", ")).into());
        }
    }
    let engines = options.engines();
    let base = options.dir.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let scratch = Scratch(base.join(format!("engines-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let total = options.runs() * options.values.len() * engines.len();
    let bar = indicatif::ProgressBar::new(total as u64)
        .with_style(indicatif::ProgressStyle::with_template("[{elapsed}] {pos}/{len} {msg}")?);
    let mut samples = Samples::default();
    let start = Instant::now();
    for run in 0..options.runs() {
        for size in &options.values {
            for turn in 0..engines.len() {
                let name = engines[(turn + run) % engines.len()];
                let told = format!("run {} of {}, {size} B, {name}", run + 1, options.runs());
                bar.set_message(told.clone());
                let dir = scratch.0.join(name);
                let life = Life { options, name, size: *size, dir: &dir, samples: &mut samples };
                life.live().map_err(|error| format!("{told}: {error}"))?;
                bar.inc(1);
                if bar.is_hidden() {
                    eprintln!("{told}: done after {:.0} s", start.elapsed().as_secs_f64());
                }
            }
        }
    }
    bar.finish_and_clear();
    report(options, &engines, &samples)
}

fn report(options: &Options, engines: &[&str], samples: &Samples) -> Outcome {
    println!(
        "{} keys of 16 bytes, {} runs, {} s a timed row; median, spread, and in brackets how many \
         times better {OURS} is (bold where it is not).",
        options.keys(),
        options.runs(),
        options.seconds(),
    );
    println!("{}", samples.markdown(&options.values, engines, OURS));
    for engine in peers::ENGINES.iter().filter(|engine| engines.contains(&engine.name)) {
        println!("- {}", engine.durable_by);
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&samples.json())?)?;
        println!("\nEvery sample: {}", path.display());
    }
    Ok(())
}

/// One engine, one value size, one run.
struct Life<'a> {
    options: &'a Options,
    name: &'a str,
    size: usize,
    dir: &'a Path,
    samples: &'a mut Samples,
}

impl Life<'_> {
    fn live(mut self) -> Outcome {
        if self.name == LIMITS {
            self.part("limits", None)?;
            return self.clean();
        }
        let warm = ["load", "get", "scan", "mixed", "close", "memory", "disk_loaded", "reopen"];
        if self.options.wants(&warm) {
            self.part("warm", None)?;
            self.part("reopen", None)?;
            self.clean()?;
        }
        if self.options.wants(&["durable", "batch16", "reopen_crash"]) {
            let acknowledged = self.part("durable", None)?;
            self.part("reopen", Some(acknowledged))?;
            self.clean()?;
        }
        if self.options.wants(&["overwrite", "disk"]) {
            self.part("overwrite", None)?;
            self.clean()?;
        }
        Ok(())
    }

    fn clean(&self) -> Outcome {
        Ok(fs::remove_dir_all(self.dir)?)
    }

    fn start(&self, part: &str, acknowledged: Option<u64>) -> Outcome<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--child", part, "--engines", self.name]).arg("--dir").arg(self.dir);
        command.args(["--keys", &self.options.keys().to_string()]);
        command.args(["--values", &self.size.to_string()]);
        command.args(["--seconds", &self.options.seconds().to_string()]);
        command.args(["--cache-mib", &self.options.cache_mib.to_string()]);
        if self.options.quick {
            command.arg("--quick");
        }
        if let Some(acknowledged) = acknowledged {
            command.args(["--acknowledged", &acknowledged.to_string()]);
        }
        Ok(command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?)
    }

    /// Runs a part and takes its figures; kills it once it acknowledges without end. Answers the
    /// last acknowledgment.
    fn part(&mut self, part: &str, acknowledged: Option<u64>) -> Outcome<u64> {
        let mut child = self.start(part, acknowledged)?;
        let mut out = BufReader::new(child.stdout.take().ok_or("a child without output")?);
        let (mut line, mut last) = (String::new(), 0);
        let mut endless: Option<Instant> = None;
        while out.read_line(&mut line)? > 0 {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("row"), Some(row), Some(value)) => {
                    self.samples.add(self.size, self.name, row, value.parse()?);
                }
                // A line that the kill cut short has no number; the write it told of is then
                // simply not counted.
                (Some("ack"), Some(number), None) if line.ends_with('\n') => {
                    last = number.parse()?
                }
                _ => {}
            }
            let since = (last > 0).then(|| *endless.get_or_insert_with(Instant::now));
            if since.is_some_and(|since| since.elapsed().as_secs_f64() > self.options.seconds()) {
                child.kill()?;
            }
            line.clear();
        }
        let status = child.wait()?;
        if !status.success() && last == 0 {
            return Err(format!("{part} failed: {status}").into());
        }
        Ok(last)
    }
}
