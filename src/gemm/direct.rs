//! Products whose operands are used as they lie: what fits the caches is not worth packing.
#![allow(unsafe_code)]

use super::kernel::{Microkernel, Panel, Scale, Tile};
use super::matrix::{Source, Target};
use super::plan::panel_width;
use super::{Element, Operands, Shape};

/// A product without packing, and where it stands.
#[derive(Debug)]
pub struct Direct<T: 'static> {
    kernel: &'static Microkernel<T>,
    shape: Shape,
    /// Rows and terms that are multiplied in one go.
    mc: usize,
    kc: usize,
    order: Order,
    /// The next block.
    ic: usize,
    pc: usize,
}

/// In what order the tiles of a block come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Down, along a micropanel of B that stays in the first-level cache.
    Down,
    /// Across, along the rows of C: where they are what takes the time.
    Across,
}

impl<T: Element> Direct<T> {
    pub fn new(
        kernel: &'static Microkernel<T>,
        shape: Shape,
        (mc, kc): (usize, usize),
        order: Order,
    ) -> Self {
        Self { kernel, shape, mc, kc, order, ic: 0, pc: 0 }
    }

    pub fn is_complete(&self) -> bool {
        self.ic >= self.shape.m
    }

    /// One slice: some rows, over some terms. The operations done.
    pub fn advance(&mut self, operands: &mut Operands<T>, scale: Scale<T>) -> u64 {
        let Shape { m, n, k } = self.shape;
        let size = (self.mc.min(m - self.ic), n);
        let terms = self.kc.min(k - self.pc);
        // The first terms bring beta in; the others add to what is there.
        let one = T::from_f64(1.0);
        let scale = if self.pc == 0 { scale } else { Scale { beta: one, ..scale } };
        let (a, b, c) = operands.parts();
        let (a, b) = (a.from(self.ic, self.pc), b.from(self.pc, 0));
        let mut tile = Tile::new(scale);
        tile.terms = terms;
        // SAFETY: the block lies within the operands, whose shape was checked.
        unsafe { multiply_block(self.kernel, &mut tile, (a, b, c, self.ic), size, self.order) };
        self.pc += terms;
        if self.pc == k {
            self.pc = 0;
            self.ic += size.0;
        }
        2 * (size.0 * n * terms) as u64
    }
}

/// Multiplies `rows` x `columns` tiles, the first of which is in row `first` of C.
///
/// # Safety
///
/// A holds rows x terms, B terms x columns and C, from that row on, rows x columns elements; the
/// rows of B are contiguous; the CPU has the kernel.
pub unsafe fn multiply_block<T: Element>(
    kernel: &Microkernel<T>,
    tile: &mut Tile<T>,
    (a, b, c, first): (Source<T>, Source<T>, Target<T>, usize),
    (rows, columns): (usize, usize),
    order: Order,
) {
    let Microkernel { mr, nr, lanes, panel, .. } = *kernel;
    let bytes = |stride: isize| stride * size_of::<T>() as isize;
    (tile.a_row_stride, tile.a_column_stride) = (bytes(a.row_stride), bytes(a.column_stride));
    (tile.b_row_stride, tile.c_row_stride) = (bytes(b.row_stride), bytes(c.row_stride));
    let (strip, strips) = match order {
        Order::Down => (rows, 1),
        Order::Across => (mr, rows.div_ceil(mr)),
    };
    for top in (0..strips).map(|index| index * strip) {
        let bottom = rows.min(top + strip);
        let mut j = 0;
        while j < columns {
            let width = panel_width(nr, lanes, columns - j);
            let Panel { mask, codes } = panel(width);
            tile.mask = mask;
            tile.b = b.at(0, j);
            let mut i = top;
            while i < bottom {
                let height = mr.min(bottom - i);
                tile.a = a.at(i, 0);
                tile.c = c.at(first + i, j);
                // SAFETY: the tile lies within the block: the caller's promise.
                unsafe { codes[height - 1](tile) };
                i += height;
            }
            j += width;
        }
    }
}
