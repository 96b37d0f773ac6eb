//! How a command fails: a code that can be searched for, the cause, and the next command.
//!
//! Every failure of every command is a [`Failure`] of one of [`CODES`]. Its exit code tells a
//! script what kind it was; its text tells a person what to do. Nothing else in this program ends
//! the process. What clap says of a command line is one of them, too.

use std::{fmt, io};

/// What the process answers to whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// It works, and what it looked at is not well.
    Unhealthy = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Somebody else has it.
    Conflict = 5,
    /// It may or may not have happened.
    Unknown = 6,
    /// Whoever asks is not known.
    Stranger = 7,
}

/// One kind of failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// What it is called, everywhere and forever.
    pub name: &'static str,
    /// How the process ends.
    pub exit: Exit,
    /// What it means; the line of `bin/docs/errors.md`.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($ident:ident = $name:literal, $exit:ident, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $ident: Code =
            Code { name: $name, exit: Exit::$exit, meaning: $meaning };)*
        /// Every kind of failure, in order of name.
        pub const CODES: &[Code] = &[$($ident),*];
    };
}

codes! {
    COMMAND_LINE = "TR-E001", Usage, "the command line is not one that trilith knows";
    OPEN = "TR-E101", Failed, "the data directory cannot be opened";
    LOCKED = "TR-E102", Conflict, "another process holds the data directory";
    CORRUPT = "TR-E103", Unhealthy, "the data directory holds damage that recovery must not guess about";
    FOREIGN = "TR-E104", Failed, "the directory is not a trilith data directory";
    NEWER = "TR-E105", Failed, "the data was written by a newer version";
    FULL = "TR-E106", Failed, "the disk is full; nothing that was acknowledged is lost";
    DISK = "TR-E107", Unknown, "the disk failed; the write may or may not have happened";
    CLOSED = "TR-E108", Failed, "the store stopped after an earlier failure";
    OTHERS = "TR-E109", Failed, "the data directory is not that of whoever opens it";
    GONE = "TR-E110", Failed, "the data directory was removed, moved or replaced under a node that ran";
    NOT_FOUND = "TR-E201", NotFound, "there is no such key";
    TOO_LARGE = "TR-E202", Usage, "the key or the value is longer than its limit";
    INPUT = "TR-E203", Usage, "the input is not in the form the command reads";
    FILE = "TR-E301", Failed, "the file cannot be read";
    FORMAT = "TR-E302", Failed, "the file is of no format trilith knows";
    DAMAGED = "TR-E303", Unhealthy, "the file was read and holds damage";
    LOST = "TR-E403", Unhealthy, "after a kill the store is not what was acknowledged";
    CLAIM = "TR-E404", Unhealthy, "a measured figure breaks what was stated of it";
    REFUTED = "TR-E405", Unhealthy, "a judge refused what a simulated cluster did";
    CONFIGURATION = "TR-E501", Usage, "the cluster cannot be as it was configured";
    ADDRESS = "TR-E502", Failed, "the address cannot be listened at";
    IN_USE = "TR-E503", Conflict, "somebody else listens at the address";
    UNANSWERED = "TR-E504", Unhealthy, "no node of the cluster could answer in time; nothing happened";
    REFUSED = "TR-E505", Failed, "the cluster refused; nothing happened";
    UNKNOWN = "TR-E506", Unknown, "the cluster did not answer in time; the write may or may not have happened";
    SERVES = "TR-E507", Conflict, "the node serves with its own directory; there is nothing to replace";
    NO_NODE = "TR-E508", NotFound, "there is no such node in the cluster";
    NOT_SHOWN = "TR-E509", Unhealthy, "the node has not come with a new directory; nothing happened";
    UNFINISHED = "TR-E510", Unknown, "the time was over before every group had its new replica; asked again, it goes on";
    STRANGER = "TR-E511", Stranger, "the cluster does not know who asks; nothing happened";
    OUTPUT_TAKEN = "TR-E512", Conflict, "the directory for the backup is not empty; nothing was written";
    NO_BACKUP = "TR-E513", NotFound, "there is no finished backup in the directory";
    NOT_EMPTY = "TR-E514", Conflict, "the cluster holds keys already; nothing was written";
    DIFFERS = "TR-E515", Conflict, "the cluster holds something else than the backup; what was there stays";
    UNRESTORED = "TR-E516", Unknown, "the restore ended before everything was written; with --resume it goes on";
    UNWELL = "TR-E517", Unhealthy, "the cluster was asked, and not all is well";
    UNFIT = "TR-E518", Unhealthy, "the machine was looked at, and something of it is not well for a node";
    OUTPUT = "TR-E901", Failed, "the output could not be written";
    INTERNAL = "TR-E999", Failed, "a bug of trilith's own";
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// Which kind.
    pub code: &'static Code,
    /// What happened, in the words of whoever noticed.
    pub cause: String,
    /// What to do about it: a command, or an instruction.
    pub next: String,
}

/// What a command answers.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure.
    pub fn new(code: &'static Code, cause: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { code, cause: cause.to_string(), next: next.into() }
    }

    /// Whether the reader of our output simply went away, as `head` does. Not a failure then.
    pub fn is_closed_pipe(&self) -> bool {
        *self.code == OUTPUT && self.next.is_empty()
    }
}

impl From<clap::Error> for Failure {
    /// In clap's words, which name what is wrong, and what is like it.
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (what, usage) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
        let is_name = |word: &&str| {
            word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
                && !word.starts_with('-')
        };
        let names: Vec<&str> = usage.split_whitespace().take_while(is_name).collect();
        let command = if names.is_empty() { "trilith".to_owned() } else { names.join(" ") };
        let what = what.split("\n\nFor more information").next().unwrap_or_default().trim_end();
        Self::new(&COMMAND_LINE, what, format!("{command} --help"))
    }
}

impl From<io::Error> for Failure {
    /// An error of our own output; errors of files are worded where they are known.
    fn from(error: io::Error) -> Self {
        let gone = error.kind() == io::ErrorKind::BrokenPipe;
        let next = if gone { "" } else { "see where standard output leads" };
        Self::new(&OUTPUT, error, next)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.code.name, self.code.meaning, self.cause)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "\nnext: {}", self.next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_unique_and_in_the_page() {
        let page = include_str!("../docs/errors.md");
        let mut last = "";
        for code in CODES {
            assert!(code.name > last, "{} is out of order or taken twice", code.name);
            last = code.name;
            let row = format!("| `{}` | {} | {} |", code.name, code.exit as u8, code.meaning);
            assert!(page.contains(&row), "bin/docs/errors.md lacks: {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `TR-E")).count();
        assert_eq!(rows, CODES.len(), "bin/docs/errors.md has rows that are no codes");
    }
}
