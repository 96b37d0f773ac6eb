//! Liveness: after faults stop, everything completes within a bound of virtual time.
//!
//! A run has two phases. In the first, anything may fail and only safety is judged. Then all
//! faults stop, every node is up, and clients go on for a while: from then on each operation must
//! end `ok`, and none may take longer than the bound. A store that is safe because it does nothing
//! is caught here.
//!
//! Not here: an excuse for clusters that lost more than they can lose; such runs do not ask this
//! judge.

use std::time::Duration;

use super::{Judge, Verdict};
use crate::history::{History, Outcome};

const NAME: &str = "alive";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "after faults stop, everything completes within a bound of virtual time",
    canary,
};

/// Judges what began at `calm_ns` or later. `bound` is what an operation may take; at least one
/// must have begun.
#[must_use]
pub fn check(history: &History, calm_ns: u64, bound: Duration, expected: usize) -> Verdict {
    let bound_ns = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    let calm = history.operations.iter().filter(|op| op.began.at_ns >= calm_ns);
    let mut done = 0;
    for operation in calm {
        let (Some(ended), Outcome::Ok(_)) = (operation.ended, operation.outcome) else {
            let symptom = match operation.outcome {
                Outcome::Failed => "an operation failed although all faults had stopped",
                _ => "an operation did not complete although all faults had stopped",
            };
            return Verdict::violated(NAME, symptom, operation);
        };
        let took = ended.at_ns - operation.began.at_ns;
        if took > bound_ns {
            let evidence = format!("{operation}\ntook {:?}", Duration::from_nanos(took));
            let symptom = "an operation took longer than the bound although all faults had stopped";
            return Verdict::violated(NAME, symptom, evidence);
        }
        done += 1;
    }
    if done < expected {
        let evidence = format!("{done} operations completed of {expected} that had to");
        return Verdict::violated(
            NAME,
            "nothing happens although all faults have stopped",
            evidence,
        );
    }
    Verdict::Holds
}

fn canary() -> Verdict {
    let mut history = History::default();
    let _open = history.begin(5, 0, 0, crate::history::Call::Get);
    check(&history, 0, Duration::from_secs(1), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call};

    fn judge(began: u64, ended: u64, outcome: Outcome) -> bool {
        let mut history = History::default();
        let id = history.begin(began, 0, 0, Call::Set(1));
        history.end(ended, id, outcome);
        check(&history, 100, Duration::from_nanos(10), 1) == Verdict::Holds
    }

    #[test]
    fn late_failed_and_absent_operations_are_refused() {
        let done = Outcome::Ok(Answer::Done);
        assert!(judge(100, 110, done));
        assert!(!judge(100, 111, done));
        assert!(!judge(100, 101, Outcome::Failed));
        assert!(!judge(100, 101, Outcome::Unknown));
        assert!(!judge(99, 100, done), "the only one began before the calm");
    }
}
