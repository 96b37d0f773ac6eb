//! The trilith program.
fn main() {}
