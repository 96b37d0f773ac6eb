//! Beliefs: no `always!` or `never!` of the code was false, and nothing panicked.
//!
//! Production logs a broken belief and handles it; the simulator fails the run, in every profile.
//!
//! Not here: how beliefs reach us (the sink that the world installs).

use super::{Judge, Verdict};

const NAME: &str = "beliefs";

/// This judge.
pub const JUDGE: Judge = Judge {
    name: NAME,
    demands: "no always! or never! of the code was false, and nothing panicked",
    canary,
};

/// Judges what was reported: (claim, where and what).
#[must_use]
pub fn check(broken: &[(String, String)]) -> Verdict {
    match broken.first() {
        None => Verdict::Holds,
        Some((claim, detail)) => {
            let evidence = format!("{detail} ({} broken in all)", broken.len());
            Verdict::violated(NAME, claim.clone(), evidence)
        }
    }
}

fn canary() -> Verdict {
    check(&[("an index is never behind its snapshot".into(), "canary".into())])
}
