//! The second world.
//!
//! Not here: our own world and the simulated disk (`trilith-sim`).
