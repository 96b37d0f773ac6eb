//! Backups: what a cluster holds, in a directory, and back again.
//!
//! - `format`: the bytes of a backup, pure.
//!
//! Not here: what holds a group's moment still (`trilith_engine::shard`), the words of the operator
//! (`trilith ctl backup`).

pub mod format;
