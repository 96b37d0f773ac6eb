//! What the Raft core alone costs: three replicas in one thread, memory for a disk and a queue for a
//! network, so that every nanosecond is the core's own.
//!
//! ```text
//! cargo bench -p trilith-engine --bench raft
//! ```
//! One cycle: the leader takes a batch, sends it to both followers and writes it; each follower
//! writes and acknowledges; the leader commits and applies; the followers hear of it with the next
//! batch. A step is one call of `Raft::step`, whoever's.
//!
//! Not here: payloads, journals, sockets (`trilith bench cluster`).
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use trilith_engine::{
    raft::{
        Body, Boot, Config, Durable, Effects, EntryId, HardState, Head, Input, Membership, Message,
        Moment, Raft, Role,
    },
    types::{GroupId, Index, ReplicaId, Term},
};

const TIME: Duration = Duration::from_secs(1);
/// The length that an entry of a small value has.
const ENTRY_BYTES: u32 = 184;
/// A log is cut when it has become so long.
const LOG_ENTRIES: u64 = 4096;

/// A disk that forgets nothing, as long as nobody looks.
struct Memory;

impl Durable for Memory {}

struct World {
    replicas: Vec<Raft>,
    fx: Effects,
    network: VecDeque<Message>,
    heads: Vec<Head>,
    now: u64,
    steps: u64,
}

impl World {
    fn new() -> Self {
        let ids = [1, 2, 3].map(ReplicaId);
        let boot = |id: ReplicaId| Boot {
            group: GroupId(1),
            id,
            incarnation: 1,
            config: Config { quiet_after: None, ..Config::default() },
            hard: HardState { term: Term(1), ..HardState::default() },
            base: EntryId::new(1, 1),
            heads: &[],
            faulty: &[],
            applied: Index(1),
            membership: Membership::of_voters(&ids),
        };
        let replica = |id| Raft::boot(boot(id), Moment(0), id.0).expect("a founding member");
        let mut world = Self {
            replicas: ids.map(replica).into(),
            fx: Effects::default(),
            network: VecDeque::new(),
            heads: Vec::new(),
            now: 0,
            steps: 0,
        };
        world.step(0, Input::Campaign);
        world.settle();
        assert_eq!(world.replicas[0].role(), Role::Leader, "nobody else wanted to");
        world
    }

    /// One step, its writes, and what it applies.
    fn step(&mut self, at: usize, input: Input<'_>) {
        self.now += 1_000;
        self.steps += 1;
        self.replicas[at].step(Moment(self.now), self.now, input, &mut self.fx);
        self.network.extend(self.fx.send.drain(..));
        let (write, committed) = (self.fx.write.take(), self.fx.committed.take());
        if let Some(write) = write {
            self.step(at, Input::Persisted(write.persisted(&Memory)));
        }
        if let Some((_, upto)) = committed {
            self.step(at, Input::Applied { upto });
            let base = self.replicas[at].log().base().index;
            if upto.0 - base.0 > LOG_ENTRIES {
                // Half of it stays, for followers that are a batch behind.
                self.step(at, Input::Compacted { upto: Index(upto.0 - LOG_ENTRIES / 2) });
            }
        }
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        while let Some(message) = self.network.pop_front() {
            let mut heads = std::mem::take(&mut self.heads);
            heads.clear();
            if let Body::Append { prev, last, .. } = message.body {
                let log = self.replicas[message.from.0 as usize - 1].log();
                heads.extend((prev.index.0 + 1..=last.0).filter_map(|at| log.head(Index(at))));
            }
            self.step(message.to.0 as usize - 1, Input::Message { message, heads: &heads });
            self.heads = heads;
        }
    }
}

fn measure(batch: usize) {
    let mut world = World::new();
    let sizes = vec![ENTRY_BYTES; batch];
    let (mut entries, begin) = (0, Instant::now());
    world.steps = 0;
    while begin.elapsed() < TIME {
        for _ in 0..64 {
            world.step(0, Input::Propose { sizes: &sizes });
            world.settle();
            entries += batch as u64;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let applied = world.replicas[0].applied().0;
    assert!(applied >= entries, "everything was committed: {applied} of {entries}");
    let (steps, entries) = (world.steps as f64 / seconds, entries as f64 / seconds);
    println!(
        "batches of {batch:>4}: {steps:>12.0} steps/s  {:>6.0} ns a step  {entries:>12.0} entries/s",
        1e9 / steps
    );
}

fn main() {
    for batch in [1, 64, 1024] {
        measure(batch);
    }
}
