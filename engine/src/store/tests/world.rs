//! One replica: its state, its values, and the log that it applies, in real bytes.

use crate::{
    command::{Body, Command, Entry, Outcome, Place, Reply, Session, encode},
    journal::RecordKind,
    store::{Effect, Seen, Sight, State, needs},
    types::{ClientId, GroupId, Index, Sequence, Stamp, Term, Version},
};
use bytes::{Bytes, BytesMut};
use core::num::NonZeroU64;
use std::{collections::BTreeMap, vec::Vec};

/// A value as the index and the journal have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) expires_ms: Option<NonZeroU64>,
    pub(super) value: Vec<u8>,
}

/// The values; only what an entry named may be looked at.
struct Values<'w> {
    kept: &'w BTreeMap<Vec<u8>, Kept>,
    needed: Vec<&'w [u8]>,
}

impl Sight for Values<'_> {
    fn place(&self, key: &[u8]) -> Option<Seen> {
        let Kept { version, expires_ms, value } = self.kept.get(key)?;
        let value_bytes = value.len();
        Some(Seen { version: *version, expires_ms: *expires_ms, value_bytes })
    }

    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        assert!(self.needed.contains(&key), "only what was named is looked at");
        self.kept.get(key).map(|kept| &*kept.value)
    }
}

/// A replica.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) values: BTreeMap<Vec<u8>, Kept>,
}

impl World {
    /// Applies a command at a time; answers what the client is told.
    pub(super) fn at(&mut self, ms: u64, session: Session, command: Command) -> Outcome {
        self.apply_body(Stamp::at_ms(ms), &Body::Command(session, command)).expect("an answer")
    }

    /// The same without a session.
    pub(super) fn run(&mut self, ms: u64, command: Command) -> Outcome {
        self.at(ms, Session::NOBODY, command)
    }

    /// Applies what an entry says.
    pub(super) fn apply_body(&mut self, stamp: Stamp, body: &Body) -> Option<Outcome> {
        let index = self.state.applied().next();
        let place = Place { group: GroupId(1), term: Term(1), index, stamp };
        let mut bytes = BytesMut::new();
        encode(&mut bytes, place, body);
        let entry = Entry::decode(&bytes).expect("what was encoded is decoded");
        let values = Values { kept: &self.values, needed: needs(&entry).collect() };
        let effect = self.state.apply(&entry, &values);
        assert!(self.state.check());
        let outcome = effect.outcome.clone();
        self.install(index, &entry, &effect);
        outcome
    }

    fn install(&mut self, index: Index, entry: &Entry<'_>, effect: &Effect<'_>) {
        let version = Version(index.0);
        if effect.is_effective {
            for (_, _, record) in entry.records() {
                let expires_ms = record.expires_ms.and_then(NonZeroU64::new);
                let value = (record.kind == RecordKind::Put).then(|| record.value.to_vec());
                self.put(record.key, version, expires_ms, value);
            }
        }
        for derived in &effect.derived {
            self.put(derived.key, version, derived.expires_ms, derived.value.clone());
        }
    }

    fn put(
        &mut self,
        key: &[u8],
        version: Version,
        expires_ms: Option<NonZeroU64>,
        value: Option<Vec<u8>>,
    ) {
        match value {
            Some(value) => {
                self.values.insert(key.to_vec(), Kept { version, expires_ms, value });
            }
            None => {
                self.values.remove(key);
            }
        }
    }

    /// A crash: all that is left is what a checkpoint said.
    pub(super) fn restart(&mut self) {
        let mut bytes = BytesMut::new();
        self.state.encode(&mut bytes);
        self.state = State::decode(&bytes).expect("what was encoded is decoded");
    }

    /// A key's value by the group's time.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        let kept = self.values.get(key.as_bytes())?;
        let is_over = kept.expires_ms.is_some_and(|ms| ms.get() <= self.state.stamp().ms());
        (!is_over).then_some(&*kept.value)
    }
}

/// A request of a client: the number, and the lowest one it still waits for.
pub(super) fn session(client: u64, sequence: u64, oldest: u64, since_ms: u64) -> Session {
    Session {
        client: ClientId(client),
        sequence: Sequence(sequence),
        oldest: Sequence(oldest),
        since: Stamp::at_ms(since_ms),
    }
}

/// Bytes of a text.
pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What an increment is told.
pub(super) fn number(number: i64, version: u64) -> Outcome {
    Outcome::Ok(Reply::Number { number, version: Version(version) })
}
