//! Large blocks that are kept for the next job: to give them back and have the system clear them
//! again takes as long as to fill them from the network.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Smaller ones are the system allocator's, which keeps them by itself; the smallest have lists.
const BYTES_MIN: usize = 1 << 20;
const BLOCKS_MAX: usize = 64;
/// Blocks of nearly the same size serve for each other: of all sizes between two powers of two, so
/// many are told apart, so that an eighth is lost at most.
const SIZES_PER_DOUBLING: usize = 8;

static KEPT: Mutex<Kept> = Mutex::new(Kept { blocks: [None; BLOCKS_MAX], bytes: 0, bytes_max: 0 });

/// The oldest come first, and what is empty last.
struct Kept {
    blocks: [Option<Block>; BLOCKS_MAX],
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy)]
struct Block {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: nobody else has a block that is kept.
unsafe impl Send for Block {}

/// Keeps so many bytes from now on; none before.
pub fn keep(bytes_max: usize) {
    kept().bytes_max = bytes_max;
}

/// The layout to ask for instead of `layout`, always the same for the same.
pub fn rounded(layout: Layout) -> Layout {
    let bytes = layout.size();
    if bytes < BYTES_MIN {
        return layout;
    }
    let step = bytes.checked_next_power_of_two().map(|ceiling| ceiling / (2 * SIZES_PER_DOUBLING));
    step.and_then(|step| bytes.checked_next_multiple_of(step))
        .and_then(|bytes| Layout::from_size_align(bytes, layout.align()).ok())
        // Too large a block to be rounded up is too large to be had.
        .unwrap_or(layout)
}

/// A block of this layout, which was [`rounded`], or null if none is kept.
pub fn take(layout: Layout) -> *mut u8 {
    if layout.size() < BYTES_MIN {
        return std::ptr::null_mut();
    }
    kept().take(layout)
}

/// Takes a block that is no longer needed.
///
/// # Safety
///
/// The system's allocator gave it by this layout, and nobody uses it any more.
pub unsafe fn put(start: *mut u8, layout: Layout) {
    if layout.size() >= BYTES_MIN {
        // SAFETY: the caller's promise.
        unsafe { kept().put(Block { start, layout }) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) };
    }
}

/// Nothing panics while it has this, so that nothing is half done.
fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// The last that came, since the caches may have some of it.
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let is_such = |block: &Option<Block>| block.is_some_and(|block| block.layout == layout);
        match self.blocks.iter().rposition(is_such) {
            Some(index) => self.remove(index).map_or(std::ptr::null_mut(), |block| block.start),
            None => std::ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// As for [`put`].
    unsafe fn put(&mut self, block: Block) {
        let bytes = block.layout.size();
        // A large one would drive out all that small jobs use.
        if bytes > self.bytes_max / 4 {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block.start, block.layout) };
            return;
        }
        while self.bytes + bytes > self.bytes_max || self.blocks[BLOCKS_MAX - 1].is_some() {
            let Some(oldest) = self.remove(0) else { break };
            // SAFETY: it came by `put`.
            unsafe { System.dealloc(oldest.start, oldest.layout) };
        }
        if let Some(place) = self.blocks.iter_mut().find(|place| place.is_none()) {
            *place = Some(block);
            self.bytes += bytes;
        }
    }

    fn remove(&mut self, index: usize) -> Option<Block> {
        let block = self.blocks[index].take()?;
        self.blocks[index..].rotate_left(1);
        self.bytes -= block.layout.size();
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn empty(bytes_max: usize) -> Kept {
        Kept { blocks: [None; BLOCKS_MAX], bytes: 0, bytes_max }
    }

    fn layout(bytes: usize) -> Layout {
        rounded(Layout::from_size_align(bytes, 64).expect("a layout"))
    }

    fn put(kept: &mut Kept, bytes: usize) -> *mut u8 {
        let layout = layout(bytes);
        // SAFETY: the layout is not empty, and the block is used by nobody.
        unsafe {
            let start = System.alloc(layout);
            kept.put(Block { start, layout });
            start
        }
    }

    /// Gives back what a test has taken.
    fn free(start: *mut u8, bytes: usize) {
        // SAFETY: `put` allocated it by this layout.
        unsafe { System.dealloc(start, layout(bytes)) };
    }

    #[test]
    fn sizes_lose_an_eighth_at_most_and_stay_what_they_are() {
        for bytes in [1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 8 * MIB, 11 * MIB + 7, usize::MAX / 4]
        {
            let rounded_bytes = layout(bytes).size();
            assert!(rounded_bytes >= bytes && rounded_bytes - bytes <= bytes / 8, "{bytes}");
            assert_eq!(layout(rounded_bytes).size(), rounded_bytes);
        }
        assert_eq!(layout(MIB - 1).size(), MIB - 1);
        let huge = Layout::from_size_align(isize::MAX as usize - 63, 64).expect("a layout");
        assert_eq!(rounded(huge), huge);
    }

    #[test]
    fn a_block_serves_again_for_its_own_size_only() {
        let mut kept = empty(64 * MIB);
        let [first, second] = [put(&mut kept, 2 * MIB), put(&mut kept, 2 * MIB)];
        assert!(kept.take(layout(4 * MIB)).is_null());
        assert!(kept.take(layout(MIB)).is_null());
        // Of nearly the same size, and the last one first.
        assert_eq!(kept.take(layout(2 * MIB - 100)), second);
        assert_eq!(kept.take(layout(2 * MIB)), first);
        assert!(kept.take(layout(2 * MIB)).is_null());
        assert_eq!(kept.bytes, 0);
        free(first, 2 * MIB);
        free(second, 2 * MIB);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let mut kept = empty(8 * MIB);
        for _ in 0..3 {
            put(&mut kept, 2 * MIB);
        }
        let last = [put(&mut kept, MIB), put(&mut kept, 2 * MIB)];
        assert_eq!(kept.bytes, 7 * MIB);
        // More than a quarter of all is not kept, and drives nothing out.
        put(&mut kept, 3 * MIB);
        assert_eq!(kept.bytes, 7 * MIB);
        assert_eq!(kept.take(layout(2 * MIB)), last[1]);
        assert_eq!(kept.take(layout(MIB)), last[0]);
        free(last[1], 2 * MIB);
        free(last[0], MIB);
        let mut kept = empty(usize::MAX);
        for _ in 0..BLOCKS_MAX + 2 {
            put(&mut kept, MIB);
        }
        assert_eq!(kept.bytes, BLOCKS_MAX * MIB);
        let mut none = empty(0);
        put(&mut none, MIB);
        assert_eq!(none.bytes, 0);
    }
}
