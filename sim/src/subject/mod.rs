//! Subjects: what runs inside a world and is judged.
//!
//! | subject | what it is |
//! | --- | --- |
//! | `toy` | a small replicated log with a fixed primary and a list of known bugs |
//!
//! Not here: the worlds, the faults, the judges.

pub mod toy;
pub mod toy_client;
pub mod toy_log;
pub mod toy_node;
pub mod toy_wire;
