//! Child processes: started, watched, killed, and never left behind.
//!
//! A child dies with the value that stands for it, so also when this process panics. When this
//! process is ended by a signal, whichever, nothing of it runs any more; so each child has a guard,
//! a shell that waits for the end of a pipe whose other end is here, and then kills the child. The
//! kernel closes that pipe however this process ends. A child begins when its guard is there:
//!
//! ```text
//!   sh: waits for a word, or ends ◄── go ───┐
//!       becomes the program                 here
//!   sh: waits for the end, kills ◄── (pipe)─┘
//! ```
//!
//! A child has no settings from this process's environment: it is told by its arguments alone, or it would
//! be in a cluster of which this process knows nothing.
//!
//! Not here: what children are told (`kill/keeper.rs`, `bench/cluster`).

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::config;

/// What a child does first. Its number stays the same.
const CHILD: &str = "read -r go && exec \"$0\" \"$@\" < /dev/null";
/// What a guard does. It ignores the signals that a terminal sends to all of us at once.
const GUARD: &str = "trap '' HUP INT QUIT TERM; read -r end; kill -9 \"$0\"";

/// Free ports of the loopback, for children to listen at.
///
/// # Errors
/// When there is none.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners: io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(TcpListener::local_addr).collect()
}

/// Whether there is a program of that name, which says its version when it is asked.
pub fn is_here(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    asked.is_ok_and(|output| output.status.success())
}

/// A child that ends when nobody holds it any more.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `None` once the child's number may be somebody else's.
    guard: Option<Child>,
}

impl Process {
    /// A command that [`start`](Self::start) can start; its standard input is empty.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(CHILD).arg(program).stdin(Stdio::piped());
        let names = env::vars_os().map(|(name, _)| name);
        names.filter(|name| config::is_setting(name)).for_each(|name| _ = command.env_remove(name));
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// When there is no shell, or no room for another process.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut process = Self { child: command.spawn()?, guard: None };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, &process.id().to_string()]);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        process.guard = Some(guard.spawn()?);
        if let Some(mut go) = process.child.stdin.take() {
            go.write_all(b"go\n")?;
        }
        Ok(process)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss_guard();
        }
        Ok(status)
    }

    /// `kill -9`; answers how it ended, which it may have done by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.dismiss_guard();
        self.child.wait()
    }

    /// Sends it a signal, by the name that `kill` knows: `-TERM`.
    ///
    /// # Errors
    /// The system's, or when it was not sent.
    pub fn signal(&self, signal: &str) -> io::Result<()> {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status()?;
        let why = || io::Error::other(format!("kill {signal} {id}: {sent}"));
        if sent.success() { Ok(()) } else { Err(why()) }
    }

    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _gone = guard.kill();
            let _status = guard.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _status = self.kill();
    }
}
