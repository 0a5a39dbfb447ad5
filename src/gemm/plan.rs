//! Which way a product is computed, and in blocks of what size.

use super::kernel::{Caches, Microkernel};
use super::{Extent, Shape};

/// Operations of one slice of work: tens of microseconds on a CPU with wide vectors, a millisecond
/// on one that has none, some tens in an emulator. The blocks are bounded so that the rows of one
/// microtile over a whole block of B take no more than twice that.
pub const SLICE_FLOPS: usize = 4 << 20;
/// Elements that one slice packs.
pub const SLICE_PACKED: usize = 64 << 10;

/// Terms up to which a row of B is not used often enough to pay for packing it.
const UNPACKED_TERMS: usize = 64;

/// How the five loops cut a product.
///
/// ```text
/// jc  columns of C and B, nc at a time
/// pc  terms, kc at a time: a block of B, kc x nc, packed into micropanels of nr columns
/// ic  rows of C and A, mc at a time: a block of A, mc x kc, packed where it came transposed
/// jr  micropanels of B
/// ir  micropanels of A, mr rows: the microkernel
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    pub mc: usize,
    pub kc: usize,
    pub nc: usize,
    pub packs_a: bool,
    pub packs_b: bool,
}

impl Blocking {
    /// The blocks for a product on a machine with these caches.
    ///
    /// A micropanel of A, mr x kc, is used by every micropanel of B in turn and takes two thirds of
    /// the first-level cache: B streams through the rest. The block of B, kc x nc, is used by every
    /// micropanel of A and takes three quarters of the second-level cache: the rest is for A and C
    /// passing through. A block of A is one micropanel high, so that C passes once for kc terms.
    /// Blocks are of equal size, so that none is too thin to be worth its start.
    pub fn new<T>(
        kernel: &Microkernel<T>,
        caches: Caches,
        shape: Shape,
        (a, b): (Extent, Extent),
    ) -> Self {
        let Shape { m, n, k } = shape;
        let Microkernel { mr, nr, .. } = *kernel;
        let element_bytes = size_of::<T>();
        let packs_a = a.transposed && n > 2 * nr;
        let kc_max = (caches.l1_bytes / 3 * 2 / (mr * element_bytes)).clamp(64, 512);
        // A block of A that must be packed is packed again for every nc columns: wider blocks.
        let kc_max = if packs_a { kc_max / 2 } else { kc_max } / 4 * 4;
        let kc = equal_parts(k, kc_max, 4);
        // The microkernel wants whole rows of B. What fits the second-level cache with room to
        // spare is well placed as it came, unless it's used too seldom to move it.
        let is_large = k * n * element_bytes > caches.l2_bytes / 2;
        let packs_b = b.transposed || (is_large && k > UNPACKED_TERMS && m > 2 * mr);
        let nc_max = match packs_b {
            true => caches.l2_bytes / 4 * 3 / (kc * element_bytes),
            false => usize::MAX,
        };
        let nc_max = nc_max.min(SLICE_FLOPS / (mr * kc)) / nr * nr;
        let nc = equal_parts(n, nc_max.max(nr), nr);
        Self { mc: mr, kc, nc, packs_a, packs_b }
    }

    /// Elements of the packed block of B: whole micropanels.
    pub fn packed_b(&self) -> usize {
        if self.packs_b { self.kc * self.nc } else { 0 }
    }

    /// Elements of the packed block of A: whole micropanels.
    pub fn packed_a(&self) -> usize {
        if self.packs_a { self.kc * self.mc } else { 0 }
    }
}

/// The size of the fewest parts of equal size, none longer than `max`, rounded up to a multiple of
/// `unit`, which `max` is a multiple of.
fn equal_parts(length: usize, max: usize, unit: usize) -> usize {
    length.div_ceil(length.div_ceil(max).max(1)).next_multiple_of(unit).max(unit)
}

/// The widths of the micropanels of B in a block of so many columns: `nr`, and what is left. A last
/// one of a single vector would leave the kernel waiting for its loads, so the two last share.
pub fn panel_width(kernel_nr: usize, lanes: usize, columns_left: usize) -> usize {
    let is_crumb_next = columns_left > kernel_nr && columns_left <= kernel_nr + lanes;
    if is_crumb_next && kernel_nr > 2 * lanes {
        kernel_nr - lanes
    } else {
        kernel_nr.min(columns_left)
    }
}
