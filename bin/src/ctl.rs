//! `trilith ctl`: what an operator asks a cluster that runs.
//!
//! `status` asks each node by itself: who it is, what it holds, what it leads. A node is asked for
//! strong answers too, which only a leader gives, so what is shown as led is led.
//!
//! `health` judges the same: `ctl/health.rs`.
//!
//! `config` asks each node what it was configured with: `ctl/config.rs`.
//!
//! `replace` gives a node that has lost its directory new replicas: `ctl/replace.rs`.
//!
//! `backup` takes what a cluster holds into a directory and gives it back: `ctl/backup.rs`.
//!
//! Which nodes are asked when none are named: `ctl/nodes.rs`.
//!
//! Not here: keys and values (`cli.rs`).

use bytes::Bytes;
use clap::{Args, Subcommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use trilith_engine::{
    command::{Level, Op, Outcome as Told, Refusal, Response, Scan},
    runtime::{Handle, Runtime, Task, queue},
    store::slots::SLOTS,
    types::{GroupId, NodeId},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish, greet},
    os::{Os, run_core},
    peer::hello::Identity,
};

use crate::{
    failure::{Failure, INTERNAL, Outcome, UNANSWERED},
    out::{Cell, Out},
    secret,
};

mod backup;
mod config;
mod health;
mod nodes;
mod replace;

use nodes::{Found, Nodes};

/// What there is to ask.
#[derive(Debug, Subcommand)]
pub enum Ctl {
    /// Says of each node who it is, what it leads and how far it is.
    Status(Status),
    /// Says whether all is well, a line for each thing that must be; ends with 3 when it is not.
    Health(Status),
    /// Shows what each node was configured with; ends with 3 when nodes differ though they should not.
    Config(config::Configured),
    /// Gives a node that has lost its directory new replicas in an empty one.
    Replace(replace::Replace),
    /// Makes a backup of a cluster that serves, verifies it, gives it to an empty one.
    #[command(subcommand)]
    Backup(backup::Backup),
}

/// Where the nodes are.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    nodes: Nodes,
    /// How long one answer is waited for.
    #[arg(long, default_value_t = 500, value_name = "MS")]
    within_ms: u64,
}

/// What one node said.
#[derive(Debug, Default)]
struct Seen {
    who: Option<Identity>,
    /// How far it is with each of its groups.
    applied: Vec<u64>,
    /// Those of them that it leads.
    leads: Vec<u32>,
    /// Who leads others, as it has heard.
    heard: BTreeMap<u32, NodeId>,
    /// Who the members are, as it was told; nothing when nobody told it, or it was not asked.
    members: Option<Vec<(NodeId, SocketAddr)>>,
    trouble: Option<String>,
    /// That it does not know who asks, where that is its trouble.
    unknown: Option<Failure>,
}

/// Does it.
pub fn run(ctl: &Ctl, out: Out) -> Outcome {
    match ctl {
        Ctl::Status(status) => status.run(out),
        Ctl::Health(status) => status.health(out),
        Ctl::Config(configured) => configured.run(out),
        Ctl::Replace(replace) => replace.run(out),
        Ctl::Backup(backup) => backup.run(out),
    }
}

impl Status {
    fn run(&self, out: Out) -> Outcome {
        let found = self.nodes.find()?;
        let all = self.ask_all(&found)?;
        let columns = [
            "at",
            "node",
            "cluster",
            "directory",
            "groups",
            "leads",
            "others_led_by",
            "applied",
            "trouble",
        ];
        let rows: Vec<_> = found.at.iter().zip(&all).map(|(at, seen)| row(*at, seen)).collect();
        out.table(&columns, &rows)?;
        judge(all)
    }

    /// Asks all nodes at once.
    fn ask_all(&self, found: &Found) -> Outcome<Vec<Seen>> {
        self.each(
            found,
            |os, at, options, within| async move { ask(&os, at, options, within).await },
        )
    }

    /// Asks all nodes at once, and answers in their order.
    fn each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        Found { at, options }: &Found,
        ask: impl Fn(Os, SocketAddr, ClientOptions, Duration) -> F,
    ) -> Outcome<Vec<T>> {
        // No file is touched: any directory will do.
        let ran = run_core(env::temp_dir(), |os| async move {
            let (said, mut heard) = queue(at.len().max(1));
            let within = Duration::from_millis(self.within_ms);
            let asked = at.iter().enumerate().map(|(number, at)| {
                let (said, asked) = (said.clone(), ask(os.clone(), *at, *options, within));
                os.task().spawn("status", async move {
                    // There is room for each.
                    let _said = said.push((number, asked.await));
                })
            });
            let asked: Vec<_> = asked.collect();
            for one in asked {
                one.join().await;
            }
            let mut all: Vec<(usize, T)> = std::iter::from_fn(|| heard.pop()).collect();
            all.sort_by_key(|(number, _)| *number);
            all.into_iter().map(|(_, told)| told).collect::<Vec<_>>()
        });
        ran.map_err(|error| Failure::new(&INTERNAL, error, "see ulimit -n"))
    }
}

/// The first few, and how many more.
fn some<T: ToString>(all: &[T]) -> String {
    let first: Vec<String> = all.iter().take(3).map(ToString::to_string).collect();
    let more = if all.len() > 3 { format!(" and {} more", all.len() - 3) } else { String::new() };
    first.join(", ") + &more
}

fn row(at: SocketAddr, seen: &Seen) -> Vec<Cell> {
    let who = |say: fn(&Identity) -> Cell| seen.who.as_ref().map_or(Cell::Absent, say);
    let others: BTreeSet<u64> = seen.heard.values().map(|node| node.0).collect();
    let others = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // Who has not said anything has not said that it is nothing.
    let told = |is_told: bool, what: Cell| if is_told { what } else { Cell::Absent };
    let is_any = !seen.applied.is_empty();
    vec![
        at.to_string().into(),
        who(|who| who.node.0.into()),
        who(|who| who.cluster.to_string().into()),
        who(|who| who.directory.to_string().into()),
        told(seen.who.is_some(), seen.applied.len().into()),
        told(is_any, seen.leads.len().into()),
        if others.is_empty() { Cell::Absent } else { others.into() },
        told(is_any, seen.applied.iter().sum::<u64>().into()),
        seen.trouble.as_deref().map_or(Cell::Absent, Cell::from),
    ]
}

/// That no node knows who asks, and who that is, if so.
fn unknown(all: &mut [Seen]) -> Option<Failure> {
    let is_known = all.iter().any(|seen| seen.who.is_some());
    all.iter_mut().find_map(|seen| seen.unknown.take()).filter(|_| !is_known)
}

/// Who leads groups that nobody leads who was asked, as those have heard. One who was asked and says
/// otherwise is believed; so it is worth nothing where somebody has not answered.
fn hearsay(all: &[Seen]) -> BTreeMap<u32, NodeId> {
    let asked: Option<BTreeSet<NodeId>> = all.iter().map(|seen| Some(seen.who?.node)).collect();
    let Some(asked) = asked else { return BTreeMap::new() };
    let told = all.iter().flat_map(|seen| &seen.heard).filter(|(_, node)| !asked.contains(node));
    told.map(|(group, node)| (*group, *node)).collect()
}

/// The groups that have a leader.
fn led(all: &[Seen]) -> BTreeSet<u32> {
    let own = all.iter().flat_map(|seen| seen.leads.iter().copied());
    own.chain(hearsay(all).into_keys()).collect()
}

/// Every group must have a leader, and all nodes must be of one cluster.
fn judge(mut all: Vec<Seen>) -> Outcome {
    let clusters: BTreeSet<_> =
        all.iter().filter_map(|seen| seen.who).map(|who| who.cluster).collect();
    if clusters.len() > 1 {
        let cause = "these nodes are of several clusters";
        return Err(Failure::new(&UNANSWERED, cause, "compare --cluster, --members and --groups"));
    }
    if let Some(failure) = unknown(&mut all) {
        return Err(failure);
    }
    let groups = all.iter().map(|seen| seen.applied.len() as u32).max().unwrap_or(0);
    let led = led(&all);
    let lacking = (1..=groups).find(|group| !led.contains(group));
    if groups > 0 && lacking.is_none() {
        return Ok(());
    }
    let cause = match lacking {
        Some(group) => format!("none of these nodes leads group {group}"),
        None => "no node answered".to_owned(),
    };
    let next = "name all nodes with --at; see whether a majority runs, and what they log";
    Err(Failure::new(&UNANSWERED, cause, next))
}

async fn ask(os: &Os, at: SocketAddr, options: ClientOptions, within: Duration) -> Seen {
    let mut seen = Seen::default();
    match greet(os, at, options.secret, within).await {
        Ok(who) => seen.who = Some(who),
        Err(trouble) => {
            seen.trouble = Some(trouble.to_string());
            seen.unknown = trouble.is_about_secrets().then(|| secret::unknown(at, &trouble));
            return seen;
        }
    }
    let client = Arc::new(Client::start(os, &[at], options));
    for group in 1..=u32::from(SLOTS) {
        let Response { told, outcome, .. } = scan(&client, group, Level::Eventual, within).await;
        match outcome {
            Told::Ok(_) => seen.applied.push(told.applied.0),
            Told::Refused(Refusal::NoGroup) => break,
            Told::Refused(refusal) => {
                seen.trouble = Some(refusal.to_string());
                break;
            }
            Told::Unknown => {
                seen.trouble = Some(format!("no answer about group {group} in time"));
                break;
            }
        }
    }
    let (said, mut heard) = queue(seen.applied.len().max(1));
    let asked = (1..=seen.applied.len() as u32).map(|group| {
        let (client, said) = (Arc::clone(&client), said.clone());
        os.task().spawn("leads", async move {
            let leader = match scan(&client, group, Level::Strong, within).await.outcome {
                Told::Ok(_) => None,
                Told::Refused(Refusal::NotLeader(Some(leader))) => Some(leader),
                Told::Refused(_) | Told::Unknown => return,
            };
            // There is room for each.
            let _said = said.push((group, leader));
        })
    });
    let asked: Vec<_> = asked.collect();
    for one in asked {
        one.join().await;
    }
    for (group, leader) in std::iter::from_fn(|| heard.pop()) {
        match leader {
            None => seen.leads.push(group),
            Some(leader) => _ = seen.heard.insert(group, leader),
        }
    }
    seen
}

/// The smallest question that there is about a group.
async fn scan(client: &Client<Os>, group: u32, level: Level, within: Duration) -> Response {
    let scan = Scan::of_prefix(GroupId(group), &Bytes::new(), 1, 1);
    client.call(Op::Scan(scan), Wish { level, staleness_ms: 0, within }).await
}
