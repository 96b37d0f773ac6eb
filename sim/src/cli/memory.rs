//! How much memory something takes: the system's allocator, and beside it what each thread holds.
//!
//! A reader that believes a length asks for memory before it looks at the bytes; the system gives
//! it without a murmur, because nobody has touched it yet. So what counts is what was asked for.
//!
//! Invariant: what is measured is of the thread that runs it, whatever other threads do.
//!
//! Not here: how much is too much (`trilith_sim::fuzz`).
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one only hands on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes that this thread asked for and did not give back, and the most there ever were.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counted.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn count(bytes: isize) {
    HELD.with(|held| {
        let (now, most) = held.get();
        let now = now.saturating_add(bytes);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it came. Counting neither allocates nor
// panics: the cell is initialised at compile time and has no destructor.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Does something, and answers how much more memory this thread held at most meanwhile.
pub(crate) fn measured<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let done = act();
    let most = HELD.with(|held| held.get().1);
    (done, most.saturating_sub(before).max(0).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_counts_also_when_nobody_touches_it() {
        let (len, most) = measured(|| {
            drop(std::hint::black_box(vec![0_u8; 100 << 20]));
            std::hint::black_box(vec![1_u8; 1000]).len()
        });
        assert_eq!(len, 1000);
        assert!((100 << 20..101 << 20).contains(&most), "{most}");
        assert!(measured(|| 5).1 < 100);
    }
}
