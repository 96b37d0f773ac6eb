//! A node: a shard, its links and its listener, put together.
//!
//! ```text
//!   clients, nodes ══ listener ─► inbox ─► shard ─► wire ─► links ══ clients, nodes
//!                                   ▲        └────► watch: every packet, step and applied entry
//!                        remote ────┘
//! ```
//! Clients of other protocols come to ports of their own; what they ask goes to the inbox by clients that
//! are inside the node (`lanes.rs`), and from there to whoever leads.
//!
//! The same on real machines and in the simulator. A node is one core: the shard is a task, and so
//! is each connection, all on one thread. They meet in two places: the inbox, which is bounded, and
//! the buffers that packets and answers are encoded into. When the inbox is full, connections are
//! not read, and who sends too much waits in his own kernel.
//!
//! The order of the beginning: the configuration is checked, then the address is taken, then the
//! directory is opened, and only then does anybody connect. So whoever starts a node wrongly has
//! not touched a directory, and a node that answers has recovered.
//!
//! A node ends when it is told to ([`Remote::stop`]), when its shard must stop, or when it is
//! dropped: a machine can always lose its power, so that loses nothing that was acknowledged.
//!
//! Not here: flags, signals and log lines (`bin`), what a shard does (`trilith_engine::shard`).

mod cluster;
mod lanes;
mod sizes;

pub use cluster::{Cluster, Misconfigured};
pub use sizes::Sizes;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use trilith_engine::{
    command::Response,
    journal::OpenReport,
    packet::Envelope,
    raft::{EntryId, Moment, Raft},
    runtime::{Instant, Listener, Net, NetError, Receiver, Runtime, Sender, queue},
    shard::{self, Caller, Inbound, Look, OpenError, Outbox, Shard, ShardOptions, Stopped},
    types::{GroupId, NodeId},
};

use crate::{
    client::{Client, Ear, Wish},
    facts::{Facts, Host},
    gate::Gate,
    http::{self, desk::Desk},
    limits::NODE_INBOX,
    metrics::Source,
    peer::{
        LinkOptions, Links, Setup,
        hello::Identity,
        settings::{self, Setting},
    },
    port::Port,
    resp::{
        front::{Front, Mood},
        hub::Hub,
        post::Post,
        serve,
    },
    text,
    users::Users,
};

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Which member it is.
    pub node: NodeId,
    /// Of which cluster.
    pub cluster: Cluster,
    /// Where it listens, when that is not the address at which the others find it.
    pub listen: Option<SocketAddr>,
    /// Where Redis clients are served, if they are.
    pub resp: Option<SocketAddr>,
    /// Where HTTP clients are served, if they are.
    pub http: Option<SocketAddr>,
    /// Where clients of the text protocol are served, if they are.
    pub text: Option<SocketAddr>,
    /// By which names HTTP clients may ask for it, beside its addresses.
    pub http_names: Vec<String>,
    /// Who may be a Redis or HTTP client; everybody when there is none.
    pub users: Users,
    /// How long what a Redis or HTTP client asks may take.
    pub guests_within: Duration,
    /// The shard's part.
    pub shard: ShardOptions,
    /// The links' part.
    pub links: LinkOptions,
    /// What it tells of all this to who asks at the nodes' port, in words; it does not read them.
    pub settings: Vec<Setting>,
    /// The process that it is part of.
    pub host: Host,
}

impl NodeOptions {
    /// That member of that cluster, and the usual for everything else.
    #[must_use]
    pub fn new(node: NodeId, cluster: Cluster) -> Self {
        Self {
            node,
            cluster,
            listen: None,
            resp: None,
            http: None,
            text: None,
            http_names: Vec::new(),
            users: Users::default(),
            guests_within: Mood::default().within,
            shard: ShardOptions::default(),
            links: LinkOptions::default(),
            settings: Vec::new(),
            host: Host::default(),
        }
    }

    /// Where the node listens for others.
    ///
    /// # Errors
    /// [`Misconfigured::NotAMember`], and [`Misconfigured::ListensTwice`] when guests are to come to
    /// the same address.
    pub fn listens_at(&self) -> Result<SocketAddr, Misconfigured> {
        let known = self.cluster.address(self.node)?;
        let at = self.listen.unwrap_or(known);
        let ports = [Some(at), self.resp, self.http, self.text];
        let taken = |nth: usize| ports.iter().skip(nth + 1).copied().flatten();
        let twice = ports.iter().enumerate().find_map(|(nth, port)| {
            port.filter(|one| taken(nth).any(|other| overlap((*one, other))))
        });
        twice.map_or(Ok(at), |one| Err(Misconfigured::ListensTwice(one)))
    }
}

/// Whether a listener at one of them takes the other.
fn overlap((one, other): (SocketAddr, SocketAddr)) -> bool {
    let (here, there) = (one.ip(), other.ip());
    let is_shared = here == there || here.is_unspecified() || there.is_unspecified();
    is_shared && one.port() == other.port() && one.port() != 0
}

/// Why a node could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It was told what cannot be.
    Misconfigured(Misconfigured),
    /// The address could not be taken.
    Listen(SocketAddr, NetError),
    /// The directory could not be opened.
    Open(OpenError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misconfigured(why) => why.fmt(f),
            Self::Listen(at, why) => write!(f, "{at}: {why}"),
            Self::Open(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Misconfigured> for StartError {
    fn from(why: Misconfigured) -> Self {
        Self::Misconfigured(why)
    }
}

impl From<OpenError> for StartError {
    fn from(why: OpenError) -> Self {
        Self::Open(why)
    }
}

/// Somebody who looks at what a node does: judges, metrics. It is told on the shard's own task, so
/// it must be quick. `()` looks at nothing and costs nothing.
pub trait Watch: Send + 'static {
    /// The shard sends a packet.
    fn saw_packet(&mut self, _envelope: &Envelope) {}
    /// An answer found nobody who waits for it.
    fn saw_lost_answer(&mut self) {}
    /// A group's core has taken a step.
    fn saw_step(&mut self, _group: GroupId, _raft: &Raft) {}
    /// The node counts as slow from now on, or not any more.
    fn saw_pace(&mut self, _is_slow: bool) {}
    /// A group's state has taken an entry; what its digest is then.
    fn saw_apply(&mut self, _group: GroupId, _entry: EntryId, _digest: u64) {}
    /// A turn of the shard is over: what is to be looked at. Asked in every turn.
    fn looks(&mut self, _now: Moment) -> Look {
        Look::Away
    }
    /// What the node holds, as it was asked for.
    fn saw_sizes(&mut self, _sizes: &Sizes) {}
}

impl Watch for () {}

/// The way out of the shard.
struct Wire<R: Runtime, W> {
    /// `None` while the directory is opened, when a shard says nothing.
    links: Option<Links<R>>,
    /// What hears for the clients inside the node.
    ears: Vec<Ear<R>>,
    watch: W,
}

impl<R: Runtime, W: Watch> Outbox for Wire<R, W> {
    fn send(&mut self, envelope: Envelope) {
        self.watch.saw_packet(&envelope);
        if let Some(links) = &self.links {
            // Dropped or not: Raft repeats what is lost.
            let _taken = links.send(&envelope);
        }
    }

    fn respond(&mut self, caller: Caller, response: Response) {
        let is_heard = match (lanes::nth(caller), &self.links) {
            (Some(nth), _) => self.ears.get(nth).is_some_and(|ear| ear.hear(response)),
            (None, Some(links)) => links.answer(caller, &response),
            (None, None) => true,
        };
        if !is_heard {
            self.watch.saw_lost_answer();
        }
    }

    fn turns(&mut self, now: Moment) {
        if let Some(links) = &self.links {
            links.works(Instant(now.0));
        }
    }

    fn rests(&mut self) {
        if let Some(links) = &self.links {
            links.rests();
        }
    }

    fn saw_step(&mut self, group: GroupId, raft: &Raft) {
        self.watch.saw_step(group, raft);
    }

    fn saw_pace(&mut self, is_slow: bool) {
        self.watch.saw_pace(is_slow);
    }

    fn saw_apply(&mut self, group: GroupId, entry: EntryId, digest: u64) {
        self.watch.saw_apply(group, entry, digest);
    }

    fn looks(&mut self, now: Moment) -> Look {
        self.watch.looks(now)
    }

    fn saw_sizes(&mut self, shard: &shard::Sizes) {
        let links = self.links.as_ref().map(Links::sizes).unwrap_or_default();
        self.watch.saw_sizes(&Sizes { shard: *shard, links });
    }
}

/// A node that is connected. It does nothing until it [runs](Node::run).
pub struct Node<R: Runtime, W: Watch = ()> {
    shard: Shard<R, Wire<R, W>>,
    inbox: Receiver<Inbound>,
    into: Sender<Inbound>,
    identity: Identity,
    listens: SocketAddr,
    guests: Guests<R>,
    report: OpenReport,
    /// Whether it has been told to end.
    ends: Arc<AtomicBool>,
}

impl<R: Runtime, W: Watch> Node<R, W> {
    /// Takes the address, opens the runtime's directory, and begins to connect.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(rt: &R, options: NodeOptions, watch: W) -> Result<Self, StartError> {
        let at = options.listens_at()?;
        let NodeOptions { node, cluster, resp, http, text, shard, links, .. } = options;
        let told = (options.guests_within, options.http_names, options.host);
        let secret = links.secrets.map(|secrets| secrets.first());
        let listener = rt.net().listen(at).await.map_err(|why| StartError::Listen(at, why))?;
        let listens = listener.local();
        let doors = [door(rt, resp).await?, door(rt, http).await?, door(rt, text).await?];
        let wire = Wire { links: None, ears: Vec::new(), watch };
        let opened = Shard::open(rt.clone(), shard, node, &cluster.founding(), wire).await;
        let (mut shard, report) = opened?;
        let cluster_id = report.owner.map_or(cluster.id(), |owner| owner.cluster);
        let identity = Identity { cluster: cluster_id, node, directory: report.node };
        let (members, settings) = (cluster.members().to_vec(), settings::encode(&options.settings));
        let setup = Setup { own: identity, members, options: links, settings };
        let (into, inbox) = queue::<Inbound>(NODE_INBOX);
        let links = Links::start(rt, setup, listener, into.clone());
        let (post, view) = (links.post(), links.view());
        shard.outbox_mut().links = Some(links);
        let (mut guests, ends) = (Guests { resp: None, http: None, text: None }, Arc::default());
        if doors.iter().any(Option::is_some) {
            let (lanes, ears) = lanes::open(rt, identity, (&cluster, secret), &into);
            shard.outbox_mut().ears = ears;
            let (shared, ending) = ((&lanes, &cluster), Arc::clone(&ends));
            let source = Source::new(into.clone(), view, Arc::clone(&post));
            let meters = Arc::clone(source.meters());
            let gate = Arc::new(Gate::new(rt.clone(), options.users, meters));
            let own = (identity, post, source);
            guests = Guests::welcome(rt, doors, shared, gate, own, told, ending);
        }
        Ok(Self { shard, inbox, into, identity, listens, guests, report, ends })
    }

    /// Runs until it is told to stop, or must.
    pub async fn run(self) -> Stopped {
        let stopped = self.shard.run(self.inbox).await;
        if stopped == Stopped::Asked {
            // What the shard answered last is still to be written.
            self.guests.end().await;
        }
        stopped
    }

    /// What tells it things while it runs.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { into: self.into.clone(), ends: Arc::clone(&self.ends) }
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Where it listens.
    #[must_use]
    pub const fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// Where Redis clients are served.
    #[must_use]
    pub fn serves_resp(&self) -> Option<SocketAddr> {
        self.guests.resp.as_ref().map(Port::at)
    }

    /// Where HTTP clients are served.
    #[must_use]
    pub fn serves_http(&self) -> Option<SocketAddr> {
        self.guests.http.as_ref().map(Port::at)
    }

    /// Where clients of the text protocol are served.
    #[must_use]
    pub fn serves_text(&self) -> Option<SocketAddr> {
        self.guests.text.as_ref().map(Port::at)
    }

    /// What opening its directory found.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }
}

/// Takes an address, if there is one.
async fn door<R: Runtime>(
    rt: &R,
    at: Option<SocketAddr>,
) -> Result<Option<<R::Net as Net>::Listener>, StartError> {
    match at {
        None => Ok(None),
        Some(at) => {
            let door = rt.net().listen(at).await;
            door.map(Some).map_err(|why| StartError::Listen(at, why))
        }
    }
}

/// The ports of other protocols.
struct Guests<R: Runtime> {
    resp: Option<Port<R>>,
    http: Option<Port<R>>,
    text: Option<Port<R>>,
}

impl<R: Runtime> Guests<R> {
    /// Serves who comes to these listeners, of Redis, HTTP and the text protocol.
    fn welcome<L: Listener>(
        rt: &R,
        [resp, http, text]: [Option<L>; 3],
        (lanes, cluster): (&Arc<[Client<R>]>, &Cluster),
        gate: Arc<Gate<R>>,
        (identity, post, source): (Identity, Arc<Post>, Source),
        (within, names, host): (Duration, Vec<String>, Host),
        ends: Arc<AtomicBool>,
    ) -> Self {
        let (groups, members) = (cluster.groups(), cluster.members().len());
        let resp = resp.map(|door| {
            let front = Front::new(rt.clone(), Arc::clone(lanes), groups, members);
            let facts = Facts::new(identity, door.local(), host);
            let (gate, meters) = (Arc::clone(&gate), Arc::clone(source.meters()));
            serve::open(Hub::new(rt.clone(), front, gate, post, meters, within, facts), door)
        });
        let text = text.map(|door| {
            let (gate, meters) = (Arc::clone(&gate), Arc::clone(source.meters()));
            let lanes = Arc::clone(lanes);
            text::serve::open(rt, (lanes, Wish::strong(within)), (gate, meters), door)
        });
        let http = http.map(|door| {
            let (facts, shape) = (Facts::new(identity, door.local(), host), (groups, members > 1));
            let (asked, facts) = ((Arc::clone(lanes), gate), (facts, names));
            let desk = Desk::new(rt.clone(), asked, shape, facts, within, ends, source);
            http::serve::open(desk, door)
        });
        Self { resp, http, text }
    }

    /// Ends them in order, all at once.
    async fn end(self) {
        let ports = [self.resp, self.http, self.text].into_iter().flatten();
        join_all(ports.map(Port::end)).await;
    }
}

/// A hand on a node that runs.
#[derive(Clone, Debug)]
pub struct Remote {
    into: Sender<Inbound>,
    ends: Arc<AtomicBool>,
}

impl Remote {
    /// Tells the shard, as soon as it has room. Whether somebody is there.
    pub async fn tell(&self, inbound: Inbound) -> bool {
        self.into.send(inbound).await.is_ok()
    }

    /// Has the node say to whoever asks whether it is ready that it ends. It serves as before.
    pub fn announce(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Ends the node in order: it hands its leaderships over, answers what it has begun, refuses
    /// what is new, and then [`Node::run`] ends.
    pub async fn stop(&self) {
        // Whoever asks whether it is ready hears of it first.
        self.announce();
        // Nobody there: it has stopped.
        let _told = self.tell(Inbound::Stop).await;
    }
}
