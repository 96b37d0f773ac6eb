//! What a store must look like: every version that a life has gone through, and which of them a
//! crash may leave.
//!
//! ```text
//!   versions   12 ──── 15 ── 16 ──────── 21 ┄┄┄┄ 23
//!   states     S12     S15   S16         S21     S23
//!                             │           │       └ in flight: a frame, taken or left as a whole
//!                             │           └ applied: what the next view shows
//!                             └ durable: no crash may go back behind it
//! ```
//! A batch's version is the version of its last record, so a version names a state, and the
//! versions between are the insides of batches: nobody may ever stand on one. A view says which
//! version it is, and so does a recovered store; both are believed and then held to it, key by key.
//!
//! Expiry: at a time all that has expired by then is invisible. A life's clock never goes back, and
//! a later life's may: what had expired before may be there again or be gone for good, so what
//! expired by the latest time that any life saw is held to neither.
//!
//! Not here: who writes and reads (`store`).

use std::{collections::BTreeMap, fmt::Write as _, ops::Bound, sync::Arc};

use trilith_engine::lone::{BatchOutcome, Condition};
use trilith_engine::types::Version;
use trilith_engine::value::Found;

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which value: every put has another.
    pub id: u64,
    /// The version of the write.
    pub version: Version,
    /// Until when it counts.
    pub expires_ms: Option<u64>,
}

impl Held {
    fn counts(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| expires > now_ms)
    }

    /// Whether this is what was found.
    fn is(&self, found: &Found, most: u64) -> bool {
        found.version == self.version
            && found.expires_ms.map(std::num::NonZeroU64::get) == self.expires_ms
            && found.value == value_bytes(self.id, most)
    }
}

/// All keys at one version, expired ones included.
pub type State = BTreeMap<Vec<u8>, Held>;

/// One write of a planned batch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its key.
    pub key: Vec<u8>,
    /// The value's number and its end; a deletion has none.
    pub put: Option<(u64, Option<u64>)>,
    /// What must be so.
    pub condition: Condition,
}

/// The bytes of a key: some share a prefix, one is empty, one is long.
#[must_use]
pub fn key_bytes(key: u64) -> Vec<u8> {
    match key {
        0 => Vec::new(),
        1 => vec![b'k'; 700],
        _ if key.is_multiple_of(3) => (key as u32).to_be_bytes().to_vec(),
        _ => format!("key:{key:04}").into_bytes(),
    }
}

/// The bytes of a value: its number, then as many as the number says, often zeros, which is what a
/// sector looks like that was never written.
#[must_use]
pub fn value_bytes(id: u64, most: u64) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let length = if spread.is_multiple_of(29) { most * 8 } else { spread % (most + 1) };
    let fill = if id.is_multiple_of(3) { 0 } else { (id % 251) as u8 };
    bytes.resize(8 + length as usize, fill);
    bytes
}

/// What is wrong: the sentence, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub &'static str, pub String);

type Checked<T> = Result<T, Wrong>;

/// The model of one store, over all its lives.
#[derive(Clone, Debug)]
pub struct Model {
    /// What this life's versions look like.
    states: BTreeMap<Version, Arc<State>>,
    /// What the frame on its way makes of it, batch by batch.
    flight: BTreeMap<Version, Arc<State>>,
    durable: Version,
    /// The newest version that somebody was told of, or has seen.
    seen: Version,
    latest_ms: u64,
    value_bytes: u64,
}

impl Model {
    /// An empty store's.
    #[must_use]
    pub fn new(value_bytes: u64) -> Self {
        Self {
            states: BTreeMap::from([(Version(0), Arc::default())]),
            flight: BTreeMap::new(),
            durable: Version(0),
            seen: Version(0),
            latest_ms: 0,
            value_bytes,
        }
    }

    fn last(&self) -> (Version, Arc<State>) {
        let last = self.states.last_key_value();
        last.map_or_else(Default::default, |(version, state)| (*version, Arc::clone(state)))
    }

    /// A key as the newest version has it.
    #[must_use]
    pub fn newest(&self, key: &[u8]) -> Option<Held> {
        self.last().1.get(key).copied()
    }

    /// Judges batches that are about to be written as one frame. They are in flight from now on.
    #[must_use]
    pub fn issue(&mut self, batches: &[Vec<Step>], now_ms: u64) -> Vec<BatchOutcome> {
        self.latest_ms = self.latest_ms.max(now_ms);
        let (mut version, state) = self.last();
        let mut state = State::clone(&state);
        self.flight.clear();
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            let before = (version, state.clone());
            let outcome = take(batch, &mut version, &mut state, now_ms);
            if let BatchOutcome::Refused { .. } = outcome {
                (version, state) = before;
            } else if version > before.0 {
                self.flight.insert(version, Arc::new(state.clone()));
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// The frame was refused, and nothing of it happened.
    pub fn take_back(&mut self) {
        self.flight.clear();
    }

    /// The frame was written; `is_durable` when it was promised to survive.
    pub fn written(&mut self, is_durable: bool) {
        self.states.append(&mut self.flight);
        if is_durable {
            self.synced();
        }
    }

    /// Everything written was promised to survive.
    pub fn synced(&mut self) {
        self.durable = self.last().0;
    }

    /// Somebody was told of everything written: no later view is older.
    pub fn told(&mut self) {
        self.seen = self.last().0;
    }

    /// What somebody sees who looks now, through a view that says it is this version.
    ///
    /// # Errors
    /// When nobody may see that.
    pub fn look(&mut self, version: Version) -> Checked<Arc<State>> {
        let told = || format!("the view is at {}, somebody knew {}", version.0, self.seen.0);
        if version < self.seen {
            return Err(Wrong("a view is older than what was answered before", told()));
        }
        let state = self.states.get(&version).map(Arc::clone);
        let state = state.ok_or_else(|| Wrong("a view shows a part of a batch", told()))?;
        self.seen = version;
        Ok(state)
    }

    /// A store was opened after whatever happened: it says which version it is at, and this was
    /// found in it. Goes on from there.
    ///
    /// # Errors
    /// When that is not what may be left.
    pub fn recover(
        &mut self,
        version: Version,
        found: &BTreeMap<Vec<u8>, Found>,
        now_ms: u64,
    ) -> Checked<()> {
        let (last, flight) = (self.last().0, self.flight.last_key_value());
        let told = || {
            let flight = flight.map(|(version, _)| version.0);
            let Version(durable) = self.durable;
            format!(
                "found {}; durable is {durable}, written {}, in flight {flight:?}",
                version.0, last.0
            )
        };
        if version < self.durable {
            return Err(Wrong("what was acknowledged as durable is gone", told()));
        }
        let in_flight = flight.filter(|(at, _)| **at == version).map(|(_, state)| state);
        let state = self.states.get(&version).or(in_flight);
        let state =
            state.ok_or_else(|| Wrong("a recovered store stands inside a frame", told()))?;
        let mut state = State::clone(state);
        // What expired by a time that an earlier life saw may have been thrown away by then.
        let latest_ms = self.latest_ms;
        state.retain(|key, held| {
            found.contains_key(key) || held.counts(latest_ms) || !held.counts(now_ms)
        });
        self.same(&state, found, now_ms).map_err(|why| {
            Wrong("a recovered store does not hold what was written", format!("{}{why}", told()))
        })?;
        self.latest_ms = self.latest_ms.max(now_ms);
        // What a restart has served is durable.
        (self.durable, self.seen) = (version, version);
        self.states = BTreeMap::from([(version, Arc::new(state))]);
        self.flight.clear();
        Ok(())
    }

    /// Whether one key reads as it should.
    ///
    /// # Errors
    /// When it does not.
    pub fn read(
        &mut self,
        state: &State,
        key: &[u8],
        found: Option<&Found>,
        now_ms: u64,
    ) -> Checked<()> {
        self.latest_ms = self.latest_ms.max(now_ms);
        let held = state.get(key).filter(|held| held.counts(now_ms));
        match (held, found) {
            (None, None) => Ok(()),
            (Some(held), Some(found)) if held.is(found, self.value_bytes) => Ok(()),
            _ => {
                let told = line(key, held, found);
                Err(Wrong("a read answered what was not there at its version", told))
            }
        }
    }

    /// Whether a part of a scan reads as it should: everything between the bounds, nothing else.
    ///
    /// # Errors
    /// When it does not.
    pub fn page(
        &mut self,
        state: &State,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        items: &[(Vec<u8>, Found)],
        now_ms: u64,
    ) -> Checked<()> {
        self.latest_ms = self.latest_ms.max(now_ms);
        if !items.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(Wrong("a scan's keys are not in order", String::new()));
        }
        let range = state.range::<[u8], _>(bounds);
        let expect = range.map(|(key, held)| (key.clone(), *held)).collect();
        let found = items.iter().cloned().collect();
        self.same(&expect, &found, now_ms)
            .map_err(|why| Wrong("a scan answered what was not there at its version", why))
    }

    fn same(
        &self,
        state: &State,
        found: &BTreeMap<Vec<u8>, Found>,
        now_ms: u64,
    ) -> Result<(), String> {
        let mut told = String::new();
        for key in state.keys().chain(found.keys().filter(|key| !state.contains_key(*key))) {
            let held = state.get(key).filter(|held| held.counts(now_ms));
            let found = found.get(key);
            let right = match (held, found) {
                (None, None) => true,
                (Some(held), Some(found)) => held.is(found, self.value_bytes),
                _ => false,
            };
            if !right && told.len() < 800 {
                write!(told, "\n  {}", line(key, held, found)).unwrap_or_default();
            }
        }
        if told.is_empty() { Ok(()) } else { Err(told) }
    }
}

/// Judges one batch. Only what a refused one has done to `state` must be undone.
fn take(batch: &[Step], version: &mut Version, state: &mut State, now_ms: u64) -> BatchOutcome {
    let mut missing = 0;
    for (nth, Step { key, put, condition }) in batch.iter().enumerate() {
        let found = state.get(key).filter(|held| held.counts(now_ms)).map(|held| held.version);
        if !condition.holds(found) {
            return BatchOutcome::Refused { write: nth, found };
        }
        match put {
            // Nothing is written, so what has expired may be there again one day.
            None if found.is_none() => missing += 1,
            None => {
                version.0 += 1;
                state.remove(key);
            }
            Some((id, expires_ms)) => {
                version.0 += 1;
                let held = Held { id: *id, version: *version, expires_ms: *expires_ms };
                state.insert(key.clone(), held);
            }
        }
    }
    BatchOutcome::Done { version: *version, missing }
}

fn line(key: &[u8], held: Option<&Held>, found: Option<&Found>) -> String {
    let key = String::from_utf8_lossy(&key[..key.len().min(12)]);
    let held = held.map(|held| (held.id, held.version.0, held.expires_ms));
    let found = found.map(|found| {
        let id = found.value.first_chunk().map_or(0, |id| u64::from_le_bytes(*id));
        (id, found.version.0, found.expires_ms, found.value.len())
    });
    format!("{key:?}: written {held:?}, found {found:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, id: u64) -> Vec<Step> {
        let (key, condition) = (key.as_bytes().to_vec(), Condition::Always);
        vec![Step { key, put: Some((id, None)), condition }]
    }

    fn found(key: &str, id: u64, version: u64) -> (Vec<u8>, Found) {
        let value = value_bytes(id, 0);
        (key.as_bytes().to_vec(), Found { value, version: Version(version), expires_ms: None })
    }

    fn written() -> Model {
        let mut model = Model::new(0);
        assert_eq!(model.issue(&[put("a", 1)], 0).len(), 1);
        model.written(true);
        assert_eq!(model.issue(&[put("a", 2), [put("b", 3), put("c", 4)].concat()], 0).len(), 2);
        model
    }

    #[test]
    fn a_crash_leaves_what_is_durable_and_takes_a_frame_as_a_whole() {
        let old = BTreeMap::from([found("a", 1, 1)]);
        let new = BTreeMap::from([found("a", 2, 2), found("b", 3, 3), found("c", 4, 4)]);
        assert_eq!(written().recover(Version(1), &old, 0), Ok(()));
        assert_eq!(written().recover(Version(4), &new, 0), Ok(()));
        let sentence = |version, found: BTreeMap<_, _>| {
            written().recover(Version(version), &found, 0).map_err(|Wrong(sentence, _)| sentence)
        };
        let gone = sentence(0, BTreeMap::new());
        assert_eq!(gone, Err("what was acknowledged as durable is gone"));
        let half = sentence(2, BTreeMap::from([found("a", 2, 2)]));
        assert_eq!(half, Err("a recovered store stands inside a frame"));
        let other = sentence(4, old);
        assert_eq!(other, Err("a recovered store does not hold what was written"));
    }

    #[test]
    fn a_view_is_a_whole_number_of_batches_and_never_goes_back() {
        let mut model = written();
        model.written(false);
        assert!(model.look(Version(2)).is_ok());
        let half = model.look(Version(3)).map_err(|Wrong(sentence, _)| sentence);
        assert_eq!(half, Err("a view shows a part of a batch"));
        model.told();
        let old = model.look(Version(2)).map_err(|Wrong(sentence, _)| sentence);
        assert_eq!(old, Err("a view is older than what was answered before"));
    }

    #[test]
    fn an_expired_value_is_held_to_nothing_once_a_life_saw_its_end() {
        let expiring = |id, at| {
            vec![Step { key: vec![1], put: Some((id, Some(at))), condition: Condition::Always }]
        };
        let mut model = Model::new(0);
        assert_eq!(model.issue(&[expiring(1, 100)], 0).len(), 1);
        model.written(true);
        // Nobody has seen 100 yet: it must be there.
        assert!(model.clone().recover(Version(1), &BTreeMap::new(), 50).is_err());
        assert!(model.clone().read(&State::new(), b"x", None, 200).is_ok());
        assert_eq!(model.read(&State::new(), b"x", None, 200), Ok(()));
        assert_eq!(model.recover(Version(1), &BTreeMap::new(), 50), Ok(()));
    }
}
