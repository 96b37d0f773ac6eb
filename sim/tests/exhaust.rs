//! Every crash of short histories of a journal and of a store, and of the recoveries after them.
//!
//! All words of two steps with a bound that takes seconds, and a few longer stories that words so
//! short cannot tell. The long words are a program's: `trilith-sim exhaust --length 3`.
//!
//! Not here: the search itself (`trilith_sim::exhaust`).

use trilith_engine::journal::Sync;
use trilith_sim::exhaust::{
    Bound, Count, Subject, entries, entries::Entries, everywhere, journal, journal::Journals,
    last_step, store, store::Stores, word, words,
};

/// Outcomes of a crash up to 32, of a crash of recovery up to 16; six drawn where there are more.
const SMALL: Bound = Bound { outcomes: 32, inner: 16, drawn: 6, chains: 1 };

fn all_words<S: Subject>(name: &str, alphabet: &[S::Step], length: u32, bound: &Bound) -> Count {
    let empty = last_step::<S>(&[], bound).unwrap_or_else(|broken| panic!("{broken}"));
    let mut count = empty;
    for number in 0..words(alphabet.len(), length) {
        let done = last_step::<S>(&word(alphabet, number), bound);
        count.add(&done.unwrap_or_else(|broken| panic!("{broken}")));
    }
    println!("{name}, up to {length} steps: {count}");
    count
}

fn story<S: Subject>(name: &str, steps: &[S::Step], bound: &Bound) -> Count {
    let count = everywhere::<S>(steps, bound).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{name}: {count}");
    count
}

#[test]
fn every_crash_of_two_steps_of_a_journal() {
    let count = all_words::<Journals>("journal", journal::ALPHABET, 2, &SMALL);
    assert!(count.outcomes > 500 && count.inner_outcomes > 10_000, "{count}");
}

#[test]
fn every_crash_of_one_step_of_a_store() {
    let count = all_words::<Stores>("store", store::ALPHABET, 1, &SMALL);
    assert!(count.outcomes > 100 && count.inner_outcomes > 1000, "{count}");
}

#[test]
fn every_crash_of_one_step_of_entries() {
    let count = all_words::<Entries>("entries", entries::ALPHABET, 1, &SMALL);
    assert!(count.outcomes > 100 && count.inner_outcomes > 1000, "{count}");
}

#[test]
fn every_crash_of_stories_of_entries() {
    for (name, steps) in stories_of_entries() {
        story::<Entries>(name, &steps, &SMALL);
    }
}

fn stories_of_entries() -> [(&'static str, Vec<entries::Step>); 3] {
    use entries::Step;
    let overwritten = vec![
        Step::Put(900, Sync::Now),
        Step::Increment(Sync::Now),
        Step::Overwrite(Sync::Later),
        Step::Fails(Sync::Now),
        Step::Both(Sync::Now),
        Step::Rotate,
        Step::Put(10, Sync::Now),
        Step::Settle,
        Step::Chores,
        Step::Increment(Sync::Now),
        Step::Checkpoint(Sync::Later),
        Step::Overwrite(Sync::Now),
    ];
    let later = vec![
        Step::Put(2500, Sync::Later),
        Step::Rotate,
        Step::Fails(Sync::Now),
        Step::Overwrite(Sync::Now),
        Step::Put(2500, Sync::Now),
        Step::Chores,
        Step::Reopen,
        Step::Increment(Sync::Now),
        Step::Settle,
        Step::Chores,
        Step::Put(100, Sync::Now),
        Step::Reopen,
    ];
    // The spare is older than the segment that the large values need, and is used after it.
    let numbers = vec![
        Step::Put(10, Sync::Now),
        Step::Chores,
        Step::Put(2500, Sync::Now),
        Step::Rotate,
        Step::Put(10, Sync::Now),
        Step::Overwrite(Sync::Now),
    ];
    [
        ("settle what was overwritten", overwritten),
        ("settle in a later life", later),
        ("numbers do not tell the order", numbers),
    ]
}

#[test]
fn every_crash_of_stories_of_a_journal() {
    use journal::Step;
    let steps = [
        Step::Append(&[10, 700], Sync::Now),
        Step::Append(&[1200], Sync::Now),
        Step::Append(&[2500], Sync::Now),
        Step::Append(&[40], Sync::Now),
    ];
    story::<Journals>("appends and a rotation", &steps, &SMALL);
    let steps = [
        Step::Append(&[600], Sync::Later),
        Step::Append(&[10], Sync::Later),
        Step::Sync,
        Step::Append(&[900], Sync::Later),
        Step::Append(&[300, 20], Sync::Now),
        Step::Idle,
        Step::Append(&[5], Sync::Later),
        Step::Rotate,
    ];
    story::<Journals>("lazy appends", &steps, &SMALL);
    let steps = [
        // Frames that end on a sector.
        Step::Append(&[2996], Sync::Now),
        Step::Rotate,
        Step::Append(&[10], Sync::Now),
        Step::Chores,
        Step::Reopen,
    ];
    story::<Journals>("seal before the second frame", &steps, &SMALL);
    let steps = [
        Step::Append(&[3000], Sync::Now),
        Step::Rotate,
        Step::Chores,
        Step::Append(&[500, 1500], Sync::Now),
        Step::DropOldest,
        Step::Chores,
        Step::Append(&[100], Sync::Now),
        Step::Reopen,
    ];
    story::<Journals>("seal, drop, recycle", &steps, &SMALL);
}

#[test]
fn every_crash_of_compacting_what_was_deleted_and_written_again() {
    use store::Step;
    let steps = [
        Step::Write(&[("a", Some(2500)), ("b", Some(10))], Sync::Now),
        Step::Reopen,
        Step::Write(&[("a", None)], Sync::Later),
        Step::CompactAmidst,
        Step::Write(&[("b", Some(1500))], Sync::Now),
        Step::Compact,
    ];
    story::<Stores>("delete and compact", &steps, &SMALL);
}

/// The search can fail: told that more is durable than was acknowledged, it says so.
#[test]
fn a_lost_write_is_noticed() {
    struct Forgetful;
    impl Subject for Forgetful {
        type Step = journal::Step;
        type Known = journal::Known;
        type Found = journal::Found;
        fn run(
            still: &trilith_sim::still::Still,
            steps: &[journal::Step],
            ops: &mut Vec<u64>,
        ) -> journal::Known {
            let mut known = Journals::run(still, steps, ops);
            known.durable += 1;
            known
        }
        fn recover(still: &trilith_sim::still::Still) -> Result<journal::Found, String> {
            Journals::recover(still)
        }
        fn judge(known: &journal::Known, found: &journal::Found) -> Result<(), String> {
            Journals::judge(known, found)
        }
        fn live_on(
            still: &trilith_sim::still::Still,
            found: &journal::Found,
        ) -> Result<(), String> {
            Journals::live_on(still, found)
        }
    }
    let steps = [journal::Step::Append(&[40], Sync::Later)];
    let broken = last_step::<Forgetful>(&steps, &SMALL).expect_err("it must be noticed");
    assert!(broken.0.contains("was acknowledged"), "{broken}");
}

/// Each bug planted in a journal that its owner settles is noticed by these stories.
#[cfg(feature = "mutants")]
mod planted {
    use std::{cell::Cell, panic};

    use trilith_engine::mark::{Sink, install};

    use trilith_sim::exhaust::Broken;

    use super::*;

    const PLANTED: &[&str] = &[
        "dead_record_in_hints",
        "encoded_records_not_in_the_directory",
        "footer_before_settle",
        "tail_in_the_order_of_numbers",
    ];

    thread_local! {
        static ON: Cell<&'static str> = const { Cell::new("") };
    }

    struct Switch;

    impl Sink for Switch {
        fn mark(&self, _name: &'static str) {}

        fn broken(&self, claim: &'static str, file: &'static str, line: u32) {
            panic!("{claim} ({file}:{line})");
        }

        fn planted(&self, name: &'static str) -> bool {
            ON.get() == name
        }
    }

    #[test]
    fn every_planted_bug_is_noticed() {
        install(Box::new(Switch));
        let mut missed = Vec::new();
        for name in PLANTED {
            ON.set(name);
            let noticed = stories_of_entries().into_iter().find_map(|(story, steps)| {
                let told = panic::catch_unwind(|| everywhere::<Entries>(&steps, &SMALL).err());
                let told = told.unwrap_or_else(|_| Some(Broken("an assertion".into())));
                told.map(|broken| format!("{story}: {broken}"))
            });
            ON.set("");
            match noticed {
                Some(told) => println!("{name}: {}", told.chars().take(200).collect::<String>()),
                None => missed.push(*name),
            }
        }
        assert_eq!(missed, Vec::<&str>::new(), "bugs that nobody notices");
    }
}
