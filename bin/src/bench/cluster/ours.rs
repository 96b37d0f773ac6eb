//! Our side: three nodes, each a process of this very program, and our own client.
//!
//! Not here: what a node does (`server.rs`), the loads (`race.rs`).

use bytes::{Bytes, BytesMut};
use std::{env, io, net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};
use trilith_engine::{
    command::{Command as Change, Condition, Expiry, Op, Outcome, Refusal, Reply, Response},
    runtime::{Clock, Runtime},
};
use trilith_net::{
    client::{Client, ClientOptions, Wish},
    os::Os,
};

use super::{members::Members, race::Target};
use crate::{
    process::{Process, free_ports},
    secret,
};

/// An election and a slow disk.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a request is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The file with what the nodes know.
const SECRET: &str = "secret";

/// How the nodes are started.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) groups: u32,
    pub(super) lease: bool,
    /// Whether Redis clients are served, too.
    pub(super) resp: bool,
}

/// Starts a node, for the first time or again.
///
/// # Errors
/// When this program cannot start itself.
pub(super) fn start_one(
    dir: &Path,
    at: usize,
    addresses: &[SocketAddr],
    resp: Option<&SocketAddr>,
    shape: &Shape,
) -> io::Result<Process> {
    let named = addresses.iter().enumerate();
    let members: Vec<String> = named.map(|(at, address)| format!("{}={address}", at + 1)).collect();
    let mut command = Process::command(env::current_exe()?);
    command.args(["--log", "error", "server", "--node", &(at + 1).to_string()]);
    command.args(["--members", &members.join(",")]);
    command.args(["--groups", &shape.groups.to_string(), "--cluster", "bench"]);
    command.arg("--data").arg(dir.join(format!("n{}", at + 1)));
    command.arg("--secret-file").arg(dir.join(SECRET));
    if let Some(resp) = resp {
        command.args(["--resp", &resp.to_string()]);
    }
    if shape.lease {
        command.args(["--drift-ppm", "10000"]);
    }
    command.stdout(Stdio::null());
    Process::start(&mut command)
}

/// Starts three nodes.
///
/// # Errors
/// When this program cannot start itself.
pub(super) fn start(dir: &Path, shape: &Shape) -> io::Result<Members> {
    std::fs::create_dir_all(dir)?;
    let secret =
        secret::keep(&dir.join(SECRET)).map_err(|why| io::Error::other(why.to_string()))?;
    let mut addresses = free_ports(if shape.resp { 6 } else { 3 })?;
    let resp = addresses.split_off(3);
    let start = |at: usize| start_one(dir, at, &addresses, resp.get(at), shape);
    let processes = (0..3).map(start).collect::<io::Result<Vec<Process>>>()?;
    Ok(Members { addresses, resp, processes, secret: Some(secret) })
}

/// Which node leads the group of this key, as soon as one does.
///
/// # Errors
/// When none does for too long.
pub(super) async fn leader(os: &Os, members: &Members, key: &[u8]) -> Result<usize, String> {
    let until = os.clock().now() + READY_WITHIN;
    let options = ClientOptions { backoff_max: Duration::from_millis(20), ..members.client() };
    let nodes = members.addresses.iter();
    let clients: Vec<_> = nodes.map(|at| Client::start(os, &[*at], options)).collect();
    let mut last = String::new();
    while os.clock().now() < until {
        for (at, client) in clients.iter().enumerate() {
            let wish = Wish::strong(Duration::from_millis(100));
            let key = Bytes::copy_from_slice(key);
            match client.call(Op::Get(key), wish).await.outcome {
                Outcome::Ok(_) => return Ok(at),
                other => last = format!("{other:?}"),
            }
        }
    }
    Err(format!("no node leads: {last}"))
}

/// Clients, each with a connection to every node that it knows.
#[derive(Clone)]
pub(super) struct Ours(Vec<Arc<Client<Os>>>);

impl Ours {
    /// So many clients, which know these of the nodes.
    pub(super) fn connect(os: &Os, of: &Members, nodes: &[SocketAddr], count: usize) -> Self {
        let client = || Arc::new(Client::start(os, nodes, of.client()));
        Self((0..count).map(|_| client()).collect())
    }

    async fn call(&self, worker: usize, op: Op) -> Result<Reply, String> {
        let client = &self.0[worker % self.0.len()];
        let Response { outcome, .. } = client.call(op, Wish::strong(PATIENCE)).await;
        match outcome {
            Outcome::Ok(reply) => Ok(reply),
            Outcome::Refused(Refusal::NotLeader(_)) => Err("nobody led for too long".to_owned()),
            other => Err(format!("{other:?}")),
        }
    }
}

impl Ours {
    /// What a key has.
    pub(super) async fn value(&self, worker: usize, key: &[u8]) -> Result<Option<Bytes>, String> {
        match self.call(worker, Op::Get(Bytes::copy_from_slice(key))).await? {
            Reply::Value(found) => Ok(found.map(|found| found.value)),
            other => Err(format!("{other:?}")),
        }
    }
}

impl Target for Ours {
    async fn put(&self, worker: usize, key: &[u8], value: &[u8]) -> Result<(), String> {
        let mut both = BytesMut::with_capacity(key.len() + value.len());
        both.extend_from_slice(key);
        both.extend_from_slice(value);
        let mut value = both.freeze();
        let key = value.split_to(key.len());
        let (expiry, condition) = (Expiry::None, Condition::Always);
        let change = Change::Set { key, value, expiry, condition, want_old: false };
        self.call(worker, Op::Write(change)).await.map(drop)
    }

    async fn get(&self, worker: usize, key: &[u8]) -> Result<(), String> {
        self.value(worker, key).await.map(drop)
    }
}
