//! The embedded store's body on the still disk, under the runner: each seed is one life of `lives`.
//!
//! A life draws its own steps, crashes and failing disks, and keeps its own model; the world here
//! only lends its ledger, so that marks, beliefs and planted bugs are this run's.
//!
//! Not here: what a life is (`lives`), the store among concurrent tasks (`store`).

use super::lives::{LifeOptions, life};
use crate::{
    check::Verdict,
    fault::Family,
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    world::{World, WorldOptions},
};

/// Runs one life.
#[must_use]
pub fn run(_scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let planted = request.mutant.iter().cloned().collect();
    let world = World::new(request.seed, WorldOptions { planted, ..WorldOptions::default() });
    let options = LifeOptions {
        steps: drawn.shape.operations as usize,
        keys: drawn.shape.keys.max(2),
        faults: drawn.families.contains(&Family::DiskError),
        // One machine loses its power anyway; a blackout does not end with the first.
        openings: drawn.families.contains(&Family::Blackout),
    };
    let ledger = world.ledger();
    let lived = {
        let _here = ledger.enter();
        life(request.seed, &options)
    };
    let verdict = match lived {
        Ok(_summary) => Verdict::Holds,
        Err(why) => {
            // The first words, without numbers, are the same for the same bug.
            let words = why.split_once(": ").map_or(why.as_str(), |(_, words)| words);
            let symptom: String = words
                .chars()
                .take_while(|letter| *letter != '\n')
                .filter(|letter| !letter.is_ascii_digit())
                .take(80)
                .collect();
            Verdict::violated("store", symptom, &why)
        }
    };
    (world, Evidence { store: Some(verdict), ..Evidence::default() })
}
