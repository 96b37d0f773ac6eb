//! The room that knows `std`: what an ordinary Rust program opens.
//!
//! Not here: how a store works; that is the same code that runs in the simulator.

pub mod os;
