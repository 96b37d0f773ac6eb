//! `trilith server`: one node of a cluster, over real files and sockets, until it is told to stop.
//!
//! Not here: how a node runs as a process and fails as one (`member.rs`), one that is alone
//! (`standalone.rs`), what can be said of it and where (`config`), clients (`cli.rs`).

use clap::Args;
use std::{fs, time::Duration};
use trilith_engine::{shard::ShardOptions, types::NodeId};
use trilith_net::{
    facts::Host,
    node::{Cluster, NodeOptions},
};

use crate::{
    config::{Flags, SETTINGS, Setting, Settings},
    failure::{CONFIGURATION, Failure, Outcome},
    log,
    member::{Member, check_exposure, misconfigured},
    out::Out,
    secret,
};

/// Which node of which cluster, and where.
#[derive(Args, Debug)]
pub struct Server {
    #[command(flatten)]
    flags: Flags<false>,
    /// Journals as small as the simulator's, for who wants to see them rotate.
    #[arg(long, hide = true)]
    tiny: bool,
}

/// Runs it to its end.
pub fn run(server: &Server, level: Option<tracing::Level>, out: Out) -> Outcome {
    let resolved = server.flags.resolve_all(level)?;
    let settings = &resolved.settings;
    log::begin(settings.log_level, settings.log_format)?;
    let Some(data) = settings.data.clone() else { return Err(unsaid(settings)) };
    let (mut options, farewell) = (plan(settings)?, Duration::from_millis(settings.farewell_ms));
    options.settings = Flags::<false>::told(&resolved);
    if server.tiny {
        make_tiny(&mut options.shard);
    }
    Member { options, cluster: resolved.settings.cluster, data, farewell }.run(out)
}

/// The node that these settings are of.
///
/// # Errors
/// What they lack, or what cannot be.
pub fn plan(settings: &Settings) -> Outcome<NodeOptions> {
    let (Some(node), Some(members)) = (settings.node, &settings.members) else {
        return Err(unsaid(settings));
    };
    let cluster = Cluster::new(&settings.cluster, members.0.clone(), settings.groups);
    let cluster = cluster.map_err(|why| misconfigured(&why))?;
    let mut options = NodeOptions::new(NodeId(node), cluster);
    apply(settings, &mut options)?;
    let election = Duration::from_millis(settings.election_ms);
    let raft = &mut options.shard.raft;
    raft.election = election;
    raft.heartbeat = election / 10;
    raft.drift_ppm = settings.drift_ppm;
    check_exposure(&options, settings.insecure)?;
    Ok(options)
}

/// What a server cannot do without, and how to say it.
fn unsaid(settings: &Settings) -> Failure {
    let lacking = lacking(settings);
    let names: Vec<_> = lacking.iter().map(|setting| setting.name).collect();
    let next = format!("say {}, or name a file with --config", as_flags(&lacking));
    Failure::new(&CONFIGURATION, format!("nothing says {}", names.join(", ")), next)
}

/// Of what a server cannot do without, what nothing says.
pub fn lacking(settings: &Settings) -> Vec<&'static Setting> {
    let needed = ["node.id", "cluster.members", "node.data"];
    let is_lacking =
        |setting: &&Setting| needed.contains(&setting.name) && (setting.shown)(settings).is_none();
    SETTINGS.iter().filter(is_lacking).collect()
}

/// How to say them.
pub fn as_flags(settings: &[&Setting]) -> String {
    let flag = |setting: &&Setting| format!("--{} {}", setting.flag, setting.kind);
    settings.iter().map(flag).collect::<Vec<_>>().join(" ")
}

/// What every node takes from its settings, alone or not.
///
/// # Errors
/// When the cluster's secret cannot be read.
pub fn apply(settings: &Settings, options: &mut NodeOptions) -> Outcome {
    options.listen = settings.listen;
    (options.resp, options.http, options.text) = (settings.resp, settings.http, settings.text);
    options.http_names = settings.http_hosts.clone().map_or_else(Vec::new, |names| names.0);
    options.users = settings.users.clone();
    options.links.secrets = secret::said(settings)?;
    options.guests_within = Duration::from_millis(settings.within_ms);
    let shard = &mut options.shard;
    shard.retain_bytes = settings.retain_bytes;
    shard.cache_bytes = settings.cache_bytes;
    shard.hot_bytes = settings.hot_bytes;
    shard.compaction_bytes_per_second = settings.compaction_rate;
    shard.scrub_bytes_per_second = settings.scrub_rate;
    shard.journal.segment_bytes_max = settings.segment_bytes;
    shard.journal.reserve_bytes = settings.reserve_bytes;
    options.host = Host { resident_bytes, log_level: log::level, set_log_level: log::set_level };
    Ok(())
}

/// The memory that this process holds; 0 where there is no `/proc`.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 10)
}

/// Within seconds journals rotate, are compacted and cut, and who was away needs a snapshot.
const fn make_tiny(shard: &mut ShardOptions) {
    shard.retain_bytes = 32 << 10;
    shard.cache_bytes = 4 << 10;
    shard.hot_bytes = 16 << 10;
    shard.journal.first_segment_bytes = 16 << 10;
    shard.journal.segment_bytes_max = 64 << 10;
    shard.journal.manifest_bytes = 8 << 10;
    shard.journal.reserve_bytes = 64 << 10;
    shard.compaction.dead_bytes_min = 16 << 10;
}
