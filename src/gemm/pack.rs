//! Packing: micropanels in the order in which the microkernel reads them.

use super::kernel::Left;

/// Elements that are moved at once: a cache line of f64.
const MOVED: usize = 8;

/// Packs `terms` x `columns` of B into one micropanel, row after row, `stride` elements apart.
pub fn pack_panel<T: Copy + Default>(
    b: Left<T>,
    (terms, columns): (usize, usize),
    stride: usize,
    packed: &mut [T],
) {
    if b.column_stride != 1 {
        turn(b, (terms, columns), stride, packed);
        return;
    }
    for (p, packed) in packed.chunks_mut(stride).take(terms).enumerate() {
        let row = &b.elements[p * b.row_stride..][..columns];
        let (groups, rest) = row.as_chunks::<MOVED>();
        let (packed_groups, packed) = packed[..columns].as_chunks_mut::<MOVED>();
        for (packed, group) in packed_groups.iter_mut().zip(groups) {
            *packed = *group;
        }
        for (packed, element) in packed.iter_mut().zip(rest) {
            *packed = *element;
        }
    }
}

/// Packs `rows` x `terms` of A into one micropanel, column after column, `mr` elements apart.
pub fn pack_a<T: Copy + Default>(
    a: Left<T>,
    (rows, terms): (usize, usize),
    mr: usize,
    packed: &mut [T],
) {
    // The transpose of A is packed as B is.
    let transpose = Left { row_stride: a.column_stride, column_stride: a.row_stride, ..a };
    pack_panel(transpose, (terms, rows), mr, packed);
}

/// A micropanel from contiguous columns: blocks of 4 x 8 are turned in registers.
fn turn<T: Copy + Default>(
    b: Left<T>,
    (terms, columns): (usize, usize),
    stride: usize,
    packed: &mut [T],
) {
    const WIDE: usize = 4;
    debug_assert_eq!(b.row_stride, 1, "one of the strides is one");
    let whole = (terms / MOVED * MOVED, columns / WIDE * WIDE);
    for j in (0..whole.1).step_by(WIDE) {
        let column = |i: usize| &b.elements[(j + i) * b.column_stride..][..terms];
        let columns: [_; WIDE] = core::array::from_fn(|i| column(i).as_chunks::<MOVED>().0);
        for p in 0..whole.0 / MOVED {
            let block: [[T; MOVED]; WIDE] = core::array::from_fn(|i| columns[i][p]);
            for q in 0..MOVED {
                let row: [T; WIDE] = core::array::from_fn(|i| block[i][q]);
                packed[(p * MOVED + q) * stride + j..][..WIDE].copy_from_slice(&row);
            }
        }
    }
    for j in 0..columns {
        let done = if j < whole.1 { whole.0 } else { 0 };
        for p in done..terms {
            packed[p * stride + j] = b.elements[p + j * b.column_stride];
        }
    }
}
