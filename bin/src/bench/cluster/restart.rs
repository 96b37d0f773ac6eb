//! All members end and are started again, with many keys on their disks.
//!
//! ```text
//!   load ─► memory, disk ─┬─► end all in order ─┬─► start all ─► the first read, the first write ─┐
//!                         └─► kill -9, mid-load ┘                                                │
//!                         ▲                                                                      │
//!                         └───────────────────────── round by round, the clusters in turn ◄──────┘
//! ```
//! Times count from when the first process is started. Whoever asks begins then, too, and goes on
//! until he is answered: the read is linearizable, the write durable, each over a connection of its
//! own.
//!
//! After a `kill -9` ours is asked for the last writes that it had acknowledged and for some of what
//! was loaded; one that is missing ends the measurement.
//!
//! Not here: one node's store alone (`bench/scale.rs`).

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use trilith_engine::runtime::{Clock, Handle, Runtime, Task, timeout};
use trilith_net::os::Os;

use super::{
    SHARED_CONNECTIONS,
    etcd::{self, Etcd, Plan},
    events::{Rows, row},
    failed,
    members::Members,
    ours::{self, Ours, Shape},
    race::{self, Ask, Load, Target},
};
use crate::{
    bench::{
        load::{Dice, Values, key},
        meter, opening,
    },
    failure::{Failure, LOST, Outcome},
    progress::Progress,
};

/// How often all end, each way.
const ROUNDS: usize = 3;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// Requests on their way while keys are loaded.
const LOADERS: usize = 256;
/// Keys that are loaded between two looks at how far it is.
const STEP: u64 = 50_000;
/// Writers amid whose writes all are killed.
const WRITERS: usize = 16;
/// How long they have written by then.
const WRITTEN_FOR: Duration = Duration::from_millis(500);
/// Of what was loaded, so many keys are looked for.
const SAMPLES: u64 = 1_000;
/// Of what was acknowledged before a kill, the last so many.
const LAST: usize = 1_000;
/// Members end in order within this, or are killed.
const END_WITHIN: Duration = Duration::from_secs(60);
/// A cluster that was started answers within this, or never.
const START_WITHIN: Duration = Duration::from_secs(300);
/// A request to a member that starts is given up after this, and the next one is asked.
const ATTEMPT: Duration = Duration::from_millis(250);
/// How long nobody asks when nobody is there.
const PAUSE: Duration = Duration::from_millis(5);
const MIB: f64 = 1_048_576.0;

/// How all end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InOrder,
    Killed,
}

impl Way {
    const ALL: [Self; 2] = [Self::InOrder, Self::Killed];

    const fn words(self) -> &'static str {
        match self {
            Self::InOrder => "ended in order",
            Self::Killed => "kill -9 of all",
        }
    }
}

/// How members are started again.
enum Kind {
    Ours(PathBuf, Shape),
    Etcd(Plan),
}

/// A cluster with many keys, and what was measured of it.
struct Cluster {
    kind: Kind,
    members: Members,
    values: Arc<Values>,
    keys: u64,
    /// Writes that came after the keys.
    more: u64,
    ended: Vec<Duration>,
    /// Until the first read and the first write, in the order of [`Way::ALL`].
    firsts: [Vec<[Duration; 2]>; 2],
}

/// Who is asked while members start.
#[derive(Clone)]
enum Door {
    Ours(Ours),
    Etcd(Vec<std::net::SocketAddr>),
}

impl Door {
    /// Asks until it is answered.
    async fn first(self, os: Os, ask: Ask) -> Result<(), String> {
        let (clock, begin) = (os.clock(), Instant::now());
        let mut why = String::new();
        for nth in 0_usize.. {
            if begin.elapsed() > START_WITHIN {
                break;
            }
            let asked = match &self {
                Self::Ours(target) => one(target, ask).await,
                Self::Etcd(members) => {
                    let at = members[nth % members.len()];
                    let asked = async { one(&Etcd::connect(&os, at, 1).await?, ask).await };
                    let until = clock.now() + ATTEMPT;
                    timeout(clock, until, asked).await.unwrap_or_else(|_| Err("silence".into()))
                }
            };
            match asked {
                Ok(()) => return Ok(()),
                Err(trouble) => why = trouble,
            }
            clock.sleep_until(clock.now() + PAUSE).await;
        }
        Err(format!("nothing was answered within {START_WITHIN:?}: {why}"))
    }
}

async fn one<T: Target>(target: &T, ask: Ask) -> Result<(), String> {
    match ask {
        Ask::Get => target.get(0, &key(0)).await,
        Ask::Put => target.put(0, &key(0), b"again").await,
    }
}

/// Loads clusters, ends and starts them again.
pub(super) async fn measure(os: &Os, dir: &Path, keys: u64, with_etcd: bool) -> Outcome<Rows> {
    let mut clusters = vec![Cluster::ours(os, &dir.join("restart"), keys).await?];
    if with_etcd {
        clusters.push(Cluster::etcd(os, &dir.join("restart-etcd"), keys).await?);
    }
    let mut rows = Vec::new();
    for cluster in &mut clusters {
        cluster.load(os, &mut rows).await?;
    }
    let mut progress = Progress::new("starting again", (ROUNDS * 2 * clusters.len()) as u64);
    for _ in 0..ROUNDS {
        for (at, way) in Way::ALL.into_iter().enumerate() {
            for cluster in &mut clusters {
                cluster.round(os, at, way).await?;
                progress.step();
            }
        }
    }
    progress.finish();
    clusters.iter_mut().for_each(|cluster| cluster.tell(&mut rows));
    Ok(rows)
}

impl Cluster {
    fn new(kind: Kind, members: Members, keys: u64) -> Self {
        let values = Arc::new(Values::new(VALUE_BYTES));
        Self { kind, members, values, keys, more: 0, ended: Vec::new(), firsts: <_>::default() }
    }

    async fn ours(os: &Os, dir: &Path, keys: u64) -> Outcome<Self> {
        let shape = Shape { groups: 1, lease: false, resp: false };
        let members = ours::start(dir, &shape).map_err(|error| opening(dir, &error))?;
        ours::leader(os, &members, &key(0)).await.map_err(failed)?;
        Ok(Self::new(Kind::Ours(dir.to_owned(), shape), members, keys))
    }

    async fn etcd(os: &Os, dir: &Path, keys: u64) -> Outcome<Self> {
        let (members, plan) = etcd::start(dir).map_err(|error| opening(dir, &error))?;
        etcd::leader(os, &members).await.map_err(failed)?;
        Ok(Self::new(Kind::Etcd(plan), members, keys))
    }

    const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ours(..) => "ours",
            Kind::Etcd(_) => "etcd",
        }
    }

    fn dir(&self) -> &Path {
        match &self.kind {
            Kind::Ours(dir, _) => dir,
            Kind::Etcd(plan) => plan.dir(),
        }
    }

    /// Writes every key once, and looks at what the members hold then.
    async fn load(&mut self, os: &Os, rows: &mut Rows) -> Outcome {
        let begin = Instant::now();
        match &self.kind {
            Kind::Ours(..) => self.write_keys(os, &self.our_clients(os)).await?,
            Kind::Etcd(_) => self.write_keys(os, &self.their_clients(os).await?).await?,
        }
        let name = format!("{}: {} keys of {VALUE_BYTES} B loaded", self.name(), self.keys);
        row(rows, &name, begin.elapsed().as_secs_f64(), "s");
        let each = self.members.processes.iter();
        let most = each.map(|process| meter::anon_bytes_of(process.id())).max().unwrap_or(0);
        let name = format!("{}: memory of the member that has most, without files", self.name());
        row(rows, &name, most as f64 / MIB, "MiB");
        let dir = self.dir();
        let disk = meter::disk_bytes(dir).map_err(|error| opening(dir, &error))?;
        row(rows, &format!("{}: disk of all members", self.name()), disk as f64 / MIB, "MiB");
        Ok(())
    }

    fn our_clients(&self, os: &Os) -> Ours {
        Ours::connect(os, &self.members, &self.members.addresses, SHARED_CONNECTIONS)
    }

    async fn their_clients(&self, os: &Os) -> Outcome<Etcd> {
        let leader = etcd::leader(os, &self.members).await.map_err(failed)?;
        let at = self.members.addresses[leader];
        Etcd::connect(os, at, SHARED_CONNECTIONS).await.map_err(failed)
    }

    async fn write_keys<T: Target>(&self, os: &Os, target: &T) -> Outcome {
        let mut progress = Progress::new(self.name(), self.keys);
        let load = Load {
            ask: Ask::Put,
            in_flight: LOADERS,
            keys: u64::MAX,
            values: Arc::clone(&self.values),
            time: Duration::ZERO,
            is_drawn: false,
        };
        for begin in (0..self.keys).step_by(STEP as usize) {
            let end = self.keys.min(begin + STEP);
            race::count(os, target, &load, begin..end).await.map_err(failed)?;
            progress.at(end);
        }
        progress.finish();
        Ok(())
    }

    /// All end, are started again, and are asked; what was promised is looked for.
    async fn round(&mut self, os: &Os, at: usize, way: Way) -> Outcome {
        let last = match way {
            Way::InOrder => {
                let ended = self.end()?;
                self.ended.push(ended);
                Vec::new()
            }
            Way::Killed => match &self.kind {
                Kind::Ours(..) => self.kill(os, self.our_clients(os)).await,
                Kind::Etcd(_) => self.kill(os, self.their_clients(os).await?).await,
            },
        };
        let firsts = self.start(os).await?;
        self.firsts[at].push(firsts);
        if matches!(self.kind, Kind::Ours(..)) {
            self.look_for(os, &last).await?;
        }
        Ok(())
    }

    /// Ends all at once, in order. How long that took.
    fn end(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        let trouble = |error: std::io::Error| failed(error.to_string());
        for process in &self.members.processes {
            process.signal("-TERM").map_err(trouble)?;
        }
        for process in &mut self.members.processes {
            while process.ended().map_err(trouble)?.is_none() {
                if begin.elapsed() > END_WITHIN {
                    return Err(failed(format!("a member did not end within {END_WITHIN:?}")));
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(begin.elapsed())
    }

    /// Kills all amid writes. Which of these were acknowledged, the newest last.
    async fn kill<T: Target>(&mut self, os: &Os, target: T) -> Vec<u64> {
        let next = Arc::new(AtomicU64::new(self.keys + self.more));
        let known = Arc::new(Mutex::new(Vec::new()));
        let writer = |worker: usize| {
            let (target, values) = (target.clone(), Arc::clone(&self.values));
            let (next, known) = (Arc::clone(&next), Arc::clone(&known));
            os.task().spawn("writer", async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let value = values.of(number, number);
                    if target.put(worker, &key(number), value).await.is_err() {
                        return;
                    }
                    known.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                }
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        os.clock().sleep_until(os.clock().now() + WRITTEN_FOR).await;
        for process in &mut self.members.processes {
            let _status = process.kill();
        }
        drop(writers);
        self.more = next.load(Ordering::Relaxed) - self.keys;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known[known.len().saturating_sub(LAST)..].to_vec()
    }

    /// Starts all, and waits for the first read and the first write.
    async fn start(&mut self, os: &Os) -> Outcome<[Duration; 2]> {
        let begin = Instant::now();
        for at in 0..self.members.processes.len() {
            let started = match &self.kind {
                Kind::Ours(dir, shape) => {
                    ours::start_one(dir, at, &self.members.addresses, None, shape)
                }
                Kind::Etcd(plan) => plan.start_one(at, true),
            };
            self.members.processes[at] = started.map_err(|error| opening(self.dir(), &error))?;
        }
        let door = || match &self.kind {
            Kind::Ours(..) => {
                Door::Ours(Ours::connect(os, &self.members, &self.members.addresses, 1))
            }
            Kind::Etcd(_) => Door::Etcd(self.members.addresses.clone()),
        };
        let asked = [Ask::Get, Ask::Put].map(|ask| {
            let (first, said) = (door().first(os.clone(), ask), Arc::new(Mutex::new(None)));
            let saying = Arc::clone(&said);
            let task = os.task().spawn("first", async move {
                let answer = first.await.map(|()| begin.elapsed());
                *saying.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            });
            (task, said)
        });
        let mut firsts = [Duration::ZERO; 2];
        for (first, (task, said)) in firsts.iter_mut().zip(asked) {
            task.join().await;
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
            *first = said.unwrap_or_else(|| Err("a task was lost".into())).map_err(failed)?;
        }
        Ok(firsts)
    }

    /// Whether what was promised is there: these writes, and a sample of what was loaded.
    async fn look_for(&self, os: &Os, last: &[u64]) -> Outcome {
        let clients = self.our_clients(os);
        let mut dice = Dice::new(self.more + 1);
        // The first key is what members are asked for when they start.
        let samples = (0..SAMPLES.min(self.keys - 1)).map(|_| 1 + dice.below(self.keys - 1));
        for (nth, number) in last.iter().copied().chain(samples).enumerate() {
            let found = clients.value(nth, &key(number)).await.map_err(failed)?;
            if found.as_deref() != Some(self.values.of(number, number)) {
                let cause = format!("write {number} had been acknowledged and is not there");
                return Err(Failure::new(&LOST, cause, "report it"));
            }
        }
        Ok(())
    }

    /// What was measured.
    fn tell(&mut self, rows: &mut Rows) {
        let name = self.name();
        self.ended.sort_unstable();
        let ended = self.ended.get(self.ended.len() / 2).copied().unwrap_or_default();
        row(rows, &format!("{name}: SIGTERM to all until they have ended"), ms(ended), "ms");
        for (way, firsts) in Way::ALL.into_iter().zip(&self.firsts) {
            for (at, what) in ["read", "write"].into_iter().enumerate() {
                let mut times: Vec<Duration> = firsts.iter().map(|first| first[at]).collect();
                times.sort_unstable();
                let words = format!("{name}: {}, start of all to the first {what}", way.words());
                row(rows, &format!("{words}, median"), ms(times[times.len() / 2]), "ms");
                row(
                    rows,
                    &format!("{words}, longest of {ROUNDS}"),
                    ms(times[times.len() - 1]),
                    "ms",
                );
            }
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
