//! Tasks and the bells that wake them.
//!
//! ```text
//!   slots   [ generation | future | node, life | bell, waker | .. ]    reused
//!   bells   woken tasks, behind a lock of their own
//! ```
//!
//! A task's future lies in its slot, except while it is polled: then it is out, and the world is
//! not locked. A waker only writes the task's key into the bells, whose lock is never held while
//! another is taken; so anything may be woken from anywhere, also while the world is locked.
//!
//! Invariants: a key with an old generation rings for nobody; a task is in the ready set at most
//! once; futures are dropped only while the world is unlocked (their destructors lock it), and
//! those of one node in the order of their birth.
//!
//! Not here: which ready task runs (`ready.rs`), what a task's end means for its node
//! (`state.rs`).

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// What a task runs.
pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names a task; names nothing once the task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The woken tasks, in the order they were woken.
#[derive(Default)]
pub(crate) struct Bells {
    rung: Mutex<Vec<TaskKey>>,
    /// Whether there are any, so that the loop need not take the lock to see that there are none.
    any: AtomicBool,
}

impl Bells {
    pub(crate) fn ring(&self, key: TaskKey) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        self.any.store(true, Ordering::Release);
    }

    /// Moves what has rung into `into`, which must be empty.
    #[inline]
    pub(crate) fn drain(&self, into: &mut Vec<TaskKey>) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        // Before the list is taken: what rings afterwards says so again.
        self.any.store(false, Ordering::Release);
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *rung, into);
    }
}

/// A task's bell: rings once until the task is polled again.
pub(crate) struct Bell {
    key: TaskKey,
    rung: AtomicBool,
    bells: Arc<Bells>,
}

impl Bell {
    /// Before a poll: from now on it may ring again.
    #[inline]
    pub(crate) fn rearm(&self) {
        self.rung.store(false, Ordering::Relaxed);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let has_rung = self.rung.load(Ordering::Relaxed);
        if !has_rung && !self.rung.swap(true, Ordering::Relaxed) {
            self.bells.ring(self.key);
        }
    }
}

/// A task.
pub(crate) struct Task {
    /// Out while it is polled.
    pub(crate) future: Option<BoxFuture>,
    pub(crate) node: u32,
    pub(crate) life: u32,
    pub(crate) name: &'static str,
    /// How many tasks the world had before it.
    pub(crate) serial: u64,
    /// Smaller runs first, under PCT.
    pub(crate) priority: u64,
    /// Its handle was dropped: it ends at its next turn.
    pub(crate) cancelled: bool,
    pub(crate) bell: Arc<Bell>,
    /// Out while it is polled, like the future.
    pub(crate) waker: Option<Waker>,
    /// Who waits for its end.
    pub(crate) joiner: Option<Waker>,
}

struct Slot {
    generation: u32,
    task: Option<Task>,
}

/// All tasks of a world.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    born: u64,
    pub(crate) bells: Arc<Bells>,
}

impl Tasks {
    /// A new task; it has rung already.
    pub(crate) fn add(
        &mut self,
        (node, life): (u32, u32),
        name: &'static str,
        priority: u64,
        future: BoxFuture,
    ) -> TaskKey {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, task: None });
                (self.slots.len() - 1) as u32
            }
        };
        let key = TaskKey { slot, generation: self.slots[slot as usize].generation };
        let bells = Arc::clone(&self.bells);
        let bell = Arc::new(Bell { key, rung: AtomicBool::new(true), bells });
        let waker = Waker::from(Arc::clone(&bell));
        let serial = self.born;
        self.born += 1;
        self.slots[slot as usize].task = Some(Task {
            future: Some(future),
            node,
            life,
            name,
            serial,
            priority,
            cancelled: false,
            bell,
            waker: Some(waker),
            joiner: None,
        });
        self.bells.ring(key);
        key
    }

    #[inline]
    pub(crate) fn get(&mut self, key: TaskKey) -> Option<&mut Task> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.task.as_mut() } else { None }
    }

    /// Takes a task out for good and wakes who waits for its end.
    pub(crate) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let mut task = slot.task.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        if let Some(joiner) = task.joiner.take() {
            joiner.wake();
        }
        Some(task)
    }

    /// Takes all tasks out for which `of` holds, in the order of their birth.
    pub(crate) fn remove_all(&mut self, mut of: impl FnMut(&Task) -> bool) -> Vec<Task> {
        let keys: Vec<TaskKey> = (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.task.as_ref().is_some_and(&mut of))
            .map(|(at, slot)| TaskKey { slot: at, generation: slot.generation })
            .collect();
        let mut tasks: Vec<Task> = keys.into_iter().filter_map(|key| self.remove(key)).collect();
        tasks.sort_by_key(|task| task.serial);
        tasks
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many tasks one node has.
    pub(crate) fn of_node(&self, node: u32) -> usize {
        let of = |slot: &&Slot| slot.task.as_ref().is_some_and(|task| task.node == node);
        self.slots.iter().filter(of).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> BoxFuture {
        Box::pin(std::future::pending())
    }

    #[test]
    fn an_old_key_rings_for_nobody() {
        let mut tasks = Tasks::default();
        let old = tasks.add((0, 1), "old", 0, idle());
        let waker = tasks.get(old).and_then(|task| task.waker.clone()).expect("it is there");
        assert!(tasks.remove(old).is_some());
        let new = tasks.add((0, 1), "new", 0, idle());
        assert_eq!(old.slot, new.slot);
        assert!(tasks.get(old).is_none() && tasks.remove(old).is_none());
        waker.wake();
        assert_eq!(tasks.get(new).expect("it is there").name, "new");
    }

    #[test]
    fn a_bell_rings_once_until_it_is_rearmed() {
        let mut tasks = Tasks::default();
        let key = tasks.add((0, 1), "task", 0, idle());
        let (bell, waker) = {
            let task = tasks.get(key).expect("it is there");
            (Arc::clone(&task.bell), task.waker.clone().expect("it is not polled"))
        };
        let mut rung = Vec::new();
        waker.wake_by_ref();
        tasks.bells.drain(&mut rung);
        assert_eq!(rung, [key]);
        rung.clear();
        bell.rearm();
        waker.wake_by_ref();
        waker.wake();
        tasks.bells.drain(&mut rung);
        assert_eq!(rung, [key]);
    }

    #[test]
    fn the_dead_are_listed_by_birth() {
        let mut tasks = Tasks::default();
        let first = tasks.add((0, 1), "a", 0, idle());
        tasks.add((0, 1), "b", 0, idle());
        tasks.remove(first);
        tasks.add((0, 1), "c", 0, idle());
        tasks.add((1, 1), "d", 0, idle());
        let dead = tasks.remove_all(|task| task.node == 0);
        assert_eq!(dead.iter().map(|task| task.name).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(tasks.len(), 1);
    }
}
