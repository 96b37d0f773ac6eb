//! Passwords: asked of a person at a terminal, taken from the environment or a pipe, never from an
//! argument, which every process of the machine may read.
//!
//! Not here: what is kept of them (`trilith_net::users`), who asks for them (`cli.rs`, `config`).

use clap::Args;
use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, IsTerminal, Write},
};

use rustix::{
    rand::{GetRandomFlags, getrandom},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use trilith_net::users::{Cost, DEFAULT, Kept, Users};

use crate::failure::{Failure, INPUT, INTERNAL, Outcome};

/// Where a password is looked for before anybody is asked for it.
const VARIABLE: &str = "TRILITH_PASSWORD";

/// Who asks a node that has users.
#[derive(Args, Debug, Default)]
pub struct Who {
    /// Logs in as this user where Redis clients are served. The password is in TRILITH_PASSWORD, or is
    /// asked for; with TRILITH_PASSWORD alone the user is `default`.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
}

/// A user and his password.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

impl Who {
    /// Who it is, if that was said. A person may be asked for the password.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub fn login(&self) -> Outcome<Option<Login>> {
        let known = env::var(VARIABLE).ok().filter(|password| !password.is_empty());
        let (user, password) = match (&self.user, known) {
            (None, None) => return Ok(None),
            (user, Some(password)) => (user.as_deref().unwrap_or(DEFAULT), password),
            (Some(user), None) => (user.as_str(), asked(&format!("password of {user}: "))?),
        };
        Ok(Some(Login { user: user.to_owned(), password }))
    }
}

/// Puts a terminal back as it was.
struct Quiet<'a> {
    terminal: &'a File,
    was: Termios,
}

impl<'a> Quiet<'a> {
    /// From now on it does not show what is typed.
    fn new(terminal: &'a File) -> io::Result<Self> {
        let was = tcgetattr(terminal)?;
        let mut silent = was.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, was })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // When it is gone there is nothing to put back.
        let _back = tcsetattr(self.terminal, OptionalActions::Flush, &self.was);
    }
}

/// What a person types at the terminal, which does not show it.
fn asked(question: &str) -> Outcome<String> {
    let nobody = |why: io::Error| {
        let cause = format!("nobody can be asked for a password: {why}");
        Failure::new(&INPUT, cause, format!("put it into {VARIABLE}"))
    };
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(nobody)?;
    let typed = || {
        (&terminal).write_all(question.as_bytes())?;
        let quiet = Quiet::new(&terminal)?;
        let mut line = String::new();
        BufReader::new(&terminal).read_line(&mut line)?;
        drop(quiet);
        (&terminal).write_all(b"\n")?;
        Ok(line)
    };
    let line: String = typed().map_err(nobody)?;
    checked(line)
}

/// A line without its end, if it can be a password.
fn checked(mut line: String) -> Outcome<String> {
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    if Users::takes(line.as_bytes()) {
        return Ok(line);
    }
    let cause = "a password has at least one byte, and not more than 512";
    Err(Failure::new(&INPUT, cause, "say another one"))
}

/// A new password: typed twice at a terminal, or the first line of a pipe.
///
/// # Errors
/// When nothing comes that could be one.
pub fn new() -> Outcome<String> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let why = "pipe the password in as a line of text";
        read.map_err(|error| Failure::new(&INPUT, error, why))?;
        return checked(line);
    }
    let first = asked("new password: ")?;
    if asked("the same again: ")? == first {
        return Ok(first);
    }
    Err(Failure::new(&INPUT, "the second one is another one", "try again"))
}

/// What is to be kept of a password, salted by the system.
///
/// # Errors
/// When the system has no luck to give.
pub fn kept(password: &str) -> Outcome<Kept> {
    Kept::make(password.as_bytes(), luck()?, Cost::USUAL)
        .map_err(|why| Failure::new(&INTERNAL, why, "report it"))
}

/// Luck of the system that is good for secrets.
///
/// # Errors
/// When it has none to give.
pub fn luck<const BYTES: usize>() -> Outcome<[u8; BYTES]> {
    let mut luck = [0; BYTES];
    let drawn = getrandom(&mut luck, GetRandomFlags::empty());
    let drawn = drawn.map_err(|why| Failure::new(&INTERNAL, why, "see the system's log: dmesg"))?;
    if drawn < BYTES {
        return Err(Failure::new(&INTERNAL, "the system gave too little luck", "try again"));
    }
    Ok(luck)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password_without_its_end() {
        let read = |line: &str| checked(line.to_owned()).ok();
        assert_eq!(read("a b \n").as_deref(), Some("a b "));
        assert_eq!(read("a\r\n").as_deref(), Some("a"));
        assert_eq!(read("a").as_deref(), Some("a"));
        assert_eq!((read("\n"), read(""), read(&"x".repeat(513))), (None, None, None));
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let login = Login { user: "me".into(), password: "secret".into() };
        assert_eq!(format!("{login:?}"), "Login(me)");
    }

    #[test]
    fn what_is_kept_is_of_that_password_and_salted() {
        let (one, other) = (kept("secret").unwrap(), kept("secret").unwrap());
        assert!(one.is(b"secret") && !one.is(b"Secret"));
        assert_ne!(one, other);
    }
}
