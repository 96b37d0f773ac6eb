//! What a node holds of what grows from outside: its shard's part, and that of its links.
//!
//! For metrics and judges, who ask for it by [`Watch::looks`].
//!
//! Not here: connections of Redis clients (`resp`), what each size is (`shard`, `peer`).
//!
//! [`Watch::looks`]: super::Watch::looks

use trilith_engine::shard::{self, Gauge};

use crate::peer;

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its shard.
    pub shard: shard::Sizes,
    /// Its links.
    pub links: peer::Sizes,
}

impl Sizes {
    /// All of them.
    pub fn each(&self) -> impl Iterator<Item = Gauge> {
        let peer::Sizes { clients, client_requests, reply_bytes, outbox_bytes } = self.links;
        let work = |name, size| Gauge { name, size, is_work: true };
        let links = [
            Gauge { name: "clients", size: clients, is_work: false },
            work("requests of a client", client_requests),
            work("answers that wait", reply_bytes),
            // Somebody asks all the time whether the other side is there.
            Gauge { name: "outbox bytes", size: outbox_bytes, is_work: false },
        ];
        self.shard.each().chain(links)
    }
}
