//! Nodes: how they live, die, are held and come back.

use super::*;
use crate::{
    fault::FaultKind,
    world::{NodeId, Status},
};

/// A node that counts its ticks of 10 ms, life by life.
fn ticker(log: &Log<u32>) -> World {
    let into = log.clone();
    alone(1, WorldOptions::default(), move |rt| {
        let log = into.clone();
        async move {
            loop {
                nap(&rt, ms(10)).await;
                log.add(rt.life());
            }
        }
    })
}

fn count(log: &Log<u32>, life: u32) -> usize {
    log.all().into_iter().filter(|entry| *entry == life).count()
}

const N: NodeId = NodeId(0);

#[test]
fn a_dead_node_does_nothing_and_a_new_life_begins_anew() {
    for end in [World::kill as fn(&mut World, NodeId), World::power_loss, World::wipe] {
        let log = Log::new();
        let mut world = ticker(&log);
        world.run_for(ms(55));
        end(&mut world, N);
        assert_ne!(world.status(N), Status::Running);
        world.run_for(ms(100));
        world.start(N);
        world.start(N);
        assert_eq!((world.status(N), world.life(N)), (Status::Running, 2));
        world.run_for(ms(35));
        assert_eq!((count(&log, 1), count(&log, 2)), (5, 3));
        assert_eq!(world.holds().tasks, 1);
    }
}

#[test]
fn a_held_process_misses_its_time_and_goes_on() {
    let log = Log::new();
    let mut world = ticker(&log);
    world.run_for(ms(25));
    world.pause(N);
    world.pause(N);
    world.run_for(ms(100));
    world.resume(N);
    world.run_for(ms(100));
    assert_eq!((count(&log, 1), world.status(N)), (2, Status::Paused));
    world.resume(N);
    world.run_for(ms(1));
    assert_eq!(count(&log, 1), 3, "the timer that was due long ago");
    world.run_for(ms(20));
    assert_eq!(count(&log, 1), 5);
    world.pause(N);
    world.kill(N);
    world.start(N);
    assert_eq!(world.status(N), Status::Running, "a hold ends with its process");
}

#[test]
fn a_process_that_is_asked_to_stop_ends_or_is_killed() {
    let log = Log::new();
    let into = log.clone();
    let boot = move |rt: SimRuntime| {
        let log = into.clone();
        async move {
            rt.stopped().await;
            nap(&rt, ms(50)).await;
            log.add(rt.life());
        }
    };
    let mut world = alone(1, WorldOptions::default(), boot);
    world.run_for(ms(5));
    world.stop(N, ms(100));
    world.run_for(ms(70));
    assert_eq!((count(&log, 1), world.status(N)), (1, Status::Dead));
    world.start(N);
    world.run_for(ms(5));
    world.stop(N, ms(20));
    world.run_for(ms(100));
    assert_eq!((count(&log, 2), world.status(N)), (0, Status::Dead));
    assert_eq!((world.probe("process.exit"), world.probe("process.stop_forced")), (1, 1));
}

#[test]
fn faults_that_last_end_by_themselves() {
    let log = Log::new();
    let mut world = ticker(&log);
    world.strike(&FaultKind::Kill { node: 0, down_ms: 100 });
    world.run_for(ms(99));
    assert_eq!(world.status(N), Status::Dead);
    world.run_for(ms(2));
    assert_eq!(world.status(N), Status::Running);
    world.strike(&FaultKind::PowerLoss { nodes: vec![0, 7], down_ms: 100 });
    assert_eq!(world.status(N), Status::Running, "a plan that names nobody does nothing");
    world.strike(&FaultKind::PowerLoss { nodes: vec![0], down_ms: 100 });
    assert_eq!(world.status(N), Status::Off);
    world.run_for(ms(101));
    world.strike(&FaultKind::Pause { node: 0, for_ms: 500 });
    world.run_for(ms(100));
    world.strike(&FaultKind::Kill { node: 0, down_ms: 10 });
    world.run_for(ms(100));
    world.pause(N);
    world.run_for(secs(1));
    assert_eq!(world.status(N), Status::Paused, "the first hold ended with its life");
    world.calm();
    assert_eq!(world.status(N), Status::Running);
}

#[test]
fn a_panic_of_main_is_the_end_of_the_process() {
    let mut world = alone(1, WorldOptions::default(), |rt| async move {
        nap(&rt, ms(1)).await;
        panic!("as the test wants");
    });
    world.run_for(ms(5));
    assert_eq!((world.status(N), world.panics().len()), (Status::Dead, 1));
}

#[test]
fn a_node_can_boot_something_else() {
    let log = Log::new();
    let mut world = ticker(&log);
    let into = log.clone();
    world.set_boot(N, move |_| {
        into.add(99);
        std::future::pending()
    });
    world.run_for(ms(5));
    assert_eq!(count(&log, 99), 0);
    world.kill(N);
    world.start(N);
    world.run_for(ms(5));
    assert_eq!(count(&log, 99), 1);
}
