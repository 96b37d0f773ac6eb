//! HTTP/JSON: the cluster for whoever has curl, a browser or any language's standard library.
//!
//! ```text
//!   bytes ─► cut: requests ─► route: what is asked ─► desk: the cluster is asked ─► answer ─► bytes
//! ```
//! Paths and methods stand in one table (`route.rs`), which serves requests, answers what is not in
//! it, and is compared with the description for programs (`openapi.json`). Every failure is a
//! *problem* (RFC 9457) with a code, what to do next, and whether something may have happened.
//!
//! A connection has one request under way at a time; what is sent behind it waits in the buffer.
//!
//! Not here: the cluster (`client`), the Redis protocol (`resp`).

pub mod answer;
pub mod batch;
pub mod cut;
pub mod desk;
mod guard;
mod login;
mod percent;
pub mod route;
pub mod serve;
