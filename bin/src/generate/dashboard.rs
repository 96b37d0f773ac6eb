//! A dashboard for Grafana: a row of panels for each part of a node, one for each metric.
//!
//! Counters are shown as what they rise by in a second, durations as what half and what all but one of
//! a hundred take. In front stand the few that one looks at first.
//!
//! Not here: the list (`trilith_net::metrics`).

use serde_json::{Value, json};
use trilith_net::metrics::{Kind, METRICS, Metric, PREFIX};

/// What one looks at first.
const FIRST: [&str; 9] = [
    "trilith_raft_groups",
    "trilith_shard_requests_total",
    "trilith_shard_request_duration_seconds",
    "trilith_journal_sync_duration_seconds",
    "trilith_raft_leaderships_total",
    "trilith_peer_link_up",
    "trilith_disk_free_bytes",
    "trilith_damage_found_total",
    "trilith_node_uptime_seconds",
];

/// A dashboard is so wide.
const WIDTH: u64 = 24;
/// And panels so wide and high.
const PANEL: (u64, u64) = (8, 7);

/// Panels, and where the next one goes.
#[derive(Default)]
struct Wall {
    panels: Vec<Value>,
    x: u64,
    y: u64,
}

impl Wall {
    fn row(&mut self, title: &str) {
        if self.x > 0 {
            (self.x, self.y) = (0, self.y + PANEL.1);
        }
        let at = json!({ "x": 0, "y": self.y, "w": WIDTH, "h": 1 });
        let id = self.panels.len() + 1;
        self.panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [], "gridPos": at,
        }));
        self.y += 1;
    }

    fn panel(&mut self, metric: &Metric) {
        let (width, height) = PANEL;
        let at = json!({ "x": self.x, "y": self.y, "w": width, "h": height });
        let id = self.panels.len() + 1;
        self.panels.push(json!({
            "id": id,
            "type": "timeseries",
            "title": title(metric),
            "description": metric.help,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "fieldConfig": { "defaults": { "unit": unit(metric), "min": least(metric) }, "overrides": [] },
            "options": {
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            },
            "targets": targets(metric),
            "gridPos": at,
        }));
        self.x += width;
        if self.x + width > WIDTH {
            (self.x, self.y) = (0, self.y + height);
        }
    }
}

/// The name in words.
fn title(metric: &Metric) -> String {
    let own = metric.name.strip_prefix(PREFIX).unwrap_or(metric.name);
    let own = own.strip_suffix("_total").unwrap_or(own);
    let unit = metric.unit().map(|unit| format!("_{unit}")).unwrap_or_default();
    own.strip_suffix(unit.as_str()).unwrap_or(own).replace('_', " ")
}

/// As Grafana calls them.
fn unit(metric: &Metric) -> &'static str {
    match (metric.unit(), metric.kind) {
        (Some("seconds"), _) => "s",
        (Some("bytes"), Kind::Counter) => "Bps",
        (Some("bytes"), _) => "bytes",
        (Some("ratio"), _) => "percentunit",
        (_, Kind::Counter) => "cps",
        _ => "short",
    }
}

/// A clock may be ahead or behind; all else is at least nothing.
fn least(metric: &Metric) -> Value {
    if metric.part() == "clock" { Value::Null } else { json!(0) }
}

fn targets(metric: &Metric) -> Vec<Value> {
    const CHOSEN: &str = "job=~\"$job\",instance=~\"$instance\"";
    let Metric { name, kind, labels, .. } = metric;
    let by: String = labels.iter().map(|label| format!(", {label}")).collect();
    let shown: String = labels.iter().map(|label| format!(" {{{{{label}}}}}")).collect();
    let legend = format!("{{{{instance}}}}{shown}");
    let rate = |name: &str, by: &str| {
        format!("sum by (instance{by}) (rate({name}{{{CHOSEN}}}[$__rate_interval]))")
    };
    let asked = match kind {
        Kind::Gauge => vec![(format!("{name}{{{CHOSEN}}}"), legend)],
        Kind::Counter => vec![(rate(name, &by), legend)],
        Kind::Histogram => {
            let buckets = rate(&format!("{name}_bucket"), &format!(", le{by}"));
            let part = |share: &str, word: &str| {
                (format!("histogram_quantile({share}, {buckets})"), format!("{legend} {word}"))
            };
            vec![part("0.5", "half"), part("0.99", "99 of 100")]
        }
    };
    let target = |(nth, (expr, legend)): (usize, (String, String))| {
        let id = ["A", "B"].get(nth).copied().unwrap_or("C");
        json!({ "refId": id, "expr": expr, "legendFormat": legend })
    };
    asked.into_iter().enumerate().map(target).collect()
}

/// What is chosen at the top.
fn choices() -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let of_label = |name: &str, query: &str| {
        json!({
            "name": name, "type": "query", "datasource": source, "query": query, "refresh": 2,
            "multi": true, "includeAll": true, "allValue": ".*", "sort": 1,
            "current": { "text": "All", "value": "$__all" },
        })
    };
    json!([
        { "name": "datasource", "type": "datasource", "query": "prometheus" },
        of_label("job", "label_values(trilith_build_info, job)"),
        of_label("instance", "label_values(trilith_build_info{job=~\"$job\"}, instance)"),
    ])
}

/// The dashboard, as Grafana imports it.
pub fn json() -> String {
    let mut wall = Wall::default();
    wall.row("first");
    for name in FIRST {
        METRICS.iter().filter(|metric| metric.name == name).for_each(|metric| wall.panel(metric));
    }
    let mut part = "";
    for metric in METRICS {
        if metric.part() != part {
            part = metric.part();
            wall.row(part);
        }
        wall.panel(metric);
    }
    let whole = json!({
        "uid": "trilith",
        "title": "trilith",
        "tags": ["trilith"],
        "schemaVersion": 39,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": choices() },
        "panels": wall.panels,
    });
    format!("{whole:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_has_a_panel_and_none_lies_on_another() {
        let whole: Value = serde_json::from_str(&json()).unwrap();
        let panels = whole["panels"].as_array().unwrap();
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        let mut shown = String::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64()), "{panel}");
            let at = &panel["gridPos"];
            let [x, y, width] = ["x", "y", "w"].map(|side| at[side].as_u64().unwrap());
            assert!(places.insert((y, x)) && x + width <= WIDTH, "{panel}");
            for target in panel["targets"].as_array().into_iter().flatten() {
                shown.push_str(target["expr"].as_str().unwrap());
                shown.push('\n');
            }
        }
        for metric in METRICS {
            let is_spread = metric.kind == Kind::Histogram;
            let name =
                if is_spread { format!("{}_bucket", metric.name) } else { metric.name.into() };
            assert!(shown.contains(&format!("{name}{{")), "{name}");
        }
        let first = |panel: &&Value| panel["title"] == "raft groups";
        assert_eq!(panels.iter().filter(first).count(), 2, "in front and in its row");
        assert_eq!(FIRST.iter().filter(|name| shown.contains(**name)).count(), FIRST.len());
    }

    #[test]
    fn rows_are_of_one_part_each() {
        let mut parts: Vec<&str> = METRICS.iter().map(Metric::part).collect();
        parts.dedup();
        let all: BTreeSet<&str> = parts.iter().copied().collect();
        assert_eq!(all.len(), parts.len(), "rows of one part stand together: {parts:?}");
    }
}
