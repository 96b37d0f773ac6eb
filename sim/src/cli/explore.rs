//! `trilith-sim explore`.
//!
//! Not here: the search (`raft::tests` of the engine, which only a build with planted bugs has).

use clap::Args;

use super::{Done, House};

/// What can be asked. Without anything, what every test run visits.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The newest term; the group is founded in the first.
    #[arg(long)]
    terms: Option<u64>,
    /// Entries of clients in one log.
    #[arg(long, default_value_t = 1)]
    entries: usize,
    /// Changes of the members in one log.
    #[arg(long, default_value_t = 0)]
    changes: usize,
    /// Crashes.
    #[arg(long, default_value_t = 0)]
    crashes: u32,
    /// Messages that come again.
    #[arg(long, default_value_t = 0)]
    repeats: u32,
    /// Messages on their way at once.
    #[arg(long, default_value_t = 1)]
    messages: usize,
    /// States after which it is given up.
    #[arg(long, default_value_t = 5_000_000)]
    states: usize,
}

/// Visits them.
#[cfg(feature = "mutants")]
pub(crate) fn run(_house: &House, arguments: &Arguments) -> Done {
    use trilith_engine::raft::tests::{Bound, VISITED, explore};
    use trilith_sim::swarm::timed;

    let asked = arguments.terms.map(|terms| Bound {
        terms,
        entries: arguments.entries,
        changes: arguments.changes,
        crashes: arguments.crashes,
        repeats: arguments.repeats,
        messages: arguments.messages,
        states: arguments.states,
    });
    let bounds = asked.map_or(VISITED.to_vec(), |bound| vec![bound]);
    let mut holds = true;
    for bound in bounds {
        let (explored, took) = timed(|| explore(bound));
        let all = if explored.is_whole { "all" } else { "the nearest, and not all" };
        println!("{bound}: {} states ({all}), {took:.1?}", explored.states);
        if let Some((law, way)) = explored.broken {
            println!("  {law}");
            way.iter().for_each(|step| println!("    {step}"));
            holds = false;
        }
    }
    Ok(holds)
}

/// A build without planted bugs has no search either.
#[cfg(not(feature = "mutants"))]
pub(crate) fn run(_house: &House, _arguments: &Arguments) -> Done {
    super::mutants::again_with_mutants()
}
