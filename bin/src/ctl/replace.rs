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
    net::SocketAddr,
    str::FromStr,
    time::{Duration, Instant},
};
use trilith_engine::{
    command::Stage,
    runtime::{Clock, Runtime},
    types::{NodeId, Uuid},
};
use trilith_net::{
    client::{ClientOptions, Going, Replacement, Standing, greet_all},
    os::{Os, run_core},
};

use crate::{
    failure::{
        CONFIGURATION, Failure, INTERNAL, NO_NODE, NOT_SHOWN, Outcome, SERVES, UNANSWERED,
        UNFINISHED,
    },
    out::Out,
    progress::Progress,
    secret::{self, Shared},
};

/// How often everybody is asked.
const EVERY: Duration = Duration::from_millis(200);
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(500);
/// A node that is gone is believed to be there for so long: until its silence is noticed.
const SILENCE: Duration = Duration::from_millis(2500);

/// Which node, and where the others are.
#[derive(Args, Debug)]
pub struct Replace {
    /// The node that has lost its directory.
    node: u64,
    /// The directory that takes the lost one's place; without it the one with which the node shows
    /// itself.
    #[arg(long, value_name = "UUID")]
    directory: Option<Directory>,
    /// The nodes: each is asked by itself, so all of them, or all that are left.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7381", value_name = "IP:PORT,…")]
    at: Vec<SocketAddr>,
    /// How long to wait until it is done. It goes on when it is asked again.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    shared: Shared,
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
        let options = self.shared.client()?;
        // No file is touched: any directory will do.
        let ran = run_core(env::temp_dir(), |os| async move {
            let told = greet_all(&os, &self.at, options.secret, options.connect_within).await;
            match secret::stranger(&self.at, &told) {
                Some(failure) => Err(failure),
                None => Ok(self.drive(&os, options).await),
            }
        });
        let ended = ran.map_err(|error| Failure::new(&INTERNAL, error, "see ulimit -n"))??;
        let (directory, groups) = ended.map_err(|standing| self.failure(standing))?;
        let node = self.node;
        if out.is_json() {
            return out.facts(&[
                ("node", node.into()),
                ("directory", directory.to_string().into()),
                ("groups", groups.into()),
                ("replaced", groups.into()),
            ]);
        }
        out.say(&format!("node {node}: {groups} of {groups} groups have their new replica"))?;
        out.next(&format!("trilith ctl status --at {}", self.nodes()));
        Ok(())
    }

    /// Asks until it is done, or cannot be, or the time is over: how it stands then.
    async fn drive(&self, os: &Os, options: ClientOptions) -> Result<(Uuid, u32), Standing> {
        let named = self.directory.map(|directory| directory.0);
        let mut replacement = Replacement::new(os, &self.at, options, NodeId(self.node), named);
        let (mut progress, mut said) = (None, None);
        let (began, mut served) = (Instant::now(), None);
        loop {
            let standing = replacement.step(ANSWER).await;
            let is_over = began.elapsed() >= Duration::from_secs(self.timeout);
            if !matches!(standing, Standing::Serves(_)) {
                served = None;
            }
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
                standing if is_over => return Err(standing),
                Standing::Serves(_) => {
                    let since = *served.get_or_insert_with(Instant::now);
                    if since.elapsed() >= SILENCE {
                        return Err(standing);
                    }
                }
                waits => {
                    if said.as_ref() != Some(&waits) {
                        eprintln!("node {}: {}; waiting", self.node, cause(&waits));
                        said = Some(waits);
                    }
                }
            }
            os.clock().sleep_until(os.clock().now() + EVERY).await;
        }
    }

    fn nodes(&self) -> String {
        let at: Vec<String> = self.at.iter().map(SocketAddr::to_string).collect();
        at.join(",")
    }

    /// Why it was not done, and what to do.
    fn failure(&self, standing: Standing) -> Failure {
        let (node, seconds) = (self.node, self.timeout);
        let again = format!("trilith ctl replace {node} --at {}", self.nodes());
        let cause = format!("node {node}: {}", cause(&standing));
        match standing {
            Standing::Unanswered => {
                let next = "see whether the nodes run, and name all of them with --at";
                Failure::new(&UNANSWERED, cause, next)
            }
            Standing::NotAMember => {
                let next =
                    format!("see who belongs to it: trilith ctl status --at {}", self.nodes());
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
