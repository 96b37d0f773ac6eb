//! Keepers: each runs one node as a process, ends it at random moments in every manner in which a
//! process can end or stand still, and starts it again.
//!
//! | manner | what it is |
//! | --- | --- |
//! | killed | SIGKILL, after a second or two of life |
//! | killed early | SIGKILL within milliseconds of its start: while it opens, what the last kill left |
//! | all at once | SIGKILL for every node of the cluster at one moment |
//! | ended in order | SIGTERM, and it must end with 0 |
//! | paused | SIGSTOP for a while, then SIGCONT: it finds that time has passed |
//! | lost | SIGKILL, and its directory is gone; `trilith ctl replace` gives it a new one |
//!
//! A node that ends without having been told to is a failure of its own, unless it is refused because
//! it is being replaced.
//!
//! Not here: the clients and the judges (`cluster.rs`).

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{starting, strange};
use crate::{
    bench::load::Dice,
    failure::{Failure, LOST, OTHERS, Outcome},
    process::Process,
};

/// What ends a process whatever it does.
const SIGKILL: i32 = 9;
/// A node that was asked to end must have done so by then.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// A node that has lost its directory must have been replaced by then, whoever is killed meanwhile.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of a log that tell why a node ended.
const LAST_LINES: usize = 12;

/// Addresses that nobody listens at. On Linux of this process alone: connections come from
/// 127.0.0.1, so none of them takes the port of a node that is down.
pub(super) fn addresses(count: usize) -> Outcome<Vec<SocketAddr>> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, middle, low);
    let ip = if cfg!(target_os = "linux") { own } else { Ipv4Addr::LOCALHOST };
    let held: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind((ip, 0))).collect();
    let held = held.map_err(|error| starting(&error))?;
    held.iter().map(|socket| socket.local_addr().map_err(|error| starting(&error))).collect()
}

/// What a cluster's keepers share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Where the nodes listen, as arguments have it.
    pub(super) at: String,
    /// Where they serve Redis clients, if they do.
    pub(super) resp: Vec<SocketAddr>,
    /// The arguments that all nodes have in common.
    pub(super) arguments: Vec<String>,
    /// What the nodes know.
    pub(super) secret_file: PathBuf,
    /// Where the nodes' directories and logs are.
    pub(super) dir: PathBuf,
    /// When mischief ends.
    pub(super) until: Instant,
    /// When all nodes die at once, in order.
    pub(super) storms: Vec<Instant>,
}

/// What a keeper did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Did {
    pub(super) kills: u64,
    pub(super) early: u64,
    pub(super) in_storms: u64,
    pub(super) in_order: u64,
    pub(super) pauses: u64,
    pub(super) replaced: u64,
}

impl std::ops::AddAssign for Did {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.early += other.early;
        self.in_storms += other.in_storms;
        self.in_order += other.in_order;
        self.pauses += other.pauses;
        self.replaced += other.replaced;
    }
}

/// One node's keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) shared: Shared,
    /// From 1.
    pub(super) node: usize,
    pub(super) dice: Dice,
    pub(super) did: Did,
    /// When it loses its directory.
    pub(super) loses_at: Option<Instant>,
}

/// A process that is killed when nobody holds it any more.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    log: PathBuf,
}

impl Running {
    /// Starts it; what it has to say goes into that file.
    fn of(mut command: Command, log: PathBuf) -> Outcome<Self> {
        let file = File::options().create(true).append(true).open(&log);
        command.stdout(Stdio::null());
        command.stderr(file.map_err(|error| starting(&error))?);
        Ok(Self { process: Process::start(&mut command).map_err(|error| starting(&error))?, log })
    }

    /// Whether it has done what it was started for.
    fn has_succeeded(&mut self) -> Outcome<bool> {
        match self.process.ended().map_err(|error| starting(&error))? {
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(self.ended(status)),
            None => Ok(false),
        }
    }

    /// Waits until it has.
    fn succeeds(mut self) -> Outcome {
        while !self.has_succeeded()? {
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// SIGKILL. It must have lived until then.
    fn kill(mut self) -> Outcome {
        self.check()?;
        let status = self.process.kill().map_err(|error| starting(&error))?;
        // It may have ended by itself between the look and the signal.
        if status.signal() == Some(SIGKILL) { Ok(()) } else { Err(self.ended(status)) }
    }

    /// SIGTERM, and it must end in order.
    pub(super) fn end(mut self) -> Outcome {
        self.check()?;
        self.signal("-TERM")?;
        let until = Instant::now() + ENDS_WITHIN;
        loop {
            match self.process.ended().map_err(|error| starting(&error))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.ended(status)),
                None if Instant::now() >= until => {
                    let cause = format!("a node that was told to stop did not, {}", self.log());
                    return Err(Failure::new(&LOST, cause, ""));
                }
                None => thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn signal(&self, signal: &str) -> Outcome {
        self.process.signal(signal).map_err(|error| strange(&error.to_string()))
    }

    /// Whether it has left because the others know another directory of its. However else it ended
    /// is a failure.
    fn is_outcast(&mut self) -> Outcome<bool> {
        match self.process.ended().map_err(|error| starting(&error))? {
            Some(status) if status.code() == Some(OTHERS.exit as i32) => Ok(true),
            Some(status) => Err(self.ended(status)),
            None => Ok(false),
        }
    }

    /// It lives.
    fn check(&mut self) -> Outcome {
        match self.process.ended().map_err(|error| starting(&error))? {
            Some(status) => Err(self.ended(status)),
            None => Ok(()),
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        Failure::new(&LOST, format!("a node ended by itself, {status}, {}", self.log()), "")
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("{}:\n{}", self.log.display(), last.join("\n"))
    }
}

impl Keeper {
    /// Keeps the node until mischief ends; it runs then.
    pub(super) fn keep(&mut self) -> Outcome<Running> {
        loop {
            let loses = self.loses_at.take_if(|at| *at <= Instant::now());
            let mut running = if loses.is_some() { self.lose()? } else { self.start()? };
            let life = match self.dice.below(4) {
                0 => self.dice.below(40_000),
                _ => 150_000 + self.dice.below(1_500_000),
            };
            let ends = Instant::now() + Duration::from_micros(life);
            let now = Instant::now();
            let before = ends.min(self.shared.until);
            let mut storms = self.shared.storms.iter().copied();
            if let Some(storm) = storms.find(|storm| (now..before).contains(storm)) {
                wait_until(storm);
                running.kill()?;
                self.did.kills += 1;
                self.did.in_storms += 1;
            } else {
                if ends >= self.shared.until {
                    wait_until(self.shared.until);
                    if self.loses_at.take().is_some() {
                        running.kill()?;
                        return self.lose();
                    }
                    running.check()?;
                    return Ok(running);
                }
                wait_until(ends);
                match self.dice.below(8) {
                    0 | 1 => self.pause(&mut running)?,
                    2 if life > 40_000 => {
                        running.end()?;
                        self.did.in_order += 1;
                        continue;
                    }
                    _ => {}
                }
                running.kill()?;
                self.did.kills += 1;
                self.did.early += u64::from(life < 40_000);
            }
            let down = match self.dice.below(3) {
                0 => 0,
                _ => self.dice.below(800_000),
            };
            thread::sleep(Duration::from_micros(down));
        }
    }

    /// The node, which does not run, loses its directory and is replaced; it runs then.
    fn lose(&mut self) -> Outcome<Running> {
        let (node, at) = (self.node.to_string(), self.shared.at.clone());
        // Before the cluster is founded there is nothing to replace, and nobody who could. The node
        // itself may be needed for that.
        let founding = self.start()?;
        let within = format!("{}", REPLACED_WITHIN.as_millis());
        self.control(&["cli", "--at", &at, "--within-ms", &within, "incr", "founded"])?
            .succeeds()?;
        founding.kill()?;
        fs::remove_dir_all(self.data()).map_err(|error| starting(&error))?;
        let within = format!("{}", REPLACED_WITHIN.as_secs());
        let mut control =
            self.control(&["ctl", "replace", &node, "--at", &at, "--timeout", &within])?;
        let mut running = self.start()?;
        loop {
            let is_done = control.has_succeeded()?;
            if running.is_outcast()? {
                running = self.start()?;
            }
            if is_done {
                self.did.replaced += 1;
                return Ok(running);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Another command of this program, at work.
    fn control(&self, arguments: &[&str]) -> Outcome<Running> {
        let log = self.shared.dir.join(format!("ctl{}.log", self.node));
        let mut command = Process::command(env::current_exe().map_err(|error| starting(&error))?);
        command.args(arguments).args(self.secret());
        Running::of(command, log)
    }

    /// How whoever comes to a node is told what it knows.
    fn secret(&self) -> [&OsStr; 2] {
        [OsStr::new("--secret-file"), self.shared.secret_file.as_os_str()]
    }

    fn data(&self) -> PathBuf {
        self.shared.dir.join(format!("n{}", self.node))
    }

    /// Lets it stand still and go on, and live a little after that.
    fn pause(&mut self, running: &mut Running) -> Outcome {
        running.check()?;
        running.signal("-STOP")?;
        thread::sleep(Duration::from_micros(self.dice.below(1_500_000)));
        running.signal("-CONT")?;
        self.did.pauses += 1;
        thread::sleep(Duration::from_micros(self.dice.below(500_000)));
        Ok(())
    }

    /// Starts the node again, without what it had.
    pub(super) fn wiped(&self) -> Outcome<Running> {
        fs::remove_dir_all(self.data()).map_err(|error| starting(&error))?;
        self.start()
    }

    /// Starts the node, for the first time or again.
    fn start(&self) -> Outcome<Running> {
        let log = self.shared.dir.join(format!("n{}.log", self.node));
        let mut command = Process::command(env::current_exe().map_err(|error| starting(&error))?);
        command.args(["server", "--node", &self.node.to_string()]).args(&self.shared.arguments);
        command.arg("--data").arg(self.data()).args(self.secret());
        if let Some(at) = self.shared.resp.get(self.node - 1) {
            command.arg("--resp").arg(at.to_string());
        }
        Running::of(command, log)
    }
}

fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
