//! Packing: micropanels in the order in which the microkernel reads them.
#![allow(unsafe_code)]

use super::matrix::Source;

/// Elements that are moved at once: a cache line of f64.
const MOVED: usize = 8;
/// Columns that are turned into rows together.
const TURNED: usize = 4;

/// Packs `terms` x `columns` of B into one micropanel, row after row, `stride` elements apart.
///
/// # Safety
///
/// `b` holds as many elements, and nobody writes them meanwhile.
pub unsafe fn pack_panel<T: Copy + Default>(
    b: Source<T>,
    (terms, columns): (usize, usize),
    stride: usize,
    packed: &mut [T],
) {
    if b.row_stride == 1 && b.column_stride != 1 {
        // SAFETY: the caller's promise.
        unsafe { turn(b, (terms, columns), stride, packed) };
        return;
    }
    for (p, packed) in packed.chunks_mut(stride).take(terms).enumerate() {
        let packed = &mut packed[..columns];
        if b.column_stride == 1 {
            // SAFETY: a row of B: the caller's promise.
            let row = unsafe { core::slice::from_raw_parts(b.at(p, 0), columns) };
            let (groups, rest) = row.as_chunks::<MOVED>();
            let (packed_groups, packed) = packed.as_chunks_mut::<MOVED>();
            for (packed, group) in packed_groups.iter_mut().zip(groups) {
                *packed = *group;
            }
            for (packed, element) in packed.iter_mut().zip(rest) {
                *packed = *element;
            }
        } else {
            for (j, packed) in packed.iter_mut().enumerate() {
                // SAFETY: an element of B: the caller's promise.
                *packed = unsafe { b.at(p, j).read() };
            }
        }
    }
}

/// Packs `rows` x `terms` of A into one micropanel, column after column, `mr` elements apart.
///
/// # Safety
///
/// `a` holds as many elements, and nobody writes them meanwhile.
pub unsafe fn pack_a<T: Copy + Default>(
    a: Source<T>,
    (rows, terms): (usize, usize),
    mr: usize,
    packed: &mut [T],
) {
    // SAFETY: the transpose of A is packed as B is, and holds the same elements.
    unsafe { pack_panel(a.transposed(), (terms, rows), mr, packed) };
}

/// A micropanel from contiguous columns: blocks of 4 x 8 are turned in registers.
///
/// # Safety
///
/// As for `pack_panel`, and the columns of `b` are contiguous.
unsafe fn turn<T: Copy + Default>(
    b: Source<T>,
    (terms, columns): (usize, usize),
    stride: usize,
    packed: &mut [T],
) {
    // SAFETY: a column of B: the caller's promise.
    let column = |j: usize| unsafe { core::slice::from_raw_parts(b.at(0, j), terms) };
    let whole = (terms / MOVED * MOVED, columns / TURNED * TURNED);
    for j in (0..whole.1).step_by(TURNED) {
        let columns: [_; TURNED] = core::array::from_fn(|i| column(j + i).as_chunks::<MOVED>().0);
        for p in 0..whole.0 / MOVED {
            let block: [[T; MOVED]; TURNED] = core::array::from_fn(|i| columns[i][p]);
            for q in 0..MOVED {
                let row: [T; TURNED] = core::array::from_fn(|i| block[i][q]);
                packed[(p * MOVED + q) * stride + j..][..TURNED].copy_from_slice(&row);
            }
        }
    }
    for j in 0..columns {
        let done = if j < whole.1 { whole.0 } else { 0 };
        for (p, element) in column(j).iter().enumerate().skip(done) {
            packed[p * stride + j] = *element;
        }
    }
}
