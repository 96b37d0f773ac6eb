//! The trilith-sim program.
fn main() {}
