//! `trilith kill cluster`: real nodes, killed at random moments, judged as the simulator judges its
//! own.
//!
//! ```text
//!   clients ══ SDK ══ node 1, node 2, … ◄── SIGKILL, SIGTERM, SIGSTOP ── keepers
//!      └────► history ──► judges                                        (one thread a node)
//! ```
//! With `--through resp` they speak Redis' protocol instead (`redis.rs`).
//!
//! The clients, the load and the judges are the simulator's (`trilith_sim`), so a history that is
//! refused here is refused for the same reason there; only the world is real: processes, files and
//! sockets on loopback.
//!
//! A round: a fresh cluster with options of its own; a while of mischief; then everybody runs, what
//! is asked now must be answered, and all nodes must come to hold the same. Journals are as small
//! as the simulator's, so that within seconds they rotate, are compacted and cut, and who was away
//! needs a snapshot.
//!
//! The same seed asks the same and draws the same moments, but processes take their own time: a
//! failure keeps its directories, its logs and its history.
//!
//! Not here: starting and ending nodes (`keeper.rs`), what Redis clients say (`redis.rs`), loss of power (`trilith-sim`).

use clap::{Args, ValueEnum};
use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};
use trilith_engine::runtime::{Handle, Runtime, Task};
use trilith_net::{
    os::{Os, run_core},
    peer::proof::Secret,
};
use trilith_sim::{
    check::{Verdict, alive, converged, durable, fresh::Notes, linearizable, once, phantom},
    history::{History, Recorder},
    load::{self, Mix, Planned, Shape},
    subject::cluster_client::{self, Looked, Setup},
};

use super::{
    keeper::{self, Did, Keeper, Running, Shared},
    redis, starting, strange,
};
use crate::{
    bench::{Scratch, load::Dice},
    failure::{Failure, LOST, Outcome},
    out::Out,
    progress::Progress,
    secret,
};

/// How long a client tries while nodes are killed, at most; an impatient one learns less.
const PATIENCE_MS_MAX: u64 = 2_000;
/// How long an answer may take when nobody is killed any more: generous, for machines that do much
/// else.
const CALM_PATIENCE: Duration = Duration::from_secs(30);
/// How long replicas may take until they hold the same.
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
/// What each client asks in a second of mischief, if it is answered at once.
const ASKS_PER_SECOND: u64 = 150;
/// How long nodes try for their Redis clients: less than those wait when nobody is killed.
const GUESTS_WITHIN_MS: u64 = 10_000;
/// The length of the calm phase.
const CALM_NS: u64 = 1_000_000_000;

/// How large, how long, how often.
#[derive(Args, Debug)]
pub struct Cluster {
    /// Where; a directory of its own is made there and removed afterwards.
    #[arg(long, default_value_os_t = env::temp_dir())]
    dir: PathBuf,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// How many clusters.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long nodes of one cluster are killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// In one round of so many a node loses its directory and is replaced; 0 for never.
    #[arg(long, default_value_t = 2)]
    lose: u64,
    /// Clients, each asking for one thing at a time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// How clients ask.
    #[arg(long, value_enum, default_value_t)]
    through: Through,
    /// What loads, options and moments are drawn from.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Wipes all directories between mischief and judgement: does anybody notice?
    #[arg(long, hide = true)]
    wipe: bool,
}

/// The way in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Through {
    /// Our own client, at the nodes' port.
    #[default]
    Sdk,
    /// Redis' protocol, at the port for that.
    Resp,
}

/// What was seen over all rounds.
#[derive(Debug, Default)]
struct Seen {
    did: Did,
    ok: usize,
    refused: usize,
    unknown: usize,
    undecided: u64,
}

/// Does it.
pub fn run(cluster: &Cluster, out: Out) -> Outcome {
    let mut scratch = Scratch::new(&cluster.dir)?;
    let dir = scratch.path.join("cluster");
    match cluster.rounds(&dir) {
        Ok(seen) => out.facts(&[
            ("rounds", cluster.rounds.into()),
            ("nodes", cluster.nodes.into()),
            ("kills", seen.did.kills.into()),
            ("kills_early", seen.did.early.into()),
            ("kills_of_all_at_once", seen.did.in_storms.into()),
            ("ended_in_order", seen.did.in_order.into()),
            ("pauses", seen.did.pauses.into()),
            ("replaced", seen.did.replaced.into()),
            ("answered", seen.ok.into()),
            ("refused", seen.refused.into()),
            ("unknown", seen.unknown.into()),
            ("undecided", seen.undecided.into()),
            ("lost", 0_u64.into()),
        ]),
        Err(failure) => {
            scratch.keep();
            Err(Failure {
                next: format!("see the logs and history.txt in {}", dir.display()),
                ..failure
            })
        }
    }
}

impl Cluster {
    fn rounds(&self, dir: &Path) -> Outcome<Seen> {
        let (mut seen, mut progress) = (Seen::default(), Progress::new("rounds", self.rounds));
        for round in 0..self.rounds {
            fs::create_dir_all(dir).map_err(|error| starting(&error))?;
            let mut drawn = Drawn::of(self, self.seed.wrapping_add(round), dir)?;
            drawn.loses = (round + 1).is_multiple_of(self.lose) && self.nodes > 2;
            let (did, judged) = drawn.round()?;
            seen.did += did;
            let (ok, refused, unknown) = judged.history.tally();
            seen.ok += ok;
            seen.refused += refused;
            seen.unknown += unknown;
            match judged.verdict {
                Verdict::Holds => {}
                Verdict::Unknown(_) => seen.undecided += 1,
                Verdict::Violated(violation) => {
                    fs::write(dir.join("history.txt"), judged.history.to_string())
                        .map_err(|error| starting(&error))?;
                    let cause = format!("seed {}: {violation}", self.seed.wrapping_add(round));
                    return Err(Failure::new(&LOST, cause, ""));
                }
            }
            fs::remove_dir_all(dir).map_err(|error| starting(&error))?;
            progress.step();
        }
        progress.finish();
        Ok(seen)
    }
}

/// A round, as it was drawn.
struct Drawn {
    wipe: bool,
    /// Whether a node loses its directory.
    loses: bool,
    addresses: Arc<[SocketAddr]>,
    groups: u32,
    /// What the nodes know.
    secret: Option<Secret>,
    shape: Shape,
    patience: Duration,
    load: Vec<Planned>,
    shared: Shared,
    dice: Dice,
    began: Instant,
}

/// What a round came to.
struct Judged {
    history: History,
    verdict: Verdict,
}

impl Drawn {
    fn of(cluster: &Cluster, seed: u64, dir: &Path) -> Outcome<Self> {
        let mut dice = Dice::new(seed);
        let mut addresses = keeper::addresses(2 * cluster.nodes as usize)?;
        let mut resp = addresses.split_off(cluster.nodes as usize);
        let at: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let members = (1..).zip(&addresses).map(|(node, at): (u64, _)| format!("{node}={at}"));
        let members = members.collect::<Vec<_>>().join(",");
        let groups = [1, 3, 8][dice.below(3) as usize];
        let election_ms = 150 + dice.below(450);
        let mut arguments = vec!["--tiny".to_owned(), "--members".to_owned(), members];
        arguments.extend(["--groups".to_owned(), groups.to_string()]);
        arguments.extend(["--election-ms".to_owned(), election_ms.to_string()]);
        if dice.below(2) == 0 {
            arguments.extend(["--drift-ppm".to_owned(), "1000".to_owned()]);
        }
        match cluster.through {
            Through::Sdk => resp.clear(),
            Through::Resp => {
                arguments.extend(["--within-ms".to_owned(), GUESTS_WITHIN_MS.to_string()]);
            }
        }
        let secret_file = dir.join("secret");
        let secret = Some(secret::keep(&secret_file)?);
        let began = Instant::now();
        let length = Duration::from_secs(cluster.seconds);
        // The first one not before there is something to lose.
        let storms = (0..cluster.seconds / 5).map(|_| 1_000 + dice.below(cluster.seconds * 1_000));
        let mut storms: Vec<_> = storms.map(|after| began + Duration::from_millis(after)).collect();
        storms.sort_unstable();
        let chaos_ns = cluster.seconds * 1_000_000_000;
        let shape = Shape {
            clients: cluster.clients,
            operations: (cluster.seconds * ASKS_PER_SECOND) as u32,
            calm_operations: 50,
            keys: 3 + dice.below(12) as u32,
            hot: dice.below(30),
            mix: Mix { get: 3, set: 4, delete: 1, cas: 2, incr: 2 },
            chaos_ns,
            calm_from_ns: chaos_ns,
            calm_ns: CALM_NS,
        };
        Ok(Self {
            wipe: cluster.wipe,
            loses: false,
            addresses: addresses.into(),
            groups,
            secret,
            load: load::plan(seed, &shape),
            shape,
            patience: Duration::from_millis(20 + dice.below(PATIENCE_MS_MAX)),
            shared: Shared {
                at: at.join(","),
                resp,
                arguments,
                secret_file,
                dir: dir.to_owned(),
                until: began + length,
                storms,
            },
            dice,
            began,
        })
    }

    fn keepers(&self) -> Vec<Keeper> {
        let mut dice = self.dice.clone();
        let loser = 1 + dice.below(self.addresses.len() as u64) as usize;
        let after = (self.shared.until - self.began).mul_f64(dice.below(500) as f64 / 1000.0);
        let keeper = |node| Keeper {
            loses_at: (self.loses && node == loser).then(|| self.began + after),
            shared: self.shared.clone(),
            node,
            dice: Dice::new(dice.bits()),
            did: Did::default(),
        };
        (1..=self.addresses.len()).map(keeper).collect()
    }

    /// Mischief, calm, judgement, an orderly end.
    fn round(&self) -> Outcome<(Did, Judged)> {
        let recorder = Recorder::default();
        let (mut did, mut nodes) = (Did::default(), Vec::new());
        thread::scope(|scope| {
            let keepers: Vec<_> = self
                .keepers()
                .into_iter()
                .map(|mut keeper| scope.spawn(move || (keeper.keep(), keeper)))
                .collect();
            let asked = self.ask(&recorder, 0..self.shape.calm_from_ns, self.patience);
            for keeper in keepers {
                let (kept, keeper) =
                    keeper.join().map_err(|_panic| strange("a keeper panicked"))?;
                did += keeper.did;
                nodes.push((kept?, keeper));
            }
            asked
        })?;
        if self.wipe {
            nodes = wiped(nodes)?;
        }
        let calm_ns = self.elapsed_ns();
        let calm = self.shape.calm_from_ns..u64::MAX;
        self.ask(&recorder, calm, CALM_PATIENCE)?;
        let history = recorder.history();
        let verdict = linearizable::check(&history)
            .and(|| alive::check(&history, calm_ns, CALM_PATIENCE, 1))
            .and(|| self.converge(&history));
        for (running, _) in nodes {
            running.end()?;
        }
        Ok((did, Judged { history, verdict }))
    }

    fn elapsed_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Plays the part of the load that lies in these moments, in so many clients, to its end.
    fn ask(
        &self,
        recorder: &Recorder,
        moments: std::ops::Range<u64>,
        patience: Duration,
    ) -> Outcome {
        if !self.shared.resp.is_empty() {
            return self.ask_as_redis(recorder, &moments, patience);
        }
        let client = |client, os: &Os| {
            let plan = self.part(client, &moments);
            let (recorder, began) = (recorder.clone(), self.began);
            let setup = Setup {
                client,
                nodes: Arc::clone(&self.addresses),
                plan: plan.into(),
                patience,
                value_bytes: 0,
                recorder,
                notes: Notes::default(),
                secret: self.secret,
                world_ns: Arc::new(move || began.elapsed().as_nanos() as u64),
            };
            os.task().spawn("client", cluster_client::run(os.clone(), setup))
        };
        let ran = run_core(&self.shared.dir, |os| async move {
            let clients: Vec<_> = (0..self.shape.clients).map(|one| client(one, &os)).collect();
            for client in clients {
                client.join().await;
            }
        });
        ran.map_err(|error| starting(&error))
    }

    /// What a client asks in these moments, counted from their beginning.
    fn part(&self, client: u32, moments: &std::ops::Range<u64>) -> Vec<Planned> {
        let planned = self.load.iter().filter(|one| one.client == client);
        let planned = planned.filter(|one| moments.contains(&one.at_ns));
        planned.map(|one| Planned { at_ns: one.at_ns - moments.start, ..*one }).collect()
    }

    /// The same as [`ask`](Self::ask), in the words of Redis.
    fn ask_as_redis(
        &self,
        recorder: &Recorder,
        moments: &std::ops::Range<u64>,
        patience: Duration,
    ) -> Outcome {
        thread::scope(|scope| {
            let client = |number| {
                let client = redis::Client {
                    number,
                    nodes: &self.shared.resp,
                    patience,
                    recorder: recorder.clone(),
                    began: self.began,
                    dice: Dice::new(u64::from(number)),
                    line: None,
                    last: BTreeMap::new(),
                    nonsense: None,
                };
                let plan = self.part(number, moments);
                scope.spawn(move || client.live(&plan))
            };
            let clients: Vec<_> = (0..self.shape.clients).map(client).collect();
            for client in clients {
                client.join().map_err(|_panic| strange("a client panicked"))??;
            }
            Ok(())
        })
    }

    /// Waits until all nodes hold the same, and judges what that is.
    fn converge(&self, history: &History) -> Verdict {
        let until = Instant::now() + CONVERGED_WITHIN;
        loop {
            let replicas = match self.look() {
                Ok(replicas) => replicas,
                Err(failure) => return Verdict::Unknown(failure.to_string()),
            };
            let finally = replicas.values().next().cloned().unwrap_or_default();
            let named: Vec<_> =
                replicas.into_iter().map(|(node, held)| (format!("n{node}"), held)).collect();
            let verdict = converged::check(&named);
            if verdict == Verdict::Holds {
                return durable::check(history, &finally)
                    .and(|| once::check_sums(history, &finally))
                    .and(|| phantom::check(history, &finally));
            }
            if Instant::now() >= until {
                return verdict;
            }
        }
    }

    fn look(&self) -> Outcome<BTreeMap<u32, BTreeMap<u32, u64>>> {
        let looked = Looked::default();
        let ran = run_core(&self.shared.dir, |os| async {
            let nodes = Arc::clone(&self.addresses);
            // Eventual reads say what a replica holds, and it has heard of everything by then.
            let from = Duration::from_millis(300);
            cluster_client::look(os, nodes, (self.groups, self.secret), from, Arc::clone(&looked))
                .await;
        });
        ran.map_err(|error| starting(&error))?;
        let held = looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(held)
    }
}

/// The nodes again, without their memory: only to see whether anybody notices. One after the other
/// would be refused by those that remember.
fn wiped(nodes: Vec<(Running, Keeper)>) -> Outcome<Vec<(Running, Keeper)>> {
    let end = |(running, keeper): (Running, Keeper)| running.end().map(|()| keeper);
    let keepers = nodes.into_iter().map(end).collect::<Outcome<Vec<_>>>()?;
    keepers.into_iter().map(|keeper| Ok((keeper.wiped()?, keeper))).collect()
}
