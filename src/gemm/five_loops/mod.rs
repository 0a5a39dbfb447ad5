//! The five loops around the microkernel, in slices.
//!
//! While one block of B is multiplied, the tiles copy the next into its packed order, piece by
//! piece: a row of a micropanel every few terms. What they leave (the first block, the rim of a
//! block, and all of B where its rows aren't contiguous) is packed between slices; or, where the
//! kernel can do that, by the tiles that read it first, as is A.
#![allow(unsafe_code)]

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::kernel::{Microkernel, Scale, UNROLLED};
use super::matrix::Source;
use super::pack::{pack_a, pack_panel};
use super::plan::{Blocking, CACHE_LINE_BYTES, SLICE_PACKED, full_panels, panel_width};
use super::{Element, Operands, Shape};

mod rows;

/// Bytes that packed blocks are aligned to: the widest vector.
const ALIGNMENT: usize = CACHE_LINE_BYTES;

/// A product by the five loops, and where it stands.
#[derive(Debug)]
pub struct FiveLoops<T: 'static> {
    kernel: &'static Microkernel<T>,
    shape: Shape,
    blocking: Blocking,
    /// The packed blocks of B, then that of A; what aligns them is before.
    workspace: Vec<T>,
    block: Block,
    /// Which of the packed blocks is in use.
    half: usize,
    /// The next row of A and C.
    ic: usize,
    packed: Packed,
    /// Rows of the block of A that are packed, if it is to be.
    packed_rows_of_a: usize,
    /// Pieces of the next block that are copied.
    copied: usize,
}

/// A block of B, and the rows of A and C that it is for.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The first column, term and row.
    jc: usize,
    pc: usize,
    top: usize,
    /// None, behind the last block.
    columns: usize,
    terms: usize,
    rows: usize,
}

/// What is packed of the block in use.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    /// Rows of its full micropanels.
    rows: usize,
    /// Columns of the micropanels behind these.
    columns: usize,
}

impl<T: Element> FiveLoops<T> {
    /// Elements of the workspace.
    pub fn workspace_len(kernel: &Microkernel<T>, blocking: &Blocking, m: usize) -> usize {
        let packed = blocking.blocks * blocking.block_of_b() + blocking.block_of_a(kernel, m);
        packed + ALIGNMENT / size_of::<T>()
    }

    /// A product that packs in `workspace`, which may be empty and grows as needed.
    pub fn new(
        kernel: &'static Microkernel<T>,
        shape: Shape,
        blocking: Blocking,
        mut workspace: Vec<T>,
    ) -> Result<Self, TryReserveError> {
        let elements = Self::workspace_len(kernel, &blocking, shape.m);
        if workspace.len() < elements {
            // What was in it is of no use, and not worth moving.
            workspace.clear();
            workspace.try_reserve_exact(elements)?;
            workspace.resize(elements, T::default());
        }
        let block = Block {
            jc: 0,
            pc: 0,
            top: 0,
            columns: blocking.columns(kernel, shape.n),
            terms: blocking.kc.min(shape.k),
            rows: blocking.mc.min(shape.m),
        };
        Ok(Self {
            kernel,
            shape,
            blocking,
            workspace,
            block,
            half: 0,
            ic: 0,
            packed: Packed::default(),
            packed_rows_of_a: 0,
            copied: 0,
        })
    }

    /// What was allocated to pack in.
    pub fn into_workspace(self) -> Vec<T> {
        self.workspace
    }

    #[cfg(test)]
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.capacity() * size_of::<T>()
    }

    pub fn is_complete(&self) -> bool {
        self.block.columns == 0
    }

    /// One slice: packs a part of a block of B, or multiplies some rows by a packed one. The
    /// operations done.
    pub fn advance(&mut self, operands: &mut Operands<T>, scale: Scale<T>) -> u64 {
        let (a, b, c) = operands.parts();
        let Block { columns, terms, .. } = self.block;
        let packs_on_the_way = self.kernel.packing.is_some();
        if self.blocking.packs_a && !packs_on_the_way && self.packed_rows_of_a < self.block.rows {
            self.pack_part_of_a(&a);
            return 0;
        }
        if !self.is_packed(&b) && !self.packs_b_on_the_way(&b) {
            self.pack_part_of_b(b);
            return 0;
        }
        let rows = (self.kernel.slice_flops / (2 * columns * terms)).max(1);
        let bottom = self.block.top + self.block.rows;
        let rows = rows.next_multiple_of(self.kernel.mr).min(bottom - self.ic);
        self.multiply_rows((a, b, c), rows, scale);
        if self.ic == bottom {
            self.turn_to_next(&b);
        }
        2 * (rows * columns * terms) as u64
    }

    /// The block behind the one in use, of no columns if there is none.
    fn next_block(&self) -> Block {
        let Shape { m, n, k } = self.shape;
        let Block { mut jc, mut pc, mut top, columns, terms, rows } = self.block;
        if self.blocking.is_terms_first {
            pc += terms;
            if pc == k {
                (pc, jc) = (0, jc + columns);
            }
        } else {
            jc += columns;
            if jc == n {
                (jc, top) = (0, top + rows);
            }
            if top == m {
                (top, pc) = (0, pc + terms);
            }
            if pc == k {
                (pc, jc) = (0, n);
            }
        }
        Block {
            jc,
            pc,
            top,
            columns: self.blocking.columns(self.kernel, n - jc),
            terms: self.blocking.kc.min(k - pc),
            rows: self.blocking.mc.min(m - top),
        }
    }

    fn turn_to_next(&mut self, b: &Source<T>) {
        let next = self.next_block();
        let full = self.full_panels(&next, b);
        let rows = self.copied.checked_div(full).unwrap_or(0);
        self.packed = Packed { rows, columns: 0 };
        if (next.top, next.pc) != (self.block.top, self.block.pc) {
            self.packed_rows_of_a = 0;
        }
        (self.block, self.ic, self.copied) = (next, next.top, 0);
        self.half = (self.half + 1) % self.blocking.blocks;
    }

    /// Micropanels that are packed row by row.
    fn full_panels(&self, block: &Block, b: &Source<T>) -> usize {
        match b.column_stride {
            1 => full_panels(self.kernel.nr, self.kernel.lanes, block.columns),
            _ => 0,
        }
    }

    fn is_packed(&self, b: &Source<T>) -> bool {
        let full = self.full_panels(&self.block, b);
        let behind = self.block.columns - full * self.kernel.nr;
        (full == 0 || self.packed.rows == self.block.terms) && self.packed.columns == behind
    }

    /// Whether all that is not packed of the block of B are full micropanels, which the first tiles
    /// pack that read them.
    fn packs_b_on_the_way(&self, b: &Source<T>) -> bool {
        let Block { columns, rows, top, .. } = self.block;
        let Microkernel { mr, nr, packing, .. } = *self.kernel;
        let full = self.full_panels(&self.block, b);
        packing.is_some()
            && full > 0
            && (self.packed.rows, self.packed.columns) == (0, columns - full * nr)
            && rows >= mr
            && self.ic == top
    }

    /// Elements between the workspace's start and that of a packed block.
    fn start_of(&self, half: usize) -> usize {
        // Where the address can't be known (Miri), nothing is aligned and nothing breaks.
        let skipped = self.workspace.as_ptr().align_offset(ALIGNMENT);
        skipped.min(ALIGNMENT / size_of::<T>()) + half * self.blocking.block_of_b()
    }

    fn pack_part_of_b(&mut self, b: Source<T>) {
        let Microkernel { nr, lanes, .. } = *self.kernel;
        let Block { jc, pc, columns, terms, .. } = self.block;
        let full = self.full_panels(&self.block, &b);
        let start = self.start_of(self.half);
        if full > 0 && self.packed.rows < terms {
            let rows = (SLICE_PACKED / (full * nr)).max(1).min(terms - self.packed.rows);
            for p in self.packed.rows..self.packed.rows + rows {
                for panel in 0..full {
                    let piece = b.from(pc + p, jc + panel * nr);
                    let target = &mut self.workspace[start + panel * nr * terms + p * nr..][..nr];
                    // SAFETY: the piece is within the block, and the block within B.
                    unsafe { pack_panel(piece, (1, nr), nr, target) };
                }
            }
            self.packed.rows += rows;
            return;
        }
        let behind = columns - full * nr;
        let end = behind.min(self.packed.columns + (SLICE_PACKED / terms).max(1));
        while self.packed.columns < end {
            let j = full * nr + self.packed.columns;
            let width = panel_width(nr, lanes, columns - j);
            let target = &mut self.workspace[start + j * terms..];
            let panel = b.from(pc, jc + j);
            // SAFETY: the micropanel is within the block, and the block within B.
            unsafe { pack_panel(panel, (terms, width), width.next_multiple_of(lanes), target) };
            self.packed.columns += width;
        }
    }

    /// Whether the block of A is packed as its rows lie, but close together. Else it is in
    /// micropanels of `mr` rows, column after column: where its rows aren't contiguous, and for
    /// narrow tiles.
    fn packs_rows_of_a(&self, a: &Source<T>) -> bool {
        a.column_stride == 1 && !self.kernel.is_narrow()
    }

    /// Whether tiles can pack the block of A: rows by four terms at a time.
    fn tiles_pack_a(&self, a: &Source<T>) -> bool {
        let is_by_fours = self.packs_rows_of_a(a) && self.block.terms.is_multiple_of(UNROLLED);
        self.kernel.is_narrow() || is_by_fours
    }

    /// Packs some rows of the block of A.
    fn pack_part_of_a(&mut self, a: &Source<T>) {
        let Block { terms, rows, .. } = self.block;
        let mr = self.kernel.mr;
        let at_once = ((SLICE_PACKED / terms).max(1)).next_multiple_of(mr);
        let end = rows.min(self.packed_rows_of_a + at_once);
        while self.packed_rows_of_a < end {
            self.pack_micropanel_of_a(a, mr.min(end - self.packed_rows_of_a));
        }
    }

    /// Packs so many more rows of the block of A.
    fn pack_micropanel_of_a(&mut self, a: &Source<T>, height: usize) {
        let Block { pc, top, terms, .. } = self.block;
        let (i, row) = (self.packed_rows_of_a, self.blocking.row_of_a::<T>());
        let packs_rows = self.packs_rows_of_a(a);
        let start = self.start_of(self.blocking.blocks) + i * row;
        let target = &mut self.workspace[start..];
        let micropanel = a.from(top + i, pc);
        // SAFETY: the micropanel is within the block, and the block within A.
        unsafe {
            match packs_rows {
                true => pack_panel(micropanel, (height, terms), row, target),
                false => pack_a(micropanel, (height, terms), self.kernel.mr, target),
            }
        }
        self.packed_rows_of_a += height;
    }
}
