//! The world trilith is tested in.

pub mod check;
pub mod history;
pub mod luck;
pub mod shrink;
