//! What a leader knows of a follower, against a follower that is a plain list of terms.
//!
//! Between the two lies a network that loses, repeats and overtakes. Whatever it does, the leader
//! never believes that something is there which is not; and when it stops, the follower has
//! everything within a few heartbeats.

use super::*;
use crate::raft::{EntryId, Head, Kind, log::Log};
use crate::types::Term;
use alloc::{vec, vec::Vec};
use proptest::{collection::vec as many, prelude::*};

/// What a follower answers.
#[derive(Clone, Copy, Debug)]
enum Said {
    Took(Index),
    Lacks { at: Index, hint: EntryId },
}

struct Pair {
    log: Log,
    config: Config,
    progress: Progress,
    /// The follower's terms, from index 1 on.
    follower: Vec<Term>,
    /// What is on its way, and what comes back.
    there: Vec<Body>,
    back: Vec<Said>,
}

fn log_of(terms: &[u64]) -> Log {
    let mut log = Log::new(EntryId::default());
    for term in terms {
        log.push(Head { term: Term(*term), kind: Kind::Normal, bytes: 1 });
    }
    log
}

impl Pair {
    /// Both have the first `common` of the leader's terms; the follower has others behind them.
    fn new(terms: &[u64], common: usize, others: usize, window: usize) -> Self {
        let log = log_of(terms);
        let mut follower: Vec<Term> = terms.iter().take(common).copied().map(Term).collect();
        // Terms that no leader of this log had: they are lower than its own, and odd.
        let term = follower.last().map_or(1, |term| term.0 + 1);
        follower.extend(vec![Term(term); others]);
        let next = log.last().index.next();
        let config =
            Config { inflight_messages_max: window, append_entries_max: 2, ..Config::default() };
        let progress = Progress::new(ReplicaId(2), next);
        Self { log, config, progress, follower, there: vec![], back: vec![] }
    }

    fn feed(&mut self) {
        let commit = self.progress.matched;
        while let Some(body) = self.progress.feed(&self.log, commit, Index(0), &self.config) {
            self.there.push(body);
        }
    }

    /// As a heartbeat that is answered: whoever waits in vain asks again.
    fn beat(&mut self) {
        if self.progress.flow == (Flow::Probe { waiting: true }) {
            self.progress.flow = Flow::Probe { waiting: false };
            self.feed();
        } else if self.progress.matched < self.log.last().index {
            self.there.extend(self.progress.check(&self.log, Index(0)));
        }
    }

    fn agrees(&self, upto: Index) -> bool {
        let same = |index: u64| {
            self.follower.get(index as usize - 1).copied() == self.log.term_at(Index(index))
        };
        (1..=upto.0).all(same)
    }

    fn arrive(&mut self, body: &Body) {
        let Body::Append { prev, last, .. } = *body else { return };
        let at = prev.index.0 as usize;
        let has = at == 0 || self.follower.get(at - 1) == Some(&prev.term);
        if !has {
            let own = log_of(&self.follower.iter().map(|term| term.0).collect::<Vec<_>>());
            let hint = own.agreement(prev);
            self.back.push(Said::Lacks { at: prev.index, hint });
            return;
        }
        for index in prev.index.0 + 1..=last.0 {
            let term = self.log.term_at(Index(index)).expect("a leader sends what it has");
            if self.follower.get(index as usize - 1) != Some(&term) {
                self.follower.truncate(index as usize - 1);
                self.follower.push(term);
            }
        }
        self.back.push(Said::Took(last));
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Took(matched) => self.progress.on_ack(matched, Index(0)),
            Said::Lacks { at, hint } => {
                let agreement = self.log.agreement(hint).index.min(hint.index);
                self.progress.on_reject(at, agreement, false);
            }
        }
        self.feed();
    }

    fn check(&self) {
        self.progress.invariants(&self.config);
        assert!(self.agrees(self.progress.matched), "{:?} {:?}", self.progress, self.follower);
    }
}

proptest! {
    #[test]
    fn a_leader_never_believes_too_much_and_brings_everybody_up_to_date(
        rises in many(0_u64..2, 1..12),
        (common, others, window) in (0_usize..12, 0_usize..5, 1_usize..4),
        steps in many((0_u8..7, any::<prop::sample::Index>()), 0..60),
    ) {
        let mut term = 2;
        let terms: Vec<u64> = rises.iter().map(|rise| { term += rise * 2; term }).collect();
        let mut pair = Pair::new(&terms, common.min(terms.len()), others, window);
        pair.feed();
        for (what, which) in steps {
            let (there, back) = (pair.there.len(), pair.back.len());
            match what {
                // Arrives; arrives and comes again; is lost. The same for answers.
                0 if there > 0 => { let body = pair.there.remove(which.index(there)); pair.arrive(&body); }
                1 if there > 0 => { let body = pair.there[which.index(there)]; pair.arrive(&body); }
                2 if there > 0 => _ = pair.there.remove(which.index(there)),
                3 if back > 0 => { let said = pair.back.remove(which.index(back)); pair.hear(said); }
                4 if back > 0 => { let said = pair.back[which.index(back)]; pair.hear(said); }
                5 if back > 0 => _ = pair.back.remove(which.index(back)),
                _ => pair.beat(),
            }
            pair.check();
        }
        // What is on its way is lost; from now on nothing is.
        pair.there.clear();
        pair.back.clear();
        for _ in 0..4 * (terms.len() + others) + 8 {
            pair.beat();
            while !pair.there.is_empty() || !pair.back.is_empty() {
                for body in core::mem::take(&mut pair.there) {
                    pair.arrive(&body);
                }
                for said in core::mem::take(&mut pair.back) {
                    pair.hear(said);
                }
                pair.check();
            }
        }
        prop_assert_eq!(pair.progress.matched, pair.log.last().index);
        prop_assert_eq!(pair.progress.flow, Flow::Stream);
    }
}
