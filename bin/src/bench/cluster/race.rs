//! The closed loop: so many workers, each with one request on its way, over so many connections.
//!
//! Workers run for a while before anything is counted, and finish what they have begun when it is
//! over. What they ask is the same for every cluster: keys by chance out of a fixed number, values
//! out of a pool of noise.
//!
//! Not here: who is asked (`ours.rs`, `etcd.rs`).

use std::{
    future::Future,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use trilith_engine::runtime::{Clock, Handle, Runtime, Task};
use trilith_net::os::Os;

use super::members::Members;
use crate::bench::{
    course::{Counted, Course, curve},
    load::{Dice, Values, key},
    meter::{TICK_US, cpu_ticks},
};

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);

/// A cluster, as a load sees it. A worker keeps to its connection.
pub(super) trait Target: Clone + Send + Sync + 'static {
    /// A durable write.
    fn put(
        &self,
        worker: usize,
        key: &[u8],
        value: &[u8],
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// A linearizable read.
    fn get(&self, worker: usize, key: &[u8]) -> impl Future<Output = Result<(), String>> + Send;
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Writes.
    Put,
    /// Reads.
    Get,
}

/// A load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) ask: Ask,
    pub(super) in_flight: usize,
    pub(super) keys: u64,
    pub(super) values: Arc<Values>,
    pub(super) time: Duration,
    /// Whether a picture is wanted of it.
    pub(super) is_drawn: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Lap {
    pub(super) per_second: f64,
    /// In microseconds: the median, one in a hundred, one in a thousand.
    pub(super) micros: [f64; 3],
    /// The same for other shares, where a picture is wanted.
    pub(super) curve: Vec<(f64, f64)>,
    /// How it went, where a picture is wanted.
    pub(super) course: Option<Course>,
    /// Microseconds of CPU for each operation: of each server, in order.
    pub(super) servers_us: Vec<f64>,
    /// Of this process.
    pub(super) client_us: f64,
    /// Requests that were not answered as they should.
    pub(super) failed: u64,
    /// Why the first of them was not.
    pub(super) trouble: Option<String>,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

struct Shared {
    phase: AtomicU8,
    counted: Mutex<Counted>,
    failed: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// Loads a cluster and counts.
pub(super) async fn lap<T: Target>(os: &Os, target: &T, members: &Members, load: &Load) -> Lap {
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(WARMING),
        counted: Mutex::new(Counted::new(load.is_drawn.then_some(load.time))),
        failed: AtomicU64::new(0),
        trouble: Mutex::new(None),
    });
    let workers: Vec<_> = (0..load.in_flight)
        .map(|worker| {
            let (target, load, shared) = (target.clone(), load.clone(), Arc::clone(&shared));
            os.task().spawn("worker", work(worker, target, load, shared))
        })
        .collect();
    let pause = |time| os.clock().sleep_until(os.clock().now() + time);
    pause(WARM_UP).await;
    let (servers, client) = (members.ticks(), cpu_ticks(std::process::id()));
    let begin = Instant::now();
    shared.counted.lock().unwrap_or_else(PoisonError::into_inner).begin();
    shared.phase.store(COUNTING, Ordering::Relaxed);
    pause(load.time).await;
    shared.phase.store(OVER, Ordering::Relaxed);
    let took = begin.elapsed();
    let (servers_then, client_then) = (members.ticks(), cpu_ticks(std::process::id()));
    for worker in workers {
        worker.join().await;
    }
    let counted = shared.counted.lock().unwrap_or_else(PoisonError::into_inner);
    let times = &counted.times;
    let count = times.count() as f64;
    let micros = |from: u64, to: u64| to.saturating_sub(from) as f64 * TICK_US / count.max(1.0);
    Lap {
        per_second: count / took.as_secs_f64(),
        micros: [0.5, 0.99, 0.999].map(|share| times.micros(share)),
        curve: if load.is_drawn { curve(times) } else { Vec::new() },
        course: counted.course.clone(),
        servers_us: servers.iter().zip(servers_then).map(|(from, to)| micros(*from, to)).collect(),
        client_us: micros(client, client_then),
        failed: shared.failed.load(Ordering::Relaxed),
        trouble: shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

/// Asks for the keys of these numbers, each once, and as fast as it goes.
///
/// # Errors
/// The first request that was not answered as it should.
pub(super) async fn count<T: Target>(
    os: &Os,
    target: &T,
    load: &Load,
    numbers: Range<u64>,
) -> Result<(), String> {
    let (next, end) = (Arc::new(AtomicU64::new(numbers.start)), numbers.end);
    let trouble = Arc::new(Mutex::new(None));
    let worker = |worker: usize| {
        let (target, load, next) = (target.clone(), load.clone(), Arc::clone(&next));
        let trouble = Arc::clone(&trouble);
        os.task().spawn("worker", async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return;
                }
                if let Err(why) = ask(worker, &target, &load, number % load.keys, number).await {
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                }
            }
        })
    };
    let workers: Vec<_> = (0..load.in_flight).map(worker).collect();
    for worker in workers {
        worker.join().await;
    }
    trouble.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

async fn ask<T: Target>(
    worker: usize,
    target: &T,
    load: &Load,
    number: u64,
    version: u64,
) -> Result<(), String> {
    match load.ask {
        Ask::Put => target.put(worker, &key(number), load.values.of(number, version)).await,
        Ask::Get => target.get(worker, &key(number)).await,
    }
}

async fn work<T: Target>(worker: usize, target: T, load: Load, shared: Arc<Shared>) {
    let mut dice = Dice::new(worker as u64 + 1);
    let mut version = 0;
    while shared.phase.load(Ordering::Relaxed) != OVER {
        let number = dice.below(load.keys);
        version += 1;
        let begin = Instant::now();
        let asked = ask(worker, &target, &load, number, version).await;
        let took = begin.elapsed();
        match asked {
            Ok(()) if shared.phase.load(Ordering::Relaxed) == COUNTING => {
                shared.counted.lock().unwrap_or_else(PoisonError::into_inner).add(took);
            }
            Ok(()) => {}
            Err(why) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                let mut trouble = shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                trouble.get_or_insert(why);
            }
        }
    }
}
