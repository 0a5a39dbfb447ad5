//! The system's allocator, with matrices on boundaries of cache lines, and large ones in large
//! pages: otherwise a product that passes from row to row spends much of its time on looking pages
//! up. Blocks of small and of large sizes are kept at hand.

mod kept;
mod small;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use crate::host::classes::{class_of, move_block};
use crate::host::lines;

#[global_allocator]
static HEAP: Heap = Heap;

struct Heap;

/// The most that is kept, whatever the memory.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// Up to this size the system's allocator has blocks from its own heap, of which it keeps as much
/// free.
#[cfg(target_env = "gnu")]
const SYSTEM_KEPT_BYTES: libc::c_int = 32 << 20;

/// Keeps what jobs of usual sizes use, from now on: an eighth of the memory, at most; and of small
/// blocks, those that this thread frees, which is to live as long as the process.
pub fn keep_blocks(memory_bytes: usize) {
    small::keep();
    kept::keep((memory_bytes / 8).min(KEPT_BYTES_MAX));
    // Other allocators have their own ways.
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it takes two numbers; one that it does not accept changes nothing.
        unsafe { libc::mallopt(parameter, SYSTEM_KEPT_BYTES) };
    }
}

/// Blocks of at least one begin on its boundary. What is behind their last whole one is in small
/// pages, so that nothing but addresses is lost by it.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// The layout that the system is asked for instead of `layout`, always the same for the same.
fn aligned(layout: Layout) -> Layout {
    let layout = kept::rounded(layout);
    if layout.size() < LARGE_PAGE_BYTES {
        return lines::aligned(layout);
    }
    // Too large a block to be rounded up is too large to be had.
    layout.align_to(LARGE_PAGE_BYTES).unwrap_or(layout)
}

fn advise(block: *mut u8, layout: Layout) -> *mut u8 {
    if layout.align() >= LARGE_PAGE_BYTES && !block.is_null() {
        // SAFETY: the pages are the block's. A kernel that has no large pages refuses, and nothing
        // is lost.
        unsafe { libc::madvise(block.cast(), layout.size(), libc::MADV_HUGEPAGE) };
    }
    block
}

// SAFETY: the system's allocator is asked for a block that is as large and at least as aligned, and
// is given it back by the same layout, which follows from the caller's; what is kept meanwhile
// serves for that layout only.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(class) = class_of(layout) {
            return small::take(class);
        }
        let layout = aligned(layout);
        let block = kept::take(layout);
        if !block.is_null() {
            return block;
        }
        // SAFETY: the caller promises a size that is not zero.
        advise(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            // SAFETY: the block came from `alloc` with this layout.
            Some(class) => unsafe { small::put(block, class) },
            // SAFETY: as before.
            None => unsafe { kept::put(block, aligned(layout)) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Ok(after) = Layout::from_size_align(bytes, layout.align()) else {
            return ptr::null_mut();
        };
        match (class_of(layout), class_of(after)) {
            (Some(before), Some(after)) if before == after => block,
            (None, None) if aligned(layout) == aligned(after) => block,
            // SAFETY: the block came from `alloc` with this layout, and is given back by the other.
            (None, None) if aligned(layout) == layout && aligned(after) == after => unsafe {
                System.realloc(block, layout, bytes)
            },
            // SAFETY: the block is this heap's, and the caller promises a size that is not zero.
            _ => unsafe { move_block(self, block, layout, after) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::classes::exercise;

    #[test]
    fn blocks_keep_their_content_and_never_overlap() {
        exercise(&Heap);
        small::keep();
        exercise(&Heap);
    }
}
