//! The rival: three members of etcd on this machine, in directories of their own.
//!
//! Everything is as the package has it; only addresses and directories are given. The messages are
//! three, with two fields each, and are encoded here.
//!
//! Not here: how they travel (`grpc.rs`).

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use trilith_engine::runtime::{Clock, Runtime};
use trilith_net::os::Os;

use super::{grpc::Connection, members::Members, race::Target};
use crate::process::{Process, free_ports};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
/// An election and a slow disk.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What each member is told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    dir: PathBuf,
    clients: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
}

impl Plan {
    /// Where the members' directories are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a member, for the first time or again.
    ///
    /// # Errors
    /// When there is no etcd.
    pub(super) fn start_one(&self, at: usize, again: bool) -> io::Result<Process> {
        let named = self.peers.iter().enumerate();
        let names: Vec<String> = named.map(|(at, peer)| format!("m{at}=http://{peer}")).collect();
        let client = format!("http://{}", self.clients[at]);
        let peer = format!("http://{}", self.peers[at]);
        let state = if again { "existing" } else { "new" };
        let mut command = Process::command("etcd");
        command.args(["--name", &format!("m{at}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.dir.join(format!("m{at}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &names.join(","), "--initial-cluster-state", state]);
        // What Debian's service would set for it must not reach these.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process::start(&mut command)
    }
}

/// Starts three members.
///
/// # Errors
/// When there is no etcd.
pub(super) fn start(dir: &Path) -> io::Result<(Members, Plan)> {
    std::fs::create_dir_all(dir)?;
    // All at once: a port that was free a moment ago may be given a second time.
    let mut clients = free_ports(6)?;
    let peers = clients.split_off(3);
    let plan = Plan { dir: dir.to_owned(), clients, peers };
    let processes = (0..3).map(|at| plan.start_one(at, false)).collect::<io::Result<_>>()?;
    let addresses = plan.clients.clone();
    Ok((Members { addresses, resp: Vec::new(), processes, secret: None }, plan))
}

/// Which of the members leads, as soon as one does.
///
/// # Errors
/// When none does for too long.
pub(super) async fn leader(os: &Os, members: &Members) -> Result<usize, String> {
    let until = os.clock().now() + READY_WITHIN;
    let mut trouble = String::new();
    while os.clock().now() < until {
        for (at, address) in members.addresses.iter().enumerate() {
            match is_leader(os, *address).await {
                Ok(true) => return Ok(at),
                Ok(false) => {}
                Err(why) => trouble = why,
            }
        }
        os.clock().sleep_until(os.clock().now() + Duration::from_millis(50)).await;
    }
    Err(format!("no member of etcd leads: {trouble}"))
}

async fn is_leader(os: &Os, at: SocketAddr) -> Result<bool, String> {
    let connection = Connection::open(os, at).await?;
    let status = connection.call(STATUS, &[]).await?;
    let header = field(&status, 1).map_or(&[][..], |(_, bytes)| bytes);
    let own = field(header, 2).map_or(0, |(number, _)| number);
    let leader = field(&status, 4).map_or(0, |(number, _)| number);
    Ok(own != 0 && own == leader)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A field of a message: its number, or its bytes.
fn field(mut message: &[u8], wanted: u64) -> Option<(u64, &[u8])> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let number = varint(&mut message)?;
        let mut bytes = &[][..];
        if tag & 7 == 2 {
            (bytes, message) = message.split_at_checked(usize::try_from(number).ok()?)?;
        }
        if tag >> 3 == wanted {
            return Some((number, bytes));
        }
    }
    None
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

/// Connections to one member.
#[derive(Clone, Debug)]
pub(super) struct Etcd(Vec<Connection>);

impl Etcd {
    /// So many to one place.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(super) async fn connect(os: &Os, at: SocketAddr, count: usize) -> Result<Self, String> {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Connection::open(os, at).await?);
        }
        Ok(Self(connections))
    }
}

impl Target for Etcd {
    async fn put(&self, worker: usize, key: &[u8], value: &[u8]) -> Result<(), String> {
        let mut message = Vec::with_capacity(key.len() + value.len() + 16);
        put_bytes(&mut message, 1, key);
        put_bytes(&mut message, 2, value);
        self.0[worker % self.0.len()].call(PUT, &message).await.map(drop)
    }

    async fn get(&self, worker: usize, key: &[u8]) -> Result<(), String> {
        let mut message = Vec::with_capacity(key.len() + 4);
        put_bytes(&mut message, 1, key);
        self.0[worker % self.0.len()].call(RANGE, &message).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_behind_others_of_both_kinds() {
        let mut status = Vec::new();
        put_bytes(&mut status, 1, b"\x10\x96\x01");
        put_bytes(&mut status, 2, &[b'x'; 300]);
        status.extend_from_slice(&[4 << 3, 0x96, 0x01]);
        let header = field(&status, 1).unwrap().1;
        assert_eq!(field(header, 2).unwrap().0, 150);
        assert_eq!(field(&status, 4).unwrap().0, 150);
        assert_eq!(field(&status, 5), None);
        assert_eq!(field(&status[..status.len() - 1], 4), None, "cut short");
    }
}
