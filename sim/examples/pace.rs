//! How fast the simulated world is: five nodes, a connection for each of the 20 ordered pairs, a
//! beat of 64 bytes on each every 50 milliseconds; quiet, and under every family of faults.
//!
//! ```console
//! cargo run --release -p trilith-sim --example pace            # one simulated hour, three times
//! cargo run --release -p trilith-sim --example pace -- 600     # so many simulated seconds
//! cargo run --release -p trilith-madsim --example pace_madsim         # the same node code on madsim
//! ```
//!
//! It counts the time one core worked, not the time on the wall, so a busy machine does not blur
//! it. The node code is as small as it can be, so this measures the world itself: what is left to
//! a real engine is another program's question.
//!
//! Not here: what the nodes do (`beats`).
#![expect(clippy::disallowed_methods, reason = "a stopwatch needs the real clock")]

mod beats;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beats::{NODES, node, seconds_asked, used};
use trilith_sim::{
    plan::Weather,
    world::{NodeOptions, Schedule, World, WorldOptions},
};

fn run(seed: u64, schedule: Schedule, seconds: u64, faults: bool) {
    let beats = Arc::new(AtomicU64::new(0));
    let options = WorldOptions { schedule, ..WorldOptions::default() };
    let mut world = World::new(seed, options);
    for at in 0..NODES {
        let beats = Arc::clone(&beats);
        world.add(&format!("n{at}"), NodeOptions::default(), move |rt| {
            node(rt, at, Arc::clone(&beats))
        });
    }
    world.start_all();
    if faults {
        // One fault a second, about; they last half a second in the mean.
        let (span_ms, count) = (seconds * 1000, seconds);
        let weather = Weather { span_ms, count, swarm: false, ..Weather::of_nodes(NODES) };
        world.play(&weather.draw(seed).plan);
    }
    let begin = used();
    world.run_for(Duration::from_secs(seconds));
    let took = used() - begin;
    let probes = world.probes().into_iter();
    let struck: u64 =
        probes.filter(|(name, _)| name.starts_with("fault.")).map(|(_, count)| count).sum();
    println!(
        "{schedule:?} {}: {:>6.0} simulated s per s of one core; {} beats, {} polls, {struck} \
         faults, {:.2} s, digest {}",
        if faults { "faults" } else { "quiet " },
        seconds as f64 / took.as_secs_f64(),
        beats.load(Ordering::Relaxed),
        world.polls(),
        took.as_secs_f64(),
        world.digest(),
    );
}

fn main() {
    let seconds = seconds_asked();
    for round in 0..3 {
        for schedule in [Schedule::Uniform, Schedule::Pct { change_every: 100 }] {
            run(round, schedule, seconds, false);
            run(round, schedule, seconds, true);
        }
    }
}
