//! Where matrices lie: on boundaries of cache lines, which whole vectors are written to fastest.

use std::alloc::Layout;

const CACHE_LINE_BYTES: usize = 64;
/// What may be a matrix that is worth it. Smaller blocks would only lose room.
const MATRIX_BYTES_MIN: usize = 16 << 10;

/// The layout to ask an allocator for instead of `layout`, always the same for the same.
pub fn aligned(layout: Layout) -> Layout {
    if layout.size() < MATRIX_BYTES_MIN {
        return layout;
    }
    // Too large a block to be rounded up is too large to be had.
    layout.align_to(CACHE_LINE_BYTES).unwrap_or(layout)
}
