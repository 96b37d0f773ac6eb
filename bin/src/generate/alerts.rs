//! Alert rules for Prometheus: what somebody should be told of, and what he is to do then.
//!
//! A rule names metrics of the list and nothing else, which a test sees to. A few only: each must be
//! worth being woken for, or worth a look next morning.
//!
//! Not here: who is told, and how (Alertmanager).

use std::fmt::Write as _;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody is to look now.
    Critical,
    /// Somebody is to look today.
    Warning,
}

impl Severity {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    /// What it is called.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How long it must be so.
    pub after: &'static str,
    /// When it is so.
    pub when: &'static str,
    /// The same in words.
    pub summary: &'static str,
    /// What to do.
    pub hint: &'static str,
}

use Severity::{Critical, Warning};

/// All rules.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "TrilithNodeDown",
        severity: Critical,
        after: "2m",
        when: "up == 0 and on (job, instance) max_over_time(trilith_build_info[1d]) == 1",
        summary: "A node that answered within a day does not answer any more",
        hint: "See its log and its exit code; while a majority of the nodes runs, nothing is lost",
    },
    Alert {
        name: "TrilithNodeRestarts",
        severity: Warning,
        after: "0m",
        when: "changes(trilith_node_start_time_seconds[30m]) >= 2",
        summary: "A node has started again more than once within half an hour",
        hint: "See its log for why it ended: trilith errors tells every code",
    },
    Alert {
        name: "TrilithNodeHangs",
        severity: Critical,
        after: "1m",
        when: "trilith_core_look_age_seconds > 10",
        summary: "The event loop of a node has not answered for a while, though its ports do",
        hint: "See whether its machine has processor time and its disk answers; restart it if it stays so",
    },
    Alert {
        name: "TrilithGroupWithoutLeader",
        severity: Critical,
        after: "1m",
        when: "trilith_raft_groups{role=\"leaderless\"} > 0",
        summary: "A node knows of no leader for some of its groups",
        hint: "If all nodes say so, less than a majority can reach each other: see the links and which nodes run",
    },
    Alert {
        name: "TrilithLeadersChange",
        severity: Warning,
        after: "5m",
        when: "sum by (job) (increase(trilith_raft_leaderships_total[15m])) > 5 * sum by (job) (trilith_raft_groups{role=\"leader\"})",
        summary: "Leaders change again and again",
        hint: "See whether links drop, a node restarts, or a disk or processor is overloaded",
    },
    Alert {
        name: "TrilithReplicaBehind",
        severity: Warning,
        after: "10m",
        when: "max by (job, peer) (trilith_raft_lacking_entries) > 10000",
        summary: "A replica lacks many entries and does not catch up",
        hint: "See whether its node runs and how fast its disk is",
    },
    Alert {
        name: "TrilithNodeSlow",
        severity: Warning,
        after: "10m",
        when: "trilith_raft_node_slow == 1",
        summary: "A node is much slower than the others, and leads nothing that they could",
        hint: "See its disk and its processor; it leads again when it is as fast as the others for a while",
    },
    Alert {
        name: "TrilithSyncSlow",
        severity: Warning,
        after: "10m",
        when: "histogram_quantile(0.99, sum by (job, instance, le) (rate(trilith_journal_sync_duration_seconds_bucket[5m]))) > 0.2",
        summary: "One sync of a hundred takes more than 200 ms",
        hint: "See what else uses the disk: iostat -x 1",
    },
    Alert {
        name: "TrilithDiskNearlyFull",
        severity: Warning,
        after: "5m",
        when: "trilith_disk_free_bytes < 4 * trilith_journal_reserve_bytes or trilith_disk_free_bytes < 0.1 * trilith_disk_size_bytes",
        summary: "A disk is nearly full",
        hint: "Give it room, or delete something",
    },
    Alert {
        name: "TrilithDiskFull",
        severity: Critical,
        after: "1m",
        when: "trilith_disk_full == 1",
        summary: "A disk is full: its node refuses new writes and leads nothing that others could",
        hint: "Give it room, or delete something: deletions are taken",
    },
    Alert {
        name: "TrilithDamageFound",
        severity: Warning,
        after: "0m",
        when: "increase(trilith_damage_found_total[1h]) > 0",
        summary: "A disk has damaged something",
        hint: "It is brought back from other replicas; see the disk's health: smartctl -a",
    },
    Alert {
        name: "TrilithDamageStays",
        severity: Critical,
        after: "15m",
        when: "trilith_damage_values > 0 or trilith_damage_stuck_groups > 0",
        summary: "A damaged value was not brought back",
        hint: "See whether the other nodes run; replace the node if it stays so: trilith ctl replace",
    },
    Alert {
        name: "TrilithStatesDiffer",
        severity: Critical,
        after: "0m",
        when: "increase(trilith_state_differences_total[1h]) > 0",
        summary: "Replicas that have applied the same entries have different states",
        hint: "See the log for which: what differs from most ends by itself and is to be replaced; report it",
    },
    Alert {
        name: "TrilithLinkDown",
        severity: Warning,
        after: "5m",
        when: "trilith_peer_link_up == 0",
        summary: "A node has no connection to another one",
        hint: "See whether the other runs, and whether the network lets them speak",
    },
    Alert {
        name: "TrilithRequestsRefused",
        severity: Warning,
        after: "5m",
        when: "sum by (job, instance, reason) (rate(trilith_shard_refusals_total{reason=~\"OVERLOADED|SESSIONS_FULL|DISK_FULL|DAMAGED|TOO_LATE\"}[5m])) > 1",
        summary: "Requests are refused for want of room or time",
        hint: "The reason says which: more is asked than the node can do, or its disk is full or damaged",
    },
    Alert {
        name: "TrilithLimitNear",
        severity: Warning,
        after: "10m",
        when: "trilith_shard_limit_used_ratio{limit=~\"inbox|requests|request bytes|sessions|session bytes|promises|groups\"} > 0.9",
        summary: "Something that a node holds in memory is near its limit",
        hint: "At the limit requests are refused or made to wait: see who asks so much",
    },
    Alert {
        name: "TrilithPortFull",
        severity: Warning,
        after: "5m",
        when: "increase(trilith_port_full_total[5m]) > 0",
        summary: "All places for connections are taken at a port, and whoever comes waits",
        hint: "See who opens so many, or does not close them",
    },
    Alert {
        name: "TrilithClocksApart",
        severity: Warning,
        after: "10m",
        when: "abs(trilith_clock_ahead_seconds) > 1",
        summary: "The clocks of two nodes are more than a second apart",
        hint: "See whether both keep time: chronyc tracking; keys expire by what most clocks say",
    },
    Alert {
        name: "TrilithClockDoubted",
        severity: Warning,
        after: "1m",
        when: "trilith_clock_doubted == 1",
        summary: "A node's clock has leapt and is not believed",
        hint: "See who sets it: it should be slewed, not stepped",
    },
];

/// All rules, as a file of Prometheus.
pub fn yaml() -> String {
    let mut text = String::from(
        "# Alert rules for trilith, written by `trilith generate alerts`.\n\
         groups:\n\
         \x20 - name: trilith\n\
         \x20   rules:\n",
    );
    for Alert { name, severity, after, when, summary, hint } in ALERTS {
        let severity = severity.word();
        // Writing into a string does not fail. What JSON quotes, YAML reads as the same.
        let _written = write!(
            text,
            "      - alert: {name}\n        expr: {}\n        for: {after}\n        labels:\n\
             \x20         severity: {severity}\n        annotations:\n\
             \x20         summary: {}\n          description: {}\n",
            quoted(when),
            quoted(summary),
            quoted(hint),
        );
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use trilith_net::metrics::{Kind, METRICS, PREFIX};

    /// The metrics that a rule names, and the labels that it asks for of each.
    fn named(when: &str) -> Vec<(String, Vec<String>)> {
        let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
        let mut found = Vec::new();
        for (at, _) in when.match_indices(PREFIX) {
            let rest = &when[at..];
            let end = rest.find(|sign| !is_name(sign)).unwrap_or(rest.len());
            let behind = rest[end..].strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let asked = behind.map_or("", |(asked, _)| asked);
            let labels = asked.split("\",").filter_map(|part| part.split_once('='));
            let labels = labels.map(|(label, _)| label.trim_end_matches('!').trim().to_owned());
            found.push((rest[..end].to_owned(), labels.collect()));
        }
        found
    }

    #[test]
    fn rules_name_metrics_of_the_list() {
        let names: BTreeSet<&str> = ALERTS.iter().map(|alert| alert.name).collect();
        assert_eq!(names.len(), ALERTS.len(), "each is there once");
        for Alert { name, when, .. } in ALERTS {
            let all = named(when);
            assert!(!all.is_empty(), "{name}");
            for (said, labels) in all {
                let is_spread = said.ends_with("_bucket");
                let own = said.strip_suffix("_bucket").unwrap_or(&said);
                let metric = METRICS.iter().find(|metric| metric.name == own);
                let metric = metric.unwrap_or_else(|| panic!("{name}: there is no {own}"));
                assert_eq!(metric.kind == Kind::Histogram, is_spread, "{name}: {said}");
                for label in labels {
                    assert!(metric.labels.contains(&&*label), "{name}: {own} has no {label}");
                }
            }
        }
    }

    #[test]
    fn what_a_rule_names_is_found() {
        let when = r#"a(trilith_x{one="1",two=~"2|3"}) > trilith_y_bucket and up == 0"#;
        let found: Vec<(String, usize)> =
            named(when).into_iter().map(|(name, labels)| (name, labels.len())).collect();
        assert_eq!(found, [("trilith_x".to_owned(), 2), ("trilith_y_bucket".to_owned(), 0)]);
    }
}
