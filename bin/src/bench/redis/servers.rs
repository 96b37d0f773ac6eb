//! Who is asked: one server at a time, each a process with an empty directory of its own.
//!
//! Ours is this very program, alone as `trilith standalone`. Redis is as the package has it, with its
//! log switched on and its snapshots off: nobody asked for a second copy.
//!
//! Not here: what is asked (`drive.rs`).

use clap::ValueEnum;
use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use trilith_engine::runtime::{Clock, Runtime, timeout};
use trilith_net::os::Os;

use super::drive::{connect, key, set_once};
use crate::{
    bench::meter::cpu_ticks,
    process::{Process, free_ports},
};

/// An election, a slow disk.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Who does not answer by then is asked again.
const ATTEMPT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// When Redis syncs its log: `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fsync {
    /// Before it answers.
    Always,
    /// Once a second.
    Everysec,
    /// Never; the kernel does when it likes.
    No,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Ours.
    Trilith,
    /// Redis.
    Redis(Fsync),
}

impl Fsync {
    const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::No => "no",
        }
    }
}

impl Who {
    /// As it stands in tables.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Trilith => "trilith",
            Self::Redis(Fsync::Always) => "redis always",
            Self::Redis(Fsync::Everysec) => "redis everysec",
            Self::Redis(Fsync::No) => "redis no",
        }
    }

    /// When what it answered is on the device.
    pub(super) const fn promise(self) -> &'static str {
        match self {
            Self::Trilith | Self::Redis(Fsync::Always) => "before the answer",
            Self::Redis(Fsync::Everysec) => "a second or two later",
            Self::Redis(Fsync::No) => "when the kernel likes",
        }
    }

    fn command(self, dir: &Path, at: SocketAddr) -> io::Result<Command> {
        let mut command = match self {
            Self::Trilith => {
                let mut command = Process::command(env::current_exe()?);
                command.args(["--log", "error", "standalone", "--resp", &at.to_string()]);
                // Wherever there is room, and never where it is asked.
                command.args(["--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
                command.arg("--data").arg(dir);
                command
            }
            Self::Redis(sync) => {
                let mut command = Process::command(REDIS);
                command.args(["--bind", &at.ip().to_string(), "--port", &at.port().to_string()]);
                command.args(["--appendonly", "yes", "--appendfsync", sync.word()]);
                command.args(["--save", "", "--daemonize", "no", "--dir"]).arg(dir);
                command
            }
        };
        command.stdout(Stdio::null());
        Ok(command)
    }
}

/// Its program.
pub(super) const REDIS: &str = "redis-server";

/// A server that runs. With the value it is killed, and its directory is gone.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it takes requests.
    pub(super) at: SocketAddr,
    who: Who,
    process: Process,
    dir: PathBuf,
}

impl Server {
    /// Starts one with an empty directory, and waits until it takes writes.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn start(os: &Os, who: Who, dir: &Path) -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            fs::create_dir_all(dir)?;
            let at = free_ports(1)?[0];
            let process = Process::start(&mut who.command(dir, at)?)?;
            Ok(Self { at, who, process, dir: dir.to_owned() })
        };
        let mut server = start().map_err(|why| format!("{}: {why}", who.word()))?;
        server.takes_writes(os).await?;
        Ok(server)
    }

    async fn takes_writes(&mut self, os: &Os) -> Result<(), String> {
        let until = os.clock().now() + READY_WITHIN;
        let mut last = "nobody listens".to_owned();
        while os.clock().now() < until {
            if let Ok(Some(status)) = self.process.ended() {
                return Err(format!("{} has ended: {status}", self.who.word()));
            }
            let attempt = async {
                let stream = connect(os, self.at).await?;
                set_once(stream, &key(0)).await
            };
            match timeout(os.clock(), os.clock().now() + ATTEMPT, attempt).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => last = why,
                Err(_elapsed) => last = "no answer in time".to_owned(),
            }
            os.clock().sleep_until(os.clock().now() + PAUSE).await;
        }
        Err(format!("{} does not take writes: {last}", self.who.word()))
    }

    /// What it has spent on the CPU so far, in ticks.
    pub(super) fn ticks(&self) -> u64 {
        cpu_ticks(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left that could write there. It may have ended by itself.
        let _status = self.process.kill();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("left behind: {} ({error})", self.dir.display());
        }
    }
}

/// Which Redis it is, as it says itself; nothing when there is none.
pub(super) fn redis_version() -> Option<String> {
    let asked = Command::new(REDIS).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    asked.status.success().then(|| version_of(&text).unwrap_or("of no known version").to_owned())
}

/// What stands behind `v=`.
fn version_of(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix("v="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_what_it_promises() {
        let at = SocketAddr::from(([127, 0, 0, 1], 7001));
        for (who, words) in [
            (Who::Redis(Fsync::Always), "--appendfsync always"),
            (Who::Redis(Fsync::Everysec), "--appendfsync everysec"),
            (Who::Redis(Fsync::No), "--appendfsync no"),
            (Who::Trilith, "standalone --resp 127.0.0.1:7001"),
        ] {
            let command = who.command(Path::new("d"), at).unwrap();
            let told: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
            let told = told.join(" ");
            assert!(told.contains(words), "{told}");
        }
        let same = Who::Trilith.promise() == Who::Redis(Fsync::Always).promise();
        assert!(same && Who::Trilith.promise() != Who::Redis(Fsync::Everysec).promise());
    }

    #[test]
    fn redis_says_its_version() {
        let text = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n";
        assert_eq!(version_of(text), Some("7.0.15"));
        assert_eq!(version_of("something else"), None);
    }
}
