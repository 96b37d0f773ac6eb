//! The log against a list of its entries: everything the log answers, asked of a plain vector.

use super::*;
use alloc::vec;
use proptest::prelude::*;

/// The log as anybody would write it first.
#[derive(Clone, Debug)]
struct Naive {
    base: EntryId,
    entries: Vec<(Head, bool)>,
}

impl Naive {
    fn term_at(&self, index: u64) -> Option<Term> {
        if index == self.base.index.0 {
            return Some(self.base.term);
        }
        let slot = index.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(slot as usize).map(|(head, _)| head.term)
    }

    fn last(&self) -> u64 {
        self.base.index.0 + self.entries.len() as u64
    }

    fn agreement(&self, hint: EntryId) -> EntryId {
        let mut index = hint.index.0.min(self.last());
        while index > self.base.index.0 && self.term_at(index).is_some_and(|t| t > hint.term) {
            index -= 1;
        }
        let term = self.term_at(index).unwrap_or(self.base.term);
        if index <= self.base.index.0 { self.base } else { EntryId { term, index: Index(index) } }
    }
}

#[derive(Clone, Debug)]
enum Do {
    Push(u64, u32),
    Cut(u64),
    Compact(u64),
    Damage(u64),
    Heal(u64, u64),
}

fn anything() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (0_u64..3, 0_u32..100).prop_map(|(rise, bytes)| Do::Push(rise, bytes)),
        1 => (0_u64..20).prop_map(Do::Cut),
        1 => (0_u64..20).prop_map(Do::Compact),
        2 => (0_u64..20).prop_map(Do::Damage),
        1 => (0_u64..20, 0_u64..5).prop_map(|(first, more)| Do::Heal(first, first + more)),
    ]
}

fn go(log: &mut Log, naive: &mut Naive, what: Do) {
    let (base, last) = (naive.base.index.0, naive.last());
    let slot = |index: u64| (index - base - 1) as usize;
    match what {
        Do::Push(rise, bytes) => {
            let term = Term(log.last().term.0 + rise.saturating_sub(1));
            let head = Head { term, kind: Kind::Normal, bytes };
            log.push(head);
            naive.entries.push((head, false));
        }
        Do::Cut(from) if from > base && from <= last => {
            log.cut(Index(from));
            naive.entries.truncate(slot(from));
        }
        Do::Compact(upto) if upto > base && upto <= last => {
            let term = naive.term_at(upto).unwrap();
            log.compact(Index(upto));
            naive.entries.drain(..=slot(upto));
            naive.base = EntryId { term, index: Index(upto) };
        }
        Do::Damage(index) => {
            log.mark_faulty(Index(index));
            if index > base && index <= last {
                naive.entries[slot(index)].1 = true;
            }
        }
        Do::Heal(first, to) if first > 0 => {
            log.heal(Index(first), Index(to));
            for index in first.max(base + 1)..=to.min(last) {
                naive.entries[slot(index)].1 = false;
            }
        }
        Do::Cut(_) | Do::Compact(_) | Do::Heal(..) => {}
    }
}

proptest! {
    #[test]
    fn the_log_answers_like_a_list_of_its_entries(
        base in 0_u64..4,
        steps in proptest::collection::vec(anything(), 1..60),
    ) {
        let base = EntryId::new(base, base);
        let mut log = Log::new(base);
        let mut naive = Naive { base, entries: vec![] };
        for step in steps {
            go(&mut log, &mut naive, step);
            log.check();
            prop_assert_eq!(log.last().index.0, naive.last());
            for index in 0..naive.last() + 3 {
                prop_assert_eq!(log.term_at(Index(index)), naive.term_at(index));
                let slot = index.checked_sub(naive.base.index.0 + 1);
                let entry = slot.and_then(|slot| naive.entries.get(slot as usize));
                prop_assert_eq!(log.head(Index(index)), entry.map(|(head, _)| *head));
                prop_assert_eq!(log.is_faulty(Index(index)), entry.is_some_and(|(_, bad)| *bad));
            }
            let bad = naive.entries.iter().position(|(_, bad)| *bad);
            let bad = bad.map(|slot| Index(naive.base.index.0 + 1 + slot as u64));
            prop_assert_eq!(log.first_faulty(), bad);
            for (term, index) in [(0, 5), (1, 3), (1, 30), (2, 9), (9, 9), (3, 0)] {
                let hint = EntryId::new(term, index);
                prop_assert_eq!(log.agreement(hint), naive.agreement(hint));
            }
        }
    }

    #[test]
    fn an_append_takes_what_fits_and_at_least_one(
        sizes in proptest::collection::vec(0_u32..50, 1..30),
        first in 1_u64..30,
        entries_max in 1_u64..10,
        bytes_max in 1_u64..200,
    ) {
        let mut log = Log::new(EntryId::default());
        for bytes in &sizes {
            log.push(Head { term: Term(1), kind: Kind::Normal, bytes: *bytes });
        }
        prop_assume!(first <= sizes.len() as u64);
        let (last, bytes) = log.fit(Index(first), entries_max, bytes_max).unwrap();
        let taken = &sizes[first as usize - 1..last.0 as usize];
        prop_assert_eq!(bytes, taken.iter().map(|size| u64::from(*size)).sum::<u64>());
        prop_assert!(taken.len() as u64 <= entries_max);
        prop_assert!(taken.len() == 1 || bytes <= bytes_max);
        let more = sizes.get(last.0 as usize).map(|next| bytes + u64::from(*next));
        let is_full = taken.len() as u64 == entries_max;
        prop_assert!(is_full || more.is_none_or(|more| more > bytes_max));
    }
}

/// Every other entry is damaged: one list of all stretches is as long as half the log.
#[test]
fn stretches_of_damage_are_bounded() {
    let mut log = Log::new(EntryId::new(1, 0));
    let entries = 4 * RAFT_FAULTY_RANGES_MAX as u64;
    for _ in 0..entries {
        log.push(Head { term: Term(1), kind: Kind::Normal, bytes: 8 });
    }
    for index in (1..=entries).filter(|index| index % 2 == 0) {
        log.mark_faulty(Index(index));
        assert!(log.damaged_ranges() <= RAFT_FAULTY_RANGES_MAX, "{index}");
        assert!(log.is_faulty(Index(index)));
    }
    log.check();
    assert!(!log.is_faulty(Index(1)) && !log.is_faulty(Index(entries - 1)));
}
