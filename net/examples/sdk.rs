//! The Rust client: connections, many requests at once, retries, consistency and transactions.
//!
//! ```console
//! cargo run --release -- standalone          # in another terminal; any cluster will do
//! cargo run -p trilith-net --example sdk 127.0.0.1:7381
//! ```
//! Several addresses are several nodes of one cluster; one of them is enough to begin with.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of its own")]

use std::{env, error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use trilith_engine::command::{
    Check, Command, Condition, Expiry, Level, Op, Outcome, Reply, Response, Transaction, Write,
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    os::{Os, run_core},
};

/// Keys of one hash tag live in one group, so that one transaction may write them all.
const FROM: Bytes = Bytes::from_static(b"{accounts}ada");
const TO: Bytes = Bytes::from_static(b"{accounts}grace");

/// A call is tried again, on whatever node leads, until this is over; it is done at most once.
const PATIENCE: Wish = Wish::strong(Duration::from_secs(5));

/// As current as a node near by is without asking the others, and at most a second old.
const GLANCE: Wish =
    Wish { level: Level::Eventual, staleness_ms: 1000, within: Duration::from_secs(1) };

fn main() -> Result<(), Box<dyn Error>> {
    let nodes = env::args().skip(1).map(|at| at.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
    if nodes.is_empty() {
        return Err("usage: sdk ADDRESS…, for example 127.0.0.1:7381".into());
    }
    run_core(env::temp_dir(), async |os| {
        run(&Client::start(&os, &nodes, ClientOptions::default())).await
    })?
}

async fn run(client: &Client<Os>) -> Result<(), Box<dyn Error>> {
    for (key, coins) in [(FROM, 100), (TO, 0)] {
        done(client.call(Op::Write(set(key, coins)), PATIENCE).await)?;
    }

    // A hundred requests over one connection, without waiting for each other.
    let visits = Bytes::from_static(b"visits");
    let visit = || Op::Write(Command::Increment { key: visits.clone(), by: 1 });
    let answers = join_all((0..100).map(|_| client.call(visit(), PATIENCE))).await;
    let numbers = answers.into_iter().map(done).collect::<Result<Vec<_>, _>>()?;
    println!("100 increments at once: the last says {:?}", numbers.last());

    // What was read must still be so when both are written, or nothing is: then it is tried again.
    loop {
        let Reply::Values(found) = done(client.call(Op::GetMany(vec![FROM, TO]), PATIENCE).await)?
        else {
            return Err("two values were asked for".into());
        };
        let accounts = found.iter().map(|found| {
            let found = found.as_ref().ok_or("an account is gone")?;
            Ok((found.version, std::str::from_utf8(&found.value)?.parse::<i64>()?))
        });
        let accounts = accounts.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let keys = [FROM, TO].into_iter().zip(&accounts);
        let checks = keys.map(|(key, (version, _))| Check { key, version: Some(*version) });
        let writes = [FROM, TO].into_iter().zip(accounts.iter().zip([-30, 30]));
        let writes = writes.map(|(key, ((_, coins), by))| Write::Set {
            key,
            value: (coins + by).to_string().into(),
            expiry: Expiry::None,
        });
        let moved = Transaction::new(checks.collect(), writes.collect())?;
        match done(client.call(Op::Write(Command::Transaction(moved)), PATIENCE).await)? {
            Reply::Conflict { .. } => println!("somebody was quicker: once more"),
            reply => break println!("30 coins have moved: {reply:?}"),
        }
    }

    let response = client.call(Op::Get(TO), GLANCE).await;
    println!("{:?}, at most {} ms old", response.outcome, response.told.staleness_ms);
    Ok(())
}

fn set(key: Bytes, coins: i64) -> Command {
    let (expiry, condition) = (Expiry::None, Condition::Always);
    Command::Set { key, value: coins.to_string().into(), expiry, condition, want_old: false }
}

/// What came of a call. *Unknown* is no failure: it may have happened, and whoever must know looks.
fn done(response: Response) -> Result<Reply, Box<dyn Error>> {
    match response.outcome {
        Outcome::Ok(reply) => Ok(reply),
        Outcome::Refused(why) => Err(format!("nothing happened: {why}").into()),
        Outcome::Unknown => Err("it may have happened: nobody answered in time".into()),
    }
}
