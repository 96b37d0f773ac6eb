//! The sentences of [`Clock`].

use core::time::Duration;

use super::{
    super::{Clock, Either, Instant, Runtime, race, timeout},
    Outcome, Report, demand, poll_once, sleep,
};

/// Checks the runtime's clock.
pub async fn clock<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "now never goes back", never_back(rt)).await;
    report.check(rt, "a sleep never ends early", never_early(rt)).await;
    report.check(rt, "a sleep ends", ends(rt)).await;
    report.check(rt, "a deadline in the past ends at the next poll", past(rt)).await;
    report.check(rt, "the end of time does not come", end_of_time(rt)).await;
    report.check(rt, "the earlier of two sleeps ends first", order(rt)).await;
    report.check(rt, "a dropped sleep leaves nothing behind", dropped(rt)).await;
    report.check(rt, "a timeout lets the quick through and stops the slow", timeouts(rt)).await;
    report.check(rt, "the wall clock says milliseconds since 1970", async { wall(rt) }).await;
    report
}

async fn never_back<R: Runtime>(rt: &R) -> Outcome {
    let mut last = rt.clock().now();
    for _ in 0..1_000 {
        let now = rt.clock().now();
        demand!(now >= last, "{last:?} and then {now:?}");
        last = now;
    }
    sleep(rt, 1).await;
    demand!(rt.clock().clone().now() >= last, "a clone of the clock is behind");
    Ok(())
}

async fn never_early<R: Runtime>(rt: &R) -> Outcome {
    for nanos in [0, 1, 999, 50_000, 1_000_000, 1_000_001, 3_700_000, 20_000_000] {
        let deadline = rt.clock().now() + Duration::from_nanos(nanos);
        rt.clock().sleep_until(deadline).await;
        let woke = rt.clock().now();
        demand!(woke >= deadline, "a sleep of {nanos} ns: due {deadline:?}, ended {woke:?}");
    }
    Ok(())
}

async fn ends<R: Runtime>(rt: &R) -> Outcome {
    let begun = rt.clock().now();
    sleep(rt, 30).await;
    let slept = rt.clock().now().since(begun);
    demand!(slept < Duration::from_secs(20), "a sleep of 30 ms took {slept:?}");
    Ok(())
}

async fn past<R: Runtime>(rt: &R) -> Outcome {
    sleep(rt, 1).await;
    let now = rt.clock().now();
    for deadline in [Instant(0), Instant(now.0 - 1), now] {
        let done = poll_once(rt.clock().sleep_until(deadline)).await;
        demand!(done.is_some(), "due {deadline:?}, and at {now:?} it still waits");
    }
    Ok(())
}

async fn end_of_time<R: Runtime>(rt: &R) -> Outcome {
    for deadline in [u64::MAX, u64::MAX - 1, u64::MAX / 2] {
        let first = race(rt.clock().sleep_until(Instant(deadline)), sleep(rt, 2)).await;
        demand!(first == Either::Right(()), "{deadline} ns came");
    }
    Ok(())
}

async fn order<R: Runtime>(rt: &R) -> Outcome {
    let first = race(sleep(rt, 300), sleep(rt, 10)).await;
    demand!(first == Either::Right(()), "300 ms were over before 10 ms");
    let first = race(sleep(rt, 10), sleep(rt, 300)).await;
    demand!(first == Either::Left(()), "300 ms were over before 10 ms");
    Ok(())
}

async fn dropped<R: Runtime>(rt: &R) -> Outcome {
    for _ in 0..100 {
        let done = poll_once(sleep(rt, 200)).await;
        demand!(done.is_none(), "200 ms were over at once");
    }
    let begun = rt.clock().now();
    sleep(rt, 5).await;
    let slept = rt.clock().now().since(begun);
    demand!(slept < Duration::from_secs(10), "dropped sleeps hold others up for {slept:?}");
    Ok(())
}

async fn timeouts<R: Runtime>(rt: &R) -> Outcome {
    let deadline = rt.clock().now() + Duration::from_millis(500);
    let quick = timeout(rt.clock(), deadline, core::future::ready(7)).await;
    demand!(quick == Ok(7), "a ready future was stopped");
    let deadline = rt.clock().now() + Duration::from_millis(10);
    let slow = timeout(rt.clock(), deadline, core::future::pending::<()>()).await;
    demand!(slow.is_err(), "a future that never ends has ended");
    demand!(rt.clock().now() >= deadline, "the timeout came early");
    Ok(())
}

fn wall<R: Runtime>(rt: &R) -> Outcome {
    let wall = rt.clock().wall().0;
    // Some day between 1971 and 2200: neither seconds nor microseconds.
    demand!((31_536_000_000..7_258_118_400_000).contains(&wall), "it says {wall}");
    Ok(())
}
