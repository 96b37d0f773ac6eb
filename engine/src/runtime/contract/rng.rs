//! The sentences of [`Rng`].

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    super::{Rng, Runtime},
    Outcome, Report, demand,
};

/// Checks the runtime's luck.
pub async fn rng<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "two rooms have two streams", async { streams(rt) }).await;
    report.check(rt, "a room that asks twice gets two streams", async { twice(rt) }).await;
    report.check(rt, "names do not repeat", async { unique(rt) }).await;
    report.check(rt, "every bit is drawn", async { bits(rt) }).await;
    report.check(rt, "ranges and chances keep their bounds", async { bounds(rt) }).await;
    report
}

fn draws(mut rng: impl Rng) -> Vec<u64> {
    (0..8).map(|_| rng.next_u64()).collect()
}

fn streams<R: Runtime>(rt: &R) -> Outcome {
    let (journal, raft) = (draws(rt.rng("journal")), draws(rt.rng("raft")));
    demand!(journal != raft, "both drew {journal:?}");
    Ok(())
}

fn twice<R: Runtime>(rt: &R) -> Outcome {
    let (first, second) = (draws(rt.rng("journal")), draws(rt.rng("journal")));
    demand!(first != second, "both drew {first:?}");
    let (first, second) = (draws(rt.clone().rng("index")), draws(rt.rng("index")));
    demand!(first != second, "a clone of the runtime drew the same {first:?}");
    Ok(())
}

fn unique<R: Runtime>(rt: &R) -> Outcome {
    let mut seen = BTreeSet::new();
    for room in ["a", "b", "c", "d"] {
        let mut rng = rt.rng(room);
        for _ in 0..1_000 {
            demand!(seen.insert(rng.next_u64()), "a draw of 64 bits came twice within 4,000");
        }
    }
    Ok(())
}

fn bits<R: Runtime>(rt: &R) -> Outcome {
    let mut rng = rt.rng("bits");
    let mut ones = [0_u32; 64];
    for _ in 0..1_000 {
        let draw = rng.next_u64();
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(draw >> bit & 1 == 1);
        }
    }
    for (bit, count) in ones.iter().enumerate() {
        demand!((350..650).contains(count), "bit {bit} was set {count} times in 1,000");
    }
    Ok(())
}

fn bounds<R: Runtime>(rt: &R) -> Outcome {
    let mut rng = rt.rng("bounds");
    let mut seen = BTreeSet::new();
    for _ in 0..1_000 {
        let draw = rng.range(10..15);
        demand!((10..15).contains(&draw), "{draw} is not within 10..15");
        seen.insert(draw);
        demand!(!rng.chance(0, 3), "never happened");
        demand!(rng.chance(3, 3), "always did not happen");
    }
    demand!(seen.len() == 5, "of 10..15 only {seen:?} were drawn in 1,000");
    demand!(rng.range(7..8) == 7, "the one number of 7..8 is 7");
    demand!(rng.range(0..u64::MAX) < u64::MAX, "the widest range");
    Ok(())
}
