//! `trilith demo`: a cluster in one process, and a prompt to talk to it and to hurt it.
//!
//! ```text
//!   prompt ── a Redis client ──────────┐      ┌─ node 1 ═╗
//!   redis-cli, anybody ── front door ──┼──────┼─ node 2 ═╬═ over the loopback, through gates
//!                     └────────────────┘      └─ node 3 ═╝
//! ```
//! Each node is the one that `trilith server` runs, on a thread of its own, with a directory and three
//! ports: node n's are 10 n above the usual ones. So everything that is seen here is true of servers.
//! At the usual Redis port itself one is passed on to a node that runs. The nodes have a secret of their
//! own, which lies beside their data: whoever may read it may ask at their own ports, too.
//!
//! Lines are read until there are no more, from a terminal or from a pipe; in a pipe each is shown
//! before its answer, so that what comes out reads as a session does. The directory is gone in the
//! end unless one was named.
//!
//! Files in reading order: `prompt` (what a line means), `session` (doing it), `own` (a directory that
//! is gone in the end), `door` (the way in for others), `host` (a node and what may happen to it),
//! `cut` (the gate before its network), `seen` (what it tells of itself).
//!
//! Not here: processes that are killed for a test's sake (`kill`), a server (`server.rs`).

mod cut;
mod door;
mod host;
mod own;
mod prompt;
mod seen;
mod session;

use clap::Args;
use std::{
    env,
    io::{self, BufRead, IsTerminal},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, OnceLock,
        mpsc::{self, SyncSender},
    },
    thread,
};
use tokio::signal::unix::{SignalKind, signal};
use trilith_engine::{
    runtime::{Either, race},
    types::NodeId,
};
use trilith_net::{
    limits::CLUSTER_MEMBERS_MAX,
    node::{Cluster, NodeOptions},
    os::run_core,
};

use crate::{
    failure::{CONFIGURATION, Failure, INPUT, Outcome},
    member::{
        Guests, HTTP_PORT, PEER_PORT, RESP_PORT, end_at_a_panic, misconfigured,
        open_as_many_as_allowed, unthreaded,
    },
    out::Out,
    secret,
};
use door::Door;
use own::{Claim, Own};
use session::{Doors, Session};

/// As many as a cluster may have.
const NODES_MAX: u16 = CLUSTER_MEMBERS_MAX as u16;
/// The cluster's name.
const NAME: &str = "demo";
/// A node's port for HTTP clients, counted from that for Redis clients.
const HTTP_ABOVE: u16 = HTTP_PORT - RESP_PORT;
/// How far the ports of two nodes lie apart.
const PORTS_APART: u16 = 10;
/// A node's port for other nodes, counted from that for Redis clients.
const PEERS_ABOVE: u16 = PEER_PORT - RESP_PORT;
/// The file with what the nodes know.
const SECRET: &str = "secret";
/// The first word of every line, so that it is seen who asks.
const PROMPT: &str = "demo> ";

/// What cluster, and where.
#[derive(Args, Debug)]
pub struct Demo {
    /// How many nodes it has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_MAX)))]
    nodes: u16,
    /// Where the nodes keep their data, and keep it; without it in a directory that is gone in the
    /// end.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Where Redis clients are passed on to a node that runs. Node n itself serves them 10 n above
    /// that port, and other nodes 2 above that.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, RESP_PORT)), value_name = "IP:PORT")]
    resp: SocketAddr,
    #[command(flatten)]
    guests: Guests,
}

/// What is to be removed when there is no time for an end in order.
type Will = Arc<OnceLock<Claim>>;

/// Something that the prompt is told.
enum Event {
    Line(String),
    /// There will be no more lines, or it is time to end.
    End,
    Unreadable(io::Error),
}

/// Runs until there is nothing more to do.
pub fn run(demo: &Demo, out: Out) -> Outcome {
    end_at_a_panic();
    // Before there is anything that a signal could leave behind.
    let will = Will::default();
    let events = listen(Arc::clone(&will))?;
    // Dropped last: the nodes are gone then.
    let own = if demo.dir.is_none() { Some(Own::new(&env::temp_dir())?) } else { None };
    let (dir, fate) = match (&own, &demo.dir) {
        (None, Some(dir)) => (dir.as_path(), "which stays"),
        (Some(own), _) => (own.path(), "which is gone in the end"),
        (None, None) => return Ok(()),
    };
    // It was empty: this is the only place that writes it.
    let _first = own.as_ref().map(|own| will.set(own.claim()));
    let mut nodes = demo.plan()?;
    check_directory(dir, &nodes)?;
    let secret = secret::keep(&dir.join(SECRET))?;
    nodes.iter_mut().for_each(|node| node.links.secrets = Some(secret.into()));
    let count = nodes.len();
    // And one for the doors.
    open_as_many_as_allowed(count + 1);
    // The nodes have ports of their own: without a front door, one knocks at these.
    let open = |at, words| Door::open(at, words).map(|door| (at, door)).ok();
    let http = demo.resp.port().checked_add(HTTP_ABOVE);
    let doors = Doors {
        resp: open(demo.resp, door::RESP),
        http: http.and_then(|port| open((demo.resp.ip(), port).into(), door::HTTP)),
    };
    let mut session = Session::start(nodes, dir, doors, out)?;
    let what = format!("{count} nodes in one process, with their data in {}", dir.display());
    out.say(&format!("{what}, {fate}\n"))?;
    converse(&mut session, &events, out)
}

/// Takes lines until there is none left.
fn converse(session: &mut Session, events: &mpsc::Receiver<Event>, out: Out) -> Outcome {
    session.introduce()?;
    let is_typed = io::stdin().is_terminal() && !out.is_json();
    loop {
        if is_typed {
            out.raw(PROMPT.as_bytes())?;
        }
        match events.recv() {
            Ok(Event::Line(line)) => {
                if !is_typed {
                    out.say(&format!("{PROMPT}{line}"))?;
                }
                if session.take(&line)? {
                    return Ok(());
                }
            }
            Ok(Event::Unreadable(why)) => {
                return Err(Failure::new(&INPUT, why, "write commands as text, one a line"));
            }
            Ok(Event::End) | Err(_) => {
                return if is_typed { out.say("") } else { Ok(()) };
            }
        }
    }
}

impl Demo {
    /// What each node is told.
    fn plan(&self) -> Outcome<Vec<NodeOptions>> {
        let places = (1..=self.nodes).map(|node| {
            let port = |above| self.resp.port().checked_add(PORTS_APART * node + above);
            let ports = [port(0), port(HTTP_ABOVE), port(PEERS_ABOVE)];
            let [Some(resp), Some(http), Some(peers)] = ports else {
                let cause = format!("there is no port {} above {}", PORTS_APART * node, self.resp);
                return Err(Failure::new(&CONFIGURATION, cause, "name a lower port with --resp"));
            };
            let at = |port| SocketAddr::new(self.resp.ip(), port);
            Ok((NodeId(node.into()), [at(resp), at(http), at(peers)]))
        });
        let places = places.collect::<Outcome<Vec<_>>>()?;
        let members = places.iter().map(|(node, [.., peers])| (*node, *peers)).collect();
        let cluster = Cluster::new(NAME, members, 1).map_err(|why| misconfigured(&why))?;
        let plan = places.into_iter().map(|(node, [resp, http, _])| {
            let mut options = NodeOptions::new(node, cluster.clone());
            (options.resp, options.http) = (Some(resp), Some(http));
            options.guests_within = self.guests.within();
            self.guests.check_exposure(&options)?;
            Ok(options)
        });
        plan.collect()
    }
}

/// A node's own directory.
fn directory(dir: &Path, node: NodeId) -> PathBuf {
    dir.join(format!("n{node}"))
}

/// Nodes that come to a cluster which is there would be strangers to it, and those which are missing
/// would be missed.
fn check_directory(dir: &Path, nodes: &[NodeOptions]) -> Outcome {
    let known =
        (1..=NODES_MAX).filter(|node| directory(dir, NodeId((*node).into())).is_dir()).count();
    if known == 0 || known == nodes.len() {
        return Ok(());
    }
    let cause = format!("{} has a cluster of {known} nodes", dir.display());
    Err(Failure::new(&CONFIGURATION, cause, format!("--nodes {known}, or another directory")))
}

/// Lines of the standard input and the signals that mean its end, each from a thread of its own.
fn listen(will: Will) -> Outcome<mpsc::Receiver<Event>> {
    let (tell, events) = mpsc::sync_channel(1);
    let told = tell.clone();
    let begun = thread::Builder::new().name("lines".to_owned()).spawn(move || read_lines(&told));
    begun.map_err(|error| unthreaded(&error))?;
    let (ready, is_ready) = mpsc::sync_channel(1);
    let begun = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // When signals cannot be heard, they end the process as they always did.
        run_core(env::temp_dir(), |_os| obey(tell, will, ready))
    });
    begun.map_err(|error| unthreaded(&error))?;
    // They are heard from now on, or never.
    let _heard: Result<(), _> = is_ready.recv();
    Ok(events)
}

/// The first signal is an end as any other, as soon as what is under way is done. The second one is
/// the end.
#[expect(clippy::disallowed_methods, reason = "the main thread is busy: it cannot end the process")]
async fn obey(tell: SyncSender<Event>, will: Will, ready: SyncSender<()>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(ready);
    let mut tell = Some(tell);
    loop {
        let typed = race(interrupt.recv(), terminate.recv());
        let number = match race(hangup.recv(), typed).await {
            Either::Left(_) => SignalKind::hangup(),
            Either::Right(Either::Left(_)) => SignalKind::interrupt(),
            Either::Right(Either::Right(_)) => SignalKind::terminate(),
        };
        let Some(tell) = tell.take() else {
            will.get().into_iter().for_each(Claim::remove);
            process::exit(128 + number.as_raw_value());
        };
        // A line may still wait to be taken. Nobody there: it has ended.
        thread::Builder::new()
            .name("end".to_owned())
            .spawn(move || tell.send(Event::End).is_ok())?;
    }
}

fn read_lines(tell: &SyncSender<Event>) {
    for line in io::stdin().lock().lines() {
        let event = line.map_or_else(Event::Unreadable, Event::Line);
        if tell.send(event).is_err() {
            return;
        }
    }
    // Nobody there: it has ended.
    let _told = tell.send(Event::End).is_ok();
}
