//! Runs the program as a user would: arguments in, exit code and two streams out.
//!
//! Not here: what the program should answer (the tests beside this folder).
#![allow(dead_code, unreachable_pub, reason = "each test file takes a part of it")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A directory of the test's own, gone when the test has passed.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one of that name; names are unique among tests.
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("{}: {error}", path.display())
            }
            _ => {}
        }
        fs::create_dir_all(&path).expect("the target directory can be written");
        Self(path)
    }

    /// A path in it, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a failed test leaves behind is evidence.
        if !std::thread::panicking() && fs::remove_dir_all(&self.0).is_err() {
            eprintln!("left behind: {}", self.0.display());
        }
    }
}

/// The program, with nothing on its standard input.
pub fn trilith() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilith"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Answer {
    Answer::of(trilith().args(arguments).output().expect("the program starts"))
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Answer {
    /// Of a process that has ended.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It worked; answers its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It failed as a program should: this exit code, this error code, a next step, no panic.
    #[track_caller]
    pub fn failed(self, exit: i32, code: &str) {
        assert_eq!(self.code, Some(exit), "{self:?}");
        assert!(self.err.starts_with(&format!("{code}: ")), "{self:?}");
        assert!(self.err.contains("\nnext: "), "an error without a next step: {self:?}");
        self.calm();
    }

    /// However it ended, it did not panic.
    #[track_caller]
    pub fn calm(&self) {
        assert!(self.code.is_some(), "a signal ended it: {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}
