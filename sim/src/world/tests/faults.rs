//! All faults together: every kind strikes and is felt, the same seed is the same run, and a leak
//! of the outside world is seen.

use std::collections::BTreeSet;

use bytes::Bytes;
use trilith_engine::runtime::{
    Disk as _, DiskResult, File as _, Handle as _, Listener as _, Net as _, Open, ReadMode,
    Stream as _, StreamRead as _, StreamWrite as _, Task as _,
};

use super::*;
use crate::{
    digest::Digest,
    fault::Family,
    plan::Weather,
    twice::Leak,
    world::{NodeId, Schedule, address},
};

const NODES: u32 = 4;
const PORT: u16 = 7000;

/// Talks to one other node, more than the window holds.
async fn talks(rt: SimRuntime, to: NodeId) {
    loop {
        let connect = rt.net().connect(address(to, PORT), in_time(&rt, ms(500)));
        if let Ok(stream) = connect.await {
            let (mut reader, mut writer) = stream.split();
            let reads = async move {
                let mut buffer = [0; 3_000];
                while let Ok(1..) = reader.read(&mut buffer).await {}
            };
            let reads = rt.task().spawn("reads", reads);
            while let Ok(1..) = writer.write(&[7; 5_000]).await {
                nap(&rt, ms(20)).await;
            }
            drop(reads);
        }
        nap(&rt, ms(50)).await;
    }
}

/// Sends everything back.
async fn answers(rt: SimRuntime) {
    let Ok(mut listener) = rt.net().listen(address(rt.node(), PORT)).await else { return };
    while let Ok((mut stream, _)) = listener.accept().await {
        let answers = async move {
            let mut buffer = [0; 5_000];
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                if stream.write(&buffer[..len]).await.is_err() {
                    return;
                }
            }
        };
        rt.task().spawn("answers", answers).detach();
    }
}

/// Overwrites a file of its own and reads it, for as long as the disk lets it.
async fn stores(rt: &SimRuntime) -> DiskResult<()> {
    rt.disk().create_dir("").await?;
    let _lock = rt.disk().lock("LOCK").await?;
    let name = format!("f{}", rt.life());
    let file = rt.disk().open(&name, Open::Create).await?;
    rt.disk().sync_dir("").await?;
    for step in 0_u64.. {
        file.write_at(step % 40 * 300, Bytes::from(vec![step as u8; 1_500])).await?;
        file.sync().await?;
        file.read_at(step % 7 * 1000, vec![0; 2_000], ReadMode::Uncached).await?;
        if step % 20 == 0 {
            rt.disk().open(&format!("{name}.tmp"), Open::Create).await?;
            rt.disk().rename(&format!("{name}.tmp"), &format!("{name}.done")).await?;
            rt.disk().sync_dir("").await?;
        }
        rt.clock().wall();
        nap(rt, ms(30)).await;
    }
    Ok(())
}

async fn node(rt: SimRuntime) {
    rt.task().spawn("answers", answers(rt.clone())).detach();
    for to in (0..NODES).map(NodeId).filter(|to| *to != rt.node()) {
        rt.task().spawn("talks", talks(rt.clone(), to)).detach();
    }
    let mine = rt.clone();
    let stores = async move {
        while let Err(error) = stores(&mine).await {
            mine.trace(|| format!("begins anew after {error}"));
            nap(&mine, ms(100)).await;
        }
    };
    rt.task().spawn("stores", stores).detach();
    rt.stopped().await;
    // Some stop in time, some do not.
    nap(&rt, ms(150)).await;
}

fn chaos(seed: u64, weather: &Weather) -> World {
    let schedule = match seed % 3 {
        0 => Schedule::Uniform,
        1 => Schedule::Pct { change_every: 30 },
        _ => Schedule::Fifo,
    };
    let mut world = World::new(seed, WorldOptions { schedule, ..WorldOptions::default() });
    for at in 0..NODES {
        world.add(&format!("n{at}"), NodeOptions::default(), node);
    }
    world.start_all();
    world.play(&weather.draw(seed).plan);
    world
}

#[test]
fn every_fault_strikes_and_is_felt() {
    let weather = Weather {
        swarm: false,
        count: 100,
        span_ms: 15_000,
        damaged_max: 2,
        ..Weather::of_nodes(NODES)
    };
    let mut felt: BTreeSet<String> = BTreeSet::new();
    for seed in 0..12 {
        let mut world = chaos(seed, &weather);
        world.run_for(secs(16));
        assert_eq!(world.panics(), [], "{seed}");
        felt.extend(world.probes().into_keys());
    }
    let kinds = "power_loss blackout kill stop pause replace swap_disks cut partition isolate \
                 bridge hold reset slow throttle loss flip partial drift wall_jump leap stall \
                 slow_disk disk disk_once full rot inside_disk_op inside_message";
    let mut expect: Vec<String> =
        kinds.split_whitespace().map(|kind| format!("fault.{kind}")).collect();
    let signs = "net.cut net.hold net.half_open net.reset net.loss net.slow net.narrow \
                 net.bit_flip net.partial_read net.partial_write net.back_pressure \
                 net.connect_hangs net.connect_timed_out net.refused process.power_loss \
                 process.kill process.stop process.stop_forced process.exit process.pause \
                 clock.wall_seen_going_back clock.timers_moved disk.stalled disk.slow";
    expect.extend(signs.split_whitespace().map(ToString::to_string));
    let platter = [
        "power loss",
        "process death",
        "crash inside an operation",
        "unsynced sector lost",
        "unsynced sector kept",
        "unsynced name change lost",
        "read error",
        "write error",
        "no space",
        "sync error",
        "directory sync error",
        "bit rot",
        "disk wiped",
        "disk swapped",
    ];
    expect.extend(platter.map(|what| format!("platter: {what}")));
    let missing: Vec<_> = expect.iter().filter(|probe| !felt.contains(*probe)).collect();
    assert!(missing.is_empty(), "never felt: {missing:?}; felt: {felt:?}");
}

#[test]
fn the_same_chaos_twice_alone_and_in_a_batch() {
    let weather = Weather { span_ms: 3_000, count: 15, ..Weather::of_nodes(NODES) };
    let mut batch: Vec<World> = (0..12).map(|seed| chaos(seed, &weather)).collect();
    for _ in 0..8 {
        for world in &mut batch {
            world.run_for(ms(500));
        }
    }
    let mut digests = BTreeSet::new();
    for (seed, together) in (0..).zip(&batch) {
        let mut alone = chaos(seed, &weather);
        alone.run_for(secs(4));
        assert_eq!(alone.digest(), together.digest(), "{seed}");
        assert_eq!(alone.probes(), together.probes(), "{seed}");
        digests.insert(alone.digest());
    }
    assert_eq!(digests.len(), 12);
}

#[test]
fn after_the_calm_everybody_runs_and_nothing_strikes() {
    let weather = Weather { span_ms: 60_000, count: 600, ..Weather::of_nodes(NODES) };
    for seed in 0..4 {
        let mut world = chaos(seed, &weather);
        world.run_for(secs(3));
        world.calm();
        let struck = |world: &World| -> u64 {
            let probes = world.probes().into_iter();
            probes.filter(|(name, _)| name.starts_with("fault.")).map(|(_, count)| count).sum()
        };
        let before = struck(&world);
        world.run_for(secs(30));
        assert_eq!(struck(&world), before);
        for node in (0..NODES).map(NodeId) {
            assert_eq!(world.status(node), crate::world::Status::Running);
        }
        let sent: Vec<u64> = (0..NODES).map(|node| world.messages(NodeId(node))).collect();
        world.run_for(secs(1));
        for (node, sent) in (0..NODES).zip(sent) {
            assert!(world.messages(NodeId(node)) > sent + 50, "n{node} talks again");
        }
    }
}

#[test]
fn a_family_that_is_not_drawn_does_not_strike() {
    let families = vec![Family::Partition];
    let weather = Weather { families, span_ms: 5_000, count: 50, ..Weather::of_nodes(NODES) };
    let mut world = chaos(0, &weather);
    world.run_for(secs(6));
    let others =
        ["process.kill", "process.power_loss", "process.pause", "net.loss", "net.bit_flip"];
    assert!(others.iter().all(|other| world.probe(other) == 0), "{:?}", world.probes());
    assert!(world.probe("net.cut") > 0);
}

/// Five tasks wake each other in an order that a leak decides; answers the digest.
fn leaks(leak: Leak) -> Digest {
    let mut world = alone(5, WorldOptions::default(), move |rt| async move {
        let tasks = ["a", "b", "c", "d", "e", "f", "g"];
        for _ in 0..20 {
            for name in leak.shuffle(&tasks) {
                rt.task().spawn(name, async {}).detach();
            }
            nap(&rt, ms(1)).await;
        }
    });
    world.run_for(secs(1));
    world.digest()
}

#[test]
fn a_leak_of_the_outside_world_is_seen_by_running_twice() {
    assert_eq!(leaks(Leak::None), leaks(Leak::None));
    assert_ne!(leaks(Leak::HashOrder), leaks(Leak::HashOrder));
    assert_ne!(leaks(Leak::Clock), leaks(Leak::Clock));
}
