//! Every bound of the engine in one place, each with its reason.
//!
//! What grows from outside (a queue, a buffer, a retry, a map) has its constant here; reaching it
//! is an error reply or back-pressure, never memory.
//!
//! Not here: what an operator may tune (options of the rooms themselves).

/// A key's length. The record header keeps it in 16 bits.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// A value's length in an embedded store: what one process can sensibly hold twice in memory
/// while compaction moves it.
pub const VALUE_BYTES_MAX_EMBEDDED: usize = 64 << 20;

/// A value's length in a cluster: one entry must not hold up a peer link for longer than an
/// election timeout at 100 MB/s.
pub const VALUE_BYTES_MAX_CLUSTER: usize = 8 << 20;

/// A file's name below the data directory: what every file system takes as one component.
pub const NAME_BYTES_MAX: usize = 255;
