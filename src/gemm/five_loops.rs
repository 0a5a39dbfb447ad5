//! The five loops around the microkernel, in slices.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::kernel::{Left, Microkernel, Right, Scale, Size, Target};
use super::pack::{pack_a, pack_panel};
use super::plan::{Blocking, SLICE_FLOPS, SLICE_PACKED, panel_width};
use super::{Element, Shape};

/// Bytes that packed blocks are aligned to: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

/// Rows of B that are fetched ahead: they cover the second-level cache's latency, and don't crowd
/// the first.
const ROWS_AHEAD: usize = 8;
/// An unpacked block of B beyond this comes from beyond the second-level cache.
const FAR_BYTES: usize = 512 << 10;

/// A product by the five loops, and where it stands.
#[derive(Debug)]
pub struct FiveLoops<T: 'static> {
    kernel: &'static Microkernel<T>,
    shape: Shape,
    blocking: Blocking,
    /// The packed block of B, then that of A; what aligns them is before.
    workspace: Vec<T>,
    /// The first column, term and row of the block that is next.
    jc: usize,
    pc: usize,
    ic: usize,
    /// Columns of the block of B that are packed.
    packed_columns: usize,
}

impl<T: Element> FiveLoops<T> {
    /// Elements of the workspace.
    pub fn workspace_len(blocking: &Blocking) -> usize {
        match blocking.packed_b() + blocking.packed_a() {
            0 => 0,
            packed => packed + ALIGNMENT / size_of::<T>(),
        }
    }

    pub fn new(
        kernel: &'static Microkernel<T>,
        shape: Shape,
        blocking: Blocking,
    ) -> Result<Self, TryReserveError> {
        let mut workspace = Vec::new();
        let elements = Self::workspace_len(&blocking);
        workspace.try_reserve_exact(elements)?;
        workspace.resize(elements, T::default());
        Ok(Self { kernel, shape, blocking, workspace, jc: 0, pc: 0, ic: 0, packed_columns: 0 })
    }

    #[cfg(test)]
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.capacity() * size_of::<T>()
    }

    pub fn is_complete(&self) -> bool {
        self.jc >= self.shape.n
    }

    /// One slice: packs a part of a block of B, or multiplies some rows by a packed one.
    pub fn advance(&mut self, a: Left<T>, b: Left<T>, scale: Scale<T>, one: T, c: &mut [T]) {
        let Shape { m, n, k } = self.shape;
        let Blocking { mc, kc, nc, packs_b, .. } = self.blocking;
        let columns = nc.min(n - self.jc);
        let terms = kc.min(k - self.pc);
        if packs_b && self.packed_columns < columns {
            self.pack_part_of_b(b, columns, terms);
            return;
        }
        // The first terms bring beta in; the others add to what is there.
        let scale = if self.pc == 0 { scale } else { Scale { beta: one, ..scale } };
        let rows = (SLICE_FLOPS / (2 * columns * terms)).max(1).next_multiple_of(mc);
        let end = (self.ic + rows).min(m);
        while self.ic < end {
            let rows = mc.min(end - self.ic);
            self.multiply_block(Size { rows, columns, terms }, a, b, scale, c);
            self.ic += rows;
        }
        if self.ic == m {
            self.ic = 0;
            self.packed_columns = 0;
            self.pc += terms;
        }
        if self.pc == k {
            self.pc = 0;
            self.jc += columns;
        }
    }

    /// Columns between the packed block's start and the workspace's.
    fn skipped(&self) -> usize {
        // Where the address can't be known (Miri), nothing is aligned and nothing breaks.
        self.workspace.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT / size_of::<T>())
    }

    fn pack_part_of_b(&mut self, b: Left<T>, columns: usize, terms: usize) {
        let Microkernel { nr, lanes, .. } = *self.kernel;
        let start = self.skipped();
        let end = columns.min(self.packed_columns + (SLICE_PACKED / terms).max(1));
        while self.packed_columns < end {
            let j = self.packed_columns;
            let width = panel_width(nr, lanes, columns - j);
            let first = self.pc * b.row_stride + (self.jc + j) * b.column_stride;
            let source = Left { elements: &b.elements[first..], ..b };
            let target = &mut self.workspace[start + j * terms..];
            pack_panel(source, (terms, width), width.next_multiple_of(lanes), target);
            self.packed_columns += width;
        }
    }

    /// The loops jr and ir over one block of A and one of B.
    fn multiply_block(&mut self, size: Size, a: Left<T>, b: Left<T>, scale: Scale<T>, c: &mut [T]) {
        let Blocking { packs_a, packs_b, .. } = self.blocking;
        let Microkernel { mr, nr, lanes, .. } = *self.kernel;
        let Size { rows, columns, terms } = size;
        let first = self.ic * a.row_stride + self.pc * a.column_stride;
        let mut a = Left { elements: &a.elements[first..], ..a };
        let skipped = self.skipped();
        if packs_a {
            let start = skipped + self.blocking.packed_b();
            for (ir, i) in (0..rows).step_by(mr).enumerate() {
                let panel = Left { elements: &a.elements[i * a.row_stride..], ..a };
                let target = &mut self.workspace[start + ir * mr * terms..];
                pack_a(panel, (mr.min(rows - i), terms), mr, target);
            }
            let elements = &self.workspace[start..];
            a = Left { elements, row_stride: 1, column_stride: mr };
        }
        // From one micropanel of A to the next.
        let a_panel = if packs_a { mr * terms } else { mr * a.row_stride };
        // Where B comes from far, its next rows are too few to wait for; the next columns are not.
        let b_is_far = self.shape.n * terms * size_of::<T>() > FAR_BYTES;
        let mut j = 0;
        while j < columns {
            let width = panel_width(nr, lanes, columns - j);
            let b = if packs_b {
                let elements = &self.workspace[skipped + j * terms..];
                let row_stride = width.next_multiple_of(lanes);
                Right { elements, row_stride, ahead: ROWS_AHEAD * row_stride }
            } else {
                let first = self.pc * b.row_stride + self.jc + j;
                let ahead = if b_is_far { width } else { ROWS_AHEAD * b.row_stride };
                Right { elements: &b.elements[first..], row_stride: b.row_stride, ahead }
            };
            for (ir, i) in (0..rows).step_by(mr).enumerate() {
                let size = Size { rows: mr.min(rows - i), columns: width, terms };
                let a = Left { elements: &a.elements[ir * a_panel..], ..a };
                let row_stride = self.shape.n;
                let start = (self.ic + i) * row_stride + self.jc + j;
                let c = Target { elements: &mut c[start..], row_stride };
                self.kernel.multiply(size, a, b, scale, c);
            }
            j += width;
        }
    }
}
