//! The world trilith is tested in.
