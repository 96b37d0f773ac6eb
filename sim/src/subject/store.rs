//! The embedded store's body in a world. (Not there yet.)
//!
//! Not here: anything.

use crate::{
    run::{Drawn, Evidence, Request},
    scenario::Scenario,
    world::{World, WorldOptions},
};

/// Runs the scenario to its end.
#[must_use]
pub fn run(_scenario: &Scenario, request: &Request, _drawn: &Drawn) -> (World, Evidence) {
    (World::new(request.seed, WorldOptions::default()), Evidence::default())
}
