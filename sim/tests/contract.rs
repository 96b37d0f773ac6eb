//! Every simulated door keeps the sentences of the runtime traits.
//!
//! Not here: the real doors' run of the same suite (`net/tests/contract.rs`), what survives a
//! crash (`sim/src/platter/tests.rs`).

use trilith_engine::runtime::contract;
use trilith_sim::{
    platter::{Faults, Platter},
    still::Still,
};

#[test]
fn the_still_world_keeps_the_contract() {
    let still = Still::new(Platter::default());
    let report = still.block_on(async {
        let mut report = contract::all(&still, None).await;
        report.extend(contract::panics(&still).await);
        // A door must do for the second process what it did for the first.
        report.extend(contract::disk(&still).await);
        report
    });
    println!("{report}");
    report.assert_kept();
}

#[test]
fn a_disk_that_lies_is_told_from_one_that_does_not() {
    let mut platter = Platter::default();
    platter.set_faults(Faults { read_flip: 1_000_000, ..Faults::default() });
    let still = Still::new(platter);
    let report = still.block_on(contract::disk(&still));
    let broken = report.broken().count();
    assert!(broken > 10, "only {broken} sentences notice that every read flips a bit");
}
