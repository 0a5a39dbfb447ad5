//! Small blocks, which the thread that gave them up takes again.
//!
//! The event loop reads what all ready sessions have sent before it answers any of them, so that
//! dozens of jobs hold blocks of the same sizes at once. The GNU allocator keeps seven of a size at
//! hand, and merges and splits the others: that was a twentieth of what a product of 2 x 2 takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;

use crate::host::classes::{CLASSES, FreeList, GRAIN_BYTES, class_bytes};

/// The most that is kept of a class. What is more goes back to the system's allocator, which is
/// what ends it where one thread frees what another allocates.
const KEPT_BLOCKS: usize = 256;
const KEPT_BYTES: usize = 256 << 10;

thread_local! {
    static KEPT: UnsafeCell<Kept> = const {
        UnsafeCell::new(Kept {
            classes: [const { Class { free: FreeList::new(), blocks: 0 } }; CLASSES],
            is_lasting: false,
        })
    };
}

/// What a thread keeps, which is lost when it ends.
struct Kept {
    classes: [Class; CLASSES],
    /// Whether the thread lives as long as the process. Another keeps none.
    is_lasting: bool,
}

struct Class {
    free: FreeList,
    blocks: usize,
}

/// Has this thread, which lives as long as the process, keep small blocks.
pub fn keep() {
    // SAFETY: only this thread has it, and nobody else while this runs.
    KEPT.with(|kept| unsafe { (*kept.get()).is_lasting = true });
}

/// A block of that class, or null if there is no more memory.
pub fn take(class: usize) -> *mut u8 {
    let block = KEPT.with(|kept| {
        // SAFETY: only this thread has it, and nobody else while this runs.
        let class = unsafe { &mut (*kept.get()).classes[class] };
        let block = class.free.take();
        class.blocks -= usize::from(!block.is_null());
        block
    });
    if block.is_null() {
        // SAFETY: no class is of empty blocks.
        return unsafe { System.alloc(layout(class)) };
    }
    block
}

/// Takes a block that is no longer needed.
///
/// # Safety
///
/// [`take`] gave it for this class, on whatever thread, and nobody uses it any more.
pub unsafe fn put(block: *mut u8, class: usize) {
    let is_kept = KEPT.with(|kept| {
        // SAFETY: only this thread has it, and nobody else while this runs.
        let Kept { classes, is_lasting } = unsafe { &mut *kept.get() };
        let Class { free, blocks } = &mut classes[class];
        let is_kept = *is_lasting
            && *blocks < KEPT_BLOCKS
            && (*blocks + 1) * class_bytes(class) <= KEPT_BYTES;
        if is_kept {
            // SAFETY: the caller's promise.
            unsafe { free.put(block) };
            *blocks += 1;
        }
        is_kept
    });
    if !is_kept {
        // SAFETY: `take` had it from there by this layout.
        unsafe { System.dealloc(block, layout(class)) };
    }
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class_bytes(class), GRAIN_BYTES).expect("a class is a size")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_blocks(class: usize) -> usize {
        // SAFETY: only this thread has it, and nobody else while this runs.
        KEPT.with(|kept| unsafe { (*kept.get()).classes[class].blocks })
    }

    /// The last class, since nothing else of a test is so large.
    const LARGEST: usize = CLASSES - 1;

    #[test]
    fn what_is_kept_serves_again_and_is_bounded() {
        let bound = KEPT_BYTES / class_bytes(LARGEST);
        // SAFETY: every block was taken for this class, and is used by nobody.
        let put = |block| unsafe { put(block, LARGEST) };
        // A thread that keeps none gives all back.
        put(take(LARGEST));
        assert_eq!(kept_blocks(LARGEST), 0);
        keep();
        let blocks: Vec<*mut u8> = (0..bound + 3).map(|_| take(LARGEST)).collect();
        assert!(blocks.iter().all(|block| !block.is_null()));
        blocks.iter().for_each(|block| put(*block));
        assert_eq!(kept_blocks(LARGEST), bound);
        // The last that was kept comes first.
        let again: Vec<*mut u8> = (0..bound).map(|_| take(LARGEST)).collect();
        assert!(again.iter().eq(blocks[..bound].iter().rev()));
        assert_eq!(kept_blocks(LARGEST), 0);
        again.into_iter().for_each(put);
    }
}
