//! The Redis protocol, so that clients which exist can speak with us.
//!
//! Files in reading order: `request` (bytes become commands), `reply` (answers become bytes),
//! `commands` (which there are), `act` (what they say about keys), `decimal` (fractions),
//! `scratch` (what it does).
//!
//! Not here: the native protocol (`peer/callers.rs`), what commands do to a state (`trilith_engine`).

pub mod act;
pub mod commands;
pub mod decimal;
pub mod reply;
pub mod request;
pub mod scratch;
