//! Scripts: exact steps, and exactly what came of them.
//!
//! ```text
//! # One SET on three nodes, then the primary goes dark.
//! cluster 3 seed 7
//! set k0 5
//! ---
//! done
//!
//! get k0
//! ---
//! 5
//! ```
//! A step stands above `---`, what it printed below, a blank line between two. The manner is
//! goldenscript's: change the code, run with `TRILITH_GOLDEN=1`, and the difference of the file is
//! the review.
//!
//! Steps: `cluster N seed S [bug NAME]` (first) · `set|incr K V`, `get|delete K`, `cas K FROM TO` ·
//! `power_loss|kill|start|pause|resume|wipe nN…` · `cut|heal nA nB` (both ways) · `wait MS` ·
//! `states` (what every replica holds).
//!
//! Not here: random runs (`run`).

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{
    history::{Call, OpId},
    subject::{
        toy::{Bugs, Glass},
        toy_client,
        toy_run::add_toys,
    },
    twice::Leak,
    world::{NodeId, World, WorldOptions},
};

struct Stage {
    world: World,
    glass: Glass,
    client: NodeId,
    nodes: u32,
    asked: u32,
}

/// Plays a script's text and answers it with what really came of each step.
///
/// # Errors
/// The step that is not one.
pub fn play(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut stage = None;
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let steps = block.split("\n---").next().unwrap_or_default().trim();
        let mut told = String::new();
        for line in steps.lines() {
            let step = line.split('#').next().unwrap_or_default().trim();
            if step.is_empty() {
                continue;
            }
            let words: Vec<&str> = step.split_whitespace().collect();
            let done = match (words.as_slice(), &mut stage) {
                (["cluster", rest @ ..], None) => {
                    stage = Some(Stage::new(rest).ok_or_else(|| bad(step))?);
                    Some(String::new())
                }
                (words, Some(stage)) => stage.step(words),
                (_, None) => None,
            };
            told.push_str(&done.ok_or_else(|| bad(step))?);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        if told.is_empty() {
            writeln!(out, "{steps}").unwrap_or_default();
        } else {
            writeln!(out, "{steps}\n---\n{}", told.trim_end()).unwrap_or_default();
        }
    }
    Ok(out)
}

fn bad(step: &str) -> String {
    format!("{step:?} is no step (a script begins with `cluster N seed S`)")
}

fn number<T: std::str::FromStr>(word: &str, prefix: &str) -> Option<T> {
    word.strip_prefix(prefix)?.parse().ok()
}

impl Stage {
    fn new(words: &[&str]) -> Option<Self> {
        let (nodes, seed, bugs) = match words {
            [nodes, "seed", seed] => (nodes, seed, Bugs::default()),
            [nodes, "seed", seed, "bug", bug] => (nodes, seed, Bugs::of(&[bug.parse().ok()?])),
            _ => return None,
        };
        let nodes = nodes.parse().ok()?;
        let mut world = World::new(seed.parse().ok()?, WorldOptions::default());
        let glass = Glass::default();
        add_toys(&mut world, nodes, Leak::None, &bugs, &glass);
        let client = world.add_idle("client");
        world.start_all();
        world.run_for(Duration::from_secs(1));
        Some(Self { world, glass, client, nodes, asked: 0 })
    }

    fn step(&mut self, words: &[&str]) -> Option<String> {
        let key = |word: &str| number(word, "k");
        let call = match words {
            ["get", at] => Some((key(at)?, Call::Get)),
            ["delete", at] => Some((key(at)?, Call::Delete)),
            ["set", at, value] => Some((key(at)?, Call::Set(value.parse().ok()?))),
            ["incr", at, by] => Some((key(at)?, Call::Incr(by.parse().ok()?))),
            ["cas", at, from, to] => {
                let from = if *from == "nothing" { None } else { Some(from.parse().ok()?) };
                Some((key(at)?, Call::Cas { from, to: to.parse().ok()? }))
            }
            _ => None,
        };
        match (call, words) {
            (Some((key, call)), _) => Some(self.ask(key, call)),
            (None, ["wait", ms]) => {
                self.world.run_for(Duration::from_millis(ms.parse().ok()?));
                Some(String::new())
            }
            (None, ["states"]) => Some(self.states()),
            (None, [what @ ("cut" | "heal"), one, other]) => {
                let (one, other) = (NodeId(number(one, "n")?), NodeId(number(other, "n")?));
                match *what {
                    "cut" => self.world.cut_both(one, other),
                    _ => self.world.heal_both(one, other),
                }
                Some(String::new())
            }
            (None, [what, nodes @ ..]) if !nodes.is_empty() => {
                for node in nodes {
                    self.strike(what, NodeId(number(node, "n")?))?;
                }
                Some(String::new())
            }
            _ => None,
        }
    }

    fn strike(&mut self, what: &str, node: NodeId) -> Option<()> {
        if node.0 >= self.nodes {
            return None;
        }
        match what {
            "power_loss" => self.world.power_loss(node),
            "kill" => self.world.kill(node),
            "start" => self.world.start(node),
            "pause" => self.world.pause(node),
            "resume" => self.world.resume(node),
            "wipe" => self.world.wipe(node),
            _ => return None,
        }
        Some(())
    }

    fn ask(&mut self, key: u32, call: Call) -> String {
        self.asked += 1;
        let (nodes, sequence, id) = (self.nodes, u64::from(self.asked), OpId(self.asked));
        let began = self.world.now();
        let outcome = self.world.run_on(self.client, Duration::from_secs(10), |runtime| {
            toy_client::once(runtime, nodes, sequence, id, key, call)
        });
        let took = (self.world.now() - began).as_millis();
        match outcome {
            Some(outcome) => format!("{outcome} after {took} ms\n"),
            None => "no outcome\n".into(),
        }
    }

    fn states(&self) -> String {
        let mut text = String::new();
        for (node, seen) in self.glass.nodes() {
            let values: BTreeMap<String, u64> = seen
                .machine
                .values
                .iter()
                .map(|(key, value)| (format!("k{key}"), *value))
                .collect();
            let up = if seen.up { "" } else { " (down)" };
            writeln!(text, "n{node}{up} {values:?}").unwrap_or_default();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_answers_itself() {
        let text = "cluster 3 seed 1\n\nset k0 5\nget k0\n";
        let played = play(text).expect("a script");
        assert_eq!(
            play(&played).as_deref(),
            Ok(played.as_str()),
            "playing it again changes nothing"
        );
        assert!(played.contains("done after"), "{played}");
        assert!(play("set k0 5").is_err(), "there is no cluster yet");
        assert!(play("cluster 3 seed 1\n\njump n0").is_err());
    }
}
