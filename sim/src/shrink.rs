//! Shrinking: the smallest part of a list that still makes the same thing happen.
//!
//! Zeller's delta debugging. A failing run is a list of faults and a list of operations; take away
//! halves, then quarters, then single items, keep every removal after which the run still fails
//! *in the same way*, and stop when no single item can go. The result is 1-minimal: each item that
//! is left is needed.
//!
//! "In the same way" is the caller's question (the same judge with the same words); without it a
//! shrinker slides from the interesting bug to a boring one.
//!
//! Taking one item away must not reshuffle the others; that is why faults are planned before the
//! run and why each domain has luck of its own.
//!
//! Not here: what is shrunk and how it is written down (`shrink_run`).

/// What a shrink did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// How many candidates were tried.
    pub tried: usize,
    /// How many of them still failed, and were kept.
    pub kept: usize,
    /// Whether the budget ended before the result was 1-minimal.
    pub cut_short: bool,
}

/// The smallest sublist, in order, for which `fails` holds; `fails(items)` must hold already. At
/// most `budget` candidates are tried.
pub fn minimise<T: Clone>(
    items: &[T],
    budget: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> (Vec<T>, Effort) {
    let mut effort = Effort::default();
    let mut current = items.to_vec();
    let mut try_one = |candidate: &[T], effort: &mut Effort| {
        if effort.tried >= budget {
            effort.cut_short = true;
            return false;
        }
        effort.tried += 1;
        let failed = fails(candidate);
        effort.kept += usize::from(failed);
        failed
    };
    // The empty list first: many failures need no fault at all.
    if !current.is_empty() && try_one(&[], &mut effort) {
        return (Vec::new(), effort);
    }
    let mut chunk = current.len().div_ceil(2);
    while chunk > 0 && !effort.cut_short {
        let mut removed = false;
        let mut from = 0;
        while from < current.len() {
            let until = (from + chunk).min(current.len());
            let candidate: Vec<T> =
                current[..from].iter().chain(&current[until..]).cloned().collect();
            if candidate.len() < current.len() && try_one(&candidate, &mut effort) {
                current = candidate;
                removed = true;
            } else {
                from = until;
            }
        }
        if chunk == 1 && !removed {
            break;
        }
        // After a successful round at size 1 go once more: an earlier item may be free now.
        chunk = if chunk == 1 { 1 } else { chunk.div_ceil(2).max(1) };
    }
    (current, effort)
}

/// The smallest number in `low..=high` for which `fails` holds; it must hold for `high`, and is
/// taken to hold for everything above one for which it holds (the answer is right even if not: it
/// is a number for which it holds).
pub fn least(low: u64, high: u64, mut fails: impl FnMut(u64) -> bool) -> u64 {
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if fails(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_that_matter_are_found() {
        let items: Vec<u32> = (0..100).collect();
        let needed = [7, 8, 93];
        let (found, effort) =
            minimise(&items, 1000, |some| needed.iter().all(|item| some.contains(item)));
        assert_eq!(found, needed);
        assert!(effort.tried < 150, "{effort:?}");
    }

    #[test]
    fn a_failure_without_any_item_shrinks_to_nothing() {
        assert_eq!(minimise(&[1, 2, 3], 10, |_| true).0, Vec::<i32>::new());
    }

    #[test]
    fn the_budget_is_kept_and_said() {
        let items: Vec<u32> = (0..1000).collect();
        let (found, effort) = minimise(&items, 20, |some| some.contains(&999));
        assert!(effort.cut_short && effort.tried == 20);
        assert!(found.contains(&999));
    }

    #[test]
    fn the_least_number_is_found() {
        assert_eq!(least(1, 1000, |number| number >= 37), 37);
        assert_eq!(least(1, 1, |_| false), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any condition made of "this item, or one of those two": the result is 1-minimal.
        #[test]
        fn nothing_that_is_left_can_go(length in 1usize..60, clauses in proptest::collection::vec((0usize..60, 0usize..60), 0..6)) {
            let items: Vec<usize> = (0..length).collect();
            let fails = |some: &[usize]| clauses.iter().all(|(a, b)| {
                let (a, b) = (a % length, b % length);
                some.contains(&a) || some.contains(&b)
            });
            let (found, _) = minimise(&items, 100_000, fails);
            prop_assert!(fails(&found));
            for at in 0..found.len() {
                let mut fewer = found.clone();
                fewer.remove(at);
                prop_assert!(!fails(&fewer), "{found:?} without {at}");
            }
        }
    }
}
