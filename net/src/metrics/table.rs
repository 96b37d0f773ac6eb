//! The list of metrics.
//!
//! Whoever adds one adds a row here, and it is in the text, on the page and on the dashboard. Rows of
//! one part stand together.
//!
//! Not here: how it is written (`text.rs`), rules that name metrics (`bin`).

use std::time::Duration;

use trilith_engine::{
    command::Refusal,
    shard::{Family, Gauge as Level},
    types::Size,
};

use super::{
    Kind::{self, Counter, Gauge, Histogram},
    Metric,
    Says::{self, Node, Shard},
    text::Value,
};
use crate::meters::{PortMeter, Which};

const fn row(name: &'static str, kind: Kind, help: &'static str, says: Says) -> Metric {
    Metric { name, kind, help, labels: &[], says }
}

const fn with(labels: &'static [&'static str], metric: Metric) -> Metric {
    Metric { labels, ..metric }
}

/// The ports, by their names.
const PORTS: [Which; 4] = [Which::Peer, Which::Resp, Which::Http, Which::Text];

/// What a port says, for each.
const fn of_ports(name: &'static str, kind: Kind, help: &'static str, says: Says) -> Metric {
    with(&["port"], row(name, kind, help, says))
}

/// Nothing is wrong when there are as many of these as there may be: every group may have one, or
/// it is memory that is there to be used.
const MAY_BE_FULL: [&str; 5] =
    ["timers", "unsaved groups", "held groups", "stuck groups", "hot bytes"];

macro_rules! each_port {
    ($says:expr) => {
        Node(|seen, out| {
            let says: fn(&PortMeter) -> u64 = $says;
            for which in PORTS {
                out.of(&[&which.name()], says(seen.meters.port(which)));
            }
        })
    };
}

/// What a connection to another node says, for each.
const fn of_links(name: &'static str, kind: Kind, help: &'static str, says: Says) -> Metric {
    with(&["peer"], row(name, kind, help, says))
}

macro_rules! each_link {
    ($says:ident) => {
        Node(|seen, out| seen.links.iter().for_each(|(node, link)| out.of(&[&node.0], link.$says)))
    };
}

/// Every metric that there is.
pub const METRICS: &[Metric] = &[
    with(
        &["version", "node"],
        row(
            "trilith_build_info",
            Gauge,
            "Which trilith this is, and which node of its cluster",
            Node(|seen, out| out.of(&[&seen.version, &seen.node.0], 1_u64)),
        ),
    ),
    row(
        "trilith_node_start_time_seconds",
        Gauge,
        "When the node began to serve, since 1970",
        Node(|seen, out| out.is(Duration::from_millis(seen.began.0))),
    ),
    row(
        "trilith_node_uptime_seconds",
        Gauge,
        "How long the node has served",
        Node(|seen, out| out.is(seen.uptime)),
    ),
    row(
        "trilith_core_look_age_seconds",
        Gauge,
        "How old what the node says of its groups, journal and requests is; more than a moment when its event loop did not answer in time",
        Node(|seen, out| out.is(seen.shard_age)),
    ),
    row(
        "trilith_core_turns_total",
        Counter,
        "Turns of the event loop",
        Shard(|shard, out| out.is(shard.counts.turns)),
    ),
    row(
        "trilith_core_timer_delay_seconds",
        Histogram,
        "How late timers fired: how long the event loop did not come to them",
        Shard(|shard, out| out.spread(&[], &shard.counts.late)),
    ),
    // Requests.
    with(
        &["family", "outcome"],
        row(
            "trilith_shard_requests_total",
            Counter,
            "Requests that this node's groups were asked and have answered; a request that was sent on was refused here, and commands that a Redis client sent together may share one",
            Shard(|shard, out| {
                for (family, asks) in Family::ALL.iter().zip(&shard.counts.asks) {
                    let of = asks.outcomes;
                    for (outcome, count) in
                        [("ok", of.done), ("refused", of.refused), ("unknown", of.unknown)]
                    {
                        out.of(&[&family.name(), &outcome], count);
                    }
                }
            }),
        ),
    ),
    with(
        &["family"],
        row(
            "trilith_shard_request_duration_seconds",
            Histogram,
            "How long requests took that were done, from their arrival at the group to their answer",
            Shard(|shard, out| {
                for (family, asks) in Family::ALL.iter().zip(&shard.counts.asks) {
                    out.spread(&[&family.name()], &asks.took);
                }
            }),
        ),
    ),
    with(
        &["reason"],
        row(
            "trilith_shard_refusals_total",
            Counter,
            "Requests that were refused, by the code that they were given; NOT_LEADER is asked elsewhere at once",
            Shard(|shard, out| {
                for (refusal, count) in Refusal::ALL.iter().zip(shard.counts.refusals) {
                    out.of(&[&refusal.code()], count);
                }
            }),
        ),
    ),
    row(
        "trilith_shard_cuts_opened_total",
        Counter,
        "Moments of groups that were held here for a backup",
        Shard(|shard, out| out.is(shard.counts.cuts_opened)),
    ),
    row(
        "trilith_shard_cuts_given_up_total",
        Counter,
        "Those that were let go of before anybody closed them: nobody asked, a value was damaged, or the disk was full",
        Shard(|shard, out| out.is(shard.counts.cuts_given_up)),
    ),
    row(
        "trilith_shard_requests_waiting",
        Gauge,
        "Requests that were not answered yet",
        Shard(|shard, out| out.is(shard.sizes.requests.now)),
    ),
    row(
        "trilith_shard_request_waiting_bytes",
        Gauge,
        "What those weigh that are not entries of a log yet",
        Shard(|shard, out| out.is(shard.sizes.request_bytes.now)),
    ),
    with(
        &["limit"],
        row(
            "trilith_shard_limit_used_ratio",
            Gauge,
            "How much of what there may be there is; at 1 requests are refused or made to wait",
            Shard(|shard, out| {
                let is_limit = |gauge: &Level| {
                    gauge.size.most < Size::UNBOUNDED && !MAY_BE_FULL.contains(&gauge.name)
                };
                for gauge in shard.sizes.each().filter(is_limit) {
                    out.of(&[&gauge.name], Value::of_size(gauge.size));
                }
            }),
        ),
    ),
    // What is held.
    row(
        "trilith_store_keys",
        Gauge,
        "Keys that this node holds, of all its groups, with those that have been over for a minute at most",
        Shard(|shard, out| out.is(shard.sizes.keys.now)),
    ),
    row(
        "trilith_store_expired_keys_total",
        Counter,
        "Keys that went because their time was over",
        Shard(|shard, out| out.is(shard.counts.expired)),
    ),
    row(
        "trilith_store_index_bytes",
        Gauge,
        "Memory of the index of keys",
        Shard(|shard, out| out.is(shard.sizes.index_bytes.now)),
    ),
    row(
        "trilith_store_hot_bytes",
        Gauge,
        "Memory of values that were read lately",
        Shard(|shard, out| out.is(shard.sizes.hot_bytes.now)),
    ),
    row(
        "trilith_store_hot_reads_total",
        Counter,
        "Values that were read from there and not from the disk",
        Shard(|shard, out| out.is(shard.counts.hot_reads)),
    ),
    row(
        "trilith_store_cached_bytes",
        Gauge,
        "Memory of entries of logs",
        Shard(|shard, out| out.is(shard.sizes.cached_bytes.now)),
    ),
    // Raft.
    with(
        &["role"],
        row(
            "trilith_raft_groups",
            Gauge,
            "Groups of which this node has a replica, by what that is; leaderless is one that knows of no leader",
            Shard(|shard, out| {
                let roles = shard.roles;
                for (role, count) in [
                    ("leader", roles.leaders),
                    ("follower", roles.followers),
                    ("learner", roles.learners),
                    ("leaderless", roles.leaderless),
                ] {
                    out.of(&[&role], count);
                }
            }),
        ),
    ),
    row(
        "trilith_raft_campaigns_total",
        Counter,
        "How often a replica here asked for votes",
        Shard(|shard, out| out.is(shard.counts.campaigns)),
    ),
    row(
        "trilith_raft_leaderships_total",
        Counter,
        "How often a replica here came to lead; summed over all nodes, the changes of leaders",
        Shard(|shard, out| out.is(shard.counts.led)),
    ),
    row(
        "trilith_raft_entries_proposed_total",
        Counter,
        "Entries that clients' requests became here",
        Shard(|shard, out| out.is(shard.counts.proposed)),
    ),
    row(
        "trilith_raft_clock_entries_total",
        Counter,
        "Entries that say nothing but what time it is, because a key was over",
        Shard(|shard, out| out.is(shard.counts.clock_entries)),
    ),
    row(
        "trilith_raft_entries_committed_total",
        Counter,
        "Entries of all groups that became known as committed here",
        Shard(|shard, out| out.is(shard.counts.committed)),
    ),
    row(
        "trilith_raft_entries_applied_total",
        Counter,
        "Entries that the states of the groups here have taken",
        Shard(|shard, out| out.is(shard.counts.applied)),
    ),
    row(
        "trilith_raft_unapplied_entries",
        Gauge,
        "Committed entries that the state here lacks, in the group that lacks most",
        Shard(|shard, out| out.is(shard.unapplied)),
    ),
    with(
        &["peer"],
        row(
            "trilith_raft_lacking_entries",
            Gauge,
            "Entries that a node's replica lacks of a log that is led here, where it lacks most",
            Shard(|shard, out| {
                for (node, lacks) in &shard.lacking {
                    out.of(&[&node.0], *lacks);
                }
            }),
        ),
    ),
    row(
        "trilith_raft_snapshots_begun_total",
        Counter,
        "Snapshots that were begun to be sent from here",
        Shard(|shard, out| out.is(shard.counts.snapshots_begun)),
    ),
    row(
        "trilith_raft_snapshots_sent_total",
        Counter,
        "Snapshots that arrived where they were sent from here",
        Shard(|shard, out| out.is(shard.counts.snapshots_sent)),
    ),
    row(
        "trilith_raft_snapshots_installed_total",
        Counter,
        "Snapshots that were taken in here",
        Shard(|shard, out| out.is(shard.counts.snapshots_installed)),
    ),
    row(
        "trilith_raft_node_slow",
        Gauge,
        "1 while the node is much slower than others, in its disk or its processor, and leads nothing that they could",
        Shard(|shard, out| out.is(shard.is_slow)),
    ),
    row(
        "trilith_raft_slow_spells_total",
        Counter,
        "How often it became so",
        Shard(|shard, out| out.is(shard.counts.slowed)),
    ),
    row(
        "trilith_raft_leaderships_handed_over_total",
        Counter,
        "Leaderships that it handed over because of that",
        Shard(|shard, out| out.is(shard.counts.handed_over)),
    ),
    // The journal.
    row(
        "trilith_journal_frames_total",
        Counter,
        "Frames written: each is one batch, one write and one sync",
        Shard(|shard, out| out.is(shard.counts.journal.frames)),
    ),
    row(
        "trilith_journal_records_total",
        Counter,
        "Records in them; by frames, how large batches are",
        Shard(|shard, out| out.is(shard.counts.journal.records)),
    ),
    row(
        "trilith_journal_written_bytes_total",
        Counter,
        "Bytes of frames",
        Shard(|shard, out| out.is(shard.counts.journal.frame_bytes)),
    ),
    row(
        "trilith_journal_write_duration_seconds",
        Histogram,
        "How long handing a frame to the device took",
        Shard(|shard, out| out.spread(&[], &shard.counts.journal.writes)),
    ),
    row(
        "trilith_journal_sync_duration_seconds",
        Histogram,
        "How long the device took to say that a frame is durable",
        Shard(|shard, out| out.spread(&[], &shard.counts.journal.syncs)),
    ),
    row(
        "trilith_journal_rotations_total",
        Counter,
        "How often another segment was begun",
        Shard(|shard, out| out.is(shard.counts.journal.rotations)),
    ),
    row(
        "trilith_journal_unprepared_rotations_total",
        Counter,
        "How often none was prepared for that, and writes waited",
        Shard(|shard, out| out.is(shard.counts.journal.unprepared)),
    ),
    row(
        "trilith_journal_manifest_edits_total",
        Counter,
        "Changes of which segments there are",
        Shard(|shard, out| out.is(shard.counts.journal.edits)),
    ),
    row(
        "trilith_journal_refused_frames_total",
        Counter,
        "Frames for which there was no room; they are tried again",
        Shard(|shard, out| out.is(shard.counts.journal.refused)),
    ),
    row(
        "trilith_journal_segments",
        Gauge,
        "Segments that hold something",
        Shard(|shard, out| out.is(shard.journal.segments)),
    ),
    row(
        "trilith_journal_unsettled_segments",
        Gauge,
        "Those that opening would read from end to end",
        Shard(|shard, out| out.is(shard.sizes.unsettled_segments.now)),
    ),
    row(
        "trilith_journal_spare_segments",
        Gauge,
        "Segments that are prepared for what comes next",
        Shard(|shard, out| out.is(shard.journal.spares)),
    ),
    row(
        "trilith_journal_files_bytes",
        Gauge,
        "The node's files, all of them",
        Shard(|shard, out| out.is(shard.journal.file_bytes)),
    ),
    row(
        "trilith_journal_retired_bytes",
        Gauge,
        "Files that nothing needs any more and that are still there",
        Shard(|shard, out| out.is(shard.journal.retired_bytes)),
    ),
    row(
        "trilith_journal_reserve_bytes",
        Gauge,
        "What of the disk is kept for what makes room",
        Shard(|shard, out| out.is(shard.journal.reserve_bytes)),
    ),
    // The disk.
    row(
        "trilith_disk_full",
        Gauge,
        "1 while new writes are refused for want of room",
        Shard(|shard, out| out.is(shard.is_full)),
    ),
    row(
        "trilith_disk_free_bytes",
        Gauge,
        "What the node may still use of its disk",
        Node(|seen, out| seen.space.iter().for_each(|space| out.is(space.free_bytes))),
    ),
    row(
        "trilith_disk_size_bytes",
        Gauge,
        "How large that is",
        Node(|seen, out| seen.space.iter().for_each(|space| out.is(space.total_bytes))),
    ),
    // Compaction.
    row(
        "trilith_compaction_begun_total",
        Counter,
        "Compactions that were begun",
        Shard(|shard, out| out.is(shard.counts.compactions_begun)),
    ),
    row(
        "trilith_compaction_done_total",
        Counter,
        "Compactions that gave room back",
        Shard(|shard, out| out.is(shard.counts.compactions)),
    ),
    row(
        "trilith_compaction_segments_total",
        Counter,
        "Segments that went with them",
        Shard(|shard, out| out.is(shard.counts.segments_dropped)),
    ),
    row(
        "trilith_compaction_copied_bytes_total",
        Counter,
        "What of those was live and was written again",
        Shard(|shard, out| out.is(shard.counts.compacted_bytes)),
    ),
    // Damage.
    with(
        &["by"],
        row(
            "trilith_damage_found_total",
            Counter,
            "Damage that opening, reading everything, or using a value has found; a value that reading everything has found counts again as one",
            Shard(|shard, out| {
                let counts = &shard.counts;
                out.of(&[&"opening"], counts.damage_opened);
                out.of(&[&"scrub"], counts.damage_scrubbed);
                out.of(&[&"value"], counts.values_broken);
            }),
        ),
    ),
    with(
        &["what"],
        row(
            "trilith_damage_mended_total",
            Counter,
            "Values that can be read again, and entries of logs that were written again",
            Shard(|shard, out| {
                out.of(&[&"value"], shard.counts.values_mended);
                out.of(&[&"entry"], shard.counts.entries_mended);
            }),
        ),
    ),
    row(
        "trilith_damage_values",
        Gauge,
        "Values that cannot be read now",
        Shard(|shard, out| out.is(shard.sizes.broken_values.now)),
    ),
    row(
        "trilith_damage_segments",
        Gauge,
        "Damaged segments that are looked after",
        Shard(|shard, out| out.is(shard.sizes.damaged_segments.now)),
    ),
    row(
        "trilith_damage_stuck_groups",
        Gauge,
        "Groups that wait for a damaged value",
        Shard(|shard, out| out.is(shard.sizes.stuck_groups.now)),
    ),
    row(
        "trilith_damage_scrubbed_bytes_total",
        Counter,
        "What was read to see whether it is whole",
        Shard(|shard, out| out.is(shard.counts.scrubbed_bytes)),
    ),
    row(
        "trilith_state_comparisons_total",
        Counter,
        "How often a replica here told the others what its state is",
        Shard(|shard, out| out.is(shard.counts.compared)),
    ),
    row(
        "trilith_state_differences_total",
        Counter,
        "How often the state of another replica was another one behind the same entry",
        Shard(|shard, out| out.is(shard.counts.differed)),
    ),
    // Clocks.
    with(
        &["peer"],
        row(
            "trilith_clock_ahead_seconds",
            Gauge,
            "How much further than here the clock of another node is",
            Shard(|shard, out| {
                for (node, ms) in &shard.clocks_ahead_ms {
                    out.of(&[&node.0], Value::of_ms(*ms));
                }
            }),
        ),
    ),
    row(
        "trilith_clock_doubted",
        Gauge,
        "1 while the node's own clock has leapt and is not believed",
        Shard(|shard, out| out.is(shard.is_clock_doubted)),
    ),
    row(
        "trilith_clock_leaps_total",
        Counter,
        "How often it leapt",
        Shard(|shard, out| out.is(shard.counts.clock_leaps)),
    ),
    // Links to other nodes.
    of_links(
        "trilith_peer_link_up",
        Gauge,
        "1 while there is a connection to that node",
        each_link!(is_up),
    ),
    of_links(
        "trilith_peer_connections_total",
        Counter,
        "Connections to that node that there have been",
        each_link!(lives),
    ),
    of_links(
        "trilith_peer_dropped_packets_total",
        Counter,
        "Packets to that node that no connection took",
        each_link!(dropped),
    ),
    of_links(
        "trilith_peer_sent_bytes_total",
        Counter,
        "Bytes that connections to that node took",
        each_link!(taken_bytes),
    ),
    of_links(
        "trilith_peer_waiting_bytes",
        Gauge,
        "Bytes that wait to be sent to that node",
        each_link!(waiting_bytes),
    ),
    // Ports.
    of_ports(
        "trilith_port_connections",
        Gauge,
        "Connections that others have opened",
        each_port!(|port| port.accepted.get().saturating_sub(port.ended.get())),
    ),
    of_ports(
        "trilith_port_connections_accepted_total",
        Counter,
        "Connections that others have opened, also those that have ended",
        each_port!(|port| port.accepted.get()),
    ),
    of_ports(
        "trilith_port_connections_refused_total",
        Counter,
        "Connections that were sent away for who they are or what they said",
        each_port!(|port| port.refused.get()),
    ),
    of_ports(
        "trilith_port_wrong_logins_total",
        Counter,
        "How often somebody was not who he said",
        each_port!(|port| port.wrong_logins.get()),
    ),
    of_ports(
        "trilith_port_full_total",
        Counter,
        "How often all places were taken, and whoever came waited",
        each_port!(|port| port.full.get()),
    ),
    of_ports(
        "trilith_port_read_bytes_total",
        Counter,
        "Bytes that came",
        each_port!(|port| port.read_bytes.get()),
    ),
    of_ports(
        "trilith_port_written_bytes_total",
        Counter,
        "Bytes that went",
        each_port!(|port| port.written_bytes.get()),
    ),
    of_ports(
        "trilith_port_held_bytes",
        Gauge,
        "Bytes of requests and answers that connections hold, beyond the first 64 KiB of each",
        Node(|seen, out| {
            for which in PORTS {
                out.of(&[&which.name()], seen.meters.totals.of(which).bytes());
            }
        }),
    ),
    // Redis clients.
    row(
        "trilith_resp_commands_total",
        Counter,
        "Commands of Redis clients",
        Node(|seen, out| out.is(seen.meters.commands.get())),
    ),
    row(
        "trilith_resp_errors_total",
        Counter,
        "Those that were answered with an error",
        Node(|seen, out| out.is(seen.meters.command_errors.get())),
    ),
    row(
        "trilith_resp_duration_seconds",
        Histogram,
        "How long commands took; those of a connection that were on their way together count once",
        Node(|seen, out| out.spread(&[], &seen.meters.commands_took.get())),
    ),
    row(
        "trilith_resp_stalled_connections_total",
        Counter,
        "Connections that were let go since they took nothing of what they were answered, or sent nothing more of something long",
        Node(|seen, out| out.is(seen.meters.resp_stalled.get())),
    ),
    row(
        "trilith_resp_names_bytes",
        Gauge,
        "Bytes of names that connections subscribe to and keys that they watch, beyond the first 64 KiB of each",
        Node(|seen, out| out.is(seen.meters.totals.names.bytes())),
    ),
    // HTTP clients.
    with(
        &["class"],
        row(
            "trilith_http_answers_total",
            Counter,
            "Answers to HTTP clients, by the class of their status",
            Node(|seen, out| {
                for (class, count) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(&seen.meters.answers)
                {
                    out.of(&[class], count.get());
                }
            }),
        ),
    ),
    row(
        "trilith_http_duration_seconds",
        Histogram,
        "How long requests of HTTP clients took, from when they were whole",
        Node(|seen, out| out.spread(&[], &seen.meters.answers_took.get())),
    ),
    // What is published.
    row(
        "trilith_pubsub_subscribers",
        Gauge,
        "Connections that have subscribed to something",
        Node(|seen, out| out.is(seen.post.subscribers)),
    ),
    row(
        "trilith_pubsub_delivered_total",
        Counter,
        "Messages that were put before subscribers, once for each",
        Node(|seen, out| out.is(seen.post.delivered)),
    ),
    row(
        "trilith_pubsub_overflows_total",
        Counter,
        "Subscribers that did not read and were let go",
        Node(|seen, out| out.is(seen.post.overflows)),
    ),
    row(
        "trilith_pubsub_lost_total",
        Counter,
        "Messages that did not reach a subscriber since he did not read or went, once for each",
        Node(|seen, out| out.is(seen.post.lost)),
    ),
    row(
        "trilith_pubsub_held_bytes",
        Gauge,
        "Bytes of messages that wait for subscribers, once where they wait for several",
        Node(|seen, out| out.is(seen.meters.totals.post.bytes())),
    ),
];
