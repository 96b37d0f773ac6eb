//! Runs as pages: the same run is the same page, a page says what happened, and nothing that is in
//! a run can break out of it.
//!
//! ```text
//! TRILITH_GOLDEN=1 cargo test -p trilith-sim --test plays        the golden play is what it is now
//! ```
//! Not here: what a browser makes of them (`.ci/page`).
#![expect(clippy::disallowed_methods, reason = "the golden play is a file")]

use std::{env, fs, path::PathBuf};

use trilith_sim::{
    play::Play,
    run::{Report, Request, run},
    scenario::Scenario,
};

const TINY: &str = r#"
about = "Four questions to a toy of two nodes, one of which dies."
subject = "toy"

[cluster]
nodes = 2

[load]
clients = 1
operations = 4
calm_operations = 0

[time]
chaos_ms = 200
settle_ms = 100
calm_ms = 10
bound_ms = 10

[[fixed.faults]]
when = { at_ms = 60 }
what = { kill = { node = 1, down_ms = 20 } }

[judges]
ask = ["linearizable"]
"#;

const GUILTY: &str = r#"
about = "A toy whose backups answer from their own state."
subject = "toy"

[faults]
families = ["power_loss", "blackout", "kill", "stop", "pause", "partition", "clog", "weather", "clock"]
count = "2..=14"

[subject_options]
bugs = ["toy_stale_read"]

[judges]
ask = ["linearizable", "durable"]
"#;

const CLUSTER: &str = r#"
about = "Three nodes and a power loss."
subject = "cluster"

[load]
clients = 2
operations = 20

[faults]
families = ["power_loss", "partition"]
count = 3

[judges]
ask = ["linearizable", "raft"]
"#;

fn scenario(name: &str, text: &str) -> Scenario {
    Scenario::parse(name, text, &|_| None).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn taped(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, &Request { tape: true, ..Request::of(seed) })
}

fn played(scenario: &Scenario, seed: u64) -> Play {
    let mut play = Play::of(scenario, &taped(scenario, seed));
    play.run.commit = "0123456789ab".into();
    play
}

/// One row a line, so that a difference can be read.
fn rows(play: &Play) -> String {
    let json = serde_json::to_string(play).expect("a play is JSON");
    json.replace("],[", "],\n[").replace("},{", "},\n{").replace("],\"", "],\n\"") + "\n"
}

#[test]
fn a_tiny_run_is_played_as_it_was() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plays/a_tiny_run.json"));
    let now = rows(&played(&scenario("a_tiny_run", TINY), 1));
    if env::var_os("TRILITH_GOLDEN").is_some() {
        fs::write(&path, &now).expect("the golden play can be written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(now.lines()).position(|(one, other)| one != other);
    assert!(
        golden == now,
        "the play differs from {} in line {:?}; if the new one is right: TRILITH_GOLDEN=1",
        path.display(),
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_same_run_gives_the_same_page_and_another_seed_another() {
    let scenario = scenario("a_cluster", CLUSTER);
    let page = |seed| played(&scenario, seed).page().expect("a page");
    let first = page(7);
    assert!(first == page(7), "two runs of one seed gave two pages");
    assert!(first != page(8), "another seed gave the same page");
}

#[test]
fn a_tape_changes_nothing() {
    for (name, text) in [("a_tiny_run", TINY), ("a_cluster", CLUSTER)] {
        let scenario = scenario(name, text);
        let quiet = run(&scenario, &Request::of(7));
        assert!(quiet.tape.is_none());
        assert_eq!(quiet.digest, taped(&scenario, 7).digest, "{name}");
    }
}

#[test]
fn nothing_in_a_run_ends_the_script() {
    let bad = "</script><script>evil()</script><!-- <script> \u{2028} {{play}} {{style}} &lt;";
    let mut play = played(&scenario("a_tiny_run", TINY), 1);
    let scripts = |page: &str| page.to_lowercase().matches("</script").count();
    let before = scripts(&play.page().expect("a page"));
    play.run.about = bad.into();
    play.run.scenario = "</title><script>evil()</script>".into();
    play.words.push((1, None, bad.into()));
    let page = play.page().expect("a page");
    assert_eq!(scripts(&page), before);
    assert!(!page.contains("<script>evil") && !page.contains("</title><script>"));
    let (_, data) = page.split_once("id=\"data\">").expect("the place of the data");
    let (data, _) = data.split_once("</script>").expect("its end");
    let read: serde_json::Value = serde_json::from_str(data).expect("it is JSON still");
    assert_eq!(read["run"]["about"], bad, "and says what it said");
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let page = played(&scenario("a_tiny_run", TINY), 1).page().expect("a page");
    let places = ["src=", "href=", "@import", "url(", "fetch(", "XMLHttpRequest", "import("];
    for place in places {
        assert!(!page.contains(place), "the page reaches out: {place}");
    }
    assert!(!page.contains("{{"), "every place was filled");
}

#[test]
fn evidence_leads_to_its_operations() {
    let scenario = scenario("a_guilty_toy", GUILTY);
    let report = (1..200).map(|seed| taped(&scenario, seed)).find(|one| one.violation.is_some());
    let report = report.expect("a toy with a bug is refused");
    let play = Play::of(&scenario, &report);
    let refusal = play.refusal.as_ref().expect("it was refused");
    let named: Vec<_> =
        refusal.evidence.iter().filter_map(|(line, op)| op.map(|op| (line, op))).collect();
    assert!(!named.is_empty(), "no line names an operation: {:?}", refusal.evidence);
    for (line, op) in named {
        let operation = &play.operations[op];
        assert!(line.contains(&operation.call), "{line:?} is not {operation:?}");
        assert!(line.contains(&format!("k{}", operation.key)));
    }
    let refused = play.judges.iter().filter(|judge| judge.said == "refuses");
    assert_eq!(
        refused.map(|judge| judge.name.as_str()).collect::<Vec<_>>(),
        [refusal.judge.as_str()]
    );
}

#[test]
fn a_cluster_shows_what_its_nodes_believe_and_what_they_would_lose() {
    let scenario = scenario("a_cluster", CLUSTER);
    let play = played(&scenario, 7);
    let nodes = play.lanes.iter().filter(|lane| lane.kind == "node").count();
    let clients = play.lanes.iter().filter(|lane| lane.kind == "client").count();
    assert_eq!((nodes, clients), (3, 2));
    assert!(play.beliefs.iter().any(|row| row.3 == "leader" && row.5 > 0), "somebody leads");
    assert!(play.stakes.iter().any(|row| row.2 > 0), "something waits for a sync");
    assert!(play.packets.iter().any(|row| row.3.contains("append")));
    assert!(play.messages.iter().any(|row| row.5 == 1));
    for (at, .., fate, when) in &play.messages {
        assert!(*fate == 0 || when >= at, "a message arrived before it was sent");
    }
    let booted = |node| play.lives.iter().filter(|row| row.1 == node && row.3 == "boots").count();
    assert!((0..3).all(|node| booted(node) > 0));
    assert!(play.left_out.is_empty(), "a short run is all there");
    let rows: [Vec<u64>; 4] = [
        play.messages.iter().map(|row| row.0).collect(),
        play.beliefs.iter().map(|row| row.0).collect(),
        play.stakes.iter().map(|row| row.0).collect(),
        play.words.iter().map(|row| row.0).collect(),
    ];
    assert!(rows.iter().all(|times| times.is_sorted()), "rows are in order of time");
}
