//! Four words for what the code believes, and the switch that plants a bug.
//!
//! - `assert!`: we can prove it. On in production.
//! - [`always!`] and [`never!`]: we believe it but cannot prove it. A false one fails a test and
//!   is handled in production; both answer with the truth, so the caller can handle it.
//! - [`mark!`]: this branch must be reached by the regular test suite; the simulator lists the
//!   marks nobody hit.
//! - [`planted!`]: false, except in a build with the feature `mutants` while the simulator has
//!   switched on the mutant of that name. A judge that no mutant can trip is not a judge.
//!
//! All of them report to one [`Sink`], installed once per process. Without one, marks cost a load
//! and a branch, and a broken belief panics in builds with debug assertions and is logged in
//! others.
//!
//! Not here: the catalogue of mutants and what catches them (`trilith-sim`).
//!
//! [`always!`]: macro@crate::always
//! [`never!`]: macro@crate::never
//! [`mark!`]: macro@crate::mark
//! [`planted!`]: macro@crate::planted

use alloc::boxed::Box;
use once_cell::race::OnceBox;

/// Where marks, broken beliefs and questions about planted bugs go.
pub trait Sink: Send + Sync {
    /// A branch that must be tested was reached.
    fn mark(&self, name: &'static str);
    /// A belief was false.
    fn broken(&self, claim: &'static str, file: &'static str, line: u32);
    /// Whether the mutant of that name is switched on.
    fn planted(&self, name: &'static str) -> bool;
}

static SINK: OnceBox<Box<dyn Sink>> = OnceBox::new();

/// Installs the process's sink. The first one stays; answers whether it is this one.
pub fn install(sink: Box<dyn Sink>) -> bool {
    SINK.set(Box::new(sink)).is_ok()
}

/// Reports a mark. Use [`mark!`](macro@crate::mark).
#[inline]
pub fn hit(name: &'static str) {
    if let Some(sink) = SINK.get() {
        sink.mark(name);
    }
}

/// Reports a broken belief. Use [`always!`](macro@crate::always) or
/// [`never!`](macro@crate::never).
///
/// # Panics
/// In a build with debug assertions when no sink is installed, so that a unit test fails.
#[cold]
pub fn broken(claim: &'static str, file: &'static str, line: u32) {
    tracing::error!(claim, file, line, "a belief of the code was false");
    match SINK.get() {
        Some(sink) => sink.broken(claim, file, line),
        None => debug_assert!(false, "{claim} ({file}:{line})"),
    }
}

/// Whether a planted bug is on. Use [`planted!`](macro@crate::planted).
#[cfg(feature = "mutants")]
#[inline]
pub fn is_planted(name: &'static str) -> bool {
    SINK.get().is_some_and(|sink| sink.planted(name))
}

/// Whether a planted bug is on: never, in a build without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_planted(_name: &'static str) -> bool {
    false
}

/// This branch must be reached by the regular test suite.
#[macro_export]
macro_rules! mark {
    ($name:literal) => {
        $crate::mark::hit($name)
    };
}

/// We believe this is true. Answers whether it was.
#[macro_export]
macro_rules! always {
    ($condition:expr, $claim:literal) => {{
        let holds: bool = $condition;
        if !holds {
            $crate::mark::broken($claim, file!(), line!());
        }
        holds
    }};
}

/// We believe this is false. Answers whether it was true after all.
#[macro_export]
macro_rules! never {
    ($condition:expr, $claim:literal) => {{
        let happened: bool = $condition;
        if happened {
            $crate::mark::broken($claim, file!(), line!());
        }
        happened
    }};
}

/// Whether the planted bug of this name is on: false in every build but the simulator's hunt.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::mark::is_planted($name)
    };
}
