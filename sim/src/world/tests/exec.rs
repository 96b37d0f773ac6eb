//! The executor: order, determinism, ends.

use std::sync::atomic::{AtomicU64, Ordering};

use trilith_engine::{
    mark,
    runtime::{Handle as _, Rng as _, Task as _, queue},
};

use super::*;
use crate::{
    digest::Digest,
    trace::Keep,
    world::{NodeId, Ran, Schedule},
};

/// Ten tasks that nap and yield; answers who got how far in which order.
fn race(seed: u64, schedule: Schedule, keep: Keep) -> (Vec<(usize, usize)>, Digest) {
    let log = Log::new();
    let into = log.clone();
    let options = WorldOptions { schedule, trace: keep, ..WorldOptions::default() };
    let mut world = alone(seed, options, move |rt| {
        let log = into.clone();
        async move {
            for task in 0..10 {
                let (mine, log) = (rt.clone(), log.clone());
                let work = async move {
                    for step in 0..5 {
                        log.add((task, step));
                        mine.task().yield_now().await;
                        nap(&mine, ms(10)).await;
                    }
                };
                rt.task().spawn("racer", work).detach();
            }
            std::future::pending().await
        }
    });
    assert_eq!(world.run_for(secs(1)), Ran::Idle);
    assert_eq!(log.all().len(), 50);
    (log.all(), world.digest())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a world may run on any thread, and this shows it")]
fn the_same_seed_is_the_same_run() {
    for schedule in [Schedule::Uniform, Schedule::Fifo, Schedule::Pct { change_every: 20 }] {
        assert_eq!(race(3, schedule, Keep::Nothing), race(3, schedule, Keep::Everything));
        let here = race(4, schedule, Keep::Nothing);
        let there = std::thread::spawn(move || race(4, schedule, Keep::Nothing));
        assert_eq!(there.join().expect("it ends"), here, "on another thread");
    }
}

#[test]
fn seeds_explore_orders_and_a_queue_does_not() {
    let orders = |schedule| {
        let mut orders: Vec<_> =
            (0..10).map(|seed| race(seed, schedule, Keep::Nothing).0).collect();
        orders.sort();
        orders.dedup();
        orders.len()
    };
    assert_eq!(orders(Schedule::Uniform), 10);
    assert_eq!(orders(Schedule::Pct { change_every: 10 }), 10);
    assert_eq!(orders(Schedule::Fifo), 1);
}

#[test]
fn worlds_live_side_by_side() {
    let make = |seed| {
        alone(seed, WorldOptions::default(), |rt| async move {
            let mut rng = rt.rng("test");
            loop {
                nap(&rt, Duration::from_micros(rng.range(1..50_000))).await;
                mark!("a nap is over");
            }
        })
    };
    let mut alone = make(1);
    alone.run_for(secs(3));
    let (mut one, mut other) = (make(1), make(2));
    for _ in 0..30 {
        one.run_for(ms(100));
        other.run_for(ms(100));
    }
    assert_eq!(one.now(), alone.now());
    assert_eq!(one.ledger().marks(), alone.ledger().marks());
    assert_ne!(one.digest(), other.digest());
    assert_ne!(one.ledger().marks(), other.ledger().marks());
}

#[test]
fn a_run_in_pieces_is_the_run_in_one() {
    let make = || {
        alone(9, WorldOptions::default(), |rt| async move {
            let mut rng = rt.rng("test");
            loop {
                nap(&rt, Duration::from_micros(rng.range(1..9_000))).await;
            }
        })
    };
    let (mut whole, mut pieces) = (make(), make());
    whole.run_for(secs(1));
    for _ in 0..1000 {
        pieces.run_for(ms(1));
    }
    assert_eq!(pieces.polls(), whole.polls());
    assert_eq!(pieces.digest(), whole.digest());
}

#[test]
fn a_dropped_handle_cancels_a_detached_one_does_not() {
    let log = Log::new();
    let into = log.clone();
    let mut world = alone(1, WorldOptions::default(), move |rt| {
        let log = into.clone();
        async move {
            let ticker = |name: &'static str| {
                let (rt, log) = (rt.clone(), log.clone());
                async move {
                    loop {
                        nap(&rt, ms(10)).await;
                        log.add(name);
                    }
                }
            };
            let cancelled = rt.task().spawn("cancelled", ticker("cancelled"));
            rt.task().spawn("detached", ticker("detached")).detach();
            nap(&rt, ms(35)).await;
            drop(cancelled);
            nap(&rt, ms(100)).await;
            std::future::pending().await
        }
    });
    world.run_for(ms(85));
    let count = |name| log.all().into_iter().filter(|entry| *entry == name).count();
    assert_eq!((count("cancelled"), count("detached")), (3, 8));
    assert_eq!(world.tasks(NodeId(0)), 2);
}

#[test]
fn join_waits_for_the_end_and_for_a_panic() {
    let mut world = idle(1, 1);
    let joined = world.run_on(NodeId(0), secs(10), |rt| async move {
        let mine = rt.clone();
        rt.task().spawn("sleeper", async move { nap(&mine, ms(30)).await }).join().await;
        rt.task().spawn("panics", async { panic!("as the test wants") }).join().await;
        rt.true_time_ns() / 1_000_000
    });
    assert_eq!(joined, Some(30));
    let panics = world.panics();
    assert_eq!(panics.len(), 1);
    assert_eq!((panics[0].task, panics[0].message.as_str()), ("panics", "as the test wants"));
}

#[test]
fn a_timer_that_is_dropped_leaves_the_timeline() {
    let mut world = alone(1, WorldOptions::default(), |rt| async move {
        loop {
            let (quick, slow) = (nap(&rt, ms(1)), nap(&rt, secs(3600)));
            trilith_engine::runtime::race(quick, slow).await;
        }
    });
    world.run_for(secs(1));
    assert!(world.holds().entries <= 2, "{:?}", world.holds());
}

#[test]
fn code_that_spins_gets_to_its_deadline() {
    let mut world = idle(1, 1);
    let spun = world.run_on(NodeId(0), secs(1), |rt| async move {
        let deadline = in_time(&rt, ms(1));
        while rt.clock().now() < deadline {
            rt.task().yield_now().await;
        }
    });
    assert_eq!(spun, Some(()));
    assert!(world.polls() > 5_000);
}

#[test]
fn whatever_a_destructor_asks_of_the_world_it_does_not_hang() {
    struct Asks(SimRuntime);
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.clock().now();
            self.0.task().spawn("in a destructor", async {}).detach();
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let boot = |rt: SimRuntime| async move {
        let asks = Asks(rt.clone());
        rt.task()
            .spawn("holds it", async move { drop((nap(&asks.0, secs(9)).await, asks)) })
            .detach();
        let _asks = Asks(rt.clone());
        nap(&rt, secs(9)).await;
    };
    let mut world = alone(1, WorldOptions::default(), boot);
    world.run_for(ms(10));
    world.kill(NodeId(0));
    assert_eq!(DROPPED.load(Ordering::Relaxed), 2);
    world.start(NodeId(0));
    world.run_for(ms(10));
    drop(world);
    assert_eq!(DROPPED.load(Ordering::Relaxed), 4);
}

#[test]
fn queues_wake_across_tasks() {
    let mut world = idle(5, 1);
    let sum = world.run_on(NodeId(0), secs(1), |rt| async move {
        let (sender, mut receiver) = queue(2);
        let producer = async move {
            for number in 0..100_u64 {
                sender.send(number).await.expect("the receiver is there");
            }
        };
        let producer = rt.task().spawn("producer", producer);
        let mut sum = 0;
        while let Ok(number) = receiver.recv().await {
            sum += number;
        }
        producer.join().await;
        sum
    });
    assert_eq!(sum, Some(4950));
}
