//! Subjects: what runs inside a world and is judged.
//!
//! | subject | what it is |
//! | --- | --- |
//! | `toy` | a small replicated log with a fixed primary and a list of known bugs |
//! | `cluster` | strong groups on nodes: shard, journal, links, clients with sessions |
//! | `journal` | the journal alone, on one node |
//! | `damage` | the journal on a disk that is damaged at chosen structures |
//! | `store` | the body of the embedded store: writers, readers and chores around one owner |
//! | `lives` | the same on the still disk, step by step |
//! | `links` | the links between nodes, and strangers at their port |
//!
//! Not here: the worlds, the faults, the judges.

pub mod cluster;
pub mod cluster_client;
pub mod cluster_dealer;
pub mod cluster_governor;
mod cluster_guest;
mod cluster_http;
mod cluster_measures;
pub mod cluster_mortal;
pub mod cluster_operator;
pub mod cluster_reader;
mod cluster_redis;
mod cluster_tape;
mod cluster_text;
pub mod damage;
pub mod journal;
pub mod links;
mod links_mischief;
pub mod lives;
pub mod still_store;
pub mod store;
pub mod store_model;
pub mod toy;
pub mod toy_client;
pub mod toy_log;
pub mod toy_node;
pub mod toy_run;
pub mod toy_wire;
