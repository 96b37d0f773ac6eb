//! The world trilith is tested in.

pub mod luck;
