//! The system's allocator, with matrices on boundaries of cache lines.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::host::lines::aligned;

#[global_allocator]
static HEAP: Heap = Heap;

struct Heap;

// SAFETY: the system's allocator is asked for a block that is as large and at least as aligned, and
// is given it back by the same layout, which follows from the caller's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size that is not zero.
        unsafe { System.alloc(aligned(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(aligned(layout)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with this layout.
        unsafe { System.dealloc(block, aligned(layout)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Ok(after) = Layout::from_size_align(bytes, layout.align()) else {
            return std::ptr::null_mut();
        };
        if aligned(layout) == layout && aligned(after) == after {
            // SAFETY: the block came from `alloc` with this layout, and is given back by the other.
            return unsafe { System.realloc(block, layout, bytes) };
        }
        // SAFETY: the caller promises a size that is not zero.
        let moved = unsafe { self.alloc(after) };
        if !moved.is_null() {
            // SAFETY: two blocks, each of at least this size.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(bytes)) };
            // SAFETY: the caller gives the block up.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}
