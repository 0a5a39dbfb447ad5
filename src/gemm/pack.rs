//! Packing: micropanels in the order in which the microkernel reads them.

use super::kernel::Left;

/// Elements of a row that are moved at once where the source's columns are contiguous: a cache line
/// of f64.
const TURNED: usize = 8;

/// Packs `terms` x `columns` of B into micropanels of `nr` columns, each row after row. What a last,
/// narrower micropanel lacks is left as it is: the microkernel doesn't read it.
pub fn pack_b<T: Copy>(b: Left<T>, (terms, columns): (usize, usize), nr: usize, packed: &mut [T]) {
    if b.column_stride != 1 {
        for j in (0..columns).step_by(nr) {
            let source = Left { elements: &b.elements[j * b.column_stride..], ..b };
            let width = nr.min(columns - j);
            turn(source, (terms, width), nr, &mut packed[j * terms..]);
        }
        return;
    }
    // Whole rows, so that memory is read in long stretches.
    for p in 0..terms {
        let row = &b.elements[p * b.row_stride..][..columns];
        for (panel, part) in row.chunks(nr).enumerate() {
            packed[(panel * terms + p) * nr..][..part.len()].copy_from_slice(part);
        }
    }
}

/// Packs `rows` x `terms` of A into micropanels of `mr` rows, each column after column.
pub fn pack_a<T: Copy>(a: Left<T>, (rows, terms): (usize, usize), mr: usize, packed: &mut [T]) {
    // The transpose of A is packed as B is.
    let transpose = Left { row_stride: a.column_stride, column_stride: a.row_stride, ..a };
    pack_b(transpose, (terms, rows), mr, packed);
}

/// One micropanel from contiguous columns.
fn turn<T: Copy>(b: Left<T>, (terms, columns): (usize, usize), nr: usize, packed: &mut [T]) {
    let row_stride = b.row_stride;
    for p in (0..terms).step_by(TURNED) {
        for j in 0..columns {
            for p in p..(p + TURNED).min(terms) {
                packed[p * nr + j] = b.elements[p * row_stride + j * b.column_stride];
            }
        }
    }
}
