//! `trilith kv`: opens a directory and does one thing with it.
//!
//! Reading commands never make a directory; writing ones do. A write has reached the disk when its
//! command has ended, or, with `load --ack`, when its key has been printed.
//!
//! Not here: what the files hold byte by byte (`inspect.rs`), the store itself (`trilith_engine`).

use clap::{Args, Subcommand};
use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    ops::Bound,
    path::{Path, PathBuf},
    sync::mpsc::{self, SyncSender},
    thread,
};
use trilith_engine::{
    embedded::feed,
    journal::seed_log::{self, Entry, Pieces},
    limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_EMBEDDED},
    lone::{BatchOutcome, WriteBatch},
};

use crate::failure::{DAMAGED, FORMAT};
use crate::{
    failure::{CORRUPT, FILE, Failure, INPUT, INTERNAL, NOT_FOUND, Outcome, TOO_LARGE},
    out::{Cell, Out, lossy},
    progress::Progress,
    store::{Data, size_on_disk},
};

/// How many waiting lines share a sync.
const GROUP_MAX: usize = 256;
/// How many bytes of them: large values need no company to be worth a sync.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// What is read of a log at once.
const PIECE_BYTES: usize = 256 << 10;
/// No line is longer that could be taken: a key, a tab, a value, the end of a
/// line.
const LINE_BYTES_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX_EMBEDDED + 3;

/// A data directory, and what to do with it.
#[derive(Args, Debug)]
pub struct Kv {
    /// The data directory.
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints the value of a key.
    Get {
        /// The key.
        key: String,
        /// Without the newline after it.
        #[arg(long)]
        raw: bool,
    },
    /// Gives a key a value; durable when the command ends.
    Set {
        /// The key.
        key: String,
        /// The value; `-` reads it from standard input.
        value: String,
    },
    /// Takes a key away.
    Delete {
        /// The key.
        key: String,
    },
    /// Prints keys and values in order.
    Scan(Scan),
    /// Moves what is live together and gives the rest of the space back.
    Compact,
    /// Reads every record and checks it.
    Verify,
    /// Takes over a log of the first format (`current.log`).
    Import {
        /// The log.
        file: PathBuf,
    },
    /// Says how much it holds and what it costs.
    Stats,
    /// Sets many keys, from lines of `key<TAB>value`.
    Load(Load),
}

#[derive(Args, Debug)]
struct Scan {
    /// Only keys that begin so.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only from this key on.
    #[arg(long, default_value = "")]
    from: String,
    /// Only below this key.
    #[arg(long)]
    to: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<usize>,
    /// Without the values.
    #[arg(long)]
    keys_only: bool,
}

#[derive(Args, Debug)]
struct Load {
    /// Where the lines are; standard input when missing.
    file: Option<PathBuf>,
    /// Prints each key once its write is durable.
    #[arg(long)]
    ack: bool,
}

/// Does it.
pub fn run(kv: &Kv, out: Out) -> Outcome {
    let Kv { dir, what } = kv;
    match what {
        What::Get { key, raw } => get(dir, key, *raw, out),
        What::Set { key, value } => set(dir, key, value, out),
        What::Delete { key } => delete(dir, key, out),
        What::Scan(scan) => run_scan(dir, scan, out),
        What::Compact => compact(dir, out),
        What::Verify => verify(dir, out),
        What::Import { file } => import(dir, file, out),
        What::Stats => stats(dir, out),
        What::Load(load) => run_load(dir, load, out),
    }
}

fn absent(dir: &Path, key: &str) -> Failure {
    let next = format!("trilith kv {} scan --keys-only --limit 20", dir.display());
    Failure::new(&NOT_FOUND, lossy(key.as_bytes()), next)
}

fn get(dir: &Path, key: &str, is_raw: bool, out: Out) -> Outcome {
    let found = Data::existing(dir)?.get(key.as_bytes())?;
    let mut value = found.ok_or_else(|| absent(dir, key))?;
    if out.is_json() {
        return out.facts(&[("key", key.into()), ("value", lossy(&value).into())]);
    }
    if !is_raw {
        value.push(b'\n');
    }
    out.raw(&value)
}

fn set(dir: &Path, key: &str, value: &str, out: Out) -> Outcome {
    let value = if value == "-" {
        // One byte more than there may be, for the store to refuse: a pipe may never end.
        let (mut bytes, enough) = (Vec::new(), VALUE_BYTES_MAX_EMBEDDED as u64 + 1);
        io::stdin().lock().take(enough).read_to_end(&mut bytes).map_err(|error| {
            Failure::new(&INPUT, error, "give the value as an argument, or pipe it in")
        })?;
        bytes
    } else {
        value.as_bytes().to_vec()
    };
    let mut data = Data::open(dir)?;
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    data.write_one(batch)?;
    data.close()?;
    out.next(&format!("trilith kv {} get {key}", dir.display()));
    Ok(())
}

fn delete(dir: &Path, key: &str, out: Out) -> Outcome {
    let mut data = Data::existing(dir)?;
    let mut batch = WriteBatch::new();
    batch.delete(key);
    let outcome = data.write_one(batch)?;
    data.close()?;
    if matches!(outcome, BatchOutcome::Done { missing: 1.., .. }) {
        return Err(absent(dir, key));
    }
    out.next(&format!("trilith kv {} stats", dir.display()));
    Ok(())
}

/// The first key that no key of that prefix reaches; none when there is no such key.
fn behind(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

fn run_scan(dir: &Path, scan: &Scan, out: Out) -> Outcome {
    let data = Data::existing(dir)?;
    let from = scan.from.as_bytes().max(scan.prefix.as_bytes()).to_vec();
    let ends = [behind(&scan.prefix), scan.to.as_ref().map(|to| to.as_bytes().to_vec())];
    let to = ends.into_iter().flatten().min();
    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut left = scan.limit.unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(());
    }
    let columns: &[&str] = if scan.keys_only { &["key"] } else { &["key", "value"] };
    data.scan(Bound::Included(from), to, |(key, found)| {
        let mut row: Vec<Cell> = vec![lossy(&key).into()];
        if !scan.keys_only {
            row.push(lossy(&found.value).into());
        }
        out.row(columns, &row)?;
        left -= 1;
        Ok(left > 0)
    })
}

fn compact(dir: &Path, out: Out) -> Outcome {
    let mut data = Data::existing(dir)?;
    let before = size_on_disk(dir);
    data.compact()?;
    data.close()?;
    let after = size_on_disk(dir);
    out.facts(&[("before_bytes", before.into()), ("after_bytes", after.into())])?;
    out.next(&format!("trilith kv {} verify", dir.display()));
    Ok(())
}

fn verify(dir: &Path, out: Out) -> Outcome {
    let data = Data::existing(dir)?;
    let verification = data.verification();
    let mut progress = Progress::new("segments and keys", verification.steps());
    let report = Data::verify(verification, || progress.step());
    progress.finish();
    out.facts(&[
        ("keys", report.keys.into()),
        ("bytes", report.bytes.into()),
        ("segments", report.segments.into()),
        ("segment_bytes", report.segment_bytes.into()),
        ("damaged", report.damaged.into()),
    ])?;
    if report.damaged == 0 {
        return Ok(());
    }
    let more = report.damaged - report.damages.len() as u64;
    let mut cause = report.damages.join("\n  ");
    if more > 0 {
        cause.push_str(&format!("\n  and {more} more"));
    }
    let next =
        format!("copy the directory away, then see each file: trilith inspect {}", dir.display());
    Err(Failure::new(&CORRUPT, format!("{}:\n  {cause}", dir.display()), next))
}

fn import(dir: &Path, file: &Path, out: Out) -> Outcome {
    let bytes = regular(file)?;
    let unread = |error| unreadable(file, &error);
    let mut log = BufReader::with_capacity(PIECE_BYTES, File::open(file).map_err(unread)?);
    let front = log.fill_buf().map_err(unread)?;
    if !front.is_empty() && !front.starts_with(&seed_log::MAGIC) {
        let cause = format!("{}: not a log of the first format", file.display());
        return Err(Failure::new(&FORMAT, cause, "name the file that was called current.log"));
    }
    let mut data = Data::open(dir)?;
    let mut progress = Progress::new("bytes", bytes);
    let (mut pieces, mut waiting) = (Pieces::default(), Waiting::default());
    let (mut taken, mut ended, mut is_more) = (0_u64, None, true);
    while is_more && ended.is_none() {
        is_more = feed(&mut pieces, &mut log).map_err(unread)?;
        while let Some(entry) = pieces.next_entry() {
            let Entry { offset, key, value } = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    ended = Some(error.to_string());
                    break;
                }
            };
            let mut batch = WriteBatch::new();
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
            taken += 1;
            progress.at(offset);
            waiting.add(batch, &mut data)?;
        }
    }
    waiting.write(&mut data)?;
    data.close()?;
    progress.finish();
    let not_read = ended.clone().map_or(Cell::Absent, Cell::from);
    out.facts(&[("taken", taken.into()), ("not_read", not_read)])?;
    if let Some(why) = ended {
        let cause = format!("{}: {taken} entries were taken, and then {why}", file.display());
        let next = format!("see what is left out: trilith inspect {}", file.display());
        return Err(Failure::new(&DAMAGED, cause, next));
    }
    out.next(&format!("trilith kv {} stats", dir.display()));
    Ok(())
}

/// Batches that will share a sync, no more of them than fit into little memory.
#[derive(Default)]
struct Waiting {
    batches: Vec<WriteBatch>,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, batch: WriteBatch, data: &mut Data) -> Outcome {
        self.bytes += batch.bytes();
        self.batches.push(batch);
        if self.batches.len() == GROUP_MAX || self.bytes >= GROUP_BYTES_MAX {
            self.write(data)?;
            data.tend()?;
        }
        Ok(())
    }

    fn write(&mut self, data: &mut Data) -> Outcome {
        let Self { batches, .. } = std::mem::take(self);
        data.write(&batches).into_iter().try_for_each(|answer| answer.map(drop))
    }
}

fn stats(dir: &Path, out: Out) -> Outcome {
    let stats = Data::existing(dir)?.stats();
    out.facts(&[
        ("keys", stats.keys.into()),
        ("index_bytes", stats.index_bytes.into()),
        ("live_bytes", stats.live_bytes.into()),
        ("dead_bytes", stats.dead_bytes.into()),
        ("tombstone_bytes", stats.tombstone_bytes.into()),
        ("file_bytes", stats.file_bytes.into()),
        ("segments", stats.segments.into()),
        ("version", stats.version.0.into()),
        ("durable", stats.durable.0.into()),
    ])
}

/// A whole file.
pub fn read_regular(path: &Path) -> Outcome<Vec<u8>> {
    regular(path)?;
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// The length of a file; neither a device nor a pipe, which may never end.
pub fn regular(path: &Path) -> Outcome<u64> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !about.is_file() {
        let cause = format!("{}: not a regular file", path.display());
        return Err(Failure::new(&FILE, cause, "copy what it holds into a file first"));
    }
    Ok(about.len())
}

/// That a file cannot be read, and what to look at.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let next = format!("ls -l {}", path.display());
    Failure::new(&FILE, format!("{}: {error}", path.display()), next)
}

/// A line of the input: key, tab, value.
fn parse(line: Vec<u8>, number: u64) -> Outcome<(String, Vec<u8>)> {
    let refused = |what: &dyn Display| {
        let cause = format!("line {number}: {what}");
        Failure::new(&INPUT, cause, "write a line as key, tab, value, in UTF-8")
    };
    let line = String::from_utf8(line).map_err(|error| refused(&error))?;
    let (key, value) = line.split_once('\t').ok_or_else(|| refused(&"it has no tab"))?;
    Ok((key.to_owned(), value.as_bytes().to_vec()))
}

fn run_load(dir: &Path, load: &Load, out: Out) -> Outcome {
    let input: Box<dyn BufRead + Send> = match &load.file {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => {
            Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?))
        }
    };
    let mut data = Data::open(dir)?;
    let (sender, lines) = mpsc::sync_channel(GROUP_MAX);
    let reader = thread::spawn(move || read_lines(input, &sender));
    let mut written = 0_u64;
    // What arrived during one sync shares the next.
    while let Ok(first) = lines.recv() {
        let group: Vec<(String, Vec<u8>)> =
            [first].into_iter().chain(lines.try_iter().take(GROUP_MAX - 1)).collect();
        let (keys, batches): (Vec<String>, Vec<WriteBatch>) = group
            .into_iter()
            .map(|(key, value)| {
                let mut batch = WriteBatch::new();
                batch.put(key.as_str(), value);
                (key, batch)
            })
            .unzip();
        for (key, answer) in keys.iter().zip(data.write(&batches)) {
            answer?;
            written += 1;
            if load.ack {
                out.raw(format!("{key}\n").as_bytes())?;
            }
        }
        data.tend()?;
    }
    let read = reader.join();
    read.unwrap_or_else(|_| Err(Failure::new(&INTERNAL, "the reader ended early", "report it")))?;
    data.close()?;
    if !load.ack {
        out.facts(&[("written", written.into())])?;
    }
    out.next(&format!("trilith kv {} stats", dir.display()));
    Ok(())
}

fn read_lines(mut input: impl BufRead, sender: &SyncSender<(String, Vec<u8>)>) -> Outcome {
    let mut progress = Progress::new("lines read", 0);
    for number in 1.. {
        let mut line = Vec::new();
        let mut one = input.by_ref().take(LINE_BYTES_MAX as u64);
        let len = one.read_until(b'\n', &mut line).map_err(|error| {
            Failure::new(&INPUT, error, "name a file that can be read, or pipe the lines in")
        })?;
        if len == 0 {
            break;
        }
        if line.pop_if(|last| *last == b'\n').is_some() {
            line.pop_if(|last| *last == b'\r');
        } else if len == LINE_BYTES_MAX {
            let cause = format!("line {number} is longer than the longest key and value together");
            return Err(Failure::new(&TOO_LARGE, cause, "write a line as key, tab, value"));
        }
        if sender.send(parse(line, number)?).is_err() {
            // The writer has failed and says why.
            break;
        }
        progress.step();
    }
    progress.finish();
    Ok(())
}
