//! `trilith generate`: what monitoring systems are to be told of trilith, made from the one list of
//! metrics (`trilith_net::metrics`).
//!
//! ```text
//!   trilith generate dashboard > trilith.json         import it into Grafana
//!   trilith generate alerts > trilith.rules.yml       name it under rule_files in Prometheus
//!   trilith generate metrics                          the list
//! ```
//! What it writes is in the repository too (`bin/deploy`), and a test compares them.
//!
//! Not here: the list (`trilith_net::metrics`), serving it (`trilith_net::http`).

mod alerts;
mod dashboard;

use clap::Subcommand;
use trilith_net::metrics::METRICS;

use crate::{
    failure::Outcome,
    out::{Cell, Out},
};

/// What is written.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// A dashboard for Grafana, as JSON.
    Dashboard,
    /// Alert rules for Prometheus, as YAML.
    Alerts,
    /// The list of metrics that a node serves at /metrics.
    Metrics,
}

/// Writes it.
///
/// # Errors
/// When standard output is closed.
pub fn run(generate: &Generate, out: Out) -> Outcome {
    match generate {
        Generate::Dashboard => out.raw(dashboard::json().as_bytes()),
        Generate::Alerts => out.raw(alerts::yaml().as_bytes()),
        Generate::Metrics => {
            let rows = METRICS.iter().map(|metric| {
                let labels = metric.labels.join(",");
                let labels = if labels.is_empty() { Cell::Absent } else { labels.into() };
                vec![metric.name.into(), metric.kind.name().into(), labels, metric.help.into()]
            });
            out.table(&["metric", "kind", "labels", "what"], &rows.collect::<Vec<Vec<Cell>>>())
        }
    }
}

/// The page about all of it.
#[cfg(test)]
fn page() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Metrics\n\n\
         Made from the list of metrics (`net/src/metrics/table.rs`) and that of alerts \
         (`bin/src/generate/alerts.rs`); a test compares them, and `UPDATE_DOCS=1 cargo test -p \
         trilith generate` writes it anew.\n\n\
         A node serves them where HTTP clients are served, at `/metrics`, as Prometheus reads them.\n\
         Where users are named, whoever scrapes says who he is (`basic_auth`).\n\
         They are of this life of the node: counters begin again with it.\n\
         No label is of a key, a client or a group, so a node has a few hundred series however much it \
         holds.\n\n\
         ```yaml\n\
         scrape_configs:\n\
         \x20 - job_name: trilith\n\
         \x20   static_configs:\n\
         \x20     - targets: [\"10.0.0.1:7380\", \"10.0.0.2:7380\", \"10.0.0.3:7380\"]\n\
         rule_files: [trilith.rules.yml]\n\
         ```\n\n\
         ```text\n\
         trilith generate dashboard > trilith.json       a dashboard for Grafana\n\
         trilith generate alerts > trilith.rules.yml     alert rules for Prometheus\n\
         trilith generate metrics                        this list\n\
         ```\n\n\
         Durations are told in buckets whose bounds are 1, 2 and 5 times powers of ten, from 10 \
         microseconds to 10 seconds; so a quantile is right up to a factor of two and a half.\n\n\
         ## All of them\n\n\
         | metric | kind | labels | what it is |\n\
         | --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let (name, kind) = (metric.name, metric.kind.name());
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing into a string does not fail.
        let _written =
            writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(" "), metric.help);
    }
    text.push_str(
        "\n## Alerts\n\n\
         | alert | severity | after | when | what to do |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for alert in alerts::ALERTS {
        let alerts::Alert { name, severity, after, summary, hint, .. } = alert;
        let severity = severity.word();
        let _written = writeln!(text, "| `{name}` | {severity} | {after} | {summary} | {hint} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the repository is what is written now.
    fn check(path: &str, now: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, now).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == now, "UPDATE_DOCS=1 cargo test -p trilith generate ({})", path.display());
    }

    #[test]
    fn what_is_in_the_repository_is_of_this_list() {
        check("docs/metrics.md", &page());
        check("deploy/grafana/trilith.json", &dashboard::json());
        check("deploy/prometheus/trilith.rules.yml", &alerts::yaml());
    }
}
