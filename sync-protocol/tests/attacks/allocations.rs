//! Counts what a piece of code allocates on its thread: what it costs, whatever else the machine is doing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// All that was ever asked for.
    static TOTAL: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    TOTAL.set(TOTAL.get() + usize::try_from(bytes).unwrap_or(0));
}

// SAFETY: every call goes to the system's allocator as it came; the counters are cells of the thread that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Most bytes that were held at one time, beyond what was held before.
    pub(crate) peak: usize,
    /// All bytes that were asked for, given back or not.
    pub(crate) total: usize,
}

pub(crate) fn cost_of<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let live = LIVE.get();
    PEAK.set(live);
    TOTAL.set(0);
    let outcome = work();
    let peak = usize::try_from(PEAK.get() - live).unwrap_or(0);
    (outcome, Cost { peak, total: TOTAL.get() })
}

/// What a piece of code has made, and how many bytes that holds.
pub(crate) fn kept_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let live = LIVE.get();
    let made = work();
    (made, usize::try_from(LIVE.get() - live).unwrap_or(0))
}
