//! The contract of the engines, kept by the two that live in this crate, on real files.
//!
//! Not here: engines of other crates (`bin/src/engines`), which run the same suite.
#![cfg(feature = "embedded")]
#![expect(clippy::disallowed_methods, reason = "a test's own directory")]

use std::{env, fs, process, sync::Arc};

use trilith_engine::{
    embedded::os::{Native, block_on},
    journal::Files,
    value::{Engine, Indexed, Memory, contract},
};

fn check<E: Engine>(
    name: &str,
    make: impl FnOnce(Arc<Files<Native>>) -> E,
    follow: impl FnMut(&mut E, Arc<Files<Native>>) + Send,
) {
    let root = env::temp_dir().join(format!("trilith-engine-{name}-{}", process::id()));
    let report = block_on(contract::engine(&Native::new(&root), make, follow));
    let _gone = fs::remove_dir_all(&root);
    println!("{report}");
    report.assert_kept();
}

#[test]
fn the_map_in_memory_keeps_the_contract() {
    check("memory", |_| Memory::default(), |_, _| {});
}

#[test]
fn the_index_over_the_journal_keeps_the_contract() {
    check("indexed", Indexed::new, |engine, files| engine.set_files(files));
}
