//! madsim's doors keep the sentences of the runtime traits that madsim can keep.
#![cfg(madsim)]
#![expect(clippy::disallowed_methods, reason = "each run has a thread of its own")]

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use trilith_engine::runtime::contract;
use trilith_madsim::os::{MadRuntime, Witness};
use trilith_sim::platter::Platter;

/// A run has a thread of its own: madsim's second run on one thread differs from its first.
fn on_a_thread_of_its_own<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| {
        std::panic::resume_unwind(panic);
    })
}

#[test]
fn madsim_keeps_the_contract() {
    let report = on_a_thread_of_its_own(|| {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(7, madsim::Config::default());
        let host = IpAddr::from([10, 0, 0, 1]);
        let node = runtime.create_node().name("node").ip(host).build();
        let task = node.spawn(async move {
            let disk = Arc::new(Mutex::new(Platter::default()));
            let rt = MadRuntime::new(disk, &Witness::default(), 1, 1);
            contract::all(&rt, Some(host)).await
        });
        runtime.block_on(task).expect("the node lives")
    });
    println!("{report}");
    report.assert_kept();
}
