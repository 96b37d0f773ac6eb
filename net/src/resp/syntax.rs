//! A command's words, as the table has them, taken apart for COMMAND DOCS, from which programs make
//! their hints.
//!
//! | in the table | is |
//! | --- | --- |
//! | `key` | a word of that meaning |
//! | `EX seconds` | the same, with a word before it that is said as it stands |
//! | `REPLACE` | that alone |
//! | `a \| b`, in brackets | one of them |
//! | `[ … ]` | may be left out |
//! | `key [key ...]` | one or more |
//!
//! The table is ours, so whatever does not fit is told as words; a test looks at all of it.
//!
//! Not here: what the words mean (`act.rs`).

use super::reply::Answer;

/// A part of a syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    what: What,
    /// What is said before it.
    token: Option<&'static str>,
    is_optional: bool,
    is_multiple: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A word of that meaning; without one it is the token alone.
    Word(&'static str),
    OneOf(Vec<Part>),
    Several(Vec<Part>),
}

/// The parts of a syntax.
pub(super) fn parts(syntax: &'static str) -> Vec<Part> {
    let spaced = syntax.split(' ').filter(|piece| !piece.is_empty());
    // Brackets are pieces of their own.
    let pieces: Vec<&'static str> = spaced.flat_map(pieces_of).collect();
    let mut at = 0;
    sequence(&pieces, &mut at).0
}

fn pieces_of(word: &'static str) -> Vec<&'static str> {
    let (mut pieces, mut rest) = (Vec::new(), word);
    while let Some(open) = rest.chars().next().filter(|first| "[<".contains(*first)) {
        let (bracket, behind) = rest.split_at(open.len_utf8());
        pieces.push(bracket);
        rest = behind;
    }
    let inner = rest.trim_end_matches([']', '>']);
    if !inner.is_empty() {
        pieces.push(inner);
    }
    let closes = &rest[inner.len()..];
    pieces.extend((0..closes.len()).map(|at| &closes[at..=at]));
    pieces
}

fn part(what: What) -> Part {
    Part { what, token: None, is_optional: false, is_multiple: false }
}

fn is_token(piece: &str) -> bool {
    piece.chars().any(|letter| letter.is_ascii_uppercase())
}

/// All up to the bracket that closes it. Whether it ends with dots.
fn sequence(pieces: &[&'static str], at: &mut usize) -> (Vec<Part>, bool) {
    let (mut choices, mut parts, mut goes_on) = (Vec::new(), Vec::new(), false);
    while let Some(piece) = pieces.get(*at) {
        *at += 1;
        match *piece {
            "]" | ">" => break,
            "..." => goes_on = true,
            "|" => choices.push(joined(std::mem::take(&mut parts))),
            "[" | "<" => {
                let (inner, repeats) = sequence(pieces, at);
                let is_optional = *piece == "[";
                if is_optional && repeats && repeated(&mut parts, &inner) {
                    continue;
                }
                let inner = joined(inner);
                let is_optional = inner.is_optional || is_optional;
                let is_multiple = inner.is_multiple || repeats;
                parts.push(Part { is_optional, is_multiple, ..inner });
            }
            piece => parts.push(part(What::Word(piece))),
        }
    }
    if choices.is_empty() {
        return (parts, goes_on);
    }
    choices.push(joined(parts));
    (vec![part(What::OneOf(choices))], goes_on)
}

/// Several parts as one: what is said before the others is its token.
fn joined(mut parts: Vec<Part>) -> Part {
    let begins = parts.first().and_then(|first| match first.what {
        What::Word(word) if is_token(word) && !first.is_optional => Some(word),
        _ => None,
    });
    if let Some(token) = begins
        && parts.len() > 1
    {
        parts.remove(0);
        return Part { token: Some(token), ..joined(parts) };
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => part(What::Several(parts)),
    }
}

/// Whether the last parts are said again in brackets: then they may be said several times.
fn repeated(parts: &mut Vec<Part>, again: &[Part]) -> bool {
    if again.is_empty() || !parts.ends_with(again) {
        return false;
    }
    let last = parts.split_off(parts.len() - again.len());
    parts.push(Part { is_multiple: true, ..joined(last) });
    true
}

/// Words that are numbers.
const NUMBERS: [&str; 16] = [
    "count",
    "cursor",
    "decrement",
    "end",
    "increment",
    "index",
    "milliseconds",
    "numlocal",
    "numreplicas",
    "offset",
    "protover",
    "seconds",
    "slot",
    "start",
    "timeout",
    "client-id",
];

impl Part {
    fn name(&self) -> String {
        match (&self.what, self.token) {
            (What::Word(word), _) => word.to_ascii_lowercase(),
            (_, Some(token)) => token.to_ascii_lowercase(),
            (What::OneOf(_), None) => "option".to_owned(),
            (What::Several(_), None) => "block".to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self.what {
            What::OneOf(_) => "oneof",
            What::Several(_) => "block",
            What::Word(word) if is_token(word) => "pure-token",
            What::Word("key" | "newkey" | "source" | "destination") => "key",
            What::Word("pattern") => "pattern",
            What::Word(word) if word.starts_with("unix-time") => "unix-time",
            What::Word(word) if NUMBERS.contains(&word) => "integer",
            What::Word(_) => "string",
        }
    }

    /// As COMMAND DOCS has it.
    pub(super) fn write(&self, answer: &mut Answer<'_>) {
        let token = match self.what {
            What::Word(word) if is_token(word) => Some(word),
            _ => self.token,
        };
        let inner = match &self.what {
            What::Word(_) => &[][..],
            What::OneOf(inner) | What::Several(inner) => inner,
        };
        let flags = [(self.is_optional, "optional"), (self.is_multiple, "multiple")];
        let flags: Vec<&str> = flags.into_iter().filter(|(is, _)| *is).map(|(_, it)| it).collect();
        let more = [token.is_some(), !flags.is_empty(), !inner.is_empty()];
        answer.map(2 + more.into_iter().filter(|is_there| *is_there).count());
        let name = self.name();
        for (what, text) in [("name", &*name), ("type", self.kind())] {
            answer.bulk(what.as_bytes());
            answer.bulk(text.as_bytes());
        }
        if let Some(token) = token {
            answer.bulk(b"token");
            answer.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            answer.bulk(b"flags");
            answer.array(flags.len());
            flags.iter().for_each(|flag| answer.simple(flag));
        }
        if !inner.is_empty() {
            answer.bulk(b"arguments");
            answer.array(inner.len());
            inner.iter().for_each(|part| part.write(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::commands::COMMANDS;

    /// A syntax put together again, with `?` for what may be left out and `+` for one or more.
    fn shown(part: &Part) -> String {
        let list = |parts: &[Part], by: &str| parts.iter().map(shown).collect::<Vec<_>>().join(by);
        let what = match &part.what {
            What::Word(word) => (*word).to_owned(),
            What::OneOf(inner) => format!("({})", list(inner, "|")),
            What::Several(inner) => format!("({})", list(inner, " ")),
        };
        let token = part.token.map_or_else(String::new, |token| format!("{token}="));
        let marks = [(part.is_optional, "?"), (part.is_multiple, "+")];
        let marks: String = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
        format!("{token}{what}{marks}")
    }

    #[test]
    fn a_syntax_is_taken_apart() {
        for (syntax, apart) in [
            ("", ""),
            ("key value", "key value"),
            ("key [key ...]", "key+"),
            ("key value [key value ...]", "(key value)+"),
            ("key [NX | XX] [GET]", "key (NX|XX)? GET?"),
            ("[EX seconds | PERSIST]", "(EX=seconds|PERSIST)?"),
            ("cursor [MATCH pattern] [COUNT count]", "cursor MATCH=pattern? COUNT=count?"),
            ("[protover [AUTH username password]]", "(protover AUTH=(username password)?)?"),
            ("ip:port | <[ID id] [SKIPME YES | NO] ...>", "(ip:port|(ID=id? (SKIPME=YES|NO)?)+)"),
            ("[pattern [pattern ...]]", "pattern?+"),
        ] {
            let parts = parts(syntax);
            let shown = parts.iter().map(shown).collect::<Vec<_>>().join(" ");
            assert_eq!(shown, apart, "{syntax}");
        }
    }

    #[test]
    fn every_syntax_of_the_table_is_understood() {
        let all =
            COMMANDS.iter().flat_map(|spec| [spec].into_iter().chain(spec.subcommands.values()));
        for spec in all {
            let shown = parts(spec.syntax).iter().map(shown).collect::<String>();
            let is_whole = !shown.contains(['[', ']', '<', '>']) && !shown.contains("...");
            assert!(is_whole, "{}: {shown}", spec.name);
            assert_eq!(shown.is_empty(), spec.syntax.is_empty(), "{}", spec.name);
        }
    }
}
