//! Which ready task runs next.
//!
//! A queue explores one interleaving for all seeds, so it is not the rule but one policy of three:
//!
//! - **uniform**: any ready task, equally likely. Finds what needs many small swaps.
//! - **PCT** (probabilistic concurrency testing, Burckhardt et al. 2010): every task has a random
//!   priority and the highest always runs; now and then the running one falls to the bottom. A bug
//!   that needs a few ordering decisions, far apart, is found much sooner so: one task can be
//!   starved for long stretches, which uniform choice never does. The original spreads `d` changes
//!   over a known length; a world has no known length, so changes come at random with a mean gap.
//!   A task that yields falls as well, or it would starve those it waits for.
//! - **FIFO**: a queue, as most production executors have; for comparison.
//!
//! Not here: how tasks become ready (`tasks.rs`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use trilith_engine::runtime::Rng as _;

use super::tasks::{TaskKey, Tasks};
use crate::luck::Luck;

/// The policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Any ready task.
    #[default]
    Uniform,
    /// The ready task of highest priority; priorities change once in so many polls on average.
    Pct {
        /// The mean gap between two changes, in polls.
        change_every: u32,
    },
    /// The one that has been ready longest.
    Fifo,
}

/// The ready tasks.
pub(crate) struct Ready {
    policy: Schedule,
    list: VecDeque<TaskKey>,
    luck: Luck,
    /// Polls until the next change of priorities.
    change_in: u64,
    /// The next bottom: larger than every priority before.
    bottom: u64,
}

/// Random priorities lie below this, bottoms above.
const BOTTOM: u64 = 1 << 62;

impl Ready {
    pub(crate) fn new(policy: Schedule, luck: Luck) -> Self {
        let mut ready = Self { policy, list: VecDeque::new(), luck, change_in: 0, bottom: BOTTOM };
        ready.change_in = ready.gap();
        ready
    }

    /// A priority for a new task.
    pub(crate) fn priority(&mut self) -> u64 {
        match self.policy {
            Schedule::Pct { .. } => self.luck.range(0..BOTTOM),
            _ => 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, key: TaskKey) {
        self.list.push_back(key);
    }

    /// The task that yields runs after all others.
    pub(crate) fn demote(&mut self, tasks: &mut Tasks, key: TaskKey) {
        if let (Schedule::Pct { .. }, Some(task)) = (self.policy, tasks.get(key)) {
            self.bottom += 1;
            task.priority = self.bottom;
        }
    }

    fn gap(&mut self) -> u64 {
        match self.policy {
            Schedule::Pct { change_every } => {
                self.luck.range(1..2 * u64::from(change_every.max(1)))
            }
            _ => u64::MAX,
        }
    }

    /// Takes the next one out.
    #[inline]
    pub(crate) fn draw(&mut self, tasks: &mut Tasks) -> Option<TaskKey> {
        match self.policy {
            Schedule::Fifo => self.list.pop_front(),
            Schedule::Uniform => {
                let at = match self.list.len() {
                    0 => return None,
                    // No choice, no draw: most of the time one task is ready.
                    1 => 0,
                    len => self.luck.index(len),
                };
                self.list.swap_remove_back(at)
            }
            Schedule::Pct { .. } => self.draw_by_priority(tasks),
        }
    }

    fn draw_by_priority(&mut self, tasks: &mut Tasks) -> Option<TaskKey> {
        let mut best = (u64::MAX, u64::MAX);
        let mut at = None;
        for (position, key) in self.list.iter().enumerate() {
            // An ended task goes first: it costs nothing and leaves the list.
            let rank = tasks.get(*key).map_or((0, 0), |task| (task.priority, task.serial));
            if rank < best || at.is_none() {
                (best, at) = (rank, Some(position));
            }
        }
        let key = self.list.swap_remove_back(at?)?;
        self.change_in -= 1;
        if self.change_in == 0 {
            self.change_in = self.gap();
            self.demote(tasks, key);
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::luck::Domain;

    fn order(policy: Schedule, seed: u64) -> Vec<u64> {
        let mut tasks = Tasks::default();
        let mut ready = Ready::new(policy, Luck::new(seed, Domain::Schedule));
        for _ in 0..8 {
            let priority = ready.priority();
            let key = tasks.add((0, 1), "task", priority, Box::pin(std::future::pending()));
            ready.push(key);
        }
        let mut order = Vec::new();
        while let Some(key) = ready.draw(&mut tasks) {
            order.push(tasks.get(key).expect("it is there").serial);
        }
        order
    }

    #[test]
    fn every_policy_runs_every_task_once() {
        for policy in [Schedule::Uniform, Schedule::Pct { change_every: 3 }, Schedule::Fifo] {
            let mut seen = order(policy, 5);
            assert_eq!(seen, order(policy, 5), "the same seed, the same order");
            seen.sort_unstable();
            assert_eq!(seen, (0..8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_a_queue_has_one_order_for_all_seeds() {
        let orders = |policy| {
            let mut orders: Vec<_> = (0..20).map(|seed| order(policy, seed)).collect();
            orders.sort();
            orders.dedup();
            orders.len()
        };
        assert_eq!(orders(Schedule::Fifo), 1);
        assert!(orders(Schedule::Uniform) > 15);
        assert!(orders(Schedule::Pct { change_every: 100 }) > 15);
    }

    #[test]
    fn under_pct_the_task_that_yields_lets_the_others_run() {
        let mut tasks = Tasks::default();
        let policy = Schedule::Pct { change_every: 1_000_000 };
        let mut ready = Ready::new(policy, Luck::new(1, Domain::Schedule));
        for _ in 0..4 {
            let priority = ready.priority();
            let key = tasks.add((0, 1), "task", priority, Box::pin(std::future::pending()));
            ready.push(key);
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            let key = ready.draw(&mut tasks).expect("one is ready");
            seen.push(key.slot);
            ready.demote(&mut tasks, key);
            ready.push(key);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
