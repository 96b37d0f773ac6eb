//! Values that this disk has damaged come from another one.
//!
//! ```text
//!   a read, an apply, a compaction ──► broken ──ask──► another replica, then the next
//!                                        ▲                       │ the record, at that very version
//!       the index points at it ◄── frame ◄── checked ◄───────────┘
//! ```
//! What the index names cannot be read, so its group, key and version are known, and only its bytes
//! are not. Every replica that has applied as far has the same bytes, unless the key was written
//! again. So the other replicas are asked, one after the other, for that key at *that* version; who
//! has another one says nothing. What comes is written with the next frame, as what it is: the value
//! of that key at that version. Then the index points there, if it still names the damaged place.
//!
//! # Why the copy cannot do harm
//! It is one more copy of a fact that counts already, as compaction makes them. Who overwrites or
//! deletes the key does that with a higher version, which hides both; a deletion stays as long as
//! anything older than it lies in any segment, and the copy is in the ledger before the next
//! compaction is planned. Its version is not above what the state stands behind, so the segment it
//! lies in settles no earlier than a checkpoint covers it.
//!
//! A read that met damage waits for the copy for a while, and is served then from the state as it is
//! then; after that its client may go elsewhere. An entry that must see the value waits with all
//! that follow. Who has taken that entry has mostly overwritten the value with it; so when nobody
//! sends it soon, the group asks for a snapshot.
//!
//! Invariants: a copy takes the place of nothing but the damaged record of its own version; the
//! values that are asked for at once are few; nobody waits for ever.
//!
//! Not here: entries (`raft`, `faulty.rs`), values that nobody asks for (`scrub.rs`).

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use bytes::{Bytes, BytesMut};
use core::{num::NonZeroU64, time::Duration};

use super::{
    Outbox, Shard, Stopped,
    group::{Group, Reading},
    write::Load,
};
use crate::{
    command::{Op, Outcome, Refusal, Told},
    journal::{Origin, Persisted, ReadError, Record, RecordKind},
    limits, mark, never,
    packet::{Envelope, Packet},
    planted,
    raft::{Input, Moment, Role},
    runtime::Runtime,
    types::{GroupId, NodeId, SegmentId, Term, Version},
    value::{Found, Moved, Place, View},
};

/// How long one replica has to answer before the next one is asked; when all were asked in vain, the
/// pauses become longer.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// After so many questions it is believed that the answer will be late.
const TRIES: u32 = 6;
/// How long a read waits.
const READ_WAITS: Duration = Duration::from_secs(1);
/// How long an entry waits for a value that it must see, before a snapshot is asked for, again and
/// again.
const APPLY_WAITS: Duration = Duration::from_millis(300);

/// A key of a group.
type Key = (GroupId, Vec<u8>);

/// What is damaged here, and what others have asked for.
#[derive(Debug, Default)]
pub(super) struct Mending {
    broken: BTreeMap<Key, Broken>,
    /// When something is to be done about it.
    due: Option<Moment>,
    /// Reads that met damage, what they wait for, and until when.
    readings: Vec<(Moment, Key, Reading)>,
    /// Groups that cannot go on without a value, and until when they wait.
    held_up: BTreeMap<GroupId, Moment>,
    asked: VecDeque<Asked>,
}

/// A value that cannot be read.
#[derive(Debug)]
struct Broken {
    place: Place,
    tries: u32,
    next: Moment,
    /// What somebody sent: a record.
    copy: Option<Bytes>,
    /// Part of the frame that is being written.
    is_flying: bool,
    /// Whether its place is bad though it may be read: what is in memory or verifies does as a copy.
    at_rest: bool,
}

/// Somebody cannot read a value.
#[derive(Debug)]
struct Asked {
    by: NodeId,
    group: GroupId,
    version: Version,
    key: Bytes,
}

impl Mending {
    /// Whether a frame is wanted.
    pub(super) fn wants_frame(&self) -> bool {
        self.broken.values().any(|broken| broken.copy.is_some() && !broken.is_flying)
    }

    /// When it wants to be asked again.
    pub(super) const fn next(&self) -> Option<Moment> {
        self.due
    }

    /// Whether somebody waits for an answer.
    pub(super) fn has_more(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Damaged values, reads and groups that wait for one, and those that others have asked for.
    pub(super) fn counts(&self) -> [usize; 4] {
        [self.broken.len(), self.readings.len(), self.held_up.len(), self.asked.len()]
    }

    /// Copies of damaged values that are not durable.
    pub(super) fn copies(&self) -> usize {
        self.broken.values().filter(|broken| broken.copy.is_some()).count()
    }

    fn until(&mut self, at: Moment) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn is_flying(&mut self, key: &Key, is_flying: bool) {
        if let Some(broken) = self.broken.get_mut(key) {
            broken.is_flying = is_flying;
        }
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// The value that a key has cannot be read.
    pub(super) fn broke(&mut self, id: GroupId, key: &[u8]) {
        let now = self.now();
        let Some(place) = self.engine.tree(id).and_then(|tree| tree.get(key)) else { return };
        let mending = &mut self.mending;
        let broken = (id, key.to_vec());
        let is_known = mending.broken.get(&broken).is_some_and(|known| known.place == place);
        if is_known || mending.broken.len() >= limits::SHARD_BROKEN_MAX {
            return;
        }
        tracing::error!(%id, segment = %place.loc.segment, version = place.version.0, "a value is damaged");
        self.engine.ledger_mut().edit(place.loc.segment, |line| line.is_faulty = true);
        let next =
            Broken { place, tries: 0, next: now, copy: None, is_flying: false, at_rest: false };
        mending.broken.insert(broken, next);
        mending.until(now);
        self.counts.values_broken += 1;
    }

    /// The same, whether or not it can be read: the place is bad.
    pub(super) fn broke_at_rest(&mut self, id: GroupId, key: &[u8]) {
        self.broke(id, key);
        if let Some(broken) = self.mending.broken.get_mut(&(id, key.to_vec())) {
            broken.at_rest = true;
        }
    }

    /// A read could not be served. It waits for what it needs, if that is worth it.
    pub(super) async fn read_met_damage(&mut self, id: GroupId, reading: Reading, why: ReadError) {
        mark!("shard_read_met_damage");
        tracing::error!(%id, %why, "a value cannot be read");
        never!(matches!(why, ReadError::Unknown(_)), "I3: every place lies in an open segment");
        let keys = self.damaged_keys(id, &reading.op).await;
        for key in &keys {
            self.broke(id, key);
        }
        let until = reading.asked.until.min(self.now() + READ_WAITS);
        let has_room = self.mending.readings.len() < limits::SHARD_BROKEN_MAX;
        match keys.into_iter().next() {
            Some(key) if has_room => {
                self.mending.until(until);
                self.mending.readings.push((until, (id, key), reading));
            }
            _ => self.answer(reading.asked, Told::default(), Outcome::Refused(Refusal::Damaged)),
        }
    }

    /// What an operation cannot read.
    async fn damaged_keys(&self, id: GroupId, op: &Op) -> Vec<Vec<u8>> {
        let view = self.view(id);
        let keys: Vec<Vec<u8>> = match op {
            Op::Scan(scan) => {
                let start = scan.start.as_ref().map(AsRef::as_ref);
                let mut cursor = view.tree().range(start, scan.end.as_ref().map(AsRef::as_ref));
                let keys = core::iter::from_fn(|| cursor.next().map(|(key, _)| key.to_vec()));
                keys.take((scan.keys_max as usize).min(limits::SCAN_KEYS_MAX)).collect()
            }
            op => op.keys().map(<[u8]>::to_vec).collect(),
        };
        let mut damaged = Vec::new();
        for key in keys {
            if view.get(&key, 0).await.is_err() {
                damaged.push(key);
            }
        }
        damaged
    }

    /// An entry must see a value that cannot be read: its group applies nothing more for now.
    pub(super) fn apply_met_damage(&mut self, id: GroupId, key: &[u8]) {
        mark!("shard_apply_met_damage");
        self.broke(id, key);
        let until = self.now() + APPLY_WAITS;
        if self.mending.held_up.contains_key(&id) {
            return;
        }
        let Some(group) = self.groups.get(&id) else { return };
        let is_leader = group.raft.role() == Role::Leader;
        self.mending.held_up.insert(id, until);
        self.mending.until(until);
        if is_leader {
            // Nobody can be answered by it now.
            self.step(id, Input::Stuck);
        }
    }

    /// Whether a group waits for a value.
    pub(super) fn is_held_up(&self, id: GroupId) -> bool {
        self.mending.held_up.contains_key(&id)
    }

    /// Asks for what is damaged, and lets go who has waited long enough.
    pub(super) async fn mend(&mut self) {
        let now = self.now();
        if self.mending.due.is_none_or(|due| due > now) {
            return;
        }
        self.let_go(now);
        let broken = &self.mending.broken;
        // One that nobody seems to have takes no room from the others.
        let waits = |broken: &&Broken| (1..TRIES).contains(&broken.tries) && broken.copy.is_none();
        let mut room =
            limits::SHARD_MENDED_AT_ONCE.saturating_sub(broken.values().filter(waits).count());
        let keys: Vec<Key> = broken
            .iter()
            .filter(|(_, broken)| broken.next <= now && broken.copy.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let mut copies = self.mending.copies();
        for key in keys {
            if !self.is_broken(&key) {
                mark!("shard_damaged_value_overwritten");
                self.mended(&key);
                continue;
            }
            if copies >= limits::SHARD_MENDED_AT_ONCE {
                // When one of them is written, this goes on.
                mark!("shard_copies_wait_for_a_frame");
                break;
            }
            if self.read_again(&key).await {
                copies = self.mending.copies();
                continue;
            }
            let is_first = self.mending.broken.get(&key).is_some_and(|broken| broken.tries == 0);
            if is_first && room == 0 {
                continue;
            }
            room -= usize::from(is_first);
            self.ask_for_value(&key, now);
        }
        let mending = &self.mending;
        let asks = mending.broken.values().filter(|broken| broken.copy.is_none());
        // What finds no room comes when something else is done with.
        let asks = asks.filter(|broken| broken.next > now).map(|broken| broken.next);
        let reads = mending.readings.iter().map(|(until, ..)| *until);
        self.mending.due = asks.chain(reads).chain(mending.held_up.values().copied()).min();
    }

    /// Whether the value can be read here after all.
    async fn read_again(&mut self, key: &Key) -> bool {
        let Ok(Some(found)) = self.view(key.0).get(&key.1, 0).await else { return false };
        let copy = encode(key.0, &key.1, &found);
        let Some(broken) = self.mending.broken.get_mut(key) else { return false };
        if broken.at_rest {
            mark!("shard_value_moved_from_a_bad_place");
            broken.copy = Some(copy);
        } else {
            // A bit may flip on its way from the disk, and not again.
            mark!("shard_damaged_value_is_whole_again");
            self.mended(key);
        }
        true
    }

    /// Whether the index still names the damaged place.
    fn is_broken(&self, key: &Key) -> bool {
        let place = self.engine.tree(key.0).and_then(|tree| tree.get(&key.1));
        self.mending.broken.get(key).is_some_and(|broken| Some(broken.place) == place)
    }

    fn ask_for_value(&mut self, key: &Key, now: Moment) {
        let Some(group) = self.groups.get(&key.0) else { return };
        let mut others = group.raft.membership().members();
        others.retain(|id| *id != group.raft.id());
        let Some(broken) = self.mending.broken.get_mut(key) else { return };
        let round = broken.tries / others.len().max(1) as u32;
        broken.next = now + (PATIENCE * 2_u32.saturating_pow(round.min(8))).min(PATIENCE_MAX);
        let to = others.get(broken.tries as usize % others.len().max(1)).copied();
        broken.tries = broken.tries.saturating_add(1);
        if let Some(to) = to.and_then(|to| group.node_of(to)) {
            let (group, version, key) = (key.0, broken.place.version, Bytes::from(key.1.clone()));
            self.outbox.send(Envelope { to, packet: Packet::ValueAsk { group, version, key } });
        }
    }

    /// Answers those who have waited long enough.
    fn let_go(&mut self, now: Moment) {
        let readings = core::mem::take(&mut self.mending.readings);
        for (until, key, reading) in readings {
            if until > now {
                self.mending.readings.push((until, key, reading));
                continue;
            }
            mark!("shard_read_waited_in_vain");
            self.answer(reading.asked, Told::default(), Outcome::Refused(Refusal::Damaged));
        }
        let held_up: Vec<GroupId> = self
            .mending
            .held_up
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in held_up {
            self.mending.held_up.insert(id, now + APPLY_WAITS);
            let is_alone = |group: &Group| group.raft.membership().members().len() <= 1;
            if self.groups.get(&id).is_some_and(is_alone) {
                self.stopped = Some(Stopped::Damaged(
                    "a value that an entry needs is damaged, and no other node has its group; \
                     restore the directory from a backup",
                ));
            }
            self.step(id, Input::Stuck);
        }
    }

    /// A snapshot has taken the place of the state that could not go on.
    pub(super) fn goes_on(&mut self, id: GroupId) {
        self.mending.held_up.remove(&id);
    }

    /// A replica cannot read a value.
    pub(super) fn take_value_ask(
        &mut self,
        by: NodeId,
        group: GroupId,
        version: Version,
        key: Bytes,
    ) {
        if self.mending.asked.len() < limits::SHARD_VALUES_ASKED_MAX {
            self.mending.asked.push_back(Asked { by, group, version, key });
        }
    }

    /// Sends what others cannot read.
    pub(super) async fn send_values(&mut self) {
        for _ in 0..limits::SHARD_MENDED_AT_ONCE {
            let Some(Asked { by, group, version, key }) = self.mending.asked.pop_front() else {
                return;
            };
            let view = self.view(group);
            let is_it =
                |place: Place| place.version == version || planted!("shard_any_version_sent");
            if !view.tree().get(&key).is_some_and(is_it) {
                mark!("shard_value_of_another_version");
                continue;
            }
            let Ok(Some(found)) = view.get(&key, 0).await else {
                mark!("shard_value_damaged_twice");
                self.broke(group, &key);
                continue;
            };
            let record = encode(group, &key, &Found { version, ..found });
            let packet = Packet::Value { group, record };
            self.outbox.send(Envelope { to: by, packet });
        }
    }

    /// Somebody sends a value.
    pub(super) fn take_value(&mut self, group: GroupId, bytes: Bytes) {
        let Ok((record, len)) = Record::decode(&bytes) else {
            mark!("shard_damaged_message_dropped");
            return;
        };
        let is_value = record.kind == RecordKind::Put && record.origin == Origin::State;
        let is_whole = len.next_multiple_of(8) == bytes.len() && record.group == group;
        let key = (group, record.key.to_vec());
        let is_full = self.mending.copies() >= limits::SHARD_MENDED_AT_ONCE;
        let Some(broken) = self.mending.broken.get_mut(&key) else { return };
        let expires_ms = broken.place.expires_ms.map(NonZeroU64::get);
        let is_it = record.version == broken.place.version && record.expires_ms == expires_ms;
        if is_value && is_whole && is_it && broken.copy.is_none() && !is_full {
            broken.copy = Some(bytes);
        }
    }

    /// Puts copies of damaged values into a frame.
    pub(super) fn push_values(&mut self, frame: &mut Load, flying: &mut Vec<(Key, usize)>) {
        if !self.mending.wants_frame() {
            return;
        }
        let began = frame.bytes();
        let keys: Vec<Key> = self.mending.broken.keys().cloned().collect();
        for key in keys {
            let is_broken = self.is_broken(&key);
            let Some(broken) = self.mending.broken.get_mut(&key) else { continue };
            let Some(copy) = broken.copy.clone().filter(|_| !broken.is_flying) else { continue };
            if !is_broken {
                mark!("shard_damaged_value_overwritten");
                self.mended(&key);
                continue;
            }
            if !frame.has_room(began) {
                return;
            }
            if let Ok((record, _)) = Record::parse(&copy) {
                broken.is_flying = true;
                flying.push((key, frame.len()));
                frame.push(&record);
            }
        }
    }

    /// Copies of damaged values are durable.
    pub(super) fn values_landed(&mut self, flown: Vec<(Key, usize)>, at: &Persisted) {
        for (key, record) in flown {
            let Some(broken) = self.mending.broken.get(&key) else { continue };
            let (version, from) = (broken.place.version, broken.place.loc.segment);
            mark!("shard_damaged_value_mended");
            if !planted!("shard_mended_value_forgotten") {
                let moved = Moved { group: key.0, key: &key.1, version, to: Some(at.loc(record)) };
                self.engine.relocate(&moved, &[from]);
            }
            self.mended(&key);
        }
    }

    /// Copies of damaged values were not written.
    pub(super) fn values_failed(&mut self, flown: Vec<(Key, usize)>) {
        for (key, _) in flown {
            self.mending.is_flying(&key, false);
        }
    }

    /// A key can be read again.
    fn mended(&mut self, key: &Key) {
        let Some(broken) = self.mending.broken.remove(key) else { return };
        self.counts.values_mended += 1;
        self.trust(broken.place.loc.segment);
        let now = self.now();
        let (freed, waits): (Vec<_>, Vec<_>) = core::mem::take(&mut self.mending.readings)
            .into_iter()
            .partition(|(_, of, _)| of == key);
        self.mending.readings = waits;
        for (_, (id, _), reading) in freed {
            if let Some(group) = self.groups.get_mut(&id) {
                // It was confirmed before.
                group.confirmed.push_front((crate::types::Index(0), reading));
                self.readable.insert(id);
            }
        }
        if self.mending.held_up.remove(&key.0).is_some() {
            self.committed.insert(key.0);
        }
        // Others may have waited for room.
        self.mending.until(now);
    }

    /// Compaction may try a segment again when nothing damaged is known in it.
    fn trust(&mut self, segment: SegmentId) {
        let still = self.mending.broken.values().any(|broken| broken.place.loc.segment == segment);
        if !still && self.engine.ledger().line(segment).is_some() {
            self.engine.ledger_mut().edit(segment, |line| line.is_faulty = false);
        }
    }
}

/// A value as a record that is of no log.
fn encode(group: GroupId, key: &[u8], found: &Found) -> Bytes {
    let mut bytes = BytesMut::new();
    let record = Record {
        group,
        kind: RecordKind::Put,
        version: found.version,
        term: Term(0),
        expires_ms: found.expires_ms.map(NonZeroU64::get),
        origin: Origin::State,
        key,
        value: &found.value,
    };
    record.encode(&mut bytes);
    bytes.freeze()
}
