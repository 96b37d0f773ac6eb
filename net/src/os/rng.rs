//! Luck from the operating system: the stream of the embedded store's door, which needs no
//! executor and fits every one.
//!
//! Not here: seeded luck, which only the simulator has.

/// A stream of luck.
pub type OsRng = trilith_engine::embedded::os::NativeRng;
