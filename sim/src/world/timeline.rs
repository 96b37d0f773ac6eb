//! What is to happen, by time: a binary heap whose entries can be taken back.
//!
//! ```text
//!   heap   [ (at, seq) -> slot | (at, seq) -> slot | .. ]     ordered by (at, seq)
//!   slots  [ generation, position in the heap, event | .. ]   reused through a free list
//! ```
//!
//! A timer that nobody waits for any more must leave: a server that guards each request with a
//! timeout of an hour would otherwise carry an hour of dead timers, and would wake for each. So
//! every entry knows its place in the heap and is taken out in O(log n).
//!
//! Invariants: `slots[heap[i].slot].position == i` for every i; entries at the same time come out
//! in the order they were put in; a ticket of an entry that is gone is recognised.
//!
//! Not here: what the events mean (`state.rs`).

/// A claim on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    slot: u32,
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    seq: u64,
    slot: u32,
}

struct Slot<E> {
    generation: u32,
    position: u32,
    event: Option<E>,
}

/// The heap.
pub(crate) struct Timeline<E> {
    heap: Vec<Entry>,
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
    seq: u64,
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: Vec::new(), seq: 0 }
    }
}

impl<E> Timeline<E> {
    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the next one is due.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Puts an event at a time.
    pub(crate) fn push(&mut self, at: u64, event: E) -> Ticket {
        let position = self.heap.len() as u32;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, position: 0, event: None });
                (self.slots.len() - 1) as u32
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.position = position;
        entry.event = Some(event);
        let ticket = Ticket { slot, generation: entry.generation };
        self.seq += 1;
        self.heap.push(Entry { at, seq: self.seq, slot });
        self.up(position as usize);
        ticket
    }

    /// Takes the first event out if it is due by `now`.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, E)> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        self.remove(0).map(|event| (first.at, event))
    }

    /// Takes an event back; `None` when it is gone already.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<E> {
        let slot = self.slots.get(ticket.slot as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        self.remove(slot.position as usize)
    }

    /// The event behind a ticket, while it waits.
    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut E> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        if slot.generation == ticket.generation { slot.event.as_mut() } else { None }
    }

    /// Gives events another time: those for which `place` answers one.
    pub(crate) fn replace_all(&mut self, mut place: impl FnMut(&E) -> Option<u64>) {
        for entry in &mut self.heap {
            if let Some(at) = self.slots[entry.slot as usize].event.as_ref().and_then(&mut place) {
                entry.at = at;
            }
        }
        self.heap.sort_unstable();
        for (position, entry) in self.heap.iter().enumerate() {
            self.slots[entry.slot as usize].position = position as u32;
        }
    }

    fn remove(&mut self, position: usize) -> Option<E> {
        let entry = self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.slots[self.heap[position].slot as usize].position = position as u32;
            self.down(position);
            self.up(position);
        }
        let slot = &mut self.slots[entry.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(entry.slot);
        slot.event.take()
    }

    fn up(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent] <= self.heap[position] {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
    }

    fn down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let less = if right < self.heap.len() && self.heap[right] < self.heap[left] {
                right
            } else {
                left
            };
            if self.heap[position] <= self.heap[less] {
                break;
            }
            self.swap(less, position);
            position = less;
        }
    }

    #[inline]
    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.slots[self.heap[one].slot as usize].position = one as u32;
        self.slots[self.heap[other].slot as usize].position = other as u32;
    }

    /// Checks the invariants; for tests.
    #[cfg(test)]
    fn check(&self) {
        for (position, entry) in self.heap.iter().enumerate() {
            assert_eq!(self.slots[entry.slot as usize].position as usize, position);
            assert!(self.slots[entry.slot as usize].event.is_some());
            assert!(position == 0 || self.heap[(position - 1) / 2] <= *entry);
        }
        assert_eq!(self.heap.len() + self.free.len(), self.slots.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_time_keeps_its_order() {
        let mut timeline = Timeline::default();
        for event in 0..10 {
            timeline.push(5, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| timeline.pop_due(5)).collect();
        assert_eq!(order, (0..10).map(|event| (5, event)).collect::<Vec<_>>());
    }

    #[test]
    fn a_used_ticket_takes_nothing_back() {
        let mut timeline = Timeline::default();
        let old = timeline.push(1, "old");
        assert_eq!(timeline.pop_due(1), Some((1, "old")));
        let new = timeline.push(2, "new");
        assert_eq!(timeline.cancel(old), None);
        assert_eq!(timeline.get_mut(old), None);
        assert_eq!(timeline.cancel(new), Some("new"));
        assert_eq!((timeline.len(), timeline.next_at()), (0, None));
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_list(steps in prop::collection::vec((0_u8..4, 0_u64..50), 0..200)) {
            let mut timeline = Timeline::default();
            let mut model: Vec<(u64, u64, Ticket)> = Vec::new();
            for (seq, (step, number)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        let ticket = timeline.push(number, seq as u64);
                        model.push((number, seq as u64, ticket));
                    }
                    2 if !model.is_empty() => {
                        let (_, event, ticket) = model.remove(number as usize % model.len());
                        prop_assert_eq!(timeline.cancel(ticket), Some(event));
                    }
                    _ => {
                        model.sort_by_key(|entry| (entry.0, entry.1));
                        let due = model.first().is_some_and(|entry| entry.0 <= number);
                        let expect = due.then(|| model.remove(0)).map(|entry| (entry.0, entry.1));
                        prop_assert_eq!(timeline.pop_due(number), expect);
                    }
                }
                timeline.check();
            }
            timeline.replace_all(|event| (event % 2 == 0).then_some(7));
            timeline.check();
        }
    }
}
