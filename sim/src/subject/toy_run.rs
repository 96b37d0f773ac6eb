//! The toy in a world: its cluster, its clients, its faults, and what it leaves for the judges.
//!
//! Not here: the toy (`toy`), the phases of a run (`run`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use trilith_engine::runtime::{Clock, Runtime, race};

use super::{
    toy::{Bugs, Glass},
    toy_client, toy_node,
};
use crate::{
    history::Recorder,
    load::Planned,
    run::{Drawn, Evidence, Request, order},
    scenario::Scenario,
    twice::Leak,
    world::{NodeOptions, World},
};

/// How long a supervisor waits before it starts a process again that has ended by itself.
const RESTART: Duration = Duration::from_millis(200);
/// How long a client tries.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Runs the scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, request: &Request, drawn: &Drawn) -> (World, Evidence) {
    let bugs = scenario.bugs.iter().chain(&request.mutant).filter_map(|name| name.parse().ok());
    let bugs = Bugs::of(&bugs.collect::<Vec<_>>());
    let mut world = drawn.world(request);
    let glass = Glass::default();
    add_toys(&mut world, drawn.nodes, scenario.leak, &bugs, &glass);
    let recorder = Recorder::default();
    let reads = Arc::new(Mutex::new(BTreeMap::new()));
    for client in 0..drawn.shape.clients {
        let plan: Arc<[Planned]> =
            drawn.load.iter().filter(|one| one.client == client).copied().collect();
        let (nodes, bugs, recorder, reads) =
            (drawn.nodes, bugs.clone(), recorder.clone(), Arc::clone(&reads));
        world.add(&format!("client{client}"), NodeOptions::default(), move |runtime| {
            let time = runtime.clone();
            let setup = toy_client::Setup {
                client,
                nodes,
                bugs: bugs.clone(),
                plan: Arc::clone(&plan),
                patience: PATIENCE,
                recorder: recorder.clone(),
                world_ns: Arc::new(move || time.true_time_ns()),
                reads: Arc::clone(&reads),
            };
            toy_client::run(runtime, setup)
        });
    }
    world.start_all();
    world.play(&drawn.faults);
    let time = scenario.time;
    world.run_until(Duration::from_millis(time.chaos_ms));
    settle(&mut world, time.chaos_ms, time.settle_ms);
    let rest = time.settle_ms + time.calm_ms + time.bound_ms;
    world.run_until(Duration::from_millis(time.chaos_ms + rest));
    let nodes = glass.nodes();
    let primary = nodes.get(&0).cloned().unwrap_or_default().machine;
    let reads = reads.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let evidence = Evidence {
        history: recorder.history(),
        finally: primary.values,
        order: order(primary.log, reads),
        replicas: nodes
            .iter()
            .map(|(at, seen)| (format!("n{at}"), seen.machine.values.clone()))
            .collect(),
        gauges: glass.gauges(),
        ..Evidence::default()
    };
    (world, evidence)
}

/// Every fault ends, and an operator looks after machines for a while: a process that had been asked
/// to stop right before may end only now.
pub(crate) fn settle(world: &mut World, from_ms: u64, for_ms: u64) {
    world.calm();
    for quarter in 1..=4 {
        world.run_until(Duration::from_millis(from_ms + for_ms * quarter / 4));
        world.start_all();
    }
}

/// Adds the nodes of a toy cluster. A supervisor of the machine starts the process again when it ends by itself.
pub fn add_toys(world: &mut World, nodes: u32, leak: Leak, bugs: &Bugs, glass: &Glass) {
    for node in 0..nodes {
        let setup = toy_node::Setup { node, nodes, bugs: bugs.clone(), glass: glass.clone(), leak };
        world.add(&format!("toy{node}"), NodeOptions::default(), move |runtime| {
            let setup = setup.clone();
            async move {
                let lives = async {
                    loop {
                        toy_node::run(runtime.clone(), setup.clone()).await;
                        let clock = runtime.clock();
                        clock.sleep_until(clock.now() + RESTART).await;
                    }
                };
                race(runtime.stopped(), lives).await;
            }
        });
    }
}
