//! The second world.
