//! The store differential: what recovery finds is the model's state at an allowed cut.
//!
//! The subject applies batches one after the other. A crash may take back a tail of them, but only
//! ones that were not acknowledged as durable, only whole ones, and only from the end: the state
//! found must equal the model after some batch `c` with `durable <= c <= issued`. Anything else is
//! a lost write, a torn batch, a resurrected value or changed bytes, and the evidence says which
//! keys differ from the nearest allowed state.
//!
//! The cut is found in linear time: walk from the durable state to the last one and count the keys
//! that differ, one batch at a time.
//!
//! Not here: what clients saw meanwhile (`linearizable`); damaged disks, where refusing is allowed
//! (the subject decides whether it may refuse).

use std::collections::BTreeMap;

use super::{Judge, Verdict};
use crate::history::{Key, Value};

const NAME: &str = "store";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "what recovery finds is the model's state at an allowed cut",
    canary,
};

/// One edit of a batch: the key's new value, or nothing.
pub type Edit = (Key, Option<Value>);

/// The model: a base state, the batches after it, and how many of them must survive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    base: BTreeMap<Key, Value>,
    batches: Vec<Vec<Edit>>,
    durable: usize,
}

fn apply(state: &mut BTreeMap<Key, Value>, edits: &[Edit]) {
    for (key, value) in edits {
        match value {
            Some(value) => state.insert(*key, *value),
            None => state.remove(key),
        };
    }
}

impl Model {
    /// A batch was handed to the store. Answers how many there are now.
    pub fn issue(&mut self, edits: Vec<Edit>) -> usize {
        self.batches.push(edits);
        self.batches.len()
    }

    /// How many batches there are since the last recovery.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.batches.len()
    }

    /// The last batch was refused without a trace.
    pub fn take_back(&mut self) {
        if self.batches.len() > self.durable {
            self.batches.pop();
        }
    }

    /// The store said that the first `count` batches are durable.
    pub fn acknowledge(&mut self, count: usize) {
        self.durable = self.durable.max(count.min(self.batches.len()));
    }

    /// The state after all batches.
    #[must_use]
    pub fn state(&self) -> BTreeMap<Key, Value> {
        let mut state = self.base.clone();
        self.batches.iter().for_each(|edits| apply(&mut state, edits));
        state
    }

    /// Judges what a running store holds: exactly the state after all batches.
    #[must_use]
    pub fn compare(&self, found: &BTreeMap<Key, Value>) -> Verdict {
        match first_difference(&self.state(), found) {
            None => Verdict::Holds,
            Some(difference) => Verdict::violated(
                NAME,
                "a running store does not hold what the model holds",
                difference,
            ),
        }
    }

    /// Judges what recovery found, and goes on from there.
    pub fn recover(&mut self, found: &BTreeMap<Key, Value>) -> Verdict {
        let mut state = self.base.clone();
        self.batches[..self.durable].iter().for_each(|edits| apply(&mut state, edits));
        let mut wrong = differences(&state, found);
        let mut nearest = (wrong.len(), self.durable);
        for cut in self.durable..=self.batches.len() {
            if wrong.is_empty() {
                *self = Self { base: found.clone(), ..Self::default() };
                return Verdict::Holds;
            }
            if wrong.len() < nearest.0 {
                nearest = (wrong.len(), cut);
            }
            let Some(edits) = self.batches.get(cut) else { break };
            apply(&mut state, edits);
            for (key, _) in edits {
                if state.get(key) == found.get(key) {
                    wrong.remove(key);
                } else {
                    wrong.insert(*key, ());
                }
            }
        }
        self.convict(found, nearest.1)
    }

    fn convict(&self, found: &BTreeMap<Key, Value>, cut: usize) -> Verdict {
        let mut state = self.base.clone();
        self.batches[..cut].iter().for_each(|edits| apply(&mut state, edits));
        let wrong = differences(&state, found);
        let lost = |key: &Key| state.contains_key(key) && !found.contains_key(key);
        let extra = |key: &Key| !state.contains_key(key) && found.contains_key(key);
        let torn = self.durable < self.batches.len()
            && self.batches.iter().skip(self.durable).any(|edits| edits.len() > 1);
        let symptom = match (wrong.keys().any(lost), wrong.keys().any(extra)) {
            (true, _) if cut == self.durable && !torn => "recovery lost an acknowledged write",
            (false, true) if cut == self.durable && !torn => {
                "recovery brought back what had been deleted"
            }
            _ => "recovery found a state that no allowed cut has",
        };
        let mut evidence = format!(
            "{} batches were issued, {} were acknowledged as durable; the nearest allowed state is \
             the one after batch {cut}:\n",
            self.batches.len(),
            self.durable
        );
        for key in wrong.keys().take(8) {
            let (model, store) = (state.get(key), found.get(key));
            evidence.push_str(&format!("  k{key}: the model has {model:?}, the store {store:?}\n"));
        }
        Verdict::violated(NAME, symptom, evidence)
    }
}

fn differences(model: &BTreeMap<Key, Value>, found: &BTreeMap<Key, Value>) -> BTreeMap<Key, ()> {
    let keys = model.keys().chain(found.keys());
    keys.filter(|key| model.get(key) != found.get(key)).map(|key| (*key, ())).collect()
}

fn first_difference(model: &BTreeMap<Key, Value>, found: &BTreeMap<Key, Value>) -> Option<String> {
    let (key, ()) = differences(model, found).pop_first()?;
    Some(format!("k{key}: the model has {:?}, the store {:?}", model.get(&key), found.get(&key)))
}

fn canary() -> Verdict {
    let mut model = Model::default();
    let durable = model.issue(vec![(1, Some(1))]);
    model.acknowledge(durable);
    model.recover(&BTreeMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let mut model = Model::default();
        model.issue(vec![(1, Some(1)), (2, Some(1))]);
        let durable = model.issue(vec![(1, Some(2))]);
        model.acknowledge(durable);
        model.issue(vec![(2, Some(3)), (3, Some(3))]);
        model.issue(vec![(1, None)]);
        model
    }

    fn found(items: &[(Key, Value)]) -> Verdict {
        model().recover(&items.iter().copied().collect())
    }

    #[test]
    fn any_cut_from_the_durable_one_to_the_last_is_allowed() {
        assert_eq!(found(&[(1, 2), (2, 1)]), Verdict::Holds);
        assert_eq!(found(&[(1, 2), (2, 3), (3, 3)]), Verdict::Holds);
        assert_eq!(found(&[(2, 3), (3, 3)]), Verdict::Holds);
    }

    #[test]
    fn lost_torn_and_invented_states_are_refused() {
        assert_ne!(found(&[(1, 1), (2, 1)]), Verdict::Holds, "an acknowledged batch is gone");
        assert_ne!(found(&[(1, 2), (2, 3)]), Verdict::Holds, "half a batch");
        assert_ne!(found(&[(2, 1)]), Verdict::Holds, "a later batch without an earlier one");
        assert_ne!(found(&[(1, 2), (2, 1), (9, 9)]), Verdict::Holds, "nobody wrote that");
    }

    #[test]
    fn the_model_goes_on_from_what_was_found() {
        let mut model = model();
        assert_eq!(model.recover(&BTreeMap::from([(1, 2), (2, 1)])), Verdict::Holds);
        model.issue(vec![(7, Some(7))]);
        assert_eq!(model.compare(&BTreeMap::from([(1, 2), (2, 1), (7, 7)])), Verdict::Holds);
        assert_ne!(model.compare(&BTreeMap::from([(1, 2), (2, 1)])), Verdict::Holds);
    }
}
