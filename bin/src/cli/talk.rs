//! Talking to nodes in the commands of Redis: one that was given, or one a line, from a terminal or
//! from a pipe.
//!
//! On a terminal an error is an answer, and one goes on. In a pipe the first one is the end, and the
//! exit code says of what kind it was: a script whose third line failed must not go on with its
//! fourth. `help` tells what there is, from the same table that the nodes have.
//!
//! Not here: how lines come in (`lines.rs`), the protocol and who is asked next (`asker.rs`).

use std::net::SocketAddr;
use trilith_net::resp::{
    commands::{COMMANDS, Spec},
    heard::Heard,
    request::Words,
};

use super::{What, given, lines::Lines};
use crate::{
    asker::{Asker, as_json},
    config::distance,
    failure::{Code, Failure, INPUT, NOT_FOUND, Outcome, REFUSED, STRANGER, UNANSWERED, UNKNOWN},
    out::{Cell, Out, lossy},
};

/// Reads commands until there are no more.
pub(super) fn talk(nodes: &[SocketAddr], mut asker: Asker, out: Out) -> Outcome {
    let mut lines = Lines::open(if out.is_json() { "" } else { "trilith> " })?;
    let is_typed = lines.are_typed();
    if is_typed {
        eprintln!("help tells what there is, quit is the end");
    }
    loop {
        let Some(line) = lines.next()? else { return Ok(()) };
        let words: Words = line.split_whitespace().collect();
        match words.get(0).to_ascii_lowercase().as_slice() {
            [] | [b'#', ..] => {}
            b"quit" | b"exit" => return Ok(()),
            b"help" => help(&words.behind(1), out)?,
            _ => {
                let heard = asker.ask(nodes, &line);
                if !is_typed && let Heard::Error(why) = &heard {
                    return Err(refused(&line, why));
                }
                show(&line, &heard, out)?;
                if let Heard::Error(why) = &heard
                    && let Some(meant) = meant(&line, why)
                {
                    out.next(&meant);
                }
            }
        }
    }
}

/// Asks for that.
pub(super) fn ask(nodes: &[SocketAddr], words: &[String], mut asker: Asker, out: Out) -> Outcome {
    let heard = asker.ask_words(nodes, &words.iter().collect());
    let line = words.join(" ");
    match &heard {
        Heard::Error(why) => Err(refused(&line, why)),
        heard => show(&line, heard, out),
    }
}

fn show(line: &str, heard: &Heard, out: Out) -> Outcome {
    if out.is_json() {
        return out.facts(&[("ask", line.into()), ("answer", as_json(heard))]);
    }
    out.say(&heard.to_string())
}

/// One of our own commands, asked in the words of Redis and answered in our own.
pub(super) struct One<'a> {
    pub(super) what: &'a What,
    pub(super) at: &'a [SocketAddr],
}

impl One<'_> {
    pub(super) fn ask(&self, mut asker: Asker, out: Out) -> Outcome {
        let key = self.what.key();
        let words: Words = match self.what {
            What::Get { key, level } => ["with", level.name(), "get", key].iter().collect(),
            What::Set { key, value } => {
                let value = given(value)?;
                [b"set".as_slice(), key.as_bytes(), &value].iter().collect()
            }
            What::Delete { key } => ["del", key].iter().collect(),
            What::Incr { key, by } => ["incrby", key, &by.to_string()].iter().collect(),
            What::Redis(words) => words.iter().collect(),
        };
        let named: Vec<String> = self.at.iter().map(SocketAddr::to_string).collect();
        let again = |what: &str| format!("trilith cli --resp {} {what} {key}", named.join(","));
        match asker.ask_words(self.at, &words) {
            Heard::Error(why) => Err(refused(key, &why)),
            Heard::Nothing => Err(Failure::new(&NOT_FOUND, key, format!("{} VALUE", again("set")))),
            Heard::Integer(0) if matches!(self.what, What::Delete { .. }) => {
                Err(Failure::new(&NOT_FOUND, key, format!("{} VALUE", again("set"))))
            }
            Heard::Bulk(value) if out.is_json() => {
                out.facts(&[("key", key.into()), ("value", lossy(&value).into())])
            }
            Heard::Bulk(value) => out.raw(&[&value[..], b"\n"].concat()),
            Heard::Integer(number) if matches!(self.what, What::Incr { .. }) => {
                if out.is_json() {
                    return out
                        .facts(&[("key", key.into()), ("number", number.to_string().into())]);
                }
                out.raw(format!("{number}\n").as_bytes())
            }
            _ => {
                if out.is_json() {
                    out.facts(&[("key", key.into())])?;
                }
                out.next(&again("get"));
                Ok(())
            }
        }
    }
}

/// What the exit code of a script is to say.
fn refused(line: &str, why: &str) -> Failure {
    if let Some(meant) = meant(line, why) {
        return Failure::new(&REFUSED, format!("{line}: {why}"), meant);
    }
    let (code, next): (&'static Code, &str) = match why.split(' ').next() {
        Some("UNAVAILABLE") => {
            (&UNANSWERED, "see whether a majority of the nodes runs; --resp names them")
        }
        Some("INDOUBT") => (&UNKNOWN, "look whether it did"),
        Some("NOAUTH") => (&STRANGER, "say who asks: --user NAME"),
        Some("WRONGPASS") => (&STRANGER, "see TRILITH_PASSWORD, and [users] in the node's file"),
        _ if why == "ERR value is not an integer or out of range" => (&INPUT, "look what it holds"),
        _ => (&REFUSED, "trilith cli, and there: help"),
    };
    Failure::new(code, format!("{line}: {why}"), next)
}

/// Which command was probably meant by one that there is not. Nodes say what Redis says, and no more.
fn meant(line: &str, why: &str) -> Option<String> {
    let asked = line.split_whitespace().next()?.to_ascii_lowercase();
    if !why.starts_with("ERR unknown command") {
        return None;
    }
    let all = COMMANDS.iter().map(|spec| (distance(&asked, spec.name), spec.name));
    let (far, name) = all.min()?;
    (far <= 1 + asked.len() / 4)
        .then(|| format!("did you mean {name}? trilith cli, and there: help"))
}

/// Tells about one command and what belongs to it, or which there are.
fn help(words: &Words, out: Out) -> Outcome {
    let row = |of: &str, spec: &Spec| -> Vec<Cell> {
        let call = format!("{of} {} {}", spec.name, spec.syntax);
        vec![call.trim().into(), spec.summary.into()]
    };
    let rows = match COMMANDS.get(words.get(0)) {
        _ if words.is_empty() => COMMANDS.iter().map(|spec| row("", spec)).collect::<Vec<_>>(),
        Some(spec) => {
            let subcommands = spec.subcommands.values().map(|sub| row(spec.name, sub));
            [row("", spec)].into_iter().chain(subcommands).collect()
        }
        None => return out.say("there is no such command; help tells which there are"),
    };
    out.table(&["command", "what"], &rows)
}
