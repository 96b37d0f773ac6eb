//! Convergence: after quiet, all replicas hold the same.
//!
//! The subject shows each replica's state as the runner finds it when the liveness phase is over;
//! states are compared item by item, so that the evidence names the first difference and not a
//! hash.
//!
//! Not here: whether the common state is the right one (`durable`, `serial`).

use std::{collections::BTreeMap, fmt::Debug};

use super::{Judge, Verdict};

const NAME: &str = "converged";

/// This judge.
pub const JUDGE: Judge =
    Judge { name: NAME, demands: "after quiet, all replicas hold the same", canary };

/// Compares every replica with the first one.
#[must_use]
pub fn check<K: Ord + Debug, V: Eq + Debug>(replicas: &[(String, BTreeMap<K, V>)]) -> Verdict {
    let Some(((first_name, first), others)) = replicas.split_first() else { return Verdict::Holds };
    for (name, state) in others {
        let keys = first.keys().chain(state.keys());
        for key in keys {
            let (here, there) = (first.get(key), state.get(key));
            if here != there {
                let evidence =
                    format!("{key:?}: {first_name} holds {here:?}, {name} holds {there:?}");
                return Verdict::violated(NAME, "two replicas differ after quiet", evidence);
            }
        }
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    check(&[
        ("n0".into(), BTreeMap::from([(0, 1), (1, 1)])),
        ("n1".into(), BTreeMap::from([(0, 1), (1, 2)])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_states_hold_and_a_missing_item_is_a_difference() {
        let state = |items: &[(u8, u8)]| items.iter().copied().collect::<BTreeMap<_, _>>();
        let replica = |name: &str, items: &[(u8, u8)]| (name.to_string(), state(items));
        assert_eq!(check(&[replica("a", &[(1, 1)]), replica("b", &[(1, 1)])]), Verdict::Holds);
        assert_ne!(check(&[replica("a", &[(1, 1)]), replica("b", &[])]), Verdict::Holds);
        assert_ne!(check(&[replica("a", &[]), replica("b", &[(1, 1)])]), Verdict::Holds);
    }
}
