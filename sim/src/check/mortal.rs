//! Mortal: a value with an expiry is over about when it should be, and stays over.
//!
//! One client writes a key once, with a time to live, and then only reads it, one read after the
//! other, by levels that promise to be current. So what it sees has an order: there, there, gone,
//! gone. A key that comes back was judged by two clocks; one that is gone much too early was judged
//! by one that is wrong, and one that stays by none.
//!
//! *About*: clocks run up to a quarter too fast or too slow, signs of life take their time, and a
//! group whose stamps are ahead of all clocks goes at half speed. A wrong clock is off by hours.
//!
//! Not here: reads that say how old they are (`fresh`), what expires in a pure state (`store`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Judge, Verdict};

const NAME: &str = "mortal";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "a value with an expiry is over about when it should be, and stays over",
    canary,
};

const MS: u64 = 1_000_000;
/// How much too early is still about then.
const EARLY_MS: u64 = 500;
/// How much too late.
const LATE_MS: u64 = 3000;

/// A value that was written to be over some time.
#[derive(Clone, Debug)]
pub struct Life {
    /// When it was asked for, and when it was acknowledged.
    pub written_ns: (u64, u64),
    /// How long it is to live.
    pub ttl_ms: u64,
    /// Reads in their order: when asked, when answered, and whether it was there.
    pub reads: Vec<(u64, u64, bool)>,
}

/// What was seen of such values.
#[derive(Clone, Debug, Default)]
pub struct Lives(Arc<Mutex<Vec<Life>>>);

impl Lives {
    fn lives(&self) -> MutexGuard<'_, Vec<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One was written.
    pub fn written(&self, written_ns: (u64, u64), ttl_ms: u64) {
        self.lives().push(Life { written_ns, ttl_ms, reads: Vec::new() });
    }

    /// The one that was written last was read.
    pub fn read(&self, asked_ns: u64, answered_ns: u64, is_there: bool) {
        if let Some(life) = self.lives().last_mut() {
            life.reads.push((asked_ns, answered_ns, is_there));
        }
    }

    /// Judges what was seen.
    #[must_use]
    pub fn check(&self) -> Verdict {
        self.lives().iter().fold(Verdict::Holds, |verdict, life| verdict.and(|| judge(life)))
    }
}

fn judge(life: &Life) -> Verdict {
    let ((asked, done), ttl) = (life.written_ns, life.ttl_ms * MS);
    let mut is_over = false;
    for &(began, ended, is_there) in &life.reads {
        let told = |what| Verdict::violated(NAME, what, format!("{life:?}"));
        if is_there && is_over {
            return told("an expired key came back");
        }
        if !is_there && ended - asked < (ttl / 4 * 3).saturating_sub(EARLY_MS * MS) {
            return told("a key expired much too early");
        }
        if is_there && began.saturating_sub(done) > ttl / 2 * 5 + LATE_MS * MS {
            return told("a key outlived its time");
        }
        is_over |= !is_there;
    }
    Verdict::Holds
}

fn seen(reads: &[(u64, bool)]) -> Verdict {
    let lives = Lives::default();
    lives.written((0, MS), 2000);
    for (at_ms, is_there) in reads {
        lives.read(at_ms * MS, (at_ms + 1) * MS, *is_there);
    }
    lives.check()
}

fn canary() -> Verdict {
    seen(&[(1500, true), (2500, false), (2600, true)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_and_then_gone() {
        assert_eq!(seen(&[(1500, true), (2500, false), (2600, false)]), Verdict::Holds);
        assert_eq!(seen(&[(1100, false)]), Verdict::Holds, "clocks differ");
        assert_eq!(seen(&[(7900, true)]), Verdict::Holds, "time went at half speed");
        assert!(seen(&[(900, false)]).violation().is_some());
        assert!(seen(&[(8100, true)]).violation().is_some());
        assert!(canary().violation().is_some());
    }
}
