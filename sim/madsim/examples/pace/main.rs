//! How fast a simulated world is: ours and madsim in turn, with the same node code in both.
//!
//! ```console
//! cargo run --release -p trilith-madsim --example pace                 # a minute of a core
//! cargo run --release -p trilith-madsim --example pace -- --quick      # a first look
//! cargo run --profile sim -p trilith-madsim --example pace             # every assertion on
//! ```
//!
//! Two programs are run. The toy is what the tests break: a replicated log on five nodes, its
//! clients, their plans of faults and every judge; whole seeds are timed, from the draw to the
//! verdict. Beats are as little as a node can do (`beats`), so they time the world itself.
//!
//! What is printed is simulated seconds for each second that one core worked: the processor time
//! of this process, which has one busy thread at a time, so that a busy machine blurs it less
//! than the time on the wall would be. The wall's figure stands beside it.
//!
//! madsim does not know every fault: what it leaves out is counted, and there are no faults for
//! its beats.
//!
//! Not here: what the toy and its judges are (`trilith_sim`), how madsim runs it
//! (`trilith_madsim::world`).
#![expect(clippy::disallowed_methods, reason = "a stopwatch needs the real clock and files")]

#[cfg(madsim)]
mod beats;

#[cfg(madsim)]
mod measure {
    use std::{
        error::Error,
        fs,
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use trilith_madsim::os::{MadRuntime, Witness};
    use trilith_sim::{
        plan::Weather,
        platter::Platter,
        run::{self, Request, draw},
        scenario::{Draw, Scenario, load_file},
        swarm,
        world::{self, NodeOptions, World, WorldOptions},
    };

    use super::beats::{NODES, node};

    const ROUNDS: usize = 3;

    /// What was simulated, and what it took.
    #[derive(Clone, Copy, Default)]
    struct Pace {
        simulated: Duration,
        worked: Duration,
        wall: Duration,
        seeds: u64,
    }

    impl Pace {
        fn of(seeds: u64, act: impl FnOnce() -> Duration) -> Self {
            let (before, began) = (worked(), Instant::now());
            let simulated = act();
            let wall = began.elapsed();
            let worked = worked().and_then(|now| Some(now.saturating_sub(before?)));
            Self { simulated, worked: worked.unwrap_or(wall), wall, seeds }
        }

        fn a_core_second(&self) -> f64 {
            self.simulated.as_secs_f64() / self.worked.as_secs_f64().max(1e-9)
        }

        fn a_wall_second(&self) -> f64 {
            self.simulated.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
        }

        fn seeds_an_hour(&self) -> f64 {
            self.seeds as f64 * 3600.0 / self.worked.as_secs_f64().max(1e-9)
        }
    }

    /// The processor time of all threads this process has had, in Linux's ticks of 10 ms.
    fn worked() -> Option<Duration> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    /// The toy's scenario on five nodes, with the plan of faults that is asked for.
    fn toy(faults: Faults, seed: u64, base: &Scenario) -> Scenario {
        let mut scenario = base.clone();
        let weather = match faults {
            Faults::Drawn => return scenario,
            Faults::None => Weather { families: Vec::new(), ..Weather::default() },
            Faults::All => Weather {
                nodes: NODES,
                clients: draw(base, &Request::of(seed)).shape.clients,
                families: base.faults.families.clone(),
                swarm: false,
                count: base.faults.count.most(),
                span_ms: base.time.chaos_ms,
                ..Weather::of_nodes(NODES)
            },
        };
        scenario.fixed.faults = Some(weather.draw(seed).plan);
        scenario
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Faults {
        None,
        Drawn,
        All,
    }

    fn toy_in_ours(faults: Faults, seeds: std::ops::Range<u64>, base: &Scenario) -> Pace {
        Pace::of(seeds.end - seeds.start, || {
            let one = |seed| run::run(&toy(faults, seed, base), &Request::of(seed));
            let held = |report: run::Report| {
                assert!(report.violation.is_none(), "{}", report.story());
                report.simulated
            };
            seeds.map(|seed| held(one(seed))).sum()
        })
    }

    fn toy_in_madsim(
        faults: Faults,
        seeds: std::ops::Range<u64>,
        base: &Scenario,
        left_out: &AtomicU64,
    ) -> Pace {
        let time = base.time;
        let each = time.chaos_ms + time.settle_ms + time.calm_ms + time.bound_ms;
        Pace::of(seeds.end - seeds.start, || {
            seeds
                .map(|seed| {
                    let report = trilith_madsim::world::run(&toy(faults, seed, base), seed);
                    assert!(report.violation.is_none(), "{report}");
                    left_out.fetch_add(report.left_out, Ordering::Relaxed);
                    Duration::from_millis(each)
                })
                .sum()
        })
    }

    fn beats_in_ours(faults: bool, seed: u64, seconds: u64) -> Pace {
        Pace::of(1, || {
            let beats = Arc::new(AtomicU64::new(0));
            let mut world = World::new(seed, WorldOptions::default());
            for at in 0..NODES {
                let beats = Arc::clone(&beats);
                world.add(&format!("n{at}"), NodeOptions::default(), move |rt| {
                    node(rt, at, Arc::clone(&beats))
                });
            }
            world.start_all();
            if faults {
                // One fault a second, about; they last half a second in the mean.
                let (span_ms, count) = (seconds * 1000, seconds);
                let weather = Weather { span_ms, count, swarm: false, ..Weather::of_nodes(NODES) };
                world.play(&weather.draw(seed).plan);
            }
            world.run_for(Duration::from_secs(seconds));
            assert!(beats.load(Ordering::Relaxed) > 0, "the nodes beat");
            world.now()
        })
    }

    fn beats_in_madsim(seed: u64, seconds: u64) -> Pace {
        Pace::of(1, || {
            // A run has a thread of its own: madsim's second run on one thread differs from its
            // first.
            let run = thread::spawn(move || {
                let beats = Arc::new(AtomicU64::new(0));
                let mut config = madsim::Config::default();
                config.net.send_latency = Duration::from_micros(100)..Duration::from_micros(900);
                let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, config);
                let witness = Witness::default();
                runtime.block_on(async {
                    for at in 0..NODES {
                        let ip = world::address(world::NodeId(at), 0).ip();
                        let node = madsim::runtime::Handle::current().create_node().ip(ip).build();
                        let (beats, witness) = (Arc::clone(&beats), witness.clone());
                        drop(node.spawn(async move {
                            let disk = Arc::new(Mutex::new(Platter::default()));
                            let rt = MadRuntime::new(disk, &witness, u64::from(at), 1);
                            super::beats::node(rt, at, beats).await;
                        }));
                    }
                    madsim::time::sleep(Duration::from_secs(seconds)).await;
                });
                assert!(beats.load(Ordering::Relaxed) > 0, "the nodes beat");
            });
            assert!(run.join().is_ok(), "the run ends");
            Duration::from_secs(seconds)
        })
    }

    /// The middle of the rounds, and how far the outermost are from it.
    fn middle(rounds: &[Pace], figure: impl Fn(&Pace) -> f64) -> (f64, f64) {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let (low, high) = (all[0], all[all.len() - 1]);
        (all[all.len() / 2], (high - low) / 2.0)
    }

    fn row(name: &str, seeds: bool, ours: &[Pace], madsim: &[Pace]) {
        let cell = |rounds: &[Pace]| {
            if rounds.is_empty() {
                return "– | – | –".into();
            }
            let (core, spread) = middle(rounds, Pace::a_core_second);
            let (wall, _) = middle(rounds, Pace::a_wall_second);
            let (hour, _) = middle(rounds, Pace::seeds_an_hour);
            let hour = if seeds { format!("{:.0} thousand", hour / 1000.0) } else { "–".into() };
            format!("{core:.0} ±{:.0}% | {wall:.0} | {hour}", 100.0 * spread / core)
        };
        println!("| {name} | {} | {} |", cell(ours), cell(madsim));
    }

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let quick = std::env::args().any(|word| word == "--quick");
        let (seeds, seconds) = if quick { (100, 300) } else { (1000, 1200) };
        let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let file = stories.join("random/everything_goes_wrong_at_once.toml");
        let mut base = load_file(&stories, &file)?;
        base.nodes = Draw::just(u64::from(NODES));
        println!(
            "commit {}, assertions {}, {} cores; {ROUNDS} rounds of {seeds} seeds of the toy on \
             {NODES} nodes and {seconds} simulated seconds of beats\n",
            run::commit(),
            if cfg!(debug_assertions) { "all on" } else { "as released" },
            swarm::cores(),
        );
        let left_out = AtomicU64::new(0);
        let (mut ours, mut mads): (Vec<Vec<Pace>>, Vec<Vec<Pace>>) =
            (vec![vec![]; 5], vec![vec![]; 5]);
        for round in 0..ROUNDS as u64 {
            // The worlds take turns, so that a slow minute of the machine hits both.
            let range = round * seeds..(round + 1) * seeds;
            for (at, faults) in [Faults::All, Faults::Drawn, Faults::None].into_iter().enumerate() {
                ours[at].push(toy_in_ours(faults, range.clone(), &base));
                let few = range.start..range.start + seeds / 5;
                mads[at].push(toy_in_madsim(faults, few, &base, &left_out));
            }
            ours[3].push(beats_in_ours(true, round, seconds));
            ours[4].push(beats_in_ours(false, round, seconds));
            mads[4].push(beats_in_madsim(round, seconds));
        }
        println!(
            "| | ours, a core second | a wall second | seeds an hour and core | madsim, a core second | a wall second | seeds an hour and core |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        row("toy, every family of faults", true, &ours[0], &mads[0]);
        row("toy, the faults its seeds draw", true, &ours[1], &mads[1]);
        row("toy, no faults", true, &ours[2], &mads[2]);
        row("beats, every family of faults", false, &ours[3], &mads[3]);
        row("beats, no faults", false, &ours[4], &mads[4]);
        println!(
            "\nmadsim left {} faults out that it does not know",
            left_out.load(Ordering::Relaxed)
        );
        Ok(())
    }
}

#[cfg(madsim)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::main()
}

#[cfg(not(madsim))]
fn main() {
    println!("the flag `--cfg madsim` is missing: unset RUSTFLAGS, it replaces .cargo/config.toml");
}
