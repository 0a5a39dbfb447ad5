//! Small blocks of memory by the classes of their sizes, for the allocators of both hosts.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

/// What the sizes of all classes are multiples of, and so the alignment that they give.
pub const GRAIN_BYTES: usize = 16;
/// Larger blocks have no class.
pub const SMALL_BYTES_MAX: usize = 8 * 1024;
/// 16, 32, 48 and 64 bytes; then two to each doubling: 96, 128, 192, 256, and so on.
pub const CLASSES: usize = 4 + 2 * (SMALL_BYTES_MAX.ilog2() - 6) as usize;

const _: () = assert!(class_bytes(CLASSES - 1) == SMALL_BYTES_MAX, "the last class is the limit");

/// The class whose blocks hold `layout`; `None` where that is too large, or too much aligned.
pub fn class_of(layout: Layout) -> Option<usize> {
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
pub const fn class_bytes(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * GRAIN_BYTES;
    }
    let log = 6 + (class - 4) / 2;
    if (class - 4).is_multiple_of(2) { 3 << (log - 1) } else { 2 << log }
}

/// Free blocks of one class, the last that came first.
pub struct FreeList {
    /// Each holds the address of the next.
    first: *mut u8,
}

impl FreeList {
    pub const fn new() -> Self {
        Self { first: ptr::null_mut() }
    }

    /// One of them, or null if there is none.
    pub fn take(&mut self) -> *mut u8 {
        let block = self.first;
        if !block.is_null() {
            // SAFETY: a free block belongs to the list and starts with the next one's address,
            // which `put` wrote.
            self.first = unsafe { block.cast::<*mut u8>().read() };
        }
        block
    }

    /// # Safety
    ///
    /// The block is of a class, and its last user has let go of it.
    pub unsafe fn put(&mut self, block: *mut u8) {
        // SAFETY: every class is large and aligned enough for an address, and nobody else uses it.
        unsafe { block.cast::<*mut u8>().write(self.first) };
        self.first = block;
    }
}

/// Moves a block of `layout` to one of `after`, as a heap has to where the block can't stay: null,
/// and nothing has happened, where there is no memory for that.
///
/// # Safety
///
/// The block came from the heap with its layout, its user has given it up, and `after` is not empty.
pub unsafe fn move_block(
    heap: &impl GlobalAlloc,
    block: *mut u8,
    layout: Layout,
    after: Layout,
) -> *mut u8 {
    // SAFETY: the caller's promise.
    let moved = unsafe { heap.alloc(after) };
    if !moved.is_null() {
        // SAFETY: the blocks are different ones, each of at least this size.
        unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(after.size())) };
        // SAFETY: the caller's promise.
        unsafe { heap.dealloc(block, layout) };
    }
    moved
}

/// Allocates, grows and frees blocks of many sizes, and panics where one does not keep its content.
#[cfg(test)]
pub fn exercise(heap: &impl GlobalAlloc) {
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
}
