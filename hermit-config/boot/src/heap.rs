//! The stub's heap: hands out one static arena once. Nothing is freed, as the
//! kernel goes on reading what the stub allocated.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Several copies of the longest command line, and a device tree that grows by doubling.
const ARENA_BYTES: usize = 96 * 1024;

#[global_allocator]
static HEAP: Heap =
    Heap { arena: UnsafeCell::new([0; ARENA_BYTES]), used_bytes: AtomicUsize::new(0) };

#[repr(C, align(4096))]
struct Heap {
    arena: UnsafeCell<[u8; ARENA_BYTES]>,
    used_bytes: AtomicUsize,
}

// SAFETY: the arena is only reached through `alloc`, which gives every byte away once.
unsafe impl Sync for Heap {}

// SAFETY: `alloc` returns disjoint parts of the arena, aligned as asked, or null.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The stub runs on one processor without interrupts: nobody intervenes here.
        let start = self.used_bytes.load(Ordering::Relaxed).next_multiple_of(layout.align());
        if layout.align() > align_of::<Self>() || layout.size() > ARENA_BYTES.saturating_sub(start)
        {
            return ptr::null_mut();
        }
        self.used_bytes.store(start + layout.size(), Ordering::Relaxed);
        self.arena.get().cast::<u8>().wrapping_add(start)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
