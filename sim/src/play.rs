//! A run as a page: everything that a person wants to see of it, in one file that needs nothing.
//!
//! ```text
//!   Report + Tape ── Play::of ──► Play ── page ──► one .html: style, script, and the Play as JSON
//! ```
//! A [`Play`] is a value: the same run gives the same bytes. Frequent things are rows of numbers,
//! so that a long run stays a page; what was left out to keep it one is said on it.
//!
//! Not here: what is recorded (`tape.rs`), how it is drawn (`page/play.js`).

use serde::Serialize;

use crate::{
    check::{Verdict, judges},
    fault::FaultKind,
    history::{History, OpId, Operation, Outcome},
    run::{Report, commit},
    scenario::Scenario,
    tape::{Fate, MOST, Struck, Tape},
};

const NANOS_PER_MILLI: u64 = 1_000_000;
const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/play.css");
const SCRIPT: &str = include_str!("page/play.js");

/// What is played.
#[derive(Debug, Serialize)]
pub struct Play {
    /// Which run it was.
    pub run: Run,
    /// What the judges said.
    pub judges: Vec<Judged>,
    /// What convicts, if one refused.
    pub refusal: Option<Refusal>,
    /// Who has a lane.
    pub lanes: Vec<Lane>,
    /// `[at, node, life, what]`
    pub lives: Vec<(u64, u32, u32, &'static str)>,
    /// What was done to the world.
    pub faults: Vec<Blow>,
    /// What clients asked.
    pub operations: Vec<Asked>,
    /// `[at, from, to, connection, bytes, fate, when]`; the fate is 0 under way, 1 arrived, 2 lost.
    pub messages: Vec<(u64, u32, u32, u32, u32, u8, u64)>,
    /// `[at, node, peer, connection, what]`
    pub links: Vec<(u64, u32, u32, u32, &'static str)>,
    /// `[at, from, to, what]`
    pub packets: Vec<(u64, u32, u32, String)>,
    /// `[at, node, what, failed]`
    pub disk: Vec<(u64, u32, String, bool)>,
    /// `[at, node, pending, durable]`
    pub stakes: Vec<(u64, u32, u64, u64)>,
    /// `[at, node, group, role, term, commit]`
    pub beliefs: Vec<(u64, u32, u32, &'static str, u64, u64)>,
    /// `[at, node, what]`
    pub words: Vec<(u64, Option<u32>, String)>,
    /// `[what, how many, kept from]`
    pub left_out: Vec<(&'static str, u64, u64)>,
}

/// Which run it was.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The scenario.
    pub scenario: String,
    /// Its sentence.
    pub about: String,
    /// The seed, as it is typed.
    pub seed: String,
    /// The commit.
    pub commit: String,
    /// What the seed drew.
    pub drawn: String,
    /// The digest.
    pub digest: String,
    /// `holds`, or whose refusal.
    pub verdict: String,
    /// Operations that ended ok, failed, and nobody knows how.
    pub tally: (usize, usize, usize),
    /// How to have it again.
    pub replay: Vec<String>,
    /// When it was over.
    pub end_ns: u64,
    /// Phases and when each ends.
    pub phases: Vec<(&'static str, u64)>,
}

/// What one judge said.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// The judge.
    pub name: String,
    /// What it demands.
    pub demands: String,
    /// `holds`, `refuses`, `cannot say`, `was not asked`.
    pub said: &'static str,
    /// In more words.
    pub words: String,
}

/// What convicts.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Who refuses.
    pub judge: String,
    /// The sentence.
    pub symptom: String,
    /// Lines of evidence, each with the place of the operation that it is, if it is one that is shown.
    pub evidence: Vec<(String, Option<usize>)>,
}

/// Who has a lane.
#[derive(Debug, Serialize)]
pub struct Lane {
    /// As the world calls it.
    pub name: String,
    /// `client`, `node`, or `other`.
    pub kind: &'static str,
    /// The number in the history, of a client.
    pub client: Option<u32>,
}

/// Something done to the world.
#[derive(Debug, Serialize)]
pub struct Blow {
    /// When.
    pub at: u64,
    /// Until when; the same where it is over at once.
    pub until: u64,
    /// The kind.
    pub kind: &'static str,
    /// Whose it is; nobody's: everybody's.
    pub nodes: Vec<u32>,
    /// In words.
    pub text: String,
}

/// What a client asked.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// When it began and ended.
    pub at: u64,
    /// Nothing while it never ended.
    pub until: Option<u64>,
    /// Who asked, of which key.
    pub client: u32,
    /// Which key.
    pub key: u32,
    /// For what.
    pub call: String,
    /// `ok`, `failed`, `unknown`.
    pub outcome: &'static str,
    /// What was answered.
    pub answer: String,
    /// Why it was not done, where that is known.
    pub why: Option<String>,
}

impl Play {
    /// The play of a run. Without a tape it has operations and verdicts alone.
    #[must_use]
    pub fn of(scenario: &Scenario, report: &Report) -> Self {
        let empty = Tape::default();
        let tape = report.tape.as_ref().unwrap_or(&empty);
        let end_ns = u64::try_from(report.simulated.as_nanos()).unwrap_or(u64::MAX);
        let (operations, before) = operations(&report.history, MOST);
        let each = |fate: Fate| match fate {
            Fate::UnderWay => (0, 0),
            Fate::Arrived(at) => (1, at),
            Fate::Lost(at) => (2, at),
        };
        Self {
            run: Run::of(scenario, report, end_ns),
            judges: verdicts(scenario, report),
            refusal: refusal(report, before),
            lanes: lanes(report),
            lives: tape.lives.iter().map(|l| (l.at_ns, l.node, l.life, l.change.text())).collect(),
            faults: tape.faults.iter().map(|fault| Blow::of(fault, end_ns)).collect(),
            messages: tape
                .messages
                .iter()
                .map(|m| {
                    let (fate, when) = each(m.fate);
                    (m.at_ns, m.from, m.to, m.conn, m.bytes, fate, when)
                })
                .collect(),
            links: tape.links.iter().map(|l| (l.at_ns, l.node, l.peer, l.conn, l.what)).collect(),
            packets: tape.packets.iter().map(|p| (p.at_ns, p.from, p.to, p.text.clone())).collect(),
            disk: tape.disk.iter().map(|d| (d.at_ns, d.node, d.text.clone(), d.failed)).collect(),
            stakes: tape.stakes.iter().map(|s| (s.at_ns, s.node, s.pending, s.durable)).collect(),
            beliefs: tape
                .beliefs
                .iter()
                .map(|b| (b.at_ns, b.node, b.group, b.role, b.term, b.commit))
                .collect(),
            words: tape.words.iter().map(|w| (w.at_ns, w.node, w.text.clone())).collect(),
            left_out: left_out(tape, before, &operations),
            operations,
        }
    }

    /// How many moments a reader can search.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.lives.len()
            + self.faults.len()
            + self.operations.len()
            + self.messages.len()
            + self.links.len()
            + self.packets.len()
            + self.disk.len()
            + self.beliefs.len()
            + self.words.len()
    }

    /// The page.
    ///
    /// # Errors
    /// When the play is not JSON, which it always is.
    pub fn page(&self) -> Result<String, serde_json::Error> {
        // A `<` begins a tag even inside of a script; JSON has another way to write it, and the two
        // line ends that scripts do not know.
        let json = serde_json::to_string(self)?
            .replace('<', "\\u003c")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
        let title = format!("{} {}", self.run.scenario, self.run.seed);
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        // The data goes in last, so that nothing in it is taken for a place.
        Ok(HTML
            .replace("{{title}}", &title)
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
            .replacen("{{play}}", &json, 1))
    }
}

impl Run {
    fn of(scenario: &Scenario, report: &Report, end_ns: u64) -> Self {
        let (name, seed) = (&report.scenario, report.seed);
        let time = scenario.time;
        let chaos = time.chaos_ms * NANOS_PER_MILLI;
        let settled = chaos + time.settle_ms * NANOS_PER_MILLI;
        let calm = settled + time.calm_ms * NANOS_PER_MILLI;
        let sim = "cargo run --release --bin trilith-sim --";
        let mut replay = vec![format!("{sim} run {name} --seed 0x{seed:x} --html run.html")];
        if report.violation.is_some() {
            replay.push(format!("{sim} shrink {name} --seed 0x{seed:x}"));
        }
        let phases = [("chaos", chaos), ("settle", settled), ("calm", calm), ("end", end_ns)];
        Self {
            scenario: name.clone(),
            about: scenario.about.clone(),
            seed: format!("0x{seed:x}"),
            commit: commit(),
            drawn: report.drawn.to_string(),
            digest: report.digest.to_string(),
            verdict: match &report.violation {
                None => "holds".into(),
                Some(violation) => violation.fingerprint(),
            },
            tally: report.history.tally(),
            replay,
            end_ns,
            phases: phases.into_iter().map(|(phase, end)| (phase, end.min(end_ns))).collect(),
        }
    }
}

impl Blow {
    fn of(fault: &Struck, end_ns: u64) -> Self {
        // A stalled disk goes on by itself: nobody takes that back.
        let planned = match fault.what {
            FaultKind::Stall { for_ms, .. } => fault.at_ns + for_ms * NANOS_PER_MILLI,
            FaultKind::WallJump { .. }
            | FaultKind::Leap { .. }
            | FaultKind::Reset { .. }
            | FaultKind::DiskOnce { .. }
            | FaultKind::Rot { .. } => fault.at_ns,
            _ => end_ns,
        };
        Self {
            at: fault.at_ns,
            until: fault.over_ns.unwrap_or(end_ns).min(planned),
            kind: fault.what.name(),
            nodes: fault.what.nodes(),
            text: fault.what.to_string(),
        }
    }
}

fn verdicts(scenario: &Scenario, report: &Report) -> Vec<Judged> {
    let demands = |name: &str| {
        let judge = judges().iter().find(|judge| judge.name == name);
        judge.map_or(String::new(), |judge| judge.demands.to_string())
    };
    let mut all: Vec<Judged> = report
        .judged
        .iter()
        .map(|(name, verdict)| {
            let (said, words) = match verdict {
                Verdict::Holds => ("holds", String::new()),
                Verdict::Violated(violation) => ("refuses", violation.symptom.clone()),
                Verdict::Unknown(why) => ("cannot say", why.clone()),
            };
            Judged { name: name.clone(), demands: demands(name), said, words }
        })
        .collect();
    for name in &scenario.judges {
        if !all.iter().any(|judged| judged.name == *name) {
            let (demands, said, words) = (demands(name), "was not asked", String::new());
            all.push(Judged { name: name.clone(), demands, said, words });
        }
    }
    all
}

fn refusal(report: &Report, before: usize) -> Option<Refusal> {
    let violation = report.violation.as_ref()?;
    let written: Vec<String> =
        report.history.operations.iter().map(|operation| words(&operation.to_string())).collect();
    let which = |line: &str| {
        let line = words(line);
        written.iter().position(|operation| *operation == line)?.checked_sub(before)
    };
    let lines = violation.evidence.trim_end().lines();
    Some(Refusal {
        judge: violation.judge.to_string(),
        symptom: violation.symptom.clone(),
        evidence: lines.map(|line| (line.to_string(), which(line))).collect(),
    })
}

/// A line without its columns.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lanes(report: &Report) -> Vec<Lane> {
    let lane = |(at, name): (u32, &String)| {
        let client = name.strip_prefix("client").and_then(|number| number.parse().ok());
        let kind = match client {
            Some(_) => "client",
            None if at < report.drawn.nodes.max(1) => "node",
            None => "other",
        };
        Lane { name: name.clone(), kind, client }
    };
    (0..).zip(&report.names).map(lane).collect()
}

/// The last of them, and how many there were before.
fn operations(history: &History, most: usize) -> (Vec<Asked>, usize) {
    let all = &history.operations;
    let before = all.len().saturating_sub(most);
    let asked = |(number, operation): (u32, &Operation)| Asked {
        at: operation.began.at_ns,
        until: operation.ended.map(|moment| moment.at_ns),
        client: operation.client,
        key: operation.key,
        call: operation.call.to_string(),
        outcome: match operation.outcome {
            Outcome::Ok(_) => "ok",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        },
        answer: operation.outcome.to_string(),
        why: history.whys.get(&OpId(number)).cloned(),
    };
    ((0..).zip(all).skip(before).map(asked).collect(), before)
}

fn left_out(tape: &Tape, before: usize, operations: &[Asked]) -> Vec<(&'static str, u64, u64)> {
    let mut all = tape.left_out();
    if before > 0 {
        let first = operations.first().map_or(0, |operation| operation.at);
        all.insert(0, ("operations", before as u64, first));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Moment};

    #[test]
    fn only_the_last_operations_are_shown_and_the_rest_is_counted() {
        let operation = |at: u32| Operation {
            client: at,
            key: 0,
            call: Call::Get,
            began: Moment { order: at.into(), at_ns: at.into() },
            ended: None,
            outcome: Outcome::Failed,
        };
        let mut history = History::of((0..5).map(operation).collect());
        history.whys.insert(OpId(3), "there is a reason".into());
        let (shown, before) = operations(&history, 2);
        let shown_as: Vec<_> = shown.iter().map(|one| (one.client, one.why.as_deref())).collect();
        assert_eq!(shown_as, [(3, Some("there is a reason")), (4, None)]);
        assert_eq!(left_out(&Tape::default(), before, &shown), [("operations", 3, 3)]);
        assert_eq!(operations(&history, 5).1, 0);
    }
}
