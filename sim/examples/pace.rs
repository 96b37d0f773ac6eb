//! How fast the simulated world is: five nodes, a connection for each of the 20 ordered pairs, a
//! beat of 64 bytes on each every 50 milliseconds; quiet, and under every family of faults.
//!
//! ```console
//! cargo run --release -p trilith-sim --example pace            # one simulated hour, three times
//! cargo run --release -p trilith-sim --example pace -- 600     # so many simulated seconds
//! ```
//!
//! It counts the time one core worked, not the time on the wall, so a busy machine does not blur
//! it. The node code is as small as it can be, so this measures the world itself: what is left to a
//! real engine is another program's question.
//!
//! Not here: what the beats are for.
#![expect(clippy::disallowed_methods, reason = "a stopwatch needs the real clock")]

use std::time::Duration;

use trilith_engine::runtime::{
    Clock as _, Handle as _, Listener as _, Net as _, Runtime as _, StreamRead as _,
    StreamWrite as _, Task as _,
};
use trilith_sim::{
    os::SimRuntime,
    plan::Weather,
    world::{NodeId, NodeOptions, Schedule, World, WorldOptions},
};

const NODES: u32 = 5;
const PORT: u16 = 7000;
const BEAT: Duration = Duration::from_millis(50);

async fn nap(rt: &SimRuntime, time: Duration) {
    rt.clock().sleep_until(rt.clock().now() + time).await;
}

async fn link(rt: SimRuntime, to: NodeId) {
    loop {
        let deadline = rt.clock().now() + Duration::from_secs(1);
        let Ok(mut stream) = rt.net().connect(rt.address(to, PORT), deadline).await else {
            nap(&rt, BEAT).await;
            continue;
        };
        while let Ok(64) = stream.write(&[7; 64]).await {
            nap(&rt, BEAT).await;
        }
    }
}

async fn node(rt: SimRuntime) {
    for to in (0..NODES).map(NodeId).filter(|to| *to != rt.node()) {
        rt.task().spawn("link", link(rt.clone(), to)).detach();
    }
    let own = rt.address(rt.node(), PORT);
    let Ok(mut listener) = rt.net().listen(own).await else { return };
    while let Ok((mut stream, _)) = listener.accept().await {
        let reads = async move {
            let mut buffer = [0; 1024];
            while let Ok(1..) = stream.read(&mut buffer).await {}
        };
        rt.task().spawn("reads", reads).detach();
    }
}

/// The processor time this thread has used: what a busy machine does not change. Where Linux does
/// not tell, the time on the wall.
fn used() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    let wall = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    nanos.map_or_else(|| wall().unwrap_or_default(), Duration::from_nanos)
}

fn run(seed: u64, schedule: Schedule, seconds: u64, faults: bool) {
    let options = WorldOptions { schedule, ..WorldOptions::default() };
    let mut world = World::new(seed, options);
    for at in 0..NODES {
        world.add(&format!("n{at}"), NodeOptions::default(), node);
    }
    world.start_all();
    if faults {
        let weather = Weather { span_ms: seconds * 1000, swarm: false, ..Weather::of_nodes(NODES) };
        world.play(&weather.draw(seed).plan);
    }
    let begin = used();
    world.run_for(Duration::from_secs(seconds));
    let took = used() - begin;
    let messages: u64 = (0..NODES).map(|node| world.messages(NodeId(node))).sum();
    let struck: u64 = world
        .probes()
        .iter()
        .filter(|(name, _)| name.starts_with("fault."))
        .map(|(_, count)| count)
        .sum();
    println!(
        "{schedule:?} {}: {:>6.0} simulated s per s of one core, {messages} messages, {} polls, {struck} \
         faults, {:.2} s, digest {}",
        if faults { "faults" } else { "quiet " },
        seconds as f64 / took.as_secs_f64(),
        world.polls(),
        took.as_secs_f64(),
        world.digest(),
    );
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3600);
    for round in 0..3 {
        for schedule in [Schedule::Uniform, Schedule::Pct { change_every: 100 }] {
            run(round, schedule, seconds, false);
            run(round, schedule, seconds, true);
        }
    }
}
