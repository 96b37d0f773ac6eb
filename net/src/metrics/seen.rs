//! What is seen of a node when somebody looks, and how it is looked at.
//!
//! The shard is asked through its inbox, as everybody asks it for anything: what it shows is of one
//! moment, and a shard that rests is woken for it. One that does not answer in time is shown as it
//! was seen last, and how long ago that was: whoever watches a node wants to see most of all one
//! that hangs.
//!
//! Not here: what a shard shows (`trilith_engine::shard`), how it is told (`table.rs`, `text.rs`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use trilith_engine::{
    mark,
    runtime::{Clock, Disk, Instant, Runtime, Sender, Space, WallTime, queue, timeout},
    shard::{Inbound, Shown},
    types::NodeId,
};

use crate::{
    limits::METRICS_WITHIN,
    meters::Meters,
    peer::{LinkStatus, Sizes, View},
    resp::post::{Post, PostMeter},
};

/// What is seen of a node.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its version.
    pub version: &'static str,
    /// Which it is.
    pub node: NodeId,
    /// When it began to serve, by its wall clock then. No two lives have the same.
    pub began: WallTime,
    /// How long ago that is.
    pub uptime: Duration,
    /// Its shard, unless that was never seen.
    pub shard: Option<Box<Shown>>,
    /// How long ago that was.
    pub shard_age: Duration,
    /// Its disk, if it says how full it is.
    pub space: Option<Space>,
    /// Its links to other nodes.
    pub links: Vec<(NodeId, LinkStatus)>,
    /// What these hold.
    pub held: Sizes,
    /// Its ports.
    pub meters: Arc<Meters>,
    /// What was published.
    pub post: PostMeter,
}

/// Where all of that comes from.
pub(crate) struct Source {
    into: Sender<Inbound>,
    links: View,
    meters: Arc<Meters>,
    post: Arc<Post>,
    last: Mutex<Option<(Instant, Box<Shown>)>>,
}

impl Source {
    /// The shard behind that queue, and what stands around it.
    pub(crate) fn new(into: Sender<Inbound>, links: View, post: Arc<Post>) -> Self {
        let meters = links.meters();
        Self { into, links, meters, post, last: Mutex::default() }
    }

    /// What the ports count.
    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Looks at everything; who the node is is known to who asks.
    pub(crate) async fn look<R: Runtime>(&self, runtime: &R) -> Seen {
        let clock = runtime.clock();
        let until = clock.now() + METRICS_WITHIN;
        let last = self.shard(clock, until).await;
        let space = timeout(clock, until, runtime.disk().space()).await;
        let (seen_at, shard) = last.unzip();
        Seen {
            shard_age: seen_at.map_or(Duration::ZERO, |at| clock.now().since(at)),
            shard,
            space: space.ok().and_then(Result::ok),
            links: self.links.statuses(),
            held: self.links.sizes(),
            meters: Arc::clone(&self.meters),
            post: self.post.meter(),
            ..Seen::default()
        }
    }

    /// The shard as it is, or as it was seen last; and when.
    async fn shard<C: Clock>(&self, clock: &C, until: Instant) -> Option<(Instant, Box<Shown>)> {
        let asked = async {
            let (viewer, mut shown) = queue(1);
            self.into.send(Inbound::Shows(viewer)).await.ok()?;
            shown.recv().await.ok()
        };
        let shown = timeout(clock, until, asked).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match shown {
            // Whoever asked later may have been answered first.
            Ok(Some(shown)) => {
                let newest = last.as_ref().map_or(0, |(_, known)| known.counts.turns);
                if shown.counts.turns >= newest {
                    *last = Some((clock.now(), shown));
                }
            }
            Ok(None) | Err(_) => mark!("metrics: a shard did not show itself"),
        }
        last.clone()
    }
}
