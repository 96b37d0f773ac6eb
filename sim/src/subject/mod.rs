//! Subjects: what runs inside a world and is judged.
//!
//! | subject | what it is |
//! | --- | --- |
//! | `lives` | short lives of the lone store on a still disk, crashed anywhere, beside a model |
//! | `toy` | a small replicated log with a fixed primary and a list of known bugs |
//! | `store` | the body of the embedded store, on one node |
//!
//! Not here: the worlds, the faults, the judges.

pub mod lives;
pub mod store;
pub mod toy;
pub mod toy_client;
pub mod toy_log;
pub mod toy_node;
pub mod toy_run;
pub mod toy_wire;
