//! `trilith ctl config`: what each node was configured with, and where nodes differ though they
//! should not.
//!
//! A node tells what `trilith config show --origin` would have shown where it was started: it was
//! told so then, and a file that was changed since is not looked at. What nodes agree on is one
//! line; what they do not, a line for each thing that some of them say.
//!
//! Secrets and what is kept of passwords are told by nobody. Of a password each node tells a mark,
//! by which two that keep something else are told apart.
//!
//! Not here: settings and their origins (`config`), how nodes tell them
//! (`trilith_net::peer::settings`).

use clap::Args;
use std::net::SocketAddr;
use trilith_net::{
    client::settings_of,
    peer::{Trouble, hello::Refusal, settings::Setting},
};

use super::{Status, some};
use crate::{
    failure::{Failure, Outcome, UNANSWERED, UNWELL},
    out::{Cell, Out},
    secret,
};

/// Which nodes, and how much of it.
#[derive(Args, Debug)]
pub struct Configured {
    #[command(flatten)]
    nodes: Status,
    /// And where each setting comes from on its node.
    #[arg(long)]
    origin: bool,
}

/// What a node told, or why it did not.
type Told = Result<Vec<Setting>, Silence>;

/// Why a node did not tell.
#[derive(Debug)]
struct Silence {
    why: String,
    /// That it does not know who asks, if that is it.
    unknown: Option<Failure>,
}

impl Silence {
    fn of(at: SocketAddr, trouble: &Trouble) -> Self {
        let more = match trouble {
            Trouble::Refused(Refusal::Garbage) => "; it is older, and does not know the question",
            _ => "",
        };
        let unknown = trouble.is_about_secrets().then(|| secret::unknown(at, trouble));
        Self { why: format!("{trouble}{more}"), unknown }
    }
}

/// What some of the nodes say of one setting.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    name: &'a str,
    is_shared: bool,
    /// Whether others say something else, though all should say the same.
    differs: bool,
    /// Nothing where these nodes have no such setting.
    setting: Option<&'a Setting>,
    at: Vec<SocketAddr>,
}

impl Configured {
    /// Asks all nodes at once, shows what they told, and fails where something is wrong with it.
    pub(super) fn run(&self, out: Out) -> Outcome {
        let found = self.nodes.nodes.find()?;
        let mut told: Vec<Told> =
            self.nodes.each(&found, |os, at, options, within| async move {
                match settings_of(&os, at, options.secret, within).await {
                    Ok((_, settings)) => Ok(settings),
                    Err(trouble) => Err(Silence::of(at, &trouble)),
                }
            })?;
        if let Some(failure) = unknown(&mut told) {
            return Err(failure);
        }
        let all: Vec<(SocketAddr, Told)> = found.at.into_iter().zip(told).collect();
        let configured = configured(&all);
        let lines = lines(&configured, self.origin);
        let mut columns = vec!["setting", "value", "scope", "differs", "at"];
        columns.extend(self.origin.then_some("origin"));
        let rows: Vec<_> =
            lines.iter().map(|line| row(line, configured.len(), self.origin)).collect();
        if !rows.is_empty() {
            out.table(&columns, &rows)?;
        } else if all.iter().any(|(_, told)| told.is_ok()) {
            out.say("no node that answered was started with settings: a demo's are not")?;
        }
        judge(&all, &lines)
    }
}

/// That no node knows who asks, if so.
fn unknown(all: &mut [Told]) -> Option<Failure> {
    let is_known = all.iter().any(Result::is_ok);
    let mut silent = all.iter_mut().filter_map(|told| told.as_mut().err());
    silent.find_map(|silence| silence.unknown.take()).filter(|_| !is_known)
}

/// The nodes that were told something, and what. A node of the demo has no settings.
fn configured(all: &[(SocketAddr, Told)]) -> Vec<(SocketAddr, &[Setting])> {
    let told = all.iter().filter_map(|(at, told)| Some((*at, told.as_deref().ok()?)));
    told.filter(|(_, settings)| !settings.is_empty()).collect()
}

/// What there is to show, in the order in which nodes tell it. Origins may differ, and are told apart
/// only where they are shown.
fn lines<'a>(all: &[(SocketAddr, &'a [Setting])], with_origin: bool) -> Vec<Line<'a>> {
    let mut names: Vec<&str> = Vec::new();
    for setting in all.iter().flat_map(|(_, settings)| settings.iter()) {
        if !names.contains(&setting.name.as_str()) {
            names.push(&setting.name);
        }
    }
    let mut lines: Vec<Line<'a>> = Vec::new();
    for name in names {
        let begin = lines.len();
        for (at, settings) in all {
            let setting = settings.iter().find(|setting| setting.name == name);
            let is_alike = |line: &&mut Line<'_>| match (line.setting, setting) {
                (Some(one), Some(other)) => {
                    let is_same = one.value == other.value && one.mark == other.mark;
                    is_same && !(with_origin && one.origin != other.origin)
                }
                (one, other) => one.is_none() && other.is_none(),
            };
            match lines[begin..].iter_mut().find(is_alike) {
                Some(line) => line.at.push(*at),
                None => lines.push(Line {
                    name,
                    is_shared: false,
                    differs: false,
                    setting,
                    at: vec![*at],
                }),
            }
        }
        let of_it = &mut lines[begin..];
        let is_shared = of_it.iter().any(|line| line.setting.is_some_and(|told| told.is_shared));
        let mark = |line: &Line<'_>| line.setting.map(|told| told.mark);
        let differs = is_shared && of_it.iter().any(|line| mark(line) != mark(&of_it[0]));
        of_it.iter_mut().for_each(|line| (line.is_shared, line.differs) = (is_shared, differs));
    }
    lines
}

fn row(line: &Line<'_>, nodes: usize, with_origin: bool) -> Vec<Cell> {
    let value = line.setting.and_then(|told| told.value.as_deref());
    let at = match line.at.len() {
        count if count == nodes => "all".to_owned(),
        _ => line.at.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let mut row = vec![
        line.name.into(),
        value.map_or(Cell::Absent, Cell::from),
        if line.is_shared { "cluster" } else { "node" }.into(),
        line.differs.into(),
        at.into(),
    ];
    if with_origin {
        row.push(line.setting.map_or(Cell::Absent, |told| told.origin.as_str().into()));
    }
    row
}

/// Fails where nodes differ though they should not, and where one did not answer.
fn judge(all: &[(SocketAddr, Told)], lines: &[Line<'_>]) -> Outcome {
    let mut differing: Vec<&str> =
        lines.iter().filter(|line| line.differs).map(|line| line.name).collect();
    differing.dedup();
    if !differing.is_empty() {
        let cause = format!("nodes do not say the same of {}", some(&differing));
        let next = "see where each says it: trilith ctl config --origin; correct it there, and \
                    restart that node";
        return Err(Failure::new(&UNWELL, cause, next));
    }
    let silent = all.iter().filter_map(|(at, told)| {
        let why = &told.as_ref().err()?.why;
        Some(format!("{at}: {why}"))
    });
    let silent: Vec<String> = silent.collect();
    if silent.is_empty() {
        return Ok(());
    }
    let next =
        "see on its machine whether it runs, and its log; ask again with a larger --within-ms";
    let code = if silent.len() == all.len() { &UNANSWERED } else { &UNWELL };
    Err(Failure::new(code, some(&silent), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str, mark: u32) -> Setting {
        let is_shared = !name.starts_with("node.");
        let origin = format!("{value}.toml:{mark}");
        Setting { name: name.to_owned(), is_shared, value: Some(value.to_owned()), origin, mark }
    }

    fn nodes(all: &[&[Setting]]) -> Vec<(SocketAddr, Told)> {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        (1..).zip(all).map(|(port, told)| (at(port), Ok(told.to_vec()))).collect()
    }

    /// Each line: the setting, its value, whether it differs, and the ports.
    fn shown(all: &[(SocketAddr, Told)], with_origin: bool) -> Vec<String> {
        let told = configured(all);
        let lines = lines(&told, with_origin);
        let line = |line: &Line<'_>| {
            let value = line.setting.and_then(|told| told.value.as_deref()).unwrap_or("-");
            let ports: Vec<u16> = line.at.iter().map(SocketAddr::port).collect();
            let mark = if line.differs { "!" } else { "" };
            format!("{}={value}{mark} {ports:?}", line.name)
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn what_all_say_is_one_line_and_what_they_should_all_say_is_marked() {
        let one = [setting("cluster.groups", "4", 4), setting("node.id", "1", 1)];
        let other = [setting("cluster.groups", "4", 4), setting("node.id", "2", 2)];
        let odd = [setting("cluster.groups", "5", 5), setting("node.id", "3", 3)];
        let two = nodes(&[&one, &other]);
        let expected = ["cluster.groups=4 [1, 2]", "node.id=1 [1]", "node.id=2 [2]"];
        assert_eq!(shown(&two, false), expected);
        assert!(judge(&two, &lines(&configured(&two), false)).is_ok(), "numbers are their own");
        let three = nodes(&[&one, &odd, &other]);
        let expected = ["cluster.groups=4! [1, 3]", "cluster.groups=5! [2]"];
        assert_eq!(shown(&three, false)[..2], expected);
        let told = configured(&three);
        let failure = judge(&three, &lines(&told, false)).unwrap_err();
        assert_eq!(*failure.code, UNWELL);
        assert_eq!(failure.cause, "nodes do not say the same of cluster.groups");
    }

    #[test]
    fn who_is_known_here_and_not_there_is_marked_and_so_is_a_password_that_looks_the_same() {
        let alice = |mark| setting("users.alice", "argon2id m=8,t=1,p=1", mark);
        let all = nodes(&[&[alice(1)], &[alice(2)], &[setting("node.id", "3", 3)]]);
        let expected = [
            "users.alice=argon2id m=8,t=1,p=1! [1]",
            "users.alice=argon2id m=8,t=1,p=1! [2]",
            "users.alice=-! [3]",
            "node.id=- [1, 2]",
            "node.id=3 [3]",
        ];
        assert_eq!(shown(&all, false), expected);
    }

    #[test]
    fn origins_are_no_difference_and_are_told_apart_where_they_are_shown() {
        let mut other = setting("cluster.groups", "4", 4);
        other.origin = "elsewhere:7".to_owned();
        let all = nodes(&[&[setting("cluster.groups", "4", 4)], &[other]]);
        assert_eq!(shown(&all, false), ["cluster.groups=4 [1, 2]"]);
        assert_eq!(shown(&all, true), ["cluster.groups=4 [1]", "cluster.groups=4 [2]"]);
    }

    #[test]
    fn who_says_nothing_is_named_and_who_was_told_nothing_is_left_out() {
        let one = [setting("cluster.groups", "4", 4)];
        let mut all = nodes(&[&one, &[]]);
        assert_eq!(shown(&all, false), ["cluster.groups=4 [1]"]);
        assert!(judge(&all, &lines(&configured(&all), false)).is_ok());
        let silence = Silence { why: "connection refused".to_owned(), unknown: None };
        all.push((SocketAddr::from(([127, 0, 0, 1], 9)), Err(silence)));
        let failure = judge(&all, &lines(&configured(&all), false)).unwrap_err();
        assert_eq!(failure.cause, "127.0.0.1:9: connection refused");
        assert_eq!(*failure.code, UNWELL);
        let nobody = all.split_off(2);
        let failure = judge(&nobody, &[]).unwrap_err();
        assert_eq!(*failure.code, UNANSWERED, "nobody has answered");
    }
}
