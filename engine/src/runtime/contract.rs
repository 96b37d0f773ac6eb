//! The sentences of the traits as checks, for every door to pass.
//!
//! A door that is kinder than the others hides bugs, and one that is harsher finds some that are
//! none. So each sentence a trait's documentation says is a function here, generic over the
//! runtime, and each door's tests run all of them: real files and sockets on tokio, the embedded
//! store's files and threads, the simulated world, the still world, the second world.
//!
//! ```text
//!   contract::disk(&rt).await.assert_kept();
//! ```
//!
//! A check never panics: it answers what was broken, so one run reports every sentence a door
//! breaks. Each has its own directory, its own listener and a time limit, so that a door that
//! hangs is reported like one that lies. The checks wait on the runtime's own clock, and wait
//! long only when something is broken.
//!
//! Two sentences cannot be shown by calls alone: what survives a crash, and that a failed sync
//! poisons its file. Those belong to whoever can crash a disk (`sim/src/platter.rs`).
//!
//! Not here: any expectation beyond the traits' sentences; speed.

mod clock;
mod disk;
mod net;
mod rng;
mod task;

use alloc::{format, string::String, vec::Vec};
use core::{
    fmt,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::{Clock, DiskError, Either, Elapsed, NetError, Runtime, race, timeout};

pub use clock::clock;
pub use disk::disk;
pub use net::{net, no_net};
pub use rng::rng;
pub use task::{panics, task};

/// How long a check may take before it counts as hung.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// What a check answers.
type Outcome = Result<(), Broken>;

/// How a door broke a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DiskError> for Broken {
    fn from(error: DiskError) -> Self {
        Self(format!("unexpected: {error}"))
    }
}

impl From<NetError> for Broken {
    fn from(error: NetError) -> Self {
        Self(format!("unexpected: {error}"))
    }
}

impl From<Elapsed> for Broken {
    fn from(Elapsed: Elapsed) -> Self {
        Self("took too long".into())
    }
}

/// Ends the check with a sentence unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($why:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err($crate::runtime::contract::Broken(alloc::format!($($why)+)));
        }
    };
}
pub(crate) use demand;

/// One sentence, and whether the door keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The sentence.
    pub name: &'static str,
    /// What was broken, if anything.
    pub outcome: Result<(), Broken>,
}

/// What a suite found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every sentence, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    async fn check<R: Runtime>(
        &mut self,
        rt: &R,
        name: &'static str,
        check: impl Future<Output = Outcome>,
    ) {
        let deadline = rt.clock().now() + CHECK_LIMIT;
        let outcome = match timeout(rt.clock(), deadline, check).await {
            Ok(outcome) => outcome,
            Err(Elapsed) => Err(Broken("hangs".into())),
        };
        self.findings.push(Finding { name, outcome });
    }

    /// The sentences that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.outcome.is_err())
    }

    /// The names of all sentences.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.findings.iter().map(|finding| finding.name)
    }

    /// Adds another suite's findings.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }

    /// Checks that nothing is broken.
    ///
    /// # Panics
    /// When something is, or when nothing was checked; with all of it.
    pub fn assert_kept(&self) {
        self.assert_kept_but(&[]);
    }

    /// Checks that exactly these sentences are broken: what a door is known not to keep.
    ///
    /// # Panics
    /// When another one is broken, or one of these is kept after all.
    pub fn assert_kept_but(&self, excused: &[&str]) {
        assert!(!self.findings.is_empty(), "nothing was checked");
        let mut text = String::new();
        for finding in &self.findings {
            match (&finding.outcome, excused.contains(&finding.name)) {
                (Err(why), false) => text += &format!("\n  broken: {}: {why}", finding.name),
                (Ok(()), true) => text += &format!("\n  kept after all: {}", finding.name),
                _ => {}
            }
        }
        for name in excused {
            if !self.names().any(|checked| checked == *name) {
                text += &format!("\n  no such sentence: {name}");
            }
        }
        assert!(text.is_empty(), "the contract:{text}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            match &finding.outcome {
                Ok(()) => writeln!(f, "kept    {}", finding.name)?,
                Err(why) => writeln!(f, "BROKEN  {}: {why}", finding.name)?,
            }
        }
        Ok(())
    }
}

/// Every suite, for a runtime whose node can listen on `host`; `None` for one without a network.
pub async fn all<R: Runtime>(rt: &R, host: Option<IpAddr>) -> Report {
    let mut report = clock(rt).await;
    report.extend(rng(rt).await);
    report.extend(task(rt).await);
    report.extend(disk(rt).await);
    report.extend(match host {
        Some(host) => net(rt, host).await,
        None => no_net(rt).await,
    });
    report
}

/// Runs both to their end.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (None, None);
    poll_fn(|context| {
        if a_done.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            a_done = Some(output);
        }
        if b_done.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            b_done = Some(output);
        }
        match (a_done.take(), b_done.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_done, b_done) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

async fn sleep<R: Runtime>(rt: &R, millis: u64) {
    let clock = rt.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(millis)).await;
}

/// Waits until something is so, up to ten seconds; answers whether it came to be.
async fn eventually<R: Runtime>(rt: &R, mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..2_000 {
        if is_so() {
            return true;
        }
        sleep(rt, 5).await;
    }
    is_so()
}

/// Polls a future once and drops it; answers what it said, if it was done at once.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match race(future, core::future::ready(())).await {
        Either::Left(output) => Some(output),
        Either::Right(()) => None,
    }
}
