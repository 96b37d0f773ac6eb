//! The world's own promises, each as a small life that would show it broken.
//!
//! A simulator that is kinder than it says hides bugs in what it tests, and no run of a store
//! shows it. So the promises a store's judges build upon are stated here and judged like a store:
//! each has a planted bug in the world that breaks it, and is to be found broken by exactly that
//! (in a build with the feature `mutants`).
//!
//! Not here: the sentences that every door keeps, real ones too (`runtime/contract.rs`); the
//! world's unit tests (`tests/`).

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use trilith_engine::runtime::{
    Clock as _, Disk as _, File as _, Handle as _, Listener as _, Net as _, NetResult, Open,
    Runtime as _, StreamRead as _, StreamWrite as _, Task as _, race,
};

use super::{NodeId, World, WorldOptions};
use crate::{
    fault::FaultKind,
    os::{SimRuntime, SimStream},
};

/// A promise: its sentence, the planted bug that breaks it, and whether it holds in a world.
pub struct Law {
    /// What is promised.
    pub sentence: &'static str,
    /// The planted bug that breaks it.
    pub mutant: &'static str,
    holds: fn(&mut World) -> bool,
}

/// Every promise.
pub const LAWS: [Law; 11] = [
    Law {
        sentence: "a peer's death does not cross a cut",
        mutant: "world_reset_crosses_cut",
        holds: death_stays_behind_a_cut,
    },
    Law {
        sentence: "a machine without power is silent",
        mutant: "world_power_loss_resets",
        holds: no_power_no_word,
    },
    Law {
        sentence: "a writer waits for a reader that does not read",
        mutant: "world_no_window",
        holds: writers_wait,
    },
    Law {
        sentence: "what waits for a narrow link passes when it is wide again",
        mutant: "world_queue_outlives_throttle",
        holds: queues_end_with_narrow_links,
    },
    Law {
        sentence: "a connect fails by its deadline",
        mutant: "world_connect_waits_on",
        holds: connects_end,
    },
    Law {
        sentence: "a sleep never ends early",
        mutant: "world_timer_early",
        holds: sleeps_are_whole,
    },
    Law {
        sentence: "a held process does not run",
        mutant: "world_pause_ignored",
        holds: the_held_stand_still,
    },
    Law {
        sentence: "a power loss can take what was not synced",
        mutant: "world_power_loss_keeps_cache",
        holds: unsynced_bytes_can_go,
    },
    Law {
        sentence: "a power loss cannot take what was synced",
        mutant: "world_sync_skipped",
        holds: synced_bytes_stay,
    },
    Law {
        sentence: "a kill keeps the page cache",
        mutant: "world_kill_loses_cache",
        holds: a_kill_keeps_the_cache,
    },
    Law {
        sentence: "a dropped operation happens all the same",
        mutant: "world_dropped_write_undone",
        holds: dropped_writes_happen,
    },
];

/// The sentences that do not hold under this seed with these bugs planted.
#[must_use]
pub fn broken(seed: u64, planted: &[&str]) -> Vec<&'static str> {
    let planted: Vec<String> = planted.iter().map(ToString::to_string).collect();
    let broken = LAWS.iter().filter(|law| {
        let options = WorldOptions { planted: planted.clone(), ..WorldOptions::default() };
        let mut world = World::new(seed, options);
        world.add_idle("a");
        world.add_idle("b");
        !(law.holds)(&mut world)
    });
    broken.map(|law| law.sentence).collect()
}

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const PORT: u16 = 7000;
const SECOND: Duration = Duration::from_secs(1);

async fn nap(rt: &SimRuntime, time: Duration) {
    rt.clock().sleep_until(rt.clock().now() + time).await;
}

/// B accepts and serves whoever comes; answers A's end.
fn joined<F: Future<Output = ()> + Send + 'static>(
    world: &mut World,
    serve: impl Fn(SimStream) -> F + Send + 'static,
) -> Option<SimStream> {
    world.run_on(B, SECOND / 100, |rt| async move {
        let (listener, mine) = (rt.net().listen(rt.address(B, PORT)).await, rt.clone());
        let accepts = async move {
            let Ok(mut listener) = listener else { return };
            while let Ok((stream, _)) = listener.accept().await {
                mine.task().spawn("serves", serve(stream)).detach();
            }
        };
        rt.task().spawn("accepts", accepts).detach();
    })?;
    let dial = |rt: SimRuntime| async move {
        let deadline = rt.clock().now() + SECOND;
        rt.net().connect(rt.address(B, PORT), deadline).await.ok()
    };
    let stream = world.run_on(A, 2 * SECOND, dial)??;
    world.run_for(SECOND);
    Some(stream)
}

/// Serves without a word, and reads nothing.
async fn keep(stream: SimStream) {
    pending::<()>().await;
    drop(stream);
}

/// Whether A, reading from B, still waits ten seconds after something was done to the world.
fn silence_after(world: &mut World, done: impl FnOnce(&mut World)) -> bool {
    let Some(mut stream) = joined(world, keep) else { return false };
    done(world);
    let read = world.run_on(A, 10 * SECOND, move |_| async move {
        let read: NetResult<usize> = stream.read(&mut [0; 8]).await;
        read
    });
    read.is_none()
}

fn death_stays_behind_a_cut(world: &mut World) -> bool {
    silence_after(world, |world| {
        world.cut(B, A);
        world.kill(B);
    })
}

fn no_power_no_word(world: &mut World) -> bool {
    silence_after(world, |world| world.power_loss(B))
}

fn writers_wait(world: &mut World) -> bool {
    let Some(mut stream) = joined(world, keep) else { return false };
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let written = world.run_on(A, 10 * SECOND, move |_| async move {
        // Far more than any window.
        for _ in 0..200 {
            let Ok(len) = stream.write(&[1; 4096]).await else { return };
            count.fetch_add(len as u64, Ordering::Relaxed);
        }
    });
    written.is_none() && taken.load(Ordering::Relaxed) <= 64 << 10
}

fn queues_end_with_narrow_links(world: &mut World) -> bool {
    const SENT: usize = 10_000;
    let come = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&come);
    let read = move |mut stream: SimStream| {
        let count = Arc::clone(&count);
        async move {
            while let Ok(len @ 1..) = stream.read(&mut [0; 512]).await {
                count.fetch_add(len as u64, Ordering::Relaxed);
            }
        }
    };
    let Some(mut stream) = joined(world, read) else { return false };
    // All of it would be under way for ten seconds.
    world.strike(&FaultKind::Throttle { from: 0, to: 1, bytes_per_second: 1_000, for_ms: 500 });
    world.run_on(A, 3 * SECOND, move |rt| async move {
        let mut rest: &[u8] = &[1; SENT];
        while !rest.is_empty() {
            let Ok(len) = stream.write(rest).await else { return };
            rest = &rest[len..];
        }
        nap(&rt, 2 * SECOND).await;
    });
    come.load(Ordering::Relaxed) == SENT as u64
}

fn connects_end(world: &mut World) -> bool {
    world.power_loss(B);
    let failed = world.run_on(A, 10 * SECOND, |rt| async move {
        let begin = rt.true_time_ns();
        let deadline = rt.clock().now() + 2 * SECOND;
        let failed = rt.net().connect(rt.address(B, PORT), deadline).await.is_err();
        (failed, rt.true_time_ns() - begin)
    });
    failed.is_some_and(|(failed, took)| failed && took < 2_001_000_000)
}

fn sleeps_are_whole(world: &mut World) -> bool {
    let whole = world.run_on(A, 100 * SECOND, |rt| async move {
        let mut whole = true;
        for number in 1..50 {
            let (begin, time) = (rt.true_time_ns(), SECOND / 100 * number);
            nap(&rt, time).await;
            whole &= u128::from(rt.true_time_ns() - begin) >= time.as_nanos();
        }
        whole
    });
    whole == Some(true)
}

fn the_held_stand_still(world: &mut World) -> bool {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    world.run_on(A, SECOND, |rt| async move {
        let mine = rt.clone();
        let ticks = async move {
            loop {
                nap(&mine, SECOND / 100).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        rt.task().spawn("ticks", ticks).detach();
    });
    world.run_for(SECOND);
    world.pause(A);
    let before = count.load(Ordering::Relaxed);
    world.run_for(10 * SECOND);
    let held = count.load(Ordering::Relaxed);
    world.resume(A);
    world.run_for(SECOND);
    before > 0 && held == before && count.load(Ordering::Relaxed) > held
}

/// A writes eight sectors, syncs them or not, and something is done to it; answers how many bytes
/// are there afterwards.
fn left(world: &mut World, sync: bool, done: impl FnOnce(&mut World, NodeId)) -> Option<usize> {
    world
        .run_on(A, 10 * SECOND, move |rt| async move {
            rt.disk().create_dir("").await?;
            let file = rt.disk().open("f", Open::Create).await?;
            file.sync().await?;
            rt.disk().sync_dir("").await?;
            file.write_at(0, Bytes::from(vec![7; 4096])).await?;
            if sync { file.sync().await } else { Ok(()) }
        })?
        .ok()?;
    done(world, A);
    let bytes = world.with_platter(A, |platter| platter.peek("f"))?;
    Some(bytes.into_iter().filter(|byte| *byte == 7).count())
}

fn unsynced_bytes_can_go(world: &mut World) -> bool {
    // Luck may keep them all once, but not twenty times.
    (0..20).any(|round| {
        let options = WorldOptions { planted: world.planted.clone(), ..WorldOptions::default() };
        let mut again = World::new(world.seed() ^ (round << 32), options);
        again.add_idle("a");
        left(&mut again, false, World::power_loss).is_some_and(|left| left < 4096)
    })
}

fn synced_bytes_stay(world: &mut World) -> bool {
    left(world, true, World::power_loss) == Some(4096)
}

fn a_kill_keeps_the_cache(world: &mut World) -> bool {
    left(world, false, World::kill) == Some(4096)
}

fn dropped_writes_happen(world: &mut World) -> bool {
    let written = world.run_on(A, 10 * SECOND, |rt| async move {
        rt.disk().create_dir("").await?;
        for number in 0..20 {
            let file = rt.disk().open(&format!("f{number}"), Open::Create).await?;
            let write = file.write_at(0, Bytes::from_static(b"dropped"));
            race(write, std::future::ready(())).await;
        }
        nap(&rt, SECOND).await;
        Ok::<(), trilith_engine::runtime::DiskError>(())
    });
    matches!(written, Some(Ok(())))
        && (0..20).all(|number| {
            let bytes = world.with_platter(A, |platter| platter.peek(&format!("f{number}")));
            bytes.as_deref() == Some(b"dropped")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_keeps_its_laws() {
        for seed in 0..10 {
            assert_eq!(broken(seed, &[]), [""; 0], "{seed}");
        }
    }

    #[test]
    #[cfg(feature = "mutants")]
    fn every_planted_bug_breaks_its_law() {
        for law in &LAWS {
            let found = (0..5).map(|seed| broken(seed, &[law.mutant]));
            let found = found.filter(|broken| broken.contains(&law.sentence)).count();
            assert!(found > 0, "{} breaks nothing", law.mutant);
        }
    }
}
