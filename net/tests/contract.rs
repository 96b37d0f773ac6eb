//! The contract of the runtime, kept by the real doors: every sentence, on real files and sockets.
//!
//! Left out, with the reason: nothing.
#![expect(clippy::disallowed_methods, reason = "a door's tests look behind it")]

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process,
};

use trilith_engine::runtime::contract;
use trilith_net::os::run_core;

/// Runs every suite on one address and prints each sentence.
fn check(name: &str, host: IpAddr) {
    let root = env::temp_dir().join(format!("trilith-doors-{name}-{}", process::id()));
    let report = run_core(&root, async |os| {
        let mut report = contract::all(&os, Some(host)).await;
        report.extend(contract::panics(&os).await);
        report
    })
    .expect("an event loop");
    let _gone = fs::remove_dir_all(&root);
    println!("{report}");
    report.assert_kept();
}

#[test]
fn the_contract_is_kept() {
    check("v4", Ipv4Addr::LOCALHOST.into());
}

#[test]
fn the_contract_is_kept_on_the_newer_protocol() {
    let host = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if std::net::TcpListener::bind((host, 0)).is_err() {
        println!("left out: this machine has no IPv6");
        return;
    }
    check("v6", host);
}
