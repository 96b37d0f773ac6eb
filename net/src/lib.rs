//! How trilith speaks.
//!
//! - `os`: the real doors on tokio, files and sockets (feature `os`).
//!
//! Not here: what trilith is (`trilith-engine`), the simulated network (`trilith-sim`).

#[cfg(feature = "os")]
pub mod os;
