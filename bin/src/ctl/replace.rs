//! `trilith ctl replace`: a node that has lost its directory gets new replicas in an empty one.
//!
//! The others remember a node by its directory and refuse another one, so the node starts, is
//! refused and says so. This command tells the cluster that the new directory counts from now on,
//! and ends when each group has its new replica. It may be ended and begun again at any moment.
//!
//! Not here: who is asked and what the answers mean (`trilith_net::client::Replacement`).

use clap::Args;
use std::{
    env,
    str::FromStr,
    time::{Duration, Instant},
};
use trilith_engine::{
    command::Stage,
    runtime::{Clock, Runtime},
    types::{NodeId, Uuid},
};
use trilith_net::{
    client::{Going, Replacement, Standing, greet_all},
    os::{Os, run_core},
};

use super::nodes::{Found, Nodes};
use crate::{
    failure::{
        CONFIGURATION, Failure, INTERNAL, NO_NODE, NOT_SHOWN, Outcome, SERVES, UNANSWERED,
        UNFINISHED,
    },
    out::Out,
    progress::Progress,
    secret,
};

/// How often everybody is asked.
const EVERY: Duration = Duration::from_millis(200);
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(500);
/// A node that is gone is believed to be there for so long: until its silence is noticed.
const SILENCE: Duration = Duration::from_millis(2500);
/// Nodes of which not one has ever answered are waited for so long.
const UNHEARD: Duration = Duration::from_secs(3);

/// Which node, and where the others are.
#[derive(Args, Debug)]
pub struct Replace {
    /// The node that has lost its directory.
    node: u64,
    /// The directory that takes the lost one's place; without it the one with which the node shows
    /// itself.
    #[arg(long, value_name = "UUID")]
    directory: Option<Directory>,
    #[command(flatten)]
    nodes: Nodes,
    /// How long to wait until it is done. It goes on when it is asked again.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// The same, of a cluster whose nodes are known: all of them, or all that are left.
struct Work<'a> {
    asked: &'a Replace,
    found: Found,
}

/// A directory's uuid, as logs have it.
#[derive(Clone, Copy, Debug)]
struct Directory(Uuid);

impl FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let number = number.ok_or("a directory's uuid is 32 digits of hex, as the node logs it")?;
        Ok(Self(Uuid(number.to_be_bytes())))
    }
}

impl Replace {
    pub(super) fn run(&self, out: Out) -> Outcome {
        Work { asked: self, found: self.nodes.find()? }.run(out)
    }
}

impl Work<'_> {
    fn run(&self, out: Out) -> Outcome {
        let Found { at, options } = &self.found;
        // No file is touched: any directory will do.
        let ran = run_core(env::temp_dir(), |os| async move {
            let told = greet_all(&os, at, options.secret, options.connect_within).await;
            match secret::stranger(at, &told) {
                Some(failure) => Err(failure),
                None => Ok(self.drive(&os).await),
            }
        });
        let ended = ran.map_err(|error| Failure::new(&INTERNAL, error, "see ulimit -n"))??;
        let (directory, groups) = ended.map_err(|standing| self.failure(standing))?;
        let node = self.asked.node;
        if out.is_json() {
            return out.facts(&[
                ("node", node.into()),
                ("directory", directory.to_string().into()),
                ("groups", groups.into()),
                ("replaced", groups.into()),
            ]);
        }
        out.say(&format!("node {node}: {groups} of {groups} groups have their new replica"))?;
        out.next(&format!("trilith ctl status --at {}", self.found.named()));
        Ok(())
    }

    /// Asks until it is done, or cannot be, or the time is over: how it stands then.
    async fn drive(&self, os: &Os) -> Result<(Uuid, u32), Standing> {
        let Replace { node, directory, timeout, .. } = self.asked;
        let (node, named) = (NodeId(*node), directory.map(|directory| directory.0));
        let Found { at, options } = &self.found;
        let mut replacement = Replacement::new(os, at, *options, node, named);
        let (mut progress, mut said) = (None, None);
        let (began, mut served, mut is_heard) = (Instant::now(), None, false);
        loop {
            let standing = replacement.step(ANSWER).await;
            let is_over = began.elapsed() >= Duration::from_secs(*timeout);
            if !matches!(standing, Standing::Serves(_)) {
                served = None;
            }
            is_heard |= standing != Standing::Unanswered;
            match standing {
                Standing::Done { directory, groups } => {
                    progress.into_iter().for_each(Progress::finish);
                    return Ok((directory, groups));
                }
                Standing::Going(going) if !is_over => {
                    let total = going.groups.into();
                    let progress = progress.get_or_insert_with(|| Progress::new("groups", total));
                    progress.at(going.done.into());
                }
                Standing::NotAMember => return Err(standing),
                Standing::Unanswered if !is_heard && began.elapsed() >= UNHEARD => {
                    return Err(standing);
                }
                standing if is_over => return Err(standing),
                Standing::Serves(_) => {
                    let since = *served.get_or_insert_with(Instant::now);
                    if since.elapsed() >= SILENCE {
                        return Err(standing);
                    }
                }
                waits => {
                    if said.as_ref() != Some(&waits) {
                        eprintln!("node {node}: {}; waiting", cause(&waits));
                        said = Some(waits);
                    }
                }
            }
            os.clock().sleep_until(os.clock().now() + EVERY).await;
        }
    }

    /// Why it was not done, and what to do.
    fn failure(&self, standing: Standing) -> Failure {
        let Replace { node, timeout: seconds, .. } = self.asked;
        let again = format!("trilith ctl replace {node} --at {}", self.found.named());
        let cause = format!("node {node}: {}", cause(&standing));
        match standing {
            Standing::Unanswered => {
                let next = "see whether the nodes run, and name all of them with --at";
                Failure::new(&UNANSWERED, cause, next)
            }
            Standing::NotAMember => {
                let next = format!(
                    "see who belongs to it: trilith ctl status --at {}",
                    self.found.named()
                );
                Failure::new(&NO_NODE, cause, next)
            }
            Standing::Serves(_) => {
                let next =
                    "to replace it all the same, stop it and start it with an empty directory";
                Failure::new(&SERVES, cause, next)
            }
            Standing::NotShown => {
                let next = format!("start node {node} with an empty directory, then {again}");
                Failure::new(&NOT_SHOWN, format!("{cause}, in {seconds} s"), next)
            }
            Standing::Several(directories) => {
                let first = directories.first().copied().unwrap_or_default();
                let next = format!("name the one that it has now: {again} --directory {first}");
                Failure::new(&CONFIGURATION, cause, next)
            }
            Standing::Going(going) => {
                let next = if going.leaderless.is_empty() {
                    format!("see that node {node} runs, then {again}")
                } else {
                    format!("see that a majority runs, name all nodes with --at, then {again}")
                };
                Failure::new(&UNFINISHED, format!("{cause}, after {seconds} s"), next)
            }
            Standing::Done { .. } => Failure::new(&INTERNAL, cause, "report it"),
        }
    }
}

/// How it stands, in words.
fn cause(standing: &Standing) -> String {
    match standing {
        Standing::Unanswered => "no node answers".to_owned(),
        Standing::NotAMember => "nobody of that number belongs to the cluster".to_owned(),
        Standing::Serves(directory) => format!("it serves, with its directory {directory}"),
        Standing::NotShown => "it has not come with a new directory".to_owned(),
        Standing::Several(directories) => {
            let all: Vec<String> = directories.iter().map(Uuid::to_string).collect();
            format!("it came with several new directories, {}", all.join(" and "))
        }
        Standing::Going(going) => how_far(going),
        Standing::Done { groups, .. } => {
            format!("{groups} of {groups} groups have their new replica")
        }
    }
}

fn how_far(going: &Going) -> String {
    let Going { groups, done, waiting, leaderless, .. } = going;
    let mut told = format!("{done} of {groups} groups have their new replica");
    if let Some(first) = leaderless.first() {
        let count = leaderless.len();
        told.push_str(&format!("; {count} have no leader, group {first} among them"));
    }
    if let Some((group, stage)) = waiting.first_key_value() {
        let is = match stage {
            Stage::Absent => "has no new replica yet",
            Stage::Learns => "brings its new replica up to date",
            Stage::Changes | Stage::Settled => "gives its new replica the vote",
        };
        told.push_str(&format!("; group {group} {is}"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_as_it_is_logged() {
        let uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(uuid.to_string().parse::<Directory>().unwrap().0, uuid);
        for wrong in ["", "12", "g0000000000000000000000000000000", &"0".repeat(33)] {
            assert!(wrong.parse::<Directory>().is_err(), "{wrong}");
        }
    }
}
