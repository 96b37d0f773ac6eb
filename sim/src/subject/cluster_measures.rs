//! What nodes measure of themselves, as an HTTP client hears it while everything fails.
//!
//! A text of metrics must be what monitoring systems read: every number under the name and the kind
//! that it is of, each series once, buckets that rise to how many there are. And what is counted never
//! falls within a life of a node, whoever asks and whatever happened between; lives are told apart by
//! when they began.
//!
//! Not here: whether a number is right (`net/tests/doors`), who asks (`cluster_http.rs`).

use std::collections::BTreeMap;

use trilith_net::metrics::{Kind, METRICS};

/// What was heard of each life of each node: its counters.
#[derive(Debug, Default)]
pub(super) struct Measures(BTreeMap<[String; 2], BTreeMap<String, i128>>);

/// A text, taken apart.
#[derive(Debug, Default)]
struct Page {
    /// Every number in billionths, and whether it may fall.
    series: BTreeMap<String, (i128, bool)>,
}

impl Measures {
    /// A node has told this.
    ///
    /// # Errors
    /// What cannot be.
    pub(super) fn hear(&mut self, text: &str) -> Result<(), String> {
        let page = Page::read(text)?;
        let mut life = [const { String::new() }; 2];
        for (name, (value, _)) in &page.series {
            if name.starts_with("trilith_build_info{") {
                life[0].clone_from(name);
            } else if name == "trilith_node_start_time_seconds" {
                life[1] = value.to_string();
            }
        }
        if life.iter().any(String::is_empty) {
            return Err("nothing says which life of which node it is".to_owned());
        }
        let known = self.0.entry(life).or_default();
        for (name, (value, falls)) in page.series {
            if falls {
                continue;
            }
            let before = known.insert(name.clone(), value).unwrap_or_default();
            if value < before {
                return Err(format!("{name} falls from {before} to {value}, in billionths"));
            }
        }
        Ok(())
    }
}

impl Page {
    fn read(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let mut metric: Option<(&str, Kind)> = None;
        // The bucket before, of the same labels.
        let mut bucket = ("", 0);
        for line in text.lines() {
            if line.starts_with("# HELP ") {
                continue;
            }
            if let Some(named) = line.strip_prefix("# TYPE ") {
                let listed = METRICS.iter().find(|metric| {
                    named.strip_prefix(metric.name) == Some(&format!(" {}", metric.kind.name()))
                });
                let listed = listed.ok_or_else(|| format!("{line}: not of the list"))?;
                (metric, bucket) = (Some((listed.name, listed.kind)), ("", 0));
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("{line}: what?"))?;
            let value = billionths(value).ok_or_else(|| format!("{line}: no number"))?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let (of, kind) = metric.ok_or_else(|| format!("{line}: of no metric"))?;
            let end = name.strip_prefix(of).ok_or_else(|| format!("{line}: under {of}"))?;
            let fits = match kind {
                Kind::Histogram => matches!(end, "_bucket" | "_sum" | "_count"),
                Kind::Counter | Kind::Gauge => end.is_empty(),
            };
            let before = labels.rsplit_once("le=").map_or("", |(before, _)| before);
            let is_next = end == "_bucket" && bucket.0 == before;
            if !fits || is_next && value < bucket.1 || end == "_count" && value != bucket.1 {
                return Err(format!("{line}: it does not fit what stands before it"));
            }
            if end == "_bucket" {
                bucket = if labels.contains("+Inf") { ("", value) } else { (before, value) };
            }
            if page.series.insert(series.to_owned(), (value, kind == Kind::Gauge)).is_some() {
                return Err(format!("{series} is told twice"));
            }
        }
        Ok(page)
    }
}

/// A decimal number.
fn billionths(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest: i128 = if rest.len() > 9 { None } else { format!("{rest:0<9}").parse().ok() }?;
    let whole: i128 = whole.parse().ok()?;
    Some(sign * (whole * 1_000_000_000 + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: &str = "# TYPE trilith_build_info gauge\n\
        trilith_build_info{version=\"1\",node=\"1\"} 1\n\
        # TYPE trilith_node_start_time_seconds gauge\n";

    fn text(began: &str, rest: &str) -> String {
        format!("{LIFE}trilith_node_start_time_seconds {began}\n{rest}")
    }

    fn turns(count: u64) -> String {
        format!(
            "# HELP trilith_core_turns_total T\n# TYPE trilith_core_turns_total counter\ntrilith_core_turns_total {count}\n"
        )
    }

    #[test]
    fn what_is_counted_does_not_fall_within_a_life() {
        let mut measures = Measures::default();
        let mut hear = |began, count| measures.hear(&text(began, &turns(count)));
        assert_eq!(hear("7.5", 3), Ok(()));
        assert_eq!(hear("7.5", 3), Ok(()));
        assert_eq!(hear("8", 1), Ok(()), "another life");
        assert!(hear("7.5", 2).is_err());
        assert!(Measures::default().hear(&turns(1)).is_err(), "of which life?");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let name = "trilith_journal_sync_duration_seconds";
        let spread = |lines: &[&str]| {
            let lines: String = lines.iter().map(|line| format!("{name}{line}\n")).collect();
            Measures::default().hear(&text("1", &format!("# TYPE {name} histogram\n{lines}")))
        };
        let ones = ["_bucket{le=\"0.1\"} 1", "_bucket{le=\"+Inf\"} 2", "_sum 0.5", "_count 2"];
        assert_eq!(spread(&ones), Ok(()));
        assert!(spread(&["_bucket{le=\"0.1\"} 3", ones[1], ones[2], ones[3]]).is_err(), "it falls");
        assert!(spread(&[ones[0], ones[1], ones[2], "_count 3"]).is_err(), "one is nowhere");
        assert!(spread(&[ones[0], ones[0]]).is_err(), "twice");
        assert!(spread(&[" 1"]).is_err(), "a spread has no number of its own");
        let other = |rest: &str| Measures::default().hear(&text("1", rest));
        assert!(other("# TYPE trilith_core_turns_total gauge\n").is_err(), "of another kind");
        assert!(other("# TYPE trilith_unheard_of gauge\n").is_err());
        assert!(other("trilith_core_turns_total 1\n").is_err(), "under another name");
        assert!(
            other("# TYPE trilith_core_turns_total counter\ntrilith_core_turns_total x\n").is_err()
        );
    }

    #[test]
    fn decimals_are_whole_billionths() {
        assert_eq!(billionths("-1.5"), Some(-1_500_000_000));
        assert_eq!(billionths("0.000000001"), Some(1));
        assert_eq!(billionths("12"), Some(12_000_000_000));
        assert_eq!(billionths("1.0000000001"), None);
        assert_eq!(billionths("NaN"), None);
    }
}
