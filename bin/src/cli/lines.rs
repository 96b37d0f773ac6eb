//! Lines to talk in: edited on a terminal, with what was said before, completion and hints; read as
//! they are from a pipe.
//!
//! ```text
//!   trilith> set hello| value [NX|XX] [GET] …      what may follow, from the table of commands
//!   trilith> ge⇥                                   get, getdel, getex, getrange
//! ```
//! What was said is kept from one talk to the next, in `$XDG_STATE_HOME/trilith/history` or
//! `~/.local/state/trilith/history`, which only its owner may read; not what says a password.
//!
//! Not here: what a line asks (`talk.rs`), keys and how a terminal shows them (`rustyline`).

use std::{
    borrow::Cow,
    collections::VecDeque,
    env, fs,
    io::{self, BufRead, IsTerminal, StdinLock},
    path::PathBuf,
};

use rustyline::{
    CompletionType, Config, Context, Editor, Helper, Result as Edited, completion::Completer,
    error::ReadlineError, highlight::Highlighter, hint::Hinter, history::FileHistory,
    validate::Validator,
};
use trilith_net::resp::commands::{COMMANDS, Spec};

use crate::failure::{Failure, INPUT, Outcome};

/// So many lines are remembered.
const REMEMBERED: usize = 1000;

/// Words that are no command of the nodes.
const OWN: [&str; 2] = ["exit", "help"];

/// Where lines come from.
pub(super) enum Lines {
    Typed(Box<Typed>),
    Piped(StdinLock<'static>),
}

/// A terminal.
pub(super) struct Typed {
    editor: Editor<Helpful, FileHistory>,
    prompt: &'static str,
    /// Where what was said is remembered.
    kept: Option<PathBuf>,
    /// Lines that were pasted at once.
    waiting: VecDeque<String>,
}

impl Lines {
    /// From whatever the standard input is; who types is prompted so.
    ///
    /// # Errors
    /// When a terminal cannot be asked for keys.
    pub(super) fn open(prompt: &'static str) -> Outcome<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Piped(io::stdin().lock()));
        }
        let config = Config::builder().max_history_size(REMEMBERED).map_err(untyped)?;
        let config = config.history_ignore_space(true).completion_type(CompletionType::List);
        let config = config.build();
        let history = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(untyped)?;
        let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        editor.set_helper(Some(Helpful { is_plain }));
        let kept = history_file();
        if let Some(kept) = &kept {
            // The first time there is none.
            let _known = editor.load_history(kept).is_ok();
        }
        Ok(Self::Typed(Box::new(Typed { editor, prompt, kept, waiting: VecDeque::new() })))
    }

    /// Whether somebody types them.
    pub(super) const fn are_typed(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    /// The next one; nothing when there are no more.
    ///
    /// # Errors
    /// When it is no text.
    pub(super) fn next(&mut self) -> Outcome<Option<String>> {
        match self {
            Self::Piped(input) => {
                let line = input.lines().next().transpose();
                line.map_err(|why| Failure::new(&INPUT, why, "write commands as text"))
            }
            Self::Typed(typed) => typed.next(),
        }
    }
}

impl Typed {
    fn next(&mut self) -> Outcome<Option<String>> {
        while self.waiting.is_empty() {
            match self.editor.readline(self.prompt) {
                Ok(text) => self.waiting.extend(text.split('\n').map(str::to_owned)),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(None),
                Err(why) => return Err(untyped(why)),
            }
        }
        let line = self.waiting.pop_front();
        line.iter().for_each(|line| self.remember(line));
        Ok(line)
    }

    /// Keeps what was said. Where that cannot be done, it is not kept for another time.
    fn remember(&mut self, line: &str) {
        let is_new = !says_a_password(line) && self.editor.add_history_entry(line).unwrap_or(false);
        let Some(file) = self.kept.as_deref().filter(|_| is_new) else { return };
        let is_kept = file.parent().is_none_or(|dir| fs::create_dir_all(dir).is_ok())
            && self.editor.append_history(file).is_ok();
        if !is_kept {
            self.kept = None;
        }
    }
}

fn untyped(why: ReadlineError) -> Failure {
    Failure::new(&INPUT, why, "talk through a pipe: echo 'get hello' | trilith cli")
}

/// Where talks are remembered, if the environment says where its user's things are.
fn history_file() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
    let state = state.or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("trilith").join("history"))
}

/// Whether a line has a password in it.
fn says_a_password(line: &str) -> bool {
    line.split_whitespace().any(|word| word.eq_ignore_ascii_case("auth"))
}

/// What may stand where a line ends: where that word begins, and the words.
fn completions(line: &str) -> (usize, Vec<String>) {
    let begin = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, begun) = line.split_at(begin);
    let before: Vec<String> = before.split_whitespace().map(str::to_ascii_lowercase).collect();
    let names = match &before.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => names(OWN.to_vec()),
        ["help"] | ["with", _] => names(Vec::new()),
        ["with"] => ["eventual", "quorum", "strong"].to_vec(),
        [command] | ["help", command] => COMMANDS
            .get(command.as_bytes())
            .map(|spec| spec.subcommands.keys().copied().collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    // Whoever shouts is answered so.
    let is_loud = begun.starts_with(|first: char| first.is_ascii_uppercase());
    let begun = begun.to_ascii_lowercase();
    let fit = names.into_iter().filter(|name| name.starts_with(&begun));
    let shown = |name: &str| if is_loud { name.to_ascii_uppercase() } else { name.to_owned() };
    (begin, fit.map(shown).collect())
}

/// All commands, and these.
fn names(mut more: Vec<&'static str>) -> Vec<&'static str> {
    more.extend(COMMANDS.iter().map(|spec| spec.name));
    more.sort_unstable();
    more
}

/// What may follow a line: what its command takes, without as much as there is.
fn hint(line: &str) -> Option<String> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.first()?.eq_ignore_ascii_case("with") && words.len() > 2 {
        words.drain(..2);
    }
    let (spec, given) = spec_of(&words)?;
    let parts = parts(spec.syntax);
    let left = parts.get(given..).filter(|left| !left.is_empty())?.join(" ");
    let is_apart = line.ends_with(char::is_whitespace);
    Some(if is_apart { left } else { format!(" {left}") })
}

/// A line's command or subcommand, and how many words stand behind its name.
fn spec_of(words: &[&str]) -> Option<(&'static Spec, usize)> {
    let spec = COMMANDS.get(words.first()?.as_bytes())?;
    if spec.subcommands.is_empty() {
        return Some((spec, words.len() - 1));
    }
    let second = words.get(1)?.to_ascii_lowercase();
    let (_, spec) = spec.subcommands.iter().find(|(name, _)| **name == second)?;
    Some((spec, words.len() - 2))
}

/// What a command takes, one thing each: what stands in brackets is one.
fn parts(syntax: &str) -> Vec<&str> {
    let (mut all, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, letter) in syntax.char_indices() {
        match letter {
            '[' | '<' | '(' => depth += 1,
            ']' | '>' | ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                all.push(&syntax[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    all.push(&syntax[begin..]);
    all.retain(|part| !part.is_empty());
    all
}

/// Completes and hints.
struct Helpful {
    /// Whether hints look like what was typed.
    is_plain: bool,
}

impl Helper for Helpful {}

impl Validator for Helpful {}

impl Highlighter for Helpful {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.is_plain { hint.into() } else { format!("\x1b[2m{hint}\x1b[0m").into() }
    }
}

impl Completer for Helpful {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> Edited<(usize, Vec<String>)> {
        Ok(completions(line.get(..at).unwrap_or_default()))
    }
}

impl Hinter for Helpful {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, _context: &Context<'_>) -> Option<String> {
        if at < line.len() { None } else { hint(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_from_the_table_of_commands() {
        let completed = |line: &str| completions(line);
        assert_eq!(completed("getr"), (0, vec!["getrange".to_owned()]));
        assert_eq!(completed("GETR"), (0, vec!["GETRANGE".to_owned()]));
        assert_eq!(completed("qu"), (0, vec!["quit".to_owned()]));
        assert_eq!(completed("help getr"), (5, vec!["getrange".to_owned()]));
        assert_eq!(completed("with ev"), (5, vec!["eventual".to_owned()]));
        assert_eq!(completed("with eventual getr"), (14, vec!["getrange".to_owned()]));
        assert_eq!(completed("config reset"), (7, vec!["resetstat".to_owned()]));
        assert_eq!(completed("set getr"), (4, vec![]), "a key is nobody's to guess");
        assert_eq!(completed("").1.len(), COMMANDS.len() + OWN.len());
    }

    #[test]
    fn what_may_follow_is_shown_without_what_is_there() {
        let syntax = COMMANDS.get(b"getrange").unwrap().syntax;
        assert_eq!(syntax, "key start end", "of which the rest is shown");
        assert_eq!(hint("getrange").as_deref(), Some(" key start end"));
        assert_eq!(hint("GETRANGE ").as_deref(), Some("key start end"));
        assert_eq!(hint("getrange a").as_deref(), Some(" start end"));
        assert_eq!(hint("with strong getrange a 1 ").as_deref(), Some("end"));
        assert_eq!(hint("getrange a 1 2"), None);
        assert_eq!(hint("nothing of ours"), None);
        assert_eq!(hint(""), None);
        assert_eq!(parts("a [b c [d]] <e f> g"), ["a", "[b c [d]]", "<e f>", "g"]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn a_password_is_not_remembered() {
        assert!(says_a_password("AUTH me secret") && says_a_password("hello 3 auth me secret"));
        assert!(!says_a_password("get author"));
    }
}
