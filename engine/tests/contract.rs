//! The contract of the runtime, kept by the embedded store's door: every sentence, on real files.
//!
//! Left out, with the reason: nothing. There is no network here, and the suite checks that it says
//! so.
#![cfg(feature = "embedded")]
#![expect(clippy::disallowed_methods, reason = "a door's tests look behind it")]

use std::{env, fs, process};

use trilith_engine::{
    embedded::os::{Native, block_on},
    runtime::{Handle, Runtime, Task, contract},
};

/// Runs every suite in a directory of its own and prints each sentence.
fn check(name: &str, suites: impl FnOnce(Native) -> contract::Report) {
    let root = env::temp_dir().join(format!("trilith-contract-{name}-{}", process::id()));
    let report = suites(Native::new(&root));
    let _gone = fs::remove_dir_all(&root);
    println!("{report}");
    report.assert_kept();
}

#[test]
fn the_contract_is_kept_for_a_thread_that_blocks() {
    check("thread", |native| {
        block_on(async {
            let mut report = contract::all(&native, None).await;
            report.extend(contract::panics(&native).await);
            report
        })
    });
}

#[test]
fn the_contract_is_kept_for_a_task_of_the_core() {
    check("task", |native| {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let inner = native.clone();
        let task = native.task().spawn("contract", async move {
            let mut report = contract::all(&inner, None).await;
            report.extend(contract::panics(&inner).await);
            sender.send(report).expect("the test waits");
        });
        block_on(task.join());
        receiver.recv().expect("the suite ran to its end")
    });
}
