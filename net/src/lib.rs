//! How trilith speaks.
//!
//! Not here: what trilith is (`trilith-engine`), the simulated network (`trilith-sim`).
