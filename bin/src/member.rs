//! A node that is a process: opened, told about, run until it is told to stop, and every way in
//! which that can fail.
//!
//! A node is one core: its event loop runs on this thread, and what may wait for the disk runs on
//! tokio's blocking threads (`trilith_net::os`). Whoever has more processors than nodes gives each
//! node one; a cluster gains by more groups, not by more threads in a node.
//!
//! SIGTERM and ctrl-c end it in order: leaderships move, what was begun is answered, then it exits
//! with 0. A second one ends it at once, which loses nothing either.
//!
//! Standard output says one thing, once: that the node listens, and where. Everything else is log
//! lines on standard error.
//!
//! Not here: which node of what (`server.rs`, `standalone.rs`), several nodes in one process
//! (`demo`), what a node is (`trilith_net::node`).

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fmt,
    future::pending,
    net::SocketAddr,
    panic,
    path::{Path, PathBuf},
    process,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use trilith_engine::{
    journal::{self, JournalError},
    runtime::{Clock, Either, NetErrorKind, Runtime, race},
    shard::{self, Stopped},
};
use trilith_net::{
    limits::{CONNECTIONS_MAX, HTTP_CONNECTIONS_MAX, RESP_CONNECTIONS_MAX, TEXT_CONNECTIONS_MAX},
    node::{Misconfigured, Node, NodeOptions, Remote, StartError},
    os::{Os, run_core},
};

use crate::{
    directory::Opened,
    failure::{
        ADDRESS, CLOSED, CONFIGURATION, CORRUPT, Code, DISK, FULL, Failure, GONE, IN_USE, INTERNAL,
        OTHERS, Outcome,
    },
    out::Out,
    store::unopenable,
};

/// Where Redis clients look, unless it is said otherwise.
pub const RESP_PORT: u16 = 7379;
/// Where HTTP clients look, unless it is said otherwise.
pub const HTTP_PORT: u16 = 7380;
/// Where other nodes and our own client look, unless it is said otherwise.
pub const PEER_PORT: u16 = 7381;

/// What a node may have open at once: its connections, and files of the journal beside them.
pub const FILES_MAX: usize =
    RESP_CONNECTIONS_MAX + HTTP_CONNECTIONS_MAX + TEXT_CONNECTIONS_MAX + CONNECTIONS_MAX + 1024;

/// What every node is told about those who come to it.
#[derive(Args, Debug)]
pub struct Guests {
    /// Listens beyond this machine, though nobody is asked who he is.
    #[arg(long)]
    insecure: bool,
    /// How long what a Redis or HTTP client asks may take before it is answered that it did not happen,
    /// or that nobody knows.
    #[arg(long, default_value_t = 5000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    within_ms: u64,
}

impl Guests {
    /// How long what a client asks may take.
    pub const fn within(&self) -> Duration {
        Duration::from_millis(self.within_ms)
    }

    /// As [`check_exposure`].
    pub fn check_exposure(&self, options: &NodeOptions) -> Outcome {
        check_exposure(options, self.insecure)
    }
}

/// Whoever reaches a port where nobody is asked who he is may do everything, so others reach it only
/// if that is wanted.
pub fn check_exposure(options: &NodeOptions, is_wanted: bool) -> Outcome {
    let at = options.listens_at().map_err(|why| misconfigured(&why))?;
    let is_open = |at: &SocketAddr| !is_wanted && !at.ip().is_loopback();
    let mut guests = [options.resp, options.http, options.text].into_iter().flatten();
    if options.users.is_empty()
        && let Some(at) = guests.find(is_open)
    {
        let cause = format!("{at} is reached from other machines, and nobody is asked who he is");
        let next = "name users in the file: trilith config hash-password; or keep it in a network you \
                    trust, and add --insecure";
        return Err(Failure::new(&CONFIGURATION, cause, next));
    }
    if options.links.secrets.is_none() && is_open(&at) {
        let cause = format!("{at} is reached from other machines, and no node has to prove itself");
        let next = "name a secret in the file: trilith config secret; or keep it in a network you trust, \
                    and add --insecure";
        return Err(Failure::new(&CONFIGURATION, cause, next));
    }
    if !options.users.is_empty() && options.links.secrets.is_none() {
        tracing::warn!(
            %at,
            "clients are asked who they are, and whoever reaches the nodes' port is not: name a \
             secret too (trilith config secret)"
        );
    }
    Ok(())
}

/// A node and its directory, before it runs.
#[derive(Debug)]
pub struct Member {
    /// What the node is told.
    pub options: NodeOptions,
    /// The cluster's name.
    pub cluster: String,
    /// Where its data is; made when it is not there.
    pub data: PathBuf,
    /// How long it still serves when it is told to end.
    pub farewell: Duration,
}

impl Member {
    /// Runs it to its end, on this thread.
    pub fn run(self, out: Out) -> Outcome {
        end_at_a_panic();
        open_as_many_as_allowed(1);
        let ran = run_core(self.data.clone(), |os| self.serve(os, out));
        ran.map_err(|error| unthreaded(&error))?
    }

    async fn serve(self, os: Os, out: Out) -> Outcome {
        let Self { options, cluster, data, farewell } = self;
        let place = Place::of(&options, &data);
        let started = Node::start(&os, options, ()).await;
        let node = started.map_err(|why| place.unstarted(&why))?;
        let (identity, report) = (node.identity(), node.report());
        let (resp, http, text) = (node.serves_resp(), node.serves_http(), node.serves_text());
        let shown = |at: Option<SocketAddr>| at.map_or_else(|| "off".into(), |at| at.to_string());
        let told = out.facts(&[
            ("node", identity.node.0.into()),
            ("listens", node.listens().to_string().into()),
            ("cluster", cluster.into()),
            ("cluster_id", identity.cluster.to_string().into()),
            ("directory", data.display().to_string().into()),
            ("directory_id", identity.directory.to_string().into()),
            ("is_new", report.created.into()),
            ("resp", shown(resp).into()),
            ("http", shown(http).into()),
            ("text", shown(text).into()),
        ]);
        if let Err(Failure { cause, .. }) = told {
            // Whoever read it has gone. The clients have not.
            tracing::warn!(%cause, "where it listens could not be written to standard output");
        }
        out.next(&match (resp, http) {
            (Some(at), _) => format!("redis-cli -h {} -p {} set hello world", at.ip(), at.port()),
            (None, Some(at)) => format!("curl -X PUT -d world http://{at}/v1/kv/default/hello"),
            (None, None) => format!("trilith cli --at {} set hello world", node.listens()),
        });
        let remote = node.remote();
        let opened = Opened::now(&data);
        let ends = race(told_to_stop(&os, remote, farewell), opened.is_lost(&os));
        match race(node.run(), ends).await {
            Either::Left(Stopped::Asked) => Ok(()),
            Either::Left(why) => Err(place.stopped(&why)),
            Either::Right(Either::Left(told)) => told,
            Either::Right(Either::Right(())) => Err(place.lost()),
        }
    }
}

/// Which node it is and where it keeps its data, as failures tell it.
#[derive(Clone, Debug)]
pub struct Place {
    node: u64,
    data: PathBuf,
    /// Where the other members listen; nobody else has what it holds when there are none.
    others: String,
}

impl Place {
    /// That node's, with its data there.
    pub fn of(options: &NodeOptions, data: &Path) -> Self {
        let others = options.cluster.members().iter().filter(|(node, _)| *node != options.node);
        let others: Vec<String> = others.map(|(_, at)| at.to_string()).collect();
        Self { node: options.node.0, data: data.to_owned(), others: others.join(",") }
    }

    /// Why it could not begin.
    pub fn unstarted(&self, why: &StartError) -> Failure {
        match why {
            StartError::Misconfigured(why) => misconfigured(why),
            StartError::Listen(at, error) if error.kind == NetErrorKind::AddressInUse => {
                let port = at.port();
                let next = format!(
                    "see what listens there (ss -ltnp 'sport = :{port}') and end it, or name \
                     another port"
                );
                Failure::new(&IN_USE, why, next)
            }
            StartError::Listen(at, _) if (1..1024).contains(&at.port()) => {
                let next = "name a port from 1024 on; lower ones are for those whom the system \
                            lets: man 7 capabilities, CAP_NET_BIND_SERVICE";
                Failure::new(&ADDRESS, why, next)
            }
            StartError::Listen(..) => {
                Failure::new(&ADDRESS, why, "name an address of this machine: ip address")
            }
            StartError::Open(shard::OpenError::Journal(error)) => self.unopened(error),
            StartError::Open(_) => self.failure(&CORRUPT, why, self.empty_it()),
        }
    }

    /// Why its directory could not be opened. What is damaged, or half deleted, the others have.
    fn unopened(&self, why: &journal::OpenError) -> Failure {
        use journal::OpenError as Why;
        match why {
            Why::NoCurrent { .. }
            | Why::OtherNode { .. }
            | Why::Unreadable { .. }
            | Why::Contradiction { .. }
            | Why::Corrupt { .. } => self.failure(&CORRUPT, why, self.empty_it()),
            Why::OtherOwner { .. } => {
                let (data, node) = (self.data.display(), self.node);
                let next = format!(
                    "name the directory of node {node} with --data; trilith inspect {data}/NODE shows \
                     whose this is"
                );
                self.failure(&OTHERS, why, next)
            }
            Why::Disk(_) | Why::Locked | Why::Foreign { .. } | Why::Newer { .. } => {
                unopenable(&self.data, why)
            }
        }
    }

    /// Why it could not go on.
    pub fn stopped(&self, why: &Stopped) -> Failure {
        match why {
            Stopped::Journal(JournalError::NoSpace) => {
                let next = format!("make room: df -h {}", self.data.display());
                Failure::new(&FULL, why, next)
            }
            Stopped::Journal(_) => Failure::new(&DISK, why, "see the system's log: dmesg"),
            Stopped::Damaged(_) | Stopped::Diverged { .. } => {
                self.failure(&CORRUPT, why, self.empty_it())
            }
            Stopped::Outcast { is_new: false, .. } => self.failure(&OTHERS, why, self.empty_it()),
            Stopped::Outcast { node, is_new: true, .. } => self.failure(
                &OTHERS,
                why,
                format!("trilith ctl replace {node} --at {}, and start it again", self.others),
            ),
            Stopped::Unreachable | Stopped::Asked => Failure::new(&CLOSED, why, "start it again"),
        }
    }

    /// That its directory is not there any more.
    pub fn lost(&self) -> Failure {
        let (node, others) = (self.node, &self.others);
        let next = match others.is_empty() {
            true => "put it back where it was and start again; if it is gone, restore a backup: \
                     trilith ctl backup restore"
                .to_owned(),
            false => format!(
                "put it back where it was and start again; if it is gone, start with an empty one, \
                 and trilith ctl replace {node} --at {others}"
            ),
        };
        Failure::new(&GONE, self.data.display(), next)
    }

    fn failure(&self, code: &'static Code, why: &impl fmt::Display, next: String) -> Failure {
        Failure::new(code, format!("{}: {why}", self.data.display()), next)
    }

    /// What to do about a directory that cannot be this node's any more.
    fn empty_it(&self) -> String {
        let (data, node, others) = (self.data.display(), self.node, &self.others);
        if others.is_empty() {
            return format!(
                "trilith inspect {data} tells more; nobody else has what it held: keep a copy of it"
            );
        }
        format!(
            "trilith inspect {data} tells more; the others have what it held: move it away, start \
             again, and trilith ctl replace {node} --at {others}"
        )
    }
}

/// The configuration was refused.
pub fn misconfigured(why: &Misconfigured) -> Failure {
    let next = match why {
        Misconfigured::ListensTwice(_) => {
            "name another address with --listen, --resp, --http or --text"
        }
        _ => "correct --node, --members, --cluster or --groups",
    };
    Failure::new(&CONFIGURATION, why, next)
}

/// The system has no room for one more event loop.
pub fn unthreaded(error: &std::io::Error) -> Failure {
    Failure::new(&INTERNAL, error, "see how many files may be open: ulimit -n")
}

/// A task that panicked has left its work half done, and whoever waits for it waits for ever: a node
/// that stands still looks alive to the others. So any panic is the end of the process.
pub fn end_at_a_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::abort();
    }));
}

/// Each connection is an open file, and the usual limit is that of programs of long ago; what the
/// system allows at most may be had for the asking.
pub fn open_as_many_as_allowed(nodes: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, allowed).is_ok() {
        limit = allowed;
    }
    let needed = nodes.saturating_mul(FILES_MAX) as u64;
    if let Some(files) = limit.current.filter(|files| *files < needed) {
        tracing::warn!(files, needed, "connections may be refused: see ulimit -n");
    }
}

/// Ends the node in order at the first signal, and answers at the second.
async fn told_to_stop(os: &Os, remote: Remote, farewell: Duration) -> Outcome {
    let cannot = |error| Failure::new(&INTERNAL, error, "report it: signals cannot be heard");
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    race(terminate.recv(), interrupt.recv()).await;
    // A node that has much to do hears of it late; the second signal waits for nothing.
    let told = async {
        remote.announce();
        os.clock().sleep_until(os.clock().now() + farewell).await;
        remote.stop().await;
        pending::<()>().await;
    };
    race(told, race(terminate.recv(), interrupt.recv())).await;
    tracing::warn!("told to stop again: at once, then");
    Ok(())
}
