//! `trilith ctl backup`: what a cluster holds goes into a directory, and comes back.
//!
//! `create` reads a cluster that serves, `verify` reads the directory and asks nobody, `restore` writes
//! into a cluster that is empty and compares everything in the end.
//!
//! Not here: the files and who is asked for what (`trilith_net::backup`).

use clap::{Args, Subcommand};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use trilith_engine::{
    command::Refusal,
    runtime::{DiskErrorKind, Runtime},
};
use trilith_net::{
    backup::{self, Error, Options, Phase, Step, format::Manifest},
    os::run_core,
};

use super::nodes::Nodes;
use crate::{
    failure::{
        Code, DAMAGED, DIFFERS, FILE, FULL, Failure, INTERNAL, NO_BACKUP, NOT_EMPTY, OUTPUT_TAKEN,
        Outcome, STRANGER, UNANSWERED, UNRESTORED,
    },
    out::{Cell, Out},
    progress::Progress,
    secret::NAME_IT,
};

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Reads all that a cluster holds into a directory, while it serves.
    Create(Create),
    /// Reads every byte of a backup and says whether it is whole; asks no cluster.
    Verify(Verify),
    /// Writes a backup into a cluster that holds no key, and compares all of it.
    Restore(Restore),
}

/// Where the cluster is.
#[derive(Args, Debug)]
struct At {
    #[command(flatten)]
    nodes: Nodes,
    /// How long to go on without getting any further.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
}

/// Into which directory.
#[derive(Args, Debug)]
pub struct Create {
    /// The directory: empty, or not there yet.
    dir: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Which directory.
#[derive(Args, Debug)]
pub struct Verify {
    /// The directory.
    dir: PathBuf,
}

/// Which directory, and how.
#[derive(Args, Debug)]
pub struct Restore {
    /// The directory.
    dir: PathBuf,
    #[command(flatten)]
    at: At,
    /// Go on with a restore of this backup that was interrupted: the cluster may hold keys of it
    /// already, each as the backup has it, and no other.
    #[arg(long)]
    resume: bool,
}

impl Backup {
    pub(super) fn run(&self, out: Out) -> Outcome {
        match self {
            Self::Create(create) => create.run(out),
            Self::Verify(verify) => verify.run(out),
            Self::Restore(restore) => restore.run(out),
        }
    }
}

impl At {
    /// How to do it, and the nodes as an argument.
    fn options(&self) -> Outcome<(Options, String)> {
        let found = self.nodes.find()?;
        let (named, patience) = (found.named(), Duration::from_secs(self.patience.max(1)));
        Ok((Options { patience, ..Options::new(found.at, found.options) }, named))
    }
}

/// Shows how far it is: each phase has a bar of its own.
fn shows() -> impl FnMut(Step) {
    let mut shown: Option<(Phase, Progress)> = None;
    move |step: Step| {
        let name = match step.phase {
            Phase::Reads => "keys read",
            Phase::Verifies => "keys verified",
            Phase::Resumes => "keys looked at",
            Phase::Writes => "keys written",
            Phase::Compares => "keys compared",
        };
        if shown.as_ref().is_none_or(|(phase, _)| *phase != step.phase)
            && let Some((_, old)) = shown.replace((step.phase, Progress::new(name, step.of)))
        {
            old.finish();
        }
        if let Some((_, progress)) = &mut shown {
            progress.at(step.keys);
        }
    }
}

fn no_room(error: io::Error) -> Failure {
    Failure::new(&INTERNAL, error, "see ulimit -n")
}

fn path(dir: &Path) -> String {
    dir.display().to_string()
}

impl Create {
    fn run(&self, out: Out) -> Outcome {
        let (options, nodes) = self.at.options()?;
        let run = |os| async move { backup::create(&os, "", &options, shows()).await };
        let made = run_core(&self.dir, run).map_err(no_room)?;
        let dir = path(&self.dir);
        let manifest = made.map_err(|why| self.failure(&why, &nodes))?;
        // The directory's own name: what is in it is durable already.
        let above = self.dir.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(|error| {
            let next = format!("see what holds {}, and begin again elsewhere", above.display());
            Failure::new(&FILE, error, next)
        })?;
        show(out, &manifest)?;
        out.next(&format!("trilith ctl backup verify {dir}"));
        Ok(())
    }

    fn failure(&self, why: &Error, nodes: &str) -> Failure {
        let dir = path(&self.dir);
        let (code, next): (&Code, String) = match why {
            Error::Taken(_) => (&OUTPUT_TAKEN, "name another directory, or empty that one".into()),
            Error::Disk(why) if why.kind == DiskErrorKind::NoSpace => {
                (&FULL, "name a directory on a disk with more room".into())
            }
            Error::Disk(_) => (&FILE, format!("see whether {dir} can be written")),
            Error::Stranger(_) => (&STRANGER, NAME_IT.into()),
            _ => (&UNANSWERED, format!("trilith ctl status --at {nodes}, and name all nodes")),
        };
        Failure::new(code, format!("{dir}: {why}"), next)
    }
}

impl Verify {
    fn run(&self, out: Out) -> Outcome {
        let run =
            |os: trilith_net::os::Os| async move { backup::verify(os.disk(), "", shows()).await };
        let read = run_core(&self.dir, run).map_err(no_room)?;
        let dir = path(&self.dir);
        let manifest = read.map_err(|why| unreadable(&dir, &why))?;
        show(out, &manifest)?;
        out.next(&format!("trilith ctl backup restore {dir} --at IP:PORT"));
        Ok(())
    }
}

/// Why a directory is no backup.
fn unreadable(dir: &str, why: &Error) -> Failure {
    let (code, next) = match why {
        Error::Missing | Error::Unfinished => {
            (&NO_BACKUP, "make one in an empty directory: trilith ctl backup create DIR".to_owned())
        }
        Error::Damaged { .. } => (&DAMAGED, "use another backup, or another copy of it".to_owned()),
        _ => (&FILE, format!("see whether {dir} can be read")),
    };
    Failure::new(code, format!("{dir}: {why}"), next)
}

impl Restore {
    fn run(&self, out: Out) -> Outcome {
        let ((options, nodes), resume) = (self.at.options()?, self.resume);
        let run = |os| async move { backup::restore(&os, "", &options, resume, shows()).await };
        let restored = run_core(&self.dir, run).map_err(no_room)?;
        let restored = restored.map_err(|why| self.failure(&why, &nodes))?;
        out.facts(&[
            ("backup", restored.backup.to_string().into()),
            ("groups", restored.groups.into()),
            ("written", restored.written.into()),
            ("present", restored.present.into()),
            ("expired", restored.expired.into()),
            ("compared", restored.compared.into()),
        ])?;
        out.next(&format!("trilith ctl status --at {nodes}"));
        Ok(())
    }

    fn failure(&self, why: &Error, nodes: &str) -> Failure {
        let dir = path(&self.dir);
        let again = format!("trilith ctl backup restore {dir} --resume --at {nodes}");
        let (code, next): (&Code, String) = match why {
            Error::NotEmpty(_) => {
                (&NOT_EMPTY, format!("name an empty cluster; or, to go on with this one: {again}"))
            }
            Error::Differs(..) => {
                (&DIFFERS, "see who else writes there; or begin with an empty cluster".into())
            }
            Error::Stranger(_) => (&STRANGER, NAME_IT.into()),
            Error::Unreached(_) => {
                (&UNANSWERED, format!("trilith ctl status --at {nodes}, and name all nodes"))
            }
            Error::Refused { why: Some(Refusal::NotLeader(_) | Refusal::NoGroup), .. } => (
                &UNRESTORED,
                format!("name all nodes: trilith ctl backup restore {dir} --resume --at IP:PORT,…"),
            ),
            Error::Refused { .. } | Error::Answer(_) => (&UNRESTORED, again),
            _ => return unreadable(&dir, why),
        };
        Failure::new(code, format!("{dir}: {why}"), next)
    }
}

/// What is in a backup, group by group.
fn show(out: Out, manifest: &Manifest) -> Outcome {
    let columns = ["group", "keys", "bytes", "version", "time_ms"];
    let row = |line: &backup::format::Line| -> Vec<Cell> {
        let facts = line.facts;
        vec![
            facts.group.0.into(),
            line.records.into(),
            line.bytes.into(),
            facts.applied.0.into(),
            facts.stamp.ms().into(),
        ]
    };
    let rows: Vec<_> = manifest.lines.iter().map(row).collect();
    out.table(&columns, &rows)?;
    let (id, keys, groups) = (manifest.backup, manifest.records(), manifest.lines.len());
    let (cluster, bytes) = (manifest.cluster, manifest.bytes());
    out.say(&format!(
        "backup {id} of cluster {cluster}: {}, {}, {bytes} bytes",
        so_many(keys, "key"),
        so_many(groups as u64, "group"),
    ))
}

fn so_many(count: u64, of: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {of}{s}")
}
