//! `trilith-sim exhaust`.
//!
//! Not here: the search (`trilith_sim::exhaust`).

use std::fmt;

use clap::Args;
use trilith_sim::{
    exhaust::{
        Bound, Count, Subject, entries, entries::Entries, journal, journal::Journals, last_step,
        store, store::Stores, word, words,
    },
    swarm::{caught, over_seeds, timed},
};

use super::{Done, House, bar};

/// What can be asked.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The longest history.
    #[arg(long, default_value_t = 3)]
    length: u32,
    /// `journal`, `entries` or `store`; all when not given.
    #[arg(long)]
    subject: Option<String>,
    /// Outcomes of one crash that are all looked at.
    #[arg(long, default_value_t = 256)]
    outcomes: usize,
    /// Outcomes of one crash of a recovery that are all looked at.
    #[arg(long, default_value_t = 64)]
    inner: usize,
}

/// Crashes all of them.
pub(crate) fn run(house: &House, arguments: &Arguments) -> Done {
    let bound =
        Bound { outcomes: arguments.outcomes, inner: arguments.inner, drawn: 16, chains: 2 };
    let known = ["journal", "entries", "store"];
    let subject = arguments.subject.as_deref();
    if let Some(name) = subject.filter(|name| !known.contains(name)) {
        return Err(format!("there is no subject {name:?}; there are {}", known.join(", ")).into());
    }
    let wanted = |name| subject.is_none_or(|subject| subject == name);
    let mut holds = true;
    if wanted("journal") {
        holds &= all::<Journals>("journal", house, journal::ALPHABET, arguments.length, &bound);
    }
    if wanted("entries") {
        holds &= all::<Entries>("entries", house, entries::ALPHABET, arguments.length, &bound);
    }
    if wanted("store") {
        holds &= all::<Stores>("store", house, store::ALPHABET, arguments.length, &bound);
    }
    Ok(holds)
}

fn all<S: Subject>(
    name: &str,
    house: &House,
    alphabet: &[S::Step],
    length: u32,
    bound: &Bound,
) -> bool {
    let histories = words(alphabet.len(), length);
    let bar = bar(histories + 1, name);
    let (mut count, mut failures) = (Count::default(), 0_u64);
    let mut failed = |number: u64, why: &dyn fmt::Display| {
        failures += 1;
        if failures <= 5 {
            println!("{name}, history {number}: {why}");
        }
    };
    // Number 0 is the empty history: the crashes of a store that is being made.
    let work = |number: u64| {
        let steps = number.checked_sub(1).map(|number| word(alphabet, number));
        caught(|| last_step::<S>(&steps.unwrap_or_default(), bound))
    };
    let ((), took) = timed(|| {
        let mut from = 0;
        while from <= histories {
            let until = (from + 256).min(histories + 1);
            for (number, done) in over_seeds(from..until, house.threads, work, |_, _| true) {
                match done {
                    Ok(Ok(one)) => count.add(&one),
                    Ok(Err(broken)) => failed(number, &broken),
                    Err(panic) => failed(number, &panic),
                }
            }
            bar.inc(until - from);
            from = until;
        }
    });
    bar.finish_and_clear();
    println!("{name}: histories up to {length} steps in {took:.1?}: {count}; {failures} failed");
    failures == 0
}
