//! Nodes on madsim: their addresses, disks and lives.
//!
//! Not here: what runs in them.
