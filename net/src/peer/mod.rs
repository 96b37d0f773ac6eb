//! Links: how what one node says reaches another.
//!
//! ```text
//!        node                                                          node
//!   send(envelope) ─► outbox ─► link ══════ one connection ══════► accept ─► queue
//!           queue ◄─ accept ◄══════ another one ═══════ link ◄─ outbox ◄─ send(envelope)
//! ```
//! Each node connects to each other one and sends over the connection it made; it receives over
//! those that the others made. So two connections join a pair, and nobody needs to agree on which
//! of two that were made at one moment is the right one; a direction that does not work is noticed
//! by who sends in it; and two nodes that claim one number are noticed by everybody they call.
//!
//! What is promised: within one connection packets arrive in order and unaltered, without a gap
//! except for those the outbox dropped, which are counted. Between connections nothing is
//! promised. [`Links::send`] never waits. While the other side of a link is there and faults have
//! ended, a link comes up within a few backoffs.
//!
//! # Files, in reading order
//! `codec`: packets as bytes. `hello`: who may speak with whom. `proof`: that both know the cluster's
//! secret. `outbox`: what waits. `register`:
//! who is connected. `stream`: reading, writing, silence. `pulse`: whether the node moves. `link`: the
//! sending side. `accept`: the receiving side. `callers`: clients, who come to the same port.
//! `settings`: what such a client is told of a node's configuration.
//!
//! Not here: what packets mean (`trilith_engine`), who is a member, encryption (there is none yet).

pub mod codec;
pub mod hello;
pub mod proof;
pub mod settings;

mod accept;
mod callers;
mod link;
mod outbox;
mod pulse;
mod register;
pub(crate) mod stream;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use trilith_engine::{
    command::{Request, Response},
    mark,
    packet::{Envelope, Packet},
    runtime::{Instant, Net, NetError, Push, Runtime, Sender, Task, queue},
    shard::{Caller, Greeting, Inbound, Standing},
    types::{NodeId, Size, Uuid},
};

use crate::{
    frame::BadFrame,
    held::{Bounds, Totals},
    limits::OUTBOX_BYTES_MAX,
    meters::Meters,
    resp::post::Post,
    seldom::Seldom,
};
use accept::accept;
use callers::Callers;
use hello::{Identity, Refusal};
use link::Link;
use outbox::Outbox;
use proof::Secrets;
use pulse::Pulse;
use register::Register;

/// What links tell their node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// What is sent to that node from now on may arrive.
    Up(NodeId),
    /// It does not; what was on its way may be lost.
    Down(NodeId),
    /// A member shows itself; it comes in when the node says so.
    Greets(Greeting),
    /// That member has let us in.
    Welcomed {
        /// Who.
        by: NodeId,
        /// What it takes us for.
        standing: Standing,
    },
    /// That member knows another directory of our number.
    Outcast {
        /// Who.
        by: NodeId,
        /// The directory.
        known: Uuid,
    },
    /// That node says this.
    Packet {
        /// The node.
        from: NodeId,
        /// What it says.
        packet: Packet,
    },
    /// A client asks, and is owed one answer ([`Links::answer`]).
    Request {
        /// Which connection.
        caller: Caller,
        /// What it asks.
        request: Request,
    },
}

impl From<Incoming> for Inbound {
    fn from(told: Incoming) -> Self {
        match told {
            Incoming::Up(node) => Self::Link { node, is_up: true },
            Incoming::Down(node) => Self::Link { node, is_up: false },
            Incoming::Greets(greeting) => Self::Greets(greeting),
            Incoming::Welcomed { by, standing } => Self::Welcomed { by, standing },
            Incoming::Outcast { by, known } => Self::Outcast { by, known },
            Incoming::Packet { from, packet } => Self::Packet { from, packet },
            Incoming::Request { caller, request } => Self::Request { caller, request },
        }
    }
}

/// How patient links are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// A connection is made, and its handshake done, within this time.
    pub connect_within: Duration,
    /// How often the other side is asked whether it is there.
    pub ping_every: Duration,
    /// A connection on which nothing is heard for so long is given up. Several pings long.
    pub silence: Duration,
    /// The pause after the first failure; doubles.
    pub backoff_min: Duration,
    /// The longest one.
    pub backoff_max: Duration,
    /// What may wait to be sent to one node. A packet that is larger alone is dropped.
    pub outbox_bytes: usize,
    /// What all clients may hold together, at this port and at others.
    pub bounds: Bounds,
    /// What everybody must know who comes, clients among them, and everybody to whom we go; nothing
    /// where nobody is asked for it.
    pub secrets: Option<Secrets>,
    /// Whether the node is asked about each directory that comes. Without that its promises are
    /// worth nothing, so only who makes none may do without: tests of links.
    pub asks_node: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(1),
            ping_every: Duration::from_millis(200),
            silence: Duration::from_millis(1500),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            outbox_bytes: OUTBOX_BYTES_MAX,
            bounds: Bounds::default(),
            secrets: None,
            asks_node: true,
        }
    }
}

/// Who we are, and who else there is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// We.
    pub own: Identity,
    /// All members and where they listen. We may be among them.
    pub members: Vec<(NodeId, SocketAddr)>,
    /// How patient.
    pub options: LinkOptions,
    /// What a client is told who asks how we were configured ([`settings::encode`]).
    pub settings: Bytes,
}

/// Why there is no link, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The network says so.
    Net(NetError),
    /// The other side ended it.
    Ended,
    /// The other side does not want us.
    Refused(Refusal),
    /// We do not want the other side.
    Refusing(Refusal),
    /// The other side sent what is no frame.
    Garbage(BadFrame),
    /// Nothing was heard for too long.
    Silent,
    /// The same node has connected anew.
    Replaced,
    /// The node that links serve is gone.
    NodeGone,
}

impl Trouble {
    /// Whether it is that the two sides do not know the same secret.
    #[must_use]
    pub const fn is_about_secrets(&self) -> bool {
        use Refusal::{NoSecret, Unproven};
        matches!(self, Self::Refused(Unproven | NoSecret) | Self::Refusing(Unproven | NoSecret))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(why) => why.fmt(f),
            Self::Ended => f.write_str("the other side ended the connection"),
            Self::Refused(why) => write!(f, "the other side refused: {why}"),
            Self::Refusing(why) => write!(f, "this node refused: {why}"),
            Self::Garbage(why) => write!(f, "the other side sent garbage: {why}"),
            Self::Silent => f.write_str("nothing was heard for too long"),
            Self::Replaced => f.write_str("the same node has connected anew"),
            Self::NodeGone => f.write_str("this node has stopped"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<BadFrame> for Trouble {
    fn from(bad: BadFrame) -> Self {
        Self::Garbage(bad)
    }
}

/// How a link to another node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether there is a connection.
    pub is_up: bool,
    /// How many there have been.
    pub lives: u64,
    /// What waits to be sent.
    pub waiting_bytes: usize,
    /// How many packets were dropped before they reached a connection.
    pub dropped: u64,
    /// How many bytes connections took.
    pub taken_bytes: u64,
    /// Why there is no connection.
    pub trouble: Option<Trouble>,
}

/// What links hold of what grows from outside, and how much of each they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Connections of clients.
    pub clients: Size,
    /// Requests of the one that has most that were not answered.
    pub client_requests: Size,
    /// Answers that wait for the one for which most wait, and those that are being written to it, in
    /// bytes.
    pub reply_bytes: Size,
    /// What waits to be sent to the node for which most waits.
    pub outbox_bytes: Size,
}

/// What all tasks of one node's links know.
struct Hall<Q> {
    own: Identity,
    /// In order.
    members: Vec<NodeId>,
    options: LinkOptions,
    register: Arc<Register>,
    knocks: Vec<(NodeId, Sender<()>)>,
    callers: Arc<Callers>,
    pulse: Arc<Pulse>,
    post: Arc<Post>,
    meters: Arc<Meters>,
    settings: Bytes,
    /// Who did not know the secret, and who sent what means nothing.
    strangers: Seldom,
    garbage: Seldom,
    into: Sender<Q>,
}

impl<Q: From<Incoming>> Hall<Q> {
    /// Tells the node, as soon as it has room.
    async fn give(&self, told: impl Into<Q>) -> Result<(), Trouble> {
        self.into.send(told.into()).await.map_err(|_closed| Trouble::NodeGone)
    }

    /// Tells the node if it has room. When it is gone, [`Hall::give`] says so.
    fn give_now(&self, told: Incoming) -> Result<(), Q> {
        match self.into.push(told.into()) {
            Ok(()) => Ok(()),
            Err(Push::Full(told) | Push::Closed(told)) => Err(told),
        }
    }

    /// Asks the node whether a member with that directory may come in, and what it is.
    async fn admit(&self, node: NodeId, directory: Uuid) -> Result<Standing, Trouble> {
        if !self.options.asks_node {
            return Ok(Standing::Founder);
        }
        let (answer, mut heard) = queue(1);
        self.give(Incoming::Greets(Greeting { node, directory, answer })).await?;
        match heard.recv().await {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(known)) => {
                mark!("peer: another directory of a member was refused");
                Err(Trouble::Refusing(Refusal::OtherDirectory { node, directory: known }))
            }
            Err(_busy) => Err(Trouble::Silent),
        }
    }

    /// What a member refuses us for; one reason concerns the node.
    async fn refused(&self, by: NodeId, refusal: Refusal) -> Trouble {
        if let Refusal::OtherDirectory { node, directory: known } = refusal
            && node == self.own.node
            && let Err(gone) = self.give(Incoming::Outcast { by, known }).await
        {
            return gone;
        }
        Trouble::Refused(refusal)
    }

    /// That node has connected to us, so it is there.
    fn knock(&self, node: NodeId) {
        if let Some((_, knock)) = self.knocks.iter().find(|(known, _)| *known == node) {
            // Full: it knows. Closed: nobody connects any more.
            let _heard = knock.push(());
        }
    }
}

/// What there is to be seen of a node's links, for who does not hold them.
#[derive(Clone)]
pub(crate) struct View {
    /// In order of the nodes.
    outboxes: Vec<(NodeId, Arc<Outbox>)>,
    callers: Arc<Callers>,
    meters: Arc<Meters>,
}

impl View {
    /// What the links hold.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = self.callers.sizes();
        for (_, outbox) in &self.outboxes {
            sizes.outbox_bytes = sizes.outbox_bytes.fuller(outbox.size());
        }
        sizes
    }

    /// How each is.
    pub(crate) fn statuses(&self) -> Vec<(NodeId, LinkStatus)> {
        self.outboxes.iter().map(|(node, outbox)| (*node, outbox.status())).collect()
    }

    /// What is counted at the ports.
    pub(crate) fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }
}

/// The links of a node to all others. Dropping them ends all connections.
pub struct Links<R: Runtime> {
    view: View,
    pulse: Arc<Pulse>,
    post: Arc<Post>,
    _tasks: Vec<<R::Task as Task>::Handle>,
}

impl<R: Runtime> Links<R> {
    /// Connects to all members and accepts them at `listener`. What they say goes into the node's
    /// queue, of whatever type that is.
    ///
    /// # Panics
    /// When silence is shorter than two pings.
    #[must_use]
    pub fn start<Q: From<Incoming> + Send + 'static>(
        runtime: &R,
        setup: Setup,
        listener: <R::Net as Net>::Listener,
        into: Sender<Q>,
    ) -> Self {
        let Setup { own, mut members, options, settings } = setup;
        assert!(options.silence >= options.ping_every * 2, "silence is longer than two pings");
        members.sort_unstable();
        members.dedup_by_key(|(node, _)| *node);
        let others = members.iter().filter(|(node, _)| *node != own.node);
        let (knocks, doors): (Vec<_>, Vec<_>) = others
            .map(|(node, at)| {
                let (knock, knocked) = queue(1);
                ((*node, knock), (*node, *at, knocked))
            })
            .unzip();
        let totals = Totals::new(options.bounds);
        let meters = Arc::new(Meters { totals, ..Meters::default() });
        let callers = Arc::new(Callers::new(meters.totals.native.clone()));
        let pulse = Arc::<Pulse>::default();
        let post = Arc::new(Post::new(meters.totals.post.clone()));
        let hall = Arc::new(Hall {
            own,
            members: members.into_iter().map(|(node, _)| node).collect(),
            options,
            register: Arc::default(),
            knocks,
            callers: Arc::clone(&callers),
            pulse: Arc::clone(&pulse),
            post: Arc::clone(&post),
            meters: Arc::clone(&meters),
            settings,
            strangers: Seldom::default(),
            garbage: Seldom::default(),
            into,
        });
        let (mut outboxes, mut tasks) = (Vec::new(), Vec::new());
        for (whom, at, knocked) in doors {
            let outbox = Arc::new(Outbox::new(options.outbox_bytes));
            outboxes.push((whom, Arc::clone(&outbox)));
            let hall = Arc::clone(&hall);
            let link = Link { runtime: runtime.clone(), hall, whom, at, outbox, knocked };
            tasks.push(runtime.task().spawn("link", link.run()));
        }
        tasks.push(runtime.task().spawn("accept", accept(runtime.clone(), hall, listener)));
        Self { view: View { outboxes, callers, meters }, pulse, post, _tasks: tasks }
    }

    /// Sends at once or drops: never waits. Answers whether a link took it; it may be lost all the
    /// same.
    pub fn send(&self, envelope: &Envelope) -> bool {
        self.outbox(envelope.to).is_some_and(|outbox| outbox.send(&envelope.packet))
    }

    /// Answers a client's request, at once. Answers whether the client is still there; when it is
    /// not, it asks again elsewhere.
    pub fn answer(&self, caller: Caller, response: &Response) -> bool {
        self.view.callers.answer(caller, response)
    }

    /// The node begins to work at something. While it works at one thing for too long the links do not
    /// vouch for it: the others hear nothing from it.
    pub fn works(&self, now: Instant) {
        self.pulse.works(now);
    }

    /// The node waits for something to happen.
    pub fn rests(&self) {
        self.pulse.rests();
    }

    /// What they hold.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.view.sizes()
    }

    /// What there is to be seen of them.
    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    /// Whoever subscribes here hears what the other nodes publish.
    #[must_use]
    pub fn post(&self) -> Arc<Post> {
        Arc::clone(&self.post)
    }

    /// How the link to a node is; `None` for who is no other member.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<LinkStatus> {
        self.outbox(node).map(Outbox::status)
    }

    fn outbox(&self, node: NodeId) -> Option<&Outbox> {
        let outboxes = &self.view.outboxes;
        let at = outboxes.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        outboxes.get(at).map(|(_, outbox)| &**outbox)
    }
}
