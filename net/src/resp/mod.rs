//! The Redis protocol, so that clients which exist can speak with us.
//!
//! Files in reading order: `request` (bytes become commands), `reply` (answers become bytes),
//! `commands` (which there are).
//!
//! Not here: the native protocol (`peer/callers.rs`), what commands do to a state (`trilith_engine`).

pub mod commands;
pub mod reply;
pub mod request;
