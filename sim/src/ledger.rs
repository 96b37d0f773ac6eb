//! What one world reported: marks reached, beliefs broken, and which planted bugs are on.
//!
//! The engine knows one sink for the whole process; worlds are many, several in one thread and on
//! several threads. So the process's sink is a forwarder: each thread has a stack of ledgers, and
//! what happens is written into the topmost. A world enters its ledger while it runs and leaves it
//! afterwards; an exhaustive test without a world enters one by hand.
//!
//! Invariant: nothing is carried from one world into another. A ledger is a value; the only state
//! per thread is which ledger is entered now.
//!
//! Not here: the catalogue of planted bugs (`mutants.rs`), the marks a suite must reach
//! (`list.rs`).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
};
use trilith_engine::mark;

/// A belief of the code that was false.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// The belief, as the code states it.
    pub claim: &'static str,
    /// Where it stands.
    pub file: &'static str,
    /// And on which line.
    pub line: u32,
}

#[derive(Debug, Default)]
struct Pages {
    marks: BTreeMap<&'static str, u64>,
    broken: BTreeMap<Broken, u64>,
    planted: BTreeSet<String>,
}

/// Where a world's reports go. Clones are the same ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

thread_local! {
    static ENTERED: RefCell<Vec<Ledger>> = const { RefCell::new(Vec::new()) };
}

static INSTALLED: Once = Once::new();

/// Held while reports of this thread go into a ledger.
#[derive(Debug)]
pub struct Entered {
    /// Leaving must happen on the thread that entered.
    not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|stack| stack.pop());
    }
}

impl Ledger {
    /// An empty ledger with these planted bugs switched on. They are asked for only in a build
    /// with the feature `mutants`.
    pub fn new<S: Into<String>>(planted: impl IntoIterator<Item = S>) -> Self {
        let planted = planted.into_iter().map(Into::into).collect();
        Self(Arc::new(Mutex::new(Pages { planted, ..Pages::default() })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends this thread's reports here until the guard is dropped. Guards nest.
    #[must_use]
    pub fn enter(&self) -> Entered {
        INSTALLED.call_once(|| {
            mark::install(Box::new(Forward));
        });
        ENTERED.with_borrow_mut(|stack| stack.push(self.clone()));
        Entered { not_send: PhantomData }
    }

    /// The marks reached, and how often.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<&'static str, u64> {
        self.pages().marks.clone()
    }

    /// The beliefs that were false, and how often.
    #[must_use]
    pub fn broken(&self) -> BTreeMap<Broken, u64> {
        self.pages().broken.clone()
    }
}

/// The process's sink.
struct Forward;

impl Forward {
    fn top<T>(f: impl FnOnce(&Ledger) -> T) -> Option<T> {
        // A destructor that runs while the thread ends has no ledger any more.
        ENTERED.try_with(|stack| stack.borrow().last().map(f)).ok().flatten()
    }
}

impl mark::Sink for Forward {
    fn mark(&self, name: &'static str) {
        Self::top(|ledger| *ledger.pages().marks.entry(name).or_default() += 1);
    }

    fn broken(&self, claim: &'static str, file: &'static str, line: u32) {
        let known = Self::top(|ledger| {
            *ledger.pages().broken.entry(Broken { claim, file, line }).or_default() += 1;
        });
        // A test without a world fails as it would without a sink.
        debug_assert!(known.is_some(), "{claim} ({file}:{line})");
    }

    fn planted(&self, name: &'static str) -> bool {
        Self::top(|ledger| ledger.pages().planted.contains(name)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trilith_engine::{mark, never};

    #[test]
    fn reports_go_to_the_ledger_that_is_entered() {
        let (outer, inner) = (Ledger::default(), Ledger::default());
        mark!("a mark of nobody");
        {
            let _outer = outer.enter();
            mark!("one");
            {
                let _inner = inner.enter();
                mark!("two");
                mark!("two");
                assert!(never!(1 + 1 == 2, "arithmetic is broken"));
            }
            mark!("one");
        }
        assert_eq!(outer.marks(), BTreeMap::from([("one", 2)]));
        assert_eq!(inner.marks(), BTreeMap::from([("two", 2)]));
        assert!(outer.broken().is_empty());
        assert_eq!(inner.broken().into_keys().next().map(|broken| broken.claim), {
            Some("arithmetic is broken")
        });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what threads share is the question")]
    fn threads_do_not_share_what_is_entered() {
        let here = Ledger::default();
        let _here = here.enter();
        let there = std::thread::spawn(|| {
            let there = Ledger::default();
            let _there = there.enter();
            mark!("there");
            there.marks()
        });
        assert_eq!(there.join().expect("the thread ends"), BTreeMap::from([("there", 1)]));
        assert!(here.marks().is_empty());
    }
}
