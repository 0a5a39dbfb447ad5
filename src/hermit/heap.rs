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

use crate::host::lines::aligned;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// What the sizes of all classes are multiples of, and so the alignment that they give.
const GRAIN_BYTES: usize = 16;
/// Larger blocks come from the kernel.
const SMALL_BYTES_MAX: usize = 8 * 1024;
/// What a class asks the kernel for when it is empty. It is never given back: what a class held
/// once, it is expected to hold again.
const CHUNK_BYTES: usize = 64 * 1024;
/// 16, 32, 48 and 64 bytes; then two to each doubling: 96, 128, 192, 256, and so on.
const CLASSES: usize = 4 + 2 * (SMALL_BYTES_MAX.ilog2() - 6) as usize;

const _: () = assert!(class_bytes(CLASSES - 1) == SMALL_BYTES_MAX, "the last class is the limit");
const _: () = assert!(CHUNK_BYTES >= 8 * SMALL_BYTES_MAX, "a chunk is cut into many blocks");

/// The program's allocator.
struct Heap {
    classes: [Mutex<Class>; CLASSES],
}

/// Blocks of one size.
struct Class {
    /// The first free block; each holds the address of the next.
    free: *mut u8,
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
                Mutex::new(Class { free: ptr::null_mut(), fresh: ptr::null_mut(), fresh_bytes: 0 })
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
        if !self.free.is_null() {
            let block = self.free;
            // SAFETY: a free block belongs to the class and starts with the next one's address,
            // which `put` wrote; blocks are aligned to 16 bytes.
            self.free = unsafe { block.cast::<*mut u8>().read() };
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

    fn put(&mut self, block: *mut u8) {
        // SAFETY: the block was taken from this class, so it is large and aligned enough for an
        // address, and its last user has let go of it.
        unsafe { block.cast::<*mut u8>().write(self.free) };
        self.free = block;
    }
}

/// The class whose blocks hold `layout`, or `None` where the kernel's allocator is asked.
fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout.size();
    if bytes > SMALL_BYTES_MAX || layout.align() > GRAIN_BYTES {
        return None;
    }
    if bytes <= 4 * GRAIN_BYTES {
        return Some(bytes.saturating_sub(1) / GRAIN_BYTES);
    }
    // The doubling from 2^log to 2^(log + 1), and its half.
    let log = (bytes - 1).ilog2() as usize;
    let is_upper_half = bytes > 3 << (log - 1);
    Some(4 + 2 * (log - 6) + usize::from(is_upper_half))
}

/// The size of a class's blocks.
const fn class_bytes(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * GRAIN_BYTES;
    }
    let log = 6 + (class - 4) / 2;
    if (class - 4).is_multiple_of(2) { 3 << (log - 1) } else { 2 << log }
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
            Some(class) => self.class(class).put(block),
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
            _ => {
                // SAFETY: the caller promises a size that is not zero.
                let moved = unsafe { self.alloc(after) };
                if !moved.is_null() {
                    // SAFETY: the blocks are different ones, each of at least this size.
                    unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(bytes)) };
                    // SAFETY: the caller gives the block up.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
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

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for bytes in 0..=SMALL_BYTES_MAX {
            let class = class_of(Layout::from_size_align(bytes, 8).unwrap()).unwrap();
            assert!(class_bytes(class) >= bytes);
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes}");
            assert!(class_bytes(class).is_multiple_of(GRAIN_BYTES));
        }
        for (bytes, align) in [(SMALL_BYTES_MAX + 1, 8), (64, 32)] {
            assert_eq!(class_of(Layout::from_size_align(bytes, align).unwrap()), None);
        }
    }

    #[test]
    fn blocks_keep_their_content_and_never_overlap() {
        let heap = Heap::new();
        let mut blocks = Vec::new();
        for round in 0..4_000_usize {
            let bytes = 1 + round * 37 % 9_000;
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            // SAFETY: the size is not zero.
            let block = unsafe { heap.alloc_zeroed(layout) };
            // SAFETY: the block is of that size, and zeroed.
            assert!(unsafe { std::slice::from_raw_parts(block, bytes) }.iter().all(|&it| it == 0));
            // SAFETY: as before.
            unsafe { block.write_bytes(round as u8, bytes) };
            blocks.push((block, layout, round as u8));
            if round % 3 == 0 {
                let (block, layout, mark) = blocks.swap_remove(round % blocks.len());
                let after = 1 + layout.size() * 2 % 9_000;
                // SAFETY: the block has this layout, and the size is not zero.
                let moved = unsafe { heap.realloc(block, layout, after) };
                let kept = layout.size().min(after);
                // SAFETY: the block is at least of that size.
                let content = unsafe { std::slice::from_raw_parts(moved, kept) };
                assert!(content.iter().all(|&it| it == mark));
                // SAFETY: the block has this layout.
                unsafe { heap.dealloc(moved, Layout::from_size_align(after, 8).unwrap()) };
            }
        }
        for (block, layout, mark) in blocks {
            // SAFETY: the block is of that size, and was written to its end.
            let content = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            assert!(content.iter().all(|&it| it == mark));
            // SAFETY: the block has this layout.
            unsafe { heap.dealloc(block, layout) };
        }
    }
}
