//! How fast madsim is with the node code that our own world is timed with: five nodes, 20
//! connections, a beat of 64 bytes on each every 50 milliseconds. Quiet only: the faults of the
//! two worlds are not the same.
//!
//! ```console
//! cargo run --release -p trilith-madsim --example pace_madsim -- 600     # so many simulated seconds
//! ```
//!
//! Not here: our own world's run (`sim/examples/pace.rs`), what the nodes do (`beats`).
#![cfg_attr(
    madsim,
    expect(clippy::disallowed_methods, reason = "a stopwatch needs the real clock and a thread")
)]

#[cfg(madsim)]
#[path = "../../examples/beats/mod.rs"]
mod beats;

#[cfg(madsim)]
fn run(seed: u64, seconds: u64) {
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };
    use trilith_madsim::os::{MadRuntime, Witness};
    use trilith_sim::{platter::Platter, world};

    let beats = Arc::new(AtomicU64::new(0));
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_micros(100)..Duration::from_micros(900);
    let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, config);
    let witness = Witness::default();
    let begin = beats::used();
    runtime.block_on(async {
        for at in 0..beats::NODES {
            let ip = world::address(world::NodeId(at), 0).ip();
            let node = madsim::runtime::Handle::current().create_node().ip(ip).build();
            let (beats, witness) = (Arc::clone(&beats), witness.clone());
            drop(node.spawn(async move {
                let disk = Arc::new(Mutex::new(Platter::default()));
                let rt = MadRuntime::new(disk, &witness, u64::from(at), 1);
                beats::node(rt, at, beats).await;
            }));
        }
        madsim::time::sleep(Duration::from_secs(seconds)).await;
    });
    let took = beats::used() - begin;
    println!(
        "madsim quiet : {:>6.0} simulated s per s of one core; {} beats, {:.2} s, digest {}",
        seconds as f64 / took.as_secs_f64(),
        beats.load(Ordering::Relaxed),
        took.as_secs_f64(),
        witness.digest(),
    );
}

#[cfg(madsim)]
fn main() {
    for round in 0..3 {
        // A run has a thread of its own: madsim's second run on one thread differs from its first.
        let run = std::thread::spawn(move || run(round, beats::seconds_asked()));
        assert!(run.join().is_ok(), "the run ends");
    }
}

#[cfg(not(madsim))]
fn main() {
    println!("the flag `--cfg madsim` is missing: unset RUSTFLAGS, it replaces .cargo/config.toml");
}
