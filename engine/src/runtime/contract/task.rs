//! The sentences of [`Task`], [`Handle`] and the bounded queue between tasks.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{
    super::{Closed, Handle, Push, Runtime, Task, queue},
    Outcome, Report, demand, eventually, sleep,
};

/// Checks the runtime's tasks.
pub async fn task<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "a detached task runs to its end", detached(rt)).await;
    report.check(rt, "joining waits for the end", join(rt)).await;
    report.check(rt, "joining a task that has ended is done at once", join_late(rt)).await;
    report.check(rt, "a dropped handle cancels", cancel(rt)).await;
    report.check(rt, "a cancelled task lets go of what it holds", release(rt)).await;
    report.check(rt, "a task may start tasks", nested(rt)).await;
    report.check(rt, "many tasks all end", many(rt)).await;
    report.check(rt, "yielding lets others run", yields(rt)).await;
    report.check(rt, "a computation comes back with its result", computes(rt)).await;
    report.check(rt, "tasks of a core never run at once", alone(rt)).await;
    report.check(rt, "a full queue refuses and gives back", full(rt)).await;
    report.check(rt, "a queue keeps its order between tasks", order(rt)).await;
    report.check(rt, "a queue without its other end says so", closed(rt)).await;
    report
}

/// Checks that a panic stays within its task. A world that takes every panic for a failed run
/// does not ask this.
pub async fn panics<R: Runtime>(rt: &R) -> Report {
    let mut report = Report::default();
    report.check(rt, "joining a task that panicked comes back", panicked(rt)).await;
    report
}

async fn detached<R: Runtime>(rt: &R) -> Outcome {
    let done = Arc::new(AtomicBool::new(false));
    let (world, flag) = (rt.clone(), Arc::clone(&done));
    let task = rt.task().spawn("detached", async move {
        sleep(&world, 3).await;
        flag.store(true, Ordering::SeqCst);
    });
    task.detach();
    demand!(eventually(rt, || done.load(Ordering::SeqCst)).await, "it never ended");
    Ok(())
}

async fn computes<R: Runtime>(rt: &R) -> Outcome {
    let (mut parts, task) = (Vec::new(), rt.task());
    for upto in [10_u64, 1_000] {
        parts.push(task.compute(move || (1..=upto).sum::<u64>()).await);
    }
    demand!(parts == [55, 500_500], "another result: {parts:?}");
    Ok(())
}

async fn join<R: Runtime>(rt: &R) -> Outcome {
    let done = Arc::new(AtomicBool::new(false));
    let (world, flag) = (rt.clone(), Arc::clone(&done));
    let task = rt.task().spawn("joined", async move {
        sleep(&world, 10).await;
        flag.store(true, Ordering::SeqCst);
    });
    task.join().await;
    demand!(done.load(Ordering::SeqCst), "join came back before the task's end");
    Ok(())
}

async fn join_late<R: Runtime>(rt: &R) -> Outcome {
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let task = rt.task().spawn("quick", async move { flag.store(true, Ordering::SeqCst) });
    demand!(eventually(rt, || done.load(Ordering::SeqCst)).await, "it never ran");
    task.join().await;
    Ok(())
}

async fn cancel<R: Runtime>(rt: &R) -> Outcome {
    let count = Arc::new(AtomicU64::new(0));
    let (world, counter) = (rt.clone(), Arc::clone(&count));
    let task = rt.task().spawn("endless", async move {
        loop {
            counter.fetch_add(1, Ordering::SeqCst);
            sleep(&world, 2).await;
        }
    });
    demand!(eventually(rt, || count.load(Ordering::SeqCst) > 2).await, "it never ran");
    drop(task);
    // It may be within its last round on another thread.
    sleep(rt, 50).await;
    let after = count.load(Ordering::SeqCst);
    sleep(rt, 50).await;
    let later = count.load(Ordering::SeqCst);
    demand!(after == later, "it ran on: {after} rounds, and then {later}");
    Ok(())
}

async fn release<R: Runtime>(rt: &R) -> Outcome {
    let held = Arc::new(());
    let (world, inside) = (rt.clone(), Arc::clone(&held));
    let task = rt.task().spawn("holding", async move {
        sleep(&world, 3_600_000).await;
        drop(inside);
    });
    sleep(rt, 5).await;
    demand!(Arc::strong_count(&held) == 2, "the task let go by itself");
    drop(task);
    let free = eventually(rt, || Arc::strong_count(&held) == 1).await;
    demand!(free, "what the task held is still held");
    Ok(())
}

async fn nested<R: Runtime>(rt: &R) -> Outcome {
    let count = Arc::new(AtomicU64::new(0));
    let (world, counter) = (rt.clone(), Arc::clone(&count));
    let outer = rt.task().spawn("outer", async move {
        let inner = Arc::clone(&counter);
        let task = world.task().spawn("inner", async move {
            inner.fetch_add(1, Ordering::SeqCst);
        });
        task.join().await;
        counter.fetch_add(1, Ordering::SeqCst);
    });
    outer.join().await;
    demand!(count.load(Ordering::SeqCst) == 2, "not both of them ran");
    Ok(())
}

async fn many<R: Runtime>(rt: &R) -> Outcome {
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..50_u64 {
        let (world, counter) = (rt.clone(), Arc::clone(&count));
        tasks.push(rt.task().spawn("one of many", async move {
            sleep(&world, index % 7).await;
            counter.fetch_add(1, Ordering::SeqCst);
        }));
    }
    for task in tasks {
        task.join().await;
    }
    let ran = count.load(Ordering::SeqCst);
    demand!(ran == 50, "{ran} of 50 ran");
    Ok(())
}

async fn yields<R: Runtime>(rt: &R) -> Outcome {
    let ran = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ran);
    let task = rt.task().spawn("other", async move { flag.store(true, Ordering::SeqCst) });
    for _ in 0..100_000 {
        if ran.load(Ordering::SeqCst) {
            break;
        }
        rt.task().yield_now().await;
    }
    demand!(ran.load(Ordering::SeqCst), "the other task never ran");
    task.join().await;
    Ok(())
}

async fn alone<R: Runtime>(rt: &R) -> Outcome {
    let (inside, met) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (world, inside, met) = (rt.clone(), Arc::clone(&inside), Arc::clone(&met));
        tasks.push(rt.task().spawn("alone", async move {
            for _ in 0..200 {
                met.fetch_add(inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                // Long enough for another thread to come in, if there is one.
                for _ in 0..200 {
                    core::hint::spin_loop();
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                world.task().yield_now().await;
            }
        }));
    }
    for task in tasks {
        task.join().await;
    }
    let met = met.load(Ordering::SeqCst);
    demand!(met == 0, "between two awaits, a task met others {met} times");
    Ok(())
}

async fn full<R: Runtime>(rt: &R) -> Outcome {
    let (sender, mut receiver) = queue::<u64>(2);
    demand!(sender.push(1) == Ok(()) && sender.push(2) == Ok(()), "there was room for two");
    demand!(sender.push(3) == Err(Push::Full(3)), "a full queue took a third");
    let more = sender.clone();
    let task = rt.task().spawn("patient", async move {
        let _closed = more.send(4).await;
    });
    sleep(rt, 5).await;
    demand!(sender.push(5) == Err(Push::Full(5)), "a full queue took a third");
    demand!(receiver.recv().await == Ok(1), "the first is first");
    task.join().await;
    let rest = [receiver.recv().await, receiver.recv().await];
    demand!(rest == [Ok(2), Ok(4)], "then came {rest:?}");
    Ok(())
}

async fn order<R: Runtime>(rt: &R) -> Outcome {
    let (sender, mut receiver) = queue::<u64>(3);
    let world = rt.clone();
    let task = rt.task().spawn("sender", async move {
        for number in 0..100 {
            if number % 10 == 0 {
                sleep(&world, 1).await;
            }
            if sender.send(number).await.is_err() {
                return;
            }
        }
    });
    for number in 0..100 {
        let got = receiver.recv().await;
        demand!(got == Ok(number), "{got:?} came in place of {number}");
    }
    demand!(receiver.recv().await == Err(Closed), "the sender is gone");
    task.join().await;
    Ok(())
}

async fn closed<R: Runtime>(rt: &R) -> Outcome {
    let (sender, receiver) = queue::<u64>(1);
    let task = rt.task().spawn("receiver", async move { drop(receiver) });
    task.join().await;
    demand!(sender.push(1) == Err(Push::Closed(1)), "nobody is there to receive");
    demand!(sender.send(1).await == Err(Closed), "nobody is there to receive");
    Ok(())
}

async fn panicked<R: Runtime>(rt: &R) -> Outcome {
    let task = rt.task().spawn("panics", async { panic!("on purpose, to see who notices") });
    task.join().await;
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let task = rt.task().spawn("after it", async move { flag.store(true, Ordering::SeqCst) });
    task.join().await;
    demand!(done.load(Ordering::SeqCst), "the next task did not run");
    Ok(())
}
