//! Disks over time: slowness, stalls, and deaths inside an operation.

use bytes::Bytes;
use trilith_engine::runtime::{Disk as _, DiskErrorKind, DiskResult, File as _, Open, ReadMode};

use super::*;
use crate::{
    fault::{DiskFault, Fault, FaultKind, FaultPlan, When},
    platter::Happened,
    world::{NodeId, Status},
};

const N: NodeId = NodeId(0);

/// Appends records of 100 bytes, each synced before it is acknowledged.
async fn appends(rt: SimRuntime, acknowledged: Log<u8>) -> DiskResult<()> {
    rt.disk().create_dir("").await?;
    let file = match rt.disk().open("log", Open::Create).await {
        Err(error) if error.kind == DiskErrorKind::Exists => {
            rt.disk().open("log", Open::Write).await?
        }
        other => other?,
    };
    rt.disk().sync_dir("").await?;
    let mut end = file.len().await? / 100;
    while end < 200 {
        file.write_at(end * 100, Bytes::from(vec![end as u8 + 1; 100])).await?;
        file.sync().await?;
        acknowledged.add(end as u8 + 1);
        end += 1;
    }
    Ok(())
}

fn appender(seed: u64, log: &Log<u8>) -> World {
    let into = log.clone();
    alone(seed, WorldOptions::default(), move |rt| {
        let log = into.clone();
        async move { drop(appends(rt, log).await) }
    })
}

fn stored(world: &mut World) -> Vec<u8> {
    world.with_platter(N, |platter| platter.peek("log")).unwrap_or_default()
}

#[test]
fn what_is_synced_survives_a_power_loss_inside_every_operation() {
    let mut torn = 0;
    for nth in 1..60 {
        let log = Log::new();
        let mut world = appender(nth, &log);
        let plan = FaultPlan {
            entries: vec![Fault {
                when: When::DiskOp { node: 0, nth },
                what: FaultKind::PowerLoss { nodes: vec![0], down_ms: 1_000_000 },
            }],
        };
        world.play(&plan);
        world.run_for(secs(1));
        assert_eq!((world.status(N), world.disk_ops(N)), (Status::Off, nth));
        let inside =
            world.with_platter(N, |platter| platter.probes().count(Happened::CrashInOperation));
        assert_eq!((inside, world.probe("fault.inside_disk_op")), (1, 1));
        let (acknowledged, stored) = (log.all(), stored(&mut world));
        for id in &acknowledged {
            let at = (usize::from(*id) - 1) * 100;
            assert_eq!(&stored[at..at + 100], [*id; 100], "acknowledged at {nth}");
        }
        torn += usize::from(stored.len() > acknowledged.len() * 100);
    }
    assert!(torn > 5, "sometimes more is there than was acknowledged: {torn}");
}

#[test]
fn a_kill_keeps_the_page_cache() {
    for nth in 1..30 {
        let log = Log::new();
        let mut world = appender(nth, &log);
        let plan = FaultPlan {
            entries: vec![Fault {
                when: When::DiskOp { node: 0, nth },
                what: FaultKind::Kill { node: 0, down_ms: 10 },
            }],
        };
        world.play(&plan);
        world.run_for(secs(1));
        assert_eq!(world.life(N), 2);
        assert!(log.all().len() >= 199, "the next life goes on at the end");
        assert_eq!(stored(&mut world).len(), 20_000);
    }
}

#[test]
fn a_stalled_disk_answers_later_and_a_slow_one_slowly() {
    let took = |fault: Option<FaultKind>| {
        let log = Log::new();
        let mut world = appender(1, &log);
        fault.iter().for_each(|fault| world.strike(fault));
        world.run_until_idle(secs(1000));
        assert_eq!(log.all().len(), 200);
        world.now().as_millis()
    };
    let plain = took(None);
    assert!((40..400).contains(&plain), "{plain}");
    let stalled = took(Some(FaultKind::Stall { node: 0, for_ms: 5_000 }));
    assert!((5_040..5_400).contains(&stalled), "{stalled}");
    let slow = took(Some(FaultKind::SlowDisk { node: 0, times: 20, for_ms: 1_000_000 }));
    assert!(slow > 10 * plain, "{slow}");
}

#[test]
fn a_disk_lies_once_and_the_program_hears_of_it() {
    let cases = [
        (DiskFault::WriteError, DiskErrorKind::Io),
        (DiskFault::NoSpace, DiskErrorKind::NoSpace),
        (DiskFault::SyncError, DiskErrorKind::Io),
        (DiskFault::SyncDirError, DiskErrorKind::Io),
    ];
    for (fault, expect) in cases {
        let mut world = idle(1, 1);
        world.strike(&FaultKind::DiskOnce { node: 0, fault });
        let log = Log::new();
        let into = log.clone();
        let failed = world.run_on(N, secs(10), move |rt| appends(rt, into)).expect("it ends");
        assert_eq!(failed.map_err(|error| error.kind), Err(expect), "{fault:?}");
        let again = world.run_on(N, secs(10), move |rt| appends(rt, log)).expect("it ends");
        assert_eq!(again, Ok(()), "{fault:?} was told once");
    }
}

#[test]
fn a_full_disk_has_room_again() {
    let mut world = idle(1, 1);
    world.strike(&FaultKind::Full { node: 0, room_kib: 0, for_ms: 1_000 });
    let append = |world: &mut World| {
        let append = world.run_on(N, secs(10), |rt| appends(rt, Log::new())).expect("it ends");
        append.map_err(|error| error.kind)
    };
    assert_eq!(append(&mut world), Err(DiskErrorKind::NoSpace));
    world.run_for(secs(1));
    assert_eq!(append(&mut world), Ok(()));
}

#[test]
fn a_dropped_write_happens_all_the_same() {
    let mut world = idle(1, 1);
    let read = world.run_on(N, secs(10), |rt| async move {
        rt.disk().create_dir("").await?;
        let file = rt.disk().open("f", Open::Create).await?;
        {
            let write = file.write_at(0, Bytes::from_static(b"dropped"));
            let now = std::future::ready(());
            trilith_engine::runtime::race(write, now).await;
        }
        nap(&rt, ms(10)).await;
        file.read_at(0, vec![0; 7], ReadMode::Cached).await
    });
    assert_eq!(read, Some(Ok(b"dropped".to_vec())));
}

#[test]
fn a_machine_is_replaced_and_two_are_swapped() {
    let mut world = World::new(1, WorldOptions::default());
    for _ in 0..2 {
        let node = world.add("n", NodeOptions::default(), |rt| async move {
            drop(appends(rt, Log::new()).await);
        });
        world.start(node);
    }
    let sizes = |world: &mut World| {
        [0, 1].map(|node| world.with_platter(NodeId(node), |p| p.peek("log")).map(|log| log.len()))
    };
    world.run_for(secs(10));
    world.with_platter(NodeId(1), |platter| platter.cut_file("log", 700));
    world.strike(&FaultKind::SwapDisks { one: 0, other: 1, down_ms: 1_000_000 });
    assert_eq!(sizes(&mut world), [Some(700), Some(20_000)]);
    world.start_all();
    world.run_for(secs(10));
    assert_eq!(sizes(&mut world), [Some(20_000), Some(20_000)]);
    world.strike(&FaultKind::Replace { node: 1, down_ms: 1_000_000 });
    assert_eq!(sizes(&mut world), [Some(20_000), None]);
    let platter = world.with_platter(NodeId(0), |platter| platter.clone());
    world.insert_platter(NodeId(1), platter);
    assert_eq!(sizes(&mut world), [Some(20_000), Some(20_000)]);
}

#[test]
fn two_runs_of_one_seed_leave_the_same_disk() {
    let run = || {
        let log = Log::new();
        let mut world = appender(7, &log);
        world.strike(&FaultKind::Disk {
            node: 0,
            fault: DiskFault::SyncError,
            per_million: 20_000,
            for_ms: 1_000,
        });
        world.run_for(ms(20));
        world.power_loss(N);
        (stored(&mut world), log.all(), world.digest())
    };
    assert_eq!(run(), run());
}
