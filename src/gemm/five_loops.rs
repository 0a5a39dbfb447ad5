//! The five loops around the microkernel, in slices.
//!
//! While one block of B is multiplied, the tiles copy the next into its packed order, piece by
//! piece: a row of a micropanel every few terms. What they leave (the first block, the rim of a
//! block, and all of B where its rows aren't contiguous) is packed between slices.
#![allow(unsafe_code)]

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::ptr;

use super::kernel::{Copying, Microkernel, Scale, Tile, TileCode, UNROLLED, finish_streaming};
use super::matrix::{Source, Target};
use super::pack::{pack_a, pack_panel};
use super::plan::{Blocking, CACHE_LINE_BYTES, SLICE_PACKED, full_panels, panel_width};
use super::{Element, Operands, Shape};

/// Bytes that packed blocks are aligned to: the widest vector.
const ALIGNMENT: usize = CACHE_LINE_BYTES;

/// Pieces that are fetched ahead of being copied: memory answers within the time that the tiles
/// take for fewer terms than they copy so many pieces with.
const PIECES_AHEAD: usize = 30;

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

/// Where the micropanels of a block of A are.
struct BlockOfA<T> {
    start: *const T,
    /// From where a micropanel would start to where one a row further down would.
    step: isize,
    row_stride: isize,
    column_stride: isize,
}

impl<T> BlockOfA<T> {
    fn at(&self, row: usize) -> *const T {
        self.start.wrapping_offset((row as isize).wrapping_mul(self.step))
    }
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
        if self.blocking.packs_a && self.packed_rows_of_a < self.block.rows {
            self.pack_part_of_a(a);
            return 0;
        }
        if !self.is_packed(&b) {
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

    /// The loops ir and jr over some rows, by the block in use.
    fn multiply_rows(
        &mut self,
        (a, b, c): (Source<T>, Source<T>, Target<T>),
        rows: usize,
        scale: Scale<T>,
    ) {
        let Block { jc, pc, top, columns, terms, .. } = self.block;
        let Microkernel { mr, nr, lanes, panel, .. } = *self.kernel;
        let bytes = |stride: isize| stride * size_of::<T>() as isize;
        // The first terms bring beta in; the others add to what is there.
        let scale = if pc == 0 { scale } else { Scale { beta: T::from_f64(1.0), ..scale } };
        let mut copy = Copying::new(Tile::new(scale));
        let (mut pieces, copying) = self.pieces(&b, &mut copy);
        copy.tile.terms = terms;
        if self.blocking.fetches_c || (self.blocking.fetches_c_to_add && pc > 0) {
            copy.tile.fetch_c();
        }
        copy.tile.c_row_stride = bytes(c.row_stride);
        let is_aligned = c.from(0, jc).is_aligned(lanes * size_of::<T>());
        let streams = self.blocking.streams && scale.beta == T::default() && is_aligned;
        let streaming = self.kernel.streaming.filter(|_| streams);
        let packed_b = self.start_of(self.half);
        let block_of_a = self.block_of_a(&a);
        copy.tile.a_row_stride = bytes(block_of_a.row_stride);
        copy.tile.a_column_stride = bytes(block_of_a.column_stride);
        let end = self.ic + rows;
        while self.ic < end {
            let height = mr.min(end - self.ic);
            copy.tile.a = block_of_a.at(self.ic - top);
            let (mut j, mut index) = (0, 0);
            while j < columns {
                let width = panel_width(nr, lanes, columns - j);
                let panel = panel(width);
                let tile = &mut copy.tile;
                tile.mask = panel.mask;
                tile.b = self.workspace[packed_b + j * terms..].as_ptr();
                tile.b_row_stride = bytes(width.next_multiple_of(lanes) as isize);
                tile.c = c.at(self.ic, jc + j);
                tile.a_ahead = self.distance_ahead(&a, &block_of_a, index);
                let is_full = height == mr && width == nr;
                let code = match (copying, streaming) {
                    (Some(copying), _) if is_full && pieces >= terms / UNROLLED => {
                        pieces -= terms / UNROLLED;
                        self.copied += terms / UNROLLED;
                        copying
                    }
                    (_, Some(codes)) if height == mr && width.is_multiple_of(lanes) => {
                        codes[width / lanes - 1]
                    }
                    _ => panel.codes[height - 1],
                };
                // SAFETY: the tile lies within the blocks of A and C at hand, and the packed one
                // of B; `pieces` counts what may be copied, and `is_aligned` what may be streamed.
                unsafe { code((&raw mut copy).cast()) };
                (j, index) = (j + width, index + 1);
            }
            self.ic += height;
        }
        if streams {
            finish_streaming();
        }
    }

    /// The block of A in use, as it lies or packed.
    fn block_of_a(&self, a: &Source<T>) -> BlockOfA<T> {
        let Block { pc, top, .. } = self.block;
        if !self.blocking.packs_a {
            let Source { row_stride, column_stride, .. } = *a;
            return BlockOfA { start: a.at(top, pc), step: row_stride, row_stride, column_stride };
        }
        let start = self.workspace[self.start_of(self.blocking.blocks)..].as_ptr();
        let step = self.blocking.row_of_a::<T>() as isize;
        if self.packs_rows_of_a(a) {
            return BlockOfA { start, step, row_stride: step, column_stride: 1 };
        }
        BlockOfA { start, step, row_stride: 1, column_stride: self.kernel.mr as isize }
    }

    /// Whether the block of A is packed as its rows lie, but close together. Else it is in
    /// micropanels of `mr` rows, column after column: where its rows aren't contiguous, and for
    /// narrow tiles.
    fn packs_rows_of_a(&self, a: &Source<T>) -> bool {
        a.column_stride == 1 && !self.kernel.is_narrow()
    }

    /// Packs some rows of the block of A.
    fn pack_part_of_a(&mut self, a: Source<T>) {
        let Block { pc, top, terms, rows, .. } = self.block;
        let mr = self.kernel.mr;
        let row = self.blocking.row_of_a::<T>();
        let start = self.start_of(self.blocking.blocks);
        let packs_rows = self.packs_rows_of_a(&a);
        let at_once = ((SLICE_PACKED / terms).max(1)).next_multiple_of(mr);
        let end = rows.min(self.packed_rows_of_a + at_once);
        for i in (self.packed_rows_of_a..end).step_by(mr) {
            let height = mr.min(end - i);
            let target = &mut self.workspace[start + i * row..];
            let panel = a.from(top + i, pc);
            // SAFETY: the micropanel is within the block, and the block within A.
            unsafe {
                match packs_rows {
                    true => pack_panel(panel, (height, terms), row, target),
                    false => pack_a(panel, (height, terms), mr, target),
                }
            }
        }
        self.packed_rows_of_a = end;
    }

    /// From a micropanel of A to rows of the next one, or of the next block's first, that are
    /// fetched meanwhile: some of them with each of the first three tiles. Micropanels of columns
    /// are read in the order of memory, a cache line at a time: narrow tiles need them sooner than
    /// they come by themselves.
    fn distance_ahead(&self, a: &Source<T>, block: &BlockOfA<T>, index: usize) -> isize {
        let Block { pc, top, rows, .. } = self.block;
        if index > 2 {
            return 0;
        }
        if block.row_stride != block.step {
            let micropanel = self.kernel.mr as isize * block.step * size_of::<T>() as isize;
            let line = (index * CACHE_LINE_BYTES) as isize;
            return if self.kernel.is_narrow() { micropanel + line } else { 0 };
        }
        let there = if self.ic + self.kernel.mr < top + rows {
            block.at(self.ic + self.kernel.mr + index - top)
        } else {
            let next = self.next_block();
            match self.blocking.packs_a {
                false => a.at(next.top + index, next.pc),
                true if (next.top, next.pc) == (top, pc) => block.at(index),
                true => return 0,
            }
        };
        (there.addr() as isize).wrapping_sub(block.at(self.ic - top).addr() as isize)
    }

    /// The pieces of the next block that are still to copy, and the code that copies them.
    fn pieces(&mut self, b: &Source<T>, copy: &mut Copying<T>) -> (usize, Option<TileCode<T>>) {
        let next = self.next_block();
        let full = self.full_panels(&next, b);
        let Some(code) = self.kernel.copying else { return (0, None) };
        if full == 0 || self.blocking.blocks < 2 || self.block.terms < UNROLLED {
            return (0, None);
        }
        let bytes = |elements: usize| (elements * size_of::<T>()) as isize;
        let row_stride = b.row_stride * size_of::<T>() as isize;
        let nr = self.kernel.nr;
        let (row, panel) = (self.copied / full, self.copied % full);
        let start = self.start_of(1 - self.half);
        let to = start + panel * nr * next.terms + row * nr;
        copy.from = b.at(next.pc + row, next.jc + panel * nr);
        // Where all is copied, there is no place to go on from.
        copy.to = self.workspace.get_mut(to..).map_or(ptr::null_mut(), <[T]>::as_mut_ptr);
        (copy.left, copy.per_row) = (full - panel, full);
        copy.from_jump = row_stride - bytes(full * nr);
        copy.to_jump = bytes(nr) - bytes(full * nr * next.terms);
        copy.to_step = bytes(nr * next.terms);
        copy.ahead = row_stride * (1 + PIECES_AHEAD / full) as isize;
        (full * next.terms - self.copied, Some(code))
    }
}
