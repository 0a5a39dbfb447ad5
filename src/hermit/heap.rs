//! Small blocks of memory in constant time.
//!
//! The kernel's allocator searches lists of free blocks. A service that keeps something small of
//! each job, as bills are kept, leaves thousands of gaps of nearly the same size, and every search
//! passes all that are a little too small: measured, 18,000 requests/s became 600 after ten
//! thousand jobs. So small blocks come from lists of one size each, and only large blocks, which
//! are few, from the kernel.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::classes::{
    CLASSES, FreeList, GRAIN_BYTES, SMALL_BYTES_MAX, class_bytes, class_of, move_block,
};
use crate::host::lines::aligned;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// What a class asks the kernel for when it is empty. It is never given back: what a class held
/// once, it is expected to hold again.
const CHUNK_BYTES: usize = 64 * 1024;

const _: () = assert!(CHUNK_BYTES >= 8 * SMALL_BYTES_MAX, "a chunk is cut into many blocks");

/// The program's allocator.
struct Heap {
    classes: [Mutex<Class>; CLASSES],
}

/// Blocks of one size.
struct Class {
    free: FreeList,
    /// The part of the last chunk that was never used.
    fresh: *mut u8,
    fresh_bytes: usize,
}

// SAFETY: the pointers are to memory that no thread but the holder of the lock touches.
unsafe impl Send for Class {}

impl Heap {
    const fn new() -> Self {
        Self {
            classes: [const {
                Mutex::new(Class { free: FreeList::new(), fresh: ptr::null_mut(), fresh_bytes: 0 })
            }; CLASSES],
        }
    }

    fn class(&self, index: usize) -> MutexGuard<'_, Class> {
        self.classes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Class {
    /// A block of `bytes`, the size of this class; null when the kernel has no more memory.
    fn take(&mut self, bytes: usize) -> *mut u8 {
        let block = self.free.take();
        if !block.is_null() {
            return block;
        }
        if self.fresh_bytes < bytes {
            let Ok(layout) = Layout::from_size_align(CHUNK_BYTES, GRAIN_BYTES) else {
                return ptr::null_mut();
            };
            // SAFETY: the size is not zero.
            let chunk = unsafe { System.alloc(layout) };
            if chunk.is_null() {
                return chunk;
            }
            // What was left of the last chunk is smaller than one block, and is given up.
            self.fresh = chunk;
            self.fresh_bytes = CHUNK_BYTES;
        }
        let block = self.fresh;
        self.fresh = block.wrapping_add(bytes);
        self.fresh_bytes -= bytes;
        block
    }
}

// SAFETY: a block is in one free list or with one user, is at least as large and as aligned as its
// layout, and goes back to where it came from, since that follows from its layout alone.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.class(class).take(class_bytes(class)),
            // SAFETY: the caller promises a size that is not zero.
            None => unsafe { System.alloc(aligned(layout)) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            // SAFETY: it was taken from this class, and the caller gives it up.
            Some(class) => unsafe { self.class(class).free.put(block) },
            // SAFETY: `alloc` got a block of this layout from there.
            None => unsafe { System.dealloc(block, aligned(layout)) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Ok(after) = Layout::from_size_align(bytes, layout.align()) else {
            return ptr::null_mut();
        };
        match (class_of(layout), class_of(after)) {
            // SAFETY: `alloc` got a block of this layout from there, and it will be given back with
            // a layout that leads there again.
            (None, None) if aligned(layout).align() == aligned(after).align() => unsafe {
                System.realloc(block, aligned(layout), bytes)
            },
            (Some(before), Some(after)) if before == after => block,
            // SAFETY: the block is this heap's, and the caller promises a size that is not zero.
            _ => unsafe { move_block(self, block, layout, after) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_of(layout).is_none() {
            // SAFETY: the caller promises a size that is not zero.
            return unsafe { System.alloc_zeroed(aligned(layout)) };
        }
        // SAFETY: as before.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is at least of the layout's size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::classes::exercise;

    #[test]
    fn blocks_keep_their_content_and_never_overlap() {
        exercise(&Heap::new());
    }
}
