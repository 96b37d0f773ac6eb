//! The second world: the same node code on another executor, written by other people.
//!
//! Two simulators that agree are worth more than one. This one runs nodes on madsim: its
//! executor, its virtual time, its network, and its interception of libc, which makes a leak of
//! real time or real randomness visible that our own world cannot see. The disk is our own
//! [`Platter`](trilith_sim::platter::Platter), since madsim has none that breaks.
//!
//! What madsim cannot do, and this world therefore does not ask:
//! - back-pressure with delay: its streams have none, and the window that `os/net.rs` adds gives
//!   credit back at once;
//! - half-open peers: a death is heard through any partition, and connecting into one is refused
//!   at once;
//! - panics that stay in their task: one ends the run;
//! - another clock for each node, schedules of our choice, several runs on one thread.
//!
//! Its parts are compiled only under `--cfg madsim`, which stands in `.cargo/config.toml`. An
//! environment that sets `RUSTFLAGS` silently drops that flag, so a test here fails loudly when
//! it is missing.
//!
//! Not here: the faults of our own world (`trilith-sim`), which go much further.

#[cfg(madsim)]
pub mod os;
#[cfg(madsim)]
pub mod world;

#[cfg(all(test, not(madsim)))]
mod tests {
    #[test]
    fn the_second_world_is_compiled_in() {
        panic!(
            "the flag `--cfg madsim` is missing, so nothing of the second world was tested. It \
             stands in .cargo/config.toml; a RUSTFLAGS or CARGO_ENCODED_RUSTFLAGS variable in the \
             environment replaces it. Unset the variable, or add `--cfg madsim` to it."
        );
    }
}
