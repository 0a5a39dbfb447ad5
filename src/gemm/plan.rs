//! In what way a product is computed, in blocks of what size, and in how many parts.

use super::Shape;
use super::direct::Order;
use super::kernel::{Caches, Microkernel};

/// Elements that one slice packs.
pub const SLICE_PACKED: usize = 64 << 10;

/// Terms of a block of B. The sum of an element is cut here, so that this decides its bits: it
/// depends on the whole product's shape, and never on how many threads share it.
const KC_MAX: usize = 512;
/// Of a product with few rows, and the least that it is bounded to for any other.
const KC_FEW_ROWS: usize = 64;
/// Up to so many rows, reading B is what takes the time. It is read in long rows then.
const FEW_ROWS: usize = 64;

/// Terms up to which writing C takes as long as computing it. No block has less of them to spare.
const FEW_TERMS: usize = 64;
/// A result of this size is not found again in any cache of one core.
const FAR_RESULT_BYTES: usize = 16 << 20;
/// The matrices of a batch, if they take no more, stay in the third-level cache, whatever
/// neighbours leave of it: from there they arrive in time without being asked for, and asking takes
/// longer than it saves.
pub const NEAR_BATCH_BYTES: usize = 4 << 20;

/// Columns from which on a block of A that comes from far is read often enough to be packed; for
/// narrow tiles, wherever it comes from: they read A so often that it had better come in the order
/// of memory.
const PACKED_COLUMNS: usize = 1024;
/// The same for narrow tiles where rows of A meet in the same places of the first-level cache.
const PACKED_COLUMNS_MEETING: usize = 512;
/// Rows this far apart, or a multiple of it, meet there: a way of that cache.
const L1_WAY_BYTES: usize = 4096;

pub const CACHE_LINE_BYTES: usize = 64;

/// How the operands of a product lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub shape: Shape,
    /// The rows of A are contiguous, or its columns.
    pub a_rows: bool,
    pub a_columns: bool,
    /// The same of B.
    pub b_rows: bool,
    pub b_columns: bool,
    /// There are other elements between the rows of B.
    pub b_has_gaps: bool,
    /// An operand and a result that are vectors have no gaps.
    pub vectors: bool,
}

/// The way of a part of a product that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The matrix is A, the vector B. The vector meets the matrix's rows, or else its columns.
    MatrixVector {
        is_along_rows: bool,
    },
    /// The matrix is B, the vector A; its columns, or else its rows.
    VectorMatrix {
        is_along_rows: bool,
    },
    /// In blocks of so many rows and terms.
    Direct {
        block: (usize, usize),
        order: Order,
    },
    FiveLoops(Blocking),
}

impl Choice {
    /// The way of a part of so many rows and columns.
    pub fn new<T>(
        kernel: &Microkernel<T>,
        caches: Caches,
        whole: Layout,
        (m, n): (usize, usize),
    ) -> Self {
        let Layout { shape, a_rows, a_columns, b_rows, b_columns, vectors, .. } = whole;
        if shape.n == 1 && vectors && (a_rows || a_columns) {
            return Self::MatrixVector { is_along_rows: a_rows };
        }
        if shape.m == 1 && vectors && (b_rows || b_columns) {
            return Self::VectorMatrix { is_along_rows: !b_rows };
        }
        let kc = block_terms(kernel, caches, shape);
        let part = Layout { shape: Shape { m, n, ..shape }, ..whole };
        let row_bytes = shape.n * size_of::<T>();
        let crowds = n < shape.n && rows_crowd(caches.l2_bytes, shape.k, row_bytes);
        if crowds || !is_direct::<T>(caches, part) {
            return Self::FiveLoops(Blocking::new(kernel, caches, kc, part));
        }
        // A result that takes longer to write than to compute is written in the order of memory.
        let is_across = shape.k <= FEW_TERMS && m * n * size_of::<T>() > caches.l2_bytes;
        let order = if is_across { Order::Across } else { Order::Down };
        Self::Direct { block: (direct_rows(kernel, caches, kc, part.shape), kc), order }
    }
}

/// How a product is cut into blocks.
///
/// ```text
/// pc  terms, kc at a time
/// ic  rows of C and A, mc at a time: a block of A, mc x kc, that stays in the third-level cache
/// jc  columns of C and B, nc at a time: a block of B, kc x nc, packed into micropanels of nr columns
/// ir  rows of C and A, mr at a time: a micropanel of A
/// jr  micropanels of B: the microkernel
/// ```
///
/// The micropanel of A and one of B stream through the first-level cache from the second, which has
/// the block of B. The block of A is packed where its rows are not contiguous, or come from far and
/// are read often, and for narrow tiles wherever it is read often. Where all of A stays near, the
/// loop over terms goes within that over columns: then a block of C stays near as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    pub mc: usize,
    pub kc: usize,
    pub nc: usize,
    /// The loop over terms is within that over columns.
    pub is_terms_first: bool,
    pub packs_a: bool,
    /// Blocks of B that there is room for: the second is packed while the first is in use.
    pub blocks: usize,
    /// C comes from beyond the second-level cache: it is worth fetching to be added to, and from
    /// farther, even to be written.
    pub fetches_c_to_add: bool,
    pub fetches_c: bool,
    /// C is written past the caches, if it lies right.
    pub streams: bool,
}

/// Terms that are summed before the sum is added to C.
///
/// Few sums to add up mean little traffic for C; a micropanel of A, mr x kc, that takes two thirds
/// of the first-level cache leaves room for B to stream through. The least recently used lines are
/// the ones that go, though, so that A stays only if one of B, nr x kc, and a tile of C fit beside
/// it: narrow tiles come back to A so soon that they are bound by it unless it does.
pub fn block_terms<T>(kernel: &Microkernel<T>, caches: Caches, whole: Shape) -> usize {
    let Shape { m, n, k } = whole;
    // Small products ask often, and divisions are slow.
    if k <= KC_FEW_ROWS {
        return k.next_multiple_of(4).max(4);
    }
    let is_read_bound = m <= FEW_ROWS && n * k * size_of::<T>() > caches.l2_bytes;
    let kc_max = if is_read_bound { KC_FEW_ROWS } else { block_terms_max(kernel, caches) };
    equal_parts(k, kc_max, 4)
}

/// The terms that a block has at most, where it is not small for another reason.
pub fn block_terms_max<T>(kernel: &Microkernel<T>, caches: Caches) -> usize {
    let Microkernel { mr, nr, .. } = *kernel;
    let terms = match kernel.is_narrow() {
        true => caches.l1_bytes / 8 * 7 / ((mr + nr) * size_of::<T>()),
        false => caches.l1_bytes / 3 * 2 / (mr * size_of::<T>()),
    };
    terms.clamp(KC_FEW_ROWS, KC_MAX) / 4 * 4
}

impl Blocking {
    /// The blocks for a part of a product whose sums are cut after `kc` terms.
    ///
    /// Two blocks of B, the one in use and the next, fill the second-level cache: the next one is
    /// complete and no longer touched for most of the time. Where there are few rows of A it never
    /// is, and C passes through as well, so blocks have half that size. Where the kernel can't pack
    /// on the way, there is one block at a time and takes three quarters. Blocks are of equal size,
    /// so that none is too thin to be worth its start, and bounded so that the rows of one
    /// microtile over a whole block are no more than a slice.
    pub fn new<T>(kernel: &Microkernel<T>, caches: Caches, kc: usize, layout: Layout) -> Self {
        let Shape { m, n, k } = layout.shape;
        let Microkernel { mr, nr, slice_flops, .. } = *kernel;
        let element_bytes = size_of::<T>();
        let is_far = m * kc * element_bytes >= 4 * caches.l2_bytes;
        let is_reused = is_far && n >= PACKED_COLUMNS;
        let is_terms_first = m <= FEW_ROWS || m * k * element_bytes <= caches.l2_bytes;
        let packed_columns = match (k * element_bytes).is_multiple_of(L1_WAY_BYTES) {
            true => PACKED_COLUMNS_MEETING,
            false => PACKED_COLUMNS,
        };
        let is_in_one_piece = kernel.is_narrow() && !is_terms_first && n >= packed_columns;
        let packs_a = is_reused || is_in_one_piece || (!layout.a_rows && n > 2 * nr);
        let blocks = if kernel.copying.is_some() && layout.b_rows { 2 } else { 1 };
        let block_bytes = match blocks {
            2 if m <= FEW_ROWS => caches.l2_bytes / 4,
            2 => caches.l2_bytes / 2,
            _ => caches.l2_bytes / 4 * 3,
        };
        let nc_max = (block_bytes / (kc * element_bytes)).min(slice_flops / (2 * mr * kc));
        let nc = equal_parts(n, (nc_max / nr).max(1) * nr, nr);
        let mc_max = (l3_bytes(caches) / (kc * element_bytes) / mr).max(1) * mr;
        let mc = if is_terms_first { m } else { equal_parts(m, mc_max, mr) };
        let streams = caches.are_best_bypassed && is_write_bound::<T>(layout.shape);
        let c_bytes = m * n * element_bytes;
        Self {
            mc,
            kc,
            nc,
            is_terms_first,
            packs_a,
            blocks,
            fetches_c_to_add: !is_terms_first && c_bytes > caches.l2_bytes / 2,
            fetches_c: c_bytes > 4 * caches.l2_bytes,
            streams,
        }
    }

    /// Columns of the next block, where so many are left: all that are left have nearly the same
    /// number, since A passes once for each, however thin it is.
    pub fn columns<T>(&self, kernel: &Microkernel<T>, left: usize) -> usize {
        equal_parts(left, self.nc, kernel.nr).min(left)
    }

    /// Elements of a packed block of B: whole micropanels.
    pub fn block_of_b(&self) -> usize {
        self.kc * self.nc
    }

    /// Elements of the packed block of A, of a part with so many rows: whole micropanels.
    pub fn block_of_a<T>(&self, kernel: &Microkernel<T>, m: usize) -> usize {
        if !self.packs_a {
            return 0;
        }
        self.mc.min(m).next_multiple_of(kernel.mr) * self.row_of_a::<T>()
    }

    /// Elements from one row of the packed block of A to the next: a cache line apart, so that the
    /// rows of a micropanel don't meet in the same places of the first-level cache.
    pub fn row_of_a<T>(&self) -> usize {
        self.kc + CACHE_LINE_BYTES / size_of::<T>()
    }
}

/// What a core may count on of the third-level cache, which it shares with other cores and other
/// machines: a few times the second.
fn l3_bytes(caches: Caches) -> usize {
    4 * caches.l2_bytes
}

/// Whether B is used best as it lies: it fits, and its rows do not meet in few places of the
/// caches, as those of a matrix with gaps may.
pub fn is_direct<T>(caches: Caches, layout: Layout) -> bool {
    let Shape { n, k, .. } = layout.shape;
    layout.b_rows
        && !layout.b_has_gaps
        && fits_directly::<T>(caches, n, k)
        && !is_write_bound::<T>(layout.shape)
}

/// Whether some columns of so many rows meet in so few places of a cache that they have more than
/// half of those: they lose them to each other and to what else is in use. Whole rows that fit
/// spread over all places; but of those whose distance a large power of two divides, a column finds
/// one in so many only.
pub fn rows_crowd(cache_bytes: usize, rows: usize, row_bytes: usize) -> bool {
    rows << row_bytes.trailing_zeros().min(u32::BITS) > cache_bytes / 2
}

/// Whether B fits the second-level cache with room to spare; of few terms, writing C takes longer
/// than reading what was lost.
pub fn fits_directly<T>(caches: Caches, n: usize, k: usize) -> bool {
    let room = if k <= FEW_TERMS { caches.l2_bytes } else { caches.l2_bytes / 2 };
    k * n * size_of::<T>() <= room
}

/// Whether C is not found in the caches again, and writing it takes as long as computing it. There
/// is one block of terms then.
fn is_write_bound<T>(Shape { m, n, k }: Shape) -> bool {
    k <= FEW_TERMS && m * n * size_of::<T>() >= FAR_RESULT_BYTES
}

/// Rows of A that are multiplied by one micropanel of B after the other, where nothing is packed:
/// they take a quarter of the second-level cache, or a half if that is all of them, and a slice of
/// work.
pub fn direct_rows<T>(kernel: &Microkernel<T>, caches: Caches, kc: usize, part: Shape) -> usize {
    let Shape { m, n, .. } = part;
    let fits = m * kc * size_of::<T>() <= caches.l2_bytes / 2;
    if fits && 2 * m * n * kc <= kernel.slice_flops {
        return m.next_multiple_of(kernel.mr);
    }
    let rows = if fits { m } else { caches.l2_bytes / 4 / (kc * size_of::<T>()) };
    let rows = rows.min(kernel.slice_flops / (2 * n * kc));
    equal_parts(m, (rows / kernel.mr).max(1) * kernel.mr, kernel.mr)
}

/// Parts of a product for so many threads: down, and across. Parts are as equal as whole tiles
/// allow. Where B is packed, cutting its columns means that no part packs what another does, and
/// where it is not, cutting rows keeps the widest tiles.
pub fn grid<T>(
    kernel: &Microkernel<T>,
    caches: Caches,
    layout: Layout,
    threads: usize,
) -> (usize, usize) {
    let Shape { m, n, .. } = layout.shape;
    let work = |(down, across): (usize, usize)| {
        let columns = if n == 1 { 1 } else { part_length(n, across, kernel.lanes) };
        let rows = if m == 1 { 1 } else { part_length(m, down, kernel.mr) };
        rows * columns
    };
    let candidates = (1..=threads)
        .filter(|across| threads.is_multiple_of(*across))
        .map(|across| (threads / across, across));
    let prefers_columns = !is_direct::<T>(caches, layout) && !is_write_bound::<T>(layout.shape);
    candidates
        .min_by_key(|&(down, across)| {
            let cuts = if prefers_columns { down } else { across };
            // A thirty-second more work is the price of a cut the wrong way.
            let work = work((down, across));
            work + work / 32 * (cuts - 1)
        })
        .unwrap_or((1, 1))
}

/// The length of all parts but the last.
pub fn part_length(length: usize, parts: usize, unit: usize) -> usize {
    length.div_ceil(parts).next_multiple_of(unit).min(length)
}

/// The size of the fewest parts of equal size, none longer than `max`, rounded up to a multiple of
/// `unit`, which `max` is a multiple of.
fn equal_parts(length: usize, max: usize, unit: usize) -> usize {
    length.div_ceil(length.div_ceil(max).max(1)).next_multiple_of(unit).max(unit)
}

/// The widths of the micropanels of B in a block of so many columns: `nr`, and what is left. A last
/// one of a single vector would leave the kernel waiting for its loads, so the two last share.
#[inline]
pub fn panel_width(nr: usize, lanes: usize, columns_left: usize) -> usize {
    let is_crumb_next = columns_left > nr && columns_left <= nr + lanes;
    if is_crumb_next && nr > 2 * lanes { nr - lanes } else { nr.min(columns_left) }
}

/// The micropanels of full width in a block of so many columns; they come first.
pub fn full_panels(nr: usize, lanes: usize, columns: usize) -> usize {
    let (full, rest) = (columns / nr, columns % nr);
    let is_last_shared = full > 0 && rest > 0 && rest <= lanes && nr > 2 * lanes;
    full - usize::from(is_last_shared)
}
