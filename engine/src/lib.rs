//! What trilith is: storage and protocols, written without knowing an operating system.
//!
//! Everything here is `no_std` and `alloc`. Clocks, files, sockets, threads and entropy do not
//! exist in this crate; what needs them takes a [`runtime::Runtime`], and a leak of real time or
//! real randomness is a compile error. The one room that knows `std` is `embedded`, behind a
//! feature of its name: the store as an ordinary Rust program opens it.
//!
//! Modules stand in reading order: words first, then the pure rooms, then those that touch a disk.
//! `docs/architecture.md` has the law of who may import whom; a test enforces it.
//!
//! Not here: sockets and wire protocols (`trilith-net`), the simulator (`trilith-sim`), programs
//! (`trilith`).
#![no_std]

extern crate alloc;
#[cfg(any(feature = "embedded", feature = "mutants", test))]
extern crate std;

pub mod codec;
pub mod command;
pub mod journal;
pub mod limits;
pub mod lone;
pub mod mark;
pub mod packet;
pub mod raft;
pub mod runtime;
pub mod shard;
pub mod spread;
pub mod store;
pub mod types;
pub mod value;

#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(feature = "embedded")]
pub use embedded::{Durability, KvError, KvStore, WriteBatch};

/// The program of the README is a test.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
