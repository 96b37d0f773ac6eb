//! What happens once in a while: a leader dies, groups have nothing to do, a node was away.
//!
//! Each on a cluster of its own, so that none finds what another left.
//!
//! - *failover*: the leader is killed with `kill -9` while somebody writes; the time from the kill
//!   to the first write that is acknowledged, over several kills.
//! - *idle*: a thousand groups with nothing to do for a while; the CPU that each node spends.
//! - *restart*: with a million keys all members are ended and started again, in order and by
//!   `kill -9` (`restart.rs`).
//! - *catch-up*: a follower is killed, misses a million writes, and is started again; the time until
//!   it has applied what the leader had.
//!
//! Not here: rates (`race.rs`).

use bytes::Bytes;
use clap::ValueEnum;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use trilith_engine::{
    command::{Level, Op, Response},
    runtime::{Clock, Runtime, timeout},
};
use trilith_net::{
    client::{Client, Wish},
    os::Os,
};

use super::{
    etcd::{self, Etcd},
    failed,
    members::Members,
    ours::{self, Ours, Shape},
    race::{self, Ask, Load, Target},
    restart,
};
use crate::{
    bench::{
        load::{Values, key},
        meter::TICK_US,
        opening,
    },
    failure::Outcome,
    out::Cell,
};

/// How often a leader is killed.
const KILLS: usize = 5;
/// How long a cluster is left in peace before the next kill.
const PEACE: Duration = Duration::from_secs(2);
/// A request to a rival whose leader may be gone is given up after this, and made again.
const ATTEMPT: Duration = Duration::from_millis(50);
/// Groups that have nothing to do.
const IDLE_GROUPS: u16 = 1000;
/// They are quiet by then.
const UNTIL_QUIET: Duration = Duration::from_secs(15);
/// How long their silence is looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Writes that a node misses.
const MISSED: u64 = 1_000_000;
/// Requests on their way while it misses them.
const MISSED_AT_ONCE: usize = 512;
/// After this nobody waits for it any more.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Event {
    /// The leader is killed.
    Failover,
    /// A thousand groups have nothing to do.
    Idle,
    /// A node misses a million writes.
    CatchUp,
    /// All members are ended and started again, with many keys.
    Restart,
}

/// Names, values and units.
pub(super) type Rows = Vec<Vec<Cell>>;

pub(super) fn row(rows: &mut Rows, name: &str, value: f64, unit: &str) {
    rows.push(vec![name.into(), value.into(), unit.into()]);
}

/// Lets it happen.
pub(super) async fn happen(
    os: &Os,
    dir: &Path,
    event: Event,
    stored: u64,
    with_etcd: bool,
) -> Outcome<Rows> {
    let mut rows = Vec::new();
    match event {
        Event::Failover => {
            let mut ours = our_failovers(os, &dir.join("failover")).await?;
            failover_rows(&mut rows, "ours", &mut ours);
            if with_etcd {
                let mut theirs = their_failovers(os, &dir.join("failover-etcd")).await?;
                failover_rows(&mut rows, "etcd", &mut theirs);
            }
        }
        Event::Idle => {
            let cores = idle(os, &dir.join("idle")).await?;
            for (at, share) in cores.into_iter().enumerate() {
                let name = format!("{IDLE_GROUPS} idle groups, node {}", at + 1);
                row(&mut rows, &name, share * 100.0, "% of a core");
            }
        }
        Event::CatchUp => {
            let Missed { wrote, caught_up, .. } = catch_up(os, &dir.join("catch-up")).await?;
            row(&mut rows, "1 M writes that a node misses", wrote.as_secs_f64(), "s");
            row(&mut rows, "until it has them", caught_up.as_secs_f64(), "s");
        }
        Event::Restart => return restart::measure(os, dir, stored, with_etcd).await,
    }
    Ok(rows)
}

fn failover_rows(rows: &mut Rows, who: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    row(rows, &format!("{who}: kill -9 to the next write, median"), ms(times.len() / 2), "ms");
    row(rows, &format!("{who}: the same, longest of {KILLS}"), ms(times.len() - 1), "ms");
}

async fn pause(os: &Os, time: Duration) {
    os.clock().sleep_until(os.clock().now() + time).await;
}

async fn our_cluster(os: &Os, dir: &Path, shape: &Shape) -> Outcome<(Members, usize)> {
    let members = ours::start(dir, shape).map_err(|error| opening(dir, &error))?;
    let leader = ours::leader(os, &members, &key(0)).await.map_err(failed)?;
    Ok((members, leader))
}

async fn our_failovers(os: &Os, dir: &Path) -> Outcome<Vec<Duration>> {
    let shape = Shape { groups: 1, lease: false, resp: false };
    let (mut members, mut leader) = our_cluster(os, dir, &shape).await?;
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let target = Ours::connect(os, &members, &members.addresses, 1);
        target.put(0, &key(0), b"before").await.map_err(failed)?;
        let _status = members.processes[leader].kill();
        let begin = Instant::now();
        target.put(0, &key(0), b"after").await.map_err(failed)?;
        times.push(begin.elapsed());
        let again = ours::start_one(dir, leader, &members.addresses, None, &shape);
        members.processes[leader] = again.map_err(|error| opening(dir, &error))?;
        pause(os, PEACE).await;
        leader = ours::leader(os, &members, &key(0)).await.map_err(failed)?;
    }
    Ok(times)
}

async fn their_failovers(os: &Os, dir: &Path) -> Outcome<Vec<Duration>> {
    let (mut members, plan) = etcd::start(dir).map_err(|error| opening(dir, &error))?;
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let leader = etcd::leader(os, &members).await.map_err(failed)?;
        let mut others = Vec::new();
        for (at, address) in members.addresses.iter().enumerate() {
            if at != leader {
                others.push(Etcd::connect(os, *address, 1).await.map_err(failed)?);
            }
        }
        let _status = members.processes[leader].kill();
        let begin = Instant::now();
        for other in others.iter().cycle() {
            let until = os.clock().now() + ATTEMPT;
            let put = timeout(os.clock(), until, other.put(0, &key(0), b"after")).await;
            if matches!(put, Ok(Ok(()))) {
                break;
            }
        }
        times.push(begin.elapsed());
        members.processes[leader] =
            plan.start_one(leader, true).map_err(|error| opening(dir, &error))?;
        pause(os, PEACE).await;
    }
    Ok(times)
}

async fn idle(os: &Os, dir: &Path) -> Outcome<Vec<f64>> {
    let shape = Shape { groups: u32::from(IDLE_GROUPS), lease: false, resp: false };
    let (members, _) = our_cluster(os, dir, &shape).await?;
    pause(os, UNTIL_QUIET).await;
    let before = members.ticks();
    pause(os, IDLE).await;
    let after = members.ticks();
    let share = |(from, to): (&u64, u64)| (to - from) as f64 * TICK_US / 1e6 / IDLE.as_secs_f64();
    Ok(before.iter().zip(after).map(share).collect())
}

/// How long it took to write what a node missed, and until it had it.
struct Missed {
    wrote: Duration,
    caught_up: Duration,
}

async fn catch_up(os: &Os, dir: &Path) -> Outcome<Missed> {
    let shape = Shape { groups: 1, lease: false, resp: false };
    let (mut members, leader) = our_cluster(os, dir, &shape).await?;
    let away = (leader + 1) % 3;
    let _status = members.processes[away].kill();
    let target = Ours::connect(os, &members, &[members.addresses[leader]], 4);
    let begin = Instant::now();
    let load = Load {
        ask: Ask::Put,
        in_flight: MISSED_AT_ONCE,
        keys: MISSED,
        values: Arc::new(Values::new(100)),
        time: Duration::ZERO,
        is_drawn: false,
    };
    race::count(os, &target, &load, 0..MISSED).await.map_err(failed)?;
    let wrote = begin.elapsed();
    let wanted = applied(os, &members, leader).await;
    let begin = Instant::now();
    let again = ours::start_one(dir, away, &members.addresses, None, &shape);
    members.processes[away] = again.map_err(|error| opening(dir, &error))?;
    while applied(os, &members, away).await < wanted {
        if begin.elapsed() > CAUGHT_UP_WITHIN {
            return Err(failed(format!("it had not caught up after {CAUGHT_UP_WITHIN:?}")));
        }
        pause(os, Duration::from_millis(20)).await;
    }
    Ok(Missed { wrote, caught_up: begin.elapsed() })
}

/// How far a node has applied its group, as far as it says so.
async fn applied(os: &Os, members: &Members, at: usize) -> u64 {
    let client = Client::start(os, &[members.addresses[at]], members.client());
    let within = Duration::from_secs(1);
    let wish = Wish { level: Level::Eventual, staleness_ms: u32::MAX, within };
    let Response { told, .. } = client.call(Op::Get(Bytes::copy_from_slice(&key(0))), wish).await;
    told.applied.0
}
